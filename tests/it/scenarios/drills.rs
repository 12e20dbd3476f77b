//! Drills on a store and a cloud in memory: what waits for them, who takes them over, what they leave, and schedules.

use std::{sync::Arc, time::Duration};

use cutover::{
    domain::{
        declaration::Declaration,
        deployment::Status,
        drill::{Drill, DrillSpec, Outcome, Phase as DrillPhase},
        ids::{DrillId, HolderId, RouteRef, SlotRef},
        orphan::Terms,
        phase::Phase,
        schedule::Schedule,
        survey::Role,
        weight::Weight,
    },
    engine::{
        drills::{
            Driller,
            ports::{Begun, DrillStore, NewDrill},
        },
        ports::FaultKind,
        settings::{EngineSettings, SweeperSettings},
        sweeper::{
            Sweeper,
            ports::{OrphanFilter, SweepStore},
        },
    },
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::support::{
    fake_cloud::FakeCloud,
    house::{House, at_once, declaration, target},
    memory::MemoryStore,
};

const TICKS_MAX: usize = 200;
const HOUR: Duration = Duration::from_secs(3600);

fn driller(house: &House, holder: &str) -> Driller<MemoryStore, FakeCloud> {
    let (store, cloud, back) = (house.store.clone(), house.cloud.clone(), house.cloud.clone());
    Driller { store, cloud, back, holder: HolderId::new(holder), settings: house.worker.settings, woken: Arc::default() }
}

async fn begin(house: &House) -> DrillId {
    let new = NewDrill {
        id: DrillId::new(Uuid::now_v7()),
        target: target(),
        reason: None,
        created_by: "ada".to_owned(),
        created_at: Timestamp::now(),
        scheduled: None,
    };
    match house.store.begin_drill(new).await.unwrap() {
        Begun::Started(drill) => drill.id,
        other => panic!("not begun: {other:?}"),
    }
}

async fn tick(driller: &Driller<MemoryStore, FakeCloud>) {
    for claim in driller.store.claim_drills(&driller.holder, driller.settings.lease, 10).await.unwrap() {
        driller.tick(claim).await.unwrap();
    }
}

async fn until(driller: &Driller<MemoryStore, FakeCloud>, id: DrillId, what: &str, there: impl Fn(&Drill) -> bool) -> Drill {
    for _ in 0..TICKS_MAX {
        let drill = driller.store.drill(id).await.unwrap().unwrap();
        if there(&drill) {
            return drill;
        }
        tick(driller).await;
    }
    panic!("{what} never came: {:#?}", driller.store.drill(id).await.unwrap());
}

fn has_ended(drill: &Drill) -> bool {
    drill.phase == DrillPhase::Ended
}

/// Nobody but the live slot has had a share.
fn is_untouched(house: &House) -> bool {
    let world = house.cloud.world();
    ["public", "internal"].into_iter().all(|route| {
        let route = RouteRef::new(route);
        world.share(&route, &SlotRef::new("a")) == Weight::ALL && world.share(&route, &SlotRef::new("b")) == Weight::NONE
    })
}

#[tokio::test]
async fn a_deployment_that_is_created_meanwhile_waits_in_pending_and_goes_on() {
    let house = House::new(declaration(&[500, 1000]), at_once()).await;
    let driller = driller(&house, "replica-1");
    let drill = begin(&house).await;
    until(&driller, drill, "open", |drill| drill.phase == DrillPhase::Closing).await;
    let id = house.deploy("ami-0bb2").await;
    for _ in 0..10 {
        house.tick().await;
        assert_eq!(house.read(id).await.phase, Phase::Pending);
        assert_eq!(house.cloud.world().rules_left(), 2, "the drill's rules are the drill's to remove");
        assert!(is_untouched(&house));
    }
    let ended = until(&driller, drill, "the end", has_ended).await;
    assert_eq!(ended.outcome, Some(Outcome::Passed));
    let d = house.until(id, "the end", |d| d.phase.is_terminal()).await;
    assert_eq!(d.status(), Status::Succeeded);
}

#[tokio::test]
async fn a_deployment_after_a_drill_opens_its_overlay_only_when_nothing_of_the_drill_can_land_any_more() {
    let mut settings = at_once();
    settings.timing.quiet_period = HOUR;
    let house = House::new(declaration(&[1000]), settings).await;
    let driller = driller(&house, "replica-1");
    let drill = begin(&house).await;
    let id = house.deploy("ami-0bb2").await;
    let drill = until(&driller, drill, "the end", has_ended).await;
    assert_eq!(drill.outcome, Some(Outcome::Skipped), "it looked again, and somebody was there");
    house.until(id, "provisioning", |d| d.phase == Phase::Provisioning).await;
    assert_eq!(house.read(id).await.not_before, None, "a drill that changed nothing is waited for by nobody");

    let house = House::new(declaration(&[1000]), settings).await;
    let driller = self::driller(&house, "replica-1");
    let drill = begin(&house).await;
    let drill = until(&driller, drill, "the end", has_ended).await;
    let id = house.deploy("ami-0bb2").await;
    let d = house.until(id, "provisioning", |d| d.phase == Phase::Provisioning).await;
    assert_eq!(d.not_before, drill.ended_at.map(|at| at + HOUR / 2));
    for _ in 0..10 {
        house.tick().await;
    }
    assert_eq!(house.cloud.world().rules_left(), 0, "no overlay yet");
}

#[tokio::test]
async fn whoever_comes_next_removes_the_rule_of_a_holder_that_died_in_the_middle() {
    let house = House::new(declaration(&[1000]), at_once()).await;
    let mut dying = driller(&house, "replica-1");
    dying.settings.lease = Duration::ZERO;
    let drill = begin(&house).await;
    until(&driller(&house, "replica-1"), drill, "a plan", |drill| drill.phase == DrillPhase::Opening).await;
    // It opens the rule, and is gone before anything is on record of that.
    let claim = house.store.claim_drills(&dying.holder, dying.settings.lease, 1).await.unwrap().remove(0);
    let mut lost = claim.clone();
    lost.version += 1;
    lost.lease_ends += HOUR;
    dying.tick(lost).await.unwrap();
    assert_eq!(house.cloud.world().rules_left(), 2);
    assert_eq!(house.store.drill(drill).await.unwrap().unwrap().opening.sent_at, None, "nothing is on record of it");
    assert!(is_untouched(&house));

    let other = driller(&house, "replica-2");
    let ended = until(&other, drill, "the end", has_ended).await;
    assert_eq!((ended.outcome, house.cloud.world().rules_left()), (Some(Outcome::Passed), 0), "{ended:#?}");
    assert!(is_untouched(&house));
}

#[tokio::test]
async fn one_that_is_slower_than_its_budget_says_so() {
    let drill = Some(DrillSpec { schedule: None, budget: Duration::from_millis(1) });
    let house = House::new(Declaration { drill, ..declaration(&[1000]) }, at_once()).await;
    let driller = driller(&house, "replica-1");
    let id = begin(&house).await;
    until(&driller, id, "open", |drill| drill.phase == DrillPhase::Closing).await;
    house.cloud.world().refuse = Some(FaultKind::Throttled);
    tick(&driller).await;
    let throttled = Timestamp::now();
    house.cloud.world().refuse = None;
    while Timestamp::now().duration_since(throttled).as_millis() < 5 {
        tokio::task::yield_now().await;
    }
    let ended = until(&driller, id, "the end", has_ended).await;
    assert_eq!(ended.outcome, Some(Outcome::Slow), "{ended:#?}");
    assert!(ended.events.iter().any(|event| event.kind == "drill.refused"), "{ended:#?}");
    assert!(ended.attention(Timestamp::now()).unwrap().contains("1ms are allowed"));
}

#[tokio::test]
async fn a_rule_that_lands_after_the_end_is_swept_up_and_a_running_drills_is_not() {
    let terms = Terms { remove: true, report_after: Duration::ZERO, remove_after: Duration::ZERO };
    let sweeper = SweeperSettings { enabled: true, every: Duration::ZERO, terms };
    let house = House::new(declaration(&[1000]), EngineSettings { sweeper, ..at_once() }).await;
    let driller = driller(&house, "replica-1");
    let (store, cloud, holder) = (house.store.clone(), house.cloud.clone(), HolderId::new("replica-1"));
    let sweeper = Sweeper { store, cloud, holder, settings: house.worker.settings };
    let id = begin(&house).await;
    until(&driller, id, "open", |drill| drill.phase == DrillPhase::Closing).await;
    for _ in 0..3 {
        sweeper.turn().await.unwrap();
    }
    assert_eq!(house.cloud.world().rules_left(), 2, "it sees to them itself");
    until(&driller, id, "the end", has_ended).await;
    house.cloud.world().leave_rule(&RouteRef::new("public"), Role::Drill, id.tag(), &SlotRef::new("a"));
    house.cloud.world().leave_rule(
        &RouteRef::new("internal"),
        Role::Drill,
        DrillId::new(Uuid::nil()).tag(),
        &SlotRef::new("a"),
    );
    for _ in 0..3 {
        sweeper.turn().await.unwrap();
    }
    assert_eq!(house.cloud.world().rules_left(), 1, "of a drill that is in no record none is removed");
    let listed = house.store.orphans(&OrphanFilter { limit: 10, ..OrphanFilter::default() }).await.unwrap();
    assert_eq!(
        listed.iter().map(|seen| seen.why.as_str()).collect::<Vec<_>>(),
        ["no record tells of the drill that its tags name"]
    );
}

#[tokio::test]
async fn an_earlier_drills_rule_goes_before_another_one_is_opened() {
    let house = House::new(declaration(&[1000]), at_once()).await;
    let driller = driller(&house, "replica-1");
    house.cloud.world().leave_rule(&RouteRef::new("public"), Role::Drill, DrillId::new(Uuid::nil()).tag(), &SlotRef::new("a"));
    let id = begin(&house).await;
    assert_eq!(until(&driller, id, "the end", has_ended).await.outcome, Some(Outcome::Passed));
    assert_eq!(house.cloud.world().changes, ["delete_rules", "open_drill", "delete_rules"]);
    // What takes part in who gets the traffic is another matter.
    house.cloud.world().leave_rule(
        &RouteRef::new("public"),
        Role::Overlay,
        DrillId::new(Uuid::nil()).tag(),
        &SlotRef::new("a"),
    );
    let id = begin(&house).await;
    let failed = until(&driller, id, "the end", has_ended).await;
    assert_eq!((failed.outcome, house.cloud.world().changes.len()), (Some(Outcome::Failed), 3));
}

#[tokio::test]
async fn a_schedule_begins_one_drill_however_many_runs_were_missed_and_none_beside_a_deployment() {
    let schedule = Some(Schedule::parse("0 3 * * *", "Europe/Berlin").unwrap());
    let drill = Some(DrillSpec { schedule, ..DrillSpec::default() });
    let house = House::new(Declaration { drill, ..declaration(&[1000]) }, at_once()).await;
    let driller = driller(&house, "replica-1");
    let drills = async || house.store.drills(&target(), None, 10).await.unwrap();
    driller.begin_due().await.unwrap();
    assert!(drills().await.is_empty(), "it is not three yet");

    // Nobody was there for ten nights.
    house.store.schedules_come_nearer_by(HOUR * 24 * 10);
    let id = house.deploy("ami-0bb2").await;
    driller.begin_due().await.unwrap();
    assert!(drills().await.is_empty(), "not beside a deployment");
    house.until(id, "the end", |d| d.phase.is_terminal()).await;
    for _ in 0..3 {
        driller.begin_due().await.unwrap();
        if let Some(begun) = drills().await.first() {
            until(&driller, begun.id, "the end", has_ended).await;
        }
    }
    let begun = drills().await;
    assert_eq!(begun.len(), 1, "{begun:#?}");
    assert_eq!((begun[0].outcome, begun[0].created_by.as_str()), (Some(Outcome::Passed), "schedule"), "{begun:#?}");
    assert!(begun[0].scheduled_for.is_some_and(|due| due < Timestamp::now()));
    let next = house.store.drill_due(&target()).unwrap();
    assert!(next > Timestamp::now() && next < Timestamp::now() + HOUR * 25, "the next night: {next}");
}
