//! `baton uri lint`: what a client will really do with a URI.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use failover::{Finding, Severity, lint};

/// Examine the URIs that clients connect with.
///
/// failover: URIs have some thirty options and more quirks; a misspelt option or a forgotten
/// parenthesis shows only when the broker fails.
#[derive(Args, Debug)]
pub(super) struct UriArgs {
    #[command(subcommand)]
    command: UriCommand,
}

#[derive(Debug, Subcommand)]
enum UriCommand {
    Lint(LintArgs),
}

/// Explain what a client will really do with a URI.
///
/// Prints every mistake (a client refuses the URI), every risk and every quirk, each with the place
/// in the URI and what to do. The exit code is 1 if a client would refuse one of the URIs, 0
/// otherwise.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton uri lint 'failover:(tcp://a:61616,tcp://b:61616)?randomize=false'
  baton uri lint 'failover:tcp://a:61616,tcp://b:61616?randomize=false'
  grep -o 'failover:.*' app.properties | baton uri lint -")]
struct LintArgs {
    /// The URIs; - reads them from standard input, one on each line
    #[arg(required = true, value_name = "URI")]
    uris: Vec<String>,

    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn main(args: UriArgs) -> anyhow::Result<ExitCode> {
    let UriCommand::Lint(args) = args.command;
    let mut uris = Vec::new();
    for uri in args.uris {
        if uri == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read standard input")?;
            uris.extend(
                text.lines()
                    .map(|line| line.trim().to_owned())
                    .filter(|l| !l.is_empty()),
            );
        } else {
            uris.push(uri);
        }
    }
    let examined: Vec<(String, Vec<Finding>)> = uris
        .into_iter()
        .map(|uri| (uri.clone(), lint(&uri)))
        .collect();
    if args.json {
        println!("{:#}", json(&examined));
    } else {
        print!("{}", text(&examined));
    }
    let is_refused = |findings: &[Finding]| findings.iter().any(|f| f.severity == Severity::Error);
    let any_refused = examined.iter().any(|(_, findings)| is_refused(findings));
    Ok(if any_refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn text(examined: &[(String, Vec<Finding>)]) -> String {
    let mut text = String::new();
    for (uri, findings) in examined {
        if findings.is_empty() {
            text.push_str(&format!("{uri}\nnothing to say about it\n"));
        }
        for finding in findings {
            text.push_str(finding.render(uri).trim_end());
            text.push_str("\n\n");
        }
    }
    text
}

fn json(examined: &[(String, Vec<Finding>)]) -> serde_json::Value {
    let finding = |finding: &Finding| {
        serde_json::json!({
            "severity": finding.severity.to_string(),
            "code": finding.code,
            "start": finding.span.start,
            "end": finding.span.end,
            "message": finding.message,
            "advice": finding.advice,
        })
    };
    let one = |(uri, findings): &(String, Vec<Finding>)| {
        let findings: Vec<_> = findings.iter().map(finding).collect();
        serde_json::json!({ "uri": uri, "findings": findings })
    };
    examined.iter().map(one).collect()
}
