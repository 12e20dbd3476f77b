//! Rules: the calls with which a deployment moves traffic.

use aws_sdk_elasticloadbalancingv2::types::{RuleCondition, RulePriorityPair, Tag, TargetGroupAttribute};
use cutover_sim::scenario::Stage;

use super::region::{World, code, forward, host, quick, staged, world};

/// One service without servers: rules are all that is looked at.
fn rules_only() -> Stage {
    Stage { servers: 0, ..Stage::default() }
}

#[tokio::test]
async fn an_overlay_lives_and_dies_above_a_base_that_is_never_touched() {
    let (World { elb, sim, .. }, staged) = staged(quick(), &rules_only()).await;
    let service = &staged.services[0];
    let (listener, base) = (&service.listeners[0], &service.routes[0]);
    let (blue, green) = (service.slots[0][0].as_str(), service.slots[1][0].as_str());
    let created = elb
        .create_rule()
        .listener_arn(listener)
        .priority(50)
        .conditions(host(&service.host))
        .actions(forward(&[(blue, 999), (green, 0)]))
        .tags(Tag::builder().key("cutover:deployment").value("42").build())
        .send()
        .await
        .expect("the overlay is created");
    let overlay = created.rules()[0].rule_arn().expect("an ARN").to_owned();

    elb.modify_rule().rule_arn(&overlay).actions(forward(&[(blue, 750), (green, 250)])).send().await.expect("shifted");

    let rules = elb.describe_rules().listener_arn(listener).send().await.expect("rules");
    let priorities: Vec<_> = rules.rules().iter().filter_map(|rule| rule.priority()).collect();
    assert_eq!(priorities, ["50", "100", "default"]);
    let weights: Vec<_> = rules.rules()[0].actions()[0].forward_config().expect("a forward").target_groups().to_vec();
    assert_eq!(weights.iter().map(|tuple| tuple.weight()).collect::<Vec<_>>(), [Some(750), Some(250)]);
    assert_eq!(rules.rules()[0].conditions()[0].values(), [service.host.as_str()], "given in one form, shown in both");
    assert_eq!(rules.rules()[2].is_default(), Some(true));

    let tags = elb.describe_tags().resource_arns(&overlay).send().await.expect("tags");
    assert_eq!(tags.tag_descriptions()[0].tags()[0].value(), Some("42"));

    elb.delete_rule().rule_arn(&overlay).send().await.expect("rolled back");
    assert_eq!(code(elb.delete_rule().rule_arn(&overlay).send().await), "RuleNotFound");
    let late = elb.modify_rule().rule_arn(&overlay).actions(forward(&[(green, 999)])).send().await;
    assert_eq!(code(late), "RuleNotFound", "AWS itself is the fence");
    let base = elb.describe_rules().rule_arns(base).send().await.expect("the base");
    let action = &base.rules()[0].actions()[0];
    assert_eq!(action.target_group_arn(), Some(blue), "a forward to one group is shown in both forms");
    assert_eq!(action.forward_config().expect("a forward").target_groups()[0].target_group_arn(), Some(blue));
    sim.shutdown().await;
}

#[tokio::test]
async fn what_aws_refuses_of_a_rule_is_refused() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &rules_only()).await;
    let service = &staged.services[0];
    let (listener, blue, green) = (&service.listeners[0], service.slots[0][0].as_str(), service.slots[1][0].as_str());
    let create = |priority: i32| elb.create_rule().listener_arn(listener).priority(priority).conditions(host("a.test"));

    assert_eq!(code(create(100).actions(forward(&[(blue, 1)])).send().await), "PriorityInUse");
    assert_eq!(code(create(50_001).actions(forward(&[(blue, 1)])).send().await), "ValidationError");
    assert_eq!(code(create(0).actions(forward(&[(blue, 1)])).send().await), "ValidationError");
    assert_eq!(code(create(1).actions(forward(&[(blue, 1000), (green, 0)])).send().await), "ValidationError");
    assert_eq!(code(create(1).actions(forward(&[(blue, -1)])).send().await), "ValidationError");
    assert_eq!(code(create(1).actions(forward(&[(blue, 1), (blue, 1)])).send().await), "ValidationError");
    assert_eq!(code(create(1).actions(forward(&[(&format!("{blue}0"), 1)])).send().await), "TargetGroupNotFound");
    let unknown = elb.create_rule().listener_arn(format!("{listener}0")).priority(1).conditions(host("a.test"));
    assert_eq!(code(unknown.actions(forward(&[(blue, 1)])).send().await), "ListenerNotFound");

    let arns: Vec<String> = (0..6).map(|n| format!("{blue}{n}")).collect();
    let six: Vec<(&str, i32)> = arns.iter().map(|arn| (arn.as_str(), 1)).collect();
    assert_eq!(code(create(1).actions(forward(&six)).send().await), "ValidationError");

    let both = RuleCondition::builder().field("host-header").values("a.test");
    let both = both.host_header_config(host("a.test").host_header_config().expect("set").clone()).build();
    let refused = elb.create_rule().listener_arn(listener).priority(1).conditions(both).actions(forward(&[(blue, 1)]));
    let refused = refused.send().await.expect_err("both forms").into_service_error();
    let message = aws_sdk_elasticloadbalancingv2::error::ProvideErrorMetadata::message(&refused).unwrap_or_default();
    assert_eq!(message, "You cannot provide both Values and 'HostHeaderConfig'");

    create(2).actions(forward(&[(blue, 0), (green, 0)])).send().await.expect("zero weights are taken (not verified on AWS)");
    let rules = elb.describe_rules().listener_arn(listener).send().await.expect("rules");
    assert_eq!(rules.rules().len(), 3, "nothing else came of it");
}

#[tokio::test]
async fn a_load_balancer_has_a_hundred_rules_and_no_more() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &rules_only()).await;
    let service = &staged.services[0];
    let create = |priority: i32| {
        let blue = service.slots[0][0].as_str();
        elb.create_rule()
            .listener_arn(&service.listeners[0])
            .priority(priority)
            .conditions(host("a.test"))
            .actions(forward(&[(blue, 1)]))
            .send()
    };
    for priority in 1..100 {
        create(priority).await.expect("room for one more");
    }
    assert_eq!(code(create(101).await), "TooManyRules");

    let mut pages = Vec::new();
    let mut marker = None;
    loop {
        let call = elb.describe_rules().listener_arn(&service.listeners[0]).page_size(40).set_marker(marker);
        let page = call.send().await.expect("a page");
        pages.push(page.rules().len());
        marker = page.next_marker().map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(pages, [40, 40, 21]);
}

#[tokio::test]
async fn a_default_rule_can_be_looked_at_and_only_its_listener_changes_it() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &Stage { default_action: true, ..rules_only() }).await;
    let service = &staged.services[0];
    let (listener, blue, green) = (&service.listeners[0], service.slots[0][0].as_str(), service.slots[1][0].as_str());
    assert_eq!(service.routes, service.listeners, "the route is the listener itself");
    let rules = elb.describe_rules().listener_arn(listener).send().await.expect("rules");
    let default = rules.rules()[0].rule_arn().expect("an ARN").to_owned();

    let modified = elb.modify_rule().rule_arn(&default).actions(forward(&[(green, 1)])).send().await;
    assert_eq!(code(modified), "OperationNotPermitted");
    assert_eq!(code(elb.delete_rule().rule_arn(&default).send().await), "OperationNotPermitted");

    let action = forward(&[(green, 1)]);
    elb.modify_listener().listener_arn(listener).default_actions(action).send().await.expect("modified");
    let rule = elb.describe_rules().rule_arns(&default).send().await.expect("the default rule");
    assert_eq!(rule.rules()[0].actions()[0].target_group_arn(), Some(green));
    let unknown = elb.modify_listener().listener_arn(listener).default_actions(forward(&[(&format!("{blue}0"), 1)]));
    assert_eq!(code(unknown.send().await), "TargetGroupNotFound");
}

#[tokio::test]
async fn looking_rules_up_by_arn_fails_as_a_whole() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &rules_only()).await;
    let base = &staged.services[0].routes[0];
    let gone = format!("{base}0");
    let both = elb.describe_rules().rule_arns(base).rule_arns(gone).send().await;
    assert_eq!(code(both), "RuleNotFound");
    assert_eq!(code(elb.describe_rules().send().await), "ValidationError");
}

#[tokio::test]
async fn two_rules_change_places_in_one_call() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &Stage { routes: 2, ..rules_only() }).await;
    let [one, two] = &staged.services[0].routes[..] else { panic!("two routes") };
    let pair = |arn: &str, priority| RulePriorityPair::builder().rule_arn(arn).priority(priority).build();
    let taken = elb.set_rule_priorities().rule_priorities(pair(one, 200)).send().await;
    assert_eq!(code(taken), "PriorityInUse");
    let swapped = elb.set_rule_priorities().rule_priorities(pair(one, 200)).rule_priorities(pair(two, 100)).send().await;
    swapped.expect("both at once");
    let rules = elb.describe_rules().listener_arn(&staged.listeners[0]).send().await.expect("rules");
    assert_eq!(rules.rules()[0].rule_arn(), Some(two.as_str()));
}

#[tokio::test]
async fn a_target_group_belongs_to_one_load_balancer_and_stays_while_a_rule_names_it() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &Stage { load_balancers: 2, ..rules_only() }).await;
    let service = &staged.services[0];
    let blue = service.slots[0][0].as_str();
    let elsewhere = elb.create_rule().listener_arn(&service.listeners[1]).priority(1).conditions(host("a.test"));
    assert_eq!(code(elsewhere.actions(forward(&[(blue, 1)])).send().await), "TargetGroupAssociationLimit");
    assert_eq!(code(elb.delete_target_group().target_group_arn(blue).send().await), "ResourceInUse");
    elb.delete_rule().rule_arn(&service.routes[0]).send().await.expect("deleted");
    elb.delete_target_group().target_group_arn(blue).send().await.expect("free now");
    let gone = elb.describe_target_groups().target_group_arns(blue).send().await;
    assert_eq!(code(gone), "TargetGroupNotFound");
}

#[tokio::test]
async fn sticky_slots_need_a_sticky_rule() {
    let (World { elb, sim: _sim, .. }, staged) = staged(quick(), &rules_only()).await;
    let service = &staged.services[0];
    let (blue, green) = (service.slots[0][0].as_str(), service.slots[1][0].as_str());
    let sticky = TargetGroupAttribute::builder().key("stickiness.enabled").value("true").build();
    elb.modify_target_group_attributes().target_group_arn(green).attributes(sticky).send().await.expect("modified");
    let rule = elb.create_rule().listener_arn(&service.listeners[0]).priority(1).conditions(host("a.test"));
    let refused = rule.actions(forward(&[(blue, 999), (green, 0)])).send().await;
    assert_eq!(code(refused), "InvalidConfigurationRequest");
}

#[tokio::test]
async fn creating_the_same_target_group_again_answers_the_one_there_is() {
    let World { elb, sim: _sim, .. } = world(quick()).await;
    let create = |port| elb.create_target_group().name("web-a").port(port).vpc_id("vpc-1").protocol("HTTP".into()).send();
    let first = create(80).await.expect("created");
    let again = create(80).await.expect("idempotent");
    assert_eq!(first.target_groups()[0].target_group_arn(), again.target_groups()[0].target_group_arn());
    assert_eq!(code(create(81).await), "DuplicateTargetGroupName");
}

#[tokio::test]
async fn a_front_is_made_and_removed_by_hand() {
    let World { elb, sim: _sim, .. } = world(quick()).await;
    let made = elb.create_load_balancer().name("edge").subnets("subnet-1").send().await.expect("created");
    let balancer = made.load_balancers()[0].load_balancer_arn().expect("an ARN").to_owned();
    let group = elb.create_target_group().name("web-a").port(80).vpc_id("vpc-1").send().await.expect("created");
    let group = group.target_groups()[0].target_group_arn().expect("an ARN").to_owned();
    let listen = || elb.create_listener().load_balancer_arn(&balancer).port(80).default_actions(forward(&[(&group, 1)]));
    listen().send().await.expect("created");
    assert_eq!(code(listen().send().await), "DuplicateListener");
    elb.delete_load_balancer().load_balancer_arn(&balancer).send().await.expect("deleted");
    elb.delete_load_balancer().load_balancer_arn(&balancer).send().await.expect("deleting it again is no error");
    let listeners = elb.describe_listeners().load_balancer_arn(&balancer).send().await;
    assert_eq!(code(listeners), "LoadBalancerNotFound");
}
