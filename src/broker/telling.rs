//! What the journal's opaque parts are, in a person's words: for tools that read a directory.

use bytes::Bytes;
use openwire::{Destination, DestinationKind, StoredMessage};

use super::descriptor::Descriptor;
use super::schedule::body_of_job;

/// What a backlog is the backlog of.
#[must_use]
pub fn name_of_backlog(descriptor: &Bytes) -> String {
    let text = |name: &Destination| name.name.clone().unwrap_or_default().to_string();
    match Descriptor::decode(descriptor.clone()) {
        Ok(Descriptor::Queue { name }) if name.kind == DestinationKind::Queue => {
            format!("queue `{}`", text(&name))
        }
        Ok(Descriptor::Queue { name }) => format!("destination `{}`", text(&name)),
        Ok(Descriptor::Subscription { key, topic, .. }) => format!(
            "durable subscription `{}` of client `{}` to topic `{}`",
            key.name,
            key.client_id,
            text(&topic)
        ),
        Ok(Descriptor::Schedule) => "the schedule".to_owned(),
        Err(error) => format!("something that this release cannot read ({error})"),
    }
}

/// The id of a message as its client knows it; None: these bytes are no message.
#[must_use]
pub fn id_of_message(descriptor: Option<&Bytes>, body: Bytes) -> Option<String> {
    let is_job = descriptor
        .is_some_and(|bytes| Descriptor::decode(bytes.clone()) == Ok(Descriptor::Schedule));
    let body = if is_job { body_of_job(body)? } else { body };
    let message = StoredMessage::new(body).ok()?.decode().ok()?;
    Some(message.message_id?.to_string())
}
