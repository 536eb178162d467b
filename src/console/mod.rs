//! The HTTP port of a broker: health, role and status, on the active and on the standby alike.
//!
//! It is open from the first moment, while the journal is still being read, and it answers from
//! memory only: storage that hangs must not make a health check hang. It must not know the node,
//! only what a [`Source`] tells.

pub mod client;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// Where the answers come from. None of these may block.
pub trait Source: Send + Sync + 'static {
    /// True while clients are served.
    fn is_active(&self) -> bool;
    /// Why an operator should look; None when all is well.
    fn trouble(&self) -> Option<String>;
    /// The role as a word.
    fn role_name(&self) -> &'static str;
    /// The document of `/status`.
    fn status(&self) -> serde_json::Value;
}

/// Answers on `listener` until the process ends.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>) {
    if let Err(error) = axum::serve(listener, router(source)).await {
        tracing::error!(%error, "The health port is closed.");
    }
}

fn router(source: Arc<dyn Source>) -> Router {
    Router::new()
        .route("/", get(pointer))
        .route("/health", get(health))
        .route("/active", get(active))
        .route("/status", get(status))
        .with_state(source)
}

async fn pointer() -> &'static str {
    "BatonMQ: see /health, /active (200 on the active broker only) and /status (JSON)\n"
}

async fn health(State(source): State<Arc<dyn Source>>) -> Response {
    match source.trouble() {
        None => (StatusCode::OK, format!("healthy: {}\n", source.role_name())).into_response(),
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
    }

    impl Source for Scripted {
        fn is_active(&self) -> bool {
            self.is_active
        }

        fn trouble(&self) -> Option<String> {
            self.trouble.clone()
        }

        fn role_name(&self) -> &'static str {
            if self.is_active { "active" } else { "standby" }
        }

        fn status(&self) -> serde_json::Value {
            serde_json::json!({ "role": self.role_name() })
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
    async fn a_standby_in_trouble_answers_503_with_the_reason() {
        let base = open(Scripted {
            is_active: false,
            trouble: Some("late".to_owned()),
        })
        .await;
        assert_eq!(fetch(&base, "/active").await, (503, "standby\n".to_owned()));
        assert_eq!(fetch(&base, "/health").await, (503, "late\n".to_owned()));
    }
}
