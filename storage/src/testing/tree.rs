//! Files and names: as everybody sees them, and as they would survive a power failure.
//!
//! POSIX promises little, and this takes it at its word. Of what was not synced any sector may survive
//! in any of the versions it had, and any file in any length it had; of names changed since their
//! directory's last sync any subset may survive (a rename as a whole).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sim::Random;

/// What a disk writes in one piece, and what it allocates.
pub(super) const SECTOR: usize = 512;

/// One change of the shared directory, in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file was created.
    Create(PathBuf),
    /// A directory was created.
    CreateDirectory(PathBuf),
    /// A file was written to.
    Write {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// A file's length was set.
    SetLength(PathBuf, u64),
    /// A file was renamed.
    Rename(PathBuf, PathBuf),
    /// A file was removed.
    Remove(PathBuf),
    /// A file's content is durable.
    Sync(PathBuf),
    /// The last write to a file, which was of this range, is durable; others need not be.
    SyncPart(PathBuf, u64, usize),
    /// A sync failed: what was dirty is lost, and nobody will say so again.
    FailedSync(PathBuf),
    /// A directory's names are durable.
    SyncDirectory(PathBuf),
}

pub(super) type FileId = usize;

#[derive(Clone, Debug)]
enum Dirty {
    Write(usize, Arc<[u8]>),
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What a reader sees.
    pub(super) seen: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Since the last sync, in order.
    dirty: Vec<Dirty>,
    /// Dirty data was lost by a failed sync: what is seen is not what is on the disk.
    has_lost: bool,
    /// Sectors that have a place on the disk.
    allocated: BTreeSet<usize>,
    /// Its present name.
    pub(super) path: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    File(FileId),
    Directory,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, FileId),
}

/// The directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    files: Vec<Inode>,
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    /// Not yet durable, with the directory whose sync makes it so.
    name_changes: Vec<(PathBuf, NameChange)>,
}

pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Tree {
    pub(super) fn find(&self, path: &Path) -> Option<FileId> {
        match self.names.get(path) {
            Some(Entry::File(file)) => Some(*file),
            _ => None,
        }
    }

    pub(super) fn has_directory(&self, path: &Path) -> bool {
        path == Path::new(".") || self.names.get(path) == Some(&Entry::Directory)
    }

    pub(super) fn file(&self, file: FileId) -> &Inode {
        &self.files[file]
    }

    pub(super) fn list(&self, directory: &Path) -> Vec<String> {
        let inside = self.names.keys().filter(|path| parent(path) == directory);
        inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect()
    }

    pub(super) fn paths(&self, directory: &str) -> Vec<PathBuf> {
        let files = self.names.iter();
        let files = files
            .filter(|(path, entry)| matches!(entry, Entry::File(_)) && path.starts_with(directory));
        files.map(|(path, _)| path.clone()).collect()
    }

    /// Files and directories that have a name.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// Bytes that have a place on the disk.
    pub(super) fn used(&self) -> u64 {
        let named = self.names.values().filter_map(|entry| match entry {
            Entry::File(file) => Some(self.files[*file].allocated.len()),
            Entry::Directory => None,
        });
        (named.sum::<usize>() * SECTOR) as u64
    }

    /// Bytes that a write would need beyond what the file has: a hole has none.
    pub(super) fn needs(&self, file: FileId, offset: u64, bytes: usize) -> u64 {
        let allocated = &self.files[file].allocated;
        let missing = sectors(offset as usize, bytes).filter(|sector| !allocated.contains(sector));
        (missing.count() * SECTOR) as u64
    }

    /// A new history of a file, outside of all recording: what a test puts there.
    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>) {
        let file = match self.find(path) {
            Some(file) => file,
            None => {
                self.apply(&Change::Create(path.to_owned()));
                self.files.len() - 1
            }
        };
        let inode = &mut self.files[file];
        inode.allocated = sectors(0, bytes.len()).collect();
        inode.seen = Arc::new(bytes);
        inode.durable = Arc::clone(&inode.seen);
        inode.dirty.clear();
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Create(path) => {
                self.files.push(Inode {
                    path: Some(path.clone()),
                    ..Inode::default()
                });
                let entry = Entry::File(self.files.len() - 1);
                self.change_name(parent(path), NameChange::Set(path.clone(), entry));
            }
            Change::CreateDirectory(path) => {
                let change = NameChange::Set(path.clone(), Entry::Directory);
                self.change_name(parent(path), change);
            }
            Change::Write {
                path,
                offset,
                bytes,
            } => {
                if let Some(file) = self.find(path) {
                    self.write(file, *offset as usize, bytes);
                }
            }
            Change::SetLength(path, length) => {
                if let Some(file) = self.find(path) {
                    self.set_length(file, *length as usize);
                }
            }
            Change::Rename(from, to) => {
                if let Some(file) = self.find(from) {
                    let change = NameChange::Rename(from.clone(), to.clone(), file);
                    self.change_name(parent(to), change);
                    self.files[file].path = Some(to.clone());
                }
            }
            Change::Remove(path) => {
                if let Some(file) = self.find(path) {
                    self.change_name(parent(path), NameChange::Remove(path.clone()));
                    self.files[file].path = None;
                }
            }
            Change::Sync(path) => {
                if let Some(file) = self.find(path) {
                    self.files[file].sync();
                }
            }
            Change::SyncPart(path, offset, length) => {
                if let Some(file) = self.find(path) {
                    self.files[file].sync_part(*offset as usize, *length);
                }
            }
            Change::FailedSync(path) => {
                if let Some(file) = self.find(path) {
                    let inode = &mut self.files[file];
                    inode.has_lost |= !inode.dirty.is_empty();
                    inode.dirty.clear();
                }
            }
            Change::SyncDirectory(directory) => {
                for (of, change) in std::mem::take(&mut self.name_changes) {
                    if of == *directory {
                        rename_in(&mut self.durable_names, &change);
                    } else {
                        self.name_changes.push((of, change));
                    }
                }
            }
        }
    }

    pub(super) fn write(&mut self, file: FileId, offset: usize, bytes: &[u8]) {
        let inode = &mut self.files[file];
        put_bytes(Arc::make_mut(&mut inode.seen), offset, bytes);
        inode.allocated.extend(sectors(offset, bytes.len()));
        inode.dirty.push(Dirty::Write(offset, bytes.into()));
    }

    pub(super) fn set_length(&mut self, file: FileId, length: usize) {
        let inode = &mut self.files[file];
        Arc::make_mut(&mut inode.seen).resize(length, 0);
        inode.allocated.retain(|sector| sector * SECTOR < length);
        inode.dirty.push(Dirty::Length(length));
    }

    fn change_name(&mut self, directory: PathBuf, change: NameChange) {
        rename_in(&mut self.names, &change);
        self.name_changes.push((directory, change));
    }

    /// What was lost by failed syncs is no longer seen either: its pages left the cache.
    pub(super) fn evict(&mut self) {
        for inode in &mut self.files {
            if std::mem::take(&mut inode.has_lost) && inode.dirty.is_empty() {
                inode.seen = Arc::clone(&inode.durable);
            }
        }
    }

    /// What a power failure leaves.
    pub(super) fn crashed(&self, random: &mut Random) -> Tree {
        self.survivors(Habit::pick(random), random, Habit::pick)
    }

    /// The least that a power failure leaves.
    pub(super) fn synced(&self) -> Tree {
        self.survivors(Habit::Nothing, &mut Random::new(0), |_| Habit::Nothing)
    }

    fn survivors(
        &self,
        habit: Habit,
        random: &mut Random,
        pick: impl Fn(&mut Random) -> Habit,
    ) -> Tree {
        let mut names = self.durable_names.clone();
        let bound = random.below(self.name_changes.len() as u64 + 1) as usize;
        for (index, (_, change)) in self.name_changes.iter().enumerate() {
            if habit.keeps(index < bound, random) {
                rename_in(&mut names, change);
            }
        }
        // What is in a directory that is gone is gone.
        let whole = names.clone();
        names.retain(|path, _| {
            let directory = parent(path);
            directory == Path::new(".") || whole.get(&directory) == Some(&Entry::Directory)
        });
        let mut files = vec![Inode::default(); self.files.len()];
        for (path, entry) in &names {
            if let Entry::File(file) = entry {
                files[*file] = self.files[*file].crashed(path, pick(random), random);
            }
        }
        Tree {
            files,
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
        }
    }
}

impl Inode {
    fn sync(&mut self) {
        if !self.has_lost {
            self.durable = Arc::clone(&self.seen);
            self.dirty.clear();
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for change in self.dirty.drain(..) {
            change.apply(durable);
        }
    }

    /// Sectors go out whole, with what else was written to them, and nothing else does.
    fn sync_part(&mut self, offset: usize, length: usize) {
        let touched = sectors(offset, length);
        let (start, end) = (touched.start * SECTOR, touched.end * SECTOR);
        let durable = Arc::make_mut(&mut self.durable);
        let mut rest = Vec::new();
        for change in self.dirty.drain(..) {
            let Dirty::Write(at, bytes) = change else {
                rest.push(change);
                continue;
            };
            let part = |from: usize, to: usize| {
                let (from, to) = (from.max(at), to.min(at + bytes.len()));
                (from < to).then(|| (from, &bytes[from - at..to - at]))
            };
            if let Some((at, bytes)) = part(start, end) {
                put_bytes(durable, at, bytes);
            }
            let left = [part(0, start), part(end, usize::MAX)];
            let left = left.into_iter().flatten();
            rest.extend(left.map(|(at, bytes)| Dirty::Write(at, bytes.into())));
        }
        self.dirty = rest;
    }

    fn crashed(&self, path: &Path, habit: Habit, random: &mut Random) -> Inode {
        let seen = if self.dirty.is_empty() {
            Arc::clone(&self.durable)
        } else {
            Arc::new(self.survivors(habit, random))
        };
        Inode {
            allocated: sectors(0, seen.len()).collect(),
            durable: Arc::clone(&seen),
            seen,
            dirty: Vec::new(),
            has_lost: false,
            path: Some(path.to_owned()),
        }
    }

    fn survivors(&self, habit: Habit, random: &mut Random) -> Vec<u8> {
        let bound = random.below(self.dirty.len() as u64 + 1) as usize;
        // A sector goes out with all that was written to it by then.
        let mut cached = (*self.durable).clone();
        let mut kept = cached.clone();
        let mut length = kept.len();
        for (index, change) in self.dirty.iter().enumerate() {
            change.apply(&mut cached);
            if habit.keeps(index < bound, random) {
                length = cached.len();
            }
            let Dirty::Write(offset, bytes) = change else {
                continue;
            };
            for sector in sectors(*offset, bytes.len()) {
                if habit.keeps(index < bound, random) {
                    let start = sector * SECTOR;
                    let end = (start + SECTOR).min(cached.len());
                    put_bytes(&mut kept, start, &cached[start..end]);
                }
            }
        }
        kept.resize(length, 0);
        kept
    }
}

impl Dirty {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Dirty::Write(offset, written) => put_bytes(bytes, *offset, written),
            Dirty::Length(length) => bytes.resize(*length, 0),
        }
    }
}

/// How a crash treats what was under way: the extremes are worth more cases than chance gives them.
#[derive(Clone, Copy)]
enum Habit {
    Nothing,
    Everything,
    Prefix,
    Some,
}

impl Habit {
    fn pick(random: &mut Random) -> Habit {
        match random.below(6) {
            0 => Habit::Nothing,
            1 => Habit::Everything,
            2 => Habit::Prefix,
            _ => Habit::Some,
        }
    }

    fn keeps(self, is_in_prefix: bool, random: &mut Random) -> bool {
        match self {
            Habit::Nothing => false,
            Habit::Everything => true,
            Habit::Prefix => is_in_prefix,
            Habit::Some => random.chance(500),
        }
    }
}

fn rename_in(names: &mut BTreeMap<PathBuf, Entry>, change: &NameChange) {
    match change {
        NameChange::Set(path, entry) => {
            names.insert(path.clone(), *entry);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to, file) => {
            names.remove(from);
            names.insert(to.clone(), Entry::File(*file));
        }
    }
}

fn put_bytes(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[offset..end].copy_from_slice(bytes);
}

/// The sectors that a range touches.
fn sectors(offset: usize, bytes: usize) -> std::ops::Range<usize> {
    if bytes == 0 {
        return 0..0;
    }
    offset / SECTOR..(offset + bytes).div_ceil(SECTOR)
}
