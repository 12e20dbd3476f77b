//! Probes. `/livez`: the process answers. `/readyz`: the database answers, or what runs can be rolled back without it; the
//! provider is never asked.

use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Edge,
    error::{self, Done},
};
use crate::engine::api::Ready;

/// What a probe is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    /// `reachable` or `unreachable`; not asked for by `/livez`.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'static str>,
}

/// Is the process there?
#[utoipa::path(get, path = "/livez", operation_id = "livez", tag = "operations", security(()), responses((status = 200, body = Health)))]
pub async fn live() -> Response {
    Done::Ok.with(&Health { status: "ok", database: None })
}

/// May it be sent requests?
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "`database` says whether only rollbacks can be asked for", body = Health),
        (status = 503, description = "The database cannot be reached, and nothing runs that could be rolled back", body = Health)
    )
)]
pub async fn ready(State(edge): State<Edge>) -> Response {
    match edge.api.ready().await {
        Ok(Ready::Yes) => Done::Ok.with(&Health { status: "ok", database: Some("reachable") }),
        Ok(Ready::ToRollBack) => Done::Ok.with(&Health { status: "ok", database: Some("unreachable") }),
        Err(trouble) => {
            tracing::warn!(%trouble, "not ready");
            error::not_ready(&Health { status: "unavailable", database: Some("unreachable") })
        }
    }
}
