//! `<transportConnectors>`: where clients connect.

use super::Walk;
use crate::config::fault::Note;
use crate::config::setting::{Origin, Raw};
use crate::config::table::{Table, Value};

/// Schemes of OpenWire over TCP. `auto` finds the protocol out; here it is always OpenWire.
const OPENWIRE: [&str; 4] = ["tcp", "nio", "auto", "auto+nio"];

/// Options of a connector's URI that are keys of `[openwire]`.
const OPTIONS: [(&str, &str); 5] = [
    ("maximumConnections", "openwire.max_connections"),
    ("wireFormat.maxFrameSize", "openwire.max_frame_size"),
    (
        "wireFormat.maxInactivityDuration",
        "openwire.max_inactivity",
    ),
    (
        "wireFormat.maxInactivityDurationInitalDelay",
        "openwire.max_inactivity_initial_delay",
    ),
    (
        "wireFormat.maxInactivityDurationInitialDelay",
        "openwire.max_inactivity_initial_delay",
    ),
];

impl Walk<'_> {
    pub(super) fn connectors(&mut self) {
        let mut addresses: Vec<(String, Origin)> = Vec::new();
        let mut left_out = None;
        for mut connector in self.broker.take_children("transport_connectors") {
            let Some(uri) = connector.take_value("uri") else {
                self.note_table(&connector, "not mapped: it has no URI");
                continue;
            };
            match self.address(&uri) {
                Some(address) => {
                    addresses.push((address, uri.origin.clone()));
                    self.options(&uri);
                    self.attributes(connector);
                }
                None => left_out = Some((connector.name, uri)),
            }
        }
        if let Some((_, origin)) = addresses.first() {
            let origin = origin.clone();
            let words = addresses.into_iter().map(|(address, _)| Raw::Word(address));
            self.source
                .give("listeners.openwire", Raw::List(words.collect()), origin);
        } else if let Some((_, uri)) = left_out {
            // A default address instead of the file's would be a surprise.
            let raw = Raw::List(Vec::new());
            self.source.give("listeners.openwire", raw, uri.origin);
        }
    }

    /// `tcp://host:port` of a connector that speaks OpenWire over TCP.
    fn address(&mut self, uri: &Value) -> Option<String> {
        let Raw::Word(text) = &uri.raw else {
            self.source
                .give("listeners.openwire", uri.raw.clone(), uri.origin.clone());
            return None;
        };
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let place = rest.split(['?', '/']).next().unwrap_or_default();
        if !OPENWIRE.contains(&scheme) || place.is_empty() {
            let what = format!("transport connector `{}`", without_options(text));
            let why = match scheme {
                "ssl" | "nio+ssl" | "auto+ssl" | "auto+nio+ssl" | "https" | "wss" => {
                    "not mapped: there is no TLS"
                }
                "vm" => "not mapped: clients are in other processes",
                _ => "not mapped: this protocol is not spoken here",
            };
            self.source.report.note(&uri.origin, what, why);
            return None;
        }
        Some(format!("tcp://{place}"))
    }

    fn options(&mut self, uri: &Value) {
        let Raw::Word(text) = &uri.raw else {
            return;
        };
        let Some((_, query)) = text.split_once('?') else {
            return;
        };
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let key = OPTIONS.iter().find(|(known, _)| *known == name);
            if let Some((_, key)) = key {
                self.option(key, value, uri, name);
                continue;
            }
            let what = format!("option `{name}` of `{}`", without_options(text));
            self.source.report.note(&uri.origin, what, Note::UNKNOWN);
        }
    }

    fn option(&mut self, key: &str, value: &str, uri: &Value, name: &str) {
        let raw = Raw::Word(value.to_owned());
        if self.source.value_of(key).is_some_and(|given| *given != raw) {
            let what = format!("option `{name}`");
            let why = "not mapped: another connector has another value, which counts for all";
            self.source.report.note(&uri.origin, what, why);
            return;
        }
        self.source.give(key, raw, uri.origin.clone());
    }

    fn attributes(&mut self, mut connector: Table) {
        connector.take_value("name");
        connector.take_value("id");
        for key in [
            "update_cluster_clients",
            "rebalance_cluster_clients",
            "update_cluster_clients_on_remove",
        ] {
            if let Some(value) = connector.take_value(key) {
                let what = format!("attribute `{}` of <{}>", value.shown, connector.name);
                let why = "has no effect: clients are told the pair's addresses; see --peer";
                self.source.report.note(&value.origin, what, why);
            }
        }
        self.rest_of(&connector);
    }
}

fn without_options(uri: &str) -> &str {
    uri.split('?').next().unwrap_or(uri)
}
