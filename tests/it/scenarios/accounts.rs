//! A service in another account, reached with a role whose sessions end at the worst moments.

use std::time::{Duration, Instant};

use cutover::{
    domain::{
        command::{Command, PromoteTo},
        deployment::Status,
        phase::Phase,
        time::BakeTime,
        timing::Timing,
        weight::Weight,
    },
    engine::{
        api::RollbackOf,
        ports::{Cloud, Store},
        settings::EngineSettings,
    },
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

const NOW: BakeTime = BakeTime::For(Duration::ZERO);
/// Requests a second. They come however busy the machine is: 200 take most of what a starved one gives, and no look of the
/// adapter's came to its end in time.
const A_SECOND: u32 = 50;

/// The lane tries for half a quiet period: long enough for a second try on a busy machine.
fn unhurried() -> EngineSettings {
    let timing = Timing { quiet_period: Duration::from_secs(10), ..quick().timing };
    EngineSettings { timing, ..quick() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_in_another_account_is_released_though_every_session_ends_on_the_way() {
    let scene = Scene::abroad(&Stage::default()).await;
    let replica = Replica::start(&scene);
    let declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], NOW);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let load = scene.load(A_SECOND);
    let id = replica.deploy(scene.image("v2")).await;
    let half = Weight::from_permille(500);
    replica.until(id, "the first stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    let assumed = || scene.sim.journal().calls(0, Some("AssumeRole")).len();
    let before = assumed();
    scene.sim.sessions().expire(Instant::now());
    scene.until("another session", || assumed() > before).await;
    replica.until(id, "a look with it", |d| d.seen.weight == half).await;
    let promote = Command::Promote(PromoteTo::Next);
    replica.store.command(id, promote, by("ada"), None).await.unwrap();
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    scene.until("one group", || scene.groups() == ["web-prod-v001"]).await;
    assert_eq!(scene.extra_rules(), 0);
    assert!(scene.sim.shared().now().groups.is_empty(), "nothing was made at home");
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_whose_session_has_ended_is_accepted_with_the_next_one() {
    let scene = Scene::abroad(&Stage::default()).await;
    let replica = Replica::with(&scene, unhurried());
    let declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], BakeTime::Manual);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let load = scene.load(A_SECOND);
    let id = replica.deploy(scene.image("v2")).await;
    let d = replica.until(id, "the first stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    replica.lane.cloud.warm(&d).await;

    scene.sim.sessions().expire(Instant::now());
    let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    assert!(answer.accepted, "within the five seconds that a rollback is tried before it answers: {answer:?}");
    let settled = Instant::now() + Duration::from_millis(100);
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::RolledBack, "{d:#?}");
    let record = load.finish().await;
    assert_eq!(record.totals().lost, 0, "{:?}", record.losses());
    assert_eq!(record.answers_to_requests_sent_after("v2", settled), 0);
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_with_a_session_at_hand_does_not_notice_that_nobody_gives_new_ones() {
    let scene = Scene::abroad(&Stage::default()).await;
    let replica = Replica::start(&scene);
    let declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], BakeTime::Manual);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    let d = replica.until(id, "the first stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    replica.lane.cloud.warm(&d).await;

    let fault = scene.sim.faults().set(Fault::on("AssumeRole", Effect::Hang)).unwrap();
    let assumed = scene.sim.journal().calls(0, Some("AssumeRole")).len();
    let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    assert!(answer.accepted, "{answer:?}");
    assert_eq!(scene.sim.journal().calls(0, Some("AssumeRole")).len(), assumed, "nobody was asked");
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::RolledBack, "{d:#?}");
    assert!(scene.sim.faults().remove(&fault));
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_that_waits_for_a_session_says_so_and_is_brought_about_by_who_has_one() {
    let scene = Scene::abroad(&Stage::default()).await;
    let brief = Duration::from_millis(400);
    let settings = EngineSettings { rollback_tries_for: 2 * brief, act_timeout: brief, ..unhurried() };
    let replica = Replica::with(&scene, settings);
    let declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], BakeTime::Manual);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    replica.until(id, "the first stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;

    // The lane has called nobody yet, and STS hangs; the engine has a session.
    let assumed = scene.sim.journal().calls(0, Some("AssumeRole")).len();
    scene.sim.faults().set(Fault::on("AssumeRole", Effect::Hang)).unwrap();
    let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    assert!(answer.durable && !answer.accepted, "{answer:?}");
    let said = answer.routes[0].said.as_deref().unwrap_or_default();
    assert!(said.starts_with("DeleteRule: not sent: a session of role"), "{said}");
    assert!(said.contains("is waited for: AssumeRole was not answered"), "{said}");
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::RolledBack, "{d:#?}");
    // However often it was tried meanwhile, one question is under way, and counted once it is given up.
    assert_eq!(scene.sim.journal().calls(0, Some("AssumeRole")).len(), assumed + 1);
    let counted = || {
        let calls = replica.lane.cloud.figures().calls;
        calls
            .iter()
            .filter(|calls| calls.operation == "AssumeRole")
            .flat_map(|calls| calls.outcomes.clone())
            .collect::<Vec<_>>()
    };
    assert!(counted().contains(&("ok", 1)), "{:?}", counted());
    scene.until("the question was given up", || counted().iter().any(|(outcome, _)| *outcome == "transient")).await;
    replica.stop().await;
    scene.sim.shutdown().await;
}
