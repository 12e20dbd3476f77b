//! Commands to a deployment, rollback aside. Each answers 202 with the resource, 200 where nothing changed.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    Edge,
    auth::Caller,
    docs::{Commanded, Problems},
    error::{Done, Problem},
    etag::{Conditions, ETag},
    extract::{Body, Id, NoParameters},
    wire::{DeploymentView, PromoteBody, ReasonBody, WeightBody},
};
use crate::{
    domain::{command::Command, ids::DeploymentId, spec},
    engine::api::{Actor, Trouble},
};

/// A record may move without showing anything new; this often the same ETag is tried again on the newer version.
const TRIES_MAX: usize = 5;

/// Gives a command to the state that the caller has seen, if they named one.
async fn give(
    edge: &Edge,
    by: Actor,
    id: DeploymentId,
    conditions: &Conditions,
    command: Command,
    reason: Option<String>,
) -> Result<Response, Problem> {
    for _ in 0..TRIES_MAX {
        let expected = if conditions.asks() {
            let present = edge.api.deployment(id).await?.read;
            if !conditions.allow(&ETag::of(&DeploymentView::new(&present.deployment, &edge.timing))) {
                return Err(Trouble::Precondition.into());
            }
            Some(present.version)
        } else {
            None
        };
        match edge.api.command(by.clone(), id, command, reason.clone(), expected).await {
            Ok((left, changed)) => {
                let view = DeploymentView::new(&left.deployment, &edge.timing);
                return Ok(([ETag::of(&view).header()], Done::of_command(changed).with(&view)).into_response());
            }
            Err(Trouble::Precondition) if expected.is_some() => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    Err(Trouble::Precondition.into())
}

/// Go on without waiting
///
/// Skips the rest of this stage (`next`), or goes to 100 % and bakes (`full`); in `baking` it commits now. It ends a pause. The
/// health gate is never skipped.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/promote", tag = "commands",
    params(("id" = Uuid, Path), ("if-match" = Option<String>, Header, description = "Only if this is still its ETag")),
    request_body = Option<PromoteBody>, responses(Commanded, Problems)
)]
pub async fn promote(
    State(edge): State<Edge>,
    Caller(by): Caller,
    Id(id): Id,
    _: NoParameters,
    conditions: Conditions,
    Body(body): Body,
) -> Result<Response, Problem> {
    let (to, reason) = spec::promote(&body)?;
    give(&edge, by, id, &conditions, Command::Promote(to), reason).await
}

/// Set green's weight by hand
///
/// The deployment is paused from then on; `resume` goes on from the first stage above. A higher weight needs enough healthy
/// servers on green.
#[utoipa::path(
    put, path = "/v1/deployments/{id}/weight", operation_id = "set_weight", tag = "commands",
    params(("id" = Uuid, Path), ("if-match" = Option<String>, Header, description = "Only if this is still its ETag")),
    request_body = WeightBody, responses(Commanded, Problems)
)]
pub async fn weight(
    State(edge): State<Edge>,
    Caller(by): Caller,
    Id(id): Id,
    _: NoParameters,
    conditions: Conditions,
    Body(body): Body,
) -> Result<Response, Problem> {
    let (green, reason) = spec::weight(&body)?;
    give(&edge, by, id, &conditions, Command::Weight(green), reason).await
}

/// Hold automatic progress
///
/// Gates stay armed: a failing one still rolls back. `If-Match` is not looked at: holding is always safe.
#[utoipa::path(
    post, path = "/v1/deployments/{id}/pause", tag = "commands",
    params(("id" = Uuid, Path)), request_body = Option<ReasonBody>, responses(Commanded, Problems)
)]
pub async fn pause(
    State(edge): State<Edge>,
    Caller(by): Caller,
    Id(id): Id,
    _: NoParameters,
    Body(body): Body,
) -> Result<Response, Problem> {
    let reason = spec::reason(&body)?;
    give(&edge, by, id, &Conditions::default(), Command::Pause, reason).await
}

/// The commands that take a reason and mind `If-Match`.
macro_rules! command {
    ($(#[doc = $doc:literal])* $name:ident, $path:literal, $command:expr) => {
        $(#[doc = $doc])*
        #[utoipa::path(
            post, path = $path, tag = "commands",
            params(("id" = Uuid, Path), ("if-match" = Option<String>, Header, description = "Only if this is still its ETag")),
            request_body = Option<ReasonBody>, responses(Commanded, Problems)
        )]
        pub async fn $name(
            State(edge): State<Edge>,
            Caller(by): Caller,
            Id(id): Id,
            _: NoParameters,
            conditions: Conditions,
            Body(body): Body,
        ) -> Result<Response, Problem> {
            let reason = spec::reason(&body)?;
            give(&edge, by, id, &conditions, $command, reason).await
        }
    };
}

command!(
    /// Go on after a pause
    ///
    /// From a weight set by hand: to the first stage above it, or to the bake.
    resume, "/v1/deployments/{id}/resume", Command::Resume
);
command!(
    /// Take the world as it is for what was wanted
    ///
    /// While `drift` is not null: somebody changed a rule outside Cutover. A weight becomes one set by hand, and the deployment stays
    /// paused until resumed; a base's conditions and actions become those that the overlay, the commit and a rollback use. Name the
    /// drift that you saw by `If-Match`: in any case an answer to one drift is none to the next.
    adopt, "/v1/deployments/{id}/adopt", Command::Adopt
);
command!(
    /// Put the world back as recorded
    ///
    /// While `drift` is not null: conditions, actions, weight and destination of overlay and base become what was recorded, and the
    /// deployment goes on. Green gets more only with enough healthy servers. Rules are never renumbered, nor a deleted base made anew.
    restore, "/v1/deployments/{id}/restore", Command::Restore
);
command!(
    /// Open the gate that waits for a person
    approve, "/v1/deployments/{id}/approve", Command::Approve
);
command!(
    /// Refuse the gate that waits for a person: it rolls back
    reject, "/v1/deployments/{id}/reject", Command::Reject
);
command!(
    /// Call it off before green had traffic
    cancel, "/v1/deployments/{id}/cancel", Command::Cancel
);
command!(
    /// Let go of it as it stands (administrators only)
    ///
    /// Cutover changes nothing more at the provider for this deployment, which ends `failed`. The last resort.
    abandon, "/v1/deployments/{id}/abandon", Command::Abandon
);
