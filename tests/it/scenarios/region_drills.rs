//! Drills by the real program on real input: users are served by the live slot alone, whatever becomes of the drill.

use std::time::Instant;

use cutover_sim::{
    faults::{Effect, Fault},
    load::Load,
    scenario::Stage,
};
use serde_json::{Value, json};

use super::crash::declaration;
use crate::support::{
    process::Service,
    region::{PATIENCE, Scene},
};

const WEB: &str = "/v1/services/web/environments/prod";

/// How often the deployment is seen to wait before AWS is well again: the engine has looked at it meanwhile.
const LOOKS: usize = 10;

fn has_ended(drill: &Value) -> bool {
    !drill["ended_at"].is_null()
}

/// Declared and under traffic.
async fn served(stage: &Stage) -> (Scene, Service, Load) {
    let scene = Scene::new(stage).await;
    let service = Service::start(scene.sim.endpoint()).await;
    let mut declared = declaration(&scene);
    // A busy machine is no fault of the way back.
    declared["drill"] = json!({"budget": "60s"});
    service.done("PUT", WEB, Some(declared)).await;
    let load = scene.load(200);
    (scene, service, load)
}

/// Nothing was lost, and until `until` only the live version answered.
async fn served_by_blue_alone(load: Load, until: Instant) {
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    let share = record.share("v2", record.started(), until);
    assert!(record.totals().answered > 0 && share.of_version == 0, "{share:?}");
    println!("{} requests answered, 0 lost, 0 by another slot during the drill", record.totals().answered);
}

/// Asks until `there`: a drill takes seconds, and its resource is not waited on.
async fn until(service: &Service, url: &str, what: &str, there: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let drill = service.done("GET", url, None).await;
        if there(&drill) {
            return drill;
        }
        assert!(began.elapsed() < PATIENCE, "{what} never came: {drill:#}\n{}", service.said());
    }
}

async fn begin(service: &Service) -> String {
    let drill = service.done("POST", &format!("{WEB}/drill"), Some(json!({"reason": "GameDay"}))).await;
    drill["url"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_is_measured_while_users_are_served_and_a_deployment_waits_for_it() {
    for default_action in [false, true] {
        let (scene, service, load) = served(&Stage { routes: 2, default_action, ..Stage::default() }).await;
        // AWS has a bad moment right when the rules are to go.
        let throttled = scene.sim.faults().set(Fault::on("DeleteRule", Effect::throttled())).unwrap();
        let url = begin(&service).await;
        scene.until("an open rule on each route", || scene.extra_rules() == 2).await;
        let created = service.done("POST", &format!("{WEB}/deployments"), Some(json!({"image": scene.image("v2")}))).await;
        let deployment = created["url"].as_str().unwrap().to_owned();
        let mut waited = 0;
        let (ended, until) = loop {
            let d = service.done("GET", &deployment, None).await;
            let read = Instant::now();
            let drill = service.done("GET", &url, None).await;
            if has_ended(&drill) {
                break (drill, read);
            }
            assert_eq!(d["phase"], "pending", "it goes on beside the drill: {drill:#}");
            waited += 1;
            if waited == LOOKS {
                assert!(scene.sim.faults().remove(&throttled));
            }
        };
        assert!(waited >= LOOKS);
        assert_eq!(ended["status"], "passed", "{ended:#}\n{}", service.said());
        println!("opening {}, deletion {}", ended["opening"], ended["deletion"]);
        let d = service.until(&deployment, "the end", |d| !d["ended_at"].is_null()).await;
        assert_eq!(d["status"], "succeeded", "{d:#}");
        assert_eq!(scene.extra_rules(), 0);
        served_by_blue_alone(load, until).await;
        service.stop().await;
        scene.sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_drill_its_rule_is_removed_by_whoever_comes_next() {
    let (scene, mut service, load) = served(&Stage { routes: 2, ..Stage::default() }).await;
    let held = scene.sim.faults().set(Fault::on("DeleteRule", Effect::HoldBefore)).unwrap();
    let url = begin(&service).await;
    until(&service, &url, "closing", |drill| drill["status"] == "closing").await;
    scene.until("an open rule on each route", || scene.extra_rules() == 2).await;
    service.kill().await;
    assert_eq!(scene.extra_rules(), 2, "nobody is there to remove them");
    assert!(scene.sim.faults().remove(&held));
    service.restart().await;
    let ended = until(&service, &url, "the end", has_ended).await;
    assert_eq!(ended["status"], "passed", "{ended:#}\n{}", service.said());
    assert_eq!(scene.extra_rules(), 0);
    let next = service.done("POST", &format!("{WEB}/drill"), None).await;
    assert_ne!(next["url"], json!(url), "nothing is left of it that would be in the way");
    let again = until(&service, next["url"].as_str().unwrap(), "the end", has_ended).await;
    assert_eq!(again["status"], "passed", "{again:#}");
    println!("opening {}, deletion {}", again["opening"], again["deletion"]);
    served_by_blue_alone(load, Instant::now()).await;
    service.stop().await;
    scene.sim.shutdown().await;
}
