//! What can be chosen about the broker.

use std::time::Duration;

use super::advisory::Advisories;
use super::interceptor::Interceptors;
use super::lifecycle::Lifecycle;
use super::policy::Policies;
use super::schedule::Scheduling;
use super::security::Access;
use super::subscription::DurableOptions;
use super::usage::Limits;
use super::{DiscardDeadLetters, Redelivery, Stamping};

/// What can be chosen about the broker; the defaults are those of the product.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// The name announced to clients.
    pub name: String,
    /// Bytes of persistent bodies kept in memory; what is beyond is read back from the journal.
    pub memory_bytes: usize,
    /// What the broker may use, and what becomes of sends that find no room.
    pub limits: Limits,
    /// What was chosen for single destinations.
    pub policies: Policies,
    /// Who may connect, and do what.
    pub access: Access,
    /// How long destinations live.
    pub lifecycle: Lifecycle,
    /// Answer questions for statistics that come by message; ActiveMQ's `statisticsBrokerPlugin`.
    pub statistics: bool,
    /// Whether and of what clients are advised.
    pub advisories: Advisories,
    /// What stands between destinations' names and where messages go.
    pub interceptors: Interceptors,
    /// Whether and how messages are delivered later.
    pub scheduling: Scheduling,
    /// Durable subscriptions.
    pub durable: DurableOptions,
    /// How long the sequence of a producer that does nothing is remembered.
    pub producer_retention: Duration,
    /// What the broker changes in each message that comes.
    pub stamping: Stamping,
    /// Which messages come back after a client gave them up; None = they become dead letters.
    pub redelivery: Option<Redelivery>,
    /// Which dead letters are dropped instead; None = as the policies say.
    pub discard_dead_letters: Option<DiscardDeadLetters>,
    /// How many messages a non-durable topic consumer may have waiting beyond its prefetch before
    /// the oldest is discarded; None = only the memory decides.
    pub pending_message_limit: Option<usize>,
    /// Larger prefetches are cut down to this.
    pub prefetch_max: u32,
    /// Bytes that may wait for one connection's socket; beyond it nothing is dispatched to it.
    pub outbox_bytes: usize,
    /// URIs of all brokers of the pair, for clients; empty = nothing is announced.
    pub peers: Vec<String>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        BrokerOptions {
            name: "baton".to_owned(),
            memory_bytes: 64 << 20,
            limits: Limits::default(),
            policies: Policies::default(),
            access: Access::default(),
            lifecycle: Lifecycle::default(),
            statistics: false,
            advisories: Advisories::default(),
            interceptors: Interceptors::default(),
            scheduling: Scheduling::default(),
            durable: DurableOptions::default(),
            producer_retention: Duration::from_secs(24 * 60 * 60),
            stamping: Stamping::default(),
            redelivery: None,
            discard_dead_letters: None,
            pending_message_limit: None,
            prefetch_max: 32_767,
            outbox_bytes: 2 << 20,
            peers: Vec::new(),
        }
    }
}
