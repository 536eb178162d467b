//! Whether a mount lets locks protect what is written under it.
//!
//! On NFS the exclusion of the old active's late writes rests on locks that the server knows of
//! and on the client refusing writes once it lost one. Some mount options and one module parameter
//! take that away silently, so they are looked up before anything is written.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where the kernel shows whether its NFS client locks again on its own after it lost a lock.
pub const RECOVER_LOST_LOCKS: &str = "/sys/module/nfs/parameters/recover_lost_locks";

/// A line of `/proc/self/mountinfo`, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// `ext4`, `nfs4`, ...
    pub kind: String,
    /// What is mounted: a device, `server:/export`, ...
    pub source: String,
    /// The options of the mount and of its file system together.
    pub options: Vec<String>,
}

/// Why a mount cannot protect a journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Locks stay on this host.
    #[error(
        "`{point}` is mounted with `{option}`, so that its locks exclude nobody on other hosts: mount it without that option"
    )]
    LocalLocks {
        /// The mount point.
        point: String,
        /// The option.
        option: String,
    },
    /// NFS before version 4 keeps locks beside the protocol and does not refuse late writes.
    #[error(
        "`{point}` is mounted with `{option}`: writes after a lost lock are refused from NFS version 4 on; mount it with `nfsvers=4.1`"
    )]
    OldNfs {
        /// The mount point.
        point: String,
        /// The option.
        option: String,
    },
    /// The client would hide that it lost a lock.
    #[error(
        "`{RECOVER_LOST_LOCKS}` is `{value}`, so that a broker would not notice a lost lock on `{point}`: set the module parameter to 0 (`nfs.recover_lost_locks=0`)"
    )]
    RecoversLostLocks {
        /// The mount point.
        point: String,
        /// What the parameter is.
        value: String,
    },
}

impl Mount {
    /// True for NFS of any version.
    #[must_use]
    pub fn is_nfs(&self) -> bool {
        self.kind == "nfs" || self.kind == "nfs4"
    }

    /// The value of an option, empty for one without a value; None where it is not set. The first one
    /// counts: the kernel shows each once.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            (key == name).then_some(value)
        })
    }

    /// True for an option that is set, with or without a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.option(name).is_some()
    }

    /// An option as it was written, `name=value`.
    pub(crate) fn written(&self, name: &str) -> String {
        match self.option(name) {
            None | Some("") => name.to_owned(),
            Some(value) => format!("{name}={value}"),
        }
    }

    /// Whether its locks protect. `recover_lost_locks` is the content of [`RECOVER_LOST_LOCKS`].
    ///
    /// # Errors
    /// [`MountError`] with what to change.
    pub fn check(&self, recover_lost_locks: Option<&str>) -> Result<(), MountError> {
        if !self.is_nfs() {
            return Ok(());
        }
        let point = self.point.display().to_string();
        for option in &self.options {
            let option = option.clone();
            match option.split_once('=').unwrap_or((&option, "")) {
                ("nolock", _) | ("local_lock", "all" | "flock" | "posix") => {
                    return Err(MountError::LocalLocks { point, option });
                }
                ("vers" | "nfsvers", version) if !version.starts_with('4') => {
                    return Err(MountError::OldNfs { point, option });
                }
                _ => {}
            }
        }
        match recover_lost_locks.map(str::trim) {
            Some(value) if value == "1" || value.eq_ignore_ascii_case("y") => {
                Err(MountError::RecoversLostLocks {
                    point,
                    value: value.to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// The mount that holds `directory` (absolute, without symbolic links), by the text of
/// `/proc/self/mountinfo`.
#[must_use]
pub fn mount_of(mountinfo: &str, directory: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(parse_line)
        .filter(|mount| directory.starts_with(&mount.point))
        // Of two mounts on one point the later one hides the earlier one, and max_by_key returns
        // the last of several greatest ones.
        .max_by_key(|mount| mount.point.components().count())
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - nfs4 server:/x rw,vers=4.1`
fn parse_line(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let point = PathBuf::from(unescape(mount.next()?));
    let mount_options = mount.next()?;
    let mut file_system = file_system.split(' ');
    let kind = file_system.next()?.to_owned();
    let source = unescape(file_system.next().unwrap_or(""));
    let super_options = file_system.next().unwrap_or("");
    let options = mount_options
        .split(',')
        .chain(super_options.split(','))
        .map(str::to_owned)
        .collect();
    Some(Mount {
        point,
        kind,
        source,
        options,
    })
}

/// Spaces, tabs, newlines and backslashes stand as three octal digits.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            _ => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict
40 27 0:33 / /mnt/journal rw,relatime shared:20 - nfs4 10.0.0.5:/export rw,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,noresvport,proto=tcp,timeo=600,retrans=2,sec=sys,clientaddr=10.0.0.7,local_lock=none,addr=10.0.0.5
41 27 0:34 / /mnt/old\\040share rw,relatime - nfs 10.0.0.5:/export rw,vers=3,hard,nolock,proto=tcp,local_lock=all,addr=10.0.0.5
42 27 0:35 / /mnt/flocks rw - nfs4 h:/e rw,vers=4.2,local_lock=flock,addr=10.0.0.5
43 27 0:36 / /mnt/three rw - nfs h:/e rw,vers=3,local_lock=none,addr=10.0.0.5
44 27 0:37 / /mnt/hidden rw - ext4 /dev/vdb rw
45 27 0:38 / /mnt/hidden rw - nfs4 h:/e rw,vers=4.1,local_lock=none
";

    fn at(directory: &str) -> Mount {
        mount_of(MOUNTINFO, Path::new(directory)).expect("/ holds everything")
    }

    #[test]
    fn the_innermost_and_latest_mount_holds_a_directory() {
        assert_eq!(at("/mnt/journal/pair").kind, "nfs4");
        assert_eq!(at("/mnt/journalled").kind, "ext4");
        assert_eq!(at("/mnt/hidden").kind, "nfs4");
        assert_eq!(at("/mnt/old share/x").kind, "nfs");
    }

    #[test]
    fn a_local_file_system_and_a_plain_nfs4_mount_are_fine() {
        assert_eq!(at("/var/lib").check(Some("1\n")), Ok(()));
        assert_eq!(at("/mnt/journal").check(Some("N\n")), Ok(()));
        assert_eq!(at("/mnt/journal").check(Some("0\n")), Ok(()));
        assert_eq!(at("/mnt/journal").check(None), Ok(()));
    }

    #[test]
    fn mounts_whose_locks_stay_local_are_refused() {
        for directory in ["/mnt/old share", "/mnt/flocks"] {
            let error = at(directory).check(None).expect_err("refused");
            assert!(
                matches!(
                    error,
                    MountError::LocalLocks { .. } | MountError::OldNfs { .. }
                ),
                "{error}"
            );
        }
        let error = at("/mnt/flocks").check(None).expect_err("refused");
        assert!(error.to_string().contains("`local_lock=flock`"), "{error}");
    }

    #[test]
    fn nfs_before_version_4_is_refused() {
        let error = at("/mnt/three").check(None).expect_err("refused");
        assert!(error.to_string().contains("nfsvers=4.1"), "{error}");
    }

    #[test]
    fn recovering_lost_locks_is_refused() {
        for value in ["Y\n", "1", "y"] {
            let error = at("/mnt/journal").check(Some(value)).expect_err("refused");
            assert!(matches!(error, MountError::RecoversLostLocks { .. }));
        }
    }

    #[test]
    fn odd_lines_are_skipped() {
        assert_eq!(mount_of("garbage\n\n1 2 3 - \n", Path::new("/")), None);
        assert_eq!(unescape("a\\"), "a\\");
        assert_eq!(unescape("a\\0é"), "a\\0é");
        assert_eq!(unescape("a\\134b"), "a\\b");
    }
}
