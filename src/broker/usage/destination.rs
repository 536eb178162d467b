//! The memory of one destination whose policy limits it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::Position;

use super::percent_of;
use super::waiters::Waiters;
use crate::broker::policy::Policy;

/// Persistent messages that were counted are all looked at again no more often than this.
const PRUNE_INTERVAL: Duration = Duration::from_millis(200);

/// The memory of one destination whose policy limits it.
///
/// A non-persistent message counts as long as it is in memory. A persistent message of a queue counts, until
/// it is consumed, if it came while less than the cursor's high water mark was used: ActiveMQ keeps
/// just those cached. So persistent messages are held back by a limit that is small against them,
/// and by no other; with a cursor in memory all of them count.
#[derive(Debug)]
pub(crate) struct DestinationUsage {
    limit: u64,
    counts_persistent_below: u64,
    /// Bytes of messages in memory.
    held: AtomicU64,
    waiters: Arc<Waiters>,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    bytes: u64,
    messages: VecDeque<(Position, u32)>,
    pruned_at: Instant,
}

impl DestinationUsage {
    /// None: the policy sets no limit.
    pub(crate) fn of(policy: &Policy, waiters: &Arc<Waiters>) -> Option<Arc<Self>> {
        let limit = policy.memory_limit_bytes;
        let mark = if policy.keep_in_memory {
            u64::MAX
        } else {
            percent_of(limit, policy.cursor_memory_high_water_mark).max(1)
        };
        (limit > 0).then(|| {
            Arc::new(DestinationUsage {
                limit,
                counts_persistent_below: mark,
                held: AtomicU64::new(0),
                waiters: Arc::clone(waiters),
                counted: Mutex::new(Counted {
                    bytes: 0,
                    messages: VecDeque::new(),
                    pruned_at: Instant::now(),
                }),
            })
        })
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed) + self.counted.lock().bytes
    }

    /// Whether so much percent of the limit is used by messages in memory.
    pub(crate) fn is_above(&self, percent: u32) -> bool {
        let held = self.held.load(Ordering::Relaxed);
        held >= percent_of(self.limit, percent).max(1)
    }

    /// Counts a message in memory until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> DestinationCharge {
        self.held.fetch_add(bytes as u64, Ordering::Relaxed);
        DestinationCharge {
            usage: Arc::clone(self),
            bytes: bytes as u64,
        }
    }

    /// A persistent message came in.
    pub(crate) fn count(&self, position: Position, bytes: usize) {
        let mut counted = self.counted.lock();
        if counted.bytes + self.held.load(Ordering::Relaxed) < self.counts_persistent_below {
            let length = u32::try_from(bytes).unwrap_or(u32::MAX);
            counted.bytes += u64::from(length);
            counted.messages.push_back((position, length));
        }
    }

    /// Whether the limit is reached. `is_pending` tells of a counted message whether it is still there.
    pub(crate) fn is_full(&self, is_pending: impl Fn(Position) -> bool) -> bool {
        let held = self.held.load(Ordering::Relaxed);
        let mut counted = self.counted.lock();
        if held + counted.bytes < self.limit {
            return false;
        }
        while let Some(&(position, bytes)) = counted.messages.front()
            && !is_pending(position)
        {
            counted.messages.pop_front();
            counted.bytes -= u64::from(bytes);
        }
        // Consumed out of order.
        if held + counted.bytes >= self.limit && counted.pruned_at.elapsed() >= PRUNE_INTERVAL {
            counted
                .messages
                .retain(|&(position, _)| is_pending(position));
            counted.bytes = counted
                .messages
                .iter()
                .map(|&(_, bytes)| u64::from(bytes))
                .sum();
            counted.pruned_at = Instant::now();
        }
        held + counted.bytes >= self.limit
    }
}

/// Bytes that count for a destination until this is dropped.
#[derive(Debug)]
pub(crate) struct DestinationCharge {
    usage: Arc<DestinationUsage>,
    bytes: u64,
}

impl DestinationCharge {
    pub(crate) fn is_of(&self, usage: &Arc<DestinationUsage>) -> bool {
        Arc::ptr_eq(&self.usage, usage)
    }
}

impl Drop for DestinationCharge {
    fn drop(&mut self) {
        self.usage.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.usage.waiters.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(limit: u64, keep_in_memory: bool) -> Arc<DestinationUsage> {
        let policy = Policy {
            memory_limit_bytes: limit,
            keep_in_memory,
            ..Policy::default()
        };
        DestinationUsage::of(&policy, &Arc::default()).expect("a limit")
    }

    #[test]
    fn persistent_messages_count_only_below_the_mark_unless_the_cursor_is_in_memory() {
        let at = |sequence| Position::new(4, sequence);
        let cached = usage(1000, false);
        for sequence in 1..100 {
            cached.count(at(sequence), 100);
        }
        assert_eq!(cached.used_bytes(), 700);
        assert!(!cached.is_full(|_| true));
        let all = usage(1000, true);
        for sequence in 1..=10 {
            all.count(at(sequence), 100);
        }
        assert!(all.is_full(|_| true));
        assert!(!all.is_full(|position| position.sequence() > 1));
        assert_eq!(all.used_bytes(), 900);
    }

    #[test]
    fn a_limit_of_one_byte_lets_one_message_in() {
        let usage = usage(1, false);
        assert!(!usage.is_full(|_| true));
        let charge = usage.charge(1000);
        assert!(usage.is_full(|_| true));
        drop(charge);
        usage.count(Position::new(4, 1), 1000);
        assert!(usage.is_full(|_| true));
        assert!(!usage.is_full(|_| false));
    }
}
