//! `[encryption]`: where the keys of the journal come from. See [`super::keys`] for how they are
//! got.

use std::path::PathBuf;

use super::Time;
use super::reader::Source;
use super::setting::Setting;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// A file with the key that encrypts what is written; empty: none.
    pub key_file: Setting<String>,
    /// A command that prints it, with its arguments; empty: none.
    pub key_command: Setting<Vec<String>>,
    /// How long the command may take.
    pub key_command_timeout: Setting<Time>,
    /// Files with keys that are only for reading what was written with them.
    pub old_key_files: Setting<Vec<PathBuf>>,
}

impl Encryption {
    pub(super) fn new() -> Encryption {
        Encryption {
            key_file: Setting::default_of(String::new()),
            key_command: Setting::default_of(Vec::new()),
            key_command_timeout: Setting::default_of(Time::ms(10_000)),
            old_key_files: Setting::default_of(Vec::new()),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("encryption", "key_file", &mut self.key_file);
        source.take("encryption", "key_command", &mut self.key_command);
        let timeout = &mut self.key_command_timeout;
        source.take("encryption", "key_command_timeout", timeout);
        source.take("encryption", "old_key_files", &mut self.old_key_files);
    }
}
