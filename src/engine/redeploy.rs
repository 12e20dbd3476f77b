//! A rollback of what has ended: the deployment that brings the image before it back.

use super::{
    api::{Actor, Created, Mode, RolledBack, Steps, Trouble, Wanted},
    app::App,
    drills::ports::DrillStore,
    ports::{Cloud, Environment, LaneStore, Store},
    sweeper::ports::SweepStore,
};
use crate::domain::{ids::Target, redeploy};

impl<S: Store + SweepStore + DrillStore, L: LaneStore, C: Cloud> App<S, L, C> {
    /// Nothing runs, so nothing is hurried: all checks of any deployment are made, and whatever speaks against it is said.
    pub(super) async fn redeploy(&self, by: Actor, target: Target, reason: Option<String>) -> Result<RolledBack, Trouble> {
        let environment = self.environment_of(&target).await?;
        let wanted = Wanted { reason, ..self.before(&environment).await? };
        match self.create(by, wanted).await? {
            Created::New(deployment) => {
                Ok(RolledBack { deployment, mode: Mode::Redeploy, accepted: false, durable: true, routes: Vec::new() })
            }
            // What is live has changed under us, to just what was to be gone back to.
            Created::Noop(_) => Err(Trouble::NothingToRollBackTo),
        }
    }

    pub(super) async fn plan_redeploy(&self, target: Target) -> Result<Steps, Trouble> {
        let environment = self.environment_of(&target).await?;
        self.plan_create(self.before(&environment).await?).await
    }

    /// The deployment that would take back what is live.
    pub(super) async fn before(&self, environment: &Environment) -> Result<Wanted, Trouble> {
        let live = environment.live.as_ref().ok_or(Trouble::NothingToRollBackTo)?;
        let target = &environment.target;
        let history = self.store.first_release(target, &live.image).await?;
        let history: Vec<_> = history.into_iter().map(|read| read.deployment).collect();
        let declared = &environment.declaration;
        let before = redeploy::image_before(live, &history, declared).ok_or(Trouble::NothingToRollBackTo)?;
        Ok(Wanted {
            target: target.clone(),
            image: before.image,
            version: before.version,
            reason: None,
            strategy: Some(redeploy::strategy(&declared.strategy)),
            takes_back: Some(live.number),
        })
    }
}
