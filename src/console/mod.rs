//! The HTTP port of a broker: health, role and status, on the active and on the standby alike.
//!
//! It is open from the first moment, while the journal is still being read, and it answers from
//! memory only: storage that hangs must not make a health check hang. It must not know the node,
//! only what a [`Source`] tells.

pub mod client;
mod transactions;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;

pub use self::transactions::{DecideError, TransactionRef};

/// How a decision comes out, when that is certain.
pub type Decided = Pin<Box<dyn Future<Output = Result<(), DecideError>> + Send>>;

/// Where the answers come from. None of these may block.
pub trait Source: Send + Sync + 'static {
    /// True while clients are served.
    fn is_active(&self) -> bool;
    /// Why an operator should look; None when all is well.
    fn trouble(&self) -> Option<String>;
    /// What an operator should know although all is well.
    fn warning(&self) -> Option<String>;
    /// How far the reading of the journal is, while that is going on.
    fn recovery(&self) -> Option<String>;
    /// The role as a word.
    fn role_name(&self) -> &'static str;
    /// The document of `/status`.
    fn status(&self) -> serde_json::Value;
    /// Commits a prepared transaction in place of its coordinator, or rolls it back.
    fn decide(&self, transaction: TransactionRef, is_commit: bool) -> Decided;
}

/// Answers on `listener` until the process ends.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>) {
    let router = router(source).into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "The health port is closed.");
    }
}

fn router(source: Arc<dyn Source>) -> Router {
    Router::new()
        .route("/", get(pointer))
        .route("/health", get(health))
        .route("/active", get(active))
        .route("/status", get(status))
        .route("/transactions/commit", post(transactions::commit))
        .route("/transactions/rollback", post(transactions::roll_back))
        .with_state(source)
}

async fn pointer() -> &'static str {
    "BatonMQ: see /health, /active (200 on the active broker only) and /status (JSON)\n"
}

async fn health(State(source): State<Arc<dyn Source>>) -> Response {
    match source.trouble() {
        None => {
            let mut text = format!("healthy: {}\n", source.role_name());
            if let Some(recovery) = source.recovery() {
                text.push_str(&format!("recovery: {recovery}\n"));
            }
            if let Some(warning) = source.warning() {
                text.push_str(&format!("warning: {warning}\n"));
            }
            (StatusCode::OK, text).into_response()
        }
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn active(State(source): State<Arc<dyn Source>>) -> Response {
    let code = if source.is_active() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, format!("{}\n", source.role_name())).into_response()
}

async fn status(State(source): State<Arc<dyn Source>>) -> Response {
    let no_cache = [(header::CACHE_CONTROL, "no-store")];
    (no_cache, axum::Json(source.status())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::client::get;
    use std::time::Duration;

    struct Scripted {
        is_active: bool,
        trouble: Option<String>,
        warning: Option<String>,
        recovery: Option<String>,
    }

    impl Source for Scripted {
        fn is_active(&self) -> bool {
            self.is_active
        }

        fn trouble(&self) -> Option<String> {
            self.trouble.clone()
        }

        fn warning(&self) -> Option<String> {
            self.warning.clone()
        }

        fn recovery(&self) -> Option<String> {
            self.recovery.clone()
        }

        fn role_name(&self) -> &'static str {
            if self.is_active { "active" } else { "standby" }
        }

        fn status(&self) -> serde_json::Value {
            serde_json::json!({ "role": self.role_name() })
        }

        fn decide(&self, transaction: TransactionRef, is_commit: bool) -> Decided {
            let outcome = match (self.is_active, transaction.format, is_commit) {
                (false, _, _) => Err(DecideError::NotActive),
                (true, 7, true) => Ok(()),
                (true, 8, false) => Err(DecideError::Uncertain("no answer".to_owned())),
                _ => Err(DecideError::Unknown(format!("no {transaction}"))),
            };
            Box::pin(std::future::ready(outcome))
        }
    }

    async fn open(source: Scripted) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(listener, Arc::new(source)));
        format!("http://{address}")
    }

    async fn fetch(base: &str, path: &str) -> (u16, String) {
        let answer = get(base, path, Duration::from_secs(10))
            .await
            .expect("an answer");
        (answer.code, answer.body)
    }

    #[tokio::test]
    async fn an_active_says_so_with_200() {
        let base = open(Scripted {
            is_active: true,
            trouble: None,
            warning: None,
            recovery: None,
        })
        .await;
        assert_eq!(fetch(&base, "/active").await, (200, "active\n".to_owned()));
        assert_eq!(
            fetch(&base, "/health").await,
            (200, "healthy: active\n".to_owned())
        );
        assert_eq!(
            fetch(&base, "/status").await,
            (200, "{\"role\":\"active\"}".to_owned())
        );
        assert!(fetch(&base, "/").await.1.contains("/status"));
        assert_eq!(fetch(&base, "/nothing").await.0, 404);
    }

    #[tokio::test]
    async fn a_warning_is_told_with_200_because_a_restart_would_heal_nothing() {
        let base = open(Scripted {
            is_active: true,
            trouble: None,
            warning: Some("full".to_owned()),
            recovery: None,
        })
        .await;
        assert_eq!(
            fetch(&base, "/health").await,
            (200, "healthy: active\nwarning: full\n".to_owned())
        );
    }

    #[tokio::test]
    async fn a_recovery_tells_how_far_it_is_with_200_because_a_restart_would_begin_it_again() {
        let base = open(Scripted {
            is_active: false,
            trouble: None,
            warning: None,
            recovery: Some("replays the journal: 1 of 2 MiB".to_owned()),
        })
        .await;
        let healthy = "healthy: standby\nrecovery: replays the journal: 1 of 2 MiB\n";
        assert_eq!(fetch(&base, "/health").await, (200, healthy.to_owned()));
    }

    #[tokio::test]
    async fn decisions_are_posted_and_the_answer_says_what_became_of_them() {
        let active = open(Scripted {
            is_active: true,
            trouble: None,
            warning: None,
            recovery: None,
        })
        .await;
        let standby = open(Scripted {
            is_active: false,
            trouble: None,
            warning: None,
            recovery: None,
        })
        .await;
        for (base, verb, format, code, text) in [
            (&active, "commit", 7, 200, "7:0a: is committed\n"),
            (&active, "rollback", 7, 404, "no 7:0a:\n"),
            (&active, "rollback", 8, 503, "no answer\n"),
            (
                &standby,
                "commit",
                7,
                409,
                "this broker is not the active: ask the other one\n",
            ),
        ] {
            let body = format!(r#"{{"format":{format},"global":"0a","branch":""}}"#);
            let path = format!("/transactions/{verb}");
            let answer = client::post(base, &path, &body, Duration::from_secs(10)).await;
            let answer = answer.expect("an answer");
            assert_eq!((answer.code, &*answer.body), (code, text));
        }
        assert_eq!(fetch(&active, "/transactions/commit").await.0, 405);
        let odd = client::post(
            &active,
            "/transactions/commit",
            "{}",
            Duration::from_secs(10),
        );
        assert_eq!(odd.await.expect("an answer").code, 422);
    }

    #[tokio::test]
    async fn a_standby_in_trouble_answers_503_with_the_reason() {
        let base = open(Scripted {
            is_active: false,
            trouble: Some("late".to_owned()),
            warning: None,
            recovery: None,
        })
        .await;
        assert_eq!(fetch(&base, "/active").await, (503, "standby\n".to_owned()));
        assert_eq!(fetch(&base, "/health").await, (503, "late\n".to_owned()));
    }
}
