//! Messages on their way to consumers, and the acknowledgements that come back.

use super::{ConsumerId, Destination, Message, MessageId, Throwable, TransactionId};
use crate::codec::data_type;
use crate::string::WireString;

data_type! {
    /// Asks for one message, from a consumer without prefetch. The answer is a
    /// [`MessageDispatch`], not a response.
    pub struct MessagePull = 20 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back as well.
        response_required: bool, since 1;
        /// The consumer.
        consumer_id: Option<ConsumerId>, since 2;
        /// Where it consumes from.
        destination: Option<Destination>, since 2;
        /// Milliseconds to wait for a message before a dispatch without one is sent; -1: answer at
        /// once; 0: wait for ever.
        timeout: i64, since 2;
        /// Unused.
        correlation_id: Option<WireString>, since 3;
        /// Unused.
        message_id: Option<MessageId>, since 3;
    }
}

data_type! {
    /// A message for a consumer. Without a message it is the end of a browse, or of a pull's wait.
    /// Brokers write it with [`encode_dispatch`](crate::encode_dispatch).
    pub struct MessageDispatch = 21 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The consumer.
        consumer_id: Option<ConsumerId>, since 1;
        /// The destination without wildcards; acknowledgements repeat it.
        destination: Option<Destination>, since 1;
        /// The message.
        message: Option<Box<Message>>, since 1;
        /// How often it was delivered before; the client takes it over into the message.
        redelivery_counter: i32, since 1;
    }
}

data_type! {
    /// Acknowledges a range of messages, in the order they were dispatched to the consumer.
    pub struct MessageAck = 22 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The destination as dispatched.
        destination: Option<Destination>, since 1;
        /// The transaction it belongs to.
        transaction_id: Option<TransactionId>, since 1;
        /// The consumer.
        consumer_id: Option<ConsumerId>, since 1;
        /// The number of the kind, see [`MessageAck::kind`].
        ack_type: i8, since 1;
        /// The first message; empty means from the oldest unacknowledged one on.
        first_message_id: Option<MessageId>, since 1;
        /// The last message.
        last_message_id: Option<MessageId>, since 1;
        /// How many messages there are from first to last.
        message_count: i32, since 1;
        /// Why the messages cannot be consumed; only with [`AckKind::Poison`].
        poison_cause: Option<Throwable>, since 7;
    }
}

impl MessageAck {
    /// The kind, if its number is a known one.
    #[must_use]
    pub fn kind(&self) -> Option<AckKind> {
        AckKind::from_number(self.ack_type)
    }
}

/// What a [`MessageAck`] says about its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum AckKind {
    /// No acknowledgement: the application has them in hand, so the window may be widened.
    Delivered = 0,
    /// They cannot be consumed: to the dead letter queue.
    Poison = 1,
    /// Consumed: remove the whole range.
    Standard = 2,
    /// The client delivers them again by itself; still outstanding.
    Redelivered = 3,
    /// Consumed: remove the last message only.
    Individual = 4,
    /// Skipped by a durable subscription; only inside a broker.
    Unmatched = 5,
    /// The client found them expired.
    Expired = 6,
}

impl AckKind {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        Some(match number {
            0 => AckKind::Delivered,
            1 => AckKind::Poison,
            2 => AckKind::Standard,
            3 => AckKind::Redelivered,
            4 => AckKind::Individual,
            5 => AckKind::Unmatched,
            6 => AckKind::Expired,
            _ => return None,
        })
    }
}

data_type! {
    /// Tells another broker that a message was dispatched; never on a client's connection.
    pub struct MessageDispatchNotification = 90 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The consumer.
        consumer_id: Option<ConsumerId>, since 1;
        /// The destination.
        destination: Option<Destination>, since 1;
        /// The running number of the dispatch.
        delivery_sequence_id: i64, since 1;
        /// The message.
        message_id: Option<MessageId>, since 1;
    }
}
