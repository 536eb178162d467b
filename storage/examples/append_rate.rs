//! How fast a directory takes persistent messages: `append_rate DIRECTORY [SECONDS] [BODY_BYTES]`.
//!
//! Producers send one message each and wait until it is released, first 1 and then 64 of them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use storage::clock::{Clock, RealClock};
use storage::disk::RealDisk;
use storage::journal::{Callbacks, Journal, JournalOptions};
use storage::store::{Enqueued, NewMessage};
use storage::tail::Follower;
use storage::tenure::gate::Gate;
use storage::{Epoch, Lsn, Store};

/// Wakes producers when the watermark rises.
#[derive(Default)]
struct Released {
    lsn: Mutex<Lsn>,
    grown: Condvar,
}

impl Released {
    fn set(&self, lsn: Lsn) {
        *self.lsn.lock().unwrap_or_else(PoisonError::into_inner) = lsn;
        self.grown.notify_all();
    }

    fn wait(&self, lsn: Lsn) {
        let mut released = self.lsn.lock().unwrap_or_else(PoisonError::into_inner);
        while *released < lsn {
            released = self
                .grown
                .wait(released)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: append_rate DIRECTORY [SECONDS] [BYTES]")?;
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let bytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let disk = Arc::new(RealDisk::open(Path::new(&directory))?);
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    let follower = Follower::open(disk.clone())?;
    let epoch = Epoch(follower.epoch().0 + 1);
    let point = follower.finish(epoch)?;
    let options = JournalOptions {
        segment_bytes: 64 << 20,
        checkpoint_bytes: 256 << 20,
        preallocate: true,
        in_flight: storage::journal::JournalOptions::IN_FLIGHT,
        sync: storage::journal::SyncMethod::Auto,
    };
    let callbacks = Callbacks {
        on_failed: Box::new(|failure| eprintln!("{failure}")),
        on_prepared: Box::new(|| {}),
    };
    let store = Journal::begin(
        disk,
        clock.clone(),
        gate.clone(),
        epoch,
        point,
        options,
        callbacks,
    )?;
    std::thread::spawn(move || {
        loop {
            gate.renewed(clock.now(), Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    println!("{bytes} bytes each, {seconds} s each, {directory}");
    for producers in [1, 64] {
        measure(&store, producers, Duration::from_secs(seconds), bytes)?;
    }
    store.shut_down();
    Ok(())
}

fn measure(
    store: &Arc<Store>,
    producers: usize,
    time: Duration,
    bytes: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let released = Arc::new(Released::default());
    let told = Arc::clone(&released);
    store.on_released(Box::new(move |lsn| told.set(lsn)));
    let must_stop = AtomicBool::new(false);
    let started = Instant::now();
    let mut latencies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..producers)
            .map(|_| scope.spawn(|| produce(store, &released, &must_stop, bytes)))
            .collect();
        std::thread::sleep(time);
        must_stop.store(true, Ordering::Relaxed);
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_default());
        joined.flatten().collect::<Vec<Duration>>()
    });
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |permille: usize| latencies[(latencies.len() - 1) * permille / 1000];
    println!(
        "{producers:>3} producers: {:>7.0} appends/s, p50 {:?}, p99 {:?}, max {:?}",
        latencies.len() as f64 / took.as_secs_f64(),
        at(500),
        at(990),
        at(1000)
    );
    Ok(())
}

/// Sends, and acknowledges now and then, so that the queue stays short.
fn produce(
    store: &Store,
    released: &Released,
    must_stop: &AtomicBool,
    bytes: usize,
) -> Vec<Duration> {
    let body = vec![0x42; bytes];
    let descriptor = bytes::Bytes::from_static(b"append_rate");
    let Ok((backlog, _)) = store.create_backlog(descriptor) else {
        return Vec::new();
    };
    let (mut latencies, mut pending) = (Vec::new(), Vec::new());
    while !must_stop.load(Ordering::Relaxed) {
        let message = NewMessage {
            producer: None,
            order: 4,
            expiration_ms: 0,
            body: &body,
        };
        let started = Instant::now();
        let enqueued = store.enqueue(std::slice::from_ref(&backlog), message);
        let Ok(Enqueued::Appended { lsn, positions, .. }) = enqueued else {
            break;
        };
        released.wait(lsn);
        latencies.push(started.elapsed());
        pending.extend(positions);
        if pending.len() >= 100 && store.acknowledge(&backlog, &pending).is_ok() {
            pending.clear();
        }
    }
    latencies
}
