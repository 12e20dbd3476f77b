//! What the API still does while the database is away: roll back, show what runs, and say so.

use std::{sync::atomic::Ordering, time::Duration};

use cutover::engine::settings::EngineSettings;
use serde_json::json;

use super::door::{Door, WEB};
use crate::support::{house::at_once, memory::Weather};

fn settings() -> EngineSettings {
    let mut settings = EngineSettings { record_patience: Duration::from_millis(50), ..at_once() };
    settings.timing.quiet_period = Duration::from_secs(3600);
    settings
}

/// A door whose replica knows what runs and who may come in, and then the database goes. The deployment's URL.
async fn away(settings: EngineSettings) -> (Door, String) {
    let door = Door::with(settings).await;
    let (_, url) = door.deploy_to_first_stage().await;
    door.house.bundles.confirm(door.house.store.as_ref(), 10).await.unwrap();
    door.tokens.confirm(door.house.store.as_ref()).await.unwrap();
    door.house.store.sky.turns(Weather::Refuses);
    door.house.bundles.confirm(door.house.store.as_ref(), 10).await.unwrap_err();
    (door, url)
}

#[tokio::test]
async fn a_rollback_is_answered_with_200_and_not_durable() {
    let (door, url) = away(settings()).await;
    let answer = door.post(&format!("{WEB}/rollback"), json!({"reason": "INC-1"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = answer.json();
    assert_eq!((&shown["mode"], &shown["durable"], &shown["url"]), (&json!("instant"), &json!(false), &json!(url)));
    let rollback = &shown["rollback"];
    assert_eq!((&rollback["by"], &rollback["reason"], &rollback["observed_at"]), (&json!("ci"), &json!("INC-1"), &json!(null)));
    assert!(rollback["requested_at"].is_string() && rollback["accepted_at"].is_string(), "{rollback}");
    let read = door.get(&url).await.json();
    assert_eq!(&read["rollback"], rollback, "whoever reads it next is told the same");
}

#[tokio::test]
async fn what_runs_is_shown_from_memory_and_says_how_old_that_is() {
    let (door, url) = away(settings()).await;
    let one = door.get(&url).await;
    assert_eq!(one.status, 200, "{one:?}");
    assert!(one.json()["as_of"].is_string(), "{one:?}");
    assert_eq!(door.ask("GET", &url, &[("if-none-match", &one.etag())], None).await.status, 304, "it stays as it is");
    let listed = door.get("/v1/deployments?service=web&environment=prod&limit=1").await.json();
    assert_eq!(listed["items"], json!([one.json()]));
    for unknown in ["/v1/deployments", "/v1/deployments/0193f0a4-6e0f-7c55-9a3c-2f1d5b8f0c11"] {
        assert_eq!(door.get(unknown).await.problem(), "database-unreachable", "{unknown}");
    }
    door.house.store.sky.turns(Weather::Fine);
    assert!(door.get(&url).await.json().get("as_of").is_none());
}

#[tokio::test]
async fn a_replica_that_can_still_roll_back_stays_ready() {
    let (door, _) = away(settings()).await;
    let ready = door.get("/readyz").await;
    assert_eq!((ready.status, ready.json()), (200, json!({"status": "ok", "database": "unreachable"})));
    let metrics = door.get("/metrics").await.text;
    for line in ["cutover_database_up 0", "cutover_lane_bundles 1", "cutover_lane_journal_entries 0"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} in {metrics}");
    }
    let idle = Door::with(settings()).await;
    idle.house.store.sky.turns(Weather::Refuses);
    let unready = idle.get("/readyz").await;
    assert_eq!((unready.status, &unready.json()["database"]), (503, &json!("unreachable")));
}

#[tokio::test]
async fn whom_the_database_knew_may_go_back_and_look_and_nothing_else() {
    let (door, url) = away(settings()).await;
    // Nobody has called in the last minutes but those whom the fixture made; the memory of the door is emptied.
    let door = door.with_an_empty_memory();
    let before = door.front.looks.load(Ordering::Relaxed);
    door.front.away.store(true, Ordering::Relaxed);
    for (method, path, problem) in [
        ("POST", format!("{url}/pause"), "database-unreachable"),
        ("PUT", WEB.to_owned(), "database-unreachable"),
        ("GET", "/v1/services".to_owned(), "database-unreachable"),
    ] {
        assert_eq!(door.ask(method, &path, &[], Some(json!({}))).await.problem(), problem, "{method} {path}");
    }
    let looks = door.front.looks.load(Ordering::Relaxed);
    assert_eq!(looks, before + 3, "each was looked up, in vain");
    door.front.away.store(false, Ordering::Relaxed);
    assert_eq!(door.get(&url).await.status, 200);
    assert_eq!(door.post(&format!("{url}/rollback"), json!({})).await.status, 200);
    assert_eq!(door.front.looks.load(Ordering::Relaxed), looks, "neither waits for a database that is away");
    assert_eq!(door.front.figured.load(Ordering::Relaxed), 0, "nor for a histogram");
}

#[tokio::test]
async fn a_replica_that_never_heard_of_any_token_lets_nobody_in() {
    let door = Door::with(settings()).await;
    door.front.away.store(true, Ordering::Relaxed);
    assert_eq!(door.post(&format!("{WEB}/rollback"), json!({})).await.problem(), "database-unreachable");
    assert_eq!(door.front.looks.load(Ordering::Relaxed), 1, "the database was asked");
}

#[tokio::test]
async fn what_may_not_be_sent_any_more_is_answered_with_the_reason_and_the_lines_by_hand() {
    let mut old = settings();
    old.timing.quiet_period = Duration::ZERO;
    let (door, url) = away(old).await;
    door.house.cloud.world().blind = true;
    let refused = door.post(&format!("{url}/rollback"), json!({})).await;
    assert_eq!((refused.status, refused.problem()), (503, "rollback-out-of-reach".to_owned()));
    let body = refused.json();
    assert!(body["detail"].as_str().unwrap().contains("could not be looked at"), "{body}");
    let shields = json!(["fake shield public", "fake shield internal"]);
    assert_eq!(body["by_hand"], shields, "what is remembered is old: only what is right in every phase will do");
    assert_eq!(door.get("/problems/rollback-out-of-reach").await.status, 200);
}
