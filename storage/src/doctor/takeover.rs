//! Takeover times to expect, by arithmetic: pure. The protocol's part follows from `[tenure]`
//! (see [`crate::tenure`]); what the NFS server adds was measured (tests/nfs-lab/FACTS.md).

use serde::Serialize;

use super::{Finding, Severity};
use crate::member::Takeover;

/// What the pair is configured to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// `tenure.lease`, in milliseconds.
    pub lease_ms: u64,
    /// `tenure.renewal`, in milliseconds.
    pub renewal_ms: u64,
    /// `tenure.lock_poll`, in milliseconds.
    pub lock_poll_ms: u64,
    /// `tenure.clock_drift_permille`.
    pub clock_drift_permille: u32,
    /// `tenure.takeover`.
    pub takeover: Takeover,
    /// `journal.segment_size`, in bytes.
    pub segment_bytes: u64,
    /// `journal.checkpoint_every`, in bytes.
    pub checkpoint_bytes: u64,
    /// The NFS server's lease, in milliseconds: no client can ask for it.
    pub nfs_lease_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lease_ms: 5000,
            renewal_ms: 1000,
            lock_poll_ms: 50,
            clock_drift_permille: 10,
            takeover: Takeover::LockOrLease,
            segment_bytes: 64 << 20,
            checkpoint_bytes: 256 << 20,
            nfs_lease_ms: 90_000,
        }
    }
}

/// What the storage is like, as far as takeovers depend on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storage {
    /// Locks of a host that is gone go by the server's lease.
    pub is_nfs: bool,
    /// Median time of a durable write, in milliseconds.
    pub sync_ms: f64,
}

/// How long the other broker takes to serve after one kind of fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expectation {
    /// What happens to the active.
    pub cause: &'static str,
    /// From the fault until the other broker serves, in seconds; None: never by itself.
    pub least_s: Option<f64>,
    /// The same at most.
    pub most_s: Option<f64>,
    /// How the times come about.
    pub why: String,
}

/// Durable writes and opens of a takeover with the state at hand: claim, rewrite of the last batch,
/// first segment, seal, first renewal.
const WRITES_OF_A_TAKEOVER: f64 = 12.0;
/// Work of a takeover that is not waiting for storage.
const WORK_MS: f64 = 20.0;
/// FACTS, takeover time: the lock is free between the server's lease and this much more.
const NFS_EXPIRY_MS: f64 = 2000.0;

/// Takeover times for each cause.
#[must_use]
pub fn expectations(settings: &Settings, storage: Storage) -> Vec<Expectation> {
    let of_lock = by_lock(settings, storage);
    let mut all = vec![
        Expectation {
            cause: "process killed, or ended by itself",
            ..of_lock.clone()
        },
        Expectation {
            cause: "planned switchover (SIGTERM)",
            why: format!("the active writes what it has, then: {}", of_lock.why),
            ..of_lock
        },
        Expectation {
            cause: "process frozen, its host up",
            ..by_lease(settings, storage)
        },
    ];
    let of_host = if storage.is_nfs {
        sooner(by_lease(settings, storage), by_nfs_lease(settings, storage))
    } else {
        Expectation {
            why: format!(
                "if the other broker runs on another host that sees this disk: {}",
                by_lease(settings, storage).why
            ),
            ..by_lease(settings, storage)
        }
    };
    for cause in ["host lost or frozen", "host cut off from the storage"] {
        all.push(Expectation {
            cause,
            ..of_host.clone()
        });
    }
    if storage.is_nfs {
        all.push(server_restart(settings));
    }
    all
}

/// The process is gone and its host lets the locks go at once.
fn by_lock(settings: &Settings, storage: Storage) -> Expectation {
    let work = work_ms(storage);
    let poll = settings.lock_poll_ms as f64;
    Expectation {
        cause: "",
        least_s: Some(work / 1000.0),
        most_s: Some((poll + work) / 1000.0),
        why: format!(
            "up to one `lock_poll` ({}) until the lock is asked for, then {} of work: about {WRITES_OF_A_TAKEOVER} operations of {}",
            text(poll),
            text(work),
            text(storage.sync_ms)
        ),
    }
}

/// Nobody lets the locks go; the lease runs out, the claim waits it out once more.
fn by_lease(settings: &Settings, storage: Storage) -> Expectation {
    if settings.takeover == Takeover::Lock {
        return Expectation {
            cause: "",
            least_s: None,
            most_s: None,
            why: "`takeover = \"lock\"`: only when the lock is free".to_owned(),
        };
    }
    let lease = settings.lease_ms as f64;
    let renewal = settings.renewal_ms as f64;
    let drift = lease * f64::from(settings.clock_drift_permille) / 1000.0;
    let work = work_ms(storage);
    let least = lease - renewal + lease + drift + work;
    let most = lease + renewal / 2.0 + lease + drift + work;
    Expectation {
        cause: "",
        least_s: Some(least / 1000.0),
        most_s: Some(most / 1000.0),
        why: format!(
            "the lease unchanged for {}, counted from a renewal up to {} before the fault and looked at every {}; then a claim, which waits {} and {} for the clocks; then {} of work",
            text(lease),
            text(renewal),
            text(renewal / 2.0),
            text(lease),
            text(drift),
            text(work)
        ),
    }
}

/// The server takes the locks of a host that it does not hear of.
fn by_nfs_lease(settings: &Settings, storage: Storage) -> Expectation {
    let (lease, work) = (settings.nfs_lease_ms as f64, work_ms(storage));
    Expectation {
        cause: "",
        least_s: Some((lease - settings.renewal_ms as f64 + work) / 1000.0),
        most_s: Some((lease + NFS_EXPIRY_MS + settings.lock_poll_ms as f64 + work) / 1000.0),
        why: format!(
            "the server lets the locks go {} to {} after the host's last operation",
            text(lease),
            text(lease + NFS_EXPIRY_MS)
        ),
    }
}

/// Whichever of two ways ends first.
fn sooner(one: Expectation, other: Expectation) -> Expectation {
    let least = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    Expectation {
        cause: "",
        least_s: least(one.least_s, other.least_s),
        most_s: least(one.most_s, other.most_s),
        why: format!("the sooner of: {}; or {}", one.why, other.why),
    }
}

fn server_restart(settings: &Settings) -> Expectation {
    let grace = settings.nfs_lease_ms as f64;
    Expectation {
        cause: "NFS server restarted",
        least_s: Some(0.0),
        most_s: Some(2.0 * grace / 1000.0),
        why: format!(
            "no takeover where the server is back and both hosts have reclaimed within the lease ({}); locks of a host that does not come back are kept for the grace period, at most twice {}, its usual length. Nothing is acknowledged meanwhile",
            text(settings.lease_ms as f64),
            text(grace)
        ),
    }
}

fn work_ms(storage: Storage) -> f64 {
    WORK_MS + WRITES_OF_A_TAKEOVER * storage.sync_ms
}

fn text(ms: f64) -> String {
    if ms >= 1000.0 {
        format!("{} s", (ms / 10.0).round() / 100.0)
    } else if ms >= 10.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.2} ms")
    }
}

/// Settings that do not go with this storage.
pub(super) fn judge(settings: &Settings, storage: Storage) -> Vec<Finding> {
    let mut findings = Vec::new();
    let allowance = settings.lease_ms * u64::from(settings.clock_drift_permille) / 1000;
    if storage.is_nfs && settings.lease_ms + allowance >= settings.nfs_lease_ms {
        findings.push(
            Finding::new(
                "tenure",
                Severity::Bad,
                format!(
                    "`tenure.lease` ({}) is not shorter than the NFS server's lease ({}): after a loss of locks the old active could still acknowledge while the new one does",
                    text(settings.lease_ms as f64),
                    text(settings.nfs_lease_ms as f64)
                ),
            )
            .remedy("set a shorter `tenure.lease`; tell the server's lease with `--nfs-lease` if it is not 90 s"),
        );
    }
    if storage.is_nfs && settings.takeover == Takeover::Lock {
        findings.push(
            Finding::new(
                "tenure",
                Severity::Note,
                "`takeover = \"lock\"`: a frozen process keeps its lock, and nobody takes over until it is killed",
            )
            .remedy("set `lock_or_lease` if the clocks of both hosts run alike"),
        );
    }
    // A renewal is a durable write and a listing; several must fit in a lease.
    let renewal_ms = storage.sync_ms * 2.0;
    if renewal_ms * 4.0 > settings.lease_ms as f64 {
        findings.push(
            Finding::new(
                "tenure",
                Severity::Warning,
                format!(
                    "a renewal takes about {} here, too much of a lease of {}",
                    text(renewal_ms),
                    text(settings.lease_ms as f64)
                ),
            )
            .remedy("set a longer `tenure.lease`"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFS: Storage = Storage {
        is_nfs: true,
        sync_ms: 4.0,
    };

    fn times(cause: &str, settings: &Settings, storage: Storage) -> (Option<f64>, Option<f64>) {
        let all = expectations(settings, storage);
        let one = all.iter().find(|one| one.cause.starts_with(cause));
        one.map(|one| (one.least_s, one.most_s)).expect(cause)
    }

    #[test]
    fn a_killed_process_is_replaced_within_a_poll() {
        let (least, most) = times("process killed", &Settings::default(), NFS);
        assert_eq!((least, most), (Some(0.068), Some(0.118)));
    }

    #[test]
    fn a_frozen_process_is_replaced_after_about_two_leases() {
        let settings = Settings {
            lease_ms: 4000,
            renewal_ms: 800,
            ..Settings::default()
        };
        let (least, most) = times("process frozen", &settings, NFS);
        assert!((least.expect("some") - 7.308).abs() < 1e-9, "{least:?}");
        assert!((most.expect("some") - 8.508).abs() < 1e-9, "{most:?}");
    }

    #[test]
    fn a_lost_host_is_replaced_by_the_shorter_of_both_leases() {
        let settings = Settings {
            lease_ms: 20_000,
            nfs_lease_ms: 30_000,
            ..Settings::default()
        };
        let (_, most) = times("host lost", &settings, NFS);
        assert!((most.expect("some") - 32.118).abs() < 1e-9, "{most:?}");
        let (_, most) = times("process frozen", &settings, NFS);
        assert!(most.expect("some") > 40.0);
    }

    #[test]
    fn without_leases_a_frozen_process_is_never_replaced_and_a_lost_host_by_the_server() {
        let settings = Settings {
            takeover: Takeover::Lock,
            ..Settings::default()
        };
        assert_eq!(times("process frozen", &settings, NFS), (None, None));
        let (_, most) = times("host cut off", &settings, NFS);
        assert!(most.is_some_and(|most| most > 90.0 && most < 93.0));
    }

    #[test]
    fn a_lease_that_is_longer_than_the_servers_is_bad() {
        let settings = Settings {
            lease_ms: 10_000,
            nfs_lease_ms: 10_000,
            ..Settings::default()
        };
        let worst = |storage| {
            judge(&settings, storage)
                .iter()
                .map(|one| one.severity)
                .max()
        };
        assert_eq!(worst(NFS), Some(Severity::Bad));
        let local = Storage {
            is_nfs: false,
            sync_ms: 1.0,
        };
        assert_eq!(worst(local), None);
        let slow = Storage {
            is_nfs: false,
            sync_ms: 2000.0,
        };
        assert_eq!(worst(slow), Some(Severity::Warning));
    }
}
