//! `baton doctor`: what a directory is good for, before a pair lives on it.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use storage::doctor::{Examination, Expectation, Helper, Settings, Severity, examine, help};

use super::broker::parse_assignment;
use super::wrap::wrapped;
use crate::config::{Config, Override, Time};

/// Only warnings were found.
const EXIT_WARNINGS: u8 = 3;
/// A pair must not run on it. Unknown options end with 2, too.
const EXIT_BAD: u8 = 2;
/// How often the progress line moves.
const TICK: Duration = Duration::from_millis(100);
/// Words are wrapped at this column.
const WIDTH: usize = 100;

/// Examine a directory: is it fit for a pair, and what takeover times to expect.
///
/// Looks at the mount and its options, tries locks with a second process, looks at clock, space
/// and speed, and computes takeover times for the configuration. It never takes the lock of a
/// running pair, and writes only files of its own, which it removes. A directory that does not
/// exist yet is examined by what will hold it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton doctor /srv/baton
  baton doctor /mnt/efs/baton --set tenure.lease=2s
  baton doctor --config /etc/baton.toml --json | jq '.findings[] | select(.severity == \"bad\")'

Run it on both hosts: what a mount promises is each host's own.

Exit codes:
  0   fine
  1   it could not be examined
  2   bad: a pair must not run on it like this (2 also for unknown options)
  3   warnings: it works, and will hurt some day")]
pub(super) struct DoctorArgs {
    /// Directory of the journal, or where it will be [default: the configuration's]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Configuration file of the brokers, for takeover times
    #[arg(long, value_name = "FILE", env = "BATON_CONFIG")]
    config: Option<PathBuf>,

    /// Any key of the configuration; repeatable
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = parse_assignment)]
    set: Vec<Override>,

    /// Lease of the NFS server: no client can ask for it [default: 90s, that of Linux]
    #[arg(long, value_name = "TIME", default_value = "90s", hide_default_value = true, value_parser = parse_lease)]
    nfs_lease: Duration,

    /// Print what was found as JSON
    #[arg(long)]
    json: bool,

    /// Be the second process of an examination
    #[arg(long, hide = true)]
    helper: bool,
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    let time = Time::parse(text).map(Time::duration);
    time.filter(|time| *time >= Duration::from_secs(1))
        .ok_or_else(|| "give a time of at least 1s, like 90s".to_owned())
}

/// Examines and prints.
pub(super) fn main(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    if args.helper {
        help(io::stdin().lock(), io::stdout().lock()).context("the examination has ended")?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(args.config.as_deref(), args.set)?;
    let directory = args
        .directory
        .unwrap_or_else(|| config.broker.directory.value.clone());
    let settings = settings(&config, args.nfs_lease);
    let helper = Helper {
        program: std::env::current_exe()
            .context("cannot find this program for a second process")?,
        arguments: ["doctor", "--helper"].map(str::to_owned).to_vec(),
    };
    let progress = progress();
    let examination = examine(&directory, &settings, &helper, &|what| {
        progress.set_message(format!("examining {}: {what}", directory.display()));
    });
    progress.finish_and_clear();
    let examination = examination?;
    let worst = examination.worst();
    if args.json {
        let mut value = serde_json::to_value(&examination)?;
        value["worst"] = json!(worst);
        println!("{value:#}");
    } else {
        print!("{}", render(&examination));
    }
    Ok(ExitCode::from(match worst {
        Severity::Good | Severity::Note => 0,
        Severity::Warning => EXIT_WARNINGS,
        Severity::Bad => EXIT_BAD,
    }))
}

/// On standard error, and only where somebody watches.
fn progress() -> ProgressBar {
    let bar = if io::stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    bar.enable_steady_tick(TICK);
    bar
}

fn settings(config: &Config, nfs_lease: Duration) -> Settings {
    let (tenure, journal) = (&config.tenure, &config.journal);
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Settings {
        lease_ms: ms(tenure.lease.value.duration()),
        renewal_ms: ms(tenure.renewal.value.duration()),
        lock_poll_ms: ms(tenure.lock_poll.value.duration()),
        clock_drift_permille: tenure.clock_drift_permille.value,
        takeover: tenure.takeover.value,
        segment_bytes: journal.segment_size.value.0,
        checkpoint_bytes: journal.checkpoint_every.value.0,
        nfs_lease_ms: ms(nfs_lease),
    }
}

fn render(examination: &Examination) -> String {
    let mut text = format!("{}\n", examination.directory.display());
    if let Some(mount) = &examination.mount {
        let options = mount.options.join(",");
        text += &format!(
            "  {} on {}, {}\n",
            mount.source,
            mount.point.display(),
            mount.kind
        );
        text += &indented(&options.replace(',', ", "), "    ", "    ");
    }
    for finding in &examination.findings {
        let sign = match finding.severity {
            Severity::Good => "ok     ",
            Severity::Note => "note   ",
            Severity::Warning => "WARNING",
            Severity::Bad => "BAD    ",
        };
        let head = format!("  {sign} {:<9} ", finding.topic);
        text += &indented(&finding.text, &head, &" ".repeat(head.len()));
        if let Some(remedy) = &finding.remedy {
            let head = " ".repeat(20);
            text += &indented(remedy, &format!("{head}-> "), &format!("{head}   "));
        }
    }
    text += "\nFrom a fault until the other broker serves\n";
    for one in &examination.takeover {
        text += &format!("  {:<38} {}\n", one.cause, range(one));
        text += &indented(&one.why, "      ", "      ");
    }
    text += match examination.worst() {
        Severity::Good | Severity::Note => "\nFine.\n",
        Severity::Warning => "\nIt works; see the warnings.\n",
        Severity::Bad => "\nA pair must not run on it like this.\n",
    };
    text
}

fn range(one: &Expectation) -> String {
    match (one.least_s, one.most_s) {
        (Some(least), Some(most)) => format!("{least:.2} to {most:.2} s"),
        (None, Some(most)) => format!("up to {most:.2} s"),
        _ => "never by itself".to_owned(),
    }
}

/// `text` in lines of [`WIDTH`], the first behind `head`, the others behind `indent`, which is as long.
fn indented(text: &str, head: &str, indent: &str) -> String {
    let lines = wrapped(text, WIDTH - head.len());
    format!("{head}{}\n", lines.join(&format!("\n{indent}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_sentences_are_wrapped_behind_their_indent() {
        let text = indented(&"word ".repeat(40), "  ok ", "     ");
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDTH),
            "{text}"
        );
        assert!(lines[0].starts_with("  ok word") && lines[1].starts_with("     word"));
    }

    #[test]
    fn the_lease_of_a_server_is_a_time() {
        assert_eq!(parse_lease("10s"), Ok(Duration::from_secs(10)));
        for bad in ["", "0", "ten", "10ms"] {
            assert!(parse_lease(bad).is_err(), "{bad}");
        }
    }
}
