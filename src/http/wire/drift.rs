//! A drift as the API shows it: one entry a field that is not as recorded.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{deployment::Deployment, drift::Difference};

/// One field of one rule that is not as recorded.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drift)]
pub struct DriftView {
    pub route: String,
    #[schema(value_type = DriftRule)]
    pub rule: &'static str,
    #[schema(value_type = DriftField)]
    pub field: &'static str,
    /// In words; for a weight such as `25%`.
    #[schema(example = "25%")]
    pub recorded: String,
    #[schema(example = "60%")]
    pub seen: String,
}

/// Which rule of a route; `other` is one that somebody added beside them and that sends green traffic.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DriftRule {
    Base,
    Overlay,
    Other,
}

/// What of it: that it is there (`rule`), its number, what it matches, what it does before it forwards, where that goes.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DriftField {
    Rule,
    Number,
    Conditions,
    Actions,
    Transforms,
    Forward,
    Weight,
}

impl DriftView {
    /// What holds a deployment; on the way back nothing does any more.
    pub fn of(d: &Deployment) -> Option<Vec<Self>> {
        let held = d.held.as_ref().filter(|_| !d.intent.is_back())?;
        Some(held.differences.iter().map(Self::from).collect())
    }
}

impl From<&Difference> for DriftView {
    fn from(difference: &Difference) -> Self {
        let edit = &difference.edit;
        Self {
            route: difference.route.to_string(),
            rule: edit.rule.name(),
            field: edit.field.name(),
            recorded: edit.recorded.clone(),
            seen: edit.seen.clone(),
        }
    }
}
