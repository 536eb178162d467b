//! Where log events go: standard error, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging as configured; for brokers.
pub(super) fn start(log: &Log) {
    // The configuration was validated: an unusable filter cannot come this far.
    let filter = EnvFilter::try_new(&log.filter.value).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match log.format.value {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        eprintln!("baton: cannot start logging: {error}");
    }
}

/// Warnings and errors only; for commands that talk to people. They tell themselves what happens to
/// their connections.
pub(super) fn start_quiet() {
    let quiet = |_| EnvFilter::new("warn,failover=off");
    let filter = EnvFilter::try_from_env("BATON_LOG").unwrap_or_else(quiet);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
