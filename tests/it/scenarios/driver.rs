//! The driver: what it takes up by itself, and when.

use std::{sync::Arc, time::Duration};

use cutover::{
    domain::phase::Phase,
    engine::{driver::drive, ports::Store, settings::EngineSettings},
};
use tokio_util::sync::CancellationToken;

use crate::support::house::{House, at_once, declaration};

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
    let held = house.store.claim_due(&house.worker.holder, NEVER, 10).await.unwrap();
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
