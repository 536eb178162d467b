//! Begins a tenure in the journal.

use std::sync::Arc;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::error::{BeginError, Failure};
use crate::position::Epoch;
use crate::store::Store;
use crate::tail::TakeoverPoint;
use crate::tenure::gate::Gate;

/// How the active writes its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Bytes of a segment; a larger record gets a segment of its own.
    pub segment_bytes: u32,
    /// Journal bytes between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Fill new segments with zeros ahead.
    pub preallocate: bool,
}

/// Whom the journal's threads tell.
pub struct Callbacks {
    /// The threads gave up; the gate is fenced already. Called at most once, from one of them.
    pub on_failed: Box<dyn Fn(Failure) + Send + Sync>,
}

/// The beginning of a tenure.
pub struct Journal {}

impl Journal {
    /// Makes the last batch of the former tenure durable, seals it in a new segment and starts the
    /// journal's threads. Blocks on storage. Nothing is released before `gate` is open.
    ///
    /// # Errors
    /// [`BeginError`]; nothing runs then.
    pub fn begin(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        gate: Arc<Gate>,
        epoch: Epoch,
        point: TakeoverPoint,
        options: JournalOptions,
        callbacks: Callbacks,
    ) -> Result<Arc<Store>, BeginError> {
        let _ = (disk, clock, gate, epoch, point, options, callbacks);
        unimplemented!()
    }
}
