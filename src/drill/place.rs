//! Where a drill keeps its journal, its logs and its reports.

use std::io;
use std::path::{Path, PathBuf};

use super::report::Destinations;
use super::{DrillArgs, DrillError};

/// The directories and files of one drill.
#[derive(Debug)]
pub(super) struct Place {
    /// Temporary, the drill's own.
    work: PathBuf,
    /// The shared directory of the pair.
    pub(super) shared: PathBuf,
    /// Where the brokers' logs go.
    pub(super) logs: PathBuf,
    /// Where the reports go.
    pub(super) destinations: Destinations,
    /// The directory with all reports, if there is one.
    pub(super) report: Option<PathBuf>,
}

impl Place {
    /// Creates what does not exist yet.
    pub(super) fn prepare(args: &DrillArgs, seed: u64) -> Result<Self, DrillError> {
        let work = create_own(seed)?;
        let is_each_named = args.json.is_some() || args.junit.is_some() || args.svg.is_some();
        let report = match &args.report {
            Some(report) => Some(report.clone()),
            None if is_each_named => None,
            None => Some(work.clone()),
        };
        let mut destinations = Destinations::default();
        if let Some(report) = &report {
            create(report)?;
            destinations = Destinations::within(report);
        }
        let named = [
            (&args.json, &mut destinations.json),
            (&args.junit, &mut destinations.junit),
            (&args.svg, &mut destinations.svg),
        ];
        for (given, destination) in named {
            if given.is_some() {
                destination.clone_from(given);
            }
        }
        let shared = args
            .directory
            .clone()
            .unwrap_or_else(|| work.join("shared"));
        if args.url.is_none() {
            create(&shared)?;
        }
        let logs = report.clone().unwrap_or_else(|| work.clone());
        Ok(Self {
            work,
            shared,
            logs,
            destinations,
            report,
        })
    }

    /// Removes the temporary directory, except what was promised to stay: reports, and after a
    /// failure everything that helps to find its cause. Says what stays.
    pub(super) fn leave(&self, passed: bool) -> Vec<PathBuf> {
        if !passed {
            return self.report.iter().chain([&self.work]).cloned().collect();
        }
        // What cannot be removed stays in the temporary directory; that fails no drill.
        if self.report.as_deref() == Some(self.work.as_path()) {
            let _ = std::fs::remove_dir_all(self.work.join("shared"));
        } else {
            let _ = std::fs::remove_dir_all(&self.work);
        }
        self.report.iter().cloned().collect()
    }
}

fn create(directory: &Path) -> Result<(), DrillError> {
    std::fs::create_dir_all(directory).map_err(|source| DrillError::Write {
        path: directory.to_owned(),
        source,
    })
}

/// A new directory that nobody else has.
fn create_own(seed: u64) -> Result<PathBuf, DrillError> {
    let base = std::env::temp_dir();
    for attempt in 0..100 {
        let suffix = if attempt == 0 {
            String::new()
        } else {
            format!("-{attempt}")
        };
        let path = base.join(format!("baton-drill-{}-{seed}{suffix}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(DrillError::Write { path, source }),
        }
    }
    let source = io::Error::from(io::ErrorKind::AlreadyExists);
    Err(DrillError::Write { path: base, source })
}
