//! What no caller may exceed, and answers in one form whatever went wrong.

use std::sync::atomic::Ordering;

use axum::{body::Body, http::Request};
use serde_json::json;

use super::door::{Answer, CI, Door, WEB};

async fn raw(door: &Door, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = Request::put(WEB).header("authorization", format!("Bearer {CI}"));
    if let Some(kind) = content_type {
        request = request.header("content-type", kind);
    }
    door.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn a_body_is_one_json_value_of_at_most_64_kib() {
    let door = Door::declared().await;
    let json = Some("application/json");
    let cases = [
        (raw(&door, json, "{\"provider\": ").await, 400, "malformed-body"),
        (raw(&door, json, "{} {}").await, 400, "malformed-body"),
        (raw(&door, json, vec![0xff, 0xfe]).await, 400, "malformed-body"),
        (raw(&door, json, "[".repeat(10_000)).await, 400, "malformed-body"),
        (raw(&door, Some("application/x-www-form-urlencoded"), "{}").await, 415, "unsupported-media-type"),
        (raw(&door, json, format!("\"{}\"", "x".repeat(64 * 1024))).await, 413, "body-too-large"),
        (raw(&door, json, "[]").await, 422, "validation-failed"),
        (raw(&door, Some("application/json; charset=utf-8"), " ").await, 422, "validation-failed"),
        (raw(&door, None, "{}").await, 422, "validation-failed"),
        (raw(&door, json, format!("{{\"provider\": \"{}\"}}", "x".repeat(60_000))).await, 422, "validation-failed"),
    ];
    for (i, (answer, status, problem)) in cases.iter().enumerate() {
        assert_eq!((answer.status, answer.problem().as_str()), (*status, *problem), "case {i}");
    }
}

#[tokio::test]
async fn the_request_id_is_echoed_when_it_is_a_short_word_and_made_when_not() {
    let door = Door::declared().await;
    let given = door.ask("GET", "/livez", &[("x-request-id", "build-42")], None).await;
    assert_eq!(given.header("x-request-id"), Some("build-42"));
    for wrong in ["", "two words", &"x".repeat(129)] {
        let made = door.ask("GET", "/nowhere", &[("x-request-id", wrong)], None).await;
        assert_eq!(made.header("x-request-id").unwrap().len(), 36, "{wrong:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_what_is_not_taken_are_problems_too() {
    let door = Door::declared().await;
    assert_eq!(door.get("/v2/services").await.problem(), "not-found");
    assert_eq!(door.get("/v1/deployments/not-an-id").await.problem(), "not-found");
    let wrong = door.ask("DELETE", WEB, &[], None).await;
    assert_eq!((wrong.status, wrong.problem()), (405, "method-not-allowed".to_owned()));
    assert!(wrong.header("allow").unwrap().contains("PUT"));
}

#[tokio::test]
async fn a_bug_is_an_answer_without_details_and_the_next_request_is_served() {
    let door = Door::declared().await;
    let (_, url) = door.deploy().await;
    door.front.broken.store(true, Ordering::Relaxed);
    let answer = door.get(&url).await;
    assert_eq!((answer.status, answer.problem()), (500, "internal-error".to_owned()));
    assert!(!answer.text.contains("a bug that a test asked for"));
    assert!(answer.header("x-request-id").is_some());
    door.front.broken.store(false, Ordering::Relaxed);
    assert_eq!(door.get(&url).await.status, 200);
}

#[tokio::test]
async fn waiting_readers_leave_room_for_a_rollback() {
    let door = Door::declared().await;
    let (_, url) = door.deploy_to_first_stage().await;
    let until = format!("{url}?wait=55s&until=terminal");
    let mut waiting: Vec<_> = (0..2048).map(|_| Box::pin(door.get(&until))).collect();
    for poll in &mut waiting {
        assert!(futures::poll!(poll.as_mut()).is_pending());
    }
    let one_more = door.get(&until).await;
    assert_eq!((one_more.status, one_more.problem()), (503, "overloaded".to_owned()));
    assert_eq!(one_more.header("retry-after"), Some("1"));
    assert_eq!(door.post(&format!("{WEB}/rollback"), json!({})).await.status, 200);
    drop(waiting);
    assert_eq!(door.get(&url).await.status, 200, "places are given back");
}
