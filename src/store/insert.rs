//! A new deployment: one transaction that takes what it holds, then its number, then the facts that only the records know.
//!
//! The order matters. Its environment and routes are held first: whoever still runs on one of them is met there, and whoever
//! is just ending is waited for, so that everything read afterwards (live group, quiet time) is from after that end.

use std::time::Duration;

use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor, PgPool, types::Json};
use uuid::Uuid;

use super::{
    deployments,
    error::{Doing, refused_by, told},
    holds::{self, Holds, ONE_RUNNING},
    rows,
};
use crate::{
    domain::{
        declaration::Declaration,
        deployment::{Deployment, Live},
        event,
        ids::{DeploymentId, Target},
        time,
    },
    engine::ports::{Inserted, NewDeployment, RecordFacts, StoreError, Versioned},
};

const DOING: &str = "creating a deployment";
/// How often the one in the way may have ended before it could be read.
const TRIES_MAX: usize = 5;
/// Abandoned deployments whose rules are left alone, newest first.
const LET_GO_MAX: i64 = 100;

pub(super) async fn insert(pool: &PgPool, new: NewDeployment, half_quiet: Duration) -> Result<Inserted, StoreError> {
    for _ in 0..TRIES_MAX {
        let mut transaction = pool.begin().await.doing(DOING)?;
        let Some(declaration) = declared(&mut transaction, &new.target).await? else { return Ok(Inserted::NotDeclared) };
        let holds = holds::from_the_start(&new.target, &declaration);
        if hold(&mut transaction, new.id, &holds).await? {
            let created = record(&mut transaction, new, declaration, &holds, half_quiet).await?;
            transaction.commit().await.doing(DOING)?;
            return Ok(Inserted::Created(Box::new(created)));
        }
        transaction.rollback().await.doing(DOING)?;
        if let Some(running) = holder(pool, &holds).await? {
            return Ok(Inserted::InProgress(Box::new(running.deployment)));
        }
    }
    Err(StoreError::Unreachable { doing: DOING, source: "its routes kept changing hands: try again".into() })
}

async fn record(
    transaction: &mut PgConnection,
    new: NewDeployment,
    declaration: Declaration,
    holds: &Holds,
    half_quiet: Duration,
) -> Result<Versioned, StoreError> {
    let Taken { number, live, now } = take_number(transaction, &new.target).await?;
    let quiet_from = last_use(transaction, holds).await?;
    let mut deployment = new.recorded(RecordFacts {
        number,
        declaration,
        live,
        not_before: quiet_from.map(|from| time::after(from, half_quiet)),
        let_go: let_go(&mut *transaction, holds).await?,
    });
    // The engine goes by the database's clock.
    deployment.phase_since = now;
    let version = store(transaction, &deployment).await?;
    Ok(Versioned { deployment, version })
}

async fn declared(connection: &mut PgConnection, target: &Target) -> Result<Option<Declaration>, StoreError> {
    sqlx::query_scalar!(
        "select declaration from environments join environment_revisions using (service, environment, revision)
         where service = $1 and environment = $2",
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_optional(connection)
    .await
    .doing(DOING)?
    .map(rows::declaration)
    .transpose()
}

/// `false` when a running deployment holds one of them.
async fn hold(connection: &mut PgConnection, id: DeploymentId, holds: &Holds) -> Result<bool, StoreError> {
    let held = sqlx::query!(
        "insert into deployment_holds (deployment_id, kind, key, number)
         select $1, h.kind, h.key, h.number from unnest($2::text[], $3::text[], $4::integer[]) as h (kind, key, number)",
        id.uuid(),
        &holds.kinds,
        &holds.keys,
        &holds.numbers,
    )
    .execute(connection)
    .await;
    match held {
        Ok(_) => Ok(true),
        Err(error) if refused_by(&error) == Some(ONE_RUNNING) => Ok(false),
        Err(error) => Err(told(error, DOING)),
    }
}

/// The running deployment that holds one of them: of the environment itself, if there is one.
async fn holder(pool: &PgPool, holds: &Holds) -> Result<Option<Versioned>, StoreError> {
    let id = sqlx::query_scalar!(
        "select deployment_id from deployment_holds join unnest($1::text[], $2::text[]) as h (kind, key) using (kind, key)
         where active order by kind = 'environment' desc limit 1",
        &holds.kinds,
        &holds.keys,
    )
    .fetch_optional(pool)
    .await
    .doing(DOING)?;
    match id {
        Some(id) => deployments::get(pool, DeploymentId::new(id)).await,
        None => Ok(None),
    }
}

/// A number, and what the records say at that moment.
struct Taken {
    number: u32,
    live: Option<Live>,
    now: jiff::Timestamp,
}

async fn take_number(connection: &mut PgConnection, target: &Target) -> Result<Taken, StoreError> {
    let taken = sqlx::query!(
        r#"update environments set next_number = next_number + 1
           where service = $1 and environment = $2
           returning next_number - 1 as "number!", live, now() as "now!""#,
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_one(connection)
    .await
    .doing(DOING)?;
    Ok(Taken {
        number: u32::try_from(taken.number).doing(DOING)?,
        live: taken.live.map(rows::live).transpose()?,
        now: taken.now.to_jiff(),
    })
}

/// The latest time from which one of these was left alone by a deployment that had it before.
async fn last_use(connection: &mut PgConnection, holds: &Holds) -> Result<Option<jiff::Timestamp>, StoreError> {
    let latest = sqlx::query_scalar!(
        "select max(d.quiet_from) from deployments as d join deployment_holds as held on held.deployment_id = d.id
         join unnest($1::text[], $2::text[]) as h (kind, key) using (kind, key)
         where held.kind = 'route'",
        &holds.kinds,
        &holds.keys,
    )
    .fetch_one(connection)
    .await
    .doing(DOING)?;
    Ok(latest.map(jiff_sqlx::Timestamp::to_jiff))
}

/// Abandoned deployments of this environment or on these routes: what they left is not ours to remove.
pub(super) async fn let_go(connection: impl PgExecutor<'_>, holds: &Holds) -> Result<Vec<DeploymentId>, StoreError> {
    let ids: Vec<Uuid> = sqlx::query_scalar!(
        "select d.id from deployments as d
         where d.phase = 'failed' and exists (
             select from deployment_holds as held join unnest($1::text[], $2::text[]) as h (kind, key) using (kind, key)
             where held.deployment_id = d.id
         )
         order by d.ended_at desc limit $3",
        &holds.kinds,
        &holds.keys,
        LET_GO_MAX,
    )
    .fetch_all(connection)
    .await
    .doing(DOING)?;
    Ok(ids.into_iter().map(DeploymentId::new).collect())
}

async fn store(connection: &mut PgConnection, d: &Deployment) -> Result<i64, StoreError> {
    let event = event::created(d);
    sqlx::query_scalar!(
        r#"with created as (
               insert into deployments (id, service, environment, number, record, intent, created_at)
               values ($1, $2, $3, $4, $5::jsonb - 'intent', $6, $7) returning id, version
           ), told as (
               insert into events (deployment_id, kind, message, actor, data) select id, $8, $9, $10, $11 from created
           )
           select version as "version!" from created"#,
        d.id.uuid(),
        d.target.service.as_str(),
        d.target.environment.as_str(),
        i32::try_from(d.number).doing(DOING)?,
        Json(d) as _,
        rows::intent(&d.intent)?,
        d.created_at.to_sqlx() as _,
        event.kind,
        event.message,
        event.actor,
        event.data,
    )
    .fetch_one(connection)
    .await
    .doing(DOING)
}
