//! Going back from a release whose old servers are gone, under traffic, with the real program and its command line.

use std::time::Instant;

use cutover_sim::scenario::Stage;
use serde_json::json;

use super::crash::declaration;
use crate::support::{process::Service, region::Scene};

const HOME: &str = "/v1/services/web/environments/prod";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_image_before_serves_again_though_its_servers_were_gone_and_nothing_is_lost() {
    let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
    let service = Service::start(scene.sim.endpoint()).await;
    let mut declared = declaration(&scene);
    declared["strategy"] = json!({"stages": [{"weight": 50}, {"weight": 100}], "bake_time": "0s"});
    service.done("PUT", HOME, Some(declared)).await;
    let load = scene.load(100);
    let created = service.done("POST", &format!("{HOME}/deployments"), Some(json!({"image": scene.image("v2")}))).await;
    let url = created["url"].as_str().unwrap().to_owned();
    let ended = service.until(&url, "the release", |d| !d["ended_at"].is_null()).await;
    assert_eq!(ended["status"], "succeeded", "{ended:#}\n{}", service.said());
    scene.until("one group", || scene.groups() == ["web-prod-v001"]).await;

    let answer = service.done("POST", &format!("{HOME}/rollback"), Some(json!({"reason": "INC-1"}))).await;
    // The adopted group was made from version 1 of the declared launch template, and that is v1.
    assert_eq!((&answer["mode"], &answer["image"]), (&json!("redeploy"), &json!("lt:1")), "{answer:#}");
    let ended = service.until(answer["url"].as_str().unwrap(), "the way back", |d| !d["ended_at"].is_null()).await;
    assert_eq!((&ended["status"], &ended["takes_back"]), (&json!("succeeded"), &json!(1)), "{ended:#}\n{}", service.said());
    scene.until("one group", || scene.groups() == ["web-prod-v002"]).await;
    let settled = Instant::now();
    let answers = || load.record().share("v1", settled, Instant::now()).of_version;
    scene.until("answers to requests sent after it", || answers() > 10).await;
    let record = load.finish().await;
    assert_eq!((record.totals().lost, scene.extra_rules()), (0, 0), "{:?}", record.losses());
    assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0, "v1 alone answers");
    service.stop().await;
    scene.sim.shutdown().await;
}
