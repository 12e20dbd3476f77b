//! Roles that want an external id, and the sessions of those that were assumed.

use std::{collections::BTreeMap, time::Instant};

use axum::{Json, extract::State, http::StatusCode};

use super::Panel;
use crate::sessions::Status;

pub async fn roles(State(panel): State<Panel>) -> Json<BTreeMap<String, String>> {
    Json(panel.door.sessions.required())
}

/// `{"arn:aws:iam::222222222222:role/release": "external-id"}`; roles that are not named want none.
pub async fn set_roles(State(panel): State<Panel>, Json(wanted): Json<BTreeMap<String, String>>) -> StatusCode {
    panel.door.sessions.require(wanted);
    StatusCode::NO_CONTENT
}

pub async fn list(State(panel): State<Panel>) -> Json<Vec<Status>> {
    Json(panel.door.sessions.list(Instant::now()))
}

/// Ends all of them now, whatever their holders were told.
pub async fn expire(State(panel): State<Panel>) -> StatusCode {
    panel.door.sessions.expire(Instant::now());
    StatusCode::NO_CONTENT
}
