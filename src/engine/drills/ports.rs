//! What drills ask of the outside. Apart from the engine's other ports: nothing else needs it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    domain::{
        declaration::Declaration,
        deployment::{Deployment, Live},
        drill::{Action, Change, Drill, DrillPlan, Phase, RouteSight},
        ids::{DrillId, HolderId, Target},
        observation::Known,
    },
    engine::ports::{Fault, Settled, StoreError},
};

/// A drill before it is on record.
#[derive(Debug, Clone)]
pub struct NewDrill {
    pub id: DrillId,
    pub target: Target,
    pub reason: Option<String>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub scheduled: Option<Turn>,
}

/// A run of a schedule, and the one after it: whoever begins the one sets the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    pub due: Timestamp,
    pub next: Option<Timestamp>,
}

/// What became of a new drill.
#[derive(Debug)]
pub enum Begun {
    Started(Box<Drill>),
    /// The service/environment was never declared.
    NotDeclared,
    /// A deployment runs there, or on one of its routes.
    Deployment(Box<Deployment>),
    /// A drill runs there already.
    Running(Box<Drill>),
    /// Its turn was begun by another replica, or the schedule is another by now.
    Moved,
}

/// A schedule that is due.
#[derive(Debug, Clone)]
pub struct Due {
    pub target: Target,
    pub at: Timestamp,
    /// By the database's clock.
    pub now: Timestamp,
    pub declaration: Declaration,
}

/// A drill that this replica may work on until its lease ends.
#[derive(Debug, Clone)]
pub struct DrillClaim {
    pub drill: Drill,
    pub version: i64,
    /// When the lease ends, on this machine's monotonic clock: never too late.
    pub lease_ends: Instant,
}

/// How the last drill of a service/environment went that was not skipped, and when one last passed.
#[derive(Debug, Clone)]
pub struct DrillFigures {
    pub drill: Drill,
    pub passed_at: Option<Timestamp>,
}

impl NewDrill {
    /// The first record: nothing planned, changed or seen.
    #[must_use]
    pub fn recorded(self, declaration: Declaration, live: Option<Live>) -> Drill {
        Drill {
            id: self.id,
            target: self.target,
            reason: self.reason,
            created_by: self.created_by,
            created_at: self.created_at,
            scheduled_for: self.scheduled.map(|turn| turn.due),
            declaration,
            live,
            phase: Phase::Pending,
            phase_since: self.created_at,
            plan: None,
            opening: Change::default(),
            deletion: Change::default(),
            gone: Vec::new(),
            trouble: None,
            failure: None,
            outcome: None,
            ended_at: None,
            events: Vec::new(),
        }
    }
}

/// Drills on record, beside the deployments'.
pub trait DrillStore: Send + Sync + 'static {
    /// Stores a new drill where no deployment and no other drill runs.
    fn begin_drill(&self, new: NewDrill) -> impl Future<Output = Result<Begun, StoreError>> + Send;
    /// The deployment that runs for the drill's service/environment or on one of its routes.
    fn deployment_on(&self, drill: &Drill) -> impl Future<Output = Result<Option<Deployment>, StoreError>> + Send;
    /// Schedules that are due and where no deployment runs, longest first.
    fn due_schedules(&self, limit: usize) -> impl Future<Output = Result<Vec<Due>, StoreError>> + Send;
    /// Takes due drills for `lease`, as deployments are claimed.
    fn claim_drills(
        &self,
        holder: &HolderId,
        lease: Duration,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DrillClaim>, StoreError>> + Send;
    /// Stores what a tick left, guarded by version and holder; lease released, next look set. One that ended lets the oldest of its
    /// service/environment beyond `kept_max` be forgotten.
    fn settle_drill(
        &self,
        holder: &HolderId,
        claim: &DrillClaim,
        next: &Drill,
        due: Duration,
        kept_max: usize,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;
    /// How long until a drill or a schedule is due that this holder may take; `None` when none is.
    fn next_drill(&self, holder: &HolderId) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;
    /// Gives back every lease of this holder.
    fn release_drills(&self, holder: &HolderId) -> impl Future<Output = Result<(), StoreError>> + Send;
    fn drill(&self, id: DrillId) -> impl Future<Output = Result<Option<Drill>, StoreError>> + Send;
    /// Those of a service/environment, newest first, from before `before` on, at most `limit`.
    fn drills(
        &self,
        target: &Target,
        before: Option<DrillId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Drill>, StoreError>> + Send;
    fn drill_figures(&self) -> impl Future<Output = Result<Vec<DrillFigures>, StoreError>> + Send;
}

/// What drills do at the provider.
pub trait DrillCloud: Send + Sync + 'static {
    /// One a route, in the plan's order. What could not be seen is `Unknown`.
    fn see_drill(
        &self,
        drill: &Drill,
        plan: &DrillPlan,
        deadline: Instant,
    ) -> impl Future<Output = Vec<Known<RouteSight>>> + Send;
    /// Makes one change. No call is sent after `deadline`; none is retried.
    fn change_drill(&self, drill: &Drill, action: &Action, deadline: Instant)
    -> impl Future<Output = Result<(), Fault>> + Send;
}
