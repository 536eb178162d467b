//! Which tenures count, as far as seals, checkpoints and what is left of the segments tell.
//!
//! The broker's own reader demands an unbroken chain; this one goes on where a seal is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;

use super::report::{Finding, Kind, Severity};
use super::scan::{Piece, Scanner};
use crate::chain::SegmentName;
use crate::disk::Disk;
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::Seal;
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::state::Tenure;

/// The tenures in the order in which they follow each other.
#[derive(Default)]
pub(super) struct Lineage {
    /// Oldest first.
    pub(super) tenures: Vec<Tenure>,
    /// Epochs with segments that nobody's chain mentions.
    pub(super) orphans: BTreeSet<Epoch>,
    /// The last segment of each epoch that has records: later ones are prepared and empty.
    pub(super) last_used: BTreeMap<Epoch, SegmentNumber>,
    /// The LSN of the first valid batch of each segment.
    pub(super) firsts: BTreeMap<SegmentName, Lsn>,
    /// Where the journal ends, if that is certain.
    pub(super) open_end: Option<OpenEnd>,
    pub(super) findings: Vec<Finding>,
}

/// The end of an epoch that nobody has sealed yet.
///
/// Several batches are on their way at once and arrive in any order, so the last ones may lie behind
/// a hole. Each names the LSN up to which everything was durable when it was sent: of what lies above
/// the highest such LSN only that counts which follows without a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenEnd {
    pub(super) segment: SegmentNumber,
    /// The first byte behind what counts.
    pub(super) offset: u64,
    /// There are batches behind it.
    pub(super) has_more: bool,
}

/// What the first segment of an epoch begins with.
#[derive(Clone, Copy)]
enum First {
    Seal(Tenure),
    /// No seal; the first record that checks out.
    Other {
        lsn: Lsn,
        is_behind_gap: bool,
    },
    Nothing,
}

/// Stands for the place at which an epoch whose seal is lost ended the one before.
const UNKNOWN_END: u64 = u64::MAX;

impl Lineage {
    /// `hints` are tenures that checkpoints tell of.
    pub(super) fn find(disk: &dyn Disk, segments: &[SegmentName], hints: &[Tenure]) -> Lineage {
        let mut lineage = Lineage::default();
        let mut known: BTreeMap<Epoch, First> = BTreeMap::new();
        for tenure in hints {
            known.insert(tenure.epoch, First::Seal(*tenure));
        }
        let mut by_epoch: BTreeMap<Epoch, Vec<SegmentName>> = BTreeMap::new();
        for name in segments {
            by_epoch.entry(name.epoch).or_default().push(*name);
        }
        for (epoch, names) in &by_epoch {
            let first = lineage.first_of_epoch(disk, *epoch, names);
            match first {
                First::Seal(_) => {
                    known.insert(*epoch, first);
                }
                First::Other { .. } => {
                    known.entry(*epoch).or_insert(first);
                }
                First::Nothing => {}
            }
        }
        lineage.link(&known, &by_epoch);
        if let Some(newest) = lineage.newest() {
            let names = by_epoch.get(&newest.epoch).map_or(&[][..], Vec::as_slice);
            // What cannot be read is told by whoever walks through it.
            lineage.open_end = lineage.find_open_end(disk, newest, names).unwrap_or(None);
        }
        let chained: BTreeSet<Epoch> = lineage.tenures.iter().map(|t| t.epoch).collect();
        lineage.orphans = by_epoch
            .keys()
            .copied()
            .filter(|epoch| !chained.contains(epoch))
            .collect();
        lineage
    }

    /// None: the last batch that is known to have been durable is not there. `names` are the segments
    /// of the epoch.
    fn find_open_end(
        &self,
        disk: &dyn Disk,
        newest: Tenure,
        names: &[SegmentName],
    ) -> io::Result<Option<OpenEnd>> {
        let Some(last_used) = self.last_used.get(&newest.epoch) else {
            return Ok(None);
        };
        let used: Vec<SegmentName> = names
            .iter()
            .copied()
            .filter(|name| name.number <= *last_used)
            .collect();
        let mut proven = Lsn(0);
        if let Some(last) = used.last() {
            visit_batches(disk, *last, |_, _, durable, _| {
                proven = proven.max(durable);
                true
            })?;
        }
        let first = used
            .iter()
            .rposition(|name| self.firsts.get(name).is_some_and(|lsn| *lsn <= proven))
            .unwrap_or(0);
        let mut next = proven < newest.lsn && newest.seal.end_offset != UNKNOWN_END;
        let mut end = OpenEnd {
            segment: newest.segment,
            offset: SEGMENT_HEADER_BYTES as u64,
            has_more: false,
        };
        let mut last_lsn = Lsn(newest.lsn.0.saturating_sub(1));
        for name in used.get(first..).unwrap_or(&[]) {
            visit_batches(disk, *name, |first_lsn, last, _, offset| {
                if last <= proven {
                    next |= last == proven;
                } else if !next || first_lsn.0 != last_lsn.0 + 1 {
                    end.has_more = true;
                    return false;
                }
                (last_lsn, end.segment, end.offset) = (last, name.number, offset);
                true
            })?;
            if end.has_more {
                break;
            }
        }
        Ok(next.then_some(end))
    }

    /// Finds what an epoch begins with and in which segments it has records.
    fn first_of_epoch(&mut self, disk: &dyn Disk, epoch: Epoch, names: &[SegmentName]) -> First {
        let mut result = First::Nothing;
        for (index, name) in names.iter().enumerate() {
            let Ok((first, first_lsn)) = first_of(disk, *name) else {
                continue;
            };
            if let Some(lsn) = first_lsn {
                self.firsts.insert(*name, lsn);
                self.last_used.insert(epoch, name.number);
            }
            if matches!(first, First::Nothing) {
                continue;
            }
            if matches!(result, First::Nothing) {
                result = match first {
                    First::Other { lsn, .. } if index > 0 => First::Other {
                        lsn,
                        is_behind_gap: true,
                    },
                    // Found where it was not written: the epoch begins with its first segment.
                    First::Seal(tenure) => First::Seal(Tenure {
                        segment: names[0].number,
                        ..tenure
                    }),
                    first => first,
                };
            }
        }
        result
    }

    fn link(
        &mut self,
        known: &BTreeMap<Epoch, First>,
        by_epoch: &BTreeMap<Epoch, Vec<SegmentName>>,
    ) {
        let mut wanted = known.keys().next_back().copied();
        while let Some(epoch) = wanted {
            let Some(first) = known.get(&epoch) else {
                break;
            };
            let lower = known.range(..epoch).next_back().map(|(epoch, _)| *epoch);
            let tenure = match *first {
                First::Seal(tenure) => tenure,
                First::Other { lsn, is_behind_gap } => {
                    let names = by_epoch.get(&epoch).map_or(&[][..], Vec::as_slice);
                    self.infer(epoch, lsn, is_behind_gap, lower, names)
                }
                First::Nothing => break,
            };
            self.tenures.push(tenure);
            let previous = tenure.seal.previous_epoch;
            // Epochs only grow; a seal that says otherwise must not lead in circles.
            wanted = (previous != Epoch(0) && previous < epoch).then_some(previous);
            if wanted.is_some_and(|wanted| !known.contains_key(&wanted))
                && by_epoch
                    .keys()
                    .any(|other| *other < epoch && known.contains_key(other))
                && known.contains_key(&epoch)
            {
                // The epoch in between has no file left, and no checkpoint tells of it.
                wanted = lower;
            }
        }
        self.tenures.reverse();
    }

    /// A tenure whose seal cannot be read.
    fn infer(
        &mut self,
        epoch: Epoch,
        first_lsn: Lsn,
        is_behind_gap: bool,
        lower: Option<Epoch>,
        names: &[SegmentName],
    ) -> Tenure {
        let segment = names.first().map_or(SegmentNumber(0), |name| name.number);
        // The seal is alone in its batch, right before the first other record.
        let sealed_lsn = Lsn(first_lsn.0.saturating_sub(2));
        if is_behind_gap {
            let name = SegmentName {
                number: segment,
                epoch,
            };
            self.findings.push(
                Finding::new(
                    Severity::Damage,
                    Kind::BrokenChain,
                    format!(
                        "the seal of epoch {epoch} cannot be read, so it is not certain where the \
                         epoch before it ended; assumed: epoch {} at LSN {sealed_lsn}",
                        lower.unwrap_or_default()
                    ),
                )
                .at(&name.path())
                .bytes(SEGMENT_HEADER_BYTES as u64, SEGMENT_HEADER_BYTES as u64)
                .advise(super::SALVAGE_ADVICE),
            );
        }
        Tenure {
            epoch,
            segment,
            lsn: Lsn(sealed_lsn.0 + 1),
            seal: Seal {
                previous_epoch: lower.unwrap_or_default(),
                sealed_lsn,
                segment: SegmentNumber(u32::MAX),
                end_offset: UNKNOWN_END,
                time_ms: 0,
            },
        }
    }

    /// The tenure that sealed `epoch`.
    pub(super) fn successor(&self, epoch: Epoch) -> Option<Tenure> {
        self.tenures
            .iter()
            .copied()
            .find(|tenure| tenure.seal.previous_epoch == epoch)
    }

    pub(super) fn contains(&self, epoch: Epoch) -> bool {
        self.tenures.iter().any(|tenure| tenure.epoch == epoch)
    }

    pub(super) fn newest(&self) -> Option<Tenure> {
        self.tenures.last().copied()
    }
}

/// Visits the valid batches of a segment: first and last LSN, durable LSN, end.
fn visit_batches(
    disk: &dyn Disk,
    name: SegmentName,
    mut visit: impl FnMut(Lsn, Lsn, Lsn, u64) -> bool,
) -> io::Result<()> {
    let mut scanner = Scanner::open(disk, name)?;
    let from = SEGMENT_HEADER_BYTES as u64;
    scanner.scan(from, &mut |piece| match piece {
        Piece::Batch {
            first_lsn,
            last_lsn,
            durable,
            end,
        } if !visit(first_lsn, last_lsn, durable, end) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })?;
    Ok(())
}

/// What a segment begins with, and the LSN of its first valid batch.
fn first_of(disk: &dyn Disk, name: SegmentName) -> io::Result<(First, Option<Lsn>)> {
    let mut scanner = Scanner::open(disk, name)?;
    // Whatever the LSN: only a seal is of interest, and it says which epoch it belongs to.
    scanner.set_successor(Lsn(u64::MAX));
    let (mut first, mut first_lsn, mut is_behind_gap) = (First::Nothing, None, false);
    scanner.scan(SEGMENT_HEADER_BYTES as u64, &mut |piece| {
        let (raw, is_rescued) = match piece {
            Piece::Record {
                raw, is_rescued, ..
            } => (raw, is_rescued),
            Piece::Gap { .. } => {
                is_behind_gap = true;
                return ControlFlow::Continue(());
            }
            Piece::Batch { .. } => return ControlFlow::Continue(()),
        };
        match (raw.seal(), first) {
            (Some(seal), First::Nothing) => {
                first = First::Seal(Tenure {
                    epoch: name.epoch,
                    segment: name.number,
                    lsn: raw.lsn,
                    seal,
                });
            }
            (_, First::Nothing) if !is_rescued => {
                first = First::Other {
                    lsn: raw.lsn,
                    is_behind_gap,
                };
            }
            _ => {}
        }
        if is_rescued {
            return ControlFlow::Continue(());
        }
        first_lsn = Some(raw.lsn);
        ControlFlow::Break(())
    })?;
    Ok((first, first_lsn))
}
