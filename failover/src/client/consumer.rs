//! Consumers: messages wait here for the application, and acknowledgements start here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use openwire::{
    AckKind, Command, ConsumerId, ConsumerInfo, Destination, MessageAck, MessageDispatch,
    MessageId, MessagePull, RemoveInfo, Throwable, TransactionId,
};
use tokio::sync::Notify;

use super::ack::{self, AckState, AckStyle, DueAck};
use super::actor::{Handle, Request, lock};
use super::audit::AuditScope;
use super::connection::now_ms;
use super::error::ClientError;
use super::message::Message;
use super::session::{SessionInner, Transaction};
use crate::options::RedeliveryPolicy;

/// How messages are consumed. Options in the destination's name (`?consumer.x=`) win over these.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsumerOptions {
    /// Only messages that match this JMS selector.
    pub selector: Option<String>,
    /// Not the messages that this connection sent.
    pub no_local: bool,
    /// Messages that the broker may send ahead; 0 pulls each one. `None` takes the connection's
    /// policy.
    pub prefetch: Option<u32>,
    /// Whether other consumers of the queue get nothing while this one lives.
    pub exclusive: bool,
    /// Whether a topic's consumer also gets messages from before.
    pub retroactive: bool,
    /// Consumers of a higher priority are served first.
    pub priority: i8,
    /// Whether the broker dispatches by a thread of its own; `None` takes the connection's.
    pub dispatch_async: Option<bool>,
    /// Messages kept for a slow topic consumer; `None` takes the connection's policy.
    pub maximum_pending_message_limit: Option<i32>,
}

/// What the broker is told, and how the client treats the messages.
pub(super) struct ConsumerSetup {
    pub(super) info: ConsumerInfo,
    pub(super) style: AckStyle,
    pub(super) optimize: Option<Duration>,
}

enum Status {
    Open,
    Closed,
    ClosedByBroker,
    Failed(ClientError),
}

struct State {
    queue: VecDeque<MessageDispatch>,
    acks: AckState,
    status: Status,
    /// Nothing is delivered before: rolled back messages wait for their redelivery.
    paused_until: Option<Instant>,
    last_delivered: i64,
    /// Set while the transaction decides whether what was delivered comes again.
    closes_with_transaction: bool,
}

/// A consumer as the connection's task, its session and its messages see it.
pub(super) struct ConsumerInner {
    pub(super) id: ConsumerId,
    destination: Destination,
    style: AckStyle,
    is_browser: bool,
    prefetch: AtomicU32,
    scope: AuditScope,
    checks_expiry: bool,
    acks_async: bool,
    redelivery: RedeliveryPolicy,
    transaction: Arc<Transaction>,
    session: Weak<SessionInner>,
    handle: Handle,
    state: Mutex<State>,
    arrived: Notify,
}

/// What a look into the queue brought.
enum Taken {
    Message(Box<MessageDispatch>),
    /// Nothing yet; look again at this time at the latest.
    Nothing(Option<Instant>),
    /// The end of a browse, or of a pull without a message.
    End,
    /// A message is there, but its transaction has not begun.
    NeedsTransaction,
}

/// How long to wait for a message.
#[derive(Clone, Copy)]
enum Wait {
    Forever,
    Until(Instant),
    Not,
}

impl ConsumerInner {
    fn new(session: &Arc<SessionInner>, setup: &ConsumerSetup) -> Option<Self> {
        let jms = &session.connection.jms;
        let id = setup.info.consumer_id.clone()?;
        let destination = setup.info.destination.clone()?;
        let prefetch = u32::try_from(setup.info.prefetch_size).unwrap_or(0);
        let scope = if destination.kind.is_queue() {
            AuditScope::Queue(destination.clone())
        } else {
            AuditScope::Consumer(id.clone())
        };
        Some(Self {
            id,
            destination,
            style: setup.style,
            is_browser: setup.info.browser,
            prefetch: AtomicU32::new(prefetch),
            scope,
            checks_expiry: jms.consumer_expiry_check_enabled && !setup.info.browser,
            acks_async: jms.send_acks_async,
            redelivery: jms.redelivery.clone(),
            transaction: Arc::clone(&session.transaction),
            session: Arc::downgrade(session),
            handle: session.handle().clone(),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                acks: AckState::new(setup.style, prefetch, setup.optimize),
                status: Status::Open,
                paused_until: None,
                last_delivered: RemoveInfo::NONE_DELIVERED,
                closes_with_transaction: false,
            }),
            arrived: Notify::new(),
        })
    }

    fn command(&self, due: DueAck) -> Command {
        let in_transaction = self.style == AckStyle::Transacted
            && matches!(
                due.kind,
                AckKind::Delivered | AckKind::Standard | AckKind::Individual
            );
        let transaction = if in_transaction {
            self.transaction.current()
        } else {
            None
        };
        self.command_in(due, transaction)
    }

    fn command_in(&self, due: DueAck, transaction_id: Option<TransactionId>) -> Command {
        MessageAck {
            consumer_id: Some(self.id.clone()),
            destination: due.destination,
            transaction_id,
            ack_type: due.kind.number(),
            first_message_id: due.first,
            last_message_id: Some(due.last),
            message_count: due.count,
            ..MessageAck::default()
        }
        .into()
    }

    fn poison(&self, due: DueAck, cause: &str) -> Command {
        let mut command = self.command(due);
        if let Command::MessageAck(ack) = &mut command {
            ack.poison_cause = Some(Throwable::new("java.lang.Throwable", cause));
        }
        command
    }

    /// The broker dispatched a message. Returns the acknowledgement of one that was seen before.
    pub(super) fn dispatched(&self, dispatch: MessageDispatch) -> Option<Command> {
        let mut state = lock(&self.state);
        if !matches!(state.status, Status::Open) {
            return None;
        }
        if !self.is_browser
            && let Some(audit) = &self.handle.shared.audit
            && let Some(id) = dispatch
                .message
                .as_ref()
                .and_then(|m| m.message_id.as_ref())
            && lock(audit).is_duplicate(&self.scope, id)
        {
            // Only messages that the application has consumed are still remembered: their
            // acknowledgement got lost, so it is repeated.
            tracing::warn!(%id, consumer = %self.id, "A message came twice and is not delivered.");
            let due = ack::single(AckKind::Standard, &dispatch);
            return Some(self.command_in(due, None));
        }
        let limit = (self.prefetch.load(Ordering::Acquire) as usize)
            .saturating_mul(2)
            .saturating_add(QUEUE_SLACK);
        if state.queue.len() >= limit {
            state.queue.clear();
            state.status = Status::Failed(ClientError::Flooded { limit });
        } else {
            state.queue.push_back(dispatch);
        }
        drop(state);
        self.arrived.notify_waiters();
        None
    }

    pub(super) fn set_prefetch(&self, prefetch: u32) {
        self.prefetch.store(prefetch, Ordering::Release);
        lock(&self.state).acks.set_prefetch(prefetch);
    }

    pub(super) fn stop_optimizing(&self) -> Option<Command> {
        let due = lock(&self.state).acks.stop_optimizing()?;
        Some(self.command(due))
    }

    pub(super) fn close_by_broker(&self) {
        lock(&self.state).status = Status::ClosedByBroker;
        self.arrived.notify_waiters();
    }

    pub(super) fn fail(&self, error: ClientError) {
        let mut state = lock(&self.state);
        if matches!(state.status, Status::Open) {
            state.status = Status::Failed(error);
        }
        drop(state);
        self.arrived.notify_waiters();
    }

    /// The link broke: everything held here is void and will come again.
    pub(super) fn interrupted(&self) {
        let mut state = lock(&self.state);
        let queued: Vec<MessageDispatch> = state.queue.drain(..).collect();
        let delivered = state.acks.interrupted();
        state.paused_until = None;
        if self.style == AckStyle::Transacted && !delivered.is_empty() {
            self.transaction.spoil();
        }
        self.forget(&queued);
        // What was acknowledged automatically is consumed, even when the broker never hears of it.
        if matches!(
            self.style,
            AckStyle::Client | AckStyle::Individual | AckStyle::Transacted
        ) {
            self.forget(&delivered);
        }
    }

    /// Lets messages come again without being taken for duplicates.
    fn forget(&self, dispatches: &[MessageDispatch]) {
        let Some(audit) = &self.handle.shared.audit else {
            return;
        };
        let mut audit = lock(audit);
        for id in dispatches
            .iter()
            .filter_map(|d| d.message.as_ref()?.message_id.as_ref())
        {
            audit.forget(&self.scope, id);
        }
    }

    /// Looks for a message; `commands` collects what the broker must be told.
    fn take(&self, commands: &mut Vec<Command>) -> Result<Taken, ClientError> {
        let mut state = lock(&self.state);
        match &state.status {
            Status::Open => {}
            Status::Closed => return Err(ClientError::Closed { what: "consumer" }),
            Status::ClosedByBroker => {
                return Err(ClientError::Closed {
                    what: "consumer (by the broker)",
                });
            }
            Status::Failed(error) => return Err(error.clone()),
        }
        let now = Instant::now();
        if let Some(until) = state.paused_until {
            if now < until {
                return Ok(Taken::Nothing(Some(until)));
            }
            state.paused_until = None;
        }
        loop {
            let Some(front) = state.queue.front() else {
                return Ok(Taken::Nothing(None));
            };
            let Some(message) = &front.message else {
                state.queue.pop_front();
                return Ok(Taken::End);
            };
            let is_expired = self.checks_expiry && ack::is_expired(message, now_ms());
            let is_exceeded = self.is_exceeded(front);
            if !is_expired && !is_exceeded {
                if self.style == AckStyle::Transacted && self.transaction.current().is_none() {
                    return Ok(Taken::NeedsTransaction);
                }
                break;
            }
            let Some(dispatch) = state.queue.pop_front() else {
                continue;
            };
            if is_expired {
                commands.push(self.command(ack::single(AckKind::Expired, &dispatch)));
            } else {
                let cause = format!(
                    "dispatch {} to {} exceeds the limit of redeliveries",
                    dispatch.redelivery_counter, self.id
                );
                commands.push(self.poison(ack::single(AckKind::Poison, &dispatch), &cause));
            }
        }
        let Some(dispatch) = state.queue.pop_front() else {
            return Ok(Taken::Nothing(None));
        };
        let id = dispatch
            .message
            .as_ref()
            .and_then(|message| message.message_id.as_ref());
        state.last_delivered = id.map_or(state.last_delivered, |id| id.broker_sequence_id);
        if self.style == AckStyle::Transacted {
            self.transaction.received();
        }
        if let Some(due) = state.acks.deliver(&dispatch, now) {
            commands.push(self.command(due));
        }
        Ok(Taken::Message(Box::new(dispatch)))
    }

    /// Whether the broker delivered a message more often than a transaction may see it.
    fn is_exceeded(&self, dispatch: &MessageDispatch) -> bool {
        let limit = self
            .redelivery
            .maximum_redeliveries
            .and_then(|max| i32::try_from(max).ok());
        self.style == AckStyle::Transacted
            && self.redelivery.pre_dispatch_check
            && limit.is_some_and(|limit| dispatch.redelivery_counter > limit)
    }

    async fn next(self: &Arc<Self>, wait: Wait) -> Result<Option<Message>, ClientError> {
        let is_pulling = self.prefetch.load(Ordering::Acquire) == 0;
        if is_pulling {
            self.pull(wait).await?;
        }
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let (taken, refused) = self.look().await?;
            let look_again = match taken {
                Taken::Message(dispatch) => return Ok(Some(self.message(*dispatch))),
                Taken::End => return Ok(None),
                Taken::NeedsTransaction => {
                    self.transaction.begin(&self.handle).await?;
                    continue;
                }
                Taken::Nothing(until) => until,
            };
            if is_pulling && refused {
                // The pull brought only messages that could not be delivered.
                self.pull(wait).await?;
            }
            let deadline = match (wait, is_pulling) {
                (Wait::Forever, _) => None,
                // The broker says when a pull is over; only a lost answer needs more patience.
                (Wait::Until(at), true) => Some(at + PULL_GRACE),
                (Wait::Not, true) => Some(Instant::now() + PULL_GRACE),
                (Wait::Until(at), false) => Some(at),
                (Wait::Not, false) => return Ok(None),
            };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            let wake = [deadline, look_again].into_iter().flatten().min();
            match wake {
                Some(wake) => {
                    let _ = tokio::time::timeout_at(wake.into(), arrived).await;
                }
                None => arrived.await,
            }
        }
    }

    /// Looks for a message and sends what is due for it; also says whether messages were refused.
    async fn look(&self) -> Result<(Taken, bool), ClientError> {
        {
            let state = lock(&self.state);
            if state.queue.is_empty() && matches!(state.status, Status::Open) {
                return Ok((Taken::Nothing(None), false));
            }
        }
        let mut commands = Vec::new();
        let is_async = self.acks_async || self.style == AckStyle::Transacted;
        if !is_async {
            let generation = self.handle.generation();
            let taken = self.take(&mut commands)?;
            let refused = !commands.is_empty();
            self.acknowledge_with(commands, generation).await?;
            return Ok((taken, refused));
        }
        // The place in the queue comes first: whoever drops this future must not lose a message
        // between its taking and its acknowledgement.
        let place = match self.handle.reserve().await {
            Ok(place) => place,
            Err(error) => {
                // The consumer may know better why everything has ended.
                self.take(&mut commands)?;
                return Err(error);
            }
        };
        let generation = Some(self.handle.generation());
        let taken = self.take(&mut commands)?;
        let refused = !commands.is_empty();
        if refused {
            place.send(Request {
                commands,
                generation,
                wants_answer: false,
                reply: None,
            });
        }
        Ok((taken, refused))
    }

    async fn acknowledge_with(
        &self,
        commands: Vec<Command>,
        generation: u64,
    ) -> Result<(), ClientError> {
        if commands.is_empty() {
            return Ok(());
        }
        if self.acks_async || self.style == AckStyle::Transacted {
            return self.handle.oneway(commands, Some(generation)).await;
        }
        self.handle
            .request(commands, Some(generation), None)
            .await
            .map(|_| ())
    }

    async fn pull(&self, wait: Wait) -> Result<(), ClientError> {
        if !lock(&self.state).queue.is_empty() {
            return Ok(());
        }
        let timeout = match wait {
            Wait::Forever => 0,
            Wait::Not => -1,
            Wait::Until(at) => {
                let left = at.saturating_duration_since(Instant::now()).as_millis();
                // 0 would be for ever.
                i64::try_from(left).unwrap_or(i64::MAX).max(1)
            }
        };
        let pull = MessagePull {
            consumer_id: Some(self.id.clone()),
            destination: Some(self.destination.clone()),
            timeout,
            ..MessagePull::default()
        };
        self.handle.oneway(vec![pull.into()], None).await
    }

    fn message(self: &Arc<Self>, dispatch: MessageDispatch) -> Message {
        let mut wire = dispatch.message.map(|message| *message).unwrap_or_default();
        wire.redelivery_counter = dispatch.redelivery_counter;
        Message::received(wire, Arc::clone(self))
    }

    pub(super) async fn acknowledge(&self, id: &MessageId) -> Result<(), ClientError> {
        match self.style {
            AckStyle::Client => match self.session.upgrade() {
                Some(session) => session.acknowledge().await,
                None => Err(ClientError::Closed { what: "session" }),
            },
            AckStyle::Individual => {
                let generation = self.handle.generation();
                let due = lock(&self.state).acks.acknowledge_one(id);
                let commands = due.map(|due| self.command(due)).into_iter().collect();
                self.acknowledge_with(commands, generation).await
            }
            _ => Ok(()),
        }
    }

    /// The acknowledgement of everything delivered.
    pub(super) fn acknowledge_all(&self) -> Option<Command> {
        let due = lock(&self.state).acks.acknowledge_all()?;
        Some(self.command(due))
    }

    /// As [`ConsumerInner::acknowledge_all`], in a transaction that is about to end.
    pub(super) fn acknowledge_in(&self, transaction: &TransactionId) -> Option<Command> {
        let due = lock(&self.state).acks.acknowledge_all()?;
        Some(self.command_in(due, Some(transaction.clone())))
    }

    /// The transaction was committed; returns what closes the consumer if it waited for that.
    pub(super) fn committed(&self) -> Option<Command> {
        lock(&self.state).acks.committed();
        self.close_if_waiting()
    }

    /// What closes the consumer if it waited for the end of a transaction.
    pub(super) fn close_if_waiting(&self) -> Option<Command> {
        let mut state = lock(&self.state);
        state
            .closes_with_transaction
            .then(|| self.farewell(&mut state))
    }

    /// What was delivered comes again: after a rollback, or by `recover`. Returns what the broker
    /// must be told.
    pub(super) fn rolled_back(&self) -> Vec<Command> {
        let delivered = lock(&self.state).acks.take_delivered();
        self.deliver_again(delivered)
    }

    /// Takes what was delivered in a transaction that ends here but is not decided yet; with the
    /// acknowledgement of it.
    pub(super) fn detach(
        &self,
        transaction: &TransactionId,
    ) -> Option<(Vec<MessageDispatch>, Command)> {
        let mut state = lock(&self.state);
        let due = state.acks.acknowledge_all()?;
        let delivered = state.acks.take_delivered();
        Some((delivered, self.command_in(due, Some(transaction.clone()))))
    }

    /// These come again. Returns what the broker must be told.
    pub(super) fn deliver_again(&self, mut delivered: Vec<MessageDispatch>) -> Vec<Command> {
        let mut state = lock(&self.state);
        let mut commands = Vec::new();
        if let Some(last) = delivered.last() {
            let before = last.redelivery_counter;
            let limit = self
                .redelivery
                .maximum_redeliveries
                .and_then(|m| i32::try_from(m).ok());
            if limit.is_some_and(|limit| before + 1 > limit) {
                let cause = format!("delivery {} exceeds the limit of redeliveries", before + 1);
                commands.extend(
                    ack::range(AckKind::Poison, &delivered).map(|due| self.poison(due, &cause)),
                );
            } else {
                if before > 0 {
                    let due = ack::range(AckKind::Redelivered, &delivered);
                    commands.extend(due.map(|due| self.command(due)));
                }
                let delay = self
                    .redelivery
                    .delay(u32::try_from(before + 1).unwrap_or(1));
                state.paused_until = (!delay.is_zero()).then(|| Instant::now() + delay);
                for dispatch in &mut delivered {
                    dispatch.redelivery_counter = dispatch.redelivery_counter.saturating_add(1);
                }
                for dispatch in delivered.into_iter().rev() {
                    state.queue.push_front(dispatch);
                }
            }
        }
        if state.closes_with_transaction {
            commands.push(self.farewell(&mut state));
        }
        drop(state);
        self.arrived.notify_waiters();
        commands
    }

    /// Closes; returns what the broker must be told. In a transaction that has messages of this
    /// consumer the end waits for the transaction's.
    pub(super) fn close(&self) -> Vec<Command> {
        let mut state = lock(&self.state);
        if matches!(state.status, Status::Closed) {
            return Vec::new();
        }
        let was_open = matches!(state.status, Status::Open);
        state.status = Status::Closed;
        self.arrived.notify_waiters();
        if was_open
            && self.style == AckStyle::Transacted
            && state.acks.has_delivered()
            && self.transaction.current().is_some()
        {
            state.closes_with_transaction = true;
            return Vec::new();
        }
        let mut commands: Vec<Command> = state
            .acks
            .flush()
            .map(|due| self.command(due))
            .into_iter()
            .collect();
        commands.push(self.farewell(&mut state));
        commands
    }

    fn farewell(&self, state: &mut State) -> Command {
        state.closes_with_transaction = false;
        let mut held: Vec<MessageDispatch> = state.queue.drain(..).collect();
        held.extend(state.acks.take_delivered());
        self.forget(&held);
        lock(&self.handle.shared.consumers).remove(&self.id);
        if let Some(audit) = &self.handle.shared.audit {
            lock(audit).close(&self.id);
        }
        RemoveInfo {
            last_delivered_sequence_id: state.last_delivered,
            ..RemoveInfo::of(self.id.clone())
        }
        .into()
    }
}

/// Messages a broker may send beyond twice the prefetch before the consumer gives up on it.
const QUEUE_SLACK: usize = 10_000;

/// How much longer than asked a pull's answer may take before it counts as lost.
const PULL_GRACE: Duration = Duration::from_secs(10);

/// Receives messages. Dropping it closes it.
pub struct Consumer {
    inner: Arc<ConsumerInner>,
    session: Arc<SessionInner>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("id", &self.inner.id)
            .field("destination", &self.inner.destination)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(super) async fn open(
        session: Arc<SessionInner>,
        setup: ConsumerSetup,
    ) -> Result<Self, ClientError> {
        let inner = ConsumerInner::new(&session, &setup).ok_or(ClientError::IllegalState(
            "a consumer needs an id and a destination",
        ))?;
        let inner = Arc::new(inner);
        let consumers = &session.handle().shared.consumers;
        // Before the request: messages may come before its answer.
        lock(consumers).insert(inner.id.clone(), Arc::clone(&inner));
        lock(&session.consumers).push(Arc::downgrade(&inner));
        let limit = Some(session.connection.jms.request_timeout);
        let opened = session
            .handle()
            .request(vec![setup.info.into()], None, limit)
            .await;
        let consumer = Self { inner, session };
        if let Err(error) = opened {
            // The broker knows nothing of it, so it needs no farewell.
            lock(&consumer.inner.state).status = Status::Closed;
            lock(consumers_of(&consumer)).remove(&consumer.inner.id);
            return Err(error);
        }
        Ok(consumer)
    }

    /// The consumer's id.
    #[must_use]
    pub fn id(&self) -> &ConsumerId {
        &self.inner.id
    }

    /// Where it consumes from.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.inner.destination
    }

    /// Waits for the next message, over reconnects if need be. `None` when `timeout` passed; a
    /// `timeout` of `None` waits for ever. In a session of `AckMode::Auto` the message counts as
    /// consumed when this returns. Dropping the future while it waits loses nothing.
    ///
    /// # Errors
    /// When the consumer is closed or the connection gone for good.
    pub async fn receive(&self, timeout: Option<Duration>) -> Result<Option<Message>, ClientError> {
        let wait = match timeout {
            Some(timeout) => Wait::Until(Instant::now() + timeout),
            None => Wait::Forever,
        };
        self.inner.next(wait).await
    }

    /// The next message if one is there already. A consumer without prefetch asks the broker.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    pub async fn receive_no_wait(&self) -> Result<Option<Message>, ClientError> {
        self.inner.next(Wait::Not).await
    }

    /// How many messages wait here for the application.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.inner.state).queue.len()
    }

    /// Closes the consumer. If an open transaction has messages of it, it ends with that.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn close(self) -> Result<(), ClientError> {
        let commands = self.inner.close();
        self.session.handle().oneway(commands, None).await
    }
}

fn consumers_of(
    consumer: &Consumer,
) -> &Mutex<std::collections::HashMap<ConsumerId, Arc<ConsumerInner>>> {
    &consumer.session.handle().shared.consumers
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let commands = self.inner.close();
        if !commands.is_empty() {
            self.inner.handle.farewell(commands);
        }
    }
}

/// Looks at a queue's messages without consuming them.
#[derive(Debug)]
pub struct Browser {
    consumer: Consumer,
}

impl Browser {
    pub(super) fn new(consumer: Consumer) -> Self {
        Self { consumer }
    }

    /// The next message of the browse, `None` at its end.
    ///
    /// # Errors
    /// As [`Consumer::receive`].
    pub async fn next(&self) -> Result<Option<Message>, ClientError> {
        if self.consumer.inner.prefetch.load(Ordering::Acquire) == 0 {
            return self.consumer.receive_no_wait().await;
        }
        self.consumer.receive(None).await
    }

    /// Ends the browse.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn close(self) -> Result<(), ClientError> {
        self.consumer.close().await
    }
}
