//! Drills on record: one at a time and none beside a deployment, leased like deployments, begun by a schedule once, and trimmed.

use std::time::Duration;

use cutover::{
    domain::{
        drill::{Drill, DrillPlan, DrillSpec, Outcome, Phase as DrillPhase},
        ids::DrillId,
        schedule::Schedule,
    },
    engine::{
        drills::ports::{Begun, DrillClaim, DrillStore, NewDrill, Turn},
        ports::LaneStore,
    },
};

use super::*;

on_both_stores! {
    a_drill_never_begins_beside_a_deployment_on_its_routes,
    one_drill_runs_at_a_time_and_a_deployment_is_told_of_it,
    a_drill_is_leased_and_a_stalled_holder_settles_nothing,
    nobody_guesses_the_turn_of_a_schedule,
    a_schedule_that_stays_as_it_is_keeps_its_turn,
    the_trend_is_read_newest_first_and_is_bounded,
}

const SOON: Duration = Duration::ZERO;
const KEPT: usize = 100;

fn new_drill(service: &str, scheduled: Option<Turn>) -> NewDrill {
    let (id, target) = (DrillId::new(Uuid::now_v7()), of(service));
    NewDrill { id, target, reason: None, created_by: "ada".to_owned(), created_at: now(), scheduled }
}

async fn begin(store: &impl DrillStore, service: &str) -> Drill {
    match store.begin_drill(new_drill(service, None)).await.unwrap() {
        Begun::Started(drill) => *drill,
        other => panic!("not begun: {other:?}"),
    }
}

async fn claim(store: &impl DrillStore, n: u8) -> Option<DrillClaim> {
    store.claim_drills(&replica(n), LEASE, 10).await.unwrap().pop()
}

async fn settle(store: &impl DrillStore, n: u8, claim: &DrillClaim, next: &Drill, kept: usize) -> Settled {
    store.settle_drill(&replica(n), claim, next, SOON, kept).await.unwrap()
}

fn ended(drill: &Drill, outcome: Outcome) -> Drill {
    let (phase, at) = (DrillPhase::Ended, Some(Timestamp::now()));
    Drill { phase, outcome: Some(outcome), ended_at: at, ..drill.clone() }
}

/// With a rule on number 41 of the listener that all services share.
fn opened(drill: &Drill) -> Drill {
    let routes = drill.declaration.routes.iter().take(1).map(|route| RoutePlan {
        route: route.clone(),
        listener: ListenerRef::new("listener"),
        position: 0,
        base_number: None,
        overlay_number: 41,
        shield_number: 40,
        form: serde_json::Value::Null,
        strays: Vec::new(),
    });
    let plan = DrillPlan { slot: drill.declaration.slots[0].clone(), routes: routes.collect() };
    Drill { phase: DrillPhase::Opening, plan: Some(plan), ..drill.clone() }
}

async fn a_drill_never_begins_beside_a_deployment_on_its_routes(store: &(impl Store + DrillStore), _: &impl LaneStore) {
    assert!(matches!(store.begin_drill(new_drill("web", None)).await.unwrap(), Begun::NotDeclared));
    store.declare(&of("web"), &declaration("web"), "ada", None).await.unwrap();
    // Another service on one of its routes.
    let shared = Declaration { routes: declaration("web").routes[1..].to_vec(), ..declaration("api") };
    store.declare(&of("api"), &shared, "ada", None).await.unwrap();
    let drill = begin(store, "web").await;
    assert!(store.deployment_on(&drill).await.unwrap().is_none());
    let id = create(store, "api").await.deployment.id;
    // It was on record first: it finds the deployment when it looks again.
    assert_eq!(store.deployment_on(&drill).await.unwrap().map(|d| d.id), Some(id));
    let claimed = claim(store, 1).await.unwrap();
    settle(store, 1, &claimed, &ended(&drill, Outcome::Skipped), KEPT).await;
    let Begun::Deployment(running) = store.begin_drill(new_drill("web", None)).await.unwrap() else { panic!("it began") };
    assert_eq!(running.id, id);
    assert!(store.environment(&of("web")).await.unwrap().unwrap().drill.is_none(), "one that was skipped tells nothing");
}

async fn one_drill_runs_at_a_time_and_a_deployment_is_told_of_it(store: &(impl Store + DrillStore), _: &impl LaneStore) {
    store.declare(&of("web"), &declaration("web"), "ada", None).await.unwrap();
    let routes = declaration("web").routes;
    let nobody = store.drilled(&of("web"), &routes).await.unwrap();
    assert!(!nobody.running && nobody.ended_at.is_none());
    let drill = begin(store, "web").await;
    let Begun::Running(running) = store.begin_drill(new_drill("web", None)).await.unwrap() else { panic!("two at once") };
    assert_eq!(running.id, drill.id);
    assert!(store.drilled(&of("web"), &[]).await.unwrap().running, "by its service");
    assert!(store.drilled(&of("other"), &routes[..1]).await.unwrap().running, "by its route");
    assert!(!store.drilled(&of("other"), &[RouteRef::new("other")]).await.unwrap().running);

    let claimed = claim(store, 1).await.unwrap();
    settle(store, 1, &claimed, &opened(&drill), KEPT).await;
    let claimed = claim(store, 1).await.unwrap();
    settle(store, 1, &claimed, &ended(&opened(&drill), Outcome::Passed), KEPT).await;
    let over = store.drilled(&of("web"), &routes).await.unwrap();
    assert!(!over.running && over.ended_at.is_some());
    let last = store.environment(&of("web")).await.unwrap().unwrap().drill.unwrap();
    assert_eq!((last.id, last.outcome), (drill.id, Some(Outcome::Passed)));
    let figures = store.drill_figures().await.unwrap();
    assert_eq!((figures.len(), figures[0].drill.id, figures[0].passed_at.is_some()), (1, drill.id, true));
}

async fn a_drill_is_leased_and_a_stalled_holder_settles_nothing(store: &(impl Store + DrillStore), _: &impl LaneStore) {
    store.declare(&of("web"), &declaration("web"), "ada", None).await.unwrap();
    let drill = begin(store, "web").await;
    let stalled = store.claim_drills(&replica(1), SOON, 10).await.unwrap().pop().unwrap();
    let taken = claim(store, 2).await.expect("its lease has run out");
    assert!(claim(store, 3).await.is_none(), "it is another's");
    assert_eq!(settle(store, 1, &stalled, &opened(&drill), KEPT).await, Settled::Lost);
    assert_eq!(settle(store, 2, &taken, &opened(&drill), KEPT).await, Settled::Stored);
    assert_eq!(store.next_drill(&replica(3)).await.unwrap(), Some(Duration::ZERO));
    let again = claim(store, 2).await.unwrap();
    assert_eq!(again.drill.phase, DrillPhase::Opening);
    assert!(store.next_drill(&replica(3)).await.unwrap().unwrap() > LEASE / 2);
    store.release_drills(&replica(2)).await.unwrap();
    assert_eq!(settle(store, 2, &again, &ended(&drill, Outcome::Passed), KEPT).await, Settled::Lost, "it was given back");
    let last = claim(store, 3).await.unwrap();
    assert_eq!(settle(store, 3, &last, &ended(&drill, Outcome::Passed), KEPT).await, Settled::Stored);
    assert!(claim(store, 3).await.is_none() && store.next_drill(&replica(3)).await.unwrap().is_none());
}

fn scheduled(cron: &str) -> Declaration {
    let schedule = Some(Schedule::parse(cron, "Europe/Berlin").unwrap());
    Declaration { drill: Some(DrillSpec { schedule, ..DrillSpec::default() }), ..declaration("web") }
}

async fn nobody_guesses_the_turn_of_a_schedule(store: &(impl Store + DrillStore), _: &impl LaneStore) {
    store.declare(&of("web"), &scheduled("0 * * * *"), "ada", None).await.unwrap();
    assert!(store.due_schedules(10).await.unwrap().is_empty(), "not before the hour is full");
    assert!(store.next_drill(&replica(1)).await.unwrap().unwrap() <= Duration::from_secs(3600));
    let guess = Turn { due: now(), next: None };
    assert!(matches!(store.begin_drill(new_drill("web", Some(guess))).await.unwrap(), Begun::Moved));
    assert!(store.drills(&of("web"), None, 1).await.unwrap().is_empty());
}

async fn a_schedule_that_stays_as_it_is_keeps_its_turn(store: &(impl Store + DrillStore), _: &impl LaneStore) {
    store.declare(&of("web"), &scheduled("0 * * * *"), "ada", None).await.unwrap();
    let before = store.next_drill(&replica(1)).await.unwrap().unwrap();
    let more = Declaration { preview: None, blue: None, ..scheduled("0 * * * *") };
    store.declare(&of("web"), &more, "ada", None).await.unwrap();
    assert!(store.next_drill(&replica(1)).await.unwrap().unwrap() <= before);
    store.declare(&of("web"), &declaration("web"), "ada", None).await.unwrap();
    assert!(store.next_drill(&replica(1)).await.unwrap().is_none(), "without a schedule none is due");
}

async fn the_trend_is_read_newest_first_and_is_bounded(store: &(impl Store + DrillStore), _: &impl LaneStore) {
    store.declare(&of("web"), &declaration("web"), "ada", None).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..4 {
        let drill = begin(store, "web").await;
        let claimed = claim(store, 1).await.unwrap();
        settle(store, 1, &claimed, &ended(&drill, Outcome::Passed), 3).await;
        all.push(drill.id);
    }
    let ids = |drills: Vec<Drill>| drills.into_iter().map(|drill| drill.id).collect::<Vec<_>>();
    assert_eq!(ids(store.drills(&of("web"), None, 10).await.unwrap()), [all[3], all[2], all[1]], "the oldest is forgotten");
    assert_eq!(ids(store.drills(&of("web"), Some(all[3]), 1).await.unwrap()), [all[2]]);
    assert!(store.drill(all[0]).await.unwrap().is_none() && store.drill(all[1]).await.unwrap().is_some());
    assert!(store.drills(&of("api"), None, 10).await.unwrap().is_empty());
}
