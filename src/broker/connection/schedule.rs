//! Messages of a connection that are not delivered now but given to the scheduler.

use std::sync::Arc;

use super::{Connection, Inner};
use crate::broker::schedule::{Claim, Delayed};
use crate::broker::{Message, Receipt, Refusal, TransactionName, names};

impl Connection {
    /// What the scheduler has to do with a message. What cannot be understood makes the message's
    /// transaction fail.
    pub(super) fn claim(
        &self,
        inner: &mut Inner,
        message: &Message,
        transaction: Option<&TransactionName>,
    ) -> Result<Option<Claim>, Refusal> {
        self.broker.claim(message).inspect_err(|refusal| {
            if let Some(name) = transaction {
                self.fail_in(inner, name, refusal);
            }
        })
    }

    /// Gives a message to the scheduler. Requests to it are no part of a transaction.
    pub(super) fn hand_over(
        &self,
        inner: &mut Inner,
        claim: Claim,
        message: &Arc<Message>,
        transaction: Option<&TransactionName>,
    ) -> Result<Receipt, Refusal> {
        message.settle();
        let plan = match claim {
            Claim::Manage(request) => return self.broker.manage_schedule(request),
            Claim::Delay(plan) => plan,
        };
        let delayed = Delayed::new(plan, Arc::clone(message));
        // The destination is made when the message gets there; a name that is none is told now.
        let separator = self.broker.options().interceptors.path_separator.as_deref();
        let is_name = names::read(message.destination(), separator).map(|_| ());
        let Some(name) = transaction else {
            is_name?;
            let mut made = None;
            let producer = self.sequence(inner, message, &mut made);
            return self.broker.schedule(&delayed, producer);
        };
        is_name.inspect_err(|refusal| self.fail_in(inner, name, refusal))?;
        self.in_transaction(inner, name, |transaction| {
            transaction.delay(delayed);
            Ok(())
        })?;
        Ok(Receipt::Done)
    }
}
