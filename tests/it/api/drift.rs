//! A drift as callers meet it: shown, answered, and refused where it cannot be answered so.

use cutover::domain::{deployment::Deployment, weight::Weight};
use serde_json::json;

use super::door::Door;

fn percent(percent: f64) -> Weight {
    Weight::from_percent(percent).unwrap()
}

fn held(d: &Deployment) -> bool {
    d.held.is_some()
}

/// At 5 %, where somebody gives the routes these weights.
async fn edited(public: f64, internal: f64) -> (Door, cutover::domain::ids::DeploymentId, String) {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    for (route, weight) in [("public", public), ("internal", internal)] {
        door.house.cloud.world().weigh_by_hand(route, percent(weight));
    }
    door.house.until(id, "the hold", held).await;
    (door, id, url)
}

#[tokio::test]
async fn a_held_deployment_shows_what_differs_and_how_it_may_be_answered() {
    let (door, id, url) = edited(60.0, 60.0).await;
    let shown = door.get(&url).await.json();
    assert_eq!((&shown["status"], &shown["phase"]), (&json!("paused"), &json!("shifting")));
    let entry = |route: &str| json!({"route": route, "rule": "overlay", "field": "weight", "recorded": "5%", "seen": "60%"});
    assert_eq!(shown["drift"], json!([entry("public"), entry("internal")]));
    let attention = shown["attention"].as_str().unwrap();
    assert!(attention.contains("overlay of public: weight 5% -> 60%"), "{attention}");
    assert!(shown["allowed_actions"].as_array().unwrap().iter().any(|action| action == "adopt"), "{shown}");

    let taken = door.post(&format!("{url}/adopt"), json!({"reason": "INC-7, by hand"})).await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let again = door.post(&format!("{url}/adopt"), json!({})).await;
    assert_eq!(again.status, 200, "the same answer: {again:?}");
    door.house.until(id, "no drift", |d| !held(d)).await;
    let shown = door.get(&url).await.json();
    assert_eq!((&shown["drift"], &shown["weight"]["desired"]), (&json!(null), &json!(60)));
    let events = door.get(&format!("{url}/events")).await.json();
    let told = |kind: &str| events["items"].as_array().unwrap().iter().find(|event| event["type"] == kind).cloned().unwrap();
    assert_eq!(told("drift.began")["data"]["drift"], json!([entry("public"), entry("internal")]));
    assert_eq!(told("drift.over")["data"]["drift"], json!([]));
    assert_eq!(told("command.adopt")["message"], "adopt asked for: INC-7, by hand");
}

#[tokio::test]
async fn an_answer_names_the_drift_that_its_giver_has_read() {
    let (door, id, url) = edited(60.0, 60.0).await;
    let read = door.get(&url).await.etag();
    for route in ["public", "internal"] {
        door.house.cloud.world().weigh_by_hand(route, percent(90.0));
    }
    door.house.until(id, "the next one", |d| d.holds.count == 2).await;
    let late = door.ask("POST", &format!("{url}/restore"), &[("if-match", &read)], None).await;
    assert_eq!((late.status, late.problem()), (412, "precondition-failed".to_owned()));
    let now = door.get(&url).await.etag();
    let restored = door.ask("POST", &format!("{url}/restore"), &[("if-match", &now)], None).await;
    assert_eq!(restored.status, 202, "{restored:?}");
    door.house.until(id, "no drift", |d| !held(d)).await;
    assert_eq!(door.get(&url).await.json()["weight"]["observed"], 5);
}

#[tokio::test]
async fn what_cannot_be_answered_so_is_refused_with_the_reason_and_what_may_be() {
    let (door, _, url) = edited(60.0, 5.0).await;
    let refused = door.post(&format!("{url}/adopt"), json!({})).await;
    assert_eq!((refused.status, refused.problem()), (409, "drift-stays".to_owned()));
    let problem = refused.json();
    assert!(problem["detail"].as_str().unwrap().contains("the routes have different weights"), "{problem}");
    assert!(problem["allowed_actions"].as_array().unwrap().iter().any(|action| action == "restore"), "{problem}");
    for command in ["promote", "resume"] {
        let refused = door.post(&format!("{url}/{command}"), json!({})).await;
        assert_eq!((refused.status, refused.problem()), (409, "illegal-in-phase".to_owned()), "{command}");
    }
}

#[tokio::test]
async fn where_nothing_differs_there_is_nothing_to_answer() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    assert_eq!(door.get(&url).await.json()["drift"], json!(null));
    for command in ["adopt", "restore"] {
        let refused = door.post(&format!("{url}/{command}"), json!({})).await;
        assert_eq!((refused.status, refused.problem()), (409, "illegal-in-phase".to_owned()), "{command}");
        assert_eq!(door.post(&format!("{url}/{command}?dry_run=true"), json!({})).await.places(), ["?dry_run"], "{command}");
    }
}
