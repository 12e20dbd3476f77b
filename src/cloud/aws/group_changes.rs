//! Changes of server groups: create, pin, release, take out of the slot, delete.

use std::time::Instant;

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
            Some(group) if group.is_of(&self.cloud.installation, self.d.id) => match unlike(&group, green) {
                None => Ok(()),
                Some(what) => Err(fault::rejected(
                    fault.operation,
                    format!("{} exists with our tags, but {what}: it was changed, or made from another plan", green.group),
                )),
            },
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

    /// The image is set on the group itself, so that it cannot drift with the template; without a machine image of its own
    /// the template's version is what names one.
    fn policy(self, image: &Image) -> Servers {
        let spec = &self.d.declaration.server_group;
        let template = |version: u32| {
            LaunchTemplateSpecification::builder()
                .launch_template_id(&spec.launch_template.id)
                .version(version.to_string())
                .build()
        };
        let (version, image) = match image {
            Image::Machine(id) => (spec.launch_template.version, Some(id.as_str())),
            Image::Template(version) => (*version, None),
        };
        let types: Vec<_> = spec.instance_types.iter().map(|kind| Some(kind.as_str())).collect();
        if image.is_none() && types.is_empty() {
            return Servers::Template(template(version));
        }
        let types = if types.is_empty() { vec![None] } else { types };
        let overrides = types.into_iter().map(|kind| {
            LaunchTemplateOverrides::builder()
                .set_instance_type(kind.map(str::to_owned))
                .set_image_id(image.map(str::to_owned))
                .build()
        });
        let template =
            LaunchTemplate::builder().launch_template_specification(template(version)).set_overrides(Some(overrides.collect()));
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
/// differ.
fn unlike(group: &SeenGroup, green: &GreenPlan) -> Option<String> {
    let image = green.image.to_string();
    if group.image.as_deref().is_some_and(|made_from| made_from != image) {
        return Some(format!("it is made from {}, not from {image}", group.image.as_deref().unwrap_or_default()));
    }
    if Attached::to(&green.slot, &group.target_groups) != Attached::Everywhere {
        return Some(format!("it is not in the slot {}", green.slot));
    }
    (group.max < green.size).then(|| format!("it may have {} servers at most, and {} are planned", group.max, green.size))
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
