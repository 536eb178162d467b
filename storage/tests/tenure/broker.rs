//! A broker process around a member: it serves while it is the active, and starts again as a standby
//! after it was fenced.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use storage::clock::{Clock, Signal};
use storage::member::{Cause, FenceReason, Sabotage};
use storage::sim::{ProcessId, Random, Sim, SimClock};
use storage::store::{Enqueued, NewMessage, ProducerSequence};
use storage::{Backlog, BacklogId, Decision, Event, Lsn, Member, MemberOptions, Position, Store};

use super::ledger::{FIRST_TRANSACTION, Ledger, MessageId, Promise, Transaction, transaction_of};

pub(crate) const QUEUES: u32 = 2;
pub(crate) const PRODUCERS: u32 = 3;
const WINDOW: u32 = 6;

/// What all brokers of a world share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) options: MemberOptions,
    pub(crate) sabotage: Sabotage,
}

impl World {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the run if something does not hold.
    pub(crate) fn must(&self, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.sim.fail(what);
        }
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.with(|ledger| ledger.count(what));
    }
}

/// Asks a broker process for something.
#[derive(Clone, Default)]
pub(crate) struct Handle {
    inbox: Arc<Mutex<VecDeque<Note>>>,
    signal: Arc<Mutex<Option<Arc<dyn Signal>>>>,
}

enum Note {
    Happened(Event),
    Release,
}

impl Handle {
    fn push(&self, note: Note) {
        let lock = |inbox: &Mutex<VecDeque<Note>>| {
            let mut inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
            inbox.push_back(note);
        };
        lock(&self.inbox);
        let signal = self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signal) = &*signal {
            signal.notify();
        }
    }

    fn pop(&self) -> Option<Note> {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.pop_front()
    }

    /// A planned switchover; the broker becomes a standby.
    pub(crate) fn release(&self) {
        self.push(Note::Release);
    }
}

/// Starts a broker's threads in `process`.
pub(crate) fn start(world: &World, process: ProcessId, name: &str) -> Handle {
    let handle = Handle::default();
    let clock = world.sim.clock(process);
    let signal = clock.signal();
    *handle.signal.lock().expect("nobody panics with it") = Some(Arc::clone(&signal));
    let (world, for_thread) = (world.clone(), handle.clone());
    let mut options = world.options.clone();
    options.name = name.to_owned();
    let sim = world.sim.clone();
    sim.spawn(process, "node", move || {
        loop {
            let for_events = for_thread.clone();
            let member = Member::start_sabotaged(
                world.sim.disk(process),
                world.sim.clock(process),
                options.clone(),
                world.sabotage,
                Box::new(move |event| for_events.push(Note::Happened(event))),
            );
            let member = member.expect("the options are in bounds");
            serve(&world, process, &clock, &for_thread, &*signal, &member);
            drop(member);
            for_thread
                .inbox
                .lock()
                .expect("nobody panics with it")
                .clear();
            clock.sleep(Duration::from_millis(100));
        }
    });
    handle
}

/// Until the member ends.
fn serve(
    world: &World,
    process: ProcessId,
    clock: &Arc<SimClock>,
    handle: &Handle,
    signal: &dyn Signal,
    member: &Member,
) {
    let mut server: Option<Arc<AtomicBool>> = None;
    loop {
        signal.wait(None);
        while let Some(note) = handle.pop() {
            match note {
                Note::Release => member.release(),
                Note::Happened(Event::Standby) => world.count("standby"),
                Note::Happened(Event::TakingOver { cause, .. }) => {
                    world.count(match cause {
                        Cause::FirstStart => "takeover: first start",
                        Cause::Lock => "takeover: lock",
                        Cause::Lease => "takeover: lease",
                    });
                }
                Note::Happened(Event::Active(store)) => {
                    world.count("active");
                    world.must(world.with(|ledger| ledger.activated(process, Arc::clone(&store))));
                    let is_over = Arc::new(AtomicBool::new(false));
                    server = Some(Arc::clone(&is_over));
                    let (world, clock) = (world.clone(), Arc::clone(clock));
                    let sim = world.sim.clone();
                    sim.spawn(process, "server", move || {
                        Server::new(world, clock, store, is_over).run();
                    });
                }
                Note::Happened(end) => {
                    if let Some(server) = server {
                        server.store(true, Ordering::Release);
                    }
                    world.with(|ledger| ledger.deactivated(process));
                    match end {
                        Event::Fenced(FenceReason::NewerClaim(_)) => {
                            world.count("fenced: newer claim");
                        }
                        Event::Fenced(FenceReason::LeaseExpired) => world.count("fenced: lease"),
                        Event::Fenced(FenceReason::Storage(what)) => {
                            world.sim.trace(|| format!("fenced: {what}"));
                            if what.contains("just created") {
                                world.sim.fail(what);
                            }
                            world.count("fenced: storage");
                        }
                        Event::Released => world.count("released"),
                        Event::KeyMissing(error) => world.sim.fail(error.to_string()),
                        Event::Failed(what) => world.sim.fail(format!("a member failed: {what}")),
                        _ => {}
                    }
                    return;
                }
            }
        }
    }
}

/// What waits for its release.
type Waiting = Arc<Mutex<VecDeque<(Lsn, Promise)>>>;

/// Plays the clients of an active broker.
struct Server {
    world: World,
    clock: Arc<SimClock>,
    store: Arc<Store>,
    is_over: Arc<AtomicBool>,
    random: Random,
    waiting: Waiting,
    /// The next number of each producer in this tenure.
    next: Vec<u32>,
    /// By queue: dispatched in this tenure through this position.
    dispatched: Vec<Option<Position>>,
    /// What prepared transactions found at the start acknowledged: nobody may have it.
    held: BTreeSet<(BacklogId, Position)>,
    transactions: u32,
}

impl Server {
    fn new(
        world: World,
        clock: Arc<SimClock>,
        store: Arc<Store>,
        is_over: Arc<AtomicBool>,
    ) -> Server {
        let random = Random::new(world.sim.below(u64::MAX));
        let waiting = Waiting::default();
        let next = (0..PRODUCERS)
            .map(|producer| world.with(|ledger| ledger.to_send(producer, 0).0))
            .collect();
        let mut held = BTreeSet::new();
        for (backlog, positions) in store
            .prepared()
            .into_iter()
            .flat_map(|one| one.acknowledged)
        {
            held.extend(positions.into_iter().map(|position| (backlog, position)));
        }
        let found = world.with(|ledger| ledger.check_found(&store));
        world.must(found);
        let (for_release, judge) = (Arc::clone(&waiting), world.clone());
        let weak = Arc::downgrade(&store);
        store.on_released(Box::new(move |lsn| {
            if let Some(store) = weak.upgrade() {
                acknowledge(&judge, &store, &for_release, lsn);
            }
        }));
        Server {
            world,
            clock,
            store,
            is_over,
            random,
            waiting,
            next,
            dispatched: vec![None; QUEUES as usize],
            held,
            transactions: 0,
        }
    }

    fn run(mut self) {
        let mut moved = 0;
        while !self.is_over.load(Ordering::Acquire) {
            let now = self.store.space().moved_messages;
            for _ in moved..now {
                self.world.count("moved");
            }
            moved = now;
            let queues = self.queues();
            if queues.len() == QUEUES as usize {
                match self.random.below(11) {
                    0..5 => self.produce(&queues),
                    5..8 => self.consume(&queues),
                    8..10 => self.transact(&queues),
                    _ => self.decide(),
                }
            }
            acknowledge(
                &self.world,
                &self.store,
                &self.waiting,
                self.store.released(),
            );
            let pause = self.random.below(60_000_000);
            self.clock.sleep(Duration::from_nanos(pause));
        }
    }

    /// The backlogs of the queues, created if they are missing.
    fn queues(&self) -> Vec<Arc<Backlog>> {
        let mut backlogs = self.store.backlogs();
        for queue in 0..QUEUES {
            let descriptor = Bytes::from(format!("queue {queue}"));
            if !backlogs
                .iter()
                .any(|backlog| backlog.descriptor() == descriptor)
            {
                match self.store.create_backlog(descriptor) {
                    Ok((backlog, _)) => backlogs.push(backlog),
                    Err(_) => return Vec::new(),
                }
            }
        }
        backlogs.sort_by_key(|backlog| backlog.descriptor());
        backlogs
    }

    fn promise(&self, lsn: Lsn, promise: Promise) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back((lsn, promise));
    }

    fn produce(&mut self, queues: &[Arc<Backlog>]) {
        for _ in 0..=self.random.below(4) {
            let producer = self.random.below(u64::from(PRODUCERS)) as u32;
            let number = self.next[producer as usize];
            let (_, end) = self.world.with(|ledger| ledger.to_send(producer, WINDOW));
            if number >= end {
                continue;
            }
            let id = (producer, number);
            self.world.with(|ledger| ledger.sends(id));
            let body = body(id, &mut self.random);
            let message = NewMessage {
                producer: Some(ProducerSequence {
                    producer: &producer.to_le_bytes(),
                    sequence: u64::from(number) + 1,
                    suppress_duplicate: true,
                }),
                order: 4,
                expiration_ms: 0,
                body: &body,
            };
            let target = &queues[(producer % QUEUES) as usize];
            let lsn = match self.store.enqueue(std::slice::from_ref(target), message) {
                Ok(Enqueued::Appended { lsn, .. } | Enqueued::Duplicate { lsn }) => lsn,
                Err(_) => return,
            };
            self.next[producer as usize] += 1;
            self.promise(lsn, Promise::Sent(id));
        }
    }

    /// The next messages that may be shown: released, and not yet dispatched in this tenure.
    fn dispatch(&mut self, queues: &[Arc<Backlog>], limit: usize) -> Option<Dispatched> {
        let queue = self.random.below(u64::from(QUEUES)) as usize;
        let released = self.store.released();
        let from = self.dispatched[queue].map_or(Position(0), |last| Position(last.0 + 1));
        let mut found = Vec::new();
        queues[queue].scan(from, &mut |position, entry| {
            if entry.visible > released || found.len() == limit {
                return ControlFlow::Break(());
            }
            if self.held.contains(&(queues[queue].id(), position)) {
                return ControlFlow::Continue(());
            }
            found.push((position, *entry));
            ControlFlow::Continue(())
        });
        let mut ids = Vec::new();
        let mut positions = Vec::new();
        for (position, entry) in found {
            let backlog = &queues[queue];
            let Some(body) = self.store.read_at(backlog, position, entry.location).ok()? else {
                continue;
            };
            if !self.store.may_acknowledge() {
                return None;
            }
            let id = parse(&body);
            self.world
                .must(self.world.with(|ledger| ledger.dispatched(id)));
            ids.push(id);
            positions.push(position);
            self.dispatched[queue] = Some(position);
        }
        (!ids.is_empty()).then_some(Dispatched {
            queue,
            ids,
            positions,
        })
    }

    fn consume(&mut self, queues: &[Arc<Backlog>]) {
        let limit = 1 + self.random.below(5) as usize;
        let Some(Dispatched {
            queue,
            ids,
            positions,
        }) = self.dispatch(queues, limit)
        else {
            return;
        };
        if self.random.chance(200) {
            // A consumer that never acknowledges: the next tenure shows it again.
            return;
        }
        self.world.with(|ledger| ledger.asks_to_consume(&ids));
        if let Ok(lsn) = self.store.acknowledge(&queues[queue], &positions) {
            self.promise(lsn, Promise::Consumed(ids));
        }
    }

    fn transact(&mut self, queues: &[Arc<Backlog>]) {
        self.transactions += 1;
        let sender = FIRST_TRANSACTION + self.store.epoch().0 as u32 * 10_000 + self.transactions;
        let name = sender.to_le_bytes();
        let mut transaction = Transaction::default();
        for number in 0..=self.random.below(3) as u32 {
            transaction.messages.push((sender, number));
        }
        self.world.with(|ledger| {
            ledger.transactions.insert(sender, transaction.clone());
        });
        for id in &transaction.messages {
            let queue = &queues[self.random.below(u64::from(QUEUES)) as usize];
            let body = body(*id, &mut self.random);
            let message = NewMessage {
                producer: None,
                order: 4,
                expiration_ms: 0,
                body: &body,
            };
            let targets = std::slice::from_ref(queue);
            if self
                .store
                .enqueue_in_transaction(&name, targets, message)
                .is_err()
            {
                return;
            }
        }
        match self.random.below(6) {
            4.. => self.prepare(queues, sender),
            0 => {
                // The outcome does not matter: nobody ever asks for the commit.
                let _ = self.store.roll_back(&name);
            }
            1 => {} // The client goes away.
            _ => self.commit(queues, sender),
        }
    }

    fn prepare(&mut self, queues: &[Arc<Backlog>], sender: u32) {
        let mut consumes = Vec::new();
        let mut acknowledged = Vec::new();
        if let Some(dispatched) = self.dispatch(queues, 2) {
            acknowledged.push((Arc::clone(&queues[dispatched.queue]), dispatched.positions));
            consumes = dispatched.ids;
        }
        self.world.with(|ledger| {
            if let Some(transaction) = ledger.transactions.get_mut(&sender) {
                transaction.consumes = consumes;
                transaction.is_prepare_asked = true;
            }
        });
        if let Ok(lsn) = self.store.prepare(&sender.to_le_bytes(), &acknowledged) {
            self.promise(lsn, Promise::Prepared(sender));
        }
    }

    /// Ends one of the prepared transactions, whoever prepared it.
    fn decide(&mut self) {
        let prepared = self.store.prepared();
        if prepared.is_empty() {
            return;
        }
        let prepared = &prepared[self.random.below(prepared.len() as u64) as usize];
        let checked = self.world.with(|ledger| ledger.check_prepared(prepared));
        // Deposed while it was frozen, it goes on seeing what the next one has decided meanwhile. It
        // is asked afterwards, so that it cannot have been frozen in between.
        if self.store.may_acknowledge() {
            self.world.must(checked);
        }
        let sender = transaction_of(&prepared.key);
        let decision = match self.random.below(3) {
            0 => Decision::RollBack,
            _ => Decision::Commit,
        };
        self.world.with(|ledger| {
            let consumes = ledger.transactions.get_mut(&sender).map(|transaction| {
                transaction.is_decision_asked = true;
                transaction.is_commit_asked |= decision == Decision::Commit;
                transaction.consumes.clone()
            });
            if decision == Decision::Commit {
                ledger.asks_to_consume(&consumes.unwrap_or_default());
            }
        });
        match self.store.decide(&prepared.key, decision, false) {
            Ok(Some(lsn)) => self.promise(lsn, Promise::Decided(sender, decision)),
            Ok(None) => self
                .world
                .must(Err(format!("transaction {sender} vanished"))),
            Err(_) => {}
        }
    }

    fn commit(&mut self, queues: &[Arc<Backlog>], sender: u32) {
        let mut consumes = Vec::new();
        let mut acknowledged = Vec::new();
        if let Some(dispatched) = self.dispatch(queues, 2) {
            acknowledged.push((Arc::clone(&queues[dispatched.queue]), dispatched.positions));
            consumes = dispatched.ids;
        }
        self.world.with(|ledger| {
            ledger.asks_to_consume(&consumes);
            if let Some(transaction) = ledger.transactions.get_mut(&sender) {
                transaction.consumes = consumes;
                transaction.is_commit_asked = true;
            }
        });
        if let Ok(lsn) = self.store.commit(&sender.to_le_bytes(), &acknowledged) {
            self.promise(lsn, Promise::Committed(sender));
        }
    }
}

struct Dispatched {
    queue: usize,
    ids: Vec<MessageId>,
    positions: Vec<Position>,
}

/// Tells the clients everything that is released, as long as that is allowed.
fn acknowledge(world: &World, store: &Store, waiting: &Waiting, released: Lsn) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let mut outcome = Ok(());
    while outcome.is_ok() && waiting.front().is_some_and(|(lsn, _)| *lsn <= released) {
        if !store.may_acknowledge() {
            return;
        }
        if let Some((_, promise)) = waiting.pop_front() {
            outcome = world.with(|ledger| ledger.promised(store.epoch(), &promise));
        }
    }
    drop(waiting);
    world.must(outcome);
}

fn body(id: MessageId, random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(id.0.to_le_bytes());
    body.extend(id.1.to_le_bytes());
    let filler = if random.chance(30) { 2500 } else { 150 };
    body.resize(8 + random.below(filler) as usize, 0xA5);
    body
}

/// The id in a message's body.
pub(crate) fn parse(body: &[u8]) -> MessageId {
    let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|byte| body[at + byte]));
    (number(0), number(4))
}
