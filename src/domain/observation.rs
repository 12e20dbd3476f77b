//! What one look at the world showed. A thing is seen, absent or *unknown*; unknown is never taken for "no".

use serde::{Deserialize, Serialize};

use super::{
    ids::{DeploymentId, RuleRef, SlotRef, TargetGroupRef},
    plan::RoutePlan,
    survey::Survey,
    weight::Weight,
};

/// The answer to one question about the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Known<T> {
    Seen(T),
    /// The provider says it is not there. One such look is no proof: see `Looks`.
    Absent,
    /// Throttled, failed, timed out or never asked; with what was said.
    Unknown(String),
}

impl<T> Known<T> {
    #[must_use]
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }

    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// The world as one deployment sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// One a route, in the plan's order; empty before there is a plan.
    pub routes: Vec<Known<RouteView>>,
    pub green: Known<GroupView>,
    pub blue: Known<GroupView>,
    pub green_slot: Known<SlotView>,
    pub blue_slot: Known<SlotView>,
    /// What scales green already; looked at at the end of provisioning and in `retiring`, where something is to be copied.
    pub scaling: Known<ScalingView>,
    /// Launches of green that failed, newest first; looked at while provisioning.
    pub launch_failures: Vec<LaunchFailure>,
    /// Looked at while pending only.
    pub survey: Option<Known<Survey>>,
}

/// What one route shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RouteView {
    /// What the base sends where.
    pub base: Forward,
    /// Rules tagged as overlays of *this* deployment.
    pub overlays: Vec<RuleView>,
    /// Rules tagged as shields of this service/environment, whichever deployment raised them.
    pub shields: Vec<RuleView>,
    /// Rules tagged as previews of *this* deployment.
    pub previews: Vec<RuleView>,
    /// Who sits on the overlay's number and is not ours: a name for people.
    pub in_the_way: Option<String>,
    /// Overlays and previews of ended deployments of this installation (those let go by `abandon` aside).
    pub leftovers: Vec<RuleRef>,
    /// Where base or recorded overlay are not as the plan has them, weights aside; `None` when they are.
    pub edited: Option<Box<Edited>>,
    /// Rules of somebody else's that send green traffic; each with the first route on its listener.
    pub strays: Vec<Stray>,
}

/// A rule that nobody planned and that sends traffic to green's slot: no weight of ours says anything of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stray {
    pub rule: RuleRef,
    /// What it matches and where it forwards, for people, and complete: equal words mean equal rules.
    pub told: String,
}

/// A route that somebody has edited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Edited {
    /// In words for people, and complete: equal words mean equal rules.
    pub edits: Vec<Edit>,
    /// The overlay is one of the base as planned; its weights and where it forwards aside.
    pub overlay_as_planned: bool,
    /// It is one of the base as that is *now*, which is then no edit of its own.
    pub overlay_as_base: bool,
    /// The route's plan were the world taken as it is; or why that cannot be.
    pub as_seen: Result<RoutePlan, String>,
}

/// One field of a rule that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Edit {
    pub rule: Layer,
    pub field: Field,
    pub recorded: String,
    pub seen: String,
}

/// Which rule of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Base,
    Overlay,
    /// None of the route's own: a [`Stray`].
    Other,
}

/// What of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// That it is there at all.
    Rule,
    Number,
    Conditions,
    /// Logins before the forward, stickiness.
    Actions,
    /// Rewrites of host and path.
    Transforms,
    /// Where it forwards.
    Forward,
    /// Green's share of an overlay.
    Weight,
}

impl Layer {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Overlay => "overlay",
            Self::Other => "other",
        }
    }
}

impl Field {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Number => "number",
            Self::Conditions => "conditions",
            Self::Actions => "actions",
            Self::Transforms => "transforms",
            Self::Forward => "forward",
            Self::Weight => "weight",
        }
    }
}

/// A rule of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RuleView {
    pub rule: RuleRef,
    pub forward: Forward,
    /// The deployment that it is tagged with.
    pub deployment: Option<DeploymentId>,
}

/// Where a rule sends traffic, as this deployment's slots see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Green's share of a forward to blue's and green's slots and no other.
    Split(Weight),
    /// It forwards elsewhere too, or does not forward.
    Elsewhere,
}

impl Forward {
    #[must_use]
    pub fn is_all_blue(self) -> bool {
        self == Self::Split(Weight::NONE)
    }

    #[must_use]
    pub fn is_all_green(self) -> bool {
        self == Self::Split(Weight::ALL)
    }
}

impl RouteView {
    /// The overlay with this reference, where it stands.
    #[must_use]
    pub fn recorded(&self, rule: &RuleRef) -> Option<&RuleView> {
        self.overlays.iter().find(|overlay| &overlay.rule == rule)
    }

    /// What the topmost of shield, overlay and base sends to green; `None` when it sends traffic elsewhere.
    #[must_use]
    pub fn green_share(&self) -> Option<Weight> {
        let top = self.shields.first().or(self.overlays.first()).map_or(self.base, |rule| rule.forward);
        match top {
            Forward::Split(weight) => Some(weight),
            Forward::Elsewhere => None,
        }
    }
}

/// A server group as seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupView {
    pub servers: Servers,
    pub min: u32,
    /// The provider refuses to delete it.
    pub protected: bool,
    /// A deletion was accepted and goes on.
    pub deleting: bool,
    pub attached: Attached,
    pub launches: Launches,
    /// Carries this deployment's ownership tags (blue: is the group that the plan names).
    pub ours: bool,
}

/// What the servers that a group launches from now on are made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "from", content = "version", rename_all = "snake_case")]
pub enum Launches {
    /// What those that are there are made from.
    Same,
    /// Whatever this name of a launch template's version (`$Latest`) stands for by then.
    Whatever(String),
    /// The provider does not say.
    Untold,
}

/// In how many of its slot's target groups a group's servers are registered. Weight needs all, removal none: what lies between
/// is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Attached {
    Everywhere,
    /// Attached or detached by half.
    Partly,
    Nowhere,
}

impl Attached {
    /// How a group that is attached to `target_groups` stands in `slot`.
    #[must_use]
    pub fn to(slot: &SlotRef, target_groups: &[TargetGroupRef]) -> Self {
        let held = slot.target_groups().iter().filter(|own| target_groups.contains(own)).count();
        match held {
            0 => Self::Nowhere,
            held if held == slot.target_groups().len() => Self::Everywhere,
            _ => Self::Partly,
        }
    }
}

/// Servers of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Servers {
    pub desired: u32,
    pub in_service: u32,
    /// In service, and found healthy by every load balancer of the slot.
    pub healthy: u32,
}

/// A slot as seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotView {
    /// Targets registered in any of its target groups, those still draining included.
    pub targets: u32,
    /// Targets that are none of the group's that belongs there.
    pub strangers: u32,
    /// Rules and default actions that name one of its target groups, whatever weight they give it.
    pub named_by: u32,
}

/// What the plan would have green scaled by, and green lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ScalingView {
    pub policies_missing: u32,
    pub scheduled_missing: u32,
}

/// A launch that failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LaunchFailure {
    /// The provider's own words.
    pub message: String,
    /// Trying again will not help (a bad image, no rights), unlike a lack of capacity.
    pub hopeless: bool,
}
