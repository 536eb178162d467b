//! Following a journal that somebody else writes: the warm standby's reader.

use std::path::PathBuf;
use std::sync::Arc;

use crate::chain::SegmentName;
use crate::disk::Disk;
use crate::error::FollowError;
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::state::State;

/// What one look at the journal brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last LSN applied.
    pub lsn: Lsn,
    /// Bytes that this look applied.
    pub applied_bytes: u64,
    /// Bytes known to lie ahead, at most.
    pub behind_bytes: u64,
    /// True when all that was there is applied; false: look again at once.
    pub is_at_end: bool,
}

/// A batch as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// The segment.
    pub segment: SegmentName,
    /// Its first byte in the segment.
    pub offset: u64,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Where a tenure can begin: everything that counts of the former ones is applied.
pub struct TakeoverPoint {
    /// The fold of it.
    pub state: Arc<State>,
    /// The epoch that is to be sealed; 0 in a new journal.
    pub previous_epoch: Epoch,
    /// The last LSN that counts of it.
    pub sealed_lsn: Lsn,
    /// The segment in which that LSN is.
    pub segment: SegmentNumber,
    /// The first byte in the segment that does not count.
    pub end_offset: u64,
    /// The last batch read: perhaps visible and not durable.
    pub last_batch: Option<LastBatch>,
    /// The number for the next tenure's first segment.
    pub next_number: SegmentNumber,
}

/// Reads what the active writes and applies it.
pub struct Follower {
    disk: Arc<dyn Disk>,
    state: Arc<State>,
}

impl Follower {
    /// Loads the newest checkpoint that can be read; reads nothing of the journal behind it yet.
    ///
    /// # Errors
    /// [`FollowError`]
    pub fn open(disk: Arc<dyn Disk>) -> Result<Follower, FollowError> {
        let _ = disk;
        unimplemented!()
    }

    /// The fold of what was applied. It is another one after a restart from a checkpoint.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The last LSN applied.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        unimplemented!()
    }

    /// The epoch whose records are being read; 0 in a new journal.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        unimplemented!()
    }

    /// The segments that the active of [`Follower::epoch`] may be writing or about to write, by a
    /// fresh listing: the one being read and all later ones of that epoch. Empty in a new journal.
    ///
    /// # Errors
    /// [`FollowError::Io`]
    pub fn tail_segments(&self) -> Result<Vec<PathBuf>, FollowError> {
        let _ = &self.disk;
        unimplemented!()
    }

    /// Applies what came since the last look, up to some MiB.
    ///
    /// # Errors
    /// [`FollowError`]; after a transient one just poll again.
    pub fn poll(&mut self) -> Result<Progress, FollowError> {
        unimplemented!()
    }

    /// Reads to the end through fresh descriptors, once nobody else can acknowledge any more.
    ///
    /// # Errors
    /// [`FollowError`]
    pub fn finish(self, epoch: Epoch) -> Result<TakeoverPoint, FollowError> {
        let _ = epoch;
        unimplemented!()
    }
}
