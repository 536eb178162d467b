//! Journals in which messages were moved out of sparse segments: the new record is the one that
//! counts, and the old one is nobody's loss.

use storage::inspect::{Kind, Report, Verdict};

use super::salvage::{judge, random_damage};
use super::support::*;
use super::world::{
    Keeping, MOVE, SMALL, Started, World, abandon, begin_keeping, check, save, start,
};

fn has_lost_messages(report: &Report) -> bool {
    report
        .findings
        .iter()
        .any(|finding| !finding.backlogs.is_empty())
}

#[test]
fn a_journal_with_moves_is_healthy_whether_the_old_segments_are_gone_or_not() {
    for keeping in [Keeping::WhatIsNeeded, Keeping::OldSegments] {
        let world = World::moving(SMALL, keeping);
        let report = check(&world.disk);
        assert_eq!(report.verdict, Verdict::Healthy, "{:#?}", report.findings);
        assert_eq!(report.messages, world.pending.len() as u64);
        let places = world.pending.values().map(|(_, _, location)| *location);
        let moved = places.filter(|place| world.kind_at(*place) == MOVE).count();
        assert!(moved > 0, "{keeping:?}: something pending was moved");
        if keeping == Keeping::WhatIsNeeded {
            let first = world.segments()[0].display().to_string();
            assert_ne!(first, "journal/0000000001-0000000001.seg", "it went");
        }
        let (out, saved) = save(&world.disk);
        assert!(saved.is_complete(), "{saved:#?}");
        let (copied, original) = (start(&out), start(&world.disk.copy()));
        assert_eq!(copied.by_backlog, original.by_backlog);
    }
}

#[test]
fn damage_to_the_old_record_of_a_moved_message_is_nobodys_and_to_the_new_one_is_told() {
    let world = World::moving(SMALL, Keeping::OldSegments);
    let mut tried = 0;
    for (body, (id, _, location)) in &world.pending {
        if world.kind_at(*location) != MOVE {
            continue;
        }
        let own = (location.offset + location.length) as usize - body.len();
        for (path, at) in world.copies_of(body) {
            let is_own = path == world.path_of(*location) && at == own;
            let disk = world.disk.copy();
            disk.flip(&path, at + 3);
            let report = check(&disk);
            let is_lost = has_lost_messages(&report);
            if is_own {
                // At the journal's end it may be torn, and the others of its batch with it.
                assert!(!is_lost || report.verdict == Verdict::Damaged);
                let mut affected = report.findings.iter().flat_map(|f| &f.backlogs);
                let is_told = !is_lost || affected.any(|one| one.id == id.0);
                assert!(is_told, "{:#?}", report.findings);
                // As long as no checkpoint has the move, the old record is as good.
                let (out, saved) = save(&disk);
                let is_saved = start(&out).bodies().contains(&body[..]);
                assert_eq!(is_saved, !is_lost, "{saved:#?}");
                assert_eq!(saved.lost_messages.is_empty(), is_saved, "{saved:#?}");
            } else {
                assert!(!is_lost, "{:#?}", report.findings);
                // Only where a broker would have to replay it the old record still counts.
                let begins = recover(&disk).is_ok();
                assert_eq!(
                    begins,
                    report.verdict == Verdict::Healthy,
                    "{:#?}",
                    report.findings
                );
                let (_, saved) = save(&disk);
                assert!(saved.lost_messages.is_empty(), "{saved:#?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "there are old records");
}

#[test]
fn everything_that_was_not_hit_survives_random_damage_where_messages_moved() {
    random_damage(&World::moving(SMALL, Keeping::WhatIsNeeded), 150);
    random_damage(&World::moving(SMALL, Keeping::OldSegments), 150);
}

#[test]
fn a_lost_segment_that_messages_moved_into_is_a_loss_of_those() {
    let world = World::moving(SMALL, Keeping::WhatIsNeeded);
    let moved = world
        .pending
        .iter()
        .find(|(_, (_, _, at))| world.kind_at(*at) == MOVE);
    let (body, _) = moved.expect("something was moved");
    let disk = world.disk.copy();
    // The old one may not be gone yet.
    for (path, _) in world.copies_of(body) {
        disk.delete(&path);
    }
    let report = check(&disk);
    assert_eq!(report.verdict, Verdict::Damaged);
    assert!(has_lost_messages(&report), "{:#?}", report.findings);
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.kind == Kind::LostMessages || f.kind == Kind::MissingSegment)
    );
    let (out, saved) = save(&disk);
    judge(&world, &disk, &start(&out), &saved, "a segment");
}

/// Three messages in front of many that are consumed, until the three have moved; then everything is
/// replayed from the first record, with the first record of one of the three hit.
fn moved_behind_a_loss(hit: &[u8]) -> (Started, storage::inspect::Salvaged) {
    let disk = FaultyDisk::default();
    let tenure = begin_keeping(&disk, 1, OPTIONS, Keeping::OldSegments);
    let queue = tenure.backlog("queue");
    for body in [b"one lasts", b"two lasts", b"six lasts"] {
        tenure.send(&queue, body);
        // A batch of its own, so that the others are not hit.
        tenure.settle();
    }
    for number in 0..400 {
        let gone = tenure.send(&queue, format!("{number:0100}").as_bytes());
        tenure.settle();
        tenure.store.acknowledge(&queue, &[gone]).unwrap();
    }
    wait_for("messages that move", || {
        tenure.store.space().moved_messages >= 3
    });
    abandon(tenure);
    let disk = disk.copy();
    for path in disk.paths("checkpoints") {
        disk.delete(&path);
    }
    let first = disk.paths("journal")[0].clone();
    let bytes = disk.bytes(&first);
    let at = bytes.windows(hit.len()).position(|window| window == hit);
    disk.flip(&first, at.expect("its first record") + 1);
    let (out, saved) = save(&disk);
    (start(&out), saved)
}

fn lasting(started: &Started) -> Vec<&[u8]> {
    let bodies = started.by_backlog[&1].1.iter().map(|(_, body)| &body[..]);
    bodies.filter(|body| body.ends_with(b" lasts")).collect()
}

#[test]
fn behind_a_loss_a_moved_message_is_found_by_its_old_place_and_never_doubled() {
    // The first is certain, the third is found where it was, and the second, whose own record is
    // hit, is brought back by its move.
    let (started, saved) = moved_behind_a_loss(b"two lasts");
    assert_eq!(
        lasting(&started),
        [&b"one lasts"[..], b"six lasts", b"two lasts"]
    );
    assert!(saved.lost_messages.is_empty(), "{saved:#?}");
    assert_eq!(saved.lost_records.len(), 1);
    assert!(saved.is_all_redelivered);
}

#[test]
fn a_moved_message_in_a_queue_whose_creation_is_lost_is_in_the_recovered_queue() {
    // The name of the queue is in the record of its creation alone.
    let (started, saved) = moved_behind_a_loss(b"queue");
    assert_eq!(started.by_backlog[&1].0, "recovered 1");
    assert_eq!(
        lasting(&started),
        [&b"one lasts"[..], b"two lasts", b"six lasts"]
    );
    assert_eq!(saved.recovered_backlogs.len(), 1, "{saved:#?}");
}
