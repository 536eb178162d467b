//! Decides when a standby claims and when it takes over. No IO and no time of its own: it is told
//! what was seen and when, and says what to do.
//!
//! ```text
//!              locks, or a stale lease                 durable
//!   Watching -------------------------> Claiming -------------------> Waiting (lease only)
//!      ^                                   |   \                         |
//!      +------- the epoch is taken --------+    \ locks are held         | wait over, or locks
//!                                                \                       v
//!                                                 +----------------> TakingOver
//! ```

use std::time::Duration;

use crate::member::{Cause, Takeover};
use crate::position::Epoch;
use crate::tenure::claim::ClaimsView;
use crate::tenure::lease::LeaseBlock;

/// What the decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    pub(crate) lease: Duration,
    pub(crate) drift_permille: u32,
    pub(crate) takeover: Takeover,
    /// How the wait after a claim is measured.
    pub(crate) wait: Wait,
}

/// How long to wait after a claim. All but one break the protocol on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    /// The longest lease and the allowance for clocks.
    LeaseAndDrift,
    /// The lease alone: only the model tries that.
    #[cfg(test)]
    Lease,
    None,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing before this time (by `Clock::now`), or before something is seen.
    Watch(Option<Duration>),
    /// Create this epoch's claim and say what became of it.
    Claim(Epoch),
    /// Read to the end, seal, serve.
    TakeOver { epoch: Epoch, cause: Cause },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Watching {
        seen: Option<Seen>,
    },
    Claiming {
        epoch: Epoch,
        cause: Cause,
        wait: Duration,
    },
    Waiting {
        epoch: Epoch,
        cause: Cause,
        until: Duration,
    },
    TakingOver {
        epoch: Epoch,
        cause: Cause,
    },
}

/// A lease block and since when it has looked like that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    epoch: Epoch,
    block: LeaseBlock,
    since: Duration,
    /// The last look started here.
    looked: Duration,
    longest_lease: Duration,
}

/// All the locks there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    /// The highest epoch when they were obtained, or of any claim seen before.
    highest: Epoch,
    cause: Cause,
    /// Zero if they prove that nobody else acknowledges.
    wait: Duration,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seeker {
    rules: Rules,
    state: State,
    held: Option<Held>,
    /// Of any claim seen so far, and the longest lease.
    highest_seen: Epoch,
    longest_seen: Duration,
}

impl Seeker {
    pub(crate) fn new(rules: Rules) -> Seeker {
        Seeker {
            rules,
            state: State::Watching { seen: None },
            held: None,
            highest_seen: Epoch(0),
            longest_seen: Duration::ZERO,
        }
    }

    /// The claims were looked at between `started` and `ended`. True if something changed.
    pub(crate) fn observed(
        &mut self,
        started: Duration,
        ended: Duration,
        view: &ClaimsView,
    ) -> bool {
        self.longest_seen = self.longest_seen.max(view.longest_lease);
        if let Some((epoch, _)) = view.newest {
            self.highest_seen = self.highest_seen.max(epoch);
        }
        let State::Watching { seen } = &mut self.state else {
            return false;
        };
        let Some((epoch, block)) = &view.newest else {
            *seen = None;
            return true;
        };
        match seen {
            Some(seen) if seen.epoch == *epoch && seen.block == *block => {
                seen.looked = started;
                seen.longest_lease = view.longest_lease;
                false
            }
            _ => {
                *seen = Some(Seen {
                    epoch: *epoch,
                    block: block.clone(),
                    since: ended,
                    looked: started,
                    longest_lease: view.longest_lease,
                });
                true
            }
        }
    }

    /// All the locks are held; `highest` is the highest epoch seen after that. False if that proves
    /// nothing: the newest claim that was seen before is gone, so somebody emptied the directory, and
    /// whoever had that claim has the locks of deleted files.
    pub(crate) fn locked(&mut self, highest: Epoch, is_new: bool) -> bool {
        let cause = if is_new {
            Cause::FirstStart
        } else {
            Cause::Lock
        };
        let proves = highest >= self.highest_seen;
        let wait = match proves {
            true => Duration::ZERO,
            false => self.wait_after_claim(self.rules.lease.max(self.longest_seen)),
        };
        self.held = Some(Held {
            // No number comes twice as long as anybody remembers it.
            highest: highest.max(self.highest_seen),
            cause,
            wait,
        });
        if let State::Waiting { epoch, .. } = self.state {
            // Something newer than our own claim, or our own is gone: the renewal will find it, too.
            if highest == epoch {
                self.state = State::TakingOver { epoch, cause };
            }
        }
        proves
    }

    /// The claim is durable since `at`.
    pub(crate) fn claimed(&mut self, at: Duration) {
        let State::Claiming { epoch, cause, wait } = self.state else {
            return;
        };
        let (cause, wait) = match self.held {
            Some(held) if held.highest <= epoch => (held.cause, held.wait),
            _ => (cause, wait),
        };
        self.state = match wait.is_zero() {
            true => State::TakingOver { epoch, cause },
            false => State::Waiting {
                epoch,
                cause,
                until: at + wait,
            },
        };
    }

    /// Somebody else has the epoch, or the claim could not be made. The locks have to be let go.
    pub(crate) fn not_claimed(&mut self) {
        self.state = State::Watching { seen: None };
        self.held = None;
    }

    /// True while all the locks are held, and nothing has to be waited for.
    pub(crate) fn is_locked(&self) -> bool {
        self.held.is_some_and(|held| held.wait.is_zero())
    }

    /// The epoch that is being claimed or was claimed.
    pub(crate) fn own(&self) -> Option<Epoch> {
        match self.state {
            State::Watching { .. } => None,
            State::Claiming { epoch, .. }
            | State::Waiting { epoch, .. }
            | State::TakingOver { epoch, .. } => Some(epoch),
        }
    }

    /// When there is something to do though nothing is seen.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Waiting { until, .. } => Some(until),
            _ => None,
        }
    }

    /// What to do now.
    pub(crate) fn step(&mut self, now: Duration) -> Step {
        match &self.state {
            State::Watching { .. } => self.step_watching(),
            State::Claiming { .. } => Step::Watch(None),
            State::Waiting {
                epoch,
                cause,
                until,
            } => {
                if now < *until {
                    return Step::Watch(Some(*until));
                }
                let (epoch, cause) = (*epoch, *cause);
                self.state = State::TakingOver { epoch, cause };
                Step::TakeOver { epoch, cause }
            }
            State::TakingOver { epoch, cause } => Step::TakeOver {
                epoch: *epoch,
                cause: *cause,
            },
        }
    }

    fn step_watching(&mut self) -> Step {
        let (highest, cause, wait) = match (self.held, self.stale()) {
            (Some(held), _) => (held.highest, held.cause, held.wait),
            (None, Some((epoch, wait))) => (epoch, Cause::Lease, wait),
            (None, None) => return Step::Watch(None),
        };
        let epoch = Epoch(highest.0.saturating_add(1));
        self.state = State::Claiming { epoch, cause, wait };
        Step::Claim(epoch)
    }

    /// The newest claim's epoch and how long to wait after claiming the next one, if its lease
    /// was seen not to change for longer than it lasts.
    fn stale(&self) -> Option<(Epoch, Duration)> {
        let State::Watching { seen: Some(seen) } = &self.state else {
            return None;
        };
        if self.rules.takeover == Takeover::Lock {
            return None;
        }
        if seen.block.is_released() {
            return Some((seen.epoch, Duration::ZERO));
        }
        let lease = self.rules.lease.max(seen.longest_lease);
        // A look that started later than that counts, not the time: whoever was frozen or cut off
        // itself has to look again first.
        if seen.looked <= seen.since + lease {
            return None;
        }
        Some((seen.epoch, self.wait_after_claim(lease)))
    }

    fn wait_after_claim(&self, lease: Duration) -> Duration {
        let allowance = u64::from(self.rules.drift_permille) * lease.as_micros() as u64 / 1000;
        match self.rules.wait {
            Wait::LeaseAndDrift => lease + Duration::from_micros(allowance + 1),
            #[cfg(test)]
            Wait::Lease => lease,
            Wait::None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
impl Seeker {
    /// Lets time pass for somebody whose present does not move: all that it remembers is longer ago.
    pub(crate) fn age(&mut self, by: Duration) {
        let age = |time: &mut Duration| *time = time.saturating_sub(by);
        match &mut self.state {
            State::Watching { seen: Some(seen) } => age(&mut seen.since),
            State::Waiting { until, .. } => age(until),
            _ => {}
        }
    }

    /// Forgets what makes no difference for somebody who looks and decides at once: when it looked
    /// last, and when what it sees began, if that is before `stale`.
    pub(crate) fn forget_details(&mut self, stale: Duration) {
        if let State::Watching { seen: Some(seen) } = &mut self.state {
            seen.since = seen.since.max(stale);
            seen.looked = Duration::ZERO;
        }
    }

    /// Forgets which claims there were: breaks the protocol on purpose.
    pub(crate) fn forget(&mut self) {
        self.highest_seen = Epoch(0);
        self.longest_seen = Duration::ZERO;
    }

    /// Why it takes over.
    pub(crate) fn cause(&self) -> Option<Cause> {
        match self.state {
            State::TakingOver { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenure::lease::{Holder, Lease, LeasePhase};

    const LEASE: Duration = Duration::from_secs(5);

    fn seeker(takeover: Takeover) -> Seeker {
        Seeker::new(Rules {
            lease: LEASE,
            drift_permille: 10,
            takeover,
            wait: Wait::LeaseAndDrift,
        })
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn view(epoch: u64, counter: u64, phase: LeasePhase, lease: Duration) -> ClaimsView {
        let lease_block = Lease {
            epoch: Epoch(epoch),
            counter,
            identity: 0,
            duration_ms: lease.as_millis() as u32,
            phase,
            holder: Holder {
                name: "a".to_owned(),
                host: "h".to_owned(),
                pid: 1,
            },
        };
        ClaimsView {
            newest: Some((Epoch(epoch), LeaseBlock::Valid(lease_block))),
            longest_lease: lease,
        }
    }

    fn serving(epoch: u64, counter: u64) -> ClaimsView {
        view(epoch, counter, LeasePhase::Serving, LEASE)
    }

    #[test]
    fn free_locks_lead_to_a_takeover_without_a_wait() {
        let mut seeker = seeker(Takeover::Lock);
        assert_eq!(seeker.step(at(0)), Step::Watch(None));
        seeker.locked(Epoch(3), false);
        assert_eq!(seeker.step(at(1)), Step::Claim(Epoch(4)));
        assert_eq!(seeker.step(at(1)), Step::Watch(None));
        seeker.claimed(at(2));
        let cause = Cause::Lock;
        let epoch = Epoch(4);
        assert_eq!(seeker.step(at(2)), Step::TakeOver { epoch, cause });
    }

    #[test]
    fn an_empty_directory_is_a_first_start() {
        let mut seeker = seeker(Takeover::Lock);
        seeker.locked(Epoch(0), true);
        assert_eq!(seeker.step(at(1)), Step::Claim(Epoch(1)));
        seeker.claimed(at(2));
        let (epoch, cause) = (Epoch(1), Cause::FirstStart);
        assert_eq!(seeker.step(at(2)), Step::TakeOver { epoch, cause });
    }

    #[test]
    fn a_lease_that_is_renewed_is_left_alone() {
        let mut seeker = seeker(Takeover::LockOrLease);
        for second in 0..100 {
            let now = at(second * 1000);
            seeker.observed(now, now, &serving(1, second));
            assert_eq!(seeker.step(now), Step::Watch(None));
        }
    }

    #[test]
    fn a_lease_that_is_not_renewed_is_waited_out_twice() {
        let mut seeker = seeker(Takeover::LockOrLease);
        assert!(seeker.observed(at(0), at(100), &serving(1, 1)));
        assert!(!seeker.observed(at(5100), at(5101), &serving(1, 1)));
        assert_eq!(seeker.step(at(5101)), Step::Watch(None));
        seeker.observed(at(5102), at(5103), &serving(1, 1));
        assert_eq!(seeker.step(at(5103)), Step::Claim(Epoch(2)));
        seeker.claimed(at(6000));
        let Step::Watch(Some(until)) = seeker.step(at(6000)) else {
            panic!("no wait after the claim");
        };
        assert!(until >= at(6000) + LEASE + LEASE / 100, "{until:?}");
        assert_eq!(seeker.step(at(10_000)), Step::Watch(Some(until)));
        let (epoch, cause) = (Epoch(2), Cause::Lease);
        assert_eq!(seeker.step(until), Step::TakeOver { epoch, cause });
    }

    #[test]
    fn a_standby_that_could_not_look_looks_again_before_it_claims() {
        let mut seeker = seeker(Takeover::LockOrLease);
        seeker.observed(at(0), at(0), &serving(1, 1));
        // A look that began long ago came back late.
        seeker.observed(at(100), at(60_000), &serving(1, 1));
        assert_eq!(seeker.step(at(60_000)), Step::Watch(None));
        seeker.observed(at(60_001), at(60_002), &serving(1, 9));
        assert_eq!(seeker.step(at(60_002)), Step::Watch(None));
    }

    #[test]
    fn the_longer_of_the_leases_counts() {
        let mut seeker = seeker(Takeover::LockOrLease);
        let longer = view(1, 1, LeasePhase::Serving, LEASE * 3);
        seeker.observed(at(0), at(0), &longer);
        seeker.observed(at(14_000), at(14_000), &longer);
        assert_eq!(seeker.step(at(14_000)), Step::Watch(None));
        seeker.observed(at(15_001), at(15_001), &longer);
        assert_eq!(seeker.step(at(15_001)), Step::Claim(Epoch(2)));
        seeker.claimed(at(15_001));
        let waits = seeker.step(at(15_001));
        assert!(matches!(waits, Step::Watch(Some(until)) if until > at(30_000)));
    }

    #[test]
    fn a_released_lease_needs_no_wait() {
        let mut seeker = seeker(Takeover::LockOrLease);
        seeker.observed(at(0), at(0), &view(3, 9, LeasePhase::Released, LEASE));
        assert_eq!(seeker.step(at(0)), Step::Claim(Epoch(4)));
        seeker.claimed(at(1));
        let (epoch, cause) = (Epoch(4), Cause::Lease);
        assert_eq!(seeker.step(at(1)), Step::TakeOver { epoch, cause });
    }

    #[test]
    fn the_locks_end_the_wait() {
        let mut seeker = seeker(Takeover::LockOrLease);
        seeker.observed(at(0), at(0), &serving(1, 1));
        seeker.observed(at(6000), at(6000), &serving(1, 1));
        assert_eq!(seeker.step(at(6000)), Step::Claim(Epoch(2)));
        seeker.claimed(at(6000));
        seeker.locked(Epoch(3), false);
        assert!(matches!(seeker.step(at(6001)), Step::Watch(Some(_))));
        seeker.locked(Epoch(2), false);
        let (epoch, cause) = (Epoch(2), Cause::Lock);
        assert_eq!(seeker.step(at(6001)), Step::TakeOver { epoch, cause });
    }

    #[test]
    fn locks_in_a_directory_that_somebody_emptied_prove_nothing() {
        let mut seeker = seeker(Takeover::Lock);
        seeker.observed(at(0), at(0), &serving(7, 1));
        seeker.observed(at(10), at(10), &ClaimsView::default());
        assert!(!seeker.locked(Epoch(0), true));
        assert!(!seeker.is_locked());
        assert_eq!(seeker.step(at(10)), Step::Claim(Epoch(8)));
        seeker.claimed(at(20));
        let Step::Watch(Some(until)) = seeker.step(at(20)) else {
            panic!("no wait after the claim");
        };
        assert!(until > at(20) + LEASE + LEASE / 100, "{until:?}");
        let (epoch, cause) = (Epoch(8), Cause::FirstStart);
        assert_eq!(seeker.step(until), Step::TakeOver { epoch, cause });
    }

    #[test]
    fn a_claim_that_is_gone_while_it_waits_is_not_taken_over_with() {
        let mut seeker = seeker(Takeover::LockOrLease);
        seeker.observed(at(0), at(0), &serving(1, 1));
        seeker.observed(at(6000), at(6000), &serving(1, 1));
        assert_eq!(seeker.step(at(6000)), Step::Claim(Epoch(2)));
        seeker.claimed(at(6000));
        seeker.locked(Epoch(0), true);
        assert!(matches!(seeker.step(at(6001)), Step::Watch(Some(_))));
    }

    #[test]
    fn a_lost_race_starts_from_the_beginning() {
        let mut seeker = seeker(Takeover::LockOrLease);
        seeker.locked(Epoch(1), false);
        assert_eq!(seeker.step(at(0)), Step::Claim(Epoch(2)));
        assert_eq!(seeker.own(), Some(Epoch(2)));
        seeker.not_claimed();
        assert_eq!(seeker.own(), None);
        assert_eq!(seeker.step(at(0)), Step::Watch(None));
    }

    #[test]
    fn without_lease_takeover_only_the_locks_count() {
        let mut seeker = seeker(Takeover::Lock);
        seeker.observed(at(0), at(0), &serving(1, 1));
        seeker.observed(at(600_000), at(600_000), &serving(1, 1));
        assert_eq!(seeker.step(at(600_000)), Step::Watch(None));
    }

    #[test]
    fn the_wait_is_longer_than_the_lease_by_the_allowance() {
        let mut seeker = seeker(Takeover::LockOrLease);
        let wait = seeker.wait_after_claim(LEASE);
        seeker.rules.wait = Wait::Lease;
        assert!(wait > seeker.wait_after_claim(LEASE) + LEASE / 100);
    }

    #[test]
    fn nobody_is_deposed_who_never_claimed() {
        let mut seeker = seeker(Takeover::LockOrLease);
        for second in 0..60 {
            seeker.observed(at(second * 1000), at(second * 1000), &ClaimsView::default());
            assert_eq!(seeker.step(at(second * 1000)), Step::Watch(None));
        }
    }
}
