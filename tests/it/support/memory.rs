//! The store in memory: the same promises as Postgres gives, held to them by the same contract suite.

mod drills;
mod orphans;
mod rows;
mod weather;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        command::{self, Command, Outcome},
        declaration::Declaration,
        deployment::{Deployment, Given, Live, Status, Trigger},
        drill::Drilled,
        event::{self, Event},
        ids::{DeploymentId, HolderId, Image, ListenerRef, RouteRef, Target},
        phase::Phase,
        readiness::Took,
        time,
    },
    engine::ports::{
        Claim, Commanded, Current, Environment, Filter, Inserted, LaneStore, NewDeployment, RecordFacts, Settled, Settlement,
        Store, StoreError, StoredEvent, TokenOwner, Versioned,
    },
    engine::{age::RecordClock, bundles::Bundles},
};
use jiff::Timestamp;
use tokio::sync::Notify;

use rows::Row;
pub use weather::{Sky, Weather};

#[derive(Debug, Default)]
struct Tables {
    environments: BTreeMap<Target, Vec<Environment>>,
    rows: BTreeMap<DeploymentId, Row>,
    events: Vec<(DeploymentId, StoredEvent)>,
    replicas: BTreeMap<HolderId, Instant>,
    swept: orphans::Swept,
    drills: drills::Drills,
}

/// Everything under one lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    news: Notify,
    /// Over everything that the lane and its memory ask.
    pub sky: Sky,
    /// How often the lane looked up what runs.
    pub lane_looks: AtomicUsize,
    pub tokens: Mutex<Vec<([u8; 32], TokenOwner)>>,
}

impl MemoryStore {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a record there, as no story of the engine would.
    pub fn put(&self, deployment: Deployment) {
        let row = Row { version: 1, lease: None, due: Instant::now(), quiet_from: None, deployment };
        self.tables().rows.insert(row.deployment.id, row);
    }

    /// A record, whatever the weather.
    pub fn peek(&self, id: DeploymentId) -> Deployment {
        self.tables().rows[&id].deployment.clone()
    }

    /// Gives a command in one step.
    fn give(&self, id: DeploymentId, command: Command, given: Given, expected: Option<i64>) -> Commanded {
        let mut tables = self.tables();
        let Some(row) = tables.rows.get_mut(&id) else { return Commanded::NotFound };
        if expected.is_some_and(|version| version != row.version) {
            return Commanded::Moved;
        }
        let outcome = command::give(&row.deployment, command, given.clone());
        let changed = match outcome {
            Err(refusal) => return Commanded::Refused { refusal, deployment: Box::new(row.versioned()) },
            Ok(Outcome::Unchanged) => false,
            Ok(Outcome::Changed(intent)) => {
                row.deployment.intent = *intent;
                row.version += 1;
                row.due = Instant::now();
                true
            }
        };
        let deployment = Box::new(row.versioned());
        if changed {
            tables.record(id, given.at, vec![event::commanded(command, &given)]);
            self.news.notify_waiters();
        }
        Commanded::Done { deployment, changed }
    }
}

impl Tables {
    fn record(&mut self, id: DeploymentId, at: Timestamp, events: Vec<Event>) {
        for event in events {
            let stored = StoredEvent { id: i64::try_from(self.events.len()).unwrap() + 1, at, event };
            self.events.push((id, stored));
        }
    }

    fn environment(&self, target: &Target) -> Option<Environment> {
        let mut environment = self.environments.get(target)?.last()?.clone();
        let mine = |row: &&Row| &row.deployment.target == target;
        environment.running =
            self.rows.values().filter(mine).find(|row| !row.deployment.phase.is_terminal()).map(|row| row.deployment.id);
        environment.last =
            self.rows.values().filter(mine).rfind(|row| row.deployment.phase.is_terminal()).map(|row| row.deployment.id);
        environment.live = self
            .rows
            .values()
            .filter(mine)
            .filter(|row| row.deployment.phase == Phase::Succeeded)
            .max_by_key(|row| row.deployment.number)
            .and_then(|row| live(&row.deployment));
        environment.drill = self.drills.last(target);
        environment.next_number = u32::try_from(self.rows.values().filter(mine).count()).unwrap() + 1;
        Some(environment)
    }
}

fn live(d: &Deployment) -> Option<Live> {
    let green = &d.plan.as_ref()?.green;
    Some(Live { group: green.group.clone(), slot: green.slot.clone(), image: green.image.clone(), number: d.number })
}

impl Store for MemoryStore {
    async fn declare(
        &self,
        target: &Target,
        declaration: &Declaration,
        by: &str,
        expected: Option<i32>,
    ) -> Result<Option<(Environment, bool)>, StoreError> {
        let mut tables = self.tables();
        let revisions = tables.environments.entry(target.clone()).or_default();
        let present = revisions.last().map_or(0, |last| last.revision);
        if expected.is_some_and(|expected| expected != present) {
            return Ok(None);
        }
        let before = revisions.last().map(|last| last.declaration.clone());
        if before.as_ref() != Some(declaration) {
            revisions.push(Environment {
                target: target.clone(),
                revision: present + 1,
                next_number: 1,
                declaration: declaration.clone(),
                declared_at: Timestamp::now(),
                declared_by: by.to_owned(),
                live: None,
                running: None,
                last: None,
                drill: None,
            });
        }
        tables.drills.declared(target, before.as_ref(), declaration);
        Ok(tables.environment(target).map(|environment| (environment, present == 0)))
    }

    async fn environment(&self, target: &Target) -> Result<Option<Environment>, StoreError> {
        Ok(self.tables().environment(target))
    }

    async fn environments(&self, after: Option<&Target>, limit: usize) -> Result<Vec<Environment>, StoreError> {
        let tables = self.tables();
        let names: Vec<_> =
            tables.environments.keys().filter(|target| after.is_none_or(|after| *target > after)).take(limit).collect();
        Ok(names.into_iter().filter_map(|target| tables.environment(target)).collect())
    }

    async fn revisions(&self, target: &Target, before: Option<i32>, limit: usize) -> Result<Vec<Environment>, StoreError> {
        let tables = self.tables();
        let all = tables.environments.get(target).map(Vec::as_slice).unwrap_or_default();
        Ok(all.iter().rev().filter(|e| before.is_none_or(|before| e.revision < before)).take(limit).cloned().collect())
    }

    async fn insert(&self, new: NewDeployment, half_quiet: Duration) -> Result<Inserted, StoreError> {
        let mut tables = self.tables();
        let Some(environment) = tables.environment(&new.target) else { return Ok(Inserted::NotDeclared) };
        let routes = &environment.declaration.routes;
        let on_a_route = |row: &&Row| {
            row.deployment.target == new.target || row.deployment.declaration.routes.iter().any(|r| routes.contains(r))
        };
        if let Some(row) = tables.rows.values().filter(on_a_route).find(|row| !row.deployment.phase.is_terminal()) {
            return Ok(Inserted::InProgress(Box::new(row.deployment.clone())));
        }
        let quiet_from = tables.rows.values().filter(on_a_route).filter_map(|row| row.quiet_from).max();
        let abandoned = |row: &&Row| on_a_route(row) && row.deployment.phase == Phase::Failed;
        let let_go = tables.rows.values().filter(abandoned).map(|row| row.deployment.id).collect();
        let (id, at) = (new.id, new.created_at);
        let deployment = new.recorded(RecordFacts {
            number: environment.next_number,
            live: environment.live,
            not_before: quiet_from.map(|from| time::after(from, half_quiet)),
            let_go,
            declaration: environment.declaration.clone(),
        });
        let row = Row { deployment: deployment.clone(), version: 1, lease: None, due: Instant::now(), quiet_from: None };
        tables.rows.insert(id, row);
        tables.record(id, at, vec![event::created(&deployment)]);
        self.news.notify_waiters();
        Ok(Inserted::Created(Box::new(Versioned { deployment, version: 1 })))
    }

    async fn get(&self, id: DeploymentId) -> Result<Option<Versioned>, StoreError> {
        self.sky.asked("reading a deployment").await?;
        Ok(self.tables().rows.get(&id).map(Row::versioned))
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Versioned>, StoreError> {
        self.sky.asked("listing deployments").await?;
        let wanted = |d: &Deployment| {
            filter.service.as_ref().is_none_or(|service| service == &d.target.service)
                && filter.environment.as_ref().is_none_or(|environment| environment == &d.target.environment)
                && filter.status.is_none_or(|status| status == d.status())
                && filter.before.is_none_or(|before| d.id < before)
        };
        let tables = self.tables();
        Ok(tables.rows.values().rev().filter(|row| wanted(&row.deployment)).take(filter.limit).map(Row::versioned).collect())
    }

    async fn newest(&self, target: &Target) -> Result<Option<Versioned>, StoreError> {
        self.sky.asked("reading the newest deployment").await?;
        let tables = self.tables();
        let of = tables.rows.values().filter(|row| &row.deployment.target == target);
        Ok(of.max_by_key(|row| row.deployment.number).map(Row::versioned))
    }

    async fn first_release(&self, target: &Target, image: &Image) -> Result<Vec<Versioned>, StoreError> {
        self.sky.asked(weather::RELEASES).await?;
        let tables = self.tables();
        let succeeded = |d: &Deployment| &d.target == target && d.phase == Phase::Succeeded;
        let mut rows: Vec<_> = tables.rows.values().filter(|row| succeeded(&row.deployment)).collect();
        rows.sort_by_key(|row| row.deployment.number);
        let Some(first) = rows.iter().position(|row| &row.deployment.image == image) else { return Ok(Vec::new()) };
        Ok(rows[first.saturating_sub(1)..=first].iter().rev().map(|row| row.versioned()).collect())
    }

    async fn running(&self, limit: usize) -> Result<Vec<Versioned>, StoreError> {
        self.sky.asked("listing running deployments").await?;
        let tables = self.tables();
        Ok(tables.rows.values().filter(|row| !row.deployment.phase.is_terminal()).take(limit).map(Row::versioned).collect())
    }

    async fn running_versions(&self, limit: usize) -> Result<Vec<Current>, StoreError> {
        let current =
            |read: Versioned| Current { id: read.deployment.id, version: read.version, seen_at: read.deployment.seen.at };
        Ok(self.running(limit).await?.into_iter().map(current).collect())
    }

    async fn some(&self, ids: &[DeploymentId]) -> Result<Vec<Versioned>, StoreError> {
        self.sky.asked("reading deployments").await?;
        let tables = self.tables();
        Ok(ids.iter().filter_map(|id| tables.rows.get(id)).map(Row::versioned).collect())
    }

    async fn outcomes(&self) -> Result<Vec<(Target, Status, u64)>, StoreError> {
        let mut counts: BTreeMap<(Target, &str), (Status, u64)> = BTreeMap::new();
        for row in self.tables().rows.values().filter(|row| row.deployment.phase.is_terminal()) {
            let status = row.deployment.status();
            counts.entry((row.deployment.target.clone(), status.name())).or_insert((status, 0)).1 += 1;
        }
        Ok(counts.into_iter().map(|((target, _), (status, count))| (target, status, count)).collect())
    }

    async fn rollbacks(&self, limit: usize) -> Result<Vec<Took>, StoreError> {
        self.sky.asked("reading how long rollbacks took").await?;
        let tables = self.tables();
        let mut back: Vec<_> =
            tables.rows.values().map(|row| &row.deployment).filter(|d| d.phase == Phase::RolledBack).collect();
        back.sort_by_key(|d| std::cmp::Reverse(d.ended_at));
        let took = back.into_iter().filter(|d| !d.overlays.is_empty()).filter_map(|d| {
            let back = d.going_back.as_ref().filter(|back| back.trigger != Trigger::Outside)?;
            let accepted = [back.accepted_at, d.intent.rollback_accepted_at].into_iter().flatten().min()?;
            let after = |at| time::between(back.requested_at, at);
            Some(Took { accepted: after(accepted), observed: back.observed_at.map(after) })
        });
        Ok(took.take(limit).collect())
    }

    async fn let_go(&self, target: &Target, declaration: &Declaration) -> Result<Vec<DeploymentId>, StoreError> {
        let on_a_route =
            |d: &Deployment| d.target == *target || d.declaration.routes.iter().any(|route| declaration.routes.contains(route));
        let tables = self.tables();
        let abandoned = tables.rows.values().map(|row| &row.deployment).filter(|d| d.phase == Phase::Failed && on_a_route(d));
        Ok(abandoned.map(|d| d.id).collect())
    }

    async fn reserved(&self, listener: &ListenerRef, but: DeploymentId) -> Result<Vec<u32>, StoreError> {
        let tables = self.tables();
        let plans = tables
            .rows
            .values()
            .filter(|row| row.deployment.id != but && !row.deployment.phase.is_terminal())
            .filter_map(|row| row.deployment.plan.as_ref());
        let routes = plans.flat_map(|plan| plan.routes.iter()).filter(|route| &route.listener == listener);
        Ok(routes.flat_map(|route| [route.overlay_number, route.shield_number]).collect())
    }

    async fn drilled(&self, target: &Target, routes: &[RouteRef]) -> Result<Drilled, StoreError> {
        Ok(self.tables().drills.drilled(target, routes))
    }

    async fn events(&self, id: DeploymentId, after: i64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        let tables = self.tables();
        Ok(tables
            .events
            .iter()
            .filter(|(of, event)| *of == id && event.id > after)
            .take(limit)
            .map(|(_, event)| event.clone())
            .collect())
    }

    async fn claim_due(
        &self,
        holder: &HolderId,
        lease: Duration,
        limit: usize,
        _known: &Bundles,
    ) -> Result<Vec<Claim>, StoreError> {
        let now = Instant::now();
        let mut claims = Vec::new();
        for row in self.tables().rows.values_mut() {
            let free = row.lease.as_ref().is_none_or(|(by, until)| by == holder || *until <= now);
            if claims.len() < limit && !row.deployment.phase.is_terminal() && row.due <= now && free {
                row.lease = Some((holder.clone(), now + lease));
                row.due = now + lease;
                let (deployment, clock) = (row.deployment.clone(), RecordClock::showing(Timestamp::now()));
                claims.push(Claim {
                    deployment,
                    version: row.version,
                    lease_ends: now + lease,
                    lease_until: time::after(clock.now(), lease),
                    clock,
                });
            }
        }
        Ok(claims)
    }

    async fn next_due(&self, holder: &HolderId) -> Result<Option<Duration>, StoreError> {
        let tables = self.tables();
        let open = tables.rows.values().filter(|row| !row.deployment.phase.is_terminal());
        let free =
            |row: &Row| row.lease.as_ref().filter(|(by, _)| by != holder).map_or(row.due, |(_, until)| row.due.max(*until));
        Ok(open.map(|row| free(row).saturating_duration_since(Instant::now())).min())
    }

    async fn renew(&self, claim: &Claim, holder: &HolderId, lease: Duration) -> Result<Option<Instant>, StoreError> {
        let ends = Instant::now() + lease;
        let mut tables = self.tables();
        let row = tables.rows.get_mut(&claim.deployment.id);
        Ok(row.filter(|row| row.version == claim.version && row.lease.as_ref().is_some_and(|(by, _)| by == holder)).map(
            |row| {
                row.lease = Some((holder.clone(), ends));
                row.due = ends;
                ends
            },
        ))
    }

    async fn settle(&self, holder: &HolderId, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        let mut tables = self.tables();
        let id = settlement.claim.deployment.id;
        let Some(row) = tables.rows.get(&id) else { return Ok(Settled::Lost) };
        if row.version != settlement.claim.version || row.lease.as_ref().is_none_or(|(by, _)| by != holder) {
            return Ok(Settled::Lost);
        }
        if settlement.is_seen_again() {
            let row = tables.rows.get_mut(&id).expect("found above");
            row.deployment.seen.at = settlement.next.seen.at;
            (row.lease, row.due) = (None, Instant::now() + settlement.due);
            return Ok(Settled::Stored);
        }
        let mut next = settlement.next.clone();
        next.intent = row.deployment.intent.clone();
        let now = Timestamp::now();
        let entered_retiring = (next.phase == Phase::Retiring).then_some(next.phase_since);
        let quiet_from = row.quiet_from.or(entered_retiring).or(next.ended_at);
        let stored =
            Row { deployment: next, version: row.version + 1, lease: None, due: Instant::now() + settlement.due, quiet_from };
        let held = stored.holds();
        if tables.rows.iter().any(|(other, row)| *other != id && row.holds().iter().any(|hold| held.contains(hold))) {
            return Ok(Settled::Held);
        }
        tables.rows.insert(id, stored);
        tables.record(id, now, settlement.events.to_vec());
        if settlement.is_news() {
            self.news.notify_waiters();
        }
        Ok(Settled::Stored)
    }

    async fn release_all(&self, holder: &HolderId) -> Result<(), StoreError> {
        for row in self.tables().rows.values_mut() {
            if row.lease.as_ref().is_some_and(|(by, _)| by == holder) {
                row.lease = None;
                row.due = Instant::now();
            }
        }
        self.news.notify_waiters();
        Ok(())
    }

    async fn heartbeat(&self, holder: &HolderId, alive_for: Duration) -> Result<u32, StoreError> {
        let mut tables = self.tables();
        tables.replicas.insert(holder.clone(), Instant::now());
        let alive = |(id, seen): &(&HolderId, &Instant)| *id == holder || seen.elapsed() < alive_for;
        Ok(u32::try_from(tables.replicas.iter().filter(alive).count()).unwrap())
    }

    async fn command(
        &self,
        id: DeploymentId,
        command: Command,
        given: Given,
        expected: Option<i64>,
    ) -> Result<Commanded, StoreError> {
        self.sky.asked("giving a command").await?;
        Ok(self.give(id, command, given, expected))
    }

    fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send {
        // Made here, not at the first poll: it hears of everything from now on.
        let news = self.news.notified();
        async move {
            let _ = tokio::time::timeout(at_most, news).await;
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.sky.asked("asking whether it is there").await
    }

    async fn token_owner(&self, _sha256: [u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
        // Who may do what is the edge's question; no story in memory asks it.
        Ok(None)
    }

    async fn token_owners(&self, _limit: usize) -> Result<Vec<([u8; 32], TokenOwner)>, StoreError> {
        self.sky.asked("listing tokens").await?;
        Ok(self.tokens.lock().unwrap().clone())
    }
}

impl LaneStore for MemoryStore {
    async fn raise_rollback(&self, id: DeploymentId, given: &Given) -> Result<Commanded, StoreError> {
        self.sky.asked(weather::RAISING).await?;
        Ok(self.give(id, Command::Rollback, given.clone(), None))
    }

    async fn accepted(&self, id: DeploymentId, at: Timestamp) -> Result<Option<Versioned>, StoreError> {
        self.sky.asked(weather::ACCEPTING).await?;
        let mut tables = self.tables();
        let row = tables
            .rows
            .get_mut(&id)
            .filter(|row| row.deployment.intent.rollback.is_some() || row.deployment.going_back.is_some());
        self.news.notify_waiters();
        Ok(row.map(|row| {
            row.deployment.intent.rollback_accepted_at.get_or_insert(at);
            row.versioned()
        }))
    }

    async fn token_owner(&self, sha256: [u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
        Store::token_owner(self, sha256).await
    }

    async fn newest(&self, target: &Target) -> Result<Option<Versioned>, StoreError> {
        self.lane_looks.fetch_add(1, Ordering::Relaxed);
        Store::newest(self, target).await
    }
}
