//! The task that owns a connection: it sends, matches answers, dispatches messages to consumers,
//! and after a loss reconnects and restores.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openwire::{
    Command, ConnectionControl, ConsumerId, Message, MessageDispatch, ProducerId, Response,
};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::audit::Audit;
use super::consumer::ConsumerInner;
use super::error::{ClientError, Refusal};
use super::producer::Window;
use super::restore::{StateTracker, Tracking};
use super::wire::{LinkError, OpenWireConnector, WireLink};
use crate::transport::{Event, GaveUp, Reconnector};

/// Requests that may wait for the connection's task.
const REQUESTS: usize = 1024;
/// While this many frames wait for the socket, no further request is taken.
const OUTBOX_FRAMES: usize = 1024;

/// What somebody wants sent.
pub(super) struct Request {
    /// Sent one after another with nothing in between.
    pub(super) commands: Vec<Command>,
    /// The life of the connection that the commands belong to; they are void in a later one.
    pub(super) generation: Option<u64>,
    /// Whether the last command asks for an answer.
    pub(super) wants_answer: bool,
    /// Told of the answer, or that the commands are on their way when none is wanted.
    pub(super) reply: Option<Reply>,
}

type Answer = oneshot::Receiver<Result<Command, ClientError>>;
pub(super) type Reply = oneshot::Sender<Result<Command, ClientError>>;

/// What the connection's task and its users both see.
pub(super) struct Shared {
    /// Counts the lives of the connection: it goes up at each interruption.
    pub(super) generation: AtomicU64,
    /// Recognises messages that come a second time; missing when switched off.
    pub(super) audit: Option<Mutex<Audit>>,
    pub(super) consumers: Mutex<HashMap<ConsumerId, Arc<ConsumerInner>>>,
    pub(super) windows: Mutex<HashMap<ProducerId, Arc<Window>>>,
    /// Where the connection leads at the moment.
    pub(super) remote: Mutex<Option<String>>,
    pub(super) broker_name: Mutex<Option<String>>,
}

/// The users' end of the channel to the connection's task.
#[derive(Clone)]
pub(super) struct Handle {
    requests: mpsc::Sender<Request>,
    stop: watch::Sender<bool>,
    pub(super) shared: Arc<Shared>,
}

const CLOSED: ClientError = ClientError::Closed { what: "connection" };

impl Handle {
    pub(super) fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Sends commands without waiting for more than a place in the queue.
    pub(super) async fn oneway(
        &self,
        commands: Vec<Command>,
        generation: Option<u64>,
    ) -> Result<(), ClientError> {
        if commands.is_empty() {
            return Ok(());
        }
        let request = Request {
            commands,
            generation,
            wants_answer: false,
            reply: None,
        };
        self.requests.send(request).await.map_err(|_| CLOSED)
    }

    /// A place in the queue, so that what follows needs no further wait.
    pub(super) async fn reserve(&self) -> Result<mpsc::Permit<'_, Request>, ClientError> {
        self.requests.reserve().await.map_err(|_| CLOSED)
    }

    /// As [`Handle::oneway`] where waiting is impossible; the commands are lost when the queue is
    /// full, so only farewells go this way.
    pub(super) fn farewell(&self, commands: Vec<Command>) {
        let request = Request {
            commands,
            generation: None,
            wants_answer: false,
            reply: None,
        };
        let _ = self.requests.try_send(request);
    }

    /// Sends commands and waits until they are on their way.
    pub(super) async fn send(&self, commands: Vec<Command>) -> Result<(), ClientError> {
        self.exchange(commands, None, false, None).await.map(|_| ())
    }

    /// Sends commands and waits for the answer to the last one; `limit` is the longest wait.
    pub(super) async fn request(
        &self,
        commands: Vec<Command>,
        generation: Option<u64>,
        limit: Option<Duration>,
    ) -> Result<Command, ClientError> {
        self.exchange(commands, generation, true, limit).await
    }

    async fn exchange(
        &self,
        commands: Vec<Command>,
        generation: Option<u64>,
        wants_answer: bool,
        limit: Option<Duration>,
    ) -> Result<Command, ClientError> {
        let exchanged = async {
            let answer = self.enqueue(commands, generation, wants_answer).await?;
            Self::answer(answer, None).await
        };
        match limit.filter(|limit| !limit.is_zero()) {
            // The queue may be full while there is no link, so its wait counts as well.
            Some(limit) => tokio::time::timeout(limit, exchanged)
                .await
                .map_err(|_| ClientError::ResponseTimeout(limit))?,
            None => exchanged.await,
        }
    }

    /// Puts commands into the queue; their answer is awaited with [`Handle::answer`]. In between
    /// the caller may let others take their turn.
    pub(super) async fn enqueue(
        &self,
        commands: Vec<Command>,
        generation: Option<u64>,
        wants_answer: bool,
    ) -> Result<Answer, ClientError> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            commands,
            generation,
            wants_answer,
            reply: Some(reply),
        };
        self.requests.send(request).await.map_err(|_| CLOSED)?;
        Ok(answer)
    }

    /// Waits for an answer, for `limit` at most.
    pub(super) async fn answer(
        answer: Answer,
        limit: Option<Duration>,
    ) -> Result<Command, ClientError> {
        let answered = async { answer.await.map_err(|_| CLOSED)? };
        match limit.filter(|limit| !limit.is_zero()) {
            Some(limit) => tokio::time::timeout(limit, answered)
                .await
                .map_err(|_| ClientError::ResponseTimeout(limit))?,
            None => answered.await,
        }
    }

    /// Ends the connection's task, whatever it is doing.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Starts the task of a connection.
pub(super) fn spawn(
    reconnector: Reconnector<OpenWireConnector>,
    shared: Arc<Shared>,
    tracker: StateTracker,
) -> Handle {
    let (requests, wanted) = mpsc::channel(REQUESTS);
    let (stop, stopped) = watch::channel(false);
    let send_timeout = reconnector.send_timeout();
    let core = Core {
        shared: Arc::clone(&shared),
        tracker,
        events: reconnector.event_sender(),
        pending: HashMap::new(),
        blocked: VecDeque::new(),
        outbox: VecDeque::new(),
        next_command_id: 0,
        next_order: 0,
        send_timeout,
        optimize_is_off: false,
    };
    tokio::spawn(run(reconnector, core, wanted, stopped));
    Handle {
        requests,
        stop,
        shared,
    }
}

/// A command whose answer is awaited.
struct Pending {
    order: u64,
    command: Command,
    tracking: Tracking,
    reply: Option<Reply>,
}

/// Everything of a connection except the seeking of links.
struct Core {
    shared: Arc<Shared>,
    tracker: StateTracker,
    events: broadcast::Sender<Event>,
    pending: HashMap<i32, Pending>,
    /// Requests that came while there was no link, and since when they wait.
    blocked: VecDeque<(Instant, Request)>,
    /// Frames that wait for the link's writer.
    outbox: VecDeque<Bytes>,
    next_command_id: i32,
    next_order: u64,
    send_timeout: Option<Duration>,
    optimize_is_off: bool,
}

/// Why the use of a link ended.
enum LinkEnd {
    Broken(LinkError),
    Left,
    Stopped,
}

async fn run(
    mut reconnector: Reconnector<OpenWireConnector>,
    mut core: Core,
    mut requests: mpsc::Receiver<Request>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let link = match core
            .seek(&mut reconnector, &mut requests, &mut stopped)
            .await
        {
            Ok(Some(link)) => link,
            Ok(None) => break,
            Err(gave_up) => return core.refuse_all(&gave_up, &mut requests, &mut stopped).await,
        };
        match core
            .serve(link, &mut reconnector, &mut requests, &mut stopped)
            .await
        {
            LinkEnd::Stopped => break,
            LinkEnd::Left => {
                core.interrupted();
                reconnector.left();
            }
            LinkEnd::Broken(error) => {
                let address = reconnector
                    .current()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                core.interrupted();
                if reconnector.lost(&error).is_err() {
                    let gave_up = super::error::lost(&address, error);
                    return core.refuse_all(&gave_up, &mut requests, &mut stopped).await;
                }
            }
        }
    }
    core.close(&CLOSED);
}

impl Core {
    /// Seeks a link; answers meanwhile what can be answered without one. `None` when stopped.
    async fn seek(
        &mut self,
        reconnector: &mut Reconnector<OpenWireConnector>,
        requests: &mut mpsc::Receiver<Request>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Option<WireLink>, GaveUp> {
        let connecting = reconnector.connect();
        tokio::pin!(connecting);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                linked = &mut connecting => {
                    let linked = linked?;
                    *lock(&self.shared.remote) = Some(linked.address.authority());
                    if !linked.is_first {
                        self.restore(&linked.transport);
                    }
                    return Ok(Some(linked.transport));
                }
                request = requests.recv(), if self.blocked.len() < REQUESTS => match request {
                    Some(request) => self.take_offline(request),
                    None => return Ok(None),
                },
                () = sleep_until(deadline) => self.time_out_blocked(),
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(None),
            }
        }
    }

    /// Uses a link until it ends.
    async fn serve(
        &mut self,
        mut link: WireLink,
        reconnector: &mut Reconnector<OpenWireConnector>,
        requests: &mut mpsc::Receiver<Request>,
        stopped: &mut watch::Receiver<bool>,
    ) -> LinkEnd {
        let outgoing = link.outgoing.clone();
        while let Some((_, request)) = self.blocked.pop_front() {
            self.take(request, &link);
        }
        loop {
            let control = {
                let moving = reconnector.move_wanted();
                tokio::pin!(moving);
                loop {
                    self.flush(&link);
                    tokio::select! {
                        arrived = link.incoming.recv() => match arrived {
                            Some(Ok(Command::ConnectionControl(control))) => break control,
                            Some(Ok(command)) => self.arrived(command, &link),
                            Some(Err(error)) => return LinkEnd::Broken(error),
                            None => return LinkEnd::Broken(LinkError::WriterEnded),
                        },
                        request = requests.recv(), if self.outbox.len() < OUTBOX_FRAMES => {
                            match request {
                                Some(request) => self.take(request, &link),
                                None => return LinkEnd::Stopped,
                            }
                        }
                        permit = outgoing.reserve(), if !self.outbox.is_empty() => {
                            let Ok(permit) = permit else {
                                return LinkEnd::Broken(writer_error(&mut link));
                            };
                            if let Some(frame) = self.outbox.pop_front() {
                                permit.send(frame);
                            }
                        }
                        _ = &mut moving => return LinkEnd::Left,
                        _ = stopped.wait_for(|stopped| *stopped) => {
                            self.flush(&link);
                            return LinkEnd::Stopped;
                        }
                    }
                }
            };
            self.controlled(&control, reconnector, &link);
        }
    }

    /// Hands waiting frames to the writer as long as it takes them at once.
    fn flush(&mut self, link: &WireLink) {
        while let Some(frame) = self.outbox.pop_front() {
            if let Err(
                mpsc::error::TrySendError::Full(frame) | mpsc::error::TrySendError::Closed(frame),
            ) = link.outgoing.try_send(frame)
            {
                self.outbox.push_front(frame);
                return;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let timeout = self.send_timeout?;
        self.blocked
            .iter()
            .find(|(_, request)| is_send(request))
            .map(|(since, _)| *since + timeout)
    }

    /// Fails the sends that have waited for a link too long.
    fn time_out_blocked(&mut self) {
        let Some(timeout) = self.send_timeout else {
            return;
        };
        let now = Instant::now();
        let waiting = std::mem::take(&mut self.blocked);
        for (since, request) in waiting {
            if is_send(&request) && now >= since + timeout {
                answer(request.reply, Err(ClientError::SendTimeout(timeout)));
            } else {
                self.blocked.push_back((since, request));
            }
        }
    }

    /// A request while there is no link: what a reconnect makes void is answered at once.
    fn take_offline(&mut self, request: Request) {
        if self.is_stale(&request) {
            return answer(request.reply, stale(&request.commands));
        }
        let is_void = request.commands.iter().all(|command| {
            matches!(
                command,
                Command::RemoveInfo(_) | Command::MessageAck(_) | Command::ShutdownInfo(_)
            )
        });
        if is_void {
            for command in &request.commands {
                self.tracker.track(command);
            }
            return answer(request.reply, Ok(Response::default().into()));
        }
        if let [Command::MessagePull(pull)] = &request.commands[..] {
            if pull.timeout != 0 {
                let nothing = MessageDispatch {
                    consumer_id: pull.consumer_id.clone(),
                    destination: pull.destination.clone(),
                    ..MessageDispatch::default()
                };
                self.dispatch(nothing, None);
            } else {
                self.tracker.track(&request.commands[0]);
            }
            return;
        }
        self.blocked.push_back((Instant::now(), request));
    }

    fn is_stale(&self, request: &Request) -> bool {
        let now = self.shared.generation.load(Ordering::Acquire);
        request
            .generation
            .is_some_and(|generation| generation != now)
    }

    /// A request while there is a link.
    fn take(&mut self, request: Request, link: &WireLink) {
        if self.is_stale(&request) {
            return answer(request.reply, stale(&request.commands));
        }
        let Request {
            commands,
            wants_answer,
            mut reply,
            ..
        } = request;
        let count = commands.len();
        for (index, mut command) in commands.into_iter().enumerate() {
            let is_last = index + 1 == count;
            self.next_command_id = self.next_command_id.wrapping_add(1);
            let id = self.next_command_id;
            command.set_header(id, wants_answer && is_last);
            let frame = match encode(&command, link) {
                Ok(frame) => frame,
                Err(error) => return answer(reply, Err(error)),
            };
            let tracking = self.tracker.track(&command);
            self.outbox.push_back(frame);
            if is_last && wants_answer {
                self.next_order += 1;
                let order = self.next_order;
                let reply = reply.take();
                self.pending.insert(
                    id,
                    Pending {
                        order,
                        command,
                        tracking,
                        reply,
                    },
                );
            }
        }
        answer(reply, Ok(Response::default().into()));
    }

    /// A command from the broker.
    fn arrived(&mut self, command: Command, link: &WireLink) {
        match command {
            Command::MessageDispatch(dispatch) => self.dispatch(*dispatch, Some(link)),
            Command::ProducerAck(ack) => {
                let windows = lock(&self.shared.windows);
                if let Some(window) = ack.producer_id.as_ref().and_then(|id| windows.get(id)) {
                    window.release(i64::from(ack.size));
                }
            }
            Command::BrokerInfo(info) => {
                let name = info.broker_name.as_ref().map(ToString::to_string);
                *lock(&self.shared.broker_name) = name;
                if info.fault_tolerant_configuration {
                    self.stop_optimizing(link);
                }
            }
            Command::ConsumerControl(control) => {
                let Some(id) = &control.consumer_id else {
                    return;
                };
                let consumer = lock(&self.shared.consumers).get(id).cloned();
                if control.close {
                    self.tracker.remove_consumer(id);
                    if let Some(consumer) = consumer {
                        consumer.close_by_broker();
                    }
                } else if let Some(consumer) = consumer {
                    consumer.set_prefetch(u32::try_from(control.prefetch).unwrap_or(0));
                }
            }
            Command::ConnectionError(error) => {
                let cause = error.exception.map(|e| e.to_string()).unwrap_or_default();
                tracing::warn!(cause, "The broker reported an error.");
                let _ = self.events.send(Event::BrokerError { cause });
            }
            other => self.answered(other),
        }
    }

    fn answered(&mut self, command: Command) {
        let (id, result) = match command {
            Command::Response(ref r) => (r.correlation_id, Ok(command)),
            Command::DataResponse(ref r) => (r.correlation_id, Ok(command)),
            Command::DataArrayResponse(ref r) => (r.correlation_id, Ok(command)),
            Command::IntegerResponse(ref r) => (r.correlation_id, Ok(command)),
            Command::ExceptionResponse(response) => {
                let exception = response.exception.unwrap_or_default();
                let text = |text: Option<openwire::WireString>| {
                    text.map(|text| text.to_string()).unwrap_or_default()
                };
                let refusal = Refusal {
                    class: text(exception.class),
                    message: text(exception.message),
                };
                (response.correlation_id, Err(refusal))
            }
            other => return tracing::debug!(command = other.name(), "Command ignored."),
        };
        match self.pending.remove(&id) {
            Some(pending) => {
                self.tracker.answered(&pending.command, result.is_ok());
                answer(pending.reply, result.map_err(ClientError::from));
            }
            // The answer to something that was only replayed.
            None => {
                if let Err(refusal) = result {
                    tracing::warn!(%refusal, "The broker refused a part of the restored state.");
                    let _ = self.events.send(Event::BrokerError {
                        cause: refusal.to_string(),
                    });
                }
            }
        }
    }

    fn dispatch(&mut self, dispatch: MessageDispatch, link: Option<&WireLink>) {
        let Some(id) = dispatch.consumer_id.clone() else {
            return;
        };
        self.tracker.pulled(&id);
        let consumer = lock(&self.shared.consumers).get(&id).cloned();
        // A consumer that is gone has told the broker so; the message stays there.
        let Some(consumer) = consumer else { return };
        if let (Some(ack), Some(link)) = (consumer.dispatched(dispatch), link) {
            self.take(
                Request {
                    commands: vec![ack],
                    generation: None,
                    wants_answer: false,
                    reply: None,
                },
                link,
            );
        }
    }

    /// The broker tells this client where to go or which other brokers there are.
    fn controlled(
        &mut self,
        control: &ConnectionControl,
        reconnector: &mut Reconnector<OpenWireConnector>,
        link: &WireLink,
    ) {
        if control.fault_tolerant {
            self.stop_optimizing(link);
        }
        let text = |text: &Option<openwire::WireString>| {
            text.as_ref()
                .map(|text| text.to_string().trim().to_owned())
                .unwrap_or_default()
        };
        let connected = text(&control.connected_brokers);
        if !connected.is_empty() {
            reconnector.push_addresses(&connected, control.rebalance_connection);
        } else if control.rebalance_connection {
            reconnector.rebalance();
        }
        let target = text(&control.reconnect_to);
        if !target.is_empty() {
            reconnector.reconnect_to(&target);
        }
    }

    /// A fault tolerant broker wants each message acknowledged by itself.
    fn stop_optimizing(&mut self, link: &WireLink) {
        if std::mem::replace(&mut self.optimize_is_off, true) {
            return;
        }
        let consumers: Vec<_> = lock(&self.shared.consumers).values().cloned().collect();
        let commands: Vec<Command> = consumers
            .iter()
            .filter_map(|consumer| consumer.stop_optimizing())
            .collect();
        if !commands.is_empty() {
            let request = Request {
                commands,
                generation: None,
                wants_answer: false,
                reply: None,
            };
            self.take(request, link);
        }
    }

    /// The link is gone: what consumers hold is void, and so are frames under way.
    fn interrupted(&mut self) {
        self.outbox.clear();
        *lock(&self.shared.remote) = None;
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        let consumers: Vec<_> = lock(&self.shared.consumers).values().cloned().collect();
        for consumer in consumers {
            consumer.interrupted();
        }
        for window in lock(&self.shared.windows).values() {
            window.reset();
        }
        // What the loss itself has done is done.
        let void: Vec<i32> = self
            .pending
            .iter()
            .filter(|(_, p)| matches!(p.command, Command::RemoveInfo(_) | Command::MessageAck(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in void {
            if let Some(pending) = self.pending.remove(&id) {
                answer(pending.reply, Ok(Response::default().into()));
            }
        }
    }

    /// Queues everything that the broker must be told again.
    fn restore(&mut self, link: &WireLink) {
        let restored = self.tracker.restore();
        for (id, transaction) in restored.in_doubt {
            if let Some(pending) = self.pending.remove(&id) {
                let transaction = transaction.to_string();
                answer(
                    pending.reply,
                    Err(ClientError::TransactionInDoubt { transaction }),
                );
            }
        }
        let mut unanswered: Vec<&Pending> = self
            .pending
            .values()
            .filter(|pending| pending.tracking == Tracking::ByRequest)
            .collect();
        unanswered.sort_by_key(|pending| pending.order);
        tracing::debug!(
            state = restored.commands.len(),
            requests = unanswered.len(),
            "Restoring the connection."
        );
        let commands = restored
            .commands
            .iter()
            .chain(unanswered.into_iter().map(|pending| &pending.command))
            .cloned()
            .chain(restored.controls.into_iter().map(Command::from));
        for command in commands {
            match encode(&command, link) {
                Ok(frame) => self.outbox.push_back(frame),
                // It was encoded before; only a broker with a smaller limit can get us here.
                Err(error) => tracing::error!(%error, "A command could not be restored."),
            }
        }
    }

    /// Nothing is tried any more: refuses everything until the users are gone.
    async fn refuse_all(
        &mut self,
        gave_up: &GaveUp,
        requests: &mut mpsc::Receiver<Request>,
        stopped: &mut watch::Receiver<bool>,
    ) {
        tracing::error!(%gave_up, "Connection given up.");
        let error = ClientError::GaveUp(gave_up.clone());
        self.close(&error);
        loop {
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => {
                        let is_farewell = request
                            .commands
                            .iter()
                            .all(|c| matches!(c, Command::RemoveInfo(_) | Command::ShutdownInfo(_)));
                        let result = if is_farewell {
                            Ok(Response::default().into())
                        } else {
                            Err(error.clone())
                        };
                        answer(request.reply, result);
                    }
                    None => return,
                },
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// Fails everything that waits.
    fn close(&mut self, error: &ClientError) {
        *lock(&self.shared.remote) = None;
        for (_, pending) in self.pending.drain() {
            answer(pending.reply, Err(error.clone()));
        }
        for (_, request) in self.blocked.drain(..) {
            answer(request.reply, Err(error.clone()));
        }
        let consumers: Vec<_> = lock(&self.shared.consumers).values().cloned().collect();
        for consumer in consumers {
            consumer.fail(error.clone());
        }
        for window in lock(&self.shared.windows).values() {
            window.reset();
        }
    }
}

/// The error behind a writer that ended, when it has told one.
fn writer_error(link: &mut WireLink) -> LinkError {
    while let Ok(arrived) = link.incoming.try_recv() {
        if let Err(error) = arrived {
            return error;
        }
    }
    LinkError::WriterEnded
}

fn is_send(request: &Request) -> bool {
    request
        .commands
        .iter()
        .any(|command| matches!(command, Command::Message(_)))
}

fn answer(reply: Option<Reply>, result: Result<Command, ClientError>) {
    if let Some(reply) = reply {
        // Whoever asked may have stopped waiting.
        let _ = reply.send(result);
    }
}

/// The answer to commands of an earlier life of the connection.
fn stale(commands: &[Command]) -> Result<Command, ClientError> {
    let transaction = commands.iter().find_map(|command| match command {
        Command::TransactionInfo(info) => info.transaction_id.as_ref(),
        _ => None,
    });
    match transaction {
        Some(transaction) => Err(ClientError::RolledBack {
            transaction: transaction.to_string(),
            reason: "the connection broke after its messages were received".to_owned(),
        }),
        None => Ok(Response::default().into()),
    }
}

fn encode(command: &Command, link: &WireLink) -> Result<Bytes, ClientError> {
    let mut out = BytesMut::with_capacity(match command {
        Command::Message(message) => message_room(message),
        _ => 128,
    });
    openwire::encode(command, link.negotiated.dialect(), &mut out)?;
    let size = out.len().saturating_sub(4);
    match link.negotiated.max_frame_size {
        Some(limit) if size as u64 > limit => Err(ClientError::FrameTooLarge { size, limit }),
        _ => Ok(out.freeze()),
    }
}

fn message_room(message: &Message) -> usize {
    message.window_size().saturating_sub(1024) + 256
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Locks a mutex whose holders cannot leave it broken: none of them panics half way.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
