//! Drills of the way back, and what is declared of them.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{PlannedView, environment_url};
use crate::domain::{
    drill::{Drill, DrillSpec},
    time::show_duration,
};

/// When the way back is tried by itself, and how long it may take.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DrillSpec)]
#[serde(deny_unknown_fields)]
pub struct DrillSpecView {
    /// A cron expression of five fields; null: only when somebody asks. At most once an hour.
    #[schema(example = "0 3 * * MON", max_length = 100)]
    pub schedule: Option<String>,
    /// What the expression is meant in, by its name in the IANA database.
    #[schema(required = false, example = "Europe/Berlin", max_length = 100)]
    pub time_zone: String,
    /// From sending the deletion until it is seen on every route. A drill that takes longer needs a person.
    #[schema(required = false, example = "10s", max_length = 64)]
    pub budget: String,
}

impl From<&DrillSpec> for DrillSpecView {
    fn from(spec: &DrillSpec) -> Self {
        Self {
            schedule: spec.schedule.as_ref().map(|schedule| schedule.cron().to_owned()),
            time_zone: spec.schedule.as_ref().map_or_else(|| "UTC".to_owned(), |schedule| schedule.zone_name().to_owned()),
            budget: show_duration(spec.budget),
        }
    }
}

/// Where a drill stands, or how it ended.
#[derive(Debug, ToSchema)]
#[schema(as = DrillStatus, rename_all = "snake_case")]
pub enum DrillStatusWord {
    /// Nothing was changed yet.
    Pending,
    /// Until its rule is seen on every route.
    Opening,
    /// Until its rule is seen gone from every route.
    Closing,
    /// Within its budget.
    Passed,
    /// The way back works, and took longer than its budget.
    Slow,
    Failed,
    /// A deployment was there first.
    Skipped,
}

/// One drill of the way back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drill)]
pub struct DrillView {
    pub id: String,
    pub url: String,
    pub service: String,
    pub environment: String,
    #[schema(value_type = DrillStatusWord)]
    pub status: &'static str,
    #[schema(required = true)]
    pub reason: Option<String>,
    #[schema(example = "schedule")]
    pub created_by: String,
    pub created_at: Timestamp,
    /// When it was due; null of one that somebody asked for.
    #[schema(required = true)]
    pub scheduled_for: Option<Timestamp>,
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
    /// The rule's opening, in seconds since it was sent.
    pub opening: TookView,
    /// The rule's deletion, in seconds since it was sent: what a rollback would take.
    pub deletion: TookView,
    /// What the deletion may take until it is seen, in seconds.
    #[schema(example = 10.0)]
    pub budget: f64,
    /// What went wrong; null when nothing did.
    #[schema(required = true)]
    pub failure: Option<String>,
    /// What happened, in order.
    pub events: Vec<DrillEventView>,
    /// When to ask again; null once it has ended.
    #[schema(required = true)]
    pub poll_after_ms: Option<u64>,
}

/// How long a change took on all routes together; null until it is so.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Took)]
pub struct TookView {
    /// Until the load balancer had accepted it on every route.
    #[schema(required = true, example = 0.042)]
    pub accepted: Option<f64>,
    /// Until it was seen on every route.
    #[schema(required = true, example = 0.31)]
    pub seen: Option<f64>,
}

/// Something that happened in a drill.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DrillEvent)]
pub struct DrillEventView {
    pub at: Timestamp,
    #[serde(rename = "type")]
    #[schema(example = "drill.ended")]
    pub kind: String,
    pub message: String,
}

/// What asking for a drill answers with 200.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum DrillAnswer {
    Running(Box<DrillView>),
    DryRun(PlannedView),
}

/// The last drill in short.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LastDrill)]
pub struct LastDrillView {
    pub url: String,
    #[schema(value_type = DrillStatusWord)]
    pub status: &'static str,
    pub created_at: Timestamp,
    #[schema(required = true)]
    pub ended_at: Option<Timestamp>,
    /// What a rollback would have taken, in seconds.
    pub deletion: TookView,
}

/// How often it is worth asking for one that runs.
const POLL_AFTER_MS: u64 = 500;

fn drill_url(drill: &Drill) -> String {
    format!("/v1/drills/{}", drill.id)
}

/// Whole milliseconds: more would be chance.
fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

fn status(drill: &Drill) -> &'static str {
    drill.outcome.map_or_else(|| drill.phase.name(), |outcome| outcome.name())
}

impl TookView {
    fn of(change: &crate::domain::drill::Change) -> Self {
        Self { accepted: change.accepted_after().map(seconds), seen: change.seen_after().map(seconds) }
    }
}

impl From<&Drill> for DrillView {
    fn from(drill: &Drill) -> Self {
        let event = |event: &crate::domain::drill::DrillEvent| DrillEventView {
            at: event.at,
            kind: event.kind.clone(),
            message: event.message.clone(),
        };
        Self {
            id: drill.id.to_string(),
            url: drill_url(drill),
            service: drill.target.service.to_string(),
            environment: drill.target.environment.to_string(),
            status: status(drill),
            reason: drill.reason.clone(),
            created_by: drill.created_by.clone(),
            created_at: drill.created_at,
            scheduled_for: drill.scheduled_for,
            ended_at: drill.ended_at,
            opening: TookView::of(&drill.opening),
            deletion: TookView::of(&drill.deletion),
            budget: seconds(drill.budget()),
            failure: drill.failure.clone(),
            events: drill.events.iter().map(event).collect(),
            poll_after_ms: drill.ended_at.is_none().then_some(POLL_AFTER_MS),
        }
    }
}

impl From<&Drill> for LastDrillView {
    fn from(drill: &Drill) -> Self {
        Self {
            url: drill_url(drill),
            status: status(drill),
            created_at: drill.created_at,
            ended_at: drill.ended_at,
            deletion: TookView::of(&drill.deletion),
        }
    }
}

/// The trend of a service/environment.
pub(in crate::http) fn drills_url(target: &crate::domain::ids::Target) -> String {
    format!("{}/drills", environment_url(target))
}
