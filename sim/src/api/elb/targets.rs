//! Targets by hand, and their health as the load balancer sees it.

use serde_json::{Value, json};

use super::super::{Answer, Call, refusal::Refusal};
use crate::{
    model::{Region, Target, TargetState},
    targets,
};

pub fn register(region: &mut Region, call: &Call<'_>) -> Answer {
    let (arn, ids) = named(region, call)?;
    let missing: Vec<&String> = ids.iter().filter(|id| !region.instances.contains_key(id)).collect();
    if !missing.is_empty() {
        return Err(Refusal::new("InvalidTarget", format!("The following targets do not exist: {missing:?}")));
    }
    for id in ids {
        targets::register(region, &arn, &id);
    }
    Ok(json!({}))
}

pub fn deregister(region: &mut Region, call: &Call<'_>) -> Answer {
    let (arn, ids) = named(region, call)?;
    for id in ids {
        targets::deregister(region, &arn, &id, call.now, call.scale);
    }
    Ok(json!({}))
}

fn named(region: &Region, call: &Call<'_>) -> Result<(String, Vec<String>), Refusal> {
    let arn = call.params.required("TargetGroupArn")?;
    if !region.target_groups.contains_key(arn) {
        return Err(Refusal::target_group_not_found());
    }
    let ids = call.params.list("Targets").into_iter().map(|target| target.required("Id").map(str::to_owned));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    if ids.is_empty() {
        return Err(Refusal::validation("A target must be specified"));
    }
    Ok((arn.to_owned(), ids))
}

pub fn describe_health(region: &Region, call: &Call<'_>) -> Answer {
    let arn = call.params.required("TargetGroupArn")?;
    let group = region.target_groups.get(arn).ok_or_else(Refusal::target_group_not_found)?;
    let used = !targets::load_balancers_of(region, arn).is_empty();
    let asked: Vec<&str> = call.params.list("Targets").into_iter().filter_map(|target| target.text("Id")).collect();
    let shown: Vec<Value> = if asked.is_empty() {
        group.targets.iter().map(|(id, target)| show(id, group.port, Some(target), used)).collect()
    } else {
        asked.into_iter().map(|id| show(id, group.port, group.targets.get(id), used)).collect()
    };
    Ok(json!({ "TargetHealthDescriptions": shown }))
}

fn show(id: &str, port: u16, target: Option<&Target>, used: bool) -> Value {
    let (state, reason, told) = match target.map(|target| target.state) {
        None => ("unused", Some("Target.NotRegistered"), "Target is not registered to the target group"),
        Some(TargetState::Draining) => {
            ("draining", Some("Target.DeregistrationInProgress"), "Target deregistration is in progress")
        }
        Some(_) if !used => {
            let told = "Target group is not configured to receive traffic from the load balancer";
            ("unused", Some("Target.NotInUse"), told)
        }
        // Named by a rule since the last health check.
        Some(TargetState::Unused) => ("initial", Some("Elb.RegistrationInProgress"), "Target registration is in progress"),
        Some(TargetState::Initial) => ("initial", Some("Elb.InitialHealthChecking"), "Initial health checks in progress"),
        Some(TargetState::Healthy) => ("healthy", None, ""),
        Some(TargetState::Unhealthy) => ("unhealthy", Some("Target.FailedHealthChecks"), "Health checks failed"),
    };
    let told = Some(told).filter(|told| !told.is_empty());
    json!({
        "Target": { "Id": id, "Port": port },
        "HealthCheckPort": port.to_string(),
        "TargetHealth": { "State": state, "Reason": reason, "Description": told },
    })
}
