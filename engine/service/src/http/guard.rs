//! Who may ask what.
//!
//! - Changing anything needs the token, always; so do dead letters, which hold rows.
//! - Beyond loopback everything needs it but `/health`, `/ready` and `/metrics`.
//! - A `Host` that isn't an address or `localhost` is refused: a page of somebody else's that lets its name point here
//!   (DNS rebinding) sends that name. An `Origin` must be our own. There is no CORS.
//! - Above [`REQUESTS_AT_ONCE`] requests are turned away.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use sluice_types::Secret;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::error::ApiError;

/// Requests that are worked on at once (I10).
pub const REQUESTS_AT_ONCE: usize = 64;

/// What can be read by anyone who reaches the address, also beyond loopback.
const OPEN: [&str; 3] = ["/health", "/ready", "/metrics"];

/// The rules of one server.
#[derive(Debug)]
pub struct Guard {
    token: [u8; 32],
    beyond_loopback: bool,
    places: Semaphore,
}

impl Guard {
    /// Rules for a server that listens beyond loopback or not.
    pub fn new(token: &Secret, beyond_loopback: bool) -> Self {
        Guard { token: digest(token.expose()), beyond_loopback, places: Semaphore::new(REQUESTS_AT_ONCE) }
    }

    fn admit(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !is_own_host(host) && !self.beyond_loopback {
            let message = "the Host header names neither an address nor localhost";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "host-refused", message));
        }
        if let Some(origin) = headers.get(header::ORIGIN)
            && origin.as_bytes() != format!("http://{host}").as_bytes()
        {
            let message = "requests from pages of other origins are refused";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "origin-refused", message));
        }
        if self.needs_token(method, path) && !self.has_token(headers) {
            let message = "this needs the header `Authorization: Bearer TOKEN`; the token is `service.token` of the \
                           configuration, or else in the file `token` of the state folder";
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "token-needed", message));
        }
        Ok(())
    }

    fn needs_token(&self, method: &Method, path: &str) -> bool {
        let changes = !matches!(*method, Method::GET | Method::HEAD);
        changes
            || path.starts_with("/api/v1/dlq")
            || path.starts_with("/api/v1/conflicts")
            || (self.beyond_loopback && !OPEN.contains(&path))
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok());
        let given = given.and_then(|given| given.strip_prefix("Bearer ")).unwrap_or_default();
        // Digests are compared, so that neither the length nor the first wrong byte can be told from the time it takes.
        digest(given).ct_eq(&self.token).into()
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Whether a `Host` header is an address or `localhost`, with or without a port.
fn is_own_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Lets a request pass, or answers why not.
pub async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let Ok(_place) = guard.places.try_acquire() else {
        let message = format!("more than {REQUESTS_AT_ONCE} requests at once; try again");
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-requests", message).into_response();
    };
    match guard.admit(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(beyond: bool, method: Method, path: &str, headers: &[(header::HeaderName, &str)]) -> bool {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, "127.0.0.1:8687".parse().unwrap());
        for (name, value) in headers {
            map.insert(name, value.parse().unwrap());
        }
        Guard::new(&Secret::new("t0ken"), beyond).admit(&method, path, &map).is_ok()
    }

    #[test]
    fn changing_and_dead_letters_need_the_token() {
        let right = [(header::AUTHORIZATION, "Bearer t0ken")];
        let wrong = [(header::AUTHORIZATION, "Bearer t0keN")];
        for (method, path) in [
            (Method::POST, "/api/v1/pipelines/a/pause"),
            (Method::DELETE, "/x"),
            (Method::GET, "/api/v1/dlq/a"),
            (Method::GET, "/api/v1/conflicts/a"),
        ] {
            assert!(admitted(false, method.clone(), path, &right), "{path}");
            assert!(!admitted(false, method.clone(), path, &wrong), "{path}");
            assert!(!admitted(false, method, path, &[]), "{path}");
        }
        assert!(admitted(false, Method::GET, "/api/v1/status", &[]));
        assert!(!admitted(true, Method::GET, "/api/v1/status", &[]), "beyond loopback");
        assert!(admitted(true, Method::GET, "/metrics", &[]));
    }

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let host = |host| admitted(false, Method::GET, "/health", &[(header::HOST, host)]);
        for own in ["localhost", "localhost:1", "127.0.0.1:8687", "[::1]:8687", "10.0.0.7"] {
            assert!(host(own), "{own}");
        }
        for foreign in ["", "evil.example:8687", "localhost.evil.example", "127.0.0.1.evil.example:1"] {
            assert!(!host(foreign), "{foreign}");
        }
        let origin = |origin| admitted(false, Method::GET, "/health", &[(header::ORIGIN, origin)]);
        assert!(origin("http://127.0.0.1:8687"));
        for foreign in ["null", "http://127.0.0.1:9999", "https://evil.example"] {
            assert!(!origin(foreign), "{foreign}");
        }
    }
}
