//! The journal's end after a crash: a torn batch is normal and is not taken for damage.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use storage::tail::Follower;
use storage::{Epoch, Lsn};

use support::*;

/// A segment with a batch for each of the messages; where each batch ends, by LSN.
fn segment() -> (FaultyDisk, PathBuf, Vec<(Lsn, usize)>) {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure.settle();
    for number in 0..10_u8 {
        tenure.send(&queue, &[number; 40]);
        tenure.settle();
    }
    tenure.store.abandon();
    let path = PathBuf::from("journal/0000000001-0000000001.seg");
    let mut lsn = 0;
    let mut ends = Vec::new();
    for change in disk.changes() {
        if let Change::Write {
            path: written,
            offset,
            bytes,
        } = change
            && written == path
            && bytes.starts_with(b"BtB1")
        {
            lsn += u64::from(u32::from_le_bytes(bytes[8..12].try_into().unwrap()));
            ends.push((Lsn(lsn), offset as usize + bytes.len()));
        }
    }
    let disk = FaultyDisk::after(&disk.changes());
    for prepared in disk
        .paths("journal")
        .iter()
        .filter(|prepared| **prepared != path)
    {
        disk.delete(prepared);
    }
    (disk, path, ends)
}

fn sealed_lsn(disk: &FaultyDisk) -> Lsn {
    let follower = Follower::open(Arc::new(disk.clone())).unwrap();
    follower.finish(Epoch(2)).unwrap().sealed_lsn
}

#[test]
fn every_prefix_of_a_segment_recovers_to_a_prefix_of_its_records() {
    let (disk, path, ends) = segment();
    let whole = disk.bytes(&path);
    assert_eq!(ends.len(), 12, "the seal, the backlog and ten messages");
    for cut in 0..=ends.last().unwrap().1 {
        let expected = ends
            .iter()
            .rfind(|(_, end)| *end <= cut)
            .map_or(Lsn(0), |(lsn, _)| *lsn);
        disk.set_bytes(&path, whole[..cut].to_vec());
        assert_eq!(
            sealed_lsn(&disk),
            expected,
            "the file ends after {cut} bytes"
        );
        let mut zeroed = whole.clone();
        zeroed[cut..].fill(0);
        // A record may end with zeros.
        let is_whole = |(_, end): &&(Lsn, usize)| zeroed[..*end] == whole[..*end];
        let expected = ends.iter().rfind(is_whole).map_or(Lsn(0), |(lsn, _)| *lsn);
        disk.set_bytes(&path, zeroed.clone());
        assert_eq!(sealed_lsn(&disk), expected, "zeros after {cut} bytes");
    }
}

#[test]
fn stale_bytes_of_other_places_and_epochs_are_not_taken_for_records() {
    let (disk, path, ends) = segment();
    let whole = disk.bytes(&path);
    let (last, end) = *ends.last().unwrap();
    for stale in ends.windows(2).map(|pair| &whole[pair[0].1..pair[1].1]) {
        let mut recycled = whole.clone();
        recycled[end..end + stale.len()].copy_from_slice(stale);
        disk.set_bytes(&path, recycled);
        assert_eq!(sealed_lsn(&disk), last);
    }
    // The same segment as another epoch would have written it, further on.
    let other = FaultyDisk::default();
    begin(&other, 1, OPTIONS).store.shut_down();
    let tenure = begin(&other, 7, OPTIONS);
    let queue = tenure.backlog("queue");
    for _ in 0..10 {
        tenure.send(&queue, b"x");
    }
    tenure.settle();
    tenure.store.shut_down();
    let foreign = other
        .paths("journal")
        .into_iter()
        .find(|path| path.display().to_string().ends_with("-0000000007.seg"));
    let foreign = other.bytes(&foreign.unwrap());
    let mut recycled = whole.clone();
    recycled[end..].copy_from_slice(&foreign[64..64 + whole.len() - end]);
    disk.set_bytes(&path, recycled);
    assert_eq!(sealed_lsn(&disk), last);
}

#[test]
fn a_body_that_looks_like_a_journal_is_not_taken_for_one() {
    let (disk, path, _) = segment();
    let image = disk.bytes(&path);
    let other = FaultyDisk::default();
    let tenure = begin(&other, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    for _ in 0..3 {
        tenure.send(&queue, &image[64..1000]);
        tenure.settle();
    }
    let end = tenure.store.appended();
    tenure.store.abandon();
    assert_eq!(sealed_lsn(&other), end);
    let last = other
        .changes()
        .into_iter()
        .rev()
        .find_map(|change| match change {
            Change::Write {
                path,
                offset,
                bytes,
            } if bytes.len() > 900 && path.starts_with("journal") => Some((path, offset, bytes)),
            _ => None,
        });
    let (path, offset, bytes) = last.unwrap();
    // Torn inside of the body: the images in it are whole.
    let mut file = other.bytes(&path);
    file[offset as usize + bytes.len() - 10..].fill(0);
    other.set_bytes(&path, file);
    assert_eq!(sealed_lsn(&other), Lsn(end.0 - 1));
}

#[test]
fn a_standby_takes_a_half_visible_batch_for_not_there_yet() {
    let (disk, path, ends) = segment();
    let whole = disk.bytes(&path);
    let (last, end) = *ends.last().unwrap();
    let mut half = whole.clone();
    half[end - 20..].fill(0);
    disk.set_bytes(&path, half);
    let mut follower = Follower::open(Arc::new(disk.clone())).unwrap();
    for _ in 0..100 {
        assert!(follower.poll().unwrap().is_at_end);
    }
    assert_eq!(follower.lsn(), Lsn(last.0 - 1));
    disk.set_bytes(&path, whole);
    follow(&mut follower);
    assert_eq!(follower.lsn(), last);
}

#[test]
fn a_torn_seal_means_that_the_tenure_never_began() {
    let disk = FaultyDisk::default();
    let first = begin(&disk, 1, OPTIONS);
    let queue = first.backlog("queue");
    first.send(&queue, b"x");
    first.settle();
    first.store.shut_down();
    let expected = view(&first.store.backlogs());
    let end = first.store.appended();
    let second = begin(&disk, 2, OPTIONS);
    second.store.abandon();
    let changes = disk.changes();
    let seal = changes.iter().rposition(|change| {
        matches!(change, Change::Write { path, bytes, .. }
            if path.display().to_string().ends_with("-0000000002.seg") && bytes.starts_with(b"BtB1"))
    });
    let Change::Write {
        path,
        offset,
        bytes,
    } = &changes[seal.unwrap()]
    else {
        unreachable!()
    };
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    for cut in 0..bytes.len() - zeros {
        let bytes = bytes[..cut].to_vec();
        let torn = Change::Write {
            path: path.clone(),
            offset: *offset,
            bytes,
        };
        let disk = FaultyDisk::after(changes[..seal.unwrap()].iter().chain([&torn]));
        let point = Follower::open(Arc::new(disk.clone()))
            .unwrap()
            .finish(Epoch(3))
            .unwrap();
        assert_eq!(
            (point.previous_epoch, point.sealed_lsn),
            (Epoch(1), end),
            "{cut} bytes"
        );
        let third = begin(&disk, 3, OPTIONS);
        assert_eq!(view(&third.store.backlogs()), expected);
        third.store.abandon();
    }
}
