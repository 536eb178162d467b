//! What is done about consumers that do not keep up.

use std::time::Duration;

/// How many messages may wait for a slow topic consumer beyond its window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PendingLimit {
    /// This many: `constantPendingMessageLimitStrategy`.
    Constant(usize),
    /// This many times its prefetch: `prefetchRatePendingMessageLimitStrategy`.
    PrefetchRate(f64),
}

/// Which message goes when too many wait for a topic consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The oldest.
    #[default]
    Oldest,
    /// The oldest of those with the lowest priority.
    OldestWithLowestPriority,
    /// An older one with the same value of this property, else the oldest.
    UniqueProperty(String),
}

/// What is done about a consumer, of a queue or a topic, that is slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowConsumerPolicy {
    /// Also slow is whoever acknowledged nothing for this time: `abortSlowAckConsumerStrategy`; None: only
    /// who has a full window, as with `abortSlowConsumerStrategy`.
    pub max_time_since_last_ack: Option<Duration>,
    /// Consumers without a message in flight are left alone; with `max_time_since_last_ack` only.
    pub ignore_idle_consumers: bool,
    /// How often in a row a consumer may be found slow; None = any number.
    pub max_slow_count: Option<u32>,
    /// For how long a consumer may be slow; None = for ever.
    pub max_slow_duration: Option<Duration>,
    /// Time between two looks.
    pub check_period: Duration,
    /// Close the whole connection, otherwise only the consumer.
    pub abort_connection: bool,
}

impl Default for SlowConsumerPolicy {
    fn default() -> Self {
        SlowConsumerPolicy {
            max_time_since_last_ack: None,
            ignore_idle_consumers: true,
            max_slow_count: None,
            max_slow_duration: Some(Duration::from_secs(30)),
            check_period: Duration::from_secs(30),
            abort_connection: false,
        }
    }
}
