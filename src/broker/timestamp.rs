//! What the broker changes in messages as they come: their time stamps and expirations by its own
//! clock, and their delivery mode. Off by default; ActiveMQ's `timeStampingBrokerPlugin` and
//! `forcePersistencyModeBrokerPlugin`.

use std::time::Duration;

/// Time stamps and expirations by the broker's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeStamping {
    /// How long messages without an expiration live; zero = for ever.
    pub zero_expiration_override: Duration,
    /// No message lives longer than this; zero = as long as it was sent with.
    pub ttl_ceiling: Duration,
    /// Leave a message alone whose expiration would become earlier.
    pub future_only: bool,
    /// Change messages that came over another broker too.
    pub process_network_messages: bool,
}

impl TimeStamping {
    /// Stamps a message that came at `now_ms`. False: it stays as it is.
    fn stamp(&self, message: &mut openwire::Message, now_ms: i64) -> bool {
        let came_over_network = message
            .broker_path
            .as_ref()
            .is_some_and(|path| !path.is_empty());
        // Without a time stamp the sender did not want one.
        if message.timestamp <= 0 || came_over_network && !self.process_network_messages {
            return false;
        }
        let mut time_to_live = if message.expiration > 0 {
            message.expiration.saturating_sub(message.timestamp)
        } else {
            milliseconds(self.zero_expiration_override)
        };
        let ceiling = milliseconds(self.ttl_ceiling);
        if ceiling > 0 {
            time_to_live = time_to_live.min(ceiling);
        }
        let expiration = now_ms.saturating_add(time_to_live);
        if self.future_only && expiration <= message.expiration {
            return false;
        }
        if time_to_live > 0 {
            message.expiration = expiration;
        }
        message.timestamp = now_ms;
        true
    }
}

/// What the broker changes in each message that comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamping {
    /// Stamp messages with the broker's time; None = they keep their own.
    pub time: Option<TimeStamping>,
    /// Make all messages persistent, or none; None = as they were sent.
    pub force_persistence: Option<bool>,
}

impl Stamping {
    /// The message as the broker takes it; None = as it came.
    pub(super) fn apply(
        &self,
        message: &openwire::Message,
        now_ms: impl FnOnce() -> i64,
    ) -> Option<openwire::Message> {
        if *self == Stamping::default() {
            return None;
        }
        let mut stamped = message.clone();
        let mut is_changed = false;
        if let Some(time) = &self.time {
            is_changed |= time.stamp(&mut stamped, now_ms());
        }
        if let Some(persistent) = self.force_persistence {
            is_changed |= stamped.persistent != persistent;
            stamped.persistent = persistent;
        }
        is_changed.then_some(stamped)
    }
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn stamped(time: TimeStamping, sent: i64, expiration: i64) -> (i64, i64) {
        let mut message = openwire::Message {
            timestamp: sent,
            expiration,
            ..openwire::Message::default()
        };
        time.stamp(&mut message, NOW);
        (message.timestamp, message.expiration)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_message_lives_as_long_as_its_sender_said_by_the_brokers_clock() {
        let plain = TimeStamping::default();
        assert_eq!(stamped(plain.clone(), 500, 2500), (NOW, NOW + 2000));
        assert_eq!(stamped(plain.clone(), 500, 0), (NOW, 0), "for ever");
        assert_eq!(stamped(plain, 0, 2500), (0, 2500), "no time stamp");
    }

    #[test]
    fn lives_have_a_default_and_a_ceiling() {
        let limited = TimeStamping {
            zero_expiration_override: seconds(9),
            ttl_ceiling: seconds(5),
            ..TimeStamping::default()
        };
        assert_eq!(stamped(limited.clone(), 500, 0), (NOW, NOW + 5000));
        assert_eq!(stamped(limited.clone(), 500, 60_500), (NOW, NOW + 5000));
        assert_eq!(stamped(limited, 500, 1500), (NOW, NOW + 1000));
    }

    #[test]
    fn the_future_only_is_never_shortened() {
        let future = TimeStamping {
            future_only: true,
            ..TimeStamping::default()
        };
        let ahead = (NOW + 500, NOW + 1500);
        assert_eq!(stamped(future.clone(), ahead.0, ahead.1), ahead);
        assert_eq!(stamped(future, 500, 1500), (NOW, NOW + 1000));
    }

    #[test]
    fn what_came_over_a_network_is_left_alone_unless_wanted() {
        let mut message = openwire::Message {
            timestamp: 500,
            broker_path: Some(vec![Some(openwire::BrokerId::new("b"))]),
            ..openwire::Message::default()
        };
        assert!(!TimeStamping::default().stamp(&mut message, NOW));
        let all = TimeStamping {
            process_network_messages: true,
            ..TimeStamping::default()
        };
        assert!(all.stamp(&mut message, NOW));
    }

    #[test]
    fn the_delivery_mode_can_be_forced() {
        let message = openwire::Message::default();
        let mut stamping = Stamping::default();
        assert_eq!(stamping.apply(&message, || NOW), None);
        stamping.force_persistence = Some(false);
        assert_eq!(stamping.apply(&message, || NOW), None, "as it came");
        stamping.force_persistence = Some(true);
        let forced = stamping.apply(&message, || NOW).expect("changed");
        assert!(forced.persistent);
    }
}
