//! Reading deployments and their history.

use sqlx::{PgExecutor, PgPool};

use super::{
    error::Doing,
    lease::readable,
    rows::{self, DeploymentRow},
};
use crate::{
    domain::{
        deployment::Status,
        event::Event,
        ids::{DeploymentId, Image, ListenerRef, Target},
        readiness::Took,
        time,
    },
    engine::ports::{Current, Filter, StoreError, StoredEvent, Versioned},
};

/// At most this many of anything in one answer, whatever is asked for.
const PAGE_MAX: usize = 1000;

pub(super) fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_MAX)).expect("a page's limit fits any integer")
}

pub(super) async fn get(executor: impl PgExecutor<'_>, id: DeploymentId) -> Result<Option<Versioned>, StoreError> {
    sqlx::query_as!(
        DeploymentRow,
        r#"select record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version from deployments where id = $1"#,
        id.uuid(),
    )
    .fetch_optional(executor)
    .await
    .doing("reading a deployment")?
    .map(DeploymentRow::read)
    .transpose()
}

pub(super) async fn list(pool: &PgPool, filter: &Filter) -> Result<Vec<Versioned>, StoreError> {
    sqlx::query_as!(
        DeploymentRow,
        r#"select record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version from deployments
         where ($1::text is null or service = $1)
             and ($2::text is null or environment = $2)
             and ($3::text is null or status = $3)
             and ($4::uuid is null
                 or (created_at, id) < (select before.created_at, before.id from deployments as before where before.id = $4))
         order by created_at desc, id desc limit $5"#,
        filter.service.as_ref().map(|service| service.as_str()),
        filter.environment.as_ref().map(|environment| environment.as_str()),
        filter.status.map(Status::name),
        filter.before.map(DeploymentId::uuid),
        page(filter.limit),
    )
    .fetch_all(pool)
    .await
    .doing("listing deployments")?
    .into_iter()
    .map(DeploymentRow::read)
    .collect()
}

pub(super) async fn running(pool: &PgPool, limit: usize) -> Result<Vec<Versioned>, StoreError> {
    let rows = sqlx::query_as!(
        DeploymentRow,
        r#"select record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version from deployments
         where due_at is not null order by created_at, id limit $1"#,
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(pool)
    .await
    .doing("listing running deployments")?;
    Ok(readable(rows).collect())
}

pub(super) async fn running_versions(pool: &PgPool, limit: usize) -> Result<Vec<Current>, StoreError> {
    let rows = sqlx::query!(
        "select id, version, seen_at from deployments where due_at is not null order by created_at, id limit $1",
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(pool)
    .await
    .doing("listing the versions of running deployments")?;
    let current = rows.into_iter().map(|row| Current {
        id: DeploymentId::new(row.id),
        version: row.version,
        seen_at: row.seen_at.map(jiff_sqlx::Timestamp::to_jiff),
    });
    Ok(current.collect())
}

pub(super) async fn some(pool: &PgPool, ids: &[DeploymentId]) -> Result<Vec<Versioned>, StoreError> {
    let ids: Vec<_> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_as!(
        DeploymentRow,
        r#"select record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version from deployments where id = any($1)"#,
        &ids,
    )
    .fetch_all(pool)
    .await
    .doing("reading deployments")?;
    Ok(readable(rows).collect())
}

pub(super) async fn outcomes(pool: &PgPool) -> Result<Vec<(Target, Status, u64)>, StoreError> {
    let doing = "counting outcomes";
    let rows = sqlx::query!(
        r#"select service, environment, status, count(*) as "count!" from deployments
           where due_at is null group by service, environment, status"#,
    )
    .fetch_all(pool)
    .await
    .doing(doing)?;
    rows.into_iter()
        .map(|row| {
            let status = serde_json::from_value(row.status.into()).doing(doing)?;
            Ok((rows::target(row.service, row.environment), status, u64::try_from(row.count).doing(doing)?))
        })
        .collect()
}

pub(super) async fn rollbacks(pool: &PgPool, limit: usize) -> Result<Vec<Took>, StoreError> {
    // Both the lane and the engine may have been told that it was accepted: the first counts.
    let rows = sqlx::query!(
        r#"select (record -> 'going_back' ->> 'requested_at')::timestamptz as requested_at,
             least(rollback_accepted_at, (record -> 'going_back' ->> 'accepted_at')::timestamptz) as accepted_at,
             (record -> 'going_back' ->> 'observed_at')::timestamptz as observed_at
         from deployments
         where phase = 'rolled_back' and record -> 'going_back' ->> 'trigger' <> 'outside'
             and jsonb_array_length(record -> 'overlays') > 0
         order by ended_at desc limit $1"#,
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing("reading how long rollbacks took")?;
    let took = rows.into_iter().filter_map(|row| {
        let requested_at = row.requested_at?.to_jiff();
        let after = |at: jiff_sqlx::Timestamp| time::between(requested_at, at.to_jiff());
        Some(Took { accepted: after(row.accepted_at?), observed: row.observed_at.map(after) })
    });
    Ok(took.collect())
}

pub(super) async fn reserved(pool: &PgPool, listener: &ListenerRef, but: DeploymentId) -> Result<Vec<u32>, StoreError> {
    let doing = "reading reserved rule numbers";
    let numbers = sqlx::query_scalar!(
        "select number from deployment_holds
         where kind = 'number' and key = $1 and active and deployment_id <> $2 order by number",
        listener.as_str(),
        but.uuid(),
    )
    .fetch_all(pool)
    .await
    .doing(doing)?;
    numbers.into_iter().map(|number| u32::try_from(number).doing(doing)).collect()
}

pub(super) async fn newest(executor: impl PgExecutor<'_>, target: &Target) -> Result<Option<Versioned>, StoreError> {
    sqlx::query_as!(
        DeploymentRow,
        r#"select record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version from deployments
         where service = $1 and environment = $2
         order by due_at is not null desc, number desc limit 1"#,
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_optional(executor)
    .await
    .doing("reading the newest deployment")?
    .map(DeploymentRow::read)
    .transpose()
}

pub(super) async fn first_release(pool: &PgPool, target: &Target, image: &Image) -> Result<Vec<Versioned>, StoreError> {
    sqlx::query_as!(
        DeploymentRow,
        r#"select record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version from deployments
         where service = $1 and environment = $2 and phase = 'succeeded'
             and number <= (select min(first.number) from deployments as first
                 where first.service = $1 and first.environment = $2 and first.phase = 'succeeded' and first.record ->> 'image' = $3)
         order by number desc limit 2"#,
        target.service.as_str(),
        target.environment.as_str(),
        image.to_string(),
    )
    .fetch_all(pool)
    .await
    .doing("reading what was released before")?
    .into_iter()
    .map(DeploymentRow::read)
    .collect()
}

pub(super) async fn events(pool: &PgPool, id: DeploymentId, after: i64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
    let rows = sqlx::query!(
        "select id, at, kind, message, actor, data from events
         where deployment_id = $1 and id > $2 order by id limit $3",
        id.uuid(),
        after,
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing("reading events")?;
    Ok(rows
        .into_iter()
        .map(|row| StoredEvent {
            id: row.id,
            at: row.at.to_jiff(),
            event: Event { kind: row.kind, message: row.message, actor: row.actor, data: row.data },
        })
        .collect())
}
