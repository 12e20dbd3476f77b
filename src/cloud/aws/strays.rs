//! Rules that nobody planned and that send green traffic.
//!
//! Preflight refuses a release whose slots are named elsewhere; one that is added afterwards is somebody's doing, and no weight,
//! stage or rollback of ours reaches the users that it takes.

use std::collections::BTreeSet;

use super::{names::Mark, rules::SeenRule, shape};
use crate::domain::{
    deployment::Deployment,
    ids::{ListenerRef, SlotRef},
    observation::Stray,
    plan::{Plan, RoutePlan},
};

/// Those of a route's listener; none for a route that shares its listener with an earlier one, which tells them.
pub(super) fn beside(installation: &str, d: &Deployment, plan: &Plan, route: &RoutePlan, rules: &[SeenRule]) -> Vec<Stray> {
    let first = plan.routes.iter().find(|other| other.listener == route.listener);
    if first.is_none_or(|first| first.route != route.route) {
        return Vec::new();
    }
    let bases: BTreeSet<_> = plan.routes.iter().map(|route| route.route.as_str()).collect();
    let default_is_ours = plan.routes.iter().any(|other| other.listener == route.listener && other.base_number.is_none());
    // What carries this installation's mark is counted elsewhere: as overlay, preview, shield or leftover.
    let marked = |mark: &Mark| mark.installation == installation;
    let ours = |rule: &SeenRule| match rule.number {
        None => default_is_ours,
        Some(_) => {
            bases.contains(rule.rule.as_str()) || d.overlays.contains(&rule.rule) || rule.mark.as_ref().is_some_and(marked)
        }
    };
    let region = shape::region(&d.declaration);
    let strays = rules.iter().filter(|rule| !ours(rule) && sends_to(rule, &plan.green.slot));
    strays.map(|rule| Stray { rule: rule.rule.clone(), told: told(rule, &route.listener, region) }).collect()
}

/// Whether any request that the rule takes may end up in `slot`. AWS sends all to a target group that is named alone, and
/// some to each that has weight.
fn sends_to(rule: &SeenRule, slot: &SlotRef) -> bool {
    let alone = rule.forwards.len() == 1;
    rule.forwards.iter().any(|(named, weight)| slot.position(named).is_some() && (alone || *weight > 0))
}

/// What it is, what it takes and where that goes; and, where one call ends it, that call.
fn told(rule: &SeenRule, listener: &ListenerRef, region: &str) -> String {
    let to: Vec<_> = rule.forwards.iter().map(|(named, weight)| format!("{} {weight}", super::edits::short(named))).collect();
    let to = to.join(", ");
    let Some(number) = rule.number else { return format!("the default action of {listener} forwards to {to}") };
    let matches = rule.form().map_or_else(|unread| unread, |form| super::edits::matched(&form.conditions));
    format!(
        "rule {} ({number}: {matches}) forwards to {to} (aws elbv2 delete-rule --rule-arn {} --region {region})",
        rule.rule, rule.rule
    )
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticloadbalancingv2::types::{
        Action, ActionTypeEnum, ForwardActionConfig, PathPatternConditionConfig, Rule, RuleCondition, TargetGroupTuple,
    };

    use super::*;
    use crate::{
        cloud::aws::names,
        domain::{ids::RouteRef, phase::Phase, sample, survey::Role},
    };

    /// A rule of the listener, the default action by the number 0.
    fn rule(name: &str, number: u32, to: &[(&str, i32)]) -> SeenRule {
        let tuples =
            to.iter().map(|(slot, weight)| TargetGroupTuple::builder().target_group_arn(*slot).weight(*weight).build());
        let config = ForwardActionConfig::builder().set_target_groups(Some(tuples.collect())).build();
        let path = PathPatternConditionConfig::builder().values("/x").build();
        let rule = Rule::builder()
            .rule_arn(name)
            .priority(if number == 0 { "default".to_owned() } else { number.to_string() })
            .conditions(RuleCondition::builder().field("path-pattern").path_pattern_config(path).build())
            .actions(Action::builder().r#type(ActionTypeEnum::Forward).forward_config(config).build());
        SeenRule::read(&rule.build()).unwrap()
    }

    fn shifting(routes: usize) -> Deployment {
        let weight = sample::percent(25);
        let mut d =
            sample::deployment(routes, Phase::Shifting { stage: 0, weight, by_hand: false, hurry: false, seen_at: None });
        for route in &mut d.plan.as_mut().unwrap().routes {
            route.listener = ListenerRef::new("listener");
        }
        d
    }

    fn named(d: &Deployment, route: usize, rules: &[SeenRule]) -> Vec<String> {
        let plan = d.plan.as_ref().unwrap();
        beside("this", d, plan, &plan.routes[route], rules).into_iter().map(|stray| stray.rule.to_string()).collect()
    }

    #[test]
    fn only_what_sends_green_traffic_and_is_neither_planned_nor_ours_is_one() {
        let d = shifting(2);
        let mut ours = rule("preview", 7, &[("slot-b", 1)]);
        ours.mark = Some(names::rule_tags("this", (&d).into(), &RouteRef::new("route-0"), Role::Preview).1);
        let mut theirs = rule("of another installation", 8, &[("slot-b", 1)]);
        theirs.mark = Some(names::rule_tags("that", (&d).into(), &RouteRef::new("route-0"), Role::Preview).1);
        let rules = [
            rule("route-0", 100, &[("slot-b", 1)]),
            rule("route-1", 101, &[("slot-b", 1)]),
            rule("overlay-0", 99, &[("slot-a", 750), ("slot-b", 250)]),
            ours,
            theirs,
            rule("testers", 1, &[("slot-b", 1)]),
            rule("a share", 2, &[("slot-a", 9), ("slot-b", 1)]),
            rule("no share", 3, &[("slot-a", 1), ("slot-b", 0)]),
            rule("alone, and without weight", 4, &[("slot-b", 0)]),
            rule("blue", 5, &[("slot-a", 1)]),
            rule("default", 0, &[("slot-b", 1)]),
        ];
        let expected = ["of another installation", "testers", "a share", "alone, and without weight", "default"];
        assert_eq!(named(&d, 0, &rules), expected);
        assert_eq!(named(&d, 1, &rules), [""; 0], "told once a listener");
        let mut on_default = shifting(1);
        on_default.plan.as_mut().unwrap().routes[0].base_number = None;
        assert_eq!(named(&on_default, 0, &rules[10..]), [""; 0], "a default action that is a route's base");
    }

    #[test]
    fn it_is_told_with_the_line_that_ends_it() {
        let d = shifting(1);
        let plan = d.plan.as_ref().unwrap();
        let told = |rule| beside("this", &d, plan, &plan.routes[0], &[rule])[0].told.clone();
        assert_eq!(
            told(rule("arn:r", 1, &[("arn:targetgroup/web-a/1", 9), ("slot-b", 1)])),
            "rule arn:r (1: path-pattern /x) forwards to web-a 9, slot-b 1 \
             (aws elbv2 delete-rule --rule-arn arn:r --region eu-west-1)"
        );
        assert_eq!(told(rule("arn:d", 0, &[("slot-b", 1)])), "the default action of listener forwards to slot-b 1");
    }
}
