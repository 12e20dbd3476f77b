//! Target groups: their settings and attributes. Who is in them is the business of `targets`.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, refusal::Refusal},
    few,
    load_balancers::valid_name,
    tags,
};
use crate::{
    model::{HealthCheck, Region, TargetGroup},
    names, targets,
};

const PAGE_MAX: u32 = 400;
const DELAY: &str = "deregistration_delay.timeout_seconds";
const DELAY_DEFAULT: Duration = Duration::from_secs(300);
const DELAY_SECONDS_MAX: u64 = 3_600;

/// Attributes and AWS's defaults.
const ATTRIBUTES: [(&str, &str); 9] = [
    (DELAY, "300"),
    ("stickiness.enabled", "false"),
    ("stickiness.type", "lb_cookie"),
    ("stickiness.lb_cookie.duration_seconds", "86400"),
    ("stickiness.app_cookie.cookie_name", ""),
    ("stickiness.app_cookie.duration_seconds", "86400"),
    ("slow_start.duration_seconds", "0"),
    ("load_balancing.algorithm.type", "round_robin"),
    ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration"),
];

/// The same name with the same settings answers the group that is there.
pub fn create(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("Name")?;
    valid_name(name)?;
    let port = params.whole("Port", 1..=65_535)?.and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or_else(|| Refusal::validation("A port must be specified"))?;
    let seconds = |key: &str, range, default: u32| -> Result<Duration, Refusal> {
        Ok(Duration::from_secs(params.whole(key, range)?.unwrap_or(default).into()))
    };
    let health = HealthCheck {
        path: params.text("HealthCheckPath").unwrap_or("/").to_owned(),
        interval: seconds("HealthCheckIntervalSeconds", 5..=300, 30)?,
        timeout: seconds("HealthCheckTimeoutSeconds", 2..=120, 5)?,
        healthy_threshold: params.whole("HealthyThresholdCount", 2..=10)?.unwrap_or(5),
        unhealthy_threshold: params.whole("UnhealthyThresholdCount", 2..=10)?.unwrap_or(2),
    };
    if health.timeout >= health.interval {
        return Err(Refusal::validation("Health check timeout must be smaller than the interval"));
    }
    let group = TargetGroup {
        arn: String::new(),
        name: name.to_owned(),
        port,
        vpc: params.required("VpcId")?.to_owned(),
        health,
        deregistration_delay: DELAY_DEFAULT,
        attributes: BTreeMap::new(),
        targets: BTreeMap::new(),
        tags: tags::given(params)?,
    };
    if let Some(held) = region.target_groups.values().find(|held| held.name == name) {
        if same_settings(held, &group) {
            return Ok(json!({ "TargetGroups": [show(region, held)] }));
        }
        let told = format!("A target group with the same name '{name}' exists, but with different settings");
        return Err(Refusal::new("DuplicateTargetGroupName", told));
    }
    let group = TargetGroup { arn: names::target_group(region, name), ..group };
    let shown = show(region, &group);
    region.target_groups.insert(group.arn.clone(), group);
    Ok(json!({ "TargetGroups": [shown] }))
}

fn same_settings(one: &TargetGroup, other: &TargetGroup) -> bool {
    let checks = |group: &TargetGroup| {
        let health = &group.health;
        (health.path.clone(), health.interval, health.timeout, health.healthy_threshold, health.unhealthy_threshold)
    };
    (one.port, &one.vpc) == (other.port, &other.vpc) && checks(one) == checks(other)
}

pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let (arns, wanted, balancer) = (params.texts("TargetGroupArns"), params.texts("Names"), params.text("LoadBalancerArn"));
    few(arns.len().max(wanted.len()), "target groups")?;
    if balancer.is_some_and(|arn| !region.load_balancers.contains_key(arn)) {
        return Err(Refusal::load_balancer_not_found());
    }
    let known = |arn: &String| region.target_groups.contains_key(arn);
    let named = |name: &String| region.target_groups.values().any(|group| group.name == *name);
    if !arns.iter().all(known) || !wanted.iter().all(named) {
        return Err(Refusal::target_group_not_found());
    }
    let picked = |group: &&TargetGroup| match balancer {
        Some(arn) => targets::load_balancers_of(region, &group.arn).contains(arn),
        None if arns.is_empty() && wanted.is_empty() => true,
        None => arns.contains(&group.arn) || wanted.contains(&group.name),
    };
    let groups = region.target_groups.values().filter(picked);
    let shown = groups.map(|group| (group.arn.clone(), show(region, group))).collect();
    let size = params.whole("PageSize", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page(shown, params.text("Marker"), size as usize);
    Ok(json!({ "TargetGroups": shown, "NextMarker": next }))
}

/// One that does not exist is no error.
pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("TargetGroupArn")?;
    if !targets::load_balancers_of(region, arn).is_empty() {
        let told = format!("Target group '{arn}' is currently in use by a listener or a rule");
        return Err(Refusal::new("ResourceInUse", told));
    }
    region.target_groups.remove(arn);
    Ok(json!({}))
}

pub fn modify_attributes(region: &mut Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("TargetGroupArn")?;
    let mut changed = Vec::new();
    for attribute in call.params.list("Attributes") {
        let (key, value) = (attribute.required("Key")?, attribute.text("Value").unwrap_or_default());
        if !ATTRIBUTES.iter().any(|(known, _)| *known == key) {
            return Err(Refusal::validation(format!("Target group attribute key '{key}' is not recognized")));
        }
        if key == DELAY && !value.parse::<u64>().is_ok_and(|seconds| seconds <= DELAY_SECONDS_MAX) {
            let told = format!("Target group attribute '{key}' must be between 0 and {DELAY_SECONDS_MAX}");
            return Err(Refusal::new("InvalidConfigurationRequest", told));
        }
        changed.push((key.to_owned(), value.to_owned()));
    }
    let group = region.target_groups.get_mut(arn).ok_or_else(Refusal::target_group_not_found)?;
    group.attributes.extend(changed);
    if let Some(seconds) = group.attributes.get(DELAY).and_then(|value| value.parse().ok()) {
        group.deregistration_delay = Duration::from_secs(seconds);
    }
    Ok(show_attributes(group))
}

pub fn describe_attributes(region: &Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("TargetGroupArn")?;
    region.target_groups.get(arn).map(show_attributes).ok_or_else(Refusal::target_group_not_found)
}

fn show_attributes(group: &TargetGroup) -> Value {
    let shown = ATTRIBUTES.iter().map(|(key, default)| {
        let value = group.attributes.get(*key).map_or(*default, String::as_str);
        json!({ "Key": key, "Value": if *key == DELAY { group.deregistration_delay.as_secs().to_string() } else { value.to_owned() } })
    });
    json!({ "Attributes": shown.collect::<Vec<_>>() })
}

fn show(region: &Region, group: &TargetGroup) -> Value {
    let health = &group.health;
    json!({
        "TargetGroupArn": group.arn,
        "TargetGroupName": group.name,
        "Protocol": "HTTP",
        "ProtocolVersion": "HTTP1",
        "Port": group.port,
        "VpcId": group.vpc,
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "traffic-port",
        "HealthCheckEnabled": true,
        "HealthCheckPath": health.path,
        "HealthCheckIntervalSeconds": health.interval.as_secs(),
        "HealthCheckTimeoutSeconds": health.timeout.as_secs(),
        "HealthyThresholdCount": health.healthy_threshold,
        "UnhealthyThresholdCount": health.unhealthy_threshold,
        "Matcher": { "HttpCode": "200" },
        "LoadBalancerArns": targets::load_balancers_of(region, &group.arn),
        "TargetType": "instance",
        "IpAddressType": "ipv4",
    })
}
