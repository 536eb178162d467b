//! A message as the broker holds it: its stored encoding, shared by all who need it, and the few
//! fields that decide what becomes of it.

use std::sync::Arc;

use bytes::Bytes;
use openwire::{
    DecodeError, Destination, MessageId, ProducerId, StoredMessage, StoredMessageError, Version,
    WireString,
};
use parking_lot::Mutex;

use super::schedule;
use super::topic::RETAIN;
use super::usage::{Charge, Class, DestinationCharge, DestinationUsage, Memory};

/// Frames of this size are not copied.
const LARGE_BYTES: usize = 1 << 20;

/// A message as the broker holds it. Immutable; shared.
#[derive(Debug)]
pub struct Message {
    stored: StoredMessage,
    id: MessageId,
    destination: Destination,
    is_persistent: bool,
    is_journaled: bool,
    may_be_delayed: bool,
    asks_to_be_retained: bool,
    priority: i8,
    expiration_ms: i64,
    redeliveries: u32,
    charge: Charge,
    /// The destinations that limit their memory and have it in theirs.
    destination_charges: Mutex<Vec<DestinationCharge>>,
    group: Option<Arc<Group>>,
}

/// A message's place in a message group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The group's name (JMSXGroupID).
    pub(crate) id: WireString,
    /// The place in it (JMSXGroupSeq); negative: the group ends with this message.
    pub(crate) sequence: i32,
}

/// Why something is no message that a broker can hold.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It cannot be decoded or encoded.
    #[error(transparent)]
    Wire(#[from] StoredMessageError),
    /// It has no id, or an id without a producer.
    #[error("a message without a producer in its message id")]
    Anonymous,
    /// It does not say where it goes.
    #[error("a message without a destination")]
    Undirected,
}

impl From<DecodeError> for MessageError {
    fn from(error: DecodeError) -> Self {
        MessageError::Wire(error.into())
    }
}

impl Message {
    /// Takes a message as it came in a frame of this version, already decoded. The frame's bytes
    /// are copied, because a slice keeps the whole receive buffer; a large frame is nearly all of it.
    pub(crate) fn received(
        frame: &Bytes,
        version: Version,
        decoded: &openwire::Message,
        memory: &Arc<Memory>,
    ) -> Result<Self, MessageError> {
        let own = if frame.len() < LARGE_BYTES {
            Bytes::copy_from_slice(frame)
        } else {
            frame.clone()
        };
        let stored = StoredMessage::from_frame(own, version)?;
        let message = Self::new(stored, decoded, memory)?;
        message.charge.reclassify(Class::Arriving);
        Ok(message)
    }

    /// Takes a message that the broker made or changed.
    pub(crate) fn made(
        decoded: &openwire::Message,
        memory: &Arc<Memory>,
    ) -> Result<Self, MessageError> {
        Self::new(StoredMessage::from_message(decoded)?, decoded, memory)
    }

    /// Takes a message that was read back from the journal.
    pub(crate) fn read_back(bytes: Bytes, memory: &Arc<Memory>) -> Result<Self, MessageError> {
        let stored = StoredMessage::new(bytes)?;
        let decoded = stored.decode()?;
        Self::new(stored, &decoded, memory)
    }

    fn new(
        stored: StoredMessage,
        decoded: &openwire::Message,
        memory: &Arc<Memory>,
    ) -> Result<Self, MessageError> {
        let id = decoded.message_id.as_ref().ok_or(MessageError::Anonymous)?;
        if id.producer_id.is_none() {
            return Err(MessageError::Anonymous);
        }
        let destination = decoded
            .destination
            .as_ref()
            .ok_or(MessageError::Undirected)?;
        let is_composite = destination
            .name
            .as_ref()
            .is_some_and(|name| name.as_bytes().contains(&b','));
        let is_journaled = decoded.persistent && (is_composite || !destination.kind.is_temporary());
        let group = decoded.group_id.as_ref().map(|id| {
            Arc::new(Group {
                id: id.detached(),
                sequence: decoded.group_sequence,
            })
        });
        let properties = decoded.marshalled_properties.as_deref();
        Ok(Message {
            id: id.detached(),
            destination: destination.detached(),
            is_persistent: decoded.persistent,
            is_journaled,
            may_be_delayed: properties.is_some_and(schedule::may_delay),
            asks_to_be_retained: mentions_retain(decoded),
            priority: decoded.priority,
            expiration_ms: decoded.expiration,
            redeliveries: u32::try_from(decoded.redelivery_counter).unwrap_or(0),
            charge: memory.charge(stored.bytes().len(), Class::of(is_journaled)),
            destination_charges: Mutex::default(),
            group,
            stored,
        })
    }

    /// The message in its stored encoding.
    #[must_use]
    pub fn stored(&self) -> &StoredMessage {
        &self.stored
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// Where it was sent to.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Whether it survives a takeover. What goes to a temporary destination does not: the
    /// destination would not either.
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        self.is_journaled
    }

    /// Whether its producer wants it to survive a takeover.
    pub(crate) fn is_persistent(&self) -> bool {
        self.is_persistent
    }

    /// Whether it survives a takeover in this destination.
    pub(crate) fn is_journaled_at(&self, name: &Destination) -> bool {
        self.is_persistent && !name.kind.is_temporary()
    }

    /// Whether another broker sent it on.
    pub(crate) fn came_over_network(&self) -> bool {
        self.stored
            .decode()
            .is_ok_and(|message| message.broker_path.is_some_and(|path| !path.is_empty()))
    }

    /// The same message under another name of its destination, or at another destination, which
    /// shows `original` as the one that it was sent to.
    pub(crate) fn redirected(
        &self,
        name: &Destination,
        original: Option<&Destination>,
        memory: &Arc<Memory>,
    ) -> Result<Message, MessageError> {
        let stored = self.stored.redirected(name, original)?;
        let is_journaled = self.is_journaled_at(name);
        Ok(Message {
            id: self.id.clone(),
            destination: name.clone(),
            is_persistent: self.is_persistent,
            is_journaled,
            may_be_delayed: self.may_be_delayed,
            asks_to_be_retained: self.asks_to_be_retained,
            priority: self.priority,
            expiration_ms: self.expiration_ms,
            redeliveries: self.redeliveries,
            charge: memory.charge(stored.bytes().len(), Class::of(is_journaled)),
            destination_charges: Mutex::default(),
            group: self.group.clone(),
            stored,
        })
    }

    /// How often it was delivered before it came to where it is.
    pub(crate) fn redeliveries(&self) -> u32 {
        self.redeliveries
    }

    /// Whether its properties may say that it is to be delivered later.
    pub(crate) fn may_be_delayed(&self) -> bool {
        self.may_be_delayed
    }

    /// Whether its topic is to keep it for later, going by the name of a property alone: its value may
    /// say otherwise.
    pub(crate) fn asks_to_be_retained(&self) -> bool {
        self.asks_to_be_retained
    }

    /// JMS' priority, 0 to 9.
    #[must_use]
    pub fn priority(&self) -> i8 {
        self.priority
    }

    /// Milliseconds since 1970 at which it expires; 0 = never.
    #[must_use]
    pub fn expiration_ms(&self) -> i64 {
        self.expiration_ms
    }

    /// The message group that it belongs to.
    pub(crate) fn group(&self) -> Option<&Arc<Group>> {
        self.group.as_ref()
    }

    /// Bytes of its stored encoding.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.stored.bytes().len()
    }

    /// It has found its place: in the journal or in memory.
    pub(crate) fn settle(&self) {
        self.charge.reclassify(Class::of(self.is_journaled));
    }

    /// Somebody keeps it in memory although it may be gone from the journal by then.
    pub(crate) fn hold(&self) {
        self.charge.reclassify(Class::Held);
    }

    /// It is in this destination's memory as long as it is in memory at all.
    pub(crate) fn charge_to(&self, usage: &Arc<DestinationUsage>) {
        let mut charges = self.destination_charges.lock();
        if !charges.iter().any(|charge| charge.is_of(usage)) {
            charges.push(usage.charge(self.len()));
        }
    }

    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        self.expiration_ms > 0 && self.expiration_ms <= now_ms
    }

    /// The producer, of which every message has one.
    pub(crate) fn producer(&self) -> Option<&ProducerId> {
        self.id.producer_id.as_ref()
    }
}

/// Whether the properties of a message for a topic have the one that asks to retain it. A look at the
/// bytes, because hardly any message has it and all are asked.
fn mentions_retain(decoded: &openwire::Message) -> bool {
    let is_for_topic = decoded
        .destination
        .as_ref()
        .is_some_and(|destination| !destination.kind.is_queue());
    let name = RETAIN.as_bytes();
    is_for_topic
        && decoded
            .marshalled_properties
            .as_ref()
            .is_some_and(|bytes| bytes.windows(name.len()).any(|window| window == name))
}
