//! The two brokers, as child processes of this one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Member {
    name: &'static str,
    port: u16,
    http: u16,
    child: Option<Child>,
}

/// Both brokers on one directory.
pub(crate) struct Pair {
    baton: PathBuf,
    out: PathBuf,
    members: [Member; 2],
}

impl Pair {
    /// Starts both on `out/journal`, which must be new.
    pub(crate) fn start(baton: &Path, out: &Path) -> anyhow::Result<Pair> {
        let listeners: Vec<TcpListener> = (0..4)
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<Result<_, _>>()?;
        let mut ports = Vec::new();
        for listener in &listeners {
            ports.push(listener.local_addr()?.port());
        }
        drop(listeners);
        let member = |name, at: usize| Member {
            name,
            port: ports[at],
            http: ports[2 + at],
            child: None,
        };
        let mut pair = Pair {
            baton: baton.to_owned(),
            out: out.to_owned(),
            members: [member("a", 0), member("b", 1)],
        };
        if pair.directory().exists() {
            bail!(
                "`{}` is there already; use another --out",
                pair.directory().display()
            );
        }
        pair.spawn(0)?;
        pair.spawn(1)?;
        Ok(pair)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.out.join("journal")
    }

    pub(crate) fn url(&self) -> String {
        let [a, b] = &self.members;
        format!(
            "failover:(tcp://127.0.0.1:{},tcp://127.0.0.1:{})?maxReconnectDelay=500",
            a.port, b.port
        )
    }

    fn spawn(&mut self, at: usize) -> anyhow::Result<()> {
        let peer = format!("tcp://127.0.0.1:{}", self.members[1 - at].port);
        let directory = self.directory();
        let member = &mut self.members[at];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.out.join(format!("{}.log", member.name)))?;
        let mut command = Command::new(&self.baton);
        command
            .args(["broker", "--name", member.name])
            .args(["--listen", &format!("tcp://127.0.0.1:{}", member.port)])
            .args(["--http", &format!("127.0.0.1:{}", member.http)])
            .args(["--peer", &peer])
            .arg("--directory")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.baton.display()))?;
        member.child = Some(child);
        Ok(())
    }

    /// The active's `/status`.
    pub(crate) fn status(&self) -> Option<Value> {
        let statuses = self.members.iter().filter_map(|member| status(member.http));
        statuses
            .into_iter()
            .find(|status| status["role"] == "active")
    }

    pub(crate) fn wait_for_active(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.status().is_none() {
            if Instant::now() > until {
                bail!(
                    "no broker became active; see the logs in `{}`",
                    self.out.display()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Kills the active with no warning and starts it again: it becomes the standby.
    pub(crate) fn kill_active(&mut self) -> anyhow::Result<()> {
        let active = self.members.iter().position(|member| {
            status(member.http).is_some_and(|status| status["role"] == "active")
        });
        let Some(active) = active else { return Ok(()) };
        if let Some(mut child) = self.members[active].child.take() {
            child.kill()?;
            child.wait()?;
        }
        println!("killed {}", self.members[active].name);
        self.spawn(active)
    }

    /// Resident memory of both, in bytes.
    pub(crate) fn memory(&self) -> [u64; 2] {
        [0, 1].map(|at| {
            let child = self.members[at].child.as_ref();
            child.map_or(0, |child| resident_bytes(child.id()))
        })
    }

    pub(crate) fn stop(&mut self) {
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop();
    }
}

fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    number
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

fn status(port: u16) -> Option<Value> {
    let address = format!("127.0.0.1:{port}");
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address.parse().ok()?, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}
