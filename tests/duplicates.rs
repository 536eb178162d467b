//! Many producers whose brokers are killed while they send: every message that a producer was told of
//! arrives, none arrives twice, and each producer's come in order.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use failover::{AckMode, Connection, Destination, Message};
use support::{Broker, PATIENCE, TENURE, eventually, free_address};
use tempfile::TempDir;

/// As many connections are opened at a time; all at once would overrun the listener's queue.
const OPENED_AT_ONCE: usize = 50;

/// Two brokers with fixed addresses that replace each other.
struct Two {
    brokers: [Broker; 2],
    addresses: [String; 2],
    // Last: the brokers end before their directory goes.
    place: TempDir,
}

impl Two {
    fn start() -> Two {
        let place = tempfile::tempdir().expect("a temporary directory");
        let addresses = [free_address(), free_address()];
        let directory = place.path().join("journal");
        let start = |index: usize| start(index, &directory, &addresses[index]);
        let brokers = [start(0), start(1)];
        let two = Two {
            brokers,
            addresses,
            place,
        };
        two.wait_until_complete();
        two
    }

    fn wait_until_complete(&self) {
        eventually("one active and one standby", || {
            let mut roles = [self.brokers[0].role()?, self.brokers[1].role()?];
            roles.sort();
            (roles == ["active", "standby"]).then_some(())
        });
    }

    fn uri(&self, options: &str) -> String {
        let [first, second] = &self.addresses;
        format!(
            "failover:({first},{second})?initialReconnectDelay=10&maxReconnectDelay=200{options}"
        )
    }

    /// SIGKILL for the active, and a new standby in its place.
    fn kill_active(&mut self) {
        let index = usize::from(self.brokers[1].role().as_deref() == Some("active"));
        self.brokers[index].kill();
        eventually("the other takes over", || {
            (self.brokers[1 - index].role().as_deref() == Some("active")).then_some(())
        });
        let directory = self.place.path().join("journal");
        self.brokers[index] = start(index, &directory, &self.addresses[index]);
        self.wait_until_complete();
    }
}

fn start(index: usize, directory: &Path, listen: &str) -> Broker {
    let name = ["a", "b"][index];
    let addresses = ["--listen", listen, "--http", "127.0.0.1:0"];
    Broker::start_with(name, directory, &[addresses.as_slice(), &TENURE].concat())
}

/// What all producers share.
#[derive(Default)]
struct Load {
    confirmed: AtomicUsize,
    is_over: AtomicBool,
}

/// Sends until it is over, each message after the last one's answer. Answers how many were confirmed,
/// which are all that were sent.
async fn produce(connection: Connection, number: usize, load: Arc<Load>) -> usize {
    let session = connection.session(AckMode::Auto).await.expect("a session");
    let queue = Destination::queue("duplicates");
    let producer = session.producer(&queue).await.expect("a producer");
    let mut sent = 0;
    while !load.is_over.load(Ordering::Relaxed) {
        let message = Message::text(&format!("{number} {sent}")).expect("a text");
        producer.send(message).await.expect("a confirmed send");
        sent += 1;
        load.confirmed.fetch_add(1, Ordering::Relaxed);
    }
    connection.close().await.expect("closed");
    sent
}

async fn open(uri: &str, producers: usize) -> Vec<Connection> {
    let mut connections = Vec::with_capacity(producers);
    while connections.len() < producers {
        let count = OPENED_AT_ONCE.min(producers - connections.len());
        let opening: Vec<_> = (0..count)
            .map(|_| {
                let uri = uri.to_owned();
                tokio::spawn(async move { Connection::connect(&uri).await })
            })
            .collect();
        for one in opening {
            connections.push(one.await.expect("it ends").expect("a connection"));
        }
    }
    connections
}

/// What arrived, counted while it is consumed.
#[derive(Default)]
struct Ledger {
    next: HashMap<usize, usize>,
    arrived: usize,
    duplicates: Vec<String>,
    gaps: Vec<String>,
}

impl Ledger {
    fn note(&mut self, body: &str) {
        let (producer, number) = body.split_once(' ').expect("two numbers");
        let producer = producer.parse().expect("a number");
        let number: usize = number.parse().expect("a number");
        let next = self.next.entry(producer).or_default();
        self.arrived += 1;
        match number.cmp(next) {
            std::cmp::Ordering::Less => self.duplicates.push(body.to_owned()),
            std::cmp::Ordering::Equal => *next += 1,
            std::cmp::Ordering::Greater => {
                self.gaps.push(format!("{body} instead of {next}"));
                *next = number + 1;
            }
        }
    }
}

/// Takes everything out of the queue. The client's own suppression of duplicates is off.
async fn consume(uri: &str, expected: usize) -> Ledger {
    let connection = Connection::connect(uri).await.expect("a connection");
    let session = connection
        .session(AckMode::DupsOk)
        .await
        .expect("a session");
    let queue = Destination::queue("duplicates");
    let consumer = session.consumer(&queue).await.expect("a consumer");
    let mut ledger = Ledger::default();
    loop {
        // What is beyond the expected number would be there already.
        let patience = if ledger.arrived < expected {
            PATIENCE
        } else {
            Duration::from_secs(1)
        };
        let received = consumer.receive(Some(patience)).await.expect("receiving");
        let Some(message) = received else {
            break;
        };
        ledger.note(&message.as_text().expect("readable").expect("a text"));
    }
    connection.close().await.expect("closed");
    ledger
}

/// Kills the active broker `kills` times while `producers` send.
fn kill_while_sending(producers: usize, kills: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut two = Two::start();
    let uri = two.uri("");
    let connections = runtime.block_on(open(&uri, producers));
    let load = Arc::new(Load::default());
    let sending: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(number, connection)| runtime.spawn(produce(connection, number, Arc::clone(&load))))
        .collect();
    let begun = Instant::now();
    for round in 0..kills {
        let from = load.confirmed.load(Ordering::Relaxed);
        // Every producer is in the middle of something, and has had an answer since the last kill.
        eventually(&format!("the load of round {round}"), || {
            (load.confirmed.load(Ordering::Relaxed) >= from + 2 * producers).then_some(())
        });
        two.kill_active();
    }
    let from = load.confirmed.load(Ordering::Relaxed);
    eventually("the load after the last kill", || {
        (load.confirmed.load(Ordering::Relaxed) > from + producers).then_some(())
    });
    load.is_over.store(true, Ordering::Relaxed);
    let sent: Vec<usize> = sending
        .into_iter()
        .map(|one| runtime.block_on(one).expect("a producer without a failure"))
        .collect();
    let took = begun.elapsed();
    let total = sent.iter().sum();
    let uri = two.uri("&jms.checkForDuplicates=false");
    let ledger = runtime.block_on(consume(&uri, total));
    println!(
        "{producers} producers, {kills} kills in {took:.1?}: {total} confirmed, {} arrived, {} twice, {} gaps",
        ledger.arrived,
        ledger.duplicates.len(),
        ledger.gaps.len()
    );
    assert_eq!(ledger.duplicates, Vec::<String>::new(), "twice");
    assert_eq!(ledger.gaps, Vec::<String>::new(), "out of order");
    for (number, count) in sent.into_iter().enumerate() {
        let arrived = ledger.next.get(&number).copied().unwrap_or(0);
        assert_eq!(arrived, count, "of producer {number}");
    }
}

#[test]
fn no_message_of_many_producers_arrives_twice_over_kills() {
    kill_while_sending(50, 3);
}

/// The same in full size: `cargo test --release --test duplicates -- --ignored --nocapture`.
#[test]
#[ignore = "needs a thousand connections to each broker and minutes"]
fn no_message_of_a_thousand_producers_arrives_twice_over_kills() {
    kill_while_sending(1000, 5);
}
