//! What the broker may use, what it uses, and what happens to sends that find no room.
//!
//! There are four limits. *Memory* bounds the messages that are nowhere else; *a destination's memory* is
//! its part, if a policy says so; *the store* bounds persistent messages that wait; *the temporary store*
//! bounds non-persistent messages that memory had no room for. `Broker::admit` looks at those that
//! concern a message before it goes anywhere. Who is told [`Shortage`] keeps the message and tries again:
//! a `WaitingRoom` does that for one connection. What waits is never hidden: `Blocked` has it for the
//! log and for status pages.
//!
//! Nothing here knows queues' contents or protocols.

mod blocked;
mod destination;
mod large;
mod limits;
mod memory;
mod shortage;
mod store;
mod waiters;
mod waiting;

use std::sync::Arc;

pub(crate) use self::blocked::Blocked;
pub use self::blocked::BlockedProducer;
pub(super) use self::blocked::watch;
pub(crate) use self::destination::{DestinationCharge, DestinationUsage};
pub(crate) use self::large::{LargeFrames, LargePass};
pub use self::limits::{Limits, percent_of, percent_of_disk, percent_of_memory};
pub(crate) use self::memory::{Charge, Class, Memory};
pub use self::shortage::{LimitKind, Patience, Shortage};
pub(crate) use self::store::{StoreCharge, StoreUsage};
pub(crate) use self::waiters::Waiters;
pub(crate) use self::waiting::WaitingRoom;

use super::destination::Target;
use super::interceptor::Leg;
use super::policy::Policy;
use super::spool::Spool;
use super::{Broker, Message, Refusal, wall_ms};

/// What the broker uses of what it may.
pub(crate) struct Usage {
    pub(crate) memory: Arc<Memory>,
    pub(crate) store: StoreUsage,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) blocked: Arc<Blocked>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) large_frames: Arc<LargeFrames>,
}

impl Usage {
    pub(crate) fn new(limits: &Limits, cache_bytes: usize) -> Self {
        let waiters = Arc::<Waiters>::default();
        let memory_bytes = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        Usage {
            memory: Memory::new(cache_bytes, memory_bytes, Arc::clone(&waiters)),
            store: StoreUsage::new(limits.store_bytes),
            spool: Spool::new(
                limits.temporary_directory.clone(),
                limits.temporary_bytes,
                Arc::clone(&waiters),
            ),
            blocked: Arc::default(),
            large_frames: Arc::default(),
            waiters,
        }
    }

    /// The memory of a destination; None if its policy does not limit it.
    pub(crate) fn of(&self, policy: &Policy) -> Option<Arc<DestinationUsage>> {
        DestinationUsage::of(policy, &self.waiters)
    }
}

impl Broker {
    /// The targets that have room for a message, which are all but those that may go without it. Nothing
    /// has happened yet when there is none.
    pub(super) fn admitted<'a>(
        &self,
        legs: &'a [Leg],
        message: &Message,
        list: &'a mut Vec<Leg>,
    ) -> Result<&'a [Leg], Refusal> {
        let mut is_partial = false;
        for (index, leg) in legs.iter().enumerate() {
            match self.admit(&leg.target, message) {
                Ok(()) if is_partial => list.push(leg.clone()),
                Ok(()) => {}
                Err(_) if leg.is_optional && is_partial => {}
                Err(_) if leg.is_optional => {
                    is_partial = true;
                    list.extend_from_slice(&legs[..index]);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(if is_partial { list } else { legs })
    }

    /// Whether there is room for a message at a target.
    fn admit(&self, target: &Target, message: &Message) -> Result<(), Refusal> {
        let full = match self.full(target, message) {
            None => return Ok(()),
            // It is not going to stay: it becomes a dead letter, or nothing.
            Some(_) if message.is_journaled() && message.is_expired(wall_ms()) => return Ok(()),
            Some(full) => full,
        };
        let shortage = self.shortage(target, full);
        Err(Refusal::NoRoom(Box::new(shortage)))
    }

    /// Drops a message that expired while it waited, unless it would become a dead letter.
    fn drop_expired(&self, message: &Message) -> bool {
        let is_over = !message.is_journaled() && message.is_expired(wall_ms());
        if is_over {
            tracing::debug!(message = %message.id(), "A message expired while it waited for room.");
        }
        is_over
    }

    /// The limit that a message would have to wait for.
    fn full(&self, target: &Target, message: &Message) -> Option<Full> {
        let policy = target.policy();
        let is_journaled = message.is_journaled_at(target.name());
        if is_journaled {
            let percent = policy.store_usage_high_water_mark;
            if let Some(used) = self.usage().store.full(percent, self.store()) {
                let limit = percent_of(self.usage().store.limit_bytes(), percent);
                return Some(Full {
                    kind: LimitKind::Store,
                    used,
                    limit,
                });
            }
            // In a queue it needs no memory: it is in the journal.
            if matches!(target, Target::Queue(_)) && target.usage().is_none() {
                return None;
            }
        }
        self.memory_full(target, message, policy)
    }

    fn memory_full(&self, target: &Target, message: &Message, policy: &Policy) -> Option<Full> {
        if let Some(usage) = target.usage()
            && policy.producer_flow_control
            && usage.is_full(|position| target.is_pending(position))
        {
            return Some(Full {
                kind: LimitKind::DestinationMemory,
                used: usage.used_bytes(),
                limit: usage.limit_bytes(),
            });
        }
        let is_journaled = message.is_journaled_at(target.name());
        let needs_memory = !is_journaled || matches!(target, Target::Topic(_));
        if !needs_memory || !self.is_memory_short(target, policy) {
            return None;
        }
        let (memory, spool) = (&self.usage().memory, &self.usage().spool);
        if spool.is_enabled() && target.spills() && spool.is_stuck() {
            return Some(Full {
                kind: LimitKind::Temporary,
                used: spool.used_bytes(),
                limit: spool.limit_bytes(),
            });
        }
        Some(Full {
            kind: LimitKind::Memory,
            used: memory.bytes(Class::Held) as u64,
            limit: memory.limit_bytes() as u64,
        })
    }

    /// Whether a message that needs memory has to wait for some. Without flow control it only waits until
    /// what came before is in the temporary store.
    fn is_memory_short(&self, target: &Target, policy: &Policy) -> bool {
        let (memory, spool) = (&self.usage().memory, &self.usage().spool);
        if policy.producer_flow_control || !spool.is_enabled() || !target.spills() {
            return memory.is_full();
        }
        spool.is_behind() || memory.is_full() && spool.is_stuck()
    }

    fn shortage(&self, target: &Target, full: Full) -> Shortage {
        let (limits, policy) = (&self.options().limits, target.policy());
        let must_fail = policy
            .send_fail_if_no_space
            .unwrap_or(limits.send_fail_if_no_space);
        let at_most = policy
            .send_fail_if_no_space_after
            .or(limits.send_fail_if_no_space_after)
            .filter(|time| !time.is_zero());
        Shortage {
            kind: full.kind,
            destination: target.name().clone(),
            used: full.used,
            limit: full.limit,
            patience: if must_fail {
                Patience::None
            } else {
                at_most.map_or(Patience::Endless, Patience::AtMost)
            },
            warning_interval: policy.blocked_producer_warning_interval,
            wants_full_advisory: policy.advisory_when_full,
            wants_fast_producer_advisory: policy.advisory_for_fast_producers,
        }
    }
}

struct Full {
    kind: LimitKind,
    used: u64,
    limit: u64,
}

impl Target {
    fn usage(&self) -> Option<&Arc<DestinationUsage>> {
        match self {
            Target::Queue(queue) => queue.usage(),
            Target::Topic(topic) => topic.usage(),
        }
    }

    /// Whether it uses the temporary store.
    fn spills(&self) -> bool {
        matches!(self, Target::Queue(_)) && !self.policy().keep_in_memory
    }

    /// Whether a persistent message that was counted is still there.
    fn is_pending(&self, position: storage::Position) -> bool {
        match self {
            Target::Queue(queue) => queue.is_pending(position),
            Target::Topic(_) => false,
        }
    }
}
