//! What many looks leave when they show nothing new: only when each deployment was seen, and when to look again.
//!
//! With a thousand deployments baking this is two hundred a second, each a statement, a commit and some waking of threads. Ticks that
//! end together are settled together: who comes first goes, and takes along whoever came while the one before was under way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff_sqlx::{Timestamp, ToSqlx};
use sqlx::PgPool;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::error::Doing;
use crate::{
    domain::ids::HolderId,
    engine::ports::{Settled, Settlement, StoreError},
};

const DOING: &str = "settling deployments that were seen again";

/// Those that wait: no more than ticks at once.
#[derive(Debug, Default)]
pub(super) struct SeenAgain {
    waiting: Mutex<Vec<Waiting>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    id: Uuid,
    version: i64,
    holder: HolderId,
    lease_until: Timestamp,
    seen_at: Option<Timestamp>,
    due: f64,
    answer: oneshot::Sender<Settled>,
}

impl SeenAgain {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn settle(&self, pool: &PgPool, holder: &HolderId, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        let Settlement { claim, next, due, .. } = settlement;
        let (answer, answered) = oneshot::channel();
        self.waiting().push(Waiting {
            id: claim.deployment.id.uuid(),
            version: claim.version,
            holder: holder.clone(),
            lease_until: claim.lease_until.to_sqlx(),
            seen_at: next.seen.at.map(ToSqlx::to_sqlx),
            due: due.as_secs_f64(),
            answer,
        });
        let turn = self.turn.lock().await;
        let all = std::mem::take(&mut *self.waiting());
        if !all.is_empty() {
            store(pool, all).await?;
        }
        drop(turn);
        // Whoever had the turn took it along; if that failed, nobody knows what became of it, and the lease runs out.
        answered.await.map_err(|gone| StoreError::Unreachable { doing: DOING, source: gone.into() })
    }
}

/// The version stays as it is, so it does not tell this lease from a later one of the same holder, which a statement that comes late must
/// not give back: its end does.
async fn store(pool: &PgPool, all: Vec<Waiting>) -> Result<(), StoreError> {
    let (mut ids, mut versions, mut holders) = (vec![], vec![], vec![]);
    let (mut untils, mut seen, mut dues) = (vec![], vec![], vec![]);
    for waiting in &all {
        ids.push(waiting.id);
        versions.push(waiting.version);
        holders.push(waiting.holder.as_str().to_owned());
        untils.push(waiting.lease_until);
        seen.push(waiting.seen_at);
        dues.push(waiting.due);
    }
    let stored = sqlx::query_scalar!(
        r#"update deployments as d
           set seen_at = s.seen_at, lease_holder = null, lease_until = null, due_at = now() + make_interval(secs => s.due)
           from unnest($1::uuid[], $2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::float8[])
               as s (id, version, holder, lease_until, seen_at, due)
           where d.id = s.id and d.version = s.version and d.lease_holder = s.holder and d.lease_until = s.lease_until
           returning d.id"#,
        &ids,
        &versions,
        &holders,
        &untils as _,
        &seen as _,
        &dues,
    )
    .fetch_all(pool)
    .await
    .doing(DOING)?;
    for waiting in all {
        let settled = if stored.contains(&waiting.id) { Settled::Stored } else { Settled::Lost };
        // Its tick may have been given up meanwhile.
        let _ = waiting.answer.send(settled);
    }
    Ok(())
}
