//! The acknowledgement gate: the only answer to "may we still acknowledge?".
//!
//! [`Gate::is_open`] never touches the directory, so it works while every call to storage hangs. Only
//! [`Gate::confirm`] may look there, and only where the fence is strict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// What a gate knows, as a value: every decision of it is made here, without a clock. The model of
/// the protocol uses the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct GateState {
    /// Until when acknowledging is allowed; zero: not yet.
    pub(crate) open_until: Duration,
    /// When the last successful renewal started; zero: none yet.
    pub(crate) proven: Duration,
    pub(crate) is_fenced: bool,
}

impl GateState {
    pub(crate) fn is_open(self, now: Duration) -> bool {
        !self.is_fenced && now < self.open_until
    }

    /// See [`Gate::is_open_for`].
    pub(crate) fn is_open_for(self, locked_at: Duration, now: Duration) -> bool {
        locked_at < self.proven && self.is_open(now)
    }

    /// See [`Gate::renewed`].
    pub(crate) fn renewed(self, started: Duration, lease: Duration) -> GateState {
        GateState {
            open_until: self.open_until.max(started.saturating_add(lease)),
            proven: self.proven.max(started),
            is_fenced: self.is_fenced,
        }
    }

    /// When the role is given up: a late renewal within half a lease still keeps it, and the ports
    /// are closed before another broker can have opened its own.
    pub(crate) fn expiry(self, stage: Stage, lease: Duration) -> Duration {
        match stage {
            Stage::Proving { since } => self.open_until.max(since + lease) + lease / 2,
            Stage::Serving => self.open_until + lease / 2,
            Stage::Releasing { since } => since + lease,
        }
    }

    #[cfg(test)]
    pub(crate) fn fenced(self) -> GateState {
        GateState {
            is_fenced: true,
            ..self
        }
    }
}

/// How far somebody with a sealed tenure has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// The first renewal is under way.
    Proving { since: Duration },
    /// It acknowledges.
    Serving,
    /// It never acknowledges again, and is letting the lease and the locks go.
    Releasing { since: Duration },
}

/// Asks the directory whether nobody has claimed a newer epoch.
type Confirm = Box<dyn Fn() -> bool + Send + Sync>;

/// Open from a successful renewal until the lease that it gives has run out, and never again after
/// [`Gate::fence`].
pub struct Gate {
    clock: Arc<dyn Clock>,
    /// The fields of [`GateState`], times in nanoseconds.
    open_until_ns: AtomicU64,
    proven_ns: AtomicU64,
    is_fenced: AtomicBool,
    /// Asked before each release where the fence is strict.
    confirm: Option<Confirm>,
    /// Broken on purpose: see [`Gate::always_open`].
    is_always_open: bool,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Gate> {
        Self::with(clock, None, false)
    }

    /// A closed gate that asks `confirm` before anything is released ([`Gate::confirm`]).
    #[must_use]
    pub fn strict(
        clock: Arc<dyn Clock>,
        confirm: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Arc<Gate> {
        Self::with(clock, Some(confirm), false)
    }

    /// A gate that holds nothing back, so that a test can show that it would notice.
    #[doc(hidden)]
    #[must_use]
    pub fn always_open(clock: Arc<dyn Clock>) -> Arc<Gate> {
        Self::with(clock, None, true)
    }

    fn with(clock: Arc<dyn Clock>, confirm: Option<Confirm>, is_always_open: bool) -> Arc<Gate> {
        Arc::new(Gate {
            clock,
            open_until_ns: AtomicU64::new(0),
            proven_ns: AtomicU64::new(0),
            is_fenced: AtomicBool::new(false),
            confirm,
            is_always_open,
        })
    }

    pub(crate) fn state(&self) -> GateState {
        GateState {
            open_until: self.open_until(),
            proven: self.proven(),
            is_fenced: self.is_fenced(),
        }
    }

    /// True while an acknowledgement may be given.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_always_open || self.state().is_open(self.clock.now())
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
        self.is_always_open || self.state().is_open_for(locked_at, self.clock.now())
    }

    /// The last question before something is released: it was durable before this was asked. False,
    /// and the gate is fenced, if somebody has claimed a newer epoch or that cannot be told.
    ///
    /// With a strict fence this is a call to storage that can block without limit; else true at
    /// once. One answer is good for all that was durable when it was asked for.
    #[must_use]
    pub fn confirm(&self) -> bool {
        let is_alone = self.confirm.as_ref().is_none_or(|confirm| confirm());
        if !is_alone {
            self.fence();
        }
        is_alone
    }

    /// True if [`Gate::confirm`] may take its time.
    pub(crate) fn is_strict(&self) -> bool {
        self.confirm.is_some()
    }

    /// A renewal that *started* at `started` succeeded: open until `started + lease`.
    pub fn renewed(&self, started: Duration, lease: Duration) {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let renewed = self.state().renewed(started, lease);
        self.proven_ns
            .fetch_max(nanoseconds(renewed.proven), Ordering::AcqRel);
        self.open_until_ns
            .fetch_max(nanoseconds(renewed.open_until), Ordering::AcqRel);
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
    fn a_fenced_value_is_closed_whatever_comes() {
        let second = Duration::from_secs(1);
        let state = GateState::default().renewed(second, HOUR);
        assert!(state.is_open(second));
        let state = state.fenced().renewed(second, HOUR);
        assert!(!state.is_open(second) && !state.is_open_for(Duration::ZERO, second));
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
        assert!(gate.is_open_for(now - Duration::from_nanos(1)));
        assert!(!gate.is_open_for(now), "nobody knows which was first");
    }

    #[test]
    fn a_strict_gate_asks_before_each_release_and_is_fenced_by_a_no() {
        let clock = Arc::new(RealClock::new());
        let now = clock.now();
        let is_alone = Arc::new(AtomicBool::new(true));
        let answer = Arc::clone(&is_alone);
        let gate = Gate::strict(clock, Box::new(move || answer.load(Ordering::Acquire)));
        gate.renewed(now, HOUR);
        assert!(gate.confirm() && gate.is_open());
        is_alone.store(false, Ordering::Release);
        assert!(gate.is_open(), "nobody asked yet");
        assert!(!gate.confirm() && gate.is_fenced());
    }
}
