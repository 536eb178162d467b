//! What file systems and mount options mean for a pair. Pure: text in, findings out.

use super::{Finding, Severity};
use crate::disk::mount::Mount;

const TOPIC: &str = "mount";

/// What `mount` is good for. `recover_lost_locks` is the content of the NFS client's parameter.
#[must_use]
pub fn judge_mount(mount: &Mount, recover_lost_locks: Option<&str>) -> Vec<Finding> {
    let mut findings = vec![judge_kind(mount)];
    if mount.has("ro") {
        findings.push(
            bad(format!("`{}` is mounted read-only", mount.point.display()))
                .remedy("mount it with `rw`"),
        );
    }
    if mount.is_nfs() {
        findings.extend(judge_nfs(mount));
        findings.extend(judge_recovery(recover_lost_locks));
    } else {
        findings.extend(judge_local_options(mount));
    }
    findings
}

fn judge_kind(mount: &Mount) -> Finding {
    let (kind, point) = (mount.kind.as_str(), mount.point.display());
    let what = format!("`{point}` is {kind} ({})", mount.source);
    match kind {
        "nfs" | "nfs4" => good(what),
        "ext2" | "ext3" | "ext4" | "xfs" | "btrfs" | "zfs" | "f2fs" | "jfs" | "bcachefs" => {
            note(format!(
                "{what}: a file system of one host. Both brokers must run here, or the disk must move to the other host with the role"
            ))
        }
        "tmpfs" | "ramfs" | "rootfs" => bad(format!(
            "{what}: its content is in memory. Acknowledged messages are gone when this host restarts"
        ))
        .remedy("use a disk or a shared file system"),
        "overlay" | "overlayfs" | "aufs" => warning(format!(
            "{what}: the writable layer of a container. It goes with the container, and another container has another one"
        ))
        .remedy("mount a volume for the journal into both containers"),
        "cifs" | "smb3" | "smbfs" => warning(format!(
            "{what}: whether late writes of a host that lost its locks are refused was never measured on SMB"
        ))
        .remedy("use NFS 4.1, or try it with `baton drill` and faults of your own"),
        "9p" | "virtiofs" | "vboxsf" | "hgfs" | "prl_fs" | "hostfs" => warning(format!(
            "{what}: a share between a virtual machine and its host. Locks often stay inside the machine"
        ))
        .remedy("run both brokers in this machine, or use NFS 4.1"),
        "ceph" | "lustre" | "gfs2" | "ocfs2" | "gpfs" | "beegfs" | "afs" | "orangefs" => {
            warning(format!(
                "{what}: a file system of several hosts that was never measured with a pair. Its locks are tried here within this host only"
            ))
            .remedy("try it with `baton drill` and faults of your own, from two hosts")
        }
        _ if kind.starts_with("fuse") => judge_fuse(kind, &what),
        _ => warning(format!("{what}: an unknown file system"))
            .remedy("see whether its locks exclude other hosts, and whether synced bytes survive a power loss"),
    }
}

fn judge_fuse(kind: &str, what: &str) -> Finding {
    const NO_LOCKS: [&str; 9] = [
        "sshfs",
        "s3fs",
        "gcsfuse",
        "rclone",
        "goofys",
        "mountpoint-s3",
        "blobfuse",
        "curlftpfs",
        "encfs",
    ];
    let name = kind.strip_prefix("fuse.").unwrap_or(kind);
    if NO_LOCKS.iter().any(|one| name.contains(one)) {
        bad(format!(
            "{what}: it has no locks between hosts, and objects instead of files that can be overwritten in place"
        ))
        .remedy("use NFS 4.1 or a block device")
    } else {
        warning(format!(
            "{what}: a file system in a program of its own (FUSE). Locks and syncs are what that program makes of them"
        ))
        .remedy("see in its manual whether locks reach other hosts and fsync reaches a disk; try it with `baton drill`")
    }
}

fn judge_nfs(mount: &Mount) -> Vec<Finding> {
    let mut findings = vec![judge_version(mount)];
    // FACTS: with `nolock` and `local_lock` locks do not leave this host.
    for option in ["nolock", "local_lock"] {
        match (option, mount.option(option)) {
            ("nolock", Some(_)) | ("local_lock", Some("all" | "flock" | "posix")) => findings.push(
                bad(format!(
                    "mounted with `{}`: its locks exclude nobody on other hosts, so that two brokers would both become active",
                    mount.written(option)
                ))
                .remedy("mount it without that option"),
            ),
            _ => {}
        }
    }
    findings.push(judge_hardness(mount));
    let no_cache = mount.has("noac")
        || mount.option("actimeo") == Some("0")
        || mount.option("acregmax") == Some("0");
    if no_cache {
        findings.push(
            note("attributes are not cached (`noac` or `actimeo=0`): right, and needless; each look of a standby costs an operation either way")
                .remedy("leave the option away: the brokers open files anew before they read"),
        );
    }
    if mount.has("noac") || mount.has("sync") {
        findings.push(
            warning("every write goes to the server at once (`noac` or `sync`), even those that nobody waits for, like checkpoints")
                .remedy("leave the option away: the brokers sync what they acknowledge"),
        );
    }
    if let Some(cache @ ("none" | "pos" | "positive")) = mount.option("lookupcache") {
        findings.push(note(format!(
            "`lookupcache={cache}`: right, and needless; the brokers list directories before they open new names"
        )));
    }
    for option in ["rsize", "wsize"] {
        let bytes: Option<u64> = mount.option(option).and_then(|bytes| bytes.parse().ok());
        if let Some(bytes) = bytes.filter(|bytes| *bytes < 256 << 10) {
            findings.push(
                warning(format!(
                    "`{option}={bytes}`: large batches take many operations"
                ))
                .remedy(format!(
                    "mount it with `{option}=1048576` if the server allows it"
                )),
            );
        }
    }
    findings
}

fn judge_version(mount: &Mount) -> Finding {
    let version = mount.option("vers").or_else(|| mount.option("nfsvers"));
    match version {
        Some("4.1" | "4.2") => good(format!(
            "NFS {}: late writes of a host that lost its locks are refused",
            version.unwrap_or_default()
        )),
        Some(version @ ("4" | "4.0")) => warning(format!(
            "NFS {version}: fencing was measured with 4.1 and 4.2; 4.0 has no sessions, and a repeated request can be done twice"
        ))
        .remedy("mount it with `nfsvers=4.1`"),
        Some(version) => bad(format!(
            "NFS {version}: its locks live beside the protocol; late writes of a host that lost them are done, not refused"
        ))
        .remedy("mount it with `nfsvers=4.1`"),
        None => warning("the NFS version is not shown").remedy("mount it with `nfsvers=4.1`"),
    }
}

fn judge_hardness(mount: &Mount) -> Finding {
    let tenths = |name| mount.option(name).and_then(|text| text.parse::<u32>().ok());
    let timeo = tenths("timeo").map_or_else(String::new, |tenths| {
        format!(", each try {} s (`timeo`)", f64::from(tenths) / 10.0)
    });
    let tries = tenths("retrans").map_or_else(String::new, |tries| {
        format!(", {tries} more tries (`retrans`)")
    });
    if mount.has("soft") || mount.has("softerr") {
        // FACTS: `soft,timeo=50,retrans=1`: EIO after 20 s; the descriptor works again after the heal.
        warning(format!(
            "mounted `soft`{timeo}{tries}: while the server is away calls fail with an error, and a write that failed may still be done later. The broker gives its role up at the first error, also where a wait would have done"
        ))
        .remedy("mount it with `hard`: the broker watches the clock itself and never waits for storage to notice a loss")
    } else {
        good(format!(
            "mounted `hard`{timeo}: calls wait for a server that is away, and no write is lost on the way"
        ))
    }
}

fn judge_recovery(value: Option<&str>) -> Option<Finding> {
    match value.map(str::trim) {
        Some(value) if value == "1" || value.eq_ignore_ascii_case("y") => Some(
            Finding::new(
                TOPIC,
                Severity::Bad,
                "`nfs.recover_lost_locks` is on: after a loss this client would lock again silently, and the broker would not learn that another one was active meanwhile",
            )
            .remedy("echo N > /sys/module/nfs/parameters/recover_lost_locks, and take `nfs.recover_lost_locks=1` out of the module's or the kernel's options"),
        ),
        Some(_) => Some(good("lost locks are not taken again silently (`nfs.recover_lost_locks` is off)")),
        None => Some(note("`nfs.recover_lost_locks` cannot be read here; its default is off")),
    }
}

fn judge_local_options(mount: &Mount) -> Vec<Finding> {
    let mut findings = Vec::new();
    if mount.has("nobarrier") || mount.option("barrier") == Some("0") {
        findings.push(
            bad("mounted without write barriers: a sync does not reach the disk, and acknowledged messages are lost in a power failure")
                .remedy("mount it with barriers, unless the disk's cache has a battery"),
        );
    }
    if mount.has("nobrl") || mount.has("localflock") {
        findings.push(
            bad(format!(
                "mounted with `{}`: its locks exclude nobody on other hosts",
                if mount.has("nobrl") {
                    "nobrl"
                } else {
                    "localflock"
                }
            ))
            .remedy("mount it without that option"),
        );
    }
    if mount.kind == "lustre" && mount.has("noflock") {
        findings.push(
            bad("mounted with `noflock`: there are no locks").remedy("mount it with `flock`"),
        );
    }
    findings
}

fn good(text: impl Into<String>) -> Finding {
    Finding::new(TOPIC, Severity::Good, text)
}

fn note(text: impl Into<String>) -> Finding {
    Finding::new(TOPIC, Severity::Note, text)
}

fn warning(text: impl Into<String>) -> Finding {
    Finding::new(TOPIC, Severity::Warning, text)
}

fn bad(text: impl Into<String>) -> Finding {
    Finding::new(TOPIC, Severity::Bad, text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::mount::mount_of;

    /// Lines of real hosts.
    const MOUNTINFO: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:30 / /efs rw,relatime shared:1 - nfs4 10.77.1.1:/ rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.77.1.11,local_lock=none,addr=10.77.1.1
31 27 0:31 / /soft rw,relatime - nfs4 10.77.1.1:/ rw,vers=4.2,rsize=4096,wsize=4096,namlen=255,soft,proto=tcp,timeo=50,retrans=1,sec=sys,local_lock=none,addr=10.77.1.1
32 27 0:32 / /noac rw,relatime,sync - nfs4 10.77.1.1:/ rw,vers=4.1,rsize=1048576,wsize=1048576,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0,hard,noac,proto=tcp,timeo=600,retrans=2,lookupcache=none,local_lock=none
33 27 0:33 / /three rw,relatime - nfs 10.77.1.1:/ rw,vers=3,rsize=1048576,wsize=1048576,hard,nolock,proto=tcp,timeo=600,retrans=2,mountproto=tcp,local_lock=all,addr=10.77.1.1
34 27 0:34 / /zero rw - nfs4 h:/ rw,vers=4.0,hard,local_lock=flock
35 27 0:35 / /memory rw,nosuid,nodev - tmpfs tmpfs rw,size=1024k
36 27 0:36 / /layer rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
37 27 0:37 / /share rw,relatime - cifs //server/share rw,vers=3.1.1,cache=strict,username=u,nobrl
38 27 0:38 / /s3 rw,nosuid,nodev - fuse.s3fs s3fs rw,user_id=0,group_id=0
39 27 0:39 / /gluster rw - fuse.glusterfs h:/vol rw,user_id=0
40 27 254:1 / /xfs ro,relatime - xfs /dev/vdb rw,attr2,nobarrier
";

    fn judged(directory: &str, recover: Option<&str>) -> Vec<Finding> {
        let mount = mount_of(MOUNTINFO, Path::new(directory)).expect("/ holds everything");
        assert_eq!(mount.point, Path::new(directory));
        judge_mount(&mount, recover)
    }

    fn worst(findings: &[Finding]) -> Severity {
        findings.iter().map(|one| one.severity).max().expect("some")
    }

    fn has(findings: &[Finding], severity: Severity, words: &str) -> bool {
        let fits = |one: &&Finding| one.severity == severity && one.text.contains(words);
        findings.iter().any(|one| fits(&one))
    }

    #[test]
    fn a_recommended_nfs_mount_is_fine() {
        assert_eq!(worst(&judged("/efs", Some("N\n"))), Severity::Good);
    }

    #[test]
    fn a_client_that_hides_lost_locks_is_bad() {
        let findings = judged("/efs", Some("Y\n"));
        assert!(has(&findings, Severity::Bad, "recover_lost_locks"));
    }

    #[test]
    fn a_soft_mount_is_a_warning_with_its_times() {
        let findings = judged("/soft", None);
        assert_eq!(worst(&findings), Severity::Warning);
        assert!(
            has(&findings, Severity::Warning, "each try 5 s"),
            "{findings:?}"
        );
        assert!(has(&findings, Severity::Warning, "wsize=4096"));
    }

    #[test]
    fn caches_that_are_off_are_told_and_do_no_harm() {
        let findings = judged("/noac", None);
        assert!(has(&findings, Severity::Note, "attributes are not cached"));
        assert!(has(&findings, Severity::Note, "lookupcache=none"));
        assert_eq!(worst(&findings), Severity::Warning);
    }

    #[test]
    fn locks_that_stay_here_and_old_versions_are_bad() {
        let findings = judged("/three", None);
        assert!(has(&findings, Severity::Bad, "NFS 3"));
        assert!(has(&findings, Severity::Bad, "`nolock`"));
        assert!(has(&findings, Severity::Bad, "`local_lock=all`"));
        let findings = judged("/zero", None);
        assert!(has(&findings, Severity::Warning, "NFS 4.0"));
        assert!(has(&findings, Severity::Bad, "`local_lock=flock`"));
    }

    #[test]
    fn every_kind_of_file_system_has_its_verdict() {
        for (directory, expected) in [
            ("/memory", Severity::Bad),
            ("/layer", Severity::Warning),
            ("/share", Severity::Bad),
            ("/s3", Severity::Bad),
            ("/gluster", Severity::Warning),
            ("/xfs", Severity::Bad),
            ("/", Severity::Note),
        ] {
            let findings = judged(directory, None);
            assert_eq!(worst(&findings), expected, "{directory}: {findings:?}");
        }
    }

    #[test]
    fn whatever_is_no_good_comes_with_a_remedy() {
        for mount in [
            "/soft", "/three", "/zero", "/memory", "/layer", "/share", "/s3", "/xfs",
        ] {
            for finding in judged(mount, Some("1")) {
                let needs = finding.severity >= Severity::Warning;
                assert!(!needs || finding.remedy.is_some(), "{finding:?}");
            }
        }
    }
}
