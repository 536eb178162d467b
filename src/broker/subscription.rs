//! Durable subscriptions by client id and name. Selectors of subscriptions have their place here.

use std::sync::Arc;

use openwire::{Destination, WireString};

use super::descriptor::{Descriptor, SubscriptionKey};
use super::queue::Queue;
use super::{Broker, Receipt, Refusal};

impl Broker {
    /// The subscription with this key, made if there is none. One that was made with another
    /// topic or selector is replaced, and loses what is pending.
    pub(super) fn subscribe(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        topic: &Destination,
        selector: Option<WireString>,
        no_local: bool,
    ) -> Result<(Arc<Queue>, Receipt), Refusal> {
        let wanted = Descriptor::Subscription {
            key: key.clone(),
            topic: topic.clone(),
            selector,
            no_local,
        };
        let mut subscriptions = self.subscriptions.lock();
        if let Some(present) = subscriptions.get(key) {
            if present.subscription() == Some(&wanted) {
                return Ok((Arc::clone(present), Receipt::Done));
            }
            let present = Arc::clone(present);
            self.drop_subscription(key, &present)?;
            subscriptions.remove(key);
        }
        let topic = self.topic_named(topic)?;
        let policy = Arc::clone(topic.policy());
        let queue = Queue::new(topic.name().clone(), Some(wanted), None, None, policy, None);
        queue.backlog(self)?;
        topic.add_subscription(&queue);
        subscriptions.insert(key.clone(), Arc::clone(&queue));
        Ok((queue, Receipt::At(self.store().appended())))
    }

    /// Ends a subscription that has no active consumer.
    pub(super) fn unsubscribe(self: &Arc<Self>, key: &SubscriptionKey) -> Result<Receipt, Refusal> {
        let mut subscriptions = self.subscriptions.lock();
        let Some(queue) = subscriptions.get(key).map(Arc::clone) else {
            return Err(Refusal::NoSuchSubscription {
                client_id: key.client_id.clone(),
                name: key.name.clone(),
            });
        };
        self.drop_subscription(key, &queue)?;
        subscriptions.remove(key);
        Ok(Receipt::At(self.store().appended()))
    }

    fn drop_subscription(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        queue: &Arc<Queue>,
    ) -> Result<(), Refusal> {
        if queue.consumer_count() > 0 {
            return Err(Refusal::SubscriptionInUse {
                client_id: key.client_id.clone(),
                name: key.name.clone(),
            });
        }
        self.topic_named(queue.name())?.remove_subscription(queue);
        let backlog = queue.backlog(self)?;
        self.store().remove_backlog(&backlog)?;
        queue.delete();
        Ok(())
    }
}
