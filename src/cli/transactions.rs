//! `baton transactions`: what transaction managers left undecided, and deciding it for them.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::status::{ask, time};
use crate::broker::{InDoubt, InDoubtReport};
use crate::console::TransactionRef;
use crate::console::client::post;
use crate::node::Role;

/// List prepared (in-doubt) XA transactions, or decide them.
///
/// A prepared transaction waits until its transaction manager commits it or rolls it back, over restarts
/// and takeovers. If the manager is gone for good, decide in its place: messages that the
/// transaction consumed stay reserved until then.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton transactions list
  baton transactions list http://10.0.0.1:8161 http://10.0.0.2:8161
  baton transactions commit 4871251:8a3f:01 --yes
  baton transactions rollback 4871251:8a3f:01 --yes

A transaction manager that comes back is told of the decision (XA_HEURCOM or XA_HEURRB).
Decisions are taken from the active's own host only.")]
pub(super) struct TransactionsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show all prepared transactions and the decisions that managers do not know of
    List {
        #[command(flatten)]
        brokers: Brokers,
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
    /// Commit a prepared transaction in place of its manager
    Commit(Decision),
    /// Roll a prepared transaction back in place of its manager
    Rollback(Decision),
}

#[derive(Args, Debug)]
struct Brokers {
    /// HTTP addresses of the brokers; the active among them is asked
    #[arg(value_name = "URL", default_values = ["http://127.0.0.1:8161", "http://127.0.0.1:8162"])]
    urls: Vec<String>,

    /// How long to wait for each answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 15_000)]
    timeout_ms: u64,
}

#[derive(Args, Debug)]
struct Decision {
    /// The transaction as the list shows it: format:global:branch, the last two in hexadecimal
    #[arg(value_name = "XID", value_parser = parse_xid)]
    transaction: TransactionRef,

    /// Really decide; it cannot be taken back
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    brokers: Brokers,
}

pub(super) async fn main(args: TransactionsArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List { brokers, json } => {
            let (_, report) = find(&brokers).await?;
            if json {
                println!("{:#}", serde_json::to_value(&report)?);
            } else {
                print!("{}", table(&report));
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Commit(decision) => decide(&decision, "commit").await,
        Action::Rollback(decision) => decide(&decision, "rollback").await,
    }
}

async fn decide(decision: &Decision, verb: &str) -> anyhow::Result<ExitCode> {
    let (active, report) = find(&decision.brokers).await?;
    let wanted = &decision.transaction;
    let is_wanted = |one: &&InDoubt| reference(one) == *wanted;
    let Some(found) = report.prepared.iter().find(is_wanted) else {
        bail!("no prepared transaction `{wanted}` on {active}: see `baton transactions list`");
    };
    if !decision.yes {
        let what = describe(found);
        bail!("{verb} of {what}: nothing was done; add --yes to do it, it cannot be taken back");
    }
    let patience = Duration::from_millis(decision.brokers.timeout_ms);
    let body = serde_json::to_string(wanted)?;
    let answer = post(&active, &format!("/transactions/{verb}"), &body, patience).await?;
    if answer.code != 200 {
        bail!("`{active}` answers {}: {}", answer.code, answer.body.trim());
    }
    print!("{}", answer.body);
    Ok(ExitCode::SUCCESS)
}

/// The active among the brokers, and what it says of transactions.
async fn find(brokers: &Brokers) -> anyhow::Result<(String, InDoubtReport)> {
    let patience = Duration::from_millis(brokers.timeout_ms);
    let mut reasons = Vec::new();
    for url in &brokers.urls {
        match ask(url, patience).await {
            Ok(status) if status.role == Role::Active => {
                let mut broker = status.broker.unwrap_or_default();
                let report = serde_json::from_value(broker["transactions"].take())
                    .with_context(|| format!("`{url}` says nothing of transactions"))?;
                return Ok((url.clone(), report));
            }
            Ok(status) => reasons.push(format!("{} is {}", status.name, status.role)),
            Err(error) => reasons.push(error),
        }
    }
    bail!("no active broker: {}", reasons.join("; "));
}

fn parse_xid(text: &str) -> Result<TransactionRef, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [format, global, branch] = parts[..] else {
        return Err("write format:global:branch as the list shows it".to_owned());
    };
    let is_hex = |part: &str| {
        part.len().is_multiple_of(2) && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if !is_hex(global) || !is_hex(branch) {
        return Err("global part and branch are pairs of hexadecimal digits".to_owned());
    }
    Ok(TransactionRef {
        format: format
            .parse()
            .map_err(|_| format!("`{format}` is no format number"))?,
        global: global.to_ascii_lowercase(),
        branch: branch.to_ascii_lowercase(),
    })
}

fn reference(one: &InDoubt) -> TransactionRef {
    TransactionRef {
        format: one.format,
        global: one.global.clone(),
        branch: one.branch.clone(),
    }
}

fn describe(one: &InDoubt) -> String {
    let mut text = format!("{}, prepared {} ago: ", reference(one), time(one.age_ms));
    let parts: Vec<String> = one
        .destinations
        .iter()
        .map(|part| match (part.messages, part.acknowledged) {
            (sent, 0) => format!("{sent} sent to {}", part.name),
            (0, taken) => format!("{taken} consumed from {}", part.name),
            (sent, taken) => format!("{sent} sent to and {taken} consumed from {}", part.name),
        })
        .collect();
    match parts.is_empty() {
        true => text.push_str("nothing that outlived its broker"),
        false => text.push_str(&parts.join(", ")),
    }
    text
}

fn table(report: &InDoubtReport) -> String {
    let mut text = String::new();
    if report.prepared.is_empty() {
        text.push_str("no transaction is in doubt\n");
    }
    for one in &report.prepared {
        let _ = writeln!(text, "{}", describe(one));
    }
    if !report.heuristic.is_empty() {
        text.push_str("\ndecided by operators, their managers do not know yet:\n");
    }
    for one in &report.heuristic {
        let (format, global, branch) = (one.format, &one.global, &one.branch);
        let _ = writeln!(text, "{format}:{global}:{branch}, {}", one.outcome);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{HeuristicOutcome, InDoubtDestination};

    fn in_doubt() -> InDoubt {
        let part = |name: &str, messages, acknowledged| InDoubtDestination {
            name: name.to_owned(),
            messages,
            acknowledged,
        };
        InDoubt {
            format: -7,
            global: "0a".to_owned(),
            branch: String::new(),
            prepared_at_ms: 0,
            age_ms: 61_000,
            messages: 3,
            acknowledged: 2,
            destinations: vec![part("A", 2, 0), part("B", 0, 1), part("C", 1, 1)],
        }
    }

    #[test]
    fn the_list_says_what_a_decision_is_about() {
        let report = InDoubtReport {
            prepared: vec![in_doubt()],
            heuristic: vec![HeuristicOutcome {
                format: 1,
                global: "ff".to_owned(),
                branch: "00".to_owned(),
                outcome: "committed".to_owned(),
                decided_at_ms: 5,
            }],
        };
        assert_eq!(
            table(&report),
            "\
-7:0a:, prepared 1 min 1 s ago: 2 sent to A, 1 consumed from B, 1 sent to and 1 consumed from C

decided by operators, their managers do not know yet:
1:ff:00, committed
"
        );
        assert_eq!(
            table(&InDoubtReport::default()),
            "no transaction is in doubt\n"
        );
    }

    #[test]
    fn names_are_read_as_the_list_shows_them() {
        let reference = reference(&in_doubt());
        assert_eq!(parse_xid(&reference.to_string()), Ok(reference));
        assert_eq!(
            parse_xid("1:FF:").map(|xid| xid.global),
            Ok("ff".to_owned())
        );
        for odd in ["", "1:2", "x:00:00", "1:0:00", "1:zz:00", "1:00:00:00"] {
            assert!(parse_xid(odd).is_err(), "{odd}");
        }
    }
}
