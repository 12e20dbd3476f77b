//! Commands: they write intent and nothing else, and each raises the version, so that a settle which has not seen it is lost.
//!
//! A command is decided by the domain between a read and a write; the write names the version that was read, and no lock is
//! held in between. A rollback needs no version (it is absorbing): one statement that commits and returns what it left.

use jiff_sqlx::ToSqlx;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::{
    deployments,
    error::Doing,
    rows::{self, DeploymentRow, Text},
};
use crate::{
    domain::{
        command::{self, Command, Outcome},
        deployment::{Deployment, Given, Intent},
        event::{self, Event},
        ids::DeploymentId,
    },
    engine::ports::{Commanded, StoreError, Versioned},
};

/// A record that moves under so many tries in a row is not being worked on but fought over.
const TRIES_MAX: usize = 10;

pub(super) async fn command(
    pool: &PgPool,
    id: DeploymentId,
    command: Command,
    given: &Given,
    expected: Option<i64>,
) -> Result<Commanded, StoreError> {
    for _ in 0..TRIES_MAX {
        let Some(read) = deployments::get(pool, id).await? else { return Ok(Commanded::NotFound) };
        if expected.is_some_and(|expected| expected != read.version) {
            return Ok(Commanded::Moved);
        }
        let intent = match command::give(&read.deployment, command, given.clone()) {
            Err(refusal) => return Ok(Commanded::Refused { refusal, deployment: Box::new(read) }),
            Ok(Outcome::Unchanged) => return Ok(Commanded::Done { deployment: Box::new(read), changed: false }),
            Ok(Outcome::Changed(intent)) => *intent,
        };
        if let Some(version) = write_intent(pool, &read, &intent, &event::commanded(command, given)).await? {
            let deployment = Deployment { intent, ..read.deployment };
            return Ok(Commanded::Done { deployment: Box::new(Versioned { deployment, version }), changed: true });
        }
    }
    Err(kept_moving("giving a command"))
}

/// The version it has now; `None` when somebody wrote in between.
async fn write_intent(pool: &PgPool, read: &Versioned, intent: &Intent, event: &Event) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar!(
        r#"with commanded as (
               update deployments set intent = $3, version = version + 1, due_at = now()
               where id = $1 and version = $2
               returning id, version
           ), told as (
               insert into events (deployment_id, kind, message, actor, data)
               select id, $4, $5, $6, $7 from commanded
           )
           select version as "version!" from commanded"#,
        read.deployment.id.uuid(),
        read.version,
        rows::intent(intent)?,
        event.kind,
        event.message,
        event.actor,
        event.data,
    )
    .fetch_optional(pool)
    .await
    .doing("giving a command")
}

/// Raises the intent to roll back wherever that is still legal.
pub(super) async fn raise_rollback(pool: &PgPool, id: DeploymentId, given: &Given) -> Result<Commanded, StoreError> {
    for _ in 0..TRIES_MAX {
        let Some((read, changed)) = raise(pool, id.uuid(), given).await? else { return Ok(Commanded::NotFound) };
        if changed {
            return Ok(Commanded::Done { deployment: Box::new(read), changed });
        }
        match command::give(&read.deployment, Command::Rollback, given.clone()) {
            Err(refusal) => return Ok(Commanded::Refused { refusal, deployment: Box::new(read) }),
            Ok(Outcome::Unchanged) => return Ok(Commanded::Done { deployment: Box::new(read), changed }),
            // What was returned is older than what the update met: somebody else's write was waited for. Look again.
            Ok(Outcome::Changed(_)) => {}
        }
    }
    Err(kept_moving("raising a rollback"))
}

/// The record as this commit left it, and whether this commit raised the rollback.
pub(super) async fn raise(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    given: &Given,
) -> Result<Option<(Versioned, bool)>, StoreError> {
    let event = event::commanded(Command::Rollback, given);
    let row = sqlx::query!(
        r#"with raised as (
               update deployments
               set intent = jsonb_set(intent, '{rollback}', $2), version = version + 1, due_at = now()
               where id = $1
                   and phase in ('pending', 'provisioning', 'verifying', 'shifting', 'baking', 'committing')
                   and intent ->> 'rollback' is null and intent ->> 'abandon' is null
               returning id, record, intent, rollback_accepted_at, seen_at, version
           ), told as (
               insert into events (deployment_id, kind, message, actor, data)
               select id, $3, $4, $5, $6 from raised
           )
           select record as "record!: Text", intent as "intent!: Text", rollback_accepted_at, seen_at, version as "version!", true as "changed!"
           from raised
           union all
           select record, intent, rollback_accepted_at, seen_at, version, false
           from deployments where id = $1 and not exists (select from raised)"#,
        id,
        serde_json::to_value(given).doing("raising a rollback")?,
        event.kind,
        event.message,
        event.actor,
        event.data,
    )
    .fetch_optional(executor)
    .await
    .doing("raising a rollback")?;
    row.map(|row| {
        let read = DeploymentRow {
            record: row.record,
            intent: row.intent,
            rollback_accepted_at: row.rollback_accepted_at,
            seen_at: row.seen_at,
            version: row.version,
        };
        Ok((read.read()?, row.changed))
    })
    .transpose()
}

/// The first time stays; who goes back by itself was asked as well. It is no intent that a settle could miss, so the version stays too; and it may come after the end.
pub(super) async fn accepted(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    at: jiff::Timestamp,
) -> Result<Option<Versioned>, StoreError> {
    let row = sqlx::query_as!(
        DeploymentRow,
        r#"update deployments set rollback_accepted_at = coalesce(rollback_accepted_at, $2)
           where id = $1 and (intent ->> 'rollback' is not null or record ->> 'going_back' is not null)
           returning record as "record: _", intent as "intent: _", rollback_accepted_at, seen_at, version"#,
        id,
        at.to_sqlx() as _,
    )
    .fetch_optional(executor)
    .await
    .doing("recording that a rollback was accepted")?;
    row.map(DeploymentRow::read).transpose()
}

fn kept_moving(doing: &'static str) -> StoreError {
    StoreError::Unreachable { doing, source: "the record kept changing: try again".into() }
}
