//! What waits in this replica's journal while the database is away: brought about, and read back at the load balancer.
//!
//! Whoever asked for it may have had a 202, and the process may have been started again since. The engine needs the record for both;
//! here it is done by what is remembered, under the same rules as when somebody asks.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Lane,
    work::{Taken, Work, moment},
};
use crate::{
    domain::{
        deployment::Deployment,
        ids::DeploymentId,
        lane::{self, ByPerson, Unrecorded},
    },
    engine::{
        bundles::Bundle,
        ports::{Cloud, LaneStore, Recency},
    },
};

/// How often the journal is gone through, and a load balancer looked at that was just changed.
const EVERY: Duration = Duration::from_millis(500);
/// After so many looks that did not show it, something else holds it up: then it is looked at seldom.
const QUICK_LOOKS: u32 = 60;
const SELDOM: Duration = Duration::from_secs(10);
/// At a time.
const AT_ONCE_MAX: usize = 200;

/// Until `stop` is cancelled.
pub async fn keep_brought_about<L: LaneStore, C: Cloud>(lane: Arc<Lane<L, C>>, stop: CancellationToken) {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut going, mut busy, mut told) = (FuturesUnordered::new(), HashSet::new(), HashSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some((id, why)) = going.next() => {
                busy.remove(&id);
                if let Some(why) = why && told.insert(id) {
                    warn!(deployment = %id, why, "a rollback that waits for its record cannot be brought about without it");
                }
            }
            _ = turns.tick() => {
                for id in lane.not_brought_about() {
                    if going.len() < AT_ONCE_MAX && busy.insert(id) {
                        let lane = &lane;
                        going.push(async move { (id, lane.takes_up(id).await) });
                    }
                }
            }
        }
    }
}

impl<L: LaneStore, C: Cloud> Lane<L, C> {
    /// With the database there it is put on record at once, and the engine's.
    fn not_brought_about(&self) -> Vec<DeploymentId> {
        if self.bundles.database_is_away() { self.journal.not_seen(self.settings.rollback_tries_for) } else { Vec::new() }
    }

    /// Goes on with one; why not, where nothing may be sent.
    async fn takes_up(&self, id: DeploymentId) -> Option<String> {
        // Somebody does already.
        let taken = self.under.take(id)?;
        let bundle = self.bundles.of(id).filter(|bundle| bundle.deployment.phase.may_go_back())?;
        let mut d = Deployment::clone(&bundle.deployment);
        self.journal.tell(&mut d);
        if !lane::is_accepted(&d) {
            if let Err(why) = self.sends(&bundle, &d, &taken).await {
                return Some(why);
            }
            self.journal.tell(&mut d);
        }
        if lane::is_accepted(&d) {
            self.reads_back(&d).await;
        }
        None
    }

    /// # Errors
    /// Why nothing may be sent.
    async fn sends(&self, bundle: &Bundle, d: &Deployment, taken: &Taken) -> Result<(), String> {
        match self.decide(bundle, d, Instant::now() + self.settings.look_timeout).await {
            Unrecorded::Send(orders) => {
                info!(deployment = %d.id, target = %d.target, "going on with a rollback that waits for its record");
                let until = Instant::now() + orders.within;
                let mut work = Work::new(d.clone(), [orders.shields], orders.overlays, until);
                work.bundle = Some(bundle.clone());
                self.bring_about(work, taken).await;
                Ok(())
            }
            Unrecorded::TooLate(why) => Err(why),
            Unrecorded::Look(_) | Unrecorded::Nothing => Err("nothing of it was at the load balancer".to_owned()),
        }
    }

    /// Looks until every route sends nothing to green, as long as only this replica knows of the order.
    async fn reads_back(&self, d: &Deployment) {
        let mut looks: u32 = 0;
        while self.bundles.database_is_away() && self.journal.of(d.id).is_some() {
            let deadline = Instant::now() + self.settings.look_timeout;
            let look = self.cloud.observe(d, Recency::Now, deadline).await;
            if lane::by_person(d, &look, &self.timing()) == ByPerson::Back {
                info!(deployment = %d.id, target = %d.target, "the rollback was seen on every route");
                return self.journal.observed(d.id, moment()).await;
            }
            looks = looks.saturating_add(1);
            tokio::time::sleep(if looks < QUICK_LOOKS { EVERY } else { SELDOM }).await;
        }
    }
}
