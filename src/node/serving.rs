//! What an active has and a standby has not: the broker and its open ports.

use std::sync::Arc;
use std::time::Duration;

use storage::{Decision, Store};

use crate::broker::{Broker, BrokerStatus, Refusal, ShutDownNotice};
use crate::config::Config;
use crate::console::{DecideError, TransactionRef};
use crate::transport::Listeners;

use super::exit::Exit;
use super::options;

/// How long a planned switchover waits for answers to what clients have sent already.
const GRACE: Duration = Duration::from_secs(2);
/// A name service that does not answer must not keep the pair without an active.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How long the storage may take to confirm an operator's decision.
const DECISION_PATIENCE: Duration = Duration::from_secs(10);

/// A broker with open ports. Dropping it closes them.
pub(super) struct Serving {
    broker: Arc<Broker>,
    listeners: Listeners,
    reconnect_to: Option<String>,
}

impl Serving {
    /// Builds the broker on its store and opens the ports.
    pub(super) async fn open(config: &Config, store: Arc<Store>) -> Result<Serving, Exit> {
        let addresses: Vec<String> = config
            .listeners
            .openwire
            .value
            .iter()
            .map(ToString::to_string)
            .collect();
        let runtime = tokio::runtime::Handle::current();
        let broker = Broker::start(store, options::broker(config, announced(config)), runtime);
        let opened = Listeners::open(&addresses, Arc::clone(&broker), options::openwire(config));
        let reason = match tokio::time::timeout(OPEN_PATIENCE, opened).await {
            Ok(Ok(listeners)) => {
                let reconnect_to = reconnect_to(config);
                return Ok(Serving {
                    broker,
                    listeners,
                    reconnect_to,
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer for {} s", OPEN_PATIENCE.as_secs()),
        };
        broker.abandon();
        Err(Exit::Listen {
            address: addresses.join(", "),
            reason,
        })
    }

    /// The addresses that are open, with the ports that the system chose.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.listeners
            .local_addrs()
            .iter()
            .map(|address| format!("tcp://{address}"))
            .collect()
    }

    pub(super) fn status(&self) -> BrokerStatus {
        self.broker.status()
    }

    /// Ends a prepared transaction in place of its coordinator, and waits until that is certain.
    pub(super) async fn decide(
        &self,
        transaction: &TransactionRef,
        is_commit: bool,
    ) -> Result<(), DecideError> {
        let decision = match is_commit {
            true => Decision::Commit,
            false => Decision::RollBack,
        };
        let TransactionRef {
            format,
            global,
            branch,
        } = transaction;
        let decided = self
            .broker
            .decide_in_doubt(*format, global, branch, decision);
        let receipt = decided.map_err(|refusal| match refusal {
            Refusal::NotInDoubt(_) => DecideError::Unknown(refusal.to_string()),
            refusal => DecideError::Uncertain(refusal.to_string()),
        })?;
        match tokio::time::timeout(DECISION_PATIENCE, self.broker.settled(receipt)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(DecideError::NotActive),
            Err(_) => {
                let seconds = DECISION_PATIENCE.as_secs();
                Err(DecideError::Uncertain(format!(
                    "the storage did not confirm it within {seconds} s: list the transactions again"
                )))
            }
        }
    }

    /// Fenced: nothing more is accepted, answered or sent. Never blocks.
    pub(super) fn abandon(&self) {
        self.listeners.close();
        self.broker.abandon();
    }

    /// By plan: what is released is answered, clients are told where to go.
    pub(super) async fn shut_down(&self) {
        self.listeners.close();
        let notice = ShutDownNotice {
            reconnect_to: self.reconnect_to.clone(),
            grace: GRACE,
        };
        self.broker.shut_down(notice).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// The pair's addresses for clients, ours first; nothing unless all of the pair is known.
fn announced(config: &Config) -> Vec<String> {
    let listeners = &config.listeners;
    if !listeners.announce.value || listeners.peers.value.is_empty() {
        return Vec::new();
    }
    let own = match listeners.advertise.value.as_slice() {
        [] => &listeners.openwire.value,
        advertised => advertised,
    };
    own.iter()
        .filter(|address| !address.0.is_wildcard() && address.0.port != 0)
        .chain(&listeners.peers.value)
        .map(ToString::to_string)
        .collect()
}

fn reconnect_to(config: &Config) -> Option<String> {
    let listeners = &config.listeners;
    let peer = listeners
        .peers
        .value
        .first()
        .filter(|_| listeners.announce.value);
    peer.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;

    fn config(assignments: &[&str]) -> Config {
        let parse = |text: &&str| Override::parse(text).expect("an assignment");
        Config::load(None, assignments.iter().map(parse).collect()).expect("valid")
    }

    #[test]
    fn clients_are_told_both_addresses_ours_first() {
        let pair = config(&["listeners.peers=tcp://b:61616"]);
        assert_eq!(announced(&pair), ["tcp://127.0.0.1:61616", "tcp://b:61616"]);
        assert_eq!(reconnect_to(&pair).as_deref(), Some("tcp://b:61616"));
    }

    #[test]
    fn an_advertised_address_stands_for_the_ones_we_listen_on() {
        let pair = config(&[
            "listeners.openwire=tcp://0.0.0.0:61616",
            "listeners.advertise=tcp://a:61616",
            "listeners.peers=tcp://b:61616",
        ]);
        assert_eq!(announced(&pair), ["tcp://a:61616", "tcp://b:61616"]);
    }

    #[test]
    fn nothing_is_announced_without_a_peer_or_when_switched_off() {
        assert!(announced(&config(&[])).is_empty());
        let off = config(&["listeners.peers=tcp://b:61616", "listeners.announce=false"]);
        assert!(announced(&off).is_empty());
        assert_eq!(reconnect_to(&off), None);
    }
}
