//! `[openwire]`: the limits that the broker offers in the handshake.

use super::reader::Source;
use super::setting::Setting;
use super::{Size, Time};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenWire {
    /// The largest command, a message with its headers.
    pub max_frame_size: Setting<Size>,
    /// Silence after which either side gives the other up; 0 turns it off.
    pub max_inactivity: Setting<Time>,
    /// Grace before the first such check of a new connection.
    pub max_inactivity_initial_delay: Setting<Time>,
    /// Connections at one time, over all listeners.
    pub max_connections: Setting<u32>,
}

impl OpenWire {
    pub(super) fn new() -> OpenWire {
        OpenWire {
            max_frame_size: Setting::default_of(Size::mib(100)),
            max_inactivity: Setting::default_of(Time::ms(10_000)),
            max_inactivity_initial_delay: Setting::default_of(Time::ms(10_000)),
            max_connections: Setting::default_of(10_000),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("openwire", "max_frame_size", &mut self.max_frame_size);
        source.take("openwire", "max_inactivity", &mut self.max_inactivity);
        source.take(
            "openwire",
            "max_inactivity_initial_delay",
            &mut self.max_inactivity_initial_delay,
        );
        source.take("openwire", "max_connections", &mut self.max_connections);
    }
}
