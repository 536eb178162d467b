//! Who has the journal of a directory, seen without disturbing anybody: nothing is locked.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde::Serialize;

use super::{Finding, Severity};
use crate::chain::CLAIM_DIRECTORY;
use crate::tenure::lease::{LEASE_BLOCK_BYTES, LeaseBlock, LeasePhase};
use crate::tenure::lock::LOCK_PATH;

/// The journal that lies in the directory, and its broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Whether the lock file is locked by somebody now.
    pub is_locked: bool,
    /// What the newest claim says of its writer: name, host and pid.
    pub lease_holder: Option<String>,
    /// The newest epoch that was claimed.
    pub epoch: Option<u64>,
    /// How long a renewal of that lease lasts, in milliseconds.
    pub lease_ms: Option<u64>,
    /// Whether that broker said that it had let the journal go.
    pub is_released: bool,
}

/// None where there is no journal.
pub(super) fn look(directory: &Path) -> Option<Holder> {
    let lock = File::open(directory.join(LOCK_PATH)).ok();
    let block = newest_block(directory);
    if lock.is_none() && block.is_none() {
        return None;
    }
    let lease = block.as_ref().and_then(|(_, block)| match block {
        LeaseBlock::Valid(lease) => Some(lease),
        _ => None,
    });
    Some(Holder {
        is_locked: lock.as_ref().is_some_and(is_locked),
        lease_holder: lease.map(|lease| lease.holder.to_string()),
        epoch: block.as_ref().map(|(epoch, _)| *epoch),
        lease_ms: lease.map(|lease| u64::from(lease.duration_ms)),
        is_released: lease.is_some_and(|lease| lease.phase == LeasePhase::Released),
    })
}

fn newest_block(directory: &Path) -> Option<(u64, LeaseBlock)> {
    let claims = fs::read_dir(directory.join(CLAIM_DIRECTORY)).ok()?;
    let names = claims.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let epoch = names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|name| name.parse::<u64>().ok().map(|epoch| (epoch, name)))
        .max()?;
    let file = File::open(directory.join(CLAIM_DIRECTORY).join(&epoch.1)).ok()?;
    let mut bytes = [0; LEASE_BLOCK_BYTES];
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) | Err(_) => break,
            Ok(read) => length += read,
        }
    }
    Some((epoch.0, LeaseBlock::decode(&bytes[..length])))
}

/// Asks who would be in the way of a lock, without taking it.
fn is_locked(file: &File) -> bool {
    // The kernel's own types are narrower than the constants' on some architectures.
    #[allow(clippy::cast_possible_truncation, clippy::useless_conversion)]
    let mut asked = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let answer = fcntl(file, FcntlArg::F_OFD_GETLK(&mut asked));
    #[allow(clippy::cast_possible_truncation)]
    let free = libc::F_UNLCK as libc::c_short;
    answer.is_ok() && asked.l_type != free
}

impl Holder {
    pub(super) fn finding(&self) -> Finding {
        let who = self.lease_holder.as_deref().unwrap_or("nobody known");
        let epoch = self
            .epoch
            .map_or_else(String::new, |epoch| format!(", epoch {epoch}"));
        let text = match (self.is_locked, self.is_released) {
            (true, _) => format!("there is a journal; {who} has its lock{epoch}"),
            (false, true) => format!("there is a journal; {who} let it go in order{epoch}"),
            (false, false) => {
                format!("there is a journal; nobody has its lock. Its last active was {who}{epoch}")
            }
        };
        Finding::new("journal", Severity::Note, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, DiskFile, Open, RealDisk};
    use crate::position::Epoch;
    use crate::tenure::claim::{Claim, Claiming};
    use crate::tenure::lease::Holder as Writer;
    use std::time::Duration;

    #[test]
    fn who_has_the_journal_is_seen_without_taking_anything() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(look(directory.path()), None);
        let disk = RealDisk::open(directory.path()).expect("usable");
        let lock: Box<dyn DiskFile> = disk
            .open(Path::new(LOCK_PATH), Open::ReadWrite)
            .expect("opens");
        assert!(lock.try_lock().expect("tries"));
        let lease = Duration::from_secs(3);
        let writer = Writer::this("north");
        let Claiming::Claimed(mut claim) =
            Claim::create(&disk, Epoch(12), &writer, lease).expect("no error")
        else {
            panic!("nobody else is there");
        };
        let seen = look(directory.path()).expect("there is a journal");
        assert!(seen.is_locked && !seen.is_released, "{seen:?}");
        assert_eq!((seen.epoch, seen.lease_ms), (Some(12), Some(3000)));
        assert!(seen.finding().text.contains("north on"), "{seen:?}");
        claim.write_lease(LeasePhase::Released).expect("writes");
        drop(lock);
        let seen = look(directory.path()).expect("there is a journal");
        assert!(!seen.is_locked && seen.is_released, "{seen:?}");
    }
}
