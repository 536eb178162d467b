//! Asks for the locks: all of them before a takeover, the missing ones after it.
//!
//! The descriptors live and die on this thread, because closing one can block, too.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::{info, warn};

use super::control::Input;
use super::shared::{self, Shared};
use crate::chain::survey;
use crate::disk::DiskFile;
use crate::position::Epoch;
use crate::tenure::lock::{Attempt, Locks, announce, attempt, take, take_lock, writable_paths};

pub(super) enum LockCommand {
    /// This epoch is claimed: its lock is ours already.
    Own(Epoch),
    /// Let everything go and ask again.
    LetGo,
    /// The tenure has begun: keep `lock`, or go on asking for it.
    Keep(Epoch),
    /// Let everything go for good and say so.
    Unlock,
}

enum Mode {
    /// Asks for everything.
    Seeking,
    /// Has everything.
    Holding(Locks),
    /// The tenure has begun.
    Keeping {
        epoch: Epoch,
        lock: Option<Box<dyn DiskFile>>,
        /// Old files whose locks somebody still holds.
        missing: Vec<PathBuf>,
    },
    Done,
}

struct LockThread<'a> {
    shared: &'a Shared,
    mode: Mode,
    own: Option<Epoch>,
    let_go: u64,
    /// Having just let go, it does not ask again at once.
    is_pausing: bool,
    /// What went wrong last, to say it once.
    trouble: Option<String>,
}

pub(super) fn spawn(shared: &Arc<Shared>) {
    shared::spawn(shared, "lock", |shared| {
        let mut thread = LockThread {
            shared,
            mode: Mode::Seeking,
            own: None,
            let_go: 0,
            is_pausing: false,
            trouble: None,
        };
        while !shared.is_ended() {
            while let Some(command) = shared.lock.pop() {
                thread.obey(command);
            }
            thread.work();
            shared.lock.wait(thread.pause());
        }
    });
}

impl LockThread<'_> {
    fn pause(&self) -> Option<std::time::Duration> {
        match &self.mode {
            Mode::Seeking => Some(self.shared.options.lock_poll_interval),
            Mode::Keeping { lock, missing, .. } if lock.is_none() || !missing.is_empty() => {
                Some(self.shared.options.lock_poll_interval)
            }
            _ => None,
        }
    }

    fn obey(&mut self, command: LockCommand) {
        match command {
            LockCommand::Own(epoch) => self.own = Some(epoch),
            LockCommand::LetGo => {
                self.own = None;
                self.let_go += 1;
                self.is_pausing = true;
                self.mode = Mode::Seeking;
            }
            LockCommand::Keep(epoch) => self.keep(epoch),
            LockCommand::Unlock => {
                self.mode = Mode::Done;
                self.shared.control.push(Input::Unlocked);
            }
        }
    }

    fn work(&mut self) {
        if self.shared.is_ended() || std::mem::take(&mut self.is_pausing) {
            return;
        }
        match &mut self.mode {
            Mode::Seeking => self.seek(),
            Mode::Keeping { .. } => {
                if let Err(error) = self.ask_for_missing() {
                    self.complain(format!("cannot ask for the old locks: {error}"));
                }
            }
            Mode::Holding(_) | Mode::Done => {}
        }
    }

    fn seek(&mut self) {
        let shared = self.shared;
        let read = *shared.read_segment.lock();
        let needs_old = !shared.sabotage.no_old_locks;
        match attempt(&*shared.disk, self.own, read, needs_old) {
            Ok(Attempt::All(locks)) => {
                self.trouble = None;
                shared.control.push(Input::Locked {
                    highest: locks.highest,
                    is_new: locks.is_new,
                    let_go: self.let_go,
                });
                self.mode = Mode::Holding(locks);
            }
            Ok(Attempt::Held) => self.trouble = None,
            Ok(Attempt::Partly(path)) => self.complain(format!(
                "`lock` is free, but somebody holds `{}`; waiting for that or for the lease",
                path.display()
            )),
            Err(error) => self.complain(format!("cannot ask for the locks: {error}")),
        }
    }

    fn complain(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            warn!(%trouble, "The locks cannot be had.");
            self.trouble = Some(trouble);
        }
    }

    fn keep(&mut self, epoch: Epoch) {
        let lock = match std::mem::replace(&mut self.mode, Mode::Done) {
            Mode::Holding(locks) => Some(locks.lock),
            _ => None,
        };
        let mut missing = Vec::new();
        match &lock {
            Some(lock) => self.announce(&**lock, epoch),
            None => missing = self.old_paths(epoch).unwrap_or_default(),
        }
        self.mode = Mode::Keeping {
            epoch,
            lock,
            missing,
        };
    }

    fn announce(&self, lock: &dyn DiskFile, epoch: Epoch) {
        let shared = self.shared;
        if let Err(error) = announce(lock, &shared.holder, epoch, shared.clock.wall_ms()) {
            warn!(%error, "Cannot write into `lock` who holds it.");
        }
    }

    /// The files that whoever was deposed may still have locked.
    fn old_paths(&self, epoch: Epoch) -> io::Result<Vec<PathBuf>> {
        let mut survey = survey(&*self.shared.disk)?;
        survey.segments.retain(|segment| segment.epoch < epoch);
        survey.claims.clear();
        Ok(writable_paths(
            &survey,
            None,
            *self.shared.read_segment.lock(),
        ))
    }

    /// Asking is what makes a server take the locks away from a host that is gone.
    fn ask_for_missing(&mut self) -> io::Result<()> {
        let shared = self.shared;
        let Mode::Keeping {
            epoch,
            lock,
            missing,
        } = &mut self.mode
        else {
            return Ok(());
        };
        if lock.is_none()
            && let Some(file) = take_lock(&*shared.disk)?
        {
            info!(%epoch, "Got `lock` after the takeover.");
            announce(&*file, &shared.holder, *epoch, shared.clock.wall_ms())?;
            *lock = Some(file);
        }
        let mut still_missing = Vec::new();
        for path in missing.drain(..) {
            // A file that is gone needs no lock.
            let is_there = match take(&*shared.disk, &path) {
                Ok(file) => {
                    file.is_none() && shared.disk.open(&path, crate::disk::Open::Read).is_ok()
                }
                Err(_) => true,
            };
            if is_there {
                still_missing.push(path);
            }
        }
        *missing = still_missing;
        Ok(())
    }
}
