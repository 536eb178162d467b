//! Destinations, and the command that adds and removes them.

use std::fmt;

use super::{BrokerId, ConnectionId, ObjectArray};
use crate::codec::{Object, Reader, Wire, Writer, data_type};
use crate::error::{DecodeError, EncodeError};
use crate::string::WireString;

/// Which of the four kinds a destination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DestinationKind {
    /// Each message to one consumer.
    Queue,
    /// Each message to all subscribers.
    Topic,
    /// A queue that lives as long as the connection that made it.
    TempQueue,
    /// A topic that lives as long as the connection that made it.
    TempTopic,
}

impl DestinationKind {
    /// Whether it lives only as long as the connection that made it.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            DestinationKind::TempQueue | DestinationKind::TempTopic
        )
    }

    /// Whether each message goes to one consumer only.
    #[must_use]
    pub fn is_queue(self) -> bool {
        matches!(self, DestinationKind::Queue | DestinationKind::TempQueue)
    }

    /// The type code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            DestinationKind::Queue => 100,
            DestinationKind::Topic => 101,
            DestinationKind::TempQueue => 102,
            DestinationKind::TempTopic => 103,
        }
    }

    /// The kind with this type code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            100 => Some(DestinationKind::Queue),
            101 => Some(DestinationKind::Topic),
            102 => Some(DestinationKind::TempQueue),
            103 => Some(DestinationKind::TempTopic),
            _ => None,
        }
    }

    /// The prefix of the text form, like `queue://`.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            DestinationKind::Queue => "queue://",
            DestinationKind::Topic => "topic://",
            DestinationKind::TempQueue => "temp-queue://",
            DestinationKind::TempTopic => "temp-topic://",
        }
    }
}

/// A queue or topic by name. The name may hold wildcards, and several names separated by commas.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// Queue or topic, and whether temporary.
    pub kind: DestinationKind,
    /// The name. Java clients throw when it is missing or empty, so never send such a one.
    pub name: Option<WireString>,
}

impl Destination {
    /// A destination of this kind and name.
    pub fn new(kind: DestinationKind, name: impl Into<WireString>) -> Self {
        Destination {
            kind,
            name: Some(name.into()),
        }
    }

    /// A queue.
    pub fn queue(name: impl Into<WireString>) -> Self {
        Self::new(DestinationKind::Queue, name)
    }

    /// A topic.
    pub fn topic(name: impl Into<WireString>) -> Self {
        Self::new(DestinationKind::Topic, name)
    }

    /// The name when it is there and plain UTF-8, else `""`.
    #[must_use]
    pub fn name_str(&self) -> &str {
        self.name
            .as_ref()
            .and_then(WireString::as_str)
            .unwrap_or_default()
    }

    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Destination {
            kind: self.kind,
            name: self.name.as_ref().map(WireString::detached),
        }
    }
}

/// The text form with its kind, like `queue://ORDERS`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.prefix())?;
        self.name.as_ref().map_or(Ok(()), |name| name.fmt(f))
    }
}

impl Object for Destination {
    const EXPECTED: &'static str = "a destination (100 to 103)";

    fn read_object(code: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        let kind =
            DestinationKind::from_code(code).ok_or_else(|| Self::unexpected(code, reader))?;
        let name = Wire::read(reader).map_err(|e| e.within("Destination", "name"))?;
        Ok(Destination { kind, name })
    }

    fn code(&self) -> u8 {
        self.kind.code()
    }

    fn write_object(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        self.name
            .write(writer)
            .map_err(|e| e.within("Destination", "name"))
    }
}

data_type! {
    /// Adds or removes a destination; clients send it for temporary ones.
    pub struct DestinationInfo = 8 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The connection that a temporary destination belongs to.
        connection_id: Option<ConnectionId>, since 1;
        /// The destination.
        destination: Option<Destination>, since 1;
        /// [`DestinationInfo::ADD`] or [`DestinationInfo::REMOVE`].
        operation_type: i8, since 1;
        /// Milliseconds to wait for the destination to become idle before it is removed.
        timeout: i64, since 1;
        /// Brokers that the command came through; empty from clients.
        broker_path: ObjectArray<BrokerId>, since 1;
    }
}

impl DestinationInfo {
    /// The [`operation_type`](Self::operation_type) that adds.
    pub const ADD: i8 = 0;
    /// The [`operation_type`](Self::operation_type) that removes.
    pub const REMOVE: i8 = 1;
}
