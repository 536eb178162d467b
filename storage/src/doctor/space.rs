//! Room for the journal.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::{Finding, Settings, Severity};

/// Segments that a pair needs at any time: the one being written, the one prepared, and the ones
/// that an old tenure left.
const SEGMENTS_MIN: u64 = 4;
/// The journal takes few files, but without one it can neither roll over nor claim.
const INODES_MIN: u64 = 1000;

/// Room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Space {
    /// Bytes that this user can still write.
    pub free_bytes: u64,
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Files that can still be created; None where the file system does not count them.
    pub free_inodes: Option<u64>,
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the kernel's types differ between architectures"
)]
pub(super) fn measure(directory: &Path) -> io::Result<Space> {
    let found = statvfs(directory)?;
    let block = found.fragment_size() as u64;
    Ok(Space {
        free_bytes: (found.blocks_available() as u64).saturating_mul(block),
        total_bytes: (found.blocks() as u64).saturating_mul(block),
        free_inodes: (found.files() > 0).then_some(found.files_available() as u64),
    })
}

impl Space {
    pub(super) fn judge(&self, settings: &Settings) -> Vec<Finding> {
        const MIB: u64 = 1 << 20;
        let needed = settings.segment_bytes * SEGMENTS_MIN + settings.checkpoint_bytes;
        let text = format!(
            "{} MiB of {} MiB are free; the journal of an idle pair takes up to {} MiB",
            self.free_bytes / MIB,
            self.total_bytes / MIB,
            needed / MIB
        );
        let mut findings = vec![if self.free_bytes < settings.segment_bytes * 2 {
            Finding::new("space", Severity::Bad, text).remedy(
                "make room, or set a smaller `journal.segment_size`: sends would be refused",
            )
        } else if self.free_bytes < needed * 2 {
            Finding::new("space", Severity::Warning, text).remedy(
                "make room for the messages that wait, or set a smaller `journal.segment_size` and `journal.checkpoint_every`",
            )
        } else {
            Finding::new("space", Severity::Good, text)
        }];
        if let Some(inodes) = self.free_inodes.filter(|inodes| *inodes < INODES_MIN) {
            findings.push(
                Finding::new(
                    "space",
                    Severity::Warning,
                    format!("only {inodes} more files can be created (inodes)"),
                )
                .remedy("remove files, or make the file system with more inodes"),
            );
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_found_before_the_journal_finds_it() {
        let settings = Settings::default();
        let space = |free_bytes, free_inodes| Space {
            free_bytes,
            total_bytes: 1 << 40,
            free_inodes,
        };
        let worst = |space: Space| space.judge(&settings).iter().map(|one| one.severity).max();
        assert_eq!(worst(space(1 << 39, None)), Some(Severity::Good));
        assert_eq!(worst(space(1 << 39, Some(5))), Some(Severity::Warning));
        assert_eq!(worst(space(600 << 20, None)), Some(Severity::Warning));
        assert_eq!(worst(space(100 << 20, Some(1 << 20))), Some(Severity::Bad));
    }

    #[test]
    fn a_real_file_system_has_room() {
        let space = measure(Path::new("/")).expect("measures");
        assert!(space.total_bytes > 0 && space.free_bytes <= space.total_bytes);
    }
}
