//! The records that pending messages need.

use std::collections::{BTreeMap, HashSet};

use crate::position::{Location, SegmentNumber};
use crate::state::State;

/// Where pending messages lie, by segment and offset; found ones are taken off while a segment is
/// walked through.
#[derive(Default)]
pub(super) struct Live {
    by_segment: BTreeMap<SegmentNumber, Vec<(u32, u32)>>,
}

/// Records that pending messages need and that are not there.
pub(super) type Missing = HashSet<(SegmentNumber, u32)>;

impl Live {
    pub(super) fn of(state: &State) -> Live {
        let mut live = Live::default();
        let mut add = |location: Location| {
            let places = live.by_segment.entry(location.segment).or_default();
            places.push((location.offset, location.length));
        };
        for backlog in state.backlogs() {
            for (_, entry) in backlog.lock().entries.iter() {
                add(entry.location);
            }
        }
        for message in state.transactions.lock().messages() {
            add(message.location);
        }
        for places in live.by_segment.values_mut() {
            places.sort_unstable();
            places.dedup();
        }
        live
    }

    /// Adds places that no backlog has.
    pub(super) fn add(&mut self, locations: impl Iterator<Item = Location>) {
        for location in locations {
            let places = self.by_segment.entry(location.segment).or_default();
            places.push((location.offset, location.length));
            places.sort_unstable();
            places.dedup();
        }
    }

    /// Different records.
    pub(super) fn len(&self) -> usize {
        self.by_segment.values().map(Vec::len).sum()
    }

    /// Bytes of them.
    pub(super) fn bytes(&self) -> u64 {
        let places = self.by_segment.values().flatten();
        places.map(|(_, length)| u64::from(*length)).sum()
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = (SegmentNumber, &[(u32, u32)])> {
        self.by_segment
            .iter()
            .map(|(number, places)| (*number, &**places))
    }

    /// Takes a segment's places out, to be met in their order.
    pub(super) fn take(&mut self, segment: SegmentNumber) -> Expected {
        let places = self.by_segment.remove(&segment).unwrap_or_default();
        Expected {
            segment,
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
    places: Vec<(u32, u32)>,
    next: usize,
}

impl Expected {
    /// A record lies here; what was expected before it is not there.
    pub(super) fn meet(&mut self, offset: u64, length: u32, missing: &mut Missing) {
        while let Some(&(place, expected)) = self.places.get(self.next) {
            if u64::from(place) > offset {
                return;
            }
            self.next += 1;
            if u64::from(place) < offset || expected != length {
                missing.insert((self.segment, place));
            }
        }
    }

    /// The segment's end: all that is still expected is not there.
    pub(super) fn finish(self, missing: &mut Missing) {
        let rest = self.places[self.next..].iter();
        missing.extend(rest.map(|(place, _)| (self.segment, *place)));
    }
}
