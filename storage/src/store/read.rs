//! Reading messages back.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use crate::backlog::Backlog;
use crate::chain::{SegmentName, read_up_to};
use crate::disk::{DiskFile, Open};
use crate::position::{Epoch, Location, Position};
use crate::record::{Malformed, RawRecord, Record};

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
            return body(record, epoch).map_err(|error| invalid(location, epoch, error));
        }
        let name = SegmentName {
            number: location.segment,
            epoch,
        };
        let (file, is_fresh) = self.reader(name)?;
        match read_body(&*file, location, epoch) {
            Ok(body) => Ok(body),
            // A descriptor opened long ago may answer from a stale cache.
            Err(_) if !is_fresh => {
                self.shared.readers.lock().retain(|(open, _)| *open != name);
                let (file, _) = self.reader(name)?;
                read_body(&*file, location, epoch)
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
    fn reader(&self, name: SegmentName) -> io::Result<(Arc<dyn DiskFile>, bool)> {
        let known = {
            let readers = self.shared.readers.lock();
            readers
                .iter()
                .find(|(open, _)| *open == name)
                .map(|(_, file)| Arc::clone(file))
        };
        if let Some(file) = known {
            return Ok((file, false));
        }
        let file: Arc<dyn DiskFile> = Arc::from(self.shared.disk.open(&name.path(), Open::Read)?);
        let evicted = {
            let mut readers = self.shared.readers.lock();
            readers.push_front((name, Arc::clone(&file)));
            if readers.len() > READERS {
                readers.pop_back()
            } else {
                None
            }
        };
        drop(evicted);
        Ok((file, true))
    }
}

fn read_body(file: &dyn DiskFile, location: Location, epoch: Epoch) -> io::Result<Bytes> {
    let record = read_up_to(file, u64::from(location.offset), location.length as usize)?;
    body(record, epoch).map_err(|error| invalid(location, epoch, error))
}

fn body(record: Vec<u8>, epoch: Epoch) -> Result<Bytes, Malformed> {
    let raw = RawRecord::parse(&record, epoch)?;
    let message = match raw.decode()? {
        Record::Message(message) | Record::TransactionMessage(message) => message,
        Record::Move(moved) => moved.message,
        _ => return Err(Malformed("a message")),
    };
    // The body is the record's end.
    let start = raw.length as usize - message.body.len();
    let end = raw.length as usize;
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
