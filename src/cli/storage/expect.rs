//! From what a probe found to the sends per second that a broker will answer there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use storage::clock::{Clock, RealClock};
use storage::disk::{Disk, RealDisk};
use storage::probe::{Load, Overhead, Prediction, ProbeReport, Stop, predict, probe};

use super::load::{self, Broker, Work};
use super::target::{Scratch, memory};

/// What a message of so many bytes has around it in the journal: its OpenWire headers, the record's header,
/// its part of the batch's.
const AROUND_BODY: u64 = 320;
/// So many producers leave the processors no pause when storage takes no time.
const BUSY_PRODUCERS: usize = 64;

/// What is known of a host before any directory is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation {
    pub(super) overhead: Overhead,
    pub(super) body_bytes: usize,
}

impl Expectation {
    /// Measures broker and clients with a journal in memory, for about twice `time`.
    pub(super) async fn measure(body_bytes: usize, time: Duration) -> anyhow::Result<Expectation> {
        let directory = Scratch::new(&memory())?;
        let storage = storage_time(directory.path(), time / 8).await?;
        let broker = Broker::start(directory.path(), None, None).await?;
        let work = |producers| Work {
            producers,
            bytes: body_bytes,
            time,
        };
        let sent = Arc::new(AtomicU64::new(0));
        let alone = load::run(&broker, work(1), &sent).await?;
        let busy = load::run(&broker, work(BUSY_PRODUCERS), &sent).await?;
        broker.stop().await;
        let each = |rate: f64| Duration::from_secs_f64(1.0 / rate.max(0.1));
        Ok(Expectation {
            overhead: Overhead {
                alone: each(alone.per_second()).saturating_sub(storage),
                busy: each(busy.per_second()),
            },
            body_bytes,
        })
    }

    /// What to expect of `producers` on a directory; None when its probe was stopped too early.
    pub(super) fn of(&self, report: &ProbeReport, producers: usize) -> Option<Prediction> {
        let load = Load {
            producers,
            message_bytes: self.body_bytes as u64 + AROUND_BODY,
        };
        Some(predict(&report.write_times()?, self.overhead, load))
    }
}

/// What a durable write takes even in memory.
async fn storage_time(directory: &Path, time: Duration) -> anyhow::Result<Duration> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(directory)?);
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let measure = move || {
        probe(
            &disk,
            &clock,
            time,
            false,
            &Stop::default(),
            &mut |_, _, _| {},
        )
    };
    let report = tokio::task::spawn_blocking(measure).await?;
    let report = report.context("cannot measure a directory in memory")?;
    let write = report
        .get("write 1 KiB")
        .context("the probe measured no write")?;
    Ok(write.mean())
}
