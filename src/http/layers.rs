//! What lies around every handler: request ids, spans, limits, and answers in one form whatever went wrong.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio::sync::Semaphore;
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, sensitive_headers::SetSensitiveRequestHeadersLayer,
    set_header::SetResponseHeaderLayer, trace::TraceLayer,
};
use tracing::Span;
use uuid::Uuid;

use super::{
    Edge,
    error::{Kind, Problem},
    extract::BODY_BYTES_MAX,
    metrics,
    polling::WAIT_MAX,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;
/// How long a request may take from its head to its answer, long polls aside.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many requests of one kind are answered at once, and how long each may take. Kinds do not share, so that none can starve
/// another: a rollback is never queued behind forward work.
#[derive(Debug, Clone)]
pub struct Room {
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Room {
    fn new(places: usize, timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), timeout }
    }

    pub fn usual() -> Self {
        Self::new(256, REQUEST_TIMEOUT)
    }

    /// Long polls hold their place for up to a minute and cost little.
    pub fn waiting() -> Self {
        Self::new(2048, WAIT_MAX + REQUEST_TIMEOUT)
    }

    pub fn urgent() -> Self {
        Self::new(1024, REQUEST_TIMEOUT)
    }

    pub fn open() -> Self {
        Self::new(64, REQUEST_TIMEOUT)
    }
}

/// Refuses at once what there is no room for, and gives up what takes too long.
pub async fn bounded(State(room): State<Room>, request: Request, next: Next) -> Response {
    let Ok(_place) = room.places.try_acquire() else {
        return Problem::new(Kind::Overloaded, "too many requests of this kind are being answered").into_response();
    };
    match tokio::time::timeout(room.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = format!("no answer within {} s; it may have been done all the same", room.timeout.as_secs());
            Problem::new(Kind::RequestTimeout, detail).into_response()
        }
    }
}

/// The request's id: the caller's own where it is a short word, else a new one. Echoed, and in every log line of the request.
async fn with_request_id(mut request: Request, next: Next) -> Response {
    let fits = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let given = request.headers().get(REQUEST_ID).filter(fits).cloned();
    let id = given.unwrap_or_else(|| {
        HeaderValue::from_str(&Uuid::now_v7().to_string()).expect("hex digits and hyphens are a header value")
    });
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A span that tells the request apart and holds no secret: no header, no query, no body.
fn span(request: &Request) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    tracing::info_span!("request", method = %request.method(), route, path = request.uri().path(), request_id = id)
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let said = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(said, "a handler panicked");
    Problem::new(Kind::Internal, "the log has the details under this answer's X-Request-Id").into_response()
}

async fn no_such_url() -> Problem {
    Problem::new(Kind::NotFound, "there is no such URL; /openapi.json lists them")
}

async fn no_such_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "this URL takes another method; see the Allow header")
}

/// Puts the layers around all routes; the last one added is met first.
pub fn around(routes: Router<Edge>, edge: &Edge) -> Router<Edge> {
    let fixed = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    routes
        .fallback(no_such_url)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(edge.clone(), metrics::measure))
        .layer(TraceLayer::new_for_http().make_span_with(span))
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION]))
        .layer(middleware::from_fn(with_request_id))
        .layer(CompressionLayer::new())
        // What is shown may change at any moment; a cache must ask, which the ETag makes cheap.
        .layer(fixed(header::CACHE_CONTROL, "private, no-cache"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
}
