//! The history of a deployment.

use axum::{extract::State, response::Response};

use super::{
    Edge,
    docs::Problems,
    error::Problem,
    extract::{Id, PAGE_MAX, Parameters},
    services::next_page,
    wire::{EventView, Page},
};

/// Read a deployment's history, oldest first
#[utoipa::path(
    get, path = "/v1/deployments/{id}/events", operation_id = "list_events", tag = "deployments",
    params(
        ("id" = Uuid, Path),
        ("after" = Option<i64>, Query, description = "Only events after this id; the same as `cursor`", minimum = 0),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of a page", pattern = "^[0-9]{1,18}$"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100)
    ),
    responses((status = 200, body = Page<EventView>), Problems)
)]
pub async fn list(State(edge): State<Edge>, Id(id): Id, mut query: Parameters) -> Result<Response, Problem> {
    let read = |text: &str| text.parse::<i64>().ok().filter(|id| *id >= 0).ok_or_else(|| "must be an event's id".to_owned());
    let after = query.take("after", read);
    let cursor = query.take("cursor", read);
    let limit = query.limit(PAGE_MAX);
    query.end()?;
    let mut found = edge.api.events(id, cursor.or(after).unwrap_or(0), limit + 1).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    let url = format!("/v1/deployments/{id}/events");
    Ok(next_page(&url, &[], limit, Page { items: found.into_iter().map(EventView::from).collect(), next_cursor: next }))
}
