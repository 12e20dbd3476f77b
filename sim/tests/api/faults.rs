//! The switches: what a call suffers, and what the region has become of it.

use std::time::Duration;

use aws_sdk_elasticloadbalancingv2::{error::SdkError, operation::delete_rule::DeleteRuleError};
use cutover_sim::{
    faults::{Effect, Fault},
    options::{Clocks, Options},
    scenario::{Stage, Staged},
};

use super::region::{World, code, eventually, forward, quick, staged};

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
