//! The `jms.` options: what a connection factory takes off a URI before the transport sees it.

use std::time::Duration;

use super::{OptionValue, SetOutcome, option_table};
use crate::redact::ShownPairs;

option_table! {
    /// How many messages a broker may dispatch ahead, `jms.prefetchPolicy.`.
    pub struct PrefetchPolicy {
        /// For a queue's consumer; 0 pulls each message.
        "queuePrefetch" => queue: u32 = 1000,
        /// For a queue browser.
        "queueBrowserPrefetch" => queue_browser: u32 = 500,
        /// For a durable subscription.
        "durableTopicPrefetch" => durable_topic: u32 = 100,
        /// For a durable subscription with optimised dispatch.
        "optimizeDurableTopicPrefetch" => optimize_durable_topic: u32 = 1000,
        /// For a topic's consumer.
        "topicPrefetch" => topic: u32 = 32767,
        /// How many messages the broker keeps for a slow topic consumer; 0 is its own policy.
        "maximumPendingMessageLimit" => maximum_pending_message_limit: u32 = 0,
    }
}

option_table! {
    /// What happens to messages that were rolled back, `jms.redeliveryPolicy.`.
    pub struct RedeliveryPolicy {
        /// Redeliveries until a message is refused as poison; `None` is endless.
        "maximumRedeliveries" => maximum_redeliveries: Option<u32> = Some(6),
        /// Pause before the first redelivery.
        "initialRedeliveryDelay" => initial_redelivery_delay: Duration = Duration::from_secs(1),
        /// Pause before later ones when the first is 0.
        "redeliveryDelay" => redelivery_delay: Duration = Duration::from_secs(1),
        /// Longest pause; `None` is unlimited.
        "maximumRedeliveryDelay" => maximum_redelivery_delay: Option<Duration> = None,
        /// Factor between two pauses.
        "backOffMultiplier" => back_off_multiplier: f64 = 5.0,
        /// Whether pauses grow.
        "useExponentialBackOff" => use_exponential_back_off: bool = false,
        /// Whether pauses are spread at random.
        "useCollisionAvoidance" => use_collision_avoidance: bool = false,
        /// By how much, in percent.
        "collisionAvoidancePercent" => collision_avoidance_percent: u32 = 15,
        /// Whether a message that the broker redelivered too often is refused before the
        /// application sees it (transacted sessions).
        "preDispatchCheck" => pre_dispatch_check: bool = true,
    }
}

impl RedeliveryPolicy {
    /// The pause after the one of `delay`.
    #[must_use]
    pub fn next_delay(&self, delay: Duration) -> Duration {
        let next = if delay.is_zero() {
            self.redelivery_delay
        } else if self.use_exponential_back_off && self.back_off_multiplier > 1.0 {
            // Saturates instead of overflowing: a policy may double for ever.
            let grown = delay.as_secs_f64() * self.back_off_multiplier;
            Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX)
        } else {
            self.redelivery_delay
        };
        self.maximum_redelivery_delay
            .map_or(next, |longest| next.min(longest))
    }

    /// The pause before the `count`-th redelivery, counted from 1.
    #[must_use]
    pub fn delay(&self, count: u32) -> Duration {
        let mut delay = self.initial_redelivery_delay;
        // The pause is constant or grows to its limit long before a hundred steps.
        for _ in 1..count.min(100) {
            delay = self.next_delay(delay);
        }
        delay
    }
}

option_table! {
    /// The plain options of a connection, without the nested policies.
    pub struct ConnectionOptions {
        /// Client id, needed for durable subscriptions; by default a generated one.
        "clientID" => client_id: Option<String> = None,
        /// Beginning of a generated client id.
        "clientIDPrefix" => client_id_prefix: Option<String> = None,
        /// Beginning of a generated connection id.
        "connectionIDPrefix" => connection_id_prefix: Option<String> = None,
        /// User name.
        "userName" => user_name: Option<String> = None,
        /// Password.
        "password" => password: Option<String> = None,
        /// Whether the broker dispatches by a thread of its own.
        "dispatchAsync" => dispatch_async: bool = true,
        /// Whether each session delivers by a thread of its own (Java only).
        "alwaysSessionAsync" => always_session_async: bool = true,
        /// Whether the letter of JMS goes before its spirit (Java only).
        "strictCompliance" => strict_compliance: bool = false,
        /// Whether messages go without a timestamp.
        "disableTimeStampsByDefault" => disable_time_stamps_by_default: bool = false,
        /// Whether durable subscriptions take the larger prefetch.
        "optimizedMessageDispatch" => optimized_message_dispatch: bool = true,
        /// Whether automatic acknowledgements go in batches.
        "optimizeAcknowledge" => optimize_acknowledge: bool = false,
        /// Longest time an acknowledgement waits for its batch.
        "optimizeAcknowledgeTimeOut" => optimize_acknowledge_time_out: Duration =
            Duration::from_millis(300),
        /// Interval at which waiting acknowledgements are sent anyway; 0 is never.
        "optimizedAckScheduledAckInterval" => optimized_ack_scheduled_ack_interval: Duration =
            Duration::ZERO,
        /// Whether a sent message is copied (Java only; messages here are values).
        "copyMessageOnSend" => copy_message_on_send: bool = true,
        /// Whether bodies are compressed.
        "useCompression" => use_compression: bool = false,
        /// How many times its wire size a body may inflate to.
        "maxInflatedDataSizeRatio" => max_inflated_data_size_ratio: f64 = 10.0,
        /// Whether object bodies are serialised late (Java only).
        "objectMessageSerializationDefered" => object_message_serialization_deferred: bool = false,
        /// Whether persistent sends do not wait for the broker. They can be lost then.
        "useAsyncSend" => use_async_send: bool = false,
        /// Whether every send waits for the broker.
        "alwaysSyncSend" => always_sync_send: bool = false,
        /// Longest time a close waits for the broker.
        "closeTimeout" => close_timeout: Duration = Duration::from_secs(15),
        /// Whether topic consumers also get messages from before.
        "useRetroactiveConsumer" => use_retroactive_consumer: bool = false,
        /// Whether consumers are exclusive.
        "exclusiveConsumer" => exclusive_consumer: bool = false,
        /// Whether properties may be maps and lists.
        "nestedMapAndListEnabled" => nested_map_and_list_enabled: bool = true,
        /// Whether the client keeps the set of existing temporary destinations (Java only; this
        /// client leaves the answer to the broker).
        "watchTopicAdvisories" => watch_topic_advisories: bool = true,
        /// Bytes a producer may have under way without an answer; 0 is unlimited.
        "producerWindowSize" => producer_window_size: u32 = 0,
        /// After what time an unstarted connection is worth a warning (Java only).
        "warnAboutUnstartedConnectionTimeout" => warn_about_unstarted_connection_timeout: Duration =
            Duration::from_millis(500),
        /// Longest time a send waits for its answer; 0 is for ever.
        "sendTimeout" => send_timeout: Duration = Duration::ZERO,
        /// Longest time another request waits for its answer; 0 is for ever.
        "requestTimeout" => request_timeout: Duration = Duration::ZERO,
        /// Longest time the connection's announcement waits for its answer; 0 is for ever.
        "connectResponseTimeout" => connect_response_timeout: Duration = Duration::ZERO,
        /// Whether acknowledgements go without waiting for the broker.
        "sendAcksAsync" => send_acks_async: bool = true,
        /// How many messages of each producer the duplicate check remembers.
        "auditDepth" => audit_depth: u32 = 2048,
        /// How many producers the duplicate check remembers.
        "auditMaximumProducerNumber" => audit_maximum_producer_number: u32 = 64,
        /// Whether sessions have their own threads (Java only).
        "useDedicatedTaskRunner" => use_dedicated_task_runner: bool = false,
        /// Whether sessions have virtual threads (Java only).
        "useVirtualThreadTaskRunner" => use_virtual_thread_task_runner: bool = false,
        /// How long a commit after a failover waits for redeliveries (Java only; this client
        /// rolls such a transaction back at once).
        "consumerFailoverRedeliveryWaitPeriod" => consumer_failover_redelivery_wait_period: Duration =
            Duration::ZERO,
        /// Whether messages seen before are suppressed.
        "checkForDuplicates" => check_for_duplicates: bool = true,
        /// Whether the client orders what it holds by priority.
        "messagePrioritySupported" => message_priority_supported: bool = false,
        /// Whether transacted messages are acknowledged one by one.
        "transactedIndividualAck" => transacted_individual_ack: bool = false,
        /// Whether other messages go on while a rolled back one waits.
        "nonBlockingRedelivery" => non_blocking_redelivery: bool = false,
        /// Limit of the Java client's threads (Java only).
        "maxThreadPoolSize" => max_thread_pool_size: Option<u32> = None,
        /// How XA acknowledgements are sent (Java only).
        "xaAckMode" => xa_ack_mode: i32 = -1,
        /// Whether XA resources are told apart by connection id (Java only).
        "rmIdFromConnectionId" => rm_id_from_connection_id: bool = false,
        /// Whether the consumer drops expired messages.
        "consumerExpiryCheckEnabled" => consumer_expiry_check_enabled: bool = true,
        /// Whether the Java client keeps statistics (Java only).
        "statsEnabled" => stats_enabled: bool = false,
        /// Java packages that object bodies may come from (Java only).
        "trustedPackages" => trusted_packages: Vec<String> = Vec::new(),
        /// Whether object bodies may be of any class (Java only).
        "trustAllPackages" => trust_all_packages: bool = false,
    }
}

/// Names under `jms.blobTransferPolicy.`; this client transfers no blobs and only keeps the values.
const BLOB_NAMES: &[&str] = &[
    "bufferSize",
    "uploadUrl",
    "brokerUploadUrl",
    "defaultUploadUrl",
    "uploadStrategy",
];

/// Options that are taken, so that a URI of the Java client is not refused, and that change nothing
/// here. The last column says why, as the end of a sentence.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("alwaysSessionAsync", "its sessions have no threads"),
    (
        "strictCompliance",
        "it has no listeners that could break the rule",
    ),
    (
        "copyMessageOnSend",
        "a message is given away when it is sent",
    ),
    ("maxInflatedDataSizeRatio", "it inflates no bodies"),
    (
        "objectMessageSerializationDefered",
        "it sends the bytes it is given",
    ),
    ("nestedMapAndListEnabled", "maps and lists can always nest"),
    (
        "watchTopicAdvisories",
        "it leaves temporary destinations to the broker",
    ),
    (
        "warnAboutUnstartedConnectionTimeout",
        "a connection starts at once",
    ),
    ("useDedicatedTaskRunner", "its sessions have no threads"),
    ("useVirtualThreadTaskRunner", "its sessions have no threads"),
    ("maxThreadPoolSize", "its sessions have no threads"),
    (
        "consumerFailoverRedeliveryWaitPeriod",
        "it does not wait for redeliveries",
    ),
    (
        "messagePrioritySupported",
        "it hands out messages in the order they come",
    ),
    (
        "nonBlockingRedelivery",
        "what was rolled back goes before what came later",
    ),
    (
        "optimizedAckScheduledAckInterval",
        "`jms.optimizeAcknowledgeTimeOut` bounds the wait",
    ),
    (
        "redeliveryPolicy.useCollisionAvoidance",
        "its pauses are exact",
    ),
    (
        "redeliveryPolicy.collisionAvoidancePercent",
        "its pauses are exact",
    ),
    ("xaAckMode", "it has no XA"),
    ("rmIdFromConnectionId", "it has no XA"),
    ("statsEnabled", "it keeps no statistics"),
    ("trustedPackages", "it builds no objects of object messages"),
    (
        "trustAllPackages",
        "it builds no objects of object messages",
    ),
];

/// Why a `jms.` option of this name, without the prefix, changes nothing here; `None` when it has
/// an effect.
pub(crate) fn jms_without_effect(name: &str) -> Option<&'static str> {
    if name.starts_with("blobTransferPolicy.") {
        return Some("it transfers no blobs");
    }
    let found = WITHOUT_EFFECT.iter().find(|(option, _)| *option == name);
    found.map(|(_, reason)| *reason)
}

/// Every `jms.` option of a URI.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct JmsOptions {
    /// The plain options.
    pub connection: ConnectionOptions,
    /// `prefetchPolicy.`
    pub prefetch: PrefetchPolicy,
    /// `redeliveryPolicy.`
    pub redelivery: RedeliveryPolicy,
    /// `blobTransferPolicy.` as given: this client transfers no blobs.
    pub blob_transfer: Vec<(String, String)>,
}

impl std::fmt::Debug for JmsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JmsOptions")
            .field("connection", &self.connection)
            .field("prefetch", &self.prefetch)
            .field("redelivery", &self.redelivery)
            .field("blob_transfer", &ShownPairs(&self.blob_transfer))
            .finish()
    }
}

impl std::ops::Deref for JmsOptions {
    type Target = ConnectionOptions;

    fn deref(&self) -> &ConnectionOptions {
        &self.connection
    }
}

impl JmsOptions {
    /// Sets an option by its name without the prefix `jms.`.
    pub(crate) fn set(&mut self, name: &str, text: &str) -> SetOutcome {
        if let Some(rest) = name.strip_prefix("prefetchPolicy.") {
            return if rest == "all" {
                self.set_all(text)
            } else {
                self.prefetch.set(rest, text)
            };
        }
        if let Some(rest) = name.strip_prefix("redeliveryPolicy.") {
            return self.redelivery.set(rest, text);
        }
        if let Some(rest) = name.strip_prefix("blobTransferPolicy.") {
            if !BLOB_NAMES.contains(&rest) {
                return SetOutcome::Unknown;
            }
            self.blob_transfer.push((rest.to_owned(), text.to_owned()));
            return SetOutcome::Set;
        }
        self.connection.set(name, text)
    }

    fn set_all(&mut self, text: &str) -> SetOutcome {
        let Some(count) = u32::read(text) else {
            return SetOutcome::BadValue(u32::EXPECTS);
        };
        self.prefetch.queue = count;
        self.prefetch.queue_browser = count;
        self.prefetch.durable_topic = count;
        self.prefetch.optimize_durable_topic = count;
        self.prefetch.topic = count;
        SetOutcome::Set
    }

    /// Every name that [`JmsOptions`] knows, with the prefix `jms.`.
    #[must_use]
    pub fn names() -> Vec<String> {
        let plain = ConnectionOptions::NAMES
            .iter()
            .map(|name| format!("jms.{name}"));
        let prefetch = PrefetchPolicy::NAMES.iter().chain(&["all"]);
        let prefetch = prefetch.map(|name| format!("jms.prefetchPolicy.{name}"));
        let redelivery = RedeliveryPolicy::NAMES.iter();
        let redelivery = redelivery.map(|name| format!("jms.redeliveryPolicy.{name}"));
        let blob = BLOB_NAMES
            .iter()
            .map(|name| format!("jms.blobTransferPolicy.{name}"));
        plain
            .chain(prefetch)
            .chain(redelivery)
            .chain(blob)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_activemq() {
        let options = JmsOptions::default();
        assert_eq!(options.prefetch.queue, 1000);
        assert_eq!(options.prefetch.topic, 32767);
        assert_eq!(options.redelivery.maximum_redeliveries, Some(6));
        assert_eq!(options.close_timeout, Duration::from_secs(15));
        assert!(options.check_for_duplicates && !options.use_async_send);
    }

    #[test]
    fn what_has_no_effect_is_an_option_that_exists() {
        let names = JmsOptions::names();
        for (name, _) in WITHOUT_EFFECT {
            assert!(names.contains(&format!("jms.{name}")), "{name}");
        }
        assert!(jms_without_effect("blobTransferPolicy.uploadUrl").is_some());
        assert_eq!(jms_without_effect("clientID"), None);
    }

    #[test]
    fn all_sets_every_prefetch() {
        let mut options = JmsOptions::default();
        assert_eq!(options.set("prefetchPolicy.all", "1"), SetOutcome::Set);
        assert_eq!(options.prefetch.queue_browser, 1);
        assert_eq!(options.prefetch.topic, 1);
        assert!(matches!(
            options.set("prefetchPolicy.all", "-1"),
            SetOutcome::BadValue(_)
        ));
    }

    #[test]
    fn unknown_names_stay_unknown_at_every_depth() {
        let mut options = JmsOptions::default();
        for name in [
            "color",
            "prefetchPolicy.color",
            "redeliveryPolicy.x",
            "blobTransferPolicy.x",
        ] {
            assert_eq!(options.set(name, "1"), SetOutcome::Unknown, "{name}");
        }
    }

    #[test]
    fn redelivery_pauses_grow_to_their_limit() {
        let policy = RedeliveryPolicy {
            initial_redelivery_delay: Duration::from_millis(100),
            use_exponential_back_off: true,
            back_off_multiplier: 2.0,
            maximum_redelivery_delay: Some(Duration::from_millis(350)),
            ..RedeliveryPolicy::default()
        };
        let pauses: Vec<u128> = (1..=4)
            .map(|count| policy.delay(count).as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
    }

    #[test]
    fn redelivery_pauses_are_constant_by_default() {
        let policy = RedeliveryPolicy::default();
        assert_eq!(policy.delay(1), Duration::from_secs(1));
        assert_eq!(policy.delay(5), Duration::from_secs(1));
    }
}
