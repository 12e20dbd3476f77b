//! One call to `/v1`: token, deadline, bounded tries, and what an answer means for the exit code.
//!
//! Trying again is decided by what a repeat would do. Reading and the absolute commands may be repeated; `promote` may not, once
//! it may have been received; a rollback is repeated until it is answered.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    exit::{Exit, Failure},
    resource::Problem,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The service answers within 10 s, long polls aside.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Larger than any page of the API.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// Whether and for how long to try again when no answer, or only a 5xx, came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// As long as this; the call may be repeated at any time.
    For(Duration),
    /// As long as this, but only while the service cannot have received it.
    UnlessReceived(Duration),
}

/// An answer with a 2xx (or 304) status.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) etag: Option<String>,
    /// 202: taken on, not done yet.
    pub(super) accepted_only: bool,
    /// 304.
    pub(super) unchanged: bool,
    /// An earlier try of this call may have been received without an answer reaching us.
    pub(super) repeated: bool,
}

/// Why there is no such answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// No answer, or one that says to come again.
    Passing {
        said: String,
        /// The service may have received it.
        received: bool,
    },
    Refused {
        status: u16,
        problem: Box<Problem>,
        /// An earlier try of this call may have been received.
        repeated: bool,
    },
}

/// The service, as one user.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

/// One request to be made.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Below the base: `v1/…`, with its query.
    pub(super) path: &'a str,
    pub(super) body: Option<&'a Value>,
    pub(super) etag: Option<&'a str>,
    /// Only if the resource still has this ETag.
    pub(super) if_match: Option<&'a str>,
    /// How long the service may hold the answer back beyond its usual time.
    pub(super) wait: Duration,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, etag: None, if_match: None, wait: Duration::ZERO }
    }

    pub(super) fn send(method: Method, path: &'a str, body: &'a Value) -> Self {
        Self { method, path, body: Some(body), etag: None, if_match: None, wait: Duration::ZERO }
    }
}

impl Api {
    pub(super) fn new(base: &Url, token: Option<SecretString>) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("cutover-cli/", env!("CARGO_PKG_VERSION")))
            // A token must not follow a redirect to another host, and the API has none.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new(Exit::Error, format!("the HTTP client cannot be set up: {}", chain(&error))))?;
        let mut base = base.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self { http, base, token })
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Calls, and again as `again` allows.
    pub(super) async fn call(&self, call: Call<'_>, again: Again) -> Result<Answer, Trouble> {
        let (Again::For(patience) | Again::UnlessReceived(patience)) = again;
        let until = Instant::now() + patience;
        let mut pause = PAUSE_MIN;
        let mut repeated = false;
        loop {
            let received = match self.once(&call).await {
                Ok(answer) => return Ok(Answer { repeated, ..answer }),
                Err(Trouble::Refused { status, problem, .. }) => return Err(Trouble::Refused { status, problem, repeated }),
                Err(Trouble::Passing { said, received }) => {
                    let may = !received || matches!(again, Again::For(_));
                    if !may || Instant::now() + pause >= until {
                        return Err(Trouble::Passing { said, received: received || repeated });
                    }
                    received
                }
            };
            repeated |= received;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn once(&self, call: &Call<'_>) -> Result<Answer, Trouble> {
        let response = self.request(call).send().await.map_err(|error| Trouble::Passing {
            said: format!("{} does not answer: {}", self.base, chain(&error)),
            received: !error.is_connect(),
        })?;
        let status = response.status().as_u16();
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        if status == 304 {
            let (accepted_only, unchanged, repeated) = (false, true, false);
            return Ok(Answer { body: Value::Null, etag, accepted_only, unchanged, repeated });
        }
        let bytes = body(response).await.map_err(|said| Trouble::Passing { said, received: true })?;
        if (200..300).contains(&status) {
            let body = serde_json::from_slice(&bytes).map_err(|_| Trouble::Passing {
                said: format!("{} answered {status} without JSON: is this a Cutover service?", self.base),
                received: true,
            })?;
            return Ok(Answer { body, etag, accepted_only: status == 202, unchanged: false, repeated: false });
        }
        let problem: Problem = serde_json::from_slice(&bytes).unwrap_or_default();
        if status == 429 || status >= 500 {
            let title = if problem.title.is_empty() { "no reason given" } else { &problem.title };
            let mut said = format!("{} answered {status}: {title}", self.base);
            if !problem.by_hand.is_empty() {
                said.extend(problem.detail.iter().map(|detail| format!("\n  {detail}")));
                said += "\n  if blue's servers are still there, by hand:";
                said.extend(problem.by_hand.iter().map(|line| format!("\n    {line}")));
            }
            // 502 and 504 come from something in between, which may have passed the request on.
            return Err(Trouble::Passing { said, received: status != 429 });
        }
        Err(Trouble::Refused { status, problem: Box::new(problem), repeated: false })
    }

    fn request(&self, call: &Call<'_>) -> RequestBuilder {
        let url = self.base.join(call.path).unwrap_or_else(|_| self.base.clone());
        let mut request = self.http.request(call.method.clone(), url).timeout(ANSWER_TIMEOUT + call.wait);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(etag) = call.etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        if let Some(etag) = call.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        match call.body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

async fn body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(bytes),
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= BODY_MAX => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(format!("the answer is longer than {BODY_MAX} bytes")),
            Err(error) => return Err(format!("the answer broke off: {}", chain(&error))),
        }
    }
}

/// An error with its causes: reqwest's own text alone says only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !said.ends_with(&text) {
            said = format!("{said}: {text}");
        }
        source = cause.source();
    }
    said
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let (status, problem) = match trouble {
            Trouble::Passing { said, .. } => return Self::new(Exit::Error, said),
            Trouble::Refused { status, problem, .. } => (status, problem),
        };
        let exit = match status {
            401 | 403 => Exit::Denied,
            409 | 412 => Exit::Conflict,
            400 | 404 | 413 | 415 | 422 => Exit::Rejected,
            _ => Exit::Error,
        };
        Self::new(exit, tell(status, &problem))
    }
}

fn tell(status: u16, problem: &Problem) -> String {
    let slug = problem.kind.rsplit('/').next().filter(|slug| !slug.is_empty()).unwrap_or("no problem document");
    let mut said = format!("{} ({status} {slug})", if problem.title.is_empty() { "refused" } else { &problem.title });
    match problem.errors.as_slice() {
        [] => said.extend(problem.detail.iter().map(|detail| format!(": {detail}"))),
        faults => said.extend(faults.iter().map(|fault| format!("\n  {fault}"))),
    }
    if let Some(phase) = &problem.phase {
        said += &format!("\n  it is {phase}");
    }
    if let Some(allowed) = &problem.allowed_actions {
        let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        said += &format!("\n  allowed now: {allowed}");
    }
    if let Some(link) = problem.deployment.as_ref().filter(|link| !link.id.is_empty()) {
        said += &format!("\n  in the way: cutover status {}", link.id);
    }
    if status == 401 {
        said += "\n  set CUTOVER_TOKEN or CUTOVER_TOKEN_FILE";
    }
    said
}
