//! Producers: publishing, and how long their sequences are remembered.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openwire::{Destination, ProducerId};
use parking_lot::Mutex;
use storage::store::{AppendError, Enqueued, NewMessage, ProducerSequence};
use storage::{Backlog, Lsn};

use super::destination::{Target, order_of};
use super::dispatcher::Visit;
use super::interceptor::Leg;
use super::queue::Queue;
use super::stock::PLAIN_ORDER;
use super::topic::Topic;
use super::{Broker, Message, Receipt, Refusal, wall_ms};

/// Producers that were closed cleanly and are to be forgotten by the journal.
#[derive(Default)]
pub(super) struct Forgotten(Mutex<Vec<Bytes>>);

impl Forgotten {
    pub(super) fn push(&self, key: Bytes) {
        self.0.lock().push(key);
    }
}

/// What names a producer in the journal.
pub(super) fn producer_key(id: &ProducerId) -> Bytes {
    let connection = id
        .connection_id
        .as_ref()
        .map_or(&b""[..], |text| text.as_bytes());
    let mut key = Vec::with_capacity(connection.len() + 16);
    key.extend_from_slice(connection);
    key.extend_from_slice(&id.session_id.to_be_bytes());
    key.extend_from_slice(&id.value.to_be_bytes());
    key.into()
}

/// Where a persistent message goes.
pub(super) struct Spread {
    /// Queues and durable subscriptions, each once: they find it in the journal.
    pub(super) queues: Vec<Arc<Queue>>,
    /// Temporary queues, and topics with their other consumers.
    pub(super) elsewhere: Vec<Target>,
    /// Its place in the order of dispatch.
    pub(super) order: u8,
}

impl Spread {
    fn add(&mut self, queue: &Arc<Queue>) {
        if !self.queues.iter().any(|other| Arc::ptr_eq(other, queue)) {
            self.queues.push(Arc::clone(queue));
        }
    }

    /// The journal's parts of the queues, in their order.
    pub(super) fn backlogs(&self, broker: &Broker) -> Result<Vec<Arc<Backlog>>, AppendError> {
        self.queues
            .iter()
            .map(|queue| queue.backlog(broker))
            .collect()
    }
}

impl Broker {
    /// Publishes a message to all targets that it reaches, outside a transaction.
    pub(super) fn publish(
        self: &Arc<Self>,
        legs: &[Leg],
        message: &Arc<Message>,
        producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        if message.expiration_ms() > 0 && message.is_expired(wall_ms()) {
            return self.bury_on_arrival(legs, message, producer);
        }
        if let [leg] = legs
            && let Target::Queue(queue) = &leg.target
            && message.is_journaled_at(queue.name())
        {
            return queue.enqueue(self, message, producer);
        }
        if legs
            .iter()
            .any(|leg| message.is_journaled_at(leg.target.name()))
        {
            return self.publish_journaled(legs, message, producer);
        }
        for leg in legs {
            self.publish_memory(&leg.target, message);
        }
        Ok(Receipt::Done)
    }

    /// Publishes a message that is kept in memory only.
    pub(super) fn publish_memory(self: &Arc<Self>, target: &Target, message: &Arc<Message>) {
        match target {
            Target::Queue(queue) => queue.enqueue_memory(self, Arc::clone(message)),
            Target::Topic(topic) => {
                let message = &self.shown_at(topic.name(), Arc::clone(message));
                topic.publish_to_durable(self, message, None);
                topic.published(self, message, None);
            }
        }
    }

    /// One record of the journal for all queues and durable subscriptions that a message reaches.
    fn publish_journaled(
        self: &Arc<Self>,
        legs: &[Leg],
        message: &Arc<Message>,
        producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        let spread = self.spread(legs, message);
        let new = NewMessage {
            producer,
            order: spread.order,
            expiration_ms: message.expiration_ms(),
            body: message.stored().bytes(),
        };
        match self.store().enqueue(&spread.backlogs(self)?, new)? {
            Enqueued::Duplicate { lsn } => Ok(Receipt::At(lsn)),
            Enqueued::Appended {
                lsn,
                location,
                positions,
            } => {
                for (queue, position) in spread.queues.iter().zip(positions) {
                    queue.arrived(self, lsn, position, location, message);
                }
                for target in &spread.elsewhere {
                    self.publish_at(lsn, target, message);
                }
                Ok(Receipt::At(lsn))
            }
        }
    }

    /// Counts, and tells who wants to know, that a topic got a message.
    pub(super) fn advise_publication(self: &Arc<Self>, topic: &Topic, message: &Message) {
        topic
            .counters
            .enqueued_bytes
            .fetch_add(message.len() as u64, Ordering::Relaxed);
        let policy = topic.policy();
        self.advise_delivered(topic.name(), message, policy);
        if policy.send_advisory_if_no_consumers && topic.consumer_count() == 0 {
            self.advise_no_consumers(topic.name(), message, policy);
        }
    }

    /// Publishes, once `lsn` is released, what a target does not find in the journal.
    pub(super) fn publish_at(self: &Arc<Self>, lsn: Lsn, target: &Target, message: &Arc<Message>) {
        match target {
            Target::Queue(queue) => {
                let visit = Visit::Enqueue(Arc::clone(queue), Arc::clone(message));
                self.dispatcher().at(lsn, visit);
            }
            Target::Topic(topic) => {
                let message = &self.shown_at(topic.name(), Arc::clone(message));
                if !message.is_journaled() {
                    topic.publish_to_durable(self, message, Some(lsn));
                }
                topic.published(self, message, Some(lsn));
            }
        }
    }

    /// What of a persistent message goes where.
    pub(super) fn spread(self: &Arc<Self>, legs: &[Leg], message: &Message) -> Spread {
        let mut spread = Spread {
            queues: Vec::with_capacity(legs.len()),
            elsewhere: Vec::new(),
            order: PLAIN_ORDER,
        };
        for leg in legs {
            match &leg.target {
                Target::Queue(queue) if message.is_journaled_at(queue.name()) => {
                    spread.add(queue);
                }
                Target::Queue(_) => spread.elsewhere.push(leg.target.clone()),
                Target::Topic(topic) => {
                    if message.is_journaled_at(topic.name()) {
                        for queue in topic.interested(self, message) {
                            spread.add(&queue);
                        }
                    }
                    spread.elsewhere.push(leg.target.clone());
                }
            }
            // All that dispatch without priorities see the order in which they came.
            if leg.target.policy().prioritized_messages {
                spread.order = order_of(message, leg.target.policy());
            }
        }
        spread
    }

    /// A message as it looks at a destination: that one as its destination, and the one that it was
    /// sent to, if that is another, as the original one.
    pub(super) fn shown_at(&self, name: &Destination, message: Arc<Message>) -> Arc<Message> {
        let own = message.destination();
        if own == name || !self.options().interceptors.renames(own) {
            return message;
        }
        match message.redirected(name, Some(own), self.memory()) {
            Ok(shown) => Arc::new(shown),
            Err(error) => {
                tracing::error!(message = %message.id(), %error, "A message cannot be renamed.");
                message
            }
        }
    }

    /// Lets the journal forget producers that were closed.
    pub(super) fn flush_forgotten(&self) {
        let forgotten = mem::take(&mut *self.forgotten.0.lock());
        if !forgotten.is_empty()
            && let Err(error) = self.store().forget_producers(&forgotten)
        {
            // The retention time gets them later.
            tracing::debug!(%error, "Closed producers are not forgotten.");
        }
    }

    /// Lets the journal forget producers that did nothing for the retention time.
    pub(super) fn forget_idle(&self) {
        let retention = self.options().producer_retention;
        let before = Duration::from_millis(wall_ms().unsigned_abs()).saturating_sub(retention);
        let in_use = self.producers_in_use();
        let before_ms = u64::try_from(before.as_millis()).unwrap_or(0);
        match self
            .store()
            .forget_idle_producers(before_ms, &|key| in_use.contains(key))
        {
            Ok(0) => {}
            Ok(producers) => tracing::debug!(producers, "Idle producers are forgotten."),
            Err(error) => tracing::debug!(%error, "Idle producers are not forgotten."),
        }
    }

    fn producers_in_use(&self) -> std::collections::HashSet<Bytes> {
        let connections: Vec<_> = self.connections.lock().iter().map(Arc::clone).collect();
        connections
            .iter()
            .flat_map(|connection| connection.producer_keys())
            .collect()
    }
}
