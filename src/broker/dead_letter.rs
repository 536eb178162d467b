//! Dead letters: messages that expired or that a client gave up.
//!
//! Persistent ones move to the dead letter queue, others are dropped; that is the default strategy
//! of ActiveMQ. Other strategies per destination have their place in [`Broker::dead_letter_queue`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::Destination;
use storage::Position;
use storage::store::{AppendError, NewMessage};

use super::destination::order_of;
use super::message::Cause;
use super::queue::Queue;
use super::stock::{Place, Slot};
use super::{Broker, Message};

/// Where dead letters go by default.
const DEAD_LETTER_QUEUE: &str = "ActiveMQ.DLQ";

impl Broker {
    /// Moves messages, which nobody else holds any more, out of `queue`. It may have to read the
    /// journal, so it happens a little later.
    pub(super) fn dead_letter(
        self: &Arc<Self>,
        queue: &Arc<Queue>,
        slots: Vec<Slot>,
        cause: Cause,
    ) {
        if slots.is_empty() {
            return;
        }
        let (broker, queue) = (Arc::clone(self), Arc::clone(queue));
        self.background().run(Box::new(move || {
            for slot in slots {
                if let Err(error) = broker.bury(&queue, &slot, &cause) {
                    // Only a fenced or full journal refuses: the message stays for the next active.
                    tracing::warn!(queue = %queue.name(), %error, "A dead letter stays where it is.");
                }
                if let Some(position) = slot.position() {
                    queue.state.lock().stock.withdrawal_done(position);
                }
            }
        }));
    }

    fn bury(
        self: &Arc<Self>,
        queue: &Arc<Queue>,
        slot: &Slot,
        cause: &Cause,
    ) -> Result<(), AppendError> {
        queue.counters.dequeued.fetch_add(1, Ordering::Relaxed);
        let Place::Journal { position, location } = slot.place else {
            return Ok(());
        };
        let message = match &slot.message {
            Some(message) => Some(Arc::clone(message)),
            None => queue.read_body(self, location),
        };
        let target = self.dead_letter_queue(queue);
        if let (Some(message), Cause::Expired) = (&message, cause) {
            self.advise_expired(queue.name(), message, queue.policy());
        }
        match (message, target) {
            (Some(message), Some(target)) => self.rebury(queue, position, &message, &target, cause),
            // Unreadable: there is nothing to move, and it is not dropped either.
            (None, _) => Ok(()),
            (Some(_), None) => {
                self.store()
                    .acknowledge(&*queue.backlog(self)?, &[position])?;
                Ok(())
            }
        }
    }

    /// The dead letter queue for what comes from `queue`; None = it is dropped.
    fn dead_letter_queue(self: &Arc<Self>, queue: &Queue) -> Option<Arc<Queue>> {
        let name = Destination::queue(DEAD_LETTER_QUEUE);
        // What cannot be consumed from the dead letter queue either would come back for ever.
        (queue.subscription().is_some() || *queue.name() != name).then(|| self.queue_named(&name))
    }

    /// Moves one message: both sides in one record.
    fn rebury(
        self: &Arc<Self>,
        queue: &Queue,
        position: Position,
        message: &Message,
        target: &Arc<Queue>,
        cause: &Cause,
    ) -> Result<(), AppendError> {
        let copy = match message.dead_letter(target.name(), cause, self.memory()) {
            Ok(copy) => copy,
            Err(error) => {
                tracing::error!(message = %message.id(), %error, "A dead letter cannot be made.");
                return Ok(());
            }
        };
        let transaction = format!("dead-letter:{}", self.next_number());
        let new = NewMessage {
            producer: None,
            order: order_of(&copy, target.policy()),
            expiration_ms: 0,
            body: copy.stored().bytes(),
        };
        let store = self.store();
        let transaction = transaction.as_bytes();
        store.enqueue_in_transaction(transaction, &[target.backlog(self)?], new)?;
        let lsn = store.commit(transaction, &[(queue.backlog(self)?, vec![position])])?;
        target.committed(self, lsn, 1);
        self.advise_dead_letter(queue.name(), message, queue.policy());
        Ok(())
    }
}
