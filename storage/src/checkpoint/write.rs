//! Writing a checkpoint while the active goes on.

use std::io;
use std::sync::Arc;

use super::{
    CHECKPOINT_MAGIC, CHECKPOINT_VERSION, ENCRYPTED_VERSION, ENTRIES_PER_FRAME, ENTRY_BYTES,
    FRAME_HEADER_BYTES, FrameKind, ReplayStart, frame_crc,
};
use crate::backlog::Backlog;
use crate::cipher::{CheckpointCipher, Keyring};
use crate::position::{Entry, Lsn, Position, SegmentNumber};
use crate::record::{put_acknowledged, put_count, put_slice};
use crate::state::{OpenMessage, Prepared, Shard, State, packed_length};

/// Takes the bytes of the file in order.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

struct FrameWriter<'a, 'b> {
    sink: &'a mut Sink<'b>,
    frames: u64,
    /// Over the CRCs of the frames.
    crc: crc32fast::Hasher,
    cipher: Option<CheckpointCipher>,
    /// The frame that is being encrypted.
    scratch: Vec<u8>,
}

impl FrameWriter<'_, '_> {
    fn put(&mut self, kind: FrameKind, payload: &[u8]) -> io::Result<()> {
        let Some(cipher) = &self.cipher else {
            return self.put_bytes(kind, payload);
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(payload);
        cipher.encrypt(kind.place(self.frames), &mut scratch);
        let put = self.put_bytes(kind, &scratch);
        self.scratch = scratch;
        put
    }

    fn put_bytes(&mut self, kind: FrameKind, payload: &[u8]) -> io::Result<()> {
        let crc = frame_crc(kind as u8, payload);
        let mut header = [0; FRAME_HEADER_BYTES];
        header[0] = kind as u8;
        header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[8..12].copy_from_slice(&crc.to_le_bytes());
        self.frames += 1;
        self.crc.update(&crc.to_le_bytes());
        (self.sink)(&header)?;
        (self.sink)(payload)
    }
}

/// Writes the state into `sink`. `cut` tells the last LSN appended at the moment; it is asked under
/// the lock of the object that is being copied, under which all that concerns the object is
/// appended and applied: so the object is complete through it.
///
/// Answers the last LSN that any object contains: the checkpoint counts once that is released.
pub(crate) fn write_checkpoint(
    state: &State,
    keys: &Keyring,
    start: ReplayStart,
    time_ms: u64,
    cut: &dyn Fn() -> Lsn,
    sink: &mut Sink<'_>,
) -> io::Result<Lsn> {
    let out = &mut FrameWriter {
        sink,
        frames: 0,
        crc: crc32fast::Hasher::new(),
        cipher: CheckpointCipher::begin(keys, start)?,
        scratch: Vec::new(),
    };
    // Asked before anything is copied: segments may die meanwhile, but none comes to life again.
    let oldest = state.segments.lock().oldest();
    let head = head(start, time_ms, out.cipher.as_ref());
    out.put(FrameKind::Head, &head)?;
    put_transactions(out, state, cut)?;
    for shard in &state.producers {
        let payload = producers(&shard.lock(), cut);
        out.put(FrameKind::Producers, &payload)?;
    }
    let backlogs = put_directory(out, state, cut)?;
    let mut end = cut();
    for backlog in backlogs {
        end = end.max(put_backlog(out, &backlog, cut)?);
    }
    out.put(FrameKind::Tenures, &tenures(state, oldest))?;
    let mut payload = Vec::new();
    payload.extend_from_slice(&out.frames.to_le_bytes());
    payload.extend_from_slice(&end.0.to_le_bytes());
    payload.extend_from_slice(&out.crc.clone().finalize().to_le_bytes());
    out.put(FrameKind::End, &payload)?;
    Ok(end)
}

fn head(start: ReplayStart, time_ms: u64, cipher: Option<&CheckpointCipher>) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&CHECKPOINT_MAGIC);
    let version = match cipher {
        None => CHECKPOINT_VERSION,
        Some(_) => ENCRYPTED_VERSION,
    };
    payload.extend_from_slice(&version.to_le_bytes());
    payload.extend_from_slice(&start.segment.0.to_le_bytes());
    payload.extend_from_slice(&start.epoch.0.to_le_bytes());
    payload.extend_from_slice(&start.offset.to_le_bytes());
    payload.extend_from_slice(&start.lsn.0.to_le_bytes());
    payload.extend_from_slice(&time_ms.to_le_bytes());
    if let Some(cipher) = cipher {
        payload.extend_from_slice(&cipher.header().encode());
    }
    payload
}

/// The tenures from the one that wrote the `oldest` segment in use: earlier ones are only asked for
/// to find who wrote a segment. The newest is always among them.
pub(super) fn tenures(state: &State, oldest: Option<SegmentNumber>) -> Vec<u8> {
    let mut payload = Vec::new();
    let tenures = state.tenures.lock();
    let through = tenures.partition_point(|tenure| oldest.is_none_or(|at| tenure.segment <= at));
    for tenure in &tenures[through.saturating_sub(1)..] {
        payload.extend_from_slice(&tenure.epoch.0.to_le_bytes());
        payload.extend_from_slice(&tenure.lsn.0.to_le_bytes());
        payload.extend_from_slice(&tenure.seal.previous_epoch.0.to_le_bytes());
        payload.extend_from_slice(&tenure.seal.sealed_lsn.0.to_le_bytes());
        payload.extend_from_slice(&tenure.seal.end_offset.to_le_bytes());
        payload.extend_from_slice(&tenure.seal.time_ms.to_le_bytes());
        payload.extend_from_slice(&tenure.seal.segment.0.to_le_bytes());
        payload.extend_from_slice(&tenure.segment.0.to_le_bytes());
    }
    payload
}

fn put_transactions(
    out: &mut FrameWriter<'_, '_>,
    state: &State,
    cut: &dyn Fn() -> Lsn,
) -> io::Result<()> {
    let (through, open, prepared, outcomes) = {
        let transactions = state.transactions.lock();
        let mut outcomes = Vec::new();
        let all = [&transactions.outcomes, &transactions.heuristic];
        for (key, outcome) in all.iter().flat_map(|outcomes| outcomes.iter()) {
            outcome.encode(&mut outcomes);
            put_slice(&mut outcomes, key);
        }
        let open = transactions.open.clone();
        (cut(), open, transactions.prepared.clone(), outcomes)
    };
    out.put(FrameKind::Transactions, &through.0.to_le_bytes())?;
    // Each takes the messages of its id that were read before, so they come before the open ones.
    for (id, prepared) in &prepared {
        put_messages(out, id, &prepared.messages)?;
        out.put(FrameKind::Prepared, &prepared_frame(id, prepared))?;
    }
    for (id, messages) in &open {
        put_messages(out, id, messages)?;
    }
    out.put(FrameKind::Outcomes, &outcomes)
}

fn prepared_frame(id: &[u8], prepared: &Prepared) -> Vec<u8> {
    let mut payload = Vec::new();
    payload.extend_from_slice(&prepared.time_ms.to_le_bytes());
    put_slice(&mut payload, id);
    put_acknowledged(&mut payload, &prepared.acknowledged);
    payload
}

fn put_messages(
    out: &mut FrameWriter<'_, '_>,
    id: &[u8],
    messages: &[OpenMessage],
) -> io::Result<()> {
    for messages in messages.chunks(1024) {
        let mut payload = Vec::new();
        put_slice(&mut payload, id);
        for message in messages {
            put_open_message(&mut payload, message);
        }
        out.put(FrameKind::Transaction, &payload)?;
    }
    Ok(())
}

fn put_open_message(payload: &mut Vec<u8>, message: &OpenMessage) {
    payload.extend_from_slice(&message.epoch.0.to_le_bytes());
    payload.extend_from_slice(&message.location.segment.0.to_le_bytes());
    payload.extend_from_slice(&message.location.offset.to_le_bytes());
    payload.extend_from_slice(&message.location.length.to_le_bytes());
    payload.extend_from_slice(&message.expiration_ms.to_le_bytes());
    payload.extend_from_slice(&message.time_ms.to_le_bytes());
    payload.push(message.order);
    payload.push(u8::from(message.producer.is_some()));
    if let Some((id, sequence)) = &message.producer {
        payload.extend_from_slice(&sequence.to_le_bytes());
        put_slice(payload, id);
    }
    put_count(payload, message.targets.len());
    for target in &message.targets {
        payload.extend_from_slice(&target.0.to_le_bytes());
    }
}

fn producers(shard: &Shard, cut: &dyn Fn() -> Lsn) -> Vec<u8> {
    let mut payload = Vec::with_capacity(8 + shard.producers.len() * 96);
    payload.extend_from_slice(&cut().0.to_le_bytes());
    for (id, producer) in &shard.producers {
        payload.extend_from_slice(&producer.sequence.to_le_bytes());
        payload.extend_from_slice(&producer.used_ms.to_le_bytes());
        put_slice(&mut payload, id);
    }
    payload
}

fn put_directory(
    out: &mut FrameWriter<'_, '_>,
    state: &State,
    cut: &dyn Fn() -> Lsn,
) -> io::Result<Vec<Arc<Backlog>>> {
    let (through, last_id, backlogs) = {
        let directory = state.directory.lock();
        let backlogs: Vec<_> = directory.backlogs.values().cloned().collect();
        (cut(), directory.last_id, backlogs)
    };
    let mut payload = Vec::new();
    payload.extend_from_slice(&through.0.to_le_bytes());
    payload.extend_from_slice(&last_id.to_le_bytes());
    out.put(FrameKind::Directory, &payload)?;
    Ok(backlogs)
}

/// Answers the LSN through which the backlog is complete, also if it was removed meanwhile.
fn put_backlog(
    out: &mut FrameWriter<'_, '_>,
    backlog: &Backlog,
    cut: &dyn Fn() -> Lsn,
) -> io::Result<Lsn> {
    let mut head = Vec::new();
    let (through, entries) = {
        let contents = backlog.lock();
        let through = cut();
        if contents.is_removed {
            return Ok(through);
        }
        head.extend_from_slice(&backlog.id().0.to_le_bytes());
        put_count(&mut head, contents.entries.len());
        head.extend_from_slice(&through.0.to_le_bytes());
        head.extend_from_slice(&contents.last_sequence.to_le_bytes());
        head.extend_from_slice(&contents.reserved_below.to_le_bytes());
        head.extend_from_slice(&contents.reserved_by.0.to_le_bytes());
        head.extend_from_slice(&contents.redelivered_below.to_le_bytes());
        head.extend_from_slice(&contents.descriptor);
        // Under the lock this is little more than a copy: 36 bytes an entry.
        let mut entries = Vec::with_capacity(contents.entries.len() * ENTRY_BYTES);
        for (position, entry) in contents.entries.iter() {
            entries.extend_from_slice(&encode_entry(position, &entry));
        }
        (through, entries)
    };
    out.put(FrameKind::Backlog, &head)?;
    for entries in entries.chunks(ENTRIES_PER_FRAME * ENTRY_BYTES) {
        out.put(FrameKind::Entries, entries)?;
    }
    Ok(through)
}

fn encode_entry(position: Position, entry: &Entry) -> [u8; ENTRY_BYTES] {
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..8].copy_from_slice(&position.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&entry.visible.0.to_le_bytes());
    bytes[16..24].copy_from_slice(&entry.expiration_ms.to_le_bytes());
    bytes[24..28].copy_from_slice(&entry.location.segment.0.to_le_bytes());
    bytes[28..32].copy_from_slice(&entry.location.offset.to_le_bytes());
    bytes[32..36].copy_from_slice(&packed_length(entry).to_le_bytes());
    bytes
}
