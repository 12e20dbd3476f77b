//! What the edge may ask of the engine: one method a use case, no technology in sight.
//!
//! A trait with boxed futures, so that the HTTP handlers are plain functions and not generic over store and cloud.

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{
    drills::ports::DrillFigures,
    ports::{Environment, Filter, NewDeployment, ProviderFigures, StoreError, StoredEvent, TokenOwner, Versioned},
    rollback_times::RollbackFigures,
    sweeper::ports::{Listed, OrphanFigures, OrphanFilter},
};
use crate::domain::{
    command::{Command, Refusal},
    declaration::{Declaration, Strategy},
    deployment::{Deployment, Status},
    drill::Drill,
    ids::{DeploymentId, DrillId, Image, RouteRef, Target},
    preflight::Check,
    readiness::{Blue, Measured, Readiness},
    redeploy,
    survey::FieldFault,
};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    pub admin: bool,
}

impl From<TokenOwner> for Actor {
    fn from(owner: TokenOwner) -> Self {
        Self { name: owner.name, admin: owner.admin }
    }
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Every fault at once.
    #[error("the request has {} fault(s)", .0.len())]
    Invalid(Vec<FieldFault>),
    #[error("deployment {} runs already", .0.number)]
    InProgress(Box<Deployment>),
    #[error("not legal now")]
    Refused { refusal: Refusal, deployment: Box<Deployment> },
    #[error("there is nothing to roll back to")]
    NothingToRollBackTo,
    /// `abandon` is for administrators.
    #[error("not allowed")]
    Forbidden,
    /// The version named in `If-Match` is not the present one.
    #[error("the deployment has changed")]
    Precondition,
    /// The database is away, and this may not be sent without it.
    #[error("not without the database: {why}")]
    OutOfReach { why: String, by_hand: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A deployment as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    pub read: Versioned,
    /// When the database was last heard of it, if it is away; then it may be otherwise by now.
    pub as_of: Option<Timestamp>,
}

/// Whether requests may be sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    Yes,
    /// The database is away; what runs can still be rolled back.
    ToRollBack,
}

/// How this replica does without the database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaneFigures {
    pub database_is_away: bool,
    /// Running deployments that it could roll back by itself.
    pub bundles: usize,
    /// Rollbacks that wait for their record.
    pub journal: usize,
    /// How long rollbacks took that this replica put on record.
    pub rollbacks: Vec<RollbackFigures>,
}

/// A deployment as asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub target: Target,
    pub image: Image,
    pub version: Option<String>,
    pub reason: Option<String>,
    pub strategy: Option<Strategy>,
    /// The number of the deployment whose release it takes back.
    pub takes_back: Option<u32>,
}

impl Wanted {
    /// What it is made by.
    #[must_use]
    pub fn declared(&self, declaration: &Declaration) -> Declaration {
        match self.takes_back {
            Some(_) => redeploy::declaration(declaration.clone()),
            None => declaration.clone(),
        }
    }

    #[must_use]
    pub fn into_new(self, id: DeploymentId, by: &Actor, now: Timestamp) -> NewDeployment {
        NewDeployment {
            id,
            target: self.target,
            image: self.image,
            version: self.version,
            reason: self.reason,
            takes_back: self.takes_back,
            strategy: self.strategy,
            created_by: by.name.clone(),
            created_at: now,
        }
    }
}

/// What a declaration became.
#[derive(Debug)]
pub struct Declared {
    pub environment: Environment,
    pub new: bool,
    /// Whether the cloud could be looked at; if not, `pending` checks again.
    pub checked: bool,
    /// True of it, and worth a person's knowing.
    pub warnings: Vec<String>,
}

/// What a new deployment became.
#[derive(Debug)]
pub enum Created {
    New(Box<Deployment>),
    /// The image is live already: nothing to do.
    Noop(Box<Environment>),
}

/// A drill, and whether it was begun just now.
#[derive(Debug)]
pub struct Drilling {
    pub drill: Box<Drill>,
    pub new: bool,
}

/// What would be done, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    pub steps: Vec<Step>,
    pub warnings: Vec<String>,
    /// Checks that could not be made, and why.
    pub unknown: Vec<String>,
    /// Everything that was looked at; empty of a rollback, which waits for no look.
    pub checks: Vec<Check>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The phase that it belongs to.
    pub phase: &'static str,
    /// `create_green`, `open_overlays`, …, or `wait`.
    pub action: String,
    /// In words, with names and numbers.
    pub detail: String,
    /// The provider's calls, in order, each with what it names.
    pub calls: Vec<String>,
}

/// How a rollback is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Traffic goes back to the servers that still run.
    Instant,
    /// They are gone: a new deployment of the image before.
    Redeploy,
}

impl Mode {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Redeploy => "redeploy",
        }
    }

    /// How whoever asks to go back is answered by this deployment.
    #[must_use]
    pub fn of(d: &Deployment) -> Self {
        if d.takes_back.is_some() { Self::Redeploy } else { Self::Instant }
    }
}

/// Whether one could go back now, and how.
#[derive(Debug)]
pub struct Standing {
    pub target: Target,
    /// The one that runs, else the last that ended.
    pub deployment: Option<Box<Deployment>>,
    pub readiness: Readiness,
    /// How it would go back; `None` where there is nothing to go back to.
    pub mode: Option<Mode>,
    /// Who would serve again, of a deployment that runs.
    pub blue: Option<Blue>,
    /// Whether sessions stick to a side; `None` where that is not known.
    pub sticky: Option<bool>,
    /// `None` before the first rollback.
    pub measured: Option<Measured>,
    /// The last drill that was not skipped.
    pub drill: Option<Box<Drill>>,
    /// What a rollback would ask of the provider now, in order.
    pub calls: Vec<String>,
    /// The same for a person with rights of their own and nothing else.
    pub by_hand: Vec<String>,
    /// When the database was last heard of it, if that is away.
    pub as_of: Option<Timestamp>,
}

/// The answer of a rollback.
#[derive(Debug)]
pub struct RolledBack {
    pub deployment: Box<Deployment>,
    /// How it goes back.
    pub mode: Mode,
    /// All that was asked of the load balancer was accepted (or nothing had to be): 200, else 202.
    pub accepted: bool,
    /// The intent is in the database.
    pub durable: bool,
    /// What became of it on each route; empty where nothing was sent.
    pub routes: Vec<RouteOutcome>,
}

/// What became of a rollback on one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOutcome {
    pub route: RouteRef,
    pub accepted: bool,
    /// What was said last where it was not.
    pub said: Option<String>,
}

/// What a rollback is asked of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackOf {
    Deployment(DeploymentId),
    /// Whatever runs for it.
    Target(Target),
}

/// Until when a long poll waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// What is shown changes from what the caller has (by ETag; without one: from now).
    Changed,
    Terminal,
    Baking,
    /// Stage `n`, counting from 1, is reached (or passed).
    Stage(usize),
    Approval,
}

impl Until {
    /// Whether `d` is there. `Changed` is judged by the edge, which knows what it shows.
    #[must_use]
    pub fn reached(self, d: &Deployment) -> bool {
        use crate::domain::phase::Phase;
        let ended = d.phase.is_terminal();
        match self {
            Self::Changed => false,
            Self::Terminal => ended,
            Self::Baking => {
                ended || matches!(d.phase, Phase::Baking { seen_at: Some(_), .. } | Phase::Committing { .. } | Phase::Retiring)
            }
            Self::Stage(n) => {
                ended
                    || match d.phase {
                        Phase::Shifting { stage, seen_at: Some(_), .. } => stage + 1 >= n,
                        Phase::Baking { .. } | Phase::Committing { .. } | Phase::Retiring => true,
                        _ => false,
                    }
            }
            // No gate waits for a person yet.
            Self::Approval => ended,
        }
    }
}

/// The use cases.
pub trait Api: Send + Sync + 'static {
    /// Looks at the cloud (5 s at most) and stores the declaration; over no other revision than the one `expected`.
    fn declare(
        &self,
        by: Actor,
        target: Target,
        declaration: Declaration,
        expected: Option<i32>,
    ) -> BoxFuture<'_, Result<Declared, Trouble>>;
    fn environment(&self, target: Target) -> BoxFuture<'_, Result<Environment, Trouble>>;
    fn environments(&self, after: Option<Target>, limit: usize) -> BoxFuture<'_, Result<Vec<Environment>, Trouble>>;
    fn revisions(&self, target: Target, before: Option<i32>, limit: usize) -> BoxFuture<'_, Result<Vec<Environment>, Trouble>>;

    fn create(&self, by: Actor, wanted: Wanted) -> BoxFuture<'_, Result<Created, Trouble>>;
    /// `?dry_run=true` of create.
    fn plan_create(&self, wanted: Wanted) -> BoxFuture<'_, Result<Steps, Trouble>>;
    /// `?dry_run=true` of declare.
    fn plan_declare(&self, target: Target, declaration: Declaration) -> BoxFuture<'_, Result<Steps, Trouble>>;
    /// Every check of what is declared, and the plan of a deployment of `image` (any, when none is given).
    fn doctor(&self, target: Target, image: Option<Image>) -> BoxFuture<'_, Result<Steps, Trouble>>;
    /// Without the database one that runs is shown as this replica remembers it.
    fn deployment(&self, id: DeploymentId) -> BoxFuture<'_, Result<Shown, Trouble>>;
    /// The same of a service/environment: the one that runs, and no others.
    fn deployments(&self, filter: Filter) -> BoxFuture<'_, Result<Vec<Shown>, Trouble>>;
    fn events(&self, id: DeploymentId, after: i64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>, Trouble>>;
    /// Returns when the record may have changed, or after `at_most`.
    fn changed(&self, at_most: Duration) -> BoxFuture<'_, ()>;

    /// Gives a command; `true` where it changed something. `Precondition` when the record is not at the version `expected`:
    /// between reading it and this call it may have moved without showing anything new, so look again before refusing.
    fn command(
        &self,
        by: Actor,
        id: DeploymentId,
        command: Command,
        reason: Option<String>,
        expected: Option<i64>,
    ) -> BoxFuture<'_, Result<(Versioned, bool), Trouble>>;
    /// The rollback lane.
    fn rollback(&self, by: Actor, of: RollbackOf, reason: Option<String>) -> BoxFuture<'_, Result<RolledBack, Trouble>>;
    /// Whether a rollback would go well now. Without the database by what this replica remembers.
    fn readiness(&self, target: Target) -> BoxFuture<'_, Result<Standing, Trouble>>;
    /// `?dry_run=true` of rollback.
    fn plan_rollback(&self, of: RollbackOf) -> BoxFuture<'_, Result<Steps, Trouble>>;

    /// Begins a drill of the way back; one that runs already is the answer.
    fn begin_drill(&self, by: Actor, target: Target, reason: Option<String>) -> BoxFuture<'_, Result<Drilling, Trouble>>;
    /// `?dry_run=true` of it.
    fn plan_drill(&self, target: Target) -> BoxFuture<'_, Result<Steps, Trouble>>;
    fn drill(&self, id: DrillId) -> BoxFuture<'_, Result<Drill, Trouble>>;
    /// Newest first.
    fn drills(&self, target: Target, before: Option<DrillId>, limit: usize) -> BoxFuture<'_, Result<Vec<Drill>, Trouble>>;

    /// What ended deployments left in the cloud, as the last sweeps saw it.
    fn orphans(&self, filter: OrphanFilter) -> BoxFuture<'_, Result<Vec<ListedOrphan>, Trouble>>;

    fn token_owner(&self, sha256: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenOwner>, Trouble>>;
    /// The same on the rollback lane's own connections.
    fn token_owner_at_once(&self, sha256: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenOwner>, Trouble>>;
    /// By what this replica heard at most so long ago; without the database, as long as tokens are kept.
    fn known_owner(&self, sha256: [u8; 32], at_most: Duration) -> Option<TokenOwner>;
    fn ready(&self) -> BoxFuture<'_, Result<Ready, Trouble>>;
    fn lane(&self) -> LaneFigures;
    /// The same of one figure, for whoever is in a hurry.
    fn database_is_away(&self) -> bool;
    /// Deployments by status, and the age of the engine's last tick: for the metrics.
    fn figures(&self) -> BoxFuture<'_, Result<Figures, Trouble>>;
    /// What the provider was asked: known without the records.
    fn provider(&self) -> ProviderFigures;
}

/// An orphan with what is to become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrphan {
    pub seen: Listed,
    /// When it goes, if nothing comes between; in the past while its removal goes on.
    pub remove_at: Option<Timestamp>,
    /// Why it does not, in words.
    pub kept_because: Option<String>,
}

/// What the metrics page shows of the records and the engine.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub running: Vec<Deployment>,
    pub ended: Vec<(Target, Status, u64)>,
    /// Since the engine last looked for due work.
    pub tick_age: Duration,
    pub orphans: OrphanFigures,
    pub drills: Vec<DrillFigures>,
}
