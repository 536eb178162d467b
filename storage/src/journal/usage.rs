//! What is told of the directory's space.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::position::{BacklogId, Location};

/// A record of which a pending message was moved elsewhere: who keeps something by its location
/// drops that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedRecord {
    /// One of the backlogs that the message is pending in, or will be once its transaction commits.
    pub backlog: BacklogId,
    /// Where the record was.
    pub from: Location,
}

/// Told of records that were moved.
pub(crate) type OnMoved = Arc<dyn Fn(&[MovedRecord]) + Send + Sync>;

/// How the space of the directory is used, as the active's keeper last saw it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpaceUsage {
    /// Bytes of all segments and checkpoints. The files may be sparse: this is what they can take.
    pub disk_bytes: u64,
    /// Bytes of the records of all pending messages now, each message counted once.
    pub live_bytes: u64,
    /// Segments, the one being filled and those prepared included.
    pub segments: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of the checkpoints that are there.
    pub checkpoint_bytes: u64,
    /// Checkpoints written in this tenure.
    pub checkpoints: u64,
    /// Messages moved out of sparse segments in this tenure.
    pub moved_messages: u64,
    /// Bytes written for that.
    pub moved_bytes: u64,
    /// Segments removed in this tenure.
    pub removed_segments: u64,
}

/// The parts of [`SpaceUsage`] that the keeper counts.
#[derive(Default)]
pub(crate) struct SpaceCounters {
    pub(crate) disk_bytes: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) checkpoint_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) moved_records: AtomicU64,
    pub(crate) moved_bytes: AtomicU64,
    pub(crate) removed_segments: AtomicU64,
}

impl SpaceCounters {
    pub(crate) fn tell(&self, live_bytes: u64, segment_bytes: u64) -> SpaceUsage {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SpaceUsage {
            disk_bytes: load(&self.disk_bytes),
            live_bytes,
            segments: load(&self.segments),
            segment_bytes,
            checkpoint_bytes: load(&self.checkpoint_bytes),
            checkpoints: load(&self.checkpoints),
            moved_messages: load(&self.moved_records),
            moved_bytes: load(&self.moved_bytes),
            removed_segments: load(&self.removed_segments),
        }
    }
}
