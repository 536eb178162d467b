//! `[http]`: the port for health and status, open on both brokers.

use super::address::HostPort;
use super::reader::Source;
use super::setting::Setting;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: Setting<HostPort>,
}

impl Http {
    pub(super) fn new() -> Http {
        let listen = HostPort {
            host: "127.0.0.1".to_owned(),
            port: 8161,
        };
        Http {
            listen: Setting::default_of(listen),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("http", "listen", &mut self.listen);
    }
}
