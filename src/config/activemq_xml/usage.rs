//! `<systemUsage>`: the broker's limits.

use super::Walk;
use crate::config::Size;
use crate::config::fault::{Fault, Note};
use crate::config::setting::Raw;
use crate::config::table::Table;

/// The heap that ActiveMQ's start script gives it, of which `percentOfJvmHeap` is a part.
const HEAP: Size = Size::mib(1024);

impl Walk<'_> {
    pub(super) fn system_usage(&mut self) {
        for mut usage in self.broker.take_children("system_usage") {
            for (part, key) in [
                ("memory_usage", "limits.memory"),
                ("store_usage", "limits.store"),
                ("temp_usage", "limits.temp"),
            ] {
                for limit in usage.take_children(part) {
                    self.limit(limit, key);
                }
                if let Some(value) = usage.take_value(part) {
                    self.source.give(key, value.raw, value.origin);
                }
            }
            for key in [
                "send_fail_if_no_space",
                "send_fail_if_no_space_after_timeout",
            ] {
                if let Some(value) = usage.take_value(key) {
                    self.source
                        .give(&format!("limits.{key}"), value.raw, value.origin);
                }
            }
            self.rest_of(&usage);
        }
    }

    fn limit(&mut self, mut table: Table, key: &str) {
        if let Some(value) = table.take_value("limit") {
            self.source.give(key, value.raw, value.origin);
        }
        if let Some(value) = table.take_value("percent_limit") {
            let raw = match value.raw {
                Raw::Word(percent) => Raw::Word(format!("{percent}%")),
                unknown => unknown,
            };
            self.source.give(key, raw, value.origin);
        }
        if let Some(value) = table.take_value("percent_of_jvm_heap") {
            let percent = match &value.raw {
                Raw::Word(text) => text.trim().parse::<u64>().ok().filter(|p| *p <= 100),
                _ => None,
            };
            match percent {
                Some(percent) => {
                    let bytes = Size::mib((HEAP.0 * percent / 100) >> 20);
                    let why = format!(
                        "taken as {percent} % of {HEAP}, the heap that ActiveMQ is started with"
                    );
                    let what = format!("attribute `{}` of <{}>", value.shown, table.name);
                    self.source.report.note(&value.origin, what, why);
                    let raw = Raw::Word(bytes.0.to_string());
                    self.source.give(key, raw, value.origin);
                }
                None => self.source.report.faults.push(Fault {
                    origin: value.origin,
                    key: format!("<{}> {}", table.name, value.shown),
                    value: value.raw.to_string(),
                    advice: "expected a whole number from 0 to 100".to_owned(),
                }),
            }
        }
        for value in std::mem::take(&mut table.values) {
            let what = format!("attribute `{}` of <{}>", value.shown, table.name);
            self.source.report.note(&value.origin, what, Note::UNKNOWN);
        }
        self.rest_of(&table);
    }
}
