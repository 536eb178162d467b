//! `<plugins>`: what is built in here, and what cannot be left out without opening a door.

use super::{Walk, name_destination};
use crate::config::fault::Note;
use crate::config::setting::Raw;
use crate::config::table::Table;

impl Walk<'_> {
    pub(super) fn plugins(&mut self) {
        for plugin in self.broker.take_children("plugins") {
            self.plugin(plugin);
        }
    }

    fn plugin(&mut self, plugin: Table) {
        match plugin.name.as_str() {
            "simpleAuthenticationPlugin" => self.authentication(plugin),
            "authorizationPlugin" => self.authorization(plugin),
            "timeStampingBrokerPlugin" => self.source.add_table("time_stamping", plugin),
            "redeliveryPlugin" => self.redelivery(plugin),
            "destinationPathSeparatorPlugin" => {
                self.source.add_table("destination_path_separator", plugin);
            }
            "statisticsBrokerPlugin" => self.source.add_table("statistics", plugin),
            "forcePersistencyModeBrokerPlugin" | "forcePersistencyModeBroker" => {
                self.source.add_table("force_persistency_mode", plugin);
            }
            "discardingDLQBrokerPlugin" => self.source.add_table("discarding_dlq", plugin),
            _ if keeps_people_out(&plugin) => {
                let name = plugin.name.clone();
                self.unsafe_to_ignore(&plugin.origin, &name);
            }
            _ => self.note_table(&plugin, Note::UNKNOWN),
        }
    }

    fn authentication(&mut self, mut plugin: Table) {
        let origin = plugin.origin.clone();
        let on = Raw::Boolean(true);
        self.source.give("security.authentication", on, origin);
        for user in plugin.take_children("users") {
            self.source.add_table("security.user", user);
        }
        for key in [
            "anonymous_access_allowed",
            "anonymous_user",
            "anonymous_group",
        ] {
            if let Some(value) = plugin.take_value(key) {
                self.source
                    .give(&format!("security.{key}"), value.raw, value.origin);
            }
        }
        for (key, _) in &plugin.children {
            // Users, passwords or groups in another form than `users`.
            if key.starts_with("user") {
                self.source
                    .unsafe_elements
                    .push((format!("{} {key}", plugin.name), plugin.origin.clone()));
            }
        }
        self.rest_of(&plugin);
    }

    fn authorization(&mut self, mut plugin: Table) {
        let origin = plugin.origin.clone();
        let on = Raw::Boolean(true);
        self.source
            .give("security.authorization_required", on, origin.clone());
        let maps = plugin.take_children("map");
        if maps.is_empty() {
            self.unsafe_to_ignore(&origin, "authorizationPlugin without <map>");
        }
        for mut map in maps {
            if map.name != "authorizationMap" {
                let name = map.name.clone();
                self.unsafe_to_ignore(&map.origin, &name);
                continue;
            }
            for mut entry in map.take_children("authorization_entries") {
                name_destination(&mut entry);
                self.source.add_table("security.authorization", entry);
            }
            for entry in map.take_children("default_entry") {
                self.source.add_table("security.authorization", entry);
            }
            for entry in map.take_children("temp_destination_authorization_entry") {
                self.source.add_table("security.temporary", entry);
            }
            self.rest_of(&map);
        }
        self.rest_of(&plugin);
    }

    fn redelivery(&mut self, mut plugin: Table) {
        for mut map in plugin.take_children("redelivery_policy_map") {
            for entry in map.take_children("default_entry") {
                self.source.add_table("redelivery.policy", entry);
            }
            for mut entry in map.take_children("redelivery_policy_entries") {
                name_destination(&mut entry);
                self.source.add_table("redelivery.policy", entry);
            }
            self.rest_of(&map);
        }
        self.source.add_table("redelivery", plugin);
    }
}

/// Whether the name of a plugin, or of its class, tells of authentication.
fn keeps_people_out(plugin: &Table) -> bool {
    let class = plugin.values.iter().find(|value| value.key == "class");
    let class = class.map_or(String::new(), |value| value.raw.to_string());
    let text = format!("{} {class}", plugin.name).to_lowercase();
    ["auth", "jaas", "ldap", "shiro", "secur"]
        .iter()
        .any(|word| text.contains(word))
}
