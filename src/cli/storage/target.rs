//! What is measured: a real directory, or one that is as slow as a profile says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use storage::clock::{Clock, RealClock};
use storage::disk::{Disk, RealDisk};
use storage::latency::{LatencyDisk, Profile, Protocol};

use crate::config;

/// A directory in memory: profiles add all of their time themselves there.
const MEMORY: &str = "/dev/shm";
/// The name of the usual directory for temporary files, as it is.
const LOCAL: &str = "local";

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As the user named it.
    pub(super) name: String,
    /// Where a directory for the test is made.
    pub(super) base: PathBuf,
    pub(super) profile: Option<Profile>,
}

impl Target {
    /// A profile's name, `local`, or a directory.
    pub(super) fn parse(
        name: &str,
        config: &config::Storage,
        lab: Option<&Path>,
    ) -> anyhow::Result<Target> {
        let target = |base: PathBuf, profile| Target {
            name: name.to_owned(),
            base,
            profile,
        };
        if name == LOCAL {
            let base = lab.map_or_else(std::env::temp_dir, Path::to_owned);
            return Ok(target(base, None));
        }
        match config.find(name) {
            Ok(profile) => {
                let base = lab.map_or_else(memory, Path::to_owned);
                Ok(target(base, Some(profile.clone())))
            }
            Err(_) if Path::new(name).is_dir() => Ok(target(PathBuf::from(name), None)),
            Err(_) if name.contains('/') => Err(anyhow!(
                "`{name}` is no directory: create it, or give the name of a profile"
            )),
            Err(advice) => Err(anyhow!("`{name}` is no directory, and {advice}")),
        }
    }

    /// A new directory in the target's.
    pub(super) fn directory(&self) -> anyhow::Result<Scratch> {
        Scratch::new(&self.base)
    }

    /// Whether a broker would fill segments with zeros ahead in a directory.
    pub(super) fn fills_ahead(&self, directory: &Path) -> anyhow::Result<bool> {
        let is_efs = |profile: &Profile| profile.protocol == Protocol::Nfs;
        let is_boundless = RealDisk::open(directory)?.is_boundless();
        Ok(!is_boundless && !self.profile.as_ref().is_some_and(is_efs))
    }

    /// A disk on a directory, with the profile.
    pub(super) fn disk(&self, directory: &Path) -> anyhow::Result<(Arc<dyn Disk>, Arc<dyn Clock>)> {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let real: Arc<dyn Disk> = Arc::new(RealDisk::open(directory)?);
        let disk = match &self.profile {
            None => real,
            Some(profile) => {
                let (clock, profile) = (Arc::clone(&clock), profile.clone());
                Arc::new(LatencyDisk::new(
                    real,
                    clock,
                    profile,
                    u64::from(std::process::id()),
                ))
            }
        };
        Ok((disk, clock))
    }
}

/// Where there is memory to write to, or the directory for temporary files.
pub(super) fn memory() -> PathBuf {
    let memory = PathBuf::from(MEMORY);
    let is_there = memory.is_dir();
    if is_there {
        memory
    } else {
        std::env::temp_dir()
    }
}

/// A directory of our own, removed with all that is in it when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(base: &Path) -> anyhow::Result<Scratch> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("baton-lab-{}-{number}", std::process::id()));
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot create the directory `{}`", path.display()))?;
        Ok(Scratch(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A broker that was killed a moment ago may still have written.
        let removed = std::fs::remove_dir_all(&self.0).or_else(|_| {
            std::thread::sleep(Duration::from_millis(200));
            std::fs::remove_dir_all(&self.0)
        });
        if let Err(error) = removed {
            let path = self.0.display();
            eprintln!("baton: cannot remove `{path}`: {error}: remove it");
        }
    }
}
