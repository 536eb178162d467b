//! What the journal remembers about a backlog on the broker's behalf.
//!
//! Layout, version 1, all integers little-endian; a text is a `u16` length and that many bytes of
//! modified UTF-8:
//!
//! ```text
//! u8 version = 1
//! u8 kind                1 = queue, 2 = durable subscription, 3 = schedule
//! queue:                 text name
//! durable subscription:  text client id; text name; text topic; u8 no local (0 or 1);
//!                        u8 has selector (0 or 1), and if 1: text selector
//! schedule:              nothing more
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use openwire::{Destination, DestinationKind, WireString};

const VERSION: u8 = 1;
const QUEUE: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const SCHEDULE: u8 = 3;

/// What a backlog is the backlog of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// A queue.
    Queue { name: Destination },
    /// A durable subscription.
    Subscription {
        key: SubscriptionKey,
        topic: Destination,
        selector: Option<WireString>,
        no_local: bool,
    },
    /// The messages that are to be delivered later.
    Schedule,
}

/// What names a durable subscription.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubscriptionKey {
    pub(crate) client_id: WireString,
    pub(crate) name: WireString,
}

/// A descriptor that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DescriptorError {
    #[error("descriptor version {0} is unknown: it was written by a newer broker")]
    Version(u8),
    #[error("descriptor kind {0} is unknown")]
    Kind(u8),
    #[error("the descriptor ends too early")]
    Truncated,
    #[error("a text of the descriptor is not modified UTF-8")]
    Text,
}

impl Descriptor {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Descriptor::Schedule => out.put_u8(SCHEDULE),
            Descriptor::Queue { name } => {
                out.put_u8(QUEUE);
                put_name(&mut out, name);
            }
            Descriptor::Subscription {
                key,
                topic,
                selector,
                no_local,
            } => {
                out.put_u8(SUBSCRIPTION);
                put_text(&mut out, &key.client_id);
                put_text(&mut out, &key.name);
                put_name(&mut out, topic);
                out.put_u8(u8::from(*no_local));
                out.put_u8(u8::from(selector.is_some()));
                if let Some(selector) = selector {
                    put_text(&mut out, selector);
                }
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(mut bytes: Bytes) -> Result<Self, DescriptorError> {
        let version = u8_of(&mut bytes)?;
        if version != VERSION {
            return Err(DescriptorError::Version(version));
        }
        match u8_of(&mut bytes)? {
            QUEUE => {
                let name = Destination::new(DestinationKind::Queue, text_of(&mut bytes)?);
                Ok(Descriptor::Queue { name })
            }
            SUBSCRIPTION => {
                let key = SubscriptionKey {
                    client_id: text_of(&mut bytes)?,
                    name: text_of(&mut bytes)?,
                };
                let topic = Destination::new(DestinationKind::Topic, text_of(&mut bytes)?);
                let no_local = u8_of(&mut bytes)? != 0;
                let has_selector = u8_of(&mut bytes)? != 0;
                let selector = has_selector.then(|| text_of(&mut bytes)).transpose()?;
                Ok(Descriptor::Subscription {
                    key,
                    topic,
                    selector,
                    no_local,
                })
            }
            SCHEDULE => Ok(Descriptor::Schedule),
            kind => Err(DescriptorError::Kind(kind)),
        }
    }
}

fn put_name(out: &mut BytesMut, destination: &Destination) {
    put_text(out, &destination.name.clone().unwrap_or_default());
}

fn put_text(out: &mut BytesMut, text: &WireString) {
    let length = u16::try_from(text.len()).expect("a string from the wire has at most 65535 bytes");
    out.put_u16_le(length);
    out.put_slice(text.as_bytes());
}

fn u8_of(bytes: &mut Bytes) -> Result<u8, DescriptorError> {
    bytes.try_get_u8().map_err(|_| DescriptorError::Truncated)
}

fn text_of(bytes: &mut Bytes) -> Result<WireString, DescriptorError> {
    let length = bytes
        .try_get_u16_le()
        .map_err(|_| DescriptorError::Truncated)?;
    if bytes.len() < usize::from(length) {
        return Err(DescriptorError::Truncated);
    }
    let text = Bytes::copy_from_slice(&bytes.split_to(usize::from(length)));
    WireString::from_modified_utf8(text).map_err(|_| DescriptorError::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(selector: Option<WireString>) -> Descriptor {
        Descriptor::Subscription {
            key: SubscriptionKey {
                client_id: "c\u{1f600}".into(),
                name: "n".into(),
            },
            topic: Destination::topic("T"),
            selector,
            no_local: true,
        }
    }

    #[test]
    fn a_descriptor_survives_encoding() {
        for descriptor in [
            Descriptor::Queue {
                name: Destination::queue("Q"),
            },
            subscription(None),
            subscription(Some("a = 1".into())),
            Descriptor::Schedule,
        ] {
            assert_eq!(Descriptor::decode(descriptor.encode()), Ok(descriptor));
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let queue = Descriptor::Queue {
            name: Destination::queue("Q"),
        }
        .encode();
        assert_eq!(&queue[..], b"\x01\x01\x01\x00Q");
        assert_eq!(
            &subscription(Some("s".into())).encode()[..],
            b"\x01\x02\x07\0c\xed\xa0\xbd\xed\xb8\x80\x01\0n\x01\0T\x01\x01\x01\0s"
        );
    }

    #[test]
    fn every_cut_and_foreign_version_is_an_error() {
        let whole = subscription(Some("s".into())).encode();
        for end in 0..whole.len() {
            assert!(Descriptor::decode(whole.slice(..end)).is_err(), "{end}");
        }
        let newer = Bytes::from_static(b"\x02\x01\x01\0Q");
        assert_eq!(Descriptor::decode(newer), Err(DescriptorError::Version(2)));
        let other = Bytes::from_static(b"\x01\x09");
        assert_eq!(Descriptor::decode(other), Err(DescriptorError::Kind(9)));
    }
}
