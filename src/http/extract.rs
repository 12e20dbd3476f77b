//! What handlers are given: names from the path, a strict query, a bounded JSON body. Each rejection is a problem.

use std::collections::HashSet;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{header, request::Parts},
};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::{FaultView, Kind, Problem};
use crate::domain::{
    ids::{DeploymentId, Target},
    spec,
};

/// At most this many bytes of body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// More query parameters than any call has.
const PARAMETERS_MAX: usize = 32;

/// `{service}` and `{environment}` of the path.
#[derive(Debug)]
pub struct At(pub Target);

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((service, environment)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Kind::NotFound, "there is no such URL"))?;
        match (spec::service_name(&service), spec::environment_name(&environment)) {
            (Ok(service), Ok(environment)) => Ok(Self(Target { service, environment })),
            (service, environment) => {
                let faults = [("service", service.err()), ("environment", environment.err())];
                Err(Problem::faults(faults.into_iter().filter_map(|(name, detail)| Some(FaultView::parameter(name, detail?)))))
            }
        }
    }
}

/// `{id}` of the path.
#[derive(Debug)]
pub struct Id(pub DeploymentId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
        id.map(|id| Self(DeploymentId::new(id))).ok_or_else(|| Problem::new(Kind::NotFound, "there is no such deployment"))
    }
}

/// A JSON body; an empty one is `{}`.
#[derive(Debug)]
pub struct Body(pub Value);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let declared =
            request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("").to_ascii_lowercase());
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(axum::extract::rejection::FailedToBufferBody::LengthLimitError(_)) => {
                Problem::new(Kind::BodyTooLarge, format!("a body has at most {} KiB", BODY_BYTES_MAX / 1024))
            }
            _ => Problem::new(Kind::MalformedBody, "the body ended early"),
        })?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Value::Object(Map::new())));
        }
        // Without a content type it is taken for JSON; with a form's (plain `curl -d`) the caller should learn of `--json`.
        if let Some(kind) = declared.filter(|kind| !is_json(kind)) {
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("the body is declared as {kind:?}: send application/json"),
            ));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| Problem::new(Kind::MalformedBody, error.to_string()))
    }
}

fn is_json(kind: &str) -> bool {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The query, to be read parameter by parameter; what is left over is a fault.
#[derive(Debug)]
pub struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<FaultView>,
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = pairs.map_err(|_| Problem::faults([FaultView::parameter("", "the query cannot be read")]))?;
        if pairs.len() > PARAMETERS_MAX {
            return Err(Problem::faults([FaultView::parameter("", format!("more than {PARAMETERS_MAX} query parameters"))]));
        }
        let mut seen = HashSet::new();
        let twice = pairs.iter().filter(|(name, _)| !seen.insert(name.as_str()));
        let faults = twice.map(|(name, _)| FaultView::parameter(name, "is given twice")).collect();
        Ok(Self { pairs, faults })
    }
}

impl Parameters {
    /// One parameter, if given; `read` says what would be right.
    pub fn take<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let i = self.pairs.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.pairs.remove(i);
        read(&value).map_err(|detail| self.faults.push(FaultView::parameter(name, detail))).ok()
    }

    /// `true` or `false`; left out it is `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        let read = |text: &str| text.parse::<bool>().map_err(|_| "must be true or false".to_owned());
        self.take(name, read).unwrap_or(false)
    }

    /// How many entries a page has.
    pub fn limit(&mut self, usual: usize) -> usize {
        let read = |text: &str| {
            let number = text.parse::<usize>().ok().filter(|n| (1..=PAGE_MAX).contains(n));
            number.ok_or_else(|| format!("must be a whole number from 1 to {PAGE_MAX}"))
        };
        self.take("limit", read).unwrap_or(usual)
    }

    /// # Errors
    /// Every fault of the query at once, unknown parameters among them.
    pub fn end(mut self) -> Result<(), Problem> {
        self.faults.extend(self.pairs.drain(..).map(|(name, _)| FaultView::parameter(name, "unknown here")));
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::faults(self.faults)) }
    }
}

/// At most this many entries a page.
pub const PAGE_MAX: usize = 100;

/// A call that takes no query at all.
#[derive(Debug)]
pub struct NoParameters;

impl<S: Send + Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Parameters::from_request_parts(parts, state).await?.end().map(|()| Self)
    }
}
