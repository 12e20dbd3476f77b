//! Tokens: only their SHA-256 is stored.

use sqlx::PgPool;

use super::error::Doing;
use crate::engine::ports::{StoreError, TokenOwner};

pub(super) async fn owner(pool: &PgPool, sha256: [u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
    sqlx::query_as!(TokenOwner, "select name, admin from tokens where sha256 = $1", &sha256)
        .fetch_optional(pool)
        .await
        .doing("looking up a token")
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
