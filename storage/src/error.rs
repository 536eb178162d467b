//! Facts about a journal that cannot be used as it is.
//!
//! One type for each fact, shared by the readers; nothing here knows who meets it.

use std::io;

/// Bytes that must be valid are not: damage, as opposed to a torn tail, which is normal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{path}` is damaged at byte {offset}: {reason}; run `baton storage check DIR` to see what is lost, and with `--salvage OUT` to save the rest, or restore the file from a copy"
)]
pub struct Damage {
    /// The file, relative to the journal directory.
    pub path: String,
    /// The first byte of what does not check out.
    pub offset: u64,
    /// What does not check out.
    pub reason: String,
}

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The operating system refused; trying again later may help.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file or directory, relative to the journal directory.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Damage in the middle of what was once acknowledged.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A key is missing.
    #[error(transparent)]
    Key(#[from] crate::cipher::KeyError),
    /// Written by a release with another format.
    #[error(
        "`{path}` has format version {version}, and this release reads {reads}: start the release that wrote it"
    )]
    Version {
        /// The segment, relative to the journal directory.
        path: String,
        /// What it has.
        version: u32,
        /// What would do, in words.
        reads: String,
    },
    /// The journal does not reach back to its beginning and no checkpoint can be read.
    #[error(
        "no readable checkpoint, and the journal begins with epoch {first_epoch}: {reason}; run `baton storage check DIR` to see what is lost, and with `--salvage OUT` to save the rest, or restore the directory from a copy"
    )]
    NoStart {
        /// The oldest epoch of which the beginning is there.
        first_epoch: crate::Epoch,
        /// What is wrong with the checkpoints.
        reason: String,
    },
}

impl FollowError {
    pub(crate) fn io(path: &std::path::Path, source: io::Error) -> Self {
        FollowError::Io {
            path: path.display().to_string(),
            source,
        }
    }

    /// True when a later attempt may succeed without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, FollowError::Io { .. })
    }
}

/// Why a tenure could not begin in the journal.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// The last batch of the former tenure could not be made durable.
    #[error("cannot make the last batch in `{path}` durable: {source}")]
    LastBatch {
        /// The segment.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The first segment of the tenure could not be made.
    #[error("cannot create the segment `{path}`: {source}")]
    Segment {
        /// The segment.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Somebody else holds the lock of a segment that nobody else can know of.
    #[error("the segment `{path}` that was just created is locked by somebody else")]
    SegmentLocked {
        /// The segment.
        path: String,
    },
    /// The gate was fenced before the seal was durable.
    #[error("fenced before epoch {epoch} was sealed in")]
    Fenced {
        /// The epoch that never served.
        epoch: crate::Epoch,
    },
    /// The salt of an encrypted tenure could not be drawn.
    #[error("cannot encrypt the journal: {source}")]
    Cipher {
        /// What the operating system says.
        source: io::Error,
    },
    /// The segment size is out of bounds.
    #[error("a segment of {bytes} bytes is out of bounds: {min} to {max}")]
    SegmentBytes {
        /// What was asked for.
        bytes: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
}

/// Why a tenure's threads gave up; the gate is fenced by then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A write or a sync failed: the lock is lost or the disk is bad.
    #[error("the journal failed: {0}")]
    Storage(String),
    /// A thread panicked: a bug.
    #[error("a journal thread panicked: {0}")]
    Panic(String),
}
