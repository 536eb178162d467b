//! One durable write, or a write and a sync: chosen by measuring the mount.
//!
//! Which is faster differs: on NFS both are one stable WRITE and the second call costs only processor
//! time; on a local disk it depends on file system and device. So the first batches of
//! a tenure are written either way by turns, and the faster way wins. They are written anyway: no
//! takeover waits for a measurement.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tracing::info;

use crate::journal::SyncMethod;

/// Batches measured with each method, and the longest that counts.
const SAMPLES: usize = 12;
const SAMPLE_BYTES_MAX: usize = 64 << 10;

const MEASURING_ONE: u8 = 0;
const MEASURING_TWO: u8 = 1;
const ONE: u8 = 2;
const TWO: u8 = 3;

/// See the module. While it measures only one batch is in flight.
pub(crate) struct Chooser {
    state: AtomicU8,
    samples: Mutex<[Vec<Duration>; 2]>,
}

impl Chooser {
    pub(crate) fn new(method: SyncMethod) -> Chooser {
        let state = match method {
            SyncMethod::Auto => MEASURING_ONE,
            SyncMethod::Dsync => ONE,
            SyncMethod::Fdatasync => TWO,
        };
        Chooser {
            state: AtomicU8::new(state),
            samples: Mutex::default(),
        }
    }

    /// Whether the next batch is written durably in one operation.
    pub(crate) fn is_one_operation(&self) -> bool {
        matches!(self.state.load(Ordering::Acquire), ONE | MEASURING_ONE)
    }

    /// What was chosen; `Auto` while it is being measured.
    pub(crate) fn method(&self) -> SyncMethod {
        match self.state.load(Ordering::Acquire) {
            ONE => SyncMethod::Dsync,
            TWO => SyncMethod::Fdatasync,
            _ => SyncMethod::Auto,
        }
    }

    /// A batch of so many bytes was written durably.
    pub(crate) fn took(&self, bytes: usize, time: Duration) {
        let state = self.state.load(Ordering::Acquire);
        if !matches!(state, MEASURING_ONE | MEASURING_TWO) || bytes > SAMPLE_BYTES_MAX {
            return;
        }
        let mut samples = self.samples.lock();
        samples[usize::from(state)].push(time);
        if samples.iter().any(|of_one| of_one.len() < SAMPLES) {
            self.state.store(1 - state, Ordering::Release);
            return;
        }
        let [one, two] = samples.each_mut().map(|of_one| {
            of_one.sort_unstable();
            of_one[of_one.len() / 2]
        });
        let (chosen, text) = if one <= two {
            (ONE, "dsync")
        } else {
            (TWO, "fdatasync")
        };
        self.state.store(chosen, Ordering::Release);
        let (dsync_us, fdatasync_us) = (one.as_micros() as u64, two.as_micros() as u64);
        info!(
            chosen = text,
            dsync_us, fdatasync_us, "Measured how the journal is written durably."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(one_us: u64, two_us: u64) -> Chooser {
        let chooser = Chooser::new(SyncMethod::Auto);
        let mut turns = [0, 0];
        for _ in 0..2 * SAMPLES {
            assert_eq!(chooser.method(), SyncMethod::Auto);
            let is_one = chooser.is_one_operation();
            turns[usize::from(is_one)] += 1;
            let time_us = if is_one { one_us } else { two_us };
            chooser.took(SAMPLE_BYTES_MAX + 1, Duration::ZERO);
            chooser.took(1024, Duration::from_micros(time_us));
        }
        assert_eq!(turns, [SAMPLES, SAMPLES], "by turns");
        chooser
    }

    #[test]
    fn the_faster_method_wins_and_stays() {
        let chooser = measured(500, 700);
        assert_eq!(chooser.method(), SyncMethod::Dsync);
        chooser.took(1, Duration::from_secs(1));
        assert!(chooser.is_one_operation());
        let chooser = measured(700, 500);
        assert_eq!(chooser.method(), SyncMethod::Fdatasync);
        assert!(!chooser.is_one_operation());
    }

    #[test]
    fn what_the_operator_chose_is_not_measured() {
        let chooser = Chooser::new(SyncMethod::Fdatasync);
        chooser.took(1, Duration::ZERO);
        assert_eq!(chooser.method(), SyncMethod::Fdatasync);
    }
}
