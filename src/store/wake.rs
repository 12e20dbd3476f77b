//! Wakes whoever waits for a change: one listener a replica, shared by all who wait.
//!
//! A notification says only that something changed; everybody looks for himself. Missed ones (a lost connection) cost one
//! poll, so the listener counts a reconnect as a change.

use std::{future::Future, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

const CHANNEL: &str = "cutover";
/// Between two tries to reach a database that is away.
const RECONNECT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Wake {
    changes: watch::Sender<u64>,
    /// Ends the listener with the store.
    _listening: DropGuard,
}

impl Wake {
    /// Listens on a connection of its own, taken from `pool`.
    pub fn start(pool: PgPool) -> Self {
        let changes = watch::Sender::new(0);
        let stop = CancellationToken::new();
        tokio::spawn({
            let (changes, stop) = (changes.clone(), stop.clone());
            async move { stop.run_until_cancelled(listen(pool, changes)).await }
        });
        Self { changes, _listening: stop.drop_guard() }
    }

    /// Subscribed from the call on, not from the first poll: what changes between this call and the wait is not missed.
    pub fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.changes.subscribe();
        async move {
            // Both ends of it, a change and the time, mean the same to the caller: look.
            let _ = tokio::time::timeout(at_most, changes.changed()).await;
        }
    }
}

/// Never returns; without a database it tries again.
async fn listen(pool: PgPool, changes: watch::Sender<u64>) {
    let mut failing = false;
    loop {
        match listen_once(&pool, &changes, &mut failing).await {
            Ok(never) => match never {},
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "not listening for changes: polling until the database is back");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RECONNECT_EVERY).await;
    }
}

async fn listen_once(
    pool: &PgPool,
    changes: &watch::Sender<u64>,
    failing: &mut bool,
) -> Result<std::convert::Infallible, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    if std::mem::take(failing) {
        tracing::info!("listening for changes again");
    }
    loop {
        changes.send_modify(|n| *n += 1);
        // `None` is a lost connection, mended by the next call: what was missed meanwhile is looked for too.
        listener.try_recv().await?;
    }
}
