//! Transaction commands, local and distributed.

use std::sync::Arc;

use openwire::{
    Command, DataArrayResponse, IntegerResponse, TransactionId, TransactionInfo, TransactionStep,
};

use super::error::Failure;
use super::session::{Outcome, Session};
use crate::broker::{Connection, Refusal, TransactionName, Vote, XaError, Xid};

/// `XA_OK`: prepared, it waits for the decision.
const XA_OK: i32 = 0;
/// `XA_RDONLY`: there was nothing to prepare.
const XA_RDONLY: i32 = 3;

/// How the broker knows a transaction; None without one.
pub(super) fn named(
    transaction: Option<&TransactionId>,
) -> Result<Option<TransactionName>, Failure> {
    let Some(transaction) = transaction else {
        return Ok(None);
    };
    match transaction {
        TransactionId::Local(id) => Ok(Some(TransactionName::Local(id.value))),
        TransactionId::Xa(id) => match Xid::new(id) {
            Some(xid) => Ok(Some(TransactionName::Xa(xid))),
            None => Err(Failure::from(Refusal::Xa {
                transaction: format!("format {}", id.format_id),
                error: XaError::Invalid,
                cause: "its name is too long".to_owned(),
            })),
        },
    }
}

impl Session {
    pub(super) fn transaction(&mut self, info: &TransactionInfo) -> Result<Outcome, Failure> {
        let step = info
            .step()
            .ok_or(Failure::Misuse("an unknown step of a transaction"))?;
        let connection = self.connection()?;
        if step == TransactionStep::Recover {
            return Ok(recover(connection));
        }
        match named(info.transaction_id.as_ref())? {
            Some(TransactionName::Local(number)) => local(connection, number, step),
            Some(TransactionName::Xa(xid)) => distributed(connection, &xid, step),
            None => Err(Failure::Misuse("a transaction command without its id")),
        }
    }
}

fn local(
    connection: &Arc<Connection>,
    number: i64,
    step: TransactionStep,
) -> Result<Outcome, Failure> {
    match step {
        TransactionStep::Begin => connection.begin(number),
        TransactionStep::CommitOnePhase | TransactionStep::CommitTwoPhase => {
            return Ok(connection.commit(number)?.into());
        }
        TransactionStep::Rollback => match connection.roll_back(number) {
            // What is not there is rolled back.
            Ok(()) | Err(Refusal::NoSuchTransaction(_)) => {}
            Err(refusal) => return Err(refusal.into()),
        },
        TransactionStep::Prepare => {
            return Err(Failure::Misuse("a local transaction cannot be prepared"));
        }
        TransactionStep::Recover | TransactionStep::Forget | TransactionStep::End => {}
    }
    Ok(Outcome::Done)
}

fn distributed(
    connection: &Arc<Connection>,
    xid: &Xid,
    step: TransactionStep,
) -> Result<Outcome, Failure> {
    let receipt = match step {
        TransactionStep::Begin => {
            connection.xa_begin(xid)?;
            return Ok(Outcome::Done);
        }
        TransactionStep::Prepare => {
            let (vote, receipt) = connection.xa_prepare(xid)?;
            let result = match vote {
                Vote::Prepared => XA_OK,
                Vote::ReadOnly => XA_RDONLY,
            };
            let response = IntegerResponse {
                result,
                ..IntegerResponse::default()
            };
            return Ok(Outcome::With(receipt, response.into()));
        }
        TransactionStep::CommitOnePhase => connection.xa_commit(xid, true)?,
        TransactionStep::CommitTwoPhase => connection.xa_commit(xid, false)?,
        TransactionStep::Rollback => connection.xa_roll_back(xid)?,
        TransactionStep::Forget => connection.xa_forget(xid)?,
        // Commands are carried out in the order in which they come, so this barrier is nothing.
        TransactionStep::End | TransactionStep::Recover => return Ok(Outcome::Done),
    };
    Ok(receipt.into())
}

/// All prepared transactions, whoever prepared them.
fn recover(connection: &Arc<Connection>) -> Outcome {
    let (prepared, receipt) = connection.xa_recover();
    let data = prepared
        .iter()
        .map(|xid| Some(Command::from(xid.id())))
        .collect();
    let response = DataArrayResponse {
        data: Some(data),
        ..DataArrayResponse::default()
    };
    Outcome::With(receipt, response.into())
}
