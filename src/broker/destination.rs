//! Destinations by name, made on first use.

use std::collections::HashMap;
use std::sync::Arc;

use openwire::{ConnectionId, Destination, DestinationKind};

use super::descriptor::Descriptor;
use super::policy::Policy;
use super::queue::Queue;
use super::stock::PLAIN_ORDER;
use super::topic::Topic;
use super::{Broker, Message, Refusal};

/// All destinations there are.
#[derive(Default)]
pub(super) struct Destinations {
    by_name: HashMap<Destination, Target>,
}

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Target {
    Queue(Arc<Queue>),
    Topic(Arc<Topic>),
}

impl Target {
    pub(super) fn is_deleted(&self) -> bool {
        match self {
            Target::Queue(queue) => queue.is_deleted(),
            Target::Topic(topic) => topic.is_deleted(),
        }
    }

    pub(super) fn owner(&self) -> Option<&ConnectionId> {
        match self {
            Target::Queue(queue) => queue.owner(),
            Target::Topic(topic) => topic.owner(),
        }
    }

    pub(super) fn consumer_count(&self) -> usize {
        match self {
            Target::Queue(queue) => queue.consumer_count(),
            Target::Topic(topic) => topic.consumer_count(),
        }
    }

    pub(super) fn policy(&self) -> &Policy {
        match self {
            Target::Queue(queue) => queue.policy(),
            Target::Topic(topic) => topic.policy(),
        }
    }

    pub(super) fn delete(&self) {
        match self {
            Target::Queue(queue) => queue.delete(),
            Target::Topic(topic) => topic.delete(),
        }
    }

    pub(super) fn counters(&self) -> &super::queue::Counters {
        match self {
            Target::Queue(queue) => &queue.counters,
            Target::Topic(topic) => &topic.counters,
        }
    }
}

impl Destinations {
    pub(super) fn get(&self, name: &Destination) -> Option<&Target> {
        self.by_name.get(name)
    }

    pub(super) fn insert(&mut self, name: Destination, target: Target) {
        self.by_name.insert(name, target);
    }

    pub(super) fn remove(&mut self, name: &Destination) -> Option<Target> {
        self.by_name.remove(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Destination, &Target)> {
        self.by_name.iter()
    }
}

/// Refuses names that stand for several destinations, and empty ones.
fn check_name(destination: &Destination) -> Result<(), Refusal> {
    let name = destination
        .name
        .as_ref()
        .map_or(&b""[..], |name| name.as_bytes());
    let unsupported = |what| {
        Err(Refusal::UnsupportedName {
            destination: destination.clone(),
            what,
        })
    };
    if name.is_empty() {
        return Err(Refusal::NamelessDestination);
    }
    if name.contains(&b',') {
        return unsupported("composite destinations");
    }
    let is_wildcard = |part: &[u8]| part == b"*" || part == b">";
    if name.split(|&byte| byte == b'.').any(is_wildcard) {
        return unsupported("wildcards");
    }
    Ok(())
}

impl Broker {
    /// What a name stands for; queues and topics are made on first use.
    pub(super) fn target(self: &Arc<Self>, name: &Destination) -> Result<Target, Refusal> {
        if let Some(target) = self.destinations.read().get(name) {
            return Ok(target.clone());
        }
        check_name(name)?;
        if name.kind.is_temporary() {
            return Err(Refusal::NoSuchDestination(name.clone()));
        }
        let (target, is_new) = {
            let mut destinations = self.destinations.write();
            match destinations.get(name) {
                Some(target) => (target.clone(), false),
                None => {
                    let name = name.detached();
                    let target = self.make_target(&name, None);
                    destinations.insert(name, target.clone());
                    (target, true)
                }
            }
        };
        if is_new {
            self.advise_destination(name, true);
        }
        Ok(target)
    }

    pub(super) fn make_target(&self, name: &Destination, owner: Option<ConnectionId>) -> Target {
        let policy = self.options().policies.of(name);
        if name.kind.is_queue() {
            Target::Queue(Queue::new(name.clone(), None, owner, None, policy))
        } else {
            Target::Topic(Topic::new(name.clone(), owner, policy))
        }
    }

    /// The queue with this name, made on first use. Only for names that can be used.
    pub(super) fn queue_named(self: &Arc<Self>, name: &Destination) -> Arc<Queue> {
        match self.target(name) {
            Ok(Target::Queue(queue)) => queue,
            Ok(Target::Topic(_)) | Err(_) => unreachable!("`{name}` is the name of a queue"),
        }
    }

    /// The topic with this name, made on first use.
    pub(super) fn topic_named(self: &Arc<Self>, name: &Destination) -> Result<Arc<Topic>, Refusal> {
        match self.target(name)? {
            Target::Topic(topic) => Ok(topic),
            Target::Queue(_) => Err(Refusal::NoSuchDestination(name.clone())),
        }
    }

    /// Builds queues and subscriptions from the journal.
    pub(super) fn restore(self: &Arc<Self>) {
        let policies = &self.options().policies;
        for backlog in self.store().backlogs() {
            let descriptor = match Descriptor::decode(backlog.descriptor()) {
                Ok(descriptor) => descriptor,
                Err(error) => {
                    let backlog = backlog.id().0;
                    tracing::error!(backlog, %error, "A backlog of the journal is left alone.");
                    continue;
                }
            };
            match descriptor {
                Descriptor::Queue { name } => {
                    let policy = policies.of(&name);
                    let queue = Queue::new(name.clone(), None, None, Some(backlog), policy);
                    self.destinations.write().insert(name, Target::Queue(queue));
                }
                Descriptor::Subscription {
                    ref key, ref topic, ..
                } => {
                    let (key, topic) = (key.clone(), topic.clone());
                    let queue = Queue::new(
                        topic.clone(),
                        Some(descriptor),
                        None,
                        Some(backlog),
                        policies.of(&topic),
                    );
                    if let Ok(topic) = self.topic_named(&topic) {
                        topic.add_subscription(&queue);
                    }
                    self.subscriptions.lock().insert(key, queue);
                }
            }
        }
    }
}

/// The order in which a message is dispatched from a backlog under this policy.
pub(super) fn order_of(message: &Message, policy: &Policy) -> u8 {
    if policy.prioritized_messages {
        message.priority().clamp(0, 9).unsigned_abs()
    } else {
        PLAIN_ORDER
    }
}

/// The destinations that a consumer's destination stands for: several only for topics.
pub(super) fn parts(destination: &Destination) -> Result<Vec<Destination>, Refusal> {
    let name = destination.name.clone().unwrap_or_default();
    if destination.kind != DestinationKind::Topic || !name.as_bytes().contains(&b',') {
        check_name(destination)?;
        return Ok(vec![destination.detached()]);
    }
    let text = name.to_string_lossy();
    let mut parts = Vec::new();
    for part in text.split(',').map(str::trim) {
        let part = part.strip_prefix("topic://").unwrap_or(part);
        if part.contains("://") {
            return Err(Refusal::UnsupportedName {
                destination: destination.clone(),
                what: "composite destinations of queues and topics",
            });
        }
        let part = Destination::topic(part);
        check_name(&part)?;
        parts.push(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_topic_has_parts_and_other_special_names_are_refused() {
        let advisory = Destination::topic("ActiveMQ.Advisory.TempQueue,topic://B");
        let expected = [
            Destination::topic("ActiveMQ.Advisory.TempQueue"),
            Destination::topic("B"),
        ];
        assert_eq!(parts(&advisory).expect("topics"), expected);
        let odd = Destination::queue("a*b.c>d");
        assert_eq!(parts(&odd).expect("no wildcard"), [odd]);
        for refused in [
            Destination::queue("A,B"),
            Destination::queue("A.>"),
            Destination::topic("A.*.B"),
            Destination::topic("A,queue://B"),
            Destination::topic("A,"),
            Destination::queue(""),
        ] {
            assert!(parts(&refused).is_err(), "{refused}");
        }
    }
}
