//! Who may come in, by what this replica was last told: with the database away it is all that there is to go by.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    age::Confirmed,
    local::{KeptTokens, LocalFiles},
    ports::{Store, StoreError, TokenOwner},
};

/// How often they are asked for.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// The file says at least this often that they are still the same.
const KEEP_EVERY: Duration = Duration::from_secs(600);
/// Tokens that one replica remembers.
const TOKENS_MAX: usize = 10_000;

type Owners = HashMap<[u8; 32], TokenOwner>;

/// All that the database knew.
#[derive(Debug, Default)]
pub struct Tokens(RwLock<Option<(Confirmed, Owners)>>);

impl Tokens {
    /// What an earlier run kept.
    #[must_use]
    pub fn kept(kept: Option<KeptTokens>) -> Self {
        Self(RwLock::new(kept.map(|kept| (Confirmed::kept(kept.as_of), kept.owners.into_iter().collect()))))
    }

    /// Who owns a token, if that was heard at most so long ago.
    #[must_use]
    pub fn owner(&self, sha256: &[u8; 32], at_most: Duration) -> Option<TokenOwner> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (confirmed, owners) = known.as_ref()?;
        owners.get(sha256).filter(|_| confirmed.age() <= at_most).cloned()
    }

    /// Asks the database; `true` when anything has changed.
    ///
    /// # Errors
    /// When it does not answer: what is known grows old.
    pub async fn confirm<S: Store>(&self, store: &S) -> Result<bool, StoreError> {
        let confirmed = Confirmed::now();
        let owners: Owners = store.token_owners(TOKENS_MAX).await?.into_iter().collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let changed = known.as_ref().is_none_or(|(_, before)| *before != owners);
        *known = Some((confirmed, owners));
        Ok(changed)
    }

    fn to_keep(&self) -> Option<KeptTokens> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (confirmed, owners) = known.as_ref()?;
        let owners = owners.iter().map(|(sha256, owner)| (*sha256, owner.clone())).collect();
        Some(KeptTokens { as_of: confirmed.at(), owners })
    }
}

/// Keeps them fresh here and on the disk, until `stop` is cancelled.
pub async fn keep_known<S: Store>(tokens: Arc<Tokens>, store: Arc<S>, files: Arc<dyn LocalFiles>, stop: CancellationToken) {
    let mut kept: Option<Timestamp> = None;
    loop {
        let round = async {
            // What `bundles` says of a database that is away is said once; here it would be the same again.
            let Ok(changed) = tokens.confirm(store.as_ref()).await else { return };
            let due = kept.is_none_or(|at| crate::domain::time::between(at, Timestamp::now()) >= KEEP_EVERY);
            if let Some(to_keep) = tokens.to_keep().filter(|_| changed || due) {
                let as_of = to_keep.as_of;
                match files.keep_tokens(to_keep).await {
                    Ok(()) => kept = Some(as_of),
                    Err(error) => {
                        warn!(%error, "the tokens that may roll back without the database could not be kept on disk");
                    }
                }
            }
        };
        let turn = async {
            round.await;
            tokio::time::sleep(ASK_EVERY).await;
        };
        if stop.run_until_cancelled(turn).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_for_as_long_as_it_is_asked_for_and_no_longer() {
        let owner = TokenOwner { name: "ci".to_owned(), admin: false };
        let as_of = Timestamp::now() - Duration::from_secs(3600);
        let tokens = Tokens::kept(Some(KeptTokens { as_of, owners: vec![([7; 32], owner.clone())] }));
        let hours = |n: u64| Duration::from_secs(3600 * n);
        assert_eq!(tokens.owner(&[7; 32], hours(2)), Some(owner));
        assert_eq!(tokens.owner(&[7; 32], hours(1)), None, "an hour and a bit");
        assert_eq!(tokens.owner(&[8; 32], hours(2)), None);
        assert_eq!(Tokens::default().owner(&[7; 32], hours(2)), None, "nobody was ever asked");
    }
}
