//! Durable subscriptions by client id and name.
//!
//! A subscription is a queue that its topics fill and that one consumer at a time reads. What it does
//! not want never gets into it, so its backlog holds only what will be delivered. One that is made
//! again with another destination, selector or `noLocal` is a new one, and loses what is pending, as
//! JMS demands.

use std::sync::Arc;
use std::time::Duration;

use openwire::{ConnectionId, ConsumerId, Destination, WireString};
use parking_lot::Mutex;
use storage::{Backlog, Lsn};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::descriptor::{Descriptor, SubscriptionKey};
use super::destination::Target;
use super::dispatcher::Visit;
use super::names::{Reach, has_wildcard};
use super::policy::Policy;
use super::queue::Queue;
use super::selector::{MessageView, Selector};
use super::topic::Topic;
use super::{Broker, Message, Receipt, Refusal};

/// What can be chosen about durable subscriptions; the defaults are those of ActiveMQ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurableOptions {
    /// Nobody may have durable subscriptions: `rejectDurableConsumers`.
    pub is_refused: bool,
    /// Subscriptions without a consumer get messages that are not persistent too, as far as there is
    /// memory for them: `keepDurableSubsActive`.
    pub keep_active: bool,
    /// A subscription that had no consumer for this time is removed; None = never:
    /// `offlineDurableSubscriberTimeout`. A takeover starts the time anew: it is the moment at
    /// which all subscriptions lost their consumers, and remembering an older one would cost a
    /// record for each consumer that goes.
    pub offline_timeout: Option<Duration>,
    /// Time between two looks for such subscriptions: `offlineDurableSubscriberTaskSchedule`.
    pub offline_check: Duration,
}

impl Default for DurableOptions {
    fn default() -> Self {
        DurableOptions {
            is_refused: false,
            keep_active: true,
            offline_timeout: None,
            offline_check: Duration::from_secs(300),
        }
    }
}

/// What a subscription is made with.
pub(super) struct Subscribe<'a> {
    pub(super) key: SubscriptionKey,
    /// As the client names it: wildcards and composite names included.
    pub(super) destination: &'a Destination,
    pub(super) reach: Reach,
    pub(super) selector: Option<Selector>,
    pub(super) no_local: bool,
}

/// A durable subscription.
pub(crate) struct Subscription {
    key: SubscriptionKey,
    /// What it was made with, as the journal has it.
    descriptor: Descriptor,
    queue: Arc<Queue>,
    selector: Option<Selector>,
    no_local: bool,
    /// Under which it waits for topics that its wildcards match.
    watcher: ConsumerId,
    state: Mutex<State>,
}

struct State {
    /// The topics that it is attached to; None once it is removed.
    topics: Option<Vec<Arc<Topic>>>,
    /// Since when it has had no consumer; None while it has one.
    offline_since: Option<Instant>,
}

impl Subscription {
    fn new(
        broker: &Broker,
        descriptor: Descriptor,
        selector: Option<Selector>,
        backlog: Option<Arc<Backlog>>,
    ) -> Option<Arc<Self>> {
        let Descriptor::Subscription {
            key,
            topic,
            no_local,
            ..
        } = &descriptor
        else {
            return None;
        };
        let policy = policy_of(broker, topic);
        let made_with = Some(descriptor.clone());
        let queue = Queue::new(topic.clone(), made_with, None, backlog, policy, None);
        let number = i64::try_from(broker.next_number()).unwrap_or(i64::MAX);
        Some(Arc::new(Subscription {
            key: key.clone(),
            no_local: *no_local,
            queue,
            selector,
            watcher: ConnectionId::new("subscription")
                .session(0)
                .consumer(number),
            state: Mutex::new(State {
                topics: Some(Vec::new()),
                offline_since: Some(Instant::now()),
            }),
            descriptor,
        }))
    }

    pub(super) fn key(&self) -> &SubscriptionKey {
        &self.key
    }

    /// What it keeps.
    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Notes a topic that fills it. False: it is known already, or the subscription is gone.
    pub(super) fn attach(&self, topic: &Arc<Topic>) -> bool {
        let mut state = self.state.lock();
        let Some(topics) = &mut state.topics else {
            return false;
        };
        let is_new = !topics.iter().any(|other| Arc::ptr_eq(other, topic));
        if is_new {
            topics.push(Arc::clone(topic));
        }
        is_new
    }

    /// Whether it is to get this message. With `noLocal` it does not get what its client publishes,
    /// whether or not it has a consumer at the moment.
    pub(super) fn wants(&self, broker: &Broker, message: &Message, view: &MessageView<'_>) -> bool {
        if self.no_local
            && let Some(producer) = message.producer()
            && broker.is_connection_of(&self.key.client_id, producer.connection_id.as_ref())
        {
            return false;
        }
        let selector = self.selector.as_ref();
        selector.is_none_or(|selector| selector.selects(view))
    }

    /// Whether it gets what is kept in memory only.
    pub(super) fn takes_from_memory(&self, broker: &Broker) -> bool {
        self.queue.consumer_count() > 0
            || broker.options().durable.keep_active && !broker.memory().is_full()
    }

    /// It has a consumer from now on.
    pub(super) fn came_online(&self) {
        self.state.lock().offline_since = None;
    }

    /// Its consumer is gone.
    pub(super) fn went_offline(&self) {
        self.state.lock().offline_since = Some(Instant::now());
    }

    fn has_been_offline_for(&self, time: Duration) -> bool {
        let since = self.state.lock().offline_since;
        since.is_some_and(|since| since.elapsed() >= time)
    }

    /// What a consumer that asks for the past gets to see of it, and from when on. Beyond retained
    /// messages only if nothing is pending.
    pub(super) fn past(&self, broker: &Broker, is_retroactive: bool) -> Vec<(Arc<Message>, Lsn)> {
        let topics = self.state.lock().topics.clone().unwrap_or_default();
        let is_empty = self.queue.state.lock().pending() == 0;
        topics
            .iter()
            .filter(|topic| is_retroactive || topic.policy().always_retroactive)
            .flat_map(|topic| topic.past(broker, is_empty))
            .filter(|(message, _)| self.wants(broker, message, &MessageView::new(message)))
            .collect()
    }

    /// Gives its consumer the past.
    pub(super) fn recover(&self, broker: &Arc<Broker>, past: Vec<(Arc<Message>, Lsn)>) {
        let released = broker.released();
        let mut visible_from = Lsn::default();
        for (message, visible) in past {
            visible_from = visible_from.max(visible);
            if visible_from <= released {
                self.queue.enqueue_memory(broker, message);
            } else {
                let visit = Visit::Enqueue(Arc::clone(&self.queue), message);
                broker.dispatcher().at(visible_from, visit);
            }
        }
    }
}

/// What operators chose for a subscription. One of several topics may get records of any order, so it
/// looks for all of them as soon as there are topics with priorities.
fn policy_of(broker: &Broker, destination: &Destination) -> Arc<Policy> {
    let policies = &broker.options().policies;
    let own = policies.of(destination);
    let has_several = has_wildcard(destination) || destination.name_str().contains(',');
    if !has_several
        || own.prioritized_messages
        || !policies.iter().any(|one| one.prioritized_messages)
    {
        return own;
    }
    Arc::new(Policy {
        prioritized_messages: true,
        ..Policy::clone(&own)
    })
}

impl Broker {
    /// The subscription with this key, made if there is none. One that was made with another
    /// destination, selector or `noLocal` is replaced, and loses what is pending.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        request: Subscribe<'_>,
    ) -> Result<(Arc<Subscription>, Receipt), Refusal> {
        let key = request.key;
        let wanted = Descriptor::Subscription {
            key: key.clone(),
            topic: request.destination.detached(),
            selector: request.selector.as_ref().map(|one| one.text().into()),
            no_local: request.no_local,
        };
        let mut subscriptions = self.subscriptions.lock();
        if let Some(present) = subscriptions.get(&key) {
            if present.queue.consumer_count() > 0 {
                return Err(Refusal::SubscriptionInUse {
                    client_id: key.client_id,
                    name: key.name,
                });
            }
            if present.descriptor == wanted {
                return Ok((Arc::clone(present), Receipt::Done));
            }
            let present = Arc::clone(present);
            self.drop_subscription(&present)?;
            subscriptions.remove(&key);
        }
        let Some(subscription) = Subscription::new(self, wanted, request.selector, None) else {
            unreachable!("a subscription's descriptor describes one");
        };
        subscription.queue.backlog(self)?;
        if let Err(refusal) = self.attach_subscription(&subscription, request.reach) {
            self.drop_subscription(&subscription)?;
            return Err(refusal);
        }
        subscriptions.insert(key, Arc::clone(&subscription));
        Ok((subscription, Receipt::At(self.store().appended())))
    }

    /// Rebuilds a subscription from the journal.
    pub(super) fn restore_subscription(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        topic: &Destination,
        descriptor: Descriptor,
        backlog: Arc<Backlog>,
    ) -> Result<(), Refusal> {
        let reach = self.reach(topic)?;
        let selector = match &descriptor {
            Descriptor::Subscription { selector, .. } => Selector::of(selector.as_ref())?,
            Descriptor::Queue { .. } | Descriptor::Schedule => None,
        };
        if let Some(subscription) = Subscription::new(self, descriptor, selector, Some(backlog)) {
            self.attach_subscription(&subscription, reach)?;
            self.subscriptions.lock().insert(key.clone(), subscription);
        }
        Ok(())
    }

    fn attach_subscription(
        self: &Arc<Self>,
        subscription: &Arc<Subscription>,
        reach: Reach,
    ) -> Result<(), Refusal> {
        for name in &reach.names {
            self.topic_named(name)?.add_subscription(subscription)?;
        }
        if !reach.patterns.is_empty() {
            let attached = Arc::clone(subscription);
            let attach = Box::new(move |_: &Arc<Broker>, target: &Target| {
                if let Target::Topic(topic) = target
                    && let Err(refusal) = topic.add_subscription(&attached)
                {
                    tracing::debug!(%refusal, "A subscription does not get a topic that goes.");
                }
            });
            self.watch(&subscription.watcher, reach.patterns, attach);
        }
        Ok(())
    }

    /// Ends a subscription that has no active consumer.
    pub(super) fn unsubscribe(self: &Arc<Self>, key: &SubscriptionKey) -> Result<Receipt, Refusal> {
        let mut subscriptions = self.subscriptions.lock();
        let Some(subscription) = subscriptions.get(key).map(Arc::clone) else {
            return Err(Refusal::NoSuchSubscription {
                client_id: key.client_id.clone(),
                name: key.name.clone(),
            });
        };
        if subscription.queue.consumer_count() > 0 {
            return Err(Refusal::SubscriptionActive);
        }
        self.drop_subscription(&subscription)?;
        subscriptions.remove(key);
        Ok(Receipt::At(self.store().appended()))
    }

    fn drop_subscription(&self, subscription: &Arc<Subscription>) -> Result<(), Refusal> {
        let backlog = subscription.queue.backlog(self)?;
        self.store().remove_backlog(&backlog)?;
        self.unwatch(&subscription.watcher);
        let topics = subscription.state.lock().topics.take();
        for topic in topics.into_iter().flatten() {
            topic.remove_subscription(subscription);
        }
        subscription.queue.delete();
        Ok(())
    }

    /// Whether a connection is the present one of this client.
    fn is_connection_of(&self, client_id: &WireString, connection: Option<&WireString>) -> bool {
        let connections = self.connections.lock();
        let present = connections.id_of(client_id);
        present.is_some_and(|present| present.value.as_ref() == connection)
    }

    /// Removes subscriptions that had no consumer for this time.
    pub(super) fn remove_long_offline(self: &Arc<Self>, timeout: Duration) {
        let candidates: Vec<Arc<Subscription>> =
            self.subscriptions.lock().values().map(Arc::clone).collect();
        for subscription in candidates {
            if !subscription.has_been_offline_for(timeout) {
                continue;
            }
            let key = &subscription.key;
            match self.unsubscribe(key) {
                Ok(_) => tracing::info!(
                    client_id = %key.client_id,
                    name = %key.name,
                    "A durable subscription had no consumer for too long and is removed."
                ),
                // Somebody was faster, or the journal takes nothing any more.
                Err(error) => tracing::debug!(%error, "An offline subscription stays."),
            }
        }
    }
}

/// Removes subscriptions that nobody uses any more, until the broker has ended.
pub(super) async fn run(broker: Arc<Broker>) {
    let options = &broker.options().durable;
    let Some(timeout) = options.offline_timeout else {
        return;
    };
    let period = options.offline_check.max(Duration::from_millis(1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = broker.ended() => return,
        }
        let worker = Arc::clone(&broker);
        let job = move || worker.remove_long_offline(timeout);
        broker.background().run(Box::new(job));
    }
}
