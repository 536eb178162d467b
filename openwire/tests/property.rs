//! Properties that hold for all frames: valid ones come back to the byte, the broker's fast path
//! equals the slow one, and bytes of any kind neither panic nor cost memory out of proportion.
//!
//! A failure prints the smallest input that shows it; `PROPTEST_RNG_SEED` repeats a run.

mod support;

use std::sync::LazyLock;

use allocation_counter::measure;
use bytes::{Bytes, BytesMut};
use openwire::primitive::{PrimitiveMap, Value, decode_values};
use openwire::*;
use proptest::prelude::*;
use support::schema::{Schema, Tape};
use support::{bytes, frame, hex, path, records};

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::read);

/// All golden frames of all versions, without their size prefixes.
static GOLDEN: LazyLock<Vec<(Version, Bytes)>> = LazyLock::new(|| {
    Version::all()
        .flat_map(|version| {
            records(&path(&format!("golden/loose_v{version}.jsonl")))
                .into_iter()
                .map(move |record| (version, frame(&bytes(&record, "hex"))))
        })
        .collect()
});

fn any_version() -> impl Strategy<Value = Version> {
    (1..=12_u8).prop_map(|number| Version::new(number).expect("1 to 12"))
}

/// A valid frame of any type and version.
fn any_frame() -> impl Strategy<Value = (Version, Bytes)> {
    (
        any_version(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..400),
    )
        .prop_map(|(version, choice, tape)| {
            let codes = SCHEMA.codes(version.number());
            let code = codes[choice.index(codes.len())];
            let frame = SCHEMA.frame(code, version.number(), &mut Tape::new(&tape));
            (version, frame.into())
        })
}

fn last_code(version: Version) -> u8 {
    // The blob message came with version 3.
    if version.number() < 3 { 28 } else { 29 }
}

/// A valid frame of any message.
fn any_message(version: Version) -> impl Strategy<Value = Bytes> {
    (
        23..=last_code(version),
        prop::collection::vec(any::<u8>(), 0..400),
    )
        .prop_map(move |(code, tape)| {
            SCHEMA
                .frame(code, version.number(), &mut Tape::new(&tape))
                .into()
        })
}

/// A change that a faulty peer or line could make.
#[derive(Clone, Debug)]
enum Damage {
    Set(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
}

impl Damage {
    fn apply(&self, frame: &mut Vec<u8>) {
        if frame.is_empty() {
            return;
        }
        match self {
            Damage::Set(at, byte) => {
                let at = at.index(frame.len());
                frame[at] = *byte;
            }
            Damage::Cut(at) => frame.truncate(at.index(frame.len())),
            Damage::Insert(at, bytes) => {
                let at = at.index(frame.len());
                frame.splice(at..at, bytes.iter().copied());
            }
        }
    }
}

fn any_damage() -> impl Strategy<Value = Damage> {
    let interesting = prop_oneof![any::<u8>(), Just(0), Just(1), Just(0x7f), Just(0xff)];
    prop_oneof![
        4 => (any::<prop::sample::Index>(), interesting.clone())
            .prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => (any::<prop::sample::Index>(), prop::collection::vec(interesting, 1..8))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn damaged_golden() -> impl Strategy<Value = (Version, Bytes)> {
    (
        any::<prop::sample::Index>(),
        prop::collection::vec(any_damage(), 1..6),
    )
        .prop_map(|(choice, damages)| {
            let (version, frame) = &GOLDEN[choice.index(GOLDEN.len())];
            let mut frame = frame.to_vec();
            for damage in damages {
                damage.apply(&mut frame);
            }
            (*version, frame.into())
        })
}

/// A frame that starts with a real type code, and then anything.
fn noise() -> impl Strategy<Value = (Version, Bytes)> {
    (
        any_version(),
        0..=125_u8,
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(version, code, rest)| {
            let mut frame = vec![code];
            frame.extend(rest);
            (version, frame.into())
        })
}

/// What decoding may allocate at the worst: the densest data is an array of nulls.
fn allowance(length: usize) -> u64 {
    u64::try_from(256 * length + 4096).expect("a small number")
}

fn encoded(command: &Command, dialect: impl Into<Dialect>) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    encode(command, dialect, &mut out)?;
    Ok(frame(&out))
}

/// Whatever the bytes are: no panic, bounded memory, and what is understood can be passed on.
fn survives(frame: &Bytes, dialect: Dialect) {
    let mut result = None;
    let cost = measure(|| result = Some(decode(frame.clone(), dialect)));
    assert!(
        cost.bytes_total <= allowance(frame.len()),
        "{} bytes allocated for a frame of {}",
        cost.bytes_total,
        frame.len()
    );
    match result.expect("decoded") {
        Ok(command) => {
            let first = encoded(&command, dialect).expect("what was decoded can be encoded");
            let again = decode_exact(first.clone(), dialect).expect("what was encoded is valid");
            assert_eq!(again, command);
            assert_eq!(encoded(&again, dialect), Ok(first));
        }
        Err(error) => assert!(error.to_string().starts_with("cannot decode "), "{error}"),
    }
}

fn both_dialects(version: Version) -> [Dialect; 2] {
    [false, true].map(|stack_traces| Dialect {
        version,
        stack_traces,
    })
}

fn any_dispatch() -> impl Strategy<Value = (ConsumerId, Option<Destination>, i64, i32, bool)> {
    let consumer = (any::<i64>(), any::<i64>())
        .prop_map(|(session, value)| ConnectionId::new("ID:c").session(session).consumer(value));
    let destination =
        prop::option::of("[a-z.>é]{0,20}".prop_map(|name| Destination::queue(&*name)));
    (
        consumer,
        destination,
        any::<i64>(),
        any::<i32>(),
        any::<bool>(),
    )
}

/// A dispatch made the long way: every field set in the decoded message.
fn slow_dispatch(
    mut message: Message,
    dispatch: &Dispatch<'_>,
    version: Version,
) -> Result<BytesMut, EncodeError> {
    message.redelivery_counter = dispatch.redelivery_counter;
    message.jmsx_group_first_for_consumer = dispatch.first_in_group;
    if let Some(id) = &mut message.message_id {
        id.broker_sequence_id = dispatch.broker_sequence_id;
    }
    let command = MessageDispatch {
        consumer_id: Some(dispatch.consumer_id.clone()),
        destination: dispatch.destination.cloned(),
        message: Some(Box::new(message)),
        redelivery_counter: dispatch.redelivery_counter,
        ..MessageDispatch::default()
    };
    let mut out = BytesMut::from(&b"before"[..]);
    encode(&command.into(), version, &mut out)?;
    Ok(out)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1500)
    })]

    #[test]
    fn valid_frames_of_every_type_and_version_come_back_to_the_byte(
        (version, frame) in any_frame(),
    ) {
        let command = decode_exact(frame.clone(), version);
        let command = command.unwrap_or_else(|e| panic!("{e}: {}", hex(&frame)));
        prop_assert_eq!(command.code(), frame[0]);
        prop_assert_eq!(encoded(&command, version), Ok(frame));
    }

    #[test]
    fn a_command_passes_through_an_older_version_with_what_that_version_has(
        (newer, frame) in any_frame(),
        older in any_version(),
    ) {
        let command = decode(frame, newer).expect("a valid frame");
        // A type that the older version lacks is refused; everything else loses only fields.
        if let Ok(old) = encoded(&command, older) {
            let narrowed = decode_exact(old.clone(), older).expect("what was encoded is valid");
            prop_assert_eq!(encoded(&narrowed, older), Ok(old));
        }
    }

    #[test]
    fn dispatching_the_stored_bytes_equals_encoding_the_message_again(
        stored in any_message(Version::LATEST),
        dispatch in any_dispatch(),
        version in any_version(),
    ) {
        let (consumer_id, destination, broker_sequence_id, redelivery_counter, first_in_group) =
            dispatch;
        let dispatch = Dispatch {
            consumer_id: &consumer_id,
            destination: destination.as_ref(),
            broker_sequence_id,
            redelivery_counter,
            first_in_group,
        };
        let message = decode_message(stored.clone(), Version::LATEST).expect("a valid message");
        let slow = slow_dispatch(message, &dispatch, version);
        let stored = StoredMessage::new(stored).expect("a valid message");
        let mut fast = BytesMut::from(&b"before"[..]);
        match encode_dispatch(&dispatch, &stored, version, &mut fast) {
            Ok(()) => prop_assert_eq!(Ok(fast), slow),
            Err(StoredMessageError::Encode(error)) => {
                prop_assert_eq!(&fast[..], b"before");
                prop_assert_eq!(Err(error), slow);
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_redirected_message_is_dispatched_as_if_it_had_been_made_so(
        stored in any_message(Version::LATEST),
        (consumer_id, original, broker_sequence_id, redelivery_counter, first_in_group)
            in any_dispatch(),
        name in "[a-z.,]{1,300}",
    ) {
        let destination = Destination::topic(name);
        let dispatch = Dispatch {
            consumer_id: &consumer_id,
            destination: Some(&destination),
            broker_sequence_id,
            redelivery_counter,
            first_in_group,
        };
        let mut message = decode_message(stored.clone(), Version::LATEST).expect("a valid message");
        message.destination = Some(destination.clone());
        message.original_destination.clone_from(&original);
        let slow = slow_dispatch(message, &dispatch, Version::LATEST).expect("in the latest");
        let redirected = StoredMessage::new(stored)
            .expect("a valid message")
            .redirected(&destination, original.as_ref())
            .expect("short names");
        prop_assert!(StoredMessage::new(redirected.bytes().clone()).is_ok());
        let mut fast = BytesMut::from(&b"before"[..]);
        encode_dispatch(&dispatch, &redirected, Version::LATEST, &mut fast).expect("in the latest");
        prop_assert_eq!(fast, slow);
    }

    #[test]
    fn a_message_from_any_version_is_stored_as_if_it_had_come_in_the_latest(
        (version, frame) in any_version().prop_flat_map(|v| (Just(v), any_message(v))),
        behind in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let message = decode_message(frame.clone(), version).expect("a valid message");
        let mut expected = BytesMut::new();
        encode_message(&message, Version::LATEST, &mut expected).expect("all types are in 12");
        let mut frame = frame.to_vec();
        frame.extend(behind);
        let stored = StoredMessage::from_frame(frame.into(), version).expect("a valid message");
        prop_assert_eq!(hex(stored.bytes()), hex(&expected));
        prop_assert_eq!(stored.decode(), decode_message(expected.freeze(), Version::LATEST));
    }

    #[test]
    fn noise_does_no_harm((version, frame) in noise()) {
        for dialect in both_dialects(version) {
            survives(&frame, dialect);
        }
    }

    #[test]
    fn damaged_frames_do_no_harm((version, frame) in damaged_golden()) {
        for dialect in both_dialects(version) {
            survives(&frame, dialect);
        }
    }

    #[test]
    fn a_damaged_message_is_refused_before_it_is_stored(
        stored in any_message(Version::LATEST),
        damages in prop::collection::vec(any_damage(), 0..4),
        version in any_version(),
    ) {
        let mut bytes = stored.to_vec();
        for damage in damages {
            damage.apply(&mut bytes);
        }
        let bytes = Bytes::from(bytes);
        let scanned = StoredMessage::new(bytes.clone());
        let decoded = decode_message(bytes, Version::LATEST);
        prop_assert_eq!(scanned.is_ok(), decoded.is_ok(), "{:?} {:?}", scanned, decoded);
        if let Ok(stored) = scanned {
            let dispatch = Dispatch {
                consumer_id: &ConsumerId::default(),
                destination: None,
                broker_sequence_id: 1,
                redelivery_counter: 2,
                first_in_group: false,
            };
            let mut out = BytesMut::new();
            if encode_dispatch(&dispatch, &stored, version, &mut out).is_ok() {
                decode_exact(frame(&out), version).expect("a valid dispatch");
            }
        }
    }

    #[test]
    fn primitive_values_of_any_bytes_do_no_harm(
        tags in prop::collection::vec(prop_oneof![3 => 0..=14_u8, 1 => any::<u8>()], 0..300),
    ) {
        let bytes = Bytes::from(tags);
        let cost = measure(|| {
            drop(PrimitiveMap::decode(bytes.clone()));
            drop(PrimitiveMap::find(bytes.clone(), "a"));
            drop(decode_values(bytes.clone()));
        });
        prop_assert!(cost.bytes_total <= 3 * allowance(bytes.len()), "{}", cost.bytes_total);
        if let Ok(value) = Value::decode(bytes) {
            let wire = value.encode().expect("what was decoded can be encoded");
            let again = Value::decode(wire.clone()).expect("what was encoded is valid");
            // By their bytes, because a NaN is unequal to itself.
            prop_assert_eq!(again.encode(), Ok(wire));
        }
    }

    #[test]
    fn frames_are_cut_the_same_however_the_stream_is(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
        cuts in prop::collection::vec(1..30_usize, 1..50),
    ) {
        let mut wire = Vec::new();
        for frame in &frames {
            wire.extend(u32::try_from(frame.len()).expect("short").to_be_bytes());
            wire.extend(frame);
        }
        let (mut buffer, mut found, mut rest) = (BytesMut::new(), Vec::new(), &wire[..]);
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(cuts.next().expect("endless")));
            rest = later;
            buffer.extend_from_slice(now);
            while let Some(frame) = next_frame(&mut buffer, 64).expect("legal sizes") {
                found.push(frame.to_vec());
            }
        }
        prop_assert_eq!(found, frames);
    }
}

/// The worst that a frame of this size can announce, type by type.
#[test]
fn announced_counts_and_lengths_cost_nothing_before_their_bytes_are_there() {
    let array_of_nulls = |count: u16, bytes: usize| {
        let mut frame = vec![33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        frame.extend(count.to_be_bytes());
        frame.resize(frame.len() + bytes, 0);
        Bytes::from(frame)
    };
    for (count, there) in [(0x7fff, 10), (0x7fff, 0x7fff), (0xffff, 10), (3, 3)] {
        let frame = array_of_nulls(count, there);
        for dialect in both_dialects(Version::LATEST) {
            survives(&frame, dialect);
        }
    }
    // A body of 2 GiB that is not there.
    let text = Bytes::from_static(b"\x3c\0\0\0\0\x01\x7f\xff\xff\xff");
    let cost = measure(|| drop(decode(text.clone(), Version::LATEST)));
    assert!(cost.bytes_total < 1024, "{}", cost.bytes_total);
}

#[test]
fn objects_inside_objects_end_at_the_limit() {
    // A DataResponse whose data is a DataResponse, and so on.
    let level = [1, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut frame = level[1..].to_vec();
    for _ in 0..100_000 {
        frame.extend(level);
    }
    let error = decode(frame.into(), Version::LATEST).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::TooDeep(limit::MAX_OBJECT_DEPTH)
    );
    assert_eq!((error.type_name, error.field), ("DataResponse", "data"));
}

#[test]
fn causes_of_causes_end_at_the_limit() {
    let mut frame = vec![31, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for _ in 0..100_000 {
        frame.extend([1, 0, 0, 0, 0]); // there, no class, no message, no stack
    }
    let dialect = Dialect {
        version: Version::LATEST,
        stack_traces: true,
    };
    let error = decode(frame.into(), dialect).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::TooDeep(limit::MAX_THROWABLE_DEPTH)
    );
}

#[test]
fn a_frame_of_arrays_in_arrays_ends_at_the_limit_of_elements() {
    // Three arrays of 32767 nulls each, one inside the other: 98301 elements.
    let head = [33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff];
    let mut frame = head.to_vec();
    for _ in 0..2 {
        frame.push(1);
        frame.extend(head);
    }
    frame.resize(frame.len() + 3 * 32_767, 0);
    let error = decode(frame.into(), Version::LATEST).unwrap_err();
    assert_eq!(
        error.kind,
        DecodeErrorKind::TooManyElements(limit::MAX_OBJECTS)
    );
}
