//! A soak: a pair of brokers under traffic for half an hour, with what keeps space and memory busy
//! for good: a stuck message in every queue, durable subscribers that stay away, dead letters.
//!
//! ```text
//! cargo run --release --example soak -- target/release/baton --minutes 30 --out soak
//! cargo run --release --example soak -- --draw soak/soak.csv docs/soak.svg
//! ```
//!
//! Every two seconds it notes what the directory takes on disk, how many bytes of it are pending
//! messages, and the memory of both brokers. It ends with 0 when the directory never took more than
//! twice the live bytes and two segments, and memory was flat in the second half.

mod load;
mod pair;
mod picture;
mod samples;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use self::load::Load;
use self::pair::Pair;
use self::samples::{Sample, Samples};

const SAMPLE_EVERY: Duration = Duration::from_secs(2);

/// What is asked for on the command line.
struct Plan {
    baton: PathBuf,
    out: PathBuf,
    minutes: f64,
    queues: usize,
    megabytes_per_second: f64,
    /// Seconds between two kills of the active; 0: never.
    kill_every: u64,
}

fn plan(args: &[String]) -> anyhow::Result<Plan> {
    let mut plan = Plan {
        baton: PathBuf::from("target/release/baton"),
        out: PathBuf::from("soak"),
        minutes: 30.0,
        queues: 200,
        megabytes_per_second: 4.0,
        kill_every: 300,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--minutes" => plan.minutes = value()?.parse()?,
            "--queues" => plan.queues = value()?.parse()?,
            "--rate" => plan.megabytes_per_second = value()?.parse()?,
            "--kill-every" => plan.kill_every = value()?.parse()?,
            "--out" => plan.out = PathBuf::from(value()?),
            other if other.starts_with('-') => bail!(
                "unknown option {other}; there are --minutes, --queues, --rate (MB/s), --kill-every (s), --out"
            ),
            program => plan.baton = PathBuf::from(program),
        }
    }
    Ok(plan)
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [draw, csv, svg] = &args[..]
        && draw == "--draw"
    {
        let samples = Samples::read(Path::new(csv))?;
        picture::draw(&samples, Path::new(svg))?;
        return Ok(verdict(&samples));
    }
    let plan = plan(&args)?;
    std::fs::create_dir_all(&plan.out)?;
    let mut pair = Pair::start(&plan.baton, &plan.out)?;
    let outcome = soak(&plan, &mut pair).await;
    pair.stop();
    let samples = outcome?;
    picture::draw(&samples, &plan.out.join("soak.svg"))?;
    Ok(verdict(&samples))
}

async fn soak(plan: &Plan, pair: &mut Pair) -> anyhow::Result<Samples> {
    pair.wait_for_active()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let load = Load::prepare(&pair.url(), plan.queues).await?;
    load.start(plan.megabytes_per_second, &is_over);
    let mut samples = Samples::create(&plan.out.join("soak.csv"))?;
    let began = Instant::now();
    let end = Duration::from_secs_f64(plan.minutes * 60.0);
    let mut kill_at = Duration::from_secs(plan.kill_every);
    while began.elapsed() < end {
        if plan.kill_every > 0 && began.elapsed() >= kill_at && kill_at + SAMPLE_EVERY * 10 < end {
            pair.kill_active()?;
            kill_at += Duration::from_secs(plan.kill_every);
        }
        if let Some(sample) = Sample::take(pair, began.elapsed(), &load) {
            samples.add(sample)?;
        }
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
    is_over.store(true, Ordering::Release);
    load.fail_if_stuck()?;
    Ok(samples)
}

fn verdict(samples: &Samples) -> ExitCode {
    let findings = samples.findings();
    println!("{}", samples.summary());
    for finding in &findings {
        println!("FAILED: {finding}");
    }
    if findings.is_empty() {
        println!("passed");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
