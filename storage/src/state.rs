//! The fold of the journal: what its records add up to.
//!
//! One `apply` serves the active (under the locks that also order its appends), recovery and the
//! standby. Each object remembers the LSN through which it is complete, and skips what it contains
//! already: so a checkpoint can be taken object by object while the active goes on.
//!
//! Locks are taken in one order: transactions, directory, backlogs by id, producer shards by
//! index, segments. The append lock nests inside the backlogs' and shards'.

mod apply;
mod entries;
mod producers;
mod segments;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

pub(crate) use self::apply::{Locked, Place};
pub(crate) use self::entries::{Entries, SHARED, packed_length};
pub(crate) use self::producers::{Producer, SHARDS, Shard, shard_of};
pub(crate) use self::segments::Segments;
pub(crate) use self::transactions::{OpenMessage, Prepared, Transactions};
use crate::backlog::Backlog;
use crate::position::{BacklogId, Epoch, Lsn, SegmentNumber};
use crate::record::Seal;

/// Which backlogs there are.
#[derive(Default)]
pub(crate) struct Directory {
    pub(crate) backlogs: BTreeMap<BacklogId, Arc<Backlog>>,
    /// The highest id given so far.
    pub(crate) last_id: u32,
    /// Records at or below this are contained already.
    pub(crate) complete_through: Lsn,
}

/// One tenure in the chain of tenures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tenure {
    pub(crate) epoch: Epoch,
    /// Its first segment, which begins with the seal.
    pub(crate) segment: SegmentNumber,
    /// The seal's own LSN.
    pub(crate) lsn: Lsn,
    pub(crate) seal: Seal,
}

/// What the journal's records add up to.
#[derive(Default)]
pub struct State {
    pub(crate) transactions: Mutex<Transactions>,
    pub(crate) directory: Mutex<Directory>,
    pub(crate) producers: [Mutex<Shard>; SHARDS],
    pub(crate) segments: Mutex<Segments>,
    /// Oldest first. The checkpoint keeps it: the segments with the seals may be gone.
    pub(crate) tenures: Mutex<Vec<Tenure>>,
    /// The end of the checkpoint this began with: up to it, records may speak of backlogs that
    /// the checkpoint no longer has.
    pub(crate) known_through: Lsn,
    applied: AtomicU64,
}

impl State {
    /// The last LSN applied.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        Lsn(self.applied.load(Ordering::Acquire))
    }

    /// All backlogs, by id.
    #[must_use]
    pub fn backlogs(&self) -> Vec<Arc<Backlog>> {
        self.directory.lock().backlogs.values().cloned().collect()
    }

    /// The highest sequence seen of a producer.
    #[must_use]
    pub fn producer_sequence(&self, producer: &[u8]) -> Option<u64> {
        let shard = self.producers[shard_of(producer)].lock();
        Some(shard.producers.get(producer)?.sequence)
    }

    pub(crate) fn set_applied(&self, lsn: Lsn) {
        self.applied.store(lsn.0, Ordering::Release);
    }

    /// The tenure that wrote a segment: numbers ascend from tenure to tenure.
    pub(crate) fn epoch_of(&self, segment: SegmentNumber) -> Option<Epoch> {
        let tenures = self.tenures.lock();
        let after = tenures.partition_point(|tenure| tenure.segment <= segment);
        Some(tenures.get(after.checked_sub(1)?)?.epoch)
    }

    /// The newest tenure whose seal was applied.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        self.tenures.lock().last().copied()
    }
}
