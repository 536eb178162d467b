//! Random histories of the store, and the small model in memory that they are compared with.
//!
//! Every action appends one record at most, so the model can be asked how it was at any LSN.

#![allow(dead_code, reason = "each test file uses another part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use proptest::prelude::*;
use storage::journal::JournalOptions;
use storage::state::State;
use storage::store::{Enqueued, NewMessage, ProducerSequence};
use storage::tail::Follower;
use storage::testing::*;
use storage::{Backlog, BacklogId, Decision, Lsn, Position, PreparedTransaction, Store};

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Create,
    Describe(usize, u8),
    Remove(usize),
    Send {
        targets: Vec<usize>,
        order: u8,
        producer: Option<(u8, u64)>,
        length: usize,
    },
    SendInTransaction {
        transaction: u8,
        target: usize,
        producer: Option<(u8, u64)>,
    },
    Commit {
        transaction: u8,
        backlog: usize,
        acknowledged: usize,
    },
    RollBack(u8),
    Prepare {
        transaction: u8,
        backlog: usize,
        acknowledged: usize,
    },
    Decide(u8, Decision),
    Acknowledge {
        backlog: usize,
        skip: usize,
        count: usize,
    },
    Reserve(usize, u64),
    Forget(u8),
    Settle,
    Follow,
    Switch,
    Crash,
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    let producer = || proptest::option::of((0..3_u8, 0..40_u64));
    let length = prop_oneof![8 => 0..300_usize, 1 => 3000..9000_usize];
    let targets = proptest::collection::vec(0..6_usize, 0..3);
    prop_oneof![
        2 => Just(Action::Create),
        1 => (0..6_usize, any::<u8>()).prop_map(|(at, word)| Action::Describe(at, word)),
        1 => (0..6_usize).prop_map(Action::Remove),
        20 => (targets, 0..=9_u8, producer(), length).prop_map(
            |(targets, order, producer, length)| Action::Send { targets, order, producer, length }
        ),
        6 => (0..3_u8, 0..6_usize, producer()).prop_map(
            |(transaction, target, producer)| {
                Action::SendInTransaction { transaction, target, producer }
            }
        ),
        3 => (0..3_u8, 0..6_usize, 0..4_usize).prop_map(
            |(transaction, backlog, acknowledged)| {
                Action::Commit { transaction, backlog, acknowledged }
            }
        ),
        1 => (0..3_u8).prop_map(Action::RollBack),
        3 => (0..3_u8, 0..6_usize, 0..4_usize).prop_map(
            |(transaction, backlog, acknowledged)| {
                Action::Prepare { transaction, backlog, acknowledged }
            }
        ),
        2 => (0..3_u8).prop_map(|transaction| Action::Decide(transaction, Decision::Commit)),
        1 => (0..3_u8).prop_map(|transaction| Action::Decide(transaction, Decision::RollBack)),
        8 => (0..6_usize, 0..4_usize, 1..6_usize).prop_map(
            |(backlog, skip, count)| Action::Acknowledge { backlog, skip, count }
        ),
        1 => (0..6_usize, 0..50_u64).prop_map(|(at, below)| Action::Reserve(at, below)),
        1 => (0..3_u8).prop_map(Action::Forget),
        3 => Just(Action::Settle),
        3 => Just(Action::Follow),
        1 => Just(Action::Switch),
        1 => Just(Action::Crash),
    ]
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    descriptor: Vec<u8>,
    messages: BTreeMap<Position, Vec<u8>>,
    last_sequence: u64,
    reserved_below: u64,
    redelivered_below: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    target: u32,
    body: Vec<u8>,
    producer: Option<(u8, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Prepared {
    messages: Vec<Open>,
    acknowledged: Option<(u32, Vec<Position>)>,
}

/// What the store should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) queues: BTreeMap<u32, Queue>,
    last_id: u32,
    producers: BTreeMap<u8, u64>,
    open: BTreeMap<u8, Vec<Open>>,
    prepared: BTreeMap<u8, Prepared>,
    outcomes: BTreeMap<u8, Decision>,
    sent: u64,
}

impl Model {
    fn is_duplicate(&self, producer: Option<(u8, u64)>) -> bool {
        producer.is_some_and(|(id, sequence)| {
            self.producers
                .get(&id)
                .is_some_and(|highest| sequence <= *highest)
        })
    }

    fn note(&mut self, producer: Option<(u8, u64)>) {
        if let Some((id, sequence)) = producer {
            let highest = self.producers.entry(id).or_insert(sequence);
            *highest = sequence.max(*highest);
        }
    }

    fn push(&mut self, id: u32, order: u8, body: &[u8]) -> Option<Position> {
        let queue = self.queues.get_mut(&id)?;
        queue.last_sequence += 1;
        let position = Position::new(order, queue.last_sequence);
        queue.messages.insert(position, body.to_vec());
        Some(position)
    }

    /// A transaction's messages become visible.
    fn show(&mut self, messages: Vec<Open>) {
        for open in messages {
            self.note(open.producer);
            // Its queue may be gone by now.
            let _ = self.push(open.target, 4, &open.body);
        }
    }

    pub(crate) fn take_over(&mut self) {
        self.open.clear();
        for queue in self.queues.values_mut() {
            let may_be_out = queue.reserved_below.min(queue.last_sequence + 1);
            queue.redelivered_below = queue.redelivered_below.max(may_be_out);
        }
    }
}

pub(crate) const SMALL: JournalOptions = JournalOptions {
    segment_bytes: 4096,
    checkpoint_bytes: 6000,
    preallocate: false,
    in_flight: JournalOptions::IN_FLIGHT,
    sync: storage::journal::SyncMethod::Auto,
};

/// A store, the model, and how the model was at every LSN.
pub(crate) struct Run {
    pub(crate) disk: FaultyDisk,
    epoch: u64,
    options: JournalOptions,
    pub(crate) tenure: Tenure,
    /// The backlogs of the store by id, in the model's order.
    backlogs: BTreeMap<u32, Arc<Backlog>>,
    pub(crate) follower: Follower,
    pub(crate) model: Model,
    /// By the LSN of the last record.
    pub(crate) models: BTreeMap<Lsn, Model>,
    /// What was released when so many changes of the directory had happened.
    pub(crate) released: Arc<Mutex<Vec<(usize, Lsn)>>>,
}

fn id_of(producer: u8) -> Vec<u8> {
    format!("ID:producer-{producer}").into_bytes()
}

fn new_message<'a>(
    order: u8,
    producer: Option<(u8, u64)>,
    id: &'a [u8],
    body: &'a [u8],
) -> NewMessage<'a> {
    let producer = producer.map(|(_, sequence)| ProducerSequence {
        producer: id,
        sequence,
        suppress_duplicate: true,
    });
    NewMessage {
        producer,
        order,
        expiration_ms: 0,
        body,
    }
}

impl Run {
    pub(crate) fn new() -> Run {
        Self::with(SMALL)
    }

    pub(crate) fn with(options: JournalOptions) -> Run {
        Self::on(FaultyDisk::default(), options)
    }

    pub(crate) fn on(disk: FaultyDisk, options: JournalOptions) -> Run {
        let tenure = begin(&disk, 1, options);
        let follower = open(&disk).unwrap();
        let run = Run {
            disk,
            epoch: 1,
            options,
            tenure,
            backlogs: BTreeMap::new(),
            follower,
            model: Model::default(),
            // A new journal, and the seal that begins it.
            models: BTreeMap::from([(Lsn(0), Model::default()), (Lsn(1), Model::default())]),
            released: Arc::default(),
        };
        run.watch();
        run
    }

    /// Notes what is released from now on.
    fn watch(&self) {
        let (disk, released) = (self.disk.clone(), Arc::clone(&self.released));
        let note = move |lsn| released.lock().unwrap().push((disk.change_count(), lsn));
        self.tenure.store.on_released(Box::new(note));
    }

    /// What was certainly released when so many changes had happened.
    pub(crate) fn released_at(&self, changes: usize) -> Lsn {
        let released = self.released.lock().unwrap();
        let known = released.iter().filter(|(count, _)| *count <= changes);
        known.map(|(_, lsn)| *lsn).max().unwrap_or(Lsn(0))
    }

    fn nth(&self, at: usize) -> Option<(u32, Arc<Backlog>)> {
        let (id, backlog) = self.backlogs.iter().nth(at)?;
        Some((*id, Arc::clone(backlog)))
    }

    fn body(&mut self, length: usize) -> Vec<u8> {
        self.model.sent += 1;
        let mut body = self.model.sent.to_le_bytes().to_vec();
        body.resize(length.max(8), self.model.sent as u8);
        body
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.perform(action);
        let at = self.tenure.store.appended();
        self.models.insert(at, self.model.clone());
    }

    fn perform(&mut self, action: Action) {
        let store = Arc::clone(&self.tenure.store);
        match action {
            Action::Create => {
                let (backlog, _) = store.create_backlog(Bytes::from("new")).unwrap();
                self.model.last_id += 1;
                assert_eq!(backlog.id().0, self.model.last_id);
                let queue = Queue {
                    descriptor: b"new".to_vec(),
                    ..Queue::default()
                };
                self.model.queues.insert(self.model.last_id, queue);
                self.backlogs.insert(self.model.last_id, backlog);
            }
            Action::Describe(at, word) => {
                let Some((id, backlog)) = self.nth(at) else {
                    return;
                };
                store
                    .describe_backlog(&backlog, Bytes::from(vec![word]))
                    .unwrap();
                self.model.queues.get_mut(&id).unwrap().descriptor = vec![word];
            }
            Action::Remove(at) => {
                let Some((id, backlog)) = self.nth(at) else {
                    return;
                };
                store.remove_backlog(&backlog).unwrap();
                self.model.queues.remove(&id);
                self.backlogs.remove(&id);
            }
            Action::Send {
                targets,
                order,
                producer,
                length,
            } => {
                self.send(&targets, order, producer, length);
            }
            Action::SendInTransaction {
                transaction,
                target,
                producer,
            } => {
                let Some((id, backlog)) = self.nth(target) else {
                    return;
                };
                if self.model.prepared.contains_key(&transaction) {
                    return;
                }
                let body = self.body(50);
                let producer_id = id_of(producer.map_or(0, |(id, _)| id));
                let message = new_message(4, producer, &producer_id, &body);
                store
                    .enqueue_in_transaction(&[transaction], one(&backlog), message)
                    .unwrap();
                if !self.model.is_duplicate(producer) {
                    let open = Open {
                        target: id,
                        body,
                        producer,
                    };
                    self.model.open.entry(transaction).or_default().push(open);
                }
            }
            Action::Commit {
                transaction,
                backlog,
                acknowledged,
            } => {
                self.commit(transaction, backlog, acknowledged);
            }
            Action::RollBack(transaction) => {
                let had = self.model.open.remove(&transaction).is_some();
                assert_eq!(store.roll_back(&[transaction]).unwrap().is_some(), had);
            }
            Action::Prepare {
                transaction,
                backlog,
                acknowledged,
            } => self.prepare(transaction, backlog, acknowledged),
            Action::Decide(transaction, decision) => self.decide(transaction, decision),
            Action::Acknowledge {
                backlog,
                skip,
                count,
            } => {
                let Some((id, backlog)) = self.nth(backlog) else {
                    return;
                };
                let queue = self.model.queues.get_mut(&id).unwrap();
                let positions: Vec<_> = queue
                    .messages
                    .keys()
                    .copied()
                    .skip(skip)
                    .take(count)
                    .collect();
                store.acknowledge(&backlog, &positions).unwrap();
                queue
                    .messages
                    .retain(|position, _| !positions.contains(position));
            }
            Action::Reserve(at, below) => {
                let Some((id, backlog)) = self.nth(at) else {
                    return;
                };
                store.reserve_dispatch(&backlog, below).unwrap();
                let queue = self.model.queues.get_mut(&id).unwrap();
                queue.reserved_below = queue.reserved_below.max(below);
            }
            Action::Forget(producer) => {
                store
                    .forget_producers(&[Bytes::from(id_of(producer))])
                    .unwrap();
                self.model.producers.remove(&producer);
            }
            Action::Settle => self.tenure.settle(),
            Action::Follow => {
                catch_up(&mut self.follower, &self.tenure);
                assert_eq!(
                    view(&self.follower.state().backlogs()),
                    view(&store.backlogs())
                );
            }
            Action::Switch => {
                store.shut_down();
                self.take_over();
            }
            Action::Crash => {
                self.tenure.settle();
                store.abandon();
                // Its threads end before the next tenure begins, as with their process.
                store.shut_down();
                self.take_over();
            }
        }
    }

    fn send(&mut self, at: &[usize], order: u8, producer: Option<(u8, u64)>, length: usize) {
        let mut targets: Vec<(u32, Arc<Backlog>)> =
            at.iter().filter_map(|at| self.nth(*at)).collect();
        targets.dedup_by_key(|(id, _)| *id);
        targets.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        targets.dedup_by_key(|(id, _)| *id);
        let body = self.body(length);
        let id = id_of(producer.map_or(0, |(id, _)| id));
        let message = new_message(order, producer, &id, &body);
        let backlogs: Vec<_> = targets
            .iter()
            .map(|(_, backlog)| Arc::clone(backlog))
            .collect();
        match self.tenure.store.enqueue(&backlogs, message).unwrap() {
            Enqueued::Duplicate { .. } => assert!(self.model.is_duplicate(producer)),
            Enqueued::Appended {
                positions,
                location,
                ..
            } => {
                assert!(!self.model.is_duplicate(producer));
                self.model.note(producer);
                let expected: Vec<_> = targets
                    .iter()
                    .map(|(id, _)| self.model.push(*id, order, &body).unwrap())
                    .collect();
                assert_eq!(positions, expected);
                // The keeper may have moved it already.
                let read = self.tenure.store.read(location);
                assert!(read.is_err() || read.unwrap() == body);
            }
        }
    }

    fn commit(&mut self, transaction: u8, backlog: usize, acknowledged: usize) {
        let mut acknowledgements = Vec::new();
        if let Some((id, backlog)) = self.nth(backlog) {
            let queue = self.model.queues.get_mut(&id).unwrap();
            let positions: Vec<_> = queue.messages.keys().copied().take(acknowledged).collect();
            queue
                .messages
                .retain(|position, _| !positions.contains(position));
            acknowledgements.push((backlog, positions));
        }
        self.tenure
            .store
            .commit(&[transaction], &acknowledgements)
            .unwrap();
        let messages = self.model.open.remove(&transaction).unwrap_or_default();
        self.model.show(messages);
    }

    fn prepare(&mut self, transaction: u8, backlog: usize, acknowledged: usize) {
        if self.model.prepared.contains_key(&transaction) {
            return;
        }
        let found = self.nth(backlog).map(|(id, backlog)| {
            let messages = self.model.queues[&id].messages.keys();
            let positions: Vec<_> = messages.copied().take(acknowledged).collect();
            (id, backlog, positions)
        });
        let acknowledgements: Vec<_> = found
            .iter()
            .map(|(_, backlog, positions)| (Arc::clone(backlog), positions.clone()))
            .collect();
        self.tenure
            .store
            .prepare(&[transaction], &acknowledgements)
            .unwrap();
        let prepared = Prepared {
            messages: self.model.open.remove(&transaction).unwrap_or_default(),
            acknowledged: found
                .map(|(id, _, positions)| (id, positions))
                .filter(|(_, positions)| !positions.is_empty()),
        };
        self.model.prepared.insert(transaction, prepared);
        self.model.outcomes.remove(&transaction);
    }

    fn decide(&mut self, transaction: u8, decision: Decision) {
        let store = &self.tenure.store;
        let decided = store.decide(&[transaction], decision, false).unwrap();
        let Some(prepared) = self.model.prepared.remove(&transaction) else {
            assert_eq!(decided, None);
            return;
        };
        assert!(decided.is_some());
        self.model.outcomes.insert(transaction, decision);
        if decision == Decision::RollBack {
            return;
        }
        self.model.show(prepared.messages);
        if let Some((id, positions)) = prepared.acknowledged
            && let Some(queue) = self.model.queues.get_mut(&id)
        {
            queue.messages.retain(|at, _| !positions.contains(at));
        }
    }

    fn take_over(&mut self) {
        assert_eq!(self.tenure.failure(), None);
        self.epoch += 1;
        self.tenure = begin(&self.disk, self.epoch, self.options);
        self.watch();
        let backlogs = self.tenure.store.backlogs();
        self.backlogs = backlogs
            .into_iter()
            .map(|backlog| (backlog.id().0, backlog))
            .collect();
        self.model.take_over();
        self.model.check_store(&self.tenure.store);
    }
}

impl Model {
    /// The store must be what the model is, bodies included.
    pub(crate) fn check_store(&self, store: &Store) {
        let backlogs = store.backlogs();
        let known = |producer: &[u8]| store.producer_sequence(producer);
        let outcome = |key: u8| store.outcome(&[key]).map(|outcome| outcome.decision);
        self.check(&backlogs, &store.prepared(), known, outcome);
        for (backlog, queue) in backlogs.iter().zip(self.queues.values()) {
            let expected: Vec<_> = queue.messages.values().cloned().collect();
            assert_eq!(bodies(store, backlog), expected);
        }
    }

    /// A state that somebody read must be what the model is.
    pub(crate) fn check_state(&self, state: &State) {
        let known = |producer: &[u8]| state.producer_sequence(producer);
        let outcome = |key: u8| state.outcome(&[key]).map(|outcome| outcome.decision);
        self.check(&state.backlogs(), &state.prepared(), known, outcome);
    }

    fn check(
        &self,
        backlogs: &[Arc<Backlog>],
        prepared: &[PreparedTransaction],
        known: impl Fn(&[u8]) -> Option<u64>,
        outcome: impl Fn(u8) -> Option<Decision>,
    ) {
        let ids: Vec<u32> = backlogs.iter().map(|backlog| backlog.id().0).collect();
        assert_eq!(ids, self.queues.keys().copied().collect::<Vec<_>>());
        for (backlog, queue) in backlogs.iter().zip(self.queues.values()) {
            let found = entries(backlog);
            let positions: Vec<_> = found.iter().map(|(at, _)| *at).collect();
            assert_eq!(
                positions,
                queue.messages.keys().copied().collect::<Vec<_>>()
            );
            assert_eq!(backlog.descriptor(), queue.descriptor);
            assert_eq!(backlog.reserved_below().0, queue.reserved_below);
            assert_eq!(backlog.redelivered_below(), queue.redelivered_below);
            assert_eq!(backlog.len(), queue.messages.len());
            assert!(found.iter().all(|(_, entry)| entry.visible > Lsn(0)));
        }
        assert_eq!(prepared.len(), self.prepared.len());
        for (found, (key, expected)) in prepared.iter().zip(&self.prepared) {
            assert_eq!(found.key[..], [*key]);
            assert_eq!(found.messages, expected.messages.len());
            let acknowledged = expected.acknowledged.iter();
            let acknowledged: Vec<_> = acknowledged
                .map(|(id, positions)| (BacklogId(*id), positions.clone()))
                .collect();
            assert_eq!(found.acknowledged, acknowledged);
        }
        for key in 0..3_u8 {
            assert_eq!(outcome(key), self.outcomes.get(&key).copied());
            let producer = id_of(key);
            assert_eq!(known(&producer), self.producers.get(&key).copied());
        }
    }
}

/// Cases of a random test: as the environment says, or a few.
pub(crate) fn cases(few: u32) -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(few)
}
