//! A toy broker over loopback TCP: it shakes hands, and for the rest does what a test tells it.

use std::time::Duration;

use bytes::BytesMut;
use openwire::{
    Command, ConsumerId, Destination, ExceptionResponse, Message, MessageDispatch, MessageId,
    ProducerId, Response, Throwable, Version, WireFormat,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No step of a test takes longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening toy broker.
pub(crate) struct Toy {
    listener: TcpListener,
    pub(crate) wire_format: WireFormat,
}

impl Toy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self {
            listener,
            wire_format: WireFormat::default(),
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("tcp://{}", self.listener.local_addr().expect("it is bound"))
    }

    /// A failover URI of this broker alone.
    pub(crate) fn uri(&self, options: &str) -> String {
        format!("failover:({}){options}", self.address())
    }

    /// Waits for a client and shakes hands.
    pub(crate) async fn accept(&self) -> Link {
        let accepted = tokio::time::timeout(PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted
            .expect("a client connects")
            .expect("accepting works");
        let mut link = Link {
            stream,
            buffer: BytesMut::new(),
            last_producer: None,
        };
        let info = self.wire_format.to_info().expect("short texts");
        link.send(info).await;
        match link.next().await {
            Command::WireFormatInfo(_) => link,
            other => panic!("the client begins with {}", other.name()),
        }
    }

    /// Accepts and answers until the connection is announced.
    pub(crate) async fn accept_connection(&self) -> Link {
        let mut link = self.accept().await;
        let info = link.answer_until("ConnectionInfo").await;
        link.answer(&info).await;
        link
    }
}

/// The broker's end of one connection.
pub(crate) struct Link {
    stream: TcpStream,
    buffer: BytesMut,
    /// Who sent the last message.
    pub(crate) last_producer: Option<ProducerId>,
}

impl Link {
    /// Waits for a keep-alive.
    pub(crate) async fn keep_alive(&mut self) {
        loop {
            let frame = openwire::next_frame(&mut self.buffer, 1 << 20).expect("sane frames");
            match frame.map(|frame| openwire::decode(frame, Version::LATEST)) {
                Some(Ok(Command::KeepAliveInfo(_))) => return,
                Some(_) => {}
                None => {
                    let read = self.stream.read_buf(&mut self.buffer);
                    let read = tokio::time::timeout(PATIENCE, read).await;
                    assert!(
                        read.expect("a keep-alive").expect("a live link") > 0,
                        "it ended"
                    );
                }
            }
        }
    }

    /// The next command, keep-alives left out; `None` when the client is gone.
    pub(crate) async fn try_next(&mut self) -> Option<Command> {
        loop {
            let frame = openwire::next_frame(&mut self.buffer, 1 << 20).expect("sane frames");
            if let Some(frame) = frame {
                match openwire::decode(frame, Version::LATEST).expect("a command") {
                    Command::KeepAliveInfo(_) => continue,
                    Command::Message(message) => {
                        self.last_producer.clone_from(&message.producer_id);
                        return Some(Command::Message(message));
                    }
                    command => return Some(command),
                }
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout(PATIENCE, read)
                .await
                .expect("the client says something")
            {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Reads to the client's end of the stream; returns how many bytes came before it.
    pub(crate) async fn end(&mut self) -> usize {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        read.expect("the client ends").expect("an orderly end") + self.buffer.len()
    }

    pub(crate) async fn next(&mut self) -> Command {
        self.try_next().await.expect("the client is there")
    }

    /// Whether nothing comes for a moment.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(150), self.next())
            .await
            .is_err()
    }

    pub(crate) async fn send(&mut self, command: impl Into<Command>) {
        let mut out = BytesMut::new();
        openwire::encode(&command.into(), Version::LATEST, &mut out).expect("it fits");
        self.stream.write_all(&out).await.expect("the client reads");
    }

    /// Answers a command if it asks for it.
    pub(crate) async fn answer(&mut self, command: &Command) {
        if let Some((id, true)) = command.header() {
            self.send(Response::to(id)).await;
        }
    }

    pub(crate) async fn refuse(&mut self, command: &Command, class: &'static str, message: &str) {
        let (id, _) = command.header().expect("a command");
        self.send(ExceptionResponse::to(id, Throwable::new(class, message)))
            .await;
    }

    /// Answers everything before the next command of that name, and returns that one unanswered.
    pub(crate) async fn answer_until(&mut self, name: &str) -> Command {
        loop {
            let command = self.next().await;
            if command.name() == name {
                return command;
            }
            self.answer(&command).await;
        }
    }

    /// Answers everything up to the next consumer's announcement; returns its id and destination.
    pub(crate) async fn consumer(&mut self) -> (ConsumerId, Destination) {
        let command = self.answer_until("ConsumerInfo").await;
        self.answer(&command).await;
        let Command::ConsumerInfo(info) = command else {
            panic!("asked for by name")
        };
        (
            info.consumer_id.expect("an id"),
            info.destination.expect("a destination"),
        )
    }

    /// Dispatches a text message of a producer of another connection.
    pub(crate) async fn dispatch(&mut self, to: &(ConsumerId, Destination), sequence: i64) {
        let producer_id = openwire::ConnectionId::new("other").session(1).producer(1);
        let message = Message {
            message_id: Some(MessageId {
                broker_sequence_id: sequence,
                ..producer_id.message(sequence)
            }),
            producer_id: Some(producer_id),
            destination: Some(to.1.clone()),
            persistent: true,
            ..Message::from_text(format!("m{sequence}")).expect("short")
        };
        self.send(MessageDispatch {
            consumer_id: Some(to.0.clone()),
            destination: Some(to.1.clone()),
            message: Some(Box::new(message)),
            ..MessageDispatch::default()
        })
        .await;
    }

    /// The next acknowledgement as text: kind, first and last sequence, count.
    pub(crate) async fn ack(&mut self) -> String {
        let Command::MessageAck(ack) = self.answer_until("MessageAck").await else {
            panic!("asked for by name")
        };
        let sequence = |id: &Option<MessageId>| id.as_ref().map_or(0, |id| id.producer_sequence_id);
        let kind = ack.kind().expect("a known kind");
        let (first, last) = (
            sequence(&ack.first_message_id),
            sequence(&ack.last_message_id),
        );
        let within = if ack.transaction_id.is_some() {
            " in transaction"
        } else {
            ""
        };
        format!("{kind:?} {first}-{last} x{}{within}", ack.message_count)
    }
}

/// Passes bytes on to a broker, until it is told to cut every connection.
pub(crate) struct Proxy {
    address: std::net::SocketAddr,
    cut: tokio::sync::watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let cut = tokio::sync::watch::Sender::new(0);
        let cuts = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = cuts.subscribe();
                let target = target.clone();
                tokio::spawn(async move {
                    let Ok(mut broker) = TcpStream::connect(&target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut broker) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Drops every connection; new ones are let in.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}
