//! What a topic keeps for consumers that ask for what was published before they came.
//!
//! It is in memory only and gone with the tenure, as in ActiveMQ. Whatever the policy, it stays within a
//! share of the broker's memory for messages.

use std::collections::VecDeque;
use std::sync::Arc;

use openwire::primitive::Value;
use storage::Lsn;

use crate::broker::policy::{Policy, SubscriptionRecovery};
use crate::broker::usage::Memory;
use crate::broker::{Message, wall_ms};

/// The property of a message that is to be kept as the retained one.
pub(in crate::broker) const RETAIN: &str = "ActiveMQ.Retain";
/// The property that tells a retained message from a new one.
const RETAINED: &str = "ActiveMQ.Retained";

/// How much of the broker's memory may be used before topics keep no more than the last message.
const SCARCE_PERCENT: u32 = 50;

/// What a topic keeps of the past.
pub(super) struct Recovery {
    policy: SubscriptionRecovery,
    /// Bytes that may be kept because of the topic's own limit.
    limit_bytes: u64,
    kept: VecDeque<Kept>,
    kept_bytes: u64,
    /// The last message that asked to be retained. Every topic keeps that, whatever its policy.
    retained: Option<Kept>,
}

#[derive(Clone)]
struct Kept {
    message: Arc<Message>,
    /// When it may be dispatched.
    visible: Lsn,
    /// When it came.
    at_ms: i64,
}

impl Recovery {
    pub(super) fn new(policy: &Policy) -> Self {
        let limit_bytes = match policy.memory_limit_bytes {
            0 => u64::MAX,
            limit => limit,
        };
        Recovery {
            policy: policy.subscription_recovery,
            limit_bytes,
            kept: VecDeque::new(),
            kept_bytes: 0,
            retained: None,
        }
    }

    /// A message was published.
    pub(super) fn add(&mut self, message: &Arc<Message>, visible: Lsn, memory: &Arc<Memory>) {
        if message.asks_to_be_retained() {
            self.retain(message, visible, memory);
        }
        if matches!(
            self.policy,
            SubscriptionRecovery::None | SubscriptionRecovery::Retained
        ) {
            return;
        }
        let now_ms = wall_ms();
        message.hold();
        self.kept_bytes += message.len() as u64;
        self.kept.push_back(Kept {
            message: Arc::clone(message),
            visible,
            at_ms: now_ms,
        });
        self.trim(now_ms, memory);
    }

    /// An empty message that asks to be retained takes the retained one away.
    fn retain(&mut self, message: &Arc<Message>, visible: Lsn, memory: &Arc<Memory>) {
        let Ok(mut copy) = message.stored().decode() else {
            return;
        };
        let mut properties = copy.properties().unwrap_or_default();
        let is_true = match properties.get(RETAIN) {
            Some(Value::Boolean(value)) => *value,
            Some(Value::String(text)) => text.to_string_lossy().eq_ignore_ascii_case("true"),
            _ => false,
        };
        if !is_true {
            return;
        }
        if copy.content.as_ref().is_none_or(bytes::Bytes::is_empty) {
            self.retained = None;
            return;
        }
        properties.remove(RETAIN);
        properties.insert(RETAINED, Value::Boolean(true));
        copy.marshalled_properties = properties.encode().ok();
        match Message::made(&copy, memory) {
            Ok(message) => {
                self.retained = Some(Kept {
                    message: Arc::new(message),
                    visible,
                    at_ms: wall_ms(),
                });
            }
            Err(error) => {
                tracing::error!(message = %message.id(), %error, "A message cannot be retained.");
            }
        }
    }

    /// Lets go what need not be kept any more, or cannot.
    fn trim(&mut self, now_ms: i64, memory: &Memory) {
        let share = (memory.limit_bytes() / 8) as u64;
        let limit_bytes = self.limit_bytes.min(share);
        while let Some(oldest) = self.kept.front() {
            let is_over = match self.policy {
                SubscriptionRecovery::None | SubscriptionRecovery::Retained => true,
                SubscriptionRecovery::FixedSize { bytes, .. } => self.kept_bytes > bytes,
                SubscriptionRecovery::FixedCount(count) => self.kept.len() > count,
                SubscriptionRecovery::LastImage => self.kept.len() > 1,
                SubscriptionRecovery::Timed(duration) => {
                    let limit = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
                    now_ms.saturating_sub(oldest.at_ms) > limit
                }
            };
            // Producers must not wait because of what is kept only for the past's sake.
            let is_scarce = self.kept.len() > 1 && memory.is_above(SCARCE_PERCENT);
            if !is_over && !is_scarce && self.kept_bytes <= limit_bytes {
                return;
            }
            self.kept_bytes -= oldest.message.len() as u64;
            self.kept.pop_front();
        }
    }

    /// The past, oldest first: the retained message, and if `with_policy` what the policy keeps.
    pub(super) fn past(
        &mut self,
        now_ms: i64,
        with_policy: bool,
        memory: &Memory,
    ) -> impl Iterator<Item = (Arc<Message>, Lsn)> + '_ {
        self.trim(now_ms, memory);
        let kept = self.kept.iter().filter(move |_| with_policy);
        self.retained
            .iter()
            .chain(kept)
            .filter(move |kept| !kept.message.is_expired(now_ms))
            .map(|kept| (Arc::clone(&kept.message), kept.visible))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use openwire::ConnectionId;
    use openwire::primitive::PrimitiveMap;

    use super::*;

    const NOTHING: [i64; 0] = [];

    fn memory() -> Arc<Memory> {
        Memory::new(1 << 20, 64 << 10, Arc::default())
    }

    fn message(number: i64, text: &str, retain: Option<Value>) -> Arc<Message> {
        let producer = ConnectionId::new("c").session(1).producer(1);
        let mut properties = PrimitiveMap::new();
        if let Some(retain) = retain {
            properties.insert(RETAIN, retain);
        }
        let message = openwire::Message {
            message_id: Some(producer.message(number)),
            producer_id: Some(producer),
            destination: Some(openwire::Destination::topic("T")),
            content: (!text.is_empty()).then(|| text.to_owned().into()),
            marshalled_properties: properties.encode().ok(),
            ..openwire::Message::default()
        };
        Arc::new(Message::made(&message, &memory()).expect("a message"))
    }

    fn recovery(subscription_recovery: SubscriptionRecovery) -> Recovery {
        Recovery::new(&Policy {
            subscription_recovery,
            ..Policy::default()
        })
    }

    fn past_at(recovery: &mut Recovery, now_ms: i64) -> Vec<i64> {
        recovery
            .past(now_ms, true, &memory())
            .map(|(message, _)| message.id().producer_sequence_id)
            .collect()
    }

    fn keeps(policy: SubscriptionRecovery, messages: i64, text: &str) -> Vec<i64> {
        let mut recovery = recovery(policy);
        for number in 1..=messages {
            recovery.add(&message(number, text, None), Lsn::default(), &memory());
        }
        past_at(&mut recovery, wall_ms())
    }

    #[test]
    fn each_policy_keeps_what_it_says() {
        let size = message(1, "x", None).len() as u64;
        let fixed_size = SubscriptionRecovery::FixedSize {
            bytes: 2 * size,
            shared_buffer: true,
        };
        assert_eq!(keeps(SubscriptionRecovery::None, 3, "x"), NOTHING);
        assert_eq!(keeps(SubscriptionRecovery::Retained, 3, "x"), NOTHING);
        assert_eq!(keeps(SubscriptionRecovery::LastImage, 3, "x"), [3]);
        assert_eq!(keeps(SubscriptionRecovery::FixedCount(2), 3, "x"), [2, 3]);
        assert_eq!(keeps(fixed_size, 3, "x"), [2, 3]);
        let timed = SubscriptionRecovery::Timed(Duration::from_secs(60));
        assert_eq!(keeps(timed, 3, "x"), [1, 2, 3]);
    }

    #[test]
    fn old_messages_are_let_go_when_somebody_asks() {
        let mut recovery = recovery(SubscriptionRecovery::Timed(Duration::from_secs(60)));
        recovery.add(&message(1, "x", None), Lsn::default(), &memory());
        assert_eq!(past_at(&mut recovery, wall_ms() + 59_000), [1]);
        assert_eq!(past_at(&mut recovery, wall_ms() + 61_000), NOTHING);
    }

    #[test]
    fn no_policy_keeps_more_than_a_share_of_the_memory() {
        let timed = SubscriptionRecovery::Timed(Duration::from_secs(60));
        let kept = keeps(timed, 100, &"x".repeat(1000));
        assert!(kept.len() < 9 && kept.ends_with(&[99, 100]), "{kept:?}");
    }

    #[test]
    fn the_retained_message_is_marked_and_an_empty_one_removes_it() {
        let mut recovery = recovery(SubscriptionRecovery::None);
        let truth = || Some(Value::Boolean(true));
        let false_text = Some(Value::String("false".into()));
        for (number, text, retain) in [
            (1, "x", truth()),
            (2, "x", None),
            (3, "x", false_text),
            (4, "x", Some(Value::String("true".into()))),
        ] {
            recovery.add(&message(number, text, retain), Lsn::default(), &memory());
        }
        let past: Vec<_> = recovery.past(wall_ms(), false, &memory()).collect();
        let [(retained, _)] = &past[..] else {
            panic!("{} messages", past.len());
        };
        assert_eq!(retained.id().producer_sequence_id, 4);
        let properties = retained
            .stored()
            .decode()
            .expect("a message")
            .properties()
            .expect("properties");
        assert_eq!(properties.get(RETAINED), Some(&Value::Boolean(true)));
        assert_eq!(properties.get(RETAIN), None);
        drop(past);
        recovery.add(&message(5, "", truth()), Lsn::default(), &memory());
        assert_eq!(past_at(&mut recovery, wall_ms()), NOTHING);
    }
}
