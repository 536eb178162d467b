//! The records that pending messages need.

use std::collections::{BTreeMap, HashSet};

use crate::position::{BacklogId, Location, Lsn, SegmentNumber};
use crate::record::{RawRecord, Record};
use crate::state::State;

/// Where pending messages lie, by segment and offset; found ones are taken off while a segment is
/// walked through.
#[derive(Default)]
pub(super) struct Live {
    by_segment: BTreeMap<SegmentNumber, Vec<Needed>>,
}

/// A record that must be there.
#[derive(Clone, Copy)]
pub(super) struct Needed {
    pub(super) offset: u32,
    pub(super) length: u32,
    /// One of the backlogs in which it is pending, and from when on it is visible there.
    owner: Option<(BacklogId, Lsn)>,
}

/// Records that pending messages need and that are not there.
pub(super) type Missing = HashSet<(SegmentNumber, u32)>;

impl Needed {
    fn at(location: Location, owner: Option<(BacklogId, Lsn)>) -> Needed {
        Needed {
            offset: location.offset,
            length: location.length,
            owner,
        }
    }

    /// Whether a record that lies here is that one. Where files were confused, another one that checks
    /// out may. `began` is the first LSN of its epoch: a salvage writes records of former epochs again.
    /// What the record says is None where its key is not known.
    pub(super) fn is(&self, raw: &RawRecord<'_>, record: Option<&Record<'_>>, began: Lsn) -> bool {
        let (Some((id, visible)), Some(record)) = (self.owner, record) else {
            return raw.length == self.length;
        };
        raw.length == self.length
            && match record {
                Record::Message(message) => {
                    message.targets.contains(&id) && (raw.lsn == visible || visible < began)
                }
                Record::TransactionMessage(message) => {
                    message.targets.contains(&id) && raw.lsn < visible
                }
                Record::Move(moved) if moved.places.is_empty() => {
                    moved.message.targets.contains(&id)
                }
                Record::Move(moved) => moved.places.iter().any(|(place, _)| *place == id),
                _ => false,
            }
    }
}

impl Live {
    pub(super) fn of(state: &State) -> Live {
        let mut live = Live::default();
        for backlog in state.backlogs() {
            for (_, entry) in backlog.lock().entries.iter() {
                let owner = Some((backlog.id(), entry.visible));
                live.push(Needed::at(entry.location, owner), entry.location.segment);
            }
        }
        let transactions = state.transactions.lock();
        live.add(transactions.messages().map(|message| message.location));
        live
    }

    /// Adds places that no backlog has.
    pub(super) fn add(&mut self, locations: impl Iterator<Item = Location>) {
        for location in locations {
            self.push(Needed::at(location, None), location.segment);
        }
        for places in self.by_segment.values_mut() {
            places.sort_by_key(|needed| needed.offset);
            places.dedup_by_key(|needed| needed.offset);
        }
    }

    fn push(&mut self, needed: Needed, segment: SegmentNumber) {
        self.by_segment.entry(segment).or_default().push(needed);
    }

    /// Different records.
    pub(super) fn len(&self) -> usize {
        self.by_segment.values().map(Vec::len).sum()
    }

    /// Bytes of them.
    pub(super) fn bytes(&self) -> u64 {
        let places = self.by_segment.values().flatten();
        places.map(|needed| u64::from(needed.length)).sum()
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = (SegmentNumber, &[Needed])> {
        self.by_segment
            .iter()
            .map(|(number, places)| (*number, &**places))
    }

    /// Takes a segment's places out, to be met in their order. `began` is the first LSN of its epoch.
    pub(super) fn take(&mut self, segment: SegmentNumber, began: Lsn) -> Expected {
        let places = self.by_segment.remove(&segment).unwrap_or_default();
        Expected {
            segment,
            began,
            places,
            next: 0,
        }
    }

    /// The segments that nobody took.
    pub(super) fn left(&self) -> impl Iterator<Item = SegmentNumber> {
        self.by_segment.keys().copied()
    }
}

/// The places of one segment.
pub(super) struct Expected {
    segment: SegmentNumber,
    began: Lsn,
    places: Vec<Needed>,
    next: usize,
}

impl Expected {
    /// A record lies here; what was expected before it is not there.
    pub(super) fn meet(
        &mut self,
        offset: u64,
        raw: &RawRecord<'_>,
        record: Option<&Record<'_>>,
        missing: &mut Missing,
    ) {
        while let Some(needed) = self.places.get(self.next) {
            if u64::from(needed.offset) > offset {
                return;
            }
            self.next += 1;
            if u64::from(needed.offset) < offset || !needed.is(raw, record, self.began) {
                missing.insert((self.segment, needed.offset));
            }
        }
    }

    /// The segment's end: all that is still expected is not there.
    pub(super) fn finish(self, missing: &mut Missing) {
        let rest = self.places[self.next..].iter();
        missing.extend(rest.map(|needed| (self.segment, needed.offset)));
    }
}
