//! Messages. The seven message types share all fields but three, so they are one struct that knows
//! which of them it is.

use bytes::Bytes;

use super::{
    BrokerId, Command, ConsumerId, Destination, MessageId, ObjectArray, ProducerId, TransactionId,
};
use crate::codec::{Object, Reader, Wire, Writer, data_type};
use crate::error::{DecodeError, EncodeError};
use crate::string::WireString;

/// Which type a message is, and so what its body looks like; see [`body`](crate::body).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MessageKind {
    /// No body; also every advisory.
    #[default]
    Plain,
    /// Raw bytes.
    Bytes,
    /// A map of primitive values.
    Map,
    /// A serialised Java object.
    Object,
    /// A sequence of primitive values.
    Stream,
    /// Text.
    Text,
    /// A body that travels another way.
    Blob {
        /// Where it is.
        remote_blob_url: Option<WireString>,
        /// What it is.
        mime_type: Option<WireString>,
        /// Whether the broker is to delete it with the message.
        deleted_by_broker: bool,
    },
}

impl MessageKind {
    /// The type code on the wire.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            MessageKind::Plain => 23,
            MessageKind::Bytes => 24,
            MessageKind::Map => 25,
            MessageKind::Object => 26,
            MessageKind::Stream => 27,
            MessageKind::Text => 28,
            MessageKind::Blob { .. } => 29,
        }
    }

    /// The name as in the class name of the Java client.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            MessageKind::Plain => "Message",
            MessageKind::Bytes => "BytesMessage",
            MessageKind::Map => "MapMessage",
            MessageKind::Object => "ObjectMessage",
            MessageKind::Stream => "StreamMessage",
            MessageKind::Text => "TextMessage",
            MessageKind::Blob { .. } => "BlobMessage",
        }
    }
}

data_type! { @fields
    /// A message of any of the seven kinds.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Message {
        /// The command's number, chosen by the producer's connection.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// Who sent it.
        producer_id: Option<ProducerId>, since 1;
        /// Where it goes.
        destination: Option<Destination>, since 1;
        /// The transaction it belongs to.
        transaction_id: Option<TransactionId>, since 1;
        /// Where it was sent to, when the broker moved it.
        original_destination: Option<Destination>, since 1;
        /// Its id.
        message_id: Option<MessageId>, since 1;
        /// Inside brokers only.
        original_transaction_id: Option<TransactionId>, since 1;
        /// Messages of one group go to one consumer (JMSXGroupID).
        group_id: Option<WireString>, since 1;
        /// The place in the group (JMSXGroupSeq); -1 closes it.
        group_sequence: i32, since 1;
        /// What it answers (JMSCorrelationID).
        correlation_id: Option<WireString>, since 1;
        /// Whether it survives a restart of the broker.
        persistent: bool, since 1;
        /// Milliseconds since 1970 at which it expires; 0 is never.
        expiration: i64, since 1;
        /// 0 to 9.
        priority: i8, since 1;
        /// Where answers go.
        reply_to: Option<Destination>, since 1;
        /// Milliseconds since 1970 at which it was sent.
        timestamp: i64, since 1;
        /// The application's type (JMSType); `Advisory` marks advisories.
        message_type: Option<WireString>, since 1;
        /// The body, see [`body`](crate::body).
        content: Option<Bytes>, since 1;
        /// The properties as a primitive map, see [`Message::properties`].
        marshalled_properties: Option<Bytes>, since 1;
        /// What an advisory is about.
        data_structure: Option<Box<Command>>, since 1;
        /// The only consumer that is to get it, for repeated advisories.
        target_consumer_id: Option<ConsumerId>, since 1;
        /// Whether the body is compressed.
        compressed: bool, since 1;
        /// How often it was delivered before.
        redelivery_counter: i32, since 1;
        /// Brokers that it came through; empty from clients.
        broker_path: ObjectArray<BrokerId>, since 1;
        /// When the broker got it, inside brokers only.
        arrival: i64, since 1;
        /// The user who sent it, filled in by the broker (JMSXUserID).
        user_id: Option<WireString>, since 1;
        /// Between brokers only.
        received_by_df_bridge: bool, since 1;
        /// Inside brokers only.
        droppable: bool, since 2;
        /// Between brokers only.
        cluster: ObjectArray<BrokerId>, since 3;
        /// Milliseconds since 1970 at which the broker got it.
        broker_in_time: i64, since 3;
        /// Milliseconds since 1970 at which the broker dispatched it.
        broker_out_time: i64, since 3;
        /// Whether it is the first of its group for its consumer (JMSXGroupFirstForConsumer).
        jmsx_group_first_for_consumer: bool, since 10;
    }
    local {
        /// Which type it is.
        kind: MessageKind;
    }
}

impl Message {
    /// Whether `code` is one of the seven message types.
    pub(crate) fn is_code(code: u8) -> bool {
        (23..=29).contains(&code)
    }

    /// What the message takes of its producer's window, in bytes. The client counts the same.
    #[must_use]
    pub fn window_size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        1024 + length(&self.content) + length(&self.marshalled_properties)
    }
}

impl Object for Message {
    const EXPECTED: &'static str = "a message (23 to 29)";

    fn read_object(code: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        if !Self::is_code(code) {
            return Err(Self::unexpected(code, reader));
        }
        let mut message = Self::read_fields(reader)?;
        message.kind = match code {
            24 => MessageKind::Bytes,
            25 => MessageKind::Map,
            26 => MessageKind::Object,
            27 => MessageKind::Stream,
            28 => MessageKind::Text,
            29 => read_blob(reader).map_err(|e| e.within("Message", "kind"))?,
            _ => MessageKind::Plain,
        };
        Ok(message)
    }

    fn code(&self) -> u8 {
        self.kind.code()
    }

    fn write_object(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.write_fields(writer)?;
        if let MessageKind::Blob {
            remote_blob_url,
            mime_type,
            deleted_by_broker,
        } = &self.kind
        {
            let place = |e: EncodeError| e.within("Message", "kind");
            remote_blob_url.write(writer).map_err(place)?;
            mime_type.write(writer).map_err(place)?;
            deleted_by_broker.write(writer).map_err(place)?;
        }
        Ok(())
    }
}

fn read_blob(reader: &mut Reader) -> Result<MessageKind, DecodeError> {
    Ok(MessageKind::Blob {
        remote_blob_url: Wire::read(reader)?,
        mime_type: Wire::read(reader)?,
        deleted_by_broker: Wire::read(reader)?,
    })
}
