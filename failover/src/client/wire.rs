//! One OpenWire connection: handshake, frames, keep-alives and the watch for a silent peer.
//!
//! It knows bytes and time, and nothing of sessions or of other connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openwire::{Command, KeepAliveInfo, Negotiated, Version, WireFormat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::transport::Connector;
use crate::uri::{InnerUri, Protocol};

/// Frames that may wait for the writer, and commands that may wait for their reader.
const QUEUE_FRAMES: usize = 256;
/// The writer gathers waiting frames up to this many bytes into one write.
const WRITE_BYTES: usize = 64 * 1024;
/// How much the reader asks for at once.
const READ_BYTES: usize = 64 * 1024;

/// A byte stream of any kind: TCP, TLS, a pipe in a test.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A [`Stream`] whose kind does not matter.
pub type BoxedStream = Box<dyn Stream>;

/// The future of [`Dial::dial`].
pub type DialFuture<'a> = Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + 'a>>;

/// Opens byte streams to brokers: the seam for TLS and for tests.
pub trait Dial: Send + Sync + 'static {
    /// Opens a stream to the address, encrypted when its scheme says so.
    ///
    /// # Errors
    /// Whatever kept the stream from opening; the next address is tried then.
    fn dial<'a>(&'a self, address: &'a InnerUri) -> DialFuture<'a>;
}

/// Opens plain TCP streams.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

impl Dial for TcpDial {
    fn dial<'a>(&'a self, address: &'a InnerUri) -> DialFuture<'a> {
        Box::pin(dial_tcp(address))
    }
}

async fn dial_tcp(address: &InnerUri) -> io::Result<BoxedStream> {
    if address.scheme.is_tls() {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "`{}` needs TLS, which this client does not bring along; give the connection \
                 builder a dialer that does",
                address.scheme
            ),
        ));
    }
    let stream = open_tcp(address).await?;
    stream.set_nodelay(address.options.is_tcp_no_delay())?;
    Ok(Box::new(stream))
}

/// Connects to the first of the host's addresses that answers, from the local address if the URI
/// names one.
async fn open_tcp(address: &InnerUri) -> io::Result<tokio::net::TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address for the host name");
    let locals: Option<Vec<_>> = match &address.local {
        Some((host, port)) => Some(
            tokio::net::lookup_host((host.as_str(), *port))
                .await?
                .collect(),
        ),
        None => None,
    };
    for remote in tokio::net::lookup_host((address.host.as_str(), address.port)).await? {
        let socket = if remote.is_ipv4() {
            tokio::net::TcpSocket::new_v4()?
        } else {
            tokio::net::TcpSocket::new_v6()?
        };
        configure(&socket, address)?;
        if let Some(locals) = &locals {
            let local = locals
                .iter()
                .find(|local| local.is_ipv4() == remote.is_ipv4());
            let Some(local) = local else { continue };
            socket.bind(*local)?;
        }
        match socket.connect(remote).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn configure(socket: &tokio::net::TcpSocket, address: &InnerUri) -> io::Result<()> {
    let (tcp, raw) = (&address.options.tcp, &address.options.socket);
    if let Some(keep_alive) = raw.keep_alive.or(tcp.keep_alive) {
        socket.set_keepalive(keep_alive)?;
    }
    let (to_send, to_receive) = address.options.buffer_sizes();
    if let Some(size) = to_send {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = to_receive {
        socket.set_recv_buffer_size(size)?;
    }
    if tcp.so_linger == Some(0) {
        socket.set_zero_linger()?;
    }
    if let Some(class) = address.options.traffic_class() {
        set_traffic_class(socket, class)?;
    }
    if raw.reuse_address == Some(true) {
        socket.set_reuseaddr(true)?;
    }
    Ok(())
}

/// Marks the packets of a socket that is not connected yet.
fn set_traffic_class(socket: &tokio::net::TcpSocket, class: u8) -> io::Result<()> {
    // Linux takes the option of the other family as well, where it marks nothing: so both are set,
    // and one must be taken.
    let four = socket.set_tos_v4(class.into());
    socket.set_tclass_v6(class.into()).or(four)
}

/// Why an OpenWire connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The address speaks another protocol.
    #[error("`{0}` is no OpenWire transport")]
    NotOpenWire(String),
    /// The connection could not be opened.
    #[error("cannot connect to {address}: {source}")]
    Dial {
        /// Where to.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("{what} took longer than {} ms", .limit.as_millis())]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The peer closed the connection.
    #[error("the broker closed the connection")]
    ClosedByPeer,
    /// The peer said that it shuts down.
    #[error("the broker is shutting down")]
    ShutDown,
    /// Reading or writing failed.
    #[error("connection broken: {0}")]
    Io(#[from] io::Error),
    /// Nothing came for too long.
    #[error("nothing came from the broker for {} ms", .0.as_millis())]
    Silent(Duration),
    /// The peer's frames cannot be told apart.
    #[error(transparent)]
    Frame(#[from] openwire::FrameError),
    /// The peer sent what is no command.
    #[error(transparent)]
    Decode(#[from] openwire::DecodeError),
    /// Something of ours cannot be encoded.
    #[error(transparent)]
    Encode(#[from] openwire::EncodeError),
    /// The first frame is not a usable offer.
    #[error(transparent)]
    WireFormat(#[from] openwire::WireFormatError),
    /// The two offers have nothing in common.
    #[error(transparent)]
    Negotiation(#[from] openwire::NegotiationError),
    /// The peer did not begin with its offer.
    #[error("the broker began with {0} instead of its wire format")]
    NoWireFormat(&'static str),
    /// The peer's version is lower than the URI allows.
    #[error("the broker speaks version {found}, the URI demands {least}")]
    VersionTooLow {
        /// The version both speak.
        found: u8,
        /// `minmumWireFormatVersion`.
        least: u32,
    },
    /// The task that writes is gone, which happens when the runtime shuts down.
    #[error("the writer ended")]
    WriterEnded,
}

/// A live OpenWire connection after its handshake.
pub struct WireLink {
    pub(crate) outgoing: mpsc::Sender<Bytes>,
    pub(crate) incoming: mpsc::Receiver<Result<Command, LinkError>>,
    pub(crate) negotiated: Negotiated,
    is_broken: Arc<AtomicBool>,
    reader: JoinHandle<()>,
}

impl fmt::Debug for WireLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WireLink")
            .field("negotiated", &self.negotiated)
            .finish_non_exhaustive()
    }
}

impl Drop for WireLink {
    fn drop(&mut self) {
        // The writer ends by itself when it has written what waits; only then the socket closes.
        self.reader.abort();
    }
}

/// Connects and shakes hands; the [`Connector`] of the OpenWire client.
#[derive(Clone)]
pub struct OpenWireConnector {
    dial: Arc<dyn Dial>,
    /// Java tells the host it dialled only when it is not behind `failover:`.
    tells_host: bool,
}

impl fmt::Debug for OpenWireConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenWireConnector").finish_non_exhaustive()
    }
}

impl OpenWireConnector {
    /// A connector over `dial`; `tells_host` makes it tell the broker which host was dialled.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, tells_host: bool) -> Self {
        Self { dial, tells_host }
    }

    fn wire_format(&self, address: &InnerUri) -> WireFormat {
        let options = &address.options.wire_format;
        let default = WireFormat::default();
        let is_watched = address.options.tcp.use_inactivity_monitor;
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let host = match &options.host {
            Some(host) => Some(host.as_str().into()),
            None => self.tells_host.then(|| address.host.as_str().into()),
        };
        // ActiveMQ's "unlimited" is no limit to offer for memory that a peer could claim.
        let max_frame_size = match i64::try_from(options.max_frame_size) {
            Ok(size) if size > 0 && size < i64::MAX => size,
            _ => default.max_frame_size,
        };
        WireFormat {
            version: i32::try_from(options.version)
                .unwrap_or(i32::MAX)
                .min(default.version),
            tcp_no_delay_enabled: address.options.is_tcp_no_delay(),
            max_inactivity_duration_ms: if is_watched {
                millis(options.max_inactivity_duration)
            } else {
                0
            },
            max_inactivity_initial_delay_ms: millis(options.max_inactivity_duration_initial_delay),
            max_frame_size,
            max_frame_size_enabled: Some(options.max_frame_size_enabled),
            host,
            ..default
        }
    }
}

impl Connector for OpenWireConnector {
    type Transport = WireLink;
    type Error = LinkError;

    async fn connect(&self, address: &InnerUri) -> Result<WireLink, LinkError> {
        if address.scheme.protocol() != Protocol::OpenWire {
            return Err(LinkError::NotOpenWire(address.scheme.to_string()));
        }
        let tcp = &address.options.tcp;
        let limit = tcp.connection_timeout;
        let dial = self.dial.dial(address);
        let opened = if limit.is_zero() {
            dial.await
        } else {
            let what = "connecting";
            timeout(limit, dial)
                .await
                .map_err(|_| LinkError::TooSlow { what, limit })?
        };
        let stream = opened.map_err(|source| LinkError::Dial {
            address: address.authority(),
            source,
        })?;
        let local = self.wire_format(address);
        let wait = address
            .options
            .wire_format
            .max_inactivity_duration_initial_delay;
        let wait = if wait.is_zero() {
            Duration::from_secs(10)
        } else {
            wait
        };
        let what = "the broker's wire format";
        let (stream, buffer, negotiated) = timeout(wait, shake_hands(stream, &local))
            .await
            .map_err(|_| LinkError::TooSlow { what, limit: wait })??;
        let (found, least) = (negotiated.version.number(), tcp.minimum_wire_format_version);
        if u32::from(found) < least {
            return Err(LinkError::VersionTooLow { found, least });
        }
        let max_frame_size = usize::try_from(local.max_frame_size).unwrap_or(usize::MAX);
        let write_limit = tcp.so_write_timeout;
        let read_limit = address.options.socket.so_timeout.unwrap_or(tcp.so_timeout);
        let mut negotiated = negotiated;
        if !read_limit.is_zero() {
            // A read that may not take longer is a shorter patience with a silent peer.
            let silence = negotiated
                .max_inactivity
                .map_or(read_limit, |d| d.min(read_limit));
            negotiated.max_inactivity = Some(silence);
        }
        let answers = tcp.keep_alive_response_required;
        let keep_alives = tcp.use_keep_alive.then_some(answers);
        Ok(start(
            stream,
            buffer,
            negotiated,
            max_frame_size,
            write_limit,
            keep_alives,
        ))
    }

    fn is_alive(&self, transport: &WireLink) -> bool {
        !transport.is_broken.load(Ordering::Acquire)
    }
}

/// Exchanges the wire formats; returns what was read beyond them.
async fn shake_hands(
    mut stream: BoxedStream,
    local: &WireFormat,
) -> Result<(BoxedStream, BytesMut, Negotiated), LinkError> {
    let mut out = BytesMut::new();
    openwire::encode(
        &Command::WireFormatInfo(local.to_info()?),
        Version::OLDEST,
        &mut out,
    )?;
    stream.write_all(&out).await?;
    stream.flush().await?;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    // No wire format is larger than a few hundred bytes.
    let limit = 64 * 1024;
    loop {
        if let Some(frame) = openwire::next_frame(&mut buffer, limit)? {
            let remote = match openwire::decode(frame, Version::OLDEST)? {
                Command::WireFormatInfo(info) => WireFormat::from_info(&info)?,
                other => return Err(LinkError::NoWireFormat(other.name())),
            };
            let negotiated = openwire::negotiate(local, &remote)?;
            return Ok((stream, buffer, negotiated));
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(LinkError::ClosedByPeer);
        }
    }
}

fn start(
    stream: BoxedStream,
    buffer: BytesMut,
    negotiated: Negotiated,
    max_frame_size: usize,
    write_limit: Duration,
    // `None` sends none; else whether they ask for answers.
    keep_alives: Option<bool>,
) -> WireLink {
    let (read_half, write_half) = tokio::io::split(stream);
    let (outgoing, to_write) = mpsc::channel(QUEUE_FRAMES);
    let (arrived, incoming) = mpsc::channel(QUEUE_FRAMES);
    let is_broken = Arc::new(AtomicBool::new(false));
    let writer = Writer {
        stream: write_half,
        frames: to_write,
        pause: negotiated
            .max_inactivity
            .filter(|_| keep_alives.is_some())
            .map(|duration| duration / 3),
        limit: (!write_limit.is_zero()).then_some(write_limit),
        keep_alive: keep_alive(negotiated.version, keep_alives == Some(true)),
    };
    let reader = Reader {
        stream: read_half,
        buffer,
        negotiated,
        max_frame_size,
        arrived: arrived.clone(),
        // A weak sender: the writer must end when the link is dropped, not when the reader is.
        answers: outgoing.downgrade(),
    };
    let broken = Arc::clone(&is_broken);
    tokio::spawn(async move {
        if let Err(error) = writer.run().await {
            broken.store(true, Ordering::Release);
            let _ = arrived.send(Err(error)).await;
        }
    });
    let broken = Arc::clone(&is_broken);
    let reader = tokio::spawn(async move {
        let arrived = reader.arrived.clone();
        let error = reader.run().await;
        broken.store(true, Ordering::Release);
        let _ = arrived.send(Err(error)).await;
    });
    WireLink {
        outgoing,
        incoming,
        negotiated,
        is_broken,
        reader,
    }
}

fn keep_alive(version: Version, response_required: bool) -> Bytes {
    let mut out = BytesMut::new();
    let command = KeepAliveInfo {
        response_required,
        ..KeepAliveInfo::default()
    };
    openwire::encode(&command.into(), version, &mut out)
        .expect("a keep-alive has no part that could be too long");
    out.freeze()
}

struct Writer {
    stream: tokio::io::WriteHalf<BoxedStream>,
    frames: mpsc::Receiver<Bytes>,
    pause: Option<Duration>,
    limit: Option<Duration>,
    keep_alive: Bytes,
}

impl Writer {
    /// Writes until the link is dropped; everything that waits goes out in one write.
    async fn run(mut self) -> Result<(), LinkError> {
        let mut batch = BytesMut::new();
        loop {
            batch.clear();
            let next = match self.pause {
                Some(pause) => timeout(pause, self.frames.recv()).await,
                None => Ok(self.frames.recv().await),
            };
            match next {
                Ok(Some(frame)) => batch.extend_from_slice(&frame),
                Ok(None) => break,
                Err(_) => batch.extend_from_slice(&self.keep_alive),
            }
            while batch.len() < WRITE_BYTES
                && let Ok(frame) = self.frames.try_recv()
            {
                batch.extend_from_slice(&frame);
            }
            self.write(&batch).await?;
        }
        // A peer that is gone already does not care.
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match self.limit {
            Some(limit) => timeout(limit, write)
                .await
                .map_err(|_| LinkError::TooSlow {
                    what: "a write",
                    limit,
                })??,
            None => write.await?,
        }
        Ok(())
    }
}

struct Reader {
    stream: tokio::io::ReadHalf<BoxedStream>,
    buffer: BytesMut,
    negotiated: Negotiated,
    max_frame_size: usize,
    arrived: mpsc::Sender<Result<Command, LinkError>>,
    answers: mpsc::WeakSender<Bytes>,
}

impl Reader {
    /// Reads until the connection ends, and says why it did.
    async fn run(mut self) -> LinkError {
        match self.read_all().await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    async fn read_all(&mut self) -> Result<std::convert::Infallible, LinkError> {
        // Keep-alives of the peer may only begin after the initial delay.
        let grace = Instant::now() + self.negotiated.max_inactivity_initial_delay;
        loop {
            while let Some(frame) = openwire::next_frame(&mut self.buffer, self.max_frame_size)? {
                let command = openwire::decode(frame, self.negotiated.dialect())?;
                self.pass_on(command).await?;
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.buffer);
            let count = match self.negotiated.max_inactivity {
                Some(limit) => {
                    let deadline = grace.max(Instant::now()) + limit;
                    timeout_at(deadline, read)
                        .await
                        .map_err(|_| LinkError::Silent(limit))??
                }
                None => read.await?,
            };
            if count == 0 {
                return Err(LinkError::ClosedByPeer);
            }
        }
    }

    async fn pass_on(&mut self, command: Command) -> Result<(), LinkError> {
        match command {
            Command::Null => Ok(()),
            Command::ShutdownInfo(_) => Err(LinkError::ShutDown),
            Command::KeepAliveInfo(keep_alive_info) => {
                if keep_alive_info.response_required
                    && let Some(answers) = self.answers.upgrade()
                {
                    let answer = keep_alive(self.negotiated.version, false);
                    let _ = answers.send(answer).await;
                }
                Ok(())
            }
            command => self
                .arrived
                .send(Ok(command))
                .await
                .map_err(|_| LinkError::WriterEnded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(options: &str, socket: &tokio::net::TcpSocket) {
        let address = InnerUri::parse(&format!("tcp://a:1?{options}"));
        configure(socket, &address.expect("an address")).expect("the system takes it");
    }

    #[tokio::test]
    async fn socket_options_reach_the_socket() {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let default = socket.recv_buffer_size().expect("a size");
        configured("", &socket);
        assert_eq!(socket.recv_buffer_size().expect("a size"), default);
        assert!(!socket.keepalive().expect("a flag"));
        configured(
            "keepAlive=true&socketBufferSize=20000&socket.sendBufferSize=30000&soLinger=0\
             &diffServ=EF",
            &socket,
        );
        assert!(socket.keepalive().expect("a flag"));
        // Linux doubles what it is asked for and counts its own use against it.
        let (sent, received) = (socket.send_buffer_size(), socket.recv_buffer_size());
        assert!((30_000..=60_000).contains(&sent.expect("a size")));
        assert!((20_000..=40_000).contains(&received.expect("a size")));
        assert_eq!(socket.linger().expect("a time"), Some(Duration::ZERO));
        assert_eq!(socket.tos_v4().expect("a class"), 184);
    }

    #[tokio::test]
    async fn a_traffic_class_reaches_a_socket_of_version_six() {
        // A host without IPv6 has no such socket to try it on.
        let Ok(socket) = tokio::net::TcpSocket::new_v6() else {
            eprintln!("NOT TESTED: this host has no IPv6");
            return;
        };
        configured("trafficClass=16", &socket);
        assert_eq!(socket.tclass_v6().expect("a class"), 16);
    }
}
