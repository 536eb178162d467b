//! Slow consumers: found by looking at them now and then, and aborted if the policy says so.
//!
//! A consumer of a queue or of a durable subscription is slow while its window is full and more waits; a
//! consumer of topics, while more waits for it than its window holds. With a limit for the time since
//! the last acknowledgement that time alone decides. Looking costs nothing where messages pass, and
//! nothing at all where no policy asks for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use openwire::{ConsumerId, Destination};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::consumer::{Address, LastDelivered};
use super::destination::Target;
use super::outbox::Order;
use super::policy::{Policy, SlowConsumerPolicy};
use super::queue::Queue;
use super::{Broker, Connection};

/// Time between two looks where only advisories are wanted.
const ADVISORY_PERIOD: Duration = Duration::from_millis(250);
/// How long a client has for closing a consumer itself, as ActiveMQ's has.
const PATIENCE: Duration = Duration::from_secs(1);

/// A consumer at one moment.
pub(super) struct Sight {
    pub(super) address: Address,
    /// Its window is full and more waits.
    pub(super) is_behind: bool,
    /// Messages that it has not acknowledged.
    pub(super) outstanding: usize,
    pub(super) acknowledged_at: Instant,
    /// It is advised of at the moment when it gets behind, without being looked at.
    pub(super) is_told: bool,
}

/// What is known of a consumer that was slow at the last look.
#[derive(Default)]
struct Entry {
    /// Looks at which it was slow, the first included.
    looks: u32,
}

/// The watch over slow consumers.
#[derive(Default)]
struct Watch {
    /// When each destination is due again.
    due: HashMap<Destination, Instant>,
    /// A consumer of several destinations is slow at each of them by itself.
    entries: HashMap<(Destination, ConsumerId), Entry>,
}

/// How often consumers are looked at under a policy; None = never.
fn period(policy: &Policy) -> Option<Duration> {
    match &policy.slow_consumer {
        Some(slow) => Some(slow.check_period.max(Duration::from_millis(1))),
        None => policy
            .advisory_for_slow_consumers
            .then_some(ADVISORY_PERIOD),
    }
}

/// Looks after slow consumers until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let Some(shortest) = broker.options().policies.iter().filter_map(period).min() else {
        return;
    };
    let mut ticks = interval(shortest);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => watch.look(&broker),
            () = broker.ended() => return,
        }
    }
}

impl Watch {
    fn look(&mut self, broker: &Arc<Broker>) {
        let now = Instant::now();
        let mut seen = HashSet::new();
        let watched = broker.watched();
        self.due
            .retain(|name, _| watched.iter().any(|(other, ..)| other == name));
        for (name, policy, sights) in watched {
            let Some(period) = period(&policy) else {
                continue;
            };
            seen.extend(
                sights
                    .iter()
                    .map(|sight| (name.clone(), sight.address.id.clone())),
            );
            let due = self.due.entry(name.clone()).or_insert(now + period);
            if *due > now {
                continue;
            }
            *due = now + period;
            for sight in sights {
                self.judge(broker, &name, &policy, &sight, now);
            }
        }
        self.entries.retain(|key, _| seen.contains(key));
    }

    fn judge(
        &mut self,
        broker: &Arc<Broker>,
        name: &Destination,
        policy: &Policy,
        sight: &Sight,
        now: Instant,
    ) {
        let id = &sight.address.id;
        let key = (name.clone(), id.clone());
        if !is_slow(policy.slow_consumer.as_ref(), sight, now) {
            self.entries.remove(&key);
            return;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.looks += 1;
        let is_told = sight.is_told && sight.is_behind;
        if entry.looks == 1 && policy.advisory_for_slow_consumers && !is_told {
            broker.advise_slow_consumer(name, id);
        }
        if let Some(slow) = &policy.slow_consumer
            && is_too_slow(slow, entry.looks)
        {
            self.entries.remove(&key);
            broker.abort_consumer(&sight.address, name, slow.abort_connection);
        }
    }
}

fn is_slow(policy: Option<&SlowConsumerPolicy>, sight: &Sight, now: Instant) -> bool {
    match policy.and_then(|policy| Some((policy, policy.max_time_since_last_ack?))) {
        Some((policy, limit)) => {
            let is_idle = sight.outstanding == 0;
            !(is_idle && policy.ignore_idle_consumers)
                && now.saturating_duration_since(sight.acknowledged_at) > limit
        }
        None => sight.is_behind,
    }
}

/// As ActiveMQ counts: each look stands for a whole period; the first makes no occurrence.
fn is_too_slow(policy: &SlowConsumerPolicy, looks: u32) -> bool {
    let has_lasted = policy
        .max_slow_duration
        .is_some_and(|limit| policy.check_period.saturating_mul(looks) >= limit);
    let has_happened = policy
        .max_slow_count
        .is_some_and(|limit| limit > 0 && looks > limit);
    has_lasted || has_happened
}

impl Queue {
    fn sights(&self) -> Vec<Sight> {
        let state = self.state.lock();
        let is_waiting = state.pending() > state.in_flight();
        state
            .consumers
            .iter()
            .map(|consumer| Sight {
                address: consumer.address.clone(),
                is_behind: is_waiting && !consumer.has_room(),
                outstanding: consumer.in_flight.len(),
                acknowledged_at: consumer.acknowledged_at,
                is_told: false,
            })
            .collect()
    }
}

impl Broker {
    /// The consumers of all destinations where somebody wants to know whether they are slow.
    fn watched(&self) -> Vec<(Destination, Arc<Policy>, Vec<Sight>)> {
        let targets: Vec<Target> = {
            let destinations = self.destinations.read();
            destinations
                .iter()
                .map(|(_, target)| target.clone())
                .collect()
        };
        let mut watched = Vec::new();
        for target in targets {
            if period(target.policy()).is_none() {
                continue;
            }
            match target {
                Target::Queue(queue) => {
                    watched.push((
                        queue.name().clone(),
                        Arc::clone(queue.policy()),
                        queue.sights(),
                    ));
                }
                Target::Topic(topic) => {
                    let mut sights = topic.sights();
                    for subscription in &*topic.durable() {
                        sights.extend(subscription.queue().sights());
                    }
                    watched.push((topic.name().clone(), Arc::clone(topic.policy()), sights));
                }
            }
        }
        watched
    }

    /// Has a client close a slow consumer, and closes it if the client does not; or ends the whole
    /// connection.
    fn abort_consumer(
        self: &Arc<Self>,
        address: &Address,
        destination: &Destination,
        with_connection: bool,
    ) {
        let Some(connection) = self.connection(&address.connection) else {
            return;
        };
        tracing::warn!(
            consumer = %address.id,
            %destination,
            with_connection,
            "A consumer was slow for too long and is aborted."
        );
        if with_connection {
            connection.dismiss();
            return;
        }
        address.outbox.order(Order::Close(address.tag));
        let (connection, id): (Arc<Connection>, _) = (connection, address.id.clone());
        self.runtime().spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            connection.remove_consumer(&id, LastDelivered::Unknown);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_too_slow_after_the_time_or_the_number_of_looks() {
        let policy = |duration, count| SlowConsumerPolicy {
            max_slow_duration: duration,
            max_slow_count: count,
            check_period: Duration::from_secs(10),
            ..SlowConsumerPolicy::default()
        };
        let by_time = policy(Some(Duration::from_secs(30)), None);
        assert!(!is_too_slow(&by_time, 2));
        assert!(is_too_slow(&by_time, 3));
        let by_count = policy(None, Some(1));
        assert!(!is_too_slow(&by_count, 1));
        assert!(is_too_slow(&by_count, 2));
        assert!(!is_too_slow(&policy(None, None), 1000));
    }
}
