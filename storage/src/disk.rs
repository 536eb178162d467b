//! The only door to the shared directory.
//!
//! Nothing else in the product opens files there, so that the simulation can stand in for it; only the
//! doctor looks past it, because it has to work where a directory is refused. No
//! caller holds a mutex across a call: on NFS every one of them can block without limit.

use std::io;
use std::path::Path;

pub(crate) mod lock;
mod meter;
pub mod mount;
mod real;

pub use meter::{DiskCounters, DiskTraffic, MeteredDisk};
pub use real::{OpenDirectoryError, RealDisk};

/// How a file is opened. Nothing is ever truncated or appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Existing, read-only. Reads see what other hosts wrote: open anew for each round of reads.
    Read,
    /// Existing, write-only.
    Write,
    /// Must not exist: exactly one of several hosts succeeds. Write-only.
    CreateNew,
    /// As [`Open::CreateNew`], for a journal segment: where writes have to bypass the host's cache so
    /// that several may be under way at once (see [`DiskFile::may_overlap`]), they do.
    CreateNewDirect,
    /// Created if missing, read and write, for the lock file.
    ReadWrite,
}

/// A shared directory. Paths are relative to it.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// As the operating system says; `NotFound` and `AlreadyExists` are told apart by callers.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// The names in a directory, in no order, as the server sees them now (never a stale cache).
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Creates a directory; existing is fine.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Renames a file over another or to a new name.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a directory durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// As the operating system says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Dropping it closes it and lets its lock go.
pub trait DiskFile: Send + Sync {
    /// Reads at an offset; fewer bytes than asked for only at the end of the file.
    ///
    /// # Errors
    /// As the operating system says; EIO once a lock of this descriptor was lost.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at an offset. Not durable before [`DiskFile::sync`].
    ///
    /// # Errors
    /// As the operating system says; EIO once a lock of this descriptor was lost.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable. After an error nothing is known: never retry.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync(&self) -> io::Result<()>;

    /// Writes all of `bytes` at an offset and makes *these* bytes durable, in one operation if the
    /// system has one. What else was written through this descriptor need not be durable then.
    /// After an error nothing is known: never retry.
    ///
    /// # Errors
    /// As the operating system says; EIO once a lock of this descriptor was lost.
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)?;
        self.sync()
    }

    /// True if several [`DiskFile::write_durable_at`] may be under way on this descriptor at once,
    /// each of which tells its own errors and waits for its own bytes only.
    ///
    /// It is not so for writes through the page cache: an error of writing back is told to the
    /// first call on the descriptor that asks, and the call whose bytes are lost may hear of
    /// success.
    fn may_overlap(&self) -> bool {
        false
    }

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn length(&self) -> io::Result<u64>;

    /// Sets the length; grown bytes read as zeros.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_length(&self, bytes: u64) -> io::Result<()>;

    /// Tries to get the exclusive lock of the whole file for this descriptor. False: somebody else
    /// holds it. It can block without limit on NFS all the same.
    ///
    /// # Errors
    /// As the operating system says.
    fn try_lock(&self) -> io::Result<bool>;
}
