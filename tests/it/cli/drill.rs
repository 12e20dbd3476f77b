//! `cutover drill`: what it asks, waits for and exits with.

use serde_json::{Value, json};

use super::{
    fake::{Fake, ID, Reply},
    run::run,
};

const BEGIN: &str = "POST /v1/services/web/environments/prod/drill";
const LIST: &str = "GET /v1/services/web/environments/prod/drills";

fn drill(status: &str) -> Value {
    let ended_at = ["passed", "slow", "failed", "skipped"].contains(&status).then_some("2026-11-24T12:00:03Z");
    json!({
        "id": ID, "url": format!("/v1/drills/{ID}"), "service": "web", "environment": "prod", "status": status, "created_by": "ci",
        "created_at": "2026-11-24T12:00:00Z", "ended_at": ended_at, "opening": {"accepted": 0.05, "seen": 0.2},
        "deletion": {"accepted": 0.04, "seen": 0.3}, "budget": 10.0, "failure": null, "poll_after_ms": 1,
    })
}

#[tokio::test]
async fn it_waits_for_the_end_and_tells_a_script_by_the_exit() {
    for (status, code) in [("passed", 0), ("slow", 5), ("failed", 5), ("skipped", 6)] {
        let states = ["pending", "closing", status].map(|status| Reply::Json(200, drill(status)));
        let read = format!("GET /v1/drills/{ID}");
        let fake = Fake::start().await.on(BEGIN, [Reply::Json(202, drill("pending"))]).on(&read, states);
        let ran = run(&fake, &["drill", "web/prod", "--wait", "--reason", "GameDay"]).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.out.contains(status) && ran.out.contains("way back  accepted after 0.04 s, seen after 0.3 s"), "{ran:?}");
        assert_eq!((fake.times(&read), &fake.asked()[0].body), (3, &json!({"reason": "GameDay"})));
    }
}

#[tokio::test]
async fn without_a_wait_it_says_what_was_begun_and_the_trend_begins_nothing() {
    let page = json!({"items": [drill("passed"), drill("failed")], "next_cursor": null});
    let begun = Fake::start().await.on(BEGIN, [Reply::Json(202, drill("pending"))]).on(LIST, [Reply::Json(200, page)]);
    let ran = run(&begun, &["drill", "web/prod", "-o", "json"]).await;
    assert_eq!((ran.code, serde_json::from_str::<Value>(&ran.out).unwrap()), (Some(0), drill("pending")));
    let ran = run(&begun, &["drill", "web/prod", "--list"]).await;
    assert_eq!((ran.code, ran.out.lines().count(), begun.times(BEGIN)), (Some(0), 2, 1), "{ran:?}");
    assert_eq!(run(&begun, &["drill", "web/prod", "--timeout", "5s"]).await.code, Some(2), "a limit without a wait");
}
