//! A connection's consumers: opening, windows, acknowledgements, closing.

use std::sync::Arc;

use openwire::ConsumerId;

use super::{Connection, ConsumerRequest, Entry, Home, PullTimeout};
use crate::broker::consumer::{Acknowledgement, Address, LastDelivered};
use crate::broker::names::Reach;
use crate::broker::subscription::Subscription;
use crate::broker::{Receipt, Refusal, TransactionName};

/// What a new consumer was opened on.
pub(super) struct Opened {
    pub(super) home: Home,
    /// The durable subscription that it is the consumer of.
    pub(super) subscription: Option<Arc<Subscription>>,
    pub(super) receipt: Receipt,
}

impl Opened {
    pub(super) fn on(home: Home) -> Self {
        Opened {
            home,
            subscription: None,
            receipt: Receipt::Done,
        }
    }
}

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
        self.check_consumption(&request.destination)?;
        let reach = self.broker.reach(&request.destination)?;
        let settled = reach.receipt;
        let opened = match self.open(&request, reach.clone()) {
            // It was removed, for nobody used it, just after it was found.
            Err(Refusal::NoSuchDestination(name)) if !name.kind.is_temporary() => {
                self.open(&request, reach)?
            }
            opened => opened?,
        };
        let entry = Entry {
            home: opened.home,
            subscription: opened.subscription,
            tag: request.tag,
            destination: request.destination.clone(),
        };
        self.broker
            .advise_consumer(&entry.destination, &request.announcement);
        self.inner.lock().consumers.insert(request.id, entry);
        Ok(opened.receipt.and(settled))
    }

    fn open(&self, request: &ConsumerRequest, reach: Reach) -> Result<Opened, Refusal> {
        match &request.subscription_name {
            _ if request.destination.kind.is_queue() => {
                let home = self.open_on_queues(request, self.address(request), reach)?;
                Ok(Opened::on(home))
            }
            Some(name) => self.open_on_subscription(request, name, reach),
            None => self.open_on_topics(request, reach),
        }
    }

    pub(super) fn address(&self, request: &ConsumerRequest) -> Address {
        Address {
            id: request.id.clone(),
            tag: request.tag,
            connection: self.id.clone(),
            outbox: Arc::clone(&self.outbox),
        }
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
            Home::Topics(consumer) => self.close_on_topics(consumer),
        }
        if let Some(subscription) = &entry.subscription {
            subscription.went_offline();
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
            Home::Topics(topic_consumer) => {
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
            Home::Topics(topic_consumer) => topic_consumer.set_prefetch(prefetch),
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
            Home::Topics(topic_consumer) => Some(topic_consumer.pull(is_immediate)),
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
                Home::Topics(topic_consumer) => topic_consumer.give_up_pull(number),
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
                Home::Topics(consumer) => consumer.resume(),
            }
        }
    }
}
