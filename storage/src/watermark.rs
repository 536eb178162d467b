//! How far the journal is durable and released.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::position::Lsn;

/// Two positions, `durable >= released`; neither ever falls. Only the journal's lanes raise them.
#[derive(Default)]
pub(crate) struct Watermark {
    /// Synced, with everything before.
    durable: AtomicU64,
    /// When the segment was locked in which that is, in nanoseconds of the clock.
    locked_ns: AtomicU64,
    /// Synced, and after the sync the gate was open.
    released: AtomicU64,
}

impl Watermark {
    /// At the seal, in a segment locked at `locked_at`.
    pub(crate) fn at(seal: Lsn, locked_at: Duration) -> Self {
        let watermark = Watermark::default();
        watermark.set_durable(seal, locked_at);
        watermark
    }

    /// Everything up to `lsn` is durable, in segments locked at `locked_at` or before. Called under
    /// the lock of what is pending only: in order.
    pub(crate) fn set_durable(&self, lsn: Lsn, locked_at: Duration) {
        let locked_ns = u64::try_from(locked_at.as_nanos()).unwrap_or(u64::MAX);
        // First: whoever sees the new position must not see the old time.
        self.locked_ns.fetch_max(locked_ns, Ordering::AcqRel);
        self.durable.fetch_max(lsn.0, Ordering::AcqRel);
    }

    /// What is durable, and a time at or after the lock of each segment in which it is.
    pub(crate) fn durable_and_locked(&self) -> (Lsn, Duration) {
        let durable = self.durable();
        let locked_ns = self.locked_ns.load(Ordering::Acquire);
        (durable, Duration::from_nanos(locked_ns))
    }

    pub(crate) fn set_released(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.durable());
        self.released.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn released(&self) -> Lsn {
        Lsn(self.released.load(Ordering::Acquire))
    }
}
