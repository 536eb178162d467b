//! The options of one inner address: socket, TLS and wire format.
//!
//! All of ActiveMQ's names are known here, the ones that only tune a Java thread as well, because
//! a URI that works with the Java client must not be refused.

use std::time::Duration;

use super::{OptionValue, SetOutcome, option_table};

/// A differentiated services code point, the upper six bits of the traffic class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePoint(u8);

impl CodePoint {
    /// The number of a name such as `EF`, `CS5` or `AF41`, or of a number from 0 to 63.
    fn find(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<u8>() {
            return (number < 64).then_some(Self(number));
        }
        let digit = |byte: u8, most: u8| {
            let digit = byte.checked_sub(b'0')?;
            (digit <= most).then_some(digit)
        };
        match text.to_ascii_uppercase().as_bytes() {
            b"EF" => Some(Self(46)),
            [b'C', b'S', class] => Some(Self(digit(*class, 7)? * 8)),
            [b'A', b'F', class, drop] => {
                let (class, drop) = (digit(*class, 4)?, digit(*drop, 3)?);
                (class > 0 && drop > 0).then_some(Self(class * 8 + drop * 2))
            }
            _ => None,
        }
    }

    /// The traffic class with this code point.
    fn traffic_class(self) -> u8 {
        self.0 << 2
    }
}

impl OptionValue for Option<CodePoint> {
    const EXPECTS: &'static str = "a number from 0 to 63 or a name such as `EF`, `CS5` or `AF41`";

    fn read(text: &str) -> Option<Self> {
        CodePoint::find(text).map(Some)
    }
}

impl OptionValue for Option<u8> {
    const EXPECTS: &'static str = "a whole number from 0 to 255";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Some)
    }
}

/// Options of an address that are taken, so that a URI of the Java client is not refused, and that
/// change nothing here. The last column says why, as the end of a sentence.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "ioBufferSize",
        "its stream buffers grow and shrink by themselves",
    ),
    ("useLocalHost", "it does not look up its own host's name"),
    ("closeAsync", "it has no thread to close a socket in"),
    ("daemon", "it has no thread for a connection"),
    ("stackSize", "it has no thread for a connection"),
    ("threadName", "it has no thread for a connection"),
    ("trace", "it does not log each command"),
    ("logWriterName", "it does not log each command"),
    ("dynamicManagement", "it has no JMX"),
    ("startLogging", "it does not log each command"),
    ("jmxPort", "it has no JMX"),
    ("needClientAuth", "it is for a broker's side of TLS"),
    ("wantClientAuth", "it is for a broker's side of TLS"),
    ("socket.needClientAuth", "it is for a broker's side of TLS"),
    ("socket.wantClientAuth", "it is for a broker's side of TLS"),
    ("socket.OOBInline", "it reads no urgent data"),
    (
        "wireFormat.cacheEnabled",
        "it never offers the cached encoding",
    ),
    (
        "wireFormat.cacheSize",
        "it never offers the cached encoding",
    ),
    (
        "wireFormat.tightEncodingEnabled",
        "it never offers the tight encoding",
    ),
    (
        "wireFormat.sizePrefixDisabled",
        "its frames always carry their size",
    ),
    (
        "wireFormat.stackTraceEnabled",
        "it has no stack traces to send",
    ),
    (
        "wireFormat.includePlatformDetails",
        "it tells no platform details",
    ),
    ("wireFormat.platformDetails", "it tells no platform details"),
    ("wireFormat.providerName", "it tells its own name"),
    ("wireFormat.providerVersion", "it tells its own version"),
];

/// Why an address option of this name changes nothing here; `None` when it has an effect.
pub(crate) fn without_effect(name: &str, value: &str) -> Option<&'static str> {
    // Waiting in `close` would block a thread that other connections share.
    if name == "soLinger" && !matches!(value, "0" | "-1") {
        return Some("a close never waits here; only 0, which drops what is unsent, has an effect");
    }
    if name.starts_with("wireFormat.") && value.eq_ignore_ascii_case("false") {
        // It asks for what this client does anyway.
        return None;
    }
    let found = WITHOUT_EFFECT.iter().find(|(option, _)| *option == name);
    found.map(|(_, reason)| *reason)
}

option_table! {
    /// Options of the TCP transport, written without a prefix.
    pub struct TcpOptions {
        /// How long a connect may take; 0 is as long as the operating system likes.
        "connectionTimeout" => connection_timeout: Duration = Duration::from_secs(30),
        /// How long a read may take; 0 is for ever. The inactivity monitor is the better tool.
        "soTimeout" => so_timeout: Duration = Duration::ZERO,
        /// How long a write may take; 0 is for ever.
        "soWriteTimeout" => so_write_timeout: Duration = Duration::ZERO,
        /// `SO_LINGER` in seconds; `None` leaves the system's default. Only 0 has an effect: what
        /// is unsent is dropped and the connection reset. More would block a shared thread.
        "soLinger" => so_linger: Option<u32> = None,
        /// Whether small writes go out at once. `None` leaves it to `wireFormat.tcpNoDelayEnabled`.
        "tcpNoDelay" => tcp_no_delay: Option<bool> = None,
        /// Whether the operating system probes an idle connection.
        "keepAlive" => keep_alive: Option<bool> = None,
        /// Size of the socket's buffers in bytes. `None` leaves it to the system, which adapts it;
        /// Java would set 65536.
        "socketBufferSize" => socket_buffer_size: Option<u32> = None,
        /// Size of the stream buffers in bytes (Java only).
        "ioBufferSize" => io_buffer_size: u32 = 8 * 1024,
        /// Whether a silent connection is closed, and kept from being silent.
        "useInactivityMonitor" => use_inactivity_monitor: bool = true,
        /// Whether keep-alives are sent.
        "useKeepAlive" => use_keep_alive: bool = true,
        /// Whether keep-alives ask for an answer.
        "keepAliveResponseRequired" => keep_alive_response_required: bool = false,
        /// Lowest wire format version accepted of the broker; the misspelling is ActiveMQ's.
        "minmumWireFormatVersion" => minimum_wire_format_version: u32 = 0,
        /// Name of the wire format; only `default` (OpenWire) exists here.
        "wireFormat" => wire_format: String = "default".to_owned(),
        /// Differentiated services code of the traffic.
        "diffServ" => diff_serv: Option<CodePoint> = None,
        /// Type of service of the traffic.
        "typeOfService" => type_of_service: Option<u8> = None,
        /// Traffic class of the socket.
        "trafficClass" => traffic_class: Option<u8> = None,
        /// Whether the local host's own name is replaced by `localhost`.
        "useLocalHost" => use_local_host: bool = false,
        /// Whether the socket is closed by a thread of its own (Java only).
        "closeAsync" => close_async: bool = true,
        /// Whether the transport's thread is a daemon (Java only).
        "daemon" => daemon: bool = false,
        /// Stack size of the transport's thread in bytes (Java only).
        "stackSize" => stack_size: u64 = 0,
        /// Name of the transport's thread (Java only).
        "threadName" => thread_name: Option<String> = None,
        /// Whether every command is logged.
        "trace" => trace: bool = false,
        /// Which log writer traces (Java only).
        "logWriterName" => log_writer_name: String = "default".to_owned(),
        /// Whether tracing can be switched by JMX (Java only).
        "dynamicManagement" => dynamic_management: bool = false,
        /// Whether tracing starts at once (Java only).
        "startLogging" => start_logging: bool = true,
        /// Port of that JMX (Java only).
        "jmxPort" => jmx_port: u32 = 1099,
    }
}

option_table! {
    /// Options of the raw socket, prefix `socket.`.
    pub struct SocketOptions {
        /// Whether the broker's certificate must carry the name that was dialled.
        "verifyHostName" => verify_host_name: Option<bool> = None,
        /// Cipher suites offered, in order.
        "enabledCipherSuites" => enabled_cipher_suites: Vec<String> = Vec::new(),
        /// TLS versions offered.
        "enabledProtocols" => enabled_protocols: Vec<String> = Vec::new(),
        /// Whether the operating system probes an idle connection.
        "keepAlive" => keep_alive: Option<bool> = None,
        /// Whether small writes go out at once.
        "tcpNoDelay" => tcp_no_delay: Option<bool> = None,
        /// How long a read may take.
        "soTimeout" => so_timeout: Option<Duration> = None,
        /// Send buffer of the socket in bytes.
        "sendBufferSize" => send_buffer_size: Option<u32> = None,
        /// Receive buffer of the socket in bytes.
        "receiveBufferSize" => receive_buffer_size: Option<u32> = None,
        /// Whether a local address in use may be bound.
        "reuseAddress" => reuse_address: Option<bool> = None,
        /// Whether urgent data are received inline.
        "OOBInline" => oob_inline: Option<bool> = None,
        /// Traffic class of the socket.
        "trafficClass" => traffic_class: Option<u8> = None,
        /// Whether the socket asks for a certificate (broker side; without effect in a client).
        "needClientAuth" => need_client_auth: Option<bool> = None,
        /// Whether the socket would like a certificate (broker side).
        "wantClientAuth" => want_client_auth: Option<bool> = None,
        /// Whether a handshake may create a new TLS session.
        "enableSessionCreation" => enable_session_creation: Option<bool> = None,
    }
}

option_table! {
    /// Options of the TLS transport, written without a prefix and only for `ssl:` and its kin.
    pub struct SslOptions {
        /// Whether the broker's certificate must carry the name that was dialled.
        "verifyHostName" => verify_host_name: Option<bool> = None,
        /// Cipher suites offered, in order.
        "enabledCipherSuites" => enabled_cipher_suites: Vec<String> = Vec::new(),
        /// TLS versions offered.
        "enabledProtocols" => enabled_protocols: Vec<String> = Vec::new(),
        /// Whether a certificate is asked for (broker side).
        "needClientAuth" => need_client_auth: Option<bool> = None,
        /// Whether a certificate is liked (broker side).
        "wantClientAuth" => want_client_auth: Option<bool> = None,
    }
}

option_table! {
    /// Options of the OpenWire format, prefix `wireFormat.`. Both peers take the lower offer.
    pub struct WireFormatOptions {
        /// Highest version offered.
        "version" => version: u32 = 12,
        /// Whether exceptions carry their stack traces.
        "stackTraceEnabled" => stack_trace_enabled: bool = true,
        /// Whether small writes go out at once.
        "tcpNoDelayEnabled" => tcp_no_delay_enabled: bool = true,
        /// Whether repeated objects are replaced by a number.
        "cacheEnabled" => cache_enabled: bool = true,
        /// Entries of that cache.
        "cacheSize" => cache_size: u32 = 1024,
        /// Whether the compact encoding is offered.
        "tightEncodingEnabled" => tight_encoding_enabled: bool = true,
        /// Whether frames go without their size.
        "sizePrefixDisabled" => size_prefix_disabled: bool = false,
        /// Longest silence before a peer counts as dead; 0 is no monitoring.
        "maxInactivityDuration" => max_inactivity_duration: Duration = Duration::from_secs(30),
        /// Silence granted at the start; the misspelling is the protocol's.
        "maxInactivityDurationInitalDelay" => max_inactivity_duration_initial_delay: Duration =
            Duration::from_secs(10),
        /// Largest frame in bytes.
        "maxFrameSize" => max_frame_size: u64 = i64::MAX as u64,
        /// Whether frames are measured before they are sent.
        "maxFrameSizeEnabled" => max_frame_size_enabled: bool = true,
        /// Host name told to the broker; by default the one that was dialled.
        "host" => host: Option<String> = None,
        /// Name of the client library told to the broker.
        "providerName" => provider_name: Option<String> = None,
        /// Version of the client library told to the broker.
        "providerVersion" => provider_version: Option<String> = None,
        /// Operating system and runtime told to the broker.
        "platformDetails" => platform_details: Option<String> = None,
        /// Whether these details are told at all.
        "includePlatformDetails" => include_platform_details: bool = false,
    }
}

/// Every option of one inner address.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct InnerOptions {
    /// The TCP transport's options.
    pub tcp: TcpOptions,
    /// The raw socket's options, `socket.`.
    pub socket: SocketOptions,
    /// The TLS transport's options.
    pub ssl: SslOptions,
    /// The wire format's options, `wireFormat.`.
    pub wire_format: WireFormatOptions,
}

impl InnerOptions {
    /// Sets an option by its full name as a URI spells it.
    pub(crate) fn set(&mut self, name: &str, text: &str, is_tls: bool) -> SetOutcome {
        if let Some(rest) = name.strip_prefix("wireFormat.") {
            return self.wire_format.set(rest, text);
        }
        if let Some(rest) = name.strip_prefix("socket.") {
            return self.socket.set(rest, text);
        }
        match self.tcp.set(name, text) {
            SetOutcome::Unknown if is_tls => self.ssl.set(name, text),
            outcome => outcome,
        }
    }

    /// Every name that [`InnerOptions`] knows, prefixes included.
    #[must_use]
    pub fn names() -> Vec<String> {
        let plain = TcpOptions::NAMES
            .iter()
            .chain(SslOptions::NAMES)
            .map(|name| (*name).to_owned());
        let socket = SocketOptions::NAMES
            .iter()
            .map(|name| format!("socket.{name}"));
        let wire = WireFormatOptions::NAMES
            .iter()
            .map(|name| format!("wireFormat.{name}"));
        plain.chain(socket).chain(wire).collect()
    }

    /// Whether small writes go out at once: the first of `socket.tcpNoDelay`, `tcpNoDelay` and
    /// `wireFormat.tcpNoDelayEnabled` that was given.
    #[must_use]
    pub fn is_tcp_no_delay(&self) -> bool {
        self.socket
            .tcp_no_delay
            .or(self.tcp.tcp_no_delay)
            .unwrap_or(self.wire_format.tcp_no_delay_enabled)
    }

    /// The socket's traffic class: the first of `socket.trafficClass`, `trafficClass`,
    /// `typeOfService` and `diffServ` that was given.
    #[must_use]
    pub fn traffic_class(&self) -> Option<u8> {
        let tcp = &self.tcp;
        let code_point = tcp.diff_serv.map(CodePoint::traffic_class);
        self.socket
            .traffic_class
            .or(tcp.traffic_class)
            .or(tcp.type_of_service)
            .or(code_point)
    }

    /// Sizes of the socket's send and receive buffer in bytes, where given: `socket.` wins over
    /// `socketBufferSize`.
    #[must_use]
    pub fn buffer_sizes(&self) -> (Option<u32>, Option<u32>) {
        let both = self.tcp.socket_buffer_size;
        (
            self.socket.send_buffer_size.or(both),
            self.socket.receive_buffer_size.or(both),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_lead_to_their_tables() {
        let mut options = InnerOptions::default();
        assert_eq!(
            options.set("wireFormat.maxInactivityDuration", "5000", false),
            SetOutcome::Set
        );
        assert_eq!(
            options.set("socket.keepAlive", "true", false),
            SetOutcome::Set
        );
        assert_eq!(
            options.set("connectionTimeout", "2000", false),
            SetOutcome::Set
        );
        assert_eq!(
            options.wire_format.max_inactivity_duration,
            Duration::from_secs(5)
        );
        assert_eq!(options.socket.keep_alive, Some(true));
        assert_eq!(options.tcp.connection_timeout, Duration::from_secs(2));
    }

    #[test]
    fn tls_options_are_unknown_to_plain_tcp() {
        let mut options = InnerOptions::default();
        assert_eq!(
            options.set("verifyHostName", "false", false),
            SetOutcome::Unknown
        );
        assert_eq!(
            options.set("verifyHostName", "false", true),
            SetOutcome::Set
        );
    }

    #[test]
    fn traffic_classes_are_numbers_or_names_and_the_nearest_wins() {
        let mut options = InnerOptions::default();
        assert_eq!(options.traffic_class(), None);
        for (text, class) in [
            ("EF", 184),
            ("cs5", 160),
            ("AF41", 136),
            ("0", 0),
            ("63", 252),
        ] {
            assert_eq!(options.set("diffServ", text, false), SetOutcome::Set);
            assert_eq!(options.traffic_class(), Some(class), "{text}");
        }
        for text in ["64", "-1", "CS8", "AF50", "AF04", "XX", "", "AF4é"] {
            let outcome = options.set("diffServ", text, false);
            assert!(matches!(outcome, SetOutcome::BadValue(_)), "{text}");
        }
        options.set("typeOfService", "8", false);
        assert_eq!(options.traffic_class(), Some(8));
        options.set("trafficClass", "16", false);
        assert_eq!(options.traffic_class(), Some(16));
        options.set("socket.trafficClass", "255", false);
        assert_eq!(options.traffic_class(), Some(255));
        let outcome = options.set("trafficClass", "256", false);
        assert!(matches!(outcome, SetOutcome::BadValue(_)));
    }

    #[test]
    fn one_size_is_for_both_buffers_unless_one_has_its_own() {
        let mut options = InnerOptions::default();
        assert_eq!(options.buffer_sizes(), (None, None));
        options.set("socketBufferSize", "4096", false);
        options.set("socket.sendBufferSize", "8192", false);
        assert_eq!(options.buffer_sizes(), (Some(8192), Some(4096)));
    }

    #[test]
    fn what_has_no_effect_is_an_option_that_exists() {
        let names = InnerOptions::names();
        for (name, _) in WITHOUT_EFFECT {
            assert!(names.iter().any(|known| known == name), "{name}");
            assert!(without_effect(name, "1").is_some());
        }
        assert_eq!(without_effect("soLinger", "0"), None);
        assert!(without_effect("soLinger", "5").is_some());
        assert_eq!(without_effect("keepAlive", "true"), None);
    }

    #[test]
    fn no_delay_is_taken_from_the_nearest_option() {
        let mut options = InnerOptions::default();
        assert!(options.is_tcp_no_delay());
        options.set("tcpNoDelay", "false", false);
        assert!(!options.is_tcp_no_delay());
        options.set("socket.tcpNoDelay", "true", false);
        assert!(options.is_tcp_no_delay());
    }
}
