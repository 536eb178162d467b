//! Counts what a process asks of its shared directory, for operators and comparisons.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{Disk, DiskFile, Open};

/// How much was asked of a directory so far.
#[derive(Debug, Default)]
pub struct DiskCounters {
    writes: AtomicU64,
    written_bytes: AtomicU64,
    reads: AtomicU64,
    read_bytes: AtomicU64,
}

/// [`DiskCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskTraffic {
    /// Durable writes: syncs of something, and writes that were durable at once.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads that found something.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

impl DiskCounters {
    /// What was counted so far. The numbers belong together only roughly.
    #[must_use]
    pub fn traffic(&self) -> DiskTraffic {
        DiskTraffic {
            writes: self.writes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
        }
    }
}

/// A disk whose reads and writes are counted: two additions for each batch.
pub struct MeteredDisk {
    inner: Arc<dyn Disk>,
    counters: Arc<DiskCounters>,
}

impl MeteredDisk {
    /// Adds to `counters` what is done through it.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, counters: Arc<DiskCounters>) -> MeteredDisk {
        MeteredDisk { inner, counters }
    }
}

impl Disk for MeteredDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(MeteredFile {
            inner: self.inner.open(path, how)?,
            counters: Arc::clone(&self.counters),
            dirty: AtomicU64::new(0),
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.inner.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_directory(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
}

struct MeteredFile {
    inner: Box<dyn DiskFile>,
    counters: Arc<DiskCounters>,
    /// Bytes written and not synced.
    dirty: AtomicU64,
}

impl MeteredFile {
    fn count_write(&self, bytes: u64) {
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.counters
            .written_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }
}

impl DiskFile for MeteredFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.inner.read_at(buffer, offset)?;
        if read > 0 {
            self.counters.reads.fetch_add(1, Ordering::Relaxed);
            self.counters
                .read_bytes
                .fetch_add(read as u64, Ordering::Relaxed);
        }
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.dirty.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.inner.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let bytes = self.dirty.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.count_write(bytes);
        }
        self.inner.sync()
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.count_write(bytes.len() as u64);
        self.inner.write_durable_at(bytes, offset)
    }

    fn may_overlap(&self) -> bool {
        self.inner.may_overlap()
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_length(bytes)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn durable_writes_and_reads_are_counted_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let real = RealDisk::open(directory.path()).expect("usable");
        let counters = Arc::new(DiskCounters::default());
        let disk = MeteredDisk::new(Arc::new(real), Arc::clone(&counters));
        let file = disk.open(Path::new("x"), Open::CreateNew).expect("creates");
        file.write_all_at(b"abc", 0).expect("writes");
        file.write_all_at(b"def", 3).expect("writes");
        assert_eq!(counters.traffic().writes, 0, "nothing is durable yet");
        file.sync().expect("syncs");
        file.sync().expect("syncs nothing");
        file.write_durable_at(b"gh", 6).expect("writes");
        let reader = disk.open(Path::new("x"), Open::Read).expect("opens");
        let mut buffer = [0; 100];
        assert_eq!(reader.read_at(&mut buffer, 0).expect("reads"), 8);
        assert_eq!(reader.read_at(&mut buffer, 8).expect("reads"), 0);
        let expected = DiskTraffic {
            writes: 2,
            written_bytes: 8,
            reads: 1,
            read_bytes: 8,
        };
        assert_eq!(counters.traffic(), expected);
    }
}
