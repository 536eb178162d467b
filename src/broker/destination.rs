//! Destinations by name, made on first use.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::{ConnectionId, ConsumerId, Destination};

use super::descriptor::Descriptor;
use super::names::{self, Reach};
use super::policy::{DestinationPattern, Policy};
use super::queue::Queue;
use super::security::Permits;
use super::stock::PLAIN_ORDER;
use super::topic::Topic;
use super::{Broker, Message, Receipt, Refusal};

/// All destinations there are.
#[derive(Default)]
pub(super) struct Destinations {
    by_name: HashMap<Destination, Target>,
    watchers: Vec<Watcher>,
}

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Target {
    Queue(Arc<Queue>),
    Topic(Arc<Topic>),
}

impl Target {
    pub(super) fn name(&self) -> &Destination {
        match self {
            Target::Queue(queue) => queue.name(),
            Target::Topic(topic) => topic.name(),
        }
    }

    /// Whether both are the same destination.
    pub(super) fn is(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Queue(one), Target::Queue(other)) => Arc::ptr_eq(one, other),
            (Target::Topic(one), Target::Topic(other)) => Arc::ptr_eq(one, other),
            _ => false,
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

    /// Whether it has consumers, producers or messages.
    pub(super) fn is_used(&self) -> bool {
        self.counters().producers.load(Ordering::Relaxed) > 0
            || self.counters().promised.load(Ordering::Relaxed) > 0
            || self.consumer_count() > 0
            || matches!(self, Target::Queue(queue) if queue.state.lock().pending() > 0)
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

    /// Whether a consumer with wildcards waits for a destination of this name.
    pub(super) fn is_watched(&self, name: &Destination) -> bool {
        self.watchers.iter().any(|watcher| watcher.wants(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Destination, &Target)> {
        self.by_name.iter()
    }
}

/// Attaches a consumer to a destination. It runs while the map of destinations is locked, so it must
/// not look destinations up; doing it twice for the same destination must be harmless.
pub(super) type Attach = Box<dyn Fn(&Arc<Broker>, &Target) + Send + Sync>;

/// A consumer that waits for destinations whose names match.
struct Watcher {
    consumer: ConsumerId,
    patterns: Vec<DestinationPattern>,
    /// What the consumer's user may do; None = everything.
    permits: Option<Arc<Permits>>,
    attach: Attach,
}

impl Watcher {
    fn wants(&self, name: &Destination) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
            && self
                .permits
                .as_ref()
                .is_none_or(|permits| permits.may_read(name))
    }
}

impl Broker {
    /// What a name stands for; queues and topics are made on first use.
    pub(super) fn target(self: &Arc<Self>, name: &Destination) -> Result<Target, Refusal> {
        if let Some(target) = self.destinations.read().get(name) {
            return Ok(target.clone());
        }
        if name.kind.is_temporary() && !self.options().lifecycle.temporary_on_send {
            return Err(Refusal::NoSuchDestination(name.clone()));
        }
        let (target, is_new) = {
            let mut destinations = self.destinations.write();
            match destinations.get(name) {
                Some(target) => (target.clone(), false),
                None => {
                    let name = name.detached();
                    let target = self.make_target(&name, None);
                    self.introduce(&mut destinations, name, &target);
                    (target, true)
                }
            }
        };
        if is_new {
            self.advise_destination(name, None, true);
        }
        Ok(target)
    }

    /// What a consumer's destination stands for.
    ///
    /// # Errors
    /// When it has no name, or too many.
    pub(super) fn reach(self: &Arc<Self>, destination: &Destination) -> Result<Reach, Refusal> {
        let separator = self.options().interceptors.path_separator.as_deref();
        let mut reach = names::reach(&*names::read(destination, separator)?)?;
        let interceptors = &self.options().interceptors;
        // Messages of virtual topics wait in a queue with the very name of a pattern, wildcards and
        // all. Queues that virtual topics fill must be there after a takeover, too.
        let made: Vec<Destination> = reach
            .patterns
            .iter()
            .filter(|pattern| interceptors.makes_queue_of(pattern))
            .map(DestinationPattern::to_destination)
            .chain(
                reach
                    .names
                    .iter()
                    .filter(|name| interceptors.fill(name))
                    .cloned(),
            )
            .collect();
        for name in made {
            if let Target::Queue(queue) = self.target(&name)? {
                let before = self.store().appended();
                queue.backlog(self)?;
                let after = self.store().appended();
                if after > before {
                    reach.receipt = Receipt::At(after);
                }
            }
        }
        Ok(reach)
    }

    /// Calls `attach` for every destination that one of the patterns matches: for those there are
    /// now, and for each one that is made later, before anybody else can find it.
    pub(super) fn watch(
        self: &Arc<Self>,
        consumer: &ConsumerId,
        patterns: Vec<DestinationPattern>,
        attach: Attach,
    ) {
        let permits = self.permits_of(&consumer.connection());
        let mut destinations = self.destinations.write();
        let watcher = Watcher {
            consumer: consumer.clone(),
            patterns,
            permits,
            attach,
        };
        for (name, target) in &destinations.by_name {
            if watcher.wants(name) {
                (watcher.attach)(self, target);
            }
        }
        destinations.watchers.push(watcher);
    }

    /// Whether a consumer with wildcards waits for a destination of this name.
    pub(super) fn is_watched(&self, name: &Destination) -> bool {
        self.destinations.read().is_watched(name)
    }

    /// Ends a [`Broker::watch`]. What the consumer is attached to stays as it is.
    pub(super) fn unwatch(&self, consumer: &ConsumerId) {
        let mut destinations = self.destinations.write();
        destinations
            .watchers
            .retain(|watcher| watcher.consumer != *consumer);
    }

    /// The destination of this name, if there is one.
    pub(super) fn find(&self, name: &Destination) -> Option<Target> {
        self.destinations.read().get(name).cloned()
    }

    /// Puts a new destination into the map, with the consumers that waited for it.
    pub(super) fn introduce(
        self: &Arc<Self>,
        destinations: &mut Destinations,
        name: Destination,
        target: &Target,
    ) {
        for watcher in &destinations.watchers {
            if watcher.wants(&name) {
                (watcher.attach)(self, target);
            }
        }
        if !name.kind.is_temporary() {
            self.routes_version.fetch_add(1, Ordering::Release);
        }
        destinations.insert(name, target.clone());
    }

    pub(super) fn make_target(&self, name: &Destination, owner: Option<ConnectionId>) -> Target {
        let policy = self.options().policies.of(name);
        let usage = self.usage().of(&policy);
        if name.kind.is_queue() {
            Target::Queue(Queue::new(name.clone(), None, owner, None, policy, usage))
        } else {
            Target::Topic(Topic::new(name.clone(), owner, policy, usage))
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
                Descriptor::Schedule => self.restore_schedule(backlog),
                Descriptor::Queue { name } => {
                    let policy = policies.of(&name);
                    let usage = self.usage().of(&policy);
                    let queue = Queue::new(name.clone(), None, None, Some(backlog), policy, usage);
                    self.destinations.write().insert(name, Target::Queue(queue));
                }
                Descriptor::Subscription {
                    ref key, ref topic, ..
                } => {
                    let (key, topic) = (key.clone(), topic.clone());
                    let restored = self.restore_subscription(&key, &topic, descriptor, backlog);
                    if let Err(error) = restored {
                        tracing::error!(
                            client_id = %key.client_id,
                            name = %key.name,
                            %error,
                            "A durable subscription of the journal is left alone."
                        );
                    }
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
