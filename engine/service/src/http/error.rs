//! Two messages: one for the caller, one for the log.

use std::borrow::Cow;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sluice_types::{Error, ErrorKind};

use crate::wording::for_callers;

/// What a caller is told. Causes, which may name files and servers, stay in the log.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: Cow<'static, str>,
    message: String,
}

impl ApiError {
    /// An answer of its own.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code: code.into(), message: message.into() }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        tracing::warn!(%error, "a request failed");
        let status = status_of(error.kind());
        ApiError { status, code: error.kind().code().into(), message: for_callers(&error) }
    }
}

fn status_of(kind: ErrorKind) -> StatusCode {
    use ErrorKind::*;
    match kind {
        Config | NotBuilt | PluginConfig => StatusCode::UNPROCESSABLE_ENTITY,
        PipelineMissing | PluginMissing | TableMissing | ConflictMissing => StatusCode::NOT_FOUND,
        PluginInvalid | PluginRefused | Fenced | SchemaChanged | KeyMissing | ConflictRefused => {
            StatusCode::CONFLICT
        }
        Unreachable | Busy | Timeout | DiskFull | State | StateLocked => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "code": self.code, "message": self.message });
        (self.status, Json(body)).into_response()
    }
}
