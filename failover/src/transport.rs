//! A reconnecting transport over any kind of connection.
//!
//! [`Reconnector`] runs the policy of [`crate::backoff`] with real time and a [`Connector`]. It
//! hands out connected transports and takes back the news that one broke. It does not know what
//! is spoken over them: replaying a protocol's state is its caller's business.
//!
//! ```text
//!  loop {
//!      let link = reconnector.connect().await?;            // waits, tries, backs off
//!      select! {
//!          cause = speak(link.transport) => reconnector.lost(&cause)?,
//!          _ = reconnector.move_wanted() => reconnector.left(),   // rebalance, priority, "go there"
//!      }
//!  }
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast;

use crate::backoff::{Loss, ReconnectPolicy, Step};
use crate::uri::{FailoverUri, InnerUri};

/// Events that a slow observer may miss beyond this number.
const EVENTS_KEPT: usize = 256;

/// A file of addresses larger than this is not one.
const ADDRESS_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Opens connections; the seam to sockets, TLS, tests and other protocols.
pub trait Connector: Send + Sync + 'static {
    /// A connection that is ready to be used.
    type Transport: Send + 'static;
    /// Why an address could not be connected to.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Connects to one address, with its options and within its `connectionTimeout`.
    ///
    /// # Errors
    /// Whatever kept the address from answering; the next address is tried then.
    fn connect(
        &self,
        address: &InnerUri,
    ) -> impl Future<Output = Result<Self::Transport, Self::Error>> + Send;

    /// Whether a connection that was held as a backup can still be used.
    fn is_alive(&self, transport: &Self::Transport) -> bool {
        let _ = transport;
        true
    }
}

/// What happened to a reconnecting transport.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection stands.
    Connected {
        /// Where to.
        address: String,
        /// Whether it is the first one.
        is_first: bool,
        /// How long it was sought.
        took: Duration,
    },
    /// The connection broke.
    Interrupted {
        /// Where to.
        address: String,
        /// Why.
        cause: String,
    },
    /// One address did not answer.
    AttemptFailed {
        /// Which.
        address: String,
        /// Why.
        cause: String,
    },
    /// No address answered; the next round follows.
    RoundFailed {
        /// How many rounds failed in a row.
        rounds: u32,
        /// When the next round begins.
        next_in: Duration,
        /// Whether the options ask for a warning.
        is_warning: bool,
    },
    /// A broker pushed another list of addresses.
    AddressesPushed {
        /// How many.
        count: usize,
    },
    /// The connection is left on purpose.
    Moving {
        /// From where.
        address: String,
        /// Why.
        reason: MoveReason,
    },
    /// A backup connection stands ready.
    BackupReady {
        /// Where to.
        address: String,
    },
    /// The broker reported an error that belongs to no request.
    BrokerError {
        /// Its class and words.
        cause: String,
    },
    /// No further attempt is made.
    GaveUp {
        /// How many rounds failed in a row.
        rounds: u32,
    },
}

/// Why a live connection is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveReason {
    /// The broker named another address to continue at.
    ReconnectTo,
    /// The broker asked its clients to spread anew.
    Rebalance,
    /// A priority address answers again.
    Priority,
}

/// No connection is to be had any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no broker answered at {addresses} in {rounds} round(s){}", last_text(.last))]
pub struct GaveUp {
    /// The addresses, separated by commas.
    pub addresses: String,
    /// How many rounds failed.
    pub rounds: u32,
    /// The last failure, when there was one.
    #[source]
    pub last: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

fn last_text(last: &Option<Arc<dyn std::error::Error + Send + Sync>>) -> String {
    last.as_ref()
        .map(|error| format!(": {error}"))
        .unwrap_or_default()
}

/// A connection and where it leads.
#[derive(Debug)]
pub struct Link<T> {
    /// The connection.
    pub transport: T,
    /// Where to.
    pub address: InnerUri,
    /// Whether it is the first one: nothing needs to be restored.
    pub is_first: bool,
}

/// Brings connections to one of several addresses, again and again.
pub struct Reconnector<C: Connector> {
    connector: C,
    uri: Arc<FailoverUri>,
    policy: ReconnectPolicy<InnerUri>,
    current: Option<InnerUri>,
    backups: VecDeque<(InnerUri, C::Transport)>,
    /// Set when a backup to a priority address stands ready.
    is_priority_ready: bool,
    move_request: Option<MoveReason>,
    last_failure: Option<Arc<dyn std::error::Error + Send + Sync>>,
    events: broadcast::Sender<Event>,
}

impl<C: Connector> fmt::Debug for Reconnector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnector")
            .field("current", &self.current)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<C: Connector> Reconnector<C> {
    /// A reconnector over the addresses of `uri`; `seed` decides every random order.
    #[must_use]
    pub fn new(uri: FailoverUri, connector: C, seed: u64) -> Self {
        let mut options = uri.options.clone();
        if !uri.is_reconnecting() {
            // A single address is tried once and not sought again.
            options.max_reconnect_attempts = Some(0);
        }
        let policy =
            ReconnectPolicy::new(options, uri.addresses.clone(), uri.priority.clone(), seed);
        Self {
            connector,
            uri: Arc::new(uri),
            policy,
            current: None,
            backups: VecDeque::new(),
            is_priority_ready: false,
            move_request: None,
            last_failure: None,
            events: broadcast::Sender::new(EVENTS_KEPT),
        }
    }

    /// Reports what happens from now on. An observer that lags loses the oldest events.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// The sender of events, for observers that come later.
    #[must_use]
    pub fn event_sender(&self) -> broadcast::Sender<Event> {
        self.events.clone()
    }

    /// Reports to these observers instead of those subscribed before.
    pub fn report_to(&mut self, events: broadcast::Sender<Event>) {
        self.events = events;
    }

    /// The address of the live connection.
    #[must_use]
    pub fn current(&self) -> Option<&InnerUri> {
        self.current.as_ref()
    }

    /// How long a send may wait for a connection; `None` is for ever.
    #[must_use]
    pub fn send_timeout(&self) -> Option<Duration> {
        self.policy
            .options()
            .timeout
            .filter(|timeout| !timeout.is_zero())
    }

    /// Finds the next connection: waits and tries by the policy until an address answers.
    ///
    /// Dropping the future and calling again continues where it was, only a pause begins anew.
    ///
    /// # Errors
    /// [`GaveUp`] when the options allow no further round; then always.
    pub async fn connect(&mut self) -> Result<Link<C::Transport>, GaveUp> {
        let begun = Instant::now();
        self.current = None;
        if let Some((address, transport)) = self.take_backup() {
            return Ok(self.connected(address, transport, begun));
        }
        self.read_address_file().await;
        loop {
            match self.policy.next() {
                Step::Wait { delay, failed } => {
                    if let Some(failed) = failed {
                        self.report_round(failed.rounds, failed.is_warning, delay);
                    }
                    tokio::time::sleep(delay).await;
                    self.read_address_file().await;
                }
                Step::Try(address) => match self.connector.connect(&address).await {
                    Ok(transport) => return Ok(self.connected(address, transport, begun)),
                    Err(error) => {
                        let (address, cause) = (address.to_string(), error.to_string());
                        tracing::debug!(address, cause, "Address did not answer.");
                        self.send(Event::AttemptFailed { address, cause });
                        self.last_failure = Some(Arc::new(error));
                    }
                },
                Step::GiveUp { rounds } => return Err(self.give_up(rounds)),
            }
        }
    }

    fn connected(
        &mut self,
        address: InnerUri,
        transport: C::Transport,
        begun: Instant,
    ) -> Link<C::Transport> {
        let is_first = self.policy.is_first_connection();
        self.policy.connected();
        self.current = Some(address.clone());
        self.move_request = None;
        let took = begun.elapsed();
        tracing::info!(%address, ?took, is_first, "Connected.");
        self.send(Event::Connected {
            address: address.to_string(),
            is_first,
            took,
        });
        Link {
            transport,
            address,
            is_first,
        }
    }

    fn give_up(&mut self, rounds: u32) -> GaveUp {
        let addresses: Vec<String> = self
            .policy
            .connect_list()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.send(Event::GaveUp { rounds });
        GaveUp {
            addresses: addresses.join(","),
            rounds,
            last: self.last_failure.clone(),
        }
    }

    fn report_round(&self, rounds: u32, is_warning: bool, next_in: Duration) {
        if is_warning {
            let cause = self
                .last_failure
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::warn!(rounds, cause, "No broker answered, trying on.");
        }
        self.send(Event::RoundFailed {
            rounds,
            next_in,
            is_warning,
        });
    }

    /// The live connection broke.
    ///
    /// # Errors
    /// [`GaveUp`] when the options allow no reconnect at all.
    pub fn lost(&mut self, cause: &(dyn fmt::Display + Sync)) -> Result<(), GaveUp> {
        let Some(address) = self.current.take() else {
            return Ok(());
        };
        let cause = cause.to_string();
        tracing::warn!(%address, cause, "Connection lost.");
        self.send(Event::Interrupted {
            address: address.to_string(),
            cause,
        });
        match self.policy.lost(address) {
            Loss::Reconnect => Ok(()),
            Loss::Final => Err(self.give_up(0)),
        }
    }

    /// The live connection was left because of [`Reconnector::move_wanted`].
    pub fn left(&mut self) {
        let Some(address) = self.current.take() else {
            return;
        };
        let reason = self.move_request.take().unwrap_or(MoveReason::Priority);
        tracing::info!(%address, ?reason, "Leaving the connection for another.");
        self.send(Event::Moving {
            address: address.to_string(),
            reason,
        });
        self.policy.left();
    }

    /// Takes a list of addresses that a broker pushed, separated by commas. With `rebalance` the
    /// live connection moves when another address is now first.
    pub fn push_addresses(&mut self, list: &str, rebalance: bool) {
        let mut addresses = Vec::new();
        for text in list
            .split([',', '\n', '\r'])
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            match self.uri.parse_pushed(text) {
                Ok(address) => addresses.push(address),
                // The list is a peer's; what cannot be read of it must not end the rest.
                Err(error) => tracing::warn!(%error, "A pushed address was ignored."),
            }
        }
        if addresses.is_empty() {
            return;
        }
        let count = addresses.len();
        if self.policy.push(addresses) {
            self.send(Event::AddressesPushed { count });
            if rebalance {
                self.rebalance();
            }
        }
    }

    /// A broker asks this client to spread anew.
    pub fn rebalance(&mut self) {
        if let Some(current) = self.current.clone()
            && self.policy.should_move(&current)
        {
            self.move_request.get_or_insert(MoveReason::Rebalance);
        }
    }

    /// A broker asks this client to continue at another address.
    pub fn reconnect_to(&mut self, text: &str) {
        match self.uri.parse_pushed(text.trim()) {
            Ok(address) if self.current.as_ref() == Some(&address) => {}
            Ok(address) => {
                if self.policy.reconnect_to(address) {
                    self.move_request = Some(MoveReason::ReconnectTo);
                }
            }
            Err(error) => tracing::warn!(%error, "The address to continue at was ignored."),
        }
    }

    /// Whether the live connection should be left now.
    #[must_use]
    pub fn is_move_wanted(&self) -> bool {
        self.move_request.is_some()
    }

    /// Keeps backup connections ready while the live one is used, and returns when the live one
    /// should be left for a better one. Without such a reason it never returns. It may be dropped
    /// and called again at any time.
    pub async fn move_wanted(&mut self) -> MoveReason {
        loop {
            if let Some(reason) = self.move_request {
                return reason;
            }
            let Some(current) = self.current.clone() else {
                return std::future::pending().await;
            };
            if !self.needs_backup(&current) {
                return std::future::pending().await;
            }
            self.build_backups(&current).await;
            if self.is_priority_ready && !self.policy.is_priority(&current) {
                self.move_request = Some(MoveReason::Priority);
                continue;
            }
            let pause = self.policy.backup_pause().max(Duration::from_millis(1));
            tokio::time::sleep(pause).await;
        }
    }

    fn needs_backup(&self, current: &InnerUri) -> bool {
        let options = self.policy.options();
        options.backup || (options.priority_backup && !self.policy.is_priority(current))
    }

    fn pool_size(&self) -> usize {
        self.policy.options().backup_pool_size.max(1) as usize
    }

    async fn build_backups(&mut self, current: &InnerUri) {
        let Self {
            connector, backups, ..
        } = self;
        backups.retain(|(_, transport)| connector.is_alive(transport));
        for address in self.policy.backup_list(current) {
            let is_priority = self.policy.is_priority(&address);
            let is_held = self.backups.iter().any(|(held, _)| *held == address);
            let wanted = is_priority && !self.policy.is_priority(current)
                || self.policy.options().backup && self.backups.len() < self.pool_size();
            if is_held || !wanted {
                continue;
            }
            let Ok(transport) = self.connector.connect(&address).await else {
                continue;
            };
            self.send(Event::BackupReady {
                address: address.to_string(),
            });
            if is_priority {
                self.is_priority_ready = true;
                self.backups.push_front((address, transport));
            } else {
                self.backups.push_back((address, transport));
            }
            self.backups.truncate(self.pool_size());
            if self.is_priority_ready {
                return;
            }
        }
    }

    /// A backup that still lives; a broker's "continue there" goes before it.
    fn take_backup(&mut self) -> Option<(InnerUri, C::Transport)> {
        self.is_priority_ready = false;
        if self.policy.is_sent() {
            return None;
        }
        while let Some((address, transport)) = self.backups.pop_front() {
            if self.connector.is_alive(&transport) {
                return Some((address, transport));
            }
        }
        None
    }

    /// Reads the list that `updateURIsURL` names, as Java does at each round.
    async fn read_address_file(&mut self) {
        let Some(location) = self.policy.options().update_uris_url.clone() else {
            return;
        };
        let path = location.strip_prefix("file:").unwrap_or(&location);
        // `file:///x` and `file:/x` are the same path.
        let path = path.strip_prefix("//").unwrap_or(path).to_owned();
        let read = tokio::task::spawn_blocking(move || read_limited(&path)).await;
        match read.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(text) => {
                let rebalance = self.policy.options().rebalance_update_uris;
                self.push_addresses(&text, rebalance);
            }
            Err(error) => {
                let location = crate::redact(&location);
                tracing::warn!(location, %error, "The address file was not read.");
            }
        }
    }

    /// Reports to whoever observes; nobody may.
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

fn read_limited(path: &str) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(ADDRESS_FILE_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
