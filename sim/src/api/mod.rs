//! The AWS Query protocol of this region: what a call is, and which service answers it. How a call travels is `door`.

mod auth;
mod autoscaling;
mod door;
mod elb;
mod query;
mod refusal;
mod serve;
mod sts;
mod xml;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    model::Region,
    sessions::{Caller, Sessions},
};

pub use auth::{Signed, fresh, signed};
pub use door::{Cut, Door};
pub use query::{Node, Params};
pub use refusal::Refusal;
pub use serve::start as serve;

/// Every path but the region's own belongs to AWS: its services are told apart by the signature.
pub fn router(door: Arc<Door>) -> Router {
    Router::new().fallback(Door::answer).with_state(door)
}

/// The result of one call, or why it was refused.
pub type Answer = Result<Value, Refusal>;

/// What a handler is given beside the region.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub params: Node<'a>,
    pub caller: &'a Caller,
    pub access_key: &'a str,
    pub now: Instant,
    pub at: Timestamp,
    /// AWS's clocks are multiplied by this.
    pub scale: f64,
    /// Scaled: from a group's deletion until its instances begin to go.
    pub delete_lag: Duration,
}

/// Reads may be answered from an old snapshot; writes hold the region's lock; who one is, is known in every region alike.
#[derive(Debug, Clone, Copy)]
pub enum Handler {
    Read(fn(&Region, &Call<'_>) -> Answer),
    Write(fn(&mut Region, &Call<'_>) -> Answer),
    Identity(fn(&Sessions, &Call<'_>) -> Answer),
}

/// The services this region has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    #[serde(rename = "elasticloadbalancing")]
    Elb,
    AutoScaling,
    Sts,
}

impl Service {
    /// By the name in a credential scope.
    #[must_use]
    pub fn of_scope(name: &str) -> Option<Self> {
        [Self::Elb, Self::AutoScaling, Self::Sts].into_iter().find(|service| service.scope() == name)
    }

    /// The name in a credential scope, and in the name of a right.
    #[must_use]
    pub fn scope(self) -> &'static str {
        match self {
            Self::Elb => "elasticloadbalancing",
            Self::AutoScaling => "autoscaling",
            Self::Sts => "sts",
        }
    }

    #[must_use]
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Elb => "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/",
            Self::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }

    /// # Errors
    /// `InvalidAction`.
    pub fn handler(self, operation: &str) -> Result<Handler, Refusal> {
        let handler = match self {
            Self::Elb => elb::handler(operation),
            Self::AutoScaling => autoscaling::handler(operation),
            Self::Sts => sts::handler(operation),
        };
        handler.ok_or_else(|| {
            Refusal::new("InvalidAction", format!("Could not find operation {operation}: the pocket region does not have it"))
        })
    }
}
