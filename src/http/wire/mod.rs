//! Resources exactly as the API shows them, and their schemas. Nothing here decides; it only names things for readers.

mod declaration;
mod deployment;
mod drift;
mod drill;
mod environment;
mod orphan;
mod plan;
mod readiness;
mod request;

pub use declaration::{
    CapacityView, CapacityWord, DeadlinesView, DeclarationView, FixedCapacity, LaunchTemplateView, ProviderKind, ProviderView,
    ServerGroupView, StageSpec, StrategyView, TemplateVersion, TemplateVersionNumber, TemplateVersionText,
};
pub use deployment::{
    ActionWord, DeploymentLink, DeploymentView, EventView, GroupView, PhaseWord, RefusalView, RollbackAnswer, RollbackView,
    RolledBackView, RouteView, ServersView, StageState, StageView, StatusWord, TriggerWord, WeightView,
};
pub use drift::{DriftField, DriftRule, DriftView};
pub(in crate::http) use drill::drills_url;
pub use drill::{DrillAnswer, DrillEventView, DrillSpecView, DrillStatusWord, DrillView, LastDrillView, TookView};
pub use environment::{DeclaredView, EnvironmentView, LiveView, NoopView, NothingCreated, RevisionView, ServiceView, Stored};
pub use orphan::{OrphanKindWord, OrphanView};
pub use plan::{CheckView, CheckWord, PlanStep, PlanView, PlannedView};
pub use readiness::{BlueView, ReadinessView, ReadinessWord, ReasonView, SecondsView, SpreadView, StandingView, StickyView};
pub use request::{OnConflict, PromoteBody, PromoteWord, ReasonBody, ReleaseBody, WeightBody};

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::{ids::SlotRef, weight::Weight};

/// A weight as people write it, with one decimal at most: `25`, `12.5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = f64, minimum = 0, maximum = 100, example = 12.5)]
pub struct Percent(Weight);

impl From<Weight> for Percent {
    fn from(weight: Weight) -> Self {
        Self(weight)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let permille = self.0.permille();
        if permille.is_multiple_of(10) {
            serializer.serialize_u16(permille / 10)
        } else {
            serializer.serialize_f64(self.0.percent())
        }
    }
}

/// A target group; or several, one for each load balancer, in the same order in every slot.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Slot)]
#[serde(untagged)]
pub enum SlotView {
    One(String),
    Several(TargetGroups),
}

/// As a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(min_items = 1, max_items = 5)]
pub struct TargetGroups(pub Vec<String>);

impl From<&SlotRef> for SlotView {
    fn from(slot: &SlotRef) -> Self {
        match slot.target_groups() {
            [one] => Self::One(one.to_string()),
            several => Self::Several(TargetGroups(several.iter().map(ToString::to_string).collect())),
        }
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// To be given as `cursor` for the next page; null on the last one.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// The URL of a service/environment.
pub(super) fn environment_url(target: &crate::domain::ids::Target) -> String {
    format!("/v1/services/{}/environments/{}", target.service, target.environment)
}
