//! The switches: what a call suffers, and what the region has become of it.

use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::{
    error::{ProvideErrorMetadata, SdkError},
    operation::delete_rule::DeleteRuleError,
};
use cutover_sim::{
    faults::{Effect, Fault},
    options::{Clocks, Options},
    scenario::{Stage, Staged},
};

use super::region::{World, code, eventually, forward, host, quick, slow, staged};

async fn bare() -> (World, Staged) {
    staged(quick(), &Stage { servers: 0, ..Stage::default() }).await
}

fn set(world: &World, fault: Fault) -> String {
    world.sim.faults().set(fault).expect("room for a fault")
}

async fn delete(world: &World, rule: &str) -> Result<(), SdkError<DeleteRuleError>> {
    world.elb.delete_rule().rule_arn(rule).send().await.map(drop)
}

fn held(world: &World, rule: &str) -> bool {
    world.sim.shared().now().rules.contains_key(rule)
}

#[tokio::test]
async fn an_error_is_answered_and_nothing_is_applied() {
    let (world, staged) = bare().await;
    let rule = &staged.services[0].routes[0];
    let throttled = Effect::Error { code: "Throttling".to_owned(), message: "Rate exceeded".to_owned(), status: 400 };
    set(&world, Fault::on("DeleteRule", throttled).times(1));
    assert_eq!(code(delete(&world, rule).await), "Throttling");
    assert!(held(&world, rule));
    delete(&world, rule).await.expect("the next call passes");
}

#[tokio::test]
async fn a_feigned_call_is_answered_as_if_it_were_applied() {
    let (world, staged) = bare().await;
    let rule = &staged.services[0].routes[0];
    set(&world, Fault::on("DeleteRule", Effect::Feigned).times(1));
    delete(&world, rule).await.expect("it says that it is done");
    assert!(held(&world, rule));
    let told = world.sim.journal().calls(0, Some("DeleteRule"));
    assert_eq!((told[0].outcome.as_deref(), told[0].applied), (Some("ok"), false));
    delete(&world, rule).await.expect("and this time it is");
    assert!(!held(&world, rule));
}

#[tokio::test]
async fn an_answer_is_lost_after_the_call_was_applied() {
    let (world, staged) = bare().await;
    let rule = &staged.services[0].routes[0];
    set(&world, Fault::on("DeleteRule", Effect::Lost { hang: false }).times(1));
    let lost = delete(&world, rule).await.expect_err("no answer");
    assert!(matches!(lost, SdkError::DispatchFailure(_)), "{lost:?}");
    assert!(!held(&world, rule));
    assert_eq!(code(delete(&world, rule).await), "RuleNotFound", "a repeat learns that it was applied");
    let outcomes: Vec<_> = world.sim.journal().calls(0, Some("DeleteRule"));
    let outcomes: Vec<_> = outcomes.iter().map(|call| (call.outcome.as_deref(), call.applied)).collect();
    assert_eq!(outcomes, [(Some("lost"), true), (Some("RuleNotFound"), false)]);
}

#[tokio::test]
async fn a_reset_call_was_never_applied() {
    let (world, staged) = bare().await;
    let rule = &staged.services[0].routes[0];
    set(&world, Fault::on("DeleteRule", Effect::Reset).times(1));
    assert!(matches!(delete(&world, rule).await, Err(SdkError::DispatchFailure(_))));
    assert!(held(&world, rule));
}

#[tokio::test]
async fn a_read_is_stale_by_as_many_changes_as_asked() {
    let (world, staged) = bare().await;
    let service = &staged.services[0];
    let (blue, green) = (service.slots[0][0].as_str(), service.slots[1][0].as_str());
    let shift = async |weight: i32| {
        let action = forward(&[(blue, 100 - weight), (green, weight)]);
        world.elb.modify_rule().rule_arn(&service.routes[0]).actions(action).send().await.expect("shifted");
    };
    let seen = async || {
        let rules = world.elb.describe_rules().rule_arns(&service.routes[0]).send().await.expect("rules");
        rules.rules()[0].actions()[0].forward_config().expect("a forward").target_groups()[1].weight()
    };
    shift(10).await;
    shift(20).await;
    shift(30).await;
    set(&world, Fault::on("DescribeRules", Effect::Stale { depth: 2 }).times(1));
    assert_eq!(seen().await, Some(10));
    assert_eq!(seen().await, Some(30));
}

#[tokio::test]
async fn a_held_call_lands_late_even_when_its_caller_is_gone() {
    let (world, staged) = bare().await;
    let rule = &staged.services[0].routes[0];
    let fault = set(&world, Fault::on("DeleteRule", Effect::HoldBefore));
    let call = world.elb.delete_rule().rule_arn(rule).send();
    tokio::time::timeout(Duration::from_millis(200), call).await.expect_err("it is held");
    let holding = || async { (world.sim.faults().list()[0].holding == 1).then_some(()) };
    eventually("the call is held", holding).await;
    assert!(held(&world, rule));
    assert!(world.sim.faults().release(&fault));
    eventually("it landed", || async { (!held(&world, rule)).then_some(()) }).await;
}

#[tokio::test]
async fn a_call_that_was_signed_too_long_ago_is_refused_when_it_lands() {
    let clocks = Clocks { signature_life: Duration::from_secs(30), ..Clocks::default() };
    let options = Options { clocks, ..quick() };
    let (world, staged) = staged(options, &Stage { servers: 0, ..Stage::default() }).await;
    let rule = &staged.services[0].routes[0];
    let fault = set(&world, Fault::on("DeleteRule", Effect::HoldBefore));
    let elb = world.elb.clone();
    let late = tokio::spawn({
        let rule = rule.clone();
        async move { elb.delete_rule().rule_arn(rule).send().await }
    });
    let signed = std::time::Instant::now();
    // A second for the date's missing fractions, and the life of 0.3 s.
    eventually("the signature is too old", || async { (signed.elapsed() > Duration::from_millis(2_400)).then_some(()) }).await;
    assert!(world.sim.faults().release(&fault));
    assert_eq!(code(late.await.expect("no panic")), "SignatureDoesNotMatch");
    assert!(held(&world, rule));
}

#[tokio::test]
async fn an_answer_is_held_while_its_effect_is_there() {
    let (world, staged) = bare().await;
    let rule = &staged.services[0].routes[0];
    let fault = set(&world, Fault::on("DeleteRule", Effect::HoldAfter));
    let elb = world.elb.clone();
    let call = tokio::spawn({
        let rule = rule.clone();
        async move { elb.delete_rule().rule_arn(rule).send().await.map(drop) }
    });
    eventually("it is applied", || async { (!held(&world, rule)).then_some(()) }).await;
    assert!(!call.is_finished());
    assert!(world.sim.faults().release(&fault));
    call.await.expect("no panic").expect("answered at last");
}

#[tokio::test]
async fn what_was_just_made_may_not_be_there_yet_for_whoever_looks_and_whoever_changes_it() {
    let (world, staged) = bare().await;
    let service = &staged.services[0];
    let blue = service.slots[0][0].as_str();
    let fresh = world.elb.create_rule().listener_arn(&service.listeners[0]).priority(50).conditions(host("a.test"));
    let fresh = fresh.actions(forward(&[(blue, 1)])).send().await.expect("created");
    let fresh = fresh.rules()[0].rule_arn().expect("an ARN").to_owned();
    let shift = || world.elb.modify_rule().rule_arn(&fresh).actions(forward(&[(blue, 2)])).send();
    set(&world, Fault { operation: None, ..Fault::on("", Effect::NotYet { depth: 1 }).times(3) });
    let rules = world.elb.describe_rules().listener_arn(&service.listeners[0]).send().await.expect("rules");
    assert_eq!(rules.rules().len(), 2, "the base and the default");
    assert_eq!(code(world.elb.describe_tags().resource_arns(&fresh).send().await), "RuleNotFound");
    assert_eq!(code(shift().await), "RuleNotFound");
    shift().await.expect("it is there now");
    set(&world, Fault { operation: None, ..Fault::on("", Effect::NotYet { depth: 1 }).times(1) });
    shift().await.expect("made two changes ago: it was there before the last");
}

#[tokio::test]
async fn every_read_that_a_deployment_makes_may_be_stale() {
    let (World { elb, auto_scaling, sim }, staged) = staged(slow(), &Stage::default()).await;
    let service = &staged.services[0];
    let (group, slot) = (service.blue.as_deref().expect("a blue"), service.slots[0][0].as_str());
    eventually("blue is registered", || async { (sim.shared().now().target_groups[slot].targets.len() == 2).then_some(()) })
        .await;
    let stale = |operation: &str| {
        sim.faults().set(Fault::on(operation, Effect::Stale { depth: 1 }).times(1)).expect("room for a fault")
    };

    let groups = async || {
        let groups = auto_scaling.describe_auto_scaling_groups().auto_scaling_group_names(group).send().await.expect("groups");
        groups.auto_scaling_groups()[0].max_size()
    };
    auto_scaling.update_auto_scaling_group().auto_scaling_group_name(group).max_size(9).send().await.expect("changed");
    stale("DescribeAutoScalingGroups");
    assert_eq!((groups().await, groups().await), (Some(4), Some(9)));

    let policies = async || {
        let policies = auto_scaling.describe_policies().auto_scaling_group_name(group).send().await;
        policies.expect("policies").scaling_policies().len()
    };
    let put = auto_scaling.put_scaling_policy().auto_scaling_group_name(group).policy_name("steps");
    put.adjustment_type("ChangeInCapacity").scaling_adjustment(1).send().await.expect("kept");
    stale("DescribePolicies");
    assert_eq!((policies().await, policies().await), (0, 1));

    let health = async || {
        let health = elb.describe_target_health().target_group_arn(slot).send().await.expect("health");
        let states = health.target_health_descriptions().iter().filter_map(|target| target.target_health()?.state());
        states.filter(|state| state.as_str() == "draining").count()
    };
    auto_scaling
        .detach_load_balancer_target_groups()
        .auto_scaling_group_name(group)
        .target_group_arns(slot)
        .send()
        .await
        .unwrap();
    stale("DescribeTargetHealth");
    assert_eq!((health().await, health().await), (0, 2));

    let rules = async || {
        let rules = elb.describe_rules().listener_arn(&service.listeners[0]).send().await.expect("rules");
        rules.rules().len()
    };
    elb.delete_rule().rule_arn(&service.routes[0]).send().await.expect("deleted");
    stale("DescribeRules");
    assert_eq!((rules().await, rules().await), (2, 1));
}

#[tokio::test]
async fn every_hazard_befalls_a_read_and_a_change_as_its_name_says() {
    for (name, effect) in Effect::hazards() {
        let (world, staged) = bare().await;
        let (listener, rule) = (&staged.services[0].listeners[0], &staged.services[0].routes[0]);
        // Something to be behind of.
        delete_after_creating(&world, &staged).await;
        set(&world, Fault::on("DescribeRules", effect.clone()).times(1));
        set(&world, Fault::on("DeleteRule", effect.clone()).times(1));
        let told = async |call: &str| {
            let patience = Duration::from_millis(300);
            let answer = async {
                match call {
                    "look" => {
                        world.elb.describe_rules().listener_arn(listener).send().await.map(|it| it.rules().len()).map_err(told)
                    }
                    _ => world.elb.delete_rule().rule_arn(rule).send().await.map(|_| 0).map_err(told),
                }
            };
            tokio::time::timeout(patience, answer).await.unwrap_or(Err("silence".to_owned()))
        };
        let (look, change, applied) = (told("look").await, told("change").await, !held(&world, rule));
        let refused = |code: &str| (Err(code.to_owned()), Err(code.to_owned()), false);
        let expected = match name {
            "throttled" => refused("Throttling"),
            "500" => refused("InternalFailure"),
            "expired credentials" => refused("ExpiredToken"),
            "hang" => refused("silence"),
            "reset before" => refused("no answer"),
            "answer lost" => (Err("no answer".to_owned()), Err("no answer".to_owned()), true),
            "answer lost in silence" => (Err("silence".to_owned()), Err("silence".to_owned()), true),
            // The rule that was made and deleted again is seen as it was before its end.
            "stale by 1" | "not there yet" => (Ok(3), Ok(0), true),
            // As far back as there is anything: before it was made.
            "stale by 3" => (Ok(2), Ok(0), true),
            other => panic!("a hazard that nobody tests: {other}"),
        };
        assert_eq!((look, change, applied), expected, "{name}");
    }
}

fn told<E: ProvideErrorMetadata, R>(error: SdkError<E, R>) -> String {
    error.code().unwrap_or("no answer").to_owned()
}

async fn delete_after_creating(world: &World, staged: &Staged) {
    let service = &staged.services[0];
    let made = world.elb.create_rule().listener_arn(&service.listeners[0]).priority(50).conditions(host("a.test"));
    let made = made.actions(forward(&[(service.slots[0][0].as_str(), 1)])).send().await.expect("created");
    delete(world, made.rules()[0].rule_arn().expect("an ARN")).await.expect("deleted");
}
