//! The HTTP edge: every route on one page.
//!
//! A handler is a few lines: extract, call one use case, show. It knows the engine by [`Api`] alone, never a store or a cloud.

pub mod auth;
mod commands;
mod deployments;
mod docs;
mod drills;
pub mod error;
mod etag;
mod events;
mod extract;
mod health;
mod layers;
mod metrics;
mod orphans;
mod polling;
mod rollback;
mod serve;
mod services;
pub mod wire;

use std::sync::Arc;

use axum::{Router, middleware};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use serve::serve;

use crate::{domain::timing::Timing, engine::api::Api};
use auth::{Owners, Terms};
use layers::Room;
use metrics::Durations;

/// What every handler is given.
#[derive(Clone)]
pub struct Edge {
    api: Arc<dyn Api>,
    /// As the engine has it: some of what is shown hangs on the protocol's waits.
    timing: Timing,
    owners: Arc<Owners>,
    durations: Durations,
    /// Long polls end at once when it is cancelled.
    stop: CancellationToken,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").finish_non_exhaustive()
    }
}

impl Edge {
    pub fn new(api: Arc<dyn Api>, timing: Timing, stop: CancellationToken) -> Self {
        Self { api, timing, owners: Arc::default(), durations: Durations::default(), stop }
    }
}

/// What must never wait behind anything.
fn going_back() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(rollback::of_service)).routes(routes!(rollback::of_deployment))
}

/// What must not wait behind forward work either.
fn pausing() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(commands::pause))
}

/// Reads that may wait for something to happen.
fn waiting() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(deployments::get))
}

/// Reads that memory can answer.
fn listing() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(deployments::list)).routes(routes!(rollback::readiness))
}

/// Everything else.
fn usual() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(services::list))
        .routes(routes!(services::declare, services::get))
        .routes(routes!(services::revisions))
        .routes(routes!(services::doctor))
        .routes(routes!(deployments::create))
        .routes(routes!(events::list))
        .routes(routes!(orphans::list))
        .routes(routes!(drills::begin))
        .routes(routes!(drills::get))
        .routes(routes!(drills::list))
        .routes(routes!(commands::promote))
        .routes(routes!(commands::resume))
        .routes(routes!(commands::adopt))
        .routes(routes!(commands::restore))
        .routes(routes!(commands::approve))
        .routes(routes!(commands::reject))
        .routes(routes!(commands::cancel))
        .routes(routes!(commands::abandon))
        .routes(routes!(commands::weight))
}

/// For probes and people, without a token.
fn open() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(health::live)).routes(routes!(health::ready)).routes(routes!(docs::problem))
}

/// For a scraper, without a token.
fn measured() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(metrics::scrape))
}

/// The document that `openapi/v1.json` holds.
#[must_use]
pub fn openapi() -> OpenApi {
    let all = [usual(), listing(), waiting(), going_back(), pausing(), open(), measured()];
    all.into_iter().fold(OpenApiRouter::with_openapi(docs::head()), OpenApiRouter::merge).into_openapi()
}

/// The whole service as one router.
pub fn router(edge: Edge) -> Router {
    layers::around(api(&edge).merge(for_anybody(measured())), &edge).with_state(edge)
}

/// The service without its metrics, and the metrics alone, for a listener each.
pub fn apart(edge: Edge) -> (Router, Router) {
    let metrics = layers::around(for_anybody(measured()), &edge).with_state(edge.clone());
    (layers::around(api(&edge), &edge).with_state(edge), metrics)
}

fn for_anybody(routes: OpenApiRouter<Edge>) -> Router<Edge> {
    Router::from(routes).route_layer(middleware::from_fn_with_state(Room::open(), layers::bounded))
}

fn api(edge: &Edge) -> Router<Edge> {
    let behind = |routes: OpenApiRouter<Edge>, room: &Room, terms: Terms| {
        Router::from(routes)
            .route_layer(middleware::from_fn_with_state((edge.clone(), terms), auth::require))
            .route_layer(middleware::from_fn_with_state(room.clone(), layers::bounded))
    };
    let (room, urgent) = (Room::usual(), Room::urgent());
    behind(usual(), &room, Terms::USUAL)
        .merge(behind(listing(), &room, Terms::READING))
        .merge(behind(waiting(), &Room::waiting(), Terms::READING))
        .merge(behind(going_back(), &urgent, Terms::GOING_BACK))
        .merge(behind(pausing(), &urgent, Terms::PAUSING))
        .merge(for_anybody(open()))
        .merge(docs::pages())
}
