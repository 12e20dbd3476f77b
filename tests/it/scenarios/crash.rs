//! `kill -9` of the real service under traffic: it goes on where the world is, loses no request and leaves no group.

use std::time::Duration;

use cutover_sim::scenario::Stage;
use serde_json::{Value, json};

use crate::support::{process::Service, region::Scene};

pub(super) fn declaration(scene: &Scene) -> Value {
    let service = &scene.staged.services[0];
    json!({
        "provider": {"kind": "aws", "region": "eu-west-1"},
        "routes": service.routes,
        "slots": service.slots.iter().map(|slot| slot[0].clone()).collect::<Vec<_>>(),
        "blue": service.blue,
        "server_group": {
            "launch_template": {"id": service.launch_template, "version": "1"},
            "subnets": ["subnet-1"], "min": 1, "max": 10,
        },
        "strategy": {
            "stages": [{"weight": 5}, {"weight": 50, "bake_time": "1s"}, {"weight": 100}],
            "bake_time": "1s",
        },
    })
}

/// Kills the service once `there`, starts it again, and sees the deployment end as it should.
async fn killed_in(phase: &str, there: fn(&Value) -> bool) {
    let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
    let mut service = Service::start(scene.sim.endpoint()).await;
    service.done("PUT", "/v1/services/web/environments/prod", Some(declaration(&scene))).await;
    let load = scene.load(100);
    let created =
        service.done("POST", "/v1/services/web/environments/prod/deployments", Some(json!({"image": scene.image("v2")}))).await;
    let url = created["url"].as_str().unwrap().to_owned();

    service.until(&url, phase, there).await;
    service.kill().await;
    service.restart().await;

    let ended = service.until(&url, "the end", |d| !d["ended_at"].is_null()).await;
    assert_eq!(ended["status"], "succeeded", "killed in {phase}: {ended:#}\n{}", service.said());
    scene.until("one group", || scene.groups() == ["web-prod-v001"]).await;
    assert_eq!(scene.extra_rules(), 0);
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "killed in {phase}: {:?}", record.losses());
    assert!(record.totals().answered > 0 && record.last_answer("v2").is_some());
    service.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_provisioning_it_goes_on() {
    killed_in("provisioning", |d| d["phase"] == "provisioning").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_shifting_it_goes_on() {
    killed_in("shifting", |d| d["phase"] == "shifting" && d["stage"] == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_baking_it_goes_on() {
    killed_in("baking", |d| d["phase"] == "baking").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_right_after_a_rollback_was_answered_the_way_back_goes_on() {
    let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
    let mut service = Service::start(scene.sim.endpoint()).await;
    service.done("PUT", "/v1/services/web/environments/prod", Some(declaration(&scene))).await;
    let load = scene.load(100);
    let created =
        service.done("POST", "/v1/services/web/environments/prod/deployments", Some(json!({"image": scene.image("v2")}))).await;
    let url = created["url"].as_str().unwrap().to_owned();
    service.until(&url, "50 %", |d| d["weight"]["observed"] == 50).await;

    let answer = service.done("POST", "/v1/services/web/environments/prod/rollback", Some(json!({"reason": "INC-1"}))).await;
    assert_eq!((&answer["mode"], &answer["durable"]), (&json!("instant"), &json!(true)), "{answer:#}");
    let settled = std::time::Instant::now() + Duration::from_millis(100);
    service.kill().await;
    service.restart().await;

    let ended = service.until(&url, "the end", |d| !d["ended_at"].is_null()).await;
    assert_eq!((&ended["status"], &ended["rollback"]["by"]), (&json!("rolled_back"), &json!("bootstrap")), "{ended:#}");
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    assert_eq!(scene.extra_rules(), 0);
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0);
    service.stop().await;
    scene.sim.shutdown().await;
}
