//! `[listeners]`: where the active serves clients, and what it tells them about the pair.

use super::address::{HostPort, TransportAddress};
use super::reader::Source;
use super::setting::Setting;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// Messaging addresses, open only while this broker is the active.
    pub openwire: Setting<Vec<TransportAddress>>,
    /// This broker as clients reach it; empty = the addresses in `openwire`.
    pub advertise: Setting<Vec<TransportAddress>>,
    /// The other broker as clients reach it.
    pub peers: Setting<Vec<TransportAddress>>,
    /// Tell clients both addresses, so that they need not know them beforehand.
    pub announce: Setting<bool>,
}

impl Listeners {
    pub(super) fn new() -> Listeners {
        let loopback = HostPort {
            host: "127.0.0.1".to_owned(),
            port: 61616,
        };
        Listeners {
            openwire: Setting::default_of(vec![TransportAddress(loopback)]),
            advertise: Setting::default_of(Vec::new()),
            peers: Setting::default_of(Vec::new()),
            announce: Setting::default_of(true),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("listeners", "openwire", &mut self.openwire);
        source.take("listeners", "advertise", &mut self.advertise);
        source.take("listeners", "peers", &mut self.peers);
        source.take("listeners", "announce", &mut self.announce);
    }
}
