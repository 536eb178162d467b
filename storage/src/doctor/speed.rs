//! Times of the operations that a pair waits for, and what class of storage they are of.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Finding, Settings, Severity};

/// Appends in a measurement, and the time after which fewer will do.
const APPENDS: u64 = 200;
const APPEND_BYTES: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(3);
const APPENDS_MIN: u64 = 10;
/// Longer times, in nanoseconds, count as this: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Times of one kind of operation, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Operations measured.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// An append of 1 KiB and its sync: what a persistent send waits for.
    pub append: Times,
    /// An open of an existing file and a read: what a standby's look takes.
    pub look: Times,
    /// The class of storage, by the median append.
    pub class: &'static str,
}

pub(super) fn measure(directory: &Path) -> io::Result<Speed> {
    let path = directory.join("speed");
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)?;
    let bytes = [0x5a; APPEND_BYTES];
    let append = repeat(|number| {
        file.write_all_at(&bytes, number * APPEND_BYTES as u64)?;
        file.sync_data()
    })?;
    let look = repeat(|_| {
        let mut bytes = [0; 512];
        File::open(&path)?.read_at(&mut bytes, 0).map(drop)
    })?;
    Ok(Speed {
        append,
        look,
        class: class_of(append.p50_ms),
    })
}

fn repeat(mut operation: impl FnMut(u64) -> io::Result<()>) -> io::Result<Times> {
    let mut times =
        Histogram::<u64>::new_with_bounds(1, LONGEST_NS, 3).map_err(io::Error::other)?;
    let begun = Instant::now();
    for number in 0..APPENDS {
        let at = Instant::now();
        operation(number)?;
        times.saturating_record(at.elapsed().as_nanos() as u64);
        if begun.elapsed() > PATIENCE && number + 1 >= APPENDS_MIN {
            break;
        }
    }
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    Ok(Times {
        count: times.len(),
        p50_ms: ms(times.value_at_quantile(0.5)),
        p99_ms: ms(times.value_at_quantile(0.99)),
        max_ms: ms(times.max()),
    })
}

fn class_of(append_ms: f64) -> &'static str {
    match append_ms {
        ms if ms < 0.05 => "memory, or a disk whose cache answers before the bytes are safe",
        ms if ms < 0.7 => "a local SSD",
        ms if ms < 3.0 => "a network disk (like EBS), or a near NFS server",
        ms if ms < 8.0 => "a network file system within a zone (like EFS One Zone)",
        ms if ms < 30.0 => {
            "a network file system over several zones (like EFS Regional), or a magnetic disk"
        }
        _ => "very slow storage",
    }
}

impl Speed {
    pub(super) fn judge(&self, settings: &Settings) -> Vec<Finding> {
        let Times {
            count,
            p50_ms,
            p99_ms,
            max_ms,
        } = self.append;
        let text = format!(
            "a durable append of 1 KiB takes {p50_ms:.3} ms ({p99_ms:.3} ms at the 99th percentile, {max_ms:.1} ms at most, of {count}): {}",
            self.class
        );
        let lease = settings.lease_ms as f64;
        vec![if max_ms > lease / 2.0 {
            Finding::new("speed", Severity::Bad, text).remedy(
                "one of these stalls lasts half a lease: set a longer `tenure.lease`, or use steadier storage",
            )
        } else if p50_ms > 30.0 || max_ms > lease / 5.0 {
            Finding::new("speed", Severity::Warning, text)
                .remedy("use faster storage, or set a longer `tenure.lease`: renewals wait behind stalls like these")
        } else if p50_ms < 0.05 {
            Finding::new("speed", Severity::Note, text)
                .remedy("make sure that a sync reaches something that survives a power failure")
        } else {
            Finding::new("speed", Severity::Good, text)
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(p50_ms: f64, max_ms: f64) -> Speed {
        let times = Times {
            count: 10,
            p50_ms,
            p99_ms: max_ms,
            max_ms,
        };
        Speed {
            append: times,
            look: times,
            class: class_of(p50_ms),
        }
    }

    #[test]
    fn stalls_are_judged_by_the_lease() {
        let settings = Settings::default();
        let severity = |p50, max| speed(p50, max).judge(&settings)[0].severity;
        assert_eq!(severity(0.3, 5.0), Severity::Good);
        assert_eq!(severity(0.01, 0.1), Severity::Note);
        assert_eq!(severity(5.0, 1500.0), Severity::Warning);
        assert_eq!(severity(50.0, 100.0), Severity::Warning);
        assert_eq!(severity(5.0, 3000.0), Severity::Bad);
        assert!(speed(10.0, 20.0).class.contains("EFS Regional"));
    }

    #[test]
    fn operations_on_a_real_directory_are_timed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let speed = measure(directory.path()).expect("measures");
        assert!(speed.append.count >= APPENDS_MIN && speed.append.max_ms > 0.0);
        assert!(speed.append.p50_ms <= speed.append.max_ms);
    }

    #[test]
    fn a_time_is_what_it_took() {
        let pause = Duration::from_millis(5);
        let times = repeat(|_| {
            std::thread::sleep(pause);
            Ok(())
        });
        let times = times.expect("does not fail");
        assert!(
            times.p50_ms >= 4.9 && times.max_ms >= times.p50_ms,
            "{times:?}"
        );
    }
}
