//! The local temporary store: non-persistent messages that memory has no room for.
//!
//! It is on a local disk, never in the shared directory, and nothing of it outlives the process: each file
//! loses its name as soon as it is open, so the system takes it back whatever happens. What waits for a
//! queue is in order in an [`Overflow`]; its bodies are in [`Files`] of the queue's own, so that a file
//! whose messages are gone gives its space back although other queues are slow. [`Spool`] has what all
//! queues share: the directory, the limit, and whether the disk works.

mod files;
mod overflow;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(crate) use self::files::{Files, Place};
pub(crate) use self::overflow::{Body, Glimpse, Overflow, Returning, Unwritten};

use super::usage::Waiters;

/// After an error the disk is left alone for this long.
const TROUBLE_LASTS: Duration = Duration::from_secs(2);
/// Bytes that may wait to be written before even producers without flow control are held back.
const UNWRITTEN_MAX: usize = 8 << 20;
/// Files begin with this, so that whatever a crash may leave of one is known as ours.
const PREFIX: &str = "baton-spool-";

/// What all queues share of the temporary store.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    limit: u64,
    used: AtomicU64,
    unwritten: AtomicUsize,
    last_file: AtomicU64,
    /// Something did not fit; nothing was given back since.
    is_full: AtomicBool,
    trouble: Mutex<Option<Instant>>,
    waiters: Arc<Waiters>,
}

/// Why nothing goes to the temporary store now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// There is no room below the limit.
    #[error("the temporary store is full: {used} of {limit} bytes")]
    Full {
        /// Bytes used.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The disk does not work.
    #[error("cannot {what} in `{directory}`: {error}")]
    Io {
        what: &'static str,
        directory: String,
        error: io::Error,
    },
    /// Something is not where it was written.
    #[error("a message is not where it was written")]
    Gone,
}

impl Spool {
    pub(crate) fn new(directory: Option<PathBuf>, limit: u64, waiters: Arc<Waiters>) -> Arc<Self> {
        let directory = directory.unwrap_or_else(|| std::env::temp_dir().join("baton"));
        remove_remains(&directory);
        Arc::new(Spool {
            directory,
            limit,
            used: AtomicU64::new(0),
            unwritten: AtomicUsize::new(0),
            last_file: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            trouble: Mutex::new(None),
            waiters,
        })
    }

    /// Whether anything may go there at all.
    pub(crate) fn is_enabled(&self) -> bool {
        self.limit > 0
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether nothing goes there now: it is full, or its disk does not work.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_full.load(Ordering::Relaxed) || self.has_trouble()
    }

    /// Whether so much waits to be written that producers have to wait too.
    pub(crate) fn is_behind(&self) -> bool {
        self.unwritten.load(Ordering::Relaxed) >= UNWRITTEN_MAX
    }

    fn has_trouble(&self) -> bool {
        let trouble = *self.trouble.lock();
        trouble.is_some_and(|at| at.elapsed() < TROUBLE_LASTS)
    }

    /// Takes room for `bytes`.
    fn reserve(&self, bytes: u64) -> Result<(), SpoolError> {
        let limit = self.limit;
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                Some(used.saturating_add(bytes)).filter(|used| *used <= limit)
            })
            .map(drop)
            .map_err(|used| {
                self.is_full.store(true, Ordering::Relaxed);
                SpoolError::Full { used, limit }
            })
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.is_full.store(false, Ordering::Relaxed);
        self.waiters.wake();
    }

    /// A new file without a name.
    fn create(&self) -> Result<File, SpoolError> {
        let number = self.last_file.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let path = self.directory.join(name);
        let create = || {
            fs::create_dir_all(&self.directory)?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            fs::remove_file(&path)?;
            Ok(file)
        };
        create().map_err(|error| self.failed("create a file", error))
    }

    fn failed(&self, what: &'static str, error: io::Error) -> SpoolError {
        *self.trouble.lock() = Some(Instant::now());
        SpoolError::Io {
            what,
            directory: self.directory.display().to_string(),
            error,
        }
    }

    /// The disk works.
    fn works(&self) {
        let had_trouble = self.trouble.lock().take().is_some();
        if had_trouble {
            tracing::info!(directory = %self.directory.display(), "The temporary store works again.");
        }
    }
}

/// Removes empty files that a crash between two calls left.
fn remove_remains(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_empty = entry.metadata().is_ok_and(|data| data.len() == 0);
        if is_ours && is_empty {
            // Whoever removes it first is as good.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
