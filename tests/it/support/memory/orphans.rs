//! The sweeper's records in memory.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        declaration::Provider,
        deployment::Deployment,
        event,
        ids::{DeploymentId, DrillId, GroupName, HolderId},
        orphan::{Clear, Facts, Found, Kind, Sighting, Thing},
        phase::Phase,
        survey::Role,
    },
    engine::{
        ports::StoreError,
        sweeper::ports::{Listed, Noted, OrphanFigures, OrphanFilter, Sighted, Sweep, SweepStore},
    },
};
use jiff::Timestamp;

use super::{MemoryStore, Tables};

/// What the tables hold of it.
#[derive(Debug, Default)]
pub(super) struct Swept {
    turn: i64,
    due: Option<Instant>,
    found: Vec<(Thing, i64, Listed)>,
    /// When each, by its number, was last clear.
    clear_until: HashMap<i64, Timestamp>,
    next_id: i64,
    removed: Vec<Kind>,
}

impl Swept {
    fn is_at(&self, sweep: Sweep) -> bool {
        self.turn == sweep.number && self.due.is_some_and(|due| due > Instant::now())
    }
}

impl MemoryStore {
    /// So long nobody looks at what was found.
    pub fn nobody_sweeps_for(&self, time: Duration) {
        let swept = &mut self.tables().swept;
        swept.clear_until.values_mut().for_each(|at| *at -= time);
        for (_, _, listed) in &mut swept.found {
            listed.first_seen -= time;
            listed.last_seen -= time;
            listed.clear_since = listed.clear_since.map(|at| at - time);
        }
    }
}

impl Tables {
    fn facts_of(&self, found: &Found) -> Facts {
        let deployments = || self.rows.values().map(|row| &row.deployment);
        let tags = found.tags.as_ref();
        let tagged = tags.and_then(|tags| self.rows.get(&tags.deployment?)).map(|row| row.deployment.clone());
        match &found.thing {
            Thing::ServerGroup(name) => {
                let names = |d: &&Deployment| d.plan.as_ref().is_some_and(|plan| in_plan(plan, name));
                let targets: HashSet<_> = deployments().filter(names).map(|d| &d.target).collect();
                Facts {
                    tagged,
                    last: deployments().filter(names).max_by_key(|d| (d.created_at, d.id)).cloned(),
                    shared: targets.len() > 1,
                    live: self.environments.keys().filter_map(|target| self.environment(target)).any(|environment| {
                        environment.live.map(|live| live.group).or(environment.declaration.blue).as_ref() == Some(name)
                    }),
                    ..Facts::default()
                }
            }
            Thing::Rule(_) => {
                let route = tags.and_then(|tags| tags.route.as_ref());
                let busy = deployments().filter(|d| !d.phase.is_terminal()).any(|d| {
                    tagged.as_ref().is_some_and(|tagged| tagged.target == d.target)
                        || route.is_some_and(|route| d.declaration.routes.contains(route))
                });
                let drill = tags.filter(|tags| tags.role == Some(Role::Drill)).and_then(|tags| tags.deployment);
                let drill = drill.and_then(|id| self.drills.get(DrillId::new(id.uuid())));
                let target = tagged.as_ref().map(|d| &d.target).or(drill.as_ref().map(|d| &d.target));
                let serving = target.and_then(|target| self.environment(target)?.live).map(|live| live.slot);
                Facts { tagged, drill, busy, serving, ..Facts::default() }
            }
        }
    }
}

fn in_plan(plan: &cutover::domain::plan::Plan, name: &GroupName) -> bool {
    &plan.green.group == name || plan.blue.as_ref().is_some_and(|blue| &blue.group == name)
}

impl SweepStore for MemoryStore {
    async fn claim_sweep(&self, _holder: &HolderId, lease: Duration) -> Result<Option<Sweep>, StoreError> {
        let (swept, now) = (&mut self.tables().swept, Instant::now());
        if swept.due.is_some_and(|due| due > now) {
            return Ok(None);
        }
        swept.turn += 1;
        swept.due = Some(now + lease);
        Ok(Some(Sweep { number: swept.turn, ends: now + lease }))
    }

    async fn next_sweep(&self) -> Result<Duration, StoreError> {
        let due = self.tables().swept.due;
        Ok(due.map_or(Duration::ZERO, |due| due.saturating_duration_since(Instant::now())))
    }

    async fn facts(&self, found: &[Found]) -> Result<Vec<Facts>, StoreError> {
        let tables = self.tables();
        Ok(found.iter().map(|found| tables.facts_of(found)).collect())
    }

    async fn adopted(&self) -> Result<Vec<(Provider, GroupName)>, StoreError> {
        let tables = self.tables();
        let first = |target| {
            let ended = tables.rows.values().map(|row| &row.deployment);
            let of = ended.filter(|d| &d.target == target && d.phase == Phase::Succeeded);
            of.min_by_key(|d| d.number)
        };
        let named = |d: &Deployment| Some((d.declaration.provider.clone(), d.plan.as_ref()?.blue.as_ref()?.group.clone()));
        Ok(tables.environments.keys().filter_map(first).filter_map(named).collect())
    }

    async fn sight(&self, sweep: Sweep, seen: Sighted<'_>) -> Result<Option<Noted>, StoreError> {
        let (swept, now) = (&mut self.tables().swept, Timestamp::now());
        if !swept.is_at(sweep) {
            return Ok(None);
        }
        let here = |of: &(Thing, i64, Listed)| &of.0 == seen.thing && &of.2.provider == seen.provider;
        let at = swept.found.iter().position(here).unwrap_or_else(|| {
            swept.next_id += 1;
            let listed = Listed {
                id: swept.next_id,
                provider: seen.provider.clone(),
                kind: seen.thing.kind(),
                name: seen.thing.name().to_owned(),
                deployment: None,
                target: None,
                why: String::new(),
                kept_because: None,
                first_seen: now,
                last_seen: now,
                clear_since: None,
                removing_since: None,
            };
            swept.found.push((seen.thing.clone(), sweep.number, listed));
            swept.found.len() - 1
        });
        let (_, seen_in, listed) = &mut swept.found[at];
        *seen_in = sweep.number;
        listed.deployment = seen.orphan.deployment;
        listed.target.clone_from(&seen.orphan.target);
        listed.why.clone_from(&seen.orphan.why);
        listed.kept_because = seen.way.kept_because().map(str::to_owned);
        listed.last_seen = now;
        let row = listed.clear_since.zip(swept.clear_until.remove(&listed.id)).map(|(since, until)| Clear { since, until });
        let clear = Clear::after(row, seen.way.is_clear(), now, seen.gap_max);
        listed.clear_since = clear.map(|row| row.since);
        swept.clear_until.extend(clear.map(|row| (listed.id, row.until)));
        let sighting = Sighting { first_seen: listed.first_seen, clear_since: listed.clear_since, now };
        Ok(Some(Noted { id: listed.id, sighting }))
    }

    async fn begin_removal(&self, sweep: Sweep, id: i64) -> Result<bool, StoreError> {
        let swept = &mut self.tables().swept;
        let at = swept.is_at(sweep);
        let listed = swept.found.iter_mut().map(|(_, _, listed)| listed).find(|listed| at && listed.id == id);
        Ok(listed.map(|listed| listed.removing_since.get_or_insert_with(Timestamp::now)).is_some())
    }

    async fn forget(&self, sweep: Sweep, provider: &Provider, claimed: &[Thing]) -> Result<Vec<Thing>, StoreError> {
        let mut tables = self.tables();
        let tables = &mut *tables;
        if !tables.swept.is_at(sweep) {
            return Ok(Vec::new());
        }
        let unseen = |(_, seen_in, listed): &mut (Thing, i64, Listed)| &listed.provider == provider && *seen_in < sweep.number;
        let mut gone = Vec::new();
        let forgotten: Vec<_> = tables.swept.found.extract_if(.., unseen).collect();
        for (thing, _, listed) in forgotten {
            if listed.removing_since.is_some() && !claimed.contains(&thing) {
                let known = |id: &DeploymentId| tables.rows.contains_key(id);
                if let Some(id) = listed.deployment.filter(known) {
                    tables.record(id, Timestamp::now(), vec![event::swept(&thing)]);
                }
                tables.swept.removed.push(thing.kind());
                gone.push(thing);
            }
        }
        Ok(gone)
    }

    async fn finish_sweep(&self, sweep: Sweep, places: &[Provider], every: Duration) -> Result<(), StoreError> {
        let swept = &mut self.tables().swept;
        if swept.is_at(sweep) {
            swept.found.retain(|(_, _, listed)| places.contains(&listed.provider));
            swept.due = Some(Instant::now() + every);
        }
        Ok(())
    }

    async fn orphans(&self, filter: &OrphanFilter) -> Result<Vec<Listed>, StoreError> {
        let tables = self.tables();
        let wanted = |listed: &&Listed| {
            let target = listed.target.as_ref();
            seen_for(listed, filter.seen_for)
                && filter.service.as_ref().is_none_or(|service| target.is_some_and(|target| service == &target.service))
                && filter.environment.as_ref().is_none_or(|wanted| target.is_some_and(|target| wanted == &target.environment))
                && listed.id > filter.after
        };
        let all = tables.swept.found.iter().map(|(_, _, listed)| listed);
        let mut found: Vec<_> = all.filter(wanted).cloned().collect();
        found.sort_by_key(|listed| listed.id);
        found.truncate(filter.limit);
        Ok(found)
    }

    async fn orphan_figures(&self, least: Duration) -> Result<OrphanFigures, StoreError> {
        let tables = self.tables();
        let swept = &tables.swept;
        let listed = swept.found.iter().map(|(_, _, listed)| listed).filter(|listed| seen_for(listed, least));
        let listed: Vec<_> = listed.map(|listed| listed.kind).collect();
        let count = |of: &[Kind]| {
            let of = |kind| (kind, u64::try_from(of.iter().filter(|one| **one == kind).count()).unwrap());
            Kind::ALL.map(of).to_vec()
        };
        Ok(OrphanFigures { listed: count(&listed), removed: count(&swept.removed) })
    }
}

fn seen_for(listed: &Listed, least: Duration) -> bool {
    cutover::domain::time::between(listed.first_seen, listed.last_seen) >= least
}
