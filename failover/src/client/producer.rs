//! Producers: messages get their ids and headers here, and wait here for the broker.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use openwire::{Destination, MessageId, ProducerId, ProducerInfo, RemoveInfo};
use tokio::sync::Notify;

use super::actor::{Handle, lock};
use super::connection::now_ms;
use super::error::ClientError;
use super::message::Message;
use super::session::SessionInner;

/// How a message is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct SendOptions {
    /// Whether the broker keeps it through a failure. The default is yes.
    pub persistent: bool,
    /// Priority 0 to 9; the default is 4.
    pub priority: i8,
    /// How long it lives; `None` is for ever.
    pub time_to_live: Option<Duration>,
    /// Whether to return before the broker has answered. A failure then stays unnoticed.
    pub is_async: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self {
            persistent: true,
            priority: 4,
            time_to_live: None,
            is_async: false,
        }
    }
}

/// The bytes a producer may have under way without an answer.
pub(super) struct Window {
    limit: i64,
    usage: AtomicI64,
    space: Notify,
}

impl Window {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: i64::from(limit),
            usage: AtomicI64::new(0),
            space: Notify::new(),
        }
    }

    /// Waits until something may be sent, and counts it.
    async fn take(&self, size: i64) {
        loop {
            let space = self.space.notified();
            tokio::pin!(space);
            space.as_mut().enable();
            if self.usage.load(Ordering::Acquire) < self.limit {
                self.usage.fetch_add(size, Ordering::AcqRel);
                return;
            }
            space.await;
        }
    }

    /// The broker has taken that many bytes.
    pub(super) fn release(&self, size: i64) {
        // A broker may also acknowledge what a reconnect has already forgiven.
        let lower = |usage: i64| Some((usage - size).max(0));
        let _ = self
            .usage
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, lower);
        self.space.notify_waiters();
    }

    /// Nothing is under way any more.
    pub(super) fn reset(&self) {
        self.usage.store(0, Ordering::Release);
        self.space.notify_waiters();
    }
}

/// Sends messages to one destination, or to any.
pub struct Producer {
    id: ProducerId,
    destination: Option<Destination>,
    session: Arc<SessionInner>,
    window: Option<Arc<Window>>,
    /// The last number given; whoever holds it puts a message into the queue, so numbers rise in
    /// the order sent. A broker drops what falls behind as a duplicate.
    sequence: tokio::sync::Mutex<i64>,
    /// Set when the broker has been told of the end.
    is_closed: AtomicBool,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("id", &self.id)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

impl Producer {
    pub(super) async fn open(
        session: Arc<SessionInner>,
        id: ProducerId,
        destination: Option<Destination>,
    ) -> Result<Self, ClientError> {
        let options = &session.connection.jms;
        let window_size = options.producer_window_size;
        let info = ProducerInfo {
            producer_id: Some(id.clone()),
            destination: destination.clone(),
            dispatch_async: options.dispatch_async,
            window_size: i32::try_from(window_size).unwrap_or(i32::MAX),
            ..ProducerInfo::default()
        };
        let window = (window_size > 0).then(|| Arc::new(Window::new(window_size)));
        if let Some(window) = &window {
            let windows = &session.handle().shared.windows;
            lock(windows).insert(id.clone(), Arc::clone(window));
        }
        let sequence = tokio::sync::Mutex::new(0);
        let is_closed = AtomicBool::new(false);
        let producer = Self {
            id,
            destination,
            session,
            window,
            sequence,
            is_closed,
        };
        let limit = Some(producer.session.connection.jms.request_timeout);
        producer
            .handle()
            .request(vec![info.into()], None, limit)
            .await?;
        Ok(producer)
    }

    fn handle(&self) -> &Handle {
        self.session.handle()
    }

    /// The producer's id.
    #[must_use]
    pub fn id(&self) -> &ProducerId {
        &self.id
    }

    /// Sends a persistent message and waits until the broker has it for good, over reconnects if
    /// need be. In a transacted session it returns at once; the commit waits. Dropping the future
    /// does not take the message back.
    ///
    /// # Errors
    /// When the broker refuses the message, when the failover `timeout` or `sendTimeout` passes,
    /// or when the connection is gone for good.
    pub async fn send(&self, message: Message) -> Result<MessageId, ClientError> {
        self.send_with(message, &SendOptions::default()).await
    }

    /// As [`Producer::send`], with options.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_with(
        &self,
        message: Message,
        options: &SendOptions,
    ) -> Result<MessageId, ClientError> {
        let destination = self.destination.clone().ok_or(ClientError::IllegalState(
            "this producer has no destination of its own; use send_to",
        ))?;
        self.transmit(destination, message, options).await
    }

    /// Sends to another destination, with a producer that was opened without one.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_to(
        &self,
        destination: &Destination,
        message: Message,
        options: &SendOptions,
    ) -> Result<MessageId, ClientError> {
        if self.destination.is_some() {
            let what = "this producer has a destination of its own; use send or send_with";
            return Err(ClientError::IllegalState(what));
        }
        let (destination, _) = super::destination::split(destination)?;
        self.transmit(destination, message, options).await
    }

    async fn transmit(
        &self,
        destination: Destination,
        message: Message,
        options: &SendOptions,
    ) -> Result<MessageId, ClientError> {
        let jms = &self.session.connection.jms;
        let mut wire = message.into_wire();
        wire.destination = Some(destination);
        wire.original_destination = None;
        wire.producer_id = Some(self.id.clone());
        wire.persistent = options.persistent;
        wire.priority = options.priority.clamp(0, 9);
        wire.redelivery_counter = 0;
        let now = now_ms();
        wire.timestamp = if jms.disable_time_stamps_by_default {
            0
        } else {
            now
        };
        let life = options.time_to_live.filter(|life| !life.is_zero());
        wire.expiration = life.map_or(0, |life| {
            now.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))
        });
        wire.transaction_id = None;
        if self.session.is_transacted() {
            wire.transaction_id = Some(self.session.transaction().await?);
        }
        let waits = jms.always_sync_send
            || !jms.send_timeout.is_zero()
            || (wire.persistent
                && !jms.use_async_send
                && !options.is_async
                && wire.transaction_id.is_none());
        if let (Some(window), false) = (&self.window, waits) {
            window
                .take(i64::try_from(wire.window_size()).unwrap_or(i64::MAX))
                .await;
        }
        let mut sequence = self.sequence.lock().await;
        *sequence += 1;
        let id = self.id.message(*sequence);
        wire.message_id = Some(id.clone());
        let answer = self
            .handle()
            .enqueue(vec![wire.into()], None, waits)
            .await?;
        drop(sequence);
        Handle::answer(answer, Some(jms.send_timeout)).await?;
        Ok(id)
    }

    /// Closes the producer. Messages of an open transaction stay in it.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn close(self) -> Result<(), ClientError> {
        self.is_closed.store(true, Ordering::Release);
        self.handle()
            .oneway(vec![RemoveInfo::of(self.id.clone()).into()], None)
            .await
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        lock(&self.handle().shared.windows).remove(&self.id);
        if self.is_closed.load(Ordering::Acquire) {
            return;
        }
        self.handle()
            .farewell(vec![RemoveInfo::of(self.id.clone()).into()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_window_blocks_when_full_and_opens_with_the_acknowledgement() {
        let window = Arc::new(Window::new(100));
        window.take(150).await;
        let waiting = Arc::clone(&window);
        let blocked = tokio::spawn(async move { waiting.take(10).await });
        tokio::task::yield_now().await;
        assert!(!blocked.is_finished());
        window.release(150);
        blocked.await.unwrap();
    }

    #[tokio::test]
    async fn a_window_forgives_what_a_reconnect_lost() {
        let window = Window::new(100);
        window.take(500).await;
        window.reset();
        window.release(500);
        window.take(1).await;
    }
}
