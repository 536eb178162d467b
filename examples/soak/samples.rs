//! What was measured, and what it says.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::load::Load;
use crate::pair::Pair;

const HEAD: &str = "seconds,disk_bytes,live_bytes,bound_bytes,segment_bytes,segments,checkpoints,moved_messages,moved_bytes,memory_a_bytes,memory_b_bytes,sent_messages,sent_bytes,epoch";
/// Memory may grow by so much in an hour, by the second half of the run, and count as flat.
const MEMORY_PER_HOUR: f64 = 64e6;

/// One moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) disk: u64,
    pub(crate) live: u64,
    pub(crate) bound: u64,
    segment: u64,
    segments: u64,
    checkpoints: u64,
    moved: u64,
    moved_bytes: u64,
    pub(crate) memory: [u64; 2],
    sent: u64,
    sent_bytes: u64,
    pub(crate) epoch: u64,
}

impl Sample {
    /// None while nobody is active: then nobody tells what is live.
    pub(crate) fn take(pair: &Pair, at: Duration, load: &Load) -> Option<Sample> {
        let before = pair.status()?;
        let disk = disk_bytes(&pair.directory());
        // Traffic changes what is live while the files are counted.
        let after = pair.status()?;
        let space = &after["broker"]["space"];
        let number = |name: &str| space[name].as_u64();
        let live_before = before["broker"]["space"]["live_bytes"].as_u64()?;
        let (live, segment) = (
            number("live_bytes")?.max(live_before),
            number("segment_bytes")?,
        );
        // The files that a full directory will want.
        let spare = 4 * segment.min(1 << 20);
        Some(Sample {
            seconds: at.as_secs_f64(),
            disk,
            live,
            bound: 2 * live + 2 * segment + spare,
            segment,
            segments: number("segments")?,
            checkpoints: number("checkpoints")?,
            moved: number("moved_messages")?,
            moved_bytes: number("moved_bytes")?,
            memory: pair.memory(),
            sent: load.sent(),
            sent_bytes: load.sent_bytes(),
            epoch: after["epoch"].as_u64()?,
        })
    }

    fn line(&self) -> String {
        format!(
            "{:.1},{},{},{},{},{},{},{},{},{},{},{},{},{}",
            self.seconds,
            self.disk,
            self.live,
            self.bound,
            self.segment,
            self.segments,
            self.checkpoints,
            self.moved,
            self.moved_bytes,
            self.memory[0],
            self.memory[1],
            self.sent,
            self.sent_bytes,
            self.epoch
        )
    }

    fn parse(line: &str) -> Option<Sample> {
        let (seconds, rest) = line.split_once(',')?;
        let numbers: Vec<u64> = rest
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let &[
            disk,
            live,
            bound,
            segment,
            segments,
            checkpoints,
            moved,
            moved_bytes,
            a,
            b,
            sent,
            sent_bytes,
            epoch,
        ] = &numbers[..]
        else {
            return None;
        };
        Some(Sample {
            seconds: seconds.parse().ok()?,
            disk,
            live,
            bound,
            segment,
            segments,
            checkpoints,
            moved,
            moved_bytes,
            memory: [a, b],
            sent,
            sent_bytes,
            epoch,
        })
    }
}

/// Blocks that the files take, whatever their lengths.
fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        // It was removed since the listing.
        Err(_) => 0,
    });
    bytes.sum()
}

/// All moments, on disk as soon as they are measured.
pub(crate) struct Samples {
    pub(crate) all: Vec<Sample>,
    file: Option<File>,
}

impl Samples {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Samples> {
        let mut file = File::create(path)?;
        writeln!(file, "{HEAD}")?;
        Ok(Samples {
            all: Vec::new(),
            file: Some(file),
        })
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Samples> {
        let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
        let mut all = Vec::new();
        for line in BufReader::new(file).lines().skip(1) {
            let line = line?;
            all.push(Sample::parse(&line).with_context(|| format!("not a sample: {line}"))?);
        }
        Ok(Samples { all, file: None })
    }

    pub(crate) fn add(&mut self, sample: Sample) -> anyhow::Result<()> {
        self.all.push(sample);
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", sample.line())?;
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> String {
        let last = self.all.last().copied().unwrap_or_default();
        let most = self.all.iter().map(|one| one.disk).max().unwrap_or(0);
        let ratio = |one: &Sample| one.disk as f64 / one.bound.max(1) as f64;
        let closest = self.all.iter().map(ratio).fold(0.0, f64::max);
        format!(
            "{:.0} s, {} samples, {} tenures; {:.1} GB sent in {} messages; disk at most {:.0} MB, at most {:.0} % of the bound; at the end {:.0} MB live",
            last.seconds,
            self.all.len(),
            last.epoch,
            last.sent_bytes as f64 / 1e9,
            last.sent,
            most as f64 / 1e6,
            closest * 100.0,
            last.live as f64 / 1e6,
        )
    }

    /// What does not hold.
    pub(crate) fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        if self.all.len() < 10 {
            findings.push(format!("only {} samples", self.all.len()));
        }
        let above: Vec<_> = self.all.iter().filter(|one| one.disk > one.bound).collect();
        if let Some(first) = above.first() {
            findings.push(format!(
                "{} of {} samples are above the bound, first after {:.0} s: {:.0} MB of {:.0} MB",
                above.len(),
                self.all.len(),
                first.seconds,
                first.disk as f64 / 1e6,
                first.bound as f64 / 1e6
            ));
        }
        let grown = self.memory_per_hour();
        if grown > MEMORY_PER_HOUR {
            let megabytes = grown / 1e6;
            findings.push(format!("memory grows by {megabytes:.0} MB an hour"));
        }
        findings
    }

    /// The slope of both brokers' memory in the second half, by least squares. Only meaningful over
    /// minutes: a short run has no second half.
    fn memory_per_hour(&self) -> f64 {
        let end = self.all.last().map_or(0.0, |last| last.seconds);
        if end < 600.0 {
            return 0.0;
        }
        let half = self.all.iter().filter(|one| one.seconds > end / 2.0);
        // While one of them starts again there is less memory, which says nothing.
        let points: Vec<(f64, f64)> = half
            .filter(|one| one.memory.iter().all(|bytes| *bytes > 0))
            .map(|one| (one.seconds, one.memory.iter().sum::<u64>() as f64))
            .collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let covariance: f64 = points.iter().map(|(a, b)| (a - x) * (b - y)).sum();
        let variance: f64 = points.iter().map(|(a, _)| (a - x).powi(2)).sum();
        covariance / variance.max(1.0) * 3600.0
    }
}
