//! The log of every call.

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use serde::Deserialize;

use super::Panel;
use crate::journal::{Counts, Entry};

/// `?operation=DeleteRule&after=17`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    operation: Option<String>,
    #[serde(default)]
    after: u64,
}

pub async fn list(State(panel): State<Panel>, Query(wanted): Query<Wanted>) -> Json<Vec<Entry>> {
    Json(panel.door.journal.calls(wanted.after, wanted.operation.as_deref()))
}

/// By operation and outcome, since the region began or was told to forget.
pub async fn counts(State(panel): State<Panel>) -> Json<Counts> {
    Json(panel.door.journal.counts())
}

pub async fn clear(State(panel): State<Panel>) -> StatusCode {
    panel.door.journal.clear();
    StatusCode::NO_CONTENT
}
