//! What the edge is told while the database is away: the running deployments as this replica remembers them, with the rollbacks
//! that wait in its journal, and that it can still roll them back.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    api::{LaneFigures, Ready, Shown, Trouble},
    app::App,
    bundles::Bundle,
    ports::{Cloud, Filter, LaneStore, Store, StoreError, TokenOwner, Versioned},
};
use crate::domain::ids::DeploymentId;

/// How long an answer from memory waits for the database's.
const PATIENCE: Duration = Duration::from_secs(2);

impl<S: Store, L: LaneStore, C: Cloud> App<S, L, C> {
    /// The record, or what is remembered of it.
    pub(super) async fn read(&self, id: DeploymentId) -> Result<Shown, Trouble> {
        match self.asked(self.store.get(id)).await {
            Ok(read) => read.map(|read| self.on_record(read)).ok_or(Trouble::NotFound("deployment")),
            Err(away @ StoreError::Unreachable { .. }) => {
                self.bundles.of(id).map(|bundle| self.remembered(bundle)).ok_or(away.into())
            }
            Err(broken) => Err(broken.into()),
        }
    }

    /// The records; or, of one service/environment, the deployment that runs as it is remembered.
    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Shown>, Trouble> {
        let away = match self.asked(self.store.list(filter)).await {
            Ok(read) => return Ok(read.into_iter().map(|read| self.on_record(read)).collect()),
            Err(away @ StoreError::Unreachable { .. }) => away,
            Err(broken) => return Err(broken.into()),
        };
        let Filter { service: Some(service), environment: Some(environment), status: None, before: None, .. } = filter else {
            return Err(away.into());
        };
        let of = crate::domain::ids::Target { service: service.clone(), environment: environment.clone() };
        self.bundles.running(&of).map(|bundle| vec![self.remembered(bundle)]).ok_or(away.into())
    }

    /// What the database says, if that comes in time. Where it is known to be away it is not waited for.
    pub(super) async fn asked<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let patience = match (self.bundles.is_empty(), self.bundles.database_is_away()) {
            // There is nothing else to say.
            (true, _) => return answer.await,
            (false, true) => self.settings.record_patience,
            (false, false) => PATIENCE,
        };
        let late = || StoreError::Unreachable { doing: "reading", source: "no answer yet".into() };
        timeout(patience, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// With the order that waits to be put on it.
    pub(super) fn on_record(&self, mut read: Versioned) -> Shown {
        self.journal.tell(&mut read.deployment);
        Shown { read, as_of: None }
    }

    pub(super) fn remembered(&self, bundle: Bundle) -> Shown {
        let mut deployment = bundle.record();
        self.journal.tell(&mut deployment);
        Shown { read: Versioned { deployment, version: bundle.version }, as_of: Some(bundle.confirmed.at()) }
    }

    /// A database that is away is no reason to send nobody here who wants to go back.
    pub(super) async fn ready(&self) -> Result<Ready, Trouble> {
        match self.asked(self.store.ping()).await {
            Ok(()) => Ok(Ready::Yes),
            Err(_) if !self.bundles.is_empty() => Ok(Ready::ToRollBack),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn lane_figures(&self) -> LaneFigures {
        LaneFigures {
            database_is_away: self.bundles.database_is_away(),
            bundles: self.bundles.len(),
            journal: self.journal.len(),
            rollbacks: self.times.figures(),
        }
    }

    /// Who may come in by what was heard at most so long ago; while the database is away, for as long as tokens are kept.
    pub(super) fn known_owner(&self, sha256: &[u8; 32], at_most: Duration) -> Option<TokenOwner> {
        let away = self.bundles.database_is_away();
        self.tokens.owner(sha256, if away { self.settings.tokens_kept_for.max(at_most) } else { at_most })
    }
}
