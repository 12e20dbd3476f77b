//! What the service stands on: its records, and the Postgres under them if that is ours.
//!
//! A database that is away at the start is no reason not to roll back what runs: with bundles of an earlier run on the disk the
//! service starts without it, and the rest follows when it is there.

use std::{env, error::Error, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    bootstrap,
    serve::{Failed, told},
};
use crate::{
    config::Config,
    store::{
        PgStore,
        embedded::{Embedded, EmbeddedSettings},
        local::Found,
        state_dir::StateDir,
    },
};

const STOP_WITHIN: Duration = Duration::from_millis(1500);
/// How long a start that could do without the database waits for it.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries to reach a database that was away at the start.
const OPEN_EVERY: Duration = Duration::from_secs(1);

/// The records.
pub(super) struct Base {
    pub(super) store: Arc<PgStore>,
    pub(super) embedded: Option<Arc<Embedded>>,
    /// Whose everything is.
    pub(super) installation: Uuid,
    /// Cancelled once the database is there and its schema up to date: what needs it waits for that.
    pub(super) opened: CancellationToken,
    /// Checked at the start, admitted when the database is there.
    token: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the database is of installation {there}, and this folder was {here}'s until now: start again to go by the database alone"
)]
struct Another {
    here: Uuid,
    there: Uuid,
}

impl Base {
    /// Opens the records; or, with `kept` bundles to go by, starts without them.
    pub(super) async fn start(config: &Config, state: &StateDir, kept: &mut Found) -> Result<Self, Failed> {
        let token = bootstrap::given(env::var("CUTOVER_BOOTSTRAP_TOKEN").ok())?;
        let (url, embedded) = match &config.database.url {
            Some(url) => (url.clone(), None),
            None => {
                let settings = EmbeddedSettings { binaries: config.database.bin_dir.clone(), ..EmbeddedSettings::default() };
                let embedded = Embedded::find(state, &settings).await?;
                (embedded.url(), Some(Arc::new(embedded)))
            }
        };
        let store = Arc::new(PgStore::unopened(&config.database.store(url))?);
        let mut base = Self { store, embedded, installation: Uuid::nil(), opened: CancellationToken::new(), token };
        let opened = if kept.bundles.is_empty() {
            base.open().await
        } else {
            let late = |_| Err("it did not answer in time".into());
            tokio::time::timeout(OPEN_PATIENCE, base.open()).await.unwrap_or_else(late)
        };
        match (opened, kept.installation) {
            (Ok(installation), here) => {
                if here.is_some_and(|here| here != installation) {
                    warn!(%installation, "the rollback lane's files are of another installation: they are not used, and written anew");
                    *kept = Found::default();
                }
                base.installation = installation;
                base.opened.cancel();
            }
            (Err(error), Some(here)) if !kept.bundles.is_empty() => {
                let running = kept.bundles.len();
                error!(error = %told(error.as_ref()), running, "started WITHOUT the database: what ran when it was last there can be rolled back, and nothing else is done until it is back");
                base.installation = here;
            }
            (Err(error), _) => return Err(error),
        }
        Ok(base)
    }

    async fn open(&self) -> Result<Uuid, Failed> {
        if let Some(embedded) = &self.embedded {
            embedded.run().await?;
        }
        self.store.prepare().await?;
        bootstrap::admit(&self.store, self.token.as_deref()).await?;
        Ok(self.store.installation().await?)
    }

    /// Opens the records as soon as they are there; at once where they were at the start.
    pub(super) async fn open_later(&self, stop: CancellationToken) -> Result<(), Failed> {
        while !self.opened.is_cancelled() {
            let turn = async {
                tokio::time::sleep(OPEN_EVERY).await;
                self.open().await
            };
            match stop.run_until_cancelled(turn).await {
                None => return Ok(()),
                Some(Ok(there)) if there != self.installation => {
                    return Err(Another { here: self.installation, there }.into());
                }
                Some(Ok(_)) => {
                    info!("the database is there: everything else goes on from here");
                    self.opened.cancel();
                }
                Some(Err(error)) => tracing::debug!(error = %told(error.as_ref()), "still without the database"),
            }
        }
        stop.cancelled().await;
        Ok(())
    }

    pub(super) async fn stop(&self) {
        let stopping = async {
            self.store.close().await;
            if let Some(embedded) = &self.embedded {
                embedded.stop().await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        };
        match tokio::time::timeout(STOP_WITHIN, stopping).await {
            Ok(Ok(())) => info!("stopped"),
            Ok(Err(error)) => warn!(error = %told(error.as_ref()), "the embedded Postgres did not stop"),
            // What is committed is on disk, and the next start finds the server or its data.
            Err(_) => warn!("the database is still stopping"),
        }
    }
}
