//! The journal's thread: writes batches, makes them durable, releases them.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::warn;

use crate::batch::Batch;
use crate::chain::SegmentName;
use crate::journal::{Prepared, Shared, Take};
use crate::position::SegmentNumber;
use crate::spare::with_spare;

/// Time between two questions whether a late renewal has opened the gate again.
const GATE_POLL: Duration = Duration::from_millis(5);
/// How long a planned end waits for the gate.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);
/// Waiting for a segment longer than this is told.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(5);

/// Writes until the tenure ends. `current` holds the tenure's first segment.
pub(crate) fn run(shared: &Shared, mut current: Prepared) {
    let mut drains_until = None;
    shared.release(current.locked_at);
    while !shared.is_over() {
        match shared.pending.take() {
            Take::Batch(batch) => {
                if current.number != batch.segment {
                    match next_segment(shared, batch.segment) {
                        // The old descriptor closes here: all in it is durable.
                        Some(next) => current = next,
                        None => return,
                    }
                }
                if let Err((doing, error)) = write(shared, &current, &batch) {
                    let name = SegmentName {
                        number: current.number,
                        epoch: shared.epoch,
                    };
                    shared.fail_io(doing, name, &error);
                    return;
                }
                count_bytes(shared, batch.bytes() as u64);
                shared.note_written(batch.segment, batch.end_offset());
                shared.pending.finish(batch);
                shared.release(current.locked_at);
            }
            Take::Idle => wait(shared, &current),
            Take::Ended => {
                let is_released = shared.watermark.released() == shared.watermark.durable();
                let now = shared.clock.now();
                let until = *drains_until.get_or_insert(now + DRAIN_PATIENCE);
                if is_released || now >= until {
                    return;
                }
                shared.writer_signal.wait(Some(GATE_POLL));
                shared.release(current.locked_at);
            }
        }
    }
}

/// Waits for appends, and for the gate if something durable waits for that.
fn wait(shared: &Shared, current: &Prepared) {
    if shared.watermark.released() == shared.watermark.durable() {
        shared.writer_signal.wait(None);
    } else {
        shared.writer_signal.wait(Some(GATE_POLL));
        shared.release(current.locked_at);
    }
}

fn write(
    shared: &Shared,
    current: &Prepared,
    batch: &Batch,
) -> Result<(), (&'static str, io::Error)> {
    let mut offset = batch.offset;
    for chunk in batch.chunks() {
        // The same bytes in the same place: nothing is made durable before they are all there.
        with_spare(&*shared.disk, || current.file.write_all_at(chunk, offset))
            .map_err(|error| ("write", error))?;
        offset += chunk.len() as u64;
    }
    shared.watermark.set_written(batch.last_lsn());
    current.file.sync().map_err(|error| ("sync", error))?;
    shared.watermark.set_durable(batch.last_lsn());
    Ok(())
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

/// The segment `number`, as soon as the keeper has prepared it. None: it is over.
fn next_segment(shared: &Shared, number: SegmentNumber) -> Option<Prepared> {
    let started = shared.clock.now();
    let mut tell_at = started + SEGMENT_PATIENCE;
    loop {
        let next = shared.prepared.lock().pop_front();
        if let Some(next) = next {
            assert_eq!(next.number, number, "segments are prepared in order");
            // The next one is wanted from now on.
            shared.keeper_signal.notify();
            return Some(next);
        }
        if shared.is_over() {
            return None;
        }
        shared.keeper_signal.notify();
        shared.writer_signal.wait(Some(Duration::from_secs(1)));
        let now = shared.clock.now();
        if now >= tell_at {
            let waited_s = (now - started).as_secs();
            warn!(segment = %number, waited_s, "The journal waits for its next segment.");
            tell_at = now + SEGMENT_PATIENCE;
        }
    }
}
