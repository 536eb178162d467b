//! Recorded conversations of Java clients with ActiveMQ: their side is said again, and what comes back
//! must be what came back then, in type, order and the fields that count.
//!
//! Left out are recordings of what this broker does not do yet: selectors, groups, wildcards, distributed
//! transactions and passwords.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use openwire::{Command, DestinationInfo, Message, MessageDispatch, Version, decode};
use serde_json::Value;

use crate::harness::{Client, Harness, PATIENCE};

/// How the next tenure starts when a recorded client comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Only the socket is lost; the broker may not have noticed.
    Socket,
    /// The broker is another one.
    Broker,
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits"))
        .collect()
}

/// What counts of a command that the broker sends; None: nothing does.
fn gist(command: &Command) -> Option<String> {
    Some(match command {
        Command::Response(r) => format!("Response {}", r.correlation_id),
        Command::ExceptionResponse(r) => {
            let class = r
                .exception
                .as_ref()
                .and_then(|e| e.class.clone())
                .unwrap_or_default();
            format!("ExceptionResponse {} {class}", r.correlation_id)
        }
        // Its class is an internal one of Java in the recordings.
        Command::ConnectionError(_) => "ConnectionError".to_owned(),
        Command::ProducerAck(ack) => {
            let producer = ack.producer_id.as_ref().map(ToString::to_string);
            format!("ProducerAck {producer:?} {}", ack.size)
        }
        Command::MessageDispatch(dispatch) => gist_of_dispatch(dispatch),
        _ => return None,
    })
}

fn gist_of_dispatch(dispatch: &MessageDispatch) -> String {
    let consumer = dispatch.consumer_id.as_ref().expect("a consumer");
    let mut text = format!("Dispatch {consumer} ");
    let Some(message) = &dispatch.message else {
        return text + "nothing";
    };
    if let Some(payload) = &message.data_structure {
        let _ = write!(text, "advisory {}", gist_of_payload(payload));
        return text;
    }
    let destination = dispatch.destination.as_ref().expect("a destination");
    let _ = write!(
        text,
        "{destination} redelivered {} ",
        dispatch.redelivery_counter
    );
    text + &gist_of_message(message)
}

fn gist_of_payload(payload: &Command) -> String {
    match payload {
        Command::DestinationInfo(info) => {
            let destination = info.destination.as_ref().expect("a destination");
            let is_added = info.operation_type == DestinationInfo::ADD;
            format!("{destination} added {is_added}")
        }
        other => other.name().to_owned(),
    }
}

fn gist_of_message(message: &Message) -> String {
    let id = message.message_id.as_ref().expect("an id");
    let original = message
        .original_destination
        .as_ref()
        .map(ToString::to_string);
    let mut properties: Vec<String> = message
        .properties()
        .expect("readable properties")
        .iter()
        .map(|(name, value)| {
            // The text of a failure says where in Java it happened.
            let is_ours = name.as_str() == Some("dlqDeliveryFailureCause");
            if is_ours {
                format!("{name}=")
            } else {
                format!("{name}={value:?}")
            }
        })
        .collect();
    properties.sort();
    format!(
        "{id} {:?} persistent {} priority {} type {:?} correlation {:?} reply {:?} from {original:?} \
         content {:?} compressed {} {properties:?}",
        message.kind,
        message.persistent,
        message.priority,
        message.message_type,
        message.correlation_id,
        message.reply_to,
        message.content,
        message.compressed,
    )
}

struct Replay {
    name: &'static str,
    harness: Harness,
    loss: Loss,
    clients: HashMap<u64, Client>,
    received: HashMap<u64, VecDeque<String>>,
    /// The broker's sequence of each message dispatched then, and of the same message now.
    sequences_then: HashMap<i64, String>,
    sequences_now: HashMap<String, i64>,
    /// What the broker said and the recorded client never got: it may be said in time, or not.
    swallowed: Vec<(u64, String)>,
}

impl Replay {
    fn run(name: &'static str, loss: Loss) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openwire/tests/captures");
        let path = folder.join(format!("{name}.jsonl"));
        let recording = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let mut replay = Replay {
            name,
            harness: Harness::start(),
            loss,
            clients: HashMap::new(),
            received: HashMap::new(),
            sequences_then: HashMap::new(),
            sequences_now: HashMap::new(),
            swallowed: Vec::new(),
        };
        let mut said = 0;
        for line in recording.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            if line.get("note").is_some() {
                continue;
            }
            if line.get("not_delivered").is_some() {
                replay.swallow(&line);
                continue;
            }
            // ActiveMQ ends a browse without prefetch twice.
            if name == "queue_browser_zero_prefetch" && line["seq"] == 26 {
                continue;
            }
            replay.step(&line);
            said += 1;
        }
        assert!(said > 5, "{name} is no conversation");
        replay.expect_nothing_more();
    }

    fn swallow(&mut self, line: &Value) {
        let frame = bytes_of(line["hex"].as_str().expect("hexadecimal"));
        let command = Self::decoded(&frame, Self::version(line["version"].as_u64()));
        let connection = line["conn"].as_u64().expect("a number");
        self.swallowed
            .extend(gist(&command).map(|gist| (connection, gist)));
    }

    fn step(&mut self, line: &Value) {
        let connection = line["conn"].as_u64().expect("a number");
        let frame = bytes_of(line["hex"].as_str().expect("hexadecimal"));
        if line["dir"] == "C>B" {
            self.say(connection, &frame, line["version"].as_u64());
        } else {
            self.expect(connection, &frame, line["version"].as_u64(), &line["seq"]);
        }
    }

    fn version(number: Option<u64>) -> Version {
        let number = u8::try_from(number.unwrap_or(12)).expect("a version");
        Version::new(number).expect("a version")
    }

    fn decoded(frame: &[u8], version: Version) -> Command {
        decode(Bytes::copy_from_slice(&frame[4..]), version).expect("a recorded command")
    }

    fn client(&mut self, connection: u64) -> &mut Client {
        if !self.clients.contains_key(&connection) {
            if self.loss == Loss::Broker && connection > 1 {
                self.clients.clear();
                self.harness.take_over();
            }
            let client = Client::raw(&self.harness);
            client
                .stream
                .set_read_timeout(Some(Duration::from_millis(5)))
                .expect("a timeout");
            self.clients.insert(connection, client);
            self.received.insert(connection, VecDeque::new());
        }
        self.clients
            .get_mut(&connection)
            .expect("it was just opened")
    }

    fn say(&mut self, connection: u64, frame: &[u8], version: Option<u64>) {
        let version = Self::version(version);
        let mut command = Self::decoded(frame, version);
        let is_adapted = self.adapt(&mut command);
        let client = self.client(connection);
        if !matches!(command, Command::WireFormatInfo(_)) {
            client.version = version;
        }
        if is_adapted {
            client.send(&command);
        } else {
            client.write(frame);
        }
    }

    /// Puts in what cannot be the same as then: the broker's numbers, and the time.
    fn adapt(&self, command: &mut Command) -> bool {
        match command {
            Command::RemoveInfo(info) => {
                let id = self.sequences_then.get(&info.last_delivered_sequence_id);
                let now = id.and_then(|id| self.sequences_now.get(id));
                info.last_delivered_sequence_id =
                    now.copied().unwrap_or(info.last_delivered_sequence_id);
                now.is_some()
            }
            Command::Message(message) if message.expiration > 0 => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .expect("a sane clock");
                let now = i64::try_from(since.as_millis()).expect("a sane clock");
                message.expiration += now - message.timestamp;
                message.timestamp = now;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, connection: u64, frame: &[u8], version: Option<u64>, line: &Value) {
        let command = Self::decoded(frame, Self::version(version));
        if let Command::MessageDispatch(dispatch) = &command {
            self.note_then(dispatch);
        }
        let Some(mut wanted) = gist(&command) else {
            return;
        };
        if self.loss == Loss::Broker && connection > 1 {
            // ActiveMQ forgets over a restart that a message was dispatched; this broker does not.
            wanted = wanted.replace("redelivered 0", "redelivered 1");
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = &mut self.received.entry(connection).or_default();
            if let Some(at) = received.iter().position(|gist| *gist == wanted) {
                let consumer = wanted.split(' ').take(2).collect::<Vec<_>>().join(" ");
                let is_ordered = wanted.starts_with("Dispatch");
                let overtaken = received
                    .iter()
                    .take(at)
                    .find(|g| is_ordered && g.starts_with(&consumer));
                assert_eq!(overtaken, None, "{} {line}: before {wanted}", self.name);
                received.remove(at);
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} {line}: instead of\n  {wanted}\nthere is\n  {received:#?}",
                self.name
            );
            self.listen();
        }
    }

    fn note_then(&mut self, dispatch: &MessageDispatch) {
        if let Some(id) = dispatch
            .message
            .as_ref()
            .and_then(|message| message.message_id.as_ref())
        {
            self.sequences_then
                .insert(id.broker_sequence_id, id.to_string());
        }
    }

    /// Takes in what all connections have got.
    fn listen(&mut self) {
        for (connection, client) in &mut self.clients {
            loop {
                let command = match client.try_receive() {
                    Ok(Some(command)) => command,
                    Ok(None) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("{}: {error}", self.name),
                };
                if let Command::MessageDispatch(dispatch) = &command
                    && let Some(message) = &dispatch.message
                    && let Some(id) = &message.message_id
                {
                    self.sequences_now
                        .insert(id.to_string(), id.broker_sequence_id);
                }
                if let Some(gist) = gist(&command) {
                    self.received
                        .entry(*connection)
                        .or_default()
                        .push_back(gist);
                }
            }
        }
    }

    fn expect_nothing_more(&mut self) {
        self.listen();
        for (connection, received) in &self.received {
            // When a client goes, one advisory or confirmed window more or less is a matter of time.
            let is_timely =
                |gist: &&String| !gist.contains(" advisory ") && !gist.starts_with("ProducerAck");
            let is_swallowed =
                |gist: &&String| self.swallowed.contains(&(*connection, (*gist).clone()));
            let more: Vec<_> = received
                .iter()
                .filter(is_timely)
                .filter(|gist| !is_swallowed(gist))
                .collect();
            assert!(
                more.is_empty(),
                "{} connection {connection}: {more:#?}",
                self.name
            );
        }
    }
}

macro_rules! conversations {
    ($($test:ident: $name:literal, $loss:expr;)*) => {$(
        #[test]
        fn $test() {
            Replay::run($name, $loss);
        }
    )*};
}

conversations! {
    each_acknowledgement_mode_goes_as_recorded: "ack_modes", Loss::Socket;
    a_client_of_version_1_gets_what_was_recorded: "client_limits_version_1", Loss::Socket;
    a_client_of_version_6_gets_what_was_recorded: "client_limits_version_6", Loss::Socket;
    delivered_acknowledgements_go_as_recorded: "delivered_acks", Loss::Socket;
    errors_are_those_recorded: "errors", Loss::Socket;
    an_expired_message_goes_as_recorded: "expired_message", Loss::Socket;
    a_lost_response_goes_as_recorded: "failover_resend_duplicate", Loss::Socket;
    another_broker_goes_on_as_recorded: "failover_broker_restart", Loss::Broker;
    a_replayed_transaction_goes_as_recorded: "failover_transaction", Loss::Socket;
    all_message_types_go_as_recorded: "message_types_compressed", Loss::Socket;
    optimized_acknowledgements_go_as_recorded: "optimize_acknowledge", Loss::Socket;
    a_producer_window_goes_as_recorded: "producer_window_async_send", Loss::Socket;
    a_browser_goes_as_recorded: "queue_browser", Loss::Socket;
    a_browser_without_prefetch_goes_as_recorded: "queue_browser_zero_prefetch", Loss::Socket;
    send_and_receive_go_as_recorded: "queue_send_receive_loose", Loss::Socket;
    redelivered_acknowledgements_go_as_recorded: "redelivered_ack", Loss::Socket;
    redelivery_to_the_dead_letter_queue_goes_as_recorded: "redelivery_to_dlq", Loss::Socket;
    request_and_reply_go_as_recorded: "request_reply_temp_queue", Loss::Socket;
    a_transacted_session_goes_as_recorded: "transacted_session", Loss::Socket;
    pulls_go_as_recorded: "zero_prefetch_pull", Loss::Socket;
}
