//! Begins a tenure in the journal.

mod keeper;
mod pace;
mod pending;
mod prepare;
mod shared;
mod usage;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use parking_lot::Mutex;
use tracing::{info, warn};

pub(crate) use self::pace::Pace;
pub(crate) use self::pending::{Appended, Class, Lane, Pending, Take, Taken};
pub(crate) use self::prepare::{FILL_BYTES, fill};
use self::prepare::{create_segment, or_nothing};
pub use self::shared::SpaceStatus;
pub(crate) use self::shared::{Prepared, Reader, Shared, written_place};
pub use self::usage::{MovedRecord, SpaceUsage};
use crate::batch::Batch;
use crate::chain::{CHECKPOINT_DIRECTORY, JOURNAL_DIRECTORY, SegmentName};
use crate::cipher::TenureCipher;
use crate::clock::Clock;
use crate::disk::{Disk, Open};
use crate::error::{BeginError, Failure};
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::{Frame, Record, Seal};
use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_HEADER_BYTES, encode_header};
use crate::spare::{is_no_space, small_bytes, with_spare};
use crate::state::Place;
use crate::store::Store;
use crate::tail::{LastBatch, TakeoverPoint};
use crate::tenure::gate::Gate;
use crate::watermark::Watermark;
use crate::writer::{self, Chooser};

/// How the active writes its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Bytes of a segment; a larger record gets a segment of its own.
    pub segment_bytes: u32,
    /// Journal bytes between two checkpoints.
    pub checkpoint_bytes: u64,
    /// Fill new segments with zeros ahead.
    pub preallocate: bool,
    /// Batches in flight at once, where the disk bears it ([`crate::disk::DiskFile::may_overlap`]).
    pub in_flight: InFlight,
    /// How a batch is made durable.
    pub sync: SyncMethod,
}

impl JournalOptions {
    /// Batches in flight at once that are worth allowing.
    pub const IN_FLIGHT: InFlight = InFlight::UpTo(16);

    fn has_several_in_flight(&self) -> bool {
        self.in_flight.most() > 1 && self.sync != SyncMethod::Fdatasync
    }
}

/// How many batches may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// As many as the round trip makes worth it, up to this number; 1 on fast disks.
    UpTo(usize),
    /// This number whenever there is something to write: for tests.
    Always(usize),
    /// As `Always`, released in the order in which they arrive, so that a test can show that it
    /// would notice.
    #[doc(hidden)]
    Unordered(usize),
}

impl InFlight {
    /// The number.
    #[must_use]
    pub fn most(self) -> usize {
        match self {
            InFlight::UpTo(depth) | InFlight::Always(depth) | InFlight::Unordered(depth) => depth,
        }
    }
}

/// How a batch is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// Whichever is faster here, by measuring the first batches of a tenure.
    Auto,
    /// A write, then `fdatasync`: one batch at a time.
    Fdatasync,
    /// One durable write (`RWF_DSYNC`).
    Dsync,
}

/// Whom the journal's threads tell.
pub struct Callbacks {
    /// The threads gave up; the gate is fenced already. Called at most once, from one of them.
    pub on_failed: Box<dyn Fn(Failure) + Send + Sync>,
    /// A segment was prepared and locked: renew soon, because what is written into it is released
    /// only after a renewal that starts from now on ([`Gate::is_open_for`]).
    pub on_prepared: Box<dyn Fn() + Send + Sync>,
}

/// The beginning of a tenure.
pub struct Journal {}

impl Journal {
    /// Makes the last batch of the former tenure durable, seals it in a new segment and starts the
    /// journal's threads. Blocks on storage. Nothing is released before `gate` is open.
    ///
    /// # Errors
    /// [`BeginError`]; nothing runs then.
    pub fn begin(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        gate: Arc<Gate>,
        epoch: Epoch,
        point: TakeoverPoint,
        options: JournalOptions,
        callbacks: Callbacks,
    ) -> Result<Arc<Store>, BeginError> {
        check_options(&options)?;
        make_directories(&*disk)?;
        make_durable(&*disk, &point.last_batches)?;
        if gate.is_fenced() {
            return Err(BeginError::Fenced { epoch });
        }
        let name = SegmentName {
            number: point.next_number,
            epoch,
        };
        let cipher = TenureCipher::begin(&point.keys, epoch)
            .map_err(|source| BeginError::Cipher { source })?;
        let sealed = seal(&*disk, &*clock, name, &point, &options, &cipher)?;
        let cipher = Arc::new(cipher);
        let (in_flight, sync) = writing(&options, &sealed.first);
        let lanes = (0..in_flight.most()).map(|_| clock.signal());
        let shared = Arc::new(Shared {
            lanes: lanes.collect(),
            lanes_left: AtomicUsize::new(in_flight.most()),
            chooser: Chooser::new(sync),
            is_releasing: AtomicU32::new(0),
            keeper_signal: clock.signal(),
            pending: Pending::new(
                epoch,
                Arc::clone(&cipher),
                &sealed,
                options.segment_bytes,
                options.preallocate && !sealed.is_held,
                in_flight,
            ),
            watermark: Watermark::at(sealed.lsn, sealed.first.locked_at),
            disk,
            clock,
            gate,
            epoch,
            options,
            state: point.state,
            keys: point.keys,
            cipher,
            segments: Mutex::new([(name.number, Arc::new(sealed.first))].into()),
            readers: Default::default(),
            fullness: Default::default(),
            on_released: Default::default(),
            callbacks,
            keeper_waits_for: AtomicU64::new(u64::MAX),
            written_through: AtomicU64::new(written_place(name.number, sealed.end_offset)),
            wake_keeper_at: AtomicU64::new(u64::MAX),
            space: Default::default(),
            on_moved: Default::default(),
            bytes_since_checkpoint: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            is_writer_done: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        });
        info!(%epoch, previous = %point.previous_epoch, sealed_lsn = %point.sealed_lsn, "Sealed the former epoch.");
        Ok(start(shared, name.number))
    }
}

/// How many batches may be in flight, and how they are written: several at once only where each
/// tells its own errors, and then each in one operation.
fn writing(options: &JournalOptions, first: &Prepared) -> (InFlight, SyncMethod) {
    if options.has_several_in_flight() && first.file.may_overlap() {
        (options.in_flight, SyncMethod::Dsync)
    } else {
        (InFlight::UpTo(1), options.sync)
    }
}

/// `first` is the tenure's first segment.
fn start(shared: Arc<Shared>, first: SegmentNumber) -> Arc<Store> {
    let lanes = 0..shared.lanes.len();
    let mut threads: Vec<_> = lanes
        .map(|lane| {
            let writing = Arc::clone(&shared);
            let body = move || writing.guard(|| writer::run(&writing, lane));
            shared.clock.spawn("journal", Box::new(body))
        })
        .collect();
    let keeping = Arc::clone(&shared);
    let keeper = shared.clock.spawn(
        "journal keeper",
        Box::new(move || {
            keeping.guard(|| keeper::run(&keeping, first));
            // Whatever the tenure still held open goes with its threads.
            let segments = std::mem::take(&mut *keeping.segments.lock());
            let readers = std::mem::take(&mut *keeping.readers.lock());
            drop((segments, readers));
        }),
    );
    threads.push(keeper);
    Arc::new(Store::new(shared, threads))
}

fn check_options(options: &JournalOptions) -> Result<(), BeginError> {
    let (bytes, min, max) = (options.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    if (min..=max).contains(&bytes) {
        Ok(())
    } else {
        Err(BeginError::SegmentBytes { bytes, min, max })
    }
}

fn make_directories(disk: &dyn Disk) -> Result<(), BeginError> {
    let failed = |source| BeginError::Segment {
        path: ".".to_owned(),
        source,
    };
    // Mostly they are there, and a takeover has no time for a sync that changes nothing.
    let names = disk.list(Path::new(".")).map_err(failed)?;
    let is_there = |directory: &&str| names.iter().any(|name| name == directory);
    if [JOURNAL_DIRECTORY, CHECKPOINT_DIRECTORY]
        .iter()
        .all(is_there)
    {
        return Ok(());
    }
    for directory in [JOURNAL_DIRECTORY, CHECKPOINT_DIRECTORY] {
        disk.create_directory(Path::new(directory))
            .map_err(failed)?;
    }
    disk.sync_directory(Path::new(".")).map_err(failed)
}

/// Writes the same bytes once more, durably: they may have been visible and not durable. All that
/// were on their way together lie one right behind the other, in one segment or two.
fn make_durable(disk: &dyn Disk, last: &[LastBatch]) -> Result<(), BeginError> {
    for run in last.chunk_by(|one, next| one.segment == next.segment) {
        let segment = run[0].segment;
        let path = segment.path();
        let write = || {
            let file = disk.open(&path, Open::Write)?;
            if run[0].offset == SEGMENT_HEADER_BYTES as u64 {
                // The header was perhaps written together with the first batch.
                file.write_durable_at(&encode_header(segment, run[0].cipher.as_ref()), 0)?;
            }
            let bytes: Vec<&[u8]> = run.iter().map(|batch| &*batch.bytes).collect();
            file.write_durable_at(&bytes.concat(), run[0].offset)?;
            disk.sync_directory(Path::new(JOURNAL_DIRECTORY))
        };
        write().map_err(|source| BeginError::LastBatch {
            path: path.display().to_string(),
            source,
        })?;
    }
    Ok(())
}

struct Sealed {
    lsn: Lsn,
    end_offset: u64,
    first: Prepared,
    /// All bytes of the segment have their place on the disk.
    is_held: bool,
}

/// Creates the tenure's first segment with the seal in it, durably, and applies the seal.
fn seal(
    disk: &dyn Disk,
    clock: &dyn Clock,
    name: SegmentName,
    point: &TakeoverPoint,
    options: &JournalOptions,
    cipher: &TenureCipher,
) -> Result<Sealed, BeginError> {
    let path = name.path();
    let failed = |source| BeginError::Segment {
        path: path.display().to_string(),
        source,
    };
    let record = Record::Seal(Seal {
        previous_epoch: point.previous_epoch,
        sealed_lsn: point.sealed_lsn,
        segment: point.segment,
        end_offset: point.end_offset,
        time_ms: clock.wall_ms(),
    });
    let first_lsn = Lsn(point.sealed_lsn.0 + 1);
    let offset = SEGMENT_HEADER_BYTES as u64;
    let mut batch = Batch::new(name.number, offset, first_lsn, name.epoch, Vec::new())
        .encrypted(cipher.of(name.number));
    let (lsn, location) = batch.push(Frame::new(&record));
    batch.close(point.sealed_lsn);
    let created = create_first(disk, clock, name, &batch, options, cipher);
    let Some((first, is_held)) = created.map_err(failed)? else {
        let path = path.display().to_string();
        return Err(BeginError::SegmentLocked { path });
    };
    let place = Place {
        lsn,
        epoch: name.epoch,
        location,
    };
    point
        .state
        .apply(place, &record)
        .expect("a seal speaks of no backlog");
    Ok(Sealed {
        lsn,
        end_offset: batch.end_offset(),
        first,
        is_held,
    })
}

/// The first segment with its first batch, and whether all its space is held. Where space is short it
/// is a small one, filled before the seal is written, so that consumers can be served without
/// a free byte; spare files go for it if they have to.
fn create_first(
    disk: &dyn Disk,
    clock: &dyn Clock,
    name: SegmentName,
    batch: &Batch,
    options: &JournalOptions,
    cipher: &TenureCipher,
) -> io::Result<Option<(Prepared, bool)>> {
    let segment_bytes = options.segment_bytes;
    let is_direct = options.has_several_in_flight();
    let create = |bytes, is_held| {
        let made = create_segment(disk, clock, name, bytes, cipher, is_direct)?;
        let Some(first) = made else {
            return Ok(None);
        };
        if is_held {
            fill(&*first.file, bytes, || true)?;
            first.file.sync()?;
        }
        first.file.write_all_at(&batch.chunks()[0], batch.offset)?;
        first.file.sync()?;
        disk.sync_directory(Path::new(JOURNAL_DIRECTORY))?;
        Ok(Some((first, is_held)))
    };
    // The name is used again, with the very same batch: whoever saw the first try is not misled.
    let try_create = |bytes, is_held| or_nothing(disk, name, create(bytes, is_held));
    let free_bytes = disk.free_bytes().unwrap_or(u64::MAX);
    if free_bytes >= 2 * u64::from(segment_bytes) {
        match try_create(segment_bytes, false) {
            Err(error) if is_no_space(&error) => {}
            made => return made,
        }
    }
    warn!(
        free_bytes,
        "The journal directory is full; this tenure begins with a small segment."
    );
    // Half of a spare file: the claim may have needed the other half.
    let small = (small_bytes(segment_bytes) / 2).max(SEGMENT_BYTES_MIN / 2);
    with_spare(disk, || try_create(small, true))
}
