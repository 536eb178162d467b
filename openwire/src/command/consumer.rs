//! Consumers: opening, control and what the store remembers of durable ones.

use super::{BrokerId, ConnectionId, ConsumerId, Destination, NetworkBridgeFilter, ObjectArray};
use crate::codec::data_type;
use crate::string::WireString;

data_type! {
    /// Opens a consumer.
    pub struct ConsumerInfo = 5 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The consumer's id, chosen by the client.
        consumer_id: Option<ConsumerId>, since 1;
        /// Whether it only looks at a queue and takes nothing.
        browser: bool, since 1;
        /// Where to consume from; may hold wildcards and several names.
        destination: Option<Destination>, since 1;
        /// How many unacknowledged messages it may hold; 0 means that it pulls each one.
        prefetch_size: i32, since 1;
        /// For topics: how many messages to hold beyond the prefetch; 0 when unset.
        maximum_pending_message_limit: i32, since 1;
        /// Ignored.
        dispatch_async: bool, since 1;
        /// Which messages it wants.
        selector: Option<WireString>, since 1;
        /// The client id, repeated by newer clients.
        client_id: Option<WireString>, since 10;
        /// The name of a durable subscription; with the connection's client id it is the key.
        subscription_name: Option<WireString>, since 1;
        /// Whether messages of its own connection are left out.
        no_local: bool, since 1;
        /// Whether it wants to be the only one served.
        exclusive: bool, since 1;
        /// Whether it wants messages sent before it came.
        retroactive: bool, since 1;
        /// Consumers of higher priority are served first.
        priority: i8, since 1;
        /// Brokers that the command came through; empty from clients.
        broker_path: ObjectArray<BrokerId>, since 1;
        /// Between brokers only.
        additional_predicate: Option<NetworkBridgeFilter>, since 1;
        /// Whether a network bridge consumes.
        network_subscription: bool, since 1;
        /// Whether acknowledgements will be gathered.
        optimized_acknowledge: bool, since 1;
        /// Whether acknowledgements will name single messages only.
        no_range_acks: bool, since 1;
        /// Consumers on other brokers that this one stands for.
        network_consumer_path: ObjectArray<ConsumerId>, since 4;
    }
}

data_type! {
    /// From the client: a new prefetch. From the broker: the same, or that the consumer is closed.
    pub struct ConsumerControl = 17 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// Where the consumer consumes from.
        destination: Option<Destination>, since 6;
        /// Whether the consumer is closed.
        close: bool, since 1;
        /// The consumer.
        consumer_id: Option<ConsumerId>, since 1;
        /// The new prefetch.
        prefetch: i32, since 1;
        /// Whether to drop what is held for it.
        flush: bool, since 2;
        /// Whether to start dispatching.
        start: bool, since 2;
        /// Whether to stop dispatching.
        stop: bool, since 2;
    }
}

data_type! {
    /// A durable subscription as a store remembers it; never sent by clients.
    pub struct SubscriptionInfo = 55 {
        /// The client id.
        client_id: Option<WireString>, since 1;
        /// The topic.
        destination: Option<Destination>, since 1;
        /// Which messages it wants.
        selector: Option<WireString>, since 1;
        /// Its name.
        subscription_name: Option<WireString>, since 1;
        /// The topic as it was subscribed to, with wildcards.
        subscribed_destination: Option<Destination>, since 3;
        /// Whether messages of its own connection are left out.
        no_local: bool, since 11;
    }
}

data_type! {
    /// Deletes a durable subscription.
    pub struct RemoveSubscriptionInfo = 9 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The connection that asks.
        connection_id: Option<ConnectionId>, since 1;
        /// The subscription's name.
        subscription_name: Option<WireString>, since 1;
        /// The client id, with the name the key.
        client_id: Option<WireString>, since 1;
    }
}
