//! The sweeper: looks for what ended deployments left in the cloud, lists it, and removes it when its terms are over.
//!
//! Every so often one replica has the turn. It looks through each place whole, asks the records whose each thing is, and for
//! what nobody claims: a fresh look, then the records again, then at most one step of its removal. It runs beside the engine
//! and touches nothing that a running deployment has; it may be cut anywhere, and the next turn looks again.

pub mod ports;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::ports::{Noted, Place, Sighted, Sweep, SweepStore, SweptCloud};
use super::{
    ports::{Environment, Fault, FaultKind, Store, StoreError},
    settings::EngineSettings,
};
use crate::domain::{
    declaration::{Declaration, Provider},
    ids::HolderId,
    orphan::{self, Facts, Fate, Found, Look, Orphan, Standing, Step},
};

/// A turn ends by then, finished or not: what was not reached comes first another time.
const TURN_MAX: Duration = Duration::from_secs(300);
/// Turns that may be missed before terms begin anew.
const MISSED_MAX: u32 = 3;
/// Between two tries to reach a database that is away.
const RETRY_EVERY: Duration = Duration::from_secs(30);
/// How long one close look may take: it reads every rule of a load balancer, one listener after the other.
const LOOK_MAX: Duration = Duration::from_secs(30);
/// Between two looks whether a turn is due.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Environments in one page of the records, and pages in all.
const PAGE: usize = 100;
const PAGES_MAX: usize = 100;
/// Found things whose records are read at once.
const FACTS_AT_ONCE: usize = 100;
/// Changes in one turn: whatever goes wrong goes wrong slowly, and the calls are left to deployments.
const STEPS_MAX: usize = 20;

/// Sweeps for one replica.
#[derive(Debug)]
pub struct Sweeper<S, C> {
    pub store: Arc<S>,
    pub cloud: Arc<C>,
    pub holder: HolderId,
    pub settings: EngineSettings,
}

/// Why a place was not looked through whole.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Cloud(#[from] Fault),
    #[error("the turn was over")]
    Over,
}

/// Takes turns until `stop`. A turn that is cut by it is free again when its lease has run out.
pub async fn keep_swept<S: Store + SweepStore, C: SweptCloud>(sweeper: Arc<Sweeper<S, C>>, stop: CancellationToken) {
    let turns = async {
        loop {
            let next = match sweeper.turn().await {
                Ok(next) => next,
                Err(error) => {
                    warn!(%error, "no turn at sweeping could be taken; trying again");
                    RETRY_EVERY
                }
            };
            tokio::time::sleep(next.clamp(PAUSE_MIN, sweeper.settings.sweeper.every.max(PAUSE_MIN))).await;
        }
    };
    stop.run_until_cancelled(turns).await;
}

impl<S: Store + SweepStore, C: SweptCloud> Sweeper<S, C> {
    /// Sweeps if it is this replica's turn. Returns how long until the next turn may be due.
    ///
    /// # Errors
    /// When the store could not be asked whose turn it is.
    pub async fn turn(&self) -> Result<Duration, StoreError> {
        if let Some(sweep) = self.store.claim_sweep(&self.holder, TURN_MAX).await? {
            match self.sweep(sweep).await {
                Ok(places) => self.store.finish_sweep(sweep, &places, self.settings.sweeper.every).await?,
                // Its places are not known: what is noted of them stays until a turn that knows them.
                Err(error) => warn!(%error, "nothing was swept; the turn is free again when its lease has run out"),
            }
        }
        self.store.next_sweep().await
    }

    /// Returns every place that there is, looked through or not.
    async fn sweep(&self, sweep: Sweep) -> Result<Vec<Provider>, StoreError> {
        let places = self.places().await?;
        let mut steps_left = STEPS_MAX;
        // Each turn begins with another place, so that none waits for ever behind those that take long.
        let first = usize::try_from(sweep.number).unwrap_or(0) % places.len().max(1);
        for place in places[first..].iter().chain(&places[..first]) {
            if let Err(cut) = self.sweep_place(sweep, place, &mut steps_left).await {
                warn!(provider = ?place.provider, %cut, "a place was not looked through whole; nothing is concluded from that");
            }
        }
        Ok(places.into_iter().map(|place| place.provider).collect())
    }

    /// Where services are declared to be now. (Where one was before its declaration named another place is not looked at.)
    async fn places(&self) -> Result<Vec<Place>, StoreError> {
        let mut places: Vec<Place> = Vec::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let page = self.store.environments(after.as_ref(), PAGE).await?;
            after = page.last().map(|last| last.target.clone());
            let whole = page.len() < PAGE;
            for Environment { declaration, .. } in page {
                add(&mut places, self.cloud.whereabouts(&declaration), declaration);
            }
            if whole {
                return self.with_adopted(places).await;
            }
        }
        // Of a part of them nothing can be concluded: what is not looked at would seem to be gone.
        let source = format!("there are more than {} environments", PAGES_MAX * PAGE).into();
        Err(StoreError::Broken { doing: "listing what is to be swept", source })
    }

    async fn with_adopted(&self, mut places: Vec<Place>) -> Result<Vec<Place>, StoreError> {
        for (provider, group) in self.store.adopted().await? {
            if let Some(place) = places.iter_mut().find(|place| place.ways.contains(&provider)) {
                place.adopted.push(group);
            }
        }
        Ok(places)
    }

    /// Looks through it once, whichever ways lead there: by another one only where the first may not.
    async fn inventory(&self, sweep: Sweep, place: &Place) -> Result<Vec<Found>, Fault> {
        let mut found = self.cloud.inventory(place, &place.provider, sweep.ends).await;
        for way in place.ways.iter().filter(|way| **way != place.provider) {
            if !matches!(&found, Err(fault) if fault.kind == FaultKind::Denied) {
                break;
            }
            found = self.cloud.inventory(place, way, sweep.ends).await;
        }
        found
    }

    fn judge(&self, place: &Place, found: &Found, facts: &Facts) -> Standing {
        orphan::judge(found, facts, &|declaration| self.cloud.whereabouts(declaration) == place.name)
    }

    async fn sweep_place(&self, sweep: Sweep, place: &Place, steps_left: &mut usize) -> Result<(), Cut> {
        let found = self.inventory(sweep, place).await?;
        let mut claimed = BTreeSet::new();
        for some in found.chunks(FACTS_AT_ONCE) {
            let facts = self.store.facts(some).await?;
            for (found, facts) in some.iter().zip(&facts) {
                if matches!(self.judge(place, found, facts), Standing::Claimed) {
                    claimed.insert(found.thing.clone());
                }
            }
        }
        for found in &found {
            // Somebody may claim it between the two.
            if !claimed.contains(&found.thing) && !self.see_to(sweep, place, found, steps_left).await? {
                claimed.insert(found.thing.clone());
            }
        }
        let claimed: Vec<_> = claimed.into_iter().collect();
        for gone in self.store.forget(sweep, &place.provider, &claimed).await? {
            info!(kind = gone.kind().name(), name = gone.name(), "the sweeper removed {gone}");
        }
        Ok(())
    }

    /// A look, the records, and what follows from both. `false`: it is claimed.
    async fn see_to(&self, sweep: Sweep, place: &Place, found: &Found, steps_left: &mut usize) -> Result<bool, Cut> {
        let Some((before, way_there)) = self.judged(place, found).await? else { return Ok(false) };
        let look = self.look(sweep, place, &way_there, found, &before).await;
        // Read again after the look: who took it up meanwhile is met here, and who does so later finds it as it was seen.
        let Some((orphan, way_there)) = self.judged(place, found).await? else { return Ok(false) };
        let look = if orphan == before { look } else { Look::Unknown("its records changed meanwhile".to_owned()) };
        let way = orphan::way_out(&orphan, &look);
        let gap_max = self.settings.sweeper.every.saturating_add(TURN_MAX).saturating_mul(MISSED_MAX);
        let seen = Sighted { provider: &place.provider, thing: &found.thing, orphan: &orphan, way: &way, gap_max };
        let noted = self.store.sight(sweep, seen).await?.ok_or(Cut::Over)?;
        let (thing, why) = (&found.thing, &orphan.why);
        debug!(%thing, why, kept_because = way.kept_because(), "an orphan");
        let Some(step) = orphan::due(&way, &noted.sighting, &self.settings.sweeper.terms) else { return Ok(true) };
        if *steps_left > 0 {
            *steps_left -= 1;
            self.take(sweep, place, &way_there, found, noted, &step).await?;
        }
        Ok(true)
    }

    /// Whose it is now, and the way to it: its own service's, who has the rights. `None` when it is claimed.
    async fn judged(&self, place: &Place, found: &Found) -> Result<Option<(Box<Orphan>, Provider)>, StoreError> {
        let facts = self.store.facts(std::slice::from_ref(found)).await?;
        let Some(facts) = facts.first() else { return Ok(None) };
        let declared = facts.tagged.as_ref().map(|d| &d.declaration.provider).filter(|way| place.ways.contains(way));
        Ok(match self.judge(place, found, facts) {
            Standing::Orphan(orphan) => Some((orphan, declared.unwrap_or(&place.provider).clone())),
            Standing::Claimed => None,
        })
    }

    async fn look(&self, sweep: Sweep, place: &Place, way: &Provider, found: &Found, orphan: &Orphan) -> Look {
        match &orphan.fate {
            Fate::ToGo(slot) => {
                let deadline = sweep.ends.min(Instant::now() + LOOK_MAX);
                self.cloud.inspect(place, way, found, slot, deadline).await
            }
            Fate::Kept(because) => Look::Unknown((*because).to_owned()),
        }
    }

    async fn take(
        &self,
        sweep: Sweep,
        place: &Place,
        way: &Provider,
        found: &Found,
        noted: Noted,
        step: &Step,
    ) -> Result<(), Cut> {
        // Noted before anything is changed: a removal whose answer, or whose replica, is lost is still told of when it is seen.
        if !self.store.begin_removal(sweep, noted.id).await? {
            return Err(Cut::Over);
        }
        let thing = &found.thing;
        let deadline = sweep.ends.min(Instant::now() + self.settings.act_timeout);
        match self.cloud.remove(place, way, thing, step, deadline).await {
            Ok(()) => info!(%thing, step = step.name(), "an orphan is being removed"),
            Err(fault) => warn!(%thing, step = step.name(), %fault, "an orphan could not be removed; trying again next time"),
        }
        Ok(())
    }
}

/// Two roles may lead to one account: that is one place, which is looked through once.
fn add(places: &mut Vec<Place>, name: String, declaration: Declaration) {
    let Declaration { provider, routes, .. } = declaration;
    match places.iter_mut().find(|place| place.name == name) {
        Some(place) => {
            place.routes.extend(routes);
            if !place.ways.contains(&provider) {
                place.ways.push(provider.clone());
                place.provider = provider.min(place.provider.clone());
            }
        }
        None => places.push(Place { name, ways: vec![provider.clone()], provider, routes, adopted: Vec::new() }),
    }
}
