//! Producers and their windows.

use super::{BrokerId, Destination, ObjectArray, ProducerId};
use crate::codec::data_type;

data_type! {
    /// Opens a producer.
    pub struct ProducerInfo = 6 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The producer's id, chosen by the client.
        producer_id: Option<ProducerId>, since 1;
        /// Where it sends to; empty when each message says so itself.
        destination: Option<Destination>, since 1;
        /// Brokers that the command came through; empty from clients.
        broker_path: ObjectArray<BrokerId>, since 1;
        /// Ignored.
        dispatch_async: bool, since 2;
        /// How many bytes may be unconfirmed; 0 means that no [`ProducerAck`] is wanted.
        window_size: i32, since 3;
    }
}

data_type! {
    /// Gives a producer back a part of its window.
    pub struct ProducerAck = 19 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The producer.
        producer_id: Option<ProducerId>, since 3;
        /// Bytes given back: [`Message::window_size`](crate::Message::window_size) of a message.
        size: i32, since 3;
    }
}
