//! How queues and topics end: because a client asks for it, or because nobody uses them.
//!
//! A queue's part of the journal is removed under the lock of the map of destinations. So a queue of
//! the same name that is made again at once is never together with the old one in the journal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use openwire::{ConnectionId, Destination};

use super::destination::Target;
use super::{Broker, Receipt, Refusal, names};

/// How long destinations live; the defaults are ActiveMQ's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Destinations that are there from the start.
    pub startup: Vec<Destination>,
    /// Time between two searches for destinations that nobody uses, for those whose policy has
    /// `gcInactiveDestinations`; zero = none. ActiveMQ's `schedulePeriodForDestinationPurge`.
    pub purge_period: Duration,
    /// How many are removed at a time; 0 = all.
    pub purge_max: usize,
    /// A message to a temporary destination that is not there makes it, without an owner;
    /// ActiveMQ's `allowTempAutoCreationOnSend`.
    pub temporary_on_send: bool,
}

/// Destinations that were found unused, and since when.
#[derive(Default)]
struct Idle {
    since: HashMap<Destination, Unused>,
}

struct Unused {
    since: Instant,
    /// What it had got by then: more means that it was used meanwhile.
    enqueued: u64,
}

/// Removes destinations that nobody uses until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let period = broker.options().lifecycle.purge_period;
    if period.is_zero() {
        return;
    }
    let mut idle = Idle::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => {}
            () = broker.ended() => return,
        }
        broker.purge_inactive(&mut idle, Instant::now());
    }
}

impl Broker {
    /// Makes the destinations that are there from the start.
    pub(super) fn make_startup_destinations(self: &Arc<Self>) {
        for name in &self.options().lifecycle.startup {
            for part in names::parts(name).unwrap_or_default() {
                if let Err(error) = self.target(&part) {
                    tracing::error!(destination = %part, %error, "It is not made at the start.");
                }
            }
        }
    }

    /// Removes a queue or topic with all that is in it, unless somebody consumes from it.
    pub(super) fn remove_destination(
        self: &Arc<Self>,
        name: &Destination,
        by: Option<&ConnectionId>,
    ) -> Result<Receipt, Refusal> {
        let Some(target) = self.find(name) else {
            return Ok(Receipt::Done);
        };
        self.remove_offline_subscriptions(&target)?;
        {
            let mut destinations = self.destinations.write();
            let present = destinations.get(name).filter(|other| other.is(&target));
            if present.is_none() {
                return Ok(Receipt::Done);
            }
            let consumers = target.consumer_count();
            if consumers > 0 {
                return Err(Refusal::DestinationInUse {
                    destination: name.clone(),
                    consumers,
                });
            }
            if let Target::Queue(queue) = &target {
                queue.delete_durably(self)?;
            } else {
                target.delete();
            }
            destinations.remove(name);
            self.routes_version.fetch_add(1, Ordering::Release);
        }
        let receipt = Receipt::At(self.store().appended());
        self.advise_destination(name, by, false);
        self.remove_mirror(name);
        Ok(receipt)
    }

    /// A topic takes its durable subscriptions with it, unless one of them has a consumer.
    fn remove_offline_subscriptions(self: &Arc<Self>, target: &Target) -> Result<(), Refusal> {
        let Target::Topic(topic) = target else {
            return Ok(());
        };
        let durable = topic.durable();
        let active = durable
            .iter()
            .filter(|subscription| subscription.queue().consumer_count() > 0)
            .count();
        let consumers = active + topic.plain_consumer_count();
        if consumers > 0 {
            return Err(Refusal::DestinationInUse {
                destination: topic.name().clone(),
                consumers,
            });
        }
        for subscription in durable.iter() {
            if subscription.queue().name() == topic.name() {
                let _ = self.unsubscribe(subscription.key())?;
            }
        }
        Ok(())
    }

    fn remove_mirror(self: &Arc<Self>, name: &Destination) {
        let mirrors = self.options().interceptors.mirrored_queues.as_ref();
        if let Some(topic) = mirrors.and_then(|mirrors| mirrors.topic(name))
            && let Err(error) = self.remove_destination(&topic, None)
        {
            tracing::debug!(%topic, %error, "The mirror of a removed queue stays.");
        }
    }

    fn purge_inactive(self: &Arc<Self>, idle: &mut Idle, now: Instant) {
        let due = self.find_inactive(idle, now);
        let max = match self.options().lifecycle.purge_max {
            0 => usize::MAX,
            max => max,
        };
        for name in due.into_iter().take(max) {
            idle.since.remove(&name);
            match self.remove_destination(&name, None) {
                Ok(_) => tracing::info!(destination = %name, "Nobody used it: it is removed."),
                Err(error) => {
                    tracing::debug!(destination = %name, %error, "It stays for now.");
                }
            }
        }
    }

    /// Those that are unused for as long as their policy says.
    fn find_inactive(&self, idle: &mut Idle, now: Instant) -> Vec<Destination> {
        let mut due = Vec::new();
        let mut known = std::mem::take(&mut idle.since);
        let destinations = self.destinations.read();
        for (name, target) in destinations.iter() {
            let policy = target.policy();
            if !policy.gc_inactive_destinations
                || policy.inactive_timeout_before_gc.is_zero()
                || name.kind.is_temporary() && target.owner().is_some()
                || target.is_used()
            {
                continue;
            }
            let enqueued = target.counters().enqueued.load(Ordering::Relaxed);
            let unused = known
                .remove(name)
                .filter(|unused| unused.enqueued == enqueued)
                .unwrap_or(Unused {
                    since: now,
                    enqueued,
                });
            if now.duration_since(unused.since) >= policy.inactive_timeout_before_gc {
                due.push(name.clone());
            }
            idle.since.insert(name.clone(), unused);
        }
        due
    }
}
