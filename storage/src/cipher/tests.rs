use zeroize::Zeroizing;

use super::*;
use crate::batch::{BATCH_HEADER_BYTES, Batch, Found, find_batch};
use crate::chain::{CheckpointName, SegmentName};
use crate::checkpoint::{
    CheckpointRead, FRAME_HEADER_BYTES, ReplayStart, read_checkpoint, write_checkpoint,
};
use crate::disk::{Disk as _, Open};
use crate::position::{BacklogId, Epoch, Lsn, SegmentNumber};
use crate::record::{
    CreateBacklog, Frame, RECORD_HEADER_BYTES, RawRecord, Record, Seal, place_changed,
};
use crate::segment::{check_header, encode_header};
use crate::state::{State, Tenure};
use crate::testing::{FaultyDisk, key, keyring};

const NAME: SegmentName = SegmentName {
    number: SegmentNumber(3),
    epoch: Epoch(5),
};

fn create(descriptor: &[u8]) -> Record<'_> {
    Record::CreateBacklog(CreateBacklog {
        id: BacklogId(1),
        descriptor,
    })
}

/// A record alone, as it is written with `cipher` at LSN 7.
fn written(cipher: &TenureCipher, record: &Record<'_>) -> Vec<u8> {
    let batch = Batch::new(NAME.number, 64, Lsn(7), NAME.epoch, Vec::new());
    let mut batch = batch.encrypted(cipher.of(NAME.number));
    let (_, location) = batch.push(Frame::new(record));
    batch.find(location).expect("in the batch").to_vec()
}

fn begin(keys: &Keyring) -> TenureCipher {
    TenureCipher::begin(keys, NAME.epoch).expect("random numbers")
}

fn reader(keys: &Keyring, tenure: &TenureCipher, name: SegmentName) -> RecordCipher {
    keys.cipher(name, tenure.header().copied()).expect("known")
}

#[test]
fn a_key_has_a_name_that_tells_nothing_of_it_and_is_never_shown() {
    let (one, other) = (key(1), key(2));
    assert_ne!(one.id(), other.id());
    assert_eq!(one.id(), key(1).id());
    assert_eq!(one.id().to_string().len(), 16);
    let shown = format!("{one:?} {:?}", keyring(&[1, 2]));
    assert!(shown.contains(&other.id().to_string()), "{shown}");
    assert!(
        !shown.contains("1, 1") && !shown.contains("0101"),
        "{shown}"
    );
    assert_ne!(
        *random_key().expect("random"),
        *random_key().expect("random")
    );
    // What operators wrote down must not change its meaning.
    assert_eq!(
        MasterKey::new(Zeroizing::new([7; 32])).id().to_string(),
        "92ca4fda408c8fc4"
    );
}

#[test]
fn header_fields_are_where_the_specification_says() {
    let keys = keyring(&[1]);
    let tenure = begin(&keys);
    let header = encode_header(NAME, tenure.header());
    assert_eq!(header[8..12], [4, 0, 0, 0]);
    assert_eq!(header[24..28], [1, 0, 0, 0]);
    assert_eq!(header[28..36], key(1).id().0);
    assert_eq!(header[36..60], tenure.header().expect("encrypted").salt);
    assert_eq!(check_header(&header, NAME), Ok(tenure.header().copied()));
    for at in 0..header.len() {
        let mut broken = header;
        broken[at] ^= 0x10;
        assert!(check_header(&broken, NAME).is_err(), "byte {at}");
    }
    let mut newer = *tenure
        .header()
        .expect("encrypted")
        .encode()
        .first_chunk::<36>()
        .expect("36");
    newer[0] = 2;
    assert!(CipherHeader::decode(&newer).is_err());
    assert!(CipherHeader::decode(&newer[..35]).is_err());
}

#[test]
fn a_record_is_a_header_the_encrypted_payload_and_a_tag() {
    let keys = keyring(&[1]);
    let tenure = begin(&keys);
    let record = create(b"a name that nobody else reads");
    let bytes = written(&tenure, &record);
    let plain = written(&TenureCipher::plain(NAME.epoch), &record);
    assert_eq!(bytes.len(), plain.len() + 16);
    assert_eq!(bytes[8..20], plain[8..20], "LSN and kind");
    assert!(!bytes.windows(4).any(|window| window == b"name"));
    let raw = RawRecord::parse(&bytes, NAME.epoch).expect("the CRC is that of what is written");
    let mut scratch = Vec::new();
    let cipher = reader(&keys, &tenure, NAME);
    assert_eq!(cipher.decode(&raw, &mut scratch), Ok(record.clone()));
    let mut in_place = bytes.clone();
    let end = cipher
        .decrypt_in_place((raw.lsn, raw.kind, raw.length), &mut in_place)
        .expect("whole");
    assert_eq!(
        in_place[RECORD_HEADER_BYTES..end],
        plain[RECORD_HEADER_BYTES..]
    );
}

#[test]
fn a_changed_bit_is_found_though_the_checksums_were_changed_with_it() {
    let keys = keyring(&[1]);
    let tenure = begin(&keys);
    let seal = Record::Seal(Seal {
        previous_epoch: Epoch(4),
        sealed_lsn: Lsn(6),
        segment: SegmentNumber(2),
        end_offset: 100,
        time_ms: 1,
    });
    let cipher = reader(&keys, &tenure, NAME);
    let mut scratch = Vec::new();
    for record in [create(b"words"), seal] {
        let bytes = written(&tenure, &record);
        for at in RECORD_HEADER_BYTES..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            place_changed(&mut changed, Lsn(7), NAME.epoch, record.kind());
            let raw = RawRecord::parse(&changed, NAME.epoch).expect("the CRC fits");
            let found = cipher.decode(&raw, &mut scratch);
            assert_eq!(
                found.map_err(|error| error.0),
                Err(RECORD_CHANGED),
                "byte {at}"
            );
            let header = (raw.lsn, raw.kind, raw.length);
            if record.kind() != crate::record::Kind::Seal {
                assert!(cipher.decrypt_in_place(header, &mut changed).is_err());
            }
        }
        // Another LSN, another kind, a shorter one.
        let mut moved = bytes.clone();
        place_changed(&mut moved, Lsn(8), NAME.epoch, record.kind());
        let mut renamed = bytes.clone();
        place_changed(
            &mut renamed,
            Lsn(7),
            NAME.epoch,
            crate::record::Kind::RemoveBacklog,
        );
        let mut short = bytes[..bytes.len() - 1].to_vec();
        place_changed(&mut short, Lsn(7), NAME.epoch, record.kind());
        let mut tiny = bytes[..RECORD_HEADER_BYTES + 3].to_vec();
        place_changed(&mut tiny, Lsn(7), NAME.epoch, record.kind());
        for changed in [moved, renamed, short, tiny] {
            let raw = RawRecord::parse(&changed, NAME.epoch).expect("the CRC fits");
            assert!(cipher.decode(&raw, &mut scratch).is_err());
        }
    }
}

#[test]
fn a_record_is_of_no_use_in_another_segment_epoch_or_tenure() {
    let keys = keyring(&[1]);
    let (tenure, again) = (begin(&keys), begin(&keys));
    let record = create(b"words");
    let bytes = written(&tenure, &record);
    let raw = RawRecord::parse(&bytes, NAME.epoch).expect("whole");
    let mut scratch = Vec::new();
    let other_number = SegmentName {
        number: SegmentNumber(4),
        ..NAME
    };
    let other_epoch = SegmentName {
        epoch: Epoch(6),
        ..NAME
    };
    for cipher in [
        reader(&keys, &tenure, other_number),
        reader(&keys, &tenure, other_epoch),
        reader(&keys, &again, NAME),
    ] {
        assert!(cipher.decode(&raw, &mut scratch).is_err());
    }
    // The same LSN in the same segment of the same epoch, should that ever be: another key.
    assert_ne!(written(&again, &record)[20..], bytes[20..]);
    let missing = keyring(&[2, 3]).cipher(NAME, tenure.header().copied());
    let missing = missing.err().expect("its key is not there");
    assert_eq!(missing.wanted, key(1).id());
    assert_eq!(missing.given, [key(2).id(), key(3).id()]);
}

#[test]
fn keys_of_segments_are_the_same_whenever_they_are_asked_for() {
    let keys = keyring(&[1]);
    let tenure = begin(&keys);
    let record = create(b"words");
    let first = written(&tenure, &record);
    for number in 10..20 {
        tenure.of(SegmentNumber(number));
    }
    assert_eq!(written(&tenure, &record), first);
}

#[test]
fn large_and_small_records_lie_in_a_batch_as_in_a_plain_one() {
    let keys = keyring(&[1]);
    let tenure = begin(&keys);
    let bodies: Vec<Vec<u8>> = [10, 200_000, 20, 70_000, 70_000, 30]
        .into_iter()
        .map(|length| vec![length as u8; length])
        .collect();
    let batch = Batch::new(NAME.number, 64, Lsn(7), NAME.epoch, Vec::new());
    let mut batch = batch.encrypted(tenure.of(NAME.number));
    let mut locations = Vec::new();
    for body in &bodies {
        locations.push(batch.push(crate::store::frame(&create(body))).1);
    }
    batch.close(Lsn(0));
    let bytes = batch.chunks().concat();
    let Found::Batch(view) = find_batch(&bytes, NAME, 64) else {
        panic!("a valid batch")
    };
    let cipher = reader(&keys, &tenure, NAME);
    let mut scratch = Vec::new();
    let mut count = 0;
    for ((at, raw), body) in view.records().zip(&bodies) {
        assert_eq!(cipher.decode(&raw, &mut scratch), Ok(create(body)));
        assert_eq!(locations[count].offset as usize, 64 + at);
        assert_eq!(locations[count].length, raw.length);
        assert!(at >= BATCH_HEADER_BYTES);
        count += 1;
    }
    assert_eq!(count, bodies.len());
}

const START: ReplayStart = ReplayStart {
    epoch: Epoch(5),
    segment: SegmentNumber(3),
    offset: 64,
    lsn: Lsn(5),
};
const CHECKPOINT: CheckpointName = CheckpointName {
    lsn: Lsn(20),
    epoch: Epoch(5),
};

fn state() -> State {
    let state = State::default();
    state.tenures.lock().push(Tenure {
        epoch: Epoch(5),
        segment: SegmentNumber(3),
        lsn: Lsn(3),
        seal: Seal {
            previous_epoch: Epoch(4),
            sealed_lsn: Lsn(2),
            segment: SegmentNumber(1),
            end_offset: 9,
            time_ms: 8,
        },
    });
    let shard = crate::state::shard_of(b"ID:somebody");
    state.producers[shard].lock().producers.insert(
        (*b"ID:somebody").into(),
        crate::state::Producer {
            sequence: 1,
            used_ms: 2,
        },
    );
    state
}

fn checkpoint(keys: &Keyring) -> (FaultyDisk, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut sink = |more: &[u8]| {
        bytes.extend_from_slice(more);
        Ok(())
    };
    write_checkpoint(&state(), keys, START, 18, &|| Lsn(20), &mut sink).expect("no error");
    let disk = FaultyDisk::default();
    disk.create_directory("checkpoints".as_ref()).expect("made");
    let file = disk
        .open(&CHECKPOINT.path(), Open::CreateNew)
        .expect("made");
    file.write_all_at(&bytes, 0).expect("written");
    (disk, bytes)
}

fn is_known(read: &CheckpointRead) -> bool {
    let CheckpointRead::Valid(loaded) = read else {
        return false;
    };
    let shard = crate::state::shard_of(b"ID:somebody");
    loaded.state.producers[shard].lock().producers.len() == 1
}

#[test]
fn a_checkpoint_is_read_with_its_key_only() {
    let (disk, bytes) = checkpoint(&keyring(&[1]));
    assert!(!bytes.windows(8).any(|window| window == b"somebody"));
    assert!(is_known(&read_checkpoint(
        &disk,
        &keyring(&[2, 1]),
        CHECKPOINT
    )));
    for keys in [keyring(&[]), keyring(&[2])] {
        let CheckpointRead::Locked(error) = read_checkpoint(&disk, &keys, CHECKPOINT) else {
            panic!("it needs a key");
        };
        assert_eq!((error.wanted, error.given), (key(1).id(), keys.ids()));
    }
    let start = crate::checkpoint::read_start(&disk, CHECKPOINT).expect("readable");
    assert_eq!(start, Some(START), "without a key");
    assert_eq!(crate::checkpoint::check_frames(&disk, CHECKPOINT), Ok(()));
    let used = crate::checkpoint::key_of(&disk, CHECKPOINT).expect("readable");
    assert_eq!(used, Some(key(1).id()));
    let (_, again) = checkpoint(&keyring(&[1]));
    assert_ne!(
        again[FRAME_HEADER_BYTES + 60..],
        bytes[FRAME_HEADER_BYTES + 60..],
        "another salt"
    );
}

#[test]
fn a_changed_bit_in_a_checkpoint_is_found_though_the_checksums_were_changed_with_it() {
    let keys = keyring(&[1]);
    let (disk, bytes) = checkpoint(&keys);
    let mut frames = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().expect("four")) as usize;
        frames.push((at, length));
        at += FRAME_HEADER_BYTES + length;
    }
    for byte in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[byte] ^= 1;
        let (mut crc, last) = (crc32fast::Hasher::new(), frames.len() - 1);
        for (index, (start, length)) in frames.iter().copied().enumerate() {
            let end = start + FRAME_HEADER_BYTES + length;
            if index == last {
                // The number, the LSN, the sum of all; the tag stands behind it.
                let sum = crc.clone().finalize().to_le_bytes();
                changed[start + FRAME_HEADER_BYTES + 16..][..4].copy_from_slice(&sum);
            }
            let mut summed = changed[start + FRAME_HEADER_BYTES..end].to_vec();
            summed.extend_from_slice(&changed[start + 4..start + 8]);
            summed.push(changed[start]);
            let sum = crc32fast::hash(&summed).to_le_bytes();
            changed[start + 8..start + 12].copy_from_slice(&sum);
            crc.update(&sum);
        }
        if changed == bytes {
            continue;
        }
        disk.set_bytes(&CHECKPOINT.path(), changed);
        let read = read_checkpoint(&disk, &keys, CHECKPOINT);
        assert!(
            !matches!(read, CheckpointRead::Valid(_)),
            "byte {byte} of {}",
            bytes.len()
        );
    }
}

/// Changes one byte of a record in a journal, and all checksums with it.
fn forge(disk: &FaultyDisk, name: SegmentName, body_bytes: u32) -> (u64, Lsn) {
    let mut bytes = disk.bytes(&name.path());
    let mut offset = crate::segment::SEGMENT_HEADER_BYTES;
    while let Found::Batch(batch) = find_batch(&bytes[offset..], name, offset as u64) {
        let length = batch.bytes.len();
        let records: Vec<(usize, Lsn, u32)> = batch
            .records()
            .map(|(at, raw)| (at, raw.lsn, raw.length))
            .collect();
        let victim = records.iter().find(|(_, _, length)| *length > body_bytes);
        let Some((at, lsn, record_bytes)) = victim.copied() else {
            offset += length;
            continue;
        };
        let start = offset + at;
        let record = &mut bytes[start..start + record_bytes as usize];
        record[RECORD_HEADER_BYTES + 40] ^= 1;
        place_changed(record, lsn, name.epoch, crate::record::Kind::Message);
        let mut crc = crc32fast::Hasher::new();
        for (at, ..) in &records {
            crc.update(&bytes[offset + at + 4..][..4]);
        }
        crc.update(&bytes[offset..offset + 12]);
        crc.update(&bytes[offset + 16..offset + BATCH_HEADER_BYTES]);
        crc.update(&name.number.0.to_le_bytes());
        crc.update(&(offset as u64).to_le_bytes());
        bytes[offset + 12..][..4].copy_from_slice(&crc.finalize().to_le_bytes());
        assert!(matches!(
            find_batch(&bytes[offset..], name, offset as u64),
            Found::Batch(_)
        ));
        disk.set_bytes(&name.path(), bytes);
        return (start as u64, lsn);
    }
    panic!("no such record")
}

#[test]
fn a_forged_message_is_damage_that_names_segment_byte_and_lsn() {
    crate::testing::use_keys(&[1]);
    let disk = FaultyDisk::default();
    let tenure = crate::testing::begin(&disk, 1, crate::testing::OPTIONS);
    let backlog = tenure.backlog("queue");
    let position = tenure.send(&backlog, &[7; 700]);
    tenure.settle();
    let name = SegmentName {
        number: SegmentNumber(1),
        epoch: Epoch(1),
    };
    let (offset, lsn) = forge(&disk, name, 700);
    // The active that reads it back.
    let entry = backlog.entry(position).expect("pending");
    let error = tenure.store.read(entry.location).expect_err("forged");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(error.to_string().contains(RECORD_CHANGED), "{error}");
    tenure.store.abandon();
    // The next one.
    let read = crate::testing::recover(&disk).map(drop);
    let Err(crate::error::FollowError::Damaged(damage)) = read else {
        panic!("{read:?}")
    };
    assert_eq!(
        (damage.path.as_ref(), damage.offset),
        ("journal/0000000001-0000000001.seg", offset)
    );
    assert!(
        damage
            .reason
            .starts_with(&format!("LSN {lsn}: {RECORD_CHANGED}")),
        "{damage}"
    );
}
