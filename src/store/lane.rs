//! The rollback lane's side of the records: its own connections, kept open, with every statement prepared.

use std::{future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use sqlx::{PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use super::{StoreSettings, commands, deployments, error::is_lost_connection, tokens, wake::Wake};
use crate::{
    domain::{
        deployment::Given,
        ids::{DeploymentId, EnvironmentName, ServiceName, Target},
    },
    engine::ports::{Commanded, LaneStore, StoreError, TokenOwner, Versioned},
};

/// A rollback that has no acceptance on record after this long is taken up by this replica's engine too.
const LEFT_TO_THE_LANE: Duration = Duration::from_secs(1);

/// Implements [`LaneStore`].
#[derive(Debug, Clone)]
pub struct PgLane {
    pool: PgPool,
    /// Each may be met once when the database was restarted.
    connections_max: u32,
    answers_within: Duration,
    wake: Arc<Wake>,
}

impl PgLane {
    pub(super) fn new(settings: &StoreSettings, connect: PgConnectOptions, wake: Arc<Wake>) -> Self {
        let connections_max = settings.lane_connections_max;
        let pool = super::pool(connections_max, settings.acquire_timeout)
            .min_connections(connections_max)
            .idle_timeout(None)
            // A ping would cost a rollback one round trip; a dead connection is answered by the next one instead.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_lazy_with(connect);
        let answers_within = settings.acquire_timeout + settings.lane_statement_timeout + super::ANSWER_SLACK;
        Self { pool, connections_max, answers_within, wake }
    }

    /// Opens every connection now rather than at the first rollback.
    pub(super) async fn warm(&self) {
        let mut opened = Vec::new();
        for _ in 0..self.connections_max {
            // Without a database there is nothing to warm: the pool opens them when there is.
            let Ok(connection) = self.pool.acquire().await else { return };
            opened.push(connection);
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

impl PgLane {
    /// After a restart of the database every kept connection is dead, and each says so at once: as many may be met as there
    /// are. What is called must be harmless twice, since an answer may have been lost with its connection.
    async fn on_a_living_connection<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut tries_left = self.connections_max;
        let answer = async {
            loop {
                match call().await {
                    Err(StoreError::Unreachable { source, .. })
                        if tries_left > 0 && source.downcast_ref().is_some_and(is_lost_connection) =>
                    {
                        tries_left -= 1;
                    }
                    outcome => return outcome,
                }
            }
        };
        super::within(self.answers_within, answer).await
    }
}

impl LaneStore for PgLane {
    async fn raise_rollback(&self, id: DeploymentId, given: &Given) -> Result<Commanded, StoreError> {
        let answer = self.on_a_living_connection(|| commands::raise_rollback(&self.pool, id, given)).await;
        // Another replica's engine takes it up at once, should this one die. Our own would look and send what the lane is sending now, on
        // the same processors: it is woken by `accepted`, and at the latest so much later.
        match &answer {
            Ok(Commanded::Done { deployment, .. }) if !deployment.deployment.overlays.is_empty() => {
                self.wake.tell_others_first(LEFT_TO_THE_LANE);
            }
            _ => self.wake.tell(),
        }
        answer
    }

    async fn accepted(&self, id: DeploymentId, at: Timestamp) -> Result<Option<Versioned>, StoreError> {
        let answer = self.on_a_living_connection(|| commands::accepted(&self.pool, id.uuid(), at)).await;
        self.wake.tell();
        answer
    }

    async fn newest(&self, target: &Target) -> Result<Option<Versioned>, StoreError> {
        self.on_a_living_connection(|| deployments::newest(&self.pool, target)).await
    }

    async fn token_owner(&self, sha256: [u8; 32]) -> Result<Option<TokenOwner>, StoreError> {
        self.on_a_living_connection(|| tokens::owner(&self.pool, sha256)).await
    }
}

/// Runs every statement of the lane once for nobody: parsed, planned and kept by the connection before it is needed.
async fn prepare(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let nobody = Target { service: ServiceName::new(""), environment: EnvironmentName::new("") };
    let given = Given { by: String::new(), reason: None, at: Timestamp::UNIX_EPOCH };
    let prepared = async {
        commands::raise(&mut *connection, Uuid::nil(), &given).await?;
        commands::accepted(&mut *connection, Uuid::nil(), Timestamp::UNIX_EPOCH).await?;
        deployments::newest(&mut *connection, &nobody).await?;
        tokens::owner(&mut *connection, [0; 32]).await
    };
    prepared.await.map(drop).map_err(|error| sqlx::Error::AnyDriverError(Box::new(error)))
}
