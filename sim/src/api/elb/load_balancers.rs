//! Load balancers: little more than a name to hang listeners on, and the account's quotas.

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, refusal::Refusal},
    tags,
};
use crate::{
    model::{LoadBalancer, Region},
    names,
};

const PAGE_MAX: u32 = 400;

/// AWS's default quotas.
const LIMITS: [(&str, u32); 9] = [
    ("application-load-balancers", 50),
    ("listeners-per-application-load-balancer", 50),
    ("rules-per-application-load-balancer", 100),
    ("condition-values-per-alb-rule", 5),
    ("target-groups", 3_000),
    ("target-groups-per-application-load-balancer", 100),
    ("target-groups-per-action-on-application-load-balancer", 5),
    ("targets-per-application-load-balancer", 1_000),
    ("targets-per-target-group", 1_000),
];

pub fn create(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("Name")?;
    valid_name(name)?;
    let kind = params.text("Type").unwrap_or("application");
    if !["application", "network"].contains(&kind) {
        return Err(Refusal::validation(format!("Load balancer type '{kind}' must be one of '[application, network]'")));
    }
    let tags = tags::given(params)?;
    if let Some(held) = region.load_balancers.values().find(|balancer| balancer.name == name) {
        if held.kind == kind && held.tags == tags {
            return Ok(json!({ "LoadBalancers": [show(held)] }));
        }
        let told = format!("A load balancer with the same name '{name}' exists, but with different settings");
        return Err(Refusal::new("DuplicateLoadBalancerName", told));
    }
    let arn = names::load_balancer(region, name, kind);
    let balancer = LoadBalancer { arn: arn.clone(), name: name.to_owned(), kind: kind.to_owned(), tags };
    let shown = show(&balancer);
    region.load_balancers.insert(arn, balancer);
    Ok(json!({ "LoadBalancers": [shown] }))
}

/// What AWS allows as the name of a load balancer or a target group.
///
/// # Errors
/// `ValidationError`.
pub fn valid_name(name: &str) -> Result<(), Refusal> {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    if name.len() > 32 || !name.chars().all(letters) || name.starts_with('-') || name.ends_with('-') {
        let told = "must have at most 32 letters, digits and hyphens, and neither begin nor end with a hyphen";
        return Err(Refusal::validation(format!("The name '{name}' {told}")));
    }
    Ok(())
}

/// Its listeners and rules go with it; one that does not exist is no error.
pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("LoadBalancerArn")?;
    region.load_balancers.remove(arn);
    let gone: Vec<String> =
        region.listeners.values().filter(|listener| listener.load_balancer == arn).map(|it| it.arn.clone()).collect();
    region.listeners.retain(|listener, _| !gone.contains(listener));
    region.rules.retain(|_, rule| !gone.contains(&rule.listener));
    Ok(json!({}))
}

pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let (arns, wanted) = (params.texts("LoadBalancerArns"), params.texts("Names"));
    let known = |arn: &String| region.load_balancers.contains_key(arn);
    let named = |name: &String| region.load_balancers.values().any(|balancer| balancer.name == *name);
    if !arns.iter().all(known) || !wanted.iter().all(named) {
        return Err(Refusal::load_balancer_not_found());
    }
    let all = arns.is_empty() && wanted.is_empty();
    let balancers = region.load_balancers.values();
    let balancers = balancers.filter(|it| all || arns.contains(&it.arn) || wanted.contains(&it.name));
    let shown = balancers.map(|balancer| (balancer.arn.clone(), show(balancer))).collect();
    let size = params.whole("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page(shown, params.text("Marker"), size as usize);
    Ok(json!({ "LoadBalancers": shown, "NextMarker": next }))
}

pub fn account_limits(_: &Region, _: &Call<'_>) -> Answer {
    let limits = LIMITS.iter().map(|(name, max)| json!({ "Name": name, "Max": max.to_string() }));
    Ok(json!({ "Limits": limits.collect::<Vec<_>>() }))
}

fn show(balancer: &LoadBalancer) -> Value {
    json!({
        "LoadBalancerArn": balancer.arn,
        "LoadBalancerName": balancer.name,
        "DNSName": format!("{}.{}.elb.amazonaws.com", balancer.name, names::REGION),
        "Scheme": "internet-facing",
        "VpcId": "vpc-0pocket",
        "State": { "Code": "active" },
        "Type": balancer.kind,
        "IpAddressType": "ipv4",
    })
}
