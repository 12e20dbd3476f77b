//! A service that says what it is told to, call by call, and remembers what it was asked.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What one call gets.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(u16, Value),
    /// Taken, and then nothing: the connection is held until the client gives up.
    Silence,
    /// Taken, and the connection broken without an answer.
    Broken,
}

/// One call as it came.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) call: String,
    pub(crate) body: Value,
    pub(crate) token: Option<String>,
    pub(crate) if_match: Option<String>,
}

#[derive(Debug, Default)]
struct Script {
    /// By `POST /v1/…`, without the query; the last reply of a call stays.
    replies: HashMap<String, VecDeque<Reply>>,
    asked: Vec<Asked>,
}

/// The service.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let app = Router::new().fallback(answer).with_state(script.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, script, server }
    }

    /// The replies to one call, in order; the last one stays.
    pub(crate) fn on(self, call: &str, replies: impl IntoIterator<Item = Reply>) -> Self {
        self.script.lock().unwrap().replies.insert(call.to_owned(), replies.into_iter().collect());
        self
    }

    /// A deployment that goes through `states`, one a look, and has no history.
    pub(crate) fn living(self, states: impl IntoIterator<Item = Value>) -> Self {
        self.on(&format!("GET /v1/deployments/{ID}"), states.into_iter().map(|state| Reply::Json(200, state)))
            .on(&format!("GET /v1/deployments/{ID}/events"), [Reply::Json(200, json!({"items": [], "next_cursor": null}))])
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    pub(crate) fn times(&self, call: &str) -> usize {
        self.asked().iter().filter(|asked| asked.call == call).count()
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let call = format!("{} {}", request.method(), request.uri().path());
    let (token, if_match) = {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (header(header::AUTHORIZATION), header(header::IF_MATCH))
    };
    let body: Bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let reply = {
        let mut script = script.lock().unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        script.asked.push(Asked { call: call.clone(), body, token, if_match });
        match script.replies.get_mut(&call) {
            Some(replies) if replies.len() > 1 => replies.pop_front().unwrap(),
            Some(replies) => replies[0].clone(),
            None => Reply::Json(404, json!({"type": "/problems/not-found", "title": "There is no such thing", "status": 404})),
        }
    };
    match reply {
        Reply::Json(status, body) => {
            let etag = format!("\"{}\"", body.to_string().len());
            (StatusCode::from_u16(status).unwrap(), [(header::ETAG, etag)], axum::Json(body)).into_response()
        }
        Reply::Silence => std::future::pending().await,
        // A body that breaks off: hyper closes the connection in the middle of the answer.
        Reply::Broken => {
            let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("broken"))]);
            axum::body::Body::from_stream(broken).into_response()
        }
    }
}

pub(crate) const ID: &str = "01934b2c-7e0d-7c3a-9d9c-1f2e3a4b5c6d";

/// A deployment in some state, as the API answers it.
pub(crate) fn deployment(status: &str, phase: &str) -> Value {
    let ended = matches!(status, "succeeded" | "rolled_back" | "cancelled" | "failed");
    json!({
        "id": ID, "url": format!("/v1/deployments/{ID}"), "service": "web", "environment": "prod", "number": 42,
        "image": "ami-0bb2", "version": null, "reason": null, "created_by": "ci", "created_at": "2026-11-24T12:00:00Z",
        "ended_at": ended.then_some("2026-11-24T12:10:00Z"), "status": status, "phase": phase, "stage": null,
        "stages": [{"weight": 5, "bake_time": "5m", "state": "next"}, {"weight": 100, "bake_time": "0s", "state": "next"}],
        "weight": {"desired": 0, "observed": 0}, "next_change_at": null, "blue": null, "green": null, "routes": [],
        "rollback": null, "refusal": [], "attention": null, "allowed_actions": [], "poll_after_ms": 2000,
    })
}

pub(crate) fn running() -> Value {
    deployment("in_progress", "provisioning")
}

/// `value` with one member replaced.
pub(crate) fn with(mut value: Value, key: &str, member: Value) -> Value {
    value[key] = member;
    value
}

pub(crate) fn problem(status: u16, slug: &str) -> Reply {
    Reply::Json(status, json!({"type": format!("/problems/{slug}"), "title": slug, "status": status, "detail": "so it is"}))
}

/// Longer than any test may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
