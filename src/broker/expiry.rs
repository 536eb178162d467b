//! The broker's slow clock: expired messages that nobody consumes, and forgotten producers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::destination::Target;
use super::message::Cause;
use super::queue::Queue;
use super::{Broker, wall_ms};

const TICK: Duration = Duration::from_secs(1);
/// Time between two looks for idle producers; small against any sensible retention.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);

/// Runs until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut swept, mut idled) = (Instant::now(), Instant::now());
    let every = broker.options().expiry_interval;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = broker.ended() => return,
        }
        let is_sweep_due = !every.is_zero() && swept.elapsed() >= every;
        let is_idle_due = idled.elapsed() >= IDLE_INTERVAL;
        let worker = Arc::clone(&broker);
        broker.background().run(Box::new(move || {
            worker.flush_forgotten();
            if is_sweep_due {
                worker.expire();
            }
            if is_idle_due {
                worker.forget_idle();
            }
        }));
        if is_sweep_due {
            swept = Instant::now();
        }
        if is_idle_due {
            idled = Instant::now();
        }
    }
}

impl Broker {
    /// Takes expired messages out of all queues and subscriptions.
    pub(super) fn expire(self: &Arc<Self>) {
        for queue in self.all_queues() {
            self.expire_in(&queue);
        }
    }

    fn expire_in(self: &Arc<Self>, queue: &Arc<Queue>) {
        let mut from = None;
        loop {
            let released = self.released();
            let (expired, next) = queue
                .state
                .lock()
                .stock
                .take_expired(from, wall_ms(), released);
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
        queues.extend(self.subscriptions.lock().values().map(Arc::clone));
        queues
    }
}
