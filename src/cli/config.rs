//! `baton config`: looks at a configuration without starting anything.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use storage::Keyring;

use crate::config::{Config, Override, keys};

/// Look at a configuration without starting a broker
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Check(CheckArgs),
}

/// Say whether a broker would start with a file, and what of it has no effect
///
/// Reads a baton.toml or an ActiveMQ's activemq.xml as `baton broker --config` would. Of an
/// activemq.xml it lists every element and attribute that is not mapped, with its line. Keys of the journal
/// are got as a broker would get them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton config check baton.toml
  baton config check /etc/activemq/activemq.xml
  baton config check activemq.xml --set broker.name=a --strict

Exit codes:
  0    a broker would start
  1    it would not; or, with --strict, something has no effect")]
struct CheckArgs {
    /// The file
    file: PathBuf,

    /// Any key of the configuration, as for `baton broker`; repeatable
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = super::broker::parse_assignment)]
    set: Vec<Override>,

    /// Exit with 1 when something in the file has no effect
    #[arg(long)]
    strict: bool,
}

/// Runs the command.
pub(super) fn main(args: ConfigArgs) -> ExitCode {
    let ConfigCommand::Check(args) = args.command;
    match Config::load(Some(&args.file), args.set) {
        Ok(config) => {
            let keys = match keys::load(&config.encryption) {
                Ok(keys) => keys,
                Err(error) => {
                    eprintln!("baton: cannot get the key of the journal: {error}");
                    return ExitCode::FAILURE;
                }
            };
            print!("{}", summary(&config, &keys));
            if args.strict && !config.notes.is_empty() {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("baton: {error}");
            ExitCode::FAILURE
        }
    }
}

fn encryption(keys: &Keyring) -> String {
    let ids = keys.ids();
    let reading: Vec<String> = ids
        .iter()
        .filter(|id| Some(**id) != keys.writing_id())
        .map(ToString::to_string)
        .collect();
    let writing = match keys.writing_id() {
        Some(id) => format!("writes with the key {id}"),
        None => "writes plain".to_owned(),
    };
    match &reading[..] {
        [] => writing,
        ids => format!("{writing}, reads with {} too", ids.join(", ")),
    }
}

/// What a broker would do with it, in a few lines.
fn summary(config: &Config, keys: &Keyring) -> String {
    let mut text = String::new();
    let listeners: Vec<String> = config
        .listeners
        .openwire
        .value
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut line = |name: &str, value: String| {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("broker", config.broker.name.value.clone());
    line("listens on", listeners.join(", "));
    line(
        "journal in",
        config.broker.directory.value.display().to_string(),
    );
    if !keys.is_empty() {
        line("encryption", encryption(keys));
    }
    let limits = &config.limits;
    let (memory, store, temp) = (limits.memory.value, limits.store.value, limits.temp.value);
    line(
        "limits",
        format!("memory {memory}, store {store}, temp {temp}"),
    );
    let security = &config.security;
    let clients = match (
        security.authentication.value,
        security.anonymous_access_allowed.value,
    ) {
        (false, _) => "anybody".to_owned(),
        (true, false) => format!("{} users", security.user_count()),
        (true, true) => format!("{} users and anonymous ones", security.user_count()),
    };
    let rights = match security.authorization_required.value {
        true => "as authorized",
        false => "everything",
    };
    line("clients", format!("{clients}, may do {rights}"));
    for (pattern, _) in &config.policies.entries {
        line("policy for", pattern.to_string());
    }
    if config.policies.default.is_some() {
        line("policy for", "all others".to_owned());
    }
    for note in &config.notes {
        let _ = writeln!(text, "{note}");
    }
    match config.notes.len() {
        0 => text.push_str("Everything in it has an effect.\n"),
        1 => text.push_str("One thing in it has no effect.\n"),
        count => {
            let _ = writeln!(
                text,
                "{count} things in it have no effect, or another one than in ActiveMQ."
            );
        }
    }
    text
}
