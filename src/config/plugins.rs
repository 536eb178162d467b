//! What ActiveMQ has as plugins: `[[time_stamping]]`, `[[force_persistency_mode]]`, `[[redelivery]]`,
//! `[[discarding_dlq]]`. One table switches one of them on.

use crate::broker::policy::DestinationPattern;
use crate::broker::{
    DiscardDeadLetters, NameExpression, Redelivery, RedeliveryPolicy, Stamping, TimeStamping,
};

use super::policy::destinations;
use super::reader::Source;
use super::table::{Report, Table, TableReader};

/// All of them; those that are not given are off.
#[derive(Clone, Debug, Default)]
pub struct Plugins {
    /// What is changed in messages as they come.
    pub stamping: Stamping,
    /// What comes back after it was given up.
    pub redelivery: Option<Redelivery>,
    /// Dead letters that are dropped.
    pub discard_dead_letters: Option<DiscardDeadLetters>,
}

impl Plugins {
    pub(super) fn read(source: &mut Source) -> Plugins {
        let mut plugins = Plugins::default();
        for table in source.take_tables("time_stamping") {
            plugins.stamping.time = Some(time_stamping(table, &mut source.report));
        }
        for table in source.take_tables("force_persistency_mode") {
            let section = "force_persistency_mode";
            let mut reader = TableReader::new(table, section, &mut source.report);
            let mut persistent = false;
            reader.value("persistence_flag", &mut persistent);
            reader.finish();
            plugins.stamping.force_persistence = Some(persistent);
        }
        for table in source.take_tables("redelivery") {
            plugins.redelivery = Some(redelivery(table, &mut source.report));
        }
        for table in source.take_tables("redelivery.policy") {
            let (patterns, policy) = redelivery_policy(table, &mut source.report);
            let redelivery = plugins.redelivery.get_or_insert_default();
            match patterns {
                None => redelivery.default = Some(policy),
                Some(patterns) => {
                    let entries = patterns.into_iter().map(|one| (one, policy.clone()));
                    redelivery.entries.extend(entries);
                }
            }
        }
        for table in source.take_tables("discarding_dlq") {
            plugins.discard_dead_letters = Some(discarding(table, &mut source.report));
        }
        plugins
    }
}

fn time_stamping(table: Table, report: &mut Report) -> TimeStamping {
    let mut stamping = TimeStamping::default();
    let mut reader = TableReader::new(table, "time_stamping", report);
    reader.value(
        "zero_expiration_override",
        &mut stamping.zero_expiration_override,
    );
    reader.value("ttl_ceiling", &mut stamping.ttl_ceiling);
    reader.value("future_only", &mut stamping.future_only);
    reader.value(
        "process_network_messages",
        &mut stamping.process_network_messages,
    );
    reader.finish();
    stamping
}

fn redelivery(table: Table, report: &mut Report) -> Redelivery {
    let mut redelivery = Redelivery::default();
    let mut reader = TableReader::new(table, "redelivery", report);
    reader.value(
        "send_to_dlq_if_max_retries_exceeded",
        &mut redelivery.send_to_dlq_if_max_retries_exceeded,
    );
    reader.value(
        "fallback_to_dead_letter",
        &mut redelivery.fallback_to_dead_letter,
    );
    for table in reader.children("policy") {
        let (patterns, policy) = redelivery_policy(table, reader.report);
        match patterns {
            None => redelivery.default = Some(policy),
            Some(patterns) => {
                let entries = patterns.into_iter().map(|one| (one, policy.clone()));
                redelivery.entries.extend(entries);
            }
        }
    }
    reader.finish();
    redelivery
}

fn redelivery_policy(
    table: Table,
    report: &mut Report,
) -> (Option<Vec<DestinationPattern>>, RedeliveryPolicy) {
    let mut policy = RedeliveryPolicy::default();
    let mut reader = TableReader::new(table, "redelivery.policy", report);
    let patterns = destinations(&mut reader);
    reader.map(
        "maximum_redeliveries",
        &mut policy.maximum_redeliveries,
        |count: i64| u32::try_from(count).ok(),
    );
    reader.value(
        "initial_redelivery_delay",
        &mut policy.initial_redelivery_delay,
    );
    reader.value("redelivery_delay", &mut policy.redelivery_delay);
    reader.value(
        "use_exponential_back_off",
        &mut policy.use_exponential_back_off,
    );
    reader.value("back_off_multiplier", &mut policy.back_off_multiplier);
    reader.value(
        "maximum_redelivery_delay",
        &mut policy.maximum_redelivery_delay,
    );
    reader.value(
        "use_collision_avoidance",
        &mut policy.use_collision_avoidance,
    );
    reader.map(
        "collision_avoidance_percent",
        &mut policy.collision_avoidance_percent,
        |percent: u32| u8::try_from(percent.min(100)).unwrap_or(100),
    );
    let clients = "has no effect: it is about what clients do before they give a message up";
    reader.ignore("pre_dispatch_check", clients);
    reader.finish();
    (patterns, policy)
}

fn discarding(table: Table, report: &mut Report) -> DiscardDeadLetters {
    let mut discard = DiscardDeadLetters::default();
    let mut reader = TableReader::new(table, "discarding_dlq", report);
    reader.value("drop_all", &mut discard.all);
    reader.value("drop_temporary_topics", &mut discard.temporary_topics);
    reader.value("drop_temporary_queues", &mut discard.temporary_queues);
    if let Some((text, origin)) = reader.get::<String>("drop_only") {
        match NameExpression::parse_all(&text) {
            Ok(only) => discard.only = only,
            Err(error) => {
                let advice = error.to_string();
                reader.fault(&origin, "drop_only", format!("{text:?}"), &advice);
            }
        }
    }
    reader.ignore(
        "report_interval",
        "has no effect: what is dropped is counted",
    );
    reader.finish();
    discard
}
