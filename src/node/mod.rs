//! One broker's life in its pair: it owns the role.
//!
//! The membership (`storage`) says what happens on the shared directory; the node walks the state
//! machine of [`Role`], opens the messaging ports while it is the active and at no other time, and
//! closes them at once when the role is lost. Then it follows again, as a new member, in the same
//! process. It must not know the journal's format, nor anything of what clients say.

mod announce;
mod exit;
mod membership;
mod options;
mod recovery;
mod role;
mod serving;
mod state;
mod status;
mod watchdog;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use storage::member::{Cause, FenceReason};
use storage::{Event, Keyring, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use crate::config::{Config, TransportAddress, keys};
use crate::console::{self, DecideError, Decided, TransactionRef};

pub use exit::Exit;
pub use membership::JoinError;
use membership::{Backoff, Inbox, Started};
pub use recovery::{Phase, Recovery};
pub use role::{Occurrence, Role, Step, transition};
use serving::Serving;
use state::State;
pub use status::{Behind, Encryption, Health, Lock, Queue, Status, Transition, Transitions};
pub use watchdog::RUNTIME_THREAD;

/// How long a planned stop waits for the storage to write and to let the locks go.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);
/// Attempts to follow again after a fence, with pauses of up to 5 s, before the process gives up.
const REJOIN_ATTEMPTS: u32 = 12;

/// Runs a broker until it is told to stop or cannot go on. Logs every step; the caller turns the
/// answer into an exit code.
pub async fn run(config: Config) -> Exit {
    watchdog::install();
    // In a task of its own, so that a panic is an exit code and not a torn-down runtime.
    match tokio::spawn(live(config)).await {
        Ok(exit) => exit,
        Err(error) => Exit::Panicked(format!("the node itself panicked ({error})")),
    }
}

async fn live(config: Config) -> Exit {
    match Node::prepare(config).await {
        Ok(mut node) => node.live().await,
        Err(exit) => exit,
    }
}

/// Runs the key command, if there is one, where blocking is fine.
async fn get_keys(config: &Config) -> Result<Keyring, Exit> {
    let encryption = config.encryption.clone();
    let loaded = tokio::task::spawn_blocking(move || keys::load(&encryption)).await;
    let keys = loaded.map_err(|error| Exit::Panicked(format!("getting the key ({error})")))??;
    if !keys.is_empty() {
        let ids: Vec<String> = keys.ids().iter().map(ToString::to_string).collect();
        let known = ids.join(", ");
        match keys.writing_id() {
            Some(id) => tracing::info!(key = %id, known, "The journal is written encrypted."),
            None => tracing::info!(
                known,
                "The journal is written plain; older files may be encrypted."
            ),
        }
    }
    Ok(keys)
}

struct Node {
    config: Arc<Config>,
    /// The keys of the journal, got once: a later membership must not depend on a key server.
    keys: Keyring,
    state: Arc<State>,
    inbox: Inbox,
    /// A membership that is being started.
    starting: Option<JoinHandle<Started>>,
    /// When to try to follow again.
    rejoin_at: Option<Instant>,
    backoff: Backoff,
    signals: Signals,
    was_healthy: bool,
}

impl Node {
    /// Opens the health port and checks what can be checked without the shared directory.
    async fn prepare(config: Config) -> Result<Node, Exit> {
        let signals = Signals::new()?;
        let state = State::new(&config);
        let http = config.http.listen.value.to_string();
        let failed = |error| Exit::Http {
            address: http.clone(),
            error,
        };
        let listener = TcpListener::bind(&http).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        state.set_http(address);
        announce::http(address);
        tokio::spawn(console::serve(
            listener,
            Arc::clone(&state) as Arc<dyn console::Source>,
        ));
        // The health port answers while a key command takes its time.
        let keys = get_keys(&config).await?;
        state.set_keys(&keys);
        for address in &config.listeners.openwire.value {
            check_address(address).await?;
        }
        let (name, directory) = (&config.broker.name.value, &config.broker.directory.value);
        tracing::info!(name, directory = %directory.display(), http = %address, "The broker starts.");
        Ok(Node {
            config: Arc::new(config),
            keys,
            state,
            inbox: Inbox::new(),
            starting: None,
            rejoin_at: None,
            backoff: Backoff::new(REJOIN_ATTEMPTS),
            signals,
            was_healthy: true,
        })
    }

    async fn live(&mut self) -> Exit {
        self.join();
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rejoin_at = self.rejoin_at;
            let step = tokio::select! {
                biased;
                event = self.inbox.next() => self.on_event(event).await,
                started = finished(&mut self.starting) => self.on_started(started),
                _ = self.signals.next() => Err(self.stop().await),
                () = at(rejoin_at) => {
                    self.rejoin_at = None;
                    self.join();
                    Ok(())
                }
                _ = tick.tick() => {
                    self.watch();
                    Ok(())
                }
            };
            if let Err(exit) = step {
                return exit;
            }
        }
    }

    /// Starts a new membership in the background: it reads the directory, which can block.
    fn join(&mut self) {
        self.backoff.begun(Instant::now());
        self.starting = Some(self.inbox.join(
            Arc::clone(&self.config),
            self.keys.clone(),
            self.state.traffic(),
        ));
    }

    fn on_started(&mut self, started: Started) -> Result<(), Exit> {
        match started {
            Ok(member) => {
                self.state.set_member(member);
                Ok(())
            }
            Err(error) if !self.backoff.is_first() => self.rejoin_later(error.to_string()),
            Err(error) => Err(Exit::Start(error)),
        }
    }

    async fn on_event(&mut self, event: Event) -> Result<(), Exit> {
        match event {
            Event::Standby => {
                self.backoff.followed();
                self.step(Occurrence::Followed, "it follows the journal", None)
            }
            Event::TakingOver { cause, epoch } => {
                self.state.epoch_reached(epoch);
                let (text, machine) = describe_cause(cause);
                self.step(Occurrence::TookOver, text, Some(machine))
            }
            Event::Active(store) => self.serve(store).await,
            Event::Fenced(reason) => self.on_fenced(&reason),
            Event::Released => self.on_lost("the membership ended unasked"),
            Event::KeyMissing(error) => {
                self.close_at_once();
                self.state.step(Occurrence::Lost, "a key is missing", None);
                Err(Exit::KeyMissing(error))
            }
            Event::Failed(what) => Err(self.fail(what)),
        }
    }

    /// Every illegal step is a defect, and no role is worth keeping with one.
    fn step(
        &mut self,
        occurrence: Occurrence,
        cause: &str,
        machine: Option<&str>,
    ) -> Result<(), Exit> {
        match self.state.step(occurrence, cause, machine) {
            Step::To(_) | Step::Stay => Ok(()),
            Step::Illegal => {
                let role = self.state.role();
                self.close_at_once();
                Err(Exit::Panicked(format!(
                    "`{occurrence:?}` cannot happen to a broker that is {role}"
                )))
            }
        }
    }

    async fn serve(&mut self, store: Arc<Store>) -> Result<(), Exit> {
        let epoch = store.epoch();
        self.state.epoch_reached(epoch);
        // Not every way to the role announces itself.
        if self.state.role() != Role::TakingOver {
            self.step(Occurrence::TookOver, "the membership may serve", None)?;
        }
        announce::replayed(epoch);
        match Serving::open(&self.config, store).await {
            Ok(serving) => {
                for address in serving.addresses() {
                    announce::listening(&address);
                }
                self.state.set_serving(Arc::new(serving));
                self.backoff.followed();
                self.step(Occurrence::Served, "the ports are open", None)
            }
            Err(exit) => {
                tracing::error!(error = %exit, "Cannot serve; the role goes to the other broker.");
                self.release().await;
                Err(exit)
            }
        }
    }

    fn on_fenced(&mut self, reason: &FenceReason) -> Result<(), Exit> {
        // First of all: clients must notice before anything that could take time.
        self.close_at_once();
        let cause = match reason {
            FenceReason::NewerClaim(epoch) => {
                self.state.epoch_reached(*epoch);
                format!("another broker claimed epoch {epoch}")
            }
            FenceReason::LeaseExpired => "the lease ran out before it was renewed".to_owned(),
            FenceReason::Storage(what) => format!("the storage failed: {what}"),
        };
        self.on_lost(&cause)
    }

    fn on_lost(&mut self, cause: &str) -> Result<(), Exit> {
        self.close_at_once();
        self.step(Occurrence::Lost, cause, None)?;
        self.rejoin_later(cause.to_owned())
    }

    fn rejoin_later(&mut self, cause: String) -> Result<(), Exit> {
        self.inbox.forget();
        self.starting = None;
        if let Some(member) = self.state.take_member() {
            membership::end(member);
        }
        match self.backoff.next(Instant::now()) {
            Some(pause) => {
                let pause_ms = pause.as_millis() as u64;
                tracing::warn!(
                    cause,
                    pause_ms,
                    "Will follow the journal again after a pause."
                );
                self.rejoin_at = Some(Instant::now() + pause);
                Ok(())
            }
            None => Err(Exit::StorageFailed(cause)),
        }
    }

    fn fail(&mut self, what: String) -> Exit {
        self.close_at_once();
        self.state.step(Occurrence::Lost, &what, None);
        if watchdog::has_storage_panicked() {
            Exit::Panicked(what)
        } else {
            Exit::StorageFailed(what)
        }
    }

    fn close_at_once(&mut self) {
        if let Some(serving) = self.state.take_serving() {
            serving.abandon();
        }
    }

    /// A planned end. On the active it is a switchover: what clients sent is answered, they are
    /// told where to go, and the lock is let go for the standby to take at once.
    async fn stop(&mut self) -> Exit {
        let was = self.state.role();
        self.state
            .step(Occurrence::StopAsked, "a signal asked for it", None);
        let began = Instant::now();
        let Node {
            state,
            inbox,
            starting,
            signals,
            ..
        } = self;
        let orderly = async {
            if let Some(serving) = state.take_serving() {
                serving.shut_down().await;
            }
            release(state, inbox, starting).await
        };
        let exit = tokio::select! {
            released = orderly => {
                if released {
                    Exit::Stopped
                } else {
                    let waited = RELEASE_PATIENCE.as_secs();
                    Exit::StorageFailed(format!(
                        "the storage did not let the locks go within {waited} s of the stop"
                    ))
                }
            }
            signal = signals.next() => Exit::Hurried { signal },
        };
        let took_ms = began.elapsed().as_millis() as u64;
        tracing::info!(%was, took_ms, outcome = %exit, "The broker stops.");
        exit
    }

    async fn release(&mut self) {
        release(&self.state, &mut self.inbox, &mut self.starting).await;
    }

    /// Says how far a recovery is, what has become late, and when it is well again. Nothing waits
    /// silently.
    fn watch(&mut self) {
        let health = self.state.health();
        let role = self.state.role();
        // Most starts are shorter than what is worth telling.
        let told = health
            .recovery
            .filter(|recovery| recovery.elapsed_ms >= 500);
        if let Some(recovery) = told {
            let Recovery {
                done_bytes,
                total_bytes,
                remaining_ms,
                ..
            } = recovery;
            tracing::info!(%role, %recovery, done_bytes, total_bytes, remaining_ms, "Recovering.");
            announce::recovery(role, &recovery);
        }
        match (&health.reason, self.was_healthy) {
            (Some(reason), true) => tracing::warn!(%role, reason, "The broker is not healthy."),
            (None, false) => tracing::info!(%role, "The broker is healthy again."),
            _ => {}
        }
        self.was_healthy = health.healthy;
    }
}

impl console::Source for State {
    fn is_active(&self) -> bool {
        self.role() == Role::Active
    }

    fn trouble(&self) -> Option<String> {
        self.health().reason
    }

    fn warning(&self) -> Option<String> {
        self.health().warning
    }

    fn recovery(&self) -> Option<String> {
        self.health().recovery.map(|recovery| recovery.to_string())
    }

    fn role_name(&self) -> &'static str {
        self.role().name()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::to_value(State::status(self)).unwrap_or_default()
    }

    fn decide(&self, transaction: TransactionRef, is_commit: bool) -> Decided {
        let serving = self.serving().filter(|_| self.role() == Role::Active);
        Box::pin(async move {
            match serving {
                Some(serving) => serving.decide(&transaction, is_commit).await,
                None => Err(DecideError::NotActive),
            }
        })
    }
}

/// Lets the locks go; false when the storage did not answer in time. Without a membership there is
/// nothing to let go.
async fn release(
    state: &State,
    inbox: &mut Inbox,
    starting: &mut Option<JoinHandle<Started>>,
) -> bool {
    let deadline = Instant::now() + RELEASE_PATIENCE;
    if starting.is_some()
        && let Ok(Ok(member)) = tokio::time::timeout_at(deadline, finished(starting)).await
    {
        state.set_member(member);
    }
    let Some(member) = state.member() else {
        return true;
    };
    // It may block while it writes what was appended.
    let asked = tokio::task::spawn_blocking(move || member.release());
    let released = async {
        loop {
            match inbox.next().await {
                Event::Released | Event::Fenced(_) | Event::KeyMissing(_) | Event::Failed(_) => {
                    return;
                }
                Event::Standby | Event::TakingOver { .. } | Event::Active(_) => {}
            }
        }
    };
    let is_released = tokio::time::timeout_at(deadline, released).await.is_ok();
    // Ended or not: the process goes, and the kernel lets the locks go with it.
    let _ = timeout(Duration::from_millis(100), asked).await;
    is_released
}

fn describe_cause(cause: Cause) -> (&'static str, &'static str) {
    match cause {
        Cause::FirstStart => ("the directory has no journal yet", "first_start"),
        Cause::Lock => ("the locks were free", "lock"),
        Cause::Lease => ("the lease was not renewed", "lease"),
    }
}

/// Waits for `task` and takes it; for ever without one.
async fn finished(task: &mut Option<JoinHandle<Started>>) -> Started {
    let Some(running) = task.as_mut() else {
        return std::future::pending().await;
    };
    let started = running.await;
    *task = None;
    started.unwrap_or_else(|error| Err(JoinError::Panicked(error)))
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Finds at the start what would otherwise fail in the middle of a takeover: names that do not
/// resolve, and addresses of other hosts. The port stays closed.
async fn check_address(address: &TransportAddress) -> Result<(), Exit> {
    let refuse = |reason: String| Exit::Listen {
        address: address.to_string(),
        reason,
    };
    let name = (address.0.host.as_str(), address.0.port);
    let found: Vec<_> = tokio::net::lookup_host(name)
        .await
        .map_err(|error| refuse(error.to_string()))?
        .collect();
    if found.is_empty() {
        return Err(refuse("the name has no address".to_owned()));
    }
    for address in found {
        UdpSocket::bind((address.ip(), 0)).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Exit> {
        let terminate = signal(SignalKind::terminate()).map_err(Exit::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Exit::Signals)?;
        Ok(Signals {
            terminate,
            interrupt,
        })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> u8 {
        let (name, number) = tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.interrupt.recv() => ("SIGINT", 2),
        };
        tracing::info!(signal = name, "A signal arrived.");
        number
    }
}
