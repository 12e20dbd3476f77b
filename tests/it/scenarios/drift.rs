//! Somebody edits rules while a deployment runs: it holds, says what differs, and does what it is told.

use cutover::{
    domain::{
        command::{Command, Refusal},
        deployment::{Deployment, Status, Trigger},
        ids::{DeploymentId, RouteRef, SlotRef},
        phase::Phase,
        time::BakeTime,
        weight::Weight,
    },
    engine::ports::{Commanded, Store},
};
use serde_json::json;

use crate::support::house::{House, at_once, declaration};

fn weight(percent: f64) -> Weight {
    Weight::from_percent(percent).unwrap()
}

fn held(d: &Deployment) -> bool {
    d.held.is_some()
}

fn ended(d: &Deployment) -> bool {
    d.phase.is_terminal()
}

/// Two routes at 25 %, for as long as it takes.
async fn at_25() -> (House, DeploymentId) {
    let mut declared = declaration(&[250, 1000]);
    declared.strategy.stages[0].bake_time = BakeTime::Manual;
    let house = House::new(declared, at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "25 %", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    (house, id)
}

fn weigh_by_hand(house: &House, weight: Weight) {
    for route in ["public", "internal"] {
        house.cloud.world().weigh_by_hand(route, weight);
    }
}

fn shares(house: &House) -> [Weight; 2] {
    let world = house.cloud.world();
    ["public", "internal"].map(|route| world.share(&RouteRef::new(route), &SlotRef::new("b")))
}

/// What was told of the drift, in order: type and how many differences.
async fn drift_events(house: &House, id: DeploymentId) -> Vec<(String, usize)> {
    let events = house.store.events(id, 0, 100).await.unwrap();
    let drift = events.into_iter().filter(|stored| stored.event.kind.starts_with("drift."));
    drift.map(|stored| (stored.event.kind, stored.event.data["drift"].as_array().unwrap().len())).collect()
}

#[tokio::test]
async fn a_weight_set_by_hand_holds_and_becomes_the_operators_own_when_adopted() {
    let (house, id) = at_25().await;
    weigh_by_hand(&house, weight(60.0));
    let d = house.until(id, "the hold", held).await;
    assert!(d.attention.as_ref().unwrap().contains("weight 25% -> 60%"), "{d:#?}");
    for _ in 0..10 {
        house.tick().await;
    }
    assert_eq!((shares(&house), house.read(id).await.status()), ([weight(60.0); 2], Status::Paused), "nobody fights over it");
    assert!(matches!(house.give(id, Command::Adopt).await, Commanded::Done { changed: true, .. }));
    assert!(matches!(house.give(id, Command::Adopt).await, Commanded::Done { changed: false, .. }));
    let d = house.until(id, "60 % by hand", |d| d.held.is_none() && d.phase.wants() == weight(60.0)).await;
    assert_eq!(d.status(), Status::Paused, "as after `weight`");
    house.give(id, Command::Resume).await;
    assert_eq!(house.until(id, "the end", ended).await.status(), Status::Succeeded);
    assert_eq!(drift_events(&house, id).await, [("drift.began".to_owned(), 2), ("drift.over".to_owned(), 0)]);
}

#[tokio::test]
async fn a_weight_set_by_hand_is_put_back_when_restored_and_nothing_was_paused() {
    let (house, id) = at_25().await;
    weigh_by_hand(&house, weight(60.0));
    house.until(id, "the hold", held).await;
    let early = house.give(id, Command::Resume).await;
    assert!(matches!(early, Commanded::Refused { refusal: Refusal::IllegalInPhase { .. }, .. }), "{early:?}");
    house.give(id, Command::Restore).await;
    let d = house.until(id, "25 % again", |d| d.held.is_none()).await;
    assert_eq!((shares(&house), d.status()), ([weight(25.0); 2], Status::InProgress));
}

#[tokio::test]
async fn what_is_put_back_by_hand_goes_on_by_itself() {
    let (house, id) = at_25().await;
    house.cloud.world().edit_bases_by_hand("wider");
    house.until(id, "the hold", held).await;
    house.cloud.world().edit_bases_by_hand("narrower");
    let d = house.until(id, "the next drift", |d| d.holds.count == 2).await;
    assert!(d.attention.unwrap().contains("narrower"));
    house.cloud.world().put_bases_back();
    let d = house.until(id, "no drift", |d| !held(d)).await;
    assert_eq!((d.status(), d.attention), (Status::InProgress, None));
    let told = drift_events(&house, id).await;
    assert_eq!(told.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), ["drift.began", "drift.changed", "drift.over"]);
}

#[tokio::test]
async fn an_adopted_base_is_what_the_overlay_the_commit_and_the_way_back_are_made_of() {
    let (house, id) = at_25().await;
    house.cloud.world().edit_bases_by_hand("wider");
    house.until(id, "the hold", held).await;
    house.give(id, Command::Adopt).await;
    let d = house.until(id, "no drift", |d| !held(d)).await;
    let plan = d.plan.as_ref().unwrap();
    assert!(plan.routes.iter().all(|route| route.form == json!("wider")), "{plan:#?}");
    let forms = house.cloud.world().forms(&RouteRef::new("public"));
    assert_eq!(forms, (json!("wider"), json!("wider")));
    assert_eq!((shares(&house), d.status()), ([weight(25.0); 2], Status::InProgress), "its weight stayed");
}

#[tokio::test]
async fn an_overlay_set_to_all_blue_by_hand_is_taken_for_a_rollback() {
    let (house, id) = at_25().await;
    weigh_by_hand(&house, Weight::NONE);
    let d = house.until(id, "the end", ended).await;
    assert_eq!((d.status(), d.going_back.unwrap().trigger), (Status::RolledBack, Trigger::Outside));
    assert_eq!(drift_events(&house, id).await, []);
}

#[tokio::test]
async fn a_held_deployment_goes_back_when_it_is_told_to() {
    let (house, id) = at_25().await;
    house.cloud.world().edit_bases_by_hand("wider");
    house.until(id, "the hold", held).await;
    house.give(id, Command::Rollback).await;
    let d = house.until(id, "the end", ended).await;
    assert_eq!((d.status(), d.held, shares(&house)), (Status::RolledBack, None, [Weight::NONE; 2]));
    assert_eq!(house.cloud.world().forms(&RouteRef::new("public")).1, json!("wider"), "what they edited stays theirs");
}
