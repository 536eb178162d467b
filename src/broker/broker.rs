//! The broker itself: what it is built on, its connections, and how it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use openwire::{BrokerId, ConnectionId, WireString};
use parking_lot::{Mutex, RwLock};
use storage::{Backlog, Location, Lsn, Position, Store};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::advisory::Announced;
use super::background::Background;
use super::connection::{ConnectRequest, Connection};
use super::dead_letter::Audits;
use super::descriptor::SubscriptionKey;
use super::destination::Destinations;
use super::dispatcher::Dispatcher;
use super::expiry::Expired;
use super::producer::Forgotten;
use super::releases::{self, Releases};
use super::schedule::{self, Scheduler};
use super::security::{Permits, Standing};
use super::subscription::Subscription;
use super::transaction::Branches;
use super::usage::{self, Memory, Usage};
use super::{
    BrokerOptions, Message, Receipt, Refusal, dispatcher, expiry, lifecycle, slow, subscription,
};

/// How far a broker's life has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It ends by plan: connections say goodbye.
    Closing {
        /// Where clients should go.
        reconnect_to: Option<String>,
    },
    /// It is over: nothing more is sent.
    Abandoned,
}

/// How a planned end goes.
#[derive(Clone, Debug)]
pub struct ShutDownNotice {
    /// Where fault tolerant clients should go.
    pub reconnect_to: Option<String>,
    /// How long connections may take to say goodbye.
    pub grace: Duration,
}

impl Default for ShutDownNotice {
    fn default() -> Self {
        ShutDownNotice {
            reconnect_to: None,
            grace: Duration::from_secs(1),
        }
    }
}

/// The message broker of one tenure.
pub struct Broker {
    store: Arc<Store>,
    options: BrokerOptions,
    runtime: Handle,
    usage: Usage,
    background: Arc<Background>,
    dispatcher: Dispatcher,
    releases: Arc<Releases>,
    phase: watch::Sender<Phase>,
    pub(super) destinations: RwLock<Destinations>,
    pub(super) routes_version: AtomicU64,
    pub(super) subscriptions: Mutex<HashMap<SubscriptionKey, Arc<Subscription>>>,
    pub(super) connections: Mutex<Connections>,
    pub(super) forgotten: Forgotten,
    branches: Branches,
    pub(super) scheduler: Scheduler,
    pub(super) announced: Announced,
    pub(super) audits: Audits,
    pub(super) expired: Arc<Expired>,
    numbers: AtomicU64,
    attendance: Arc<Attending>,
    id: BrokerId,
}

#[derive(Default)]
pub(super) struct Connections {
    by_id: HashMap<ConnectionId, Arc<Connection>>,
    by_client_id: HashMap<WireString, ConnectionId>,
}

impl Connections {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.by_id.values()
    }

    /// The client id of a connection that is open.
    pub(super) fn client_id(&self, id: &ConnectionId) -> Option<WireString> {
        self.by_id.get(id).map(|open| open.client_id().clone())
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The connection that uses a client id.
    pub(super) fn id_of(&self, client_id: &WireString) -> Option<&ConnectionId> {
        self.by_client_id.get(client_id)
    }
}

#[derive(Debug, Default)]
struct Attending {
    count: AtomicUsize,
    left: Notify,
}

/// One socket that the broker waits for when it ends by plan.
#[derive(Debug)]
pub struct Attendance(Arc<Attending>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
        self.0.left.notify_waiters();
    }
}

impl Broker {
    /// Builds the destinations from the journal's backlogs and starts to serve them.
    #[must_use]
    pub fn start(store: Arc<Store>, options: BrokerOptions, runtime: Handle) -> Arc<Broker> {
        let releases = Arc::new(Releases::new(store.released()));
        let usage = Usage::new(&options.limits, options.memory_bytes);
        let id = BrokerId::new(format!("ID:{}-{}", options.name, store.epoch()));
        let broker = Arc::new(Broker {
            background: Background::new(runtime.clone()),
            dispatcher: Dispatcher::new(Arc::clone(&releases)),
            usage,
            options,
            runtime,
            phase: watch::Sender::new(Phase::Serving),
            destinations: RwLock::default(),
            routes_version: AtomicU64::new(0),
            subscriptions: Mutex::default(),
            connections: Mutex::default(),
            forgotten: Forgotten::default(),
            branches: Branches::default(),
            scheduler: Scheduler::default(),
            announced: Announced::default(),
            audits: Audits::default(),
            expired: Arc::default(),
            numbers: AtomicU64::new(1),
            attendance: Arc::default(),
            id,
            releases: Arc::clone(&releases),
            store,
        });
        broker.restore();
        broker.restore_prepared();
        broker
            .store
            .on_released(Box::new(move |lsn| releases.advance(lsn)));
        let owner = Arc::downgrade(&broker);
        broker.store.on_moved(move |moved| {
            if let Some(broker) = owner.upgrade() {
                broker.forget_moved(moved);
            }
        });
        // Released between the first look and the callback.
        broker.releases.advance(broker.store.released());
        broker.make_startup_destinations();
        broker.advise_master();
        broker.runtime.spawn(lifecycle::run(Arc::clone(&broker)));
        broker.runtime.spawn(releases::run(Arc::clone(&broker)));
        broker.runtime.spawn(dispatcher::run(Arc::clone(&broker)));
        broker.runtime.spawn(expiry::run(Arc::clone(&broker)));
        broker.runtime.spawn(schedule::run(Arc::clone(&broker)));
        broker.runtime.spawn(usage::watch(Arc::clone(&broker)));
        broker.runtime.spawn(subscription::run(Arc::clone(&broker)));
        broker.runtime.spawn(slow::run(Arc::clone(&broker)));
        broker
    }

    /// Ends by plan: clients that can are told where to go, what is released is still answered, then
    /// all connections are closed.
    pub async fn shut_down(&self, notice: ShutDownNotice) {
        self.set_phase(Phase::Closing {
            reconnect_to: notice.reconnect_to,
        });
        let all_left = async {
            loop {
                let left = self.attendance.left.notified();
                if self.attendance.count.load(Ordering::SeqCst) == 0 {
                    return;
                }
                left.await;
            }
        };
        if tokio::time::timeout(notice.grace, all_left).await.is_err() {
            let connections = self.attendance.count.load(Ordering::SeqCst);
            tracing::info!(connections, "Connections did not end in time and are cut.");
        }
        self.abandon();
    }

    /// Ends at once: all connections are dropped and nothing more is sent. Never blocks.
    pub fn abandon(&self) {
        self.set_phase(Phase::Abandoned);
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.send_if_modified(|present| {
            let is_news = *present != Phase::Abandoned;
            if is_news {
                *present = phase;
            }
            is_news
        });
    }

    /// Watches how far the broker's life has got.
    #[must_use]
    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits for the end of the broker.
    pub(super) async fn ended(&self) {
        let mut phase = self.phase.subscribe();
        // An error means that the broker is gone, which is an end too.
        let _ = phase.wait_for(|phase| *phase == Phase::Abandoned).await;
    }

    /// Whether bytes that acknowledge something may go out. Ask right before they do.
    #[must_use]
    pub fn may_acknowledge(&self) -> bool {
        *self.phase.borrow() != Phase::Abandoned && self.store.may_acknowledge()
    }

    /// Bytes on their way to the journal: stop reading from producers while they are many.
    #[must_use]
    pub fn unwritten_bytes(&self) -> usize {
        self.store.unwritten_bytes()
    }

    /// Counts a socket, for which a planned end waits.
    #[must_use]
    pub fn attend(&self) -> Attendance {
        self.attendance.count.fetch_add(1, Ordering::SeqCst);
        Attendance(Arc::clone(&self.attendance))
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &BrokerOptions {
        &self.options
    }

    /// Its id in this tenure.
    #[must_use]
    pub fn id(&self) -> &BrokerId {
        &self.id
    }

    /// What the journal has released, to wait for more.
    #[must_use]
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    /// Waits until what a receipt stands for is certain. False: the broker ended before.
    pub async fn settled(&self, receipt: Receipt) -> bool {
        let Receipt::At(lsn) = receipt else {
            return true;
        };
        tokio::select! {
            () = self.releases.reach(lsn) => true,
            () = self.ended() => false,
        }
    }

    /// What the journal has released.
    #[must_use]
    pub fn released(&self) -> Lsn {
        self.releases.lsn()
    }

    /// Opens a connection. One with the same id, whose client has come back over another socket, is
    /// ended first.
    ///
    /// # Errors
    /// When the client id is missing or in use.
    pub async fn connect(
        self: &Arc<Self>,
        request: ConnectRequest,
    ) -> Result<Arc<Connection>, Refusal> {
        if request.client_id.is_empty() {
            return Err(Refusal::ClientIdMissing);
        }
        loop {
            // First of all: nobody's old connection is closed for somebody who is not admitted.
            let standing = self.options.access.admit(&request.credentials)?;
            let old = match self.try_connect(&request, standing) {
                Ok(connection) => {
                    self.advise_connection(&request.announcement);
                    return Ok(connection);
                }
                Err(Conflict::ClientId(refusal)) => return Err(refusal),
                Err(Conflict::SameConnection(old)) => old,
            };
            tracing::info!(connection = %request.id, "The client is back: its old socket is closed.");
            old.replace().await;
        }
    }

    fn try_connect(
        self: &Arc<Self>,
        request: &ConnectRequest,
        standing: Standing,
    ) -> Result<Arc<Connection>, Conflict> {
        let mut connections = self.connections.lock();
        if let Some(old) = connections.by_id.get(&request.id) {
            return Err(Conflict::SameConnection(Arc::clone(old)));
        }
        if let Some(other) = connections.by_client_id.get(&request.client_id) {
            return Err(Conflict::ClientId(Refusal::ClientIdInUse {
                client_id: request.client_id.clone(),
                connection: other.to_string(),
            }));
        }
        let connection = Connection::new(Arc::clone(self), request, standing);
        connections
            .by_client_id
            .insert(request.client_id.clone(), request.id.clone());
        connections
            .by_id
            .insert(request.id.clone(), Arc::clone(&connection));
        Ok(connection)
    }

    /// What the user of a connection may do; None = everything.
    pub(super) fn permits_of(&self, connection: &ConnectionId) -> Option<Arc<Permits>> {
        let connections = self.connections.lock();
        connections.by_id.get(connection)?.permits().cloned()
    }

    pub(super) fn disconnected(&self, connection: &Connection) {
        let mut connections = self.connections.lock();
        connections.by_id.remove(connection.id());
        connections.by_client_id.remove(connection.client_id());
    }

    /// The connection with this id, if it is there.
    pub(super) fn connection(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        self.connections.lock().by_id.get(id).map(Arc::clone)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.usage.memory
    }

    /// What is used of what may be.
    pub(crate) fn usage(&self) -> &Usage {
        &self.usage
    }

    pub(super) fn background(&self) -> &Arc<Background> {
        &self.background
    }

    pub(super) fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }

    /// Distributed transactions.
    pub(super) fn branches(&self) -> &Branches {
        &self.branches
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A number that is given once in this tenure.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Reads a message back, wherever it was moved meanwhile. None: it was consumed, or, with a log
    /// event, it cannot be read.
    pub(super) fn read_back(
        &self,
        backlog: &Backlog,
        position: Position,
        location: Location,
    ) -> Option<Message> {
        let read = self
            .store
            .read_at(backlog, position, location)
            .map_err(|error| error.to_string())
            .and_then(|bytes| {
                let message = bytes.map(|bytes| Message::read_back(bytes, self.memory()));
                message.transpose().map_err(|error| error.to_string())
            });
        let read = read.inspect_err(|error| {
            tracing::error!(
                segment = location.segment.0,
                offset = location.offset,
                %error,
                "A message cannot be read back and is not dispatched."
            );
        });
        read.ok().flatten()
    }
}

enum Conflict {
    SameConnection(Arc<Connection>),
    ClientId(Refusal),
}
