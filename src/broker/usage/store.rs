//! How many bytes of persistent messages wait, when there is a limit to that.
//!
//! Adding up all backlogs for every send would be too much, so what was found is kept for a moment, and
//! what is sent meanwhile is added to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::Store;

/// How long what was found is good enough.
const KEPT_FOR: Duration = Duration::from_millis(50);

/// Bytes of persistent messages that wait.
#[derive(Debug)]
pub(crate) struct StoreUsage {
    /// 0 = no limit.
    limit: u64,
    used: AtomicU64,
    /// Bytes of open transactions, which no backlog has yet.
    open: Arc<AtomicU64>,
    looked_at: Mutex<Option<Instant>>,
}

impl StoreUsage {
    pub(crate) fn new(limit: u64) -> Self {
        StoreUsage {
            limit,
            used: AtomicU64::new(0),
            open: Arc::default(),
            looked_at: Mutex::new(None),
        }
    }

    /// 0 = no limit.
    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit
    }

    /// A message went to the journal.
    pub(crate) fn grew(&self, bytes: usize) {
        if self.limit > 0 {
            self.used.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// What is used, if that is so much percent of the limit.
    pub(crate) fn full(&self, percent: u32, store: &Store) -> Option<u64> {
        if self.limit == 0 {
            return None;
        }
        let threshold = super::percent_of(self.limit, percent);
        let used = self.look(store, threshold);
        (used >= threshold).then_some(used)
    }

    /// A transaction begins.
    pub(crate) fn charge(&self) -> StoreCharge {
        StoreCharge {
            open: Arc::clone(&self.open),
            bytes: 0,
        }
    }

    /// Bytes of persistent messages that wait in all backlogs and open transactions.
    pub(crate) fn total(&self, store: &Store) -> u64 {
        let backlogs = store.backlogs();
        let waiting: u64 = backlogs.iter().map(|backlog| backlog.bytes()).sum();
        waiting + self.open.load(Ordering::Relaxed)
    }

    /// Adds all backlogs up, unless that was done just now or what is known is below `enough`.
    fn look(&self, store: &Store, enough: u64) -> u64 {
        let mut looked_at = self.looked_at.lock();
        let known = self.used.load(Ordering::Relaxed);
        match *looked_at {
            Some(_) if known < enough => return known,
            Some(at) if at.elapsed() < KEPT_FOR => return known,
            _ => {}
        }
        let used = self.total(store);
        self.used.store(used, Ordering::Relaxed);
        *looked_at = Some(Instant::now());
        used
    }
}

/// Bytes of an open transaction; they count until this is dropped.
#[derive(Debug)]
pub(crate) struct StoreCharge {
    open: Arc<AtomicU64>,
    bytes: u64,
}

impl StoreCharge {
    /// A message is a part of the transaction.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.open.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Drop for StoreCharge {
    fn drop(&mut self) {
        self.open.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
