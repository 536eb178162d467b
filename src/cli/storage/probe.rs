//! `baton storage probe`: how fast a directory is, and what a broker would do on it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use storage::probe::{Measured, Prediction, ProbeReport, Stop, probe};
use tokio::signal::unix::{SignalKind, signal};

use super::expect::Expectation;
use super::picture;
use super::show::{bar, rate, time};
use super::target::Target;
use crate::cli::client::parse_size;
use crate::cli::table::align;
use crate::config::Config;

/// The producers that are predicted for.
const PRODUCERS: [usize; 3] = [1, 16, 64];
/// The part of the time that the broker's own work is measured for, twice.
const OVERHEAD_PART: u32 = 12;

/// Measure a directory: how long each operation takes, and what a broker would do on it
///
/// Writes, reads, opens, creates, renames and locks in a directory of its own below DIR, which it
/// removes at the end, also after Ctrl-C: a journal in DIR is not touched, but a broker on it feels
/// the load. Then it measures a broker and its clients with a journal in memory, and predicts how many
/// persistent sends a second it would answer on DIR, with producers that wait for each answer on this
/// host.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage probe /mnt/efs
  baton storage probe /mnt/efs --seconds 60 --svg efs.svg --json efs.json
  baton storage probe /tmp --profile efs-regional     a directory as slow as EFS

Without a number: there were too few operations to tell. `--seconds` gives more.")]
pub(super) struct ProbeArgs {
    /// The directory
    directory: PathBuf,

    /// Make it as slow as this latency profile; see `baton storage profiles`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// A baton.toml with profiles of your own
    #[arg(long, value_name = "FILE", env = "BATON_CONFIG")]
    config: Option<PathBuf>,

    /// Time for all measurements together, in seconds
    #[arg(long, default_value_t = 15.0, value_name = "N")]
    seconds: f64,

    /// Size of the messages that the prediction is for
    #[arg(long, default_value = "1kb", value_parser = parse_size)]
    size: usize,

    /// Measure the directory only, start no broker
    #[arg(long)]
    no_prediction: bool,

    /// Write JSON to standard output, or to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,

    /// Write a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn main(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    if !(0.5..=86_400.0).contains(&args.seconds) {
        bail!("`--seconds {}`: give from 0.5 to 86400", args.seconds);
    }
    let config = Config::load(args.config.as_deref(), Vec::new())?;
    let target = target(&args, &config)?;
    let seconds = Duration::from_secs_f64(args.seconds);
    let part = seconds / OVERHEAD_PART;
    let left = if args.no_prediction {
        seconds
    } else {
        seconds - part * 3
    };
    let report = measure(&target, left).await?;
    let mut predictions = Vec::new();
    if !args.no_prediction && !report.was_stopped {
        eprintln!("measuring the broker's own work ...");
        let expectation = Expectation::measure(args.size, part).await?;
        let each = PRODUCERS.into_iter();
        predictions.extend(each.filter_map(|count| Some((count, expectation.of(&report, count)?))));
    }
    let document = document(&target, args.size, &report, &predictions);
    match args.json.as_deref() {
        Some(path) if path.as_os_str() == "-" => println!("{document:#}"),
        other => {
            print!("{}", text(&target, args.size, &report, &predictions));
            if let Some(path) = other {
                super::show::write(path, &format!("{document:#}\n"))?;
            }
        }
    }
    if let Some(path) = &args.svg {
        super::show::write(path, &picture::probe(&target.name, &report, &predictions)?)?;
    }
    let is_complete = !report.was_stopped;
    Ok(if is_complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn target(args: &ProbeArgs, config: &Config) -> anyhow::Result<Target> {
    let directory = args.directory.display().to_string();
    let profile = match &args.profile {
        None => None,
        Some(name) => {
            let found = config.storage.find(name);
            Some(
                found
                    .map_err(|advice| anyhow::anyhow!("`--profile {name}`: {advice}"))?
                    .clone(),
            )
        }
    };
    if !args.directory.is_dir() {
        bail!("`{directory}` is no directory: create it, or mount what belongs there");
    }
    let name = match &args.profile {
        None => directory,
        Some(profile) => format!("{directory} as slow as {profile}"),
    };
    Ok(Target {
        name,
        base: args.directory.clone(),
        profile,
    })
}

/// Probes a target in a directory of its own. The first Ctrl-C ends it early and cleans up, the
/// second one at once: storage that hangs must not keep the process.
pub(super) async fn measure(target: &Target, time: Duration) -> anyhow::Result<ProbeReport> {
    let directory = target.directory()?;
    let (disk, clock) = target.disk(directory.path())?;
    let fills_ahead = target.fills_ahead(directory.path())?;
    let stop = Stop::default();
    let shown = bar();
    let (stopping, steps) = (Arc::clone(&stop), shown.clone());
    let name = target.name.clone();
    let mut measuring = tokio::task::spawn_blocking(move || {
        probe(
            &disk,
            &clock,
            time,
            fills_ahead,
            &stopping,
            &mut |step, number, of| {
                steps.set_length(of as u64);
                steps.set_position(number as u64);
                steps.set_message(format!("{name}: {step}"));
            },
        )
    });
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let report = loop {
        tokio::select! {
            ended = &mut measuring => break ended?,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.swap(true, Ordering::Relaxed) {
            bail!(
                "ended at once: `{}` may be left",
                directory.path().display()
            );
        }
    };
    shown.finish_and_clear();
    report.with_context(|| format!("cannot measure `{}`", target.base.display()))
}

const QUANTILES: [(&str, f64); 5] = [
    ("P50", 0.5),
    ("P90", 0.9),
    ("P99", 0.99),
    ("P99.9", 0.999),
    ("P99.99", 0.9999),
];

fn text(
    target: &Target,
    size: usize,
    report: &ProbeReport,
    predictions: &[(usize, Prediction)],
) -> String {
    let mut head = vec!["OPERATION".to_owned(), "COUNT".to_owned()];
    head.extend(QUANTILES.map(|(name, _)| name.to_owned()));
    head.extend(["MAX", "MEAN", "PER SECOND"].map(str::to_owned));
    let mut rows = vec![head];
    for measured in &report.measured {
        let mut row = vec![measured.name.to_owned(), measured.times.len().to_string()];
        let at = |at| measured.at(at).map_or("-".to_owned(), time);
        row.extend(QUANTILES.map(|(_, share)| at(share)));
        row.push(at(1.0));
        row.push(time(measured.mean()));
        row.push(rate(measured.per_second()));
        rows.push(row);
    }
    let mut text = format!("{}\n\n{}", target.name, align(&rows));
    let way = match (report.may_overlap, report.in_one_operation) {
        (true, _) => "in one operation: the journal has several under way at once",
        (false, true) => "in one operation, which was faster",
        (false, false) => "as a write and a sync, which was faster",
    };
    // Writing into a String cannot fail.
    let _ = writeln!(text, "\nDurable writes were made {way}.");
    if report.was_stopped {
        text.push_str("It was stopped before its end.\n");
    }
    if !predictions.is_empty() {
        let _ = writeln!(
            text,
            "\nPredicted for persistent messages of {size} bytes, each producer waiting for its answer:\n"
        );
        let head = ["PRODUCERS", "SENDS/S", "P50", "P99", "WRITES/S"].map(str::to_owned);
        let mut rows = vec![head];
        for (producers, expected) in predictions {
            rows.push([
                producers.to_string(),
                rate(expected.per_second),
                time(expected.p50),
                time(expected.p99),
                rate(expected.writes_per_second),
            ]);
        }
        text.push_str(&align(&rows));
    }
    text
}

fn document(
    target: &Target,
    size: usize,
    report: &ProbeReport,
    predictions: &[(usize, Prediction)],
) -> Value {
    let profile = target.profile.as_ref().map(|profile| profile.name.clone());
    let predicted = predictions.iter().map(|(producers, expected)| {
        let mut one = prediction(expected);
        one["producers"] = (*producers).into();
        one
    });
    json!({
        "directory": target.base,
        "profile": profile,
        "operations": report.measured.iter().map(operation).collect::<Value>(),
        "durable_writes_in_one_operation": report.in_one_operation,
        "several_at_once": report.may_overlap,
        "filled_bytes_per_second": report.filled.map(|filled| filled.bytes_per_second),
        "was_stopped": report.was_stopped,
        "message_bytes": size,
        "predicted": predicted.collect::<Value>(),
    })
}

/// Times in microseconds.
fn operation(measured: &Measured) -> Value {
    let us = |time: Duration| time.as_nanos() as f64 / 1000.0;
    let mut one = json!({
        "name": measured.name,
        "bytes": measured.bytes,
        "threads": measured.threads,
        "count": measured.times.len(),
        "mean_us": us(measured.mean()),
        "max_us": measured.at(1.0).map(us),
        "per_second": measured.per_second(),
    });
    for (name, share) in QUANTILES {
        let key = format!("{}_us", name.to_lowercase().replace('.', "_"));
        one[key] = measured.at(share).map(us).into();
    }
    one
}

pub(super) fn prediction(expected: &Prediction) -> Value {
    json!({
        "per_second": expected.per_second,
        "p50_us": expected.p50.as_micros() as u64,
        "p99_us": expected.p99.as_micros() as u64,
        "writes_per_second": expected.writes_per_second,
    })
}
