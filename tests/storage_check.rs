//! `baton storage check` and `--salvage` on the journal of a real broker.

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use support::{Broker, run, show};

const MESSAGES: usize = 40;

fn produce(broker: &Broker) {
    let sent = run(&[
        "produce",
        &broker.address(),
        "orders",
        "--count",
        &MESSAGES.to_string(),
    ]);
    assert!(sent.status.success(), "{}", show(&sent));
}

/// The segment that has the messages, and a place inside the body of one in its middle: damage to
/// the frame of a batch that no start replays would cost nothing.
fn body_of_a_message(directory: &Path) -> (PathBuf, u64) {
    let part_of_a_body: Vec<u8> = (b'A'..=b'Z').collect();
    let segments = std::fs::read_dir(directory.join("journal")).expect("a journal");
    let paths = segments.map(|entry| entry.expect("an entry").path());
    let bodies = paths.map(|path| {
        let bytes = std::fs::read(&path).expect("readable");
        let places = bytes.windows(part_of_a_body.len());
        let places = places
            .enumerate()
            .filter(|(_, part)| *part == part_of_a_body);
        (places.map(|(at, _)| at as u64).collect::<Vec<_>>(), path)
    });
    let (places, path) = bodies
        .max_by_key(|(places, _)| places.len())
        .expect("a segment");
    assert!(places.len() >= MESSAGES, "{path:?}: {places:?}");
    (path, places[places.len() / 2])
}

#[test]
fn a_damaged_journal_is_told_saved_and_started_on() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (directory, saved) = (place.path().join("journal"), place.path().join("saved"));
    let text = |path: &Path| path.display().to_string();
    let (from, out) = (text(&directory), text(&saved));
    let mut broker = Broker::start("a", &directory, &["--set", "journal.segment_size=1mb"]);
    broker.wait_for_role("active");
    produce(&broker);

    let beside = run(&["storage", "check", &from]);
    assert_eq!(beside.status.code(), Some(0), "{}", show(&beside));
    assert!(
        beside.stdout.contains("is writing this journal"),
        "{}",
        show(&beside)
    );
    let refused = run(&["storage", "check", &from, "--salvage", &out]);
    assert_eq!(refused.status.code(), Some(3), "{}", show(&refused));
    assert!(
        refused.stderr.contains("stop both brokers"),
        "{}",
        show(&refused)
    );
    assert!(!saved.exists(), "nothing was written");

    broker.kill();
    let (path, at) = body_of_a_message(&directory);
    let file = std::fs::File::options().read(true).write(true).open(&path);
    let file = file.expect("writable");
    file.write_all_at(&[0xA5; 16], at).expect("written");
    drop(file);

    let checked = run(&["storage", "check", &from]);
    assert_eq!(checked.status.code(), Some(1), "{}", show(&checked));
    assert!(checked.stdout.contains("DAMAGED"), "{}", show(&checked));
    assert!(checked.stdout.contains("--salvage"), "{}", show(&checked));
    let json = run(&["storage", "check", &from, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report["verdict"], "damaged");

    let inside = text(&directory.join("saved"));
    let refused = run(&["storage", "check", &from, "--salvage", &inside]);
    assert_eq!(refused.status.code(), Some(3), "{}", show(&refused));
    let salvaged = run(&["storage", "check", &from, "--salvage", &out, "--json"]);
    assert_eq!(salvaged.status.code(), Some(1), "{}", show(&salvaged));
    let report: serde_json::Value = serde_json::from_str(&salvaged.stdout).expect("JSON");
    let left = report["messages"].as_u64().expect("a number");
    assert!(left > 0 && left < MESSAGES as u64, "{left} of {MESSAGES}");

    let healthy = run(&["storage", "check", &out]);
    assert_eq!(healthy.status.code(), Some(0), "{}", show(&healthy));
    let broker = Broker::start("a", &saved, &["--set", "journal.segment_size=1mb"]);
    broker.wait_for_role("active");
    let count = left.to_string();
    let address = broker.address();
    let received = run(&[
        "consume", &address, "orders", "--count", &count, "--wait", "10s",
    ]);
    assert!(received.status.success(), "{}", show(&received));
}

#[test]
fn what_is_no_journal_is_said_so_and_ends() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let missing = run(&["storage", "check", "/nowhere/at/all"]);
    assert_eq!(missing.status.code(), Some(3), "{}", show(&missing));
    let text = place.path().display().to_string();
    let empty = run(&["storage", "check", &text]);
    assert_eq!(empty.status.code(), Some(3), "{}", show(&empty));
    assert!(
        empty.stdout.contains("there is no journal here"),
        "{}",
        show(&empty)
    );
    // Names of a journal on what is none: a pipe on which a reader would wait, a directory, and a
    // long file of nothing.
    let journal = place.path().join("journal");
    std::fs::create_dir(&journal).expect("created");
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&journal.join("0000000001-0000000001.seg"), mode).expect("a pipe");
    std::fs::create_dir(journal.join("0000000002-0000000001.seg")).expect("created");
    let huge = std::fs::File::create(journal.join("0000000003-0000000001.seg")).expect("created");
    huge.set_len(16 << 20).expect("sparse");
    let checked = run(&["storage", "check", &text]);
    assert_eq!(checked.status.code(), Some(3), "{}", show(&checked));
    assert!(
        checked.stdout.contains("not a regular file"),
        "{}",
        show(&checked)
    );
}
