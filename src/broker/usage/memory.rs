//! How many bytes of message bodies are in memory, and how many may be.
//!
//! Every [`Message`](crate::broker::Message) carries a [`Charge`] for its bytes and gives it back when its
//! last owner lets it go, so the numbers are right whoever holds a message, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::waiters::Waiters;

/// Why a body is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// It was received and has no place yet: it may have to wait for one.
    Arriving,
    /// It is on disk as well.
    Cached,
    /// It is nowhere else.
    Held,
}

impl Class {
    /// Why a message that has its place is in memory.
    pub(crate) fn of(is_journaled: bool) -> Self {
        if is_journaled {
            Class::Cached
        } else {
            Class::Held
        }
    }
}

const CLASSES: [Class; 3] = [Class::Arriving, Class::Cached, Class::Held];

/// Bytes of message bodies in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Persistent bodies beyond this are left in the journal.
    cache_bytes: usize,
    /// Messages that are nowhere else have this much room.
    limit_bytes: usize,
    bytes: [AtomicUsize; CLASSES.len()],
    waiters: Arc<Waiters>,
}

impl Memory {
    pub(crate) fn new(cache_bytes: usize, limit_bytes: usize, waiters: Arc<Waiters>) -> Arc<Self> {
        Arc::new(Memory {
            cache_bytes,
            limit_bytes,
            bytes: Default::default(),
            waiters,
        })
    }

    /// Counts `bytes` until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize, class: Class) -> Charge {
        self.counter(class).fetch_add(bytes, Ordering::Relaxed);
        Charge {
            memory: Arc::clone(self),
            bytes,
            class: AtomicU8::new(class as u8),
        }
    }

    /// Bytes in memory for this reason.
    pub(crate) fn bytes(&self, class: Class) -> usize {
        self.counter(class).load(Ordering::Relaxed)
    }

    /// Whether another persistent body should stay in memory.
    pub(crate) fn has_room_for_cache(&self) -> bool {
        self.bytes(Class::Cached) < self.cache_bytes
    }

    /// What one destination may keep cached: one busy queue leaves room for others.
    pub(crate) fn share_bytes(&self) -> usize {
        self.cache_bytes / 2
    }

    /// What messages that are nowhere else may use.
    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether messages that are nowhere else use so much percent of what they may.
    pub(crate) fn is_above(&self, percent: u32) -> bool {
        let threshold = super::percent_of(self.limit_bytes as u64, percent).max(1);
        self.bytes(Class::Held) as u64 >= threshold
    }

    /// Whether no more messages that are nowhere else should come in.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes(Class::Held) >= self.limit_bytes
    }

    fn counter(&self, class: Class) -> &AtomicUsize {
        &self.bytes[class as usize]
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
    class: AtomicU8,
}

impl Charge {
    /// From now on it is in memory for this reason.
    pub(crate) fn reclassify(&self, class: Class) {
        let before = self.class.swap(class as u8, Ordering::Relaxed);
        if before == class as u8 {
            return;
        }
        let counter = self.memory.counter(class);
        counter.fetch_add(self.bytes, Ordering::Relaxed);
        self.memory.bytes[usize::from(before)].fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let class = *self.class.get_mut();
        self.memory.bytes[usize::from(class)].fetch_sub(self.bytes, Ordering::Relaxed);
        if class == Class::Held as u8 {
            self.memory.waiters.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_until_it_is_dropped() {
        let memory = Memory::new(100, 50, Arc::default());
        let charge = memory.charge(100, Class::Cached);
        assert!(!memory.has_room_for_cache());
        drop(charge);
        assert!(memory.has_room_for_cache());
        let charge = memory.charge(35, Class::Held);
        assert!(memory.is_above(70) && !memory.is_full());
        let more = memory.charge(15, Class::Arriving);
        assert!(!memory.is_full(), "what arrives is not in yet");
        more.reclassify(Class::Held);
        assert!(memory.is_full());
        assert_eq!(CLASSES.map(|class| memory.bytes(class)), [0, 0, 50]);
        drop((charge, more));
        assert_eq!(CLASSES.map(|class| memory.bytes(class)), [0, 0, 0]);
    }
}
