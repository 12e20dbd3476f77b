//! The record of one deployment: what the engine writes, and the intent that commands write.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    declaration::{Declaration, Strategy},
    drift::{self, Answer, Held, Holds, RouteDrift},
    health::ShortFor,
    ids::{DeploymentId, Image, RuleRef, Target},
    looks::Absences,
    observation::{GroupView, Known, Launches, Observation, Servers},
    phase::{BackAs, Phase},
    plan::Plan,
    survey::FieldFault,
    time,
    timing::Timing,
    weight::Weight,
};

/// One attempt to move a service/environment to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: DeploymentId,
    pub target: Target,
    /// 1, 2, 3 … within the service/environment.
    pub number: u32,
    pub image: Image,
    /// A free label from CI.
    pub version: Option<String>,
    pub reason: Option<String>,
    /// The deployment whose release this one takes back: it is a redeploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_back: Option<u32>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// As it was when the deployment was created.
    pub declaration: Declaration,
    /// What is live and would be blue, as the records know it; `None` before the first success (then `declaration.blue`).
    pub live: Option<Live>,
    /// The declared strategy, or the one given with the deployment.
    pub strategy: Strategy,
    /// No overlay before this: an old write of the route's last deployment may still be under way.
    pub not_before: Option<Timestamp>,
    /// Earlier deployments that an `abandon` let go: their rules are not ours to remove.
    pub let_go: Vec<DeploymentId>,

    pub phase: Phase,
    pub phase_since: Timestamp,
    /// How long it had been paused in all when the phase began.
    pub paused_before_ms: u64,
    /// The last order of the intent that the engine has carried out or begun to.
    pub order_seen: u64,
    /// Made once, on leaving `pending`; never changed after.
    pub plan: Option<Plan>,
    /// The overlays by ARN, in the plan's route order, written when provisioning ended. Weights go to these and to no others.
    pub overlays: Vec<RuleRef>,
    /// When provisioning ended, with a preview `verifying`: after it nothing is created, and blue is not pinned. `None` also while
    /// a blue that was found unpinned later is pinned again.
    #[serde(default)]
    pub provisioned_at: Option<Timestamp>,
    /// The least weight that calls of ours may have left on an overlay, while a change of it is under way.
    #[serde(default)]
    pub least: Weight,
    /// The world is not as recorded, and a person has to say what becomes of it.
    #[serde(default)]
    pub held: Option<Held>,
    #[serde(default)]
    pub holds: Holds,
    pub going_back: Option<GoingBack>,
    /// Why preflight refused.
    pub refusal: Vec<FieldFault>,
    pub seen: Seen,
    /// A sentence for a person; `None` when nobody is needed.
    pub attention: Option<String>,

    /// On record it is beside the rest, which the engine writes.
    #[serde(default)]
    pub intent: Intent,
}

/// The group that serves between deployments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub group: super::ids::GroupName,
    pub slot: super::ids::SlotRef,
    pub image: Image,
    pub number: u32,
}

/// What commands want of a deployment. The engine reads it and never writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Intent {
    /// Absorbing: once there it stays.
    pub rollback: Option<Given>,
    /// When the load balancer had accepted all that the lane asked of it.
    pub rollback_accepted_at: Option<Timestamp>,
    pub cancel: Option<Given>,
    pub abandon: Option<Given>,
    pub paused_since: Option<Timestamp>,
    /// All finished pauses together.
    pub paused_ms: u64,
    pub order: Option<Order>,
    pub answer: Option<Answered>,
}

/// What a person said is to become of a drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The number of the drift that they saw: it is no answer to another one.
    pub drift: u64,
    pub answer: Answer,
    /// It was to be restored at some time, and calls of that may be under way.
    pub restored: bool,
    pub given: Given,
}

/// Who gave a command, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Given {
    pub by: String,
    pub reason: Option<String>,
    pub at: Timestamp,
}

/// A steering order; the engine answers by recording its number in `order_seen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Counts up from 1.
    pub number: u64,
    pub to: Steer,
    pub given: Given,
}

/// Where an order steers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Steer {
    /// An operator's own weight.
    Weight { weight: Weight },
    /// Past the rest of this stage.
    Next,
    /// To 100 %, then bake.
    Full,
    /// On from the first stage above this weight.
    OnFrom { weight: Weight },
}

/// The way back, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoingBack {
    pub trigger: Trigger,
    pub by: String,
    pub reason: Option<String>,
    pub requested_at: Timestamp,
    /// When the load balancer had accepted it on every route.
    pub accepted_at: Option<Timestamp>,
    /// When every route was seen to send nothing to green.
    pub observed_at: Option<Timestamp>,
}

impl GoingBack {
    /// By a person, as they asked for it.
    #[must_use]
    pub fn ordered(given: &Given) -> Self {
        let (by, reason, requested_at) = (given.by.clone(), given.reason.clone(), given.at);
        Self { trigger: Trigger::Manual, by, reason, requested_at, accepted_at: None, observed_at: None }
    }
}

/// What made a deployment go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Manual,
    Gate,
    Alarm,
    Deadline,
    Launch,
    Rejected,
    Outside,
    Superseded,
    Drill,
}

impl Trigger {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Gate => "gate",
            Self::Alarm => "alarm",
            Self::Deadline => "deadline",
            Self::Launch => "launch",
            Self::Rejected => "rejected",
            Self::Outside => "outside",
            Self::Superseded => "superseded",
            Self::Drill => "drill",
        }
    }
}

/// What was last seen. Stored with every settle; it is no advance.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    pub at: Option<Timestamp>,
    /// Green's largest share over all routes; `None` when one is unknown.
    pub weight: Option<Weight>,
    pub blue: Option<Servers>,
    /// How blue was kept when it was last seen.
    pub blue_kept: Option<Kept>,
    /// When the last look was that saw blue, or saw it gone, if that was not the last one.
    pub blue_unseen_since: Option<Timestamp>,
    pub green: Option<Servers>,
    pub short: ShortFor,
    pub absences: Absences,
    /// One a route, while routes are watched.
    pub drift: Vec<RouteDrift>,
    /// The last change that the provider did not accept; `None` once one was.
    pub trouble: Option<ProviderTrouble>,
}

/// How a group is kept from changing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Kept {
    pub min: u32,
    /// The provider refuses to delete it.
    pub protected: bool,
    /// A deletion goes on all the same.
    pub deleting: bool,
    pub launches: Launches,
}

impl From<&GroupView> for Kept {
    fn from(group: &GroupView) -> Self {
        let GroupView { min, protected, deleting, launches, .. } = group;
        Self { min: *min, protected: *protected, deleting: *deleting, launches: launches.clone() }
    }
}

/// A change that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProviderTrouble {
    /// The provider's own words, with its code and request id.
    pub words: String,
    /// It will never accept it as it is.
    pub hopeless: bool,
    /// How often in a row.
    pub count: u32,
}

/// What people and CI ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    InProgress,
    Paused,
    Succeeded,
    RolledBack,
    Cancelled,
    Failed,
}

impl Status {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl Intent {
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused_since.is_some()
    }

    /// Whether it is to go back, by rollback or by cancel.
    #[must_use]
    pub fn is_back(&self) -> bool {
        self.rollback.is_some() || self.cancel.is_some()
    }

    /// How long it has been paused in all, in milliseconds.
    #[must_use]
    pub fn paused_total_ms(&self, now: Timestamp) -> u64 {
        let running = self.paused_since.map_or(0, |since| time::between(since, now).as_millis());
        self.paused_ms.saturating_add(u64::try_from(running).unwrap_or(u64::MAX))
    }
}

impl Deployment {
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::Succeeded => Status::Succeeded,
            Phase::RolledBack => Status::RolledBack,
            Phase::Cancelled => Status::Cancelled,
            Phase::Failed => Status::Failed,
            phase if self.intent.is_paused() && phase.can_pause() && !self.intent.is_back() => Status::Paused,
            phase if self.held.is_some() && phase.may_go_back() && !self.intent.is_back() => Status::Paused,
            Phase::Pending => Status::Pending,
            Phase::Provisioning
            | Phase::Verifying
            | Phase::Shifting { .. }
            | Phase::Baking { .. }
            | Phase::Committing { .. }
            | Phase::Retiring
            | Phase::RollingBack { .. } => Status::InProgress,
        }
    }

    /// The weight wanted: 0 before `shifting` and from the intent to go back on; an operator's own from the moment it was asked for.
    #[must_use]
    pub fn desired(&self) -> Weight {
        if self.intent.is_back() && self.phase.may_go_back() {
            return Weight::NONE;
        }
        match (self.open_order().map(|order| order.to), &self.phase) {
            (Some(Steer::Weight { weight }), Phase::Shifting { .. } | Phase::Baking { .. }) => weight,
            _ => self.phase.wants(),
        }
    }

    /// What is to become of the drift that lasts.
    #[must_use]
    pub fn answer(&self) -> Option<&Answered> {
        let held = self.held.as_ref()?;
        self.intent.answer.as_ref().filter(|answered| answered.drift == held.number)
    }

    /// The order that the engine has not begun to carry out.
    #[must_use]
    pub fn open_order(&self) -> Option<&Order> {
        self.intent.order.as_ref().filter(|order| order.number > self.order_seen)
    }

    /// The same record in another phase.
    #[must_use]
    pub fn entering(&self, phase: Phase, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.ended_at = phase.is_terminal().then_some(now);
        drift::let_go(&mut next, now);
        next.holds.ms = 0;
        next.least = drift::floor(self).min(phase.wants());
        next.phase = phase;
        next.phase_since = now;
        next.paused_before_ms = self.intent.paused_total_ms(now);
        // Absence counts from here: what was rightly absent before (a group not yet made) proves nothing now.
        next.seen.absences = Absences::default();
        // So does what was right for the other weight.
        next.seen.drift = Vec::new();
        next.seen.trouble = None;
        next
    }

    /// The same record on its way back. What was asked for by a person stands in the intent; `trigger` names what else did.
    #[must_use]
    pub fn turning_back(&self, trigger: Trigger, reason: Option<String>, now: Timestamp) -> Self {
        let shield = self.phase.base_may_be_green() || drift::base_is_off_blue(self);
        let given = self.intent.rollback.as_ref().or(self.intent.cancel.as_ref());
        let ends = if self.intent.rollback.is_none() && (self.intent.cancel.is_some() || !self.refusal.is_empty()) {
            BackAs::Cancelled
        } else {
            BackAs::RolledBack
        };
        let mut next = self.entering(Phase::RollingBack { shield, ends }, now);
        next.going_back = Some(GoingBack {
            trigger,
            by: given.map_or_else(|| "cutover".to_owned(), |given| given.by.clone()),
            reason: given.map_or(reason, |given| given.reason.clone()),
            requested_at: given.map_or(now, |given| given.at),
            accepted_at: None,
            observed_at: None,
        });
        next
    }

    /// The record with what a look showed, and what is believed of it by now; decides nothing.
    #[must_use]
    pub fn having_seen(mut self, o: &Observation, timing: &Timing, now: Timestamp) -> Self {
        if let Some(back) = &mut self.going_back {
            // The lane may have been told before the engine knew of the order.
            back.accepted_at = back.accepted_at.or(self.intent.rollback_accepted_at);
        }
        let before = self.seen.at.replace(now).unwrap_or(now);
        self.seen.weight = observed_weight(o);
        if let Some(group) = o.green.seen() {
            self.seen.green = Some(group.servers);
        } else if o.green.is_absent() {
            self.seen.green = None;
        }
        match &o.blue {
            Known::Seen(group) => (self.seen.blue, self.seen.blue_kept) = (Some(group.servers), Some(group.into())),
            Known::Absent => (self.seen.blue, self.seen.blue_kept) = (None, None),
            Known::Unknown(_) => {}
        }
        let unseen = matches!(o.blue, Known::Unknown(_));
        self.seen.blue_unseen_since = unseen.then(|| self.seen.blue_unseen_since.unwrap_or(before));
        self.seen.short = self.seen.short.after(super::health::verdict(&self, o, self.phase.wants()), now);
        self.seen.absences = self.seen.absences.after(&self, o, now);
        self.seen.drift = drift::after(&self, o, timing, now);
        drift::believe(&mut self, timing, now);
        self.attention = super::attention::sentence(&self, o, timing, now);
        self
    }
}

/// Green's largest share over all routes.
fn observed_weight(o: &Observation) -> Option<Weight> {
    if o.routes.is_empty() {
        // No plan yet: nothing of this deployment is on any route.
        return Some(Weight::NONE);
    }
    o.routes
        .iter()
        .map(|route| route.seen().and_then(super::observation::RouteView::green_share))
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}
