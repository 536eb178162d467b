//! The broker's slow clock: expired messages that nobody consumes, and forgotten producers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::dead_letter::Cause;
use super::destination::Target;
use super::queue::Queue;
use super::{Broker, BrokerOptions, Message, wall_ms};

/// Time between two ticks, unless some destination is searched more often ...
const TICK: Duration = Duration::from_secs(1);
/// ... which none is beyond this.
const TICK_MIN: Duration = Duration::from_millis(50);
/// Time between two looks for idle producers; small against any sensible retention.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);
/// Expired messages of topics that may wait for the next tick; more are dropped.
const EXPIRED_MAX: usize = 10_000;

/// Messages that expired before a topic's consumer had room for them.
#[derive(Debug, Default)]
pub(super) struct Expired(Mutex<Vec<Arc<Message>>>);

impl Expired {
    /// Takes a message that is of no use to its consumer any more.
    pub(super) fn push(&self, message: Arc<Message>) {
        let mut messages = self.0.lock();
        if messages.len() < EXPIRED_MAX {
            messages.push(message);
        }
    }
}

/// Runs until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let mut ticks = interval(tick(broker.options()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idled = Instant::now();
    let sweeps = Arc::new(Mutex::new(Sweeps::default()));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = broker.ended() => return,
        }
        let is_idle_due = idled.elapsed() >= IDLE_INTERVAL;
        let (worker, sweeps) = (Arc::clone(&broker), Arc::clone(&sweeps));
        broker.background().run(Box::new(move || {
            worker.flush_forgotten();
            worker.bury_expired();
            // The last one still goes on if this is taken.
            if let Some(mut sweeps) = sweeps.try_lock() {
                sweeps.run(&worker);
            }
            if is_idle_due {
                worker.forget_idle();
            }
        }));
        if is_idle_due {
            idled = Instant::now();
        }
    }
}

fn tick(options: &BrokerOptions) -> Duration {
    let periods = options
        .policies
        .iter()
        .map(|policy| policy.expire_messages_period);
    let shortest = periods.filter(|period| !period.is_zero()).min();
    shortest.map_or(TICK, |period| period.clamp(TICK_MIN, TICK))
}

/// When the destinations with one period were searched.
#[derive(Default)]
struct Sweeps(HashMap<Duration, Instant>);

impl Sweeps {
    /// Searches the queues and subscriptions whose time has come.
    fn run(&mut self, broker: &Arc<Broker>) {
        let now = Instant::now();
        let mut due: HashMap<Duration, bool> = HashMap::new();
        for queue in broker.all_queues() {
            let period = queue.policy().expire_messages_period;
            if period.is_zero() {
                continue;
            }
            let is_due = *due.entry(period).or_insert_with(|| {
                let last = *self.0.entry(period).or_insert(now);
                now.duration_since(last) >= period
            });
            if is_due {
                broker.expire_in(&queue);
            }
        }
        for (period, _) in due.into_iter().filter(|(_, is_due)| *is_due) {
            self.0.insert(period, now);
        }
    }
}

impl Broker {
    /// Takes expired messages out of all queues and subscriptions.
    #[cfg(test)]
    pub(super) fn expire(self: &Arc<Self>) {
        for queue in self.all_queues() {
            self.expire_in(&queue);
        }
    }

    fn expire_in(self: &Arc<Self>, queue: &Arc<Queue>) {
        if !queue.policy().dead_letter.process_non_persistent {
            let dropped = queue.state.lock().stock.overflow().drop_expired(wall_ms());
            let dequeued = &queue.counters.dequeued;
            dequeued.fetch_add(dropped as u64, Ordering::Relaxed);
        }
        let page = queue.policy().max_expire_page_size.max(1) as usize;
        let mut from = None;
        loop {
            let released = self.released();
            let (expired, next) =
                queue
                    .state
                    .lock()
                    .stock
                    .take_expired(from, page, wall_ms(), released);
            if !expired.is_empty() {
                let messages = expired.len();
                tracing::debug!(queue = %queue.name(), messages, "Messages expired.");
            }
            self.dead_letter(queue, expired, Cause::Expired);
            if next.is_none() {
                return;
            }
            from = next;
        }
    }

    /// Makes dead letters of what expired before the consumers of topics had room for it.
    pub(super) fn bury_expired(self: &Arc<Self>) {
        let expired = std::mem::take(&mut *self.expired.0.lock());
        for message in expired {
            let Some(Target::Topic(topic)) = self.find(message.destination()) else {
                continue;
            };
            if let Err(error) = self.bury_of_topic(&topic, &message) {
                tracing::warn!(message = %message.id(), %error, "An expired message is lost.");
            }
        }
    }

    /// Queues and durable subscriptions.
    pub(super) fn all_queues(&self) -> Vec<Arc<Queue>> {
        let mut queues: Vec<Arc<Queue>> = self
            .destinations
            .read()
            .iter()
            .filter_map(|(_, target)| match target {
                Target::Queue(queue) => Some(Arc::clone(queue)),
                Target::Topic(_) => None,
            })
            .collect();
        let subscriptions = self.subscriptions.lock();
        queues.extend(subscriptions.values().map(|one| Arc::clone(one.queue())));
        queues
    }
}
