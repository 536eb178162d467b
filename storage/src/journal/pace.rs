//! How many batches are in flight, and when one leaves that is not full.
//!
//! Of producers that wait for their answers, those who come while a batch is under way would wait
//! for its end and then for their own: two round trips. A second batch in flight saves them most of
//! the first, but each batch costs processor time and an operation of the storage, and they
//! become smaller. So batches behind others leave at even distances of a round trip divided by the
//! depth, never closer than [`SPACING`]: a round trip that is short against that gives a depth of 1.
//! Storage that only queues what comes at once is noticed by its round trips: they get longer with
//! company, and the depth falls.
//!
//! It knows times only, nothing of batches or storage.

use std::time::Duration;

/// The least distance between two batches that are not full. Closer ones save producers less than they
/// cost: each is an operation, and each may be one of the few that storage answers late, for which
/// all that were sent behind it wait.
const SPACING: Duration = Duration::from_micros(600);
/// Round trips with company that are judged together.
const ROUND: u32 = 32;
/// Company may make a round trip so much longer, in percent; beyond that the depth falls.
const LONGER_PERCENT: u64 = 160;
/// Below this it may grow again.
const SHORT_PERCENT: u64 = 130;
/// Time from a fall of the depth to the next try.
const RETRY: Duration = Duration::from_secs(5);
/// Round trips without company are measured again after this time: a few, one after another.
const REFRESH: Duration = Duration::from_secs(5);
const REFRESH_TRIPS: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    depth_max: usize,
    /// What storage bears, as far as is known.
    bearable: usize,
    /// Round trips without and with company, smoothed; zero: none yet.
    alone: Duration,
    company: Duration,
    in_round: u32,
    /// No growth before.
    retry_at: Duration,
    /// When a round trip was last measured without company.
    alone_at: Duration,
    /// Round trips still to be made without company.
    to_refresh: u32,
    last_sent: Duration,
    /// Depth forced by a test.
    is_forced: bool,
}

impl Pace {
    /// At most `depth_max` in flight.
    pub(crate) fn new(depth_max: usize) -> Pace {
        Pace {
            depth_max: depth_max.max(1),
            bearable: depth_max.max(1),
            alone: Duration::ZERO,
            company: Duration::ZERO,
            in_round: 0,
            retry_at: Duration::ZERO,
            alone_at: Duration::ZERO,
            to_refresh: REFRESH_TRIPS,
            last_sent: Duration::ZERO,
            is_forced: false,
        }
    }

    /// Always `depth`, at once, whatever the round trips: so that a test meets all of it.
    pub(crate) fn forced(depth: usize) -> Pace {
        Pace {
            is_forced: true,
            ..Pace::new(depth)
        }
    }

    /// Batches that may be in flight now.
    pub(crate) fn depth(&self) -> usize {
        if self.is_forced {
            return self.depth_max;
        }
        if self.to_refresh > 0 {
            return 1;
        }
        let fitting = self.alone.as_nanos() / SPACING.as_nanos();
        usize::try_from(fitting)
            .unwrap_or(usize::MAX)
            .clamp(1, self.bearable)
    }

    /// The usual round trip.
    pub(crate) fn round_trip(&self) -> Duration {
        self.alone
    }

    /// When a batch that is not full may leave behind others.
    pub(crate) fn next_at(&self) -> Duration {
        if self.is_forced {
            return Duration::ZERO;
        }
        let even = self.alone / u32::try_from(self.depth()).unwrap_or(u32::MAX);
        self.last_sent + even.max(SPACING)
    }

    /// A batch leaves.
    pub(crate) fn sent(&mut self, now: Duration) {
        self.last_sent = now;
        if self.depth_max > 1 && self.to_refresh == 0 && now > self.alone_at + REFRESH {
            self.to_refresh = REFRESH_TRIPS;
        }
    }

    /// A batch that left at `sent` has arrived; `was_alone`: nothing else was in flight meanwhile.
    pub(crate) fn arrived(&mut self, sent: Duration, now: Duration, was_alone: bool) {
        let took = now.saturating_sub(sent);
        if was_alone {
            smooth(&mut self.alone, took);
            self.alone_at = now;
            self.to_refresh = self.to_refresh.saturating_sub(1);
            // Without company nothing would ever tell that it is borne again.
            if self.bearable == 1 && now >= self.retry_at {
                self.bearable = 2.min(self.depth_max);
                self.company = self.alone;
                self.in_round = 0;
            }
            return;
        }
        smooth(&mut self.company, took);
        self.in_round += 1;
        if self.in_round >= ROUND {
            self.in_round = 0;
            self.judge(now);
        }
    }

    fn judge(&mut self, now: Duration) {
        let percent = self.company.as_nanos() * 100 / self.alone.as_nanos().max(1);
        if percent > u128::from(LONGER_PERCENT) {
            self.bearable = (self.depth() * 2 / 3).max(1);
            self.retry_at = now + RETRY;
        } else if percent < u128::from(SHORT_PERCENT) && now >= self.retry_at {
            self.bearable = (self.bearable + 1).min(self.depth_max);
        }
    }
}

/// An eighth of each new value, and of a very late one no more than of four times the usual.
fn smooth(usual: &mut Duration, took: Duration) {
    *usual = if usual.is_zero() {
        took
    } else {
        (*usual * 7 + took.min(*usual * 4)) / 8
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Batches one after another, without company.
    fn alone(pace: &mut Pace, now: &mut Duration, trip: Duration, count: u32) {
        for _ in 0..count {
            pace.sent(*now);
            let sent = *now;
            *now += trip;
            pace.arrived(sent, *now, true);
        }
    }

    #[test]
    fn a_fast_disk_gets_one_batch_at_a_time() {
        let (mut pace, mut now) = (Pace::new(16), MS);
        assert_eq!(pace.depth(), 1, "nothing is known yet");
        alone(&mut pace, &mut now, Duration::from_micros(200), 10);
        assert_eq!(pace.depth(), 1);
    }

    #[test]
    fn a_long_round_trip_gets_several_at_even_distances() {
        let (mut pace, mut now) = (Pace::new(16), MS);
        alone(&mut pace, &mut now, 3 * MS, 10);
        assert_eq!(pace.depth(), 5);
        pace.sent(now);
        assert_eq!(pace.next_at(), now + SPACING);
        alone(&mut pace, &mut now, 16 * MS, 100);
        assert_eq!(pace.depth(), 16, "never more than the most");
        pace.sent(now);
        let distance = pace.next_at() - now;
        assert!(distance > 900 * MS / 1000 && distance <= MS, "{distance:?}");
    }

    #[test]
    fn storage_that_only_queues_gets_fewer_and_later_more_again() {
        let (mut pace, mut now) = (Pace::new(16), MS);
        alone(&mut pace, &mut now, 3 * MS, 10);
        for _ in 0..20 * ROUND {
            pace.arrived(now, now + 9 * MS, false);
        }
        assert_eq!(pace.depth(), 1);
        alone(&mut pace, &mut now, 3 * MS, 10);
        assert_eq!(pace.depth(), 1, "not at once");
        now += RETRY + MS;
        alone(&mut pace, &mut now, 3 * MS, REFRESH_TRIPS);
        assert_eq!(pace.depth(), 2, "a try");
        for _ in 0..40 * ROUND {
            pace.arrived(now, now + 3 * MS, false);
        }
        assert_eq!(pace.depth(), 5);
    }

    #[test]
    fn the_round_trip_without_company_is_measured_again_now_and_then() {
        let (mut pace, mut now) = (Pace::new(16), MS);
        alone(&mut pace, &mut now, 3 * MS, 10);
        now += REFRESH + MS;
        pace.sent(now);
        assert_eq!(pace.depth(), 1);
        alone(
            &mut pace,
            &mut now,
            Duration::from_micros(100),
            REFRESH_TRIPS,
        );
        assert!(pace.depth() < 5, "storage became faster");
        let one_at_a_time = Pace::new(1);
        assert_eq!(one_at_a_time.depth(), 1);
    }
}
