//! One tick of one deployment: look, decide, then act *or* record, and settle.
//!
//! A tick changes the world or the record, never both. What was seen is stored with either; that is no advance. If the
//! process dies anywhere in here, the next tick looks again and repeats an idempotent action at worst.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{debug, info, warn};

use super::{
    age::Confirmed,
    bundles::Bundles,
    journal::Journal,
    ports::{Claim, Cloud, Commanded, Fault, FaultKind, Recency, Settled, Settlement, Store, StoreError},
    rollback_times::RollbackTimes,
    settings::EngineSettings,
};
use crate::domain::{
    action::Action,
    command::Command,
    decide::{Decision, decide},
    deployment::{Deployment, ProviderTrouble},
    event::{self, Event},
    ids::HolderId,
    invariants::{self, Violation},
    observation::{Known, Observation},
    phase::Phase,
    retry, time,
    timing::Timing,
    watch,
};

/// Works on deployments for one replica.
#[derive(Debug)]
pub struct Worker<S, C> {
    pub store: Arc<S>,
    pub cloud: Arc<C>,
    pub holder: HolderId,
    pub journal: Arc<Journal>,
    pub times: Arc<RollbackTimes>,
    /// What is known of records need not be read again.
    pub bundles: Arc<Bundles>,
    pub settings: EngineSettings,
}

/// The record with what a look showed, and the look.
struct Found {
    d: Deployment,
    o: Observation,
    /// All is as the record says.
    well: bool,
    timing: Timing,
    now: Timestamp,
}

/// What a tick leaves to be stored.
struct Left {
    next: Deployment,
    events: Vec<Event>,
    due: Duration,
}

impl<S: Store, C: Cloud> Worker<S, C> {
    /// Runs one tick and settles it.
    ///
    /// # Errors
    /// When the store could not be reached: the lease then runs out, and the next look starts afresh.
    pub async fn tick(&self, claim: Claim) -> Result<Settled, StoreError> {
        if self.raises_what_waits(&claim.deployment).await? {
            return Ok(Settled::Lost);
        }
        let lease_ends = claim.lease_ends.checked_sub(self.settings.lease_margin).unwrap_or(claim.lease_ends);
        let look_until = lease_ends.min(Instant::now() + self.settings.look_timeout);
        let (glanced, Found { d, o, well, timing, now }) = match self.glance(&claim, look_until).await {
            Some(found) => (true, found),
            None => (false, self.look(&claim, look_until).await?),
        };
        let decision = self.unless_sent(&d, decide(&d, &o, &timing, now));
        debug!(deployment = %d.id, target = %d.target, number = d.number, phase = d.phase.name(), ?decision, "decided");
        let left = match decision {
            // `decide` is the only place that chooses; this is a second pair of eyes that may only say no.
            Decision::Act(action) => match invariants::permits(&d, &o, &action, &timing, now) {
                Ok(()) => self.act(&claim, d, &action, lease_ends).await?,
                Err(violation) => self.forbidden(&claim, d, &violation),
            },
            Decision::Advance(next) => {
                Left { events: event::between(&claim.deployment, &next), next: *next, due: Duration::ZERO }
            }
            Decision::Wait { until } => {
                let pace = watch::pace(&d, well, &timing, now);
                // A time that has passed is no reason to look again at once: what it waits for was not there.
                let due = until.filter(|until| *until > now).map_or(pace, |until| pace.min(time::between(now, until)));
                Left { events: event::between(&claim.deployment, &d), next: d, due }
            }
            Decision::Done => Left { events: Vec::new(), next: d, due: self.settings.poll_every },
        };
        for event in &left.events {
            info!(deployment = %left.next.id, target = %left.next.target, number = left.next.number, kind = event.kind, "{}", event.message);
        }
        self.settle(&claim, &left, glanced).await
    }

    /// What the lane sends just now is left to it and looked at again, while a second call would keep another rollback waiting. Else both
    /// send it: the engine may have what the lane lacks, such as a session.
    fn unless_sent(&self, d: &Deployment, decision: Decision) -> Decision {
        let is_the_lanes = |action: &Action| matches!(action, Action::RaiseShields { .. } | Action::DeleteRules { .. });
        match &decision {
            Decision::Act(action) if is_the_lanes(action) && self.journal.sending.has(d.id) && self.cloud.is_scarce(d) => {
                Decision::Wait { until: None }
            }
            _ => decision,
        }
    }

    async fn settle(&self, claim: &Claim, left: &Left, glanced: bool) -> Result<Settled, StoreError> {
        let settlement = Settlement::new(claim, &left.next, &left.events, left.due, glanced);
        let (seen_again, began) = (settlement.is_seen_again(), Confirmed::now());
        let settled = self.store.settle(&self.holder, settlement).await?;
        if settled == Settled::Stored && !seen_again {
            self.times.note(&claim.deployment, &left.next);
            // It went in over the version that was claimed: nobody can have given a command in between.
            self.bundles.learn(&left.next, claim.version + 1, began);
        }
        Ok(settled)
    }

    /// A rollback that this replica took while the database was away goes on record before anything else is done; `true` when that
    /// changed the record.
    async fn raises_what_waits(&self, d: &Deployment) -> Result<bool, StoreError> {
        let Some(entry) = self.journal.of(d.id).filter(|_| d.intent.rollback.is_none()) else { return Ok(false) };
        let commanded = self.store.command(d.id, Command::Rollback, entry.given, None).await?;
        Ok(matches!(commanded, Commanded::Done { changed: true, .. }))
    }

    /// A look that others share, if the deployment only waits: what it shows, if that is that all is well.
    async fn glance(&self, claim: &Claim, deadline: Instant) -> Option<Found> {
        let age = watch::may_share(&claim.deployment, &self.timing(), claim.clock.now())?;
        let o = self.cloud.observe(&claim.deployment, Recency::Within(age), deadline).await;
        let found = self.found(claim, o);
        let nothing_to_do = matches!(decide(&found.d, &found.o, &found.timing, found.now), Decision::Wait { .. });
        (found.well && nothing_to_do).then_some(found)
    }

    /// A look of its own.
    async fn look(&self, claim: &Claim, deadline: Instant) -> Result<Found, StoreError> {
        let d = &claim.deployment;
        let mut o = self.cloud.observe(d, Recency::Now, deadline).await;
        self.add_reserved(d, &mut o).await?;
        Ok(self.found(claim, o))
    }

    fn found(&self, claim: &Claim, o: Observation) -> Found {
        let (timing, now) = (self.timing(), claim.clock.now());
        let d = claim.deployment.clone().having_seen(&o, &timing, now);
        let well = watch::all_is_well(&d, &o);
        Found { d, o, well, timing, now }
    }

    fn timing(&self) -> Timing {
        Timing { clock_lead: self.cloud.clock_lead(), ..self.settings.timing }
    }

    /// Numbers held by others are known to the records alone; a survey must not offer them. Drills, too: asked for after the
    /// deployment is on record, as a drill asks for deployments after it is.
    async fn add_reserved(&self, d: &Deployment, o: &mut Observation) -> Result<(), StoreError> {
        if let Some(Known::Seen(survey)) = &mut o.survey {
            for route in survey.routes.iter_mut().flatten() {
                route.reserved = self.store.reserved(&route.listener, d.id).await?;
            }
            survey.drilled = self.store.drilled(&d.target, &d.declaration.routes).await?;
        }
        Ok(())
    }

    async fn act(&self, claim: &Claim, d: Deployment, action: &Action, lease_ends: Instant) -> Result<Left, StoreError> {
        // A third of the lease gone with looking: make sure that it is still ours, and the record as read, before anything is sent.
        let mut deadline = lease_ends;
        let fresh_until = claim.lease_ends.checked_sub(self.settings.lease * 2 / 3).unwrap_or(claim.lease_ends);
        if Instant::now() > fresh_until {
            match self.store.renew(claim, &self.holder, self.settings.lease).await? {
                Some(ends) => deadline = ends.checked_sub(self.settings.lease_margin).unwrap_or(ends),
                None => return Ok(Left { next: d, events: Vec::new(), due: Duration::ZERO }),
            }
        }
        let started = Instant::now();
        let result = self.cloud.apply(&d, action, deadline.min(started + self.settings.act_timeout)).await;
        Ok(self.note(claim, d, action, result, started.elapsed()))
    }

    /// A choice that an invariant forbids is a bug: it is not carried out, and a person is called.
    fn forbidden(&self, claim: &Claim, mut next: Deployment, violation: &Violation) -> Left {
        warn!(deployment = %next.id, target = %next.target, number = next.number, %violation, "not done");
        next.attention = Some(format!("{violation}; it was not done: this is a bug in Cutover, please report it"));
        Left { events: event::between(&claim.deployment, &next), next, due: self.settings.timing.watch_every }
    }

    /// Writes down how a change was received; whether it *is* so, only the next look tells.
    fn note(&self, claim: &Claim, mut next: Deployment, action: &Action, result: Result<(), Fault>, took: Duration) -> Left {
        let mut events = Vec::new();
        let due = match result {
            Ok(()) => {
                debug!(deployment = %next.id, action = action.name(), ?took, "accepted");
                next.seen.trouble = None;
                if let (Phase::RollingBack { .. }, Action::DeleteRules { .. }, Some(back)) =
                    (&next.phase, action, next.going_back.as_mut())
                {
                    back.accepted_at = back.accepted_at.or_else(|| Some(claim.clock.now()));
                }
                self.settings.timing.look_every / 4
            }
            // Nothing was sent and nothing is wrong: the next tick has a new lease.
            Err(Fault { kind: FaultKind::NotSent, .. }) => Duration::ZERO,
            Err(fault) => {
                let trouble = trouble_after(next.seen.trouble.as_ref(), &fault);
                warn!(deployment = %next.id, target = %next.target, number = next.number, action = action.name(), %fault, count = trouble.count, "not accepted");
                if trouble.count == 1 {
                    events.push(event::refused(action.name(), &fault.to_string()));
                }
                let due = retry::pause(trouble.count, self.settings.timing.look_every, rand::random());
                next.seen.trouble = Some(trouble);
                due
            }
        };
        events.extend(event::between(&claim.deployment, &next));
        Left { next, events, due }
    }
}

pub(super) fn trouble_after(before: Option<&ProviderTrouble>, fault: &Fault) -> ProviderTrouble {
    let hopeless = match fault.kind {
        FaultKind::Rejected | FaultKind::Denied => true,
        FaultKind::Transient | FaultKind::Throttled | FaultKind::Missing | FaultKind::NotSent => false,
    };
    let words = fault.to_string();
    // Only refusals in a row of the same temper add up: a throttled call does not bring a refusal nearer to "hopeless".
    let count = before.filter(|before| before.hopeless == hopeless).map_or(0, |before| before.count).saturating_add(1);
    ProviderTrouble { words, hopeless, count }
}
