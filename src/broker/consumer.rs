//! One consumer of a queue or of a durable subscription: its terms, and what is in flight to it.

use std::collections::VecDeque;
use std::sync::Arc;

use openwire::{AckKind, ConnectionId, ConsumerId, MessageId};
use tokio::time::Instant;

use super::interest::Interest;
use super::message::Group;
use super::outbox::{ConsumerTag, Delivery, Outbox};
use super::stock::{LaneNumber, Slot};
use super::wide::Seat;
use super::window::{Pull, Window};
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

/// What a consumer asks for.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) prefetch: usize,
    pub(super) interest: Interest,
    /// Those of higher priority are served first.
    pub(super) priority: i8,
    /// It wants to be the only one served.
    pub(super) is_exclusive: bool,
}

impl Terms {
    /// Those of a consumer that has no wishes.
    pub(super) fn plain(prefetch: usize) -> Self {
        Terms {
            prefetch,
            interest: Interest::default(),
            priority: 0,
            is_exclusive: false,
        }
    }
}

/// A message that was dispatched and is not acknowledged.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The running number of the dispatch.
    pub(super) sequence: u64,
    pub(super) id: MessageId,
    /// With the message itself only when it is kept nowhere else.
    pub(super) slot: Slot,
    /// The group that it belongs to.
    pub(super) group: Option<Arc<Group>>,
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

impl Acknowledgement {
    /// The indexes of the range in the outstanding messages `ids`, of a consumer called `consumer`.
    pub(super) fn range<'a>(
        &self,
        consumer: &ConsumerId,
        ids: impl Iterator<Item = &'a MessageId> + Clone,
        is_transacted: bool,
    ) -> Result<(usize, usize), Refusal> {
        let Some(last_id) = &self.last else {
            return Err(Refusal::EmptyAcknowledgement(consumer.clone()));
        };
        let find = |wanted: &MessageId| {
            let found = ids.clone().position(|id| id == wanted);
            found.ok_or_else(|| Refusal::NotOutstanding {
                consumer: consumer.clone(),
                message: wanted.to_string(),
            })
        };
        let last = find(last_id)?;
        let first = match &self.first {
            _ if self.kind == AckKind::Individual => last,
            None => 0,
            Some(first_id) if first_id == last_id => last,
            Some(first_id) => find(first_id)?,
        };
        if first > last {
            return Err(Refusal::NotOutstanding {
                consumer: consumer.clone(),
                message: last_id.to_string(),
            });
        }
        let found = last + 1 - first;
        let is_counted = matches!(self.kind, AckKind::Standard) && !is_transacted;
        if is_counted && found != self.count {
            return Err(Refusal::CountMismatch {
                consumer: consumer.clone(),
                stated: self.count,
                found,
            });
        }
        Ok((first, last))
    }
}

/// Where a consumer's window is.
#[derive(Debug)]
pub(super) enum Credit {
    /// Its own.
    Own(Window),
    /// One for all queues that it consumes from.
    Shared(Seat),
}

/// One consumer of a queue or of a durable subscription.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) address: Address,
    pub(super) terms: Terms,
    /// Its search through the queue, when consumers want different messages.
    pub(super) lane: LaneNumber,
    credit: Credit,
    pub(super) in_flight: VecDeque<InFlight>,
    /// Messages in flight that are held by a transaction.
    held: usize,
    has_got_any: bool,
    /// How many messages it was sent.
    pub(super) dispatched: u64,
    /// When it last acknowledged anything, at first when it came.
    pub(super) acknowledged_at: Instant,
}

impl Consumer {
    pub(super) fn new(address: Address, terms: Terms, credit: Credit) -> Self {
        Consumer {
            address,
            terms,
            lane: LaneNumber::default(),
            credit,
            in_flight: VecDeque::new(),
            held: 0,
            has_got_any: false,
            dispatched: 0,
            acknowledged_at: Instant::now(),
        }
    }

    /// Whether a message can be dispatched to it now.
    pub(super) fn has_room(&self) -> bool {
        let has_credit = match &self.credit {
            Credit::Own(window) => window.has_credit(),
            Credit::Shared(seat) => seat.has_credit(),
        };
        has_credit && !self.address.outbox.is_full()
    }

    fn window<T>(&mut self, change: impl FnOnce(&mut Window) -> T) -> T {
        match &mut self.credit {
            Credit::Own(window) => change(window),
            Credit::Shared(seat) => seat.window(change),
        }
    }

    pub(super) fn set_prefetch(&mut self, prefetch: usize) {
        self.window(|window| window.set_prefetch(prefetch));
    }

    /// Asks for one message.
    pub(super) fn pull(&mut self, is_immediate: bool) -> Pull {
        self.window(|window| window.pull(is_immediate))
    }

    /// Gives up a pull that got nothing, and tells the client if there was one.
    pub(super) fn give_up_pull(&mut self, number: Option<u64>) -> bool {
        let is_over = self.window(|window| window.give_up_pull(number));
        if is_over {
            self.address
                .outbox
                .push(Delivery::nothing(self.address.tag));
        }
        is_over
    }

    /// The queue has nothing for it now: gives up a pull that is to be answered at once.
    pub(super) fn found_nothing(&mut self) -> bool {
        if let Credit::Shared(seat) = &self.credit
            && !seat.found_nothing()
        {
            return false;
        }
        self.give_up_pull(None)
    }

    /// Dispatches a message to it. `last_sequence` is the number of the queue's last dispatch. Gives
    /// the message back when another queue has used up the room.
    pub(super) fn dispatch(
        &mut self,
        mut slot: Slot,
        message: Arc<Message>,
        is_first_in_group: bool,
        last_sequence: &mut u64,
    ) -> Result<(), (Slot, Arc<Message>)> {
        let redeliveries = slot.redeliveries + message.redeliveries();
        let delivery = |message, sequence| Delivery {
            consumer: self.address.tag,
            message: Some(message),
            redeliveries,
            sequence,
            is_first_in_group,
        };
        let sequence = match &mut self.credit {
            Credit::Own(window) => {
                window.dispatched();
                *last_sequence += 1;
                let delivery = delivery(Arc::clone(&message), *last_sequence);
                self.address.outbox.push(delivery);
                *last_sequence
            }
            Credit::Shared(seat) => {
                let sent = seat.dispatch(message.id(), |sequence| {
                    let delivery = delivery(Arc::clone(&message), sequence);
                    self.address.outbox.push(delivery);
                });
                match sent {
                    Some(sequence) => sequence,
                    None => return Err((slot, message)),
                }
            }
        };
        self.has_got_any = true;
        self.dispatched += 1;
        let id = message.id().clone();
        let group = message.group().map(Arc::clone);
        if slot.position().is_none() {
            slot.message = Some(message);
        }
        self.in_flight.push_back(InFlight {
            sequence,
            id,
            slot,
            group,
            held_by: None,
        });
        Ok(())
    }

    /// Its queue is deleted, with what was in flight.
    pub(super) fn lose_queue(self) {
        if let Credit::Shared(seat) = &self.credit {
            seat.give_up();
        }
    }

    /// The application has more messages in hand.
    pub(super) fn extend(&mut self, count: usize) {
        self.acknowledged_at = Instant::now();
        self.window(|window| window.extend(count));
    }

    /// The indexes in flight that an acknowledgement covers. None: it comes from before a
    /// reconnect and is of no effect.
    fn range(
        &mut self,
        acknowledgement: &Acknowledgement,
        is_transacted: bool,
    ) -> Result<Option<(usize, usize)>, Refusal> {
        self.acknowledged_at = Instant::now();
        // A transaction must not commit without what it was told to acknowledge.
        if !self.has_got_any && !is_transacted && acknowledgement.last.is_some() {
            return Ok(None);
        }
        let ids = self.in_flight.iter().map(|in_flight| &in_flight.id);
        acknowledgement
            .range(&self.address.id, ids, is_transacted)
            .map(Some)
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
        self.window(|window| window.consumed(taken.len()));
        self.leave(&taken);
        Ok(taken)
    }

    /// What is no longer outstanding leaves the order of the shared window, too.
    fn leave(&self, gone: &[InFlight]) {
        if let Credit::Shared(seat) = &self.credit {
            seat.leave(gone.iter().map(|in_flight| in_flight.sequence));
        }
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
        self.window(|window| window.hold(count));
        Ok(count)
    }

    /// Ends the hold of a rolled back transaction: the messages stay outstanding, and the client
    /// redelivers them from its own memory.
    pub(super) fn let_go(&mut self, transaction: TransactionNumber) {
        let mut count = 0;
        for message in &mut self.in_flight {
            if message.held_by == Some(transaction) {
                message.held_by = None;
                count += 1;
            }
        }
        self.held -= count;
        self.window(|window| window.let_go(count));
    }

    /// Takes out what a committed transaction holds.
    pub(super) fn take_held(&mut self, transaction: TransactionNumber) -> Vec<InFlight> {
        if self.held == 0 {
            return Vec::new();
        }
        let (taken, kept) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition::<Vec<_>, _>(|message| message.held_by == Some(transaction));
        self.in_flight = kept.into();
        self.held -= taken.len();
        self.window(|window| window.committed(taken.len()));
        self.leave(&taken);
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
        let is_outstanding = |last| match &self.credit {
            Credit::Own(_) => in_flight.iter().any(|message| message.sequence == last),
            Credit::Shared(seat) => seat.is_outstanding(last),
        };
        let seen_up_to = match last_delivered {
            LastDelivered::Unknown => u64::MAX,
            LastDelivered::Nothing => 0,
            LastDelivered::Sequence(last) if is_outstanding(last) => last,
            LastDelivered::Sequence(_) => 0,
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
