//! The locks that a taker needs: `lock`, and those of everybody who may still be writing.

use std::io;
use std::path::{Path, PathBuf};

use crate::chain::{SegmentName, Survey, survey};
use crate::disk::{Disk, DiskFile, Open};
use crate::position::Epoch;
use crate::tenure::claim::claim_path;
use crate::tenure::lease::Holder;

/// The file that the active holds locked for its whole tenure.
pub(crate) const LOCK_PATH: &str = "lock";

/// What `lock` says is padded to this: shorter texts overwrite longer ones whole.
const LOCK_TEXT_BYTES: usize = 256;

/// Takes `lock` if nobody has it. A fresh descriptor each time: the file may have been replaced.
pub(crate) fn take_lock(disk: &dyn Disk) -> io::Result<Option<Box<dyn DiskFile>>> {
    let file = disk.open(Path::new(LOCK_PATH), Open::ReadWrite)?;
    Ok(file.try_lock()?.then_some(file))
}

/// Writes into `lock` who holds it, for people who look.
pub(crate) fn announce(
    lock: &dyn DiskFile,
    holder: &Holder,
    epoch: Epoch,
    since_ms: u64,
) -> io::Result<()> {
    let Holder { name, host, pid } = holder;
    let mut text = format!(
        "held by {name}\nhost {host}\npid {pid}\nepoch {epoch}\nsince {since_ms} ms (unix)\n"
    );
    text.truncate(LOCK_TEXT_BYTES - 1);
    let padding = LOCK_TEXT_BYTES - 1 - text.len();
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    lock.write_all_at(text.as_bytes(), 0)
}

/// All the locks of a fast takeover.
pub(crate) struct Locks {
    /// `lock` itself, kept for the whole tenure.
    pub(crate) lock: Box<dyn DiskFile>,
    /// Those of the old ones; held by being here until the new tenure has begun.
    _old: Vec<Box<dyn DiskFile>>,
    /// The highest epoch of anything, looked up after `lock` was obtained.
    pub(crate) highest: Epoch,
    /// True when the directory has no journal.
    pub(crate) is_new: bool,
}

/// What an attempt brought.
pub(crate) enum Attempt {
    /// Everything.
    All(Locks),
    /// Somebody holds `lock`.
    Held,
    /// `lock` was free and this file's lock was not: let go again.
    Partly(PathBuf),
}

/// Tries to get `lock` and the lock of everybody who may still be writing, except `own`.
///
/// `read` is the segment that the follower reads: earlier ones of the same epoch are complete.
pub(crate) fn attempt(
    disk: &dyn Disk,
    own: Option<Epoch>,
    read: Option<SegmentName>,
    needs_old: bool,
) -> io::Result<Attempt> {
    let Some(lock) = take_lock(disk)? else {
        return Ok(Attempt::Held);
    };
    let survey = survey(disk)?;
    let mut old = Vec::new();
    if needs_old {
        for path in writable_paths(&survey, own, read) {
            match take(disk, &path)? {
                Some(file) => old.push(file),
                None => return Ok(Attempt::Partly(path)),
            }
        }
    }
    Ok(Attempt::All(Locks {
        lock,
        _old: old,
        highest: survey.highest_epoch(),
        is_new: survey.segments.is_empty() && survey.checkpoints.is_empty(),
    }))
}

/// The lock of an existing file. None: somebody has it, or the file went away, so that somebody is
/// at work.
pub(crate) fn take(disk: &dyn Disk, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
    match disk.open(path, Open::Write) {
        Ok(file) => Ok(file.try_lock()?.then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file that somebody may still be writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Writable {
    Claim(Epoch),
    Segment(SegmentName),
}

impl Writable {
    fn path(self) -> PathBuf {
        match self {
            Writable::Claim(epoch) => claim_path(epoch),
            Writable::Segment(name) => name.path(),
        }
    }
}

/// The paths of [`writable`].
pub(crate) fn writable_paths(
    survey: &Survey,
    own: Option<Epoch>,
    read: Option<SegmentName>,
) -> Vec<PathBuf> {
    let files = writable(survey, own, read).into_iter();
    files.map(Writable::path).collect()
}

/// The files through which somebody else could still prove a lease or write the journal: see the
/// head of [`crate::tenure`]. Whoever has the locks of them all and of `lock` needs no clock.
pub(crate) fn writable(
    survey: &Survey,
    own: Option<Epoch>,
    read: Option<SegmentName>,
) -> Vec<Writable> {
    // What `own` has begun to write is nobody else's.
    let others = survey.segments.iter().copied();
    let others = others.filter(|segment| Some(segment.epoch) != own);
    let newest = others.clone().map(|segment| segment.epoch).max();
    let claims = survey.claims.iter().copied();
    let claims = claims.filter(|epoch| newest.is_none_or(|newest| *epoch >= newest));
    let claims = claims.filter(|epoch| Some(*epoch) != own);
    let segments = others.filter(|segment| Some(segment.epoch) == newest);
    let segments = segments.filter(|segment| match read {
        Some(read) if read.epoch == segment.epoch => segment.number >= read.number,
        _ => true,
    });
    claims
        .map(Writable::Claim)
        .chain(segments.map(Writable::Segment))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::position::SegmentNumber;

    fn segment(number: u32, epoch: u64) -> SegmentName {
        SegmentName {
            number: SegmentNumber(number),
            epoch: Epoch(epoch),
        }
    }

    fn survey_of(segments: &[(u32, u64)], claims: &[u64]) -> Survey {
        Survey {
            segments: segments
                .iter()
                .map(|name| segment(name.0, name.1))
                .collect(),
            checkpoints: Vec::new(),
            claims: claims.iter().copied().map(Epoch).collect(),
        }
    }

    #[test]
    fn everybody_who_may_still_be_writing_is_asked() {
        let survey = survey_of(&[(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)], &[1, 2, 3]);
        let paths = writable_paths(&survey, None, Some(segment(4, 2)));
        let expected = [
            claim_path(Epoch(2)),
            claim_path(Epoch(3)),
            segment(4, 2).path(),
            segment(5, 2).path(),
        ];
        assert_eq!(paths, expected);
        let paths = writable_paths(&survey, Some(Epoch(3)), Some(segment(1, 1)));
        let expected = [
            claim_path(Epoch(2)),
            segment(3, 2).path(),
            segment(4, 2).path(),
            segment(5, 2).path(),
        ];
        assert_eq!(paths, expected);
        let survey = survey_of(&[(1, 1), (2, 3)], &[1, 2, 3]);
        let paths = writable_paths(&survey, Some(Epoch(3)), None);
        let expected = [
            claim_path(Epoch(1)),
            claim_path(Epoch(2)),
            segment(1, 1).path(),
        ];
        assert_eq!(
            paths, expected,
            "our own segment is not to be taken from us"
        );
        let paths = writable_paths(&survey_of(&[], &[1]), None, None);
        assert_eq!(paths, [claim_path(Epoch(1))]);
    }

    #[test]
    fn all_locks_or_none() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        disk.create_directory(Path::new("claims")).expect("creates");
        let path = claim_path(Epoch(1));
        let old = disk.open(&path, Open::CreateNew).expect("creates");
        assert!(old.try_lock().expect("tries"));
        let attempted = attempt(&disk, None, None, true).expect("tries");
        assert!(matches!(attempted, Attempt::Partly(missing) if missing == path));
        drop(old);
        let Attempt::All(locks) = attempt(&disk, None, None, true).expect("tries") else {
            panic!("nobody has any lock");
        };
        assert_eq!((locks.highest, locks.is_new), (Epoch(1), true));
        let attempted = attempt(&disk, None, None, true).expect("tries");
        assert!(matches!(attempted, Attempt::Held));
    }

    #[test]
    fn the_lock_file_says_who_holds_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        let lock = take_lock(&disk).expect("tries").expect("free");
        let mut holder = Holder::this(&"x".repeat(60));
        announce(&*lock, &holder, Epoch(7), 1).expect("writes");
        holder.name = "b".to_owned();
        announce(&*lock, &holder, Epoch(8), 2).expect("writes");
        let text = std::fs::read_to_string(directory.path().join("lock")).expect("reads");
        assert!(text.starts_with("held by b\nhost "), "{text}");
        assert!(text.contains("\nepoch 8\nsince 2 ms"), "{text}");
        assert_eq!(text.len(), LOCK_TEXT_BYTES);
    }
}
