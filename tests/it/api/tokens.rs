//! Who may come in.

use std::sync::atomic::Ordering;

use axum::{body::Body, http::Request};
use cutover::http::auth;
use serde_json::json;

use super::door::{CI, Door, WEB};

async fn with(door: &Door, authorization: Option<&str>) -> super::door::Answer {
    let mut request = Request::get("/v1/services");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    door.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn without_a_known_token_nobody_comes_in() {
    let door = Door::declared().await;
    let unknown = format!("Bearer {}", auth::generate());
    let short = "Bearer x".to_owned();
    let mistyped = format!("Bearer {}x", auth::generate());
    for given in [None, Some("Basic YTpi"), Some("Bearer"), Some(&short), Some(&mistyped), Some(&unknown)] {
        let refused = with(&door, given).await;
        assert_eq!((refused.status, refused.problem()), (401, "unauthorized".to_owned()), "{given:?}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    assert_eq!(door.front.looks.load(Ordering::Relaxed), 1, "what is no token is not looked up");
}

#[tokio::test]
async fn every_call_under_v1_wants_a_token() {
    let door = Door::declared().await;
    let document = serde_json::to_value(cutover::http::openapi()).unwrap();
    let mut asked = 0;
    for (path, calls) in document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/v1/")) {
        for method in calls.as_object().unwrap().keys() {
            let url = path
                .replace("{service}", "web")
                .replace("{environment}", "prod")
                .replace("{id}", "0193f0a4-6e0f-7c55-9a3c-2f1d5b8f0c11");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(url).body(Body::empty()).unwrap();
            assert_eq!(door.send(request).await.problem(), "unauthorized", "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked >= 18, "{asked} calls");
}

#[tokio::test]
async fn a_known_owner_is_not_looked_up_again_for_a_while() {
    let door = Door::declared().await;
    for _ in 0..3 {
        assert_eq!(with(&door, Some(&format!("bearer {CI}"))).await.status, 200);
    }
    assert_eq!(door.front.looks.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_known_owner_comes_in_while_the_database_is_away_and_a_stranger_learns_why_not() {
    let door = Door::declared().await;
    with(&door, Some(&format!("Bearer {CI}"))).await;
    door.front.away.store(true, Ordering::Relaxed);
    let known = door.post(&format!("{WEB}/rollback"), json!({})).await;
    assert_eq!(known.problem(), "database-unreachable", "it got past the door, to a lane that needs its records");
    let stranger = with(&door, Some(&format!("Bearer {}", auth::generate()))).await;
    assert_eq!((stranger.status, stranger.problem()), (503, "database-unreachable".to_owned()));
}
