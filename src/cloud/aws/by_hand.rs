//! The way back with everything else down: lines of the `aws` command line, with all names filled in.

use super::shape;
use crate::domain::{
    deployment::Deployment,
    drift,
    phase::Phase,
    plan::{Plan, RoutePlan},
};

/// By what `d` says of itself; where that is old, a look at the console comes first.
pub(super) fn lines(d: &Deployment) -> Vec<String> {
    let Some(plan) = &d.plan else { return Vec::new() };
    let region = shape::region(&d.declaration);
    let elb = |rest: String| format!("aws elbv2 {rest} --region {region}");
    let may_be_green =
        d.phase.base_may_be_green() || matches!(d.phase, Phase::RollingBack { shield: true, .. }) || drift::base_is_off_blue(d);
    let bases = plan.routes.iter().filter(|_| may_be_green).map(|route| elb(base(plan, route)));
    let overlays = d.overlays.iter().map(|overlay| elb(format!("delete-rule --rule-arn {overlay}")));
    bases.chain(overlays).collect()
}

fn base(plan: &Plan, route: &RoutePlan) -> String {
    let to = plan.blue_slot.at(route.position).map_or("BLUE", |blue| blue.as_str());
    let to = format!("Type=forward,TargetGroupArn={to}");
    match route.base_number {
        Some(_) => format!("modify-rule --rule-arn {} --actions {to}", route.route),
        None => format!("modify-listener --listener-arn {} --default-actions {to}", route.listener),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sample::deployment;

    #[test]
    fn before_the_commit_the_overlays_go_and_after_it_the_base_comes_first() {
        let baking = deployment(2, Phase::Baking { seen_at: None, commit_now: false });
        let delete = |i| format!("aws elbv2 delete-rule --rule-arn overlay-{i} --region eu-west-1");
        assert_eq!(lines(&baking), [delete(0), delete(1)]);
        let base = "aws elbv2 modify-rule --rule-arn route-0 --actions Type=forward,TargetGroupArn=slot-a --region eu-west-1";
        assert_eq!(lines(&deployment(1, Phase::Committing { quiet_since: None })), [base.to_owned(), delete(0)]);
        assert_eq!(lines(&deployment(1, Phase::Provisioning)), [""; 0]);
    }
}
