//! Load balancers: little more than a name to hang listeners on, and the account's quotas.

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, refusal::Refusal},
    NAMED_MAX, tags,
};
use crate::{
    model::{LoadBalancer, Region},
    names, quotas,
};

const PAGE_MAX: u32 = 400;

pub fn create(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("Name")?;
    valid_name(name)?;
    let kind = params.text("Type").unwrap_or("application");
    if !["application", "network"].contains(&kind) {
        return Err(Refusal::validation(format!("Load balancer type '{kind}' must be one of '[application, network]'")));
    }
    let scheme = params.text("Scheme").unwrap_or("internet-facing");
    if !["internet-facing", "internal"].contains(&scheme) {
        return Err(Refusal::new("InvalidScheme", format!("Scheme '{scheme}' must be one of '[internet-facing, internal]'")));
    }
    let tags = tags::given(params)?;
    if let Some(held) = region.load_balancers.values().find(|balancer| balancer.name == name) {
        if (held.kind.as_str(), held.scheme.as_str(), &held.tags) == (kind, scheme, &tags) {
            return Ok(json!({ "LoadBalancers": [show(region, held)] }));
        }
        let told = format!("A load balancer with the same name '{name}' exists, but with different settings");
        return Err(Refusal::new("DuplicateLoadBalancerName", told));
    }
    let arn = names::load_balancer(region, name, kind);
    let balancer =
        LoadBalancer { arn: arn.clone(), name: name.to_owned(), kind: kind.to_owned(), scheme: scheme.to_owned(), tags };
    let shown = show(region, &balancer);
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
    if arns.len().max(wanted.len()) > NAMED_MAX {
        let (max, count) = (NAMED_MAX, arns.len().max(wanted.len()));
        return Err(Refusal::validation(format!(
            "Up to {max} load balancers can be described at a time, but {count} were specified"
        )));
    }
    let known = |arn: &String| region.load_balancers.contains_key(arn);
    let named = |name: &String| region.load_balancers.values().any(|balancer| balancer.name == *name);
    if !arns.iter().all(known) || !wanted.iter().all(named) {
        return Err(Refusal::load_balancer_not_found());
    }
    let all = arns.is_empty() && wanted.is_empty();
    let balancers = region.load_balancers.values();
    let balancers = balancers.filter(|it| all || arns.contains(&it.arn) || wanted.contains(&it.name));
    let shown = balancers.map(|balancer| (balancer.arn.clone(), show(region, balancer))).collect();
    let size = params.whole("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page(shown, params.text("Marker"), size as usize);
    Ok(json!({ "LoadBalancers": shown, "NextMarker": next }))
}

pub fn account_limits(region: &Region, call: &Call<'_>) -> Answer {
    let limits = quotas::of_load_balancing(region);
    let limits = limits.map(|(name, max)| (name.to_owned(), json!({ "Name": name, "Max": max.to_string() })));
    let size = call.params.whole("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page::<Value>(limits.collect(), call.params.text("Marker"), size as usize);
    Ok(json!({ "Limits": shown, "NextMarker": next }))
}

fn show(region: &Region, balancer: &LoadBalancer) -> Value {
    let inside = if balancer.scheme == "internal" { "internal-" } else { "" };
    let id = balancer.arn.rsplit('/').next().unwrap_or_default();
    json!({
        "LoadBalancerArn": balancer.arn,
        "LoadBalancerName": balancer.name,
        "DNSName": format!("{inside}{}-{id}.{}.elb.amazonaws.com", balancer.name, region.place.region),
        "Scheme": balancer.scheme,
        "VpcId": "vpc-0pocket",
        "State": { "Code": "active" },
        "Type": balancer.kind,
        "IpAddressType": "ipv4",
    })
}
