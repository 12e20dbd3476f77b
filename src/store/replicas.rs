//! Which replicas are alive, by the database's clock.

use std::time::Duration;

use sqlx::PgPool;

use super::error::Doing;
use crate::{domain::ids::HolderId, engine::ports::StoreError};

pub(super) async fn heartbeat(pool: &PgPool, holder: &HolderId, alive_for: Duration) -> Result<u32, StoreError> {
    // What was not seen for a day comes back, if ever, as a new row.
    let others = sqlx::query_scalar!(
        r#"with beat as (
               insert into replicas (id, seen_at) values ($1, now())
               on conflict (id) do update set seen_at = excluded.seen_at
           ), gone as (
               delete from replicas where id <> $1 and seen_at < now() - interval '1 day'
           )
           select count(*) as "others!" from replicas
           where id <> $1 and seen_at > now() - make_interval(secs => $2)"#,
        holder.as_str(),
        alive_for.as_secs_f64(),
    )
    .fetch_one(pool)
    .await
    .doing("saying that this replica is alive")?;
    Ok(u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1))
}
