//! The command line of `baton drill`, and what can be checked of it before anything starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{DrillError, Strand};

/// What happens to the active broker in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Fault {
    /// SIGKILL: the process is gone at once, then started again.
    Kill,
    /// SIGTERM: a planned switchover, then started again.
    Term,
    /// SIGSTOP until the other broker serves (and `--hold` longer), then SIGCONT.
    Stop,
    /// Nothing: a round of load to compare with.
    None,
}

impl Fault {
    /// The word used on the command line and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Stop => "stop",
            Self::None => "none",
        }
    }
}

/// What a fault must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Expectation {
    /// The standby takes over.
    Takeover,
    /// The active goes on in the same epoch, however long it was held up.
    Stay,
    /// One of both: for faults that race with the lease.
    Either,
}

/// A falsehood told to the ledger in a round, so that a test can see the verdict fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// One delivered message of each round is hidden from the ledger.
    Lose,
    /// One message of each round is reported as delivered twice, the second time not flagged.
    Duplicate,
    /// The fault of the first round is only claimed, not injected.
    SkipFault,
}

/// Take a pair through faults under load, and judge what its clients saw.
///
/// Without options it starts a pair of its own on a temporary directory, loads it through a
/// failover: URL, kills the active broker three times, each time at a random moment, and accounts
/// for every acknowledged message.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  baton drill
  baton drill --mix --rounds 50
  baton drill --fault kill,term,stop --rounds 9 --backlog 100000 --verify-backlog
  baton drill --profile efs-regional --rounds 5
  baton drill --directory /mnt/efs/drill --rounds 30 --report reports/
  baton drill --url 'failover:(tcp://a:61616,tcp://b:61616)' --status http://a:8161,http://b:8161 \\
      --fault-command 'ssh \"$BATON_ACTIVE\" systemctl kill -s KILL baton'
  baton drill --url ... --status ... --expect stay --hold 2s \\
      --fault-command './cut-storage.sh \"$BATON_ACTIVE\"' --restart-command './heal-storage.sh \"$BATON_ACTIVE\"'

A fault command may print when it struck, as the last line and in seconds since 1970: times count from
then. Otherwise they count from the start of the command.

The report shows, for each fault, when it was noticed, when lock or lease were obtained, when the
ports were open, the first acknowledgement and the first delivery; latencies before, during and
after; and the ledger. Progress goes to standard error, the report to standard output and to files.

Exit codes:
  0   every promise held
  1   the drill could not be carried out
  2   a promise was broken, or the drill proves nothing (2 also for unknown options)")]
pub struct DrillArgs {
    /// Faults for the active broker, one a round, cycled through
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kill")]
    pub fault: Vec<Fault>,

    /// How many faults, one after another
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: u32,

    /// Seed of the random moments; printed, so that a run can be repeated
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Shared directory for the pair that the drill starts [default: a temporary one]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub directory: Option<PathBuf>,

    /// Configuration file for both brokers that the drill starts
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,

    /// Latency profile for both brokers that the drill starts; see `baton storage profiles`
    #[arg(long, value_name = "NAME", conflicts_with = "url")]
    pub profile: Option<String>,

    /// Producers, each with a connection of its own, one send at a time
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub producers: usize,

    /// Consumers, each with a transacted session of its own
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub consumers: usize,

    /// Messages a second of all producers together; 0 sends as fast as it goes. What is missed in
    /// an outage of up to a second is made up for
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub rate: u32,

    /// Body of each message; plain bytes, or with k or m
    #[arg(long, default_value = "1k", value_parser = parse_size, value_name = "SIZE")]
    pub size: usize,

    /// Messages a consumer takes in one transaction
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub batch: usize,

    /// Queue of the load; the backlog gets `<queue>.backlog`
    #[arg(long, default_value = "drill", value_name = "NAME")]
    pub queue: String,

    /// Also load what applications use beside plain queues, each on destinations of its own
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0.., value_name = "WHAT",
          default_missing_value = "durable,groups,schedules,selectors,xa")]
    pub mix: Vec<Strand>,

    /// Persistent messages put into a queue of their own before the first fault
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub backlog: u64,

    /// Drain the backlog at the end and account for every message of it
    #[arg(long, requires = "backlog")]
    pub verify_backlog: bool,

    /// Shortest time of undisturbed load before a fault, and time of load after the takeover
    #[arg(long, default_value = "1s", value_parser = parse_time, value_name = "TIME")]
    pub settle: Duration,

    /// The fault strikes at a random moment within this time after `--settle`
    #[arg(long, default_value = "2s", value_parser = parse_time, value_name = "TIME")]
    pub spread: Duration,

    /// How long a stopped broker stays stopped after the other one serves; also the time from there, or
    /// with `--expect stay` from the fault, to `--restart-command`
    #[arg(long, default_value = "2s", value_parser = parse_time, value_name = "TIME")]
    pub hold: Duration,

    /// How long to wait for any one step before the round counts as failed
    #[arg(long, default_value = "60s", value_parser = parse_time, value_name = "TIME")]
    pub timeout: Duration,

    /// Load this pair instead of starting one: a failover: URL
    #[arg(long, value_name = "URL", requires = "status")]
    pub url: Option<String>,

    /// Health addresses of the running pair, both, as http://HOST:PORT
    #[arg(long, value_name = "URLS", value_delimiter = ',', requires = "url")]
    pub status: Vec<String>,

    /// Process ids of the running pair, in the order of `--status`
    #[arg(long, value_name = "PIDS", value_delimiter = ',', requires = "url")]
    pub pid: Vec<i32>,

    /// Shell command that injects the fault; BATON_ROUND, BATON_ACTIVE and BATON_ACTIVE_PID are set
    #[arg(long, value_name = "COMMAND", requires = "url")]
    pub fault_command: Option<String>,

    /// Shell command that brings the victim back after the takeover; same variables
    #[arg(long, value_name = "COMMAND", requires = "url")]
    pub restart_command: Option<String>,

    /// What each fault must lead to, cycled through as `--fault` is
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "takeover",
        value_name = "WHAT"
    )]
    pub expect: Vec<Expectation>,

    /// Count sends that the broker refuses and try on, instead of failing: for faults that fill the disk
    #[arg(long)]
    pub allow_refusals: bool,

    /// Directory for all reports [default: a new one under the temporary directory]
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,

    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the report as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,

    /// Write the picture: throughput, latency, faults and takeovers over time
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,

    /// Executable that is started as `broker ...` [default: this one]
    #[arg(long, value_name = "FILE", hide = true)]
    pub executable: Option<PathBuf>,

    /// Tell the ledger a lie, to see that the verdict can fail
    #[arg(long, value_enum, hide = true)]
    pub sabotage: Option<Sabotage>,
}

impl DrillArgs {
    /// Checks what clap cannot.
    ///
    /// # Errors
    ///
    /// The first option that contradicts another or makes the drill meaningless.
    pub(super) fn validate(&self) -> Result<(), DrillError> {
        let refuse = |option, reason: &str| {
            Err(DrillError::Arguments {
                option,
                reason: reason.to_owned(),
            })
        };
        if self.producers == 0 || self.producers > 1024 {
            return refuse("--producers", "give a number from 1 to 1024");
        }
        if self.consumers == 0 || self.consumers > 1024 {
            return refuse("--consumers", "give a number from 1 to 1024");
        }
        if self.batch == 0 || self.batch > 10_000 {
            return refuse("--batch", "give a number from 1 to 10000");
        }
        if self.rounds == 0 {
            return refuse(
                "--rounds",
                "give at least 1; use `--fault none` for load alone",
            );
        }
        if self.fault.is_empty() {
            return refuse("--fault", "give kill, term, stop or none");
        }
        if self.expect.is_empty() {
            return refuse("--expect", "give takeover, stay or either");
        }
        if self.fault_command.is_none()
            && self.expect.iter().any(|one| *one != Expectation::Takeover)
        {
            return refuse(
                "--expect",
                "is for faults of `--fault-command`; signals end in a takeover",
            );
        }
        if self.size < super::message::HEADER_SIZE {
            return refuse(
                "--size",
                "give at least 40 bytes, the size of the drill's own header",
            );
        }
        if self.timeout < Duration::from_secs(1) {
            return refuse("--timeout", "give at least 1s");
        }
        if self.queue.is_empty() || self.queue.contains([',', '*', '>', '?']) {
            return refuse("--queue", "give the name of one queue, without `,*>?`");
        }
        if self.url.is_some() {
            self.validate_running_pair()?;
        }
        Ok(())
    }

    fn validate_running_pair(&self) -> Result<(), DrillError> {
        let refuse = |option, reason: &str| {
            Err(DrillError::Arguments {
                option,
                reason: reason.to_owned(),
            })
        };
        if self.status.len() != 2 {
            return refuse("--status", "give the health addresses of both brokers");
        }
        if !self.pid.is_empty() && self.pid.len() != 2 {
            return refuse("--pid", "give the process ids of both brokers");
        }
        if self.pid.iter().any(|pid| *pid <= 1) {
            return refuse("--pid", "a process id of a broker is greater than 1");
        }
        let signals = self.fault.iter().any(|fault| *fault != Fault::None);
        if signals && self.pid.is_empty() && self.fault_command.is_none() {
            return refuse(
                "--fault",
                "needs `--pid A,B` or `--fault-command` for a pair that the drill did not \
                 start; or use `--fault none`",
            );
        }
        Ok(())
    }

    /// The fault of round `number`, counted from 1.
    pub(super) fn fault_of_round(&self, number: u32) -> Fault {
        let index = (number as usize).saturating_sub(1) % self.fault.len();
        self.fault[index]
    }

    /// What the fault of round `number`, counted from 1, must lead to.
    pub(super) fn expectation_of_round(&self, number: u32) -> Expectation {
        let index = (number as usize).saturating_sub(1) % self.expect.len();
        self.expect[index]
    }
}

/// Reads `500ms`, `10s`, `2m` or a plain number of seconds.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let number: u64 = digits
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is not a time; write for example 500ms, 10s or 2m"))?;
    let millis = match unit {
        "ms" => Some(number),
        "" | "s" => number.checked_mul(1000),
        "m" | "min" => number.checked_mul(60_000),
        _ => return Err(format!("`{unit}` is not a unit of time; use ms, s or m")),
    };
    match millis {
        Some(millis) if millis <= 24 * 3_600_000 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("`{text}` is longer than a day")),
    }
}

/// Reads `1024`, `1k` or `2m`; k and m are powers of 1024, as in ActiveMQ.
pub(super) fn parse_size(text: &str) -> Result<usize, String> {
    const MAX: usize = 64 << 20;
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: usize = digits
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is not a size; write for example 1024, 1k or 2m"))?;
    let factor = match &lower[digits.len()..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        unit => return Err(format!("`{unit}` is not a unit of size; use k or m")),
    };
    match number.checked_mul(factor) {
        Some(size) if size <= MAX => Ok(size),
        _ => Err(format!("`{text}` is more than 64m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        drill: DrillArgs,
    }

    fn parse(words: &[&str]) -> Result<DrillArgs, clap::Error> {
        let words = std::iter::once("drill").chain(words.iter().copied());
        Command::try_parse_from(words).map(|command| command.drill)
    }

    #[test]
    fn defaults_are_a_valid_drill() {
        let args = parse(&[]).expect("no argument is required");
        args.validate().expect("the defaults are valid");
        assert_eq!(args.fault, [Fault::Kill]);
        assert_eq!(args.size, 1024);
    }

    #[test]
    fn faults_are_cycled_through() {
        let args = parse(&["--fault", "kill,term,stop", "--rounds", "5"]).expect("valid");
        let faults: Vec<_> = (1..=5)
            .map(|round| args.fault_of_round(round).word())
            .collect();
        assert_eq!(faults, ["kill", "term", "stop", "kill", "term"]);
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("3"), Ok(Duration::from_secs(3)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_size("1k"), Ok(1024));
        assert_eq!(parse_size("2 MB"), Ok(2 << 20));
        for bad in [
            "",
            "ten",
            "5h",
            "-1s",
            "99999999999999999999",
            "18446744073709551615m",
        ] {
            assert!(parse_time(bad).is_err(), "`{bad}` must be refused");
        }
        for bad in ["", "1g", "k", "999999m"] {
            assert!(parse_size(bad).is_err(), "`{bad}` must be refused");
        }
    }

    #[test]
    fn contradictions_are_refused_with_the_option_named() {
        for (words, option) in [
            (&["--producers", "0"][..], "--producers"),
            (&["--batch", "0"], "--batch"),
            (&["--rounds", "0"], "--rounds"),
            (&["--size", "8"], "--size"),
            (&["--queue", "a,b"], "--queue"),
            (
                &["--url", "failover:(tcp://h:1)", "--status", "http://h:2"],
                "--status",
            ),
            (
                &[
                    "--url",
                    "failover:(tcp://h:1)",
                    "--status",
                    "http://h:2,http://h:3",
                ],
                "--fault",
            ),
        ] {
            let args = parse(words).expect("clap accepts it");
            let error = args.validate().expect_err("must be refused").to_string();
            assert!(error.contains(option), "`{error}` does not name `{option}`");
        }
    }
}
