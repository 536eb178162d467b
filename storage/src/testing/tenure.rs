//! A tenure on any disk, without a member: the journal with a gate that a thread keeps open.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::FaultyDisk;
use super::keys::{keys, open};
use crate::clock::{Clock, RealClock};
use crate::disk::Disk;
use crate::error::{Failure, FollowError};
use crate::journal::{Callbacks, Journal, JournalOptions, SyncMethod};
use crate::state::State;
use crate::store::{AppendError, Enqueued, NewMessage, ProducerSequence};
use crate::tail::Follower;
use crate::tenure::gate::Gate;
use crate::{Backlog, Entry, Epoch, Lsn, Position, Store};

/// Small segments and no checkpoints unless a test asks for them.
pub const OPTIONS: JournalOptions = JournalOptions {
    segment_bytes: 4096,
    checkpoint_bytes: u64::MAX,
    preallocate: false,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: SyncMethod::Auto,
};

/// A tenure on a disk.
pub struct Tenure {
    /// The journal and its state.
    pub store: Arc<Store>,
    /// Whether it may acknowledge.
    pub gate: Arc<Gate>,
    /// What its threads gave up for: empty, or one.
    pub failures: Arc<Mutex<Vec<Failure>>>,
}

/// Longer than any test.
pub const FOREVER: Duration = Duration::from_secs(1 << 30);

/// Follows the journal to its end and begins `epoch` with an open gate.
///
/// # Panics
/// If the journal cannot be read or written.
pub fn begin(disk: &(impl Disk + Clone), epoch: u64, options: JournalOptions) -> Tenure {
    begin_with(Arc::new(disk.clone()), epoch, options)
}

/// [`begin`] on any disk.
///
/// # Panics
/// If the journal cannot be read or written.
pub fn begin_with(disk: Arc<dyn Disk>, epoch: u64, options: JournalOptions) -> Tenure {
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    keep_open(&gate);
    begin_gated(disk, gate, epoch, options)
}

/// Renews again and again: a segment's records are released after a renewal that started later
/// than the segment was locked.
pub fn keep_open(gate: &Arc<Gate>) {
    let clock = RealClock::new();
    gate.renewed(clock.now(), FOREVER);
    let gate = Arc::downgrade(gate);
    let renew = move || {
        while let Some(gate) = gate.upgrade().filter(|gate| !gate.is_fenced()) {
            gate.renewed(clock.now(), FOREVER);
            drop(gate);
            clock.sleep(Duration::from_micros(500));
        }
    };
    // It ends with the gate, or when that is shut for good.
    drop(clock.spawn("renewals", Box::new(renew)));
}

/// [`begin_with`] a gate that the test opens, or not.
///
/// # Panics
/// If the journal cannot be read or written.
pub fn begin_gated(
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
    epoch: u64,
    options: JournalOptions,
) -> Tenure {
    try_begin(disk, gate, epoch, options).unwrap_or_else(|error| panic!("epoch {epoch}: {error}"))
}

/// What a member does at a takeover, and what it would give up for.
///
/// # Errors
/// Why the journal cannot be read or begun, in words.
pub fn try_begin(
    disk: Arc<dyn Disk>,
    gate: Arc<Gate>,
    epoch: u64,
    options: JournalOptions,
) -> Result<Tenure, String> {
    let clock = Arc::new(RealClock::new());
    let follower =
        Follower::open_with_keys(Arc::clone(&disk), keys()).map_err(|error| error.to_string())?;
    let point = follower.finish(Epoch(epoch));
    let point = point.map_err(|error| error.to_string())?;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&failures);
    let on_failed = Box::new(move |failure| {
        told.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(failure);
    });
    let callbacks = Callbacks {
        on_failed,
        on_prepared: Box::new(|| {}),
    };
    let store = Journal::begin(
        disk,
        clock,
        Arc::clone(&gate),
        Epoch(epoch),
        point,
        options,
        callbacks,
    )
    .map_err(|error| error.to_string())?;
    Ok(Tenure {
        store,
        gate,
        failures,
    })
}

/// Waits for a condition, with a bound.
///
/// # Panics
/// After 20 seconds.
pub fn wait_for(what: &str, mut is_met: impl FnMut() -> bool) {
    let clock = RealClock::new();
    let deadline = clock.now() + Duration::from_secs(20);
    while !is_met() {
        assert!(clock.now() < deadline, "waited in vain for {what}");
        clock.sleep(Duration::from_millis(1));
    }
}

impl Tenure {
    /// Waits until what was appended up to there may be acknowledged.
    ///
    /// # Panics
    /// After 20 seconds.
    pub fn wait_released(&self, lsn: Lsn) {
        wait_for(&format!("LSN {lsn}"), || self.store.released() >= lsn);
    }

    /// Waits until all that was appended may be acknowledged.
    ///
    /// # Panics
    /// After 20 seconds.
    pub fn settle(&self) {
        self.wait_released(self.store.appended());
    }

    /// Why its threads gave up, if they did.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let failures = self.failures.lock();
        failures
            .unwrap_or_else(PoisonError::into_inner)
            .first()
            .cloned()
    }

    /// A new backlog; its name is its descriptor.
    ///
    /// # Panics
    /// If the journal refuses.
    pub fn backlog(&self, name: &str) -> Arc<Backlog> {
        let descriptor = bytes::Bytes::copy_from_slice(name.as_bytes());
        self.store.create_backlog(descriptor).expect("appended").0
    }

    /// Sends a message.
    ///
    /// # Panics
    /// If the journal refuses.
    pub fn send(&self, backlog: &Arc<Backlog>, body: &[u8]) -> Position {
        self.try_send(backlog, body).expect("appended")
    }

    /// Sends a message.
    ///
    /// # Errors
    /// As the journal says.
    ///
    /// # Panics
    /// If it is a duplicate.
    pub fn try_send(&self, backlog: &Arc<Backlog>, body: &[u8]) -> Result<Position, AppendError> {
        let enqueued = self
            .store
            .enqueue(std::slice::from_ref(backlog), message(body))?;
        let Enqueued::Appended { positions, .. } = enqueued else {
            panic!("not a duplicate")
        };
        Ok(positions[0])
    }
}

/// A single target.
#[must_use]
pub fn one(backlog: &Arc<Backlog>) -> &[Arc<Backlog>] {
    std::slice::from_ref(backlog)
}

/// A message of nobody.
#[must_use]
pub fn message(body: &[u8]) -> NewMessage<'_> {
    NewMessage {
        producer: None,
        order: 4,
        expiration_ms: 0,
        body,
    }
}

/// A message of a producer whose duplicates are suppressed.
#[must_use]
pub fn from_producer<'a>(producer: &'a [u8], sequence: u64, body: &'a [u8]) -> NewMessage<'a> {
    let suppress_duplicate = true;
    let producer = Some(ProducerSequence {
        producer,
        sequence,
        suppress_duplicate,
    });
    NewMessage {
        producer,
        ..message(body)
    }
}

/// Everything that can be seen of a backlog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its number.
    pub id: u32,
    /// What the broker says of it.
    pub descriptor: Vec<u8>,
    /// What is pending, in dispatch order: position, from when on visible, expiration. Not where the
    /// records are, because they may move at any time.
    pub entries: Vec<(Position, Lsn, i64)>,
    /// Sequences below may have been dispatched.
    pub reserved_below: u64,
    /// Sequences below may have been dispatched by a former tenure.
    pub redelivered_below: u64,
}

/// What is pending, in dispatch order.
#[must_use]
pub fn entries(backlog: &Backlog) -> Vec<(Position, Entry)> {
    let mut entries = Vec::new();
    backlog.scan(Position(0), &mut |position, entry| {
        entries.push((position, *entry));
        ControlFlow::Continue(())
    });
    entries
}

/// Everything that can be seen of backlogs.
#[must_use]
pub fn view(backlogs: &[Arc<Backlog>]) -> Vec<View> {
    let view = |backlog: &Arc<Backlog>| View {
        id: backlog.id().0,
        descriptor: backlog.descriptor().to_vec(),
        entries: entries(backlog)
            .iter()
            .map(|(at, entry)| (*at, entry.visible, entry.expiration_ms))
            .collect(),
        reserved_below: backlog.reserved_below().0,
        redelivered_below: backlog.redelivered_below(),
    };
    backlogs.iter().map(view).collect()
}

/// The state that a reader of the directory comes to.
///
/// # Errors
/// As the reader says.
pub fn recover(disk: &FaultyDisk) -> Result<Arc<State>, FollowError> {
    let follower = open(disk)?;
    Ok(follower.finish(Epoch(u64::MAX))?.state)
}

/// Follows until all there is has been applied. A segment may go while it is being read.
///
/// # Panics
/// If the journal is damaged.
pub fn follow(follower: &mut Follower) {
    loop {
        match follower.poll() {
            Ok(progress) if progress.is_at_end => return,
            Ok(_) => {}
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

/// Follows until the follower has what the active has, which may be moving messages.
///
/// # Panics
/// If that takes too long.
pub fn catch_up(follower: &mut Follower, tenure: &Tenure) {
    wait_for("the follower to catch up", || {
        tenure.settle();
        follow(follower);
        follower.lsn() == tenure.store.appended()
    });
}

/// The bodies of a backlog in dispatch order, read back.
///
/// # Panics
/// If one cannot be read.
#[must_use]
pub fn bodies(store: &Store, backlog: &Backlog) -> Vec<Vec<u8>> {
    let read = |position: Position, entry: &Entry| {
        let body = store.read_at(backlog, position, entry.location);
        body.expect("readable").expect("pending").to_vec()
    };
    entries(backlog)
        .iter()
        .map(|(position, entry)| read(*position, entry))
        .collect()
}
