//! Follows the journal, reads it to its end on a takeover, begins the tenure, and ends it by plan.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::control::Input;
use super::renew::RenewCommand;
use super::shared::{self, Shared};
use crate::error::{BeginError, Failure, FollowError};
use crate::journal::{Callbacks, InFlight, Journal, JournalOptions};
use crate::position::Epoch;
use crate::store::Store;
use crate::tail::{Follower, Progress};

pub(super) enum FollowCommand {
    /// Read to the end and begin this epoch.
    TakeOver(Epoch),
    /// End the tenure by plan.
    ShutDown,
}

pub(super) fn spawn(shared: &Arc<Shared>) {
    shared::spawn(shared, "follow", |shared| {
        let Some((follower, epoch)) = follow(shared) else {
            return;
        };
        let Some(store) = take_over(shared, follower, epoch) else {
            return;
        };
        while !shared.is_ended() {
            while let Some(command) = shared.follow.pop() {
                if let FollowCommand::ShutDown = command {
                    store.shut_down();
                    shared.control.push(Input::ShutDown);
                }
            }
            if !shared.is_ended() {
                shared.follow.wait(None);
            }
        }
        // The member may have ended before it heard of the store.
        store.abandon();
    });
}

/// Follows until the takeover, or None when the member ends.
fn follow(shared: &Arc<Shared>) -> Option<(Follower, Epoch)> {
    let mut trouble = Trouble::default();
    let mut follower = None;
    let mut is_told = false;
    let mut take_over = None;
    loop {
        while let Some(command) = shared.follow.pop() {
            if let FollowCommand::TakeOver(epoch) = command {
                take_over = Some(epoch);
            }
        }
        if shared.is_ended() {
            return None;
        }
        let step = match follower.take() {
            None => open(shared).map(|mut opened| {
                if shared.sabotage.no_seal {
                    opened.ignore_seals();
                }
                (opened, false)
            }),
            Some(opened) if take_over.is_some() => return Some((opened, take_over?)),
            Some(mut opened) => opened.poll().map(|progress| {
                remember(shared, &opened, progress);
                (opened, progress.is_at_end)
            }),
        };
        let mut pause = Duration::ZERO;
        match step {
            Ok((opened, is_at_end)) => {
                trouble.0 = None;
                follower = Some(opened);
                if is_at_end && !is_told {
                    is_told = true;
                    shared.control.push(Input::Following);
                }
                if is_at_end {
                    pause = shared.options.tail_poll_interval;
                }
            }
            Err(error) if error.is_transient() => {
                trouble.tell(&error);
                pause = shared.options.tail_poll_interval;
            }
            Err(error) => {
                shared.control.push(refused(error));
                return None;
            }
        }
        if take_over.is_none() || follower.is_none() {
            shared.follow.wait(Some(pause));
        }
    }
}

/// What no later attempt will heal.
fn refused(error: FollowError) -> Input {
    match error {
        FollowError::Key(error) => Input::KeyMissing(error),
        other => Input::Failed(other.to_string()),
    }
}

fn open(shared: &Shared) -> Result<Follower, FollowError> {
    Follower::open_metered(
        Arc::clone(&shared.disk),
        shared.options.keys.clone(),
        Arc::clone(&shared.recovery),
    )
}

/// Says the same thing once.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn tell(&mut self, error: &FollowError) {
        let error = error.to_string();
        if self.0.as_ref() != Some(&error) {
            warn!(%error, "Cannot follow the journal; trying again.");
            self.0 = Some(error);
        }
    }
}

fn remember(shared: &Shared, follower: &Follower, progress: Progress) {
    *shared.read_segment.lock() = follower.segment();
    let now = shared.clock.now();
    let mut known = shared.known.lock();
    known.lsn = progress.lsn;
    known.epoch = known.epoch.max(follower.epoch());
    known.behind_bytes = progress.behind_bytes;
    if progress.is_at_end {
        known.caught_up = Some(now);
    }
}

fn take_over(shared: &Arc<Shared>, follower: Follower, epoch: Epoch) -> Option<Arc<Store>> {
    match begin(shared, follower, epoch) {
        Ok(store) => {
            shared.control.push(Input::Begun(Arc::clone(&store)));
            Some(store)
        }
        Err(input) => {
            shared.control.push(input);
            None
        }
    }
}

fn begin(shared: &Arc<Shared>, follower: Follower, epoch: Epoch) -> Result<Arc<Store>, Input> {
    let finished = follower.finish(epoch);
    let point = finished.map_err(|error| match error.is_transient() {
        true => Input::NotBegun(error.to_string()),
        false => refused(error),
    })?;
    let goes_on = shared.sabotage.old_epoch && point.previous_epoch > Epoch(0);
    let epoch = if goes_on { point.previous_epoch } else { epoch };
    let options = &shared.options;
    let journal = JournalOptions {
        segment_bytes: options.segment_bytes,
        checkpoint_bytes: options.checkpoint_bytes,
        preallocate: options.preallocate,
        in_flight: match options.in_flight {
            in_flight if shared.sabotage.unordered => InFlight::Unordered(in_flight.most()),
            in_flight => in_flight,
        },
        sync: options.sync,
    };
    let for_failure = Arc::clone(shared);
    let on_failed = move |failure: Failure| {
        let input = match failure {
            Failure::Storage(what) => Input::StorageFailed(what),
            panic @ Failure::Panic(_) => Input::Failed(panic.to_string()),
        };
        for_failure.control.push(input);
    };
    let for_renewal = Arc::clone(shared);
    let callbacks = Callbacks {
        on_failed: Box::new(on_failed),
        on_prepared: Box::new(move || for_renewal.renew.push(RenewCommand::Renew)),
    };
    Journal::begin(
        Arc::clone(&shared.disk),
        Arc::clone(&shared.clock),
        Arc::clone(&shared.gate),
        epoch,
        point,
        journal,
        callbacks,
    )
    .map_err(|error: BeginError| Input::NotBegun(error.to_string()))
}
