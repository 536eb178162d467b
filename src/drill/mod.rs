//! `baton drill`: takes a pair through faults under load and judges what its clients saw.
//!
//! It exists so that nobody has to believe the promises of a failover pair: it loads the pair
//! through a `failover:` URL, as a user's program would, strikes the active broker, keeps a
//! ledger of every acknowledged message and reports losses, duplicates, order and the phases of
//! each takeover. It must not know anything of the brokers that their clients, their standard
//! output and their health port do not show: no broker or storage type is imported here.

mod args;
mod backlog;
mod bits;
mod chronicle;
mod command;
mod conduct;
mod drain;
mod endure;
mod error;
mod fault;
mod latency;
mod ledger;
mod load;
mod message;
mod mix;
mod pair;
mod place;
mod progress;
mod random;
mod report;
mod round;
mod timeline;
mod verdict;
mod witness;

pub use args::{DrillArgs, Expectation, Fault, Sabotage};
pub use error::DrillError;
pub use latency::{Percentiles, PhasePercentiles};
pub use ledger::Tally;
pub use mix::{Strand, StrandTally};
pub(crate) use report::thousands;
pub use report::{Backlog, Report, Round, SeriesReport, Setup};
pub use timeline::{Milestones, Spread};
pub use verdict::Verdict;

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use place::Place;
use progress::Progress;
use random::Random;

/// Runs a drill to its verdict, prints its report and writes it to files.
///
/// Needs a multi-thread tokio runtime with time and IO. Stops the brokers it started in every
/// case, also when it is interrupted by Ctrl-C or SIGTERM.
///
/// # Errors
///
/// When the drill could not be carried out, so that it says nothing about the pair.
pub async fn run(args: DrillArgs) -> Result<Verdict, DrillError> {
    args.validate()?;
    let seed = args.seed.unwrap_or_else(Random::fresh_seed);
    let place = Place::prepare(&args, seed)?;
    let progress = Progress::new();
    progress.note(&format!("seed {seed}"));
    let conducted = tokio::select! {
        conducted = conduct::conduct(&args, seed, &place, &progress) => conducted,
        () = interrupted() => Err(DrillError::Interrupted),
    };
    let report = match conducted {
        Ok(report) => report,
        Err(error) => {
            // Whoever interrupts a drill wants nothing of it; other errors have their causes in
            // the logs.
            if matches!(error, DrillError::Interrupted) {
                place.leave(true);
            } else {
                note_kept(&progress, &place.leave(false));
            }
            return Err(error);
        }
    };
    print!("{}", report.to_text());
    report.write(&place.destinations)?;
    note_kept(&progress, &place.leave(report.passed));
    Ok(Verdict::new(report.failures))
}

fn note_kept(progress: &Progress, kept: &[PathBuf]) {
    for path in kept {
        progress.note(&format!("reports and logs are in {}", path.display()));
    }
}

/// Ends when somebody asks the drill to stop.
async fn interrupted() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
