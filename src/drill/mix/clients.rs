//! The clients of the mix: producers, transacted consumers and bridges of distributed
//! transactions.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use failover::client::{Ending, Schedule, Start, Vote};
use failover::{
    AckMode, ClientError, ClientUri, Connection, ConnectionBuilder, Consumer, ConsumerOptions,
    Destination, Message, Producer, Session, Value, XaSession, Xid,
};
use tokio::sync::watch;

use super::book::{Arrival, Book, Key};
use crate::drill::random::Random;

/// Pause of a producer between two sends.
const SEND_PAUSE: Duration = Duration::from_millis(25);
/// How long a consumer waits for a message before it commits what it has.
const RECEIVE_PATIENCE: Duration = Duration::from_millis(100);
/// Messages in a transaction.
const BATCH: usize = 5;
/// One transaction in so many is rolled back on purpose.
const ROLLBACK_EVERY: u64 = 40;
/// How long a client may take to say goodbye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

const RUN: &str = "drill_run";
const PRODUCER: &str = "drill_producer";
const SEQUENCE: &str = "drill_sequence";
const LANE: &str = "drill_lane";
const DUE: &str = "drill_due";
/// What selectors look at: the parity of the sequence.
pub(super) const PARITY: &str = "drill_parity";

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// How a strand's messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// In the order of their producer.
    Plain,
    /// In three groups for each producer.
    Grouped,
    /// Delivered after up to a second and a half.
    Delayed,
}

/// A producer of a strand.
pub(super) struct MixProducer {
    pub(super) url: String,
    pub(super) run: i64,
    pub(super) number: u32,
    pub(super) destination: Destination,
    pub(super) shape: Shape,
    pub(super) book: Arc<Book>,
    pub(super) random: Random,
}

impl MixProducer {
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let connection = Connection::connect(&self.url).await?;
        let session = connection.session(AckMode::Auto).await?;
        let producer = session.producer(&self.destination).await?;
        while !*stop.borrow() {
            let key = self.book.begin_send(self.number);
            producer.send(self.message(key)?).await?;
            self.book.acknowledged(key);
            tokio::time::sleep(SEND_PAUSE).await;
        }
        let _ = tokio::time::timeout(CLOSE_PATIENCE, connection.close()).await;
        Ok(())
    }

    fn message(&mut self, key: Key) -> Result<Message, ClientError> {
        let groups = 3;
        let lane = match self.shape {
            Shape::Plain => Some(self.number),
            Shape::Grouped => {
                Some(self.number * groups + (key.sequence % u64::from(groups)) as u32)
            }
            Shape::Delayed => None,
        };
        let mut message = message(self.run, key, lane)?;
        match (self.shape, lane) {
            (Shape::Grouped, Some(lane)) => {
                let sequence = i32::try_from(key.sequence + 1).unwrap_or(i32::MAX);
                message = message.with_group(&format!("group-{lane}"), sequence);
            }
            (Shape::Delayed, _) => {
                let delay = Duration::from_millis(200 + self.random.below(1300));
                let due = now_ms() + i64::try_from(delay.as_millis()).unwrap_or(0);
                let schedule = Schedule {
                    delay: Some(delay),
                    ..Schedule::default()
                };
                message = message.with_property(DUE, due)?.with_schedule(&schedule)?;
            }
            _ => {}
        }
        Ok(message)
    }
}

fn message(run: i64, key: Key, lane: Option<u32>) -> Result<Message, ClientError> {
    let sequence = i64::try_from(key.sequence).unwrap_or(i64::MAX);
    let mut message = Message::text("mix")?
        .with_property(RUN, run)?
        .with_property(PRODUCER, i64::from(key.producer))?
        .with_property(SEQUENCE, sequence)?
        .with_property(PARITY, sequence % 2)?;
    if let Some(lane) = lane {
        message.set_property(LANE, i64::from(lane))?;
    }
    Ok(message)
}

fn number(message: &Message, name: &str) -> Result<Option<i64>, ClientError> {
    Ok(match message.property(name)? {
        Some(Value::Long(number)) => Some(number),
        _ => None,
    })
}

/// The message's key; None = it is of another run.
fn key_of(message: &Message, run: i64) -> Result<Option<Key>, ClientError> {
    if number(message, RUN)? != Some(run) {
        return Ok(None);
    }
    let producer = number(message, PRODUCER)?.and_then(|it| u32::try_from(it).ok());
    let sequence = number(message, SEQUENCE)?.and_then(|it| u64::try_from(it).ok());
    Ok(producer
        .zip(sequence)
        .map(|(producer, sequence)| Key { producer, sequence }))
}

fn arrival_of(message: &Message, key: Key, is_certain: bool) -> Result<Arrival, ClientError> {
    let due = number(message, DUE)?.unwrap_or(0);
    Ok(Arrival {
        key,
        lane: number(message, LANE)?.and_then(|lane| u32::try_from(lane).ok()),
        is_redelivered: message.is_redelivered(),
        early_ms: u64::try_from(due - now_ms()).unwrap_or(0),
        is_certain,
    })
}

/// A connection whose client does not hide what comes twice: the book is to see it.
async fn connect(url: &str, client_id: Option<&str>) -> Result<Connection, ClientError> {
    let mut uri = ClientUri::parse(url)?;
    uri.jms.connection.check_for_duplicates = false;
    // As for the plain load: a connection that breaks again and again is no reason to put its
    // messages aside.
    uri.jms.redelivery.maximum_redeliveries = None;
    let mut builder = ConnectionBuilder::new(uri);
    if let Some(id) = client_id {
        builder = builder.client_id(id);
    }
    builder.connect().await
}

/// Where a consumer of a strand consumes.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A queue, or a part of it.
    Queue(Destination, Option<String>),
    /// The durable subscription of this name, of the client with the same id.
    Durable(Destination, String),
}

/// A transacted consumer of a strand.
pub(super) struct MixConsumer {
    pub(super) url: String,
    pub(super) run: i64,
    pub(super) source: Source,
    pub(super) channel: usize,
    pub(super) book: Arc<Book>,
    pub(super) random: Random,
}

impl MixConsumer {
    /// Opens the consumer, so that a subscription exists before anything is sent to it.
    pub(super) async fn open(self) -> Result<OpenConsumer, ClientError> {
        let (connection, session, consumer);
        match &self.source {
            Source::Queue(queue, selector) => {
                connection = connect(&self.url, None).await?;
                session = connection.session(AckMode::Transacted).await?;
                let options = ConsumerOptions {
                    selector: selector.clone(),
                    ..ConsumerOptions::default()
                };
                consumer = session.consumer_with(queue, options).await?;
            }
            Source::Durable(topic, name) => {
                connection = connect(&self.url, Some(name)).await?;
                session = connection.session(AckMode::Transacted).await?;
                let options = ConsumerOptions::default();
                consumer = session.durable_subscriber(topic, name, options).await?;
            }
        }
        Ok(OpenConsumer {
            setup: self,
            connection,
            session,
            consumer,
        })
    }
}

/// A [`MixConsumer`] at work.
pub(super) struct OpenConsumer {
    setup: MixConsumer,
    connection: Connection,
    session: Session,
    consumer: Consumer,
}

impl OpenConsumer {
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let mut held: Vec<Key> = Vec::new();
        loop {
            let life = self.connection.interruptions();
            let message = self.consumer.receive(Some(RECEIVE_PATIENCE)).await?;
            let is_over = message.is_none();
            if let Some(message) = message
                && let Some(key) = key_of(&message, self.setup.run)?
            {
                // While the connection breaks, the message may be of the life before.
                let is_certain =
                    self.connection.interruptions() == life && self.connection.remote().is_some();
                let arrival = arrival_of(&message, key, is_certain)?;
                self.setup.book.received(self.setup.channel, arrival);
                held.push(key);
            }
            if held.len() >= BATCH || is_over && !held.is_empty() {
                self.end(&std::mem::take(&mut held)).await?;
            } else if is_over && *stop.borrow() {
                break;
            }
        }
        let _ = tokio::time::timeout(CLOSE_PATIENCE, self.connection.close()).await;
        Ok(())
    }

    async fn end(&mut self, held: &[Key]) -> Result<(), ClientError> {
        if self.setup.random.below(ROLLBACK_EVERY) == 0 {
            return self.session.rollback().await;
        }
        let (book, channel) = (&self.setup.book, self.setup.channel);
        match self.session.commit().await {
            Ok(()) => book.committed(channel, held),
            Err(error) if error.is_rolled_back() || error.is_refused() => {}
            Err(error) => {
                book.in_doubt(channel, held);
                if error.is_final() {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Moves messages from one queue to another in distributed transactions: what it does wrong shows
/// at the other end as lost or doubled.
pub(super) struct Bridge {
    pub(super) url: String,
    pub(super) run: i64,
    pub(super) number: u32,
    pub(super) from: Destination,
    pub(super) to: Destination,
    pub(super) random: Random,
}

impl Bridge {
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let connection = connect(&self.url, None).await?;
        let xa = connection.xa_session().await?;
        let consumer = xa.session().consumer(&self.from).await?;
        let producer = xa.session().producer(&self.to).await?;
        let mut count = 0_u64;
        loop {
            count += 1;
            let xid = self.xid(count);
            xa.start(&xid, Start::New).await?;
            let moved = self.transfer(&consumer, &producer).await?;
            self.finish(&xa, &xid).await?;
            if moved == 0 && *stop.borrow() {
                break;
            }
        }
        let _ = tokio::time::timeout(CLOSE_PATIENCE, connection.close()).await;
        Ok(())
    }

    fn xid(&self, count: u64) -> Xid {
        let global = format!("{:x}-{}-{count}", self.run, self.number);
        Xid::new(0x6261, global.as_bytes(), b"drill").expect("shorter than 64 bytes")
    }

    async fn transfer(
        &self,
        consumer: &Consumer,
        producer: &Producer,
    ) -> Result<usize, ClientError> {
        let mut moved = 0;
        while moved < BATCH {
            let Some(received) = consumer.receive(Some(RECEIVE_PATIENCE)).await? else {
                break;
            };
            if let Some(key) = key_of(&received, self.run)? {
                producer.send(message(self.run, key, None)?).await?;
            }
            moved += 1;
        }
        Ok(moved)
    }

    /// Ends, prepares and commits, as a transaction manager would, whatever fails on the way.
    async fn finish(&mut self, xa: &XaSession, xid: &Xid) -> Result<(), ClientError> {
        let is_wanted = self.random.below(ROLLBACK_EVERY) != 0;
        let prepared = match xa.end(xid, Ending::Success).await {
            Ok(()) => xa.prepare(xid).await,
            Err(error) => Err(error),
        };
        match prepared {
            Ok(Vote::ReadOnly) => return Ok(()),
            Ok(Vote::Commit) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(error) if error.is_in_doubt() => {
                // A manager that has not logged its decision rolls back what it finds prepared.
                return self.roll_back(xa, xid).await;
            }
            Err(_) => return self.roll_back(xa, xid).await,
        }
        // Faults are to strike between the two phases, too.
        tokio::time::sleep(Duration::from_millis(self.random.below(60))).await;
        if !is_wanted {
            return self.roll_back(xa, xid).await;
        }
        loop {
            match xa.commit(xid, false).await {
                Ok(()) => return Ok(()),
                // Prepared and not there any more: the commit before was carried out, and its answer
                // lost.
                Err(error) if error.xa_code() == Some(UNKNOWN) => return Ok(()),
                Err(error) if error.is_final() => return Err(error),
                Err(_) if xa.recover().await?.contains(xid) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn roll_back(&self, xa: &XaSession, xid: &Xid) -> Result<(), ClientError> {
        match xa.rollback(xid).await {
            Err(error) if error.is_refused() => Ok(()),
            outcome => outcome,
        }
    }
}

/// XAER_NOTA: no such transaction.
const UNKNOWN: i32 = -4;
