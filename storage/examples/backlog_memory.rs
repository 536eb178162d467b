//! What a backlog costs in memory: `backlog_memory DIRECTORY [MESSAGES] [BODY_BYTES]`.
//!
//! Fills a queue, prints the process's resident memory for each entry, and then how long a reader
//! needs to come to the same state from the checkpoint and the journal's tail.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::clock::{Clock, RealClock};
use storage::disk::RealDisk;
use storage::journal::{Callbacks, Journal, JournalOptions};
use storage::store::NewMessage;
use storage::tail::Follower;
use storage::tenure::gate::Gate;
use storage::{Epoch, Lsn};

/// Resident bytes of this process.
fn resident() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no value")?.parse()?;
    Ok(kib << 10)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: backlog_memory DIRECTORY [MESSAGES] [BYTES]")?;
    let messages: u64 = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
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
        preallocate: false,
        in_flight: storage::journal::JournalOptions::IN_FLIGHT,
        sync: storage::journal::SyncMethod::Auto,
    };
    let callbacks = Callbacks {
        on_failed: Box::new(|failure| eprintln!("{failure}")),
        on_prepared: Box::new(|| {}),
    };
    let renewed = gate.clone();
    let renewing = clock.clone();
    let store = Journal::begin(disk.clone(), clock, gate, epoch, point, options, callbacks)?;
    std::thread::spawn(move || {
        loop {
            renewed.renewed(renewing.now(), Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (backlog, _) = store.create_backlog(bytes::Bytes::from_static(b"backlog_memory"))?;
    let body = vec![0x42; bytes];
    let before = resident()?;
    let started = Instant::now();
    for _ in 0..messages {
        let message = NewMessage {
            producer: None,
            order: 4,
            expiration_ms: 0,
            body: &body,
        };
        store.enqueue(std::slice::from_ref(&backlog), message)?;
        while store.unwritten_bytes() > 8 << 20 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let end: Lsn = store.appended();
    while store.released() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let grown = resident()? - before;
    println!(
        "{messages} messages of {bytes} bytes in {:?}",
        started.elapsed()
    );
    println!(
        "resident memory grew by {} MiB, {:.1} bytes for each entry",
        grown >> 20,
        grown as f64 / messages as f64
    );
    let started = Instant::now();
    let mut follower = Follower::open(disk)?;
    let opened = started.elapsed();
    while !follower.poll()?.is_at_end {}
    println!(
        "a follower had LSN {} after {:?}, {opened:?} of them for the checkpoint",
        follower.lsn(),
        started.elapsed()
    );
    store.shut_down();
    Ok(())
}
