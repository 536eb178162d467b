//! Requests to the scheduler: what waits, and to remove some of it.

use std::sync::Arc;

use openwire::primitive::{PrimitiveMap, Value};
use openwire::{Destination, Message as WireMessage, StoredMessage, StoredMessageError};
use storage::{Lsn, Position};

use super::ScheduleError;
use super::index::{FRESH, Job};
use super::plan::{JOB_ID, number};
use crate::broker::interceptor::Leg;
use crate::broker::{Broker, Message, MessageError, Receipt, Refusal};

const ACTION: &str = "AMQ_SCHEDULER_ACTION";
const START_TIME: &str = "ACTION_START_TIME";
const END_TIME: &str = "ACTION_END_TIME";

/// What a client wants of the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Request {
    /// Copies of the jobs due in this time, sent there.
    Browse {
        first_ms: i64,
        last_ms: i64,
        reply_to: Destination,
    },
    /// That the job is not done.
    Remove(String),
    /// That no job due in this time is done.
    RemoveAll { first_ms: i64, last_ms: i64 },
    /// Nothing that can be understood, which is not an error.
    Nothing,
}

impl Request {
    pub(super) fn of(message: &Message) -> Result<Self, ScheduleError> {
        let damaged = |_| ScheduleError::Damaged;
        let message = message.stored().decode().map_err(damaged)?;
        let properties = message.properties().map_err(damaged)?;
        let text = |name| match properties.get(name) {
            Some(Value::String(text)) => Some(text.to_string_lossy().into_owned()),
            _ => None,
        };
        let (first_ms, last_ms) = times(&properties)?;
        Ok(match (text(ACTION).as_deref(), message.reply_to) {
            (Some("BROWSE"), Some(reply_to)) => Request::Browse {
                first_ms,
                last_ms,
                reply_to: reply_to.detached(),
            },
            (Some("REMOVE"), _) => text(JOB_ID).map_or(Request::Nothing, Request::Remove),
            (Some("REMOVEALL"), _) => Request::RemoveAll { first_ms, last_ms },
            _ => Request::Nothing,
        })
    }
}

/// The time that a request is about; without both ends all of it.
fn times(properties: &PrimitiveMap) -> Result<(i64, i64), ScheduleError> {
    let first = number(properties, START_TIME)?;
    let last = number(properties, END_TIME)?;
    Ok(first.zip(last).unwrap_or((i64::MIN, i64::MAX)))
}

impl Broker {
    /// Does what a client wants of the scheduler.
    pub(in crate::broker) fn manage_schedule(
        self: &Arc<Self>,
        request: Request,
    ) -> Result<Receipt, Refusal> {
        match request {
            Request::Nothing => Ok(Receipt::Done),
            Request::RemoveAll { first_ms, last_ms } => {
                let jobs = self.jobs_between(first_ms, last_ms);
                Ok(self.remove_jobs(&jobs)?.into())
            }
            Request::Remove(id) => self.remove_job(id),
            Request::Browse {
                first_ms,
                last_ms,
                reply_to,
            } => {
                let jobs = self.jobs_between(first_ms, last_ms);
                let broker = Arc::clone(self);
                self.background()
                    .run(Box::new(move || broker.show_jobs(&jobs, &reply_to)));
                Ok(Receipt::Done)
            }
        }
    }

    fn jobs_between(&self, first_ms: i64, last_ms: i64) -> Vec<Job> {
        let mut index = self.scheduler.index.lock();
        index.refresh();
        index.between(first_ms, last_ms)
    }

    /// Removes those of the jobs that still wait, in one record. None: there are none.
    fn remove_jobs(&self, jobs: &[Job]) -> Result<Option<Lsn>, Refusal> {
        let mut index = self.scheduler.index.lock();
        let Some(backlog) = index.backlog().cloned() else {
            return Ok(None);
        };
        // Taken out first: a job that is being done is not in the index and stays as it is.
        let removed: Vec<&Job> = jobs.iter().filter(|job| index.remove(job)).collect();
        if removed.is_empty() {
            return Ok(None);
        }
        let positions: Vec<Position> = removed.iter().map(|job| job.position).collect();
        match self.store().acknowledge(&backlog, &positions) {
            Ok(lsn) => Ok(Some(lsn)),
            Err(error) => {
                removed.into_iter().for_each(|job| index.insert(*job));
                Err(error.into())
            }
        }
    }

    /// Removes the job with this id. One that was continued, and whose id is not known yet, is
    /// looked for in the journal a little later.
    fn remove_job(self: &Arc<Self>, id: String) -> Result<Receipt, Refusal> {
        let (known, unread) = {
            let mut index = self.scheduler.index.lock();
            index.refresh();
            let known = index
                .named(&id)
                .or_else(|| index.at(self.position_of(&id)?));
            (
                known,
                known.map_or_else(|| index.nameless(), |_| Vec::new()),
            )
        };
        if let Some(job) = known {
            return Ok(self.remove_jobs(&[job])?.into());
        }
        if !unread.is_empty() {
            let broker = Arc::clone(self);
            self.background().run(Box::new(move || {
                let removed = broker
                    .find_job(&unread, &id)
                    .map_or(Ok(None), |job| broker.remove_jobs(&[job]));
                if let Err(error) = removed {
                    tracing::warn!(job = id, %error, "A scheduled message is not removed.");
                }
            }));
        }
        Ok(Receipt::Done)
    }

    /// The place that an id speaks of, when it is the id of a job that was not continued.
    fn position_of(&self, id: &str) -> Option<Position> {
        let sequence: u64 = id.strip_prefix(&self.job_id_prefix())?.parse().ok()?;
        (sequence < 1 << 60).then(|| Position::new(FRESH, sequence))
    }

    fn find_job(&self, unread: &[Job], id: &str) -> Option<Job> {
        unread.iter().copied().find(|job| {
            let Ok(record) = self.read_job(job) else {
                return false;
            };
            let found = self.job_id(&record, job.position);
            self.scheduler.index.lock().name(job.position, &found);
            found == id
        })
    }

    /// Sends copies of jobs, which nobody is to take for the messages themselves.
    fn show_jobs(self: &Arc<Self>, jobs: &[Job], reply_to: &Destination) {
        for job in jobs {
            let shown = self.show_job(job, reply_to);
            if let Err(error) = shown {
                // It was done or removed meanwhile, or nobody listens any more.
                tracing::debug!(%reply_to, %error, "A scheduled message is not shown.");
            }
        }
    }

    fn show_job(self: &Arc<Self>, job: &Job, reply_to: &Destination) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let record = self.read_job(job).map_err(|error| text(&error))?;
        let id = self.job_id(&record, job.position);
        self.scheduler.index.lock().name(job.position, &id);
        let copy = self
            .shown(record.message, &id, reply_to)
            .map_err(|error| text(&error))?;
        let target = self.target(reply_to).map_err(|error| text(&error))?;
        let leg = Leg {
            target,
            is_optional: false,
        };
        self.publish(&[leg], &Arc::new(copy), None)
            .map(|_| ())
            .map_err(|error| text(&error))
    }

    fn shown(
        &self,
        stored: bytes::Bytes,
        id: &str,
        reply_to: &Destination,
    ) -> Result<Message, MessageError> {
        let mut copy: WireMessage = StoredMessage::new(stored)?.decode()?;
        let mut properties = copy.properties()?;
        properties.insert(JOB_ID, Value::String(id.into()));
        let new_id = self.made_message_id();
        copy.marshalled_properties = Some(properties.encode().map_err(StoredMessageError::from)?);
        copy.message_type = Some("Advisory".into());
        copy.persistent = false;
        copy.producer_id = new_id.producer_id.clone();
        copy.message_id = Some(new_id);
        copy.transaction_id = None;
        copy.original_transaction_id = None;
        copy.response_required = false;
        copy.original_destination = copy.destination.take();
        copy.destination = Some(reply_to.clone());
        Message::made(&copy, self.memory())
    }
}
