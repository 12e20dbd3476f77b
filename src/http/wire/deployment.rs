//! A deployment as every call returns it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Percent, ReadinessView, SlotView, drift::DriftView, environment::deployment_url};
use crate::{
    domain::{
        command,
        deployment::{Deployment, Status, Trigger},
        forecast,
        observation::Servers,
        phase::Phase,
        timing::Timing,
    },
    engine::{
        api::{RolledBack, Shown},
        ports::StoredEvent,
    },
};

/// A deployment, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeploymentLink {
    pub id: Uuid,
    pub url: String,
    pub number: u32,
    #[schema(value_type = StatusWord)]
    pub status: &'static str,
    #[schema(value_type = PhaseWord)]
    pub phase: &'static str,
}

impl DeploymentLink {
    pub fn of(d: &Deployment) -> Self {
        Self { id: d.id.uuid(), url: deployment_url(d.id), number: d.number, status: d.status().name(), phase: d.phase.name() }
    }
}

/// What people and CI ask about.
#[derive(Debug, ToSchema)]
#[schema(as = Status, rename_all = "snake_case")]
pub enum StatusWord {
    Pending,
    InProgress,
    Paused,
    Succeeded,
    RolledBack,
    Cancelled,
    Failed,
}

/// Where the engine is.
#[derive(Debug, ToSchema)]
#[schema(as = Phase, rename_all = "snake_case")]
pub enum PhaseWord {
    Pending,
    Provisioning,
    Verifying,
    Shifting,
    Baking,
    Committing,
    Retiring,
    RollingBack,
    Succeeded,
    RolledBack,
    Cancelled,
    Failed,
}

/// What can be asked of a deployment.
#[derive(Debug, ToSchema)]
#[schema(as = Action, rename_all = "snake_case")]
pub enum ActionWord {
    Rollback,
    Promote,
    Pause,
    Resume,
    Weight,
    Adopt,
    Restore,
    Approve,
    Reject,
    Cancel,
}

/// What made a deployment go back.
#[derive(Debug, ToSchema)]
#[schema(as = Trigger, rename_all = "snake_case")]
pub enum TriggerWord {
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

/// One attempt to move a service/environment to an image.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deployment)]
pub struct DeploymentView {
    pub id: Uuid,
    pub url: String,
    pub service: String,
    pub environment: String,
    /// 1, 2, 3 … within the service/environment.
    pub number: u32,
    pub image: String,
    #[schema(required = true)]
    pub version: Option<String>,
    #[schema(required = true)]
    pub reason: Option<String>,
    /// It is a rollback itself, by new servers: the number of the deployment whose release it takes back.
    #[schema(required = true)]
    pub takes_back: Option<u32>,
    pub created_by: String,
    pub created_at: Timestamp,
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
    #[schema(value_type = StatusWord)]
    pub status: &'static str,
    #[schema(value_type = PhaseWord)]
    pub phase: &'static str,
    /// Counts from 1; null outside `shifting`.
    #[schema(required = true)]
    pub stage: Option<usize>,
    pub stages: Vec<StageView>,
    pub weight: WeightView,
    /// When the bake or wait that runs now is over; null where the world or a person is waited for.
    #[schema(required = true)]
    pub next_change_at: Option<Timestamp>,
    /// The group that served when it started; null for a first release.
    #[schema(required = true)]
    pub blue: Option<GroupView>,
    pub green: GroupView,
    pub routes: Vec<RouteView>,
    /// Null until it goes back.
    #[schema(required = true)]
    pub rollback: Option<RollbackView>,
    /// Whether a rollback would go well now; null once it has ended.
    #[schema(required = true)]
    pub readiness: Option<ReadinessView>,
    /// Why it was refused before anything was changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub refusal: Vec<RefusalView>,
    /// What somebody changed outside Cutover, while that holds the deployment; null when the world is as recorded.
    #[schema(required = true)]
    pub drift: Option<Vec<DriftView>>,
    /// A sentence when a person is needed.
    #[schema(required = true)]
    pub attention: Option<String>,
    /// The commands that are legal now.
    #[schema(value_type = Vec<ActionWord>)]
    pub allowed_actions: Vec<&'static str>,
    /// When asking again is worth while.
    pub poll_after_ms: u32,
    /// Only while the database is away: when this was read from it. It may be otherwise by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub as_of: Option<Timestamp>,
}

/// One stage of this deployment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stage)]
pub struct StageView {
    #[schema(inline)]
    pub weight: Percent,
    #[schema(example = "5m")]
    pub bake_time: String,
    pub state: StageState,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    Done,
    Current,
    Next,
}

/// Green's share of traffic in percent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Weight)]
pub struct WeightView {
    #[schema(inline)]
    pub desired: Percent,
    /// The largest over all routes, as read back; null when one is unknown.
    #[schema(required = true, inline)]
    pub observed: Option<Percent>,
}

/// A server group in one deployment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerGroup)]
pub struct GroupView {
    #[schema(example = "web-prod-v042")]
    pub server_group: String,
    /// Null until the plan is made.
    #[schema(required = true)]
    pub slot: Option<SlotView>,
    /// Null where it cannot be told.
    #[schema(required = true)]
    pub image: Option<String>,
    /// As last seen; null when not seen, or gone.
    #[schema(required = true)]
    pub servers: Option<ServersView>,
}

/// Servers of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Servers)]
pub struct ServersView {
    pub desired: u32,
    pub in_service: u32,
    /// In service, and healthy for the load balancer.
    pub healthy: u32,
}

impl From<Servers> for ServersView {
    fn from(servers: Servers) -> Self {
        Self { desired: servers.desired, in_service: servers.in_service, healthy: servers.healthy }
    }
}

/// One route of a deployment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Route)]
pub struct RouteView {
    pub base: String,
    /// The extra rule; null until provisioning ended.
    #[schema(required = true)]
    pub overlay: Option<String>,
}

/// The way back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollback)]
pub struct RollbackView {
    #[schema(value_type = TriggerWord)]
    pub trigger: Trigger,
    pub by: String,
    #[schema(required = true)]
    pub reason: Option<String>,
    pub requested_at: Timestamp,
    /// When the load balancer had accepted it on every route; where green had no traffic yet, when it was on record.
    #[schema(required = true)]
    pub accepted_at: Option<Timestamp>,
    /// When every route was seen to send nothing to green; `null` for good where it was taken back before anything was planned,
    /// so that nothing of it was ever at the load balancer.
    #[schema(required = true)]
    pub observed_at: Option<Timestamp>,
    /// `instant`: traffic goes back to servers that still run. `redeploy`: they are gone; this is a new deployment of the image before.
    #[schema(example = "instant")]
    pub mode: &'static str,
}

/// One reason of a refusal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalView {
    /// JSON pointer into the declaration.
    pub pointer: String,
    pub detail: String,
}

/// A deployment that was asked to go back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolledBack)]
pub struct RolledBackView {
    #[schema(example = "instant")]
    pub mode: &'static str,
    /// Whether the order is in the database. Else, with 200, the load balancer has accepted it and the order waits on this replica's
    /// disk for the database to come back.
    pub durable: bool,
    /// What became of it on each route; empty where nothing was sent, because it was accepted before or nothing had to be.
    pub by_route: Vec<RouteOutcomeView>,
    #[serde(flatten)]
    pub deployment: DeploymentView,
}

/// A rollback on one route.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RouteOutcome)]
pub struct RouteOutcomeView {
    pub route: String,
    pub accepted: bool,
    /// What the load balancer said last where it has not accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub detail: Option<String>,
}

/// What a rollback answers with 200.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RollbackAnswer {
    RolledBack(Box<RolledBackView>),
    DryRun(super::PlannedView),
}

impl RolledBackView {
    pub fn new(done: &RolledBack, timing: &Timing) -> Self {
        let by_route = done.routes.iter().map(|outcome| RouteOutcomeView {
            route: outcome.route.to_string(),
            accepted: outcome.accepted,
            detail: outcome.said.clone(),
        });
        Self {
            mode: done.mode.name(),
            durable: done.durable,
            by_route: by_route.collect(),
            deployment: DeploymentView::new(&done.deployment, timing),
        }
    }
}

impl DeploymentView {
    pub fn of(shown: &Shown, timing: &Timing) -> Self {
        Self::read(&shown.read.deployment, shown.as_of, timing)
    }

    pub fn new(d: &Deployment, timing: &Timing) -> Self {
        Self::read(d, None, timing)
    }

    fn read(d: &Deployment, as_of: Option<Timestamp>, timing: &Timing) -> Self {
        let refusal = d.refusal.iter();
        Self {
            id: d.id.uuid(),
            url: deployment_url(d.id),
            service: d.target.service.to_string(),
            environment: d.target.environment.to_string(),
            number: d.number,
            image: d.image.to_string(),
            version: d.version.clone(),
            reason: d.reason.clone(),
            takes_back: d.takes_back,
            created_by: d.created_by.clone(),
            created_at: d.created_at,
            ended_at: d.ended_at,
            status: d.status().name(),
            phase: d.phase.name(),
            stage: stage(&d.phase),
            stages: stages(d),
            weight: WeightView { desired: d.desired().into(), observed: d.seen.weight.map(Percent::from) },
            next_change_at: forecast::next_change_at(d, timing),
            blue: blue(d),
            green: green(d),
            routes: routes(d),
            rollback: rollback(d),
            readiness: ReadinessView::of(d, as_of, timing),
            refusal: refusal.map(|r| RefusalView { pointer: r.pointer.clone(), detail: r.detail.clone() }).collect(),
            drift: DriftView::of(d),
            attention: d.attention.clone(),
            allowed_actions: command::allowed(d),
            poll_after_ms: poll_after_ms(d),
            as_of,
        }
    }
}

fn stage(phase: &Phase) -> Option<usize> {
    match phase {
        Phase::Shifting { stage, .. } => Some(stage + 1),
        _ => None,
    }
}

fn stages(d: &Deployment) -> Vec<StageView> {
    let strategy = d.plan.as_ref().map_or(&d.strategy, |plan| &plan.strategy);
    let state = |i: usize| match &d.phase {
        Phase::Shifting { stage, .. } if i < *stage => StageState::Done,
        Phase::Shifting { stage, .. } if i == *stage => StageState::Current,
        Phase::Baking { .. } | Phase::Committing { .. } | Phase::Retiring | Phase::Succeeded => StageState::Done,
        Phase::Shifting { .. }
        | Phase::Pending
        | Phase::Provisioning
        | Phase::Verifying
        | Phase::RollingBack { .. }
        | Phase::RolledBack
        | Phase::Cancelled
        | Phase::Failed => StageState::Next,
    };
    let view = |(i, stage): (usize, &crate::domain::declaration::Stage)| StageView {
        weight: stage.weight.into(),
        bake_time: stage.bake_time.to_string(),
        state: state(i),
    };
    strategy.stages.iter().enumerate().map(view).collect()
}

/// From the plan; before there is one, as far as the records name it.
fn blue(d: &Deployment) -> Option<GroupView> {
    let servers = d.seen.blue.map(ServersView::from);
    match (&d.plan, &d.live, &d.declaration.blue) {
        (Some(plan), _, _) => plan.blue.as_ref().map(|blue| GroupView {
            server_group: blue.group.to_string(),
            slot: Some(SlotView::from(&plan.blue_slot)),
            image: blue.image.clone(),
            servers,
        }),
        (None, Some(live), _) => Some(GroupView {
            server_group: live.group.to_string(),
            slot: Some(SlotView::from(&live.slot)),
            image: Some(live.image.to_string()),
            servers,
        }),
        (None, None, Some(group)) => Some(GroupView { server_group: group.to_string(), slot: None, image: None, servers }),
        (None, None, None) => None,
    }
}

fn green(d: &Deployment) -> GroupView {
    GroupView {
        server_group: d.target.group(d.number).to_string(),
        slot: d.plan.as_ref().map(|plan| SlotView::from(&plan.green.slot)),
        image: Some(d.image.to_string()),
        servers: d.seen.green.map(ServersView::from),
    }
}

fn routes(d: &Deployment) -> Vec<RouteView> {
    let overlay = |i: usize| d.overlays.get(i).map(ToString::to_string);
    let routes = d.declaration.routes.iter().enumerate();
    routes.map(|(i, route)| RouteView { base: route.to_string(), overlay: overlay(i) }).collect()
}

/// From the engine's record, or from the order that the engine has not taken up yet. A cancel is no rollback.
fn rollback(d: &Deployment) -> Option<RollbackView> {
    let cancelled = d.status() == Status::Cancelled || (d.intent.cancel.is_some() && d.intent.rollback.is_none());
    if cancelled || !d.refusal.is_empty() {
        return None;
    }
    let accepted_at = d.intent.rollback_accepted_at;
    match (&d.going_back, &d.intent.rollback) {
        (Some(back), _) => Some(RollbackView {
            trigger: back.trigger,
            by: back.by.clone(),
            reason: back.reason.clone(),
            requested_at: back.requested_at,
            // The lane and the engine may both have been accepted: the first counts.
            accepted_at: [back.accepted_at, accepted_at].into_iter().flatten().min(),
            observed_at: back.observed_at,
            mode: "instant",
        }),
        (None, Some(given)) => Some(RollbackView {
            trigger: Trigger::Manual,
            by: given.by.clone(),
            reason: given.reason.clone(),
            requested_at: given.at,
            accepted_at,
            observed_at: None,
            mode: "instant",
        }),
        (None, None) => None,
    }
}

/// Often while something moves, seldom while something is waited out.
fn poll_after_ms(d: &Deployment) -> u32 {
    match &d.phase {
        phase if phase.is_terminal() => 60_000,
        Phase::RollingBack { .. } | Phase::Shifting { seen_at: None, .. } | Phase::Baking { seen_at: None, .. } => 1_000,
        Phase::Pending | Phase::Provisioning | Phase::Verifying | Phase::Retiring => 2_000,
        _ => 5_000,
    }
}

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    pub id: i64,
    pub at: Timestamp,
    #[serde(rename = "type")]
    #[schema(example = "weight.observed")]
    pub kind: String,
    /// One sentence, with values.
    pub message: String,
    /// Who did it; `cutover` for the engine.
    pub actor: String,
    pub data: Value,
}

impl From<StoredEvent> for EventView {
    fn from(stored: StoredEvent) -> Self {
        let event = stored.event;
        Self { id: stored.id, at: stored.at, kind: event.kind, message: event.message, actor: event.actor, data: event.data }
    }
}
