//! The control thread: decides, watches the clock, and says what happens.
//!
//! It never touches storage: it works while every call to storage hangs. It must not even close a
//! file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::follow::FollowCommand;
use super::lock::LockCommand;
use super::renew::RenewCommand;
use super::shared::{Shared, panic_text};
use super::{Event, FenceReason};
use crate::cipher::KeyError;
use crate::position::Epoch;
use crate::store::Store;
use crate::tenure::claim::ClaimsView;
use crate::tenure::gate::Stage;
use crate::tenure::seeker::{Rules, Seeker, Step, Wait};

/// What the other threads, and the owner, tell.
pub(super) enum Input {
    /// All locks are held.
    Locked {
        highest: Epoch,
        is_new: bool,
        /// How often the locks had been let go by then.
        let_go: u64,
    },
    /// The claims as they were seen.
    Observed {
        started: Duration,
        ended: Duration,
        view: Box<ClaimsView>,
    },
    /// The claim is there since `at`; durable, unless all locks are held.
    Claimed { epoch: Epoch, at: Duration },
    /// It could not be made.
    NotClaimed { epoch: Epoch },
    /// It was, and is no longer ours.
    ClaimLost { epoch: Epoch, reason: FenceReason },
    /// The follower has everything there is.
    Following,
    /// The journal is sealed and can be written.
    Begun(Arc<Store>),
    /// It cannot.
    NotBegun(String),
    /// A renewal opened the gate.
    Renewed,
    /// A journal thread gave up.
    StorageFailed(String),
    /// A thread panicked, or the journal is damaged.
    Failed(String),
    /// The journal needs a key that is not there.
    KeyMissing(KeyError),
    /// The owner wants the end.
    Release,
    /// The owner is gone.
    Dropped,
    /// The journal is closed by plan.
    ShutDown,
    /// The lease is marked as released.
    LeaseReleased,
    /// The locks are let go.
    Unlocked,
}

/// Where the member is.
///
/// ```text
///   Seeking -> Beginning -> Proving -> Serving -> Closing -> Releasing -> Ended
///      |           |           |          |          |                     ^
///      +-----------+-----------+----------+----------+---------------------+
/// ```
enum Phase {
    Seeking,
    /// The follower reads to the end and seals.
    Beginning,
    /// The first renewal of the sealed tenure is under way.
    Proving {
        since: Duration,
    },
    Serving,
    /// The journal is being closed by plan.
    Closing,
    /// The gate is shut; the lease and the locks are being let go.
    Releasing {
        since: Duration,
    },
    Ended,
}

struct Control {
    shared: Arc<Shared>,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
    seeker: Seeker,
    phase: Phase,
    store: Option<Arc<Store>>,
    /// How often the lock thread was told to let go.
    let_go: u64,
}

pub(super) fn spawn(shared: &Arc<Shared>, on_event: Box<dyn Fn(Event) + Send + Sync>) {
    let seeker = Seeker::new(Rules {
        lease: shared.options.lease_duration,
        drift_permille: shared.options.clock_drift_permille,
        takeover: shared.options.takeover,
        wait: if shared.sabotage.no_wait {
            Wait::None
        } else {
            Wait::LeaseAndDrift
        },
    });
    let mut control = Control {
        shared: Arc::clone(shared),
        on_event,
        seeker,
        phase: Phase::Seeking,
        store: None,
        let_go: 0,
    };
    let body = move || {
        let ran = catch_unwind(AssertUnwindSafe(|| control.run()));
        if let Err(panic) = ran {
            control.shared.gate.fence();
            let text = format!("the control thread panicked: {}", panic_text(&*panic));
            control.fail(text);
        }
    };
    drop(shared.clock.spawn("control", Box::new(body)));
}

impl Control {
    fn run(&mut self) {
        while !matches!(self.phase, Phase::Ended) {
            let now = self.shared.clock.now();
            let timeout = self.deadline().map(|at| at.saturating_sub(now));
            self.shared.control.wait(timeout);
            while let Some(input) = self.shared.control.pop() {
                self.handle(input);
                if matches!(self.phase, Phase::Ended) {
                    return;
                }
            }
            self.check_clock();
            self.seek();
        }
    }

    /// When something has to happen though nobody says anything.
    fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Seeking => self.seeker.deadline(),
            _ => self.expiry(),
        }
    }

    /// When the role is given up, if there is one.
    fn expiry(&self) -> Option<Duration> {
        let stage = match self.phase {
            Phase::Proving { since } => Stage::Proving { since },
            Phase::Serving | Phase::Closing => Stage::Serving,
            Phase::Releasing { since } => Stage::Releasing { since },
            Phase::Seeking | Phase::Beginning | Phase::Ended => return None,
        };
        let lease = self.shared.options.lease_duration;
        Some(self.shared.gate.state().expiry(stage, lease))
    }

    fn check_clock(&mut self) {
        let now = self.shared.clock.now();
        if self.expiry().is_none_or(|expiry| now < expiry) {
            return;
        }
        if matches!(self.phase, Phase::Releasing { .. }) {
            warn!("Storage does not answer; the locks go with this process.");
            self.end(Event::Released);
        } else {
            self.lose(FenceReason::LeaseExpired);
        }
    }

    fn seek(&mut self) {
        if !matches!(self.phase, Phase::Seeking) {
            return;
        }
        match self.seeker.step(self.shared.clock.now()) {
            Step::Watch(_) => {}
            Step::Claim(epoch) => self.shared.renew.push(RenewCommand::Claim {
                epoch,
                is_locked: self.seeker.is_locked(),
            }),
            Step::TakeOver { epoch, cause } => {
                self.phase = Phase::Beginning;
                info!(%epoch, ?cause, "Takes over.");
                (self.on_event)(Event::TakingOver { cause, epoch });
                self.shared.follow.push(FollowCommand::TakeOver(epoch));
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let is_seeking = matches!(self.phase, Phase::Seeking);
        match input {
            Input::Observed {
                started,
                ended,
                view,
            } if is_seeking => {
                self.seeker.observed(started, ended, &view);
            }
            // What was let go meanwhile is not held any more.
            Input::Locked {
                highest,
                is_new,
                let_go,
            } if is_seeking && let_go == self.let_go => {
                if !self.seeker.locked(highest, is_new) {
                    warn!(
                        "Somebody emptied the directory while brokers used it; waits until the lease of the old active has run out."
                    );
                }
            }
            Input::Claimed { epoch, at } if is_seeking && self.seeker.own() == Some(epoch) => {
                self.shared.lock.push(LockCommand::Own(epoch));
                self.seeker.claimed(at);
            }
            Input::NotClaimed { epoch } if is_seeking => self.start_over(epoch),
            Input::ClaimLost { epoch, reason } => {
                if is_seeking {
                    info!(%epoch, ?reason, "Lost the claim before the takeover.");
                    self.start_over(epoch);
                } else {
                    self.lose(reason);
                }
            }
            Input::Following if is_seeking => (self.on_event)(Event::Standby),
            Input::Begun(store) => self.begun(store),
            Input::NotBegun(what) => self.lose(FenceReason::Storage(what)),
            Input::Renewed => self.renewed(),
            Input::StorageFailed(what) => self.lose(FenceReason::Storage(what)),
            Input::Failed(what) => self.fail(what),
            Input::KeyMissing(error) => {
                warn!(%error, "A key is missing; this broker cannot be a standby.");
                self.abandon();
                self.end(Event::KeyMissing(error));
            }
            Input::Release => self.release(),
            Input::Dropped => self.leave(),
            Input::ShutDown if matches!(self.phase, Phase::Closing) => {
                self.shared.gate.fence();
                let since = self.shared.clock.now();
                self.phase = Phase::Releasing { since };
                self.shared.renew.push(RenewCommand::Release);
            }
            Input::LeaseReleased if matches!(self.phase, Phase::Releasing { .. }) => {
                self.shared.lock.push(LockCommand::Unlock);
            }
            Input::Unlocked if matches!(self.phase, Phase::Releasing { .. }) => {
                self.end(Event::Released);
            }
            // Said by a thread that did not yet know of the change of phase.
            Input::Observed { .. }
            | Input::Locked { .. }
            | Input::Claimed { .. }
            | Input::NotClaimed { .. }
            | Input::Following
            | Input::ShutDown
            | Input::LeaseReleased
            | Input::Unlocked => {}
        }
    }

    fn start_over(&mut self, epoch: Epoch) {
        if self.seeker.own() == Some(epoch) {
            self.seeker.not_claimed();
            self.shared.renew.push(RenewCommand::LetGo);
            self.let_go += 1;
            self.shared.lock.push(LockCommand::LetGo);
        }
    }

    fn begun(&mut self, store: Arc<Store>) {
        if !matches!(self.phase, Phase::Beginning) {
            store.abandon();
            return;
        }
        let since = self.shared.clock.now();
        self.phase = Phase::Proving { since };
        self.store = Some(Arc::clone(&store));
        self.shared.is_serving.store(true, Ordering::Release);
        self.shared.renew.push(RenewCommand::Serve);
        self.shared.lock.push(LockCommand::Keep(store.epoch()));
        self.shared.watch.wake();
    }

    fn renewed(&mut self) {
        if !matches!(self.phase, Phase::Proving { .. }) {
            return;
        }
        if let Some(store) = &self.store {
            self.phase = Phase::Serving;
            self.shared.known.lock().store = Some(Arc::clone(store));
            (self.on_event)(Event::Active(Arc::clone(store)));
        }
    }

    fn release(&mut self) {
        match &self.phase {
            Phase::Serving => {
                self.phase = Phase::Closing;
                self.shared.follow.push(FollowCommand::ShutDown);
            }
            Phase::Seeking | Phase::Beginning | Phase::Proving { .. } => {
                self.abandon();
                self.end(Event::Released);
            }
            _ => {}
        }
    }

    /// Nothing is acknowledged any more; nothing here waits for storage.
    fn abandon(&mut self) {
        self.shared.gate.fence();
        if let Some(store) = self.store.take() {
            store.abandon();
        }
    }

    fn lose(&mut self, reason: FenceReason) {
        self.abandon();
        match self.phase {
            Phase::Ended => {}
            // The end was asked for, and nothing was lost by it.
            Phase::Releasing { .. } => self.end(Event::Released),
            _ => self.end(Event::Fenced(reason)),
        }
    }

    fn fail(&mut self, what: String) {
        self.abandon();
        self.end(Event::Failed(what));
    }

    /// The owner is gone: nobody wants to hear of the end.
    fn leave(&mut self) {
        self.abandon();
        self.phase = Phase::Ended;
        self.shared.end();
    }

    fn end(&mut self, event: Event) {
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        self.phase = Phase::Ended;
        self.store = None;
        self.shared.end();
        (self.on_event)(event);
    }
}
