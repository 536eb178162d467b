//! What can be wrong with bytes from a peer, and what cannot be put into bytes. An error names the
//! type, the field, the place and what was found, so that one log line tells the whole story.

use std::fmt;

use crate::version::Version;

/// Bytes that are no OpenWire command in the agreed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The type being decoded, or `frame`.
    pub type_name: &'static str,
    /// The field of that type; empty when no field had been reached.
    pub field: &'static str,
    /// Where in the frame the trouble was found, in bytes after the size prefix.
    pub offset: usize,
    /// What was found.
    pub kind: DecodeErrorKind,
}

/// What was found where something else belongs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The bytes end too early.
    #[error("{needed} bytes needed, {remaining} left")]
    Truncated {
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A type code that stands for nothing.
    #[error("type code {0} is not assigned")]
    UnknownType(u8),
    /// A type that may not stand in this place.
    #[error("type code {found} where {expected} is expected")]
    UnexpectedType {
        /// What may stand here.
        expected: &'static str,
        /// The type code found.
        found: u8,
    },
    /// A type that the agreed version does not have.
    #[error("type code {code} does not exist in version {version}")]
    TypeNotInVersion {
        /// The type code found.
        code: u8,
        /// The agreed version.
        version: Version,
    },
    /// A negative length or count where none may be.
    #[error("length {0} is negative")]
    NegativeLength(i64),
    /// More elements announced than bytes are left.
    #[error("{count} elements announced, {remaining} bytes left")]
    CountTooLarge {
        /// Elements announced.
        count: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A string that is not modified UTF-8.
    #[error("the string is not modified UTF-8 at its byte {0}")]
    BadString(usize),
    /// Objects nested in objects beyond the limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// More objects in one frame than the limit.
    #[error("more than {0} elements")]
    TooManyElements(usize),
    /// A tag of a primitive value that stands for nothing.
    #[error("primitive tag {0} is not assigned")]
    UnknownPrimitive(u8),
    /// Bytes left over behind the last field.
    #[error("{0} bytes left over")]
    TrailingBytes(usize),
}

impl DecodeError {
    pub(crate) fn new(offset: usize, kind: DecodeErrorKind) -> Self {
        DecodeError {
            type_name: "",
            field: "",
            offset,
            kind,
        }
    }

    /// Adds the innermost place; outer ones find it already filled in.
    pub(crate) fn within(mut self, type_name: &'static str, field: &'static str) -> Self {
        if self.type_name.is_empty() {
            self.type_name = type_name;
            self.field = field;
        }
        self
    }

    /// Whether a peer that uses an encoding nobody agreed on would produce this.
    fn hints_at_other_encoding(&self) -> bool {
        !matches!(
            self.kind,
            DecodeErrorKind::UnknownPrimitive(_)
                | DecodeErrorKind::TypeNotInVersion { .. }
                | DecodeErrorKind::TooManyElements(_)
        )
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = if self.type_name.is_empty() {
            "frame"
        } else {
            self.type_name
        };
        write!(f, "cannot decode {type_name}")?;
        if !self.field.is_empty() {
            write!(f, ".{}", self.field)?;
        }
        write!(f, " at byte {}: {}", self.offset, self.kind)?;
        if self.hints_at_other_encoding() {
            f.write_str(
                "; the bytes are damaged, or the peer uses tight encoding, the object cache or \
                 another version, which were not agreed on",
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for DecodeError {}

/// A command that has no encoding in the agreed version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// The type being encoded.
    pub type_name: &'static str,
    /// The field of that type; empty when it is about the type itself.
    pub field: &'static str,
    /// Why it cannot be encoded.
    pub kind: EncodeErrorKind,
}

/// Why a command cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeErrorKind {
    /// A string beyond [`MAX_STRING_BYTES`](crate::limit::MAX_STRING_BYTES).
    #[error("a string of {0} bytes; 65535 is the limit, shorten it")]
    StringTooLong(usize),
    /// An array beyond [`MAX_ARRAY_LENGTH`](crate::limit::MAX_ARRAY_LENGTH).
    #[error("an array of {0} elements; 32767 is the limit")]
    ArrayTooLong(usize),
    /// Bytes or a frame whose length does not fit into 31 bits.
    #[error("{0} bytes do not fit into one frame")]
    FrameTooLong(usize),
    /// The null command inside another one, where a missing object is to be used instead.
    #[error("the null command cannot be nested; leave the field empty")]
    NestedNull,
    /// A type that the agreed version does not have.
    #[error("type code {code} does not exist in version {version}; do not send it to this peer")]
    TypeNotInVersion {
        /// The type code.
        code: u8,
        /// The agreed version.
        version: Version,
    },
    /// Objects nested in objects beyond the limit.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
}

impl EncodeError {
    pub(crate) fn new(kind: EncodeErrorKind) -> Self {
        EncodeError {
            type_name: "",
            field: "",
            kind,
        }
    }

    pub(crate) fn within(mut self, type_name: &'static str, field: &'static str) -> Self {
        if self.type_name.is_empty() {
            self.type_name = type_name;
            self.field = field;
        }
        self
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let type_name = if self.type_name.is_empty() {
            "frame"
        } else {
            self.type_name
        };
        write!(f, "cannot encode {type_name}")?;
        if !self.field.is_empty() {
            write!(f, ".{}", self.field)?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for EncodeError {}
