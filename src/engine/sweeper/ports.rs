//! What the sweeper asks of the outside. Apart from the engine's other ports: nothing else needs it.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{
    domain::{
        declaration::{Declaration, Provider},
        ids::{DeploymentId, EnvironmentName, GroupName, HolderId, RouteRef, ServiceName, SlotRef, Target},
        orphan::{Facts, Found, Kind, Look, Orphan, Sighting, Step, Thing, Way},
    },
    engine::ports::{Fault, StoreError},
};

/// One place where services are declared to be, and what to look through there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As the provider tells it from others (`SweptCloud::whereabouts`).
    pub name: String,
    /// How it is reached; where several ways lead to it, the first by name: what is noted of it is noted under this one.
    pub provider: Provider,
    /// All ways to it, several roles in one account, say.
    pub ways: Vec<Provider>,
    /// The routes of all that is declared there: rules are looked for on their load balancers.
    pub routes: Vec<RouteRef>,
    /// Groups without tags of ours, looked for by name: the blues that were adopted, and replaced since.
    pub adopted: Vec<GroupName>,
}

/// A turn at sweeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Counts up with every turn: writes of an earlier one come too late.
    pub number: i64,
    /// When the turn ends, on this machine's monotonic clock: never too late.
    pub ends: Instant,
}

/// An orphan as one sweep saw it.
#[derive(Debug, Clone, Copy)]
pub struct Sighted<'a> {
    pub provider: &'a Provider,
    pub thing: &'a Thing,
    pub orphan: &'a Orphan,
    pub way: &'a Way,
    /// Two looks that are further apart than this begin a term anew.
    pub gap_max: Duration,
}

/// A sighting as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted {
    pub id: i64,
    pub sighting: Sighting,
}

/// An orphan as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub id: i64,
    pub provider: Provider,
    pub kind: Kind,
    /// A rule's reference, or a group's name.
    pub name: String,
    pub deployment: Option<DeploymentId>,
    pub target: Option<Target>,
    pub why: String,
    /// What the last look found against its removal.
    pub kept_because: Option<String>,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub clear_since: Option<Timestamp>,
    /// When its removal began.
    pub removing_since: Option<Timestamp>,
}

/// Which orphans a list shows, those seen longest first.
#[derive(Debug, Clone, Default)]
pub struct OrphanFilter {
    pub service: Option<ServiceName>,
    pub environment: Option<EnvironmentName>,
    /// Only those that have been seen for so long.
    pub seen_for: Duration,
    /// Only those after this one.
    pub after: i64,
    pub limit: usize,
}

/// How many orphans there are, and how many went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrphanFigures {
    pub listed: Vec<(Kind, u64)>,
    /// By all replicas, ever.
    pub removed: Vec<(Kind, u64)>,
}

/// The sweeper's records. Its turns and terms run by the store's own clock.
pub trait SweepStore: Send + Sync + 'static {
    /// Takes the turn if one is due and nobody has it: for `lease` at most.
    fn claim_sweep(&self, holder: &HolderId, lease: Duration)
    -> impl Future<Output = Result<Option<Sweep>, StoreError>> + Send;
    /// How long until a turn may be due.
    fn next_sweep(&self) -> impl Future<Output = Result<Duration, StoreError>> + Send;
    /// What the records say of each, in the same order. At most a few hundred at once.
    fn facts(&self, found: &[Found]) -> impl Future<Output = Result<Vec<Facts>, StoreError>> + Send;
    /// The blue that the first success of each service/environment replaced, with where it was.
    fn adopted(&self) -> impl Future<Output = Result<Vec<(Provider, GroupName)>, StoreError>> + Send;
    /// Notes that it was seen; `None` when the turn is over.
    fn sight(&self, sweep: Sweep, seen: Sighted<'_>) -> impl Future<Output = Result<Option<Noted>, StoreError>> + Send;
    /// Notes that its removal begins; `false` when the turn is over, and nothing may be changed.
    fn begin_removal(&self, sweep: Sweep, id: i64) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Forgets what this turn has not seen at the place, after it was looked through whole. What was being removed is told of
    /// in its deployment's history and counted, unless it is `claimed` and still there. Returns what has gone.
    fn forget(
        &self,
        sweep: Sweep,
        provider: &Provider,
        claimed: &[Thing],
    ) -> impl Future<Output = Result<Vec<Thing>, StoreError>> + Send;
    /// Ends the turn; the next one is due after `every`. What is noted of other places is forgotten.
    fn finish_sweep(
        &self,
        sweep: Sweep,
        places: &[Provider],
        every: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn orphans(&self, filter: &OrphanFilter) -> impl Future<Output = Result<Vec<Listed>, StoreError>> + Send;
    /// Those seen for `seen_for`, and those that went.
    fn orphan_figures(&self, seen_for: Duration) -> impl Future<Output = Result<OrphanFigures, StoreError>> + Send;
}

/// What the sweeper needs of the provider.
pub trait SweptCloud: Send + Sync + 'static {
    /// Where things are that are declared so: the same for all ways that lead to the same things.
    fn whereabouts(&self, declaration: &Declaration) -> String;
    /// All that carries this installation's tags at a place, and what of `adopted` is there. Whole, or a fault.
    fn inventory(
        &self,
        place: &Place,
        way: &Provider,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Found>, Fault>> + Send;
    /// A fresh look at one. `slot` is where a group was, or where a rule's base must forward.
    fn inspect(
        &self,
        place: &Place,
        way: &Provider,
        found: &Found,
        slot: &SlotRef,
        deadline: Instant,
    ) -> impl Future<Output = Look> + Send;
    /// Makes one change. No call is sent after `deadline`; none is retried.
    fn remove(
        &self,
        place: &Place,
        way: &Provider,
        thing: &Thing,
        step: &Step,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}
