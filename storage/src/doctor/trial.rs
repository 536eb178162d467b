//! Tries what a pair rests on, with a second process: locks exclude, an exclusive creation has one
//! winner, overwritten bytes are seen.
//!
//! The second process runs [`help`] and is told what to do, a line at a time. All this is within one
//! host: that locks reach other hosts is for the mount options to say.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Finding, Severity};
use crate::disk::lock::{try_flock, try_ofd};

/// What a helper says first.
pub const HELPER_READY: &str = "ready";
/// Names that both processes try to create.
const RACES: u32 = 50;
/// How long a lock may stay after its holder's end.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(10);
const HANDOVER_POLL: Duration = Duration::from_millis(2);

/// How the second process is started: a program that calls [`help`] when it gets these arguments.
#[derive(Clone, Debug)]
pub struct Helper {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// The two kinds of lock that are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// A byte-range lock that belongs to its descriptor: what the brokers use.
    Ofd,
    /// `flock`.
    Flock,
}

impl LockKind {
    fn word(self) -> &'static str {
        match self {
            LockKind::Ofd => "ofd",
            LockKind::Flock => "flock",
        }
    }

    fn try_lock(self, file: &File) -> io::Result<bool> {
        match self {
            LockKind::Ofd => try_ofd(file),
            LockKind::Flock => try_flock(file),
        }
    }
}

// ---- the second process

/// Obeys commands from `input`, one a line, answers each with a line on `output`, until `input` ends.
///
/// # Errors
/// When `input` or `output` fail; what goes wrong with a command is its answer.
pub fn help(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut held = Vec::new();
    writeln!(output, "{HELPER_READY}")?;
    output.flush()?;
    for line in input.lines() {
        let answer = obey(&line?, &mut held).unwrap_or_else(|error| format!("error {error}"));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

/// `ofd|flock PATH`, `race PREFIX`, `write PATH`, `release`: a path is the rest of the line.
fn obey(line: &str, held: &mut Vec<File>) -> io::Result<String> {
    let (command, path) = line.split_once(' ').unwrap_or((line, ""));
    let kind = match command {
        "ofd" => LockKind::Ofd,
        "flock" => LockKind::Flock,
        "race" => return race(Path::new(path)).map(|wins| wins.to_string()),
        "write" => return overwrite(Path::new(path)).map(|()| "yes".to_owned()),
        "release" => {
            held.clear();
            return Ok("yes".to_owned());
        }
        _ => return Err(io::Error::other(format!("`{command}` is no command"))),
    };
    let file = open(Path::new(path))?;
    let is_locked = kind.try_lock(&file)?;
    if is_locked {
        held.push(file);
    }
    Ok(if is_locked { "yes" } else { "no" }.to_owned())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn race(prefix: &Path) -> io::Result<u32> {
    let mut wins = 0;
    for number in 0..RACES {
        let mut name = prefix.as_os_str().to_owned();
        name.push(format!("-{number}"));
        match OpenOptions::new().write(true).create_new(true).open(name) {
            Ok(_) => wins += 1,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wins)
}

const BEFORE: &[u8; 5] = b"first";
const AFTER: &[u8; 5] = b"other";

fn overwrite(path: &Path) -> io::Result<()> {
    let file = open(path)?;
    file.write_all_at(AFTER, 0)?;
    file.sync_data()
}

// ---- the first process

struct Second {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Second {
    fn start(helper: &Helper) -> io::Result<Second> {
        let mut child = Command::new(&helper.program)
            .args(&helper.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the second process has no pipes"));
        };
        let mut second = Second {
            child,
            input,
            output: BufReader::new(output),
        };
        match second.read()?.as_str() {
            HELPER_READY => Ok(second),
            other => Err(io::Error::other(format!(
                "the second process said `{other}`"
            ))),
        }
    }

    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn tell(&mut self, command: &str, path: &Path) -> io::Result<()> {
        writeln!(self.input, "{command} {}", path.display())
    }

    fn answer(&mut self) -> io::Result<String> {
        let line = self.read()?;
        match line.strip_prefix("error ") {
            Some(error) => Err(io::Error::other(error.to_owned())),
            None => Ok(line),
        }
    }

    fn ask(&mut self, command: &str, path: &Path) -> io::Result<bool> {
        self.tell(command, path)?;
        Ok(self.answer()? == "yes")
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All trials in `directory`, which is empty and goes away afterwards.
pub(super) fn try_all(directory: &Path, is_nfs: bool, helper: &Helper) -> Vec<Finding> {
    let mut findings = VecDeque::new();
    let trials: [(&str, Trial); 5] = [
        ("byte-range locks (OFD)", |bench| {
            try_exclusion(bench, LockKind::Ofd)
        }),
        ("flock", |bench| try_exclusion(bench, LockKind::Flock)),
        ("the end of a lock with its process", try_handover),
        ("exclusive creation", try_race),
        ("bytes that another process overwrote", try_visibility),
    ];
    for (what, trial) in trials {
        let bench = Bench {
            directory,
            is_nfs,
            helper,
        };
        match trial(&bench) {
            Ok(mut found) => findings.append(&mut found),
            Err(error) => findings.push_back(
                Finding::new(
                    "locks",
                    Severity::Bad,
                    format!("{what} could not be tried: {error}"),
                )
                .remedy("without it no pair can run here: use another file system or other mount options"),
            ),
        }
    }
    findings.into()
}

type Trial = fn(&Bench<'_>) -> io::Result<VecDeque<Finding>>;

struct Bench<'a> {
    directory: &'a Path,
    is_nfs: bool,
    helper: &'a Helper,
}

impl Bench<'_> {
    fn create(&self, name: &str) -> io::Result<(PathBuf, File)> {
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok((path, file))
    }
}

/// A lock of this process, and what the second one gets.
fn try_exclusion(bench: &Bench<'_>, kind: LockKind) -> io::Result<VecDeque<Finding>> {
    let (other, name) = match kind {
        LockKind::Ofd => (LockKind::Flock, "a byte-range lock (OFD)"),
        LockKind::Flock => (LockKind::Ofd, "a flock"),
    };
    let (path, file) = bench.create(&format!("lock-{}", kind.word()))?;
    let mut second = Second::start(bench.helper)?;
    if !kind.try_lock(&file)? {
        return Err(io::Error::other("a new file is locked by somebody already"));
    }
    let same_got_it = second.ask(kind.word(), &path)?;
    second.ask("release", Path::new(""))?;
    let other_got_it = second.ask(other.word(), &path)?;
    second.ask("release", Path::new(""))?;
    drop(file);
    let free_again = second.ask(kind.word(), &path)?;
    let mut findings = VecDeque::new();
    findings.push_back(match (same_got_it, free_again) {
        (false, true) => Finding::new(
            "locks",
            Severity::Good,
            format!("{name} keeps another process away, and goes with its descriptor"),
        ),
        (true, _) => Finding::new(
            "locks",
            Severity::Bad,
            format!("{name} does not keep another process away: both brokers would become active"),
        )
        .remedy("use a file system with working locks: NFS 4.1, ext4, xfs"),
        (false, false) => Finding::new(
            "locks",
            Severity::Bad,
            format!("{name} stays when its descriptor is closed: no broker would ever take over"),
        )
        .remedy("see what else locks files here, and whether the lock service of the server works"),
    });
    if kind == LockKind::Ofd {
        findings.push_back(judge_kinds(bench.is_nfs, !other_got_it));
    }
    Ok(findings)
}

/// FACTS, locks: on NFS flock is a byte-range lock of the whole file on the server.
fn judge_kinds(is_nfs: bool, exclude: bool) -> Finding {
    match (is_nfs, exclude) {
        (true, false) => Finding::new(
            "locks",
            Severity::Bad,
            "byte-range locks and flock do not exclude each other, as they do on NFS whose locks are the server's: one of them stays on this host",
        )
        .remedy("mount it without `nolock` and `local_lock`"),
        (true, true) => Finding::new(
            "locks",
            Severity::Good,
            "byte-range locks and flock exclude each other: both are the server's",
        ),
        (false, exclude) => Finding::new(
            "locks",
            Severity::Note,
            format!(
                "byte-range locks and flock {} each other; the brokers take both here",
                if exclude { "exclude" } else { "do not exclude" }
            ),
        ),
    }
}

/// The holder is killed: how long until its lock is free?
fn try_handover(bench: &Bench<'_>) -> io::Result<VecDeque<Finding>> {
    let (path, file) = bench.create("handover")?;
    let mut second = Second::start(bench.helper)?;
    if !second.ask(LockKind::Ofd.word(), &path)? {
        return Err(io::Error::other("a new file is locked by somebody already"));
    }
    let begun = Instant::now();
    drop(second);
    while !try_ofd(&file)? {
        if begun.elapsed() > HANDOVER_PATIENCE {
            let text = format!(
                "the lock of a killed process was still there after {} s",
                HANDOVER_PATIENCE.as_secs()
            );
            return Ok([Finding::new("locks", Severity::Bad, text)
                .remedy("takeovers would take as long: use another file system")]
            .into());
        }
        std::thread::sleep(HANDOVER_POLL);
    }
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let text = format!("the lock of a killed process was free after {ms:.0} ms");
    Ok([Finding::new("locks", Severity::Good, text)].into())
}

/// Both processes create the same names at the same time.
fn try_race(bench: &Bench<'_>) -> io::Result<VecDeque<Finding>> {
    let mut second = Second::start(bench.helper)?;
    let prefix = bench.directory.join("race");
    second.tell("race", &prefix)?;
    let ours = race(&prefix)?;
    let theirs: u32 = second.answer()?.parse().map_err(io::Error::other)?;
    Ok([if ours + theirs == RACES {
        Finding::new(
            "locks",
            Severity::Good,
            format!("of {RACES} names that two processes created exclusively each had one winner"),
        )
    } else {
        Finding::new(
            "locks",
            Severity::Bad,
            format!(
                "{RACES} names that two processes created exclusively had {} winners: two brokers could claim the same epoch",
                ours + theirs
            ),
        )
        .remedy("use a file system with an atomic O_EXCL: NFS from version 3 on, any local one")
    }]
    .into())
}

fn try_visibility(bench: &Bench<'_>) -> io::Result<VecDeque<Finding>> {
    let (path, file) = bench.create("seen")?;
    file.write_all_at(BEFORE, 0)?;
    file.sync_data()?;
    let mut second = Second::start(bench.helper)?;
    second.ask("write", &path)?;
    let mut seen = [0; AFTER.len()];
    File::open(&path)?.read_exact_at(&mut seen, 0)?;
    Ok([if seen == *AFTER {
        Finding::new(
            "locks",
            Severity::Good,
            "bytes that another process overwrote are seen by a fresh open",
        )
    } else {
        Finding::new(
            "locks",
            Severity::Bad,
            "bytes that another process overwrote are not seen by a fresh open: a standby would follow old bytes",
        )
        .remedy("use another file system")
    }]
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(commands: &str) -> Vec<String> {
        let mut output = Vec::new();
        help(commands.as_bytes(), &mut output).expect("memory does not fail");
        let text = String::from_utf8(output).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_helper_answers_each_command_with_a_line() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lock file");
        let ours = File::create(&path).expect("creates");
        let (path, race) = (path.display(), directory.path().join("r"));
        assert!(try_ofd(&ours).expect("tries"));
        let told = answers(&format!(
            "ofd {path}\nflock {path}\nrelease\nfly\nrace {}\n",
            race.display()
        ));
        assert_eq!(told[..4], ["ready", "no", "yes", "yes"]);
        assert!(told[4].starts_with("error `fly`"), "{told:?}");
        assert_eq!(told[5], RACES.to_string());
    }

    #[test]
    fn on_nfs_both_kinds_of_lock_must_be_the_same() {
        assert_eq!(judge_kinds(true, false).severity, Severity::Bad);
        assert_eq!(judge_kinds(true, true).severity, Severity::Good);
        assert_eq!(judge_kinds(false, false).severity, Severity::Note);
    }

    #[test]
    fn a_second_process_that_does_not_answer_is_a_finding() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let helper = Helper {
            program: "/bin/true".into(),
            arguments: Vec::new(),
        };
        let findings = try_all(directory.path(), false, &helper);
        assert!(
            findings.iter().all(|one| one.severity == Severity::Bad),
            "{findings:?}"
        );
        assert_eq!(findings.len(), 5);
    }
}
