//! How each wire type looks in the loose encoding, both directions side by side.

use bytes::Bytes;

use super::{Reader, Writer};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
use crate::limit::MAX_ARRAY_LENGTH;
use crate::string::{Secret, WireString};

/// A value that stands in a field.
pub(crate) trait Wire: Sized {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError>;
}

/// A data type, or a choice of several, that is preceded by its type code.
pub(crate) trait Object: Sized {
    /// What to call it when something else was found.
    const EXPECTED: &'static str;

    /// Reads the fields behind a type code that exists in this version.
    fn read_object(code: u8, reader: &mut Reader) -> Result<Self, DecodeError>;
    fn code(&self) -> u8;
    /// Writes the fields, not the type code.
    fn write_object(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError>;

    /// The error for a type code that `Self` does not cover.
    fn unexpected(found: u8, reader: &Reader) -> DecodeError {
        reader.error_before(
            1,
            DecodeErrorKind::UnexpectedType {
                expected: Self::EXPECTED,
                found,
            },
        )
    }
}

impl<T: Object> Object for Box<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn read_object(code: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        T::read_object(code, reader).map(Box::new)
    }

    fn code(&self) -> u8 {
        (**self).code()
    }

    fn write_object(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        (**self).write_object(writer)
    }
}

impl Wire for bool {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.bool()
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bool(*self);
        Ok(())
    }
}

macro_rules! fixed_width {
    ($($number:ty),*) => {$(
        impl Wire for $number {
            fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
                reader.array().map(<$number>::from_be_bytes)
            }

            fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                writer.bytes(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

fixed_width!(i8, i32, i64);

/// Constant bytes without a length.
impl<const N: usize> Wire for [u8; N] {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.array()
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bytes(self);
        Ok(())
    }
}

impl Wire for Option<WireString> {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        if reader.bool()? {
            reader.short_string().map(Some)
        } else {
            Ok(None)
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bool(self.is_some());
        self.as_ref()
            .map_or(Ok(()), |text| writer.short_string(text))
    }
}

impl Wire for Option<Secret> {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let text = Option::<WireString>::read(reader)?;
        Ok(text.map(Secret::from))
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bool(self.is_some());
        self.as_ref()
            .map_or(Ok(()), |secret| writer.short_string(secret.expose()))
    }
}

impl Wire for Option<Bytes> {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        if reader.bool()? {
            reader.long_bytes().map(Some)
        } else {
            Ok(None)
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bool(self.is_some());
        self.as_ref()
            .map_or(Ok(()), |bytes| writer.long_bytes(bytes))
    }
}

/// A nested object; a cached one looks the same while the cache is off.
impl<T: Object> Wire for Option<T> {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        if !reader.bool()? {
            return Ok(None);
        }
        let code = reader.u8()?;
        reader.check_type(code)?;
        reader.spend(1)?;
        reader
            .nested(|reader| T::read_object(code, reader))
            .map(Some)
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bool(self.is_some());
        let Some(object) = self else { return Ok(()) };
        writer.check_type(object.code())?;
        writer.u8(object.code());
        writer.nested(|writer| object.write_object(writer))
    }
}

impl<T: Object> Wire for Option<Vec<Option<T>>> {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        if !reader.bool()? {
            return Ok(None);
        }
        let count = i16::from_be_bytes(reader.array()?);
        let count = usize::try_from(count).map_err(|_| {
            reader.error_before(2, DecodeErrorKind::NegativeLength(i64::from(count)))
        })?;
        reader.check_count(count)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(Wire::read(reader)?);
        }
        Ok(Some(elements))
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.bool(self.is_some());
        let Some(elements) = self else { return Ok(()) };
        debug_assert_eq!(
            MAX_ARRAY_LENGTH,
            usize::from(i16::MAX.unsigned_abs()),
            "an i16"
        );
        let count = i16::try_from(elements.len())
            .map_err(|_| EncodeError::new(EncodeErrorKind::ArrayTooLong(elements.len())))?;
        writer.bytes(&count.to_be_bytes());
        elements
            .iter()
            .try_for_each(|element| element.write(writer))
    }
}
