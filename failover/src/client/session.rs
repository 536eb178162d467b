//! Sessions: the unit of order, of acknowledgement and of transactions.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use openwire::{
    Command, ConsumerInfo, Destination, DestinationKind, LocalTransactionId, RemoveInfo, SessionId,
    SessionInfo, TransactionId, TransactionInfo, TransactionStep,
};

use super::ack::AckStyle;
use super::actor::{Handle, lock};
use super::connection::ConnectionInner;
use super::consumer::{Browser, Consumer, ConsumerInner, ConsumerOptions, ConsumerSetup};
use super::destination;
use super::error::ClientError;
use super::producer::Producer;

/// How the messages of a session are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AckMode {
    /// Each by itself when the application gets it.
    Auto,
    /// By [`crate::Message::acknowledge`], everything the session has received.
    Client,
    /// In batches; after a failure messages may come again.
    DupsOk,
    /// By [`crate::Message::acknowledge`], each message by itself.
    Individual,
    /// With the transaction: [`Session::commit`] and [`Session::rollback`].
    Transacted,
}

/// The transaction of a session.
pub(super) struct Transaction {
    connection: Arc<ConnectionInner>,
    /// Begun by its manager through [`super::xa::XaSession`], not by the first message.
    is_distributed: bool,
    current: Mutex<Option<TransactionId>>,
    /// A reconnect made messages void that the transaction had received.
    is_spoiled: AtomicBool,
    /// Messages were received in it, so it must not outlive the link they came over.
    has_received: AtomicBool,
    /// Held while a transaction begins, so that nobody uses it before the broker knows it.
    beginning: tokio::sync::Mutex<()>,
}

impl Transaction {
    pub(super) fn current(&self) -> Option<TransactionId> {
        lock(&self.current).clone()
    }

    /// The current transaction can only be rolled back any more.
    pub(super) fn spoil(&self) {
        if lock(&self.current).is_some() {
            self.is_spoiled.store(true, Ordering::Release);
        }
    }

    /// A message was received in the current transaction.
    pub(super) fn received(&self) {
        self.has_received.store(true, Ordering::Release);
    }

    /// The current transaction, begun if there is none.
    pub(super) async fn begin(&self, handle: &Handle) -> Result<TransactionId, ClientError> {
        if let Some(current) = self.current() {
            return Ok(current);
        }
        if self.is_distributed {
            let what = "no distributed transaction is started in this session";
            return Err(ClientError::IllegalState(what));
        }
        let _beginning = self.beginning.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        let id = TransactionId::Local(LocalTransactionId {
            value: self.connection.next_transaction(),
            connection_id: Some(self.connection.id.clone()),
        });
        let begin = self.step(id.clone(), TransactionStep::Begin);
        handle.oneway(vec![begin], None).await?;
        self.started(id.clone());
        Ok(id)
    }

    /// Everything from now on belongs to this transaction.
    pub(super) fn started(&self, id: TransactionId) {
        self.is_spoiled.store(false, Ordering::Release);
        self.has_received.store(false, Ordering::Release);
        *lock(&self.current) = Some(id);
    }

    pub(super) fn step(&self, transaction_id: TransactionId, step: TransactionStep) -> Command {
        TransactionInfo {
            connection_id: Some(self.connection.id.clone()),
            transaction_id: Some(transaction_id),
            kind: step.number(),
            ..TransactionInfo::default()
        }
        .into()
    }

    /// Ends the current transaction on this side.
    pub(super) fn end(&self) -> Option<Ended> {
        let id = lock(&self.current).take()?;
        let is_spoiled = self.is_spoiled.swap(false, Ordering::AcqRel);
        let has_received = self.has_received.swap(false, Ordering::AcqRel);
        Some(Ended {
            id,
            is_spoiled,
            has_received,
        })
    }
}

/// A transaction that is over on this side.
pub(super) struct Ended {
    pub(super) id: TransactionId,
    pub(super) is_spoiled: bool,
    pub(super) has_received: bool,
}

/// A session as its producers and consumers see it.
pub(super) struct SessionInner {
    pub(super) connection: Arc<ConnectionInner>,
    pub(super) transaction: Arc<Transaction>,
    pub(super) consumers: Mutex<Vec<Weak<ConsumerInner>>>,
    id: SessionId,
    mode: AckMode,
    next_consumer: AtomicI64,
    next_producer: AtomicI64,
    is_closed: AtomicBool,
}

impl SessionInner {
    pub(super) fn handle(&self) -> &Handle {
        &self.connection.handle
    }

    pub(super) fn is_transacted(&self) -> bool {
        self.mode == AckMode::Transacted
    }

    pub(super) async fn transaction(&self) -> Result<TransactionId, ClientError> {
        self.transaction.begin(self.handle()).await
    }

    pub(super) fn live_consumers(&self) -> Vec<Arc<ConsumerInner>> {
        let mut consumers = lock(&self.consumers);
        consumers.retain(|consumer| consumer.strong_count() > 0);
        consumers.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) async fn acknowledge(&self) -> Result<(), ClientError> {
        let generation = self.handle().generation();
        let consumers = self.live_consumers();
        let commands: Vec<Command> = consumers
            .iter()
            .filter_map(|consumer| consumer.acknowledge_all())
            .collect();
        if self.connection.jms.send_acks_async || commands.is_empty() {
            return self.handle().oneway(commands, Some(generation)).await;
        }
        self.handle()
            .request(commands, Some(generation), None)
            .await
            .map(|_| ())
    }

    async fn commit(&self) -> Result<(), ClientError> {
        let consumers = self.live_consumers();
        let generation = self.handle().generation();
        let Some(ended) = self.transaction.end() else {
            return Ok(());
        };
        let transaction = ended.id;
        if ended.is_spoiled {
            let reason = "a reconnect made messages void that it had received";
            return Err(self
                .roll_back_spoiled(transaction, reason.to_owned(), &consumers)
                .await);
        }
        let mut commands: Vec<Command> = consumers
            .iter()
            .filter_map(|consumer| consumer.acknowledge_in(&transaction))
            .collect();
        // A transaction that only sends survives a reconnect, because it is replayed. One that has
        // received does not, even if the loss has just taken its acknowledgements away.
        let generation = ended.has_received.then_some(generation);
        let step = TransactionStep::CommitOnePhase;
        commands.push(self.transaction.step(transaction.clone(), step));
        let limit = Some(self.connection.jms.request_timeout);
        match self.handle().request(commands, generation, limit).await {
            Ok(_) => {
                let commands = consumers.iter().filter_map(|consumer| consumer.committed());
                self.handle().oneway(commands.collect(), None).await
            }
            Err(ClientError::RolledBack { reason, .. }) => Err(self
                .roll_back_spoiled(transaction, reason, &consumers)
                .await),
            Err(error) => {
                self.deliver_again(&consumers).await?;
                Err(error)
            }
        }
    }

    /// Rolls back a transaction that cannot be committed; returns the error for the application.
    async fn roll_back_spoiled(
        &self,
        transaction: TransactionId,
        reason: String,
        consumers: &[Arc<ConsumerInner>],
    ) -> ClientError {
        let text = transaction.to_string();
        match self.roll_back(transaction, Vec::new(), consumers).await {
            Ok(()) => ClientError::RolledBack {
                transaction: text,
                reason,
            },
            Err(error) => error,
        }
    }

    async fn roll_back(
        &self,
        transaction: TransactionId,
        mut commands: Vec<Command>,
        consumers: &[Arc<ConsumerInner>],
    ) -> Result<(), ClientError> {
        commands.push(
            self.transaction
                .step(transaction, TransactionStep::Rollback),
        );
        let limit = Some(self.connection.jms.request_timeout);
        let result = self.handle().request(commands, None, limit).await;
        self.deliver_again(consumers).await?;
        result.map(|_| ())
    }

    async fn deliver_again(&self, consumers: &[Arc<ConsumerInner>]) -> Result<(), ClientError> {
        let generation = self.handle().generation();
        let commands = consumers
            .iter()
            .flat_map(|consumer| consumer.rolled_back())
            .collect();
        self.handle().oneway(commands, Some(generation)).await
    }

    async fn rollback(&self) -> Result<(), ClientError> {
        let consumers = self.live_consumers();
        let Some(ended) = self.transaction.end() else {
            return Ok(());
        };
        let transaction = ended.id;
        let mut commands = Vec::new();
        if !ended.is_spoiled {
            // As the Java client does: the acknowledgements go in before they are taken back.
            commands.extend(
                consumers
                    .iter()
                    .filter_map(|c| c.acknowledge_in(&transaction)),
            );
        }
        self.roll_back(transaction, commands, &consumers).await
    }

    /// What the broker must be told when the session ends.
    fn close(&self) -> Vec<Command> {
        if self.is_closed.swap(true, Ordering::AcqRel) {
            return Vec::new();
        }
        let mut commands = Vec::new();
        if let Some(ended) = self.transaction.end() {
            commands.push(self.transaction.step(ended.id, TransactionStep::Rollback));
        }
        let consumers = self.live_consumers();
        commands.extend(consumers.iter().flat_map(|consumer| consumer.close()));
        // Those that waited for the transaction's end have it now.
        commands.extend(consumers.iter().filter_map(|consumer| consumer.committed()));
        commands.push(RemoveInfo::of(self.id.clone()).into());
        commands
    }
}

/// Creates producers and consumers, and holds what they acknowledge and commit together. Calls
/// may overlap, but commit, rollback and recover should not overlap with others.
pub struct Session {
    pub(super) inner: Arc<SessionInner>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.inner.id)
            .field("mode", &self.inner.mode)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) async fn open(
        connection: Arc<ConnectionInner>,
        id: SessionId,
        mode: AckMode,
        is_distributed: bool,
    ) -> Result<Self, ClientError> {
        let info = SessionInfo {
            session_id: Some(id.clone()),
            ..SessionInfo::default()
        };
        connection.handle.oneway(vec![info.into()], None).await?;
        let transaction = Arc::new(Transaction {
            connection: Arc::clone(&connection),
            is_distributed,
            current: Mutex::new(None),
            is_spoiled: AtomicBool::new(false),
            has_received: AtomicBool::new(false),
            beginning: tokio::sync::Mutex::new(()),
        });
        let inner = Arc::new(SessionInner {
            connection,
            transaction,
            consumers: Mutex::new(Vec::new()),
            id,
            mode,
            next_consumer: AtomicI64::new(1),
            next_producer: AtomicI64::new(1),
            is_closed: AtomicBool::new(false),
        });
        Ok(Self { inner })
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.inner.id
    }

    /// How its messages are acknowledged.
    #[must_use]
    pub fn ack_mode(&self) -> AckMode {
        self.inner.mode
    }

    /// Opens a producer to one destination.
    ///
    /// # Errors
    /// When the broker refuses it, or the connection is gone for good.
    pub async fn producer(&self, destination: &Destination) -> Result<Producer, ClientError> {
        let (destination, _) = destination::split(destination)?;
        self.open_producer(Some(destination)).await
    }

    /// Opens a producer to any destination, for [`Producer::send_to`].
    ///
    /// # Errors
    /// As [`Session::producer`].
    pub async fn producer_to_any(&self) -> Result<Producer, ClientError> {
        self.open_producer(None).await
    }

    async fn open_producer(
        &self,
        destination: Option<Destination>,
    ) -> Result<Producer, ClientError> {
        let id = self
            .inner
            .id
            .producer(self.inner.next_producer.fetch_add(1, Ordering::Relaxed));
        Producer::open(Arc::clone(&self.inner), id, destination).await
    }

    /// Opens a consumer. The destination's name may have wildcards and `?consumer.` options.
    ///
    /// # Errors
    /// When the broker refuses it, or the connection is gone for good.
    pub async fn consumer(&self, destination: &Destination) -> Result<Consumer, ClientError> {
        self.consumer_with(destination, ConsumerOptions::default())
            .await
    }

    /// Opens a consumer with options.
    ///
    /// # Errors
    /// As [`Session::consumer`].
    pub async fn consumer_with(
        &self,
        destination: &Destination,
        options: ConsumerOptions,
    ) -> Result<Consumer, ClientError> {
        let setup = self.setup(destination, options, None, false)?;
        Consumer::open(Arc::clone(&self.inner), setup).await
    }

    /// Opens a durable subscription to a topic: the broker keeps its messages while nobody
    /// consumes. The connection needs a client id of its own (`jms.clientID`).
    ///
    /// # Errors
    /// As [`Session::consumer`].
    pub async fn durable_subscriber(
        &self,
        topic: &Destination,
        name: &str,
        options: ConsumerOptions,
    ) -> Result<Consumer, ClientError> {
        if topic.kind != DestinationKind::Topic {
            let what = "only a topic that is not temporary can have durable subscriptions";
            return Err(ClientError::IllegalState(what));
        }
        let setup = self.setup(topic, options, Some(name), false)?;
        Consumer::open(Arc::clone(&self.inner), setup).await
    }

    /// Opens a browser of a queue.
    ///
    /// # Errors
    /// As [`Session::consumer`].
    pub async fn browser(
        &self,
        queue: &Destination,
        options: ConsumerOptions,
    ) -> Result<Browser, ClientError> {
        if !queue.kind.is_queue() {
            return Err(ClientError::IllegalState("only a queue can be browsed"));
        }
        let setup = self.setup(queue, options, None, true)?;
        Ok(Browser::new(
            Consumer::open(Arc::clone(&self.inner), setup).await?,
        ))
    }

    fn setup(
        &self,
        destination: &Destination,
        mut options: ConsumerOptions,
        subscription: Option<&str>,
        browser: bool,
    ) -> Result<ConsumerSetup, ClientError> {
        let jms = &self.inner.connection.jms;
        let (destination, query) = destination::split(destination)?;
        if let Some(query) = query {
            destination::apply(&destination, &query, &mut options)?;
        }
        let is_queue = destination.kind.is_queue();
        let style = match self.inner.mode {
            _ if browser => AckStyle::Each,
            AckMode::Auto => AckStyle::Each,
            AckMode::DupsOk if is_queue => AckStyle::Each,
            AckMode::DupsOk => AckStyle::Batch,
            AckMode::Client => AckStyle::Client,
            AckMode::Individual => AckStyle::Individual,
            AckMode::Transacted => AckStyle::Transacted,
        };
        let policy = &jms.prefetch;
        let by_policy = match (browser, subscription, is_queue) {
            (true, _, _) => policy.queue_browser,
            (_, Some(_), _) => {
                let is_optimised =
                    self.inner.mode == AckMode::Auto && jms.optimized_message_dispatch;
                if is_optimised {
                    policy.optimize_durable_topic
                } else {
                    policy.durable_topic
                }
            }
            (_, None, true) => policy.queue,
            (_, None, false) => policy.topic,
        };
        let optimize = (jms.optimize_acknowledge && self.inner.mode == AckMode::Auto && !browser)
            .then_some(jms.optimize_acknowledge_time_out);
        let prefetch = options.prefetch.unwrap_or(by_policy);
        let limit = options.maximum_pending_message_limit;
        let number = self.inner.next_consumer.fetch_add(1, Ordering::Relaxed);
        let info = ConsumerInfo {
            consumer_id: Some(self.inner.id.consumer(number)),
            browser,
            destination: Some(destination),
            prefetch_size: i32::try_from(prefetch).unwrap_or(i32::MAX),
            maximum_pending_message_limit: limit.unwrap_or_else(|| {
                i32::try_from(policy.maximum_pending_message_limit).unwrap_or(i32::MAX)
            }),
            dispatch_async: options.dispatch_async.unwrap_or(jms.dispatch_async),
            selector: options.selector.as_deref().map(Into::into),
            client_id: subscription.map(|_| self.inner.connection.client_id.as_str().into()),
            subscription_name: subscription.map(Into::into),
            no_local: options.no_local,
            exclusive: options.exclusive || jms.exclusive_consumer,
            retroactive: options.retroactive || jms.use_retroactive_consumer,
            priority: options.priority,
            optimized_acknowledge: optimize.is_some(),
            ..ConsumerInfo::default()
        };
        Ok(ConsumerSetup {
            info,
            style,
            optimize,
        })
    }

    /// Acknowledges everything received, in a session of [`AckMode::Client`].
    ///
    /// # Errors
    /// In sessions of another mode, and when the connection is closed or gone for good.
    pub async fn acknowledge(&self) -> Result<(), ClientError> {
        if self.inner.mode != AckMode::Client {
            return Err(ClientError::IllegalState(
                "only a client-acknowledging session can",
            ));
        }
        self.inner.acknowledge().await
    }

    fn check_transacted(&self) -> Result<(), ClientError> {
        if self.inner.transaction.is_distributed {
            let what = "a distributed transaction ends through its XaSession";
            return Err(ClientError::IllegalState(what));
        }
        if self.inner.mode == AckMode::Transacted {
            return Ok(());
        }
        Err(ClientError::IllegalState("the session is not transacted"))
    }

    /// Commits what was sent and received since the last commit or rollback.
    ///
    /// # Errors
    /// [`ClientError::RolledBack`] when a reconnect has made that impossible,
    /// [`ClientError::TransactionInDoubt`] when the answer was lost, a refusal of the broker. In
    /// each case the next transaction begins with the next message.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.check_transacted()?;
        self.inner.commit().await
    }

    /// Takes back what was sent and received since the last commit or rollback. What was received
    /// is delivered again after the redelivery policy's delay.
    ///
    /// # Errors
    /// When the broker refuses, or the connection is gone for good.
    pub async fn rollback(&self) -> Result<(), ClientError> {
        self.check_transacted()?;
        self.inner.rollback().await
    }

    /// Delivers again what was received and not acknowledged.
    ///
    /// # Errors
    /// In a transacted session, and when the connection is closed or gone for good.
    pub async fn recover(&self) -> Result<(), ClientError> {
        if self.inner.mode == AckMode::Transacted {
            return Err(ClientError::IllegalState(
                "a transacted session uses rollback",
            ));
        }
        self.inner.deliver_again(&self.inner.live_consumers()).await
    }

    /// Closes the session, its producers and consumers; an open transaction is rolled back.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn close(self) -> Result<(), ClientError> {
        let commands = self.inner.close();
        self.inner.handle().oneway(commands, None).await
    }
}

impl Drop for SessionInner {
    /// The session ends with the last of its users: the value itself, a producer, a consumer.
    fn drop(&mut self) {
        let commands = self.close();
        if !commands.is_empty() {
            self.handle().farewell(commands);
        }
    }
}
