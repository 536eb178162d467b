//! A consumer over several queues: a composite name, or a name with wildcards.
//!
//! In each of its queues it is a consumer like others, but with a [`Seat`] in place of a window of its
//! own: one prefetch holds for all of them, and the order of dispatch runs over all of them, because
//! clients acknowledge ranges of that order.
//!
//! Its lock nests inside the queues' locks; it calls no queue while it holds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use openwire::{ConsumerId, MessageId};
use parking_lot::Mutex;

use super::consumer::{Acknowledgement, Address, Consumer, Credit, LastDelivered, Terms};
use super::outbox::Delivery;
use super::queue::Queue;
use super::window::Window;
use super::{Broker, Refusal};

/// A consumer over several queues.
pub(crate) struct WideConsumer {
    address: Address,
    terms: Terms,
    shared: Arc<Shared>,
    queues: Mutex<Vec<Arc<Queue>>>,
}

/// What its queues share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    /// All outstanding messages by the number of their dispatch, with the queue's seat.
    order: BTreeMap<u64, (MessageId, usize)>,
    sequence: u64,
    /// Seats, and for each whether its queue has nothing for the pull that waits.
    is_searched: Vec<bool>,
    has_got_any: bool,
}

/// The consumer's place in one of its queues.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    number: usize,
}

impl Seat {
    pub(super) fn has_credit(&self) -> bool {
        self.shared.state.lock().window.has_credit()
    }

    pub(super) fn window<T>(&self, change: impl FnOnce(&mut Window) -> T) -> T {
        change(&mut self.shared.state.lock().window)
    }

    /// Takes the next place in the order of dispatch, and calls `send` with its number. None: the
    /// room is used up.
    pub(super) fn dispatch(&self, id: &MessageId, send: impl FnOnce(u64)) -> Option<u64> {
        let mut state = self.shared.state.lock();
        if !state.window.has_credit() {
            return None;
        }
        state.window.dispatched();
        state.has_got_any = true;
        state.sequence += 1;
        let sequence = state.sequence;
        state.order.insert(sequence, (id.clone(), self.number));
        send(sequence);
        Some(sequence)
    }

    /// Messages with these numbers are no longer outstanding.
    pub(super) fn leave(&self, gone: impl Iterator<Item = u64>) {
        let mut state = self.shared.state.lock();
        for sequence in gone {
            state.order.remove(&sequence);
        }
    }

    pub(super) fn is_outstanding(&self, sequence: u64) -> bool {
        self.shared.state.lock().order.contains_key(&sequence)
    }

    /// The seat's queue has nothing. True: no queue has anything for the pull that is to be answered
    /// at once.
    pub(super) fn found_nothing(&self) -> bool {
        let mut state = self.shared.state.lock();
        if !state.window.has_immediate_pull() {
            return false;
        }
        state.is_searched[self.number] = true;
        state.is_searched.iter().all(|is_searched| *is_searched)
    }

    /// The queue is gone with what was in flight from it.
    pub(super) fn give_up(&self) {
        let mut state = self.shared.state.lock();
        state.is_searched[self.number] = true;
        let before = state.order.len();
        let number = self.number;
        state.order.retain(|_, (_, seat)| *seat != number);
        let gone = before - state.order.len();
        state.window.consumed(gone);
    }
}

impl WideConsumer {
    pub(super) fn new(address: Address, terms: Terms, may_extend: bool) -> Arc<Self> {
        let state = State {
            window: Window::new(terms.prefetch, may_extend),
            order: BTreeMap::new(),
            sequence: 0,
            is_searched: Vec::new(),
            has_got_any: false,
        };
        Arc::new(WideConsumer {
            address,
            terms,
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
            queues: Mutex::default(),
        })
    }

    /// Consumes from this queue as well. One that it has already changes nothing.
    pub(super) fn attach(&self, broker: &Arc<Broker>, queue: &Arc<Queue>) -> Result<(), Refusal> {
        let number = {
            let mut queues = self.queues.lock();
            if queues.iter().any(|other| Arc::ptr_eq(other, queue)) {
                return Ok(());
            }
            queues.push(Arc::clone(queue));
            self.shared.state.lock().is_searched.push(false);
            queues.len() - 1
        };
        let seat = Seat {
            shared: Arc::clone(&self.shared),
            number,
        };
        let (address, terms) = (self.address.clone(), self.terms.clone());
        let consumer = Consumer::new(address, terms, Credit::Shared(seat));
        queue.add_consumer(broker, consumer).map(drop)
    }

    pub(super) fn queues(&self) -> Vec<Arc<Queue>> {
        self.queues.lock().clone()
    }

    /// What an acknowledgement means to each of the queues.
    pub(super) fn split(
        &self,
        acknowledgement: &Acknowledgement,
        is_transacted: bool,
    ) -> Result<Vec<(Arc<Queue>, Acknowledgement)>, Refusal> {
        let state = self.shared.state.lock();
        if !state.has_got_any && !is_transacted {
            return Ok(Vec::new());
        }
        let ids = state.order.values().map(|(id, _)| id);
        let (first, last) = acknowledgement.range(&self.address.id, ids, is_transacted)?;
        let mut parts: BTreeMap<usize, Acknowledgement> = BTreeMap::new();
        for (id, seat) in state.order.values().skip(first).take(last + 1 - first) {
            let part = parts.entry(*seat).or_insert_with(|| Acknowledgement {
                // Of the part itself: there may be others before it in the same queue.
                first: Some(id.clone()),
                last: None,
                count: 0,
                ..acknowledgement.clone()
            });
            part.last = Some(id.clone());
            part.count += 1;
        }
        drop(state);
        let queues = self.queues.lock();
        Ok(parts
            .into_iter()
            .map(|(seat, part)| (Arc::clone(&queues[seat]), part))
            .collect())
    }

    /// The application has more messages in hand.
    pub(super) fn extend(&self, broker: &Arc<Broker>, count: usize) {
        self.shared.state.lock().window.extend(count);
        self.dispatch(broker);
    }

    pub(super) fn set_prefetch(&self, broker: &Arc<Broker>, prefetch: usize) {
        self.shared.state.lock().window.set_prefetch(prefetch);
        self.dispatch(broker);
    }

    /// Offers room to all queues.
    pub(super) fn dispatch(&self, broker: &Arc<Broker>) {
        for queue in self.queues() {
            queue.dispatch(broker);
        }
    }

    /// Asks for one message. Answers the number of the pull.
    pub(super) fn pull(&self, broker: &Arc<Broker>, is_immediate: bool) -> u64 {
        let (pull, has_queues) = {
            let mut state = self.shared.state.lock();
            state.is_searched.fill(false);
            (
                state.window.pull(is_immediate),
                !state.is_searched.is_empty(),
            )
        };
        self.dispatch(broker);
        if is_immediate && !has_queues {
            self.give_up_pull(pull.number);
        }
        pull.number
    }

    /// The time of a pull is over: tells the client if it got nothing.
    pub(super) fn give_up_pull(&self, number: u64) {
        let mut state = self.shared.state.lock();
        if state.window.give_up_pull(Some(number)) {
            let outbox = &self.address.outbox;
            outbox.push(Delivery::nothing(self.address.tag));
            outbox.wake();
        }
    }

    /// Ends it in all its queues.
    pub(super) fn close(
        &self,
        broker: &Arc<Broker>,
        last_delivered: LastDelivered,
        unsent_from: Option<u64>,
    ) {
        for queue in self.queues() {
            queue.remove_consumer(broker, self.id(), last_delivered, unsent_from);
        }
    }

    pub(super) fn id(&self) -> &ConsumerId {
        &self.address.id
    }
}
