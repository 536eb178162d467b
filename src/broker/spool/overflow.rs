//! What waits for a queue beyond what memory has room for, in order.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Files, Place, Spool};
use crate::broker::Message;

/// Messages taken back to memory in one go.
const RUN_MESSAGES: usize = 256;
/// Bytes written or taken back in one go; one message is taken anyway.
const RUN_BYTES: usize = 1 << 20;

/// Where a waiting message's body is.
#[derive(Debug)]
pub(crate) enum Body {
    /// It is still to be written.
    Memory(Arc<Message>),
    Disk(Place),
}

/// A message as somebody who only looks sees it. It may be gone when it is read.
#[derive(Clone, Debug)]
pub(crate) enum Glimpse {
    Memory(Arc<Message>),
    Disk(Arc<Files>, Place),
}

/// A message that waits; `K` is its place in the order of whoever waits for it.
#[derive(Debug)]
struct Entry<K> {
    number: u64,
    key: K,
    expiration_ms: i64,
    body: Body,
}

/// Messages of one kind, in order: those on disk first.
#[derive(Debug)]
struct Line<K> {
    order: u8,
    entries: VecDeque<Entry<K>>,
    /// Numbers from here on may be unwritten.
    unwritten_from: u64,
}

/// A message that is to be written.
#[derive(Debug)]
pub(crate) struct Unwritten {
    order: u8,
    number: u64,
    pub(crate) message: Arc<Message>,
}

/// Messages on their way back to memory, and the files that they may be in.
pub(crate) type Returning<K> = (Option<Arc<Files>>, Vec<(K, Body)>);

/// What waits beyond what memory has room for, in order.
#[derive(Debug)]
pub(crate) struct Overflow<K> {
    spool: Option<Arc<Spool>>,
    files: Option<Arc<Files>>,
    /// The most urgent first; there is one unless priorities count.
    lines: Vec<Line<K>>,
    len: usize,
    last_number: u64,
    unwritten_bytes: usize,
    /// Somebody is writing.
    is_writing: bool,
    /// A message with an expiration may wait.
    may_expire: bool,
    /// Somebody looks again soon whether what is unwritten can be written.
    pub(crate) is_waited_for: bool,
    /// Messages that somebody is taking back.
    returning: usize,
}

impl<K> Default for Overflow<K> {
    fn default() -> Self {
        Overflow {
            spool: None,
            files: None,
            lines: Vec::new(),
            len: 0,
            last_number: 0,
            unwritten_bytes: 0,
            is_writing: false,
            may_expire: false,
            is_waited_for: false,
            returning: 0,
        }
    }
}

impl<K> Overflow<K> {
    /// Messages that wait here.
    pub(crate) fn len(&self) -> usize {
        self.len + self.returning
    }

    /// Whether a message of this order would overtake others if it went past here.
    pub(crate) fn has_order(&self, order: u8) -> bool {
        // What is being taken back is of any order.
        self.returning > 0
            || self
                .lines
                .iter()
                .any(|line| line.order == order && !line.entries.is_empty())
    }

    /// A message waits here.
    pub(crate) fn push(&mut self, spool: &Arc<Spool>, order: u8, key: K, message: Arc<Message>) {
        let spool = self.spool.get_or_insert_with(|| Arc::clone(spool));
        spool.unwritten.fetch_add(message.len(), Ordering::Relaxed);
        self.unwritten_bytes += message.len();
        self.last_number += 1;
        self.len += 1;
        self.may_expire |= message.expiration_ms() > 0;
        let entry = Entry {
            number: self.last_number,
            key,
            expiration_ms: message.expiration_ms(),
            body: Body::Memory(message),
        };
        let at = self.lines.partition_point(|line| line.order > order);
        if self.lines.get(at).is_none_or(|line| line.order != order) {
            let line = Line {
                order,
                entries: VecDeque::new(),
                unwritten_from: entry.number,
            };
            self.lines.insert(at, line);
        }
        self.lines[at].entries.push_back(entry);
    }

    /// What is to be written next, by whoever gets it. Nothing while somebody writes.
    pub(crate) fn begin_writing(&mut self) -> Option<(Arc<Files>, Vec<Unwritten>)> {
        if self.is_writing || self.unwritten_bytes == 0 {
            return None;
        }
        let spool = self.spool.as_ref()?;
        let files = self
            .files
            .get_or_insert_with(|| Files::new(Arc::clone(spool)));
        let (mut run, mut bytes) = (Vec::new(), 0);
        for line in &self.lines {
            let from = line
                .entries
                .partition_point(|entry| entry.number < line.unwritten_from);
            for entry in line.entries.range(from..) {
                let Body::Memory(message) = &entry.body else {
                    continue;
                };
                if bytes >= RUN_BYTES {
                    break;
                }
                bytes += message.len();
                run.push(Unwritten {
                    order: line.order,
                    number: entry.number,
                    message: Arc::clone(message),
                });
            }
        }
        self.is_writing = !run.is_empty();
        self.is_writing.then(|| (Arc::clone(files), run))
    }

    /// What was to be written is; None: it could not be.
    pub(crate) fn written(&mut self, run: Vec<Unwritten>, places: Option<Vec<Place>>) {
        self.is_writing = false;
        let (Some(places), Some(files)) = (places, self.files.clone()) else {
            return;
        };
        for (unwritten, place) in run.into_iter().zip(places) {
            let line = self
                .lines
                .iter_mut()
                .find(|line| line.order == unwritten.order);
            let entry = line.and_then(|line| {
                line.unwritten_from = unwritten.number + 1;
                let entries = &mut line.entries;
                let at = entries.binary_search_by_key(&unwritten.number, |entry| entry.number);
                at.ok().and_then(|at| entries.get_mut(at))
            });
            match entry {
                Some(entry) => {
                    entry.body = Body::Disk(place);
                    self.wrote(unwritten.message.len());
                }
                // It went back to memory in the meantime.
                None => files.release(place),
            }
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.unwritten_bytes -= bytes;
        if let Some(spool) = &self.spool {
            spool.unwritten.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// The first messages, to be taken back to memory by whoever gets them. Nothing while somebody
    /// does that.
    pub(crate) fn begin_reading(&mut self) -> Option<Returning<K>> {
        if self.returning > 0 || self.len == 0 {
            return None;
        }
        let (mut run, mut bytes) = (Vec::new(), 0);
        while bytes < RUN_BYTES && run.len() < RUN_MESSAGES {
            let Some(line) = self.lines.iter_mut().find(|line| !line.entries.is_empty()) else {
                break;
            };
            let Some(entry) = line.entries.pop_front() else {
                break;
            };
            self.len -= 1;
            bytes += entry.body.length();
            if let Body::Memory(message) = &entry.body {
                let length = message.len();
                self.wrote(length);
            }
            run.push((entry.key, entry.body));
        }
        if self.len == 0 {
            self.lines = Vec::new();
        }
        self.returning = run.len();
        Some((self.files.clone(), run))
    }

    /// What was taken back is in memory.
    pub(crate) fn end_reading(&mut self) {
        self.returning = 0;
    }

    /// Drops what has expired; answers how many.
    pub(crate) fn drop_expired(&mut self, now_ms: i64) -> usize {
        if !self.may_expire {
            return 0;
        }
        let is_expired =
            |entry: &Entry<K>| entry.expiration_ms > 0 && entry.expiration_ms <= now_ms;
        let mut dropped = Vec::new();
        for line in &mut self.lines {
            if line.entries.iter().any(is_expired) {
                let (gone, staying) = mem::take(&mut line.entries)
                    .into_iter()
                    .partition::<VecDeque<_>, _>(is_expired);
                line.entries = staying;
                dropped.extend(gone);
            }
        }
        self.may_expire = self
            .lines
            .iter()
            .any(|line| line.entries.iter().any(|entry| entry.expiration_ms > 0));
        self.len -= dropped.len();
        let count = dropped.len();
        for entry in dropped {
            self.forget(entry);
        }
        count
    }

    /// The first messages, for whoever only looks.
    pub(crate) fn look(&self, max: usize) -> Vec<(K, Glimpse)>
    where
        K: Copy,
    {
        let entries = self.lines.iter().flat_map(|line| &line.entries);
        let glimpse = |entry: &Entry<K>| {
            let glimpse = match (&entry.body, &self.files) {
                (Body::Memory(message), _) => Glimpse::Memory(Arc::clone(message)),
                (Body::Disk(place), Some(files)) => Glimpse::Disk(Arc::clone(files), *place),
                (Body::Disk(_), None) => return None,
            };
            Some((entry.key, glimpse))
        };
        entries.take(max).filter_map(glimpse).collect()
    }

    /// Whether something is to be written.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.unwritten_bytes > 0
    }

    fn forget(&mut self, entry: Entry<K>) {
        match entry.body {
            Body::Memory(message) => self.wrote(message.len()),
            Body::Disk(place) => {
                if let Some(files) = &self.files {
                    files.release(place);
                }
            }
        }
    }
}

impl<K> Drop for Overflow<K> {
    fn drop(&mut self) {
        if let Some(spool) = &self.spool {
            spool
                .unwritten
                .fetch_sub(self.unwritten_bytes, Ordering::Relaxed);
        }
    }
}

impl Body {
    fn length(&self) -> usize {
        match self {
            Body::Memory(message) => message.len(),
            Body::Disk(place) => place.length(),
        }
    }
}
