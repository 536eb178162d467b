//! A batch: the unit of writing, valid whole or not at all.

use std::sync::Arc;

use crc32fast::Hasher;

use crate::chain::SegmentName;
use crate::cipher::{FileKey, RecordCipher};
use crate::position::{Epoch, Location, Lsn, SegmentNumber};
use crate::record::{
    Frame, Input, Malformed, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RawRecord, place_changed,
};

/// Bytes of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 40;
/// A batch is closed when it has reached this: one write operation on NFS.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// The longest valid batch: one record may exceed [`BATCH_BYTES`].
pub(crate) const BATCH_BYTES_MAX: u32 = RECORD_BYTES_MAX + (2 << 20);

/// Several batches are in flight only as long as they have no more bytes together than this. So a
/// reader knows how far behind a hole there can be something, and a takeover how much it may have
/// to write again.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 2 << 20;

pub(crate) const BATCH_MAGIC: [u8; 4] = *b"BtB1";
const CRC_AT: usize = 12;

/// A batch that is being filled or written.
pub(crate) struct Batch {
    pub(crate) segment: SegmentNumber,
    pub(crate) offset: u64,
    pub(crate) first_lsn: Lsn,
    epoch: Epoch,
    count: u32,
    bytes: usize,
    /// Over the CRCs of the records.
    crc: Hasher,
    /// The batch in pieces; a record never lies in two of them.
    chunks: Vec<Vec<u8>>,
    cipher: RecordCipher,
}

impl Batch {
    /// An empty batch in `buffer`, the header's room reserved.
    pub(crate) fn new(
        segment: SegmentNumber,
        offset: u64,
        first_lsn: Lsn,
        epoch: Epoch,
        mut buffer: Vec<u8>,
    ) -> Batch {
        buffer.clear();
        buffer.resize(BATCH_HEADER_BYTES, 0);
        Batch {
            segment,
            offset,
            first_lsn,
            epoch,
            count: 0,
            bytes: BATCH_HEADER_BYTES,
            crc: Hasher::new(),
            chunks: vec![buffer],
            cipher: RecordCipher::Plain,
        }
    }

    /// The empty batch, of which the records will be encrypted as its segment's are.
    pub(crate) fn encrypted(mut self, cipher: RecordCipher) -> Batch {
        debug_assert_eq!(self.count, 0);
        self.cipher = cipher;
        self
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn end_offset(&self) -> u64 {
        self.offset + self.bytes as u64
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.count) - 1)
    }

    /// Adds a record as the next LSN.
    pub(crate) fn push(&mut self, mut frame: Frame<'_>) -> (Lsn, Location) {
        let lsn = Lsn(self.first_lsn.0 + u64::from(self.count));
        let length = frame.bytes() as u32 + self.cipher.tag_bytes() as u32;
        let location = Location {
            segment: self.segment,
            offset: self.end_offset() as u32,
            length,
        };
        let crc = match self.cipher.clone() {
            RecordCipher::Plain => {
                let crc = frame.place(lsn, self.epoch);
                self.put(frame);
                crc
            }
            RecordCipher::Encrypted(key) => self.put_encrypted(frame, &key, lsn, length as usize),
        };
        self.crc.update(&crc.to_le_bytes());
        self.count += 1;
        self.bytes += length as usize;
        (lsn, location)
    }

    fn put(&mut self, frame: Frame<'_>) {
        if frame.is_large() {
            self.chunks.push(frame.into_bytes());
        } else {
            // Behind a large record small ones gather in a buffer again.
            let is_gathering = self
                .chunks
                .last()
                .is_some_and(|last| last.capacity() > last.len() + 1024);
            if self.chunks.len() > 1 && !is_gathering {
                self.chunks.push(Vec::with_capacity(64 << 10));
            }
            frame.write_to(self.chunks.last_mut().expect("a batch begins with a chunk"));
        }
    }

    /// The one place where a record is encrypted: once, right when it gets its LSN. Answers its CRC.
    fn put_encrypted(&mut self, frame: Frame<'_>, key: &FileKey, lsn: Lsn, length: usize) -> u32 {
        let (kind, epoch) = (frame.kind(), self.epoch);
        self.put(frame);
        let chunk = self.chunks.last_mut().expect("it was just put there");
        let tagged = chunk.len() + self.cipher.tag_bytes();
        chunk.resize(tagged, 0);
        let record = &mut chunk[tagged - length..];
        key.encrypt_record(lsn, kind as u8, record);
        place_changed(record, lsn, epoch, kind)
    }

    /// Fills the header in, right before the batch is written: nothing can be added any more.
    /// Everything up to `durable` was durable by then, so a reader that finds this batch knows
    /// that a hole before it is damage if it lies in that, and a write that never ended if not.
    pub(crate) fn close(&mut self, durable: Lsn) {
        let mut header = [0; BATCH_HEADER_BYTES];
        header[..4].copy_from_slice(&BATCH_MAGIC);
        header[4..8].copy_from_slice(&(self.bytes as u32).to_le_bytes());
        header[8..12].copy_from_slice(&self.count.to_le_bytes());
        header[16..24].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        header[24..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        header[32..40].copy_from_slice(&durable.0.to_le_bytes());
        let crc = batch_crc(self.crc.clone(), &header, self.segment, self.offset);
        header[CRC_AT..][..4].copy_from_slice(&crc.to_le_bytes());
        self.chunks[0][..BATCH_HEADER_BYTES].copy_from_slice(&header);
    }

    pub(crate) fn chunks(&self) -> &[Vec<u8>] {
        &self.chunks
    }

    /// The bytes of a record that is in this batch.
    pub(crate) fn find(&self, location: Location) -> Option<&[u8]> {
        if location.segment != self.segment {
            return None;
        }
        let mut start =
            usize::try_from(u64::from(location.offset).checked_sub(self.offset)?).ok()?;
        for chunk in &self.chunks {
            if start < chunk.len() {
                return chunk.get(start..start.checked_add(location.length as usize)?);
            }
            start -= chunk.len();
        }
        None
    }

    /// The first buffer, to be used again.
    pub(crate) fn into_buffer(mut self) -> Vec<u8> {
        self.chunks.swap_remove(0)
    }
}

/// A closed batch, shared with readers while it is written.
pub(crate) type SharedBatch = Arc<Batch>;

/// The place is part of what is summed up, so that a copy of a batch elsewhere (in a recycled
/// segment, in a message's body) is no batch.
fn batch_crc(
    record_crcs: Hasher,
    header: &[u8; BATCH_HEADER_BYTES],
    segment: SegmentNumber,
    offset: u64,
) -> u32 {
    let mut crc = record_crcs;
    crc.update(&header[..CRC_AT]);
    crc.update(&header[CRC_AT + 4..]);
    crc.update(&segment.0.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.finalize()
}

/// What lies where a batch could be.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A valid batch.
    Batch(BatchView<'a>),
    /// Perhaps a batch; to tell, so many bytes from its start on are needed.
    Incomplete(usize),
    /// Only zeros: nothing was written here.
    Nothing,
    /// Something, but no valid batch.
    Invalid,
}

/// A valid batch.
#[derive(Debug)]
pub(crate) struct BatchView<'a> {
    pub(crate) first_lsn: Lsn,
    pub(crate) epoch: Epoch,
    pub(crate) count: u32,
    /// Everything up to here was durable when this batch was sent.
    pub(crate) durable: Lsn,
    pub(crate) bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.0 + u64::from(self.count) - 1)
    }

    /// The records with their offsets in the batch.
    pub(crate) fn records(&self) -> impl Iterator<Item = (usize, RawRecord<'a>)> + use<'a> {
        let (bytes, epoch) = (self.bytes, self.epoch);
        let mut at = BATCH_HEADER_BYTES;
        std::iter::from_fn(move || {
            let start = at;
            // Checked before: this ends at the batch's end only.
            let record = RawRecord::parse(&bytes[start..], epoch).ok()?;
            at += record.length as usize;
            Some((start, record))
        })
    }
}

/// Looks for a batch at the start of `bytes`, which lie at `offset` in the segment `name`.
pub(crate) fn find_batch(bytes: &[u8], name: SegmentName, offset: u64) -> Found<'_> {
    let Some((header, _)) = bytes.split_first_chunk::<BATCH_HEADER_BYTES>() else {
        return Found::Incomplete(BATCH_HEADER_BYTES);
    };
    if *header == [0; BATCH_HEADER_BYTES] {
        return Found::Nothing;
    }
    match check_header(header, name.epoch) {
        Err(_) => Found::Invalid,
        Ok(length) if length > bytes.len() => Found::Incomplete(length),
        Ok(length) => match check_records(header, &bytes[..length], name, offset) {
            Ok(view) => Found::Batch(view),
            Err(_) => Found::Invalid,
        },
    }
}

/// The batch's length.
fn check_header(header: &[u8; BATCH_HEADER_BYTES], epoch: Epoch) -> Result<usize, Malformed> {
    let input = &mut Input::new(header);
    if input.take(4)? != BATCH_MAGIC {
        return Err(Malformed("a batch's magic number"));
    }
    let length = input.u32()?;
    let count = input.u32()?;
    let _crc = input.u32()?;
    let first_lsn = input.u64()?;
    let least = u64::from(count) * RECORD_HEADER_BYTES as u64 + BATCH_HEADER_BYTES as u64;
    if length > BATCH_BYTES_MAX || u64::from(length) < least || count == 0 {
        return Err(Malformed("a batch's length"));
    }
    if first_lsn == 0 || first_lsn.checked_add(u64::from(count)).is_none() {
        return Err(Malformed("a batch's first LSN"));
    }
    if input.u64()? != epoch.0 {
        return Err(Malformed("a batch's epoch"));
    }
    if input.u64()? >= first_lsn {
        return Err(Malformed("a batch's durable LSN"));
    }
    Ok(length as usize)
}

fn check_records<'a>(
    header: &[u8; BATCH_HEADER_BYTES],
    bytes: &'a [u8],
    name: SegmentName,
    offset: u64,
) -> Result<BatchView<'a>, Malformed> {
    let input = &mut Input::new(&header[8..]);
    let count = input.u32()?;
    let crc = input.u32()?;
    let first_lsn = Lsn(input.u64()?);
    let _epoch = input.u64()?;
    let durable = Lsn(input.u64()?);
    let mut sum = Hasher::new();
    let mut at = BATCH_HEADER_BYTES;
    for index in 0..count {
        let record = RawRecord::parse(&bytes[at..], name.epoch)?;
        if record.lsn.0 != first_lsn.0 + u64::from(index) {
            return Err(Malformed("a record's LSN"));
        }
        sum.update(&record.crc.to_le_bytes());
        at += record.length as usize;
    }
    if at != bytes.len() {
        return Err(Malformed("a batch's end"));
    }
    if batch_crc(sum, header, name.number, offset) != crc {
        return Err(Malformed("a batch's CRC"));
    }
    Ok(BatchView {
        first_lsn,
        epoch: name.epoch,
        count,
        durable,
        bytes,
    })
}

#[cfg(test)]
mod tests;
