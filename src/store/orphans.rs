//! What sweeps found, and whose turn it is to sweep. Every term runs by the database's clock.
//!
//! A turn is a lease with a number: each write names it, so that a replica that stalled in its turn notes nothing and begins
//! nothing once another one has begun.

use std::time::{Duration, Instant};

use jiff_sqlx::ToSqlx;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{PgStore, claims, deployments::page, error::Doing, rows};
use crate::{
    domain::{
        declaration::Provider,
        event,
        ids::{DeploymentId, GroupName, HolderId, RuleRef},
        orphan::{Clear, Facts, Found, Kind, Sighting, Thing},
    },
    engine::{
        ports::StoreError,
        sweeper::ports::{Listed, Noted, OrphanFigures, OrphanFilter, Sighted, Sweep, SweepStore},
    },
};

impl SweepStore for PgStore {
    async fn claim_sweep(&self, holder: &HolderId, lease: Duration) -> Result<Option<Sweep>, StoreError> {
        self.within(claim(&self.pool, holder, lease)).await
    }

    async fn next_sweep(&self) -> Result<Duration, StoreError> {
        self.within(next(&self.pool)).await
    }

    async fn facts(&self, found: &[Found]) -> Result<Vec<Facts>, StoreError> {
        self.within(claims::facts(&self.pool, found)).await
    }

    async fn adopted(&self) -> Result<Vec<(Provider, GroupName)>, StoreError> {
        self.within(claims::adopted(&self.pool)).await
    }

    async fn sight(&self, sweep: Sweep, seen: Sighted<'_>) -> Result<Option<Noted>, StoreError> {
        self.within(sight(&self.pool, sweep, seen)).await
    }

    async fn begin_removal(&self, sweep: Sweep, id: i64) -> Result<bool, StoreError> {
        self.within(begin_removal(&self.pool, sweep, id)).await
    }

    async fn forget(&self, sweep: Sweep, provider: &Provider, claimed: &[Thing]) -> Result<Vec<Thing>, StoreError> {
        self.within(forget(&self.pool, sweep, provider, claimed)).await
    }

    async fn finish_sweep(&self, sweep: Sweep, places: &[Provider], every: Duration) -> Result<(), StoreError> {
        self.within(finish(&self.pool, sweep, places, every)).await
    }

    async fn orphans(&self, filter: &OrphanFilter) -> Result<Vec<Listed>, StoreError> {
        self.within(list(&self.pool, filter)).await
    }

    async fn orphan_figures(&self, seen_for: Duration) -> Result<OrphanFigures, StoreError> {
        self.within(figures(&self.pool, seen_for)).await
    }
}

async fn claim(pool: &PgPool, holder: &HolderId, lease: Duration) -> Result<Option<Sweep>, StoreError> {
    let ends = Instant::now() + lease;
    let number = sqlx::query_scalar!(
        "update sweeps set number = number + 1, holder = $1, due_at = now() + make_interval(secs => $2)
         where due_at <= now() returning number",
        holder.as_str(),
        lease.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await
    .doing("taking a turn at sweeping")?;
    Ok(number.map(|number| Sweep { number, ends }))
}

async fn next(pool: &PgPool) -> Result<Duration, StoreError> {
    let seconds = sqlx::query_scalar!(r#"select extract(epoch from due_at - now())::float8 as "seconds!" from sweeps"#)
        .fetch_one(pool)
        .await
        .doing("asking when a sweep is due")?;
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

/// Two statements, one moment, and one writer: whoever has the turn.
async fn sight(pool: &PgPool, sweep: Sweep, seen: Sighted<'_>) -> Result<Option<Noted>, StoreError> {
    let doing = "noting an orphan";
    let Sighted { provider, thing, orphan, way, gap_max } = seen;
    let mut transaction = pool.begin().await.doing(doing)?;
    let before = sqlx::query!(
        r#"select now() as "now!", o.clear_since as "clear_since?", o.clear_until as "clear_until?"
           from sweeps left join orphans as o on o.provider = $1 and o.kind = $2 and o.name = $3"#,
        written(provider)?,
        thing.kind().name(),
        thing.name(),
    )
    .fetch_one(&mut *transaction)
    .await
    .doing(doing)?;
    let now = before.now.to_jiff();
    let row = before.clear_since.zip(before.clear_until);
    let row = row.map(|(since, until)| Clear { since: since.to_jiff(), until: until.to_jiff() });
    let clear = Clear::after(row, way.is_clear(), now, gap_max);
    let row = sqlx::query!(
        "insert into orphans
             (provider, kind, name, deployment_id, service, environment, why, kept_because, clear_since, clear_until, seen_in)
         select $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $1
         from sweeps where number = $1 and due_at > now()
         on conflict (provider, kind, name) do update set
             deployment_id = excluded.deployment_id, service = excluded.service, environment = excluded.environment,
             why = excluded.why, kept_because = excluded.kept_because, last_seen = now(), seen_in = excluded.seen_in,
             clear_since = excluded.clear_since, clear_until = excluded.clear_until
         returning id, first_seen",
        sweep.number,
        written(provider)?,
        thing.kind().name(),
        thing.name(),
        orphan.deployment.map(DeploymentId::uuid),
        orphan.target.as_ref().map(|target| target.service.as_str()),
        orphan.target.as_ref().map(|target| target.environment.as_str()),
        orphan.why,
        way.kept_because(),
        clear.map(|row| row.since.to_sqlx()) as _,
        clear.map(|row| row.until.to_sqlx()) as _,
    )
    .fetch_optional(&mut *transaction)
    .await
    .doing(doing)?;
    transaction.commit().await.doing(doing)?;
    let sighting = |first_seen| Sighting { first_seen, clear_since: clear.map(|row| row.since), now };
    Ok(row.map(|row| Noted { id: row.id, sighting: sighting(row.first_seen.to_jiff()) }))
}

async fn begin_removal(pool: &PgPool, sweep: Sweep, id: i64) -> Result<bool, StoreError> {
    let begun = sqlx::query!(
        "update orphans set removing_since = coalesce(removing_since, now())
         from sweeps where id = $2 and sweeps.number = $1 and sweeps.due_at > now()",
        sweep.number,
        id,
    )
    .execute(pool)
    .await
    .doing("beginning to remove an orphan")?;
    Ok(begun.rows_affected() == 1)
}

const FORGETTING: &str = "forgetting orphans that are gone";

/// One transaction: what is forgotten, told and counted is the same.
async fn forget(pool: &PgPool, sweep: Sweep, provider: &Provider, claimed: &[Thing]) -> Result<Vec<Thing>, StoreError> {
    let mut transaction = pool.begin().await.doing(FORGETTING)?;
    let unseen = sqlx::query!(
        r#"delete from orphans using sweeps
           where sweeps.number = $1 and sweeps.due_at > now() and provider = $2 and seen_in < $1
           returning kind, name, deployment_id, removing_since is not null as "removing!""#,
        sweep.number,
        written(provider)?,
    )
    .fetch_all(&mut *transaction)
    .await
    .doing(FORGETTING)?;
    let mut gone = Vec::new();
    for row in unseen.into_iter().filter(|row| row.removing) {
        let thing = thing(&row.kind, row.name)?;
        if !claimed.contains(&thing) {
            tell(&mut transaction, row.deployment_id, &thing).await?;
            gone.push(thing);
        }
    }
    count(&mut transaction, &gone).await?;
    transaction.commit().await.doing(FORGETTING)?;
    Ok(gone)
}

/// In the history of the deployment that it belonged to, if that is in the records.
async fn tell(connection: &mut PgConnection, of: Option<Uuid>, thing: &Thing) -> Result<(), StoreError> {
    let event = event::swept(thing);
    sqlx::query!(
        "insert into events (deployment_id, kind, message, actor, data)
         select id, $2, $3, $4, $5 from deployments where id = $1",
        of,
        event.kind,
        event.message,
        event.actor,
        event.data,
    )
    .execute(connection)
    .await
    .doing(FORGETTING)?;
    Ok(())
}

async fn count(connection: &mut PgConnection, gone: &[Thing]) -> Result<(), StoreError> {
    let of = |kind: Kind| i64::try_from(gone.iter().filter(|thing| thing.kind() == kind).count()).unwrap_or(i64::MAX);
    if !gone.is_empty() {
        sqlx::query!(
            "update sweeps set groups_removed = groups_removed + $1, rules_removed = rules_removed + $2",
            of(Kind::ServerGroup),
            of(Kind::Rule),
        )
        .execute(connection)
        .await
        .doing(FORGETTING)?;
    }
    Ok(())
}

async fn finish(pool: &PgPool, sweep: Sweep, places: &[Provider], every: Duration) -> Result<(), StoreError> {
    let places = places.iter().map(written).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        "with finished as (
             update sweeps set holder = null, due_at = now() + make_interval(secs => $2)
             where number = $1 and due_at > now() returning number
         )
         delete from orphans using finished where provider <> all($3)",
        sweep.number,
        every.as_secs_f64(),
        &places,
    )
    .execute(pool)
    .await
    .doing("ending a turn at sweeping")?;
    Ok(())
}

async fn list(pool: &PgPool, filter: &OrphanFilter) -> Result<Vec<Listed>, StoreError> {
    let doing = "listing orphans";
    let rows = sqlx::query!(
        "select id, provider, kind, name, deployment_id, service, environment, why, kept_because, first_seen, last_seen,
             clear_since, removing_since
         from orphans
         where last_seen - first_seen >= make_interval(secs => $1)
             and ($2::text is null or service = $2)
             and ($3::text is null or environment = $3)
             and id > $4
         order by id limit $5",
        filter.seen_for.as_secs_f64(),
        filter.service.as_ref().map(|service| service.as_str()),
        filter.environment.as_ref().map(|environment| environment.as_str()),
        filter.after,
        page(filter.limit),
    )
    .fetch_all(pool)
    .await
    .doing(doing)?;
    let read = rows.into_iter().map(|row| {
        Ok(Listed {
            id: row.id,
            provider: serde_json::from_value(row.provider).doing(doing)?,
            kind: thing(&row.kind, String::new())?.kind(),
            name: row.name,
            deployment: row.deployment_id.map(DeploymentId::new),
            target: row.service.zip(row.environment).map(|(service, environment)| rows::target(service, environment)),
            why: row.why,
            kept_because: row.kept_because,
            first_seen: row.first_seen.to_jiff(),
            last_seen: row.last_seen.to_jiff(),
            clear_since: row.clear_since.map(jiff_sqlx::Timestamp::to_jiff),
            removing_since: row.removing_since.map(jiff_sqlx::Timestamp::to_jiff),
        })
    });
    read.collect()
}

async fn figures(pool: &PgPool, seen_for: Duration) -> Result<OrphanFigures, StoreError> {
    let doing = "counting orphans";
    let row = sqlx::query!(
        r#"select groups_removed, rules_removed,
               (select count(*) from orphans
                where kind = 'server_group' and last_seen - first_seen >= make_interval(secs => $1)) as "groups!",
               (select count(*) from orphans
                where kind = 'rule' and last_seen - first_seen >= make_interval(secs => $1)) as "rules!"
           from sweeps"#,
        seen_for.as_secs_f64(),
    )
    .fetch_one(pool)
    .await
    .doing(doing)?;
    let count = |kind, count: i64| Ok((kind, u64::try_from(count).doing(doing)?));
    Ok(OrphanFigures {
        listed: vec![count(Kind::ServerGroup, row.groups)?, count(Kind::Rule, row.rules)?],
        removed: vec![count(Kind::ServerGroup, row.groups_removed)?, count(Kind::Rule, row.rules_removed)?],
    })
}

fn written(provider: &Provider) -> Result<Value, StoreError> {
    serde_json::to_value(provider).doing("writing where an orphan is")
}

fn thing(kind: &str, name: String) -> Result<Thing, StoreError> {
    match Kind::ALL.into_iter().find(|known| known.name() == kind) {
        Some(Kind::ServerGroup) => Ok(Thing::ServerGroup(GroupName::new(name))),
        Some(Kind::Rule) => Ok(Thing::Rule(RuleRef::new(name))),
        None => Err(StoreError::Broken { doing: "reading an orphan", source: format!("{kind:?} is no kind").into() }),
    }
}
