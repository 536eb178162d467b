//! Advisories about what happens to messages. They carry the message, without its body unless the
//! policy of its destination says otherwise.

use std::sync::Arc;

use openwire::{Command, ConsumerId, Destination};

use super::{Properties, int, is_advisory, text, topic_about, topic_about_kind};
use crate::broker::destination::Target;
use crate::broker::policy::Policy;
use crate::broker::{Broker, Message, MessageError};

/// The property with the id of the message that an advisory is about; ActiveMQ writes it so.
const MESSAGE_ID: &str = "orignalMessageId";
/// The property with where it was; ActiveMQ writes it so.
const DESTINATION: &str = "orignalDestination";

impl Broker {
    /// A message expired.
    pub(in crate::broker) fn advise_expired(
        self: &Arc<Self>,
        destination: &Destination,
        message: &Message,
        policy: &Policy,
    ) {
        let id = (MESSAGE_ID, text(message.id()));
        let topic = topic_about("Expired", destination);
        self.advise_message(&topic, destination, message, policy, || vec![id]);
    }

    /// A message became a dead letter.
    pub(in crate::broker) fn advise_dead_letter(
        self: &Arc<Self>,
        destination: &Destination,
        message: &Message,
        policy: &Policy,
    ) {
        let topic = topic_about_kind("MessageDLQd", destination);
        self.advise_message(&topic, destination, message, policy, Vec::new);
    }

    /// The broker has taken a message in, if the policy wants that to be known.
    pub(in crate::broker) fn advise_delivered(
        self: &Arc<Self>,
        destination: &Destination,
        message: &Message,
        policy: &Policy,
    ) {
        if policy.advisory_for_delivery {
            let topic = topic_about_kind("MessageDelivered", destination);
            let about = || about(destination, message);
            self.advise_message(&topic, destination, message, policy, about);
        }
    }

    /// A message was consumed, if the policy wants that to be known.
    pub(in crate::broker) fn advise_consumed(
        self: &Arc<Self>,
        destination: &Destination,
        message: &Message,
        policy: &Policy,
    ) {
        if policy.advisory_for_consumed {
            let topic = topic_about_kind("MessageConsumed", destination);
            let about = || about(destination, message);
            self.advise_message(&topic, destination, message, policy, about);
        }
    }

    /// A message for a slow topic consumer was discarded, the `discarded`th of that consumer, if the
    /// policy wants that to be known.
    pub(in crate::broker) fn advise_discarded(
        self: &Arc<Self>,
        destination: &Destination,
        consumer: &ConsumerId,
        discarded: usize,
        message: &Message,
        policy: &Policy,
    ) {
        if policy.advisory_for_discarding_messages {
            let topic = topic_about_kind("MessageDiscarded", destination);
            self.advise_message(&topic, destination, message, policy, || {
                let mut properties = about(destination, message);
                properties.push(("discardedCount", int(discarded)));
                properties.push(("consumerId", text(consumer)));
                properties
            });
        }
    }

    /// Nobody was there for a message that is not persistent, if the policy wants that to be known.
    /// The advisory is the message itself, under the advisory topic's name.
    pub(in crate::broker) fn advise_no_consumers(
        self: &Arc<Self>,
        destination: &Destination,
        message: &Message,
        policy: &Policy,
    ) {
        if !policy.send_advisory_if_no_consumers
            || message.is_persistent()
            || is_advisory(destination)
        {
            return;
        }
        let name = topic_about("NoConsumer", destination);
        let Some(topic) = self.listened(&name) else {
            return;
        };
        let copy = message.stored().decode().map_err(MessageError::from);
        let copy = copy.and_then(|mut copy| {
            copy.destination = Some(name);
            copy.transaction_id = None;
            Message::made(&copy, self.memory())
        });
        match copy {
            Ok(copy) => self.publish_memory(&Target::Topic(topic), &Arc::new(copy)),
            Err(error) => {
                tracing::error!(message = %message.id(), %error, "It cannot be advised of.");
            }
        }
    }

    fn advise_message(
        self: &Arc<Self>,
        topic: &Destination,
        destination: &Destination,
        message: &Message,
        policy: &Policy,
        about: impl FnOnce() -> Properties,
    ) {
        if is_advisory(destination) {
            return;
        }
        self.advise(topic, || {
            let payload = payload_of(message, policy.include_body_for_advisory);
            (payload, about())
        });
    }
}

fn about(destination: &Destination, message: &Message) -> Properties {
    vec![
        (MESSAGE_ID, text(message.id())),
        (DESTINATION, text(destination)),
    ]
}

/// A message as an advisory carries it.
fn payload_of(message: &Message, with_body: bool) -> Option<Command> {
    let mut copy = message
        .stored()
        .decode()
        .inspect_err(
            |error| tracing::error!(message = %message.id(), %error, "It cannot be advised of."),
        )
        .ok()?;
    if !with_body {
        copy.content = None;
        copy.compressed = false;
    }
    Some(copy.into())
}
