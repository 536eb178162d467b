//! How far the journal is written, durable and released.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::position::Lsn;

/// Three positions, `written >= durable >= released`; none ever falls. Only the journal's thread
/// raises them.
#[derive(Default)]
pub(crate) struct Watermark {
    /// Handed to the file.
    written: AtomicU64,
    /// Synced.
    durable: AtomicU64,
    /// Synced, and after the sync the gate was open.
    released: AtomicU64,
}

impl Watermark {
    pub(crate) fn at(durable: Lsn) -> Self {
        Watermark {
            written: AtomicU64::new(durable.0),
            durable: AtomicU64::new(durable.0),
            released: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_written(&self, lsn: Lsn) {
        self.written.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn set_durable(&self, lsn: Lsn) {
        debug_assert!(lsn.0 <= self.written.load(Ordering::Acquire));
        self.durable.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn set_released(&self, lsn: Lsn) {
        debug_assert!(lsn <= self.durable());
        self.released.store(lsn.0, Ordering::Release);
    }

    pub(crate) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn released(&self) -> Lsn {
        Lsn(self.released.load(Ordering::Acquire))
    }
}
