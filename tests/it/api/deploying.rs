//! Creating deployments, and reading them while they move.

use serde_json::{Value, json};

use super::door::{Door, WEB};

fn deployments() -> String {
    format!("{WEB}/deployments")
}

#[tokio::test]
async fn a_new_deployment_is_taken_down_and_shown_whole() {
    let door = Door::declared().await;
    let body = json!({"image": "ami-0bb2", "version": "8.3.0", "reason": "release 8.3.0"});
    let created = door.post(&deployments(), body).await;
    assert_eq!(created.status, 202, "{created:?}");
    let shown = created.json();
    let url = shown["url"].as_str().unwrap();
    assert_eq!(created.header("location"), Some(url));
    let members: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "id",
        "url",
        "service",
        "environment",
        "number",
        "image",
        "version",
        "reason",
        "created_by",
        "drift",
        "created_at",
        "ended_at",
        "status",
        "takes_back",
        "phase",
        "stage",
        "stages",
        "weight",
        "next_change_at",
        "blue",
        "green",
        "routes",
        "rollback",
        "attention",
        "allowed_actions",
        "poll_after_ms",
        "readiness",
    ];
    expected.sort_unstable();
    assert_eq!(members, expected);
    assert_eq!(shown["status"], "pending");
    assert_eq!((&shown["number"], &shown["created_by"], &shown["version"]), (&json!(1), &json!("ci"), &json!("8.3.0")));
    assert_eq!(shown["weight"], json!({"desired": 0, "observed": null}));
    assert_eq!(shown["stages"][0], json!({"weight": 5, "bake_time": "0s", "state": "next"}));
    assert_eq!(shown["blue"]["server_group"], "web-old");
    assert_eq!((&shown["green"]["server_group"], &shown["green"]["slot"]), (&json!("web-prod-v001"), &json!(null)));
    assert_eq!(shown["routes"][1], json!({"base": "internal", "overlay": null}));
    assert_eq!(shown["allowed_actions"], json!(["rollback", "pause", "cancel"]));
    let read = door.get(url).await;
    assert_eq!((read.status, read.json(), read.etag()), (200, shown, created.etag()));
}

#[tokio::test]
async fn a_deployment_shows_where_it_is_and_what_was_seen() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let shown = door.get(&url).await.json();
    assert_eq!((&shown["status"], &shown["phase"], &shown["stage"]), (&json!("paused"), &json!("shifting"), &json!(1)));
    assert_eq!(shown["weight"], json!({"desired": 5, "observed": 5}));
    let states: Vec<_> = shown["stages"].as_array().unwrap().iter().map(|stage| stage["state"].clone()).collect();
    assert_eq!(states, ["current", "next", "next"]);
    assert_eq!(shown["green"]["servers"], json!({"desired": 4, "in_service": 4, "healthy": 4}));
    assert_eq!((&shown["blue"]["slot"], &shown["green"]["slot"]), (&json!("a"), &json!("b")));
    assert!(shown["routes"].as_array().unwrap().iter().all(|route| route["overlay"].is_string()), "{shown}");
    assert_eq!(shown["allowed_actions"], json!(["rollback", "promote", "resume", "weight"]));
}

#[tokio::test]
async fn a_second_deployment_is_refused_with_the_link_of_the_first() {
    let door = Door::declared().await;
    let (_, url) = door.deploy().await;
    let refused = door.post(&deployments(), json!({"image": "ami-0cc3"})).await;
    assert_eq!((refused.status, refused.problem()), (409, "deployment-in-progress".to_owned()));
    assert_eq!(refused.json()["deployment"]["url"], json!(url));
    assert!(refused.json()["detail"].as_str().unwrap().contains(&url));
}

#[tokio::test]
async fn the_live_image_again_is_nothing_to_do() {
    let door = Door::declared().await;
    let (id, _) = door.deploy().await;
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let again = door.post(&deployments(), json!({"image": "ami-0bb2"})).await;
    assert_eq!((again.status, &again.json()["outcome"]), (200, &json!("noop")), "{again:?}");
    assert_eq!(door.get("/v1/deployments").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let door = Door::declared().await;
    let planned = door.post(&format!("{}?dry_run=true", deployments()), json!({"image": "ami-0bb2"})).await;
    assert_eq!(planned.status, 200, "{planned:?}");
    let steps = planned.json()["plan"]["steps"].clone();
    assert!(steps.as_array().unwrap().len() > 5, "{steps:#}");
    assert!(steps.as_array().unwrap().iter().all(|step| step["phase"].is_string() && step["detail"].is_string()));
    assert!(door.get("/v1/deployments").await.json()["items"].as_array().unwrap().is_empty());
    assert!(door.house.cloud.world().changes.is_empty());
    let wrong = door.post(&format!("{}?dry_run=true", deployments()), json!({"image": "debian"})).await;
    assert_eq!(wrong.places(), ["/image"]);
}

#[tokio::test]
async fn a_release_is_refused_for_every_fault_and_for_what_comes_later() {
    let door = Door::declared().await;
    let wrong = json!({
        "image": "debian-12", "colour": 1, "force": true, "on_conflict": "queue", "strategy": {"stages": [{"weight": 99}]}
    });
    let refused = door.post(&deployments(), wrong).await;
    assert_eq!(refused.places(), ["/colour", "/force", "/on_conflict", "/image", "/strategy/stages/0/weight"]);
    let told = refused.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["detail"].to_string().contains("not supported yet"))
        .count();
    assert_eq!(told, 2);
    assert_eq!(door.post(&format!("{}?dry=1", deployments()), json!({})).await.places(), ["?dry"]);
    assert_eq!(
        door.post("/v1/services/api/environments/prod/deployments", json!({"image": "ami-1"})).await.problem(),
        "not-found"
    );
}

#[tokio::test]
async fn deployments_are_listed_newest_first_page_by_page_and_by_filter() {
    let door = Door::declared().await;
    for _ in 0..3 {
        let (id, url) = door.deploy().await;
        door.post(&format!("{url}/cancel"), json!({})).await;
        door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    }
    let mut numbers = Vec::new();
    let mut url = "/v1/deployments?service=web&status=cancelled&limit=2".to_owned();
    for _ in 0..2 {
        let page = door.get(&url).await;
        numbers.extend(page.json()["items"].as_array().unwrap().iter().map(|d| d["number"].clone()));
        let Some(link) = page.header("link") else { break };
        url = link.strip_prefix('<').and_then(|rest| rest.split_once(">; rel=\"next\"")).unwrap().0.to_owned();
        assert!(url.contains("service=web") && url.contains("status=cancelled"), "{url}");
    }
    assert_eq!(numbers, [3, 2, 1]);
    let none = door.get("/v1/deployments?status=succeeded").await.json();
    assert_eq!(none, json!({"items": [], "next_cursor": null}));
    let wrong = door.get("/v1/deployments?status=done&limit=101&cursor=x&service=W&colour=blue&limit=1").await;
    let mut places = wrong.places();
    places.sort();
    assert_eq!(
        places,
        ["?colour", "?cursor", "?limit", "?limit", "?limit", "?service", "?status"][..]
            .to_vec()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_history_is_read_from_any_event_on() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let all = door.get(&format!("{url}/events")).await.json();
    let items = all["items"].as_array().unwrap();
    assert_eq!(items[0]["type"], "deployment.created");
    assert_eq!(items[0]["actor"], "ci");
    let ids: Vec<i64> = items.iter().map(|event| event["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted() && ids.len() > 3, "{ids:?}");
    let rest = door.get(&format!("{url}/events?after={}&limit=2", ids[0])).await;
    let seen: Vec<_> = rest.json()["items"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()).collect();
    assert_eq!(seen, ids[1..3]);
    assert_eq!(rest.json()["next_cursor"], Value::from(ids[2].to_string()));
    assert_eq!(door.get(&format!("{url}/events?after=-1")).await.places(), ["?after"]);
    assert_eq!(door.get("/v1/deployments/0193f0a4-6e0f-7c55-9a3c-2f1d5b8f0c11/events").await.problem(), "not-found");
}

#[tokio::test]
async fn a_refused_deployment_says_why() {
    let door = Door::declared().await;
    let (id, url) = door.deploy().await;
    door.house.cloud.world().sicken("web-old");
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let shown = door.get(&url).await.json();
    assert_eq!((&shown["status"], &shown["rollback"]), (&json!("cancelled"), &json!(null)), "{shown:#}");
    assert_eq!(shown["refusal"][0]["pointer"], "/blue");
}
