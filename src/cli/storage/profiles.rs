//! `baton storage profiles`: the latency profiles, with the source of each figure.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;
use storage::latency::{Cap, Operation, Profile, Quantiles};

use crate::cli::table::align;
use crate::config::{Config, Size};

/// Show the latency profiles: how slow other storage is, and who says so
///
/// A profile slows a directory down: baton broker, pair and drill take --profile NAME, baton storage
/// probe and compare try it. Medians and caps come from vendors' documentation; they publish no
/// distributions, so the 99th percentiles and the shape around them are assumptions. Change any
/// figure in the section [storage.profiles.NAME] of a baton.toml.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage profiles
  baton storage profiles efs-regional           every figure with its source
  baton storage profiles --config baton.toml    with your own
  baton pair --profile efs-regional")]
pub(super) struct ProfilesArgs {
    /// Show all figures of this one
    name: Option<String>,

    /// A baton.toml with profiles of your own
    #[arg(long, value_name = "FILE", env = "BATON_CONFIG")]
    config: Option<PathBuf>,

    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn main(args: &ProfilesArgs) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.config.as_deref(), Vec::new())?;
    let chosen: Vec<&Profile> = match &args.name {
        None => config.storage.profiles.iter().collect(),
        Some(name) => {
            let found = config.storage.find(name);
            vec![found.map_err(|advice| anyhow!("`{name}`: {advice}"))?]
        }
    };
    if args.json {
        let all: Vec<serde_json::Value> = chosen.into_iter().map(document).collect();
        println!("{:#}", serde_json::Value::from(all));
    } else if args.name.is_some() {
        chosen
            .into_iter()
            .for_each(|one| print!("{}", details(one)));
    } else {
        print!("{}", overview(&chosen));
    }
    Ok(ExitCode::SUCCESS)
}

fn overview(profiles: &[&Profile]) -> String {
    let head = [
        "PROFILE",
        "WRITE P50",
        "P99",
        "MEAN",
        "READ P50",
        "IOPS",
        "BYTES/S",
        "",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for profile in profiles {
        let write = &profile.cost(Operation::Write).latency;
        let read = profile.cost(Operation::Read).latency.points();
        let operations = |count: f64| format!("{count:.0}");
        rows.push([
            profile.name.clone(),
            time(write.points()[2]),
            time(write.points()[5]),
            time(profile.write_mean()),
            time(read[2]),
            rate(profile.iops.as_ref(), operations),
            rate(profile.bytes.as_ref(), bytes),
            profile.about.clone(),
        ]);
    }
    let mut text = align(&rows);
    text.push_str(
        "\nWRITE is one durable write. `baton storage profiles NAME` tells where each figure is from.\n",
    );
    text
}

fn details(profile: &Profile) -> String {
    let mut text = format!("{}: {}\n\n", profile.name, profile.about);
    let mut head = vec!["OPERATION".to_owned(), "ROUND TRIPS".to_owned()];
    head.extend(Quantiles::NAMES.map(|name| name.replace('_', ".")));
    head.push("mean".to_owned());
    let mut rows = vec![head];
    for operation in Operation::ALL {
        let cost = profile.cost(operation);
        let mut row = vec![operation.name().to_owned(), cost.round_trips.to_string()];
        if cost.round_trips > 0 {
            row.extend(cost.latency.points().map(time));
            row.push(time(cost.latency.mean()));
        }
        row.resize(rows[0].len(), String::new());
        rows.push(row);
    }
    text.push_str(&align(&rows));
    text.push('\n');
    // Writing into a String cannot fail.
    let mut line = |name: &str, what: String| {
        let _ = writeln!(text, "{name:<18} {what}");
    };
    line("largest operation", bytes(f64::from(profile.io_bytes)));
    for (name, cap, show) in [
        (
            "operations/s",
            &profile.iops,
            (|count| format!("{count:.0}")) as fn(f64) -> String,
        ),
        ("bytes/s", &profile.bytes, bytes),
    ] {
        let source = cap.as_ref().map_or("", |cap| cap.source.as_str());
        line(name, format!("{}  ({source})", rate(cap.as_ref(), show)));
    }
    for operation in Operation::ALL {
        line(operation.name(), profile.cost(operation).source.clone());
    }
    line(
        "shape",
        "what lies around p50 and p99 is an assumption, the same for all profiles".to_owned(),
    );
    let log_normal = profile.cost(Operation::Write).latency.log_normal_mean();
    line(
        "log-normal",
        format!(
            "with the same p50 and p99 a write would take {} in the mean",
            time(log_normal)
        ),
    );
    text
}

fn rate(cap: Option<&Cap>, show: impl Fn(f64) -> String) -> String {
    match cap {
        None => "-".to_owned(),
        Some(Cap {
            rate,
            credits: None,
            ..
        }) => show(*rate),
        Some(Cap {
            rate,
            credits: Some(credits),
            ..
        }) => {
            format!(
                "{}, {} without credits",
                show(*rate),
                show(credits.baseline)
            )
        }
    }
}

fn bytes(count: f64) -> String {
    Size(count as u64).to_string()
}

fn time(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        ..1000.0 => format!("{us:.0} us"),
        ..10_000.0 => format!("{:.2} ms", us / 1000.0),
        _ => format!("{:.1} ms", us / 1000.0),
    }
}

/// The JSON of one profile: times in microseconds.
fn document(profile: &Profile) -> serde_json::Value {
    let us = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
    let cap = |cap: &Option<Cap>| {
        cap.as_ref().map(|cap| {
            json!({
                "rate": cap.rate,
                "baseline": cap.credits.map(|credits| credits.baseline),
                "credits": cap.credits.map(|credits| credits.most),
                "source": cap.source,
            })
        })
    };
    let costs: serde_json::Map<String, serde_json::Value> = Operation::ALL
        .into_iter()
        .map(|operation| {
            let cost = profile.cost(operation);
            let points = Quantiles::NAMES.iter().zip(cost.latency.points());
            let points: serde_json::Map<String, serde_json::Value> = points
                .map(|(name, time)| ((*name).to_owned(), us(time).into()))
                .collect();
            let value = json!({
                "round_trips": cost.round_trips,
                "quantiles_us": points,
                "mean_us": us(cost.latency.mean()),
                "log_normal_mean_us": us(cost.latency.log_normal_mean()),
                "source": cost.source,
            });
            (operation.name().to_owned(), value)
        })
        .collect();
    json!({
        "name": profile.name,
        "about": profile.about,
        "io_bytes": profile.io_bytes,
        "iops": cap(&profile.iops),
        "bytes_per_second": cap(&profile.bytes),
        "operations": costs,
    })
}
