//! What a client has opened on its connection, and how its commands become operations of the broker.
//!
//! Here a connection has sessions, as OpenWire clients do; the broker knows only consumers and producers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openwire::{
    AckKind, Command, ConnectionId, ConsumerControl, ConsumerId, ConsumerInfo, DestinationInfo,
    Message, MessageAck, MessagePull, ProducerId, ProducerInfo, RemoveInfo, RemoveSubscriptionInfo,
    SessionId, SessionInfo, Version,
};

use super::error::Failure;
use super::transactions::named;
use crate::broker::{
    Acknowledgement, Connection, ConsumerRequest, ConsumerTag, LastDelivered, PullTimeout, Receipt,
    TransactionName,
};

/// The session of the client's own advisory consumer: it exists without being announced.
const OWN_SESSION: i64 = -1;

/// What is to be answered to a command that was carried out.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A plain response, now.
    Done,
    /// A plain response, once this is certain.
    Later(Receipt),
    /// This response, once that is certain.
    With(Receipt, Command),
    /// Nothing, even if it was asked for: the answer is on its way by itself.
    Silent,
}

impl From<Receipt> for Outcome {
    fn from(receipt: Receipt) -> Self {
        match receipt {
            Receipt::Done => Outcome::Done,
            Receipt::At(_) => Outcome::Later(receipt),
        }
    }
}

/// What a client has opened.
#[derive(Default)]
pub(super) struct Session {
    connection: Option<Arc<Connection>>,
    sessions: HashSet<i64>,
    consumers: HashMap<ConsumerId, ConsumerTag>,
    by_tag: HashMap<ConsumerTag, ConsumerId>,
    /// The window that each producer asked for; 0 = none.
    producers: HashMap<ProducerId, i32>,
    last_tag: u32,
    /// What the client is to be told before the next answer.
    pub(super) notices: Vec<Command>,
    /// Producers whose sends wait: they are removed later.
    pub(super) kept: HashSet<ProducerId>,
    /// Those of them whose removal has come.
    pub(super) leaving: Vec<ProducerId>,
}

impl Session {
    pub(super) fn opened(&mut self, connection: Arc<Connection>) {
        *self = Session {
            connection: Some(connection),
            ..Session::default()
        };
    }

    pub(super) fn connection(&self) -> Result<&Arc<Connection>, Failure> {
        self.connection
            .as_ref()
            .ok_or(Failure::Misuse("a command before the ConnectionInfo"))
    }

    /// The connection, if the client has opened it.
    pub(super) fn open_connection(&self) -> Option<&Arc<Connection>> {
        self.connection.as_ref()
    }

    /// The consumer that a delivery is for; None when it was closed in the meantime.
    pub(super) fn consumer(&self, tag: ConsumerTag) -> Option<&ConsumerId> {
        self.by_tag.get(&tag)
    }

    /// Ends the connection, if there is one.
    pub(super) fn close(&mut self, last_delivered: LastDelivered) {
        if let Some(connection) = self.connection.take() {
            connection.close(last_delivered);
        }
        *self = Session::default();
    }

    pub(super) fn add_session(&mut self, info: &SessionInfo) -> Result<Outcome, Failure> {
        self.connection()?;
        let id = info
            .session_id
            .as_ref()
            .ok_or(Failure::Misuse("a SessionInfo without id"))?;
        self.sessions.insert(id.value);
        Ok(Outcome::Done)
    }

    fn check_session(&self, session: i64) -> Result<(), Failure> {
        if session == OWN_SESSION || self.sessions.contains(&session) {
            return Ok(());
        }
        Err(Failure::Misuse(
            "a producer or consumer of a session that was not announced",
        ))
    }

    pub(super) fn add_producer(&mut self, info: &ProducerInfo) -> Result<Outcome, Failure> {
        let id = info
            .producer_id
            .as_ref()
            .ok_or(Failure::Misuse("a ProducerInfo without id"))?;
        self.check_session(id.session_id)?;
        let announcement = Command::from(info.clone());
        self.connection()?
            .add_producer(id, info.destination.as_ref(), &announcement)?;
        self.producers.insert(id.detached(), info.window_size);
        Ok(Outcome::Done)
    }

    pub(super) fn add_consumer(&mut self, info: &ConsumerInfo) -> Result<Outcome, Failure> {
        let id = info
            .consumer_id
            .as_ref()
            .ok_or(Failure::Misuse("a ConsumerInfo without id"))?;
        self.check_session(id.session_id)?;
        if self.consumers.contains_key(id) {
            return Ok(Outcome::Done);
        }
        let destination = info
            .destination
            .as_ref()
            .ok_or(Failure::Misuse("a ConsumerInfo without destination"))?;
        self.last_tag += 1;
        let tag = ConsumerTag(self.last_tag);
        let id = id.detached();
        let request = ConsumerRequest {
            id: id.clone(),
            tag,
            destination: destination.detached(),
            prefetch: u32::try_from(info.prefetch_size).unwrap_or(0),
            selector: info.selector.clone(),
            no_local: info.no_local,
            is_browser: info.browser,
            is_exclusive: info.exclusive,
            priority: info.priority,
            subscription_name: info.subscription_name.clone(),
            is_retroactive: info.retroactive,
            pending_limit: usize::try_from(info.maximum_pending_message_limit)
                .ok()
                .filter(|&limit| limit > 0),
            announcement: Command::from(info.clone()),
        };
        let connection = self.connection()?;
        let must_pull = connection.must_pull(&request);
        let receipt = connection.add_consumer(request)?;
        if must_pull {
            // The client asked for a window and would wait for what it never pulls.
            self.notices.push(Command::from(ConsumerControl {
                consumer_id: Some(id.clone()),
                prefetch: 0,
                ..ConsumerControl::default()
            }));
        }
        self.by_tag.insert(tag, id.clone());
        self.consumers.insert(id, tag);
        Ok(receipt.into())
    }

    /// Takes a message in, with its transaction's name.
    pub(super) fn receive(
        &self,
        frame: &Bytes,
        version: Version,
        decoded: &Message,
    ) -> Result<(Arc<crate::broker::Message>, Option<TransactionName>), Failure> {
        let connection = self.connection()?;
        let transaction = named(decoded.transaction_id.as_ref())?;
        let message = match connection.receive(frame, version, decoded) {
            Ok(message) => message,
            Err(error) => {
                if let Some(name) = &transaction {
                    connection.fail_transaction(name, &error.to_string());
                }
                return Err(error.into());
            }
        };
        Ok((Arc::new(message), transaction))
    }

    /// What a producer waits to get back of its window for a message that it does not want a
    /// response to.
    pub(super) fn window_share(&self, message: &Message) -> Option<(ProducerId, i32)> {
        let producer = message.producer_id.as_ref()?;
        let (id, window) = self.producers.get_key_value(producer)?;
        let size = i32::try_from(message.window_size()).unwrap_or(i32::MAX);
        (*window > 0).then(|| (id.clone(), size))
    }

    pub(super) fn acknowledge(&mut self, ack: &MessageAck) -> Result<Outcome, Failure> {
        let consumer = ack
            .consumer_id
            .as_ref()
            .ok_or(Failure::Misuse("a MessageAck without consumer"))?;
        let kind: AckKind = ack
            .kind()
            .ok_or(Failure::Misuse("an unknown kind of MessageAck"))?;
        let transaction = named(ack.transaction_id.as_ref())?;
        let acknowledgement = Acknowledgement {
            kind,
            first: ack.first_message_id.clone(),
            last: ack.last_message_id.clone(),
            count: usize::try_from(ack.message_count).unwrap_or(0),
            cause: ack.poison_cause.as_ref().map(ToString::to_string),
        };
        let connection = self.connection()?;
        Ok(connection
            .acknowledge(consumer, &acknowledgement, transaction)?
            .into())
    }

    pub(super) fn pull(&mut self, pull: &MessagePull) -> Result<Outcome, Failure> {
        let consumer = pull
            .consumer_id
            .as_ref()
            .ok_or(Failure::Misuse("a MessagePull without consumer"))?;
        let timeout = match u64::try_from(pull.timeout) {
            Ok(0) => PullTimeout::Never,
            Ok(time) => PullTimeout::After(Duration::from_millis(time)),
            Err(_) => PullTimeout::Immediate,
        };
        self.connection()?.pull(consumer, timeout)?;
        Ok(Outcome::Done)
    }

    pub(super) fn control(&mut self, control: &ConsumerControl) -> Result<Outcome, Failure> {
        let consumer = control
            .consumer_id
            .as_ref()
            .ok_or(Failure::Misuse("a ConsumerControl without consumer"))?;
        if control.close {
            self.remove_consumer(consumer, LastDelivered::Unknown);
            return Ok(Outcome::Done);
        }
        if !(control.flush || control.start || control.stop) {
            let prefetch = u32::try_from(control.prefetch).unwrap_or(0);
            self.connection()?.set_prefetch(consumer, prefetch)?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn destination(&mut self, info: &DestinationInfo) -> Result<Outcome, Failure> {
        let destination = info
            .destination
            .as_ref()
            .ok_or(Failure::Misuse("a DestinationInfo without destination"))?;
        let connection = self.connection()?;
        match (info.operation_type, destination.kind.is_temporary()) {
            (DestinationInfo::ADD, true) => connection.add_temporary(destination)?,
            (DestinationInfo::ADD, false) => connection.add_destination(destination)?,
            (DestinationInfo::REMOVE, true) => connection.remove_temporary(destination)?,
            (DestinationInfo::REMOVE, false) => {
                return Ok(connection.remove_destination(destination)?.into());
            }
            _ => return Err(Failure::Misuse("an unknown operation of a DestinationInfo")),
        }
        Ok(Outcome::Done)
    }

    pub(super) fn unsubscribe(
        &mut self,
        info: &RemoveSubscriptionInfo,
    ) -> Result<Outcome, Failure> {
        let name = info
            .subscription_name
            .as_ref()
            .ok_or(Failure::Misuse("a RemoveSubscriptionInfo without name"))?;
        Ok(self
            .connection()?
            .unsubscribe(info.client_id.as_ref(), name)?
            .into())
    }

    pub(super) fn remove(&mut self, info: &RemoveInfo) -> Result<Outcome, Failure> {
        let last_delivered = last_delivered(info);
        match info.object_id.as_deref() {
            Some(Command::ConsumerId(id)) => self.remove_consumer(id, last_delivered),
            Some(Command::ProducerId(id)) => self.remove_producer(id),
            Some(Command::SessionId(id)) => self.remove_session(id, last_delivered),
            Some(Command::ConnectionId(id)) => self.remove_connection(id, last_delivered),
            _ => return Err(Failure::Misuse("a RemoveInfo that names nothing removable")),
        }
        Ok(Outcome::Done)
    }

    fn remove_consumer(&mut self, id: &ConsumerId, last_delivered: LastDelivered) {
        let Some(tag) = self.consumers.remove(id) else {
            return;
        };
        self.by_tag.remove(&tag);
        if let Some(connection) = &self.connection {
            connection.remove_consumer(id, last_delivered);
        }
    }

    pub(super) fn remove_producer(&mut self, id: &ProducerId) {
        if self.kept.contains(id) {
            return self.leaving.push(id.clone());
        }
        self.producers.remove(id);
        if let Some(connection) = &self.connection {
            connection.remove_producer(id);
        }
    }

    fn remove_session(&mut self, id: &SessionId, last_delivered: LastDelivered) {
        self.sessions.remove(&id.value);
        let consumers: Vec<ConsumerId> = self
            .consumers
            .keys()
            .filter(|c| c.session_id == id.value)
            .cloned()
            .collect();
        for consumer in consumers {
            self.remove_consumer(&consumer, last_delivered);
        }
        let producers: Vec<ProducerId> = self
            .producers
            .keys()
            .filter(|p| p.session_id == id.value)
            .cloned()
            .collect();
        for producer in producers {
            self.remove_producer(&producer);
        }
    }

    /// Removes all consumers, at the beginning of a goodbye that takes a while.
    pub(super) fn remove_consumers(&mut self, last_delivered: LastDelivered) {
        let consumers: Vec<ConsumerId> = self.consumers.keys().cloned().collect();
        for consumer in consumers {
            self.remove_consumer(&consumer, last_delivered);
        }
    }

    fn remove_connection(&mut self, id: &ConnectionId, last_delivered: LastDelivered) {
        if self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.id() == id)
        {
            let producers: Vec<ProducerId> = self.producers.keys().cloned().collect();
            for producer in producers {
                self.remove_producer(&producer);
            }
            self.close(last_delivered);
        }
    }
}

/// What a removal says of the messages that were outstanding.
pub(super) fn last_delivered(info: &RemoveInfo) -> LastDelivered {
    match info.last_delivered_sequence_id {
        RemoveInfo::UNKNOWN => LastDelivered::Unknown,
        sequence => u64::try_from(sequence).map_or(LastDelivered::Nothing, LastDelivered::Sequence),
    }
}
