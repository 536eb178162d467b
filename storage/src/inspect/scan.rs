//! Walking through one segment, whatever is in it.
//!
//! Memory is bounded by the longest batch, work by a few times the file's length. What is no batch
//! is skipped up to the next place where a valid one lies; of what was skipped, single records that
//! still check out are told, too.

use std::io;
use std::ops::ControlFlow;

use crate::batch::{BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BATCH_MAGIC, Found, find_batch};
use crate::chain::SegmentName;
use crate::disk::{Disk, DiskFile, Open};
use crate::position::Lsn;
use crate::record::{RECORD_HEADER_BYTES, RawRecord};
use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_HEADER_BYTES};

/// Nothing in a segment begins behind this byte.
pub(super) const SCAN_BYTES_MAX: u64 = SEGMENT_BYTES_MAX as u64 + BATCH_BYTES_MAX as u64;
const READ_BYTES: usize = 1 << 20;
/// Bytes of a gap that are looked through for single records.
const RESCUE_BYTES_MAX: u64 = BATCH_BYTES_MAX as u64;
/// A place that looks like a batch is read whole to be judged. What claims to be longer than this
/// counts against the budget below, so that crafted bytes cannot make the work endless.
const PLAUSIBLE_BYTES: usize = 4 << 20;
const LONG_CANDIDATES: u32 = 64;

/// What lies in a segment, in order.
pub(super) enum Piece<'a> {
    /// A valid batch; its records come right behind.
    Batch {
        first_lsn: Lsn,
        last_lsn: Lsn,
        /// Everything up to here was durable when it was sent.
        durable: Lsn,
        /// The first byte behind it.
        end: u64,
    },
    /// A record in a valid batch, or one that checks out in bytes that are none.
    Record {
        offset: u64,
        raw: RawRecord<'a>,
        is_rescued: bool,
    },
    /// Bytes that are no batch; what can be rescued of them comes right behind.
    Gap { start: u64, end: u64 },
}

/// What is behind the last valid batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The file or what was to be looked at ends there.
    End,
    Zeros,
    /// Bytes that are no batch, and none behind them that counts.
    Torn,
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// Behind the last valid batch.
    pub(super) offset: u64,
    pub(super) rest: Rest,
    pub(super) batches: u64,
}

pub(super) type Visit<'a> = dyn FnMut(Piece<'_>) -> ControlFlow<()> + 'a;

/// A segment that is being walked through.
pub(super) struct Scanner<'a> {
    disk: &'a dyn Disk,
    name: SegmentName,
    file: Box<dyn DiskFile>,
    length: u64,
    /// What is behind this byte is not looked at.
    end: u64,
    /// A gap that begins here or later is no damage: the journal ends there, and what lies behind
    /// was on its way at the same time.
    open_end: u64,
    /// True when the journal goes on elsewhere: then torn bytes at the end are a gap.
    has_successor: bool,
    /// Records in a gap at the segment's end are only believed below this LSN: what comes next has it.
    successor_lsn: Lsn,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    at: u64,
    long_candidates: u32,
}

impl<'a> Scanner<'a> {
    pub(super) fn open(disk: &'a dyn Disk, name: SegmentName) -> io::Result<Scanner<'a>> {
        let file = disk.open(&name.path(), Open::Read)?;
        let length = file.length()?;
        Ok(Scanner {
            disk,
            name,
            file,
            length,
            end: length.min(SCAN_BYTES_MAX),
            open_end: u64::MAX,
            has_successor: false,
            successor_lsn: Lsn(0),
            buffer: Vec::new(),
            at: 0,
            long_candidates: 0,
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that a walk looks at.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn stop_at(&mut self, offset: u64) {
        self.end = self.end.min(offset);
    }

    pub(super) fn set_open_end(&mut self, offset: u64) {
        self.open_end = offset;
    }

    /// The journal goes on elsewhere, with the record `lsn`.
    pub(super) fn set_successor(&mut self, lsn: Lsn) {
        self.has_successor = true;
        self.successor_lsn = lsn;
    }

    /// The file's first bytes.
    pub(super) fn header(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.window(0, SEGMENT_HEADER_BYTES)?.to_vec())
    }

    /// Bytes from `offset` on: as many as asked for or more, fewer only at the end.
    fn window(&mut self, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        let wanted = (bytes as u64).min(self.end.saturating_sub(offset)) as usize;
        let is_there =
            offset >= self.at && offset + wanted as u64 <= self.at + self.buffer.len() as u64;
        if !is_there {
            let read = wanted.max(READ_BYTES) as u64;
            let read = read.min(self.end.saturating_sub(offset)) as usize;
            self.buffer.clear();
            self.buffer.resize(read, 0);
            self.at = offset;
            let got = self.file.read_at(&mut self.buffer, offset)?;
            self.buffer.truncate(got);
        }
        let start = usize::try_from(offset.saturating_sub(self.at)).unwrap_or(usize::MAX);
        Ok(self.buffer.get(start..).unwrap_or(&[]))
    }

    /// Visits everything from `from` on.
    pub(super) fn scan(&mut self, from: u64, visit: &mut Visit<'_>) -> io::Result<ScanEnd> {
        let (mut at, mut batches, name) = (from, 0, self.name);
        let mut last_lsn = Lsn(0);
        let mut looked_again_at = u64::MAX;
        loop {
            let end = |offset, rest| ScanEnd {
                offset,
                rest,
                batches,
            };
            if at >= self.end {
                return Ok(end(at, Rest::End));
            }
            let mut bytes = self.window(at, BATCH_HEADER_BYTES)?;
            if let Found::Incomplete(needed) = find_batch(bytes, name, at) {
                bytes = self.window(at, needed)?;
            }
            if let Found::Batch(batch) = find_batch(bytes, name, at) {
                let piece = Piece::Batch {
                    first_lsn: batch.first_lsn,
                    last_lsn: batch.last_lsn(),
                    durable: batch.durable,
                    end: at + batch.bytes.len() as u64,
                };
                if visit(piece).is_break() {
                    return Ok(end(at, Rest::End));
                }
                for (place, raw) in batch.records() {
                    let piece = Piece::Record {
                        offset: at + place as u64,
                        raw,
                        is_rescued: false,
                    };
                    if visit(piece).is_break() {
                        return Ok(end(at, Rest::End));
                    }
                }
                last_lsn = batch.last_lsn();
                at += batch.bytes.len() as u64;
                batches += 1;
                continue;
            }
            let ahead = self.look_ahead(at)?;
            if let Some((next, next_lsn)) = ahead.batch {
                // Somebody may have written it since it was read.
                if looked_again_at != at {
                    looked_again_at = at;
                    self.reopen()?;
                    continue;
                }
                if at >= self.open_end {
                    return Ok(end(at, Rest::Torn));
                }
                let gap = Gap {
                    start: at,
                    end: next,
                    after: last_lsn,
                    before: next_lsn,
                };
                if self.tell_gap(gap, visit)?.is_break() {
                    return Ok(end(at, Rest::End));
                }
                at = next;
                continue;
            }
            return match ahead.last_used {
                None => Ok(end(at, Rest::Zeros)),
                Some(last) => {
                    if self.has_successor {
                        let gap = Gap {
                            start: at,
                            end: last + 1,
                            after: last_lsn,
                            before: self.successor_lsn,
                        };
                        let _ = self.tell_gap(gap, visit)?;
                    }
                    Ok(end(at, Rest::Torn))
                }
            };
        }
    }

    /// The first byte behind the last one from `offset` on that is not zero.
    pub(super) fn last_used(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let (mut at, mut last) = (offset, None);
        while at < self.end {
            let window = self.window(at, READ_BYTES)?;
            if window.is_empty() {
                break;
            }
            if let Some(place) = window.iter().rposition(|byte| *byte != 0) {
                last = Some(at + place as u64 + 1);
            }
            at += window.len() as u64;
        }
        Ok(last)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = self.disk.open(&self.name.path(), Open::Read)?;
        self.buffer.clear();
        Ok(())
    }

    /// Looks behind `offset`, where no batch is.
    fn look_ahead(&mut self, offset: u64) -> io::Result<Ahead> {
        let mut ahead = Ahead::default();
        let mut at = offset;
        while at < self.end {
            let window = self.window(at, READ_BYTES)?;
            let window = &window[..window.len().min(READ_BYTES)];
            if window.is_empty() {
                break;
            }
            let length = window.len();
            let Some(last) = window.iter().rposition(|byte| *byte != 0) else {
                at += length as u64;
                continue;
            };
            ahead.last_used = Some(at + last as u64);
            let places: Vec<u64> = magic_places(window)
                .map(|place| at + place as u64)
                .filter(|place| *place > offset)
                .collect();
            for place in places {
                if let Some(lsn) = self.batch_at(place)? {
                    ahead.batch = Some((place, lsn));
                    return Ok(ahead);
                }
            }
            // The windows overlap by what could hide a magic number.
            let overlap = BATCH_MAGIC.len() - 1;
            at += length.saturating_sub(overlap).max(1) as u64;
        }
        Ok(ahead)
    }

    /// The first LSN of the batch that begins here.
    fn batch_at(&mut self, place: u64) -> io::Result<Option<Lsn>> {
        let name = self.name;
        let bytes = self.window(place, BATCH_HEADER_BYTES)?;
        let needed = match find_batch(bytes, name, place) {
            Found::Batch(batch) => return Ok(Some(batch.first_lsn)),
            Found::Nothing | Found::Invalid => return Ok(None),
            Found::Incomplete(needed) => needed,
        };
        if place + needed as u64 > self.end {
            return Ok(None);
        }
        if needed > PLAUSIBLE_BYTES {
            if self.long_candidates >= LONG_CANDIDATES {
                return Ok(None);
            }
            self.long_candidates += 1;
        }
        let bytes = self.window(place, needed)?;
        Ok(match find_batch(bytes, name, place) {
            Found::Batch(batch) => Some(batch.first_lsn),
            _ => None,
        })
    }

    /// Tells a gap, and the records in it that check out one by one. Only places at which a record
    /// must begin are tried: behind a batch's header and behind another record. So what merely
    /// looks like a record within a message's body is never taken for one. A record's sum says
    /// nothing of its place, so its LSN must fit between its neighbours': bytes may have been copied.
    fn tell_gap(&mut self, gap: Gap, visit: &mut Visit<'_>) -> io::Result<ControlFlow<()>> {
        let Gap { start, end, .. } = gap;
        if visit(Piece::Gap { start, end }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let wanted = (end - start).min(RESCUE_BYTES_MAX) as usize;
        let epoch = self.name.epoch;
        let bytes = self.window(start, wanted)?;
        let bytes = &bytes[..bytes.len().min(wanted)];
        let (mut at, mut last_lsn) = (BATCH_HEADER_BYTES, gap.after);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if rest.starts_with(&BATCH_MAGIC) {
                at += BATCH_HEADER_BYTES;
                continue;
            }
            match RawRecord::parse(rest, epoch) {
                Ok(raw) if raw.lsn > last_lsn && raw.lsn < gap.before => {
                    last_lsn = raw.lsn;
                    let piece = Piece::Record {
                        offset: start + at as u64,
                        raw,
                        is_rescued: true,
                    };
                    if visit(piece).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    at += raw.length as usize;
                }
                _ => match skipped(rest) {
                    Some(length) => at += length,
                    None => {
                        let next = magic_places(rest).find(|place| *place > 0);
                        let Some(next) = next else { break };
                        at += next;
                    }
                },
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The length that a damaged record claims, if something that may follow a record is behind it.
fn skipped(rest: &[u8]) -> Option<usize> {
    let length = rest.first_chunk::<4>().map(|l| u32::from_le_bytes(*l))? as usize;
    if length < RECORD_HEADER_BYTES || length > rest.len() {
        return None;
    }
    Some(length)
}

/// Bytes that are no batch, and the LSNs around them.
#[derive(Clone, Copy)]
struct Gap {
    start: u64,
    end: u64,
    after: Lsn,
    before: Lsn,
}

#[derive(Default)]
struct Ahead {
    /// A valid batch, and its first LSN.
    batch: Option<(u64, Lsn)>,
    /// The last byte that is not zero, of what was looked at.
    last_used: Option<u64>,
}

fn magic_places(window: &[u8]) -> impl Iterator<Item = usize> + use<'_> {
    window
        .windows(BATCH_MAGIC.len())
        .enumerate()
        .filter_map(|(at, bytes)| {
            (bytes[0] == BATCH_MAGIC[0] && *bytes == BATCH_MAGIC).then_some(at)
        })
}
