//! The single fold: one record, one step.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::MutexGuard;

use super::{Directory, OpenMessage, Shard, State, Tenure, Transactions, shard_of};
use crate::backlog::{Backlog, Contents};
use crate::position::{BacklogId, Entry, Epoch, Location, Lsn, Position};
use crate::record::{Acknowledge, Commit, Decide, Message, Move, Record, Seal};
use crate::transaction::Decision;

/// Where a record stands in the one order and in the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) lsn: Lsn,
    pub(crate) epoch: Epoch,
    pub(crate) location: Location,
}

/// A record does not fit the state: the journal is damaged in a way that no CRC shows, or its
/// writer had a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error("record {lsn} speaks of backlog {}, which does not exist", backlog.0)]
    UnknownBacklog { lsn: Lsn, backlog: BacklogId },
    #[error("record {lsn} creates backlog {}, but that number was used before", backlog.0)]
    UsedBacklog { lsn: Lsn, backlog: BacklogId },
}

/// The objects that one record touches, locked.
pub(crate) struct Locked<'a> {
    state: &'a State,
    transactions: Option<MutexGuard<'a, Transactions>>,
    directory: Option<MutexGuard<'a, Directory>>,
    /// By id.
    backlogs: Vec<(BacklogId, MutexGuard<'a, Contents>)>,
    /// By index.
    shards: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl State {
    /// Applies a record: the fold. `place.lsn` is the next one.
    pub(crate) fn apply(&self, place: Place, record: &Record<'_>) -> Result<(), ApplyError> {
        self.with_locks(record, |locked| locked.apply(place, record).map(drop))
    }

    /// Locks everything that `record` touches, whatever it is.
    pub(crate) fn with_locks<R>(
        &self,
        record: &Record<'_>,
        run: impl FnOnce(&mut Locked<'_>) -> R,
    ) -> R {
        let transactions = match record {
            Record::TransactionMessage(_)
            | Record::Commit(_)
            | Record::RollBack(_)
            | Record::Prepare(_)
            | Record::Decide(_)
            | Record::ForgetOutcomes(_)
            | Record::Seal(_) => Some(self.transactions.lock()),
            Record::Move(moved) if moved.places.is_empty() => Some(self.transactions.lock()),
            _ => None,
        };
        let directory = self.directory.lock();
        let backlogs = touched(record, &directory, transactions.as_deref());
        let directory = match record {
            Record::CreateBacklog(_) | Record::RemoveBacklog(_) => Some(directory),
            _ => {
                drop(directory);
                None
            }
        };
        let shards = touched_shards(record, transactions.as_deref());
        let mut locked = Locked {
            state: self,
            transactions,
            directory,
            backlogs: backlogs
                .iter()
                .map(|backlog| (backlog.id(), backlog.lock()))
                .collect(),
            shards: shards
                .iter()
                .map(|&index| (index, self.producers[index].lock()))
                .collect(),
        };
        run(&mut locked)
    }

    /// Locks the given backlogs (ascending by id, none twice) and a producer's shard: the short
    /// way for records that touch nothing else.
    pub(crate) fn lock<'a>(
        &'a self,
        backlogs: impl Iterator<Item = &'a Backlog>,
        producer: Option<&[u8]>,
    ) -> Locked<'a> {
        let backlogs = backlogs
            .map(|backlog| (backlog.id(), backlog.lock()))
            .collect();
        let shards = producer
            .map(shard_of)
            .map(|index| (index, self.producers[index].lock()));
        Locked {
            state: self,
            transactions: None,
            directory: None,
            backlogs,
            shards: shards.into_iter().collect(),
        }
    }
}

/// The backlogs that a record touches, by id; those that do not exist are left out.
fn touched(
    record: &Record<'_>,
    directory: &Directory,
    transactions: Option<&Transactions>,
) -> Vec<Arc<Backlog>> {
    let mut ids: Vec<BacklogId> = Vec::new();
    match record {
        Record::Seal(_) => return directory.backlogs.values().cloned().collect(),
        Record::DescribeBacklog(describe) => ids.push(describe.id),
        Record::RemoveBacklog(remove) => ids.push(remove.id),
        Record::ReserveDispatch(reserve) => ids.push(reserve.id),
        Record::Acknowledge(acknowledge) => ids.push(acknowledge.id),
        Record::Message(message) => ids.extend(&message.targets),
        Record::Move(moved) => ids.extend(moved.places.iter().map(|(id, _)| *id)),
        Record::Commit(commit) => {
            ids.extend(commit.acknowledged.iter().map(|acknowledge| acknowledge.id));
            let messages = ended(record, transactions).iter();
            ids.extend(messages.flat_map(|message| &message.targets));
        }
        Record::Prepare(prepare) => {
            ids.extend(
                prepare
                    .acknowledged
                    .iter()
                    .map(|acknowledge| acknowledge.id),
            );
        }
        Record::Decide(decide) if decide.outcome.decision == Decision::Commit => {
            let prepared = transactions.and_then(|all| all.prepared.get(decide.transaction));
            let acknowledged = prepared.into_iter().flat_map(|one| &one.acknowledged);
            ids.extend(acknowledged.map(|acknowledge| acknowledge.id));
            let messages = ended(record, transactions).iter();
            ids.extend(messages.flat_map(|message| &message.targets));
        }
        Record::CreateBacklog(_)
        | Record::TransactionMessage(_)
        | Record::RollBack(_)
        | Record::Decide(_)
        | Record::ForgetOutcomes(_)
        | Record::ForgetProducers(_) => {}
    }
    ids.sort_unstable();
    ids.dedup();
    ids.iter()
        .filter_map(|id| directory.backlogs.get(id).cloned())
        .collect()
}

/// The messages that a record which ends a transaction makes visible.
fn ended<'a>(record: &Record<'_>, transactions: Option<&'a Transactions>) -> &'a [OpenMessage] {
    let messages = transactions.and_then(|all| match record {
        Record::Commit(commit) => all.open.get(commit.transaction),
        Record::Decide(decide) if decide.outcome.decision == Decision::Commit => all
            .prepared
            .get(decide.transaction)
            .map(|prepared| &prepared.messages),
        _ => None,
    });
    messages.map_or(&[], Vec::as_slice)
}

fn touched_shards(record: &Record<'_>, transactions: Option<&Transactions>) -> Vec<usize> {
    let mut shards: Vec<usize> = match record {
        Record::Message(message) => message
            .producer
            .iter()
            .map(|producer| shard_of(producer.id))
            .collect(),
        Record::Commit(_) | Record::Decide(_) => {
            let messages = ended(record, transactions).iter();
            let producers = messages.filter_map(|open| open.producer.as_ref());
            producers.map(|(id, _)| shard_of(id)).collect()
        }
        Record::ForgetProducers(forget) => forget.producers.iter().map(|id| shard_of(id)).collect(),
        _ => Vec::new(),
    };
    shards.sort_unstable();
    shards.dedup();
    shards
}

impl Locked<'_> {
    pub(crate) fn transactions(&self) -> Option<&Transactions> {
        self.transactions.as_deref()
    }

    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_deref()
    }

    /// A locked backlog that still exists.
    pub(crate) fn backlog(&self, id: BacklogId) -> Option<&Contents> {
        let index = self
            .backlogs
            .binary_search_by_key(&id, |(id, _)| *id)
            .ok()?;
        let contents = &*self.backlogs[index].1;
        (!contents.is_removed).then_some(contents)
    }

    pub(crate) fn producer_sequence(&self, id: &[u8]) -> Option<u64> {
        let (_, shard) = self
            .shards
            .iter()
            .find(|(index, _)| *index == shard_of(id))?;
        Some(shard.producers.get(id)?.sequence)
    }

    pub(crate) fn producer_used_ms(&self, id: &[u8]) -> Option<u64> {
        let (_, shard) = self
            .shards
            .iter()
            .find(|(index, _)| *index == shard_of(id))?;
        Some(shard.producers.get(id)?.used_ms)
    }

    /// The step. Answers the positions that a message got in its targets.
    pub(crate) fn apply(
        &mut self,
        place: Place,
        record: &Record<'_>,
    ) -> Result<Vec<Position>, ApplyError> {
        let mut positions = Vec::new();
        match record {
            Record::Seal(seal) => self.seal(place, *seal),
            Record::CreateBacklog(create) => {
                let descriptor = Bytes::copy_from_slice(create.descriptor);
                self.create_backlog(place.lsn, create.id, descriptor)?;
            }
            Record::DescribeBacklog(describe) => {
                if let Some(contents) = self.contents(place.lsn, describe.id)? {
                    contents.descriptor = Bytes::copy_from_slice(describe.descriptor);
                }
            }
            Record::RemoveBacklog(remove) => self.remove_backlog(place.lsn, remove.id)?,
            Record::Message(message) => positions = self.enqueue(place, message)?,
            Record::TransactionMessage(message) => self.open_message(place, message),
            Record::Commit(commit) => self.commit(place, commit)?,
            Record::RollBack(roll_back) => {
                let messages = self.take_transaction(place.lsn, roll_back.transaction);
                self.drop_messages(&messages);
            }
            Record::Prepare(prepare) => {
                if let Some(transactions) = self.transactions_before(place.lsn) {
                    transactions.prepare(prepare);
                }
            }
            Record::Decide(decide) => self.decide(place, decide),
            Record::ForgetOutcomes(forget) => {
                if let Some(transactions) = self.transactions_before(place.lsn) {
                    for transaction in &forget.transactions {
                        transactions.forget(transaction);
                    }
                }
            }
            Record::Acknowledge(acknowledge) => self.acknowledge(place.lsn, acknowledge)?,
            Record::Move(moved) => self.move_message(place, moved)?,
            Record::ReserveDispatch(reserve) => {
                if let Some(contents) = self.contents(place.lsn, reserve.id)? {
                    contents.reserved_below = contents.reserved_below.max(reserve.below);
                    contents.reserved_by = place.lsn;
                }
            }
            Record::ForgetProducers(forget) => {
                for producer in &forget.producers {
                    if let Some(shard) = self.shard(place.lsn, producer) {
                        shard.producers.remove(*producer);
                    }
                }
            }
        }
        self.state.set_applied(place.lsn);
        Ok(positions)
    }

    /// The backlog, unless it contains the record already or was removed later on anyway.
    fn contents(&mut self, lsn: Lsn, id: BacklogId) -> Result<Option<&mut Contents>, ApplyError> {
        let Ok(index) = self.backlogs.binary_search_by_key(&id, |(id, _)| *id) else {
            if lsn <= self.state.known_through {
                return Ok(None);
            }
            return Err(ApplyError::UnknownBacklog { lsn, backlog: id });
        };
        let contents = &mut *self.backlogs[index].1;
        Ok((lsn > contents.complete_through).then_some(contents))
    }

    /// The producer's shard, unless it contains the record already.
    fn shard(&mut self, lsn: Lsn, producer: &[u8]) -> Option<&mut Shard> {
        let wanted = shard_of(producer);
        let (_, shard) = self.shards.iter_mut().find(|(index, _)| *index == wanted)?;
        (lsn > shard.complete_through).then_some(&mut **shard)
    }

    fn seal(&mut self, place: Place, seal: Seal) {
        if let Some(transactions) = self.transactions_before(place.lsn) {
            let dropped = std::mem::take(&mut transactions.open);
            for messages in dropped.into_values() {
                self.drop_messages(&messages);
            }
        }
        for (_, contents) in &mut self.backlogs {
            if place.lsn > contents.complete_through {
                // A reservation reaches ahead; what comes after the seal was dispatched by nobody.
                let may_be_out = contents.reserved_below.min(contents.last_sequence + 1);
                contents.redelivered_below = contents.redelivered_below.max(may_be_out);
            }
        }
        let mut tenures = self.state.tenures.lock();
        if tenures.last().is_none_or(|last| last.epoch < place.epoch) {
            let (epoch, segment, lsn) = (place.epoch, place.location.segment, place.lsn);
            tenures.push(Tenure {
                epoch,
                segment,
                lsn,
                seal,
            });
        }
    }

    fn create_backlog(
        &mut self,
        lsn: Lsn,
        id: BacklogId,
        descriptor: Bytes,
    ) -> Result<(), ApplyError> {
        let Some(directory) = &mut self.directory else {
            return Ok(());
        };
        if lsn <= directory.complete_through {
            return Ok(());
        }
        if id.0 <= directory.last_id {
            return Err(ApplyError::UsedBacklog { lsn, backlog: id });
        }
        directory.last_id = id.0;
        let contents = Contents {
            descriptor,
            ..Contents::default()
        };
        directory
            .backlogs
            .insert(id, Arc::new(Backlog::new(id, contents)));
        Ok(())
    }

    fn remove_backlog(&mut self, lsn: Lsn, id: BacklogId) -> Result<(), ApplyError> {
        let state = self.state;
        if let Some(contents) = self.contents(lsn, id)? {
            contents.is_removed = true;
            let entries = std::mem::take(&mut contents.entries);
            let mut segments = state.segments.lock();
            for (_, entry) in entries.iter() {
                segments.subtract(entry.location, entry.is_shared);
            }
        }
        if let Some(directory) = &mut self.directory
            && lsn > directory.complete_through
        {
            directory.backlogs.remove(&id);
        }
        Ok(())
    }

    fn enqueue(
        &mut self,
        place: Place,
        message: &Message<'_>,
    ) -> Result<Vec<Position>, ApplyError> {
        if let Some(producer) = message.producer
            && let Some(shard) = self.shard(place.lsn, producer.id)
        {
            shard.note(producer.id, producer.sequence, message.time_ms);
        }
        let entry = Entry {
            location: place.location,
            visible: place.lsn,
            expiration_ms: message.expiration_ms,
            is_shared: message.targets.len() > 1,
        };
        let mut positions = Vec::with_capacity(message.targets.len());
        for target in &message.targets {
            if let Some(contents) = self.contents(place.lsn, *target)? {
                positions.push(contents.enqueue(message.order, entry));
            }
        }
        let mut segments = self.state.segments.lock();
        for _ in &positions {
            segments.add(place.epoch, place.location, entry.is_shared);
        }
        drop(segments);
        Ok(positions)
    }

    fn open_message(&mut self, place: Place, message: &Message<'_>) {
        let state = self.state;
        if let Some(transactions) = self.transactions_before(place.lsn) {
            let open = OpenMessage::new(place.epoch, place.location, message);
            let mut segments = state.segments.lock();
            segments.add(place.epoch, place.location, open.is_shared());
            transactions.push(message.transaction, open);
        }
    }

    /// The table of transactions, unless it contains the record already.
    fn transactions_before(&mut self, lsn: Lsn) -> Option<&mut Transactions> {
        let transactions = self.transactions.as_deref_mut()?;
        (lsn > transactions.complete_through).then_some(transactions)
    }

    /// The messages of a transaction that ends.
    fn take_transaction(&mut self, lsn: Lsn, transaction: &[u8]) -> Vec<OpenMessage> {
        let open = self.transactions_before(lsn).map(|all| &mut all.open);
        open.and_then(|open| open.remove(transaction))
            .unwrap_or_default()
    }

    fn commit(&mut self, place: Place, commit: &Commit<'_>) -> Result<(), ApplyError> {
        let messages = self.take_transaction(place.lsn, commit.transaction);
        self.show(place, messages);
        for acknowledge in &commit.acknowledged {
            self.acknowledge(place.lsn, acknowledge)?;
        }
        Ok(())
    }

    /// Ends a prepared transaction.
    fn decide(&mut self, place: Place, decide: &Decide<'_>) {
        let Some(transactions) = self.transactions_before(place.lsn) else {
            return;
        };
        let Some(prepared) = transactions.prepared.remove(decide.transaction) else {
            return;
        };
        transactions.note(decide.transaction, decide.outcome);
        match decide.outcome.decision {
            Decision::Commit => {
                self.show(place, prepared.messages);
                for acknowledge in &prepared.acknowledged {
                    // A backlog may be removed while a transaction that concerns it is prepared.
                    let _ = self.acknowledge(place.lsn, acknowledge);
                }
            }
            Decision::RollBack => self.drop_messages(&prepared.messages),
        }
    }

    /// Makes a transaction's messages visible.
    fn show(&mut self, place: Place, messages: Vec<OpenMessage>) {
        for message in messages {
            if let Some((id, sequence)) = &message.producer
                && let Some(shard) = self.shard(place.lsn, id)
            {
                shard.note(id, *sequence, message.time_ms);
            }
            let entry = Entry {
                location: message.location,
                visible: place.lsn,
                expiration_ms: message.expiration_ms,
                is_shared: message.is_shared(),
            };
            for target in &message.targets {
                // A backlog may be removed while a transaction that targets it is open.
                let contents = self.contents(place.lsn, *target).ok().flatten();
                if let Some(contents) = contents {
                    contents.enqueue(message.order, entry);
                    let mut segments = self.state.segments.lock();
                    segments.add_again(message.location, entry.is_shared);
                }
            }
            let mut segments = self.state.segments.lock();
            segments.subtract(message.location, entry.is_shared);
        }
    }

    fn drop_messages(&self, messages: &[OpenMessage]) {
        let mut segments = self.state.segments.lock();
        for message in messages {
            segments.subtract(message.location, message.is_shared());
        }
    }

    fn acknowledge(&mut self, lsn: Lsn, acknowledge: &Acknowledge) -> Result<(), ApplyError> {
        let state = self.state;
        if let Some(contents) = self.contents(lsn, acknowledge.id)? {
            let mut segments = state.segments.lock();
            for position in &acknowledge.positions {
                if let Some(entry) = contents.entries.remove(*position) {
                    segments.subtract(entry.location, entry.is_shared);
                }
            }
        }
        Ok(())
    }

    /// Lets what is still pending of a message point to its new record. Nothing else changes: not
    /// the position, not from when on it is visible, not what is known of its producer.
    fn move_message(&mut self, place: Place, moved: &Move<'_>) -> Result<(), ApplyError> {
        let state = self.state;
        if moved.places.is_empty()
            && let Some(transactions) = self.transactions_before(place.lsn)
            && let Some(open) = transactions.find(moved.message.transaction, moved.from)
        {
            open.location = place.location;
            open.epoch = place.epoch;
            let mut segments = state.segments.lock();
            segments.add(place.epoch, place.location, open.is_shared());
            segments.subtract(moved.from, open.is_shared());
        }
        for (id, position) in &moved.places {
            if let Some(contents) = self.contents(place.lsn, *id)?
                && let Some(old) = contents.entries.relocate(*position, place.location)
            {
                let mut segments = state.segments.lock();
                segments.add(place.epoch, place.location, old.is_shared);
                segments.subtract(old.location, old.is_shared);
            }
        }
        Ok(())
    }
}

impl Contents {
    fn enqueue(&mut self, order: u8, entry: Entry) -> Position {
        self.last_sequence += 1;
        let position = Position::new(order, self.last_sequence);
        let is_pushed = self.entries.push(position, entry);
        assert!(is_pushed, "sequences only grow");
        position
    }
}
