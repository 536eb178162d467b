//! Journals whose last batches were on their way at once, and did not all arrive.

use std::path::PathBuf;
use std::time::Duration;

use storage::inspect::{Finding, Kind, Severity, Verdict};
use storage::journal::{InFlight, JournalOptions};
use storage::tail::Follower;
use storage::{Epoch, Lsn};

use super::support::*;
use super::world::{abandon, check, save};

const SEVERAL: JournalOptions = JournalOptions {
    in_flight: InFlight::Always(4),
    ..OPTIONS
};

/// A journal with a hole at its end: what is missing was never acknowledged.
struct Holed {
    disk: FaultyDisk,
    /// The last LSN before the hole.
    last: Lsn,
    /// The segment with the hole.
    path: PathBuf,
    /// Where the batch behind the hole is.
    behind: (PathBuf, usize),
}

fn is_batch(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 4) == Some(b"BtB1")
}

/// Sends `before` messages, lets the next batch hang, and ends without it. `body`: bytes of each.
fn holed(before: usize, body: usize) -> Holed {
    let disk = FaultyDisk::default();
    disk.let_overlap();
    let tenure = begin(&disk, 1, SEVERAL);
    let queue = tenure.backlog("queue");
    for _ in 0..before {
        tenure.send(&queue, &vec![1; body]);
        tenure.settle();
    }
    let last = tenure.store.released();
    let written = disk.change_count();
    disk.inject(
        Fault::on(&[Call::Write])
            .of("journal/")
            .once()
            .with(Effect::Stall(Duration::from_secs(1))),
    );
    tenure.send(&queue, &vec![2; body]);
    wait_for("a batch on its way", || {
        tenure.store.writing().in_flight > 0
    });
    tenure.send(&queue, &vec![3; body]);
    let mut behind = None;
    wait_for("the batch behind it", || {
        let changes = disk.changes();
        behind = changes[written..].iter().find_map(|change| match change {
            Change::SyncPart(path, offset, _) if *offset >= 64 => Some((path.clone(), *offset)),
            _ => None,
        });
        behind.is_some()
    });
    let left = disk.synced();
    assert_eq!(
        tenure.store.released(),
        last,
        "the first one has not arrived"
    );
    abandon(tenure);
    let (behind, at) = behind.unwrap();
    let segments = left.paths("journal");
    let path = if at == 64 { &segments[0] } else { &behind };
    Holed {
        disk: left,
        last,
        path: path.clone(),
        behind: (behind.clone(), at as usize),
    }
}

#[test]
fn what_lies_behind_a_hole_at_the_end_is_no_damage_and_does_not_count() {
    let holed = holed(3, 100);
    let (path, at) = &holed.behind;
    assert_eq!(*path, holed.path);
    assert!(is_batch(&holed.disk.bytes(path), *at));
    let report = check(&holed.disk);
    assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
    assert_eq!(Lsn(report.last_lsn), holed.last);
    assert_eq!(report.messages, 3);
    let torn = |finding: &&Finding| finding.kind == Kind::TornTail;
    let torn = report.findings.iter().find(torn).unwrap();
    assert_eq!(torn.severity, Severity::Note);
    assert!(torn.end_offset.is_some_and(|end| end > *at as u64));
    let (out, saved) = save(&holed.disk);
    assert!(saved.is_complete(), "{saved:#?}");
    assert_eq!(check(&out).messages, 3);
    // The broker's own reader, and who takes over, agree.
    let follower = Follower::open(std::sync::Arc::new(holed.disk.clone())).unwrap();
    assert_eq!(follower.finish(Epoch(2)).unwrap().sealed_lsn, holed.last);
    let next = begin(&holed.disk, 2, SEVERAL);
    next.settle();
    abandon(next);
    let report = check(&holed.disk);
    assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
    assert_eq!(report.messages, 3);
}

#[test]
fn a_hole_at_the_end_of_a_segment_hides_the_next_one() {
    // The third message fills the rest of the segment, the fourth begins another.
    let holed = holed(1, 1700);
    let (path, at) = &holed.behind;
    assert_eq!(*at, 64);
    assert_ne!(*path, holed.path);
    let report = check(&holed.disk);
    assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
    assert_eq!((Lsn(report.last_lsn), report.messages), (holed.last, 1));
    let hidden = report
        .findings
        .iter()
        .find(|finding| finding.path.as_deref() == path.to_str());
    assert_eq!(hidden.unwrap().kind, Kind::TornTail);
    let follower = Follower::open(std::sync::Arc::new(holed.disk.clone())).unwrap();
    assert_eq!(follower.finish(Epoch(2)).unwrap().sealed_lsn, holed.last);
}

#[test]
fn a_hole_below_what_was_durable_is_damage() {
    let holed = holed(3, 100);
    let (path, at) = &holed.behind;
    let mut bytes = holed.disk.bytes(path);
    let mut batch = 64;
    let mut batches = Vec::new();
    while is_batch(&bytes, batch) {
        let length = u32::from_le_bytes(bytes[batch + 4..batch + 8].try_into().unwrap());
        batches.push((batch, batch + length as usize));
        batch += length as usize;
    }
    let (start, end) = *batches.last().unwrap();
    assert!(end <= *at);
    // The last batch that was acknowledged: the one behind the hole proves that it was there.
    bytes[start..end].fill(0);
    holed.disk.set_bytes(path, bytes);
    let report = check(&holed.disk);
    assert_eq!(report.verdict, Verdict::Damaged, "{:#?}", report.findings);
    let follower = Follower::open(std::sync::Arc::new(holed.disk.clone())).unwrap();
    assert!(follower.finish(Epoch(2)).is_err());
}

#[test]
fn a_write_that_fails_takes_what_was_sent_behind_it_along() {
    let disk = FaultyDisk::default();
    disk.let_overlap();
    let tenure = begin(&disk, 1, SEVERAL);
    let queue = tenure.backlog("queue");
    // The keeper writes to segments, too: none of its writes may be the one that hangs.
    wait_for("a prepared segment", || disk.paths("journal").len() > 1);
    tenure.send(&queue, b"before");
    tenure.settle();
    let holds = |path: &PathBuf| disk.bytes(path).windows(6).any(|part| part == b"before");
    let filled = disk.paths("journal").into_iter().find(holds).unwrap();
    let filled = filled.to_str().unwrap();
    let released = tenure.store.released();
    // The first of two hangs in its sync and then hears of an error; the second arrives at once.
    disk.inject(
        Fault::on(&[Call::Write])
            .of(filled)
            .once()
            .with(Effect::Stall(Duration::from_millis(300))),
    );
    tenure.send(&queue, b"first");
    wait_for("a batch on its way", || {
        tenure.store.writing().in_flight > 0
    });
    let written = disk.count(Call::Sync, filled);
    tenure.send(&queue, b"second");
    wait_for("the second batch", || {
        disk.count(Call::Sync, filled) > written
    });
    disk.fail_syncs("journal/");
    wait_for("the failure", || tenure.failure().is_some());
    let syncs = disk.syncs();
    disk.heal();
    assert!(tenure.gate.is_fenced());
    assert!(tenure.try_send(&queue, b"late").is_err());
    tenure.store.shut_down();
    assert_eq!((tenure.store.released(), disk.syncs()), (released, syncs));
}

#[test]
fn a_journal_of_another_format_version_is_named_and_neither_served_nor_called_damaged() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    tenure.backlog("queue");
    tenure.settle();
    abandon(tenure);
    for path in disk.paths("journal") {
        let mut bytes = disk.bytes(&path);
        bytes[8] = 1;
        let sum = crc32fast::hash(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&sum);
        disk.set_bytes(&path, bytes);
    }
    let refused = Follower::open(std::sync::Arc::new(disk.clone()))
        .and_then(|follower| follower.finish(Epoch(2)).map(drop));
    let text = refused.expect_err("another version").to_string();
    assert!(
        text.contains("has format version 1, and this release reads 3 and 4"),
        "{text}"
    );
    let report = check(&disk);
    assert_ne!(report.verdict, Verdict::Healthy);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.severity != Severity::Damage)
    );
    assert_eq!(report.findings[0].severity, Severity::Unread);
}
