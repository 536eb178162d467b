//! Reading messages back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use crate::backlog::Backlog;
use crate::chain::{SegmentName, read_up_to};
use crate::cipher::RecordCipher;
use crate::journal::Reader;
use crate::position::{Epoch, Location, Position};
use crate::record::{Malformed, RECORD_HEADER_BYTES, RawRecord, Record};

/// Read descriptors that stay open.
const READERS: usize = 16;

impl Store {
    /// Reads a message's body back, checking its CRC. Blocks: call it where blocking is fine.
    /// It also finds records that are still waiting to be written.
    ///
    /// # Errors
    /// As the operating system says, or `InvalidData` naming segment and offset.
    pub fn read(&self, location: Location) -> io::Result<Bytes> {
        let state = &self.shared.state;
        let epoch = state.epoch_of(location.segment).ok_or_else(|| {
            let text = format!("no segment {} in the journal", location.segment);
            io::Error::new(io::ErrorKind::NotFound, text)
        })?;
        if let Some(record) = self.shared.pending.find(location) {
            let cipher = self.shared.cipher.of(location.segment);
            return body(record, epoch, &cipher).map_err(|error| invalid(location, epoch, error));
        }
        let name = SegmentName {
            number: location.segment,
            epoch,
        };
        let (reader, is_fresh) = self.reader(name)?;
        match read_body(&reader, location, epoch) {
            Ok(body) => Ok(body),
            // A descriptor opened long ago may answer from a stale cache.
            Err(_) if !is_fresh => {
                self.shared.readers.lock().retain(|(open, _)| *open != name);
                let (reader, _) = self.reader(name)?;
                read_body(&reader, location, epoch)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the message that is pending at `position`, of which `location` is where it was when the
    /// caller last looked: the keeper may have moved it since. None: it is no longer pending, and
    /// its record is gone. Blocks.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn read_at(
        &self,
        backlog: &Backlog,
        position: Position,
        location: Location,
    ) -> io::Result<Option<Bytes>> {
        let mut location = location;
        loop {
            let error = match self.read(location) {
                Ok(body) => return Ok(Some(body)),
                Err(error) => error,
            };
            match backlog.entry(position) {
                None => return Ok(None),
                Some(entry) if entry.location == location => return Err(error),
                // A place further on in the journal: this ends.
                Some(entry) => location = entry.location,
            }
        }
    }

    /// A read descriptor, and whether it was opened just now.
    fn reader(&self, name: SegmentName) -> io::Result<(Arc<Reader>, bool)> {
        let known = {
            let readers = self.shared.readers.lock();
            readers
                .iter()
                .find(|(open, _)| *open == name)
                .map(|(_, reader)| Arc::clone(reader))
        };
        if let Some(reader) = known {
            return Ok((reader, false));
        }
        let reader = Arc::new(self.shared.open_reader(name)?);
        let evicted = {
            let mut readers = self.shared.readers.lock();
            readers.push_front((name, Arc::clone(&reader)));
            if readers.len() > READERS {
                readers.pop_back()
            } else {
                None
            }
        };
        drop(evicted);
        Ok((reader, true))
    }
}

fn read_body(reader: &Reader, location: Location, epoch: Epoch) -> io::Result<Bytes> {
    let (offset, length) = (u64::from(location.offset), location.length as usize);
    let record = read_up_to(&*reader.file, offset, length)?;
    body(record, epoch, &reader.cipher).map_err(|error| invalid(location, epoch, error))
}

fn body(mut record: Vec<u8>, epoch: Epoch, cipher: &RecordCipher) -> Result<Bytes, Malformed> {
    let raw = RawRecord::parse(&record, epoch)?;
    let header = (raw.lsn, raw.kind, raw.length);
    let end = cipher.decrypt_in_place(header, &mut record)?;
    let message = match Record::decode(header.1, &record[RECORD_HEADER_BYTES..end])? {
        Record::Message(message) | Record::TransactionMessage(message) => message,
        Record::Move(moved) => moved.message,
        _ => return Err(Malformed("a message")),
    };
    // The body is the payload's end.
    let start = end - message.body.len();
    Ok(Bytes::from(record).slice(start..end))
}

fn invalid(location: Location, epoch: Epoch, error: Malformed) -> io::Error {
    let name = SegmentName {
        number: location.segment,
        epoch,
    };
    let path = name.path();
    let text = format!(
        "record at byte {} of `{}`: {error}",
        location.offset,
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}
