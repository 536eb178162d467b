//! A journal with everything in it, and what must be in it by an in-memory model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use storage::clock::RealClock;
use storage::disk::Disk;
use storage::inspect::{Names, Report, Salvaged, salvage};
use storage::journal::JournalOptions;
use storage::{Backlog, BacklogId, Decision, Entry, Location, Position, Store};

use super::support::*;

/// Test names: the descriptor is the name.
pub(crate) struct Plain;

impl Names for Plain {
    fn name(&self, _: BacklogId, descriptor: &[u8]) -> String {
        String::from_utf8_lossy(descriptor).into_owned()
    }

    fn recovered_backlog(&self, id: BacklogId) -> Bytes {
        format!("recovered {}", id.0).into()
    }

    fn recovered_transaction(&self, key: &[u8], number: u64) -> Bytes {
        format!("{}#{number}", String::from_utf8_lossy(key)).into()
    }
}

pub(crate) fn check(disk: &dyn Disk) -> Report {
    storage::inspect::check(disk, &RealClock::new(), &Plain, &mut |_| {})
}

pub(crate) fn save(disk: &FaultyDisk) -> (FaultyDisk, Salvaged) {
    let out = FaultyDisk::default();
    let saved = salvage(disk, &out, &RealClock::new(), &Plain, &mut |_| {});
    (out, saved.expect("saved"))
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
};

impl World {
    /// Three tenures; with or without checkpoints.
    pub(crate) fn new(options: JournalOptions) -> World {
        let disk = FaultyDisk::default();
        let (mut sent, mut number) = (BTreeMap::new(), 0);
        for epoch in 1..=3 {
            let tenure = begin(&disk, epoch, options);
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
            tenure.settle();
            tenure.store.abandon();
            let all = tenure.store.clone();
            drop(tenure);
            wait_for("the threads' end", || Arc::strong_count(&all) == 1);
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
        let bytes = &self.files[path];
        let (mut at, mut batches) = (64, Vec::new());
        while bytes.get(at..at + 4) == Some(b"BtB1") {
            let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap());
            batches.push((at, at + length as usize));
            at += length as usize;
        }
        batches
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

/// The bodies here begin with a word and are the record's end.
fn record_body(files: &BTreeMap<PathBuf, Vec<u8>>, entry: &Entry) -> Vec<u8> {
    let bytes = &files[&path_in(files, entry.location)];
    let start = entry.location.offset as usize;
    let record = &bytes[start..start + entry.location.length as usize];
    let at = record.windows(8).position(|window| window == b"message ");
    record[at.expect("a body")..].to_vec()
}

/// What a broker that starts on a directory finds: for each backlog its bodies in dispatch order.
pub(crate) struct Started {
    pub(crate) by_backlog: BTreeMap<u32, (String, Vec<(Position, Vec<u8>)>)>,
    pub(crate) redelivered_below: BTreeMap<u32, u64>,
    pub(crate) prepared: usize,
    pub(crate) sequence: Option<u64>,
}

pub(crate) fn start(disk: &FaultyDisk) -> Started {
    let tenure = begin(disk, 1000, OPTIONS);
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
