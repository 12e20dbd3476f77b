//! Groups and their instances, as DescribeAutoScalingGroups shows them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, query::Node, refusal::Refusal},
    tags,
};
use crate::{
    model::{Instance, Lifecycle, Region, ServerGroup},
    names, quotas,
};

const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 50;

/// Names that do not exist are left out, as on AWS: that is all a caller ever learns of a missing group.
pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let wanted = params.texts("AutoScalingGroupNames");
    let filters = params.list("Filters");
    let instances = params.flag("IncludeInstances")?.unwrap_or(true);
    let size = params.whole("MaxRecords", 1..=PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    if wanted.len() > size as usize {
        return Err(Refusal::validation(format!("The number of group names that may be passed in is limited to {size}")));
    }
    filters.iter().try_for_each(known)?;
    let picked: Vec<&ServerGroup> = if wanted.is_empty() {
        region.groups.values().collect()
    } else {
        wanted.iter().collect::<BTreeSet<_>>().into_iter().filter_map(|name| region.groups.get(name)).collect()
    };
    let picked = picked.into_iter().filter(|group| filters.iter().all(|filter| matches(group, *filter)));
    let (page, next) =
        query::page(picked.map(|group| (group.name.clone(), group)).collect(), params.text("NextToken"), size as usize);
    let mut servers: BTreeMap<&str, Vec<&Instance>> = page.iter().map(|group| (group.name.as_str(), Vec::new())).collect();
    for server in region.instances.values().filter(|_| instances) {
        if let Some(servers) = servers.get_mut(server.group.as_str()) {
            servers.push(server);
        }
    }
    let shown = page.into_iter().map(|group| show(region, group, &servers[group.name.as_str()]));
    let shown: Vec<Value> = shown.collect();
    Ok(json!({ "AutoScalingGroups": shown, "NextToken": next }))
}

fn known(filter: &Node<'_>) -> Result<(), Refusal> {
    let name = filter.required("Name")?;
    if name.starts_with("tag:") || ["tag-key", "tag-value"].contains(&name) {
        return Ok(());
    }
    let told = format!("Filter type {name} is not correct. Allowed Filter types are: tag-key tag-value tag:<key>");
    Err(Refusal::validation(told))
}

fn matches(group: &ServerGroup, filter: Node<'_>) -> bool {
    let values = filter.texts("Values");
    match filter.text("Name") {
        Some("tag-key") => group.tags.keys().any(|key| values.contains(key)),
        Some("tag-value") => group.tags.values().any(|value| values.contains(value)),
        Some(name) => {
            let key = name.strip_prefix("tag:");
            key.and_then(|key| group.tags.get(key)).is_some_and(|value| values.contains(value))
        }
        None => true,
    }
}

pub fn account_limits(region: &Region, _: &Call<'_>) -> Answer {
    Ok(json!({
        "MaxNumberOfAutoScalingGroups": quotas::of(region, quotas::GROUPS),
        "MaxNumberOfLaunchConfigurations": 200,
        "NumberOfAutoScalingGroups": region.groups.len(),
        "NumberOfLaunchConfigurations": 0,
    }))
}

fn show(region: &Region, group: &ServerGroup, servers: &[&Instance]) -> Value {
    let suspended = group.suspended.iter();
    let suspended = suspended.map(|name| json!({ "ProcessName": name, "SuspensionReason": "User suspended" }));
    let specification = specification(region, &group.launch_template, &group.launch_template_version);
    let mut shown = json!({
        "AutoScalingGroupName": group.name,
        "AutoScalingGroupARN": group.arn,
        "MinSize": group.min,
        "MaxSize": group.max,
        "DesiredCapacity": group.desired,
        "DefaultCooldown": group.cooldown,
        "DefaultInstanceWarmup": group.warmup,
        "AvailabilityZones": [names::zone(region)],
        "LoadBalancerNames": [],
        "TargetGroupARNs": group.target_groups,
        "HealthCheckType": group.health_check_type,
        "HealthCheckGracePeriod": group.health_check_grace.as_secs(),
        "Instances": servers.iter().map(|server| instance(region, group, server)).collect::<Vec<_>>(),
        "CreatedTime": format!("{:.3}", group.created_at),
        "SuspendedProcesses": suspended.collect::<Vec<_>>(),
        "VPCZoneIdentifier": group.subnets,
        "EnabledMetrics": [],
        "Tags": tags::of_group(group),
        "TerminationPolicies": ["Default"],
        "NewInstancesProtectedFromScaleIn": group.new_instances_protected,
        "DeletionProtection": group.deletion_protection,
        "Status": group.delete_at.map(|_| "Delete in progress"),
    });
    if group.mixed_instances {
        shown["MixedInstancesPolicy"] = policy(group, &specification);
    } else {
        shown["LaunchTemplate"] = specification;
    }
    shown
}

fn policy(group: &ServerGroup, specification: &Value) -> Value {
    let kinds: Vec<Option<&String>> =
        if group.instance_types.is_empty() { vec![None] } else { group.instance_types.iter().map(Some).collect() };
    let empty = group.instance_types.is_empty() && group.image_override.is_none();
    let overrides = kinds.into_iter().filter(|_| !empty);
    let overrides = overrides.map(|kind| json!({ "InstanceType": kind, "ImageId": group.image_override }));
    json!({
        "LaunchTemplate": {
            "LaunchTemplateSpecification": specification,
            "Overrides": overrides.collect::<Vec<_>>(),
        },
        "InstancesDistribution": { "OnDemandPercentageAboveBaseCapacity": 100, "SpotAllocationStrategy": "lowest-price" },
    })
}

fn specification(region: &Region, template: &str, version: &str) -> Value {
    let name = region.launch_templates.get(template).map(|template| &template.name);
    json!({ "LaunchTemplateId": template, "LaunchTemplateName": name, "Version": version })
}

fn instance(region: &Region, group: &ServerGroup, server: &Instance) -> Value {
    let lifecycle = match server.lifecycle {
        Lifecycle::Pending => "Pending",
        Lifecycle::InService => "InService",
        Lifecycle::Terminating => "Terminating",
    };
    let template = region.launch_templates.get(&group.launch_template);
    let version = template.and_then(|template| template.number(&server.launch_template_version));
    json!({
        "InstanceId": server.id,
        "InstanceType": group.instance_types.first().map_or("t3.micro", String::as_str),
        "AvailabilityZone": names::zone(region),
        "LifecycleState": lifecycle,
        "HealthStatus": if server.healthy { "Healthy" } else { "Unhealthy" },
        "ImageId": server.image,
        "LaunchTemplate": version.map(|version| specification(region, &group.launch_template, &version.to_string())),
        "ProtectedFromScaleIn": server.protected,
    })
}
