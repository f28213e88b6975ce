//! The HTTP face of a running engine.
//!
//! `/health` (the process lives), `/ready` (every target is consistent), `/metrics` (Prometheus), `/api/v1/...` (JSON; errors are
//! `{code, message}`), `/` (a page for people). [`guard`] says who may ask what.

mod api;
mod connections;
mod error;
mod exposition;
mod guard;
mod metrics;

use std::fmt::Write;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::json;
use sluice_types::{Error, ErrorKind, Result, Secret};
use tokio::net::TcpListener;

use crate::engine::{Engine, LineReport};
use connections::Connections;
use error::ApiError;
use guard::Guard;

/// A server that has its address and answers nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    routes: Router,
}

impl Server {
    /// Takes an address (port 0: any free one).
    pub async fn bind(engine: Engine, listen: SocketAddr, token: &Secret) -> Result<Server> {
        let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(listen, error))?;
        let guard = Guard::new(token, !address.ip().is_loopback());
        Ok(Server { listener, address, routes: routes(engine, guard) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is ready, then finishes what has begun.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let served =
            axum::serve(Connections::of(self.listener), self.routes).with_graceful_shutdown(stop).await;
        served.map_err(|error| Error::new(ErrorKind::Internal, "the HTTP server ended").because(error))
    }
}

fn cannot_listen(listen: SocketAddr, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::Permission,
        _ => ErrorKind::Config,
    };
    let what = match error.kind() {
        std::io::ErrorKind::AddrInUse => format!("another process listens on {listen} already"),
        _ => format!("can't listen on {listen}"),
    };
    Error::new(kind, what)
        .because(error)
        .remedy("Stop it, or set another `service.listen` (or `--listen`); port 0 takes a free one")
}

fn routes(engine: Engine, guard: Guard) -> Router {
    let api = Router::new()
        .route("/status", get(api::status))
        .route("/pipelines/{name}", delete(api::delete))
        .route("/pipelines/{name}/pause", post(api::pause))
        .route("/pipelines/{name}/resume", post(api::resume))
        .route("/pipelines/{name}/resnapshot", post(api::resnapshot))
        .route("/pipelines/{name}/lineage", get(api::lineage))
        .route("/plugins", get(api::plugins))
        .route("/plugins/{name}/swap", post(api::swap))
        .route("/plugins/{name}/rollback", post(api::rollback))
        .route("/dlq/{name}", get(api::dead_letters))
        .route("/dlq/{name}/{*id}", get(api::dead_letter))
        .route("/conflicts/{name}", get(api::conflicts))
        .route("/conflicts/{name}/{*id}", get(api::conflict).post(api::decide))
        .route("/reload", post(api::reload));
    Router::new()
        .route("/", get(page))
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .nest("/api/v1", api)
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            let message = "this path takes another method";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
        })
        .layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::guard))
        .with_state(engine)
}

async fn metrics(State(engine): State<Engine>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], metrics::render(&engine))
}

/// 200 when every line's target is consistent, else 503 and which is not.
async fn ready(State(engine): State<Engine>) -> impl IntoResponse {
    let lines = engine.status().lines;
    let waiting: Vec<_> = lines.iter().filter(|report| !report.line.ready).map(not_ready).collect();
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": waiting.is_empty(), "waiting_for": waiting })))
}

fn not_ready(report: &LineReport) -> serde_json::Value {
    let code = report.line.reason.as_ref().map(|(code, _)| code.clone());
    json!({ "pipeline": report.name, "target": report.target, "phase": report.line.phase, "code": code })
}

/// One page of plain text.
async fn page(State(engine): State<Engine>) -> String {
    let status = engine.status();
    let mut text = format!("sluice {}\n\n", status.version);
    for LineReport { name, target, line } in &status.lines {
        let phase = metrics::phase_name(line.phase);
        let ready = if line.ready { "ready" } else { "not ready" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name} -> {target}: {phase}, {ready}, {} {} behind", line.lag, line.lag_unit);
    }
    text.push_str("\n/health /ready /metrics /api/v1/status\n");
    text
}
