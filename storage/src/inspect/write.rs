//! Writing the segments of a new journal.

use std::path::{Path, PathBuf};

use super::Watch;
use super::live::{Live, Needed};
use super::salvage::Moved;
use crate::batch::{BATCH_BYTES, Batch};
use crate::chain::{SegmentName, read_up_to};
use crate::checkpoint::ReplayStart;
use crate::cipher::{Ciphers, RecordCipher, TenureCipher};
use crate::disk::{Disk, DiskFile, Open};
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::{Frame, Malformed, Message, RawRecord, Record, Seal};
use crate::segment::{SEGMENT_HEADER_BYTES, encode_header};
use crate::state::Tenure;

/// A file could not be written.
pub(super) struct WriteError {
    pub(super) path: PathBuf,
    pub(super) source: std::io::Error,
}

/// The place behind everything that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) next_lsn: Lsn,
    pub(super) bytes: u64,
    segment: SegmentNumber,
    offset: u64,
}

impl Place {
    pub(super) fn replay_start(&self, epoch: Epoch) -> ReplayStart {
        ReplayStart {
            epoch,
            segment: self.segment,
            offset: self.offset,
            lsn: self.next_lsn,
        }
    }
}

/// Writes records into new segments, one behind the other.
pub(super) struct Copier<'a> {
    to: &'a dyn Disk,
    epoch: Epoch,
    segment_bytes: u64,
    place: Place,
    file: Box<dyn DiskFile>,
    batch: Batch,
    cipher: TenureCipher,
}

impl<'a> Copier<'a> {
    /// Creates the first segment, with the seal in it.
    pub(super) fn begin(
        to: &'a dyn Disk,
        epoch: Epoch,
        segment: SegmentNumber,
        seal: Seal,
        segment_bytes: u64,
        cipher: TenureCipher,
    ) -> Result<Copier<'a>, WriteError> {
        let next_lsn = Lsn(seal.sealed_lsn.0 + 1);
        let offset = SEGMENT_HEADER_BYTES as u64;
        let mut copier = Copier {
            to,
            epoch,
            segment_bytes,
            place: Place {
                next_lsn,
                bytes: offset,
                segment,
                offset,
            },
            file: create(
                to,
                SegmentName {
                    number: segment,
                    epoch,
                },
                &cipher,
            )?,
            batch: Batch::new(segment, offset, next_lsn, epoch, Vec::new())
                .encrypted(cipher.of(segment)),
            cipher,
        };
        copier.batch.push(Frame::new(&Record::Seal(seal)));
        copier.place.next_lsn = Lsn(next_lsn.0 + 1);
        // The seal is alone in its batch.
        copier.flush()?;
        Ok(copier)
    }

    /// Copies the records that are live, in the order in which they lie there; answers where they
    /// are now. What cannot be read is left out.
    pub(super) fn copy(
        &mut self,
        from: &dyn Disk,
        ciphers: &Ciphers<'_>,
        live: &Live,
        tenures: &[Tenure],
        watch: &mut Watch<'_>,
    ) -> Result<Moved, WriteError> {
        let mut moved = Moved::with_capacity(live.len());
        for (number, places) in live.segments() {
            let after = tenures.partition_point(|tenure| tenure.segment <= number);
            let tenure = after.checked_sub(1).and_then(|at| tenures.get(at));
            let Some(Tenure { epoch, lsn, .. }) = tenure.copied() else {
                continue;
            };
            let name = SegmentName { number, epoch };
            let Ok(file) = from.open(&name.path(), Open::Read) else {
                continue;
            };
            let Ok(cipher) = ciphers.of(name) else {
                continue;
            };
            let mut scratch = Vec::new();
            for needed in places {
                watch.add(u64::from(needed.length));
                let (offset, length) = (u64::from(needed.offset), needed.length as usize);
                let Ok(bytes) = read_up_to(&*file, offset, length) else {
                    continue;
                };
                let Ok(message) = message_in(&bytes, needed, (epoch, lsn), &cipher, &mut scratch)
                else {
                    continue;
                };
                let location = self.push(&message)?;
                moved.insert((number, needed.offset), location);
            }
        }
        Ok(moved)
    }

    fn push(&mut self, message: &Message<'_>) -> Result<crate::position::Location, WriteError> {
        let record = Record::Message(message.clone());
        let mut frame = Frame::new(&record);
        let bytes = frame.bytes() + self.cipher.tag_bytes();
        let end = self.batch.end_offset() + bytes;
        let is_fresh = self.place.offset == SEGMENT_HEADER_BYTES as u64 && self.batch.count() == 0;
        if end > self.segment_bytes && !is_fresh {
            self.flush()?;
            self.next_segment()?;
        }
        if frame.is_large() {
            frame.own_body();
        }
        let (lsn, location) = self.batch.push(frame);
        self.place.next_lsn = Lsn(lsn.0 + 1);
        if self.batch.bytes() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(location)
    }

    fn next_segment(&mut self) -> Result<(), WriteError> {
        self.sync()?;
        let number = SegmentNumber(self.place.segment.0 + 1);
        let name = SegmentName {
            number,
            epoch: self.epoch,
        };
        self.file = create(self.to, name, &self.cipher)?;
        self.place.segment = number;
        self.place.offset = SEGMENT_HEADER_BYTES as u64;
        self.place.bytes += SEGMENT_HEADER_BYTES as u64;
        self.batch = self.empty_batch();
        Ok(())
    }

    fn empty_batch(&self) -> Batch {
        let Place {
            next_lsn,
            segment,
            offset,
            ..
        } = self.place;
        let batch = Batch::new(segment, offset, next_lsn, self.epoch, Vec::new());
        batch.encrypted(self.cipher.of(segment))
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        if self.batch.count() == 0 {
            return Ok(());
        }
        // Nobody reads it before all of it is durable: whatever is missing later is damage.
        self.batch.close(Lsn(self.batch.first_lsn.0 - 1));
        let mut offset = self.batch.offset;
        for chunk in self.batch.chunks() {
            let written = self.file.write_all_at(chunk, offset);
            written.map_err(|source| self.failed(source))?;
            offset += chunk.len() as u64;
        }
        self.place.bytes += offset - self.place.offset;
        self.place.offset = offset;
        self.batch = self.empty_batch();
        Ok(())
    }

    fn sync(&self) -> Result<(), WriteError> {
        self.file.sync().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> WriteError {
        let name = SegmentName {
            number: self.place.segment,
            epoch: self.epoch,
        };
        WriteError {
            path: name.path(),
            source,
        }
    }

    /// Makes everything durable.
    pub(super) fn finish(mut self) -> Result<Place, WriteError> {
        self.flush()?;
        self.sync()?;
        Ok(self.place)
    }
}

fn create(
    to: &dyn Disk,
    name: SegmentName,
    cipher: &TenureCipher,
) -> Result<Box<dyn DiskFile>, WriteError> {
    let path = name.path();
    let create = |path: &Path| {
        let file = to.open(path, Open::CreateNew)?;
        file.write_all_at(&encode_header(name, cipher.header()), 0)?;
        Ok(file)
    };
    create(&path).map_err(|source| WriteError { path, source })
}

/// The message that a record holds. It becomes a plain one: whatever else the record said is part
/// of the state.
fn message_in<'a>(
    bytes: &'a [u8],
    needed: &Needed,
    (epoch, began): (Epoch, Lsn),
    cipher: &RecordCipher,
    scratch: &'a mut Vec<u8>,
) -> Result<Message<'a>, Malformed> {
    let raw = RawRecord::parse(bytes, epoch)?;
    let record = cipher.decode(&raw, scratch)?;
    if !needed.is(&raw, Some(&record), began) {
        return Err(Malformed("the record's place"));
    }
    let message = match record {
        Record::Message(message) | Record::TransactionMessage(message) => message,
        Record::Move(moved) => moved.message,
        _ => return Err(Malformed("a message")),
    };
    Ok(Message {
        transaction: &[],
        ..message
    })
}
