//! Whether one could go back, asked of the real service under a running deployment; and the lines by hand, taken as they are printed.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use cutover_sim::{load::Load, scenario::Stage};
use serde_json::{Value, json};
use tokio::process::Command;

use super::crash::declaration;
use crate::support::{
    process::{Service, TOKEN},
    region::Scene,
};

const HOME: &str = "/v1/services/web/environments/prod";
/// Python takes a second to start, and longer beside other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// A rule change takes up to 50 ms to reach the last node here; a request under way then may take as long again.
const PROPAGATION: Duration = Duration::from_millis(100);

/// A deployment of two routes, stopped half way.
struct Story {
    scene: Scene,
    service: Service,
    url: String,
}

impl Story {
    async fn half_way(quiet_period: &str) -> Self {
        let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
        let service = Service::with(scene.sim.endpoint(), &[("ENGINE__QUIET_PERIOD", quiet_period)]).await;
        let mut declared = declaration(&scene);
        declared["strategy"] = json!({"stages": [{"weight": 50, "bake_time": "manual"}, {"weight": 100}], "bake_time": "0s"});
        service.done("PUT", HOME, Some(declared)).await;
        let none = service.done("GET", &format!("{HOME}/rollback"), None).await;
        assert_eq!((&none["state"], &none["seconds"]), (&json!("no"), &json!(null)));
        let body = json!({"image": scene.image("v2")});
        let created = service.done("POST", &format!("{HOME}/deployments"), Some(body)).await;
        let story = Self { scene, service, url: created["url"].as_str().unwrap().to_owned() };
        story.until("half way", |d| d["phase"] == "shifting" && d["weight"]["observed"] == 50).await;
        story
    }

    async fn until(&self, what: &str, there: impl Fn(&Value) -> bool) -> Value {
        self.service.until(&self.url, what, there).await
    }

    async fn told(&self) -> Value {
        self.service.done("GET", &format!("{HOME}/rollback"), None).await
    }

    /// To the quiet period, in which the base is on green.
    async fn commits(&self) {
        self.service.done("POST", &format!("{}/promote", self.url), Some(json!({"to": "full"}))).await;
        self.until("the quiet period", |d| d["phase"] == "committing" && !d["next_change_at"].is_null()).await;
    }

    /// What `cutover readiness` prints behind `by hand`.
    async fn printed_lines(&self) -> Vec<String> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cutover"));
        program.args(["readiness", "web/prod"]).env_clear().env("CUTOVER_URL", &self.service.url).env("CUTOVER_TOKEN", TOKEN);
        let Output { stdout, stderr, .. } = ended(program).await;
        let lines = String::from_utf8(stdout).unwrap();
        let by_hand: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("by hand   ")).map(str::to_owned).collect();
        assert!(!by_hand.is_empty(), "{lines}{}", String::from_utf8_lossy(&stderr));
        by_hand
    }

    /// Pastes lines into a shell, as somebody with rights of their own. The service may be quicker with all but the first.
    async fn paste(&self, lines: &[String]) {
        for (i, line) in lines.iter().enumerate() {
            let complaint = self.complaint(line).await;
            let done = i > 0 && ["(RuleNotFound)", "(PriorityInUse)"].iter().any(|code| complaint.contains(code));
            assert!(complaint.is_empty() || done, "{line}\n{complaint}");
        }
    }

    async fn complaint(&self, line: &str) -> String {
        let aws = aws();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin", aws.parent().unwrap().display()));
        shell.env("AWS_ENDPOINT_URL", self.scene.sim.endpoint()).env("AWS_PAGER", "");
        shell.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "any");
        shell.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        let Output { status, stderr, .. } = ended(shell).await;
        if status.success() { String::new() } else { format!("{status}: {}", String::from_utf8_lossy(&stderr)) }
    }

    /// Everything is as before the deployment, and the record says that somebody else did it.
    async fn ends_as_taken_outside(self, load: Load, settled: Instant) {
        let ended = self.until("the end", |d| !d["ended_at"].is_null()).await;
        let rollback = &ended["rollback"];
        assert_eq!((&ended["status"], &rollback["trigger"]), (&json!("rolled_back"), &json!("outside")), "{ended:#}");
        let Self { scene, service, .. } = self;
        scene.until("one group", || scene.groups() == [scene.blue()]).await;
        assert_eq!(scene.extra_rules(), 0);
        let record = load.finish().await;
        assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
        assert!(record.last_answer("v2").is_some());
        assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0, "green answers after the lines");
        service.stop().await;
        scene.sim.shutdown().await;
    }
}

fn aws() -> PathBuf {
    let named = std::env::var_os("CUTOVER_AWS").map(PathBuf::from);
    let path = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/aws"));
    assert!(path.exists(), "{} is not there: run scripts/setup, or name the AWS command line in CUTOVER_AWS", path.display());
    path
}

async fn ended(mut command: Command) -> Output {
    let command = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, command).await.expect("it ends in time").expect("it starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blue_that_loses_a_server_under_a_running_deployment_is_degraded_until_it_is_whole_again() {
    let story = Story::half_way("1s").await;
    let ready = story.told().await;
    assert_eq!((&ready["state"], &ready["why"]), (&json!("ready"), &json!([])), "{ready:#}");
    let blue = &ready["blue"];
    assert_eq!((&blue["healthy"], &blue["of"], &blue["image_pinned"]), (&json!(2), &json!(2), &json!(true)), "{ready:#}");
    assert_eq!((&blue["min_pinned"], &blue["protected"]), (&json!(true), &json!(true)), "{ready:#}");

    let autoscaling = aws_sdk_autoscaling::Client::new(&story.scene.sdk());
    let group = story.scene.blue().to_owned();
    let suspend = autoscaling.suspend_processes().auto_scaling_group_name(&group).scaling_processes("ReplaceUnhealthy");
    suspend.send().await.unwrap();
    let one = story.scene.sim.shared().change(|region| {
        let one = region.instances.values_mut().find(|instance| instance.group == group).unwrap();
        one.killed = true;
        one.id.clone()
    });
    assert!(story.scene.sim.servers().kill(&one));
    let d = story.until("the loss", |d| d["readiness"]["state"] == "degraded").await;
    let degraded = story.told().await;
    assert_eq!((&degraded["state"], &degraded["why"]), (&json!("degraded"), &d["readiness"]["why"]));
    let why = degraded["why"][0]["detail"].as_str().unwrap();
    assert!(why.starts_with(&format!("1 of 2 servers of {group}")), "{degraded:#}");
    assert_eq!((&degraded["blue"]["healthy"], &degraded["calls"]), (&json!(1), &ready["calls"]));

    let resume = autoscaling.resume_processes().auto_scaling_group_name(&group).scaling_processes("ReplaceUnhealthy");
    resume.send().await.unwrap();
    story.until("a new server", |d| d["readiness"]["state"] == "ready").await;
    story.service.done("POST", &format!("{HOME}/rollback"), Some(json!({}))).await;
    story.until("the end", |d| d["status"] == "rolled_back").await;
    let after = story.told().await;
    assert_eq!((&after["state"], &after["seconds"]["rollbacks"]), (&json!("no"), &json!(1)), "{after:#}");
    assert!(after["seconds"]["accepted"]["median"].as_f64().is_some_and(|median| median < 10.0), "{after:#}");
    let Story { scene, service, .. } = story;
    service.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_and_the_lines_are_others_from_the_commit_on_and_the_printed_line_takes_it_back() {
    let story = Story::half_way("40s").await;
    let load = story.scene.load(100);
    let before = story.told().await;
    let deletes: Vec<_> = story.printed_lines().await;
    assert_eq!(json!(deletes), before["by_hand"], "as they are answered");
    assert!(deletes.len() == 2 && deletes.iter().all(|line| line.starts_with("aws elbv2 delete-rule ")), "{deletes:?}");
    story.commits().await;
    let after = story.told().await;
    assert_eq!((&before["state"], &after["state"]), (&json!("ready"), &json!("ready")), "{after:#}");
    assert_ne!(before["calls"], after["calls"]);
    let raises = story.printed_lines().await;
    assert!(raises.len() == 2 && raises.iter().all(|line| line.starts_with("aws elbv2 create-rule ")), "{raises:?}");
    story.paste(&raises).await;
    let settled = Instant::now() + PROPAGATION;
    story.ends_as_taken_outside(load, settled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_commit_the_printed_line_takes_it_back_by_deleting_the_overlay() {
    let story = Story::half_way("1s").await;
    let load = story.scene.load(100);
    story.paste(&story.printed_lines().await).await;
    let settled = Instant::now() + PROPAGATION;
    story.ends_as_taken_outside(load, settled).await;
}
