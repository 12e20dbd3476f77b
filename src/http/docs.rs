//! The API document's head and shared parts, `/docs`, and a page for each kind of problem.

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::Path,
    response::{Html, IntoResponse, Response},
};
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder,
        response::Response as ApiResponse,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::SwaggerUi;

use super::{
    Edge,
    error::{FaultView, Kind, Problem},
    wire::{ActionWord, DeploymentLink, PhaseWord},
};

/// What every list takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema: the query is read parameter by parameter")]
pub struct Paged {
    /// The `next_cursor` of a page.
    cursor: Option<String>,
    /// Entries a page.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// A problem (RFC 9457).
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "a schema: problems are built in `error`")]
struct ProblemSchema {
    /// A page of this service that says what it means and what to do.
    #[schema(example = "/problems/validation-failed")]
    r#type: String,
    title: String,
    #[schema(example = 422)]
    status: u16,
    detail: String,
    /// Every fault at once (`validation-failed`).
    errors: Option<Vec<FaultView>>,
    /// The deployment that it is about.
    deployment: Option<DeploymentLink>,
    /// Where that deployment is (`illegal-in-phase`, `gate-not-open`).
    phase: Option<PhaseWord>,
    /// The commands that are legal there (`illegal-in-phase`).
    allowed_actions: Option<Vec<ActionWord>>,
}

const TOKEN: &str = "token";

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A token of this service")).build();
        document.components.get_or_insert_default().add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cutover",
        description = "Immutable releases over REST: a new server group from an image, load-balancer weight moved to it in stages, and \
                       one call that sends all traffic back.\n\nDurations are texts such as `90s`, `5m` or `1h30m`. Unknown fields and query \
                       parameters are errors. `Idempotency-Key` is not looked at yet: a second deployment is refused while one runs, and \
                       every command may be repeated."
    ),
    components(schemas(ProblemSchema)),
    modifiers(&Token),
    security(("token" = [])),
    tags(
        (name = "rollback", description = "The way back"),
        (name = "deployments", description = "Releases, as they happen and as they were"),
        (name = "commands", description = "What can be asked of a running deployment; elsewhere 409 names what is legal"),
        (name = "services", description = "What is released, where, and how"),
        (name = "operations", description = "For probes and people; no token is needed")
    )
)]
struct Head;

/// Everything of the document but the calls.
pub fn head() -> Document {
    Head::openapi()
}

/// Whatever else a call may answer.
#[derive(Debug)]
pub struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<ApiResponse>> {
        let problem = |description: &str| {
            let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            RefOr::T(ResponseBuilder::new().description(description).content("application/problem+json", body).build())
        };
        BTreeMap::from([
            ("4XX".to_owned(), problem("Not done; the problem says why and what would be right")),
            ("5XX".to_owned(), problem("Not known to be done; ask again")),
        ])
    }
}

/// What a command answers.
#[derive(Debug)]
pub struct Commanded;

impl IntoResponses for Commanded {
    fn responses() -> BTreeMap<String, RefOr<ApiResponse>> {
        let deployment = |description: &str| {
            let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("Deployment"))).build();
            RefOr::T(ResponseBuilder::new().description(description).content("application/json", body).build())
        };
        BTreeMap::from([
            ("200".to_owned(), deployment("Nothing changed: it was so already")),
            ("202".to_owned(), deployment("Taken down; the engine brings it about")),
        ])
    }
}

/// What a problem means
#[utoipa::path(
    get, path = "/problems/{slug}", operation_id = "explain_problem", tag = "operations", security(()),
    params(("slug" = String, Path, example = "validation-failed")),
    responses((status = 200, description = "A page for people", body = String, content_type = "text/html"), Problems)
)]
pub async fn problem(Path(slug): Path<String>) -> Response {
    let Some(about) = Kind::ALL.map(Kind::about).into_iter().find(|about| about.slug == slug) else {
        return Problem::new(Kind::NotFound, "there is no such problem").into_response();
    };
    // Every text here is our own; none needs escaping.
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title} - Cutover</title>\
         <body style=\"font: 1rem/1.5 system-ui; max-width: 40rem; margin: 3rem auto; padding: 0 1rem\">\
         <h1>{title}</h1><p><code>/problems/{slug}</code></p><p>{page}</p><p><a href=\"/docs\">The API</a></p></body></html>\n",
        title = about.title,
        slug = about.slug,
        page = about.page,
    ))
    .into_response()
}

/// `/docs` and `/openapi.json`.
pub fn pages() -> Router<Edge> {
    SwaggerUi::new("/docs").url("/openapi.json", super::openapi()).into()
}
