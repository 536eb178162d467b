//! What encryption at rest costs: `encryption_cost DIRECTORY [SECONDS]`.
//!
//! Appends as fast as a directory takes it, plain and encrypted by turns, and reads the messages back.
//! On a directory in memory (`/dev/shm`) hardly anything but the processor's work is left. Everything is written
//! below a new directory in DIRECTORY, which is removed at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::cipher::{MasterKey, random_key};
use storage::clock::{Clock, RealClock};
use storage::disk::RealDisk;
use storage::journal::{Callbacks, Journal, JournalOptions};
use storage::store::{AppendError, Enqueued, NewMessage};
use storage::tail::Follower;
use storage::tenure::gate::Gate;
use storage::testing::{OPTIONS, keep_open};
use storage::{Epoch, Keyring, Location, Position, Store};

/// Bodies that are measured, in bytes.
const BODIES: [usize; 4] = [100, 1024, 16 << 10, 256 << 10];
/// Producers wait while more than this is not written yet.
const UNWRITTEN_MAX: usize = 8 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("usage: encryption_cost DIRECTORY [SECONDS]")?;
    let seconds = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    println!("bytes     plain: append, read back   encrypted: append, read back   difference (us)");
    for bytes in BODIES {
        let mut took = [Vec::new(), Vec::new()];
        for round in 0..6 {
            let is_encrypted = round % 2 == 1;
            let keys = match is_encrypted {
                true => Keyring::new(Some(MasterKey::new(random_key()?)), Vec::new()),
                false => Keyring::default(),
            };
            let place = Path::new(&directory).join(format!("cost-{}", std::process::id()));
            std::fs::create_dir(&place)?;
            let measured = measure(&place, keys, bytes, time);
            std::fs::remove_dir_all(&place)?;
            took[usize::from(is_encrypted)].push(measured?);
        }
        let [plain, encrypted] = took.map(median);
        println!(
            "{bytes:>7}   {:>8.2} {:>8.2} us          {:>8.2} {:>8.2} us            {:+.2} {:+.2}",
            plain.0,
            plain.1,
            encrypted.0,
            encrypted.1,
            encrypted.0 - plain.0,
            encrypted.1 - plain.1
        );
    }
    Ok(())
}

/// Of each of the two figures.
fn median(mut measured: Vec<(f64, f64)>) -> (f64, f64) {
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    let append = measured[measured.len() / 2].0;
    measured.sort_by(|a, b| a.1.total_cmp(&b.1));
    (append, measured[measured.len() / 2].1)
}

fn begin(place: &Path, keys: Keyring) -> Result<Arc<Store>, Box<dyn std::error::Error>> {
    let disk = Arc::new(RealDisk::open(place)?);
    let clock = Arc::new(RealClock::new());
    let gate = Gate::new(clock.clone());
    keep_open(&gate);
    let follower = Follower::open_with_keys(disk.clone(), keys)?;
    let point = follower.finish(Epoch(1))?;
    let options = JournalOptions {
        segment_bytes: 64 << 20,
        checkpoint_bytes: 1 << 30,
        ..OPTIONS
    };
    let callbacks = Callbacks {
        on_failed: Box::new(|failure| eprintln!("{failure}")),
        on_prepared: Box::new(|| {}),
    };
    let clock: Arc<dyn Clock> = clock;
    Ok(Journal::begin(
        disk,
        clock,
        gate,
        Epoch(1),
        point,
        options,
        callbacks,
    )?)
}

/// Microseconds of one append and of one reading back. The producer's time is counted, which holds
/// the append lock.
fn measure(
    place: &Path,
    keys: Keyring,
    bytes: usize,
    time: Duration,
) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let store = begin(place, keys)?;
    let (backlog, _) = store.create_backlog(bytes::Bytes::from_static(b"cost"))?;
    let body = vec![0x42; bytes];
    let message = NewMessage {
        producer: None,
        order: 4,
        expiration_ms: 0,
        body: &body,
    };
    let (mut locations, mut positions) = (Vec::<(Position, Location)>::new(), Vec::new());
    let (mut appending, mut count) = (Duration::ZERO, 0_u32);
    let started = Instant::now();
    while started.elapsed() < time {
        let begun = Instant::now();
        let appended = store.enqueue(std::slice::from_ref(&backlog), message);
        appending += begun.elapsed();
        let (location, position) = match appended {
            Ok(Enqueued::Appended {
                location,
                positions,
                ..
            }) => (location, positions[0]),
            Err(AppendError::Full { .. }) => break,
            other => return Err(format!("{other:?}").into()),
        };
        count += 1;
        if locations.len() < 2000 {
            locations.push((position, location));
        } else {
            positions.push(position);
        }
        if positions.len() == 100 {
            // Space comes back.
            store.acknowledge(&backlog, &positions)?;
            positions.clear();
        }
        while store.unwritten_bytes() > UNWRITTEN_MAX {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    while store.durable() < store.appended() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let read = || {
        locations.iter().try_for_each(|(position, location)| {
            store.read_at(&backlog, *position, *location).map(drop)
        })
    };
    // The second time, so that descriptors are open.
    read()?;
    let begun = Instant::now();
    read()?;
    let reading = begun.elapsed();
    store.shut_down();
    let us = |time: Duration, count: usize| time.as_secs_f64() * 1e6 / count as f64;
    Ok((us(appending, count as usize), us(reading, locations.len())))
}
