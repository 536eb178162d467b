//! What lies around the segments: names, `lock`, claims and the leases in them.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::report::{Finding, Kind, Report, Severity};
use super::{SALVAGE_ADVICE, read_small};
use crate::chain::{CHECKPOINT_DIRECTORY, CLAIM_DIRECTORY, JOURNAL_DIRECTORY, survey};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::position::Epoch;
use crate::spare::{SPARE_DIRECTORY, is_spare_name};
use crate::tenure::claim::claim_path;
use crate::tenure::lease::{LEASE_BLOCK_BYTES, Lease, LeaseBlock, LeasePhase};
use crate::tenure::lock::LOCK_PATH;

const POLL: Duration = Duration::from_millis(100);

/// Lists everything, and reads what is small.
pub(super) fn look(disk: &dyn Disk, report: &mut Report) {
    let known = [
        LOCK_PATH,
        JOURNAL_DIRECTORY,
        CHECKPOINT_DIRECTORY,
        CLAIM_DIRECTORY,
        SPARE_DIRECTORY,
    ];
    look_at_names(disk, ".", report, &|name| known.contains(&name));
    let endings: [(&str, &[&str]); 2] = [
        (JOURNAL_DIRECTORY, &[".seg"]),
        (CHECKPOINT_DIRECTORY, &[".ckpt", ".tmp"]),
    ];
    for (directory, endings) in endings {
        look_at_names(disk, directory, report, &|name| {
            let stem = endings.iter().find_map(|ending| name.strip_suffix(ending));
            stem.and_then(|stem| stem.split_once('-'))
                .is_some_and(|(first, epoch)| is_number(first) && is_number(epoch))
        });
    }
    look_at_names(disk, CLAIM_DIRECTORY, report, &is_number);
    look_at_names(disk, SPARE_DIRECTORY, report, &is_spare_name);
    match read_small(disk, Path::new(LOCK_PATH), 1 << 12) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => report.add(
            Finding::new(
                Severity::Note,
                Kind::Lock,
                "there is no `lock`: no broker was started on this directory, or somebody removed it",
            )
            .at(Path::new(LOCK_PATH)),
        ),
        Err(error) => unread(report, Path::new(LOCK_PATH), &error),
    }
    look_at_claims(disk, report);
}

fn is_number(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_digit())
        && name.parse::<u64>().is_ok()
}

fn unread(report: &mut Report, path: &Path, error: &io::Error) {
    report.add(
        Finding::new(Severity::Unread, Kind::Unreadable, error.to_string())
            .at(path)
            .advise("give this user the right to read it, and check again"),
    );
}

fn look_at_names(
    disk: &dyn Disk,
    directory: &str,
    report: &mut Report,
    is_known: &dyn Fn(&str) -> bool,
) {
    let mut names = match disk.list(Path::new(directory)) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return unread(report, Path::new(directory), &error),
    };
    names.sort_unstable();
    for name in names.iter().filter(|name| !is_known(name)) {
        let what = "a name that is none of the journal's; brokers leave it alone";
        let finding = Finding::new(Severity::Note, Kind::ForeignName, what);
        let path = Path::new(directory).join(name);
        report.add(finding.at(path.strip_prefix(".").unwrap_or(&path)));
    }
}

fn look_at_claims(disk: &dyn Disk, report: &mut Report) {
    let Ok(found) = survey(disk) else { return };
    let newest = found.claims.last().copied();
    for epoch in found.claims {
        let path = claim_path(epoch);
        let bytes = match read_small(disk, &path, LEASE_BLOCK_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                unread(report, &path, &error);
                continue;
            }
        };
        let what = match LeaseBlock::decode(&bytes) {
            LeaseBlock::Valid(lease) if lease.epoch == epoch => continue,
            LeaseBlock::Valid(lease) => {
                format!(
                    "its lease is the one of epoch {}: was it copied?",
                    lease.epoch
                )
            }
            _ if Some(epoch) != newest => continue,
            LeaseBlock::NeverWritten => {
                "claimed, and its broker never wrote the lease: it ended in between".to_owned()
            }
            LeaseBlock::Unreadable { .. } => {
                "its lease does not check out; brokers that start wait the longest time for it"
                    .to_owned()
            }
        };
        let finding = Finding::new(Severity::Warning, Kind::Lease, what).at(&path);
        report.add(finding.advise("the next takeover writes another one"));
    }
    if found.segments.is_empty() && !found.checkpoints.is_empty() {
        report.add(
            Finding::new(
                Severity::Damage,
                Kind::MissingSegment,
                "there are checkpoints and not a single segment",
            )
            .at(Path::new(JOURNAL_DIRECTORY))
            .advise(SALVAGE_ADVICE),
        );
    }
}

/// The newest lease, if its holder says that it serves.
pub(super) fn lease_sign(disk: &dyn Disk) -> Option<Lease> {
    let epoch: Epoch = *survey(disk).ok()?.claims.last()?;
    let bytes = read_small(disk, &claim_path(epoch), LEASE_BLOCK_BYTES).ok()?;
    let lease = LeaseBlock::decode(&bytes).valid()?.clone();
    (lease.phase != LeasePhase::Released).then_some(lease)
}

/// Who renewed the lease since `before` was read; waits a moment for a renewal.
pub(super) fn is_alive(
    disk: &dyn Disk,
    clock: &dyn Clock,
    before: Option<&Lease>,
    patience: Duration,
) -> Option<String> {
    let before = before?;
    let patience = patience.min(before.duration());
    let until = clock.now() + patience;
    loop {
        if let Some(now) = lease_sign(disk)
            && (now.epoch, now.counter) != (before.epoch, before.counter)
        {
            let holder = &now.holder;
            return Some(format!(
                "`{}` (host {}, process {})",
                holder.name, holder.host, holder.pid
            ));
        }
        if clock.now() >= until {
            return None;
        }
        clock.sleep(POLL);
    }
}
