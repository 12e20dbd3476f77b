//! A deployment as stored and as the domain knows it: the engine's record and the commands' intent are two columns, joined
//! here and nowhere else.

use jiff_sqlx::Timestamp;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use sqlx::types::Json;

use super::error::Doing;
use crate::{
    domain::{
        declaration::Declaration,
        deployment::{Deployment, Intent, Live},
        ids::{DeploymentId, EnvironmentName, ServiceName, Target},
    },
    engine::ports::{Environment, StoreError, Versioned},
};

/// JSON as the database sent it: read once, into what it is, and not into a tree of values first.
pub(super) type Text = Json<Box<RawValue>>;

/// What every statement returns of a deployment.
pub(super) struct DeploymentRow {
    /// The engine's part: everything but the intent.
    pub record: Text,
    pub intent: Text,
    pub rollback_accepted_at: Option<Timestamp>,
    /// When it was last looked at, if that changed nothing of the record.
    pub seen_at: Option<Timestamp>,
    pub version: i64,
}

impl DeploymentRow {
    pub fn read(self) -> Result<Versioned, StoreError> {
        let mut intent: Intent = serde_json::from_str(self.intent.0.get()).doing("reading a deployment's intent")?;
        intent.rollback_accepted_at = self.rollback_accepted_at.map(Timestamp::to_jiff);
        let mut record: Deployment = serde_json::from_str(self.record.0.get()).doing("reading a deployment's record")?;
        record.seen.at = record.seen.at.max(self.seen_at.map(Timestamp::to_jiff));
        Ok(Versioned { deployment: Deployment { intent, ..record }, version: self.version })
    }

    /// Of a record that cannot be read, perhaps.
    pub fn id(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        serde_json::from_str(self.record.0.get()).ok().map(|named: Named| named.id)
    }
}

/// The commands' part. When the rollback was accepted has a column of its own.
pub(super) fn intent(intent: &Intent) -> Result<Value, StoreError> {
    let mut value = serde_json::to_value(intent).doing("writing a deployment's intent")?;
    if let Some(fields) = value.as_object_mut() {
        fields.remove("rollback_accepted_at");
    }
    Ok(value)
}

/// An environment in one of its revisions.
pub(super) struct EnvironmentRow {
    pub service: String,
    pub environment: String,
    pub revision: i32,
    pub declaration: Value,
    pub declared_at: Timestamp,
    pub declared_by: String,
    pub live: Option<Value>,
    pub next_number: i32,
    pub running: Option<uuid::Uuid>,
    pub last: Option<uuid::Uuid>,
    pub drill: Option<Value>,
}

impl EnvironmentRow {
    pub fn read(self) -> Result<Environment, StoreError> {
        Ok(Environment {
            target: target(self.service, self.environment),
            revision: self.revision,
            // Counts up from 1.
            next_number: u32::try_from(self.next_number).unwrap_or(1),
            declaration: declaration(self.declaration)?,
            declared_at: self.declared_at.to_jiff(),
            declared_by: self.declared_by,
            live: self.live.map(live).transpose()?,
            running: self.running.map(DeploymentId::new),
            last: self.last.map(DeploymentId::new),
            drill: self.drill.map(super::drills::read).transpose()?.map(Box::new),
        })
    }
}

pub(super) fn declaration(stored: Value) -> Result<Declaration, StoreError> {
    serde_json::from_value(stored).doing("reading a declaration")
}

pub(super) fn live(stored: Value) -> Result<Live, StoreError> {
    serde_json::from_value(stored).doing("reading the live group")
}

pub(super) fn target(service: String, environment: String) -> Target {
    Target { service: ServiceName::new(service), environment: EnvironmentName::new(environment) }
}
