//! The rollback lane: the one request that changes the cloud itself, queued behind nothing.
//!
//! The intent's commit and the deletion of the overlay go side by side, on connections and API tokens of their own. It needs no
//! lease, no tick and no look. What may be sent when is decided in `domain::lane`; here it is sent, tried again, and answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    api::{RollbackOf, RolledBack, Trouble},
    bundles::{Bundle, Bundles},
    ports::{Cloud, Commanded, Fault, FaultKind, LaneStore, StoreError, Versioned},
    settings::EngineSettings,
};
use crate::domain::{
    action::Action,
    command::Refusal,
    deployment::{Deployment, Given},
    ids::{DeploymentId, Target},
    lane,
    phase::Phase,
    retry, time,
};

/// The lane of one replica.
#[derive(Debug)]
pub struct Lane<L, C> {
    pub store: Arc<L>,
    pub cloud: Arc<C>,
    pub bundles: Arc<Bundles>,
    pub settings: EngineSettings,
}

/// The most pause between two attempts: somebody is waiting for the answer.
const RETRY_MAX: Duration = Duration::from_millis(500);

impl<L: LaneStore, C: Cloud> Lane<L, C> {
    /// Rolls back a deployment, or whatever runs for a service/environment.
    ///
    /// # Errors
    /// `NotFound`, an illegal phase, nothing to go back to, or a store that did not answer.
    pub async fn rollback(self: Arc<Self>, of: RollbackOf, given: Given) -> Result<RolledBack, Trouble> {
        // A task of its own: a client that hangs up does not stop a rollback half way.
        let lane = self.clone();
        let work = tokio::spawn(async move { lane.run(of, given).await });
        match work.await {
            Ok(answer) => answer,
            Err(panic) => Err(Trouble::Store(StoreError::Broken { doing: "rolling back", source: Box::new(panic) })),
        }
    }

    async fn run(&self, of: RollbackOf, given: Given) -> Result<RolledBack, Trouble> {
        let until = Instant::now() + self.settings.rollback_tries_for;
        let (id, bundle) = match of {
            RollbackOf::Deployment(id) => (id, self.bundles.of(id)),
            RollbackOf::Target(target) => return self.of_target(&target, given, until).await,
        };
        self.of_known(id, bundle, given, until).await
    }

    /// Whatever runs for a service/environment. A bundle saves the look-up; one of a deployment that has ended meanwhile says
    /// nothing of the one that runs now.
    async fn of_target(&self, target: &Target, given: Given, until: Instant) -> Result<RolledBack, Trouble> {
        if let Some(bundle) = self.bundles.running(target) {
            match self.of_known(bundle.deployment.id, Some(bundle), given.clone(), until).await {
                Ok(answer) if answer.deployment.phase.is_terminal() => {}
                Err(Trouble::NotFound(_)) => {}
                Err(Trouble::Refused { deployment, .. }) if deployment.phase.is_terminal() => {}
                answer => return answer,
            }
        }
        match self.store.newest(target).await? {
            Some(newest) => self.of_newest(newest, given, until).await,
            None => Err(Trouble::NotFound("service/environment with a deployment")),
        }
    }

    /// A service whose newest deployment had to be looked up: the running one, or the one that ended last.
    async fn of_newest(&self, newest: Versioned, given: Given, until: Instant) -> Result<RolledBack, Trouble> {
        let d = newest.deployment;
        if !d.phase.is_terminal() {
            return self.of_known(d.id, None, given, until).await;
        }
        let ended_long_ago = d.ended_at.is_none_or(|at| time::between(at, given.at) > self.settings.rollback_repeats_for);
        if d.phase == Phase::RolledBack && !ended_long_ago {
            return Ok(RolledBack { deployment: Box::new(d), mode: "instant", accepted: true, durable: true });
        }
        Err(Trouble::NothingToRollBackTo)
    }

    async fn of_known(
        &self,
        id: DeploymentId,
        bundle: Option<Bundle>,
        given: Given,
        until: Instant,
    ) -> Result<RolledBack, Trouble> {
        let early = bundle.as_ref().and_then(|bundle| {
            let action = lane::at_once(&bundle.deployment, bundle.confirmed.elapsed(), &self.settings.timing)?;
            Some((bundle.deployment.clone(), action))
        });
        // Not sent, and not tried again, for longer than a copy is trusted: later the base may be on green.
        let early_until = until.min(Instant::now() + self.settings.timing.commit_delay / 2);
        let call = async {
            match &early {
                Some((deployment, action)) => self.insist(deployment, action, early_until).await.is_ok(),
                None => false,
            }
        };
        let (committed, early_accepted) = tokio::join!(self.store.raise_rollback(id, &given), call);
        let committed = match committed? {
            Commanded::Done { deployment, .. } => deployment.deployment,
            Commanded::Refused { refusal, deployment } => return Err(refused(refusal, deployment.deployment)),
            Commanded::Moved | Commanded::NotFound => return Err(Trouble::NotFound("deployment")),
        };
        let done = early.filter(|_| early_accepted).map(|(_, action)| action);
        let accepted = self.finish(&committed, done.as_ref(), until).await;
        info!(deployment = %id, target = %committed.target, number = committed.number, by = given.by, accepted, "rollback asked for");
        if !accepted {
            return Ok(RolledBack { deployment: Box::new(committed), mode: "instant", accepted: false, durable: true });
        }
        let deployment = self.note_accepted(committed).await;
        Ok(RolledBack { deployment: Box::new(deployment), mode: "instant", accepted: true, durable: true })
    }

    /// Sends what the committed phase asks for beyond what was accepted already, in order. `false` when time ran out: the
    /// intent is durable, and the engine goes on.
    async fn finish(&self, committed: &Deployment, done: Option<&Action>, until: Instant) -> bool {
        for action in lane::after_commit(committed) {
            if done != Some(&action) && self.insist(committed, &action, until).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Writes down when the load balancer had accepted it. Not worth failing an answer for: the engine sees it too.
    async fn note_accepted(&self, committed: Deployment) -> Deployment {
        let nothing_to_note = committed.phase.is_terminal()
            || committed.intent.rollback_accepted_at.is_some()
            || committed.going_back.as_ref().is_some_and(|back| back.accepted_at.is_some())
            || committed.overlays.is_empty();
        if nothing_to_note {
            return committed;
        }
        let at = Timestamp::now();
        let mut answered = committed;
        match self.store.accepted(answered.id, at).await {
            Ok(Some(stored)) => stored.deployment,
            Ok(None) => {
                answered.intent.rollback_accepted_at = Some(at);
                answered
            }
            Err(error) => {
                warn!(deployment = %answered.id, %error, "the acceptance of a rollback could not be written down");
                answered.intent.rollback_accepted_at = Some(at);
                answered
            }
        }
    }

    /// Tries one action until it is accepted, refused for good, or out of time.
    async fn insist(&self, d: &Deployment, action: &Action, until: Instant) -> Result<(), Fault> {
        let mut attempt = 0_u32;
        loop {
            attempt = attempt.saturating_add(1);
            let deadline = until.min(Instant::now() + self.settings.act_timeout);
            let fault = match self.cloud.apply(d, action, deadline).await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            };
            warn!(deployment = %d.id, action = action.name(), attempt, %fault, "the rollback was not accepted yet");
            // What the provider will never accept, a repeat does not change.
            let hopeless = matches!(fault.kind, FaultKind::Rejected | FaultKind::Denied);
            let pause = retry::pause(attempt, RETRY_MAX, rand::random());
            if hopeless || Instant::now() + pause >= until {
                return Err(fault);
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// How often the lane's connections are used when nobody rolls back: often enough that none is closed for being idle.
const WARM_EVERY: Duration = Duration::from_secs(30);
/// Providers kept warm at a time.
const WARM_MAX: usize = 100;

/// Keeps the lane's connections open wherever something runs that may have to go back, until `stop` is cancelled.
pub async fn keep_warm<L: LaneStore, C: Cloud>(lane: Arc<Lane<L, C>>, stop: CancellationToken) {
    let mut turns = tokio::time::interval(WARM_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick() => {}
        }
        let running = lane.bundles.one_of_each_provider(WARM_MAX);
        futures::future::join_all(running.iter().map(|d| lane.cloud.warm(d))).await;
    }
}

fn refused(refusal: Refusal, deployment: Deployment) -> Trouble {
    Trouble::Refused { refusal, deployment: Box::new(deployment) }
}
