//! `[log]`: what goes to standard error, and how.

use super::reader::Source;
use super::setting::{Expected, FromRaw, Raw, Setting};

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Levels, for all or by module: `info`, `info,storage=debug`.
    pub filter: Setting<String>,
    /// Text or JSON.
    pub format: Setting<LogFormat>,
}

impl Log {
    pub(super) fn new() -> Log {
        Log {
            filter: Setting::default_of("info".to_owned()),
            format: Setting::default_of(LogFormat::Text),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("log", "filter", &mut self.filter);
        source.take("log", "format", &mut self.format);
    }
}

impl FromRaw for LogFormat {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) if text == "json" => Ok(LogFormat::Json),
            Raw::Text(text) if text == "text" => Ok(LogFormat::Text),
            _ => Err(Expected("\"text\" or \"json\"")),
        }
    }
}
