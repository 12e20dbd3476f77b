//! The use cases behind the edge. Each looks at the records, at most once at the cloud (5 s), and writes intent or a new row.
//!
//! No answer fails because the cloud is down: what could not be checked is said, and `pending` checks again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use tracing::warn;
use uuid::Uuid;

use super::{
    api::{Actor, Api, Created, Declared, Figures, ListedOrphan, RollbackOf, RolledBack, Steps, Trouble, Wanted},
    bundles::Bundles,
    driver::Pulse,
    lane::Lane,
    ports::{
        Cloud, Commanded, Environment, Filter, Inserted, LaneStore, ProviderFigures, Store, StoredEvent, TokenOwner, Versioned,
    },
    settings::EngineSettings,
    steps,
    sweeper::ports::{Listed, OrphanFilter, SweepStore},
};
use crate::domain::{
    command::{self, Command, Refusal},
    declaration::Declaration,
    deployment::Given,
    ids::{DeploymentId, Image, Target},
    plan::{self, Inputs, Plan},
    survey::{FieldFault, Survey},
    timing::Timing,
};

/// Store, cloud and lane, put together.
#[derive(Debug)]
pub struct App<S, L, C> {
    pub store: Arc<S>,
    pub cloud: Arc<C>,
    pub lane: Arc<Lane<L, C>>,
    pub bundles: Arc<Bundles>,
    pub pulse: Arc<Pulse>,
    pub settings: EngineSettings,
}

/// What a look before a change found.
enum Checked {
    Fine(Box<Survey>, Box<Plan>),
    Faults(Vec<FieldFault>),
    /// The cloud did not answer; its words.
    Unknown(String),
}

impl<S: Store + SweepStore, L: LaneStore, C: Cloud> App<S, L, C> {
    async fn check(&self, inputs: Inputs<'_>) -> Checked {
        let shape = self.cloud.shape(inputs.declaration);
        if !shape.is_empty() {
            return Checked::Faults(shape);
        }
        let deadline = Instant::now() + self.settings.survey_timeout;
        let look = self.cloud.survey(inputs, None, deadline);
        let mut survey = match tokio::time::timeout(self.settings.survey_timeout, look).await {
            Ok(Ok(survey)) => survey,
            Ok(Err(fault)) => return Checked::Unknown(fault.to_string()),
            Err(_) => return Checked::Unknown("the provider did not answer in time".to_owned()),
        };
        // What ended deployments of ours left over is no fault of the caller's: `pending` removes it first.
        for route in survey.routes.iter_mut().flatten() {
            route.others.retain(|rule| rule.owner.as_ref().is_none_or(|owner| !owner.on_our_route || !owner.this_installation));
        }
        match plan::make(&inputs, &survey) {
            Ok(plan) => Checked::Fine(Box::new(survey), Box::new(plan)),
            Err(faults) => Checked::Faults(faults),
        }
    }

    async fn declare(
        &self,
        by: Actor,
        target: Target,
        declaration: Declaration,
        expected: Option<i32>,
    ) -> Result<Declared, Trouble> {
        let before = self.store.environment(&target).await?;
        let checked = if before.as_ref().is_some_and(|environment| environment.running.is_some()) {
            // While a deployment runs the routes and slots are in use, by us: only what shows without a look is judged.
            let faults = self.cloud.shape(&declaration);
            if faults.is_empty() { Checked::Unknown("a deployment runs".to_owned()) } else { Checked::Faults(faults) }
        } else {
            // Any image will do: what is checked here hangs on none.
            let image = Image::Template(declaration.server_group.launch_template.version);
            let live = before.as_ref().and_then(|environment| environment.live.as_ref());
            let strategy = &declaration.strategy;
            let (target, declaration) = (&target, &declaration);
            let number = before.as_ref().map_or(1, |environment| environment.next_number);
            self.check(Inputs { target, number, image: &image, declaration, strategy, live }).await
        };
        let checked = match checked {
            Checked::Faults(faults) => return Err(Trouble::Invalid(faults)),
            Checked::Fine(..) => true,
            Checked::Unknown(why) => {
                warn!(%target, why, "a declaration was stored unchecked");
                false
            }
        };
        let Some((environment, new)) = self.store.declare(&target, &declaration, &by.name, expected).await? else {
            return Err(Trouble::Precondition);
        };
        Ok(Declared { environment, new, checked })
    }

    async fn environment_of(&self, target: &Target) -> Result<Environment, Trouble> {
        self.store.environment(target).await?.ok_or(Trouble::NotFound("service/environment"))
    }

    /// What stands in the way before the cloud is asked.
    async fn open_for(&self, wanted: &Wanted) -> Result<Environment, Trouble> {
        let environment = self.environment_of(&wanted.target).await?;
        if let Some(id) = environment.running
            && let Some(running) = self.store.get(id).await?
        {
            return Err(Trouble::InProgress(Box::new(running.deployment)));
        }
        Ok(environment)
    }

    async fn check_wanted(&self, wanted: &Wanted, environment: &Environment) -> Checked {
        let declaration = &environment.declaration;
        let strategy = wanted.strategy.as_ref().unwrap_or(&declaration.strategy);
        let live = environment.live.as_ref();
        // The number is given when it is stored; until then the next one is as good a guess as any for names in a plan.
        let number = environment.next_number;
        self.check(Inputs { target: &wanted.target, number, image: &wanted.image, declaration, strategy, live }).await
    }

    async fn create(&self, by: Actor, wanted: Wanted) -> Result<Created, Trouble> {
        let environment = self.open_for(&wanted).await?;
        if environment.live.as_ref().is_some_and(|live| live.image == wanted.image) {
            return Ok(Created::Noop(Box::new(environment)));
        }
        match self.check_wanted(&wanted, &environment).await {
            Checked::Faults(faults) => return Err(Trouble::Invalid(faults)),
            Checked::Unknown(why) => warn!(target = %wanted.target, why, "a deployment was accepted unchecked"),
            Checked::Fine(..) => {}
        }
        let new = wanted.into_new(DeploymentId::new(Uuid::now_v7()), &by, Timestamp::now());
        let timing = Timing { clock_lead: self.cloud.clock_lead(), ..self.settings.timing };
        match self.store.insert(new, timing.half_quiet()).await? {
            Inserted::Created(created) => Ok(Created::New(Box::new(created.deployment))),
            Inserted::NotDeclared => Err(Trouble::NotFound("service/environment")),
            Inserted::InProgress(running) => Err(Trouble::InProgress(running)),
        }
    }

    async fn plan_create(&self, wanted: Wanted) -> Result<Steps, Trouble> {
        let environment = self.open_for(&wanted).await?;
        match self.check_wanted(&wanted, &environment).await {
            Checked::Faults(faults) => Err(Trouble::Invalid(faults)),
            Checked::Fine(survey, plan) => Ok(steps::of_deployment(&plan, &survey, &self.settings.timing)),
            Checked::Unknown(why) => Ok(Steps { steps: Vec::new(), warnings: Vec::new(), unknown: vec![why] }),
        }
    }

    async fn read(&self, id: DeploymentId) -> Result<Versioned, Trouble> {
        self.store.get(id).await?.ok_or(Trouble::NotFound("deployment"))
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
        let given = Given { by: by.name, reason, at: Timestamp::now() };
        let target = match &of {
            RollbackOf::Target(target) => Some(target.clone()),
            RollbackOf::Deployment(_) => None,
        };
        match (self.lane.clone().rollback(of, given).await, target) {
            // No deployment ever: whether the service is known makes the difference between a typo and a first day.
            (Err(Trouble::NotFound(_)), Some(target)) => {
                self.environment_of(&target).await?;
                Err(Trouble::NothingToRollBackTo)
            }
            (answer, _) => answer,
        }
    }

    async fn plan_rollback(&self, of: RollbackOf) -> Result<Steps, Trouble> {
        let id = match of {
            RollbackOf::Deployment(id) => id,
            RollbackOf::Target(target) => self.environment_of(&target).await?.running.ok_or(Trouble::NothingToRollBackTo)?,
        };
        let d = self.read(id).await?.deployment;
        let given = Given { by: String::new(), reason: None, at: Timestamp::now() };
        match command::give(&d, Command::Rollback, given) {
            Ok(_) => Ok(steps::of_rollback(&d)),
            Err(refusal @ (Refusal::IllegalInPhase { .. } | Refusal::GateNotOpen | Refusal::DriftStays { .. })) => {
                Err(Trouble::Refused { refusal, deployment: Box::new(d) })
            }
        }
    }

    async fn figures(&self) -> Result<Figures, Trouble> {
        let running = self.store.running(self.settings.bundles_max).await?.into_iter().map(|read| read.deployment).collect();
        let orphans = self.store.orphan_figures(self.settings.sweeper.terms.report_after).await?;
        Ok(Figures { running, ended: self.store.outcomes().await?, tick_age: self.pulse.age(), orphans })
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

impl<S: Store + SweepStore, L: LaneStore, C: Cloud> Api for App<S, L, C> {
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

    fn deployment(&self, id: DeploymentId) -> BoxFuture<'_, Result<Versioned, Trouble>> {
        self.read(id).boxed()
    }

    fn deployments(&self, filter: Filter) -> BoxFuture<'_, Result<Vec<Versioned>, Trouble>> {
        async move { Ok(self.store.list(&filter).await?) }.boxed()
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

    fn plan_rollback(&self, of: RollbackOf) -> BoxFuture<'_, Result<Steps, Trouble>> {
        Self::plan_rollback(self, of).boxed()
    }

    fn orphans(&self, filter: OrphanFilter) -> BoxFuture<'_, Result<Vec<ListedOrphan>, Trouble>> {
        Self::orphans(self, filter).boxed()
    }

    fn token_owner(&self, sha256: [u8; 32]) -> BoxFuture<'_, Result<Option<TokenOwner>, Trouble>> {
        async move { Ok(self.store.token_owner(sha256).await?) }.boxed()
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), Trouble>> {
        async move { Ok(self.store.ping().await?) }.boxed()
    }

    fn figures(&self) -> BoxFuture<'_, Result<Figures, Trouble>> {
        Self::figures(self).boxed()
    }

    fn provider(&self) -> ProviderFigures {
        self.cloud.figures()
    }
}
