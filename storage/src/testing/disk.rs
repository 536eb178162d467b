//! The directory in memory as the code under test sees it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::fault::{Call, Effect, Errno, Fault};
use super::tree::{Change, FileId, SECTOR, Tree, parent};
use crate::clock::{Clock, RealClock};
use crate::disk::{Disk, DiskFile, Open};
use crate::sim::Random;

/// A call as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedCall {
    /// What was asked for.
    pub call: Call,
    /// Of which file or directory.
    pub path: PathBuf,
    /// Whether it was done.
    pub is_ok: bool,
    /// Changes recorded before it.
    pub changes: usize,
}

#[derive(Default)]
struct Inner {
    tree: Tree,
    /// Who holds the lock of a file.
    locked: BTreeMap<FileId, u64>,
    opened: u64,
    changes: Vec<Change>,
    calls: Vec<LoggedCall>,
    faults: Vec<Fault>,
    /// Bytes of it in all.
    capacity: Option<u64>,
    /// Files and directories in all.
    names_max: Option<usize>,
    /// Free bytes as told, if that is to differ from the truth.
    told_free: Option<u64>,
    /// Decides which bit of a read is wrong.
    flips: u64,
    /// Segments bear several writes at once.
    overlaps: bool,
}

/// A shared directory in memory that fails as asked. Clones are the same directory.
///
/// Files have holes, as on every real file system: a length that was set takes no space, a write into
/// a hole does, in sectors of 512 bytes.
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

struct FaultyFile {
    disk: FaultyDisk,
    file: FileId,
    /// As it was opened.
    path: PathBuf,
    handle: u64,
    holds_lock: AtomicBool,
    /// What it goes on seeing.
    stale: Option<Arc<Vec<u8>>>,
    may_overlap: bool,
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Inner {
    fn change(&mut self, change: Change) {
        self.tree.apply(&change);
        self.changes.push(change);
    }

    fn free(&self) -> u64 {
        let used = self.tree.used();
        self.capacity
            .map_or(1 << 40, |capacity| capacity.saturating_sub(used))
    }

    fn check_names(&self) -> io::Result<()> {
        match self.names_max {
            Some(most) if self.tree.count() >= most => Err(Errno::NoSpace.into()),
            _ => Ok(()),
        }
    }

    /// What a test does to the directory behind everybody's back leaves no history.
    fn edit(&mut self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let file = self.tree.find(path).expect("the file");
        let mut bytes = (*self.tree.file(file).seen).clone();
        edit(&mut bytes);
        self.tree.put(path, bytes);
    }
}

/// Making, reading and changing a directory from outside.
impl FaultyDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }

    fn of(tree: Tree) -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.lock().tree = tree;
        disk
    }

    /// The directory after the given changes, as it is seen when only processes died.
    #[must_use]
    pub fn after<'a>(changes: impl IntoIterator<Item = &'a Change>) -> FaultyDisk {
        let disk = FaultyDisk::default();
        disk.replay(changes);
        disk
    }

    /// Goes on with a recorded history.
    pub fn replay<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) {
        let mut inner = self.lock();
        for change in changes {
            inner.tree.apply(change);
        }
    }

    /// What a power failure at this moment leaves; the seed decides about all that was not synced.
    #[must_use]
    pub fn crash(&self, random: &mut Random) -> FaultyDisk {
        Self::of(self.lock().tree.crashed(random))
    }

    /// The least that a power failure at this moment leaves: what was synced.
    #[must_use]
    pub fn synced(&self) -> FaultyDisk {
        Self::of(self.lock().tree.synced())
    }

    /// A copy as another process finds it after this one is gone.
    #[must_use]
    pub fn copy(&self) -> FaultyDisk {
        Self::of(self.lock().tree.clone())
    }

    /// Everything that changed the directory.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.lock().changes.clone()
    }

    /// How many changes there were.
    #[must_use]
    pub fn change_count(&self) -> usize {
        self.lock().changes.len()
    }

    /// Every call there was.
    #[must_use]
    pub fn calls(&self) -> Vec<LoggedCall> {
        self.lock().calls.clone()
    }

    /// Calls of one kind on paths that contain `pattern`.
    #[must_use]
    pub fn count(&self, call: Call, pattern: &str) -> usize {
        let inner = self.lock();
        let is_meant = |logged: &&LoggedCall| {
            logged.call == call && logged.path.to_string_lossy().contains(pattern)
        };
        inner.calls.iter().filter(is_meant).count()
    }

    /// Syncs of files, done or not.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.count(Call::Sync, "") as u64
    }

    /// The files below a directory.
    #[must_use]
    pub fn paths(&self, directory: &str) -> Vec<PathBuf> {
        self.lock().tree.paths(directory)
    }

    /// A file's content.
    ///
    /// # Panics
    /// If there is no such file.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let inner = self.lock();
        let file = inner.tree.find(path).expect("the file");
        (*inner.tree.file(file).seen).clone()
    }

    /// Gives a file another content, durably.
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        self.lock().tree.put(path, bytes);
    }

    /// Turns a bit of a file over, durably.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip(&self, path: &Path, at: usize) {
        self.lock().edit(path, |bytes| bytes[at] ^= 0x20);
    }

    /// Takes a file away, durably.
    pub fn delete(&self, path: &Path) {
        let mut inner = self.lock();
        inner.tree.apply(&Change::Remove(path.to_owned()));
        inner.tree.apply(&Change::SyncDirectory(parent(path)));
    }

    /// Lets several batches be under way at once in segments made from now on, as NFS does.
    pub fn let_overlap(&self) {
        self.lock().overlaps = true;
    }

    /// Limits the bytes.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Lets exactly this many bytes be free.
    pub fn leave_free(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.capacity = Some(inner.tree.used() + bytes);
    }

    /// Limits the files and directories: inodes.
    pub fn set_names_max(&self, names: Option<usize>) {
        self.lock().names_max = names;
    }

    /// Files and directories there are.
    #[must_use]
    pub fn names(&self) -> usize {
        self.lock().tree.count()
    }

    /// Tells other free bytes than there are.
    pub fn tell_free(&self, bytes: Option<u64>) {
        self.lock().told_free = bytes;
    }

    /// Bytes that have a place.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().tree.used()
    }
}

/// Faults.
impl FaultyDisk {
    /// Adds a fault. The first that strikes a call decides.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Syncs of files whose path contains `pattern` fail from now on.
    pub fn fail_syncs(&self, pattern: &str) {
        self.inject(Fault::on(&[Call::Sync]).of(pattern));
    }

    /// Writes to files whose path contains `pattern` fail from now on.
    pub fn fail_writes(&self, pattern: &str) {
        self.inject(Fault::on(&[Call::Write]).of(pattern));
    }

    /// Writes to files whose path contains `pattern` panic from now on.
    pub fn panic_writes(&self, pattern: &str) {
        self.inject(Fault::on(&[Call::Write]).of(pattern).with(Effect::Panic));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// What failed syncs lost leaves the cache, too: readers see what is on the disk.
    pub fn evict(&self) {
        self.lock().tree.evict();
    }

    /// Does a call, or what a fault makes of it.
    fn call<T>(
        &self,
        call: Call,
        path: &Path,
        perform: impl FnOnce(&mut Inner, Option<Effect>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = self.lock();
        let effect = inner
            .faults
            .iter_mut()
            .find_map(|fault| fault.strikes(call, path).then_some(fault.effect));
        let changes = inner.changes.len();
        if effect == Some(Effect::Panic) {
            drop(inner);
            panic!("a bug in the disk");
        }
        if let Some(Effect::Stall(duration)) = effect {
            drop(inner);
            RealClock::new().sleep(duration);
            inner = self.lock();
        }
        let done = match effect {
            Some(Effect::Fail(errno)) if call != Call::Sync => Err(errno.into()),
            _ => perform(&mut inner, effect),
        };
        inner.calls.push(LoggedCall {
            call,
            path: path.to_owned(),
            is_ok: done.is_ok(),
            changes,
        });
        done
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let exists = self.lock().tree.find(path).is_some();
        let call = match how {
            Open::Read => Call::OpenRead,
            Open::CreateNew | Open::CreateNewDirect => Call::Create,
            Open::ReadWrite if !exists => Call::Create,
            Open::Write | Open::ReadWrite => Call::OpenWrite,
        };
        let opened = self.call(call, path, |inner, effect| {
            let file = match (inner.tree.find(path), call) {
                (Some(_), Call::Create) if how != Open::ReadWrite => {
                    return Err(io::Error::from(io::ErrorKind::AlreadyExists));
                }
                (Some(file), _) => file,
                (None, Call::Create) if inner.tree.has_directory(&parent(path)) => {
                    inner.check_names()?;
                    inner.change(Change::Create(path.to_owned()));
                    inner.tree.find(path).ok_or_else(|| not_found(path))?
                }
                (None, _) => return Err(not_found(path)),
            };
            inner.opened += 1;
            let is_stale = effect == Some(Effect::Stale);
            let stale = is_stale.then(|| Arc::clone(&inner.tree.file(file).seen));
            let may_overlap = how == Open::CreateNewDirect && inner.overlaps;
            Ok((file, inner.opened, stale, may_overlap))
        })?;
        let (file, handle, stale, may_overlap) = opened;
        Ok(Box::new(FaultyFile {
            disk: self.clone(),
            file,
            path: path.to_owned(),
            handle,
            holds_lock: AtomicBool::new(false),
            stale,
            may_overlap,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.call(Call::List, directory, |inner, _| {
            if !inner.tree.has_directory(directory) {
                return Err(not_found(directory));
            }
            Ok(inner.tree.list(directory))
        })
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.call(Call::CreateDirectory, path, |inner, _| {
            if !inner.tree.has_directory(path) {
                inner.check_names()?;
                inner.change(Change::CreateDirectory(path.to_owned()));
            }
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, from, |inner, _| {
            inner.tree.find(from).ok_or_else(|| not_found(from))?;
            inner.change(Change::Rename(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, path, |inner, _| {
            inner.tree.find(path).ok_or_else(|| not_found(path))?;
            inner.change(Change::Remove(path.to_owned()));
            Ok(())
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call(Call::SyncDirectory, path, |inner, effect| {
            if effect != Some(Effect::Lie) {
                inner.change(Change::SyncDirectory(path.to_owned()));
            }
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.call(Call::FreeBytes, Path::new("."), |inner, _| {
            Ok(inner.told_free.unwrap_or_else(|| inner.free()))
        })
    }
}

impl FaultyFile {
    fn call<T>(
        &self,
        call: Call,
        perform: impl FnOnce(&mut Inner, Option<Effect>) -> io::Result<T>,
    ) -> io::Result<T> {
        self.disk.call(call, &self.path, perform)
    }

    fn sync_all_or(&self, part: Option<(u64, usize)>) -> io::Result<()> {
        self.call(Call::Sync, |inner, effect| {
            if effect == Some(Effect::Lie) {
                return Ok(());
            }
            let path = inner.tree.file(self.file).path.clone();
            let failed = match effect {
                Some(Effect::Fail(errno)) => Some(errno),
                _ => None,
            };
            if let Some(path) = path {
                inner.change(match (failed, part) {
                    (Some(_), _) => Change::FailedSync(path),
                    (None, Some((offset, length))) => Change::SyncPart(path, offset, length),
                    (None, None) => Change::Sync(path),
                });
            }
            failed.map_or(Ok(()), |errno| Err(errno.into()))
        })
    }

    /// Writes into a file; one that lost its name needs no history.
    fn put(&self, inner: &mut Inner, bytes: &[u8], offset: u64) {
        match inner.tree.file(self.file).path.clone() {
            Some(path) => inner.change(Change::Write {
                path,
                offset,
                bytes: bytes.to_vec(),
            }),
            None => inner.tree.write(self.file, offset as usize, bytes),
        }
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(Call::Read, |inner, effect| {
            let seen = self
                .stale
                .as_ref()
                .unwrap_or(&inner.tree.file(self.file).seen);
            let rest = seen.get(offset as usize..).unwrap_or(&[]);
            let bytes = rest.len().min(buffer.len());
            buffer[..bytes].copy_from_slice(&rest[..bytes]);
            if effect == Some(Effect::FlipBit) && bytes > 0 {
                inner.flips += 1;
                let bit = Random::new(inner.flips).below(bytes as u64 * 8) as usize;
                buffer[bit / 8] ^= 1 << (bit % 8);
            }
            Ok(bytes)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call(Call::Write, |inner, effect| {
            if let Some(Effect::Short(length, errno)) = effect {
                self.put(inner, &bytes[..length.min(bytes.len())], offset);
                return Err(errno.into());
            }
            if inner.tree.needs(self.file, offset, bytes.len()) <= inner.free() {
                self.put(inner, bytes, offset);
                return Ok(());
            }
            // What fits is written before the write fails.
            let mut fitting = 0;
            while fitting < bytes.len() {
                let next = (fitting + SECTOR).min(bytes.len());
                if inner.tree.needs(self.file, offset, next) > inner.free() {
                    break;
                }
                fitting = next;
            }
            self.put(inner, &bytes[..fitting], offset);
            Err(Errno::NoSpace.into())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all_or(None)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)?;
        self.sync_all_or(Some((offset, bytes.len())))
    }

    fn may_overlap(&self) -> bool {
        self.may_overlap
    }

    fn length(&self) -> io::Result<u64> {
        self.call(Call::Length, |inner, _| {
            let seen = self.stale.as_ref();
            Ok(seen.unwrap_or(&inner.tree.file(self.file).seen).len() as u64)
        })
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.call(Call::SetLength, |inner, _| {
            match inner.tree.file(self.file).path.clone() {
                Some(path) => inner.change(Change::SetLength(path, bytes)),
                None => inner.tree.set_length(self.file, bytes as usize),
            }
            Ok(())
        })
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.call(Call::Lock, |inner, _| {
            let holder = *inner.locked.entry(self.file).or_insert(self.handle);
            let is_mine = holder == self.handle;
            self.holds_lock.store(is_mine, Ordering::Relaxed);
            Ok(is_mine)
        })
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        if self.holds_lock.load(Ordering::Relaxed) {
            self.disk.lock().locked.remove(&self.file);
        }
    }
}
