//! Whether one could go back now: the record or what is remembered of it, what rollbacks took before, and the exact calls.
//!
//! `domain::readiness` judges. Nothing here looks at the provider: the last look is in the record, with its time.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::{
    api::{Mode, Shown, Standing, Trouble, Wanted},
    app::App,
    drills::ports::DrillStore,
    ports::{Cloud, LaneStore, Store, StoreError},
    sweeper::ports::SweepStore,
};
use crate::domain::{
    deployment::Deployment,
    ids::Target,
    lane,
    readiness::{self, Measured, State},
    redeploy::{self, Before, Way},
    time,
};

/// So many of the newest rollbacks are measured by.
const PAST_MAX: usize = 200;

/// What rollbacks took, as the database last said: it is known without it too.
#[derive(Debug, Default)]
pub struct Past(Mutex<Option<Measured>>);

impl Past {
    fn last(&self) -> Option<Measured> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, measured: Option<Measured>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = measured;
    }
}

impl<S: Store + SweepStore + DrillStore, L: LaneStore, C: Cloud> App<S, L, C> {
    pub(super) async fn readiness(&self, target: Target) -> Result<Standing, Trouble> {
        let (newest, history) = tokio::join!(self.newest(&target), self.asked(self.store.rollbacks(PAST_MAX)));
        let newest = newest?;
        match history {
            Ok(history) => self.past.keep(readiness::measured(&history)),
            // What was measured before still holds.
            Err(error) => tracing::debug!(%error, "what rollbacks took could not be read"),
        }
        let way = newest.as_ref().map(|shown| self.way(&shown.read.deployment));
        let before = if way == Some(Way::Anew) { self.deployed_anew(&target).await? } else { None };
        // Not without the records: what was drilled tells nothing of now.
        let drill = match self.asked(self.store.environment(&target)).await {
            Ok(environment) => environment.and_then(|environment| environment.drill),
            Err(_) => None,
        };
        Ok(Standing { drill, ..self.standing(target, newest, way, before) })
    }

    /// What a rollback of a service/environment meets: the deployment that runs, else the last that ended; while the database is away
    /// the one that is remembered.
    pub(super) async fn newest(&self, target: &Target) -> Result<Option<Shown>, Trouble> {
        match self.asked(self.store.newest(target)).await {
            Ok(Some(newest)) => Ok(Some(self.on_record(newest))),
            // A typo is told from a first day.
            Ok(None) => self.environment_of(target).await.map(|_| None),
            Err(away @ StoreError::Unreachable { .. }) => {
                self.bundles.running(target).map(|bundle| Some(self.remembered(bundle))).ok_or(away.into())
            }
            Err(broken) => Err(broken.into()),
        }
    }

    /// How a rollback that came now would be answered.
    pub(super) fn way(&self, newest: &Deployment) -> Way {
        redeploy::way(newest, Timestamp::now(), self.settings.rollback_repeats_for)
    }

    /// What a rollback would deploy, where nothing runs. `None` is said of what was read, and of nothing else.
    async fn deployed_anew(&self, target: &Target) -> Result<Option<Before>, Trouble> {
        let environment = self.environment_of(target).await?;
        match self.before(&environment).await {
            Ok(Wanted { image, version, .. }) => Ok(Some(Before { image, version })),
            Err(Trouble::NothingToRollBackTo) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    fn standing(&self, target: Target, newest: Option<Shown>, way: Option<Way>, before: Option<Before>) -> Standing {
        let (timing, now) = (self.timing(), Timestamp::now());
        let (deployment, as_of) = newest.map(|shown| (Box::new(shown.read.deployment), shown.as_of)).unzip();
        let as_of = as_of.flatten();
        let readiness = readiness::of_service(deployment.as_deref().zip(way), before.as_ref(), as_of, &timing, now);
        let running = deployment.as_deref().filter(|_| way == Some(Way::Back));
        let plan = running.and_then(|d| d.plan.as_ref());
        let age = as_of.map(|at| time::between(at, now));
        let orders = running.map(|d| lane::would_send(d, age, &timing, now)).unwrap_or_default();
        let calls = plan.map(|plan| orders.iter().flat_map(|action| self.cloud.calls(plan, action)).collect());
        let possible = |mode| (readiness.state != State::No).then_some(mode);
        let mode = way.and_then(|way| match way {
            Way::Back => possible(Mode::Instant),
            Way::Again => possible(Mode::Redeploy),
            Way::Anew => before.map(|_| Mode::Redeploy),
        });
        Standing {
            mode,
            blue: running.and_then(|d| readiness::blue(d, &timing, now)),
            sticky: plan.and_then(|plan| self.cloud.is_sticky(plan)),
            measured: self.past.last(),
            drill: None,
            calls: calls.unwrap_or_default(),
            by_hand: running.map(|d| self.cloud.by_hand(d, as_of.is_some())).unwrap_or_default(),
            target,
            deployment,
            readiness,
            as_of,
        }
    }
}
