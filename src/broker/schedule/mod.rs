//! Messages that are delivered later: after a delay, again and again, or by a cron entry.
//!
//! They wait in a backlog of their own, whose entries say in the place of an expiration when they
//! are due. So what is due when is known after a start without reading a body. When a job is due,
//! one transaction of the journal moves its message to its destination and puts in what is left to
//! be done: whichever broker of the pair does it, it is done once. Non-persistent messages wait in
//! the journal too.
//!
//! It knows what properties say and what a backlog is; where a message goes is the business of the
//! send path that it hands the message back to.

mod cron;
mod fire;
mod index;
mod manage;
mod plan;
mod record;

use std::sync::Arc;

use jiff::tz::TimeZone;
use openwire::{ConnectionId, Destination, MessageId};
use parking_lot::Mutex;
use storage::store::{AppendError, Enqueued, NewMessage, ProducerSequence};
use storage::{Backlog, Lsn, Position};
use tokio::sync::Notify;

pub use self::cron::CronError;
pub(super) use self::fire::run;
pub(super) use self::manage::Request;
pub(super) use self::plan::Plan;
pub use self::plan::ScheduleError;

use self::index::{FRESH, Index};
use self::record::Record;
use super::descriptor::Descriptor;
use super::dispatcher::Visit;
use super::{Broker, Message, Receipt, Refusal, wall_ms};

/// Messages to this destination, whatever follows in the name, are requests to the scheduler.
const MANAGEMENT: &[u8] = b"ActiveMQ.Scheduler.Management";

/// What can be chosen about scheduled messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// Whether properties delay messages. Without it they are delivered at once and what waits in
    /// the journal stays there. On by default as with hosted ActiveMQ, whose clients expect it; an
    /// imported activemq.xml says for itself, and its default is off.
    pub is_enabled: bool,
    /// Messages that are to be repeated more often than this are refused.
    pub repeat_max: u32,
}

/// The message in the record of a job.
pub(super) fn body_of_job(record: bytes::Bytes) -> Option<bytes::Bytes> {
    Some(record::Record::decode(record).ok()?.message)
}

impl Default for Scheduling {
    fn default() -> Self {
        Scheduling {
            is_enabled: true,
            repeat_max: 1000,
        }
    }
}

/// The jobs that wait.
#[derive(Default)]
pub(super) struct Scheduler {
    index: Mutex<Index>,
    wake: Notify,
}

/// A message that is to be scheduled.
pub(super) struct Delayed {
    plan: Plan,
    message: Arc<Message>,
}

/// What the scheduler has to do with a message that was sent.
pub(super) enum Claim {
    /// Deliver it later.
    Delay(Plan),
    /// Do what it asks for.
    Manage(Request),
}

/// A job on its way into the backlog.
pub(super) struct NewJob {
    record: Record,
    order: u8,
    due_ms: i64,
}

/// Whether encoded properties may delay a message: a quick look for all that are sent.
pub(super) fn may_delay(properties: &[u8]) -> bool {
    let mut rest = properties;
    while let Some(at) = rest.iter().position(|byte| *byte == plan::PREFIX[0]) {
        if rest[at..].starts_with(plan::PREFIX) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn is_management(destination: &Destination) -> bool {
    let name = destination
        .name
        .as_ref()
        .map(openwire::WireString::as_bytes);
    name.and_then(|name| name.get(..MANAGEMENT.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(MANAGEMENT))
}

impl Delayed {
    pub(super) fn new(plan: Plan, message: Arc<Message>) -> Self {
        Delayed { plan, message }
    }

    /// The job, as from now on.
    pub(super) fn job(&self) -> Result<NewJob, Refusal> {
        let due_ms = self.plan.first(wall_ms(), &TimeZone::system());
        Ok(NewJob {
            record: Record {
                id: None,
                is_series: false,
                repeats_left: self.plan.repeat,
                message: self.message.stored().bytes().clone(),
            },
            order: FRESH,
            due_ms: due_ms.ok_or(ScheduleError::Never)?,
        })
    }
}

impl NewJob {
    /// Puts the job into the backlog as a part of a transaction of the journal.
    pub(super) fn enqueue_in(&self, broker: &Broker, transaction: &[u8]) -> Result<(), Refusal> {
        let body = self.record.encode();
        let backlog = broker.schedule_backlog()?;
        broker.store().enqueue_in_transaction(
            transaction,
            &[backlog],
            self.new_message(&body, None),
        )?;
        Ok(())
    }

    fn new_message<'a>(
        &self,
        body: &'a [u8],
        producer: Option<ProducerSequence<'a>>,
    ) -> NewMessage<'a> {
        NewMessage {
            producer,
            order: self.order,
            expiration_ms: self.due_ms,
            body,
        }
    }
}

impl Broker {
    /// What the scheduler has to do with a message; None: nothing, it goes its way.
    pub(super) fn claim(&self, message: &Message) -> Result<Option<Claim>, Refusal> {
        let scheduling = &self.options().scheduling;
        if !scheduling.is_enabled {
            return Ok(None);
        }
        if is_management(message.destination()) {
            return Ok(Some(Claim::Manage(Request::of(message)?)));
        }
        if !message.may_be_delayed() {
            return Ok(None);
        }
        let decoded = message.stored().decode();
        let properties = decoded.and_then(|decoded| decoded.properties());
        let properties = properties.map_err(|_| ScheduleError::Damaged)?;
        Ok(Plan::of(&properties, scheduling.repeat_max)?.map(Claim::Delay))
    }

    /// Schedules a message outside a transaction.
    pub(super) fn schedule(
        self: &Arc<Self>,
        delayed: &Delayed,
        producer: Option<ProducerSequence<'_>>,
    ) -> Result<Receipt, Refusal> {
        let job = delayed.job()?;
        let body = job.record.encode();
        let backlog = self.schedule_backlog()?;
        let new = job.new_message(&body, producer);
        match self.store().enqueue(&[backlog], new)? {
            Enqueued::Duplicate { lsn } => Ok(Receipt::At(lsn)),
            Enqueued::Appended { lsn, .. } => {
                self.scheduled(lsn);
                Ok(Receipt::At(lsn))
            }
        }
    }

    /// Jobs came to the backlog, which are certain once `lsn` is released.
    pub(super) fn scheduled(&self, lsn: Lsn) {
        self.dispatcher().at(lsn, Visit::Schedule);
    }

    /// Looks at the schedule again.
    pub(super) fn wake_scheduler(&self) {
        self.scheduler.wake.notify_one();
    }

    /// Takes over what an earlier tenure left to be done.
    pub(super) fn restore_schedule(&self, backlog: Arc<Backlog>) {
        let waiting = backlog.len();
        self.scheduler.index.lock().attach(backlog);
        if waiting > 0 && !self.options().scheduling.is_enabled {
            tracing::warn!(
                waiting,
                "Scheduled messages stay in the journal: the scheduler is off."
            );
        }
    }

    /// The id of a message that the broker made.
    fn made_message_id(&self) -> MessageId {
        let connection = ConnectionId {
            value: self.id().value.clone(),
        };
        let number = i64::try_from(self.next_number()).unwrap_or(i64::MAX);
        connection.session(-1).producer(2).message(number)
    }

    /// Scheduled messages that wait.
    pub(super) fn scheduled_len(&self) -> usize {
        let mut index = self.scheduler.index.lock();
        index.refresh();
        index.len()
    }

    /// The journal's part of the schedule, made now if there is none.
    fn schedule_backlog(&self) -> Result<Arc<Backlog>, AppendError> {
        let mut index = self.scheduler.index.lock();
        if let Some(backlog) = index.backlog() {
            return Ok(Arc::clone(backlog));
        }
        let (backlog, _) = self.store().create_backlog(Descriptor::Schedule.encode())?;
        index.attach(Arc::clone(&backlog));
        Ok(backlog)
    }

    /// The id of a job: the one that it keeps, or that of its place, of which there is one for ever.
    fn job_id(&self, record: &Record, position: Position) -> String {
        match &record.id {
            Some(id) => id.clone(),
            None => format!("{}{}", self.job_id_prefix(), position.sequence()),
        }
    }

    fn job_id_prefix(&self) -> String {
        format!("ID:{}-schedule:", self.options().name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_properties_that_may_delay_are_looked_at() {
        assert!(may_delay(
            b"\0\0\0\x01\0\x13AMQ_SCHEDULED_DELAY\x05\0\0\0\x01"
        ));
        assert!(may_delay(b"AAMQ_AMQ_SCHEDULED_"));
        assert!(!may_delay(b"AMQ_SCHEDULE"));
        assert!(!may_delay(b""));
    }

    #[test]
    fn the_management_destination_is_known_in_any_case() {
        let is = |name| is_management(&Destination::topic(name));
        assert!(is("ActiveMQ.Scheduler.Management"));
        assert!(is("activemq.scheduler.management.x"));
        assert!(!is("ActiveMQ.Scheduler"));
    }
}
