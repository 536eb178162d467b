//! Moves live messages out of sparse segments: reads them back, and appends each at the tail with
//! the places where it is pending.
//!
//! At any moment a crash leaves either the old record or a durable new one behind: the old segment
//! goes only once the moves are released, like any segment without pending messages. What is
//! consumed between the search and the append is left out under the locks that order appends, so a
//! move never brings anything back.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::space::Full;
use super::{Keeper, Stop};
use crate::backlog::Backlog;
use crate::chain::{SegmentName, read_up_to};
use crate::journal::{Appended, Class, MovedRecord, Reader};
use crate::position::{BacklogId, Location, Lsn, Position, SegmentNumber};
use crate::record::{Message, Move, RawRecord, Record};
use crate::state::Place;
use crate::store::{AppendError, frame};

/// Places of messages that one round moves at most.
const PLACES_MAX: usize = 64 << 10;
/// Bytes between two waits: so much at most is between messages of clients and the disk.
const BATCH_BYTES: u64 = 1 << 20;
/// Entries that are looked at under a backlog's lock at a time.
const SCAN: usize = 4096;
/// Bytes of a read; sparse segments need one for each message, others fewer.
const READ_BYTES: usize = 256 << 10;
/// After a batch that took some time, moving rests so many times as long, at most [`REST_MAX`].
const REST_FACTOR: u32 = 3;
const REST_MAX: Duration = Duration::from_millis(200);
/// While clients have more than this waiting to be written, moving waits, at most [`REST_MAX`].
const BUSY_BYTES: usize = 4 << 20;

/// Where a message to be moved is pending.
#[derive(Clone)]
enum Pin {
    Backlog(Arc<Backlog>, Position),
    Transaction(Box<[u8]>),
}

/// By location, so that reads go forward.
type Pins = BTreeMap<(SegmentNumber, u32), (Location, Vec<Pin>)>;

/// What became of one message.
enum Outcome {
    Moved(Appended),
    /// It was consumed meanwhile.
    Gone,
}

impl Keeper<'_> {
    /// Moves what is live in `victims`, or as much of it as one round takes.
    pub(super) fn move_out_of(&mut self, victims: &[Full], is_tight: bool) -> Result<(), Stop> {
        let started = self.shared.clock.now();
        let names: BTreeMap<_, _> = victims
            .iter()
            .map(|victim| (victim.name.number, victim.name))
            .collect();
        let pins = self.find_pins(&names)?;
        let (mut records, mut bytes) = (0_u64, 0_u64);
        let mut batch = MoveBatch::new(self.shared.clock.now());
        let mut source: Option<Source> = None;
        for (location, pins) in pins.into_values() {
            let Some(name) = names.get(&location.segment).copied() else {
                continue;
            };
            if self.unreadable.contains(&name) {
                continue;
            }
            if source.as_ref().is_none_or(|open| open.name != name) {
                source = None;
            }
            let moved = match self.move_one(&mut source, name, location, &pins, &mut batch) {
                Ok(moved) => moved,
                Err(MoveError::Stop(stop)) => return Err(stop),
                Err(MoveError::Full) => {
                    self.move_failed_at = Some(self.shared.clock.now());
                    break;
                }
                Err(MoveError::Unreadable(reason)) => {
                    let path = name.path();
                    warn!(segment = %path.display(), offset = location.offset, %reason,
                        "A pending message cannot be moved; its segment stays.");
                    self.unreadable.insert(name);
                    continue;
                }
            };
            if moved {
                records += 1;
                bytes += u64::from(location.length);
            }
            if batch.bytes >= BATCH_BYTES {
                self.end_batch(&mut batch, is_tight)?;
            }
        }
        self.end_batch(&mut batch, true)?;
        if records > 0 {
            self.move_took = self.shared.clock.now().saturating_sub(started);
            let took_ms = self.move_took.as_millis() as u64;
            info!(
                segments = victims.len(),
                records, bytes, took_ms, "Moved pending messages out of sparse segments."
            );
        }
        Ok(())
    }

    /// Everything that refers to records in the segments.
    fn find_pins(&mut self, names: &BTreeMap<SegmentNumber, SegmentName>) -> Result<Pins, Stop> {
        let state = Arc::clone(&self.shared.state);
        let mut pins = Pins::new();
        let mut count = 0;
        let mut add = |location: Location, pin: Pin| {
            let at = (location.segment, location.offset);
            let known = pins.contains_key(&at);
            // A message moves with all its places or not at all.
            if count < PLACES_MAX || known {
                pins.entry(at).or_insert((location, Vec::new())).1.push(pin);
                count += 1;
            }
        };
        {
            let transactions = state.transactions.lock();
            for (transaction, message) in transactions.messages_by_transaction() {
                if names.contains_key(&message.location.segment) {
                    add(message.location, Pin::Transaction(transaction.into()));
                }
            }
        }
        for backlog in state.backlogs() {
            let mut from = Position(0);
            loop {
                let next = backlog.find_in_segments(
                    from,
                    SCAN,
                    |segment| names.contains_key(&segment),
                    |position, location| {
                        add(location, Pin::Backlog(Arc::clone(&backlog), position));
                    },
                );
                let Some(next) = next else { break };
                from = next;
                if self.shared.is_over() {
                    return Err(Stop::Over);
                }
            }
            self.prepare();
        }
        Ok(pins)
    }

    /// Answers whether there was still something to move.
    fn move_one(
        &mut self,
        source: &mut Option<Source>,
        name: SegmentName,
        location: Location,
        pins: &[Pin],
        batch: &mut MoveBatch,
    ) -> Result<bool, MoveError> {
        let open = match source {
            Some(open) => open,
            None => source.insert(Source::open(self.shared, name)?),
        };
        let cipher = open.reader.cipher.clone();
        let raw = RawRecord::parse(open.record(location)?, name.epoch);
        let raw = raw.map_err(|error| MoveError::Unreadable(error.to_string()))?;
        let mut scratch = Vec::new();
        let decoded = cipher
            .decode(&raw, &mut scratch)
            .map_err(|error| MoveError::Unreadable(error.to_string()))?;
        let message = match decoded {
            Record::Message(message) | Record::TransactionMessage(message) => message,
            Record::Move(moved) => moved.message,
            _ => return Err(MoveError::Unreadable("it is no message".to_owned())),
        };
        let targets = message.targets.clone();
        let mut was_moved = false;
        let transactions = pins.iter().filter_map(|pin| match pin {
            Pin::Transaction(transaction) => Some(transaction),
            Pin::Backlog(..) => None,
        });
        for transaction in transactions {
            let message = message.clone();
            if let Outcome::Moved(appended) = self.move_open(location, transaction, message)? {
                batch.add(appended, location, targets.iter().copied());
                was_moved = true;
            }
        }
        let places = pins.iter().filter_map(|pin| match pin {
            Pin::Backlog(backlog, position) => Some((Arc::clone(backlog), *position)),
            Pin::Transaction(_) => None,
        });
        let places: Vec<_> = places.collect();
        if !places.is_empty()
            && let Outcome::Moved(appended) = self.move_pending(location, &places, message)?
        {
            batch.add(
                appended,
                location,
                places.iter().map(|(backlog, _)| backlog.id()),
            );
            was_moved = true;
        }
        Ok(was_moved)
    }

    /// A message that is visible: those of its places move that still have it.
    fn move_pending(
        &self,
        from: Location,
        places: &[(Arc<Backlog>, Position)],
        message: Message<'_>,
    ) -> Result<Outcome, MoveError> {
        let mut places: Vec<(&Backlog, Position)> = places
            .iter()
            .map(|(backlog, position)| (&**backlog, *position))
            .collect();
        places.sort_unstable_by_key(|(backlog, _)| backlog.id());
        loop {
            let ids = places.iter().map(|(backlog, at)| (backlog.id(), *at));
            let record = Record::Move(Move {
                from,
                places: ids.collect(),
                message: message.clone(),
            });
            let framed = frame(&record);
            let backlogs = places.iter().map(|(backlog, _)| *backlog);
            let mut locked = self.shared.state.lock(backlogs, None);
            let is_there = |(backlog, position): &(&Backlog, Position)| {
                let entry = locked
                    .backlog(backlog.id())
                    .and_then(|contents| contents.entries.get(*position));
                entry.is_some_and(|entry| entry.location == from)
            };
            if !places.iter().all(is_there) {
                let still: Vec<_> = places.iter().copied().filter(is_there).collect();
                drop(locked);
                if still.is_empty() {
                    return Ok(Outcome::Gone);
                }
                places = still;
                continue;
            }
            let appended = self.shared.pending.append(framed, Class::Move)?;
            locked
                .apply(self.place_of(appended), &record)
                .expect("its backlogs are locked and were found");
            drop(locked);
            self.wake_writer(appended);
            return Ok(Outcome::Moved(appended));
        }
    }

    /// A message of an undecided transaction.
    fn move_open(
        &self,
        from: Location,
        transaction: &[u8],
        message: Message<'_>,
    ) -> Result<Outcome, MoveError> {
        let message = Message {
            transaction,
            ..message
        };
        let record = Record::Move(Move {
            from,
            places: Vec::new(),
            message,
        });
        let framed = frame(&record);
        let appended = self.shared.state.with_locks(&record, |locked| {
            let known = locked.transactions();
            if !known.is_some_and(|known| known.contains(transaction, from)) {
                return Ok(None);
            }
            let appended = self.shared.pending.append(framed, Class::Move)?;
            locked
                .apply(self.place_of(appended), &record)
                .expect("it speaks of no backlog");
            Ok::<_, AppendError>(Some(appended))
        })?;
        let Some(appended) = appended else {
            return Ok(Outcome::Gone);
        };
        self.wake_writer(appended);
        Ok(Outcome::Moved(appended))
    }

    fn place_of(&self, appended: Appended) -> Place {
        Place {
            lsn: appended.lsn,
            epoch: self.shared.epoch,
            location: appended.location,
        }
    }

    fn wake_writer(&self, appended: Appended) {
        if let Some(lane) = appended.wakes {
            self.shared.lanes[lane].notify();
        }
    }

    /// Tells who keeps locations in memory, waits until the batch is released, and rests.
    fn end_batch(&mut self, batch: &mut MoveBatch, is_tight: bool) -> Result<(), Stop> {
        let shared = self.shared;
        let ended = std::mem::replace(batch, MoveBatch::new(shared.clock.now()));
        if ended.moved.is_empty() {
            return Ok(());
        }
        let callbacks = shared.on_moved.lock().clone();
        for callback in &callbacks {
            callback(&ended.moved);
        }
        let space = &shared.space;
        space
            .moved_records
            .fetch_add(ended.records, Ordering::Relaxed);
        space.moved_bytes.fetch_add(ended.bytes, Ordering::Relaxed);
        self.wait_released(ended.last)?;
        // Moves took space, and others should know.
        self.looked_at = None;
        let took = shared.clock.now().saturating_sub(ended.began);
        if !is_tight {
            self.rest((took * REST_FACTOR).min(REST_MAX));
        }
        let is_busy = || shared.pending.unwritten_bytes() > BUSY_BYTES;
        let until = shared.clock.now() + REST_MAX;
        while is_busy() && !shared.is_over() && shared.clock.now() < until {
            self.rest(Duration::from_millis(5));
        }
        batch.began = shared.clock.now();
        Ok(())
    }

    fn rest(&mut self, time: Duration) {
        self.prepare();
        self.shared.keeper_signal.wait(Some(time));
        self.prepare();
    }
}

/// Why one message was not moved.
enum MoveError {
    Stop(Stop),
    Full,
    Unreadable(String),
}

impl From<Stop> for MoveError {
    fn from(stop: Stop) -> Self {
        MoveError::Stop(stop)
    }
}

impl From<AppendError> for MoveError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Fenced { .. } => MoveError::Stop(Stop::Over),
            AppendError::Full { .. } => MoveError::Full,
            AppendError::TooLarge { .. } => MoveError::Unreadable(error.to_string()),
        }
    }
}

/// What was appended since the last wait.
struct MoveBatch {
    began: Duration,
    last: Lsn,
    records: u64,
    bytes: u64,
    moved: Vec<MovedRecord>,
}

impl MoveBatch {
    fn new(began: Duration) -> MoveBatch {
        MoveBatch {
            began,
            last: Lsn(0),
            records: 0,
            bytes: 0,
            moved: Vec::new(),
        }
    }

    fn add(
        &mut self,
        appended: Appended,
        from: Location,
        backlogs: impl Iterator<Item = BacklogId>,
    ) {
        self.last = appended.lsn;
        self.records += 1;
        self.bytes += u64::from(appended.location.length);
        self.moved
            .extend(backlogs.map(|backlog| MovedRecord { backlog, from }));
    }
}

/// A segment that is being read.
struct Source {
    name: SegmentName,
    reader: Reader,
    offset: u64,
    buffer: Vec<u8>,
}

impl Source {
    fn open(shared: &crate::journal::Shared, name: SegmentName) -> Result<Source, MoveError> {
        let reader = shared.open_reader(name);
        Ok(Source {
            name,
            reader: reader.map_err(|error| MoveError::Unreadable(error.to_string()))?,
            offset: 0,
            buffer: Vec::new(),
        })
    }

    fn record(&mut self, location: Location) -> Result<&[u8], MoveError> {
        let (offset, length) = (u64::from(location.offset), location.length as usize);
        let is_in = |source: &Source| {
            offset >= source.offset
                && offset + length as u64 <= source.offset + source.buffer.len() as u64
        };
        if !is_in(self) {
            let read = read_up_to(&*self.reader.file, offset, length.max(READ_BYTES));
            self.buffer =
                read.map_err(|error: io::Error| MoveError::Unreadable(error.to_string()))?;
            self.offset = offset;
        }
        if !is_in(self) {
            return Err(MoveError::Unreadable("the file ends before it".to_owned()));
        }
        let start = (offset - self.offset) as usize;
        Ok(&self.buffer[start..start + length])
    }
}
