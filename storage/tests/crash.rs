//! A crash at every point of the sequence of writes: what was released is there, what is there is
//! whole, and the next tenure can begin.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;

use storage::journal::JournalOptions;
use storage::tail::Follower;
use storage::{Epoch, Lsn};

use support::*;

/// A history with rolls, checkpoints and removed segments, over two tenures.
fn history() -> FaultyDisk {
    let disk = FaultyDisk::default();
    let options = JournalOptions {
        checkpoint_bytes: 6000,
        ..OPTIONS
    };
    for epoch in 1..=2 {
        let tenure = begin(&disk, epoch, options);
        let queue = match tenure.store.backlogs().first() {
            Some(queue) => queue.clone(),
            None => tenure.backlog("queue"),
        };
        for number in 0..12_u8 {
            let positions: Vec<_> = (0..4)
                .map(|_| tenure.send(&queue, &[number; 150]))
                .collect();
            tenure.store.acknowledge(&queue, &positions[1..]).unwrap();
            tenure.settle();
        }
        tenure.store.shut_down();
    }
    disk
}

/// The LSNs that were synced by the given number of changes.
fn synced(changes: &[Change]) -> Lsn {
    let before = FaultyDisk::after(changes);
    let last_sync = changes
        .iter()
        .rposition(|change| matches!(change, Change::Sync(path) if path.starts_with("journal")));
    match last_sync {
        None => Lsn(0),
        Some(at) => {
            let disk = FaultyDisk::after(&changes[..=at]);
            // Names that went since then do not come back.
            for path in disk.paths("journal") {
                if !before.paths("journal").contains(&path) {
                    return Lsn(0);
                }
            }
            Follower::open(Arc::new(disk))
                .unwrap()
                .finish(Epoch(99))
                .unwrap()
                .sealed_lsn
        }
    }
}

#[test]
fn every_prefix_of_the_writes_recovers_to_what_was_synced_or_more() {
    let changes = history().changes();
    let mut highest = Lsn(0);
    for count in 0..=changes.len() {
        let disk = FaultyDisk::after(&changes[..count]);
        let point = Follower::open(Arc::new(disk)).unwrap().finish(Epoch(99));
        let point = point.unwrap_or_else(|error| panic!("after {count} changes: {error}"));
        assert!(
            point.sealed_lsn >= highest,
            "after {count} changes: {}",
            point.sealed_lsn
        );
        highest = highest.max(synced(&changes[..count]));
        assert!(
            point.sealed_lsn >= highest,
            "after {count} changes: {}",
            point.sealed_lsn
        );
    }
    assert!(highest > Lsn(100), "the history is long enough");
}

#[test]
fn a_write_torn_anywhere_leaves_what_was_synced() {
    let changes = history().changes();
    for (count, change) in changes.iter().enumerate() {
        let Change::Write {
            path,
            offset,
            bytes,
        } = change
        else {
            continue;
        };
        let before = FaultyDisk::after(&changes[..count]);
        let lsn = |disk: FaultyDisk| {
            let follower = Follower::open(Arc::new(disk)).unwrap();
            follower.finish(Epoch(99)).map(|point| point.sealed_lsn)
        };
        let least = lsn(before).unwrap();
        for cut in [1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let torn = Change::Write {
                path: path.clone(),
                offset: *offset,
                bytes: bytes[..cut].to_vec(),
            };
            let head = FaultyDisk::after(changes[..count].iter().chain([&torn]));
            assert!(
                lsn(head).unwrap() >= least,
                "change {count}, the first {cut} bytes"
            );
            // The pages of one write reach the disk in any order.
            let torn = Change::Write {
                path: path.clone(),
                offset: *offset + cut as u64,
                bytes: bytes[cut..].to_vec(),
            };
            let tail = FaultyDisk::after(changes[..count].iter().chain([&torn]));
            assert!(
                lsn(tail).unwrap() >= least,
                "change {count}, all but {cut} bytes"
            );
        }
    }
}

#[test]
fn a_tenure_can_begin_after_every_crash_and_its_records_count() {
    let changes = history().changes();
    for count in (0..=changes.len()).step_by(7) {
        let disk = FaultyDisk::after(&changes[..count]);
        let tenure = begin(&disk, 99, OPTIONS);
        let queue = tenure.backlog("after the crash");
        tenure.send(&queue, b"counts");
        tenure.settle();
        let expected = view(&tenure.store.backlogs());
        tenure.store.abandon();
        let state = recover(&disk.copy()).unwrap_or_else(|error| panic!("{count}: {error}"));
        assert_eq!(view(&state.backlogs()), expected, "after {count} changes");
    }
}

#[test]
fn a_batch_that_was_seen_and_then_lost_is_not_taken_over() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"durable");
    tenure.settle();
    let durable = disk.copy();
    tenure.send(&queue, b"lost with the server's cache");
    tenure.settle();
    tenure.store.abandon();
    let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
    follow(&mut follower);
    assert_eq!(follower.state().backlogs()[0].len(), 2);
    for path in durable.paths("journal") {
        disk.set_bytes(&path, durable.bytes(&path));
    }
    let point = follower.finish(Epoch(2)).unwrap();
    assert_eq!(point.state.backlogs()[0].len(), 1);
}

#[test]
fn the_last_batch_read_is_made_durable_before_it_is_sealed_in() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"seen");
    tenure.settle();
    tenure.store.abandon();
    let copy = disk.copy();
    let before = copy.changes().len();
    let next = begin(&copy, 2, OPTIONS);
    next.store.abandon();
    let changes = copy.changes();
    let rewrite = &changes[before..before + 2];
    let Change::Write {
        path,
        bytes,
        offset,
    } = &rewrite[0]
    else {
        panic!("{rewrite:?}")
    };
    assert!(matches!(&rewrite[1], Change::Sync(synced) if synced == path));
    let file = disk.bytes(path);
    assert_eq!(
        file[*offset as usize..][..bytes.len()],
        bytes[..],
        "the same bytes"
    );
    assert!(bytes.windows(4).any(|window| window == b"seen"));
}
