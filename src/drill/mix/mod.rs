//! `baton drill --mix`: what applications use beside plain queues, loaded beside the plain load and
//! struck by the same faults.
//!
//! Each strand has its own destinations, its own clients and its own [`Book`](book::Book): durable
//! subscribers, message groups, scheduled messages, consumers with selectors, and bridges that move
//! messages in distributed transactions. At the end nothing may be in the dead letter queue.

mod book;
mod clients;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use failover::{AckMode, ClientError, Connection, ConsumerOptions, Destination, Value};
use tokio::time::Instant;

pub use self::book::StrandTally;

use self::book::{Book, Key};
use self::clients::{Bridge, MixConsumer, MixProducer, PARITY, Shape, Source};
use super::DrillError;
use super::load::{Crew, load_error};
use super::random::Random;

/// Producers of each strand.
const PRODUCERS: u32 = 2;
/// Consumers of each channel that can have several.
const CONSUMERS: usize = 3;
/// Durable subscriptions.
const SUBSCRIBERS: usize = 2;
/// How often it is looked whether everything was consumed.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);
/// Calm in which nothing more may come after everything was consumed.
const LINGER: Duration = Duration::from_millis(500);
/// How long the dead letter queue is looked at.
const BROWSE_PATIENCE: Duration = Duration::from_secs(5);
/// Where brokers put what clients refuse, unless they are configured otherwise.
pub(super) const DEAD_LETTER_QUEUE: &str = "ActiveMQ.DLQ";

/// Something that applications use beside plain queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Strand {
    /// Durable subscribers of a topic.
    Durable,
    /// Message groups on a queue.
    Groups,
    /// Messages with a delay.
    Schedules,
    /// Consumers with selectors on one queue.
    Selectors,
    /// Distributed transactions from one queue to another.
    Xa,
}

impl Strand {
    fn name(self) -> &'static str {
        match self {
            Strand::Durable => "durable subscribers",
            Strand::Groups => "message groups",
            Strand::Schedules => "schedules",
            Strand::Selectors => "selectors",
            Strand::Xa => "distributed transactions",
        }
    }
}

/// All strands at work.
pub(super) struct Mix {
    url: String,
    books: Vec<Arc<Book>>,
    producers: Crew,
    bridges: Crew,
    consumers: Crew,
}

/// What the mix came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) strands: Vec<StrandTally>,
    /// Messages in the dead letter queue; none belongs there.
    pub(super) dead_letters: Option<u64>,
    /// Clients that did not end as they should.
    pub(super) complaints: Vec<String>,
}

/// What is the same for all clients of the mix.
struct Setup<'a> {
    url: &'a str,
    /// Prefix of all destinations.
    prefix: &'a str,
    run: i64,
    random: Random,
}

impl Setup<'_> {
    fn random(&mut self) -> Random {
        Random::new(self.random.next())
    }

    fn name(&self, strand: &str) -> String {
        format!("{}.{strand}", self.prefix)
    }
}

impl Mix {
    /// Connects all clients of the strands and lets them run.
    ///
    /// # Errors
    ///
    /// When a client cannot be set up.
    pub(super) async fn start(
        strands: &[Strand],
        url: &str,
        prefix: &str,
        random: &mut Random,
    ) -> Result<Self, DrillError> {
        let mut setup = Setup {
            url,
            prefix,
            run: (random.next() >> 1) as i64,
            random: Random::new(random.next()),
        };
        let mut mix = Self {
            url: url.to_owned(),
            books: Vec::new(),
            producers: Crew::new(),
            bridges: Crew::new(),
            consumers: Crew::new(),
        };
        for strand in strands {
            mix.add(*strand, &mut setup)
                .await
                .map_err(load_error("connect a client of the mix", url))?;
        }
        Ok(mix)
    }

    async fn add(&mut self, strand: Strand, setup: &mut Setup<'_>) -> Result<(), ClientError> {
        let name = strand.name();
        let book = match strand {
            Strand::Durable => Book::new(name, SUBSCRIBERS, |_, _| true),
            Strand::Selectors => Book::new(name, 2, |channel, key: Key| {
                key.sequence % 2 == channel as u64
            }),
            Strand::Groups | Strand::Schedules | Strand::Xa => Book::new(name, 1, |_, _| true),
        };
        let book = Arc::new(book);
        self.books.push(Arc::clone(&book));
        let queue = |setup: &Setup<'_>, text: &str| Destination::queue(setup.name(text));
        let (destination, shape, sources) = match strand {
            Strand::Durable => {
                let topic = Destination::topic(setup.name("durable"));
                let source = |number| {
                    let id = format!("{}-{number}-{:x}", setup.prefix, setup.run);
                    (number, Source::Durable(topic.clone(), id))
                };
                let sources: Vec<_> = (0..SUBSCRIBERS).map(source).collect();
                (topic, Shape::Plain, sources)
            }
            Strand::Groups => several(queue(setup, "groups"), Shape::Grouped),
            Strand::Schedules => several(queue(setup, "schedules"), Shape::Delayed),
            Strand::Selectors => {
                let queue = queue(setup, "selectors");
                let source = |number: usize| {
                    let selector = format!("{PARITY} = {number}");
                    (number, Source::Queue(queue.clone(), Some(selector)))
                };
                let sources = (0..2).map(source).collect();
                (queue, Shape::Plain, sources)
            }
            Strand::Xa => {
                let (from, to) = (queue(setup, "xa.from"), queue(setup, "xa.to"));
                for number in 0..CONSUMERS as u32 {
                    let bridge = Bridge {
                        url: setup.url.to_owned(),
                        run: setup.run,
                        number,
                        from: from.clone(),
                        to: to.clone(),
                        random: setup.random(),
                    };
                    let stop = self.bridges.stopped();
                    self.bridges
                        .spawn(format!("bridge {number}"), bridge.run(stop));
                }
                let (_, shape, sources) = several(to, Shape::Plain);
                (from, shape, sources)
            }
        };
        for (channel, source) in sources {
            let consumer = MixConsumer {
                url: setup.url.to_owned(),
                run: setup.run,
                source,
                channel,
                book: Arc::clone(&book),
                random: setup.random(),
            };
            let consumer = consumer.open().await?;
            let stop = self.consumers.stopped();
            self.consumers
                .spawn(format!("a consumer of the {name}"), consumer.run(stop));
        }
        for number in 0..PRODUCERS {
            let producer = MixProducer {
                url: setup.url.to_owned(),
                run: setup.run,
                number,
                destination: destination.clone(),
                shape,
                book: Arc::clone(&book),
                random: setup.random(),
            };
            let stop = self.producers.stopped();
            self.producers
                .spawn(format!("a producer of the {name}"), producer.run(stop));
        }
        Ok(())
    }

    /// Stops the producers, lets everything be consumed, and says what it came to.
    pub(super) async fn finish(mut self, patience: Duration) -> Outcome {
        let mut complaints = self.producers.stop(patience).await;
        self.drain(patience).await;
        complaints.extend(self.bridges.stop(patience).await);
        complaints.extend(self.consumers.stop(patience).await);
        let looking = tokio::time::timeout(BROWSE_PATIENCE, dead_letters(&self.url));
        let dead_letters = match looking.await {
            Ok(Ok(count)) => Some(count),
            Ok(Err(error)) => {
                complaints.push(format!(
                    "the dead letter queue cannot be looked at: {error}"
                ));
                None
            }
            Err(_) => {
                complaints.push("the dead letter queue does not end".to_owned());
                None
            }
        };
        Outcome {
            strands: self.books.iter().map(|book| book.tally()).collect(),
            dead_letters,
            complaints,
        }
    }

    /// Waits until nothing is missing, or nothing was found in addition for `patience`.
    async fn drain(&self, patience: Duration) {
        let missing = || -> usize { self.books.iter().map(|book| book.missing().len()).sum() };
        let (mut before, mut since) = (missing(), Instant::now());
        while before > 0 && since.elapsed() < patience {
            tokio::time::sleep(DRAIN_INTERVAL).await;
            let now = missing();
            if now < before {
                (before, since) = (now, Instant::now());
            }
        }
        // A message that should not come would come now.
        tokio::time::sleep(LINGER).await;
    }
}

/// A queue whose consumers compete.
fn several(queue: Destination, shape: Shape) -> (Destination, Shape, Vec<(usize, Source)>) {
    let source = |_| (0, Source::Queue(queue.clone(), None));
    let sources = (0..CONSUMERS).map(source).collect();
    (queue, shape, sources)
}

/// How many messages of a drill are in the dead letter queue.
async fn dead_letters(url: &str) -> Result<u64, ClientError> {
    let connection = Connection::connect(url).await?;
    let session = connection.session(AckMode::Auto).await?;
    let queue = Destination::queue(DEAD_LETTER_QUEUE);
    let browser = session.browser(&queue, ConsumerOptions::default()).await?;
    let mut count = 0;
    while let Some(message) = browser.next().await? {
        let is_ours = matches!(message.property("drill_run")?, Some(Value::Long(_)));
        count += u64::from(is_ours);
    }
    connection.close().await?;
    Ok(count)
}
