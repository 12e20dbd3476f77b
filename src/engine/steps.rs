//! The plan in words: what a deployment or a rollback would do, in order. For `?dry_run=true`.

use super::api::{Step, Steps};
use crate::domain::{
    action::Action, declaration::Stage, deployment::Deployment, lane, plan::Plan, survey::Survey, time::BakeTime,
    timing::Timing,
};

fn step(phase: &'static str, action: &str, detail: impl Into<String>) -> Step {
    Step { phase, action: action.to_owned(), detail: detail.into() }
}

/// The steps of a deployment.
#[must_use]
pub fn of_deployment(plan: &Plan, survey: &Survey, timing: &Timing) -> Steps {
    let mut steps = Vec::new();
    let green = &plan.green;
    if let Some(blue) = &plan.blue {
        steps.push(step(
            "provisioning",
            "pin_blue",
            format!("{}: minimum {} -> {}, deletion protection on", blue.group, blue.min, blue.size),
        ));
    }
    steps.push(step(
        "provisioning",
        "create_green",
        format!("{} with {} servers from {}, in slot {}", green.group, green.size, green.image, green.slot),
    ));
    for route in &plan.routes {
        steps.push(step(
            "provisioning",
            "open_overlays",
            format!("rule {} above {}, all traffic still to blue", route.overlay_number, route.route),
        ));
    }
    if plan.blue.as_ref().is_some_and(|blue| !blue.scaling.is_null()) {
        steps.push(step("provisioning", "copy_scaling_policies", format!("target-tracking policies to {}", green.group)));
    }
    steps.push(step("verifying", "wait", "every green server healthy, at weight 0"));
    if let Some(preview) = &plan.preview {
        let lasts = match preview.bake_time {
            BakeTime::Manual => "until promoted".to_owned(),
            BakeTime::For(_) => format!("for {}, or as long as it is paused", preview.bake_time),
        };
        steps.push(step(
            "verifying",
            "open_previews",
            format!(
                "{}: {} reaches {} {lasts}; then the rules go, and are seen gone",
                preview.header, preview.value, green.group
            ),
        ));
    }
    for Stage { weight, bake_time } in &plan.strategy.stages {
        let bake = match bake_time {
            BakeTime::Manual => "until promoted".to_owned(),
            BakeTime::For(_) => format!("for {bake_time}"),
        };
        steps.push(step(
            "shifting",
            "set_weight",
            format!("{weight} to green on {} route(s), baked {bake}", plan.routes.len()),
        ));
    }
    steps.push(step("baking", "wait", format!("{}, all traffic on green, blue at full size", plan.strategy.bake_time)));
    steps.push(step("committing", "set_base", "the base of every route forwards to green; the overlay stays"));
    let quiet = BakeTime::For(timing.quiet_period);
    steps.push(step("committing", "wait", format!("{quiet} (quiet period); rollback is legal all through it")));
    steps.push(step("retiring", "delete_rules", "the overlay of every route"));
    if plan.blue.as_ref().is_some_and(|blue| !blue.scaling.is_null()) {
        steps.push(step("retiring", "copy_scheduled_actions", format!("scheduled actions to {}", green.group)));
    }
    if let Some(blue) = &plan.blue {
        steps.push(step("retiring", "detach", format!("{} out of {}; its servers drain", blue.group, plan.blue_slot)));
        steps.push(step("retiring", "delete_group", blue.group.to_string()));
    }
    Steps { steps, warnings: survey.warnings.clone(), unknown: Vec::new() }
}

/// The steps of a rollback of a running deployment.
#[must_use]
pub fn of_rollback(d: &Deployment) -> Steps {
    let mut steps: Vec<_> =
        lane::after_commit(d).iter().map(|action| step("rolling_back", action.name(), calls(d, action))).collect();
    if let Some(plan) = &d.plan {
        steps.push(step("rolling_back", "wait", "every route seen to send nothing to green"));
        steps.push(step(
            "rolling_back",
            "detach",
            format!("{} out of {}; its servers drain", plan.green.group, plan.green.slot),
        ));
        steps.push(step("rolling_back", "delete_group", plan.green.group.to_string()));
        if let Some(blue) = &plan.blue {
            steps.push(step("rolling_back", "unpin_blue", format!("{}: minimum {} again", blue.group, blue.min)));
        }
    }
    Steps { steps, warnings: Vec::new(), unknown: Vec::new() }
}

fn calls(d: &Deployment, action: &Action) -> String {
    match action {
        Action::DeleteRules { rules } => rules.iter().map(crate::domain::ids::RuleRef::as_str).collect::<Vec<_>>().join(", "),
        Action::RaiseShields { routes } => {
            let plan = d.plan.as_ref();
            let numbers = routes
                .iter()
                .filter_map(|i| plan?.routes.get(*i))
                .map(|route| format!("rule {} above {}", route.shield_number, route.route));
            numbers.collect::<Vec<_>>().join(", ")
        }
        other => other.name().to_owned(),
    }
}
