//! What waits to be written to one connection's socket.
//!
//! The broker puts deliveries in from any thread, the connection's own task takes them out. Its byte
//! count is the brake: nothing is dispatched to a connection whose outbox is full.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Message;

/// The connection's own number for one of its consumers, given when the consumer is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerTag(pub u32);

/// Something on its way to a consumer.
#[derive(Debug)]
pub struct Delivery {
    /// The consumer.
    pub consumer: ConsumerTag,
    /// The message; None = there is none: the end of a browse, or a pull that found nothing.
    pub message: Option<Arc<Message>>,
    /// How often it was delivered before.
    pub redeliveries: u32,
    /// The running number of the dispatch in its queue.
    pub sequence: u64,
    /// It is the first of its message group for this consumer.
    pub is_first_in_group: bool,
}

impl Delivery {
    /// Tells a consumer that there is nothing.
    pub(super) fn nothing(consumer: ConsumerTag) -> Self {
        Delivery {
            consumer,
            message: None,
            redeliveries: 0,
            sequence: 0,
            is_first_in_group: false,
        }
    }

    fn cost(&self) -> usize {
        // What the dispatch around the message takes is about this much.
        128 + self.message.as_ref().map_or(0, |message| message.len())
    }
}

/// Something that the broker wants a client to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close this consumer.
    Close(ConsumerTag),
    /// Give this consumer another prefetch; 0 = ask for each message.
    Prefetch(ConsumerTag, u32),
}

/// What waits to be written to one connection's socket.
#[derive(Debug)]
pub struct Outbox {
    deliveries: Mutex<VecDeque<Delivery>>,
    orders: Mutex<Vec<Order>>,
    /// Spares the look into the orders, of which there are hardly any.
    has_orders: AtomicBool,
    bytes: AtomicUsize,
    limit_bytes: usize,
    /// Somebody found the outbox full and waits to be called again.
    is_waited_for: AtomicBool,
    wake: Notify,
}

impl Outbox {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Outbox {
            deliveries: Mutex::new(VecDeque::new()),
            orders: Mutex::default(),
            has_orders: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            limit_bytes,
            is_waited_for: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// Puts a delivery in. The caller wakes the connection when it has put in all it has.
    pub(crate) fn push(&self, delivery: Delivery) {
        self.bytes.fetch_add(delivery.cost(), Ordering::Relaxed);
        self.deliveries.lock().push_back(delivery);
    }

    /// Puts an order in and wakes the connection.
    pub(crate) fn order(&self, order: Order) {
        self.orders.lock().push(order);
        self.has_orders.store(true, Ordering::Release);
        self.wake();
    }

    /// Takes all orders out.
    pub fn take_orders(&self) -> Vec<Order> {
        if !self.has_orders.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        mem::take(&mut *self.orders.lock())
    }

    /// Whether nothing should be put in; if so [`Outbox::take`] reports that somebody waits.
    pub(crate) fn is_full(&self) -> bool {
        if self.bytes.load(Ordering::Relaxed) < self.limit_bytes {
            return false;
        }
        self.is_waited_for.store(true, Ordering::SeqCst);
        // Emptied between the two looks: nobody would call again.
        self.bytes.load(Ordering::SeqCst) >= self.limit_bytes
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until somebody wakes the connection. Safe to cancel.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes deliveries out, all or as many as have about `max_bytes`, into `into`. True when the
    /// consumers of the connection should be offered messages again.
    pub fn take(&self, max_bytes: usize, into: &mut VecDeque<Delivery>) -> bool {
        let mut taken = 0;
        {
            let mut deliveries = self.deliveries.lock();
            if deliveries.is_empty() {
                return false;
            }
            while taken < max_bytes
                && let Some(delivery) = deliveries.pop_front()
            {
                taken += delivery.cost();
                into.push_back(delivery);
            }
        }
        self.bytes.fetch_sub(taken, Ordering::SeqCst);
        self.bytes.load(Ordering::SeqCst) < self.limit_bytes
            && self.is_waited_for.swap(false, Ordering::SeqCst)
    }

    /// Takes everything out at the end of the connection.
    pub(crate) fn drain(&self) -> VecDeque<Delivery> {
        let deliveries = mem::take(&mut *self.deliveries.lock());
        let bytes = deliveries.iter().map(Delivery::cost).sum();
        self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(sequence: u64) -> Delivery {
        Delivery {
            sequence,
            ..Delivery::nothing(ConsumerTag(1))
        }
    }

    #[test]
    fn who_finds_the_outbox_full_is_called_again_when_it_drains() {
        let outbox = Outbox::new(200);
        outbox.push(nothing(1));
        assert!(!outbox.is_full());
        outbox.push(nothing(2));
        assert!(outbox.is_full());
        let mut taken = VecDeque::new();
        assert!(outbox.take(1, &mut taken));
        assert_eq!(taken.len(), 1);
        assert!(!outbox.take(1000, &mut taken), "nobody waits any more");
        let sequences: Vec<u64> = taken.iter().map(|delivery| delivery.sequence).collect();
        assert_eq!(sequences, [1, 2]);
    }
}
