//! Decide, act, record: whole deployments, there and back, one tick at a time.

use std::{sync::Arc, time::Duration};

use cutover::{
    domain::{
        command::{Command, PromoteTo},
        deployment::{Deployment, Status, Trigger},
        ids::{RouteRef, SlotRef},
        observation::LaunchFailure,
        phase::Phase,
        time::BakeTime,
        weight::Weight,
    },
    engine::{
        api::RollbackOf,
        bundles::Bundles,
        lane::Lane,
        ports::{Commanded, FaultKind, Settled, Store},
    },
};

use crate::support::house::{House, at_once, by, declaration, target};

const STAGES: [u16; 4] = [50, 250, 500, 1000];

fn ended(d: &Deployment) -> bool {
    d.phase.is_terminal()
}

fn weight(percent: f64) -> Weight {
    Weight::from_percent(percent).unwrap()
}

fn shares(house: &House, slot: &str) -> Vec<Weight> {
    let world = house.cloud.world();
    ["public", "internal"].map(|route| world.share(&RouteRef::new(route), &SlotRef::new(slot))).to_vec()
}

#[tokio::test]
async fn a_deployment_moves_all_traffic_in_stages_and_leaves_one_group() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    for wanted in STAGES {
        let wanted = Weight::from_permille(wanted).unwrap();
        house
            .until(
                id,
                "the next stage",
                |d| matches!(d.phase, Phase::Shifting { weight, seen_at: Some(_), .. } if weight == wanted),
            )
            .await;
        assert_eq!(shares(&house, "b"), [wanted; 2]);
        assert_eq!(house.cloud.world().pin("web-old"), Some((4, true)), "blue is pinned at its size");
    }
    let d = house.until(id, "the end", ended).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    assert_eq!(shares(&house, "b"), [Weight::ALL; 2]);
    let world = house.cloud.world();
    assert_eq!(world.group_names(), ["web-prod-v001"]);
    assert_eq!(world.rules_left(), 0);
    assert_eq!(world.pin("web-prod-v001"), Some((1, false)), "the declared minimum again");
    let once = |name: &str| world.changes.iter().filter(|change| *change == name).count();
    assert_eq!(["create_green", "open_overlays", "set_base", "delete_group"].map(once), [1; 4], "{:?}", world.changes);
    assert_eq!(once("set_weight"), STAGES.len());
}

#[tokio::test]
async fn green_follows_a_blue_that_grows_and_never_has_more_traffic_than_servers_for_it() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    let at_a_quarter = |d: &Deployment| matches!(d.phase, Phase::Shifting { stage: 1, seen_at: Some(_), .. });
    house.until(id, "a quarter", at_a_quarter).await;
    house.cloud.world().scale("web-old", 6);
    let d = house.until(id, "the end", ended).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    let world = house.cloud.world();
    assert_eq!(world.changes.iter().filter(|change| *change == "grow_green").count(), 1, "{:?}", world.changes);
    assert_eq!(d.seen.green.map(|servers| servers.desired), Some(6));
}

#[tokio::test]
async fn what_scales_blue_scales_green_policies_before_traffic_and_schedules_once_nobody_goes_back() {
    let house = House::new(declaration(&[1000]), at_once()).await;
    house.cloud.world().blue_scales = true;
    let id = house.deploy("ami-0bb2").await;
    let d = house.until(id, "the end", ended).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    let world = house.cloud.world();
    let at = |name: &str| world.changes.iter().position(|change| change == name).unwrap_or_else(|| panic!("no {name}"));
    let order =
        ["open_overlays", "copy_scaling_policies", "set_weight", "delete_rules", "copy_scheduled_actions", "delete_group"];
    assert!(order.map(at).is_sorted(), "{:?}", world.changes);
}

#[tokio::test]
async fn the_next_deployment_takes_the_other_slot_back() {
    let house = House::new(declaration(&[1000]), at_once()).await;
    let first = house.deploy("ami-0bb2").await;
    house.until(first, "the first", ended).await;
    let second = house.deploy("ami-0cc3").await;
    let d = house.until(second, "the second", ended).await;
    assert_eq!(d.status(), Status::Succeeded, "{d:#?}");
    assert_eq!(d.plan.unwrap().blue.unwrap().group.as_str(), "web-prod-v001");
    assert_eq!(shares(&house, "a"), [Weight::ALL; 2]);
    assert_eq!(house.cloud.world().group_names(), ["web-prod-v002"]);
}

type WayPoint = (&'static str, fn(&Deployment) -> bool);

/// Every phase in which going back is legal, as a story gets there.
fn way_points() -> Vec<WayPoint> {
    vec![
        ("pending", |d| d.phase == Phase::Pending),
        ("provisioning", |d| d.phase == Phase::Provisioning),
        ("verifying", |d| d.phase == Phase::Verifying),
        ("shifting", |d| matches!(d.phase, Phase::Shifting { seen_at: None, .. })),
        ("at a stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })),
        ("baking", |d| matches!(d.phase, Phase::Baking { .. })),
        ("committing", |d| matches!(d.phase, Phase::Committing { quiet_since: None })),
        ("quiet", |d| matches!(d.phase, Phase::Committing { quiet_since: Some(_) })),
    ]
}

#[tokio::test]
async fn one_call_goes_back_from_every_phase_and_leaves_blue_as_it_was() {
    for confirmed in [true, false] {
        for (name, there) in way_points() {
            let mut settings = at_once();
            settings.timing.quiet_period = Duration::from_millis(20);
            let house = House::new(declaration(&STAGES), settings).await;
            let id = house.deploy("ami-0bb2").await;
            house.until(id, name, there).await;
            if confirmed {
                house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
            }
            let answer = house.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap();
            assert!(answer.accepted, "{name}");
            assert_eq!(shares(&house, "b"), [Weight::NONE; 2], "{name}: no green from the answer on");
            let d = house.until(id, "the end", ended).await;
            assert_eq!(d.status(), Status::RolledBack, "{name}: {d:#?}");
            let back = d.going_back.clone().unwrap();
            assert_eq!((back.trigger, back.by.as_str(), back.reason.as_deref()), (Trigger::Manual, "ada", Some("INC-1")));
            assert!(name == "pending" || back.observed_at.is_some(), "{name}: {back:?}");
            assert_eq!(shares(&house, "a"), [Weight::ALL; 2], "{name}");
            let world = house.cloud.world();
            assert_eq!(world.group_names(), ["web-old"], "{name}");
            assert_eq!((world.rules_left(), world.pin("web-old")), (0, Some((1, false))), "{name}");
        }
    }
}

#[tokio::test]
async fn a_second_rollback_is_the_same_answer_and_a_later_one_has_nothing_to_go_back_to() {
    let mut settings = at_once();
    let house = House::new(declaration(&STAGES), settings).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "a stage", |d| matches!(d.phase, Phase::Shifting { .. })).await;
    let first = house.lane.clone().rollback(RollbackOf::Deployment(id), by("ada")).await.unwrap();
    house.until(id, "the end", ended).await;
    let second = house.lane.clone().rollback(RollbackOf::Target(target()), by("bob")).await.unwrap();
    assert_eq!(second.deployment.intent.rollback, first.deployment.intent.rollback, "ada's rollback, not bob's");
    settings.rollback_repeats_for = Duration::ZERO;
    let mut later = by("bob");
    later.at = jiff::Timestamp::now().checked_add(Duration::from_secs(1)).unwrap();
    let (store, cloud) = (house.store.clone(), house.cloud.clone());
    let lane = Lane::new(store, cloud, house.bundles.clone(), house.journal.clone(), settings);
    let nothing = Arc::new(lane).rollback(RollbackOf::Target(target()), later).await;
    assert!(matches!(nothing, Err(cutover::engine::api::Trouble::NothingToRollBackTo)), "{nothing:?}");
}

#[tokio::test]
async fn an_old_copy_of_an_ended_deployment_does_not_answer_for_the_one_that_runs() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let first = house.deploy("ami-0bb2").await;
    house.until(first, "a stage", |d| matches!(d.phase, Phase::Shifting { .. })).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    house.lane.clone().rollback(RollbackOf::Deployment(first), by("ada")).await.unwrap();
    house.until(first, "the end", ended).await;
    let second = house.deploy("ami-0cc3").await;
    house.until(second, "a stage", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    let answer = house.lane.clone().rollback(RollbackOf::Target(target()), by("bob")).await.unwrap();
    assert_eq!(answer.deployment.id, second, "the first one's copy was never confirmed again");
    assert_eq!(shares(&house, "b"), [Weight::NONE; 2]);
}

#[tokio::test]
async fn an_operators_weight_holds_until_resumed_and_then_goes_on_above_it() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "5 %", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    let given = house.give(id, Command::Weight(weight(12.5))).await;
    let Commanded::Done { deployment, changed: true } = given else { panic!("{given:?}") };
    assert_eq!(deployment.deployment.status(), Status::Paused, "paused from the command on");
    house.until(id, "12.5 %", |d| d.seen.weight == Some(weight(12.5))).await;
    for _ in 0..20 {
        house.tick().await;
    }
    let held = house.read(id).await;
    assert_eq!((held.phase.wants(), held.status()), (weight(12.5), Status::Paused), "it stays there");
    house.give(id, Command::Resume).await;
    house.until(id, "25 %", |d| d.phase.wants() == weight(25.0) && d.status() == Status::InProgress).await;
    assert_eq!(house.until(id, "the end", ended).await.status(), Status::Succeeded);
}

#[tokio::test]
async fn a_weight_below_100_leaves_baking_first() {
    let mut declared = declaration(&STAGES);
    declared.strategy.bake_time = BakeTime::Manual;
    let house = House::new(declared, at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "the bake", |d| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })).await;
    house.give(id, Command::Weight(weight(40.0))).await;
    house
        .until(id, "40 %", |d| matches!(d.phase, Phase::Shifting { by_hand: true, .. }) && d.seen.weight == Some(weight(40.0)))
        .await;
    house.give(id, Command::Promote(PromoteTo::Full)).await;
    house.until(id, "the bake again", |d| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })).await;
    house.give(id, Command::Promote(PromoteTo::Next)).await;
    assert_eq!(house.until(id, "the end", ended).await.status(), Status::Succeeded);
}

#[tokio::test]
async fn an_image_that_never_becomes_healthy_goes_back_by_deadline() {
    let mut declared = declaration(&STAGES);
    declared.strategy.deadlines.provisioning = Duration::from_millis(30);
    let house = House::new(declared, at_once()).await;
    house.cloud.world().sick = true;
    let id = house.deploy("ami-0bad").await;
    let started = std::time::Instant::now();
    while !ended(&house.read(id).await) {
        assert!(started.elapsed() < Duration::from_secs(10), "{:#?}", house.read(id).await);
        house.tick().await;
        tokio::task::yield_now().await;
    }
    let d = house.read(id).await;
    assert_eq!((d.status(), d.going_back.unwrap().trigger), (Status::RolledBack, Trigger::Deadline));
    assert_eq!(house.cloud.world().group_names(), ["web-old"]);
}

#[tokio::test]
async fn a_hopeless_launch_goes_back_at_once_with_the_providers_words() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    house.cloud.world().launch_failure =
        Some(LaunchFailure { message: "The image id '[ami-0bad]' does not exist".to_owned(), hopeless: true });
    house.cloud.world().sick = true;
    let id = house.deploy("ami-0bad").await;
    let d = house.until(id, "the end", ended).await;
    let back = d.going_back.unwrap();
    assert_eq!(back.trigger, Trigger::Launch);
    assert!(back.reason.unwrap().contains("does not exist"));
}

#[tokio::test]
async fn green_without_a_healthy_server_gets_no_traffic_and_loses_what_it_had() {
    let mut declared = declaration(&STAGES);
    declared.strategy.stages[0].bake_time = BakeTime::Manual;
    let house = House::new(declared, at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "5 %", |d| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })).await;
    house.cloud.world().sicken("web-prod-v001");
    let d = house.until(id, "the end", ended).await;
    assert_eq!((d.status(), d.going_back.unwrap().trigger), (Status::RolledBack, Trigger::Gate));
}

#[tokio::test]
async fn an_overlay_deleted_by_hand_is_taken_for_a_rollback() {
    let mut declared = declaration(&STAGES);
    declared.strategy.stages[1].bake_time = BakeTime::Manual;
    let house = House::new(declared, at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "25 %", |d| d.seen.weight == Some(weight(25.0))).await;
    house.cloud.world().delete_overlays_by_hand();
    let d = house.until(id, "the end", ended).await;
    assert_eq!((d.status(), d.going_back.unwrap().trigger), (Status::RolledBack, Trigger::Outside));
    assert_eq!(shares(&house, "a"), [Weight::ALL; 2]);
}

#[tokio::test]
async fn what_cannot_be_seen_moves_nothing() {
    let mut declared = declaration(&STAGES);
    declared.strategy.stages[1].bake_time = BakeTime::For(Duration::from_millis(5));
    let house = House::new(declared, at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "25 %", |d| d.seen.weight == Some(weight(25.0))).await;
    house.cloud.world().blind = true;
    let changes = house.cloud.world().changes.len();
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_millis(30) {
        house.tick().await;
    }
    let d = house.read(id).await;
    assert!(matches!(d.phase, Phase::Shifting { .. }) && d.seen.weight.is_none(), "{d:#?}");
    assert_eq!(house.cloud.world().changes.len(), changes, "throttled is not \"gone\"");
    house.cloud.world().blind = false;
    assert_eq!(house.until(id, "the end", ended).await.status(), Status::Succeeded);
}

#[tokio::test]
async fn a_command_between_look_and_settle_makes_the_tick_lose() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "a stage", |d| matches!(d.phase, Phase::Shifting { .. })).await;
    let claim = house
        .store
        .claim_due(&house.worker.holder, house.worker.settings.lease, 1, &Bundles::default())
        .await
        .unwrap()
        .remove(0);
    house.give(id, Command::Pause).await;
    assert_eq!(house.worker.tick(claim).await.unwrap(), Settled::Lost);
}

#[tokio::test]
async fn a_refused_rollback_call_is_answered_202_and_the_engine_goes_on() {
    let mut settings = at_once();
    settings.rollback_tries_for = Duration::from_millis(50);
    let house = House::new(declaration(&STAGES), settings).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "a stage", |d| matches!(d.phase, Phase::Shifting { .. })).await;
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    let answer = house.lane.clone().rollback(RollbackOf::Deployment(id), by("ada")).await.unwrap();
    assert!(!answer.accepted && answer.durable);
    house.cloud.world().refuse = None;
    let d = house.until(id, "the end", ended).await;
    assert!(d.going_back.unwrap().accepted_at.is_some());
}

#[tokio::test]
async fn cancel_before_traffic_ends_cancelled_with_nothing_left() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "provisioning", |d| d.phase == Phase::Provisioning).await;
    house.tick().await;
    let known = &house.worker.bundles;
    known.confirm(house.store.as_ref(), 10).await.unwrap();
    house.give(id, Command::Cancel).await;
    let d = house.until(id, "the end", ended).await;
    assert_eq!(d.status(), Status::Cancelled);
    assert!(known.of(id).is_none(), "what has ended is remembered");
    let world = house.cloud.world();
    assert_eq!((world.group_names(), world.rules_left()), (vec!["web-old".to_owned()], 0));
}

#[tokio::test]
async fn an_abandoned_deployment_changes_nothing_more() {
    let house = House::new(declaration(&STAGES), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "a stage", |d| matches!(d.phase, Phase::Shifting { .. })).await;
    house.give(id, Command::Abandon).await;
    let changes = house.cloud.world().changes.len();
    let d = house.until(id, "the end", ended).await;
    assert_eq!((d.status(), house.cloud.world().changes.len()), (Status::Failed, changes));
}
