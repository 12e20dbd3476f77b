//! The driver: finds due deployments and ticks them, a bounded number at once, until it is told to stop.
//!
//! Subscribe, then look, then sleep: a notification wakes it, polling is the fallback. It takes no hint from what woke it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    age::Confirmed,
    ports::{Cloud, Settled, Store},
    settings::EngineSettings,
    tick::Worker,
    turns::Turns,
};

/// When the driver last looked for due work.
#[derive(Debug)]
pub struct Pulse {
    start: Instant,
    last_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }
}

impl Pulse {
    fn beat(&self) {
        self.last_ms.store(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Since the driver last looked for due work.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(self.last_ms.load(Ordering::Relaxed)))
    }
}

/// What comes due one by one is claimed together: a round for each of a thousand would ask for nothing but work, without end. A change
/// that somebody waits for is not kept waiting.
const GATHER_MAX: Duration = Duration::from_millis(100);

fn gather(settings: &EngineSettings) -> Duration {
    GATHER_MAX.min(settings.timing.look_every / 10)
}

/// How long a stop waits for the ticks under way, before it gives the leases back: less than `serve` waits for the driver.
const STOP_WITHIN: Duration = Duration::from_secs(6);

/// Takes back what this holder had in an earlier run, drives until `stop` is cancelled, then finishes the ticks under way and
/// gives the leases back.
///
/// Returns within a lease: no tick outlives its own.
pub async fn drive<S: Store, C: Cloud>(worker: Arc<Worker<S, C>>, pulse: Arc<Pulse>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(worker.settings.concurrency_max));
    let gather = gather(&worker.settings);
    let (ticks, turns) = (TaskTracker::new(), Turns::default());
    let ended = Arc::new(Notify::new());
    // What this replica held when it was killed is its own: due again now, not when the leases have run out.
    if let Err(error) = worker.store.release_all(&worker.holder).await {
        warn!(%error, "leases of an earlier run could not be given back; they will run out");
    }
    loop {
        // Subscribed before the look, so that no change falls between the two.
        let changed = worker.store.changed(worker.settings.poll_every);
        tokio::select! {
            () = stop.cancelled() => break,
            idle = start_due(&worker, &slots, &ticks, &turns, &ended) => {
                pulse.beat();
                if let Some(at_most) = idle {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = changed => {}
                        () = tokio::time::sleep(at_most) => {}
                        // While a tick was under way its deployment was due at the lease's end: it said when it is now.
                        () = async { ended.notified().await; tokio::time::sleep(gather).await } => {}
                    }
                }
            }
        }
    }
    ticks.close();
    if tokio::time::timeout(STOP_WITHIN.min(worker.settings.lease), ticks.wait()).await.is_err() {
        warn!("some ticks did not end in time; what they still send is held by their leases' deadlines");
    }
    if let Err(error) = worker.store.release_all(&worker.holder).await {
        warn!(%error, "the leases could not be given back; they will run out");
    }
}

/// Starts a tick for whatever is due. Returns how long there is nothing to do, if so.
async fn start_due<S: Store, C: Cloud>(
    worker: &Arc<Worker<S, C>>,
    slots: &Arc<Semaphore>,
    ticks: &TaskTracker,
    turns: &Turns,
    ended: &Arc<Notify>,
) -> Option<Duration> {
    let settings = &worker.settings;
    let gather = gather(settings);
    let free = slots.available_permits();
    if free == 0 {
        // Wait for one slot, then look how many there are.
        let _ = slots.acquire().await;
        return None;
    }
    let began = Confirmed::now();
    let claims = match worker.store.claim_due(&worker.holder, settings.lease, free, &worker.bundles).await {
        Ok(claims) => claims,
        Err(error) => {
            warn!(%error, "no work could be claimed; trying again");
            return Some(settings.poll_every.min(Duration::from_secs(1)));
        }
    };
    if claims.is_empty() {
        return match worker.store.next_due(&worker.holder).await {
            Ok(next) => Some(next.unwrap_or(settings.poll_every).max(gather).min(settings.poll_every)),
            Err(_) => Some(settings.poll_every.min(Duration::from_secs(1))),
        };
    }
    let is_all = claims.len() < free;
    for claim in claims {
        worker.bundles.learn(&claim.deployment, claim.version, began);
        let Ok(permit) = slots.clone().acquire_owned().await else { return None };
        let (worker, turns, ended) = (worker.clone(), turns.clone(), ended.clone());
        ticks.spawn(async move {
            let id = claim.deployment.id;
            let _turn = turns.take(id).await;
            match worker.tick(claim).await {
                Ok(Settled::Stored) => {}
                Ok(Settled::Lost) => debug!(deployment = %id, "somebody wrote in between; looking again"),
                Ok(Settled::Held) => {
                    warn!(deployment = %id, "a rule number or slot is held by another running deployment; planning again")
                }
                Err(error) => warn!(deployment = %id, %error, "a tick could not be stored; its lease will run out"),
            }
            drop(permit);
            ended.notify_one();
        });
    }
    is_all.then_some(gather)
}
