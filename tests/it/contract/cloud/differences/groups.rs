//! Differences in Auto Scaling.

use aws_sdk_autoscaling::{
    operation::create_auto_scaling_group::builders::CreateAutoScalingGroupFluentBuilder,
    types::{DeletionProtection, Filter, LaunchTemplateSpecification},
};

use super::{Difference, LikeAws, outcome, probe};
use crate::contract::cloud::{
    house::House,
    world::{World, eventually},
};

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        when: "a group is created under a name that is taken",
        moto: "accepted",
        pocket_region: "AlreadyExists",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(name_taken),
    },
    Difference {
        when: "a group is created with a minimum above its maximum",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(bounds),
    },
    Difference {
        when: "a server was just asked for",
        moto: "InService",
        pocket_region: "Pending",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(just_launched),
    },
    Difference {
        when: "a server was launched: the group's activities",
        moto: "none",
        pocket_region: "some",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(activities),
    },
    Difference {
        when: "deletion protection is given, and read back",
        moto: "it is lost",
        pocket_region: "it is kept",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(protection_kept),
    },
    Difference {
        when: "a protected group is deleted by force",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(protection_holds),
    },
    Difference {
        when: "a group with servers is deleted without force",
        moto: "accepted",
        pocket_region: "ResourceInUse",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(unforced),
    },
    Difference {
        when: "a group was just deleted by force",
        moto: "gone",
        pocket_region: "there",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(just_deleted),
    },
    Difference {
        when: "a group is detached from a target group that it is not attached to",
        moto: "InvalidTarget",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(detached_twice),
    },
    Difference {
        when: "one look names 51 groups",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(fifty_one_names),
    },
    Difference {
        when: "groups are filtered by something that is no tag",
        moto: "accepted",
        pocket_region: "ValidationError",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(unknown_filter),
    },
    Difference {
        when: "a warm-up is given, and read back",
        moto: "it is lost",
        pocket_region: "it is kept",
        like_aws: LikeAws::PocketRegion,
        probe: probe!(warm_up),
    },
];

fn create(world: &World, name: &str) -> CreateAutoScalingGroupFluentBuilder {
    let call = world.autoscaling.create_auto_scaling_group().auto_scaling_group_name(name).launch_template(template(world));
    call.min_size(1).max_size(2).desired_capacity(1).vpc_zone_identifier(world.subnets[0].clone())
}

fn template(world: &World) -> LaunchTemplateSpecification {
    LaunchTemplateSpecification::builder().launch_template_id(&world.template).version("1").build()
}

async fn name_taken(world: &World) -> String {
    create(world, "d-taken").send().await.unwrap();
    outcome(create(world, "d-taken").send().await)
}

async fn bounds(world: &World) -> String {
    outcome(create(world, "d-bounds").min_size(3).max_size(2).desired_capacity(3).send().await)
}

async fn describe(world: &World, name: &str) -> Option<aws_sdk_autoscaling::types::AutoScalingGroup> {
    let call = world.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(name);
    call.send().await.unwrap().auto_scaling_groups.unwrap_or_default().pop()
}

async fn just_launched(world: &World) -> String {
    create(world, "d-launch").send().await.unwrap();
    let state = async || Some(describe(world, "d-launch").await?.instances().first()?.lifecycle_state()?.to_string());
    eventually("a server is shown", state).await
}

async fn activities(world: &World) -> String {
    create(world, "d-activities").send().await.unwrap();
    eventually("a server is shown", async || describe(world, "d-activities").await?.instances().first().map(|_| ())).await;
    let call = world.autoscaling.describe_scaling_activities().auto_scaling_group_name("d-activities");
    let answer = call.send().await.unwrap();
    if answer.activities().is_empty() { "none" } else { "some" }.to_owned()
}

async fn protected(world: &World, name: &str) {
    create(world, name).deletion_protection(DeletionProtection::PreventAllDeletion).send().await.unwrap();
}

async fn protection_kept(world: &World) -> String {
    protected(world, "d-protected").await;
    let kept =
        describe(world, "d-protected").await.unwrap().deletion_protection() == Some(&DeletionProtection::PreventAllDeletion);
    if kept { "it is kept" } else { "it is lost" }.to_owned()
}

async fn protection_holds(world: &World) -> String {
    protected(world, "d-holds").await;
    outcome(world.autoscaling.delete_auto_scaling_group().auto_scaling_group_name("d-holds").force_delete(true).send().await)
}

async fn unforced(world: &World) -> String {
    create(world, "d-unforced").send().await.unwrap();
    let in_service = async || {
        let group = describe(world, "d-unforced").await?;
        group.instances().first()?.lifecycle_state().filter(|state| state.as_str() == "InService").map(|_| ())
    };
    eventually("its server is in service", in_service).await;
    outcome(world.autoscaling.delete_auto_scaling_group().auto_scaling_group_name("d-unforced").send().await)
}

async fn just_deleted(world: &World) -> String {
    create(world, "d-deleted").send().await.unwrap();
    let call = world.autoscaling.delete_auto_scaling_group().auto_scaling_group_name("d-deleted").force_delete(true);
    call.send().await.unwrap();
    if describe(world, "d-deleted").await.is_some() { "there" } else { "gone" }.to_owned()
}

async fn detached_twice(world: &World) -> String {
    let house = House::build(world, "d-detach").await;
    house.group("d-detach", &house.slots[0]).await;
    let call = world.autoscaling.detach_load_balancer_target_groups();
    outcome(call.auto_scaling_group_name("d-detach").target_group_arns(&house.slots[1]).send().await)
}

async fn fifty_one_names(world: &World) -> String {
    let names = (0..51).map(|number| format!("d-nobody-{number}")).collect();
    outcome(world.autoscaling.describe_auto_scaling_groups().set_auto_scaling_group_names(Some(names)).send().await)
}

async fn unknown_filter(world: &World) -> String {
    let filter = Filter::builder().name("colour").values("red").build();
    outcome(world.autoscaling.describe_auto_scaling_groups().filters(filter).send().await)
}

async fn warm_up(world: &World) -> String {
    create(world, "d-warm").default_instance_warmup(120).send().await.unwrap();
    let kept = describe(world, "d-warm").await.unwrap().default_instance_warmup() == Some(120);
    if kept { "it is kept" } else { "it is lost" }.to_owned()
}
