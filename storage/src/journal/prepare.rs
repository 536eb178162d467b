//! Making a segment that can be written.

use std::io;

use super::shared::{Prepared, Shared};
use crate::chain::{JOURNAL_DIRECTORY, SegmentName};
use crate::cipher::TenureCipher;
use crate::clock::Clock;
use crate::disk::{Disk, Open};
use crate::segment::{SEGMENT_HEADER_BYTES, encode_header};

/// Bytes of zeros in one write, and between two syncs: more would hold up the journal's own syncs.
const FILL_BYTES: usize = 1 << 20;
const FILL_BYTES_PER_SYNC: u64 = 4 << 20;

/// True for errors that more space would heal.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Creates and locks a segment and writes its header; durable after the next sync.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    clock: &dyn Clock,
    name: SegmentName,
    segment_bytes: u32,
    cipher: &TenureCipher,
) -> io::Result<Option<Prepared>> {
    let file = disk.open(&name.path(), Open::CreateNew)?;
    if !file.try_lock()? {
        return Ok(None);
    }
    let locked_at = clock.now();
    file.set_length(u64::from(segment_bytes))?;
    file.write_all_at(&encode_header(name, cipher.header()), 0)?;
    Ok(Some(Prepared {
        number: name.number,
        file,
        locked_at,
    }))
}

/// Makes a segment ready ahead of its use.
pub(crate) fn prepare_segment(shared: &Shared, name: SegmentName) -> io::Result<Prepared> {
    let made = fill_segment(shared, name);
    if made.as_ref().is_err_and(is_no_space) {
        // It would be in the way of the next try.
        match shared.disk.remove(&name.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    made
}

fn fill_segment(shared: &Shared, name: SegmentName) -> io::Result<Prepared> {
    let bytes = shared.options.segment_bytes;
    let Some(made) = create_segment(&*shared.disk, &*shared.clock, name, bytes, &shared.cipher)?
    else {
        return Err(io::Error::other("somebody else locked it at once"));
    };
    let file = &made.file;
    if shared.options.preallocate {
        let zeros = vec![0; FILL_BYTES];
        let mut at = SEGMENT_HEADER_BYTES as u64;
        let mut unsynced = 0;
        // Once the journal waits for it, a hole is better than a longer wait.
        while at < u64::from(bytes) && shared.pending.segment() < name.number {
            let length = (u64::from(bytes) - at).min(FILL_BYTES as u64);
            file.write_all_at(&zeros[..length as usize], at)?;
            at += length;
            unsynced += length;
            if unsynced >= FILL_BYTES_PER_SYNC {
                file.sync()?;
                unsynced = 0;
            }
        }
    }
    file.sync()?;
    shared.disk.sync_directory(JOURNAL_DIRECTORY.as_ref())?;
    Ok(made)
}
