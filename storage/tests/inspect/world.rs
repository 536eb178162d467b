//! A journal with everything in it, and what must be in it by an in-memory model.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::disk::{Disk, DiskFile, Open};
use storage::inspect::{Report, Salvaged};
use storage::journal::{JournalOptions, SyncMethod};
use storage::{Backlog, BacklogId, Decision, Entry, Location, Position, Store};

use super::support::*;

pub(crate) fn check(disk: &dyn Disk) -> Report {
    inspected::check(disk, &keys())
}

pub(crate) fn save(disk: &FaultyDisk) -> (FaultyDisk, Salvaged) {
    let out = FaultyDisk::default();
    let saved = inspected::salvage(disk, &out, &keys());
    (out, saved.expect("saved"))
}

const SEGMENT_HEADER_BYTES: usize = 64;
const BATCH_HEADER_BYTES: usize = 40;
/// Where a record has its kind, and the kind of a moved message.
const KIND_OFFSET: usize = 16;
pub(crate) const MOVE: u8 = 15;

/// What the keeper of a world leaves behind. What it does by itself comes when it comes, and a test of
/// damage must know what is needed of what it hurts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It sees no segments: nothing is moved or removed, and only full intervals make checkpoints.
    Everything,
    /// It moves messages, and the segments they came from stay: the host crashed before their
    /// removal was durable.
    OldSegments,
    /// It does what it does in a broker.
    WhatIsNeeded,
}

/// A disk with such a keeper.
struct KeptDisk {
    disk: FaultyDisk,
    keeping: Keeping,
}

impl KeptDisk {
    fn is_for(&self, keeping: Keeping, path: &Path) -> bool {
        let is_keeper = std::thread::current().name() == Some("baton-journal keeper");
        self.keeping == keeping && is_keeper && path.starts_with("journal")
    }
}

impl Disk for KeptDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path, how)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        if self.is_for(Keeping::Everything, directory) {
            return Ok(Vec::new());
        }
        self.disk.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if self.is_for(Keeping::OldSegments, path) {
            return Ok(());
        }
        self.disk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_directory(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

/// A tenure with such a keeper.
pub(crate) fn begin_keeping(
    disk: &FaultyDisk,
    epoch: u64,
    options: JournalOptions,
    keeping: Keeping,
) -> Tenure {
    let disk = disk.clone();
    begin_with(Arc::new(KeptDisk { disk, keeping }), epoch, options)
}

/// Ends a tenure without a word, and waits until it writes nothing any more.
pub(crate) fn abandon(tenure: Tenure) {
    tenure.settle();
    tenure.store.abandon();
    let all = tenure.store.clone();
    drop(tenure);
    wait_for("the threads' end", || Arc::strong_count(&all) == 1);
}

/// What one message is.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) backlog: BacklogId,
    pub(crate) transaction: bool,
}

/// A journal and what is in it.
pub(crate) struct World {
    pub(crate) disk: FaultyDisk,
    /// By body, which is unique.
    pub(crate) sent: BTreeMap<Vec<u8>, Sent>,
    /// What is pending, with the place of its record.
    pub(crate) pending: BTreeMap<Vec<u8>, (BacklogId, Position, Location)>,
    /// What was moved, pending or not.
    pub(crate) moved: BTreeSet<Vec<u8>>,
    pub(crate) prepared: usize,
    /// The files without damage.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

struct Writer<'a> {
    tenure: &'a Tenure,
    sent: &'a mut BTreeMap<Vec<u8>, Sent>,
    number: &'a mut u32,
}

impl Writer<'_> {
    fn body(&mut self, backlog: &Backlog, transaction: bool) -> Vec<u8> {
        *self.number += 1;
        let length = 40 + (*self.number as usize * 37) % 200;
        let mut body = format!("message {:05} ", self.number).into_bytes();
        body.resize(length, b'.');
        let sent = Sent {
            backlog: backlog.id(),
            transaction,
        };
        self.sent.insert(body.clone(), sent);
        body
    }

    fn send(&mut self, backlog: &Arc<Backlog>, order: u8) {
        let body = self.body(backlog, false);
        let message = storage::store::NewMessage {
            order,
            ..from_producer(b"producer", u64::from(*self.number), &body)
        };
        self.tenure.store.enqueue(one(backlog), message).unwrap();
    }

    fn transact(&mut self, key: &[u8], backlog: &Arc<Backlog>) {
        let body = self.body(backlog, true);
        self.tenure
            .store
            .enqueue_in_transaction(key, one(backlog), message(&body))
            .unwrap();
    }

    fn acknowledge(&self, backlog: &Backlog, skip: usize, count: usize) {
        let positions: Vec<Position> = entries(backlog)
            .iter()
            .skip(skip)
            .take(count)
            .map(|(position, _)| *position)
            .collect();
        self.tenure.store.acknowledge(backlog, &positions).unwrap();
    }

    /// Leaves every twelfth message, so that the others' segments are worth leaving.
    fn thin_out(&self, backlogs: &[Arc<Backlog>], keeping: Keeping) {
        let places = || -> BTreeMap<(BacklogId, Position), Location> {
            let all = backlogs.iter().flat_map(|backlog| {
                let id = backlog.id();
                let all = entries(backlog).into_iter();
                all.map(move |(position, entry)| ((id, position), entry.location))
            });
            all.collect()
        };
        let before = places();
        for backlog in backlogs {
            let all = entries(backlog).into_iter().enumerate();
            let gone = all.filter(|(index, _)| index % 12 != 11);
            let gone: Vec<Position> = gone.map(|(_, (position, _))| position).collect();
            self.tenure.store.acknowledge(backlog, &gone).unwrap();
        }
        self.tenure.settle();
        // Others may move, too, and be consumed or belong to nobody at the end.
        let has_moved = || places().iter().any(|(key, place)| before[key] != *place);
        wait_for("messages that move", || {
            let space = self.tenure.store.space();
            let is_removed = keeping == Keeping::OldSegments || space.removed_segments > 0;
            has_moved() && is_removed
        });
    }

    /// A round of everything.
    fn round(&mut self, backlogs: &[Arc<Backlog>], round: u32) {
        for (index, backlog) in backlogs.iter().enumerate() {
            for number in 0..3 {
                self.send(backlog, [4, 4, 7][number]);
            }
            if round.is_multiple_of(2) {
                self.tenure.settle();
            }
            self.acknowledge(backlog, index, 1 + index % 2);
        }
        let key = format!("commit {round}").into_bytes();
        self.transact(&key, &backlogs[0]);
        self.transact(&key, &backlogs[1]);
        let (position, _) = entries(&backlogs[1])[0];
        let acknowledged = [(Arc::clone(&backlogs[1]), vec![position])];
        self.tenure.store.commit(&key, &acknowledged).unwrap();
        let key = format!("open {round}").into_bytes();
        self.transact(&key, &backlogs[0]);
        if round.is_multiple_of(3) {
            self.tenure.store.roll_back(&key).unwrap();
        }
        let last = entries(&backlogs[0]).last().unwrap().0;
        let below = last.sequence() + 1;
        self.tenure
            .store
            .reserve_dispatch(&backlogs[0], below)
            .unwrap();
        self.tenure.settle();
    }
}

/// Small segments and a checkpoint every few KiB.
pub(crate) const SMALL: JournalOptions = JournalOptions {
    segment_bytes: 8 << 10,
    checkpoint_bytes: 14 << 10,
    preallocate: false,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: SyncMethod::Auto,
};

impl World {
    /// Three tenures; with or without checkpoints.
    pub(crate) fn new(options: JournalOptions) -> World {
        World::written(options, Keeping::Everything)
    }

    /// The same where all but a few messages were consumed and the others moved, in each tenure.
    pub(crate) fn moving(options: JournalOptions, keeping: Keeping) -> World {
        World::written(options, keeping)
    }

    fn written(options: JournalOptions, keeping: Keeping) -> World {
        let disk = FaultyDisk::default();
        let (mut sent, mut number) = (BTreeMap::new(), 0);
        for epoch in 1..=3 {
            let tenure = begin_keeping(&disk, epoch, options, keeping);
            if epoch == 1 {
                for name in ["orders", "bills", "letters"] {
                    tenure.backlog(name);
                }
                tenure.backlog("short-lived");
            }
            let mut backlogs = tenure.store.backlogs();
            backlogs.truncate(3);
            let mut writer = Writer {
                tenure: &tenure,
                sent: &mut sent,
                number: &mut number,
            };
            for round in 0..12 {
                writer.round(&backlogs, round);
            }
            if keeping != Keeping::Everything {
                writer.thin_out(&backlogs, keeping);
            }
            if epoch == 2 {
                writer.transact(b"prepared", &backlogs[2]);
                let (position, _) = entries(&backlogs[0])[0];
                let acknowledged = [(Arc::clone(&backlogs[0]), vec![position])];
                tenure.store.prepare(b"prepared", &acknowledged).unwrap();
                writer.transact(b"decided", &backlogs[2]);
                tenure.store.prepare(b"decided", &[]).unwrap();
                tenure
                    .store
                    .decide(b"decided", Decision::Commit, false)
                    .unwrap();
            }
            abandon(tenure);
        }
        World::of(disk.copy(), sent)
    }

    fn of(disk: FaultyDisk, sent: BTreeMap<Vec<u8>, Sent>) -> World {
        let mut files = BTreeMap::new();
        for directory in ["journal", "checkpoints"] {
            for path in disk.paths(directory) {
                files.insert(path.clone(), disk.bytes(&path));
            }
        }
        let state = recover(&disk).unwrap();
        let mut pending = BTreeMap::new();
        for backlog in state.backlogs() {
            for (position, entry) in entries(&backlog) {
                let body = record_body(&files, &entry);
                assert!(sent.contains_key(&body), "a body that was sent");
                pending.insert(body, (backlog.id(), position, entry.location));
            }
        }
        World {
            moved: moved_bodies(&files),
            prepared: state.prepared().len(),
            disk,
            sent,
            pending,
            files,
        }
    }

    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let is_segment = |path: &&PathBuf| path.starts_with("journal");
        self.files.keys().filter(is_segment).cloned().collect()
    }

    /// The bytes that are in use of a file.
    pub(crate) fn used(&self, path: &Path) -> usize {
        let used = self.files[path].iter().rposition(|byte| *byte != 0);
        used.map_or(0, |last| last + 1)
    }

    /// The batches of a segment: where each begins and ends.
    pub(crate) fn batches(&self, path: &Path) -> Vec<(usize, usize)> {
        batches(&self.files[path])
    }

    /// The kind of the record at a place.
    pub(crate) fn kind_at(&self, location: Location) -> u8 {
        self.files[&self.path_of(location)][location.offset as usize + KIND_OFFSET]
    }

    /// Whether there is a record that moved it.
    pub(crate) fn was_moved(&self, body: &[u8]) -> bool {
        self.moved.contains(body)
    }

    /// The places of a body's records in all segments: the old ones and, if it is pending, its own.
    pub(crate) fn copies_of(&self, body: &[u8]) -> Vec<(PathBuf, usize)> {
        let mut copies = Vec::new();
        for path in self.segments() {
            let windows = self.files[&path].windows(body.len()).enumerate();
            let found = windows.filter(|(_, window)| *window == body);
            copies.extend(found.map(|(at, _)| (path.clone(), at)));
        }
        copies
    }

    pub(crate) fn path_of(&self, location: Location) -> PathBuf {
        path_in(&self.files, location)
    }

    /// True when the batch of a record is on `disk` as it was written.
    pub(crate) fn is_intact(&self, disk: &FaultyDisk, location: Location) -> bool {
        let path = self.path_of(location);
        if !disk.paths("journal").contains(&path) {
            return false;
        }
        let batches = self.batches(&path);
        let at = location.offset as usize;
        let (start, end) = batches
            .into_iter()
            .find(|(start, end)| (*start..*end).contains(&at))
            .expect("in a batch");
        disk.bytes(&path).get(start..end) == Some(&self.files[&path][start..end])
    }
}

/// The bodies of all records that move a message.
fn moved_bodies(files: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let segments = files.iter().filter(|(path, _)| path.starts_with("journal"));
    let records = segments.flat_map(|(_, bytes)| records(bytes));
    let moves = records.filter(|record| record[KIND_OFFSET] == MOVE);
    moves.map(body_of).collect()
}

/// Where the batches of a segment begin and end.
fn batches(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut batches) = (SEGMENT_HEADER_BYTES, Vec::new());
    while bytes.get(at..at + 4) == Some(b"BtB1") {
        let end = at + length_at(bytes, at + 4);
        batches.push((at, end));
        at = end;
    }
    batches
}

/// The records of a segment.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    for (start, end) in batches(bytes) {
        let mut at = start + BATCH_HEADER_BYTES;
        while at < end {
            let next = at + length_at(bytes, at);
            records.push(&bytes[at..next]);
            at = next;
        }
    }
    records
}

fn length_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Bodies begin with a word and are the record's end.
fn body_of(record: &[u8]) -> Vec<u8> {
    let at = record.windows(8).position(|window| window == b"message ");
    record[at.expect("a body")..].to_vec()
}

/// An abandoned tenure may leave an empty segment of the same number.
fn path_in(files: &BTreeMap<PathBuf, Vec<u8>>, location: Location) -> PathBuf {
    let number = format!("journal/{:010}-", location.segment.0);
    let (start, length) = (location.offset as usize, location.length);
    let is_it = |path: &&PathBuf| {
        path.display().to_string().starts_with(&number)
            && files[*path].get(start..start + 4) == Some(&length.to_le_bytes())
    };
    files.keys().find(is_it).expect("its segment").clone()
}

fn record_body(files: &BTreeMap<PathBuf, Vec<u8>>, entry: &Entry) -> Vec<u8> {
    let bytes = &files[&path_in(files, entry.location)];
    let start = entry.location.offset as usize;
    body_of(&bytes[start..start + entry.location.length as usize])
}

/// A backlog's name and bodies.
pub(crate) type Waiting = (String, Vec<(Position, Vec<u8>)>);

/// What a broker that starts on a directory finds: for each backlog its bodies in dispatch order.
pub(crate) struct Started {
    pub(crate) by_backlog: BTreeMap<u32, Waiting>,
    pub(crate) redelivered_below: BTreeMap<u32, u64>,
    pub(crate) prepared: usize,
    pub(crate) sequence: Option<u64>,
}

pub(crate) fn start(disk: &FaultyDisk) -> Started {
    // Messages are read below by the places of now.
    let tenure = begin_keeping(disk, 1000, OPTIONS, Keeping::Everything);
    let store: &Store = &tenure.store;
    let mut started = Started {
        by_backlog: BTreeMap::new(),
        redelivered_below: BTreeMap::new(),
        prepared: store.prepared().len(),
        sequence: store.producer_sequence(b"producer"),
    };
    for backlog in store.backlogs() {
        let all = entries(&backlog).into_iter();
        let bodies = all.map(|(at, entry)| (at, store.read(entry.location).unwrap().to_vec()));
        let name = String::from_utf8_lossy(&backlog.descriptor()).into_owned();
        let id = backlog.id().0;
        started.by_backlog.insert(id, (name, bodies.collect()));
        started
            .redelivered_below
            .insert(id, backlog.redelivered_below());
    }
    // It works: a message goes in and out.
    let backlog = tenure.backlog("new");
    let position = tenure.send(&backlog, b"a message after all that");
    tenure.settle();
    tenure.store.acknowledge(&backlog, &[position]).unwrap();
    tenure.settle();
    tenure.store.shut_down();
    started
}

impl Started {
    pub(crate) fn bodies(&self) -> BTreeSet<&[u8]> {
        let all = self.by_backlog.values().flat_map(|(_, bodies)| bodies);
        all.map(|(_, body)| &body[..]).collect()
    }
}
