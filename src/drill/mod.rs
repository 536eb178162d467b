//! `baton drill`: takes a pair through faults under load and judges what its clients saw.
//!
//! It exists so that nobody has to believe the promises of a failover pair: it loads the pair
//! through a `failover:` URL, as a user's program would, strikes the active broker, keeps a
//! ledger of every acknowledged message and reports losses, duplicates, order and the phases of
//! each takeover. It must not know anything of the brokers that their clients, their standard
//! output and their health port do not show: no broker or storage type is imported here.

mod args;
mod bits;
mod error;
mod latency;
mod ledger;
mod message;
mod random;
mod report;
mod timeline;
mod witness;

pub use args::{DrillArgs, Fault, Sabotage};
pub use error::DrillError;
pub use latency::{Percentiles, PhasePercentiles};
pub use ledger::Tally;
pub use report::{Backlog, Report, Round, SeriesReport, Setup};
pub use timeline::{Milestones, Spread};

/// What a completed drill says about the pair.
#[derive(Debug)]
pub struct Verdict {
    failures: Vec<String>,
}

impl Verdict {
    /// Whether every promise held.
    pub fn is_passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// 0 when passed, 2 when failed; a drill that could not run exits 1.
    pub fn exit_code(&self) -> u8 {
        if self.is_passed() { 0 } else { 2 }
    }

    /// Each broken promise, as a sentence.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

/// Runs a drill to its verdict and writes its reports.
///
/// Needs a multi-thread tokio runtime with time and IO. Stops the brokers it started in every
/// case.
///
/// # Errors
///
/// When the drill could not be carried out, so that it says nothing about the pair.
pub async fn run(args: DrillArgs) -> Result<Verdict, DrillError> {
    args.validate()?;
    Err(DrillError::Interrupted)
}
