//! The bodies and properties of messages, decoded only when somebody asks.
//!
//! A broker passes both through untouched. Compressed bodies are the client's business: they are
//! recognised and left alone.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::Reader;
use crate::command::{Message, MessageKind};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
use crate::primitive::{PrimitiveMap, Value, decode_values, encode_values};
use crate::string::WireString;
use crate::version::{Dialect, Version};

/// A message's body.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Body {
    /// None, or one that travels another way.
    Empty,
    /// The text of a text message.
    Text(WireString),
    /// The content of a bytes message.
    Bytes(Bytes),
    /// The content of a map message.
    Map(PrimitiveMap),
    /// The content of a stream message.
    Stream(Vec<Value>),
    /// The serialised content of an object message.
    Object(Bytes),
}

/// A body that cannot be read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is compressed, and only its receiver unpacks it.
    #[error(
        "the body of this {kind} is compressed; send it without useCompression to read it here"
    )]
    Compressed {
        /// The kind of message.
        kind: &'static str,
    },
    /// It is not what its kind promises.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Message {
    /// A text message, without destination and id.
    ///
    /// # Errors
    ///
    /// When the text is longer than 2 GiB.
    pub fn from_text(text: impl Into<WireString>) -> Result<Message, EncodeError> {
        let text = text.into();
        let length = i32::try_from(text.len()).map_err(|_| EncodeError {
            type_name: "Message",
            field: "content",
            kind: EncodeErrorKind::FrameTooLong(text.len()),
        })?;
        let mut content = BytesMut::with_capacity(4 + text.len());
        content.put_i32(length);
        content.put_slice(text.as_bytes());
        Ok(Message {
            kind: MessageKind::Text,
            content: Some(content.freeze()),
            ..Message::default()
        })
    }

    /// A bytes message, without destination and id.
    #[must_use]
    pub fn from_bytes(content: Bytes) -> Message {
        Message {
            kind: MessageKind::Bytes,
            content: Some(content),
            ..Message::default()
        }
    }

    /// A map message, without destination and id.
    ///
    /// # Errors
    ///
    /// When the map is nested too deep or holds a name of more than 65535 bytes.
    pub fn from_map(map: &PrimitiveMap) -> Result<Message, EncodeError> {
        // Java leaves the content of an empty map out.
        let content = if map.is_empty() {
            None
        } else {
            Some(map.encode()?)
        };
        Ok(Message {
            kind: MessageKind::Map,
            content,
            ..Message::default()
        })
    }

    /// A stream message, without destination and id.
    ///
    /// # Errors
    ///
    /// When a value is nested too deep or holds a name of more than 65535 bytes.
    pub fn from_stream(values: &[Value]) -> Result<Message, EncodeError> {
        let content = Some(encode_values(values)?);
        Ok(Message {
            kind: MessageKind::Stream,
            content,
            ..Message::default()
        })
    }

    /// The body.
    ///
    /// # Errors
    ///
    /// When it is compressed, or is not what the message's kind promises.
    pub fn body(&self) -> Result<Body, BodyError> {
        let Some(content) = self.content.clone() else {
            return Ok(match self.kind {
                MessageKind::Map => Body::Map(PrimitiveMap::new()),
                _ => Body::Empty,
            });
        };
        if self.compressed {
            return Err(BodyError::Compressed {
                kind: self.kind.name(),
            });
        }
        Ok(match self.kind {
            MessageKind::Plain | MessageKind::Blob { .. } => Body::Empty,
            MessageKind::Bytes => Body::Bytes(content),
            MessageKind::Object => Body::Object(content),
            MessageKind::Map => Body::Map(PrimitiveMap::decode(content)?),
            MessageKind::Stream => Body::Stream(decode_values(content)?),
            MessageKind::Text => read_text(content)?.map_or(Body::Empty, Body::Text),
        })
    }

    /// The text of a text message; `None` for a null text and for messages of another kind.
    ///
    /// # Errors
    ///
    /// When it is compressed or damaged.
    pub fn text(&self) -> Result<Option<WireString>, BodyError> {
        match (&self.kind, self.body()?) {
            (MessageKind::Text, Body::Text(text)) => Ok(Some(text)),
            _ => Ok(None),
        }
    }

    /// The properties; those that travel as fields of the message, like `JMSType`, are not in it.
    ///
    /// # Errors
    ///
    /// When they are damaged.
    pub fn properties(&self) -> Result<PrimitiveMap, DecodeError> {
        self.marshalled_properties
            .clone()
            .map_or_else(|| Ok(PrimitiveMap::new()), PrimitiveMap::decode)
    }

    /// One property, without building the map of all.
    ///
    /// # Errors
    ///
    /// When the properties are damaged.
    pub fn property(&self, name: &str) -> Result<Option<Value>, DecodeError> {
        self.marshalled_properties
            .clone()
            .map_or(Ok(None), |properties| PrimitiveMap::find(properties, name))
    }

    /// Replaces the properties.
    ///
    /// # Errors
    ///
    /// When they are nested too deep or hold a name of more than 65535 bytes; the message is then
    /// as it was.
    pub fn set_properties(&mut self, properties: &PrimitiveMap) -> Result<(), EncodeError> {
        self.marshalled_properties = if properties.is_empty() {
            None
        } else {
            Some(properties.encode()?)
        };
        Ok(())
    }

    /// Sets one property.
    ///
    /// # Errors
    ///
    /// When the properties are damaged, or could not be encoded with the new one; the message is
    /// then as it was.
    pub fn set_property(
        &mut self,
        name: &str,
        value: impl Into<Value>,
    ) -> Result<(), PropertyError> {
        let mut properties = self.properties()?;
        properties.insert(name, value);
        self.set_properties(&properties)?;
        Ok(())
    }
}

/// A property that could not be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PropertyError {
    /// The properties that were there are damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The new properties have no encoding.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// A text body: a 32-bit length, then the text; -1 stands for a null text.
fn read_text(content: Bytes) -> Result<Option<WireString>, DecodeError> {
    let place = |e: DecodeError| e.within("Message", "content");
    let mut reader = Reader::new(content, Dialect::from(Version::LATEST));
    let length = i32::from_be_bytes(reader.array().map_err(place)?);
    if length == -1 {
        return Ok(None);
    }
    let start = reader.offset();
    let length = usize::try_from(length)
        .map_err(|_| reader.error_before(4, DecodeErrorKind::NegativeLength(i64::from(length))))
        .map_err(place)?;
    let bytes = reader.take(length).map_err(place)?;
    WireString::from_modified_utf8(bytes)
        .map(Some)
        .map_err(|e| place(DecodeError::new(start, DecodeErrorKind::BadString(e.at))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_back_as_they_were_given() {
        let map: PrimitiveMap = [("a".into(), Value::Int(1))].into_iter().collect();
        let values = vec![Value::Null, Value::from("b")];
        let cases = [
            (
                Message::from_text("h\u{e9}llo").expect("short"),
                Body::Text("h\u{e9}llo".into()),
            ),
            (
                Message::from_bytes(Bytes::from_static(b"\xff")),
                Body::Bytes(b"\xff"[..].into()),
            ),
            (Message::from_map(&map).expect("flat"), Body::Map(map)),
            (
                Message::from_stream(&values).expect("flat"),
                Body::Stream(values),
            ),
            (Message::default(), Body::Empty),
        ];
        for (message, body) in cases {
            assert_eq!(message.body(), Ok(body));
        }
    }

    #[test]
    fn a_compressed_body_is_recognised() {
        let mut message = Message::from_text("x").expect("short");
        message.compressed = true;
        assert_eq!(
            message.text(),
            Err(BodyError::Compressed {
                kind: "TextMessage"
            })
        );
    }

    #[test]
    fn a_text_longer_than_its_bytes_is_refused() {
        let message = Message {
            kind: MessageKind::Text,
            content: Some(Bytes::from_static(b"\x7f\xff\xff\xffab")),
            ..Message::default()
        };
        let error = message.text().unwrap_err().to_string();
        assert!(
            error.starts_with("cannot decode Message.content at byte 4"),
            "{error}"
        );
    }

    #[test]
    fn properties_are_set_one_by_one_and_found_again() {
        let mut message = Message::default();
        message.set_property("colour", "red").expect("short");
        message.set_property("size", 7).expect("short");
        message.set_property("colour", "blue").expect("short");
        assert_eq!(message.property("colour"), Ok(Some(Value::from("blue"))));
        assert_eq!(message.property("weight"), Ok(None));
        assert_eq!(message.properties().expect("a map").len(), 2);
    }
}
