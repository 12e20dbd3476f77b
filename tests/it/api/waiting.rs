//! Long polls.

use std::time::Duration;

use serde_json::json;

use super::door::Door;

/// Nothing here takes as long; a test that does has failed.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_long_poll_answers_when_the_deployment_ends() {
    let door = Door::declared().await;
    let (id, url) = door.deploy().await;
    let until = format!("{url}?wait=55s&until=terminal");
    let waiting = door.get(&until);
    let working = async {
        tokio::task::yield_now().await;
        door.house.until(id, "the end", |d| d.phase.is_terminal()).await
    };
    let (answer, _) = tokio::time::timeout(SOON, async { tokio::join!(waiting, working) }).await.unwrap();
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("succeeded")));
}

#[tokio::test]
async fn a_long_poll_waits_for_a_stage_that_is_seen() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    for there in ["stage:1", "stage%3A1"] {
        let answer = tokio::time::timeout(SOON, door.get(&format!("{url}?wait=55s&until={there}"))).await.unwrap();
        assert_eq!(answer.json()["stage"], 1);
    }
    let until = format!("{url}?wait=55s&until=stage:2");
    let waiting = door.get(&until);
    let working = async {
        door.post(&format!("{url}/promote"), json!({})).await;
        door.house.tick().await;
        door.house.tick().await;
        door.house.tick().await
    };
    let (answer, _) = tokio::time::timeout(SOON, async { tokio::join!(waiting, working) }).await.unwrap();
    assert_eq!((&answer.json()["stage"], &answer.json()["weight"]["observed"]), (&json!(2), &json!(25)), "{answer:?}");
}

#[tokio::test]
async fn without_until_the_first_change_that_shows_is_answered() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let read = door.get(&url).await.etag();
    let waiting = format!("{url}?wait=55s");
    let known = [("if-none-match", read.as_str())];
    let waiting = door.ask("GET", &waiting, &known, None);
    let working = async {
        tokio::task::yield_now().await;
        // A look that sees the same: the record moves, what is shown does not.
        door.house.tick().await;
        door.put(&format!("{url}/weight"), json!({"green": 7})).await;
        door.house.tick().await
    };
    let (answer, _) = tokio::time::timeout(SOON, async { tokio::join!(waiting, working) }).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(answer.etag(), read);
}

#[tokio::test]
async fn when_the_time_is_up_the_answer_is_the_deployment_as_it_is() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let now = door.get(&format!("{url}?wait=10ms&until=terminal")).await;
    assert_eq!((now.status, &now.json()["phase"]), (200, &json!("shifting")));
    let etag = now.etag();
    let same = door.ask("GET", &format!("{url}?wait=10ms"), &[("if-none-match", &etag)], None).await;
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    let stale = door.ask("GET", &format!("{url}?wait=55s"), &[("if-none-match", "\"older\"")], None).await;
    assert_eq!(stale.etag(), etag, "who has another state already is answered at once");
}

#[tokio::test]
async fn one_that_has_ended_never_changes_and_is_not_waited_for() {
    let door = Door::declared().await;
    let (id, url) = door.deploy().await;
    door.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    for query in ["wait=55s", "wait=55s&until=terminal", "wait=55s&until=stage:9", "wait=55s&until=approval"] {
        let answer = tokio::time::timeout(SOON, door.get(&format!("{url}?{query}"))).await.unwrap();
        assert_eq!(answer.json()["status"], "succeeded", "{query}");
    }
}

#[tokio::test]
async fn a_service_that_stops_lets_all_who_wait_go() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let until = format!("{url}?wait=55s&until=terminal");
    let waiting = door.get(&until);
    let stopping = async {
        tokio::task::yield_now().await;
        door.stop.cancel();
    };
    let (answer, ()) = tokio::time::timeout(SOON, async { tokio::join!(waiting, stopping) }).await.unwrap();
    assert_eq!((answer.status, &answer.json()["phase"]), (200, &json!("shifting")));
}

#[tokio::test]
async fn a_wait_has_a_unit_an_end_and_a_known_aim() {
    let door = Door::declared().await;
    let (_, url) = door.deploy().await;
    for (query, places) in [
        ("wait=61s", vec!["?wait"]),
        ("wait=55", vec!["?wait"]),
        ("until=terminal", vec!["?until"]),
        ("wait=1s&until=done", vec!["?until"]),
        ("wait=1s&until=stage:0", vec!["?until"]),
        ("wait=1s&for=ever", vec!["?for"]),
    ] {
        assert_eq!(door.get(&format!("{url}?{query}")).await.places(), places, "{query}");
    }
}
