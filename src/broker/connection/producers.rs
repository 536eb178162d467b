//! A connection's producers, and what they send.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use openwire::{Command, Destination, ProducerId};
use storage::store::ProducerSequence;

use super::{Connection, Inner, Producer, ROUTES_REMEMBERED, Routed};
use crate::broker::interceptor::{Leg, Route};
use crate::broker::names;
use crate::broker::producer::producer_key;
use crate::broker::security::Action;
use crate::broker::statistics;
use crate::broker::{Message, MessageError, Receipt, Refusal, TransactionName, wall_ms};

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
        let mut destinations = Vec::new();
        if let Some(destination) = destination {
            let parts = self.named(destination)?;
            self.check_all(Action::Write, &parts)?;
            self.check_creation(&parts)?;
            for part in parts {
                let target = self.broker.target(&part)?;
                target.counters().producers.fetch_add(1, Ordering::Relaxed);
                self.broker.advise_producer(Some(&part), announcement);
                destinations.push(part.detached());
            }
        } else {
            self.broker.advise_producer(None, announcement);
        }
        let producer = Producer {
            key: producer_key(id),
            destinations,
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
        let removal = openwire::RemoveInfo::of(id.clone()).into();
        if producer.destinations.is_empty() {
            self.broker.advise_producer(None, &removal);
        }
        for destination in &producer.destinations {
            if let Some(target) = self.broker.find(destination) {
                let producers = &target.counters().producers;
                // Of a destination that was deleted and made again it is none.
                let _ = producers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                    count.checked_sub(1)
                });
            }
            self.broker.advise_producer(Some(destination), &removal);
        }
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
        let memory = self.broker.memory();
        let stamped = self.broker.options().stamping.apply(decoded, wall_ms);
        if let Some(user_id) = &self.standing.user_id {
            let mut message = stamped.unwrap_or_else(|| decoded.clone());
            message.user_id.clone_from(user_id);
            return Message::made(&message, memory);
        }
        match stamped {
            None => Message::received(frame, version, decoded, memory),
            Some(stamped) => Message::made(&stamped, memory),
        }
    }

    /// Sends a message, in a transaction if one is named. A failure makes that one fail at
    /// its commit; only [`Refusal::NoRoom`] does not, after which the same message may be sent again:
    /// nothing has happened to it.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn send(
        &self,
        message: &Arc<Message>,
        transaction: Option<&TransactionName>,
    ) -> Result<Receipt, Refusal> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.is_closed {
            return Err(Refusal::Closing);
        }
        let may_send = self.check_sending(inner, message.destination());
        self.or_fail(inner, transaction, may_send)?;
        if let Some(claim) = self.claim(inner, message, transaction)? {
            return self.hand_over(inner, claim, message, transaction);
        }
        let renamed = self
            .routed(inner, message.destination())
            .and_then(|routed| self.rename(message, routed));
        let (message, route) = self.or_fail(inner, transaction, renamed)?;
        if self.broker.options().statistics
            && statistics::is_question(message.destination())
            && self.broker.answer_statistics(&message)?
        {
            message.settle();
            return Ok(Receipt::Done);
        }
        let (mut all, mut with_room) = (Vec::new(), Vec::new());
        let legs = route.legs(&message, &mut all);
        let legs = self.broker.admitted(legs, &message, &mut with_room)?;
        message.settle();
        let Some(name) = transaction else {
            return self.publish(inner, legs, &message);
        };
        // Clients that come back open the producers again before they repeat what those sent.
        let lost = message
            .producer()
            .filter(|producer| self.is_reconnect && !inner.producers.contains_key(*producer));
        let lost = lost.cloned();
        self.in_transaction(inner, name, |transaction| {
            if let Some(producer) = lost {
                let refusal = Refusal::ProducerNotRepeated(producer);
                transaction.fail(&refusal);
                return Err(refusal);
            }
            transaction
                .send(&self.broker, legs, &message)
                .inspect_err(|refusal| transaction.fail(refusal))
        })?;
        Ok(Receipt::Done)
    }

    /// A refusal makes the transaction fail at its commit, if there is one.
    fn or_fail<T>(
        &self,
        inner: &mut Inner,
        transaction: Option<&TransactionName>,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let (Err(refusal), Some(name)) = (&result, transaction) {
            self.fail_in(inner, name, refusal);
        }
        result
    }

    fn publish(
        &self,
        inner: &Inner,
        legs: &[Leg],
        message: &Arc<Message>,
    ) -> Result<Receipt, Refusal> {
        let mut made = None;
        let producer = self.sequence(inner, message, &mut made);
        self.broker.publish(legs, message, producer)
    }

    /// What tells a message from a repetition of it. The producer's key is made in `made` if it is not
    /// known.
    pub(super) fn sequence<'a>(
        &self,
        inner: &'a Inner,
        message: &Message,
        made: &'a mut Option<Bytes>,
    ) -> Option<ProducerSequence<'a>> {
        let producer = message.producer()?;
        let sequence = u64::try_from(message.id().producer_sequence_id).ok()?;
        let key = match inner.producers.get(producer) {
            Some(producer) => &producer.key,
            None => made.insert(producer_key(producer)),
        };
        Some(ProducerSequence {
            producer: key,
            sequence,
            suppress_duplicate: self.is_reconnect,
        })
    }

    /// Refuses to send to a destination when the user may not. Whose route is remembered was asked for before.
    fn check_sending(&self, inner: &Inner, name: &Destination) -> Result<(), Refusal> {
        let Some(permits) = &self.standing.permits else {
            return Ok(());
        };
        if inner.routes.contains_key(name) {
            return Ok(());
        }
        let parts = self.named(name)?;
        permits.check_all(Action::Write, &parts)?;
        permits.check_creation(&self.broker, &parts)
    }

    /// Where messages for a name go, remembered for the next message.
    fn routed(&self, inner: &mut Inner, name: &Destination) -> Result<Routed, Refusal> {
        let version = self.broker.routes_version();
        if let Some(routed) = inner.routes.get(name)
            && routed.version == version
        {
            return Ok(routed.clone());
        }
        let separator = self.broker.options().interceptors.path_separator.as_deref();
        let read = names::read(name, separator)?;
        let routed = Routed {
            version,
            route: self.broker.route(&read)?,
            name: match read {
                Cow::Borrowed(_) => None,
                Cow::Owned(read) => Some(read),
            },
        };
        if inner.routes.len() >= ROUTES_REMEMBERED {
            inner.routes.clear();
        }
        inner.routes.insert(name.detached(), routed.clone());
        Ok(routed)
    }

    /// The message with its destination's name as it is to be read.
    fn rename(
        &self,
        message: &Arc<Message>,
        routed: Routed,
    ) -> Result<(Arc<Message>, Route), Refusal> {
        let message = match &routed.name {
            None => Arc::clone(message),
            Some(name) => Arc::new(
                message
                    .redirected(name, None, self.broker.memory())
                    .map_err(|_| Refusal::NamelessDestination)?,
            ),
        };
        Ok((message, routed.route))
    }
}
