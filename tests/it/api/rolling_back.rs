//! Going back over HTTP.

use std::{sync::atomic::Ordering, time::Duration};

use cutover::engine::{ports::FaultKind, settings::EngineSettings};
use serde_json::json;

use super::door::{Door, WEB};
use crate::support::house::at_once;

fn back() -> String {
    format!("{WEB}/rollback")
}

#[tokio::test]
async fn one_call_without_an_id_sends_all_traffic_back() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let answer = door.post(&back(), json!({"reason": "INC-1"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    assert_eq!((&shown["mode"], &shown["durable"], &shown["url"]), (&json!("instant"), &json!(true), &json!(url)));
    let rollback = &shown["rollback"];
    assert_eq!((&rollback["trigger"], &rollback["by"], &rollback["reason"]), (&json!("manual"), &json!("ci"), &json!("INC-1")));
    assert!(rollback["requested_at"].is_string() && rollback["accepted_at"].is_string(), "{rollback}");
    assert_eq!((&rollback["observed_at"], &rollback["mode"]), (&json!(null), &json!("instant")));
    assert_eq!(shown["weight"]["desired"], 0);
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let ended = door.get(&url).await.json();
    assert_eq!(ended["status"], "rolled_back");
    assert!(ended["rollback"]["observed_at"].is_string(), "{ended:#}");
    assert_eq!(ended["rollback"]["requested_at"], rollback["requested_at"]);
}

#[tokio::test]
async fn asking_again_is_the_same_rollback_whoever_asks() {
    let door = Door::declared().await;
    let (id, url) = door.deploy_to_first_stage().await;
    let first = door.post(&format!("{url}/rollback"), json!({"reason": "INC-1"})).await.json();
    for other in [back(), format!("{url}/rollback")] {
        let again = door.post(&other, json!({"reason": "INC-2"})).await;
        assert_eq!((again.status, &again.json()["rollback"]), (200, &first["rollback"]));
    }
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let after = door.post(&back(), json!({})).await;
    assert_eq!((after.status, &after.json()["rollback"]["reason"]), (200, &json!("INC-1")), "for ten minutes");
}

#[tokio::test]
async fn with_nothing_to_go_back_to_it_says_so() {
    let door = Door::declared().await;
    for url in [back(), format!("{}?dry_run=true", back())] {
        let refused = door.post(&url, json!({})).await;
        assert_eq!((refused.status, refused.problem()), (409, "nothing-to-roll-back-to".to_owned()), "{url}");
    }
    assert_eq!(door.post("/v1/services/api/environments/prod/rollback", json!({})).await.problem(), "not-found");
    let (id, url) = door.deploy().await;
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(door.post(&format!("{url}/rollback"), json!({})).await.problem(), "illegal-in-phase");
}

#[tokio::test]
async fn a_dry_run_names_each_call_and_makes_none() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let before = door.get(&url).await.etag();
    for of in [back(), format!("{url}/rollback")] {
        let planned = door.post(&format!("{of}?dry_run=true"), json!({})).await;
        assert_eq!(planned.status, 200, "{planned:?}");
        assert!(!planned.json()["plan"]["steps"].as_array().unwrap().is_empty());
    }
    assert_eq!(door.get(&url).await.etag(), before);
}

#[tokio::test]
async fn a_load_balancer_that_does_not_accept_is_tried_on_and_the_answer_is_202() {
    let settings = EngineSettings { rollback_tries_for: Duration::from_millis(50), ..at_once() };
    let door = Door::with(settings).await;
    let (_, url) = door.deploy_to_first_stage().await;
    door.house.cloud.world().refuse = Some(FaultKind::Throttled);
    let answer = door.post(&format!("{url}/rollback"), json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let rollback = &answer.json()["rollback"];
    assert!(rollback["requested_at"].is_string());
    assert_eq!(rollback["accepted_at"], json!(null));
}

#[tokio::test]
async fn an_unreachable_database_is_told_as_such_and_no_secret_with_it() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    door.front.away.store(true, Ordering::Relaxed);
    let refused = door.post(&format!("{url}/rollback"), json!({})).await;
    assert_eq!((refused.status, refused.problem()), (503, "database-unreachable".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(!refused.text.contains("secret"), "{refused:?}");
}
