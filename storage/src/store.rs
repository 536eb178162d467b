//! The active's face of the journal: append, read back, wait for what is released.
//!
//! Every operation appends one record and applies it to the state under the lock of the backlogs it
//! touches; none waits for the disk. What it answers holds once [`Store::released`] has reached the
//! returned [`Lsn`].

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::position::{BacklogId, Entry, Epoch, Location, Lsn, Position};

/// Why nothing was appended. The state is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This broker is no longer the active.
    #[error("this broker is no longer the active (epoch {epoch}): nothing was written")]
    Fenced {
        /// The epoch that ended.
        epoch: Epoch,
    },
    /// No space for another segment; acknowledgements are still accepted.
    #[error(
        "the journal directory is full ({free_bytes} bytes free): consume messages or free space there"
    )]
    Full {
        /// Bytes free when last looked at.
        free_bytes: u64,
    },
    /// The record can never fit.
    #[error(
        "a record of {bytes} bytes exceeds the limit of {limit_bytes}: send smaller messages or raise `segment_size`"
    )]
    TooLarge {
        /// The record's size.
        bytes: u64,
        /// The limit, from the segment size.
        limit_bytes: u64,
    },
}

/// The producer of a message, as far as duplicates are concerned.
#[derive(Clone, Copy, Debug)]
pub struct ProducerSequence<'a> {
    /// The producer's id, unique for ever.
    pub producer: &'a [u8],
    /// The message's number at its producer; it only grows.
    pub sequence: u64,
    /// Answer [`Enqueued::Duplicate`] when the sequence is not above the highest one seen.
    pub suppress_duplicate: bool,
}

/// A message to append.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// For duplicate suppression; None = not remembered.
    pub producer: Option<ProducerSequence<'a>>,
    /// 0..=9, 9 is dispatched first. The same number for all messages gives plain FIFO.
    pub order: u8,
    /// Milliseconds since 1970; 0 = never expires.
    pub expiration_ms: i64,
    /// Opaque to storage; [`Store::read`] gives it back.
    pub body: &'a [u8],
}

/// What became of an enqueued message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// Appended. `positions` has one element for each target, in the order given.
    Appended {
        /// Acknowledge the producer once this is released.
        lsn: Lsn,
        /// Where the record is.
        location: Location,
        /// The place in each target backlog.
        positions: Vec<Position>,
    },
    /// Known already: answer as if appended, once `lsn` is released.
    Duplicate {
        /// The journal's present end: the original is at or below it.
        lsn: Lsn,
    },
}

/// The pending persistent messages of one queue or one durable subscription.
pub struct Backlog {
    id: BacklogId,
}

impl Backlog {
    /// Its number, never used twice.
    #[must_use]
    pub fn id(&self) -> BacklogId {
        self.id
    }

    /// What the broker wrote about it: which queue or subscription it is.
    #[must_use]
    pub fn descriptor(&self) -> Bytes {
        unimplemented!()
    }

    /// Pending messages, the ones not yet released included.
    #[must_use]
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// True when nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all pending records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }

    /// The entry at a position.
    #[must_use]
    pub fn entry(&self, position: Position) -> Option<Entry> {
        let _ = position;
        unimplemented!()
    }

    /// Visits entries from `from` on in dispatch order under the backlog's lock, until `visit`
    /// breaks. Keep `visit` short and take no other lock in it.
    pub fn scan(&self, from: Position, visit: &mut dyn FnMut(Position, &Entry) -> ControlFlow<()>) {
        let _ = (from, visit);
        unimplemented!()
    }

    /// Sequences below this may have been dispatched by an earlier tenure: flag them as redelivered.
    #[must_use]
    pub fn redelivered_below(&self) -> u64 {
        unimplemented!()
    }

    /// Sequences below this are reserved for dispatch ([`Store::reserve_dispatch`]); with the LSN
    /// that must be released first.
    #[must_use]
    pub fn reserved_below(&self) -> (u64, Lsn) {
        unimplemented!()
    }
}

/// The journal and the state of the active broker.
pub struct Store {
    epoch: Epoch,
}

impl Store {
    /// The tenure's number.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// All backlogs, for building the broker's destinations at activation.
    #[must_use]
    pub fn backlogs(&self) -> Vec<Arc<Backlog>> {
        unimplemented!()
    }

    /// Creates a backlog.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn create_backlog(&self, descriptor: Bytes) -> Result<(Arc<Backlog>, Lsn), AppendError> {
        let _ = descriptor;
        unimplemented!()
    }

    /// Replaces a backlog's descriptor (a subscription got another selector).
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn describe_backlog(
        &self,
        backlog: &Backlog,
        descriptor: Bytes,
    ) -> Result<Lsn, AppendError> {
        let _ = (backlog, descriptor);
        unimplemented!()
    }

    /// Removes a backlog with all that is pending in it.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn remove_backlog(&self, backlog: &Backlog) -> Result<Lsn, AppendError> {
        let _ = backlog;
        unimplemented!()
    }

    /// Appends a message for one or several backlogs. Without targets only the producer's sequence
    /// is recorded.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn enqueue(
        &self,
        targets: &[Arc<Backlog>],
        message: NewMessage<'_>,
    ) -> Result<Enqueued, AppendError> {
        let _ = (targets, message);
        unimplemented!()
    }

    /// Appends a message that becomes visible with its transaction's commit.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn enqueue_in_transaction(
        &self,
        transaction: &[u8],
        targets: &[Arc<Backlog>],
        message: NewMessage<'_>,
    ) -> Result<Lsn, AppendError> {
        let _ = (transaction, targets, message);
        unimplemented!()
    }

    /// Commits a transaction: its messages become visible and `acknowledged` goes, all in one
    /// record. A transaction without messages need not be known.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn commit(
        &self,
        transaction: &[u8],
        acknowledged: &[(Arc<Backlog>, Vec<Position>)],
    ) -> Result<Lsn, AppendError> {
        let _ = (transaction, acknowledged);
        unimplemented!()
    }

    /// Drops a transaction's messages. None when it has none: nothing to write.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn roll_back(&self, transaction: &[u8]) -> Result<Option<Lsn>, AppendError> {
        let _ = transaction;
        unimplemented!()
    }

    /// Removes consumed (or expired, or discarded) messages; positions that are gone are ignored.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn acknowledge(
        &self,
        backlog: &Backlog,
        positions: &[Position],
    ) -> Result<Lsn, AppendError> {
        let _ = (backlog, positions);
        unimplemented!()
    }

    /// Declares that sequences below `below` may be dispatched from now on.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn reserve_dispatch(&self, backlog: &Backlog, below: u64) -> Result<Lsn, AppendError> {
        let _ = (backlog, below);
        unimplemented!()
    }

    /// The highest sequence seen of a producer.
    #[must_use]
    pub fn producer_sequence(&self, producer: &[u8]) -> Option<u64> {
        let _ = producer;
        unimplemented!()
    }

    /// Forgets producers that were closed cleanly.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn forget_producers(&self, producers: &[Bytes]) -> Result<Lsn, AppendError> {
        let _ = producers;
        unimplemented!()
    }

    /// Forgets producers that sent nothing since `before_ms` (milliseconds since 1970), except those that `is_in_use`.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn forget_idle_producers(
        &self,
        before_ms: u64,
        is_in_use: &dyn Fn(&[u8]) -> bool,
    ) -> Result<usize, AppendError> {
        let _ = (before_ms, is_in_use);
        unimplemented!()
    }

    /// Reads a message's body back, checking its CRC. Blocks: call it where blocking is fine.
    /// It also finds records that are still waiting to be written.
    ///
    /// # Errors
    /// As the operating system says, or `InvalidData` naming segment and offset.
    pub fn read(&self, location: Location) -> io::Result<Bytes> {
        let _ = location;
        unimplemented!()
    }

    /// The highest LSN that is synced and was so while the lease was valid: everything at or below
    /// may be acknowledged and dispatched.
    #[must_use]
    pub fn released(&self) -> Lsn {
        unimplemented!()
    }

    /// True while acknowledging is allowed. Ask again right before bytes that acknowledge go out.
    #[must_use]
    pub fn may_acknowledge(&self) -> bool {
        unimplemented!()
    }

    /// Calls `callback` from the journal's thread whenever [`Store::released`] has grown. Keep it
    /// short.
    pub fn on_released(&self, callback: Box<dyn Fn(Lsn) + Send + Sync>) {
        let _ = callback;
        unimplemented!()
    }

    /// The LSN of the last record appended.
    #[must_use]
    pub fn appended(&self) -> Lsn {
        unimplemented!()
    }

    /// Bytes appended and not yet written: hold producers back while this is large.
    #[must_use]
    pub fn unwritten_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Ends the tenure by plan: refuses appends, writes and releases what was appended, writes a
    /// last checkpoint if that is quick, stops the threads and closes the descriptors. Blocks.
    pub fn shut_down(&self) {
        unimplemented!()
    }

    /// Ends the tenure by force: refuses appends, releases nothing any more. The threads end as
    /// soon as they come back from storage. Never blocks.
    pub fn abandon(&self) {
        unimplemented!()
    }
}
