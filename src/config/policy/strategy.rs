//! The strategies of a policy: tables of their own, each of one of several kinds.

use std::time::Duration;

use crate::broker::policy::{
    DeadLetterKind, DeadLetterPolicy, Eviction, PendingLimit, Policy, SlowConsumerPolicy,
    SubscriptionRecovery,
};

use super::ONE_CURSOR;
use crate::config::Size;
use crate::config::table::{Kind, Table, TableReader};

/// Reads all of them.
pub(super) fn read(reader: &mut TableReader<'_>, policy: &mut Policy) {
    if let Some(table) = reader.child("dead_letter_strategy") {
        let base = policy.dead_letter.clone();
        policy.dead_letter = dead_letter(table, base, reader);
    }
    if let Some(table) = reader.child("slow_consumer_strategy") {
        policy.slow_consumer = slow_consumer(table, reader);
    }
    if let Some(table) = reader.child("pending_message_limit_strategy") {
        policy.pending_limit = pending_limit(table, reader);
    }
    if let Some(table) = reader.child("message_eviction_strategy") {
        policy.eviction = eviction(table, reader);
    }
    if let Some(table) = reader.child("subscription_recovery_policy") {
        policy.subscription_recovery = recovery(table, reader);
    }
}

/// The kind of a strategy and a reader for the rest of it.
fn open<'r>(
    mut table: Table,
    path: &str,
    endings: &[&str],
    outer: &'r mut TableReader<'_>,
) -> (Kind, TableReader<'r>) {
    let report = &mut *outer.report;
    let name = crate::config::table::snake(&table.name);
    let ending = endings.iter().find(|ending| name.ends_with(**ending));
    let kind = table.take_kind(ending.unwrap_or(&""), report, path);
    (kind, TableReader::new(table, path, report))
}

fn dead_letter(
    table: Table,
    base: DeadLetterPolicy,
    outer: &mut TableReader<'_>,
) -> DeadLetterPolicy {
    let path = "policy.dead_letter_strategy";
    let (kind, mut reader) = open(table, path, &["_dead_letter_strategy"], outer);
    let mut policy = base;
    policy.kind = match kind.name.as_str() {
        "shared" => shared(&mut reader),
        "individual" => individual(&mut reader),
        "discarding" => DeadLetterKind::Discard,
        _ => {
            kind.unknown(path, "shared, individual, discarding", reader.report);
            DeadLetterKind::default()
        }
    };
    reader.value("process_expired", &mut policy.process_expired);
    reader.value("process_non_persistent", &mut policy.process_non_persistent);
    reader.value("enable_audit", &mut policy.enable_audit);
    reader.value("expiration", &mut policy.expiration);
    reader.value("max_audit_depth", &mut policy.max_audit_depth);
    reader.value("max_producers_to_audit", &mut policy.max_producers_to_audit);
    reader.finish();
    policy
}

fn shared(reader: &mut TableReader<'_>) -> DeadLetterKind {
    let mut name = "ActiveMQ.DLQ".to_owned();
    if let Some((text, origin)) = reader.get::<String>("dead_letter_queue") {
        match text.strip_prefix("queue://").unwrap_or(&text) {
            other if other.is_empty() || other.contains("://") => {
                let advice = "name a queue, like \"ActiveMQ.DLQ\"";
                reader.fault(&origin, "dead_letter_queue", format!("{text:?}"), advice);
            }
            queue => queue.clone_into(&mut name),
        }
    }
    DeadLetterKind::Shared { queue: name }
}

fn individual(reader: &mut TableReader<'_>) -> DeadLetterKind {
    let mut queue_prefix = "ActiveMQ.DLQ.Queue.".to_owned();
    let mut topic_prefix = "ActiveMQ.DLQ.Topic.".to_owned();
    let (mut queue_suffix, mut topic_suffix) = (String::new(), String::new());
    let (mut queues, mut topics, mut each) = (true, true, false);
    reader.value("queue_prefix", &mut queue_prefix);
    reader.value("topic_prefix", &mut topic_prefix);
    reader.value("queue_suffix", &mut queue_suffix);
    reader.value("topic_suffix", &mut topic_suffix);
    reader.value("use_queue_for_queue_messages", &mut queues);
    reader.value("use_queue_for_topic_messages", &mut topics);
    reader.value("destination_per_durable_subscriber", &mut each);
    DeadLetterKind::Individual {
        queue_prefix,
        topic_prefix,
        queue_suffix,
        topic_suffix,
        use_queue_for_queue_messages: queues,
        use_queue_for_topic_messages: topics,
        destination_per_durable_subscriber: each,
    }
}

fn slow_consumer(table: Table, outer: &mut TableReader<'_>) -> Option<SlowConsumerPolicy> {
    let path = "policy.slow_consumer_strategy";
    let (kind, mut reader) = open(table, path, &["_consumer_strategy"], outer);
    let mut policy = SlowConsumerPolicy::default();
    let is_by_ack = match kind.name.as_str() {
        "abort_slow" => false,
        "abort_slow_ack" => true,
        _ => {
            kind.unknown(path, "abort_slow, abort_slow_ack", reader.report);
            return None;
        }
    };
    if is_by_ack {
        let mut time = Duration::from_secs(30);
        reader.value("max_time_since_last_ack", &mut time);
        policy.max_time_since_last_ack = Some(time);
        reader.value("ignore_idle_consumers", &mut policy.ignore_idle_consumers);
    }
    reader.map(
        "max_slow_count",
        &mut policy.max_slow_count,
        |count: i64| u32::try_from(count).ok(),
    );
    reader.value("max_slow_duration", &mut policy.max_slow_duration);
    reader.value("check_period", &mut policy.check_period);
    reader.value("abort_connection", &mut policy.abort_connection);
    reader.ignore("ignore_network_consumers", super::NO_NETWORK);
    reader.ignore("name", "has no effect: it is a name in JMX");
    reader.finish();
    Some(policy)
}

fn pending_limit(table: Table, outer: &mut TableReader<'_>) -> Option<PendingLimit> {
    let path = "policy.pending_message_limit_strategy";
    let (kind, mut reader) = open(table, path, &["_pending_message_limit_strategy"], outer);
    let mut limit = None;
    match kind.name.as_str() {
        "constant" => reader.map("limit", &mut limit, |count: i64| {
            usize::try_from(count).ok().map(PendingLimit::Constant)
        }),
        "prefetch_rate" => reader.map("multiplier", &mut limit, |rate: f64| {
            (rate >= 0.0).then_some(PendingLimit::PrefetchRate(rate))
        }),
        _ => kind.unknown(path, "constant, prefetch_rate", reader.report),
    }
    reader.finish();
    limit
}

fn eviction(table: Table, outer: &mut TableReader<'_>) -> Eviction {
    let path = "policy.message_eviction_strategy";
    let endings = ["_message_eviction_strategy", "_eviction_strategy"];
    let (kind, mut reader) = open(table, path, &endings, outer);
    let eviction = match kind.name.as_str() {
        "oldest" => Eviction::Oldest,
        "oldest_message_with_lowest_priority" => Eviction::OldestWithLowestPriority,
        "unique_property" => {
            let mut name = String::new();
            reader.value("property_name", &mut name);
            Eviction::UniqueProperty(name)
        }
        _ => {
            let kinds = "oldest, oldest_message_with_lowest_priority, unique_property";
            kind.unknown(path, kinds, reader.report);
            Eviction::default()
        }
    };
    reader.ignore("evict_expired_messages_high_watermark", ONE_CURSOR);
    reader.finish();
    eviction
}

fn recovery(table: Table, outer: &mut TableReader<'_>) -> SubscriptionRecovery {
    let path = "policy.subscription_recovery_policy";
    let (kind, mut reader) = open(table, path, &["_subscription_recovery_policy"], outer);
    let recovery = match kind.name.as_str() {
        "no" => SubscriptionRecovery::None,
        "fixed_sized" => {
            let (mut size, mut shared_buffer) = (Size::kib(64), true);
            reader.value("maximum_size", &mut size);
            reader.value("use_shared_buffer", &mut shared_buffer);
            reader.ignore("buffer", ONE_CURSOR);
            SubscriptionRecovery::FixedSize {
                bytes: size.0,
                shared_buffer,
            }
        }
        "fixed_count" => {
            let mut count: u32 = 100;
            reader.value("maximum_size", &mut count);
            SubscriptionRecovery::FixedCount(count as usize)
        }
        "timed" => {
            let mut time = Duration::from_secs(60);
            reader.value("recover_duration", &mut time);
            SubscriptionRecovery::Timed(time)
        }
        "last_image" => SubscriptionRecovery::LastImage,
        "retained_message" => {
            reader.ignore("wrapped", "not mapped: retained messages only");
            SubscriptionRecovery::Retained
        }
        "query_based" if reader.is_xml() => {
            let (origin, why) = (
                reader.origin().clone(),
                "not mapped: it needs a class of yours",
            );
            reader
                .report
                .note(&origin, "<queryBasedSubscriptionRecoveryPolicy>", why);
            SubscriptionRecovery::None
        }
        _ => {
            let kinds = "no, fixed_sized, fixed_count, timed, last_image, retained_message";
            kind.unknown(path, kinds, reader.report);
            SubscriptionRecovery::None
        }
    };
    reader.finish();
    recovery
}
