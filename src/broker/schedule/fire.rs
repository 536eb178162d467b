//! The scheduler's clock: does what is due.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use openwire::primitive::Value;
use openwire::{Message as WireMessage, MessageId, StoredMessage, StoredMessageError};
use tokio::sync::oneshot;

use super::index::{CONTINUED, Job};
use super::plan::{CRON, DELAY, JOB_ID, PERIOD, Plan, REPEAT, Turn};
use super::record::Record;
use super::{NewJob, ScheduleError};
use crate::broker::dispatcher::Visit;
use crate::broker::transaction::Transaction;
use crate::broker::{Broker, Message, MessageError, Refusal, names, wall_ms};

/// The clock of the host may be set: what is due is looked for at least this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Time to the next try when the journal or the memory is full.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Jobs done in one go.
const BATCH_JOBS: usize = 256;
/// Bytes on their way to the journal beyond which no job is begun.
const UNWRITTEN_BYTES_MAX: usize = 8 << 20;
/// How long to wait for the journal then.
const UNWRITTEN_WAIT: Duration = Duration::from_millis(5);

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum FireError {
    #[error("its record in the journal cannot be read: {0}")]
    Record(String),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl FireError {
    /// Whether the same will do later.
    fn is_passing(&self) -> bool {
        matches!(
            self,
            FireError::Refused(
                Refusal::Journal(_) | Refusal::NoRoom(_) | Refusal::TransactionFailed { .. }
            )
        )
    }
}

/// What comes of a look at the schedule.
enum Look {
    /// These are due.
    Due(Vec<Job>),
    /// Nothing is due for this long, or as long as nothing new comes.
    Wait(Option<Duration>),
}

/// Runs until the broker has ended.
pub(in crate::broker) async fn run(broker: Arc<Broker>) {
    if !broker.options().scheduling.is_enabled {
        return;
    }
    loop {
        let wait = match broker.look_at_schedule() {
            Look::Due(jobs) => {
                let is_done = tokio::select! {
                    is_done = fire_all(&broker, jobs) => is_done,
                    () = broker.ended() => return,
                };
                if is_done {
                    continue;
                }
                Some(RETRY_INTERVAL)
            }
            Look::Wait(wait) => wait,
        };
        let sleep = async {
            match wait {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = sleep => {}
            () = broker.scheduler.wake.notified() => {}
            () = broker.ended() => return,
        }
    }
}

/// Does jobs on a thread that may read the journal. False: the rest has to wait a while.
async fn fire_all(broker: &Arc<Broker>, jobs: Vec<Job>) -> bool {
    while broker.unwritten_bytes() > UNWRITTEN_BYTES_MAX {
        tokio::time::sleep(UNWRITTEN_WAIT).await;
    }
    let (done, is_done) = oneshot::channel();
    let worker = Arc::clone(broker);
    broker.background().run(Box::new(move || {
        // The other end is gone when the broker has ended.
        let _ = done.send(worker.fire(jobs));
    }));
    // An error is a panic over there, which was told; the jobs are done by the next tenure.
    is_done.await.unwrap_or(true)
}

impl Broker {
    fn look_at_schedule(&self) -> Look {
        let mut jobs = Vec::new();
        let mut index = self.scheduler.index.lock();
        index.refresh();
        let now_ms = wall_ms();
        while jobs.len() < BATCH_JOBS {
            match index.take_due(now_ms, self.released()) {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => break,
                Err(lsn) => {
                    if jobs.is_empty() {
                        drop(index);
                        self.dispatcher().at(lsn, Visit::Schedule);
                        return Look::Wait(None);
                    }
                    break;
                }
            }
        }
        if !jobs.is_empty() {
            return Look::Due(jobs);
        }
        // What comes by a transaction that an earlier tenure prepared does not wake anybody.
        let longest = index.backlog().map(|_| LOOK_INTERVAL);
        let due = index.first_due_ms().map(|due| {
            let left = u64::try_from(due.saturating_sub(now_ms)).unwrap_or_default();
            Duration::from_millis(left).min(LOOK_INTERVAL)
        });
        Look::Wait(due.or(longest))
    }

    /// Does jobs in their order. One that has to wait, and all behind it, go back. False then.
    fn fire(self: &Arc<Self>, jobs: Vec<Job>) -> bool {
        let mut jobs = jobs.into_iter();
        while let Some(job) = jobs.next() {
            match self.fire_one(&job) {
                Ok(()) => {}
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "A scheduled message waits until it can be delivered.");
                    let mut index = self.scheduler.index.lock();
                    index.insert(job);
                    jobs.for_each(|job| index.insert(job));
                    return false;
                }
                Err(error) => {
                    let position = job.position.sequence();
                    tracing::error!(position, %error, "A scheduled message cannot be delivered.");
                }
            }
        }
        true
    }

    fn fire_one(self: &Arc<Self>, job: &Job) -> Result<(), FireError> {
        let record = self.read_job(job)?;
        let stored = StoredMessage::new(record.message.clone()).map_err(MessageError::from)?;
        let message = stored.decode().map_err(MessageError::from)?;
        let properties = message.properties().map_err(MessageError::from)?;
        let plan = Plan::of(&properties, u32::MAX)
            .map_err(Refusal::from)?
            .ok_or(Refusal::Schedule(ScheduleError::Damaged))?;
        let plan = if record.is_series {
            plan.without_cron()
        } else {
            plan
        };
        let (now_ms, zone) = (wall_ms(), TimeZone::system());
        let turn = plan.turn(record.repeats_left, now_ms, &zone);
        let id = self.job_id(&record, job.position);
        let is_repeated = plan.is_repeated() || record.is_series;
        let mut transaction = self.transaction_of(job, record, &plan, &turn, &id, now_ms)?;
        if turn.is_delivery {
            let new_id = is_repeated.then(|| self.made_message_id());
            let message = delivered(message, &id, new_id, now_ms)?;
            let message = Message::made(&message, self.memory())?;
            if let Err(refusal) = self.deliver_in(&mut transaction, message) {
                let error = FireError::Refused(refusal);
                if error.is_passing() {
                    transaction.roll_back(self);
                    return Err(error);
                }
                // Where it was to go is gone, or may not be used: it would never go.
                tracing::error!(job = id, %error, "A scheduled message is discarded.");
            }
        }
        // Whoever waits for it learns of it from the journal.
        let _ = transaction.commit(self)?;
        Ok(())
    }

    /// A transaction that takes a job out of the schedule and puts in what is left to be done.
    fn transaction_of(
        &self,
        job: &Job,
        record: Record,
        plan: &Plan,
        turn: &Turn,
        id: &str,
        now_ms: i64,
    ) -> Result<Transaction, Refusal> {
        let mut transaction = Transaction::new(self, format!("schedule:{}", self.next_number()));
        transaction.consume(self.schedule_backlog()?, job.position);
        if let Some((due_ms, repeats_left)) = turn.again {
            transaction.put_job(NewJob {
                order: CONTINUED,
                due_ms,
                record: Record {
                    id: Some(id.to_owned()),
                    repeats_left,
                    ..record.clone()
                },
            });
        }
        if let Some(due_ms) = turn.series {
            transaction.put_job(NewJob {
                order: CONTINUED,
                due_ms,
                record: Record {
                    id: Some(format!("{id}:{now_ms}")),
                    is_series: true,
                    repeats_left: plan.repeat,
                    ..record
                },
            });
        }
        Ok(transaction)
    }

    /// Sends a message on its way, as a part of a transaction.
    fn deliver_in(
        self: &Arc<Self>,
        transaction: &mut Transaction,
        message: Message,
    ) -> Result<(), Refusal> {
        let separator = self.options().interceptors.path_separator.as_deref();
        let name = names::read(message.destination(), separator)?.into_owned();
        let route = self.route(&name)?;
        let message = if *message.destination() == name {
            message
        } else {
            message
                .redirected(&name, None, self.memory())
                .map_err(|_| Refusal::NamelessDestination)?
        };
        let (mut all, mut with_room) = (Vec::new(), Vec::new());
        let legs = route.legs(&message, &mut all);
        let message = Arc::new(message);
        let legs = self.admitted(legs, &message, &mut with_room)?;
        transaction.send(self, legs, &message)
    }

    /// The record of a job. It blocks.
    pub(super) fn read_job(&self, job: &Job) -> Result<Record, FireError> {
        let failed = |error: &dyn std::fmt::Display| FireError::Record(error.to_string());
        let backlog = self.scheduler.index.lock().backlog().map(Arc::clone);
        let backlog = backlog.ok_or_else(|| failed(&"nothing was ever scheduled"))?;
        let read = self.store().read_at(&backlog, job.position, job.location);
        let body = read
            .map_err(|error| failed(&error))?
            .ok_or_else(|| failed(&"it was removed"))?;
        Record::decode(body).map_err(|error| FireError::Record(error.to_string()))
    }
}

/// The message as its consumers see it: it says which job it came from and not that it is to be
/// delayed. What was left of its time to live counts from now on.
fn delivered(
    mut message: WireMessage,
    job: &str,
    new_id: Option<MessageId>,
    now_ms: i64,
) -> Result<WireMessage, MessageError> {
    let properties = message.properties()?;
    let kept = |name: &openwire::WireString| {
        ![DELAY, PERIOD, REPEAT, CRON]
            .into_iter()
            .any(|gone| *name == *gone)
    };
    let mut properties: openwire::primitive::PrimitiveMap = properties
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    properties.insert(JOB_ID, Value::String(job.into()));
    message.marshalled_properties = Some(properties.encode().map_err(StoredMessageError::from)?);
    message.transaction_id = None;
    message.original_transaction_id = None;
    if let Some(id) = new_id {
        message.message_id = Some(id);
    }
    if message.timestamp > 0 && message.expiration > 0 {
        let time_to_live = message.expiration.saturating_sub(message.timestamp);
        let expiration = now_ms.saturating_add(time_to_live);
        if expiration > message.expiration {
            if time_to_live > 0 {
                message.expiration = expiration;
            }
            message.timestamp = now_ms;
        }
    }
    Ok(message)
}
