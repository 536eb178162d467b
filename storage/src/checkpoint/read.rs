//! Reading a checkpoint into a new state.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    CHECKPOINT_MAGIC, CHECKPOINT_VERSION, ENCRYPTED_VERSION, ENTRY_BYTES, FRAME_HEADER_BYTES,
    FrameKind, ReplayStart, frame_crc,
};
use crate::backlog::{Backlog, Contents};
use crate::chain::CheckpointName;
use crate::cipher::{
    CIPHER_HEADER_BYTES, CheckpointCipher, CipherHeader, KeyError, KeyId, Keyring, TAG_BYTES,
};
use crate::disk::{Disk, DiskFile, Open};
use crate::position::{BacklogId, Entry, Epoch, Location, Lsn, Position, SegmentNumber};
use crate::record::{Input, Malformed, Prepare, Seal, read_acknowledged};
use crate::recovery::RecoveryMeter;
use crate::state::{OpenMessage, Producer, SHARED, Segments, State, Tenure, shard_of};
use crate::transaction::Outcome;

/// The results of reading a checkpoint. They must not be confused: what was never written needs no
/// explanation, what cannot be read does, and what needs a key is no reason to look elsewhere.
pub(crate) enum CheckpointRead {
    /// There is no such file.
    NeverWritten,
    Valid(Box<Loaded>),
    Unreadable {
        reason: String,
    },
    Locked(KeyError),
}

/// A state from a checkpoint.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) start: ReplayStart,
    /// The last LSN that any object contains.
    pub(crate) end: Lsn,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("it needs the key {0}")]
    Key(KeyId),
}

/// Reads the checkpoint `name`.
pub(crate) fn read_checkpoint(
    disk: &dyn Disk,
    keys: &Keyring,
    name: CheckpointName,
) -> CheckpointRead {
    read_checkpoint_metered(disk, keys, name, &RecoveryMeter::default())
}

/// [`read_checkpoint`], with its progress told to `meter`.
pub(crate) fn read_checkpoint_metered(
    disk: &dyn Disk,
    keys: &Keyring,
    name: CheckpointName,
    meter: &RecoveryMeter,
) -> CheckpointRead {
    let file = match disk.open(&name.path(), Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return CheckpointRead::NeverWritten;
        }
        Err(error) => return unreadable(&name.path(), &error.to_string()),
    };
    match load(&*file, keys, meter) {
        Ok(loaded) if loaded.end == name.lsn && loaded.start.epoch == name.epoch => {
            CheckpointRead::Valid(Box::new(loaded))
        }
        Ok(_) => unreadable(&name.path(), "its contents belong to another name"),
        Err(ReadError::Key(wanted)) => CheckpointRead::Locked(KeyError {
            path: name.path().display().to_string(),
            wanted,
            given: keys.ids(),
        }),
        Err(error) => unreadable(&name.path(), &error.to_string()),
    }
}

/// Where the checkpoint `name` replays from; None if that cannot be read.
pub(crate) fn read_start(disk: &dyn Disk, name: CheckpointName) -> io::Result<Option<ReplayStart>> {
    let file = disk.open(&name.path(), Open::Read)?;
    let reader = &mut FrameReader::new(&*file)?;
    match reader.next() {
        Ok((FrameKind::Head, payload)) => Ok(read_head(payload).ok().map(|(start, _)| start)),
        Ok(_) | Err(ReadError::Malformed(_) | ReadError::Key(_)) => Ok(None),
        Err(ReadError::Io(error)) => Err(error),
    }
}

/// The key with which the checkpoint `name` is encrypted; None if it is plain, or cannot be read.
pub(crate) fn key_of(disk: &dyn Disk, name: CheckpointName) -> io::Result<Option<KeyId>> {
    let file = disk.open(&name.path(), Open::Read)?;
    let reader = &mut FrameReader::new(&*file)?;
    match reader.next() {
        Ok((FrameKind::Head, payload)) => {
            let cipher = read_head(payload).ok().and_then(|(_, cipher)| cipher);
            Ok(cipher.map(|cipher| cipher.key))
        }
        Err(ReadError::Io(error)) => Err(error),
        _ => Ok(None),
    }
}

/// Checks what can be checked of an encrypted checkpoint without its key: that every frame is as it
/// was written, and that none is missing.
pub(crate) fn check_frames(disk: &dyn Disk, name: CheckpointName) -> Result<(), String> {
    let check = || -> Result<(), ReadError> {
        let file = disk.open(&name.path(), Open::Read)?;
        let reader = &mut FrameReader::new(&*file)?;
        loop {
            let (kind, payload) = reader.next()?;
            if kind == FrameKind::End {
                let (clear, _) = payload
                    .split_last_chunk::<TAG_BYTES>()
                    .ok_or(Malformed("the last frame"))?;
                let end = read_end(&mut Input::new(clear))?;
                return reader.check_end(&end).map_err(ReadError::from);
            }
        }
    };
    check().map_err(|error| error.to_string())
}

/// Reads all of the checkpoint `name` and keeps nothing: whether it is as it was written. What is
/// encrypted stays so.
pub(crate) fn is_whole(disk: &dyn Disk, name: CheckpointName) -> io::Result<bool> {
    let file = disk.open(&name.path(), Open::Read)?;
    let reader = &mut FrameReader::new(&*file)?;
    loop {
        let end = match reader.next() {
            Ok((FrameKind::End, payload)) => read_end(&mut Input::new(payload)),
            Ok(_) => continue,
            Err(ReadError::Io(error)) => return Err(error),
            Err(_) => return Ok(false),
        };
        let is_whole = |end: &End| reader.check_end(end).is_ok() && end.lsn == name.lsn;
        return Ok(end.as_ref().is_ok_and(is_whole));
    }
}

fn unreadable(path: &Path, reason: &str) -> CheckpointRead {
    CheckpointRead::Unreadable {
        reason: format!("`{}`: {reason}", path.display()),
    }
}

struct FrameReader<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    /// Where `buffer` ends in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already used.
    used: usize,
    frames: u64,
    crc: crc32fast::Hasher,
    /// Decrypts what is read; None: it is plain, or is to stay as it is.
    cipher: Option<CheckpointCipher>,
}

const READ_BYTES: usize = 1 << 20;

impl<'a> FrameReader<'a> {
    fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(FrameReader {
            file,
            length: file.length()?,
            offset: 0,
            buffer: Vec::new(),
            used: 0,
            frames: 0,
            crc: crc32fast::Hasher::new(),
            cipher: None,
        })
    }

    fn check_end(&self, end: &End) -> Result<(), Malformed> {
        if (end.frames, end.crc) != (self.frames, self.crc.clone().finalize()) {
            return Err(Malformed("the number or the CRC of all frames"));
        }
        Ok(())
    }

    /// Reads the first frame, and decrypts from there on if the file is encrypted.
    fn begin(&mut self, keys: &Keyring) -> Result<ReplayStart, ReadError> {
        let (FrameKind::Head, payload) = self.next()? else {
            return Err(Malformed("the file's head").into());
        };
        let (start, header) = read_head(payload)?;
        if let Some(header) = header {
            let mut payload = payload.to_vec();
            let cipher = CheckpointCipher::of(keys, header, start);
            let cipher = cipher.ok_or(ReadError::Key(header.key))?;
            cipher
                .decrypt(FrameKind::Head.place(0), &mut payload)
                .ok_or(CHANGED)?;
            self.cipher = Some(cipher);
        }
        Ok(start)
    }

    /// Makes `bytes` unused bytes available. What the file cannot hold is never allocated.
    fn fill(&mut self, bytes: usize) -> Result<(), ReadError> {
        let missing = bytes.saturating_sub(self.buffer.len() - self.used);
        if missing == 0 {
            return Ok(());
        }
        if missing as u64 > self.length.saturating_sub(self.offset) {
            return Err(Malformed("the file's end").into());
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        let old = self.buffer.len();
        let rest = usize::try_from(self.length - self.offset).unwrap_or(usize::MAX);
        self.buffer
            .resize(old + missing.max(READ_BYTES).min(rest), 0);
        let read = self.file.read_at(&mut self.buffer[old..], self.offset)?;
        self.buffer.truncate(old + read);
        self.offset += read as u64;
        if read < missing {
            Err(Malformed("the file's end").into())
        } else {
            Ok(())
        }
    }

    fn next(&mut self) -> Result<(FrameKind, &[u8]), ReadError> {
        self.fill(FRAME_HEADER_BYTES)?;
        let input = &mut Input::new(&self.buffer[self.used..]);
        let kind = input.u8()?;
        let is_padded = input.take(3)? == [0; 3];
        let length = input.u32()? as usize;
        let crc = input.u32()?;
        self.fill(FRAME_HEADER_BYTES + length)?;
        let start = self.used + FRAME_HEADER_BYTES;
        self.used = start + length;
        let payload = &mut self.buffer[start..self.used];
        let known = FrameKind::from_byte(kind).ok_or(Malformed("a frame's kind"))?;
        if frame_crc(kind, payload) != crc || !is_padded {
            return Err(Malformed("a frame's CRC").into());
        }
        let index = self.frames;
        if known != FrameKind::End {
            self.frames += 1;
            self.crc.update(&crc.to_le_bytes());
        }
        match &self.cipher {
            None => Ok((known, payload)),
            Some(cipher) => {
                let plain = cipher.decrypt(known.place(index), payload);
                Ok((known, plain.ok_or(CHANGED)?))
            }
        }
    }
}

const CHANGED: Malformed =
    Malformed("a frame's authenticity (it was changed after it was written)");

/// What has been read so far.
#[derive(Default)]
struct Loading {
    state: State,
    transactions_through: Option<Lsn>,
    producers_through: Option<Lsn>,
    /// The backlog whose entries are being read, and how many are still to come.
    backlog: Option<(BacklogId, Contents, usize)>,
}

fn load(file: &dyn DiskFile, keys: &Keyring, meter: &RecoveryMeter) -> Result<Loaded, ReadError> {
    let reader = &mut FrameReader::new(file)?;
    let start = reader.begin(keys)?;
    let mut loading = Loading::default();
    let end = loop {
        meter.loaded(reader.offset, reader.length);
        let (kind, payload) = reader.next()?;
        let input = &mut Input::new(payload);
        match kind {
            FrameKind::End => break read_end(input)?,
            FrameKind::Head => return Err(Malformed("a second head").into()),
            FrameKind::Tenures => loading.tenures(input)?,
            FrameKind::Transactions => loading.transactions_through = Some(Lsn(input.u64()?)),
            FrameKind::Transaction => loading.transaction(input)?,
            FrameKind::Producers => loading.producers(input)?,
            FrameKind::Directory => loading.directory(input)?,
            FrameKind::Backlog => loading.backlog(input)?,
            FrameKind::Entries => loading.entries(payload)?,
            FrameKind::Prepared => loading.prepared(input)?,
            FrameKind::Outcomes => loading.outcomes(input)?,
        }
        if !input.is_empty() && kind != FrameKind::Entries {
            return Err(Malformed("a frame's end").into());
        }
    };
    reader.check_end(&end)?;
    let state = loading.finish(start, end.lsn)?;
    Ok(Loaded {
        state,
        start,
        end: end.lsn,
    })
}

/// The tag of an encrypted one may stand behind.
fn read_head(payload: &[u8]) -> Result<(ReplayStart, Option<CipherHeader>), Malformed> {
    let input = &mut Input::new(payload);
    if input.take(8)? != CHECKPOINT_MAGIC {
        return Err(Malformed("the checkpoint's magic number"));
    }
    let version = input.u32()?;
    if version != CHECKPOINT_VERSION && version != ENCRYPTED_VERSION {
        return Err(Malformed(
            "the checkpoint's format version (written by a newer release?)",
        ));
    }
    let segment = SegmentNumber(input.u32()?);
    let epoch = Epoch(input.u64()?);
    let (offset, lsn, _time_ms) = (input.u64()?, Lsn(input.u64()?), input.u64()?);
    let start = ReplayStart {
        epoch,
        segment,
        offset,
        lsn,
    };
    if version == CHECKPOINT_VERSION {
        input.finish()?;
        return Ok((start, None));
    }
    let cipher = CipherHeader::decode(input.take(CIPHER_HEADER_BYTES)?)?;
    input.take(TAG_BYTES)?;
    input.finish()?;
    Ok((start, Some(cipher)))
}

struct End {
    frames: u64,
    lsn: Lsn,
    crc: u32,
}

fn read_end(input: &mut Input<'_>) -> Result<End, Malformed> {
    Ok(End {
        frames: input.u64()?,
        lsn: Lsn(input.u64()?),
        crc: input.u32()?,
    })
}

impl Loading {
    fn tenures(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let tenures = self.state.tenures.get_mut();
        while !input.is_empty() {
            let (epoch, lsn) = (Epoch(input.u64()?), Lsn(input.u64()?));
            let seal = Seal {
                previous_epoch: Epoch(input.u64()?),
                sealed_lsn: Lsn(input.u64()?),
                end_offset: input.u64()?,
                time_ms: input.u64()?,
                segment: SegmentNumber(input.u32()?),
            };
            tenures.push(Tenure {
                epoch,
                lsn,
                seal,
                segment: SegmentNumber(input.u32()?),
            });
        }
        Ok(())
    }

    fn transaction(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let id = input.slice()?;
        while !input.is_empty() {
            let message = read_open_message(input)?;
            self.state.transactions.get_mut().push(id, message);
        }
        Ok(())
    }

    fn prepared(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let prepare = Prepare {
            time_ms: input.u64()?,
            transaction: input.slice()?,
            acknowledged: read_acknowledged(input)?,
        };
        self.state.transactions.get_mut().prepare(&prepare);
        Ok(())
    }

    fn outcomes(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        while !input.is_empty() {
            let outcome = Outcome::decode(input)?;
            let key = input.slice()?;
            self.state.transactions.get_mut().note(key, outcome);
        }
        Ok(())
    }

    fn producers(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let through = Lsn(input.u64()?);
        // One bound for all shards, so that their number may change: noting a producer again, and
        // forgetting it again in between, ends in the same table.
        self.producers_through = Some(
            self.producers_through
                .map_or(through, |old| old.min(through)),
        );
        while !input.is_empty() {
            let (sequence, used_ms) = (input.u64()?, input.u64()?);
            let id = input.slice()?;
            let shard = self.state.producers[shard_of(id)].get_mut();
            shard
                .producers
                .insert(id.into(), Producer { sequence, used_ms });
        }
        Ok(())
    }

    fn directory(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        let directory = self.state.directory.get_mut();
        directory.complete_through = Lsn(input.u64()?);
        directory.last_id = input.u32()?;
        Ok(())
    }

    fn backlog(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        self.finish_backlog()?;
        let id = BacklogId(input.u32()?);
        let count = input.u32()? as usize;
        let contents = Contents {
            complete_through: Lsn(input.u64()?),
            last_sequence: input.u64()?,
            reserved_below: input.u64()?,
            reserved_by: Lsn(input.u64()?),
            redelivered_below: input.u64()?,
            descriptor: Bytes::copy_from_slice(input.rest()),
            ..Contents::default()
        };
        self.backlog = Some((id, contents, count));
        Ok(())
    }

    fn entries(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let (_, contents, missing) = self.backlog.as_mut().ok_or(Malformed("entries' backlog"))?;
        let input = &mut Input::new(payload);
        *missing = missing
            .checked_sub(payload.len() / ENTRY_BYTES)
            .ok_or(Malformed("the number of a backlog's entries"))?;
        while !input.is_empty() {
            let (position, entry) = read_entry(input)?;
            if position.sequence() > contents.last_sequence
                || !contents.entries.push(position, entry)
            {
                return Err(Malformed("the order of a backlog's entries"));
            }
        }
        Ok(())
    }

    fn finish_backlog(&mut self) -> Result<(), Malformed> {
        let Some((id, contents, missing)) = self.backlog.take() else {
            return Ok(());
        };
        if missing > 0 {
            return Err(Malformed("the number of a backlog's entries"));
        }
        let directory = self.state.directory.get_mut();
        directory
            .backlogs
            .insert(id, Arc::new(Backlog::new(id, contents)));
        Ok(())
    }

    fn finish(mut self, start: ReplayStart, end: Lsn) -> Result<State, Malformed> {
        self.finish_backlog()?;
        let through = self
            .transactions_through
            .ok_or(Malformed("the transaction table"))?;
        self.state.transactions.get_mut().complete_through = through;
        let through = self
            .producers_through
            .ok_or(Malformed("the producer table"))?;
        for shard in &mut self.state.producers {
            shard.get_mut().complete_through = through;
        }
        if self.state.tenure().map(|tenure| tenure.epoch) != Some(start.epoch) {
            return Err(Malformed("the chain of tenures"));
        }
        self.state.known_through = end;
        self.state.set_applied(Lsn(start.lsn.0.saturating_sub(1)));
        let segments = count_segments(&mut self.state)?;
        *self.state.segments.get_mut() = segments;
        Ok(self.state)
    }
}

/// References are not written: they follow from the entries.
fn count_segments(state: &mut State) -> Result<Segments, Malformed> {
    let mut segments = Segments::default();
    for message in state.transactions.get_mut().messages() {
        segments.add(message.epoch, message.location, message.is_shared());
    }
    for backlog in state.backlogs() {
        for (_, entry) in backlog.lock().entries.iter() {
            let epoch = state.epoch_of(entry.location.segment);
            let epoch = epoch.ok_or(Malformed("an entry's segment"))?;
            segments.add(epoch, entry.location, entry.is_shared);
        }
    }
    Ok(segments)
}

fn read_entry(input: &mut Input<'_>) -> Result<(Position, Entry), Malformed> {
    let position = Position(input.u64()?);
    let (visible, expiration_ms) = (Lsn(input.u64()?), input.u64()? as i64);
    let mut location = read_location(input)?;
    let is_shared = location.length & SHARED != 0;
    location.length &= !SHARED;
    if location.length == 0 {
        return Err(Malformed("a record's length"));
    }
    Ok((
        position,
        Entry {
            location,
            visible,
            expiration_ms,
            is_shared,
        },
    ))
}

fn read_location(input: &mut Input<'_>) -> Result<Location, Malformed> {
    let segment = SegmentNumber(input.u32()?);
    let (offset, length) = (input.u32()?, input.u32()?);
    if length == 0 {
        return Err(Malformed("a record's length"));
    }
    Ok(Location {
        segment,
        offset,
        length,
    })
}

fn read_open_message(input: &mut Input<'_>) -> Result<OpenMessage, Malformed> {
    let epoch = Epoch(input.u64()?);
    let location = read_location(input)?;
    let (expiration_ms, time_ms) = (input.u64()? as i64, input.u64()?);
    let (order, has_producer) = (input.u8()?, input.u8()? == 1);
    if order > 9 {
        return Err(Malformed("a message's order"));
    }
    let producer = if has_producer {
        let sequence = input.u64()?;
        Some((input.slice()?.into(), sequence))
    } else {
        None
    };
    let count = input.count(4)?;
    let targets = (0..count)
        .map(|_| Ok(BacklogId(input.u32()?)))
        .collect::<Result<_, Malformed>>();
    let targets = targets?;
    Ok(OpenMessage {
        epoch,
        location,
        order,
        expiration_ms,
        time_ms,
        producer,
        targets,
    })
}
