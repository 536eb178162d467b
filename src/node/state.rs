//! What the node knows of itself at this moment, shared with the console.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use storage::disk::DiskCounters;
use storage::{Epoch, Keyring, Member, MemberStatus};

use super::recovery;
use super::role::{Occurrence, Role, Step, transition};
use super::status::{
    Behind, Encryption, Health, Lock, Queue, Signs, Space, Status, Transition, Transitions,
};
use super::{announce, serving::Serving};
use crate::broker::{BrokerStatus, DestinationStatus};
use crate::config::Config;

/// Changes of role that `/status` shows.
const RECENT: usize = 32;

/// See the module. Its lock is held for moments only, never across IO.
pub(super) struct State {
    name: String,
    directory: String,
    storage_profile: Option<String>,
    traffic: Arc<DiskCounters>,
    lease: Duration,
    began: Instant,
    recovery: Mutex<recovery::Watch>,
    inner: Mutex<Inner>,
}

struct Inner {
    role: Role,
    since: Instant,
    since_at_ms: u64,
    epoch: Epoch,
    counts: BTreeMap<Role, u64>,
    recent: VecDeque<Transition>,
    http: Option<SocketAddr>,
    member: Option<Arc<Member>>,
    serving: Option<Arc<Serving>>,
    encryption: Option<Encryption>,
}

impl State {
    pub(super) fn new(config: &Config) -> Arc<State> {
        let now = Instant::now();
        Arc::new(State {
            name: config.broker.name.value.clone(),
            directory: config.broker.directory.value.display().to_string(),
            traffic: Arc::default(),
            storage_profile: config.storage.latency().map(|profile| profile.name.clone()),
            lease: config.tenure.lease.value.duration(),
            began: now,
            recovery: Mutex::default(),
            inner: Mutex::new(Inner {
                role: Role::Starting,
                since: now,
                since_at_ms: wall_ms(),
                epoch: Epoch::default(),
                counts: BTreeMap::from([(Role::Starting, 1)]),
                recent: VecDeque::new(),
                http: None,
                member: None,
                serving: None,
                encryption: None,
            }),
        })
    }

    /// Notes the keys of the journal, if there are any.
    pub(super) fn set_keys(&self, keys: &Keyring) {
        if keys.is_empty() {
            return;
        }
        self.inner.lock().encryption = Some(Encryption {
            writes_with: keys.writing_id().map(|id| id.to_string()),
            reads_with: keys.ids().iter().map(ToString::to_string).collect(),
        });
    }

    /// Applies the state machine; logs, counts and announces a change of role.
    pub(super) fn step(&self, occurrence: Occurrence, cause: &str, machine: Option<&str>) -> Step {
        let mut inner = self.inner.lock();
        let step = transition(inner.role, occurrence);
        let Step::To(to) = step else { return step };
        let after = inner.since.elapsed();
        let from = std::mem::replace(&mut inner.role, to);
        inner.since = Instant::now();
        inner.since_at_ms = wall_ms();
        *inner.counts.entry(to).or_default() += 1;
        let known = inner.member.as_ref().map(|member| member.status().epoch);
        inner.epoch = inner.epoch.max(known.unwrap_or_default());
        let epoch = inner.epoch;
        let after_ms = millis(after);
        if inner.recent.len() == RECENT {
            inner.recent.pop_front();
        }
        let at_ms = inner.since_at_ms;
        let cause_text = cause.to_owned();
        let change = Transition {
            at_ms,
            from,
            to,
            epoch: epoch.0,
            cause: cause_text,
            after_ms,
        };
        inner.recent.push_back(change);
        // Announced under the lock: machines see the changes in the order in which they happened.
        announce::role(to, epoch, machine);
        drop(inner);
        tracing::info!(%from, %to, %epoch, cause, after_ms, "The role changed.");
        step
    }

    /// Counts what all memberships ask of the directory.
    pub(super) fn traffic(&self) -> Arc<DiskCounters> {
        Arc::clone(&self.traffic)
    }

    pub(super) fn role(&self) -> Role {
        self.inner.lock().role
    }

    pub(super) fn epoch_reached(&self, epoch: Epoch) {
        let mut inner = self.inner.lock();
        inner.epoch = inner.epoch.max(epoch);
    }

    pub(super) fn set_http(&self, address: SocketAddr) {
        self.inner.lock().http = Some(address);
    }

    pub(super) fn set_member(&self, member: Arc<Member>) {
        self.inner.lock().member = Some(member);
    }

    pub(super) fn member(&self) -> Option<Arc<Member>> {
        self.inner.lock().member.clone()
    }

    pub(super) fn take_member(&self) -> Option<Arc<Member>> {
        self.inner.lock().member.take()
    }

    pub(super) fn set_serving(&self, serving: Arc<Serving>) {
        self.inner.lock().serving = Some(serving);
    }

    pub(super) fn serving(&self) -> Option<Arc<Serving>> {
        self.inner.lock().serving.clone()
    }

    pub(super) fn take_serving(&self) -> Option<Arc<Serving>> {
        self.inner.lock().serving.take()
    }

    /// Whether all is well now.
    pub(super) fn health(&self) -> Health {
        let (role, since, member) = {
            let inner = self.inner.lock();
            (inner.role, inner.since, inner.member.clone())
        };
        let status = member.map(|member| member.status());
        self.judge(role, since.elapsed(), status.as_ref())
    }

    fn judge(&self, role: Role, role_age: Duration, member: Option<&MemberStatus>) -> Health {
        Health::judge(Signs {
            role,
            role_age,
            lease_age: member.and_then(|status| status.lease_age),
            behind: member.map_or(Duration::ZERO, |status| status.behind),
            lease: self.lease,
            recovery: self
                .recovery
                .lock()
                .look(member.and_then(|status| status.recovery), Instant::now()),
            space: member.and_then(space),
            now_ms: wall_ms(),
        })
    }

    /// Everything, for `/status`.
    pub(super) fn status(&self) -> Status {
        let inner = self.inner.lock();
        let (role, since, role_since_at_ms) = (inner.role, inner.since, inner.since_at_ms);
        let (known_epoch, http) = (inner.epoch, inner.http);
        let (member, serving) = (inner.member.clone(), inner.serving.clone());
        let recent = inner.recent.iter().cloned().collect();
        let encryption = inner.encryption.clone();
        let transitions = Transitions {
            counts: inner.counts.clone(),
            recent,
        };
        drop(inner);

        // Asked outside of the lock: neither may make a change of role wait.
        let member = member.map(|member| member.status());
        let broker = serving.as_ref().map(|serving| serving.status());
        let role_age = since.elapsed();
        let health = self.judge(role, role_age, member.as_ref());
        let member = member.unwrap_or_default();
        let space = space(&member);
        let follows = matches!(role, Role::Standby | Role::TakingOver);
        Status {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: millis(self.began.elapsed()),
            role,
            role_since_at_ms,
            role_age_ms: millis(role_age),
            epoch: known_epoch.max(member.epoch).0,
            directory: self.directory.clone(),
            storage_profile: self.storage_profile.clone(),
            encryption,
            storage: self.traffic.traffic(),
            health,
            lock: Lock {
                holder: member.holder,
                lease_age_ms: member.lease_age.map(millis),
            },
            lsn: member.lsn.0,
            behind: follows.then(|| Behind {
                bytes: member.behind_bytes,
                ms: millis(member.behind),
            }),
            space,
            transitions,
            listeners: serving
                .as_ref()
                .map_or_else(Vec::new, |serving| serving.addresses()),
            http: http.map(|address| format!("http://{address}")),
            queues: broker.as_ref().map_or_else(Vec::new, queues),
            broker: broker.map(|status| {
                serde_json::to_value(status).unwrap_or_else(|error| {
                    serde_json::Value::String(format!("cannot be shown: {error}"))
                })
            }),
        }
    }
}

fn space(member: &MemberStatus) -> Option<Space> {
    member.space.map(|space| Space {
        full: space.is_full,
        free_bytes: space.free_bytes,
        full_since_at_ms: space.full_since_ms,
    })
}

fn queues(status: &BrokerStatus) -> Vec<Queue> {
    let queues = status
        .destinations
        .iter()
        .filter(|destination| destination.kind == "queue");
    let row = |queue: &DestinationStatus| Queue {
        name: queue.name.clone(),
        pending: queue.pending as u64,
    };
    queues.map(row).collect()
}

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
