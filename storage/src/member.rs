//! One broker's membership in the pair: follows as standby, takes over, serves, is fenced.
//!
//! Each activity that touches storage has a thread of its own, because any call to storage can
//! block without limit: attempts to lock, looks at the lease, following the journal, renewals. The
//! *control* thread never touches storage. It alone decides, watches the clock, and says what happens.
//! A member that has ended leaves threads behind that are stuck in storage; they share nothing with
//! the next member but the process, and close their files as soon as they come back.

use std::sync::Arc;
use std::time::Duration;

use crate::cipher::{KeyError, Keyring};
use crate::clock::Clock;
use crate::disk::{Disk, OpenDirectoryError};
use crate::journal::{InFlight, SyncMethod};
use crate::position::{Epoch, Lsn};
use crate::recovery::RecoveryProgress;
use crate::store::{SpaceStatus, Store};

mod control;
mod follow;
mod lock;
mod mailbox;
mod renew;
mod shared;
mod watch;

use self::control::Input;
use self::shared::Shared;

/// Whether a standby may take over although the old active's lock is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Takeover {
    /// Only with the locks: for those who cannot bound their clocks.
    Lock,
    /// Also when the lease has run out.
    LockOrLease,
}

/// What proves to an active that it may acknowledge what is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Its lease: enough as long as a host's clock counts the time in which the host did not run.
    Lease,
    /// Its lease, and a look for newer claims between the sync of a batch and its acknowledgement: for
    /// hosts that can be paused together with their clocks.
    Strict,
}

/// How a member behaves. All durations are bounds that both brokers must share.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The broker's name, for the lock file, the lease and the claims.
    pub name: String,
    /// How long a renewal allows acknowledging. On NFS shorter than the server's own lease.
    pub lease_duration: Duration,
    /// Time between renewals; well below the lease duration.
    pub renewal_interval: Duration,
    /// Time between two attempts of a standby to get the lock.
    pub lock_poll_interval: Duration,
    /// Time between two looks of a standby at the journal.
    pub tail_poll_interval: Duration,
    /// How much faster or slower another host's clock may run, in parts per thousand.
    pub clock_drift_permille: u32,
    /// Which takeovers are allowed.
    pub takeover: Takeover,
    /// What is asked before anything is acknowledged.
    pub fence: Fence,
    /// Bytes of a journal segment; a larger record gets one of its own.
    pub segment_bytes: u32,
    /// Journal bytes between two checkpoints.
    pub checkpoint_bytes: u64,
    /// The keys with which the journal is read and written; none: it is plain.
    pub keys: Keyring,
    /// Fill new segments with zeros ahead: halves the latency on local disks, useless on NFS.
    pub preallocate: bool,
    /// Batches in flight at once, where storage is far away and bears it.
    pub in_flight: InFlight,
    /// How a batch is made durable.
    pub sync: SyncMethod,
}

/// Why a standby takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The directory had no journal.
    FirstStart,
    /// The locks were free.
    Lock,
    /// The lease was not renewed.
    Lease,
}

/// Why an active lost its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceReason {
    /// Another broker claimed a newer epoch.
    NewerClaim(Epoch),
    /// The lease ran out before a renewal succeeded.
    LeaseExpired,
    /// Storage failed: the lock is lost or the disk is bad.
    Storage(String),
}

/// What happens to a member, in order.
pub enum Event {
    /// It follows the journal.
    Standby,
    /// It has what it needs and takes over.
    TakingOver {
        /// Why.
        cause: Cause,
        /// The epoch it claimed.
        epoch: Epoch,
    },
    /// It may serve.
    Active(Arc<Store>),
    /// It must close everything; the member has ended.
    Fenced(FenceReason),
    /// It let everything go as asked; the member has ended.
    Released,
    /// The journal is encrypted with a key that it was not given; the member has ended.
    KeyMissing(KeyError),
    /// A thread panicked or the directory is unusable; the member has ended.
    Failed(String),
}

/// What a member knows, for status pages.
#[derive(Clone, Debug, Default)]
pub struct MemberStatus {
    /// The newest epoch seen.
    pub epoch: Epoch,
    /// What the lease block says of its writer: name, host and pid.
    pub holder: Option<String>,
    /// Time since the lease block changed, as seen here; for the active: since its last successful renewal started.
    pub lease_age: Option<Duration>,
    /// The last LSN applied (standby) or released (active).
    pub lsn: Lsn,
    /// Journal bytes not yet applied, and for how long: how far the standby is behind.
    pub behind_bytes: u64,
    /// Time since the standby last had all there was.
    pub behind: Duration,
    /// How far it has come with reading the journal, before it follows and in a takeover; else None.
    pub recovery: Option<RecoveryProgress>,
    /// Whether the active has space for messages; None on a standby.
    pub space: Option<SpaceStatus>,
}

/// See the module.
pub struct Member {
    shared: Arc<Shared>,
}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used, or its mount cannot protect a journal.
    #[error("cannot use the journal directory: {0}")]
    Directory(#[from] OpenDirectoryError),
    /// The journal is damaged.
    #[error("{0}")]
    Journal(String),
    /// An option is out of bounds.
    #[error("{0}")]
    Options(String),
}

/// Parts of the protocol left out on purpose, so that the simulation can show that it would notice.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Acknowledgements do not depend on the lease.
    pub no_gate: bool,
    /// Readers go on behind the end that a seal gives the old epoch.
    pub no_seal: bool,
    /// The new tenure goes on in the old epoch.
    pub old_epoch: bool,
    /// `lock` alone is enough for a fast takeover.
    pub no_old_locks: bool,
    /// A renewal does not look for newer claims.
    pub no_claim_check: bool,
    /// Nobody waits after a claim.
    pub no_wait: bool,
    /// A renewal does not look whether the file under the claim's name is its own.
    pub claim_by_name: bool,
    /// A renewal counts from its end.
    pub renewal_counts_from_end: bool,
    /// Batches are released as they arrive, whatever is missing before them.
    pub unordered: bool,
}

impl Member {
    /// Starts the threads; `on_event` is called from one of them, in order, and should not block.
    /// Touches no storage itself.
    ///
    /// # Errors
    /// [`StartError::Options`]
    pub fn start(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: MemberOptions,
        on_event: Box<dyn Fn(Event) + Send + Sync>,
    ) -> Result<Member, StartError> {
        Self::start_sabotaged(disk, clock, options, Sabotage::default(), on_event)
    }

    /// [`Member::start`], broken on purpose.
    ///
    /// # Errors
    /// [`StartError::Options`]
    #[doc(hidden)]
    pub fn start_sabotaged(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: MemberOptions,
        sabotage: Sabotage,
        on_event: Box<dyn Fn(Event) + Send + Sync>,
    ) -> Result<Member, StartError> {
        options.check().map_err(StartError::Options)?;
        let shared = Shared::new(disk, clock, options, sabotage);
        control::spawn(&shared, on_event);
        lock::spawn(&shared);
        watch::spawn(&shared);
        follow::spawn(&shared);
        renew::spawn(&shared);
        Ok(Member { shared })
    }

    /// What it knows at this moment; never blocks on storage.
    #[must_use]
    pub fn status(&self) -> MemberStatus {
        self.shared.status()
    }

    /// Ends the membership by plan: writes what was appended, writes a last checkpoint if that is
    /// quick, lets the locks go. Returns at once; [`Event::Released`] follows.
    pub fn release(&self) {
        self.shared.control.push(Input::Release);
    }
}

impl Drop for Member {
    /// Without a release before: ends the membership by force.
    fn drop(&mut self) {
        self.shared.control.push(Input::Dropped);
    }
}

impl MemberOptions {
    /// Says which option is out of bounds, how, and what would do.
    fn check(&self) -> Result<(), String> {
        const NAME_BYTES_MAX: usize = crate::tenure::lease::NAME_BYTES_MAX;
        /// Each has a thread of its own.
        const IN_FLIGHT_MAX: usize = 64;
        const LEASE_MIN: Duration = Duration::from_millis(50);
        const LEASE_MAX: Duration = Duration::from_secs(3600);
        let name = &self.name;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(format!(
                "`name` is `{}`: give 1 to {NAME_BYTES_MAX} bytes without control characters",
                name.escape_debug()
            ));
        }
        let lease = self.lease_duration;
        if !(LEASE_MIN..=LEASE_MAX).contains(&lease) {
            return Err(format!(
                "`lease` is {lease:?}: give {LEASE_MIN:?} to {LEASE_MAX:?}"
            ));
        }
        let intervals = [
            ("renewal", self.renewal_interval, lease / 2),
            ("lock_poll", self.lock_poll_interval, lease),
            ("tail_poll", self.tail_poll_interval, lease),
        ];
        for (option, interval, bound) in intervals {
            if interval < Duration::from_millis(1) || interval >= bound {
                return Err(format!(
                    "`{option}` is {interval:?}: give at least 1ms and less than {bound:?} (`lease` is {lease:?})"
                ));
            }
        }
        let drift = self.clock_drift_permille;
        if drift > 500 {
            return Err(format!(
                "`clock_drift_permille` is {drift}: give 0 to 500; clocks that differ more need `takeover = \"lock\"`"
            ));
        }
        let (least, most) = (
            crate::segment::SEGMENT_BYTES_MIN,
            crate::segment::SEGMENT_BYTES_MAX,
        );
        let segment = self.segment_bytes;
        if !(least..=most).contains(&segment) {
            return Err(format!(
                "`segment_size` is {segment} bytes: give {least} to {most}"
            ));
        }
        let in_flight = self.in_flight.most();
        if !(1..=IN_FLIGHT_MAX).contains(&in_flight) {
            return Err(format!(
                "`in_flight` is {in_flight}: give 1 to {IN_FLIGHT_MAX} batches"
            ));
        }
        if self.checkpoint_bytes == 0 {
            return Err("`checkpoint_every` is 0 bytes: give at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
