//! The tenure protocol as a model that is searched exhaustively, within bounds.
//!
//! What decides is the product's own code: [`Seeker`](super::seeker::Seeker), the gate's value, the
//! verdict of a renewal, which locks a fast takeover needs, the walk along the seals, and when a role
//! is given up. What is modelled is everything around: a directory, locks, a server that takes
//! them away, writes under way that land when they like, hosts that stop, clocks that differ.
//!
//! Time is a number of ticks, and the present never moves: a tick makes everything that a broker
//! remembers longer ago by its clock, and what is older than matters stays there. So time has no
//! bound. Bounds are the brokers, claims, records and faults of [`Bounds`].
//!
//! Each step is atomic. What is one call to storage is one step, but for these, which nobody can
//! tell apart from several: asking for all locks (the server takes all of a host's locks away at
//! once), and creating, locking and filling a claim (of which only the creation counts).

mod broker;
mod directory;
mod world;

use std::time::Duration;

use stateright::{Model, Property};

use self::broker::{Broker, Mode, Phase, Renewal};
use self::world::{Deed, World};
use crate::member::{Cause, Takeover};
use crate::tenure::gate::Stage;
use crate::tenure::lease::LeasePhase;
use crate::tenure::seeker::{Rules, Wait};

const TICK: Duration = Duration::from_secs(1);
/// The present of every broker.
const NOW: Duration = Duration::from_secs(4);
const LEASE: Duration = Duration::from_secs(2);
/// A slow clock misses every third tick.
const DRIFT_PERMILLE: u32 = 500;

/// A server that takes no locks away.
const NEVER: u8 = u8::MAX;

/// The protocol, or what somebody may take for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Variant {
    Sound,
    NoGate,
    NoSeal,
    SameEpoch,
    LockAlone,
    NoClaimCheck,
    NoWait,
    /// The wait leaves out the allowance for clocks.
    ShortWait,
    CountsFromTheEnd,
    GateBeforeSync,
    /// The gate does not compare when a segment was locked.
    NoLockTime,
    ClaimsByName,
    /// A standby does not remember that there were claims.
    ForgetsClaims,
    /// Segments are written through descriptors without a lock.
    UnlockedSegments,
    ReadsBeforeTheWait,
    ReleasesBeforeTheGateIsShut,
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    variant: Variant,
    brokers: usize,
    /// Begins with an empty directory; else with an active and standbys.
    starts: bool,
    /// The standbys have never seen a claim: processes that were started a moment ago.
    newcomers: bool,
    /// Claims ever made.
    claims: u8,
    /// Records of each tenure, and how many of them are under way at a time.
    records: u8,
    in_flight: u8,
    /// The second record goes into a second segment.
    second_segment: bool,
    /// Faults of hosts and processes, and starts after an end.
    faults: u8,
    restarts: u8,
    pauses: bool,
    cuts: bool,
    freezes: bool,
    stops_clocks: bool,
    kills: bool,
    loses_locks: bool,
    deletes_lock: bool,
    deletes_all: bool,
    releases: bool,
    /// One broker's clock is slow.
    drifts: bool,
    /// The answer to a listing may take its time.
    answers_are_late: bool,
    /// A broker that waits after its claim renews it.
    seekers_renew: bool,
    is_strict: bool,
    takeover: Takeover,
    /// Ticks of silence after which the server takes a host's locks away, if asked.
    server_lease: u8,
}

impl Bounds {
    fn rules(&self) -> Rules {
        Rules {
            lease: LEASE,
            drift_permille: if self.drifts { DRIFT_PERMILLE } else { 0 },
            takeover: self.takeover,
            wait: match self.variant {
                Variant::NoWait => Wait::None,
                Variant::ShortWait => Wait::Lease,
                _ => Wait::LeaseAndDrift,
            },
        }
    }

    /// False for what certainly cannot happen: it saves a copy of the world.
    fn is_possible(&self, broker: &Broker, deed: Deed) -> bool {
        let is_seeking = broker.phase == Phase::Seeking;
        match deed {
            Deed::Looks | Deed::Claims | Deed::Reads => is_seeking && broker.can_call(),
            Deed::AsksForLocks => broker.lock.is_none() && broker.can_call(),
            Deed::Seals => matches!(broker.phase, Phase::Sealing(_)),
            Deed::WritesLease => broker.claim.is_some() && broker.renewal == Renewal::Idle,
            Deed::ListsClaims => matches!(broker.renewal, Renewal::Written { .. }),
            Deed::IsRenewed => matches!(broker.renewal, Renewal::Listed { .. }),
            Deed::Prepares => self.second_segment && broker.segments.len() == 1,
            Deed::WritesRecord => broker.written < self.records && broker.stage().is_some(),
            Deed::WriteLands(record) => broker.under_way & 1 << record != 0,
            Deed::Confirms => self.is_strict && broker.confirmed < broker.written,
            Deed::Acknowledges => broker.acknowledged < broker.written && broker.stage().is_some(),
            Deed::GivesUp => broker.is_expired(),
            Deed::ShutsGate => self.releases && broker.stage() == Some(Stage::Serving),
            Deed::MarksLeaseReleased => matches!(broker.stage(), Some(Stage::Releasing { .. })),
            Deed::Closes => broker.phase == Phase::Ended && !broker.holds_nothing(),
            Deed::Restarts => broker.phase == Phase::Ended,
            Deed::IsPaused => self.pauses,
            Deed::IsCutOff => self.cuts,
            Deed::HostFreezes => self.freezes,
            Deed::HostFreezesWithItsClock => self.stops_clocks,
            Deed::GoesOn => broker.mode != Mode::Running,
            Deed::IsKilled => self.kills && broker.phase != Phase::Ended,
            Deed::LosesItsLocks => self.loses_locks,
        }
    }

    /// Only where several want the same epoch does it matter how long they take.
    fn claims_at_once(&self) -> bool {
        self.brokers == 2 && !self.starts
    }

    fn has_unlocked_segments(&self) -> bool {
        self.variant == Variant::UnlockedSegments
    }

    /// The server takes no locks away before a lease of ours is over: promise 2 needs that.
    fn is_server_patient(&self) -> bool {
        let least = if self.drifts { 4 } else { 3 };
        self.server_lease >= least && !self.loses_locks
    }

    /// Nobody acknowledges after a successor: not where clocks stand still.
    fn has_order(&self) -> bool {
        self.is_server_patient() && !self.stops_clocks
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Tick,
    LockFileIsDeleted,
    DirectoryIsDeleted,
    /// Of the broker at this place, which has this epoch (0: none).
    Broker(usize, u64, Deed),
}

const DEEDS: [Deed; 26] = [
    Deed::Looks,
    Deed::AsksForLocks,
    Deed::Claims,
    Deed::Reads,
    Deed::Seals,
    Deed::WritesLease,
    Deed::ListsClaims,
    Deed::IsRenewed,
    Deed::Prepares,
    Deed::WritesRecord,
    Deed::WriteLands(0),
    Deed::WriteLands(1),
    Deed::Confirms,
    Deed::Acknowledges,
    Deed::GivesUp,
    Deed::ShutsGate,
    Deed::MarksLeaseReleased,
    Deed::Closes,
    Deed::Restarts,
    Deed::IsPaused,
    Deed::IsCutOff,
    Deed::HostFreezes,
    Deed::HostFreezesWithItsClock,
    Deed::GoesOn,
    Deed::IsKilled,
    Deed::LosesItsLocks,
];

impl Model for Bounds {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        match (self.starts, self.drifts) {
            (true, _) => vec![World::new(self, None).in_order()],
            (false, false) => vec![World::with_active(self, None).in_order()],
            (false, true) => (0..2)
                .map(|slow| World::with_active(self, Some(slow)).in_order())
                .collect(),
        }
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend([
            Action::Tick,
            Action::LockFileIsDeleted,
            Action::DirectoryIsDeleted,
        ]);
        for (index, broker) in world.brokers.iter().enumerate() {
            let epoch = broker.claim.map_or(0, |claim| claim.epoch.0);
            let possible = DEEDS.iter().filter(|deed| self.is_possible(broker, **deed));
            actions.extend(possible.map(|deed| Action::Broker(index, epoch, *deed)));
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        let has_happened = match action {
            Action::Tick => world.tick(self),
            Action::LockFileIsDeleted => world.delete_lock(self),
            Action::DirectoryIsDeleted => world.delete_all(self),
            Action::Broker(index, _, deed) => world.act(self, index, deed),
        };
        has_happened.then(|| world.in_order())
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.is_within(self)
    }

    fn properties(&self) -> Vec<Property<Bounds>> {
        let mut properties = vec![
            Property::always(I1, |bounds: &Bounds, world: &World| {
                world.acknowledged.is_empty()
                    || world
                        .directory
                        .read(bounds.variant)
                        .has_all(&world.acknowledged)
            }),
            Property::always(ONE_ORDER, |bounds: &Bounds, world: &World| {
                world.directory.segments.len() < 2
                    || world.directory.read(bounds.variant).is_one_order()
            }),
            Property::sometimes(BY_LOCK, |_, world| took_over(world, Cause::Lock, false)),
            Property::sometimes(BY_LEASE, |_, world| took_over(world, Cause::Lease, false)),
            Property::sometimes(AFTER_RELEASE, |_, world| {
                took_over(world, Cause::Lease, true)
            }),
            Property::sometimes(TWO_TENURES, |_, world: &World| {
                let first = world.acknowledged.first().map(|record| record.0);
                first != world.acknowledged.last().map(|record| record.0)
            }),
            Property::sometimes(LATE_WRITE, |_, world| has_late_write(world)),
        ];
        if self.has_order() {
            let in_order = |_: &Bounds, world: &World| !world.is_late;
            properties.push(Property::always(I2, in_order));
        }
        if self.has_order() && !self.deletes_all {
            let one_gate = |_: &Bounds, world: &World| world.open_gates() <= 1;
            properties.push(Property::always(ONE_GATE, one_gate));
            // Where clocks differ by half, half a lease more is no time.
            if !self.drifts {
                let one_role = |_: &Bounds, world: &World| {
                    let roles = world.brokers.iter().filter(|broker| broker.has_role());
                    roles.count() <= 1
                };
                properties.push(Property::always(ONE_ROLE, one_role));
            }
        }
        properties
    }
}

/// The properties. `I1` and `I2` are those of the head of [`super`].
const I1: &str = "(I1) what is acknowledged is in every later view";
const I2: &str = "(I2) nobody acknowledges after a successor";
const ONE_GATE: &str = "at most one gate is open";
const ONE_ROLE: &str = "ports are closed before others open";
const ONE_ORDER: &str = "what is read is one order";
/// What must be seen at least once, where it can be, for the model not to be empty.
const BY_LOCK: &str = "a takeover by lock";
const BY_LEASE: &str = "a takeover by lease";
const AFTER_RELEASE: &str = "a takeover after a release";
const TWO_TENURES: &str = "two tenures acknowledge";
const LATE_WRITE: &str = "a write is under way when its epoch is sealed";

/// Whether somebody has just sealed who took over like that.
fn took_over(world: &World, cause: Cause, is_released: bool) -> bool {
    world.brokers.iter().any(|broker| {
        let is_new = matches!(broker.stage(), Some(Stage::Proving { .. }));
        let own = broker.claim.map(|claim| claim.epoch);
        let before = own.and_then(|own| world.directory.claims.range(..own).next_back());
        is_new
            && broker.seeker.cause() == Some(cause)
            && before.is_some_and(|(_, claim)| (claim.phase == LeasePhase::Released) == is_released)
    })
}

fn has_late_write(world: &World) -> bool {
    world.brokers.iter().any(|broker| {
        let epoch = broker.segments.first().map(|segment| segment.name.epoch);
        let mut files = world.directory.segments.values();
        broker.under_way != 0
            && files.any(|file| file.seal.is_some_and(|(sealed, _)| Some(sealed) == epoch))
    })
}

#[cfg(test)]
mod tests;
