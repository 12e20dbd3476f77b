//! Suspending and resuming what Auto Scaling does by itself.

use serde_json::json;

use super::{
    super::{Answer, Call, refusal::Refusal},
    living_mut,
};
use crate::model::Region;

const PROCESSES: [&str; 9] = [
    "AddToLoadBalancer",
    "AlarmNotification",
    "AZRebalance",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// The processes named; none named means all.
fn named(call: &Call<'_>) -> Result<Vec<String>, Refusal> {
    let named = call.params.texts("ScalingProcesses");
    if let Some(unknown) = named.iter().find(|name| !PROCESSES.contains(&name.as_str())) {
        return Err(Refusal::validation(format!("{unknown} is not a valid process name")));
    }
    Ok(if named.is_empty() { PROCESSES.map(str::to_owned).to_vec() } else { named })
}

pub fn suspend(region: &mut Region, call: &Call<'_>) -> Answer {
    let processes = named(call)?;
    let group = living_mut(region, call.params.required("AutoScalingGroupName")?)?;
    group.suspended.extend(processes);
    group.suspended.sort();
    group.suspended.dedup();
    Ok(json!({}))
}

pub fn resume(region: &mut Region, call: &Call<'_>) -> Answer {
    let processes = named(call)?;
    let group = living_mut(region, call.params.required("AutoScalingGroupName")?)?;
    group.suspended.retain(|process| !processes.contains(process));
    Ok(json!({}))
}
