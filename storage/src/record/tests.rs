use proptest::prelude::*;

use super::*;
use crate::position::{BacklogId, Location, Position, SegmentNumber};
use crate::transaction::{Decision, Outcome};

fn encode(record: &Record<'_>, lsn: Lsn, epoch: Epoch) -> Vec<u8> {
    let mut frame = Frame::new(record);
    frame.place(lsn, epoch);
    let mut bytes = Vec::new();
    frame.write_to(&mut bytes);
    assert_eq!(bytes.len() as u64, frame.bytes());
    bytes
}

fn payload(record: &Record<'_>) -> Vec<u8> {
    encode(record, Lsn(1), Epoch(1))[RECORD_HEADER_BYTES..].to_vec()
}

#[test]
fn header_fields_are_where_the_specification_says() {
    let remove = Record::RemoveBacklog(RemoveBacklog {
        id: BacklogId(0x0A0B_0C0D),
    });
    let bytes = encode(&remove, Lsn(0x0102_0304_0506_0708), Epoch(9));
    assert_eq!(bytes.len(), 24);
    assert_eq!(bytes[0..4], [24, 0, 0, 0]);
    assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes[16..20], [4, 0, 0, 0]);
    assert_eq!(bytes[20..24], [0x0D, 0x0C, 0x0B, 0x0A]);
    let mut summed = bytes[20..24].to_vec();
    summed.extend_from_slice(&bytes[8..16]);
    summed.extend_from_slice(&9_u64.to_le_bytes());
    summed.extend_from_slice(&bytes[0..4]);
    summed.extend_from_slice(&[4, 0, 0, 0]);
    assert_eq!(bytes[4..8], crc32fast::hash(&summed).to_le_bytes());
}

#[test]
fn payload_fields_are_where_the_specification_says() {
    let seal = payload(&Record::Seal(Seal {
        previous_epoch: Epoch(1),
        sealed_lsn: Lsn(2),
        segment: SegmentNumber(3),
        end_offset: 4,
        time_ms: 5,
    }));
    assert_eq!(seal.len(), 36);
    assert_eq!(
        [seal[0], seal[8], seal[16], seal[24], seal[32]],
        [1, 2, 4, 5, 3]
    );
    let message = payload(&Record::TransactionMessage(Message {
        expiration_ms: -1,
        time_ms: 2,
        order: 9,
        producer: Some(ProducerNote {
            id: b"prod",
            sequence: 3,
        }),
        transaction: b"tx",
        targets: vec![BacklogId(7), BacklogId(8)],
        body: b"body",
    }));
    assert_eq!(message[0..8], [0xFF; 8]);
    assert_eq!(
        [
            message[8],
            message[16],
            message[24],
            message[28],
            message[32]
        ],
        [2, 3, 2, 4, 2]
    );
    assert_eq!(message[36..40], [9, 1, 0, 0]);
    assert_eq!([message[40], message[44]], [7, 8]);
    assert_eq!(&message[48..], b"prodtxbody");
    let acknowledge = Acknowledge {
        id: BacklogId(1),
        positions: vec![Position(2), Position(3)],
    };
    let acknowledged = payload(&Record::Acknowledge(acknowledge.clone()));
    assert_eq!(
        [
            acknowledged[0],
            acknowledged[4],
            acknowledged[8],
            acknowledged[16]
        ],
        [1, 2, 2, 3]
    );
    let commit = Commit {
        transaction: b"tx",
        acknowledged: vec![acknowledge],
    };
    let commit = payload(&Record::Commit(commit));
    assert_eq!(
        (commit[0], &commit[4..6], commit[6], &commit[10..]),
        (2, &b"tx"[..], 1, &acknowledged[..])
    );
    assert_eq!(
        payload(&Record::RollBack(RollBack { transaction: b"tx" })),
        b"\x02\0\0\0tx"
    );
    let id = BacklogId(1);
    let create = payload(&Record::CreateBacklog(CreateBacklog {
        id,
        descriptor: b"d",
    }));
    assert_eq!(create, b"\x01\0\0\0d");
    let describe = payload(&Record::DescribeBacklog(DescribeBacklog {
        id,
        descriptor: b"d",
    }));
    assert_eq!(describe, create);
    let reserve = payload(&Record::ReserveDispatch(ReserveDispatch { id, below: 5 }));
    assert_eq!(reserve, b"\x01\0\0\0\x05\0\0\0\0\0\0\0");
    let forget = payload(&Record::ForgetProducers(ForgetProducers {
        producers: vec![b"p"],
    }));
    assert_eq!(forget, b"\x01\0\0\0\x01\0\0\0p");
}

#[test]
fn fields_of_a_move_are_where_the_specification_says() {
    let message = Message {
        expiration_ms: 1,
        time_ms: 2,
        order: 4,
        producer: None,
        transaction: &[],
        targets: vec![BacklogId(9), BacklogId(10)],
        body: b"body",
    };
    let moved = payload(&Record::Move(Move {
        from: Location {
            segment: SegmentNumber(3),
            offset: 4,
            length: 5,
        },
        places: vec![(BacklogId(6), Position(7)), (BacklogId(8), Position(9))],
        message: message.clone(),
    }));
    let fields = [0, 4, 8, 12, 16, 20, 28, 32].map(|at| moved[at]);
    assert_eq!(fields, [3, 4, 5, 2, 6, 7, 8, 9]);
    assert_eq!(moved[40..], payload(&Record::Message(message)));
}

#[test]
fn fields_of_prepared_transactions_are_where_the_specification_says() {
    let acknowledge = Acknowledge {
        id: BacklogId(1),
        positions: vec![Position(2)],
    };
    let acknowledged = payload(&Record::Acknowledge(acknowledge.clone()));
    let prepare = payload(&Record::Prepare(Prepare {
        time_ms: 3,
        transaction: b"tx",
        acknowledged: vec![acknowledge],
    }));
    assert_eq!(prepare[..8], 3_u64.to_le_bytes());
    assert_eq!(prepare[8..14], *b"\x02\0\0\0tx");
    assert_eq!(prepare[14..18], [1, 0, 0, 0]);
    assert_eq!(prepare[18..], acknowledged);
    for (decision, is_heuristic, bytes) in [
        (Decision::Commit, false, [1, 0, 0, 0]),
        (Decision::RollBack, true, [2, 1, 0, 0]),
    ] {
        let decide = payload(&Record::Decide(Decide {
            outcome: Outcome {
                decision,
                is_heuristic,
                time_ms: 4,
            },
            transaction: b"tx",
        }));
        assert_eq!(decide[..8], 4_u64.to_le_bytes());
        assert_eq!(decide[8..12], bytes);
        assert_eq!(decide[12..], *b"\x02\0\0\0tx");
    }
    let forget = payload(&Record::ForgetOutcomes(ForgetOutcomes {
        transactions: vec![b"tx"],
    }));
    assert_eq!(forget, b"\x01\0\0\0\x02\0\0\0tx");
    let odd = b"\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0";
    assert_eq!(
        Record::decode(13, odd),
        Err(Malformed("a transaction's outcome"))
    );
}

#[test]
fn the_kinds_have_the_numbers_of_the_specification() {
    for byte in 0..=255_u8 {
        let kind = Kind::from_byte(byte);
        assert_eq!(kind.is_some(), (1..=15).contains(&byte));
        assert!(kind.is_none_or(|kind| kind as u8 == byte));
    }
}

/// What a record is made of, owned.
#[derive(Clone, Debug)]
struct Parts {
    kind: u8,
    numbers: [u64; 4],
    order: u8,
    ids: Vec<u32>,
    positions: Vec<(u32, Vec<u64>)>,
    texts: [Vec<u8>; 3],
    has_producer: bool,
}

fn parts() -> impl Strategy<Value = Parts> {
    let text = || proptest::collection::vec(any::<u8>(), 0..40);
    let positions = proptest::collection::vec(any::<u64>(), 0..5);
    (
        1..=15_u8,
        any::<[u64; 4]>(),
        0..=9_u8,
        proptest::collection::vec(any::<u32>(), 0..5),
        proptest::collection::vec((any::<u32>(), positions), 0..4),
        [text(), text(), text()],
        any::<bool>(),
    )
        .prop_map(
            |(kind, numbers, order, ids, positions, texts, has_producer)| Parts {
                kind,
                numbers,
                order,
                ids,
                positions,
                texts,
                has_producer,
            },
        )
}

fn record(parts: &Parts) -> Record<'_> {
    let id = BacklogId(parts.numbers[0] as u32);
    let [first, second, third] = [&parts.texts[0], &parts.texts[1], &parts.texts[2]];
    let acknowledge = |(id, positions): &(u32, Vec<u64>)| Acknowledge {
        id: BacklogId(*id),
        positions: positions
            .iter()
            .map(|position| Position(*position))
            .collect(),
    };
    let message = |transaction| Message {
        expiration_ms: parts.numbers[0] as i64,
        time_ms: parts.numbers[1],
        order: parts.order,
        producer: parts.has_producer.then_some(ProducerNote {
            id: first,
            sequence: parts.numbers[2],
        }),
        transaction,
        targets: parts.ids.iter().map(|id| BacklogId(*id)).collect(),
        body: second,
    };
    match parts.kind {
        1 => Record::Seal(Seal {
            previous_epoch: Epoch(parts.numbers[0]),
            sealed_lsn: Lsn(parts.numbers[1]),
            segment: SegmentNumber(parts.numbers[2] as u32),
            end_offset: parts.numbers[3],
            time_ms: parts.numbers[2],
        }),
        2 => Record::CreateBacklog(CreateBacklog {
            id,
            descriptor: first,
        }),
        3 => Record::DescribeBacklog(DescribeBacklog {
            id,
            descriptor: first,
        }),
        4 => Record::RemoveBacklog(RemoveBacklog { id }),
        5 => Record::Message(message(&[])),
        6 => Record::TransactionMessage(message(third)),
        7 => {
            let acknowledged = parts.positions.iter().map(acknowledge).collect();
            Record::Commit(Commit {
                transaction: first,
                acknowledged,
            })
        }
        8 => Record::RollBack(RollBack { transaction: first }),
        9 => Record::Acknowledge(acknowledge(&(id.0, parts.numbers.to_vec()))),
        10 => Record::ReserveDispatch(ReserveDispatch {
            id,
            below: parts.numbers[1],
        }),
        11 => Record::ForgetProducers(ForgetProducers {
            producers: vec![first, second, third],
        }),
        12 => Record::Prepare(Prepare {
            time_ms: parts.numbers[0],
            transaction: first,
            acknowledged: parts.positions.iter().map(acknowledge).collect(),
        }),
        13 => Record::Decide(Decide {
            outcome: Outcome {
                decision: match parts.order {
                    0..5 => Decision::Commit,
                    _ => Decision::RollBack,
                },
                is_heuristic: parts.has_producer,
                time_ms: parts.numbers[0],
            },
            transaction: first,
        }),
        14 => Record::ForgetOutcomes(ForgetOutcomes {
            transactions: vec![first, second],
        }),
        _ => Record::Move(Move {
            from: Location {
                segment: SegmentNumber(parts.numbers[0] as u32),
                offset: parts.numbers[1] as u32,
                length: parts.numbers[2] as u32,
            },
            places: parts
                .ids
                .iter()
                .map(|id| (BacklogId(*id), Position(u64::from(*id) * 3)))
                .collect(),
            message: message(third),
        }),
    }
}

proptest! {
    #[test]
    fn every_record_comes_back_as_it_was(parts in parts(), lsn in 1..u64::MAX, epoch: u64) {
        let record = record(&parts);
        let bytes = encode(&record, Lsn(lsn), Epoch(epoch));
        let raw = RawRecord::parse(&bytes, Epoch(epoch)).expect("valid");
        prop_assert_eq!((raw.lsn, raw.length as usize), (Lsn(lsn), bytes.len()));
        prop_assert_eq!(Record::decode(raw.kind, raw.payload).expect("valid"), record);
    }

    #[test]
    fn a_flipped_byte_or_another_epoch_is_found(
        parts in parts(),
        at in any::<prop::sample::Index>(),
        mask in 1..=255_u8,
    ) {
        let mut bytes = encode(&record(&parts), Lsn(7), Epoch(3));
        prop_assert!(RawRecord::parse(&bytes, Epoch(4)).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(RawRecord::parse(&bytes, Epoch(3)).is_err());
    }

    #[test]
    fn a_shortened_payload_never_panics_and_arbitrary_bytes_neither(
        parts in parts(),
        cut in any::<prop::sample::Index>(),
        kind: u8,
        noise in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let bytes = payload(&record(&parts));
        let _ = Record::decode(parts.kind, &bytes[..cut.index(bytes.len() + 1)]);
        let _ = Record::decode(kind, &noise);
        let _ = RawRecord::parse(&noise, Epoch(1));
    }
}

#[test]
fn a_count_that_the_record_cannot_hold_is_refused_without_allocating() {
    let mut bytes = payload(&Record::Acknowledge(Acknowledge {
        id: BacklogId(1),
        positions: vec![Position(1)],
    }));
    bytes[4..8].fill(0xFF);
    assert_eq!(Record::decode(9, &bytes), Err(Malformed("a count")));
}

#[test]
fn a_large_body_is_the_same_record_in_a_buffer_of_its_own() {
    let body = vec![5; LARGE_BODY_BYTES];
    let message = Record::Message(Message {
        expiration_ms: 0,
        time_ms: 0,
        order: 4,
        producer: None,
        transaction: &[],
        targets: vec![BacklogId(1)],
        body: &body,
    });
    let mut frame = Frame::new(&message);
    assert!(frame.is_large());
    frame.own_body();
    frame.place(Lsn(3), Epoch(2));
    assert_eq!(frame.into_bytes(), encode(&message, Lsn(3), Epoch(2)));
}
