//! A place in a frame, and the only code that takes bytes out of it. Every length is checked
//! against what is really there, and every object against the limits, before memory is spent.

use bytes::Bytes;

use crate::command::first_version;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::limit::{MAX_OBJECT_DEPTH, MAX_OBJECTS};
use crate::string::{WireString, check};
use crate::version::Dialect;

pub(crate) struct Reader {
    frame: Bytes,
    at: usize,
    dialect: Dialect,
    depth: usize,
    elements_left: usize,
    element_limit: usize,
}

impl Reader {
    pub(crate) fn new(frame: Bytes, dialect: Dialect) -> Self {
        Self::with_element_limit(frame, dialect, MAX_OBJECTS)
    }

    pub(crate) fn with_element_limit(frame: Bytes, dialect: Dialect, limit: usize) -> Self {
        Reader {
            frame,
            at: 0,
            dialect,
            depth: 0,
            elements_left: limit,
            element_limit: limit,
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        self.u8().map(|byte| byte != 0)
    }

    /// The next `N` bytes, which is how every fixed-width number is read.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some(bytes) = self.frame[self.at..].first_chunk::<N>() else {
            return Err(self.truncated(N));
        };
        self.at += N;
        Ok(*bytes)
    }

    /// The next `length` bytes, shared with the frame.
    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.remaining() {
            return Err(self.truncated(length));
        }
        let start = self.at;
        self.at += length;
        Ok(self.frame.slice(start..self.at))
    }

    /// Passes over the next `length` bytes.
    pub(crate) fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        if length > self.remaining() {
            return Err(self.truncated(length));
        }
        self.at += length;
        Ok(())
    }

    /// A 32-bit length that may not be negative.
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let length = i32::from_be_bytes(self.array()?);
        usize::try_from(length)
            .map_err(|_| self.error(DecodeErrorKind::NegativeLength(i64::from(length))))
    }

    /// Bytes behind a 32-bit length.
    pub(crate) fn long_bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.length()?;
        self.take(length)
    }

    /// A string behind a 16-bit length.
    pub(crate) fn short_string(&mut self) -> Result<WireString, DecodeError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        self.string_of(length)
    }

    /// A string behind a 32-bit length.
    pub(crate) fn long_string(&mut self) -> Result<WireString, DecodeError> {
        let length = self.length()?;
        self.string_of(length)
    }

    /// Passes over a string behind a 16-bit length that is checked all the same.
    pub(crate) fn skip_short_string(&mut self) -> Result<(), DecodeError> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let start = self.at;
        self.skip(length)?;
        check(&self.frame[start..self.at])
            .map_err(|e| DecodeError::new(start, DecodeErrorKind::BadString(e.at)))
    }

    fn string_of(&mut self, length: usize) -> Result<WireString, DecodeError> {
        let start = self.at;
        let bytes = self.take(length)?;
        WireString::from_modified_utf8(bytes)
            .map_err(|e| DecodeError::new(start, DecodeErrorKind::BadString(e.at)))
    }

    /// Checks an announced number of elements: each takes at least one byte.
    pub(crate) fn check_count(&mut self, count: usize) -> Result<(), DecodeError> {
        let remaining = self.remaining();
        if count > remaining {
            return Err(self.error(DecodeErrorKind::CountTooLarge { count, remaining }));
        }
        self.spend(count)
    }

    /// Counts elements against the limit of the frame.
    pub(crate) fn spend(&mut self, count: usize) -> Result<(), DecodeError> {
        match self.elements_left.checked_sub(count) {
            Some(left) => {
                self.elements_left = left;
                Ok(())
            }
            None => Err(self.error(DecodeErrorKind::TooManyElements(self.element_limit))),
        }
    }

    /// Refuses a type code that nobody assigned or that this version does not have yet.
    pub(crate) fn check_type(&self, code: u8) -> Result<(), DecodeError> {
        let version = self.dialect.version;
        match first_version(code) {
            None => Err(self.error_before(1, DecodeErrorKind::UnknownType(code))),
            Some(first) if version.number() < first => {
                Err(self.error_before(1, DecodeErrorKind::TypeNotInVersion { code, version }))
            }
            Some(_) => Ok(()),
        }
    }

    /// Runs `read` one level deeper; objects, maps and lists all count.
    pub(crate) fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        if self.depth == MAX_OBJECT_DEPTH {
            return Err(self.error(DecodeErrorKind::TooDeep(MAX_OBJECT_DEPTH)));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Whether the agreed version has a field that came in `since` and went after `until`.
    pub(crate) fn has(&self, since: u8, until: u8) -> bool {
        (since..=until).contains(&self.dialect.version.number())
    }

    pub(crate) fn stack_traces(&self) -> bool {
        self.dialect.stack_traces
    }

    /// Bytes read so far.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.frame.len() - self.at
    }

    /// An error about what stands at the present place.
    pub(crate) fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.at, kind)
    }

    /// An error about what was just read, `back` bytes before the present place.
    pub(crate) fn error_before(&self, back: usize, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(self.at.saturating_sub(back), kind)
    }

    fn truncated(&self, needed: usize) -> DecodeError {
        self.error(DecodeErrorKind::Truncated {
            needed,
            remaining: self.remaining(),
        })
    }
}
