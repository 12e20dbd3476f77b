//! The main job on real input: real servers, real requests, the AWS adapter, the driver.

use std::time::{Duration, Instant};

use cutover::{
    domain::{
        deployment::{Deployment, Status, Trigger},
        phase::Phase,
        time::BakeTime,
        weight::Weight,
    },
    engine::{api::RollbackOf, ports::Store},
};
use cutover_sim::{
    faults::{Effect, Fault},
    scenario::Stage,
};

use crate::support::{
    house::{by, target},
    region::Scene,
    replica::{Replica, quick},
};

pub(super) const NOW: BakeTime = BakeTime::For(Duration::ZERO);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_moves_to_green_in_stages_and_nothing_is_lost() {
    for default_action in [false, true] {
        let scene = Scene::new(&Stage { routes: 2, default_action, ..Stage::default() }).await;
        let replica = Replica::start(&scene);
        let half = BakeTime::For(Duration::from_millis(500));
        replica
            .store
            .declare(&target(), &scene.declaration(&[(50, NOW), (500, half), (1000, NOW)], NOW), "ada", None)
            .await
            .unwrap();
        let load = scene.load(200);
        let id = replica.deploy(scene.image("v2")).await;
        let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
        assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
        let record = load.finish().await;
        assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
        assert!(record.share("v2", record.started(), Instant::now()).of_version > 0);
        scene.until("one group", || scene.groups() == ["web-prod-v001"]).await;
        assert_eq!(scene.extra_rules(), 0);
        replica.stop().await;
        scene.sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_call_sends_everything_back_and_nothing_is_lost() {
    let stages = [(500, NOW), (1000, NOW)];
    type There = fn(&Deployment) -> bool;
    let points: [(&str, There); 3] = [
        ("half way", |d| {
            matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. }) && d.seen.weight == Weight::from_permille(500)
        }),
        ("baking", |d| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })),
        ("committing", |d| matches!(d.phase, Phase::Committing { quiet_since: Some(_) })),
    ];
    for (name, there) in points {
        let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
        // The lane tries for just under half of it before it answers 202: on a busy machine that has to be longer than a call takes.
        let mut settings = quick();
        settings.timing.quiet_period = Duration::from_secs(3);
        let replica = Replica::with(&scene, settings);
        let bake = if name == "baking" { BakeTime::Manual } else { NOW };
        let mut declared = scene.declaration(&stages, bake);
        declared.strategy.stages[0].bake_time = if name == "half way" { BakeTime::Manual } else { NOW };
        replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
        let load = scene.load(200);
        let id = replica.deploy(scene.image("v2")).await;
        replica.until(id, name, there).await;
        let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
        assert!(answer.accepted, "{name}");
        // A rule change takes up to 50 ms to reach the last node here; a request under way then may take as long again.
        let settled = Instant::now() + Duration::from_millis(100);
        let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
        assert_eq!(d.status(), Status::RolledBack, "{name}: {d:#?}");
        let record = load.finish().await;
        assert_eq!(record.totals().lost, 0, "{name}: {:?}", record.losses());
        assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0, "{name}: green answers after the rollback");
        scene.until("one group", || scene.groups() == [scene.blue()]).await;
        assert_eq!(scene.extra_rules(), 0, "{name}");
        replica.stop().await;
        scene.sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_never_answered_does_not_hold_a_rollback_up() {
    let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
    let mut settings = quick();
    // The early call is trusted for half of this, and nothing commits here.
    (settings.timing.commit_delay, settings.timing.quiet_period) = (Duration::from_secs(20), Duration::from_secs(6));
    let replica = Replica::with(&scene, settings);
    // Enough changes of rules that it is known how long they take.
    let stages: Vec<_> = (1..=9).map(|n| (n * 100, NOW)).chain([(1000, NOW)]).collect();
    replica.store.declare(&target(), &scene.declaration(&stages, BakeTime::Manual), "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    replica.until(id, "the bake", |d| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })).await;
    scene.sim.faults().set(Fault::on("DeleteRule", Effect::Hang).times(1)).expect("there is room for one");
    let asked = Instant::now();
    let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    assert!(answer.accepted && answer.routes.iter().all(|outcome| outcome.accepted), "{answer:?}");
    // The call itself would be given up after two seconds.
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!((d.status(), scene.extra_rules()), (Status::RolledBack, 0));
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_release_has_no_blue_and_goes_back_to_an_empty_slot() {
    for back in [false, true] {
        let scene = Scene::new(&Stage { routes: 2, servers: 0, ..Stage::default() }).await;
        let replica = Replica::start(&scene);
        let declared = scene.declaration(&[(50, BakeTime::Manual), (1000, NOW)], BakeTime::Manual);
        replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
        let id = replica.deploy(scene.image("v2")).await;
        if back {
            replica.until(id, "the commit", |d| matches!(d.phase, Phase::Committing { quiet_since: Some(_) })).await;
            let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
            assert!(answer.accepted);
        }
        let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
        let plan = d.plan.clone().unwrap();
        assert!(
            plan.blue.is_none() && plan.strategy.stages.len() == 1,
            "with nothing to go back to, no stage waits: {plan:#?}"
        );
        assert_eq!(d.status(), if back { Status::RolledBack } else { Status::Succeeded }, "{d:#?}");
        assert_eq!(scene.extra_rules(), 0);
        if back {
            scene.until("no group", || scene.groups().is_empty()).await;
        } else {
            let load = scene.load(100);
            let record = load.record().clone();
            scene.until("a hundred answers", || record.totals().answered >= 100).await;
            let record = load.finish().await;
            assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
            assert_eq!((record.versions(), scene.groups()), (vec!["v2".to_owned()], vec!["web-prod-v001".to_owned()]));
        }
        replica.stop().await;
        scene.sim.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_green_that_falls_sick_in_the_quiet_period_goes_back_to_a_blue_that_is_still_whole() {
    let scene = Scene::new(&Stage { routes: 2, ..Stage::default() }).await;
    let mut settings = quick();
    settings.timing.quiet_period = Duration::from_secs(6);
    let replica = Replica::with(&scene, settings);
    replica.store.declare(&target(), &scene.declaration(&[(1000, NOW)], NOW), "ada", None).await.unwrap();
    let load = scene.load(200);
    let id = replica.deploy(scene.image("v2")).await;
    let quiet = |d: &Deployment| matches!(d.phase, Phase::Committing { quiet_since: Some(_) });
    replica.until(id, "the quiet period", quiet).await;
    let green = scene.healthy("web-prod-v001");
    assert!(green > 0 && scene.groups().len() == 2);
    scene.sim.shared().change(|region| {
        region
            .instances
            .values_mut()
            .filter(|instance| instance.group == "web-prod-v001")
            .for_each(|instance| instance.sick = true);
    });
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    let back = d.going_back.clone().unwrap();
    assert_eq!((d.status(), back.trigger), (Status::RolledBack, Trigger::Gate), "{d:#?}");
    assert!(back.observed_at.unwrap() < d.ended_at.unwrap());
    load.finish().await;
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    assert_eq!(scene.extra_rules(), 0);
    replica.stop().await;
    scene.sim.shutdown().await;
}
