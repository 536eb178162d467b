//! Explains what a URI will really do: quirks, risks and mistakes, with advice.

use std::fmt;
use std::time::Duration;

use crate::uri::{ClientUri, CompositeKind, OptionPlace, Span, WrittenOption};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Good to know.
    Note,
    /// Probably not what was meant, or a risk.
    Warning,
    /// A client refuses the URI.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing to say about a URI.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// A stable name for it, for those who want to silence it.
    pub code: &'static str,
    /// Which bytes of the URI it is about.
    pub span: Span,
    /// What is so.
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    /// The finding with the URI and carets below the place.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        format!("{self}\n{}", self.span.underline(text))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]: {}", self.severity, self.code, self.message)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// Examines a URI: every mistake, then every quirk, the gravest first.
///
/// ```
/// let findings = failover::lint("failover:(tcp://a:61616,tcp://b:61616)");
/// assert!(findings.iter().any(|finding| finding.code == "connection-timeout"));
/// ```
#[must_use]
pub fn lint(text: &str) -> Vec<Finding> {
    let (uri, errors) = ClientUri::parse_all(text);
    let mut findings: Vec<Finding> = errors
        .iter()
        .map(|error| Finding {
            severity: Severity::Error,
            code: "refused",
            span: error.span(),
            message: error.kind().to_string(),
            advice: String::new(),
        })
        .collect();
    if let Some(uri) = uri {
        let mut linter = Linter {
            uri: &uri,
            findings: Vec::new(),
        };
        linter.structure();
        linter.addresses();
        linter.waiting();
        linter.backups();
        linter.timeouts();
        linter.jms();
        linter.without_effect();
        linter.repeated();
        findings.append(&mut linter.findings);
    }
    findings.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.span));
    findings
}

struct Linter<'a> {
    uri: &'a ClientUri,
    findings: Vec<Finding>,
}

impl Linter<'_> {
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (message, advice) = (message.into(), advice.into());
        self.findings.push(Finding {
            severity,
            code,
            span,
            message,
            advice,
        });
    }

    fn whole(&self) -> Span {
        Span::new(0, self.uri.as_str().len())
    }

    /// The option as last written; the last one wins.
    fn written(&self, name: &str) -> Option<&WrittenOption> {
        self.uri
            .written
            .iter()
            .rev()
            .find(|option| option.name == name)
    }

    /// Where an option stands, else the whole text.
    fn place(&self, name: &str) -> Span {
        self.written(name).map_or_else(
            || self.whole(),
            |option| Span::new(option.name_span.start, option.value_span.end),
        )
    }

    fn structure(&mut self) {
        let failover = &self.uri.failover;
        if failover.kind == CompositeKind::Single {
            let (span, first) = (self.whole(), failover.addresses[0].to_string());
            self.add(
                Severity::Warning,
                "no-failover",
                span,
                "without `failover:` a lost connection is never replaced",
                format!("write `failover:({first},...)`"),
            );
        } else if !self.uri.is_parenthesised {
            let last = self
                .uri
                .written
                .iter()
                .rev()
                .find(|o| o.place != OptionPlace::Nested);
            if let Some(span) = last.map(|option| option.name_span) {
                self.add(
                    Severity::Warning,
                    "query-without-parentheses",
                    span,
                    "without parentheses the options belong to the last address, not to `failover:`",
                    "put the list in parentheses, the options after them",
                );
            }
        }
        let nested: Vec<Span> = self
            .uri
            .written
            .iter()
            .filter(|option| option.place == OptionPlace::Nested)
            .map(|option| option.name_span)
            .collect();
        for span in nested {
            self.add(
                Severity::Note,
                "agent-option",
                span,
                "options of a nested list pace a broker's bridge; a client ignores them",
                "use the options of `failover:`",
            );
        }
    }

    fn addresses(&mut self) {
        let uri = self.uri;
        let addresses = &uri.failover.addresses;
        for (index, address) in addresses.iter().enumerate() {
            let same = |other: &&crate::InnerUri| {
                other.port == address.port && other.host.eq_ignore_ascii_case(&address.host)
            };
            if addresses[..index].iter().any(|other| same(&other)) {
                self.add(
                    Severity::Warning,
                    "duplicate-address",
                    address.span,
                    format!("`{address}` is listed twice and counts once"),
                    "name each broker once; Java compares resolved IP address and port, so two \
                     names of one load balancer are one address too",
                );
            }
            if address.host.contains('_') {
                self.add(
                    Severity::Warning,
                    "underscore-in-host",
                    address.span,
                    "Java clients cannot read a host name with an underscore",
                    "use another name or the IP address",
                );
            }
            if address
                .as_str()
                .split('?')
                .next()
                .is_some_and(|before| before.contains('@'))
            {
                self.add(
                    Severity::Warning,
                    "user-in-address",
                    address.span,
                    "user and password before `@` are ignored",
                    "use `jms.userName` and `jms.password`",
                );
            }
        }
        let encrypted = addresses
            .iter()
            .filter(|address| address.scheme.is_tls())
            .count();
        if encrypted > 0 && encrypted < addresses.len() {
            let plain = addresses.iter().find(|address| !address.scheme.is_tls());
            let span = plain.map_or_else(|| self.whole(), |address| address.span);
            self.add(
                Severity::Warning,
                "mixed-encryption",
                span,
                "some addresses are encrypted and this one is not",
                "a failover can move passwords and messages to the plain connection: use one kind",
            );
        }
        if addresses.len() == 1 && uri.failover.is_reconnecting() {
            self.add(
                Severity::Note,
                "one-address",
                addresses[0].span,
                "there is one address: after a takeover by another broker nothing is found there",
                "list both brokers of a pair",
            );
        } else if addresses.len() > 1 && uri.failover.options.randomize {
            let span = self.place("randomize");
            self.add(
                Severity::Note,
                "randomize",
                span,
                "addresses are tried in a random order",
                "for an active/standby pair both orders do; `randomize=false` tries the first first",
            );
        }
    }

    fn waiting(&mut self) {
        let uri = self.uri;
        if !uri.failover.is_reconnecting() {
            return;
        }
        let options = &uri.failover.options;
        if options.timeout.is_none_or(|timeout| timeout.is_zero()) {
            let span = self.place("timeout");
            self.add(
                Severity::Note,
                "send-waits-for-ever",
                span,
                "while no broker answers, a send waits for ever",
                "set `timeout` in milliseconds if the application should hear of it",
            );
        }
        if options.max_reconnect_attempts == Some(0) {
            let span = self.place("maxReconnectAttempts");
            self.add(
                Severity::Warning,
                "no-reconnect",
                span,
                "`maxReconnectAttempts` 0 is: never reconnect",
                "leave it out (-1) to reconnect for ever",
            );
        } else if let Some(rounds) = options.max_reconnect_attempts {
            let span = self.place("maxReconnectAttempts");
            self.add(
                Severity::Note,
                "attempts-are-rounds",
                span,
                format!(
                    "{rounds} attempts are {rounds} rounds over all addresses, about {} in all",
                    about(self.rounds_take(rounds))
                ),
                "a takeover that takes longer ends the connection for good",
            );
        }
        if let Some(rounds) = options.startup_max_reconnect_attempts {
            let span = self.place("startupMaxReconnectAttempts");
            self.add(
                Severity::Note,
                "startup-attempts",
                span,
                format!(
                    "until the first connection there are {} rounds, then `maxReconnectAttempts` counts",
                    rounds.max(1)
                ),
                "an application that may start before its broker should leave it out",
            );
        } else if options.max_reconnect_attempts.is_none() {
            let span = self.place("startupMaxReconnectAttempts");
            self.add(
                Severity::Note,
                "startup-waits-for-ever",
                span,
                "a wrong address looks like a broker that is down: the first connect waits for ever",
                "set `startupMaxReconnectAttempts` if the application should fail at its start",
            );
        }
        self.pauses();
    }

    fn pauses(&mut self) {
        let options = &self.uri.failover.options;
        let longest = if options.use_exponential_back_off {
            options.max_reconnect_delay
        } else {
            options.initial_reconnect_delay
        };
        if longest > Duration::from_secs(5) {
            let name = if options.use_exponential_back_off {
                "maxReconnectDelay"
            } else {
                "initialReconnectDelay"
            };
            let span = self.place(name);
            self.add(
                Severity::Note,
                "long-pause",
                span,
                format!(
                    "pauses grow to {}: after a long outage a client comes that much later than \
                     its broker",
                    about(longest)
                ),
                "`maxReconnectDelay=1000` costs little and finds the broker within a second",
            );
        }
        if self.written("reconnectDelay").is_some() {
            let span = self.place("reconnectDelay");
            self.add(
                Severity::Note,
                "reconnect-delay",
                span,
                "`reconnectDelay` only counts before the first connection",
                "after a lost connection `initialReconnectDelay` is the first pause",
            );
        }
    }

    /// How long that many failed rounds take when each address refuses at once.
    fn rounds_take(&self, rounds: u32) -> Duration {
        let options = &self.uri.failover.options;
        let mut delay = options.initial_reconnect_delay;
        let mut total = Duration::ZERO;
        for _ in 0..rounds.min(10_000) {
            total += delay;
            if options.use_exponential_back_off {
                let next = delay.as_secs_f64() * options.reconnect_delay_exponent;
                let next = Duration::try_from_secs_f64(next).unwrap_or(Duration::MAX);
                delay = next.min(options.max_reconnect_delay);
            }
        }
        total
    }

    fn backups(&mut self) {
        let uri = self.uri;
        let options = &uri.failover.options;
        for (name, is_on) in [
            ("backup", options.backup),
            ("priorityBackup", options.priority_backup),
        ] {
            if is_on {
                let span = self.place(name);
                self.add(
                    Severity::Warning,
                    "backup-with-pair",
                    span,
                    format!("`{name}` holds a connection to another broker, but a standby's ports are closed"),
                    "it helps with a network of active brokers, not with an active/standby pair",
                );
            }
        }
        if !options.priority_uris.is_empty() && !options.priority_backup {
            let span = self.place("priorityURIs");
            self.add(
                Severity::Warning,
                "priority-without-backup",
                span,
                "`priorityURIs` has no effect without `priorityBackup=true`",
                "add it or leave both out",
            );
        }
        let strangers: Vec<String> = uri
            .failover
            .priority
            .iter()
            .filter(|priority| !uri.failover.addresses.contains(priority))
            .map(ToString::to_string)
            .collect();
        if !strangers.is_empty() {
            let span = self.place("priorityURIs");
            self.add(
                Severity::Warning,
                "priority-not-listed",
                span,
                format!(
                    "`{}` has priority but is not in the list",
                    strangers.join("`, `")
                ),
                "a client only connects there as a backup; write it in the list as well",
            );
        }
        if options.track_messages || self.written("maxCacheSize").is_some() {
            let span = self.place("maxCacheSize");
            let size = options.max_cache_size;
            self.add(
                Severity::Note,
                "cache-in-bytes",
                span,
                format!("`maxCacheSize` is {size} bytes, not messages; older ones are forgotten"),
                "each message counts 1024 bytes and its body",
            );
        }
    }

    fn timeouts(&mut self) {
        let uri = self.uri;
        for address in &uri.failover.addresses {
            let tcp = &address.options.tcp;
            let timeout = tcp.connection_timeout;
            let is_endless = timeout.is_zero();
            if is_endless || timeout > Duration::from_secs(10) {
                let longest = if is_endless {
                    "minutes".to_owned()
                } else {
                    about(timeout)
                };
                self.add(
                    Severity::Warning,
                    "connection-timeout",
                    address.span,
                    format!(
                        "if the host of `{address}` vanishes, each round waits {longest} for it \
                         before the next address is tried"
                    ),
                    "add `nested.connectionTimeout=3000` after the parenthesis",
                );
            }
            let wire = &address.options.wire_format;
            if wire.max_inactivity_duration.is_zero() || !tcp.use_inactivity_monitor {
                self.add(
                    Severity::Warning,
                    "no-inactivity-monitor",
                    address.span,
                    "a broker that freezes or vanishes is never noticed",
                    "leave `wireFormat.maxInactivityDuration` and `useInactivityMonitor` alone",
                );
            } else if wire.max_inactivity_duration < Duration::from_secs(1) {
                self.add(
                    Severity::Warning,
                    "short-inactivity",
                    address.span,
                    "a pause of less than a second ends the connection",
                    "a garbage collection or a slow disk takes longer: 5000 is a sensible minimum",
                );
            }
        }
    }

    fn jms(&mut self) {
        let jms = &self.uri.jms;
        if jms.use_async_send && !jms.always_sync_send {
            let span = self.place("jms.useAsyncSend");
            self.add(
                Severity::Warning,
                "async-send",
                span,
                "persistent sends do not wait for the broker: a failover can lose them unnoticed",
                "leave `jms.useAsyncSend` out where messages matter",
            );
        }
        if !jms.check_for_duplicates {
            let span = self.place("jms.checkForDuplicates");
            self.add(
                Severity::Note,
                "no-duplicate-check",
                span,
                "messages that a failover delivers again are not recognised",
                "leave it out unless duplicates are what is measured",
            );
        }
        let password = self
            .uri
            .written
            .iter()
            .find(|option| option.name == "jms.password");
        if let Some(span) = password.map(|option| option.value_span) {
            let text = &self.uri.as_str()[span.start..span.end];
            if text.contains('+') {
                self.add(
                    Severity::Warning,
                    "plus-is-space",
                    span,
                    "a `+` in a URI is read as a space",
                    "write `%2B`",
                );
            }
        }
    }

    /// Options that are known and change nothing in this client.
    fn without_effect(&mut self) {
        let uri = self.uri;
        for option in &uri.written {
            let place = Span::new(option.name_span.start, option.value_span.end);
            if let Some(reason) = uri.why_without_effect(option) {
                self.add(
                    Severity::Note,
                    "no-effect",
                    place,
                    format!("`{}` has no effect in this client: {reason}", option.name),
                    "it does no harm; leave it out if only this client uses the URI",
                );
            }
        }
        for address in &uri.failover.addresses {
            let tcp = &address.options.tcp;
            if !tcp.use_keep_alive && tcp.use_inactivity_monitor {
                self.add(
                    Severity::Warning,
                    "no-keep-alive",
                    address.span,
                    "without keep-alives the broker ends a connection that is idle",
                    "leave `useKeepAlive` alone",
                );
            }
        }
    }

    fn repeated(&mut self) {
        let written = &self.uri.written;
        let repeated: Vec<(Span, String)> = written
            .iter()
            .enumerate()
            .filter(|(index, option)| {
                written[index + 1..]
                    .iter()
                    .any(|later| later.name == option.name && later.place == option.place)
            })
            .map(|(_, option)| (option.name_span, option.name.clone()))
            .collect();
        for (span, name) in repeated {
            self.add(
                Severity::Warning,
                "repeated-option",
                span,
                format!("`{name}` is given twice; the last one counts"),
                "remove this one",
            );
        }
    }
}

/// A duration as a person says it.
fn about(duration: Duration) -> String {
    match duration.as_millis() {
        ms if ms < 1000 => format!("{ms} ms"),
        ms if ms < 120_000 => format!("{} s", ms / 1000),
        ms => format!("{} minutes", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<&'static str> {
        lint(text).iter().map(|finding| finding.code).collect()
    }

    /// The text that the finding of this code points at.
    fn pointed<'a>(text: &'a str, code: &str) -> &'a str {
        let findings = lint(text);
        let finding = findings.iter().find(|finding| finding.code == code);
        let span = finding
            .unwrap_or_else(|| panic!("no `{code}` in {findings:#?}"))
            .span;
        &text[span.start..span.end]
    }

    #[test]
    fn a_careful_uri_has_no_warning() {
        let text = "failover:(tcp://a:61616,tcp://b:61616)?randomize=false&timeout=30000\
                    &maxReconnectDelay=1000&nested.connectionTimeout=3000";
        let grave: Vec<_> = lint(text)
            .into_iter()
            .filter(|f| f.severity > Severity::Note)
            .collect();
        assert!(grave.is_empty(), "{grave:#?}");
    }

    #[test]
    fn each_quirk_is_found_where_it_stands() {
        for (text, code, place) in [
            ("tcp://a:1", "no-failover", "tcp://a:1"),
            (
                "failover:tcp://a:1?tcpNoDelay=true",
                "query-without-parentheses",
                "tcpNoDelay",
            ),
            (
                "failover:(tcp://a:1,tcp://A:1)",
                "duplicate-address",
                "tcp://A:1",
            ),
            (
                "failover:(tcp://a_b:1)",
                "underscore-in-host",
                "tcp://a_b:1",
            ),
            (
                "failover:(tcp://u:p@a:1)",
                "user-in-address",
                "tcp://u:p@a:1",
            ),
            (
                "failover:(ssl://a:1,tcp://b:1)",
                "mixed-encryption",
                "tcp://b:1",
            ),
            ("failover:(tcp://a:1)", "connection-timeout", "tcp://a:1"),
            (
                "failover:(tcp://a:1)?timeout=-1",
                "send-waits-for-ever",
                "timeout=-1",
            ),
            (
                "failover:(tcp://a:1)?maxReconnectAttempts=0",
                "no-reconnect",
                "maxReconnectAttempts=0",
            ),
            (
                "failover:(tcp://a:1)?maxReconnectAttempts=3",
                "attempts-are-rounds",
                "maxReconnectAttempts=3",
            ),
            (
                "failover:(tcp://a:1)?startupMaxReconnectAttempts=2",
                "startup-attempts",
                "startupMaxReconnectAttempts=2",
            ),
            (
                "failover:(tcp://a:1)?maxReconnectDelay=60000",
                "long-pause",
                "maxReconnectDelay=60000",
            ),
            (
                "failover:(tcp://a:1)?reconnectDelay=5",
                "reconnect-delay",
                "reconnectDelay=5",
            ),
            (
                "failover:(tcp://a:1,tcp://b:1)?backup=true",
                "backup-with-pair",
                "backup=true",
            ),
            (
                "failover:(tcp://a:1)?priorityURIs=tcp://a:1",
                "priority-without-backup",
                "priorityURIs=tcp://a:1",
            ),
            (
                "failover:(tcp://a:1)?priorityBackup=true&priorityURIs=tcp://c:1",
                "priority-not-listed",
                "priorityURIs=tcp://c:1",
            ),
            (
                "failover:(tcp://a:1)?maxCacheSize=100",
                "cache-in-bytes",
                "maxCacheSize=100",
            ),
            (
                "failover:(tcp://a:1?wireFormat.maxInactivityDuration=0)",
                "no-inactivity-monitor",
                "tcp://a:1?wireFormat.maxInactivityDuration=0",
            ),
            (
                "failover:(tcp://a:1)?jms.useAsyncSend=true",
                "async-send",
                "jms.useAsyncSend=true",
            ),
            (
                "failover:(tcp://a:1)?jms.password=a+b",
                "plus-is-space",
                "a+b",
            ),
            (
                "failover:(tcp://a:1)?backup=true&backup=false",
                "repeated-option",
                "backup",
            ),
            (
                "failover:(static:(tcp://a:1)?maxReconnectDelay=1)",
                "agent-option",
                "maxReconnectDelay",
            ),
            (
                "failover:(tcp://a:1?ioBufferSize=1)",
                "no-effect",
                "ioBufferSize=1",
            ),
            (
                "failover:(tcp://a:1)?nested.soLinger=5",
                "no-effect",
                "nested.soLinger=5",
            ),
            (
                "tcp://a:1?socket.OOBInline=true",
                "no-effect",
                "socket.OOBInline=true",
            ),
            (
                "failover:(tcp://a:1)?jms.alwaysSessionAsync=true",
                "no-effect",
                "jms.alwaysSessionAsync=true",
            ),
            (
                "failover:(tcp://a:1?useKeepAlive=false)",
                "no-keep-alive",
                "tcp://a:1?useKeepAlive=false",
            ),
            (
                "failover:(tcp://a:1)?randomise=false",
                "refused",
                "randomise",
            ),
        ] {
            assert_eq!(pointed(text, code), place, "{text}");
        }
    }

    #[test]
    fn every_mistake_is_listed_not_only_the_first() {
        let text = "failover:(tcp://a:1?zork=1)?randomise=false&timeout=x";
        let refused = codes(text)
            .iter()
            .filter(|code| **code == "refused")
            .count();
        assert_eq!(refused, 3);
    }

    #[test]
    fn the_gravest_come_first_and_are_rendered_with_carets() {
        let text = "failover:(tcp://a:1)?randomise=false";
        let findings = lint(text);
        assert_eq!(findings[0].severity, Severity::Error);
        let shown = findings[0].render(text);
        assert!(
            shown.starts_with("error [refused]: option `randomise` is unknown"),
            "{shown}"
        );
        assert!(shown.ends_with("^^^^^^^^^"), "{shown}");
    }

    #[test]
    fn attempts_are_told_as_a_time() {
        let findings = lint("failover:(tcp://a:1)?maxReconnectAttempts=3");
        let told = findings
            .iter()
            .find(|f| f.code == "attempts-are-rounds")
            .expect("found");
        // 10 + 20 + 40 ms between three rounds.
        assert!(told.message.contains("about 70 ms"), "{}", told.message);
    }
}
