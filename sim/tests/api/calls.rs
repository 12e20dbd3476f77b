//! The protocol around the operations: signatures, request ids, limits, and the switches over HTTP.

use aws_sdk_elasticloadbalancingv2::{error::ProvideErrorMetadata, operation::RequestId};
use cutover_sim::{limits::Rates, options::Options, scenario::Stage};
use serde_json::{Value, json};

use super::region::{World, code, eventually, quick, staged, world};

#[tokio::test]
async fn every_answer_carries_a_request_id_the_sdk_can_read() {
    let World { elb, sim, .. } = world(quick()).await;
    let fine = elb.describe_load_balancers().send().await.expect("answered");
    let refused = elb.delete_rule().rule_arn("arn:none").send().await.expect_err("refused").into_service_error();
    assert_eq!(refused.code(), Some("RuleNotFound"));
    let ids: Vec<_> = sim.journal().calls(0, None).into_iter().map(|call| call.request_id).collect();
    assert_eq!([fine.request_id(), refused.request_id()], [Some(ids[0].as_str()), Some(ids[1].as_str())]);
}

#[tokio::test]
async fn an_unsigned_request_is_turned_away() {
    let World { sim, .. } = world(quick()).await;
    let response = reqwest::Client::new().post(sim.endpoint()).body("Action=DescribeRules").send().await.expect("answered");
    assert_eq!(response.status(), 403);
    assert!(response.headers().contains_key("date") && response.headers().contains_key("x-amzn-requestid"));
    let body = response.text().await.expect("a body");
    assert!(body.contains("<Code>MissingAuthenticationToken</Code>"), "{body}");
}

#[tokio::test]
async fn limits_throttle_a_burst_of_changes_and_leave_reads_alone() {
    let World { elb, sim, .. } = world(Options { limits: true, ..quick() }).await;
    let mut codes = Vec::new();
    for _ in 0..40 {
        codes.push(code(elb.delete_rule().rule_arn("arn:none").send().await));
    }
    let passed = codes.iter().filter(|code| *code == "RuleNotFound").count();
    assert!((20..40).contains(&passed), "{passed} passed");
    assert!(codes.iter().any(|code| code == "Throttling"));
    elb.describe_load_balancers().send().await.expect("reads have a bucket of their own");
    assert_eq!(sim.limits().rates(), Some(Rates::default()));
}

#[tokio::test]
async fn an_operation_that_is_not_here_says_so() {
    let World { elb, sim: _sim, .. } = world(quick()).await;
    assert_eq!(code(elb.describe_ssl_policies().send().await), "InvalidAction");
}

#[tokio::test]
async fn a_person_with_only_the_binary_sets_a_stage_and_breaks_it() {
    let World { sim, .. } = world(quick()).await;
    let http = reqwest::Client::new();
    let at = |path: &str| format!("{}/_sim/{path}", sim.endpoint());
    let stage = http.post(at("stage")).json(&json!({ "servers": 1 })).send().await.expect("answered");
    assert_eq!(stage.status(), 201);
    let stage: Value = stage.json().await.expect("JSON");
    let listener = stage["listeners"][0].as_str().expect("a listener").to_owned();

    let address = eventually("the listener is open", || async {
        let listeners: Value = http.get(at("listeners")).send().await.ok()?.json().await.ok()?;
        listeners[&listener].as_str().map(str::to_owned)
    })
    .await;
    let host = stage["services"][0]["host"].as_str().expect("a host");
    let ask = || http.get(format!("http://{address}/")).header("host", host).send();
    eventually("blue serves", || async { (ask().await.ok()?.headers().get("x-version")? == "v1").then_some(()) }).await;

    let region: Value = http.get(at("region")).send().await.expect("answered").json().await.expect("JSON");
    let instance = region["groups"][0]["instances"][0].as_str().expect("an instance");
    let kill = http.post(at(&format!("instances/{instance}/kill"))).send().await.expect("answered");
    assert_eq!(kill.status(), 204);
    eventually("its group replaces it", || async {
        let region: Value = http.get(at("region")).send().await.ok()?.json().await.ok()?;
        let ids = region["groups"][0]["instances"].as_array()?.clone();
        (region["groups"][0]["in_service"] == 1 && !ids.contains(&json!(instance))).then_some(())
    })
    .await;

    let unknown = http.post(at("instances/i-none/kill")).send().await.expect("answered");
    assert_eq!(unknown.status(), 404);
    let wrong = http.post(at("stage")).json(&json!({ "services": 0 })).send().await.expect("answered");
    assert_eq!(wrong.status(), 422);
}

#[tokio::test]
async fn faults_images_and_calls_are_within_reach_of_curl() {
    let (World { sim, elb, .. }, _staged) = staged(quick(), &Stage { servers: 0, ..Stage::default() }).await;
    let http = reqwest::Client::new();
    let at = |path: &str| format!("{}/_sim/{path}", sim.endpoint());
    let fault =
        json!({ "operation": "DescribeRules", "effect": { "kind": "error", "code": "InternalFailure", "status": 500 } });
    let fault: Value = http.post(at("faults")).json(&fault).send().await.expect("set").json().await.expect("JSON");
    assert_eq!(code(elb.describe_rules().listener_arn("arn").send().await), "InternalFailure");
    let removed = http.delete(at(&format!("faults/{}", fault["id"].as_str().expect("an id")))).send().await.expect("removed");
    assert_eq!(removed.status(), 204);
    assert_eq!(code(elb.describe_rules().listener_arn("arn").send().await), "ListenerNotFound");

    let calls: Value = http.get(at("calls?operation=DescribeRules")).send().await.expect("calls").json().await.expect("JSON");
    assert_eq!(calls.as_array().map(Vec::len), Some(2));
    assert_eq!(calls[0]["fault"], fault["id"]);
    assert_eq!(calls[1]["parameters"]["ListenerArn"], "arn");
    let counts: Value = http.get(at("calls/counts")).send().await.expect("counts").json().await.expect("JSON");
    assert_eq!(counts, json!({ "elasticloadbalancing:DescribeRules": { "InternalFailure": 1, "ListenerNotFound": 1 } }));
    http.delete(at("calls")).send().await.expect("cleared");
    assert!(sim.journal().calls(0, None).is_empty());

    let image = json!({ "server": { "built_in": { "version": "v9" } } });
    let image: Value = http.post(at("images")).json(&image).send().await.expect("made").json().await.expect("JSON");
    let template = json!({ "name": "api", "versions": { "1": image["id"] } });
    let template: Value =
        http.post(at("launch-templates")).json(&template).send().await.expect("made").json().await.expect("JSON");
    assert!(sim.shared().now().launch_templates.contains_key(template["id"].as_str().expect("an id")));
}
