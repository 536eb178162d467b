//! One broker's membership in the pair: follows as standby, takes over, serves, is fenced.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::disk::Disk;
use crate::position::{Epoch, Lsn};
use crate::store::Store;

/// Whether a standby may take over although the old active's lock is still held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// Only with the locks: for those who cannot bound their clocks.
    Lock,
    /// Also when the lease has run out.
    LockOrLease,
}

/// How a member behaves. All durations are bounds that both brokers must share.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The broker's name, for the lock file, the lease and the claims.
    pub name: String,
    /// How long a renewal allows acknowledging.
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
    /// Bytes of a journal segment; also bounds a record.
    pub segment_bytes: u32,
    /// Journal bytes between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Fill new segments with zeros ahead: halves the latency on local disks, useless on NFS.
    pub preallocate: bool,
}

/// Why a standby takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// See the module.
pub struct Member {}

/// Why a member did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory cannot be used.
    #[error("cannot use the journal directory: {0}")]
    Directory(std::io::Error),
    /// The mount cannot protect the journal.
    #[error("{0}")]
    Mount(String),
    /// The journal is damaged.
    #[error("{0}")]
    Journal(String),
    /// An option is out of bounds.
    #[error("{0}")]
    Options(String),
}

impl Member {
    /// Starts the threads; `on_event` is called from them, in order.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        options: MemberOptions,
        on_event: Box<dyn Fn(Event) + Send + Sync>,
    ) -> Result<Member, StartError> {
        let _ = (disk, clock, options, on_event);
        unimplemented!()
    }

    /// What it knows at this moment; never blocks on storage.
    #[must_use]
    pub fn status(&self) -> MemberStatus {
        unimplemented!()
    }

    /// Ends the membership by plan: writes what was appended, writes a last checkpoint if that is
    /// quick, lets the locks go. [`Event::Released`] follows.
    pub fn release(&self) {
        unimplemented!()
    }
}
