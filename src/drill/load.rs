//! The load: producers, transacted consumers and probes over the failover client, as programs of
//! users would be. They tell the [`Witness`] what they saw, and judge nothing.

use std::sync::Arc;
use std::time::Duration;

use failover::{
    AckMode, ClientError, ClientUri, Connection, ConnectionBuilder, Consumer, Message, Producer,
    Session,
};
use openwire::Destination;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::witness::{Answered, Delivery, Sender, Witness};
use super::{DrillArgs, DrillError};

/// Probes: one for each broker, which connects to that broker only.
pub(super) const PROBES: usize = 2;

/// Pause of a probe between the answer to one send and the next send.
const PROBE_PAUSE: Duration = Duration::from_millis(20);
/// Pause after a refused send, where that is no failure.
const REFUSAL_PAUSE: Duration = Duration::from_millis(100);
/// A producer that was held up for less makes up for what it missed, so that a short outage costs
/// every send that was due in it; after a long one it would do nothing else for minutes.
const MAKE_UP_MAX: Duration = Duration::from_secs(1);
/// How long a consumer waits for a message before it commits what it has.
const RECEIVE_PATIENCE: Duration = Duration::from_millis(100);
/// How long a client may take to say goodbye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Clients that run until they are stopped; aborted when dropped.
#[derive(Debug)]
pub(super) struct Crew {
    tasks: Vec<(String, JoinHandle<Result<(), ClientError>>)>,
    stop: watch::Sender<bool>,
}

impl Crew {
    pub(super) fn new() -> Self {
        Self {
            tasks: Vec::new(),
            stop: watch::Sender::new(false),
        }
    }

    /// Turns true when the clients are to finish.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(super) fn spawn(
        &mut self,
        name: String,
        client: impl Future<Output = Result<(), ClientError>> + Send + 'static,
    ) {
        self.tasks.push((name, tokio::spawn(client)));
    }

    /// Asks all to finish what they have begun, and waits for that. Those that cannot within
    /// `patience` are ended; what they had begun stays unanswered. Says what went wrong.
    pub(super) async fn stop(&mut self, patience: Duration) -> Vec<String> {
        self.stop.send_replace(true);
        let deadline = Instant::now() + patience;
        let mut complaints = Vec::new();
        for (name, mut task) in std::mem::take(&mut self.tasks) {
            match tokio::time::timeout_at(deadline, &mut task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => complaints.push(format!("{name} ended: {error}")),
                Ok(Err(error)) => complaints.push(format!("{name} ended: {error}")),
                Err(_) => {
                    task.abort();
                    complaints.push(format!(
                        "{name} did not end within {} s of being asked to",
                        patience.as_secs()
                    ));
                }
            }
        }
        complaints
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (_, task) in &self.tasks {
            task.abort();
        }
    }
}

/// Everything that loads the pair during the rounds.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) producers: Crew,
    pub(super) consumers: Crew,
}

impl Load {
    /// Connects all clients through `url` and lets them run.
    ///
    /// # Errors
    ///
    /// When a client cannot be set up.
    pub(super) async fn start(
        args: &DrillArgs,
        url: &str,
        addresses: &[String; 2],
        witness: &Arc<Witness>,
    ) -> Result<Self, DrillError> {
        let authorities = addresses
            .clone()
            .map(|address| authority(&address).to_owned());
        let work = Work {
            queue: args.queue.clone(),
            consumers: args.consumers,
            first: 0,
            batch: args.batch,
            authorities: authorities.clone(),
        };
        let consumers = start_consumers(url, &work, witness).await?;
        let mut producers = Crew::new();
        let refusals = Refusals {
            are_allowed: args.allow_refusals,
        };
        for number in 0..args.producers {
            let client = SendingClient::open(url, &args.queue)
                .await
                .map_err(load_error("connect a producer", url))?;
            let producer = LoadProducer {
                number: number as u32,
                client,
                authorities: authorities.clone(),
                witness: Arc::clone(witness),
                interval: interval_of(args),
                refusals,
            };
            let stop = producers.stop.subscribe();
            producers.spawn(format!("producer {number}"), producer.run(stop));
        }
        for (broker, address) in addresses.iter().enumerate() {
            let probe = Probe {
                broker,
                number: (args.producers + broker) as u32,
                url: probe_url(address),
                queue: args.queue.clone(),
                witness: Arc::clone(witness),
                refusals,
            };
            let stop = producers.stop.subscribe();
            producers.spawn(format!("the probe of {address}"), probe.run(stop));
        }
        Ok(Self {
            producers,
            consumers,
        })
    }
}

/// The two addresses within a failover: URL, as `tcp://host:port`.
///
/// # Errors
///
/// When the URL is wrong or does not name two brokers.
pub(super) fn addresses_of(url: &str) -> Result<[String; 2], DrillError> {
    let refuse = |reason: String| DrillError::Arguments {
        option: "--url",
        reason,
    };
    let uri = ClientUri::parse(url).map_err(|error| refuse(error.to_string()))?;
    let addresses: Vec<String> = uri
        .failover
        .addresses
        .iter()
        .map(|address| format!("tcp://{}", authority(&address.authority())))
        .collect();
    addresses.try_into().map_err(|found: Vec<String>| {
        refuse(format!("names {} addresses; a pair has two", found.len()))
    })
}

/// Tries its only broker every few milliseconds, so that the first moment at which that broker
/// serves is seen.
fn probe_url(address: &str) -> String {
    format!(
        "failover:({address})?initialReconnectDelay=10&useExponentialBackOff=false\
         &warnAfterReconnectAttempts=0&updateURIsSupported=false&reconnectSupported=false"
    )
}

fn authority(address: &str) -> &str {
    address
        .split_once("://")
        .map_or(address, |(_, authority)| authority)
}

/// Which broker a connection leads to now.
fn broker_of(connection: &Connection, authorities: &[String; 2]) -> Option<usize> {
    let remote = connection.remote()?;
    authorities.iter().position(|one| one == authority(&remote))
}

fn interval_of(args: &DrillArgs) -> Option<Duration> {
    (args.rate > 0).then(|| Duration::from_secs_f64(args.producers as f64 / f64::from(args.rate)))
}

pub(super) fn load_error<'a>(
    action: &'static str,
    url: &'a str,
) -> impl Fn(ClientError) -> DrillError + 'a {
    move |error| DrillError::Load {
        action,
        url: url.to_owned(),
        source: Box::new(error),
    }
}

/// A connection with a session and a producer.
pub(super) struct SendingClient {
    connection: Connection,
    pub(super) session: Session,
    pub(super) producer: Producer,
}

impl SendingClient {
    async fn open(url: &str, queue: &str) -> Result<Self, ClientError> {
        Self::open_with(url, queue, AckMode::Auto).await
    }

    /// Connects; waits for a broker as long as it takes.
    pub(super) async fn open_with(
        url: &str,
        queue: &str,
        mode: AckMode,
    ) -> Result<Self, ClientError> {
        let connection = Connection::connect(url).await?;
        let session = connection.session(mode).await?;
        let producer = session.producer(&Destination::queue(queue)).await?;
        Ok(Self {
            connection,
            session,
            producer,
        })
    }

    /// Says goodbye, unless that takes too long.
    pub(super) async fn close(self) {
        let _ = tokio::time::timeout(CLOSE_PATIENCE, self.connection.close()).await;
    }
}

/// One producer of the load.
struct LoadProducer {
    number: u32,
    client: SendingClient,
    authorities: [String; 2],
    witness: Arc<Witness>,
    interval: Option<Duration>,
    refusals: Refusals,
}

impl LoadProducer {
    async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let mut next = Instant::now();
        while !*stop.borrow() {
            let mut due = Instant::now();
            if let Some(interval) = self.interval {
                if next > due {
                    tokio::select! {
                        () = tokio::time::sleep_until(next) => {}
                        _ = stop.changed() => break,
                    }
                    // A timer that fired late is no latency of the broker.
                    due = Instant::now();
                } else {
                    // The send before took so long that this one waited: its latency counts
                    // from when it was due.
                    due = next;
                }
                next += interval;
                if next.elapsed() > MAKE_UP_MAX {
                    next = Instant::now();
                }
            }
            let begun_us = self.witness.now_us();
            let waited_us = due.elapsed().as_micros() as u64;
            self.send(begun_us.saturating_sub(waited_us), begun_us)
                .await?;
        }
        self.client.close().await;
        Ok(())
    }

    async fn send(&self, due_us: u64, begun_us: u64) -> Result<(), ClientError> {
        let (key, body) = self.witness.begin_send(self.number);
        match self.client.producer.send(Message::bytes(body)).await {
            Ok(_) => {
                let at_us = self.witness.now_us();
                let sender = Sender::Load(broker_of(&self.client.connection, &self.authorities));
                self.witness.acknowledged(Answered {
                    sender,
                    key,
                    due_us,
                    begun_us,
                    at_us,
                });
                Ok(())
            }
            Err(error) if error.is_refused() => {
                self.witness.refused(key);
                self.refusals.answer(error).await
            }
            Err(error) => Err(error),
        }
    }
}

/// What a client does about a send that the broker refused.
#[derive(Debug, Clone, Copy)]
struct Refusals {
    are_allowed: bool,
}

impl Refusals {
    /// Goes on after a pause, or gives up.
    async fn answer(self, error: ClientError) -> Result<(), ClientError> {
        if !self.are_allowed {
            return Err(error);
        }
        tokio::time::sleep(REFUSAL_PAUSE).await;
        Ok(())
    }
}

/// Sends to one broker only, whenever that one serves.
struct Probe {
    broker: usize,
    number: u32,
    url: String,
    queue: String,
    witness: Arc<Witness>,
    refusals: Refusals,
}

impl Probe {
    async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let client = tokio::select! {
            client = SendingClient::open(&self.url, &self.queue) => client?,
            _ = stop.changed() => return Ok(()),
        };
        while !*stop.borrow() {
            let begun_us = self.witness.now_us();
            let (key, body) = self.witness.begin_send(self.number);
            let sent = tokio::select! {
                sent = client.producer.send(Message::bytes(body)) => sent,
                // Its broker may be the standby for good: nobody waits for this answer.
                _ = stop.changed() => {
                    self.witness.withdrawn(key);
                    break;
                }
            };
            match sent {
                Ok(_) => self.witness.acknowledged(Answered {
                    sender: Sender::Probe(self.broker),
                    key,
                    due_us: begun_us,
                    begun_us,
                    at_us: self.witness.now_us(),
                }),
                Err(error) if error.is_refused() => {
                    self.witness.refused(key);
                    self.refusals.answer(error).await?;
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        client.close().await;
        Ok(())
    }
}

/// What consumers do.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) queue: String,
    pub(super) consumers: usize,
    /// Number of the first of them in the ledger.
    pub(super) first: usize,
    /// Messages in a transaction.
    pub(super) batch: usize,
    /// `host:port` of each broker.
    pub(super) authorities: [String; 2],
}

/// Starts transacted consumers that tell `witness` what they receive.
pub(super) async fn start_consumers(
    url: &str,
    work: &Work,
    witness: &Arc<Witness>,
) -> Result<Crew, DrillError> {
    let mut crew = Crew::new();
    for number in work.first..work.first + work.consumers {
        let client = ConsumingClient::open(url, number, work.clone(), Arc::clone(witness))
            .await
            .map_err(load_error("connect a consumer", url))?;
        let stop = crew.stop.subscribe();
        crew.spawn(format!("consumer {number}"), client.run(stop));
    }
    Ok(crew)
}

/// A connection with a transacted session and a consumer.
struct ConsumingClient {
    number: usize,
    work: Work,
    connection: Connection,
    session: Session,
    consumer: Consumer,
    witness: Arc<Witness>,
}

impl ConsumingClient {
    async fn open(
        url: &str,
        number: usize,
        work: Work,
        witness: Arc<Witness>,
    ) -> Result<Self, ClientError> {
        let mut uri = ClientUri::parse(url)?;
        // The client would hide messages that come twice; the ledger is to see them.
        uri.jms.connection.check_for_duplicates = false;
        // A client puts aside what was delivered more than 6 times before, and each break of its
        // connection counts for all that was sent ahead to it: on a slow pair that would happen to
        // messages that nobody has looked at. The ledger wants everything to come again.
        uri.jms.redelivery.maximum_redeliveries = None;
        let connection = ConnectionBuilder::new(uri).connect().await?;
        let session = connection.session(AckMode::Transacted).await?;
        let consumer = session
            .consumer(&Destination::queue(work.queue.as_str()))
            .await?;
        Ok(Self {
            number,
            work,
            connection,
            session,
            consumer,
            witness,
        })
    }

    async fn run(self, stop: watch::Receiver<bool>) -> Result<(), ClientError> {
        let mut held = 0;
        loop {
            let life = self.connection.interruptions();
            match self.consumer.receive(Some(RECEIVE_PATIENCE)).await? {
                Some(message) => {
                    let body = message.as_bytes()?.unwrap_or_default();
                    // While the connection breaks, the message may be of the life before.
                    let is_certain = self.connection.interruptions() == life
                        && self.connection.remote().is_some();
                    let delivery = Delivery {
                        consumer: self.number,
                        is_redelivered: message.is_redelivered(),
                        broker: broker_of(&self.connection, &self.work.authorities),
                        life: is_certain.then_some(life),
                    };
                    self.witness.delivered(&body, delivery);
                    held += 1;
                    if held >= self.work.batch {
                        self.commit().await?;
                        held = 0;
                    }
                }
                None if held > 0 => {
                    self.commit().await?;
                    held = 0;
                }
                None if *stop.borrow() => break,
                None => {}
            }
        }
        let _ = tokio::time::timeout(CLOSE_PATIENCE, self.connection.close()).await;
        Ok(())
    }

    async fn commit(&self) -> Result<(), ClientError> {
        let Err(error) = self.session.commit().await else {
            self.witness.committed(self.number);
            return Ok(());
        };
        // A refusal is an answer, too: nothing of it took effect.
        if error.is_rolled_back() || error.is_refused() {
            self.witness.rolled_back(self.number);
        } else {
            self.witness.in_doubt(self.number);
            if error.is_final() {
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_url() {
        let url = "failover:(tcp://a:61616,tcp://b:61617?wireFormat.maxInactivityDuration=5000)";
        let addresses = addresses_of(url).expect("a valid URL");
        assert_eq!(addresses, ["tcp://a:61616", "tcp://b:61617"]);
        for url in [
            "failover:(tcp://a:1)",
            "failover:(tcp://a:1,tcp://b:1,tcp://c:1)",
            "a:1",
        ] {
            let error = addresses_of(url).expect_err("must be refused").to_string();
            assert!(error.contains("--url"), "{error}");
        }
    }

    #[test]
    fn probe_url_is_valid() {
        ClientUri::parse(&probe_url("tcp://127.0.0.1:1")).expect("a valid URL");
    }
}
