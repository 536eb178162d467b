//! A disk that takes as long as a profile says.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::bucket::Bucket;
use super::profile::{Cap, Operation, Profile, Protocol};
use crate::clock::Clock;
use crate::disk::{Disk, DiskFile, Open};

/// A cap lets this much of a second's worth pass at once.
const CAP_DEPTH_S: f64 = 0.02;
/// Of so many parallel operations the slowest is looked for; more hardly change it.
const PARALLEL_MAX: u64 = 64;

/// Wraps a disk so that each operation takes as long as it would elsewhere.
///
/// The operation happens at once; then the thread sleeps until the profile's time is over. What it really
/// took is part of that time, so a profile cannot make a disk faster than it is. What this host takes
/// to wake the thread is part of it, too. Operations of several
/// threads overlap; only the caps make them wait for each other. Caps count the operations of this process:
/// two brokers on one host have them twice.
pub struct LatencyDisk {
    inner: Arc<dyn Disk>,
    model: Arc<Model>,
}

impl LatencyDisk {
    /// `seed` decides which operations are the slow ones.
    #[must_use]
    pub fn new(
        inner: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        profile: Profile,
        seed: u64,
    ) -> LatencyDisk {
        let now = clock.now();
        let caps = profile.iops.iter().map(|cap| (Unit::Operations, cap));
        let caps = caps.chain(profile.bytes.iter().map(|cap| (Unit::Bytes, cap)));
        let buckets = caps.flat_map(|(unit, cap)| buckets(unit, cap, now));
        let model = Model {
            caps: Mutex::new(buckets.collect()),
            clock,
            profile,
            random: AtomicU64::new(seed),
            late_ns: AtomicU64::new(0),
        };
        LatencyDisk {
            inner,
            model: Arc::new(model),
        }
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.model.profile
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Operations,
    Bytes,
}

/// One bucket for the rate, and one for the credits: the slower one decides.
fn buckets(unit: Unit, cap: &Cap, now: Duration) -> impl Iterator<Item = (Unit, Bucket)> + use<> {
    let depth = cap.rate * CAP_DEPTH_S;
    let rate = Bucket::new(cap.rate, depth, depth, now);
    let credits = cap
        .credits
        .map(|credits| Bucket::new(credits.baseline, credits.most, credits.at_start, now));
    [Some(rate), credits]
        .into_iter()
        .flatten()
        .map(move |bucket| (unit, bucket))
}

struct Model {
    profile: Profile,
    clock: Arc<dyn Clock>,
    /// Held for a few additions, never while anybody sleeps.
    caps: Mutex<Vec<(Unit, Bucket)>>,
    random: AtomicU64,
    /// How late a sleep usually ends, in nanoseconds: each begins to end that much earlier.
    late_ns: AtomicU64,
}

/// The lateness follows what is measured by such a part, and by so much at most: a thread that did not get
/// a processor tells nothing of the clock.
const LATE_PART: i64 = 8;
const LATE_STEP_NS: i64 = 4_000;

impl Model {
    /// Runs an operation and sleeps for what is left of its time. What fails takes as long.
    fn run<T>(&self, operation: Operation, body: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let began = self.clock.now();
        let result = body();
        self.finish(began, operation, 1, 0);
        result
    }

    /// Sleeps until an operation that began at `began` is over: `count` of them in parallel, with
    /// `bytes` in all.
    fn finish(&self, began: Duration, operation: Operation, count: u64, bytes: u64) {
        let cost = self.profile.cost(operation);
        if cost.round_trips == 0 || count == 0 {
            return;
        }
        let mut took = self.slowest(operation, count);
        let mut operations = count * u64::from(cost.round_trips);
        if self.profile.protocol == Protocol::Nfs && operation == Operation::Write && count > 1 {
            took += self.slowest(operation, 1);
            operations += 1;
        }
        if let Some(cap) = &self.profile.bytes {
            took += Duration::from_secs_f64(bytes as f64 / cap.rate);
        }
        let end = self.admit(began, operations, bytes) + took;
        self.sleep_until(end);
    }

    /// Not later than that on average: a host needs its time to wake a thread, more than a tenth of a
    /// millisecond in a virtual machine, and storage that takes as long as that is not to take twice as long.
    fn sleep_until(&self, end: Duration) {
        let now = self.clock.now();
        let late_ns = self.late_ns.load(Ordering::Relaxed);
        let wanted = end.saturating_sub(now + Duration::from_nanos(late_ns));
        if wanted.is_zero() {
            return;
        }
        self.clock.sleep(wanted);
        let slept = self.clock.now().saturating_sub(now);
        let measured_ns = slept.saturating_sub(wanted).as_nanos() as i64;
        let step = (measured_ns - late_ns as i64) / LATE_PART;
        let late_ns = late_ns as i64 + step.clamp(-LATE_STEP_NS, LATE_STEP_NS);
        self.late_ns.store(late_ns.max(0) as u64, Ordering::Relaxed);
    }

    /// When the caps let it begin.
    fn admit(&self, now: Duration, operations: u64, bytes: u64) -> Duration {
        let mut begins = now;
        for (unit, bucket) in self.caps.lock().iter_mut() {
            let amount = match unit {
                Unit::Operations => operations,
                Unit::Bytes => bytes,
            };
            begins = begins.max(bucket.draw(now, amount as f64));
        }
        begins
    }

    fn slowest(&self, operation: Operation, count: u64) -> Duration {
        let cost = self.profile.cost(operation);
        let one = || {
            (0..cost.round_trips)
                .map(|_| cost.latency.at(self.random()))
                .sum()
        };
        let times = (0..count.min(PARALLEL_MAX)).map(|_| one());
        times.max().unwrap_or_default()
    }

    /// From 0 to 1, by a counter that is scrambled (SplitMix64), so that threads share it without
    /// a lock.
    fn random(&self) -> f64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .random
            .fetch_add(step, Ordering::Relaxed)
            .wrapping_add(step);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn operations(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.profile.io_bytes))
    }
}

impl Disk for LatencyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let operation = match how {
            Open::CreateNew | Open::CreateNewDirect => Operation::Create,
            _ => Operation::Open,
        };
        let inner = self.model.run(operation, || self.inner.open(path, how))?;
        Ok(Box::new(LatencyFile {
            inner,
            model: Arc::clone(&self.model),
            dirty: AtomicU64::new(0),
            may_overlap: how == Open::CreateNewDirect
                && self.model.profile.protocol == Protocol::Nfs,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.model
            .run(Operation::List, || self.inner.list(directory))
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let create = || self.inner.create_directory(path);
        self.model.run(Operation::Create, create)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let rename = || self.inner.rename(from, to);
        self.model.run(Operation::Change, rename)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.model
            .run(Operation::Change, || self.inner.remove(path))
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let sync = || self.inner.sync_directory(path);
        self.model.run(Operation::SyncDirectory, sync)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.model.run(Operation::List, || self.inner.free_bytes())
    }
}

struct LatencyFile {
    inner: Box<dyn DiskFile>,
    model: Arc<Model>,
    /// Bytes written and not synced.
    dirty: AtomicU64,
    /// As on an NFS client past its cache, though what is below may be a local file: in a lab, an error
    /// of the local disk may then be told to the wrong one of several writes.
    may_overlap: bool,
}

impl LatencyFile {
    /// Waits for the dirty bytes that there were; `began` is when they were sent.
    fn send_dirty(&self, began: Duration) {
        let bytes = self.dirty.swap(0, Ordering::AcqRel);
        let count = self.model.operations(bytes);
        self.model.finish(began, Operation::Write, count, bytes);
    }
}

impl DiskFile for LatencyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let began = self.model.clock.now();
        let result = self.inner.read_at(buffer, offset);
        // An error takes a round trip, too; the end of the file is known without one.
        let bytes = result.as_ref().map_or(1, |bytes| *bytes) as u64;
        let count = self.model.operations(bytes);
        self.model.finish(began, Operation::Read, count, bytes);
        result
    }

    /// Only the sync sends anything.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.dirty.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        self.inner.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let began = self.model.clock.now();
        let result = self.inner.sync();
        self.send_dirty(began);
        result
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let began = self.model.clock.now();
        let result = self.inner.write_durable_at(bytes, offset);
        let length = bytes.len() as u64;
        let count = self.model.operations(length);
        self.model.finish(began, Operation::Write, count, length);
        result
    }

    fn may_overlap(&self) -> bool {
        self.may_overlap
    }

    fn length(&self) -> io::Result<u64> {
        self.model.run(Operation::Length, || self.inner.length())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let set = || self.inner.set_length(bytes);
        self.model.run(Operation::Change, set)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.model.run(Operation::Lock, || self.inner.try_lock())
    }
}

impl Drop for LatencyFile {
    /// An NFS client sends what is dirty before a file is closed.
    fn drop(&mut self) {
        if self.model.profile.protocol == Protocol::Nfs {
            self.send_dirty(self.model.clock.now());
        }
    }
}

#[cfg(test)]
mod tests;
