//! One consumer of a queue or of a durable subscription: its window, and what is in flight to it.

use std::collections::VecDeque;
use std::sync::Arc;

use openwire::{AckKind, ConnectionId, ConsumerId, MessageId};

use super::outbox::{ConsumerTag, Delivery, Outbox};
use super::stock::Slot;
use super::{Message, Refusal};

/// The number of an open transaction, unique in this broker's life.
pub(super) type TransactionNumber = u64;

/// How a consumer is addressed, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) id: ConsumerId,
    pub(super) tag: ConsumerTag,
    pub(super) connection: ConnectionId,
    pub(super) outbox: Arc<Outbox>,
}

/// A request for one message by a consumer without prefetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pull {
    /// Which of the consumer's pulls it is.
    pub(super) number: u64,
    /// Answer at once when there is nothing.
    pub(super) is_immediate: bool,
}

/// A message that was dispatched and is not acknowledged.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The running number of the dispatch.
    pub(super) sequence: u64,
    pub(super) id: MessageId,
    /// With the message itself only when it is kept nowhere else.
    pub(super) slot: Slot,
    /// Acknowledged in a transaction that is still open.
    pub(super) held_by: Option<TransactionNumber>,
}

/// What a consumer had when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastDelivered {
    /// Nobody knows: all outstanding messages may have been seen.
    Unknown,
    /// None of those outstanding was seen.
    Nothing,
    /// Those up to the dispatch with this number were seen.
    Sequence(u64),
}

/// An acknowledgement by a consumer.
#[derive(Clone, Debug)]
pub struct Acknowledgement {
    /// What it means.
    pub kind: AckKind,
    /// First of the range in dispatch order; None = the oldest outstanding.
    pub first: Option<MessageId>,
    /// Last of the range.
    pub last: Option<MessageId>,
    /// How many messages the client says it covers.
    pub count: usize,
    /// Why the client gave up, for [`AckKind::Poison`].
    pub cause: Option<String>,
}

/// One consumer of a queue or of a durable subscription.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) address: Address,
    prefetch: usize,
    /// Room beyond the prefetch, for messages that the application has in hand.
    extension: usize,
    pub(super) in_flight: VecDeque<InFlight>,
    /// Messages in flight that are held by a transaction: they do not use up the window.
    held: usize,
    pull: Option<Pull>,
    pulls: u64,
    has_got_any: bool,
    /// How many messages it was sent.
    pub(super) dispatched: u64,
}

impl Consumer {
    pub(super) fn new(address: Address, prefetch: usize) -> Self {
        Consumer {
            address,
            prefetch,
            extension: 0,
            in_flight: VecDeque::new(),
            held: 0,
            pull: None,
            pulls: 0,
            has_got_any: false,
            dispatched: 0,
        }
    }

    /// Whether a message can be dispatched to it now.
    pub(super) fn has_room(&self) -> bool {
        self.has_credit() && !self.address.outbox.is_full()
    }

    fn has_credit(&self) -> bool {
        if self.prefetch == 0 {
            return self.pull.is_some();
        }
        self.in_flight.len() - self.held < self.prefetch + self.extension
    }

    pub(super) fn set_prefetch(&mut self, prefetch: usize) {
        self.prefetch = prefetch;
    }

    /// Asks for one message.
    pub(super) fn pull(&mut self, is_immediate: bool) -> Pull {
        self.pulls += 1;
        let pull = Pull {
            number: self.pulls,
            is_immediate,
        };
        self.pull = Some(pull);
        pull
    }

    /// Gives up a pull that got nothing, and tells the client if there was one: all pulls that are
    /// answered at once, or the one with this number.
    pub(super) fn give_up_pull(&mut self, number: Option<u64>) -> bool {
        let is_over = self.pull.is_some_and(|pull| match number {
            Some(number) => pull.number == number,
            None => pull.is_immediate,
        });
        if is_over {
            self.pull = None;
            self.address.outbox.push(Delivery {
                consumer: self.address.tag,
                message: None,
                redeliveries: 0,
                sequence: 0,
            });
        }
        is_over
    }

    /// Dispatches a message to it.
    pub(super) fn dispatch(&mut self, mut slot: Slot, message: Arc<Message>, sequence: u64) {
        self.pull = None;
        self.has_got_any = true;
        self.dispatched += 1;
        let id = message.id().clone();
        let redeliveries = slot.redeliveries + message.redeliveries();
        if slot.position().is_none() {
            slot.message = Some(Arc::clone(&message));
        }
        self.in_flight.push_back(InFlight {
            sequence,
            id,
            slot,
            held_by: None,
        });
        self.address.outbox.push(Delivery {
            consumer: self.address.tag,
            message: Some(message),
            redeliveries,
            sequence,
        });
    }

    /// The application has more messages in hand.
    pub(super) fn extend(&mut self, count: usize) {
        // More than is in flight cannot be in hand.
        self.extension = (self.extension + count).min(self.in_flight.len());
    }

    fn shrink(&mut self, count: usize) {
        self.extension = self.extension.saturating_sub(count);
    }

    /// The indexes in flight that an acknowledgement covers. None: it comes from before a
    /// reconnect and is of no effect.
    fn range(
        &self,
        acknowledgement: &Acknowledgement,
        is_transacted: bool,
    ) -> Result<Option<(usize, usize)>, Refusal> {
        let id = || self.address.id.clone();
        let Some(last_id) = &acknowledgement.last else {
            return Err(Refusal::EmptyAcknowledgement(id()));
        };
        // A transaction must not commit without what it was told to acknowledge.
        if !self.has_got_any && !is_transacted {
            return Ok(None);
        }
        let not_outstanding = |message: &MessageId| Refusal::NotOutstanding {
            consumer: id(),
            message: message.to_string(),
        };
        let last = self.find(last_id).ok_or_else(|| not_outstanding(last_id))?;
        let first = match &acknowledgement.first {
            _ if acknowledgement.kind == AckKind::Individual => last,
            None => 0,
            Some(first_id) if first_id == last_id => last,
            Some(first_id) => self
                .find(first_id)
                .ok_or_else(|| not_outstanding(first_id))?,
        };
        if first > last {
            return Err(not_outstanding(last_id));
        }
        let found = last + 1 - first;
        let is_counted = matches!(acknowledgement.kind, AckKind::Standard) && !is_transacted;
        if is_counted && found != acknowledgement.count {
            let stated = acknowledgement.count;
            return Err(Refusal::CountMismatch {
                consumer: id(),
                stated,
                found,
            });
        }
        Ok(Some((first, last)))
    }

    fn find(&self, id: &MessageId) -> Option<usize> {
        self.in_flight.iter().position(|message| message.id == *id)
    }

    /// Takes out what an acknowledgement covers. Messages that a transaction holds stay.
    pub(super) fn take_acknowledged(
        &mut self,
        acknowledgement: &Acknowledgement,
    ) -> Result<Vec<InFlight>, Refusal> {
        let Some((first, last)) = self.range(acknowledgement, false)? else {
            return Ok(Vec::new());
        };
        let mut taken = Vec::with_capacity(last + 1 - first);
        if self.held == 0 {
            taken.extend(self.in_flight.drain(first..=last));
        } else {
            let mut index = first;
            for _ in first..=last {
                if self.in_flight[index].held_by.is_some() {
                    index += 1;
                } else {
                    taken.extend(self.in_flight.remove(index));
                }
            }
        }
        self.shrink(taken.len());
        Ok(taken)
    }

    /// Holds what an acknowledgement covers for a transaction. Answers how many messages.
    pub(super) fn hold(
        &mut self,
        acknowledgement: &Acknowledgement,
        transaction: TransactionNumber,
    ) -> Result<usize, Refusal> {
        let Some((first, last)) = self.range(acknowledgement, true)? else {
            return Ok(0);
        };
        let mut count = 0;
        for message in self.in_flight.range_mut(first..=last) {
            if message.held_by.is_none() {
                message.held_by = Some(transaction);
                count += 1;
            }
        }
        self.held += count;
        self.shrink(count);
        Ok(count)
    }

    /// Ends the hold of a rolled back transaction: the messages stay outstanding, and the client
    /// redelivers them from its own memory.
    pub(super) fn let_go(&mut self, transaction: TransactionNumber) {
        for message in &mut self.in_flight {
            if message.held_by == Some(transaction) {
                message.held_by = None;
                self.held -= 1;
            }
        }
    }

    /// Takes out what a committed transaction holds.
    pub(super) fn take_held(&mut self, transaction: TransactionNumber) -> Vec<InFlight> {
        let (taken, kept) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition::<Vec<_>, _>(|message| message.held_by == Some(transaction));
        self.in_flight = kept.into();
        self.held -= taken.len();
        taken
    }

    /// The positions that a transaction holds.
    pub(super) fn held_positions(
        &self,
        transaction: TransactionNumber,
    ) -> impl Iterator<Item = storage::Position> + '_ {
        self.in_flight
            .iter()
            .filter(move |message| message.held_by == Some(transaction))
            .filter_map(|message| message.slot.position())
    }

    /// Ends the consumer: everything in flight, with the counters as they are after this delivery.
    /// Dispatches from `unsent_from` on never left the broker.
    pub(super) fn into_in_flight(
        self,
        last_delivered: LastDelivered,
        unsent_from: Option<u64>,
    ) -> VecDeque<InFlight> {
        let mut in_flight = self.in_flight;
        let seen_up_to = match last_delivered {
            LastDelivered::Unknown => u64::MAX,
            LastDelivered::Nothing => 0,
            LastDelivered::Sequence(last) => {
                if in_flight.iter().any(|message| message.sequence == last) {
                    last
                } else {
                    0
                }
            }
        };
        let unsent_from = unsent_from.unwrap_or(u64::MAX);
        for message in &mut in_flight {
            if message.sequence <= seen_up_to && message.sequence < unsent_from {
                message.slot.redeliveries += 1;
            }
        }
        in_flight
    }
}
