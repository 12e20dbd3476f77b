//! A public and an internal load balancer before one service, each with a target group of every slot: moved together, with
//! the slower one holding the stage, and sent back together.

use std::time::{Duration, Instant};

use cutover::{
    domain::{deployment::Status, phase::Phase, time::BakeTime, weight::Weight},
    engine::{api::RollbackOf, ports::Store},
};
use cutover_sim::{
    faults::{Effect, Fault},
    scenario::Stage,
};

use super::region::NOW;
use crate::support::{
    house::{by, target},
    region::Scene,
    replica::Replica,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_load_balancers_move_together_and_the_slower_one_holds_the_stage() {
    let scene = Scene::new(&Stage { load_balancers: 2, ..Stage::default() }).await;
    let replica = Replica::start(&scene);
    let moment = BakeTime::For(Duration::from_millis(200));
    let declared = scene.declaration(&[(500, moment), (1000, NOW)], BakeTime::Manual);
    assert!(declared.slots.iter().all(|slot| slot.target_groups().len() == 2));
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    // Weights do not arrive at the second load balancer.
    let slow = Fault { containing: Some("app/edge-2/".to_owned()), ..Fault::on("ModifyRule", Effect::HoldBefore) };
    let slow = scene.sim.faults().set(slow).unwrap();
    let load = scene.load(200);
    let id = replica.deploy(scene.image("v2")).await;

    let half = Weight::from_permille(500);
    replica.until(id, "half of the fast one's traffic", |d| d.seen.weight == half).await;
    let tries = || scene.sim.faults().list()[0].met;
    scene.until("a second try on the slow one, long after the first stage's bake", || tries() >= 2).await;
    let d = replica.store.get(id).await.unwrap().unwrap().deployment;
    assert!(matches!(d.phase, Phase::Shifting { stage: 0, seen_at: None, .. }), "{:?}", d.phase);

    assert!(scene.sim.faults().release(&slow));
    replica.until(id, "the bake", |d| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })).await;
    let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    assert!(answer.accepted, "on both");
    let settled = Instant::now() + Duration::from_millis(100);
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::RolledBack, "{d:#?}");
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0, "on neither");
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    assert_eq!(scene.extra_rules(), 0);
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_load_balancers_are_committed_together_and_blue_leaves_both() {
    let scene = Scene::new(&Stage { load_balancers: 2, ..Stage::default() }).await;
    let replica = Replica::start(&scene);
    replica.store.declare(&target(), &scene.declaration(&[(500, NOW), (1000, NOW)], NOW), "ada", None).await.unwrap();
    let load = scene.load(200);
    let id = replica.deploy(scene.image("v2")).await;
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    scene.until("one group", || scene.groups() == ["web-prod-v001"]).await;
    let green = scene.sim.shared().now().groups.get("web-prod-v001").map(|group| group.target_groups.clone());
    assert_eq!(green.as_ref(), Some(&scene.staged.services[0].slots[1]), "it is in both target groups of its slot");
    assert_eq!(scene.extra_rules(), 0);
    replica.stop().await;
    scene.sim.shutdown().await;
}
