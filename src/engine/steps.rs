//! The plan in words: what a deployment or a rollback would do, in order, with the provider's calls. For `?dry_run=true`.

use super::api::{Step, Steps};
use crate::domain::{
    action::{Action, Scaling, Side},
    declaration::Stage,
    deployment::Deployment,
    ids::RuleRef,
    plan::{Plan, RoutePlan},
    time::BakeTime,
    timing::Timing,
};

/// What a change of a plan would ask of the provider.
pub type Calls<'a> = &'a dyn Fn(&Plan, &Action) -> Vec<String>;

/// Steps as they are written down.
struct Writer<'a> {
    plan: &'a Plan,
    calls: Calls<'a>,
    steps: Vec<Step>,
}

impl Writer<'_> {
    fn act(&mut self, phase: &'static str, action: &Action, detail: impl Into<String>) {
        let calls = (self.calls)(self.plan, action);
        self.steps.push(Step { phase, action: action.name().to_owned(), detail: detail.into(), calls });
    }

    fn wait(&mut self, phase: &'static str, detail: impl Into<String>) {
        self.steps.push(Step { phase, action: "wait".to_owned(), detail: detail.into(), calls: Vec::new() });
    }

    fn remove(&mut self, phase: &'static str, side: Side) {
        let (group, slot) = match (side, &self.plan.blue) {
            (Side::Green, _) => (&self.plan.green.group, &self.plan.green.slot),
            (Side::Blue, Some(blue)) => (&blue.group, &self.plan.blue_slot),
            (Side::Blue, None) => return,
        };
        let (detach, delete) = (format!("{group} out of {slot}; its servers drain"), group.to_string());
        self.act(phase, &Action::Detach { side }, detach);
        self.act(phase, &Action::DeleteGroup { side }, delete);
    }
}

/// An overlay that is not made yet, by where it will be.
fn overlay(route: &RoutePlan) -> RuleRef {
    RuleRef::new(format!("the overlay (number {} on {})", route.overlay_number, route.listener))
}

/// The steps of a deployment.
#[must_use]
pub fn of_deployment(plan: &Plan, timing: &Timing, calls: Calls<'_>) -> Vec<Step> {
    let mut to = Writer { plan, calls, steps: Vec::new() };
    let green = &plan.green;
    let all: Vec<_> = (0..plan.routes.len()).collect();
    if let Some(blue) = &plan.blue {
        let detail = format!("{}: minimum {} -> {}, deletion protection on", blue.group, blue.min, blue.size);
        to.act("provisioning", &Action::PinBlue, detail);
    }
    let detail = format!("{} with {} servers from {}, in slot {}", green.group, green.size, green.image, green.slot);
    to.act("provisioning", &Action::CreateGreen, detail);
    for (i, route) in plan.routes.iter().enumerate() {
        let detail = format!("rule {} above {}, all traffic still to blue", route.overlay_number, route.route);
        to.act("provisioning", &Action::OpenOverlays { routes: vec![i] }, detail);
    }
    let scales = plan.blue.as_ref().is_some_and(|blue| !blue.scaling.is_null());
    if scales {
        let detail = format!("target-tracking policies to {}", green.group);
        to.act("provisioning", &Action::CopyScaling { what: Scaling::Policies }, detail);
    }
    to.wait("verifying", "every green server healthy, at weight 0");
    if let Some(preview) = &plan.preview {
        let lasts = match preview.bake_time {
            BakeTime::Manual => "until promoted".to_owned(),
            BakeTime::For(_) => format!("for {}, or as long as it is paused", preview.bake_time),
        };
        let detail = format!("{}: {} reaches {} {lasts}", preview.header, preview.value, green.group);
        to.act("verifying", &Action::OpenPreviews { routes: all.clone() }, detail);
        let made = |route: &RoutePlan| {
            RuleRef::new(format!("the preview rule (number {} on {})", route.shield_number, route.listener))
        };
        let rules = plan.routes.iter().map(made).collect();
        to.act("verifying", &Action::DeleteRules { rules }, "the preview rules, and they are seen gone");
    }
    for Stage { weight, bake_time } in &plan.strategy.stages {
        let bake = match bake_time {
            BakeTime::Manual => "until promoted".to_owned(),
            BakeTime::For(_) => format!("for {bake_time}"),
        };
        let routes = plan.routes.iter().map(overlay).enumerate().collect();
        let detail = format!("{weight} to green on {} route(s), baked {bake}", plan.routes.len());
        to.act("shifting", &Action::SetWeight { routes, weight: *weight }, detail);
    }
    to.wait("baking", format!("{}, all traffic on green, blue at full size", plan.strategy.bake_time));
    let detail = "the base of every route forwards to green; the overlay stays";
    to.act("committing", &Action::SetBase { routes: all, to: Side::Green }, detail);
    let quiet = BakeTime::For(timing.quiet_period);
    to.wait("committing", format!("{quiet} (quiet period); rollback is legal all through it"));
    let rules = plan.routes.iter().map(overlay).collect();
    to.act("retiring", &Action::DeleteRules { rules }, "the overlay of every route");
    to.act("retiring", &Action::ReleaseGreen, format!("{}: minimum as declared", green.group));
    if scales {
        let detail = format!("scheduled actions to {}", green.group);
        to.act("retiring", &Action::CopyScaling { what: Scaling::Scheduled }, detail);
    }
    to.remove("retiring", Side::Blue);
    to.steps
}

/// The steps of a rollback of a running deployment, of which `orders` are sent at once.
#[must_use]
pub fn of_rollback(d: &Deployment, orders: &[Action], calls: Calls<'_>) -> Steps {
    let Some(plan) = &d.plan else { return Steps::default() };
    let mut to = Writer { plan, calls, steps: Vec::new() };
    for action in orders {
        let detail = told(plan, action);
        to.act("rolling_back", action, detail);
    }
    to.wait("rolling_back", "every route seen to send nothing to green");
    to.remove("rolling_back", Side::Green);
    if let Some(blue) = &plan.blue {
        to.act("rolling_back", &Action::UnpinBlue, format!("{}: minimum {} again", blue.group, blue.min));
    }
    Steps { steps: to.steps, ..Steps::default() }
}

/// Of a rollback that is answered with one that was asked for before.
#[must_use]
pub fn of_repeat(d: &Deployment) -> Steps {
    let number = d.number;
    let detail = match (d.takes_back, d.phase.is_terminal()) {
        (Some(taken), false) => {
            format!("#{number} is on its way to take #{taken} back, and is the answer; nothing more is sent")
        }
        (Some(taken), true) => format!("#{number} has taken #{taken} back, and is the answer; nothing is sent"),
        (None, _) => format!("#{number} has gone back, and is the answer; nothing is sent"),
    };
    let wait = Step { phase: d.phase.name(), action: "wait".to_owned(), detail, calls: Vec::new() };
    Steps { steps: vec![wait], ..Steps::default() }
}

fn told(plan: &Plan, action: &Action) -> String {
    match action {
        Action::DeleteRules { rules } => rules.iter().map(RuleRef::as_str).collect::<Vec<_>>().join(", "),
        Action::RaiseShields { routes } => {
            let numbers = routes
                .iter()
                .filter_map(|i| plan.routes.get(*i))
                .map(|route| format!("rule {} above {}", route.shield_number, route.route));
            numbers.collect::<Vec<_>>().join(", ")
        }
        other => other.name().to_owned(),
    }
}
