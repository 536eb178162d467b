//! A token bucket that many threads draw from: a cap, or burst credits.

use std::time::Duration;

/// Fills at a rate up to a depth. Drawing more than there is makes a debt that is waited for, and
/// those who come later wait behind it.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: f64,
    depth: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A bucket with `level` in it at `now`; `rate` is per second and above zero.
    #[must_use]
    pub fn new(rate: f64, depth: f64, level: f64, now: Duration) -> Bucket {
        Bucket {
            rate,
            depth,
            level: level.min(depth),
            at: now,
        }
    }

    /// Draws `amount` and says from when on that is paid for: `now`, or later.
    pub fn draw(&mut self, now: Duration, amount: f64) -> Duration {
        // Threads that read the clock earlier may come later: time stands still for them.
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.level = (self.level + passed.as_secs_f64() * self.rate).min(self.depth) - amount;
        if self.level >= 0.0 {
            return now;
        }
        self.at + Duration::from_secs_f64(-self.level / self.rate)
    }

    /// What is left; below zero while somebody waits.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_rate_is_kept_after_the_depth_is_used_up() {
        let mut bucket = Bucket::new(1000.0, 10.0, 10.0, ms(0));
        for _ in 0..10 {
            assert_eq!(bucket.draw(ms(0), 1.0), ms(0));
        }
        // From now on one each millisecond, in the order of asking.
        assert_eq!(bucket.draw(ms(0), 1.0), ms(1));
        assert_eq!(bucket.draw(ms(0), 1.0), ms(2));
        assert_eq!(bucket.draw(ms(5), 1.0), ms(5));
    }

    #[test]
    fn credits_refill_up_to_the_depth_and_no_further() {
        let mut bucket = Bucket::new(100.0, 50.0, 0.0, ms(0));
        assert_eq!(bucket.draw(ms(100), 10.0), ms(100));
        assert_eq!(bucket.draw(ms(60_000), 50.0), ms(60_000));
        assert_eq!(bucket.draw(ms(60_000), 1.0), ms(60_010));
    }

    #[test]
    fn a_clock_read_earlier_does_not_fill_it_twice() {
        let mut bucket = Bucket::new(1000.0, 1.0, 0.0, ms(0));
        assert_eq!(bucket.draw(ms(10), 1.0), ms(10));
        assert_eq!(bucket.draw(ms(5), 1.0), ms(11));
        assert_eq!(bucket.draw(ms(10), 1.0), ms(12));
    }
}
