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

/// What becomes of a message that a client gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It comes back.
    Again {
        /// After this time.
        delay: RedeliveryDelay,
        /// As a message that was delivered this often before.
        redeliveries: u32,
    },
    /// It becomes a dead letter.
    DeadLetter,
    /// It is dropped.
    Drop,
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

    /// What becomes of a message from `destination` that was delivered `redeliveries` times before
    /// the delivery that a client gave up.
    pub(super) fn verdict(&self, destination: &Destination, redeliveries: u32) -> Verdict {
        let dead_letter_if = |is_one| {
            if is_one {
                Verdict::DeadLetter
            } else {
                Verdict::Drop
            }
        };
        let Some(policy) = self.of(destination) else {
            return dead_letter_if(self.fallback_to_dead_letter);
        };
        let is_over = policy
            .maximum_redeliveries
            .is_some_and(|maximum| redeliveries >= maximum);
        if is_over {
            return dead_letter_if(self.send_to_dlq_if_max_retries_exceeded);
        }
        Verdict::Again {
            delay: policy.delay_of(redeliveries),
            redeliveries: redeliveries.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(maximum: u32) -> RedeliveryPolicy {
        RedeliveryPolicy {
            maximum_redeliveries: Some(maximum),
            ..RedeliveryPolicy::default()
        }
    }

    fn pattern(text: &str) -> DestinationPattern {
        DestinationPattern::parse(text).expect("a pattern")
    }

    fn count_of(verdict: Verdict) -> Option<u32> {
        match verdict {
            Verdict::Again { redeliveries, .. } => Some(redeliveries),
            Verdict::DeadLetter | Verdict::Drop => None,
        }
    }

    #[test]
    fn the_most_specific_entry_decides_how_often_a_message_comes_back() {
        let redelivery = Redelivery {
            default: Some(limited(1)),
            entries: vec![(pattern("A.>"), limited(2)), (pattern("A.B"), limited(3))],
            ..Redelivery::default()
        };
        for (name, maximum) in [("X", 1), ("A.X", 2), ("A.B", 3)] {
            let queue = Destination::queue(name);
            let last = redelivery.verdict(&queue, maximum - 1);
            assert_eq!(count_of(last), Some(maximum), "{name}");
            let over = redelivery.verdict(&queue, maximum);
            assert_eq!(over, Verdict::DeadLetter, "{name}");
        }
    }

    #[test]
    fn what_has_no_policy_or_came_too_often_is_dropped_on_demand() {
        let queue = Destination::queue("Q");
        let fallback = Redelivery::default();
        assert_eq!(fallback.verdict(&queue, 0), Verdict::DeadLetter);
        let dropping = Redelivery {
            entries: vec![(pattern("Q"), limited(0))],
            send_to_dlq_if_max_retries_exceeded: false,
            fallback_to_dead_letter: false,
            ..Redelivery::default()
        };
        assert_eq!(dropping.verdict(&queue, 0), Verdict::Drop);
        let other = Destination::queue("other");
        assert_eq!(dropping.verdict(&other, 0), Verdict::Drop);
    }

    #[test]
    fn without_a_maximum_a_message_comes_back_for_ever() {
        let redelivery = Redelivery {
            default: Some(RedeliveryPolicy {
                maximum_redeliveries: None,
                ..RedeliveryPolicy::default()
            }),
            ..Redelivery::default()
        };
        let verdict = redelivery.verdict(&Destination::queue("Q"), 100_000);
        assert_eq!(count_of(verdict), Some(100_001));
    }
}
