//! Break-glass, under traffic: service and Postgres are dead, and a person goes back with `cutover rollback --direct` and
//! credentials of their own. What comes back later takes it for a rollback.

use std::{
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::process::Command;

use super::outage::{From, PROPAGATION, Story, committing, shifting};

const PATIENCE: Duration = Duration::from_secs(60);

/// What a run left: its exit, stdout and stderr.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The program by itself, with a person's credentials and nothing of the service's but the file.
async fn direct(story: &Story, more: &[&str]) -> Ran {
    let mut program = Command::new(env!("CARGO_BIN_EXE_cutover"));
    program.args(["rollback", "--direct", "--bundle"]).arg(story.service.state().join("lane/bundles")).args(more).env_clear();
    program.env("AWS_ENDPOINT_URL", story.scene.sim.endpoint());
    program.env("AWS_ACCESS_KEY_ID", "AKIAADA").env("AWS_SECRET_ACCESS_KEY", "secret");
    let run = program.stdin(Stdio::null()).kill_on_drop(true).output();
    let Output { status, stdout, stderr } = tokio::time::timeout(PATIENCE, run).await.expect("it ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// Waits until the file, which follows the record by part of a second, tells a person of `calls`. One that is older would raise the
/// shields alone, which is a rollback too, but not the one that is told here.
async fn kept(story: &Story, calls: usize) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let dry = direct(story, &["--dry-run"]).await;
        if dry.out.lines().count() == calls {
            return;
        }
        assert!(Instant::now() < until, "{calls} calls: {dry:?}");
    }
}

async fn everything_is_dead(from: From, calls: usize) {
    let committing = from.phase == "committing";
    let mut story = Story::until(from).await;
    if committing {
        // The quiet period, and no more the wait before the bases are written.
        let quiet = |d: &serde_json::Value| {
            let ends: jiff::Timestamp = d["next_change_at"].as_str().unwrap().parse().unwrap();
            ends > jiff::Timestamp::now() + Duration::from_secs(5)
        };
        story.service.until(&story.url, "green bases", quiet).await;
    }
    kept(&story, calls).await;
    story.service.kill().await;
    story.postgres.stop().await;
    let before = story.scene.extra_rules();

    let dry = direct(&story, &["--dry-run"]).await;
    assert_eq!((dry.code, dry.out.lines().count(), story.scene.extra_rules()), (Some(0), calls, before), "{dry:?}");
    assert!(dry.out.starts_with("elasticloadbalancing:CreateRule "), "shields first: {dry:?}");

    let ran = direct(&story, &["web/prod"]).await;
    let settled = Instant::now() + PROPAGATION;
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), calls), "a line a route and call: {ran:?}");
    assert_eq!(ran.out.matches(": shield raised\n").count(), 2, "{ran:?}");
    assert!(ran.err.contains("web/prod #1") && ran.err.contains(" ago (") && ran.err.contains("seen: every route"), "{ran:?}");
    let after = story.scene.extra_rules();

    let again = direct(&story, &[]).await;
    assert_eq!((again.code, again.out.as_str(), story.scene.extra_rules()), (Some(0), "", after), "{again:?}");
    assert!(again.err.contains("on blue already"), "{again:?}");

    story.postgres.again().await;
    story.service.restart().await;
    let Story { scene, postgres, service, load, url, pin } = story;
    let ended = service.until(&url, "the end", |d| !d["ended_at"].is_null()).await;
    let rollback = &ended["rollback"];
    assert_eq!((&ended["status"], &rollback["trigger"]), (&json!("rolled_back"), &json!("outside")), "{ended:#}");
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    assert_eq!((scene.extra_rules(), scene.pin(scene.blue())), (0, pin));
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert!(record.last_answer("v2").is_some());
    assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0, "green answers after it was seen");
    service.stop().await;
    drop(postgres);
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_everything_dead_a_person_goes_back_from_shifting_and_it_is_adopted_later() {
    // Two shields, and the two overlays after them.
    everything_is_dead(shifting(), 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_everything_dead_a_person_goes_back_from_committing_and_it_is_adopted_later() {
    // Over green bases the shields alone.
    everything_is_dead(committing(), 2).await;
}
