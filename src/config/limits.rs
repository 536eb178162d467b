//! `[limits]`: how much of memory and disk messages may take, and what happens then.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Source;
use super::setting::Setting;
use super::share::Share;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that are in memory and nowhere else, of all destinations.
    pub memory: Setting<Share>,
    /// Persistent messages in the journal; 0 = as much as the disk takes.
    pub store: Setting<Share>,
    /// Messages that memory has no room for, on a local disk.
    pub temp: Setting<Share>,
    /// Where those are.
    pub temp_directory: Setting<PathBuf>,
    /// Refuse what has no room instead of holding its producer back.
    pub send_fail_if_no_space: Setting<bool>,
    /// Refuse it after this time; 0 = never.
    pub send_fail_if_no_space_after_timeout: Setting<Duration>,
}

impl Limits {
    pub(super) fn new() -> Limits {
        Limits {
            memory: Setting::default_of(Share::mib(256)),
            store: Setting::default_of(Share::mib(0)),
            temp: Setting::default_of(Share::mib(10 << 10)),
            temp_directory: Setting::default_of(std::env::temp_dir()),
            send_fail_if_no_space: Setting::default_of(false),
            send_fail_if_no_space_after_timeout: Setting::default_of(Duration::ZERO),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("limits", "memory", &mut self.memory);
        source.take("limits", "store", &mut self.store);
        source.take("limits", "temp", &mut self.temp);
        source.take("limits", "temp_directory", &mut self.temp_directory);
        source.take(
            "limits",
            "send_fail_if_no_space",
            &mut self.send_fail_if_no_space,
        );
        source.take(
            "limits",
            "send_fail_if_no_space_after_timeout",
            &mut self.send_fail_if_no_space_after_timeout,
        );
    }
}
