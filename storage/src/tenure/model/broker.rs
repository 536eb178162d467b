//! One broker of the model: what it believes and holds. What it does is in `world`.

use std::time::Duration;

use super::directory::Serial;
use super::{LEASE, NOW, TICK};
use crate::chain::SegmentName;
use crate::position::Epoch;
use crate::tenure::claim::Standing;
use crate::tenure::gate::{GateState, Stage};
use crate::tenure::seeker::{Rules, Seeker};

/// What happens to a broker from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Running,
    /// The process does not run; its host does, and goes on talking to the server.
    Paused,
    /// The process runs; every call to storage hangs.
    Cut,
    /// The host does not run; its clock does.
    Frozen,
    /// The host does not run, and neither does its clock.
    Stopped,
}

/// Where it is: like the control thread's phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Seeking,
    /// It has read to the end and is about to seal there.
    Sealing(Point),
    Tenure(Stage),
    Ended,
}

/// Where a tenure will begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Point {
    pub(super) previous: Epoch,
    pub(super) lsn: u64,
    pub(super) number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnClaim {
    pub(super) epoch: Epoch,
    pub(super) serial: Serial,
    /// The server took its lock away: writes through its descriptor fail.
    pub(super) is_lost: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnSegment {
    pub(super) name: SegmentName,
    pub(super) serial: Serial,
    pub(super) locked_at: Duration,
    pub(super) is_lost: bool,
}

/// A lock that a seeker holds beside `lock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Other {
    Claim(Serial),
    Segment(SegmentName, Serial),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Renewal {
    Idle,
    /// The block is written.
    Written {
        started: Duration,
        opens: bool,
    },
    /// The directory has answered; the answer is under way.
    Listed {
        started: Duration,
        opens: bool,
        standing: Standing,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Broker {
    pub(super) mode: Mode,
    /// Its clock runs slow by as much as is allowed.
    pub(super) is_slow: bool,
    /// Ticks since the server last heard of its host, up to the server's lease.
    pub(super) silent: u8,
    pub(super) seeker: Seeker,
    pub(super) phase: Phase,
    /// The epoch that it is about to claim.
    pub(super) wants: Option<Epoch>,
    /// Which file `lock` it holds the lock of.
    pub(super) lock: Option<u8>,
    pub(super) others: Vec<Other>,
    pub(super) claim: Option<OwnClaim>,
    pub(super) renewal: Renewal,
    pub(super) gate: GateState,
    pub(super) segments: Vec<OwnSegment>,
    /// The seal's number.
    pub(super) base: u64,
    /// Records handed to the kernel: how many, and which of them are not on the server yet.
    pub(super) written: u8,
    pub(super) under_way: u8,
    /// With a strict fence: this many were durable before the last look for newer claims.
    pub(super) confirmed: u8,
    pub(super) acknowledged: u8,
    /// The gate was open when the record was written: only a broken protocol asks then.
    pub(super) asked_early: bool,
    /// What it read when it claimed: only a broken protocol seals there.
    pub(super) early_point: Option<Point>,
}

impl Broker {
    pub(super) fn new(rules: Rules, is_slow: bool) -> Broker {
        Broker {
            mode: Mode::Running,
            is_slow,
            silent: 0,
            seeker: Seeker::new(rules),
            phase: Phase::Seeking,
            wants: None,
            lock: None,
            others: Vec::new(),
            claim: None,
            renewal: Renewal::Idle,
            gate: GateState::default(),
            segments: Vec::new(),
            base: 0,
            written: 0,
            under_way: 0,
            confirmed: 0,
            acknowledged: 0,
            asked_early: false,
            early_point: None,
        }
    }

    /// The process is gone, or has left the role for good; what its host holds stays.
    pub(super) fn ended(&self, rules: Rules) -> Broker {
        Broker {
            mode: self.mode,
            silent: self.silent,
            phase: Phase::Ended,
            lock: self.lock,
            others: self.others.clone(),
            claim: self.claim,
            segments: self.segments.clone(),
            base: self.base,
            written: self.written,
            under_way: self.under_way,
            ..Broker::new(rules, self.is_slow)
        }
    }

    pub(super) fn holds_nothing(&self) -> bool {
        self.lock.is_none()
            && self.others.is_empty()
            && self.claim.is_none()
            && self.segments.is_empty()
    }

    /// Its calls to storage are answered.
    pub(super) fn can_call(&self) -> bool {
        self.mode == Mode::Running
    }

    /// Its threads run.
    pub(super) fn can_think(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::Cut)
    }

    /// Its host talks to the server.
    pub(super) fn is_heard(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::Paused)
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        match self.phase {
            Phase::Tenure(stage) => Some(stage),
            _ => None,
        }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.stage()
            .is_some_and(|stage| NOW >= self.gate.expiry(stage, LEASE))
    }

    /// Clients may have connections to it.
    pub(super) fn has_role(&self) -> bool {
        self.stage() == Some(Stage::Serving) && self.can_think() && !self.is_expired()
    }

    /// The place of the record `index` in its tenure: which of its segments, and which bit there.
    pub(super) fn place(&self, index: u8, has_second: bool) -> (usize, u8) {
        match has_second && index >= 1 {
            true => (1, index - 1),
            false => (0, index + 1),
        }
    }

    /// How many records from the first are durable.
    pub(super) fn durable(&self) -> u8 {
        self.written.min(self.under_way.trailing_zeros() as u8)
    }

    /// A tick of its clock: the present stays where it is, and everything else is longer ago.
    pub(super) fn age(&mut self) {
        let age = |time: &mut Duration| *time = time.saturating_sub(TICK);
        self.seeker.age(TICK);
        age(&mut self.gate.open_until);
        age(&mut self.gate.proven);
        if let Renewal::Written { started, .. } | Renewal::Listed { started, .. } =
            &mut self.renewal
        {
            age(started);
        }
        for segment in &mut self.segments {
            age(&mut segment.locked_at);
        }
        if let Phase::Tenure(Stage::Proving { since } | Stage::Releasing { since }) =
            &mut self.phase
        {
            age(since);
        }
    }

    /// Makes those the same that differ in what makes no difference any more.
    pub(super) fn forget_details(&mut self) {
        // A lease and a tick ago is as long ago as anything.
        let long_ago = NOW - LEASE - TICK;
        self.seeker.forget_details(long_ago);
        if let Renewal::Written { started, .. } | Renewal::Listed { started, .. } =
            &mut self.renewal
        {
            *started = (*started).max(NOW - LEASE);
        }
        if !self.gate.proven.is_zero() {
            self.gate.proven = self.gate.proven.max(long_ago);
            self.gate.open_until = self.gate.open_until.max(NOW - TICK);
        }
        for segment in &mut self.segments {
            if segment.locked_at < self.gate.proven {
                segment.locked_at = Duration::ZERO;
            }
        }
    }
}
