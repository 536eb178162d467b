//! Examines a directory before a pair lives on it: mount, locks, clock, space, speed, and what
//! takeover times to expect.
//!
//! It exists because most of what makes shared storage unsafe for a pair is silent: locks that
//! stay on one host, a client that hides lost locks, a disk that goes away with the container. It
//! works on file systems that the broker refuses, so it goes to the operating system itself, not
//! through [`crate::disk::Disk`]. It never takes the lock of a real journal, and writes nothing but
//! files of its own, in a directory of its own, which it removes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::disk::mount::{Mount, RECOVER_LOST_LOCKS, mount_of};

mod clock;
mod holder;
mod opinion;
mod place;
mod space;
mod speed;
mod takeover;
mod trial;

pub use holder::Holder;
pub use opinion::judge_mount;
pub use space::Space;
pub use speed::Speed;
pub use takeover::{Expectation, Settings, Storage, expectations};
pub use trial::{HELPER_READY, Helper, LockKind, help};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Works, and will hurt some day.
    Warning,
    /// A pair must not run like this.
    Bad,
}

/// One thing that was found, in plain words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `mount`, `locks`, `clock`, `space`, `speed`, ...
    pub topic: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub text: String,
    /// What to do about it; None where there is nothing to do.
    pub remedy: Option<String>,
}

impl Finding {
    pub(crate) fn new(topic: &'static str, severity: Severity, text: impl Into<String>) -> Finding {
        Finding {
            topic,
            severity,
            text: text.into(),
            remedy: None,
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Finding {
        self.remedy = Some(remedy.into());
        self
    }
}

/// Everything that was found out about a directory.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
    /// The directory, absolute, without symbolic links as far as it exists.
    pub directory: PathBuf,
    /// False: it is not there yet, and what holds it was examined.
    pub exists: bool,
    /// The mount that holds it.
    pub mount: Option<Mount>,
    /// Who has the journal, if there is one.
    pub holder: Option<Holder>,
    /// Room.
    pub space: Option<Space>,
    /// Times of operations.
    pub speed: Option<Speed>,
    /// What was found, by topic.
    pub findings: Vec<Finding>,
    /// Takeover times to expect, for each cause.
    pub takeover: Vec<Expectation>,
}

impl Examination {
    /// The worst of its findings.
    #[must_use]
    pub fn worst(&self) -> Severity {
        let severities = self.findings.iter().map(|finding| finding.severity);
        severities.max().unwrap_or(Severity::Good)
    }
}

/// Why a directory cannot be examined.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// There is something else of that name.
    #[error("`{}` is not a directory: give the directory that holds the journal, or will hold it", .0.display())]
    NotADirectory(PathBuf),
    /// It, and what would hold it, cannot be looked at.
    #[error("cannot examine `{}`: {source}", path.display())]
    Io {
        /// What was looked at.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Examines `directory` for a pair with `settings`. `helper` starts the second process. `tell` hears
/// what is being done, for whoever watches. Blocks for seconds, and without limit where the storage
/// does not answer.
///
/// # Errors
/// [`ExamineError`] when there is nothing to examine; what is wrong with the directory is a finding.
pub fn examine(
    directory: &Path,
    settings: &Settings,
    helper: &Helper,
    tell: &dyn Fn(&str),
) -> Result<Examination, ExamineError> {
    let io = |source| ExamineError::Io {
        path: directory.to_owned(),
        source,
    };
    tell("mount");
    let place = place::find(directory)?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").map_err(io)?;
    let mount = mount_of(&mountinfo, &place.existing);
    let recover = fs::read_to_string(RECOVER_LOST_LOCKS).ok();
    let mut findings = place.findings();
    match &mount {
        Some(mount) => findings.extend(judge_mount(mount, recover.as_deref())),
        None => findings.push(Finding::new(
            "mount",
            Severity::Warning,
            "the mount that holds the directory is not in /proc/self/mountinfo, so its options are unknown",
        )),
    }
    let is_nfs = mount.as_ref().is_some_and(Mount::is_nfs);
    let holder = holder::look(&place.existing).filter(|_| place.exists);
    findings.extend(holder.iter().map(holder::Holder::finding));
    tell("space");
    let space = space::measure(&place.existing).ok();
    findings.extend(space.iter().flat_map(|space| space.judge(settings)));
    let speed = examine_by_files(&place, is_nfs, settings, helper, tell, &mut findings);
    tell("clock");
    findings.extend(clock::judge(settings.clock_drift_permille));
    let storage = Storage {
        is_nfs,
        sync_ms: speed.as_ref().map_or(1.0, |speed| speed.append.p50_ms),
    };
    findings.extend(takeover::judge(settings, storage));
    Ok(Examination {
        directory: place.asked.clone(),
        exists: place.exists,
        mount,
        holder,
        space,
        speed,
        findings,
        takeover: expectations(settings, storage),
    })
}

/// What takes files of its own: the trials of locks and the times of operations.
fn examine_by_files(
    place: &place::Place,
    is_nfs: bool,
    settings: &Settings,
    helper: &Helper,
    tell: &dyn Fn(&str),
    findings: &mut Vec<Finding>,
) -> Option<Speed> {
    let bench = match place.bench() {
        Ok(bench) => bench,
        Err(error) => {
            findings.push(
                Finding::new(
                    "files",
                    Severity::Bad,
                    format!(
                        "this user cannot create files in `{}`: {error}; locks and speed were not tried",
                        place.existing.display()
                    ),
                )
                .remedy("give the broker's user the right to read and write it, or examine it as that user"),
            );
            return None;
        }
    };
    tell("locks, with a second process");
    findings.extend(trial::try_all(bench.path(), is_nfs, helper));
    tell("speed");
    let speed = match speed::measure(bench.path()) {
        Ok(speed) => {
            findings.extend(speed.judge(settings));
            Some(speed)
        }
        Err(error) => {
            findings.push(Finding::new(
                "speed",
                Severity::Bad,
                format!("a file cannot be written and synced: {error}"),
            ));
            None
        }
    };
    if let Err(error) = bench.remove() {
        findings.push(
            Finding::new(
                "files",
                Severity::Warning,
                format!("the files of this examination could not be removed: {error}"),
            )
            .remedy("remove the directories `.baton-doctor-*` by hand"),
        );
    }
    speed
}
