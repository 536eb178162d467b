//! `[tenure]`: who may write, and when the other takes over. Both brokers must agree on it.

use storage::member::{Fence, Takeover};

use super::Time;
use super::reader::Source;
use super::setting::{Expected, FromRaw, Raw, Setting};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// How long one renewal of the lease allows the active to acknowledge.
    pub lease: Setting<Time>,
    /// Time between two renewals.
    pub renewal: Setting<Time>,
    /// Time between two attempts of the standby to get the lock.
    pub lock_poll: Setting<Time>,
    /// Time between two looks of the standby at the journal.
    pub tail_poll: Setting<Time>,
    /// Whether the standby takes over from a lock holder whose lease has run out.
    pub takeover: Setting<Takeover>,
    /// What the active asks before it acknowledges.
    pub fence: Setting<Fence>,
    /// How much faster or slower the other host's clock may run, in parts per thousand.
    pub clock_drift_permille: Setting<u32>,
}

impl Tenure {
    pub(super) fn new() -> Tenure {
        Tenure {
            lease: Setting::default_of(Time::ms(5_000)),
            renewal: Setting::default_of(Time::ms(1_000)),
            lock_poll: Setting::default_of(Time::ms(50)),
            tail_poll: Setting::default_of(Time::ms(50)),
            takeover: Setting::default_of(Takeover::LockOrLease),
            fence: Setting::default_of(Fence::Lease),
            clock_drift_permille: Setting::default_of(10),
        }
    }

    pub(super) fn read(&mut self, source: &mut Source) {
        source.take("tenure", "lease", &mut self.lease);
        source.take("tenure", "renewal", &mut self.renewal);
        source.take("tenure", "lock_poll", &mut self.lock_poll);
        source.take("tenure", "tail_poll", &mut self.tail_poll);
        source.take("tenure", "takeover", &mut self.takeover);
        source.take("tenure", "fence", &mut self.fence);
        source.take(
            "tenure",
            "clock_drift_permille",
            &mut self.clock_drift_permille,
        );
    }
}

impl FromRaw for Takeover {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) if text == "lock" => Ok(Takeover::Lock),
            Raw::Text(text) if text == "lock_or_lease" => Ok(Takeover::LockOrLease),
            _ => Err(Expected("\"lock\" or \"lock_or_lease\"")),
        }
    }
}

impl FromRaw for Fence {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) if text == "lease" => Ok(Fence::Lease),
            Raw::Text(text) if text == "strict" => Ok(Fence::Strict),
            _ => Err(Expected("\"lease\" or \"strict\"")),
        }
    }
}
