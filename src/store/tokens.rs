//! Tokens: only their SHA-256 is stored.

use sqlx::{PgExecutor, PgPool};

use super::error::Doing;
use crate::engine::ports::{StoreError, TokenOwner};

pub(super) async fn owner(executor: impl PgExecutor<'_>, sha256: [u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
    sqlx::query_as!(TokenOwner, "select name, admin from tokens where sha256 = $1", &sha256)
        .fetch_optional(executor)
        .await
        .doing("looking up a token")
}

pub(super) async fn owners(pool: &PgPool, limit: usize) -> Result<Vec<([u8; 32], TokenOwner)>, StoreError> {
    let doing = "listing tokens";
    let rows =
        sqlx::query!("select sha256, name, admin from tokens order by name limit $1", i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(pool)
            .await
            .doing(doing)?;
    // The column takes no other length.
    let owner = |sha256: Vec<u8>, name, admin| Some((sha256.try_into().ok()?, TokenOwner { name, admin }));
    Ok(rows.into_iter().filter_map(|row| owner(row.sha256, row.name, row.admin)).collect())
}

/// Stores a token under a name, in the place of the one that had it.
pub(super) async fn put(pool: &PgPool, owner: &TokenOwner, sha256: [u8; 32]) -> Result<(), StoreError> {
    sqlx::query!(
        "insert into tokens (name, sha256, admin) values ($1, $2, $3)
         on conflict (name) do update set sha256 = excluded.sha256, admin = excluded.admin, created_at = now()
         where tokens.sha256 <> excluded.sha256 or tokens.admin <> excluded.admin",
        owner.name,
        &sha256,
        owner.admin,
    )
    .execute(pool)
    .await
    .doing("storing a token")?;
    Ok(())
}

/// Stores a token unless its name has one: of two replicas that start together only one prints a token that works.
pub(super) async fn put_first(pool: &PgPool, owner: &TokenOwner, sha256: [u8; 32]) -> Result<bool, StoreError> {
    let put = sqlx::query!(
        "insert into tokens (name, sha256, admin) values ($1, $2, $3) on conflict (name) do nothing",
        owner.name,
        &sha256,
        owner.admin,
    )
    .execute(pool)
    .await
    .doing("storing a first token")?;
    Ok(put.rows_affected() == 1)
}
