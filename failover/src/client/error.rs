//! What can go wrong for a client's application.

use std::sync::Arc;
use std::time::Duration;

use crate::transport::GaveUp;
use crate::uri::UriError;

/// A broker's refusal of one command; the connection lives on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by the broker: {message} ({class})")]
pub struct Refusal {
    /// The Java class of the exception, such as `java.lang.SecurityException`.
    pub class: String,
    /// The broker's words.
    pub message: String,
}

/// Why a call of the client failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The URI is wrong.
    #[error("invalid URI: {0}")]
    Uri(#[from] UriError),
    /// The broker refused the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The reconnect options allow no further attempt. It is final.
    #[error("connection failed for good: {0}")]
    GaveUp(#[from] GaveUp),
    /// The application closed the connection, session, producer or consumer.
    #[error("the {what} is closed")]
    Closed {
        /// What is closed.
        what: &'static str,
    },
    /// No connection came within the `timeout` of the failover URI. The message was not sent; the
    /// connection is still being sought.
    #[error("not sent: no connection within {} ms", .0.as_millis())]
    SendTimeout(Duration),
    /// The answer did not come within the time that the options allow; the command may have
    /// taken effect.
    #[error("no answer from the broker within {} ms", .0.as_millis())]
    ResponseTimeout(Duration),
    /// The transaction was rolled back: none of it took effect.
    #[error("transaction {transaction} was rolled back: {reason}")]
    RolledBack {
        /// The transaction.
        transaction: String,
        /// Why.
        reason: String,
    },
    /// The answer to the commit was lost with the connection: all of the transaction took effect
    /// or none of it, and the broker cannot be asked. What it received is delivered again if not.
    #[error("transaction {transaction} is in doubt: the connection broke during its commit")]
    TransactionInDoubt {
        /// The transaction.
        transaction: String,
    },
    /// The command is larger than the peers agreed to accept.
    #[error("a frame of {size} bytes exceeds the {limit} bytes that were agreed")]
    FrameTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: u64,
    },
    /// The command has no encoding, for instance because a name is too long.
    #[error(transparent)]
    Encode(#[from] openwire::EncodeError),
    /// The message's body is not what it promises, or compressed.
    #[error(transparent)]
    Body(#[from] openwire::body::BodyError),
    /// The message's properties are damaged.
    #[error(transparent)]
    Decode(#[from] openwire::DecodeError),
    /// A property could not be set.
    #[error(transparent)]
    Property(#[from] openwire::body::PropertyError),
    /// The call makes no sense in this state, such as a commit of a session without transactions.
    #[error("{0}")]
    IllegalState(&'static str),
    /// A destination's name or its options are wrong.
    #[error("invalid destination `{name}`: {reason}")]
    InvalidDestination {
        /// As given.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The option is not supported by this client.
    #[error("`{option}` is not supported: {reason}")]
    Unsupported {
        /// The option as the URI spells it.
        option: &'static str,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// The broker ignores the prefetch; the consumer is closed.
    #[error("the broker sent {limit} messages ahead, far beyond the prefetch")]
    Flooded {
        /// How many were accepted.
        limit: usize,
    },
    /// The answer is not one that the command can have.
    #[error("unexpected answer {found} to {asked}")]
    UnexpectedAnswer {
        /// The type of the answer.
        found: &'static str,
        /// The command's type.
        asked: &'static str,
    },
}

impl ClientError {
    /// Whether a broker refused the command, as opposed to a lost or closed connection.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// Whether the connection is gone for good.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::GaveUp(_) | Self::Closed { .. })
    }

    /// Whether a transaction was rolled back for certain.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        match self {
            Self::RolledBack { .. } => true,
            Self::Refused(refusal) => refusal.class == openwire::exception::TRANSACTION_ROLLED_BACK,
            _ => false,
        }
    }

    /// The XA error code, such as -4 (XAER_NOTA), of a refusal about a distributed transaction.
    #[must_use]
    pub fn xa_code(&self) -> Option<i32> {
        let Self::Refused(refusal) = self else {
            return None;
        };
        let (_, code) = refusal.message.split_once("xaErrorCode:")?;
        let end = code
            .find(|c: char| c != '-' && !c.is_ascii_digit())
            .unwrap_or(code.len());
        code[..end].parse().ok()
    }

    /// Whether a transaction may have been committed or not.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::TransactionInDoubt { .. })
    }
}

/// The error of a connection that lost its broker without leave to seek another.
pub(crate) fn lost(address: &str, cause: impl std::error::Error + Send + Sync + 'static) -> GaveUp {
    GaveUp {
        addresses: address.to_owned(),
        rounds: 0,
        last: Some(Arc::new(cause)),
    }
}
