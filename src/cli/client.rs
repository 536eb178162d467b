//! What `produce` and `consume` have in common: where to connect, and telling what happens there.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use failover::transport::Event;
use failover::{Connection, Destination, Severity, lint};
use indicatif::ProgressBar;
use tokio::sync::broadcast;

use crate::config::{Size, Time};

/// The pair that `baton pair` starts.
const PAIR: &str = "failover:(tcp://127.0.0.1:61616,tcp://127.0.0.1:61617)";

/// Where to connect.
#[derive(Args, Debug)]
pub(super) struct ClientArgs {
    /// Broker URL: failover:(tcp://HOST:PORT,...)?options, or tcp://HOST:PORT
    #[arg(value_name = "URL", env = "BATON_URL", default_value = PAIR)]
    url: String,

    /// Name of the queue (or, with --topic, of the topic)
    #[arg(value_name = "QUEUE")]
    queue: String,

    /// The name is a topic's
    #[arg(long)]
    pub topic: bool,

    /// User name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Password
    #[arg(
        long,
        env = "BATON_PASSWORD",
        hide_env_values = true,
        requires = "user"
    )]
    password: Option<String>,
}

impl ClientArgs {
    /// The queue or topic.
    pub(super) fn destination(&self) -> Destination {
        let name = self.queue.as_str();
        if self.topic {
            Destination::topic(name)
        } else {
            Destination::queue(name)
        }
    }

    /// Connects; what happens to the connection is told above `bar`.
    pub(super) async fn connect(
        &self,
        client_id: Option<&str>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Connection> {
        let refused: Vec<String> = lint(&self.url)
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .map(|finding| finding.render(&self.url))
            .collect();
        if !refused.is_empty() {
            bail!("the URL is wrong:\n{}", refused.join("\n"));
        }
        let (sender, events) = broadcast::channel(64);
        tokio::spawn(tell(events, bar.clone()));
        let mut builder = Connection::builder(&self.url)?.events(sender);
        if let Some(user) = &self.user {
            builder = builder.credentials(user, self.password.as_deref().unwrap_or_default());
        }
        if let Some(id) = client_id {
            builder = builder.client_id(id);
        }
        builder
            .connect()
            .await
            .with_context(|| format!("cannot connect to `{}`", failover::redact(&self.url)))
    }
}

/// Prints what people want to know of a connection.
async fn tell(mut events: broadcast::Receiver<Event>, bar: ProgressBar) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if let Some(line) = describe(&event) {
            bar.suspend(|| eprintln!("{line}"));
        }
    }
}

fn describe(event: &Event) -> Option<String> {
    match event {
        Event::Connected { address, took, .. } => Some(format!(
            "connected to {address} after {} ms",
            took.as_millis()
        )),
        Event::Interrupted { address, cause } => Some(format!("lost {address}: {cause}")),
        Event::Moving { address, .. } => Some(format!("leaving {address} as the broker asks")),
        Event::RoundFailed {
            rounds,
            next_in,
            is_warning: true,
        } => Some(format!(
            "no broker answers ({rounds} rounds so far); next try in {} ms",
            next_in.as_millis()
        )),
        Event::BrokerError { cause } => Some(format!("the broker reports: {cause}")),
        Event::GaveUp { rounds } => Some(format!("giving up after {rounds} rounds")),
        _ => None,
    }
}

/// A size on the command line.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    let wrong = || "write a number of bytes or one with a unit, like 1kb or 64mb".to_owned();
    let size = Size::parse(text).ok_or_else(wrong)?;
    usize::try_from(size.0).map_err(|_| wrong())
}

/// A time on the command line.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    Time::parse(text)
        .map(Time::duration)
        .ok_or_else(|| "write a time with a unit, like 500ms, 10s or 5min".to_owned())
}
