//! The end of an output buffer, and the only code that appends to it. A command that turns out to
//! have no encoding leaves no bytes behind.

use bytes::{BufMut, BytesMut};

use crate::command::first_version;
use crate::error::{EncodeError, EncodeErrorKind};
use crate::frame::PREFIX_BYTES;
use crate::limit::{MAX_OBJECT_DEPTH, MAX_STRING_BYTES};
use crate::string::WireString;
use crate::version::Dialect;

pub(crate) struct Writer<'a> {
    out: &'a mut BytesMut,
    dialect: Dialect,
    depth: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut BytesMut, dialect: Dialect) -> Self {
        Writer {
            out,
            dialect,
            depth: 0,
        }
    }

    /// Writes a frame: the size prefix, then whatever `body` writes.
    pub(crate) fn frame(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.out.len();
        self.or_nothing(|writer| {
            writer.bytes(&[0; PREFIX_BYTES]);
            body(writer)?;
            let size = writer.out.len() - start - PREFIX_BYTES;
            let prefix = i32::try_from(size)
                .map_err(|_| EncodeError::new(EncodeErrorKind::FrameTooLong(size)))?;
            writer.out[start..start + PREFIX_BYTES].copy_from_slice(&prefix.to_be_bytes());
            Ok(())
        })
    }

    /// Runs `write` and takes back what it wrote when it fails.
    pub(crate) fn or_nothing(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let start = self.out.len();
        let result = write(self);
        if result.is_err() {
            self.out.truncate(start);
        }
        result
    }

    pub(crate) fn u8(&mut self, byte: u8) {
        self.out.put_u8(byte);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.out.put_u8(u8::from(value));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    pub(crate) fn long_bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.length(bytes.len())?;
        self.bytes(bytes);
        Ok(())
    }

    pub(crate) fn length(&mut self, length: usize) -> Result<(), EncodeError> {
        let length = i32::try_from(length)
            .map_err(|_| EncodeError::new(EncodeErrorKind::FrameTooLong(length)))?;
        self.bytes(&length.to_be_bytes());
        Ok(())
    }

    pub(crate) fn short_string(&mut self, text: &WireString) -> Result<(), EncodeError> {
        debug_assert_eq!(
            MAX_STRING_BYTES,
            usize::from(u16::MAX),
            "the length is a u16"
        );
        let length = u16::try_from(text.len())
            .map_err(|_| EncodeError::new(EncodeErrorKind::StringTooLong(text.len())))?;
        self.bytes(&length.to_be_bytes());
        self.bytes(text.as_bytes());
        Ok(())
    }

    pub(crate) fn check_type(&self, code: u8) -> Result<(), EncodeError> {
        let version = self.dialect.version;
        match first_version(code) {
            None => Err(EncodeError::new(EncodeErrorKind::NestedNull)),
            Some(first) if version.number() < first => {
                Err(EncodeError::new(EncodeErrorKind::TypeNotInVersion {
                    code,
                    version,
                }))
            }
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn nested(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if self.depth == MAX_OBJECT_DEPTH {
            return Err(EncodeError::new(EncodeErrorKind::TooDeep(MAX_OBJECT_DEPTH)));
        }
        self.depth += 1;
        let result = write(self);
        self.depth -= 1;
        result
    }

    pub(crate) fn has(&self, since: u8, until: u8) -> bool {
        (since..=until).contains(&self.dialect.version.number())
    }

    pub(crate) fn stack_traces(&self) -> bool {
        self.dialect.stack_traces
    }

    /// Bytes in the output buffer, those of earlier frames included.
    pub(crate) fn position(&self) -> usize {
        self.out.len()
    }

    /// What was written from `start` on, to patch a fixed-width field.
    pub(crate) fn written_from(&mut self, start: usize) -> &mut [u8] {
        &mut self.out[start..]
    }
}
