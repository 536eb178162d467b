//! How far a reader has come with a journal that it is reading from the beginning or to the end.
//!
//! Counted where the bytes are read and asked for from other threads: a recovery that only says
//! something when it is done cannot be told from one that hangs.

use parking_lot::Mutex;

/// What a recovery is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryPhase {
    /// It loads the newest checkpoint.
    Checkpoint,
    /// It applies what the journal has behind the checkpoint.
    Journal,
}

/// How far a recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryProgress {
    /// What it is doing now.
    pub phase: RecoveryPhase,
    /// Bytes of this phase that are read.
    pub done_bytes: u64,
    /// Bytes of this phase altogether, at most: a segment counts with all that it may hold.
    pub total_bytes: u64,
}

/// Where a reader writes its progress down. None while nothing is being recovered.
#[derive(Debug, Default)]
pub(crate) struct RecoveryMeter(Mutex<Option<RecoveryProgress>>);

impl RecoveryMeter {
    /// So much of a checkpoint has been read.
    pub(crate) fn loaded(&self, done_bytes: u64, total_bytes: u64) {
        *self.0.lock() = Some(RecoveryProgress {
            phase: RecoveryPhase::Checkpoint,
            done_bytes,
            total_bytes,
        });
    }

    /// Everything before the journal's rest is there.
    pub(crate) fn replays(&self) {
        *self.0.lock() = Some(RecoveryProgress {
            phase: RecoveryPhase::Journal,
            done_bytes: 0,
            total_bytes: 0,
        });
    }

    /// So much of the journal lies ahead, at most. Nothing if the reader follows a journal that it had
    /// read to the end before.
    pub(crate) fn lies_ahead(&self, bytes: u64) {
        if let Some(progress) = &mut *self.0.lock() {
            progress.total_bytes = progress.done_bytes + bytes;
        }
    }

    /// So much more of the journal is applied.
    pub(crate) fn applied(&self, bytes: u64) {
        if let Some(progress) = &mut *self.0.lock() {
            progress.done_bytes += bytes;
        }
    }

    /// Everything is read.
    pub(crate) fn ended(&self) {
        *self.0.lock() = None;
    }

    pub(crate) fn progress(&self) -> Option<RecoveryProgress> {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::JournalOptions;
    use crate::tail::Follower;
    use crate::testing::{FaultyDisk, OPTIONS, begin};

    #[test]
    fn a_reader_tells_how_far_it_is_in_the_journal_and_then_nothing() {
        let disk = FaultyDisk::default();
        let options = JournalOptions {
            segment_bytes: 4 << 20,
            ..OPTIONS
        };
        let tenure = begin(&disk, 1, options);
        let backlog = tenure.backlog("q");
        for _ in 0..24 {
            tenure.send(&backlog, &vec![7; 1 << 20]);
        }
        tenure.settle();
        tenure.store.abandon();
        let meter = Arc::<RecoveryMeter>::default();
        let disk: Arc<dyn crate::disk::Disk> = Arc::new(disk);
        let mut follower = Follower::open_metered(
            Arc::clone(&disk),
            crate::Keyring::default(),
            Arc::clone(&meter),
        )
        .expect("readable");
        let begun = meter.progress().expect("a recovery");
        assert_eq!((begun.phase, begun.done_bytes), (RecoveryPhase::Journal, 0));
        assert!(!follower.poll().expect("readable").is_at_end);
        let halfway = meter.progress().expect("a recovery");
        assert!(
            (16 << 20..24 << 20).contains(&halfway.done_bytes),
            "{halfway:?}"
        );
        assert!(
            (24 << 20..40 << 20).contains(&halfway.total_bytes),
            "{halfway:?}"
        );
        while !follower.poll().expect("readable").is_at_end {}
        assert_eq!(meter.progress(), None, "it follows");
        follower.finish(crate::Epoch(2)).expect("readable");
        assert_eq!(meter.progress(), None, "it is at the end");
    }

    #[test]
    fn progress_is_told_from_the_checkpoint_to_the_journals_end_and_not_while_following() {
        let meter = RecoveryMeter::default();
        meter.lies_ahead(20);
        meter.applied(10);
        assert_eq!(meter.progress(), None, "nothing is being recovered");
        meter.loaded(1, 4);
        let told = |meter: &RecoveryMeter| {
            let progress = meter.progress().expect("a recovery");
            (progress.phase, progress.done_bytes, progress.total_bytes)
        };
        assert_eq!(told(&meter), (RecoveryPhase::Checkpoint, 1, 4));
        meter.replays();
        meter.lies_ahead(90);
        meter.applied(10);
        meter.applied(30);
        assert_eq!(told(&meter), (RecoveryPhase::Journal, 40, 90));
        meter.lies_ahead(50);
        assert_eq!(told(&meter), (RecoveryPhase::Journal, 40, 90));
        meter.ended();
        assert_eq!(meter.progress(), None);
    }
}
