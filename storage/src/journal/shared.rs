//! What the store and the tenure's two threads share.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::error;

use super::pending::Pending;
use super::usage::{OnMoved, SpaceCounters};
use super::{Callbacks, JournalOptions};
use crate::chain::SegmentName;
use crate::cipher::{Keyring, RecordCipher, TenureCipher, cipher_of};
use crate::clock::{Clock, Signal};
use crate::disk::{Disk, DiskFile, Open};
use crate::error::Failure;
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::state::State;
use crate::tenure::gate::Gate;
use crate::watermark::Watermark;
use crate::writer::Chooser;

/// Told whenever the released position has grown.
pub(crate) type OnReleased = Arc<dyn Fn(Lsn) + Send + Sync>;

/// A place in the journal as one number that only grows.
pub(crate) fn written_place(segment: SegmentNumber, offset: u64) -> u64 {
    u64::from(segment.0) << 32 | offset.min(u64::from(u32::MAX))
}

/// A segment that can be written: created, locked, its header durable.
pub(crate) struct Prepared {
    pub(crate) number: SegmentNumber,
    /// Its length: less than usual if there was little space.
    pub(crate) bytes: u32,
    /// The descriptor that holds the lock: the only one that writes.
    pub(crate) file: Box<dyn DiskFile>,
    /// When the lock was there, by [`Clock::now`]: what is written here is released only once a
    /// renewal that started later has succeeded (see [`Gate::is_open_for`]).
    pub(crate) locked_at: Duration,
}

/// A segment that can be read.
pub(crate) struct Reader {
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) cipher: RecordCipher,
}

/// What the active knows of the space in the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceStatus {
    /// Messages are refused for lack of space.
    pub is_full: bool,
    /// Bytes free when it looked last.
    pub free_bytes: u64,
    /// Since when it is full, in milliseconds since 1970.
    pub full_since_ms: Option<u64>,
}

/// See the module. No mutex in here is ever held across a call of `disk` or `clock`.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) epoch: Epoch,
    pub(crate) options: JournalOptions,
    pub(crate) state: Arc<State>,
    pub(crate) pending: Pending,
    pub(crate) watermark: Watermark,
    /// Wakes each of the journal's lanes.
    pub(crate) lanes: Vec<Arc<dyn Signal>>,
    /// Lanes that have not come to their end.
    pub(crate) lanes_left: AtomicUsize,
    pub(crate) chooser: Chooser,
    /// Above 0: somebody is releasing, and will look once more if it grows.
    pub(crate) is_releasing: AtomicU32,
    /// Wakes the keeper.
    pub(crate) keeper_signal: Arc<dyn Signal>,
    /// The segments that are written or will be.
    pub(crate) segments: Mutex<BTreeMap<SegmentNumber, Arc<Prepared>>>,
    /// Read descriptors that are kept open.
    pub(crate) readers: Mutex<VecDeque<(SegmentName, Arc<Reader>)>>,
    /// Whether there is space.
    pub(crate) fullness: Mutex<SpaceStatus>,
    /// The keys with which former tenures are read.
    pub(crate) keys: Keyring,
    /// How this tenure writes.
    pub(crate) cipher: Arc<TenureCipher>,
    pub(crate) on_released: Mutex<Vec<OnReleased>>,
    pub(crate) callbacks: Callbacks,
    /// The keeper waits until this is released.
    pub(crate) keeper_waits_for: AtomicU64,
    /// The last place that is written and synced: see [`written_place`].
    pub(crate) written_through: AtomicU64,
    /// The keeper is woken when that much is written.
    pub(crate) wake_keeper_at: AtomicU64,
    /// What the keeper knows and does of the space.
    pub(crate) space: SpaceCounters,
    pub(crate) on_moved: Mutex<Vec<OnMoved>>,
    /// Journal bytes since the last checkpoint began.
    pub(crate) bytes_since_checkpoint: AtomicU64,
    /// Let the threads finish what there is, then end.
    pub(crate) is_draining: AtomicBool,
    /// The journal's lanes have come to their end.
    pub(crate) is_writer_done: AtomicBool,
    pub(crate) has_failed: AtomicBool,
}

impl Shared {
    /// Opens a segment of this or a former tenure.
    pub(crate) fn open_reader(&self, name: SegmentName) -> io::Result<Reader> {
        let file = self.disk.open(&name.path(), Open::Read)?;
        let cipher = match name.epoch == self.epoch {
            true => self.cipher.of(name.number),
            false => cipher_of(&self.keys, &*file, name)?,
        };
        Ok(Reader { file, cipher })
    }

    /// True once nothing may be written any more.
    pub(crate) fn is_over(&self) -> bool {
        self.gate.is_fenced()
    }

    /// Refuses appends and wakes the threads, so that they see that it is over.
    pub(crate) fn end(&self) {
        self.pending.end();
        self.wake_lanes();
        self.keeper_signal.notify();
    }

    /// Notes what is written and synced, and wakes the keeper if it waits for that.
    pub(crate) fn note_written(&self, segment: SegmentNumber, end_offset: u64) {
        let place = written_place(segment, end_offset);
        // Lanes may come here in another order than their batches were written.
        self.written_through.fetch_max(place, Ordering::AcqRel);
        if place >= self.wake_keeper_at.load(Ordering::Acquire) {
            self.wake_keeper_at.store(u64::MAX, Ordering::Release);
            self.keeper_signal.notify();
        }
    }

    /// The segment that is being written: those before it are full.
    pub(crate) fn written_segment(&self) -> SegmentNumber {
        SegmentNumber((self.written_through.load(Ordering::Acquire) >> 32) as u32)
    }

    /// Gives up for good: an error of storage is never retried.
    pub(crate) fn fail(&self, failure: Failure) {
        if self.has_failed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.gate.fence();
        self.end();
        error!(epoch = %self.epoch, %failure, "The journal failed; this broker acknowledges nothing any more.");
        (self.callbacks.on_failed)(failure);
    }

    pub(crate) fn fail_io(&self, doing: &str, name: SegmentName, error: &io::Error) {
        let reason = format!("cannot {doing} `{}`: {error}", name.path().display());
        self.fail(Failure::Storage(reason));
    }

    /// Runs a thread's body; a panic fences.
    pub(crate) fn guard(&self, body: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            self.fail(Failure::Panic(
                text.unwrap_or_else(|| "no message".to_owned()),
            ));
        }
    }

    /// Whether what was durable before this call may be released. Whoever releases asks here, with
    /// the watermark read before: with a strict fence it is a call to storage.
    pub(crate) fn may_release(&self, locked_at: Duration) -> bool {
        let gate = &self.gate;
        // The lease counts at the end: the question to the directory may have taken its time.
        gate.is_open_for(locked_at) && gate.confirm() && gate.is_open_for(locked_at)
    }

    /// All lanes look what there is.
    pub(crate) fn wake_lanes(&self) {
        for lane in &self.lanes {
            lane.notify();
        }
    }

    /// Releases what is durable if the lease is valid at this moment, which is after the sync. The
    /// one place where anything is released: one thread at a time, in order; whoever comes
    /// meanwhile leaves it to that one to look once more.
    pub(crate) fn release(&self) {
        if self.is_releasing.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        loop {
            let seen = self.is_releasing.load(Ordering::Acquire);
            self.release_durable();
            let left =
                self.is_releasing
                    .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire);
            if left.is_ok() {
                return;
            }
        }
    }

    fn release_durable(&self) {
        let (durable, locked_at) = self.watermark.durable_and_locked();
        if durable == self.watermark.released() || !self.may_release(locked_at) {
            return;
        }
        self.watermark.set_released(durable);
        let callbacks = self.on_released.lock().clone();
        for callback in &callbacks {
            callback(durable);
        }
        if self.keeper_waits_for.load(Ordering::Acquire) <= durable.0 {
            self.keeper_waits_for.store(u64::MAX, Ordering::Release);
            self.keeper_signal.notify();
        }
    }
}
