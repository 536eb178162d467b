//! The report of a drill: one model, written as text, JSON, JUnit XML and a picture.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::latency::{BUCKET_US, Bucket, PhasePercentiles};
use super::ledger::Tally;
use super::mix::StrandTally;
use super::timeline::{Milestones, Spread};
use super::{DrillError, Fault};

mod junit;
mod picture;
mod text;

/// Everything a drill found out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of the program that made it.
    pub version: &'static str,
    /// Whether every promise held.
    pub passed: bool,
    /// Each broken promise, as a sentence.
    pub failures: Vec<String>,
    /// Seed of the random moments.
    pub seed: u64,
    /// When the drill began, in seconds since 1970.
    pub started_unix: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// How the pair was loaded.
    pub setup: Setup,
    /// One for each fault.
    pub rounds: Vec<Round>,
    /// From the fault to the first acknowledged send at a client of the load.
    pub takeover: Option<Spread>,
    /// From the fault to the first acknowledged send at any client, probes included.
    pub served: Option<Spread>,
    /// Latencies of the load's sends, over all rounds.
    pub latency: PhasePercentiles,
    /// What the ledger of the load says.
    pub ledger: Tally,
    /// Acknowledgements by a broker after its successor had acknowledged; must be 0.
    pub acknowledged_by_deposed: u64,
    /// The backlog, if there was one.
    pub backlog: Option<Backlog>,
    /// What the books of the mix say, if there was one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mix: Vec<StrandTally>,
    /// Messages of the mix in the dead letter queue; none belongs there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letters: Option<u64>,
    /// Throughput and latency over time.
    pub series: SeriesReport,
    #[serde(skip)]
    pub(super) curves: [Vec<(f64, u64)>; 3],
}

/// How the pair was loaded.
#[derive(Debug, Clone, Serialize)]
pub struct Setup {
    /// The failover: URL of the load.
    pub url: String,
    /// The shared directory, if the drill started the pair.
    pub directory: Option<PathBuf>,
    /// Producers.
    pub producers: usize,
    /// Transacted consumers.
    pub consumers: usize,
    /// Messages in a transaction.
    pub batch: usize,
    /// Bytes in a message.
    pub size: usize,
    /// Messages a second of all producers together; 0 is as fast as it goes.
    pub rate: u32,
    /// Whether sends that the broker refused are no failure.
    pub are_refusals_allowed: bool,
}

/// One fault and what followed.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// kill, term, stop or none.
    pub fault: &'static str,
    /// Name of the broker that was struck.
    pub victim: String,
    /// Name of the broker that took over.
    pub successor: String,
    /// When the fault struck, in microseconds of the drill's clock.
    pub fault_us: u64,
    /// When the round ended.
    pub end_us: u64,
    /// Epoch of the victim's tenure.
    pub epoch_before: Option<u64>,
    /// Epoch of the successor's tenure.
    pub epoch_after: Option<u64>,
    /// The fault led to no takeover: the active went on in its epoch.
    pub has_stayed: bool,
    /// How the successor got the right: `lock` or `lease`, where it says so.
    pub cause: Option<String>,
    /// The phases of the takeover.
    #[serde(flatten)]
    pub milestones: Milestones,
    /// The longest time from the fault to the end of the round in which no send of the load was
    /// acknowledged: the outage as clients see it.
    pub silence_us: Option<u64>,
    /// How far behind the standby was just before the fault, in bytes.
    pub behind_bytes: Option<u64>,
    /// Resident memory of the active just before the fault, if it runs on this host.
    pub memory_bytes: Option<u64>,
    /// Latencies of this round.
    pub latency: PhasePercentiles,
    /// What went wrong in this round, as sentences.
    pub failures: Vec<String>,
}

impl Round {
    /// The round in one line, for whoever watches.
    pub(super) fn summary(&self, of: u32) -> String {
        let Self {
            number,
            fault,
            victim,
            successor,
            milestones,
            ..
        } = self;
        let head = format!("round {number} of {of}: {fault} {victim}");
        if let Some(failure) = self.failures.first() {
            return format!("{head}: FAILED, {failure}");
        }
        if self.has_stayed {
            let silence = millis(self.silence_us.unwrap_or(0));
            return format!("{head}, it went on; nothing was acknowledged for {silence} ms");
        }
        match (milestones.served_us(), milestones.acknowledged_us) {
            (Some(served), Some(load)) => format!(
                "{head}, {successor} acknowledged after {} ms, the load's clients had it after \
                 {} ms",
                millis(served),
                millis(load)
            ),
            _ => head,
        }
    }
}

/// What became of the backlog.
#[derive(Debug, Clone, Serialize)]
pub struct Backlog {
    /// Messages put in and acknowledged before the first fault.
    pub messages: u64,
    /// How long that took, in microseconds.
    pub loading_us: u64,
    /// Messages found at the end.
    pub found: Option<u64>,
    /// How they were counted: `drained` one by one, or as `pending` by the broker.
    pub counted: &'static str,
    /// Sends of the backlog by the ledger, if it was drained.
    pub ledger: Option<Tally>,
}

/// Throughput and latency over time, a column each, for other people's plots.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SeriesReport {
    /// Width of each bucket, in microseconds.
    pub bucket_us: u64,
    /// Sends answered in each bucket.
    pub acknowledged: Vec<u32>,
    /// Messages delivered in each bucket.
    pub delivered: Vec<u32>,
    /// Median latency of the sends answered in each bucket, in microseconds.
    pub p50_us: Vec<u64>,
    /// Longest latency of the sends answered in each bucket, in microseconds.
    pub max_us: Vec<u64>,
}

impl SeriesReport {
    /// The columns of `buckets`.
    pub(super) fn new(buckets: &[Bucket]) -> Self {
        Self {
            bucket_us: BUCKET_US,
            acknowledged: buckets.iter().map(|one| one.acknowledged).collect(),
            delivered: buckets.iter().map(|one| one.delivered).collect(),
            p50_us: buckets.iter().map(|one| one.p50_us).collect(),
            max_us: buckets.iter().map(|one| one.max_us).collect(),
        }
    }
}

/// Where the forms of a report go.
#[derive(Debug, Clone, Default)]
pub(super) struct Destinations {
    pub(super) text: Option<PathBuf>,
    pub(super) json: Option<PathBuf>,
    pub(super) junit: Option<PathBuf>,
    pub(super) svg: Option<PathBuf>,
}

impl Destinations {
    /// All four within `directory`.
    pub(super) fn within(directory: &Path) -> Self {
        Self {
            text: Some(directory.join("report.txt")),
            json: Some(directory.join("report.json")),
            junit: Some(directory.join("junit.xml")),
            svg: Some(directory.join("timeline.svg")),
        }
    }
}

impl Report {
    /// Each promise of the ledger that was broken, as a sentence.
    pub(super) fn ledger_violations(&self) -> Vec<String> {
        let mut tally = self.ledger.clone();
        if self.setup.are_refusals_allowed {
            tally.refused = 0;
        }
        tally.violations()
    }

    /// The report as a person reads it.
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    /// The report as JUnit XML: a test case for each round and each promise.
    pub fn to_junit(&self) -> String {
        junit::render(self)
    }

    /// The picture.
    ///
    /// # Errors
    ///
    /// When the plotter fails.
    pub fn to_svg(&self) -> Result<String, DrillError> {
        picture::render(self)
    }

    /// Writes every form that has a destination.
    pub(super) fn write(&self, destinations: &Destinations) -> Result<(), DrillError> {
        if let Some(path) = &destinations.text {
            write_file(path, &self.to_text())?;
        }
        if let Some(path) = &destinations.json {
            let json = serde_json::to_string_pretty(self).map_err(|error| DrillError::Write {
                path: path.clone(),
                source: error.into(),
            })?;
            write_file(path, &(json + "\n"))?;
        }
        if let Some(path) = &destinations.junit {
            write_file(path, &self.to_junit())?;
        }
        if let Some(path) = &destinations.svg {
            write_file(path, &self.to_svg()?)?;
        }
        Ok(())
    }

    /// The outages of clients: the longest silence after each fault.
    fn silences(&self) -> Option<Spread> {
        Spread::of(self.struck().filter_map(|round| round.silence_us))
    }

    /// For each kind of fault its name, the time to the first acknowledgement at any client, and
    /// at a client of the load. A frozen broker takes the lease's time, a killed one does not.
    fn spreads(&self) -> Vec<(&'static str, Option<Spread>, Option<Spread>)> {
        let mut words: Vec<&'static str> = self.struck().map(|round| round.fault).collect();
        words.sort_unstable();
        words.dedup();
        let spread = |word: &str, of: fn(&Milestones) -> Option<u64>| {
            let rounds = self
                .struck()
                .filter(|round| round.fault == word && !round.has_stayed);
            Spread::of(rounds.filter_map(|round| of(&round.milestones)))
        };
        words
            .into_iter()
            .map(|word| {
                (
                    word,
                    spread(word, Milestones::served_us),
                    spread(word, |at| at.acknowledged_us),
                )
            })
            .collect()
    }

    /// The rounds in which something was struck.
    fn struck(&self) -> impl Iterator<Item = &Round> {
        self.rounds
            .iter()
            .filter(|round| round.fault != Fault::None.word())
    }
}

fn write_file(path: &Path, content: &str) -> Result<(), DrillError> {
    std::fs::write(path, content).map_err(|source| DrillError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Microseconds as milliseconds, with as many digits as mean something.
fn millis(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    if us < 10_000 {
        format!("{ms:.2}")
    } else if us < 100_000 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

/// A number with its thousands set apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(super) mod tests;
