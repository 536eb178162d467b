//! A connection's consumers: opening, windows, acknowledgements, closing.

use std::sync::Arc;

use openwire::ConsumerId;

use super::{Connection, ConsumerRequest, Entry, Home, PullTimeout};
use crate::broker::consumer::{Acknowledgement, Address, Consumer, LastDelivered, Terms};
use crate::broker::descriptor::SubscriptionKey;
use crate::broker::destination::Target;
use crate::broker::names::Reach;
use crate::broker::selector::Selector;
use crate::broker::topic::TopicConsumer;
use crate::broker::{Receipt, Refusal, TransactionName};

impl Connection {
    /// Opens a consumer. A known one is left as it is.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn add_consumer(&self, request: ConsumerRequest) -> Result<Receipt, Refusal> {
        {
            let inner = self.inner.lock();
            if inner.is_closed {
                return Err(Refusal::Closing);
            }
            if inner.consumers.contains_key(&request.id) {
                return Ok(Receipt::Done);
            }
        }
        let reach = self.broker.reach(&request.destination)?;
        let (home, receipt) = match self.open(&request, reach.clone()) {
            // It was removed, for nobody used it, just after it was found.
            Err(Refusal::NoSuchDestination(name)) if !name.kind.is_temporary() => {
                self.open(&request, reach.clone())?
            }
            opened => opened?,
        };
        if let Home::Topics(consumer, _) = &home {
            self.broker.replay_advisories(&reach, consumer);
        }
        let entry = Entry {
            home,
            tag: request.tag,
            destination: request.destination.clone(),
        };
        self.broker
            .advise_consumer(&entry.destination, &request.announcement);
        self.inner.lock().consumers.insert(request.id, entry);
        Ok(receipt.and(reach.receipt))
    }

    fn open(&self, request: &ConsumerRequest, reach: Reach) -> Result<(Home, Receipt), Refusal> {
        let address = Address {
            id: request.id.clone(),
            tag: request.tag,
            connection: self.id.clone(),
            outbox: Arc::clone(&self.outbox),
        };
        if request.destination.kind.is_queue() {
            let home = self.open_on_queues(request, address, reach)?;
            return Ok((home, Receipt::Done));
        }
        if let Some(selector) = Selector::of(request.selector.as_ref())? {
            return Err(Refusal::SelectorUnsupported {
                selector: selector.text().into(),
            });
        }
        if !reach.patterns.is_empty() {
            return Err(Refusal::UnsupportedName {
                destination: request.destination.clone(),
                what: "wildcards of topic consumers",
            });
        }
        let destinations = &reach.names[..];
        let prefetch = self.prefetch(request.prefetch);
        if let Some(name) = &request.subscription_name {
            let key = SubscriptionKey {
                client_id: self.client_id.clone(),
                name: name.detached(),
            };
            let [topic] = destinations else {
                let destination = request.destination.clone();
                let what = "composite destinations of durable subscriptions";
                return Err(Refusal::UnsupportedName { destination, what });
            };
            let (queue, receipt) = self.broker.subscribe(&key, topic, None, request.no_local)?;
            let consumer = Consumer::new(address, Terms::plain(prefetch), queue.window(prefetch));
            queue.add_consumer(&self.broker, consumer)?;
            return Ok((Home::Queue(queue), receipt));
        }
        let mut targets = Vec::new();
        for destination in destinations {
            let target = self.broker.target(destination)?;
            if target.owner().is_some_and(|owner| *owner != self.id) {
                return Err(Refusal::ForeignTemporary(destination.clone()));
            }
            targets.push(target);
        }
        Ok((
            self.open_on_topics(request, address, prefetch, targets),
            Receipt::Done,
        ))
    }

    fn open_on_topics(
        &self,
        request: &ConsumerRequest,
        address: Address,
        prefetch: usize,
        targets: Vec<Target>,
    ) -> Home {
        let limit = request
            .pending_limit
            .or(self.broker.options().pending_message_limit);
        let memory = Arc::clone(self.broker.memory());
        let limit = limit.unwrap_or(usize::MAX);
        let consumer = TopicConsumer::new(
            address,
            prefetch,
            request.no_local,
            limit,
            memory,
            Arc::clone(&self.broker.expired),
        );
        let mut topics = Vec::new();
        for target in targets {
            if let Target::Topic(topic) = target {
                topic.add_consumer(&consumer);
                topics.push(topic);
            }
        }
        Home::Topics(consumer, topics)
    }

    pub(super) fn prefetch(&self, wanted: u32) -> usize {
        wanted.min(self.broker.options().prefetch_max) as usize
    }

    /// Closes a consumer.
    pub fn remove_consumer(&self, id: &ConsumerId, last_delivered: LastDelivered) {
        let entry = self.inner.lock().consumers.remove(id);
        if let Some(entry) = entry {
            self.close_consumer(id, entry, last_delivered, None);
        }
    }

    pub(super) fn close_consumer(
        &self,
        id: &ConsumerId,
        entry: Entry,
        last_delivered: LastDelivered,
        unsent_from: Option<u64>,
    ) {
        match &entry.home {
            Home::Queue(queue) => {
                queue.remove_consumer(&self.broker, id, last_delivered, unsent_from);
            }
            Home::Queues(wide) => {
                self.broker.unwatch(id);
                wide.close(&self.broker, last_delivered, unsent_from);
            }
            Home::Browser(trail) => {
                trail.close();
                for queue in &trail.queues {
                    queue.remove_consumer(&self.broker, id, last_delivered, unsent_from);
                }
            }
            Home::Topics(_, topics) => {
                for topic in topics {
                    topic.remove_consumer(id);
                }
            }
        }
        let removal = openwire::RemoveInfo::of(id.clone()).into();
        self.broker.advise_consumer(&entry.destination, &removal);
    }

    fn home(&self, id: &ConsumerId) -> Result<Home, Refusal> {
        let mut inner = self.inner.lock();
        inner.has_moved_on = true;
        let entry = inner.consumers.get(id);
        entry
            .map(|entry| entry.home.clone())
            .ok_or_else(|| Refusal::NoSuchConsumer(id.clone()))
    }

    /// Acknowledges messages, in a transaction if one is named. A failure makes that one fail
    /// at its commit.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn acknowledge(
        &self,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
        transaction: Option<TransactionName>,
    ) -> Result<Receipt, Refusal> {
        let home = self.home(consumer);
        if let Some(name) = transaction {
            return self.acknowledge_in(&name, home, consumer, acknowledgement);
        }
        match home? {
            Home::Queue(queue) => {
                let lsn = queue.acknowledge(&self.broker, consumer, acknowledgement)?;
                Ok(lsn.into())
            }
            Home::Queues(wide) => self.acknowledge_wide(&wide, acknowledgement),
            Home::Browser(trail) => {
                self.acknowledge_seen(&trail, consumer, acknowledgement);
                Ok(Receipt::Done)
            }
            Home::Topics(topic_consumer, _) => {
                topic_consumer.acknowledge(acknowledgement);
                Ok(Receipt::Done)
            }
        }
    }

    /// Changes the prefetch of a consumer.
    ///
    /// # Errors
    /// When there is no such consumer.
    pub fn set_prefetch(&self, consumer: &ConsumerId, prefetch: u32) -> Result<(), Refusal> {
        let prefetch = self.prefetch(prefetch);
        match self.home(consumer)? {
            Home::Queue(queue) => queue.set_prefetch(&self.broker, consumer, prefetch),
            Home::Queues(wide) => wide.set_prefetch(&self.broker, prefetch),
            Home::Browser(trail) => {
                for queue in &trail.queues {
                    queue.set_prefetch(&self.broker, consumer, prefetch);
                }
            }
            Home::Topics(topic_consumer, _) => topic_consumer.set_prefetch(prefetch),
        }
        Ok(())
    }

    /// Asks for one message for a consumer.
    ///
    /// # Errors
    /// When there is no such consumer.
    pub fn pull(&self, consumer: &ConsumerId, timeout: PullTimeout) -> Result<(), Refusal> {
        let home = self.home(consumer)?;
        let is_immediate = timeout == PullTimeout::Immediate;
        let number = match &home {
            Home::Queue(queue) => queue.pull(&self.broker, consumer, is_immediate),
            Home::Queues(wide) => Some(wide.pull(&self.broker, is_immediate)),
            Home::Browser(trail) => {
                for queue in &trail.queues {
                    let _ = queue.pull(&self.broker, consumer, is_immediate);
                }
                None
            }
            Home::Topics(topic_consumer, _) => Some(topic_consumer.pull(is_immediate)),
        };
        let (PullTimeout::After(time), Some(number)) = (timeout, number) else {
            return Ok(());
        };
        let consumer = consumer.clone();
        self.broker.runtime().spawn(async move {
            tokio::time::sleep(time).await;
            match home {
                Home::Queue(queue) => queue.give_up_pull(&consumer, number),
                Home::Queues(wide) => wide.give_up_pull(number),
                // Its end is told without that.
                Home::Browser(_) => {}
                Home::Topics(topic_consumer, _) => topic_consumer.give_up_pull(number),
            }
        });
        Ok(())
    }

    /// Offers messages to all consumers again, after the outbox was full.
    pub fn resume(&self) {
        let homes: Vec<Home> = self
            .inner
            .lock()
            .consumers
            .values()
            .map(|entry| entry.home.clone())
            .collect();
        for home in homes {
            match home {
                Home::Queue(queue) => queue.dispatch(&self.broker),
                Home::Queues(wide) => wide.dispatch(&self.broker),
                Home::Browser(trail) => {
                    for queue in &trail.queues {
                        queue.dispatch(&self.broker);
                    }
                }
                Home::Topics(consumer, _) => consumer.resume(),
            }
        }
    }
}
