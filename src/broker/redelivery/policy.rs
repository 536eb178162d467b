//! How often and after which time a message comes back.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Growing the delay any further would change nothing any more.
const STEPS_MAX: u32 = 1000;

/// How often and after which time a message comes back: ActiveMQ's `redeliveryPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct RedeliveryPolicy {
    /// How often it comes back; None = for ever.
    pub maximum_redeliveries: Option<u32>,
    /// Time before it comes back for the first time.
    pub initial_redelivery_delay: Duration,
    /// Time before it comes back again, unless that grows.
    pub redelivery_delay: Duration,
    /// The time grows with each redelivery.
    pub use_exponential_back_off: bool,
    /// By this factor.
    pub back_off_multiplier: f64,
    /// It grows no further than to this.
    pub maximum_redelivery_delay: Option<Duration>,
    /// The time varies at random, so that not all come back at once.
    pub use_collision_avoidance: bool,
    /// By up to this many percent in each direction.
    pub collision_avoidance_percent: u8,
}

impl Default for RedeliveryPolicy {
    fn default() -> Self {
        RedeliveryPolicy {
            maximum_redeliveries: Some(6),
            initial_redelivery_delay: Duration::from_secs(1),
            redelivery_delay: Duration::from_secs(1),
            use_exponential_back_off: false,
            back_off_multiplier: 5.0,
            maximum_redelivery_delay: None,
            use_collision_avoidance: false,
            collision_avoidance_percent: 15,
        }
    }
}

/// The time before a message comes back, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RedeliveryDelay(pub u64);

impl RedeliveryPolicy {
    /// The time before a message comes back that came back `redeliveries` times already.
    #[must_use]
    pub fn delay_of(&self, redeliveries: u32) -> RedeliveryDelay {
        let mut delay = milliseconds(self.initial_redelivery_delay);
        for _ in 0..redeliveries.min(STEPS_MAX) {
            delay = self.next(delay);
        }
        if redeliveries > 0 && self.use_collision_avoidance {
            delay += delay * self.variance();
        }
        RedeliveryDelay(whole(delay))
    }

    fn next(&self, previous: f64) -> f64 {
        let plain = milliseconds(self.redelivery_delay);
        let is_growing =
            self.use_exponential_back_off && self.back_off_multiplier > 1.0 && previous > 0.0;
        if !is_growing {
            return plain;
        }
        let grown = previous * self.back_off_multiplier;
        match self.maximum_redelivery_delay.map(milliseconds) {
            // A limit below the plain delay is an oversight: it does not shorten that.
            Some(limit) if grown > limit => limit.max(plain),
            _ => grown,
        }
    }

    fn variance(&self) -> f64 {
        // Each of these has keys of its own, drawn at random; that is enough to spread messages.
        let drawn = RandomState::new().hash_one(0) >> 40;
        let share = f64::from(u32::try_from(drawn).unwrap_or(0)) / f64::from(1 << 24);
        f64::from(self.collision_avoidance_percent) / 100.0 * (2.0 * share - 1.0)
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, which is what is wanted"
)]
fn whole(milliseconds: f64) -> u64 {
    // A due time has to fit a signed number of milliseconds since 1970.
    (milliseconds.round() as u64).min(u64::from(u32::MAX) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(policy: &RedeliveryPolicy, count: u32) -> Vec<u64> {
        (0..count).map(|n| policy.delay_of(n).0).collect()
    }

    #[test]
    fn the_first_delay_may_differ_from_the_others() {
        let policy = RedeliveryPolicy {
            initial_redelivery_delay: Duration::from_millis(10),
            redelivery_delay: Duration::from_millis(70),
            ..RedeliveryPolicy::default()
        };
        assert_eq!(delays(&policy, 4), [10, 70, 70, 70]);
    }

    #[test]
    fn a_growing_delay_stops_at_its_maximum() {
        let policy = RedeliveryPolicy {
            use_exponential_back_off: true,
            back_off_multiplier: 2.0,
            maximum_redelivery_delay: Some(Duration::from_millis(3500)),
            ..RedeliveryPolicy::default()
        };
        assert_eq!(delays(&policy, 5), [1000, 2000, 3500, 3500, 3500]);
        let odd = RedeliveryPolicy {
            maximum_redelivery_delay: Some(Duration::from_millis(10)),
            ..policy
        };
        assert_eq!(delays(&odd, 3), [1000, 1000, 1000]);
    }

    #[test]
    fn a_delay_without_a_maximum_saturates() {
        let policy = RedeliveryPolicy {
            use_exponential_back_off: true,
            ..RedeliveryPolicy::default()
        };
        assert_eq!(delays(&policy, 3), [1000, 5000, 25_000]);
        let last = policy.delay_of(u32::MAX).0;
        assert!(i64::try_from(last).is_ok_and(|ms| ms > 1 << 35), "{last}");
    }

    #[test]
    fn collision_avoidance_spreads_the_delays_within_its_percentage() {
        let policy = RedeliveryPolicy {
            use_collision_avoidance: true,
            ..RedeliveryPolicy::default()
        };
        assert_eq!(
            policy.delay_of(0).0,
            1000,
            "the first one is as it was chosen"
        );
        let spread: Vec<u64> = (0..200).map(|_| policy.delay_of(1).0).collect();
        assert!(
            spread.iter().all(|ms| (850..=1150).contains(ms)),
            "{spread:?}"
        );
        assert!(spread.iter().any(|ms| *ms < 1000) && spread.iter().any(|ms| *ms > 1000));
    }
}
