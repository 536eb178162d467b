//! Why the broker does not do what a client asked for. The connection lives on.

use openwire::{ConsumerId, Destination, ProducerId, WireString};
use storage::store::AppendError;

use super::XaError;

use super::schedule::ScheduleError;
use super::selector::SelectorError;
use super::usage::Shortage;

/// Why the broker does not do what a client asked for. Protocols translate it into their own errors.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A client id that another connection uses.
    #[error("client id `{client_id}` is in use by connection `{connection}`: close that one first")]
    ClientIdInUse {
        /// The client id.
        client_id: WireString,
        /// Who uses it.
        connection: String,
    },
    /// A connection without a client id.
    #[error("the connection has no client id: set one")]
    ClientIdMissing,
    /// A destination that does not exist and is not created on first use.
    #[error("destination `{0}` does not exist: its connection has closed it, or is not back yet")]
    NoSuchDestination(Destination),
    /// A destination without a name.
    #[error("a destination without a name: name it")]
    NamelessDestination,
    /// A temporary destination of another connection.
    #[error("`{0}` belongs to another connection: only its creator may consume from it")]
    ForeignTemporary(Destination),
    /// A temporary destination with consumers.
    #[error("`{destination}` has {consumers} consumers: close them before it is deleted")]
    TemporaryInUse {
        /// The destination.
        destination: Destination,
        /// Its consumers.
        consumers: usize,
    },
    /// A queue or topic with consumers, which cannot be removed.
    #[error(
        "Destination: {destination} still has an active subscription: close its consumers ({consumers}) first"
    )]
    DestinationInUse {
        /// The destination.
        destination: Destination,
        /// Its consumers.
        consumers: usize,
    },
    /// A kind of destination name that cannot be used here.
    #[error("`{destination}`: {what} are not supported here; name one destination")]
    UnsupportedName {
        /// The destination.
        destination: Destination,
        /// Wildcards or composite names.
        what: &'static str,
    },
    /// Properties that are no schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// A selector that is none.
    #[error(transparent)]
    InvalidSelector(#[from] SelectorError),
    /// A durable subscription with an active consumer.
    #[error("Durable consumer is in use for client: {client_id} and subscriptionName: {name}")]
    SubscriptionInUse {
        /// The client id.
        client_id: WireString,
        /// The subscription's name.
        name: WireString,
    },
    /// A durable subscription where there may be none.
    #[error("Durable Consumers are not allowed")]
    SubscriptionsRefused,
    /// A durable subscription that is to be removed and has an active consumer.
    #[error("Durable consumer is in use")]
    SubscriptionActive,
    /// A durable subscription that does not exist.
    #[error(
        "No durable subscription exists for clientID: {client_id} and subscriptionName: {name}"
    )]
    NoSuchSubscription {
        /// The client id.
        client_id: WireString,
        /// The subscription's name.
        name: WireString,
    },
    /// There is no room for the message now.
    #[error("{0}")]
    NoRoom(Box<Shortage>),
    /// The journal did not take it.
    #[error(transparent)]
    Journal(#[from] AppendError),
    /// A transaction that nobody began.
    #[error("transaction `{0}` is unknown: begin it first")]
    NoSuchTransaction(String),
    /// A transaction that cannot be committed because one of its parts failed.
    #[error("transaction `{transaction}` was rolled back: {cause}")]
    TransactionFailed {
        /// The transaction.
        transaction: String,
        /// What failed first.
        cause: String,
    },
    /// A step of a distributed transaction.
    #[error("transaction `{transaction}`: {cause}")]
    Xa {
        /// The transaction.
        transaction: String,
        /// What it is to transaction managers.
        error: XaError,
        /// What happened.
        cause: String,
    },
    /// A decision on a transaction that does not wait for one.
    #[error("no prepared transaction `{0}`: list those that wait, it may be decided already")]
    NotInDoubt(String),
    /// A message given up as a part of a transaction.
    #[error("consumer `{0}` gives a message up in a transaction: do that outside of it")]
    PoisonInTransaction(ConsumerId),
    /// A repetition without its producer: nobody knows what else of the transaction is missing.
    #[error("producer `{0}` is not open: its part of the transaction was not repeated whole")]
    ProducerNotRepeated(ProducerId),
    /// A consumer that the connection does not have.
    #[error("consumer `{0}` is unknown: it was closed, or never opened")]
    NoSuchConsumer(ConsumerId),
    /// An acknowledgement for something that is not outstanding.
    #[error(
        "message `{message}` is not outstanding at consumer `{consumer}`: nothing was acknowledged"
    )]
    NotOutstanding {
        /// The consumer.
        consumer: ConsumerId,
        /// The message's id as text.
        message: String,
    },
    /// An acknowledgement whose count contradicts its range.
    #[error(
        "the acknowledgement of consumer `{consumer}` says {stated} messages, its range holds {found}: nothing was acknowledged"
    )]
    CountMismatch {
        /// The consumer.
        consumer: ConsumerId,
        /// What the command says.
        stated: usize,
        /// What the range holds.
        found: usize,
    },
    /// An acknowledgement that names no message.
    #[error("an acknowledgement of consumer `{0}` names no message")]
    EmptyAcknowledgement(ConsumerId),
    /// A user that is unknown, or a password that is not the user's.
    #[error("User name [{user}] or password is invalid.")]
    BadCredentials {
        /// The name that was given.
        user: String,
    },
    /// Somebody whom nobody authenticated, where rights are needed.
    #[error("User is not authenticated.")]
    NotAuthenticated,
    /// Something that the user has no right to do.
    #[error("User {user} is not authorized to {action}: {destination}")]
    NotAuthorized {
        /// The user.
        user: String,
        /// What it wanted to do.
        action: &'static str,
        /// With which destination.
        destination: Destination,
    },
    /// The connection or the broker is closing.
    #[error("the connection is closing")]
    Closing,
}
