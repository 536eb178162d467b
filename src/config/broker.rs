//! `[broker]`: who this is, where the journal lies, what the broker remembers.

use std::path::PathBuf;

use super::reader::Source;
use super::setting::Setting;
use super::{Size, Time};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// The name in the lock file, the status and the logs; different for each member of a pair.
    pub name: Setting<String>,
    /// The shared journal directory; created when missing.
    pub directory: Setting<PathBuf>,
    /// Dispatch by message priority instead of arrival only.
    pub prioritized_messages: Setting<bool>,
    /// Bytes of persistent message bodies kept in memory; what does not fit is read back.
    pub message_memory: Setting<Size>,
    /// Bytes of non-persistent messages, which live in memory only; beyond it sends are refused.
    pub non_persistent_memory: Setting<Size>,
    /// How long an unused producer is remembered for duplicate suppression.
    pub producer_retention: Setting<Time>,
    /// Time between two searches for expired messages.
    pub expiry_interval: Setting<Time>,
}

impl Broker {
    pub(super) fn new() -> Broker {
        Broker {
            name: Setting::default_of(host_name()),
            directory: Setting::default_of(PathBuf::from("baton-data")),
            prioritized_messages: Setting::default_of(false),
            message_memory: Setting::default_of(Size::mib(64)),
            non_persistent_memory: Setting::default_of(Size::mib(256)),
            producer_retention: Setting::default_of(Time::ms(24 * 3_600_000)),
            expiry_interval: Setting::default_of(Time::ms(30_000)),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("broker", "name", &mut self.name);
        source.take("broker", "directory", &mut self.directory);
        source.take(
            "broker",
            "prioritized_messages",
            &mut self.prioritized_messages,
        );
        source.take("broker", "message_memory", &mut self.message_memory);
        source.take(
            "broker",
            "non_persistent_memory",
            &mut self.non_persistent_memory,
        );
        source.take("broker", "producer_retention", &mut self.producer_retention);
        source.take("broker", "expiry_interval", &mut self.expiry_interval);
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "baton".to_owned())
}
