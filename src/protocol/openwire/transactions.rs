//! Transaction commands. Local ones are the broker's; distributed ones are refused in the way that
//! transaction managers understand.

use openwire::{Command, DataArrayResponse, TransactionId, TransactionInfo, TransactionStep};

use super::error::Failure;
use super::session::{Outcome, Session};
use crate::broker::Refusal;

/// XAER_RMERR: the resource manager cannot do it.
const XA_RESOURCE_ERROR: i32 = -3;

/// The number of a local transaction; None without one.
pub(super) fn local(transaction: Option<&TransactionId>) -> Result<Option<i64>, Failure> {
    match transaction {
        None => Ok(None),
        Some(TransactionId::Local(id)) => Ok(Some(id.value)),
        Some(TransactionId::Xa(_)) => Err(xa_unsupported()),
    }
}

fn xa_unsupported() -> Failure {
    Failure::Xa {
        text: "distributed transactions are not supported yet",
        code: XA_RESOURCE_ERROR,
    }
}

impl Session {
    pub(super) fn transaction(&mut self, info: &TransactionInfo) -> Result<Outcome, Failure> {
        let step = info
            .step()
            .ok_or(Failure::Misuse("an unknown step of a transaction"))?;
        if step == TransactionStep::Recover {
            // None can be prepared, so the list is empty.
            return Ok(Outcome::With(Command::from(DataArrayResponse {
                data: Some(Vec::new()),
                ..DataArrayResponse::default()
            })));
        }
        let number = match local(info.transaction_id.as_ref()) {
            Ok(Some(number)) => number,
            Ok(None) => return Err(Failure::Misuse("a transaction command without its id")),
            // Nobody waits for the outcome of a begin. What follows is refused.
            Err(_) if step == TransactionStep::Begin && !info.response_required => {
                return Ok(Outcome::Done);
            }
            Err(failure) => return Err(failure),
        };
        let connection = self.connection()?;
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
}
