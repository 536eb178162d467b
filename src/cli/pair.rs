//! `baton pair`: both brokers of a pair as child processes, for trying things out.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::child::{Launch, News, Running, last_lines};
use super::status::time;

/// Start both brokers of a pair on one directory, for trying things out.
///
/// Both run as child processes of this one. A guide says where clients connect and what to try;
/// then every change of role is shown as it happens. A broker that died is started again after a
/// pause. Ctrl-C stops both.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  baton pair
  baton pair --directory /srv/baton --config baton.toml
  baton pair --profile efs-regional       as slow as EFS
  baton pair --port 0 --http-port 0       free ports instead of the usual ones")]
pub(super) struct PairArgs {
    /// Journal directory [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Configuration file for both brokers
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Latency profile for both brokers, for labs; see `baton storage profiles`
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// Messaging port of the first broker, the second has the next one; free ports are taken
    /// instead when they are in use
    #[arg(long, default_value_t = 61616)]
    port: u16,

    /// HTTP port of the first broker, the second has the next one
    #[arg(long, default_value_t = 8161)]
    http_port: u16,

    /// Pause before a broker that died is started again, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    restart_after_ms: u64,
}

/// A broker that ended this soon after its start has a reason that a restart does not cure.
const TOO_SOON: Duration = Duration::from_secs(3);
/// How often that may happen in a row.
const TOO_SOON_MAX: u32 = 3;
/// How long a stop may take before the process is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Runs the pair until Ctrl-C.
pub(super) async fn main(args: PairArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let place = Place::new(args.directory)?;
    let mut pair = Pair::start(&place, args.port, args.http_port, args.config, args.profile)?;
    pair.restart_after = Duration::from_millis(args.restart_after_ms);
    let outcome = tokio::select! {
        outcome = pair.watch() => outcome,
        () = stop.asked() => Ok(()),
    };
    println!("stopping both brokers ...");
    tokio::select! {
        () = pair.stop() => {}
        () = stop.asked() => pair.kill().await,
    }
    if outcome.is_ok() {
        place.leave();
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Where the journal and the logs are.
struct Place {
    journal: PathBuf,
    logs: PathBuf,
    is_temporary: bool,
}

impl Place {
    fn new(directory: Option<PathBuf>) -> anyhow::Result<Place> {
        let logs = std::env::temp_dir().join(format!("baton-pair-{}", std::process::id()));
        std::fs::create_dir(&logs)
            .with_context(|| format!("cannot create the directory `{}`", logs.display()))?;
        let is_temporary = directory.is_none();
        let journal = directory.unwrap_or_else(|| logs.join("journal"));
        Ok(Place {
            journal,
            logs,
            is_temporary,
        })
    }

    /// Removes what was only for trying; logs stay with a journal that stays.
    fn leave(&self) {
        if self.is_temporary {
            let _ = std::fs::remove_dir_all(&self.logs);
        } else {
            println!(
                "the journal stays in {}, the logs in {}",
                self.journal.display(),
                self.logs.display()
            );
        }
    }
}

struct Member {
    launch: Launch,
    running: Option<Running>,
    started: Instant,
    restart_at: Option<Instant>,
    ended_soon: u32,
    role: String,
}

struct Pair {
    members: [Member; 2],
    restart_after: Duration,
    began: Instant,
    /// When the active was last seen to go, to tell how long nobody served.
    lost_at: Option<Instant>,
    has_guided: bool,
}

impl Pair {
    fn start(
        place: &Place,
        port: u16,
        http_port: u16,
        config: Option<PathBuf>,
        profile: Option<String>,
    ) -> anyhow::Result<Pair> {
        let ports = free_pair(port)?;
        let http_ports = free_pair(http_port)?;
        let uri = |port: u16| format!("tcp://127.0.0.1:{port}");
        let launch = |name: &'static str, own: usize| Launch {
            name,
            directory: place.journal.clone(),
            listen: uri(ports[own]),
            http: format!("127.0.0.1:{}", http_ports[own]),
            peer: Some(uri(ports[1 - own])),
            config: config.clone(),
            profile: profile.clone(),
            log: place.logs.join(format!("{name}.log")),
        };
        let members = [
            Member::start(launch("a", 0))?,
            Member::start(launch("b", 1))?,
        ];
        println!("journal   {}", place.journal.display());
        println!("logs      {}/a.log, b.log", place.logs.display());
        Ok(Pair {
            members,
            restart_after: Duration::from_secs(1),
            began: Instant::now(),
            lost_at: None,
            has_guided: false,
        })
    }

    /// Shows what happens and restarts what died; ends only when that is hopeless.
    async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            let [first, second] = &mut self.members;
            let (index, news) = tokio::select! {
                news = first.next() => (0, news?),
                news = second.next() => (1, news?),
            };
            match news {
                Some(News::Line(line)) => self.on_line(index, &line),
                Some(News::Ended(status)) => self.on_ended(index, status)?,
                None => {
                    self.say(index, "starts again");
                    self.members[index].restart()?;
                }
            }
            if !self.has_guided && self.is_complete() {
                self.has_guided = true;
                self.guide();
            }
        }
    }

    fn on_line(&mut self, index: usize, line: &str) {
        let Some(role) = line.strip_prefix("role ") else {
            return;
        };
        let name = role.split(' ').next().unwrap_or_default().to_owned();
        let was = std::mem::replace(&mut self.members[index].role, name.clone());
        let mut text = role
            .replacen(" epoch ", ", epoch ", 1)
            .replacen(" cause=", ", cause: ", 1);
        if name == "active"
            && let Some(lost) = self.lost_at.take()
        {
            let gap = u64::try_from(lost.elapsed().as_millis()).unwrap_or(u64::MAX);
            text.push_str(&format!(" ({} after the other one left)", time(gap)));
        }
        if was == "active" {
            self.lost_at = Some(Instant::now());
        }
        self.say(index, &text);
    }

    fn on_ended(&mut self, index: usize, status: ExitStatus) -> anyhow::Result<()> {
        let was_active = self.members[index].role == "active";
        if was_active {
            self.lost_at = Some(Instant::now());
        }
        self.say(index, &format!("ended ({status})"));
        let restart_after = self.restart_after;
        let member = &mut self.members[index];
        member.role.clear();
        member.running = None;
        member.ended_soon = if member.started.elapsed() < TOO_SOON {
            member.ended_soon + 1
        } else {
            0
        };
        if member.ended_soon == TOO_SOON_MAX || (status.code() == Some(1) && !self.has_guided) {
            bail!(
                "broker {} does not stay up ({status}); the end of its log `{}`:\n{}",
                member.launch.name,
                member.launch.log.display(),
                last_lines(&member.launch.log, 12)
            );
        }
        member.restart_at = Some(Instant::now() + restart_after);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        let has = |role: &str| self.members.iter().any(|member| member.role == role);
        has("active") && has("standby")
    }

    fn say(&self, index: usize, text: &str) {
        let elapsed = self.began.elapsed().as_secs_f64();
        println!(
            "{elapsed:9.3} s  {}  {text}",
            self.members[index].launch.name
        );
    }

    fn guide(&self) {
        let [a, b] = &self.members;
        let url = format!("failover:({},{})", a.launch.listen, b.launch.listen);
        let active = if a.role == "active" { a } else { b };
        let pid = active
            .running
            .as_ref()
            .and_then(Running::pid)
            .unwrap_or_default();
        println!();
        println!("The pair is up. Clients connect to");
        println!("  {url}");
        println!();
        for member in &self.members {
            let pid = member
                .running
                .as_ref()
                .and_then(Running::pid)
                .unwrap_or_default();
            let Launch {
                name, listen, http, ..
            } = &member.launch;
            println!(
                "  {name}  {:<8} pid {pid:<8} {listen}  http://{http}/status",
                member.role
            );
        }
        println!();
        println!("Try, in another terminal:");
        println!(
            "  baton status http://{} http://{}",
            a.launch.http, b.launch.http
        );
        println!("  baton produce '{url}' demo --count 10000 --rate 500");
        println!("  baton consume '{url}' demo");
        println!("  kill -9 {pid}        the active dies: the other one takes over");
        println!(
            "  kill -STOP {pid}     it freezes: the other one waits for its lease, takes over"
        );
        println!("  kill -CONT {pid}     it wakes up, is fenced, and becomes the standby");
        println!("  kill {pid}           a planned switchover");
        println!("Ctrl-C stops both.");
        println!();
    }

    /// Stops the standby first: a switchover to a broker that is about to stop helps nobody.
    async fn stop(&mut self) {
        self.members.sort_by_key(|member| member.role == "active");
        for member in &mut self.members {
            let Some(running) = &mut member.running else {
                continue;
            };
            running.terminate();
            let ended = async { while let Ok(News::Line(_)) = running.next().await {} };
            if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
                println!("broker {} did not stop in time: killed", member.launch.name);
                running.kill().await;
            }
        }
    }

    async fn kill(&mut self) {
        for member in &mut self.members {
            if let Some(running) = &mut member.running {
                running.kill().await;
            }
        }
    }
}

impl Member {
    fn start(launch: Launch) -> anyhow::Result<Member> {
        let running = Some(launch.start()?);
        let started = Instant::now();
        let role = String::new();
        Ok(Member {
            launch,
            running,
            started,
            restart_at: None,
            ended_soon: 0,
            role,
        })
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        self.running = Some(self.launch.start()?);
        self.started = Instant::now();
        self.restart_at = None;
        Ok(())
    }

    /// The next news; None when it is time to start again.
    async fn next(&mut self) -> anyhow::Result<Option<News>> {
        if let Some(running) = &mut self.running {
            return running.next().await.map(Some);
        }
        match self.restart_at {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
        Ok(None)
    }
}

/// `first` and the port after it, or two free ones when either is in use.
fn free_pair(first: u16) -> anyhow::Result<[u16; 2]> {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port));
    if let Some(second) = first.checked_add(1).filter(|_| first != 0)
        && bind(first).is_ok()
        && bind(second).is_ok()
    {
        return Ok([first, second]);
    }
    // Held together, so that they differ.
    let (one, other) = (bind(0)?, bind(0)?);
    let ports = [one.local_addr()?.port(), other.local_addr()?.port()];
    if first != 0 {
        println!(
            "port {first} or the next one is in use: taking {} and {}",
            ports[0], ports[1]
        );
    }
    Ok(ports)
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Stop> {
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Stop {
            interrupt,
            terminate,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_replaced_by_free_ones() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("an address").port();
        let [a, b] = free_pair(port).expect("free ports");
        assert!(a != port && b != port && a != b && a != 0 && b != 0);
    }
}
