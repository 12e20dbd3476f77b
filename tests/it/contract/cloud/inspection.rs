//! What the doctor looks at, on the pocket region: quotas, load balancers, who else forwards to a slot, and looks that are denied.

use std::collections::BTreeMap;

use aws_sdk_elasticloadbalancingv2::types::{LoadBalancerTypeEnum, ProtocolEnum, TargetTypeEnum};
use cutover::{
    domain::{
        action::Action as Change,
        declaration::Declaration,
        deployment::Deployment,
        ids::{RouteRef, SlotRef},
        inspection::Inspection,
        plan::{self, Inputs},
        preflight::{Check, Facts, Outcome, OwnHosts, Preflight, examine},
    },
    engine::ports::Cloud,
};
use cutover_sim::faults::{Effect, Fault};

use super::{
    house::{House, forward, host, later, rule},
    world::World,
};

async fn inspect(house: &House<'_>, declaration: &Declaration) -> (Deployment, Inspection) {
    let d = house.pending(declaration.clone());
    let seen = house.cloud.survey_all(Inputs::of(&d), later()).await;
    (d, seen)
}

async fn checked(house: &House<'_>, declaration: &Declaration, own: &OwnHosts) -> Preflight {
    let (d, seen) = inspect(house, declaration).await;
    examine(&Inputs::of(&d), &seen, Facts { let_go: &[], orphans: &[], own })
}

async fn found(house: &House<'_>, declaration: &Declaration) -> Preflight {
    checked(house, declaration, &OwnHosts::default()).await
}

fn failed(found: &Preflight) -> Vec<(&'static str, String)> {
    found.told(Outcome::Failed).map(|check| (check.name, check.detail.clone())).collect()
}

fn named<'f>(found: &'f Preflight, name: &str) -> &'f Check {
    found.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}: {found:#?}"))
}

fn set_quota(world: &World, name: &str, max: u32) {
    world.sim().shared().change(|region| region.quotas = BTreeMap::from([(name.to_owned(), max)]));
}

async fn with_healthy_blue<'w>(world: &'w World, name: &'static str) -> House<'w> {
    let house = House::with_blue(world, name).await;
    super::world::eventually("blue is healthy", || async {
        let seen = house.survey(&house.pending(house.declaration_with_blue())).await;
        seen.blue.is_some_and(|blue| blue.healthy == 2).then_some(())
    })
    .await;
    house
}

#[tokio::test]
async fn a_service_that_is_well_fails_no_check_and_its_plan_names_every_call() {
    let world = World::pocket_region().await;
    let house = with_healthy_blue(&world, "well").await;
    let found = found(&house, &house.declaration_with_blue()).await;
    assert_eq!((failed(&found), &found.faults), (vec![], &vec![]));
    let unknown: Vec<_> = found.told(Outcome::Unknown).map(|check| check.name).collect();
    assert_eq!(unknown, ["launch_template", "rights_to_change", "own_api"], "{found:#?}");
    assert!(named(&found, "launch_template").detail.starts_with("well-blue is made from"));
    assert!(named(&found, "quota_of_rules").detail.contains("1 rules are there"));

    // What is told of a change is what is sent for it.
    let plan = found.plan.unwrap();
    let d = Deployment { plan: Some(plan.clone()), ..house.pending(house.declaration_with_blue()) };
    for change in [Change::PinBlue, Change::CreateGreen, Change::OpenOverlays { routes: vec![0] }] {
        let before = world.sim().journal().calls(0, None).len();
        house.apply(&d, &change).await.unwrap();
        let sent: Vec<_> = world.sim().journal().calls(0, None)[before..].iter().map(|call| call.operation.clone()).collect();
        let told = house.cloud.calls(&plan, &change);
        let told: Vec<_> = told.iter().map(|call| call.split([':', ' ']).nth(1).unwrap().to_owned()).collect();
        assert_eq!(told, sent, "{change:?}");
    }
}

#[tokio::test]
async fn a_slot_that_an_undeclared_rule_or_another_listener_forwards_to_is_refused_by_name() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "named").await;
    let declaration = house.declaration(&house.base);
    let stray = rule(&world, &house.listener, 200, &host("stray"), forward(&[(&house.slots[1], 1)])).await;
    let on_route = found(&house, &declaration).await;
    assert_eq!(failed(&on_route).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["slot_users"]);
    assert!(failed(&on_route)[0].1.contains(&format!("rule {stray} (number 200)")), "{on_route:?}");
    // On the routes' own listeners `pending` sees it too.
    let d = house.pending(declaration.clone());
    assert_eq!(plan::make(&Inputs::of(&d), &house.survey(&d).await).unwrap_err(), on_route.faults);

    let both = Declaration { routes: vec![RouteRef::new(&house.base), RouteRef::new(&stray)], ..declaration.clone() };
    assert!(named(&found(&house, &both).await, "slot_users").result != Outcome::Failed, "a route may");
    world.elb.delete_rule().rule_arn(&stray).send().await.unwrap();

    let call = world.elb.create_listener().load_balancer_arn(&house.load_balancer).protocol(ProtocolEnum::Http).port(81);
    let other = call.default_actions(forward(&[(&house.slots[0], 1)])).send().await.unwrap();
    let other = other.listeners()[0].listener_arn().unwrap().to_owned();
    let elsewhere = found(&house, &declaration).await;
    assert_eq!(failed(&elsewhere).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["slot_users"]);
    assert!(failed(&elsewhere)[0].1.contains(&format!("the default action of {other}")), "{elsewhere:?}");
    world.elb.delete_listener().listener_arn(&other).send().await.unwrap();
    assert_eq!(failed(&found(&house, &declaration).await), []);
}

#[tokio::test]
async fn a_quota_that_is_full_is_refused_before_a_rule_or_group_is_made() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "quotas").await;
    let declaration = house.declaration(&house.base);
    for (quota, enough, name) in [
        ("rules-per-application-load-balancer", 3, "quota_of_rules"),
        ("target-groups-per-action-on-application-load-balancer", 2, "quota_of_target_groups_in_an_action"),
        ("target-groups-per-application-load-balancer", 2, "quota_of_target_groups_on_a_load_balancer"),
        ("auto-scaling-groups", 1, "quota_of_server_groups"),
    ] {
        set_quota(&world, quota, enough);
        assert_eq!(failed(&found(&house, &declaration).await), [], "{quota}");
        set_quota(&world, quota, enough - 1);
        let full = found(&house, &declaration).await;
        assert_eq!(failed(&full).iter().map(|(name, _)| *name).collect::<Vec<_>>(), [name]);
        assert!(failed(&full)[0].1.contains(&format!("only {} may be", enough - 1)), "{full:?}");
        assert_eq!((full.faults.len(), full.plan), (1, None));
    }
}

#[tokio::test]
async fn slots_that_reach_or_judge_servers_differently_are_warned_of() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "unlike").await;
    let declaration = house.declaration(&house.base);
    assert_eq!(named(&found(&house, &declaration).await, "slots_alike").result, Outcome::Ok);
    let call = world.elb.create_target_group().name("unlike-c").protocol(ProtocolEnum::Http).port(8080).vpc_id(&world.vpc);
    let other = call.target_type(TargetTypeEnum::Instance).health_check_path("/ready").send().await.unwrap();
    let slots = [house.slots[0].as_str(), other.target_groups()[0].target_group_arn().unwrap()].map(SlotRef::new);
    let declaration = Declaration { slots: slots.into(), ..declaration };
    let found = found(&house, &declaration).await;
    let check = named(&found, "slots_alike");
    assert_eq!((check.result, check.pointer.as_deref()), (Outcome::Warning, Some("/slots/1")), "{check:?}");
    assert!(check.detail.contains("health check path /ready and not /healthz, port 8080 and not 80;"), "{check:?}");
    assert_eq!((failed(&found), found.plan.is_some()), (vec![], true));
}

#[tokio::test]
async fn a_network_load_balancer_is_refused_with_the_reason() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "layer").await;
    let call = world.elb.create_load_balancer().name("layer-four").r#type(LoadBalancerTypeEnum::Network);
    let balancer = call.set_subnets(Some(world.subnets.clone())).send().await.unwrap();
    let arn = balancer.load_balancers()[0].load_balancer_arn().unwrap();
    let listener = format!("{}/0123456789abcdef", arn.replace(":loadbalancer/", ":listener/"));
    let declaration = Declaration { routes: vec![RouteRef::new(listener)], ..house.declaration(&house.base) };
    let shape = house.cloud.shape(&declaration);
    assert!(shape.len() == 1 && shape[0].detail.contains("Network Load Balancer"), "{shape:?}");
    let found = found(&house, &declaration).await;
    assert_eq!((failed(&found)[0].0, &found.faults), ("route", &shape));
}

#[tokio::test]
async fn a_look_that_fails_leaves_the_others_and_says_why() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "denied").await;
    let declaration = house.declaration(&house.base);
    let effect = |code: &str| Effect::Error { code: code.to_owned(), message: "as the story wants it".to_owned(), status: 400 };
    let stories = [
        ("DescribeLoadBalancers", vec!["load_balancer"], true),
        ("DescribeListeners", vec!["slot_users", "quota_of_rules", "quota_of_target_groups_on_a_load_balancer"], true),
        ("DescribeAccountLimits", vec!["quota_of_rules"], true),
        ("DescribeTargetHealth", vec!["slots"], false),
        ("DescribeAutoScalingGroups", vec!["blue", "size", "green_name"], false),
    ];
    for (operation, names, planned) in stories {
        for (code, result) in [("AccessDenied", Outcome::Failed), ("Throttling", Outcome::Unknown)] {
            let fault = world.sim().faults().set(Fault::on(operation, effect(code))).unwrap();
            let found = found(&house, &declaration).await;
            assert!(world.sim().faults().remove(&fault));
            for name in &names {
                let check = named(&found, name);
                assert_eq!(check.result, result, "{operation} {code}: {check:?}");
                assert!(check.detail.contains(code) && check.detail.contains("(request "), "{check:?}");
            }
            assert_eq!(named(&found, "rights_to_look").result == Outcome::Failed, code == "AccessDenied");
            let route = named(&found, "route").result;
            assert_eq!(route, Outcome::Ok, "{operation} {code}: the rest is as it was");
            assert_eq!((found.plan.is_some(), found.faults.len()), (planned, 0), "{operation} {code}: {found:#?}");
        }
    }
}

#[tokio::test]
async fn a_service_or_database_behind_its_own_route_is_warned_of() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "own").await;
    let declaration = house.declaration(&house.base);
    let (_, seen) = inspect(&house, &declaration).await;
    let dns = seen.load_balancers[0].seen.as_ref().unwrap().host.clone();
    let own = |api: &str, database: &str| OwnHosts { api: Some(api.to_owned()), database: Some(database.to_owned()) };
    let behind = checked(&house, &declaration, &own("own.example.com", &dns)).await;
    assert_eq!(behind.told(Outcome::Warning).map(|check| check.name).collect::<Vec<_>>(), ["own_api", "own_database"]);
    let apart = checked(&house, &declaration, &own("cutover.example.com", "db.example.com")).await;
    assert_eq!(apart.told(Outcome::Warning).count(), 0);
    assert_eq!(named(&apart, "own_api").result, Outcome::Ok);

    // Under any name, once the route asks for none.
    house.serve_by_default().await;
    let open = checked(&house, &house.declaration(&house.listener), &own("cutover.example.com", "db.example.com")).await;
    for name in ["own_api", "own_database"] {
        assert_eq!(named(&open, name).result, Outcome::Unknown, "{open:#?}");
        assert!(named(&open, name).detail.contains("a default action"), "{open:#?}");
    }
}
