//! Drills' records in memory.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        declaration::Declaration,
        deployment::Deployment,
        drill::{Drill, Drilled, Outcome, Phase},
        ids::{DrillId, HolderId, RouteRef, Target},
    },
    engine::{
        drills::ports::{Begun, DrillClaim, DrillFigures, DrillStore, Due, NewDrill},
        ports::{Settled, StoreError},
    },
};
use jiff::Timestamp;

use super::{MemoryStore, Tables};

#[derive(Debug)]
struct DrillRow {
    drill: Drill,
    version: i64,
    lease: Option<(HolderId, Instant)>,
    due: Instant,
}

/// What the tables hold of them.
#[derive(Debug, Default)]
pub(super) struct Drills {
    rows: BTreeMap<DrillId, DrillRow>,
    due: BTreeMap<Target, Timestamp>,
}

impl Drills {
    fn of(&self, target: &Target) -> impl DoubleEndedIterator<Item = &Drill> {
        self.rows.values().map(|row| &row.drill).filter(move |drill| &drill.target == target)
    }

    fn running(&self) -> impl Iterator<Item = &Drill> {
        self.rows.values().map(|row| &row.drill).filter(|drill| drill.phase != Phase::Ended)
    }

    /// What an environment shows.
    pub(super) fn last(&self, target: &Target) -> Option<Box<Drill>> {
        self.of(target).rfind(|drill| drill.outcome != Some(Outcome::Skipped)).cloned().map(Box::new)
    }

    pub(super) fn get(&self, id: DrillId) -> Option<Drill> {
        self.rows.get(&id).map(|row| row.drill.clone())
    }

    pub(super) fn drilled(&self, target: &Target, routes: &[RouteRef]) -> Drilled {
        let here = |drill: &&Drill| &drill.target == target || drill.declaration.routes.iter().any(|r| routes.contains(r));
        let ended = self.rows.values().map(|row| &row.drill).filter(here).filter(|drill| drill.plan.is_some());
        Drilled { running: self.running().any(|drill| here(&drill)), ended_at: ended.filter_map(|drill| drill.ended_at).max() }
    }

    pub(super) fn declared(&mut self, target: &Target, before: Option<&Declaration>, now: &Declaration) {
        let schedule = |of: &Declaration| of.drill.as_ref().and_then(|spec| spec.schedule.clone());
        if before.map(schedule) == Some(schedule(now)) {
            return;
        }
        match schedule(now).and_then(|schedule| schedule.next_after(Timestamp::now())) {
            Some(next) => self.due.insert(target.clone(), next),
            None => self.due.remove(target),
        };
    }
}

impl MemoryStore {
    /// So much time passes, for schedules alone.
    pub fn schedules_come_nearer_by(&self, time: Duration) {
        self.tables().drills.due.values_mut().for_each(|due| *due -= time);
    }

    /// When a schedule is due next.
    pub fn drill_due(&self, target: &Target) -> Option<Timestamp> {
        self.tables().drills.due.get(target).copied()
    }
}

impl Tables {
    fn at_work(&self, target: &Target, declaration: &Declaration) -> Option<Deployment> {
        let running = self.rows.values().map(|row| &row.deployment).filter(|d| !d.phase.is_terminal());
        let on = |d: &&Deployment| {
            &d.target == target || d.declaration.routes.iter().any(|route| declaration.routes.contains(route))
        };
        running.filter(on).max_by_key(|d| &d.target == target).cloned()
    }
}

impl DrillStore for MemoryStore {
    async fn begin_drill(&self, new: NewDrill) -> Result<Begun, StoreError> {
        let mut tables = self.tables();
        let Some(environment) = tables.environment(&new.target) else { return Ok(Begun::NotDeclared) };
        if new.scheduled.is_some_and(|turn| tables.drills.due.get(&new.target) != Some(&turn.due)) {
            return Ok(Begun::Moved);
        }
        if let Some(deployment) = tables.at_work(&new.target, &environment.declaration) {
            return Ok(Begun::Deployment(Box::new(deployment)));
        }
        if let Some(running) = tables.drills.running().find(|drill| drill.target == new.target) {
            return Ok(Begun::Running(Box::new(running.clone())));
        }
        match new.scheduled.map(|turn| turn.next) {
            Some(Some(next)) => drop(tables.drills.due.insert(new.target.clone(), next)),
            Some(None) => drop(tables.drills.due.remove(&new.target)),
            None => {}
        }
        let drill = new.recorded(environment.declaration, environment.live);
        let row = DrillRow { drill: drill.clone(), version: 1, lease: None, due: Instant::now() };
        tables.drills.rows.insert(drill.id, row);
        Ok(Begun::Started(Box::new(drill)))
    }

    async fn deployment_on(&self, drill: &Drill) -> Result<Option<Deployment>, StoreError> {
        Ok(self.tables().at_work(&drill.target, &drill.declaration))
    }

    async fn due_schedules(&self, limit: usize) -> Result<Vec<Due>, StoreError> {
        let (tables, now) = (self.tables(), Timestamp::now());
        let due = tables.drills.due.iter().filter(|(_, at)| **at <= now).filter_map(|(target, at)| {
            let environment = tables.environment(target)?;
            let free = environment.running.is_none() && !tables.drills.running().any(|drill| &drill.target == target);
            free.then_some(Due { target: target.clone(), at: *at, now, declaration: environment.declaration })
        });
        Ok(due.take(limit).collect())
    }

    async fn claim_drills(&self, holder: &HolderId, lease: Duration, limit: usize) -> Result<Vec<DrillClaim>, StoreError> {
        let (now, mut claims) = (Instant::now(), Vec::new());
        for row in self.tables().drills.rows.values_mut() {
            let free = row.lease.as_ref().is_none_or(|(by, until)| by == holder || *until <= now);
            if claims.len() < limit && row.drill.phase != Phase::Ended && row.due <= now && free {
                row.lease = Some((holder.clone(), now + lease));
                row.due = now + lease;
                claims.push(DrillClaim { drill: row.drill.clone(), version: row.version, lease_ends: now + lease });
            }
        }
        Ok(claims)
    }

    async fn settle_drill(
        &self,
        holder: &HolderId,
        claim: &DrillClaim,
        next: &Drill,
        due: Duration,
        kept_max: usize,
    ) -> Result<Settled, StoreError> {
        let mut tables = self.tables();
        let Some(row) = tables.drills.rows.get_mut(&next.id) else { return Ok(Settled::Lost) };
        if row.version != claim.version || row.lease.as_ref().is_none_or(|(by, _)| by != holder) {
            return Ok(Settled::Lost);
        }
        *row = DrillRow { drill: next.clone(), version: row.version + 1, lease: None, due: Instant::now() + due };
        if next.phase == Phase::Ended {
            let old: Vec<_> = tables.drills.of(&next.target).rev().skip(kept_max).map(|drill| drill.id).collect();
            tables.drills.rows.retain(|id, _| !old.contains(id));
        }
        Ok(Settled::Stored)
    }

    async fn next_drill(&self, holder: &HolderId) -> Result<Option<Duration>, StoreError> {
        let (tables, now) = (self.tables(), Instant::now());
        let open = tables.drills.rows.values().filter(|row| row.drill.phase != Phase::Ended);
        let free = |row: &DrillRow| {
            row.lease.as_ref().filter(|(by, _)| by != holder).map_or(row.due, |(_, until)| row.due.max(*until))
        };
        let drills = open.map(|row| free(row).saturating_duration_since(now));
        let schedules = tables.drills.due.values().map(|at| at.duration_since(Timestamp::now()));
        Ok(drills.chain(schedules.filter_map(|left| Duration::try_from(left).ok())).min())
    }

    async fn release_drills(&self, holder: &HolderId) -> Result<(), StoreError> {
        for row in self.tables().drills.rows.values_mut() {
            if row.lease.as_ref().is_some_and(|(by, _)| by == holder) {
                (row.lease, row.due) = (None, Instant::now());
            }
        }
        Ok(())
    }

    async fn drill(&self, id: DrillId) -> Result<Option<Drill>, StoreError> {
        Ok(self.tables().drills.get(id))
    }

    async fn drills(&self, target: &Target, before: Option<DrillId>, limit: usize) -> Result<Vec<Drill>, StoreError> {
        let tables = self.tables();
        let found = tables.drills.of(target).rev().filter(|drill| before.is_none_or(|before| drill.id < before));
        Ok(found.take(limit).cloned().collect())
    }

    async fn drill_figures(&self) -> Result<Vec<DrillFigures>, StoreError> {
        let tables = self.tables();
        let ended = |target: &Target| {
            let went = |drill: &&Drill| drill.phase == Phase::Ended && drill.outcome != Some(Outcome::Skipped);
            let drill = tables.drills.of(target).rfind(went)?.clone();
            let passed = tables.drills.of(target).filter(|drill| drill.outcome == Some(Outcome::Passed));
            Some(DrillFigures { drill, passed_at: passed.filter_map(|drill| drill.ended_at).max() })
        };
        Ok(tables.environments.keys().filter_map(ended).collect())
    }
}
