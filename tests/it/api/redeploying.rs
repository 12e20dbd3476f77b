//! Rolling back what has ended, over HTTP: the image before it is deployed anew.

use std::time::Duration;

use cutover::{
    domain::ids::DeploymentId,
    engine::{ports::Store, settings::EngineSettings},
};
use serde_json::{Value, json};

use super::door::{Answer, Door, WEB, declaration_json};
use crate::support::{
    house::{at_once, target},
    memory::Weather,
};

fn back() -> String {
    format!("{WEB}/rollback")
}

fn id_of(shown: &Value) -> DeploymentId {
    DeploymentId::new(shown["id"].as_str().unwrap().parse().unwrap())
}

/// Deploys `image` to its end.
async fn released(door: &Door, image: &str) -> Value {
    let created = door.post(&format!("{WEB}/deployments"), json!({"image": image, "version": format!("v-{image}")})).await;
    assert_eq!(created.status, 202, "{created:?}");
    ended(door, &created).await
}

async fn ended(door: &Door, answer: &Answer) -> Value {
    let shown = answer.json();
    door.house.until(id_of(&shown), "the end", |d| d.phase.is_terminal()).await;
    door.get(shown["url"].as_str().unwrap()).await.json()
}

async fn two_releases(settings: EngineSettings) -> Door {
    let door = Door::with(settings).await;
    for image in ["ami-0aa1", "ami-0bb2"] {
        assert_eq!(released(&door, image).await["status"], "succeeded");
    }
    door
}

#[tokio::test]
async fn a_finished_deployment_is_taken_back_by_a_new_one_of_the_image_before_straight_to_100_percent() {
    let door = two_releases(at_once()).await;
    let planned = door.post(&format!("{}?dry_run=true", back()), json!({})).await;
    assert!(planned.status == 200 && planned.text.contains("ami-0aa1"), "{planned:?}");
    let answer = door.post(&back(), json!({"reason": "INC-1"})).await;
    let shown = answer.json();
    assert_eq!((answer.status, answer.header("location")), (202, shown["url"].as_str()), "{answer:?}");
    assert_eq!((&shown["mode"], &shown["durable"], &shown["takes_back"]), (&json!("redeploy"), &json!(true), &json!(2)));
    assert_eq!((&shown["image"], &shown["version"]), (&json!("ami-0aa1"), &json!("v-ami-0aa1")));
    assert_eq!((&shown["reason"], &shown["created_by"]), (&json!("INC-1"), &json!("ci")));
    let stages: Vec<_> = shown["stages"].as_array().unwrap().iter().map(|stage| stage["weight"].clone()).collect();
    assert_eq!((stages, &shown["rollback"]), (vec![json!(100)], &json!(null)));
    let ended = ended(&door, &answer).await;
    assert_eq!((&ended["status"], &ended["number"]), (&json!("succeeded"), &json!(3)));
    assert_eq!(door.get(WEB).await.json()["live"]["image"], "ami-0aa1");
}

#[tokio::test]
async fn a_redeploy_waits_for_no_preview() {
    let door = two_releases(at_once()).await;
    let mut declared = declaration_json();
    declared["preview"] = json!({"header": "X-Preview", "value": "green", "bake_time": "manual"});
    declared["strategy"]["bake_time"] = json!("0s");
    let declared = door.put(WEB, declared).await;
    assert_eq!(declared.status, 200, "{declared:?}");
    let answer = door.post(&back(), json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(ended(&door, &answer).await["status"], "succeeded");
}

#[tokio::test]
async fn asking_again_gives_the_redeploy_that_runs_and_the_one_that_ended_well_a_moment_ago() {
    let door = two_releases(at_once()).await;
    let first = door.post(&back(), json!({"reason": "INC-1"})).await.json();
    let again = door.post(&back(), json!({"reason": "INC-2"})).await;
    assert_eq!((again.status, &again.json()["url"], &again.json()["mode"]), (202, &first["url"], &json!("redeploy")));
    assert!(again.json()["rollback"].is_null(), "it was not rolled back itself: {again:?}");
    door.house.until(id_of(&first), "the end", |d| d.phase.is_terminal()).await;
    let after = door.post(&back(), json!({})).await;
    assert_eq!((after.status, &after.json()["url"]), (200, &first["url"]), "pressed twice, it goes back once");
    assert_eq!(after.header("location"), first["url"].as_str());
}

#[tokio::test]
async fn pressed_twice_at_the_same_time_it_goes_back_once_too() {
    let door = two_releases(at_once()).await;
    let (url, reason) = (back(), json!({"reason": "INC-1"}));
    let (one, other) = tokio::join!(door.post(&url, reason.clone()), door.post(&url, reason));
    assert_eq!((one.status, other.status), (202, 202), "{one:?} {other:?}");
    assert_eq!((&one.json()["url"], &one.json()["mode"]), (&other.json()["url"], &other.json()["mode"]));
    assert_eq!(one.header("location"), other.header("location"));
}

/// What the answer of a dry run would send: its calls, and its words.
async fn planned(door: &Door, of: &str) -> (Vec<Value>, String) {
    let planned = door.post(&format!("{of}?dry_run=true"), json!({})).await;
    assert_eq!(planned.status, 200, "{planned:?}");
    let steps = planned.json()["plan"]["steps"].as_array().unwrap().clone();
    let calls = steps.iter().flat_map(|step| step["calls"].as_array().unwrap().clone());
    let words: Vec<_> = steps.iter().map(|step| step["detail"].as_str().unwrap().to_owned()).collect();
    (calls.collect(), words.join("; "))
}

async fn standing(door: &Door) -> Value {
    door.get(&back()).await.json()
}

#[tokio::test]
async fn whoever_asks_first_is_told_of_a_running_redeploy_what_asking_for_it_gives() {
    let door = two_releases(at_once()).await;
    let first = door.post(&back(), json!({})).await.json();
    door.house.until(id_of(&first), "overlays", |d| !d.overlays.is_empty()).await;
    let told = standing(&door).await;
    assert_eq!((&told["state"], &told["mode"]), (&json!("degraded"), &json!("redeploy")), "{told:#}");
    assert!(told["why"][0]["detail"].as_str().unwrap().contains("#3 is on its way to take #2 back"), "{told:#}");
    assert_eq!((&told["calls"], &told["by_hand"], &told["blue"]), (&json!([]), &json!([]), &json!(null)), "nothing is sent");
    assert_eq!(told["sticky"], json!({"sessions": null, "share": null}));
    let (calls, words) = planned(&door, &back()).await;
    assert!(calls.is_empty() && words.contains("#3 is on its way to take #2 back"), "{calls:?} {words}");
    assert_eq!(door.post(&back(), json!({})).await.json()["url"], first["url"], "and so it is");
    let (calls, _) = planned(&door, &format!("{}/rollback", first["url"].as_str().unwrap())).await;
    assert_eq!(calls[0], "fake:delete_rules", "by its own id it is rolled back itself");
    door.house.until(id_of(&first), "the end", |d| d.phase.is_terminal()).await;
    let (ended, (calls, words)) = (standing(&door).await, planned(&door, &back()).await);
    assert_eq!((&ended["state"], &ended["mode"]), (&json!("no"), &json!(null)), "another image is not gone back to: {ended:#}");
    assert!(ended["why"][0]["detail"].as_str().unwrap().contains("#3 has taken #2 back"), "{ended:#}");
    assert!(calls.is_empty() && words.contains("#3 has taken #2 back"), "{calls:?} {words}");
}

#[tokio::test]
async fn after_a_redeploy_that_was_stopped_the_next_one_is_told_of() {
    let door = two_releases(at_once()).await;
    let first = door.post(&back(), json!({})).await.json();
    let stopped = door.post(&format!("{}/rollback", first["url"].as_str().unwrap()), json!({})).await;
    ended(&door, &stopped).await;
    let told = standing(&door).await;
    assert_eq!((&told["state"], &told["mode"]), (&json!("degraded"), &json!("redeploy")), "{told:#}");
    assert!(told["why"][0]["detail"].as_str().unwrap().contains("deploys ami-0aa1 (v-ami-0aa1) anew"), "{told:#}");
    assert!(planned(&door, &back()).await.1.contains("ami-0aa1"));
}

#[tokio::test]
async fn what_could_not_be_read_is_not_told_as_no() {
    let door = two_releases(at_once()).await;
    door.house.store.sky.turns(Weather::RefusesReleases);
    assert_eq!(door.get(&back()).await.problem(), "database-unreachable");
    door.house.store.sky.turns(Weather::Fine);
    assert_eq!(standing(&door).await["mode"], "redeploy");
}

#[tokio::test]
async fn a_release_that_was_rolled_back_a_moment_ago_is_the_answer_of_a_dry_run_too() {
    let door = two_releases(at_once()).await;
    let created = door.post(&format!("{WEB}/deployments"), json!({"image": "ami-0cc3"})).await;
    door.house.until(id_of(&created.json()), "overlays", |d| !d.overlays.is_empty()).await;
    let rolled_back = ended(&door, &door.post(&back(), json!({})).await).await;
    assert_eq!(rolled_back["status"], "rolled_back");
    for of in [back(), format!("{}/rollback", rolled_back["url"].as_str().unwrap())] {
        let (calls, words) = planned(&door, &of).await;
        assert!(calls.is_empty() && words.contains("#3 has gone back"), "{calls:?} {words}");
        assert_eq!(door.post(&of, json!({})).await.json()["url"], rolled_back["url"]);
    }
}

#[tokio::test]
async fn what_a_rollback_left_is_never_gone_back_to() {
    let door = two_releases(EngineSettings { rollback_repeats_for: Duration::ZERO, ..at_once() }).await;
    let first = door.post(&back(), json!({})).await;
    ended(&door, &first).await;
    let nothing = door.post(&back(), json!({})).await;
    assert_eq!((nothing.status, nothing.problem()), (409, "nothing-to-roll-back-to".to_owned()));
    released(&door, "ami-0cc3").await;
    let back = door.post(&back(), json!({})).await;
    assert_eq!((back.status, &back.json()["image"]), (202, &json!("ami-0aa1")));
}

#[tokio::test]
async fn a_redeploy_is_stopped_by_its_own_id_and_the_next_call_tries_anew() {
    let door = two_releases(at_once()).await;
    let first = door.post(&back(), json!({})).await.json();
    let of_itself = format!("{}/rollback", first["url"].as_str().unwrap());
    let stopped = door.post(&of_itself, json!({})).await;
    assert_eq!((stopped.status, &stopped.json()["mode"]), (200, &json!("instant")), "{stopped:?}");
    assert_eq!(ended(&door, &stopped).await["status"], "rolled_back");
    let anew = door.post(&back(), json!({})).await;
    assert_eq!((anew.status, &anew.json()["number"]), (202, &json!(4)), "users are still on what was to be left");
}

#[tokio::test]
async fn a_release_without_a_healthy_server_is_what_a_redeploy_is_for() {
    let door = two_releases(at_once()).await;
    let live = door.house.store.environment(&target()).await.unwrap().unwrap().live.unwrap();
    door.house.cloud.world().sicken(live.group.as_str());
    let forward = door.post(&format!("{WEB}/deployments"), json!({"image": "ami-0cc3"})).await;
    assert_eq!(forward.problem(), "validation-failed", "there would be nothing to go back to");
    let answer = door.post(&back(), json!({})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(ended(&door, &answer).await["status"], "succeeded");
}
