//! How far a broker has come with reading the journal, and how long that will still take.
//!
//! The storage counts bytes; here is the clock. The estimate is the mean rate of the present phase,
//! because the rate of the last second jumps with every pause of the storage.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use storage::{RecoveryPhase, RecoveryProgress};

/// A rate that was measured over less says nothing.
const MEASURED_AT_LEAST: Duration = Duration::from_millis(500);

/// How far a broker has come with reading the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// What it does now.
    pub phase: Phase,
    /// Bytes of this phase that are read.
    pub done_bytes: u64,
    /// Bytes of this phase altogether, at most.
    pub total_bytes: u64,
    /// How long this phase has taken so far, in milliseconds.
    pub elapsed_ms: u64,
    /// How long this phase will still take, at most, at the rate so far; null while nothing is known.
    pub remaining_ms: Option<u64>,
    /// For how long nothing was read.
    pub stalled_ms: u64,
}

/// What a recovery does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It loads the newest checkpoint.
    Checkpoint,
    /// It applies what the journal has behind the checkpoint.
    Journal,
}

/// Watches one recovery after the other. Looked at often enough, it knows when one stands still.
#[derive(Default)]
pub(super) struct Watch(Option<Seen>);

struct Seen {
    phase: RecoveryPhase,
    since: Instant,
    /// Bytes done when the phase was first seen.
    first_bytes: u64,
    latest: RecoveryProgress,
    moved: Instant,
}

impl Watch {
    /// What to say of `progress` at `now`; None when nothing is being recovered.
    pub(super) fn look(
        &mut self,
        progress: Option<RecoveryProgress>,
        now: Instant,
    ) -> Option<Recovery> {
        let Some(progress) = progress else {
            self.0 = None;
            return None;
        };
        let goes_on = |seen: &&mut Seen| {
            seen.phase == progress.phase && seen.latest.done_bytes <= progress.done_bytes
        };
        if let Some(seen) = self.0.as_mut().filter(goes_on) {
            if seen.latest != progress {
                (seen.latest, seen.moved) = (progress, now);
            }
        } else {
            self.0 = Some(Seen {
                phase: progress.phase,
                since: now,
                first_bytes: progress.done_bytes,
                latest: progress,
                moved: now,
            });
        }
        self.0.as_ref().map(|seen| seen.tell(now))
    }
}

impl Seen {
    fn tell(&self, now: Instant) -> Recovery {
        let RecoveryProgress {
            phase,
            done_bytes,
            total_bytes,
        } = self.latest;
        let elapsed = now.duration_since(self.since);
        let read = done_bytes - self.first_bytes;
        let is_known = elapsed >= MEASURED_AT_LEAST && read > 0;
        let remaining_ms = is_known.then(|| {
            let left = total_bytes.saturating_sub(done_bytes);
            (elapsed.as_millis() * u128::from(left) / u128::from(read)) as u64
        });
        Recovery {
            phase: match phase {
                RecoveryPhase::Checkpoint => Phase::Checkpoint,
                RecoveryPhase::Journal => Phase::Journal,
            },
            done_bytes,
            total_bytes,
            elapsed_ms: elapsed.as_millis() as u64,
            remaining_ms,
            stalled_ms: now.duration_since(self.moved).as_millis() as u64,
        }
    }
}

impl std::fmt::Display for Recovery {
    /// `replays the journal: 120 of 480 MiB, at most 12 s to go`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.phase {
            Phase::Checkpoint => "loads the checkpoint",
            Phase::Journal => "replays the journal",
        };
        f.write_str(what)?;
        if self.total_bytes == 0 {
            return Ok(());
        }
        let (done, total) = (self.done_bytes >> 20, self.total_bytes >> 20);
        write!(f, ": {done} of {total} MiB")?;
        match self.remaining_ms {
            Some(ms) => write!(f, ", at most {} s to go", ms.div_ceil(1000)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(done_bytes: u64, total_bytes: u64) -> Option<RecoveryProgress> {
        Some(RecoveryProgress {
            phase: RecoveryPhase::Journal,
            done_bytes,
            total_bytes,
        })
    }

    #[test]
    fn the_rest_is_estimated_from_the_rate_of_the_phase_so_far() {
        let (mut watch, begun) = (Watch::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        let mut look = |progress, ms| watch.look(progress, at(ms)).expect("a recovery");
        assert_eq!(look(journal(0, 400 << 20), 0).remaining_ms, None);
        assert_eq!(
            look(journal(1 << 20, 400 << 20), 400).remaining_ms,
            None,
            "too early to tell"
        );
        let later = look(journal(100 << 20, 400 << 20), 2_000);
        assert_eq!((later.remaining_ms, later.elapsed_ms), (Some(6_000), 2_000));
        assert_eq!(
            later.to_string(),
            "replays the journal: 100 of 400 MiB, at most 6 s to go"
        );
        assert_eq!(look(journal(100 << 20, 400 << 20), 9_000).stalled_ms, 7_000);
    }

    #[test]
    fn another_phase_and_another_beginning_are_measured_anew() {
        let (mut watch, begun) = (Watch::default(), Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        let checkpoint = RecoveryProgress {
            phase: RecoveryPhase::Checkpoint,
            done_bytes: 50,
            total_bytes: 60,
        };
        watch.look(Some(checkpoint), at(0));
        let journal_begins = watch.look(journal(60, 90), at(5_000)).expect("a recovery");
        assert_eq!(
            (journal_begins.elapsed_ms, journal_begins.remaining_ms),
            (0, None)
        );
        let again = watch.look(journal(3, 90), at(8_000)).expect("a recovery");
        assert_eq!(again.elapsed_ms, 0, "it began again");
        assert_eq!(watch.look(None, at(9_000)), None);
    }
}
