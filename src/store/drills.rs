//! Drills of the way back, beside the deployments: begun, claimed and settled in the same way.
//!
//! A drill and a deployment of one route each go on record first and look for the other afterwards, so that of two which begin at
//! once at least one finds the other: the drill then gives up, the deployment waits.

use std::time::{Duration, Instant};

use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{
    PgStore,
    deployments::{self, page},
    error::Doing,
    holds::{self, Holds},
    rows,
};
use crate::{
    domain::{
        declaration::Declaration,
        deployment::{Deployment, Live},
        drill::{Drill, Drilled, Phase},
        ids::{DeploymentId, DrillId, HolderId, RouteRef, Target},
    },
    engine::{
        drills::ports::{Begun, DrillClaim, DrillFigures, DrillStore, Due, NewDrill, Turn},
        ports::{Settled, StoreError},
    },
};

const BEGINNING: &str = "beginning a drill";
const READING: &str = "reading a drill";

impl DrillStore for PgStore {
    async fn begin_drill(&self, new: NewDrill) -> Result<Begun, StoreError> {
        self.within(begin(&self.pool, new)).await
    }

    async fn deployment_on(&self, drill: &Drill) -> Result<Option<Deployment>, StoreError> {
        self.within(deployment_on(&self.pool, &holds::from_the_start(&drill.target, &drill.declaration))).await
    }

    async fn due_schedules(&self, limit: usize) -> Result<Vec<Due>, StoreError> {
        self.within(due_schedules(&self.pool, limit)).await
    }

    async fn claim_drills(&self, holder: &HolderId, lease: Duration, limit: usize) -> Result<Vec<DrillClaim>, StoreError> {
        self.within(claim(&self.pool, holder, lease, limit)).await
    }

    async fn settle_drill(
        &self,
        holder: &HolderId,
        claim: &DrillClaim,
        next: &Drill,
        due: Duration,
        kept_max: usize,
    ) -> Result<Settled, StoreError> {
        self.within(settle(&self.pool, holder, claim, next, due, kept_max)).await
    }

    async fn next_drill(&self, holder: &HolderId) -> Result<Option<Duration>, StoreError> {
        self.within(next_due(&self.pool, holder)).await
    }

    async fn release_drills(&self, holder: &HolderId) -> Result<(), StoreError> {
        self.within(release(&self.pool, holder)).await
    }

    async fn drill(&self, id: DrillId) -> Result<Option<Drill>, StoreError> {
        self.within(get(&self.pool, id)).await
    }

    async fn drills(&self, target: &Target, before: Option<DrillId>, limit: usize) -> Result<Vec<Drill>, StoreError> {
        self.within(list(&self.pool, target, before, limit)).await
    }

    async fn drill_figures(&self) -> Result<Vec<DrillFigures>, StoreError> {
        self.within(figures(&self.pool)).await
    }
}

pub(super) fn read(record: Value) -> Result<Drill, StoreError> {
    serde_json::from_value(record).doing(READING)
}

async fn begin(pool: &PgPool, new: NewDrill) -> Result<Begun, StoreError> {
    let mut transaction = pool.begin().await.doing(BEGINNING)?;
    let Some((declaration, live)) = declared(&mut transaction, &new.target).await? else { return Ok(Begun::NotDeclared) };
    if let Some(turn) = new.scheduled
        && !take_turn(&mut transaction, &new.target, turn).await?
    {
        return Ok(Begun::Moved);
    }
    let holds = holds::from_the_start(&new.target, &declaration);
    if let Some(deployment) = deployment_on(pool, &holds).await? {
        return Ok(Begun::Deployment(Box::new(deployment)));
    }
    let drill = new.recorded(declaration, live);
    if !store(&mut transaction, &drill).await? {
        let running = running(&mut transaction, &drill.target).await?;
        return Ok(running.map_or(Begun::Moved, |running| Begun::Running(Box::new(running))));
    }
    transaction.commit().await.doing(BEGINNING)?;
    Ok(Begun::Started(Box::new(drill)))
}

async fn declared(connection: &mut PgConnection, target: &Target) -> Result<Option<(Declaration, Option<Live>)>, StoreError> {
    let row = sqlx::query!(
        "select declaration, live from environments join environment_revisions using (service, environment, revision)
         where service = $1 and environment = $2",
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_optional(connection)
    .await
    .doing(BEGINNING)?;
    row.map(|row| Ok((rows::declaration(row.declaration)?, row.live.map(rows::live).transpose()?))).transpose()
}

/// `false` when another replica has it, or the schedule was declared anew.
async fn take_turn(connection: &mut PgConnection, target: &Target, turn: Turn) -> Result<bool, StoreError> {
    let taken = sqlx::query!(
        "update environments set drill_due_at = $4 where service = $1 and environment = $2 and drill_due_at = $3",
        target.service.as_str(),
        target.environment.as_str(),
        turn.due.to_sqlx() as _,
        turn.next.map(ToSqlx::to_sqlx) as _,
    )
    .execute(connection)
    .await
    .doing(BEGINNING)?;
    Ok(taken.rows_affected() == 1)
}

/// `false` when one runs already.
async fn store(connection: &mut PgConnection, drill: &Drill) -> Result<bool, StoreError> {
    let routes: Vec<_> = drill.declaration.routes.iter().map(ToString::to_string).collect();
    let stored = sqlx::query!(
        "insert into drills (id, service, environment, record, routes, created_at) values ($1, $2, $3, $4, $5, $6)
         on conflict (service, environment) where ended_at is null do nothing",
        drill.id.uuid(),
        drill.target.service.as_str(),
        drill.target.environment.as_str(),
        serde_json::to_value(drill).doing(BEGINNING)?,
        &routes,
        drill.created_at.to_sqlx() as _,
    )
    .execute(connection)
    .await
    .doing(BEGINNING)?;
    Ok(stored.rows_affected() == 1)
}

async fn running(connection: &mut PgConnection, target: &Target) -> Result<Option<Drill>, StoreError> {
    sqlx::query_scalar!(
        "select record from drills where service = $1 and environment = $2 and ended_at is null",
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_optional(connection)
    .await
    .doing(READING)?
    .map(read)
    .transpose()
}

async fn deployment_on(pool: &PgPool, holds: &Holds) -> Result<Option<Deployment>, StoreError> {
    let id = sqlx::query_scalar!(
        "select deployment_id from deployment_holds join unnest($1::text[], $2::text[]) as h (kind, key) using (kind, key)
         where active order by kind = 'environment' desc limit 1",
        &holds.kinds,
        &holds.keys,
    )
    .fetch_optional(pool)
    .await
    .doing("asking which deployment is at work where a drill is")?;
    let Some(id) = id else { return Ok(None) };
    Ok(deployments::get(pool, DeploymentId::new(id)).await?.map(|read| read.deployment))
}

/// What a deployment has to know of them.
pub(super) async fn drilled(pool: &PgPool, target: &Target, routes: &[RouteRef]) -> Result<Drilled, StoreError> {
    let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
    // What ended longer ago than any request lives has nothing under way.
    let row = sqlx::query!(
        r#"select coalesce(bool_or(ended_at is null), false) as "running!",
               max(ended_at) filter (where record -> 'plan' <> 'null') as ended_at
           from drills
           where (ended_at is null or ended_at > now() - interval '1 day')
               and ((service = $1 and environment = $2) or routes && $3)"#,
        target.service.as_str(),
        target.environment.as_str(),
        &routes,
    )
    .fetch_one(pool)
    .await
    .doing("asking for drills on a deployment's routes")?;
    Ok(Drilled { running: row.running, ended_at: row.ended_at.map(jiff_sqlx::Timestamp::to_jiff) })
}

async fn due_schedules(pool: &PgPool, limit: usize) -> Result<Vec<Due>, StoreError> {
    let doing = "asking which drills are due";
    let rows = sqlx::query!(
        r#"select e.service, e.environment, e.drill_due_at as "due!", now() as "now!", r.declaration
           from environments as e join environment_revisions as r using (service, environment, revision)
           where e.drill_due_at <= now()
               and not exists (select from deployment_holds as h
                   where h.active and h.kind = 'environment' and h.key = e.service || '/' || e.environment)
               and not exists (select from drills as d
                   where d.service = e.service and d.environment = e.environment and d.ended_at is null)
           order by e.drill_due_at limit $1"#,
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing(doing)?;
    let read = rows.into_iter().map(|row| {
        Ok(Due {
            target: rows::target(row.service, row.environment),
            at: row.due.to_jiff(),
            now: row.now.to_jiff(),
            declaration: rows::declaration(row.declaration)?,
        })
    });
    read.collect()
}

async fn claim(pool: &PgPool, holder: &HolderId, lease: Duration, limit: usize) -> Result<Vec<DrillClaim>, StoreError> {
    let lease_ends = Instant::now() + lease;
    let rows = sqlx::query!(
        "with due as (
             select id from drills
             where due_at <= now() and (lease_until is null or lease_until <= now() or lease_holder = $1)
             order by due_at limit $3 for update skip locked
         )
         update drills as d
         set lease_holder = $1, lease_until = now() + make_interval(secs => $2), due_at = now() + make_interval(secs => $2)
         from due where d.id = due.id
         returning d.id, d.record, d.version",
        holder.as_str(),
        lease.as_secs_f64(),
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing("claiming due drills")?;
    // One that cannot be read must not stop the others.
    let claims = rows.into_iter().filter_map(|row| match read(row.record) {
        Ok(drill) => Some(DrillClaim { drill, version: row.version, lease_ends }),
        Err(error) => {
            tracing::error!(id = %row.id, ?error, "a drill's record cannot be read: left alone");
            None
        }
    });
    Ok(claims.collect())
}

async fn settle(
    pool: &PgPool,
    holder: &HolderId,
    claim: &DrillClaim,
    next: &Drill,
    due: Duration,
    kept_max: usize,
) -> Result<Settled, StoreError> {
    let ended = next.phase == Phase::Ended;
    let settled = sqlx::query!(
        "update drills
         set record = $4, version = version + 1, lease_holder = null, lease_until = null,
             due_at = case when $5 then null else now() + make_interval(secs => $6) end, ended_at = $7
         where id = $1 and version = $2 and lease_holder = $3",
        next.id.uuid(),
        claim.version,
        holder.as_str(),
        serde_json::to_value(next).doing("writing a drill's record")?,
        ended,
        due.as_secs_f64(),
        next.ended_at.map(ToSqlx::to_sqlx) as _,
    )
    .execute(pool)
    .await
    .doing("settling a drill")?;
    if settled.rows_affected() == 0 {
        return Ok(Settled::Lost);
    }
    if ended {
        forget(pool, &next.target, kept_max).await?;
    }
    Ok(Settled::Stored)
}

async fn forget(pool: &PgPool, target: &Target, kept_max: usize) -> Result<(), StoreError> {
    sqlx::query!(
        "delete from drills where ended_at is not null and id in (
             select id from drills where service = $1 and environment = $2 order by id desc offset $3
         )",
        target.service.as_str(),
        target.environment.as_str(),
        i64::try_from(kept_max).unwrap_or(i64::MAX),
    )
    .execute(pool)
    .await
    .doing("forgetting old drills")?;
    Ok(())
}

async fn next_due(pool: &PgPool, holder: &HolderId) -> Result<Option<Duration>, StoreError> {
    let seconds = sqlx::query_scalar!(
        "select extract(epoch from least(
             (select min(case when lease_holder is null or lease_holder = $1 then due_at else greatest(due_at, lease_until) end)
              from drills where due_at is not null),
             (select min(drill_due_at) from environments where drill_due_at > now())
         ) - now())::float8",
        holder.as_str(),
    )
    .fetch_one(pool)
    .await
    .doing("asking when a drill is due")?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

async fn release(pool: &PgPool, holder: &HolderId) -> Result<(), StoreError> {
    sqlx::query!(
        "update drills set lease_holder = null, lease_until = null, due_at = now() where lease_holder = $1",
        holder.as_str(),
    )
    .execute(pool)
    .await
    .doing("giving back leases of drills")?;
    Ok(())
}

async fn get(pool: &PgPool, id: DrillId) -> Result<Option<Drill>, StoreError> {
    let record = sqlx::query_scalar!("select record from drills where id = $1", id.uuid()).fetch_optional(pool);
    record.await.doing(READING)?.map(read).transpose()
}

async fn list(pool: &PgPool, target: &Target, before: Option<DrillId>, limit: usize) -> Result<Vec<Drill>, StoreError> {
    let records = sqlx::query_scalar!(
        "select record from drills
         where service = $1 and environment = $2 and ($3::uuid is null or id < $3)
         order by id desc limit $4",
        target.service.as_str(),
        target.environment.as_str(),
        before.map(DrillId::uuid),
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing("listing drills")?;
    records.into_iter().map(read).collect()
}

async fn figures(pool: &PgPool) -> Result<Vec<DrillFigures>, StoreError> {
    let doing = "reading how drills went";
    let rows = sqlx::query!(
        r#"select distinct on (d.service, d.environment) d.record,
               (select max(p.ended_at) from drills as p
                where p.service = d.service and p.environment = d.environment and p.outcome = 'passed') as passed_at
           from drills as d where d.ended_at is not null and d.outcome <> 'skipped'
           order by d.service, d.environment, d.id desc"#,
    )
    .fetch_all(pool)
    .await
    .doing(doing)?;
    let read = rows
        .into_iter()
        .map(|row| Ok(DrillFigures { drill: read(row.record)?, passed_at: row.passed_at.map(jiff_sqlx::Timestamp::to_jiff) }));
    read.collect()
}

/// The records that sweeps ask for.
pub(super) async fn named(pool: &PgPool, ids: &[Uuid]) -> Result<Vec<Drill>, StoreError> {
    let records =
        sqlx::query_scalar!("select record from drills where id = any($1)", ids).fetch_all(pool).await.doing(READING)?;
    records.into_iter().map(read).collect()
}
