//! The domain on a real journal, without sockets: connections whose outboxes the tests read.

mod advisories;
mod crashes;
mod dead_letters;
mod delivery;
mod destinations;
mod flow;
mod groups;
mod lifecycle;
mod lifetime;
mod order;
mod redelivery;
mod schedules;
mod security;
mod selectors;
mod slow;
mod statistics;
mod subscriptions;
mod topics;
mod transactions;
mod wide;
mod xa;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use openwire::{
    AckKind, Command, ConnectionId, ConsumerId, Destination, MessageId, Version, encode_message,
};
use storage::Store;
use storage::disk::{Disk, RealDisk};
use storage::journal::JournalOptions;
use storage::testing::{self, wait_for};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::security::Credentials;
use super::*;

/// A broker on a temporary directory, or on any disk.
struct Fixture {
    disk: Arc<dyn Disk>,
    journal: JournalOptions,
    /// That of a real disk: it goes with the fixture.
    #[allow(dead_code, reason = "it is here to be dropped last")]
    directory: Option<TempDir>,
    runtime: Runtime,
    store: Arc<Store>,
    broker: Arc<Broker>,
    options: BrokerOptions,
    epoch: u64,
}

const JOURNAL: JournalOptions = JournalOptions {
    segment_bytes: 64 << 20,
    checkpoint_bytes: 64 << 20,
    ..testing::OPTIONS
};

impl Fixture {
    fn new() -> Self {
        Self::with(BrokerOptions::default())
    }

    fn with(options: BrokerOptions) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = Arc::new(RealDisk::open(directory.path()).expect("a directory"));
        let mut fixture = Self::on(disk, 1, JOURNAL, options);
        fixture.directory = Some(directory);
        fixture
    }

    /// A broker in a tenure of its own on a disk.
    fn on(
        disk: Arc<dyn Disk>,
        epoch: u64,
        journal: JournalOptions,
        options: BrokerOptions,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let store = testing::begin_with(Arc::clone(&disk), epoch, journal).store;
        let handle = runtime.handle().clone();
        let broker = Broker::start(Arc::clone(&store), options.clone(), handle);
        Fixture {
            disk,
            journal,
            directory: None,
            runtime,
            store,
            broker,
            options,
            epoch,
        }
    }

    /// Ends the tenure and begins the next one on the same journal.
    fn take_over(&mut self) {
        self.end();
        self.epoch += 1;
        self.store = testing::begin_with(Arc::clone(&self.disk), self.epoch, self.journal).store;
        let handle = self.runtime.handle().clone();
        self.broker = Broker::start(Arc::clone(&self.store), self.options.clone(), handle);
    }

    fn connect(&self, name: &str) -> Peer {
        self.connect_as(name, false)
    }

    fn connect_as(&self, name: &str, is_reconnect: bool) -> Peer {
        self.try_connect(name, is_reconnect, Credentials::default())
            .expect("a free client id")
    }

    fn try_connect(
        &self,
        name: &str,
        is_reconnect: bool,
        credentials: Credentials,
    ) -> Result<Peer, Refusal> {
        let request = ConnectRequest {
            id: ConnectionId::new(name),
            client_id: name.into(),
            is_reconnect,
            credentials,
            announcement: Command::Null,
        };
        let connection = self.runtime.block_on(self.broker.connect(request))?;
        Ok(Peer {
            broker: Arc::clone(&self.broker),
            connection,
            sequence: 0,
            got: VecDeque::new(),
        })
    }

    fn status(&self, name: &str) -> DestinationStatus {
        let all = self.broker.status().destinations;
        let names: Vec<_> = all.iter().map(|one| one.name.clone()).collect();
        all.into_iter()
            .find(|one| one.name == name)
            .unwrap_or_else(|| panic!("no destination {name} in {names:?}"))
    }
}

impl Fixture {
    fn end(&self) {
        self.broker.abandon();
        self.store.shut_down();
        // Nobody has to keep its gate open any more.
        self.store.abandon();
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection, and what arrived in its outbox.
struct Peer {
    broker: Arc<Broker>,
    connection: Arc<Connection>,
    sequence: i64,
    got: VecDeque<Delivery>,
}

impl Peer {
    fn consumer(&self, number: i64) -> ConsumerId {
        self.connection.id().session(1).consumer(number)
    }

    fn request(&self, number: i64, destination: &Destination) -> ConsumerRequest {
        ConsumerRequest {
            id: self.consumer(number),
            tag: ConsumerTag(u32::try_from(number).expect("a small number")),
            destination: destination.clone(),
            prefetch: 100,
            selector: None,
            no_local: false,
            is_browser: false,
            is_exclusive: false,
            priority: 0,
            subscription_name: None,
            is_retroactive: false,
            pending_limit: None,
            announcement: Command::Null,
        }
    }

    fn consume(&self, number: i64, destination: &Destination, prefetch: u32) {
        let request = ConsumerRequest {
            prefetch,
            ..self.request(number, destination)
        };
        self.settle(self.connection.add_consumer(request).expect("a consumer"));
    }

    /// Waits until what the receipt stands for is certain.
    fn settle(&self, receipt: Receipt) {
        if let Receipt::At(lsn) = receipt {
            wait_for("the journal", || self.broker.released() >= lsn);
        }
    }

    fn message(&mut self, destination: &Destination, text: &str) -> openwire::Message {
        self.sequence += 1;
        let producer = self.connection.id().session(1).producer(1);
        let mut message = openwire::Message::from_text(text).expect("a text");
        message.message_id = Some(producer.message(self.sequence));
        message.producer_id = Some(producer);
        message.destination = Some(destination.clone());
        message.persistent = true;
        message.priority = 4;
        message
    }

    fn try_send(
        &self,
        message: &openwire::Message,
        transaction: Option<i64>,
    ) -> Result<Receipt, Refusal> {
        self.try_send_in(message, transaction.map(TransactionName::Local))
    }

    fn try_send_in(
        &self,
        message: &openwire::Message,
        transaction: Option<TransactionName>,
    ) -> Result<Receipt, Refusal> {
        let mut frame = BytesMut::new();
        encode_message(message, Version::LATEST, &mut frame).expect("a message");
        let frame = frame.freeze();
        let message = self
            .connection
            .receive(&frame, Version::LATEST, message)
            .expect("a message");
        self.connection
            .send(&Arc::new(message), transaction.as_ref())
    }

    fn send_message(&self, message: &openwire::Message) {
        self.settle(self.try_send(message, None).expect("an accepted message"));
    }

    fn send(&mut self, destination: &Destination, text: &str) {
        let message = self.message(destination, text);
        self.send_message(&message);
    }

    fn send_all(&mut self, destination: &Destination, texts: &[&str]) {
        for text in texts {
            self.send(destination, text);
        }
    }

    fn send_in(&mut self, transaction: i64, destination: &Destination, text: &str) {
        let message = self.message(destination, text);
        self.settle(
            self.try_send(&message, Some(transaction))
                .expect("an accepted message"),
        );
    }

    /// Takes in what is in the outbox now.
    fn look(&mut self) {
        while self.connection.outbox().take(usize::MAX, &mut self.got)
            || self.connection.outbox().take(usize::MAX, &mut self.got)
        {
            self.connection.resume();
        }
    }

    /// The next delivery to a consumer.
    fn next(&mut self, number: u32) -> Delivery {
        let mut found = None;
        wait_for("a delivery", || {
            self.look();
            let at = self
                .got
                .iter()
                .position(|one| one.consumer == ConsumerTag(number));
            found = at.and_then(|at| self.got.remove(at));
            found.is_some()
        });
        found.expect("it was just found")
    }

    /// Texts and redelivery counts of the next deliveries to a consumer.
    fn texts(&mut self, number: u32, count: usize) -> Vec<(String, u32)> {
        (0..count)
            .map(|_| {
                let delivery = self.next(number);
                (text_of(&delivery), delivery.redeliveries)
            })
            .collect()
    }

    /// Nothing more arrives after whatever is on its way.
    fn expect_nothing(&mut self, number: u32) {
        std::thread::sleep(Duration::from_millis(30));
        self.look();
        let more: Vec<String> = self
            .got
            .iter()
            .filter(|d| d.consumer == ConsumerTag(number))
            .map(text_of)
            .collect();
        assert!(more.is_empty(), "{more:?}");
    }

    fn acknowledgement(kind: AckKind, last: &MessageId, count: usize) -> Acknowledgement {
        Acknowledgement {
            kind,
            first: None,
            last: Some(last.clone()),
            count,
            cause: None,
        }
    }

    /// Acknowledges one message.
    fn acknowledge(&self, number: i64, delivery: &Delivery) {
        let last = id_of(delivery);
        let one = Self::acknowledgement(AckKind::Individual, &last, 1);
        let receipt = self
            .connection
            .acknowledge(&self.consumer(number), &one, None)
            .expect("outstanding");
        self.settle(receipt);
    }

    fn acknowledge_in(&self, transaction: i64, number: i64, delivery: &Delivery) {
        let one = Self::acknowledgement(AckKind::Standard, &id_of(delivery), 1);
        let result =
            self.connection
                .acknowledge(&self.consumer(number), &one, Some(transaction.into()));
        self.settle(result.expect("outstanding"));
    }
}

fn id_of(delivery: &Delivery) -> MessageId {
    delivery.message.as_ref().expect("a message").id().clone()
}

fn text_of(delivery: &Delivery) -> String {
    let Some(message) = &delivery.message else {
        return "nothing".to_owned();
    };
    let message = message.stored().decode().expect("a message");
    message
        .text()
        .ok()
        .flatten()
        .map_or("no text".to_owned(), |text| text.to_string())
}

fn fresh(texts: &[&str]) -> Vec<(String, u32)> {
    texts.iter().map(|text| ((*text).to_owned(), 0)).collect()
}

fn flagged(texts: &[&str]) -> Vec<(String, u32)> {
    texts.iter().map(|text| ((*text).to_owned(), 1)).collect()
}

fn queue() -> Destination {
    Destination::queue("Q")
}

fn topic() -> Destination {
    Destination::topic("T")
}
