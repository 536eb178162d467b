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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No newer claim.
    Newest,
    /// Somebody claimed this epoch.
    Deposed(Epoch),
    /// The claim file is gone though no newer one is there: somebody else deleted it.
    Missing,
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

    /// Whether it is the newest, by a fresh listing.
    pub(crate) fn standing(&self, disk: &dyn Disk) -> io::Result<Standing> {
        let claims = survey_claims(disk)?;
        let own = self.epoch();
        Ok(match claims.iter().max() {
            Some(newest) if *newest > own => Standing::Deposed(*newest),
            _ if claims.contains(&own) => Standing::Newest,
            _ => Standing::Missing,
        })
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
    }
}
