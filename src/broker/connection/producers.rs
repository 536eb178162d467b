//! A connection's producers, and what they send.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use openwire::{Command, Destination, ProducerId};
use storage::store::ProducerSequence;

use super::{Connection, Inner, Producer, TARGETS_REMEMBERED};
use crate::broker::destination::Target;
use crate::broker::producer::producer_key;
use crate::broker::{Message, MessageError, Receipt, Refusal};

impl Connection {
    /// Opens a producer. A known one is left as it is.
    ///
    /// # Errors
    /// When its destination cannot be used.
    pub fn add_producer(
        &self,
        id: &ProducerId,
        destination: Option<&Destination>,
        announcement: &Command,
    ) -> Result<(), Refusal> {
        if self.inner.lock().producers.contains_key(id) {
            return Ok(());
        }
        if let Some(destination) = destination {
            let target = self.broker.target(destination)?;
            target.counters().producers.fetch_add(1, Ordering::Relaxed);
            self.broker.advise_producer(destination, announcement);
        }
        let producer = Producer {
            key: producer_key(id),
            destination: destination.map(Destination::detached),
        };
        self.inner.lock().producers.insert(id.detached(), producer);
        Ok(())
    }

    /// Closes a producer. Its client will not repeat anything: the journal may forget it.
    pub fn remove_producer(&self, id: &ProducerId) {
        let Some(producer) = self.inner.lock().producers.remove(id) else {
            return;
        };
        if self
            .broker
            .store()
            .producer_sequence(&producer.key)
            .is_some()
        {
            self.broker.forgotten.push(producer.key.clone());
        }
        self.producer_gone(id, &producer);
    }

    pub(super) fn producer_gone(&self, id: &ProducerId, producer: &Producer) {
        let Some(destination) = &producer.destination else {
            return;
        };
        if let Ok(target) = self.broker.target(destination) {
            target.counters().producers.fetch_sub(1, Ordering::Relaxed);
        }
        let removal = openwire::RemoveInfo::of(id.clone()).into();
        self.broker.advise_producer(destination, &removal);
    }

    pub(in crate::broker) fn producer_keys(&self) -> Vec<Bytes> {
        self.inner
            .lock()
            .producers
            .values()
            .map(|producer| producer.key.clone())
            .collect()
    }

    /// Takes a message as it came in a frame of this version, already decoded. The bytes are copied
    /// out of the frame.
    ///
    /// # Errors
    /// When it lacks an id or a destination.
    pub fn receive(
        &self,
        frame: &Bytes,
        version: openwire::Version,
        decoded: &openwire::Message,
    ) -> Result<Message, MessageError> {
        Message::received(frame, version, decoded, self.broker.memory())
    }

    /// Sends a message, in a transaction if its number is given. A failure makes that one fail at
    /// its commit.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn send(&self, message: Message, transaction: Option<i64>) -> Result<Receipt, Refusal> {
        let message = Arc::new(message);
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.is_closed {
            return Err(Refusal::Closing);
        }
        let target = self.target(inner, message.destination());
        let Some(number) = transaction else {
            return self.publish(inner, &target?, &message);
        };
        let transaction = inner
            .transactions
            .get_mut(&number)
            .ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))?;
        target
            .and_then(|target| transaction.send(&self.broker, &target, message))
            .inspect_err(|refusal| transaction.fail(refusal))?;
        Ok(Receipt::Done)
    }

    fn publish(
        &self,
        inner: &Inner,
        target: &Target,
        message: &Arc<Message>,
    ) -> Result<Receipt, Refusal> {
        let Some(producer) = message.producer() else {
            return self.broker.publish(target, message, None);
        };
        let made;
        let key = match inner.producers.get(producer) {
            Some(producer) => &producer.key,
            None => {
                made = producer_key(producer);
                &made
            }
        };
        let sequence = u64::try_from(message.id().producer_sequence_id).ok();
        let producer = sequence.map(|sequence| ProducerSequence {
            producer: key,
            sequence,
            suppress_duplicate: self.is_reconnect,
        });
        self.broker.publish(target, message, producer)
    }

    /// What a destination stands for, remembered for the next message.
    fn target(&self, inner: &mut Inner, destination: &Destination) -> Result<Target, Refusal> {
        if let Some(target) = inner.targets.get(destination)
            && !(destination.kind.is_temporary() && target.is_deleted())
        {
            return Ok(target.clone());
        }
        let target = self.broker.target(destination)?;
        if inner.targets.len() >= TARGETS_REMEMBERED {
            inner.targets.clear();
        }
        inner.targets.insert(destination.clone(), target.clone());
        Ok(target)
    }
}
