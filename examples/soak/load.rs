//! What clients do: most messages come and go, and some stay for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use failover::ConsumerOptions;
use failover::{AckMode, ClientError, Connection, Destination, Message, SendOptions};

const PRODUCERS: u64 = 6;
const CONSUMERS: usize = 2;
const SUBSCRIPTIONS: usize = 3;
/// Messages for durable subscribers that never come back.
const EVENTS: usize = 4000;
const DEAD_LETTERS: usize = 2000;
/// What the consumers of the traffic do not want.
const STUCK: &str = "stuck";

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    received: AtomicU64,
}

/// The clients of the pair.
pub(crate) struct Load {
    url: String,
    queues: usize,
    counters: Arc<Counters>,
}

fn queue(number: usize) -> Destination {
    Destination::queue(format!("SOAK.{number}"))
}

/// Not random in any sense but this: all sizes come, in no order that anything could rely on.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn size(state: &mut u64) -> usize {
    match next(state) % 100 {
        0..60 => 100,
        60..90 => 1000,
        90..99 => 16_000,
        _ => 200_000,
    }
}

impl Load {
    /// Puts in what stays: durable subscriptions with messages, and dead letters.
    pub(crate) async fn prepare(url: &str, queues: usize) -> anyhow::Result<Load> {
        let topic = Destination::topic("SOAK.EVENTS");
        for number in 0..SUBSCRIPTIONS {
            let id = format!("away-{number}");
            let connection = Connection::builder(url)?.client_id(&id).connect().await?;
            let session = connection.session(AckMode::Auto).await?;
            let options = ConsumerOptions::default();
            session
                .durable_subscriber(&topic, "events", options)
                .await?;
            connection.close().await?;
        }
        Ok(Load {
            url: url.to_owned(),
            queues,
            counters: Arc::default(),
        })
    }

    /// Starts the clients; they end when `is_over`.
    pub(crate) fn start(&self, megabytes_per_second: f64, is_over: &Arc<AtomicBool>) {
        let each = megabytes_per_second * 1e6 / PRODUCERS as f64;
        for number in 0..PRODUCERS {
            let (url, queues) = (self.url.clone(), self.queues);
            let (counters, is_over) = (Arc::clone(&self.counters), Arc::clone(is_over));
            tokio::spawn(async move {
                report(produce(&url, queues, number, each, &counters, &is_over).await);
            });
        }
        for _ in 0..CONSUMERS {
            let (url, counters) = (self.url.clone(), Arc::clone(&self.counters));
            let is_over = Arc::clone(is_over);
            tokio::spawn(async move {
                report(consume(&url, &counters, &is_over).await);
            });
        }
        let (url, queues) = (self.url.clone(), self.queues);
        tokio::spawn(async move { report(leave_behind(&url, queues).await) });
    }

    pub(crate) fn sent(&self) -> u64 {
        self.counters.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.counters.sent_bytes.load(Ordering::Relaxed)
    }

    /// A soak without traffic shows nothing.
    pub(crate) fn fail_if_stuck(&self) -> anyhow::Result<()> {
        let received = self.counters.received.load(Ordering::Relaxed);
        if self.sent() < 100 || received < 100 {
            bail!(
                "only {} messages were sent and {received} received",
                self.sent()
            );
        }
        println!("{} messages sent, {received} received", self.sent());
        Ok(())
    }
}

fn report(outcome: Result<(), ClientError>) {
    if let Err(error) = outcome {
        eprintln!("a client ended: {error}");
    }
}

async fn produce(
    url: &str,
    queues: usize,
    number: u64,
    bytes_per_second: f64,
    counters: &Counters,
    is_over: &AtomicBool,
) -> Result<(), ClientError> {
    let connection = Connection::connect(url).await?;
    let session = connection.session(AckMode::Auto).await?;
    let producer = session.producer_to_any().await?;
    let mut state = number + 1;
    let (began, mut bytes) = (Instant::now(), 0);
    while !is_over.load(Ordering::Acquire) {
        let size = size(&mut state);
        let target = queue(next(&mut state) as usize % queues);
        let message = Message::bytes(vec![0xA5; size]);
        producer
            .send_to(&target, message, &SendOptions::default())
            .await?;
        bytes += size;
        counters.sent.fetch_add(1, Ordering::Relaxed);
        counters
            .sent_bytes
            .fetch_add(size as u64, Ordering::Relaxed);
        let due = Duration::from_secs_f64(bytes as f64 / bytes_per_second);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
    }
    connection.close().await
}

async fn consume(url: &str, counters: &Counters, is_over: &AtomicBool) -> Result<(), ClientError> {
    let connection = Connection::connect(url).await?;
    let session = connection.session(AckMode::Auto).await?;
    let options = ConsumerOptions {
        selector: Some(format!("{STUCK} IS NULL")),
        ..ConsumerOptions::default()
    };
    let all = Destination::queue("SOAK.>");
    let consumer = session.consumer_with(&all, options).await?;
    while !is_over.load(Ordering::Acquire) {
        if consumer
            .receive(Some(Duration::from_secs(1)))
            .await?
            .is_some()
        {
            counters.received.fetch_add(1, Ordering::Relaxed);
        }
    }
    connection.close().await
}

/// What nobody will take, spread over the beginning so that it lies among the traffic: a message in
/// every queue, events for those who are away, and messages that expire.
async fn leave_behind(url: &str, queues: usize) -> Result<(), ClientError> {
    let connection = Connection::connect(url).await?;
    let session = connection.session(AckMode::Auto).await?;
    let producer = session.producer_to_any().await?;
    let topic = Destination::topic("SOAK.EVENTS");
    let expiring = Destination::queue("EXPIRING");
    let (usual, short) = (
        SendOptions::default(),
        SendOptions {
            time_to_live: Some(Duration::from_millis(200)),
            ..SendOptions::default()
        },
    );
    let mut state = 42;
    for number in 0..queues {
        let mut message = Message::bytes(vec![0x5A; 4 * size(&mut state)]);
        message.set_property(STUCK, true)?;
        producer.send_to(&queue(number), message, &usual).await?;
        for _ in 0..EVENTS / queues {
            let event = Message::bytes(vec![1; 4000]);
            producer.send_to(&topic, event, &usual).await?;
        }
        for _ in 0..DEAD_LETTERS / queues {
            let letter = Message::bytes(vec![2; 4000]);
            producer.send_to(&expiring, letter, &short).await?;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    connection.close().await
}
