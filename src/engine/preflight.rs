//! The look before a change: declaring, creating, dry runs and the doctor judge by the same checks, so that none of them promises
//! what another refuses. No answer waits longer than `survey_timeout`, and none fails because the cloud is down.

use std::time::Instant;

use uuid::Uuid;

use super::{
    api::{Steps, Trouble},
    app::App,
    drills::ports::DrillStore,
    ports::{Cloud, Environment, LaneStore, Store},
    steps,
    sweeper::ports::{OrphanFilter, SweepStore},
};
use crate::domain::{
    declaration::{Declaration, Strategy},
    ids::{DeploymentId, Image, Target},
    plan::Inputs,
    preflight::{self, Check, Facts, Outcome, Preflight},
};

/// Orphans that one check names.
const ORPHANS_MAX: usize = 20;

impl<S: Store + SweepStore + DrillStore, L: LaneStore, C: Cloud> App<S, L, C> {
    /// Looks, and judges what it saw.
    pub(super) async fn preflight(&self, inputs: Inputs<'_>) -> Result<Preflight, Trouble> {
        let Inputs { target, declaration, .. } = inputs;
        let shape = self.cloud.shape(declaration);
        if !shape.is_empty() {
            return Ok(Preflight::refused(shape));
        }
        let patience = self.settings.survey_timeout;
        let look = self.cloud.survey_all(inputs, Instant::now() + patience);
        let Ok(mut seen) = tokio::time::timeout(patience, look).await else {
            return Ok(Preflight::unknown("the provider did not answer in time"));
        };
        // It has no id yet; none holds anything under this one.
        let nobody = DeploymentId::new(Uuid::nil());
        for route in seen.survey.routes.iter_mut().flatten() {
            route.reserved = self.store.reserved(&route.listener, nobody).await?;
        }
        let let_go = self.store.let_go(target, declaration).await?;
        let orphans = OrphanFilter {
            service: Some(target.service.clone()),
            environment: Some(target.environment.clone()),
            seen_for: self.settings.sweeper.terms.report_after,
            limit: ORPHANS_MAX,
            ..OrphanFilter::default()
        };
        let orphans: Vec<_> = self.store.orphans(&orphans).await?.into_iter().map(|orphan| orphan.name).collect();
        Ok(preflight::examine(&inputs, &seen, Facts { let_go: &let_go, orphans: &orphans, own: &self.own }))
    }

    /// Of a declaration, before or after it is stored. What is checked hangs on no image, so any will do when none is given.
    pub(super) async fn preflight_of(
        &self,
        target: &Target,
        declaration: &Declaration,
        stored: Option<&Environment>,
        image: Option<&Image>,
        strategy: Option<&Strategy>,
        takes_back: bool,
    ) -> Result<Preflight, Trouble> {
        let any = Image::Template(declaration.server_group.launch_template.version);
        let inputs = Inputs {
            target,
            // It is given when a deployment is stored; until then the next one is as good a guess as any for names in a plan.
            number: stored.map_or(1, |environment| environment.next_number),
            image: image.unwrap_or(&any),
            declaration,
            strategy: strategy.unwrap_or(&declaration.strategy),
            live: stored.and_then(|environment| environment.live.as_ref()),
            takes_back,
        };
        self.preflight(inputs).await
    }

    /// All checks, and the steps where nothing is known to stand in their way.
    pub(super) fn told(&self, found: Preflight) -> Steps {
        let calls = |plan: &_, action: &_| self.cloud.calls(plan, action);
        let steps = found.plan.as_ref().map_or_else(Vec::new, |plan| steps::of_deployment(plan, &self.settings.timing, &calls));
        let details = |result| found.told(result).map(|check| check.detail.clone()).collect();
        Steps { steps, warnings: details(Outcome::Warning), unknown: details(Outcome::Unknown), checks: found.checks }
    }
}

/// Why a plan could not be made though nothing stands in its way.
pub(super) fn unseen(found: &Preflight) -> String {
    let told = |check: &Check| check.detail.clone();
    found.told(Outcome::Failed).chain(found.told(Outcome::Unknown)).map(told).collect::<Vec<_>>().join("; ")
}
