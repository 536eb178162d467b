//! What can happen in the model, one step at a time. Decisions are those of the product's own
//! functions; here is only what storage, clocks and hosts do around them.

use std::collections::BTreeSet;

use super::broker::{Broker, Mode, Other, OwnClaim, OwnSegment, Phase, Point, Renewal};
use super::directory::{ClaimFile, Directory, RecordId, SegmentFile, Serial};
use super::{Bounds, LEASE, NEVER, NOW, Variant};
use crate::chain::SegmentName;
use crate::position::{Epoch, SegmentNumber};
use crate::tenure::claim::{OwnName, Standing, verdict};
use crate::tenure::gate::Stage;
use crate::tenure::lease::LeasePhase;
use crate::tenure::lock::{Writable, writable};
use crate::tenure::seeker::Step;

/// A step of one broker, or something that happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It looks at the newest claim.
    Looks,
    /// It asks for `lock` and for the locks of all who may still be writing.
    AsksForLocks,
    Claims,
    /// It reads the journal to its end, for the seal.
    Reads,
    Seals,
    WritesLease,
    ListsClaims,
    /// The answer to the listing comes.
    IsRenewed,
    /// It makes and locks its second segment.
    Prepares,
    WritesRecord,
    /// The server performs a write that is under way, in any order.
    WriteLands(u8),
    /// It looks for newer claims, with a strict fence.
    Confirms,
    Acknowledges,
    /// Its clock says that the role is over.
    GivesUp,
    /// A planned end: the gate is shut for good.
    ShutsGate,
    MarksLeaseReleased,
    /// Its host closes what the process held.
    Closes,
    /// A new process, as a standby.
    Restarts,
    IsPaused,
    IsCutOff,
    HostFreezes,
    HostFreezesWithItsClock,
    GoesOn,
    IsKilled,
    /// The server takes the host's locks away for no reason.
    LosesItsLocks,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) brokers: Vec<Broker>,
    pub(super) directory: Directory,
    next_serial: Serial,
    faults: u8,
    restarts: u8,
    /// Which tick of three it is: slow clocks miss the third.
    third: u8,
    /// What was acknowledged and not deleted by an administrator.
    pub(super) acknowledged: BTreeSet<RecordId>,
    last_to_acknowledge: Serial,
    /// Ticks since somebody deleted the whole directory.
    pub(super) emptied: Option<u8>,
    /// Somebody acknowledged after a later tenure did.
    pub(super) is_late: bool,
    lock_deleted: bool,
}

/// Ticks after the deletion of a directory in which the deposed may not know it: a lease by a slow
/// clock, and the tick under way.
const UNKNOWING_TICKS: u8 = 4;

impl World {
    pub(super) fn new(bounds: &Bounds, slow: Option<usize>) -> World {
        let rules = bounds.rules();
        let brokers = (0..bounds.brokers).map(|index| Broker::new(rules, slow == Some(index)));
        World {
            brokers: brokers.collect(),
            directory: Directory::default(),
            next_serial: 1,
            faults: 0,
            restarts: 0,
            third: 0,
            acknowledged: BTreeSet::new(),
            last_to_acknowledge: 0,
            emptied: None,
            is_late: false,
            lock_deleted: false,
        }
    }

    /// The same with the first broker as the active.
    pub(super) fn with_active(bounds: &Bounds, slow: Option<usize>) -> World {
        let mut world = World::new(bounds, slow);
        let mut acts = |deed| assert!(world.act(bounds, 0, deed), "{deed:?} at the start");
        acts(Deed::AsksForLocks);
        if !bounds.claims_at_once() {
            acts(Deed::Claims);
        }
        acts(Deed::Reads);
        acts(Deed::Seals);
        assert!(world.tick(bounds), "nothing is due");
        for deed in [Deed::WritesLease, Deed::ListsClaims, Deed::IsRenewed] {
            let is_done = world.act(bounds, 0, deed);
            assert!(is_done || deed == Deed::IsRenewed, "{deed:?} at the start");
        }
        for standby in 1..bounds.brokers {
            assert!(bounds.newcomers || world.act(bounds, standby, Deed::Looks));
        }
        world
    }

    pub(super) fn is_within(&self, bounds: &Bounds) -> bool {
        self.next_serial <= bounds.claims + 1
    }

    /// Brokers are alike: only one order of them is looked at.
    pub(super) fn in_order(mut self) -> World {
        for broker in &mut self.brokers {
            broker.forget_details();
        }
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        self.brokers
            .sort_by_cached_key(|broker| hasher.hash_one(broker));
        self
    }

    // Time.

    /// Time does not pass while a broker that runs has to give up its role.
    pub(super) fn tick(&mut self, bounds: &Bounds) -> bool {
        let is_due = |broker: &Broker| broker.can_think() && broker.is_expired();
        if self.brokers.iter().any(is_due) {
            return false;
        }
        let is_third = bounds.drifts && self.third == 2;
        if bounds.drifts {
            self.third = (self.third + 1) % 3;
        }
        for broker in &mut self.brokers {
            if !broker.is_heard() && bounds.server_lease != NEVER {
                broker.silent = (broker.silent + 1).min(bounds.server_lease);
            }
            if broker.mode != Mode::Stopped && !(broker.is_slow && is_third) {
                broker.age();
            }
        }
        if let Some(ticks) = &mut self.emptied {
            *ticks = (*ticks + 1).min(UNKNOWING_TICKS + 1);
        }
        true
    }

    // The administrator.

    pub(super) fn delete_lock(&mut self, bounds: &Bounds) -> bool {
        let may = bounds.deletes_lock && !self.lock_deleted;
        self.lock_deleted = true;
        self.directory.lock += 1;
        may
    }

    pub(super) fn delete_all(&mut self, bounds: &Bounds) -> bool {
        if !bounds.deletes_all || self.emptied.is_some() {
            return false;
        }
        self.directory = Directory {
            lock: self.directory.lock + 1,
            ..Directory::default()
        };
        self.acknowledged.clear();
        self.emptied = Some(0);
        true
    }

    // One broker.

    /// False: that cannot happen here.
    pub(super) fn act(&mut self, bounds: &Bounds, index: usize, deed: Deed) -> bool {
        let broker = &self.brokers[index];
        let is_seeking = broker.phase == Phase::Seeking;
        let can_call = broker.can_call();
        match deed {
            Deed::Looks => can_call && is_seeking && self.looks(bounds, index),
            Deed::AsksForLocks => can_call && self.asks_for_locks(bounds, index),
            Deed::Claims => can_call && is_seeking && self.claims(bounds, index),
            Deed::Reads => can_call && is_seeking && self.reads(bounds, index),
            Deed::Seals => can_call && self.seals(bounds, index),
            Deed::WritesLease => can_call && self.writes_lease(bounds, index),
            Deed::ListsClaims => can_call && self.lists_claims(bounds, index),
            Deed::IsRenewed => broker.can_think() && self.is_renewed(bounds, index),
            Deed::Prepares => can_call && self.prepares(bounds, index),
            Deed::WritesRecord => broker.can_think() && self.writes_record(bounds, index),
            Deed::WriteLands(record) => broker.is_heard() && self.lands(bounds, index, record),
            Deed::Confirms => can_call && self.confirms(bounds, index),
            Deed::Acknowledges => broker.can_think() && self.acknowledges(bounds, index),
            Deed::GivesUp => broker.can_think() && broker.is_expired() && self.ends(bounds, index),
            Deed::ShutsGate => bounds.releases && self.shuts_gate(bounds, index),
            Deed::MarksLeaseReleased => can_call && self.marks_released(bounds, index),
            Deed::Closes => broker.is_heard() && self.closes(bounds, index),
            Deed::Restarts => can_call && self.restarts(bounds, index),
            Deed::IsPaused => bounds.pauses && self.suffers(bounds, index, Mode::Paused),
            Deed::IsCutOff => bounds.cuts && self.suffers(bounds, index, Mode::Cut),
            Deed::HostFreezes => bounds.freezes && self.suffers(bounds, index, Mode::Frozen),
            Deed::HostFreezesWithItsClock => {
                bounds.stops_clocks && self.suffers(bounds, index, Mode::Stopped)
            }
            Deed::GoesOn => self.goes_on(index),
            Deed::IsKilled => bounds.kills && self.is_killed(bounds, index),
            Deed::LosesItsLocks => bounds.loses_locks && self.loses_locks(bounds, index),
        }
    }

    fn suffers(&mut self, bounds: &Bounds, index: usize, mode: Mode) -> bool {
        let is_well = self.brokers[index].mode == Mode::Running;
        // What holds nothing and wants nothing is a standby that is late: nothing new.
        let matters = !self.brokers[index].holds_nothing();
        if !is_well || !matters || self.faults == bounds.faults {
            return false;
        }
        self.faults += 1;
        self.brokers[index].mode = mode;
        true
    }

    fn goes_on(&mut self, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        broker.silent = 0;
        std::mem::replace(&mut broker.mode, Mode::Running) != Mode::Running
    }

    fn is_killed(&mut self, bounds: &Bounds, index: usize) -> bool {
        if self.brokers[index].holds_nothing() || self.faults == bounds.faults {
            return false;
        }
        self.faults += 1;
        self.ends(bounds, index)
    }

    fn loses_locks(&mut self, bounds: &Bounds, index: usize) -> bool {
        if self.brokers[index].holds_nothing() || self.faults == bounds.faults {
            return false;
        }
        self.faults += 1;
        self.expire(bounds, index);
        true
    }

    /// The process ends, or leaves the role: its host closes what it had open, if it can.
    fn ends(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        *broker = broker.ended(bounds.rules());
        if broker.is_heard() && bounds.variant != Variant::UnlockedSegments {
            self.closes(bounds, index);
        }
        true
    }

    fn closes(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        if broker.phase != Phase::Ended || broker.holds_nothing() {
            return false;
        }
        broker.lock = None;
        broker.others.clear();
        broker.claim = None;
        // Unlocked writes may come when nobody expects them.
        let is_late = bounds.has_unlocked_segments() && broker.under_way != 0;
        if !is_late {
            broker.segments.clear();
            (broker.base, broker.written, broker.under_way) = (0, 0, 0);
        }
        true
    }

    fn restarts(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        if broker.phase != Phase::Ended
            || !broker.holds_nothing()
            || self.restarts == bounds.restarts
        {
            return false;
        }
        self.restarts += 1;
        *broker = Broker::new(bounds.rules(), broker.is_slow);
        true
    }

    // Locks.

    /// The server takes all locks of a host away.
    fn expire(&mut self, bounds: &Bounds, index: usize) {
        let broker = &mut self.brokers[index];
        broker.lock = None;
        broker.others.clear();
        if let Some(claim) = &mut broker.claim {
            claim.is_lost = true;
        }
        if !bounds.has_unlocked_segments() {
            for segment in &mut broker.segments {
                segment.is_lost = true;
            }
        }
    }

    /// Whether nobody but `index` has the lock. Asking is what makes the server take the locks of a
    /// host away that it has not heard of for its lease.
    fn is_free(&mut self, bounds: &Bounds, index: usize, holds: impl Fn(&Broker) -> bool) -> bool {
        for other in 0..self.brokers.len() {
            if other == index || !holds(&self.brokers[other]) {
                continue;
            }
            if self.brokers[other].silent < bounds.server_lease {
                return false;
            }
            self.expire(bounds, other);
        }
        true
    }

    fn asks_for_locks(&mut self, bounds: &Bounds, index: usize) -> bool {
        let is_serving = self.brokers[index].stage().is_some();
        let is_seeking = self.brokers[index].phase == Phase::Seeking;
        if self.brokers[index].lock.is_some() || !(is_serving || is_seeking) {
            return false;
        }
        let lock = self.directory.lock;
        if !self.is_free(bounds, index, |broker| broker.lock == Some(lock)) {
            return false;
        }
        if is_serving {
            self.brokers[index].lock = Some(lock);
            return true;
        }
        let survey = self.directory.survey();
        let own = self.brokers[index].claim.map(|claim| claim.epoch);
        let read = self.directory.read(bounds.variant).segment;
        let mut others = Vec::new();
        if bounds.variant != Variant::LockAlone {
            for file in writable(&survey, own, read) {
                let other = match file {
                    Writable::Claim(epoch) => Other::Claim(self.directory.claims[&epoch].serial),
                    Writable::Segment(name) => {
                        Other::Segment(name, self.directory.segments[&name].serial)
                    }
                };
                if !self.is_free(bounds, index, |broker| has_lock(bounds, broker, other)) {
                    return true; // All let go again; asking may have taken locks away.
                }
                others.push(other);
            }
        }
        let broker = &mut self.brokers[index];
        (broker.lock, broker.others) = (Some(lock), others);
        if bounds.variant == Variant::ForgetsClaims {
            broker.seeker.forget();
        }
        let is_new = survey.segments.is_empty();
        broker.seeker.locked(survey.highest_epoch(), is_new);
        self.seeks(bounds, index);
        true
    }

    // Seeking.

    fn looks(&mut self, bounds: &Bounds, index: usize) -> bool {
        let view = self.directory.claims_view();
        let broker = &mut self.brokers[index];
        if broker.claim.is_some() {
            return false;
        }
        broker.seeker.observed(NOW, NOW, &view);
        if bounds.variant == Variant::ForgetsClaims {
            broker.seeker.forget();
        }
        self.seeks(bounds, index);
        true
    }

    fn seeks(&mut self, bounds: &Bounds, index: usize) {
        let broker = &mut self.brokers[index];
        if broker.seeker.own().is_none()
            && let Step::Claim(epoch) = broker.seeker.step(NOW)
        {
            broker.wants = Some(epoch);
            if bounds.claims_at_once() {
                self.claims(bounds, index);
            }
        }
    }

    fn claims(&mut self, bounds: &Bounds, index: usize) -> bool {
        let Some(epoch) = self.brokers[index].wants.take() else {
            return false;
        };
        if self.directory.survey().highest_epoch() >= epoch {
            self.starts_over(index);
            return true;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let file = ClaimFile {
            serial,
            phase: LeasePhase::Claimed,
            beat: false,
        };
        self.directory.claims.insert(epoch, file);
        if bounds.variant == Variant::ReadsBeforeTheWait {
            self.brokers[index].early_point = Some(self.point(bounds));
        }
        let broker = &mut self.brokers[index];
        broker.claim = Some(OwnClaim {
            epoch,
            serial,
            is_lost: false,
        });
        broker.seeker.claimed(NOW);
        true
    }

    fn starts_over(&mut self, index: usize) {
        let broker = &mut self.brokers[index];
        broker.seeker.not_claimed();
        broker.wants = None;
        broker.claim = None;
        broker.renewal = Renewal::Idle;
        broker.lock = None;
        broker.others.clear();
    }

    fn point(&self, bounds: &Bounds) -> Point {
        let view = self.directory.read(bounds.variant);
        let numbers = self.directory.segments.keys().map(|name| name.number.0);
        Point {
            previous: view.epoch,
            lsn: view.lsn,
            number: numbers.max().unwrap_or(0) + 1,
        }
    }

    fn reads(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        if broker.claim.is_none() {
            return false;
        }
        let Step::TakeOver { .. } = broker.seeker.step(NOW) else {
            return false;
        };
        let point = broker.early_point.take();
        let point = point.unwrap_or_else(|| self.point(bounds));
        self.brokers[index].phase = Phase::Sealing(point);
        true
    }

    fn seals(&mut self, bounds: &Bounds, index: usize) -> bool {
        let Phase::Sealing(point) = self.brokers[index].phase else {
            return false;
        };
        let Some(claim) = self.brokers[index].claim else {
            return self.ends(bounds, index);
        };
        let goes_on = bounds.variant == Variant::SameEpoch && point.previous > Epoch(0);
        let name = SegmentName {
            number: SegmentNumber(point.number),
            epoch: if goes_on { point.previous } else { claim.epoch },
        };
        if self.directory.segments.contains_key(&name) {
            return self.ends(bounds, index);
        }
        let file = SegmentFile {
            serial: claim.serial,
            first_lsn: point.lsn + 1,
            seal: (!goes_on).then_some((point.previous, point.lsn)),
            records: 1,
        };
        self.directory.segments.insert(name, file);
        let broker = &mut self.brokers[index];
        broker.segments.push(OwnSegment {
            name,
            serial: claim.serial,
            locked_at: NOW,
            is_lost: false,
        });
        broker.base = point.lsn + 1;
        broker.others.clear();
        broker.phase = Phase::Tenure(Stage::Proving { since: NOW });
        true
    }

    // The lease.

    fn writes_lease(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        let Some(claim) = broker.claim.filter(|_| broker.renewal == Renewal::Idle) else {
            return false;
        };
        let opens = match broker.phase {
            // A seeker with all locks takes over at once.
            Phase::Seeking => false,
            Phase::Tenure(Stage::Proving { .. } | Stage::Serving) => true,
            _ => return false,
        };
        // Renewals are a tick apart at least.
        if !opens && !bounds.seekers_renew || opens && broker.gate.proven == NOW {
            return false;
        }
        if claim.is_lost {
            return self.loses_claim(bounds, index);
        }
        broker.renewal = Renewal::Written {
            started: NOW,
            opens,
        };
        if let Some(file) = self.directory.claims.get_mut(&claim.epoch)
            && file.serial == claim.serial
        {
            file.beat = !file.beat;
            if opens {
                file.phase = LeasePhase::Serving;
            }
        }
        true
    }

    fn standing(&self, bounds: &Bounds, claim: OwnClaim) -> Standing {
        let own_name = match self.directory.claims.get(&claim.epoch) {
            None => OwnName::Missing,
            Some(_) if bounds.variant == Variant::ClaimsByName => OwnName::Own,
            Some(file) if file.serial == claim.serial => OwnName::Own,
            Some(_) => OwnName::Foreign,
        };
        match bounds.variant {
            Variant::NoClaimCheck => Standing::Newest,
            _ => verdict(claim.epoch, self.directory.claims.keys().copied(), own_name),
        }
    }

    fn lists_claims(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &self.brokers[index];
        let (Renewal::Written { started, opens }, Some(claim)) = (broker.renewal, broker.claim)
        else {
            return false;
        };
        let standing = self.standing(bounds, claim);
        self.brokers[index].renewal = Renewal::Listed {
            started,
            opens,
            standing,
        };
        if !bounds.answers_are_late {
            return self.is_renewed(bounds, index);
        }
        true
    }

    fn is_renewed(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        let Renewal::Listed {
            started,
            opens,
            standing,
        } = broker.renewal
        else {
            return false;
        };
        broker.renewal = Renewal::Idle;
        if standing != Standing::Newest {
            return self.loses_claim(bounds, index);
        }
        let started = match bounds.variant {
            Variant::CountsFromTheEnd => NOW,
            _ => started,
        };
        if !opens || broker.gate.is_fenced {
            return true;
        }
        broker.gate = broker.gate.renewed(started, LEASE);
        if matches!(broker.stage(), Some(Stage::Proving { .. })) {
            broker.phase = Phase::Tenure(Stage::Serving);
            if let Some(claim) = broker.claim {
                self.directory
                    .claims
                    .retain(|epoch, _| *epoch >= claim.epoch);
            }
        }
        true
    }

    fn loses_claim(&mut self, bounds: &Bounds, index: usize) -> bool {
        if self.brokers[index].phase == Phase::Seeking {
            self.starts_over(index);
            return true;
        }
        self.ends(bounds, index)
    }

    // The journal.

    fn prepares(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        if !bounds.second_segment || broker.segments.len() != 1 || broker.stage().is_none() {
            return false;
        }
        let first = broker.segments[0];
        let name = SegmentName {
            number: SegmentNumber(first.name.number.0 + 1),
            epoch: first.name.epoch,
        };
        if self.directory.segments.contains_key(&name) {
            return self.ends(bounds, index);
        }
        broker.segments.push(OwnSegment {
            name,
            serial: first.serial,
            locked_at: NOW,
            is_lost: false,
        });
        let is_there = self.directory.segments.get(&first.name);
        if is_there.is_some_and(|file| file.serial == first.serial) {
            let file = SegmentFile {
                serial: first.serial,
                first_lsn: broker.base + 2,
                seal: None,
                records: 0,
            };
            self.directory.segments.insert(name, file);
        }
        true
    }

    fn writes_record(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        let (segment, _) = broker.place(broker.written, bounds.second_segment);
        let in_flight = broker.under_way.count_ones();
        if broker.stage() != Some(Stage::Serving)
            || broker.written == bounds.records
            || segment >= broker.segments.len()
            || in_flight >= u32::from(bounds.in_flight)
        {
            return false;
        }
        if bounds.variant == Variant::GateBeforeSync {
            let locked_at = broker.segments[segment].locked_at;
            if !broker.gate.is_open_for(locked_at, NOW) {
                return false;
            }
            broker.asked_early = true;
        }
        broker.under_way |= 1 << broker.written;
        broker.written += 1;
        true
    }

    fn lands(&mut self, bounds: &Bounds, index: usize, record: u8) -> bool {
        let broker = &mut self.brokers[index];
        if broker.under_way & 1 << record == 0 {
            return false;
        }
        let (segment, bit) = broker.place(record, bounds.second_segment);
        let segment = broker.segments[segment];
        if segment.is_lost {
            // EIO, which the process learns when it runs.
            return broker.mode == Mode::Running
                && broker.phase != Phase::Ended
                && self.ends(bounds, index);
        }
        broker.under_way &= !(1 << record);
        if let Some(file) = self.directory.segments.get_mut(&segment.name)
            && file.serial == segment.serial
        {
            file.records |= 1 << bit;
        }
        true
    }

    fn confirms(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &self.brokers[index];
        let durable = broker.durable();
        let Some(claim) = broker.claim else {
            return false;
        };
        let is_wanted = broker.acknowledged < durable && broker.confirmed < durable;
        if !bounds.is_strict || broker.stage() != Some(Stage::Serving) || !is_wanted {
            return false;
        }
        if self.standing(bounds, claim) != Standing::Newest {
            return self.ends(bounds, index);
        }
        self.brokers[index].confirmed = durable;
        true
    }

    fn acknowledges(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &self.brokers[index];
        let record = broker.acknowledged;
        if broker.stage() != Some(Stage::Serving) || record >= broker.durable() {
            return false;
        }
        let (segment, _) = broker.place(record, bounds.second_segment);
        let segment = broker.segments[segment];
        let is_open = match bounds.variant {
            Variant::NoGate => true,
            Variant::GateBeforeSync => broker.asked_early,
            Variant::NoLockTime => broker.gate.is_open(NOW),
            _ => broker.gate.is_open_for(segment.locked_at, NOW),
        };
        if !is_open || bounds.is_strict && record >= broker.confirmed {
            return false;
        }
        let lsn = broker.base + 1 + u64::from(record);
        self.brokers[index].acknowledged += 1;
        let is_there = self.directory.segments.get(&segment.name);
        // What an administrator deleted is lost by his hand.
        if is_there.is_some_and(|file| file.serial == segment.serial) {
            self.acknowledged.insert((segment.serial, lsn));
        }
        let may_not_know = self.emptied.is_some_and(|ticks| ticks < UNKNOWING_TICKS);
        if segment.serial < self.last_to_acknowledge && !(may_not_know && bounds.newcomers) {
            self.is_late = true;
        }
        self.last_to_acknowledge = self.last_to_acknowledge.max(segment.serial);
        true
    }

    // A planned end.

    fn shuts_gate(&mut self, bounds: &Bounds, index: usize) -> bool {
        let broker = &mut self.brokers[index];
        let is_idle = broker.under_way == 0 && broker.renewal == Renewal::Idle;
        if !broker.can_call() || broker.stage() != Some(Stage::Serving) || !is_idle {
            return false;
        }
        if bounds.variant == Variant::ReleasesBeforeTheGateIsShut {
            return self.says_released(index);
        }
        broker.gate = broker.gate.fenced();
        broker.phase = Phase::Tenure(Stage::Releasing { since: NOW });
        true
    }

    fn marks_released(&mut self, bounds: &Bounds, index: usize) -> bool {
        if !matches!(self.brokers[index].stage(), Some(Stage::Releasing { .. })) {
            return false;
        }
        self.says_released(index);
        self.ends(bounds, index)
    }

    fn says_released(&mut self, index: usize) -> bool {
        let Some(claim) = self.brokers[index].claim.filter(|claim| !claim.is_lost) else {
            return false;
        };
        if let Some(file) = self.directory.claims.get_mut(&claim.epoch)
            && file.serial == claim.serial
        {
            file.phase = LeasePhase::Released;
        }
        true
    }

    /// The gates that are open.
    pub(super) fn open_gates(&self) -> usize {
        let open = self.brokers.iter();
        open.filter(|broker| broker.stage() == Some(Stage::Serving) && broker.gate.is_open(NOW))
            .count()
    }
}

fn has_lock(bounds: &Bounds, broker: &Broker, lock: Other) -> bool {
    if broker.others.contains(&lock) {
        return true;
    }
    match lock {
        Other::Claim(serial) => broker
            .claim
            .is_some_and(|claim| claim.serial == serial && !claim.is_lost),
        Other::Segment(name, serial) => {
            !bounds.has_unlocked_segments()
                && broker.segments.iter().any(|segment| {
                    segment.name == name && segment.serial == serial && !segment.is_lost
                })
        }
    }
}
