//! Walking through every segment, whether somebody still needs it or not.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use super::live::{Expected, Live, Missing};
use super::report::{Finding, Kind, Report, Severity};
use super::scan::{Piece, Rest, SCAN_BYTES_MAX, ScanEnd, Scanner};
use super::walk::{Planned, Until};
use super::{SALVAGE_ADVICE, Watch};
use crate::chain::SegmentName;
use crate::cipher::{Ciphers, RECORD_CHANGED};
use crate::disk::Disk;
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::Kind as RecordKind;
use crate::segment::{SEGMENT_HEADER_BYTES, check_header, other_version, versions};
use crate::state::Tenure;

/// From where on records are needed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needed {
    /// The newest checkpoint replays from here.
    pub(super) from: Lsn,
    /// The oldest one that is kept.
    pub(super) kept_from: Lsn,
}

#[derive(Clone, Copy)]
struct Gap {
    name: SegmentName,
    start: u64,
    end: u64,
    /// The last record in it that checks out.
    rescued: Option<Lsn>,
    /// Records of it are lost, and that was told; as damage.
    has_lost: bool,
    is_damage: bool,
}

/// See the module.
pub(super) struct Examiner<'a> {
    disk: &'a dyn Disk,
    ciphers: &'a Ciphers<'a>,
    needed: Needed,
    tenures: &'a [Tenure],
    report: &'a mut Report,
    watch: &'a mut Watch<'a>,
    live: &'a mut Live,
    missing: Missing,
    /// The LSN that the next record that counts must have.
    expected: Option<Lsn>,
    /// The bytes since the last valid batch that are none.
    gap: Option<Gap>,
    /// Segments since that record that the operating system did not let be read.
    unread: Vec<SegmentName>,
    last: Option<SegmentName>,
    orphans: BTreeMap<Epoch, (u64, u64)>,
}

impl<'a> Examiner<'a> {
    pub(super) fn new(
        disk: &'a dyn Disk,
        ciphers: &'a Ciphers<'a>,
        needed: Needed,
        tenures: &'a [Tenure],
        report: &'a mut Report,
        live: &'a mut Live,
        watch: &'a mut Watch<'a>,
    ) -> Examiner<'a> {
        Examiner {
            disk,
            ciphers,
            needed,
            tenures,
            report,
            watch,
            live,
            missing: Missing::new(),
            expected: None,
            gap: None,
            unread: Vec::new(),
            last: None,
            orphans: BTreeMap::new(),
        }
    }

    /// Answers the pending messages' records that are not there.
    pub(super) fn run(mut self, plan: &[Planned]) -> Missing {
        for planned in plan {
            if let Err(error) = self.segment(planned) {
                self.unreadable(planned, &error);
            }
        }
        let left: Vec<SegmentNumber> = self.live.left().collect();
        for number in left {
            self.live.take(number, Lsn(0)).finish(&mut self.missing);
        }
        for (epoch, (segments, records)) in std::mem::take(&mut self.orphans) {
            self.report.add(Finding::new(
                Severity::Note,
                Kind::Orphan,
                format!(
                    "{segments} segments with {records} records belong to epoch {epoch}, which \
                     nobody's chain mentions: its broker never finished taking over, or was \
                     replaced before anything it wrote counted"
                ),
            ));
        }
        self.missing
    }

    fn unreadable(&mut self, planned: &Planned, error: &io::Error) {
        let name = planned.name;
        if error.kind() == io::ErrorKind::NotFound {
            self.report.add(
                Finding::new(
                    Severity::Note,
                    Kind::InUse,
                    "went away while it was being looked at",
                )
                .at(&name.path()),
            );
            return;
        }
        if planned.has_what_counts() {
            self.unread.push(name);
            // Nothing is known of them: they are not lost.
            self.live.take(name.number, Lsn(0));
        }
        self.report.add(
            Finding::new(Severity::Unread, Kind::Unreadable, error.to_string())
                .at(&name.path())
                .advise("give this user the right to read it, and check again"),
        );
    }

    fn segment(&mut self, planned: &Planned) -> io::Result<()> {
        let mut scanner = planned.scanner(self.disk)?;
        let length = scanner.length();
        self.report.segments += 1;
        self.report.bytes += length;
        if length > SCAN_BYTES_MAX {
            self.report.add(
                Finding::new(
                    Severity::Warning,
                    Kind::ForeignName,
                    "the file is longer than any segment can be; its end was not looked at",
                )
                .at(&planned.name.path())
                .bytes(SCAN_BYTES_MAX, length),
            );
        }
        let bytes = scanner.header()?;
        if let Some(version) = other_version(&bytes) {
            self.other_version(planned, version, length);
            return Ok(());
        }
        let header = check_header(&bytes, planned.name);
        match planned.until {
            Until::Orphan => return self.orphan(planned, scanner),
            Until::BehindSeal => return self.behind(planned, scanner, Kind::BehindSeal),
            Until::BehindEnd => return self.behind(planned, scanner, Kind::TornTail),
            _ => {}
        }
        let end = self.scan(planned, &mut scanner)?;
        self.report.batches += end.batches;
        if let Err(malformed) = header {
            self.header(planned, &end, length, malformed.0);
        }
        if end.rest == Rest::Torn && matches!(planned.until, Until::Tail { .. }) {
            self.torn_tail(planned, &end, length);
        }
        if let Until::Seal { offset, .. } = planned.until
            && offset < length
        {
            self.bytes_behind_seal(planned.name, offset)?;
        }
        self.last = Some(planned.name);
        Ok(())
    }

    fn scan(&mut self, planned: &Planned, scanner: &mut Scanner<'_>) -> io::Result<ScanEnd> {
        let began = self.began(planned.name.epoch);
        let mut expected: Expected = self.live.take(planned.name.number, began);
        let mut last_told = 0;
        // Without its key, what a record says is not looked at.
        let cipher = self.ciphers.of(planned.name).ok();
        let mut scratch = Vec::new();
        let end = scanner.scan(SEGMENT_HEADER_BYTES as u64, &mut |piece| {
            match piece {
                Piece::Batch { .. } => {}
                Piece::Gap { start, end } => {
                    self.gap = Some(Gap {
                        name: planned.name,
                        start,
                        end,
                        rescued: None,
                        has_lost: false,
                        is_damage: false,
                    });
                }
                Piece::Record {
                    offset,
                    raw,
                    is_rescued,
                } => {
                    if !planned.counts(raw.lsn) {
                        return ControlFlow::Continue(());
                    }
                    self.report.records += 1;
                    self.meet(planned.name, offset, raw.lsn, is_rescued);
                    let decoded = cipher
                        .as_ref()
                        .map(|cipher| cipher.decode(&raw, &mut scratch));
                    let record = decoded.as_ref().and_then(|decoded| decoded.as_ref().ok());
                    expected.meet(offset, &raw, record, &mut self.missing);
                    if let Some(Err(malformed)) = decoded {
                        self.strange(planned.name, offset, raw.lsn, malformed.0);
                    } else if raw.kind == RecordKind::Seal as u8 && offset > 128 {
                        self.strange(planned.name, offset, raw.lsn, "the place of a seal");
                    }
                    if offset - last_told >= 1 << 20 {
                        self.watch.add(offset - last_told);
                        last_told = offset;
                    }
                }
            }
            ControlFlow::Continue(())
        });
        self.watch.add(scanner.end().saturating_sub(last_told));
        expected.finish(&mut self.missing);
        end
    }

    fn began(&self, epoch: Epoch) -> Lsn {
        let tenure = self.tenures.iter().find(|tenure| tenure.epoch == epoch);
        tenure.map_or(Lsn(0), |tenure| tenure.lsn)
    }

    fn strange(&mut self, name: SegmentName, offset: u64, lsn: Lsn, what: &str) {
        self.report.add(
            Finding::new(
                Severity::Damage,
                Kind::Contradiction,
                format!("{what} does not check out, though the record's CRC does"),
            )
            .at(&name.path())
            .bytes(offset, offset)
            .lsns(lsn.0, lsn.0)
            .advise(match what {
                RECORD_CHANGED => SALVAGE_ADVICE,
                _ => "was it written by a newer release? Check with that one",
            }),
        );
    }

    /// A record that counts: what should have come before it?
    fn meet(&mut self, name: SegmentName, offset: u64, lsn: Lsn, is_rescued: bool) {
        let expected = self.expected.replace(Lsn(lsn.0 + 1));
        self.report.last_lsn = lsn.0;
        let unread = std::mem::take(&mut self.unread);
        let first = expected.unwrap_or(self.needed.kept_from);
        if lsn > first {
            self.lost(name, offset, first, Lsn(lsn.0 - 1), &unread);
        } else if lsn < first && expected.is_some() {
            self.expected = expected;
            let what = format!("LSN {lsn} stands behind LSN {}", first.0 - 1);
            let finding = Finding::new(Severity::Damage, Kind::Contradiction, what);
            self.report.add(
                finding
                    .at(&name.path())
                    .bytes(offset, offset)
                    .lsns(lsn.0, lsn.0)
                    .advise(SALVAGE_ADVICE),
            );
        }
        if is_rescued {
            if let Some(gap) = &mut self.gap {
                gap.rescued = Some(lsn);
            }
        } else if let Some(gap) = self.gap.take() {
            // What is lost may be nobody's while a broker has to replay the rest.
            let is_refused = !gap.is_damage && gap.rescued >= Some(self.needed.from);
            if !gap.has_lost || is_refused {
                self.gap_without_loss(&gap);
            }
        }
    }

    fn gap_without_loss(&mut self, gap: &Gap) {
        let (severity, what) = if gap.rescued.is_none() {
            let what = "bytes that are no batch, where none is missing";
            (Severity::Note, what)
        } else if gap.rescued < Some(self.needed.from) {
            let what = "a batch that nobody replays any more does not check out; its records do";
            (Severity::Warning, what)
        } else {
            let what = "a batch does not check out, though each record in it does";
            (Severity::Damage, what)
        };
        let finding = Finding::new(severity, Kind::LostBytes, what);
        self.report.add(
            finding
                .at(&gap.name.path())
                .bytes(gap.start, gap.end)
                .advise(if severity == Severity::Damage {
                    SALVAGE_ADVICE
                } else {
                    ""
                }),
        );
    }

    fn lost(
        &mut self,
        name: SegmentName,
        offset: u64,
        first: Lsn,
        last: Lsn,
        unread: &[SegmentName],
    ) {
        let gap = self.gap;
        let is_removed = gap.is_none() && unread.is_empty();
        if is_removed && last < self.needed.kept_from {
            // Segments go when nobody needs them any more.
            return;
        }
        let is_needed = last >= self.needed.from;
        let severity = match (is_needed, unread.is_empty()) {
            (true, true) => Severity::Damage,
            (true, false) => Severity::Unread,
            (false, _) => Severity::Warning,
        };
        if let Some(gap) = &mut self.gap {
            gap.has_lost = true;
            gap.is_damage |= severity == Severity::Damage;
        }
        let (path, start, end, kind, what) = match gap {
            Some(gap) => {
                let what = "records that do not check out, with valid ones behind them";
                let (start, end) = (gap.start, gap.end);
                (gap.name, start, end, Kind::LostRecords, what.to_owned())
            }
            None => {
                let before = self.last.map_or(String::new(), |last| {
                    format!(" behind `{}`", last.path().display())
                });
                let what = format!("a segment or the end of one is missing{before}");
                (name, offset, offset, Kind::MissingSegment, what)
            }
        };
        let finding = Finding::new(severity, kind, what)
            .at(&path.path())
            .bytes(start, end)
            .lsns(first.0, last.0);
        self.report.add(if is_needed {
            finding.advise(SALVAGE_ADVICE)
        } else {
            finding.advise(
                "the newest checkpoint contains what these records said; the older one, which is \
                 kept for the day on which the newest cannot be read, is of no use",
            )
        });
    }

    fn other_version(&mut self, planned: &Planned, version: u32, length: u64) {
        // Nothing is known of its records: they are not lost.
        self.unread.push(planned.name);
        self.live.take(planned.name.number, Lsn(0));
        let what = format!(
            "has format version {version}; this release reads {}",
            versions()
        );
        let finding = Finding::new(Severity::Unread, Kind::Unreadable, what);
        self.report.add(
            finding
                .at(&planned.name.path())
                .bytes(0, length)
                .advise("check it with the release that wrote it"),
        );
    }

    fn header(&mut self, planned: &Planned, end: &ScanEnd, length: u64, what: &str) {
        let path = planned.name.path();
        if end.batches == 0 && end.rest != Rest::Torn {
            let text = format!("{what} does not check out, and nothing was written into it");
            let finding = Finding::new(Severity::Note, Kind::Header, text);
            self.report.add(finding.at(&path).bytes(0, length.min(64)));
            return;
        }
        let finding = Finding::new(
            Severity::Damage,
            Kind::Header,
            format!("{what} does not check out; the records behind it do"),
        );
        self.report.add(
            finding
                .at(&path)
                .bytes(0, SEGMENT_HEADER_BYTES as u64)
                .advise(SALVAGE_ADVICE),
        );
    }

    fn torn_tail(&mut self, planned: &Planned, end: &ScanEnd, length: u64) {
        self.report.add(
            Finding::new(
                Severity::Note,
                Kind::TornTail,
                "the journal ends with bytes that are no whole batch, or that were on their way \
                 together with one: normal after a crash or while it is being written; they were \
                 never acknowledged, unless just these bytes were damaged later, which nobody can \
                 tell",
            )
            .at(&planned.name.path())
            .bytes(end.offset, length),
        );
    }

    fn bytes_behind_seal(&mut self, name: SegmentName, offset: u64) -> io::Result<()> {
        let mut scanner = Scanner::open(self.disk, name)?;
        if let Some(end) = scanner.last_used(offset)? {
            self.report.add(
                Finding::new(
                    Severity::Note,
                    Kind::BehindSeal,
                    "a late write of a broker that was already replaced; it does not count",
                )
                .at(&name.path())
                .bytes(offset, end),
            );
        }
        Ok(())
    }

    /// A segment of which nothing counts.
    fn behind(
        &mut self,
        planned: &Planned,
        mut scanner: Scanner<'_>,
        kind: Kind,
    ) -> io::Result<()> {
        self.watch.add(scanner.end());
        if let Some(end) = scanner.last_used(SEGMENT_HEADER_BYTES as u64)? {
            let what = match kind {
                Kind::BehindSeal => {
                    "lies behind the place at which its epoch was sealed; it does not count"
                }
                _ => {
                    "was on its way together with the end of the segment before, which never \
                     arrived; it was never acknowledged, and does not count"
                }
            };
            self.report.add(
                Finding::new(Severity::Note, kind, what)
                    .at(&planned.name.path())
                    .bytes(SEGMENT_HEADER_BYTES as u64, end),
            );
        }
        Ok(())
    }

    fn orphan(&mut self, planned: &Planned, mut scanner: Scanner<'_>) -> io::Result<()> {
        let mut records = 0;
        scanner.scan(SEGMENT_HEADER_BYTES as u64, &mut |piece| {
            if let Piece::Record { .. } = piece {
                records += 1;
            }
            ControlFlow::Continue(())
        })?;
        self.watch.add(scanner.end());
        let orphans = self.orphans.entry(planned.name.epoch).or_default();
        orphans.0 += 1;
        orphans.1 += records;
        Ok(())
    }
}
