//! Makes valid frames of any type and version from the field reference, without the crate's own
//! tables: what they make must be decoded and encoded to the same bytes.

use std::collections::BTreeMap;
use std::fs;

use super::path;

/// One field of the reference.
struct Field {
    wire: String,
    object: String,
    since: u8,
    until: u8,
}

/// The field reference, by type code.
pub(crate) struct Schema {
    types: BTreeMap<u8, Vec<Field>>,
    codes: BTreeMap<String, u8>,
}

/// A choice for everything that is left open, taken from bytes so that a smaller input makes a
/// simpler frame. At its end everything is zero, which is null.
pub(crate) struct Tape<'a> {
    bytes: &'a [u8],
}

impl<'a> Tape<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Tape { bytes }
    }

    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next()) % end
    }
}

const DEEPEST: usize = 6;

impl Schema {
    /// Reads the reference beside the golden files.
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(path("golden/commands.tsv")).expect("the field reference");
        let mut schema = Schema {
            types: BTreeMap::new(),
            codes: BTreeMap::new(),
        };
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split('\t').collect();
            let code = columns[0].parse().expect("a type code");
            schema.codes.insert(columns[1].to_owned(), code);
            schema.types.entry(code).or_default().push(Field {
                wire: columns[4].to_owned(),
                object: columns[5].to_owned(),
                since: columns[6].parse().expect("a version"),
                until: columns[7].parse().expect("a version"),
            });
        }
        schema
    }

    /// The type codes that a version has.
    pub(crate) fn codes(&self, version: u8) -> Vec<u8> {
        let first = |fields: &[Field]| fields.iter().map(|field| field.since).min();
        self.types
            .iter()
            .filter(|(_, fields)| first(fields).is_some_and(|since| since <= version))
            .map(|(code, _)| *code)
            .collect()
    }

    /// A frame of this type without its size prefix.
    pub(crate) fn frame(&self, code: u8, version: u8, tape: &mut Tape<'_>) -> Vec<u8> {
        let mut out = vec![code];
        self.fields(code, version, 0, tape, &mut out);
        out
    }

    fn fields(&self, code: u8, version: u8, depth: usize, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
        for field in &self.types[&code] {
            if (field.since..=field.until).contains(&version) {
                self.field(field, version, depth, tape, out);
            }
        }
    }

    fn field(
        &self,
        field: &Field,
        version: u8,
        depth: usize,
        tape: &mut Tape<'_>,
        out: &mut Vec<u8>,
    ) {
        match field.wire.as_str() {
            "bool" => out.push(tape.next() & 1),
            "i8" => number(1, tape, out),
            "i32" => number(4, tape, out),
            "i64" => number(8, tape, out),
            "const_bytes8" => out.extend_from_slice(b"ActiveMQ"),
            "string" => string(tape, out),
            "bytes" => bytes(tape, out),
            "throwable" => {
                if present(tape, out) {
                    string(tape, out);
                    string(tape, out);
                }
            }
            "nested_object" | "cached_object" => {
                self.object(&field.object, version, depth, tape, out);
            }
            "object_array" => {
                if present(tape, out) {
                    let count = tape.below(4);
                    number_of(count, 2, out);
                    for _ in 0..count {
                        self.object(&field.object, version, depth, tape, out);
                    }
                }
            }
            other => panic!("unknown wire type {other}"),
        }
    }

    fn object(
        &self,
        name: &str,
        version: u8,
        depth: usize,
        tape: &mut Tape<'_>,
        out: &mut Vec<u8>,
    ) {
        let available = self.codes(version);
        let wanted: Vec<u8> = match name {
            "DataStructure" => available.clone(),
            "ActiveMQDestination" => vec![100, 101, 102, 103],
            "TransactionId" => vec![111, 112],
            "Message" => (23..=29).collect(),
            "BooleanExpression" => vec![91],
            name => vec![self.codes[name]],
        };
        let wanted: Vec<u8> = wanted
            .into_iter()
            .filter(|code| available.contains(code))
            .collect();
        if depth == DEEPEST || wanted.is_empty() || !present(tape, out) {
            if depth == DEEPEST || wanted.is_empty() {
                out.push(0);
            }
            return;
        }
        let code = wanted[tape.below(wanted.len())];
        out.push(code);
        self.fields(code, version, depth + 1, tape, out);
    }
}

fn present(tape: &mut Tape<'_>, out: &mut Vec<u8>) -> bool {
    let present = tape.next() & 1 == 1;
    out.push(u8::from(present));
    present
}

fn number(width: usize, tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    out.extend((0..width).map(|_| tape.next()));
}

fn number_of(value: usize, width: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes()[size_of::<usize>() - width..]);
}

fn string(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    if !present(tape, out) {
        return;
    }
    let texts: [&[u8]; 6] = [
        b"",
        b"ID:host-1-2-3:1",
        b"\xc0\x80",
        b"caf\xc3\xa9",
        b"\xed\xa0\xbd",
        b"\xe2\x82\xac x",
    ];
    let text = texts[tape.below(texts.len())];
    number_of(text.len(), 2, out);
    out.extend_from_slice(text);
}

fn bytes(tape: &mut Tape<'_>, out: &mut Vec<u8>) {
    if present(tape, out) {
        let length = tape.below(20);
        number_of(length, 4, out);
        number(length, tape, out);
    }
}
