//! `storage check` and its salvage on a test's disk, with names that are simply the descriptors.

#![allow(dead_code, reason = "each test file uses another part")]

use bytes::Bytes;
use storage::clock::RealClock;
use storage::disk::Disk;
use storage::inspect::{Names, Report, SalvageError, Salvaged};
use storage::{BacklogId, Keyring};

struct Plain;

impl Names for Plain {
    fn name(&self, _: BacklogId, descriptor: &[u8]) -> String {
        String::from_utf8_lossy(descriptor).into_owned()
    }

    fn recovered_backlog(&self, id: BacklogId) -> Bytes {
        format!("recovered {}", id.0).into()
    }

    fn recovered_transaction(&self, key: &[u8], number: u64) -> Bytes {
        format!("{}#{number}", String::from_utf8_lossy(key)).into()
    }
}

pub(crate) fn check(disk: &dyn Disk, keys: &Keyring) -> Report {
    storage::inspect::check(disk, keys, &RealClock::new(), &Plain, &mut |_| {})
}

/// Saves what it can into `out`.
pub(crate) fn salvage(
    disk: &dyn Disk,
    out: &dyn Disk,
    keys: &Keyring,
) -> Result<Salvaged, SalvageError> {
    storage::inspect::salvage(disk, out, keys, &RealClock::new(), &Plain, &mut |_| {})
}
