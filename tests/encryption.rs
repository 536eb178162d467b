//! An encrypted journal, as operators see it: real brokers, real files, and what the tools say.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use support::{Broker, TENURE, eventually, run, show};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A new key file, and the key's name.
fn new_key(place: &Path, name: &str) -> (String, String) {
    let path = text(&place.join(name));
    let made = run(&["storage", "new-key", &path]);
    assert_eq!(made.status.code(), Some(0), "{}", show(&made));
    let id = made.stdout.trim().rsplit(' ').next().expect("a word");
    assert_eq!(id.len(), 16, "{}", show(&made));
    (path, id.to_owned())
}

fn start(name: &str, directory: &Path, settings: &[String]) -> Broker {
    let mut options = TENURE.to_vec();
    options.extend(["--set", "journal.segment_size=1mb"]);
    for setting in settings {
        options.extend(["--set", setting]);
    }
    Broker::start(name, directory, &options)
}

fn key_file(path: &str) -> Vec<String> {
    vec![format!("encryption.key_file={path}")]
}

fn produce(broker: &Broker, count: &str) {
    let sent = run(&[
        "produce",
        &broker.address(),
        "MARKER-QUEUE",
        "--count",
        count,
        "--text",
        "MARKER-BODY",
        "--property",
        "marker=MARKER-PROPERTY",
    ]);
    assert!(sent.status.success(), "{}", show(&sent));
}

fn consume(broker: &Broker, count: &str) {
    let address = broker.address();
    let received = run(&[
        "consume",
        &address,
        "MARKER-QUEUE",
        "--count",
        count,
        "--wait",
        "20s",
    ]);
    assert!(received.status.success(), "{}", show(&received));
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("readable") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files
}

/// Files that hold any of the markers.
fn leaks(directory: &Path) -> Vec<PathBuf> {
    let leaks = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(7).any(|window| window == b"MARKER-")
    };
    files_below(directory).into_iter().filter(leaks).collect()
}

/// The broker ends by itself with exit code 1; answers what it said.
fn refused(mut broker: Broker) -> String {
    assert_eq!(broker.wait_for_exit().code(), Some(1), "{}", broker.log());
    broker.log()
}

#[test]
fn a_pair_hands_an_encrypted_journal_over_and_nobody_without_the_key_gets_in() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let (key, id) = new_key(place.path(), "journal.key");
    let (other, other_id) = new_key(place.path(), "other.key");
    let mut a = start("a", &directory, &key_file(&key));
    a.wait_for_role("active");
    let b = start("b", &directory, &key_file(&key));
    b.wait_for_role("standby");
    produce(&a, "40");
    for broker in [&a, &b] {
        assert_eq!(broker.status()["encryption"]["writes_with"], *id);
        assert_eq!(broker.status()["encryption"]["reads_with"][0], *id);
    }

    // A standby that could not take over does not stay.
    let log = refused(start("c", &directory, &[]));
    let wanted = format!("is encrypted with the key {id}, and no key was given");
    assert!(log.contains(&wanted) && log.contains("key_file"), "{log}");
    let log = refused(start("d", &directory, &key_file(&other)));
    let wanted = format!("encrypted with the key {id}, and only the key {other_id} was given");
    assert!(log.contains(&wanted), "{log}");

    a.kill();
    b.wait_for_role("active");
    consume(&b, "10");
    assert_eq!(leaks(&directory), Vec::<PathBuf>::new());
    b.signal(nix::sys::signal::Signal::SIGTERM);
    let mut b = b;
    assert_eq!(b.wait_for_exit().code(), Some(0));
    assert_eq!(leaks(&directory), Vec::<PathBuf>::new());

    let secret = std::fs::read_to_string(&key).expect("readable");
    assert!(!a.log().contains(secret.trim()) && !b.log().contains(secret.trim()));
    tools(&directory, place.path(), &key, &id);
}

/// What each tool says of the journal, in which 30 messages wait.
fn tools(directory: &Path, place: &Path, key: &str, id: &str) {
    let dir = text(directory);
    let without = run(&["storage", "check", &dir]);
    assert_eq!(without.status.code(), Some(3), "{}", show(&without));
    for words in [
        "no damage was seen, but not everything could be read",
        "what is pending cannot be told without the key",
        "structure and checksums were checked",
        &format!("encrypted with the key {id}, which was not given"),
        "give the key with `--key-file`",
    ] {
        assert!(
            without.stdout.contains(words),
            "{words}: {}",
            show(&without)
        );
    }
    let with = run(&["storage", "check", &dir, "--key-file", key]);
    assert_eq!(with.status.code(), Some(0), "{}", show(&with));
    assert!(
        with.stdout.contains("30 pending messages"),
        "{}",
        show(&with)
    );
    assert!(
        with.stdout.contains(&format!("encrypted with: {id}")),
        "{}",
        show(&with)
    );

    let why = run(&["storage", "why", &dir]);
    assert_eq!(why.status.code(), Some(1), "{}", show(&why));
    assert!(
        why.stderr.contains(&format!("encrypted with the key {id}")),
        "{}",
        show(&why)
    );
    let why = run(&["storage", "why", &dir, "--key-file", key, "--json"]);
    assert_eq!(why.status.code(), Some(0), "{}", show(&why));
    assert!(why.stdout.contains("MARKER-QUEUE"), "{}", show(&why));
    assert!(
        why.stdout.contains("\"first_message_id\": \"ID:"),
        "{}",
        show(&why)
    );

    let out = place.join("saved");
    let save = run(&["storage", "check", &dir, "--salvage", &text(&out)]);
    assert_eq!(save.status.code(), Some(3), "{}", show(&save));
    assert!(save.stderr.contains("no key was given"), "{}", show(&save));
    let config = place.join("baton.toml");
    let written = format!("[encryption]\nkey_file = \"{key}\"\n");
    std::fs::write(&config, written).expect("written");
    let config = text(&config);
    let save = run(&[
        "storage",
        "check",
        &dir,
        "--salvage",
        &text(&out),
        "--config",
        &config,
    ]);
    assert_eq!(save.status.code(), Some(0), "{}", show(&save));
    assert_eq!(leaks(&out), Vec::<PathBuf>::new());
    let broker = start("s", &out, &key_file(key));
    broker.wait_for_role("active");
    consume(&broker, "30");

    let checked = run(&["config", "check", &config]);
    assert_eq!(checked.status.code(), Some(0), "{}", show(&checked));
    assert!(
        checked
            .stdout
            .contains(&format!("writes with the key {id}")),
        "{}",
        show(&checked)
    );
}

#[test]
fn keys_are_changed_by_restarts_and_the_tool_tells_which_are_left() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let (old, old_id) = new_key(place.path(), "old.key");
    let (new, new_id) = new_key(place.path(), "new.key");
    let dir = text(&directory);
    let keys = |arguments: &[&str]| {
        let told = run(&[&["storage", "keys", &dir], arguments].concat());
        assert_eq!(told.status.code(), Some(0), "{}", show(&told));
        told.stdout
    };
    // Plain at first.
    let mut a = start("a", &directory, &[]);
    a.wait_for_role("active");
    produce(&a, "5");
    a.kill();
    assert!(keys(&[]).contains("none (plain)"), "{}", keys(&[]));

    let mut a = start("a", &directory, &key_file(&old));
    a.wait_for_role("active");
    produce(&a, "5");
    a.kill();
    let told = keys(&["--key-file", &new]);
    assert!(
        told.contains(&old_id) && told.contains("written with now"),
        "{told}"
    );
    assert!(
        told.contains(&format!("No file here needs the key {new_id}")),
        "{told}"
    );

    let mut both = key_file(&new);
    both.push(format!("encryption.old_key_files={old}"));
    let mut a = start("a", &directory, &both);
    a.wait_for_role("active");
    assert!(keys(&[]).contains(&new_id));
    // Everything that the others wrote is consumed: nothing needs them any more.
    consume(&a, "10");
    let json = || -> serde_json::Value { serde_json::from_str(&keys(&["--json"])).expect("JSON") };
    eventually("only the new key to be in use", || {
        produce(&a, "50");
        consume(&a, "50");
        let told = json();
        let uses = told["in_use"].as_array().expect("a list");
        (uses.len() == 1 && uses[0]["key"] == *new_id).then_some(())
    });
    a.kill();
    let a = start("a", &directory, &key_file(&new));
    a.wait_for_role("active");
}

#[test]
fn keys_that_cannot_be_had_end_the_start_with_what_to_do() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = place.path().join("journal");
    let (key, id) = new_key(place.path(), "journal.key");
    let mode = std::fs::metadata(&key).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let again = run(&["storage", "new-key", &key]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "it is not overwritten: {}",
        show(&again)
    );

    let open = place.path().join("open.key");
    std::fs::copy(&key, &open).expect("copied");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let log = refused(start("open", &directory, &key_file(&text(&open))));
    assert!(
        log.contains("mode 0644") && log.contains("chmod 600"),
        "{log}"
    );
    let log = refused(start("missing", &directory, &key_file("/nonexistent.key")));
    assert!(
        log.contains("cannot read the key file `/nonexistent.key`"),
        "{log}"
    );
    let failing = vec!["encryption.key_command=[\"false\"]".to_owned()];
    let log = refused(start("failing", &directory, &failing));
    assert!(log.contains("the key command `false` failed"), "{log}");
    let mut two = key_file(&key);
    two.push("encryption.key_command=[\"cat\"]".to_owned());
    let log = refused(start("two", &directory, &two));
    assert!(log.contains("keep one of the two"), "{log}");

    let command = vec![format!("encryption.key_command=[\"cat\", \"{key}\"]")];
    let broker = start("command", &directory, &command);
    broker.wait_for_role("active");
    assert!(broker.log().contains(&id), "{}", broker.log());
}
