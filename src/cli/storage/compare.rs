//! `baton storage compare`: the same load over several directories and profiles, side by side.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use storage::probe::Prediction;

use super::expect::Expectation;
use super::load::{self, Broker, Sent, Work};
use super::show::{bar, rate, time, write};
use super::target::Target;
use super::{picture, probe};
use crate::cli::client::parse_size;
use crate::cli::table::align;
use crate::config::Config;
use crate::drill::thousands;

/// Compare storage: the same persistent load on several directories and latency profiles
///
/// For each TARGET it measures the directory, then starts a broker on it for each number of
/// producers and lets them send for a while, each waiting for every answer, all on this host. A
/// TARGET is a latency profile, a directory, or `local`, the directory for temporary files. Profiles
/// are tried in memory, so that nothing adds to their times. Everything is removed at the end.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage compare local efs-regional ebs-gp3 ebs-io2
  baton storage compare /mnt/efs /mnt/san efs-regional --seconds 30
  baton storage compare local efs-regional --producers 1,8,64,100 --size 20kb --svg compare.svg

PREDICTED is what `baton storage probe` would have said, RATIO is measured to predicted.")]
pub(super) struct CompareArgs {
    /// Latency profiles, directories, or `local`
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,

    /// Numbers of producers to try, each with a connection of its own
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,16,64",
        value_name = "N"
    )]
    producers: Vec<usize>,

    /// Size of each message's body
    #[arg(long, default_value = "1kb", value_parser = parse_size)]
    size: usize,

    /// Time of each load, in seconds
    #[arg(long, default_value_t = 5.0, value_name = "N")]
    seconds: f64,

    /// Where profiles and `local` get their directories [default: memory, and the directory for
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// A baton.toml for the brokers, also with profiles of your own
    #[arg(long, value_name = "FILE", env = "BATON_CONFIG")]
    config: Option<PathBuf>,

    /// Write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// One load on one target.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) producers: usize,
    pub(super) sent: Sent,
    pub(super) predicted: Prediction,
}

impl Outcome {
    fn ratio(&self) -> f64 {
        self.sent.per_second() / self.predicted.per_second.max(1e-9)
    }

    fn each_second(&self, count: u64) -> f64 {
        count as f64 / self.sent.elapsed.as_secs_f64().max(1e-9)
    }
}

/// All loads on one target.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) outcomes: Vec<Outcome>,
}

/// Runs the command.
pub(super) async fn main(args: CompareArgs) -> anyhow::Result<ExitCode> {
    check(&args)?;
    let config = Config::load(args.config.as_deref(), Vec::new())?;
    let targets = args.targets.iter();
    let targets: Vec<Target> = targets
        .map(|name| Target::parse(name, &config.storage, args.directory.as_deref()))
        .collect::<anyhow::Result<_>>()?;
    let shown = bar();
    let outcome = tokio::select! {
        columns = run(&args, &targets, &shown) => columns,
        () = stopped() => bail!("stopped"),
    };
    shown.finish_and_clear();
    let (expectation, columns) = outcome?;
    print!("{}", text(&args, &columns));
    if let Some(path) = &args.json {
        write(
            path,
            &format!("{:#}\n", document(&args, &expectation, &columns)),
        )?;
    }
    if let Some(path) = &args.svg {
        write(
            path,
            &picture::compare(&columns, args.size, &advice(&columns))?,
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &CompareArgs) -> anyhow::Result<()> {
    if !(0.2..=86_400.0).contains(&args.seconds) {
        bail!("`--seconds {}`: give from 0.2 to 86400", args.seconds);
    }
    if args.producers.is_empty() || args.producers.iter().any(|n| !(1..=1000).contains(n)) {
        bail!("`--producers`: give numbers from 1 to 1000, like 1,16,64");
    }
    Ok(())
}

/// Waits for SIGINT or SIGTERM. What is under way is dropped then, which removes its directory.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn run(
    args: &CompareArgs,
    targets: &[Target],
    shown: &ProgressBar,
) -> anyhow::Result<(Expectation, Vec<Column>)> {
    let time = Duration::from_secs_f64(args.seconds);
    shown.set_length(targets.len() as u64 * (args.producers.len() as u64 + 1) + 1);
    say(shown, "measuring the broker's own work");
    let expectation =
        Expectation::measure(args.size, (time / 4).min(Duration::from_secs(2))).await?;
    let mut columns = Vec::new();
    for target in targets {
        say(shown, &format!("{}: measuring the directory", target.name));
        let report = probe::measure(target, (time * 2).min(Duration::from_secs(10))).await?;
        if report.was_stopped {
            bail!("stopped");
        }
        let mut outcomes = Vec::new();
        for producers in args.producers.iter().copied() {
            let predicted = expectation
                .of(&report, producers)
                .context("the probe is incomplete")?;
            let work = Work {
                producers,
                bytes: args.size,
                time,
            };
            let sent = load(args, target, work, shown).await?;
            outcomes.push(Outcome {
                producers,
                sent,
                predicted,
            });
        }
        columns.push(Column {
            name: target.name.clone(),
            outcomes,
        });
    }
    Ok((expectation, columns))
}

/// A line where there is no bar.
fn say(shown: &ProgressBar, what: &str) {
    shown.inc(1);
    shown.set_message(what.to_owned());
    if shown.is_hidden() {
        eprintln!("{what} ...");
    }
}

async fn load(
    args: &CompareArgs,
    target: &Target,
    work: Work,
    shown: &ProgressBar,
) -> anyhow::Result<Sent> {
    let what = format!("{}: {} producers", target.name, work.producers);
    say(shown, &what);
    let directory = target.directory()?;
    let profile = target.profile.as_ref().map(|profile| profile.name.as_str());
    let broker = Broker::start(directory.path(), args.config.as_deref(), profile).await?;
    let sent = Arc::new(AtomicU64::new(0));
    let outcome = {
        let loading = load::run(&broker, work, &sent);
        tokio::pin!(loading);
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                outcome = &mut loading => break outcome,
                _ = tick.tick() => {
                    let count = sent.load(Ordering::Relaxed);
                    shown.set_message(format!("{what}, {} answered", thousands(count)));
                }
            }
        }
    };
    broker.stop().await;
    outcome
}

fn text(args: &CompareArgs, columns: &[Column]) -> String {
    let head = [
        "TARGET",
        "PRODUCERS",
        "SENDS/S",
        "P50",
        "P99",
        "MAX",
        "MB/S",
        "WRITES/S",
        "PREDICTED",
        "RATIO",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for column in columns {
        for outcome in &column.outcomes {
            let (sent, traffic) = (&outcome.sent, &outcome.sent.traffic);
            rows.push([
                column.name.clone(),
                outcome.producers.to_string(),
                rate(sent.per_second()),
                time(sent.at(0.5)),
                time(sent.at(0.99)),
                time(sent.max()),
                format!("{:.1}", outcome.each_second(traffic.written_bytes) / 1e6),
                rate(outcome.each_second(traffic.writes)),
                rate(outcome.predicted.per_second),
                format!("{:.2}", outcome.ratio()),
            ]);
        }
    }
    format!(
        "Persistent messages of {} bytes, {} s each; MB/S and WRITES/S are the broker's on its directory.\n\n{}\n{}\n",
        args.size,
        args.seconds,
        align(&rows),
        advice(columns)
    )
}

/// Which of them to take, in a sentence or two.
fn advice(columns: &[Column]) -> String {
    let at = |column: &Column, last: bool| {
        let outcome = if last {
            column.outcomes.last()
        } else {
            column.outcomes.first()
        };
        outcome.map_or((0, 0.0), |outcome| {
            (outcome.producers, outcome.sent.per_second())
        })
    };
    let best = |last: bool| {
        columns
            .iter()
            .max_by(|one, other| at(one, last).1.total_cmp(&at(other, last).1))
    };
    let (Some(few), Some(many)) = (best(false), best(true)) else {
        return String::new();
    };
    if columns.len() == 1 {
        let ((fewest, slow), (most, fast)) = (at(few, false), at(few, true));
        return match fewest == most {
            true => format!("{} answers {} sends a second.", few.name, rate(slow)),
            false => format!(
                "{} answers {} sends a second to {fewest} and {} to {most}: producers that wait at the same \
                 time share the journal's writes.",
                few.name,
                rate(slow),
                rate(fast),
            ),
        };
    }
    let worst = |last: bool| {
        columns
            .iter()
            .map(|column| at(column, last).1)
            .fold(f64::MAX, f64::min)
    };
    let spread = |last: bool| {
        let best = best(last).map_or(0.0, |column| at(column, last).1);
        best / worst(last).max(1e-9)
    };
    let (fewest, most) = (at(few, false).0, at(many, true).0);
    let producers = |count: usize| match count {
        1 => "one producer".to_owned(),
        count => format!("{count} producers"),
    };
    let mut text = format!(
        "{} is the fastest for {}, {:.1} times as fast as the slowest",
        few.name,
        producers(fewest),
        spread(false)
    );
    if fewest == most {
        text.push('.');
    } else if spread(true) < 1.3 {
        text.push_str(&format!(
            "; with {} they hardly differ, because producers that wait at the same time share the journal's \
             writes: slow storage is enough for many producers, not for one that needs each answer soon.",
            producers(most)
        ));
    } else {
        text.push_str(&format!(
            "; for {} it is {}, {:.1} times as fast. More producers at the same time, or transactions of several \
             messages, make up for slow storage: they share the journal's writes.",
            producers(most),
            many.name,
            spread(true)
        ));
    }
    text
}

/// Times in microseconds.
fn document(args: &CompareArgs, expectation: &Expectation, columns: &[Column]) -> Value {
    let outcome = |outcome: &Outcome| {
        let us = |time: Duration| time.as_micros() as u64;
        json!({
            "producers": outcome.producers,
            "messages": outcome.sent.messages,
            "seconds": outcome.sent.elapsed.as_secs_f64(),
            "per_second": outcome.sent.per_second(),
            "p50_us": us(outcome.sent.at(0.5)),
            "p99_us": us(outcome.sent.at(0.99)),
            "max_us": us(outcome.sent.max()),
            "writes_per_second": outcome.each_second(outcome.sent.traffic.writes),
            "written_bytes_per_second": outcome.each_second(outcome.sent.traffic.written_bytes),
            "predicted": probe::prediction(&outcome.predicted),
            "measured_to_predicted": outcome.ratio(),
        })
    };
    let target = |column: &Column| {
        json!({
            "name": column.name,
            "loads": column.outcomes.iter().map(outcome).collect::<Value>(),
        })
    };
    json!({
        "message_bytes": args.size,
        "targets": columns.iter().map(target).collect::<Value>(),
        "own_work": expectation.document(),
        "advice": advice(columns),
    })
}
