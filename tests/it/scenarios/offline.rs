//! A rollback while the database is away, on a store, a cloud and a disk in memory: shields first, a line in the journal, and on
//! its return the record.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        deployment::{Deployment, Status, Trigger},
        ids::{DeploymentId, RouteRef, SlotRef},
        phase::Phase,
        weight::Weight,
    },
    engine::{
        api::{RollbackOf, RolledBack, Trouble},
        journal::keep_replayed,
        local::Line,
        ports::FaultKind,
        settings::EngineSettings,
    },
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    house::{House, at_once, by, declaration, target},
    memory::Weather,
};

const STAGES: [u16; 2] = [500, 1000];
const PATIENCE: Duration = Duration::from_secs(10);

/// A quiet period that is never over by itself, and little patience.
pub fn settings() -> EngineSettings {
    let mut settings = EngineSettings { record_patience: Duration::from_millis(50), ..at_once() };
    settings.timing.quiet_period = Duration::from_secs(3600);
    settings
}

/// The share of green's slot on each route.
pub fn shares(house: &House) -> [Weight; 2] {
    let world = house.cloud.world();
    ["public", "internal"].map(|route| world.share(&RouteRef::new(route), &SlotRef::new("b")))
}

/// A house with a deployment that got `there`, as its bundle has it, and then the database goes.
pub async fn away(settings: EngineSettings, there: impl Fn(&Deployment) -> bool, weather: Weather) -> (House, DeploymentId) {
    let house = House::new(declaration(&STAGES), settings).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "the point", there).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap();
    house.store.sky.turns(weather);
    (house, id)
}

pub fn half_way(d: &Deployment) -> bool {
    matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. })
}

pub fn committed(d: &Deployment) -> bool {
    matches!(d.phase, Phase::Committing { quiet_since: Some(_) })
}

pub async fn back(house: &House) -> Result<RolledBack, Trouble> {
    house.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await
}

/// Waits for what goes on after an answer.
pub async fn until(what: &str, there: impl Fn() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        tokio::task::yield_now().await;
    }
}

/// Rules of each kind that were asked for, in order; those of several routes are one.
pub fn changes(house: &House) -> Vec<String> {
    let wanted = ["raise_shields", "delete_rules"];
    let mut changes = house.cloud.world().changes.clone();
    changes.retain(|change| wanted.contains(&change.as_str()));
    changes.dedup();
    changes
}

/// The database is back, and what waits is put on record.
pub async fn returns(house: &House) {
    house.store.sky.turns(Weather::Fine);
    let stop = CancellationToken::new();
    let replaying = tokio::spawn(keep_replayed(house.journal.clone(), house.store.clone(), stop.clone()));
    until("an empty journal", || house.journal.is_empty()).await;
    stop.cancel();
    replaying.await.unwrap();
}

#[tokio::test]
async fn without_a_database_shields_go_up_first_and_the_order_waits_for_its_record() {
    for weather in [Weather::Refuses, Weather::Hangs] {
        type There = fn(&Deployment) -> bool;
        let points: [(&str, There, &[&str]); 2] =
            [("half way", half_way, &["raise_shields", "delete_rules"]), ("committing", committed, &["raise_shields"])];
        for (name, there, sent) in points {
            let (house, id) = away(settings(), there, weather).await;
            assert!(shares(&house).iter().all(|share| *share > Weight::NONE), "{name}: there is something to take back");
            let asked = Instant::now();
            let answer = back(&house).await.unwrap();
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{name}: {:?} for a database that does not answer",
                asked.elapsed()
            );
            assert_eq!((answer.accepted, answer.durable), (true, false), "{name}");
            assert_eq!(shares(&house), [Weight::NONE; 2], "{name}: no green from the answer on");
            let given = answer.deployment.intent.rollback.as_ref().unwrap();
            assert_eq!((given.by.as_str(), given.reason.as_deref()), ("ada", Some("INC-1")));
            assert!(answer.deployment.intent.rollback_accepted_at.is_some());
            until("what goes on after the answer", || changes(&house) == sent).await;
            assert_eq!(shares(&house), [Weight::NONE; 2], "{name}");

            returns(&house).await;
            let d = house.read(id).await;
            assert_eq!(d.intent.rollback.as_ref(), Some(given), "{name}: who, when and why as they were asked");
            assert_eq!(d.intent.rollback_accepted_at, answer.deployment.intent.rollback_accepted_at, "{name}");
            let lines = house.disk.lines.lock().unwrap().clone();
            assert!(matches!(lines.as_slice(), [Line::Asked(_), Line::Accepted { .. }, Line::Over { .. }]), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn what_was_taken_back_without_a_database_is_brought_to_its_end_when_it_is_back() {
    let mut settings = settings();
    settings.timing.quiet_period = Duration::from_millis(400);
    let (house, id) = away(settings, half_way, Weather::Refuses).await;
    assert!(back(&house).await.unwrap().accepted);
    house.store.sky.turns(Weather::Fine);
    // No replay but the engine's own: what waits goes on record before it does anything else.
    house.tick().await;
    assert_eq!(house.read(id).await.intent.rollback.unwrap().by, "ada");
    let began = Instant::now();
    while !house.read(id).await.phase.is_terminal() {
        assert!(began.elapsed() < PATIENCE, "{:#?}", house.read(id).await);
        house.tick().await;
    }
    let d = house.read(id).await;
    assert_eq!((d.status(), d.going_back.unwrap().trigger), (Status::RolledBack, Trigger::Manual));
    let world = house.cloud.world();
    assert_eq!(
        (world.rules_left(), world.group_names(), world.pin("web-old")),
        (0, vec!["web-old".to_owned()], Some((1, false)))
    );
}

#[tokio::test]
async fn the_early_call_counts_and_a_shield_comes_all_the_same() {
    let mut settings = settings();
    settings.timing.commit_delay = Duration::from_secs(60);
    let (house, _) = away(settings, half_way, Weather::Refuses).await;
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, answer.durable), (true, false));
    assert_eq!(changes(&house)[..2], ["delete_rules".to_owned(), "raise_shields".to_owned()]);
}

#[tokio::test]
async fn asking_again_is_the_same_rollback_and_sends_nothing() {
    let (house, _) = away(settings(), committed, Weather::Refuses).await;
    let first = back(&house).await.unwrap();
    let again = house.lane.clone().rollback(RollbackOf::Target(target()), by("bob")).await.unwrap();
    assert_eq!((again.accepted, again.durable), (true, false));
    assert_eq!(again.deployment.intent, first.deployment.intent, "ada's, not bob's");
    assert_eq!(changes(&house), ["raise_shields"]);
    assert_eq!(house.journal.len(), 1);
}

#[tokio::test]
async fn a_load_balancer_that_does_not_accept_is_gone_on_with_after_the_202() {
    let mut settings = settings();
    settings.rollback_tries_for = Duration::from_millis(100);
    let (house, id) = away(settings, half_way, Weather::Refuses).await;
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, answer.durable), (false, false), "202: it is written down, and tried on");
    assert!(house.journal.of(id).unwrap().accepted_at.is_none());
    house.cloud.world().refuse = None;
    until("the acceptance", || house.journal.of(id).unwrap().accepted_at.is_some()).await;
    until("the overlays' end", || changes(&house) == ["raise_shields", "delete_rules"]).await;
}

#[tokio::test]
async fn a_load_balancer_that_is_away_for_longer_than_a_bundle_serves_is_looked_at_and_gone_on_with() {
    let mut settings = settings();
    settings.timing.quiet_period = Duration::from_millis(400);
    settings.rollback_tries_for = Duration::from_millis(50);
    let (house, id) = away(settings, half_way, Weather::Refuses).await;
    house.cloud.world().refuse = Some(FaultKind::Transient);
    assert!(!back(&house).await.unwrap().accepted);
    let old = || house.bundles.of(id).unwrap().confirmed.age() > settings.timing.quiet_period;
    until("a bundle that is too old", old).await;
    assert!(house.journal.of(id).unwrap().accepted_at.is_none());
    house.cloud.world().refuse = None;
    until("the acceptance", || house.journal.of(id).unwrap().accepted_at.is_some()).await;
    assert_eq!(shares(&house), [Weight::NONE; 2]);
}

#[tokio::test]
async fn a_record_that_comes_through_after_all_is_what_is_answered() {
    let (house, id) = away(settings(), half_way, Weather::Fine).await;
    // Known to be away, so it is not waited for; and yet the commit is there before the shields are.
    house.store.sky.turns(Weather::Refuses);
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap_err();
    assert!(house.bundles.database_is_away());
    house.store.sky.turns(Weather::Fine);
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, answer.durable), (true, true));
    assert_eq!(shares(&house), [Weight::NONE; 2]);
    assert!(house.read(id).await.intent.rollback.is_some());
    returns(&house).await;
}

#[tokio::test]
async fn a_full_disk_does_not_stop_a_rollback_that_the_load_balancer_accepts() {
    let mut settings = settings();
    settings.rollback_tries_for = Duration::from_millis(100);
    let (house, id) = away(settings, half_way, Weather::Refuses).await;
    house.disk.full.store(true, Ordering::Relaxed);
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    let nowhere = back(&house).await;
    assert!(matches!(nowhere, Err(Trouble::OutOfReach { .. })), "nobody has taken it: {nowhere:?}");
    house.cloud.world().refuse = None;
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, answer.durable), (true, false));
    assert_eq!(shares(&house), [Weight::NONE; 2]);
    returns(&house).await;
    assert!(house.read(id).await.intent.rollback.is_some(), "this process remembered it");
}

#[tokio::test]
async fn what_a_full_disk_did_not_take_is_written_when_somebody_asks_again() {
    let mut settings = settings();
    settings.rollback_tries_for = Duration::from_millis(100);
    let (house, _) = away(settings, half_way, Weather::Refuses).await;
    house.disk.full.store(true, Ordering::Relaxed);
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    back(&house).await.unwrap_err();
    house.disk.full.store(false, Ordering::Relaxed);
    assert!(!back(&house).await.unwrap().accepted, "202: now it is on the disk");
    assert!(matches!(house.disk.lines.lock().unwrap()[..], [Line::Asked(_)]));
}

#[tokio::test]
async fn an_old_bundle_is_acted_on_only_after_a_look_that_shows_a_base_on_blue() {
    let mut look = settings();
    look.timing.quiet_period = Duration::from_millis(2000);
    let (house, id) = away(look, half_way, Weather::Refuses).await;
    let too_old = || house.bundles.of(id).unwrap().confirmed.age() > look.timing.serves();
    until("an old bundle", too_old).await;
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, shares(&house)), (true, [Weight::NONE; 2]), "its base is seen on blue");

    let (house, id) = away(look, committed, Weather::Refuses).await;
    until("an old bundle", || house.bundles.of(id).unwrap().confirmed.age() > look.timing.serves()).await;
    let refused = back(&house).await;
    let Err(Trouble::OutOfReach { why, by_hand }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("no base is on blue"), "{why}");
    assert_eq!(by_hand.len(), 2, "a line a route");
    assert_eq!((changes(&house), house.journal.len()), (Vec::new(), 0), "nothing is sent, nothing is promised");

    let (house, id) = away(look, half_way, Weather::Refuses).await;
    until("an old bundle", || house.bundles.of(id).unwrap().confirmed.age() > look.timing.serves()).await;
    house.cloud.world().blind = true;
    assert!(matches!(back(&house).await, Err(Trouble::OutOfReach { .. })), "what cannot be seen is not acted on");
}

#[tokio::test]
async fn before_there_is_a_plan_the_order_is_written_down_and_answered_as_taken() {
    let (house, id) = away(settings(), |_| true, Weather::Refuses).await;
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, answer.durable), (false, false));
    returns(&house).await;
    let d = house.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::RolledBack);
}

#[tokio::test]
async fn without_a_bundle_and_without_a_database_there_is_nothing_to_go_by() {
    let settings = EngineSettings { rollback_tries_for: Duration::from_millis(100), ..settings() };
    let house = House::new(declaration(&STAGES), settings).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "a stage", half_way).await;
    house.store.sky.turns(Weather::Refuses);
    for of in [RollbackOf::Target(target()), RollbackOf::Deployment(id)] {
        let refused = house.lane.clone().rollback(of, by("ada")).await;
        assert!(matches!(refused, Err(Trouble::Store(_))), "{refused:?}");
    }
    house.store.sky.turns(Weather::HangsOnRollbacks);
    let refused = house.lane.clone().rollback(RollbackOf::Deployment(id), by("ada")).await;
    assert!(
        matches!(refused, Err(Trouble::Store(_))),
        "known by its name alone, and yet it is not waited for without end: {refused:?}"
    );
}

#[tokio::test]
async fn what_was_just_read_is_gone_back_by_when_its_record_does_not_come() {
    let house = House::new(declaration(&STAGES), settings()).await;
    let id = house.deploy("ami-0bb2").await;
    house.until(id, "a stage", half_way).await;
    assert!(house.bundles.is_empty(), "nothing is remembered of it");
    house.store.sky.turns(Weather::HangsOnRollbacks);
    let answer = back(&house).await.unwrap();
    assert_eq!((answer.accepted, answer.durable), (true, false));
    assert_eq!(shares(&house), [Weight::NONE; 2]);
    assert_eq!(house.journal.of(id).unwrap().given.by, "ada");
    returns(&house).await;
    assert_eq!(house.read(id).await.intent.rollback.unwrap().by, "ada");
}

#[tokio::test]
async fn what_ended_meanwhile_or_came_too_late_leaves_the_journal() {
    let (house, id) = away(settings(), committed, Weather::Refuses).await;
    assert!(back(&house).await.unwrap().accepted);
    // Another replica had its database all along, and saw neither shield nor order in time.
    let mut retired = house.store.peek(id);
    retired.phase = Phase::Retiring;
    house.store.put(retired);
    returns(&house).await;
    assert!(house.read(id).await.intent.rollback.is_none());
}

#[tokio::test]
async fn a_memory_that_has_served_its_time_while_it_is_tried_is_looked_at_again_before_the_answer() {
    let mut settings = EngineSettings { rollback_tries_for: PATIENCE, ..settings() };
    settings.timing.quiet_period = Duration::from_millis(400);
    let (house, _) = away(settings, half_way, Weather::Refuses).await;
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    let asked = Instant::now();
    let accepts_at_last = async {
        until("the end of what is remembered", || asked.elapsed() > settings.timing.quiet_period).await;
        house.cloud.world().refuse = None;
    };
    let (answer, ()) = tokio::join!(back(&house), accepts_at_last);
    assert!(answer.unwrap().accepted, "it gave up after {:?}", asked.elapsed());
    assert_eq!(shares(&house), [Weight::NONE; 2]);
}
