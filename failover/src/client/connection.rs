//! Connections: one client id, one link to a broker at a time, any number of sessions.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use openwire::{
    Command, ConnectionId, ConnectionInfo, Destination, DestinationInfo, DestinationKind,
    RemoveInfo, RemoveSubscriptionInfo, Secret, ShutdownInfo, WireString,
};
use tokio::sync::broadcast;

use super::actor::{self, Handle, Shared, lock};
use super::audit::Audit;
use super::error::ClientError;
use super::restore::StateTracker;
use super::session::{AckMode, Session};
use super::wire::{Dial, OpenWireConnector, TcpDial};
use super::xa::XaSession;
use crate::options::JmsOptions;
use crate::transport::{Event, Reconnector};
use crate::uri::ClientUri;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A number that no other process draws: the standard library's per-process hash keys.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}

/// An id in Java's manner, unique without a registry.
fn unique_id(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:016x}-{}-{count}", random(), now_ms())
}

/// Opens connections with more than a URI.
pub struct ConnectionBuilder {
    uri: ClientUri,
    dial: Arc<dyn Dial>,
    seed: u64,
    events: Option<broadcast::Sender<Event>>,
}

impl fmt::Debug for ConnectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionBuilder")
            .field("uri", &format_args!("{}", self.uri))
            .finish_non_exhaustive()
    }
}

impl ConnectionBuilder {
    /// Starts with a URI.
    #[must_use]
    pub fn new(uri: ClientUri) -> Self {
        Self {
            uri,
            dial: Arc::new(TcpDial),
            seed: random(),
            events: None,
        }
    }

    /// User name and password; they win over those of the URI.
    #[must_use]
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.uri.jms.connection.user_name = Some(user.to_owned());
        self.uri.jms.connection.password = Some(password.to_owned());
        self
    }

    /// The client id, which durable subscriptions belong to; it wins over that of the URI.
    #[must_use]
    pub fn client_id(mut self, id: &str) -> Self {
        self.uri.jms.connection.client_id = Some(id.to_owned());
        self
    }

    /// Opens streams in another way than plain TCP, for instance with TLS.
    #[must_use]
    pub fn dialer(mut self, dial: impl Dial) -> Self {
        self.dial = Arc::new(dial);
        self
    }

    /// Decides every random order, for tests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Passes on events from the very first attempt, before there is a [`Connection`].
    #[must_use]
    pub fn events(mut self, events: broadcast::Sender<Event>) -> Self {
        self.events = Some(events);
        self
    }

    /// Connects and announces the connection. With `failover:` this waits until a broker answers,
    /// as long as the options allow.
    ///
    /// # Errors
    /// When the options allow no further attempt, or the broker refuses the connection.
    pub async fn connect(self) -> Result<Connection, ClientError> {
        let jms = self.uri.jms.clone();
        check_supported(&jms)?;
        warn_without_effect(&self.uri);
        let failover = self.uri.failover;
        let is_reconnecting = failover.is_reconnecting();
        let tracker = StateTracker::new(&failover.options);
        let connector = OpenWireConnector::new(self.dial, !is_reconnecting);
        let mut reconnector = Reconnector::new(failover, connector, self.seed);
        if let Some(events) = self.events {
            reconnector.report_to(events);
        }
        let events = reconnector.event_sender();
        let audit = jms.check_for_duplicates.then(|| {
            let (depth, producers) = (jms.audit_depth, jms.audit_maximum_producer_number);
            Mutex::new(Audit::new(depth as usize, producers as usize))
        });
        let shared = Arc::new(Shared {
            generation: AtomicU64::new(0),
            audit,
            consumers: Mutex::new(HashMap::new()),
            windows: Mutex::new(HashMap::new()),
            remote: Mutex::new(None),
            broker_name: Mutex::new(None),
        });
        let handle = actor::spawn(reconnector, shared, tracker);
        let prefix = jms.connection_id_prefix.as_deref().unwrap_or("ID:baton");
        let id = ConnectionId::new(format!("{}:1", unique_id(prefix)));
        let client_id = jms.client_id.clone().unwrap_or_else(|| {
            let prefix = jms.client_id_prefix.as_deref().unwrap_or("ID:baton");
            format!("{}:0", unique_id(prefix))
        });
        let inner = Arc::new(ConnectionInner {
            id,
            client_id,
            jms,
            handle,
            next_session: AtomicI64::new(1),
            next_temporary: AtomicI64::new(1),
            next_transaction: AtomicI64::new(1),
        });
        let connection = Connection { inner, events };
        connection.announce(is_reconnecting).await?;
        Ok(connection)
    }
}

/// Says once what of the URI has no effect here, so that nobody waits for it.
fn warn_without_effect(uri: &ClientUri) {
    let options: Vec<&str> = uri
        .written
        .iter()
        .filter(|option| uri.why_without_effect(option).is_some())
        .map(|option| option.name.as_str())
        .collect();
    if !options.is_empty() {
        let options = options.join(", ");
        tracing::warn!(options, "These options have no effect in this client.");
    }
}

/// Refuses what would change the meaning of messages.
fn check_supported(jms: &JmsOptions) -> Result<(), ClientError> {
    if jms.use_compression {
        return Err(ClientError::Unsupported {
            option: "jms.useCompression",
            reason: "bodies are not compressed here; leave it out",
        });
    }
    if jms.transacted_individual_ack {
        return Err(ClientError::Unsupported {
            option: "jms.transactedIndividualAck",
            reason: "transactions acknowledge ranges here; leave it out",
        });
    }
    Ok(())
}

/// A connection as its sessions see it.
pub(super) struct ConnectionInner {
    pub(super) id: ConnectionId,
    pub(super) client_id: String,
    pub(super) jms: JmsOptions,
    pub(super) handle: Handle,
    next_session: AtomicI64,
    next_temporary: AtomicI64,
    next_transaction: AtomicI64,
}

impl ConnectionInner {
    pub(super) fn next_transaction(&self) -> i64 {
        self.next_transaction.fetch_add(1, Ordering::Relaxed)
    }
}

/// A connection to a broker, or to one after the other of a pair. Dropping it ends it abruptly;
/// [`Connection::close`] says goodbye.
///
/// ```no_run
/// # async fn example() -> Result<(), failover::ClientError> {
/// use failover::{AckMode, Connection, Destination, Message};
///
/// let connection = Connection::connect("failover:(tcp://a:61616,tcp://b:61616)").await?;
/// let session = connection.session(AckMode::Auto).await?;
/// let orders = Destination::queue("ORDERS");
/// let producer = session.producer(&orders).await?;
/// producer.send(Message::text("one cheese")?).await?;
/// let consumer = session.consumer(&orders).await?;
/// if let Some(order) = consumer.receive(None).await? {
///     println!("{:?}", order.as_text()?);
/// }
/// connection.close().await
/// # }
/// ```
pub struct Connection {
    inner: Arc<ConnectionInner>,
    events: broadcast::Sender<Event>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.inner.id)
            .field("client_id", &self.inner.client_id)
            .field("remote", &self.remote())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to a URI; [`ConnectionBuilder`] takes more.
    ///
    /// # Errors
    /// When the URI is wrong, and as [`ConnectionBuilder::connect`].
    pub async fn connect(uri: &str) -> Result<Self, ClientError> {
        ConnectionBuilder::new(ClientUri::parse(uri)?)
            .connect()
            .await
    }

    /// Prepares a connection to a URI.
    ///
    /// # Errors
    /// When the URI is wrong.
    pub fn builder(uri: &str) -> Result<ConnectionBuilder, ClientError> {
        Ok(ConnectionBuilder::new(ClientUri::parse(uri)?))
    }

    async fn announce(&self, is_reconnecting: bool) -> Result<(), ClientError> {
        let jms = &self.inner.jms;
        let info = ConnectionInfo {
            connection_id: Some(self.inner.id.clone()),
            client_id: Some(self.inner.client_id.as_str().into()),
            user_name: jms.user_name.as_deref().map(Into::into),
            password: jms
                .password
                .as_deref()
                .map(|p| Secret::from(WireString::from(p))),
            manageable: true,
            fault_tolerant: is_reconnecting,
            ..ConnectionInfo::default()
        };
        let limit = Some(jms.connect_response_timeout);
        self.inner
            .handle
            .request(vec![info.into()], None, limit)
            .await
            .map(|_| ())
    }

    /// The connection's id; it stays the same over reconnects.
    #[must_use]
    pub fn id(&self) -> &ConnectionId {
        &self.inner.id
    }

    /// The client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.inner.client_id
    }

    /// The address it leads to at the moment, `tcp://host:port`; `None` while disconnected.
    #[must_use]
    pub fn remote(&self) -> Option<String> {
        lock(&self.inner.handle.shared.remote).clone()
    }

    /// The name of the broker last connected to, as it calls itself.
    #[must_use]
    pub fn broker_name(&self) -> Option<String> {
        lock(&self.inner.handle.shared.broker_name).clone()
    }

    /// How often the connection was interrupted.
    #[must_use]
    pub fn interruptions(&self) -> u64 {
        self.inner.handle.generation()
    }

    /// Reports what happens to the connection from now on. An observer that lags loses the oldest
    /// events.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn session(&self, mode: AckMode) -> Result<Session, ClientError> {
        let number = self.inner.next_session.fetch_add(1, Ordering::Relaxed);
        let id = self.inner.id.session(number);
        Session::open(Arc::clone(&self.inner), id, mode, false).await
    }

    /// Opens a session whose work belongs to distributed transactions.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn xa_session(&self) -> Result<XaSession, ClientError> {
        let number = self.inner.next_session.fetch_add(1, Ordering::Relaxed);
        let (id, mode) = (self.inner.id.session(number), AckMode::Transacted);
        let session = Session::open(Arc::clone(&self.inner), id, mode, true).await?;
        Ok(XaSession::new(session))
    }

    /// Creates a queue that lives as long as this connection and that only it consumes from.
    ///
    /// # Errors
    /// When the broker refuses, or the connection is gone for good.
    pub async fn temporary_queue(&self) -> Result<Destination, ClientError> {
        self.temporary(DestinationKind::TempQueue).await
    }

    /// Creates a topic that lives as long as this connection.
    ///
    /// # Errors
    /// As [`Connection::temporary_queue`].
    pub async fn temporary_topic(&self) -> Result<Destination, ClientError> {
        self.temporary(DestinationKind::TempTopic).await
    }

    async fn temporary(&self, kind: DestinationKind) -> Result<Destination, ClientError> {
        let number = self.inner.next_temporary.fetch_add(1, Ordering::Relaxed);
        let destination = Destination::new(kind, format!("{}:{number}", self.inner.id));
        self.tell_of(&destination, DestinationInfo::ADD).await?;
        Ok(destination)
    }

    /// Deletes a temporary destination of this connection.
    ///
    /// # Errors
    /// When it is still consumed from, or the connection is gone for good.
    pub async fn delete_temporary(&self, destination: &Destination) -> Result<(), ClientError> {
        if !destination.kind.is_temporary() {
            return Err(ClientError::IllegalState(
                "only temporary destinations are deleted",
            ));
        }
        self.tell_of(destination, DestinationInfo::REMOVE).await
    }

    async fn tell_of(&self, destination: &Destination, operation: i8) -> Result<(), ClientError> {
        let info = DestinationInfo {
            connection_id: Some(self.inner.id.clone()),
            destination: Some(destination.clone()),
            operation_type: operation,
            ..DestinationInfo::default()
        };
        self.ask(info.into()).await
    }

    /// Ends a durable subscription of this client id; its consumer must be closed.
    ///
    /// # Errors
    /// When the broker does not know it or it is in use, or the connection is gone for good.
    pub async fn unsubscribe(&self, name: &str) -> Result<(), ClientError> {
        let info = RemoveSubscriptionInfo {
            connection_id: Some(self.inner.id.clone()),
            client_id: Some(self.inner.client_id.as_str().into()),
            subscription_name: Some(name.into()),
            ..RemoveSubscriptionInfo::default()
        };
        self.ask(info.into()).await
    }

    async fn ask(&self, command: Command) -> Result<(), ClientError> {
        let limit = Some(self.inner.jms.request_timeout);
        self.inner
            .handle
            .request(vec![command], None, limit)
            .await
            .map(|_| ())
    }

    /// Closes the connection and everything in it. Open transactions are rolled back. While
    /// disconnected there is nobody to tell, so it does not wait.
    ///
    /// # Errors
    /// None that matters: a broker that does not answer within `closeTimeout` is left alone.
    pub async fn close(self) -> Result<(), ClientError> {
        let handle = &self.inner.handle;
        let consumers: Vec<_> = lock(&handle.shared.consumers).values().cloned().collect();
        let farewells: Vec<Command> = consumers
            .iter()
            .flat_map(|consumer| consumer.close())
            .collect();
        let limit = Some(self.inner.jms.close_timeout);
        let mut commands = farewells;
        commands.push(RemoveInfo::of(self.inner.id.clone()).into());
        let closed = handle.request(commands, None, limit).await;
        if closed.is_ok() {
            let _ = handle.send(vec![ShutdownInfo::default().into()]).await;
        }
        handle.stop();
        match closed {
            Ok(_) | Err(ClientError::ResponseTimeout(_) | ClientError::Closed { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.inner.handle.stop();
    }
}
