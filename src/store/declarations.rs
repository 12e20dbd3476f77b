//! Environments as declared: each change is a kept revision, an identical declaration is none.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool};

use super::{
    deployments::page,
    error::Doing,
    rows::{self, EnvironmentRow},
};
use crate::{
    domain::{declaration::Declaration, ids::Target},
    engine::ports::{Environment, StoreError},
};

const DECLARING: &str = "storing a declaration";

/// `None` when `expected` names another revision than the present one.
pub(super) async fn declare(
    pool: &PgPool,
    target: &Target,
    declaration: &Declaration,
    by: &str,
    expected: Option<i32>,
) -> Result<Option<(Environment, bool)>, StoreError> {
    let mut transaction = pool.begin().await.doing(DECLARING)?;
    let new = add_environment(&mut transaction, target).await?;
    let (revision, present) = present(&mut transaction, target).await?;
    if expected.is_some_and(|expected| expected != revision) {
        return Ok(None);
    }
    if present.as_ref() != Some(declaration) {
        add_revision(&mut transaction, target, revision + 1, declaration, by).await?;
        let schedule = |of: &Declaration| of.drill.as_ref().and_then(|spec| spec.schedule.clone());
        // One that stays as it is keeps its turn, however often the rest is declared anew.
        if present.as_ref().map(schedule) != Some(schedule(declaration)) {
            let next = schedule(declaration).and_then(|schedule| schedule.next_after(Timestamp::now()));
            set_drill_due(&mut transaction, target, next).await?;
        }
    }
    transaction.commit().await.doing(DECLARING)?;
    let stored = environment(pool, target).await?;
    Ok(stored.map(|stored| (stored, new)))
}

async fn set_drill_due(connection: &mut PgConnection, target: &Target, due: Option<Timestamp>) -> Result<(), StoreError> {
    sqlx::query!(
        "update environments set drill_due_at = $3 where service = $1 and environment = $2",
        target.service.as_str(),
        target.environment.as_str(),
        due.map(ToSqlx::to_sqlx) as _,
    )
    .execute(connection)
    .await
    .doing(DECLARING)?;
    Ok(())
}

async fn add_environment(connection: &mut PgConnection, target: &Target) -> Result<bool, StoreError> {
    let added = sqlx::query!(
        "insert into environments (service, environment) values ($1, $2) on conflict do nothing",
        target.service.as_str(),
        target.environment.as_str(),
    )
    .execute(connection)
    .await
    .doing(DECLARING)?;
    Ok(added.rows_affected() == 1)
}

/// The present revision, held until the transaction ends; 0 and none for a new environment.
async fn present(connection: &mut PgConnection, target: &Target) -> Result<(i32, Option<Declaration>), StoreError> {
    let present = sqlx::query!(
        r#"select e.revision, r.declaration as "declaration?" from environments as e
           left join environment_revisions as r using (service, environment, revision)
           where e.service = $1 and e.environment = $2 for update of e"#,
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_one(connection)
    .await
    .doing(DECLARING)?;
    Ok((present.revision, present.declaration.map(rows::declaration).transpose()?))
}

async fn add_revision(
    connection: &mut PgConnection,
    target: &Target,
    revision: i32,
    declaration: &Declaration,
    by: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "with added as (
             insert into environment_revisions (service, environment, revision, declaration, declared_by)
             values ($1, $2, $3, $4, $5)
         )
         update environments set revision = $3 where service = $1 and environment = $2",
        target.service.as_str(),
        target.environment.as_str(),
        revision,
        serde_json::to_value(declaration).doing(DECLARING)?,
        by,
    )
    .execute(connection)
    .await
    .doing(DECLARING)?;
    Ok(())
}

pub(super) async fn environment(pool: &PgPool, target: &Target) -> Result<Option<Environment>, StoreError> {
    sqlx::query_as!(
        EnvironmentRow,
        r#"select e.service, e.environment, r.revision, r.declaration, r.declared_at, r.declared_by, e.live, e.next_number,
               (select h.deployment_id from deployment_holds as h
                where h.kind = 'environment' and h.key = e.service || '/' || e.environment and h.active) as running,
               (select d.id from deployments as d
                where d.service = e.service and d.environment = e.environment and d.due_at is null
                order by d.number desc limit 1) as last,
               (select d.record from drills as d
                where d.service = e.service and d.environment = e.environment and d.outcome is distinct from 'skipped'
                order by d.id desc limit 1) as drill
           from environments as e join environment_revisions as r using (service, environment, revision)
           where e.service = $1 and e.environment = $2"#,
        target.service.as_str(),
        target.environment.as_str(),
    )
    .fetch_optional(pool)
    .await
    .doing("reading an environment")?
    .map(EnvironmentRow::read)
    .transpose()
}

pub(super) async fn environments(pool: &PgPool, after: Option<&Target>, limit: usize) -> Result<Vec<Environment>, StoreError> {
    sqlx::query_as!(
        EnvironmentRow,
        r#"select e.service, e.environment, r.revision, r.declaration, r.declared_at, r.declared_by, e.live, e.next_number,
               (select h.deployment_id from deployment_holds as h
                where h.kind = 'environment' and h.key = e.service || '/' || e.environment and h.active) as running,
               (select d.id from deployments as d
                where d.service = e.service and d.environment = e.environment and d.due_at is null
                order by d.number desc limit 1) as last,
               (select d.record from drills as d
                where d.service = e.service and d.environment = e.environment and d.outcome is distinct from 'skipped'
                order by d.id desc limit 1) as drill
           from environments as e join environment_revisions as r using (service, environment, revision)
           where $1::text is null or (e.service, e.environment) > ($1, $2)
           order by e.service, e.environment limit $3"#,
        after.map(|target| target.service.as_str()),
        after.map(|target| target.environment.as_str()),
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing("listing environments")?
    .into_iter()
    .map(EnvironmentRow::read)
    .collect()
}

pub(super) async fn revisions(
    pool: &PgPool,
    target: &Target,
    before: Option<i32>,
    limit: usize,
) -> Result<Vec<Environment>, StoreError> {
    sqlx::query_as!(
        EnvironmentRow,
        r#"select e.service, e.environment, r.revision, r.declaration, r.declared_at, r.declared_by, e.live, e.next_number,
               null::uuid as running, null::uuid as last, null::jsonb as drill
           from environments as e join environment_revisions as r using (service, environment)
           where e.service = $1 and e.environment = $2 and ($3::integer is null or r.revision < $3)
           order by r.revision desc limit $4"#,
        target.service.as_str(),
        target.environment.as_str(),
        before,
        page(limit),
    )
    .fetch_all(pool)
    .await
    .doing("reading an environment's revisions")?
    .into_iter()
    .map(EnvironmentRow::read)
    .collect()
}
