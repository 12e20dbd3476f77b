//! What one rollback asks of the load balancer: sent in order, tried again, and gone on with after the answer.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{info, warn};

use super::Lane;
use crate::{
    domain::{action::Action, deployment::Deployment, ids::DeploymentId, retry},
    engine::ports::{Cloud, Fault, FaultKind, LaneStore},
};

/// The most pause between two attempts: somebody is waiting for the answer.
const RETRY_MAX: Duration = Duration::from_millis(500);

/// Now, as exactly as the database keeps it: what is answered is what is read later.
pub(super) fn moment() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// What is to be sent for one rollback.
#[derive(Debug)]
pub(super) struct Work {
    pub d: Deployment,
    /// Each once the one before is accepted on every route; when all are, so is the rollback.
    pub wanted: VecDeque<Action>,
    /// After that, if time is left.
    pub after: Option<Action>,
    /// Nothing is sent later than this: what comes late could meet the next deployment.
    pub until: Instant,
}

/// Whose work goes on after its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Under(Arc<Mutex<HashSet<DeploymentId>>>);

/// Taken for as long as this lives.
struct Taken(Under, DeploymentId);

impl Under {
    /// `None` while somebody else has it.
    fn take(&self, id: DeploymentId) -> Option<Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id).then(|| Taken(self.clone(), id))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl<L: LaneStore, C: Cloud> Lane<L, C> {
    /// Sends what is wanted, in order. `false` when time ran out, or it will never be accepted as it is.
    pub(super) async fn send(&self, work: &mut Work, until: Instant) -> bool {
        while let Some(action) = work.wanted.front() {
            if self.insist(&work.d, action, until.min(work.until)).await.is_err() {
                return false;
            }
            work.wanted.pop_front();
        }
        true
    }

    /// Goes on after the answer. The engine does too, once it has the intent; this needs no database.
    pub(super) async fn go_on(&self, mut work: Work) {
        if work.wanted.is_empty() && work.after.is_none() {
            return;
        }
        // One is enough: whoever asks again while it goes on tries for as long as they wait.
        let Some(_taken) = self.under.take(work.d.id) else { return };
        if !work.wanted.is_empty() {
            let until = work.until;
            if !self.send(&mut work, until).await {
                warn!(deployment = %work.d.id, target = %work.d.target, "the rollback was not accepted in the lane's time; the engine goes on");
                return;
            }
            let at = moment();
            info!(deployment = %work.d.id, target = %work.d.target, number = work.d.number, "the rollback is accepted");
            self.note_accepted(work.d.id, at).await;
        }
        if let Some(action) = work.after.take() {
            // Under a shield: the engine deletes it as well.
            let _ = self.insist(&work.d, &action, work.until).await;
        }
    }

    /// Writes down when the load balancer had accepted it: in the journal while it waits there, else on record.
    pub(super) async fn note_accepted(&self, id: DeploymentId, at: Timestamp) -> Option<Deployment> {
        if self.journal.accepted(id, at).await {
            return None;
        }
        match self.store.accepted(id, at).await {
            Ok(stored) => stored.map(|stored| stored.deployment),
            // Not worth failing an answer for: the engine sees it too.
            Err(error) => {
                warn!(deployment = %id, %error, "the acceptance of a rollback could not be written down");
                None
            }
        }
    }

    /// Tries one action until it is accepted, refused for good, or out of time.
    pub(super) async fn insist(&self, d: &Deployment, action: &Action, until: Instant) -> Result<(), Fault> {
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
