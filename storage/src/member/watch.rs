//! Looks at the newest claim's lease block, for the decision to depose its writer and for status
//! pages.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::control::Input;
use super::shared::{self, Shared};
use crate::tenure::claim::{ClaimsView, look};
use crate::tenure::lease::LeaseBlock;

/// A standby that looks more often sees no more.
const LOOKS_PER_RENEWAL: u32 = 2;

pub(super) fn spawn(shared: &Arc<Shared>) {
    shared::spawn(shared, "watch", run);
}

fn run(shared: &Arc<Shared>) {
    let mut last = ClaimsView::default();
    let mut last_error = None;
    while !shared.is_ended() && !shared.is_serving() {
        let started = shared.clock.now();
        match look(&*shared.disk) {
            Ok(Some(view)) => {
                let ended = shared.clock.now();
                if last_error.take().is_some() || view != last {
                    remember(shared, &view, ended);
                    last = view.clone();
                }
                shared.control.push(Input::Observed {
                    started,
                    ended,
                    view: Box::new(view),
                });
            }
            Ok(None) => {}
            Err(error) => {
                let error = error.to_string();
                if last_error.as_ref() != Some(&error) {
                    warn!(%error, "Cannot look at the lease; trying again.");
                    last_error = Some(error);
                }
            }
        }
        let pause = shared.options.renewal_interval / LOOKS_PER_RENEWAL;
        shared.watch.wait(Some(pause.max(Duration::from_millis(1))));
    }
}

fn remember(shared: &Shared, view: &ClaimsView, at: Duration) {
    let mut known = shared.known.lock();
    match &view.newest {
        None => {
            known.holder = None;
            known.lease_changed = None;
        }
        Some((epoch, block)) => {
            known.epoch = known.epoch.max(*epoch);
            known.lease_changed = Some(at);
            known.holder = block
                .valid()
                .filter(|_| !block.is_released())
                .map(|lease| lease.holder.to_string());
            if let LeaseBlock::Unreadable { reason, .. } = block {
                warn!(%epoch, %reason, "The lease block cannot be read.");
            }
        }
    }
}
