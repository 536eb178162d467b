//! Where messages go that expired or that were given up.

use std::time::Duration;

/// No dead letter queue remembers more than this, whatever is configured.
const AUDITED_MAX: u32 = 1 << 20;

/// What becomes of messages that expired or that were given up: ActiveMQ's `deadLetterStrategy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterPolicy {
    /// Where they go.
    pub kind: DeadLetterKind,
    /// Expired messages go there too; otherwise they are dropped.
    pub process_expired: bool,
    /// So do non-persistent ones; otherwise they are dropped.
    pub process_non_persistent: bool,
    /// A message that comes a second time is not stored again.
    pub enable_audit: bool,
    /// Such messages are known among this many for each producer ...
    pub max_audit_depth: u32,
    /// ... of this many.
    pub max_producers_to_audit: u32,
    /// How long a dead letter lives; zero = for ever.
    pub expiration: Duration,
}

impl Default for DeadLetterPolicy {
    fn default() -> Self {
        DeadLetterPolicy {
            kind: DeadLetterKind::default(),
            process_expired: true,
            process_non_persistent: false,
            enable_audit: true,
            max_audit_depth: 2048,
            max_producers_to_audit: 64,
            expiration: Duration::ZERO,
        }
    }
}

impl DeadLetterPolicy {
    /// How many dead letters are remembered.
    pub(in crate::broker) fn audit_depth(&self) -> usize {
        self.max_audit_depth
            .saturating_mul(self.max_producers_to_audit)
            .min(AUDITED_MAX) as usize
    }
}

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// To one queue for all: `sharedDeadLetterStrategy`.
    Shared {
        /// The queue's name.
        queue: String,
    },
    /// To one queue or topic for each destination: `individualDeadLetterStrategy`.
    Individual {
        /// Before the name of a queue.
        queue_prefix: String,
        /// Before the name of a topic.
        topic_prefix: String,
        /// Behind the name of a queue.
        queue_suffix: String,
        /// Behind the name of a topic.
        topic_suffix: String,
        /// Dead letters of queues go to queues, otherwise to topics.
        use_queue_for_queue_messages: bool,
        /// Dead letters of topics go to queues, otherwise to topics.
        use_queue_for_topic_messages: bool,
        /// Each durable subscription of a topic has its own.
        destination_per_durable_subscriber: bool,
    },
    /// Nowhere: `discarding`.
    Discard,
}

impl Default for DeadLetterKind {
    fn default() -> Self {
        DeadLetterKind::Shared {
            queue: "ActiveMQ.DLQ".to_owned(),
        }
    }
}
