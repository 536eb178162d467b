//! Redelivery by the broker: what a client gave up is not a dead letter at once, but comes back to its
//! destination after a time, some number of times. ActiveMQ's `redeliveryPlugin`.
//!
//! This part knows only the rules; the move itself is a dead letter's.

mod policy;

use openwire::Destination;

pub use self::policy::{RedeliveryDelay, RedeliveryPolicy};
use super::policy::DestinationPattern;

/// Which messages come back after a client gave them up.
#[derive(Clone, Debug)]
pub struct Redelivery {
    /// For destinations without an entry of their own; None = those are not redelivered.
    pub default: Option<RedeliveryPolicy>,
    /// For the destinations that match; the most specific one applies.
    pub entries: Vec<(DestinationPattern, RedeliveryPolicy)>,
    /// What was redelivered often enough becomes a dead letter; otherwise it is dropped.
    pub send_to_dlq_if_max_retries_exceeded: bool,
    /// What has no policy becomes a dead letter; otherwise it is dropped.
    pub fallback_to_dead_letter: bool,
}

impl Default for Redelivery {
    fn default() -> Self {
        Redelivery {
            default: None,
            entries: Vec::new(),
            send_to_dlq_if_max_retries_exceeded: true,
            fallback_to_dead_letter: true,
        }
    }
}

impl Redelivery {
    /// The policy of a destination: that of the most specific entry, of two alike the later one.
    #[must_use]
    pub fn of(&self, destination: &Destination) -> Option<&RedeliveryPolicy> {
        let matching = self
            .entries
            .iter()
            .rev()
            .filter(|(pattern, _)| pattern.matches(destination));
        let best = matching.min_by(|(a, _), (b, _)| a.cmp_precedence(b));
        best.map(|(_, policy)| policy).or(self.default.as_ref())
    }
}
