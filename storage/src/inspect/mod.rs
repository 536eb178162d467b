//! Looking at a journal without being part of it: what is there, what is lost, and saving the rest.
//!
//! An inspection takes no lock and writes nothing into the directory, so it is safe beside a running
//! pair: it reads as a standby does. It must come to an end with a report whatever the files hold.
//! It knows no more of backlogs than their descriptors, which [`Names`] puts into words.

mod compare;
mod examine;
mod fold;
mod keys;
mod lineage;
mod live;
mod report;
mod salvage;
mod scan;
mod surroundings;
mod walk;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use self::compare::compare;
use self::examine::{Examiner, Needed};
use self::fold::Fold;
pub use self::keys::{KeyUse, keys_in_use};
use self::lineage::Lineage;
use self::live::{Live, Missing};
pub use self::report::{Affected, Finding, Kind, Report, Severity, Verdict};
pub use self::salvage::{LostRecords, SalvageError, Salvaged, salvage};
use self::walk::{Planned, Replay, missing_at_end, plan, replay};
use crate::chain::{CheckpointName, SegmentName, Survey, survey};
use crate::checkpoint::{CheckpointRead, Loaded, check_frames, read_checkpoint, read_start};
use crate::cipher::{Ciphers, KeyError, Keyring};
use crate::clock::Clock;
use crate::disk::{Disk, Open};
use crate::position::{BacklogId, Epoch, Location, Lsn};
use crate::state::{State, Tenure};

/// What to do about damage.
const SALVAGE_ADVICE: &str = "stop both brokers, then save what is left with `baton storage check \
                              DIR --salvage OUT`, or restore the directory from a copy";

/// What the owner of the journal knows of the bytes that it gave to storage.
pub trait Names {
    /// What people call the backlog.
    fn name(&self, id: BacklogId, descriptor: &[u8]) -> String;

    /// A descriptor for a backlog whose own one is lost. It must be another one for each `id`.
    fn recovered_backlog(&self, id: BacklogId) -> Bytes;

    /// A key under which operators can decide what becomes of a transaction whose end is lost.
    fn recovered_transaction(&self, key: &[u8], number: u64) -> Bytes;
}

/// How far an inspection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes looked at.
    pub done_bytes: u64,
    /// Bytes to be looked at.
    pub total_bytes: u64,
}

/// Tells how far an inspection is.
pub(crate) struct Watch<'a> {
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

impl Watch<'_> {
    fn add(&mut self, bytes: u64) {
        self.progress.done_bytes += bytes;
        (self.tell)(self.progress);
    }
}

/// While a journal is in use, files come and go; then it is looked at so often.
const ATTEMPTS: u32 = 3;
/// How long a lease is watched for a sign of life, at most.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// Checks a journal; answers everything found. Reads only. Of an encrypted journal of which `keys` lack
/// one, it checks what can be checked without.
pub fn check(
    disk: &dyn Disk,
    keys: &Keyring,
    clock: &dyn Clock,
    names: &dyn Names,
    tell: &mut dyn FnMut(Progress),
) -> Report {
    let sign = surroundings::lease_sign(disk);
    for attempt in 1.. {
        let before = survey(disk).ok();
        let mut report = check_once(disk, keys, names, tell);
        let is_calm = matches!(report.verdict, Verdict::Healthy | Verdict::NoJournal);
        let has_changed = survey(disk).ok() != before;
        // The active removed or made files meanwhile: what was missing may be none of its fault.
        if !is_calm && has_changed && attempt < ATTEMPTS {
            continue;
        }
        report.in_use_by = surroundings::is_alive(disk, clock, sign.as_ref(), SIGN_OF_LIFE);
        if let Some(holder) = report.in_use_by.clone() {
            let what = format!(
                "{holder} is writing this journal: its end moves, and what came after the check \
                 began may be missing here"
            );
            report.add(Finding::new(Severity::Note, Kind::InUse, what));
        }
        report.conclude();
        return report;
    }
    unreachable!("the last attempt answers")
}

/// A journal as far as it can be read.
struct Examined {
    report: Report,
    /// The fold that counts; None if there is no journal, or a key is missing.
    fold: Option<Fold>,
    tenures: Vec<Tenure>,
    /// The key that is missing.
    locked: Option<KeyError>,
}

fn check_once(
    disk: &dyn Disk,
    keys: &Keyring,
    names: &dyn Names,
    tell: &mut dyn FnMut(Progress),
) -> Report {
    examine(disk, keys, names, tell).report
}

/// Reads all there is.
fn examine(
    disk: &dyn Disk,
    keys: &Keyring,
    names: &dyn Names,
    tell: &mut dyn FnMut(Progress),
) -> Examined {
    let mut report = Report::new();
    surroundings::look(disk, &mut report);
    let found = survey(disk).unwrap_or_default();
    report.keys = keys_in_use(disk).unwrap_or_default();
    let ciphers = Ciphers::survey(disk, keys, &found.segments);
    let segments = found.segments.iter();
    let mut locked = segments.filter_map(|name| ciphers.of(*name).err()).next();
    let mut loaded = load(disk, keys, &found, &mut report, &mut locked);
    if locked.is_some() {
        // Half a state would be a wrong one.
        loaded.clear();
    }
    let hints: Vec<Tenure> = loaded
        .iter()
        .flat_map(|(_, loaded)| loaded.state.tenures.lock().clone())
        .collect();
    let lineage = Lineage::find(disk, &found.segments, &hints);
    for finding in &lineage.findings {
        report.add(finding.clone());
    }
    let plan = plan(&lineage, &found.segments);
    let mut replays = match locked {
        None => replays(&lineage, loaded, &mut report),
        Some(_) => Vec::new(),
    };
    let mut watch = Watch {
        progress: Progress {
            done_bytes: 0,
            total_bytes: total_bytes(disk, &plan, &replays),
        },
        tell,
    };
    replay(disk, &ciphers, &plan, &mut replays, names, &mut watch);
    let starts: Vec<Lsn> = match locked {
        None => replays
            .iter()
            .map(|replay| replay.start.map_or(Lsn(1), |start| start.lsn))
            .collect(),
        // The first frame is readable without a key.
        Some(_) => found
            .checkpoints
            .iter()
            .filter_map(|name| read_start(disk, *name).ok().flatten())
            .map(|start| start.lsn)
            .collect(),
    };
    let needed = Needed {
        from: starts.first().copied().unwrap_or(Lsn(1)),
        kept_from: starts.iter().min().copied().unwrap_or(Lsn(1)),
    };
    let mut live = match replays.first() {
        Some(replay) => Live::of(&replay.fold.state),
        None => Live::default(),
    };
    if let Some(replay) = replays.first() {
        let in_doubt = replay.fold.in_doubt.iter().flat_map(|one| &one.messages);
        live.add(in_doubt.map(|message| message.location));
    }
    let missing = {
        let examiner = Examiner::new(
            disk,
            &ciphers,
            needed,
            &lineage.tenures,
            &mut report,
            &mut live,
            &mut watch,
        );
        examiner.run(&plan)
    };
    for name in missing_at_end(&plan) {
        let what = "missing, though a later segment is there: nobody knows what it held";
        report.add(
            Finding::new(Severity::Damage, Kind::MissingSegment, what)
                .at(&name.path())
                .advise(SALVAGE_ADVICE),
        );
    }
    let fold = match &locked {
        None => conclude(&mut report, replays, &missing, &lineage, names),
        Some(error) => {
            conclude_locked(&mut report, error, &lineage);
            None
        }
    };
    Examined {
        report,
        fold,
        tenures: lineage.tenures,
        locked,
    }
}

/// What is left to say of a journal whose key is missing.
fn conclude_locked(report: &mut Report, error: &KeyError, lineage: &Lineage) {
    let what = format!(
        "encrypted with the key {}, which was not given: structure and checksums were checked; \
         whether the contents are as they were written, and which messages are pending, was not",
        error.wanted
    );
    report.add(
        Finding::new(Severity::Unread, Kind::Key, what)
            .at(Path::new(&error.path))
            .advise(
                "give the key with `--key-file`, or the broker's configuration with `--config`",
            ),
    );
    report.epoch = lineage.newest().map_or(0, |tenure| tenure.epoch.0);
    report.conclude();
}

/// The checkpoints that can be read, newest first: two are enough.
fn load(
    disk: &dyn Disk,
    keys: &Keyring,
    found: &Survey,
    report: &mut Report,
    locked: &mut Option<KeyError>,
) -> Vec<(CheckpointName, Box<Loaded>)> {
    let mut loaded = Vec::new();
    let unreadable = |name: &CheckpointName, reason| {
        Finding::new(Severity::Warning, Kind::Checkpoint, reason)
            .at(&name.path())
            .advise("brokers ignore it, and the active's next checkpoints replace it")
    };
    for name in &found.checkpoints {
        match read_checkpoint(disk, keys, *name) {
            CheckpointRead::NeverWritten => {}
            CheckpointRead::Unreadable { reason } => report.add(unreadable(name, reason)),
            CheckpointRead::Locked(error) => {
                match check_frames(disk, *name) {
                    Ok(()) => report.checkpoints += 1,
                    Err(reason) => report.add(unreadable(name, reason)),
                }
                locked.get_or_insert(error);
            }
            CheckpointRead::Valid(one) => {
                report.checkpoints += 1;
                if loaded.len() < 2 {
                    loaded.push((*name, one));
                }
            }
        }
    }
    loaded
}

/// The folds that are to be made: the one that counts first.
fn replays(
    lineage: &Lineage,
    loaded: Vec<(CheckpointName, Box<Loaded>)>,
    report: &mut Report,
) -> Vec<Replay> {
    let mut replays = Vec::new();
    for (name, loaded) in loaded {
        if let Some(reason) = refusal(lineage, &loaded) {
            report.add(
                Finding::new(Severity::Warning, Kind::Checkpoint, reason)
                    .at(&name.path())
                    .advise(
                        "brokers ignore it; look whether somebody copied files into the directory",
                    ),
            );
            continue;
        }
        let start = loaded.start;
        replays.push(Replay {
            start: Some(start),
            fold: Fold::new(loaded.state, start.lsn),
            is_cut_off: false,
            title: format!("`{}`", name.path().display()),
        });
    }
    let reaches_back = lineage
        .tenures
        .first()
        .is_some_and(|first| first.seal.previous_epoch == Epoch(0) && first.lsn == Lsn(1));
    if replays.is_empty() || (replays.len() == 1 && reaches_back) {
        replays.push(Replay {
            start: None,
            fold: Fold::new(State::default(), Lsn(1)),
            is_cut_off: false,
            title: "the journal's first record".to_owned(),
        });
    }
    replays
}

/// Why a checkpoint does not count.
fn refusal(lineage: &Lineage, loaded: &Loaded) -> Option<String> {
    let epoch = loaded.start.epoch;
    if !lineage.contains(epoch) {
        return Some(format!(
            "it belongs to epoch {epoch}, which is not in the chain of tenures"
        ));
    }
    let sealed = lineage.successor(epoch)?.seal.sealed_lsn;
    (sealed < loaded.end).then(|| {
        format!(
            "it ends with LSN {}, but epoch {epoch} was sealed at {sealed}",
            loaded.end
        )
    })
}

fn length_of(disk: &dyn Disk, name: SegmentName) -> u64 {
    let length = disk
        .open(&name.path(), Open::Read)
        .and_then(|file| file.length());
    length.unwrap_or(0).min(scan::SCAN_BYTES_MAX)
}

fn total_bytes(disk: &dyn Disk, plan: &[Planned], replays: &[Replay]) -> u64 {
    let from = replays
        .iter()
        .map(|replay| replay.start.map(|start| (start.epoch, start.segment)))
        .min()
        .flatten();
    let times = |planned: &Planned| {
        let place = (planned.name.epoch, planned.name.number);
        1 + u64::from(from.is_none_or(|from| place >= from))
    };
    plan.iter()
        .map(|planned| length_of(disk, planned.name) * times(planned))
        .sum()
}

/// Fills in what only the whole tells.
fn conclude(
    report: &mut Report,
    mut replays: Vec<Replay>,
    missing: &Missing,
    lineage: &Lineage,
    names: &dyn Names,
) -> Option<Fold> {
    if replays.is_empty() || report.segments == 0 && report.checkpoints == 0 {
        report.add(
            Finding::new(
                Severity::Note,
                Kind::NoJournal,
                "there is no journal in this directory",
            )
            .advise("is it the directory of `--directory`?"),
        );
        report.conclude();
        return None;
    }
    let older = (replays.len() > 1).then(|| replays.remove(1));
    let newest = replays.remove(0);
    if let Some(older) = older {
        compare(report, &newest, &older, names);
    }
    if let Some(start) = newest.start.filter(|_| newest.is_cut_off) {
        let what = "the segment from which the newest checkpoint is to be replayed is missing; \
                    no broker can start without it";
        report.add(
            Finding::new(Severity::Damage, Kind::MissingSegment, what)
                .at(&start.segment_name().path())
                .advise(SALVAGE_ADVICE),
        );
    }
    let fold = newest.fold;
    for (lsn, what) in &fold.contradictions {
        report.add(
            Finding::new(Severity::Damage, Kind::Contradiction, what.clone())
                .lsns(lsn.0, lsn.0)
                .advise(SALVAGE_ADVICE),
        );
    }
    end_of_journal(report, &fold);
    attribute(report, &fold, missing, lineage, names);
    let backlogs = fold.state.backlogs();
    report.epoch = lineage.newest().map_or(0, |tenure| tenure.epoch.0);
    report.last_lsn = fold.next.0 - 1;
    report.backlogs = backlogs.len() as u64;
    report.messages = backlogs.iter().map(|backlog| backlog.len() as u64).sum();
    report.prepared = fold.state.transactions.lock().prepared.len() as u64;
    report.conclude();
    Some(fold)
}

/// The checkpoint vouches for records that are not there any more.
fn end_of_journal(report: &mut Report, fold: &Fold) {
    let Some(lost) = fold.lost.last() else { return };
    if lost.last == fold.state.known_through
        && lost.last >= lost.first
        && lost.last.0 + 1 == fold.next.0
    {
        let what = "the newest checkpoint contains more than the journal: its end is missing";
        report.add(
            Finding::new(Severity::Damage, Kind::MissingSegment, what)
                .lsns(lost.first.0, lost.last.0)
                .advise(SALVAGE_ADVICE),
        );
    }
}

/// Says whose messages are lost, with the finding that explains it if there is one.
fn attribute(
    report: &mut Report,
    fold: &Fold,
    missing: &Missing,
    lineage: &Lineage,
    names: &dyn Names,
) {
    if missing.is_empty() {
        return;
    }
    let epoch_of = |number| {
        let after = lineage
            .tenures
            .partition_point(|tenure| tenure.segment <= number);
        let tenure = after.checked_sub(1).and_then(|at| lineage.tenures.get(at));
        tenure.map_or(Epoch(0), |tenure| tenure.epoch)
    };
    let place_of = |number, offset: u32| {
        let name = SegmentName {
            number,
            epoch: epoch_of(number),
        };
        let path = name.path().display().to_string();
        let explains = |finding: &Finding| {
            finding.path.as_deref() == Some(&path)
                && finding
                    .offset
                    .is_some_and(|start| start <= u64::from(offset))
                && finding
                    .end_offset
                    .is_some_and(|end| u64::from(offset) < end)
        };
        (report.findings.iter().position(explains), path)
    };
    // By finding, or by segment where none explains it.
    type Key = (Option<usize>, Option<String>);
    let mut by_place: BTreeMap<Key, BTreeMap<BacklogId, (String, u64)>> = BTreeMap::new();
    for backlog in fold.state.backlogs() {
        let contents = backlog.lock();
        for (_, entry) in contents.entries.iter() {
            let Location {
                segment, offset, ..
            } = entry.location;
            if missing.contains(&(segment, offset)) {
                let (finding, path) = place_of(segment, offset);
                let key = match finding {
                    Some(index) => (Some(index), None),
                    None => (None, Some(path)),
                };
                let counts = by_place.entry(key).or_default();
                let name = || names.name(backlog.id(), &contents.descriptor);
                counts.entry(backlog.id()).or_insert_with(|| (name(), 0)).1 += 1;
            }
        }
    }
    for ((index, path), counts) in by_place {
        let affected = counts.into_iter().map(|(id, (name, messages))| Affected {
            id: id.0,
            name,
            messages,
        });
        let affected: Vec<Affected> = affected.collect();
        if let Some(finding) = index.and_then(|index| report.findings.get_mut(index)) {
            finding.backlogs = affected;
            finding.severity = Severity::Damage;
            finding.advice = SALVAGE_ADVICE.to_owned();
        } else {
            let mut finding = Finding::new(
                Severity::Damage,
                Kind::LostMessages,
                "pending messages lie in it whose records are not there or do not check out",
            )
            .advise(SALVAGE_ADVICE);
            finding.path = path;
            finding.backlogs = affected;
            report.add(finding);
        }
    }
}

/// Reads up to `bytes` of a small file.
fn read_small(disk: &dyn Disk, path: &Path, bytes: usize) -> std::io::Result<Vec<u8>> {
    let file = disk.open(path, Open::Read)?;
    crate::chain::read_up_to(&*file, 0, bytes)
}
