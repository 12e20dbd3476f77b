//! Services in environments: declare, read, list, and what was declared when.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::{
    Edge,
    auth::Caller,
    deployments::shown,
    docs::{Paged, Problems},
    error::{Done, Kind, Problem},
    etag::{Conditions, ETag},
    extract::{At, Body, NoParameters, Parameters},
    wire::{
        DeclarationView, DeclaredView, EnvironmentView, Page, PlannedView, RevisionView, ServiceView, Stored, environment_url,
    },
};
use crate::{
    domain::{
        ids::{Image, Target},
        spec,
    },
    engine::{
        api::{Declared, Trouble},
        ports::Environment,
    },
};

/// Entries a page, where the caller does not say.
pub const PAGE: usize = 20;
/// How many deployments are read at once for one page.
pub const READS_AT_ONCE_MAX: usize = 8;

/// Declare a service in an environment
///
/// Everything is checked first, against the provider too, and every fault is told at once. What is declared while the provider
/// cannot be reached is stored, `checked` is false, and every deployment checks again before it starts. An identical declaration
/// makes no revision.
///
/// A dry run stores nothing: it answers with every check and what a first deployment of it would do.
#[utoipa::path(
    put, path = "/v1/services/{service}/environments/{environment}", operation_id = "declare_service", tag = "services",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("dry_run" = Option<bool>, Query, description = "Only say what would be done"),
        ("if-match" = Option<String>, Header, description = "Only if this is still its ETag")
    ),
    request_body = DeclarationView,
    responses(
        (status = 200, description = "Changed, or as it was; or the plan of a dry run", body = Stored, headers(("etag" = String))),
        (status = 201, description = "New", body = DeclaredView, headers(("location" = String), ("etag" = String))),
        Problems
    )
)]
pub async fn declare(
    State(edge): State<Edge>,
    Caller(caller): Caller,
    At(target): At,
    mut query: Parameters,
    conditions: Conditions,
    Body(body): Body,
) -> Result<Response, Problem> {
    let dry_run = query.flag("dry_run");
    query.end()?;
    let declaration = spec::declaration(&body)?;
    let expected = if conditions.asks() { Some(matching(&edge, &target, &conditions).await?) } else { None };
    if dry_run {
        return Ok(Done::Ok.with(&PlannedView::from(edge.api.plan_declare(target, declaration).await?)));
    }
    let Declared { environment, new, checked, warnings } = edge.api.declare(caller, target, declaration, expected).await?;
    let view = EnvironmentView::from(&environment);
    let tag = ETag::of(&view);
    let url = view.url.clone();
    let body = DeclaredView { checked, warnings, environment: view };
    Ok(if new {
        ([(header::LOCATION, url)], [tag.header()], Done::Created.with(&body)).into_response()
    } else {
        ([tag.header()], Done::Ok.with(&body)).into_response()
    })
}

/// The revision that the caller's ETag stands for: the one the change may be made to.
async fn matching(edge: &Edge, target: &Target, conditions: &Conditions) -> Result<i32, Problem> {
    let gone = || Problem::new(Kind::PreconditionFailed, "there is no such service/environment, so no ETag of it can match");
    let present = match edge.api.environment(target.clone()).await {
        Err(Trouble::NotFound(_)) => return Err(gone()),
        read => read?,
    };
    if conditions.allow(&ETag::of(&EnvironmentView::from(&present))) {
        Ok(present.revision)
    } else {
        Err(Trouble::Precondition.into())
    }
}

/// Read a service in an environment
#[utoipa::path(
    get, path = "/v1/services/{service}/environments/{environment}", operation_id = "get_service", tag = "services",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("if-none-match" = Option<String>, Header, description = "An ETag that the caller has")
    ),
    responses(
        (status = 200, body = EnvironmentView, headers(("etag" = String))),
        (status = 304, description = "It is what the caller has"),
        Problems
    )
)]
pub async fn get(
    State(edge): State<Edge>,
    At(target): At,
    _: NoParameters,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let view = EnvironmentView::from(&edge.api.environment(target).await?);
    Ok(shown(&view, &ETag::of(&view), &conditions))
}

/// Check everything that a deployment hangs on
///
/// Looks and changes nothing. It answers 200 whatever it finds, with one check for each thing that was looked at, and the plan
/// where nothing is known to stand in its way. While a deployment runs, its slots and numbers are in use: 409.
#[utoipa::path(
    get, path = "/v1/services/{service}/environments/{environment}/doctor", operation_id = "doctor", tag = "services",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        ("image" = Option<String>, Query, pattern = "^(ami-[0-9a-f]{1,17}|lt:[1-9][0-9]{0,9})$",
            description = "What a deployment is planned of; left out: the declared launch template's version")
    ),
    responses((status = 200, body = PlannedView), Problems)
)]
pub async fn doctor(State(edge): State<Edge>, At(target): At, mut query: Parameters) -> Result<Response, Problem> {
    let image = query.take("image", Image::parse);
    query.end()?;
    Ok(Done::Ok.with(&PlannedView::from(edge.api.doctor(target, image).await?)))
}

/// List what was declared, newest first
#[utoipa::path(
    get, path = "/v1/services/{service}/environments/{environment}/revisions", operation_id = "list_revisions", tag = "services",
    params(
        ("service" = String, Path, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = String, Path, pattern = "^[a-z][a-z0-9]{0,15}$"),
        Paged
    ),
    responses((status = 200, body = Page<RevisionView>), Problems)
)]
pub async fn revisions(State(edge): State<Edge>, At(target): At, mut query: Parameters) -> Result<Response, Problem> {
    let before = query.take("cursor", |text| {
        text.parse::<i32>().ok().filter(|n| *n >= 1).ok_or_else(|| "must be the `next_cursor` of a page".to_owned())
    });
    let limit = query.limit(PAGE);
    query.end()?;
    let url = format!("{}/revisions", environment_url(&target));
    // An unknown service has no revisions either; the difference matters to who mistyped it.
    edge.api.environment(target.clone()).await?;
    let mut found = edge.api.revisions(target, before, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.revision.to_string());
    Ok(next_page(&url, &[], limit, Page { items: found.iter().map(RevisionView::from).collect(), next_cursor: next }))
}

/// List all services in their environments, by name
#[utoipa::path(
    get, path = "/v1/services", operation_id = "list_services", tag = "services",
    params(Paged),
    responses((status = 200, body = Page<ServiceView>), Problems)
)]
pub async fn list(State(edge): State<Edge>, mut query: Parameters) -> Result<Response, Problem> {
    let after = query.take("cursor", |text| {
        let names =
            text.split_once('/').and_then(|(s, e)| Some((spec::service_name(s).ok()?, spec::environment_name(e).ok()?)));
        let target = names.map(|(service, environment)| Target { service, environment });
        target.ok_or_else(|| "must be the `next_cursor` of a page".to_owned())
    });
    let limit = query.limit(PAGE);
    query.end()?;
    let mut found = edge.api.environments(after, limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.target.to_string());
    let reads = found.into_iter().map(|environment| at_a_glance(&edge, environment));
    let items = stream::iter(reads).buffered(READS_AT_ONCE_MAX).try_collect().await?;
    Ok(next_page("/v1/services", &[], limit, Page { items, next_cursor: next }))
}

async fn at_a_glance(edge: &Edge, environment: Environment) -> Result<ServiceView, Trouble> {
    let newest = match environment.running.or(environment.last) {
        Some(id) => Some(edge.api.deployment(id).await?.read.deployment),
        None => None,
    };
    Ok(ServiceView::new(&environment, newest.as_ref()))
}

/// A page, with the next one's URL in `Link`. Filters are words without anything to escape.
pub fn next_page<T: Serialize>(url: &str, filters: &[(&str, Option<String>)], limit: usize, page: Page<T>) -> Response {
    let answer = Done::Ok.with(&page);
    let Some(cursor) = &page.next_cursor else { return answer };
    let mut next = format!("<{url}?cursor={cursor}&limit={limit}");
    for (name, value) in filters {
        if let Some(value) = value {
            next.push_str(&format!("&{name}={value}"));
        }
    }
    next.push_str(">; rel=\"next\"");
    match HeaderValue::from_str(&next) {
        Ok(link) => ([(header::LINK, link)], answer).into_response(),
        Err(_) => answer,
    }
}
