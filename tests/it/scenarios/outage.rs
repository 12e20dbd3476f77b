//! Postgres is away, under traffic, with the real process: a rollback is taken all the same, and on record once Postgres is back.

use std::{
    fs,
    time::{Duration, Instant},
};

use cutover_sim::{
    faults::{Effect, Fault},
    load::Load,
    scenario::Stage,
};
use serde_json::{Value, json};

use super::crash::declaration;
use crate::support::{own_postgres::OwnPostgres, process::Service, region::Scene};

const HOME: &str = "/v1/services/web/environments/prod";
/// A rule change takes up to 50 ms to reach the last node here; a request under way then may take as long again.
pub(super) const PROPAGATION: Duration = Duration::from_millis(100);

/// A deployment under traffic, on a Postgres that this story can do anything with.
pub(super) struct Story {
    pub scene: Scene,
    pub postgres: OwnPostgres,
    pub service: Service,
    pub load: Load,
    pub url: String,
    /// Blue's minimum and protection before anything.
    pub pin: (u32, String),
}

/// Where to roll back from, and how it gets there.
pub(super) struct From {
    pub phase: &'static str,
    stages: Value,
    bake_time: &'static str,
    quiet_period: &'static str,
}

pub(super) fn shifting() -> From {
    let stages = json!([{"weight": 50, "bake_time": "manual"}, {"weight": 100}]);
    From { phase: "shifting", stages, bake_time: "0s", quiet_period: "2s" }
}

fn baking() -> From {
    From { phase: "baking", stages: json!([{"weight": 100}]), bake_time: "manual", quiet_period: "2s" }
}

/// The quiet period is long enough for what was remembered to serve all through the story's slowness.
pub(super) fn committing() -> From {
    From { phase: "committing", stages: json!([{"weight": 100}]), bake_time: "0s", quiet_period: "12s" }
}

impl Story {
    pub async fn until(from: From) -> Self {
        let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
        let postgres = OwnPostgres::start().await;
        let url = postgres.url();
        let settings = [
            ("DATABASE__URL", url.as_str()),
            ("ENGINE__QUIET_PERIOD", from.quiet_period),
            ("OFFLINE__RECORD_PATIENCE", "250ms"),
        ];
        let service = Service::with(scene.sim.endpoint(), &settings).await;
        let mut declared = declaration(&scene);
        declared["strategy"] = json!({"stages": from.stages, "bake_time": from.bake_time});
        service.done("PUT", HOME, Some(declared)).await;
        let (load, pin) = (scene.load(100), scene.pin(scene.blue()));
        let body = json!({"image": scene.image("v2")});
        let created = service.done("POST", &format!("{HOME}/deployments"), Some(body)).await;
        let url = created["url"].as_str().unwrap().to_owned();
        let there = |d: &Value| {
            let seen = d["weight"]["observed"] == d["weight"]["desired"] && d["weight"]["desired"] != 0;
            // `next_change_at` of the commit: the quiet period has begun.
            d["phase"] == from.phase && seen && (from.phase != "committing" || !d["next_change_at"].is_null())
        };
        service.until(&url, from.phase, there).await;
        Self { scene, postgres, service, load, url, pin }
    }

    /// Rolls back while Postgres is away. Returns the answer, and when it is to be true at the latest.
    async fn back(&self) -> (Value, Instant) {
        let asked = Instant::now();
        let (status, answer) = self.service.call("POST", &format!("{HOME}/rollback"), Some(json!({"reason": "INC-1"}))).await;
        let (took, settled) = (asked.elapsed(), Instant::now() + PROPAGATION);
        assert_eq!((status, &answer["durable"]), (200, &json!(false)), "{answer:#}\n{}", self.service.said());
        assert!(took < Duration::from_secs(3), "{took:?}\n{}", self.service.said());
        assert!(answer["rollback"]["accepted_at"].is_string(), "{answer:#}");
        let (ready, health) = self.service.call("GET", "/readyz", None).await;
        assert_eq!((ready, &health["database"]), (200, &json!("unreachable")));
        self.is_seen_without_a_record(&answer).await;
        (answer, settled)
    }

    /// Did it happen? Also that is answered while Postgres is away.
    async fn is_seen_without_a_record(&self, answer: &Value) {
        let seen = self.service.until(&self.url, "the look that shows it", |d| d["rollback"]["observed_at"].is_string()).await;
        assert!(seen["as_of"].is_string(), "{seen:#}");
        let when = |what: &str| seen["rollback"][what].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(when("accepted_at") <= when("observed_at"), "{seen:#}");
        for field in ["trigger", "by", "reason", "requested_at"] {
            assert_eq!(seen["rollback"][field], answer["rollback"][field], "{field}: {seen:#}");
        }
    }

    /// Postgres is back: nothing is left of the deployment, and all of the rollback is on record.
    async fn ends(self, (answer, settled): (Value, Instant)) {
        let Self { scene, postgres, service, load, url, pin } = self;
        let ended = service.until(&url, "the end", |d| !d["ended_at"].is_null()).await;
        assert_eq!(ended["status"], "rolled_back", "{ended:#}\n{}", service.said());
        for field in ["trigger", "by", "reason", "requested_at", "accepted_at"] {
            assert_eq!(ended["rollback"][field], answer["rollback"][field], "{field}: {ended:#}");
        }
        scene.until("one group", || scene.groups() == [scene.blue()]).await;
        assert_eq!((scene.extra_rules(), scene.pin(scene.blue())), (0, pin));
        let journal = service.state().join("lane/journal");
        assert_eq!(fs::metadata(journal).unwrap().len(), 0, "{}", service.said());
        let record = load.finish().await;
        assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
        assert!(record.last_answer("v2").is_some());
        assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0, "green answers after the rollback");
        service.stop().await;
        drop(postgres);
        scene.sim.shutdown().await;
    }
}

async fn stopped(from: From) {
    let mut story = Story::until(from).await;
    story.postgres.stop().await;
    let answered = story.back().await;
    story.postgres.again().await;
    story.ends(answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgres_stopped_a_rollback_from_shifting_is_taken_and_recorded_on_its_return() {
    stopped(shifting()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgres_stopped_a_rollback_from_baking_is_taken_and_recorded_on_its_return() {
    stopped(baking()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_postgres_stopped_a_rollback_from_committing_is_taken_and_recorded_on_its_return() {
    stopped(committing()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_hangs_holds_no_rollback_up() {
    let mut story = Story::until(baking()).await;
    story.postgres.hang();
    let answered = story.back().await;
    story.postgres.go_on();
    story.ends(answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_started_again_without_postgres_still_rolls_back() {
    let mut story = Story::until(shifting()).await;
    story.postgres.stop().await;
    story.service.kill().await;
    story.service.restart().await;
    let answered = story.back().await;
    story.service.kill().await;
    story.service.restart().await;
    let shown = story.service.done("GET", &story.url, None).await;
    assert_eq!(shown["rollback"]["accepted_at"], answered.0["rollback"]["accepted_at"], "the journal outlives the process");
    story.postgres.again().await;
    story.ends(answered).await;
}

/// Neither Postgres nor AWS answers, and then the process that had taken the order dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_down_and_not_accepted_is_gone_on_with_by_a_process_started_again_without_postgres() {
    let mut story = Story::until(shifting()).await;
    story.postgres.stop().await;
    let broken = Fault { operation: None, ..Fault::on("", Effect::internal_failure()) };
    let broken = story.scene.sim.faults().set(broken).expect("there is room for one");
    let (status, answer) = story.service.call("POST", &format!("{HOME}/rollback"), Some(json!({"reason": "INC-1"}))).await;
    assert_eq!((status, &answer["durable"]), (202, &json!(false)), "{answer:#}\n{}", story.service.said());
    story.service.kill().await;
    story.service.restart().await;
    let shown = story.service.done("GET", &story.url, None).await;
    assert_eq!((&shown["rollback"]["by"], &shown["rollback"]["accepted_at"]), (&answer["rollback"]["by"], &Value::Null));
    assert!(story.scene.sim.faults().remove(&broken));
    // Nobody asks again.
    let accepted = story.service.until(&story.url, "the acceptance", |d| d["rollback"]["accepted_at"].is_string()).await;
    let settled = Instant::now() + PROPAGATION;
    story.is_seen_without_a_record(&accepted).await;
    story.postgres.again().await;
    story.ends((accepted, settled)).await;
}
