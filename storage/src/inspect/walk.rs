//! Which segments there are to walk through, in which order, and how far each of them counts.

use std::io;
use std::ops::ControlFlow;

use super::fold::Fold;
use super::lineage::Lineage;
use super::scan::{Piece, Scanner};
use super::{Names, Watch};
use crate::chain::SegmentName;
use crate::checkpoint::ReplayStart;
use crate::cipher::Ciphers;
use crate::disk::Disk;
use crate::position::{Location, Lsn, SegmentNumber};
use crate::record::{Malformed, RawRecord, Record};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::state::Place;

/// How far a segment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The journal ends in it, or behind it nothing was written yet. A gap at this byte or behind it
    /// is where it ends.
    Tail { open_end: u64 },
    /// All of it: the journal goes on in the next one.
    Successor,
    /// Up to where the next tenure sealed it.
    Seal { offset: u64, lsn: Lsn },
    /// Nothing of it: it lies behind the place at which its epoch was sealed.
    BehindSeal,
    /// Nothing of it: it was on its way together with something before it that never arrived.
    BehindEnd,
    /// Nothing of it: nobody's chain mentions its epoch.
    Orphan,
}

/// A segment with how far it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) name: SegmentName,
    pub(super) until: Until,
    /// The LSN with which the journal goes on in a later segment.
    pub(super) next_lsn: Option<Lsn>,
}

impl Planned {
    /// Whether a record of it counts.
    pub(super) fn counts(&self, lsn: Lsn) -> bool {
        match self.until {
            Until::Tail { .. } | Until::Successor => true,
            Until::Seal { lsn: last, .. } => lsn <= last,
            Until::BehindSeal | Until::BehindEnd | Until::Orphan => false,
        }
    }

    /// Whether anything of it counts.
    pub(super) fn has_what_counts(&self) -> bool {
        !matches!(
            self.until,
            Until::BehindSeal | Until::BehindEnd | Until::Orphan
        )
    }

    /// A scanner that looks at what counts.
    pub(super) fn scanner<'a>(&self, disk: &'a dyn Disk) -> io::Result<Scanner<'a>> {
        let mut scanner = Scanner::open(disk, self.name)?;
        if let Until::Seal { offset, .. } = self.until {
            scanner.stop_at(offset);
        }
        if let Until::Tail { open_end } = self.until {
            scanner.set_open_end(open_end);
        }
        if let (Until::Seal { .. } | Until::Successor, Some(lsn)) = (self.until, self.next_lsn) {
            scanner.set_successor(lsn);
        }
        Ok(scanner)
    }
}

/// All segments in the order in which they were written.
pub(super) fn plan(lineage: &Lineage, segments: &[SegmentName]) -> Vec<Planned> {
    let mut segments = segments.to_vec();
    segments.sort_unstable_by_key(|name| (name.epoch, name.number));
    let mut next_lsn = None;
    let mut planned: Vec<Planned> = Vec::with_capacity(segments.len());
    for name in segments.iter().rev() {
        let until = until(lineage, *name);
        let this = Planned {
            name: *name,
            until,
            next_lsn,
        };
        planned.push(this);
        if this.has_what_counts() {
            next_lsn = lineage.firsts.get(name).copied().or(next_lsn);
        }
    }
    planned.reverse();
    planned
}

fn until(lineage: &Lineage, name: SegmentName) -> Until {
    if !lineage.contains(name.epoch) {
        return Until::Orphan;
    }
    let last_used = lineage.last_used.get(&name.epoch);
    let Some(successor) = lineage.successor(name.epoch) else {
        return match lineage.open_end {
            Some(end) if name.number == end.segment => Until::Tail {
                open_end: end.offset,
            },
            Some(end) if name.number > end.segment && end.has_more => Until::BehindEnd,
            // It was not there a moment ago.
            Some(end) if name.number > end.segment => Until::Tail { open_end: 0 },
            _ if last_used.is_some_and(|last| name.number < *last) => Until::Successor,
            _ => Until::Tail { open_end: u64::MAX },
        };
    };
    let seal = successor.seal;
    if seal.end_offset == u64::MAX {
        // The seal is lost: its LSN is all that is known.
        return Until::Seal {
            offset: u64::MAX,
            lsn: seal.sealed_lsn,
        };
    }
    match name.number.cmp(&seal.segment) {
        std::cmp::Ordering::Less => Until::Successor,
        std::cmp::Ordering::Equal => Until::Seal {
            offset: seal.end_offset,
            lsn: seal.sealed_lsn,
        },
        std::cmp::Ordering::Greater => Until::BehindSeal,
    }
}

/// A fold and where it begins.
pub(super) struct Replay {
    /// None: at the journal's first record.
    pub(super) start: Option<ReplayStart>,
    pub(super) fold: Fold,
    /// The segment of its start is not there.
    pub(super) is_cut_off: bool,
    /// What it begins with, for people.
    pub(super) title: String,
}

/// Applies what is behind their starts to all folds. What cannot be read is lost for them.
pub(super) fn replay(
    disk: &dyn Disk,
    ciphers: &Ciphers<'_>,
    plan: &[Planned],
    replays: &mut [Replay],
    names: &dyn Names,
    watch: &mut Watch<'_>,
) {
    let from = replays
        .iter()
        .map(|replay| replay.start.map(|start| (start.epoch, start.segment)))
        .min()
        .flatten();
    let is_behind = |planned: &&Planned| {
        from.is_none_or(|from| (planned.name.epoch, planned.name.number) >= from)
    };
    for planned in plan.iter().filter(is_behind) {
        if !planned.has_what_counts() {
            continue;
        }
        let Ok(mut scanner) = planned.scanner(disk) else {
            continue;
        };
        // Whoever replays has asked before whether all keys are there.
        let Ok(cipher) = ciphers.of(planned.name) else {
            continue;
        };
        let mut scratch = Vec::new();
        let from = first_offset(planned.name, replays);
        let _ = scanner.scan(from, &mut |piece| {
            if let Piece::Record { offset, raw, .. } = piece
                && planned.counts(raw.lsn)
            {
                let decoded = cipher.decode(&raw, &mut scratch);
                for replay in replays.iter_mut() {
                    let record = decoded.clone();
                    feed(replay, planned.name, offset, (&raw, record), names);
                }
            }
            ControlFlow::Continue(())
        });
        watch.add(scanner.end());
    }
    let has_tail_gap = !missing_at_end(plan).is_empty();
    for replay in replays {
        // A checkpoint is published once all that it contains is durable.
        let known_through = replay.fold.state.known_through;
        if replay.fold.next <= known_through {
            replay.fold.lose(known_through);
        }
        if let Some(start) = replay.start {
            let name = start.segment_name();
            let is_there = plan.iter().any(|planned| planned.name == name);
            replay.is_cut_off = !is_there;
            if !is_there && replay.fold.next == start.lsn {
                // Nobody knows how much.
                replay.fold.lose(Lsn(start.lsn.0 - 1));
            }
        }
        if has_tail_gap {
            let read = replay.fold.next.0 - 1;
            replay.fold.lose(Lsn(read));
        }
        replay.fold.finish();
    }
}

/// Segments behind the last record that are not there though later ones are: numbers of an epoch
/// are contiguous, so nobody knows what they held.
pub(super) fn missing_at_end(plan: &[Planned]) -> Vec<SegmentName> {
    let is_tail = |planned: &&Planned| matches!(planned.until, Until::Tail { .. });
    let names: Vec<SegmentName> = plan.iter().filter(is_tail).map(|tail| tail.name).collect();
    let mut missing = Vec::new();
    for pair in names.windows(2) {
        let numbers = pair[0].number.0 + 1..pair[1].number.0;
        if pair[0].epoch == pair[1].epoch {
            missing.extend(numbers.take(MISSING_MAX).map(|number| SegmentName {
                number: SegmentNumber(number),
                ..pair[0]
            }));
        }
    }
    missing
}

/// Missing segments between two others that are listed.
const MISSING_MAX: usize = 100;

/// Where the earliest fold begins in a segment.
fn first_offset(name: SegmentName, replays: &[Replay]) -> u64 {
    let offset = |replay: &Replay| match replay.start {
        Some(start) if (start.epoch, start.segment) == (name.epoch, name.number) => start.offset,
        Some(start) if (start.epoch, start.segment) > (name.epoch, name.number) => u64::MAX,
        _ => SEGMENT_HEADER_BYTES as u64,
    };
    let first = replays.iter().map(offset).min();
    first.unwrap_or(SEGMENT_HEADER_BYTES as u64)
}

fn feed(
    replay: &mut Replay,
    name: SegmentName,
    offset: u64,
    (raw, decoded): (&RawRecord<'_>, Result<Record<'_>, Malformed>),
    names: &dyn Names,
) {
    if raw.lsn < replay.fold.next {
        return;
    }
    if raw.lsn > replay.fold.next {
        replay.fold.lose(Lsn(raw.lsn.0 - 1));
    }
    let record = match decoded {
        Ok(record) => record,
        Err(malformed) => {
            let what = format!("record {}: {malformed}", raw.lsn);
            replay.fold.contradictions.push((raw.lsn, what));
            replay.fold.lose(raw.lsn);
            return;
        }
    };
    let place = Place {
        lsn: raw.lsn,
        epoch: name.epoch,
        location: Location {
            segment: name.number,
            offset: offset as u32,
            length: raw.length,
        },
    };
    replay.fold.apply(place, record, names);
}
