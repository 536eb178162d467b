//! The active's face of the journal: append, read back, wait for what is released.
//!
//! Every operation appends one record and applies it to the state under the lock of the backlogs it
//! touches; none waits for the disk. What it answers holds once [`Store::released`] has reached the
//! returned [`Lsn`].
//!
//! No mutex is held across a call of the disk or the clock: the time is asked before locks are
//! taken, and the journal's thread is woken after they are let go.

mod producers;
mod read;
mod transactions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

pub use crate::backlog::Backlog;
use crate::clock::Joiner;
pub use crate::journal::SpaceStatus;
use crate::journal::{Appended, Class, MovedRecord, Shared, SpaceUsage, SyncMethod};
use crate::position::{BacklogId, Epoch, Location, Lsn, Position};
use crate::record::{
    Acknowledge, CreateBacklog, DescribeBacklog, Frame, Message, ProducerNote, Record,
    RemoveBacklog, ReserveDispatch,
};
use crate::state::{Locked, Place};

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
    #[error("a record of {bytes} bytes exceeds the limit of {limit_bytes}: send smaller messages")]
    TooLarge {
        /// The record's size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
}

/// How long an acknowledgement waits for a segment in a full directory, and how often it tries.
const FULL_PATIENCE: Duration = Duration::from_secs(5);
const FULL_POLL: Duration = Duration::from_millis(2);

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

/// How the journal is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    /// Batches under way.
    pub in_flight: usize,
    /// How many may be under way at once, as storage is now.
    pub depth: usize,
    /// The usual time of a durable write while no other is under way; zero at the beginning.
    pub round_trip: Duration,
    /// How batches are made durable; [`SyncMethod::Auto`] while that is being measured.
    pub sync: SyncMethod,
}

/// The journal and the state of the active broker.
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<Box<dyn Joiner>>>,
}

impl Store {
    pub(crate) fn new(shared: Arc<Shared>, threads: Vec<Box<dyn Joiner>>) -> Store {
        Store {
            shared,
            threads: Mutex::new(threads),
        }
    }

    /// The tenure's number.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// All backlogs, for building the broker's destinations at activation.
    #[must_use]
    pub fn backlogs(&self) -> Vec<Arc<Backlog>> {
        self.shared.state.backlogs()
    }

    /// Creates a backlog.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn create_backlog(&self, descriptor: Bytes) -> Result<(Arc<Backlog>, Lsn), AppendError> {
        let with_id = |id| {
            Record::CreateBacklog(CreateBacklog {
                id,
                descriptor: &descriptor,
            })
        };
        let (appended, backlog) =
            self.shared
                .state
                .with_locks(&with_id(BacklogId(0)), |locked| {
                    let last_id = locked.directory().map_or(0, |directory| directory.last_id);
                    let id = BacklogId(last_id + 1);
                    let appended = self.append(locked, &with_id(id), Class::Control)?;
                    let made = locked
                        .directory()
                        .and_then(|all| all.backlogs.get(&id).cloned());
                    Ok((appended, made.expect("it was just created")))
                })?;
        Ok((backlog, self.wake(appended)))
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
        let id = backlog.id();
        let record = Record::DescribeBacklog(DescribeBacklog {
            id,
            descriptor: &descriptor,
        });
        self.append_unless_removed(backlog, &record)
    }

    /// Removes a backlog with all that is pending in it.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn remove_backlog(&self, backlog: &Backlog) -> Result<Lsn, AppendError> {
        let record = Record::RemoveBacklog(RemoveBacklog { id: backlog.id() });
        let appended = self.patiently(|| {
            self.shared
                .state
                .with_locks(&record, |locked| match locked.backlog(backlog.id()) {
                    Some(_) => self.append(locked, &record, Class::Control).map(Some),
                    None => Ok(None),
                })
        })?;
        Ok(self.wake_or_present(appended))
    }

    /// Appends a message for one or several backlogs. Without targets only the producer's sequence
    /// is recorded. A target that was removed meanwhile gets a position that holds nothing.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn enqueue(
        &self,
        targets: &[Arc<Backlog>],
        message: NewMessage<'_>,
    ) -> Result<Enqueued, AppendError> {
        let time_ms = self.shared.clock.wall_ms();
        let mut sorted: Vec<&Backlog> = targets.iter().map(|target| &**target).collect();
        sorted.sort_unstable_by_key(|target| target.id());
        sorted.dedup_by_key(|target| target.id());
        loop {
            let ids = sorted.iter().map(|target| target.id()).collect();
            let record = Record::Message(new_message(&message, time_ms, ids, &[]));
            let frame = frame(&record);
            let producer = message.producer.map(|producer| producer.producer);
            let mut locked = self.shared.state.lock(sorted.iter().copied(), producer);
            if is_duplicate(&message, |id| locked.producer_sequence(id)) {
                return Ok(Enqueued::Duplicate {
                    lsn: self.appended(),
                });
            }
            let is_there = |target: &&Backlog| locked.backlog(target.id()).is_some();
            if !sorted.iter().all(is_there) {
                let still_there: Vec<&Backlog> = sorted.iter().copied().filter(is_there).collect();
                drop(locked);
                sorted = still_there;
                continue;
            }
            let class = if targets.is_empty() {
                Class::Control
            } else {
                Class::Message
            };
            let appended = self.shared.pending.append(frame, class)?;
            let given = self.apply(&mut locked, appended, &record);
            drop(locked);
            let nowhere = Position::new(0, 0);
            let place_in = |target: &Arc<Backlog>| {
                let index = sorted.binary_search_by_key(&target.id(), |sorted| sorted.id());
                index
                    .ok()
                    .and_then(|index| given.get(index).copied())
                    .unwrap_or(nowhere)
            };
            let positions = targets.iter().map(place_in).collect();
            let lsn = self.wake(appended);
            return Ok(Enqueued::Appended {
                lsn,
                location: appended.location,
                positions,
            });
        }
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
        let appended = self.patiently(|| {
            let mut locked = self.shared.state.lock(std::iter::once(backlog), None);
            let Some(acknowledge) = acknowledged(&locked, backlog.id(), positions) else {
                return Ok(None);
            };
            let record = Record::Acknowledge(acknowledge);
            self.append(&mut locked, &record, Class::Control).map(Some)
        })?;
        Ok(self.wake_or_present(appended))
    }

    /// Declares that sequences below `below` may be dispatched from now on.
    ///
    /// # Errors
    /// [`AppendError`]
    pub fn reserve_dispatch(&self, backlog: &Backlog, below: u64) -> Result<Lsn, AppendError> {
        let (reserved, by) = backlog.reserved_below();
        if below <= reserved {
            return Ok(by);
        }
        let record = Record::ReserveDispatch(ReserveDispatch {
            id: backlog.id(),
            below,
        });
        self.append_unless_removed(backlog, &record)
    }

    /// The highest LSN that is synced and was so while the lease was valid: everything at or below
    /// may be acknowledged and dispatched.
    #[must_use]
    pub fn released(&self) -> Lsn {
        self.shared.watermark.released()
    }

    /// Whether there is space for messages, as the journal's keeper saw it last.
    #[must_use]
    pub fn space_status(&self) -> SpaceStatus {
        *self.shared.fullness.lock()
    }

    /// True while acknowledging is allowed. Ask again right before bytes that acknowledge go out.
    #[must_use]
    pub fn may_acknowledge(&self) -> bool {
        self.shared.gate.is_open()
    }

    /// Calls `callback` from the journal's thread whenever [`Store::released`] has grown. Keep it
    /// short.
    pub fn on_released(&self, callback: Box<dyn Fn(Lsn) + Send + Sync>) {
        self.shared.on_released.lock().push(Arc::from(callback));
    }

    /// Calls `callback` from the keeper's thread whenever records were moved. What they were moved
    /// to is durable soon; until the call, locations that somebody holds can still be read, and
    /// afterwards [`Store::read_at`] finds the message.
    pub fn on_moved(&self, callback: impl Fn(&[MovedRecord]) + Send + Sync + 'static) {
        self.shared.on_moved.lock().push(Arc::new(callback));
    }

    /// How the space of the directory is used.
    #[must_use]
    pub fn space(&self) -> SpaceUsage {
        let live_bytes = self.shared.state.segments.lock().bytes();
        let segment_bytes = u64::from(self.shared.options.segment_bytes);
        self.shared.space.tell(live_bytes, segment_bytes)
    }

    /// The LSN of the last record appended.
    #[must_use]
    pub fn appended(&self) -> Lsn {
        self.shared.pending.appended()
    }

    /// The LSN of the last record that is synced, released or not.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        self.shared.watermark.durable()
    }

    /// How the journal is being written; for status pages.
    #[must_use]
    pub fn writing(&self) -> Writing {
        let (in_flight, depth, round_trip) = self.shared.pending.depth();
        Writing {
            in_flight,
            depth,
            round_trip,
            sync: self.shared.chooser.method(),
        }
    }

    /// Bytes appended and not yet written: hold producers back while this is large.
    #[must_use]
    pub fn unwritten_bytes(&self) -> usize {
        self.shared.pending.unwritten_bytes()
    }

    /// Ends the tenure by plan: refuses appends, writes and releases what was appended, writes a
    /// last checkpoint if that is quick, stops the threads and closes the descriptors. Blocks.
    pub fn shut_down(&self) {
        self.shared.is_draining.store(true, Ordering::Release);
        self.shared.end();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // A panic was told by the thread itself.
            let _ = thread.join();
        }
    }

    /// Ends the tenure by force: refuses appends, releases nothing any more. The threads end as
    /// soon as they come back from storage. Never blocks.
    pub fn abandon(&self) {
        self.shared.gate.fence();
        self.shared.end();
    }

    /// Appends and applies a record, all that it touches being locked.
    fn append(
        &self,
        locked: &mut Locked<'_>,
        record: &Record<'_>,
        class: Class,
    ) -> Result<Appended, AppendError> {
        let appended = self.shared.pending.append(frame(record), class)?;
        self.apply(locked, appended, record);
        Ok(appended)
    }

    fn apply(
        &self,
        locked: &mut Locked<'_>,
        appended: Appended,
        record: &Record<'_>,
    ) -> Vec<Position> {
        let place = Place {
            lsn: appended.lsn,
            epoch: self.shared.epoch,
            location: appended.location,
        };
        locked
            .apply(place, record)
            .expect("what it speaks of was checked under the locks")
    }

    fn append_unless_removed(
        &self,
        backlog: &Backlog,
        record: &Record<'_>,
    ) -> Result<Lsn, AppendError> {
        let appended = self.patiently(|| {
            let mut locked = self.shared.state.lock(std::iter::once(backlog), None);
            if locked.backlog(backlog.id()).is_none() {
                return Ok(None);
            }
            self.append(&mut locked, record, Class::Control).map(Some)
        })?;
        Ok(self.wake_or_present(appended))
    }

    /// Does what lets the journal get emptier. In a full directory the keeper may be a moment late
    /// with the next segment: who consumes waits for that instead of being refused. No lock may be
    /// held.
    fn patiently<T>(
        &self,
        mut append: impl FnMut() -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        let shared = &self.shared;
        let mut until = None;
        loop {
            let done = append();
            if !matches!(done, Err(AppendError::Full { .. })) || shared.is_over() {
                return done;
            }
            let now = shared.clock.now();
            if now >= *until.get_or_insert(now + FULL_PATIENCE) {
                return done;
            }
            shared.keeper_signal.notify();
            shared.clock.sleep(FULL_POLL);
        }
    }

    /// Wakes the journal's thread if it sleeps. No lock may be held.
    fn wake(&self, appended: Appended) -> Lsn {
        if let Some(lane) = appended.wakes {
            self.shared.lanes[lane].notify();
        }
        appended.lsn
    }

    fn wake_or_present(&self, appended: Option<Appended>) -> Lsn {
        match appended {
            Some(appended) => self.wake(appended),
            None => self.appended(),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if !self.threads.lock().is_empty() {
            self.abandon();
        }
    }
}

/// The record on its way; a large body is copied here, before any lock is taken.
pub(crate) fn frame<'a>(record: &Record<'a>) -> Frame<'a> {
    let mut frame = Frame::new(record);
    // What is too large will be refused: no need to copy it.
    if frame.is_large() && frame.bytes() <= u64::from(crate::record::RECORD_BYTES_MAX) {
        frame.own_body();
    }
    frame
}

fn new_message<'a>(
    message: &NewMessage<'a>,
    time_ms: u64,
    targets: Vec<BacklogId>,
    transaction: &'a [u8],
) -> Message<'a> {
    let producer = message.producer.map(|producer| ProducerNote {
        id: producer.producer,
        sequence: producer.sequence,
    });
    Message {
        expiration_ms: message.expiration_ms,
        time_ms,
        order: message.order.min(9),
        producer,
        transaction,
        targets,
        body: message.body,
    }
}

fn is_duplicate(message: &NewMessage<'_>, known: impl FnOnce(&[u8]) -> Option<u64>) -> bool {
    let Some(producer) = message
        .producer
        .filter(|producer| producer.suppress_duplicate)
    else {
        return false;
    };
    known(producer.producer).is_some_and(|highest| producer.sequence <= highest)
}

/// What of `positions` is still pending; None: nothing.
fn acknowledged(locked: &Locked<'_>, id: BacklogId, positions: &[Position]) -> Option<Acknowledge> {
    let contents = locked.backlog(id)?;
    let is_pending = |position: &Position| contents.entries.get(*position).is_some();
    let positions: Vec<_> = positions.iter().copied().filter(is_pending).collect();
    (!positions.is_empty()).then_some(Acknowledge { id, positions })
}
