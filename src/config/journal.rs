//! `[journal]`: the shape of the files.

use storage::journal::SyncMethod;

use super::Size;
use super::reader::Source;
use super::setting::{Expected, FromRaw, Raw, Setting};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Bytes of a segment file; a message must fit in one.
    pub segment_size: Setting<Size>,
    /// Journal bytes between two checkpoints.
    pub checkpoint_every: Setting<Size>,
    /// Fill segments with zeros ahead of their use.
    pub preallocate: Setting<Preallocate>,
    /// Batches that may be under way at once.
    pub in_flight: Setting<u32>,
    /// How a batch is made durable.
    pub sync: Setting<SyncMethod>,
}

/// Whether segments are filled with zeros ahead of their use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preallocate {
    /// Unless the file system has no bound that it could reach.
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

impl Preallocate {
    /// What it means on a file system that `is_boundless` or is not. Filling takes the space while
    /// there is still a choice: a batch that finds the disk full ends the tenure, a segment that
    /// cannot be made only has messages refused. Where the disk cannot be full it would cost bandwidth
    /// and gain nothing: on NFS an append in a hole is one operation, as an overwrite is.
    #[must_use]
    pub fn applies(self, is_boundless: bool) -> bool {
        match self {
            Preallocate::Auto => !is_boundless,
            Preallocate::Yes => true,
            Preallocate::No => false,
        }
    }
}

impl FromRaw for Preallocate {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) | Raw::Word(text) if text == "auto" => Ok(Preallocate::Auto),
            raw => match bool::from_raw(raw) {
                Ok(true) => Ok(Preallocate::Yes),
                Ok(false) => Ok(Preallocate::No),
                Err(_) => Err(Expected("true, false or \"auto\"")),
            },
        }
    }
}

impl Journal {
    pub(super) fn new() -> Journal {
        Journal {
            segment_size: Setting::default_of(Size::mib(64)),
            checkpoint_every: Setting::default_of(Size::mib(256)),
            preallocate: Setting::default_of(Preallocate::Auto),
            in_flight: Setting::default_of(16),
            sync: Setting::default_of(SyncMethod::Auto),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("journal", "segment_size", &mut self.segment_size);
        source.take("journal", "checkpoint_every", &mut self.checkpoint_every);
        source.take("journal", "preallocate", &mut self.preallocate);
        source.take("journal", "in_flight", &mut self.in_flight);
        source.take("journal", "sync", &mut self.sync);
    }
}

impl FromRaw for SyncMethod {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) if text == "auto" => Ok(SyncMethod::Auto),
            Raw::Text(text) if text == "fdatasync" => Ok(SyncMethod::Fdatasync),
            Raw::Text(text) if text == "dsync" => Ok(SyncMethod::Dsync),
            _ => Err(Expected("\"auto\", \"fdatasync\" or \"dsync\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_filled_where_it_helps_unless_told_otherwise() {
        let read = |raw: Raw| {
            Preallocate::from_raw(&raw).map(|one| [one.applies(false), one.applies(true)])
        };
        assert_eq!(read(Raw::Text("auto".to_owned())), Ok([true, false]));
        assert_eq!(read(Raw::Boolean(true)), Ok([true, true]));
        assert_eq!(read(Raw::Word("false".to_owned())), Ok([false, false]));
        assert!(read(Raw::Text("sometimes".to_owned())).is_err());
    }
}
