//! What operators allow the broker to use, and what a percentage of something is in bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the broker may use. The names in ActiveMQ's `systemUsage` are given with each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of messages that are in memory and nowhere else: non-persistent ones, and what waits for slow
    /// topic consumers (`memoryUsage`).
    pub memory_bytes: u64,
    /// Bytes of persistent messages that wait (`storeUsage`), each counted once for every queue and
    /// durable subscription that it waits in; 0 = as much as the disk takes.
    pub store_bytes: u64,
    /// Bytes of the local temporary store (`tempUsage`); 0 = nothing goes there.
    pub temporary_bytes: u64,
    /// Where the temporary store is; None = under the system's directory for temporary files.
    pub temporary_directory: Option<PathBuf>,
    /// Refuse a send that has no room, instead of letting it wait (`sendFailIfNoSpace`).
    pub send_fail_if_no_space: bool,
    /// Refuse it after it has waited for this time (`sendFailIfNoSpaceAfterTimeout`); None = never.
    pub send_fail_if_no_space_after: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 256 << 20,
            store_bytes: 0,
            temporary_bytes: 10 << 30,
            temporary_directory: None,
            send_fail_if_no_space: false,
            send_fail_if_no_space_after: None,
        }
    }
}

/// So much percent of a number of bytes.
#[must_use]
pub fn percent_of(bytes: u64, percent: u32) -> u64 {
    let part = u128::from(bytes) * u128::from(percent) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// So much percent of the memory this process may use: of the control group's limit, or of the
/// machine's memory. None when the system tells neither.
#[must_use]
pub fn percent_of_memory(percent: u32) -> Option<u64> {
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| total_memory(&text));
    let available = match (group, machine) {
        (Some(group), Some(machine)) => group.min(machine),
        (group, machine) => group.or(machine)?,
    };
    Some(percent_of(available, percent))
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// So much percent of the file system that holds `path` (ActiveMQ's `percentLimit`).
///
/// # Errors
/// When the system does not tell its size.
pub fn percent_of_disk(path: &Path, percent: u32) -> io::Result<u64> {
    let system = nix::sys::statvfs::statvfs(path)?;
    let bytes = system.blocks().saturating_mul(system.fragment_size());
    Ok(percent_of(bytes, percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_of_much_does_not_overflow() {
        assert_eq!(percent_of(1000, 70), 700);
        assert_eq!(percent_of(u64::MAX, 100), u64::MAX);
        assert_eq!(percent_of(u64::MAX, 200), u64::MAX);
    }

    #[test]
    fn the_machine_s_memory_and_disk_are_known() {
        assert_eq!(
            total_memory("MemTotal:       2048 kB\nMemFree: 1 kB\n"),
            Some(2 << 20)
        );
        assert_eq!(total_memory("nothing of the kind"), None);
        let half = percent_of_memory(50).expect("a system that tells");
        assert!(half > 1 << 20, "{half}");
        let disk = percent_of_disk(&std::env::temp_dir(), 100).expect("a file system");
        assert!(disk > 1 << 20, "{disk}");
    }
}
