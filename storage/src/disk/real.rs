//! The shared directory as the operating system sees it.

use std::fs::{File, OpenOptions, ReadDir};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::statfs::{NFS_SUPER_MAGIC, fstatfs};
use rustix::io::{ReadWriteFlags, pwritev2};

use super::mount::{MountError, RECOVER_LOST_LOCKS, mount_of};
use super::{Disk, DiskFile, Open, lock};

/// No disk is as large.
const BOUNDLESS_BYTES: u64 = 1 << 60;

/// A directory of this host, local or mounted.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
    is_nfs: bool,
    /// Whatever lies there must not make the reader hang.
    is_wary: bool,
}

/// Why a directory cannot hold a journal.
#[derive(Debug, thiserror::Error)]
pub enum OpenDirectoryError {
    /// It is missing, no directory, or not ours.
    #[error("`{path}`: {source}: create it, or give this user the right to read and write it")]
    Io {
        /// The directory.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Its mount cannot protect a journal.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl RealDisk {
    /// Looks at the directory and at how it is mounted. Blocks on storage.
    ///
    /// # Errors
    /// [`OpenDirectoryError`]
    pub fn open(root: &Path) -> Result<RealDisk, OpenDirectoryError> {
        let io = |source| OpenDirectoryError::Io {
            path: root.display().to_string(),
            source,
        };
        let root = root.canonicalize().map_err(io)?;
        std::fs::read_dir(&root).map_err(io)?;
        let directory = File::open(&root).map_err(io)?;
        let file_system = fstatfs(&directory).map_err(|errno| io(errno.into()))?;
        let is_nfs = file_system.filesystem_type() == NFS_SUPER_MAGIC;
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").map_err(io)?;
        if let Some(mount) = mount_of(&mountinfo, &root) {
            let recover = std::fs::read_to_string(RECOVER_LOST_LOCKS).ok();
            mount.check(recover.as_deref())?;
        }
        Ok(RealDisk {
            root,
            is_nfs,
            is_wary: false,
        })
    }

    /// A directory to be read and not to be trusted: it may be mounted anyhow, and what is there
    /// under a journal's names may be no file at all, at which a reader would wait for ever.
    ///
    /// # Errors
    /// [`OpenDirectoryError::Io`]
    pub fn open_to_inspect(root: &Path) -> Result<RealDisk, OpenDirectoryError> {
        let io = |source| OpenDirectoryError::Io {
            path: root.display().to_string(),
            source,
        };
        let root = root.canonicalize().map_err(io)?;
        std::fs::read_dir(&root).map_err(io)?;
        Ok(RealDisk {
            root,
            is_nfs: false,
            is_wary: true,
        })
    }

    /// True for storage that grows as it is used and is never full, like Amazon EFS, which calls itself
    /// 8 EiB large. Blocks on storage.
    #[must_use]
    pub fn is_boundless(&self) -> bool {
        fs2::total_space(&self.root).is_ok_and(|bytes| bytes >= BOUNDLESS_BYTES)
    }

    /// True when other hosts can have the directory mounted, too.
    #[must_use]
    pub fn is_nfs(&self) -> bool {
        self.is_nfs
    }
}

impl RealDisk {
    /// Opens a directory. A client of NFS that asked for a name before it existed goes on saying for half
    /// a minute that it is missing, unless it opens the directory above; and who takes a journal for
    /// missing begins a new one.
    fn read_directory(&self, directory: &Path) -> io::Result<ReadDir> {
        let path = self.root.join(directory);
        let missing = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => error,
            other => return other,
        };
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(missing);
        };
        for entry in std::fs::read_dir(above)? {
            if entry?.file_name() == name {
                return std::fs::read_dir(&path).map_err(|error| {
                    // Not `NotFound`: it is there.
                    let text = format!(
                        "`{}` is listed but cannot be opened: {error}",
                        path.display()
                    );
                    io::Error::other(text)
                });
            }
        }
        Err(missing)
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        if self.is_wary && !std::fs::metadata(self.root.join(path))?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let mut options = OpenOptions::new();
        match how {
            Open::Read => options.read(true),
            Open::Write => options.write(true),
            Open::CreateNew => options.write(true).create_new(true),
            // NFS wants no alignment, and sends each direct write as a WRITE of its own whose
            // error nobody else gets (an error of the page cache is told once per descriptor).
            Open::CreateNewDirect if self.is_nfs => options
                .write(true)
                .create_new(true)
                .custom_flags(OFlag::O_DIRECT.bits()),
            Open::CreateNewDirect => options.write(true).create_new(true),
            Open::ReadWrite => options.read(true).write(true).create(true).truncate(false),
        };
        let file = options.open(self.root.join(path))?;
        Ok(Box::new(RealFile {
            file,
            is_nfs: self.is_nfs,
            is_direct: self.is_nfs && how == Open::CreateNewDirect,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = self.read_directory(directory)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        // A name that is not UTF-8 is none of ours.
        names.filter_map(Result::transpose).collect()
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(self.root.join(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        fs2::available_space(&self.root)
    }
}

struct RealFile {
    file: File,
    is_nfs: bool,
    /// Opened with `O_DIRECT`.
    is_direct: bool,
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// `RWF_DSYNC` asks for one write what `O_DSYNC` asks for all writes of a descriptor, so the
    /// one descriptor that holds the lock can do both. On NFS either is one stable WRITE.
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = [io::IoSlice::new(&bytes[done..])];
            let at = offset + done as u64;
            match pwritev2(&self.file, &rest, at, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => done += bytes,
                Err(rustix::io::Errno::INTR) => {}
                // Nothing was written yet: a file system that does not know the flag says so first.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    self.write_all_at(&bytes[done..], at)?;
                    return self.sync();
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn may_overlap(&self) -> bool {
        self.is_direct
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// An OFD lock is the authority: it excludes other hosts on NFS, other descriptors of this
    /// process, and a Java broker's `fcntl` lock on byte 0. On local file systems `flock` is a
    /// name space of its own, so it is taken, too, for tools that look there; on NFS it would be
    /// the same lock twice.
    fn try_lock(&self) -> io::Result<bool> {
        if !lock::try_ofd(&self.file)? {
            return Ok(false);
        }
        if self.is_nfs || lock::try_flock(&self.file)? {
            return Ok(true);
        }
        lock::unlock_ofd(&self.file)?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        (directory, disk)
    }

    #[test]
    fn a_lock_belongs_to_its_descriptor_and_ends_with_it() {
        let (_directory, disk) = disk();
        let path = Path::new("lock");
        let first = disk.open(path, Open::ReadWrite).expect("opens");
        let second = disk.open(path, Open::ReadWrite).expect("opens");
        assert!(first.try_lock().expect("tries"));
        assert!(first.try_lock().expect("tries"), "again on the holder");
        assert!(!second.try_lock().expect("tries"));
        drop(disk.open(path, Open::Write).expect("opens"));
        assert!(!second.try_lock().expect("tries"));
        drop(first);
        assert!(second.try_lock().expect("tries"));
    }

    #[test]
    fn a_flock_of_somebody_else_keeps_the_lock_away() {
        let (directory, disk) = disk();
        let other = File::create(directory.path().join("lock")).expect("creates");
        fs2::FileExt::try_lock_exclusive(&other).expect("locks");
        let ours = disk
            .open(Path::new("lock"), Open::ReadWrite)
            .expect("opens");
        assert!(!ours.try_lock().expect("tries"));
        drop(other);
        assert!(ours.try_lock().expect("tries"));
    }

    #[test]
    fn files_are_written_read_listed_renamed_and_removed() {
        let (_directory, disk) = disk();
        let (name, renamed) = (Path::new("d/x"), Path::new("d/y"));
        disk.create_directory(Path::new("d")).expect("creates");
        disk.create_directory(Path::new("d")).expect("is there");
        let file = disk.open(name, Open::CreateNew).expect("creates");
        let again = disk.open(name, Open::CreateNew).err().expect("refused");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        file.set_length(10).expect("grows");
        file.write_all_at(b"abc", 4).expect("writes");
        file.sync().expect("syncs");
        file.write_durable_at(b"de", 5).expect("writes");
        file.write_durable_at(b"", 5).expect("writes nothing");
        assert_eq!(file.length().expect("measures"), 10);
        disk.rename(name, renamed).expect("renames");
        disk.sync_directory(Path::new("d")).expect("syncs");
        assert_eq!(disk.list(Path::new("d")).expect("lists"), ["y"]);
        let mut buffer = [1; 20];
        let reader = disk.open(renamed, Open::Read).expect("opens");
        assert_eq!(reader.read_at(&mut buffer, 2).expect("reads"), 8);
        assert_eq!(&buffer[..8], b"\0\0ade\0\0\0");
        disk.remove(renamed).expect("removes");
        let missing = disk.open(renamed, Open::Read).err().expect("gone");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        assert!(disk.free_bytes().expect("asks") > 0);
    }

    #[test]
    fn a_missing_directory_is_named_in_the_error() {
        let error = RealDisk::open(Path::new("/nowhere/at/all")).expect_err("missing");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
