//! Whether two ways to the same state come to the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Names;
use super::report::{Affected, Finding, Kind, Report, Severity};
use super::walk::Replay;
use crate::backlog::Backlog;
use crate::position::BacklogId;
use crate::state::State;

/// Compares the fold since the newest checkpoint with the one since the checkpoint before it (or
/// since the first record). Nothing is said where one of them met something lost.
pub(super) fn compare(report: &mut Report, newest: &Replay, older: &Replay, names: &dyn Names) {
    if newest.fold.has_loss() || older.fold.has_loss() {
        return;
    }
    let (new, old) = (&newest.fold.state, &older.fold.state);
    let affected = differing_backlogs(new, old, names);
    let mut what = Vec::new();
    if !affected.is_empty() {
        what.push(format!("{} backlogs", affected.len()));
    }
    if producers(new) != producers(old) {
        what.push("the producers' sequences".to_owned());
    }
    if !has_same_transactions(new, old) {
        what.push("the transactions".to_owned());
    }
    if what.is_empty() {
        return;
    }
    let text = format!(
        "what the journal says since {} and since {} differs in {}",
        newest.title,
        older.title,
        what.join(", ")
    );
    let mut finding = Finding::new(Severity::Damage, Kind::Contradiction, text).advise(
        "brokers trust the newest checkpoint; keep a copy of the directory for an analysis, and \
         compare the named queues with what their clients expect",
    );
    finding.backlogs = affected;
    report.add(finding);
}

fn by_id(state: &State) -> BTreeMap<BacklogId, Arc<Backlog>> {
    state.directory.lock().backlogs.clone()
}

/// Those that are not the same in both, with the number of messages that the newer state has.
fn differing_backlogs(new: &State, old: &State, names: &dyn Names) -> Vec<Affected> {
    let (new, old) = (by_id(new), by_id(old));
    let mut affected = Vec::new();
    for (id, backlog) in &new {
        let is_same = old.get(id).is_some_and(|other| is_same(backlog, other));
        if !is_same {
            affected.push(name(backlog, names));
        }
    }
    for (id, backlog) in &old {
        if !new.contains_key(id) {
            affected.push(name(backlog, names));
        }
    }
    affected
}

fn name(backlog: &Backlog, names: &dyn Names) -> Affected {
    let contents = backlog.lock();
    Affected {
        id: backlog.id().0,
        name: names.name(backlog.id(), &contents.descriptor),
        messages: contents.entries.len() as u64,
    }
}

fn is_same(new: &Backlog, old: &Backlog) -> bool {
    let (new, old) = (new.lock(), old.lock());
    let sizes = |of: &crate::backlog::Contents| {
        (
            of.entries.len(),
            of.last_sequence,
            of.reserved_below,
            of.redelivered_below,
        )
    };
    sizes(&new) == sizes(&old)
        && new.descriptor == old.descriptor
        && new.entries.iter().eq(old.entries.iter())
}

fn producers(state: &State) -> BTreeMap<Box<[u8]>, u64> {
    let mut all = BTreeMap::new();
    for shard in &state.producers {
        let shard = shard.lock();
        let known = shard.producers.iter();
        all.extend(known.map(|(id, producer)| (id.clone(), producer.sequence)));
    }
    all
}

fn has_same_transactions(new: &State, old: &State) -> bool {
    let (new, old) = (new.transactions.lock(), old.transactions.lock());
    new.prepared == old.prepared && new.open == old.open
}
