//! The least HTTP client for a health port: one request, one answer, bounded in time and size.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers above this are not ours.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body as text.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// The URL is not `http://host:port`.
    #[error("`{url}` is not an address of a health port: write `http://host:port`")]
    Url {
        /// What was given.
        url: String,
    },
    /// Nobody answers there.
    #[error("`{url}` does not answer: {error}")]
    Io {
        /// What was asked.
        url: String,
        /// What the system said.
        error: io::Error,
    },
    /// Too slow.
    #[error("`{url}` did not answer within {} ms", patience.as_millis())]
    Late {
        /// What was asked.
        url: String,
        /// How long it had.
        patience: Duration,
    },
    /// The answer is not HTTP.
    #[error("`{url}` does not speak HTTP as a health port does")]
    Malformed {
        /// What was asked.
        url: String,
    },
}

/// Fetches `path` from the health port at `base` (`http://host:port`).
///
/// # Errors
/// [`GetError`]
pub async fn get(base: &str, path: &str, patience: Duration) -> Result<Answer, GetError> {
    ask(base, path, None, patience).await
}

/// Sends a JSON document to `path` of the health port at `base` (`http://host:port`).
///
/// # Errors
/// [`GetError`]
pub async fn post(
    base: &str,
    path: &str,
    json: &str,
    patience: Duration,
) -> Result<Answer, GetError> {
    ask(base, path, Some(json), patience).await
}

async fn ask(
    base: &str,
    path: &str,
    json: Option<&str>,
    patience: Duration,
) -> Result<Answer, GetError> {
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let authority = base
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|rest| crate::config::HostPort::parse(rest).is_some())
        .ok_or_else(|| GetError::Url {
            url: base.to_owned(),
        })?;
    match tokio::time::timeout(patience, exchange(authority, path, json)).await {
        Ok(Ok(bytes)) => parse(&bytes).ok_or(GetError::Malformed { url }),
        Ok(Err(error)) => Err(GetError::Io { url, error }),
        Err(_) => Err(GetError::Late { url, patience }),
    }
}

async fn exchange(authority: &str, path: &str, json: Option<&str>) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(authority).await?;
    // HTTP/1.0: the server closes after the answer and sends it in one piece.
    let head = format!("{path} HTTP/1.0\r\nHost: {authority}\r\nAccept: */*\r\n");
    let request = match json {
        None => format!("GET {head}\r\n"),
        Some(json) => {
            let length = json.len();
            let body = format!("Content-Length: {length}\r\n\r\n{json}");
            format!("POST {head}Content-Type: application/json\r\n{body}")
        }
    };
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .await?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status_line = head.lines().next()?;
    let mut words = status_line.split(' ');
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    Some(Answer {
        code: words.next()?.parse().ok()?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_code_and_body() {
        let answer = parse(b"HTTP/1.0 503 Service Unavailable\r\na: b\r\n\r\nstandby\n");
        assert_eq!(
            answer,
            Some(Answer {
                code: 503,
                body: "standby\n".to_owned()
            })
        );
        assert_eq!(parse(b"HTTP/1.0 200 OK\r\n"), None);
        assert_eq!(parse(b"\0\0\0\x21\x01ActiveMQ\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn only_plain_http_addresses_are_asked() {
        for url in [
            "127.0.0.1:8161",
            "https://a:1",
            "http://a",
            "http://a:1/status",
        ] {
            let error = get(url, "/status", Duration::from_secs(1))
                .await
                .expect_err(url);
            assert!(matches!(error, GetError::Url { .. }), "{url}: {error}");
        }
    }
}
