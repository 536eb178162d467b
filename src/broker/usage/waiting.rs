//! Sends of one connection that wait for room.
//!
//! Each producer has a line: what it sends while its first message waits, waits behind that one, wherever it
//! goes, so its order is kept. Nobody else waits: other producers, consumers and acknowledgements of the
//! connection go on. The room belongs to the connection's task, which tries again when it is called.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use openwire::ProducerId;

use super::blocked::BlockedGuard;
use super::shortage::{Patience, Shortage};
use super::waiters::Waiter;
use crate::broker::{Broker, Message, Receipt, Refusal};

/// Everybody who waits looks by himself this often: a call may have gone to somebody else.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Sends of one connection that wait for room, each with what the caller needs to answer it.
pub(crate) struct WaitingRoom<T> {
    broker: Arc<Broker>,
    connection: String,
    lines: Vec<Line<T>>,
    bytes: usize,
    waiter: Option<Waiter>,
    is_reading_paused: bool,
}

struct Line<T> {
    producer: ProducerId,
    sends: VecDeque<Send<T>>,
    blocked: BlockedGuard,
}

struct Send<T> {
    message: Arc<Message>,
    ticket: T,
    since: Instant,
}

/// What became of a send.
pub(crate) type Sent = Result<Receipt, Refusal>;

impl<T> WaitingRoom<T> {
    /// A room for the connection with this name.
    pub(crate) fn new(broker: Arc<Broker>, connection: String) -> Self {
        WaitingRoom {
            broker,
            connection,
            lines: Vec::new(),
            bytes: 0,
            waiter: None,
            is_reading_paused: false,
        }
    }

    /// Names the connection once it is known.
    pub(crate) fn set_connection(&mut self, connection: String) {
        self.connection = connection;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of messages that wait here.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The producers that wait.
    pub(crate) fn producers(&self) -> HashSet<ProducerId> {
        let producers = self.lines.iter().map(|line| line.producer.clone());
        producers.collect()
    }

    /// Everything that waits.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = &T> {
        self.lines
            .iter()
            .flat_map(|line| line.sends.iter().map(|send| &send.ticket))
    }

    /// Sends a message unless it has to wait. None: it waits.
    pub(crate) fn send(
        &mut self,
        message: Arc<Message>,
        ticket: T,
        attempt: impl FnOnce(&Arc<Message>, &T) -> Sent,
    ) -> Option<(T, Sent)> {
        let producer = message.producer().cloned().unwrap_or_default();
        if let Some(line) = self.lines.iter_mut().find(|line| line.producer == producer) {
            self.bytes += message.len();
            line.push(message, ticket);
            return None;
        }
        let sent = attempt(&message, &ticket);
        if let Err(Refusal::NoRoom(shortage)) = &sent {
            self.advise(shortage, &producer);
        }
        match sent {
            Err(Refusal::NoRoom(shortage)) if shortage.patience != Patience::None => {
                self.open_line(producer, *shortage, message, ticket);
                None
            }
            result => Some((ticket, result)),
        }
    }

    fn advise(&self, shortage: &Shortage, producer: &ProducerId) {
        let destination = &shortage.destination;
        if shortage.wants_full_advisory {
            let (name, used) = (shortage.kind.name(), shortage.used);
            self.broker.advise_full(destination, name, used);
        }
        if shortage.wants_fast_producer_advisory {
            self.broker.advise_fast_producer(destination, producer);
        }
    }

    fn open_line(
        &mut self,
        producer: ProducerId,
        shortage: Shortage,
        message: Arc<Message>,
        ticket: T,
    ) {
        let usage = self.broker.usage();
        let blocked = usage
            .blocked
            .add(&producer, self.connection.clone(), shortage);
        if self.waiter.is_none() {
            self.waiter = Some(usage.waiters.add());
        }
        self.bytes += message.len();
        let mut line = Line {
            producer,
            sends: VecDeque::new(),
            blocked,
        };
        line.push(message, ticket);
        self.lines.push(line);
    }

    /// Waits until it is worth trying again; for ever while nothing waits.
    pub(crate) async fn called(&self) {
        match &self.waiter {
            // The time has come is as good as a call.
            Some(waiter) => {
                let _ = tokio::time::timeout(LOOK_INTERVAL, waiter.called()).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Tries again; answers what is done, in the order of each producer.
    pub(crate) fn retry(
        &mut self,
        mut attempt: impl FnMut(&Arc<Message>, &T) -> Sent,
    ) -> Vec<(T, Sent)> {
        let mut done = Vec::new();
        for line in std::mem::take(&mut self.lines) {
            if let Some(line) = line.advance(&self.broker, &mut attempt, &mut done, &mut self.bytes)
            {
                self.lines.push(line);
            }
        }
        // Not always the same one first.
        if !self.lines.is_empty() {
            self.lines.rotate_left(1);
        }
        self.rest();
        done
    }

    /// Takes out what `is_over` says is not to be sent any more.
    pub(crate) fn withdraw(&mut self, is_over: impl Fn(&T) -> bool) -> Vec<T> {
        let mut withdrawn = Vec::new();
        for line in &mut self.lines {
            let sends = std::mem::take(&mut line.sends);
            for send in sends {
                if is_over(&send.ticket) {
                    self.bytes -= send.message.len();
                    withdrawn.push(send.ticket);
                } else {
                    line.sends.push_back(send);
                }
            }
        }
        self.lines.retain(|line| !line.sends.is_empty());
        self.rest();
        withdrawn
    }

    fn rest(&mut self) {
        if self.lines.is_empty() {
            self.waiter = None;
        }
    }

    /// Tells those who look whether anything is read from the connection. True: that is news.
    pub(crate) fn set_reading_paused(&mut self, is_paused: bool) -> bool {
        let is_news = self.is_reading_paused != is_paused;
        if is_news {
            self.is_reading_paused = is_paused;
            for line in &self.lines {
                line.blocked.set_reading_paused(is_paused);
            }
        }
        is_news
    }
}

impl<T> Line<T> {
    fn push(&mut self, message: Arc<Message>, ticket: T) {
        self.sends.push_back(Send {
            message,
            ticket,
            since: Instant::now(),
        });
        self.blocked.update(None, self.sends.len());
    }

    /// Sends what can be sent now. None: nothing is left.
    fn advance(
        mut self,
        broker: &Arc<Broker>,
        attempt: &mut impl FnMut(&Arc<Message>, &T) -> Sent,
        done: &mut Vec<(T, Sent)>,
        bytes: &mut usize,
    ) -> Option<Self> {
        while let Some(send) = self.sends.pop_front() {
            let result = match attempt(&send.message, &send.ticket) {
                Err(Refusal::NoRoom(_)) if broker.drop_expired(&send.message) => Ok(Receipt::Done),
                Err(Refusal::NoRoom(shortage)) if send.may_wait(shortage.patience) => {
                    self.sends.push_front(send);
                    self.blocked.update(Some(*shortage), self.sends.len());
                    return Some(self);
                }
                result => result,
            };
            *bytes -= send.message.len();
            done.push((send.ticket, result));
        }
        self.blocked.go_on();
        None
    }
}

impl<T> Send<T> {
    fn may_wait(&self, patience: Patience) -> bool {
        match patience {
            Patience::None => false,
            Patience::AtMost(time) => self.since.elapsed() < time,
            Patience::Endless => true,
        }
    }
}
