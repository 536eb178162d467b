//! Space that is kept for the day on which there is none.
//!
//! A directory without a free byte would end the service for consumers, too: a takeover
//! needs a claim and a segment, and only a checkpoint lets dead segments go. So the active keeps a few
//! files full of zeros, each of them an inode and some blocks, and whoever needs space to make
//! space removes one. They hold nothing: anybody may remove them at any time.

use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::disk::{Disk, Open};

/// Where the spare files are.
pub(crate) const SPARE_DIRECTORY: &str = "spare";
/// How many there are.
pub(crate) const SPARE_FILES: usize = 4;
/// The last ones are for a takeover, the one before for checkpoints.
pub(crate) const KEPT_FOR_TAKEOVER: usize = 2;
/// What segments must leave.
pub(crate) const KEPT_FOR_CHECKPOINTS: usize = 3;
/// The one that is being made.
const UNFINISHED: &str = "new";
const SMALL_BYTES: u32 = 1 << 20;
const WRITE_BYTES: usize = 1 << 20;

/// Bytes of a segment while space is short, and of a spare file.
pub(crate) fn small_bytes(segment_bytes: u32) -> u32 {
    segment_bytes.min(SMALL_BYTES)
}

/// True for errors that more space would heal.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Removes a spare file if there are more than `kept`. True: what failed can be tried again.
pub(crate) fn give_back(disk: &dyn Disk, kept: usize) -> io::Result<bool> {
    let files = files(disk)?;
    if files.len() <= kept {
        return Ok(false);
    }
    let Some(path) = files.last() else {
        return Ok(false);
    };
    match disk.remove(path) {
        // Somebody else needed it as well.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    warn!(path = %path.display(), left = files.len() - 1, "No space: gave up a spare file.");
    Ok(true)
}

/// Does what needs space; gives up spare files as long as there is none.
pub(crate) fn with_spare<T>(
    disk: &dyn Disk,
    mut perform: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match perform() {
            Err(error) if is_no_space(&error) && give_back(disk, 0)? => {}
            done => return done,
        }
    }
}

/// Makes one of the files that are missing; false if none is. Needs `bytes` of free space.
pub(crate) fn refill(disk: &dyn Disk, bytes: u32) -> io::Result<bool> {
    let there = files(disk)?;
    let missing = (0..SPARE_FILES)
        .map(spare_path)
        .find(|path| !there.contains(path));
    let Some(path) = missing else {
        return Ok(false);
    };
    if there.is_empty() {
        disk.create_directory(Path::new(SPARE_DIRECTORY))?;
    }
    // Half a file is no use, and must not look like one.
    let unfinished = Path::new(SPARE_DIRECTORY).join(UNFINISHED);
    match disk.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let made = fill(disk, &unfinished, bytes).and_then(|()| disk.rename(&unfinished, &path));
    if made.is_err() {
        let _ = disk.remove(&unfinished);
    }
    made?;
    info!(path = %path.display(), bytes, "Keeps space for bad days.");
    Ok(true)
}

fn fill(disk: &dyn Disk, path: &Path, bytes: u32) -> io::Result<()> {
    let file = disk.open(path, Open::CreateNew)?;
    let zeros = vec![0; WRITE_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < u64::from(bytes) {
        let length = zeros.len().min((u64::from(bytes) - at) as usize);
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    file.sync()
}

/// Whether a file there is one of these.
pub(crate) fn is_spare_name(name: &str) -> bool {
    name == UNFINISHED || (0..SPARE_FILES).any(|number| spare_path(number).ends_with(name))
}

fn spare_path(number: usize) -> PathBuf {
    Path::new(SPARE_DIRECTORY).join(number.to_string())
}

/// The spare files that are there, by a fresh listing.
fn files(disk: &dyn Disk) -> io::Result<Vec<PathBuf>> {
    let names = match disk.list(Path::new(SPARE_DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let is_spare = |path: &PathBuf| names.iter().any(|name| path.ends_with(name));
    Ok((0..SPARE_FILES).map(spare_path).filter(is_spare).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FaultyDisk;

    #[test]
    fn the_spare_is_made_file_by_file_and_given_back_down_to_what_is_kept() {
        let disk = FaultyDisk::default();
        assert!(!give_back(&disk, 0).expect("lists"));
        while refill(&disk, 4096).expect("there is space") {}
        assert_eq!(disk.used(), SPARE_FILES as u64 * 4096);
        assert!(give_back(&disk, KEPT_FOR_CHECKPOINTS).expect("removes"));
        assert!(!give_back(&disk, KEPT_FOR_CHECKPOINTS).expect("lists"));
        while give_back(&disk, 0).expect("removes") {}
        assert_eq!(disk.used(), 0);
    }

    #[test]
    fn what_does_not_fit_is_tried_again_as_long_as_there_is_a_spare() {
        let disk = FaultyDisk::default();
        while refill(&disk, 4096).expect("there is space") {}
        disk.leave_free(0);
        let mut tries = 0;
        let create = || {
            tries += 1;
            let file = disk.open(Path::new("new"), Open::ReadWrite)?;
            file.write_all_at(&[1; 6000], 0)
        };
        with_spare(&disk, create).expect("two spare files are enough");
        assert_eq!(tries, 3);
        let never = with_spare(&disk, || Err::<(), _>(io::ErrorKind::StorageFull.into()));
        assert!(is_no_space(&never.expect_err("there is no end to it")));
        assert_eq!(disk.paths(SPARE_DIRECTORY), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_spare_that_does_not_fit_leaves_nothing() {
        let disk = FaultyDisk::default();
        disk.leave_free(1000);
        refill(&disk, 4096).expect_err("no space");
        assert_eq!(disk.used(), 0);
    }
}
