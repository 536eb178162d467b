use super::*;
use crate::position::BacklogId;
use crate::record::{Record, RemoveBacklog, ReserveDispatch};

const NAME: SegmentName = SegmentName {
    number: SegmentNumber(3),
    epoch: Epoch(5),
};

fn batch(records: u32) -> (Batch, Vec<Location>) {
    let mut batch = Batch::new(NAME.number, 4096, Lsn(100), NAME.epoch, Vec::new());
    let locations = (0..records).map(|number| {
        let id = BacklogId(number);
        let record = match number % 2 {
            0 => Record::RemoveBacklog(RemoveBacklog { id }),
            _ => Record::ReserveDispatch(ReserveDispatch { id, below: 7 }),
        };
        let (lsn, location) = batch.push(Frame::new(&record));
        assert_eq!(lsn, Lsn(100 + u64::from(number)));
        location
    });
    let locations = locations.collect();
    batch.close(Lsn(90));
    (batch, locations)
}

fn bytes(batch: &Batch) -> Vec<u8> {
    batch.chunks().concat()
}

#[test]
fn header_fields_are_where_the_specification_says() {
    let (batch, locations) = batch(2);
    let bytes = bytes(&batch);
    assert_eq!(&bytes[0..4], b"BtB1");
    assert_eq!(bytes[4..8], (bytes.len() as u32).to_le_bytes());
    assert_eq!(bytes[8..12], 2_u32.to_le_bytes());
    assert_eq!(bytes[16..24], 100_u64.to_le_bytes());
    assert_eq!(bytes[24..32], 5_u64.to_le_bytes());
    assert_eq!(bytes[32..40], 90_u64.to_le_bytes());
    assert_eq!(
        locations[0],
        Location {
            segment: NAME.number,
            offset: 4096 + 40,
            length: 24
        }
    );
    assert_eq!(locations[1].offset, 4096 + 40 + 24);
    let mut summed = [&bytes[44..48], &bytes[68..72]].concat();
    summed.extend_from_slice(&bytes[0..12]);
    summed.extend_from_slice(&bytes[16..40]);
    summed.extend_from_slice(&3_u32.to_le_bytes());
    summed.extend_from_slice(&4096_u64.to_le_bytes());
    assert_eq!(bytes[12..16], crc32fast::hash(&summed).to_le_bytes());
}

#[test]
fn a_batch_is_found_at_its_own_place_only() {
    let (batch, locations) = batch(5);
    let mut bytes = bytes(&batch);
    bytes.extend_from_slice(&[0xEE; 50]);
    let Found::Batch(view) = find_batch(&bytes, NAME, 4096) else {
        panic!("a valid batch")
    };
    assert_eq!(
        (view.first_lsn, view.last_lsn(), view.count, view.durable),
        (Lsn(100), Lsn(104), 5, Lsn(90))
    );
    assert_eq!(view.bytes.len(), batch.bytes());
    let places = view
        .records()
        .map(|(at, record)| (at as u32 + 4096, record.length));
    let expected = locations
        .iter()
        .map(|location| (location.offset, location.length));
    assert!(places.eq(expected));
    let elsewhere = SegmentName {
        number: SegmentNumber(4),
        ..NAME
    };
    assert!(matches!(
        find_batch(&bytes, elsewhere, 4096),
        Found::Invalid
    ));
    assert!(matches!(find_batch(&bytes, NAME, 4097), Found::Invalid));
    let another = SegmentName {
        epoch: Epoch(6),
        ..NAME
    };
    assert!(matches!(find_batch(&bytes, another, 4096), Found::Invalid));
}

#[test]
fn every_flipped_byte_and_every_missing_one_is_noticed() {
    let whole = bytes(&batch(4).0);
    for at in 0..whole.len() {
        let mut broken = whole.clone();
        broken[at] ^= 1;
        assert!(
            !matches!(find_batch(&broken, NAME, 4096), Found::Batch(_)),
            "byte {at}"
        );
        match find_batch(&whole[..at], NAME, 4096) {
            Found::Incomplete(needed) => assert!(needed > at, "{at} bytes"),
            found => panic!("{at} bytes: {found:?}"),
        }
    }
    assert!(matches!(find_batch(&[0; 64], NAME, 4096), Found::Nothing));
}

#[test]
fn a_length_that_no_batch_has_is_invalid_and_not_waited_for() {
    let mut bytes = bytes(&batch(1).0);
    bytes[4..8].copy_from_slice(&(BATCH_BYTES_MAX + 1).to_le_bytes());
    assert!(matches!(find_batch(&bytes, NAME, 4096), Found::Invalid));
    bytes[4..8].copy_from_slice(&41_u32.to_le_bytes());
    assert!(matches!(find_batch(&bytes, NAME, 4096), Found::Invalid));
}

#[test]
fn records_are_found_in_whatever_piece_they_lie() {
    use crate::record::Message;
    let large = vec![1; 100 << 10];
    let message = |body| {
        Record::Message(Message {
            expiration_ms: 0,
            time_ms: 0,
            order: 4,
            producer: None,
            transaction: &[],
            targets: vec![BacklogId(1)],
            body,
        })
    };
    let mut batch = Batch::new(NAME.number, 64, Lsn(1), NAME.epoch, Vec::new());
    let bodies: [&[u8]; 6] = [b"small", &large, b"x", b"y", &large, b"last"];
    let locations: Vec<_> = bodies
        .iter()
        .map(|body| {
            let mut frame = Frame::new(&message(body));
            if frame.is_large() {
                frame.own_body();
            }
            batch.push(frame).1
        })
        .collect();
    batch.close(Lsn(0));
    for (location, body) in locations.iter().zip(bodies) {
        assert!(batch.find(*location).expect("in the batch").ends_with(body));
    }
    let all = bytes(&batch);
    let Found::Batch(view) = find_batch(&all, NAME, 64) else {
        panic!("a valid batch")
    };
    assert_eq!(view.count, 6);
    let outside = Location {
        segment: NAME.number,
        offset: batch.end_offset() as u32,
        length: 4,
    };
    assert_eq!(batch.find(outside), None);
}
