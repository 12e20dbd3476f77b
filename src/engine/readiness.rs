//! Whether one could go back now: the record or what is remembered of it, what rollbacks took before, and the exact calls.
//!
//! `domain::readiness` judges. Nothing here looks at the provider: the last look is in the record, with its time.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::{
    api::{Mode, Shown, Standing, Trouble, Wanted},
    app::App,
    ports::{Cloud, LaneStore, Store, StoreError},
    sweeper::ports::SweepStore,
};
use crate::domain::{
    ids::Target,
    lane,
    phase::Phase,
    readiness::{self, Measured, State},
    redeploy::Before,
    time,
    timing::Timing,
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

impl<S: Store + SweepStore, L: LaneStore, C: Cloud> App<S, L, C> {
    pub(super) async fn readiness(&self, target: Target) -> Result<Standing, Trouble> {
        let newest = match self.asked(self.lane.store.newest(&target)).await {
            Ok(Some(newest)) => Some(self.on_record(newest)),
            // A typo is told from a first day.
            Ok(None) => self.environment_of(&target).await.map(|_| None)?,
            Err(away @ StoreError::Unreachable { .. }) => {
                Some(self.bundles.running(&target).map(|bundle| self.remembered(bundle)).ok_or(away)?)
            }
            Err(broken) => return Err(broken.into()),
        };
        match self.asked(self.store.rollbacks(PAST_MAX)).await {
            Ok(history) => self.past.keep(readiness::measured(&history)),
            // What was measured before still holds.
            Err(error) => tracing::debug!(%error, "what rollbacks took could not be read"),
        }
        let before = self.deployed_anew(&target, newest.as_ref()).await;
        Ok(self.standing(target, newest, before))
    }

    /// What a rollback would deploy, where nothing runs. Right after one it is answered with that one.
    async fn deployed_anew(&self, target: &Target, newest: Option<&Shown>) -> Option<Before> {
        let ended = newest.map(|shown| &shown.read.deployment).filter(|d| d.phase.is_terminal())?;
        let lately = |at| time::between(at, Timestamp::now()) <= self.settings.rollback_repeats_for;
        if ended.phase == Phase::RolledBack && ended.ended_at.is_some_and(lately) {
            return None;
        }
        let environment = self.environment_of(target).await.ok()?;
        let Wanted { image, version, .. } = self.before(&environment).await.ok()?;
        Some(Before { image, version })
    }

    fn standing(&self, target: Target, newest: Option<Shown>, before: Option<Before>) -> Standing {
        let (timing, now) = (Timing { clock_lead: self.cloud.clock_lead(), ..self.settings.timing }, Timestamp::now());
        let (deployment, as_of) = newest.map(|shown| (Box::new(shown.read.deployment), shown.as_of)).unzip();
        let as_of = as_of.flatten();
        let readiness = readiness::of_service(deployment.as_deref(), before.as_ref(), as_of, &timing, now);
        let running = deployment.as_deref().filter(|d| !d.phase.is_terminal());
        let plan = running.and_then(|d| d.plan.as_ref());
        let age = as_of.map(|at| time::between(at, now));
        let orders = running.map(|d| lane::would_send(d, age, &timing, now)).unwrap_or_default();
        let calls = plan.map(|plan| orders.iter().flat_map(|action| self.cloud.calls(plan, action)).collect());
        let instant = running.is_some() && readiness.state != State::No;
        Standing {
            mode: if instant { Some(Mode::Instant) } else { before.map(|_| Mode::Redeploy) },
            blue: running.and_then(|d| readiness::blue(d, &timing, now)),
            sticky: plan.and_then(|plan| self.cloud.is_sticky(plan)),
            measured: self.past.last(),
            calls: calls.unwrap_or_default(),
            by_hand: running.map(|d| self.cloud.by_hand(d, as_of.is_some())).unwrap_or_default(),
            target,
            deployment,
            readiness,
            as_of,
        }
    }
}
