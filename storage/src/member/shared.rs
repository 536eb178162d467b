//! What the threads of one member share.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::control::Input;
use super::follow::FollowCommand;
use super::lock::LockCommand;
use super::mailbox::Mailbox;
use super::renew::{RenewCommand, confirm};
use super::{Fence, MemberOptions, MemberStatus, Sabotage};
use crate::chain::SegmentName;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::position::{Epoch, Lsn};
use crate::recovery::RecoveryMeter;
use crate::store::Store;
use crate::tenure::gate::Gate;
use crate::tenure::lease::Holder;

/// See the module. No mutex in it is held across a call to storage.
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: MemberOptions,
    pub(super) sabotage: Sabotage,
    pub(super) holder: Holder,
    pub(super) gate: Arc<Gate>,
    /// The epoch of the own claim.
    pub(super) claimed: AtomicU64,
    pub(super) control: Mailbox<Input>,
    pub(super) lock: Mailbox<LockCommand>,
    pub(super) watch: Mailbox<()>,
    pub(super) follow: Mailbox<FollowCommand>,
    pub(super) renew: Mailbox<RenewCommand>,
    /// The store has begun: renewals open the gate.
    pub(super) is_serving: AtomicBool,
    is_ended: AtomicBool,
    /// The segment that the follower reads.
    pub(super) read_segment: Mutex<Option<SegmentName>>,
    /// Where the follower tells how far it is.
    pub(super) recovery: Arc<RecoveryMeter>,
    pub(super) known: Mutex<Known>,
}

/// What status pages want.
#[derive(Default)]
pub(super) struct Known {
    pub(super) epoch: Epoch,
    pub(super) holder: Option<String>,
    /// When the lease block was first seen as it is.
    pub(super) lease_changed: Option<Duration>,
    pub(super) lsn: Lsn,
    pub(super) behind_bytes: u64,
    /// When the follower last had everything.
    pub(super) caught_up: Option<Duration>,
    pub(super) store: Option<Arc<Store>>,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: MemberOptions,
        sabotage: Sabotage,
    ) -> Arc<Shared> {
        Arc::new_cyclic(|this: &Weak<Shared>| Shared {
            gate: gate(this, &clock, &options, sabotage),
            control: Mailbox::new(&*clock),
            lock: Mailbox::new(&*clock),
            watch: Mailbox::new(&*clock),
            follow: Mailbox::new(&*clock),
            renew: Mailbox::new(&*clock),
            holder: Holder::this(&options.name),
            claimed: AtomicU64::new(0),
            is_serving: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            read_segment: Mutex::new(None),
            recovery: Arc::default(),
            known: Mutex::new(Known {
                caught_up: Some(clock.now()),
                ..Known::default()
            }),
            disk,
            clock,
            options,
            sabotage,
        })
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }

    pub(super) fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Acquire)
    }

    /// Tells all threads to let go of everything and to end.
    pub(super) fn end(&self) {
        self.is_ended.store(true, Ordering::Release);
        self.known.lock().store = None;
        self.lock.wake();
        self.watch.wake();
        self.follow.wake();
        self.renew.wake();
    }

    pub(super) fn status(&self) -> MemberStatus {
        let now = self.clock.now();
        let known = self.known.lock();
        let mut status = MemberStatus {
            epoch: known.epoch,
            holder: known.holder.clone(),
            lease_age: known.lease_changed.map(|at| now.saturating_sub(at)),
            lsn: known.lsn,
            behind_bytes: known.behind_bytes,
            behind: known
                .caught_up
                .map_or(Duration::ZERO, |at| now.saturating_sub(at)),
            recovery: self.recovery.progress(),
            space: None,
        };
        if let Some(store) = &known.store {
            status.epoch = store.epoch();
            status.holder = Some(self.holder.to_string());
            status.lease_age = Some(now.saturating_sub(self.gate.proven()));
            status.lsn = store.released();
            status.behind_bytes = 0;
            status.behind = Duration::ZERO;
            status.space = Some(store.space_status());
        }
        status
    }
}

fn gate(
    shared: &Weak<Shared>,
    clock: &Arc<dyn Clock>,
    options: &MemberOptions,
    sabotage: Sabotage,
) -> Arc<Gate> {
    let clock = Arc::clone(clock);
    if sabotage.no_gate {
        return Gate::always_open(clock);
    }
    match options.fence {
        Fence::Lease => Gate::new(clock),
        Fence::Strict => {
            // The threads that ask keep the gate alive, and the gate must not keep them.
            let shared = Weak::clone(shared);
            let ask = move || shared.upgrade().is_some_and(|shared| confirm(&shared));
            Gate::strict(clock, Box::new(ask))
        }
    }
}

/// Runs `body` on a thread of its own; a panic in it fences the gate and ends the member.
pub(super) fn spawn(shared: &Arc<Shared>, name: &'static str, body: fn(&Arc<Shared>)) {
    let for_thread = Arc::clone(shared);
    let thread = move || {
        let shared = for_thread;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&shared))) {
            shared.gate.fence();
            let what = panic_text(&*panic);
            shared
                .control
                .push(Input::Failed(format!("the {name} thread panicked: {what}")));
        }
    };
    // Nobody waits for it: it may be stuck in storage for ever.
    drop(shared.clock.spawn(name, Box::new(thread)));
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
