//! A declaration as it is written and shown. What `GET` shows can be `PUT` back as it is.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{DrillSpecView, Percent, SlotView};
use crate::domain::{
    declaration::{Capacity, Deadlines, Declaration, Provider, ServerGroupSpec, Strategy},
    time::show_duration,
};

/// What a service in an environment is declared to be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Declaration)]
#[serde(deny_unknown_fields)]
pub struct DeclarationView {
    pub provider: ProviderView,
    /// Where production traffic enters: a listener rule's ARN, or a listener's for its default action.
    #[schema(min_items = 1, max_items = 10)]
    pub routes: Vec<String>,
    /// Where groups are registered, used in turn.
    #[schema(min_items = 2, max_items = 5)]
    pub slots: Vec<SlotView>,
    /// The running group to adopt the first time; ignored once a deployment has succeeded.
    #[schema(max_length = 255)]
    pub blue: Option<String>,
    pub server_group: ServerGroupView,
    /// While `verifying` lasts, requests with this header reach the new group.
    pub preview: Option<PreviewView>,
    /// Null: only when somebody asks, and within 10 s.
    pub drill: Option<DrillSpecView>,
    pub strategy: StrategyView,
}

/// How the new group is reached before any user reaches it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
#[serde(deny_unknown_fields)]
pub struct PreviewView {
    #[schema(example = "X-Cutover-Preview", pattern = "^[A-Za-z0-9_-]+$", max_length = 40)]
    pub header: String,
    #[schema(example = "green", pattern = r"^[!-)+->@-\[\]-~]+$", max_length = 128)]
    pub value: String,
    /// How long it is open before weight moves by itself, or `manual`: until promoted. A pause keeps it open.
    #[schema(required = false, example = "10m", max_length = 64)]
    pub bake_time: String,
}

/// Where the servers live.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
#[serde(deny_unknown_fields)]
pub struct ProviderView {
    pub kind: ProviderKind,
    #[schema(example = "eu-west-1", pattern = "^[a-z0-9-]+$", max_length = 128)]
    pub region: String,
    /// The role to assume, as in another account; null: the service's own credentials.
    #[schema(max_length = 2048, example = "arn:aws:iam::123456789012:role/cutover")]
    pub role_arn: Option<String>,
    /// What the role's owner wants to be told.
    #[schema(max_length = 1224)]
    pub external_id: Option<String>,
}

/// The provider's name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    Aws,
}

/// How a new group is made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerGroupSpec)]
#[serde(deny_unknown_fields)]
pub struct ServerGroupView {
    pub launch_template: LaunchTemplateView,
    #[schema(min_items = 1, max_items = 20)]
    pub subnets: Vec<String>,
    #[schema(required = false)]
    pub capacity: CapacityView,
    #[schema(minimum = 0, maximum = 10000)]
    pub min: u32,
    #[schema(minimum = 1, maximum = 10000)]
    pub max: u32,
    #[schema(required = false, max_items = 40)]
    pub instance_types: Vec<String>,
    #[schema(required = false, example = "60s", max_length = 64)]
    pub health_check_grace: String,
    /// How long a new server's figures are left out of scaling. `0s` leaves it to the provider.
    #[schema(required = false, example = "0s", max_length = 64)]
    pub instance_warmup: String,
    #[schema(required = false)]
    pub tags: BTreeMap<String, String>,
}

/// A launch template pinned by number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LaunchTemplate)]
#[serde(deny_unknown_fields)]
pub struct LaunchTemplateView {
    #[schema(max_length = 128, example = "lt-0abc")]
    pub id: String,
    pub version: TemplateVersion,
}

/// A version's number, written as a number or a text. `$Latest` and `$Default` are refused: they may name another version by the
/// time a server is launched.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TemplateVersion {
    Text(TemplateVersionText),
    Number(TemplateVersionNumber),
}

/// As a text.
#[derive(Debug, Serialize, ToSchema)]
#[schema(pattern = "^[1-9][0-9]{0,9}$", example = "7")]
pub struct TemplateVersionText(pub String);

/// As a number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(minimum = 1, maximum = 4_294_967_295_u32, example = 7)]
pub struct TemplateVersionNumber(pub u32);

/// How many servers green gets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Capacity)]
#[serde(untagged)]
pub enum CapacityView {
    Word(CapacityWord),
    Fixed(FixedCapacity),
}

/// In words.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapacityWord {
    /// Blue's size at the time, or `min` when there is no blue.
    MatchBlue,
}

/// In figures.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedCapacity {
    /// Within `min` and `max`.
    #[schema(minimum = 1, maximum = 10000)]
    pub fixed: u32,
}

/// How weight moves.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Strategy)]
#[serde(deny_unknown_fields)]
pub struct StrategyView {
    /// Strictly ascending; the last one is 100.
    #[schema(min_items = 1, max_items = 20)]
    pub stages: Vec<StageSpec>,
    /// The final bake, after 100 %, during which going back is instant: `1h`, or `manual`.
    #[schema(required = false, example = "1h", max_length = 64)]
    pub bake_time: String,
    #[schema(required = false)]
    pub deadlines: DeadlinesView,
}

/// One weight stop.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StageSpec {
    #[schema(inline)]
    pub weight: Percent,
    /// How long to stay here: `5m`, or `manual` until somebody promotes.
    #[schema(required = false, example = "5m", max_length = 64)]
    pub bake_time: String,
}

/// How long a phase may try without getting somewhere before it rolls back by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deadlines)]
#[serde(deny_unknown_fields)]
pub struct DeadlinesView {
    #[schema(required = false, example = "5m", max_length = 64)]
    pub pending: String,
    #[schema(required = false, example = "20m", max_length = 64)]
    pub provisioning: String,
    #[schema(required = false, example = "10m", max_length = 64)]
    pub verifying: String,
    #[schema(required = false, example = "10m", max_length = 64)]
    pub shifting: String,
}

impl From<&Declaration> for DeclarationView {
    fn from(d: &Declaration) -> Self {
        Self {
            provider: ProviderView::from(&d.provider),
            routes: d.routes.iter().map(ToString::to_string).collect(),
            slots: d.slots.iter().map(SlotView::from).collect(),
            blue: d.blue.as_ref().map(ToString::to_string),
            server_group: ServerGroupView::from(&d.server_group),
            preview: d.preview.as_ref().map(|preview| PreviewView {
                header: preview.header.clone(),
                value: preview.value.clone(),
                bake_time: preview.bake_time.to_string(),
            }),
            drill: d.drill.as_ref().map(DrillSpecView::from),
            strategy: StrategyView::from(&d.strategy),
        }
    }
}

impl From<&Provider> for ProviderView {
    fn from(provider: &Provider) -> Self {
        let Provider::Aws { region, role } = provider;
        Self {
            kind: ProviderKind::Aws,
            region: region.clone(),
            role_arn: role.as_ref().map(|role| role.arn.clone()),
            external_id: role.as_ref().and_then(|role| role.external_id.clone()),
        }
    }
}

impl From<&ServerGroupSpec> for ServerGroupView {
    fn from(spec: &ServerGroupSpec) -> Self {
        Self {
            launch_template: LaunchTemplateView {
                id: spec.launch_template.id.clone(),
                version: TemplateVersion::Text(TemplateVersionText(spec.launch_template.version.to_string())),
            },
            subnets: spec.subnets.clone(),
            capacity: match spec.capacity {
                Capacity::MatchBlue => CapacityView::Word(CapacityWord::MatchBlue),
                Capacity::Fixed(fixed) => CapacityView::Fixed(FixedCapacity { fixed }),
            },
            min: spec.min,
            max: spec.max,
            instance_types: spec.instance_types.clone(),
            health_check_grace: show_duration(spec.health_check_grace),
            instance_warmup: show_duration(spec.instance_warmup),
            tags: spec.tags.clone(),
        }
    }
}

impl From<&Strategy> for StrategyView {
    fn from(strategy: &Strategy) -> Self {
        let Deadlines { pending, provisioning, verifying, shifting } = strategy.deadlines;
        let stage = |stage: &crate::domain::declaration::Stage| StageSpec {
            weight: stage.weight.into(),
            bake_time: stage.bake_time.to_string(),
        };
        Self {
            stages: strategy.stages.iter().map(stage).collect(),
            bake_time: strategy.bake_time.to_string(),
            deadlines: DeadlinesView {
                pending: show_duration(pending),
                provisioning: show_duration(provisioning),
                verifying: show_duration(verifying),
                shifting: show_duration(shifting),
            },
        }
    }
}
