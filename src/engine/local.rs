//! What a replica keeps on its own disk, for the time when the database is away. A port: `store` writes it.

use std::{fmt, io, sync::Arc};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ports::TokenOwner;
use crate::domain::{
    deployment::{Deployment, Given},
    ids::{DeploymentId, Target},
};

/// A running deployment as it was last read from the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptBundle {
    /// By this machine's clock.
    pub confirmed_at: Timestamp,
    pub version: i64,
    pub deployment: Arc<Deployment>,
}

/// The tokens that the database knew.
#[derive(Debug, Clone)]
pub struct KeptTokens {
    /// By this machine's clock.
    pub as_of: Timestamp,
    pub owners: Vec<([u8; 32], TokenOwner)>,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Line {
    /// A rollback that could not be put on record.
    Asked(Entry),
    /// The load balancer had accepted it.
    Accepted { deployment: DeploymentId, at: Timestamp },
    /// Every route was seen to send nothing to green.
    Observed { deployment: DeploymentId, at: Timestamp },
    /// It is on record now, or its deployment has ended.
    Over { deployment: DeploymentId },
}

/// A rollback that waits for its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub deployment: DeploymentId,
    pub target: Target,
    /// Who asked, when and why.
    pub given: Given,
    pub accepted_at: Option<Timestamp>,
    #[serde(default)]
    pub observed_at: Option<Timestamp>,
}

/// Files below the state folder.
pub trait LocalFiles: fmt::Debug + Send + Sync + 'static {
    /// Puts these in the place of those that were kept: whole, or not at all.
    fn keep_bundles(&self, bundles: Vec<KeptBundle>) -> BoxFuture<'_, io::Result<()>>;
    /// The same with the tokens.
    fn keep_tokens(&self, tokens: KeptTokens) -> BoxFuture<'_, io::Result<()>>;
    /// Adds a line to the journal; returns once it is on the disk.
    fn append(&self, line: Line) -> BoxFuture<'_, io::Result<()>>;
}
