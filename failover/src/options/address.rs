//! The options of one inner address: socket, TLS and wire format.
//!
//! All of ActiveMQ's names are known here, the ones that only tune a Java thread as well, because
//! a URI that works with the Java client must not be refused.

use std::time::Duration;

use super::{SetOutcome, option_table};

option_table! {
    /// Options of the TCP transport, written without a prefix.
    pub struct TcpOptions {
        /// How long a connect may take; 0 is as long as the operating system likes.
        "connectionTimeout" => connection_timeout: Duration = Duration::from_secs(30),
        /// How long a read may take; 0 is for ever. The inactivity monitor is the better tool.
        "soTimeout" => so_timeout: Duration = Duration::ZERO,
        /// How long a write may take; 0 is for ever.
        "soWriteTimeout" => so_write_timeout: Duration = Duration::ZERO,
        /// `SO_LINGER` in seconds; `None` leaves the system's default.
        "soLinger" => so_linger: Option<u32> = None,
        /// Whether small writes go out at once. `None` leaves it to `wireFormat.tcpNoDelayEnabled`.
        "tcpNoDelay" => tcp_no_delay: Option<bool> = None,
        /// Whether the operating system probes an idle connection.
        "keepAlive" => keep_alive: Option<bool> = None,
        /// Size of the socket's buffers in bytes.
        "socketBufferSize" => socket_buffer_size: u32 = 64 * 1024,
        /// Size of the stream buffers in bytes.
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
        "diffServ" => diff_serv: Option<String> = None,
        /// Type of service of the traffic.
        "typeOfService" => type_of_service: Option<u32> = None,
        /// Traffic class of the socket.
        "trafficClass" => traffic_class: Option<u32> = None,
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
        "trafficClass" => traffic_class: Option<u32> = None,
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
    fn no_delay_is_taken_from_the_nearest_option() {
        let mut options = InnerOptions::default();
        assert!(options.is_tcp_no_delay());
        options.set("tcpNoDelay", "false", false);
        assert!(!options.is_tcp_no_delay());
        options.set("socket.tcpNoDelay", "true", false);
        assert!(options.is_tcp_no_delay());
    }
}
