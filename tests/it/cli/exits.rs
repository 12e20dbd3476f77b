//! Every exit code, each by the story that leads to it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    fake::{DEADLINE, Fake, ID, Reply, deployment, problem, running, with},
    run::{end, program, run, start},
};

const CREATE: &str = "POST /v1/services/web/environments/prod/deployments";
const ROLLBACK: &str = "POST /v1/services/web/environments/prod/rollback";
const DEPLOY: [&str; 4] = ["deploy", "web/prod", "--image", "ami-0bb2"];
const DEPLOY_WAIT: [&str; 5] = ["deploy", "web/prod", "--image", "ami-0bb2", "--wait"];

fn created() -> Reply {
    Reply::Json(202, running())
}

async fn deploy_that_ends(last: Value) -> super::run::Ran {
    let fake = Fake::start().await.on(CREATE, [created()]).living([running(), last]);
    run(&fake, &DEPLOY_WAIT).await
}

#[tokio::test]
async fn zero_when_the_release_succeeds() {
    let history = json!({"items": [{"id": 1, "at": "2026-11-24T12:03:11Z", "type": "phase.entered", "message": "weight 5 -> 25",
                                    "actor": "cutover", "data": {}}], "next_cursor": null});
    let fake = Fake::start()
        .await
        .on(CREATE, [created()])
        .living([running(), deployment("succeeded", "succeeded")])
        .on(&format!("GET /v1/deployments/{ID}/events"), [Reply::Json(200, history)]);
    let ran = run(&fake, &["deploy", "web/prod", "--image", "ami-0bb2", "--reason", "8.3.0", "--wait", "-o", "json"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let result: Value = serde_json::from_str(&ran.out).expect("stdout is the result and nothing else");
    assert_eq!(result["status"], "succeeded");
    assert!(ran.err.contains("2026-11-24T12:03:11.000Z weight 5 -> 25"), "{ran:?}");
    assert!(ran.err.contains("cutover rollback web/prod --reason WHY"), "{ran:?}");
    assert!(
        ran.err.contains(&format!("curl -sS --fail-with-body -X POST {}/v1/services/web/environments/prod/rollback", fake.url)),
        "{ran:?}"
    );

    let first = &fake.asked()[0];
    assert_eq!(first.body, json!({"image": "ami-0bb2", "reason": "8.3.0"}));
    assert_eq!(first.token.as_deref(), Some("Bearer a-token-of-twenty-characters"));
}

#[tokio::test]
async fn zero_when_there_is_nothing_to_do() {
    let fake = Fake::start().await.on(CREATE, [Reply::Json(200, json!({"outcome": "noop"}))]);
    let ran = run(&fake, &DEPLOY_WAIT).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("nothing to do"), "{ran:?}");
}

#[tokio::test]
async fn one_when_nobody_answers() {
    let fake = Fake::start().await;
    let nobody = fake.url.clone();
    drop(fake);
    let began = Instant::now();
    let ran = end(program(&["status", "web/prod", "--url", &nobody]).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("does not answer"), "{ran:?}");
    assert!(began.elapsed() > Duration::from_secs(5), "it gave up without trying again");
}

#[tokio::test]
async fn two_when_the_command_line_is_wrong() {
    let fake = Fake::start().await;
    for args in [
        &["deploy", "web"][..],
        &["wait", "web/prod", "--timeout", "30"],
        &["weight", "web/prod", "101"],
        &["rollbak", "web/prod"],
        &["wait", "web/prod", "--until", "stage:0"],
        &["deploy", "web/prod", "--image", "ami-0bb2", "--timeout", "30m"],
    ] {
        let ran = run(&fake, args).await;
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
    }
    assert_eq!(fake.asked(), []);
}

#[tokio::test]
async fn three_when_the_release_went_back() {
    for end in [deployment("rolled_back", "rolled_back"), deployment("cancelled", "cancelled")] {
        let ran = deploy_that_ends(end).await;
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.err.contains("users are on the old version"), "{ran:?}");
    }
}

#[tokio::test]
async fn four_when_the_token_is_not_accepted() {
    for reply in [problem(401, "unauthorized"), problem(403, "forbidden")] {
        let fake = Fake::start().await.on(CREATE, [reply]);
        let ran = run(&fake, &DEPLOY).await;
        assert_eq!(ran.code, Some(4), "{ran:?}");
    }
}

#[tokio::test]
async fn five_when_it_failed() {
    let ran = deploy_that_ends(deployment("failed", "failed")).await;
    assert_eq!(ran.code, Some(5), "{ran:?}");
}

#[tokio::test]
async fn five_when_a_person_has_been_needed_for_too_long() {
    let needed = with(running(), "attention", json!("the overlay was changed outside Cutover"));
    let fake = Fake::start().await.living([needed]);
    let ran = run(&fake, &["wait", ID, "--attention-patience", "300ms"]).await;
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.err.contains("needs a person: the overlay was changed"), "{ran:?}");
}

#[tokio::test]
async fn six_when_another_deployment_runs() {
    let body = json!({"type": "/problems/deployment-in-progress", "title": "A deployment runs already", "status": 409,
                      "detail": "#41 runs", "deployment": {"id": ID, "url": "…"}});
    let fake = Fake::start().await.on(CREATE, [Reply::Json(409, body)]);
    let ran = run(&fake, &DEPLOY).await;
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.err.contains(&format!("cutover status {ID}")), "{ran:?}");
}

#[tokio::test]
async fn six_when_the_command_is_not_legal_now() {
    let body = json!({"type": "/problems/illegal-in-phase", "title": "The command is not legal now", "status": 409,
                      "phase": "retiring", "allowed_actions": []});
    let fake = Fake::start().await.on(&format!("POST /v1/deployments/{ID}/cancel"), [Reply::Json(409, body)]);
    let ran = run(&fake, &["cancel", ID]).await;
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.err.contains("it is retiring"), "{ran:?}");
}

#[tokio::test]
async fn eight_when_the_request_has_faults_and_every_one_is_printed() {
    let body = json!({"type": "/problems/validation-failed", "title": "The request has faults", "status": 422, "errors": [
        {"pointer": "/image", "detail": "is no image"}, {"pointer": "/version", "detail": "is too long"}]});
    let fake = Fake::start().await.on(CREATE, [Reply::Json(422, body)]);
    let ran = run(&fake, &DEPLOY).await;
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.err.contains("/image: is no image") && ran.err.contains("/version: is too long"), "{ran:?}");
}

#[tokio::test]
async fn eight_when_preflight_refuses() {
    let refusal = json!([{"pointer": "/routes/0", "detail": "rule 101 is in the way"}]);
    let ran = deploy_that_ends(with(deployment("cancelled", "cancelled"), "refusal", refusal)).await;
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.out.contains("/routes/0: rule 101 is in the way"), "{ran:?}");
}

#[tokio::test]
async fn a_hundred_and_twenty_four_when_time_is_up_and_the_way_back_is_printed() {
    let fake = Fake::start().await.living([running()]);
    let ran = run(&fake, &["wait", ID, "--timeout", "500ms"]).await;
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert!(ran.err.contains(&format!("come back with: cutover wait {ID}")), "{ran:?}");
}

#[tokio::test]
async fn a_hundred_and_thirty_on_ctrl_c_and_the_way_back_is_printed() {
    let fake = Fake::start().await.on(CREATE, [created()]).living([running()]);
    let child = start(&fake, &DEPLOY_WAIT);
    let began = Instant::now();
    while fake.times(&format!("GET /v1/deployments/{ID}")) == 0 {
        assert!(began.elapsed() < DEADLINE, "it never looked: {:?}", fake.asked());
        tokio::task::yield_now().await;
    }
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = end(child).await;
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.err.contains(&format!("the deployment goes on; come back with: cutover wait {ID}")), "{ran:?}");
}

#[tokio::test]
async fn waiting_may_end_at_a_stage() {
    let at = |observed| {
        let shifting = with(deployment("in_progress", "shifting"), "stage", json!(1));
        with(shifting, "weight", json!({"desired": 5, "observed": observed}))
    };
    let fake = Fake::start().await.living([running(), at(0), at(5)]);
    let ran = run(&fake, &["wait", ID, "--until", "stage:1", "-o", "name"]).await;
    assert_eq!((ran.code, ran.out.trim()), (Some(0), ID), "{ran:?}");
}

#[tokio::test]
async fn a_rollback_is_asked_for_until_it_is_accepted() {
    let accepted = with(deployment("in_progress", "rolling_back"), "mode", json!("instant"));
    let fake = Fake::start().await.on(
        ROLLBACK,
        [
            problem(503, "database-unreachable"),
            Reply::Broken,
            problem(500, "internal-error"),
            Reply::Json(202, accepted.clone()),
            Reply::Json(200, accepted),
        ],
    );
    let ran = run(&fake, &["rollback", "web/prod", "--reason", "INC-1"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fake.times(ROLLBACK), 5);
    assert_eq!(fake.asked()[0].body, json!({"reason": "INC-1"}));
    assert!(ran.err.contains("rollback accepted after"), "{ran:?}");
}

#[tokio::test]
async fn a_rollback_that_was_waited_for_is_success_when_it_went_back() {
    let back = deployment("in_progress", "rolling_back");
    let fake = Fake::start()
        .await
        .on(ROLLBACK, [Reply::Json(200, back.clone())])
        .living([back, deployment("rolled_back", "rolled_back")]);
    let ran = run(&fake, &["rollback", "web/prod", "--wait"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[tokio::test]
async fn a_rollback_that_is_recorded_but_never_accepted_says_so_when_time_is_up() {
    let fake = Fake::start().await.on(ROLLBACK, [Reply::Json(202, deployment("in_progress", "rolling_back"))]);
    let ran = run(&fake, &["rollback", "web/prod", "--timeout", "1s"]).await;
    assert_eq!(ran.code, Some(124), "{ran:?}");
    assert!(ran.err.contains("the rollback is taken down"), "{ran:?}");
}

#[tokio::test]
async fn a_rollback_taken_without_a_database_says_where_it_stands() {
    let accepted = with(with(deployment("in_progress", "shifting"), "mode", json!("instant")), "durable", json!(false));
    let fake = Fake::start().await.on(ROLLBACK, [Reply::Json(200, accepted)]);
    let ran = run(&fake, &["rollback", "web/prod"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("rollback accepted after") && ran.err.contains("the order waits on its disk"), "{ran:?}");
}

#[tokio::test]
async fn what_may_not_be_sent_without_a_database_is_tried_on_and_the_lines_by_hand_are_shown_meanwhile() {
    let problem = json!({
        "type": "/problems/rollback-out-of-reach", "title": "Not without the database any more", "status": 503,
        "detail": "no base is on blue any more", "by_hand": ["aws elbv2 delete-rule --rule-arn arn:o"],
    });
    let fake = Fake::start().await.on(ROLLBACK, [Reply::Json(503, problem)]);
    let ran = run(&fake, &["rollback", "web/prod", "--timeout", "4s"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for said in ["no base is on blue", "    aws elbv2 delete-rule --rule-arn arn:o", "trying again"] {
        assert!(ran.err.contains(said), "{said}: {ran:?}");
    }
}

#[tokio::test]
async fn asked_again_after_the_end_it_claims_nothing_that_was_not_done() {
    for (mode, status, said) in
        [("instant", "rolled_back", "it went back already"), ("redeploy", "succeeded", "deployed anew already")]
    {
        let known = with(with(deployment(status, status), "mode", json!(mode)), "by_route", json!([]));
        let fake = Fake::start().await.on(ROLLBACK, [Reply::Json(200, known)]);
        let ran = run(&fake, &["rollback", "web/prod"]).await;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.err.contains(said) && ran.err.contains("nothing was sent") && !ran.err.contains("accepted after"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn a_rollback_that_no_service_answers_names_the_way_without_one_and_is_tried_on() {
    let fake = Fake::start().await;
    let nobody = fake.url.clone();
    drop(fake);
    let ran = end(program(&["rollback", "web/prod", "--url", &nobody, "--timeout", "5s"]).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("trying again for ") && ran.err.contains("cutover rollback --direct --bundle "), "{ran:?}");
    assert!(ran.err.contains("lane/bundles web/prod"), "{ran:?}");
}

#[tokio::test]
async fn a_status_tells_a_typo_from_a_first_day() {
    let none = Reply::Json(200, json!({"items": [], "next_cursor": null}));
    let fake = Fake::start().await.on("GET /v1/deployments", [none]);
    let ran = run(&fake, &["status", "wbe/prod"]).await;
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.err.contains("There is no such thing") && !ran.err.contains("has had no deployment"), "{ran:?}");
    let fake = fake.on("GET /v1/services/web/environments/prod", [Reply::Json(200, json!({}))]);
    assert!(run(&fake, &["status", "web/prod"]).await.err.contains("web/prod has had no deployment yet"));
}

#[tokio::test]
async fn a_promote_whose_answer_was_lost_is_not_sent_twice() {
    let promote = format!("POST /v1/deployments/{ID}/promote");
    let fake = Fake::start().await.on(&promote, [Reply::Broken, Reply::Json(202, running())]);
    let ran = run(&fake, &["promote", ID]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(fake.times(&promote), 1);
    assert!(ran.err.contains("it may have been done"), "{ran:?}");
}

#[tokio::test]
async fn a_deploy_whose_answer_was_lost_finds_what_it_began() {
    let conflict = json!({"type": "/problems/deployment-in-progress", "title": "A deployment runs already", "status": 409,
                          "deployment": {"id": ID}});
    let fake = Fake::start().await.on(CREATE, [Reply::Broken, Reply::Json(409, conflict)]).living([running()]);
    let ran = run(&fake, &["deploy", "web/prod", "--image", "ami-0bb2", "-o", "name"]).await;
    assert_eq!((ran.code, ran.out.trim()), (Some(0), ID), "{ran:?}");

    let other = run(&fake, &["deploy", "web/prod", "--image", "ami-0cc3"]).await;
    assert_eq!(other.code, Some(6), "what another one began is not taken for ours: {other:?}");
}

#[tokio::test]
async fn commands_go_to_the_newest_deployment_of_a_service() {
    let fake = Fake::start()
        .await
        .on("GET /v1/deployments", [Reply::Json(200, json!({"items": [running()], "next_cursor": null}))])
        .on(&format!("PUT /v1/deployments/{ID}/weight"), [Reply::Json(202, running())])
        .on(&format!("POST /v1/deployments/{ID}/pause"), [Reply::Json(200, running())]);
    let weight = run(&fake, &["weight", "web/prod", "12.5", "--reason", "look"]).await;
    assert_eq!(weight.code, Some(0), "{weight:?}");
    assert_eq!(fake.asked()[1].body, json!({"green": 12.5, "reason": "look"}));
    let pause = run(&fake, &["pause", "web/prod"]).await;
    assert_eq!(pause.code, Some(0), "{pause:?}");
    assert!(pause.err.contains("it is so already"), "{pause:?}");
}

#[tokio::test]
async fn a_dry_run_shows_the_steps_in_order() {
    let plan = json!({"plan": {"steps": [
        {"phase": "provisioning", "action": "create_green", "detail": "web-prod-v042 with 8 servers"},
        {"phase": "shifting", "action": "set_weight", "detail": "5 %"}], "warnings": ["no alarm"], "unknown": []}});
    let fake = Fake::start().await.on(CREATE, [Reply::Json(200, plan)]);
    let ran = run(&fake, &["deploy", "web/prod", "--image", "ami-0bb2", "--dry-run"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("1  provisioning  create_green") && ran.out.contains("warning: no alarm"), "{ran:?}");
}

#[tokio::test]
async fn what_was_left_behind_is_listed_over_all_pages() {
    let orphan = |name: &str| {
        json!({"kind": "server_group", "name": name, "first_seen_at": "2026-11-24T12:00:00Z", "why": "it was left", "remove_at": null,
               "kept_because": "it may serve", "of_tomorrow": 1})
    };
    let page = |name: &str, next: Value| Reply::Json(200, json!({"items": [orphan(name)], "next_cursor": next}));
    let pages = || [page("web-prod-v001", json!("7")), page("web-prod-v002", Value::Null)];
    for (output, expected) in
        [("name", "web-prod-v001\nweb-prod-v002\n"), ("table", "kept: it may serve"), ("json", "of_tomorrow")]
    {
        let fake = Fake::start().await.on("GET /v1/orphans", pages());
        let ran = run(&fake, &["orphans", "web/prod", "-o", output]).await;
        assert!(ran.code == Some(0) && ran.out.contains(expected), "{ran:?}");
        assert_eq!(fake.times("GET /v1/orphans"), 2);
    }
    let nothing = Fake::start().await.on("GET /v1/orphans", [Reply::Json(200, json!({"items": [], "next_cursor": null}))]);
    let ran = run(&nothing, &["orphans"]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran:?}");
    assert!(ran.err.contains("nothing was left behind"), "{ran:?}");
    let refused = Fake::start().await.on("GET /v1/orphans", [problem(401, "unauthorized")]);
    assert_eq!(run(&refused, &["orphans"]).await.code, Some(4));
}

#[tokio::test]
async fn a_service_that_hangs_is_left_when_time_is_up() {
    let fake = Fake::start().await.on(&format!("GET /v1/deployments/{ID}"), [Reply::Json(200, running()), Reply::Silence]);
    let fake = fake.on(&format!("GET /v1/deployments/{ID}/events"), [Reply::Json(200, json!({"items": []}))]);
    let ran = run(&fake, &["wait", ID, "--timeout", "1s"]).await;
    assert_eq!(ran.code, Some(124), "{ran:?}");
}

fn held(seen: &str) -> Value {
    let drift = json!([{"route": "arn:r", "rule": "overlay", "field": "weight", "recorded": "25%", "seen": seen}]);
    with(deployment("paused", "shifting"), "drift", drift)
}

#[tokio::test]
async fn an_answer_to_a_drift_names_the_state_that_was_shown() {
    let adopt = format!("POST /v1/deployments/{ID}/adopt");
    let answers = [problem(412, "precondition-failed"), Reply::Json(202, running())];
    let fake = Fake::start().await.on(&adopt, answers).living([held("60%")]);
    let ran = run(&fake, &["adopt", ID, "--reason", "INC-7"]).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("adopt: overlay weight: 25% -> 60%"), "{ran:?}");
    let given: Vec<_> = fake.asked().into_iter().filter(|asked| asked.call == adopt).collect();
    assert_eq!(
        (given.len(), &given[1].body),
        (2, &json!({"reason": "INC-7"})),
        "something else had moved: the same drift, again"
    );
    assert!(given.iter().all(|asked| asked.if_match.is_some()), "{given:?}");
}

#[tokio::test]
async fn six_when_the_drift_is_not_the_one_that_was_shown() {
    let restore = format!("POST /v1/deployments/{ID}/restore");
    let fake = Fake::start().await.on(&restore, [problem(412, "precondition-failed")]).living([held("60%"), held("90%")]);
    let ran = run(&fake, &["restore", ID]).await;
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert_eq!(fake.times(&restore), 1, "nobody has seen the 90 %");
}
