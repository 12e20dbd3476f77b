//! Declaring services, and reading what was declared.

use serde_json::json;

use super::door::{Door, WEB, declaration_json};

#[tokio::test]
async fn a_declaration_is_new_once_and_kept_in_revisions() {
    let door = Door::open().await;
    let new = door.put(WEB, declaration_json()).await;
    assert_eq!((new.status, new.header("location")), (201, Some(WEB)), "{new:?}");
    assert_eq!((&new.json()["revision"], &new.json()["checked"]), (&json!(1), &json!(true)));
    assert_eq!(new.json()["declared_by"], "ci");

    let same = door.put(WEB, declaration_json()).await;
    assert_eq!((same.status, &same.json()["revision"]), (200, &json!(1)), "an identical one makes no revision");

    let mut other = declaration_json();
    other["server_group"]["max"] = json!(20);
    let changed = door.put(WEB, other).await;
    assert_eq!((changed.status, &changed.json()["revision"]), (200, &json!(2)));

    let first = door.get(&format!("{WEB}/revisions?limit=1")).await;
    assert_eq!(first.json()["items"][0]["revision"], 2);
    assert_eq!(first.json()["next_cursor"], "2");
    let link = first.header("link").unwrap();
    assert_eq!(link, format!("<{WEB}/revisions?cursor=2&limit=1>; rel=\"next\""));
    let second = door.get(&format!("{WEB}/revisions?cursor=2&limit=1")).await;
    assert_eq!(second.json()["items"][0]["revision"], 1);
    assert_eq!((second.json()["next_cursor"].clone(), second.header("link")), (json!(null), None));
}

#[tokio::test]
async fn what_is_read_can_be_declared_again_as_it_is() {
    let door = Door::open().await;
    let mut declared = declaration_json();
    declared["server_group"]["instance_warmup"] = json!("120s");
    door.put(WEB, declared).await;
    let read = door.get(WEB).await.json();
    assert_eq!(read["declaration"]["server_group"]["instance_warmup"], "2m");
    assert_eq!(read["declaration"]["strategy"]["stages"][0], json!({"weight": 12.5, "bake_time": "5m"}));
    assert_eq!(read["declaration"]["strategy"]["stages"][1]["weight"].to_string(), "100", "no decimal where none is needed");
    assert_eq!(read["declaration"]["server_group"]["health_check_grace"], "1m");
    let again = door.put(WEB, read["declaration"].clone()).await;
    assert_eq!((again.status, &again.json()["revision"]), (200, &json!(1)), "{again:?}");
}

#[tokio::test]
async fn every_fault_of_a_declaration_comes_at_once_and_nothing_is_stored() {
    let door = Door::open().await;
    let mut wrong = declaration_json();
    wrong["slots"] = json!(["a"]);
    wrong["colour"] = json!("blue");
    wrong["server_group"]["launch_template"]["version"] = json!("$Latest");
    wrong["strategy"]["stages"] = json!([{"weight": 50}, {"weight": 25}]);
    let refused = door.put(WEB, wrong).await;
    let expected = [
        "/colour",
        "/slots",
        "/server_group/launch_template/version",
        "/strategy/stages/1/weight",
        "/strategy/stages/1/weight",
    ];
    assert_eq!(refused.places(), expected);
    assert_eq!(door.get(WEB).await.problem(), "not-found");
}

#[tokio::test]
async fn what_the_provider_shows_to_be_wrong_is_a_fault_too() {
    let door = Door::open().await;
    let mut wrong = declaration_json();
    wrong["slots"] = json!(["c", "d"]);
    let refused = door.put(WEB, wrong).await;
    assert_eq!(refused.places(), ["/routes/0", "/routes/1"]);
    assert_eq!(door.get(WEB).await.status, 404);
}

#[tokio::test]
async fn a_provider_that_cannot_be_seen_is_no_reason_to_refuse() {
    let door = Door::open().await;
    door.house.cloud.world().blind = true;
    let stored = door.put(WEB, declaration_json()).await;
    assert_eq!((stored.status, &stored.json()["checked"]), (201, &json!(false)), "{stored:?}");
}

#[tokio::test]
async fn a_name_that_is_none_is_a_fault_of_the_url() {
    let door = Door::open().await;
    let refused = door.put("/v1/services/Web/environments/eu-prod", declaration_json()).await;
    assert_eq!(refused.places(), ["?service", "?environment"]);
}

#[tokio::test]
async fn a_declaration_changes_only_what_its_writer_has_read() {
    let door = Door::open().await;
    let absent = door.ask("PUT", WEB, &[("if-match", "\"x\"")], Some(declaration_json())).await;
    assert_eq!((absent.status, absent.problem()), (412, "precondition-failed".to_owned()));

    let read = door.put(WEB, declaration_json()).await.etag();
    assert_eq!(door.get(WEB).await.etag(), read, "PUT and GET show the same state");
    let kept = door.ask("GET", WEB, &[("if-none-match", &read)], None).await;
    assert_eq!((kept.status, kept.text.as_str(), kept.etag()), (304, "", read.clone()));

    let mut other = declaration_json();
    other["server_group"]["max"] = json!(20);
    let changed = door.ask("PUT", WEB, &[("if-match", &read)], Some(other.clone())).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    other["server_group"]["max"] = json!(30);
    let late = door.ask("PUT", WEB, &[("if-match", &read)], Some(other)).await;
    assert_eq!(late.problem(), "precondition-failed");
    assert_eq!(door.get(WEB).await.json()["declaration"]["server_group"]["max"], 20);
}

#[tokio::test]
async fn all_services_are_listed_with_what_runs_and_what_serves() {
    let door = Door::declared().await;
    let quiet = &door.get("/v1/services").await.json()["items"][0];
    assert_eq!((&quiet["service"], &quiet["running"], &quiet["live"]), (&json!("web"), &json!(null), &json!(null)));
    let (id, url) = door.deploy_to_first_stage().await;
    let moving = &door.get("/v1/services").await.json()["items"][0];
    assert_eq!((&moving["running"]["url"], &moving["running"]["status"]), (&json!(url), &json!("paused")));
    assert_eq!(moving["servers"], json!({"desired": 4, "in_service": 4, "healthy": 4}));
    door.post(&format!("{url}/promote"), json!({"to": "full"})).await;
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let done = &door.get("/v1/services").await.json()["items"][0];
    assert_eq!((&done["running"], &done["live"]["server_group"]), (&json!(null), &json!("web-prod-v001")));
    assert_eq!((&done["live"]["image"], &done["url"]), (&json!("ami-0bb2"), &json!(WEB)));

    let mut api = declaration_json();
    api["routes"] = json!(["public"]);
    door.house.cloud.world().blind = true;
    assert_eq!(door.put("/v1/services/api/environments/prod", api).await.status, 201);
    let page = door.get("/v1/services?limit=1").await;
    assert_eq!((&page.json()["items"][0]["service"], &page.json()["next_cursor"]), (&json!("api"), &json!("api/prod")));
    let next = door.get("/v1/services?limit=1&cursor=api/prod").await.json();
    assert_eq!((&next["items"][0]["service"], &next["next_cursor"]), (&json!("web"), &json!(null)));
}
