//! From what a probe found to the sends per second that a broker will answer there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use storage::latency;
use storage::probe::{Load, Overhead, Prediction, ProbeReport, Stop, predict, probe};

use super::load::{self, Broker, Work};
use super::target::{Scratch, Target, memory};

/// What a message of so many bytes has around it in the journal: its OpenWire headers, the record's header,
/// its part of the batch's.
const AROUND_BODY: u64 = 320;
/// So many producers leave the processors no pause when storage takes no time.
const BUSY_PRODUCERS: usize = 64;

/// Every thread sleeps while storage like this takes its time. Waking a processor that has gone to sleep
/// takes longer than one that still looks around, so the broker's own work is measured with this, too.
const WAITING: &str = "ebs-io2";

/// What is known of a host before any directory is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation {
    /// On storage that takes no time.
    overhead: Overhead,
    /// A send that is alone takes so much more on storage that takes so long, or longer.
    waking: Duration,
    waiting: Duration,
    body_bytes: usize,
}

impl Expectation {
    /// Measures broker and clients with a journal in memory, for about three times `time`.
    pub(super) async fn measure(body_bytes: usize, time: Duration) -> anyhow::Result<Expectation> {
        let work = |producers| Work {
            producers,
            bytes: body_bytes,
            time,
        };
        let (at_once, [alone, busy]) = own_work(None, [1, BUSY_PRODUCERS].map(work)).await?;
        let (waiting, [woken]) = own_work(Some(WAITING), [work(1)]).await?;
        let alone = alone.saturating_sub(at_once);
        Ok(Expectation {
            overhead: Overhead {
                alone,
                busy,
                processors: std::thread::available_parallelism()
                    .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
            },
            waking: woken.saturating_sub(waiting).saturating_sub(alone),
            waiting,
            body_bytes,
        })
    }

    /// For machines, in microseconds.
    pub(super) fn document(&self) -> Value {
        let us = |time: Duration| (time.as_nanos() as f64 / 100.0).round() / 10.0;
        json!({
            "alone_us": us(self.overhead.alone),
            "busy_us": us(self.overhead.busy),
            "waking_us": us(self.waking),
            "waiting_us": us(self.waiting),
        })
    }

    /// What to expect of `producers` on a directory; None when its probe was stopped too early.
    pub(super) fn of(&self, report: &ProbeReport, producers: usize) -> Option<Prediction> {
        let load = Load {
            producers,
            message_bytes: self.body_bytes as u64 + AROUND_BODY,
        };
        let write = report.get("write 1 KiB")?.mean();
        let part = write.div_duration_f64(self.waiting).min(1.0);
        let overhead = Overhead {
            alone: self.overhead.alone + self.waking.mul_f64(part),
            ..self.overhead
        };
        Some(predict(&report.write_times()?, overhead, load))
    }
}

/// Time between two sends of each load on a directory in memory, and what a durable write takes there.
async fn own_work<const N: usize>(
    profile: Option<&str>,
    loads: [Work; N],
) -> anyhow::Result<(Duration, [Duration; N])> {
    let target = Target {
        name: String::new(),
        base: memory(),
        profile: profile.and_then(latency::find),
    };
    let directory = Scratch::new(&target.base)?;
    let storage = storage_time(&target, directory.path(), loads[0].time / 8).await?;
    let broker = Broker::start(directory.path(), None, profile).await?;
    let sent = Arc::new(AtomicU64::new(0));
    let mut each = [Duration::ZERO; N];
    for (load, each) in loads.into_iter().zip(&mut each) {
        let rate = load::run(&broker, load, &sent).await?.per_second();
        *each = Duration::from_secs_f64(1.0 / rate.max(0.1));
    }
    broker.stop().await;
    Ok((storage, each))
}

/// What a durable write takes.
async fn storage_time(
    target: &Target,
    directory: &Path,
    time: Duration,
) -> anyhow::Result<Duration> {
    let (disk, clock) = target.disk(directory)?;
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
