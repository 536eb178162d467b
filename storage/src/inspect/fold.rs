//! The fold of a journal of which parts are missing.
//!
//! The one fold is [`State::apply`]; this decides what it may be given once records are lost.
//!
//! A message gets its position from the number of messages that came before it. When records are
//! lost, the positions of what comes later are not certain any more, and an acknowledgement that
//! names one of them could hit another message. So from the first loss on, an acknowledgement counts
//! only for positions that were given before it; the others are ignored, and their messages come
//! again. Nothing that is pending is ever dropped on a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::Names;
use crate::backlog::{Backlog, Contents};
use crate::position::{BacklogId, Lsn};
use crate::record::{Acknowledge, Commit, Message, Move, Prepare, Record};
use crate::state::{OpenMessage, Place, State};

/// A range of records that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) first: Lsn,
    pub(super) last: Lsn,
}

/// A transaction whose end may be among what was lost.
pub(super) struct InDoubt {
    pub(super) key: Bytes,
    pub(super) messages: Vec<OpenMessage>,
}

/// See the module.
pub(super) struct Fold {
    pub(super) state: State,
    /// The next LSN that is expected.
    pub(super) next: Lsn,
    pub(super) lost: Vec<Lost>,
    /// For each backlog that was there at the first loss: the last sequence given until then.
    certain_through: BTreeMap<BacklogId, u64>,
    /// The highest number of a backlog that was given before the first loss.
    last_id_at_loss: u32,
    /// Transactions that were open at a loss.
    suspects: BTreeSet<Bytes>,
    /// Those of them that ended without a word.
    pub(super) in_doubt: Vec<InDoubt>,
    /// Acknowledgements that do not count, by backlog.
    pub(super) ignored: BTreeMap<BacklogId, u64>,
    /// Backlogs whose creation was lost.
    pub(super) recovered: BTreeSet<BacklogId>,
    /// What contradicts the rest although nothing was lost.
    pub(super) contradictions: Vec<(Lsn, String)>,
}

/// Contradictions that are kept.
const CONTRADICTIONS_MAX: usize = 100;

impl Fold {
    pub(super) fn new(state: State, next: Lsn) -> Fold {
        Fold {
            state,
            next,
            lost: Vec::new(),
            certain_through: BTreeMap::new(),
            last_id_at_loss: 0,
            suspects: BTreeSet::new(),
            in_doubt: Vec::new(),
            ignored: BTreeMap::new(),
            recovered: BTreeSet::new(),
            contradictions: Vec::new(),
        }
    }

    pub(super) fn has_loss(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Records up to `last` are lost.
    pub(super) fn lose(&mut self, last: Lsn) {
        let lost = Lost {
            first: self.next,
            last,
        };
        if self.lost.is_empty() {
            self.last_id_at_loss = self.state.directory.lock().last_id;
        }
        self.lost.push(lost);
        for backlog in self.state.backlogs() {
            let last_sequence = backlog.lock().last_sequence;
            self.certain_through
                .entry(backlog.id())
                .or_insert(last_sequence);
        }
        let transactions = self.state.transactions.lock();
        let open = transactions.open.keys();
        self.suspects
            .extend(open.map(|key| Bytes::copy_from_slice(key)));
        self.next = Lsn(last.0 + 1);
    }

    /// Applies the record at `place`, which is the next one.
    pub(super) fn apply(&mut self, place: Place, record: Record<'_>, names: &dyn Names) {
        self.next = Lsn(place.lsn.0 + 1);
        let adapted = match record {
            Record::Move(moved) if self.has_loss() && !moved.places.is_empty() => {
                return self.apply_move(place, &moved, names);
            }
            record if self.has_loss() => self.adapt(place.lsn, record, names),
            record => Some(record),
        };
        let Some(record) = adapted else { return };
        if let Record::Seal(_) = record {
            self.set_suspects_aside();
        }
        self.step(place, record);
    }

    fn step(&mut self, place: Place, record: Record<'_>) {
        if let Err(error) = self.state.apply(place, &record)
            && self.contradictions.len() < CONTRADICTIONS_MAX
        {
            self.contradictions.push((place.lsn, error.to_string()));
        }
    }

    /// What of a record counts behind a loss.
    fn adapt<'a>(&mut self, lsn: Lsn, record: Record<'a>, names: &dyn Names) -> Option<Record<'a>> {
        match &record {
            Record::Message(message) => {
                for id in &message.targets {
                    self.find_or_recover(lsn, *id, names);
                }
            }
            Record::TransactionMessage(message) => {
                for id in &message.targets {
                    // Its backlog may have been removed while the transaction was open.
                    if id.0 > self.last_id_at_loss {
                        self.find_or_recover(lsn, *id, names);
                    }
                }
            }
            Record::DescribeBacklog(describe) => self.find_or_recover(lsn, describe.id, names),
            _ => {}
        }
        Some(match record {
            Record::Acknowledge(acknowledge) => Record::Acknowledge(self.certain(acknowledge)?),
            Record::Commit(commit) => Record::Commit(Commit {
                acknowledged: self.all_certain(commit.acknowledged),
                ..commit
            }),
            Record::Prepare(prepare) => Record::Prepare(Prepare {
                acknowledged: self.all_certain(prepare.acknowledged),
                ..prepare
            }),
            Record::RemoveBacklog(remove) if !self.is_there(remove.id) => return None,
            Record::ReserveDispatch(reserve) if !self.is_there(reserve.id) => return None,
            other => other,
        })
    }

    /// Behind a loss a message is found by its old place, which is certain where positions are not.
    /// One that was pending and is not found came with a lost record: this one brings it back.
    fn apply_move(&mut self, place: Place, moved: &Move<'_>, names: &dyn Names) {
        let (mut places, mut targets) = (Vec::new(), Vec::new());
        for (id, position) in &moved.places {
            self.find_or_recover(place.lsn, *id, names);
            let backlog = self.state.directory.lock().backlogs.get(id).cloned();
            let Some(backlog) = backlog else { continue };
            let through = self.certain_through.get(id).copied().unwrap_or(u64::MAX);
            if position.sequence() <= through {
                places.push((*id, *position));
                continue;
            }
            let contents = backlog.lock();
            let mut entries = contents.entries.iter();
            match entries.find(|(_, entry)| entry.location == moved.from) {
                Some((position, _)) => places.push((*id, position)),
                None => targets.push(*id),
            }
        }
        if !places.is_empty() {
            let record = Record::Move(Move {
                places,
                ..moved.clone()
            });
            self.step(place, record);
        }
        if !targets.is_empty() {
            let record = Record::Message(Message {
                targets,
                transaction: &[],
                ..moved.message.clone()
            });
            self.step(place, record);
        }
    }

    fn is_there(&self, id: BacklogId) -> bool {
        self.state.directory.lock().backlogs.contains_key(&id)
    }

    fn all_certain(&mut self, all: Vec<Acknowledge>) -> Vec<Acknowledge> {
        all.into_iter()
            .filter_map(|one| self.certain(one))
            .collect()
    }

    /// None: the backlog was removed, or nobody knows it.
    fn certain(&mut self, mut acknowledge: Acknowledge) -> Option<Acknowledge> {
        if !self.is_there(acknowledge.id) {
            return None;
        }
        let Some(&through) = self.certain_through.get(&acknowledge.id) else {
            return Some(acknowledge);
        };
        let before = acknowledge.positions.len();
        acknowledge
            .positions
            .retain(|position| position.sequence() <= through);
        let ignored = before - acknowledge.positions.len();
        if ignored > 0 {
            *self.ignored.entry(acknowledge.id).or_default() += ignored as u64;
        }
        Some(acknowledge)
    }

    fn find_or_recover(&mut self, lsn: Lsn, id: BacklogId, names: &dyn Names) {
        let directory = &mut *self.state.directory.lock();
        if directory.backlogs.contains_key(&id) || lsn <= self.state.known_through {
            return;
        }
        directory.last_id = directory.last_id.max(id.0);
        let contents = Contents {
            descriptor: names.recovered_backlog(id),
            ..Contents::default()
        };
        let backlog = Arc::new(Backlog::new(id, contents));
        directory.backlogs.insert(id, backlog);
        // Nobody knows what it held before.
        self.certain_through.insert(id, 0);
        self.recovered.insert(id);
    }

    /// A seal drops what is open. What was open at a loss may have been committed in it.
    fn set_suspects_aside(&mut self) {
        let transactions = &mut *self.state.transactions.lock();
        for key in std::mem::take(&mut self.suspects) {
            if let Some(messages) = transactions.open.remove(&*key)
                && !messages.is_empty()
            {
                self.in_doubt.push(InDoubt { key, messages });
            }
        }
    }

    /// Nothing comes any more.
    pub(super) fn finish(&mut self) {
        self.set_suspects_aside();
    }
}
