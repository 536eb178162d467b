//! The state of a connection that a broker must be told again after a reconnect, and in which
//! order. It sees every command on its way out and every answer on its way in, and does no I/O.

use std::collections::{BTreeMap, VecDeque};

use openwire::{
    Command, ConnectionControl, ConnectionInfo, ConsumerControl, ConsumerId, ConsumerInfo,
    DestinationInfo, Message, ProducerId, ProducerInfo, RemoveInfo, SessionId, SessionInfo,
    TransactionId, TransactionInfo, TransactionStep,
};

/// Who repeats a command after a reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// This state does.
    ByState,
    /// Whoever waits for the answer does, if anybody.
    ByRequest,
}

/// What to send on a new connection.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Before the unanswered requests, in this order.
    pub(crate) commands: Vec<Command>,
    /// After them: the consumers' real prefetch.
    pub(crate) controls: Vec<ConsumerControl>,
    /// Commits and prepares whose answer was lost: command number and transaction.
    pub(crate) in_doubt: Vec<(i32, TransactionId)>,
}

#[derive(Debug, Default)]
struct SessionState {
    info: SessionInfo,
    producers: BTreeMap<ProducerId, ProducerInfo>,
    consumers: BTreeMap<ConsumerId, ConsumerInfo>,
}

#[derive(Debug)]
struct TransactionState {
    id: TransactionId,
    commands: Vec<Command>,
    /// Producers that were closed inside the transaction and must exist for its replay.
    producers: Vec<ProducerInfo>,
}

/// Everything that a broker must be told again.
#[derive(Debug)]
pub(crate) struct StateTracker {
    tracks_messages: bool,
    tracks_transaction_producers: bool,
    cache_bytes_max: usize,
    connection: Option<ConnectionInfo>,
    temporary: Vec<DestinationInfo>,
    sessions: BTreeMap<SessionId, SessionState>,
    transactions: Vec<TransactionState>,
    cache: VecDeque<Message>,
    cache_bytes: usize,
    pulls: BTreeMap<ConsumerId, Command>,
}

impl StateTracker {
    pub(crate) fn new(options: &crate::options::FailoverOptions) -> Self {
        Self {
            tracks_messages: options.track_messages,
            tracks_transaction_producers: options.track_transaction_producers,
            cache_bytes_max: options.max_cache_size as usize,
            connection: None,
            temporary: Vec::new(),
            sessions: BTreeMap::new(),
            transactions: Vec::new(),
            cache: VecDeque::new(),
            cache_bytes: 0,
            pulls: BTreeMap::new(),
        }
    }

    /// Sees a command before it is sent.
    pub(crate) fn track(&mut self, command: &Command) -> Tracking {
        match command {
            Command::ConnectionInfo(info) => {
                self.connection = Some((**info).clone());
                Tracking::ByState
            }
            Command::DestinationInfo(info) => self.track_destination(info),
            Command::SessionInfo(info) => {
                if let Some(id) = &info.session_id {
                    self.sessions.entry(id.clone()).or_default().info = info.clone();
                }
                Tracking::ByState
            }
            Command::ProducerInfo(info) => self.track_producer(info),
            Command::ConsumerInfo(info) => self.track_consumer(info),
            Command::RemoveInfo(info) => {
                self.remove(info);
                Tracking::ByState
            }
            Command::TransactionInfo(info) => self.track_transaction(info),
            Command::Message(message) => self.track_message(message),
            Command::MessagePull(pull) => {
                if let Some(consumer) = &pull.consumer_id {
                    self.pulls.insert(consumer.clone(), command.clone());
                }
                Tracking::ByState
            }
            _ => Tracking::ByRequest,
        }
    }

    fn track_destination(&mut self, info: &DestinationInfo) -> Tracking {
        let is_temporary = info
            .destination
            .as_ref()
            .is_some_and(|d| d.kind.is_temporary());
        if !is_temporary {
            return Tracking::ByRequest;
        }
        self.temporary
            .retain(|known| known.destination != info.destination);
        if info.operation_type == DestinationInfo::ADD {
            self.temporary.push(info.clone());
            return Tracking::ByState;
        }
        Tracking::ByRequest
    }

    fn track_producer(&mut self, info: &ProducerInfo) -> Tracking {
        let Some(id) = &info.producer_id else {
            return Tracking::ByRequest;
        };
        match self.sessions.get_mut(&id.session()) {
            Some(session) => {
                session.producers.insert(id.clone(), info.clone());
                Tracking::ByState
            }
            None => Tracking::ByRequest,
        }
    }

    fn track_consumer(&mut self, info: &ConsumerInfo) -> Tracking {
        let Some(id) = &info.consumer_id else {
            return Tracking::ByRequest;
        };
        match self.sessions.get_mut(&id.session()) {
            Some(session) => {
                session.consumers.insert(id.clone(), info.clone());
                Tracking::ByState
            }
            None => Tracking::ByRequest,
        }
    }

    fn remove(&mut self, info: &RemoveInfo) {
        match info.object_id.as_deref() {
            Some(Command::ConsumerId(id)) => self.remove_consumer(id),
            Some(Command::ProducerId(id)) => self.remove_producer(id),
            Some(Command::SessionId(id)) => {
                self.sessions.remove(id);
            }
            Some(Command::ConnectionId(_)) => {
                self.connection = None;
                self.temporary.clear();
                self.sessions.clear();
                self.transactions.clear();
            }
            _ => {}
        }
    }

    /// The broker closed or refused a consumer.
    pub(crate) fn remove_consumer(&mut self, id: &ConsumerId) {
        self.pulls.remove(id);
        if let Some(session) = self.sessions.get_mut(&id.session()) {
            session.consumers.remove(id);
        }
    }

    fn remove_producer(&mut self, id: &ProducerId) {
        let Some(session) = self.sessions.get_mut(&id.session()) else {
            return;
        };
        let Some(info) = session.producers.remove(id) else {
            return;
        };
        if !self.tracks_transaction_producers {
            return;
        }
        for transaction in &mut self.transactions {
            let is_used = transaction.commands.iter().any(|command| {
                matches!(command, Command::Message(m) if m.producer_id.as_ref() == Some(id))
            });
            if is_used {
                transaction.producers.push(info.clone());
            }
        }
    }

    fn track_transaction(&mut self, info: &TransactionInfo) -> Tracking {
        let Some(id) = &info.transaction_id else {
            return Tracking::ByRequest;
        };
        let is_known = self.transactions.iter().any(|open| open.id == *id);
        if info.step() == Some(TransactionStep::Begin) && !is_known {
            self.transactions.push(TransactionState {
                id: id.clone(),
                commands: vec![info.clone().into()],
                producers: Vec::new(),
            });
            return Tracking::ByState;
        }
        match self
            .transactions
            .iter_mut()
            .find(|transaction| transaction.id == *id)
        {
            Some(transaction) => {
                transaction.commands.push(info.clone().into());
                Tracking::ByState
            }
            None => Tracking::ByRequest,
        }
    }

    fn track_message(&mut self, message: &Message) -> Tracking {
        if let Some(id) = &message.transaction_id {
            let open = self
                .transactions
                .iter_mut()
                .find(|transaction| transaction.id == *id);
            return match open {
                Some(transaction) => {
                    transaction.commands.push(message.clone().into());
                    Tracking::ByState
                }
                None => Tracking::ByRequest,
            };
        }
        // A message that waits for its answer is repeated by its request.
        if self.tracks_messages && !message.response_required {
            self.cache_bytes += message.window_size();
            self.cache.push_back(message.clone());
            while self.cache_bytes > self.cache_bytes_max
                && let Some(oldest) = self.cache.pop_front()
            {
                self.cache_bytes -= oldest.window_size();
            }
            return Tracking::ByState;
        }
        Tracking::ByRequest
    }

    /// The broker answered the command, with success or not.
    pub(crate) fn answered(&mut self, command: &Command, is_success: bool) {
        match command {
            Command::ConsumerInfo(info) if !is_success => {
                if let Some(id) = &info.consumer_id {
                    self.remove_consumer(id);
                }
            }
            Command::ProducerInfo(info) if !is_success => {
                if let Some(id) = &info.producer_id {
                    self.remove_producer(id);
                }
            }
            Command::DestinationInfo(info) if !is_success => {
                self.temporary
                    .retain(|known| known.destination != info.destination);
            }
            Command::TransactionInfo(info) => {
                // Whatever a commit or rollback is answered with, the transaction is over. One that is
                // prepared is the brokers' own: nothing of it is repeated.
                let ends = matches!(
                    info.step(),
                    Some(
                        TransactionStep::CommitOnePhase
                            | TransactionStep::CommitTwoPhase
                            | TransactionStep::Rollback
                            | TransactionStep::Prepare
                    )
                );
                if ends {
                    self.transactions
                        .retain(|open| Some(&open.id) != info.transaction_id.as_ref());
                }
            }
            _ => {}
        }
    }

    /// A dispatch came, so the consumer's pull is answered.
    pub(crate) fn pulled(&mut self, consumer: &ConsumerId) {
        self.pulls.remove(consumer);
    }

    /// What to send on a new connection, and which commits are in doubt. These are forgotten.
    pub(crate) fn restore(&mut self) -> Restored {
        let mut restored = Restored::default();
        let control = ConnectionControl {
            fault_tolerant: true,
            ..ConnectionControl::default()
        };
        restored.commands.push(control.into());
        let Some(connection) = &mut self.connection else {
            return restored;
        };
        connection.failover_reconnect = true;
        restored.commands.push(connection.clone().into());
        restored
            .commands
            .extend(self.temporary.iter().cloned().map(Command::from));
        for session in self.sessions.values() {
            restored.commands.push(session.info.clone().into());
            restored
                .commands
                .extend(session.producers.values().cloned().map(Command::from));
            for consumer in session.consumers.values() {
                restored.add_consumer(consumer);
            }
        }
        self.restore_transactions(&mut restored);
        restored
            .commands
            .extend(self.cache.iter().cloned().map(Command::from));
        restored.commands.extend(self.pulls.values().cloned());
        restored
    }

    fn restore_transactions(&mut self, restored: &mut Restored) {
        self.transactions.retain(|transaction| {
            if let Some(Command::TransactionInfo(last)) = transaction.commands.last()
                && matches!(
                    last.step(),
                    Some(TransactionStep::CommitOnePhase | TransactionStep::Prepare)
                )
            {
                restored
                    .in_doubt
                    .push((last.command_id, transaction.id.clone()));
                return false;
            }
            let producers = transaction.producers.iter().cloned();
            restored
                .commands
                .extend(producers.clone().map(Command::from));
            restored
                .commands
                .extend(transaction.commands.iter().cloned());
            restored.commands.extend(
                producers
                    .filter_map(|info| info.producer_id)
                    .map(|id| RemoveInfo::of(id).into()),
            );
            true
        });
    }
}

impl Restored {
    /// A consumer comes back without prefetch, until what it held before is put away.
    fn add_consumer(&mut self, info: &ConsumerInfo) {
        let mut info = info.clone();
        if info.prefetch_size > 0 {
            self.controls.push(ConsumerControl {
                destination: info.destination.clone(),
                consumer_id: info.consumer_id.clone(),
                prefetch: info.prefetch_size,
                ..ConsumerControl::default()
            });
            info.prefetch_size = 0;
        }
        self.commands.push(info.into());
    }
}

#[cfg(test)]
mod tests;
