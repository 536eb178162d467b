//! Addresses in settings: `tcp://host:port` for messaging, `host:port` for HTTP.

use std::fmt;

use super::setting::{Expected, FromRaw, Raw};

/// A host name or IP address and a port; an IPv6 address stands in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// 0 lets the system choose a free one.
    pub port: u16,
}

impl HostPort {
    /// Parses `host:port`; None when either is missing or malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inside = rest.strip_suffix(']')?;
                inside.parse::<std::net::Ipv6Addr>().ok()?;
                inside
            }
            None => host,
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        if host.is_empty() || !(is_address || host.chars().all(is_name)) {
            return None;
        }
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(HostPort {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }

    /// True for `0.0.0.0` and `::`: nothing that a client could connect to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromRaw for HostPort {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) | Raw::Word(text) => HostPort::parse(text),
            _ => None,
        }
        .ok_or(Expected(
            "`host:port`, like \"127.0.0.1:8161\" or \"[::1]:0\"",
        ))
    }
}

/// Where OpenWire is spoken: `tcp://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportAddress(pub HostPort);

impl TransportAddress {
    /// Parses `tcp://host:port`; None for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<TransportAddress> {
        let rest = text.strip_prefix("tcp://")?;
        HostPort::parse(rest.strip_suffix('/').unwrap_or(rest)).map(TransportAddress)
    }
}

impl fmt::Display for TransportAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.0)
    }
}

impl FromRaw for TransportAddress {
    fn from_raw(raw: &Raw) -> Result<Self, Expected> {
        match raw {
            Raw::Text(text) | Raw::Word(text) => TransportAddress::parse(text),
            _ => None,
        }
        .ok_or(Expected(
            "`tcp://host:port` without options, like \"tcp://127.0.0.1:61616\"",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_with_ports_are_read() {
        for text in [
            "127.0.0.1:8161",
            "broker-a.example.org:0",
            "[::1]:61616",
            "0.0.0.0:1",
        ] {
            assert_eq!(
                HostPort::parse(text).map(|a| a.to_string()).as_deref(),
                Some(text)
            );
        }
        assert!(HostPort::parse("[::]:1").is_some_and(|a| a.is_wildcard()));
    }

    #[test]
    fn half_addresses_are_refused() {
        for text in [
            "",
            "8161",
            "host",
            "host:",
            ":1",
            "host:65536",
            "host:+1",
            "::1",
            "a b:1",
            "[x]:1",
        ] {
            assert!(HostPort::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_plain_tcp_addresses_are_transports() {
        assert!(TransportAddress::parse("tcp://127.0.0.1:61616").is_some());
        assert!(TransportAddress::parse("tcp://127.0.0.1:61616/").is_some());
        for text in [
            "127.0.0.1:61616",
            "ssl://a:61617",
            "tcp://a:1?transport.x=1",
            "tcp://a",
        ] {
            assert!(TransportAddress::parse(text).is_none(), "{text}");
        }
    }
}
