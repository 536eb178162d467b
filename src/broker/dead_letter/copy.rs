//! What a message looks like in a dead letter queue.

use std::sync::Arc;
use std::time::Duration;

use openwire::primitive::Value;
use openwire::{Destination, StoredMessageError};

use crate::broker::usage::Memory;
use crate::broker::{Message, MessageError, wall_ms};

/// The property that says why a message was moved to a dead letter queue.
const FAILURE_CAUSE: &str = "dlqDeliveryFailureCause";
/// The property that keeps the expiration, which a moved message has no more; 0 = it had none.
const ORIGINAL_EXPIRATION: &str = "originalExpiration";
/// The property that says that a message was not persistent before it was moved.
const ORIGINAL_DELIVERY_MODE: &str = "originalDeliveryMode";

/// Why a message becomes a dead letter.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// It expired.
    Expired,
    /// A client gave it up, with this text.
    Poison(Option<String>),
}

impl Cause {
    /// The words of it that applications look for, which are ActiveMQ's.
    fn text(&self, message: &Message) -> Option<String> {
        match self {
            Cause::Expired => {
                let expiration = message.expiration_ms();
                let text = "java.lang.Throwable: Message Expired. Expiration:";
                Some(format!("{text}{expiration}"))
            }
            Cause::Poison(text) => text.clone(),
        }
    }
}

/// The copy that goes from one place to another, to live there for `time_to_live`; zero = for ever.
pub(super) fn dead_letter(
    message: &Message,
    from: &Destination,
    target: &Destination,
    cause: &Cause,
    time_to_live: Duration,
    memory: &Arc<Memory>,
) -> Result<Message, MessageError> {
    let mut copy = message.stored().decode()?;
    let mut properties = copy.properties().unwrap_or_default();
    let expiration = copy.expiration;
    if time_to_live.is_zero() {
        copy.expiration = 0;
        if properties.get(ORIGINAL_EXPIRATION).is_none() {
            properties.insert(ORIGINAL_EXPIRATION, Value::Long(expiration));
        }
    } else {
        let time_to_live = i64::try_from(time_to_live.as_millis()).unwrap_or(i64::MAX);
        copy.expiration = wall_ms().saturating_add(time_to_live);
    }
    if !copy.persistent {
        copy.persistent = true;
        let mode = Value::String("NON_PERSISTENT".into());
        properties.insert(ORIGINAL_DELIVERY_MODE, mode);
    }
    if let Some(text) = cause.text(message) {
        properties.insert(FAILURE_CAUSE, Value::String(text.as_str().into()));
    }
    copy.marshalled_properties = Some(properties.encode().map_err(StoredMessageError::from)?);
    copy.original_destination = Some(from.clone());
    copy.destination = Some(target.clone());
    copy.original_transaction_id = copy.transaction_id.take();
    copy.redelivery_counter = 0;
    Message::made(&copy, memory)
}
