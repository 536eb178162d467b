//! Starting, hearing and ending memberships of the pair, one after the other.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use storage::clock::{Clock, RealClock};
use storage::disk::{Disk, DiskCounters, MeteredDisk, OpenDirectoryError, RealDisk};
use storage::journal::InFlight;
use storage::latency::{LatencyDisk, Profile, Protocol};
use storage::member::StartError;
use storage::{Event, Keyring, Member, MemberOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Config;

/// A membership, or why there is none.
pub(super) type Started = Result<Arc<Member>, JoinError>;

/// Why a membership did not begin.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The directory is missing and cannot be created.
    #[error("cannot create the journal directory `{path}`: {error}: create it, or give another one with `--directory`", path = path.display())]
    Create {
        /// The directory as configured.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The directory cannot be used.
    #[error("cannot use the journal directory {0}")]
    Open(#[from] OpenDirectoryError),
    /// The journal or an option is no good.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The thread that was to start it panicked.
    #[error("the start of the membership panicked: {0}")]
    Panicked(tokio::task::JoinError),
}

/// The events of the present membership. What earlier ones still have to say is dropped.
pub(super) struct Inbox {
    generation: u64,
    sender: UnboundedSender<(u64, Event)>,
    receiver: UnboundedReceiver<(u64, Event)>,
}

impl Inbox {
    pub(super) fn new() -> Inbox {
        let (sender, receiver) = unbounded_channel();
        Inbox {
            generation: 0,
            sender,
            receiver,
        }
    }

    /// Starts a membership on a thread that may block; its events count from now on.
    pub(super) fn join(
        &mut self,
        config: Arc<Config>,
        keys: Keyring,
        traffic: Arc<DiskCounters>,
    ) -> JoinHandle<Started> {
        self.generation += 1;
        let (generation, sender) = (self.generation, self.sender.clone());
        let on_event = Box::new(move |event| {
            // The node has ended when nobody listens: there is nobody left to protect.
            let _ = sender.send((generation, event));
        });
        tokio::task::spawn_blocking(move || {
            let directory = &config.broker.directory.value;
            create_when_missing(directory)?;
            let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
            let disk = RealDisk::open(directory)?;
            // The NFS profiles are of Amazon EFS.
            let is_efs = |profile: &Profile| profile.protocol == Protocol::Nfs;
            let is_boundless = disk.is_boundless() || config.storage.latency().is_some_and(is_efs);
            let slowed = slowed(&config, Arc::new(disk), &clock);
            let disk = Arc::new(MeteredDisk::new(slowed, traffic));
            Ok(Arc::new(Member::start(
                disk,
                clock,
                options(&config, is_boundless, keys),
                on_event,
            )?))
        })
    }

    /// The events of the present membership count no more.
    pub(super) fn forget(&mut self) {
        self.generation += 1;
    }

    /// The next event; safe to cancel.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.receiver.recv().await {
                Some((generation, event)) if generation == self.generation => return event,
                Some(_) => {}
                // Cannot be: this end holds a sender.
                None => std::future::pending().await,
            }
        }
    }
}

/// Lets a membership go on a thread of its own: its end may wait for storage that hangs.
pub(super) fn end(member: Arc<Member>) {
    let ending = std::thread::Builder::new().name("end-membership".to_owned());
    if let Err(error) = ending.spawn(move || drop(member)) {
        tracing::error!(%error, "Cannot start a thread to end a membership.");
    }
}

/// The disk as the configured latency profile has it, if there is one.
fn slowed(config: &Config, disk: Arc<dyn Disk>, clock: &Arc<dyn Clock>) -> Arc<dyn Disk> {
    let Some(profile) = config.storage.latency() else {
        return disk;
    };
    tracing::warn!(
        profile = profile.name,
        write_mean_us = profile.write_mean().as_micros() as u64,
        "A latency profile slows the journal directory down. That is for labs, not for production."
    );
    // Two brokers with the same seed would have their slow moments in the same order.
    let seed = u64::from(std::process::id());
    Arc::new(LatencyDisk::new(
        disk,
        Arc::clone(clock),
        profile.clone(),
        seed,
    ))
}

/// Creates the directory itself, not what leads to it: a missing parent is a typing error or a
/// missing mount, and on the wrong disk two brokers would not see each other.
fn create_when_missing(directory: &Path) -> Result<(), JoinError> {
    match std::fs::create_dir(directory) {
        Ok(()) => {
            tracing::warn!(
                directory = %directory.display(),
                "Created the journal directory. Both brokers must see this very directory."
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(JoinError::Create {
            path: directory.to_owned(),
            error,
        }),
    }
}

fn options(config: &Config, is_boundless: bool, keys: Keyring) -> MemberOptions {
    let (tenure, journal) = (&config.tenure, &config.journal);
    MemberOptions {
        name: config.broker.name.value.clone(),
        lease_duration: tenure.lease.value.duration(),
        renewal_interval: tenure.renewal.value.duration(),
        lock_poll_interval: tenure.lock_poll.value.duration(),
        tail_poll_interval: tenure.tail_poll.value.duration(),
        clock_drift_permille: tenure.clock_drift_permille.value,
        takeover: tenure.takeover.value,
        fence: tenure.fence.value,
        segment_bytes: u32::try_from(journal.segment_size.value.0).unwrap_or(u32::MAX),
        checkpoint_bytes: journal.checkpoint_every.value.0,
        keys,
        preallocate: journal.preallocate.value.applies(is_boundless),
        in_flight: InFlight::UpTo(journal.in_flight.value as usize),
        sync: journal.sync.value,
    }
}

/// Pauses between memberships: 100 ms after one that lasted; after those that ended at once,
/// doubling to 5 s, and then no more.
pub(super) struct Backoff {
    attempts: u32,
    attempts_max: u32,
    has_followed: bool,
    begun: Option<Instant>,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);
    /// A membership of this length did not end at once.
    const LASTING: Duration = Duration::from_secs(20);

    pub(super) fn new(attempts_max: u32) -> Backoff {
        Backoff {
            attempts: 0,
            attempts_max,
            has_followed: false,
            begun: None,
        }
    }

    /// True until the journal was followed once: failures are the configuration's until then.
    pub(super) fn is_first(&self) -> bool {
        !self.has_followed
    }

    /// A membership begins.
    pub(super) fn begun(&mut self, now: Instant) {
        self.begun = Some(now);
    }

    /// The membership followed or served.
    pub(super) fn followed(&mut self) {
        self.has_followed = true;
    }

    /// The pause before the next attempt; None when it is time to give up.
    pub(super) fn next(&mut self, now: Instant) -> Option<Duration> {
        if self
            .begun
            .take()
            .is_some_and(|begun| now - begun >= Backoff::LASTING)
        {
            self.attempts = 0;
        }
        if self.attempts == self.attempts_max {
            return None;
        }
        let pause = Backoff::FIRST * 2_u32.saturating_pow(self.attempts);
        self.attempts += 1;
        Some(pause.min(Backoff::LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds_and_end() {
        let now = Instant::now();
        let mut backoff = Backoff::new(8);
        let pauses: Vec<u128> = std::iter::from_fn(|| backoff.next(now))
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_membership_that_lasted_starts_the_pauses_anew_and_a_short_one_does_not() {
        let now = Instant::now();
        let mut backoff = Backoff::new(3);
        assert_eq!(backoff.next(now), Some(Duration::from_millis(100)));
        backoff.begun(now);
        backoff.followed();
        assert_eq!(
            backoff.next(now + Duration::from_secs(1)),
            Some(Duration::from_millis(200))
        );
        backoff.begun(now);
        assert_eq!(
            backoff.next(now + Duration::from_secs(60)),
            Some(Duration::from_millis(100))
        );
    }

    #[test]
    fn the_first_start_is_over_once_the_journal_was_followed() {
        let mut backoff = Backoff::new(3);
        assert!(backoff.is_first());
        backoff.followed();
        assert!(!backoff.is_first());
    }
}
