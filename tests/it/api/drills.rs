//! Drills of the way back, as callers see them.

use std::sync::Arc;

use cutover::{
    domain::{drill::Phase, ids::HolderId},
    engine::{
        drills::{Driller, ports::DrillStore},
        ports::{FaultKind, Store},
    },
};
use serde_json::{Value, json};

use super::door::{Door, WEB};
use crate::support::{fake_cloud::FakeCloud, house::target, memory::MemoryStore};

const TICKS_MAX: usize = 100;

fn driller(door: &Door) -> Driller<MemoryStore, FakeCloud> {
    Driller {
        store: door.house.store.clone(),
        cloud: door.house.cloud.clone(),
        back: door.house.cloud.clone(),
        holder: HolderId::new("replica-1"),
        settings: door.house.worker.settings,
        woken: Arc::default(),
    }
}

/// Ticks until nothing runs; what was last begun.
async fn to_its_end(door: &Door) {
    let driller = driller(door);
    for _ in 0..TICKS_MAX {
        for claim in door.house.store.claim_drills(&driller.holder, driller.settings.lease, 10).await.unwrap() {
            driller.tick(claim).await.unwrap();
        }
        if door.house.store.drills(&target(), None, 1).await.unwrap().iter().all(|drill| drill.phase == Phase::Ended) {
            return;
        }
    }
    panic!("it never ended: {:#?}", door.house.store.drills(&target(), None, 1).await.unwrap());
}

#[tokio::test]
async fn a_drill_is_begun_measured_and_shown_wherever_one_would_look_for_it() {
    let door = Door::declared().await;
    assert_eq!(door.get(&format!("{WEB}/rollback")).await.json()["drill"], Value::Null);
    let begun = door.post(&format!("{WEB}/drill"), json!({"reason": "GameDay"})).await;
    assert_eq!((begun.status, &begun.json()["status"]), (202, &json!("pending")), "{begun:?}");
    let url = begun.json()["url"].as_str().unwrap().to_owned();
    assert_eq!(begun.header("location"), Some(url.as_str()));
    let again = door.post(&format!("{WEB}/drill"), json!({})).await;
    assert_eq!((again.status, &again.json()["url"]), (200, &json!(url)), "one at a time");

    to_its_end(&door).await;
    let ended = door.get(&url).await.json();
    assert_eq!((&ended["status"], &ended["reason"], &ended["created_by"]), (&json!("passed"), &json!("GameDay"), &json!("ci")));
    for (change, until) in [("opening", "accepted"), ("opening", "seen"), ("deletion", "accepted"), ("deletion", "seen")] {
        assert!(ended[change][until].as_f64().is_some_and(|seconds| seconds < 5.0), "{change} {until}: {ended:#}");
    }
    let kinds: Vec<_> = ended["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["drill.opening", "drill.open", "drill.ended"]);
    assert_eq!(door.house.cloud.world().changes, ["open_drill", "delete_rules"]);
    assert_eq!(door.house.cloud.world().rules_left(), 0);

    let shown = &door.get(&format!("{WEB}/rollback")).await.json()["drill"];
    assert_eq!((&shown["url"], &shown["status"], &shown["deletion"]), (&json!(url), &json!("passed"), &ended["deletion"]));
    let environment = door.get(WEB).await.json();
    assert_eq!((&environment["drill"]["url"], &environment["attention"]), (&json!(url), &Value::Null));
    let metrics = door.get("/metrics").await.text;
    for name in [
        "cutover_drill_duration_seconds{service=\"web\",environment=\"prod\",change=\"deletion\",until=\"seen\"}",
        "cutover_drill_last_success_timestamp_seconds{service=\"web\",environment=\"prod\"}",
        "cutover_drill_last_outcome{service=\"web\",environment=\"prod\",outcome=\"passed\"} 1",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
}

#[tokio::test]
async fn none_is_begun_while_a_deployment_runs_and_none_of_what_is_not_declared() {
    let door = Door::declared().await;
    let (id, url) = door.deploy().await;
    for dry_run in ["", "?dry_run=true"] {
        let refused = door.post(&format!("{WEB}/drill{dry_run}"), json!({})).await;
        assert_eq!((refused.status, refused.problem().as_str()), (409, "deployment-in-progress"));
        let named = &refused.json()["deployment"];
        assert_eq!((&named["id"], &named["url"]), (&json!(id.to_string()), &json!(url)), "{refused:?}");
    }
    let unknown = door.post("/v1/services/nobody/environments/prod/drill", json!({})).await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "not-found"));
    assert_eq!(door.get("/v1/services/nobody/environments/prod/drills").await.status, 404);
    assert_eq!(door.get(&format!("/v1/drills/{id}")).await.status, 404);
    assert_eq!(door.post(&format!("{WEB}/drill"), json!({"reson": "x"})).await.places(), ["/reson"]);
    assert!(door.house.store.drills(&target(), None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn one_that_fails_needs_a_person_until_one_passes() {
    let door = Door::declared().await;
    door.house.cloud.world().refuse_on = Some(0);
    assert_eq!(door.post(&format!("{WEB}/drill"), json!({})).await.status, 202);
    to_its_end(&door).await;
    let environment = door.get(WEB).await.json();
    assert_eq!(environment["drill"]["status"], "failed");
    let said = environment["attention"].as_str().unwrap();
    assert!(said.contains("could not be opened"), "{said}");
    let listed = &door.get("/v1/services").await.json()["items"][0]["attention"];
    assert_eq!(listed, &environment["attention"]);

    door.house.cloud.world().refuse_on = None;
    assert_eq!(door.post(&format!("{WEB}/drill"), json!({})).await.status, 202);
    to_its_end(&door).await;
    assert_eq!(door.get(WEB).await.json()["attention"], Value::Null);
    let page = door.get(&format!("{WEB}/drills?limit=1")).await;
    assert_eq!(page.json()["items"][0]["status"], "passed");
    let next = page.json()["next_cursor"].as_str().unwrap().to_owned();
    let page = door.get(&format!("{WEB}/drills?cursor={next}")).await.json();
    assert_eq!((&page["items"][0]["status"], &page["next_cursor"]), (&json!("failed"), &Value::Null));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let door = Door::declared().await;
    let plan = door.post(&format!("{WEB}/drill?dry_run=true"), json!({})).await.json();
    let actions: Vec<_> =
        plan["plan"]["steps"].as_array().unwrap().iter().map(|step| step["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["open_drill", "open_drill", "wait", "delete_rules", "wait"], "{plan:#}");
    assert!(plan["plan"]["steps"][0]["detail"].as_str().unwrap().starts_with("rule 99 above public"), "{plan:#}");
    let calls = |i: usize| plan["plan"]["steps"][i]["calls"].as_array().unwrap().len();
    assert_eq!([0, 1, 2, 3, 4].map(calls), [1, 1, 0, 2, 0], "each as a policy must allow it: {plan:#}");
    assert!(door.house.store.drills(&target(), None, 10).await.unwrap().is_empty());
    assert!(door.house.cloud.world().changes.is_empty());
}

#[tokio::test]
async fn a_schedule_is_declared_shown_and_refused_where_it_is_none() {
    let door = Door::declared().await;
    let mut declared = door.get(WEB).await.json()["declaration"].clone();
    assert_eq!(declared["drill"], Value::Null);
    declared["drill"] = json!({"schedule": "0 3 * * MON", "time_zone": "Europe/Berlin", "budget": "5s"});
    assert_eq!(door.put(WEB, declared.clone()).await.status, 200);
    assert_eq!(door.get(WEB).await.json()["declaration"]["drill"], declared["drill"]);
    for (field, value) in [("schedule", "soon"), ("schedule", "* * * * *"), ("time_zone", "Mars/Olympus"), ("budget", "0s")] {
        let mut wrong = declared.clone();
        wrong["drill"][field] = json!(value);
        assert_eq!(door.put(WEB, wrong).await.places(), [format!("/drill/{field}")], "{value}");
    }
    assert!(door.house.store.drill_due(&target()).is_some());
    assert!(door.house.store.environment(&target()).await.unwrap().is_some());
}

#[tokio::test]
async fn without_an_answer_from_the_provider_it_goes_on_until_its_rule_is_gone() {
    let door = Door::declared().await;
    assert_eq!(door.post(&format!("{WEB}/drill"), json!({})).await.status, 202);
    let driller = driller(&door);
    let tick = async || {
        for claim in door.house.store.claim_drills(&driller.holder, driller.settings.lease, 10).await.unwrap() {
            driller.tick(claim).await.unwrap();
        }
        door.house.store.drills(&target(), None, 1).await.unwrap().remove(0)
    };
    while tick().await.phase != Phase::Closing {}
    door.house.cloud.world().refuse = Some(FaultKind::Denied);
    for _ in 0..20 {
        assert_eq!(tick().await.phase, Phase::Closing);
    }
    assert_eq!(door.house.cloud.world().rules_left(), 2, "its rules, which send users where they were");
    door.house.cloud.world().refuse = None;
    door.house.cloud.world().blind = true;
    for _ in 0..20 {
        assert_eq!(tick().await.phase, Phase::Closing, "what is not seen is not gone");
    }
    door.house.cloud.world().blind = false;
    to_its_end(&door).await;
    assert_eq!(door.house.cloud.world().rules_left(), 0);
}
