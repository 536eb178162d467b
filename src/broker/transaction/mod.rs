//! Transactions: the parts that local and distributed ones have alike.
//!
//! Persistent messages go to the journal at once and become visible with the commit record, which
//! carries the acknowledgements as well. What is kept in memory only is published when the commit is
//! released.

mod in_doubt;
mod xa;
mod xid;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use openwire::{AckKind, ConsumerId};
use storage::store::NewMessage;
use storage::{Backlog, Location, Lsn, Position};

use super::consumer::{Acknowledgement, TransactionNumber};
use super::destination::Target;
use super::interceptor::Leg;
use super::queue::Queue;
use super::schedule::{Delayed, NewJob};
use super::usage::StoreCharge;
use super::{Broker, Message, Receipt, Refusal};

pub use self::in_doubt::{HeuristicOutcome, InDoubt, InDoubtDestination, InDoubtReport};
pub(super) use self::xa::{Branches, Party};
pub use self::xa::{Vote, XaError};
pub use self::xid::Xid;

/// Which transaction a message or an acknowledgement is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionName {
    /// One of the connection's own.
    Local(i64),
    /// A distributed one.
    Xa(Xid),
}

impl From<i64> for TransactionName {
    fn from(number: i64) -> Self {
        TransactionName::Local(number)
    }
}

impl From<Xid> for TransactionName {
    fn from(xid: Xid) -> Self {
        TransactionName::Xa(xid)
    }
}

/// What a queue gets with the commit.
struct Coming {
    queue: Arc<Queue>,
    count: u64,
    /// Those whose bodies the queue has in memory already.
    kept: Vec<Location>,
}

impl Coming {
    /// The queue is not removed as an unused one while something is to come.
    fn new(queue: Arc<Queue>, count: u64) -> Self {
        queue.counters.promised.fetch_add(1, Ordering::Relaxed);
        Coming {
            queue,
            count,
            kept: Vec::new(),
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.queue.counters.promised.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is acknowledged in one backlog.
type Acknowledged = (Arc<Backlog>, Vec<Position>);

/// An open transaction.
pub(super) struct Transaction {
    number: TransactionNumber,
    /// How the client calls it, for messages.
    name: String,
    /// How the journal calls it.
    key: Bytes,
    /// Queues with acknowledgements that wait for the commit.
    held: Vec<Arc<Queue>>,
    /// Queues that journaled messages wait for.
    journaled: Vec<Coming>,
    /// What is to be published from memory at the commit.
    publications: Vec<(Target, Arc<Message>)>,
    /// Journaled messages that somebody is to be told of once they came.
    advised: Vec<(Arc<Queue>, Arc<Message>)>,
    /// What its messages take of the store.
    stored: StoreCharge,
    /// Messages that are to be delivered later; the time counts from the commit or the prepare.
    delayed: Vec<Delayed>,
    /// Jobs for the schedule.
    jobs: Vec<NewJob>,
    /// It was found prepared at start, with jobs in it.
    has_found_jobs: bool,
    /// What else goes from the journal.
    consumed: Vec<Acknowledged>,
    /// A message or an acknowledgement is a part of it.
    has_parts: bool,
    /// Why it cannot be committed any more.
    failure: Option<String>,
}

impl Transaction {
    pub(super) fn new(broker: &Broker, name: String) -> Self {
        let number = broker.next_number();
        // The journal drops what an earlier tenure left open, so the number alone is unique.
        let key = Bytes::from(format!("{number}:{name}"));
        Self::with(broker, number, name, key)
    }

    /// Of a distributed one: the journal knows it by the name that all brokers know it by.
    fn distributed(broker: &Broker, xid: &Xid) -> Self {
        let number = broker.next_number();
        Self::with(broker, number, xid.to_string(), xid.key().clone())
    }

    fn with(broker: &Broker, number: TransactionNumber, name: String, key: Bytes) -> Self {
        Transaction {
            number,
            key,
            name,
            held: Vec::new(),
            journaled: Vec::new(),
            publications: Vec::new(),
            advised: Vec::new(),
            stored: broker.usage().store.charge(),
            delayed: Vec::new(),
            jobs: Vec::new(),
            has_found_jobs: false,
            consumed: Vec::new(),
            has_parts: false,
            failure: None,
        }
    }

    /// Makes the commit fail.
    pub(super) fn fail(&mut self, cause: &impl ToString) {
        self.failure.get_or_insert_with(|| cause.to_string());
    }

    /// Whether nothing was sent or acknowledged in it.
    pub(super) fn is_empty(&self) -> bool {
        !self.has_parts
    }

    /// Something was acknowledged that does not have to wait for the commit.
    pub(super) fn acknowledged(&mut self) {
        self.has_parts = true;
    }

    /// Sends a message to all targets that it reaches, as a part of the transaction.
    pub(super) fn send(
        &mut self,
        broker: &Arc<Broker>,
        legs: &[Leg],
        message: &Arc<Message>,
    ) -> Result<(), Refusal> {
        self.has_parts = true;
        if !legs
            .iter()
            .any(|leg| message.is_journaled_at(leg.target.name()))
        {
            let publications = legs
                .iter()
                .map(|leg| (leg.target.clone(), Arc::clone(message)));
            self.publications.extend(publications);
            return Ok(());
        }
        let spread = broker.spread(legs, message);
        for target in &spread.elsewhere {
            self.publications
                .push((target.clone(), Arc::clone(message)));
        }
        if spread.queues.is_empty() {
            return Ok(());
        }
        let new = NewMessage {
            // What the client repeats after a reconnect is only what was not committed, so nothing
            // is to be suppressed, and a sequence must not be remembered before the commit.
            producer: None,
            order: spread.order,
            expiration_ms: message.expiration_ms(),
            body: message.stored().bytes(),
        };
        let location =
            broker
                .store()
                .enqueue_in_transaction(&self.key, &spread.backlogs(broker)?, new)?;
        broker.usage().store.grew(message.len());
        self.stored.add(message.len());
        for queue in spread.queues {
            if queue.policy().advisory_for_delivery {
                self.advised.push((Arc::clone(&queue), Arc::clone(message)));
            }
            let is_it = |coming: &Coming| Arc::ptr_eq(&coming.queue, &queue);
            let at = self.journaled.iter().position(is_it).unwrap_or_else(|| {
                self.journaled.push(Coming::new(Arc::clone(&queue), 0));
                self.journaled.len() - 1
            });
            let coming = &mut self.journaled[at];
            coming.count += 1;
            if let Some(location) = location
                && queue.keep_body(broker, location, message)
            {
                coming.kept.push(location);
            }
        }
        Ok(())
    }

    /// Sends a message that is to be delivered later, as a part of the transaction.
    pub(super) fn delay(&mut self, delayed: Delayed) {
        self.has_parts = true;
        self.delayed.push(delayed);
    }

    /// Puts a job into the schedule, as a part of the transaction.
    pub(super) fn put_job(&mut self, job: NewJob) {
        self.has_parts = true;
        self.jobs.push(job);
    }

    /// Takes something out of the journal, as a part of the transaction.
    pub(super) fn consume(&mut self, backlog: Arc<Backlog>, position: Position) {
        self.has_parts = true;
        self.consumed.push((backlog, vec![position]));
    }

    /// Acknowledges messages as a part of the transaction.
    pub(super) fn acknowledge(
        &mut self,
        broker: &Arc<Broker>,
        queue: &Arc<Queue>,
        consumer: &ConsumerId,
        acknowledgement: &Acknowledgement,
    ) -> Result<(), Refusal> {
        // The other two kinds only say where the messages are.
        self.has_parts |= !matches!(
            acknowledgement.kind,
            AckKind::Delivered | AckKind::Redelivered
        );
        let count = queue.hold(broker, consumer, acknowledgement, self.number)?;
        if count > 0 && !self.held.iter().any(|other| Arc::ptr_eq(other, queue)) {
            self.held.push(Arc::clone(queue));
        }
        Ok(())
    }

    /// Commits.
    pub(super) fn commit(mut self, broker: &Arc<Broker>) -> Result<Receipt, Refusal> {
        let failed = |cause: String, name: &str| Refusal::TransactionFailed {
            transaction: name.to_owned(),
            cause,
        };
        if let Some(cause) = self.failure.take() {
            let error = failed(cause, &self.name);
            self.roll_back(broker);
            return Err(error);
        }
        match self.write_commit(broker) {
            Ok(lsn) => {
                self.take_effect(broker, lsn);
                Ok(lsn.into())
            }
            Err(refusal) => {
                let error = failed(refusal.to_string(), &self.name);
                self.roll_back(broker);
                Err(error)
            }
        }
    }

    /// Appends the commit. None: there is nothing that the journal has to know.
    fn write_commit(&self, broker: &Broker) -> Result<Option<Lsn>, Refusal> {
        let acknowledged = self.acknowledged_positions(broker)?;
        self.enqueue_jobs(broker)?;
        if acknowledged.is_empty() && self.journaled.is_empty() && !self.has_jobs() {
            return Ok(None);
        }
        Ok(Some(broker.store().commit(&self.key, &acknowledged)?))
    }

    /// Appends the prepare.
    fn write_prepare(&self, broker: &Broker) -> Result<Lsn, Refusal> {
        let acknowledged = self.acknowledged_positions(broker)?;
        self.enqueue_jobs(broker)?;
        Ok(broker.store().prepare(&self.key, &acknowledged)?)
    }

    /// What it acknowledged that is in the journal.
    fn acknowledged_positions(&self, broker: &Broker) -> Result<Vec<Acknowledged>, Refusal> {
        let mut acknowledged = self.consumed.clone();
        for queue in &self.held {
            let positions = queue.state.lock().held_positions(self.number);
            if !positions.is_empty() {
                acknowledged.push((queue.backlog(broker)?, positions));
            }
        }
        Ok(acknowledged)
    }

    /// Puts what is to be delivered later into the journal; the time counts from now on.
    fn enqueue_jobs(&self, broker: &Broker) -> Result<(), Refusal> {
        for delayed in &self.delayed {
            delayed.job()?.enqueue_in(broker, &self.key)?;
        }
        for job in &self.jobs {
            job.enqueue_in(broker, &self.key)?;
        }
        Ok(())
    }

    fn has_jobs(&self) -> bool {
        !self.delayed.is_empty() || !self.jobs.is_empty() || self.has_found_jobs
    }

    fn take_effect(self, broker: &Arc<Broker>, lsn: Option<Lsn>) {
        if let Some(lsn) = lsn.filter(|_| self.has_jobs()) {
            broker.scheduled(lsn);
        }
        for queue in self.held {
            let taken = queue.change(broker, |state| state.take_held(self.number));
            queue
                .counters
                .dequeued
                .fetch_add(taken.len() as u64, Ordering::Relaxed);
            queue.advise_departure(broker, &taken);
        }
        for coming in self.journaled {
            if let Some(lsn) = lsn {
                coming.queue.committed(broker, lsn, coming.count);
            }
        }
        for (queue, message) in self.advised {
            let message = queue.shown(broker, message);
            queue.advise_arrival(broker, &message);
        }
        for (target, message) in self.publications {
            match lsn {
                Some(lsn) => broker.publish_at(lsn, &target, &message),
                None => publish_now(broker, &target, &message),
            }
        }
    }

    /// Takes everything back. Acknowledged messages stay outstanding at their consumers.
    pub(super) fn roll_back(self, broker: &Arc<Broker>) {
        if (!self.journaled.is_empty() || self.has_jobs())
            && let Err(error) = broker.store().roll_back(&self.key)
        {
            // Without its commit record the journal drops it at the next takeover.
            tracing::debug!(transaction = %self.name, %error, "The rollback is not journaled.");
        }
        self.release(broker);
    }

    /// Ends the hold on what it acknowledged.
    fn release(self, broker: &Arc<Broker>) {
        for coming in &self.journaled {
            coming.queue.drop_bodies(&coming.kept);
        }
        for queue in self.held {
            queue.change(broker, |state| state.let_go(self.number));
        }
    }
}

fn publish_now(broker: &Arc<Broker>, target: &Target, message: &Arc<Message>) {
    match target {
        // Its durable subscriptions have nothing of it, or the journal would know.
        Target::Topic(topic) if message.is_journaled_at(topic.name()) => {
            let message = broker.shown_at(topic.name(), Arc::clone(message));
            topic.published(broker, &message, None);
        }
        Target::Queue(_) | Target::Topic(_) => broker.publish_memory(target, message),
    }
}
