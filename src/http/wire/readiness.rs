//! Whether one could go back now: in full at the service, in short in every deployment.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{DeploymentLink, LastDrillView, Percent};
use crate::{
    domain::{
        deployment::Deployment,
        readiness::{self, Blue, Measured, Readiness, Spread},
        timing::Timing,
    },
    engine::api::{Mode, Standing},
};

/// Whether a rollback would go well.
#[derive(Debug, ToSchema)]
#[schema(as = ReadinessState, rename_all = "snake_case")]
pub enum ReadinessWord {
    Ready,
    /// It would be sent; something speaks against its going well, or could not be seen.
    Degraded,
    No,
}

/// Whether a rollback would go well, and what speaks against it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Readiness)]
pub struct ReadinessView {
    #[schema(value_type = ReadinessWord)]
    pub state: &'static str,
    /// The worst first; empty when it is ready.
    pub why: Vec<ReasonView>,
}

/// Something that speaks against going back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessReason)]
pub struct ReasonView {
    #[schema(example = "7 of 8 servers of web-prod-v041, which would serve again, are healthy")]
    pub detail: String,
    pub to_do: String,
}

/// What a rollback would meet and do now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RollbackReadiness)]
pub struct StandingView {
    pub service: String,
    pub environment: String,
    #[serde(flatten)]
    pub readiness: ReadinessView,
    /// How it would go back: at once, or by a new deployment of the image before; null where there is nothing to go back to.
    #[schema(required = true, example = "instant")]
    pub mode: Option<&'static str>,
    /// The one that runs, else the last that ended; null before the first.
    #[schema(required = true)]
    pub deployment: Option<DeploymentLink>,
    /// Who would serve again; null without a deployment that runs, before its plan is made, and for a first release.
    #[schema(required = true)]
    pub blue: Option<BlueView>,
    pub sticky: StickyView,
    /// From this installation's own rollbacks; null before the first: there is no number where nothing was measured.
    #[schema(required = true)]
    pub seconds: Option<SecondsView>,
    /// When the way back was last tried, and what it took; null before the first drill, and while the database is away.
    #[schema(required = true)]
    pub drill: Option<LastDrillView>,
    /// What would be asked of the provider, in order, each by the action that a policy must allow and with what it names.
    #[schema(example = json!(["elasticloadbalancing:DeleteRule arn:…:listener-rule/app/web/50dc/f2f7/9683"]))]
    pub calls: Vec<String>,
    /// Lines of the `aws` command line that do the same, for when everything else is down. They change with the phase; with `as_of`
    /// they are what is right in every phase.
    pub by_hand: Vec<String>,
    /// Only while the database is away: when this was read from it. It may be otherwise by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub as_of: Option<Timestamp>,
}

/// The servers that would serve again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessBlue)]
pub struct BlueView {
    #[schema(example = "web-prod-v041")]
    pub server_group: String,
    #[schema(required = true)]
    pub image: Option<String>,
    /// Whether servers launched from now on are of the same image: false where the launch template's version is a name such as
    /// `$Latest`. Null where it cannot be told.
    #[schema(required = true)]
    pub image_pinned: Option<bool>,
    /// As last seen; null when never.
    #[schema(required = true)]
    pub healthy: Option<u32>,
    /// As many as there were when the deployment began, or have become since.
    pub of: u32,
    /// When the look was that showed it.
    #[schema(required = true)]
    pub seen_at: Option<Timestamp>,
    /// Its minimum is its size, so that nothing shrinks it. Null until seen.
    #[schema(required = true)]
    pub min_pinned: Option<bool>,
    /// The provider refuses to delete it. Null until seen.
    #[schema(required = true)]
    pub protected: Option<bool>,
}

/// What sessions hold on to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReadinessSticky)]
pub struct StickyView {
    /// Whether sessions stick to blue or green while both serve; null where that is not known.
    #[schema(required = true)]
    pub sessions: Option<bool>,
    /// How much traffic may stay on green once the rollback is accepted: 0, because no rule names green then. Null where a route was not
    /// seen.
    #[schema(required = true, inline)]
    pub share: Option<Percent>,
}

/// How long rollbacks took, in seconds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RollbackSeconds)]
pub struct SecondsView {
    /// How many were measured, the newest 200 at most.
    pub rollbacks: usize,
    /// From the request until the load balancer had accepted it on every route.
    pub accepted: SpreadView,
    /// Until every route was seen to send nothing to green; null when that was never seen.
    #[schema(required = true)]
    pub observed: Option<SpreadView>,
}

/// The middle, and what 95 in a hundred stayed within.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Spread)]
pub struct SpreadView {
    #[schema(example = 0.042)]
    pub median: f64,
    pub p95: f64,
}

impl From<Readiness> for ReadinessView {
    fn from(readiness: Readiness) -> Self {
        let reason = |reason: readiness::Reason| ReasonView { detail: reason.detail, to_do: reason.to_do };
        Self { state: readiness.state.name(), why: readiness.reasons.into_iter().map(reason).collect() }
    }
}

impl ReadinessView {
    /// Of a deployment; `None` once it has ended.
    pub fn of(d: &Deployment, as_of: Option<Timestamp>, timing: &Timing) -> Option<Self> {
        (!d.phase.is_terminal()).then(|| readiness::of(d, as_of, timing, Timestamp::now()).into())
    }
}

impl From<Standing> for StandingView {
    fn from(standing: Standing) -> Self {
        let Standing { target, deployment, readiness, mode, blue, sticky, measured, drill, calls, by_hand, as_of } = standing;
        let share = deployment
            .as_deref()
            .filter(|d| mode != Some(Mode::Redeploy) && !d.phase.is_terminal())
            .and_then(readiness::sticky_share);
        Self {
            service: target.service.to_string(),
            environment: target.environment.to_string(),
            mode: mode.map(Mode::name),
            blue: deployment.as_deref().zip(blue).and_then(|(d, blue)| BlueView::of(d, blue)),
            deployment: deployment.as_deref().map(DeploymentLink::of),
            readiness: readiness.into(),
            sticky: StickyView { sessions: sticky, share: share.map(Percent::from) },
            seconds: measured.map(SecondsView::from),
            drill: drill.as_deref().map(LastDrillView::from),
            calls,
            by_hand,
            as_of,
        }
    }
}

impl BlueView {
    fn of(d: &Deployment, blue: Blue) -> Option<Self> {
        let planned = d.plan.as_ref()?.blue.as_ref()?;
        let Blue { healthy, of, seen_at, min_pinned, protected, image_pinned } = blue;
        let (server_group, image) = (planned.group.to_string(), planned.image.clone());
        Some(Self { server_group, image, image_pinned, healthy, of, seen_at, min_pinned, protected })
    }
}

impl From<Measured> for SecondsView {
    fn from(measured: Measured) -> Self {
        let Measured { rollbacks, accepted, observed } = measured;
        Self { rollbacks, accepted: accepted.into(), observed: observed.map(SpreadView::from) }
    }
}

impl From<Spread> for SpreadView {
    fn from(Spread { median, p95 }: Spread) -> Self {
        // Whole milliseconds: more would be chance.
        let seconds = |took: Duration| (took.as_secs_f64() * 1000.0).round() / 1000.0;
        Self { median: seconds(median), p95: seconds(p95) }
    }
}
