//! `plan` and `doctor`: checks and steps on stdout, and the exit code says whether anything stands in the way.

use serde_json::{Value, json};

use super::{
    fake::{Fake, Reply},
    run::run,
};

const DOCTOR: &str = "GET /v1/services/web/environments/prod/doctor";
const CREATE: &str = "POST /v1/services/web/environments/prod/deployments";

fn planned(result: &str) -> Value {
    let steps = json!([{"phase": "provisioning", "action": "create_green", "detail": "web-prod-v042",
                        "calls": ["autoscaling:CreateAutoScalingGroup web-prod-v042"]}]);
    json!({
        "plan": {"steps": if result == "failed" { json!([]) } else { steps }, "warnings": [], "unknown": []},
        "checks": [{"name": "route", "result": "ok", "detail": "a rule of number 100", "pointer": "/routes/0"},
                   {"name": "slot_users", "result": result, "detail": "rule 7 forwards to it", "pointer": null}],
    })
}

#[tokio::test]
async fn the_doctor_exits_with_eight_when_a_check_failed_and_with_zero_otherwise() {
    for (result, code, sign) in [("ok", 0, "✔"), ("warning", 0, "⚠"), ("unknown", 0, "?"), ("failed", 8, "✖")] {
        let fake = Fake::start().await.on(DOCTOR, [Reply::Json(200, planned(result))]);
        let ran = run(&fake, &["doctor", "web/prod", "--image", "ami-0bb2"]).await;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.out.contains("✔ route       /routes/0: a rule of number 100\n"), "{ran:?}");
        assert!(ran.out.contains(&format!("{sign} slot_users  rule 7 forwards to it\n")), "{ran:?}");
        assert_eq!(ran.out.contains("→ autoscaling:CreateAutoScalingGroup web-prod-v042"), code == 0, "{ran:?}");
        assert_eq!(ran.out.contains("2 checks: 1 failed, "), code == 8, "{ran:?}");
    }
    let fake = Fake::start().await.on(DOCTOR, [Reply::Json(200, planned("failed"))]);
    let ran = run(&fake, &["doctor", "web/prod", "-o", "json"]).await;
    assert_eq!((ran.code, serde_json::from_str::<Value>(&ran.out).unwrap()), (Some(8), planned("failed")));
    assert_eq!(run(&fake, &["doctor", "web/prod", "--image", "ami-1&x=1"]).await.code, Some(2), "the URL stays what it is");
}

#[tokio::test]
async fn a_plan_shows_checks_and_steps_and_is_refused_with_eight() {
    let fake = Fake::start().await.on(CREATE, [Reply::Json(200, planned("ok"))]);
    let ran = run(&fake, &["plan", "web/prod", "--image", "ami-0bb2"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("create_green") && ran.out.ends_with("nothing was changed\n"), "{ran:?}");
    assert_eq!(fake.asked()[0].body, json!({"image": "ami-0bb2"}));

    let refused = json!({"type": "/problems/validation-failed", "title": "The request has faults", "status": 422,
                         "errors": [{"pointer": "/routes/0", "detail": "rule 101 is in the way"}]});
    let fake = Fake::start().await.on(CREATE, [Reply::Json(422, refused)]);
    let ran = run(&fake, &["plan", "web/prod", "--image", "ami-0bb2"]).await;
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.err.contains("/routes/0: rule 101 is in the way"), "{ran:?}");
}
