//! Messages as an application sees them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openwire::body::Body;
use openwire::primitive::{PrimitiveMap, Value};
use openwire::{Destination, MessageId, MessageKind};

use super::consumer::ConsumerInner;
use super::error::ClientError;

/// When the broker delivers a message; by default at once and once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Time before the first delivery.
    pub delay: Option<Duration>,
    /// Time between repetitions.
    pub period: Option<Duration>,
    /// How often it is delivered again after the first time.
    pub repeat: Option<i32>,
    /// Delivered whenever this `cron` entry of five fields is due; delay, period and repetitions
    /// then start at each of these times.
    pub cron: Option<String>,
}

/// A message to send, or one that was received.
#[derive(Clone)]
pub struct Message {
    wire: openwire::Message,
    received_by: Option<Arc<ConsumerInner>>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id())
            .field("kind", &self.wire.kind)
            .field("destination", &self.wire.destination)
            .finish_non_exhaustive()
    }
}

impl From<openwire::Message> for Message {
    fn from(wire: openwire::Message) -> Self {
        Self {
            wire,
            received_by: None,
        }
    }
}

impl Message {
    /// A text message.
    ///
    /// # Errors
    /// When the text is longer than 2 GiB.
    pub fn text(text: &str) -> Result<Self, ClientError> {
        Ok(openwire::Message::from_text(text)?.into())
    }

    /// A message of raw bytes.
    pub fn bytes(content: impl Into<Bytes>) -> Self {
        openwire::Message::from_bytes(content.into()).into()
    }

    /// A message of names and values.
    ///
    /// # Errors
    /// When a value is nested too deep or a name too long.
    pub fn map(map: &PrimitiveMap) -> Result<Self, ClientError> {
        Ok(openwire::Message::from_map(map)?.into())
    }

    /// A message of values one after another.
    ///
    /// # Errors
    /// When a value is nested too deep.
    pub fn stream(values: &[Value]) -> Result<Self, ClientError> {
        Ok(openwire::Message::from_stream(values)?.into())
    }

    /// An object message; `content` is a Java serialization stream.
    pub fn object(content: impl Into<Bytes>) -> Self {
        openwire::Message {
            kind: MessageKind::Object,
            content: Some(content.into()),
            ..openwire::Message::default()
        }
        .into()
    }

    /// A message of headers and properties only.
    #[must_use]
    pub fn plain() -> Self {
        openwire::Message::default().into()
    }

    pub(super) fn received(wire: openwire::Message, by: Arc<ConsumerInner>) -> Self {
        Self {
            wire,
            received_by: Some(by),
        }
    }

    /// The message as the wire has it.
    #[must_use]
    pub fn as_wire(&self) -> &openwire::Message {
        &self.wire
    }

    /// The message as the wire has it, to change what has no method here.
    pub fn as_wire_mut(&mut self) -> &mut openwire::Message {
        &mut self.wire
    }

    /// The message as the wire has it.
    #[must_use]
    pub fn into_wire(self) -> openwire::Message {
        self.wire
    }

    /// The message's id as text, once it was sent or received.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.wire.message_id.as_ref().map(ToString::to_string)
    }

    /// The message's id, once it was sent or received.
    #[must_use]
    pub fn message_id(&self) -> Option<&MessageId> {
        self.wire.message_id.as_ref()
    }

    /// Which kind of message it is.
    #[must_use]
    pub fn kind(&self) -> &MessageKind {
        &self.wire.kind
    }

    /// The body, whatever the kind.
    ///
    /// # Errors
    /// When it is compressed or damaged.
    pub fn body(&self) -> Result<Body, ClientError> {
        Ok(self.wire.body()?)
    }

    /// The text of a text message; `None` for a null text and for other kinds.
    ///
    /// # Errors
    /// When it is compressed or damaged.
    pub fn as_text(&self) -> Result<Option<String>, ClientError> {
        Ok(self.wire.text()?.map(|text| text.to_string()))
    }

    /// The content of a bytes or object message; `None` for other kinds. An empty body is empty.
    ///
    /// # Errors
    /// When it is compressed.
    pub fn as_bytes(&self) -> Result<Option<Bytes>, ClientError> {
        Ok(match self.body()? {
            Body::Bytes(bytes) | Body::Object(bytes) => Some(bytes),
            Body::Empty if matches!(self.wire.kind, MessageKind::Bytes | MessageKind::Object) => {
                Some(Bytes::new())
            }
            _ => None,
        })
    }

    /// One property; `None` when it is not set. Headers such as `JMSType` are no properties.
    ///
    /// # Errors
    /// When the properties are damaged.
    pub fn property(&self, name: &str) -> Result<Option<Value>, ClientError> {
        Ok(self.wire.property(name)?)
    }

    /// All properties.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn properties(&self) -> Result<PrimitiveMap, ClientError> {
        Ok(self.wire.properties()?)
    }

    /// Sets a property.
    ///
    /// # Errors
    /// When the value is nested too deep, the name too long, or what was there is damaged.
    pub fn set_property(&mut self, name: &str, value: impl Into<Value>) -> Result<(), ClientError> {
        Ok(self.wire.set_property(name, value)?)
    }

    /// As [`Message::set_property`], for chains.
    ///
    /// # Errors
    /// As [`Message::set_property`].
    pub fn with_property(
        mut self,
        name: &str,
        value: impl Into<Value>,
    ) -> Result<Self, ClientError> {
        self.set_property(name, value)?;
        Ok(self)
    }

    /// Where it was sent to.
    #[must_use]
    pub fn destination(&self) -> Option<&Destination> {
        self.wire.destination.as_ref()
    }

    /// Where answers are expected.
    #[must_use]
    pub fn reply_to(&self) -> Option<&Destination> {
        self.wire.reply_to.as_ref()
    }

    /// Asks for answers there.
    #[must_use]
    pub fn with_reply_to(mut self, destination: Destination) -> Self {
        self.wire.reply_to = Some(destination);
        self
    }

    /// What ties an answer to its question.
    #[must_use]
    pub fn correlation_id(&self) -> Option<String> {
        self.wire.correlation_id.as_ref().map(ToString::to_string)
    }

    /// Ties an answer to its question.
    #[must_use]
    pub fn with_correlation_id(mut self, id: &str) -> Self {
        self.wire.correlation_id = Some(id.into());
        self
    }

    /// The application's type of message (`JMSType`).
    #[must_use]
    pub fn message_type(&self) -> Option<String> {
        self.wire.message_type.as_ref().map(ToString::to_string)
    }

    /// Sets the application's type of message.
    #[must_use]
    pub fn with_message_type(mut self, name: &str) -> Self {
        self.wire.message_type = Some(name.into());
        self
    }

    /// Puts the message into a group, whose messages go to one consumer in order.
    #[must_use]
    pub fn with_group(mut self, id: &str, sequence: i32) -> Self {
        self.wire.group_id = Some(id.into());
        self.wire.group_sequence = sequence;
        self
    }

    /// Has the broker deliver it later, and again if the schedule says so. Needs a broker whose
    /// scheduler is on; others deliver it at once.
    ///
    /// # Errors
    /// As [`Message::set_property`].
    pub fn with_schedule(mut self, schedule: &Schedule) -> Result<Self, ClientError> {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        if let Some(delay) = schedule.delay {
            self.set_property("AMQ_SCHEDULED_DELAY", ms(delay))?;
        }
        if let Some(period) = schedule.period {
            self.set_property("AMQ_SCHEDULED_PERIOD", ms(period))?;
        }
        if let Some(repeat) = schedule.repeat {
            self.set_property("AMQ_SCHEDULED_REPEAT", repeat)?;
        }
        if let Some(cron) = &schedule.cron {
            self.set_property("AMQ_SCHEDULED_CRON", cron.as_str())?;
        }
        Ok(self)
    }

    /// Whether the broker keeps it through a failure.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.wire.persistent
    }

    /// The priority, 0 to 9.
    #[must_use]
    pub fn priority(&self) -> i8 {
        self.wire.priority
    }

    /// When it was sent, in milliseconds since 1970; 0 when unknown.
    #[must_use]
    pub fn timestamp(&self) -> i64 {
        self.wire.timestamp
    }

    /// When it expires, in milliseconds since 1970; 0 is never.
    #[must_use]
    pub fn expiration(&self) -> i64 {
        self.wire.expiration
    }

    /// Whether it was delivered before.
    #[must_use]
    pub fn is_redelivered(&self) -> bool {
        self.wire.redelivery_counter > 0
    }

    /// How often it was delivered, this time included.
    #[must_use]
    pub fn delivery_count(&self) -> i32 {
        self.wire.redelivery_counter.saturating_add(1)
    }

    /// Acknowledges: in a session of `AckMode::Client` everything the session has received, in
    /// one of `AckMode::Individual` this message. In other sessions nothing is left to do. After a
    /// reconnect an old message is void and comes again; acknowledging it does nothing.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn acknowledge(&self) -> Result<(), ClientError> {
        match (&self.received_by, &self.wire.message_id) {
            (Some(consumer), Some(id)) => consumer.acknowledge(id).await,
            _ => Err(ClientError::IllegalState(
                "only a received message can be acknowledged",
            )),
        }
    }
}
