//! The `baton` command line: one file per command.
//!
//! Commands parse, start the runtime, print, and choose the exit code. What they do lives
//! elsewhere.

mod broker;
mod child;
mod client;
mod config;
mod consume;
mod doctor;
mod logging;
mod meter;
mod pair;
mod produce;
mod status;
mod storage;
mod table;
mod transactions;
mod uri;
mod wrap;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::node::RUNTIME_THREAD;

/// An active/standby pair of message brokers for ActiveMQ clients, on one shared directory.
///
/// Two brokers share a journal directory. One is the active and serves; the other follows, and
/// takes over when the active dies, freezes or is stopped. Clients connect with a failover: URL and
/// notice little more than a pause.
#[derive(Debug, Parser)]
#[command(
    name = "baton",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Try it:
  baton pair                      two brokers on a temporary directory, to play with
  baton status                    who is the active
  baton drill                     a pair, a load, a kill, a takeover, a verdict
  baton doctor /srv/baton         is this directory fit for a pair, and how fast are takeovers

Run it, once on each of two hosts that share /srv/baton:
  baton broker --name a --directory /srv/baton --listen tcp://10.0.0.1:61616")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Broker(broker::BrokerArgs),
    Pair(pair::PairArgs),
    /// Kill the active of a loaded pair, and judge what the clients saw
    Drill(Box<crate::drill::DrillArgs>),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    Status(status::StatusArgs),
    Storage(storage::StorageArgs),
    Transactions(transactions::TransactionsArgs),
    Uri(uri::UriArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Broker(args) => broker::main(args),
        Command::Pair(args) => run(pair::main(args)),
        Command::Drill(args) => run(drill(*args)),
        Command::Produce(args) => run(produce::main(args)),
        Command::Consume(args) => run(consume::main(args)),
        Command::Status(args) => run(status::main(args)),
        Command::Storage(args) => storage::main(args),
        Command::Transactions(args) => run(transactions::main(args)),
        Command::Doctor(args) => run(async { doctor::main(args) }),
        Command::Config(args) => config::main(args),
        Command::Uri(args) => run(async { uri::main(args) }),
    }
}

async fn drill(args: crate::drill::DrillArgs) -> anyhow::Result<ExitCode> {
    let verdict = crate::drill::run(args).await?;
    Ok(ExitCode::from(verdict.exit_code()))
}

/// Runs a command that reports its failures as text: exit code 1.
fn run(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    logging::start_quiet();
    let outcome = block_on(command).and_then(|outcome| outcome);
    outcome.unwrap_or_else(|error| {
        eprintln!("baton: {}", chain(&error));
        ExitCode::FAILURE
    })
}

/// An error and its causes, each said once: many of them include what caused them.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// Runs a future on a runtime with a thread for each core. Whatever still blocks at its end is left
/// behind: storage that hangs must not keep the process.
fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name(RUNTIME_THREAD)
        .enable_all()
        .build()
        .map_err(|error| anyhow::anyhow!("cannot start the runtime: {error}"))?;
    let output = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn causes_are_not_repeated() {
        let error = anyhow::anyhow!("refused")
            .context("no answer: refused")
            .context("cannot send");
        assert_eq!(chain(&error), "cannot send: no answer: refused");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_option_has_a_help_text() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "`{name}` has no help");
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "`{name} {}` has no help",
                    argument.get_id()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
