//! The use cases behind the edge. Each looks at the records, at most once at the cloud (5 s), and writes intent or a new row.
//!
//! No answer fails because the cloud is down: what could not be checked is said, and `pending` checks again.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tokio::sync::Notify;
use tracing::warn;
use uuid::Uuid;

use super::{
    api::{
        Actor, Api, Created, Declared, Drilling, Figures, LaneFigures, ListedOrphan, Ready, RollbackOf, RolledBack, Shown,
        Standing, Steps, Trouble, Wanted,
    },
    bundles::Bundles,
    drills::ports::DrillStore,
    driver::Pulse,
    journal::Journal,
    lane::Lane,
    ports::{
        Cloud, Commanded, Environment, Filter, Inserted, LaneStore, ProviderFigures, Store, StoredEvent, TokenOwner, Versioned,
    },
    preflight,
    readiness::Past,
    rollback_times::RollbackTimes,
    settings::EngineSettings,
    steps,
    sweeper::ports::{Listed, OrphanFilter, SweepStore},
    tokens::Tokens,
};
use crate::domain::{
    command::{self, Command, Refusal},
    declaration::Declaration,
    deployment::Given,
    drill::Drill,
    ids::{DeploymentId, DrillId, Image, Target},
    lane,
    preflight::{Outcome, OwnHosts, Preflight},
    redeploy::Way,
    time,
    timing::Timing,
};

/// Store, cloud and lane, put together.
#[derive(Debug)]
pub struct App<S, L, C> {
    pub store: Arc<S>,
    pub cloud: Arc<C>,
    pub lane: Arc<Lane<L, C>>,
    pub bundles: Arc<Bundles>,
    pub journal: Arc<Journal>,
    pub times: Arc<RollbackTimes>,
    pub tokens: Arc<Tokens>,
    pub pulse: Arc<Pulse>,
    pub past: Arc<Past>,
    /// Wakes this replica's drills.
    pub drilled: Arc<Notify>,
    pub settings: EngineSettings,
    pub own: OwnHosts,
}

impl<S: Store + SweepStore + DrillStore, L: LaneStore, C: Cloud> App<S, L, C> {
    async fn declare(
        &self,
        by: Actor,
        target: Target,
        declaration: Declaration,
        expected: Option<i32>,
    ) -> Result<Declared, Trouble> {
        let before = self.store.environment(&target).await?;
        let found = if before.as_ref().is_some_and(|environment| environment.running.is_some()) {
            // While a deployment runs the routes and slots are in use, by us: only what shows without a look is judged.
            let faults = self.cloud.shape(&declaration);
            if faults.is_empty() { Preflight::unknown("a deployment runs") } else { Preflight::refused(faults) }
        } else {
            self.preflight_of(&target, &declaration, before.as_ref(), None, None, false).await?
        };
        if !found.faults.is_empty() {
            return Err(Trouble::Invalid(found.faults));
        }
        let checked = found.plan.is_some();
        if !checked {
            warn!(%target, why = preflight::unseen(&found), "a declaration was stored unchecked");
        }
        let Some((environment, new)) = self.store.declare(&target, &declaration, &by.name, expected).await? else {
            return Err(Trouble::Precondition);
        };
        let warnings = found.told(Outcome::Warning).map(|check| check.detail.clone()).collect();
        Ok(Declared { environment, new, checked, warnings })
    }

    async fn plan_declare(&self, target: Target, declaration: Declaration) -> Result<Steps, Trouble> {
        let stored = self.store.environment(&target).await?;
        if let Some(running) = self.running(stored.as_ref()).await? {
            return Err(running);
        }
        self.planned(self.preflight_of(&target, &declaration, stored.as_ref(), None, None, false).await?)
    }

    /// Every check, whatever it found.
    async fn doctor(&self, target: Target, image: Option<Image>) -> Result<Steps, Trouble> {
        let environment = self.open_for(&target).await?;
        let declaration = &environment.declaration;
        Ok(self.told(self.preflight_of(&target, declaration, Some(&environment), image.as_ref(), None, false).await?))
    }

    fn planned(&self, found: Preflight) -> Result<Steps, Trouble> {
        if found.faults.is_empty() { Ok(self.told(found)) } else { Err(Trouble::Invalid(found.faults)) }
    }

    pub(super) fn timing(&self) -> Timing {
        Timing { clock_lead: self.cloud.clock_lead(), ..self.settings.timing }
    }

    pub(super) async fn environment_of(&self, target: &Target) -> Result<Environment, Trouble> {
        self.store.environment(target).await?.ok_or(Trouble::NotFound("service/environment"))
    }

    async fn running(&self, environment: Option<&Environment>) -> Result<Option<Trouble>, Trouble> {
        let Some(id) = environment.and_then(|environment| environment.running) else { return Ok(None) };
        Ok(self.store.get(id).await?.map(|running| Trouble::InProgress(Box::new(running.deployment))))
    }

    /// The environment, if nothing stands in the way before the cloud is asked.
    pub(super) async fn open_for(&self, target: &Target) -> Result<Environment, Trouble> {
        let environment = self.environment_of(target).await?;
        match self.running(Some(&environment)).await? {
            Some(running) => Err(running),
            None => Ok(environment),
        }
    }

    async fn check_wanted(&self, wanted: &Wanted, environment: &Environment) -> Result<Preflight, Trouble> {
        let (image, strategy) = (Some(&wanted.image), wanted.strategy.as_ref());
        let declaration = wanted.declared(&environment.declaration);
        self.preflight_of(&wanted.target, &declaration, Some(environment), image, strategy, wanted.takes_back.is_some()).await
    }

    pub(super) async fn create(&self, by: Actor, wanted: Wanted) -> Result<Created, Trouble> {
        let environment = self.open_for(&wanted.target).await?;
        if environment.live.as_ref().is_some_and(|live| live.image == wanted.image) {
            return Ok(Created::Noop(Box::new(environment)));
        }
        let found = self.check_wanted(&wanted, &environment).await?;
        if !found.faults.is_empty() {
            return Err(Trouble::Invalid(found.faults));
        }
        if found.plan.is_none() {
            warn!(target = %wanted.target, why = preflight::unseen(&found), "a deployment was accepted unchecked");
        }
        let new = wanted.into_new(DeploymentId::new(Uuid::now_v7()), &by, Timestamp::now());
        match self.store.insert(new, self.timing().half_quiet()).await? {
            Inserted::Created(created) => Ok(Created::New(Box::new(created.deployment))),
            Inserted::NotDeclared => Err(Trouble::NotFound("service/environment")),
            Inserted::InProgress(running) => Err(Trouble::InProgress(running)),
        }
    }

    pub(super) async fn plan_create(&self, wanted: Wanted) -> Result<Steps, Trouble> {
        let environment = self.open_for(&wanted.target).await?;
        self.planned(self.check_wanted(&wanted, &environment).await?)
    }

    async fn command(
        &self,
        by: Actor,
        id: DeploymentId,
        command: Command,
        reason: Option<String>,
        expected: Option<i64>,
    ) -> Result<(Versioned, bool), Trouble> {
        if command == Command::Abandon && !by.admin {
            return Err(Trouble::Forbidden);
        }
        let given = Given { by: by.name, reason, at: Timestamp::now() };
        match self.store.command(id, command, given, expected).await? {
            Commanded::Done { deployment, changed } => Ok((*deployment, changed)),
            Commanded::Refused { refusal, deployment } => {
                Err(Trouble::Refused { refusal, deployment: Box::new(deployment.deployment) })
            }
            Commanded::Moved => Err(Trouble::Precondition),
            Commanded::NotFound => Err(Trouble::NotFound("deployment")),
        }
    }

    async fn rollback(&self, by: Actor, of: RollbackOf, reason: Option<String>) -> Result<RolledBack, Trouble> {
        let given = Given { by: by.name.clone(), reason: reason.clone(), at: Timestamp::now() };
        let asked = || self.lane.clone().rollback(of.clone(), given.clone());
        match (asked().await, &of) {
            // No deployment ever: whether the service is known makes the difference between a typo and a first day.
            (Err(Trouble::NotFound(_)), RollbackOf::Target(target)) => {
                self.environment_of(target).await?;
                Err(Trouble::NothingToRollBackTo)
            }
            (Err(Trouble::NothingToRollBackTo), RollbackOf::Target(target)) => {
                match self.redeploy(by, target.clone(), reason).await {
                    // Somebody was quicker, most likely with this very call: that one is what is meant now.
                    Err(Trouble::InProgress(running)) if running.target == *target => match asked().await {
                        Err(Trouble::NothingToRollBackTo) => Err(Trouble::InProgress(running)),
                        answer => answer,
                    },
                    answer => answer,
                }
            }
            (answer, _) => answer,
        }
    }

    async fn plan_rollback(&self, of: RollbackOf) -> Result<Steps, Trouble> {
        let Shown { read, as_of } = match of {
            RollbackOf::Deployment(id) => self.read(id).await?,
            RollbackOf::Target(target) => {
                let newest = self.newest(&target).await?.ok_or(Trouble::NothingToRollBackTo)?;
                match self.way(&newest.read.deployment) {
                    Way::Back => newest,
                    Way::Again => return Ok(steps::of_repeat(&newest.read.deployment)),
                    Way::Anew => return self.plan_redeploy(target).await,
                }
            }
        };
        let (d, now) = (read.deployment, Timestamp::now());
        let given = Given { by: String::new(), reason: None, at: now };
        match command::give(&d, Command::Rollback, given) {
            Ok(_) if d.phase.is_terminal() => Ok(steps::of_repeat(&d)),
            Ok(_) => {
                let away = as_of.map(|at| time::between(at, now));
                let orders = lane::would_send(&d, away, &self.timing(), now);
                Ok(steps::of_rollback(&d, &orders, &|plan, action| self.cloud.calls(plan, action)))
            }
            Err(refusal @ (Refusal::IllegalInPhase { .. } | Refusal::GateNotOpen | Refusal::DriftStays { .. })) => {
                Err(Trouble::Refused { refusal, deployment: Box::new(d) })
            }
        }
    }

    async fn figures(&self) -> Result<Figures, Trouble> {
        let running = self.store.running(self.settings.bundles_max).await?.into_iter().map(|read| read.deployment).collect();
        let orphans = self.store.orphan_figures(self.settings.sweeper.terms.report_after).await?;
        let drills = self.store.drill_figures().await?;
        Ok(Figures { running, ended: self.store.outcomes().await?, tick_age: self.pulse.age(), orphans, drills })
    }

    async fn orphans(&self, filter: OrphanFilter) -> Result<Vec<ListedOrphan>, Trouble> {
        let filter = OrphanFilter { seen_for: self.settings.sweeper.terms.report_after, ..filter };
        Ok(self.store.orphans(&filter).await?.into_iter().map(|seen| self.with_fate(seen)).collect())
    }

    fn with_fate(&self, seen: Listed) -> ListedOrphan {
        let sweeper = &self.settings.sweeper;
        let kept_because = match &seen.kept_because {
            Some(because) => Some(because.clone()),
            None if !sweeper.enabled => Some("sweeper.enabled is off: nothing looks for orphans any more".to_owned()),
            None if !sweeper.terms.remove => Some("sweeper.remove is off: orphans are listed only".to_owned()),
            None => None,
        };
        let remove_at = sweeper.terms.remove_at(seen.clear_since).filter(|_| kept_because.is_none());
        ListedOrphan { seen, remove_at, kept_because }
    }
}

impl<S: Store + SweepStore + DrillStore, L: LaneStore, C: Cloud> Api for App<S, L, C> {
    fn declare(
        &self,
        by: Actor,
        target: Target,
        declaration: Declaration,
        expected: Option<i32>,
    ) -> BoxFuture<'_, Result<Declared, Trouble>> {
        Self::declare(self, by, target, declaration, expected).boxed()
    }

    fn environment(&self, target: Target) -> BoxFuture<'_, Result<Environment, Trouble>> {
        async move { self.environment_of(&target).await }.boxed()
    }

    fn environments(&self, after: Option<Target>, limit: usize) -> BoxFuture<'_, Result<Vec<Environment>, Trouble>> {
        async move { Ok(self.store.environments(after.as_ref(), limit).await?) }.boxed()
    }

    fn revisions(&self, target: Target, before: Option<i32>, limit: usize) -> BoxFuture<'_, Result<Vec<Environment>, Trouble>> {
        async move { Ok(self.store.revisions(&target, before, limit).await?) }.boxed()
    }

    fn create(&self, by: Actor, wanted: Wanted) -> BoxFuture<'_, Result<Created, Trouble>> {
        Self::create(self, by, wanted).boxed()
    }

    fn plan_create(&self, wanted: Wanted) -> BoxFuture<'_, Result<Steps, Trouble>> {
        Self::plan_create(self, wanted).boxed()
    }

    fn plan_declare(&self, target: Target, declaration: Declaration) -> BoxFuture<'_, Result<Steps, Trouble>> {
        Self::plan_declare(self, target, declaration).boxed()
    }

    fn doctor(&self, target: Target, image: Option<Image>) -> BoxFuture<'_, Result<Steps, Trouble>> {
        Self::doctor(self, target, image).boxed()
    }

    fn deployment(&self, id: DeploymentId) -> BoxFuture<'_, Result<Shown, Trouble>> {
        self.read(id).boxed()
    }

    fn deployments(&self, filter: Filter) -> BoxFuture<'_, Result<Vec<Shown>, Trouble>> {
        async move { self.list(&filter).await }.boxed()
    }

    fn events(&self, id: DeploymentId, after: i64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredEvent>, Trouble>> {
        async move {
            self.read(id).await?;
            Ok(self.store.events(id, after, limit).await?)
        }
        .boxed()
    }

    fn changed(&self, at_most: Duration) -> BoxFuture<'_, ()> {
        self.store.changed(at_most).boxed()
    }

    fn command(
        &self,
        by: Actor,
        id: DeploymentId,
        command: Command,
        reason: Option<String>,
        expected: Option<i64>,
    ) -> BoxFuture<'_, Result<(Versioned, bool), Trouble>> {
        Self::command(self, by, id, command, reason, expected).boxed()
    }

    fn rollback(&self, by: Actor, of: RollbackOf, reason: Option<String>) -> BoxFuture<'_, Result<RolledBack, Trouble>> {
        Self::rollback(self, by, of, reason).boxed()
    }

    fn readiness(&self, target: Target) -> BoxFuture<'_, Result<Standing, Trouble>> {
        Self::readiness(self, target).boxed()
    }

    fn plan_rollback(&self, of: RollbackOf) -> BoxFuture<'_, Result<Steps, Trouble>> {
        Self::plan_rollback(self, of).boxed()
    }

    fn begin_drill(&self, by: Actor, target: Target, reason: Option<String>) -> BoxFuture<'_, Result<Drilling, Trouble>> {
        Self::begin_drill(self, by, target, reason).boxed()
    }

    fn plan_drill(&self, target: Target) -> BoxFuture<'_, Result<Steps, Trouble>> {
        Self::plan_drill(self, target).boxed()
    }

    fn drill(&self, id: DrillId) -> BoxFuture<'_, Result<Drill, Trouble>> {
        Self::drill(self, id).boxed()
    }

    fn drills(&self, target: Target, before: Option<DrillId>, limit: usize) -> BoxFuture<'_, Result<Vec<Drill>, Trouble>> {
        Self::drills(self, target, before, limit).boxed()
    }

    fn orphans(&self, filter: OrphanFilter) -> BoxFuture<'_, Result<Vec<ListedOrphan>, Trouble>> {
        Self::orphans(self, filter).boxed()
    }

    fn token_owner(&self, sha256: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenOwner>, Trouble>> {
        async move { Ok(self.store.token_owner(sha256).await?) }.boxed()
    }

    fn token_owner_at_once(&self, sha256: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenOwner>, Trouble>> {
        async move { Ok(self.lane.store.token_owner(sha256).await?) }.boxed()
    }

    fn known_owner(&self, sha256: [u8; 32], at_most: Duration) -> Option<TokenOwner> {
        Self::known_owner(self, &sha256, at_most)
    }

    fn ready(&self) -> BoxFuture<'_, Result<Ready, Trouble>> {
        Self::ready(self).boxed()
    }

    fn database_is_away(&self) -> bool {
        self.bundles.database_is_away()
    }

    fn lane(&self) -> LaneFigures {
        self.lane_figures()
    }

    fn figures(&self) -> BoxFuture<'_, Result<Figures, Trouble>> {
        Self::figures(self).boxed()
    }

    fn provider(&self) -> ProviderFigures {
        self.cloud.figures()
    }
}
