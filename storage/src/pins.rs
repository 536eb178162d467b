//! What keeps each segment: the question of somebody whose disk is filling up.
//!
//! Works on any state that was read from the directory, beside a running pair or without one. What
//! backlogs and bodies mean is for others to say.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::chain::{SegmentName, read_up_to, survey};
use crate::checkpoint::read_start;
use crate::cipher::{Keyring, cipher_of};
use crate::disk::{Disk, Open};
use crate::position::{Location, Position, SegmentNumber};
use crate::record::{RawRecord, Record};
use crate::state::State;

/// Who has messages in a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A backlog, by what the broker says of it.
    Backlog(Bytes),
    /// A transaction that is not decided: its key, and when it was prepared, in milliseconds since
    /// 1970; None: it is open.
    Transaction(Bytes, Option<u64>),
}

/// The messages of one holder in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Who has them.
    pub holder: Holder,
    /// How many.
    pub messages: u64,
    /// Bytes of their records; others may have the same ones.
    pub bytes: u64,
    /// The first of them.
    pub first: Location,
}

/// Why a segment is there although no message needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// None.
    Nothing,
    /// It is being filled, or will be next.
    Tail,
    /// Kept checkpoints replay it.
    Replay,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedSegment {
    /// Its path in the directory.
    pub path: String,
    /// Its number.
    pub number: SegmentNumber,
    /// The file's length in bytes.
    pub bytes: u64,
    /// Bytes of pending messages in it, each counted once.
    pub live_bytes: u64,
    /// What else it is good for.
    pub duty: Duty,
    /// Who has messages in it, most bytes first.
    pub pins: Vec<Pin>,
}

/// A message as it is in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournaledMessage {
    /// When it was appended, in milliseconds since 1970.
    pub time_ms: u64,
    /// What the broker wrote.
    pub body: Bytes,
}

/// Tells of every segment what keeps it, the longest files first. `tail` is the segment that is being
/// read: those from there on are the journal's end.
///
/// # Errors
/// As the operating system says.
pub fn pinned_segments(
    disk: &dyn Disk,
    state: &State,
    tail: Option<SegmentName>,
) -> io::Result<Vec<PinnedSegment>> {
    let seen = survey(disk)?;
    let starts: Vec<_> = seen
        .checkpoints
        .iter()
        .filter_map(|name| read_start(disk, *name).ok().flatten())
        .collect();
    let replayed_from = starts
        .iter()
        .map(|start| (start.epoch, start.segment))
        .min();
    let mut pins = find_pins(state);
    let live: BTreeMap<SegmentName, u64> = {
        let segments = state.segments.lock();
        segments
            .live()
            .map(|live| (live.segment, live.bytes))
            .collect()
    };
    let mut all = Vec::new();
    for name in seen.segments {
        let bytes = match disk.open(&name.path(), Open::Read) {
            Ok(file) => file.length()?,
            // It went since the listing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_tail =
            tail.is_none_or(|tail| (name.epoch, name.number) >= (tail.epoch, tail.number));
        let is_replayed = replayed_from.is_none_or(|from| (name.epoch, name.number) >= from);
        let mut pins: Vec<Pin> = match live.contains_key(&name) {
            true => pins
                .remove(&name.number)
                .unwrap_or_default()
                .into_values()
                .collect(),
            false => Vec::new(),
        };
        pins.sort_by_key(|pin| std::cmp::Reverse(pin.bytes));
        all.push(PinnedSegment {
            path: name.path().display().to_string(),
            number: name.number,
            bytes,
            live_bytes: live.get(&name).copied().unwrap_or(0),
            duty: match (is_tail, is_replayed) {
                (true, _) => Duty::Tail,
                (false, true) => Duty::Replay,
                (false, false) => Duty::Nothing,
            },
            pins,
        });
    }
    all.sort_by_key(|segment| (std::cmp::Reverse(segment.bytes), segment.number));
    Ok(all)
}

type Pins = BTreeMap<SegmentNumber, BTreeMap<Holder, Pin>>;

fn find_pins(state: &State) -> Pins {
    let mut pins = Pins::new();
    let mut add = |holder: &Holder, location: Location| {
        let of_segment = pins.entry(location.segment).or_default();
        if let Some(pin) = of_segment.get_mut(holder) {
            pin.messages += 1;
            pin.bytes += u64::from(location.length);
            return;
        }
        let pin = Pin {
            holder: holder.clone(),
            messages: 1,
            bytes: u64::from(location.length),
            first: location,
        };
        of_segment.insert(holder.clone(), pin);
    };
    {
        let transactions = state.transactions.lock();
        for (key, message) in transactions.messages_by_transaction() {
            let prepared = transactions.prepared.get(key);
            let prepared_ms = prepared.map(|prepared| prepared.time_ms);
            let holder = Holder::Transaction(Bytes::copy_from_slice(key), prepared_ms);
            add(&holder, message.location);
        }
    }
    for backlog in state.backlogs() {
        let holder = Holder::Backlog(backlog.descriptor());
        backlog.scan(Position(0), &mut |_, entry| {
            add(&holder, entry.location);
            ControlFlow::Continue(())
        });
    }
    pins
}

/// Reads a message by its place.
///
/// # Errors
/// As the operating system says; `InvalidData` if it does not check out.
pub fn read_message(
    disk: &dyn Disk,
    keys: &Keyring,
    state: &State,
    location: Location,
) -> io::Result<JournaledMessage> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let epoch = state.epoch_of(location.segment);
    let epoch = epoch.ok_or_else(|| invalid(format!("no segment {}", location.segment)))?;
    let name = SegmentName {
        number: location.segment,
        epoch,
    };
    let file = disk.open(&name.path(), Open::Read)?;
    let bytes = read_up_to(&*file, u64::from(location.offset), location.length as usize)?;
    let raw = RawRecord::parse(&bytes, epoch).map_err(|error| invalid(error.to_string()))?;
    let cipher = cipher_of(keys, &*file, name)?;
    let mut scratch = Vec::new();
    let decoded = cipher.decode(&raw, &mut scratch);
    let message = match decoded.map_err(|error| invalid(error.to_string()))? {
        Record::Message(message) | Record::TransactionMessage(message) => message,
        Record::Move(moved) => moved.message,
        _ => return Err(invalid("the record is no message".to_owned())),
    };
    Ok(JournaledMessage {
        time_ms: message.time_ms,
        body: Bytes::copy_from_slice(message.body),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tail::Follower;
    use crate::testing::{FaultyDisk, OPTIONS, begin, follow, message, one};

    #[test]
    fn each_segment_tells_who_has_messages_in_it() {
        let disk = FaultyDisk::default();
        let tenure = begin(&disk, 1, OPTIONS);
        let (first, second) = (tenure.backlog("first"), tenure.backlog("second"));
        tenure.send(&first, b"of the first");
        for _ in 0..3 {
            tenure.send(&second, &[7; 300]);
        }
        let both = [Arc::clone(&first), Arc::clone(&second)];
        tenure
            .store
            .enqueue(&both, message(&[8; 100]))
            .expect("appended");
        tenure
            .store
            .enqueue_in_transaction(b"t", one(&first), message(b"prepared"))
            .expect("appended");
        tenure.store.prepare(b"t", &[]).expect("appended");
        tenure.settle();
        tenure.store.abandon();
        let mut follower = Follower::open(Arc::new(disk.clone())).expect("readable");
        follow(&mut follower);
        let state = follower.state();
        let all = pinned_segments(&disk, state, follower.segment()).expect("readable");
        let segment = all.iter().find(|one| one.number.0 == 1).expect("the first");
        assert_eq!(segment.duty, Duty::Tail);
        let told: Vec<_> = segment
            .pins
            .iter()
            .map(|pin| (pin.holder.clone(), pin.messages))
            .collect();
        assert_eq!(told[0], (Holder::Backlog("second".into()), 4));
        assert_eq!(told[1], (Holder::Backlog("first".into()), 2));
        assert!(matches!(&told[2], (Holder::Transaction(key, Some(_)), 1) if *key == "t"));
        // The one that both have counts once.
        let both: u64 = segment.pins.iter().map(|pin| pin.bytes).sum();
        assert!(segment.live_bytes < both && segment.live_bytes > 1000);
        let read = read_message(&disk, &Keyring::default(), state, segment.pins[1].first)
            .expect("readable");
        assert_eq!(
            (&read.body[..], read.time_ms > 0),
            (&b"of the first"[..], true)
        );
    }
}
