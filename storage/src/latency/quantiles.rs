//! A distribution of times given by a few of its quantiles.

use std::time::Duration;

/// How long an operation takes: a share of all operations takes no longer than each point.
///
/// Between two points the logarithm of the time grows evenly, so that the way from 3 ms to 15 ms is
/// mostly nearer to 3 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    points: [Duration; Quantiles::COUNT],
}

/// Why points are no distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is shorter than `{before}`: give times that do not fall from min to max")]
pub struct QuantilesError {
    /// The point that is too small.
    pub name: &'static str,
    /// The point before it.
    pub before: &'static str,
}

impl Quantiles {
    const COUNT: usize = 8;
    /// The names of the points, in ascending order.
    pub const NAMES: [&'static str; Self::COUNT] =
        ["min", "p10", "p50", "p90", "p95", "p99", "p99_9", "max"];
    const SHARES: [f64; Self::COUNT] = [0.0, 0.1, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0];
    /// How the points around a median lie when only the median is known, and those above the 99th
    /// percentile: one shape for all profiles, an assumption. A narrow body and a rare long tail.
    const BODY: [f64; 5] = [0.9, 0.93, 1.0, 1.15, 1.3];
    const TAIL: [f64; 3] = [1.0, 2.5, 6.0];

    /// The assumed shape through a median and a 99th percentile, both at least a nanosecond.
    ///
    /// # Panics
    /// When `p99` is below 1.3 times `p50`, where the shape has its 95th percentile.
    #[must_use]
    pub fn of(p50: Duration, p99: Duration) -> Quantiles {
        let mut points = [Duration::ZERO; Self::COUNT];
        for (point, factor) in points.iter_mut().zip(Self::BODY) {
            *point = p50.mul_f64(factor);
        }
        for (point, factor) in points[5..].iter_mut().zip(Self::TAIL) {
            *point = p99.mul_f64(factor);
        }
        Self::new(points).expect("the 99th percentile is well above the median")
    }

    /// Takes points in the order of [`Quantiles::NAMES`].
    ///
    /// # Errors
    /// [`QuantilesError`] when one is smaller than the one before.
    pub fn new(points: [Duration; Self::COUNT]) -> Result<Quantiles, QuantilesError> {
        for index in 1..Self::COUNT {
            if points[index] < points[index - 1] {
                return Err(QuantilesError {
                    name: Self::NAMES[index],
                    before: Self::NAMES[index - 1],
                });
            }
        }
        Ok(Quantiles { points })
    }

    /// Takes the points that are known, the others by the assumed shape around the median; those of
    /// the tail follow the 99th percentile.
    ///
    /// # Errors
    /// [`QuantilesError`] when known points fall. Assumed ones give way to known ones.
    pub fn from_known(
        known: [Option<Duration>; Self::COUNT],
        p50: Duration,
    ) -> Result<Quantiles, QuantilesError> {
        let p99 = known[5].unwrap_or_else(|| p50.mul_f64(4.0));
        let mut points = [Duration::ZERO; Self::COUNT];
        let factors = Self::BODY.iter().map(|factor| p50.mul_f64(*factor));
        let tail = Self::TAIL.iter().map(|factor| p99.mul_f64(*factor));
        for (point, assumed) in points.iter_mut().zip(factors.chain(tail)) {
            *point = assumed;
        }
        for index in 0..Self::COUNT {
            let least = known[..index].iter().rev().find_map(|point| *point);
            let most = known[index..].iter().find_map(|point| *point);
            let assumed = points[index].max(least.unwrap_or_default());
            points[index] = known[index].unwrap_or(most.map_or(assumed, |most| assumed.min(most)));
        }
        Self::new(points)
    }

    /// The points in the order of [`Quantiles::NAMES`].
    #[must_use]
    pub fn points(&self) -> [Duration; Self::COUNT] {
        self.points
    }

    /// The time that the share `at` of all operations does not exceed; `at` from 0 to 1.
    #[must_use]
    pub fn at(&self, at: f64) -> Duration {
        let at = at.clamp(0.0, 1.0);
        let upper = Self::SHARES.iter().position(|share| *share >= at);
        let upper = upper.unwrap_or(Self::COUNT - 1).max(1);
        let (low, high) = (Self::SHARES[upper - 1], Self::SHARES[upper]);
        let part = (at - low) / (high - low);
        let (from, to) = (self.seconds(upper - 1), self.seconds(upper));
        let seconds = if from > 0.0 {
            from * (to / from).powf(part)
        } else {
            from + (to - from) * part
        };
        Duration::from_secs_f64(seconds)
    }

    /// The mean over all operations.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let mut seconds = 0.0;
        for index in 1..Self::COUNT {
            let share = Self::SHARES[index] - Self::SHARES[index - 1];
            let (from, to) = (self.seconds(index - 1), self.seconds(index));
            let mean = if from > 0.0 && to > from * 1.000_001 {
                (to - from) / (to / from).ln()
            } else {
                f64::midpoint(from, to)
            };
            seconds += share * mean;
        }
        Duration::from_secs_f64(seconds)
    }

    /// The mean of a log-normal distribution with the same median and 99th percentile, to show what
    /// the shape is worth.
    #[must_use]
    pub fn log_normal_mean(&self) -> Duration {
        const Z99: f64 = 2.326_347_9;
        let (p50, p99) = (self.seconds(2), self.seconds(5));
        if p50 <= 0.0 {
            return Duration::ZERO;
        }
        let sigma = (p99 / p50).ln() / Z99;
        Duration::from_secs_f64(p50 * (sigma * sigma / 2.0).exp())
    }

    fn seconds(&self, index: usize) -> f64 {
        self.points[index].as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(count: u64) -> Duration {
        Duration::from_micros(count)
    }

    fn efs() -> Quantiles {
        Quantiles::of(us(2_700), us(15_000))
    }

    #[test]
    fn the_points_are_where_they_were_put() {
        let quantiles = efs();
        for (share, point) in Quantiles::SHARES.iter().zip(quantiles.points()) {
            let at = quantiles.at(*share);
            assert!(at.abs_diff(point) < us(1), "{share}: {at:?} {point:?}");
        }
        assert!(quantiles.at(0.7) > us(2_700) && quantiles.at(0.7) < us(3_105));
        assert_eq!(quantiles.at(-1.0), quantiles.at(0.0));
    }

    #[test]
    fn the_mean_is_that_of_many_samples() {
        for quantiles in [efs(), Quantiles::of(us(100), us(1_000))] {
            let count = 200_000;
            let sum: f64 = (0..count)
                .map(|index| {
                    let at = (f64::from(index) + 0.5) / f64::from(count);
                    quantiles.at(at).as_secs_f64()
                })
                .sum();
            let sampled = sum / f64::from(count);
            let mean = quantiles.mean().as_secs_f64();
            assert!((sampled / mean - 1.0).abs() < 0.001, "{sampled} {mean}");
        }
    }

    #[test]
    fn a_log_normal_of_the_same_points_has_a_larger_mean() {
        let quantiles = efs();
        let log_normal = quantiles.log_normal_mean();
        assert!(
            log_normal > us(3_500) && log_normal < us(3_600),
            "{log_normal:?}"
        );
        assert!(quantiles.mean() < log_normal);
    }

    #[test]
    fn falling_points_are_refused_by_name() {
        let mut points = efs().points();
        points[3] = us(1);
        let error = Quantiles::new(points).expect_err("falls");
        assert_eq!((error.name, error.before), ("p90", "p50"));
    }

    #[test]
    fn what_is_not_known_is_assumed_and_gives_way_to_what_is() {
        let none = [None; 8];
        let shape = Quantiles::from_known(none, us(1_000)).expect("a shape");
        assert_eq!(shape, Quantiles::of(us(1_000), us(4_000)));

        let mut known = none;
        known[5] = Some(us(1_100));
        let narrow = Quantiles::from_known(known, us(1_000)).expect("assumed ones give way");
        assert_eq!(narrow.points()[3..6], [us(1_100); 3]);

        known[7] = Some(us(900));
        assert!(Quantiles::from_known(known, us(1_000)).is_err());
    }
}
