//! AWS is away: the API answers, nothing is a 5xx, nothing is lost.

use cutover_sim::scenario::Stage;
use serde_json::json;

use super::crash::declaration;
use crate::support::{process::Service, region::Scene};

const HOME: &str = "/v1/services/web/environments/prod";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_aws_unreachable_everything_is_answered_and_what_was_accepted_waits() {
    let scene = Scene::new(&Stage::default()).await;
    // Port 9 (discard) of loopback: nobody answers there.
    let service = Service::start("http://127.0.0.1:9").await;
    let declared = service.call("PUT", HOME, Some(declaration(&scene))).await;
    assert_eq!(declared.0, 201, "stored, to be checked later: {declared:?}");
    let (status, created) =
        service.call("POST", &format!("{HOME}/deployments"), Some(json!({"image": scene.image("v2")}))).await;
    assert_eq!(status, 202, "{created:#}");
    let url = created["url"].as_str().unwrap().to_owned();
    let read = [
        "/readyz".to_owned(),
        "/livez".to_owned(),
        "/metrics".to_owned(),
        "/v1/services".to_owned(),
        HOME.to_owned(),
        url.clone(),
        format!("{url}/events"),
    ];
    for path in read {
        assert_eq!(service.call("GET", &path, None).await.0, 200, "{path}");
    }
    let waiting = service.done("GET", &url, None).await;
    assert_eq!((&waiting["phase"], &waiting["ended_at"]), (&json!("pending"), &json!(null)), "{waiting:#}");
    let commands = [("pause", 202), ("resume", 202), ("rollback", 200)];
    for (command, expected) in commands {
        let answer = service.call("POST", &format!("{url}/{command}"), None).await;
        assert_eq!(answer.0, expected, "{command}: {answer:?}");
    }
    let ended = service.until(&url, "the end", |d| !d["ended_at"].is_null()).await;
    assert_eq!(ended["status"], "rolled_back", "nothing had been made, so nothing is left to undo: {ended:#}");
    service.stop().await;
    scene.sim.shutdown().await;
}
