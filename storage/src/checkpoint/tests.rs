use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::backlog::{Backlog, Contents};
use crate::cipher::Keyring;
use crate::position::{BacklogId, Entry, Location, Position};
use crate::record::{Acknowledge, Seal};
use crate::state::{OpenMessage, Prepared, State, Tenure};
use crate::transaction::{Decision, Outcome};

const START: ReplayStart = ReplayStart {
    epoch: Epoch(2),
    segment: SegmentNumber(3),
    offset: 4,
    lsn: Lsn(5),
};

fn state() -> State {
    let state = State::default();
    let seal = Seal {
        previous_epoch: Epoch(1),
        sealed_lsn: Lsn(2),
        segment: SegmentNumber(1),
        end_offset: 9,
        time_ms: 8,
    };
    let (epoch, segment, lsn) = (Epoch(2), SegmentNumber(2), Lsn(3));
    state.tenures.lock().push(Tenure {
        epoch,
        segment,
        lsn,
        seal,
    });
    state.producers[0].lock().note(b"producer", 6, 7);
    let mut contents = Contents {
        descriptor: Bytes::from("words"),
        last_sequence: 10,
        reserved_below: 11,
        reserved_by: Lsn(12),
        redelivered_below: 13,
        ..Contents::default()
    };
    let location = Location {
        segment: SegmentNumber(2),
        offset: 14,
        length: 15,
    };
    let entry = Entry {
        location,
        visible: Lsn(16),
        expiration_ms: -17,
        is_shared: true,
    };
    assert!(contents.entries.push(Position::new(4, 1), entry));
    let id = BacklogId(1);
    add_transactions(&state, location);
    let mut directory = state.directory.lock();
    directory.last_id = 1;
    directory
        .backlogs
        .insert(id, Arc::new(Backlog::new(id, contents)));
    drop(directory);
    state
}

/// One open, one prepared, one whose outcome is remembered.
fn add_transactions(state: &State, location: Location) {
    let message = OpenMessage {
        epoch: Epoch(2),
        location,
        order: 4,
        expiration_ms: 21,
        time_ms: 22,
        producer: None,
        targets: [BacklogId(1)].into(),
    };
    let mut transactions = state.transactions.lock();
    transactions.push(b"open", message.clone());
    let prepared = Prepared {
        time_ms: 23,
        messages: vec![message],
        acknowledged: vec![Acknowledge {
            id: BacklogId(1),
            positions: vec![Position::new(4, 1)],
        }],
    };
    transactions
        .prepared
        .insert((*b"prepared").into(), prepared);
    let outcome = Outcome {
        decision: Decision::RollBack,
        is_heuristic: true,
        time_ms: 24,
    };
    transactions.note(b"decided", outcome);
}

/// The frames of a checkpoint: kind and payload.
fn frames() -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut sink = |more: &[u8]| {
        bytes.extend_from_slice(more);
        Ok(())
    };
    let end = write_checkpoint(
        &state(),
        &Keyring::default(),
        START,
        18,
        &|| Lsn(20),
        &mut sink,
    )
    .expect("no error");
    assert_eq!(end, Lsn(20));
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let length = u32::from_le_bytes(rest[4..8].try_into().expect("four bytes")) as usize;
        let payload = rest[12..12 + length].to_vec();
        assert_eq!(rest[1..4], [0; 3]);
        let summed = [&payload[..], &rest[4..8], &rest[..1]].concat();
        assert_eq!(rest[8..12], crc32fast::hash(&summed).to_le_bytes());
        frames.push((rest[0], payload));
        rest = &rest[12 + length..];
    }
    frames
}

#[test]
fn frames_and_their_fields_are_where_the_specification_says() {
    let frames = frames();
    let kinds: Vec<u8> = frames.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds[..6], [1, 3, 4, 10, 4, 11]);
    assert_eq!(kinds[6..22], [5; 16]);
    assert_eq!(kinds[22..], [6, 7, 8, 2, 9]);
    let first = |kind| {
        &frames
            .iter()
            .find(|(found, _)| *found == kind)
            .expect("a frame")
            .1
    };
    let head = first(1);
    assert_eq!(&head[0..8], b"BATONCKP");
    assert_eq!(
        [head[8], head[12], head[16], head[24], head[32], head[40]],
        [1, 3, 2, 4, 5, 18]
    );
    assert_eq!(first(3)[..], 20_u64.to_le_bytes());
    let of_prepared = first(4);
    assert_eq!(of_prepared[..12], *b"\x08\0\0\0prepared");
    let fields = [12, 20, 24, 28, 32, 40, 48, 49, 50, 54].map(|at| of_prepared[at]);
    assert_eq!(
        (of_prepared.len(), fields),
        (58, [2, 2, 14, 15, 21, 22, 4, 0, 1, 1])
    );
    let prepared = first(10);
    assert_eq!(prepared[..8], 23_u64.to_le_bytes());
    assert_eq!(prepared[8..20], *b"\x08\0\0\0prepared");
    assert_eq!([prepared[20], prepared[24], prepared[28]], [1, 1, 1]);
    assert_eq!(prepared[32..], Position::new(4, 1).0.to_le_bytes());
    assert_eq!(frames[4].1[..8], *b"\x04\0\0\0open");
    let outcomes = first(11);
    assert_eq!(outcomes[..8], 24_u64.to_le_bytes());
    assert_eq!(outcomes[8..], *b"\x02\x01\0\0\x07\0\0\0decided");
    let producers = first(5);
    assert_eq!(
        [producers[0], producers[8], producers[16], producers[24]],
        [20, 6, 7, 8]
    );
    assert_eq!(&producers[28..], b"producer");
    let directory = first(6);
    assert_eq!((directory.len(), directory[0], directory[8]), (12, 20, 1));
    let backlog = first(7);
    let fields = [0, 4, 8, 16, 24, 32, 40].map(|at| backlog[at]);
    assert_eq!(fields, [1, 1, 20, 10, 11, 12, 13]);
    assert_eq!(&backlog[48..], b"words");
    let entries = first(8);
    assert_eq!(entries.len(), ENTRY_BYTES);
    assert_eq!(entries[0..8], Position::new(4, 1).0.to_le_bytes());
    assert_eq!(
        [
            entries[8],
            entries[24],
            entries[28],
            entries[32],
            entries[35]
        ],
        [16, 2, 14, 15, 0x80]
    );
    assert_eq!(entries[16..24], (-17_i64).to_le_bytes());
    let tenures = first(2);
    let fields = [0, 8, 16, 24, 32, 40, 48, 52].map(|at| tenures[at]);
    assert_eq!((tenures.len(), fields), (56, [2, 3, 1, 2, 9, 8, 1, 2]));
    let end = first(9);
    assert_eq!(
        (end.len(), end[0] as usize, end[8]),
        (20, frames.len() - 1, 20)
    );
}

#[test]
fn tenures_before_the_oldest_segment_in_use_are_left_out() {
    let state = state();
    let seal = state.tenures.lock()[0].seal;
    let tenure = |epoch: u64, segment: u32| Tenure {
        epoch: Epoch(epoch),
        segment: SegmentNumber(segment),
        lsn: Lsn(epoch),
        seal,
    };
    let tenures = vec![tenure(1, 1), tenure(2, 3), tenure(3, 5), tenure(4, 6)];
    *state.tenures.lock() = tenures;
    let epochs = |oldest: Option<u32>| -> Vec<u8> {
        let payload = write::tenures(&state, oldest.map(SegmentNumber));
        payload.chunks(56).map(|tenure| tenure[0]).collect()
    };
    assert_eq!(epochs(Some(1)), [1, 2, 3, 4]);
    assert_eq!(epochs(Some(3)), [2, 3, 4]);
    assert_eq!(epochs(Some(4)), [2, 3, 4], "in the middle of a tenure");
    assert_eq!(epochs(Some(9)), [4]);
    assert_eq!(epochs(None), [4], "the newest is always there");
}
