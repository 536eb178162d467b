//! The acknowledgement gate: the only answer to "may we still acknowledge?".
//!
//! It never touches the directory, so it works while every call to storage hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// Open from a successful renewal until the lease that it gives has run out, and never again after
/// [`Gate::fence`].
pub struct Gate {
    clock: Arc<dyn Clock>,
    /// `Clock::now` in nanoseconds until which acknowledging is allowed; 0 = not yet.
    open_until_ns: AtomicU64,
    is_fenced: AtomicBool,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Gate> {
        Arc::new(Gate {
            clock,
            open_until_ns: AtomicU64::new(0),
            is_fenced: AtomicBool::new(false),
        })
    }

    /// True while an acknowledgement may be given.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.is_fenced()
            && self.clock.now().as_nanos() < u128::from(self.open_until_ns.load(Ordering::Acquire))
    }

    /// A renewal that *started* at `started` succeeded: open until `started + lease`.
    pub fn renewed(&self, started: Duration, lease: Duration) {
        let until = (started + lease).as_nanos().min(u128::from(u64::MAX)) as u64;
        self.open_until_ns.fetch_max(until, Ordering::AcqRel);
    }

    /// Until when the gate is open, by [`Clock::now`].
    #[must_use]
    pub fn open_until(&self) -> Duration {
        Duration::from_nanos(self.open_until_ns.load(Ordering::Acquire))
    }

    /// Closes the gate for good.
    pub fn fence(&self) {
        self.is_fenced.store(true, Ordering::Release);
    }

    /// True after [`Gate::fence`].
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.is_fenced.load(Ordering::Acquire)
    }
}
