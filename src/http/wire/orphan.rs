//! What an ended deployment left behind.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{DeploymentLink, ProviderView};
use crate::{
    domain::{deployment::Deployment, orphan::Kind},
    engine::api::ListedOrphan,
};

/// What an orphan is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrphanKind)]
#[serde(rename_all = "snake_case")]
pub enum OrphanKindWord {
    ServerGroup,
    Rule,
}

/// Something that an ended deployment left in the cloud.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Orphan)]
pub struct OrphanView {
    pub kind: OrphanKindWord,
    /// A server group's name, or a rule's ARN.
    #[schema(example = "web-prod-v042")]
    pub name: String,
    /// Where it is, as a declaration says it.
    pub provider: ProviderView,
    /// As the records say, or its tags; null when neither does.
    #[schema(required = true)]
    pub service: Option<String>,
    #[schema(required = true)]
    pub environment: Option<String>,
    /// The deployment that it belonged to; null when no record tells of it.
    #[schema(required = true)]
    pub deployment: Option<DeploymentLink>,
    /// Why it is one, in a sentence.
    #[schema(example = "web/prod #42 ended rolled_back, and its server group is still there")]
    pub why: String,
    pub first_seen_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// When it is removed, if nothing comes between; null while something keeps it.
    #[schema(required = true)]
    pub remove_at: Option<Timestamp>,
    /// What keeps it; null when nothing does.
    #[schema(required = true, example = "2 rule(s) name its slot: it may serve")]
    pub kept_because: Option<String>,
    /// A group leaves its slot first, then its servers drain, then it goes.
    #[schema(required = true)]
    pub removal_began_at: Option<Timestamp>,
}

impl OrphanView {
    pub fn new(orphan: ListedOrphan, deployment: Option<&Deployment>) -> Self {
        let ListedOrphan { seen, remove_at, kept_because } = orphan;
        let (service, environment) = seen.target.map(|target| (target.service, target.environment)).unzip();
        Self {
            kind: match seen.kind {
                Kind::ServerGroup => OrphanKindWord::ServerGroup,
                Kind::Rule => OrphanKindWord::Rule,
            },
            name: seen.name,
            provider: ProviderView::from(&seen.provider),
            service: service.map(|name| name.to_string()),
            environment: environment.map(|name| name.to_string()),
            deployment: deployment.map(DeploymentLink::of),
            why: seen.why,
            first_seen_at: seen.first_seen,
            last_seen_at: seen.last_seen,
            remove_at,
            kept_because,
            removal_began_at: seen.removing_since,
        }
    }
}
