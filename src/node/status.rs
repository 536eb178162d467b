//! What a broker tells about itself: the JSON of `/status`, and whether it is healthy.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use storage::disk::DiskTraffic;

use super::recovery::Recovery;
use super::role::Role;

/// The JSON document of `/status`. Times are milliseconds; `*_at_ms` are since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The broker's configured name.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Time since the process began.
    pub uptime_ms: u64,
    /// The role now.
    pub role: Role,
    /// When it got the role.
    pub role_since_at_ms: u64,
    /// How long it has had the role.
    pub role_age_ms: u64,
    /// The newest epoch it knows.
    pub epoch: u64,
    /// The journal directory as configured.
    pub directory: String,
    /// The latency profile that slows the directory down, in a lab.
    #[serde(default)]
    pub storage_profile: Option<String>,
    /// The keys of an encrypted journal; null if this broker has none.
    #[serde(default)]
    pub encryption: Option<Encryption>,
    /// What was asked of the directory since the process began.
    #[serde(default)]
    pub storage: DiskTraffic,
    /// Whether all is well in this role.
    pub health: Health,
    /// What the shared directory says of the active.
    pub lock: Lock,
    /// The last position applied (standby) or released (active).
    pub lsn: u64,
    /// How far a standby is behind; null on an active.
    pub behind: Option<Behind>,
    /// The space in the journal directory as the active sees it; null on a standby.
    pub space: Option<Space>,
    /// How often each role was taken on, and the latest changes.
    pub transitions: Transitions,
    /// Open messaging addresses: none on a standby.
    pub listeners: Vec<String>,
    /// The address that answers this.
    pub http: Option<String>,
    /// Pending messages by queue; only an active knows.
    pub queues: Vec<Queue>,
    /// Connections and destinations of an active, as the broker describes them.
    pub broker: Option<serde_json::Value>,
}

/// The keys that a broker has, by their names. Both brokers should show the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encryption {
    /// The key with which it writes as the active; null: it writes plain.
    pub writes_with: Option<String>,
    /// All keys with which it reads.
    pub reads_with: Vec<String>,
}

/// Whether all is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// False: an operator should look.
    pub healthy: bool,
    /// Why not.
    pub reason: Option<String>,
    /// What an operator should know although the broker does what its role asks: restarting it would
    /// heal nothing.
    pub warning: Option<String>,
    /// How far the reading of the journal is, at a start and in a takeover; else null.
    #[serde(default)]
    pub recovery: Option<Recovery>,
}

/// Who holds the journal, as far as this broker sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// What the lease says of its writer.
    pub holder: Option<String>,
    /// Time since the lease was last seen to change.
    pub lease_age_ms: Option<u64>,
}

/// How far a standby is behind the active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// Journal bytes not applied yet.
    pub bytes: u64,
    /// Time since it had applied all there was.
    pub ms: u64,
}

/// Whether there is space for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Messages are refused for lack of space; consumers go on.
    pub full: bool,
    /// Bytes free when the active looked last.
    pub free_bytes: u64,
    /// Since when it is full.
    pub full_since_at_ms: Option<u64>,
}

/// Past changes of role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transitions {
    /// How often each role was taken on.
    pub counts: BTreeMap<Role, u64>,
    /// The latest, oldest first.
    pub recent: Vec<Transition>,
}

/// One change of role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at_ms: u64,
    /// The role before.
    pub from: Role,
    /// The role after.
    pub to: Role,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// Why.
    pub cause: String,
    /// How long the role before had lasted.
    pub after_ms: u64,
}

/// A queue's backlog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// Messages not acknowledged yet.
    pub pending: u64,
}

/// What health is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signs {
    pub role: Role,
    /// How long the role has lasted.
    pub role_age: Duration,
    /// As the membership tells it; None before there is one.
    pub lease_age: Option<Duration>,
    /// Time since a standby had all there was.
    pub behind: Duration,
    /// The configured lease.
    pub lease: Duration,
    /// How far the reading of the journal is.
    pub recovery: Option<Recovery>,
    /// The space, and now in milliseconds since 1970.
    pub space: Option<Space>,
    pub now_ms: u64,
}

/// A start that reads nothing of the journal is late after this.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// A start or takeover may read as long as it takes, but not stand still for so long.
const STALL_PATIENCE: Duration = Duration::from_secs(10);
/// A takeover has the state already; after this something is wrong.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(10);

impl Health {
    pub(super) fn judge(signs: Signs) -> Health {
        let seconds = signs.role_age.as_secs();
        let reason = match signs.role {
            Role::Starting | Role::TakingOver if signs.recovery.is_some() => {
                signs.recovery.and_then(|recovery| recovery.trouble())
            }
            Role::Starting if signs.role_age > START_PATIENCE => {
                Some(format!("the start has taken {seconds} s so far"))
            }
            Role::TakingOver if signs.role_age > TAKEOVER_PATIENCE => {
                Some(format!("the takeover has taken {seconds} s so far"))
            }
            Role::Fenced => Some(format!(
                "lost the role {seconds} s ago and does not follow yet"
            )),
            Role::Active => signs
                .lease_age
                .filter(|age| *age >= signs.lease)
                .map(|age| {
                    format!(
                        "the lease was not renewed for {} ms: acknowledgements are held back",
                        age.as_millis()
                    )
                }),
            Role::Standby => (signs.behind > signs.lease * 2).then(|| {
                format!(
                    "the standby is {} ms behind the journal",
                    signs.behind.as_millis()
                )
            }),
            Role::Starting | Role::TakingOver | Role::Stopping => None,
        };
        let warning = match signs.role {
            Role::Active => signs.space.and_then(|space| space.warning(signs.now_ms)),
            _ => None,
        };
        Health {
            healthy: reason.is_none(),
            reason,
            warning,
            recovery: signs.recovery,
        }
    }
}

impl Recovery {
    fn trouble(&self) -> Option<String> {
        let is_late = u128::from(self.stalled_ms) > STALL_PATIENCE.as_millis();
        let seconds = self.stalled_ms / 1000;
        is_late.then(|| {
            format!("{self}, but nothing was read for {seconds} s: the storage does not answer")
        })
    }
}

impl Space {
    /// What an operator has to know.
    fn warning(self, now_ms: u64) -> Option<String> {
        let since_s = now_ms.saturating_sub(self.full_since_at_ms?) / 1000;
        let free_bytes = self.free_bytes;
        Some(format!(
            "the journal directory has been full for {since_s} s ({free_bytes} bytes free): messages are refused, consumers go on; consume messages or free space there"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::recovery::Phase;

    #[test]
    fn a_full_directory_is_a_warning_with_its_bytes_and_since_when() {
        let full = Signs {
            space: Some(Space {
                full: true,
                free_bytes: 12,
                full_since_at_ms: Some(5_000),
            }),
            now_ms: 65_000,
            ..signs(Role::Active)
        };
        let health = Health::judge(full);
        assert!(health.healthy, "a restart would make no space");
        let warning = health.warning.expect("a warning");
        assert!(
            warning.starts_with("the journal directory has been full for 60 s (12 bytes free)"),
            "{warning}"
        );
        let again = Space {
            full: false,
            free_bytes: 1 << 30,
            full_since_at_ms: None,
        };
        let space = Some(again);
        assert_eq!(Health::judge(Signs { space, ..full }).warning, None);
    }

    fn signs(role: Role) -> Signs {
        Signs {
            role,
            role_age: Duration::from_secs(1),
            lease_age: Some(Duration::from_millis(100)),
            behind: Duration::ZERO,
            lease: Duration::from_secs(5),
            recovery: None,
            space: None,
            now_ms: 0,
        }
    }

    #[test]
    fn every_role_but_fenced_is_healthy_while_nothing_is_late() {
        for role in Role::ALL {
            assert_eq!(
                Health::judge(signs(role)).healthy,
                role != Role::Fenced,
                "{role}"
            );
        }
    }

    #[test]
    fn an_active_that_cannot_renew_is_not_healthy() {
        let late = Signs {
            lease_age: Some(Duration::from_secs(5)),
            ..signs(Role::Active)
        };
        let reason = Health::judge(late).reason.expect("a reason");
        assert!(reason.contains("not renewed for 5000 ms"), "{reason}");
    }

    #[test]
    fn a_standby_far_behind_is_not_healthy_and_an_old_lease_is_not_its_fault() {
        let old_lease = Signs {
            lease_age: Some(Duration::from_secs(60)),
            ..signs(Role::Standby)
        };
        assert!(Health::judge(old_lease).healthy);
        let behind = Signs {
            behind: Duration::from_secs(11),
            ..signs(Role::Standby)
        };
        assert!(!Health::judge(behind).healthy);
    }

    #[test]
    fn a_recovery_may_take_long_and_must_not_stand_still() {
        let recovery = Recovery {
            phase: Phase::Journal,
            done_bytes: 1 << 20,
            total_bytes: 9 << 20,
            elapsed_ms: 3_600_000,
            remaining_ms: None,
            stalled_ms: 9_000,
        };
        for role in [Role::Starting, Role::TakingOver] {
            let reads = Signs {
                role_age: Duration::from_secs(3600),
                recovery: Some(recovery),
                ..signs(role)
            };
            assert!(Health::judge(reads).healthy, "{role}");
            let stands = Signs {
                recovery: Some(Recovery {
                    stalled_ms: 11_000,
                    ..recovery
                }),
                ..reads
            };
            let reason = Health::judge(stands).reason.expect("a reason");
            assert!(
                reason
                    .starts_with("replays the journal: 1 of 9 MiB, but nothing was read for 11 s"),
                "{reason}"
            );
        }
    }

    #[test]
    fn what_takes_too_long_says_so() {
        for (role, seconds) in [(Role::Starting, 61), (Role::TakingOver, 11)] {
            let slow = Signs {
                role_age: Duration::from_secs(seconds),
                ..signs(role)
            };
            assert!(!Health::judge(slow).healthy, "{role}");
        }
    }
}
