//! Open transactions: messages that wait for a commit.

use std::collections::HashMap;

use crate::position::{BacklogId, Epoch, Location, Lsn};
use crate::record::Message;

/// A message that is not visible yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenMessage {
    pub(crate) epoch: Epoch,
    pub(crate) location: Location,
    pub(crate) order: u8,
    pub(crate) expiration_ms: i64,
    pub(crate) time_ms: u64,
    /// It counts with the commit only: a transaction that is dropped may be sent again.
    pub(crate) producer: Option<(Box<[u8]>, u64)>,
    pub(crate) targets: Box<[BacklogId]>,
}

impl OpenMessage {
    pub(crate) fn new(epoch: Epoch, location: Location, message: &Message<'_>) -> Self {
        OpenMessage {
            epoch,
            location,
            order: message.order,
            expiration_ms: message.expiration_ms,
            time_ms: message.time_ms,
            producer: message
                .producer
                .map(|producer| (producer.id.into(), producer.sequence)),
            targets: message.targets.as_slice().into(),
        }
    }
}

/// By the transaction's id.
#[derive(Default)]
pub(crate) struct Transactions {
    pub(crate) open: HashMap<Box<[u8]>, Vec<OpenMessage>>,
    /// Records at or below this are contained already.
    pub(crate) complete_through: Lsn,
}

impl Transactions {
    pub(crate) fn push(&mut self, transaction: &[u8], message: OpenMessage) {
        if let Some(messages) = self.open.get_mut(transaction) {
            messages.push(message);
        } else {
            self.open.insert(transaction.into(), vec![message]);
        }
    }
}
