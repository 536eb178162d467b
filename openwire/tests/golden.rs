//! Frames written by the real Java marshallers, and whole recorded conversations: each must decode
//! to the recorded values and encode to the same bytes.

mod support;

use bytes::{Bytes, BytesMut};
use openwire::body::{Body, BodyError};
use openwire::primitive::{PrimitiveMap, Value as Primitive, decode_values, encode_values};
use openwire::*;
use serde_json::{Map, Value, json};
use support::render::Render;
use support::{bytes, frame, hex, path, records, unhex, version};

/// Decodes and encodes a whole frame and returns the command.
fn there_and_back(wire: &Bytes, dialect: impl Into<Dialect>, what: &str) -> Command {
    let dialect = dialect.into();
    let command = decode_exact(frame(wire), dialect).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut out = BytesMut::new();
    encode(&command, dialect, &mut out).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(hex(&out), hex(wire), "{what}: encoding {command:?}");
    command
}

#[test]
fn every_type_in_every_version_is_as_java_writes_it() {
    let mut types = std::collections::BTreeSet::new();
    for version in Version::all() {
        for record in records(&path(&format!("golden/loose_v{version}.jsonl"))) {
            let what = format!("{} {} v{version}", record["type"], record["variant"]);
            assert_eq!(record["version"], json!(version.number()), "{what}");
            let command = there_and_back(&bytes(&record, "hex"), version, &what);
            assert_eq!(command.render(version.number()), record["fields"], "{what}");
            types.insert(command.code());
        }
    }
    assert_eq!(
        types.len(),
        58,
        "57 types and the null command; found {types:?}"
    );
}

#[test]
fn a_field_that_a_version_lacks_takes_its_default() {
    let pass = |command: Command, version: u8| {
        let version = Version::new(version).expect("a version");
        let mut out = BytesMut::new();
        encode(&command, version, &mut out).expect("a type of all versions");
        decode_exact(frame(&out), version).expect("as encoded")
    };
    let connection = || ConnectionInfo {
        client_master: false,
        ..ConnectionInfo::default()
    };
    let remove = || RemoveInfo {
        last_delivered_sequence_id: 7,
        ..RemoveInfo::default()
    };
    for (version, client_master) in [(1, true), (2, false)] {
        let Command::ConnectionInfo(info) = pass(connection().into(), version) else {
            panic!("another type")
        };
        assert_eq!(info.client_master, client_master, "version {version}");
    }
    for (version, sequence) in [(4, RemoveInfo::UNKNOWN), (5, 7)] {
        let Command::RemoveInfo(info) = pass(remove().into(), version) else {
            panic!("another type")
        };
        assert_eq!(
            info.last_delivered_sequence_id, sequence,
            "version {version}"
        );
    }
    assert_eq!(RemoveInfo::UNKNOWN, -2);
}

#[test]
fn a_type_that_a_version_lacks_is_refused_both_ways() {
    let old = Version::OLDEST;
    let mut out = BytesMut::new();
    let error = encode(&ProducerAck::default().into(), old, &mut out).unwrap_err();
    assert_eq!(
        error.kind,
        EncodeErrorKind::TypeNotInVersion {
            code: 19,
            version: old
        }
    );
    encode(&ProducerAck::default().into(), Version::LATEST, &mut out).expect("a type of 12");
    let error = decode(frame(&out), old).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::TypeNotInVersion {
            code: 19,
            version: old
        }
    );
}

#[test]
fn an_error_names_type_field_place_and_what_was_found() {
    // A ProducerInfo whose destination is a ConnectionId.
    let wire = unhex("06000000010100016500");
    let mut wire = wire.to_vec();
    wire[8] = 120;
    let error = decode(wire.into(), Version::LATEST).unwrap_err();
    assert_eq!(
        (error.type_name, error.field),
        ("ProducerInfo", "destination")
    );
    assert_eq!(error.offset, 8);
    let expected = "a destination (100 to 103)";
    assert_eq!(
        error.kind,
        DecodeErrorKind::UnexpectedType {
            expected,
            found: 120
        }
    );
}

#[test]
fn recorded_conversations_are_understood_to_the_last_byte() {
    let (mut frames, mut files) = (0, 0);
    for entry in std::fs::read_dir(path("captures")).expect("the folder of captures") {
        let file = entry.expect("an entry").path();
        files += 1;
        for record in records(&file) {
            if record.get("note").is_some() {
                continue;
            }
            let what = format!("{} frame {}", file.display(), record["seq"]);
            for flag in ["tight", "cache", "stack"] {
                assert!(
                    record.get(flag).is_none(),
                    "{what} is not in the plain loose encoding"
                );
            }
            let version = version(&record);
            let command = there_and_back(&bytes(&record, "hex"), version, &what);
            assert_eq!(command.render(version.number()), record["fields"], "{what}");
            if let Some(id) = record.get("commandId") {
                let header = command
                    .header()
                    .unwrap_or_else(|| panic!("{what}: no header"));
                assert_eq!(&json!(header.0), id, "{what}");
                assert_eq!(json!(header.1), record["responseRequired"], "{what}");
            }
            frames += 1;
        }
    }
    assert_eq!((files, frames), (29, 1134), "files and frames");
}

#[test]
fn exceptions_come_with_and_without_their_stack_traces() {
    let mut seen = 0;
    for record in records(&path("golden/exceptions.jsonl")) {
        let variant = record["variant"].as_str().expect("a variant");
        if variant.starts_with("tight") {
            continue;
        }
        let stack_traces = variant.contains("Enabled=true");
        let dialect = Dialect {
            version: version(&record),
            stack_traces,
        };
        let command = there_and_back(&bytes(&record, "hex"), dialect, variant);
        match record.get("fields") {
            Some(fields) => {
                // The innermost cause has a stack as well, so its missing cause shows as null.
                assert_eq!(&command.render(12), fields, "{variant}");
            }
            None => {
                let Command::ExceptionResponse(response) = command else {
                    panic!("{variant}: {command:?}")
                };
                let text = response.exception.and_then(|e| e.message).expect("a text");
                assert_eq!(
                    json!(text.len()),
                    record["decoded_message_length"],
                    "{variant}"
                );
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[test]
fn strings_keep_every_code_unit_wherever_they_stand() {
    let mut seen = 0;
    for record in records(&path("golden/strings.jsonl")) {
        let Some(units) = record.get("utf16") else {
            continue;
        };
        let case = record["case"].as_str().expect("a name");
        let units: Option<Vec<u16>> = units.as_str().map(|text| {
            unhex(text)
                .chunks(2)
                .map(|two| u16::from_be_bytes([two[0], two[1]]))
                .collect()
        });
        let command = there_and_back(&bytes(&record, "loose"), Version::LATEST, case);
        let Command::ControlCommand(control) = command else {
            panic!("{case}: {command:?}")
        };
        let found = control
            .command
            .as_ref()
            .map(|text| text.code_units().collect::<Vec<_>>());
        assert_eq!(found, units, "{case}");

        let primitive = bytes(&record, "primitive");
        let value = Primitive::decode(primitive.clone()).expect(case);
        assert_eq!(
            value,
            control
                .command
                .clone()
                .map_or(Primitive::Null, Primitive::String)
        );
        assert_eq!(value.encode(), Ok(primitive), "{case}");

        if let Some(body) = record["text_body"].as_str() {
            let text = control.command.expect("a text with a body");
            let message = Message::from_text(text.clone()).expect("a short text");
            assert_eq!(message.content, Some(unhex(body)), "{case}");
            assert_eq!(message.text(), Ok(Some(text)), "{case}");
        }
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn a_string_may_have_65535_bytes_and_not_one_more() {
    let control = |length: usize| {
        let command = Some("x".repeat(length).into());
        let mut out = BytesMut::from(&b"before"[..]);
        encode(
            &ControlCommand {
                command,
                ..ControlCommand::default()
            }
            .into(),
            Version::LATEST,
            &mut out,
        )
        .map(|()| out.len() - 6)
        .map_err(|e| (e.to_string(), out))
    };
    assert_eq!(control(65_535), Ok(65_548));
    let (text, out) = control(65_536).unwrap_err();
    assert!(
        text.contains("ControlCommand.command") && text.contains("65536"),
        "{text}"
    );
    assert_eq!(
        &out[..],
        b"before",
        "nothing of a command that cannot be encoded"
    );
}

/// A primitive value in the notation of the golden files.
fn show(value: &Primitive) -> Value {
    match value {
        Primitive::Null => Value::Null,
        Primitive::Boolean(v) => json!({"boolean": v}),
        Primitive::Byte(v) => json!({"byte": v}),
        Primitive::Char(v) => json!({"char": v}),
        Primitive::Short(v) => json!({"short": v}),
        Primitive::Int(v) => json!({"integer": v}),
        Primitive::Long(v) => json!({"long": v}),
        Primitive::Double(v) => json!({"double": format!("{:x}", v.to_bits())}),
        Primitive::Float(v) => json!({"float": v.to_bits()}),
        Primitive::String(v) => json!({"string": v.to_string_lossy()}),
        Primitive::Bytes(v) => json!({"bytes": hex(v)}),
        Primitive::Map(v) => show_map(v),
        Primitive::List(v) => json!({"list": v.iter().map(show).collect::<Vec<_>>()}),
    }
}

fn show_map(map: &PrimitiveMap) -> Value {
    let entries: Map<String, Value> = map
        .iter()
        .map(|(name, value)| (name.to_string(), show(value)))
        .collect();
    json!({"map": entries})
}

/// The golden notation of floating point numbers has text and bits; the bits are exact.
fn exact(value: &Value) -> Value {
    match value {
        Value::Object(object) => match object.get("bits") {
            Some(bits) if object.contains_key("float") => json!({"float": bits}),
            Some(bits) => json!({"double": bits}),
            None => object
                .iter()
                .map(|(key, value)| (key.clone(), exact(value)))
                .collect(),
        },
        Value::Array(values) => values.iter().map(exact).collect(),
        other => other.clone(),
    }
}

#[test]
fn primitive_values_and_maps_are_as_java_writes_them() {
    let mut seen = 0;
    for record in records(&path("golden/primitives.jsonl")) {
        let what = record["what"].as_str().expect("what it is");
        match what {
            "primitive" => {
                let wire = bytes(&record, "hex");
                let value = Primitive::decode(wire.clone()).expect(what);
                assert_eq!(show(&value), exact(&record["value"]), "{record}");
                assert_eq!(value.encode(), Ok(wire), "{record}");
            }
            "map" => {
                let wire = bytes(&record, "hex");
                let map = PrimitiveMap::decode(wire.clone()).expect(what);
                if record["value"].is_null() {
                    assert!(map.is_empty(), "{record}");
                } else {
                    assert_eq!(show_map(&map), exact(&record["value"]), "{record}");
                    assert_eq!(map.encode(), Ok(wire), "{record}");
                }
            }
            "string tag switch" => {
                let length = record["chars"].as_u64().expect("a length");
                let text = "y".repeat(usize::try_from(length).expect("a length"));
                let wire = Primitive::from(text.as_str()).encode().expect("a string");
                assert_eq!(hex(&wire[..8]), record["first_8_bytes"], "{record}");
                assert_eq!(Primitive::decode(wire), Ok(Primitive::from(text.as_str())));
            }
            other => panic!("unknown record {other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 25);
}

#[test]
fn bodies_are_as_the_java_client_writes_them() {
    let mut read = 0;
    for record in records(&path("golden/bodies.jsonl")) {
        let name = record["name"].as_str().expect("a name");
        let command = there_and_back(&bytes(&record, "frame_v12_loose"), Version::LATEST, name);
        let Command::Message(message) = command else {
            panic!("{name}: {command:?}")
        };
        assert_eq!(message.content.render(12), record["content"], "{name}");
        assert_eq!(json!(message.compressed), record["compressed"], "{name}");
        if message.compressed {
            let kind = message.kind.name();
            assert_eq!(
                message.body(),
                Err(BodyError::Compressed { kind }),
                "{name}"
            );
            continue;
        }
        check_body(name, &message, &record["value"]);
        read += 1;
    }
    assert_eq!(read, 19, "bodies that are not compressed");
}

fn check_body(name: &str, message: &Message, value: &Value) {
    let again = match message.body().unwrap_or_else(|e| panic!("{name}: {e}")) {
        Body::Text(text) => {
            assert_eq!(json!(text.to_string_lossy()), *value, "{name}");
            Message::from_text(text).expect(name)
        }
        Body::Bytes(content) => {
            let expected = match value {
                Value::Object(rule) => {
                    let length = rule["length"].as_u64().expect("a length");
                    (0..length)
                        .map(|i| u8::try_from(i % 5).expect("below 5"))
                        .collect()
                }
                Value::String(text) if name.starts_with("bytes(") => unhex(text),
                _ => content.clone(),
            };
            assert_eq!(content, expected, "{name}");
            Message::from_bytes(content)
        }
        Body::Map(map) => {
            if message.content.is_some() {
                assert_eq!(show_map(&map), exact(value), "{name}");
            }
            Message::from_map(&map).expect(name)
        }
        Body::Stream(values) => {
            let shown: Vec<Value> = values.iter().map(show).collect();
            assert_eq!(json!({"list": shown}), exact(value), "{name}");
            Message::from_stream(&values).expect(name)
        }
        Body::Object(content) => {
            assert!(content.starts_with(&[0xac, 0xed]), "{name}");
            return;
        }
        _ => {
            assert_eq!(message.content, None, "{name}");
            return;
        }
    };
    assert_eq!(again.content, message.content, "{name}");
    assert_eq!(again.kind, message.kind, "{name}");
}

#[test]
fn properties_of_a_real_message_can_be_read_and_written() {
    let record = records(&path("golden/bodies.jsonl"))
        .into_iter()
        .find(|record| record["name"] == "properties-only")
        .expect("the record");
    let frame = frame(&bytes(&record, "frame_v12_loose"));
    let mut message = decode_message(frame, Version::LATEST).expect("a message");
    let properties = message.properties().expect("a map");
    let names: Vec<String> = properties
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    for name in ["color", "n", "b", "d"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
        assert_eq!(
            message.property(name).expect("a map").as_ref(),
            properties.get(name)
        );
    }
    assert_eq!(
        message
            .group_id
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("g1")
    );
    let before = message.marshalled_properties.clone();
    message.set_properties(&properties).expect("as before");
    assert_eq!(message.marshalled_properties, before);
    assert_eq!(decode_values(Bytes::new()), Ok(Vec::new()));
    assert_eq!(encode_values(&[]), Ok(Bytes::new()));
}

#[test]
fn real_wire_format_infos_are_read_and_agreed_with() {
    let mut seen = 0;
    for record in records(&path("golden/wireformatinfo.jsonl")) {
        let what = record["what"].as_str().expect("what it is");
        let command = there_and_back(&bytes(&record, "hex"), version(&record), what);
        let Command::WireFormatInfo(info) = command else {
            panic!("{what}: {command:?}")
        };
        let map = info.marshalled_properties.clone().map(PrimitiveMap::decode);
        let map = map.expect("properties").expect("a map");
        assert_eq!(show_map(&map), exact(&record["properties"]), "{what}");

        let remote = WireFormat::from_info(&info).expect(what);
        let property = |key: &str| record["properties"]["map"][key].clone();
        assert_eq!(
            json!({"boolean": remote.cache_enabled}),
            property("CacheEnabled")
        );
        assert_eq!(json!({"integer": remote.cache_size}), property("CacheSize"));
        let delay = remote.max_inactivity_initial_delay_ms;
        assert_eq!(
            json!({"long": delay}),
            property("MaxInactivityDurationInitalDelay")
        );
        let agreed = negotiate(&WireFormat::default(), &remote).expect(what);
        assert_eq!(agreed.version, version(&record), "{what}");
        assert!(!agreed.stack_traces, "{what}");

        let again = WireFormat::from_info(&remote.to_info().expect(what)).expect(what);
        assert_eq!(again, remote, "{what}");
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn frames_of_another_encoding_are_refused_with_a_hint() {
    let record = records(&path("golden/exceptions.jsonl"))
        .into_iter()
        .find(|record| record["variant"] == "tight,stackTraceEnabled=false")
        .expect("the record");
    let error = decode_exact(frame(&bytes(&record, "hex")), Version::LATEST).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("tight encoding"), "{text}");
    assert!(
        text.starts_with("cannot decode ExceptionResponse"),
        "{text}"
    );
}
