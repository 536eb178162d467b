//! Damage: every flipped byte is found or harmless, and damage in the middle is named.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::error::FollowError;
use storage::journal::JournalOptions;
use storage::tail::Follower;
use storage::{Epoch, Lsn, Position};

use support::*;

/// A journal of three segments and a few dozen records.
fn journal() -> FaultyDisk {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for number in 0..22_u8 {
        tenure.send(&queue, &[number; 180]);
        tenure.settle();
    }
    wait_for("the next segment", || disk.paths("journal").len() >= 3);
    tenure.store.abandon();
    FaultyDisk::after(&disk.changes())
}

fn finish(disk: &FaultyDisk) -> Result<Lsn, FollowError> {
    let point = Follower::open(Arc::new(disk.clone()))?.finish(Epoch(2))?;
    // Whatever is there must be what was written.
    for backlog in point.state.backlogs() {
        for (index, (position, _)) in entries(&backlog).iter().enumerate() {
            assert_eq!(*position, Position::new(4, index as u64 + 1));
        }
    }
    Ok(point.sealed_lsn)
}

#[test]
fn every_flipped_byte_ends_in_a_prefix_or_in_an_error_that_names_the_file() {
    let disk = journal();
    let end = finish(&disk).unwrap();
    let segments = disk.paths("journal");
    let last_used = &segments[segments.len() - 2];
    let mut damaged = 0;
    for path in &segments {
        // Behind the last batch the beginning will do.
        let used = disk
            .bytes(path)
            .iter()
            .rposition(|byte| *byte != 0)
            .unwrap_or(0);
        let bytes = (used + 200).min(disk.bytes(path).len());
        for at in 0..bytes {
            disk.flip(path, at);
            match finish(&disk) {
                Ok(lsn) => {
                    let is_tail = path >= last_used;
                    assert!(
                        lsn == end || is_tail,
                        "{} at {at}: LSN {lsn}",
                        path.display()
                    );
                    assert!(
                        lsn.0 + 1 >= end.0,
                        "only the last batch: {} at {at}",
                        path.display()
                    );
                }
                Err(FollowError::Damaged(damage)) => {
                    assert_eq!(Path::new(&damage.path), path, "at {at}");
                    assert!(damage.offset <= at as u64, "{damage} at {at}");
                    damaged += 1;
                }
                Err(error) => panic!("{} at {at}: {error}", path.display()),
            }
            disk.flip(path, at);
        }
    }
    assert!(
        damaged > 4500,
        "{damaged} of the flipped bytes lie in the middle"
    );
    assert_eq!(finish(&disk).unwrap(), end);
}

#[test]
fn damage_in_the_middle_is_named_with_file_and_offset() {
    let disk = journal();
    let path = PathBuf::from("journal/0000000001-0000000001.seg");
    disk.flip(&path, 500);
    let error = finish(&disk).unwrap_err().to_string();
    assert!(
        error.starts_with("`journal/0000000001-0000000001.seg` is damaged at byte "),
        "{error}"
    );
}

#[test]
fn zeros_in_the_middle_are_damage_and_not_the_journal_s_end() {
    let disk = journal();
    let path = PathBuf::from("journal/0000000002-0000000001.seg");
    let mut bytes = disk.bytes(&path);
    bytes[1000..1512].fill(0);
    disk.set_bytes(&path, bytes);
    assert!(matches!(finish(&disk), Err(FollowError::Damaged(_))));
}

#[test]
fn a_missing_segment_in_the_middle_is_an_error_that_ends() {
    let disk = journal();
    disk.delete(Path::new("journal/0000000002-0000000001.seg"));
    let error = finish(&disk).unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let disk = journal();
    disk.delete(Path::new("journal/0000000001-0000000001.seg"));
    let error = finish(&disk).unwrap_err();
    assert!(
        matches!(
            error,
            FollowError::NoStart {
                first_epoch: Epoch(1),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn damage_below_a_seal_is_found_and_behind_it_does_not_matter() {
    let disk = journal();
    // Prepared, and never written to.
    let behind = disk.paths("journal").pop().unwrap();
    let second = begin(&disk, 2, OPTIONS);
    second.backlog("of the second tenure");
    second.settle();
    second.store.abandon();
    let disk = disk.copy();
    // Without a checkpoint of the second tenure all of the first one is read.
    for path in disk.paths("checkpoints") {
        if path.display().to_string().contains("-0000000002") {
            disk.delete(&path);
        }
    }
    let end = {
        let point = Follower::open(Arc::new(disk.clone()))
            .unwrap()
            .finish(Epoch(3))
            .unwrap();
        assert_eq!(point.previous_epoch, Epoch(2));
        point.sealed_lsn
    };
    // Its keeper may have removed it; a late write brings it back.
    let mut bytes = vec![0; 4096];
    bytes[64..200].fill(0x20);
    disk.set_bytes(&behind, bytes);
    assert_eq!(
        finish(&disk).unwrap(),
        end,
        "nothing of that segment counts"
    );
    disk.flip(Path::new("journal/0000000002-0000000001.seg"), 80);
    assert!(matches!(finish(&disk), Err(FollowError::Damaged(_))));
}

#[test]
fn a_standby_that_meets_damage_says_so_instead_of_waiting_for_ever() {
    let disk = FaultyDisk::default();
    let tenure = begin(
        &disk,
        1,
        JournalOptions {
            segment_bytes: 64 << 10,
            ..OPTIONS
        },
    );
    let queue = tenure.backlog("queue");
    tenure.settle();
    let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
    follow(&mut follower);
    tenure.send(&queue, &[1; 100]);
    tenure.settle();
    tenure.send(&queue, &[2; 100]);
    tenure.settle();
    let path = follower.tail_segments().unwrap()[0].clone();
    let at = disk
        .bytes(&path)
        .windows(50)
        .position(|window| window == [1; 50])
        .unwrap();
    disk.flip(&path, at);
    let error = (0..100)
        .find_map(|_| follower.poll().err())
        .expect("an error");
    assert!(matches!(error, FollowError::Damaged(_)), "{error}");
    tenure.store.abandon();
}

#[test]
fn every_flipped_byte_of_a_checkpoint_makes_it_unreadable_and_nothing_else() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for number in 0..5_u64 {
        tenure
            .store
            .enqueue(one(&queue), from_producer(b"p", number + 1, b"x"))
            .unwrap();
    }
    tenure
        .store
        .enqueue_in_transaction(b"t", one(&queue), message(b"open"))
        .unwrap();
    tenure
        .store
        .enqueue_in_transaction(b"p", one(&queue), message(b"prepared"))
        .unwrap();
    let (position, _) = entries(&queue)[0];
    let acknowledged = [(queue.clone(), vec![position])];
    tenure.store.prepare(b"p", &acknowledged).unwrap();
    let prepared = tenure.store.prepared();
    tenure.settle();
    let expected = view(&tenure.store.backlogs());
    tenure.store.shut_down();
    let checkpoint = disk.paths("checkpoints")[0].clone();
    for at in 0..disk.bytes(&checkpoint).len() {
        disk.flip(&checkpoint, at);
        // All segments are still there: the journal's first record is the way to begin.
        let state = recover(&disk).unwrap();
        assert_eq!(view(&state.backlogs()), expected, "byte {at}");
        assert_eq!(state.prepared(), prepared, "byte {at}");
        disk.flip(&checkpoint, at);
    }
    for cut in 0..disk.bytes(&checkpoint).len() {
        let whole = disk.bytes(&checkpoint);
        disk.set_bytes(&checkpoint, whole[..cut].to_vec());
        assert_eq!(
            view(&recover(&disk).unwrap().backlogs()),
            expected,
            "{cut} bytes"
        );
        disk.set_bytes(&checkpoint, whole);
    }
}

#[test]
fn a_damaged_body_is_refused_when_it_is_read_back() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, &[0xAB; 100]);
    tenure.settle();
    let (_, entry) = entries(&queue)[0];
    let path = disk.paths("journal")[0].clone();
    disk.flip(
        &path,
        entry.location.offset as usize + entry.location.length as usize - 1,
    );
    let error = tenure.store.read(entry.location).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let expected = format!(
        "record at byte {} of `journal/0000000001-0000000001.seg`: a record's CRC does not check out",
        entry.location.offset
    );
    assert_eq!(error.to_string(), expected);
    tenure.store.abandon();
}

#[test]
fn arbitrary_bytes_in_place_of_files_never_panic() {
    let disk = journal();
    let paths: BTreeMap<PathBuf, Vec<u8>> = disk
        .paths("journal")
        .into_iter()
        .map(|path| (path.clone(), disk.bytes(&path)))
        .collect();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..150 {
        for (path, whole) in &paths {
            let mut bytes = whole.clone();
            let start = random() as usize % bytes.len();
            let end = (start + random() as usize % 300).min(bytes.len());
            bytes[start..end]
                .iter_mut()
                .for_each(|byte| *byte = random() as u8);
            disk.set_bytes(path, bytes);
            let _ = finish(&disk);
            disk.set_bytes(path, whole.clone());
        }
    }
}
