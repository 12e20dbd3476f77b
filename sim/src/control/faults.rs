//! Setting, seeing, releasing and removing faults and limits.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use super::{Panel, Told, told, unknown};
use crate::{
    faults::{Fault, Status},
    limits::Rates,
};

pub async fn set(State(panel): State<Panel>, Json(fault): Json<Fault>) -> Result<(StatusCode, Json<Value>), Told> {
    let id = panel.door.faults.set(fault).ok_or_else(|| told(StatusCode::CONFLICT, "too many faults: DELETE /_sim/faults"))?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

pub async fn list(State(panel): State<Panel>) -> Json<Vec<Status>> {
    Json(panel.door.faults.list())
}

pub async fn clear(State(panel): State<Panel>) -> StatusCode {
    panel.door.faults.clear();
    StatusCode::NO_CONTENT
}

pub async fn remove(State(panel): State<Panel>, Path(id): Path<String>) -> Result<StatusCode, Told> {
    if panel.door.faults.remove(&id) { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("fault", &id)) }
}

pub async fn release(State(panel): State<Panel>, Path(id): Path<String>) -> Result<StatusCode, Told> {
    if panel.door.faults.release(&id) { Ok(StatusCode::NO_CONTENT) } else { Err(unknown("fault", &id)) }
}

/// The rates enforced; null: none.
pub async fn limits(State(panel): State<Panel>) -> Json<Option<Rates>> {
    Json(panel.door.limits.rates())
}

/// Full buckets at these rates; `{}` means AWS's own.
pub async fn set_limits(State(panel): State<Panel>, Json(rates): Json<Rates>) -> StatusCode {
    panel.door.limits.set(Some(rates));
    StatusCode::NO_CONTENT
}

pub async fn lift_limits(State(panel): State<Panel>) -> StatusCode {
    panel.door.limits.set(None);
    StatusCode::NO_CONTENT
}
