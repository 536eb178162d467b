//! The bodies that one queue has in the temporary store.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Spool, SpoolError};

/// A file is left for the next one beyond this.
const FILE_BYTES: u64 = 16 << 20;

/// Where a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    file: u32,
    length: u32,
    offset: u64,
}

impl Place {
    pub(crate) fn length(self) -> usize {
        self.length as usize
    }
}

/// The bodies that one queue has in the temporary store. Reading and writing may block.
#[derive(Debug)]
pub(crate) struct Files {
    spool: Arc<Spool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u32,
    files: BTreeMap<u32, OneFile>,
}

#[derive(Debug)]
struct OneFile {
    file: Arc<File>,
    written: u64,
    live: u64,
}

impl Files {
    pub(crate) fn new(spool: Arc<Spool>) -> Arc<Self> {
        Arc::new(Files {
            spool,
            state: Mutex::default(),
        })
    }

    /// Writes bodies, in one go. One caller at a time.
    pub(crate) fn append(&self, bodies: &[&[u8]]) -> Result<Vec<Place>, SpoolError> {
        let bytes: u64 = bodies.iter().map(|body| body.len() as u64).sum();
        self.spool.reserve(bytes)?;
        let written = self.write(bodies, bytes);
        match &written {
            Ok(_) => self.spool.works(),
            Err(_) => self.spool.give_back(bytes),
        }
        written
    }

    fn write(&self, bodies: &[&[u8]], bytes: u64) -> Result<Vec<Place>, SpoolError> {
        let (number, file, start) = self.file_with_room()?;
        let mut places = Vec::with_capacity(bodies.len());
        let mut offset = start;
        for body in bodies {
            places.push(Place {
                file: number,
                length: u32::try_from(body.len()).unwrap_or(u32::MAX),
                offset,
            });
            offset += body.len() as u64;
        }
        let joined;
        let buffer = match bodies {
            [one] => one,
            many => {
                joined = many.concat();
                &joined[..]
            }
        };
        file.write_all_at(buffer, start)
            .map_err(|error| self.spool.failed("write", error))?;
        let mut state = self.state.lock();
        if let Some(one) = state.files.get_mut(&number) {
            one.written += bytes;
            one.live += bodies.len() as u64;
        }
        Ok(places)
    }

    fn file_with_room(&self) -> Result<(u32, Arc<File>, u64), SpoolError> {
        let mut state = self.state.lock();
        let last = state.last;
        if let Some(one) = state.files.get(&last)
            && one.written < FILE_BYTES
        {
            return Ok((last, Arc::clone(&one.file), one.written));
        }
        let file = Arc::new(self.spool.create()?);
        state.last += 1;
        let number = state.last;
        let one = OneFile {
            file: Arc::clone(&file),
            written: 0,
            live: 0,
        };
        state.files.insert(number, one);
        // The one before may have been waited for.
        self.remove_if_dead(&mut state, last);
        Ok((number, file, 0))
    }

    /// Reads a body.
    pub(crate) fn read(&self, place: Place) -> Result<Bytes, SpoolError> {
        let file = {
            let state = self.state.lock();
            let one = state.files.get(&place.file).ok_or(SpoolError::Gone)?;
            Arc::clone(&one.file)
        };
        let mut body = vec![0; place.length()];
        file.read_exact_at(&mut body, place.offset)
            .map_err(|error| self.spool.failed("read", error))?;
        Ok(body.into())
    }

    /// A body is not needed there any more.
    pub(crate) fn release(&self, place: Place) {
        let mut state = self.state.lock();
        if let Some(one) = state.files.get_mut(&place.file) {
            one.live = one.live.saturating_sub(1);
        }
        self.remove_if_dead(&mut state, place.file);
    }

    /// The system takes the space back when the last descriptor is closed.
    fn remove_if_dead(&self, state: &mut State, number: u32) {
        let is_last = number == state.last;
        let is_dead = state
            .files
            .get(&number)
            .is_some_and(|one| one.live == 0 && !(is_last && one.written < FILE_BYTES));
        if is_dead && let Some(one) = state.files.remove(&number) {
            self.spool.give_back(one.written);
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let files = std::mem::take(&mut self.state.get_mut().files);
        let bytes = files.values().map(|one| one.written).sum();
        self.spool.give_back(bytes);
    }
}
