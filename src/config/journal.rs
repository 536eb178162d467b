//! `[journal]`: the shape of the files.

use super::Size;
use super::reader::Source;
use super::setting::Setting;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Bytes of a segment file; a message must fit in one.
    pub segment_size: Setting<Size>,
    /// Journal bytes between two checkpoints.
    pub checkpoint_every: Setting<Size>,
    /// Fill segments with zeros ahead of their use.
    pub preallocate: Setting<bool>,
}

impl Journal {
    pub(super) fn new() -> Journal {
        Journal {
            segment_size: Setting::default_of(Size::mib(64)),
            checkpoint_every: Setting::default_of(Size::mib(256)),
            preallocate: Setting::default_of(true),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("journal", "segment_size", &mut self.segment_size);
        source.take("journal", "checkpoint_every", &mut self.checkpoint_every);
        source.take("journal", "preallocate", &mut self.preallocate);
    }
}
