//! A connection's consumers of topics, with and without a durable subscription.

use std::sync::Arc;

use openwire::{DestinationKind, WireString};

use super::consumers::Opened;
use super::{Connection, ConsumerRequest, Home};
use crate::broker::consumer::{Consumer, Terms};
use crate::broker::descriptor::SubscriptionKey;
use crate::broker::destination::Target;
use crate::broker::names::Reach;
use crate::broker::outbox::Order;
use crate::broker::selector::Selector;
use crate::broker::subscription::Subscribe;
use crate::broker::topic::{self, Allowance, TopicConsumer};
use crate::broker::{Broker, Refusal};

/// The prefetch that clients ask for on topics when nobody chose one.
const DEFAULT_TOPIC_PREFETCH: u32 = 32_767;
/// The same for durable subscribers, and for those that acknowledge optimized.
const DEFAULT_DURABLE_PREFETCHES: [u32; 2] = [100, 1000];

impl Connection {
    /// Opens the consumer of a durable subscription, which is made if there is none.
    pub(super) fn open_on_subscription(
        &self,
        request: &ConsumerRequest,
        name: &WireString,
        reach: Reach,
    ) -> Result<Opened, Refusal> {
        if self.broker.options().durable.is_refused {
            return Err(Refusal::SubscriptionsRefused);
        }
        if request.destination.kind == DestinationKind::TempTopic {
            return Err(Refusal::UnsupportedName {
                destination: request.destination.clone(),
                what: "durable subscriptions of temporary topics",
            });
        }
        let key = SubscriptionKey {
            client_id: self.client_id.clone(),
            name: name.detached(),
        };
        let policy = self.broker.options().policies.of(&request.destination);
        let prefetch = if DEFAULT_DURABLE_PREFETCHES.contains(&request.prefetch) {
            policy.durable_topic_prefetch
        } else {
            request.prefetch
        };
        let (subscription, receipt) = self.broker.subscribe(Subscribe {
            key,
            destination: &request.destination,
            reach,
            selector: Selector::of(request.selector.as_ref())?,
            no_local: request.no_local,
        })?;
        let past = subscription.past(&self.broker, request.is_retroactive);
        let queue = Arc::clone(subscription.queue());
        let window = self.prefetch(prefetch);
        let terms = Terms::plain(window);
        let consumer = Consumer::new(self.address(request), terms, queue.window(window));
        queue.add_consumer(&self.broker, consumer)?;
        subscription.came_online();
        self.tell_window(request, prefetch);
        subscription.recover(&self.broker, past);
        Ok(Opened {
            home: Home::Queue(queue),
            subscription: Some(subscription),
            receipt,
        })
    }

    /// Opens a consumer that sees what is published while it is there.
    pub(super) fn open_on_topics(
        &self,
        request: &ConsumerRequest,
        reach: Reach,
    ) -> Result<Opened, Refusal> {
        let mut topics = Vec::new();
        for name in &reach.names {
            let target = self.broker.target(name)?;
            if target.owner().is_some_and(|owner| *owner != self.id) {
                return Err(Refusal::ForeignTemporary(name.clone()));
            }
            if let Target::Topic(topic) = target {
                topics.push(topic);
            }
        }
        let options = self.broker.options();
        let policy = options.policies.of(&request.destination);
        let prefetch = if request.prefetch == DEFAULT_TOPIC_PREFETCH {
            policy.topic_prefetch
        } else {
            request.prefetch
        };
        let window = self.prefetch(prefetch);
        let limit = options.pending_message_limit;
        let wanted = topic::Request {
            address: self.address(request),
            prefetch: window,
            selector: Selector::of(request.selector.as_ref())?,
            no_local: request.no_local,
            is_retroactive: request.is_retroactive,
            allowance: Allowance::new(&policy, window, request.pending_limit, limit),
        };
        let memory = Arc::clone(self.broker.memory());
        let consumer = TopicConsumer::new(wanted, memory, Arc::clone(&self.broker.expired));
        self.tell_window(request, prefetch);
        for topic in topics {
            if let Err(refusal) = topic.add_consumer(&self.broker, &consumer) {
                consumer.close();
                return Err(refusal);
            }
        }
        self.broker.replay_advisories(&reach, &consumer);
        if !reach.patterns.is_empty() {
            let attached = Arc::clone(&consumer);
            let attach = Box::new(move |broker: &Arc<Broker>, target: &Target| {
                if let Target::Topic(topic) = target
                    && let Err(refusal) = topic.add_consumer(broker, &attached)
                {
                    tracing::debug!(%refusal, "A consumer does not get a topic that goes.");
                }
            });
            self.broker.watch(&request.id, reach.patterns, attach);
        }
        Ok(Opened::on(Home::Topics(consumer)))
    }

    /// A client that has no window any more must ask for each message, and has to know.
    fn tell_window(&self, request: &ConsumerRequest, prefetch: u32) {
        if prefetch == 0 && request.prefetch != 0 {
            self.outbox.order(Order::Prefetch(request.tag, prefetch));
        }
    }

    pub(super) fn close_on_topics(&self, consumer: &TopicConsumer) {
        self.broker.unwatch(&consumer.address.id);
        consumer.close();
    }
}
