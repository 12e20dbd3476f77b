//! The driver: what it takes up by itself, and when.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cutover::{
    domain::{deployment::Deployment, phase::Phase, time::BakeTime},
    engine::{bundles::Bundles, driver::drive, ports::Store, settings::EngineSettings},
};
use cutover_sim::scenario::Stage;
use tokio_util::sync::CancellationToken;

use crate::support::{
    house::{House, at_once, declaration, target},
    region::Scene,
    replica::{Replica, quick},
};

/// Neither a poll nor the end of a lease may be what brings a story on.
const NEVER: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(20);

fn patient() -> EngineSettings {
    EngineSettings { lease: NEVER, poll_every: NEVER, ..at_once() }
}

#[tokio::test]
async fn a_restarted_replica_goes_on_at_once_with_what_it_held_when_it_was_killed() {
    let house = House::new(declaration(&[1000]), patient()).await;
    let id = house.deploy("ami-0bb2").await;
    let held = house.store.claim_due(&house.worker.holder, NEVER, 10, &Bundles::default()).await.unwrap();
    assert_eq!(held.len(), 1, "the killed one was in the middle of a tick");

    let (stop, store) = (CancellationToken::new(), house.store.clone());
    let driving = tokio::spawn(drive(Arc::new(house.worker), Arc::default(), stop.clone()));
    let ended = async {
        loop {
            let changed = store.changed(Duration::from_millis(100));
            let d = store.get(id).await.unwrap().unwrap().deployment;
            if d.phase.is_terminal() {
                return d;
            }
            changed.await;
        }
    };
    let d = tokio::time::timeout(PATIENCE, ended).await.expect("it goes on at once");
    assert_eq!(d.phase, Phase::Succeeded);
    stop.cancel();
    driving.await.unwrap();
}

/// Longer ticks than in memory: while one is under way its deployment is due at the lease's end only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_waits_is_looked_at_again_though_nothing_new_is_on_record() {
    let scene = Scene::new(&Stage::default()).await;
    let replica = Replica::with(&scene, EngineSettings { lease: NEVER, poll_every: NEVER, ..quick() });
    let declared = scene.declaration(&[(1000, BakeTime::For(Duration::ZERO))], BakeTime::Manual);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    let mut looks = BTreeSet::new();
    while looks.len() < 20 {
        let known = looks.clone();
        let is_new =
            |d: &Deployment| matches!(d.phase, Phase::Baking { .. }) && d.seen.at.is_some_and(|at| !known.contains(&at));
        looks.extend(replica.until(id, "another look", is_new).await.seen.at);
    }
    replica.stop().await;
    scene.sim.shutdown().await;
}
