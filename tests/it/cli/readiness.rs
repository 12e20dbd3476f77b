//! `cutover readiness`, and what `status` and `deploy` say of the way back.

use serde_json::{Value, json};

use super::{
    fake::{Fake, ID, Reply, deployment, running, with},
    run::run,
};

const ASK: &str = "GET /v1/services/web/environments/prod/rollback";
const CREATE: &str = "POST /v1/services/web/environments/prod/deployments";

fn standing(state: &str, line: &str) -> Value {
    json!({
        "service": "web", "environment": "prod", "state": state, "why": [], "mode": "instant", "deployment": null, "blue": null,
        "sticky": {"sessions": null, "share": null},
        "seconds": {"rollbacks": 3, "accepted": {"median": 0.04, "p95": 0.2}, "observed": null},
        "calls": ["elasticloadbalancing:DeleteRule arn:o"], "by_hand": [line],
    })
}

fn open(phase: &str) -> Value {
    with(deployment("in_progress", phase), "routes", json!([{"base": "arn:b", "overlay": "arn:o"}]))
}

#[tokio::test]
async fn a_script_is_told_by_the_exit() {
    for (state, code) in [("ready", 0), ("degraded", 5), ("no", 8)] {
        let fake = Fake::start().await.on(ASK, [Reply::Json(200, standing(state, "aws elbv2 x"))]);
        let ran = run(&fake, &["readiness", "web/prod"]).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.out.contains(state) && ran.out.contains("by hand   aws elbv2 x\n"), "{ran:?}");
        let json = run(&fake, &["readiness", "web/prod", "-o", "json"]).await;
        let answer: Value = serde_json::from_str(&json.out).expect("stdout is the answer and nothing else");
        assert_eq!(answer, standing(state, "aws elbv2 x"));
    }
}

#[tokio::test]
async fn a_status_says_what_going_back_would_take() {
    let shown = with(open("shifting"), "readiness", json!({"state": "ready", "why": []}));
    let fake = Fake::start().await.living([shown.clone()]).on(ASK, [Reply::Json(200, standing("ready", "aws elbv2 x"))]);
    let ran = run(&fake, &["status", ID]).await;
    assert!(ran.out.contains("go back   ✔ ready\n"), "{ran:?}");
    assert!(ran.out.contains("1 call; accepted after about 0.04 s (0.2 s in 95 of 100)"), "{ran:?}");
    let older = Fake::start().await.living([open("shifting")]);
    let ran = run(&older, &["status", ID]).await;
    assert_eq!((ran.code, ran.out.contains("go back")), (Some(0), false), "an older service does not say: {ran:?}");
}

#[tokio::test]
async fn a_deploy_says_the_lines_by_hand_once_the_overlay_is_open_and_again_when_they_change() {
    let (delete, raise) = ("aws elbv2 delete-rule --rule-arn arn:o", "aws elbv2 create-rule --priority 98");
    let fake = Fake::start()
        .await
        .on(CREATE, [Reply::Json(202, running())])
        .living([running(), open("verifying"), open("shifting"), open("committing"), deployment("succeeded", "succeeded")])
        .on(ASK, [delete, delete, raise].map(|line| Reply::Json(200, standing("ready", line))));
    let ran = run(&fake, &["deploy", "web/prod", "--image", "ami-0bb2", "--wait"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fake.times(ASK), 3, "once a phase, and not before there is an overlay");
    assert_eq!((ran.err.matches(delete).count(), ran.err.matches(raise).count()), (1, 1), "{ran:?}");
    assert!(!ran.out.contains("aws elbv2"), "stdout is the result: {ran:?}");
}
