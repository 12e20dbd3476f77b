//! What the client reads of the API's answers. Fields that are not known here are kept for `-o json` and otherwise ignored,
//! so that a newer service can be talked to.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{
    exit::{Exit, Failure},
    readiness::Readiness,
};

/// A deployment: as answered, and as read.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) raw: Value,
    pub(super) view: Deployment,
}

impl Resource {
    pub(super) fn read(raw: Value) -> Result<Self, Failure> {
        let view = Deployment::deserialize(&raw).map_err(|error| {
            Failure::new(Exit::Error, format!("the answer is no deployment ({error}): is this a Cutover service?"))
        })?;
        Ok(Self { raw, view })
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) service: String,
    pub(super) environment: String,
    pub(super) number: u32,
    pub(super) image: String,
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) created_by: String,
    #[serde(default)]
    pub(super) ended_at: Option<Timestamp>,
    pub(super) status: String,
    pub(super) phase: String,
    /// Counts from 1.
    #[serde(default)]
    pub(super) stage: Option<usize>,
    #[serde(default)]
    pub(super) stages: Vec<Stage>,
    #[serde(default)]
    pub(super) weight: Weight,
    #[serde(default)]
    pub(super) next_change_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) blue: Option<Side>,
    #[serde(default)]
    pub(super) green: Option<Side>,
    #[serde(default)]
    pub(super) rollback: Option<Rollback>,
    #[serde(default)]
    pub(super) routes: Vec<Route>,
    /// Not in an older service's answer.
    #[serde(default)]
    pub(super) readiness: Option<Readiness>,
    #[serde(default)]
    pub(super) refusal: Option<Vec<Fault>>,
    /// While the deployment is held.
    #[serde(default)]
    pub(super) drift: Option<Vec<Drift>>,
    #[serde(default)]
    pub(super) attention: Option<String>,
    #[serde(default)]
    pub(super) allowed_actions: Vec<String>,
    /// While the service's database is away: when it was last heard of.
    #[serde(default)]
    pub(super) as_of: Option<Timestamp>,
    /// Of a rollback's answer.
    #[serde(default)]
    pub(super) mode: Option<String>,
    /// The same: whether it is on record.
    #[serde(default)]
    pub(super) durable: Option<bool>,
    /// The same: what became of it on each route, if anything was sent.
    #[serde(default)]
    pub(super) by_route: Vec<Value>,
}

impl Deployment {
    pub(super) fn target(&self) -> String {
        format!("{}/{}", self.service, self.environment)
    }

    pub(super) fn name(&self) -> String {
        format!("{} #{}", self.target(), self.number)
    }

    pub(super) fn ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// What was changed outside Cutover; empty when nothing holds it.
    pub(super) fn drift(&self) -> &[Drift] {
        self.drift.as_deref().unwrap_or_default()
    }

    /// Why preflight refused; empty when it did not.
    pub(super) fn refusals(&self) -> &[Fault] {
        self.refusal.as_deref().unwrap_or_default()
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Route {
    /// Once it is open.
    #[serde(default)]
    pub(super) overlay: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stage {
    pub(super) weight: f64,
    #[serde(default)]
    pub(super) state: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Weight {
    pub(super) desired: f64,
    pub(super) observed: Option<f64>,
}

/// One field of one rule that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Drift {
    pub(super) route: String,
    pub(super) rule: String,
    pub(super) field: String,
    pub(super) recorded: String,
    pub(super) seen: String,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {} -> {}   {}", self.rule, self.field, self.recorded, self.seen, self.route)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Side {
    #[serde(default)]
    pub(super) server_group: Option<String>,
    #[serde(default)]
    pub(super) image: Option<String>,
    #[serde(default)]
    pub(super) servers: Option<Servers>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Servers {
    pub(super) desired: u32,
    pub(super) healthy: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rollback {
    pub(super) trigger: String,
    #[serde(default)]
    pub(super) by: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    pub(super) requested_at: Timestamp,
    #[serde(default)]
    pub(super) accepted_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) observed_at: Option<Timestamp>,
}

/// One fault of a request or a preflight.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Fault {
    #[serde(default)]
    pub(super) pointer: Option<String>,
    #[serde(default)]
    pub(super) parameter: Option<String>,
    #[serde(default)]
    pub(super) detail: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pointer.as_deref().filter(|pointer| !pointer.is_empty()).or(self.parameter.as_deref()) {
            Some(place) => write!(f, "{place}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

/// A problem (RFC 9457).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) detail: Option<String>,
    pub(super) errors: Vec<Fault>,
    pub(super) phase: Option<String>,
    pub(super) allowed_actions: Option<Vec<String>>,
    /// The deployment that is in the way.
    pub(super) deployment: Option<Link>,
    /// What a person may do instead.
    pub(super) by_hand: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Link {
    pub(super) id: String,
}

/// One line of the history.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    pub(super) id: i64,
    pub(super) at: Timestamp,
    pub(super) message: String,
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    #[serde(default)]
    pub(super) next_cursor: Option<String>,
}

/// What an ended deployment left behind.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Orphan {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) first_seen_at: Timestamp,
    #[serde(default)]
    pub(super) why: String,
    #[serde(default)]
    pub(super) remove_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) kept_because: Option<String>,
}
