//! Drills of the way back: begin one, read one, and the trend.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use uuid::Uuid;

use super::{
    Edge,
    auth::Caller,
    docs::{Paged, Problems},
    error::{Done, Problem},
    extract::{At, Body, Id, Parameters},
    services::{PAGE, next_page},
    wire::{DrillAnswer, DrillView, Page, PlannedView, ReasonBody, drills_url},
};
use crate::{
    domain::{ids::DrillId, spec},
    engine::api::Drilling,
};

/// Try the way back while nothing is being released
///
/// Opens a rule on every route that forwards to where the base forwards, and deletes it again: what a rollback does, with nobody's
/// traffic at stake. It is measured until the deletion is seen on every route. While a deployment runs: 409, with the deployment. A
/// deployment that is created meanwhile waits in `pending` for the few seconds that it takes. One that runs already is the answer,
/// with 200.
#[utoipa::path(
    post, path = "/v1/services/{service}/environments/{environment}/drill", operation_id = "drill", tag = "rollback",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("dry_run" = Option<bool>, Query, description = "Only say what would be done")
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "The one that runs already, or the plan of a dry run", body = DrillAnswer),
        (status = 202, description = "Begun", body = DrillView, headers(("location" = String))),
        Problems
    )
)]
pub async fn begin(
    State(edge): State<Edge>,
    Caller(by): Caller,
    At(target): At,
    mut query: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    let dry_run = query.flag("dry_run");
    query.end()?;
    let reason = spec::reason(&body.0)?;
    if dry_run {
        return Ok(Done::Ok.with(&PlannedView::from(edge.api.plan_drill(target).await?)));
    }
    let Drilling { drill, new } = edge.api.begin_drill(by, target, reason).await?;
    let view = DrillView::from(drill.as_ref());
    let answer = if new { Done::Accepted } else { Done::Ok };
    Ok(([(header::LOCATION, view.url.clone())], answer.with(&view)).into_response())
}

/// Read a drill
#[utoipa::path(
    get, path = "/v1/drills/{id}", operation_id = "get_drill", tag = "rollback",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = DrillView), Problems)
)]
pub async fn get(State(edge): State<Edge>, Id(id): Id, query: Parameters) -> Result<Response, Problem> {
    query.end()?;
    Ok(Done::Ok.with(&DrillView::from(&edge.api.drill(DrillId::new(id.uuid())).await?)))
}

/// List the drills of a service in an environment, newest first: how long the way back took, over time
///
/// The newest 500 are kept.
#[utoipa::path(
    get, path = "/v1/services/{service}/environments/{environment}/drills", operation_id = "list_drills", tag = "rollback",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        Paged
    ),
    responses((status = 200, body = Page<DrillView>), Problems)
)]
pub async fn list(State(edge): State<Edge>, At(target): At, mut query: Parameters) -> Result<Response, Problem> {
    let before = query.take("cursor", |text| {
        text.parse::<Uuid>().map(DrillId::new).map_err(|_| "must be the `next_cursor` of a page".to_owned())
    });
    let limit = query.limit(PAGE);
    query.end()?;
    let url = drills_url(&target);
    let mut found = edge.api.drills(target, before, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(next_page(&url, &[], limit, Page { items: found.iter().map(DrillView::from).collect(), next_cursor }))
}
