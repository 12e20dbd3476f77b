//! Server groups: made once, in their slot, with our tags; pinned; taken out, and gone.

use cutover::{
    domain::{
        action::{Action as Change, Side},
        deployment::Deployment,
        ids::{DeploymentId, Image},
        observation::{Attached, GroupView, Known},
        phase::{BackAs, Phase},
    },
    engine::ports::FaultKind,
};
use uuid::Uuid;

use super::{
    Story,
    house::House,
    story,
    world::{Emulator, World, eventually},
};

pub const STORIES: &[Story] = &[
    story!(a_group_comes_up_in_its_slot_and_goes_again),
    story!(a_groups_image_is_its_own_whatever_the_template_says),
    story!(a_group_is_made_from_a_template_version_too),
    story!(a_group_made_twice_is_one_group),
    story!(a_group_of_somebody_elses_under_greens_name_is_told),
    story!(a_group_as_planned_is_adopted_by_its_own_deployment_alone_and_only_as_planned),
    story!(a_pinned_blue_keeps_its_size_and_gets_its_minimum_back),
    story!(a_slot_counts_its_strangers_and_who_names_it),
];

async fn green(house: &House<'_>, d: &Deployment) -> Option<GroupView> {
    match house.observe(d).await.green {
        Known::Seen(group) => Some(group),
        Known::Absent => None,
        Known::Unknown(why) => panic!("green could not be seen: {why}"),
    }
}

async fn a_group_comes_up_in_its_slot_and_goes_again(world: &World) {
    let house = House::build(world, "updown").await;
    let mut d = house.opened(house.declaration(&house.base)).await;
    assert!(green(&house, &d).await.is_none());
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let up = eventually("green is healthy", async || green(&house, &d).await.filter(|group| group.servers.healthy == 2)).await;
    assert_eq!((up.servers.desired, up.servers.in_service, up.min), (2, 2, 2));
    assert!(up.ours && up.attached == Attached::Everywhere && !up.deleting && !up.protected);
    house.apply(&d, &Change::GrowGreen { size: 3 }).await.unwrap();
    let grown = async || green(&house, &d).await.filter(|group| group.servers.healthy == 3);
    let grown = eventually("green has grown with its minimum", grown).await;
    assert_eq!((grown.servers.desired, grown.min), (3, 3));
    house.apply(&d, &Change::ReleaseGreen).await.unwrap();
    assert_eq!(green(&house, &d).await.map(|group| group.min), Some(1));
    assert_tags(world, "updown-prod-v001", &d.id.to_string()).await;

    d.phase = Phase::RollingBack { shield: false, ends: BackAs::RolledBack };
    house.apply(&d, &Change::DeleteRules { rules: d.overlays.clone() }).await.unwrap();
    let side = Side::Green;
    house.apply(&d, &Change::Detach { side }).await.unwrap();
    if world.emulator == Emulator::PocketRegion {
        // A group that is out already; moto fails there on its servers.
        house.apply(&d, &Change::Detach { side }).await.unwrap();
    }
    let attached = async || green(&house, &d).await.filter(|group| group.attached == Attached::Nowhere);
    eventually("green is out of its slot", attached).await;
    for _ in 0..2 {
        house.apply(&d, &Change::DeleteGroup { side }).await.unwrap();
    }
    eventually("green is gone", async || green(&house, &d).await.is_none().then_some(())).await;
    house.apply(&d, &Change::DeleteGroup { side }).await.unwrap();
}

async fn assert_tags(world: &World, group: &str, deployment: &str) {
    let answer = world.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names(group).send().await.unwrap();
    let tags = answer.auto_scaling_groups()[0].tags();
    let value = |key: &str| tags.iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value()).map(str::to_owned);
    assert_eq!(value("cutover:deployment").as_deref(), Some(deployment));
    assert_eq!(value("cutover:role").as_deref(), Some("group"));
    assert_eq!(value("team").as_deref(), Some("web"), "the declared ones too");
    assert!(tags.iter().all(|tag| tag.propagate_at_launch() == Some(true)));
}

async fn a_groups_image_is_its_own_whatever_the_template_says(world: &World) {
    let house = House::build(world, "image").await;
    let mut declaration = house.declaration(&house.base);
    declaration.server_group.instance_types = vec!["t3.micro".to_owned(), "t3.small".to_owned()];
    let d = house.planned(declaration).await;
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let names = world.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names("image-prod-v001");
    let answer = names.send().await.unwrap();
    let group = &answer.auto_scaling_groups()[0];
    let template = group.mixed_instances_policy().unwrap().launch_template().unwrap();
    let made: Vec<_> = template.overrides().iter().map(|with| (with.instance_type(), with.image_id())).collect();
    let image = Some(world.image.as_str());
    assert_eq!(made, [(Some("t3.micro"), image), (Some("t3.small"), image)]);
    assert_eq!(template.launch_template_specification().unwrap().version(), Some("1"), "pinned by number");
    assert_eq!((group.health_check_type(), group.health_check_grace_period()), (Some("ELB"), Some(60)));
    assert_eq!((group.min_size(), group.desired_capacity(), group.max_size()), (Some(2), Some(2), Some(4)));
}

async fn a_group_is_made_from_a_template_version_too(world: &World) {
    let house = House::build(world, "template").await;
    let mut d = house.planned(house.declaration(&house.base)).await;
    d.plan.as_mut().unwrap().green.image = Image::Template(1);
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let names = world.autoscaling.describe_auto_scaling_groups().auto_scaling_group_names("template-prod-v001");
    let answer = names.send().await.unwrap();
    let group = &answer.auto_scaling_groups()[0];
    assert_eq!(group.launch_template().and_then(|template| template.version()), Some("1"));
    assert_eq!(group.launch_template().and_then(|template| template.launch_template_id()), Some(world.template.as_str()));
}

async fn a_group_made_twice_is_one_group(world: &World) {
    let house = House::build(world, "group2").await;
    let d = house.planned(house.declaration(&house.base)).await;
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    assert!(green(&house, &d).await.is_some_and(|group| group.ours));
}

async fn a_group_of_somebody_elses_under_greens_name_is_told(world: &World) {
    let house = House::build(world, "name").await;
    let d = house.planned(house.declaration(&house.base)).await;
    house.group("name-prod-v001", &house.slots[1]).await;
    assert!(house.survey(&house.pending(house.declaration(&house.base))).await.green_name_taken);
    assert_eq!(green(&house, &d).await.map(|group| group.ours), Some(false));
    if world.emulator == Emulator::PocketRegion {
        // moto would silently replace it.
        let fault = house.apply(&d, &Change::CreateGreen).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Rejected);
        assert!(fault.message.contains("name-prod-v001"), "{fault}");
    }
}

async fn a_group_as_planned_is_adopted_by_its_own_deployment_alone_and_only_as_planned(world: &World) {
    if world.emulator != Emulator::PocketRegion {
        // moto would silently replace it.
        return;
    }
    let house = House::build(world, "adopts").await;
    let d = house.planned(house.declaration(&house.base)).await;
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let another = Deployment { id: DeploymentId::new(Uuid::now_v7()), ..d.clone() };
    let fault = house.apply(&another, &Change::CreateGreen).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Rejected);
    assert!(fault.message.contains("is not this deployment's"), "made from the same plan: {fault}");
    let update = world.autoscaling.update_auto_scaling_group().auto_scaling_group_name("adopts-prod-v001");
    update.vpc_zone_identifier("subnet-0other").send().await.unwrap();
    let fault = house.apply(&d, &Change::CreateGreen).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Rejected);
    assert!(fault.message.contains("its subnets are"), "{fault}");
}

async fn a_pinned_blue_keeps_its_size_and_gets_its_minimum_back(world: &World) {
    let house = House::with_blue(world, "pinned").await;
    let slot = async || house.survey(&house.pending(house.declaration_with_blue())).await.blue.filter(|blue| blue.healthy == 2);
    eventually("blue is healthy", slot).await;
    let d = house.planned(house.declaration_with_blue()).await;
    let blue = async || match house.observe(&d).await.blue {
        Known::Seen(blue) => blue,
        other => panic!("blue was not seen: {other:?}"),
    };
    assert_eq!((blue().await.min, blue().await.protected), (1, false));
    house.apply(&d, &Change::PinBlue).await.unwrap();
    let pinned = blue().await;
    assert_eq!(pinned.min, 2);
    assert_eq!(pinned.protected, world.emulator != Emulator::Moto, "moto does not know deletion protection");
    assert!(pinned.ours && pinned.attached == Attached::Everywhere);
    house.apply(&d, &Change::UnpinBlue).await.unwrap();
    assert_eq!((blue().await.min, blue().await.protected), (1, false));
}

async fn a_slot_counts_its_strangers_and_who_names_it(world: &World) {
    let house = House::with_blue(world, "slots").await;
    let targets = async || {
        let survey = house.survey(&house.pending(house.declaration_with_blue())).await;
        survey.blue.filter(|blue| blue.healthy == 2)
    };
    eventually("blue is registered and healthy", targets).await;
    let mut d = house.opened(house.declaration_with_blue()).await;
    // A second listener that no route is on.
    let action = super::house::forward(&[(&house.slots[0], 1)]);
    let call = world.elb.create_listener().load_balancer_arn(&house.load_balancer).port(8080);
    let call = call.protocol(aws_sdk_elasticloadbalancingv2::types::ProtocolEnum::Http).default_actions(action);
    call.send().await.unwrap();
    d.phase = Phase::Retiring;
    let blue = house.observe(&d).await.blue_slot;
    let back = Deployment { phase: Phase::RollingBack { shield: false, ends: BackAs::RolledBack }, ..d.clone() };
    let green = house.observe(&back).await.green_slot;
    let (Known::Seen(blue), Known::Seen(green)) = (blue, green) else { panic!("a slot was not seen") };
    assert_eq!((blue.targets, blue.strangers, blue.named_by), (2, 0, 3), "overlay, base, and the other listener");
    assert_eq!((green.targets, green.strangers, green.named_by), (0, 0, 1), "the overlay");
    // Seen from a deployment whose blue is another group, they are strangers.
    d.plan.as_mut().unwrap().blue.as_mut().unwrap().group = cutover::domain::ids::GroupName::new("nobody");
    let seen = house.observe(&d).await;
    assert!(seen.blue.is_absent());
    assert_eq!(seen.blue_slot.seen().map(|slot| (slot.targets, slot.strangers)), Some((2, 2)));
}
