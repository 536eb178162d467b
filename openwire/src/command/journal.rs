//! Types of an old store format of ActiveMQ. They have codes and layouts, so they are decoded, but
//! no client sends them.

use super::{Destination, MessageAck, MessageId, TransactionId};
use crate::codec::data_type;
use crate::string::WireString;

data_type! {
    /// An acknowledgement of a durable subscription.
    pub struct JournalTopicAck = 50 {
        /// The topic.
        destination: Option<Destination>, since 1;
        /// The message.
        message_id: Option<MessageId>, since 1;
        /// The message's number in the store.
        message_sequence_id: i64, since 1;
        /// The subscription's name.
        subscription_name: Option<WireString>, since 1;
        /// The client id.
        client_id: Option<WireString>, since 1;
        /// The transaction it belongs to.
        transaction_id: Option<TransactionId>, since 1;
    }
}

data_type! {
    /// An acknowledgement of a queue's message.
    pub struct JournalQueueAck = 52 {
        /// The queue.
        destination: Option<Destination>, since 1;
        /// The acknowledgement.
        message_ack: Option<Box<MessageAck>>, since 1;
    }
}

data_type! {
    /// A remark.
    pub struct JournalTrace = 53 {
        /// The text.
        message: Option<WireString>, since 1;
    }
}

data_type! {
    /// A step of a transaction.
    pub struct JournalTransaction = 54 {
        /// The transaction.
        transaction_id: Option<TransactionId>, since 1;
        /// The number of the step.
        kind: i8, since 1;
        /// Whether it had been prepared.
        was_prepared: bool, since 1;
    }
}
