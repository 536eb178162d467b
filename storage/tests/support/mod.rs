//! What the journal's tests share: a disk in memory that can fail and crash, and a tenure on it.

#![allow(dead_code, reason = "each test file uses another part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use storage::clock::{Clock, RealClock};
use storage::disk::{Disk, DiskFile, Open};
use storage::error::Failure;
use storage::journal::{Callbacks, Journal, JournalOptions};
use storage::state::State;
use storage::store::{AppendError, Enqueued, NewMessage, ProducerSequence};
use storage::tail::Follower;
use storage::tenure::gate::Gate;
use storage::{Backlog, Entry, Epoch, Lsn, Position, Store};

/// One change of the shared directory, in the order in which they happened.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create(PathBuf),
    Write {
        path: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLength(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Sync(PathBuf),
}

#[derive(Default)]
struct Inner {
    files: BTreeMap<PathBuf, Vec<u8>>,
    locked: BTreeSet<PathBuf>,
    changes: Vec<Change>,
    capacity: Option<u64>,
    /// Free bytes as told, if that is to differ from the truth.
    told_free: Option<u64>,
    failing_syncs: BTreeSet<String>,
    failing_writes: BTreeSet<String>,
    panicking_writes: BTreeSet<String>,
    syncs: u64,
}

/// A shared directory in memory. Clones are the same directory.
#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<Inner>>);

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    holds_lock: AtomicBool,
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl Inner {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path) => {
                self.files.insert(path.clone(), Vec::new());
            }
            Change::Write {
                path,
                offset,
                bytes,
            } => {
                let file = self.files.entry(path.clone()).or_default();
                let end = *offset as usize + bytes.len();
                file.resize(file.len().max(end), 0);
                file[*offset as usize..end].copy_from_slice(bytes);
            }
            Change::SetLength(path, length) => {
                self.files
                    .entry(path.clone())
                    .or_default()
                    .resize(*length as usize, 0);
            }
            Change::Rename(from, to) => {
                let file = self.files.remove(from).unwrap_or_default();
                self.files.insert(to.clone(), file);
            }
            Change::Remove(path) => {
                self.files.remove(path);
            }
            Change::Sync(_) => {}
        }
    }

    fn change(&mut self, change: Change) {
        self.apply(&change);
        self.changes.push(change);
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.len() as u64).sum()
    }

    fn check_space(&self, more: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used() + more > capacity => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}

fn matches(patterns: &BTreeSet<String>, path: &Path) -> bool {
    let path = path.display().to_string();
    patterns.iter().any(|pattern| path.contains(pattern))
}

impl MemoryDisk {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory after the given changes.
    pub(crate) fn after<'a>(changes: impl IntoIterator<Item = &'a Change>) -> MemoryDisk {
        let disk = MemoryDisk::default();
        for change in changes {
            disk.lock().apply(change);
        }
        disk
    }

    pub(crate) fn changes(&self) -> Vec<Change> {
        self.lock().changes.clone()
    }

    /// A copy as another host would find it after this one is gone.
    pub(crate) fn copy(&self) -> MemoryDisk {
        let copy = MemoryDisk::default();
        copy.lock().files = self.lock().files.clone();
        copy
    }

    pub(crate) fn paths(&self, directory: &str) -> Vec<PathBuf> {
        let inner = self.lock();
        inner
            .files
            .keys()
            .filter(|path| path.starts_with(directory))
            .cloned()
            .collect()
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.lock().files[path].clone()
    }

    pub(crate) fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        self.lock().files.insert(path.to_owned(), bytes);
    }

    pub(crate) fn flip(&self, path: &Path, at: usize) {
        self.lock().files.get_mut(path).expect("the file")[at] ^= 0x20;
    }

    pub(crate) fn delete(&self, path: &Path) {
        self.lock().files.remove(path);
    }

    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    pub(crate) fn tell_free(&self, bytes: Option<u64>) {
        self.lock().told_free = bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.lock().used()
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Syncs of files whose path contains `pattern` fail from now on.
    pub(crate) fn fail_syncs(&self, pattern: &str) {
        self.lock().failing_syncs.insert(pattern.to_owned());
    }

    pub(crate) fn fail_writes(&self, pattern: &str) {
        self.lock().failing_writes.insert(pattern.to_owned());
    }

    pub(crate) fn panic_writes(&self, pattern: &str) {
        self.lock().panicking_writes.insert(pattern.to_owned());
    }

    pub(crate) fn heal(&self) {
        let mut inner = self.lock();
        inner.failing_syncs.clear();
        inner.failing_writes.clear();
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        let exists = inner.files.contains_key(path);
        match how {
            Open::Read | Open::Write if !exists => return Err(not_found(path)),
            Open::CreateNew if exists => {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            Open::CreateNew | Open::ReadWrite if !exists => {
                inner.check_space(1)?;
                inner.change(Change::Create(path.to_owned()));
            }
            _ => {}
        }
        let holds_lock = AtomicBool::new(false);
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            path: path.to_owned(),
            holds_lock,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inner = self.lock();
        let inside = inner
            .files
            .keys()
            .filter(|path| path.parent() == Some(directory));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.files.contains_key(from) {
            return Err(not_found(from));
        }
        inner.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        if !inner.files.contains_key(path) {
            return Err(not_found(path));
        }
        inner.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.lock();
        let free = inner
            .capacity
            .map_or(1 << 40, |capacity| capacity.saturating_sub(inner.used()));
        Ok(inner.told_free.unwrap_or(free))
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.lock();
        let file = inner.files.get(&self.path).ok_or_else(eio)?;
        let rest = file.get(offset as usize..).unwrap_or(&[]);
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        Ok(bytes)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let must_panic = matches(&inner.panicking_writes, &self.path);
        if must_panic {
            drop(inner);
            panic!("a bug in the disk");
        }
        if matches(&inner.failing_writes, &self.path) || !inner.files.contains_key(&self.path) {
            return Err(eio());
        }
        let length = inner.files[&self.path].len() as u64;
        inner.check_space((offset + bytes.len() as u64).saturating_sub(length))?;
        let (path, bytes) = (self.path.clone(), bytes.to_vec());
        inner.change(Change::Write {
            path,
            offset,
            bytes,
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.disk.lock();
        inner.syncs += 1;
        if matches(&inner.failing_syncs, &self.path) {
            return Err(eio());
        }
        inner.changes.push(Change::Sync(self.path.clone()));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self
            .disk
            .lock()
            .files
            .get(&self.path)
            .ok_or_else(eio)?
            .len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        let length = inner.files.get(&self.path).ok_or_else(eio)?.len() as u64;
        inner.check_space(bytes.saturating_sub(length))?;
        inner.change(Change::SetLength(self.path.clone(), bytes));
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        let is_free = self.disk.lock().locked.insert(self.path.clone());
        self.holds_lock.store(is_free, Ordering::Relaxed);
        Ok(is_free)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.holds_lock.load(Ordering::Relaxed) {
            self.disk.lock().locked.remove(&self.path);
        }
    }
}

/// Small segments and no checkpoints unless a test asks for them.
pub(crate) const OPTIONS: JournalOptions = JournalOptions {
    segment_bytes: 4096,
    checkpoint_bytes: u64::MAX,
    preallocate: false,
};

/// A tenure on a disk.
pub(crate) struct Tenure {
    pub(crate) store: Arc<Store>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) failures: Arc<Mutex<Vec<Failure>>>,
}

pub(crate) const FOREVER: Duration = Duration::from_secs(1 << 30);

/// Follows the journal to its end and begins `epoch` with an open gate.
pub(crate) fn begin(disk: &(impl Disk + Clone), epoch: u64, options: JournalOptions) -> Tenure {
    begin_with(Arc::new(disk.clone()), epoch, options)
}

pub(crate) fn begin_with(disk: Arc<dyn Disk>, epoch: u64, options: JournalOptions) -> Tenure {
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    keep_open(&gate);
    begin_gated(disk, gate, epoch, options)
}

/// Renews again and again: a segment's records are released after a renewal that started later
/// than the segment was locked.
pub(crate) fn keep_open(gate: &Arc<Gate>) {
    let clock = RealClock::new();
    gate.renewed(clock.now(), FOREVER);
    let gate = Arc::downgrade(gate);
    std::thread::spawn(move || {
        while let Some(gate) = gate.upgrade() {
            gate.renewed(clock.now(), FOREVER);
            drop(gate);
            std::thread::sleep(Duration::from_micros(500));
        }
    });
}

pub(crate) fn begin_gated(
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
    epoch: u64,
    options: JournalOptions,
) -> Tenure {
    let clock = Arc::new(RealClock::new());
    let follower = Follower::open(Arc::clone(&disk)).expect("a readable journal");
    let point = follower.finish(Epoch(epoch)).expect("a readable journal");
    let failures = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failures);
    let on_failed = Box::new(move |failure| told.lock().unwrap().push(failure));
    let callbacks = Callbacks {
        on_failed,
        on_prepared: Box::new(|| {}),
    };
    let store = Journal::begin(
        disk,
        clock,
        Arc::clone(&gate),
        Epoch(epoch),
        point,
        options,
        callbacks,
    )
    .expect("a usable directory");
    Tenure {
        store,
        gate,
        failures,
    }
}

/// Waits for a condition, with a bound.
pub(crate) fn wait_for(what: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_met() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Tenure {
    pub(crate) fn wait_released(&self, lsn: Lsn) {
        wait_for(&format!("LSN {lsn}"), || self.store.released() >= lsn);
    }

    pub(crate) fn settle(&self) {
        self.wait_released(self.store.appended());
    }

    pub(crate) fn backlog(&self, name: &str) -> Arc<Backlog> {
        let descriptor = bytes::Bytes::copy_from_slice(name.as_bytes());
        self.store.create_backlog(descriptor).expect("appended").0
    }

    pub(crate) fn send(&self, backlog: &Arc<Backlog>, body: &[u8]) -> Position {
        self.try_send(backlog, body).expect("appended")
    }

    pub(crate) fn try_send(
        &self,
        backlog: &Arc<Backlog>,
        body: &[u8],
    ) -> Result<Position, AppendError> {
        let enqueued = self
            .store
            .enqueue(std::slice::from_ref(backlog), message(body))?;
        let Enqueued::Appended { positions, .. } = enqueued else {
            panic!("not a duplicate")
        };
        Ok(positions[0])
    }
}

/// A single target.
pub(crate) fn one(backlog: &Arc<Backlog>) -> &[Arc<Backlog>] {
    std::slice::from_ref(backlog)
}

pub(crate) fn message(body: &[u8]) -> NewMessage<'_> {
    NewMessage {
        producer: None,
        order: 4,
        expiration_ms: 0,
        body,
    }
}

pub(crate) fn from_producer<'a>(
    producer: &'a [u8],
    sequence: u64,
    body: &'a [u8],
) -> NewMessage<'a> {
    let suppress_duplicate = true;
    let producer = Some(ProducerSequence {
        producer,
        sequence,
        suppress_duplicate,
    });
    NewMessage {
        producer,
        ..message(body)
    }
}

/// Everything that can be seen of a backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) id: u32,
    pub(crate) descriptor: Vec<u8>,
    pub(crate) entries: Vec<(Position, Entry)>,
    pub(crate) reserved_below: u64,
    pub(crate) redelivered_below: u64,
}

pub(crate) fn entries(backlog: &Backlog) -> Vec<(Position, Entry)> {
    let mut entries = Vec::new();
    backlog.scan(Position(0), &mut |position, entry| {
        entries.push((position, *entry));
        ControlFlow::Continue(())
    });
    entries
}

pub(crate) fn view(backlogs: &[Arc<Backlog>]) -> Vec<View> {
    let view = |backlog: &Arc<Backlog>| View {
        id: backlog.id().0,
        descriptor: backlog.descriptor().to_vec(),
        entries: entries(backlog),
        reserved_below: backlog.reserved_below().0,
        redelivered_below: backlog.redelivered_below(),
    };
    backlogs.iter().map(view).collect()
}

/// The state that a reader of the directory comes to.
pub(crate) fn recover(disk: &MemoryDisk) -> Result<Arc<State>, storage::error::FollowError> {
    let follower = Follower::open(Arc::new(disk.clone()))?;
    Ok(follower.finish(Epoch(u64::MAX))?.state)
}

/// Follows until all there is has been applied. A segment may go while it is being read.
pub(crate) fn follow(follower: &mut Follower) {
    loop {
        match follower.poll() {
            Ok(progress) if progress.is_at_end => return,
            Ok(_) => {}
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// The bodies of a backlog in dispatch order, read back.
pub(crate) fn bodies(store: &Store, backlog: &Backlog) -> Vec<Vec<u8>> {
    let read = |entry: &Entry| store.read(entry.location).expect("readable").to_vec();
    entries(backlog)
        .iter()
        .map(|(_, entry)| read(entry))
        .collect()
}
