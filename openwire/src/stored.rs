//! The fast path of a broker: a message is kept in its version 12 encoding and dispatched from
//! there, copied whole, with the three fields patched that belong to the broker.
//!
//! Versions 10 and 11 lay messages out as version 12 does, except in what an advisory may carry;
//! for older peers, and for those advisories, the message is decoded and encoded again.

use std::num::NonZeroU32;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::codec::{Object, Reader, Wire, Writer, decode_message, encode, encode_message};
use crate::command::{
    BrokerId, Command, ConsumerId, Destination, Message, MessageDispatch, MessageId, ObjectArray,
    ProducerId, TransactionId,
};
use crate::error::{DecodeError, EncodeError};
use crate::version::{Dialect, Version};

/// The first version whose messages look as those of version 12 do.
const SAME_LAYOUT_SINCE: u8 = 10;

/// The type code of a [`MessageDispatch`].
const MESSAGE_DISPATCH: u8 = 21;

/// Where in a stored message the fields of the broker are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLayout {
    /// Missing when the message has no id.
    broker_sequence_id_at: Option<NonZeroU32>,
    redelivery_counter_at: u32,
    group_first_at: u32,
    end: u32,
    carries_object: bool,
}

/// A message in its version 12 encoding: the type byte and the fields, without a size prefix.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    bytes: Bytes,
    layout: MessageLayout,
}

/// What a broker says about a message when it dispatches it.
#[derive(Clone, Copy, Debug)]
pub struct Dispatch<'a> {
    /// The consumer.
    pub consumer_id: &'a ConsumerId,
    /// The destination without wildcards.
    pub destination: Option<&'a Destination>,
    /// The message's number in its queue.
    pub broker_sequence_id: i64,
    /// How often it was delivered before.
    pub redelivery_counter: i32,
    /// Whether it is the first of its group for this consumer.
    pub first_in_group: bool,
}

/// A stored message that cannot be dispatched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredMessageError {
    /// What is stored is no message.
    #[error("the stored message is damaged")]
    Decode(#[from] DecodeError),
    /// The message has no encoding in the version of the receiver.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl MessageLayout {
    /// Finds the fields in a message in its version 12 encoding.
    ///
    /// # Errors
    ///
    /// When the bytes are no message.
    pub fn scan(stored: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(stored.clone(), Dialect::from(Version::LATEST));
        scan(&mut reader).map_err(|e| e.within("Message", ""))
    }

    /// The layout after a change of length in front of all its fields.
    fn moved(self, old_length: usize, new_length: usize) -> Self {
        let moved = |at: u32| {
            // Ordered so that nothing goes below zero: what is behind the head is behind the change.
            let at = (at as usize + new_length).saturating_sub(old_length);
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        MessageLayout {
            broker_sequence_id_at: self
                .broker_sequence_id_at
                .and_then(|at| NonZeroU32::new(moved(at.get()))),
            redelivery_counter_at: moved(self.redelivery_counter_at),
            group_first_at: moved(self.group_first_at),
            end: moved(self.end),
            carries_object: self.carries_object,
        }
    }
}

/// Where the two destinations are.
struct HeadPlaces {
    destination: Range<usize>,
    original: Range<usize>,
}

fn head_places(reader: &mut Reader) -> Result<HeadPlaces, DecodeError> {
    reader.skip(1 + 4 + 1)?; // type code, command id, response required
    pass::<Option<ProducerId>>(reader)?;
    let destination_at = reader.offset();
    pass::<Option<Destination>>(reader)?;
    let destination = destination_at..reader.offset();
    pass::<Option<TransactionId>>(reader)?;
    let original_at = reader.offset();
    pass::<Option<Destination>>(reader)?;
    Ok(HeadPlaces {
        destination,
        original: original_at..reader.offset(),
    })
}

impl StoredMessage {
    /// Takes a message in its version 12 encoding, as [`StoredMessage::bytes`] gave it.
    ///
    /// # Errors
    ///
    /// When the bytes are no message.
    pub fn new(bytes: Bytes) -> Result<Self, DecodeError> {
        let layout = MessageLayout::scan(&bytes)?;
        let end = layout.end as usize;
        // Java peers ignore what stands behind the last field, so it must not be stored either.
        let bytes = if end < bytes.len() {
            bytes.slice(..end)
        } else {
            bytes
        };
        Ok(StoredMessage { bytes, layout })
    }

    /// Takes the frame of a message as it came from a peer; nothing is copied when that peer's
    /// version lays messages out as version 12 does.
    ///
    /// # Errors
    ///
    /// When the frame holds no message.
    pub fn from_frame(frame: Bytes, version: Version) -> Result<Self, StoredMessageError> {
        if version.number() >= SAME_LAYOUT_SINCE {
            let stored = Self::new(frame.clone());
            if version == Version::LATEST {
                return Ok(stored?);
            }
            if let Ok(stored) = stored
                && !stored.layout.carries_object
            {
                return Ok(stored);
            }
        }
        Self::from_message(&decode_message(frame, version)?)
    }

    /// Encodes a message for storing.
    ///
    /// # Errors
    ///
    /// When the message has no encoding.
    pub fn from_message(message: &Message) -> Result<Self, StoredMessageError> {
        let mut out = BytesMut::new();
        encode_message(message, Version::LATEST, &mut out)?;
        Ok(Self::new(out.freeze())?)
    }

    /// The bytes to store.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same message at another destination, with `original` as the one that it was sent to. The
    /// body is copied and not looked at.
    ///
    /// # Errors
    ///
    /// When the first fields are damaged, or a name is too long for the wire.
    pub fn redirected(
        &self,
        destination: &Destination,
        original: Option<&Destination>,
    ) -> Result<Self, StoredMessageError> {
        let mut reader = Reader::new(self.bytes.clone(), Dialect::from(Version::LATEST));
        let places = head_places(&mut reader).map_err(|e| e.within("Message", ""))?;
        let mut out = BytesMut::with_capacity(self.bytes.len() + 128);
        let mut writer = Writer::new(&mut out, Version::LATEST.into());
        writer.bytes(&self.bytes[..places.destination.start]);
        write_present(destination, &mut writer).map_err(|e| e.within("Message", "destination"))?;
        writer.bytes(&self.bytes[places.destination.end..places.original.start]);
        match original {
            Some(original) => write_present(original, &mut writer)
                .map_err(|e| e.within("Message", "original_destination"))?,
            None => writer.bool(false),
        }
        writer.bytes(&self.bytes[places.original.end..]);
        let layout = self.layout.moved(self.bytes.len(), out.len());
        Ok(StoredMessage {
            bytes: out.freeze(),
            layout,
        })
    }

    /// Decodes the message.
    ///
    /// # Errors
    ///
    /// When what is stored is damaged in a part that was not looked at before.
    pub fn decode(&self) -> Result<Message, DecodeError> {
        decode_message(self.bytes.clone(), Version::LATEST)
    }
}

/// Appends the frame of a [`MessageDispatch`] with this message to `out`.
///
/// The fields of the broker, `broker_sequence_id`, `redelivery_counter` and
/// `jmsx_group_first_for_consumer`, are replaced in the copy; everything else stays as the
/// producer sent it.
///
/// # Errors
///
/// When the receiver's version has no such message, or what is stored is damaged; `out` is then as
/// it was before.
pub fn encode_dispatch(
    dispatch: &Dispatch<'_>,
    stored: &StoredMessage,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), StoredMessageError> {
    let same_layout = version == Version::LATEST
        || (version.number() >= SAME_LAYOUT_SINCE && !stored.layout.carries_object);
    if same_layout {
        Ok(copy_dispatch(dispatch, stored, version, out)?)
    } else {
        build_dispatch(dispatch, stored, version, out)
    }
}

fn copy_dispatch(
    dispatch: &Dispatch<'_>,
    stored: &StoredMessage,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    const ROOM_FOR_IDS: usize = 256;
    out.reserve(stored.bytes.len() + ROOM_FOR_IDS);
    Writer::new(out, version.into()).frame(|writer| {
        writer.u8(MESSAGE_DISPATCH);
        writer.bytes(&0_i32.to_be_bytes());
        writer.bool(false);
        write_present(dispatch.consumer_id, writer)
            .map_err(|e| e.within("MessageDispatch", "consumer_id"))?;
        match dispatch.destination {
            Some(destination) => write_present(destination, writer)
                .map_err(|e| e.within("MessageDispatch", "destination"))?,
            None => writer.bool(false),
        }
        writer.bool(true);
        let start = writer.position();
        writer.bytes(&stored.bytes);
        patch(writer.written_from(start), &stored.layout, dispatch);
        dispatch.redelivery_counter.write(writer)
    })
}

/// Writes an object that is there, without the clone that an `Option` of it would need.
fn write_present<T: Object>(object: &T, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    writer.bool(true);
    writer.u8(object.code());
    object.write_object(writer)
}

fn patch(copy: &mut [u8], layout: &MessageLayout, dispatch: &Dispatch<'_>) {
    let mut put = |at: u32, bytes: &[u8]| {
        let at = at as usize;
        copy[at..at + bytes.len()].copy_from_slice(bytes);
    };
    if let Some(at) = layout.broker_sequence_id_at {
        put(at.get(), &dispatch.broker_sequence_id.to_be_bytes());
    }
    put(
        layout.redelivery_counter_at,
        &dispatch.redelivery_counter.to_be_bytes(),
    );
    put(layout.group_first_at, &[u8::from(dispatch.first_in_group)]);
}

fn build_dispatch(
    dispatch: &Dispatch<'_>,
    stored: &StoredMessage,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), StoredMessageError> {
    let mut message = stored.decode()?;
    message.redelivery_counter = dispatch.redelivery_counter;
    message.jmsx_group_first_for_consumer = dispatch.first_in_group;
    if let Some(id) = &mut message.message_id {
        id.broker_sequence_id = dispatch.broker_sequence_id;
    }
    let command = Command::from(MessageDispatch {
        consumer_id: Some(dispatch.consumer_id.clone()),
        destination: dispatch.destination.cloned(),
        message: Some(Box::new(message)),
        redelivery_counter: dispatch.redelivery_counter,
        ..MessageDispatch::default()
    });
    Ok(encode(&command, version, out)?)
}

/// Walks over the fields of a message in the order of the table in `command/message.rs`.
fn scan(reader: &mut Reader) -> Result<MessageLayout, DecodeError> {
    let code = reader.u8()?;
    if !Message::is_code(code) {
        return Err(Message::unexpected(code, reader));
    }
    reader.skip(4 + 1)?; // command id, response required
    pass::<Option<ProducerId>>(reader)?;
    pass::<Option<Destination>>(reader)?;
    pass::<Option<TransactionId>>(reader)?;
    pass::<Option<Destination>>(reader)?; // original destination
    let broker_sequence_id_at = pass_message_id(reader)?;
    pass::<Option<TransactionId>>(reader)?; // original transaction id
    pass_string(reader)?; // group id
    reader.skip(4)?; // group sequence
    pass_string(reader)?; // correlation id
    reader.skip(1 + 8 + 1)?; // persistent, expiration, priority
    pass::<Option<Destination>>(reader)?; // reply to
    reader.skip(8)?; // timestamp
    pass_string(reader)?; // message type
    pass_bytes(reader)?; // content
    pass_bytes(reader)?; // marshalled properties
    let carries_object = Option::<Box<Command>>::read(reader)?.is_some();
    pass::<Option<ConsumerId>>(reader)?; // target consumer id
    reader.skip(1)?; // compressed
    let redelivery_counter_at = offset(reader);
    reader.skip(4)?;
    pass::<ObjectArray<BrokerId>>(reader)?; // broker path
    reader.skip(8)?; // arrival
    pass_string(reader)?; // user id
    reader.skip(1 + 1)?; // received by bridge, droppable
    pass::<ObjectArray<BrokerId>>(reader)?; // cluster
    reader.skip(8 + 8)?; // broker in and out time
    let group_first_at = offset(reader);
    reader.skip(1)?;
    if code == 29 {
        pass_string(reader)?; // remote blob url
        pass_string(reader)?; // mime type
        reader.skip(1)?; // deleted by broker
    }
    let end = offset(reader);
    Ok(MessageLayout {
        broker_sequence_id_at,
        redelivery_counter_at,
        group_first_at,
        end,
        carries_object,
    })
}

/// The place of the broker's sequence in the id that is passed over.
fn pass_message_id(reader: &mut Reader) -> Result<Option<NonZeroU32>, DecodeError> {
    if !reader.bool()? {
        return Ok(None);
    }
    let code = reader.u8()?;
    if code != MessageId::default().code() {
        return Err(MessageId::unexpected(code, reader));
    }
    reader.spend(1)?;
    pass_string(reader)?; // text view
    reader.nested(pass::<Option<ProducerId>>)?;
    reader.skip(8)?; // producer sequence id
    let at = offset(reader);
    reader.skip(8)?;
    Ok(NonZeroU32::new(at))
}

/// Reads and drops a value, which checks it as decoding would.
fn pass<T: Wire>(reader: &mut Reader) -> Result<(), DecodeError> {
    T::read(reader).map(drop)
}

fn pass_string(reader: &mut Reader) -> Result<(), DecodeError> {
    if reader.bool()? {
        reader.skip_short_string()
    } else {
        Ok(())
    }
}

fn pass_bytes(reader: &mut Reader) -> Result<(), DecodeError> {
    if !reader.bool()? {
        return Ok(());
    }
    let length = reader.length()?;
    reader.skip(length)
}

/// A frame's size is a 31-bit number, so every place in a message fits.
fn offset(reader: &Reader) -> u32 {
    u32::try_from(reader.offset()).unwrap_or(u32::MAX)
}
