//! `salvage`: everything that was not hit is there afterwards, in order, and a broker starts.

use std::collections::{BTreeMap, BTreeSet};

use storage::inspect::{SalvageError, Salvaged};

use super::damage::{Dice, hurt, seeds};
use super::support::inspected::salvage;
use super::support::*;
use super::world::{SMALL, Started, World, save, start};

#[test]
fn a_healthy_journal_is_copied_as_it_is() {
    for options in [SMALL, OPTIONS] {
        let world = World::new(options);
        let (out, saved) = save(&world.disk);
        let (copied, original) = (start(&out), start(&world.disk.copy()));
        assert_eq!(copied.by_backlog, original.by_backlog);
        assert_eq!(copied.redelivered_below, original.redelivered_below);
        assert_eq!(copied.prepared, world.prepared);
        assert_eq!(copied.sequence, original.sequence);
        assert!(saved.lost_messages.is_empty() && saved.lost_records.is_empty());
        assert!(saved.may_come_twice.is_empty() && saved.recovered_backlogs.is_empty());
        assert_eq!(saved.in_doubt_transactions, 0);
        assert_eq!(saved.messages, world.pending.len() as u64);
    }
}

/// What must hold whatever was lost.
pub(super) fn judge(
    world: &World,
    disk: &FaultyDisk,
    started: &Started,
    saved: &Salvaged,
    context: &str,
) {
    let mut last_seen: BTreeMap<(u32, u8), &[u8]> = BTreeMap::new();
    for (id, (_, bodies)) in &started.by_backlog {
        let mut previous = None;
        for (position, body) in bodies {
            let sent = world.sent.get(body);
            let sent = sent.unwrap_or_else(|| panic!("{context}: a body that nobody sent"));
            assert_eq!(sent.backlog.0, *id, "{context}: in the right backlog");
            assert!(previous < Some(*position), "{context}: positions ascend");
            previous = Some(*position);
            // Bodies are numbered in the order in which they were sent; a transaction's become
            // visible later, and a moved one whose first record nobody has any more comes when it
            // moved.
            let came_late = saved.is_all_redelivered && world.was_moved(body);
            if !sent.transaction && !came_late {
                let last = last_seen.insert((*id, position.order()), body);
                assert!(last < Some(body), "{context}: in order");
            }
        }
    }
    let there = started.bodies();
    let pending = saved.messages;
    let bodies: usize = started
        .by_backlog
        .values()
        .map(|(_, bodies)| bodies.len())
        .sum();
    // Of a message that moved more than once, the move in the middle can be lost: nothing says then that
    // the first and the last record are the same message. All are flagged as redelivered in that case.
    let mut seen = BTreeSet::new();
    for (_, body) in started.by_backlog.values().flat_map(|(_, all)| all) {
        let may_come_twice = saved.is_all_redelivered && world.was_moved(body);
        assert!(
            seen.insert(body) || may_come_twice,
            "{context}: nothing twice"
        );
    }
    assert_eq!(bodies as u64, pending, "{context}: as many as told");
    for (body, (_, _, location)) in &world.pending {
        if there.contains(&body[..]) || !world.is_intact(disk, *location) {
            continue;
        }
        let is_in_doubt = world.sent[body].transaction && saved.in_doubt_messages > 0;
        assert!(
            is_in_doubt,
            "{context}: {} is lost\n{saved:#?}",
            String::from_utf8_lossy(body)
        );
    }
    let is_hurt = world
        .pending
        .iter()
        .any(|(body, _)| !there.contains(&body[..]));
    let is_told = !saved.lost_messages.is_empty()
        || !saved.lost_records.is_empty()
        || saved.in_doubt_messages > 0;
    assert!(!is_hurt || is_told, "{context}: a loss is told\n{saved:#?}");
    let came_back = there
        .iter()
        .filter(|body| !world.pending.contains_key(**body));
    if came_back.count() > 0 {
        assert!(
            saved.is_all_redelivered,
            "{context}: what comes again is flagged"
        );
    }
    if saved.is_all_redelivered {
        for (id, (_, bodies)) in &started.by_backlog {
            let below = started.redelivered_below[id];
            let is_flagged = bodies.iter().all(|(at, _)| at.sequence() < below);
            assert!(is_flagged, "{context}: all of backlog {id} is flagged");
        }
    }
}

/// Damage that hits the journal's end is a torn tail, and nobody can tell how much it was.
fn hits_the_end(world: &World, disk: &FaultyDisk) -> bool {
    let last = world
        .segments()
        .into_iter()
        .rfind(|path| !world.batches(path).is_empty())
        .unwrap();
    if !disk.paths("journal").contains(&last) {
        return true;
    }
    let (start, end) = *world.batches(&last).last().unwrap();
    disk.bytes(&last).get(start..end) != Some(&world.files[&last][start..end])
}

pub(super) fn random_damage(world: &World, cases: u64) {
    let (mut judged, mut with_loss) = (0, 0);
    for seed in seeds(cases) {
        let mut dice = Dice(seed);
        let disk = world.disk.copy();
        let mut done = Vec::new();
        for _ in 0..1 + dice.roll(3) {
            done.push(hurt(world, &disk, &mut dice));
        }
        let before = disk.changes().len();
        let out = FaultyDisk::default();
        let context = format!("seed {seed}: {done:?}");
        let saved = match salvage(&disk, &out, &keys()) {
            Ok(saved) => saved,
            Err(SalvageError::NoJournal) => continue,
            Err(error) => panic!("{context}: {error}"),
        };
        assert_eq!(
            disk.changes().len(),
            before,
            "{context}: nothing is written there"
        );
        let started = start(&out);
        if hits_the_end(world, &disk) {
            continue;
        }
        judge(world, &disk, &started, &saved, &context);
        judged += 1;
        with_loss += usize::from(saved.is_all_redelivered);
    }
    assert!(
        judged > cases as usize / 3 || cases < 10 || std::env::var("SEED").is_ok(),
        "{judged} of {cases} were judged, {with_loss} with losses"
    );
}

#[test]
fn everything_that_was_not_hit_survives_random_damage() {
    random_damage(&World::new(OPTIONS), 300);
}

#[test]
fn everything_that_was_not_hit_survives_random_damage_with_checkpoints() {
    random_damage(&World::new(SMALL), 300);
}

#[test]
fn a_lost_creation_leaves_a_recovered_backlog() {
    let world = World::new(OPTIONS);
    let disk = world.disk.copy();
    let first = world.segments()[0].clone();
    let mut bytes = disk.bytes(&first);
    // The seal stays; the creations behind it go.
    let (start_of, _) = world.batches(&first)[1];
    let (_, end) = world.batches(&first)[1];
    bytes[start_of..end].fill(0xEE);
    disk.set_bytes(&first, bytes);
    let (out, saved) = save(&disk);
    assert!(!saved.recovered_backlogs.is_empty(), "{saved:#?}");
    let started = start(&out);
    for recovered in &saved.recovered_backlogs {
        assert_eq!(recovered.name, format!("recovered {}", recovered.id));
        assert_eq!(started.by_backlog[&recovered.id].0, recovered.name);
    }
    judge(&world, &disk, &started, &saved, "creations");
}

#[test]
fn a_lost_acknowledgement_brings_its_message_again_flagged() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    let first = tenure.send(&queue, b"first");
    tenure.send(&queue, b"second");
    tenure.settle();
    tenure.store.acknowledge(&queue, &[first]).unwrap();
    tenure.settle();
    let third = tenure.send(&queue, b"third");
    tenure.settle();
    // Positions are not certain behind a loss: this one must not hit another message.
    tenure.store.acknowledge(&queue, &[third]).unwrap();
    tenure.settle();
    tenure.send(&queue, b"fourth");
    tenure.settle();
    tenure.store.abandon();
    let path = disk.paths("journal")[0].clone();
    let bytes = disk.bytes(&path);
    let body = b"second".as_slice();
    let at = bytes.windows(6).position(|window| window == body).unwrap() + 6;
    let disk = disk.copy();
    disk.flip(&path, at + 40 + 20 + 2);
    let (out, saved) = save(&disk);
    let started = start(&out);
    let bodies: Vec<&[u8]> = started.by_backlog[&1]
        .1
        .iter()
        .map(|(_, body)| &body[..])
        .collect();
    assert_eq!(
        bodies,
        [b"first".as_slice(), b"second", b"third", b"fourth"]
    );
    assert_eq!(saved.lost_records.len(), 1);
    assert_eq!(saved.may_come_twice.len(), 1);
    assert_eq!(saved.may_come_twice[0].messages, 1);
    assert_eq!(started.redelivered_below[&1], 5);
}

#[test]
fn a_lost_commit_leaves_its_transaction_in_doubt() {
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, OPTIONS);
    let queue = tenure.backlog("queue");
    tenure
        .store
        .enqueue_in_transaction(b"tx", one(&queue), message(b"committed"))
        .unwrap();
    tenure.settle();
    tenure.store.commit(b"tx", &[]).unwrap();
    tenure.settle();
    tenure.send(&queue, b"plain");
    tenure.settle();
    tenure.store.abandon();
    let path = disk.paths("journal")[0].clone();
    let bytes = disk.bytes(&path);
    let at = bytes
        .windows(9)
        .position(|window| window == b"committed")
        .unwrap()
        + 9;
    let disk = disk.copy();
    disk.flip(&path, at + 40 + 20 + 1);
    let (out, saved) = save(&disk);
    assert_eq!(
        (saved.in_doubt_transactions, saved.in_doubt_messages),
        (1, 1)
    );
    let tenure = begin(&out, 50, OPTIONS);
    let prepared = tenure.store.prepared();
    assert_eq!(&prepared[0].key[..], b"tx#0");
    tenure
        .store
        .decide(b"tx#0", storage::Decision::Commit, true)
        .unwrap();
    tenure.settle();
    let queue = tenure.store.backlogs()[0].clone();
    assert_eq!(
        bodies(&tenure.store, &queue),
        [b"plain".to_vec(), b"committed".to_vec()]
    );
    tenure.store.abandon();
}

#[test]
fn a_directory_in_use_a_full_disk_and_an_occupied_one_are_refused() {
    let world = World::new(SMALL);
    let out = FaultyDisk::default();
    out.set_bytes(std::path::Path::new("something"), vec![1]);
    let refused = salvage(&world.disk, &out, &keys());
    assert!(matches!(refused, Err(SalvageError::NotEmpty { .. })));
    let out = FaultyDisk::default();
    out.set_capacity(Some(1000));
    let refused = salvage(&world.disk, &out, &keys());
    assert!(matches!(refused, Err(SalvageError::Space { .. })));
    assert!(out.paths("").is_empty(), "nothing was written");
    let empty = FaultyDisk::default();
    let refused = salvage(&empty, &FaultyDisk::default(), &keys());
    assert!(matches!(refused, Err(SalvageError::NoJournal)));
}
