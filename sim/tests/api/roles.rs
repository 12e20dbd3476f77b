//! Several accounts and regions: a role leads into another account, its session ends, and nothing is shared.

use std::time::{Duration, Instant};

use aws_config::sts::AssumeRoleProvider;
use aws_sdk_autoscaling::config::{Credentials, ProvideCredentials};
use aws_sdk_elasticloadbalancingv2::Client as Elb;
use cutover_sim::{
    model::Place,
    options::Options,
    scenario::{Stage, Staged},
};
use serde_json::{Value, json};

use super::region::{World, code, config, eventually, slow, world};

const ROLE: &str = "arn:aws:iam::222222222222:role/teams/release";

fn there() -> Place {
    Place { account: "222222222222".to_owned(), ..Place::default() }
}

/// A home with nothing, and one service in the other account.
async fn two_accounts(options: Options) -> (World, Staged) {
    let world = world(options).await;
    let stage = Stage { servers: 0, ..Stage::default() };
    let staged = world.sim.stage_at(&there(), &stage).expect("a stage");
    (world, staged)
}

/// How a service gets its credentials: by assuming the role with its own.
async fn provider(world: &World, external_id: Option<&str>) -> AssumeRoleProvider {
    let own = Credentials::new("AKIATEST", "secret", None, None, "test");
    let config = config(world.sim.endpoint(), "eu-west-1", own).await;
    let builder = AssumeRoleProvider::builder(ROLE).session_name("cutover").session_length(Duration::from_secs(900));
    let builder = if let Some(id) = external_id { builder.external_id(id) } else { builder };
    builder.configure(&config).build().await
}

async fn session(world: &World) -> Credentials {
    provider(world, None).await.provide_credentials().await.expect("a session")
}

async fn elb(world: &World, region: &'static str, who: Credentials) -> Elb {
    Elb::new(&config(world.sim.endpoint(), region, who).await)
}

async fn balancers(elb: &Elb) -> Vec<String> {
    let answer = elb.describe_load_balancers().send().await.expect("load balancers");
    answer.load_balancers().iter().filter_map(|balancer| balancer.load_balancer_arn().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_role_leads_into_its_account_and_nothing_is_shared_across_accounts_and_regions() {
    let (world, staged) = two_accounts(slow()).await;
    let session = session(&world).await;
    let other = elb(&world, "eu-west-1", session.clone()).await;
    assert_eq!(balancers(&other).await, staged.load_balancers);
    assert!(staged.load_balancers[0].starts_with("arn:aws:elasticloadbalancing:eu-west-1:222222222222:loadbalancer/app/"));
    assert!(balancers(&world.elb).await.is_empty(), "home has none");
    let rule = &staged.services[0].routes[0];
    assert_eq!(code(world.elb.delete_rule().rule_arn(rule).send().await), "RuleNotFound", "an account's ARN is its own");
    assert!(balancers(&elb(&world, "us-east-1", session).await).await.is_empty(), "neither is a region's");
    other.delete_rule().rule_arn(rule).send().await.expect("it is this account's");

    let made = world.elb.create_load_balancer().name("edge-1").subnets("subnet-1").send().await.expect("the name is free");
    let arn = made.load_balancers()[0].load_balancer_arn().expect("an ARN");
    assert!(arn.contains(":123456789012:"), "{arn}");
}

#[tokio::test]
async fn a_role_may_want_an_external_id() {
    let (world, _staged) = two_accounts(slow()).await;
    let http = reqwest::Client::new();
    let wanted = json!({ ROLE: "our-secret" });
    let set = http.put(format!("{}/_sim/roles", world.sim.endpoint())).json(&wanted).send().await.expect("answered");
    assert_eq!(set.status(), 204);
    for wrong in [None, Some("a-guess")] {
        let refused = provider(&world, wrong).await.provide_credentials().await.expect_err("it should be refused");
        let told = format!("{refused:?}");
        assert!(told.contains("AccessDenied") && told.contains("not authorized to perform: sts:AssumeRole"), "{told}");
    }
    provider(&world, Some("our-secret")).await.provide_credentials().await.expect("a session");
}

#[tokio::test]
async fn a_session_ends_at_its_time_or_when_somebody_ends_it() {
    // A session of 900 s lives for 3.6 s.
    let (world, staged) = two_accounts(Options { scale: 0.004, ..slow() }).await;
    let first = session(&world).await;
    let told = first.expiry().expect("the time is told").duration_since(std::time::SystemTime::now());
    assert!(told.is_ok_and(|left| left < Duration::from_secs(4)), "the session's end is told at this region's pace");
    let client = elb(&world, "eu-west-1", first).await;
    let refusal = eventually("the session is over", || async {
        Some(client.describe_load_balancers().send().await.err()?.into_service_error())
    })
    .await;
    assert_eq!(code(client.delete_rule().rule_arn(&staged.services[0].routes[0]).send().await), "ExpiredToken");
    assert!(format!("{refusal:?}").contains("The security token included in the request is expired"), "{refusal:?}");

    let second = elb(&world, "eu-west-1", session(&world).await).await;
    assert_eq!(balancers(&second).await, staged.load_balancers, "another session");
    world.sim.sessions().expire(Instant::now());
    assert_eq!(code(second.describe_load_balancers().send().await), "ExpiredToken");
    assert!(balancers(&world.elb).await.is_empty(), "a key that is no session's never ends");
}

#[tokio::test]
async fn a_person_reaches_other_accounts_and_sessions_by_curl() {
    let world = world(slow()).await;
    let http = reqwest::Client::new();
    let at = |path: &str| format!("{}/_sim/{path}", world.sim.endpoint());
    let stage = http.post(at("stage?account=222222222222&region=us-east-1")).json(&json!({ "servers": 0 }));
    let stage: Value = stage.send().await.expect("answered").json().await.expect("JSON");
    let balancer = stage["load_balancers"][0].as_str().expect("a load balancer");
    assert!(balancer.contains(":us-east-1:222222222222:"), "{balancer}");
    let region = async |query: &str| {
        let region: Value = http.get(at(&format!("region{query}"))).send().await.unwrap().json().await.expect("JSON");
        region["load_balancers"].as_array().map(Vec::len)
    };
    assert_eq!(region("?account=222222222222&region=us-east-1").await, Some(1));
    assert_eq!(region("").await, Some(0));
    assert_eq!(http.get(at("region?planet=mars")).send().await.expect("answered").status(), 400);

    session(&world).await;
    let expired = async || {
        let sessions: Value = http.get(at("sessions")).send().await.unwrap().json().await.expect("JSON");
        assert_eq!(sessions[0]["arn"], "arn:aws:sts::222222222222:assumed-role/release/cutover");
        sessions[0]["expired"].clone()
    };
    assert_eq!(expired().await, json!(false));
    assert_eq!(http.post(at("sessions/expire")).send().await.expect("answered").status(), 204);
    assert_eq!(expired().await, json!(true));
}
