//! What preflight looks at: the routes with everything around them, the slots and the group to adopt.
//!
//! The adapter fills this in without judging; `plan` judges. Only faults that need the provider's own words (an action
//! that cannot be copied, a route that is not there) come ready-made in `faults`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    drill::Drilled,
    ids::{DeploymentId, GroupName, ListenerRef, LoadBalancerRef, RuleRef, TargetGroupRef},
    overlap::Condition,
};

/// One fault in what somebody sent us: where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FieldFault {
    /// JSON pointer into what was sent: `/routes/0`; empty for the whole.
    pub pointer: String,
    pub detail: String,
}

impl FieldFault {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// The world around a declaration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Survey {
    /// In the declaration's order; `None` where `faults` says why.
    pub routes: Vec<Option<RouteSurvey>>,
    /// In the declaration's order; `None` where `faults` says why.
    pub slots: Vec<Option<SlotSurvey>>,
    /// The group that serves now (the live one, else the declared `blue`); `None` when neither is named or `faults` says why.
    pub blue: Option<BlueSurvey>,
    /// A group with the name that green would get exists already and is not this deployment's.
    pub green_name_taken: bool,
    /// Drills on the routes. The engine fills it in from the records.
    #[serde(default)]
    pub drilled: Drilled,
    /// Who else forwards to a declared slot: a slot that stays in use can never be emptied, nor its group removed.
    #[serde(default)]
    pub namings: Vec<Naming>,
    pub faults: Vec<FieldFault>,
    /// True of the plan, and worth a person's knowing.
    pub warnings: Vec<String>,
}

/// One route with its listener's other rules.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteSurvey {
    pub listener: ListenerRef,
    pub load_balancer: LoadBalancerRef,
    /// The base's number; `None` for a default action, which comes after every rule.
    pub number: Option<u32>,
    /// Empty for a default action: it matches everything.
    pub conditions: Vec<Condition>,
    /// Where the base forwards, with weights as the provider has them.
    pub forwards: Vec<(TargetGroupRef, u32)>,
    /// The base's conditions and actions in the adapter's own form, to be copied and restored exactly.
    pub form: serde_json::Value,
    /// Every other rule of the listener.
    pub others: Vec<OtherRule>,
    /// Numbers of this listener that other running deployments hold, used or not. The engine fills it in from the records.
    pub reserved: Vec<u32>,
}

/// Another rule on the same listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OtherRule {
    pub rule: RuleRef,
    pub number: u32,
    pub conditions: Vec<Condition>,
    /// Set on rules that carry our ownership tags.
    pub owner: Option<Owner>,
}

/// A rule or default action that forwards to a declared slot, and is neither a route nor a rule that was made for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Naming {
    /// `rule arn:… (number 7)`, or `the default action of arn:…`.
    pub by: String,
    pub target_group: TargetGroupRef,
}

/// Whose a tagged rule is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Another installation's rules are never ours to touch.
    pub this_installation: bool,
    pub deployment: Option<DeploymentId>,
    pub role: Role,
    /// It was made for this very route (its tag names the route): others on the listener are none of our business.
    pub on_our_route: bool,
}

/// What a rule of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Overlay,
    Shield,
    Preview,
    /// It forwards to where its base forwards; its tag names a drill and no deployment.
    Drill,
}

/// A declared slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SlotSurvey {
    /// Targets registered in any of its target groups, draining ones included.
    pub targets: u32,
    /// The load balancer of each of its target groups; `None` where nothing forwards to it yet.
    pub load_balancers: Vec<Option<LoadBalancerRef>>,
    /// Sessions stick to a server of it.
    #[serde(default)]
    pub sticky: bool,
    /// How each of its target groups reaches servers and judges their health, by name and in the provider's words.
    #[serde(default)]
    pub traits: Vec<BTreeMap<String, String>>,
}

/// The group that serves now.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlueSurvey {
    pub group: GroupName,
    /// The target groups that its servers are registered in.
    pub attached: Vec<TargetGroupRef>,
    pub size: u32,
    /// In service, and healthy in every target group of its slot.
    pub healthy: u32,
    pub min: u32,
    pub max: u32,
    pub protected: bool,
    /// What its servers are made from, where it can be told.
    pub image: Option<String>,
    /// What scales it, in the adapter's own form, to be copied to green; null when nothing does.
    pub scaling: serde_json::Value,
    /// The launch template's id, where it can be told.
    #[serde(default)]
    pub template: Option<String>,
    #[serde(default)]
    pub subnets: Vec<String>,
}
