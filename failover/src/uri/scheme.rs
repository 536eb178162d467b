//! The schemes of ActiveMQ's transports and what this crate makes of them.

use std::fmt;

/// The protocol spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// AMQP 1.0.
    Amqp,
    /// MQTT.
    Mqtt,
    /// OpenWire, the protocol of JMS clients.
    OpenWire,
    /// STOMP.
    Stomp,
    /// STOMP, MQTT or AMQP over WebSocket.
    WebSocket,
}

/// The scheme of one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheme {
    name: &'static str,
    protocol: Protocol,
    is_tls: bool,
}

impl Scheme {
    /// As a URI spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Which protocol is spoken.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        self.protocol
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn is_tls(self) -> bool {
        self.is_tls
    }

    pub(crate) fn find(name: &str) -> Option<Self> {
        SCHEMES.iter().copied().find(|scheme| scheme.name == name)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn scheme(name: &'static str, protocol: Protocol, is_tls: bool) -> Scheme {
    Scheme {
        name,
        protocol,
        is_tls,
    }
}

const SCHEMES: &[Scheme] = &[
    scheme("tcp", Protocol::OpenWire, false),
    scheme("nio", Protocol::OpenWire, false),
    scheme("auto", Protocol::OpenWire, false),
    scheme("auto+nio", Protocol::OpenWire, false),
    scheme("ssl", Protocol::OpenWire, true),
    scheme("nio+ssl", Protocol::OpenWire, true),
    scheme("auto+ssl", Protocol::OpenWire, true),
    scheme("auto+nio+ssl", Protocol::OpenWire, true),
    scheme("stomp", Protocol::Stomp, false),
    scheme("stomp+nio", Protocol::Stomp, false),
    scheme("stomp+ssl", Protocol::Stomp, true),
    scheme("stomp+nio+ssl", Protocol::Stomp, true),
    scheme("amqp", Protocol::Amqp, false),
    scheme("amqp+nio", Protocol::Amqp, false),
    scheme("amqp+ssl", Protocol::Amqp, true),
    scheme("amqp+nio+ssl", Protocol::Amqp, true),
    scheme("amqps", Protocol::Amqp, true),
    scheme("mqtt", Protocol::Mqtt, false),
    scheme("mqtt+nio", Protocol::Mqtt, false),
    scheme("mqtt+ssl", Protocol::Mqtt, true),
    scheme("mqtt+nio+ssl", Protocol::Mqtt, true),
    scheme("ws", Protocol::WebSocket, false),
    scheme("wss", Protocol::WebSocket, true),
];

/// Schemes of ActiveMQ that this crate recognises and refuses, with the reason.
const REFUSED: &[(&str, &str)] = &[
    (
        "fanout",
        "it sends each message to several brokers, which duplicates by design",
    ),
    (
        "http",
        "OpenWire as XML over HTTP polling is not spoken here; use `tcp`",
    ),
    (
        "https",
        "OpenWire as XML over HTTP polling is not spoken here; use `ssl`",
    ),
    ("mock", "it only exists for ActiveMQ's own tests"),
    (
        "multicast",
        "finding brokers by multicast is not done here; list their addresses",
    ),
    ("peer", "it embeds a Java broker in the client"),
    ("simple", "write `static:(...)` instead"),
    (
        "udp",
        "OpenWire over UDP loses messages and is not spoken here; use `tcp`",
    ),
    ("vm", "it connects to a Java broker within the same process"),
    (
        "zeroconf",
        "finding brokers by zeroconf is not done here; list their addresses",
    ),
];

pub(super) fn refusal(name: &str) -> Option<&'static str> {
    REFUSED
        .iter()
        .find(|(refused, _)| *refused == name)
        .map(|(_, reason)| *reason)
}

/// Every name that could have been meant by a misspelled scheme.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let composites = ["failover", "discovery", "static", "masterslave"];
    SCHEMES.iter().map(|scheme| scheme.name).chain(composites)
}
