//! Dead letters: messages that expired or that a client gave up, and what becomes of them.
//!
//! The policy of the destination that a message comes from decides. A journaled message leaves its
//! place and arrives in the other one by one record, so it is in exactly one of them whenever a
//! broker dies.

mod again;
mod audit;
mod copy;
mod discard;
mod letters;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::Destination;
use storage::store::{NewMessage, ProducerSequence};
use storage::{Lsn, Position};

pub(super) use self::audit::Audits;
pub(crate) use self::copy::Cause;
pub use self::discard::{DiscardDeadLetters, NameExpression, NameExpressionError};
pub(super) use self::letters::Letters;
use super::interceptor::Leg;
use super::policy::{DeadLetterKind, Policy};
use super::queue::Queue;
use super::redelivery::Verdict;
use super::stock::{Place, Slot};
use super::topic::Topic;
use super::{Broker, Message, Receipt, Refusal, wall_ms};

/// A message that its destination does not want any more.
struct Letter<'a> {
    message: &'a Message,
    /// The queue or topic that it was in.
    from: &'a Destination,
    policy: &'a Policy,
    /// The queue or subscription that it was in, and where.
    source: Option<(&'a Arc<Queue>, Option<Position>)>,
    /// Of a message that its producer may send again.
    producer: Option<ProducerSequence<'a>>,
    cause: &'a Cause,
}

impl Letter<'_> {
    fn is_expired(&self) -> bool {
        matches!(self.cause, Cause::Expired) || self.message.is_expired(wall_ms())
    }

    /// Where its policy wants it; None = nowhere.
    fn goes_to(&self) -> Option<Destination> {
        let policy = &self.policy.dead_letter;
        let is_dropped = !self.message.is_persistent() && !policy.process_non_persistent
            || !policy.process_expired && self.is_expired();
        if is_dropped {
            return None;
        }
        let target = match &policy.kind {
            DeadLetterKind::Discard => return None,
            DeadLetterKind::Shared { queue } => Destination::queue(queue.as_str()),
            DeadLetterKind::Individual { .. } => self.individual(&policy.kind)?,
        };
        // What cannot be consumed from the dead letter queue either would come back for ever.
        (target != *self.from).then_some(target)
    }

    fn individual(&self, kind: &DeadLetterKind) -> Option<Destination> {
        let DeadLetterKind::Individual {
            queue_prefix,
            topic_prefix,
            queue_suffix,
            topic_suffix,
            use_queue_for_queue_messages,
            use_queue_for_topic_messages,
            destination_per_durable_subscriber,
        } = kind
        else {
            return None;
        };
        let (prefix, suffix, use_queue) = if self.from.kind.is_queue() {
            (queue_prefix, queue_suffix, use_queue_for_queue_messages)
        } else {
            (topic_prefix, topic_suffix, use_queue_for_topic_messages)
        };
        let mut name = format!("{prefix}{}", self.from.name_str());
        let subscription = self.source.and_then(|(queue, _)| queue.subscription_key());
        if let Some(key) = subscription.filter(|_| *destination_per_durable_subscriber) {
            name += &format!(".{}:{}", key.client_id, key.name);
        }
        name += suffix;
        Some(if *use_queue {
            Destination::queue(name.as_str())
        } else {
            Destination::topic(name.as_str())
        })
    }
}

impl Broker {
    /// Moves messages that nobody else holds any more, in their order.
    fn bury_all(self: &Arc<Self>, queue: &Arc<Queue>, slots: &[Slot], cause: &Cause) {
        for slot in slots {
            if let Err(error) = self.bury_slot(queue, slot, cause) {
                // Only a fenced or full journal refuses: the message stays for the next active.
                tracing::warn!(queue = %queue.name(), %error, "A dead letter stays where it is.");
            }
            if let Some(position) = slot.position() {
                queue.state.lock().stock.withdrawal_done(position);
            }
        }
    }

    fn bury_slot(
        self: &Arc<Self>,
        queue: &Arc<Queue>,
        slot: &Slot,
        cause: &Cause,
    ) -> Result<(), Refusal> {
        queue.counters.dequeued.fetch_add(1, Ordering::Relaxed);
        if matches!(cause, Cause::Expired) {
            queue.counters.expired.fetch_add(1, Ordering::Relaxed);
        }
        let message = match (&slot.message, slot.place) {
            (Some(message), _) => Arc::clone(message),
            (None, Place::Memory) => return Ok(()),
            (None, Place::Journal { position, location }) => {
                match queue.read_body(self, position, location) {
                    Some(message) => message,
                    // Unreadable: there is nothing to move, and it is not dropped either.
                    None => return Ok(()),
                }
            }
        };
        let from = match queue.subscription() {
            None => queue.name(),
            Some(_) => message.destination(),
        };
        self.bury(&Letter {
            message: &message,
            from,
            policy: queue.policy(),
            source: Some((queue, slot.position())),
            producer: None,
            cause,
        })
        .map(drop)
    }

    /// A message had expired when it came: it becomes a dead letter at once, and is not one again
    /// when its producer repeats it.
    pub(super) fn bury_on_arrival(
        self: &Arc<Self>,
        legs: &[Leg],
        message: &Message,
        mut producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        let mut receipt = Receipt::Done;
        for leg in legs {
            let lsn = self.bury(&Letter {
                message,
                from: leg.target.name(),
                policy: leg.target.policy(),
                source: None,
                // The others would look like repetitions.
                producer: producer.take(),
                cause: &Cause::Expired,
            })?;
            if lsn.is_some() {
                receipt = lsn.into();
            }
        }
        Ok(receipt)
    }

    /// A message expired before a consumer of a topic had room for it.
    pub(super) fn bury_of_topic(
        self: &Arc<Self>,
        topic: &Topic,
        message: &Message,
    ) -> Result<(), Refusal> {
        self.bury(&Letter {
            message,
            from: topic.name(),
            policy: topic.policy(),
            source: None,
            producer: None,
            cause: &Cause::Expired,
        })
        .map(drop)
    }

    /// Answers when it is certain; None = there is nothing to be certain of.
    fn bury(self: &Arc<Self>, letter: &Letter<'_>) -> Result<Option<Lsn>, Refusal> {
        let discarded = &self.options().discard_dead_letters;
        let is_discarded = discarded
            .as_ref()
            .is_some_and(|discarded| discarded.wants(letter.from));
        let verdict = if is_discarded {
            Verdict::Drop
        } else {
            self.verdict(letter)
        };
        let lsn = match verdict {
            Verdict::Again {
                delay,
                redeliveries,
            } => self.send_back(letter, delay, redeliveries)?,
            Verdict::Drop => self.drop_letter(letter)?,
            Verdict::DeadLetter => match letter.goes_to() {
                Some(target) => self.bury_in(letter, &target)?,
                None => self.drop_letter(letter)?,
            },
        };
        if matches!(letter.cause, Cause::Expired) {
            self.advise_expired(letter.from, letter.message, letter.policy);
        }
        Ok(lsn)
    }

    fn drop_letter(&self, letter: &Letter<'_>) -> Result<Option<Lsn>, Refusal> {
        let Some((queue, Some(position))) = letter.source else {
            return Ok(None);
        };
        let backlog = queue.backlog(self)?;
        Ok(Some(self.store().acknowledge(&backlog, &[position])?))
    }

    fn bury_in(
        self: &Arc<Self>,
        letter: &Letter<'_>,
        target: &Destination,
    ) -> Result<Option<Lsn>, Refusal> {
        let policy = &letter.policy.dead_letter;
        let id = letter.message.id();
        if policy.enable_audit && !self.audits.note(target, id, policy.audit_depth()) {
            tracing::debug!(message = %id, %target, "The dead letter is there already.");
            return self.drop_letter(letter);
        }
        let copy = copy::dead_letter(
            letter.message,
            letter.from,
            target,
            letter.cause,
            policy.expiration,
            self.memory(),
        );
        let moved = match copy {
            Ok(copy) => self.relocate(letter, target, &Arc::new(copy)),
            Err(error) => {
                tracing::error!(message = %id, %error, "A dead letter cannot be made.");
                self.audits.forget(target, id);
                return Ok(None);
            }
        };
        match moved {
            Ok(_) => self.advise_dead_letter(letter.from, letter.message, letter.policy),
            Err(_) => self.audits.forget(target, id),
        }
        moved
    }

    /// Takes a letter out of its place and publishes a copy in another, both in one record.
    fn relocate(
        self: &Arc<Self>,
        letter: &Letter<'_>,
        target: &Destination,
        copy: &Arc<Message>,
    ) -> Result<Option<Lsn>, Refusal> {
        let route = self.route(target)?;
        let mut legs = Vec::new();
        let legs = route.legs(copy, &mut legs);
        let Some((queue, Some(position))) = letter.source else {
            return match self.publish(legs, copy, letter.producer)? {
                Receipt::Done => Ok(None),
                Receipt::At(lsn) => Ok(Some(lsn)),
            };
        };
        let spread = self.spread(legs, copy);
        let acknowledged = [(queue.backlog(self)?, vec![position])];
        let store = self.store();
        let transaction = format!("dead-letter:{}", self.next_number());
        let transaction = transaction.as_bytes();
        if !spread.queues.is_empty() {
            let new = NewMessage {
                producer: None,
                order: spread.order,
                expiration_ms: copy.expiration_ms(),
                body: copy.stored().bytes(),
            };
            store.enqueue_in_transaction(transaction, &spread.backlogs(self)?, new)?;
        }
        let lsn = store.commit(transaction, &acknowledged)?;
        for queue in &spread.queues {
            queue.committed(self, lsn, 1);
        }
        for target in &spread.elsewhere {
            self.publish_at(lsn, target, copy);
        }
        Ok(Some(lsn))
    }
}
