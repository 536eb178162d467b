//! ActiveMQ's reconnect policy as a state machine without I/O, clocks or hidden randomness.
//!
//! ```text
//!              begin                     list exhausted, limit not reached
//!   Idle ───────────────▶ (Wait) ─▶ Round ─────────────▶ (Wait) ─▶ Round ...
//!    ▲                                │  │
//!    │           connected()          │  └─ list exhausted, limit reached ─▶ GiveUp (for good)
//!    └────────────────────────────────┘
//! ```
//!
//! One *attempt* in the sense of the options is one round over the whole list. The caller asks
//! [`ReconnectPolicy::next`] what to do, does it, and reports [`ReconnectPolicy::connected`] or
//! [`ReconnectPolicy::lost`]; a failed address needs no report, the next step follows. The policy
//! is generic over what an address is, so it serves any protocol.

use std::collections::VecDeque;
use std::time::Duration;

use crate::options::FailoverOptions;

/// A small seeded generator (SplitMix64): the same seed gives the same order of addresses.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        // The modulo's bias is far below what a handful of addresses could show.
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }

    fn shuffle<A>(&mut self, list: &mut [A]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last + 1));
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<A> {
    /// Wait, then ask again.
    Wait {
        /// For how long.
        delay: Duration,
        /// The round that failed, when one did.
        failed: Option<FailedRound>,
    },
    /// Connect to this address; then report success, or ask again.
    Try(A),
    /// No further attempt is made, now or later.
    GiveUp {
        /// How many rounds failed in a row.
        rounds: u32,
    },
}

/// A round over the list in which no address answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedRound {
    /// How many rounds failed in a row, this one included.
    pub rounds: u32,
    /// Whether `warnAfterReconnectAttempts` asks for a warning.
    pub is_warning: bool,
}

/// What becomes of a lost connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Another one is sought.
    Reconnect,
    /// `maxReconnectAttempts` is 0: it is final.
    Final,
}

#[derive(Debug, Clone)]
enum Phase<A> {
    Idle,
    Round(VecDeque<A>),
    Given { rounds: u32 },
}

/// Decides which address to try when.
#[derive(Debug, Clone)]
pub struct ReconnectPolicy<A> {
    options: FailoverOptions,
    listed: Vec<A>,
    pushed: Vec<A>,
    priority: Vec<A>,
    /// The address of the last live connection that broke: it goes to the end of the list.
    failed: Option<A>,
    /// Where a broker told us to go: it goes to the front, once, and without a pause.
    wanted: Option<A>,
    phase: Phase<A>,
    is_first: bool,
    failed_rounds: u32,
    delay_ms: u64,
    random: Random,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<A: Clone + PartialEq> ReconnectPolicy<A> {
    /// A policy over `listed` addresses; `seed` decides every random order.
    ///
    /// Equal addresses count once.
    #[must_use]
    pub fn new(options: FailoverOptions, listed: Vec<A>, priority: Vec<A>, seed: u64) -> Self {
        let delay_ms = millis(options.reconnect_delay);
        Self {
            options,
            listed: unique(listed),
            pushed: Vec::new(),
            priority,
            failed: None,
            wanted: None,
            phase: Phase::Idle,
            is_first: true,
            failed_rounds: 0,
            delay_ms,
            random: Random::new(seed),
        }
    }

    /// The options it works by.
    #[must_use]
    pub fn options(&self) -> &FailoverOptions {
        &self.options
    }

    /// Whether there has been no connection yet.
    #[must_use]
    pub fn is_first_connection(&self) -> bool {
        self.is_first
    }

    /// What to do next to get a connection.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, so it is no iterator"
    )]
    pub fn next(&mut self) -> Step<A> {
        if matches!(self.phase, Phase::Idle)
            && let Some(wait) = self.begin_round()
        {
            return wait;
        }
        match &mut self.phase {
            Phase::Round(list) => match list.pop_front() {
                Some(address) => Step::Try(address),
                None => self.end_round(),
            },
            Phase::Given { rounds } => Step::GiveUp { rounds: *rounds },
            Phase::Idle => unreachable!("begin_round leaves the idle phase"),
        }
    }

    /// Starts a round; the pause before it when it is the first after a live connection.
    fn begin_round(&mut self) -> Option<Step<A>> {
        let is_sent = self.wanted.is_some();
        let list = self.connect_list();
        self.wanted = None;
        self.phase = Phase::Round(list.into());
        self.reset_delay();
        let is_after_loss = !self.is_first && self.failed_rounds == 0;
        if is_after_loss && !is_sent && !self.options.initial_reconnect_delay.is_zero() {
            return Some(Step::Wait {
                delay: self.take_delay(),
                failed: None,
            });
        }
        None
    }

    fn end_round(&mut self) -> Step<A> {
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        let rounds = self.failed_rounds;
        if self.limit().is_some_and(|limit| rounds >= limit) {
            self.phase = Phase::Given { rounds };
            return Step::GiveUp { rounds };
        }
        self.phase = Phase::Idle;
        let interval = self.options.warn_after_reconnect_attempts.unwrap_or(0);
        let is_warning = interval > 0 && (rounds == 1 || rounds.is_multiple_of(interval));
        let failed = Some(FailedRound { rounds, is_warning });
        Step::Wait {
            delay: self.take_delay(),
            failed,
        }
    }

    /// The address just tried answered.
    pub fn connected(&mut self) {
        self.is_first = false;
        self.failed_rounds = 0;
        self.delay_ms = millis(self.options.initial_reconnect_delay);
        self.phase = Phase::Idle;
    }

    /// The live connection to `address` broke.
    pub fn lost(&mut self, address: A) -> Loss {
        self.failed = Some(address);
        if self.limit() == Some(0) {
            self.phase = Phase::Given { rounds: 0 };
            return Loss::Final;
        }
        Loss::Reconnect
    }

    /// The live connection is given up on purpose, for another address: nothing has failed.
    pub fn left(&mut self) {
        self.phase = Phase::Idle;
    }

    /// Takes a list pushed by a broker; it comes before the listed addresses. Returns whether it
    /// is another one than before.
    pub fn push(&mut self, addresses: Vec<A>) -> bool {
        if !self.options.update_uris_supported {
            return false;
        }
        let addresses = unique(addresses);
        // A broker that is announced anew is worth trying at its place in the list.
        if self
            .failed
            .as_ref()
            .is_some_and(|failed| addresses.contains(failed))
        {
            self.failed = None;
        }
        let is_same = addresses.len() == self.pushed.len()
            && addresses
                .iter()
                .all(|address| self.pushed.contains(address));
        self.pushed = addresses;
        !is_same
    }

    /// A broker asks to continue at `address`; the next round begins there, without a pause. The
    /// rest of the list stays (the Java client forgets it and is stuck when the address dies).
    /// Returns whether the options allow it.
    pub fn reconnect_to(&mut self, address: A) -> bool {
        if !self.options.reconnect_supported {
            return false;
        }
        self.wanted = Some(address);
        true
    }

    /// Whether a broker named the address for the next round.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whether a rebalance should leave `current` for another address.
    pub fn should_move(&mut self, current: &A) -> bool {
        if self.is_priority(current) {
            return false;
        }
        self.connect_list()
            .first()
            .is_some_and(|first| first != current)
    }

    /// Whether the options make `address` a priority one.
    #[must_use]
    pub fn is_priority(&self, address: &A) -> bool {
        if !self.options.priority_backup {
            return false;
        }
        if self.priority.is_empty() {
            return self.listed.first() == Some(address);
        }
        self.priority.contains(address)
    }

    /// Addresses for backup connections beside `current`: priority ones first.
    pub fn backup_list(&mut self, current: &A) -> Vec<A> {
        let mut list = if self.options.priority_backup {
            self.priority.clone()
        } else {
            Vec::new()
        };
        if self.options.priority_backup && self.priority.is_empty() {
            list.extend(self.listed.first().cloned());
        }
        list.extend(self.connect_list());
        let mut list = unique(list);
        list.retain(|address| address != current);
        list
    }

    /// The next pause while waiting for a priority address; it grows like any other.
    pub fn backup_pause(&mut self) -> Duration {
        self.take_delay()
    }

    /// The addresses in the order of the next round.
    pub fn connect_list(&mut self) -> Vec<A> {
        let mut list = unique(self.pushed.iter().chain(&self.listed).cloned().collect());
        let failed = self
            .failed
            .as_ref()
            .filter(|failed| list.contains(failed))
            .cloned();
        if let Some(failed) = &failed {
            list.retain(|address| address != failed);
        }
        if self.options.randomize {
            self.random.shuffle(&mut list);
        }
        list.extend(failed);
        if let Some(wanted) = self.wanted.clone() {
            list.retain(|address| *address != wanted);
            list.insert(0, wanted);
        }
        list
    }

    fn limit(&self) -> Option<u32> {
        let startup = self
            .options
            .startup_max_reconnect_attempts
            .filter(|_| self.is_first);
        startup.or(self.options.max_reconnect_attempts)
    }

    /// `reconnectDelay` only survives here when it was set and pauses grow.
    fn reset_delay(&mut self) {
        let default = millis(FailoverOptions::default().initial_reconnect_delay);
        if !self.options.use_exponential_back_off || self.delay_ms == default {
            self.delay_ms = millis(self.options.initial_reconnect_delay);
        }
    }

    fn take_delay(&mut self) -> Duration {
        let delay = Duration::from_millis(self.delay_ms);
        if self.options.use_exponential_back_off {
            let longest = millis(self.options.max_reconnect_delay);
            let next = self.delay_ms as f64 * self.options.reconnect_delay_exponent;
            // A float beyond the integer's range saturates, which the limit then cuts.
            self.delay_ms = (next as u64).min(longest);
        }
        delay
    }
}

fn unique<A: PartialEq>(list: Vec<A>) -> Vec<A> {
    let mut unique: Vec<A> = Vec::with_capacity(list.len());
    for address in list {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique
}

#[cfg(test)]
mod tests;
