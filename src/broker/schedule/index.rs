//! Which job is due when: built from the journal's backlog, without reading a body.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use storage::{Backlog, Location, Lsn, Position};

/// The order of jobs whose id follows from their place in the backlog.
pub(super) const FRESH: u8 = 4;
/// The order of jobs that went on from an earlier place, and keep their id in the record.
pub(super) const CONTINUED: u8 = 3;

/// A job as far as the backlog knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) due_ms: i64,
    pub(super) position: Position,
    pub(super) location: Location,
    /// It may be delivered once this is released.
    pub(super) visible: Lsn,
}

/// All jobs that wait, by the time they are due.
#[derive(Default)]
pub(super) struct Index {
    backlog: Option<Arc<Backlog>>,
    by_time: BTreeMap<(i64, Position), (Location, Lsn)>,
    /// The next sequences that were not looked at.
    fresh_cursor: u64,
    continued_cursor: u64,
    /// Ids of continued jobs, as far as they were read.
    ids: HashMap<String, Position>,
    /// Continued jobs whose id was not read.
    nameless: HashSet<Position>,
}

impl Index {
    pub(super) fn attach(&mut self, backlog: Arc<Backlog>) {
        self.backlog = Some(backlog);
    }

    pub(super) fn backlog(&self) -> Option<&Arc<Backlog>> {
        self.backlog.as_ref()
    }

    /// Takes in what came to the backlog since the last call.
    pub(super) fn refresh(&mut self) {
        let Some(backlog) = self.backlog.clone() else {
            return;
        };
        self.fresh_cursor = self.refresh_order(&backlog, FRESH, self.fresh_cursor);
        self.continued_cursor = self.refresh_order(&backlog, CONTINUED, self.continued_cursor);
    }

    fn refresh_order(&mut self, backlog: &Backlog, order: u8, cursor: u64) -> u64 {
        let mut end = cursor;
        backlog.scan(Position::new(order, cursor), &mut |position, entry| {
            if position.order() != order {
                return ControlFlow::Break(());
            }
            end = position.sequence() + 1;
            self.insert(Job {
                due_ms: entry.expiration_ms,
                position,
                location: entry.location,
                visible: entry.visible,
            });
            ControlFlow::Continue(())
        });
        end
    }

    /// Puts a job in.
    pub(super) fn insert(&mut self, job: Job) {
        let value = (job.location, job.visible);
        self.by_time.insert((job.due_ms, job.position), value);
        if job.position.order() == CONTINUED {
            self.nameless.insert(job.position);
        }
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// When the first job is due.
    pub(super) fn first_due_ms(&self) -> Option<i64> {
        self.by_time.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the first job out if it is due. An error: what made it is not released before this.
    pub(super) fn take_due(&mut self, now_ms: i64, released: Lsn) -> Result<Option<Job>, Lsn> {
        let Some(job) = self.jobs_from(i64::MIN).next() else {
            return Ok(None);
        };
        if job.due_ms > now_ms {
            return Ok(None);
        }
        if job.visible > released {
            return Err(job.visible);
        }
        self.remove(&job);
        Ok(Some(job))
    }

    /// Jobs that are due from `first_ms` up to and including `last_ms`, in the order of time.
    pub(super) fn between(&self, first_ms: i64, last_ms: i64) -> Vec<Job> {
        self.jobs_from(first_ms)
            .take_while(|job| job.due_ms <= last_ms)
            .collect()
    }

    fn jobs_from(&self, first_ms: i64) -> impl Iterator<Item = Job> + '_ {
        self.by_time.range((first_ms, Position::default())..).map(
            |((due_ms, position), (location, visible))| Job {
                due_ms: *due_ms,
                position: *position,
                location: *location,
                visible: *visible,
            },
        )
    }

    /// Takes a job out. False: it is not there any more.
    pub(super) fn remove(&mut self, job: &Job) -> bool {
        let is_there = self.by_time.remove(&(job.due_ms, job.position)).is_some();
        if job.position.order() == CONTINUED && !self.nameless.remove(&job.position) {
            self.ids.retain(|_, known| *known != job.position);
        }
        is_there
    }

    /// The job at a place of the backlog, if it waits.
    pub(super) fn at(&self, position: Position) -> Option<Job> {
        let entry = self.backlog.as_ref()?.entry(position)?;
        let due_ms = entry.expiration_ms;
        let (location, visible) = *self.by_time.get(&(due_ms, position))?;
        Some(Job {
            due_ms,
            position,
            location,
            visible,
        })
    }

    /// The id of a continued job was read.
    pub(super) fn name(&mut self, position: Position, id: &str) {
        if self.nameless.remove(&position) {
            self.ids.insert(id.to_owned(), position);
        }
    }

    /// The continued job with this id, if its id was read.
    pub(super) fn named(&self, id: &str) -> Option<Job> {
        self.at(*self.ids.get(id)?)
    }

    /// Continued jobs whose ids were not read.
    pub(super) fn nameless(&self) -> Vec<Job> {
        self.nameless
            .iter()
            .filter_map(|position| self.at(*position))
            .collect()
    }
}
