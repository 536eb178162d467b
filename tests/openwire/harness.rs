//! A broker on a temporary directory, and a client that says exactly what a test wants said.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batonmq::broker::{Broker, BrokerOptions, ShutDownNotice};
use batonmq::protocol::openwire::OpenWireOptions;
use batonmq::transport::Listeners;
use bytes::BytesMut;
use openwire::{
    Command, ConnectionId, ConnectionInfo, ConsumerInfo, Destination, Message, MessageDispatch,
    ProducerInfo, SessionInfo, Version, WireFormat, decode, encode, next_frame,
};
use storage::clock::{Clock, RealClock};
use storage::disk::{Disk, RealDisk};
use storage::journal::{Callbacks, Journal, JournalOptions};
use storage::tail::Follower;
use storage::tenure::gate::Gate;
use storage::{Epoch, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a temporary directory.
pub(crate) struct Harness {
    directory: TempDir,
    runtime: Runtime,
    running: Option<Running>,
    broker_options: BrokerOptions,
    openwire_options: OpenWireOptions,
    epoch: u64,
}

struct Running {
    store: Arc<Store>,
    gate: Arc<Gate>,
    broker: Arc<Broker>,
    listeners: Listeners,
}

fn open_store(directory: &Path, epoch: u64) -> (Arc<Store>, Arc<Gate>) {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(directory).expect("a directory"));
    let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
    let gate = Gate::new(Arc::clone(&clock));
    let mut follower = Follower::open(Arc::clone(&disk)).expect("a journal");
    while !follower.poll().expect("a readable journal").is_at_end {}
    let point = follower.finish(Epoch(epoch)).expect("a whole journal");
    let options = JournalOptions {
        segment_bytes: 64 << 20,
        checkpoint_bytes: 64 << 20,
        preallocate: false,
        in_flight: JournalOptions::IN_FLIGHT,
        sync: storage::journal::SyncMethod::Auto,
    };
    let callbacks = Callbacks {
        on_failed: Box::new(|_| ()),
        on_prepared: Box::new(|| {}),
    };
    let guard = Arc::clone(&gate);
    let store = Journal::begin(
        disk,
        Arc::clone(&clock),
        guard,
        Epoch(epoch),
        point,
        options,
        callbacks,
    )
    .expect("a usable directory");
    // Only a renewal that starts when the first segment is locked proves that the lock is held.
    gate.renewed(clock.now(), Duration::from_secs(3600));
    (store, gate)
}

impl Harness {
    pub(crate) fn start() -> Self {
        Self::start_with(BrokerOptions::default(), OpenWireOptions::default())
    }

    pub(crate) fn start_with(
        broker_options: BrokerOptions,
        openwire_options: OpenWireOptions,
    ) -> Self {
        let mut harness = Harness {
            directory: tempfile::tempdir().expect("a temporary directory"),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime"),
            running: None,
            broker_options,
            openwire_options,
            epoch: 0,
        };
        harness.begin();
        harness
    }

    fn begin(&mut self) {
        self.epoch += 1;
        let (store, gate) = open_store(self.directory.path(), self.epoch);
        let handle = self.runtime.handle().clone();
        let broker = Broker::start(Arc::clone(&store), self.broker_options.clone(), handle);
        let addresses = ["tcp://127.0.0.1:0".to_owned()];
        let opening = Listeners::open(
            &addresses,
            Arc::clone(&broker),
            self.openwire_options.clone(),
        );
        let listeners = self.runtime.block_on(opening).expect("a free port");
        self.running = Some(Running {
            store,
            gate,
            broker,
            listeners,
        });
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running().listeners.local_addrs()[0]
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.running().broker
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.running().gate
    }

    /// Ends the tenure as a fault would, and begins the next one on the same journal.
    pub(crate) fn take_over(&mut self) {
        if let Some(running) = self.running.take() {
            running.listeners.close();
            running.broker.abandon();
            running.store.shut_down();
        }
        self.begin();
    }

    /// Ends the broker by plan.
    pub(crate) fn shut_down(&mut self, notice: ShutDownNotice) {
        if let Some(running) = self.running.take() {
            running.listeners.close();
            self.runtime.block_on(running.broker.shut_down(notice));
            running.store.shut_down();
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.listeners.close();
            running.broker.abandon();
            running.store.shut_down();
        }
    }
}

/// Waits for a condition, with a bound.
pub(crate) fn wait_for(what: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_met() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One socket to the broker.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    pub(crate) version: Version,
    pub(crate) id: ConnectionId,
    last_command: i32,
    sequence: i64,
    /// Dispatches that came while an answer was waited for.
    dispatches: VecDeque<MessageDispatch>,
}

impl Client {
    /// A socket on which nothing was said.
    pub(crate) fn raw(harness: &Harness) -> Self {
        let stream = TcpStream::connect(harness.address()).expect("a listener");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Client {
            stream,
            buffer: BytesMut::new(),
            version: Version::LATEST,
            id: ConnectionId::new("none"),
            last_command: 0,
            sequence: 0,
            dispatches: VecDeque::new(),
        }
    }

    /// A client after the exchange of WireFormatInfo.
    pub(crate) fn greeted(harness: &Harness) -> Self {
        let mut client = Self::raw(harness);
        let info = WireFormat::default().to_info().expect("a small one");
        client.send(&info.into());
        assert_eq!(client.receive().name(), "WireFormatInfo");
        assert_eq!(client.receive().name(), "BrokerInfo");
        client
    }

    /// A client with an open connection and session 1.
    pub(crate) fn connected(harness: &Harness, name: &str) -> Self {
        let mut client = Self::greeted(harness);
        client.id = ConnectionId::new(name);
        let info = client.connection_info(name);
        client.request(info.into());
        let session = SessionInfo {
            session_id: Some(client.id.session(1)),
            ..SessionInfo::default()
        };
        client.send(&session.into());
        client
    }

    pub(crate) fn connection_info(&self, client_id: &str) -> ConnectionInfo {
        ConnectionInfo {
            connection_id: Some(self.id.clone()),
            client_id: Some(client_id.into()),
            fault_tolerant: true,
            ..ConnectionInfo::default()
        }
    }

    pub(crate) fn produce(&mut self, destination: &Destination) {
        let producer = ProducerInfo {
            producer_id: Some(self.id.session(1).producer(1)),
            destination: Some(destination.clone()),
            ..ProducerInfo::default()
        };
        self.request(producer.into());
    }

    pub(crate) fn consumer_info(&self, number: i64, destination: &Destination) -> ConsumerInfo {
        ConsumerInfo {
            consumer_id: Some(self.id.session(1).consumer(number)),
            destination: Some(destination.clone()),
            prefetch_size: 10,
            ..ConsumerInfo::default()
        }
    }

    /// The next message of producer 1.
    pub(crate) fn message(&mut self, destination: &Destination, text: &str) -> Message {
        self.sequence += 1;
        let producer = self.id.session(1).producer(1);
        let mut message = Message::from_text(text).expect("a short text");
        message.message_id = Some(producer.message(self.sequence));
        message.producer_id = Some(producer);
        message.destination = Some(destination.clone());
        message.persistent = true;
        message.priority = 4;
        message
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("an open socket");
    }

    pub(crate) fn send(&mut self, command: &Command) {
        let mut out = BytesMut::new();
        encode(command, self.version, &mut out).expect("an encodable command");
        self.write(&out);
    }

    /// Sends a command that wants a response, and answers that.
    pub(crate) fn ask(&mut self, mut command: Command) -> Command {
        self.last_command += 1;
        let id = self.last_command;
        command.set_header(id, true);
        self.send(&command);
        loop {
            let answer = self.receive();
            match &answer {
                Command::MessageDispatch(dispatch) => {
                    self.dispatches.push_back((**dispatch).clone());
                }
                Command::Response(r) if r.correlation_id == id => return answer,
                Command::ExceptionResponse(r) if r.correlation_id == id => return answer,
                Command::DataArrayResponse(r) if r.correlation_id == id => return answer,
                _ => {}
            }
        }
    }

    /// Sends a command that must succeed.
    pub(crate) fn request(&mut self, command: Command) {
        let what = command.name();
        let answer = self.ask(command);
        assert_eq!(answer.name(), "Response", "{what}: {answer:?}");
    }

    /// The class of the exception that a command is answered with.
    pub(crate) fn refusal(&mut self, command: Command) -> String {
        match self.ask(command) {
            Command::ExceptionResponse(response) => {
                let exception = response.exception.expect("an exception");
                assert!(exception.message.is_some_and(|text| !text.is_empty()));
                exception.class.expect("a class").to_string()
            }
            other => panic!("{other:?} instead of a refusal"),
        }
    }

    pub(crate) fn try_receive(&mut self) -> io::Result<Option<Command>> {
        loop {
            let frame = next_frame(&mut self.buffer, 1 << 30).expect("a sensible frame");
            if let Some(frame) = frame {
                return Ok(Some(
                    decode(frame, self.version).expect("a sensible command"),
                ));
            }
            let mut bytes = [0; 16 << 10];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    pub(crate) fn receive(&mut self) -> Command {
        self.try_receive()
            .expect("something within the time")
            .expect("an open connection")
    }

    /// The next message that is dispatched, with its redelivery counter.
    pub(crate) fn dispatched(&mut self) -> (Message, i32) {
        loop {
            let dispatch = match self.dispatches.pop_front() {
                Some(dispatch) => dispatch,
                None => match self.receive() {
                    Command::MessageDispatch(dispatch) => *dispatch,
                    _ => continue,
                },
            };
            if let Some(message) = dispatch.message {
                assert_eq!(message.redelivery_counter, dispatch.redelivery_counter);
                return (*message, dispatch.redelivery_counter);
            }
        }
    }

    pub(crate) fn dispatched_text(&mut self) -> String {
        let (message, _) = self.dispatched();
        message
            .text()
            .expect("a text message")
            .expect("a text")
            .to_string()
    }

    /// Waits until the broker has closed the socket, whatever it says before.
    pub(crate) fn expect_closed(&mut self) {
        loop {
            match self.try_receive() {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection is still open: {error}"),
            }
        }
    }
}
