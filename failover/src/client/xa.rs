//! Distributed transactions: what a transaction manager asks of the client, in the words of XA.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openwire::{
    Command, MessageDispatch, TransactionId, TransactionInfo, TransactionStep, XaTransactionId,
};

use super::actor::lock;
use super::consumer::ConsumerInner;
use super::error::ClientError;
use super::session::Session;

/// XA_RDONLY: nothing is to be committed.
const READ_ONLY: i32 = 3;
/// The longest part of a [`Xid`] in bytes, by the XA specification.
const PART_BYTES: usize = 64;

/// The name of a branch of a distributed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Xid(XaTransactionId);

/// A part of a [`Xid`] is too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} of a transaction id has {length} bytes: it may have {PART_BYTES} at most")]
pub struct XidError {
    part: &'static str,
    length: usize,
}

impl Xid {
    /// A name of these parts, up to 64 bytes each.
    ///
    /// # Errors
    /// When a part is longer.
    pub fn new(format: i32, global: &[u8], branch: &[u8]) -> Result<Self, XidError> {
        for (part, bytes) in [("global part", global), ("branch", branch)] {
            let length = bytes.len();
            if length > PART_BYTES {
                return Err(XidError { part, length });
            }
        }
        Ok(Xid(XaTransactionId {
            format_id: format,
            global_transaction_id: Some(Bytes::copy_from_slice(global)),
            branch_qualifier: Some(Bytes::copy_from_slice(branch)),
        }))
    }

    /// How its other parts are to be read.
    #[must_use]
    pub fn format(&self) -> i32 {
        self.0.format_id
    }

    /// The transaction.
    #[must_use]
    pub fn global(&self) -> &[u8] {
        self.0.global_transaction_id.as_deref().unwrap_or_default()
    }

    /// The branch of it.
    #[must_use]
    pub fn branch(&self) -> &[u8] {
        self.0.branch_qualifier.as_deref().unwrap_or_default()
    }

    fn id(&self) -> TransactionId {
        TransactionId::Xa(self.0.clone())
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a session takes part in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is a new one.
    New,
    /// Others are at work in it already.
    Join,
    /// It goes on after [`Ending::Suspend`].
    Resume,
}

/// How a session's part of a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is well.
    Success,
    /// It can only be rolled back.
    Fail,
    /// It goes on later.
    Suspend,
}

/// The answer to [`XaSession::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// It is prepared and waits for its outcome, also over a takeover.
    Commit,
    /// Nothing was done in it: it is over.
    ReadOnly,
}

/// What a session received in a transaction that it has ended and that is not decided.
struct Undecided {
    /// The life of the connection in which it was received.
    generation: u64,
    has_received: bool,
    delivered: Vec<(Arc<ConsumerInner>, Vec<MessageDispatch>)>,
}

/// A session whose work belongs to distributed transactions, and the resource that a transaction
/// manager drives.
///
/// Between [`XaSession::start`] and [`XaSession::end`] everything that producers and consumers of
/// [`XaSession::session`] do belongs to the transaction. Messages cannot be sent or received outside.
pub struct XaSession {
    session: Session,
    undecided: Mutex<HashMap<Xid, Undecided>>,
}

impl fmt::Debug for XaSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XaSession")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl XaSession {
    pub(super) fn new(session: Session) -> Self {
        XaSession {
            session,
            undecided: Mutex::default(),
        }
    }

    /// The session, to open producers and consumers.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    fn step(&self, xid: &Xid, step: TransactionStep) -> Command {
        self.session.inner.transaction.step(xid.id(), step)
    }

    async fn request(&self, commands: Vec<Command>) -> Result<Command, ClientError> {
        self.request_in(None, commands).await
    }

    /// Sends commands that are void in a later life of the connection than this one.
    async fn request_in(
        &self,
        generation: Option<u64>,
        commands: Vec<Command>,
    ) -> Result<Command, ClientError> {
        let limit = Some(self.session.inner.connection.jms.request_timeout);
        let handle = self.session.inner.handle();
        handle.request(commands, generation, limit).await
    }

    /// The life of the connection that a transaction cannot outlive, because messages were received
    /// in it: a reconnect repeats what was sent, and cannot repeat what was acknowledged.
    fn bound_to(&self, xid: &Xid) -> Option<u64> {
        let undecided = lock(&self.undecided);
        let part = undecided.get(xid)?;
        part.has_received.then_some(part.generation)
    }

    /// Takes part in a transaction from now on.
    ///
    /// # Errors
    /// While the session takes part in another one; a refusal of the broker.
    pub async fn start(&self, xid: &Xid, start: Start) -> Result<(), ClientError> {
        let transaction = &self.session.inner.transaction;
        if transaction.current().is_some() {
            let what = "the session takes part in a transaction already: end that first";
            return Err(ClientError::IllegalState(what));
        }
        if start != Start::Resume {
            let begin = self.step(xid, TransactionStep::Begin);
            self.request(vec![begin]).await?;
        }
        transaction.started(xid.id());
        Ok(())
    }

    /// Ends the session's part; what it received is acknowledged with the transaction.
    ///
    /// # Errors
    /// [`ClientError::RolledBack`] when a reconnect has made received messages void: then it can only
    /// be rolled back; when the session does not take part; a refusal of the broker.
    pub async fn end(&self, xid: &Xid, ending: Ending) -> Result<(), ClientError> {
        let inner = &self.session.inner;
        if inner.transaction.current() != Some(xid.id()) {
            let what = "the session does not take part in this transaction";
            return Err(ClientError::IllegalState(what));
        }
        let generation = inner.handle().generation();
        let Some(ended) = inner.transaction.end() else {
            return Ok(());
        };
        let mut commands = Vec::new();
        let mut delivered = Vec::new();
        for consumer in inner.live_consumers() {
            if let Some((dispatches, acknowledgement)) = consumer.detach(&ended.id) {
                commands.push(acknowledgement);
                delivered.push((consumer, dispatches));
            }
        }
        {
            let mut undecided = lock(&self.undecided);
            let entry = undecided.entry(xid.clone()).or_insert_with(|| Undecided {
                generation,
                has_received: false,
                delivered: Vec::new(),
            });
            entry.has_received |= ended.has_received;
            entry.delivered.extend(delivered);
        }
        if ended.is_spoiled || self.is_void(xid) {
            lock(&self.undecided).remove(xid);
            return Err(self.spoiled(xid));
        }
        if ending == Ending::Suspend {
            return inner.handle().oneway(commands, Some(generation)).await;
        }
        commands.push(self.step(xid, TransactionStep::End));
        let limit = Some(inner.connection.jms.request_timeout);
        let generation = ended.has_received.then_some(generation);
        let handle = inner.handle();
        handle.request(commands, generation, limit).await.map(drop)
    }

    /// Whether a reconnect has made void what was received in it.
    fn is_void(&self, xid: &Xid) -> bool {
        let now = self.session.inner.handle().generation();
        self.bound_to(xid)
            .is_some_and(|generation| generation != now)
    }

    fn spoiled(&self, xid: &Xid) -> ClientError {
        ClientError::RolledBack {
            transaction: xid.to_string(),
            reason: "a reconnect made messages void that it had received".to_owned(),
        }
    }

    /// Asks the broker to promise that it can commit.
    ///
    /// # Errors
    /// [`ClientError::RolledBack`] when a reconnect has made received messages void,
    /// [`ClientError::TransactionInDoubt`] when the answer was lost: roll it back then; a refusal
    /// of the broker.
    pub async fn prepare(&self, xid: &Xid) -> Result<Vote, ClientError> {
        if self.is_void(xid) {
            return Err(self.spoiled(xid));
        }
        let prepare = self.step(xid, TransactionStep::Prepare);
        let generation = self.bound_to(xid);
        match self.request_in(generation, vec![prepare]).await? {
            Command::IntegerResponse(response) if response.result == READ_ONLY => {
                self.decided(xid).await?;
                Ok(Vote::ReadOnly)
            }
            Command::IntegerResponse(_) => Ok(Vote::Commit),
            other => Err(ClientError::UnexpectedAnswer {
                found: other.name(),
                asked: "a prepare",
            }),
        }
    }

    /// Commits: in one phase what was not prepared, otherwise what was. A prepared transaction
    /// can be committed by any session of any connection.
    ///
    /// # Errors
    /// As [`XaSession::prepare`].
    pub async fn commit(&self, xid: &Xid, one_phase: bool) -> Result<(), ClientError> {
        let (step, generation) = if one_phase {
            if self.is_void(xid) {
                return Err(self.spoiled(xid));
            }
            (TransactionStep::CommitOnePhase, self.bound_to(xid))
        } else {
            (TransactionStep::CommitTwoPhase, None)
        };
        let commit = self.step(xid, step);
        self.request_in(generation, vec![commit]).await?;
        self.decided(xid).await
    }

    /// What was received is consumed for good.
    async fn decided(&self, xid: &Xid) -> Result<(), ClientError> {
        let part = lock(&self.undecided).remove(xid);
        let delivered = part.map(|part| part.delivered).unwrap_or_default();
        let closing = delivered
            .iter()
            .filter_map(|(consumer, _)| consumer.close_if_waiting());
        let handle = self.session.inner.handle();
        handle.oneway(closing.collect(), None).await
    }

    /// Takes back what was done in it. What this session received is delivered again.
    ///
    /// # Errors
    /// A refusal of the broker.
    pub async fn rollback(&self, xid: &Xid) -> Result<(), ClientError> {
        let is_void = self.is_void(xid);
        let rollback = self.step(xid, TransactionStep::Rollback);
        let result = self.request(vec![rollback]).await;
        let part = lock(&self.undecided).remove(xid);
        let handle = self.session.inner.handle();
        let generation = handle.generation();
        let delivered = part.map(|part| part.delivered).unwrap_or_default();
        let again = delivered
            .into_iter()
            // After a reconnect the broker delivers them again by itself.
            .flat_map(|(consumer, held)| {
                consumer.deliver_again(if is_void { Vec::new() } else { held })
            });
        handle.oneway(again.collect(), Some(generation)).await?;
        result.map(drop)
    }

    /// The transactions that the broker has prepared and that wait for their outcome.
    ///
    /// # Errors
    /// A refusal of the broker.
    pub async fn recover(&self) -> Result<Vec<Xid>, ClientError> {
        let recover = TransactionInfo {
            connection_id: Some(self.session.inner.connection.id.clone()),
            kind: TransactionStep::Recover.number(),
            ..TransactionInfo::default()
        };
        match self.request(vec![recover.into()]).await? {
            Command::DataArrayResponse(response) => Ok(response
                .data
                .into_iter()
                .flatten()
                .filter_map(|command| match command {
                    Some(Command::XaTransactionId(id)) => Some(Xid(id)),
                    _ => None,
                })
                .collect()),
            other => Err(ClientError::UnexpectedAnswer {
                found: other.name(),
                asked: "a recover",
            }),
        }
    }

    /// Lets the broker forget a transaction that was decided by others.
    ///
    /// # Errors
    /// A refusal of the broker.
    pub async fn forget(&self, xid: &Xid) -> Result<(), ClientError> {
        let forget = self.step(xid, TransactionStep::Forget);
        self.request(vec![forget]).await.map(drop)
    }

    /// Closes the session. A transaction that is not prepared is rolled back.
    ///
    /// # Errors
    /// When the connection is closed or gone for good.
    pub async fn close(self) -> Result<(), ClientError> {
        self.session.close().await
    }
}
