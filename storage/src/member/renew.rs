//! Claims an epoch and renews its lease: the owner of the claim's locked descriptor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::FenceReason;
use super::control::Input;
use super::shared::{self, Shared};
use crate::position::Epoch;
use crate::spare::{give_back, is_no_space, with_spare};
use crate::tenure::claim::{Claim, Claiming, Standing, listed_standing};
use crate::tenure::lease::LeasePhase;

pub(super) enum RenewCommand {
    /// Create this epoch's claim.
    Claim {
        epoch: Epoch,
        /// All locks are held: nothing is timed by the claim, so nobody has to wait for its sync.
        is_locked: bool,
    },
    /// The tenure has begun: renew at once, from here on opening the gate.
    Serve,
    /// Renew at once: the journal wants to use what it locked just now.
    Renew,
    /// The gate is shut for good and the journal is closed: mark the lease as released, let it go.
    Release,
    /// Let the claim go.
    LetGo,
}

struct RenewThread<'a> {
    shared: &'a Shared,
    claim: Option<Claim>,
    /// When the next renewal is due.
    due: Duration,
    is_proven: bool,
}

pub(super) fn spawn(shared: &Arc<Shared>) {
    shared::spawn(shared, "renew", |shared| {
        let mut thread = RenewThread {
            shared,
            claim: None,
            due: Duration::ZERO,
            is_proven: false,
        };
        while !shared.is_ended() {
            while let Some(command) = shared.renew.pop() {
                thread.obey(command);
            }
            thread.renew_if_due();
            let pause = thread
                .claim
                .as_ref()
                .map(|_| thread.due.saturating_sub(shared.clock.now()));
            shared.renew.wait(pause);
        }
    });
}

impl RenewThread<'_> {
    fn obey(&mut self, command: RenewCommand) {
        match command {
            RenewCommand::Claim { epoch, is_locked } => self.make_claim(epoch, is_locked),
            RenewCommand::Serve | RenewCommand::Renew => self.due = Duration::ZERO,
            RenewCommand::LetGo => self.claim = None,
            RenewCommand::Release => {
                if let Some(mut claim) = self.claim.take()
                    && let Err(error) = claim.write_lease(LeasePhase::Released)
                {
                    warn!(%error, "Cannot mark the lease as released; the other broker may have to wait for it.");
                }
                self.shared.control.push(Input::LeaseReleased);
            }
        }
    }

    fn make_claim(&mut self, epoch: Epoch, is_locked: bool) {
        let shared = self.shared;
        // A full directory must not keep a broker from taking over: consumers empty it.
        let made = with_spare(&*shared.disk, || {
            Claim::create(
                &*shared.disk,
                epoch,
                &shared.holder,
                shared.options.lease_duration,
            )
        });
        let tell_claimed = || {
            let at = shared.clock.now();
            shared.control.push(Input::Claimed { epoch, at });
        };
        let made = made.and_then(|made| {
            if let Claiming::Claimed(claim) = &made {
                if is_locked {
                    tell_claimed();
                }
                claim.make_durable(&*shared.disk)?;
            }
            Ok(made)
        });
        let input = match made {
            Ok(Claiming::Claimed(claim)) => {
                info!(%epoch, "Claimed an epoch.");
                shared.claimed.store(epoch.0, Ordering::Release);
                self.claim = Some(claim);
                self.due = shared.clock.now() + shared.options.renewal_interval;
                if !is_locked {
                    tell_claimed();
                }
                return;
            }
            Ok(Claiming::Taken) => {
                info!(%epoch, "Somebody else has that epoch.");
                Input::NotClaimed { epoch }
            }
            Err(error) => {
                // Some file systems tell of missing space only when it is to be durable.
                if is_no_space(&error) {
                    let _ = give_back(&*shared.disk, 0);
                }
                warn!(%epoch, %error, "Cannot claim the epoch; trying again.");
                // It may have been told of already.
                Input::ClaimLost {
                    epoch,
                    reason: FenceReason::Storage(format!("cannot claim the epoch: {error}")),
                }
            }
        };
        shared.control.push(input);
    }

    fn renew_if_due(&mut self) {
        let shared = self.shared;
        let started = shared.clock.now();
        if self.claim.is_none() || started < self.due || shared.is_ended() {
            return;
        }
        self.due = started + shared.options.renewal_interval;
        // Asked before the renewal: one that began before the store must not open the gate.
        let is_serving = shared.is_serving.load(Ordering::Acquire);
        let Some(claim) = self.claim.as_mut() else {
            return;
        };
        let phase = if is_serving {
            LeasePhase::Serving
        } else {
            LeasePhase::Claimed
        };
        let renewed = renew(shared, claim, phase);
        let epoch = claim.epoch();
        let started = match shared.sabotage.renewal_counts_from_end {
            true => shared.clock.now(),
            false => started,
        };
        let lost = match renewed {
            Ok(Standing::Newest) => {
                if is_serving {
                    self.proven(started);
                }
                return;
            }
            Ok(Standing::Deposed(newer)) => FenceReason::NewerClaim(newer),
            Ok(Standing::Missing) => FenceReason::Storage(format!(
                "somebody deleted the claim of epoch {epoch} while it was in use"
            )),
            Ok(Standing::Replaced) => FenceReason::Storage(format!(
                "somebody deleted the claim of epoch {epoch} while it was in use, and another one is in its place"
            )),
            Err(error) => FenceReason::Storage(format!("cannot renew the lease: {error}")),
        };
        if is_serving {
            shared.gate.fence();
        }
        self.claim = None;
        shared.control.push(Input::ClaimLost {
            epoch,
            reason: lost,
        });
    }

    fn proven(&mut self, started: Duration) {
        let shared = self.shared;
        shared.gate.renewed(started, shared.options.lease_duration);
        shared.control.push(Input::Renewed);
        if self.is_proven {
            return;
        }
        self.is_proven = true;
        if let Some(claim) = &self.claim
            && let Err(error) = claim.remove_older(&*shared.disk)
        {
            warn!(%error, "Cannot remove old claims.");
        }
    }
}

fn renew(shared: &Shared, claim: &mut Claim, phase: LeasePhase) -> io::Result<Standing> {
    claim.write_lease(phase)?;
    if shared.sabotage.no_claim_check {
        return Ok(Standing::Newest);
    }
    if shared.sabotage.claim_by_name {
        return listed_standing(&*shared.disk, claim.epoch());
    }
    claim.standing(&*shared.disk)
}

/// `fence = "strict"`: whether nobody has claimed a newer epoch, asked of the server at this moment.
/// What was durable before is then in the view of whoever claims later, whatever the clocks say:
/// nobody reads for a seal before it has claimed.
pub(super) fn confirm(shared: &Shared) -> bool {
    let own = Epoch(shared.claimed.load(Ordering::Acquire));
    let reason = match listed_standing(&*shared.disk, own) {
        Ok(Standing::Newest) => return true,
        Ok(Standing::Deposed(newer)) => FenceReason::NewerClaim(newer),
        Ok(Standing::Missing | Standing::Replaced) => FenceReason::Storage(format!(
            "somebody deleted the claim of epoch {own} while it was in use"
        )),
        Err(error) => FenceReason::Storage(format!("cannot look for newer claims: {error}")),
    };
    shared.gate.fence();
    shared.control.push(Input::ClaimLost { epoch: own, reason });
    false
}
