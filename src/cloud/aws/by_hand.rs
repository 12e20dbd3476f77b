//! The way back with everything else down: lines of the `aws` command line, with all names filled in.
//!
//! Before the commit the overlays are deleted: below them every base is still on blue. From then on a base may be on green, and one
//! line a route raises the shield that the lane would: above all else, so that whatever lies below, traffic is on blue from the
//! moment that it is accepted. So it is in every phase, and it is the line wherever the record could not be read. Nothing follows it. To delete the overlay as well would gain nothing, and were the shield refused (its number
//! taken, a right missing) the next line, pasted with it, would leave a green base with blue's slot in no rule. The service does
//! the rest when it is back: either line is an order to it.

use super::{names, rule_changes, shape, spelled};
use crate::{
    domain::{
        deployment::Deployment,
        lane,
        plan::{Plan, RoutePlan},
        survey::Role,
    },
    engine::ports::Fault,
};

/// By what `d` says of itself, unless that is `old`. None when no way leads back.
pub(super) fn lines(installation: &str, d: &Deployment, old: bool) -> Vec<String> {
    let (Some(plan), Some(shield)) = (&d.plan, lane::needs_shield(d)) else { return Vec::new() };
    let region = shape::region(&d.declaration);
    if shield || old {
        let line = |route| raise(installation, d, plan, route).unwrap_or_else(|fault| format!("# {}: {fault}", route.route));
        return plan.routes.iter().map(|route| format!("{} --region {region}", line(route))).collect();
    }
    let delete = |overlay| format!("aws elbv2 delete-rule --rule-arn {overlay} --region {region}");
    d.overlays.iter().map(delete).collect()
}

/// Exactly the rule that the lane would raise, tags included: by them the service knows it for its own.
fn raise(installation: &str, d: &Deployment, plan: &Plan, route: &RoutePlan) -> Result<String, Fault> {
    let shield = rule_changes::shield(plan, route)?;
    let (tags, _) = names::rule_tags(installation, d.into(), &route.route, Role::Shield);
    let mut words = vec![
        ("--listener-arn", route.listener.to_string()),
        ("--priority", route.shield_number.to_string()),
        ("--conditions", spelled::conditions(&shield.conditions).to_string()),
        ("--actions", spelled::actions(&shield.actions).to_string()),
    ];
    words.extend(shield.transforms.map(|transforms| ("--transforms", spelled::transforms(&transforms).to_string())));
    words.push(("--tags", spelled::tags(&tags).to_string()));
    let words: Vec<_> = words.into_iter().map(|(name, value)| format!("{name} {}", spelled::quoted(&value))).collect();
    Ok(format!("aws elbv2 create-rule {}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        phase::{BackAs, Phase},
        sample,
        weight::Weight,
    };

    fn deployment(routes: usize, phase: Phase) -> Deployment {
        let mut d = sample::deployment(routes, phase);
        for route in &mut d.plan.as_mut().unwrap().routes {
            route.form = json!({
                "conditions": [{"on": "host-header", "values": ["it's.example.com"]}],
                "actions": [{"type": "forward", "order": null, "stickiness": null}],
            });
        }
        d
    }

    const COMMITTING: Phase = Phase::Committing { quiet_since: None };

    #[test]
    fn before_the_commit_the_overlays_go_and_where_there_are_none_there_is_nothing_to_do() {
        let baking = deployment(2, Phase::Baking { seen_at: None, commit_now: false });
        let delete = |i| format!("aws elbv2 delete-rule --rule-arn overlay-{i} --region eu-west-1");
        assert_eq!(lines("me", &baking, false), [delete(0), delete(1)]);
        let back = deployment(1, Phase::RollingBack { shield: false, ends: BackAs::RolledBack });
        assert_eq!(lines("me", &back, false), [delete(0)]);
        for phase in [Phase::Provisioning, Phase::Retiring, Phase::Succeeded, Phase::RolledBack] {
            assert_eq!(lines("me", &deployment(1, phase), false), [""; 0]);
        }
    }

    #[test]
    fn from_the_commit_on_the_shield_goes_up_and_nothing_follows_it() {
        let expected = "aws elbv2 create-rule --listener-arn listener-0 --priority 98 \
            --conditions '[{\"Field\":\"host-header\",\"HostHeaderConfig\":{\"Values\":[\"it'\\''s.example.com\"]}}]' \
            --actions '[{\"ForwardConfig\":{\"TargetGroups\":[{\"TargetGroupArn\":\"slot-a\",\"Weight\":1}]},\"Type\":\"forward\"}]' \
            --tags '[{\"Key\":\"cutover:installation\",\"Value\":\"me\"},{\"Key\":\"cutover:service\",\"Value\":\"web\"},\
            {\"Key\":\"cutover:environment\",\"Value\":\"prod\"},\
            {\"Key\":\"cutover:deployment\",\"Value\":\"00000000-0000-0000-0000-00000000002a\"},\
            {\"Key\":\"cutover:role\",\"Value\":\"shield\"},{\"Key\":\"cutover:route\",\"Value\":\"route-0\"}]' --region eu-west-1";
        let committing = lines("me", &deployment(2, COMMITTING), false);
        assert_eq!((committing[0].as_str(), committing.len()), (expected, 2), "one a route, and no other");
        let back = deployment(1, Phase::RollingBack { shield: true, ends: BackAs::RolledBack });
        assert!(lines("me", &back, false)[0].starts_with("aws elbv2 create-rule "));
    }

    #[test]
    fn what_is_old_may_have_committed_since_so_that_the_shield_goes_up_in_every_phase() {
        let by_shields = lines("me", &deployment(2, COMMITTING), false);
        let back = Phase::RollingBack { shield: false, ends: BackAs::RolledBack };
        for phase in [Phase::Provisioning, Phase::Verifying, Phase::Baking { seen_at: None, commit_now: false }, back] {
            assert_eq!(lines("me", &deployment(2, phase), true), by_shields);
        }
        assert_eq!(lines("me", &deployment(2, Phase::Retiring), true), [""; 0]);
    }

    #[test]
    fn a_base_that_somebody_took_off_blue_needs_the_shield_before_the_commit_too() {
        let mut baking = deployment(1, Phase::Baking { seen_at: None, commit_now: false });
        let mut o = sample::observation(&baking, Weight::ALL);
        sample::route_mut(&mut o, 0).base = crate::domain::observation::Forward::Split(Weight::ALL);
        baking = baking.having_seen(&o, &crate::domain::timing::Timing::default(), sample::at(0));
        assert!(lines("me", &baking, false)[0].starts_with("aws elbv2 create-rule "));
    }
}
