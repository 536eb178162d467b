//! The profiles that come with the program.
//!
//! Cloud vendors publish a typical figure and caps, never a distribution. So medians and caps have a
//! source; 99th percentiles and the shape around them ([`Quantiles::of`]) are assumptions, and each
//! figure says which of the two it is.

use std::time::Duration;

use super::profile::{Cap, Cost, Credits, Operation, Profile, Protocol};
use super::quantiles::Quantiles;

const MIB: f64 = 1024.0 * 1024.0;
const EFS_PAGE: &str = "AWS, Amazon EFS performance";
const EBS_PAGE: &str = "AWS, Amazon EBS volume types";

/// All of them, in the order in which they are shown.
#[must_use]
pub fn built_in() -> Vec<Profile> {
    vec![
        local_nvme(),
        ebs_io2(),
        ebs_gp3(),
        ebs_gp2(),
        amazonmq_ebs_observed(),
        efs_onezone(),
        efs_regional(),
        efs_bursting(),
        efs_bursting_empty(),
        amazonmq_efs_observed(),
    ]
}

/// The one with this name.
#[must_use]
pub fn find(name: &str) -> Option<Profile> {
    built_in().into_iter().find(|profile| profile.name == name)
}

/// The figures of a profile: times in microseconds.
struct Figures {
    write: (u64, u64),
    write_source: &'static str,
    read: (u64, u64),
    read_source: &'static str,
}

fn us(count: u64) -> Duration {
    Duration::from_micros(count)
}

fn quantiles((p50, p99): (u64, u64)) -> Quantiles {
    Quantiles::of(us(p50), us(p99))
}

/// A volume with a local file system on it. Names, locks and lengths are the kernel's own affair;
/// making a name durable is a commit of the file system's journal: two writes, one after the other.
fn block(name: &str, about: &str, figures: Figures) -> Profile {
    let cost = |operation| match operation {
        Operation::Write => (1, figures.write, figures.write_source),
        Operation::Read => (1, figures.read, figures.read_source),
        Operation::SyncDirectory => (
            2,
            figures.write,
            "two writes, as ext4's journal does: assumption",
        ),
        _ => (0, figures.read, "in the kernel's memory: assumption"),
    };
    profile(name, about, Protocol::Block, 256 * 1024, cost)
}

/// A file system behind the Linux NFSv4.1 client. Round trips of each operation were counted on a real
/// one; names are durable when the server has answered, so making them durable costs nothing.
fn nfs(name: &str, about: &str, figures: Figures) -> Profile {
    let counted = "round trips counted on NFSv4.1; each as long as a";
    let as_write = format!("{counted} write: assumption");
    let as_read = format!("{counted} read: assumption");
    let cost = |operation| match operation {
        Operation::Write => (1, figures.write, figures.write_source),
        Operation::Read => (1, figures.read, figures.read_source),
        Operation::Create => (3, figures.write, as_write.as_str()),
        Operation::Change => (1, figures.write, as_write.as_str()),
        Operation::Lock => (1, figures.write, as_write.as_str()),
        Operation::Open => (1, figures.read, as_read.as_str()),
        Operation::List => (1, figures.read, as_read.as_str()),
        Operation::SyncDirectory | Operation::Length => {
            (0, figures.read, "no round trip was seen on NFSv4.1")
        }
    };
    profile(name, about, Protocol::Nfs, 1024 * 1024, cost)
}

fn profile<'s>(
    name: &str,
    about: &str,
    protocol: Protocol,
    io_bytes: u32,
    cost: impl Fn(Operation) -> (u32, (u64, u64), &'s str),
) -> Profile {
    Profile {
        name: name.to_owned(),
        about: about.to_owned(),
        protocol,
        io_bytes,
        iops: None,
        bytes: None,
        costs: Operation::ALL.map(|operation| {
            let (round_trips, latency, source) = cost(operation);
            Cost {
                round_trips,
                latency: quantiles(latency),
                source: source.to_owned(),
            }
        }),
    }
}

fn cap(rate: f64, source: &str) -> Option<Cap> {
    Some(Cap {
        rate,
        credits: None,
        source: source.to_owned(),
    })
}

fn local_nvme() -> Profile {
    let figures = Figures {
        write: (100, 1_000),
        write_source: "assumption (a data centre SSD with a protected cache)",
        read: (80, 400),
        read_source: "assumption",
    };
    block("local-nvme", "A good local SSD.", figures)
}

fn ebs_io2() -> Profile {
    let figures = Figures {
        write: (400, 800),
        write_source: "p50: AWS, io2 Block Express: average below 500 us for 16 KiB; p99: assumption",
        read: (300, 700),
        read_source: "p50: AWS, io2 Block Express: average below 500 us for 16 KiB; p99: assumption",
    };
    let about = "EBS io2 Block Express with 16,000 IOPS.";
    Profile {
        iops: cap(16_000.0, "what one buys; 16,000 is an assumption"),
        bytes: cap(1000.0 * MIB, EBS_PAGE),
        ..block("ebs-io2", about, figures)
    }
}

fn ebs_gp3() -> Profile {
    let figures = Figures {
        write: (1_000, 3_000),
        write_source: "p50 and p99: assumption (AWS: single-digit milliseconds, 99 % of the time)",
        read: (800, 2_500),
        read_source: "p50 and p99: assumption (AWS: single-digit milliseconds, 99 % of the time)",
    };
    let about = "EBS gp3 as it comes, nothing bought in addition.";
    Profile {
        iops: cap(3_000.0, EBS_PAGE),
        bytes: cap(125.0 * MIB, EBS_PAGE),
        ..block("ebs-gp3", about, figures)
    }
}

fn ebs_gp2() -> Profile {
    let figures = Figures {
        write: (1_200, 5_000),
        write_source: "p50 and p99: assumption (AWS: single-digit milliseconds)",
        read: (1_000, 4_000),
        read_source: "p50 and p99: assumption (AWS: single-digit milliseconds)",
    };
    let credits = Credits {
        baseline: 600.0,
        most: 5.4e6,
        at_start: 5.4e6,
    };
    let about = "EBS gp2 of 200 GiB with all of its burst credits.";
    Profile {
        iops: Some(Cap {
            rate: 3_000.0,
            credits: Some(credits),
            source: format!("{EBS_PAGE}: 3 IOPS a GiB, 3,000 while 5.4 million credits last"),
        }),
        bytes: cap(250.0 * MIB, EBS_PAGE),
        ..block("ebs-gp2", about, figures)
    }
}

fn amazonmq_ebs_observed() -> Profile {
    let figures = Figures {
        write: (2_000, 6_000),
        write_source: "p50: AWS, Amazon MQ storage types: about 500 persistent messages of 1 kB a second \
                       by one producer, if each is one write (inference); p99: assumption",
        read: (1_000, 4_000),
        read_source: "assumption",
    };
    let about = "What Amazon's figure for its broker on EBS says of a write.";
    block("amazonmq-ebs-observed", about, figures)
}

fn efs_onezone() -> Profile {
    let figures = Figures {
        write: (1_600, 10_000),
        write_source: "p50: AWS, Amazon EFS performance: as low as 1.6 ms, taken as the median; p99: assumption",
        read: (250, 2_000),
        read_source: "p50: AWS, Amazon EFS performance: as low as 250 us, taken as the median; p99: assumption",
    };
    let about = "EFS One Zone, General Purpose.";
    with_efs_caps(nfs("efs-onezone", about, figures))
}

fn regional() -> Figures {
    Figures {
        write: (2_700, 15_000),
        write_source: "p50: AWS, Amazon EFS performance: as low as 2.7 ms, taken as the median; p99: assumption",
        read: (250, 2_000),
        read_source: "p50: AWS, Amazon EFS performance: as low as 250 us, taken as the median; p99: assumption",
    }
}

fn with_efs_caps(profile: Profile) -> Profile {
    Profile {
        iops: cap(
            7_000.0,
            &format!(
                "{EFS_PAGE}: 7,000 write operations a second in bursting mode; counted for all kinds: assumption"
            ),
        ),
        bytes: cap(500.0 * MIB, &format!("{EFS_PAGE}: for each client")),
        ..profile
    }
}

fn efs_regional() -> Profile {
    let about = "EFS Regional, General Purpose.";
    with_efs_caps(nfs("efs-regional", about, regional()))
}

fn efs_bursting() -> Profile {
    // A journal is small: the file system gets the least baseline there is.
    let credits = Credits {
        baseline: MIB,
        most: 2.1 * MIB * MIB,
        at_start: 2.1 * MIB * MIB,
    };
    let about = "EFS Regional in bursting mode, less than 20 GiB stored, with all of its credits.";
    let mut profile = with_efs_caps(nfs("efs-bursting", about, regional()));
    profile.bytes = Some(Cap {
        rate: 100.0 * MIB,
        credits: Some(credits),
        source: format!("{EFS_PAGE}: 100 MiB/s while 2.1 TiB of credits last, then 1 MiB/s"),
    });
    profile
}

fn efs_bursting_empty() -> Profile {
    let figures = Figures {
        write: (2_700, 30_000),
        ..regional()
    };
    let about = "EFS Regional in bursting mode, less than 20 GiB stored, its credits used up.";
    Profile {
        bytes: cap(MIB, &format!("{EFS_PAGE}: the least baseline")),
        ..with_efs_caps(nfs("efs-bursting-empty", about, figures))
    }
}

fn amazonmq_efs_observed() -> Profile {
    let figures = Figures {
        write: (12_500, 40_000),
        write_source: "p50: AWS, Amazon MQ storage types: about 80 persistent messages of 1 kB a second by \
                       one producer, if each is one write (inference; it may be four or five shorter ones); \
                       p99: assumption",
        read: (1_000, 8_000),
        read_source: "assumption",
    };
    let about = "What Amazon's figure for its broker on EFS says of a write.";
    with_efs_caps(nfs("amazonmq-efs-observed", about, figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_every_figure_has_a_source() {
        let all = built_in();
        for (index, profile) in all.iter().enumerate() {
            let same = all.iter().position(|other| other.name == profile.name);
            assert_eq!(same, Some(index), "{}", profile.name);
            for cost in &profile.costs {
                assert!(!cost.source.is_empty(), "{}", profile.name);
            }
            for cap in profile.iops.iter().chain(&profile.bytes) {
                assert!(cap.rate > 0.0 && !cap.source.is_empty(), "{}", profile.name);
            }
        }
        assert!(find("efs-regional").is_some());
        assert!(find("efs").is_none());
    }

    #[test]
    fn the_means_are_those_that_the_documentation_states() {
        let mean = |name| find(name).map(|profile| profile.write_mean().as_micros());
        assert_eq!(mean("efs-regional"), Some(3_210));
    }
}
