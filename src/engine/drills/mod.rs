//! Drills at work: schedules begin them, and whoever claims one takes its next step.
//!
//! A tick is a deployment's in small: look, decide, then act *or* record, and settle. If the process dies anywhere in here, the next
//! tick, here or elsewhere, looks again and repeats an idempotent action at worst: a rule that was opened is removed by whoever comes
//! next. The deletion goes the way that a rollback's goes, through the lane's own client and tokens.

pub mod ports;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};
use uuid::Uuid;

use self::ports::{Begun, DrillClaim, DrillCloud, DrillStore, Due, NewDrill, Turn};
use super::{
    ports::{Cloud, Fault, FaultKind, Settled, Store, StoreError},
    settings::EngineSettings,
    tick::trouble_after,
};
use crate::domain::{
    drill::{self, Action, Decision, Drill, Look, Phase, decide},
    ids::{DrillId, HolderId, Image},
    observation::Known,
    plan::Inputs,
    retry,
    timing::Timing,
};

/// Drills that one replica works on at once.
const AT_ONCE_MAX: usize = 8;
/// Schedules begun in one go.
const BEGUN_AT_ONCE_MAX: usize = 8;
/// Between two tries to reach a database that is away.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for the ticks under way.
const STOP_WITHIN: Duration = Duration::from_secs(6);
/// Drills of one service/environment that are kept, as the trend.
pub const KEPT_MAX: usize = 500;
/// Who begins those that a schedule is for.
const BY_SCHEDULE: &str = "schedule";

/// Drills for one replica.
#[derive(Debug)]
pub struct Driller<S, C> {
    pub store: Arc<S>,
    pub cloud: Arc<C>,
    /// The rollback lane's own way to the provider.
    pub back: Arc<C>,
    pub holder: HolderId,
    pub settings: EngineSettings,
    /// Something was begun here: look now.
    pub woken: Arc<Notify>,
}

/// Begins what is due and takes every next step, until `stop`.
pub async fn keep_drilled<S: Store + DrillStore, C: Cloud + DrillCloud>(driller: Arc<Driller<S, C>>, stop: CancellationToken) {
    let (ticks, room) = (TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE_MAX)));
    driller.release("leases of an earlier run").await;
    let work = async {
        loop {
            // Asked for before the look, so that nothing falls between the two.
            let woken = driller.woken.notified();
            let pause = driller.start_due(&ticks, &room).await.unwrap_or_else(|error| {
                warn!(%error, "no drill could be claimed; trying again");
                RETRY_EVERY
            });
            let _ = tokio::time::timeout(pause, woken).await;
        }
    };
    stop.run_until_cancelled(work).await;
    ticks.close();
    if tokio::time::timeout(STOP_WITHIN.min(driller.settings.lease), ticks.wait()).await.is_err() {
        warn!("some drills' ticks did not end in time; what they still send is held by their leases' deadlines");
    }
    driller.release("the leases").await;
}

impl<S: Store + DrillStore, C: Cloud + DrillCloud> Driller<S, C> {
    async fn release(&self, which: &str) {
        if let Err(error) = self.store.release_drills(&self.holder).await {
            warn!(%error, "{which} of drills could not be given back; they will run out");
        }
    }

    /// Begins what is due, and starts a tick for each drill that is. Returns how long there is nothing to do.
    async fn start_due(self: &Arc<Self>, ticks: &TaskTracker, room: &Arc<Semaphore>) -> Result<Duration, StoreError> {
        self.begin_due().await?;
        let free = room.available_permits();
        let claims =
            if free == 0 { Vec::new() } else { self.store.claim_drills(&self.holder, self.settings.lease, free).await? };
        for claim in claims {
            let Ok(permit) = room.clone().acquire_owned().await else { break };
            let driller = self.clone();
            ticks.spawn(async move {
                let id = claim.drill.id;
                match driller.tick(claim).await {
                    Ok(Settled::Stored) => {}
                    Ok(Settled::Lost | Settled::Held) => debug!(drill = %id, "another replica has it by now"),
                    Err(error) => warn!(drill = %id, %error, "a drill's tick could not be stored; its lease will run out"),
                }
                drop(permit);
                // Its next step may be due before anything that was known when this loop went to sleep.
                driller.woken.notify_one();
            });
        }
        let next = self.store.next_drill(&self.holder).await?.unwrap_or(self.settings.poll_every);
        Ok(next.min(self.settings.poll_every))
    }

    /// Begins one drill for each schedule that is due: however many runs were missed, one is caught up.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn begin_due(&self) -> Result<(), StoreError> {
        for Due { target, at, now, declaration } in self.store.due_schedules(BEGUN_AT_ONCE_MAX).await? {
            let schedule = declaration.drill.and_then(|spec| spec.schedule);
            let turn = Turn { due: at, next: schedule.and_then(|schedule| schedule.next_after(now)) };
            let new = NewDrill {
                id: DrillId::new(Uuid::now_v7()),
                target,
                reason: None,
                created_by: BY_SCHEDULE.to_owned(),
                created_at: Timestamp::now(),
                scheduled: Some(turn),
            };
            match self.store.begin_drill(new).await? {
                Begun::Started(drill) => {
                    info!(drill = %drill.id, target = %drill.target, due = %at, "a scheduled drill begins")
                }
                // It comes when the deployment has ended; the others were there first.
                Begun::Deployment(_) | Begun::Running(_) | Begun::NotDeclared | Begun::Moved => {}
            }
        }
        Ok(())
    }

    /// Runs one tick and settles it.
    ///
    /// # Errors
    /// When the store could not be reached: the lease then runs out, and the next look starts afresh.
    pub async fn tick(&self, claim: DrillClaim) -> Result<Settled, StoreError> {
        let lease_ends = claim.lease_ends.checked_sub(self.settings.lease_margin).unwrap_or(claim.lease_ends);
        let look = self.look(&claim.drill, lease_ends.min(Instant::now() + self.settings.look_timeout)).await?;
        let (timing, now) = (Timing { clock_lead: self.cloud.clock_lead(), ..self.settings.timing }, Timestamp::now());
        let d = claim.drill.clone().having_seen(&look, now);
        let decision = decide(&d, &look, &timing, now);
        debug!(drill = %d.id, target = %d.target, phase = d.phase.name(), ?decision, "decided");
        let soon = timing.look_every / 4;
        let (next, due) = match decision {
            Decision::Act(action) => self.act(d, &action, lease_ends.min(Instant::now() + self.settings.act_timeout)).await,
            Decision::Advance(next) => (*next, Duration::ZERO),
            Decision::Wait => (d, soon),
            Decision::Done => (d, self.settings.poll_every),
        };
        for event in next.events.iter().skip(claim.drill.events.len()) {
            info!(drill = %next.id, target = %next.target, kind = event.kind, "{}", event.message);
        }
        self.store.settle_drill(&self.holder, &claim, &next, due, KEPT_MAX).await
    }

    async fn look(&self, d: &Drill, deadline: Instant) -> Result<Look, StoreError> {
        let Some(plan) = d.plan.as_ref().filter(|_| d.phase != Phase::Pending) else {
            // What is made there hangs on no image, so any will do.
            let image = Image::Template(d.declaration.server_group.launch_template.version);
            let (declaration, strategy) = (&d.declaration, &d.declaration.strategy);
            let inputs = Inputs {
                target: &d.target,
                number: 0,
                image: &image,
                declaration,
                strategy,
                live: d.live.as_ref(),
                takes_back: false,
            };
            let mut survey = self.cloud.survey(inputs, None, deadline).await;
            // Numbers that deployments beside it have reserved, and may not have used yet.
            for route in survey.iter_mut().flat_map(|survey| survey.routes.iter_mut().flatten()) {
                route.reserved = self.store.reserved(&route.listener, d.id.tag()).await?;
            }
            // Asked for after this drill is on record: who comes later finds it there.
            let deployment = self.store.deployment_on(d).await?.map(|d| format!("{} #{}", d.target, d.number));
            return Ok(Look::Around {
                survey: survey.map_or_else(|fault| Known::Unknown(fault.to_string()), Known::Seen),
                deployment,
            });
        };
        Ok(Look::Routes(self.cloud.see_drill(d, plan, deadline).await))
    }

    /// What it leaves, and when to look again.
    async fn act(&self, d: Drill, action: &Action, deadline: Instant) -> (Drill, Duration) {
        let way = match action {
            Action::Open { .. } => &self.cloud,
            Action::Delete { .. } => &self.back,
        };
        let sent_at = Timestamp::now();
        let received = way.change_drill(&d, action, deadline).await;
        let (every, now) = (self.settings.timing.look_every, Timestamp::now());
        match received {
            Ok(()) => (drill::noted(d, action, sent_at, Ok(()), now), every / 4),
            // Nothing was sent and nothing is wrong: the next tick has a new lease.
            Err(Fault { kind: FaultKind::NotSent, .. }) => (d, Duration::ZERO),
            Err(fault) => {
                let trouble = trouble_after(d.trouble.as_ref(), &fault);
                warn!(drill = %d.id, target = %d.target, action = action.name(), %fault, count = trouble.count, "not accepted");
                let due = retry::pause(trouble.count, every, rand::random());
                (drill::noted(d, action, sent_at, Err(trouble), now), due)
            }
        }
    }
}
