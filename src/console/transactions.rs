//! Decisions on prepared transactions, which operators send to the active.
//!
//! The port has no accounts, so whoever may decide is known by where he is: on this host. A page in a
//! browser on this host is somebody else, and so is whoever comes through a proxy on it: both are
//! recognised by what they cannot leave out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Source;

/// A prepared transaction's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionRef {
    /// The number of the name's format.
    pub format: i32,
    /// The global part, in hexadecimal digits.
    pub global: String,
    /// The branch, in hexadecimal digits.
    pub branch: String,
}

impl fmt::Display for TransactionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.format, self.global, self.branch)
    }
}

/// Why a decision was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// Only the active decides.
    #[error("this broker is not the active: ask the other one")]
    NotActive,
    /// It does not wait.
    #[error("{0}")]
    Unknown(String),
    /// The journal did not take it, or did not say so in time.
    #[error("{0}")]
    Uncertain(String),
}

impl DecideError {
    fn code(&self) -> StatusCode {
        match self {
            DecideError::NotActive => StatusCode::CONFLICT,
            DecideError::Unknown(_) => StatusCode::NOT_FOUND,
            DecideError::Uncertain(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) async fn commit(
    State(source): State<Arc<dyn Source>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(transaction): Json<TransactionRef>,
) -> Response {
    decide(&source, peer, &headers, transaction, true).await
}

pub(super) async fn roll_back(
    State(source): State<Arc<dyn Source>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(transaction): Json<TransactionRef>,
) -> Response {
    decide(&source, peer, &headers, transaction, false).await
}

async fn decide(
    source: &Arc<dyn Source>,
    peer: SocketAddr,
    headers: &HeaderMap,
    transaction: TransactionRef,
    is_commit: bool,
) -> Response {
    if let Err(reason) = check(peer, headers) {
        return (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response();
    }
    let done = if is_commit {
        "committed"
    } else {
        "rolled back"
    };
    match source.decide(transaction.clone(), is_commit).await {
        Ok(()) => (StatusCode::OK, format!("{transaction} is {done}\n")).into_response(),
        Err(error) => (error.code(), format!("{error}\n")).into_response(),
    }
}

/// Whether a request comes from somebody on this host who is no web page.
fn check(peer: SocketAddr, headers: &HeaderMap) -> Result<(), &'static str> {
    if !peer.ip().to_canonical().is_loopback() {
        return Err("decisions are taken from the broker's own host only: run the command there");
    }
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err("decisions are not taken from web pages: use `baton transactions`");
    }
    if headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for") {
        return Err("decisions are not taken through proxies: use `baton transactions`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: Option<&'static str>) -> HeaderMap {
        name.map(|name| (name.parse().expect("a name"), "x".parse().expect("a value")))
            .into_iter()
            .collect()
    }

    #[test]
    fn only_local_programs_may_decide() {
        for local in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let peer = local.parse().expect("an address");
            assert_eq!(check(peer, &headers(None)), Ok(()), "{local}");
            for foreign in ["origin", "sec-fetch-site", "forwarded", "x-forwarded-for"] {
                assert!(check(peer, &headers(Some(foreign))).is_err(), "{foreign}");
            }
        }
        let far = "10.0.0.1:1".parse().expect("an address");
        assert!(check(far, &headers(None)).is_err());
    }
}
