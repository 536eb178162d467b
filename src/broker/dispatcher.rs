//! The one task that acts when the journal has released more: it visits the queues that got
//! something since, and publishes to topics what had to wait.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use storage::Lsn;
use tokio::sync::{Notify, watch};

use super::queue::Queue;
use super::topic::{Subscriber, offer};
use super::{Broker, Message};

/// What waits for the journal to release more.
pub(crate) struct Dispatcher {
    released: Arc<watch::Sender<Lsn>>,
    /// Nearly in order; one that is not waits a little longer than it must.
    waiting: Mutex<VecDeque<(Lsn, Visit)>>,
    wake: Notify,
}

/// What is to be done.
pub(super) enum Visit {
    Queue(Arc<Queue>),
    /// To those who consumed from the topic when it was published.
    Publish(Arc<[Subscriber]>, Arc<Message>),
    /// The scheduler has more to look at.
    Schedule,
    /// A message of a committed transaction that is kept nowhere else.
    Enqueue(Arc<Queue>, Arc<Message>),
}

impl Dispatcher {
    pub(super) fn new(released: Arc<watch::Sender<Lsn>>) -> Self {
        Dispatcher {
            released,
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Visits the queue when `lsn` is released.
    pub(super) fn visit_at(&self, lsn: Lsn, queue: &Arc<Queue>) {
        self.at(lsn, Visit::Queue(Arc::clone(queue)));
    }

    /// Does something when `lsn` is released.
    pub(super) fn at(&self, lsn: Lsn, visit: Visit) {
        self.waiting.lock().push_back((lsn, visit));
        if lsn <= *self.released.borrow() {
            self.wake.notify_one();
        }
    }

    fn next(&self, released: Lsn) -> Option<Visit> {
        let mut waiting = self.waiting.lock();
        match waiting.front() {
            Some((lsn, _)) if *lsn <= released => waiting.pop_front().map(|(_, visit)| visit),
            _ => None,
        }
    }
}

/// Runs until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let mut released = broker.watch_released();
    loop {
        let now = *released.borrow_and_update();
        while let Some(visit) = broker.dispatcher().next(now) {
            match visit {
                Visit::Queue(queue) => queue.visit(&broker),
                Visit::Schedule => broker.wake_scheduler(),
                Visit::Publish(consumers, message) => offer(&broker, &consumers, &message),
                Visit::Enqueue(queue, message) => queue.enqueue_memory(&broker, message),
            }
        }
        tokio::select! {
            changed = released.changed() => if changed.is_err() { return },
            () = broker.dispatcher().wake.notified() => {}
            () = broker.ended() => return,
        }
    }
}
