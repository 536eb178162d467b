//! Messages that the journal moved: their bodies in memory are known by a place that is no more.
//!
//! What waits or is in flight keeps the old place, and finds the new one when it is read back. Only
//! the bodies kept for later must go: nobody would ever ask for them.

use std::collections::HashMap;
use std::sync::Arc;

use storage::journal::MovedRecord;
use storage::{BacklogId, Location};

use super::broker::Broker;

impl Broker {
    /// Called from the journal's keeper.
    pub(super) fn forget_moved(self: &Arc<Self>, moved: &[MovedRecord]) {
        let mut by_backlog: HashMap<BacklogId, Vec<Location>> = HashMap::new();
        for record in moved {
            let of_backlog = by_backlog.entry(record.backlog).or_default();
            of_backlog.push(record.from);
        }
        for queue in self.all_queues() {
            let mut state = queue.state.lock();
            let id = state.stock.backlog().map(|backlog| backlog.id());
            if let Some(locations) = id.and_then(|id| by_backlog.get(&id)) {
                state.stock.drop_cached(locations);
            }
        }
    }
}
