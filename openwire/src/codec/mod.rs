//! Between bytes and commands: the four entry points, and the loose encoding of the wire types that
//! fields are made of. Which fields a command has is the business of [`crate::command`].

mod reader;
mod table;
mod wire;
mod writer;

use bytes::{Bytes, BytesMut};

pub(crate) use self::reader::Reader;
pub(crate) use self::table::data_type;
pub(crate) use self::wire::{Object, Wire};
pub(crate) use self::writer::Writer;

use crate::command::{Command, Message};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError};
use crate::version::Dialect;

/// Decodes one frame, given without its size prefix. Bytes behind the last field are ignored, as
/// the Java peer does.
///
/// # Errors
///
/// When the bytes are no command of this version. The connection is to be closed then: the peer
/// speaks something else.
pub fn decode(frame: Bytes, dialect: impl Into<Dialect>) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(frame, dialect.into());
    read_command(&mut reader)
}

/// As [`decode`], but bytes behind the last field are an error. For tests and tools: a real peer
/// may have them.
///
/// # Errors
///
/// When the bytes are not one command of this version from end to end.
pub fn decode_exact(frame: Bytes, dialect: impl Into<Dialect>) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(frame, dialect.into());
    let command = read_command(&mut reader)?;
    match reader.remaining() {
        0 => Ok(command),
        left => Err(reader
            .error(DecodeErrorKind::TrailingBytes(left))
            .within(command.name(), "")),
    }
}

/// The command at the reader's place, its type code included.
fn read_command(reader: &mut Reader) -> Result<Command, DecodeError> {
    let code = reader.u8().map_err(|e| e.within("frame", "type"))?;
    if code == Command::NULL_CODE {
        return Ok(Command::Null);
    }
    reader.check_type(code)?;
    Command::read_object(code, reader)
}

/// Appends the command to `out` as one frame with its size prefix.
///
/// # Errors
///
/// When the command has no encoding in this version; `out` is then as it was before.
pub fn encode(
    command: &Command,
    dialect: impl Into<Dialect>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    Writer::new(out, dialect.into()).frame(|writer| {
        if let Command::Null = command {
            writer.u8(Command::NULL_CODE);
            return Ok(());
        }
        writer.check_type(command.code())?;
        writer.u8(command.code());
        command.write_object(writer)
    })
}

/// Decodes a message in its bare form: the type byte and the fields, as in a frame without the
/// size prefix, and as a broker stores it.
///
/// # Errors
///
/// When the bytes are no message of this version.
pub fn decode_message(bytes: Bytes, dialect: impl Into<Dialect>) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes, dialect.into());
    let code = reader.u8().map_err(|e| e.within("Message", ""))?;
    reader.check_type(code)?;
    Message::read_object(code, &mut reader)
}

/// Appends a message in its bare form: the type byte and the fields, no size prefix.
///
/// # Errors
///
/// When the message has no encoding in this version; `out` is then as it was before.
pub fn encode_message(
    message: &Message,
    dialect: impl Into<Dialect>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    Writer::new(out, dialect.into()).or_nothing(|writer| {
        writer.check_type(message.code())?;
        writer.u8(message.code());
        message.write_object(writer)
    })
}
