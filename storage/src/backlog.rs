//! A backlog: the pending persistent messages of one queue or one durable subscription.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use crate::position::{BacklogId, Entry, Location, Lsn, Position, SegmentNumber};
use crate::state::Entries;

/// The pending persistent messages of one queue or one durable subscription.
pub struct Backlog {
    id: BacklogId,
    contents: Mutex<Contents>,
}

/// What the backlog's lock protects.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) descriptor: Bytes,
    pub(crate) entries: Entries,
    /// The highest sequence given so far.
    pub(crate) last_sequence: u64,
    pub(crate) reserved_below: u64,
    /// The record that reserved it.
    pub(crate) reserved_by: Lsn,
    pub(crate) redelivered_below: u64,
    /// Records at or below this are contained already.
    pub(crate) complete_through: Lsn,
    /// The backlog is no longer in the directory.
    pub(crate) is_removed: bool,
}

impl Backlog {
    pub(crate) fn new(id: BacklogId, contents: Contents) -> Self {
        Backlog {
            id,
            contents: Mutex::new(contents),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock()
    }

    /// Its number, never used twice.
    #[must_use]
    pub fn id(&self) -> BacklogId {
        self.id
    }

    /// What the broker wrote about it: which queue or subscription it is.
    #[must_use]
    pub fn descriptor(&self) -> Bytes {
        self.lock().descriptor.clone()
    }

    /// Pending messages, the ones not yet released included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// True when nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all pending records.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().entries.bytes()
    }

    /// The entry at a position.
    #[must_use]
    pub fn entry(&self, position: Position) -> Option<Entry> {
        self.lock().entries.get(position)
    }

    /// Visits entries from `from` on in dispatch order under the backlog's lock, until `visit`
    /// breaks. Keep `visit` short and take no other lock in it.
    pub fn scan(&self, from: Position, visit: &mut dyn FnMut(Position, &Entry) -> ControlFlow<()>) {
        let contents = self.lock();
        for (position, entry) in contents.entries.iter_from(from) {
            if visit(position, &entry).is_break() {
                return;
            }
        }
    }

    /// Visits the entries among the `max` from `from` on whose records are in the segments asked for.
    /// Answers where to go on; None: that was all.
    pub(crate) fn find_in_segments(
        &self,
        from: Position,
        max: usize,
        is_asked_for: impl Fn(SegmentNumber) -> bool,
        mut found: impl FnMut(Position, Location),
    ) -> Option<Position> {
        let contents = self.lock();
        for (seen, (position, entry)) in contents.entries.iter_from(from).enumerate() {
            if seen == max {
                return Some(position);
            }
            if is_asked_for(entry.location.segment) {
                found(position, entry.location);
            }
        }
        None
    }

    /// Sequences below this may have been dispatched by an earlier tenure: flag them as redelivered.
    /// What came after that tenure is never among them.
    #[must_use]
    pub fn redelivered_below(&self) -> u64 {
        self.lock().redelivered_below
    }

    /// Sequences below this are reserved for dispatch ([`crate::Store::reserve_dispatch`]); with
    /// the LSN that must be released first.
    #[must_use]
    pub fn reserved_below(&self) -> (u64, Lsn) {
        let contents = self.lock();
        (contents.reserved_below, contents.reserved_by)
    }
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
