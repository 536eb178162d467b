//! Which acknowledgement is due when: the rules of the Java consumer, without I/O.
//!
//! A consumer reports what the application got; the rules answer with acknowledgements to send.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use openwire::{AckKind, Destination, Message, MessageDispatch, MessageId};

/// How a consumer acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckStyle {
    /// Each message by itself, as soon as the application has it.
    Each,
    /// In batches of half the prefetch, without the application's doing.
    Batch,
    /// When the application says so, all of the session.
    Client,
    /// When the application says so, each by itself.
    Individual,
    /// With the transaction.
    Transacted,
}

/// An acknowledgement to send.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DueAck {
    pub(crate) kind: AckKind,
    pub(crate) destination: Option<Destination>,
    pub(crate) first: Option<MessageId>,
    pub(crate) last: MessageId,
    pub(crate) count: i32,
}

/// What a consumer has delivered to its application and not acknowledged for good.
#[derive(Debug)]
pub(crate) struct AckState {
    style: AckStyle,
    prefetch: u32,
    /// Batches of automatic acknowledgements, and how long one may wait.
    optimize: Option<Duration>,
    delivered: VecDeque<MessageDispatch>,
    /// Delivered since the last acknowledgement that widened the window.
    delivered_counter: i32,
    ack_counter: i32,
    pending: Option<DueAck>,
    acknowledged_at: Option<Instant>,
}

fn id(dispatch: &MessageDispatch) -> MessageId {
    dispatch
        .message
        .as_ref()
        .and_then(|message| message.message_id.clone())
        .unwrap_or_default()
}

/// An acknowledgement of one message by itself.
pub(crate) fn single(kind: AckKind, dispatch: &MessageDispatch) -> DueAck {
    let last = id(dispatch);
    DueAck {
        kind,
        destination: dispatch.destination.clone(),
        first: (kind != AckKind::Individual).then(|| last.clone()),
        last,
        count: 1,
    }
}

impl AckState {
    pub(crate) fn new(style: AckStyle, prefetch: u32, optimize: Option<Duration>) -> Self {
        Self {
            style,
            prefetch,
            optimize: optimize.filter(|_| style == AckStyle::Each),
            delivered: VecDeque::new(),
            delivered_counter: 0,
            ack_counter: 0,
            pending: None,
            acknowledged_at: None,
        }
    }

    pub(crate) fn has_delivered(&self) -> bool {
        !self.delivered.is_empty()
    }

    /// Batches of automatic acknowledgements end; what waits is returned.
    pub(crate) fn stop_optimizing(&mut self) -> Option<DueAck> {
        self.optimize.take()?;
        self.acknowledge_all()
    }

    pub(crate) fn set_prefetch(&mut self, prefetch: u32) {
        self.prefetch = prefetch;
    }

    /// The application has this message; what is due now?
    pub(crate) fn deliver(&mut self, dispatch: &MessageDispatch, now: Instant) -> Option<DueAck> {
        match self.style {
            AckStyle::Each if self.optimize.is_none() => Some(single(AckKind::Standard, dispatch)),
            AckStyle::Each => self.deliver_optimized(dispatch, now),
            AckStyle::Batch => self.ack_later(dispatch, AckKind::Standard),
            AckStyle::Client | AckStyle::Individual | AckStyle::Transacted => {
                self.delivered.push_back(dispatch.clone());
                self.ack_later(dispatch, AckKind::Delivered)
            }
        }
    }

    fn deliver_optimized(&mut self, dispatch: &MessageDispatch, now: Instant) -> Option<DueAck> {
        self.delivered.push_back(dispatch.clone());
        self.ack_counter += 1;
        let wait = self.optimize.unwrap_or_default();
        let since = *self.acknowledged_at.get_or_insert(now);
        let is_late = !wait.is_zero() && now.duration_since(since) >= wait;
        let threshold = f64::from(self.prefetch) * 0.65;
        if f64::from(self.ack_counter + self.delivered_counter) >= threshold || is_late {
            self.acknowledged_at = Some(now);
            return self.acknowledge_all();
        }
        None
    }

    fn ack_later(&mut self, dispatch: &MessageDispatch, kind: AckKind) -> Option<DueAck> {
        self.delivered_counter += 1;
        let last = id(dispatch);
        let first = match self.pending.take() {
            Some(pending) if pending.kind == kind => pending.first,
            _ => Some(last.clone()),
        };
        let pending = DueAck {
            kind,
            destination: dispatch.destination.clone(),
            first,
            last,
            count: self.delivered_counter,
        };
        if f64::from(self.prefetch) * 0.5 <= f64::from(self.delivered_counter + self.ack_counter) {
            self.delivered_counter = 0;
            return Some(pending);
        }
        self.pending = Some(pending);
        None
    }

    /// Acknowledges everything delivered. In a transaction what was delivered is kept until
    /// [`AckState::committed`] or [`AckState::take_delivered`].
    pub(crate) fn acknowledge_all(&mut self) -> Option<DueAck> {
        let (first, last) = (self.delivered.front()?, self.delivered.back()?);
        let count = i32::try_from(self.delivered.len()).unwrap_or(i32::MAX);
        let ack = DueAck {
            kind: AckKind::Standard,
            destination: last.destination.clone(),
            first: Some(id(first)),
            last: id(last),
            count,
        };
        self.pending = None;
        self.ack_counter = 0;
        self.delivered_counter = (self.delivered_counter - count).max(0);
        if self.style != AckStyle::Transacted {
            self.delivered.clear();
        }
        Some(ack)
    }

    /// Acknowledges one delivered message by itself; `None` when it is not (or no longer) waiting.
    pub(crate) fn acknowledge_one(&mut self, message: &MessageId) -> Option<DueAck> {
        let at = self
            .delivered
            .iter()
            .position(|dispatch| id(dispatch) == *message)?;
        let dispatch = self.delivered.remove(at)?;
        Some(single(AckKind::Individual, &dispatch))
    }

    /// The acknowledgement that waits for its batch, when the consumer closes.
    pub(crate) fn flush(&mut self) -> Option<DueAck> {
        match self.style {
            AckStyle::Each => self.acknowledge_all(),
            AckStyle::Batch => {
                self.delivered_counter = 0;
                self.pending.take()
            }
            _ => None,
        }
    }

    pub(crate) fn committed(&mut self) {
        self.delivered.clear();
    }

    /// Takes back everything delivered, oldest first, to deliver it again.
    pub(crate) fn take_delivered(&mut self) -> Vec<MessageDispatch> {
        let count = i32::try_from(self.delivered.len()).unwrap_or(i32::MAX);
        self.delivered_counter = (self.delivered_counter - count).max(0);
        self.pending = None;
        self.delivered.drain(..).collect()
    }

    /// The connection broke: nothing delivered can be acknowledged any more.
    pub(crate) fn interrupted(&mut self) -> Vec<MessageDispatch> {
        self.delivered_counter = 0;
        self.ack_counter = 0;
        self.pending = None;
        self.delivered.drain(..).collect()
    }
}

/// An acknowledgement that covers all of `dispatches`, which are in their order.
pub(crate) fn range(kind: AckKind, dispatches: &[MessageDispatch]) -> Option<DueAck> {
    let (first, last) = (dispatches.first()?, dispatches.last()?);
    Some(DueAck {
        kind,
        destination: last.destination.clone(),
        first: Some(id(first)),
        last: id(last),
        count: i32::try_from(dispatches.len()).unwrap_or(i32::MAX),
    })
}

/// Whether a message's time is over.
pub(crate) fn is_expired(message: &Message, now_ms: i64) -> bool {
    message.expiration > 0 && now_ms > message.expiration
}

#[cfg(test)]
mod tests;
