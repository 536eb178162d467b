//! What a topic keeps for consumers that come later.

use std::time::Duration;

/// What a retroactive consumer of a topic gets to see of the past: ActiveMQ's
/// `subscriptionRecoveryPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionRecovery {
    /// Nothing.
    #[default]
    None,
    /// The last messages, up to this many bytes.
    FixedSize {
        /// The bytes.
        bytes: u64,
        /// Old ones are dropped for new ones; otherwise the topic's memory limit counts.
        shared_buffer: bool,
    },
    /// The last messages, this many.
    FixedCount(usize),
    /// The messages of the last while.
    Timed(Duration),
    /// The last message.
    LastImage,
    /// The last message with the property `ActiveMQ.Retain` set to true.
    Retained,
}
