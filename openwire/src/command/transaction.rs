//! Transactions, local and distributed.

use std::fmt;

use bytes::Bytes;

use super::ConnectionId;
use crate::codec::{Object, Reader, Writer, data_type};
use crate::error::{DecodeError, EncodeError};

data_type! {
    /// A step of a transaction.
    pub struct TransactionInfo = 7 {
        /// The command's number, chosen by its sender.
        command_id: i32, since 1;
        /// Whether a response must come back.
        response_required: bool, since 1;
        /// The connection that takes the step.
        connection_id: Option<ConnectionId>, since 1;
        /// The transaction; empty for a recovery.
        transaction_id: Option<TransactionId>, since 1;
        /// The number of the step, see [`TransactionInfo::step`].
        kind: i8, since 1;
    }
}

impl TransactionInfo {
    /// The step, if its number is a known one.
    #[must_use]
    pub fn step(&self) -> Option<TransactionStep> {
        TransactionStep::from_number(self.kind)
    }
}

/// What a [`TransactionInfo`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i8)]
pub enum TransactionStep {
    /// Starts; a known transaction is left as it is.
    Begin = 0,
    /// The first phase of a commit.
    Prepare = 1,
    /// Commits without a prepare; the commit of local transactions.
    CommitOnePhase = 2,
    /// The second phase of a commit.
    CommitTwoPhase = 3,
    /// Takes everything back.
    Rollback = 4,
    /// Asks for all prepared transactions.
    Recover = 5,
    /// Drops what is known of a transaction that was ended heuristically.
    Forget = 6,
    /// A barrier: all commands of the transaction on this connection have been sent.
    End = 7,
}

impl TransactionStep {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i8 {
        self as i8
    }

    /// The step with this number.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        Some(match number {
            0 => TransactionStep::Begin,
            1 => TransactionStep::Prepare,
            2 => TransactionStep::CommitOnePhase,
            3 => TransactionStep::CommitTwoPhase,
            4 => TransactionStep::Rollback,
            5 => TransactionStep::Recover,
            6 => TransactionStep::Forget,
            7 => TransactionStep::End,
            _ => return None,
        })
    }
}

data_type! {
    /// A transaction of one connection.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub id LocalTransactionId = 111 {
        /// The number within the connection.
        value: i64, since 1;
        /// The connection.
        connection_id: Option<ConnectionId>, since 1;
    }
}

data_type! {
    /// A distributed transaction, named by its transaction manager.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    pub id XaTransactionId = 112 {
        /// The format of the two parts below.
        format_id: i32, since 1;
        /// The transaction, up to 64 bytes.
        global_transaction_id: Option<Bytes>, since 1;
        /// The branch, up to 64 bytes.
        branch_qualifier: Option<Bytes>, since 1;
    }
}

impl fmt::Display for LocalTransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TX:")?;
        if let Some(connection) = &self.connection_id {
            connection.fmt(f)?;
        }
        write!(f, ":{}", self.value)
    }
}

impl fmt::Display for XaTransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = |bytes: &Option<Bytes>, f: &mut fmt::Formatter<'_>| {
            bytes
                .iter()
                .flatten()
                .try_for_each(|byte| write!(f, "{byte:02x}"))
        };
        write!(f, "XID:[{},globalId=", self.format_id)?;
        hex(&self.global_transaction_id, f)?;
        f.write_str(",branchId=")?;
        hex(&self.branch_qualifier, f)?;
        f.write_str("]")
    }
}

/// A transaction of either kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransactionId {
    /// Of one connection.
    Local(LocalTransactionId),
    /// Distributed.
    Xa(XaTransactionId),
}

impl TransactionId {
    /// A copy that does not keep the frame alive that it came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        let copy = |bytes: &Option<Bytes>| bytes.as_deref().map(Bytes::copy_from_slice);
        match self {
            TransactionId::Local(id) => TransactionId::Local(LocalTransactionId {
                value: id.value,
                connection_id: id.connection_id.as_ref().map(ConnectionId::detached),
            }),
            TransactionId::Xa(id) => TransactionId::Xa(XaTransactionId {
                format_id: id.format_id,
                global_transaction_id: copy(&id.global_transaction_id),
                branch_qualifier: copy(&id.branch_qualifier),
            }),
        }
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransactionId::Local(id) => id.fmt(f),
            TransactionId::Xa(id) => id.fmt(f),
        }
    }
}

impl From<LocalTransactionId> for TransactionId {
    fn from(id: LocalTransactionId) -> Self {
        TransactionId::Local(id)
    }
}

impl From<XaTransactionId> for TransactionId {
    fn from(id: XaTransactionId) -> Self {
        TransactionId::Xa(id)
    }
}

impl Object for TransactionId {
    const EXPECTED: &'static str = "a transaction id (111 or 112)";

    fn read_object(code: u8, reader: &mut Reader) -> Result<Self, DecodeError> {
        match code {
            111 => LocalTransactionId::read_fields(reader).map(TransactionId::Local),
            112 => XaTransactionId::read_fields(reader).map(TransactionId::Xa),
            _ => Err(Self::unexpected(code, reader)),
        }
    }

    fn code(&self) -> u8 {
        match self {
            TransactionId::Local(id) => id.code(),
            TransactionId::Xa(id) => id.code(),
        }
    }

    fn write_object(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            TransactionId::Local(id) => id.write_fields(writer),
            TransactionId::Xa(id) => id.write_fields(writer),
        }
    }
}
