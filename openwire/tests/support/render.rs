//! Shows decoded commands in the notation of the golden files: the wire's own field names, in the
//! versions that have them. The list below was made from the field reference and not from the
//! tables of the crate, so that each checks the other.

use bytes::Bytes;
use openwire::*;
use serde_json::{Map, Value, json};

use super::hex;

/// A value in the notation of the golden files, as a peer of this version would have sent it.
pub(crate) trait Render {
    fn render(&self, version: u8) -> Value;
}

macro_rules! render {
    ($($type:ty as $name:literal {
        $($key:literal: $field:ident, $since:literal to $until:literal;)*
    })*) => {$(
        impl Render for $type {
            fn render(&self, version: u8) -> Value {
                let mut object = Map::new();
                object.insert("@type".to_owned(), json!($name));
                $(if ($since..=$until).contains(&version) {
                    object.insert($key.to_owned(), self.$field.render(version));
                })*
                Value::Object(object)
            }
        }
    )*};
}

macro_rules! render_numbers {
    ($($type:ty),*) => {$(
        impl Render for $type {
            fn render(&self, _: u8) -> Value {
                json!(self)
            }
        }
    )*};
}

render_numbers!(bool, i8, i32, i64);

impl<T: Render> Render for Option<T> {
    fn render(&self, version: u8) -> Value {
        self.as_ref()
            .map_or(Value::Null, |value| value.render(version))
    }
}

impl<T: Render> Render for Vec<T> {
    fn render(&self, version: u8) -> Value {
        self.iter().map(|value| value.render(version)).collect()
    }
}

impl<T: Render> Render for Box<T> {
    fn render(&self, version: u8) -> Value {
        (**self).render(version)
    }
}

impl Render for WireString {
    fn render(&self, _: u8) -> Value {
        json!(self.to_string_lossy())
    }
}

impl Render for Secret {
    fn render(&self, version: u8) -> Value {
        self.expose().render(version)
    }
}

impl Render for Bytes {
    fn render(&self, _: u8) -> Value {
        json!(hex(self))
    }
}

impl<const N: usize> Render for [u8; N] {
    fn render(&self, _: u8) -> Value {
        json!(hex(self))
    }
}

/// The golden files have stacks only where stack traces were on.
impl Render for Throwable {
    fn render(&self, version: u8) -> Value {
        let mut object = Map::new();
        object.insert("class".to_owned(), self.class.render(version));
        object.insert("message".to_owned(), self.message.render(version));
        if !self.stack.is_empty() {
            let line = |f: &StackFrame| {
                json!([
                    f.class.render(version),
                    f.method.render(version),
                    f.file.render(version),
                    f.line
                ])
            };
            object.insert("stack".to_owned(), self.stack.iter().map(line).collect());
            object.insert("cause".to_owned(), self.cause.render(version));
        }
        Value::Object(object)
    }
}

impl Render for Destination {
    fn render(&self, version: u8) -> Value {
        let name = match self.kind {
            DestinationKind::Queue => "ActiveMQQueue",
            DestinationKind::Topic => "ActiveMQTopic",
            DestinationKind::TempQueue => "ActiveMQTempQueue",
            DestinationKind::TempTopic => "ActiveMQTempTopic",
        };
        json!({"@type": name, "physicalName": self.name.render(version)})
    }
}

impl Render for TransactionId {
    fn render(&self, version: u8) -> Value {
        match self {
            TransactionId::Local(id) => id.render(version),
            TransactionId::Xa(id) => id.render(version),
        }
    }
}

/// The fields that all messages share.
struct Shared<'a>(&'a Message);

impl std::ops::Deref for Shared<'_> {
    type Target = Message;

    fn deref(&self) -> &Message {
        self.0
    }
}

impl Render for Message {
    fn render(&self, version: u8) -> Value {
        let Value::Object(mut object) = Shared(self).render(version) else {
            unreachable!("a message renders as an object");
        };
        let name = match &self.kind {
            MessageKind::Plain => "ActiveMQMessage",
            MessageKind::Bytes => "ActiveMQBytesMessage",
            MessageKind::Map => "ActiveMQMapMessage",
            MessageKind::Object => "ActiveMQObjectMessage",
            MessageKind::Stream => "ActiveMQStreamMessage",
            MessageKind::Text => "ActiveMQTextMessage",
            MessageKind::Blob {
                remote_blob_url,
                mime_type,
                deleted_by_broker,
            } => {
                object.insert("remoteBlobUrl".to_owned(), remote_blob_url.render(version));
                object.insert("mimeType".to_owned(), mime_type.render(version));
                object.insert("deletedByBroker".to_owned(), json!(deleted_by_broker));
                "ActiveMQBlobMessage"
            }
        };
        object.insert("@type".to_owned(), json!(name));
        Value::Object(object)
    }
}

render! {
    WireFormatInfo as "WireFormatInfo" {
        "magic": magic, 1 to 12;
        "version": version, 1 to 12;
        "marshalledProperties": marshalled_properties, 1 to 12;
    }
    BrokerInfo as "BrokerInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "brokerId": broker_id, 1 to 12;
        "brokerURL": broker_url, 1 to 12;
        "peerBrokerInfos": peer_broker_infos, 1 to 12;
        "brokerName": broker_name, 1 to 12;
        "slaveBroker": slave_broker, 1 to 12;
        "masterBroker": master_broker, 1 to 12;
        "faultTolerantConfiguration": fault_tolerant_configuration, 1 to 12;
        "duplexConnection": duplex_connection, 2 to 12;
        "networkConnection": network_connection, 2 to 12;
        "connectionId": connection_id, 2 to 12;
        "brokerUploadUrl": broker_upload_url, 3 to 12;
        "networkProperties": network_properties, 3 to 12;
    }
    ConnectionInfo as "ConnectionInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "connectionId": connection_id, 1 to 12;
        "clientId": client_id, 1 to 12;
        "password": password, 1 to 12;
        "userName": user_name, 1 to 12;
        "brokerPath": broker_path, 1 to 12;
        "brokerMasterConnector": broker_master_connector, 1 to 12;
        "manageable": manageable, 1 to 12;
        "clientMaster": client_master, 2 to 12;
        "faultTolerant": fault_tolerant, 6 to 12;
        "failoverReconnect": failover_reconnect, 6 to 12;
        "clientIp": client_ip, 8 to 12;
    }
    SessionInfo as "SessionInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "sessionId": session_id, 1 to 12;
    }
    ConsumerInfo as "ConsumerInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "consumerId": consumer_id, 1 to 12;
        "browser": browser, 1 to 12;
        "destination": destination, 1 to 12;
        "prefetchSize": prefetch_size, 1 to 12;
        "maximumPendingMessageLimit": maximum_pending_message_limit, 1 to 12;
        "dispatchAsync": dispatch_async, 1 to 12;
        "selector": selector, 1 to 12;
        "clientId": client_id, 10 to 12;
        "subscriptionName": subscription_name, 1 to 12;
        "noLocal": no_local, 1 to 12;
        "exclusive": exclusive, 1 to 12;
        "retroactive": retroactive, 1 to 12;
        "priority": priority, 1 to 12;
        "brokerPath": broker_path, 1 to 12;
        "additionalPredicate": additional_predicate, 1 to 12;
        "networkSubscription": network_subscription, 1 to 12;
        "optimizedAcknowledge": optimized_acknowledge, 1 to 12;
        "noRangeAcks": no_range_acks, 1 to 12;
        "networkConsumerPath": network_consumer_path, 4 to 12;
    }
    ProducerInfo as "ProducerInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "producerId": producer_id, 1 to 12;
        "destination": destination, 1 to 12;
        "brokerPath": broker_path, 1 to 12;
        "dispatchAsync": dispatch_async, 2 to 12;
        "windowSize": window_size, 3 to 12;
    }
    TransactionInfo as "TransactionInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "connectionId": connection_id, 1 to 12;
        "transactionId": transaction_id, 1 to 12;
        "type": kind, 1 to 12;
    }
    DestinationInfo as "DestinationInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "connectionId": connection_id, 1 to 12;
        "destination": destination, 1 to 12;
        "operationType": operation_type, 1 to 12;
        "timeout": timeout, 1 to 12;
        "brokerPath": broker_path, 1 to 12;
    }
    RemoveSubscriptionInfo as "RemoveSubscriptionInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "connectionId": connection_id, 1 to 12;
        "subscriptionName": subscription_name, 1 to 12;
        "clientId": client_id, 1 to 12;
    }
    KeepAliveInfo as "KeepAliveInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
    }
    ShutdownInfo as "ShutdownInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
    }
    RemoveInfo as "RemoveInfo" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "objectId": object_id, 1 to 12;
        "lastDeliveredSequenceId": last_delivered_sequence_id, 5 to 12;
    }
    ControlCommand as "ControlCommand" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "command": command, 1 to 12;
    }
    FlushCommand as "FlushCommand" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
    }
    ConnectionError as "ConnectionError" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "exception": exception, 1 to 12;
        "connectionId": connection_id, 1 to 12;
    }
    ConsumerControl as "ConsumerControl" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "destination": destination, 6 to 12;
        "close": close, 1 to 12;
        "consumerId": consumer_id, 1 to 12;
        "prefetch": prefetch, 1 to 12;
        "flush": flush, 2 to 12;
        "start": start, 2 to 12;
        "stop": stop, 2 to 12;
    }
    ConnectionControl as "ConnectionControl" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "close": close, 1 to 12;
        "exit": exit, 1 to 12;
        "faultTolerant": fault_tolerant, 1 to 12;
        "resume": resume, 1 to 12;
        "suspend": suspend, 1 to 12;
        "connectedBrokers": connected_brokers, 6 to 12;
        "reconnectTo": reconnect_to, 6 to 12;
        "rebalanceConnection": rebalance_connection, 6 to 12;
        "token": token, 8 to 12;
    }
    ProducerAck as "ProducerAck" {
        "commandId": command_id, 3 to 12;
        "responseRequired": response_required, 3 to 12;
        "producerId": producer_id, 3 to 12;
        "size": size, 3 to 12;
    }
    MessagePull as "MessagePull" {
        "commandId": command_id, 2 to 12;
        "responseRequired": response_required, 2 to 12;
        "consumerId": consumer_id, 2 to 12;
        "destination": destination, 2 to 12;
        "timeout": timeout, 2 to 12;
        "correlationId": correlation_id, 3 to 12;
        "messageId": message_id, 3 to 12;
    }
    MessageDispatch as "MessageDispatch" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "consumerId": consumer_id, 1 to 12;
        "destination": destination, 1 to 12;
        "message": message, 1 to 12;
        "redeliveryCounter": redelivery_counter, 1 to 12;
    }
    MessageAck as "MessageAck" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "destination": destination, 1 to 12;
        "transactionId": transaction_id, 1 to 12;
        "consumerId": consumer_id, 1 to 12;
        "ackType": ack_type, 1 to 12;
        "firstMessageId": first_message_id, 1 to 12;
        "lastMessageId": last_message_id, 1 to 12;
        "messageCount": message_count, 1 to 12;
        "poisonCause": poison_cause, 7 to 12;
    }
    Shared<'_> as "ActiveMQMessage" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "producerId": producer_id, 1 to 12;
        "destination": destination, 1 to 12;
        "transactionId": transaction_id, 1 to 12;
        "originalDestination": original_destination, 1 to 12;
        "messageId": message_id, 1 to 12;
        "originalTransactionId": original_transaction_id, 1 to 12;
        "groupID": group_id, 1 to 12;
        "groupSequence": group_sequence, 1 to 12;
        "correlationId": correlation_id, 1 to 12;
        "persistent": persistent, 1 to 12;
        "expiration": expiration, 1 to 12;
        "priority": priority, 1 to 12;
        "replyTo": reply_to, 1 to 12;
        "timestamp": timestamp, 1 to 12;
        "type": message_type, 1 to 12;
        "content": content, 1 to 12;
        "marshalledProperties": marshalled_properties, 1 to 12;
        "dataStructure": data_structure, 1 to 12;
        "targetConsumerId": target_consumer_id, 1 to 12;
        "compressed": compressed, 1 to 12;
        "redeliveryCounter": redelivery_counter, 1 to 12;
        "brokerPath": broker_path, 1 to 12;
        "arrival": arrival, 1 to 12;
        "userID": user_id, 1 to 12;
        "receivedByDFBridge": received_by_df_bridge, 1 to 12;
        "droppable": droppable, 2 to 12;
        "cluster": cluster, 3 to 12;
        "brokerInTime": broker_in_time, 3 to 12;
        "brokerOutTime": broker_out_time, 3 to 12;
        "jmsxGroupFirstForConsumer": jmsx_group_first_for_consumer, 10 to 12;
    }
    Response as "Response" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "correlationId": correlation_id, 1 to 12;
    }
    ExceptionResponse as "ExceptionResponse" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "correlationId": correlation_id, 1 to 12;
        "exception": exception, 1 to 12;
    }
    DataResponse as "DataResponse" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "correlationId": correlation_id, 1 to 12;
        "data": data, 1 to 12;
    }
    DataArrayResponse as "DataArrayResponse" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "correlationId": correlation_id, 1 to 12;
        "data": data, 1 to 12;
    }
    IntegerResponse as "IntegerResponse" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "correlationId": correlation_id, 1 to 12;
        "result": result, 1 to 12;
    }
    DiscoveryEvent as "DiscoveryEvent" {
        "serviceName": service_name, 1 to 12;
        "brokerName": broker_name, 1 to 12;
    }
    JournalTopicAck as "JournalTopicAck" {
        "destination": destination, 1 to 12;
        "messageId": message_id, 1 to 12;
        "messageSequenceId": message_sequence_id, 1 to 12;
        "subscriptionName": subscription_name, 1 to 12;
        "clientId": client_id, 1 to 12;
        "transactionId": transaction_id, 1 to 12;
    }
    JournalQueueAck as "JournalQueueAck" {
        "destination": destination, 1 to 12;
        "messageAck": message_ack, 1 to 12;
    }
    JournalTrace as "JournalTrace" {
        "message": message, 1 to 12;
    }
    JournalTransaction as "JournalTransaction" {
        "transactionId": transaction_id, 1 to 12;
        "type": kind, 1 to 12;
        "wasPrepared": was_prepared, 1 to 12;
    }
    SubscriptionInfo as "SubscriptionInfo" {
        "clientId": client_id, 1 to 12;
        "destination": destination, 1 to 12;
        "selector": selector, 1 to 12;
        "subscriptionName": subscription_name, 1 to 12;
        "subscribedDestination": subscribed_destination, 3 to 12;
        "noLocal": no_local, 11 to 12;
    }
    PartialCommand as "PartialCommand" {
        "commandId": command_id, 1 to 12;
        "data": data, 1 to 12;
    }
    LastPartialCommand as "LastPartialCommand" {
        "commandId": command_id, 1 to 12;
        "data": data, 1 to 12;
    }
    ReplayCommand as "ReplayCommand" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "firstNakNumber": first_nak_number, 1 to 12;
        "lastNakNumber": last_nak_number, 1 to 12;
    }
    MessageDispatchNotification as "MessageDispatchNotification" {
        "commandId": command_id, 1 to 12;
        "responseRequired": response_required, 1 to 12;
        "consumerId": consumer_id, 1 to 12;
        "destination": destination, 1 to 12;
        "deliverySequenceId": delivery_sequence_id, 1 to 12;
        "messageId": message_id, 1 to 12;
    }
    NetworkBridgeFilter as "NetworkBridgeFilter" {
        "networkTTL": network_ttl, 1 to 9;
        "networkBrokerId": network_broker_id, 1 to 12;
        "messageTTL": message_ttl, 10 to 12;
        "consumerTTL": consumer_ttl, 10 to 12;
    }
    BrokerSubscriptionInfo as "BrokerSubscriptionInfo" {
        "commandId": command_id, 12 to 12;
        "responseRequired": response_required, 12 to 12;
        "brokerId": broker_id, 12 to 12;
        "brokerName": broker_name, 12 to 12;
        "subscriptionInfos": subscription_infos, 12 to 12;
    }
    MessageId as "MessageId" {
        "textView": text_view, 10 to 12;
        "producerId": producer_id, 1 to 12;
        "producerSequenceId": producer_sequence_id, 1 to 12;
        "brokerSequenceId": broker_sequence_id, 1 to 12;
    }
    LocalTransactionId as "LocalTransactionId" {
        "value": value, 1 to 12;
        "connectionId": connection_id, 1 to 12;
    }
    XaTransactionId as "XATransactionId" {
        "formatId": format_id, 1 to 12;
        "globalTransactionId": global_transaction_id, 1 to 12;
        "branchQualifier": branch_qualifier, 1 to 12;
    }
    ConnectionId as "ConnectionId" {
        "value": value, 1 to 12;
    }
    SessionId as "SessionId" {
        "connectionId": connection_id, 1 to 12;
        "value": value, 1 to 12;
    }
    ConsumerId as "ConsumerId" {
        "connectionId": connection_id, 1 to 12;
        "sessionId": session_id, 1 to 12;
        "value": value, 1 to 12;
    }
    ProducerId as "ProducerId" {
        "connectionId": connection_id, 1 to 12;
        "value": value, 1 to 12;
        "sessionId": session_id, 1 to 12;
    }
    BrokerId as "BrokerId" {
        "value": value, 1 to 12;
    }
}

impl Render for Command {
    fn render(&self, version: u8) -> Value {
        match self {
            Command::Null => Value::Null,
            Command::Message(message) => message.render(version),
            Command::Destination(object) => object.render(version),
            Command::WireFormatInfo(object) => object.render(version),
            Command::BrokerInfo(object) => object.render(version),
            Command::ConnectionInfo(object) => object.render(version),
            Command::SessionInfo(object) => object.render(version),
            Command::ConsumerInfo(object) => object.render(version),
            Command::ProducerInfo(object) => object.render(version),
            Command::TransactionInfo(object) => object.render(version),
            Command::DestinationInfo(object) => object.render(version),
            Command::RemoveSubscriptionInfo(object) => object.render(version),
            Command::KeepAliveInfo(object) => object.render(version),
            Command::ShutdownInfo(object) => object.render(version),
            Command::RemoveInfo(object) => object.render(version),
            Command::ControlCommand(object) => object.render(version),
            Command::FlushCommand(object) => object.render(version),
            Command::ConnectionError(object) => object.render(version),
            Command::ConsumerControl(object) => object.render(version),
            Command::ConnectionControl(object) => object.render(version),
            Command::ProducerAck(object) => object.render(version),
            Command::MessagePull(object) => object.render(version),
            Command::MessageDispatch(object) => object.render(version),
            Command::MessageAck(object) => object.render(version),
            Command::Response(object) => object.render(version),
            Command::ExceptionResponse(object) => object.render(version),
            Command::DataResponse(object) => object.render(version),
            Command::DataArrayResponse(object) => object.render(version),
            Command::IntegerResponse(object) => object.render(version),
            Command::DiscoveryEvent(object) => object.render(version),
            Command::JournalTopicAck(object) => object.render(version),
            Command::JournalQueueAck(object) => object.render(version),
            Command::JournalTrace(object) => object.render(version),
            Command::JournalTransaction(object) => object.render(version),
            Command::SubscriptionInfo(object) => object.render(version),
            Command::PartialCommand(object) => object.render(version),
            Command::LastPartialCommand(object) => object.render(version),
            Command::ReplayCommand(object) => object.render(version),
            Command::MessageDispatchNotification(object) => object.render(version),
            Command::NetworkBridgeFilter(object) => object.render(version),
            Command::BrokerSubscriptionInfo(object) => object.render(version),
            Command::MessageId(object) => object.render(version),
            Command::LocalTransactionId(object) => object.render(version),
            Command::XaTransactionId(object) => object.render(version),
            Command::ConnectionId(object) => object.render(version),
            Command::SessionId(object) => object.render(version),
            Command::ConsumerId(object) => object.render(version),
            Command::ProducerId(object) => object.render(version),
            Command::BrokerId(object) => object.render(version),
            other => panic!("{} has no notation yet", other.name()),
        }
    }
}
