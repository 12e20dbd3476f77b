//! Commands to a running deployment.

use std::sync::atomic::Ordering;

use axum::{body::Body, http::Request};
use serde_json::json;

use super::door::{ADA, Door};

#[tokio::test]
async fn a_command_answers_202_with_the_resource_and_200_when_it_was_so_already() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let again = door.post(&format!("{url}/pause"), json!({})).await;
    assert_eq!((again.status, &again.json()["status"]), (200, &json!("paused")));
    let resumed = door.post(&format!("{url}/resume"), json!({"reason": "looks good"})).await;
    assert_eq!((resumed.status, &resumed.json()["status"]), (202, &json!("in_progress")));
    assert_eq!(resumed.etag(), door.get(&url).await.etag());
}

#[tokio::test]
async fn a_weight_set_by_hand_pauses_and_is_brought_about() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let set = door.put(&format!("{url}/weight"), json!({"green": 12.5, "reason": "look closer"})).await;
    assert_eq!((set.status, &set.json()["status"]), (202, &json!("paused")), "{set:?}");
    assert_eq!(set.json()["weight"], json!({"desired": 12.5, "observed": 5}), "wanted at once, seen when it is there");
    let there = |d: &cutover::domain::deployment::Deployment| d.seen.weight.is_some_and(|w| w.permille() == 125);
    door.house.until(id, "12.5 %", there).await;
    assert_eq!(door.get(&url).await.json()["weight"], json!({"desired": 12.5, "observed": 12.5}));
    let wrong = door.put(&format!("{url}/weight"), json!({"green": 12.55, "blue": 0})).await;
    assert_eq!(wrong.places(), ["/blue", "/green"]);
    let events = door.get(&format!("{url}/events")).await.json();
    let given = events["items"].as_array().unwrap().iter().find(|event| event["type"] == "command.weight").unwrap();
    assert_eq!((&given["actor"], &given["data"]["reason"]), (&json!("ci"), &json!("look closer")));
}

#[tokio::test]
async fn a_command_out_of_place_names_the_phase_and_what_is_legal() {
    let door = Door::declared().await;
    let (_, url) = door.deploy().await;
    let refused = door.post(&format!("{url}/promote"), json!({"to": "next"})).await;
    assert_eq!((refused.status, refused.problem()), (409, "illegal-in-phase".to_owned()));
    let problem = refused.json();
    assert_eq!((&problem["phase"], &problem["allowed_actions"]), (&json!("pending"), &json!(["rollback", "pause", "cancel"])));
    assert_eq!(problem["deployment"]["url"], json!(url));
    assert_eq!(problem["detail"], "not legal in pending; legal now: rollback, pause, cancel");
}

#[tokio::test]
async fn an_answer_to_a_gate_that_is_not_open_says_so() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    for command in ["approve", "reject"] {
        let refused = door.post(&format!("{url}/{command}"), json!({})).await;
        assert_eq!((refused.status, refused.problem()), (409, "gate-not-open".to_owned()), "{command}");
    }
}

#[tokio::test]
async fn letting_go_is_for_administrators() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let refused = door.post(&format!("{url}/abandon"), json!({})).await;
    assert_eq!((refused.status, refused.problem()), (403, "forbidden".to_owned()));
    let request = Request::post(format!("{url}/abandon")).header("authorization", format!("Bearer {ADA}"));
    assert_eq!(door.send(request.body(Body::empty()).unwrap()).await.status, 202);
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(door.get(&url).await.json()["status"], "failed");
}

#[tokio::test]
async fn a_cancelled_deployment_is_no_rollback() {
    let door = Door::declared().await;
    let (id, url) = door.deploy().await;
    assert_eq!(door.post(&format!("{url}/cancel"), json!({"reason": "wrong one"})).await.status, 202);
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let shown = door.get(&url).await.json();
    assert_eq!((&shown["status"], &shown["rollback"]), (&json!("cancelled"), &json!(null)));
    assert!(shown["ended_at"].is_string());
}

#[tokio::test]
async fn a_command_minds_the_state_that_its_giver_has_read() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let read = door.get(&url).await.etag();
    door.put(&format!("{url}/weight"), json!({"green": 10})).await;
    door.house.until(id, "10 %", |d| d.seen.weight.is_some_and(|w| w.permille() == 100)).await;
    let late = door.ask("PUT", &format!("{url}/weight"), &[("if-match", &read)], Some(json!({"green": 20}))).await;
    assert_eq!((late.status, late.problem()), (412, "precondition-failed".to_owned()));
    assert_eq!(door.get(&url).await.json()["weight"]["desired"], 10);

    // Holding is always safe, and so is going back.
    door.post(&format!("{url}/resume"), json!({})).await;
    let held = door.ask("POST", &format!("{url}/pause"), &[("if-match", &read)], None).await;
    assert_eq!(held.status, 202, "{held:?}");
    let back = door.ask("POST", &format!("{url}/rollback"), &[("if-match", &read)], None).await;
    assert_eq!(back.status, 200, "{back:?}");
}

#[tokio::test]
async fn a_record_that_moves_without_showing_it_refuses_nobody() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let read = door.get(&url).await.etag();
    door.front.moves.store(3, Ordering::Relaxed);
    let given = door.ask("POST", &format!("{url}/resume"), &[("if-match", &read)], None).await;
    assert_eq!(given.status, 202, "{given:?}");
    assert_eq!(door.front.moves.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn commands_take_no_query_and_no_unknown_field() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    for command in ["promote", "pause", "resume", "cancel", "abandon", "approve", "reject"] {
        let queried = door.post(&format!("{url}/{command}?dry_run=true"), json!({})).await;
        assert_eq!(queried.places(), ["?dry_run"], "{command}");
        let unknown = door.post(&format!("{url}/{command}"), json!({"why": "INC-1", "reason": 7})).await;
        assert_eq!(unknown.places(), ["/why", "/reason"], "{command}");
    }
    assert_eq!(door.post("/v1/deployments/42/pause", json!({})).await.problem(), "not-found");
}
