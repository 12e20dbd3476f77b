//! Deployments: create, list, read, and wait.

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
    error::{self, Done, Problem},
    etag::{Conditions, ETag},
    extract::{At, Body, Id, Parameters},
    polling::{self, Wait},
    services::next_page,
    wire::{DeploymentView, NoopView, NothingCreated, Page, PlannedView, ReleaseBody},
};
use crate::{
    domain::{deployment::Status, ids::DeploymentId, spec},
    engine::{
        api::{Created, Wanted},
        ports::Filter,
    },
};

const PAGE: usize = 20;

/// Create a deployment
///
/// Moves a service/environment to an image. Nothing waits in a queue: while one runs, the next is refused with its link.
#[utoipa::path(
    post, path = "/v1/services/{service}/environments/{environment}/deployments", operation_id = "create_deployment", tag = "deployments",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("dry_run" = Option<bool>, Query, description = "Only say what would be done")
    ),
    request_body = ReleaseBody,
    responses(
        (status = 200, description = "The image is live already, or the plan of a dry run", body = NothingCreated),
        (status = 202, description = "Created", body = DeploymentView, headers(("location" = String), ("etag" = String))),
        Problems
    )
)]
pub async fn create(
    State(edge): State<Edge>,
    Caller(caller): Caller,
    At(target): At,
    mut query: Parameters,
    Body(body): Body,
) -> Result<Response, Problem> {
    let dry_run = query.flag("dry_run");
    query.end()?;
    let spec::Release { image, version, reason, strategy } = spec::release(&body)?;
    let wanted = Wanted { target, image, version, reason, strategy, takes_back: None };
    if dry_run {
        return Ok(Done::Ok.with(&PlannedView::from(edge.api.plan_create(wanted).await?)));
    }
    Ok(match edge.api.create(caller, wanted).await? {
        Created::New(created) => {
            let view = DeploymentView::new(&created, &edge.timing);
            let headers = [(header::LOCATION, view.url.clone())];
            (headers, [ETag::of(&view).header()], Done::Accepted.with(&view)).into_response()
        }
        Created::Noop(environment) => Done::Ok.with(&NoopView::from(environment.as_ref())),
    })
}

/// List deployments, newest first
///
/// While the database is away: of one service/environment the deployment that runs, as this replica remembers it (`as_of`).
#[utoipa::path(
    get, path = "/v1/deployments", operation_id = "list_deployments", tag = "deployments",
    params(
        ("service" = Option<String>, Query, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = Option<String>, Query, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("status" = Option<super::wire::StatusWord>, Query),
        Paged
    ),
    responses((status = 200, body = Page<DeploymentView>), Problems)
)]
pub async fn list(State(edge): State<Edge>, mut query: Parameters) -> Result<Response, Problem> {
    let service = query.take("service", spec::service_name);
    let environment = query.take("environment", spec::environment_name);
    let status = query.take("status", read_status);
    let before = query.take("cursor", |text| {
        Uuid::try_parse(text).map(DeploymentId::new).map_err(|_| "must be the `next_cursor` of a page".to_owned())
    });
    let limit = query.limit(PAGE);
    query.end()?;
    let filters = [
        ("service", service.as_ref().map(ToString::to_string)),
        ("environment", environment.as_ref().map(ToString::to_string)),
        ("status", status.map(|status| status.name().to_owned())),
    ];
    let filter = Filter { service, environment, status, before, limit: limit + 1 };
    let mut found = edge.api.deployments(filter).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.read.deployment.id.to_string());
    let items = found.iter().map(|shown| DeploymentView::of(shown, &edge.timing)).collect();
    Ok(next_page("/v1/deployments", &filters, limit, Page { items, next_cursor: next }))
}

fn read_status(text: &str) -> Result<Status, String> {
    let all = [
        Status::Pending,
        Status::InProgress,
        Status::Paused,
        Status::Succeeded,
        Status::RolledBack,
        Status::Cancelled,
        Status::Failed,
    ];
    all.into_iter().find(|status| status.name() == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|status| status.name()).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// Read a deployment, or wait for it
///
/// With `wait` the answer comes when what `until` names is there, and after that time at the latest, with the deployment as it is
/// then. Without `until` it comes when the ETag changes: from the one in `If-None-Match`, else from the present one. While the database
/// is away one that runs is shown as this replica remembers it (`as_of`).
#[utoipa::path(
    get, path = "/v1/deployments/{id}", operation_id = "get_deployment", tag = "deployments",
    params(
        ("id" = Uuid, Path),
        ("wait" = Option<String>, Query, description = "How long to wait at most, up to 60s", example = "55s"),
        ("until" = Option<String>, Query, description = "`terminal`, `baking`, `approval` or `stage:N`; needs `wait`",
            pattern = "^(terminal|baking|approval|stage:[1-9][0-9]{0,3})$"),
        ("if-none-match" = Option<String>, Header, description = "An ETag that the caller has")
    ),
    responses(
        (status = 200, body = DeploymentView, headers(("etag" = String))),
        (status = 304, description = "It is what the caller has"),
        Problems
    )
)]
pub async fn get(
    State(edge): State<Edge>,
    Id(id): Id,
    conditions: Conditions,
    mut query: Parameters,
) -> Result<Response, Problem> {
    let wait = Wait::read(&mut query);
    query.end()?;
    let known = |tag: &ETag| conditions.has_any().then(|| conditions.has(tag));
    let (_, view, tag) = polling::read(&edge, id, wait, known).await?;
    Ok(shown(&view, &tag, &conditions))
}

/// A resource with its tag, or `304` to who has it.
pub fn shown(view: &impl serde::Serialize, tag: &ETag, conditions: &Conditions) -> Response {
    let answer = if conditions.has(tag) { error::not_modified() } else { Done::Ok.with(view) };
    ([tag.header()], answer).into_response()
}
