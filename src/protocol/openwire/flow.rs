//! Sends that wait for room, and what has to wait with them.
//!
//! A send without room keeps its response, or its share of the producer's window, until it has got some.
//! Behind it waits only what its producer sends, what ends the transaction it is in, and that producer's
//! own removal. Everything else of the connection goes on.
//!
//! A producer that asks neither for responses nor for a window cannot be told to wait. What it sends
//! meanwhile is kept here up to a bound; beyond it nothing is read from the socket, so TCP holds it back,
//! and with it everything else on that connection. That is a deadlock when only acknowledgements on the
//! very same connection can make room. It cannot be undone here without dropping messages or keeping an
//! unbounded number of them, so it is told: in the log, with what to do, and on status pages.

use std::sync::Arc;

use bytes::Bytes;
use openwire::{Command, ProducerId, RemoveInfo, TransactionInfo, TransactionStep};
use tokio::time::Instant;

use super::connection::{Answer, ConnectionTask};
use super::error::{End, Failure};
use super::session::{Outcome, last_delivered};
use super::transactions::named;
use crate::broker::usage::Class;
use crate::broker::{Connection, Message, Receipt, Refusal, TransactionName};

/// All connections together may let so much wait, whatever the memory's limit is.
const ARRIVING_LEAST: usize = 16 << 20;

/// What is needed to answer a send.
pub(super) struct Ticket {
    command: i32,
    is_response_required: bool,
    /// What the producer gets back of its window.
    window: Option<(ProducerId, i32)>,
    transaction: Option<TransactionName>,
}

/// A client says goodbye while sends that nobody waits for have no room yet.
pub(super) struct Goodbye {
    removal: RemoveInfo,
    at: Instant,
}

fn attempt(connection: &Connection, message: &Arc<Message>, ticket: &Ticket) -> SendResult {
    connection.send(message, ticket.transaction.as_ref())
}

type SendResult = Result<Receipt, Refusal>;

impl ConnectionTask {
    pub(super) fn send(&mut self, frame: &Bytes, message: &openwire::Message) -> Result<(), End> {
        let is_response_required = message.response_required;
        let mut ticket = Ticket {
            command: message.command_id,
            is_response_required,
            window: match is_response_required {
                true => None,
                false => self.session.window_share(message),
            },
            transaction: None,
        };
        let version = self.dialect.version;
        let (message, transaction) = match self.session.receive(frame, version, message) {
            Ok(received) => received,
            Err(failure) => return self.sent(ticket, Err(failure)),
        };
        ticket.transaction = transaction;
        let connection = match self.session.connection() {
            Ok(connection) => Arc::clone(connection),
            Err(failure) => return self.sent(ticket, Err(failure)),
        };
        let sent = self.waiting.send(message, ticket, |message, ticket| {
            attempt(&connection, message, ticket)
        });
        match sent {
            Some((ticket, result)) => self.sent(ticket, result.map_err(Failure::from)),
            None => Ok(()),
        }
    }

    /// Answers a send.
    fn sent(&mut self, ticket: Ticket, result: Result<Receipt, Failure>) -> Result<(), End> {
        if let (Err(Failure::Refused(refusal @ Refusal::NoRoom(_))), Some(name)) =
            (&result, &ticket.transaction)
            && let Some(connection) = self.session.open_connection()
        {
            connection.fail_transaction(name, &refusal.to_string());
        }
        if ticket.is_response_required {
            return self.answer(ticket.command, true, result.map(Outcome::from));
        }
        // What was refused takes nothing of the producer's window either.
        let receipt = result.as_ref().map_or(Receipt::Done, |receipt| *receipt);
        self.answer(ticket.command, false, result.map(|_| Outcome::Silent))?;
        if let Some((producer, size)) = ticket.window {
            self.answer_at(receipt, Answer::Window(producer, size));
        }
        Ok(())
    }

    /// Tries to send again what waits, and carries out what waited for it.
    pub(super) async fn retry_waiting(&mut self) -> Result<(), End> {
        let is_idle = self.session.leaving.is_empty() && self.deferred.is_empty();
        if self.waiting.is_empty() && is_idle && self.goodbye.is_none() {
            return Ok(());
        }
        if let Some(connection) = self.session.open_connection().map(Arc::clone) {
            let done = self
                .waiting
                .retry(|message, ticket| attempt(&connection, message, ticket));
            for (ticket, result) in done {
                self.sent(ticket, result.map_err(Failure::from))?;
            }
        }
        self.remove_left_producers();
        for command in std::mem::take(&mut self.deferred) {
            match self.unless_deferred(command) {
                Some(command) => self.carry_out_command(command).await?,
                None => continue,
            }
        }
        self.say_goodbye().await?;
        self.tell_pause();
        Ok(())
    }

    /// Whether more may be read with what waits.
    pub(super) fn has_waiting_room(&self) -> bool {
        if self.goodbye.is_some() {
            return false;
        }
        let bytes = self.waiting.bytes();
        if bytes == 0 {
            return true;
        }
        let memory = self.broker.memory();
        let together = ARRIVING_LEAST.max(memory.limit_bytes() / 4);
        bytes < self.options.waiting_bytes_max && memory.bytes(Class::Arriving) < together
    }

    /// The size of the frame that is arriving, if it is a large one.
    fn large_frame(&self) -> Option<usize> {
        let announced = self.wire.announced();
        announced.filter(|&bytes| bytes >= self.options.large_frame_bytes)
    }

    /// Whether nothing is read because a large frame would come.
    pub(super) fn is_large_frame_kept_out(&self) -> bool {
        self.large_pass.is_none() && !self.has_frames && self.large_frame().is_some()
    }

    /// Lets the large frame that is arriving in, if there is memory for it.
    pub(super) fn let_large_frame_in(&mut self) {
        if self.has_frames || self.large_pass.is_some() {
            return;
        }
        if let Some(bytes) = self.large_frame() {
            let limit = self.options.large_frames_bytes;
            self.large_pass = self.broker.usage().large_frames.enter(bytes, limit);
        }
    }

    fn tell_pause(&mut self) {
        let is_paused = !self.has_waiting_room() && self.goodbye.is_none();
        if self.waiting.set_reading_paused(is_paused) && is_paused {
            tracing::warn!(
                peer = %self.peer,
                waiting_bytes = self.waiting.bytes(),
                "Nothing more is read from a connection: it has sent more than can wait for room. \
                 Its acknowledgements wait too, so its own consumers cannot make room any more: give \
                 producers a window (jms.producerWindowSize), let them wait for responses, or use \
                 another connection for consumers."
            );
        }
    }

    /// While nothing is read, a client that has gone would not be noticed.
    pub(super) async fn look_for_peer(&mut self) -> Result<(), End> {
        if !self.has_waiting_room() && self.wire.is_closed_by_peer().await? {
            return Err(End::Closed);
        }
        Ok(())
    }

    /// Keeps a command back that has to wait for sends; otherwise it comes back.
    pub(super) fn unless_deferred(&mut self, command: Command) -> Option<Command> {
        if self.waiting.is_empty() {
            return Some(command);
        }
        match &command {
            Command::TransactionInfo(info) if self.must_wait(info) => {
                self.deferred.push(command);
                return None;
            }
            Command::RemoveInfo(info) => {
                if self.is_goodbye(info) {
                    self.session.remove_consumers(last_delivered(info));
                    self.goodbye = Some(Goodbye {
                        removal: info.clone(),
                        at: Instant::now() + self.options.goodbye,
                    });
                    return None;
                }
                self.session.kept = self.waiting.producers();
            }
            _ => {}
        }
        Some(command)
    }

    /// Whether the end of a transaction has to wait for sends of its own. A rollback takes those back.
    fn must_wait(&mut self, info: &TransactionInfo) -> bool {
        let Ok(Some(name)) = named(info.transaction_id.as_ref()) else {
            return false;
        };
        match info.step() {
            Some(TransactionStep::Rollback) => {
                let is_of_it = |ticket: &Ticket| ticket.transaction.as_ref() == Some(&name);
                for ticket in self.waiting.withdraw(is_of_it) {
                    let rolled_back = Failure::Misuse("the transaction was rolled back");
                    // Only who waits for an answer is told.
                    let result = match ticket.is_response_required {
                        true => Err(rolled_back),
                        false => Ok(Receipt::Done),
                    };
                    if self.sent(ticket, result).is_err() {
                        return false;
                    }
                }
                false
            }
            Some(TransactionStep::Begin | TransactionStep::Recover) | None => false,
            Some(_) => {
                let mut tickets = self.waiting.tickets();
                tickets.any(|ticket| ticket.transaction.as_ref() == Some(&name))
            }
        }
    }

    /// Whether a removal ends the connection while there are sends that nobody waits for.
    fn is_goodbye(&self, info: &RemoveInfo) -> bool {
        let own = self.session.open_connection().map(|open| open.id());
        let is_own =
            matches!(info.object_id.as_deref(), Some(Command::ConnectionId(id)) if Some(id) == own);
        is_own
            && self
                .waiting
                .tickets()
                .any(|ticket| !ticket.is_response_required)
    }

    fn remove_left_producers(&mut self) {
        if self.session.kept.is_empty() {
            return;
        }
        self.session.kept = self.waiting.producers();
        for producer in std::mem::take(&mut self.session.leaving) {
            self.session.remove_producer(&producer);
        }
    }

    /// Ends the connection that said goodbye, once nothing waits or its time is over.
    async fn say_goodbye(&mut self) -> Result<(), End> {
        let is_due = |goodbye: &mut Goodbye| goodbye.at <= Instant::now();
        let goodbye = match self.waiting.is_empty() {
            true => self.goodbye.take(),
            false => self.goodbye.take_if(is_due),
        };
        let Some(goodbye) = goodbye else {
            return Ok(());
        };
        self.session.kept.clear();
        for ticket in self.waiting.withdraw(|_| true) {
            if ticket.is_response_required {
                self.sent(ticket, Err(Refusal::Closing.into()))?;
            }
        }
        self.carry_out_command(Command::from(goodbye.removal)).await
    }
}
