//! What the engine asks of the outside: a store and a cloud, each small enough to be written in a day.
//!
//! Nothing here names a technology. The store's leases run by the *database's* clock; the cloud's calls end before the
//! deadline they are given, and a change is signed, then checked against the deadline, then sent.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::bundles::Bundles;
pub use super::lease::{Claim, Settled, Settlement};
use crate::domain::{
    action::Action,
    command::{Command, Refusal},
    declaration::Declaration,
    deployment::{Deployment, Given, Intent, Live, Seen, Status},
    drift::Holds,
    drill::{Drill, Drilled},
    event::Event,
    ids::{DeploymentId, EnvironmentName, HolderId, Image, ListenerRef, RouteRef, ServiceName, Target},
    inspection::Inspection,
    observation::Observation,
    phase::Phase,
    plan::{Inputs, Plan, RoutePlan},
    readiness::Took,
    redeploy,
    survey::{FieldFault, Survey},
    weight::Weight,
};

/// Why the store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Cannot be reached, or did not answer in time: nothing is known about the outcome.
    #[error("the database could not be reached while {doing}")]
    Unreachable { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    /// Anything else: a bug, or a record that cannot be read.
    #[error("the database failed while {doing}")]
    Broken { doing: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
}

/// A stored deployment with the version to be named in a write.
#[derive(Debug, Clone)]
pub struct Versioned {
    pub deployment: Deployment,
    pub version: i64,
}

/// What a replica that remembers a running deployment asks of it again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    pub id: DeploymentId,
    pub version: i64,
    /// When it was last looked at, if that changed nothing of the record.
    pub seen_at: Option<Timestamp>,
}

/// A new deployment, before it has a number.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    pub id: DeploymentId,
    pub target: Target,
    pub image: Image,
    pub version: Option<String>,
    pub reason: Option<String>,
    /// The number of the deployment whose release it takes back.
    pub takes_back: Option<u32>,
    /// Replaces the declared one whole.
    pub strategy: Option<crate::domain::declaration::Strategy>,
    pub created_by: String,
    pub created_at: Timestamp,
}

/// What only the records know of a new deployment.
#[derive(Debug, Clone)]
pub struct RecordFacts {
    pub number: u32,
    pub declaration: Declaration,
    pub live: Option<Live>,
    pub not_before: Option<Timestamp>,
    pub let_go: Vec<DeploymentId>,
}

impl NewDeployment {
    /// The first record: `pending`, with nothing planned, seen or asked for.
    #[must_use]
    pub fn recorded(self, facts: RecordFacts) -> Deployment {
        Deployment {
            id: self.id,
            target: self.target,
            number: facts.number,
            image: self.image,
            version: self.version,
            reason: self.reason,
            takes_back: self.takes_back,
            created_by: self.created_by,
            created_at: self.created_at,
            ended_at: None,
            strategy: self.strategy.unwrap_or_else(|| facts.declaration.strategy.clone()),
            declaration: match self.takes_back {
                Some(_) => redeploy::declaration(facts.declaration),
                None => facts.declaration,
            },
            live: facts.live,
            not_before: facts.not_before,
            let_go: facts.let_go,
            phase: Phase::Pending,
            phase_since: self.created_at,
            paused_before_ms: 0,
            order_seen: 0,
            plan: None,
            overlays: Vec::new(),
            provisioned_at: None,
            least: Weight::NONE,
            held: None,
            holds: Holds::default(),
            going_back: None,
            refusal: Vec::new(),
            seen: Seen::default(),
            attention: None,
            intent: Intent::default(),
        }
    }
}

/// What became of a new deployment.
#[derive(Debug)]
pub enum Inserted {
    Created(Box<Versioned>),
    /// The service/environment was never declared.
    NotDeclared,
    /// One runs already.
    InProgress(Box<Deployment>),
}

/// An environment as declared.
#[derive(Debug, Clone)]
pub struct Environment {
    pub target: Target,
    pub revision: i32,
    /// The number that its next deployment will get.
    pub next_number: u32,
    pub declaration: Declaration,
    pub declared_at: Timestamp,
    pub declared_by: String,
    pub live: Option<Live>,
    /// The deployment that runs now.
    pub running: Option<DeploymentId>,
    /// The last one that ended.
    pub last: Option<DeploymentId>,
    /// The drill that runs, else the last that was not skipped.
    pub drill: Option<Box<Drill>>,
}

/// What a command found.
#[derive(Debug)]
pub enum Commanded {
    /// `changed` is false where it was so already.
    Done {
        deployment: Box<Versioned>,
        changed: bool,
    },
    Refused {
        refusal: Refusal,
        deployment: Box<Versioned>,
    },
    /// The record has another version than the one named: nothing was stored.
    Moved,
    NotFound,
}

/// An event as stored.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    pub id: i64,
    pub at: Timestamp,
    pub event: Event,
}

/// Which deployments a list shows, newest first.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub service: Option<ServiceName>,
    pub environment: Option<EnvironmentName>,
    pub status: Option<Status>,
    /// Only those created before this one.
    pub before: Option<DeploymentId>,
    /// At most this many, at most 100.
    pub limit: usize,
}

/// A token's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOwner {
    pub name: String,
    pub admin: bool,
}

/// Records. Postgres in production, memory in tests.
pub trait Store: Send + Sync + 'static {
    // Declarations.

    /// Stores a declaration as a new revision; `true` when the service/environment is new. An identical one makes no revision.
    /// `None` when `expected` names another revision than the present one: nothing was stored.
    fn declare(
        &self,
        target: &Target,
        declaration: &Declaration,
        by: &str,
        expected: Option<i32>,
    ) -> impl Future<Output = Result<Option<(Environment, bool)>, StoreError>> + Send;
    fn environment(&self, target: &Target) -> impl Future<Output = Result<Option<Environment>, StoreError>> + Send;
    /// All of them by name, from after `after` on, at most `limit`.
    fn environments(
        &self,
        after: Option<&Target>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Environment>, StoreError>> + Send;
    /// Revisions, newest first, at most `limit`.
    fn revisions(
        &self,
        target: &Target,
        before: Option<i32>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Environment>, StoreError>> + Send;

    // Deployments.

    /// Gives it the next number and the facts that only the records know (live group, `not_before` from the last use of its
    /// routes and `half_quiet`, what `abandon` let go), and stores it with its first event.
    fn insert(&self, new: NewDeployment, half_quiet: Duration) -> impl Future<Output = Result<Inserted, StoreError>> + Send;
    fn get(&self, id: DeploymentId) -> impl Future<Output = Result<Option<Versioned>, StoreError>> + Send;
    fn list(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Versioned>, StoreError>> + Send;
    /// The one that runs for a service/environment, else the last that ended.
    fn newest(&self, target: &Target) -> impl Future<Output = Result<Option<Versioned>, StoreError>> + Send;
    /// The first deployment of an image that succeeded here, and the one that had succeeded before that; newest first.
    fn first_release(&self, target: &Target, image: &Image) -> impl Future<Output = Result<Vec<Versioned>, StoreError>> + Send;
    /// Every deployment that has not ended, at most `limit`: what replicas keep warm for the rollback lane.
    fn running(&self, limit: usize) -> impl Future<Output = Result<Vec<Versioned>, StoreError>> + Send;
    /// The versions of all that have not ended, at most `limit`: what a replica compares with what it keeps warm.
    fn running_versions(&self, limit: usize) -> impl Future<Output = Result<Vec<Current>, StoreError>> + Send;
    /// Of these, those that there are; what cannot be read is left out. For whoever keeps many warm: one question instead of one each.
    fn some(&self, ids: &[DeploymentId]) -> impl Future<Output = Result<Vec<Versioned>, StoreError>> + Send;
    /// How many deployments ended how, by service/environment.
    fn outcomes(&self) -> impl Future<Output = Result<Vec<(Target, Status, u64)>, StoreError>> + Send;
    /// How long this installation's rollbacks took that had something to take back, newest first, at most `limit`. What was done
    /// outside was never asked for here, and is none of them.
    fn rollbacks(&self, limit: usize) -> impl Future<Output = Result<Vec<Took>, StoreError>> + Send;
    /// Abandoned deployments of this service/environment or on these routes: what they left is not ours to remove.
    fn let_go(
        &self,
        target: &Target,
        declaration: &Declaration,
    ) -> impl Future<Output = Result<Vec<DeploymentId>, StoreError>> + Send;
    /// Rule numbers that running deployments other than `but` hold on a listener.
    fn reserved(&self, listener: &ListenerRef, but: DeploymentId) -> impl Future<Output = Result<Vec<u32>, StoreError>> + Send;
    /// What is known of drills of this service/environment or on these routes.
    fn drilled(&self, target: &Target, routes: &[RouteRef]) -> impl Future<Output = Result<Drilled, StoreError>> + Send;
    /// Events after `after`, oldest first, at most `limit`.
    fn events(
        &self,
        id: DeploymentId,
        after: i64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<StoredEvent>, StoreError>> + Send;

    // The engine's side.

    /// Takes due deployments for `lease`; those this holder has a lease on already come at once when due. A claim puts off
    /// the due time to the lease's end, so that what is being worked on is not offered again until a command asks for it.
    /// Records that `known` has in their present version need not be read.
    fn claim_due(
        &self,
        holder: &HolderId,
        lease: Duration,
        limit: usize,
        known: &Bundles,
    ) -> impl Future<Output = Result<Vec<Claim>, StoreError>> + Send;
    /// How long until something is due that this holder may take; `None` when nothing is. By the database's clock.
    fn next_due(&self, holder: &HolderId) -> impl Future<Output = Result<Option<Duration>, StoreError>> + Send;
    /// Prolongs a lease; `None` when it is another's by now or the record has moved on.
    fn renew(
        &self,
        claim: &Claim,
        holder: &HolderId,
        lease: Duration,
    ) -> impl Future<Output = Result<Option<Instant>, StoreError>> + Send;
    /// Stores what a tick left, guarded by version and holder; lease released, next look set. The version rises by one, unless all
    /// was only [seen again](Settlement::is_seen_again).
    fn settle(&self, holder: &HolderId, settlement: Settlement<'_>)
    -> impl Future<Output = Result<Settled, StoreError>> + Send;
    /// Gives back every lease of this holder (at start: those it had before; at stop: those it has).
    fn release_all(&self, holder: &HolderId) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Says that this holder is alive; returns how many were seen within `alive_for`, this one included.
    fn heartbeat(&self, holder: &HolderId, alive_for: Duration) -> impl Future<Output = Result<u32, StoreError>> + Send;

    // Commands: they write intent, and any intent raises the version.

    /// Gives a command, checked against the record in the same transaction, and against the version that it `expected`.
    fn command(
        &self,
        id: DeploymentId,
        command: Command,
        given: Given,
        expected: Option<i64>,
    ) -> impl Future<Output = Result<Commanded, StoreError>> + Send;

    /// Waits until some deployment may have changed, or `at_most` has passed. Subscribed from the call on, not from the first
    /// poll: call it, look, then await it.
    fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send;
    /// Whether the database answers.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    // Tokens.

    /// Who owns the token with this SHA-256.
    fn token_owner(&self, sha256: [u8; 32]) -> impl Future<Output = Result<Option<TokenOwner>, StoreError>> + Send;
    /// All of them, at most `limit`: what replicas remember for the time when the database is away.
    fn token_owners(&self, limit: usize) -> impl Future<Output = Result<Vec<([u8; 32], TokenOwner)>, StoreError>> + Send;
}

/// What the rollback lane needs of the records, on connections of its own.
pub trait LaneStore: Send + Sync + 'static {
    /// Raises the intent to roll back where that is legal, unconditionally (it is absorbing): no version is named. Returns the
    /// record *as this commit left it*: what it says of the phase decides whether a shield is needed.
    fn raise_rollback(&self, id: DeploymentId, given: &Given) -> impl Future<Output = Result<Commanded, StoreError>> + Send;
    /// Records when the load balancer had accepted all that was asked of it; the first time stays. It may come after the end,
    /// and raises no version: no settle could miss it. `None` when no rollback was raised.
    fn accepted(&self, id: DeploymentId, at: Timestamp) -> impl Future<Output = Result<Option<Versioned>, StoreError>> + Send;
    /// The one that runs for a service/environment, else the last that ended, asked on the lane's own connections.
    fn newest(&self, target: &Target) -> impl Future<Output = Result<Option<Versioned>, StoreError>> + Send;
    /// Who owns the token with this SHA-256, asked on the lane's own connections.
    fn token_owner(&self, sha256: [u8; 32]) -> impl Future<Output = Result<Option<TokenOwner>, StoreError>> + Send;
}

/// Kinds of trouble with the provider, told apart by its error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Network, 5xx, timeout: whether it was applied is unknown.
    Transient,
    /// Refused for its rate: not applied.
    Throttled,
    /// No rights, or no valid credentials.
    Denied,
    /// Something it names is not there.
    Missing,
    /// The provider will never accept it as it is.
    Rejected,
    /// Known not to have been sent: the deadline had passed after signing.
    NotSent,
}

/// How recent a look has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recency {
    /// All of it is asked for after the call: what decisions hang on.
    Now,
    /// An answer that others asked for up to so long ago will do, and a group's own word on its servers' health.
    Within(Duration),
}

/// One failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {}{message}{}", code.as_ref().map(|c| format!("{c}: ")).unwrap_or_default(), request_id.as_ref().map(|r| format!(" (request {r})")).unwrap_or_default())]
pub struct Fault {
    pub kind: FaultKind,
    pub operation: &'static str,
    /// The provider's error code.
    pub code: Option<String>,
    pub message: String,
    pub request_id: Option<String>,
}

/// What the provider was asked since the process started, and what it may still be asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProviderFigures {
    pub calls: Vec<CallFigures>,
    pub budgets: Vec<BudgetFigures>,
}

/// Calls of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct CallFigures {
    /// `forward` or `rollback`: whose tokens they took.
    pub lane: &'static str,
    pub operation: &'static str,
    /// How often they ended so: `ok`, `throttled`, `denied`, `missing`, `rejected`, `transient`, `not_sent`.
    pub outcomes: Vec<(&'static str, u64)>,
    /// For the request budget, in all.
    pub waited: Duration,
    /// From the sending to the answer, in all; of those that were sent.
    pub took: Duration,
    /// Each with how many took at most so many seconds and more than the bound before; the last bound is infinity.
    pub took_at_most: Vec<(f64, u64)>,
}

/// One of the provider's buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetFigures {
    pub account: String,
    pub region: String,
    /// What it is for.
    pub class: &'static str,
    /// Calls that each lane could send at once.
    pub ready: [(&'static str, f64); 2],
    /// How fast forward work's part fills again: 1, and less while the provider throttles.
    pub pace: f64,
}

/// The provider. AWS in production, memory in tests.
pub trait Cloud: Send + Sync + 'static {
    /// How far our clock runs ahead of the provider's, as far as its answers told; zero when it runs behind.
    fn clock_lead(&self) -> Duration;
    /// Of every way in that shares its budget.
    fn figures(&self) -> ProviderFigures;
    /// Faults in a declaration that show without a look: references of the wrong form, another region.
    fn shape(&self, declaration: &Declaration) -> Vec<FieldFault>;
    /// Looks at everything a plan needs; changes nothing. Ends by `deadline`.
    ///
    /// What is not there or cannot be used comes as faults in the survey; an `Err` means that it could not be seen.
    fn survey(
        &self,
        inputs: Inputs<'_>,
        deployment: Option<DeploymentId>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Survey, Fault>> + Send;
    /// The same for a person, with what no plan hangs on; ends by `deadline`. Each look fails alone.
    fn survey_all(&self, inputs: Inputs<'_>, deadline: Instant) -> impl Future<Output = Inspection> + Send;
    /// The calls that a change of a plan's makes, in order, each with what it names. Nothing is sent.
    fn calls(&self, plan: &Plan, action: &Action) -> Vec<String>;
    /// The same of a drill on one route: to open its rule, and to delete it.
    fn drill_calls(&self, route: &RoutePlan) -> (String, String);
    /// Looks at what a deployment needs in its phase. What could not be seen is `Unknown` in the observation.
    fn observe(&self, d: &Deployment, recency: Recency, deadline: Instant) -> impl Future<Output = Observation> + Send;
    /// Keeps connections open for as many calls at once as a rollback of `d` would make. A failure costs nothing but the time
    /// that a later call takes to connect.
    fn warm(&self, d: &Deployment) -> impl Future<Output = ()> + Send;
    /// The lines by which a person with rights of their own sends all traffic back, were everything else down; none when nothing of
    /// `d` is at the provider yet. `old`: it may be otherwise by now, so that only what is right in every phase will do.
    fn by_hand(&self, d: &Deployment, old: bool) -> Vec<String>;
    /// Whether sessions stick to a side of the split that a plan's rules make; `None` where that cannot be told.
    fn is_sticky(&self, plan: &Plan) -> Option<bool>;
    /// Returns once an answer to a rollback's `action`, sent just now, is later than most of late, if it is worth sending it once
    /// more; never, while requests are scarce.
    fn overdue(&self, d: &Deployment, action: &Action) -> impl Future<Output = ()> + Send;
    /// Whether requests that a rollback makes are scarce: what is sent twice keeps another waiting.
    fn is_scarce(&self, d: &Deployment) -> bool;
    /// Makes one change. Calls of several routes go side by side. No call is sent after `deadline`; none is retried.
    fn apply(&self, d: &Deployment, action: &Action, deadline: Instant) -> impl Future<Output = Result<(), Fault>> + Send;
}
