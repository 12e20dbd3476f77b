//! Ids and ARNs, drawn from the region's seed: the same calls in the same order name the same things.

use crate::model::{Place, Region};

/// The next number of the region's sequence (splitmix64: one state word, no crate needed).
fn draw(region: &mut Region) -> u64 {
    region.drawn += 1;
    mix(region.seed ^ region.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn arn(service: &str, region: &Region, resource: &str) -> String {
    let Place { account, region } = &region.place;
    format!("arn:aws:{service}:{region}:{account}:{resource}")
}

fn elb(region: &Region, resource: &str) -> String {
    arn("elasticloadbalancing", region, resource)
}

/// The one zone that every server of this region is in.
#[must_use]
pub fn zone(region: &Region) -> String {
    format!("{}a", region.place.region)
}

/// `app` or `net`, as ARNs write it.
fn family(kind: &str) -> &'static str {
    if kind == "network" { "net" } else { "app" }
}

pub fn load_balancer(region: &mut Region, name: &str, kind: &str) -> String {
    let id = draw(region);
    elb(region, &format!("loadbalancer/{}/{name}/{id:016x}", family(kind)))
}

pub fn target_group(region: &mut Region, name: &str) -> String {
    let id = draw(region);
    elb(region, &format!("targetgroup/{name}/{id:016x}"))
}

pub fn listener(region: &mut Region, load_balancer: &str) -> String {
    format!("{}/{:016x}", load_balancer.replacen(":loadbalancer/", ":listener/", 1), draw(region))
}

pub fn rule(region: &mut Region, listener: &str) -> String {
    format!("{}/{:016x}", listener.replacen(":listener/", ":listener-rule/", 1), draw(region))
}

/// A listener's default rule has an ARN of its own, which never changes.
#[must_use]
pub fn default_rule(listener: &str) -> String {
    let id = listener.rsplit('/').next().and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default();
    format!("{}/{:016x}", listener.replacen(":listener/", ":listener-rule/", 1), mix(!id))
}

/// The listener that a rule's ARN, default or not, names.
#[must_use]
pub fn listener_of(rule: &str) -> Option<String> {
    let (listener, _) = rule.rsplit_once('/')?;
    Some(listener.replacen(":listener-rule/", ":listener/", 1))
}

pub fn group(region: &mut Region, name: &str) -> String {
    let id = uuid(region);
    arn("autoscaling", region, &format!("autoScalingGroup:{id}:autoScalingGroupName/{name}"))
}

pub fn policy(region: &mut Region, group: &str, name: &str) -> String {
    let id = uuid(region);
    arn("autoscaling", region, &format!("scalingPolicy:{id}:autoScalingGroupName/{group}:policyName/{name}"))
}

pub fn scheduled(region: &mut Region, group: &str, name: &str) -> String {
    let id = uuid(region);
    let name = format!("scheduledUpdateGroupAction:{id}:autoScalingGroupName/{group}:scheduledActionName/{name}");
    arn("autoscaling", region, &name)
}

/// The alarm that AWS makes for a target-tracking policy; `side` is `High` or `Low`.
pub fn alarm(region: &mut Region, group: &str, side: &str) -> String {
    format!("TargetTracking-{group}-Alarm{side}-{}", uuid(region))
}

#[must_use]
pub fn alarm_arn(region: &Region, alarm: &str) -> String {
    arn("cloudwatch", region, &format!("alarm:{alarm}"))
}

/// The end of a load balancer's or target group's ARN, as a scaling policy's resource label has it, made an ARN again.
#[must_use]
pub fn of_label(region: &Region, kind: &str, end: &str) -> String {
    elb(region, &format!("{kind}/{end}"))
}

pub fn instance(region: &mut Region) -> String {
    format!("i-0{:016x}", draw(region))
}

/// `ami-` and 17 digits, as AWS makes them.
pub fn image(region: &mut Region) -> String {
    format!("ami-0{:016x}", draw(region))
}

pub fn launch_template(region: &mut Region) -> String {
    format!("lt-0{:016x}", draw(region))
}

/// An id of an activity: a UUID by shape.
pub fn uuid(region: &mut Region) -> String {
    uuid::Uuid::from_u64_pair(draw(region), draw(region)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_names_and_none_twice() {
        let mut one = Region { seed: 7, ..Region::default() };
        let mut two = one.clone();
        let first: Vec<_> = (0..100).map(|_| instance(&mut one)).collect();
        assert_eq!(first, (0..100).map(|_| instance(&mut two)).collect::<Vec<_>>());
        assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    }

    #[test]
    fn a_rules_arn_names_its_listener() {
        let mut region = Region::default();
        let balancer = load_balancer(&mut region, "edge", "application");
        let listener = listener(&mut region, &balancer);
        assert_eq!(listener_of(&rule(&mut region, &listener)).as_ref(), Some(&listener));
        assert_eq!(listener_of(&default_rule(&listener)).as_ref(), Some(&listener));
        assert_eq!(default_rule(&listener), default_rule(&listener));
    }
}
