//! What would be done, and everything that was looked at before saying so.

use serde::Serialize;
use utoipa::ToSchema;

use super::PhaseWord;
use crate::{
    domain::preflight::Check,
    engine::api::{Step, Steps},
};

/// The answer of a dry run, and of the doctor.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DryRun)]
pub struct PlannedView {
    pub plan: PlanView,
    /// One for each thing that was looked at; empty for a rollback, which waits for no look.
    pub checks: Vec<CheckView>,
}

/// What would be done, in order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// Empty where a check failed, or what a plan hangs on could not be seen.
    pub steps: Vec<PlanStep>,
    pub warnings: Vec<String>,
    /// Checks that could not be made, and why: what a plan hangs on is looked at again before anything is changed.
    pub unknown: Vec<String>,
}

/// One step of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanStep {
    #[schema(value_type = PhaseWord)]
    pub phase: &'static str,
    #[schema(example = "create_green")]
    pub action: String,
    pub detail: String,
    /// The provider's calls, in order, each by the action that a policy must allow and with what it names; none of a wait.
    #[schema(example = json!(["elasticloadbalancing:CreateRule number 99 on arn:…:listener/app/web/50dc/f2f7"]))]
    pub calls: Vec<String>,
}

/// How a check ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckWord {
    Ok,
    /// It may go well; somebody should know.
    Warning,
    Failed,
    /// It could not be seen, or never can be: `detail` says which.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Check)]
pub struct CheckView {
    #[schema(example = "rule_numbers")]
    pub name: &'static str,
    #[schema(value_type = CheckWord)]
    pub result: &'static str,
    pub detail: String,
    /// Into the declaration, where it is about something that stands there.
    #[schema(required = true, example = "/routes/0")]
    pub pointer: Option<String>,
}

impl From<Steps> for PlannedView {
    fn from(planned: Steps) -> Self {
        let Steps { steps, warnings, unknown, checks } = planned;
        let step = |Step { phase, action, detail, calls }| PlanStep { phase, action, detail, calls };
        let check = |check: Check| CheckView {
            name: check.name,
            result: check.result.name(),
            detail: check.detail,
            pointer: check.pointer,
        };
        Self {
            plan: PlanView { steps: steps.into_iter().map(step).collect(), warnings, unknown },
            checks: checks.into_iter().map(check).collect(),
        }
    }
}
