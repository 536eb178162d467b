//! Producers: publishing, and how long their sequences are remembered.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openwire::{ConnectionId, ProducerId};
use parking_lot::Mutex;
use storage::store::{Enqueued, NewMessage, ProducerSequence};

use super::destination::{Target, order_of};
use super::queue::Queue;
use super::topic::{Topic, offer};
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

impl Broker {
    /// Publishes a message outside a transaction.
    pub(super) fn publish(
        self: &Arc<Self>,
        target: &Target,
        message: &Arc<Message>,
        producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        match target {
            Target::Queue(queue) if message.is_journaled() => {
                queue.enqueue(self, message, producer)
            }
            Target::Topic(topic) if message.is_journaled() => {
                self.publish_journaled(topic, message, producer)
            }
            Target::Queue(_) | Target::Topic(_) => {
                self.check_memory(target)?;
                self.publish_memory(target, message);
                Ok(Receipt::Done)
            }
        }
    }

    /// Refuses messages for queues while the memory is full; topics make room by themselves.
    pub(super) fn check_memory(&self, target: &Target) -> Result<(), Refusal> {
        match (target, self.memory().exceeded_limit()) {
            (Target::Queue(_), Some(limit)) => Err(Refusal::MemoryFull {
                used: self.memory().non_persistent_bytes(),
                limit,
            }),
            _ => Ok(()),
        }
    }

    /// Publishes a message that is kept in memory only.
    pub(super) fn publish_memory(self: &Arc<Self>, target: &Target, message: &Arc<Message>) {
        match target {
            Target::Queue(queue) => queue.enqueue_memory(self, Arc::clone(message)),
            Target::Topic(topic) => {
                topic.counters.enqueued.fetch_add(1, Ordering::Relaxed);
                for queue in self.interested(topic, message) {
                    // Whoever is not there misses what is not persistent.
                    if queue.consumer_count() > 0 {
                        queue.enqueue_memory(self, Arc::clone(message));
                    }
                }
                offer(&topic.consumers(), message);
            }
        }
    }

    fn publish_journaled(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        message: &Arc<Message>,
        producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        let queues = self.interested(topic, message);
        let backlogs = queues
            .iter()
            .map(|queue| queue.backlog(self))
            .collect::<Result<Vec<_>, _>>()?;
        let new = NewMessage {
            producer,
            order: order_of(message, topic.policy()),
            expiration_ms: message.expiration_ms(),
            body: message.stored().bytes(),
        };
        match self.store().enqueue(&backlogs, new)? {
            Enqueued::Duplicate { lsn } => Ok(Receipt::At(lsn)),
            Enqueued::Appended {
                lsn,
                location,
                positions,
            } => {
                for (queue, position) in queues.iter().zip(positions) {
                    queue.arrived(self, lsn, position, location, message);
                }
                topic.counters.enqueued.fetch_add(1, Ordering::Relaxed);
                self.dispatcher().publish_at(lsn, topic, message);
                Ok(Receipt::At(lsn))
            }
        }
    }

    /// The durable subscriptions that want a message.
    pub(super) fn interested(&self, topic: &Topic, message: &Message) -> Vec<Arc<Queue>> {
        let durable = topic.durable();
        durable
            .iter()
            .filter(|queue| !queue.shuns(message))
            .map(Arc::clone)
            .collect()
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

impl Queue {
    /// Whether a durable subscription does not want its own connection's messages, and this is one.
    fn shuns(&self, message: &Message) -> bool {
        let Some(super::descriptor::Descriptor::Subscription { no_local: true, .. }) =
            self.subscription()
        else {
            return false;
        };
        let Some(producer) = message.producer() else {
            return false;
        };
        let from = ConnectionId {
            value: producer.connection_id.clone(),
        };
        self.state
            .lock()
            .consumers
            .iter()
            .any(|consumer| consumer.address.connection == from)
    }
}
