//! The first token: given in the environment, or made at the first start and printed once. Only its SHA-256 is kept.

use crate::{
    engine::ports::{StoreError, TokenOwner},
    http::auth,
    store::PgStore,
};

/// Who the first token belongs to.
const OWNER: &str = "bootstrap";

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoToken {
    #[error("CUTOVER_BOOTSTRAP_TOKEN must be 20 to 200 visible characters, or one of ours whole")]
    Malformed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The token that the environment gives, if it is one.
pub(super) fn given(token: Option<String>) -> Result<Option<String>, NoToken> {
    match token.filter(|token| !token.is_empty()) {
        Some(token) if !auth::well_formed(&token) => Err(NoToken::Malformed),
        token => Ok(token),
    }
}

/// Lets the bootstrap token in: the given one replaces an older one, a made one is made only if there never was one.
pub(super) async fn admit(store: &PgStore, given: Option<&str>) -> Result<(), NoToken> {
    let owner = TokenOwner { name: OWNER.to_owned(), admin: true };
    if let Some(token) = given {
        return Ok(store.put_token(&owner, auth::digest(token)).await?);
    }
    let token = auth::generate();
    if store.put_first_token(&owner, auth::digest(&token)).await? {
        // Not into the log: logs are kept, shipped and read by others.
        println!("{token}");
        eprintln!("This is the first token, an administrator's. It is shown only now: keep it, and set CUTOVER_TOKEN to it.");
    }
    Ok(())
}
