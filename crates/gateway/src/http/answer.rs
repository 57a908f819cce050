//! How answers look: JSON, problems, and the headers that all of them have.

use api::{Kind, Problem};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde::Serialize;

/// A problem on its way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    /// Seconds after which to try again.
    retry_after: Option<u64>,
}

impl Refusal {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Refusal {
        Problem::new(kind, detail).into()
    }

    pub fn retry_after(self, seconds: u64) -> Refusal {
        Refusal {
            retry_after: Some(seconds),
            ..self
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal {
            retry_after: (problem.kind == Kind::Unavailable).then_some(5),
            problem: Box::new(problem),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &*self.problem);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.problem.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// What a route answers.
pub(crate) type Answer = Result<Response, Refusal>;

/// A value as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    sized_json(status, value, 512)
}

/// A value as JSON of about this many bytes.
pub(crate) fn sized_json(status: StatusCode, value: &impl Serialize, size: usize) -> Response {
    let mut bytes = Vec::with_capacity(size);
    serde_json::to_writer(&mut bytes, value).expect("our types are JSON");
    with_type(status, "application/json", bytes)
}

/// 200 with a value.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    Ok(json(StatusCode::OK, value))
}

/// 204.
pub(crate) fn done() -> Answer {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Bytes of this type.
pub(crate) fn with_type(
    status: StatusCode,
    media_type: &'static str,
    bytes: impl Into<Body>,
) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Nothing of ours may be guessed at, framed, kept, or load anything from elsewhere.
const HEADERS: [(HeaderName, HeaderValue); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
    ),
];

/// Puts on what every answer has.
pub(crate) fn dress(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
}

/// The headers every answer has, as text: for an answer that is written without a server.
pub(crate) fn headers_text() -> String {
    let text = |(name, value): &(HeaderName, HeaderValue)| {
        format!("{name}: {}\r\n", value.to_str().expect("ours are ASCII"))
    };
    HEADERS.iter().map(text).collect()
}

/// No route has this path.
pub(crate) async fn not_found(uri: http::Uri) -> Refusal {
    let problem = Problem::new(
        Kind::NotFound,
        format!(
            "There is nothing at {}. /api/v1/openapi.json lists what there is.",
            uri.path()
        ),
    );
    problem.into()
}

/// A route has this path, with other methods.
pub(crate) async fn method_not_allowed(method: Method, uri: http::Uri) -> Refusal {
    Refusal::new(
        Kind::Method,
        format!(
            "{} cannot be used with {method}. The header Allow says with what.",
            uri.path()
        ),
    )
}
