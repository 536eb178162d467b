//! Every data type of OpenWire, one struct each, and the enum of all of them. A file per family;
//! each type is a field table that says which versions have which field.

mod broker;
mod connection;
mod consumer;
mod destination;
mod dispatch;
mod id;
mod journal;
mod message;
mod producer;
mod response;
mod throwable;
mod transaction;

pub use self::broker::{BrokerInfo, BrokerSubscriptionInfo, DiscoveryEvent, NetworkBridgeFilter};
pub use self::connection::{
    ConnectionControl, ConnectionError, ConnectionInfo, ControlCommand, FlushCommand,
    KeepAliveInfo, LastPartialCommand, PartialCommand, RemoveInfo, ReplayCommand, SessionInfo,
    ShutdownInfo, WireFormatInfo,
};
pub use self::consumer::{ConsumerControl, ConsumerInfo, RemoveSubscriptionInfo, SubscriptionInfo};
pub use self::destination::{Destination, DestinationInfo, DestinationKind};
pub use self::dispatch::{
    AckKind, MessageAck, MessageDispatch, MessageDispatchNotification, MessagePull,
};
pub use self::id::{
    BrokerId, ConnectionId, ConsumerId, MessageId, ParseIdError, ProducerId, SessionId,
};
pub use self::journal::{JournalQueueAck, JournalTopicAck, JournalTrace, JournalTransaction};
pub use self::message::{Message, MessageKind};
pub use self::producer::{ProducerAck, ProducerInfo};
pub use self::response::{
    DataArrayResponse, DataResponse, ExceptionResponse, IntegerResponse, Response,
};
pub use self::throwable::{StackFrame, Throwable};
pub use self::transaction::{
    LocalTransactionId, TransactionId, TransactionInfo, TransactionStep, XaTransactionId,
};

use crate::codec::{Object, Reader, Writer};
use crate::error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};

/// An array of objects: the array may be missing, and so may each of its elements.
pub type ObjectArray<T> = Option<Vec<Option<T>>>;

/// Declares the enum of all data types from the list of their codes.
macro_rules! commands {
    (
        header {
            $($header_code:literal since $header_since:literal
                $header:ident($($header_type:tt)+);)*
        }
        bare {
            $($bare_code:literal since $bare_since:literal
                $bare:ident($($bare_type:tt)+);)*
        }
    ) => {
        /// Any data type: what a frame holds, and what stands where a field may hold any object.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "each variant is documented at the type in it")]
        pub enum Command {
            /// A frame that says nothing.
            Null,
            /// A message of any of the seven kinds.
            Message(Box<Message>),
            /// A queue or topic.
            Destination(Destination),
            $($header($($header_type)+),)*
            $($bare($($bare_type)+),)*
        }

        impl Command {
            /// The name of the type, for logs.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    Command::Null => "null command",
                    Command::Message(message) => message.kind.name(),
                    Command::Destination(_) => "Destination",
                    $(Command::$header(_) => stringify!($header),)*
                    $(Command::$bare(_) => stringify!($bare),)*
                }
            }

            /// The type code on the wire.
            #[must_use]
            pub fn code(&self) -> u8 {
                match self {
                    Command::Null => Self::NULL_CODE,
                    Command::Message(object) => object.code(),
                    Command::Destination(object) => object.code(),
                    $(Command::$header(_) => $header_code,)*
                    $(Command::$bare(_) => $bare_code,)*
                }
            }

            /// The command's number and whether a response to it is required; `None` for types
            /// without a command header.
            #[must_use]
            pub fn header(&self) -> Option<(i32, bool)> {
                match self {
                    Command::Message(c) => Some((c.command_id, c.response_required)),
                    $(Command::$header(c) => Some((c.command_id, c.response_required)),)*
                    _ => None,
                }
            }

            /// Sets the command's number and whether a response is required; nothing happens to
            /// types without a command header.
            pub fn set_header(&mut self, command_id: i32, response_required: bool) {
                match self {
                    Command::Message(c) => {
                        c.command_id = command_id;
                        c.response_required = response_required;
                    }
                    $(Command::$header(c) => {
                        c.command_id = command_id;
                        c.response_required = response_required;
                    })*
                    _ => {}
                }
            }
        }

        impl Object for Command {
            const EXPECTED: &'static str = "any type";

            fn read_object(code: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
                match code {
                    code if Message::is_code(code) => {
                        Object::read_object(code, reader).map(Command::Message)
                    }
                    code if DestinationKind::from_code(code).is_some() => {
                        Object::read_object(code, reader).map(Command::Destination)
                    }
                    $($header_code => Object::read_object(code, reader).map(Command::$header),)*
                    $($bare_code => Object::read_object(code, reader).map(Command::$bare),)*
                    _ => Err(reader.error_before(1, DecodeErrorKind::UnknownType(code))),
                }
            }

            fn code(&self) -> u8 {
                Command::code(self)
            }

            fn write_object(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                match self {
                    Command::Null => Err(EncodeError::new(EncodeErrorKind::NestedNull)),
                    Command::Message(object) => object.write_object(writer),
                    Command::Destination(object) => object.write_object(writer),
                    $(Command::$header(object) => object.write_object(writer),)*
                    $(Command::$bare(object) => object.write_object(writer),)*
                }
            }
        }

        $(impl From<$header> for Command {
            fn from(object: $header) -> Self {
                Command::$header(object.into())
            }
        })*

        $(impl From<$bare> for Command {
            fn from(object: $bare) -> Self {
                Command::$bare(object.into())
            }
        })*

        /// The first version that has a type; `None` when nobody assigned the code.
        pub(crate) fn first_version(code: u8) -> Option<u8> {
            match code {
                29 => Some(3), // the blob message
                code if Message::is_code(code) => Some(1),
                code if DestinationKind::from_code(code).is_some() => Some(1),
                $($header_code => Some($header_since),)*
                $($bare_code => Some($bare_since),)*
                _ => None,
            }
        }
    };
}

commands! {
    header {
        2 since 1 BrokerInfo(Box<BrokerInfo>);
        3 since 1 ConnectionInfo(Box<ConnectionInfo>);
        4 since 1 SessionInfo(SessionInfo);
        5 since 1 ConsumerInfo(Box<ConsumerInfo>);
        6 since 1 ProducerInfo(Box<ProducerInfo>);
        7 since 1 TransactionInfo(Box<TransactionInfo>);
        8 since 1 DestinationInfo(Box<DestinationInfo>);
        9 since 1 RemoveSubscriptionInfo(Box<RemoveSubscriptionInfo>);
        10 since 1 KeepAliveInfo(KeepAliveInfo);
        11 since 1 ShutdownInfo(ShutdownInfo);
        12 since 1 RemoveInfo(RemoveInfo);
        14 since 1 ControlCommand(ControlCommand);
        15 since 1 FlushCommand(FlushCommand);
        16 since 1 ConnectionError(Box<ConnectionError>);
        17 since 1 ConsumerControl(Box<ConsumerControl>);
        18 since 1 ConnectionControl(Box<ConnectionControl>);
        19 since 3 ProducerAck(ProducerAck);
        20 since 2 MessagePull(Box<MessagePull>);
        21 since 1 MessageDispatch(Box<MessageDispatch>);
        22 since 1 MessageAck(Box<MessageAck>);
        30 since 1 Response(Response);
        31 since 1 ExceptionResponse(Box<ExceptionResponse>);
        32 since 1 DataResponse(DataResponse);
        33 since 1 DataArrayResponse(DataArrayResponse);
        34 since 1 IntegerResponse(IntegerResponse);
        65 since 1 ReplayCommand(ReplayCommand);
        90 since 1 MessageDispatchNotification(Box<MessageDispatchNotification>);
        92 since 12 BrokerSubscriptionInfo(Box<BrokerSubscriptionInfo>);
    }
    bare {
        1 since 1 WireFormatInfo(WireFormatInfo);
        40 since 1 DiscoveryEvent(DiscoveryEvent);
        50 since 1 JournalTopicAck(Box<JournalTopicAck>);
        52 since 1 JournalQueueAck(JournalQueueAck);
        53 since 1 JournalTrace(JournalTrace);
        54 since 1 JournalTransaction(Box<JournalTransaction>);
        55 since 1 SubscriptionInfo(Box<SubscriptionInfo>);
        60 since 1 PartialCommand(PartialCommand);
        61 since 1 LastPartialCommand(LastPartialCommand);
        91 since 1 NetworkBridgeFilter(NetworkBridgeFilter);
        110 since 1 MessageId(Box<MessageId>);
        111 since 1 LocalTransactionId(LocalTransactionId);
        112 since 1 XaTransactionId(XaTransactionId);
        120 since 1 ConnectionId(ConnectionId);
        121 since 1 SessionId(SessionId);
        122 since 1 ConsumerId(ConsumerId);
        123 since 1 ProducerId(ProducerId);
        124 since 1 BrokerId(BrokerId);
    }
}

impl Command {
    /// The type code of the null command.
    pub(crate) const NULL_CODE: u8 = 0;
}

impl From<Message> for Command {
    fn from(message: Message) -> Self {
        Command::Message(Box::new(message))
    }
}

impl From<Destination> for Command {
    fn from(destination: Destination) -> Self {
        Command::Destination(destination)
    }
}

impl From<TransactionId> for Command {
    fn from(id: TransactionId) -> Self {
        match id {
            TransactionId::Local(id) => Command::LocalTransactionId(id),
            TransactionId::Xa(id) => Command::XaTransactionId(id),
        }
    }
}
