//! Which messages this connection has already seen: a bounded memory against duplicates that a
//! failover makes.

use std::collections::{HashMap, HashSet, VecDeque};

use openwire::{ConsumerId, Destination, MessageId, ProducerId};

/// Where a message can be a duplicate: a queue's message must not come twice to a connection, a
/// topic's not twice to a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum AuditScope {
    Queue(Destination),
    Consumer(ConsumerId),
}

/// Remembers the last sequence numbers of the last producers in each scope.
#[derive(Debug)]
pub(crate) struct Audit {
    /// Sequence numbers remembered for each producer.
    depth: usize,
    /// Producers remembered in each scope.
    producers_max: usize,
    scopes: HashMap<AuditScope, Producers>,
}

#[derive(Debug, Default)]
struct Producers {
    windows: HashMap<ProducerId, Window>,
    /// In the order of their first message; the oldest is forgotten first.
    order: VecDeque<ProducerId>,
}

#[derive(Debug, Default)]
struct Window {
    seen: HashSet<i64>,
    order: VecDeque<i64>,
}

impl Audit {
    pub(crate) fn new(depth: usize, producers_max: usize) -> Self {
        Self {
            depth: depth.max(1),
            producers_max: producers_max.max(1),
            scopes: HashMap::new(),
        }
    }

    /// Whether the message was seen before; it is seen from now on.
    pub(crate) fn is_duplicate(&mut self, scope: &AuditScope, id: &MessageId) -> bool {
        let Some(producer) = &id.producer_id else {
            return false;
        };
        let producers = match self.scopes.get_mut(scope) {
            Some(producers) => producers,
            None => self.scopes.entry(scope.clone()).or_default(),
        };
        if !producers.windows.contains_key(producer) {
            // The copy must not keep the frame alive that the id came in.
            let producer = producer.detached();
            producers.order.push_back(producer.clone());
            producers.windows.insert(producer, Window::default());
            if producers.order.len() > self.producers_max
                && let Some(oldest) = producers.order.pop_front()
            {
                producers.windows.remove(&oldest);
            }
        }
        let Some(window) = producers.windows.get_mut(producer) else {
            return false;
        };
        if !window.seen.insert(id.producer_sequence_id) {
            return true;
        }
        window.order.push_back(id.producer_sequence_id);
        if window.order.len() > self.depth
            && let Some(oldest) = window.order.pop_front()
        {
            window.seen.remove(&oldest);
        }
        false
    }

    /// The message was not consumed after all and may come again.
    pub(crate) fn forget(&mut self, scope: &AuditScope, id: &MessageId) {
        let Some(producer) = &id.producer_id else {
            return;
        };
        let windows = self
            .scopes
            .get_mut(scope)
            .map(|producers| &mut producers.windows);
        if let Some(window) = windows.and_then(|windows| windows.get_mut(producer))
            && window.seen.remove(&id.producer_sequence_id)
        {
            // Forgotten messages are recent ones, so the search from the end is short.
            let at = window
                .order
                .iter()
                .rposition(|seen| *seen == id.producer_sequence_id);
            if let Some(at) = at {
                window.order.remove(at);
            }
        }
    }

    pub(crate) fn close(&mut self, consumer: &ConsumerId) {
        self.scopes.remove(&AuditScope::Consumer(consumer.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(producer: i64, sequence: i64) -> MessageId {
        openwire::ConnectionId::new("c")
            .session(1)
            .producer(producer)
            .message(sequence)
    }

    fn queue(name: &str) -> AuditScope {
        AuditScope::Queue(Destination::queue(name))
    }

    #[test]
    fn a_message_is_new_once_in_each_scope() {
        let mut audit = Audit::new(10, 10);
        assert!(!audit.is_duplicate(&queue("a"), &id(1, 1)));
        assert!(audit.is_duplicate(&queue("a"), &id(1, 1)));
        assert!(!audit.is_duplicate(&queue("b"), &id(1, 1)));
        assert!(!audit.is_duplicate(&queue("a"), &id(2, 1)));
    }

    #[test]
    fn a_forgotten_message_may_come_again() {
        let mut audit = Audit::new(10, 10);
        audit.is_duplicate(&queue("a"), &id(1, 1));
        audit.forget(&queue("a"), &id(1, 1));
        assert!(!audit.is_duplicate(&queue("a"), &id(1, 1)));
    }

    #[test]
    fn memory_is_bounded_in_depth_and_in_producers() {
        let mut audit = Audit::new(3, 2);
        for sequence in 1..=4 {
            audit.is_duplicate(&queue("a"), &id(1, sequence));
        }
        assert!(audit.is_duplicate(&queue("a"), &id(1, 2)));
        assert!(
            !audit.is_duplicate(&queue("a"), &id(1, 1)),
            "beyond the depth"
        );
        audit.is_duplicate(&queue("a"), &id(2, 1));
        audit.is_duplicate(&queue("a"), &id(3, 1));
        assert!(
            !audit.is_duplicate(&queue("a"), &id(1, 4)),
            "the oldest producer is forgotten"
        );
    }
}
