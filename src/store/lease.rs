//! Leases, by the database's clock, and what a tick leaves behind. Each is one statement, so that no row lock outlives the
//! round trip: a replica that stalls between two statements would make a rollback wait for it.

use std::time::{Duration, Instant};

use jiff_sqlx::ToSqlx;
use sqlx::{PgPool, types::Json};

use super::{
    deployments,
    error::{Doing, refused_by, told},
    holds::{self, ONE_RUNNING},
    rows::DeploymentRow,
};
use crate::{
    domain::{
        deployment::{Deployment, Live},
        event::Event,
        ids::{DeploymentId, HolderId},
        phase::Phase,
    },
    engine::{
        age::RecordClock,
        bundles::Bundles,
        ports::{Claim, Settled, Settlement, StoreError, Versioned},
    },
};

/// A claim moves `due_at` to the lease's end: a row at work is not offered again to its own holder until a command asks for it.
pub(super) async fn claim_due(
    pool: &PgPool,
    holder: &HolderId,
    lease: Duration,
    limit: usize,
    known: &Bundles,
) -> Result<Vec<Claim>, StoreError> {
    let lease_ends = Instant::now() + lease;
    let rows = sqlx::query!(
        r#"with due as (
             select id from deployments
             where due_at <= now() and (lease_until is null or lease_until <= now() or lease_holder = $1)
             order by due_at limit $3 for update skip locked
         )
         update deployments as d
         set lease_holder = $1, lease_until = now() + make_interval(secs => $2), due_at = now() + make_interval(secs => $2)
         from due where d.id = due.id
         returning d.id, d.rollback_accepted_at, d.seen_at, d.version, d.lease_until as "lease_until!", now() as "now!""#,
        holder.as_str(),
        lease.as_secs_f64(),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(pool)
    .await
    .doing("claiming due deployments")?;
    // One statement, one time: every lease of it ends together.
    let times = rows.first().map(|row| (RecordClock::showing(row.now.to_jiff()), row.lease_until.to_jiff()));
    let Some((clock, lease_until)) = times else { return Ok(Vec::new()) };
    let claim = |read: Versioned| Claim { deployment: read.deployment, version: read.version, lease_ends, lease_until, clock };
    let (mut claims, mut unknown) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let id = DeploymentId::new(row.id);
        match known.at(id, row.version) {
            Some(record) => {
                let mut d = Deployment::clone(&record);
                d.intent.rollback_accepted_at = row.rollback_accepted_at.map(jiff_sqlx::Timestamp::to_jiff);
                d.seen.at = d.seen.at.max(row.seen_at.map(jiff_sqlx::Timestamp::to_jiff));
                claims.push(claim(Versioned { deployment: d, version: row.version }));
            }
            None => unknown.push(id),
        }
    }
    if !unknown.is_empty() {
        // Whoever else wrote since can only have given a command: then this reads the newer version, which is as good.
        claims.extend(deployments::some(pool, &unknown).await?.into_iter().map(claim));
    }
    Ok(claims)
}

/// One record that cannot be read must not stop the others; it stays where it is and is told of each time it comes up.
pub(super) fn readable(rows: Vec<DeploymentRow>) -> impl Iterator<Item = Versioned> {
    rows.into_iter().filter_map(|row| {
        let id = row.id();
        row.read().inspect_err(|error| tracing::error!(?id, ?error, "a deployment's record cannot be read: left alone")).ok()
    })
}

pub(super) async fn next_due(pool: &PgPool, holder: &HolderId) -> Result<Option<Duration>, StoreError> {
    // Two indexed looks: what is free or ours, and the few that others hold, which come free when their lease ends.
    let seconds = sqlx::query_scalar!(
        r#"select extract(epoch from least(
               (select min(due_at) from deployments
                where due_at is not null and (lease_holder is null or lease_holder = $1)),
               (select min(greatest(due_at, lease_until)) from deployments
                where lease_holder is not null and lease_holder <> $1)
           ) - now())::float8"#,
        holder.as_str(),
    )
    .fetch_one(pool)
    .await
    .doing("asking when something is due")?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

pub(super) async fn renew(
    pool: &PgPool,
    claim: &Claim,
    holder: &HolderId,
    lease: Duration,
) -> Result<Option<Instant>, StoreError> {
    let lease_ends = Instant::now() + lease;
    let renewed = sqlx::query!(
        "update deployments
         set lease_until = now() + make_interval(secs => $4), due_at = now() + make_interval(secs => $4)
         where id = $1 and version = $2 and lease_holder = $3",
        claim.deployment.id.uuid(),
        claim.version,
        holder.as_str(),
        lease.as_secs_f64(),
    )
    .execute(pool)
    .await
    .doing("renewing a lease")?;
    Ok((renewed.rows_affected() == 1).then_some(lease_ends))
}

pub(super) async fn release_all(pool: &PgPool, holder: &HolderId) -> Result<(), StoreError> {
    sqlx::query!(
        "update deployments set lease_holder = null, lease_until = null, due_at = now() where lease_holder = $1",
        holder.as_str(),
    )
    .execute(pool)
    .await
    .doing("giving back leases")?;
    Ok(())
}

pub(super) async fn settle(pool: &PgPool, holder: &HolderId, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
    let Settlement { claim, next, events, due, .. } = settlement;
    let ended = next.phase.is_terminal();
    let planned = match (&claim.deployment.plan, &next.plan) {
        (None, Some(plan)) => holds::from_the_plan(plan),
        _ => holds::Holds::default(),
    };
    let live = live_after(next).map(serde_json::to_value).transpose().doing("writing the live group")?;
    let told_of = EventColumns::of(events);
    let settled = sqlx::query_scalar!(
        r#"with settled as (
               update deployments
               set record = $4::jsonb - 'intent', version = version + 1, lease_holder = null, lease_until = null,
                   due_at = case when $5 then null else now() + make_interval(secs => $6) end,
                   ended_at = $7, quiet_from = coalesce(quiet_from, $8)
               where id = $1 and version = $2 and lease_holder = $3
               returning id, service, environment
           ), told as (
               insert into events (deployment_id, kind, message, actor, data)
               select settled.id, e.kind, e.message, e.actor, e.data
               from settled, unnest($9::text[], $10::text[], $11::text[], $12::jsonb[])
                   with ordinality as e (kind, message, actor, data, place)
               order by e.place
           ), held as (
               insert into deployment_holds (deployment_id, kind, key, number, active)
               select settled.id, h.kind, h.key, h.number, not $5
               from settled, unnest($13::text[], $14::text[], $15::integer[]) as h (kind, key, number)
           ), let_go as (
               update deployment_holds as h set active = false
               from settled where h.deployment_id = settled.id and h.active and $5
           ), lives as (
               update environments as e set live = $16
               from settled
               where e.service = settled.service and e.environment = settled.environment and $16::jsonb is not null
           )
           select exists (select from settled) as "settled!""#,
        claim.deployment.id.uuid(),
        claim.version,
        holder.as_str(),
        Json(next) as _,
        ended,
        due.as_secs_f64(),
        next.ended_at.map(ToSqlx::to_sqlx) as _,
        quiet_from(next).map(ToSqlx::to_sqlx) as _,
        &told_of.kinds,
        &told_of.messages,
        &told_of.actors,
        &told_of.data,
        &planned.kinds,
        &planned.keys,
        &planned.numbers,
        live,
    )
    .fetch_one(pool)
    .await;
    match settled {
        Ok(true) => Ok(Settled::Stored),
        Ok(false) => Ok(Settled::Lost),
        Err(error) if refused_by(&error) == Some(ONE_RUNNING) => Ok(Settled::Held),
        Err(error) => Err(told(error, "settling a deployment")),
    }
}

/// The group that serves once `next` has succeeded.
fn live_after(next: &Deployment) -> Option<Live> {
    let plan = next.plan.as_ref().filter(|_| next.phase == Phase::Succeeded)?;
    Some(Live {
        group: plan.green.group.clone(),
        slot: plan.green.slot.clone(),
        image: plan.green.image.clone(),
        number: next.number,
    })
}

/// From when on nothing of it is signed any more that could reach its routes; the first one stays.
fn quiet_from(next: &Deployment) -> Option<jiff::Timestamp> {
    match next.phase {
        Phase::Retiring => Some(next.phase_since),
        _ => next.ended_at,
    }
}

/// Events as columns, to be unnested by one statement.
#[derive(Default)]
struct EventColumns {
    kinds: Vec<String>,
    messages: Vec<String>,
    actors: Vec<String>,
    data: Vec<serde_json::Value>,
}

impl EventColumns {
    fn of(events: &[Event]) -> Self {
        let mut columns = Self::default();
        for event in events {
            columns.kinds.push(event.kind.clone());
            columns.messages.push(event.message.clone());
            columns.actors.push(event.actor.clone());
            columns.data.push(event.data.clone());
        }
        columns
    }
}
