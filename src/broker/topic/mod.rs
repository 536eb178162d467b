//! Topics: whoever is there when a message is published gets it, and durable subscriptions keep it.
//!
//! A topic knows its consumers, so publishing looks nothing up. A consumer or subscription of several
//! topics, by a wildcard or a composite name, is attached to each of them; it hears of topics made
//! later through [`Broker::watch`].

mod allowance;
mod consumer;
mod recovery;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use openwire::{ConnectionId, ConsumerId, Destination};
use parking_lot::Mutex;
use storage::Lsn;

pub(super) use self::allowance::Allowance;
use self::consumer::Deed;
pub(super) use self::consumer::Request;
pub(crate) use self::consumer::TopicConsumer;
pub(super) use self::recovery::RETAIN;
use self::recovery::Recovery;
use super::dispatcher::Visit;
use super::policy::Policy;
use super::queue::{Counters, Queue};
use super::selector::MessageView;
use super::slow::Sight;
use super::subscription::Subscription;
use super::usage::DestinationUsage;
use super::{Broker, Message, Refusal, wall_ms};

/// A topic.
pub(crate) struct Topic {
    name: Destination,
    /// The connection that made it, for a temporary topic.
    owner: Option<ConnectionId>,
    usage: Option<Arc<DestinationUsage>>,
    members: Mutex<Members>,
    pub(super) counters: Counters,
    policy: Arc<Policy>,
}

struct Members {
    /// Replaced as a whole, so that publishing needs no copy.
    consumers: Arc<[Subscriber]>,
    durable: Arc<[Arc<Subscription>]>,
    /// What consumers that ask for the past get. Changes together with the consumers, so that a new
    /// one misses nothing and gets nothing twice.
    recovery: Recovery,
    is_deleted: bool,
}

/// A consumer of a topic, and the number under which the consumer knows the topic.
#[derive(Clone)]
pub(super) struct Subscriber {
    consumer: Arc<TopicConsumer>,
    source: u32,
}

impl Topic {
    pub(super) fn new(
        name: Destination,
        owner: Option<ConnectionId>,
        policy: Arc<Policy>,
        usage: Option<Arc<DestinationUsage>>,
    ) -> Arc<Self> {
        let members = Members {
            consumers: Arc::default(),
            durable: Arc::default(),
            recovery: Recovery::new(&policy),
            is_deleted: false,
        };
        Arc::new(Topic {
            policy,
            name,
            owner,
            usage,
            members: Mutex::new(members),
            counters: Counters::default(),
        })
    }

    /// What operators chose for it.
    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(super) fn name(&self) -> &Destination {
        &self.name
    }

    pub(super) fn owner(&self) -> Option<&ConnectionId> {
        self.owner.as_ref()
    }

    /// Its memory, if its policy limits it.
    pub(super) fn usage(&self) -> Option<&Arc<DestinationUsage>> {
        self.usage.as_ref()
    }

    pub(super) fn delete(&self) {
        let mut members = self.members.lock();
        *members = Members {
            consumers: Arc::default(),
            durable: Arc::default(),
            recovery: Recovery::new(&self.policy),
            is_deleted: true,
        };
    }

    /// Adds a consumer; one that asks for the past gets it first. Nothing happens if it is there.
    pub(super) fn add_consumer(
        self: &Arc<Self>,
        broker: &Broker,
        consumer: &Arc<TopicConsumer>,
    ) -> Result<(), Refusal> {
        let mut members = self.members.lock();
        if members.is_deleted {
            return Err(Refusal::NoSuchDestination(self.name.clone()));
        }
        let Some(source) = consumer.attach(self) else {
            return Ok(());
        };
        let subscriber = Subscriber {
            consumer: Arc::clone(consumer),
            source,
        };
        if consumer.is_retroactive() || self.policy.always_retroactive {
            members.recover(broker, &subscriber);
        }
        members.consumers = members
            .consumers
            .iter()
            .chain([&subscriber])
            .cloned()
            .collect();
        Ok(())
    }

    pub(super) fn remove_consumer(&self, id: &ConsumerId) {
        let mut members = self.members.lock();
        members.consumers = members
            .consumers
            .iter()
            .filter(|subscriber| subscriber.consumer.address.id != *id)
            .cloned()
            .collect();
    }

    /// Adds a durable subscription. Nothing happens if it is there.
    pub(super) fn add_subscription(
        self: &Arc<Self>,
        subscription: &Arc<Subscription>,
    ) -> Result<(), Refusal> {
        let mut members = self.members.lock();
        if members.is_deleted {
            return Err(Refusal::NoSuchDestination(self.name.clone()));
        }
        if !subscription.attach(self) {
            return Ok(());
        }
        members.durable = members
            .durable
            .iter()
            .chain([subscription])
            .map(Arc::clone)
            .collect();
        Ok(())
    }

    pub(super) fn remove_subscription(&self, subscription: &Subscription) {
        let mut members = self.members.lock();
        members.durable = members
            .durable
            .iter()
            .filter(|other| !std::ptr::eq(&raw const ***other, subscription))
            .map(Arc::clone)
            .collect();
    }

    /// Its durable subscriptions.
    pub(super) fn durable(&self) -> Arc<[Arc<Subscription>]> {
        Arc::clone(&self.members.lock().durable)
    }

    /// How many consumers without durable subscription it has.
    pub(super) fn plain_consumer_count(&self) -> usize {
        self.members.lock().consumers.len()
    }

    /// Its consumers without durable subscription as they are now.
    pub(super) fn sights(&self) -> Vec<Sight> {
        let consumers = Arc::clone(&self.members.lock().consumers);
        consumers.iter().map(|one| one.consumer.sight()).collect()
    }

    /// How many messages a consumer was sent, and how many it has not acknowledged.
    pub(super) fn progress_of(&self, id: &ConsumerId) -> Option<(u64, u64)> {
        let consumers = Arc::clone(&self.members.lock().consumers);
        let found = consumers
            .iter()
            .find(|other| other.consumer.address.id == *id)?;
        Some(found.consumer.progress())
    }

    pub(super) fn consumer_count(&self) -> usize {
        let members = self.members.lock();
        members.consumers.len() + members.durable.len()
    }

    /// The past that a subscription gets to see, and from when on each message may be dispatched.
    pub(super) fn past(&self, broker: &Broker, with_policy: bool) -> Vec<(Arc<Message>, Lsn)> {
        let now_ms = wall_ms();
        let members = &mut *self.members.lock();
        members
            .recovery
            .past(now_ms, with_policy, broker.memory())
            .collect()
    }

    /// A message was published: it goes to the present consumers once `visible` is released. Its
    /// durable subscriptions have it already.
    pub(super) fn published(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        message: &Arc<Message>,
        visible: Option<Lsn>,
    ) {
        self.counters.enqueued.fetch_add(1, Ordering::Relaxed);
        broker.advise_publication(self, message);
        if let Some(usage) = &self.usage {
            // It is in the topic's memory as long as anybody has it.
            message.charge_to(usage);
        }
        let consumers = {
            let mut members = self.members.lock();
            let visible = visible.unwrap_or_default();
            members.recovery.add(message, visible, broker.memory());
            Arc::clone(&members.consumers)
        };
        if consumers.is_empty() {
            return;
        }
        match visible {
            Some(lsn) => {
                let visit = Visit::Publish(consumers, Arc::clone(message));
                broker.dispatcher().at(lsn, visit);
            }
            None => offer(broker, &consumers, message),
        }
    }

    /// Gives a message that is kept in memory only to the durable subscriptions that want it, once
    /// `visible` is released.
    pub(super) fn publish_to_durable(
        &self,
        broker: &Arc<Broker>,
        message: &Arc<Message>,
        visible: Option<Lsn>,
    ) {
        let view = MessageView::new(message);
        for subscription in &*self.durable() {
            if !subscription.wants(broker, message, &view)
                || !subscription.takes_from_memory(broker)
            {
                continue;
            }
            let (queue, message) = (Arc::clone(subscription.queue()), Arc::clone(message));
            match visible {
                Some(lsn) => broker.dispatcher().at(lsn, Visit::Enqueue(queue, message)),
                None => queue.enqueue_memory(broker, message),
            }
        }
    }

    /// The backlogs of the durable subscriptions that want a message.
    pub(super) fn interested(&self, broker: &Broker, message: &Message) -> Vec<Arc<Queue>> {
        let durable = self.durable();
        let view = MessageView::new(message);
        durable
            .iter()
            .filter(|subscription| subscription.wants(broker, message, &view))
            .map(|subscription| Arc::clone(subscription.queue()))
            .collect()
    }
}

impl Members {
    /// Gives a new consumer the past. What is not released yet waits, and what is younger with it.
    fn recover(&mut self, broker: &Broker, subscriber: &Subscriber) {
        let released = broker.released();
        let mut visible_from = Lsn::default();
        for (message, visible) in self.recovery.past(wall_ms(), true, broker.memory()) {
            visible_from = visible_from.max(visible);
            if visible_from <= released {
                subscriber.consumer.recover(subscriber.source, &message);
            } else {
                let only = Arc::from([subscriber.clone()]);
                let visit = Visit::Publish(only, message);
                broker.dispatcher().at(visible_from, visit);
            }
        }
    }
}

/// Hands a message to consumers of a topic.
pub(super) fn offer(broker: &Arc<Broker>, consumers: &[Subscriber], message: &Arc<Message>) {
    let view = MessageView::new(message);
    for Subscriber { consumer, source } in consumers {
        let deeds = consumer.offer(*source, message, &view);
        if !deeds.is_empty() {
            for deed in deeds {
                broker.report(consumer, deed);
            }
            consumer.reported();
        }
    }
}

impl Broker {
    /// Tells whoever wants to know of something that happened at a consumer.
    fn report(self: &Arc<Self>, consumer: &TopicConsumer, deed: Deed) {
        match deed {
            Deed::Discarded(topic, message) => {
                let discarded = usize::try_from(consumer.discarded()).unwrap_or(usize::MAX);
                let id = &consumer.address.id;
                self.advise_discarded(&topic.name, id, discarded, &message, &topic.policy);
            }
            Deed::BecameSlow(topic) => {
                if topic.policy.advisory_for_slow_consumers {
                    self.advise_slow_consumer(&topic.name, &consumer.address.id);
                }
            }
        }
    }
}
