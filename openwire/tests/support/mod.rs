//! What the tests share: reading the recorded files, and showing commands in their notation.

#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod render;
pub(crate) mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use openwire::{Version, next_frame};
use serde_json::Value;

/// A file or folder under `tests/`.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The records of a file with one JSON object per line.
pub(crate) fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let records: Vec<Value> = text
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()))
        })
        .collect();
    assert!(!records.is_empty(), "{} is empty", path.display());
    records
}

/// Bytes as the golden files write them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a text of hexadecimal digits.
pub(crate) fn unhex(text: &str) -> Bytes {
    assert!(
        text.len().is_multiple_of(2),
        "an odd number of digits: {text}"
    );
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// The bytes of a record's member.
pub(crate) fn bytes(record: &Value, key: &str) -> Bytes {
    unhex(
        record[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {record}")),
    )
}

/// The one frame in `wire`, without its size prefix.
pub(crate) fn frame(wire: &[u8]) -> Bytes {
    let mut buffer = BytesMut::from(wire);
    let frame = next_frame(&mut buffer, usize::MAX)
        .expect("a legal size")
        .expect("a whole frame");
    assert!(buffer.is_empty(), "bytes behind the frame");
    frame
}

/// The version of a record, 12 where it says none.
pub(crate) fn version(record: &Value) -> Version {
    let number = record["version"].as_u64().unwrap_or(12);
    Version::new(u8::try_from(number).expect("a small number")).expect("a version")
}
