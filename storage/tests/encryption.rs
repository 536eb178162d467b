//! Encryption at rest, as the owner of a directory and somebody who stole it see it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use storage::cipher::KeyId;
use storage::error::FollowError;
use storage::inspect::{Finding, Kind, SalvageError, Verdict, keys_in_use};
use storage::journal::JournalOptions;
use storage::sim::Random;
use storage::{Backlog, Keyring, Lsn};

use support::inspected::{check, salvage};
use support::*;

const MARKERS: [&[u8]; 5] = [
    b"MARKER-BODY",
    b"MARKER-QUEUE",
    b"MARKER-PRODUCER",
    b"MARKER-TRANSACTION",
    b"MARKER-LARGE",
];

/// Checkpoints only when somebody asks for the end.
const ROOMY: JournalOptions = JournalOptions {
    segment_bytes: 64 << 10,
    ..OPTIONS
};

fn save(disk: &FaultyDisk, keys: &Keyring) -> Result<FaultyDisk, SalvageError> {
    let out = FaultyDisk::default();
    salvage(disk, &out, keys).map(|_| out)
}

fn files(disk: &FaultyDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = ["journal", "checkpoints", "claims", "."].map(|folder| disk.paths(folder));
    let read = |path: PathBuf| (path.clone(), disk.bytes(&path));
    paths.into_iter().flatten().map(read).collect()
}

fn markers_in(disk: &FaultyDisk) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for (path, bytes) in files(disk) {
        for marker in MARKERS {
            if bytes.windows(marker.len()).any(|window| window == marker) {
                found.push((path.clone(), String::from_utf8_lossy(marker).into_owned()));
            }
        }
    }
    found
}

/// Everything that holds names or contents: messages of every size, transactions of every kind,
/// moves, checkpoints.
fn write_markers(disk: &FaultyDisk, epoch: u64) -> Tenure {
    let options = JournalOptions {
        checkpoint_bytes: 3000,
        ..ROOMY
    };
    let tenure = begin(disk, epoch, options);
    let queue = tenure.backlog("MARKER-QUEUE");
    let large = b"MARKER-LARGE".repeat(20_000);
    tenure.send(&queue, &large);
    let to_queue = one(&queue);
    let store = &tenure.store;
    for sequence in 0..60_u64 {
        let message = from_producer(b"ID:MARKER-PRODUCER", sequence, b"a MARKER-BODY");
        store.enqueue(to_queue, message).unwrap();
        let positions: Vec<_> = entries(&queue).iter().map(|(at, _)| *at).collect();
        if sequence % 3 == 0 {
            store.acknowledge(&queue, &positions[1..]).unwrap();
        }
        tenure.settle();
    }
    let message = message(b"MARKER-BODY of a transaction");
    for (key, is_prepared) in [
        (b"MARKER-TRANSACTION-1", true),
        (b"MARKER-TRANSACTION-2", false),
    ] {
        store
            .enqueue_in_transaction(key, to_queue, message)
            .unwrap();
        if is_prepared {
            store.prepare(key, &[]).unwrap();
        }
    }
    tenure.settle();
    tenure
}

/// One tenure that writes a message into the backlog of that name.
fn tell(disk: &FaultyDisk, epoch: u64, name: &str, body: &[u8]) {
    let tenure = begin(disk, epoch, ROOMY);
    let backlogs = tenure.store.backlogs();
    let known = backlogs
        .iter()
        .find(|backlog| *backlog.descriptor() == *name.as_bytes());
    let backlog = known.cloned().unwrap_or_else(|| tenure.backlog(name));
    tenure.send(&backlog, body);
    tenure.settle();
    tenure.store.shut_down();
}

/// A message that fills most of its segment, so that nothing moves it.
fn filling(byte: u8) -> Vec<u8> {
    vec![byte; 55_000]
}

fn bodies_of(disk: &FaultyDisk, epoch: u64) -> Vec<Vec<u8>> {
    let tenure = begin(disk, epoch, ROOMY);
    let backlogs: Vec<Arc<Backlog>> = tenure.store.backlogs();
    let all = backlogs
        .iter()
        .flat_map(|backlog| bodies(&tenure.store, backlog));
    let all = all.collect();
    tenure.store.abandon();
    all
}

fn key_error(disk: &FaultyDisk) -> String {
    match open(disk).map(|follower| follower.finish(storage::Epoch(999))) {
        Err(error @ FollowError::Key(_)) | Ok(Err(error @ FollowError::Key(_))) => {
            assert!(!error.is_transient(), "nobody waits for a key");
            error.to_string()
        }
        Ok(Ok(_)) => panic!("it was read"),
        Err(error) | Ok(Err(error)) => panic!("{error}"),
    }
}

fn used(disk: &FaultyDisk) -> Vec<Option<KeyId>> {
    let uses = keys_in_use(disk).unwrap();
    uses.iter().map(|used| used.key).collect()
}

#[test]
fn no_file_holds_a_body_or_a_name_that_was_written() {
    let plain = FaultyDisk::default();
    write_markers(&plain, 1).store.shut_down();
    let found = markers_in(&plain);
    for marker in MARKERS {
        let marker = String::from_utf8_lossy(marker);
        assert!(
            found.iter().any(|(_, text)| *text == marker),
            "{marker}: the search works"
        );
    }
    assert!(
        found
            .iter()
            .any(|(path, _)| path.starts_with("checkpoints")),
        "{found:?}"
    );

    use_keys(&[1]);
    let disk = FaultyDisk::default();
    write_markers(&disk, 1).store.shut_down();
    assert_eq!(markers_in(&disk), []);
    // Nor does any state in between, or a temporary file.
    for change in disk.changes() {
        let text = format!("{change:?}");
        assert!(!text.contains("MARKER"), "{text}");
        if let Change::Write { path, bytes, .. } = change {
            let leaks = |marker: &&[u8]| bytes.windows(marker.len()).any(|at| at == *marker);
            assert!(!MARKERS.iter().any(leaks), "{}", path.display());
        }
    }
    assert_eq!(check(&disk, &keys()).verdict, Verdict::Healthy);
}

#[test]
fn what_was_written_is_read_back_while_it_waits_from_the_file_and_by_the_next_tenure() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, ROOMY);
    let queue = tenure.backlog("queue");
    let sent: Vec<Vec<u8>> = [1, 100, 70_000, 5, 300_000, 9]
        .into_iter()
        .map(|length: usize| vec![length as u8; length])
        .collect();
    for body in &sent {
        tenure.send(&queue, body);
    }
    assert_eq!(
        bodies(&tenure.store, &queue),
        sent,
        "perhaps not written yet"
    );
    tenure.settle();
    assert_eq!(bodies(&tenure.store, &queue), sent);
    let mut follower = open(&disk).unwrap();
    follow(&mut follower);
    assert_eq!(
        view(&follower.state().backlogs()),
        view(&tenure.store.backlogs())
    );
    tenure.store.abandon();
    assert_eq!(bodies_of(&disk, 2), sent);
    assert_eq!(bodies_of(&disk, 3), sent, "from two tenures before");
}

#[test]
fn a_standby_that_lacks_the_key_says_so_and_which_one() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    tell(&disk, 1, "queue", b"secret");
    let (wanted, other) = (key(1).id(), key(2).id());
    use_keys(&[]);
    let error = key_error(&disk);
    assert!(
        error.contains(&format!(
            "encrypted with the key {wanted}, and no key was given"
        )),
        "{error}"
    );
    assert!(
        error.contains("`key_file`") && error.contains(".ckpt`"),
        "{error}"
    );
    use_keys(&[2]);
    let error = key_error(&disk);
    assert!(
        error.contains(&format!("only the key {other} was given")),
        "{error}"
    );
    // Without a checkpoint the segment says it.
    for path in disk.paths("checkpoints") {
        disk.delete(&path);
    }
    let error = key_error(&disk);
    assert!(
        error.contains(".seg`") && error.contains(&wanted.to_string()),
        "{error}"
    );
}

#[test]
fn a_missing_key_of_an_old_message_is_told_at_the_start_and_not_when_it_is_dispatched() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    tell(&disk, 1, "queue", &filling(1));
    use_keys(&[2, 1]);
    tell(&disk, 2, "queue", b"new");
    tell(&disk, 3, "queue", b"newer");
    // The checkpoint and everything that is replayed needs the second key only.
    use_keys(&[2]);
    assert!(key_error(&disk).contains(&key(1).id().to_string()));
}

#[test]
fn a_standby_that_follows_meets_a_key_that_it_does_not_have() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    tell(&disk, 1, "queue", b"old");
    let mut follower = open(&disk).unwrap();
    follow(&mut follower);
    use_keys(&[2, 1]);
    let tenure = begin(&disk, 2, ROOMY);
    tenure.settle();
    let told = (0..10).find_map(|_| follower.poll().err());
    assert!(matches!(told, Some(FollowError::Key(error)) if error.wanted == key(2).id()));
    tenure.store.abandon();
}

#[test]
fn keys_change_from_tenure_to_tenure_and_are_in_use_until_their_messages_are_gone() {
    let disk = FaultyDisk::default();
    for (epoch, known) in [(1, &[1][..]), (2, &[2, 1]), (3, &[3, 2, 1])] {
        use_keys(known);
        tell(
            &disk,
            epoch,
            &format!("queue {epoch}"),
            &filling(epoch as u8),
        );
    }
    let all = [1, 2, 3].map(|byte| Some(key(byte).id()));
    let mut found = used(&disk);
    found.sort_by_key(|id| all.iter().position(|other| other == id));
    assert_eq!(found, all);
    let newest = keys_in_use(&disk)
        .unwrap()
        .into_iter()
        .find(|used| used.is_newest);
    assert_eq!(newest.unwrap().key, all[2]);
    assert_eq!(bodies_of(&disk, 4).len(), 3);
    // The messages of the first two go; checkpoints let their segments go.
    let tenure = begin(
        &disk,
        5,
        JournalOptions {
            checkpoint_bytes: 2000,
            ..ROOMY
        },
    );
    for backlog in tenure.store.backlogs() {
        let positions: Vec<_> = entries(&backlog).iter().map(|(at, _)| *at).collect();
        tenure.store.acknowledge(&backlog, &positions).unwrap();
    }
    let queue = tenure.store.backlogs()[0].clone();
    wait_for("old keys to be out of use", || {
        let at = tenure.send(&queue, &[1; 400]);
        tenure.store.acknowledge(&queue, &[at]).unwrap();
        tenure.settle();
        used(&disk) == [all[2]]
    });
    tenure.store.shut_down();
    use_keys(&[3]);
    assert_eq!(bodies_of(&disk, 6), Vec::<Vec<u8>>::new());
}

#[test]
fn a_plain_journal_becomes_encrypted_and_plain_again() {
    let disk = FaultyDisk::default();
    tell(&disk, 1, "queue", &filling(1));
    use_keys(&[1]);
    tell(&disk, 2, "queue", &filling(2));
    assert_eq!(bodies_of(&disk, 3), [filling(1), filling(2)]);
    assert_eq!(used(&disk), [None, Some(key(1).id())]);
    // Off, but the key is still needed.
    use_keys(&[]);
    assert!(key_error(&disk).contains("no key was given"));
    let reading = Keyring::new(None, vec![key(1)]);
    let follower = storage::tail::Follower::open_with_keys(Arc::new(disk.clone()), reading.clone());
    let point = follower.unwrap().finish(storage::Epoch(4)).unwrap();
    assert_eq!(point.state.backlogs()[0].len(), 2);
    let report = check(&disk, &reading);
    assert_eq!((report.verdict, report.messages), (Verdict::Healthy, 2));
}

#[test]
fn a_takeover_writes_the_last_batch_again_byte_for_byte() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    let tenure = begin(&disk, 1, ROOMY);
    let queue = tenure.backlog("queue");
    tenure.send(&queue, b"seen");
    tenure.settle();
    tenure.store.abandon();
    let before = files(&disk);
    let with_message = disk.paths("journal").remove(0);
    let copy = disk.copy();
    begin(&copy, 2, ROOMY).store.abandon();
    let after = copy.paths("journal");
    assert!(after.contains(&with_message), "{after:?}");
    // Prepared segments of the former tenure that nothing was written into go, sooner or later.
    for (path, bytes) in before.into_iter().filter(|(path, _)| after.contains(path)) {
        assert_eq!(copy.bytes(&path), bytes, "{}", path.display());
    }
    // Also with the segment's header, which was perhaps written together with it.
    let lone = FaultyDisk::default();
    let tenure = begin(&lone, 1, ROOMY);
    tenure.store.abandon();
    let path = lone.paths("journal").remove(0);
    let bytes = lone.bytes(&path);
    begin(&lone, 2, ROOMY).store.abandon();
    assert_eq!(lone.bytes(&path), bytes);
}

#[test]
fn a_check_without_the_key_looks_at_what_it_can_and_says_what_it_could_not() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    write_markers(&disk, 1).store.shut_down();
    let with = check(&disk, &keys());
    for keys in [Keyring::default(), keyring(&[2])] {
        let without = check(&disk, &keys);
        assert_eq!(
            without.verdict,
            Verdict::Incomplete,
            "{:?}",
            without.findings
        );
        assert_eq!(
            (without.records, without.batches),
            (with.records, with.batches)
        );
        assert_eq!(without.last_lsn, with.last_lsn);
        assert_eq!(without.checkpoints, with.checkpoints);
        let finding = without
            .findings
            .iter()
            .find(|finding| finding.kind == Kind::Key)
            .unwrap();
        assert!(
            finding.what.contains(&key(1).id().to_string()),
            "{}",
            finding.what
        );
        assert!(
            finding.what.contains("checksums were checked"),
            "{}",
            finding.what
        );
        assert!(matches!(save(&disk, &keys), Err(SalvageError::Key(_))));
    }
    // Damage is found without a key.
    let (path, bytes) = files(&disk)
        .into_iter()
        .find(|(path, _)| path.starts_with("journal"))
        .unwrap();
    disk.flip(&path, bytes.len() / 2);
    disk.flip(&path, 200);
    let report = check(&disk, &Keyring::default());
    assert_ne!(report.verdict, Verdict::Healthy);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.path.as_deref() == path.to_str() && finding.kind != Kind::Key),
        "{:?}",
        report.findings
    );
}

#[test]
fn a_salvaged_journal_is_encrypted_and_whole() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    let tenure = write_markers(&disk, 1);
    let expected = view(&tenure.store.backlogs()).len();
    tenure.store.shut_down();
    let messages = check(&disk, &keys()).messages;
    // A segment's header is damaged: another one of its tenure has the salt, too.
    let paths = disk.paths("journal");
    assert!(paths.len() > 1, "{paths:?}");
    disk.flip(&paths[0], 30);
    let out = save(&disk, &keyring(&[2, 1])).unwrap();
    assert_eq!(markers_in(&out), []);
    assert_eq!(used(&out), [Some(key(2).id())]);
    let report = check(&out, &keyring(&[2]));
    assert_eq!(
        (report.verdict, report.messages),
        (Verdict::Healthy, messages)
    );
    assert_eq!(report.backlogs as usize, expected);
    use_keys(&[2]);
    let saved = bodies_of(&out, 100);
    assert_eq!(saved.len() as u64, messages);
    assert!(
        saved
            .iter()
            .all(|body| body.starts_with(b"MARKER") || body.starts_with(b"a MARKER"))
    );
}

#[test]
fn moved_messages_stay_encrypted_and_readable() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    let tenure = begin(
        &disk,
        1,
        JournalOptions {
            checkpoint_bytes: 4000,
            ..OPTIONS
        },
    );
    let (stuck, busy) = (tenure.backlog("stuck"), tenure.backlog("busy"));
    let mut kept = Vec::new();
    wait_for("messages to move", || {
        if kept.len() < 20 {
            let body = format!("MARKER-BODY {}", kept.len()).into_bytes();
            tenure.send(&stuck, &body);
            kept.push(body);
        }
        for _ in 0..10 {
            let at = tenure.send(&busy, &[3; 300]);
            tenure.store.acknowledge(&busy, &[at]).unwrap();
        }
        tenure.settle();
        tenure.store.space().moved_messages > 10
    });
    assert_eq!(bodies(&tenure.store, &stuck), kept);
    tenure.store.shut_down();
    assert_eq!(markers_in(&disk), []);
    assert_eq!(bodies_of(&disk, 2), kept);
    assert!(tenure.store.released() > Lsn(0));
}

/// Bodies that nobody else would write, over several segments.
fn numbered(number: usize) -> Vec<u8> {
    format!("number {number} ").repeat(40).into_bytes()
}

#[test]
fn whatever_is_done_to_the_files_nothing_is_saved_that_was_not_sent() {
    use_keys(&[1]);
    let disk = FaultyDisk::default();
    let tenure = begin(
        &disk,
        1,
        JournalOptions {
            checkpoint_bytes: 8000,
            ..OPTIONS
        },
    );
    let queue = tenure.backlog("queue");
    let sent: Vec<Vec<u8>> = (0..60).map(numbered).collect();
    for body in &sent {
        tenure.send(&queue, body);
    }
    tenure.settle();
    tenure.store.shut_down();
    let (mut complete, mut lossy) = (0, 0);
    let seeds = std::env::var("SEED").map_or(0..60, |seed| {
        let seed = seed.parse().unwrap();
        seed..seed + 1
    });
    for seed in seeds {
        let mut random = Random::new(seed);
        let hurt = disk.copy();
        for _ in 0..=random.below(2) {
            let mut paths = hurt.paths("journal");
            paths.extend(hurt.paths("checkpoints"));
            let path = &paths[random.below(paths.len() as u64) as usize];
            let mut bytes = hurt.bytes(path);
            let at = random.below(bytes.len() as u64) as usize;
            let length = (1 + random.below(200) as usize).min(bytes.len() - at);
            for byte in &mut bytes[at..at + length] {
                *byte = random.below(256) as u8;
            }
            hurt.set_bytes(path, bytes);
        }
        assert_ne!(
            check(&hurt, &Keyring::default()).verdict,
            Verdict::Healthy,
            "seed {seed}: nobody can say that without the key"
        );
        let report = check(&hurt, &keys());
        let saved = match save(&hurt, &keys()) {
            Ok(out) => bodies_of(&out, 100),
            Err(error) => panic!("seed {seed}: {error}; {:?}", report.findings),
        };
        let mut unknown = saved.iter().filter(|body| !sent.contains(body));
        assert_eq!(unknown.next(), None, "seed {seed}");
        if saved.len() == sent.len() {
            complete += 1;
        } else {
            lossy += 1;
            // Damage of just the end looks like a torn tail.
            let is_torn = |finding: &Finding| finding.kind == Kind::TornTail;
            let is_told = report.verdict == Verdict::Damaged || report.findings.iter().any(is_torn);
            assert!(is_told, "seed {seed}: {:?}", report.findings);
        }
        assert!(
            saved.len() + 12 >= sent.len(),
            "seed {seed}: {} saved",
            saved.len()
        );
    }
    eprintln!("{complete} times all was saved, {lossy} times most");
    assert!(complete + lossy == 1 || complete > 5 && lossy > 5);
}
