//! From the broker's refusals to the exceptions that clients know, and why a connection ends.

use std::io;
use std::time::Duration;

use openwire::{DecodeError, FrameError, NegotiationError, Throwable, WireFormatError, exception};
use storage::store::AppendError;

use crate::broker::{MessageError, Refusal};

/// What ActiveMQ throws for a temporary destination that is gone.
const NO_SUCH_DESTINATION: &str = "org.apache.activemq.DestinationDoesNotExistException";

/// Why a connection ends. The first three are normal.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the client closed the socket")]
    Closed,
    #[error("the client said goodbye")]
    ShutDown,
    #[error("the broker ends")]
    BrokerEnds,
    #[error("the client is back on another socket, or its consumer was too slow")]
    Replaced,
    #[error("this broker is no longer the active")]
    Fenced,
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
    #[error("nothing arrived for {0:?}")]
    Silent(Duration),
    #[error("no WireFormatInfo came within {0:?}")]
    NoHandshake(Duration),
    #[error("the client was refused")]
    Refused,
    #[error("the first frame is a {0} instead of a WireFormatInfo")]
    NotWireFormat(&'static str),
    #[error(transparent)]
    WireFormat(#[from] WireFormatError),
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("a {0} is no command that a client may send")]
    Unexpected(&'static str),
}

impl End {
    /// Whether the peer did something that it should not, which somebody may want to know.
    pub(super) fn is_peers_fault(&self) -> bool {
        matches!(
            self,
            End::NoHandshake(_)
                | End::NotWireFormat(_)
                | End::WireFormat(_)
                | End::Negotiation(_)
                | End::Frame(_)
                | End::Decode(_)
                | End::Unexpected(_)
        )
    }
}

/// What stops a command.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The broker does not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A message that is none.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The client may not ask for it now.
    #[error("{0}")]
    Misuse(&'static str),
    /// Something that this broker does not do.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl Failure {
    /// Whether the broker has lost its role: then nothing is answered, and the client repeats the
    /// command at the other broker.
    pub(super) fn is_fenced(&self) -> bool {
        matches!(
            self,
            Failure::Refused(Refusal::Journal(AppendError::Fenced { .. }))
        )
    }

    /// The exception that the client's library makes of it.
    pub(super) fn throwable(&self) -> Throwable {
        let class = match self {
            Failure::Refused(refusal) => class_of(refusal),
            Failure::Message(_) | Failure::Unsupported(_) => exception::JMS,
            Failure::Misuse(_) => exception::ILLEGAL_STATE,
        };
        match self {
            // Clients read the code from the text's end.
            Failure::Refused(Refusal::Xa { error, .. }) => {
                let code = error.code();
                Throwable::new(class, &format!("{self} xaErrorCode:{code}"))
            }
            // That class makes the sentence itself, of the name that it is given.
            Failure::Refused(Refusal::NoSuchDestination(name)) => {
                Throwable::new(class, &name.to_string())
            }
            _ => Throwable::new(class, &self.to_string()),
        }
    }
}

fn class_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::BadCredentials { .. }
        | Refusal::NotAuthenticated
        | Refusal::NotAuthorized { .. } => exception::SECURITY,
        Refusal::ClientIdInUse { .. } | Refusal::ClientIdMissing => exception::INVALID_CLIENT_ID,
        Refusal::NoSuchDestination(_) => NO_SUCH_DESTINATION,
        Refusal::NamelessDestination
        | Refusal::ForeignTemporary(_)
        | Refusal::UnsupportedName { .. }
        | Refusal::NoSuchSubscription { .. } => exception::INVALID_DESTINATION,
        Refusal::Schedule(_) => exception::MESSAGE_FORMAT,
        Refusal::InvalidSelector(_) => exception::INVALID_SELECTOR,
        Refusal::NoRoom(_) | Refusal::Journal(_) => exception::RESOURCE_ALLOCATION,
        Refusal::NoSuchTransaction(_) | Refusal::TransactionFailed { .. } => {
            exception::TRANSACTION_ROLLED_BACK
        }
        Refusal::Xa { .. } => exception::XA,
        Refusal::TemporaryInUse { .. }
        | Refusal::DestinationInUse { .. }
        | Refusal::SubscriptionInUse { .. }
        | Refusal::SubscriptionActive
        | Refusal::SubscriptionsRefused
        | Refusal::NoSuchConsumer(_)
        | Refusal::NotOutstanding { .. }
        | Refusal::CountMismatch { .. }
        | Refusal::EmptyAcknowledgement(_)
        | Refusal::PoisonInTransaction(_)
        | Refusal::ProducerNotRepeated(_)
        | Refusal::NotInDoubt(_)
        | Refusal::Closing => exception::JMS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::XaError;
    use crate::broker::usage::{LimitKind, Patience, Shortage};

    #[test]
    fn refusals_become_the_exceptions_that_clients_know() {
        let client_id = || "c".into();
        let xa = || Refusal::Xa {
            transaction: "t".to_owned(),
            error: XaError::Unknown,
            cause: "no".to_owned(),
        };
        let cases: [(Failure, &str); 7] = [
            (
                Refusal::ClientIdMissing.into(),
                "javax.jms.InvalidClientIDException",
            ),
            (
                Refusal::NoSuchSubscription {
                    client_id: client_id(),
                    name: "n".into(),
                }
                .into(),
                "javax.jms.InvalidDestinationException",
            ),
            (
                Refusal::SubscriptionInUse {
                    client_id: client_id(),
                    name: "n".into(),
                }
                .into(),
                "javax.jms.JMSException",
            ),
            (
                Refusal::NoRoom(Box::new(Shortage {
                    kind: LimitKind::Memory,
                    destination: openwire::Destination::queue("Q"),
                    used: 2,
                    limit: 1,
                    patience: Patience::None,
                    warning_interval: Duration::ZERO,
                    wants_full_advisory: false,
                    wants_fast_producer_advisory: false,
                }))
                .into(),
                "javax.jms.ResourceAllocationException",
            ),
            (
                Refusal::NoSuchTransaction("TX:c:1".into()).into(),
                "javax.jms.TransactionRolledBackException",
            ),
            (Failure::Misuse("no"), "javax.jms.IllegalStateException"),
            (xa().into(), "javax.transaction.xa.XAException"),
        ];
        for (failure, class) in cases {
            let throwable = failure.throwable();
            assert_eq!(throwable.class, Some(class.into()));
            assert!(
                throwable.message.is_some_and(|text| !text.is_empty()),
                "{class}"
            );
        }
        let xa = Failure::from(xa()).throwable();
        assert!(
            xa.message
                .is_some_and(|text| text.to_string_lossy().ends_with("xaErrorCode:-4"))
        );
    }
}
