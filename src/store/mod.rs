//! Records in Postgres: the only SQL of the service.
//!
//! Two habits carry it. Every write to a deployment is *one* statement, so that no row lock outlives a round trip and a
//! replica that stalls cannot hold up a rollback. And every moment that matters is taken from the database's clock.

mod claims;
mod commands;
mod declarations;
mod deployments;
mod drills;
pub mod embedded;
mod error;
mod holds;
mod insert;
mod lane;
mod lease;
pub mod local;
mod orphans;
mod replicas;
mod rows;
mod seen_again;
pub mod state_dir;
mod tokens;
mod wake;

use std::{
    future::Future,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::{
    domain::{
        command::Command,
        declaration::Declaration,
        deployment::{Given, Status},
        drill::Drilled,
        ids::{DeploymentId, HolderId, Image, ListenerRef, RouteRef, Target},
        readiness::Took,
    },
    engine::{
        bundles::Bundles,
        ports::{
            Claim, Commanded, Current, Environment, Filter, Inserted, NewDeployment, Settled, Settlement, Store, StoreError,
            StoredEvent, TokenOwner, Versioned,
        },
    },
};
use error::Doing;
pub use lane::PgLane;
use seen_again::SeenAgain;
use wake::Wake;

/// A migration that takes longer than this is not one for a start.
const MIGRATION_TIME_MAX: Duration = Duration::from_secs(60);

/// What an answer takes beyond the connection and the statement.
const ANSWER_SLACK: Duration = Duration::from_secs(1);
/// How long a connection that was given back may take to answer before it is given up.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// `postgres://user:password@host/database`, or what the embedded one gives.
    pub url: SecretString,
    /// For everything but the rollback lane, and the listener, the teller and the watch, which have one each.
    pub connections_max: u32,
    /// For the rollback lane alone; all of them are kept open.
    pub lane_connections_max: u32,
    /// How long to wait for a connection.
    pub acquire_timeout: Duration,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// The same on the lane.
    pub lane_statement_timeout: Duration,
}

impl StoreSettings {
    /// The defaults, for a database at `url`.
    #[must_use]
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            connections_max: 10,
            lane_connections_max: 4,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lane_statement_timeout: Duration::from_secs(2),
        }
    }
}

/// Implements [`Store`].
#[derive(Debug, Clone)]
pub struct PgStore {
    pool: PgPool,
    /// One connection for what replicas keep warm: how soon it is answered tells of the database, not of who else asks here.
    watch: PgPool,
    wake: Arc<Wake>,
    seen_again: Arc<SeenAgain>,
    lane: PgLane,
    connect: PgConnectOptions,
    acquire_timeout: Duration,
    /// No answer takes longer: a server that hangs, or went without a word, keeps nobody.
    answers_within: Duration,
}

impl PgStore {
    /// Connects, brings the schema up to date and starts to listen. Replicas may do so at the same time: the migrations take
    /// turns.
    ///
    /// # Errors
    /// When the database cannot be reached, or the schema cannot be brought up to date.
    pub async fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let store = Self::unopened(settings)?;
        store.prepare().await?;
        Ok(store)
    }

    /// The same before the database is there: everything answers `Unreachable` until it is. To be followed by
    /// [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn unopened(settings: &StoreSettings) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(settings.url.expose_secret())
            .doing("reading the database's URL")?
            .application_name("cutover");
        let pool = self::pool(settings.connections_max, settings.acquire_timeout)
            .connect_lazy_with(limited(connect.clone(), settings.statement_timeout));
        let watch =
            self::pool(1, settings.acquire_timeout).connect_lazy_with(limited(connect.clone(), settings.statement_timeout));
        let listener = pool_of_one(settings.acquire_timeout).connect_lazy_with(connect.clone());
        let teller = pool_of_one(settings.acquire_timeout)
            .connect_lazy_with(limited(connect.clone(), settings.statement_timeout).options([("synchronous_commit", "off")]));
        let wake = Arc::new(Wake::start(listener, teller));
        let lane = PgLane::new(settings, limited(connect.clone(), settings.lane_statement_timeout), wake.clone());
        Ok(Self {
            pool,
            watch,
            wake,
            seen_again: Arc::default(),
            lane,
            connect,
            acquire_timeout: settings.acquire_timeout,
            answers_within: settings.acquire_timeout + settings.statement_timeout + ANSWER_SLACK,
        })
    }

    /// Brings the schema up to date, and opens the lane's connections.
    ///
    /// # Errors
    /// When the database cannot be reached, or the schema cannot be brought up to date.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        migrate(&self.connect, self.acquire_timeout).await?;
        self.lane.warm().await;
        Ok(())
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        within(self.answers_within, answer).await
    }

    /// The same for what others wait for. Told whatever the answer: one that was lost does not say that nothing was written.
    async fn news<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let answer = self.within(answer).await;
        self.wake.tell();
        answer
    }

    /// The rollback lane's side, on its own connections.
    #[must_use]
    pub fn lane(&self) -> PgLane {
        self.lane.clone()
    }

    /// Waits for what is under way and closes every connection.
    pub async fn close(&self) {
        // That leases were given back, so that nobody has to find it.
        self.wake.all_told(RELEASE_WITHIN).await;
        self.pool.close().await;
        self.watch.close().await;
        self.lane.close().await;
    }

    /// The id that goes into the ownership tags of everything this installation creates.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn installation(&self) -> Result<Uuid, StoreError> {
        sqlx::query_scalar!("select id from installation").fetch_one(&self.pool).await.doing("reading the installation's id")
    }

    /// Stores a token's SHA-256 under its owner's name, in the place of the one that had it.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn put_token(&self, owner: &TokenOwner, sha256: [u8; 32]) -> Result<(), StoreError> {
        tokens::put(&self.pool, owner, sha256).await
    }

    /// Stores a token's SHA-256 unless its owner's name has one; `false` when it had.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn put_first_token(&self, owner: &TokenOwner, sha256: [u8; 32]) -> Result<bool, StoreError> {
        tokens::put_first(&self.pool, owner, sha256).await
    }
}

/// A client's word on it: the server that is to end a statement may be what hangs.
async fn within<T>(at_most: Duration, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unreachable {
        doing: "waiting for its answer",
        source: format!("none came within {} ms", at_most.as_millis()).into(),
    };
    tokio::time::timeout(at_most, answer).await.map_err(late)?
}

fn pool(connections_max: u32, acquire_timeout: Duration) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections_max).acquire_timeout(acquire_timeout).after_release(|connection, _| {
        Box::pin(async move {
            // One whose answer was not waited for may hang for as long as the network lets it: it is closed, and another one opened.
            match tokio::time::timeout(RELEASE_WITHIN, connection.ping()).await {
                Ok(alive) => alive.map(|()| true),
                Err(_) => Err(sqlx::Error::PoolTimedOut),
            }
        })
    })
}

fn pool_of_one(acquire_timeout: Duration) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(1).acquire_timeout(acquire_timeout).max_lifetime(None).idle_timeout(None)
}

/// A statement that hangs, or a transaction that its client forgot, must not hold others up.
fn limited(connect: PgConnectOptions, statement_timeout: Duration) -> PgConnectOptions {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    connect.options([
        ("statement_timeout", millis(statement_timeout)),
        ("idle_in_transaction_session_timeout", millis(statement_timeout)),
        ("synchronous_commit", "on".to_owned()),
    ])
}

async fn migrate(connect: &PgConnectOptions, connect_timeout: Duration) -> Result<(), StoreError> {
    const DOING: &str = "bringing the schema up to date";
    let late = |_| StoreError::Unreachable { doing: DOING, source: "it took too long".into() };
    let connecting = PgConnection::connect_with(connect);
    let mut connection = tokio::time::timeout(connect_timeout, connecting).await.map_err(late)?.doing("connecting")?;
    let mut migrator = sqlx::migrate!();
    // A newer replica may have gone ahead: migrations expand first, so this one still works.
    migrator.set_ignore_missing(true);
    let migrated = tokio::time::timeout(MIGRATION_TIME_MAX, migrator.run(&mut connection)).await.map_err(late)?;
    migrated.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => error::told(error, DOING),
        error => StoreError::Broken { doing: DOING, source: Box::new(error) },
    })?;
    connection.close().await.doing(DOING)
}

impl Store for PgStore {
    async fn declare(
        &self,
        target: &Target,
        declaration: &Declaration,
        by: &str,
        expected: Option<i32>,
    ) -> Result<Option<(Environment, bool)>, StoreError> {
        self.within(declarations::declare(&self.pool, target, declaration, by, expected)).await
    }

    async fn environment(&self, target: &Target) -> Result<Option<Environment>, StoreError> {
        self.within(declarations::environment(&self.pool, target)).await
    }

    async fn environments(&self, after: Option<&Target>, limit: usize) -> Result<Vec<Environment>, StoreError> {
        self.within(declarations::environments(&self.pool, after, limit)).await
    }

    async fn revisions(&self, target: &Target, before: Option<i32>, limit: usize) -> Result<Vec<Environment>, StoreError> {
        self.within(declarations::revisions(&self.pool, target, before, limit)).await
    }

    async fn insert(&self, new: NewDeployment, half_quiet: Duration) -> Result<Inserted, StoreError> {
        self.news(insert::insert(&self.pool, new, half_quiet)).await
    }

    async fn get(&self, id: DeploymentId) -> Result<Option<Versioned>, StoreError> {
        self.within(deployments::get(&self.pool, id)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Versioned>, StoreError> {
        self.within(deployments::list(&self.pool, filter)).await
    }

    async fn newest(&self, target: &Target) -> Result<Option<Versioned>, StoreError> {
        self.within(deployments::newest(&self.pool, target)).await
    }

    async fn first_release(&self, target: &Target, image: &Image) -> Result<Vec<Versioned>, StoreError> {
        self.within(deployments::first_release(&self.pool, target, image)).await
    }

    async fn running(&self, limit: usize) -> Result<Vec<Versioned>, StoreError> {
        self.within(deployments::running(&self.pool, limit)).await
    }

    async fn running_versions(&self, limit: usize) -> Result<Vec<Current>, StoreError> {
        self.within(deployments::running_versions(&self.watch, limit)).await
    }

    async fn some(&self, ids: &[DeploymentId]) -> Result<Vec<Versioned>, StoreError> {
        self.within(deployments::some(&self.watch, ids)).await
    }

    async fn outcomes(&self) -> Result<Vec<(Target, Status, u64)>, StoreError> {
        self.within(deployments::outcomes(&self.pool)).await
    }

    async fn rollbacks(&self, limit: usize) -> Result<Vec<Took>, StoreError> {
        self.within(deployments::rollbacks(&self.pool, limit)).await
    }

    async fn let_go(&self, target: &Target, declaration: &Declaration) -> Result<Vec<DeploymentId>, StoreError> {
        self.within(insert::let_go(&self.pool, &holds::from_the_start(target, declaration))).await
    }

    async fn reserved(&self, listener: &ListenerRef, but: DeploymentId) -> Result<Vec<u32>, StoreError> {
        self.within(deployments::reserved(&self.pool, listener, but)).await
    }

    async fn drilled(&self, target: &Target, routes: &[RouteRef]) -> Result<Drilled, StoreError> {
        self.within(drills::drilled(&self.pool, target, routes)).await
    }

    async fn events(&self, id: DeploymentId, after: i64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.within(deployments::events(&self.pool, id, after, limit)).await
    }

    async fn claim_due(
        &self,
        holder: &HolderId,
        lease: Duration,
        limit: usize,
        known: &Bundles,
    ) -> Result<Vec<Claim>, StoreError> {
        self.within(lease::claim_due(&self.pool, holder, lease, limit, known)).await
    }

    async fn next_due(&self, holder: &HolderId) -> Result<Option<Duration>, StoreError> {
        self.within(lease::next_due(&self.pool, holder)).await
    }

    async fn renew(&self, claim: &Claim, holder: &HolderId, lease: Duration) -> Result<Option<Instant>, StoreError> {
        self.within(lease::renew(&self.pool, claim, holder, lease)).await
    }

    async fn settle(&self, holder: &HolderId, settlement: Settlement<'_>) -> Result<Settled, StoreError> {
        if settlement.is_seen_again() {
            return self.within(self.seen_again.settle(&self.pool, holder, settlement)).await;
        }
        let is_news = settlement.is_news();
        let settled = lease::settle(&self.pool, holder, settlement);
        if is_news { self.news(settled).await } else { self.within(settled).await }
    }

    async fn release_all(&self, holder: &HolderId) -> Result<(), StoreError> {
        self.news(lease::release_all(&self.pool, holder)).await
    }

    async fn heartbeat(&self, holder: &HolderId, alive_for: Duration) -> Result<u32, StoreError> {
        self.within(replicas::heartbeat(&self.pool, holder, alive_for)).await
    }

    async fn command(
        &self,
        id: DeploymentId,
        command: Command,
        given: Given,
        expected: Option<i64>,
    ) -> Result<Commanded, StoreError> {
        self.news(commands::command(&self.pool, id, command, &given, expected)).await
    }

    fn changed(&self, at_most: Duration) -> impl Future<Output = ()> + Send {
        self.wake.changed(at_most)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let ping = sqlx::query_scalar!(r#"select 1 as "one!""#).fetch_one(&self.pool);
        self.within(async { ping.await.map(drop).doing("asking whether it is there") }).await
    }

    async fn token_owner(&self, sha256: [u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
        self.within(tokens::owner(&self.pool, sha256)).await
    }

    async fn token_owners(&self, limit: usize) -> Result<Vec<([u8; 32], TokenOwner)>, StoreError> {
        self.within(tokens::owners(&self.pool, limit)).await
    }
}
