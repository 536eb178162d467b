//! Acknowledgements of messages in flight from a queue.

use std::sync::Arc;

use openwire::{AckKind, ConsumerId};
use storage::Lsn;

use super::consumer::{Acknowledgement, InFlight, TransactionNumber};
use super::dead_letter::Cause;
use super::queue::{Queue, State};
use super::{Broker, Refusal};

impl State {
    fn take_acknowledged(
        &mut self,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<Vec<InFlight>, Refusal> {
        let taken = self
            .consumer(consumer)
            .ok_or_else(|| Refusal::NoSuchConsumer(consumer.clone()))?
            .take_acknowledged(acknowledgement)?;
        if self.groups.is_some() {
            for in_flight in &taken {
                self.no_longer_in_flight(in_flight);
            }
        }
        Ok(taken)
    }
}

impl Queue {
    /// Carries out an acknowledgement outside a transaction. Answers what must be released before
    /// it is certain.
    pub(super) fn acknowledge(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<Option<Lsn>, Refusal> {
        match acknowledgement.kind {
            AckKind::Delivered => {
                self.extend(broker, consumer, acknowledgement.count)?;
                Ok(None)
            }
            AckKind::Standard | AckKind::Individual => {
                self.acknowledge_consumed(broker, consumer, acknowledgement)
            }
            AckKind::Poison => {
                let cause = Cause::Poison(acknowledgement.cause.clone());
                self.give_away(broker, consumer, acknowledgement, cause)?;
                Ok(None)
            }
            AckKind::Expired => {
                self.give_away(broker, consumer, acknowledgement, Cause::Expired)?;
                Ok(None)
            }
            // The client redelivers from its own memory: nothing changes here. The other kind is
            // one that clients do not send.
            AckKind::Redelivered | AckKind::Unmatched => Ok(None),
        }
    }

    /// Holds what is acknowledged until the transaction ends.
    pub(super) fn hold(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
        transaction: TransactionNumber,
    ) -> Result<usize, Refusal> {
        match acknowledgement.kind {
            AckKind::Standard | AckKind::Individual => self.change(broker, |state| {
                if state.browser(consumer).is_some() {
                    return Ok(0);
                }
                state
                    .consumer(consumer)
                    .ok_or_else(|| Refusal::NoSuchConsumer(consumer.clone()))?
                    .hold(acknowledgement, transaction)
            }),
            _ => self
                .acknowledge(broker, consumer, acknowledgement)
                .map(|_| 0),
        }
    }

    fn extend(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        consumer: &ConsumerId,
        count: usize,
    ) -> Result<(), Refusal> {
        self.change(broker, |state| {
            if let Some(browser) = state.browser(consumer) {
                browser.acknowledged(count);
                return Ok(());
            }
            let found = state.consumer(consumer);
            found
                .ok_or_else(|| Refusal::NoSuchConsumer(consumer.clone()))?
                .extend(count);
            Ok(())
        })
    }

    fn acknowledge_consumed(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<Option<Lsn>, Refusal> {
        let taken = self.change(broker, |state| {
            if let Some(browser) = state.browser(consumer) {
                browser.acknowledged(acknowledgement.count.max(1));
                return Ok(Vec::new());
            }
            state.take_acknowledged(consumer, acknowledgement)
        })?;
        if taken.is_empty() {
            Ok(None)
        } else {
            self.consumed(broker, &taken)
        }
    }

    /// Moves what is acknowledged out of the queue, to a dead letter queue if it is worth it.
    fn give_away(
        self: &Arc<Self>,
        broker: &Arc<Broker>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
        cause: Cause,
    ) -> Result<(), Refusal> {
        let taken = self.change(broker, |state| {
            if state.browser(consumer).is_some() {
                return Ok(Vec::new());
            }
            state.take_acknowledged(consumer, acknowledgement)
        })?;
        let slots = taken.into_iter().map(|in_flight| in_flight.slot).collect();
        broker.dead_letter(self, slots, cause);
        Ok(())
    }
}
