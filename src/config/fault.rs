//! What can be wrong with a configuration, all of it at once.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::setting::Origin;

/// One thing that is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was set.
    pub origin: Origin,
    /// The key with its section, `tenure.lease`; empty for a fault of syntax.
    pub key: String,
    /// The value as it was written; empty when the key itself is the fault.
    pub value: String,
    /// What is wrong with it and what to do.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (self.key.is_empty(), self.value.is_empty()) {
            (true, _) => {}
            (false, true) => write!(f, "`{}`: ", self.key)?,
            (false, false) => write!(f, "`{} = {}`: ", self.key, self.value)?,
        }
        f.write_str(&self.advice)
    }
}

/// Something in an `activemq.xml` that has no effect here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it stands.
    pub origin: Origin,
    /// The element or attribute.
    pub what: String,
    /// Why it has no effect, or what is done instead.
    pub why: String,
}

impl Note {
    pub(super) const UNKNOWN: &'static str = "not mapped: it has no effect here";
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.origin, self.what, self.why)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{}`: {error}: check the path and its permissions", path.display())]
    Read {
        /// The file as it was named.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Settings are wrong: every one of them.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
}

fn list(faults: &[Fault]) -> String {
    let mut text = match faults.len() {
        1 => "the configuration has a fault:".to_owned(),
        count => format!("the configuration has {count} faults:"),
    };
    for fault in faults {
        text.push_str("\n  ");
        text.push_str(&fault.to_string());
    }
    text
}
