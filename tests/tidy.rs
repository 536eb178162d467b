//! The layering and the habits that the compiler does not check.
//!
//! A failure here names the file, the line and the rule; the rules are ARCHITECTURE.md's.

use std::fs;
use std::path::{Path, PathBuf};

/// Which paths a folder's code must not mention, and why.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    (
        "openwire/src",
        &[
            "tokio",
            "std::net",
            "std::fs",
            "std::thread",
            "storage::",
            "failover::",
        ],
        "the codec knows neither IO, async nor brokers",
    ),
    (
        "storage/src",
        &["tokio", "openwire", "failover::", "std::net"],
        "storage knows neither protocols, sockets nor async runtimes",
    ),
    (
        "failover/src",
        &["storage::", "batonmq::"],
        "the client knows nothing of the broker",
    ),
    (
        "src/broker",
        &[
            "crate::protocol",
            "crate::transport",
            "crate::console",
            "crate::node",
            "std::net",
            "tokio::net",
        ],
        "the domain knows no protocol and no socket",
    ),
    (
        "src/protocol",
        &[
            "crate::node",
            "crate::console",
            "crate::cli",
            "crate::drill",
            "storage::disk",
        ],
        "a protocol translates onto the broker and nothing else",
    ),
    (
        "src/drill",
        &[
            "crate::broker",
            "crate::protocol",
            "crate::node",
            "storage::",
        ],
        "the drill sees brokers as a client and an operator do",
    ),
];

/// Files of `storage` that may open files or lock them; everything else goes through the traits.
const DISK_DOORS: &[&str] = &[
    "storage/src/disk",
    "storage/src/doctor",
    "storage/src/clock",
    "storage/src/sim",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn files_below(folder: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    rust_files(&root().join(folder), &mut paths);
    paths.sort();
    let name = |path: &Path| {
        path.strip_prefix(root())
            .expect("below the root")
            .display()
            .to_string()
    };
    paths
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).expect("UTF-8 source")))
        .collect()
}

/// The lines that are code: neither comments nor inline test modules (which stand at the end).
fn code_lines(source: &str) -> impl Iterator<Item = (usize, &str)> {
    source
        .lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

#[test]
fn folders_import_only_what_the_architecture_allows() {
    let mut broken = Vec::new();
    let mut lines_seen = 0;
    for (folder, forbidden, reason) in FORBIDDEN {
        for (name, source) in files_below(folder) {
            if is_test_file(&name) {
                continue;
            }
            for (number, line) in code_lines(&source) {
                lines_seen += 1;
                for word in *forbidden {
                    if line.contains(word) {
                        broken.push(format!("{name}:{number}: `{word}`: {reason}"));
                    }
                }
            }
        }
    }
    assert!(
        lines_seen > 1_000,
        "the check saw only {lines_seen} lines: are the folders still there?"
    );
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn storage_reaches_the_outside_only_through_its_doors() {
    let mut broken = Vec::new();
    for (name, source) in files_below("storage/src") {
        if is_test_file(&name) || DISK_DOORS.iter().any(|door| name.starts_with(door)) {
            continue;
        }
        for (number, line) in code_lines(&source) {
            for word in [
                "std::fs",
                "std::thread",
                "Instant::now",
                "SystemTime",
                "fs2::",
                "rustix::",
                "nix::fcntl",
            ] {
                if line.contains(word) {
                    broken.push(format!("{name}:{number}: `{word}` outside disk and clock"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut broken = Vec::new();
    for folder in ["openwire/src", "storage/src", "failover/src", "src"] {
        for (name, source) in files_below(folder) {
            let head = source
                .lines()
                .find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
            if !is_test_file(&name) && !head.is_some_and(|line| line.starts_with("//!")) {
                broken.push(format!("{name}: starts without a `//!` head"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_dependency_has_its_reason_in_architecture_md() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let reasons = page
        .split("## Dependencies")
        .nth(1)
        .expect("a Dependencies section");
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .expect("workspace dependencies");
    let names: Vec<&str> = section
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| !["openwire", "storage", "failover"].contains(name))
        .collect();
    assert!(
        names.len() > 10,
        "only {names:?}: is the section still where it was?"
    );
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| !reasons.contains(**name))
        .collect();
    assert!(
        missing.is_empty(),
        "no reason in ARCHITECTURE.md for {missing:?}"
    );
}
