//! The one task that acts when the journal has released more: it visits the queues that got
//! something since, and publishes to topics what had to wait.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use storage::Lsn;
use tokio::sync::Notify;

use super::queue::Queue;
use super::releases::Releases;
use super::topic::{Subscriber, offer};
use super::{Broker, Message};

/// What waits for the journal to release more.
pub(crate) struct Dispatcher {
    releases: Arc<Releases>,
    /// Nearly in order; one that is not waits a little longer than it must.
    waiting: Mutex<VecDeque<(Lsn, Visit)>>,
    /// For the first of them.
    wake: Arc<Notify>,
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
    pub(super) fn new(releases: Arc<Releases>) -> Self {
        Dispatcher {
            releases,
            waiting: Mutex::default(),
            wake: Arc::default(),
        }
    }

    /// Visits the queue when `lsn` is released.
    pub(super) fn visit_at(&self, lsn: Lsn, queue: &Arc<Queue>) {
        self.at(lsn, Visit::Queue(Arc::clone(queue)));
    }

    /// Does something when `lsn` is released.
    pub(super) fn at(&self, lsn: Lsn, visit: Visit) {
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.push_back((lsn, visit));
            waiting.len() == 1
        };
        if is_first {
            self.releases.wake_at(lsn, &self.wake);
        }
    }

    /// The first that can be done; before the answer is "none", the task is to be woken for it.
    fn next(&self) -> Option<Visit> {
        let released = self.releases.lsn();
        let first = {
            let mut waiting = self.waiting.lock();
            match waiting.front() {
                Some((lsn, _)) if *lsn <= released => {
                    return waiting.pop_front().map(|(_, visit)| visit);
                }
                first => first.map(|(lsn, _)| *lsn),
            }
        };
        if let Some(lsn) = first {
            self.releases.wake_at(lsn, &self.wake);
        }
        None
    }
}

/// Runs until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    loop {
        while let Some(visit) = broker.dispatcher().next() {
            match visit {
                Visit::Queue(queue) => queue.visit(&broker),
                Visit::Schedule => broker.wake_scheduler(),
                Visit::Publish(consumers, message) => offer(&broker, &consumers, &message),
                Visit::Enqueue(queue, message) => queue.enqueue_memory(&broker, message),
            }
        }
        tokio::select! {
            () = broker.dispatcher().wake.notified() => {}
            () = broker.ended() => return,
        }
    }
}
