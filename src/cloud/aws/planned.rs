//! The calls that a change of a plan makes, in order, each by the action that a policy must allow and with what it names.

use super::operation::Operation;
use crate::domain::{
    action::{Action, Scaling, Side},
    plan::{Plan, RoutePlan},
};

pub(super) fn calls(plan: &Plan, action: &Action) -> Vec<String> {
    let routes = |routes: &[usize], call: &dyn Fn(&RoutePlan) -> String| {
        routes.iter().filter_map(|i| plan.routes.get(*i)).map(call).collect::<Vec<_>>()
    };
    let blue = |change: &dyn Fn(&crate::domain::plan::BluePlan) -> String| plan.blue.iter().map(change).collect::<Vec<_>>();
    let green = plan.green.group.as_str();
    match action {
        Action::PinBlue => {
            blue(&|blue| update(blue.group.as_str(), &format!("MinSize {}{}", blue.size, protected(blue.protected, true))))
        }
        Action::UnpinBlue => {
            blue(&|blue| update(blue.group.as_str(), &format!("MinSize {}{}", blue.min, protected(blue.protected, false))))
        }
        Action::CreateGreen => {
            let Plan { green, .. } = plan;
            let what = format!("{} of {} servers from {} in {}", green.group, green.size, green.image, green.slot);
            vec![call(Operation::CreateAutoScalingGroup, &what)]
        }
        Action::GrowGreen { size } => vec![update(green, &format!("MinSize {size}"))],
        Action::ReleaseGreen => vec![update(green, "MinSize as declared")],
        Action::OpenOverlays { routes: of } => routes(of, &|route| create(route, route.overlay_number)),
        Action::OpenPreviews { routes: of } => routes(of, &|route| create(route, route.shield_number)),
        Action::ReshapeOverlays { shapes } => shapes
            .iter()
            .map(|shape| call(Operation::ModifyRule, &format!("{} to {} green", shape.rule, shape.weight)))
            .collect(),
        Action::RestoreBases { routes: of } => routes(of, &|route| base(route, "as recorded")),
        Action::CopyScaling { what: Scaling::Policies } => vec![call(Operation::PutScalingPolicy, green)],
        Action::CopyScaling { what: Scaling::Scheduled } => vec![call(Operation::BatchPutScheduledUpdateGroupAction, green)],
        Action::RaiseShields { routes: of } => routes(of, &|route| create(route, route.shield_number)),
        Action::SetWeight { routes: of, weight } => {
            of.iter().map(|(_, rule)| call(Operation::ModifyRule, &format!("{rule} to {weight} green"))).collect()
        }
        Action::SetBase { routes: of, to } => {
            let slot = match to {
                Side::Blue => &plan.blue_slot,
                Side::Green => &plan.green.slot,
            };
            routes(of, &|route| {
                let to = slot.at(route.position).map_or_else(String::new, |to| format!("to {to}"));
                base(route, &to)
            })
        }
        Action::DeleteRules { rules } => rules.iter().map(|rule| call(Operation::DeleteRule, rule.as_str())).collect(),
        Action::Detach { side } => {
            let (group, slot) = match side {
                Side::Blue => (plan.blue.as_ref().map(|blue| blue.group.as_str()), &plan.blue_slot),
                Side::Green => (Some(green), &plan.green.slot),
            };
            let detach = |group: &str| call(Operation::DetachLoadBalancerTargetGroups, &format!("{group} from {slot}"));
            group.map(detach).into_iter().collect()
        }
        Action::DeleteGroup { side } => {
            let group = match side {
                Side::Blue => plan.blue.as_ref().map(|blue| blue.group.as_str()),
                Side::Green => Some(green),
            };
            let delete = |group| [update(group, "DeletionProtection none"), call(Operation::DeleteAutoScalingGroup, group)];
            group.map(delete).into_iter().flatten().collect()
        }
    }
}

/// Its rule has no name before it is made.
pub(super) fn drill_calls(route: &RoutePlan) -> (String, String) {
    let delete =
        call(Operation::DeleteRule, &format!("the drill's rule, number {} on {}", route.overlay_number, route.listener));
    (create(route, route.overlay_number), delete)
}

fn call(operation: Operation, what: &str) -> String {
    format!("{} {what}", operation.action())
}

fn create(route: &RoutePlan, number: u32) -> String {
    call(Operation::CreateRule, &format!("number {number} on {}", route.listener))
}

fn base(route: &RoutePlan, what: &str) -> String {
    match route.base_number {
        None => call(Operation::ModifyListener, &format!("{} {what}", route.listener)),
        Some(_) => call(Operation::ModifyRule, &format!("{} {what}", route.route)),
    }
}

fn update(group: &str, what: &str) -> String {
    call(Operation::UpdateAutoScalingGroup, &format!("{group}: {what}"))
}

/// A group that was protected before stays so.
fn protected(before: bool, pin: bool) -> &'static str {
    match (before, pin) {
        (true, _) => "",
        (false, true) => ", DeletionProtection prevent-all-deletion",
        (false, false) => ", DeletionProtection none",
    }
}
