//! What is on the shared directory: as everybody sees it, as one host sees it, and as it survives.
//!
//! A model of what matters to a journal, with the facts that were measured on real NFS; where
//! reality leaves a choice, the seed makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::random::Random;
use super::scheduler::{HostId, ProcessId};
use crate::disk::Open;

/// What kind of directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskMode {
    /// One host: its page cache shows everything at once, locks end with their process, a power
    /// failure loses what is not synced.
    Local,
    /// Several hosts: a host's writes are its own until they are synced; locks are lost when the
    /// server has not heard of the host for its lease and another one asks.
    Nfs,
}

/// How the simulated directory behaves.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// What kind it is.
    pub mode: DiskMode,
    /// The NFS server's own lease in nanoseconds.
    pub server_lease_ns: u64,
    /// Usual time of one direction of a call, at most, in nanoseconds.
    pub latency_ns: u64,
    /// Calls of 1000 that take much longer.
    pub slow_permille: u64,
    /// How much longer, at most, in nanoseconds.
    pub slow_ns: u64,
}

pub(super) type InodeId = usize;
pub(super) type OpenId = usize;

/// A write that has been handed over and is not done.
#[derive(Clone)]
pub(super) struct WriteUnderWay {
    pub(super) open: OpenId,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

#[derive(Default)]
struct Inode {
    /// What the server shows.
    data: Arc<Vec<u8>>,
    /// What survives a power failure of a local disk.
    durable: Arc<Vec<u8>>,
    /// Changes since the last sync, in order (local).
    unsynced: Vec<Change>,
    lock: Option<OpenId>,
    /// Written and not yet sent (NFS).
    cached: BTreeMap<HostId, Vec<WriteUnderWay>>,
}

enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

struct OpenFile {
    inode: InodeId,
    process: ProcessId,
    host: HostId,
    how: Open,
    is_locked: bool,
    /// Its lock was taken away: EIO for good.
    is_lost: bool,
    is_closed: bool,
    /// What a reader may go on seeing until it opens the file anew (NFS).
    snapshot: Option<Arc<Vec<u8>>>,
}

enum EntryChange {
    Set(PathBuf, InodeId),
    Remove(PathBuf),
    Directory(PathBuf),
}

pub(super) struct Server {
    pub(super) options: DiskOptions,
    pub(super) is_full: bool,
    /// Dead processes whose host cannot tell the server.
    pub(super) closes_after_heal: Vec<ProcessId>,
    inodes: Vec<Inode>,
    opens: Vec<OpenFile>,
    entries: BTreeMap<PathBuf, InodeId>,
    directories: BTreeSet<PathBuf>,
    durable_entries: BTreeMap<PathBuf, InodeId>,
    durable_directories: BTreeSet<PathBuf>,
    /// Not yet durable, with the directory whose sync makes it so (local).
    entry_changes: Vec<(PathBuf, EntryChange)>,
    /// Names that a host believes to be missing.
    negative: BTreeSet<(HostId, PathBuf)>,
}

const SECTOR: usize = 512;

pub(super) fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(28)
}

fn missing() -> io::Error {
    io::Error::from_raw_os_error(2)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn put(data: &mut Arc<Vec<u8>>, offset: u64, bytes: &[u8]) {
    let data = Arc::make_mut(data);
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if data.len() < end {
        data.resize(end, 0);
    }
    data[start..end].copy_from_slice(bytes);
}

impl Server {
    pub(super) fn new(options: DiskOptions) -> Server {
        let root = BTreeSet::from([PathBuf::from(".")]);
        Server {
            options,
            is_full: false,
            closes_after_heal: Vec::new(),
            inodes: Vec::new(),
            opens: Vec::new(),
            entries: BTreeMap::new(),
            directories: root.clone(),
            durable_entries: BTreeMap::new(),
            durable_directories: root,
            entry_changes: Vec::new(),
            negative: BTreeSet::new(),
        }
    }

    pub(super) fn mode(&self) -> DiskMode {
        self.options.mode
    }

    fn is_local(&self) -> bool {
        self.options.mode == DiskMode::Local
    }

    // Names.

    pub(super) fn open(
        &mut self,
        path: &Path,
        how: Open,
        process: ProcessId,
        host: HostId,
        random: &mut Random,
    ) -> io::Result<OpenId> {
        let found = self.entries.get(path).copied();
        let believes_missing = self.negative.contains(&(host, path.to_owned()));
        let inode = match (how, found) {
            (Open::CreateNew | Open::CreateNewDirect, Some(_)) => {
                return Err(io::Error::from_raw_os_error(17));
            }
            (Open::CreateNew | Open::CreateNewDirect | Open::ReadWrite, None) => {
                self.create(path)?
            }
            (Open::Read | Open::Write, Some(_)) if believes_missing => return Err(missing()),
            (_, Some(inode)) => inode,
            (Open::Read | Open::Write, None) => {
                if !self.is_local() {
                    self.negative.insert((host, path.to_owned()));
                }
                return Err(missing());
            }
        };
        let is_cached = !self.is_local() && how == Open::Read && random.chance(500);
        self.opens.push(OpenFile {
            inode,
            process,
            host,
            how,
            is_locked: false,
            is_lost: false,
            is_closed: false,
            snapshot: is_cached.then(|| Arc::clone(&self.inodes[inode].data)),
        });
        Ok(self.opens.len() - 1)
    }

    fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        if !self.directories.contains(&parent(path)) {
            return Err(missing());
        }
        if self.is_full {
            return Err(no_space());
        }
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        self.change_entry(parent(path), EntryChange::Set(path.to_owned(), inode));
        Ok(inode)
    }

    fn change_entry(&mut self, directory: PathBuf, change: EntryChange) {
        apply_entry(&mut self.entries, &mut self.directories, &change);
        if self.is_local() {
            self.entry_changes.push((directory, change));
        } else {
            apply_entry(
                &mut self.durable_entries,
                &mut self.durable_directories,
                &change,
            );
        }
    }

    pub(super) fn list(&mut self, directory: &Path, host: HostId) -> io::Result<Vec<String>> {
        if !self.directories.contains(directory) {
            return Err(missing());
        }
        self.negative
            .retain(|(of, path)| *of != host || parent(path) != directory);
        let files = self.entries.keys().chain(&self.directories);
        let names = files.filter(|path| parent(path) == directory && **path != Path::new("."));
        let names = names.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        if !self.directories.contains(path) {
            self.change_entry(parent(path), EntryChange::Directory(path.to_owned()));
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = *self.entries.get(from).ok_or_else(missing)?;
        self.change_entry(parent(to), EntryChange::Set(to.to_owned(), inode));
        self.change_entry(parent(from), EntryChange::Remove(from.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.entries.contains_key(path) {
            return Err(missing());
        }
        self.change_entry(parent(path), EntryChange::Remove(path.to_owned()));
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        if !self.directories.contains(path) {
            return Err(missing());
        }
        let changes = std::mem::take(&mut self.entry_changes);
        for (directory, change) in changes {
            if directory == path {
                apply_entry(
                    &mut self.durable_entries,
                    &mut self.durable_directories,
                    &change,
                );
            } else {
                self.entry_changes.push((directory, change));
            }
        }
        Ok(())
    }

    // Files.

    pub(super) fn read(&self, open: OpenId, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let file = &self.opens[open];
        if file.is_lost {
            return Err(eio());
        }
        if !matches!(file.how, Open::Read | Open::ReadWrite) {
            return Err(io::Error::from_raw_os_error(9));
        }
        let inode = &self.inodes[file.inode];
        let mut data = Arc::clone(file.snapshot.as_ref().unwrap_or(&inode.data));
        for write in inode.cached.get(&file.host).into_iter().flatten() {
            put(&mut data, write.offset, &write.bytes);
        }
        let start = (offset as usize).min(data.len());
        let bytes = buffer.len().min(data.len() - start);
        buffer[..bytes].copy_from_slice(&data[start..start + bytes]);
        Ok(bytes)
    }

    pub(super) fn length(&self, open: OpenId) -> u64 {
        let file = &self.opens[open];
        let inode = &self.inodes[file.inode];
        let cached = inode.cached.get(&file.host).into_iter().flatten();
        let written = cached.map(|write| write.offset + write.bytes.len() as u64);
        written.max().unwrap_or(0).max(inode.data.len() as u64)
    }

    pub(super) fn set_length(&mut self, open: OpenId, length: u64) -> io::Result<()> {
        let file = &self.opens[open];
        if file.is_lost {
            return Err(eio());
        }
        let is_local = self.is_local();
        let inode = &mut self.inodes[self.opens[open].inode];
        if length as usize > inode.data.len() && self.is_full {
            return Err(no_space());
        }
        Arc::make_mut(&mut inode.data).resize(length as usize, 0);
        if is_local {
            inode.unsynced.push(Change::Length(length));
        } else {
            inode.durable = Arc::clone(&inode.data);
        }
        Ok(())
    }

    /// Takes a write: visible at once on a local disk, to its own host on NFS.
    pub(super) fn write(&mut self, write: WriteUnderWay, random: &mut Random) -> io::Result<()> {
        let file = &self.opens[write.open];
        if file.is_lost && random.chance(700) {
            return Err(eio());
        }
        let (host, inode) = (file.host, file.inode);
        let is_local = self.is_local();
        let inode = &mut self.inodes[inode];
        if self.is_full && write.offset as usize + write.bytes.len() > inode.data.len() {
            return Err(no_space());
        }
        if is_local {
            put(&mut inode.data, write.offset, &write.bytes);
            inode.unsynced.push(Change::Write {
                offset: write.offset,
                bytes: write.bytes,
            });
        } else {
            inode.cached.entry(host).or_default().push(write);
        }
        Ok(())
    }

    /// Makes durable what was written. On NFS the whole file's cache of this host goes out.
    pub(super) fn sync(&mut self, open: OpenId) -> io::Result<()> {
        let (host, inode) = (self.opens[open].host, self.opens[open].inode);
        if self.is_local() {
            let inode = &mut self.inodes[inode];
            inode.durable = Arc::clone(&inode.data);
            inode.unsynced.clear();
            return Ok(());
        }
        let cached = self.inodes[inode].cached.remove(&host).unwrap_or_default();
        let mut outcome = Ok(());
        for write in cached {
            if self.opens[write.open].is_lost {
                outcome = Err(eio());
            } else {
                self.store(inode, write.offset, &write.bytes);
            }
        }
        outcome
    }

    /// Makes one write durable, and nothing else.
    pub(super) fn write_durable(&mut self, write: &WriteUnderWay) -> io::Result<()> {
        let file = &self.opens[write.open];
        let inode = file.inode;
        if !self.is_local() {
            if file.is_lost {
                return Err(eio());
            }
            let end = write.offset as usize + write.bytes.len();
            if self.is_full && end > self.inodes[inode].data.len() {
                return Err(no_space());
            }
            self.store(inode, write.offset, &write.bytes);
            return Ok(());
        }
        // It was written before: what survives has it now, whatever of the rest does.
        let inode = &mut self.inodes[inode];
        put(&mut inode.durable, write.offset, &write.bytes);
        let is_this = |change: &mut Change| {
            matches!(change, Change::Write { offset, bytes }
                if *offset == write.offset && *bytes == write.bytes)
        };
        drop(inode.unsynced.extract_if(.., is_this));
        Ok(())
    }

    /// On the server for good (NFS).
    fn store(&mut self, inode: InodeId, offset: u64, bytes: &[u8]) {
        let inode = &mut self.inodes[inode];
        put(&mut inode.data, offset, bytes);
        inode.durable = Arc::clone(&inode.data);
    }

    /// The first half of the host's last write to the file becomes visible on its own.
    pub(super) fn show_part(&mut self, open: OpenId, random: &mut Random) {
        let (host, inode) = (self.opens[open].host, self.opens[open].inode);
        let first = self.inodes[inode]
            .cached
            .get(&host)
            .and_then(|all| all.first());
        let Some(write) = first.cloned() else { return };
        if self.opens[write.open].is_lost || write.bytes.len() < 2 {
            return;
        }
        let part = 1 + random.below(write.bytes.len() as u64 - 1) as usize;
        self.store(inode, write.offset, &write.bytes[..part]);
    }

    // Locks.

    /// The host that holds the lock of the file and may have lost it.
    pub(super) fn holder(&self, open: OpenId) -> Option<HostId> {
        let lock = self.inodes[self.opens[open].inode].lock?;
        (lock != open).then(|| self.opens[lock].host)
    }

    /// The server takes all locks of a host away.
    pub(super) fn expire(&mut self, host: HostId) {
        for id in 0..self.opens.len() {
            let file = &mut self.opens[id];
            if file.host == host && file.is_locked {
                file.is_lost = true;
                let lock = &mut self.inodes[file.inode].lock;
                if *lock == Some(id) {
                    *lock = None;
                }
            }
        }
    }

    pub(super) fn try_lock(&mut self, open: OpenId) -> bool {
        let inode = &mut self.inodes[self.opens[open].inode];
        match inode.lock {
            Some(holder) => holder == open,
            None => {
                inode.lock = Some(open);
                let file = &mut self.opens[open];
                file.is_locked = true;
                file.snapshot = None;
                true
            }
        }
    }

    // Ends.

    /// A living process closes a file. What it had not synced goes out first.
    pub(super) fn close(&mut self, open: OpenId) {
        if std::mem::replace(&mut self.opens[open].is_closed, true) {
            return;
        }
        if !self.is_local() {
            // An error of the flush is nobody's to see.
            let _ = self.sync(open);
        }
        self.unlock(open);
    }

    /// A process closes a file whose host cannot reach the server.
    pub(super) fn close_later(&mut self, open: OpenId) {
        self.opens[open].is_closed = true;
    }

    fn unlock(&mut self, open: OpenId) {
        let lock = &mut self.inodes[self.opens[open].inode].lock;
        if *lock == Some(open) {
            *lock = None;
        }
    }

    /// Files that were closed while the host was cut off.
    pub(super) fn finish_closes(&mut self, host: HostId) {
        for open in 0..self.opens.len() {
            let file = &self.opens[open];
            if file.host == host && file.is_closed && file.is_locked {
                self.unlock(open);
            }
        }
    }

    pub(super) fn unlock_all_of(&mut self, process: ProcessId) {
        for open in 0..self.opens.len() {
            if self.opens[open].process == process {
                self.opens[open].is_closed = true;
                self.unlock(open);
            }
        }
    }

    /// The kernel of a reachable host closes a dead process's files: each unsent write goes out whole,
    /// in part, or not, before the lock goes. Writes without a lock may also come much later.
    pub(super) fn close_all_of(
        &mut self,
        process: ProcessId,
        random: &mut Random,
    ) -> Vec<WriteUnderWay> {
        let mut late = Vec::new();
        for inode in 0..self.inodes.len() {
            let mut writes = Vec::new();
            for cached in self.inodes[inode].cached.values_mut() {
                let of_process =
                    |write: &mut WriteUnderWay| self.opens[write.open].process == process;
                writes.extend(cached.extract_if(.., of_process));
            }
            let mut lost = BTreeSet::new();
            for write in writes {
                let file = &self.opens[write.open];
                if file.is_lost {
                    continue;
                }
                if !file.is_locked && random.chance(300) {
                    late.push(write);
                    continue;
                }
                let kept = match random.below(10) {
                    0..3 => 0,
                    3..6 => random.below(write.bytes.len() as u64 + 1) as usize,
                    _ => write.bytes.len(),
                };
                for (at, end) in sectors(write.offset, write.bytes.len()) {
                    let sector = (write.offset as usize + at) / SECTOR;
                    let was_lost = lost.contains(&sector);
                    if end > kept {
                        lost.insert(sector);
                    }
                    let end = end.min(kept);
                    if at < end && !was_lost {
                        self.store(inode, write.offset + at as u64, &write.bytes[at..end]);
                    }
                }
            }
        }
        self.unlock_all_of(process);
        late
    }

    /// A write of an unlocked descriptor that comes when nobody expects it.
    pub(super) fn land_late(&mut self, write: &WriteUnderWay, random: &mut Random) {
        let mut bytes = write.bytes.clone();
        tear(&mut bytes, random);
        let inode = self.opens[write.open].inode;
        self.store(inode, write.offset, &bytes);
    }

    /// A thread dies in the middle of handing a write over.
    pub(super) fn interrupt(&mut self, write: &WriteUnderWay, random: &mut Random) {
        if random.chance(400) {
            return;
        }
        let mut write = write.clone();
        tear(&mut write.bytes, random);
        // It may be refused like any other.
        let _ = self.write(write, random);
    }

    /// The local host loses its power: of what was not synced, sectors of files and a prefix of
    /// the names' changes survive.
    pub(super) fn lose_unsynced(&mut self, random: &mut Random) {
        for inode in &mut self.inodes {
            let mut survives = Arc::clone(&inode.durable);
            let mut lost = BTreeSet::new();
            for change in inode.unsynced.drain(..) {
                match change {
                    Change::Length(length) if random.chance(500) => {
                        Arc::make_mut(&mut survives).resize(length as usize, 0);
                    }
                    Change::Length(_) => {}
                    Change::Write { offset, bytes } => {
                        keep_sectors(&mut survives, &mut lost, offset, &bytes, random);
                    }
                }
            }
            inode.data = Arc::clone(&survives);
            inode.durable = survives;
            inode.lock = None;
        }
        let kept = random.below(self.entry_changes.len() as u64 + 1) as usize;
        for (_, change) in self.entry_changes.drain(..).take(kept) {
            apply_entry(
                &mut self.durable_entries,
                &mut self.durable_directories,
                &change,
            );
        }
        self.entries = self.durable_entries.clone();
        self.directories = self.durable_directories.clone();
    }

    pub(super) fn drop_cache_of(&mut self, host: HostId) {
        for inode in &mut self.inodes {
            inode.cached.remove(&host);
        }
        self.negative.retain(|(of, _)| *of != host);
    }

    pub(super) fn forget_host(&mut self, host: HostId) {
        self.closes_after_heal.retain(|process| {
            !self
                .opens
                .iter()
                .any(|open| open.process == *process && open.host == host)
        });
        for open in 0..self.opens.len() {
            if self.opens[open].host == host {
                self.opens[open].is_closed = true;
                self.unlock(open);
            }
        }
    }
}

fn apply_entry(
    entries: &mut BTreeMap<PathBuf, InodeId>,
    directories: &mut BTreeSet<PathBuf>,
    change: &EntryChange,
) {
    match change {
        EntryChange::Set(path, inode) => {
            entries.insert(path.clone(), *inode);
        }
        EntryChange::Remove(path) => {
            entries.remove(path);
        }
        EntryChange::Directory(path) => {
            directories.insert(path.clone());
        }
    }
}

/// Leaves a prefix, in some cases all of it.
fn tear(bytes: &mut Vec<u8>, random: &mut Random) {
    if random.chance(500) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
}

/// The pieces of a write that lie in one sector each, as ranges of its bytes.
fn sectors(offset: u64, length: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let rest = SECTOR - (offset as usize + start) % SECTOR;
        at = (start + rest).min(length);
        (start < length).then_some((start, at))
    })
}

/// Keeps some sectors of a write. What a sector lost once it does not get back by a later
/// write alone: sectors are sent as a whole.
fn keep_sectors(
    data: &mut Arc<Vec<u8>>,
    lost: &mut BTreeSet<usize>,
    offset: u64,
    bytes: &[u8],
    random: &mut Random,
) {
    let habit = random.below(3);
    for (at, end) in sectors(offset, bytes.len()) {
        let sector = (offset as usize + at) / SECTOR;
        let is_kept = match habit {
            0 => false,
            1 => true,
            _ => random.chance(500),
        };
        if is_kept && !lost.contains(&sector) {
            put(data, offset + at as u64, &bytes[at..end]);
        } else {
            lost.insert(sector);
        }
    }
}
