//! The preview under traffic: who asks by the header meets green before any user does, and nobody once weight moves.

use cutover::{
    domain::{
        command::{Command, PromoteTo},
        declaration::Preview,
        deployment::Status,
        phase::Phase,
        time::BakeTime,
    },
    engine::{
        api::RollbackOf,
        ports::{Commanded, Store},
    },
};
use cutover_sim::scenario::Stage;

use super::region::NOW;
use crate::support::{
    house::{by, target},
    region::Scene,
    replica::Replica,
};

/// Which version answers one request, with the header or without.
async fn version(scene: &Scene, header: Option<&str>) -> String {
    let service = &scene.staged.services[0];
    let address = scene.sim.shared().now().listeners.get(&service.listeners[0]).and_then(|listener| listener.address).unwrap();
    let mut request = reqwest::Client::new().get(format!("http://{address}/")).header("host", &service.host);
    if let Some(value) = header {
        request = request.header("x-preview", value);
    }
    let answer = request.send().await.unwrap();
    answer.headers().get("x-version").map_or_else(String::new, |version| version.to_str().unwrap().to_owned())
}

/// Every node of the load balancer has learnt of a change within 50 ms here.
async fn becomes(scene: &Scene, header: Option<&str>, wanted: &str) {
    let started = std::time::Instant::now();
    while version(scene, header).await != wanted {
        assert!(started.elapsed() < crate::support::region::PATIENCE, "{header:?} never met {wanted}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_by_the_header_meets_green_before_any_user_and_the_rule_is_gone_before_the_first_weight() {
    for back in [false, true] {
        let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
        let replica = Replica::start(&scene);
        let mut declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], NOW);
        declared.preview =
            Some(Preview { header: "X-Preview".to_owned(), value: "green".to_owned(), bake_time: BakeTime::Manual });
        replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
        let id = replica.deploy(scene.image("v2")).await;
        replica.until(id, "verifying", |d| d.phase == Phase::Verifying).await;
        becomes(&scene, Some("green"), "v2").await;
        assert_eq!(version(&scene, None).await, "v1", "users are where they were");
        assert_eq!(version(&scene, Some("blue")).await, "v1");
        assert_eq!(scene.extra_rules(), 4, "an overlay and a preview for each route");

        if back {
            replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
            let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
            assert_eq!(d.status(), Status::RolledBack, "{d:#?}");
            becomes(&scene, Some("green"), "v1").await;
            assert_eq!(scene.groups(), [scene.blue()]);
        } else {
            let promote = |to| replica.store.command(id, Command::Promote(to), by("ada"), None);
            assert!(matches!(promote(PromoteTo::Next).await.unwrap(), Commanded::Done { changed: true, .. }));
            let at_half = replica.until(id, "half of the traffic", |d| matches!(d.phase, Phase::Shifting { .. })).await;
            assert_eq!(scene.extra_rules(), 2, "the previews are gone: {at_half:#?}");
            replica.until(id, "seen", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
            promote(PromoteTo::Full).await.unwrap();
            let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
            assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
        }
        assert_eq!(scene.extra_rules(), 0);
        replica.stop().await;
        scene.sim.shutdown().await;
    }
}
