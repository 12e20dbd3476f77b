//! The doctor and dry runs: every check with its result, the steps with their calls, and nothing changed.

use std::time::Duration;

use axum::{body::Body, http::Request};
use cutover::domain::{ids::TargetGroupRef, orphan::Terms, survey::Naming};
use serde_json::{Value, json};

use super::{
    door::{ADA, Answer, Door, WEB, declaration_json},
    orphans::{TERM, left_behind, settings, sweep},
};

fn doctor() -> String {
    format!("{WEB}/doctor")
}

fn results(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer.json()["checks"].as_array().unwrap().iter().map(|check| (text(&check["name"]), text(&check["result"]))).collect()
}

fn of(answer: &Answer, result: &str) -> Vec<String> {
    results(answer).into_iter().filter(|(_, is)| is == result).map(|(name, _)| name).collect()
}

fn stray() -> Naming {
    Naming { by: "rule stray (number 7)".to_owned(), target_group: TargetGroupRef::new("a") }
}

#[tokio::test]
async fn the_doctor_shows_every_check_and_the_steps_with_their_calls() {
    let door = Door::declared().await;
    let seen = door.get(&doctor()).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(of(&seen, "failed"), [""; 0]);
    assert_eq!(of(&seen, "unknown"), ["launch_template", "subnets", "rights_to_change", "own_api"]);
    assert!(of(&seen, "ok").len() > 12, "{seen:?}");
    let steps = seen.json()["plan"]["steps"].as_array().unwrap().clone();
    assert_eq!(steps[1]["calls"], json!(["fake:create_green"]));
    let wait = |step: &&Value| step["action"] == "wait";
    assert!(steps.iter().filter(wait).all(|step| step["calls"] == json!([])));
    assert!(steps.iter().filter(|step| !wait(step)).all(|step| step["calls"].as_array().unwrap().len() == 1), "{steps:#?}");
    assert_eq!(steps.last().unwrap()["action"], "delete_group");

    let of_image = door.get(&format!("{}?image=ami-0bb2", doctor())).await;
    assert!(of_image.text.contains("4 servers from ami-0bb2"), "{of_image:?}");
    assert_eq!(door.get(&format!("{}?image=debian", doctor())).await.places(), ["?image"]);
    assert_eq!(door.get("/v1/services/api/environments/prod/doctor").await.problem(), "not-found");
    assert!(door.house.cloud.world().changes.is_empty());
}

#[tokio::test]
async fn the_doctor_answers_whatever_it_finds_and_others_refuse_it() {
    let door = Door::declared().await;
    door.house.cloud.world().namings = vec![stray()];
    let seen = door.get(&doctor()).await;
    assert_eq!((seen.status, of(&seen, "failed")), (200, vec!["slot_users".to_owned()]), "{seen:?}");
    assert_eq!(seen.json()["plan"]["steps"], json!([]));
    let deployments = format!("{WEB}/deployments");
    let image = || json!({"image": "ami-0bb2"});
    assert_eq!(door.post(&format!("{deployments}?dry_run=true"), image()).await.places(), ["/slots/0"]);
    assert_eq!(door.post(&deployments, image()).await.places(), ["/slots/0"]);
    for url in [WEB.to_owned(), format!("{WEB}?dry_run=true")] {
        assert_eq!(door.put(&url, declaration_json()).await.places(), ["/slots/0"], "{url}");
    }
}

#[tokio::test]
async fn a_look_that_is_denied_fails_its_checks_and_refuses_nothing() {
    let door = Door::declared().await;
    door.house.cloud.world().quotas_denied = true;
    let seen = door.get(&doctor()).await;
    assert_eq!(of(&seen, "failed"), ["quota_of_rules", "rights_to_look"]);
    assert!(!seen.json()["plan"]["steps"].as_array().unwrap().is_empty());
    door.deploy().await;
}

#[tokio::test]
async fn what_cannot_be_seen_is_unknown_and_no_plan_is_made_of_it() {
    let door = Door::declared().await;
    door.house.cloud.world().blind = true;
    let seen = door.get(&doctor()).await;
    assert_eq!((seen.status, of(&seen, "failed")), (200, vec![]), "{seen:?}");
    assert_eq!(seen.json()["plan"]["steps"], json!([]));
    let route = seen.json()["checks"].as_array().unwrap().iter().find(|check| check["name"] == "route").unwrap().clone();
    assert_eq!((&route["result"], &route["pointer"]), (&json!("unknown"), &json!("/routes/0")));
    let stored = door.put(WEB, declaration_json()).await;
    assert_eq!((stored.status, &stored.json()["checked"]), (200, &json!(false)), "{stored:?}");
}

#[tokio::test]
async fn while_a_deployment_runs_the_doctor_names_it() {
    let door = Door::declared().await;
    let (_, url) = door.deploy().await;
    let refused = door.get(&doctor()).await;
    assert_eq!((refused.problem().as_str(), &refused.json()["deployment"]["url"]), ("deployment-in-progress", &json!(url)));
    let refused = door.put(&format!("{WEB}?dry_run=true"), declaration_json()).await;
    assert_eq!(refused.problem(), "deployment-in-progress");
}

#[tokio::test]
async fn a_declaration_can_be_tried_and_says_what_to_know_of_it() {
    let door = Door::open().await;
    let tried = door.put(&format!("{WEB}?dry_run=true"), declaration_json()).await;
    assert_eq!((tried.status, of(&tried, "failed")), (200, vec![]), "{tried:?}");
    assert!(!tried.json()["plan"]["steps"].as_array().unwrap().is_empty());
    assert_eq!(door.get(WEB).await.status, 404, "nothing was stored");

    let stored = door.put(WEB, declaration_json()).await;
    assert_eq!((&stored.json()["checked"], &stored.json()["warnings"]), (&json!(true), &json!([])), "{stored:?}");
    door.house.cloud.world().sticky = true;
    let stored = door.put(WEB, declaration_json()).await;
    assert!(stored.json()["warnings"][0].as_str().unwrap().contains("sticky sessions"), "{stored:?}");
}

#[tokio::test]
async fn what_an_abandoned_deployment_left_is_refused_before_the_next_is_created() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let request = Request::post(format!("{url}/abandon")).header("authorization", format!("Bearer {ADA}"));
    assert_eq!(door.send(request.body(Body::empty()).unwrap()).await.status, 202);
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let refused = door.post(&format!("{WEB}/deployments"), json!({"image": "ami-0cc3"})).await;
    assert!(refused.places().contains(&"/routes/0".to_owned()), "{refused:?}");
    assert!(refused.text.contains("belongs to a deployment that was abandoned"), "{refused:?}");
    assert!(of(&door.get(&doctor()).await, "failed").contains(&"leftovers".to_owned()));
}

#[tokio::test]
async fn the_doctor_names_what_earlier_deployments_of_the_service_left_behind() {
    let door = Door::with(settings(Terms { remove: true, report_after: Duration::ZERO, remove_after: TERM })).await;
    let orphans = async || {
        let seen = door.get(&doctor()).await;
        let checks = seen.json()["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["name"] == "orphans").unwrap();
        (check["result"].as_str().unwrap().to_owned(), check["detail"].as_str().unwrap().to_owned())
    };
    assert_eq!(orphans().await.0, "ok");
    left_behind(&door).await;
    assert_eq!(orphans().await.0, "ok", "no sweep has met it yet");
    sweep(&door).await;
    let (result, detail) = orphans().await;
    assert_eq!(result, "warning");
    assert!(detail.contains("web-prod-v001"), "{detail}");
    assert!(!detail.contains("web-prod-v009"), "nobody knows whether that was of this service: {detail}");
}
