//! A service in an environment, and what was declared of it when.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{DeclarationView, DeploymentLink, LastDrillView, PlannedView, ServersView, SlotView, environment_url};
use crate::{
    domain::{
        deployment::{Deployment, Live, Status},
        ids::DeploymentId,
    },
    engine::ports::Environment,
};

/// The group that serves between deployments.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Live)]
pub struct LiveView {
    #[schema(example = "web-prod-v041")]
    pub server_group: String,
    pub slot: SlotView,
    #[schema(example = "ami-0aa1")]
    pub image: String,
    /// The number of the deployment that made it live.
    pub number: u32,
}

impl From<&Live> for LiveView {
    fn from(live: &Live) -> Self {
        Self {
            server_group: live.group.to_string(),
            slot: SlotView::from(&live.slot),
            image: live.image.to_string(),
            number: live.number,
        }
    }
}

/// A service in an environment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment)]
pub struct EnvironmentView {
    pub url: String,
    pub service: String,
    pub environment: String,
    /// Counts the changes of the declaration from 1.
    pub revision: i32,
    pub declaration: DeclarationView,
    pub declared_at: Timestamp,
    pub declared_by: String,
    /// Null until a deployment has succeeded.
    #[schema(required = true)]
    pub live: Option<LiveView>,
    /// The deployment that runs now.
    #[schema(required = true, example = "/v1/deployments/0193f0a4-6e0f-7c55-9a3c-2f1d5b8f0c11")]
    pub running: Option<String>,
    /// The last deployment that ended.
    #[schema(required = true)]
    pub last: Option<String>,
    /// The drill that runs, else the last one that was not skipped; null before the first.
    #[schema(required = true)]
    pub drill: Option<LastDrillView>,
    /// A sentence when a person is needed though no deployment runs.
    #[schema(required = true)]
    pub attention: Option<String>,
}

/// Of its drills: deployments have attentions of their own.
fn attention(environment: &Environment) -> Option<String> {
    environment.drill.as_deref().and_then(|drill| drill.attention(Timestamp::now()))
}

pub(super) fn deployment_url(id: DeploymentId) -> String {
    format!("/v1/deployments/{id}")
}

impl From<&Environment> for EnvironmentView {
    fn from(environment: &Environment) -> Self {
        Self {
            url: environment_url(&environment.target),
            service: environment.target.service.to_string(),
            environment: environment.target.environment.to_string(),
            revision: environment.revision,
            declaration: DeclarationView::from(&environment.declaration),
            declared_at: environment.declared_at,
            declared_by: environment.declared_by.clone(),
            live: environment.live.as_ref().map(LiveView::from),
            running: environment.running.map(deployment_url),
            last: environment.last.map(deployment_url),
            drill: environment.drill.as_deref().map(LastDrillView::from),
            attention: attention(environment),
        }
    }
}

/// What a declaration became.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Declared)]
pub struct DeclaredView {
    /// Whether the provider could be looked at; if not, every deployment checks again before it starts.
    pub checked: bool,
    /// True of it, and worth knowing.
    pub warnings: Vec<String>,
    #[serde(flatten)]
    pub environment: EnvironmentView,
}

/// What a declaration answers with 200.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Stored {
    Changed(Box<DeclaredView>),
    DryRun(PlannedView),
}

/// One revision of a declaration.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Revision)]
pub struct RevisionView {
    pub revision: i32,
    pub declared_at: Timestamp,
    pub declared_by: String,
    pub declaration: DeclarationView,
}

impl From<&Environment> for RevisionView {
    fn from(environment: &Environment) -> Self {
        Self {
            revision: environment.revision,
            declared_at: environment.declared_at,
            declared_by: environment.declared_by.clone(),
            declaration: DeclarationView::from(&environment.declaration),
        }
    }
}

/// A service in an environment at a glance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Service)]
pub struct ServiceView {
    pub url: String,
    pub service: String,
    pub environment: String,
    #[schema(required = true)]
    pub live: Option<LiveView>,
    /// The deployment that runs now; null when none does.
    #[schema(required = true)]
    pub running: Option<DeploymentLink>,
    /// The serving group's servers, as the running deployment (or the last one) saw them.
    #[schema(required = true)]
    pub servers: Option<ServersView>,
    /// A sentence when a person is needed.
    #[schema(required = true)]
    pub attention: Option<String>,
}

impl ServiceView {
    /// `newest` is the deployment that runs, else the last one that ended.
    pub fn new(environment: &Environment, newest: Option<&Deployment>) -> Self {
        let running = newest.filter(|newest| environment.running == Some(newest.id));
        let serving = newest.and_then(|newest| match newest.status() {
            Status::Succeeded => newest.seen.green,
            _ => newest.seen.blue,
        });
        Self {
            url: environment_url(&environment.target),
            service: environment.target.service.to_string(),
            environment: environment.target.environment.to_string(),
            live: environment.live.as_ref().map(LiveView::from),
            running: running.map(DeploymentLink::of),
            servers: serving.map(ServersView::from),
            attention: running.and_then(|running| running.attention.clone()).or_else(|| attention(environment)),
        }
    }
}

/// There was nothing to do: the image is live already.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Noop)]
pub struct NoopView {
    #[schema(example = "noop")]
    pub outcome: &'static str,
    pub detail: String,
    pub service: String,
    pub environment: String,
    #[schema(required = true)]
    pub live: Option<LiveView>,
}

/// What a request for a deployment answers with 200.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum NothingCreated {
    Noop(NoopView),
    DryRun(PlannedView),
}

impl From<&Environment> for NoopView {
    fn from(environment: &Environment) -> Self {
        let image = environment.live.as_ref().map_or_else(String::new, |live| format!("{} ", live.image));
        Self {
            outcome: "noop",
            detail: format!("{image}is live already: nothing to do"),
            service: environment.target.service.to_string(),
            environment: environment.target.environment.to_string(),
            live: environment.live.as_ref().map(LiveView::from),
        }
    }
}
