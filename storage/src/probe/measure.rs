//! The measurements, one after another, each for its part of the time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::report::{Filled, MIB, Measured, ProbeReport};
use crate::clock::{Clock, Joiner};
use crate::disk::{Disk, DiskFile, Open};
use crate::journal::{FILL_BYTES, fill};

/// Durable writes by size; the first is the one that others are compared with.
pub(super) const SIZES: [(&str, u64); 6] = [
    ("write 1 KiB", 1 << 10),
    ("write 4 KiB", 4 << 10),
    ("write 16 KiB", 16 << 10),
    ("write 64 KiB", 64 << 10),
    ("write 256 KiB", 256 << 10),
    ("write 1 MiB", 1 << 20),
];
/// Durable writes of the first size by writers at once.
pub(super) const WRITERS: [(&str, u32); 2] = [("16 writers", 16), ("64 writers", 64)];

/// Durable writes of the first size while a segment is filled ahead, if the journal does that here.
pub(super) const BESIDE_FILLING: &str = "beside filling";

/// Durable writes of the first size, each after a pause: storage and processors that were idle for 50 us
/// take longer already, and the journal's thread never writes without telling others in between.
pub(super) const AFTER_PAUSE: &str = "after a pause";
/// About what a send takes beside storage.
const PAUSE: Duration = Duration::from_micros(200);

/// The file that is written over and over.
const FILE_BYTES: u64 = 4 << 20;
const KIB: u64 = 1 << 10;
/// Each file that is filled beside.
const FILLED_BYTES: u32 = 64 << 20;

/// Asks a probe to end early. Shared by its threads and whoever waits for it.
pub type Stop = Arc<AtomicBool>;

/// Measures for about `time`, as the journal would use it: `fills_ahead` says whether segments
/// would be filled with zeros ahead of their use. `on_step` hears the name of each step, its number from 0, and how many there
/// are. What it wrote is removed at the end, also after a stop.
///
/// # Errors
/// The first operation that failed.
pub fn probe(
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    time: Duration,
    fills_ahead: bool,
    stop: &Stop,
    on_step: &mut dyn FnMut(&str, usize, usize),
) -> io::Result<ProbeReport> {
    let probe = Probe {
        disk,
        clock,
        stop,
        time,
        fills_ahead,
    };
    let mut report = ProbeReport {
        measured: Vec::new(),
        in_one_operation: false,
        may_overlap: false,
        filled: None,
        was_stopped: false,
    };
    let outcome = probe.run(&mut report, on_step);
    report.was_stopped = stop.load(Ordering::Relaxed);
    for name in FILES {
        // Some were never there; whoever gave the directory removes it whole.
        let _ = disk.remove(Path::new(name));
    }
    outcome.map(|()| report)
}

const DATA: &str = "data";
const APPENDED: &str = "appended";
const LOCK: &str = "lock";
const SEEN: &str = "seen";
const NAMED: &str = "named";
const RENAMED: &str = "renamed";
const FILLED: &str = "filled";
const FILES: [&str; 7] = [DATA, APPENDED, LOCK, SEEN, NAMED, RENAMED, FILLED];

/// Runs one measurement by its name and puts it into the report.
type Add<'a> = dyn FnMut(&mut ProbeReport, &'static str, &dyn Fn() -> io::Result<Measured>) -> io::Result<()>
    + 'a;

struct Probe<'p> {
    disk: &'p Arc<dyn Disk>,
    clock: &'p Arc<dyn Clock>,
    stop: &'p Stop,
    time: Duration,
    fills_ahead: bool,
}

/// Parts of the time: of 100.
const PART_WRITE: u32 = 15;
const PART_SIZE: u32 = 6;
const PART_WRITERS: u32 = 6;
const PART_OTHER: u32 = 3;

impl Probe<'_> {
    fn run(
        &self,
        report: &mut ProbeReport,
        on_step: &mut dyn FnMut(&str, usize, usize),
    ) -> io::Result<()> {
        // As a segment of the journal is opened.
        let file = self.disk.open(Path::new(DATA), Open::CreateNewDirect)?;
        let file: Arc<dyn DiskFile> = Arc::from(file);
        report.may_overlap = file.may_overlap();
        on_step("fill a file", 0, STEPS);
        let bytes = self.fill(&*file)?;
        let mut step = 1;
        let mut add = |report: &mut ProbeReport,
                       name: &'static str,
                       run: &dyn Fn() -> io::Result<Measured>| {
            if self.is_stopped() {
                return Ok(());
            }
            on_step(name, step, STEPS);
            step += 1;
            report.measured.push(run()?);
            io::Result::Ok(())
        };
        for (name, in_one) in [("write and sync", false), ("write in one operation", true)] {
            add(report, name, &|| {
                self.writes(name, &*file, bytes, KIB, in_one, PART_WRITE)
            })?;
        }
        let mean = |name| report.get(name).map(Measured::mean);
        let is_faster = mean("write in one operation") < mean("write and sync");
        let in_one = is_faster || report.may_overlap;
        report.in_one_operation = in_one;
        for (name, size) in SIZES {
            let size = size.min(bytes);
            add(report, name, &|| {
                self.writes(name, &*file, bytes, size, in_one, PART_SIZE)
            })?;
        }
        for (name, writers) in WRITERS {
            add(report, name, &|| {
                self.writers(name, &file, bytes, writers, in_one)
            })?;
        }
        add(report, AFTER_PAUSE, &|| {
            let pause = || self.clock.sleep(PAUSE);
            self.writes_after(AFTER_PAUSE, &*file, bytes, KIB, in_one, PART_SIZE, pause)
        })?;
        let filled = Mutex::new(None);
        add(report, BESIDE_FILLING, &|| {
            self.beside_filling(&*file, bytes, in_one, &filled)
        })?;
        report.filled = filled.into_inner();
        add(report, "append 1 KiB", &|| self.append())?;
        add(report, "read 4 KiB", &|| self.read_back(bytes))?;
        add(report, "open", &|| {
            self.repeat("open", || {
                self.disk.open(Path::new(DATA), Open::Read).map(drop)
            })
        })?;
        self.names(report, &mut add)?;
        add(report, "lock hand-over", &|| self.hand_over())?;
        add(report, "visible elsewhere", &|| self.visibility())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn until(&self, part: u32) -> Duration {
        self.clock.now() + self.time * part / 100
    }

    /// Repeats a thing that is all measured.
    fn repeat(
        &self,
        name: &'static str,
        mut body: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Measured> {
        self.repeat_for(Measured::new(name, 0, 1), PART_OTHER, |clock| {
            let before = clock.now();
            body()?;
            Ok(clock.now() - before)
        })
    }

    /// Repeats a thing that measures itself, at least once.
    fn repeat_for(
        &self,
        mut measured: Measured,
        part: u32,
        mut body: impl FnMut(&dyn Clock) -> io::Result<Duration>,
    ) -> io::Result<Measured> {
        let (began, until) = (self.clock.now(), self.until(part));
        let processor = self.clock.processor_time();
        loop {
            let took = body(&**self.clock)?;
            measured.times.saturating_record(nanos(took));
            if self.clock.now() >= until || self.is_stopped() {
                break;
            }
        }
        measured.elapsed = self.clock.now() - began;
        measured.processor = self.clock.processor_time().saturating_sub(processor);
        Ok(measured)
    }

    /// Writes the file once: what is measured afterwards changes no lengths. Slow storage gets a shorter
    /// one, of 1 MiB at least.
    fn fill(&self, file: &dyn DiskFile) -> io::Result<u64> {
        let (chunk, until) = (vec![0x5a; 1 << 18], self.until(PART_WRITE));
        let mut bytes = 0;
        while bytes < FILE_BYTES && (bytes < 1 << 20 || self.clock.now() < until) {
            file.write_all_at(&chunk, bytes)?;
            file.sync()?;
            bytes += chunk.len() as u64;
        }
        Ok(bytes)
    }

    fn writes(
        &self,
        name: &'static str,
        file: &dyn DiskFile,
        file_bytes: u64,
        bytes: u64,
        in_one: bool,
        part: u32,
    ) -> io::Result<Measured> {
        self.writes_after(name, file, file_bytes, bytes, in_one, part, || {})
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "all of them say what is measured"
    )]
    fn writes_after(
        &self,
        name: &'static str,
        file: &dyn DiskFile,
        file_bytes: u64,
        bytes: u64,
        in_one: bool,
        part: u32,
        before_each: impl Fn(),
    ) -> io::Result<Measured> {
        let data = vec![0xa5; bytes as usize];
        let mut offset = 0;
        self.repeat_for(Measured::new(name, bytes, 1), part, |clock| {
            before_each();
            let before = clock.now();
            write(file, &data, offset, in_one)?;
            let took = clock.now() - before;
            offset += bytes;
            if offset + bytes > file_bytes {
                offset = 0;
            }
            Ok(took)
        })
    }

    /// Several threads, each in its own part of the file, through one descriptor.
    fn writers(
        &self,
        name: &'static str,
        file: &Arc<dyn DiskFile>,
        file_bytes: u64,
        writers: u32,
        in_one: bool,
    ) -> io::Result<Measured> {
        let (began, until) = (self.clock.now(), self.until(PART_WRITERS));
        let shared = Arc::new(Mutex::new((Measured::new(name, KIB, writers), None)));
        let own = file_bytes / u64::from(writers);
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let (file, shared) = (Arc::clone(file), Arc::clone(&shared));
                let (clock, stop) = (Arc::clone(self.clock), Arc::clone(self.stop));
                let start = u64::from(writer) * own;
                let body = move || {
                    let mut times = super::report::histogram();
                    let (data, mut turn) = ([0xa5; KIB as usize], 0);
                    let mut outcome = Ok(());
                    while outcome.is_ok() && clock.now() < until && !stop.load(Ordering::Relaxed) {
                        let before = clock.now();
                        outcome = write(&*file, &data, start + turn % (own / KIB) * KIB, in_one);
                        times.saturating_record(nanos(clock.now() - before));
                        turn += 1;
                    }
                    let (measured, failed) = &mut *shared.lock();
                    // Both have the same bounds.
                    let _ = measured.times.add(&times);
                    if let Err(error) = outcome {
                        *failed = Some(error);
                    }
                };
                self.clock.spawn("probe", Box::new(body))
            })
            .collect();
        let are_well = threads
            .into_iter()
            .map(Joiner::join)
            .fold(true, |all, one| all & one);
        assert!(are_well, "a writer of the probe panicked");
        let (mut measured, failed) = std::mem::replace(
            &mut *shared.lock(),
            (Measured::new(name, KIB, writers), None),
        );
        measured.elapsed = self.clock.now() - began;
        failed.map_or(Ok(measured), Err)
    }

    /// Durable writes while another file is filled as the journal fills its segments ahead.
    fn beside_filling(
        &self,
        file: &dyn DiskFile,
        file_bytes: u64,
        in_one: bool,
        filled: &Mutex<Option<Filled>>,
    ) -> io::Result<Measured> {
        if !self.fills_ahead {
            return self.writes(BESIDE_FILLING, file, file_bytes, KIB, in_one, PART_OTHER);
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let outcome = Arc::new(Mutex::new(Ok(Duration::ZERO)));
        let filler = {
            let (disk, outcome) = (Arc::clone(self.disk), Arc::clone(&outcome));
            let (is_over, count) = (Arc::clone(&is_over), Arc::clone(&count));
            let clock = Arc::clone(self.clock);
            let body = move || {
                let before = clock.processor_time();
                let done = fill_files(&*disk, &is_over, &count);
                *outcome.lock() = done.map(|()| clock.processor_time() - before);
            };
            self.clock.spawn("probe filler", Box::new(body))
        };
        let measured = self.writes(BESIDE_FILLING, file, file_bytes, KIB, in_one, PART_WRITERS);
        let meanwhile = count.load(Ordering::Acquire);
        is_over.store(true, Ordering::Release);
        assert!(filler.join(), "the filler of the probe panicked");
        let processor = std::mem::replace(&mut *outcome.lock(), Ok(Duration::ZERO))?;
        let (measured, all) = (measured?, count.load(Ordering::Acquire));
        *filled.lock() = (meanwhile > 0).then(|| Filled {
            bytes_per_second: meanwhile as f64 / measured.elapsed.as_secs_f64(),
            processor: processor.mul_f64(MIB / all as f64),
        });
        Ok(measured)
    }

    fn append(&self) -> io::Result<Measured> {
        let file = self.disk.open(Path::new(APPENDED), Open::CreateNewDirect)?;
        let (data, mut offset) = ([0xa5; KIB as usize], 0);
        self.repeat_for(Measured::new("append 1 KiB", KIB, 1), PART_OTHER, |clock| {
            let before = clock.now();
            write(&*file, &data, offset, false)?;
            offset += KIB;
            Ok(clock.now() - before)
        })
    }

    fn read_back(&self, file_bytes: u64) -> io::Result<Measured> {
        let file = self.disk.open(Path::new(DATA), Open::Read)?;
        let (mut buffer, mut offset) = ([0; 4096], 0);
        let bytes = buffer.len() as u64;
        self.repeat_for(Measured::new("read 4 KiB", bytes, 1), PART_OTHER, |clock| {
            let before = clock.now();
            let read = file.read_at(&mut buffer, offset)?;
            let took = clock.now() - before;
            if read as u64 != bytes {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            offset = (offset + bytes) % (file_bytes - bytes);
            Ok(took)
        })
    }

    /// A file's life: created, renamed, its name made durable, listed, removed.
    fn names(&self, report: &mut ProbeReport, add: &mut Add<'_>) -> io::Result<()> {
        let (named, renamed) = (Path::new(NAMED), PathBuf::from(RENAMED));
        let create = || self.disk.open(named, Open::CreateNew).map(drop);
        let timed = |clock: &dyn Clock, body: &dyn Fn() -> io::Result<()>| {
            let before = clock.now();
            body()?;
            Ok(clock.now() - before)
        };
        let phase = |name, body: &dyn Fn(&dyn Clock) -> io::Result<Duration>| {
            self.repeat_for(Measured::new(name, 0, 1), PART_OTHER, body)
        };
        add(report, "create", &|| {
            phase("create", &|clock| {
                let took = timed(clock, &create)?;
                self.disk.remove(named)?;
                Ok(took)
            })
        })?;
        add(report, "rename", &|| {
            phase("rename", &|clock| {
                create()?;
                let took = timed(clock, &|| self.disk.rename(named, &renamed))?;
                self.disk.remove(&renamed)?;
                Ok(took)
            })
        })?;
        add(report, "remove", &|| {
            phase("remove", &|clock| {
                create()?;
                timed(clock, &|| self.disk.remove(named))
            })
        })?;
        add(report, "sync names", &|| {
            phase("sync names", &|clock| {
                create()?;
                let took = timed(clock, &|| self.disk.sync_directory(Path::new(".")))?;
                self.disk.remove(named)?;
                Ok(took)
            })
        })?;
        add(report, "list", &|| {
            self.repeat("list", || self.disk.list(Path::new(".")).map(drop))
        })
    }

    /// From letting a lock go to having it through another descriptor.
    fn hand_over(&self) -> io::Result<Measured> {
        let open = || self.disk.open(Path::new(LOCK), Open::ReadWrite);
        let mut holder = open()?;
        if !holder.try_lock()? {
            return Err(io::Error::other(
                "a new lock file is locked by somebody else",
            ));
        }
        let measured = Measured::new("lock hand-over", 0, 1);
        self.repeat_for(measured, PART_OTHER, |clock| {
            let next = open()?;
            if next.try_lock()? {
                return Err(io::Error::other(
                    "two descriptors have the same lock at once",
                ));
            }
            let before = clock.now();
            drop(std::mem::replace(&mut holder, next));
            while !holder.try_lock()? {
                clock.sleep(Duration::from_micros(100));
            }
            Ok(clock.now() - before)
        })
    }

    /// From the beginning of a durable write to its being read through a descriptor opened anew.
    fn visibility(&self) -> io::Result<Measured> {
        let file = self.disk.open(Path::new(SEEN), Open::CreateNew)?;
        file.write_all_at(&[0; 8], 0)?;
        file.sync()?;
        let seen = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let is_over = Arc::new(AtomicBool::new(false));
        let reader = self.spawn_reader(&seen, &is_over);
        let mut turn = 0_u64;
        let measured = Measured::new("visible elsewhere", 0, 2);
        let outcome = self.repeat_for(measured, PART_OTHER, |clock| {
            turn += 1;
            let before = clock.now();
            write(&*file, &turn.to_le_bytes(), 0, false)?;
            while seen.0.load(Ordering::Acquire) < turn {
                if is_over.load(Ordering::Acquire) {
                    return Err(io::Error::other("what was written cannot be read"));
                }
                clock.sleep(Duration::from_micros(100));
            }
            let at = Duration::from_nanos(seen.1.load(Ordering::Acquire));
            Ok(at.saturating_sub(before))
        });
        is_over.store(true, Ordering::Release);
        reader.join();
        outcome
    }

    fn spawn_reader(
        &self,
        seen: &Arc<(AtomicU64, AtomicU64)>,
        is_over: &Arc<AtomicBool>,
    ) -> Box<dyn crate::clock::Joiner> {
        let (disk, clock) = (Arc::clone(self.disk), Arc::clone(self.clock));
        let (seen, is_over) = (Arc::clone(seen), Arc::clone(is_over));
        let body = move || {
            let mut buffer = [0; 8];
            while !is_over.load(Ordering::Acquire) {
                let read = disk
                    .open(Path::new(SEEN), Open::Read)
                    .and_then(|file| file.read_at(&mut buffer, 0));
                if read.is_err() {
                    is_over.store(true, Ordering::Release);
                }
                let turn = u64::from_le_bytes(buffer);
                if turn > seen.0.load(Ordering::Relaxed) {
                    seen.1.store(nanos(clock.now()), Ordering::Release);
                    seen.0.store(turn, Ordering::Release);
                }
                clock.sleep(Duration::from_micros(100));
            }
        };
        self.clock.spawn("probe reader", Box::new(body))
    }
}

/// Filling, two ways to write, sizes, writers, after a pause, beside filling, append, read, open, five of names, lock,
/// visibility.
const STEPS: usize = 1 + 2 + SIZES.len() + WRITERS.len() + 2 + 3 + 5 + 2;

/// Fills one file after the other until it is over; `count`s the bytes.
fn fill_files(disk: &dyn Disk, is_over: &AtomicBool, count: &AtomicU64) -> io::Result<()> {
    while !is_over.load(Ordering::Acquire) {
        let file = disk.open(Path::new(FILLED), Open::CreateNewDirect)?;
        file.set_length(FILLED_BYTES.into())?;
        // It asks before each of its chunks.
        let goes_on = || {
            count.fetch_add(u64::from(FILLED_BYTES.min(FILL_BYTES)), Ordering::AcqRel);
            !is_over.load(Ordering::Acquire)
        };
        fill(&*file, FILLED_BYTES, goes_on)?;
        file.sync()?;
        drop(file);
        disk.remove(Path::new(FILLED))?;
    }
    Ok(())
}

fn write(file: &dyn DiskFile, data: &[u8], offset: u64, in_one: bool) -> io::Result<()> {
    if in_one {
        return file.write_durable_at(data, offset);
    }
    file.write_all_at(data, offset)?;
    file.sync()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;
    use crate::disk::RealDisk;
    use crate::latency::{LatencyDisk, find};
    use crate::probe::Circumstances;

    fn run(profile: Option<&str>, stop: &Stop) -> (ProbeReport, usize, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut disk: Arc<dyn Disk> = Arc::new(RealDisk::open(directory.path()).expect("usable"));
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        if let Some(name) = profile {
            let profile = find(name).expect("built in");
            disk = Arc::new(LatencyDisk::new(disk, clock.clone(), profile, 3));
        }
        let mut steps = 0;
        let time = Duration::from_millis(1500);
        let report = probe(&disk, &clock, time, true, stop, &mut |_, step, of| {
            assert_eq!((step, of), (steps, STEPS));
            steps += 1;
        });
        (report.expect("measures"), steps, directory)
    }

    #[test]
    fn every_operation_is_measured_and_nothing_stays() {
        let (report, steps, directory) = run(Some("ebs-io2"), &Stop::default());
        assert_eq!(steps, STEPS);
        assert_eq!(report.measured.len(), STEPS - 1);
        for measured in &report.measured {
            assert!(!measured.times.is_empty(), "{}", measured.name);
            assert!(measured.per_second() > 0.0, "{}", measured.name);
        }
        let left = std::fs::read_dir(directory.path()).expect("lists").count();
        assert_eq!(left, 0);
        let write = report.get("write 1 KiB").and_then(|write| write.at(0.5));
        assert!(
            write.expect("many") >= Duration::from_micros(370),
            "{write:?}"
        );
        let filled = report.filled.expect("segments are filled");
        assert!(filled.bytes_per_second > 1e6 && filled.processor > Duration::ZERO);
        let times = report.write_times().expect("complete");
        // What the profile adds, however busy this host is.
        let met = Circumstances {
            writers: 1,
            is_filling: false,
        };
        assert!(times.at(1 << 20, 0.5, met) >= Duration::from_micros(370));
        assert!(times.processor(1 << 20) > Duration::ZERO);
    }

    #[test]
    fn a_stop_ends_it_early_and_cleans_up() {
        let stop = Stop::default();
        stop.store(true, Ordering::Relaxed);
        let (report, steps, directory) = run(None, &stop);
        assert!(report.was_stopped);
        assert_eq!((steps, report.measured.len()), (1, 0));
        assert!(report.write_times().is_none());
        let left = std::fs::read_dir(directory.path()).expect("lists").count();
        assert_eq!(left, 0);
    }
}
