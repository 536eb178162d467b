//! Claims: one file for each epoch that anybody wanted, and the lease block in it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::chain::{CLAIM_DIRECTORY, survey};
use crate::disk::{Disk, DiskFile, Open};
use crate::position::Epoch;
use crate::tenure::lease::{Holder, LEASE_BLOCK_BYTES, Lease, LeaseBlock, LeasePhase};

/// The claim file of an epoch, relative to the shared directory.
pub(crate) fn claim_path(epoch: Epoch) -> PathBuf {
    Path::new(CLAIM_DIRECTORY).join(format!("{:010}", epoch.0))
}

/// A claim of this process: the only writer of its file.
pub(crate) struct Claim {
    file: Box<dyn DiskFile>,
    lease: Lease,
}

/// What became of an attempt to claim.
pub(crate) enum Claiming {
    /// The epoch is ours, durably.
    Claimed(Claim),
    /// Somebody has this epoch or a higher one.
    Taken,
}

/// What a renewal found after it had written the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// No newer claim.
    Newest,
    /// Somebody claimed this epoch.
    Deposed(Epoch),
    /// The claim file is gone though no newer one is there: somebody else deleted it.
    Missing,
    /// The file under the claim's name is not the one that this broker writes: somebody deleted that,
    /// perhaps with its directory, and another broker claimed the same number anew.
    Replaced,
}

/// What the name of one's own claim leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OwnName {
    Missing,
    /// The file that this broker writes.
    Own,
    /// Another one.
    Foreign,
}

/// What a look at the claims means for the holder of `own`.
pub(crate) fn verdict(
    own: Epoch,
    claims: impl IntoIterator<Item = Epoch>,
    own_name: OwnName,
) -> Standing {
    match (claims.into_iter().max(), own_name) {
        (Some(newest), _) if newest > own => Standing::Deposed(newest),
        (_, OwnName::Own) => Standing::Newest,
        (_, OwnName::Missing) => Standing::Missing,
        (_, OwnName::Foreign) => Standing::Replaced,
    }
}

/// Whether `own` is the newest claim, by a fresh listing alone: for questions between renewals,
/// which see to it that the name leads to the right file.
pub(crate) fn listed_standing(disk: &dyn Disk, own: Epoch) -> io::Result<Standing> {
    let claims = survey_claims(disk)?;
    let own_name = match claims.contains(&own) {
        true => OwnName::Own,
        false => OwnName::Missing,
    };
    Ok(verdict(own, claims, own_name))
}

impl Claim {
    /// Creates, locks and fills the claim file of `epoch` if nothing in the directory has that epoch
    /// or a higher one. Everybody sees it when this returns; durable is something else.
    pub(crate) fn create(
        disk: &dyn Disk,
        epoch: Epoch,
        holder: &Holder,
        lease_duration: Duration,
    ) -> io::Result<Claiming> {
        if is_missing(disk)? {
            disk.create_directory(Path::new(CLAIM_DIRECTORY))?;
            disk.sync_directory(Path::new("."))?;
        }
        if survey(disk)?.highest_epoch() >= epoch {
            return Ok(Claiming::Taken);
        }
        let path = claim_path(epoch);
        let file = match disk.open(&path, Open::CreateNew) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Ok(Claiming::Taken);
            }
            Err(error) => return Err(error),
        };
        // Somebody on the fast path may have locked it first: then the epoch is lost to it.
        if !file.try_lock()? {
            return Ok(Claiming::Taken);
        }
        let duration_ms = lease_duration.as_nanos().div_ceil(1_000_000);
        let lease = Lease {
            epoch,
            counter: 0,
            identity: draw_identity()?,
            duration_ms: u32::try_from(duration_ms).unwrap_or(u32::MAX),
            phase: LeasePhase::Claimed,
            holder: holder.clone(),
        };
        let claim = Claim { file, lease };
        if let Err(error) = claim.write() {
            // Nobody acted on it. A full disk must not fill up with empty claims.
            let _ = disk.remove(&path);
            return Err(error);
        }
        Ok(Claiming::Claimed(claim))
    }

    /// Makes the claim survive a power failure.
    pub(crate) fn make_durable(&self, disk: &dyn Disk) -> io::Result<()> {
        self.file.sync()?;
        disk.sync_directory(Path::new(CLAIM_DIRECTORY))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lease.epoch
    }

    /// Overwrites the lease block durably through the locked descriptor.
    pub(crate) fn write_lease(&mut self, phase: LeasePhase) -> io::Result<()> {
        self.lease.counter += 1;
        self.lease.phase = phase;
        self.write()?;
        self.file.sync()
    }

    fn write(&self) -> io::Result<()> {
        self.file.write_all_at(&self.lease.encode(), 0)
    }

    /// Whether it is the newest, by a fresh listing, and still the file under its name.
    ///
    /// The latter is told by content: what a fresh open of the name reads must be the very block that
    /// was written last. File numbers are used again, and `stat` may answer from a cache (F8); a copy
    /// of the directory that somebody put in its place has an older counter. The listing comes
    /// first: on NFS it is what makes the open look the name up anew.
    pub(crate) fn standing(&self, disk: &dyn Disk) -> io::Result<Standing> {
        let claims = survey_claims(disk)?;
        let own_name = match read_block(disk, self.epoch())? {
            None => OwnName::Missing,
            Some(LeaseBlock::Valid(lease)) if lease == self.lease => OwnName::Own,
            Some(_) => OwnName::Foreign,
        };
        Ok(verdict(self.epoch(), claims, own_name))
    }

    /// Removes the claims that this one made obsolete.
    pub(crate) fn remove_older(&self, disk: &dyn Disk) -> io::Result<()> {
        for epoch in survey_claims(disk)? {
            if epoch < self.epoch() {
                match disk.remove(&claim_path(epoch)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// A number that no other claim has.
fn draw_identity() -> io::Result<u128> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(u128::from_le_bytes(bytes))
}

fn is_missing(disk: &dyn Disk) -> io::Result<bool> {
    match disk.list(Path::new(CLAIM_DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        other => other.map(|_| false),
    }
}

/// The claimed epochs by a fresh listing of nothing but the claims, ascending.
fn survey_claims(disk: &dyn Disk) -> io::Result<Vec<Epoch>> {
    let names = match disk.list(Path::new(CLAIM_DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    let is_claim = |name: &&String| name.bytes().all(|byte| byte.is_ascii_digit());
    let epochs = names.iter().filter(is_claim);
    let mut epochs: Vec<_> = epochs
        .filter_map(|name| name.parse().ok().map(Epoch))
        .collect();
    epochs.sort_unstable();
    Ok(epochs)
}

/// What an onlooker sees of the claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimsView {
    /// The newest one and its block.
    pub(crate) newest: Option<(Epoch, LeaseBlock)>,
    /// The longest lease in any readable block.
    pub(crate) longest_lease: Duration,
}

/// Reads all lease blocks freshly. None if one of them went away meanwhile: look again.
pub(crate) fn look(disk: &dyn Disk) -> io::Result<Option<ClaimsView>> {
    let mut view = ClaimsView::default();
    for epoch in survey_claims(disk)? {
        let Some(block) = read_block(disk, epoch)? else {
            return Ok(None);
        };
        if let Some(lease) = block.valid() {
            view.longest_lease = view.longest_lease.max(lease.duration());
        }
        view.newest = Some((epoch, block));
    }
    Ok(Some(view))
}

fn read_block(disk: &dyn Disk, epoch: Epoch) -> io::Result<Option<LeaseBlock>> {
    let file = match disk.open(&claim_path(epoch), Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; LEASE_BLOCK_BYTES];
    let length = file.read_at(&mut bytes, 0)?;
    Ok(Some(LeaseBlock::decode(&bytes[..length])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    const LEASE: Duration = Duration::from_millis(1500);

    fn holder(name: &str) -> Holder {
        Holder::this(name)
    }

    fn claimed(disk: &RealDisk, epoch: u64) -> Claim {
        match Claim::create(disk, Epoch(epoch), &holder("a"), LEASE).expect("no error") {
            Claiming::Claimed(claim) => claim,
            Claiming::Taken => panic!("epoch {epoch} is taken"),
        }
    }

    #[test]
    fn an_epoch_is_claimed_once_and_never_below_another() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        let mut claim = claimed(&disk, 4);
        for epoch in [3, 4] {
            let again = Claim::create(&disk, Epoch(epoch), &holder("b"), LEASE);
            assert!(matches!(again.expect("no error"), Claiming::Taken));
        }
        assert_eq!(claim.standing(&disk).expect("lists"), Standing::Newest);
        claim.write_lease(LeasePhase::Serving).expect("writes");
        let view = look(&disk).expect("looks").expect("steady");
        let (epoch, block) = view.newest.expect("there is one");
        assert_eq!(epoch, Epoch(4));
        assert_eq!(view.longest_lease, LEASE);
        let lease = block.valid().expect("valid");
        assert_eq!((lease.counter, lease.phase), (1, LeasePhase::Serving));
        assert_eq!(lease.holder, holder("a"));
    }

    #[test]
    fn a_newer_claim_deposes_and_removes_the_older() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        let old = claimed(&disk, 1);
        let new = claimed(&disk, 2);
        let standing = old.standing(&disk).expect("lists");
        assert_eq!(standing, Standing::Deposed(Epoch(2)));
        new.remove_older(&disk).expect("removes");
        assert_eq!(disk.list(Path::new("claims")).expect("lists").len(), 1);
        assert_eq!(new.standing(&disk).expect("lists"), Standing::Newest);
    }

    #[test]
    fn a_claim_that_somebody_deleted_is_missed() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        let claim = claimed(&disk, 1);
        disk.remove(&claim_path(Epoch(1))).expect("removes");
        assert_eq!(claim.standing(&disk).expect("lists"), Standing::Missing);
        let standing = listed_standing(&disk, Epoch(1)).expect("lists");
        assert_eq!(standing, Standing::Missing);
    }

    #[test]
    fn a_claim_of_the_same_number_in_a_directory_made_anew_is_another_one() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        let mut old = claimed(&disk, 1);
        std::fs::remove_dir_all(directory.path().join("claims")).expect("removes");
        let mut new = claimed(&disk, 1);
        for phase in [LeasePhase::Claimed, LeasePhase::Serving] {
            old.write_lease(phase)
                .expect("writes into the deleted file");
            new.write_lease(phase).expect("writes");
            assert_eq!(old.standing(&disk).expect("looks"), Standing::Replaced);
            assert_eq!(new.standing(&disk).expect("looks"), Standing::Newest);
        }
    }

    #[test]
    fn a_copy_of_the_directory_in_its_place_is_noticed_at_the_next_renewal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(directory.path()).expect("usable");
        let mut claim = claimed(&disk, 1);
        claim.write_lease(LeasePhase::Serving).expect("writes");
        let path = directory.path().join(claim_path(Epoch(1)));
        let copy = std::fs::read(&path).expect("reads");
        std::fs::remove_file(&path).expect("removes");
        std::fs::write(&path, copy).expect("writes");
        claim.write_lease(LeasePhase::Serving).expect("writes");
        assert_eq!(claim.standing(&disk).expect("looks"), Standing::Replaced);
    }
}
