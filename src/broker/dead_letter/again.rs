//! What a client gave up comes back to where it was, after a time: it waits with the scheduled messages.

use std::sync::Arc;

use openwire::primitive::Value;
use openwire::{Destination, StoredMessageError};
use storage::Lsn;

use super::{Cause, Letter};
use crate::broker::redelivery::{RedeliveryDelay, Verdict};
use crate::broker::schedule::{Delayed, Plan};
use crate::broker::{Broker, Message, MessageError, Receipt, Refusal};

/// The property that says after which time a message came back. Clients do not give up a message
/// that has it before their application has seen it.
const REDELIVERY_DELAY: &str = "redeliveryDelay";
/// What clients write of a message that they got twice.
const DUPLICATE_FROM_STORE: &str = "duplicate from store for ";
/// The properties of a schedule that the message had before.
const FORMER: [&str; 4] = [
    "scheduledJobId",
    "AMQ_SCHEDULED_PERIOD",
    "AMQ_SCHEDULED_REPEAT",
    "AMQ_SCHEDULED_CRON",
];
/// The property by which the scheduler knows the time.
const SCHEDULED_DELAY: &str = "AMQ_SCHEDULED_DELAY";

impl Broker {
    /// What becomes of a letter by the rules of redelivery.
    pub(super) fn verdict(&self, letter: &Letter<'_>) -> Verdict {
        let is_duplicate = match letter.cause {
            Cause::Poison(Some(text)) => text.contains(DUPLICATE_FROM_STORE),
            Cause::Poison(None) | Cause::Expired => false,
        };
        match &self.options().redelivery {
            // Without a scheduler nothing would ever come back.
            Some(redelivery)
                if self.options().scheduling.is_enabled
                    && !is_duplicate
                    && !letter.is_expired() =>
            {
                redelivery.verdict(letter.from, letter.message.redeliveries())
            }
            _ => Verdict::DeadLetter,
        }
    }

    /// Moves a letter to the scheduled messages, by one record.
    pub(super) fn send_back(
        self: &Arc<Self>,
        letter: &Letter<'_>,
        delay: RedeliveryDelay,
        redeliveries: u32,
    ) -> Result<Option<Lsn>, Refusal> {
        let (copy, plan) = match self.later(letter, delay, redeliveries) {
            Ok(later) => later,
            Err(error) => {
                let message = letter.message.id();
                tracing::error!(%message, %error, "A message cannot be redelivered.");
                return Ok(None);
            }
        };
        let delayed = Delayed::new(plan, Arc::new(copy));
        let Some((queue, Some(position))) = letter.source else {
            return match self.schedule(&delayed, None)? {
                Receipt::Done => Ok(None),
                Receipt::At(lsn) => Ok(Some(lsn)),
            };
        };
        let transaction = format!("redelivery:{}", self.next_number());
        let transaction = transaction.as_bytes();
        let acknowledged = [(queue.backlog(self)?, vec![position])];
        delayed.job()?.enqueue_in(self, transaction)?;
        let lsn = self.store().commit(transaction, &acknowledged)?;
        self.scheduled(lsn);
        Ok(Some(lsn))
    }

    fn later(
        &self,
        letter: &Letter<'_>,
        delay: RedeliveryDelay,
        redeliveries: u32,
    ) -> Result<(Message, Plan), MessageError> {
        let mut copy = letter.message.stored().decode()?;
        let mut properties = copy.properties()?;
        for name in FORMER {
            properties.remove(name);
        }
        let delay = i64::try_from(delay.0).unwrap_or(i64::MAX);
        properties.insert(REDELIVERY_DELAY, Value::Long(delay));
        properties.insert(SCHEDULED_DELAY, Value::Long(delay));
        let encoded = properties.encode().map_err(StoredMessageError::from)?;
        copy.marshalled_properties = Some(encoded);
        copy.destination = Some(Destination::clone(letter.from));
        copy.transaction_id = None;
        copy.redelivery_counter = i32::try_from(redeliveries).unwrap_or(i32::MAX);
        Ok((Message::made(&copy, self.memory())?, Plan::after(delay)))
    }
}
