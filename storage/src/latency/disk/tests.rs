use std::sync::atomic::AtomicU64;

use super::*;
use crate::clock::{Joiner, Signal};
use crate::disk::RealDisk;
use crate::latency::{Credits, Quantiles, find};

/// Time that only sleeping moves.
#[derive(Default)]
struct StillClock(AtomicU64, AtomicU64);

impl Clock for StillClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn wall_ms(&self) -> u64 {
        0
    }

    fn sleep(&self, duration: Duration) {
        let late_ns = self.1.load(Ordering::Relaxed);
        let slept_ns = duration.as_nanos() as u64 + late_ns;
        self.0.fetch_add(slept_ns, Ordering::Relaxed);
    }

    fn signal(&self) -> Arc<dyn Signal> {
        unreachable!("a disk waits for nobody")
    }

    fn spawn(&self, _: &str, _: Box<dyn FnOnce() + Send>) -> Box<dyn Joiner> {
        unreachable!("a disk has no threads")
    }
}

struct Lab {
    _directory: tempfile::TempDir,
    clock: Arc<StillClock>,
    disk: LatencyDisk,
}

impl Lab {
    fn new(profile: Profile) -> Lab {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let real = RealDisk::open(directory.path()).expect("usable");
        let clock = Arc::new(StillClock::default());
        let disk = LatencyDisk::new(Arc::new(real), clock.clone(), profile, 7);
        Lab {
            _directory: directory,
            clock,
            disk,
        }
    }

    /// How long `body` takes.
    fn time<T>(&self, body: impl FnOnce(&LatencyDisk) -> T) -> (T, Duration) {
        let before = self.clock.now();
        let result = body(&self.disk);
        (result, self.clock.now() - before)
    }
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Every round trip takes 1 ms, a read 0.1 ms, and there are no caps.
fn even(protocol: Protocol) -> Profile {
    let mut profile = find(match protocol {
        Protocol::Nfs => "efs-regional",
        Protocol::Block => "ebs-gp3",
    })
    .expect("built in");
    profile.iops = None;
    profile.bytes = None;
    for cost in &mut profile.costs {
        cost.latency = Quantiles::new([ms(1); 8]).expect("even");
    }
    let read = Quantiles::new([Duration::from_micros(100); 8]).expect("even");
    profile.cost_mut(Operation::Read).latency = read;
    profile
}

const MIB: usize = 1 << 20;

#[test]
fn operations_on_nfs_take_the_round_trips_that_were_counted() {
    let lab = Lab::new(even(Protocol::Nfs));
    let path = Path::new("x");
    let (file, took) = lab.time(|disk| disk.open(path, Open::CreateNew).expect("creates"));
    assert_eq!(took, ms(3), "create");
    let (_, took) = lab.time(|_| file.write_all_at(&[1; 1024], 0).expect("writes"));
    assert_eq!(took, ms(0), "a buffered write sends nothing");
    let (_, took) = lab.time(|_| file.write_all_at(&[2; 1024], 1024).expect("writes"));
    assert_eq!(took, ms(0));
    let (_, took) = lab.time(|_| file.sync().expect("syncs"));
    assert_eq!(took, ms(1), "two writes and a sync are one round trip");
    let (_, took) = lab.time(|_| file.sync().expect("syncs"));
    assert_eq!(took, ms(0), "nothing is dirty");
    let (_, took) = lab.time(|_| file.write_durable_at(&[3; 1024], 0).expect("writes"));
    assert_eq!(took, ms(1), "written and durable at once");
    let (_, took) = lab.time(|_| file.sync().expect("syncs"));
    assert_eq!(took, ms(0), "nothing is dirty");
    assert_eq!(lab.time(|_| file.length().expect("knows")).1, ms(0));
    assert_eq!(lab.time(|_| file.try_lock().expect("locks")).1, ms(1));
    assert_eq!(lab.time(|_| drop(file)).1, ms(0));
    let (reader, took) = lab.time(|disk| disk.open(path, Open::Read).expect("opens"));
    assert_eq!(took, ms(1), "open");
    let mut buffer = [0; 4096];
    let (read, took) = lab.time(|_| reader.read_at(&mut buffer, 0).expect("reads"));
    assert_eq!((read, took), (2048, Duration::from_micros(100)));
    let (read, took) = lab.time(|_| reader.read_at(&mut buffer, 2048).expect("reads"));
    assert_eq!((read, took), (0, ms(0)), "the end of the file is known");
    let rename = lab.time(|disk| disk.rename(path, Path::new("y")).expect("renames"));
    assert_eq!(rename.1, ms(1));
    let sync = lab.time(|disk| disk.sync_directory(Path::new(".")).expect("syncs"));
    assert_eq!(sync.1, ms(0), "the server has the names already");
    assert_eq!(lab.time(|disk| disk.list(Path::new("."))).1, ms(1));
}

#[test]
fn larger_syncs_go_out_in_parallel_and_on_nfs_need_a_commit() {
    for (protocol, expected) in [(Protocol::Nfs, 2), (Protocol::Block, 1)] {
        let lab = Lab::new(even(protocol));
        let file = lab
            .disk
            .open(Path::new("x"), Open::CreateNew)
            .expect("creates");
        file.write_all_at(&vec![1; 4 * MIB], 0).expect("writes");
        let (_, took) = lab.time(|_| file.sync().expect("syncs"));
        assert_eq!(took, ms(expected), "{protocol:?}");
    }
}

#[test]
fn closing_sends_what_is_dirty_on_nfs_only() {
    for (protocol, expected) in [(Protocol::Nfs, 1), (Protocol::Block, 0)] {
        let lab = Lab::new(even(protocol));
        let file = lab
            .disk
            .open(Path::new("x"), Open::CreateNew)
            .expect("creates");
        file.write_all_at(b"x", 0).expect("writes");
        assert_eq!(lab.time(|_| drop(file)).1, ms(expected), "{protocol:?}");
    }
}

#[test]
fn a_host_that_wakes_threads_late_makes_no_operation_longer() {
    let lab = Lab::new(even(Protocol::Nfs));
    let list = || lab.time(|disk| disk.list(Path::new("."))).1;
    lab.clock.1.store(130_000, Ordering::Relaxed);
    assert_eq!(list(), Duration::from_micros(1130), "not known yet");
    // Now and then a thread gets no processor for long, which tells nothing.
    for number in 0..1000 {
        let late_ns = if number % 50 == 0 { 5_000_000 } else { 130_000 };
        lab.clock.1.store(late_ns, Ordering::Relaxed);
        list();
    }
    lab.clock.1.store(130_000, Ordering::Relaxed);
    let took = (0..10).map(|_| list()).max().expect("ten");
    let error = took.abs_diff(ms(1));
    assert!(error < Duration::from_micros(8), "{took:?}");
}

#[test]
fn errors_take_their_time_and_stay_errors() {
    let lab = Lab::new(even(Protocol::Nfs));
    let (result, took) = lab.time(|disk| disk.open(Path::new("none"), Open::Read).err());
    assert_eq!(result.expect("missing").kind(), io::ErrorKind::NotFound);
    assert_eq!(took, ms(1));
}

#[test]
fn times_are_distributed_as_the_quantiles_say() {
    let mut profile = even(Protocol::Nfs);
    let quantiles = Quantiles::of(ms(2), ms(12));
    profile.cost_mut(Operation::Lock).latency = quantiles;
    let lab = Lab::new(profile);
    let file = lab
        .disk
        .open(Path::new("x"), Open::CreateNew)
        .expect("creates");
    let count = 20_000_usize;
    let times: Vec<Duration> = (0..count)
        .map(|_| lab.time(|_| file.try_lock().expect("locks")).1)
        .collect();
    for at in [0.1, 0.5, 0.9, 0.95, 0.99, 0.999] {
        let below = times.iter().filter(|time| **time <= quantiles.at(at));
        let share = below.count() as f64 / count as f64;
        assert!((share - at).abs() < 0.01, "{at}: {share}");
    }
    let mean = times.iter().sum::<Duration>().as_secs_f64() / count as f64;
    let ratio = mean / quantiles.mean().as_secs_f64();
    assert!((0.97..1.03).contains(&ratio), "{ratio}");
    assert!(times.iter().all(|time| *time <= quantiles.points()[7]));
}

#[test]
fn a_cap_on_operations_holds_over_all_kinds() {
    let mut profile = even(Protocol::Nfs);
    profile.iops = find("efs-regional").and_then(|profile| profile.iops);
    profile.iops.as_mut().expect("a cap").rate = 100.0;
    let lab = Lab::new(profile);
    let file = lab
        .disk
        .open(Path::new("x"), Open::CreateNew)
        .expect("creates");
    let (_, took) = lab.time(|disk| {
        for _ in 0..100 {
            file.try_lock().expect("locks");
            disk.list(Path::new(".")).expect("lists");
        }
    });
    assert!(took >= ms(1_950) && took <= ms(2_050), "{took:?}");
}

#[test]
fn a_cap_on_bytes_holds_and_a_transfer_takes_its_time() {
    let mut profile = even(Protocol::Nfs);
    profile.bytes = find("efs-bursting-empty").and_then(|profile| profile.bytes);
    let lab = Lab::new(profile);
    let file = lab
        .disk
        .open(Path::new("x"), Open::CreateNew)
        .expect("creates");
    let write = |count: usize| {
        for _ in 0..count {
            file.write_all_at(&[0; MIB / 64], 0).expect("writes");
            file.sync().expect("syncs");
        }
    };
    let (_, took) = lab.time(|_| write(128));
    // Two MiB at one MiB a second; each operation and its transfer overlap with the next one's wait.
    assert!(took >= ms(1_980) && took <= ms(2_200), "{took:?}");
}

#[test]
fn credits_are_used_up_and_come_back() {
    let mut profile = even(Protocol::Nfs);
    profile.iops = find("efs-regional").and_then(|profile| profile.iops);
    let cap = profile.iops.as_mut().expect("a cap");
    cap.rate = 1_000.0;
    cap.credits = Some(Credits {
        baseline: 100.0,
        most: 500.0,
        at_start: 500.0,
    });
    let lab = Lab::new(profile);
    let file = lab
        .disk
        .open(Path::new("x"), Open::CreateNew)
        .expect("creates");
    let locks = |count: usize| {
        for _ in 0..count {
            file.try_lock().expect("locks");
        }
    };
    let (_, fast) = lab.time(|_| locks(500));
    assert!(fast < ms(700), "credits last: {fast:?}");
    let (_, slow) = lab.time(|_| locks(200));
    assert!(
        slow > ms(1_400) && slow < ms(2_100),
        "the baseline: {slow:?}"
    );
    lab.clock.sleep(ms(4_000));
    let (_, fast) = lab.time(|_| locks(300));
    assert!(fast < ms(400), "they came back: {fast:?}");
}

#[test]
fn what_the_operation_really_took_is_part_of_its_time() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let real = RealDisk::open(directory.path()).expect("usable");
    let clock = Arc::new(StillClock::default());
    let profile = even(Protocol::Nfs);
    let inner = LatencyDisk::new(Arc::new(real), clock.clone(), profile.clone(), 1);
    let disk = LatencyDisk::new(Arc::new(inner), clock.clone(), profile, 2);
    disk.list(Path::new(".")).expect("lists");
    assert_eq!(clock.now(), ms(1), "not once for each of the two");
}
