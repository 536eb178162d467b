//! Latencies of sends: histograms for each phase of a round, and a series over time for the
//! picture.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart, an hour; longer ones count as that.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Width of a bucket of the series.
pub(super) const BUCKET_US: u64 = 100_000;

/// Longest series that is kept, a day: later events count for its last bucket.
const BUCKETS_MAX: usize = 864_000;

/// When a send took place, seen from the fault of its round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Answered before the fault.
    Before,
    /// Due, or under way, between the fault and the first acknowledgement after it.
    During,
    /// Due after the first acknowledgement that followed the fault.
    After,
}

impl Phase {
    /// The phase of a send due at `due_us` and answered at `answered_us`.
    pub(super) fn of(
        due_us: u64,
        answered_us: u64,
        fault_us: Option<u64>,
        recovered_us: Option<u64>,
    ) -> Self {
        match (fault_us, recovered_us) {
            (None, _) => Self::Before,
            (Some(fault), _) if answered_us <= fault => Self::Before,
            (Some(_), Some(recovered)) if due_us >= recovered => Self::After,
            (Some(_), _) => Self::During,
        }
    }
}

/// Percentiles of one histogram, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many sends.
    pub count: u64,
    /// Half of them took at most this.
    pub p50_us: u64,
    /// 95 of 100 took at most this.
    pub p95_us: u64,
    /// 99 of 100 took at most this.
    pub p99_us: u64,
    /// 999 of 1000 took at most this.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// The percentiles of each phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PhasePercentiles {
    /// Of sends answered before the fault.
    pub before: Percentiles,
    /// Of sends that the fault delayed.
    pub during: Percentiles,
    /// Of sends due after the takeover.
    pub after: Percentiles,
}

/// One histogram for each phase.
#[derive(Debug, Clone)]
pub(super) struct PhaseHistograms {
    before: Histogram<u64>,
    during: Histogram<u64>,
    after: Histogram<u64>,
}

impl PhaseHistograms {
    /// Empty ones.
    pub(super) fn new() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .expect("the bounds are constants that a histogram accepts")
        };
        Self {
            before: empty(),
            during: empty(),
            after: empty(),
        }
    }

    /// Adds one send.
    pub(super) fn record(&mut self, phase: Phase, latency_us: u64) {
        let histogram = match phase {
            Phase::Before => &mut self.before,
            Phase::During => &mut self.during,
            Phase::After => &mut self.after,
        };
        histogram.saturating_record(latency_us.max(1));
    }

    /// Adds everything of `other`, and empties it.
    pub(super) fn absorb(&mut self, other: &mut Self) {
        for (mine, theirs) in [
            (&mut self.before, &mut other.before),
            (&mut self.during, &mut other.during),
            (&mut self.after, &mut other.after),
        ] {
            mine.add(&*theirs).expect("both have the same bounds");
            theirs.reset();
        }
    }

    /// The usual percentiles of each phase.
    pub(super) fn percentiles(&self) -> PhasePercentiles {
        PhasePercentiles {
            before: percentiles(&self.before),
            during: percentiles(&self.during),
            after: percentiles(&self.after),
        }
    }

    /// Points of the percentile curve of each phase: percentile, latency in microseconds.
    pub(super) fn curves(&self) -> [Vec<(f64, u64)>; 3] {
        [&self.before, &self.during, &self.after].map(curve)
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    if histogram.is_empty() {
        return Percentiles::default();
    }
    // A bucket's upper end may lie above the largest value recorded.
    let at = |quantile| histogram.value_at_quantile(quantile).min(histogram.max());
    Percentiles {
        count: histogram.len(),
        p50_us: at(0.5),
        p95_us: at(0.95),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: histogram.max(),
    }
}

fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    // Beyond one in `len` a percentile is just the maximum again.
    let finest = 1.0 / histogram.len() as f64;
    let mut tail = 1.0;
    let mut points = Vec::new();
    while tail >= finest.max(1e-5) * 0.999 {
        let value = histogram.value_at_quantile(1.0 - tail).min(histogram.max());
        points.push((100.0 * (1.0 - tail), value));
        tail /= 1.25;
    }
    points.push((100.0 * (1.0 - finest.max(1e-5)), histogram.max()));
    points
}

/// What happened in one tenth of a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Sends answered.
    pub(super) acknowledged: u32,
    /// Messages delivered.
    pub(super) delivered: u32,
    /// Median latency of the sends answered, in microseconds.
    pub(super) p50_us: u64,
    /// Longest latency of the sends answered, in microseconds.
    pub(super) max_us: u64,
}

/// Throughput and latency over time.
#[derive(Debug, Default)]
pub(super) struct Series {
    buckets: Vec<Bucket>,
    /// Latencies of the newest bucket, until the next one begins.
    newest: Vec<u64>,
}

impl Series {
    /// A send was answered.
    pub(super) fn acknowledged(&mut self, at_us: u64, latency_us: u64) {
        let index = self.reach(at_us);
        let bucket = &mut self.buckets[index];
        bucket.acknowledged += 1;
        bucket.max_us = bucket.max_us.max(latency_us);
        // An event stamped just before the bucket's end may arrive after the next one began.
        if index + 1 == self.buckets.len() {
            self.newest.push(latency_us);
        }
    }

    /// A message was delivered.
    pub(super) fn delivered(&mut self, at_us: u64) {
        let index = self.reach(at_us);
        self.buckets[index].delivered += 1;
    }

    /// The buckets so far.
    pub(super) fn finish(&mut self) -> &[Bucket] {
        self.close_newest();
        &self.buckets
    }

    fn reach(&mut self, at_us: u64) -> usize {
        let index = ((at_us / BUCKET_US) as usize).min(BUCKETS_MAX - 1);
        if index >= self.buckets.len() {
            self.close_newest();
            self.buckets.resize(index + 1, Bucket::default());
        }
        index
    }

    fn close_newest(&mut self) {
        if self.newest.is_empty() {
            return;
        }
        let middle = self.newest.len() / 2;
        let (_, median, _) = self.newest.select_nth_unstable(middle);
        if let Some(bucket) = self.buckets.last_mut() {
            bucket.p50_us = *median;
        }
        self.newest.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_of_a_send_follows_from_its_interval() {
        let fault = Some(100);
        assert_eq!(Phase::of(10, 20, None, None), Phase::Before);
        assert_eq!(Phase::of(90, 100, fault, None), Phase::Before);
        assert_eq!(Phase::of(90, 150, fault, None), Phase::During);
        assert_eq!(Phase::of(90, 250, fault, Some(200)), Phase::During);
        assert_eq!(Phase::of(150, 250, fault, Some(200)), Phase::During);
        assert_eq!(Phase::of(200, 250, fault, Some(200)), Phase::After);
    }

    #[test]
    fn percentiles_are_those_of_the_recorded_latencies() {
        let mut histograms = PhaseHistograms::new();
        for latency in 1..=1000 {
            histograms.record(Phase::Before, latency);
        }
        histograms.record(Phase::During, u64::MAX);
        let all = histograms.percentiles();
        let before = all.before;
        assert_eq!(
            (before.count, before.p50_us, before.p99_us),
            (1000, 500, 990)
        );
        assert_eq!(before.max_us, 1000);
        assert!(
            all.during.max_us >= LATENCY_MAX_US,
            "too long a latency saturates"
        );
        assert_eq!(all.after, Percentiles::default());
    }

    #[test]
    fn absorbing_moves_everything() {
        let (mut all, mut round) = (PhaseHistograms::new(), PhaseHistograms::new());
        round.record(Phase::After, 5);
        all.absorb(&mut round);
        assert_eq!(all.percentiles().after.count, 1);
        assert_eq!(round.percentiles().after.count, 0);
    }

    #[test]
    fn curve_rises_to_the_maximum() {
        let mut histograms = PhaseHistograms::new();
        for latency in 1..=5000 {
            histograms.record(Phase::After, latency);
        }
        let [before, _, after] = histograms.curves();
        assert!(before.is_empty());
        assert!(
            after
                .windows(2)
                .all(|pair| pair[0].1 <= pair[1].1 && pair[0].0 <= pair[1].0)
        );
        let last = after.last().map_or(0, |point| point.1);
        assert!((5000..=5005).contains(&last), "{last} is not the maximum");
    }

    #[test]
    fn series_has_a_bucket_for_each_tenth_of_a_second() {
        let mut series = Series::default();
        for latency in [30, 10, 20] {
            series.acknowledged(50_000, latency);
        }
        series.delivered(350_000);
        series.acknowledged(20_000, 99);
        let buckets = series.finish();
        assert_eq!(buckets.len(), 4);
        assert_eq!(
            (
                buckets[0].acknowledged,
                buckets[0].p50_us,
                buckets[0].max_us
            ),
            (4, 20, 99)
        );
        assert_eq!(buckets[1], Bucket::default());
        assert_eq!(buckets[3].delivered, 1);
    }
}
