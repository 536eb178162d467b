//! The broker: destinations, consumers, transactions, and the life of a message between them.
//!
//! It knows no sockets and no wire protocol. Protocols translate into the operations of
//! [`Connection`]; what the broker has for a consumer it puts into that connection's [`Outbox`].
//! The canonical form of a message is its OpenWire encoding, so the model of the `openwire` crate
//! (messages, destinations, identifiers) is used here too, and none of its conversation.
//!
//! # Locks
//!
//! All are short, and none is held across an `await` or a blocking call. In the order in which they may nest:
//!
//! 1. a connection's state, then a distributed transaction,
//! 2. the broker's maps (connections, subscriptions, destinations) and a topic's members,
//! 3. one queue's state, or one topic consumer's (never two at a time),
//! 4. the journal's own locks; an outbox; the dispatcher's list.
//!
//! # Durability
//!
//! Whatever an operation wrote to the journal is certain once the [`Receipt`] it answers is
//! released. Nothing persistent is dispatched before it is released.

mod acknowledge;
pub mod advisory;
mod background;
#[allow(
    clippy::module_inception,
    reason = "the broker itself, beside what it is made of"
)]
mod broker;
mod browse;
mod connection;
mod consumer;
mod dead_letter;
mod descriptor;
mod destination;
mod dispatch;
mod dispatcher;
mod error;
mod expiry;
mod groups;
mod inspection;
pub mod interceptor;
mod interest;
mod lifecycle;
mod message;
mod moved;
mod names;
mod options;
mod outbox;
pub mod policy;
mod producer;
mod queue;
mod redelivery;
mod releases;
pub mod schedule;
pub mod security;
pub mod selector;
mod slow;
mod spill;
mod spool;
mod statistics;
mod status;
mod stock;
mod subscription;
mod telling;
mod temporary;
mod timestamp;
mod topic;
mod transaction;
pub mod usage;
mod wide;
mod window;

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

use storage::Lsn;

pub use self::broker::{Attendance, Broker, Phase, ShutDownNotice};
pub use self::connection::{ConnectRequest, Connection, ConsumerRequest, PullTimeout};
pub use self::consumer::{Acknowledgement, LastDelivered};
pub use self::dead_letter::{DiscardDeadLetters, NameExpression, NameExpressionError};
pub use self::error::Refusal;
pub use self::inspection::JournalNames;
pub use self::lifecycle::Lifecycle;
pub use self::message::{Message, MessageError};
pub use self::options::BrokerOptions;
pub use self::outbox::{ConsumerTag, Delivery, Order, Outbox};
pub use self::redelivery::{Redelivery, RedeliveryDelay, RedeliveryPolicy};
pub use self::releases::Releases;
pub use self::status::{BrokerStatus, DestinationStatus, LimitStatus, SpaceStatus, WritingStatus};
pub use self::subscription::DurableOptions;
pub use self::telling::{id_of_message, name_of_backlog};
pub use self::timestamp::{Stamping, TimeStamping};
pub use self::transaction::{
    HeuristicOutcome, InDoubt, InDoubtDestination, InDoubtReport, TransactionName, Vote, XaError,
    Xid,
};
pub use self::usage::BlockedProducer;

/// When the outcome of an operation is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Receipt {
    /// Now.
    Done,
    /// Once the journal has released this.
    At(Lsn),
}

impl Receipt {
    /// When both outcomes are certain.
    pub(crate) fn and(self, other: Receipt) -> Receipt {
        match (self, other) {
            (Receipt::At(one), Receipt::At(other)) => Receipt::At(one.max(other)),
            (Receipt::Done, other) => other,
            (one, Receipt::Done) => one,
        }
    }
}

impl From<Option<Lsn>> for Receipt {
    fn from(lsn: Option<Lsn>) -> Self {
        lsn.map_or(Receipt::Done, Receipt::At)
    }
}

/// Milliseconds since 1970.
fn wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
