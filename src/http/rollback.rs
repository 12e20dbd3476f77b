//! Rollback: never 412, and never behind other work. And whether one could.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    Edge,
    auth::Caller,
    docs::Problems,
    error::{Done, Problem},
    extract::{At, Body, Id, Parameters},
    wire::{PlannedView, ReasonBody, RollbackAnswer, RolledBackView, StandingView},
};
use crate::{
    domain::spec,
    engine::api::{Actor, Mode, RollbackOf},
};

async fn go_back(edge: Edge, by: Actor, of: RollbackOf, mut query: Parameters, body: Body) -> Result<Response, Problem> {
    let dry_run = query.flag("dry_run");
    query.end()?;
    let reason = spec::reason(&body.0)?;
    if dry_run {
        return Ok(Done::Ok.with(&PlannedView::from(edge.api.plan_rollback(of).await?)));
    }
    let done = edge.api.rollback(by, of, reason).await?;
    let answer = if done.accepted { Done::Ok } else { Done::Accepted };
    let view = RolledBackView::new(&done, &edge.timing);
    // Another resource than the one that was asked about.
    let location = (done.mode == Mode::Redeploy).then(|| [(header::LOCATION, view.deployment.url.clone())]);
    Ok((location, answer.with(&view)).into_response())
}

/// Whether one could go back now
///
/// `ready`, `degraded` or `no`, why, and what to do; who would serve again; how long it took before; the exact calls, and the lines by
/// hand. It is told by the same rule as a rollback is answered. What was not seen makes it `degraded`, never `no`. While the database is away it is told by what this replica remembers
/// (`as_of`).
#[utoipa::path(
    get, path = "/v1/services/{service}/environments/{environment}/rollback", operation_id = "rollback_readiness", tag = "rollback",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$")
    ),
    responses((status = 200, body = StandingView), Problems)
)]
pub async fn readiness(State(edge): State<Edge>, At(target): At, query: Parameters) -> Result<Response, Problem> {
    query.end()?;
    Ok(Done::Ok.with(&StandingView::from(edge.api.readiness(target).await?)))
}

/// Send all traffic back: no id to look up at 3 a.m.
///
/// Rolls back what runs. 200 means that the load balancer has accepted it on every route; 202 that it is being tried on, which
/// never ends before it is done. Asking again gives the same rollback; one that ended less than 10 minutes ago too.
///
/// Where nothing runs the old servers are gone: the answer is a new deployment (`mode` `redeploy`, `Location`, 202) of the image that was
/// live before the live one first was, straight to 100 percent behind the health gate, checked as any other (422). While it runs, asking again
/// gives the same one, and so it does for 10 minutes after its good end (200); roll *it* back by its id.
#[utoipa::path(
    post, path = "/v1/services/{service}/environments/{environment}/rollback", operation_id = "rollback_service", tag = "rollback",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("dry_run" = Option<bool>, Query, description = "Only say what would be called")
    ),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "Accepted on every route; or the plan of a dry run; or a redeploy that ended well a moment ago",
            body = RollbackAnswer, headers(("location" = Option<String>))),
        (status = 202, description = "Taken down, not yet accepted everywhere; or a redeploy", body = RolledBackView,
            headers(("location" = Option<String>))),
        Problems
    )
)]
pub async fn of_service(
    State(edge): State<Edge>,
    Caller(by): Caller,
    At(target): At,
    query: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    go_back(edge, by, RollbackOf::Target(target), query, body).await
}

/// Send all traffic of one deployment back
///
/// As the rollback of its service, but of this deployment and no other.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/rollback", operation_id = "rollback_deployment", tag = "rollback",
    params(("id" = Uuid, Path), ("dry_run" = Option<bool>, Query, description = "Only say what would be called")),
    request_body = Option<ReasonBody>,
    responses(
        (status = 200, description = "Accepted on every route, or the plan of a dry run", body = RollbackAnswer),
        (status = 202, description = "Taken down, not yet accepted everywhere", body = RolledBackView),
        Problems
    )
)]
pub async fn of_deployment(
    State(edge): State<Edge>,
    Caller(by): Caller,
    Id(id): Id,
    query: Parameters,
    body: Body,
) -> Result<Response, Problem> {
    go_back(edge, by, RollbackOf::Deployment(id), query, body).await
}
