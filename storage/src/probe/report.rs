//! What a probe found.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Times of one kind of operation.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was done, unique in a report.
    pub name: &'static str,
    /// Bytes of each operation; 0 where that means nothing.
    pub bytes: u64,
    /// Threads that did it at the same time.
    pub threads: u32,
    /// Times in nanoseconds.
    pub times: Histogram<u64>,
    /// From the first to the end of the last.
    pub elapsed: Duration,
    /// Processor time of the thread that did it, where it was one.
    pub processor: Duration,
}

impl Measured {
    pub(super) fn new(name: &'static str, bytes: u64, threads: u32) -> Measured {
        Measured {
            name,
            bytes,
            threads,
            times: histogram(),
            elapsed: Duration::ZERO,
            processor: Duration::ZERO,
        }
    }

    /// The time that a share of the operations did not exceed, `at` from 0 to 1. None when there are
    /// too few operations to tell.
    #[must_use]
    pub fn at(&self, at: f64) -> Option<Duration> {
        let beyond = self.times.len() as f64 * (1.0 - at);
        let is_known = !self.times.is_empty() && (beyond >= 1.0 || at >= 1.0 || at <= 0.5);
        is_known.then(|| Duration::from_nanos(self.times.value_at_quantile(at)))
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.times.mean() as u64)
    }

    /// Operations in a second, of all threads together.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// From a nanosecond to an hour, with three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3)
        .expect("three digits between a nanosecond and an hour are fine")
}

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// How segments are filled ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Filled {
    /// Bytes in a second.
    pub bytes_per_second: f64,
    /// Processor time of each MiB: more than what the same bytes take again, because the memory of the
    /// host's cache has to be found first.
    pub processor: Duration,
}

impl Filled {
    /// Processor time of so many bytes.
    pub(super) fn processor_for(&self, bytes: u64) -> Duration {
        self.processor.mul_f64(bytes as f64 / MIB)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// All kinds of operation, in the order in which they were measured.
    pub measured: Vec<Measured>,
    /// Durable writes were made in one operation, because that was faster than a write and a sync.
    pub in_one_operation: bool,
    /// Several durable writes may be under way at once on a journal segment, as they are on NFS.
    pub may_overlap: bool,
    /// Segments that were filled ahead, beside other writes; None if the journal does not do that here.
    pub filled: Option<Filled>,
    /// It was told to stop before its end.
    pub was_stopped: bool,
}

impl ProbeReport {
    /// One kind by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.name == name)
    }

    fn filling(&self) -> Option<Filling> {
        let beside = self.get(super::measure::BESIDE_FILLING)?;
        let filled = self.filled?;
        (!beside.times.is_empty()).then(|| Filling {
            beside: Line::new(beside),
            filled,
        })
    }

    /// What a prediction needs of it; None when it was stopped too early.
    #[must_use]
    pub fn write_times(&self) -> Option<WriteTimes> {
        let sizes: Vec<Measured> = super::measure::SIZES
            .iter()
            .filter_map(|(name, _)| self.get(name).cloned())
            .filter(|measured| !measured.times.is_empty())
            .collect();
        let alone = sizes.first()?.mean().as_secs_f64();
        let mut company = vec![(1.0, 1.0)];
        for (name, threads) in super::measure::WRITERS {
            let measured = self
                .get(name)
                .filter(|measured| !measured.times.is_empty())?;
            company.push((f64::from(threads), measured.mean().as_secs_f64() / alone));
        }
        let rested = self.get(super::measure::AFTER_PAUSE);
        let rested = rested.filter(|measured| !measured.times.is_empty());
        Some(WriteTimes {
            processor: sizes.iter().map(processor_of_each).collect(),
            rested: rested.map(Line::new),
            sizes: sizes.iter().map(Line::new).collect(),
            company,
            may_overlap: self.may_overlap,
            filling: self.filling(),
        })
    }
}

/// How long durable writes take, by size and by company.
#[derive(Clone, Debug)]
pub struct WriteTimes {
    /// Alone, by ascending size.
    sizes: Vec<Line>,
    /// By size, the processor time in seconds.
    processor: Vec<(f64, f64)>,
    /// Of the first size, each after a pause.
    rested: Option<Line>,
    /// So many at once take so many times as long.
    company: Vec<(f64, f64)>,
    /// The journal would have several under way at once.
    pub(super) may_overlap: bool,
    /// What filling segments ahead does to writes, where that is done.
    pub(super) filling: Option<Filling>,
}

/// What a write meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Writes under way at once, with this one.
    pub writers: usize,
    /// A segment is being filled ahead.
    pub is_filling: bool,
}

/// Writes beside the filling of a segment.
#[derive(Clone, Debug)]
pub(super) struct Filling {
    /// Of the first size.
    beside: Line,
    pub(super) filled: Filled,
}

/// Writes of one size.
#[derive(Clone, Debug)]
struct Line {
    /// Logarithm of the size.
    size: f64,
    /// Logarithms of the times, each for the same share of the writes.
    times: Vec<f64>,
}

/// Shares that the times of one size are cut into.
const SHARES: usize = 4096;

impl Line {
    fn new(measured: &Measured) -> Line {
        let count = measured.times.len() as f64;
        let mut times = Vec::with_capacity(SHARES);
        let mut passed = 0;
        for value in measured.times.iter_recorded() {
            passed += value.count_since_last_iteration();
            while times.len() < SHARES
                && (times.len() as f64 + 0.5) / SHARES as f64 * count <= passed as f64
            {
                times.push((value.value_iterated_to().max(1) as f64).ln());
            }
        }
        Line {
            size: (measured.bytes as f64).ln(),
            times,
        }
    }

    fn at(&self, at: f64) -> (f64, f64) {
        let index = ((at * SHARES as f64) as usize).min(self.times.len().saturating_sub(1));
        (
            self.size,
            self.times.get(index).copied().unwrap_or_default(),
        )
    }
}

fn processor_of_each(measured: &Measured) -> (f64, f64) {
    let each = measured.processor.as_secs_f64() / measured.times.len().max(1) as f64;
    ((measured.bytes as f64).ln(), each)
}

impl WriteTimes {
    /// What a write of `bytes` takes of a processor.
    #[must_use]
    pub fn processor(&self, bytes: u64) -> Duration {
        let seconds = between(self.processor.iter().copied(), (bytes.max(1) as f64).ln());
        Duration::from_secs_f64(seconds)
    }

    /// The time of a write of `bytes` at the quantile `at`. What makes the smallest write longer makes
    /// every write so much longer.
    #[must_use]
    pub fn at(&self, bytes: u64, at: f64, met: Circumstances) -> Duration {
        let Circumstances {
            writers,
            is_filling,
        } = met;
        let first = self.sizes.first().map_or(0.0, |first| first.at(at).1.exp());
        let beyond = |line: &Line| (line.at(at).1.exp() - first).max(0.0);
        let filling = self.filling.as_ref().filter(|_| is_filling);
        // The journal's thread tells others between two writes: never does one follow at once.
        let rested = self.rested.as_ref().filter(|_| writers <= 1);
        let longer =
            filling.map_or(0.0, |filling| beyond(&filling.beside)) + rested.map_or(0.0, beyond);
        let lines = self.sizes.iter().map(|line| line.at(at));
        let alone = between(lines, (bytes.max(1) as f64).ln()).exp();
        let company = self
            .company
            .iter()
            .map(|(count, factor)| (count.ln(), *factor));
        let factor = between(company, (writers.max(1) as f64).ln()).max(1.0);
        Duration::from_nanos((alone * factor + longer) as u64)
    }
}

/// The value at `x` on straight lines between points of ascending x; beyond them that of the last, and
/// beyond the largest size in proportion.
fn between(points: impl Iterator<Item = (f64, f64)>, x: f64) -> f64 {
    let mut before: Option<(f64, f64)> = None;
    for (to, value) in points {
        if x <= to {
            return match before {
                Some((from, start)) if to > from => {
                    start + (value - start) * (x - from) / (to - from)
                }
                _ => value,
            };
        }
        before = Some((to, value));
    }
    before.map_or(0.0, |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_between_points_lie_on_straight_lines() {
        let points = [(0.0, 1.0), (2.0, 3.0), (4.0, 3.0)];
        let cases = [(-1.0, 1.0), (0.0, 1.0), (1.0, 2.0), (3.0, 3.0), (9.0, 3.0)];
        for (x, expected) in cases {
            assert_eq!(between(points.into_iter(), x), expected, "{x}");
        }
    }

    #[test]
    fn a_quantile_needs_operations_beyond_it() {
        let mut measured = Measured::new("x", 0, 1);
        assert_eq!(measured.at(0.5), None);
        for nanos in 1..=100 {
            measured.times.saturating_record(nanos);
        }
        assert_eq!(measured.at(0.5), Some(Duration::from_nanos(50)));
        assert_eq!(measured.at(0.99), Some(Duration::from_nanos(99)));
        assert_eq!(measured.at(0.999), None);
        assert_eq!(measured.at(1.0), Some(Duration::from_nanos(100)));
    }
}
