//! The identifiers. Their text forms appear in message ids, logs and duplicate keys; their wire
//! order differs from their text order, which the tables show.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::codec::data_type;
use crate::string::WireString;

/// A text that is no identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}; the form is {form}")]
pub struct ParseIdError {
    /// The kind of identifier wanted.
    pub kind: &'static str,
    /// The text given.
    pub text: String,
    /// What it should look like.
    pub form: &'static str,
}

data_type! {
    /// A broker, for its lifetime.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub id BrokerId = 124 {
        /// The text, chosen by the broker.
        value: Option<WireString>, since 1;
    }
}

data_type! {
    /// A client's connection; it stays the same when a failover client connects again.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub id ConnectionId = 120 {
        /// The text, chosen by the client.
        value: Option<WireString>, since 1;
    }
}

data_type! {
    /// A session of a connection; -1 is the one of the client's own advisory consumer.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub id SessionId = 121 {
        /// The text of the connection's id.
        connection_id: Option<WireString>, since 1;
        /// The number within the connection.
        value: i64, since 1;
    }
}

data_type! {
    /// A consumer of a session.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub id ConsumerId = 122 {
        /// The text of the connection's id.
        connection_id: Option<WireString>, since 1;
        /// The number of the session within the connection.
        session_id: i64, since 1;
        /// The number within the session.
        value: i64, since 1;
    }
}

data_type! {
    /// A producer of a session. On the wire its own number comes before that of the session.
    #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub id ProducerId = 123 {
        /// The text of the connection's id.
        connection_id: Option<WireString>, since 1;
        /// The number within the session.
        value: i64, since 1;
        /// The number of the session within the connection.
        session_id: i64, since 1;
    }
}

data_type! {
    /// A message, named by its producer. Two are equal when producer and sequence are: what the
    /// broker adds and a foreign text do not count.
    #[derive(Clone, Debug)]
    pub id MessageId = 110 {
        /// The id as text, for messages that came from another system; clients leave it out.
        text_view: Option<WireString>, since 10;
        /// Who sent it.
        producer_id: Option<ProducerId>, since 1;
        /// The running number of its producer, from 1 on.
        producer_sequence_id: i64, since 1;
        /// The running number in its queue, given by the broker. Clients send it back in
        /// [`RemoveInfo::last_delivered_sequence_id`](crate::RemoveInfo).
        broker_sequence_id: i64, since 1;
    }
}

impl PartialEq for MessageId {
    fn eq(&self, other: &Self) -> bool {
        self.producer_sequence_id == other.producer_sequence_id
            && self.producer_id == other.producer_id
    }
}

impl Eq for MessageId {}

impl Hash for MessageId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.producer_id.hash(state);
        self.producer_sequence_id.hash(state);
    }
}

impl BrokerId {
    /// The id with this text.
    pub fn new(value: impl Into<WireString>) -> Self {
        BrokerId {
            value: Some(value.into()),
        }
    }
}

impl ConnectionId {
    /// The id with this text.
    pub fn new(value: impl Into<WireString>) -> Self {
        ConnectionId {
            value: Some(value.into()),
        }
    }

    /// The session of this connection with this number.
    #[must_use]
    pub fn session(&self, value: i64) -> SessionId {
        SessionId {
            connection_id: self.value.clone(),
            value,
        }
    }

    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        ConnectionId {
            value: detached(&self.value),
        }
    }
}

impl SessionId {
    /// The connection that this session belongs to.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        ConnectionId {
            value: self.connection_id.clone(),
        }
    }

    /// The consumer of this session with this number.
    #[must_use]
    pub fn consumer(&self, value: i64) -> ConsumerId {
        ConsumerId {
            connection_id: self.connection_id.clone(),
            session_id: self.value,
            value,
        }
    }

    /// The producer of this session with this number.
    #[must_use]
    pub fn producer(&self, value: i64) -> ProducerId {
        ProducerId {
            connection_id: self.connection_id.clone(),
            session_id: self.value,
            value,
        }
    }

    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        SessionId {
            connection_id: detached(&self.connection_id),
            ..*self
        }
    }
}

impl ConsumerId {
    /// The connection that this consumer belongs to.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        ConnectionId {
            value: self.connection_id.clone(),
        }
    }

    /// The session that this consumer belongs to.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId {
            connection_id: self.connection_id.clone(),
            value: self.session_id,
        }
    }

    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        ConsumerId {
            connection_id: detached(&self.connection_id),
            ..*self
        }
    }
}

impl ProducerId {
    /// The connection that this producer belongs to.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        ConnectionId {
            value: self.connection_id.clone(),
        }
    }

    /// The session that this producer belongs to.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId {
            connection_id: self.connection_id.clone(),
            value: self.session_id,
        }
    }

    /// The id of this producer's message with this number.
    #[must_use]
    pub fn message(&self, producer_sequence_id: i64) -> MessageId {
        MessageId {
            producer_id: Some(self.clone()),
            producer_sequence_id,
            ..MessageId::default()
        }
    }

    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        ProducerId {
            connection_id: detached(&self.connection_id),
            ..*self
        }
    }
}

impl MessageId {
    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        MessageId {
            text_view: detached(&self.text_view),
            producer_id: self.producer_id.as_ref().map(ProducerId::detached),
            ..*self
        }
    }
}

fn detached(text: &Option<WireString>) -> Option<WireString> {
    text.as_ref().map(WireString::detached)
}

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.value, f)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.value, f)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.connection_id, f)?;
        write!(f, ":{}", self.value)
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.connection_id, f)?;
        write!(f, ":{}:{}", self.session_id, self.value)
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.connection_id, f)?;
        write!(f, ":{}:{}", self.session_id, self.value)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.text_view {
            let prefix = if text.as_bytes().starts_with(b"ID:") {
                ""
            } else {
                "ID:"
            };
            return write!(f, "{prefix}{text}");
        }
        if let Some(producer) = &self.producer_id {
            producer.fmt(f)?;
        }
        write!(f, ":{}", self.producer_sequence_id)
    }
}

fn write_text(text: &Option<WireString>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.as_ref()
        .map_or(Ok(()), |text| fmt::Display::fmt(text, f))
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let ([value], connection) = split_numbers(text).ok_or_else(|| ParseIdError {
            kind: "session id",
            text: text.to_owned(),
            form: "connection:number",
        })?;
        Ok(ConnectionId::new(connection).session(value))
    }
}

impl FromStr for ConsumerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let ([session, value], connection) = split_numbers(text).ok_or_else(|| ParseIdError {
            kind: "consumer id",
            text: text.to_owned(),
            form: "connection:session:number",
        })?;
        Ok(ConnectionId::new(connection)
            .session(session)
            .consumer(value))
    }
}

impl FromStr for ProducerId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let ([session, value], connection) = split_numbers(text).ok_or_else(|| ParseIdError {
            kind: "producer id",
            text: text.to_owned(),
            form: "connection:session:number",
        })?;
        Ok(ConnectionId::new(connection)
            .session(session)
            .producer(value))
    }
}

impl FromStr for MessageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let ([session, producer, sequence], connection) =
            split_numbers(text).ok_or_else(|| ParseIdError {
                kind: "message id",
                text: text.to_owned(),
                form: "connection:session:producer:number",
            })?;
        Ok(ConnectionId::new(connection)
            .session(session)
            .producer(producer)
            .message(sequence))
    }
}

/// Cuts `N` numbers off the end of `text`; what is in front may hold colons of its own.
fn split_numbers<const N: usize>(text: &str) -> Option<([i64; N], &str)> {
    let mut numbers = [0; N];
    let mut rest = text;
    for number in numbers.iter_mut().rev() {
        let (front, last) = rest.rsplit_once(':')?;
        *number = last.parse().ok()?;
        rest = front;
    }
    (!rest.is_empty()).then_some((numbers, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_as_java_writes_them() {
        let session = ConnectionId::new("ID:host-1-2-3:1").session(4);
        assert_eq!(session.to_string(), "ID:host-1-2-3:1:4");
        assert_eq!(session.consumer(5).to_string(), "ID:host-1-2-3:1:4:5");
        assert_eq!(session.producer(6).to_string(), "ID:host-1-2-3:1:4:6");
        assert_eq!(
            session.producer(6).message(7).to_string(),
            "ID:host-1-2-3:1:4:6:7"
        );
    }

    #[test]
    fn a_foreign_message_id_shows_its_text_with_the_prefix() {
        let mut id = MessageId {
            text_view: Some("abc".into()),
            ..MessageId::default()
        };
        assert_eq!(id.to_string(), "ID:abc");
        id.text_view = Some("ID:abc".into());
        assert_eq!(id.to_string(), "ID:abc");
    }

    #[test]
    fn text_and_identifier_convert_both_ways() {
        let text = "ID:host-1-2-3:1:-1:6:7";
        let id: MessageId = text.parse().expect("a message id");
        assert_eq!(id.to_string(), text);
        let producer = id.producer_id.expect("a producer");
        assert_eq!((producer.session_id, producer.value), (-1, 6));
        assert_eq!(producer.to_string().parse(), Ok(producer));
        assert!("no numbers".parse::<ConsumerId>().is_err());
        assert!(":1:2".parse::<ConsumerId>().is_err());
    }

    #[test]
    fn what_the_broker_adds_does_not_make_another_message() {
        let id = ConnectionId::new("c").session(1).producer(1).message(1);
        let stored = MessageId {
            broker_sequence_id: 99,
            text_view: Some("x".into()),
            ..id.clone()
        };
        assert_eq!(id, stored);
        assert_ne!(
            id,
            MessageId {
                producer_sequence_id: 2,
                ..id.clone()
            }
        );
    }
}
