//! Preflight: what is there is told as it is, and what cannot be used comes as a fault with a pointer.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateOidcActionConfig, ProtocolEnum, TargetGroupAttribute, TargetTypeEnum,
};
use cutover::domain::{
    declaration::Declaration,
    ids::{GroupName, RouteRef, SlotRef, TargetGroupRef},
    plan::{self, Inputs},
    survey::{FieldFault, Role},
};

use super::{
    Story,
    house::{House, forward, host, rule},
    story,
    world::World,
};

pub const STORIES: &[Story] = &[
    story!(a_route_is_seen_with_its_neighbours_and_slots),
    story!(what_is_not_there_is_named_with_its_pointer),
    story!(a_default_rule_is_refused_and_its_listener_named),
    story!(a_login_that_cannot_be_copied_is_refused_in_its_own_words),
    story!(a_slot_that_takes_no_instances_over_http_is_refused),
    story!(a_slot_of_another_load_balancer_is_refused),
    story!(sticky_slots_make_the_weighted_rule_sticky),
    story!(leftovers_carry_their_owner),
    story!(blue_is_seen_as_it_is_to_be_pinned),
];

fn faults(faults: &[FieldFault], pointer: &str) -> Vec<String> {
    faults.iter().filter(|fault| fault.pointer == pointer).map(|fault| fault.detail.clone()).collect()
}

async fn a_route_is_seen_with_its_neighbours_and_slots(world: &World) {
    let house = House::build(world, "seen").await;
    let neighbour = rule(world, &house.listener, 7, &host("api"), forward(&[(&house.slots[0], 1)])).await;
    let survey = house.survey(&house.pending(house.declaration(&house.base))).await;
    assert_eq!((survey.faults, survey.warnings), (vec![], vec![]));
    let route = survey.routes[0].as_ref().unwrap();
    assert_eq!((route.listener.as_str(), route.number), (house.listener.as_str(), Some(100)));
    assert_eq!(route.forwards, [(TargetGroupRef::new(&house.slots[0]), 1)]);
    assert_eq!(route.others.len(), 1, "the default rule has no number and is no neighbour");
    assert_eq!((route.others[0].rule.as_str(), route.others[0].number), (neighbour.as_str(), 7));
    assert_eq!(route.others[0].owner, None);
    let naming = &survey.namings[0];
    assert_eq!((survey.namings.len(), naming.target_group.as_str()), (1, house.slots[0].as_str()));
    assert!(naming.by.contains(&neighbour), "{naming:?}");
    assert!(survey.slots.iter().all(|slot| slot.as_ref().is_some_and(|slot| slot.targets == 0)));
    assert!(survey.blue.is_none() && !survey.green_name_taken);
}

async fn what_is_not_there_is_named_with_its_pointer(world: &World) {
    let house = House::build(world, "missing").await;
    let mut declaration = house.declaration(&house.base);
    let listener = format!("{}0", house.listener);
    declaration.routes.extend([RouteRef::new(format!("{}0", house.base)), RouteRef::new(listener)]);
    declaration.slots.push(SlotRef::new(format!("{}0", house.slots[0])));
    declaration.blue = Some(GroupName::new("nobody"));
    let survey = house.survey(&house.pending(declaration)).await;
    assert_eq!(faults(&survey.faults, "/routes/1"), ["there is no such rule"]);
    assert!(faults(&survey.faults, "/routes/2")[0].contains("there is no listener"), "{:?}", survey.faults);
    assert_eq!(faults(&survey.faults, "/slots/2"), ["there is no such target group"]);
    assert!(faults(&survey.faults, "/blue")[0].contains("nobody"));
    assert_eq!(survey.faults.len(), 4);
    assert!(survey.routes[0].is_some() && survey.routes[1].is_none() && survey.slots[2].is_none());
}

async fn a_default_rule_is_refused_and_its_listener_named(world: &World) {
    let house = House::build(world, "defrule").await;
    let default = house.rules().await.pop().unwrap();
    let survey = house.survey(&house.pending(house.declaration(default.rule_arn().unwrap()))).await;
    assert!(faults(&survey.faults, "/routes/0")[0].contains(&house.listener), "{:?}", survey.faults);
}

async fn a_login_that_cannot_be_copied_is_refused_in_its_own_words(world: &World) {
    let house = House::build(world, "oidc").await;
    let login = AuthenticateOidcActionConfig::builder()
        .issuer("https://login.example.com")
        .authorization_endpoint("https://login.example.com/authorize")
        .token_endpoint("https://login.example.com/token")
        .user_info_endpoint("https://login.example.com/user")
        .client_id("client")
        .client_secret("secret")
        .build();
    let action = Action::builder().r#type(ActionTypeEnum::AuthenticateOidc).order(1).authenticate_oidc_config(login).build();
    let then = forward(&[(&house.slots[0], 1)]);
    let then = Action::builder().r#type(ActionTypeEnum::Forward).order(2).set_forward_config(then.forward_config).build();
    world.elb.modify_rule().rule_arn(&house.base).actions(action).actions(then).send().await.unwrap();
    let survey = house.survey(&house.pending(house.declaration(&house.base))).await;
    assert!(faults(&survey.faults, "/routes/0")[0].contains("authenticate-oidc"), "{:?}", survey.faults);
}

async fn a_slot_that_takes_no_instances_over_http_is_refused(world: &World) {
    if world.emulator == super::world::Emulator::PocketRegion {
        // Its target groups are of instances over HTTP, always.
        return;
    }
    let house = House::build(world, "ipslot").await;
    let call = world.elb.create_target_group().name("ipslot-c").protocol(ProtocolEnum::Http).port(80).vpc_id(&world.vpc);
    let answer = call.target_type(TargetTypeEnum::Ip).send().await.unwrap();
    let mut declaration = house.declaration(&house.base);
    declaration.slots.push(SlotRef::new(answer.target_groups()[0].target_group_arn().unwrap()));
    let survey = house.survey(&house.pending(declaration)).await;
    assert!(faults(&survey.faults, "/slots/2")[0].contains("type instance"), "{:?}", survey.faults);
}

async fn a_slot_of_another_load_balancer_is_refused(world: &World) {
    let (house, other) = (House::build(world, "here").await, House::build(world, "there").await);
    let mut declaration = house.declaration(&house.base);
    declaration.slots.push(SlotRef::new(&other.slots[0]));
    let d = house.pending(declaration);
    let refused = plan::make(&Inputs::of(&d), &house.survey(&d).await).unwrap_err();
    assert!(faults(&refused, "/slots/2")[0].contains(&other.load_balancer), "{refused:?}");
}

/// Gives a slot sticky sessions.
pub async fn sticky(world: &World, slot: &str, kind: &str) {
    let attribute = |key: &str, value: &str| TargetGroupAttribute::builder().key(key).value(value).build();
    let call = world.elb.modify_target_group_attributes().target_group_arn(slot);
    let mut call = call.attributes(attribute("stickiness.enabled", "true")).attributes(attribute("stickiness.type", kind));
    if kind == "app_cookie" {
        call = call.attributes(attribute("stickiness.app_cookie.cookie_name", "session"));
    } else {
        call = call.attributes(attribute("stickiness.lb_cookie.duration_seconds", "900"));
    }
    call.send().await.unwrap();
}

async fn sticky_slots_make_the_weighted_rule_sticky(world: &World) {
    let house = House::build(world, "sticky").await;
    sticky(world, &house.slots[1], "lb_cookie").await;
    let survey = house.survey(&house.pending(house.declaration(&house.base))).await;
    assert_eq!(survey.slots.iter().flatten().map(|slot| slot.sticky).collect::<Vec<_>>(), [false, true]);
    house.opened(house.declaration(&house.base)).await;
    let overlay = house.rules().await.remove(0);
    let config = overlay.actions()[0].forward_config().unwrap().target_group_stickiness_config().unwrap();
    assert_eq!((config.enabled(), config.duration_seconds()), (Some(true), Some(900)));

    sticky(world, &house.slots[0], "app_cookie").await;
    let survey = house.survey(&house.pending(house.declaration(&house.base))).await;
    assert!(faults(&survey.faults, "/slots/0")[0].contains("application cookie"), "{:?}", survey.faults);
}

async fn leftovers_carry_their_owner(world: &World) {
    let house = House::build(world, "owner").await;
    let ended = house.opened(house.declaration(&house.base)).await;
    let survey = house.survey(&house.pending(house.declaration(&house.base))).await;
    let owner = survey.routes[0].as_ref().unwrap().others[0].owner.clone().unwrap();
    assert_eq!((owner.role, owner.deployment), (Role::Overlay, Some(ended.id)));
    assert!(owner.this_installation && owner.on_our_route);

    let stranger = House { cloud: world.cloud_of("another"), ..house };
    let survey = stranger.survey(&stranger.pending(stranger.declaration(&stranger.listener))).await;
    let owner = survey.routes[0].as_ref().unwrap().others[0].owner.clone().unwrap();
    assert!(!owner.this_installation && !owner.on_our_route);
}

async fn blue_is_seen_as_it_is_to_be_pinned(world: &World) {
    let house = House::with_blue(world, "blue").await;
    let declaration = Declaration { routes: vec![RouteRef::new(&house.base)], ..house.declaration_with_blue() };
    let survey = house.survey(&house.pending(declaration)).await;
    let blue = survey.blue.unwrap();
    assert_eq!(blue.group.as_str(), house.blue());
    assert_eq!(blue.attached, [TargetGroupRef::new(&house.slots[0])]);
    assert_eq!((blue.size, blue.min, blue.max, blue.protected), (2, 1, 4, false));
    assert_eq!(blue.image.as_deref(), Some("lt:1"));
}
