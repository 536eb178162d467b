//! `activemq.xml`: ActiveMQ's own configuration, as far as it says something about this broker.
//!
//! The file becomes the same keys and tables as a `baton.toml`; nothing here knows what they mean. Whatever
//! is not mapped is noted with its line, and is no error: except where leaving it out would open the
//! broker to those whom the file keeps out.

mod connectors;
mod document;
mod placeholder;
mod plugins;
#[cfg(test)]
mod tests;
mod usage;

use std::path::Path;

use self::document::{Element, qualified, scheme};
use self::placeholder::Placeholders;
use super::fault::{Fault, Note};
use super::reader::Source;
use super::setting::{Origin, Raw};
use super::table::Table;

/// Attributes of `<broker>` that are keys of `[broker]` too.
const BROKER_KEYS: [&str; 16] = [
    "advisory_support",
    "allow_temp_auto_creation_on_send",
    "anonymous_producer_advisory_support",
    "keep_durable_subs_active",
    "max_purged_destinations_per_sweep",
    "max_scheduler_repeat_allowed",
    "offline_durable_subscriber_task_schedule",
    "offline_durable_subscriber_timeout",
    "populate_jmsx_user_id",
    "reject_durable_consumers",
    "schedule_period_for_destination_purge",
    "scheduler_support",
    "use_authenticated_principal_for_jmsx_user_id",
    "use_mirrored_queues",
    "use_temp_mirrored_queues",
    "use_virtual_topics",
];

/// What ActiveMQ has and this broker does otherwise, with the reason.
const KNOWN: [(&str, &str); 23] = [
    (
        "enable_message_expiration_on_active_durable_subs",
        "has no effect: expired messages are looked for in every durable subscription",
    ),
    (
        "time_before_purge_temp_destinations",
        "has no effect: a temporary destination goes with its connection",
    ),
    (
        "persistent",
        "has no effect: persistent messages go to the journal, others do not",
    ),
    (
        "data_directory",
        "has no effect: the journal is in --directory",
    ),
    (
        "data_directory_file",
        "has no effect: the journal is in --directory",
    ),
    (
        "tmp_data_directory",
        "has no effect: the journal is in --directory",
    ),
    (
        "scheduler_directory",
        "has no effect: scheduled messages are in the journal",
    ),
    (
        "scheduler_directory_file",
        "has no effect: scheduled messages are in the journal",
    ),
    (
        "job_scheduler_store",
        "has no effect: scheduled messages are in the journal",
    ),
    (
        "temp_data_store",
        "has no effect: what waits is in the journal",
    ),
    (
        "persistence_adapter",
        "has no effect: the journal in --directory takes its place",
    ),
    (
        "persistence_factory",
        "has no effect: the journal in --directory takes its place",
    ),
    (
        "delete_all_messages_on_startup",
        "has no effect: the journal outlives every start",
    ),
    (
        "use_jmx",
        "has no effect: there is no JMX; see /status on the HTTP port",
    ),
    (
        "management_context",
        "has no effect: there is no JMX; see /status on the HTTP port",
    ),
    (
        "use_shutdown_hook",
        "has no effect: SIGTERM is a planned switchover",
    ),
    ("shutdown_hooks", "has no effect: there are no hooks"),
    ("start", "has no effect: it starts"),
    (
        "network_connectors",
        "not mapped: there are no networks of brokers",
    ),
    (
        "network_connector_ur_is",
        "not mapped: there are no networks of brokers",
    ),
    ("jms_bridge_connectors", "not mapped: there are no bridges"),
    ("ssl_context", "not mapped: there is no TLS"),
    (
        "enable_statistics",
        "has no effect: statistics are always on",
    ),
];

/// Whether a file is meant to be read by this module.
pub(super) fn is_meant(path: &Path, text: &str) -> bool {
    let has_suffix = path
        .extension()
        .is_some_and(|suffix| suffix.eq_ignore_ascii_case("xml"));
    has_suffix
        || text
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('<')
}

/// Reads the text of the file at `path` into `source`.
pub(super) fn add(source: &mut Source, path: &Path, text: &str) {
    let root = match document::parse(path, text.trim_start_matches('\u{feff}')) {
        Ok(root) => root,
        Err(fault) => return source.report.faults.push(fault),
    };
    let mut brokers = Vec::new();
    root.find("broker", &mut brokers);
    let placeholders = Placeholders::of(path, &root, &mut source.report);
    for other in &root.children {
        if other.name != "broker" && !placeholder::is_configurer(other) {
            let why = "not mapped: only <broker> is read";
            source
                .report
                .note(&other.origin, format!("<{}>", other.name), why);
        }
    }
    match brokers[..] {
        [broker] => Walk {
            source,
            broker: document::table(broker, &placeholders),
        }
        .run(),
        [] => refuse(source, &root, "there is no <broker> in it"),
        [_, second, ..] => refuse(
            source,
            second,
            "there is a second <broker>: give each a file",
        ),
    }
}

fn refuse(source: &mut Source, element: &Element, advice: &str) {
    source.report.faults.push(Fault {
        origin: element.origin.clone(),
        key: format!("<{}>", element.name),
        value: String::new(),
        advice: advice.to_owned(),
    });
}

/// One walk over `<broker>`.
struct Walk<'s> {
    source: &'s mut Source,
    broker: Table,
}

impl Walk<'_> {
    fn run(mut self) {
        self.move_value("broker_name", "broker.name");
        for key in BROKER_KEYS {
            self.move_value(key, &format!("broker.{key}"));
        }
        if self.source.value_of("broker.scheduler_support").is_none() {
            // A file that says nothing means what it meant for ActiveMQ, whose scheduler is off.
            let (off, origin) = (Raw::Boolean(false), self.broker.origin.clone());
            self.source.give("broker.scheduler_support", off, origin);
        }
        self.move_value("destinations", "broker.destinations");
        self.connectors();
        self.destination_policy();
        self.interceptors();
        self.plugins();
        self.system_usage();
        if !self
            .broker
            .take_children("message_authorization_policy")
            .is_empty()
        {
            let origin = self.broker.origin.clone();
            self.unsafe_to_ignore(&origin, "messageAuthorizationPolicy");
        }
        for (key, why) in KNOWN {
            self.known(key, why);
        }
        for value in std::mem::take(&mut self.broker.values) {
            let what = format!("attribute `{}` of <broker>", value.shown);
            self.source.report.note(&value.origin, what, Note::UNKNOWN);
        }
        for (_, child) in std::mem::take(&mut self.broker.children) {
            self.note_table(&child, Note::UNKNOWN);
        }
    }

    fn known(&mut self, key: &str, why: &str) {
        if let Some(value) = self.broker.take_value(key) {
            let what = format!("attribute `{}` of <broker>", value.shown);
            self.source.report.note(&value.origin, what, why);
        }
        for table in self.broker.take_children(key) {
            self.note_table(&table, why);
        }
    }

    fn note_table(&mut self, table: &Table, why: &str) {
        let what = format!("<{}>", table.name);
        self.source.report.note(&table.origin, what, why);
    }

    /// Makes a value of `<broker>` the value of a key.
    fn move_value(&mut self, from: &str, to: &str) {
        if let Some(value) = self.broker.take_value(from) {
            self.source.give(to, value.raw, value.origin);
        }
    }

    /// Something that keeps people out, and that this broker cannot do.
    fn unsafe_to_ignore(&mut self, origin: &Origin, element: &str) {
        let table = (element.to_owned(), origin.clone());
        self.source.unsafe_elements.push(table);
    }

    fn destination_policy(&mut self) {
        for mut map in self.broker.take_children("destination_policy") {
            for entry in map.take_children("default_entry") {
                self.source.add_table("policy", entry);
            }
            for mut entry in map.take_children("policy_entries") {
                name_destination(&mut entry);
                self.source.add_table("policy", entry);
            }
            self.rest_of(&map);
        }
    }

    /// Interceptors that are given replace all that would be there by default.
    fn interceptors(&mut self) {
        if let Some(given) = self.broker.child("destination_interceptors") {
            let origin = given.origin.clone();
            for key in ["broker.use_virtual_topics", "broker.use_mirrored_queues"] {
                self.source.give(key, Raw::Boolean(false), origin.clone());
            }
        }
        for mut interceptor in self.broker.take_children("destination_interceptors") {
            for mut table in interceptor.take_children("virtual_destinations") {
                let name = super::table::snake(&table.name);
                match name.as_str() {
                    "virtual_topic" | "composite_queue" | "composite_topic" => {
                        for (key, target) in &mut table.children {
                            if key == "forward_to" {
                                name_destination(target);
                            }
                        }
                        self.source.add_table(&name, table);
                    }
                    _ => self.note_table(&table, Note::UNKNOWN),
                }
            }
            match interceptor.name.as_str() {
                "mirroredQueue" => self.source.add_table("mirrored_queue", interceptor),
                "virtualDestinationInterceptor" => self.rest_of(&interceptor),
                _ => self.note_table(&interceptor, Note::UNKNOWN),
            }
        }
    }

    /// Notes what is left of a table that was taken apart.
    fn rest_of(&mut self, table: &Table) {
        for value in &table.values {
            let what = format!("attribute `{}` of <{}>", value.shown, table.name);
            self.source.report.note(&value.origin, what, Note::UNKNOWN);
        }
        for (_, child) in &table.children {
            self.note_table(child, Note::UNKNOWN);
        }
    }
}

/// Makes `queue="A"`, `topic="A"` and the like `destination = "queue://A"`.
fn name_destination(table: &mut Table) {
    let mut names = Vec::new();
    let mut origin = table.origin.clone();
    for key in ["queue", "topic", "temp_queue", "temp_topic"] {
        let Some(value) = table.take_value(key) else {
            continue;
        };
        let scheme = scheme(key).unwrap_or_default();
        origin = value.origin;
        match value.raw {
            // Of temporary destinations ActiveMQ has one entry for all, whatever the value says.
            Raw::Word(text) if key.starts_with("temp") && matches!(&*text, "true" | "false") => {
                names.extend(qualified(scheme, ">"));
            }
            Raw::Word(text) => names.extend(qualified(scheme, &text)),
            unknown => names.push(unknown),
        }
    }
    // Elements of `forwardTo` are destinations themselves.
    if let (Some(scheme), Some(value)) = (scheme(&table.name), table.take_value("physical_name")) {
        origin = value.origin;
        match value.raw {
            Raw::Word(text) => names.extend(qualified(scheme, &text)),
            unknown => names.push(unknown),
        }
    }
    if !names.is_empty() {
        table.set("destination", "destination", Raw::List(names), origin);
    }
}
