//! The journal's threads: write batches, make them durable, release them in order.
//!
//! Each *lane* is a thread that takes the next batch, writes it durably and says so; several do
//! at once where storage is far away. Whoever completes the first batch in flight advances the
//! watermark over all that have arrived behind it, so the order of LSNs is the order of completions
//! whatever storage does. All of a segment is written through the one descriptor that holds its lock.
//!
//! An error in any lane fences. Nothing behind the failed batch can be released then, because the
//! watermark does not pass it; nothing is retried. A lane that is stuck in storage holds up
//! nobody but those who wait for the end of all.

mod method;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

pub(crate) use self::method::Chooser;
use crate::batch::Batch;
use crate::chain::SegmentName;
use crate::disk::DiskFile;
use crate::journal::{Lane, Prepared, Shared, Take, Taken};
use crate::position::SegmentNumber;
use crate::spare::with_spare;

/// Time between two questions whether a late renewal has opened the gate again.
const GATE_POLL: Duration = Duration::from_millis(5);
/// How long a planned end waits for the gate.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Waiting for a segment longer than this is told.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(5);

/// Writes until the tenure ends.
pub(crate) fn run(shared: &Shared, lane: Lane) {
    shared.release();
    let mut waits_since = None;
    while !shared.is_over() {
        let now = shared.clock.now();
        let taken = match shared.pending.take(lane, now, &shared.watermark) {
            Take::Batch(taken) => taken,
            Take::Idle(until) => {
                let pause = until.map(|until| until.saturating_sub(shared.clock.now()));
                sleep(shared, lane, pause);
                continue;
            }
            Take::NoSegment(number) => {
                wait_for_segment(shared, lane, number, &mut waits_since);
                continue;
            }
            Take::Ended => break,
        };
        waits_since = None;
        if let Some(other) = taken.wakes {
            shared.lanes[other].notify();
        }
        if write_taken(shared, lane, &taken).is_none() {
            break;
        }
        drop(taken);
        shared.release();
    }
    shared.wake_lanes();
    if shared.lanes_left.fetch_sub(1, Ordering::AcqRel) == 1 {
        drain(shared, lane);
        shared.is_writer_done.store(true, Ordering::Release);
        shared.keeper_signal.notify();
    }
}

/// None: it is over.
fn write_taken(shared: &Shared, lane: Lane, taken: &Taken) -> Option<()> {
    let batch = &taken.batch;
    if taken.is_first {
        // The next one is wanted from now on.
        shared.keeper_signal.notify();
    }
    let segment = {
        let segments = shared.segments.lock();
        Arc::clone(segments.get(&batch.segment)?)
    };
    let started = shared.clock.now();
    if let Err((doing, error)) = write(shared, &segment, batch) {
        let name = SegmentName {
            number: segment.number,
            epoch: shared.epoch,
        };
        shared.fail_io(doing, name, &error);
        return None;
    }
    let now = shared.clock.now();
    shared
        .chooser
        .took(batch.bytes(), now.saturating_sub(started));
    let (pending, watermark) = (&shared.pending, &shared.watermark);
    let is_slow = shared.gate.is_strict();
    let finished = pending.finish(
        lane,
        batch.first_lsn,
        segment.locked_at,
        now,
        watermark,
        is_slow,
    );
    drop(segment);
    close_below(shared, finished.needed);
    count_bytes(shared, finished.bytes);
    if let Some((segment, end_offset)) = finished.durable_through {
        shared.note_written(segment, end_offset);
    }
    Some(())
}

fn write(
    shared: &Shared,
    segment: &Prepared,
    batch: &Batch,
) -> Result<(), (&'static str, io::Error)> {
    let file = &segment.file;
    if shared.chooser.is_one_operation() {
        let written = match batch.chunks() {
            [chunk] => write_at_once(shared, &**file, chunk, batch.offset),
            chunks => write_at_once(shared, &**file, &chunks.concat(), batch.offset),
        };
        return written.map_err(|error| ("write", error));
    }
    let mut offset = batch.offset;
    for chunk in batch.chunks() {
        // The same bytes in the same place: nothing is made durable before they are all there.
        with_spare(&*shared.disk, || file.write_all_at(chunk, offset))
            .map_err(|error| ("write", error))?;
        offset += chunk.len() as u64;
    }
    file.sync().map_err(|error| ("sync", error))
}

/// The same bytes in the same place, all of them again if there was no space for some: nobody was
/// told yet that any are durable.
fn write_at_once(
    shared: &Shared,
    file: &dyn DiskFile,
    bytes: &[u8],
    offset: u64,
) -> io::Result<()> {
    with_spare(&*shared.disk, || file.write_durable_at(bytes, offset))
}

/// Closes the segments that no lane writes any more: all in them is durable.
fn close_below(shared: &Shared, needed: SegmentNumber) {
    let closed = {
        let mut segments = shared.segments.lock();
        if segments
            .first_key_value()
            .is_none_or(|(first, _)| *first >= needed)
        {
            return;
        }
        let rest = segments.split_off(&needed);
        std::mem::replace(&mut *segments, rest)
    };
    drop(closed);
}

/// Waits for something to do, and for the gate if something durable waits for that.
fn sleep(shared: &Shared, lane: Lane, pause: Option<Duration>) {
    if shared.watermark.released() == shared.watermark.durable() {
        shared.lanes[lane].wait(pause);
    } else {
        shared.lanes[lane].wait(Some(pause.map_or(GATE_POLL, |pause| pause.min(GATE_POLL))));
        shared.release();
    }
}

/// What is durable and waits for the gate gets some time at a planned end.
fn drain(shared: &Shared, lane: Lane) {
    let until = shared.clock.now() + DRAIN_PATIENCE;
    while !shared.is_over()
        && shared.watermark.released() < shared.watermark.durable()
        && shared.clock.now() < until
    {
        shared.lanes[lane].wait(Some(GATE_POLL));
        shared.release();
    }
}

fn wait_for_segment(
    shared: &Shared,
    lane: Lane,
    segment: SegmentNumber,
    waits_since: &mut Option<(Duration, Duration)>,
) {
    let now = shared.clock.now();
    let (since, told) = waits_since.get_or_insert((now, now));
    if now >= *told + SEGMENT_PATIENCE {
        *told = now;
        let waited_s = (now - *since).as_secs();
        warn!(%segment, waited_s, "The journal waits for its next segment.");
    }
    shared.keeper_signal.notify();
    sleep(shared, lane, Some(Duration::from_secs(1)));
}

fn count_bytes(shared: &Shared, bytes: u64) {
    let before = shared
        .bytes_since_checkpoint
        .fetch_add(bytes, Ordering::AcqRel);
    let after = before + bytes;
    let passes = |limit| before < limit && after >= limit;
    // At half a segment the keeper looks whether a full directory wants a checkpoint.
    if passes(shared.options.checkpoint_bytes)
        || passes(u64::from(shared.options.segment_bytes) / 2)
    {
        shared.keeper_signal.notify();
    }
}
