//! A client's connection: all that a protocol can ask of the broker, and what goes when the
//! connection goes.

mod consumers;
mod producers;
mod queues;
mod schedule;
mod topics;
mod transactions;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openwire::{Command, ConnectionId, ConsumerId, Destination, ProducerId, WireString};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::broker::browse::Trail;
use crate::broker::consumer::LastDelivered;
use crate::broker::descriptor::SubscriptionKey;
use crate::broker::interceptor::Route;
use crate::broker::names;
use crate::broker::outbox::{ConsumerTag, Outbox};
use crate::broker::queue::Queue;
use crate::broker::security::{Action, Credentials, Permits, Standing};
use crate::broker::subscription::Subscription;
use crate::broker::topic::TopicConsumer;
use crate::broker::transaction::Transaction;
use crate::broker::wide::WideConsumer;
use crate::broker::{Broker, Receipt, Refusal};

/// Names whose routes a connection remembers, to find destinations without the broker's map.
const ROUTES_REMEMBERED: usize = 64;

/// What a client says when it connects.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// The connection's id; the same again after a reconnect.
    pub id: ConnectionId,
    /// The client's id, used by one connection at a time.
    pub client_id: WireString,
    /// The client comes back after a loss: what it sends may be a repetition.
    pub is_reconnect: bool,
    /// Who the client says it is.
    pub credentials: Credentials,
    /// The announcement in its canonical form, for advisories; without the password.
    pub announcement: Command,
}

/// What a client says of a new consumer.
#[derive(Clone, Debug)]
pub struct ConsumerRequest {
    /// Its id.
    pub id: ConsumerId,
    /// The connection's own number for it, on all deliveries.
    pub tag: ConsumerTag,
    /// Where it consumes from.
    pub destination: Destination,
    /// Messages that may be outstanding; 0 = each is asked for.
    pub prefetch: u32,
    /// Which messages it wants.
    pub selector: Option<WireString>,
    /// It does not want what its own connection publishes.
    pub no_local: bool,
    /// It only looks.
    pub is_browser: bool,
    /// It wants to be the only one that a queue serves.
    pub is_exclusive: bool,
    /// Consumers of higher priority are served first.
    pub priority: i8,
    /// It is the consumer of the durable subscription with this name.
    pub subscription_name: Option<WireString>,
    /// It wants to see what was published before it came, for topics.
    pub is_retroactive: bool,
    /// How many messages may wait beyond its prefetch, for topics.
    pub pending_limit: Option<usize>,
    /// The announcement in its canonical form, for advisories.
    pub announcement: Command,
}

/// What happens when a pull finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullTimeout {
    /// The client is told at once.
    Immediate,
    /// The client is told after this time.
    After(Duration),
    /// It waits until there is something.
    Never,
}

/// A client's connection.
pub struct Connection {
    broker: Arc<Broker>,
    id: ConnectionId,
    client_id: WireString,
    is_reconnect: bool,
    announcement: Command,
    standing: Standing,
    outbox: Arc<Outbox>,
    inner: Mutex<Inner>,
    is_replaced: watch::Sender<bool>,
    has_ended: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    consumers: HashMap<ConsumerId, Entry>,
    producers: HashMap<ProducerId, Producer>,
    transactions: HashMap<i64, Transaction>,
    temporaries: Vec<Destination>,
    routes: HashMap<Destination, Routed>,
    /// The client did something with a consumer, so it is done with repeating after a reconnect.
    has_moved_on: bool,
    is_closed: bool,
}

struct Entry {
    home: Home,
    /// The durable subscription that it is the consumer of.
    subscription: Option<Arc<Subscription>>,
    tag: ConsumerTag,
    destination: Destination,
}

#[derive(Clone)]
enum Home {
    Queue(Arc<Queue>),
    Queues(Arc<WideConsumer>),
    /// A browser of several queues.
    Browser(Arc<Trail>),
    Topics(Arc<TopicConsumer>),
}

/// Where messages for a name go, as it was worked out once.
#[derive(Clone)]
struct Routed {
    /// It holds as long as the broker's is the same.
    version: u64,
    route: Route,
    /// The name as it is to be read, if messages say it in another way.
    name: Option<Destination>,
}

struct Producer {
    key: Bytes,
    /// Several for a composite name.
    destinations: Vec<Destination>,
}

impl Connection {
    pub(super) fn new(
        broker: Arc<Broker>,
        request: &ConnectRequest,
        standing: Standing,
    ) -> Arc<Self> {
        let outbox = Outbox::new(broker.options().outbox_bytes);
        Arc::new(Connection {
            broker,
            id: request.id.clone(),
            client_id: request.client_id.clone(),
            is_reconnect: request.is_reconnect,
            announcement: request.announcement.clone(),
            standing,
            outbox,
            inner: Mutex::default(),
            is_replaced: watch::Sender::new(false),
            has_ended: watch::Sender::new(false),
        })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &ConnectionId {
        &self.id
    }

    /// Its client's id.
    #[must_use]
    pub fn client_id(&self) -> &WireString {
        &self.client_id
    }

    /// What waits to be written to its socket.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// What its user may do; None = everything.
    pub(super) fn permits(&self) -> Option<&Arc<Permits>> {
        self.standing.permits.as_ref()
    }

    /// Refuses to do something with one of several destinations when the user may not.
    fn check_all(&self, action: Action, destinations: &[Destination]) -> Result<(), Refusal> {
        match &self.standing.permits {
            Some(permits) => permits.check_all(action, destinations),
            None => Ok(()),
        }
    }

    /// Refuses to make those destinations that are not there when the user may not.
    fn check_creation(&self, destinations: &[Destination]) -> Result<(), Refusal> {
        match &self.standing.permits {
            Some(permits) => permits.check_creation(&self.broker, destinations),
            None => Ok(()),
        }
    }

    /// Refuses to consume from a destination when the user may not.
    fn check_consumption(&self, destination: &Destination) -> Result<(), Refusal> {
        let Some(permits) = &self.standing.permits else {
            return Ok(());
        };
        let separator = self.broker.options().interceptors.path_separator.as_deref();
        let read = names::read(destination, separator)?;
        permits.check_all(Action::Read, &names::parts(&read)?)?;
        permits.check_creation(&self.broker, &names::reach(&read)?.names)
    }

    pub(super) fn announcement(&self) -> &Command {
        &self.announcement
    }

    /// Asks the connection's task to end, because the client is back on another socket, and waits
    /// until it has.
    pub(super) async fn replace(&self) {
        self.is_replaced.send_replace(true);
        // An error means that it is gone, which is an end too.
        let _ = self.has_ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Asks the connection's task to end, because the broker does not want it any more.
    pub(super) fn dismiss(&self) {
        self.is_replaced.send_replace(true);
    }

    /// Turns true when this connection is to be closed: the client has come back on another socket,
    /// or the broker does not want it any more.
    #[must_use]
    pub fn watch_replaced(&self) -> watch::Receiver<bool> {
        self.is_replaced.subscribe()
    }

    /// Makes a temporary destination.
    ///
    /// # Errors
    /// When another connection has one of this name.
    pub fn add_temporary(&self, name: &Destination) -> Result<(), Refusal> {
        self.check_creation(std::slice::from_ref(name))?;
        if self.broker.add_temporary(name, &self.id)? {
            self.inner.lock().temporaries.push(name.detached());
        }
        Ok(())
    }

    /// Deletes a temporary destination.
    ///
    /// # Errors
    /// When it has consumers, or is another connection's.
    pub fn remove_temporary(&self, name: &Destination) -> Result<(), Refusal> {
        self.check_all(Action::Remove, std::slice::from_ref(name))?;
        self.broker.remove_temporary(name, &self.id, false)?;
        let mut inner = self.inner.lock();
        inner.temporaries.retain(|other| other != name);
        inner.routes.remove(name);
        Ok(())
    }

    /// Makes a queue or a topic, as its first use would.
    ///
    /// # Errors
    /// When its name cannot be used.
    pub fn add_destination(&self, name: &Destination) -> Result<(), Refusal> {
        let parts = self.named(name)?;
        self.check_creation(&parts)?;
        for part in parts {
            self.broker.target(&part)?;
        }
        Ok(())
    }

    /// Removes a queue or a topic with all that is in it.
    ///
    /// # Errors
    /// When somebody consumes from it, or the journal does not take it.
    pub fn remove_destination(&self, name: &Destination) -> Result<Receipt, Refusal> {
        let mut receipt = Receipt::Done;
        let parts = self.named(name)?;
        self.check_all(Action::Remove, &parts)?;
        for part in parts {
            receipt = receipt.and(self.broker.remove_destination(&part, Some(&self.id))?);
        }
        Ok(receipt)
    }

    /// The destinations that a name stands for, as names.
    fn named(&self, name: &Destination) -> Result<Vec<Destination>, Refusal> {
        let separator = self.broker.options().interceptors.path_separator.as_deref();
        names::parts(&*names::read(name, separator)?)
    }

    /// Ends a durable subscription of this client.
    ///
    /// # Errors
    /// When it is unknown or in use.
    pub fn unsubscribe(
        &self,
        client_id: Option<&WireString>,
        name: &WireString,
    ) -> Result<Receipt, Refusal> {
        let client_id = client_id.unwrap_or(&self.client_id).detached();
        self.broker.unsubscribe(&SubscriptionKey {
            client_id,
            name: name.detached(),
        })
    }

    /// Ends the connection and all that belongs to it.
    pub fn close(&self, last_delivered: LastDelivered) {
        let inner = {
            let mut inner = self.inner.lock();
            if inner.is_closed {
                return;
            }
            std::mem::replace(
                &mut *inner,
                Inner {
                    is_closed: true,
                    ..Inner::default()
                },
            )
        };
        for (_, transaction) in inner.transactions {
            transaction.roll_back(&self.broker);
        }
        self.broker.xa_leave(&self.id);
        let mut unsent: HashMap<ConsumerTag, u64> = HashMap::new();
        for delivery in self.outbox.drain() {
            unsent.entry(delivery.consumer).or_insert(delivery.sequence);
        }
        for (id, entry) in inner.consumers {
            let unsent_from = unsent.get(&entry.tag).copied();
            self.close_consumer(&id, entry, last_delivered, unsent_from);
        }
        for (id, producer) in &inner.producers {
            self.producer_gone(id, producer);
        }
        for name in &inner.temporaries {
            if let Err(error) = self.broker.remove_temporary(name, &self.id, true) {
                tracing::debug!(%error, "A temporary destination is left.");
            }
        }
        self.broker.disconnected(self);
        self.broker.advise_disconnection(&self.id);
        self.has_ended.send_replace(true);
    }
}
