//! Which segments hold records that somebody may still want to read, and how many bytes of them.

use std::collections::{BTreeMap, HashMap};

use crate::chain::SegmentName;
use crate::position::{Epoch, Location, SegmentNumber};

struct Use {
    epoch: Epoch,
    /// References: one for each place of a pending message, and one for a message of an undecided
    /// transaction.
    live: u64,
    /// Bytes of the records that are referenced, each counted once.
    bytes: u64,
    /// References by offset, of records with several targets only: the others need no such memory.
    shared: HashMap<u32, u32>,
}

/// References by segment; a segment without any is not in it.
#[derive(Default)]
pub(crate) struct Segments {
    uses: BTreeMap<SegmentNumber, Use>,
    bytes: u64,
}

/// What is live in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) segment: SegmentName,
    pub(crate) references: u64,
    pub(crate) bytes: u64,
}

impl Segments {
    /// One more reference. `is_shared`: the record has several targets, whatever became of them.
    pub(crate) fn add(&mut self, epoch: Epoch, location: Location, is_shared: bool) {
        let used = self.uses.entry(location.segment).or_insert_with(|| Use {
            epoch,
            live: 0,
            bytes: 0,
            shared: HashMap::new(),
        });
        used.add(location, is_shared, &mut self.bytes);
    }

    /// One more reference to a record that is referenced already.
    pub(crate) fn add_again(&mut self, location: Location, is_shared: bool) {
        if let Some(used) = self.uses.get_mut(&location.segment) {
            used.add(location, is_shared, &mut self.bytes);
        }
    }

    pub(crate) fn subtract(&mut self, location: Location, is_shared: bool) {
        let Some(used) = self.uses.get_mut(&location.segment) else {
            return;
        };
        let is_last = !is_shared || used.is_last(location.offset);
        if is_last {
            let bytes = u64::from(location.length).min(used.bytes);
            used.bytes -= bytes;
            self.bytes -= bytes;
        }
        used.live = used.live.saturating_sub(1);
        if used.live == 0 {
            self.bytes -= used.bytes;
            self.uses.remove(&location.segment);
        }
    }

    pub(crate) fn epoch_of(&self, segment: SegmentNumber) -> Option<Epoch> {
        Some(self.uses.get(&segment)?.epoch)
    }

    /// The oldest segment in use.
    pub(crate) fn oldest(&self) -> Option<SegmentNumber> {
        Some(*self.uses.first_key_value()?.0)
    }

    pub(crate) fn is_live(&self, name: SegmentName) -> bool {
        self.epoch_of(name.number) == Some(name.epoch)
    }

    /// Bytes of all records that are referenced, each counted once.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The segments in use, oldest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = Live> {
        self.uses.iter().map(|(number, used)| Live {
            segment: SegmentName {
                number: *number,
                epoch: used.epoch,
            },
            references: used.live,
            bytes: used.bytes,
        })
    }
}

impl Use {
    fn add(&mut self, location: Location, is_shared: bool, all: &mut u64) {
        self.live += 1;
        let is_first = !is_shared || {
            let references = self.shared.entry(location.offset).or_default();
            *references += 1;
            *references == 1
        };
        if is_first {
            self.bytes += u64::from(location.length);
            *all += u64::from(location.length);
        }
    }

    /// Takes one reference away from a record with several targets.
    fn is_last(&mut self, offset: u32) -> bool {
        let Some(references) = self.shared.get_mut(&offset) else {
            return true;
        };
        *references -= 1;
        if *references == 0 {
            self.shared.remove(&offset);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32, offset: u32) -> Location {
        Location {
            segment: SegmentNumber(segment),
            offset,
            length: 100,
        }
    }

    #[test]
    fn a_record_with_several_targets_counts_once_until_the_last_one_goes() {
        let mut segments = Segments::default();
        for _ in 0..3 {
            segments.add(Epoch(1), at(1, 64), true);
        }
        segments.add(Epoch(1), at(1, 164), false);
        segments.add(Epoch(1), at(2, 64), false);
        assert_eq!(segments.bytes(), 300);
        segments.subtract(at(1, 64), true);
        segments.subtract(at(1, 64), true);
        assert_eq!(segments.bytes(), 300);
        segments.subtract(at(1, 64), true);
        assert_eq!(segments.bytes(), 200);
        let live: Vec<_> = segments
            .live()
            .map(|live| (live.references, live.bytes))
            .collect();
        assert_eq!(live, [(1, 100), (1, 100)]);
        segments.subtract(at(1, 164), false);
        assert_eq!(segments.oldest(), Some(SegmentNumber(2)));
        segments.subtract(at(2, 64), false);
        assert_eq!((segments.bytes(), segments.oldest()), (0, None));
    }

    #[test]
    fn the_same_record_is_referenced_by_its_transaction_and_its_target_for_a_moment() {
        let mut segments = Segments::default();
        segments.add(Epoch(1), at(1, 64), false);
        segments.add_again(at(1, 64), false);
        segments.subtract(at(1, 64), false);
        assert_eq!(segments.bytes(), 100);
    }
}
