//! Wakes whoever waits for a change: one listener a replica, shared by all who wait.
//!
//! A notification says only that something changed; everybody looks for himself. Missed ones (a lost connection) cost one
//! poll, so the listener counts a reconnect as a change.
//!
//! It is sent once the change is on record, by a transaction of its own, and never by the one that writes the record: Postgres
//! lets transactions that notify commit only one after the other, in all its databases together (`PreCommit_Notify` in its
//! async.c). With a trigger, as it was first, a rollback stood behind the commit of every tick
//! of every replica: 200 ms where a commit takes 20 ms and a hundred deployments bake.

use std::{future::Future, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const CHANNEL: &str = "cutover";
/// Between two tries to reach a database that is away.
const RECONNECT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Wake {
    changes: watch::Sender<u64>,
    /// How much there was to be told to the other replicas, and how much of it was.
    said: watch::Sender<u64>,
    told: watch::Sender<u64>,
    /// Ends listener and teller with the store.
    _running: DropGuard,
}

impl Wake {
    /// Listens and tells, each on a connection of its own.
    pub fn start(listening: PgPool, telling: PgPool) -> Self {
        let (changes, said, told) = (watch::Sender::new(0), watch::Sender::new(0), watch::Sender::new(0));
        // Who waits here was woken without the database.
        let me = Uuid::now_v7().to_string();
        let stop = CancellationToken::new();
        tokio::spawn({
            let (changes, stop, me) = (changes.clone(), stop.clone(), me.clone());
            async move { stop.run_until_cancelled(listen(listening, changes, &me)).await }
        });
        tokio::spawn({
            let (said, told, stop) = (said.subscribe(), told.clone(), stop.clone());
            async move { stop.run_until_cancelled(tell(telling, said, told, &me)).await }
        });
        Self { changes, said, told, _running: stop.drop_guard() }
    }

    /// Something is on record that somebody may wait for. Nobody waits for its being told: many at once are told as one.
    pub fn tell(&self) {
        self.changes.send_modify(|n| *n += 1);
        self.said.send_modify(|n| *n += 1);
    }

    /// The other replicas are told now, and who waits here after `pause` if nothing else wakes him before: what is on record is being done
    /// here already.
    pub fn tell_others_first(&self, pause: Duration) {
        self.said.send_modify(|n| *n += 1);
        let changes = self.changes.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            changes.send_modify(|n| *n += 1);
        });
    }

    /// Waits until the other replicas are told of everything up to here, or `at_most` has passed.
    pub async fn all_told(&self, at_most: Duration) {
        let (said, mut told) = (*self.said.borrow(), self.told.subscribe());
        let _ = tokio::time::timeout(at_most, told.wait_for(|told| *told >= said)).await;
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

/// Ends with the store; without a database it tries again.
async fn tell(pool: PgPool, mut said: watch::Receiver<u64>, told: watch::Sender<u64>, me: &str) {
    while said.changed().await.is_ok() {
        let so_far = *said.borrow_and_update();
        while let Err(error) = sqlx::query!("select pg_notify($1, $2)", CHANNEL, me).execute(&pool).await {
            tracing::debug!(%error, "the other replicas are not told yet: they find it when they look next");
            tokio::time::sleep(RECONNECT_EVERY).await;
        }
        told.send_replace(so_far);
    }
}

/// Never returns; without a database it tries again.
async fn listen(pool: PgPool, changes: watch::Sender<u64>, me: &str) {
    let mut failing = false;
    loop {
        match listen_once(&pool, &changes, me, &mut failing).await {
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
    me: &str,
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
        while listener.try_recv().await?.is_some_and(|told| told.payload() == me) {}
    }
}
