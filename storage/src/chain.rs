//! What lies in the shared directory: names, epochs, and how one tenure follows another.
//!
//! Names only come from fresh listings: on NFS a name that was asked for before it existed stays
//! "missing" for half a minute.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::Disk;
use crate::position::{Epoch, Lsn, SegmentNumber};

/// Where the segments are.
pub const JOURNAL_DIRECTORY: &str = "journal";
/// Where the checkpoints are.
pub const CHECKPOINT_DIRECTORY: &str = "checkpoints";
/// Where the claims are.
pub const CLAIM_DIRECTORY: &str = "claims";

/// A segment file's name: `<number>-<epoch>.seg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The running number.
    pub number: SegmentNumber,
    /// The tenure that writes it.
    pub epoch: Epoch,
}

impl SegmentName {
    /// The file, relative to the shared directory.
    #[must_use]
    pub fn path(self) -> PathBuf {
        Path::new(JOURNAL_DIRECTORY).join(format!("{:010}-{:010}.seg", self.number.0, self.epoch.0))
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, epoch) = name.strip_suffix(".seg")?.split_once('-')?;
        Some(SegmentName {
            number: SegmentNumber(parse_digits(number)?.try_into().ok()?),
            epoch: Epoch(parse_digits(epoch)?),
        })
    }
}

/// A checkpoint file's name: `<lsn>-<epoch>.ckpt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointName {
    /// The last LSN that any part of it contains.
    pub lsn: Lsn,
    /// The tenure that wrote it.
    pub epoch: Epoch,
}

impl CheckpointName {
    /// The file, relative to the shared directory.
    #[must_use]
    pub fn path(self) -> PathBuf {
        Path::new(CHECKPOINT_DIRECTORY)
            .join(format!("{:020}-{:010}.ckpt", self.lsn.0, self.epoch.0))
    }

    /// Where it is written before it is published.
    #[must_use]
    pub fn temporary_path(self) -> PathBuf {
        self.path().with_extension("tmp")
    }

    fn parse(name: &str) -> Option<Self> {
        let (lsn, epoch) = name.strip_suffix(".ckpt")?.split_once('-')?;
        Some(CheckpointName {
            lsn: Lsn(parse_digits(lsn)?),
            epoch: Epoch(parse_digits(epoch)?),
        })
    }
}

/// `str::parse` alone would accept a sign.
fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The names in the shared directory at one moment. Files with other names are nobody's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// By number, then epoch.
    pub segments: Vec<SegmentName>,
    /// Newest first.
    pub checkpoints: Vec<CheckpointName>,
    /// Ascending.
    pub claims: Vec<Epoch>,
}

impl Survey {
    /// The highest epoch that anybody claimed or wrote in; 0 in a new directory.
    #[must_use]
    pub fn highest_epoch(&self) -> Epoch {
        let segments = self.segments.iter().map(|name| name.epoch);
        let checkpoints = self.checkpoints.iter().map(|name| name.epoch);
        segments
            .chain(checkpoints)
            .chain(self.claims.iter().copied())
            .max()
            .unwrap_or_default()
    }

    /// The segment with the highest number of the highest epoch that has segments: the newest
    /// active writes this one or the one before it (segments are prepared ahead).
    #[must_use]
    pub fn newest_segment(&self) -> Option<SegmentName> {
        self.segments
            .iter()
            .copied()
            .max_by_key(|name| (name.epoch, name.number))
    }

    /// The segments of one epoch in the order in which they are written.
    #[must_use]
    pub fn segments_of(&self, epoch: Epoch) -> Vec<SegmentName> {
        self.segments
            .iter()
            .copied()
            .filter(|name| name.epoch == epoch)
            .collect()
    }

    /// The number for the next segment that nobody can have used.
    #[must_use]
    pub fn next_number(&self) -> SegmentNumber {
        SegmentNumber(
            self.segments
                .iter()
                .map(|name| name.number.0)
                .max()
                .unwrap_or(0)
                + 1,
        )
    }
}

/// Lists the shared directory. A directory that is missing is empty.
///
/// # Errors
/// As the operating system says.
pub fn survey(disk: &dyn Disk) -> io::Result<Survey> {
    let mut segments = segments(disk)?;
    segments.sort_unstable();
    let mut checkpoints: Vec<_> = list(disk, CHECKPOINT_DIRECTORY)?
        .iter()
        .filter_map(|name| CheckpointName::parse(name))
        .collect();
    checkpoints.sort_unstable_by(|a, b| b.cmp(a));
    let mut claims: Vec<_> = list(disk, CLAIM_DIRECTORY)?
        .iter()
        .filter_map(|name| parse_digits(name).map(Epoch))
        .collect();
    claims.sort_unstable();
    Ok(Survey {
        segments,
        checkpoints,
        claims,
    })
}

fn segments(disk: &dyn Disk) -> io::Result<Vec<SegmentName>> {
    let names = list(disk, JOURNAL_DIRECTORY)?;
    Ok(names
        .iter()
        .filter_map(|name| SegmentName::parse(name))
        .collect())
}

fn list(disk: &dyn Disk, directory: &str) -> io::Result<Vec<String>> {
    match disk.list(Path::new(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}
