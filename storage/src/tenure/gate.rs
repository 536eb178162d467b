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
    /// When the last successful renewal started, in nanoseconds; 0 = none yet.
    proven_ns: AtomicU64,
    is_fenced: AtomicBool,
    /// Broken on purpose: see [`Gate::always_open`].
    is_always_open: bool,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Gate> {
        Self::with(clock, false)
    }

    /// A gate that holds nothing back, so that a test can show that it would notice.
    #[doc(hidden)]
    #[must_use]
    pub fn always_open(clock: Arc<dyn Clock>) -> Arc<Gate> {
        Self::with(clock, true)
    }

    fn with(clock: Arc<dyn Clock>, is_always_open: bool) -> Arc<Gate> {
        Arc::new(Gate {
            clock,
            open_until_ns: AtomicU64::new(0),
            proven_ns: AtomicU64::new(0),
            is_fenced: AtomicBool::new(false),
            is_always_open,
        })
    }

    /// True while an acknowledgement may be given.
    #[must_use]
    pub fn is_open(&self) -> bool {
        if self.is_always_open {
            return true;
        }
        !self.is_fenced()
            && self.clock.now().as_nanos() < u128::from(self.open_until_ns.load(Ordering::Acquire))
    }

    /// True while an acknowledgement may be given of bytes in a file that was locked at
    /// `locked_at`, by [`Clock::now`].
    ///
    /// A file that was created and locked after the server took this host's locks away shows no
    /// error. A renewal goes through a descriptor that was locked before: one that started after
    /// `locked_at` and succeeded proves that the file was there, under its name, while all the
    /// locks were still ours, so whoever gets them later finds it.
    #[must_use]
    pub fn is_open_for(&self, locked_at: Duration) -> bool {
        (self.is_always_open || locked_at <= self.proven()) && self.is_open()
    }

    /// A renewal that *started* at `started` succeeded: open until `started + lease`.
    pub fn renewed(&self, started: Duration, lease: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let until = nanoseconds(started.saturating_add(lease));
        self.proven_ns
            .fetch_max(nanoseconds(started), Ordering::AcqRel);
        self.open_until_ns.fetch_max(until, Ordering::AcqRel);
    }

    /// Until when the gate is open, by [`Clock::now`].
    #[must_use]
    pub fn open_until(&self) -> Duration {
        Duration::from_nanos(self.open_until_ns.load(Ordering::Acquire))
    }

    /// When the last successful renewal started; zero before the first one.
    #[must_use]
    pub fn proven(&self) -> Duration {
        Duration::from_nanos(self.proven_ns.load(Ordering::Acquire))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;

    const HOUR: Duration = Duration::from_secs(3600);

    fn gate() -> (Arc<Gate>, Duration) {
        let clock = Arc::new(RealClock::new());
        let now = clock.now();
        (Gate::new(clock), now)
    }

    #[test]
    fn it_is_closed_until_a_renewal_and_for_good_after_the_fence() {
        let (gate, now) = gate();
        assert!(!gate.is_open());
        gate.renewed(now, HOUR);
        assert!(gate.is_open());
        gate.fence();
        gate.renewed(now, HOUR);
        assert!(!gate.is_open() && gate.is_fenced());
    }

    #[test]
    fn a_late_renewal_that_started_long_ago_gives_nothing() {
        let (gate, now) = gate();
        let (before, short) = (Duration::from_secs(2), Duration::from_secs(1));
        gate.renewed(now.saturating_sub(before), short);
        assert!(!gate.is_open());
        gate.renewed(now, HOUR);
        gate.renewed(now.saturating_sub(before), HOUR);
        assert_eq!(gate.open_until(), now + HOUR);
    }

    #[test]
    fn a_file_counts_only_after_a_renewal_that_started_later() {
        let (gate, now) = gate();
        gate.renewed(now, HOUR);
        assert!(gate.is_open_for(now));
        assert!(!gate.is_open_for(now + Duration::from_nanos(1)));
    }
}
