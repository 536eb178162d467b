//! How many bytes of message bodies are in memory, and how many may be.
//!
//! Every [`Message`](super::Message) carries a [`Charge`] for its bytes and gives it back when its
//! last owner lets it go, so the numbers are right whoever holds a message, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of message bodies in memory.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Persistent bodies beyond this are left in the journal.
    budget_bytes: usize,
    /// Non-persistent messages beyond this are refused: they have no other place.
    non_persistent_limit_bytes: usize,
    persistent: AtomicUsize,
    non_persistent: AtomicUsize,
}

impl Memory {
    pub(crate) fn new(budget_bytes: usize, non_persistent_limit_bytes: usize) -> Arc<Self> {
        Arc::new(Memory {
            budget_bytes,
            non_persistent_limit_bytes,
            persistent: AtomicUsize::new(0),
            non_persistent: AtomicUsize::new(0),
        })
    }

    /// Counts `bytes` until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize, persistent: bool) -> Charge {
        self.counter(persistent).fetch_add(bytes, Ordering::Relaxed);
        Charge {
            memory: Arc::clone(self),
            bytes,
            persistent,
        }
    }

    /// Bytes of persistent bodies that are in memory as well as in the journal.
    pub(crate) fn persistent_bytes(&self) -> usize {
        self.persistent.load(Ordering::Relaxed)
    }

    /// Bytes of messages that are nowhere else.
    pub(crate) fn non_persistent_bytes(&self) -> usize {
        self.non_persistent.load(Ordering::Relaxed)
    }

    /// Whether another persistent body should stay in memory.
    pub(crate) fn has_room_for_cache(&self) -> bool {
        self.persistent_bytes() < self.budget_bytes
    }

    /// What one destination may keep cached: one busy queue leaves room for others.
    pub(crate) fn share_bytes(&self) -> usize {
        self.budget_bytes / 2
    }

    /// The limit that is exceeded, if one is.
    pub(crate) fn exceeded_limit(&self) -> Option<usize> {
        (self.non_persistent_bytes() > self.non_persistent_limit_bytes)
            .then_some(self.non_persistent_limit_bytes)
    }

    fn counter(&self, persistent: bool) -> &AtomicUsize {
        if persistent {
            &self.persistent
        } else {
            &self.non_persistent
        }
    }
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
    persistent: bool,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory
            .counter(self.persistent)
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_counts_until_it_is_dropped() {
        let memory = Memory::new(100, 50);
        let charge = memory.charge(100, true);
        assert!(!memory.has_room_for_cache());
        drop(charge);
        assert!(memory.has_room_for_cache());
        let charge = memory.charge(51, false);
        assert_eq!(memory.exceeded_limit(), Some(50));
        assert_eq!(
            (memory.persistent_bytes(), memory.non_persistent_bytes()),
            (0, 51)
        );
        drop(charge);
        assert_eq!(memory.exceeded_limit(), None);
    }
}
