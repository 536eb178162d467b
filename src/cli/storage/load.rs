//! A real broker on a directory, and producers that each wait for their answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use failover::{AckMode, Connection, Destination, Message, SendOptions};
use hdrhistogram::Histogram;
use storage::disk::DiskTraffic;

use crate::cli::child::{Launch, News, Running, last_lines};

/// How long a broker may take to serve, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker process of our own.
pub(super) struct Broker {
    running: Running,
    log: PathBuf,
    address: String,
    http: String,
}

impl Broker {
    /// Starts it on `directory` and waits until it serves. Its log goes beside the journal.
    pub(super) async fn start(
        directory: &Path,
        config: Option<&Path>,
        profile: Option<&str>,
    ) -> anyhow::Result<Broker> {
        let log = directory.join("broker.log");
        let launch = Launch {
            name: "lab",
            directory: directory.join("journal"),
            listen: "tcp://127.0.0.1:0".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            peer: None,
            config: config.map(Path::to_owned),
            // An environment variable would say otherwise.
            profile: Some(profile.unwrap_or("none").to_owned()),
            log: log.clone(),
        };
        let mut broker = Broker {
            running: launch.start()?,
            log,
            address: String::new(),
            http: String::new(),
        };
        match tokio::time::timeout(PATIENCE, broker.wait_until_active()).await {
            Ok(outcome) => outcome?,
            Err(_) => bail!(
                "the broker did not serve within {} s; the end of its log:\n{}",
                PATIENCE.as_secs(),
                last_lines(&broker.log, 12)
            ),
        }
        Ok(broker)
    }

    async fn wait_until_active(&mut self) -> anyhow::Result<()> {
        loop {
            match self.running.next().await? {
                News::Line(line) => {
                    if let Some(address) = line.strip_prefix("listening ") {
                        address.clone_into(&mut self.address);
                    } else if let Some(http) = line.strip_prefix("http ") {
                        http.clone_into(&mut self.http);
                    } else if line.starts_with("role active") {
                        return Ok(());
                    }
                }
                News::Ended(status) => bail!(
                    "the broker ended ({status}); the end of its log:\n{}",
                    last_lines(&self.log, 12)
                ),
            }
        }
    }

    async fn traffic(&self) -> DiskTraffic {
        let status = crate::cli::status::ask(&self.http, Duration::from_secs(5)).await;
        status.map(|status| status.storage).unwrap_or_default()
    }

    /// Stops it and waits for its end.
    pub(super) async fn stop(mut self) {
        self.running.terminate();
        let ended = async { while let Ok(News::Line(_)) = self.running.next().await {} };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            self.running.kill().await;
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) producers: usize,
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) messages: u64,
    pub(super) elapsed: Duration,
    /// From a send to its acknowledgement, in microseconds.
    pub(super) latencies_us: Histogram<u64>,
    /// What the broker asked of its directory meanwhile.
    pub(super) traffic: DiskTraffic,
}

impl Sent {
    pub(super) fn per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(super) fn at(&self, at: f64) -> Duration {
        Duration::from_micros(self.latencies_us.value_at_quantile(at))
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_micros(self.latencies_us.max())
    }
}

/// Sends for the time of `work`, after a while that does not count. `sent` counts for whoever shows
/// progress.
pub(super) async fn run(
    broker: &Broker,
    work: Work,
    sent: &Arc<AtomicU64>,
) -> anyhow::Result<Sent> {
    let is_over = Arc::new(AtomicBool::new(false));
    let counts = Arc::new(AtomicBool::new(false));
    let mut producers = tokio::task::JoinSet::new();
    for _ in 0..work.producers {
        let connection = Connection::connect(&broker.address)
            .await
            .context("cannot connect to the lab's broker")?;
        let producer = Producer {
            connection,
            bytes: work.bytes,
            sent: Arc::clone(sent),
            counts: Arc::clone(&counts),
            is_over: Arc::clone(&is_over),
        };
        producers.spawn(producer.run());
    }
    tokio::time::sleep((work.time / 4).clamp(Duration::from_millis(200), Duration::from_secs(2)))
        .await;
    let before = broker.traffic().await;
    let began = Instant::now();
    counts.store(true, Ordering::Relaxed);
    tokio::time::sleep(work.time).await;
    counts.store(false, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let after = broker.traffic().await;
    is_over.store(true, Ordering::Relaxed);
    let mut latencies_us = histogram();
    while let Some(ended) = producers.join_next().await {
        latencies_us.add(ended??).context("histograms differ")?;
    }
    Ok(Sent {
        messages: latencies_us.len(),
        elapsed,
        latencies_us,
        traffic: DiskTraffic {
            writes: after.writes.saturating_sub(before.writes),
            written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            reads: after.reads.saturating_sub(before.reads),
            read_bytes: after.read_bytes.saturating_sub(before.read_bytes),
        },
    })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3)
        .expect("three digits between a microsecond and an hour are fine")
}

/// One producer on a connection of its own.
struct Producer {
    connection: Connection,
    bytes: usize,
    sent: Arc<AtomicU64>,
    counts: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Producer {
    async fn run(self) -> anyhow::Result<Histogram<u64>> {
        let session = self.connection.session(AckMode::Auto).await?;
        let queue = Destination::queue("lab");
        let producer = session.producer(&queue).await?;
        let body: Vec<u8> = (b' '..=b'~').cycle().take(self.bytes).collect();
        let options = SendOptions::default();
        let mut latencies_us = histogram();
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            producer
                .send_with(Message::bytes(body.clone()), &options)
                .await
                .context("a send failed")?;
            if self.counts.load(Ordering::Relaxed) {
                let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                latencies_us.saturating_record(us);
                self.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.connection.close().await?;
        Ok(latencies_us)
    }
}
