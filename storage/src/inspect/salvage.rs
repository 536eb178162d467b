//! Saving what can still be read of a damaged journal into a new one.
//!
//! The new journal is the old one's next tenure: a seal, the pending messages in the order in which
//! they were written, and a checkpoint with everything else. A broker starts on it as after any
//! takeover. Positions, sequences and keys stay what they were.
//!
//! What a lost record means: a lost message is gone, and its acknowledgement is ignored. A lost
//! acknowledgement brings its message again, so all that may have been dispatched is flagged as
//! redelivered. A lost commit leaves its transaction in doubt, for an operator to decide. A lost
//! creation leaves messages of a backlog that nobody can name: they go into a recovered one.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use super::fold::{Fold, InDoubt};
use super::live::Live;
use super::report::{Affected, Report};
use super::write::{Copier, Place, WriteError};
use super::{Examined, Names, Progress, SIGN_OF_LIFE, Watch, examine, surroundings};
use crate::backlog::Contents;
use crate::chain::{CHECKPOINT_DIRECTORY, CheckpointName, JOURNAL_DIRECTORY, survey};
use crate::checkpoint::write_checkpoint;
use crate::cipher::{Ciphers, KeyError, Keyring, TenureCipher};
use crate::clock::Clock;
use crate::disk::{Disk, Open};
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::Seal;
use crate::state::{Entries, OpenMessage, Segments, Tenure};

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// Somebody writes the journal.
    #[error("{holder} is writing this journal; stop both brokers first")]
    InUse {
        /// Who.
        holder: String,
    },
    /// There is nothing to save.
    #[error("there is no journal in this directory, so there is nothing to save")]
    NoJournal,
    /// A key is missing.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The new directory is in use for something.
    #[error("the directory for the new journal is not empty: it has `{name}`; name another one")]
    NotEmpty {
        /// A name in it.
        name: String,
    },
    /// There is not enough space.
    #[error("the new journal needs {needed} bytes, and {free} are free where it is to be")]
    Space {
        /// Bytes of it.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// It cannot be encrypted.
    #[error("cannot encrypt the new journal: {0}")]
    Cipher(std::io::Error),
    /// It could not be written.
    #[error("cannot write `{path}` of the new journal: {source}; remove it and try again")]
    Write {
        /// The file.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What was written does not check out.
    #[error("the new journal does not check out: {reason}; do not use it")]
    NotHealthy {
        /// The first finding.
        reason: String,
    },
}

impl SalvageError {
    fn write(path: &Path, source: std::io::Error) -> SalvageError {
        SalvageError::Write {
            path: path.display().to_string(),
            source,
        }
    }
}

impl From<WriteError> for SalvageError {
    fn from(error: WriteError) -> Self {
        SalvageError::write(&error.path, error.source)
    }
}

/// A range of records that nobody has any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LostRecords {
    /// The first.
    pub first_lsn: u64,
    /// The last.
    pub last_lsn: u64,
}

/// What a salvage saved, and what it could not.
#[derive(Clone, Debug, Serialize)]
pub struct Salvaged {
    /// What is wrong with the journal that was read.
    pub report: Report,
    /// Messages in the new one; each counts once for each of its backlogs.
    pub messages: u64,
    /// Backlogs in it.
    pub backlogs: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// Pending messages that could not be read, by backlog.
    pub lost_messages: Vec<Affected>,
    /// Messages of undecided transactions that could not be read.
    pub lost_in_transactions: u64,
    /// Records that are lost and may have been anything: messages, acknowledgements, commits.
    pub lost_records: Vec<LostRecords>,
    /// Acknowledgements that could not be matched with their messages any more: so many messages
    /// come once more, by backlog.
    pub may_come_twice: Vec<Affected>,
    /// Backlogs whose names are lost, with the messages that were found for them.
    pub recovered_backlogs: Vec<Affected>,
    /// Transactions whose end is lost: they wait for an operator's decision.
    pub in_doubt_transactions: u64,
    /// Messages in those.
    pub in_doubt_messages: u64,
    /// True when everything pending is flagged as redelivered.
    pub is_all_redelivered: bool,
}

impl Salvaged {
    /// True when the new journal has all that the old one had.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost_messages.is_empty()
            && self.lost_in_transactions == 0
            && self.in_doubt_transactions == 0
            && !self.is_all_redelivered
    }
}

/// Bytes of a segment of the new journal.
const SEGMENT_BYTES: u64 = 128 << 20;
/// Space that is left free at least.
const SPARE_BYTES: u64 = 16 << 20;

/// Reads the journal in `from` as far as that goes and writes what is left into `to`, which must be
/// empty. Never writes to `from`. The new journal is encrypted if `keys` have a key to write with.
///
/// # Errors
/// [`SalvageError`]; what it had written until then stays in `to` and must not be used.
pub fn salvage(
    from: &dyn Disk,
    to: &dyn Disk,
    keys: &Keyring,
    clock: &dyn Clock,
    names: &dyn Names,
    tell: &mut dyn FnMut(Progress),
) -> Result<Salvaged, SalvageError> {
    let here = |source| SalvageError::write(Path::new("."), source);
    if let Some(name) = to.list(Path::new(".")).map_err(here)?.into_iter().next() {
        return Err(SalvageError::NotEmpty { name });
    }
    let sign = surroundings::lease_sign(from);
    if let Some(holder) = surroundings::is_alive(from, clock, sign.as_ref(), SIGN_OF_LIFE) {
        return Err(SalvageError::InUse { holder });
    }
    let examined = examine(from, keys, names, tell);
    if let Some(error) = examined.locked {
        return Err(error.into());
    }
    let Examined {
        report,
        fold: Some(fold),
        tenures,
        ..
    } = examined
    else {
        return Err(SalvageError::NoJournal);
    };
    let found = survey(from).map_err(here)?;
    let begin = Begin {
        epoch: Epoch(found.highest_epoch().0 + 1),
        number: found.next_number(),
        previous_epoch: tenures.last().map_or(Epoch(0), |tenure| tenure.epoch),
        sealed_lsn: Lsn((fold.next.0 - 1).max(fold.state.known_through.0)),
        time_ms: clock.wall_ms(),
    };
    let mut job = Job {
        to,
        keys,
        names,
        begin,
        fold,
        saved: Salvaged {
            report,
            messages: 0,
            backlogs: 0,
            bytes: 0,
            lost_messages: Vec::new(),
            lost_in_transactions: 0,
            lost_records: Vec::new(),
            may_come_twice: Vec::new(),
            recovered_backlogs: Vec::new(),
            in_doubt_transactions: 0,
            in_doubt_messages: 0,
            is_all_redelivered: false,
        },
    };
    job.leave_in_doubt();
    job.check_space()?;
    let ciphers = Ciphers::survey(from, keys, &found.segments);
    job.write(from, &ciphers, &tenures, tell)?;
    verify(to, keys, names)?;
    Ok(job.saved)
}

/// What the new journal begins with.
struct Begin {
    epoch: Epoch,
    number: SegmentNumber,
    previous_epoch: Epoch,
    sealed_lsn: Lsn,
    time_ms: u64,
}

struct Job<'a> {
    to: &'a dyn Disk,
    keys: &'a Keyring,
    names: &'a dyn Names,
    begin: Begin,
    fold: Fold,
    saved: Salvaged,
}

impl Job<'_> {
    /// Transactions whose end is lost wait for a decision like prepared ones.
    fn leave_in_doubt(&mut self) {
        let in_doubt = std::mem::take(&mut self.fold.in_doubt);
        let transactions = &mut *self.fold.state.transactions.lock();
        // All others that are open were never committed: a takeover drops them.
        transactions.open.clear();
        for (number, InDoubt { key, messages }) in in_doubt.into_iter().enumerate() {
            self.saved.in_doubt_transactions += 1;
            self.saved.in_doubt_messages += messages.len() as u64;
            let key = self.names.recovered_transaction(&key, number as u64);
            let prepared = crate::state::Prepared {
                time_ms: self.begin.time_ms,
                messages,
                acknowledged: Vec::new(),
            };
            transactions.prepared.insert((*key).into(), prepared);
        }
    }

    fn check_space(&self) -> Result<(), SalvageError> {
        let live = Live::of(&self.fold.state);
        let state = &self.fold.state;
        let entries: u64 = state
            .backlogs()
            .iter()
            .map(|backlog| backlog.len() as u64)
            .sum();
        let producers = state.producers.iter().map(|shard| {
            let shard = shard.lock();
            shard
                .producers
                .keys()
                .map(|id| 20 + id.len() as u64)
                .sum::<u64>()
        });
        // The records, what frames them, and the checkpoint.
        let records = live.bytes() + live.bytes() / 64 + live.len() as u64 * 160;
        let needed = records + entries * 40 + producers.sum::<u64>() + SPARE_BYTES;
        let free = self
            .to
            .free_bytes()
            .map_err(|source| SalvageError::write(Path::new("."), source))?;
        if free < needed {
            return Err(SalvageError::Space { needed, free });
        }
        Ok(())
    }

    fn write(
        &mut self,
        from: &dyn Disk,
        ciphers: &Ciphers<'_>,
        tenures: &[Tenure],
        tell: &mut dyn FnMut(Progress),
    ) -> Result<(), SalvageError> {
        for directory in [JOURNAL_DIRECTORY, CHECKPOINT_DIRECTORY] {
            self.to
                .create_directory(Path::new(directory))
                .map_err(|source| SalvageError::write(Path::new(directory), source))?;
        }
        let seal = Seal {
            previous_epoch: self.begin.previous_epoch,
            sealed_lsn: self.begin.sealed_lsn,
            segment: SegmentNumber(0),
            end_offset: 0,
            time_ms: self.begin.time_ms,
        };
        let live = Live::of(&self.fold.state);
        let mut watch = Watch {
            progress: Progress {
                done_bytes: 0,
                total_bytes: live.bytes(),
            },
            tell,
        };
        let mut copier = Copier::begin(
            self.to,
            self.begin.epoch,
            self.begin.number,
            seal,
            SEGMENT_BYTES,
            TenureCipher::begin(self.keys, self.begin.epoch).map_err(SalvageError::Cipher)?,
        )?;
        let moved = copier.copy(from, ciphers, &live, tenures, &mut watch)?;
        let end = copier.finish()?;
        let tenure = Tenure {
            epoch: self.begin.epoch,
            segment: self.begin.number,
            lsn: Lsn(self.begin.sealed_lsn.0 + 1),
            seal,
        };
        self.adopt(&moved, tenure);
        self.checkpoint(end)?;
        let sync = |path: &str| {
            let path = Path::new(path);
            let synced = self.to.sync_directory(path);
            synced.map_err(|source| SalvageError::write(path, source))
        };
        sync(JOURNAL_DIRECTORY)?;
        sync(CHECKPOINT_DIRECTORY)?;
        sync(".")
    }

    /// Makes the state the one of the new journal.
    fn adopt(&mut self, moved: &Moved, tenure: Tenure) {
        let has_loss = self.fold.has_loss();
        let state = &self.fold.state;
        let lost_records = self.fold.lost.iter().filter(|lost| lost.last >= lost.first);
        self.saved.lost_records = lost_records
            .map(|lost| LostRecords {
                first_lsn: lost.first.0,
                last_lsn: lost.last.0,
            })
            .collect();
        self.saved.is_all_redelivered = has_loss;
        for backlog in state.backlogs() {
            let contents = &mut *backlog.lock();
            let lost = move_entries(contents, moved);
            let may_be_out = if has_loss {
                contents.last_sequence + 1
            } else {
                contents.reserved_below.min(contents.last_sequence + 1)
            };
            contents.redelivered_below = contents.redelivered_below.max(may_be_out);
            let affected = |messages| Affected {
                id: backlog.id().0,
                name: self.names.name(backlog.id(), &contents.descriptor),
                messages,
            };
            let pending = contents.entries.len() as u64;
            self.saved.messages += pending;
            self.saved.backlogs += 1;
            if lost > 0 {
                self.saved.lost_messages.push(affected(lost));
            }
            if let Some(ignored) = self.fold.ignored.get(&backlog.id()) {
                self.saved.may_come_twice.push(affected(*ignored));
            }
            if self.fold.recovered.contains(&backlog.id()) {
                self.saved.recovered_backlogs.push(affected(pending));
            }
        }
        let transactions = &mut *state.transactions.lock();
        for prepared in transactions.prepared.values_mut() {
            let before = prepared.messages.len();
            prepared
                .messages
                .retain_mut(|message| move_message(message, moved, tenure.epoch));
            self.saved.lost_in_transactions += (before - prepared.messages.len()) as u64;
        }
        *state.tenures.lock() = vec![tenure];
        *state.segments.lock() = Segments::default();
    }

    fn checkpoint(&mut self, end: Place) -> Result<(), SalvageError> {
        let name = CheckpointName {
            lsn: Lsn(end.next_lsn.0 - 1),
            epoch: self.begin.epoch,
        };
        let path = name.path();
        let mut written = 0;
        let mut write = || {
            let file = self.to.open(&path, Open::CreateNew)?;
            let mut sink = |bytes: &[u8]| {
                file.write_all_at(bytes, written)?;
                written += bytes.len() as u64;
                Ok(())
            };
            let cut = || name.lsn;
            let start = end.replay_start(self.begin.epoch);
            let (state, time_ms) = (&self.fold.state, self.begin.time_ms);
            write_checkpoint(state, self.keys, start, time_ms, &cut, &mut sink)?;
            file.sync()
        };
        write().map_err(|source| SalvageError::write(&path, source))?;
        self.saved.bytes = end.bytes + written;
        Ok(())
    }
}

/// Where records lie in the new journal.
pub(super) type Moved = HashMap<(SegmentNumber, u32), crate::position::Location>;

/// Answers how many entries have no record any more.
fn move_entries(contents: &mut Contents, moved: &Moved) -> u64 {
    let mut lost = 0;
    let mut entries = Entries::default();
    for (position, mut entry) in contents.entries.iter() {
        let place = (entry.location.segment, entry.location.offset);
        match moved.get(&place) {
            Some(location) => {
                entry.location = *location;
                let is_pushed = entries.push(position, entry);
                debug_assert!(is_pushed, "the order stays");
            }
            None => lost += 1,
        }
    }
    contents.entries = entries;
    lost
}

fn move_message(message: &mut OpenMessage, moved: &Moved, epoch: Epoch) -> bool {
    let place = (message.location.segment, message.location.offset);
    let Some(location) = moved.get(&place) else {
        return false;
    };
    message.location = *location;
    message.epoch = epoch;
    true
}

/// The new journal must check out before anybody trusts it.
fn verify(to: &dyn Disk, keys: &Keyring, names: &dyn Names) -> Result<(), SalvageError> {
    let report = examine(to, keys, names, &mut |_| {}).report;
    let bad = report
        .findings
        .iter()
        .find(|finding| finding.severity > super::Severity::Note);
    match bad {
        Some(finding) => Err(SalvageError::NotHealthy {
            reason: finding.what.clone(),
        }),
        None => Ok(()),
    }
}
