//! What one rollback asks of the load balancer: sent in order, tried again, and gone on with after the answer.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::{Either, join_all, select};
use jiff::Timestamp;
use tracing::{info, warn};

use super::Lane;
use crate::{
    domain::{action::Action, deployment::Deployment, ids::DeploymentId, lane, retry},
    engine::{
        api::RouteOutcome,
        bundles::Bundle,
        ports::{Cloud, Fault, FaultKind, LaneStore},
    },
};

/// The most pause between two attempts: somebody is waiting for the answer.
const RETRY_MAX: Duration = Duration::from_millis(500);

/// In less no load balancer has answered yet.
const SHORTEST_TRY: Duration = Duration::from_millis(50);

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
    wanted: VecDeque<Action>,
    /// The first of them as long as there were any.
    first: Option<Action>,
    /// What became of the first of them, by route.
    routes: BTreeMap<usize, Result<(), String>>,
    /// After that, if time is left.
    after: Option<Action>,
    /// When it was accepted, if the database is still to be told.
    pub note: Option<Timestamp>,
    /// Nothing is sent later than this: what comes late could meet the next deployment.
    pub until: Instant,
    /// What is gone by, where that is not the record: it may be prolonged.
    pub bundle: Option<Bundle>,
}

impl Work {
    pub(super) fn new(d: Deployment, wanted: impl IntoIterator<Item = Action>, after: Option<Action>, until: Instant) -> Self {
        let wanted: VecDeque<_> = wanted.into_iter().collect();
        Self { d, first: wanted.front().cloned(), wanted, routes: BTreeMap::new(), after, note: None, until, bundle: None }
    }

    /// What became of it, for whoever is to send the same by the record.
    pub(super) fn done(self) -> Ahead {
        let accepted = if self.wanted.is_empty() { self.first.iter().cloned().collect() } else { Vec::new() };
        Ahead { first: self.first, routes: self.routes, accepted }
    }

    /// Sends nothing again that was accepted before the record came, on no route.
    pub(super) fn without(mut self, done: Ahead) -> Self {
        if self.first.is_some() && self.first == done.first {
            self.routes = done.routes;
        }
        self.wanted.retain(|action| !done.accepted.contains(action));
        self
    }

    /// What became of it so far. The routes of an action that is over are all accepted.
    pub(super) fn outcomes(&self) -> Vec<RouteOutcome> {
        let one = |(i, outcome): (&usize, &Result<(), String>)| {
            let route = self.d.declaration.routes.get(*i)?.clone();
            // What follows has not been tried where this was not accepted everywhere.
            let accepted = outcome.is_ok() && self.wanted.len() <= 1;
            Some(RouteOutcome { route, accepted, said: outcome.clone().err() })
        };
        self.routes.iter().filter_map(one).collect()
    }
}

/// What was sent side by side with the record, or in its absence.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    first: Option<Action>,
    /// What became of it, by route.
    routes: BTreeMap<usize, Result<(), String>>,
    /// What was accepted on every route.
    pub accepted: Vec<Action>,
}

/// Whose work goes on after its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Under(Arc<Mutex<HashSet<DeploymentId>>>);

/// Taken for as long as this lives.
pub(super) struct Taken(Under, DeploymentId);

impl Under {
    /// `None` while somebody else has it.
    pub(super) fn take(&self, id: DeploymentId) -> Option<Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id).then(|| Taken(self.clone(), id))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl<L: LaneStore, C: Cloud> Lane<L, C> {
    /// Goes on after the answer. The engine does too, once it has the intent; this needs no database.
    pub(super) async fn go_on(&self, mut work: Work) {
        if let Some(at) = work.note.take() {
            self.note_accepted(work.d.id, at).await;
        }
        if work.wanted.is_empty() && work.after.is_none() {
            return;
        }
        // One is enough: whoever asks again while it goes on tries for as long as they wait.
        if let Some(taken) = self.under.take(work.d.id) {
            self.bring_about(work, &taken).await;
        }
    }

    /// Until nothing is left of it, or it may not go on.
    pub(super) async fn bring_about(&self, mut work: Work, _taken: &Taken) {
        if !work.wanted.is_empty() {
            if !self.persist(&mut work).await {
                return;
            }
            info!(deployment = %work.d.id, target = %work.d.target, number = work.d.number, "the rollback is accepted");
            let at = self.journal.accepts(work.d.id, moment());
            self.note_accepted(work.d.id, at).await;
        }
        if let Some(action) = work.after.take() {
            // Under a shield: the engine deletes it as well.
            let _ = self.insist(&work.d, &action, work.until).await;
        }
    }

    /// Tries until it is accepted, the lane's time is over, or the engine has brought it about.
    async fn persist(&self, work: &mut Work) -> bool {
        let mut known = false;
        while Instant::now() < work.until || self.prolong(work).await {
            let turn = Instant::now() + self.settings.rollback_tries_for;
            if self.send(work, turn).await {
                return true;
            }
            let bundle = self.bundles.of(work.d.id);
            let is_over = bundle
                .as_ref()
                .map_or(known, |bundle| bundle.deployment.going_back.as_ref().is_some_and(|back| back.observed_at.is_some()));
            if is_over {
                return false;
            }
            known |= bundle.is_some();
            // What is refused for good may be allowed again by somebody.
            tokio::time::sleep_until(turn.min(work.until).into()).await;
        }
        warn!(deployment = %work.d.id, target = %work.d.target, "the rollback was not accepted in the lane's time; the engine goes on");
        false
    }

    /// Writes down when the load balancer had accepted it: in the journal while it waits there, else on record.
    async fn note_accepted(&self, id: DeploymentId, at: Timestamp) {
        if !self.journal.accepted(id, at).await
            && let Err(error) = self.store.accepted(id, at).await
        {
            // The engine will, when it sees it.
            warn!(deployment = %id, %error, "the acceptance of a rollback could not be written down");
        }
        self.journal.noted(id);
    }
}

/// What needs no record.
impl<L: Send + Sync, C: Cloud> Lane<L, C> {
    /// Sends what is wanted, in order, on all routes side by side. `false` when time ran out, or one will never be accepted as it
    /// is.
    pub(super) async fn send(&self, work: &mut Work, until: Instant) -> bool {
        let until = until.min(work.until);
        let _sends = self.journal.sending.begin(work.d.id);
        while let Some(action) = work.wanted.front() {
            let (d, routes) = (&work.d, &work.routes);
            let open = lane::by_route(action, d).into_iter().filter(|(i, _)| !routes.get(i).is_some_and(Result::is_ok));
            let sent = open.map(|(i, part)| async move {
                let outcome = self.insist(d, &part, until).await;
                (i, outcome.map_err(|fault| fault.to_string()))
            });
            let outcomes = join_all(sent).await;
            work.routes.extend(outcomes);
            if work.routes.values().any(Result::is_err) {
                return false;
            }
            work.wanted.pop_front();
            if !work.wanted.is_empty() {
                work.routes.clear();
            }
        }
        true
    }

    /// Tries one action until it is accepted, refused for good, or out of time.
    pub(super) async fn insist(&self, d: &Deployment, action: &Action, until: Instant) -> Result<(), Fault> {
        let (mut attempt, mut before) = (0_u32, None);
        loop {
            attempt = attempt.saturating_add(1);
            let deadline = until.min(Instant::now() + self.settings.act_timeout);
            let Err(fault) = self.hedged(d, action, deadline).await else { return Ok(()) };
            // The last one may only have come too late: what the ones before it met is what is told.
            let fault = before.take().filter(|_| fault.kind == FaultKind::NotSent).unwrap_or(fault);
            warn!(deployment = %d.id, action = action.name(), attempt, %fault, "the rollback was not accepted yet");
            // What the provider will never accept, a repeat does not change.
            let hopeless = matches!(fault.kind, FaultKind::Rejected | FaultKind::Denied);
            let left = until.saturating_duration_since(Instant::now());
            if hopeless || left.is_zero() {
                return Err(fault);
            }
            // To the end: a pause that leaves no time for another try would be time in which nothing is tried.
            let pause = retry::pause(attempt, RETRY_MAX, rand::random()).min(left / 2);
            if left < SHORTEST_TRY {
                tokio::time::sleep(left).await;
                return Err(fault);
            }
            before = Some(fault);
            tokio::time::sleep(pause).await;
        }
    }

    /// Sends it, and once more when its answer is late: one lost packet is no reason to wait for a timeout. Both are idempotent.
    async fn hedged(&self, d: &Deployment, action: &Action, deadline: Instant) -> Result<(), Fault> {
        let mut first = pin!(self.cloud.apply(d, action, deadline));
        tokio::select! {
            outcome = &mut first => return outcome,
            () = self.cloud.overdue(d, action) => {}
        }
        let second = pin!(self.cloud.apply(d, action, deadline));
        match select(first, second).await {
            Either::Left((Ok(()), _)) | Either::Right((Ok(()), _)) => Ok(()),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }
}
