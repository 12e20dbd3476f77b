//! Changes of server groups: create, pin, release, take out of the slot, delete.

use std::{collections::BTreeSet, time::Instant};

use aws_sdk_autoscaling::types::{
    DeletionProtection, LaunchTemplate, LaunchTemplateOverrides, LaunchTemplateSpecification, MixedInstancesPolicy,
};

use super::{
    AwsCloud,
    client::Clients,
    fault,
    groups::{self, SeenGroup},
    names,
    operation::Operation,
};
use crate::{
    domain::{
        declaration::ServerGroupSpec,
        deployment::Deployment,
        ids::{GroupName, Image, SlotRef, TargetGroupRef},
        observation::Attached,
        plan::{BluePlan, GreenPlan},
    },
    engine::ports::{Fault, FaultKind},
};

/// What every change needs.
#[derive(Clone, Copy)]
pub(super) struct GroupChanges<'a> {
    pub(super) cloud: &'a AwsCloud,
    pub(super) clients: &'a Clients,
    pub(super) d: &'a Deployment,
    pub(super) deadline: Instant,
}

impl<'a> GroupChanges<'a> {
    /// Creates green. A name that is taken is success only if our tags say that it was this deployment that took it.
    pub(super) async fn create(self, green: &GreenPlan) -> Result<(), Fault> {
        const OPERATION: Operation = Operation::CreateAutoScalingGroup;
        let spec = &self.d.declaration.server_group;
        let size = signed(green.size);
        let grace = i32::try_from(spec.health_check_grace.as_secs()).unwrap_or(i32::MAX);
        let warmup = Some(spec.instance_warmup).filter(|warmup| !warmup.is_zero());
        let warmup = warmup.map(|warmup| i32::try_from(warmup.as_secs()).unwrap_or(i32::MAX));
        let call = |fence| {
            let call = self.clients.autoscaling.create_auto_scaling_group().auto_scaling_group_name(green.group.as_str());
            let call = call.min_size(size).desired_capacity(size).max_size(signed(spec.max.max(green.size)));
            let call =
                call.set_target_group_arns(Some(arns(green.slot.target_groups()))).vpc_zone_identifier(spec.subnets.join(","));
            // AWS's default grace is none, which loops launch and terminate.
            let call = call.health_check_type("ELB").health_check_grace_period(grace).set_default_instance_warmup(warmup);
            let call = call.set_tags(Some(names::group_tags(&self.cloud.installation, self.d)));
            let call = match self.policy(&green.image) {
                Servers::Override(policy) => call.mixed_instances_policy(policy),
                Servers::Template(template) => call.launch_template(template),
            };
            call.customize().interceptor(fence).send()
        };
        match self.clients.change(OPERATION, self.deadline, call).await {
            Err(fault) if fault.code.as_deref() == Some("AlreadyExists") => self.adopt(green, fault).await,
            answer => answer.map(|_| ()),
        }
    }

    async fn adopt(self, green: &GreenPlan, fault: Fault) -> Result<(), Fault> {
        let look = groups::named(self.clients, &[&green.group], self.deadline).await;
        match look.ok().and_then(|groups| groups.into_iter().next()) {
            Some(group) if group.is_of(&self.cloud.installation, self.d.id) => {
                match unlike(&group, &self.d.declaration.server_group, green) {
                    None => Ok(()),
                    Some(what) => Err(fault::rejected(
                        fault.operation,
                        format!("{} exists with our tags, but {what}: it was changed, or made from another plan", green.group),
                    )),
                }
            }
            Some(_) => Err(fault::rejected(
                fault.operation,
                format!("a server group named {} exists and is not this deployment's", green.group),
            )),
            // The name is taken and nobody shows: a stale look, or one still being deleted.
            None => Err(Fault { kind: FaultKind::Transient, ..fault }),
        }
    }

    /// Blue shrinks by itself while its traffic leaves, so its minimum is held at its size; and AWS is told to refuse its
    /// deletion, whoever asks.
    pub(super) async fn pin(self, blue: &BluePlan) -> Result<(), Fault> {
        let protection = (!blue.protected).then_some(DeletionProtection::PreventAllDeletion);
        self.update(&blue.group, Some(blue.size), protection).await
    }

    pub(super) async fn unpin(self, blue: &BluePlan) -> Result<(), Fault> {
        let protection = (!blue.protected).then_some(DeletionProtection::None);
        self.update(&blue.group, Some(blue.min), protection).await
    }

    /// AWS raises a group's size to a new minimum above it; a size of its own would undo what a scaling policy has added.
    pub(super) async fn grow(self, green: &GreenPlan, size: u32) -> Result<(), Fault> {
        self.update(&green.group, Some(size), None).await
    }

    pub(super) async fn release(self, green: &GreenPlan) -> Result<(), Fault> {
        self.update(&green.group, Some(self.d.declaration.server_group.min), None).await
    }

    pub(super) async fn detach(self, group: &GroupName, slot: &SlotRef) -> Result<(), Fault> {
        self.bare().detach(group, slot.target_groups()).await
    }

    pub(super) async fn delete(self, group: &GroupName) -> Result<(), Fault> {
        self.bare().delete(group).await
    }

    async fn update(self, group: &GroupName, min: Option<u32>, protection: Option<DeletionProtection>) -> Result<(), Fault> {
        self.bare().update(group, min, protection).await
    }

    fn bare(self) -> BareChanges<'a> {
        BareChanges { clients: self.clients, deadline: self.deadline }
    }

    /// The image is set on the group itself, so that it cannot drift with the template.
    fn policy(self, image: &Image) -> Servers {
        let spec = &self.d.declaration.server_group;
        let template = LaunchTemplateSpecification::builder()
            .launch_template_id(&spec.launch_template.id)
            .version(template_version(spec, image).to_string())
            .build();
        let image = match image {
            Image::Machine(id) => Some(id.as_str()),
            Image::Template(_) => None,
        };
        let types: Vec<_> = spec.instance_types.iter().map(|kind| Some(kind.as_str())).collect();
        if image.is_none() && types.is_empty() {
            return Servers::Template(template);
        }
        let types = if types.is_empty() { vec![None] } else { types };
        let overrides = types.into_iter().map(|kind| {
            LaunchTemplateOverrides::builder()
                .set_instance_type(kind.map(str::to_owned))
                .set_image_id(image.map(str::to_owned))
                .build()
        });
        let template =
            LaunchTemplate::builder().launch_template_specification(template).set_overrides(Some(overrides.collect()));
        Servers::Override(MixedInstancesPolicy::builder().launch_template(template.build()).build())
    }
}

/// Changes that need no deployment to be told what they are about.
#[derive(Clone, Copy)]
pub(super) struct BareChanges<'a> {
    pub(super) clients: &'a Clients,
    pub(super) deadline: Instant,
}

impl BareChanges<'_> {
    /// From all target groups at once; AWS refuses that as a whole when the group has left one of them already, and then it is
    /// taken out of each by itself.
    pub(super) async fn detach(self, group: &GroupName, from: &[TargetGroupRef]) -> Result<(), Fault> {
        if self.detach_from(group, from).await? == Detached::Now || from.len() == 1 {
            return Ok(());
        }
        for target_group in from {
            self.detach_from(group, std::slice::from_ref(target_group)).await?;
        }
        Ok(())
    }

    async fn detach_from(self, group: &GroupName, target_groups: &[TargetGroupRef]) -> Result<Detached, Fault> {
        let call = |fence| {
            let call = self.clients.autoscaling.detach_load_balancer_target_groups();
            let call = call.auto_scaling_group_name(group.as_str()).set_target_group_arns(Some(arns(target_groups)));
            call.customize().interceptor(fence).send()
        };
        match self.clients.change(Operation::DetachLoadBalancerTargetGroups, self.deadline, call).await {
            // Out already, which is all that was wanted: an answer was lost, or the look that asked for it was stale.
            Err(fault) if fault.message.contains("not part of the group") => Ok(Detached::Before),
            answer => answer.map(|_| Detached::Now),
        }
    }

    /// Protection first, then the group with its servers; one that is gone, or on its way out, is success.
    pub(super) async fn delete(self, group: &GroupName) -> Result<(), Fault> {
        let gone_is_success = |answer: Result<(), Fault>| match answer {
            Err(fault) if fault.kind == FaultKind::Missing || fault.message.contains("pending delete") => Ok(()),
            answer => answer,
        };
        gone_is_success(self.update(group, None, Some(DeletionProtection::None)).await)?;
        let call = |fence| {
            let call = self.clients.autoscaling.delete_auto_scaling_group().auto_scaling_group_name(group.as_str());
            call.force_delete(true).customize().interceptor(fence).send()
        };
        gone_is_success(self.clients.change(Operation::DeleteAutoScalingGroup, self.deadline, call).await.map(|_| ()))
    }

    async fn update(self, group: &GroupName, min: Option<u32>, protection: Option<DeletionProtection>) -> Result<(), Fault> {
        let call = |fence| {
            let call = self.clients.autoscaling.update_auto_scaling_group().auto_scaling_group_name(group.as_str());
            let call = call.set_min_size(min.map(signed)).set_deletion_protection(protection);
            call.customize().interceptor(fence).send()
        };
        self.clients.change(Operation::UpdateAutoScalingGroup, self.deadline, call).await.map(|_| ())
    }
}

/// What of a group is not as the plan has it. Its size may have grown since; what it is made of, and where it serves, may not
/// differ. What AWS does not tell of it was not made by us: we pin everything by name and number.
fn unlike(group: &SeenGroup, spec: &ServerGroupSpec, green: &GreenPlan) -> Option<String> {
    let image = green.image.to_string();
    if group.image.as_ref() != Some(&image) {
        return Some(format!("it is made from {}, not from {image}", told(group.image.as_ref())));
    }
    let (template, version) = (&spec.launch_template.id, template_version(spec, &green.image));
    if group.template.as_ref() != Some(template) {
        return Some(format!("its launch template is {}, not {template}", told(group.template.as_ref())));
    }
    if group.version != Some(version) {
        return Some(format!("its launch template's version is {}, not {version}", told(group.version)));
    }
    let differ = |a: &[String], b: &[String]| a.iter().collect::<BTreeSet<_>>() != b.iter().collect();
    if differ(&group.instance_types, &spec.instance_types) {
        return Some(format!("its instance types are {:?}, not {:?}", group.instance_types, spec.instance_types));
    }
    if differ(&group.subnets, &spec.subnets) {
        return Some(format!("its subnets are {:?}, not {:?}", group.subnets, spec.subnets));
    }
    if Attached::to(&green.slot, &group.target_groups) != Attached::Everywhere {
        return Some(format!("it is not in the slot {}", green.slot));
    }
    (group.max < green.size).then(|| format!("it may have {} servers at most, and {} are planned", group.max, green.size))
}

fn told(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "nothing that AWS tells".to_owned(), |value| value.to_string())
}

/// Without a machine image of its own the template's version is what names one.
fn template_version(spec: &ServerGroupSpec, image: &Image) -> u32 {
    match image {
        Image::Machine(_) => spec.launch_template.version,
        Image::Template(version) => *version,
    }
}

/// When a group left its target groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detached {
    Now,
    /// One of them, at least.
    Before,
}

fn arns(target_groups: &[TargetGroupRef]) -> Vec<String> {
    target_groups.iter().map(ToString::to_string).collect()
}

/// What servers are made from, as AWS takes it.
enum Servers {
    Template(LaunchTemplateSpecification),
    Override(MixedInstancesPolicy),
}

fn signed(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{phase::Phase, sample};

    /// What the plan has, and a group that was made by it.
    fn made() -> (ServerGroupSpec, GreenPlan, SeenGroup) {
        let d = sample::deployment(1, Phase::Provisioning);
        let (mut spec, mut green) = (d.declaration.server_group.clone(), d.plan.unwrap().green);
        green.image = Image::Machine("ami-0bb2".to_owned());
        spec.subnets = vec!["subnet-1".to_owned(), "subnet-2".to_owned()];
        spec.instance_types = vec!["t3.micro".to_owned(), "t3.small".to_owned()];
        let group = SeenGroup {
            name: green.group.clone(),
            desired: green.size,
            min: green.size,
            max: green.size,
            instances: BTreeMap::new(),
            target_groups: green.slot.target_groups().to_vec(),
            protected: false,
            deleting: false,
            mark: None,
            launches: crate::domain::observation::Launches::Same,
            image: Some(green.image.to_string()),
            template: Some(spec.launch_template.id.clone()),
            version: Some(spec.launch_template.version),
            instance_types: spec.instance_types.clone(),
            subnets: spec.subnets.clone(),
            unscheduled: false,
        };
        (spec, green, group)
    }

    fn told_of(change: impl Fn(&mut SeenGroup)) -> Option<String> {
        let (spec, green, mut group) = made();
        change(&mut group);
        unlike(&group, &spec, &green)
    }

    #[test]
    fn a_group_as_planned_is_adopted_though_it_has_grown_or_is_told_in_another_order() {
        assert_eq!(told_of(|_| {}), None);
        assert_eq!(told_of(|group| (group.min, group.desired, group.max) = (1, 9, 9)), None);
        let turned = |group: &mut SeenGroup| {
            group.subnets.reverse();
            group.instance_types.reverse();
        };
        assert_eq!(told_of(turned), None);
    }

    #[test]
    fn a_group_that_differs_in_anything_is_not_adopted() {
        let differs = |words: &str, change: &dyn Fn(&mut SeenGroup)| {
            let told = told_of(change).unwrap_or_else(|| panic!("adopted, and it should say: {words}"));
            assert!(told.contains(words), "{told}");
        };
        differs("made from ami-other", &|group| group.image = Some("ami-other".to_owned()));
        differs("made from lt:7", &|group| group.image = Some("lt:7".to_owned()));
        differs("made from nothing that AWS tells", &|group| group.image = None);
        differs("launch template is lt-other", &|group| group.template = Some("lt-other".to_owned()));
        differs("launch template is nothing", &|group| group.template = None);
        differs("version is 99", &|group| group.version = Some(99));
        differs("version is nothing", &|group| group.version = None);
        differs("instance types", &|group| drop(group.instance_types.pop()));
        differs("instance types", &|group| group.instance_types.clear());
        differs("instance types", &|group| group.instance_types.push("m7i.large".to_owned()));
        differs("subnets", &|group| drop(group.subnets.pop()));
        differs("subnets", &|group| group.subnets.push("subnet-3".to_owned()));
        differs("not in the slot", &|group| group.target_groups.clear());
        differs("not in the slot", &|group| group.target_groups = vec![TargetGroupRef::new("another")]);
        differs("servers at most", &|group| group.max -= 1);
    }

    #[test]
    fn a_group_of_a_template_version_is_adopted_by_that_version() {
        let (mut spec, mut green, mut group) = made();
        green.image = Image::Template(5);
        spec.instance_types.clear();
        group.instance_types.clear();
        (group.image, group.version) = (Some("lt:5".to_owned()), Some(5));
        assert_eq!(unlike(&group, &spec, &green), None);
        group.version = Some(spec.launch_template.version);
        group.image = group.version.map(|version| format!("lt:{version}"));
        assert!(unlike(&group, &spec, &green).is_some_and(|told| told.contains("not from lt:5")));
    }
}
