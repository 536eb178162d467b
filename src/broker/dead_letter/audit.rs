//! Which dead letters a dead letter queue got lately, so that a message which comes a second time, say
//! from another durable subscription, is not stored again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use openwire::{Destination, MessageId};
use parking_lot::Mutex;

/// What stands for a message: 128 bits, so that two never meet.
type Print = (u64, u64);

/// The messages that each dead letter queue or topic got lately.
#[derive(Default)]
pub(in crate::broker) struct Audits {
    keys: (RandomState, RandomState),
    by_target: Mutex<HashMap<Destination, Audit>>,
}

#[derive(Default)]
struct Audit {
    known: HashSet<Print>,
    in_order: VecDeque<Print>,
}

impl Audits {
    fn print(&self, id: &MessageId) -> Print {
        (self.keys.0.hash_one(id), self.keys.1.hash_one(id))
    }

    /// Notes that a message goes to `target`, which remembers that many. False: it did before.
    pub(super) fn note(&self, target: &Destination, id: &MessageId, depth: usize) -> bool {
        let print = self.print(id);
        let mut by_target = self.by_target.lock();
        let audit = match by_target.get_mut(target) {
            Some(audit) => audit,
            None => by_target.entry(target.clone()).or_default(),
        };
        if !audit.known.insert(print) {
            return false;
        }
        audit.in_order.push_back(print);
        while audit.in_order.len() > depth {
            if let Some(oldest) = audit.in_order.pop_front() {
                audit.known.remove(&oldest);
            }
        }
        true
    }

    /// Forgets a message: it did not get there, or it goes back to where it came from.
    pub(in crate::broker) fn forget(&self, target: &Destination, id: &MessageId) {
        let print = self.print(id);
        if let Some(audit) = self.by_target.lock().get_mut(target)
            && audit.known.remove(&print)
        {
            audit.in_order.retain(|other| *other != print);
        }
    }
}

#[cfg(test)]
mod tests {
    use openwire::ConnectionId;

    use super::*;

    fn id(number: i64) -> MessageId {
        ConnectionId::new("c")
            .session(1)
            .producer(1)
            .message(number)
    }

    #[test]
    fn a_message_is_known_until_enough_others_came() {
        let (audits, queue) = (Audits::default(), Destination::queue("Q"));
        for number in 0..4 {
            assert!(audits.note(&queue, &id(number), 3), "{number}");
        }
        assert!(!audits.note(&queue, &id(3), 3));
        assert!(!audits.note(&queue, &id(1), 3));
        assert!(audits.note(&queue, &id(0), 3), "three came after it");
    }

    #[test]
    fn each_target_and_what_was_forgotten_count_alone() {
        let (audits, queue) = (Audits::default(), Destination::queue("Q"));
        assert!(audits.note(&queue, &id(1), 3));
        assert!(audits.note(&Destination::topic("Q"), &id(1), 3));
        audits.forget(&queue, &id(1));
        audits.forget(&queue, &id(2));
        assert!(audits.note(&queue, &id(1), 3));
    }
}
