//! Which segments hold records that somebody may still want to read.

use std::collections::BTreeMap;

use crate::chain::SegmentName;
use crate::position::{Epoch, Location, SegmentNumber};

#[derive(Clone, Copy)]
struct Use {
    epoch: Epoch,
    /// References: one for each target of a pending message.
    live: u64,
}

/// References by segment; a segment without any is not in it.
#[derive(Default)]
pub(crate) struct Segments {
    uses: BTreeMap<SegmentNumber, Use>,
}

impl Segments {
    pub(crate) fn add(&mut self, epoch: Epoch, location: Location, references: usize) {
        if references > 0 {
            let used = self
                .uses
                .entry(location.segment)
                .or_insert(Use { epoch, live: 0 });
            used.live += references as u64;
        }
    }

    /// One more reference to a record that is referenced already.
    pub(crate) fn add_again(&mut self, location: Location) {
        if let Some(used) = self.uses.get_mut(&location.segment) {
            used.live += 1;
        }
    }

    pub(crate) fn subtract(&mut self, location: Location, references: usize) {
        if let Some(used) = self.uses.get_mut(&location.segment) {
            used.live = used.live.saturating_sub(references as u64);
            if used.live == 0 {
                self.uses.remove(&location.segment);
            }
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
}
