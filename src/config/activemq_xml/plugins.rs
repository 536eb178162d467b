//! `<plugins>`: what is built in here, and what cannot be left out without opening a door.

use super::{Walk, name_destination};
use crate::config::fault::Note;
use crate::config::table::Table;

impl Walk<'_> {
    pub(super) fn plugins(&mut self) {
        for plugin in self.broker.take_children("plugins") {
            self.plugin(plugin);
        }
    }

    fn plugin(&mut self, plugin: Table) {
        match plugin.name.as_str() {
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
