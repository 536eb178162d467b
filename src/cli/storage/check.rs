//! `baton storage check`: what is in a journal directory, what is lost of it, and saving the rest.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use storage::clock::RealClock;
use storage::disk::RealDisk;
use storage::inspect::{
    Affected, Finding, Kind, Progress, Report, Salvaged, Severity, Verdict, check, salvage,
};

use super::keys::KeyArgs;
use crate::broker::JournalNames;

/// Check a journal directory for damage; with --salvage save what is left
///
/// Reads every batch and record of every segment, every checkpoint, claim and lease; compares the
/// checkpoints with the journal, and looks for the record of every pending message. It takes no lock
/// and writes nothing into DIR, so it may run beside a running pair.
///
/// An encrypted journal needs its keys. Without them, structure and checksums are checked, and not
/// what the records say.
///
/// With --salvage it writes what can be read into a new journal directory, on which a broker starts
/// at once. Stop both brokers first. Nothing is changed in DIR. With a key the new journal is encrypted
/// with it; of several, with the first.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton storage check /srv/baton
  baton storage check /srv/baton --json | jq '.findings[] | select(.severity == \"damage\")'
  baton storage check /srv/baton --salvage /srv/baton-saved
  baton storage check /srv/baton --config /etc/baton.toml          an encrypted one

Exit codes:
  0    all is there and checks out; with --salvage: nothing was lost
  1    damage; with --salvage: what is left was saved
  2    wrong usage
  3    no journal, something could not be read, or nothing could be saved")]
pub(super) struct CheckArgs {
    /// The journal directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Write what is left of the journal into this directory, which must be empty or missing
    #[arg(long, value_name = "OUT")]
    salvage: Option<PathBuf>,

    #[command(flatten)]
    keys: KeyArgs,

    /// Print everything found as JSON
    #[arg(long)]
    json: bool,
}

const DAMAGED: u8 = 1;
const NOT_CHECKED: u8 = 3;
/// Findings of one severity that people get to read.
const FINDINGS_SHOWN: usize = 25;

/// Runs the command.
pub(super) fn main(args: &CheckArgs) -> ExitCode {
    let outcome = match &args.salvage {
        None => run_check(args),
        Some(out) => run_salvage(args, out),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("baton: {}", super::super::chain(&error));
            ExitCode::from(NOT_CHECKED)
        }
    }
}

fn run_check(args: &CheckArgs) -> anyhow::Result<u8> {
    let keys = args.keys.load()?;
    let disk = RealDisk::open_to_inspect(&args.directory)?;
    let bar = Bar::new();
    let report = check(
        &disk,
        &keys,
        &RealClock::new(),
        &JournalNames,
        &mut |progress| {
            bar.show("checking", progress);
        },
    );
    bar.clear();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", describe(&args.directory, &report));
    }
    Ok(match report.verdict {
        Verdict::Healthy => 0,
        Verdict::Damaged => DAMAGED,
        Verdict::Incomplete | Verdict::NoJournal => NOT_CHECKED,
    })
}

fn run_salvage(args: &CheckArgs, out: &Path) -> anyhow::Result<u8> {
    let keys = args.keys.load()?;
    let from = RealDisk::open_to_inspect(&args.directory)?;
    refuse_inside(&args.directory, out)?;
    let is_new = !out.exists();
    std::fs::create_dir_all(out)
        .map_err(|error| anyhow::anyhow!("cannot create `{}`: {error}", out.display()))?;
    let to = RealDisk::open(out)?;
    let bar = Bar::new();
    let saved = salvage(
        &from,
        &to,
        &keys,
        &RealClock::new(),
        &JournalNames,
        &mut |progress| {
            bar.show("saving", progress);
        },
    );
    bar.clear();
    let saved = match saved {
        Ok(saved) => saved,
        Err(error) => {
            if is_new {
                // Only if nothing was written into it.
                let _ = std::fs::remove_dir(out);
            }
            return Err(error.into());
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&saved)?);
    } else {
        print!("{}", describe_saved(&args.directory, out, &saved));
    }
    Ok(if saved.is_complete() { 0 } else { DAMAGED })
}

/// DIR is never written to, not even by a new directory in it.
fn refuse_inside(directory: &Path, out: &Path) -> anyhow::Result<()> {
    let directory = directory.canonicalize()?;
    let mut existing = std::path::absolute(out)?;
    while !existing.exists() && existing.pop() {}
    if existing.canonicalize()?.starts_with(&directory) {
        anyhow::bail!(
            "`{}` lies in the journal directory, which is not written to; name another place",
            out.display()
        );
    }
    Ok(())
}

struct Bar(ProgressBar);

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::new(0);
        // indicatif draws nothing unless standard error is a terminal.
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let template = "{msg} {bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar(bar)
    }

    fn show(&self, what: &'static str, progress: Progress) {
        self.0.set_message(what);
        self.0
            .set_length(progress.total_bytes.max(progress.done_bytes));
        self.0.set_position(progress.done_bytes);
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn describe(directory: &Path, report: &Report) -> String {
    let count = |severity| {
        let findings = report.findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let directory = directory.display();
    let mut text = match report.verdict {
        Verdict::Healthy => format!("{directory}: the journal is in order.\n"),
        Verdict::Damaged => format!(
            "{directory}: DAMAGED: {} findings; a broker may refuse to start on it.\n",
            count(Severity::Damage)
        ),
        Verdict::Incomplete => {
            format!("{directory}: no damage was seen, but not everything could be read.\n")
        }
        Verdict::NoJournal => format!("{directory}: there is no journal here.\n"),
    };
    if report.segments > 0 || report.checkpoints > 0 {
        let is_locked = report
            .findings
            .iter()
            .any(|finding| finding.kind == Kind::Key);
        let pending = match is_locked {
            true => "what is pending cannot be told without the key".to_owned(),
            false => format!(
                "{} pending messages in {} backlogs, {} prepared transactions",
                report.messages, report.backlogs, report.prepared
            ),
        };
        let _ = writeln!(
            text,
            "{pending}; epoch {}, LSN {}",
            report.epoch, report.last_lsn
        );
        let _ = writeln!(
            text,
            "{} segments ({}) with {} records in {} batches; {} readable checkpoints",
            report.segments,
            bytes(report.bytes),
            report.records,
            report.batches,
            report.checkpoints
        );
        let ids: Vec<String> = report
            .keys
            .iter()
            .filter_map(|used| used.key)
            .map(|key| key.to_string())
            .collect();
        if !ids.is_empty() {
            let _ = writeln!(text, "encrypted with: {}", ids.join(", "));
        }
    }
    for severity in [
        Severity::Damage,
        Severity::Unread,
        Severity::Warning,
        Severity::Note,
    ] {
        let findings = report.findings.iter();
        let findings = findings.filter(|finding| finding.severity == severity);
        for finding in findings.take(FINDINGS_SHOWN) {
            text.push('\n');
            text.push_str(&describe_finding(finding));
        }
        let hidden = count(severity).saturating_sub(FINDINGS_SHOWN);
        if hidden > 0 {
            let _ = writeln!(text, "\n({hidden} more like these: --json shows them)");
        }
    }
    if report.left_out > 0 {
        let _ = writeln!(
            text,
            "\n({} more findings are only counted)",
            report.left_out
        );
    }
    text
}

fn describe_finding(finding: &Finding) -> String {
    let mut text = match finding.severity {
        Severity::Damage => "damage".to_owned(),
        Severity::Unread => "not readable".to_owned(),
        Severity::Warning => "warning".to_owned(),
        Severity::Note => "note".to_owned(),
    };
    if let Some(path) = &finding.path {
        let _ = write!(text, ": {path}");
    }
    match (finding.offset, finding.end_offset) {
        (Some(start), Some(end)) if end > start => {
            let _ = write!(text, ", bytes {start} to {end}");
        }
        (Some(start), _) => {
            let _ = write!(text, ", byte {start}");
        }
        _ => {}
    }
    let _ = writeln!(text, ": {}", finding.what);
    if let (Some(first), Some(last)) = (finding.first_lsn, finding.last_lsn) {
        let records = finding.records.unwrap_or(0);
        let _ = writeln!(text, "    records: LSN {first} to {last} ({records})");
    }
    for affected in &finding.backlogs {
        let _ = writeln!(text, "    {}", describe_affected(affected));
    }
    if !finding.advice.is_empty() {
        let _ = writeln!(text, "    do: {}", finding.advice);
    }
    text
}

fn describe_affected(affected: &Affected) -> String {
    let plural = if affected.messages == 1 { "" } else { "s" };
    format!("{}: {} message{plural}", affected.name, affected.messages)
}

fn describe_saved(directory: &Path, out: &Path, saved: &Salvaged) -> String {
    let mut text = format!(
        "Saved {} pending messages of {} backlogs from {} into {} ({}).\n",
        saved.messages,
        saved.backlogs,
        directory.display(),
        out.display(),
        bytes(saved.bytes)
    );
    if saved.is_complete() {
        text.push_str("Nothing was lost.\n");
    }
    let mut list = |title: &str, all: &[Affected]| {
        if !all.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            for affected in all {
                let _ = writeln!(text, "    {}", describe_affected(affected));
            }
        }
    };
    list(
        "Lost, because their records cannot be read",
        &saved.lost_messages,
    );
    list(
        "Come once more, because it is not certain what was acknowledged",
        &saved.may_come_twice,
    );
    list("Queues whose names are lost", &saved.recovered_backlogs);
    if !saved.lost_records.is_empty() {
        text.push_str("\nLost records, which may have been messages or what became of them:\n");
        for lost in &saved.lost_records {
            let _ = writeln!(text, "    LSN {} to {}", lost.first_lsn, lost.last_lsn);
        }
    }
    if saved.lost_in_transactions > 0 {
        let lost = saved.lost_in_transactions;
        let _ = writeln!(text, "\nLost in undecided transactions: {lost} messages");
    }
    if saved.in_doubt_transactions > 0 {
        let _ = writeln!(
            text,
            "\n{} transactions with {} messages may have been committed; decide what becomes of them \
             with `baton transactions`.",
            saved.in_doubt_transactions, saved.in_doubt_messages
        );
    }
    if saved.is_all_redelivered {
        text.push_str("\nAll messages are flagged as redelivered: consumers may have had them.\n");
    }
    let _ = writeln!(
        text,
        "\nStart on it:  baton broker --directory {}",
        out.display()
    );
    text
}

/// Bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{kib:.1} KiB"),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", kib / 1024.0),
        _ => format!("{:.2} GiB", kib / 1_048_576.0),
    }
}
