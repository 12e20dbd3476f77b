//! What ended deployments left behind, as the sweeper sees it.

use axum::{extract::State, response::Response};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    Edge,
    docs::{Paged, Problems},
    error::Problem,
    extract::Parameters,
    services::{PAGE, READS_AT_ONCE_MAX, next_page},
    wire::{OrphanView, Page},
};
use crate::{
    domain::spec,
    engine::{
        api::{ListedOrphan, Trouble},
        sweeper::ports::OrphanFilter,
    },
};

/// List what ended deployments left in the cloud, seen longest first
///
/// Server groups and rules that carry this installation's tags and that nothing needs any more. `remove_at` says when each is
/// removed, `kept_because` why it is not. What belongs to an abandoned deployment or is in no record is listed and never removed.
#[utoipa::path(
    get, path = "/v1/orphans", operation_id = "list_orphans", tag = "services",
    params(
        ("service" = Option<String>, Query, pattern = "^[a-z][a-z0-9-]{0,31}$"),
        ("environment" = Option<String>, Query, pattern = "^[a-z][a-z0-9]{0,15}$"),
        Paged
    ),
    responses((status = 200, body = Page<OrphanView>), Problems)
)]
pub async fn list(State(edge): State<Edge>, mut query: Parameters) -> Result<Response, Problem> {
    let service = query.take("service", spec::service_name);
    let environment = query.take("environment", spec::environment_name);
    let after = query.take("cursor", |text| {
        text.parse::<i64>().ok().filter(|id| *id >= 0).ok_or_else(|| "must be the `next_cursor` of a page".to_owned())
    });
    let limit = query.limit(PAGE);
    query.end()?;
    let filters = [
        ("service", service.as_ref().map(ToString::to_string)),
        ("environment", environment.as_ref().map(ToString::to_string)),
    ];
    let after = after.unwrap_or_default();
    let filter = OrphanFilter { service, environment, after, limit: limit + 1, ..OrphanFilter::default() };
    let mut found = edge.api.orphans(filter).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| more).map(|last| last.seen.id.to_string());
    let reads = found.into_iter().map(|orphan| with_deployment(&edge, orphan));
    let items = stream::iter(reads).buffered(READS_AT_ONCE_MAX).try_collect().await?;
    Ok(next_page("/v1/orphans", &filters, limit, Page { items, next_cursor }))
}

async fn with_deployment(edge: &Edge, orphan: ListedOrphan) -> Result<OrphanView, Trouble> {
    let deployment = match orphan.seen.deployment {
        None => None,
        Some(id) => match edge.api.deployment(id).await {
            // In no record: that is what it is listed for.
            Err(Trouble::NotFound(_)) => None,
            read => Some(read?.read.deployment),
        },
    };
    Ok(OrphanView::new(orphan, deployment.as_ref()))
}
