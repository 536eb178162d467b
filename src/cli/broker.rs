//! `baton broker`: one broker of a pair, in the foreground.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{block_on, logging};
use crate::config::{Config, Override};
use crate::node::{self, Exit};

/// Run one broker of a pair, in the foreground.
///
/// Without options it is named after the host, keeps its journal in ./baton-data, and uses the
/// ports 61616 and 8161 of 127.0.0.1. Whoever gets the journal's lock is the active and opens the
/// messaging ports; the other follows with its messaging ports closed. The HTTP port is open on
/// both.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton broker
  baton broker --name a --directory /srv/baton --listen tcp://10.0.0.1:61616
  baton broker --name b --directory /srv/baton --listen tcp://0.0.0.0:61616 --http 0.0.0.0:8161
  baton broker --config /etc/baton.toml --set tenure.lease=2s
  baton broker --profile efs-regional          as slow as EFS, to see what it would do
  baton broker --config /etc/activemq/activemq.xml --name a --directory /srv/baton

Signals:
  SIGTERM, SIGINT   planned switchover: answers what was sent, sends clients to the other broker,
                    lets the lock go, exits with 0. A second one ends at once.

Standard output is for machines, one event on a line; the log goes to standard error:
  http http://127.0.0.1:8161                   the health port is open
  role standby epoch 6                         a change of role
  role taking_over epoch 7 cause=lock
  replayed epoch 7                             the state is complete
  listening tcp://127.0.0.1:61616              a messaging port is open
  role active epoch 7

Exit codes:
  0    stopped as asked
  1    wrong command line or configuration, or it could not start (2: unknown options)
  70   a thread panicked: a defect
  75   the storage cannot be used any more")]
pub(super) struct BrokerArgs {
    /// Configuration file: a baton.toml (examples/baton.toml lists every key) or an ActiveMQ's
    /// activemq.xml
    #[arg(long, value_name = "FILE", env = "BATON_CONFIG")]
    config: Option<PathBuf>,

    /// Name of this broker, different from the other one's [default: the host's name]
    #[arg(long, env = "BATON_NAME")]
    name: Option<String>,

    /// Journal directory, shared with the other broker [default: baton-data]
    #[arg(long, value_name = "DIR", env = "BATON_DIRECTORY")]
    directory: Option<String>,

    /// Messaging address, open while active; repeatable; port 0 takes a free one
    /// [default: tcp://127.0.0.1:61616]
    #[arg(long, value_name = "URI", env = "BATON_LISTEN", value_delimiter = ',')]
    listen: Vec<String>,

    /// Address for health and status; port 0 takes a free one [default: 127.0.0.1:8161]
    #[arg(long, value_name = "HOST:PORT", env = "BATON_HTTP")]
    http: Option<String>,

    /// The other broker's messaging address, told to clients; repeatable
    #[arg(long, value_name = "URI", env = "BATON_PEER", value_delimiter = ',')]
    peer: Vec<String>,

    /// This broker's address as clients reach it, if it differs from --listen; repeatable
    #[arg(
        long,
        value_name = "URI",
        env = "BATON_ADVERTISE",
        value_delimiter = ','
    )]
    advertise: Vec<String>,

    /// Latency profile, for labs: the journal directory gets as slow as other storage; see `baton storage
    /// profiles`
    #[arg(long, value_name = "NAME", env = "BATON_PROFILE")]
    profile: Option<String>,

    /// Log levels: info, or by module like info,storage=debug [default: info]
    #[arg(long, value_name = "FILTER", env = "BATON_LOG")]
    log: Option<String>,

    /// Format of the log: text or json [default: text]
    #[arg(long, value_name = "FORMAT", env = "BATON_LOG_FORMAT")]
    log_format: Option<String>,

    /// Any other key of the configuration; repeatable
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = parse_assignment)]
    set: Vec<Override>,
}

pub(super) fn parse_assignment(text: &str) -> Result<Override, String> {
    Override::parse(text).ok_or_else(|| "write SECTION.KEY=VALUE, like tenure.lease=2s".to_owned())
}

impl BrokerArgs {
    fn overrides(self) -> Vec<Override> {
        let mut overrides = self.set;
        let texts = [
            ("broker.name", self.name, "--name"),
            ("broker.directory", self.directory, "--directory"),
            ("http.listen", self.http, "--http"),
            ("storage.profile", self.profile, "--profile"),
            ("log.filter", self.log, "--log"),
            ("log.format", self.log_format, "--log-format"),
        ];
        for (key, value, flag) in texts {
            overrides.extend(value.map(|value| Override::text(key, &value, flag)));
        }
        let lists = [
            ("listeners.openwire", self.listen, "--listen"),
            ("listeners.peers", self.peer, "--peer"),
            ("listeners.advertise", self.advertise, "--advertise"),
        ];
        for (key, values, flag) in lists {
            if !values.is_empty() {
                overrides.push(Override::list(key, &values, flag));
            }
        }
        overrides
    }
}

/// Runs the broker to its end.
pub(super) fn main(mut args: BrokerArgs) -> ExitCode {
    let file = args.config.take();
    let config = match Config::load(file.as_deref(), args.overrides()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("baton: {error}");
            return ExitCode::FAILURE;
        }
    };
    logging::start(&config.log);
    for note in &config.notes {
        let (place, what, why) = (note.origin.to_string(), &note.what, &note.why);
        tracing::warn!(%place, "{what}: {why}.");
    }
    let exit = match block_on(node::run(config)) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("baton: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match &exit {
        Exit::Stopped => {}
        Exit::Hurried { .. } => tracing::warn!(code = exit.code(), "{exit}"),
        _ => {
            tracing::error!(code = exit.code(), "The broker cannot go on: {exit}.");
            eprintln!("baton: {exit}");
        }
    }
    ExitCode::from(exit.code())
}
