//! A client's connection: all that a protocol can ask of the broker, and what goes when the
//! connection goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openwire::{Command, ConnectionId, ConsumerId, Destination, ProducerId, WireString};
use parking_lot::Mutex;
use storage::store::ProducerSequence;
use tokio::sync::watch;

use super::consumer::{Acknowledgement, Address, LastDelivered};
use super::descriptor::SubscriptionKey;
use super::destination::{Target, parts};
use super::outbox::{ConsumerTag, Outbox};
use super::producer::producer_key;
use super::queue::Queue;
use super::topic::{Topic, TopicConsumer};
use super::transaction::Transaction;
use super::{Broker, Message, Receipt, Refusal};

/// Destinations that a connection remembers, to find them without the broker's map.
const TARGETS_REMEMBERED: usize = 64;

/// What a client says when it connects.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// The connection's id; the same again after a reconnect.
    pub id: ConnectionId,
    /// The client's id, used by one connection at a time.
    pub client_id: WireString,
    /// The client comes back after a loss: what it sends may be a repetition.
    pub is_reconnect: bool,
    /// The announcement in its canonical form, for advisories.
    pub announcement: Command,
}

/// What a client says of a new consumer.
#[derive(Clone, Debug)]
pub struct ConsumerRequest {
    /// Its id.
    pub id: ConsumerId,
    /// The connection's own number for it, on all deliveries.
    pub tag: ConsumerTag,
    /// Where it consumes from.
    pub destination: Destination,
    /// Messages that may be outstanding; 0 = each is asked for.
    pub prefetch: u32,
    /// Which messages it wants.
    pub selector: Option<WireString>,
    /// It does not want what its own connection publishes.
    pub no_local: bool,
    /// It only looks.
    pub is_browser: bool,
    /// It is the consumer of the durable subscription with this name.
    pub subscription_name: Option<WireString>,
    /// How many messages may wait beyond its prefetch, for topics.
    pub pending_limit: Option<usize>,
    /// The announcement in its canonical form, for advisories.
    pub announcement: Command,
}

/// What happens when a pull finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullTimeout {
    /// The client is told at once.
    Immediate,
    /// The client is told after this time.
    After(Duration),
    /// It waits until there is something.
    Never,
}

/// A client's connection.
pub struct Connection {
    broker: Arc<Broker>,
    id: ConnectionId,
    client_id: WireString,
    is_reconnect: bool,
    announcement: Command,
    outbox: Arc<Outbox>,
    inner: Mutex<Inner>,
    is_replaced: watch::Sender<bool>,
    has_ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    consumers: HashMap<ConsumerId, Entry>,
    producers: HashMap<ProducerId, Producer>,
    transactions: HashMap<i64, Transaction>,
    temporaries: Vec<Destination>,
    targets: HashMap<Destination, Target>,
    is_closed: bool,
}

struct Entry {
    home: Home,
    tag: ConsumerTag,
    destinations: Vec<Destination>,
}

#[derive(Clone)]
enum Home {
    Queue(Arc<Queue>),
    Topics(Arc<TopicConsumer>, Vec<Arc<Topic>>),
}

struct Producer {
    key: Bytes,
    destination: Option<Destination>,
}

impl Connection {
    pub(super) fn new(broker: Arc<Broker>, request: &ConnectRequest) -> Arc<Self> {
        let outbox = Outbox::new(broker.options().outbox_bytes);
        Arc::new(Connection {
            broker,
            id: request.id.clone(),
            client_id: request.client_id.clone(),
            is_reconnect: request.is_reconnect,
            announcement: request.announcement.clone(),
            outbox,
            inner: Mutex::default(),
            is_replaced: watch::Sender::new(false),
            has_ended: watch::Sender::new(false),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ConnectionId {
        &self.id
    }

    /// Its client's id.
    #[must_use]
    pub fn client_id(&self) -> &WireString {
        &self.client_id
    }

    /// What waits to be written to its socket.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    pub(super) fn announcement(&self) -> &Command {
        &self.announcement
    }

    /// Asks the connection's task to end, because the client is back on another socket, and waits
    /// until it has.
    pub(super) async fn replace(&self) {
        self.is_replaced.send_replace(true);
        // An error means that it is gone, which is an end too.
        let _ = self.has_ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Turns true when the client has come back on another socket: this one is to be closed.
    #[must_use]
    pub fn watch_replaced(&self) -> watch::Receiver<bool> {
        self.is_replaced.subscribe()
    }

    /// Opens a producer. A known one is left as it is.
    ///
    /// # Errors
    /// When its destination cannot be used.
    pub fn add_producer(
        &self,
        id: &ProducerId,
        destination: Option<&Destination>,
        announcement: &Command,
    ) -> Result<(), Refusal> {
        if self.inner.lock().producers.contains_key(id) {
            return Ok(());
        }
        if let Some(destination) = destination {
            let target = self.broker.target(destination)?;
            target.counters().producers.fetch_add(1, Ordering::Relaxed);
            self.broker.advise_producer(destination, announcement);
        }
        let producer = Producer {
            key: producer_key(id),
            destination: destination.map(Destination::detached),
        };
        self.inner.lock().producers.insert(id.detached(), producer);
        Ok(())
    }

    /// Closes a producer. Its client will not repeat anything: the journal may forget it.
    pub fn remove_producer(&self, id: &ProducerId) {
        let Some(producer) = self.inner.lock().producers.remove(id) else {
            return;
        };
        if self
            .broker
            .store()
            .producer_sequence(&producer.key)
            .is_some()
        {
            self.broker.forgotten.push(producer.key.clone());
        }
        self.producer_gone(id, &producer);
    }

    fn producer_gone(&self, id: &ProducerId, producer: &Producer) {
        let Some(destination) = &producer.destination else {
            return;
        };
        if let Ok(target) = self.broker.target(destination) {
            target.counters().producers.fetch_sub(1, Ordering::Relaxed);
        }
        let removal = openwire::RemoveInfo::of(id.clone()).into();
        self.broker.advise_producer(destination, &removal);
    }

    pub(super) fn producer_keys(&self) -> Vec<Bytes> {
        self.inner
            .lock()
            .producers
            .values()
            .map(|producer| producer.key.clone())
            .collect()
    }

    /// Takes a message as it came in a frame of this version, already decoded. The bytes are copied
    /// out of the frame.
    ///
    /// # Errors
    /// When it lacks an id or a destination.
    pub fn receive(
        &self,
        frame: &Bytes,
        version: openwire::Version,
        decoded: &openwire::Message,
    ) -> Result<Message, super::MessageError> {
        Message::received(frame, version, decoded, self.broker.memory())
    }

    /// Sends a message, in a transaction if its number is given. A failure makes that one fail at
    /// its commit.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn send(&self, message: Message, transaction: Option<i64>) -> Result<Receipt, Refusal> {
        let message = Arc::new(message);
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if inner.is_closed {
            return Err(Refusal::Closing);
        }
        let target = self.target(inner, message.destination());
        let Some(number) = transaction else {
            return self.publish(inner, &target?, &message);
        };
        let transaction = inner
            .transactions
            .get_mut(&number)
            .ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))?;
        target
            .and_then(|target| transaction.send(&self.broker, &target, message))
            .inspect_err(|refusal| transaction.fail(refusal))?;
        Ok(Receipt::Done)
    }

    fn publish(
        &self,
        inner: &Inner,
        target: &Target,
        message: &Arc<Message>,
    ) -> Result<Receipt, Refusal> {
        let Some(producer) = message.producer() else {
            return self.broker.publish(target, message, None);
        };
        let made;
        let key = match inner.producers.get(producer) {
            Some(producer) => &producer.key,
            None => {
                made = producer_key(producer);
                &made
            }
        };
        let sequence = u64::try_from(message.id().producer_sequence_id).ok();
        let producer = sequence.map(|sequence| ProducerSequence {
            producer: key,
            sequence,
            suppress_duplicate: self.is_reconnect,
        });
        self.broker.publish(target, message, producer)
    }

    /// What a destination stands for, remembered for the next message.
    fn target(&self, inner: &mut Inner, destination: &Destination) -> Result<Target, Refusal> {
        if let Some(target) = inner.targets.get(destination)
            && !(destination.kind.is_temporary() && target.is_deleted())
        {
            return Ok(target.clone());
        }
        let target = self.broker.target(destination)?;
        if inner.targets.len() >= TARGETS_REMEMBERED {
            inner.targets.clear();
        }
        inner.targets.insert(destination.clone(), target.clone());
        Ok(target)
    }

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
        if let Some(selector) = request.selector.as_ref().filter(|text| !text.is_empty()) {
            return Err(Refusal::SelectorUnsupported {
                selector: selector.clone(),
            });
        }
        let destinations = parts(&request.destination)?;
        let (home, receipt) = self.open(&request, &destinations)?;
        let entry = Entry {
            home,
            tag: request.tag,
            destinations,
        };
        for destination in &entry.destinations {
            self.broker
                .advise_consumer(destination, &request.announcement);
        }
        self.inner.lock().consumers.insert(request.id, entry);
        Ok(receipt)
    }

    fn open(
        &self,
        request: &ConsumerRequest,
        destinations: &[Destination],
    ) -> Result<(Home, Receipt), Refusal> {
        let address = Address {
            id: request.id.clone(),
            tag: request.tag,
            connection: self.id.clone(),
            outbox: Arc::clone(&self.outbox),
        };
        let prefetch = self.prefetch(request.prefetch);
        if let Some(name) = &request.subscription_name
            && !request.destination.kind.is_queue()
        {
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
            queue.add_consumer(&self.broker, address, prefetch)?;
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
        if let [Target::Queue(queue)] = &targets[..] {
            if request.is_browser {
                queue.add_browser(&self.broker, address, prefetch)?;
            } else {
                queue.add_consumer(&self.broker, address, prefetch)?;
            }
            return Ok((Home::Queue(Arc::clone(queue)), Receipt::Done));
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
        let consumer = TopicConsumer::new(address, prefetch, request.no_local, limit, memory);
        let mut topics = Vec::new();
        for target in targets {
            if let Target::Topic(topic) = target {
                topic.add_consumer(&consumer);
                self.broker.replay_advisories(&topic, &consumer);
                topics.push(topic);
            }
        }
        Home::Topics(consumer, topics)
    }

    fn prefetch(&self, wanted: u32) -> usize {
        wanted.min(self.broker.options().prefetch_max) as usize
    }

    /// Closes a consumer.
    pub fn remove_consumer(&self, id: &ConsumerId, last_delivered: LastDelivered) {
        let entry = self.inner.lock().consumers.remove(id);
        if let Some(entry) = entry {
            self.close_consumer(id, entry, last_delivered, None);
        }
    }

    fn close_consumer(
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
            Home::Topics(_, topics) => {
                for topic in topics {
                    topic.remove_consumer(id);
                }
            }
        }
        let removal = openwire::RemoveInfo::of(id.clone()).into();
        for destination in &entry.destinations {
            self.broker.advise_consumer(destination, &removal);
        }
    }

    fn home(&self, id: &ConsumerId) -> Result<Home, Refusal> {
        let inner = self.inner.lock();
        let entry = inner.consumers.get(id);
        entry
            .map(|entry| entry.home.clone())
            .ok_or_else(|| Refusal::NoSuchConsumer(id.clone()))
    }

    /// Acknowledges messages, in a transaction if its number is given. A failure makes that one fail
    /// at its commit.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn acknowledge(
        &self,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
        transaction: Option<i64>,
    ) -> Result<Receipt, Refusal> {
        let home = self.home(consumer);
        if let Some(number) = transaction {
            return self.acknowledge_in(number, home, consumer, acknowledgement);
        }
        match home? {
            Home::Queue(queue) => {
                let lsn = queue.acknowledge(&self.broker, consumer, acknowledgement)?;
                Ok(lsn.into())
            }
            Home::Topics(topic_consumer, _) => {
                topic_consumer.acknowledge(acknowledgement);
                Ok(Receipt::Done)
            }
        }
    }

    fn acknowledge_in(
        &self,
        number: i64,
        home: Result<Home, Refusal>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<Receipt, Refusal> {
        let mut inner = self.inner.lock();
        let transaction = inner
            .transactions
            .get_mut(&number)
            .ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))?;
        let result = home.and_then(|home| match home {
            Home::Queue(queue) => {
                transaction.acknowledge(&self.broker, &queue, consumer, acknowledgement)
            }
            Home::Topics(topic_consumer, _) => {
                transaction.acknowledged();
                topic_consumer.acknowledge(acknowledgement);
                Ok(())
            }
        });
        match result {
            Ok(()) => {}
            // The application took a message from its buffer just when the connection was lost: it
            // learns of it from the commit.
            Err(refusal @ (Refusal::NotOutstanding { .. } | Refusal::NoSuchConsumer(_))) => {
                transaction.fail(&refusal);
            }
            Err(refusal) => {
                transaction.fail(&refusal);
                return Err(refusal);
            }
        }
        Ok(Receipt::Done)
    }

    /// Changes the prefetch of a consumer.
    ///
    /// # Errors
    /// When there is no such consumer.
    pub fn set_prefetch(&self, consumer: &ConsumerId, prefetch: u32) -> Result<(), Refusal> {
        let prefetch = self.prefetch(prefetch);
        match self.home(consumer)? {
            Home::Queue(queue) => queue.set_prefetch(&self.broker, consumer, prefetch),
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
                Home::Topics(consumer, _) => consumer.resume(),
            }
        }
    }

    /// Begins a transaction. A known one is left as it is.
    pub fn begin(&self, number: i64) {
        let mut inner = self.inner.lock();
        inner
            .transactions
            .entry(number)
            .or_insert_with(|| Transaction::new(&self.broker, self.transaction_name(number)));
    }

    /// Makes the commit of a transaction fail: one of its parts was lost.
    pub fn fail_transaction(&self, number: i64, cause: &str) {
        if let Some(transaction) = self.inner.lock().transactions.get_mut(&number) {
            transaction.fail(&cause);
        }
    }

    /// Commits a transaction.
    ///
    /// # Errors
    /// When it is unknown, or failed and is rolled back.
    pub fn commit(&self, number: i64) -> Result<Receipt, Refusal> {
        let mut transaction = self.take_transaction(number)?;
        if self.is_reconnect && transaction.is_empty() {
            // Clients begin a transaction with its first message or acknowledgement, and repeat no
            // acknowledgements after a reconnect.
            transaction.fail(&"its acknowledgements were lost with the connection");
        }
        transaction.commit(&self.broker)
    }

    /// Rolls a transaction back.
    ///
    /// # Errors
    /// When it is unknown.
    pub fn roll_back(&self, number: i64) -> Result<(), Refusal> {
        self.take_transaction(number)?.roll_back(&self.broker);
        Ok(())
    }

    fn take_transaction(&self, number: i64) -> Result<Transaction, Refusal> {
        let transaction = self.inner.lock().transactions.remove(&number);
        transaction.ok_or_else(|| Refusal::NoSuchTransaction(self.transaction_name(number)))
    }

    fn transaction_name(&self, number: i64) -> String {
        format!("TX:{}:{number}", self.id)
    }

    /// Makes a temporary destination.
    ///
    /// # Errors
    /// When another connection has one of this name.
    pub fn add_temporary(&self, name: &Destination) -> Result<(), Refusal> {
        if self.broker.add_temporary(name, &self.id)? {
            self.inner.lock().temporaries.push(name.detached());
        }
        Ok(())
    }

    /// Deletes a temporary destination.
    ///
    /// # Errors
    /// When it has consumers, or is another connection's.
    pub fn remove_temporary(&self, name: &Destination) -> Result<(), Refusal> {
        self.broker.remove_temporary(name, &self.id, false)?;
        let mut inner = self.inner.lock();
        inner.temporaries.retain(|other| other != name);
        inner.targets.remove(name);
        Ok(())
    }

    /// Makes a queue or a topic, as its first use would.
    ///
    /// # Errors
    /// When its name cannot be used.
    pub fn add_destination(&self, name: &Destination) -> Result<(), Refusal> {
        self.broker.target(name).map(drop)
    }

    /// Ends a durable subscription of this client.
    ///
    /// # Errors
    /// When it is unknown or in use.
    pub fn unsubscribe(
        &self,
        client_id: Option<&WireString>,
        name: &WireString,
    ) -> Result<Receipt, Refusal> {
        let client_id = client_id.unwrap_or(&self.client_id).detached();
        self.broker.unsubscribe(&SubscriptionKey {
            client_id,
            name: name.detached(),
        })
    }

    /// Ends the connection and all that belongs to it.
    pub fn close(&self, last_delivered: LastDelivered) {
        let inner = {
            let mut inner = self.inner.lock();
            if inner.is_closed {
                return;
            }
            std::mem::replace(
                &mut *inner,
                Inner {
                    is_closed: true,
                    ..Inner::default()
                },
            )
        };
        for (_, transaction) in inner.transactions {
            transaction.roll_back(&self.broker);
        }
        let mut unsent: HashMap<ConsumerTag, u64> = HashMap::new();
        for delivery in self.outbox.drain() {
            unsent.entry(delivery.consumer).or_insert(delivery.sequence);
        }
        for (id, entry) in inner.consumers {
            let unsent_from = unsent.get(&entry.tag).copied();
            self.close_consumer(&id, entry, last_delivered, unsent_from);
        }
        for (id, producer) in &inner.producers {
            self.producer_gone(id, producer);
        }
        for name in &inner.temporaries {
            if let Err(error) = self.broker.remove_temporary(name, &self.id, true) {
                tracing::debug!(%error, "A temporary destination is left.");
            }
        }
        self.broker.disconnected(self);
        self.broker.advise_disconnection(&self.id);
        self.has_ended.send_replace(true);
    }
}
