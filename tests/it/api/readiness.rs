//! Whether one could go back, over HTTP.

use std::{sync::atomic::Ordering, time::Duration};

use cutover::{
    domain::{command::Command, phase::Phase},
    engine::settings::EngineSettings,
};
use serde_json::{Value, json};

use super::door::{Door, WEB};
use crate::support::{house::at_once, memory::Weather};

fn settings() -> EngineSettings {
    let mut settings = EngineSettings { record_patience: Duration::from_millis(50), ..at_once() };
    // Nothing commits for good, and what is remembered serves.
    settings.timing.quiet_period = Duration::from_secs(3600);
    settings
}

fn url() -> String {
    format!("{WEB}/rollback")
}

async fn told(door: &Door) -> Value {
    let answer = door.get(&url()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn without_a_deployment_it_is_no_and_says_why() {
    let door = Door::with(settings()).await;
    let nothing = told(&door).await;
    assert_eq!((&nothing["state"], &nothing["deployment"], &nothing["mode"]), (&json!("no"), &json!(null), &json!(null)));
    assert!(nothing["why"][0]["detail"].as_str().unwrap().contains("no deployment has run yet"), "{nothing:#}");
    assert_eq!((&nothing["calls"], &nothing["by_hand"], &nothing["seconds"]), (&json!([]), &json!([]), &json!(null)));
    let unknown = door.get("/v1/services/nobody/environments/prod/rollback").await;
    assert_eq!(unknown.problem(), "not-found");
    assert_eq!(door.get(&format!("{}?dry_run=true", url())).await.places(), ["?dry_run"]);
}

#[tokio::test]
async fn a_running_deployment_is_ready_and_says_by_which_calls_it_would_go_back() {
    let door = Door::with(settings()).await;
    let (_, of) = door.deploy_to_first_stage().await;
    let ready = told(&door).await;
    assert_eq!(
        door.house.store.lane_looks.load(Ordering::Relaxed),
        0,
        "whoever only looks leaves the lane to those who go back"
    );
    assert_eq!((&ready["state"], &ready["why"], &ready["mode"]), (&json!("ready"), &json!([]), &json!("instant")), "{ready:#}");
    assert_eq!(ready["deployment"]["url"], json!(of));
    let blue = &ready["blue"];
    let known = json!({"server_group": "web-old", "image": "ami-0aa1", "image_pinned": true, "healthy": 4, "of": 4,
                       "seen_at": blue["seen_at"], "min_pinned": true, "protected": true});
    assert_eq!(blue, &known);
    assert_eq!(ready["sticky"], json!({"sessions": false, "share": 0}));
    assert_eq!(ready["seconds"], json!(null), "nothing was measured, so there is no number");
    assert_eq!(ready["calls"], json!(["fake:delete_rules"]));
    assert_eq!(ready["by_hand"].as_array().unwrap().len(), 2);
    let deployment = door.get(&of).await.json();
    assert_eq!(deployment["readiness"], json!({"state": "ready", "why": []}));
}

#[tokio::test]
async fn a_blue_that_is_short_of_servers_is_told_in_the_deployment_too() {
    let door = Door::with(settings()).await;
    let (id, of) = door.deploy_to_first_stage().await;
    door.house.cloud.world().sicken("web-old");
    door.house.until(id, "the look", |d| d.seen.blue.is_some_and(|blue| blue.healthy == 0)).await;
    let (full, short) = (told(&door).await, door.get(&of).await.json()["readiness"].clone());
    assert_eq!((&full["state"], &full["why"]), (&short["state"], &short["why"]));
    assert_eq!(full["state"], "no");
    assert!(full["why"][0]["detail"].as_str().unwrap().contains("no server of web-old"), "{full:#}");
    assert_eq!(full["calls"], json!(["fake:delete_rules"]), "it would be sent all the same");
}

#[tokio::test]
async fn from_the_commit_on_other_calls_are_made() {
    let door = Door::with(settings()).await;
    let (id, _) = door.deploy_to_first_stage().await;
    let before = told(&door).await;
    door.house.give(id, Command::Resume).await;
    door.house.until(id, "the commit", |d| matches!(d.phase, Phase::Committing { quiet_since: Some(_) })).await;
    let after = told(&door).await;
    assert_eq!((&before["state"], &after["state"]), (&json!("ready"), &json!("ready")), "{after:#}");
    assert_eq!(before["calls"], json!(["fake:delete_rules"]));
    assert_eq!(after["calls"], json!(["fake:raise_shields", "fake:delete_rules"]));
}

#[tokio::test]
async fn once_something_went_back_it_says_how_long_that_took() {
    let door = Door::with(EngineSettings { record_patience: Duration::from_millis(50), ..at_once() }).await;
    let (id, _) = door.deploy_to_first_stage().await;
    assert_eq!(door.post(&url(), json!({})).await.status, 200);
    let going = told(&door).await;
    assert_eq!((&going["state"], &going["calls"]), (&json!("ready"), &json!([])), "it was accepted already: {going:#}");
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let ended = told(&door).await;
    assert_eq!((&ended["state"], &ended["blue"]), (&json!("no"), &json!(null)));
    assert!(ended["why"][0]["detail"].as_str().unwrap().contains("#1 has gone back"), "{ended:#}");
    let seconds = &ended["seconds"];
    assert_eq!(seconds["rollbacks"], 1);
    for of in ["accepted", "observed"] {
        let (median, p95) = (seconds[of]["median"].as_f64().unwrap(), seconds[of]["p95"].as_f64().unwrap());
        assert!((0.0..60.0).contains(&median) && median.total_cmp(&p95).is_eq(), "{seconds}");
    }
    // What was measured is known without the database, for as long as something runs that could be told of.
    let (next, _) = door.deploy_to_first_stage().await;
    door.house.bundles.confirm(door.house.store.as_ref(), 10).await.unwrap();
    door.house.store.sky.turns(Weather::Refuses);
    let away = told(&door).await;
    assert_eq!((&away["deployment"]["id"], &away["seconds"]), (&json!(next.to_string()), seconds));
}

#[tokio::test]
async fn without_the_database_it_is_told_by_what_is_remembered_and_shields_go_first() {
    let door = Door::with(settings()).await;
    door.deploy_to_first_stage().await;
    let here = told(&door).await;
    door.house.bundles.confirm(door.house.store.as_ref(), 10).await.unwrap();
    door.house.store.sky.turns(Weather::Refuses);
    let away = told(&door).await;
    assert_eq!((&away["state"], away["as_of"].is_string()), (&json!("degraded"), true), "{away:#}");
    assert!(away["why"][0]["detail"].as_str().unwrap().contains("the database is away"));
    assert_eq!(away["calls"], json!(["fake:raise_shields", "fake:delete_rules"]));
    assert_eq!(here["by_hand"], json!(["fake delete rule-1", "fake delete rule-2"]));
    let planned = door.post(&format!("{}?dry_run=true", url()), json!({})).await.json();
    let of_itself = format!("{}/rollback?dry_run=true", here["deployment"]["url"].as_str().unwrap());
    assert_eq!(door.post(&of_itself, json!({})).await.json(), planned);
    let first: Vec<_> = planned["plan"]["steps"].as_array().unwrap()[..2].iter().map(|step| &step["action"]).collect();
    assert_eq!(first, ["raise_shields", "delete_rules"], "a dry run says what would be sent in this weather: {planned:#}");
    assert_eq!(away["by_hand"], json!(["fake shield public", "fake shield internal"]), "it may have committed since");
    let idle = Door::with(settings()).await;
    idle.house.store.sky.turns(Weather::Refuses);
    assert_eq!(idle.get(&url()).await.problem(), "database-unreachable");
}

#[tokio::test]
async fn where_nothing_runs_it_says_which_image_would_be_deployed_anew() {
    let door = Door::declared().await;
    let (id, _) = door.deploy().await;
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let anew = told(&door).await;
    assert_eq!((&anew["state"], &anew["mode"], &anew["calls"]), (&json!("degraded"), &json!("redeploy"), &json!([])));
    assert!(anew["why"][0]["detail"].as_str().unwrap().contains("deploys ami-0aa1 anew"), "{anew:#}");
}
