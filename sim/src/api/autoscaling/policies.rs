//! Scaling policies: checked as AWS checks them, kept and shown. Nothing here fires them, since there is no CloudWatch.

use serde_json::{Map, Value, json};

use super::{
    super::{Answer, Call, query, query::Node, refusal::Refusal},
    living, living_mut,
};
use crate::{
    model::{Policy, Region, ServerGroup},
    names, targets,
};

/// AWS's quota of policies of one group, and of steps of one policy.
const POLICIES_MAX: usize = 50;
const STEPS_MAX: usize = 20;
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 50;
const BY_REQUESTS: &str = "ALBRequestCountPerTarget";
const PREDEFINED: [&str; 5] = [
    "ASGAverageCPUUtilization",
    "ASGAverageCPUUtilizationHighResolution",
    "ASGAverageNetworkIn",
    "ASGAverageNetworkOut",
    BY_REQUESTS,
];
const ADJUSTMENTS: [&str; 3] = ["ChangeInCapacity", "ExactCapacity", "PercentChangeInCapacity"];

/// New, or in place of the one with this name, which keeps its ARN.
pub fn put(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let (group, name) = (params.required("AutoScalingGroupName")?, params.required("PolicyName")?);
    let held = living(region, group)?;
    let kind = params.text("PolicyType").unwrap_or("SimpleScaling");
    let settings = match kind {
        "SimpleScaling" => simple(params)?,
        "StepScaling" => steps(params)?,
        "TargetTrackingScaling" => tracking(region, held, params)?,
        "PredictiveScaling" => kept(params, &["PredictiveScalingConfiguration"]),
        _ => return Err(Refusal::validation(format!("Unknown policy type {kind}"))),
    };
    let enabled = params.flag("Enabled")?.unwrap_or(true);
    let known = held.policies.get(name).map(|policy| policy.arn.clone());
    if known.is_none() && held.policies.len() >= POLICIES_MAX {
        let told = format!("The maximum number of scaling policies, {POLICIES_MAX}, has been reached for group {group}");
        return Err(Refusal::new("LimitExceeded", told));
    }
    let arn = known.unwrap_or_else(|| names::policy(region, group, name));
    let sides: &[&str] = match (kind, settings["TargetTrackingConfiguration"]["DisableScaleIn"] == "true") {
        ("TargetTrackingScaling", true) => &["High"],
        ("TargetTrackingScaling", false) => &["High", "Low"],
        _ => &[],
    };
    let alarms = sides.iter().map(|side| names::alarm(region, group, side)).collect();
    let policy = Policy { arn: arn.clone(), kind: kind.to_owned(), enabled, alarms, settings };
    let shown = json!({ "PolicyARN": arn, "Alarms": show_alarms(region, &policy) });
    living_mut(region, group)?.policies.insert(name.to_owned(), policy);
    Ok(shown)
}

/// What was sent of `keys`, as it came.
fn kept(params: Node<'_>, keys: &[&str]) -> Value {
    let sent = keys.iter().filter(|key| params.has(key)).map(|key| ((*key).to_owned(), params.raw(key)));
    Value::Object(sent.collect::<Map<_, _>>())
}

fn adjustment(params: Node<'_>) -> Result<(), Refusal> {
    match params.required("AdjustmentType")? {
        known if ADJUSTMENTS.contains(&known) => Ok(()),
        other => Err(Refusal::validation(format!("Invalid adjustment type {other}: it must be one of {ADJUSTMENTS:?}"))),
    }
}

fn whole(params: Node<'_>, key: &str) -> Result<(), Refusal> {
    match params.required(key)?.parse::<i32>() {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::validation(format!("{key} must be a whole number"))),
    }
}

fn simple(params: Node<'_>) -> Result<Value, Refusal> {
    adjustment(params)?;
    whole(params, "ScalingAdjustment")?;
    Ok(kept(params, &["AdjustmentType", "MinAdjustmentMagnitude", "MinAdjustmentStep", "ScalingAdjustment", "Cooldown"]))
}

fn steps(params: Node<'_>) -> Result<Value, Refusal> {
    adjustment(params)?;
    let steps = params.list("StepAdjustments");
    if steps.is_empty() || steps.len() > STEPS_MAX {
        return Err(Refusal::validation(format!("A step scaling policy must have between 1 and {STEPS_MAX} step adjustments")));
    }
    steps.into_iter().try_for_each(|step| whole(step, "ScalingAdjustment"))?;
    let keys =
        ["AdjustmentType", "MinAdjustmentMagnitude", "MetricAggregationType", "StepAdjustments", "EstimatedInstanceWarmup"];
    Ok(kept(params, &keys))
}

fn tracking(region: &Region, group: &ServerGroup, params: Node<'_>) -> Result<Value, Refusal> {
    let config = params.child("TargetTrackingConfiguration");
    let config = config.ok_or_else(|| Refusal::validation("TargetTrackingConfiguration must be specified"))?;
    if !config.required("TargetValue")?.parse::<f64>().is_ok_and(|value| value.is_finite() && value > 0.0) {
        return Err(Refusal::validation("TargetValue must be a number above zero"));
    }
    config.flag("DisableScaleIn")?;
    match (config.child("PredefinedMetricSpecification"), config.child("CustomizedMetricSpecification")) {
        (Some(metric), None) => predefined(region, group, metric)?,
        (None, Some(_)) => {}
        _ => return Err(Refusal::validation("Exactly one of a predefined or a customized metric must be specified")),
    }
    let mut settings = kept(params, &["TargetTrackingConfiguration", "EstimatedInstanceWarmup"]);
    if !config.has("DisableScaleIn") {
        settings["TargetTrackingConfiguration"]["DisableScaleIn"] = json!("false");
    }
    Ok(settings)
}

/// A label must name a load balancer and a target group that it forwards to, which this group is attached to.
fn predefined(region: &Region, group: &ServerGroup, metric: Node<'_>) -> Result<(), Refusal> {
    let kind = metric.required("PredefinedMetricType")?;
    if !PREDEFINED.contains(&kind) {
        return Err(Refusal::validation(format!("Predefined metric type {kind} must be one of {PREDEFINED:?}")));
    }
    if kind != BY_REQUESTS {
        return Ok(());
    }
    let label = metric.text("ResourceLabel").ok_or_else(|| {
        Refusal::validation(format!("Resource label should be specified for predefined metric type {BY_REQUESTS}"))
    })?;
    let invalid = |why: &str| Refusal::validation(format!("Invalid resource label {label}: {why}"));
    let (balancer, slot) = label.split_once("/targetgroup/").ok_or_else(|| {
        invalid("it must be app/<load-balancer-name>/<load-balancer-id>/targetgroup/<target-group-name>/<target-group-id>")
    })?;
    let (balancer, slot) = (names::of_label(region, "loadbalancer", balancer), names::of_label(region, "targetgroup", slot));
    if !region.load_balancers.contains_key(&balancer) {
        return Err(invalid("the load balancer does not exist"));
    }
    if !region.target_groups.contains_key(&slot) {
        return Err(invalid("the target group does not exist"));
    }
    if !targets::load_balancers_of(region, &slot).contains(&balancer) {
        return Err(invalid("the target group is not associated with the load balancer"));
    }
    if !group.target_groups.contains(&slot) {
        return Err(Refusal::validation("Target group not attached to the Auto Scaling group"));
    }
    Ok(())
}

/// By group, by name or ARN, by type; an unknown name is left out, an unknown group refused.
pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let (wanted, kinds) = (params.texts("PolicyNames"), params.texts("PolicyTypes"));
    let group = params.text("AutoScalingGroupName");
    if let Some(name) = group.filter(|name| !region.groups.contains_key(name)) {
        return Err(Refusal::group_not_found(name));
    }
    let groups = region.groups.values().filter(|held| group.is_none_or(|name| name == held.name));
    let all = groups.flat_map(|group| group.policies.iter().map(move |(name, policy)| (group, name, policy)));
    let picked = all.filter(|(_, name, policy)| {
        (wanted.is_empty() || wanted.contains(name) || wanted.contains(&policy.arn))
            && (kinds.is_empty() || kinds.contains(&policy.kind))
    });
    let shown = picked.map(|(group, name, policy)| (format!("{}/{name}", group.name), show(region, group, name, policy)));
    let size = params.whole("MaxRecords", 1..=PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let (shown, next) = query::page(shown.collect(), params.text("NextToken"), size as usize);
    Ok(json!({ "ScalingPolicies": shown, "NextToken": next }))
}

fn show(region: &Region, group: &ServerGroup, name: &str, policy: &Policy) -> Value {
    let mut shown = policy.settings.clone();
    shown["AutoScalingGroupName"] = json!(group.name);
    shown["PolicyName"] = json!(name);
    shown["PolicyARN"] = json!(policy.arn);
    shown["PolicyType"] = json!(policy.kind);
    shown["Enabled"] = json!(policy.enabled);
    shown["Alarms"] = show_alarms(region, policy);
    shown
}

fn show_alarms(region: &Region, policy: &Policy) -> Value {
    let alarms = policy.alarms.iter().map(|alarm| json!({ "AlarmName": alarm, "AlarmARN": names::alarm_arn(region, alarm) }));
    alarms.collect::<Vec<_>>().into()
}

/// By name, or by ARN without a group.
pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let (wanted, group) = (call.params.required("PolicyName")?, call.params.text("AutoScalingGroupName"));
    if let Some(name) = group {
        living(region, name)?;
    }
    let holds = |held: &ServerGroup| {
        let mut policies = held.policies.iter();
        policies
            .find(|(name, policy)| policy.arn == wanted || (group.is_some() && *name == wanted))
            .map(|(name, _)| name.clone())
    };
    let found = {
        let mut groups = region.groups.values().filter(|held| group.is_none_or(|name| name == held.name));
        groups.find_map(|held| Some((held.name.clone(), holds(held)?)))
    };
    let (group, name) = found.ok_or_else(|| Refusal::validation(format!("Scaling policy {wanted} not found")))?;
    if let Some(held) = region.groups.get_mut(&group) {
        held.policies.remove(&name);
    }
    Ok(json!({}))
}
