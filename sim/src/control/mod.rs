//! `/_sim/`: the switches that only tests and people use, as JSON. Nothing here exists on AWS.

mod calls;
mod faults;
mod sessions;
mod world;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Query},
    http::{StatusCode, request::Parts},
    routing::{delete, get, post},
};
use serde_json::{Value, json};

use crate::{api::Door, land::Land, model::Place, servers::Servers};

/// What the switches reach.
#[derive(Debug, Clone)]
pub struct Panel {
    pub door: Arc<Door>,
    pub servers: Servers,
}

/// The account and region that a switch is meant for: `?account=…&region=…`, at home where they are not named.
#[derive(Debug)]
pub struct Here(Arc<Land>);

impl FromRequestParts<Panel> for Here {
    type Rejection = Told;

    async fn from_request_parts(parts: &mut Parts, panel: &Panel) -> Result<Self, Told> {
        let place = Query::<Place>::try_from_uri(&parts.uri);
        let Query(place) = place.map_err(|wrong| told(StatusCode::BAD_REQUEST, wrong.to_string()))?;
        let land = panel.door.lands.at(&place);
        land.map(Self).ok_or_else(|| told(StatusCode::CONFLICT, "too many accounts and regions are in use"))
    }
}

/// What is wrong with a request, in a sentence.
type Told = (StatusCode, Json<Value>);

fn told(status: StatusCode, sentence: impl Into<String>) -> Told {
    (status, Json(json!({ "error": sentence.into() })))
}

fn unknown(what: &str, id: &str) -> Told {
    told(StatusCode::NOT_FOUND, format!("there is no {what} {id}"))
}

/// Every switch on one page.
pub fn router(panel: Panel) -> Router {
    Router::new()
        .route("/faults", post(faults::set).get(faults::list).delete(faults::clear))
        .route("/faults/{id}", delete(faults::remove))
        .route("/faults/{id}/release", post(faults::release))
        .route("/limits", get(faults::limits).put(faults::set_limits).delete(faults::lift_limits))
        .route("/quotas", get(world::quotas).put(world::set_quotas))
        .route("/calls", get(calls::list).delete(calls::clear))
        .route("/calls/counts", get(calls::counts))
        .route("/images", post(world::image))
        .route("/launch-templates", post(world::launch_template))
        .route("/instances/{id}/{what}", post(world::instance))
        .route("/listeners", get(world::listeners))
        .route("/region", get(world::region))
        .route("/figures", get(world::figures))
        .route("/stage", post(world::stage))
        .route("/roles", get(sessions::roles).put(sessions::set_roles))
        .route("/sessions", get(sessions::list))
        .route("/sessions/expire", post(sessions::expire))
        .with_state(panel)
}
