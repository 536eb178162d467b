//! What a selector sees of a message.

use std::borrow::Cow;
use std::cell::OnceCell;

use openwire::WireString;
use openwire::primitive::PrimitiveMap;

use super::value::{Datum, Uncomputable};
use crate::broker::Message;

/// A message while selectors look at it: whatever has to be decoded for one of them is there for
/// the next.
#[derive(Debug)]
pub struct MessageView<'a> {
    message: &'a Message,
    redelivery_counter: i32,
    decoded: OnceCell<Option<Box<openwire::Message>>>,
    properties: OnceCell<Option<PrimitiveMap>>,
}

/// What a name in a selector means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Header(Header),
    Property(String),
}

/// A name that means a field of the message and no property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    BrokerInTime,
    BrokerOutTime,
    BrokerPath,
    CorrelationId,
    DeliveryCount,
    DeliveryMode,
    Destination,
    Expiration,
    GroupFirst,
    GroupId,
    GroupSequence,
    MessageId,
    Priority,
    ProducerTransaction,
    Redelivered,
    ReplyTo,
    Timestamp,
    Type,
    UserId,
}

const HEADERS: [(&str, Header); 19] = [
    ("JMSActiveMQBrokerInTime", Header::BrokerInTime),
    ("JMSActiveMQBrokerOutTime", Header::BrokerOutTime),
    ("JMSActiveMQBrokerPath", Header::BrokerPath),
    ("JMSCorrelationID", Header::CorrelationId),
    ("JMSDeliveryMode", Header::DeliveryMode),
    ("JMSDestination", Header::Destination),
    ("JMSExpiration", Header::Expiration),
    ("JMSMessageID", Header::MessageId),
    ("JMSPriority", Header::Priority),
    ("JMSRedelivered", Header::Redelivered),
    ("JMSReplyTo", Header::ReplyTo),
    ("JMSTimestamp", Header::Timestamp),
    ("JMSType", Header::Type),
    ("JMSXDeliveryCount", Header::DeliveryCount),
    ("JMSXGroupFirstForConsumer", Header::GroupFirst),
    ("JMSXGroupID", Header::GroupId),
    ("JMSXGroupSeq", Header::GroupSequence),
    ("JMSXProducerTXID", Header::ProducerTransaction),
    ("JMSXUserID", Header::UserId),
];

impl Field {
    pub(super) fn named(name: &str) -> Self {
        HEADERS
            .iter()
            .find(|(header, _)| *header == name)
            .map_or_else(
                || Field::Property(name.to_owned()),
                |(_, header)| Field::Header(*header),
            )
    }
}

impl<'a> MessageView<'a> {
    /// A view of this message, not delivered before.
    #[must_use]
    pub fn new(message: &'a Message) -> Self {
        MessageView {
            message,
            redelivery_counter: 0,
            decoded: OnceCell::new(),
            properties: OnceCell::new(),
        }
    }

    /// How often the message was delivered before.
    #[must_use]
    pub fn delivered(mut self, times: i32) -> Self {
        self.redelivery_counter = times;
        self
    }

    fn decoded(&self) -> Result<&openwire::Message, Uncomputable> {
        self.decoded
            .get_or_init(|| self.message.stored().decode().ok().map(Box::new))
            .as_deref()
            .ok_or(Uncomputable("the message is damaged"))
    }

    fn properties(&self) -> Result<&PrimitiveMap, Uncomputable> {
        let decoded = self.decoded()?;
        self.properties
            .get_or_init(|| decoded.properties().ok())
            .as_ref()
            .ok_or(Uncomputable("the properties are damaged"))
    }

    pub(super) fn field(&self, field: &Field) -> Result<Datum<'_>, Uncomputable> {
        match field {
            Field::Header(header) => self.header(*header),
            Field::Property(name) => self.property(name),
        }
    }

    fn property(&self, name: &str) -> Result<Datum<'_>, Uncomputable> {
        let value = self.properties()?.get(name);
        Ok(value.map_or(Datum::Null, Datum::from))
    }

    fn header(&self, header: Header) -> Result<Datum<'_>, Uncomputable> {
        // These need no decoding.
        match header {
            Header::Expiration => return Ok(Datum::Long(self.message.expiration_ms())),
            Header::MessageId => return Ok(printed(self.message.id())),
            Header::Priority => return Ok(Datum::Int(self.message.priority().into())),
            Header::Redelivered => return Ok(Datum::Boolean(self.redelivery_counter > 0)),
            Header::DeliveryCount => {
                return Ok(Datum::Int(self.redelivery_counter.wrapping_add(1)));
            }
            _ => {}
        }
        let message = self.decoded()?;
        Ok(match header {
            Header::BrokerInTime => Datum::Long(message.broker_in_time),
            Header::BrokerOutTime => Datum::Long(message.broker_out_time),
            Header::BrokerPath => broker_path(message),
            Header::CorrelationId => text(message.correlation_id.as_ref()),
            Header::DeliveryMode => Datum::Text(Cow::Borrowed(if message.persistent {
                "PERSISTENT"
            } else {
                "NON_PERSISTENT"
            })),
            Header::Destination => {
                let original = message.original_destination.as_ref();
                original
                    .or(message.destination.as_ref())
                    .map_or(Datum::Null, printed)
            }
            Header::GroupFirst => Datum::Boolean(message.jmsx_group_first_for_consumer),
            Header::GroupId => text(message.group_id.as_ref()),
            Header::GroupSequence => Datum::Int(message.group_sequence),
            Header::ProducerTransaction => {
                let original = message.original_transaction_id.as_ref();
                original
                    .or(message.transaction_id.as_ref())
                    .map_or(Datum::Null, printed)
            }
            Header::ReplyTo => message.reply_to.as_ref().map_or(Datum::Null, printed),
            Header::Timestamp => Datum::Long(message.timestamp),
            Header::Type => text(message.message_type.as_ref()),
            Header::UserId => match &message.user_id {
                Some(user) => text(Some(user)),
                None => self.property("JMSXUserID")?,
            },
            Header::Expiration
            | Header::MessageId
            | Header::Priority
            | Header::Redelivered
            | Header::DeliveryCount => Datum::Null,
        })
    }
}

fn text(value: Option<&WireString>) -> Datum<'_> {
    value.map_or(Datum::Null, |value| Datum::Text(value.to_string_lossy()))
}

fn printed<'a>(value: &impl ToString) -> Datum<'a> {
    Datum::Text(Cow::Owned(value.to_string()))
}

/// The brokers that a message came through as Java prints an array.
fn broker_path(message: &openwire::Message) -> Datum<'_> {
    let Some(brokers) = &message.broker_path else {
        return Datum::Text(Cow::Borrowed("null"));
    };
    let names: Vec<String> = brokers
        .iter()
        .map(|broker| {
            broker
                .as_ref()
                .map_or("null".to_owned(), ToString::to_string)
        })
        .collect();
    Datum::Text(Cow::Owned(format!("[{}]", names.join(", "))))
}
