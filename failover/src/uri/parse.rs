//! The parser: from text to [`ClientUri`], collecting every mistake on the way.

use std::net::Ipv6Addr;

use super::error::{UriError, UriErrorKind as Kind};
use super::text::Piece;
use super::{
    ClientUri, CompositeKind, FailoverUri, InnerUri, OptionPlace, Scheme, Span, WrittenOption,
    scheme,
};
use crate::options::{
    AgentOptions, FailoverOptions, InnerOptions, JmsOptions, SetOutcome, nearest,
};

/// Nesting beyond this has no meaning and only serves to exhaust the stack.
const DEPTH_MAX: usize = 8;

/// Parses a client's URI; without one only when its structure is broken.
pub(super) fn client(text: &str) -> (Option<ClientUri>, Vec<UriError>) {
    let mut parser = Parser::default();
    match parser.client(Piece::whole(text)) {
        Ok(uri) => (Some(uri), parser.errors),
        Err(error) => {
            parser.errors.push(error);
            (None, parser.errors)
        }
    }
}

/// Parses one address and applies `nested` options to it.
pub(super) fn inner(text: &str, nested: &[(String, String)]) -> Result<InnerUri, UriError> {
    let mut parser = Parser::default();
    let piece = Piece::whole(text);
    let mut address = parser.inner(piece, OptionPlace::Inner(0))?;
    for (name, value) in nested {
        let outcome = address.options.set(name, value, address.scheme.is_tls());
        let option = WrittenOption {
            name: name.clone(),
            value: value.clone(),
            name_span: piece.span,
            value_span: piece.span,
            place: OptionPlace::Outer,
        };
        parser
            .errors
            .extend(refuse(text, &option, outcome, "an address", &[], None));
    }
    address.span = Span::default();
    match parser.errors.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(address),
    }
}

#[derive(Default)]
struct Parser {
    errors: Vec<UriError>,
    written: Vec<WrittenOption>,
}

fn composite_kind(name: &str) -> Option<CompositeKind> {
    match name {
        "failover" => Some(CompositeKind::Failover),
        "discovery" => Some(CompositeKind::Discovery),
        "static" => Some(CompositeKind::Static),
        "masterslave" => Some(CompositeKind::MasterSlave),
        _ => None,
    }
}

/// `scheme:rest`.
fn split_scheme(piece: Piece<'_>) -> Result<(Piece<'_>, Piece<'_>), UriError> {
    if piece.text().is_empty() {
        return Err(piece.error(Kind::Empty));
    }
    let (name, rest) = piece
        .split_once(':')
        .ok_or_else(|| piece.error(Kind::NoScheme))?;
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let begins = name.text().starts_with(|c: char| c.is_ascii_alphabetic());
    if !begins || !name.text().chars().all(is_scheme) {
        return Err(piece.error(Kind::NoScheme));
    }
    Ok((name, rest))
}

fn scheme_error(name: Piece<'_>) -> UriError {
    let text = name.text();
    if let Some(reason) = scheme::refusal(text) {
        return name.error(Kind::UnsupportedScheme {
            name: text.to_owned(),
            reason,
        });
    }
    let nearest = nearest(text, scheme::names()).map(str::to_owned);
    name.error(Kind::UnknownScheme {
        name: text.to_owned(),
        nearest,
    })
}

/// The list of a composite and its query.
struct CompositeParts<'a> {
    components: Vec<Piece<'a>>,
    query: Option<Piece<'a>>,
    is_parenthesised: bool,
    /// `scheme://list` without parentheses: the connection factory still takes `jms.` options off
    /// the last query, although everything else there belongs to the last address.
    has_slashes: bool,
}

fn split_composite(rest: Piece<'_>) -> Result<CompositeParts<'_>, UriError> {
    rest.check_parentheses()?;
    let has_slashes = rest.text().starts_with("//");
    let list = if has_slashes { rest.from(2) } else { rest }.trim();
    let (inside, query, is_parenthesised) = match list.closing() {
        Some(close) if list.text().starts_with('(') => {
            let after = list.from(close + 1).trim();
            let query = match after.text() {
                "" => None,
                text if text.starts_with('?') => Some(after.from(1)),
                _ => return Err(after.error(Kind::AfterParenthesis)),
            };
            (list.slice(1, close), query, true)
        }
        _ => (list, None, false),
    };
    let mut components: Vec<_> = inside
        .split_flat(',')
        .into_iter()
        .map(Piece::trim)
        .collect();
    // Java drops what follows a last comma, so this is as good as not written.
    if components.last().is_some_and(|last| last.text().is_empty()) {
        components.pop();
    }
    if components.is_empty() {
        return Err(rest.error(Kind::NoAddress));
    }
    if let Some(empty) = components
        .iter()
        .find(|component| component.text().is_empty())
    {
        return Err(empty.error(Kind::EmptyAddress));
    }
    Ok(CompositeParts {
        components,
        query,
        is_parenthesised,
        has_slashes,
    })
}

impl Parser {
    fn client(&mut self, piece: Piece<'_>) -> Result<ClientUri, UriError> {
        let (name, rest) = split_scheme(piece)?;
        let mut uri = ClientUri {
            jms: JmsOptions::default(),
            failover: FailoverUri {
                kind: CompositeKind::Single,
                addresses: Vec::new(),
                options: FailoverOptions::default(),
                agent: AgentOptions::default(),
                priority: Vec::new(),
                nested: Vec::new(),
            },
            written: Vec::new(),
            is_parenthesised: false,
            text: piece.whole.to_owned(),
        };
        if let Some(kind) = composite_kind(name.text()) {
            self.outer_composite(&mut uri, kind, rest)?;
        } else {
            let address = self.inner(piece, OptionPlace::Outer)?;
            uri.failover.addresses.push(address);
        }
        self.take_jms(&mut uri);
        self.apply_nested(&mut uri);
        uri.written = std::mem::take(&mut self.written);
        uri.written.sort_by_key(|option| option.name_span);
        Ok(uri)
    }

    fn outer_composite(
        &mut self,
        uri: &mut ClientUri,
        kind: CompositeKind,
        rest: Piece<'_>,
    ) -> Result<(), UriError> {
        let parts = split_composite(rest)?;
        uri.is_parenthesised = parts.is_parenthesised;
        uri.failover.kind = kind;
        if kind == CompositeKind::MasterSlave {
            // ActiveMQ reads it as failover with these two options.
            uri.failover.options.randomize = false;
            uri.failover.options.max_reconnect_attempts = Some(0);
        }
        let count = parts.components.len();
        for (index, component) in parts.components.into_iter().enumerate() {
            let takes_jms = !parts.is_parenthesised && parts.has_slashes && index + 1 == count;
            self.component(component, uri, 1, takes_jms)?;
        }
        if let Some(query) = parts.query {
            for option in self.query(query, OptionPlace::Outer)? {
                if !option.name.starts_with("jms.") {
                    self.outer_option(uri, rest.whole, &option);
                }
                self.written.push(option);
            }
        }
        Ok(())
    }

    /// One element of a list: an address, or a list whose addresses are taken over.
    fn component(
        &mut self,
        piece: Piece<'_>,
        uri: &mut ClientUri,
        depth: usize,
        takes_jms: bool,
    ) -> Result<(), UriError> {
        if depth > DEPTH_MAX {
            return Err(piece.error(Kind::NestedTooDeep { limit: DEPTH_MAX }));
        }
        let (name, rest) = split_scheme(piece)?;
        let Some(kind) = composite_kind(name.text()) else {
            let index = uri.failover.addresses.len();
            let before = self.written.len();
            let address = self.inner(piece, OptionPlace::Inner(index))?;
            self.check_inner_jms(piece, before, takes_jms);
            uri.failover.addresses.push(address);
            return Ok(());
        };
        let parts = split_composite(rest)?;
        for component in parts.components {
            self.component(component, uri, depth + 1, false)?;
        }
        let Some(query) = parts.query else {
            return Ok(());
        };
        for option in self.query(query, OptionPlace::Nested)? {
            self.nested_composite_option(uri, kind, piece.whole, &option);
            self.written.push(option);
        }
        Ok(())
    }

    /// Finds `jms.` options behind an inner address, where nothing takes them.
    fn check_inner_jms(&mut self, piece: Piece<'_>, before: usize, takes_jms: bool) {
        for option in &mut self.written[before..] {
            if !option.name.starts_with("jms.") {
                continue;
            }
            if takes_jms {
                option.place = OptionPlace::Outer;
            } else {
                let kind = Kind::JmsInside {
                    name: option.name.clone(),
                };
                self.errors
                    .push(UriError::new(piece.whole, option.name_span, kind));
            }
        }
    }

    fn take_jms(&mut self, uri: &mut ClientUri) {
        let known = JmsOptions::names();
        for option in self
            .written
            .iter()
            .filter(|option| option.place == OptionPlace::Outer)
        {
            let Some(name) = option.name.strip_prefix("jms.") else {
                continue;
            };
            let outcome = uri.jms.set(name, &option.value);
            let owner = "the connection";
            self.errors
                .extend(refuse(&uri.text, option, outcome, owner, &known, None));
        }
    }

    fn outer_option(&mut self, uri: &mut ClientUri, whole: &str, option: &WrittenOption) {
        let kind = uri.failover.kind;
        let prefix = if kind == CompositeKind::Discovery {
            "discovered."
        } else {
            "nested."
        };
        if let Some(name) = option.name.strip_prefix(prefix) {
            uri.failover
                .nested
                .push((name.to_owned(), option.value.clone()));
            return;
        }
        let (outcome, owner, known) = match kind {
            CompositeKind::Static | CompositeKind::MasterSlave => {
                let outcome = uri.failover.agent.set(&option.name, &option.value);
                (outcome, "the discovery agent", AgentOptions::NAMES)
            }
            CompositeKind::Discovery if option.name == "group" => {
                (SetOutcome::Set, "discovery", FailoverOptions::NAMES)
            }
            _ => {
                let outcome = uri.failover.options.set(&option.name, &option.value);
                (outcome, "failover", FailoverOptions::NAMES)
            }
        };
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        let advice = outer_advice(&option.name, prefix);
        if let Some(error) = refuse(whole, option, outcome, owner, &known, advice) {
            self.errors.push(error);
        } else if option.name == "priorityURIs" {
            self.priority_uris(uri, whole, option);
        } else if option.name == "updateURIsURL" && is_remote(&option.value) {
            self.errors.push(UriError::new(
                whole,
                option.value_span,
                Kind::UpdateUrlNotLocal,
            ));
        }
    }

    fn priority_uris(&mut self, uri: &mut ClientUri, whole: &str, option: &WrittenOption) {
        uri.failover.priority.clear();
        for text in &uri.failover.options.priority_uris {
            match inner(text, &[]) {
                Ok(address) => uri.failover.priority.push(address),
                // The value was decoded, so only the whole of it can be pointed at.
                Err(error) => {
                    let kind = error.kind().clone();
                    self.errors
                        .push(UriError::new(whole, option.value_span, kind));
                }
            }
        }
    }

    /// Options behind a list inside a list: checked, and only agents may have them.
    fn nested_composite_option(
        &mut self,
        uri: &mut ClientUri,
        kind: CompositeKind,
        whole: &str,
        option: &WrittenOption,
    ) {
        let is_agent = matches!(kind, CompositeKind::Static | CompositeKind::MasterSlave);
        let (outcome, owner) = if is_agent {
            (
                uri.failover.agent.set(&option.name, &option.value),
                "the discovery agent",
            )
        } else {
            (SetOutcome::Unknown, "a nested list")
        };
        let known: Vec<String> = AgentOptions::NAMES
            .iter()
            .map(|n| (*n).to_owned())
            .collect();
        let advice = (!is_agent).then(|| "put it after the outermost parenthesis".to_owned());
        self.errors
            .extend(refuse(whole, option, outcome, owner, &known, advice));
    }

    /// Gives every address the `nested.` options, which win over its own.
    fn apply_nested(&mut self, uri: &mut ClientUri) {
        let known = InnerOptions::names();
        let prefix = match uri.failover.kind {
            CompositeKind::Discovery => "discovered.",
            CompositeKind::Single => return,
            _ => "nested.",
        };
        for option in self
            .written
            .iter()
            .filter(|o| o.place == OptionPlace::Outer)
        {
            let Some(name) = option.name.strip_prefix(prefix) else {
                continue;
            };
            for address in &mut uri.failover.addresses {
                let outcome = address
                    .options
                    .set(name, &option.value, address.scheme.is_tls());
                let short = WrittenOption {
                    name: name.to_owned(),
                    ..option.clone()
                };
                let owner = "an address";
                if let Some(error) = refuse(&uri.text, &short, outcome, owner, &known, None) {
                    self.errors.push(error);
                    break;
                }
            }
        }
    }

    /// Parses `scheme://host:port/local:port?options`.
    fn inner(&mut self, piece: Piece<'_>, place: OptionPlace) -> Result<InnerUri, UriError> {
        let (name, rest) = split_scheme(piece)?;
        let Some(scheme) = Scheme::find(name.text()) else {
            if composite_kind(name.text()).is_some() {
                let name = name.text().to_owned();
                return Err(piece.error(Kind::CompositeNotAllowed { name }));
            }
            return Err(scheme_error(name));
        };
        if let Some(at) = rest.text().find('#') {
            return Err(rest.slice(at, at + 1).error(Kind::Fragment));
        }
        let (before, query) = match rest.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (rest, None),
        };
        if !before.text().starts_with("//") {
            return Err(before.error(Kind::NoSlashes {
                scheme: scheme.name().to_owned(),
            }));
        }
        let location = before.from(2);
        let (authority, path) = match location.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (location, None),
        };
        let (host, port) = host_and_port(authority)?;
        let mut address = InnerUri {
            scheme,
            host,
            port,
            local: path.and_then(local_address),
            options: InnerOptions::default(),
            span: piece.span,
            text: piece.text().to_owned(),
        };
        if let Some(query) = query {
            for option in self.query(query, place)? {
                if !option.name.starts_with("jms.") {
                    self.inner_option(&mut address, piece.whole, &option);
                }
                self.written.push(option);
            }
        }
        Ok(address)
    }

    fn inner_option(&mut self, address: &mut InnerUri, whole: &str, option: &WrittenOption) {
        let is_tls = address.scheme.is_tls();
        let outcome = address.options.set(&option.name, &option.value, is_tls);
        let known = InnerOptions::names();
        let advice = inner_advice(&option.name, option.place);
        if let Some(error) = refuse(whole, option, outcome, "an address", &known, advice) {
            self.errors.push(error);
        } else if option.name == "wireFormat" && option.value != "default" {
            let kind = Kind::UnknownWireFormat {
                name: option.value.clone(),
            };
            self.errors
                .push(UriError::new(whole, option.value_span, kind));
        }
    }

    /// Splits a query into options.
    fn query(
        &mut self,
        query: Piece<'_>,
        place: OptionPlace,
    ) -> Result<Vec<WrittenOption>, UriError> {
        if let Some(at) = query.text().find('?') {
            return Err(query.slice(at, at + 1).error(Kind::SecondQuestionMark));
        }
        if let Some(at) = query.text().find('#') {
            return Err(query.slice(at, at + 1).error(Kind::Fragment));
        }
        let mut options = Vec::new();
        for pair in query.split_flat('&') {
            if pair.text().is_empty() {
                continue;
            }
            if pair.text().starts_with("amp;") {
                let start = pair.span.start.saturating_sub(1);
                let span = Span::new(start, pair.span.start + "amp;".len());
                self.errors
                    .push(UriError::new(query.whole, span, Kind::EscapedAmpersand));
                continue;
            }
            let Some((name, value)) = pair.split_once('=') else {
                let name = pair.text().to_owned();
                self.errors.push(pair.error(Kind::NoValue { name }));
                continue;
            };
            match (name.decode(), value.decode()) {
                (Ok(decoded_name), Ok(decoded_value)) => options.push(WrittenOption {
                    name: decoded_name,
                    value: decoded_value,
                    name_span: name.span,
                    value_span: value.span,
                    place,
                }),
                (Err(error), _) | (_, Err(error)) => self.errors.push(error),
            }
        }
        Ok(options)
    }
}

/// The error for an option that was not set, if it was not.
fn refuse(
    whole: &str,
    option: &WrittenOption,
    outcome: SetOutcome,
    owner: &'static str,
    known: &[String],
    advice: Option<String>,
) -> Option<UriError> {
    let name = option.name.clone();
    match outcome {
        SetOutcome::Set => None,
        SetOutcome::BadValue(expects) => {
            let kind = Kind::BadValue {
                name,
                value: option.value.clone(),
                expects,
            };
            Some(UriError::new(whole, option.value_span, kind))
        }
        SetOutcome::Unknown => {
            // Advice about the right place is worth more than a similar name.
            let nearest = match advice {
                Some(_) => None,
                None => nearest(&name, known.iter().map(String::as_str)).map(str::to_owned),
            };
            let kind = Kind::UnknownOption {
                name,
                owner,
                nearest,
                advice,
            };
            Some(UriError::new(whole, option.name_span, kind))
        }
    }
}

/// Where an option belongs that does not belong after the parenthesis.
fn outer_advice(name: &str, prefix: &str) -> Option<String> {
    if InnerOptions::names().iter().any(|known| known == name) {
        return Some(format!(
            "it is an option of each address: write `{prefix}{name}=...` for all of them"
        ));
    }
    let short = name
        .strip_prefix("transport.")
        .or_else(|| name.strip_prefix("failover."))?;
    FailoverOptions::NAMES.contains(&short).then(|| {
        format!("the prefix is of another client library; ActiveMQ's own spelling is `{short}`")
    })
}

/// Where an option belongs that does not belong behind an address.
fn inner_advice(name: &str, place: OptionPlace) -> Option<String> {
    if FailoverOptions::NAMES.contains(&name) || name.starts_with("nested.") {
        return Some(if place == OptionPlace::Outer {
            format!("it needs `failover:` around the address: `failover:(...)?{name}=...`")
        } else {
            format!(
                "it is an option of `failover:`; put it after the closing parenthesis: \
                 `failover:(...)?{name}=...`"
            )
        });
    }
    let short = name.strip_prefix("transport.")?;
    InnerOptions::names()
        .iter()
        .any(|known| known == short)
        .then(|| format!("the prefix `transport.` is for brokers; a client writes `{short}`"))
}

fn is_remote(location: &str) -> bool {
    match location.split_once(':') {
        // One letter is a drive of Windows.
        Some((scheme, _)) => scheme.len() > 1 && scheme != "file",
        None => false,
    }
}

fn host_and_port(authority: Piece<'_>) -> Result<(String, u16), UriError> {
    // User information is accepted and ignored as in Java; the linter says so.
    let authority = match authority.text().rfind('@') {
        Some(at) => authority.from(at + 1),
        None => authority,
    };
    let (host, port) = if authority.text().starts_with('[') {
        bracketed_host(authority)?
    } else {
        let (host, port) = match authority.text().rfind(':') {
            Some(at) => (authority.to(at), Some(authority.from(at + 1))),
            None => (authority, None),
        };
        if host.text().is_empty() {
            return Err(authority.error(Kind::NoHost));
        }
        let is_host = |c: char| c.is_alphanumeric() || "-._".contains(c);
        if !host.text().chars().all(is_host) {
            return Err(host.error(Kind::BadHost {
                host: host.text().to_owned(),
            }));
        }
        (host, port)
    };
    let port = port.filter(|port| !port.text().is_empty());
    let port = port.ok_or_else(|| authority.error(Kind::NoPort))?;
    let is_digits = port.text().bytes().all(|byte| byte.is_ascii_digit());
    match port.text().parse::<u16>() {
        Ok(number) if number > 0 && is_digits => Ok((host.text().to_owned(), number)),
        _ => Err(port.error(Kind::BadPort {
            port: port.text().to_owned(),
        })),
    }
}

/// The address in brackets and the text after its colon.
fn bracketed_host(authority: Piece<'_>) -> Result<(Piece<'_>, Option<Piece<'_>>), UriError> {
    let text = authority.text();
    let Some(close) = text.find(']') else {
        return Err(authority.error(Kind::BadIpv6 {
            host: text.to_owned(),
        }));
    };
    let host = authority.slice(1, close);
    // A zone such as `%eth0` is not part of the address proper.
    let bare = host.text().split('%').next().unwrap_or_default();
    if bare.parse::<Ipv6Addr>().is_err() {
        return Err(host.error(Kind::BadIpv6 {
            host: host.text().to_owned(),
        }));
    }
    let after = authority.from(close + 1);
    match after.text() {
        "" => Ok((host, None)),
        port if port.starts_with(':') => Ok((host, Some(after.from(1)))),
        port => Err(after.error(Kind::BadPort {
            port: port.to_owned(),
        })),
    }
}

/// The local address of `tcp://remote:port/local:port`; Java ignores any other path.
fn local_address(path: Piece<'_>) -> Option<(String, u16)> {
    let (host, port) = path.split_once(':')?;
    let port = port.text().parse().ok()?;
    (!host.text().is_empty()).then(|| (host.text().to_owned(), port))
}
