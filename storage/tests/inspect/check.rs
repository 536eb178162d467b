//! `check`: what it says of a healthy journal, and of each kind of damage.

use std::path::Path;

use storage::disk::Disk as _;
use storage::inspect::{Kind, Report, Severity, Verdict};

use super::damage::{Dice, hurt, seeds};
use super::support::*;
use super::world::{SMALL, World, check};

fn worst(report: &Report) -> Option<Severity> {
    report.findings.first().map(|finding| finding.severity)
}

fn only(report: &Report, kind: Kind) -> &storage::inspect::Finding {
    let mut found = report
        .findings
        .iter()
        .filter(|finding| finding.kind == kind);
    let first = found.next();
    first.unwrap_or_else(|| panic!("no {kind:?} in {:#?}", report.findings))
}

#[test]
fn a_journal_that_was_written_by_the_store_is_healthy() {
    for options in [SMALL, OPTIONS] {
        let world = World::new(options);
        let report = check(&world.disk);
        assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
        assert!(
            worst(&report) <= Some(Severity::Note),
            "{:#?}",
            report.findings
        );
        assert_eq!(report.messages, world.pending.len() as u64);
        assert_eq!((report.backlogs, report.prepared, report.epoch), (4, 1, 3));
        assert_eq!(report.segments, world.segments().len() as u64);
        let has_checkpoints = options.checkpoint_bytes < u64::MAX;
        assert_eq!(report.checkpoints > 0, has_checkpoints);
    }
}

#[test]
fn every_flipped_byte_of_a_batch_that_counts_is_found_with_its_place() {
    let world = World::new(OPTIONS);
    let segments = world.segments();
    // The last segment with records has the end, where damage cannot be told from a torn write.
    let path = segments[1].clone();
    for (start, end) in world.batches(&path) {
        for at in (start..end).step_by(7) {
            let disk = world.disk.copy();
            disk.flip(&path, at);
            let report = check(&disk);
            assert_eq!(report.verdict, Verdict::Damaged, "byte {at}");
            let is_named = report.findings.iter().any(|finding| {
                finding.severity == Severity::Damage
                    && finding.path.as_deref() == Some(&*path.display().to_string())
                    && finding.offset.is_some_and(|first| first <= at as u64)
                    && finding.end_offset.is_some_and(|last| at as u64 <= last)
            });
            assert!(is_named, "byte {at}: {:#?}", report.findings);
        }
    }
}

#[test]
fn a_torn_tail_is_normal_and_damage_in_the_middle_is_not() {
    let world = World::new(OPTIONS);
    let segments = world.segments();
    let last = segments
        .iter()
        .rfind(|path| !world.batches(path).is_empty())
        .unwrap();
    let (start, end) = *world.batches(last).last().unwrap();
    let disk = world.disk.copy();
    let mut bytes = disk.bytes(last);
    bytes[start + 40..end].fill(0);
    disk.set_bytes(last, bytes);
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
    let torn = only(&report, Kind::TornTail);
    assert_eq!(
        (torn.severity, torn.offset),
        (Severity::Note, Some(start as u64))
    );

    let middle = &segments[1];
    let (start, end) = world.batches(middle)[1];
    let disk = world.disk.copy();
    disk.flip(middle, start + 60);
    let report = check(&disk);
    let lost = only(&report, Kind::LostRecords);
    assert_eq!(lost.offset, Some(start as u64));
    assert_eq!(lost.end_offset, Some(end as u64));
    assert_eq!(lost.severity, Severity::Damage);
    assert!(lost.records >= Some(1) && lost.first_lsn.is_some() && lost.last_lsn.is_some());
    assert!(lost.advice.contains("--salvage"), "{}", lost.advice);
}

#[test]
fn a_damaged_body_of_a_pending_message_names_its_queue() {
    let world = World::new(SMALL);
    let (body, (id, _, location)) = world.pending.iter().next().unwrap();
    let path = world.path_of(*location);
    let disk = world.disk.copy();
    disk.flip(&path, (location.offset + location.length) as usize - 3);
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::Damaged, "{body:?}");
    let affected: Vec<_> = report.findings.iter().flat_map(|f| &f.backlogs).collect();
    assert_eq!(affected.len(), 1, "{:#?}", report.findings);
    assert_eq!((affected[0].id, affected[0].messages), (id.0, 1));
    assert_eq!(
        affected[0].name,
        ["orders", "bills", "letters"][id.0 as usize - 1]
    );
}

#[test]
fn a_missing_segment_is_named_when_somebody_needs_it() {
    let world = World::new(OPTIONS);
    let segments = world.segments();
    let disk = world.disk.copy();
    disk.delete(&segments[2]);
    let report = check(&disk);
    let missing = only(&report, Kind::MissingSegment);
    assert_eq!(missing.severity, Severity::Damage);
    assert_eq!(missing.path.as_deref(), segments[3].to_str());
    assert!(
        missing.what.contains(segments[1].to_str().unwrap()),
        "{}",
        missing.what
    );
}

#[test]
fn a_checkpoint_that_cannot_be_read_or_contradicts_the_journal_is_told() {
    let world = World::new(SMALL);
    let checkpoints = world.disk.paths("checkpoints");
    assert_eq!(checkpoints.len(), 2);
    let disk = world.disk.copy();
    disk.flip(&checkpoints[0], 200);
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::Healthy, "the other one is there");
    assert_eq!(only(&report, Kind::Checkpoint).severity, Severity::Warning);

    // A number of the newest one is changed and all sums are repaired.
    let disk = world.disk.copy();
    let mut bytes = disk.bytes(&checkpoints[1]);
    forge_last_sequence(&mut bytes);
    disk.set_bytes(&checkpoints[1], bytes);
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::Damaged, "{:#?}", report.findings);
    let contradiction = only(&report, Kind::Contradiction);
    assert_eq!(contradiction.backlogs.len(), 1, "{contradiction:#?}");
}

/// Adds one to the last sequence of the first backlog, and repairs the sums of the frame and the
/// file.
fn forge_last_sequence(bytes: &mut [u8]) {
    let u32_at =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut sums, mut is_forged) = (0, crc32fast::Hasher::new(), false);
    while at < bytes.len() {
        let (kind, length) = (bytes[at], u32_at(bytes, at + 4) as usize);
        let payload = at + 12;
        if kind == 7 && !is_forged {
            bytes[payload + 16] += 1;
            is_forged = true;
        }
        if kind == 9 {
            let sum = sums.clone().finalize().to_le_bytes();
            bytes[payload + 16..payload + 20].copy_from_slice(&sum);
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes[payload..payload + length]);
        sum.update(&(length as u32).to_le_bytes());
        sum.update(&[kind]);
        let sum = sum.finalize().to_le_bytes();
        bytes[at + 8..at + 12].copy_from_slice(&sum);
        sums.update(&sum);
        at = payload + length;
    }
    assert!(is_forged);
}

#[test]
fn late_writes_behind_a_seal_and_orphans_are_explained() {
    let world = World::new(OPTIONS);
    let disk = world.disk.copy();
    let segments = world.segments();
    let sealed = segments
        .iter()
        .rfind(|path| path.to_str().unwrap().ends_with("-0000000001.seg") && world.used(path) > 64)
        .unwrap();
    let used = world.used(sealed);
    let mut bytes = disk.bytes(sealed);
    bytes.resize(bytes.len().max(used + 100), 0);
    bytes[used + 20..used + 60].fill(7);
    disk.set_bytes(sealed, bytes);
    disk.set_bytes(
        Path::new("journal/0000000099-0000000009.seg"),
        vec![0; 4096],
    );
    disk.set_bytes(Path::new("journal/what is this"), vec![1]);
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
    assert_eq!(only(&report, Kind::BehindSeal).severity, Severity::Note);
    assert_eq!(only(&report, Kind::Orphan).severity, Severity::Note);
    assert_eq!(
        only(&report, Kind::ForeignName).path.as_deref(),
        Some("journal/what is this")
    );
}

#[test]
fn directories_without_a_journal_and_files_of_others_are_no_journal() {
    assert_eq!(check(&FaultyDisk::default()).verdict, Verdict::NoJournal);
    let disk = FaultyDisk::default();
    for directory in ["journal", "checkpoints"] {
        disk.create_directory(Path::new(directory)).unwrap();
    }
    for name in [
        "journal/x.seg",
        "journal/1-.seg",
        "journal/+1-1.seg",
        "notes.txt",
        "checkpoints/1.ckpt",
    ] {
        disk.set_bytes(Path::new(name), b"hello".to_vec());
    }
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::NoJournal, "{:#?}", report.findings);
    assert_eq!(
        report
            .findings
            .iter()
            .filter(|f| f.kind == Kind::ForeignName)
            .count(),
        5,
        "{:#?}",
        report.findings
    );
}

#[test]
fn a_file_that_the_system_does_not_let_be_read_is_told_apart_from_damage() {
    let world = World::new(SMALL);
    let disk = world.disk.copy();
    let path = world.segments()[0].display().to_string();
    disk.inject(
        Fault::on(&[Call::Read])
            .of(&path)
            .with(Effect::Fail(Errno::Io)),
    );
    let report = check(&disk);
    assert_eq!(
        only(&report, Kind::Unreadable).path.as_deref(),
        Some(&*path)
    );
    assert_ne!(report.verdict, Verdict::Healthy);
}

#[test]
fn whatever_is_done_to_the_files_the_check_ends_with_a_report() {
    let world = World::new(SMALL);
    for seed in seeds(400) {
        let mut dice = Dice(seed);
        let disk = world.disk.copy();
        let mut done = Vec::new();
        for _ in 0..1 + dice.roll(4) {
            done.push(hurt(&world, &disk, &mut dice));
        }
        let before: Vec<_> = disk
            .paths("")
            .into_iter()
            .map(|path| (disk.bytes(&path), path))
            .collect();
        let report = check(&disk);
        // A broker that cannot begin has something to read about it.
        let begins = recover(&disk);
        assert!(
            begins.is_ok() || report.verdict != Verdict::Healthy,
            "seed {seed}: {done:?}: {:?}: {:?} {:#?}",
            begins.err(),
            disk.paths(""),
            report.findings
        );
        let after: Vec<_> = disk
            .paths("")
            .into_iter()
            .map(|path| (disk.bytes(&path), path))
            .collect();
        assert!(before == after, "seed {seed}: a check writes nothing");
    }
}

#[test]
fn files_full_of_headers_and_zeros_do_not_keep_the_check_busy() {
    let disk = FaultyDisk::default();
    let mut bytes = vec![0; 4 << 20];
    for at in (64..bytes.len() - 64).step_by(64) {
        bytes[at..at + 4].copy_from_slice(b"BtB1");
        bytes[at + 4..at + 8].copy_from_slice(&(200_u32 << 20).to_le_bytes());
        bytes[at + 8] = 1;
        bytes[at + 16] = 1;
        bytes[at + 24] = 1;
    }
    disk.set_bytes(Path::new("journal/0000000001-0000000001.seg"), bytes);
    let started = std::time::Instant::now();
    let report = check(&disk);
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    assert_ne!(
        report.verdict,
        Verdict::Damaged,
        "nothing says that there was a journal"
    );
}
