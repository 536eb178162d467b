//! What operators choose per destination: ActiveMQ's policy entries.
//!
//! A destination looks its [`Policy`] up once, when it is made, in the broker's [`Policies`], and keeps
//! it. What a field does is the business of the module that reads it; this one knows only values,
//! their defaults (ActiveMQ 5.17's unless the field says otherwise) and which entry applies.

mod dead_letter;
mod limit;
mod pattern;
mod recovery;

use std::sync::Arc;
use std::time::Duration;

use openwire::Destination;

pub use self::dead_letter::{DeadLetterKind, DeadLetterPolicy};
pub use self::limit::{Eviction, PendingLimit, SlowConsumerPolicy};
pub use self::pattern::{DestinationPattern, PatternError};
pub use self::recovery::SubscriptionRecovery;

/// What operators chose for some destinations. The names are those of ActiveMQ's `policyEntry`.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is one attribute of ActiveMQ's"
)]
pub struct Policy {
    /// Window of a queue consumer that asked for ActiveMQ's default of 1000.
    pub queue_prefetch: u32,
    /// Window of a browser that asked for ActiveMQ's default of 500.
    pub queue_browser_prefetch: u32,
    /// Window of a topic consumer that asked for ActiveMQ's default of 32767.
    pub topic_prefetch: u32,
    /// Window of a durable subscriber that asked for ActiveMQ's default of 100 (or 1000).
    pub durable_topic_prefetch: u32,
    /// Messages that a consumer has in hand do not use up its window.
    pub use_prefetch_extension: bool,
    /// Dispatch by JMS priority.
    pub prioritized_messages: bool,
    /// All that have the highest consumer priority are served before others.
    pub use_consumer_priority: bool,
    /// One consumer gets all it has room for before the next gets any.
    pub strict_order_dispatch: bool,
    /// Every consumer asks to be the exclusive one.
    pub all_consumers_exclusive_by_default: bool,
    /// Dispatch only when this many consumers are there, or `time_before_dispatch_starts` has passed.
    pub consumers_before_dispatch_starts: u32,
    /// How long dispatch waits for consumers once the first is there; zero = as the count says.
    pub time_before_dispatch_starts: Duration,
    /// What becomes of messages that expired or that were given up.
    pub dead_letter: DeadLetterPolicy,
    /// Time between two searches for expired messages; zero = only at dispatch.
    pub expire_messages_period: Duration,
    /// Messages that such a search looks at before others get their turn with the queue.
    pub max_expire_page_size: u32,
    /// Bytes of messages in memory beyond which producers are held back; 0 = the broker's limit alone.
    pub memory_limit_bytes: u64,
    /// Messages in memory go to the temporary store beyond so much percent of what they may use.
    pub cursor_memory_high_water_mark: u32,
    /// Nothing goes to the temporary store, and persistent messages count as messages in memory:
    /// `vmQueueCursor` and `vmCursor`.
    pub keep_in_memory: bool,
    /// Hold producers back; otherwise what has no room goes to the local temporary store.
    pub producer_flow_control: bool,
    /// Refuse instead of holding back; None = as the broker's limits say.
    pub send_fail_if_no_space: Option<bool>,
    /// Refuse after this time; None = as the broker's limits say.
    pub send_fail_if_no_space_after: Option<Duration>,
    /// Percent of the broker's store limit that this destination respects.
    pub store_usage_high_water_mark: u32,
    /// Time between two warnings about a producer that is held back; zero = no warnings.
    pub blocked_producer_warning_interval: Duration,
    /// How many messages may wait for a slow topic consumer; None = all that memory allows.
    pub pending_limit: Option<PendingLimit>,
    /// Which of them goes first.
    pub eviction: Eviction,
    /// What is done about slow consumers.
    pub slow_consumer: Option<SlowConsumerPolicy>,
    /// What a retroactive consumer of a topic gets to see of the past.
    pub subscription_recovery: SubscriptionRecovery,
    /// All consumers of a topic are retroactive.
    pub always_retroactive: bool,
    /// Removed when empty and unused.
    pub gc_inactive_destinations: bool,
    /// How long it has to be empty and unused.
    pub inactive_timeout_before_gc: Duration,
    /// Advise when a consumer gets slow.
    pub advisory_for_slow_consumers: bool,
    /// Advise when a producer is too fast.
    pub advisory_for_fast_producers: bool,
    /// Advise when a message is discarded for a slow topic consumer.
    pub advisory_for_discarding_messages: bool,
    /// Advise when a limit is reached.
    pub advisory_when_full: bool,
    /// Advise of every message dispatched.
    pub advisory_for_delivery: bool,
    /// Advise of every message consumed.
    pub advisory_for_consumed: bool,
    /// Advisories about messages carry their bodies.
    pub include_body_for_advisory: bool,
    /// Advise of topic messages that nobody was there for.
    pub send_advisory_if_no_consumers: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            queue_prefetch: 1000,
            queue_browser_prefetch: 500,
            topic_prefetch: 32_767,
            durable_topic_prefetch: 100,
            use_prefetch_extension: true,
            prioritized_messages: false,
            use_consumer_priority: true,
            strict_order_dispatch: false,
            all_consumers_exclusive_by_default: false,
            consumers_before_dispatch_starts: 0,
            time_before_dispatch_starts: Duration::ZERO,
            dead_letter: DeadLetterPolicy::default(),
            expire_messages_period: Duration::from_secs(30),
            max_expire_page_size: 400,
            memory_limit_bytes: 0,
            cursor_memory_high_water_mark: 70,
            keep_in_memory: false,
            producer_flow_control: true,
            send_fail_if_no_space: None,
            send_fail_if_no_space_after: None,
            store_usage_high_water_mark: 100,
            blocked_producer_warning_interval: Duration::from_secs(30),
            pending_limit: None,
            eviction: Eviction::default(),
            slow_consumer: None,
            subscription_recovery: SubscriptionRecovery::default(),
            always_retroactive: false,
            gc_inactive_destinations: false,
            inactive_timeout_before_gc: Duration::from_secs(60),
            advisory_for_slow_consumers: false,
            advisory_for_fast_producers: false,
            advisory_for_discarding_messages: false,
            advisory_when_full: false,
            advisory_for_delivery: false,
            advisory_for_consumed: false,
            include_body_for_advisory: false,
            send_advisory_if_no_consumers: false,
        }
    }
}

/// All policy entries, and the one for what no entry matches.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    default: Arc<Policy>,
    entries: Vec<(DestinationPattern, Arc<Policy>)>,
}

impl Policies {
    /// The entries, and what applies where none matches.
    #[must_use]
    pub fn new(default: Policy, entries: Vec<(DestinationPattern, Policy)>) -> Self {
        Policies {
            default: Arc::new(default),
            entries: entries
                .into_iter()
                .map(|(pattern, policy)| (pattern, Arc::new(policy)))
                .collect(),
        }
    }

    /// All policies there are.
    pub(in crate::broker) fn iter(&self) -> impl Iterator<Item = &Policy> {
        let entries = self.entries.iter().map(|(_, policy)| &**policy);
        std::iter::once(&*self.default).chain(entries)
    }

    /// The policy of a destination: that of the entry that matches it and comes first by
    /// [`DestinationPattern::cmp_precedence`]; of two alike, the later one.
    #[must_use]
    pub fn of(&self, destination: &Destination) -> Arc<Policy> {
        let matching = self
            .entries
            .iter()
            .rev()
            .filter(|(pattern, _)| pattern.matches(destination));
        let best = matching.min_by(|(a, _), (b, _)| a.cmp_precedence(b));
        Arc::clone(best.map_or(&self.default, |(_, policy)| policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(patterns: &[(&str, u32)]) -> Policies {
        let entry = |&(name, queue_prefetch): &(&str, u32)| {
            let pattern = DestinationPattern::parse(name).expect("a pattern");
            (
                pattern,
                Policy {
                    queue_prefetch,
                    ..Policy::default()
                },
            )
        };
        Policies::new(Policy::default(), patterns.iter().map(entry).collect())
    }

    fn prefetch(policies: &Policies, queue: &str) -> u32 {
        policies.of(&Destination::queue(queue)).queue_prefetch
    }

    #[test]
    fn the_most_specific_entry_applies() {
        let policies = policies(&[
            ("queue://A.B", 3),
            ("queue://>", 1),
            ("queue://A.*", 2),
            ("topic://A.B", 9),
        ]);
        assert_eq!(prefetch(&policies, "A.B"), 3);
        assert_eq!(prefetch(&policies, "A.C"), 2);
        assert_eq!(prefetch(&policies, "A.B.C"), 1);
        let topic = policies.of(&Destination::topic("X"));
        assert_eq!(topic.queue_prefetch, 1000, "no entry: the default");
    }

    #[test]
    fn of_two_alike_the_later_one_applies() {
        assert_eq!(
            prefetch(&policies(&[("queue://>", 1), ("queue://>", 2)]), "Q"),
            2
        );
    }
}
