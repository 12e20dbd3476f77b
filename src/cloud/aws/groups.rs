//! Looks at server groups: Auto Scaling groups, what is in their slots, and launches that failed.

use std::{collections::BTreeMap, time::Instant};

use aws_sdk_autoscaling::types::{
    AutoScalingGroup, DeletionProtection, LaunchTemplateOverrides, LaunchTemplateSpecification, LifecycleState,
    ScalingActivityStatusCode,
};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use futures::future::join_all;

use super::{client::Clients, fault, names::Mark, operation::Operation};
use crate::{
    domain::{
        ids::{GroupName, SlotRef, TargetGroupRef},
        observation::{LaunchFailure, Launches, Servers},
    },
    engine::ports::{Fault, FaultKind},
};

/// Activities read for launch failures: the newest page is enough, a failing group fails again and again.
const ACTIVITIES_MAX: i32 = 20;

/// Groups named in one call (AWS's limit; without saying so it is 50).
pub(super) const NAMES_MAX: usize = 100;

/// A group as seen.
#[derive(Debug, Clone)]
pub(super) struct SeenGroup {
    pub(super) name: GroupName,
    pub(super) desired: u32,
    pub(super) min: u32,
    pub(super) max: u32,
    /// By id.
    pub(super) instances: BTreeMap<String, Instance>,
    /// The target groups that it is attached to.
    pub(super) target_groups: Vec<TargetGroupRef>,
    pub(super) protected: bool,
    pub(super) deleting: bool,
    pub(super) mark: Option<Mark>,
    /// `ami-…` or `lt:N`, where it can be told.
    pub(super) image: Option<String>,
    pub(super) launches: Launches,
    /// Its launch template's id.
    pub(super) template: Option<String>,
    /// The version of its launch template, where it is pinned to one.
    pub(super) version: Option<u32>,
    /// That it is told to use; empty: the template's.
    pub(super) instance_types: Vec<String>,
    pub(super) subnets: Vec<String>,
    /// Somebody has told AWS to carry out no scheduled action.
    pub(super) unscheduled: bool,
}

/// One instance, by its group's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance {
    in_service: bool,
    /// What the group's health checks say: with those of type `ELB` the load balancer's verdict, some time later.
    healthy: bool,
}

impl SeenGroup {
    pub(super) fn read(group: &AutoScalingGroup) -> Option<Self> {
        let count = |n: Option<i32>| u32::try_from(n?).ok();
        let tags = group.tags().iter().filter_map(|tag| Some((tag.key()?, tag.value()?)));
        let instances = group.instances().iter().filter_map(|instance| {
            let in_service = instance.lifecycle_state() == Some(&LifecycleState::InService);
            let healthy = instance.health_status() == Some("Healthy");
            Some((instance.instance_id()?.to_owned(), Instance { in_service, healthy }))
        });
        Some(Self {
            name: GroupName::new(group.auto_scaling_group_name()?),
            desired: count(group.desired_capacity())?,
            min: count(group.min_size())?,
            max: count(group.max_size())?,
            instances: instances.collect(),
            target_groups: target_groups(group),
            protected: group.deletion_protection().is_some_and(|level| level != &DeletionProtection::None),
            deleting: group.status().is_some(),
            mark: Mark::read(tags),
            image: image(group),
            launches: launches(group),
            template: specification(group).and_then(|of| of.launch_template_id()).map(str::to_owned),
            version: version(group),
            instance_types: overrides(group).iter().filter_map(|with| with.instance_type()).map(str::to_owned).collect(),
            unscheduled: group.suspended_processes().iter().any(|process| process.process_name() == Some("ScheduledActions")),
            subnets: group.vpc_zone_identifier().unwrap_or_default().split(',').map(|id| id.trim().to_owned()).collect(),
        })
    }

    /// Servers with the slot's word on their health; without it, their group's own.
    pub(super) fn servers(&self, targets: Option<&Targets>) -> Servers {
        let in_service = || self.instances.iter().filter(|(_, instance)| instance.in_service);
        let healthy =
            |(id, instance): &(&String, &Instance)| targets.map_or(instance.healthy, |targets| targets.is_healthy(id));
        Servers {
            desired: self.desired,
            in_service: saturated(in_service().count()),
            healthy: saturated(in_service().filter(healthy).count()),
        }
    }

    pub(super) fn is_of(&self, installation: &str, deployment: crate::domain::ids::DeploymentId) -> bool {
        self.mark.as_ref().is_some_and(|mark| mark.installation == installation && mark.deployment == Some(deployment))
    }
}

/// Target groups come by two names: `AttachTrafficSources`, which Terraform may use, is the younger one.
fn target_groups(group: &AutoScalingGroup) -> Vec<TargetGroupRef> {
    let younger = group.traffic_sources().iter().filter(|source| source.r#type() == Some("elbv2"));
    let arns = group.target_group_arns().iter().map(String::as_str).chain(younger.filter_map(|source| source.identifier()));
    let mut target_groups: Vec<_> = arns.map(TargetGroupRef::new).collect();
    target_groups.sort();
    target_groups.dedup();
    target_groups
}

fn specification(group: &AutoScalingGroup) -> Option<&LaunchTemplateSpecification> {
    let template = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    template.and_then(|template| template.launch_template_specification()).or(group.launch_template())
}

fn overrides(group: &AutoScalingGroup) -> &[LaunchTemplateOverrides] {
    let template = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
    template.map_or(&[], |template| template.overrides())
}

fn version(group: &AutoScalingGroup) -> Option<u32> {
    specification(group)?.version()?.parse().ok()
}

/// What a group's servers are made from: the override where there is one, else the version of its launch template.
fn image(group: &AutoScalingGroup) -> Option<String> {
    match overrides(group).iter().find_map(|with| with.image_id()) {
        Some(image) => Some(image.to_owned()),
        None => version(group).map(|version| format!("lt:{version}")),
    }
}

/// An image in every override holds, and so does a version by its number. A launch configuration never changes, nor does the
/// template that a group was made from when no name says otherwise: AWS takes the default version of the day.
fn launches(group: &AutoScalingGroup) -> Launches {
    let overrides = overrides(group);
    if !overrides.is_empty() && overrides.iter().all(|choice| choice.image_id().is_some()) {
        return Launches::Same;
    }
    let version = |of: &LaunchTemplateSpecification| of.version().unwrap_or("$Default").to_owned();
    let mut versions = specification(group)
        .into_iter()
        .chain(overrides.iter().filter_map(|choice| choice.launch_template_specification()))
        .map(version);
    match (versions.find(|version| version.parse::<u32>().is_err()), specification(group)) {
        (Some(name), _) => Launches::Whatever(name),
        (None, Some(_)) => Launches::Same,
        (None, None) if group.launch_configuration_name().is_some() => Launches::Same,
        (None, None) => Launches::Untold,
    }
}

/// Those of the named groups that are there, at most [`NAMES_MAX`], in one call.
pub(super) async fn named(clients: &Clients, names: &[&GroupName], deadline: Instant) -> Result<Vec<SeenGroup>, Fault> {
    const OPERATION: Operation = Operation::DescribeAutoScalingGroups;
    if names.is_empty() {
        // Without names AWS would answer with every group of the account.
        return Ok(Vec::new());
    }
    let names = names.iter().map(|name| name.as_str().to_owned()).collect();
    let call = clients
        .autoscaling
        .describe_auto_scaling_groups()
        .max_records(i32::try_from(NAMES_MAX).unwrap_or(i32::MAX))
        .set_auto_scaling_group_names(Some(names));
    let answer = clients.look(OPERATION, deadline, call.send()).await?;
    let read = |group| SeenGroup::read(group).ok_or_else(|| fault::incomplete(OPERATION, "a group's name or size"));
    answer.auto_scaling_groups().iter().map(read).collect()
}

/// What is registered in a target group, or in all of a slot's: each target's health by its id.
#[derive(Debug, Clone, Default)]
pub(super) struct Targets(BTreeMap<String, TargetState>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetState {
    Healthy,
    /// On its way out: it gets no new requests.
    Draining,
    Other,
}

impl Targets {
    /// What is registered in any of several target groups; healthy where it is so in all of them.
    pub(super) fn in_all(target_groups: &[Self]) -> Self {
        let ids = target_groups.iter().flat_map(|targets| targets.0.keys());
        let merged = |id: &String| {
            let states: Vec<_> = target_groups.iter().filter_map(|targets| targets.0.get(id)).collect();
            let all = |wanted| states.iter().all(|state| **state == wanted);
            match states.len() {
                there if there == target_groups.len() && all(TargetState::Healthy) => TargetState::Healthy,
                _ if all(TargetState::Draining) => TargetState::Draining,
                _ => TargetState::Other,
            }
        };
        Self(ids.map(|id| (id.clone(), merged(id))).collect())
    }

    pub(super) fn count(&self) -> u32 {
        saturated(self.0.len())
    }

    /// Those that are `group`'s servers, draining ones included.
    pub(super) fn of(&self, group: &SeenGroup) -> u32 {
        saturated(self.0.keys().filter(|id| group.instances.contains_key(*id)).count())
    }

    fn is_healthy(&self, instance: &str) -> bool {
        self.0.get(instance) == Some(&TargetState::Healthy)
    }

    /// Targets that are none of `group`'s. Those that drain do not count: they get nothing new, and a group's own servers
    /// leave its list of instances before they are gone from here.
    pub(super) fn strangers(&self, group: Option<&SeenGroup>) -> u32 {
        let own = |id: &str| group.is_some_and(|group| group.instances.contains_key(id));
        saturated(self.0.iter().filter(|(id, state)| **state != TargetState::Draining && !own(id)).count())
    }
}

/// Looks at a slot's targets, in all its target groups.
pub(super) async fn targets(clients: &Clients, slot: &SlotRef, deadline: Instant) -> Result<Targets, Fault> {
    let looks = slot.target_groups().iter().map(|target_group| targets_in(clients, target_group, deadline));
    let seen: Result<Vec<_>, _> = join_all(looks).await.into_iter().collect();
    Ok(Targets::in_all(&seen?))
}

/// Looks at one target group's targets.
pub(super) async fn targets_in(clients: &Clients, target_group: &TargetGroupRef, deadline: Instant) -> Result<Targets, Fault> {
    const OPERATION: Operation = Operation::DescribeTargetHealth;
    let call = clients.elb.describe_target_health().target_group_arn(target_group.as_str());
    let answer = clients.look(OPERATION, deadline, call.send()).await?;
    let mut targets = BTreeMap::new();
    for described in answer.target_health_descriptions() {
        let id = described.target().and_then(|target| target.id());
        let id = id.ok_or_else(|| fault::incomplete(OPERATION, "a target's id"))?;
        let state = match described.target_health().and_then(|health| health.state()) {
            Some(TargetHealthStateEnum::Healthy) => TargetState::Healthy,
            Some(TargetHealthStateEnum::Draining | TargetHealthStateEnum::UnhealthyDraining) => TargetState::Draining,
            _ => TargetState::Other,
        };
        // Registered on two ports: as healthy as its best one.
        let entry = targets.entry(id.to_owned()).or_insert(state);
        if state == TargetState::Healthy {
            *entry = state;
        }
    }
    Ok(Targets(targets))
}

/// Launches of a group that failed, newest first.
pub(super) async fn launch_failures(
    clients: &Clients,
    group: &GroupName,
    deadline: Instant,
) -> Result<Vec<LaunchFailure>, Fault> {
    let call =
        clients.autoscaling.describe_scaling_activities().auto_scaling_group_name(group.as_str()).max_records(ACTIVITIES_MAX);
    let answer = match clients.look(Operation::DescribeScalingActivities, deadline, call.send()).await {
        Err(Fault { kind: FaultKind::Missing, .. }) => return Ok(Vec::new()),
        answer => answer?,
    };
    let failed = answer.activities().iter().filter(|activity| {
        activity.status_code() == Some(&ScalingActivityStatusCode::Failed)
            && activity.description().is_none_or(|text| text.starts_with("Launching"))
    });
    Ok(failed
        .map(|activity| {
            let message = activity.status_message().unwrap_or("a launch failed; AWS gave no reason").to_owned();
            LaunchFailure { hopeless: is_hopeless(&message), message }
        })
        .collect())
}

/// Whether a launch that failed so will fail again: a wrong image, template or right does not heal; a lack of capacity, and a
/// quota, may.
fn is_hopeless(message: &str) -> bool {
    const HOPELESS: [&str; 9] = [
        "does not exist",
        "invalid ami",
        "invalidami",
        "not authorized",
        "unauthorizedoperation",
        "invalid launch template",
        "invalidlaunchtemplate",
        "invalidparameter",
        "invalid iam instance profile",
    ];
    let message = message.to_lowercase();
    HOPELESS.iter().any(|pattern| message.contains(pattern))
}

fn saturated(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_without_capacity_may_heal_and_one_without_an_image_will_not() {
        for hopeless in [
            "The image id '[ami-0bb2]' does not exist. Launching EC2 instance failed.",
            "Invalid AMI ID. Launching EC2 instance failed.",
            "InvalidAMIID.NotFound",
            "You are not authorized to use launch template: lt-0a1b. Launching EC2 instance failed.",
            "InvalidParameterValue: the key pair …",
        ] {
            assert!(is_hopeless(hopeless), "{hopeless}");
        }
        for may_heal in [
            "We currently do not have sufficient t3.micro capacity in the Availability Zone you requested (eu-west-1a).",
            "You have requested more instances (9) than your current instance limit of 8 allows.",
            "InsufficientInstanceCapacity",
        ] {
            assert!(!is_hopeless(may_heal), "{may_heal}");
        }
    }

    #[test]
    fn a_server_is_healthy_when_every_target_group_of_its_slot_says_so() {
        use TargetState::{Draining, Healthy, Other};
        let of =
            |targets: &[(&str, TargetState)]| Targets(targets.iter().map(|(id, state)| ((*id).to_owned(), *state)).collect());
        let public =
            of(&[("both", Healthy), ("half", Healthy), ("sick", Healthy), ("leaving", Draining), ("turning", Draining)]);
        let internal = of(&[("both", Healthy), ("sick", Other), ("turning", Other)]);
        let all = Targets::in_all(&[public.clone(), internal]);
        let healthy: Vec<_> = all.0.keys().filter(|id| all.is_healthy(id)).collect();
        assert_eq!(healthy, ["both"]);
        assert_eq!((all.count(), all.strangers(None)), (5, 4), "only what drains wherever it is leaves nobody");
        assert_eq!(Targets::in_all(std::slice::from_ref(&public)).0, public.0, "a slot of one is as it is");
    }

    #[test]
    fn a_version_by_name_is_whatever_that_stands_for_by_then_unless_the_image_is_given() {
        let specification = |version: Option<&str>| {
            let of = LaunchTemplateSpecification::builder().launch_template_id("lt-1").set_version(version.map(str::to_owned));
            of.build()
        };
        let plain = |version| AutoScalingGroup::builder().launch_template(specification(version)).build();
        let mixed = |version, overrides: Vec<LaunchTemplateOverrides>| {
            let template =
                aws_sdk_autoscaling::types::LaunchTemplate::builder().launch_template_specification(specification(version));
            let template = template.set_overrides(Some(overrides)).build();
            let policy = aws_sdk_autoscaling::types::MixedInstancesPolicy::builder().launch_template(template).build();
            AutoScalingGroup::builder().mixed_instances_policy(policy).build()
        };
        let with_image = || LaunchTemplateOverrides::builder().image_id("ami-0aa1").build();
        let with_type = || LaunchTemplateOverrides::builder().instance_type("t3.micro").build();
        let whatever = |name: &str| Launches::Whatever(name.to_owned());
        assert_eq!(launches(&plain(Some("7"))), Launches::Same);
        assert_eq!(launches(&plain(Some("$Latest"))), whatever("$Latest"));
        assert_eq!(launches(&plain(None)), whatever("$Default"), "what AWS takes where none is named");
        assert_eq!(launches(&mixed(Some("$Latest"), vec![with_image()])), Launches::Same);
        assert_eq!(launches(&mixed(Some("$Latest"), vec![with_image(), with_type()])), whatever("$Latest"));
        assert_eq!(launches(&mixed(Some("3"), vec![with_type()])), Launches::Same);
        let other = LaunchTemplateOverrides::builder().launch_template_specification(specification(Some("$Latest"))).build();
        assert_eq!(launches(&mixed(Some("3"), vec![other])), whatever("$Latest"));
        assert_eq!(launches(&AutoScalingGroup::builder().launch_configuration_name("old").build()), Launches::Same);
        assert_eq!(launches(&AutoScalingGroup::builder().build()), Launches::Untold);
    }

    #[test]
    fn what_drains_is_no_stranger() {
        let targets = Targets(
            [("i-1", TargetState::Healthy), ("i-2", TargetState::Draining), ("i-3", TargetState::Other)]
                .map(|(id, state)| (id.to_owned(), state))
                .into(),
        );
        assert_eq!((targets.count(), targets.strangers(None)), (3, 2));
    }
}
