//! `[[policy]]`: what is chosen for some destinations. The keys are the attributes of ActiveMQ's
//! `policyEntry`, with underscores.

mod strategy;

use crate::broker::policy::{DestinationPattern, Policies, Policy};

use super::Size;
use super::reader::Source;
use super::table::{Report, Table, TableReader};

const SECTION: &str = "policy";
const ONE_CURSOR: &str =
    "has no effect: what waits is in the journal, and memory holds what is about to be dispatched";
const OWN_AUDIT: &str = "has no effect: every message is recognised by its producer's sequence";
const NO_NETWORK: &str = "has no effect: there are no networks of brokers";

/// All policies of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyEntries {
    /// For destinations that no entry matches.
    pub default: Option<Policy>,
    /// The entries with their patterns, in the order of the file.
    pub entries: Vec<(DestinationPattern, Policy)>,
}

impl PolicyEntries {
    /// What `base` says holds for all destinations; entries say the rest.
    pub(super) fn read(source: &mut Source, base: &Policy) -> PolicyEntries {
        let mut all = PolicyEntries::default();
        for table in source.take_tables(SECTION) {
            let (patterns, policy) = entry(table, base, &mut source.report);
            match patterns {
                None => all.default = Some(policy),
                Some(patterns) => {
                    let entries = patterns
                        .into_iter()
                        .map(|pattern| (pattern, policy.clone()));
                    all.entries.extend(entries);
                }
            }
        }
        all
    }

    /// As the broker wants them.
    #[must_use]
    pub fn policies(&self, base: &Policy) -> Policies {
        let default = self.default.as_ref().unwrap_or(base);
        Policies::new(default.clone(), self.entries.clone())
    }
}

/// One entry; without patterns it is the one for the rest.
fn entry(
    table: Table,
    base: &Policy,
    report: &mut Report,
) -> (Option<Vec<DestinationPattern>>, Policy) {
    let mut reader = TableReader::new(table, SECTION, report);
    let patterns = destinations(&mut reader);
    let mut policy = base.clone();
    windows(&mut reader, &mut policy);
    dispatch(&mut reader, &mut policy);
    limits(&mut reader, &mut policy);
    removal(&mut reader, &mut policy);
    advisories(&mut reader, &mut policy);
    strategy::read(&mut reader, &mut policy);
    for key in ["max_page_size", "max_browse_page_size", "use_cache"] {
        reader.ignore(key, ONE_CURSOR);
    }
    reader.ignore("pending_durable_subscriber_policy", ONE_CURSOR);
    for key in [
        "enable_audit",
        "max_producers_to_audit",
        "max_audit_depth",
        "max_queue_audit_depth",
    ] {
        reader.ignore(key, OWN_AUDIT);
    }
    for key in ["gc_with_network_consumers", "network_bridge_filter_factory"] {
        reader.ignore(key, NO_NETWORK);
    }
    reader.finish();
    (patterns, policy)
}

/// The patterns that `destination` names; None when it is not given. A wrong one matches nothing, and
/// is a fault.
pub(super) fn destinations(reader: &mut TableReader<'_>) -> Option<Vec<DestinationPattern>> {
    let (names, origin) = reader.get::<Vec<String>>("destination")?;
    let mut patterns = Vec::new();
    for name in names {
        match DestinationPattern::parse(&name) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                let advice = error.to_string();
                reader.fault(&origin, "destination", format!("{name:?}"), &advice);
            }
        }
    }
    Some(patterns)
}

fn windows(reader: &mut TableReader<'_>, policy: &mut Policy) {
    reader.value("queue_prefetch", &mut policy.queue_prefetch);
    reader.value("queue_browser_prefetch", &mut policy.queue_browser_prefetch);
    reader.value("topic_prefetch", &mut policy.topic_prefetch);
    reader.value("durable_topic_prefetch", &mut policy.durable_topic_prefetch);
    reader.value("use_prefetch_extension", &mut policy.use_prefetch_extension);
}

fn dispatch(reader: &mut TableReader<'_>, policy: &mut Policy) {
    reader.value("prioritized_messages", &mut policy.prioritized_messages);
    reader.value("use_consumer_priority", &mut policy.use_consumer_priority);
    reader.value("strict_order_dispatch", &mut policy.strict_order_dispatch);
    reader.value(
        "all_consumers_exclusive_by_default",
        &mut policy.all_consumers_exclusive_by_default,
    );
    reader.value(
        "consumers_before_dispatch_starts",
        &mut policy.consumers_before_dispatch_starts,
    );
    reader.value(
        "time_before_dispatch_starts",
        &mut policy.time_before_dispatch_starts,
    );
    reader.value("expire_messages_period", &mut policy.expire_messages_period);
    reader.value("max_expire_page_size", &mut policy.max_expire_page_size);
    reader.value("always_retroactive", &mut policy.always_retroactive);
    for key in [
        "optimized_dispatch",
        "lazy_dispatch",
        "reduce_memory_footprint",
    ] {
        reader.ignore(
            key,
            "has no effect: dispatch is batched, and bodies are kept as they came",
        );
    }
    for key in [
        "do_optimze_message_storage",
        "optimize_message_store_in_flight_limit",
    ] {
        reader.ignore(
            key,
            "has no effect: a message is in the journal from the start",
        );
    }
    let always =
        "has no effect: what may have been seen before is always flagged, also after a takeover";
    reader.ignore("persist_jms_redelivered", always);
    let order = "has no effect: every consumer of a topic gets the one order";
    reader.ignore("dispatch_policy", order);
    let exact = "has no effect: every group has its consumer";
    for key in [
        "message_group_map_factory",
        "message_group_map_factory_type",
    ] {
        reader.ignore(key, exact);
    }
    let never = "has no effect: the journal holds no message twice";
    reader.ignore("send_duplicate_from_store_to_dlq", never);
}

fn limits(reader: &mut TableReader<'_>, policy: &mut Policy) {
    reader.map(
        "memory_limit",
        &mut policy.memory_limit_bytes,
        |size: Size| size.0,
    );
    reader.value("producer_flow_control", &mut policy.producer_flow_control);
    reader.map(
        "send_fail_if_no_space",
        &mut policy.send_fail_if_no_space,
        Some,
    );
    reader.map(
        "send_fail_if_no_space_after_timeout",
        &mut policy.send_fail_if_no_space_after,
        Some,
    );
    reader.value(
        "cursor_memory_high_water_mark",
        &mut policy.cursor_memory_high_water_mark,
    );
    reader.value("keep_in_memory", &mut policy.keep_in_memory);
    cursors(reader, policy);
    reader.value(
        "store_usage_high_water_mark",
        &mut policy.store_usage_high_water_mark,
    );
    reader.value(
        "cursor_memory_high_water_mark",
        &mut policy.cursor_memory_high_water_mark,
    );
    reader.value(
        "blocked_producer_warning_interval",
        &mut policy.blocked_producer_warning_interval,
    );
    reader.ignore(
        "minimum_message_size",
        "has no effect: messages count with their own size",
    );
}

/// ActiveMQ's cursors: of those in memory something is left, that they use no store.
fn cursors(reader: &mut TableReader<'_>, policy: &mut Policy) {
    if !reader.is_xml() {
        return;
    }
    for key in [
        "pending_queue_policy",
        "pending_subscriber_policy",
        "pending_durable_subscriber_policy",
    ] {
        for table in reader.children(key) {
            if table.name == "vmQueueCursor" || table.name == "vmCursor" {
                policy.keep_in_memory = true;
                continue;
            }
            let (what, origin) = (format!("<{}>", table.name), table.origin);
            reader.report.note(&origin, what, ONE_CURSOR);
        }
    }
}

fn removal(reader: &mut TableReader<'_>, policy: &mut Policy) {
    reader.value(
        "gc_inactive_destinations",
        &mut policy.gc_inactive_destinations,
    );
    if reader.is_xml() {
        // ActiveMQ's first spelling, which it still takes.
        reader.value(
            "inactive_timout_before_gc",
            &mut policy.inactive_timeout_before_gc,
        );
    }
    reader.value(
        "inactive_timeout_before_gc",
        &mut policy.inactive_timeout_before_gc,
    );
}

fn advisories(reader: &mut TableReader<'_>, policy: &mut Policy) {
    reader.value(
        "advisory_for_slow_consumers",
        &mut policy.advisory_for_slow_consumers,
    );
    reader.value(
        "advisory_for_fast_producers",
        &mut policy.advisory_for_fast_producers,
    );
    reader.value(
        "advisory_for_discarding_messages",
        &mut policy.advisory_for_discarding_messages,
    );
    reader.value("advisory_when_full", &mut policy.advisory_when_full);
    reader.value("advisory_for_delivery", &mut policy.advisory_for_delivery);
    reader.value("advisory_for_consumed", &mut policy.advisory_for_consumed);
    reader.value(
        "include_body_for_advisory",
        &mut policy.include_body_for_advisory,
    );
    reader.value(
        "send_advisory_if_no_consumers",
        &mut policy.send_advisory_if_no_consumers,
    );
}
