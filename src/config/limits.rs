//! `[limits]`: how much of memory and disk messages may take, and what happens then.

use std::time::Duration;

use super::Size;
use super::reader::Source;
use super::setting::Setting;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of messages in memory, of all destinations.
    pub memory: Setting<Size>,
    /// Bytes of persistent messages in the journal.
    pub store: Setting<Size>,
    /// Bytes of non-persistent messages outside of memory.
    pub temp: Setting<Size>,
    /// Refuse what has no room instead of holding its producer back.
    pub send_fail_if_no_space: Setting<bool>,
    /// Refuse it after this time; 0 = never.
    pub send_fail_if_no_space_after_timeout: Setting<Duration>,
}

impl Limits {
    pub(super) fn new() -> Limits {
        Limits {
            memory: Setting::default_of(Size::mib(1024)),
            store: Setting::default_of(Size::mib(100 << 10)),
            temp: Setting::default_of(Size::mib(50 << 10)),
            send_fail_if_no_space: Setting::default_of(false),
            send_fail_if_no_space_after_timeout: Setting::default_of(Duration::ZERO),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("limits", "memory", &mut self.memory);
        source.take("limits", "store", &mut self.store);
        source.take("limits", "temp", &mut self.temp);
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
