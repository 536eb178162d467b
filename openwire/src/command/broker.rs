//! What brokers tell about themselves, and what only brokers say to each other.

use super::{BrokerId, ConsumerInfo, ObjectArray};
use crate::codec::data_type;
use crate::string::WireString;

data_type! {
    /// The broker's introduction, sent right after its `WireFormatInfo`.
    pub struct BrokerInfo = 2 {
        /// The command's number, 0 from a broker.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The broker's id.
        broker_id: Option<BrokerId>, since 1;
        /// Where it can be reached.
        broker_url: Option<WireString>, since 1;
        /// Other brokers of its network; leave it out.
        peer_broker_infos: ObjectArray<Box<BrokerInfo>>, since 1;
        /// The broker's name.
        broker_name: Option<WireString>, since 1;
        /// Obsolete.
        slave_broker: bool, since 1;
        /// Obsolete.
        master_broker: bool, since 1;
        /// True switches off optimised acknowledgement in the client.
        fault_tolerant_configuration: bool, since 1;
        /// A network connection that is used in both directions.
        duplex_connection: bool, since 2;
        /// Whether the sender is a network bridge.
        network_connection: bool, since 2;
        /// A number of duplex network bridges; it is no [`ConnectionId`](crate::ConnectionId).
        connection_id: i64, since 2;
        /// Where blobs are to be uploaded.
        broker_upload_url: Option<WireString>, since 3;
        /// Settings of a network bridge as Java properties text.
        network_properties: Option<WireString>, since 3;
    }
}

data_type! {
    /// Durable subscriptions of another broker, between brokers only.
    pub struct BrokerSubscriptionInfo = 92 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The broker that has them.
        broker_id: Option<BrokerId>, since 12;
        /// That broker's name.
        broker_name: Option<WireString>, since 12;
        /// The subscriptions.
        subscription_infos: ObjectArray<Box<ConsumerInfo>>, since 12;
    }
}

data_type! {
    /// Which messages a network bridge lets through, between brokers only.
    pub struct NetworkBridgeFilter = 91 {
        /// How many brokers a message may pass; replaced by the two below.
        network_ttl: i32, since 1 until 9;
        /// The broker at the other end.
        network_broker_id: Option<BrokerId>, since 1;
        /// How many brokers a message may pass.
        message_ttl: i32, since 10;
        /// How many brokers a subscription may pass.
        consumer_ttl: i32, since 10;
    }
}

data_type! {
    /// What a discovery agent found; never on a client's connection.
    pub struct DiscoveryEvent = 40 {
        /// The address found.
        service_name: Option<WireString>, since 1;
        /// The broker's name.
        broker_name: Option<WireString>, since 1;
    }
}
