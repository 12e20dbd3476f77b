//! The rollback lane where the load balancer is slow, silent, or refuses one of several routes.

use std::time::{Duration, Instant};

use cutover::{
    domain::{
        command::{Command, PromoteTo},
        deployment::{Deployment, Status},
        ids::DeploymentId,
        phase::Phase,
    },
    engine::{
        api::{RollbackOf, RolledBack},
        ports::{FaultKind, Store as _},
        settings::EngineSettings,
    },
};

use crate::support::{
    house::{House, at_once, by, declaration, target},
    memory::Weather,
};

const PATIENCE: Duration = Duration::from_secs(10);

fn settings() -> EngineSettings {
    let mut settings = EngineSettings { rollback_tries_for: Duration::from_millis(100), ..at_once() };
    settings.timing.quiet_period = Duration::from_secs(3600);
    settings
}

/// A deployment that bakes.
async fn baking(settings: EngineSettings) -> (House, DeploymentId) {
    let house = House::new(declaration(&[500, 1000]), settings).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "the bake", |d: &Deployment| matches!(d.phase, Phase::Baking { seen_at: Some(_), .. })).await;
    (house, id)
}

async fn back(house: &House) -> RolledBack {
    house.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await.unwrap()
}

#[tokio::test]
async fn every_route_is_tried_by_itself_and_says_what_became_of_it() {
    let (house, _) = baking(settings()).await;
    house.cloud.world().refuse_on = Some(1);
    let answer = back(&house).await;
    assert!(!answer.accepted && answer.durable);
    let outcomes: Vec<_> = answer.routes.iter().map(|outcome| (outcome.route.as_str(), outcome.accepted)).collect();
    assert_eq!(outcomes, [("public", true), ("internal", false)]);
    assert!(answer.routes[1].said.as_ref().unwrap().contains("as the test wished"), "{answer:?}");
    assert_eq!(house.cloud.world().rules_left(), 1, "the other route did not wait for it");
}

#[tokio::test]
async fn before_green_has_traffic_it_is_accepted_as_soon_as_it_is_on_record() {
    let house = House::new(declaration(&[500, 1000]), at_once()).await;
    let id = house.deploy("ami-0bb2").await;
    let answer = back(&house).await;
    let accepted_at = answer.deployment.intent.rollback_accepted_at;
    assert!(answer.accepted && answer.durable && accepted_at.is_some(), "{answer:?}");
    let d = house.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert!(d.going_back.unwrap().accepted_at.is_some());

    // By another way than the lane's, such as one that waited for the database.
    let id = house.deploy("ami-0bb3").await;
    house.give(id, Command::Rollback).await;
    let d = house.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!((d.status(), d.going_back.unwrap().accepted_at.is_some()), (Status::RolledBack, true));
    assert_eq!(house.cloud.world().attempts, 0, "nobody else was asked");
}

#[tokio::test]
async fn after_a_202_the_lane_goes_on_by_itself_until_it_is_accepted() {
    let (house, id) = baking(settings()).await;
    house.cloud.world().refuse_on = Some(0);
    let asked = Instant::now();
    assert!(!back(&house).await.accepted);
    assert!(asked.elapsed() >= settings().rollback_tries_for, "to the end, and not to the last pause before it");
    assert_eq!(house.read(id).await.intent.rollback_accepted_at, None);
    house.cloud.world().refuse_on = None;
    let began = Instant::now();
    // No engine ticks here: it is the lane's own doing.
    while house.read(id).await.intent.rollback_accepted_at.is_none() {
        assert!(began.elapsed() < PATIENCE, "the lane gave up");
        tokio::task::yield_now().await;
    }
    assert_eq!(house.cloud.world().rules_left(), 0);
}

#[tokio::test]
async fn it_goes_on_for_as_long_as_the_record_says_that_it_is_wanted() {
    let mut settings = EngineSettings { rollback_tries_for: Duration::from_millis(50), ..settings() };
    settings.timing.quiet_period = Duration::from_millis(400);
    let (house, id) = baking(settings).await;
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    assert!(!back(&house).await.accepted);
    // Much longer than what was read once is gone by; nobody but the lane is at work.
    let (began, throttled_for) = (Instant::now(), settings.timing.quiet_period * 3);
    while house.read(id).await.intent.rollback_accepted_at.is_none() {
        assert!(began.elapsed() < PATIENCE, "the lane gave up");
        if began.elapsed() > throttled_for {
            house.cloud.world().refuse = None;
        }
        house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(house.cloud.world().rules_left(), 0);
}

#[tokio::test]
async fn it_stops_once_the_engine_has_brought_it_about() {
    let (house, id) = baking(settings()).await;
    house.cloud.world().refuse_on = Some(0);
    assert!(!back(&house).await.accepted);
    let sent = house.cloud.world().attempts;
    house.cloud.world().delete_overlays_by_hand();
    house.until(id, "its being seen", |d| d.going_back.as_ref().is_some_and(|back| back.observed_at.is_some())).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    let began = Instant::now();
    let mut last = (sent, Instant::now());
    // It may be in the midst of a turn; then nothing is sent any more.
    while last.1.elapsed() < settings().rollback_tries_for * 5 {
        assert!(began.elapsed() < PATIENCE, "it goes on for ever");
        let attempts = house.cloud.world().attempts;
        if attempts != last.0 {
            last = (attempts, Instant::now());
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_answer_waits_for_no_second_commit_and_whoever_asks_meanwhile_is_told_the_same() {
    let (house, id) = baking(settings()).await;
    house.store.sky.turns(Weather::HangsOnAcceptances);
    let first = tokio::time::timeout(PATIENCE, back(&house)).await.expect("it waited for the database to be told");
    let accepted_at = first.deployment.intent.rollback_accepted_at;
    assert!(first.accepted && first.durable && accepted_at.is_some(), "{first:?}");
    assert_eq!(house.read(id).await.intent.rollback_accepted_at, None, "the database does not know yet");
    let sent = house.cloud.world().attempts;
    let second = back(&house).await;
    assert_eq!((second.accepted, second.deployment.intent.rollback_accepted_at), (true, accepted_at));
    assert_eq!(house.cloud.world().attempts, sent, "nothing is sent again");
}

#[tokio::test]
async fn an_answer_that_is_late_is_asked_for_once_more_where_that_is_worth_while() {
    let (house, _) = baking(settings()).await;
    (house.cloud.world().hang, house.cloud.world().hedges) = (1, true);
    let asked = Instant::now();
    let answer = back(&house).await;
    assert!(answer.accepted && asked.elapsed() < PATIENCE, "{answer:?}");
    assert_eq!(house.cloud.world().rules_left(), 0);
}

#[tokio::test]
async fn what_went_ahead_of_the_record_is_told_by_route_and_not_sent_again() {
    let mut trusted = settings();
    trusted.timing.commit_delay = 2 * PATIENCE;
    let (house, _) = baking(trusted).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    house.cloud.world().refuse_on = Some(1);
    let before = house.cloud.world().changes.len();
    let answer = back(&house).await;
    let outcomes: Vec<_> = answer.routes.iter().map(|outcome| (outcome.route.as_str(), outcome.accepted)).collect();
    assert_eq!(outcomes, [("public", true), ("internal", false)]);
    assert_eq!(house.cloud.world().changes[before..], ["delete_rules"], "the route that took it was asked once");

    let (house, _) = baking(trusted).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    let answer = back(&house).await;
    assert!(answer.accepted && answer.routes.len() == 2 && answer.routes.iter().all(|outcome| outcome.accepted), "{answer:?}");
}

#[tokio::test]
async fn shields_do_not_wait_for_what_an_old_copy_sent_ahead() {
    let mut settings = EngineSettings { rollback_tries_for: PATIENCE, act_timeout: PATIENCE, ..settings() };
    settings.timing.commit_delay = 2 * PATIENCE;
    let (house, id) = baking(settings).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    house.give(id, Command::Promote(PromoteTo::Next)).await;
    house.until(id, "the commit", |d| matches!(d.phase, Phase::Committing { .. })).await;
    // Of the deletions that the copy still believes in, on either route, none is answered.
    house.cloud.world().hang = 2;
    let asked = Instant::now();
    let answer = tokio::time::timeout(PATIENCE / 2, back(&house)).await;
    assert!(answer.is_ok_and(|answer| answer.accepted), "{:?}", asked.elapsed());
    assert_eq!(house.cloud.world().rules_left(), 2, "a shield on each route");
}

#[tokio::test]
async fn while_requests_are_scarce_the_engine_does_not_send_what_its_lane_is_sending() {
    let (house, id) = baking(settings()).await;
    house.cloud.world().scarce = true;
    let sends = house.journal.sending.begin(id);
    house.give(id, Command::Rollback).await;
    let back = |d: &Deployment| matches!(d.phase, Phase::RollingBack { .. });
    house.until(id, "the way back", back).await;
    let before = house.cloud.world().changes.len();
    for _ in 0..10 {
        house.tick().await;
    }
    assert_eq!(house.cloud.world().changes[before..], [""; 0], "each would be the first call of another rollback, in a burst");
    drop(sends);
    let seen = |d: &Deployment| d.going_back.as_ref().is_some_and(|back| back.observed_at.is_some());
    house.until(id, "being seen on every route", seen).await;
    assert_eq!(house.cloud.world().changes[before], "delete_rules");
}

#[tokio::test]
async fn what_its_own_engine_wrote_is_known_to_the_lane_without_reading_it() {
    let (mut house, id) = baking(settings()).await;
    house.worker.bundles = house.bundles.clone();
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    house.give(id, Command::Promote(PromoteTo::Next)).await;
    let committing = house.until(id, "the commit", |d| matches!(d.phase, Phase::Committing { .. })).await;
    let known = house.bundles.of(id).expect("it runs");
    assert_eq!((known.record().phase, known.version), (committing.phase, house.store.get(id).await.unwrap().unwrap().version));
    assert!(known.confirmed.age() < PATIENCE);
    // Shields at once: nothing is sent ahead that an older record would have asked for.
    let before = house.cloud.world().changes.len();
    assert!(back(&house).await.accepted);
    assert_eq!(house.cloud.world().changes[before], "raise_shields");
    assert_eq!(house.cloud.world().rules_left(), 2, "a shield on each route");
}

#[tokio::test]
async fn a_crowd_is_told_from_a_database_that_is_away() {
    let settings = EngineSettings { lane_commits_max: 1, record_patience: Duration::from_secs(1), ..settings() };
    let (house, _) = baking(settings).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    house.store.sky.turns(Weather::Slow);
    // The second stands behind the first, and has its own patience only then.
    let (first, second) = tokio::join!(back(&house), back(&house));
    assert!(first.durable && second.durable, "one went on without its record: {} {}", first.durable, second.durable);
}

#[tokio::test]
async fn a_database_that_answers_each_question_in_time_is_not_away() {
    let (house, _) = baking(settings()).await;
    house.store.sky.turns(Weather::Slow);
    let confirming = {
        let (bundles, store) = (house.bundles.clone(), house.store.clone());
        // Two questions, together longer than one may take.
        tokio::spawn(async move { bundles.confirm(store.as_ref(), 10).await })
    };
    while !confirming.is_finished() {
        assert!(!house.bundles.database_is_away(), "it answers, if slowly");
        tokio::task::yield_now().await;
    }
    confirming.await.unwrap().unwrap();
    assert_eq!(house.bundles.len(), 1);
}
