//! Java exceptions as they travel: a class name and a text, and on request where they came from.

use std::fmt;

use crate::codec::{Reader, Wire, Writer};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
use crate::limit::{MAX_ERROR_TEXT_BYTES, MAX_STACK_FRAMES, MAX_THROWABLE_DEPTH};
use crate::string::WireString;

/// A Java exception. The client builds one of this class from this text, so both should be there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throwable {
    /// The class name; [`exception`](crate::exception) has those that clients know.
    pub class: Option<WireString>,
    /// The text.
    pub message: Option<WireString>,
    /// The stack trace, when stack traces were agreed on; nobody needs one.
    pub stack: Vec<StackFrame>,
    /// What caused it, when stack traces were agreed on.
    pub cause: Option<Box<Throwable>>,
}

/// One line of a stack trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackFrame {
    /// The class.
    pub class: Option<WireString>,
    /// The method.
    pub method: Option<WireString>,
    /// The source file.
    pub file: Option<WireString>,
    /// The line in it; negative when unknown.
    pub line: i32,
}

impl Throwable {
    /// An exception of this class. A text beyond
    /// [`MAX_ERROR_TEXT_BYTES`](crate::limit::MAX_ERROR_TEXT_BYTES) is cut.
    #[must_use]
    pub fn new(class: &'static str, message: &str) -> Self {
        Throwable {
            class: Some(WireString::from_static(class)),
            message: Some(WireString::truncated(message, MAX_ERROR_TEXT_BYTES)),
            ..Throwable::default()
        }
    }
}

/// Class and text, as Java prints them.
impl fmt::Display for Throwable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.class, &self.message) {
            (Some(class), Some(message)) => write!(f, "{class}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.fmt(f),
            (None, None) => f.write_str("an exception without class and text"),
        }
    }
}

impl Wire for Option<Throwable> {
    fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        // A loop, because a chain of causes is as long as the frame allows.
        let mut chain = Vec::new();
        while reader.bool()? {
            if chain.len() == MAX_THROWABLE_DEPTH {
                return Err(reader.error(DecodeErrorKind::TooDeep(MAX_THROWABLE_DEPTH)));
            }
            chain.push(read_one(reader)?);
            if !reader.stack_traces() {
                break;
            }
        }
        Ok(chain.into_iter().rev().fold(None, |cause, outer| {
            Some(Throwable {
                cause: cause.map(Box::new),
                ..outer
            })
        }))
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        let mut next = self.as_ref();
        let mut depth = 0;
        while let Some(throwable) = next {
            if depth == MAX_THROWABLE_DEPTH {
                return Err(EncodeError::new(EncodeErrorKind::TooDeep(
                    MAX_THROWABLE_DEPTH,
                )));
            }
            depth += 1;
            writer.bool(true);
            throwable.class.write(writer)?;
            throwable.message.write(writer)?;
            if !writer.stack_traces() {
                return Ok(());
            }
            write_stack(&throwable.stack, writer)?;
            next = throwable.cause.as_deref();
        }
        writer.bool(false);
        Ok(())
    }
}

fn read_one(reader: &mut Reader) -> Result<Throwable, DecodeError> {
    let class = Wire::read(reader)?;
    let message = Wire::read(reader)?;
    let stack = if reader.stack_traces() {
        read_stack(reader)?
    } else {
        Vec::new()
    };
    Ok(Throwable {
        class,
        message,
        stack,
        cause: None,
    })
}

fn read_stack(reader: &mut Reader) -> Result<Vec<StackFrame>, DecodeError> {
    let count = i16::from_be_bytes(reader.array()?);
    let count = usize::try_from(count)
        .map_err(|_| reader.error_before(2, DecodeErrorKind::NegativeLength(i64::from(count))))?;
    if count > MAX_STACK_FRAMES {
        return Err(reader.error_before(2, DecodeErrorKind::TooManyElements(MAX_STACK_FRAMES)));
    }
    reader.check_count(count)?;
    (0..count)
        .map(|_| {
            Ok(StackFrame {
                class: Wire::read(reader)?,
                method: Wire::read(reader)?,
                file: Wire::read(reader)?,
                line: Wire::read(reader)?,
            })
        })
        .collect()
}

fn write_stack(stack: &[StackFrame], writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    let count = i16::try_from(stack.len())
        .map_err(|_| EncodeError::new(EncodeErrorKind::ArrayTooLong(stack.len())))?;
    writer.bytes(&count.to_be_bytes());
    stack.iter().try_for_each(|frame| {
        frame.class.write(writer)?;
        frame.method.write(writer)?;
        frame.file.write(writer)?;
        frame.line.write(writer)
    })
}
