//! What an account has: load balancers, public and internal, and quotas.

use aws_sdk_elasticloadbalancingv2::types::{LoadBalancerSchemeEnum, TargetHealthStateEnum};
use cutover_sim::scenario::Stage;
use serde_json::json;

use super::region::{World, code, eventually, forward, host, quick, slow, staged};

#[tokio::test]
async fn quotas_are_shown_by_awss_names_and_hold_once_they_are_set() {
    let (World { elb, auto_scaling, sim }, staged) = staged(slow(), &Stage::default()).await;
    let shown = async |name: &str| {
        let limits = elb.describe_account_limits().send().await.expect("limits");
        limits.limits().iter().find(|limit| limit.name() == Some(name)).and_then(|limit| limit.max().map(str::to_owned))
    };
    for (name, max) in [
        ("rules-per-application-load-balancer", "100"),
        ("target-groups-per-application-load-balancer", "100"),
        ("target-groups-per-action-on-application-load-balancer", "5"),
        ("targets-per-application-load-balancer", "1000"),
        ("listeners-per-application-load-balancer", "50"),
    ] {
        assert_eq!(shown(name).await.as_deref(), Some(max), "{name}");
    }
    let first = elb.describe_account_limits().page_size(10).send().await.expect("a page");
    let second = elb.describe_account_limits().set_marker(first.next_marker).send().await.expect("a page");
    assert!(first.limits.is_some_and(|limits| limits.len() == 10) && second.next_marker().is_none());

    let http = reqwest::Client::new();
    let set = |quotas| http.put(format!("{}/_sim/quotas", sim.endpoint())).json(&quotas).send();
    let quotas = json!({
        "rules-per-application-load-balancer": 2,
        "target-groups-per-application-load-balancer": 1,
        "auto-scaling-groups": 1
    });
    assert_eq!(set(quotas).await.expect("answered").status(), 204);
    assert_eq!(set(json!({ "wishes": 3 })).await.expect("answered").status(), 422);
    assert_eq!(shown("rules-per-application-load-balancer").await.as_deref(), Some("2"));
    let service = &staged.services[0];
    let create = |priority, slot: &str| {
        let call = elb.create_rule().listener_arn(&service.listeners[0]).priority(priority).conditions(host("a.test"));
        call.actions(forward(&[(slot, 1)])).send()
    };
    let (blue, green) = (&service.slots[0][0], &service.slots[1][0]);
    assert_eq!(code(create(1, green).await), "TooManyUniqueTargetGroupsPerLoadBalancer");
    create(1, blue).await.expect("the second rule");
    assert_eq!(code(create(2, blue).await), "TooManyRules");
    let limits = auto_scaling.describe_account_limits().send().await.expect("limits");
    assert_eq!((limits.max_number_of_auto_scaling_groups(), limits.number_of_auto_scaling_groups()), (Some(1), Some(1)));
    let group = auto_scaling.create_auto_scaling_group().auto_scaling_group_name("green").min_size(0).max_size(0);
    assert_eq!(code(group.send().await), "LimitExceeded");
}

#[tokio::test]
async fn one_group_serves_behind_a_public_and_an_internal_load_balancer() {
    let (World { elb, sim, .. }, staged) = staged(quick(), &Stage { load_balancers: 2, ..Stage::default() }).await;
    let service = &staged.services[0];
    let both = elb.describe_load_balancers().names("edge-1").names("edge-2").send().await.expect("both");
    let schemes: Vec<_> = both.load_balancers().iter().filter_map(|balancer| balancer.scheme().cloned()).collect();
    assert_eq!(schemes, [LoadBalancerSchemeEnum::InternetFacing, LoadBalancerSchemeEnum::Internal]);
    let inside = elb.describe_load_balancers().load_balancer_arns(&staged.load_balancers[1]).send().await.expect("one");
    let name = inside.load_balancers()[0].dns_name().expect("a name");
    assert!(name.starts_with("internal-edge-2-") && name.ends_with(".eu-west-1.elb.amazonaws.com"), "{name}");

    let [public, internal] = &service.slots[0][..] else { panic!("a slot on each load balancer") };
    for slot in [public, internal] {
        eventually("blue is healthy behind both", || async {
            let health = elb.describe_target_health().target_group_arn(slot).send().await.expect("health");
            let states = health.target_health_descriptions().iter().filter_map(|target| target.target_health()?.state());
            (states.filter(|state| **state == TargetHealthStateEnum::Healthy).count() == 2).then_some(())
        })
        .await;
    }
    let http = reqwest::Client::new();
    for listener in &service.listeners {
        let address = sim.shared().now().listeners[listener.as_str()].address.expect("it is open");
        let answer = http.get(format!("http://{address}/")).header("host", &service.host).send().await.expect("answered");
        assert_eq!(answer.headers()["x-version"], "v1");
    }
    let across = elb.modify_rule().rule_arn(&service.routes[0]).actions(forward(&[(internal, 1)])).send().await;
    assert_eq!(code(across), "TargetGroupAssociationLimit", "a slot has one load balancer");
}

#[tokio::test]
async fn one_call_names_twenty_things_and_no_more() {
    let (World { elb, sim, .. }, staged) = staged(slow(), &Stage { servers: 0, services: 21, ..Stage::default() }).await;
    let routes = |count: usize| Some(staged.services[..count].iter().map(|it| it.routes[0].clone()).collect::<Vec<_>>());
    let slots = |count: usize| Some(staged.services[..count].iter().map(|it| it.slots[0][0].clone()).collect::<Vec<_>>());
    elb.describe_rules().set_rule_arns(routes(20)).send().await.expect("twenty rules");
    let more = elb.describe_rules().set_rule_arns(routes(21)).send().await;
    let told = format!("{more:?}");
    assert!(told.contains("You cannot describe more than '20' listener rules at a time"), "{told}");
    elb.describe_tags().set_resource_arns(routes(20)).send().await.expect("twenty rules' tags");
    assert_eq!(code(elb.describe_tags().set_resource_arns(routes(21)).send().await), "ValidationError");
    elb.describe_target_groups().set_target_group_arns(slots(20)).send().await.expect("twenty slots");
    assert_eq!(code(elb.describe_target_groups().set_target_group_arns(slots(21)).send().await), "ValidationError");
    let nobody: Vec<String> = (0..21).map(|number| format!("arn:{number}")).collect();
    assert_eq!(code(elb.describe_listeners().set_listener_arns(Some(nobody.clone())).send().await), "ValidationError");
    assert_eq!(code(elb.describe_load_balancers().set_load_balancer_arns(Some(nobody)).send().await), "ValidationError");
    sim.shutdown().await;
}

#[tokio::test]
async fn listeners_come_in_pages() {
    let (World { elb, sim: _sim, .. }, staged) = staged(slow(), &Stage { servers: 0, ..Stage::default() }).await;
    let balancer = &staged.load_balancers[0];
    for port in [81, 82] {
        let action = forward(&[(staged.services[0].slots[0][0].as_str(), 1)]);
        elb.create_listener().load_balancer_arn(balancer).port(port).default_actions(action).send().await.expect("created");
    }
    let page = |marker| elb.describe_listeners().load_balancer_arn(balancer).page_size(2).set_marker(marker).send();
    let first = page(None).await.expect("a page");
    assert_eq!(first.listeners().len(), 2);
    let second = page(Some(first.next_marker().expect("there is more").to_owned())).await.expect("a page");
    assert_eq!((second.listeners().len(), second.next_marker()), (1, None));
}
