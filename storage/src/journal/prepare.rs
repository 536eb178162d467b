//! Making a segment that can be written.

use std::io;

use super::shared::{Prepared, Shared};
use crate::chain::{JOURNAL_DIRECTORY, SegmentName};
use crate::cipher::TenureCipher;
use crate::clock::Clock;
use crate::disk::{Disk, DiskFile, Open};
use crate::segment::{SEGMENT_HEADER_BYTES, encode_header};
use crate::spare::is_no_space;

/// Bytes of zeros in one write, and between two syncs: more would hold up the journal's own syncs.
pub(crate) const FILL_BYTES: u32 = 1 << 20;
const FILL_BYTES_PER_SYNC: u64 = 4 << 20;

/// Creates and locks a segment and writes its header; durable after the next sync.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    clock: &dyn Clock,
    name: SegmentName,
    segment_bytes: u32,
    cipher: &TenureCipher,
    is_direct: bool,
) -> io::Result<Option<Prepared>> {
    let how = match is_direct {
        true => Open::CreateNewDirect,
        false => Open::CreateNew,
    };
    let file = disk.open(&name.path(), how)?;
    if !file.try_lock()? {
        return Ok(None);
    }
    let locked_at = clock.now();
    file.set_length(u64::from(segment_bytes))?;
    file.write_all_at(&encode_header(name, cipher.header()), 0)?;
    Ok(Some(Prepared {
        number: name.number,
        bytes: segment_bytes,
        file,
        locked_at,
    }))
}

/// Makes a segment ready ahead of its use. One that `is_held` has its space for sure.
pub(crate) fn prepare_segment(
    shared: &Shared,
    name: SegmentName,
    bytes: u32,
    is_held: bool,
    is_short: bool,
) -> io::Result<Prepared> {
    let made = make_segment(shared, name, bytes, is_held, is_short);
    or_nothing(&*shared.disk, name, made)
}

/// Removes what a full directory left of a segment: it would be in the way of the next try.
pub(crate) fn or_nothing<T>(
    disk: &dyn Disk,
    name: SegmentName,
    made: io::Result<T>,
) -> io::Result<T> {
    if made.as_ref().is_err_and(is_no_space) {
        match disk.remove(&name.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    made
}

fn make_segment(
    shared: &Shared,
    name: SegmentName,
    bytes: u32,
    is_held: bool,
    is_short: bool,
) -> io::Result<Prepared> {
    let is_direct = shared.options.has_several_in_flight();
    let (disk, clock) = (&*shared.disk, &*shared.clock);
    let created = create_segment(disk, clock, name, bytes, &shared.cipher, is_direct)?;
    let Some(made) = created else {
        return Err(io::Error::other("somebody else locked it at once"));
    };
    if is_held {
        // Once the journal waits for it, a hole is better than a longer wait; unless space is short.
        let is_in_time = || is_short || shared.pending.segment() < name.number;
        fill(&*made.file, bytes, is_in_time)?;
    }
    made.file.sync()?;
    shared.disk.sync_directory(JOURNAL_DIRECTORY.as_ref())?;
    Ok(made)
}

/// Fills a segment with zeros, so that every byte has its place on the disk.
pub(crate) fn fill(
    file: &dyn DiskFile,
    bytes: u32,
    is_in_time: impl Fn() -> bool,
) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES.min(bytes) as usize];
    let mut at = SEGMENT_HEADER_BYTES as u64;
    let mut unsynced = 0;
    while at < u64::from(bytes) && is_in_time() {
        let length = (u64::from(bytes) - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..length as usize], at)?;
        at += length;
        unsynced += length;
        if unsynced >= FILL_BYTES_PER_SYNC {
            file.sync()?;
            unsynced = 0;
        }
    }
    Ok(())
}
