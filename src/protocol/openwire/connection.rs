//! The task of one connection: it reads commands, has them carried out, and writes answers and
//! dispatches. Everything that is ready goes out in one write.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openwire::{
    BrokerInfo, Command, ConnectionControl, ConnectionError, ConnectionInfo, ConsumerControl,
    Dialect, Dispatch, ExceptionResponse, KeepAliveInfo, MessageDispatch, Negotiated, ProducerAck,
    ProducerId, Response, Version, WireFormat, WireString, decode, encode, encode_dispatch,
    negotiate,
};
use storage::Lsn;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::OpenWireOptions;
use super::error::{End, Failure};
use super::flow::{Goodbye, Ticket};
use super::session::{Outcome, Session};
use super::wire::{Read, Wire};
use crate::broker::security::{Credentials, Secret};
use crate::broker::usage::{LargePass, WaitingRoom};
use crate::broker::{Broker, ConnectRequest, Delivery, LastDelivered, Order, Phase, Receipt};

/// The first frame of a peer is small; before it nothing is known of the peer.
const FIRST_FRAME_BYTES: usize = 64 << 10;
/// Frames carried out before the connection looks at its other duties again.
const FRAMES_AT_ONCE: usize = 256;
/// How soon to look again while acknowledging is not allowed.
const HELD_BACK: Duration = Duration::from_millis(10);
/// A time that is never reached.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Serves one client until it goes, or must go.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    broker: Arc<Broker>,
    options: Arc<OpenWireOptions>,
) {
    let _attendance = broker.attend();
    let mut phase = broker.watch_phase();
    let mut wire = Wire::new(stream);
    let handshake = tokio::select! {
        biased;
        _ = phase.wait_for(|phase| *phase != Phase::Serving) => Err(End::BrokerEnds),
        handshake = shake_hands(&mut wire, &broker, &options) => handshake,
    };
    let end = match handshake {
        Ok(negotiated) => {
            tracing::debug!(%peer, version = %negotiated.version, "A client connected.");
            ConnectionTask::new(wire, broker, options, negotiated, peer)
                .run()
                .await
        }
        Err(end) => end,
    };
    if end.is_peers_fault() {
        tracing::warn!(%peer, cause = %end, "A connection was closed: the peer broke the protocol.");
    } else {
        tracing::debug!(%peer, cause = %end, "A connection ended.");
    }
}

/// Sends our WireFormatInfo, waits for the peer's, and tells it who we are.
async fn shake_hands(
    wire: &mut Wire,
    broker: &Broker,
    options: &OpenWireOptions,
) -> Result<Negotiated, End> {
    let ours = our_wire_format(options);
    let info = ours.to_info().expect("our own WireFormatInfo is small");
    encode(&info.into(), Version::OLDEST, &mut wire.outgoing)
        .expect("our own WireFormatInfo is small");
    let patience = options
        .max_inactivity_initial_delay
        .max(Duration::from_secs(1));
    let frame = timeout(patience, first_frame(wire))
        .await
        .map_err(|_| End::NoHandshake(patience))??;
    let theirs = match decode(frame, Version::OLDEST)? {
        Command::WireFormatInfo(info) => WireFormat::from_info(&info)?,
        other => return Err(End::NotWireFormat(other.name())),
    };
    let negotiated = negotiate(&ours, &theirs)?;
    if negotiated.tcp_no_delay {
        wire.set_no_delay()?;
    }
    let info = Command::from(BrokerInfo {
        broker_id: Some(broker.id().clone()),
        broker_url: broker
            .options()
            .peers
            .first()
            .map(|uri| WireString::from(uri.as_str())),
        broker_name: Some(broker.options().name.as_str().into()),
        ..BrokerInfo::default()
    });
    encode(&info, negotiated.dialect(), &mut wire.outgoing).expect("BrokerInfo is in all versions");
    Ok(negotiated)
}

fn our_wire_format(options: &OpenWireOptions) -> WireFormat {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    WireFormat {
        max_inactivity_duration_ms: milliseconds(options.max_inactivity),
        max_inactivity_initial_delay_ms: milliseconds(options.max_inactivity_initial_delay),
        max_frame_size: i64::try_from(options.max_frame_bytes).unwrap_or(i64::MAX),
        ..WireFormat::default()
    }
}

async fn first_frame(wire: &mut Wire) -> Result<Bytes, End> {
    loop {
        wire.write()?;
        if let Some(frame) = wire.frame(FIRST_FRAME_BYTES)? {
            return Ok(frame);
        }
        wire.ready(true).await?;
        if wire.read()? == Read::End {
            return Err(End::Closed);
        }
    }
}

/// An answer that waits for the journal.
pub(super) enum Answer {
    Response(i32),
    Command(Box<Command>),
    Window(ProducerId, i32),
}

pub(super) struct ConnectionTask {
    pub(super) wire: Wire,
    pub(super) broker: Arc<Broker>,
    pub(super) options: Arc<OpenWireOptions>,
    pub(super) dialect: Dialect,
    max_inactivity: Option<Duration>,
    /// Before this silence is no fault.
    patient_until: Instant,
    pub(super) peer: SocketAddr,
    pub(super) session: Session,
    /// Sends that wait for room.
    pub(super) waiting: WaitingRoom<Ticket>,
    /// Ends of transactions that wait for sends of theirs.
    pub(super) deferred: Vec<Command>,
    pub(super) goodbye: Option<Goodbye>,
    /// The large frame that is arriving is let in.
    pub(super) large_pass: Option<LargePass>,
    /// Has a permit when the journal has released what was last awaited.
    released: Arc<Notify>,
    awaited: Lsn,
    phase: watch::Receiver<Phase>,
    replaced: Option<watch::Receiver<bool>>,
    unanswered: VecDeque<(Lsn, Answer)>,
    deliveries: VecDeque<Delivery>,
    is_fault_tolerant: bool,
    /// Frames may be left in the buffer.
    pub(super) has_frames: bool,
    /// The client was refused: it may read why until then.
    farewell_at: Option<Instant>,
}

/// What the task waits for has happened.
enum Woken {
    Socket,
    Outbox,
    Journal,
    Room,
    Time,
    Phase,
    Replaced,
}

impl ConnectionTask {
    fn new(
        wire: Wire,
        broker: Arc<Broker>,
        options: Arc<OpenWireOptions>,
        negotiated: Negotiated,
        peer: SocketAddr,
    ) -> Self {
        ConnectionTask {
            wire,
            options,
            dialect: negotiated.dialect(),
            max_inactivity: negotiated.max_inactivity,
            patient_until: Instant::now() + negotiated.max_inactivity_initial_delay,
            peer,
            session: Session::default(),
            waiting: WaitingRoom::new(Arc::clone(&broker), peer.to_string()),
            deferred: Vec::new(),
            goodbye: None,
            large_pass: None,
            released: Arc::default(),
            awaited: Lsn(0),
            phase: broker.watch_phase(),
            replaced: None,
            unanswered: VecDeque::new(),
            deliveries: VecDeque::new(),
            is_fault_tolerant: false,
            has_frames: true,
            farewell_at: None,
            broker,
        }
    }

    async fn run(mut self) -> End {
        let end = match self.work().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let last_words = match end {
            End::ShutDown | End::BrokerEnds => self.broker.may_acknowledge(),
            // An answer given before the garbage came may still be on its way.
            ref end => end.is_peers_fault() && self.broker.may_acknowledge(),
        };
        // What waits for room goes first: nobody is seen waiting on a connection that is gone.
        self.waiting.withdraw(|_| true);
        self.session.close(LastDelivered::Unknown);
        if last_words {
            self.wire.flush(self.options.farewell).await;
        }
        end
    }

    async fn work(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            self.carry_out_frames().await?;
            self.retry_waiting().await?;
            self.answer_released();
            self.gather_deliveries();
            let is_held_back = !self.write()?;
            if self.has_frames && self.may_read() {
                tokio::task::yield_now().await;
                self.check_phase()?;
                continue;
            }
            match self.wait(is_held_back).await? {
                Woken::Socket => self.read()?,
                Woken::Outbox | Woken::Journal => {}
                Woken::Room => self.look_for_peer().await?,
                Woken::Time => self.on_time()?,
                Woken::Phase => self.on_phase().await?,
                Woken::Replaced => return Err(End::Replaced),
            }
        }
    }

    /// Whether commands may be taken: not while what they cause cannot go anywhere.
    fn may_read(&self) -> bool {
        !self.is_choked() && self.has_waiting_room()
    }

    /// What was caused already has to go somewhere first; that never takes long.
    fn is_choked(&self) -> bool {
        self.wire.outgoing.len() >= self.options.write_bytes
            || self.is_large_frame_kept_out()
            || self.unanswered.len() >= self.options.unanswered_max
            || self.broker.unwritten_bytes() >= self.options.unwritten_bytes_max
    }

    async fn wait(&mut self, is_held_back: bool) -> Result<Woken, End> {
        let may_read = self.may_read();
        self.await_release();
        let wakes_at = self.wakes_at(is_held_back);
        // While nothing may be written, room in the socket is of no interest.
        let ready = async {
            if is_held_back {
                std::future::pending().await
            } else {
                self.wire.ready(may_read).await
            }
        };
        let has_room = self.wire.outgoing.len() < self.options.write_bytes;
        let connection = self.session.open_connection().filter(|_| has_room);
        let outbox = async {
            match connection {
                Some(connection) => connection.outbox().woken().await,
                None => std::future::pending().await,
            }
        };
        let replaced = async {
            match &mut self.replaced {
                // An error means that the connection is gone already.
                Some(replaced) => drop(replaced.wait_for(|replaced| *replaced).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.phase.changed() => Ok(Woken::Phase),
            () = replaced => Ok(Woken::Replaced),
            () = self.released.notified() => Ok(Woken::Journal),
            () = outbox => Ok(Woken::Outbox),
            () = self.waiting.called() => Ok(Woken::Room),
            ready = ready => Ok(ready.map(|()| Woken::Socket)?),
            () = sleep_until(wakes_at) => Ok(Woken::Time),
        }
    }

    /// When the task must look after itself at the latest.
    fn wakes_at(&self, is_held_back: bool) -> Instant {
        let now = Instant::now();
        let mut at = now + NEVER;
        if is_held_back || self.is_choked() {
            at = now + HELD_BACK;
        }
        if let Some(limit) = self.max_inactivity {
            at = at.min(self.wire.spoke_at + limit / 3);
            if self.may_read() {
                at = at.min(self.silent_at(limit));
            }
        }
        self.farewell_at.map_or(at, |farewell| at.min(farewell))
    }

    /// When the peer has been silent for too long.
    fn silent_at(&self, limit: Duration) -> Instant {
        self.wire.heard_at.max(self.patient_until) + limit
    }

    fn on_time(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.farewell_at.is_some_and(|at| at <= now) {
            return Err(End::Refused);
        }
        let Some(limit) = self.max_inactivity else {
            return Ok(());
        };
        if self.wire.spoke_at + limit / 3 <= now && self.wire.outgoing.is_empty() {
            self.tell(&KeepAliveInfo::default().into());
            // Counts as spoken even while it is held back, or it would be said again at once.
            self.wire.spoke_at = now;
        }
        if self.silent_at(limit) <= now && self.may_read() {
            // The process may have been stopped: what arrived meanwhile is no silence.
            self.read()?;
            if self.silent_at(limit) <= now {
                return Err(End::Silent(limit));
            }
        }
        Ok(())
    }

    fn check_phase(&self) -> Result<(), End> {
        if *self.phase.borrow() == Phase::Abandoned {
            Err(End::Fenced)
        } else {
            Ok(())
        }
    }

    /// The broker ends: by plan the client is told, and what it sent is still answered.
    async fn on_phase(&mut self) -> Result<(), End> {
        let phase = self.phase.borrow_and_update().clone();
        let reconnect_to = match phase {
            Phase::Serving => return Ok(()),
            Phase::Abandoned => return Err(End::Fenced),
            Phase::Closing { reconnect_to } => reconnect_to,
        };
        if let Some(uri) = reconnect_to.filter(|_| self.is_fault_tolerant) {
            self.tell(&Command::from(ConnectionControl {
                connected_brokers: Some(WireString::default()),
                reconnect_to: Some(uri.as_str().into()),
                ..ConnectionControl::default()
            }));
        }
        loop {
            self.answer_released();
            self.write()?;
            if self.unanswered.is_empty() && self.wire.outgoing.is_empty() {
                return Err(End::BrokerEnds);
            }
            self.await_release();
            tokio::select! {
                biased;
                _ = self.phase.changed() => return Err(End::Fenced),
                () = self.released.notified() => {}
                () = tokio::time::sleep(HELD_BACK) => {}
            }
        }
    }

    fn read(&mut self) -> Result<(), End> {
        if !self.may_read() {
            return Ok(());
        }
        match self.wire.read()? {
            Read::Some => self.has_frames = true,
            Read::Nothing => {}
            Read::End => return Err(End::Closed),
        }
        Ok(())
    }

    /// Writes what may be written. False: the right to acknowledge is in doubt, so nothing is.
    fn write(&mut self) -> Result<bool, End> {
        if self.wire.outgoing.is_empty() {
            return Ok(true);
        }
        if !self.broker.may_acknowledge() {
            self.check_phase()?;
            return Ok(false);
        }
        self.wire.write()?;
        Ok(true)
    }

    async fn carry_out_frames(&mut self) -> Result<(), End> {
        self.let_large_frame_in();
        for _ in 0..FRAMES_AT_ONCE {
            if !self.has_frames || !self.may_read() {
                return Ok(());
            }
            match self.wire.frame(self.options.max_frame_bytes)? {
                Some(frame) => {
                    self.carry_out(frame).await?;
                    self.large_pass = None;
                }
                None => {
                    self.has_frames = false;
                    self.let_large_frame_in();
                }
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self, frame: Bytes) -> Result<(), End> {
        let command = decode(frame.clone(), self.dialect)?;
        if self.farewell_at.is_some() {
            return Ok(());
        }
        let Some(command) = self.unless_deferred(command) else {
            return Ok(());
        };
        if let Command::Message(message) = &command {
            return self.send(&frame, message);
        }
        self.carry_out_command(command).await
    }

    pub(super) async fn carry_out_command(&mut self, command: Command) -> Result<(), End> {
        if let Command::ConnectionInfo(info) = command {
            return self.open(*info).await;
        }
        let Some((id, is_response_required)) = command.header() else {
            return match command {
                Command::Null | Command::WireFormatInfo(_) => Ok(()),
                other => Err(End::Unexpected(other.name())),
            };
        };
        let outcome = match &command {
            Command::MessageAck(ack) => self.session.acknowledge(ack),
            Command::MessagePull(pull) => self.session.pull(pull),
            Command::TransactionInfo(info) => self.session.transaction(info),
            Command::SessionInfo(info) => self.session.add_session(info),
            Command::ProducerInfo(info) => self.session.add_producer(info),
            Command::ConsumerInfo(info) => self.session.add_consumer(info),
            Command::ConsumerControl(control) => self.session.control(control),
            Command::DestinationInfo(info) => self.session.destination(info),
            Command::RemoveSubscriptionInfo(info) => self.session.unsubscribe(info),
            Command::RemoveInfo(info) => self.remove(info),
            Command::KeepAliveInfo(info) => Ok(self.keep_alive(info)),
            Command::ConnectionControl(control) => {
                self.is_fault_tolerant |= control.fault_tolerant;
                Ok(Outcome::Done)
            }
            Command::ShutdownInfo(_) => return Err(End::ShutDown),
            // Old brokers ended the whole process for one of these.
            Command::FlushCommand(_) | Command::ControlCommand(_) => Ok(Outcome::Done),
            other if is_clients(other) => Err(Failure::Unsupported("not supported here")),
            other => return Err(End::Unexpected(other.name())),
        };
        for notice in std::mem::take(&mut self.session.notices) {
            self.tell(&notice);
        }
        self.answer(id, is_response_required, outcome)
    }

    async fn open(&mut self, info: ConnectionInfo) -> Result<(), End> {
        let (id, is_response_required) = (info.command_id, info.response_required);
        let is_manageable = info.manageable;
        let outcome = self.connect(info).await;
        if let Err(End::BrokerEnds) = outcome {
            return Err(End::BrokerEnds);
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(end) => return Err(end),
        };
        let is_refused = outcome.is_err();
        self.answer(id, is_response_required, outcome)?;
        if is_refused {
            self.farewell_at = Some(Instant::now() + self.options.farewell);
        } else if is_manageable {
            self.tell(&Command::from(ConnectionControl {
                connected_brokers: Some(self.broker.options().peers.join(",").into()),
                reconnect_to: Some(WireString::default()),
                ..ConnectionControl::default()
            }));
        }
        Ok(())
    }

    async fn connect(&mut self, mut info: ConnectionInfo) -> Result<Result<Outcome, Failure>, End> {
        let Some(id) = info.connection_id.clone() else {
            return Ok(Err(Failure::Misuse("a ConnectionInfo without id")));
        };
        if let Some(present) = self.session.open_connection() {
            return Ok(if *present.id() == id {
                Ok(Outcome::Done)
            } else {
                Err(Failure::Misuse("a second connection on the same socket"))
            });
        }
        self.is_fault_tolerant |= info.fault_tolerant;
        let request = ConnectRequest {
            id: id.detached(),
            client_id: info
                .client_id
                .as_ref()
                .map(WireString::detached)
                .unwrap_or_default(),
            is_reconnect: info.failover_reconnect,
            credentials: Credentials {
                user: info.user_name.as_ref().map(WireString::detached),
                password: info
                    .password
                    .take()
                    .map(|password| Secret::new(password.expose().to_string())),
            },
            announcement: Command::from(info),
        };
        let mut phase = self.broker.watch_phase();
        let connected = tokio::select! {
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return Err(End::BrokerEnds),
            connected = self.broker.connect(request) => connected,
        };
        Ok(match connected {
            Ok(connection) => {
                self.replaced = Some(connection.watch_replaced());
                self.waiting.set_connection(connection.id().to_string());
                self.session.opened(connection);
                Ok(Outcome::Done)
            }
            Err(refusal) => {
                tracing::info!(peer = %self.peer, cause = %refusal, "A client was refused.");
                Err(refusal.into())
            }
        })
    }

    fn remove(&mut self, info: &openwire::RemoveInfo) -> Result<Outcome, Failure> {
        let outcome = self.session.remove(info);
        if self.session.open_connection().is_none() {
            self.replaced = None;
        }
        outcome
    }

    fn keep_alive(&mut self, info: &KeepAliveInfo) -> Outcome {
        if info.response_required {
            self.tell(&KeepAliveInfo::default().into());
        }
        Outcome::Silent
    }

    /// Answers a command, if it wants an answer.
    pub(super) fn answer(
        &mut self,
        id: i32,
        is_response_required: bool,
        outcome: Result<Outcome, Failure>,
    ) -> Result<(), End> {
        match outcome {
            Err(failure) if failure.is_fenced() => return Err(End::Fenced),
            Err(failure) => self.refuse(id, is_response_required, &failure),
            Ok(Outcome::Silent) => {}
            Ok(_) if !is_response_required => {}
            Ok(Outcome::Done) => self.tell(&Response::to(id).into()),
            Ok(Outcome::Later(receipt)) => self.answer_at(receipt, Answer::Response(id)),
            Ok(Outcome::With(receipt, mut response)) => {
                match &mut response {
                    Command::DataArrayResponse(response) => response.correlation_id = id,
                    Command::IntegerResponse(response) => response.correlation_id = id,
                    _ => {}
                }
                self.answer_at(receipt, Answer::Command(Box::new(response)));
            }
        }
        Ok(())
    }

    fn refuse(&mut self, id: i32, is_response_required: bool, failure: &Failure) {
        tracing::debug!(peer = %self.peer, cause = %failure, "A command was refused.");
        let exception = failure.throwable();
        if is_response_required {
            self.tell(&ExceptionResponse::to(id, exception).into());
        } else {
            let connection = self.session.open_connection().map(|open| open.id().clone());
            self.tell(&Command::from(ConnectionError {
                exception: Some(exception),
                connection_id: connection,
                ..ConnectionError::default()
            }));
        }
    }

    pub(super) fn answer_at(&mut self, receipt: Receipt, answer: Answer) {
        match receipt {
            Receipt::Done => self.give(answer),
            Receipt::At(lsn) => self.unanswered.push_back((lsn, answer)),
        }
    }

    /// Has this task woken for the next answer, or, while too much waits to be written, for any release.
    fn await_release(&mut self) {
        let released = self.broker.released();
        let wanted = match self.unanswered.front() {
            Some((lsn, _)) => *lsn,
            None if self.is_choked() => Lsn(released.0 + 1),
            None => return,
        };
        // What was awaited earlier comes earlier, or has come.
        if self.awaited <= released || wanted < self.awaited {
            self.broker.releases().wake_at(wanted, &self.released);
            self.awaited = wanted;
        }
    }

    /// Answers what the journal has released.
    fn answer_released(&mut self) {
        if self.unanswered.is_empty() {
            return;
        }
        let released = self.broker.released();
        while let Some((_, answer)) = self.unanswered.pop_front_if(|(lsn, _)| *lsn <= released) {
            self.give(answer);
        }
    }

    fn give(&mut self, answer: Answer) {
        match answer {
            Answer::Response(id) => self.tell(&Response::to(id).into()),
            Answer::Command(response) => self.tell(&response),
            Answer::Window(producer, size) => self.tell(
                &ProducerAck {
                    producer_id: Some(producer),
                    size,
                    ..ProducerAck::default()
                }
                .into(),
            ),
        }
    }

    /// Appends a command to what goes out.
    fn tell(&mut self, command: &Command) {
        if let Err(error) = encode(command, self.dialect, &mut self.wire.outgoing) {
            tracing::debug!(peer = %self.peer, %error, "The client's version has no such command.");
        }
    }

    /// Takes deliveries out of the outbox while there is room for them.
    fn gather_deliveries(&mut self) {
        let Some(connection) = self.session.open_connection().map(Arc::clone) else {
            return;
        };
        for order in connection.outbox().take_orders() {
            self.pass_order(order);
        }
        while self.wire.outgoing.len() < self.options.write_bytes {
            let room = self.options.write_bytes - self.wire.outgoing.len();
            let is_waited_for = connection.outbox().take(room, &mut self.deliveries);
            if self.deliveries.is_empty() {
                return;
            }
            while let Some(delivery) = self.deliveries.pop_front() {
                self.deliver(&delivery);
            }
            if is_waited_for {
                connection.resume();
            }
        }
        // The rest stays in the outbox: whoever wakes next must find the wake-up still there.
        connection.outbox().wake();
    }

    fn pass_order(&mut self, order: Order) {
        let (tag, is_close, prefetch) = match order {
            Order::Close(tag) => (tag, true, 0),
            Order::Prefetch(tag, prefetch) => (tag, false, prefetch),
        };
        // Closed meanwhile: there is nothing left to order.
        let Some(consumer_id) = self.session.consumer(tag) else {
            return;
        };
        let control = ConsumerControl {
            consumer_id: Some(consumer_id.clone()),
            close: is_close,
            prefetch: i32::try_from(prefetch).unwrap_or(i32::MAX),
            ..ConsumerControl::default()
        };
        self.tell(&control.into());
    }

    fn deliver(&mut self, delivery: &Delivery) {
        // Closed meanwhile: what it did not get is back in its queue.
        let Some(consumer_id) = self.session.consumer(delivery.consumer) else {
            return;
        };
        let Some(message) = &delivery.message else {
            let nothing = Command::from(MessageDispatch {
                consumer_id: Some(consumer_id.clone()),
                ..MessageDispatch::default()
            });
            return self.tell(&nothing);
        };
        let dispatch = Dispatch {
            consumer_id,
            destination: Some(message.destination()),
            broker_sequence_id: i64::try_from(delivery.sequence).unwrap_or(i64::MAX),
            redelivery_counter: i32::try_from(delivery.redeliveries).unwrap_or(i32::MAX),
            first_in_group: delivery.is_first_in_group,
        };
        let version = self.dialect.version;
        let out = &mut self.wire.outgoing;
        if let Err(error) = encode_dispatch(&dispatch, message.stored(), version, out) {
            let message = message.id();
            tracing::warn!(peer = %self.peer, %message, %error, "A message cannot be dispatched.");
        }
    }
}

/// Commands that a peer may send, and that mean nothing here.
fn is_clients(command: &Command) -> bool {
    matches!(
        command,
        Command::BrokerInfo(_)
            | Command::ReplayCommand(_)
            | Command::ProducerAck(_)
            | Command::MessageDispatchNotification(_)
            | Command::BrokerSubscriptionInfo(_)
    )
}
