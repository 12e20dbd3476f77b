//! What AWS refuses for now is tried again, for as long as the declaration allows; and after a while a person is told.

use std::time::Duration;

use cutover::{
    domain::{
        deployment::{Deployment, Status, Trigger},
        ids::DeploymentId,
        phase::Phase,
        time::BakeTime,
    },
    engine::{api::RollbackOf, ports::Store},
};
use cutover_sim::{
    faults::{Effect, Fault},
    scenario::{ImageOf, Server, Stage},
};

use super::region::NOW;
use crate::support::{
    house::{by, target},
    region::Scene,
    replica::Replica,
};

const GREEN: &str = "web-prod-v001";
const NO_CAPACITY: &str = "We currently do not have sufficient t3.micro capacity in the Availability Zone you requested (eu-west-1a). \
     Launching EC2 instance failed.";

/// A region that has no capacity for `v2`, and a deployment of it.
async fn without_capacity(provisioning: Duration) -> (Scene, Replica, DeploymentId) {
    let full = ImageOf { version: "v2".to_owned(), server: Server::Fails(NO_CAPACITY.to_owned()) };
    let images = vec![ImageOf { version: "v1".to_owned(), server: Server::built_in("v1") }, full];
    let scene = Scene::new(&Stage { images, ..Stage::default() }).await;
    let replica = Replica::start(&scene);
    let mut declared = scene.declaration(&[(1000, NOW)], NOW);
    declared.strategy.deadlines.provisioning = provisioning;
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    (scene, replica, id)
}

fn failed_launches(scene: &Scene) -> usize {
    let region = scene.region();
    region.activities.iter().filter(|activity| activity.group == GREEN && activity.status == "Failed").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_finds_no_capacity_is_waited_for_and_told_and_serves_once_there_is_some() {
    let (scene, replica, id) = without_capacity(Duration::from_secs(1200)).await;
    let told = replica.until(id, "a word of it", |d| d.attention.is_some()).await.attention.unwrap();
    assert_eq!(told, format!("launches fail: {NO_CAPACITY}"));
    let before = failed_launches(&scene);
    scene.until("two more tries", || failed_launches(&scene) >= before + 2).await;
    let d = replica.until(id, "a look at them", |d| d.attention.is_some()).await;
    assert_eq!((&d.phase, &d.going_back), (&Phase::Provisioning, &None), "it may heal");
    let image = scene.image("v2").to_owned();
    scene.change(|region| region.images.get_mut(&image).unwrap().server = Server::built_in("v2").into());
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!((d.status(), d.attention), (Status::Succeeded, None));
    scene.until("one group", || scene.groups() == [GREEN]).await;
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_capacity_comes_it_goes_back_by_deadline_with_awss_words() {
    let (scene, replica, id) = without_capacity(Duration::from_secs(2)).await;
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    let back = d.going_back.clone().unwrap();
    assert_eq!((d.status(), back.trigger), (Status::RolledBack, Trigger::Deadline), "{d:#?}");
    let reason = back.reason.unwrap();
    assert!(reason.ends_with(&format!("; the last launch failed: {NO_CAPACITY}")), "{reason}");
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    replica.stop().await;
    scene.sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_in_use_for_long_is_tried_again_and_a_person_is_told_from_the_fifth_time_on() {
    let scene = Scene::new(&Stage::default()).await;
    let replica = Replica::start(&scene);
    let declared = scene.declaration(&[(500, BakeTime::Manual), (1000, NOW)], NOW);
    replica.store.declare(&target(), &declared, "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    replica.until(id, "the first stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    let refuse = |code: &str| {
        let effect = Effect::Error { code: code.to_owned(), message: "Try again later".to_owned(), status: 400 };
        scene.sim.faults().set(Fault::on("DeleteAutoScalingGroup", effect)).unwrap()
    };
    let mut refused = refuse("ScalingActivityInProgress");
    replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
    let says = |code: &'static str| move |d: &Deployment| d.attention.as_ref().is_some_and(|told| told.contains(code));
    replica.until(id, "a word of it", says("ScalingActivityInProgress")).await;
    for code in ["ResourceInUse", "ResourceContention"] {
        assert!(scene.sim.faults().remove(&refused));
        refused = refuse(code);
        let d = replica.until(id, code, says(code)).await;
        assert!(matches!(d.phase, Phase::RollingBack { .. }), "{d:#?}");
    }
    assert!(scene.groups().contains(&GREEN.to_owned()));
    assert!(scene.sim.faults().remove(&refused));
    let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!((d.status(), d.attention), (Status::RolledBack, None));
    scene.until("one group", || scene.groups() == [scene.blue()]).await;
    let events = replica.store.events(id, 0, 1_000).await.unwrap();
    let first = events.iter().find(|stored| stored.event.kind == "attention.raised").map(|stored| &stored.event.message);
    let first = first.expect("it was told");
    assert!(first.contains("ScalingActivityInProgress") && first.ends_with("(tried 5 times)"), "{first}");
    replica.stop().await;
    scene.sim.shutdown().await;
}
