//! The adapter when AWS misbehaves, on a pocket region of each story's own: what it concludes, and what it never does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::types::{
    LaunchTemplateSpecification, MetricType, PredefinedMetricSpecification, TargetTrackingConfiguration,
};
use cutover::{
    cloud::aws::{Budget, BudgetSettings},
    domain::{
        action::{Action as Change, Scaling},
        declaration::Declaration,
        deployment::{Deployment, Trigger},
        ids::{GroupName, Image, RouteRef},
        observation::Known,
        phase::Phase,
        plan::Inputs,
        weight::Weight,
    },
    engine::ports::{Cloud, Fault as Refusal, FaultKind, Recency},
};
use cutover_sim::{
    faults::{Effect, Fault},
    scenario::{ImageOf, Server, Stage},
};
use jiff::Timestamp;

use super::{
    house::{House, forward, host, later, rule},
    world::{World, eventually},
};

const OPEN: fn() -> Change = || Change::OpenOverlays { routes: vec![0] };

fn refuse(code: &str, status: u16) -> Effect {
    Effect::Error { code: code.to_owned(), message: "as the story wants it".to_owned(), status }
}

fn set(world: &World, fault: Fault) -> String {
    world.sim().faults().set(fault).unwrap()
}

fn calls(world: &World, operation: &str) -> usize {
    world.sim().journal().calls(0, Some(operation)).len()
}

#[tokio::test]
async fn those_who_look_together_share_their_calls_and_those_who_only_watch_make_none() {
    let world = World::pocket_region().await;
    let house = House::with_blue(&world, "shared").await;
    let first = house.opened(house.declaration(&house.base)).await;
    let deployments = [1, 2, 3].map(|_| Deployment { phase: Phase::Verifying, ..first.clone() });
    let counts = || ["DescribeRules", "DescribeAutoScalingGroups", "DescribeTargetHealth"].map(|of| calls(&world, of));

    let before = counts();
    let looks = deployments.iter().map(|d| house.cloud.observe(d, Recency::Now, later()));
    for seen in futures::future::join_all(looks).await {
        assert!(seen.routes[0].seen().is_some() && seen.green_slot.seen().is_some(), "{seen:?}");
    }
    let together = counts();
    assert_eq!([0, 1, 2].map(|i| together[i] - before[i]), [1, 1, 3], "targets are asked for one slot at a time");

    let seen = house.cloud.observe(&deployments[0], Recency::Within(Duration::from_secs(30)), later()).await;
    assert!(seen.routes[0].seen().is_some() && seen.green.is_absent());
    assert!(matches!(seen.green_slot, Known::Unknown(_)), "no decision may hang on it");
    assert_eq!(counts(), together, "what was just seen will do");

    house.cloud.observe(&deployments[0], Recency::Now, later()).await;
    assert_eq!([0, 1, 2].map(|i| counts()[i] - together[i]), [1, 1, 1], "a decision hangs on what is now");
}

#[tokio::test]
async fn until_green_has_no_traffic_those_who_go_back_ask_for_nothing_that_they_do_not_share() {
    let world = World::pocket_region().await;
    let house = House::with_blue(&world, "crowd").await;
    let first = house.opened(house.declaration(&house.base)).await;
    let back = Deployment { phase: Phase::Verifying, ..first }.turning_back(Trigger::Manual, None, Timestamp::now());
    let asked = ["DescribeRules", "DescribeAutoScalingGroups", "DescribeTargetHealth", "DescribeListeners"];
    let look = async |d: &Deployment| {
        let counts = || asked.map(|of| calls(&world, of));
        let before = counts();
        let looks = (0..5).map(|_| house.cloud.observe(d, Recency::Now, later()));
        let seen = futures::future::join_all(looks).await;
        assert!(seen.iter().all(|seen| seen.routes[0].seen().is_some()), "{seen:?}");
        let after = counts();
        ([0, 1, 2, 3].map(|i| after[i] - before[i]), seen.iter().all(|seen| seen.green_slot.seen().is_some()))
    };
    assert_eq!(look(&back).await, ([1, 1, 0, 0], false), "its slot is of no interest yet");
    let mut seen_to_be_back = back;
    seen_to_be_back.going_back.as_mut().unwrap().observed_at = Some(Timestamp::now());
    assert_eq!(look(&seen_to_be_back).await, ([1, 1, 5, 1], true), "now its group goes, once nothing names its slot");
}

#[tokio::test]
async fn the_groups_of_many_deployments_are_asked_for_by_a_hundred_names_a_call() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "many").await;
    let first = house.opened(house.declaration(&house.base)).await;
    let of_group = |n: usize| {
        let mut d = Deployment { phase: Phase::Verifying, ..first.clone() };
        d.plan.as_mut().unwrap().green.group = GroupName::new(format!("many-prod-v1{n:03}"));
        d
    };
    // More than AWS tells of unasked: its page is fifty.
    let there = 60;
    for n in 0..there {
        let template = LaunchTemplateSpecification::builder().launch_template_id(&world.template).version("1").build();
        let call = world.autoscaling.create_auto_scaling_group().auto_scaling_group_name(format!("many-prod-v1{n:03}"));
        let call = call.launch_template(template).min_size(0).max_size(1).desired_capacity(0);
        call.vpc_zone_identifier(world.subnets[0].clone()).send().await.unwrap();
    }
    let deployments: Vec<_> = (0..120).map(of_group).collect();
    let before = calls(&world, "DescribeAutoScalingGroups");
    // Those who only watch: a decision would ask for targets as well.
    let watch = Recency::Within(Duration::from_secs(30));
    let looks = deployments.iter().map(|d| house.cloud.observe(d, watch, later()));
    let seen = futures::future::join_all(looks).await;
    assert_eq!(calls(&world, "DescribeAutoScalingGroups") - before, 2, "a hundred, and the other twenty");
    let (found, gone) = seen.split_at(there);
    assert_eq!(found.iter().filter(|seen| seen.green.seen().is_some()).count(), there);
    assert!(gone.iter().all(|seen| seen.green.is_absent()));
}

#[tokio::test]
async fn blue_is_as_healthy_as_its_load_balancer_finds_it_once_green_is_short() {
    let world = World::pocket_region().await;
    let house = House::with_blue(&world, "worse").await;
    let up = async || house.survey(&house.pending(house.declaration_with_blue())).await.blue.filter(|blue| blue.healthy == 2);
    eventually("blue is healthy", up).await;
    let mut d = house.opened(house.declaration_with_blue()).await;
    d.phase = Phase::Baking { seen_at: Some(Timestamp::now()), commit_now: false };
    // The group's own checks are of the machine alone: it goes on to call them healthy.
    world.sim().shared().change(|region| region.instances.values_mut().for_each(|instance| instance.sick = true));
    assert_eq!(house.observe(&d).await.blue.seen().unwrap().servers.healthy, 2, "nothing hangs on it yet");

    d.seen.short.last = Some(Timestamp::now());
    let healthy = async || house.observe(&d).await.blue.seen().map(|blue| blue.servers.healthy).filter(|healthy| *healthy == 0);
    eventually("blue is found sick", healthy).await;
    set(&world, Fault::on("DescribeTargetHealth", refuse("Throttling", 400)).times(2));
    assert!(house.observe(&d).await.blue.seen().is_some(), "what else hangs on blue does not wait for it");
}

#[tokio::test]
async fn green_is_as_healthy_as_its_load_balancer_finds_it_for_as_long_as_blue_is_there() {
    let world = World::pocket_region().await;
    let house = House::with_blue(&world, "late").await;
    let up = async || house.survey(&house.pending(house.declaration_with_blue())).await.blue.filter(|blue| blue.healthy == 2);
    eventually("blue is healthy", up).await;
    let mut d = house.opened(house.declaration_with_blue()).await;
    // Blue's draining is looked at, too, once it drains.
    for (phase, slots) in [(Phase::Committing { quiet_since: Some(Timestamp::now()) }, 1), (Phase::Retiring, 2)] {
        d.phase = phase;
        let before = calls(&world, "DescribeTargetHealth");
        house.observe(&d).await;
        assert_eq!(calls(&world, "DescribeTargetHealth") - before, slots, "{}", d.phase.name());
    }
}

#[tokio::test]
async fn an_overlay_whose_answer_was_lost_is_there_and_its_repeat_is_success() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "lost").await;
    let d = house.planned(house.declaration(&house.base)).await;
    set(&world, Fault::on("CreateRule", Effect::Lost { hang: false }).times(1));
    assert_eq!(house.apply(&d, &OPEN()).await.unwrap_err().kind, FaultKind::Transient);
    house.apply(&d, &OPEN()).await.unwrap();
    assert_eq!(house.numbers().await, [99, 100]);
}

#[tokio::test]
async fn a_number_in_use_by_nobody_to_be_seen_is_unknown_and_not_somebody_elses() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "stale").await;
    let d = house.opened(house.declaration(&house.base)).await;
    set(&world, Fault::on("DescribeRules", Effect::Stale { depth: 1 }).times(1));
    assert_eq!(house.apply(&d, &OPEN()).await.unwrap_err().kind, FaultKind::Transient);
    set(&world, Fault::on("DescribeRules", refuse("Throttling", 400)).times(1));
    assert_eq!(house.apply(&d, &OPEN()).await.unwrap_err().kind, FaultKind::Transient);
    house.apply(&d, &OPEN()).await.unwrap();
}

#[tokio::test]
async fn a_change_is_sent_once_whatever_comes_back() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "once").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let change = Change::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight: Weight::ALL };
    let cases = [
        (refuse("ServiceUnavailable", 503), FaultKind::Transient),
        (refuse("Throttling", 400), FaultKind::Throttled),
        (refuse("AccessDenied", 403), FaultKind::Denied),
        (refuse("InvalidConfigurationRequest", 400), FaultKind::Rejected),
        (Effect::Reset, FaultKind::Transient),
    ];
    for (n, (effect, kind)) in (1..).zip(cases) {
        set(&world, Fault::on("ModifyRule", effect).times(1));
        let fault = house.apply(&d, &change).await.unwrap_err();
        assert_eq!((fault.kind, fault.operation), (kind, "ModifyRule"), "{fault}");
        assert_eq!(calls(&world, "ModifyRule"), n, "{fault}");
        assert!(kind == FaultKind::Transient || fault.request_id.is_some(), "{fault}");
    }
}

#[tokio::test]
async fn what_could_not_be_seen_is_unknown_and_the_rest_is_seen() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "unknown").await;
    let d = Deployment { phase: Phase::Verifying, ..house.opened(house.declaration(&house.base)).await };
    let why = |known: &dyn std::fmt::Debug| format!("{known:?}");

    let fault = set(&world, Fault::on("DescribeTargetHealth", refuse("Throttling", 400)));
    let seen = house.observe(&d).await;
    assert!(seen.routes[0].seen().is_some());
    assert!(seen.green.is_absent(), "no group needs no word on its health");
    assert!(why(&seen.green_slot).contains("DescribeTargetHealth: Throttling"), "{:?}", seen.green_slot);
    assert!(world.sim().faults().remove(&fault));

    let fault = set(&world, Fault::on("DescribeAutoScalingGroups", refuse("Throttling", 400)));
    let seen = house.observe(&d).await;
    assert!(matches!(seen.green, Known::Unknown(_)) && matches!(seen.green_slot, Known::Unknown(_)));
    assert!(seen.routes[0].seen().is_some());
    assert!(world.sim().faults().remove(&fault));

    let fault = set(&world, Fault::on("DescribeRules", refuse("Throttling", 400)));
    let seen = house.observe(&d).await;
    assert!(why(&seen.routes[0]).contains("DescribeRules: Throttling"), "{:?}", seen.routes[0]);
    assert!(matches!(seen.green_slot, Known::Unknown(_)), "who names it is unknown");
    assert!(world.sim().faults().remove(&fault));

    // A process that knows no tags yet cannot say whose the rules are.
    set(&world, Fault::on("DescribeTags", refuse("Throttling", 400)));
    let restarted = House { cloud: world.cloud(), ..house };
    assert!(why(&restarted.observe(&d).await.routes[0]).contains("DescribeTags: Throttling"));
    world.sim().faults().clear();
    set(&world, Fault::on("DescribeTags", refuse("RuleNotFound", 400)));
    assert!(why(&restarted.observe(&d).await.routes[0]).contains("DescribeTags: RuleNotFound"), "its listener is still there");
    let restarted = House { cloud: world.cloud(), ..restarted };
    let looked = restarted.cloud.survey(Inputs::of(&d), Some(d.id), later()).await;
    assert!(looked.is_err_and(|fault| fault.kind == FaultKind::Transient));
}

#[tokio::test]
async fn a_survey_that_cannot_see_is_no_refusal() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "blind").await;
    let d = house.pending(house.declaration(&house.base));
    for operation in ["DescribeRules", "DescribeTargetGroups", "DescribeTargetGroupAttributes", "DescribeAutoScalingGroups"] {
        let fault = set(&world, Fault::on(operation, refuse("Throttling", 400)));
        let seen = house.observe(&d).await.survey;
        assert!(matches!(&seen, Some(Known::Unknown(why)) if why.contains(operation)), "{operation}: {seen:?}");
        assert!(world.sim().faults().remove(&fault));
    }
}

#[tokio::test]
async fn routes_are_changed_side_by_side_and_the_worst_fault_is_told() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "side").await;
    let mut routes = vec![RouteRef::new(&house.base)];
    for number in [200, 300] {
        let name = format!("side-{number}");
        routes.push(RouteRef::new(rule(&world, &house.listener, number, &host(&name), forward(&[(&house.slots[0], 1)])).await));
    }
    let d = house.planned(Declaration { routes, ..house.declaration(&house.base) }).await;
    let open = Change::OpenOverlays { routes: vec![0, 1, 2] };
    let holding = set(&world, Fault::on("CreateRule", Effect::HoldBefore));
    let release = async {
        let all_three = async || world.sim().faults().list().first().filter(|fault| fault.holding == 3).map(|_| ());
        eventually("all three are on their way", all_three).await;
        assert!(world.sim().faults().release(&holding));
    };
    let (opened, ()) = tokio::join!(house.apply(&d, &open), release);
    opened.unwrap();
    assert_eq!(house.numbers().await, [99, 100, 199, 200, 299, 300]);

    world.sim().faults().clear();
    let rules: Vec<_> =
        house.observe(&d).await.routes.iter().map(|route| route.seen().unwrap().overlays[0].rule.clone()).collect();
    set(&world, Fault::on("DeleteRule", refuse("Throttling", 400)).times(1));
    set(&world, Fault::on("DeleteRule", refuse("AccessDenied", 403)).times(1));
    let fault = house.apply(&d, &Change::DeleteRules { rules: rules.clone() }).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied);
    assert_eq!(calls(&world, "DeleteRule"), 3, "one that fails stops none of the others");
    house.apply(&d, &Change::DeleteRules { rules }).await.unwrap();
    assert_eq!(house.numbers().await, [100, 200, 300]);
}

/// A policy that goes by tags finds none on a rule that is gone, and AWS says that the call is denied.
#[tokio::test]
async fn a_deletion_that_is_denied_is_done_where_the_rule_is_seen_to_be_gone_and_only_there() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "denied-deletion").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let delete = Change::DeleteRules { rules: d.overlays.clone() };
    let lane = world.cloud_on(&Arc::new(Budget::new(BudgetSettings::default()))).for_rollbacks();
    let denied = || set(&world, Fault::on("DeleteRule", refuse("AccessDenied", 403)).times(1));
    let looks = || calls(&world, "DescribeRules");

    denied();
    let before = looks();
    let fault = lane.apply(&d, &delete, later()).await.unwrap_err();
    assert_eq!((fault.kind, fault.operation), (FaultKind::Denied, "DeleteRule"), "it is still there: {fault}");
    assert_eq!(looks() - before, 1, "one look, and no more");

    world.elb.delete_rule().rule_arn(d.overlays[0].as_str()).send().await.unwrap();
    denied();
    let blind = set(&world, Fault::on("DescribeRules", refuse("Throttling", 400)));
    let fault = lane.apply(&d, &delete, later()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Denied, "nobody saw whether it is there: {fault}");

    assert!(world.sim().faults().remove(&blind));
    denied();
    lane.apply(&d, &delete, later()).await.unwrap();
}

#[tokio::test]
async fn a_change_that_is_held_up_is_given_up_in_time_and_may_land_late() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "late").await;
    let d = house.opened(house.declaration(&house.base)).await;
    let holding = set(&world, Fault::on("DeleteRule", Effect::HoldBefore));
    let deadline = Instant::now() + Duration::from_millis(300);
    let change = Change::DeleteRules { rules: d.overlays.clone() };
    let fault: Refusal = house.cloud.apply(&d, &change, deadline).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Transient, "{fault}");
    assert_eq!(house.numbers().await, [99, 100]);
    assert!(world.sim().faults().release(&holding));
    eventually("it lands", async || (house.numbers().await == [100]).then_some(())).await;
    let fault = house.cloud.apply(&d, &change, Instant::now()).await.unwrap_err();
    assert_eq!((fault.kind, calls(&world, "DeleteRule")), (FaultKind::NotSent, 1), "nothing leaves after its deadline");
}

#[tokio::test]
async fn tags_that_were_given_are_not_asked_for() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "asked").await;
    let d = house.opened(house.declaration(&house.base)).await;
    for _ in 0..5 {
        house.observe(&d).await;
    }
    let asked = world.sim().journal().calls(0, Some("DescribeTags"));
    assert!(!asked.is_empty(), "of the base they are");
    let overlay = d.overlays[0].as_str();
    assert!(!asked.iter().any(|call| call.parameters.values().any(|value| value == overlay)));
}

#[tokio::test]
async fn a_launch_that_fails_is_told_in_aws_own_words() {
    let world = World::pocket_region().await;
    let words = "The image id '[ami-0dead]' does not exist. Launching EC2 instance failed.";
    let broken = ImageOf { version: "broken".to_owned(), server: Server::Fails(words.to_owned()) };
    let staged = world.sim().stage(&Stage { service: "other".to_owned(), images: vec![broken], ..Stage::default() }).unwrap();
    let house = House::build(&world, "launch").await;
    let mut d = house.planned(house.declaration(&house.base)).await;
    d.plan.as_mut().unwrap().green.image = Image::parse(&staged.images["broken"]).unwrap();
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    let failure = eventually("the launch fails", async || house.observe(&d).await.launch_failures.into_iter().next()).await;
    assert!(failure.hopeless && failure.message.contains("does not exist"), "{failure:?}");
}

/// A policy without a warm-up of its own, as a copied one may be, counts new servers by the group's.
#[tokio::test]
async fn green_warms_up_as_declared_and_by_awss_default_where_nothing_is() {
    let world = World::pocket_region().await;
    for (service, declared, kept) in [("warm", 120, Some(120)), ("cold", 0, None)] {
        let house = House::build(&world, service).await;
        let mut declaration = house.declaration(&house.base);
        declaration.server_group.instance_warmup = Duration::from_secs(declared);
        let d = house.planned(declaration).await;
        house.apply(&d, &Change::CreateGreen).await.unwrap();
        let groups = world.autoscaling.describe_auto_scaling_groups();
        let groups = groups.auto_scaling_group_names(format!("{service}-prod-v001")).send().await.unwrap();
        assert_eq!(groups.auto_scaling_groups()[0].default_instance_warmup(), kept, "{service}");
    }
}

#[tokio::test]
async fn a_copied_policy_keeps_its_own_warm_up_and_whether_it_is_on() {
    let world = World::pocket_region().await;
    let house = House::with_blue(&world, "asleep").await;
    let cpu = PredefinedMetricSpecification::builder().predefined_metric_type(MetricType::AsgAverageCpuUtilization).build();
    let tracking = TargetTrackingConfiguration::builder().predefined_metric_specification(cpu).target_value(60.0).build();
    let policy = world.autoscaling.put_scaling_policy().auto_scaling_group_name(house.blue()).policy_name("cpu");
    let policy = policy.policy_type("TargetTrackingScaling").target_tracking_configuration(tracking);
    policy.estimated_instance_warmup(90).enabled(false).send().await.unwrap();
    let up = async || house.survey(&house.pending(house.declaration_with_blue())).await.blue.filter(|blue| blue.healthy == 2);
    eventually("blue is healthy", up).await;
    let d = house.planned(house.declaration_with_blue()).await;
    house.apply(&d, &Change::CreateGreen).await.unwrap();
    house.apply(&d, &Change::CopyScaling { what: Scaling::Policies }).await.unwrap();
    let green = d.plan.as_ref().unwrap().green.group.as_str();
    let copies = world.autoscaling.describe_policies().auto_scaling_group_name(green).send().await.unwrap();
    let copies: Vec<_> = copies.scaling_policies().iter().map(|p| (p.estimated_instance_warmup(), p.enabled())).collect();
    assert_eq!(copies, [(Some(90), Some(false))]);
}

#[tokio::test]
async fn the_clock_of_a_region_on_this_machine_is_ours() {
    let world = World::pocket_region().await;
    let house = House::build(&world, "clock").await;
    let d = house.pending(house.declaration(&house.base));
    house.survey(&d).await;
    // A date has whole seconds, so a lead of up to one may be measured, and a busy machine adds to it.
    assert!(house.cloud.clock_lead() <= Duration::from_secs(3), "{:?}", house.cloud.clock_lead());
    house.cloud.warm(&d).await;
    assert_eq!(calls(&world, "DescribeAccountLimits"), d.declaration.routes.len(), "a connection for each route");
}
