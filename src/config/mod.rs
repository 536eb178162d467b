//! Configuration: defaults, then `baton.toml` or an `activemq.xml`, then flags and their environment variables.
//!
//! Every value knows where it came from, and a configuration is refused with all of its faults at
//! once, each naming file, line, key, value and what to do. Sections are one file each; what a key
//! means stands on its field and, for users, in `examples/baton.toml`.

mod activemq_xml;
mod address;
mod broker;
mod encryption;
mod fault;
mod http;
mod interceptors;
mod journal;
pub mod keys;
mod limits;
mod listeners;
mod log;
mod openwire;
mod plugins;
mod policy;
mod reader;
mod security;
mod setting;
mod share;
mod size;
mod storage;
mod table;
mod tenure;
mod time;
mod validate;

use std::path::Path;

use crate::broker::interceptor::Interceptors;
use crate::broker::policy::Policy;

pub use address::{HostPort, TransportAddress};
pub use broker::{Behaviour, Broker};
pub use encryption::Encryption;
pub use fault::{ConfigError, Fault, Note};
pub use http::Http;
pub use journal::Journal;
pub use limits::Limits;
pub use listeners::Listeners;
pub use log::{Log, LogFormat};
pub use openwire::OpenWire;
pub use plugins::Plugins;
pub use policy::PolicyEntries;
pub use reader::Override;
use reader::Source;
pub use security::Security;
pub use setting::{Expected, FromRaw, Origin, Raw, Setting};
pub use share::Share;
pub use size::Size;
pub use storage::Storage;
pub use tenure::Tenure;
pub use time::Time;

/// All settings of one broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[broker]`
    pub broker: Broker,
    /// `[tenure]`
    pub tenure: Tenure,
    /// `[journal]`
    pub journal: Journal,
    /// `[storage]`
    pub storage: Storage,
    /// `[encryption]`
    pub encryption: Encryption,
    /// `[listeners]`
    pub listeners: Listeners,
    /// `[openwire]`
    pub openwire: OpenWire,
    /// `[limits]`
    pub limits: Limits,
    /// `[security]`
    pub security: Security,
    /// `[[policy]]`
    pub policies: PolicyEntries,
    /// `[[virtual_topic]]` and its like
    pub interceptors: Interceptors,
    /// `[[statistics]]` is there: questions for statistics that come by message are answered.
    pub statistics: bool,
    /// `[[time_stamping]]`, `[[redelivery]]` and their like
    pub plugins: Plugins,
    /// `[http]`
    pub http: Http,
    /// `[log]`
    pub log: Log,
    /// What an `activemq.xml` says that has no effect here.
    pub notes: Vec<Note>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            broker: Broker::new(),
            tenure: Tenure::new(),
            journal: Journal::new(),
            storage: Storage::new(),
            encryption: Encryption::new(),
            listeners: Listeners::new(),
            openwire: OpenWire::new(),
            limits: Limits::new(),
            security: Security::new(),
            policies: PolicyEntries::default(),
            interceptors: Interceptors::default(),
            plugins: Plugins::default(),
            statistics: false,
            http: Http::new(),
            log: Log::new(),
            notes: Vec::new(),
        }
    }
}

impl Config {
    /// Layers the file, if one is named, and the flags over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read, or the list of everything wrong.
    pub fn load(file: Option<&Path>, overrides: Vec<Override>) -> Result<Config, ConfigError> {
        let mut source = Source::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
                path: path.to_owned(),
                error,
            })?;
            if activemq_xml::is_meant(path, &text) {
                activemq_xml::add(&mut source, path, &text);
            } else {
                source.add_file(path, &text);
            }
        }
        for given in overrides {
            source.add_override(given);
        }
        Config::from_source(source).0
    }

    /// What holds for every destination unless its entry says otherwise.
    #[must_use]
    pub fn base_policy(&self) -> Policy {
        Policy {
            prioritized_messages: self.broker.prioritized_messages.value,
            expire_messages_period: self.broker.expiry_interval.value.duration(),
            ..Policy::default()
        }
    }

    /// The configuration and the names of all keys there are.
    fn from_source(mut source: Source) -> (Result<Config, ConfigError>, Vec<String>) {
        let mut config = Config::default();
        config.broker.read(&mut source);
        config.tenure.read(&mut source);
        config.journal.read(&mut source);
        config.storage.read(&mut source);
        config.encryption.read(&mut source);
        config.listeners.read(&mut source);
        config.openwire.read(&mut source);
        config.limits.read(&mut source);
        config.security.read(&mut source);
        config.policies = PolicyEntries::read(&mut source, &config.base_policy());
        config.interceptors = interceptors::read(&mut source, &config.broker.behaviour);
        for table in source.take_tables("statistics") {
            table::TableReader::new(table, "statistics", &mut source.report).finish();
            config.statistics = true;
        }
        config.plugins = Plugins::read(&mut source);
        config.http.read(&mut source);
        config.log.read(&mut source);
        let (report, mut keys) = source.finish();
        keys.extend(report.known);
        let mut faults = report.faults;
        faults.extend(validate::faults(&config));
        faults.sort_by_key(|fault| fault.origin.line());
        config.notes = report.notes;
        config.notes.sort_by_key(|note| note.origin.line());
        if faults.is_empty() {
            (Ok(config), keys)
        } else {
            (Err(ConfigError::Faults(faults)), keys)
        }
    }
}

#[cfg(test)]
mod tests;
