//! Problems (RFC 9457), and the only place that knows status codes.
//!
//! What went wrong inside is logged here, once, with its whole chain; what a caller reads never contains it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use problem_details::ProblemDetails;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::wire::DeploymentLink;
use crate::{
    domain::{
        command::{self, Refusal},
        survey::FieldFault,
    },
    engine::{api::Trouble, ports::StoreError},
};

/// Every kind of problem that the API answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ValidationFailed,
    MalformedBody,
    UnsupportedMediaType,
    BodyTooLarge,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    DeploymentInProgress,
    IllegalInPhase,
    GateNotOpen,
    DriftStays,
    NothingToRollBackTo,
    PreconditionFailed,
    RequestTimeout,
    Overloaded,
    DatabaseUnreachable,
    RollbackOutOfReach,
    Internal,
}

/// How a kind is told.
#[derive(Debug, Clone, Copy)]
pub struct About {
    status: StatusCode,
    /// The last part of its `type`.
    pub slug: &'static str,
    pub title: &'static str,
    /// What it means and what to do about it: the text of its page.
    pub page: &'static str,
}

impl Kind {
    pub const ALL: [Self; 19] = [
        Self::ValidationFailed,
        Self::MalformedBody,
        Self::UnsupportedMediaType,
        Self::BodyTooLarge,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::DeploymentInProgress,
        Self::IllegalInPhase,
        Self::GateNotOpen,
        Self::DriftStays,
        Self::NothingToRollBackTo,
        Self::PreconditionFailed,
        Self::RequestTimeout,
        Self::Overloaded,
        Self::DatabaseUnreachable,
        Self::RollbackOutOfReach,
        Self::Internal,
    ];

    /// The one table of statuses, slugs and texts.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
    pub fn about(self) -> About {
        let (status, slug, title, page) = match self {
            Self::ValidationFailed => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "validation-failed",
                "The request has faults",
                "Nothing was changed. `errors` lists every fault at once: `pointer` is a JSON pointer (RFC 6901) into the body, \
                 `parameter` names a part of the URL, and `detail` says what would be right. Correct them all and send it again.",
            ),
            Self::MalformedBody => (
                StatusCode::BAD_REQUEST,
                "malformed-body",
                "The body is not JSON",
                "The body could not be read as one JSON value in UTF-8. An empty body is the same as `{}`.",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be JSON",
                "Send `Content-Type: application/json`; `curl --json` does.",
            ),
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large", "A body has at most 64 KiB.")
            }
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A valid token is needed",
                "Send `Authorization: Bearer TOKEN`. The token is missing, mistyped or unknown here.",
            ),
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "This token may not do that",
                "`abandon` is for administrators: it makes Cutover let go of a deployment as it stands.",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not-found",
                "There is no such thing",
                "Nothing is known under this URL. A service/environment must be declared (PUT) before it can be deployed.",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This URL takes another method",
                "The `Allow` header lists the methods that this URL takes.",
            ),
            Self::DeploymentInProgress => (
                StatusCode::CONFLICT,
                "deployment-in-progress",
                "A deployment runs already",
                "One deployment at a time moves a service/environment. `deployment` is the one that runs: wait for it, roll it back or cancel it.",
            ),
            Self::IllegalInPhase => (
                StatusCode::CONFLICT,
                "illegal-in-phase",
                "The command is not legal now",
                "`phase` says where the deployment is and `allowed_actions` what can be asked of it there.",
            ),
            Self::GateNotOpen => (
                StatusCode::CONFLICT,
                "gate-not-open",
                "No gate waits for an answer",
                "`approve` and `reject` answer a gate that waits for a person; none does now.",
            ),
            Self::DriftStays => (
                StatusCode::CONFLICT,
                "drift-stays",
                "This drift cannot be answered so",
                "Somebody changed a rule outside Cutover, in a way that `adopt` cannot put on record or `restore` cannot undo: `detail` \
                 says why. Nothing was changed. The other answer may be open (`allowed_actions`); else put the rule back by hand, \
                 and the deployment goes on by itself, or roll back.",
            ),
            Self::NothingToRollBackTo => (
                StatusCode::CONFLICT,
                "nothing-to-roll-back-to",
                "There is nothing to roll back to",
                "No deployment of this service/environment runs, and none is known that was live before what is live now (a version of \
                 another launch template does not count). To go back to an older image, deploy it.",
            ),
            Self::PreconditionFailed => (
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "It has changed meanwhile",
                "The `If-Match` header names another state than the present one; nothing was changed. Read it again and decide anew. \
                 Rollback and pause never ask for this.",
            ),
            Self::RequestTimeout => (
                StatusCode::SERVICE_UNAVAILABLE,
                "request-timeout",
                "The answer took too long",
                "The request was given up after 10 seconds. What it asked for may have been done: read the resource, then repeat it. \
                 Every command may be repeated.",
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many requests at once",
                "This replica answers as many requests as it may; nothing was done. Try again after `Retry-After` seconds. Rollback and \
                 pause have room of their own.",
            ),
            Self::DatabaseUnreachable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "database-unreachable",
                "The database cannot be reached",
                "The records could not be read or written. A command may or may not have been stored: every command may be repeated. \
                 Try again after `Retry-After` seconds.",
            ),
            Self::RollbackOutOfReach => (
                StatusCode::SERVICE_UNAVAILABLE,
                "rollback-out-of-reach",
                "Not without the database any more",
                "While the database is away a rollback is sent by what this replica last read of the deployment. That is too old by \
                 now, and a look at the load balancer did not show that it still holds; `detail` says what it showed. Nothing was \
                 sent. Another replica may know better; else look at the listener yourself, see that blue's servers are still there, \
                 and take the lines of `by_hand`.",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal-error",
                "Something went wrong inside",
                "This is a bug or a record that cannot be read. The log has the details under the `X-Request-Id` of the answer.",
            ),
        };
        About { status, slug, title, page }
    }

    /// Whether the same request may succeed in a moment.
    fn passes(self) -> bool {
        matches!(self, Self::RequestTimeout | Self::Overloaded | Self::DatabaseUnreachable | Self::RollbackOutOfReach)
    }
}

/// One fault: where it stands, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FaultView {
    /// JSON pointer (RFC 6901) into the body; empty for the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/strategy/stages/0/weight")]
    pub pointer: Option<String>,
    /// A part of the path or query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    pub detail: String,
}

impl FaultView {
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), detail: detail.into() }
    }
}

impl From<FieldFault> for FaultView {
    fn from(fault: FieldFault) -> Self {
        Self { pointer: Some(fault.pointer), parameter: None, detail: fault.detail }
    }
}

/// What a kind adds to its problem.
#[derive(Debug, Default, Serialize)]
struct Extras {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FaultView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentLink>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_actions: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    by_hand: Vec<String>,
}

/// A request that was not done, and why.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    extras: Box<Extras>,
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), extras: Box::default() }
    }

    /// Faults of the request, at least one.
    pub fn faults(faults: impl IntoIterator<Item = impl Into<FaultView>>) -> Self {
        let errors: Vec<FaultView> = faults.into_iter().map(Into::into).collect();
        let detail = match errors.as_slice() {
            [only] => only.detail.clone(),
            several => format!("{} faults; nothing was changed", several.len()),
        };
        Self { kind: Kind::ValidationFailed, detail, extras: Box::new(Extras { errors, ..Extras::default() }) }
    }
}

impl From<Vec<FieldFault>> for Problem {
    fn from(faults: Vec<FieldFault>) -> Self {
        Self::faults(faults)
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NotFound(what) => Self::new(Kind::NotFound, format!("there is no such {what}")),
            Trouble::Invalid(faults) => Self::faults(faults),
            Trouble::InProgress(running) => {
                let link = DeploymentLink::of(&running);
                let detail = format!("#{} of {} runs already: {}", running.number, running.target, link.url);
                Self {
                    extras: Box::new(Extras { deployment: Some(link), ..Extras::default() }),
                    ..Self::new(Kind::DeploymentInProgress, detail)
                }
            }
            Trouble::Refused { refusal: Refusal::IllegalInPhase { phase, allowed }, deployment } => {
                let may = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
                let detail = format!("not legal in {phase}; legal now: {may}");
                let extras = Extras {
                    deployment: Some(DeploymentLink::of(&deployment)),
                    phase: Some(phase),
                    allowed_actions: Some(allowed),
                    ..Extras::default()
                };
                Self { extras: Box::new(extras), ..Self::new(Kind::IllegalInPhase, detail) }
            }
            Trouble::Refused { refusal: Refusal::GateNotOpen, deployment } => {
                let extras = Extras {
                    deployment: Some(DeploymentLink::of(&deployment)),
                    phase: Some(deployment.phase.name()),
                    ..Extras::default()
                };
                Self { extras: Box::new(extras), ..Self::new(Kind::GateNotOpen, "no gate waits for an answer now") }
            }
            Trouble::Refused { refusal: Refusal::DriftStays { command, reasons }, deployment } => {
                let detail = format!("this drift cannot be answered with {command}: {}", reasons.join("; "));
                let extras = Extras {
                    deployment: Some(DeploymentLink::of(&deployment)),
                    phase: Some(deployment.phase.name()),
                    allowed_actions: Some(command::allowed(&deployment)),
                    ..Extras::default()
                };
                Self { extras: Box::new(extras), ..Self::new(Kind::DriftStays, detail) }
            }
            Trouble::NothingToRollBackTo => Self::new(
                Kind::NothingToRollBackTo,
                "no deployment runs, and no image is known that was live before the live one",
            ),
            Trouble::Forbidden => Self::new(Kind::Forbidden, "this is for administrators"),
            Trouble::Precondition => Self::new(Kind::PreconditionFailed, "it has changed since `If-Match` was read"),
            Trouble::OutOfReach { why, by_hand } => {
                tracing::warn!(why, "a rollback cannot be sent without the database");
                let extras = Extras { by_hand, ..Extras::default() };
                Self { extras: Box::new(extras), ..Self::new(Kind::RollbackOutOfReach, why) }
            }
            Trouble::Store(error) => Self::from(error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let chain = chain(&error);
        match error {
            StoreError::Unreachable { doing, .. } => {
                tracing::warn!(error = chain, "the database could not be reached");
                Self::new(Kind::DatabaseUnreachable, format!("the database could not be reached while {doing}"))
            }
            StoreError::Broken { .. } => {
                tracing::error!(error = chain, "the database failed");
                Self::new(Kind::Internal, "the log has the details under this answer's X-Request-Id")
            }
        }
    }
}

/// An error with all that caused it, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    // A chain has no loop unless somebody built one on purpose; ten links tell enough.
    for _ in 0..10 {
        let Some(error) = cause else { break };
        told.push_str(": ");
        told.push_str(&error.to_string());
        cause = error.source();
    }
    told
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let About { status, slug, title, .. } = self.kind.about();
        let page = format!("/problems/{slug}").parse::<axum::http::Uri>().expect("slugs are plain words, so this is a path");
        let details = ProblemDetails::from_status_code(status)
            .with_type(page)
            .with_title(title)
            .with_detail(self.detail)
            .with_extensions(*self.extras);
        let mut response = details.into_response();
        let headers = response.headers_mut();
        if self.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cutover\""));
        }
        if self.kind.passes() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A request that was done, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nothing changed, or all of it is done.
    Ok,
    Created,
    /// Taken down; the engine brings it about.
    Accepted,
}

impl Done {
    /// What a command answers.
    #[must_use]
    pub fn of_command(changed: bool) -> Self {
        if changed { Self::Accepted } else { Self::Ok }
    }

    /// An answer with this body.
    pub fn with(self, body: &impl Serialize) -> Response {
        let status = match self {
            Self::Ok => StatusCode::OK,
            Self::Created => StatusCode::CREATED,
            Self::Accepted => StatusCode::ACCEPTED,
        };
        match serde_json::to_value(body) {
            Ok(body) => (status, Json::<Value>(body)).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Problem::new(Kind::Internal, "the answer could not be written").into_response()
            }
        }
    }
}

/// `304`: what the caller has is what would be shown.
pub fn not_modified() -> Response {
    StatusCode::NOT_MODIFIED.into_response()
}

/// Not ready: for probes, which read the status and little else.
pub fn not_ready(body: &impl Serialize) -> Response {
    let mut response = Done::Ok.with(body);
    *response.status_mut() = Kind::DatabaseUnreachable.about().status;
    response
}

/// The number for the metrics.
#[must_use]
pub fn code(response: &Response) -> u16 {
    response.status().as_u16()
}
