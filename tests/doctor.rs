//! `baton doctor`, as an operator runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BATON_") {
            command.env_remove(name);
        }
    }
    let output = command.arg("doctor").args(arguments).output();
    output.expect("the program runs")
}

fn findings(path: &Path, more: &[&str]) -> Value {
    let path = path.display().to_string();
    let arguments: Vec<&str> = [path.as_str(), "--json"]
        .iter()
        .chain(more)
        .copied()
        .collect();
    let output = doctor(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}{error}"))
}

fn texts(report: &Value, topic: &str) -> Vec<String> {
    let all = report["findings"].as_array().expect("a list");
    let fits = all.iter().filter(|one| one["topic"] == topic);
    fits.map(|one| format!("{}: {}", one["severity"], one["text"]))
        .collect()
}

#[test]
fn a_directory_is_examined_and_nothing_stays_in_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let report = findings(directory.path(), &[]);
    assert_eq!(report["exists"], true);
    let locks = texts(&report, "locks");
    assert!(
        locks
            .iter()
            .any(|one| one.contains("\"good\": \"a byte-range lock (OFD)")),
        "{locks:?}"
    );
    assert!(
        locks.iter().any(|one| one.contains("each had one winner")),
        "{locks:?}"
    );
    assert!(
        locks.iter().any(|one| one.contains("seen by a fresh open")),
        "{locks:?}"
    );
    assert!(
        locks
            .iter()
            .any(|one| one.contains("killed process was free after")),
        "{locks:?}"
    );
    for topic in ["mount", "clock", "space", "speed"] {
        assert!(!texts(&report, topic).is_empty(), "{topic}");
    }
    assert!(
        report["speed"]["append"]["p50_ms"]
            .as_f64()
            .is_some_and(|ms| ms > 0.0)
    );
    assert_eq!(fs::read_dir(directory.path()).expect("lists").count(), 0);
}

#[test]
fn takeover_times_follow_the_configuration() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let most = |more: &[&str]| {
        let report = findings(directory.path(), more);
        let all = report["takeover"].as_array().expect("a list").clone();
        let frozen = all.iter().find(|one| {
            one["cause"]
                .as_str()
                .is_some_and(|cause| cause.contains("process frozen"))
        });
        frozen.expect("a row")["most_s"]
            .as_f64()
            .unwrap_or(f64::INFINITY)
    };
    let (short, long) = (
        most(&["--set", "tenure.lease=3s"]),
        most(&["--set", "tenure.lease=20s"]),
    );
    assert!((6.0..8.0).contains(&short), "{short}");
    assert!((40.0..43.0).contains(&long), "{long}");
    assert!(most(&["--set", "tenure.takeover=lock"]).is_infinite());
}

#[test]
fn the_text_has_a_verdict_and_the_exit_code_is_the_same() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("not/there");
    let output = doctor(&[&path.display().to_string()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("is not there yet"), "{text}");
    assert!(
        text.contains("From a fault until the other broker serves"),
        "{text}"
    );
    // Two parts of the name are missing, which is a warning; the disk may have worse to show.
    let code = output.status.code().expect("ended by itself");
    let verdict = match code {
        3 => "It works; see the warnings.",
        2 => "A pair must not run on it like this.",
        other => panic!("exit code {other}: {text}"),
    };
    assert!(text.contains(verdict), "{text}");
    assert!(!path.exists() && !directory.path().join("not").exists());
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, "x").expect("writes");
    for (path, reason) in [
        (file.display().to_string(), "is not a directory"),
        (format!("{}/below", file.display()), "file"),
    ] {
        let output = doctor(&[&path]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path}: {error}");
        assert!(error.contains(reason), "{path}: {error}");
    }
    let output = doctor(&["--nfs-lease", "soon", "."]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_running_broker_is_seen_and_not_disturbed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut broker = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args([
            "broker",
            "--name",
            "south",
            "--listen",
            "tcp://127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ])
        .args([
            "--set",
            "tenure.lease=2s",
            "--set",
            "tenure.renewal=200ms",
            "--log",
            "warn",
            "--directory",
        ])
        .arg(directory.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = std::io::BufReader::new(broker.stdout.take().expect("piped"));
    let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
    assert!(
        lines.any(|line| line.starts_with("role active")),
        "it became the active"
    );
    let before = listing(directory.path());
    let report = findings(directory.path(), &[]);
    let told = texts(&report, "journal");
    let is_running = broker.try_wait().expect("asks").is_none();
    let after = listing(directory.path());
    let _ = broker.kill();
    let _ = broker.wait();
    assert!(
        told.iter()
            .any(|one| one.contains("south on") && one.contains("has its lock")),
        "{told:?}"
    );
    assert!(report["holder"]["is_locked"] == true && is_running);
    // The broker itself goes on making segments, checkpoints and spare files.
    let own = ["journal", "checkpoints", "spare"].map(|name| directory.path().join(name));
    let others = |all: Vec<String>| {
        let is_own = |path: &String| own.iter().any(|own| Path::new(path).starts_with(own));
        let others = all.into_iter().filter(|path| !is_own(path));
        others.collect::<Vec<_>>()
    };
    assert_eq!(others(before), others(after));
    let report = findings(directory.path(), &[]);
    assert_eq!(report["holder"]["is_locked"], false, "it is dead");
    assert!(
        lines.all(|line| !line.starts_with("role")),
        "it kept its role to the end"
    );
}

/// The names below a directory.
fn listing(directory: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).expect("lists") {
        let path = entry.expect("an entry").path();
        names.push(path.display().to_string());
        if path.is_dir() {
            names.extend(listing(&path));
        }
    }
    names.sort();
    names
}
