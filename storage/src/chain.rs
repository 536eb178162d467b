//! What lies in the shared directory: names, epochs, and how one tenure follows another.
//!
//! Names only come from fresh listings: on NFS a name that was asked for before it existed stays
//! "missing" for half a minute.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::batch::{
    BATCH_HEADER_BYTES, BATCH_MAGIC, BatchView, Found, IN_FLIGHT_BYTES_MAX, find_batch,
};
use crate::disk::{Disk, DiskFile, Open};
use crate::error::{Damage, FollowError};
use crate::position::{Epoch, Lsn, SegmentNumber};
use crate::record::{Kind, Seal};
use crate::segment::{SEGMENT_HEADER_BYTES, check_header, other_version, versions};
use crate::state::Tenure;

/// Where the segments are.
pub const JOURNAL_DIRECTORY: &str = "journal";
/// Where the checkpoints are.
pub const CHECKPOINT_DIRECTORY: &str = "checkpoints";
/// Where the claims are.
pub const CLAIM_DIRECTORY: &str = "claims";

/// A segment file's name: `<number>-<epoch>.seg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The running number.
    pub number: SegmentNumber,
    /// The tenure that writes it.
    pub epoch: Epoch,
}

impl SegmentName {
    /// The file, relative to the shared directory.
    #[must_use]
    pub fn path(self) -> PathBuf {
        Path::new(JOURNAL_DIRECTORY).join(format!("{:010}-{:010}.seg", self.number.0, self.epoch.0))
    }

    fn parse(name: &str) -> Option<Self> {
        let (number, epoch) = name.strip_suffix(".seg")?.split_once('-')?;
        Some(SegmentName {
            number: SegmentNumber(parse_digits(number)?.try_into().ok()?),
            epoch: Epoch(parse_digits(epoch)?),
        })
    }
}

/// A checkpoint file's name: `<lsn>-<epoch>.ckpt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointName {
    /// The last LSN that any part of it contains.
    pub lsn: Lsn,
    /// The tenure that wrote it.
    pub epoch: Epoch,
}

impl CheckpointName {
    /// The file, relative to the shared directory.
    #[must_use]
    pub fn path(self) -> PathBuf {
        Path::new(CHECKPOINT_DIRECTORY)
            .join(format!("{:020}-{:010}.ckpt", self.lsn.0, self.epoch.0))
    }

    /// Where it is written before it is published.
    #[must_use]
    pub fn temporary_path(self) -> PathBuf {
        self.path().with_extension("tmp")
    }

    fn parse(name: &str) -> Option<Self> {
        let (lsn, epoch) = name.strip_suffix(".ckpt")?.split_once('-')?;
        Some(CheckpointName {
            lsn: Lsn(parse_digits(lsn)?),
            epoch: Epoch(parse_digits(epoch)?),
        })
    }
}

/// `str::parse` alone would accept a sign.
fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// The names in the shared directory at one moment. Files with other names are nobody's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// By number, then epoch.
    pub segments: Vec<SegmentName>,
    /// Newest first.
    pub checkpoints: Vec<CheckpointName>,
    /// Ascending.
    pub claims: Vec<Epoch>,
}

impl Survey {
    /// The highest epoch that anybody claimed or wrote in; 0 in a new directory.
    #[must_use]
    pub fn highest_epoch(&self) -> Epoch {
        let segments = self.segments.iter().map(|name| name.epoch);
        let checkpoints = self.checkpoints.iter().map(|name| name.epoch);
        segments
            .chain(checkpoints)
            .chain(self.claims.iter().copied())
            .max()
            .unwrap_or_default()
    }

    /// The segment with the highest number of the highest epoch that has segments: the newest
    /// active writes this one or the one before it (segments are prepared ahead).
    #[must_use]
    pub fn newest_segment(&self) -> Option<SegmentName> {
        self.segments
            .iter()
            .copied()
            .max_by_key(|name| (name.epoch, name.number))
    }

    /// The segments of one epoch in the order in which they are written.
    #[must_use]
    pub fn segments_of(&self, epoch: Epoch) -> Vec<SegmentName> {
        self.segments
            .iter()
            .copied()
            .filter(|name| name.epoch == epoch)
            .collect()
    }

    /// The number for the next segment that nobody can have used.
    #[must_use]
    pub fn next_number(&self) -> SegmentNumber {
        SegmentNumber(
            self.segments
                .iter()
                .map(|name| name.number.0)
                .max()
                .unwrap_or(0)
                + 1,
        )
    }
}

/// Lists the shared directory. A directory that is missing is empty.
///
/// # Errors
/// As the operating system says.
pub fn survey(disk: &dyn Disk) -> io::Result<Survey> {
    let mut segments = segments(disk)?;
    segments.sort_unstable();
    let mut checkpoints: Vec<_> = list(disk, CHECKPOINT_DIRECTORY)?
        .iter()
        .filter_map(|name| CheckpointName::parse(name))
        .collect();
    checkpoints.sort_unstable_by(|a, b| b.cmp(a));
    let mut claims: Vec<_> = list(disk, CLAIM_DIRECTORY)?
        .iter()
        .filter_map(|name| parse_digits(name).map(Epoch))
        .collect();
    claims.sort_unstable();
    Ok(Survey {
        segments,
        checkpoints,
        claims,
    })
}

fn segments(disk: &dyn Disk) -> io::Result<Vec<SegmentName>> {
    let names = list(disk, JOURNAL_DIRECTORY)?;
    Ok(names
        .iter()
        .filter_map(|name| SegmentName::parse(name))
        .collect())
}

fn list(disk: &dyn Disk, directory: &str) -> io::Result<Vec<String>> {
    match disk.list(Path::new(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// Lists the segments alone: what a standby asks for at every look.
pub(crate) fn list_segments(disk: &dyn Disk) -> Result<Vec<SegmentName>, FollowError> {
    let mut segments =
        segments(disk).map_err(|error| FollowError::io(Path::new(JOURNAL_DIRECTORY), error))?;
    segments.sort_unstable();
    Ok(segments)
}

/// How closely a reader looks at bytes that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Whatever is no valid batch is not there yet.
    Quick,
    /// A valid batch behind it proves damage.
    Thorough,
}

/// What the first place of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstBatch {
    /// No valid batch (yet).
    None,
    /// A seal: the segment begins a tenure.
    Seal { lsn: Lsn, seal: Seal },
    /// Something else.
    Other {
        first_lsn: Lsn,
        /// Everything up to here was durable when it was sent.
        durable: Lsn,
    },
}

/// Reads the first batch of a segment; None if the file is gone. What a thorough look misses is
/// above `lsn`.
pub(crate) fn first_batch(
    disk: &dyn Disk,
    name: SegmentName,
    look: Look,
    lsn: Lsn,
) -> Result<Option<FirstBatch>, FollowError> {
    let path = name.path();
    let file = match disk.open(&path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FollowError::io(&path, error)),
    };
    let read = |bytes| read_up_to(&*file, 0, bytes).map_err(|error| FollowError::io(&path, error));
    let mut bytes = read(4096)?;
    let header = check_header(bytes.get(..SEGMENT_HEADER_BYTES).unwrap_or(&[]), name);
    if let Some(version) = other_version(&bytes) {
        return Err(FollowError::Version {
            path: path.display().to_string(),
            version,
            reads: versions(),
        });
    }
    let mut found = FirstBatch::None;
    let body = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or(&[]);
    if let Found::Incomplete(needed) = find_batch(body, name, SEGMENT_HEADER_BYTES as u64) {
        bytes = read(SEGMENT_HEADER_BYTES + needed)?;
    }
    let body = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or(&[]);
    if let Found::Batch(batch) = find_batch(body, name, SEGMENT_HEADER_BYTES as u64) {
        found = describe_first(&batch, &path)?;
    }
    match (header, found) {
        (Ok(_), FirstBatch::None) if look == Look::Thorough => {
            let start = SEGMENT_HEADER_BYTES as u64;
            let is_proven = scan_for_batch(&*file, name, start, lsn)?.is_some();
            match batch_at(disk, name, start)? {
                // It was read wrong before, or written since.
                Some(_) => return first_batch(disk, name, Look::Quick, lsn),
                None if is_proven => {
                    return Err(damage(&path, start, "the segment's first batch"));
                }
                None => {}
            }
            Ok(Some(found))
        }
        (Err(malformed), FirstBatch::Seal { .. } | FirstBatch::Other { .. }) => {
            Err(damage(&path, 0, malformed.0))
        }
        _ => Ok(Some(found)),
    }
}

fn describe_first(batch: &BatchView<'_>, path: &Path) -> Result<FirstBatch, FollowError> {
    let Some((_, record)) = batch.records().next() else {
        return Ok(FirstBatch::None);
    };
    if record.kind != Kind::Seal as u8 {
        return Ok(FirstBatch::Other {
            first_lsn: batch.first_lsn,
            durable: batch.durable,
        });
    }
    let seal = record
        .seal()
        .ok_or_else(|| damage(path, SEGMENT_HEADER_BYTES as u64, "the seal"))?;
    Ok(FirstBatch::Seal {
        lsn: record.lsn,
        seal,
    })
}

pub(crate) fn damage(path: &Path, offset: u64, what: &str) -> FollowError {
    let reason = format!("{what} does not check out");
    FollowError::Damaged(Damage {
        path: path.display().to_string(),
        offset,
        reason,
    })
}

/// Reads `bytes` bytes, or fewer if the file ends.
pub(crate) fn read_up_to(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let length = file.length()?.saturating_sub(offset);
    let bytes = usize::try_from(length).map_or(bytes, |length| length.min(bytes));
    let mut buffer = vec![0; bytes];
    let read = file.read_at(&mut buffer, offset)?;
    buffer.truncate(read);
    Ok(buffer)
}

/// What is in flight is no longer than this, or a single batch: behind as many zeros there is
/// nothing that was sent together with what is missing.
const SCAN_BYTES: usize = IN_FLIGHT_BYTES_MAX;

/// Looks behind `offset` for a valid batch that was sent when everything up to `lsn` and more was
/// durable: it proves that what is missing right above `lsn` was damaged. A batch that was
/// on its way together with what is missing proves nothing.
pub(crate) fn scan_for_batch(
    file: &dyn DiskFile,
    name: SegmentName,
    offset: u64,
    lsn: Lsn,
) -> Result<Option<u64>, FollowError> {
    let read =
        |at, bytes| read_up_to(file, at, bytes).map_err(|e| FollowError::io(&name.path(), e));
    let mut at = offset;
    loop {
        let window = read(at, SCAN_BYTES)?;
        for start in magic_places(&window) {
            let place = at + start as u64;
            let mut found = find_batch(&window[start..], name, place);
            let more;
            if let Found::Incomplete(needed) = found {
                more = read(place, needed)?;
                found = find_batch(&more, name, place);
            }
            if let Found::Batch(batch) = found
                && batch.durable > lsn
            {
                return Ok(Some(place));
            }
        }
        // The windows overlap by what could hide a magic number.
        if window.len() < SCAN_BYTES || window.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        at += (window.len() - BATCH_MAGIC.len()) as u64;
    }
}

/// The first LSN of the batch at a place, through a fresh descriptor; None if there is none.
pub(crate) fn batch_at(
    disk: &dyn Disk,
    name: SegmentName,
    offset: u64,
) -> Result<Option<Lsn>, FollowError> {
    let path = name.path();
    let io = |error| FollowError::io(&path, error);
    let file = disk.open(&path, Open::Read).map_err(io)?;
    let mut wanted = BATCH_HEADER_BYTES;
    loop {
        let bytes = read_up_to(&*file, offset, wanted).map_err(io)?;
        match find_batch(&bytes, name, offset) {
            Found::Batch(batch) => return Ok(Some(batch.first_lsn)),
            Found::Incomplete(needed) if bytes.len() == wanted => wanted = needed,
            _ => return Ok(None),
        }
    }
}

fn magic_places(window: &[u8]) -> impl Iterator<Item = usize> + use<'_> {
    window
        .windows(BATCH_MAGIC.len())
        .enumerate()
        .filter_map(|(at, bytes)| {
            (bytes[0] == BATCH_MAGIC[0] && *bytes == BATCH_MAGIC).then_some(at)
        })
}

/// The tenures that follow one another up to the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Oldest first; each one's seal names the one before.
    pub(crate) tenures: Vec<Tenure>,
}

impl Chain {
    /// The tenure that sealed `epoch`.
    pub(crate) fn successor(&self, epoch: Epoch) -> Option<Tenure> {
        self.tenures
            .iter()
            .copied()
            .find(|tenure| tenure.seal.previous_epoch == epoch)
    }
}

/// Why there is no chain from a given epoch on.
#[derive(Debug)]
pub(crate) enum ChainError {
    Follow(FollowError),
    /// The newest tenure does not descend from the epoch, or segments between them are gone.
    Detached {
        newest: Epoch,
    },
}

/// Finds the tenures above `base` that descend from it, newest durable seal first and then
/// backwards. Epochs that nobody's seal names do not exist.
pub(crate) fn chain_from(
    disk: &dyn Disk,
    segments: &[SegmentName],
    base: Epoch,
    known: &mut BTreeMap<SegmentName, Tenure>,
    look: Look,
) -> Result<Chain, ChainError> {
    link(segments, base, |name| {
        sealed_tenure(disk, name, known, look)
    })
}

/// [`chain_from`], however seals are read: `sealed` answers with the tenure that begins with a
/// segment, or None where its seal is not there.
pub(crate) fn link(
    segments: &[SegmentName],
    base: Epoch,
    mut sealed: impl FnMut(SegmentName) -> Result<Option<Tenure>, ChainError>,
) -> Result<Chain, ChainError> {
    let mut firsts: BTreeMap<Epoch, SegmentName> = BTreeMap::new();
    for name in segments.iter().filter(|name| name.epoch > base) {
        firsts.entry(name.epoch).or_insert(*name);
    }
    let mut tenures = Vec::new();
    let mut wanted: Option<Epoch> = None;
    while let Some((&epoch, &name)) = firsts
        .range(..=wanted.unwrap_or(Epoch(u64::MAX)))
        .next_back()
    {
        firsts.remove(&epoch);
        if wanted.is_some_and(|wanted| wanted != epoch) {
            break;
        }
        let Some(tenure) = sealed(name)? else {
            if wanted.is_some() {
                break;
            }
            continue;
        };
        tenures.push(tenure);
        let previous = tenure.seal.previous_epoch;
        if previous == base {
            tenures.reverse();
            return Ok(Chain { tenures });
        }
        wanted = Some(previous);
    }
    match tenures.first() {
        None => Ok(Chain::default()),
        Some(newest) => Err(ChainError::Detached {
            newest: newest.epoch,
        }),
    }
}

/// The tenure that begins with the segment, if its seal is there.
fn sealed_tenure(
    disk: &dyn Disk,
    name: SegmentName,
    known: &mut BTreeMap<SegmentName, Tenure>,
    look: Look,
) -> Result<Option<Tenure>, ChainError> {
    if let Some(tenure) = known.get(&name) {
        return Ok(Some(*tenure));
    }
    match first_batch(disk, name, look, Lsn(0)).map_err(ChainError::Follow)? {
        Some(FirstBatch::Seal { lsn, seal }) => {
            let tenure = Tenure {
                epoch: name.epoch,
                segment: name.number,
                lsn,
                seal,
            };
            known.insert(name, tenure);
            Ok(Some(tenure))
        }
        Some(FirstBatch::None) => Ok(None),
        // Its first segments were removed, or are being removed.
        Some(FirstBatch::Other { .. }) | None => Err(ChainError::Detached { newest: name.epoch }),
    }
}

#[cfg(test)]
mod tests;
