//! Attaching a group to target groups and detaching it, which moves its servers in and out of them.

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, refusal::Refusal},
    groups, living_mut,
};
use crate::{
    model::{Region, ServerGroup, TargetState},
    targets,
};

const PAGE_MAX: u32 = 100;

fn named(call: &Call<'_>) -> Result<(String, Vec<String>), Refusal> {
    let name = call.params.required("AutoScalingGroupName")?.to_owned();
    let arns = call.params.texts("TargetGroupARNs");
    if arns.is_empty() {
        return Err(Refusal::validation("TargetGroupARNs must be specified"));
    }
    Ok((name, arns))
}

pub fn attach(region: &mut Region, call: &Call<'_>) -> Answer {
    let (name, arns) = named(call)?;
    groups::exist(region, &arns)?;
    let group = living_mut(region, &name)?;
    let new: Vec<String> = arns.into_iter().filter(|arn| !group.target_groups.contains(arn)).collect();
    group.target_groups.extend(new.iter().cloned());
    if !group.suspended.iter().any(|process| process == "AddToLoadBalancer") {
        targets::attach(region, &name, &new);
    }
    Ok(json!({}))
}

pub fn detach(region: &mut Region, call: &Call<'_>) -> Answer {
    let (name, arns) = named(call)?;
    let group = living_mut(region, &name)?;
    if let Some(stranger) = arns.iter().find(|arn| !group.target_groups.contains(arn)) {
        let told = format!("Trying to remove Target Groups that are not part of the group: {stranger}");
        return Err(Refusal::validation(told));
    }
    group.target_groups.retain(|arn| !arns.contains(arn));
    targets::detach(region, &name, &arns, call.now, call.scale);
    Ok(json!({}))
}

/// Those attached, and those left behind where a server of the group still drains.
pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("AutoScalingGroupName")?;
    let group = region.groups.get(name).ok_or_else(|| Refusal::group_not_found(name))?;
    let states = region.target_groups.keys().filter_map(|arn| {
        let state = state(region, group, arn)?;
        Some((arn.clone(), json!({ "LoadBalancerTargetGroupARN": arn, "State": state })))
    });
    let size = params.whole("MaxRecords", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let (shown, next) = query::page::<Value>(states.collect(), params.text("NextToken"), size as usize);
    Ok(json!({ "LoadBalancerTargetGroups": shown, "NextToken": next }))
}

fn state(region: &Region, group: &ServerGroup, arn: &str) -> Option<&'static str> {
    let mine = |id: &String| region.instances.get(id).is_some_and(|server| server.group == group.name);
    let targets = region.target_groups.get(arn).map(|held| &held.targets);
    let mut states = targets.into_iter().flatten().filter(|(id, _)| mine(id)).map(|(_, target)| target.state);
    if group.target_groups.iter().any(|held| held == arn) {
        return Some(if states.any(|state| state == TargetState::Healthy) { "InService" } else { "Added" });
    }
    states.next().map(|_| "Removing")
}
