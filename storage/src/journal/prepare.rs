//! Making a segment that can be written.

use std::io;

use super::shared::{Prepared, Shared};
use crate::chain::{JOURNAL_DIRECTORY, SegmentName};
use crate::disk::{Disk, DiskFile, Open};
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
    name: SegmentName,
    segment_bytes: u32,
) -> io::Result<Option<Box<dyn DiskFile>>> {
    let file = disk.open(&name.path(), Open::CreateNew)?;
    if !file.try_lock()? {
        return Ok(None);
    }
    file.set_length(u64::from(segment_bytes))?;
    file.write_all_at(&encode_header(name), 0)?;
    Ok(Some(file))
}

/// Makes a segment ready ahead of its use.
pub(crate) fn prepare_segment(shared: &Shared, name: SegmentName) -> io::Result<Prepared> {
    let made = fill_segment(shared, name);
    if made.as_ref().is_err_and(is_no_space) {
        // It would be in the way of the next try.
        shared.disk.remove(&name.path())?;
    }
    Ok(Prepared {
        number: name.number,
        file: made?,
    })
}

fn fill_segment(shared: &Shared, name: SegmentName) -> io::Result<Box<dyn DiskFile>> {
    let bytes = shared.options.segment_bytes;
    let Some(file) = create_segment(&*shared.disk, name, bytes)? else {
        return Err(io::Error::other("somebody else locked it at once"));
    };
    if shared.options.preallocate {
        let zeros = vec![0; FILL_BYTES];
        let mut at = SEGMENT_HEADER_BYTES as u64;
        let mut unsynced = 0;
        while at < u64::from(bytes) {
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
    Ok(file)
}
