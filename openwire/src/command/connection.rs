//! The life of a connection: opening, control, keeping alive, removing what it made, closing.

use bytes::Bytes;

use super::{BrokerId, Command, ConnectionId, ObjectArray, SessionId, Throwable};
use crate::codec::data_type;
use crate::string::{Secret, WireString};

data_type! {
    /// The layout of the first frame in each direction, whose content is in
    /// [`WireFormat`](crate::WireFormat). It has no command header.
    pub struct WireFormatInfo = 1 {
        /// [`WireFormatInfo::MAGIC`], or this is no OpenWire.
        magic: [u8; 8], since 1 default WireFormatInfo::MAGIC;
        /// The highest version that the sender speaks.
        version: i32, since 1;
        /// The properties as a primitive map.
        marshalled_properties: Option<Bytes>, since 1;
    }
}

impl WireFormatInfo {
    /// The first eight bytes of every OpenWire conversation, behind size and type.
    pub const MAGIC: [u8; 8] = *b"ActiveMQ";
}

data_type! {
    /// A client's first command: who it is.
    pub struct ConnectionInfo = 3 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The connection's id, chosen by the client.
        connection_id: Option<ConnectionId>, since 1;
        /// The client id, which may be used by one connection at a time.
        client_id: Option<WireString>, since 1;
        /// The password.
        password: Option<Secret>, since 1;
        /// The user.
        user_name: Option<WireString>, since 1;
        /// Brokers that the command came through; empty from clients.
        broker_path: ObjectArray<BrokerId>, since 1;
        /// Obsolete.
        broker_master_connector: bool, since 1;
        /// Whether the broker may send [`ConnectionControl`].
        manageable: bool, since 1;
        /// Whether the client decides on the connection's life; true for every real client.
        client_master: bool, since 2 default true;
        /// Whether the client speaks through a `failover:` URI.
        fault_tolerant: bool, since 6;
        /// Whether a failover client announces a connection again that it had before. Persistent
        /// messages may then be repeated and have to be checked for duplicates.
        failover_reconnect: bool, since 6;
        /// The client's address; filled in by the broker.
        client_ip: Option<WireString>, since 8;
    }
}

data_type! {
    /// Opens a session. The session -1 is used without it.
    pub struct SessionInfo = 4 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The session's id, chosen by the client.
        session_id: Option<SessionId>, since 1;
    }
}

data_type! {
    /// Says that the sender is alive. It is never answered by a response, but by another one when
    /// a response is required.
    pub struct KeepAliveInfo = 10 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether another `KeepAliveInfo` must come back.
        response_required: bool, since 1;
    }
}

data_type! {
    /// The last command before the sender closes the socket.
    pub struct ShutdownInfo = 11 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
    }
}

data_type! {
    /// Removes a connection, session, consumer or producer and all below it.
    pub struct RemoveInfo = 12 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// What to remove: a [`Command::ConnectionId`], [`Command::SessionId`],
        /// [`Command::ConsumerId`] or [`Command::ProducerId`].
        object_id: Option<Box<Command>>, since 1;
        /// The broker sequence of the last message that the application saw;
        /// [`RemoveInfo::UNKNOWN`] or [`RemoveInfo::NONE_DELIVERED`].
        last_delivered_sequence_id: i64, since 5 default RemoveInfo::UNKNOWN;
    }
}

impl RemoveInfo {
    /// Nobody knows what was seen: every unacknowledged message counts as redelivered.
    pub const UNKNOWN: i64 = -2;
    /// The application saw no message.
    pub const NONE_DELIVERED: i64 = -1;

    /// Removes `object`, one of the four kinds of id.
    pub fn of(object: impl Into<Command>) -> Self {
        RemoveInfo {
            object_id: Some(Box::new(object.into())),
            ..RemoveInfo::default()
        }
    }
}

data_type! {
    /// A text command that no broker obeys any more; very old ones stopped on it.
    pub struct ControlCommand = 14 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The text.
        command: Option<WireString>, since 1;
    }
}

data_type! {
    /// Has no effect but its response.
    pub struct FlushCommand = 15 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
    }
}

data_type! {
    /// An error that answers no request: a command failed that asked for no response. The
    /// connection stays.
    pub struct ConnectionError = 16 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// What went wrong.
        exception: Option<Throwable>, since 1;
        /// The connection concerned.
        connection_id: Option<ConnectionId>, since 1;
    }
}

data_type! {
    /// From the broker: other brokers to use. From a failover client: that it is one.
    pub struct ConnectionControl = 18 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// Ignored by clients.
        close: bool, since 1;
        /// Ignored by clients.
        exit: bool, since 1;
        /// From the broker: no optimised acknowledgement. From the client: it is fault tolerant.
        fault_tolerant: bool, since 1;
        /// Ignored by clients.
        resume: bool, since 1;
        /// Ignored by clients.
        suspend: bool, since 1;
        /// URIs separated by commas, which a failover client adds to its list.
        connected_brokers: Option<WireString>, since 6;
        /// A URI to move to now.
        reconnect_to: Option<WireString>, since 6;
        /// Whether to move to any broker of the list now.
        rebalance_connection: bool, since 6;
        /// Unused.
        token: Option<Bytes>, since 8;
    }
}

data_type! {
    /// A piece of a command too large for a datagram; never on TCP.
    pub struct PartialCommand = 60 {
        /// The command's number.
        command_id: i32, since 1;
        /// The piece.
        data: Option<Bytes>, since 1;
    }
}

data_type! {
    /// The last piece of a command too large for a datagram; never on TCP.
    pub struct LastPartialCommand = 61 {
        /// The command's number.
        command_id: i32, since 1;
        /// The piece.
        data: Option<Bytes>, since 1;
    }
}

data_type! {
    /// Asks for lost datagrams again; never on TCP.
    pub struct ReplayCommand = 65 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The first number wanted.
        first_nak_number: i32, since 1;
        /// The last number wanted.
        last_nak_number: i32, since 1;
    }
}
