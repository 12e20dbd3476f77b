//! Making, changing and deleting groups. What follows from it, `life` brings about.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;

use super::{
    super::{Answer, Call, query::Node, refusal::Refusal},
    living, living_mut,
    source::{self, Source},
    tags,
};
use crate::{
    model::{COOLDOWN_DEFAULT, Lifecycle, Region, ServerGroup},
    names, quotas,
};

/// The largest size that may be asked for.
pub const SIZE_MAX: u32 = 10_000;
const GRACE_SECONDS_MAX: u32 = 7_200;
/// Of warm-up and cooldown. AWS publishes no maximum.
const WARMUP_SECONDS_MAX: u32 = 1_000_000;
const NAME_LENGTH_MAX: usize = 255;

pub fn create(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("AutoScalingGroupName")?;
    if name.len() > NAME_LENGTH_MAX || name.contains(':') {
        return Err(Refusal::validation(format!("AutoScalingGroupName '{name}' is not valid")));
    }
    if let Some(held) = region.groups.get(name) {
        let pending = if held.delete_at.is_some() { " and is pending delete" } else { "" };
        let told =
            format!("AutoScalingGroup by this name already exists - A group with the name {name} already exists{pending}");
        return Err(Refusal::new("AlreadyExists", told));
    }
    if region.groups.len() >= quotas::of(region, quotas::GROUPS) {
        return Err(Refusal::new("LimitExceeded", "The maximum number of Auto Scaling groups has been reached"));
    }
    let min = params.whole("MinSize", 0..=SIZE_MAX)?.ok_or_else(|| Refusal::validation("MinSize must be specified"))?;
    let max = params.whole("MaxSize", 0..=SIZE_MAX)?.ok_or_else(|| Refusal::validation("MaxSize must be specified"))?;
    let desired = params.whole("DesiredCapacity", 0..=SIZE_MAX)?.unwrap_or(min);
    bounds(min, max, desired)?;
    let source = source::parse(region, params)?.ok_or_else(|| {
        Refusal::validation(
            "Valid requests must contain either LaunchTemplate, LaunchConfigurationName, InstanceId or \
                             MixedInstancesPolicy parameter.",
        )
    })?;
    let subnets = params.text("VPCZoneIdentifier").unwrap_or_default();
    if subnets.is_empty() && params.texts("AvailabilityZones").is_empty() {
        return Err(Refusal::validation("At least one Availability Zone or VPC Subnet is required."));
    }
    let target_groups = params.texts("TargetGroupARNs");
    exist(region, &target_groups)?;
    let (tags, propagated) = tags::given(params)?;
    let Settings { health_check_type, grace, warmup, cooldown, protection, protect_new } = Settings::parse(params)?;
    let group = ServerGroup {
        name: name.to_owned(),
        arn: names::group(region, name),
        min,
        max,
        desired,
        launch_template: source.template,
        launch_template_version: source.version,
        image_override: source.image_override,
        instance_types: source.instance_types,
        mixed_instances: source.mixed,
        subnets: subnets.to_owned(),
        target_groups,
        health_check_type: health_check_type.unwrap_or("EC2").to_owned(),
        health_check_grace: grace.unwrap_or_default(),
        warmup: warmup.flatten(),
        cooldown: cooldown.unwrap_or(COOLDOWN_DEFAULT),
        deletion_protection: protection.unwrap_or("none").to_owned(),
        new_instances_protected: protect_new.unwrap_or(false),
        suspended: Vec::new(),
        tags,
        propagated,
        policies: BTreeMap::new(),
        scheduled: BTreeMap::new(),
        failures: 0,
        retry_at: None,
        created_at: call.at,
        delete_at: None,
    };
    region.groups.insert(name.to_owned(), group);
    Ok(json!({}))
}

/// Settings that creating and updating share.
struct Settings<'a> {
    health_check_type: Option<&'a str>,
    grace: Option<Duration>,
    /// `Some(None)` takes it away.
    warmup: Option<Option<u32>>,
    cooldown: Option<u32>,
    protection: Option<&'a str>,
    protect_new: Option<bool>,
}

impl<'a> Settings<'a> {
    fn parse(params: Node<'a>) -> Result<Self, Refusal> {
        let one_of = |key: &str, known: &[&str]| match params.text(key) {
            Some(value) if !known.contains(&value) => {
                Err(Refusal::validation(format!("Value '{value}' at '{key}' must be one of {known:?}")))
            }
            value => Ok(value),
        };
        let grace = params.whole("HealthCheckGracePeriod", 0..=GRACE_SECONDS_MAX)?;
        let warmup = match params.text("DefaultInstanceWarmup") {
            Some("-1") => Some(None),
            _ => params.whole("DefaultInstanceWarmup", 0..=WARMUP_SECONDS_MAX)?.map(Some),
        };
        Ok(Self {
            health_check_type: one_of("HealthCheckType", &["EC2", "ELB"])?,
            grace: grace.map(|seconds| Duration::from_secs(seconds.into())),
            warmup,
            cooldown: params.whole("DefaultCooldown", 0..=WARMUP_SECONDS_MAX)?,
            protection: one_of("DeletionProtection", &["none", "prevent-force-deletion", "prevent-all-deletion"])?,
            protect_new: params.flag("NewInstancesProtectedFromScaleIn")?,
        })
    }
}

/// # Errors
/// `ValidationError` when the sizes contradict each other.
pub fn bounds(min: u32, max: u32, desired: u32) -> Result<(), Refusal> {
    if min > max {
        return Err(Refusal::validation(format!("Max bound, {max}, must be greater than or equal to min bound, {min}")));
    }
    if !(min..=max).contains(&desired) {
        let told = format!("Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}");
        return Err(Refusal::validation(told));
    }
    Ok(())
}

/// # Errors
/// `ValidationError` when a target group does not exist.
pub fn exist(region: &Region, target_groups: &[String]) -> Result<(), Refusal> {
    if target_groups.iter().all(|arn| region.target_groups.contains_key(arn)) {
        return Ok(());
    }
    Err(Refusal::validation("Provided Target Groups may not be valid. Please ensure they exist and try again."))
}

/// A bound that the present size violates moves the size, unless the call names one.
pub fn update(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("AutoScalingGroupName")?;
    let group = living(region, name)?;
    let min = params.whole("MinSize", 0..=SIZE_MAX)?.unwrap_or(group.min);
    let max = params.whole("MaxSize", 0..=SIZE_MAX)?.unwrap_or(group.max);
    let desired = params.whole("DesiredCapacity", 0..=SIZE_MAX)?;
    let desired = desired.unwrap_or_else(|| group.desired.max(min).min(max));
    bounds(min, max, desired)?;
    let source = source::parse(region, params)?;
    let Settings { health_check_type, grace, warmup, cooldown, protection, protect_new } = Settings::parse(params)?;
    let group = living_mut(region, name)?;
    (group.min, group.max, group.desired) = (min, max, desired);
    if let Some(Source { template, version, image_override, instance_types, mixed }) = source {
        group.launch_template = template;
        group.launch_template_version = version;
        group.image_override = image_override;
        group.instance_types = instance_types;
        group.mixed_instances = mixed;
        (group.failures, group.retry_at) = (0, None);
    }
    if let Some(kind) = health_check_type {
        group.health_check_type = kind.to_owned();
    }
    if let Some(kind) = protection {
        group.deletion_protection = kind.to_owned();
    }
    if let Some(subnets) = params.text("VPCZoneIdentifier") {
        group.subnets = subnets.to_owned();
    }
    group.health_check_grace = grace.unwrap_or(group.health_check_grace);
    group.warmup = warmup.unwrap_or(group.warmup);
    group.cooldown = cooldown.unwrap_or(group.cooldown);
    group.new_instances_protected = protect_new.unwrap_or(group.new_instances_protected);
    Ok(json!({}))
}

pub fn set_desired(region: &mut Region, call: &Call<'_>) -> Answer {
    let group = living_mut(region, call.params.required("AutoScalingGroupName")?)?;
    let desired = call.params.whole("DesiredCapacity", 0..=SIZE_MAX)?;
    let desired = desired.ok_or_else(|| Refusal::validation("DesiredCapacity must be specified"))?;
    let out_of = |side: &str, word: &str, bound: u32| {
        let told = format!("New SetDesiredCapacity value {desired} is {side} {word} value {bound} for the AutoScalingGroup.");
        Err(Refusal::validation(told))
    };
    if desired < group.min {
        return out_of("below", "min", group.min);
    }
    if desired > group.max {
        return out_of("above", "max", group.max);
    }
    group.desired = desired;
    Ok(json!({}))
}

/// Accepted at once; the name stays taken until the last instance is gone.
///
/// Which code a protected group is refused with is not verified.
pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let name = params.required("AutoScalingGroupName")?;
    let force = params.flag("ForceDelete")? == Some(true);
    let group = region.groups.get(name).ok_or_else(|| Refusal::group_not_found(name))?;
    let refused = match group.deletion_protection.as_str() {
        "prevent-all-deletion" => true,
        "prevent-force-deletion" => force,
        _ => false,
    };
    if refused {
        let told = format!("AutoScalingGroup {name} has deletion protection '{}'", group.deletion_protection);
        return Err(Refusal::validation(told));
    }
    let states: BTreeSet<bool> = region
        .instances
        .values()
        .filter(|server| server.group == name)
        .map(|server| server.lifecycle == Lifecycle::InService)
        .collect();
    if !force && states.contains(&false) {
        let told = "You cannot delete an AutoScalingGroup while there are scaling activities in progress for that group.";
        return Err(Refusal::new("ScalingActivityInProgress", told));
    }
    if !force && (states.contains(&true) || group.desired > 0) {
        let told = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s) \
                    still in the group.";
        return Err(Refusal::new("ResourceInUse", told));
    }
    if let Some(group) = region.groups.get_mut(name)
        && group.delete_at.is_none()
    {
        group.delete_at = Some(call.now + call.delete_lag);
        (group.min, group.max, group.desired) = (0, 0, 0);
    }
    Ok(json!({}))
}
