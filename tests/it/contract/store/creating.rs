//! Declaring and creating: revisions, numbers, and who may run beside whom.

use cutover::{
    domain::{
        deployment::Live,
        ids::{RouteRef, SlotRef, TargetGroupRef},
        phase::{BackAs, Phase},
        time,
    },
    engine::ports::{Inserted, LaneStore, Settled, Store},
};

use super::*;

on_both_stores! {
    a_changed_declaration_is_a_new_revision_and_an_identical_one_is_none,
    a_declaration_over_another_revision_than_the_one_named_is_not_stored,
    nothing_is_created_for_what_was_never_declared,
    a_new_deployment_starts_from_what_the_records_know,
    a_second_deployment_meets_the_running_one_and_takes_no_number,
    two_that_are_created_at_once_are_one,
    a_route_carries_one_deployment_whichever_service_declares_it,
    a_slot_or_rule_number_in_use_is_held_and_nothing_of_the_settle_is_stored,
    reserved_numbers_are_those_of_the_others_that_run,
    success_makes_green_the_live_group,
    the_next_one_waits_half_a_quiet_period_from_retiring,
    the_next_one_waits_half_a_quiet_period_from_the_end_of_one_that_went_back,
    the_wait_goes_with_the_route_and_not_with_the_service,
    abandoned_deployments_are_let_go_by_the_next_one,
}

async fn a_changed_declaration_is_a_new_revision_and_an_identical_one_is_none(store: &impl Store, _: &impl LaneStore) {
    let (first, new) = store.declare(&of("web"), &declaration("web"), "ada", None).await.unwrap().unwrap();
    assert_eq!((first.revision, new, first.next_number), (1, true, 1));
    let (same, new) = store.declare(&of("web"), &declaration("web"), "bob", None).await.unwrap().unwrap();
    assert_eq!((same.revision, new, same.declared_by.as_str()), (1, false, "ada"));
    let mut changed = declaration("web");
    changed.server_group.max = 20;
    let (second, new) = store.declare(&of("web"), &changed, "bob", Some(1)).await.unwrap().unwrap();
    assert_eq!((second.revision, new, second.declared_by.as_str()), (2, false, "bob"));
    assert_eq!(second.declaration, changed);

    let revisions = store.revisions(&of("web"), None, 10).await.unwrap();
    assert_eq!(revisions.iter().map(|kept| kept.revision).collect::<Vec<_>>(), [2, 1]);
    let older = store.revisions(&of("web"), Some(2), 10).await.unwrap();
    assert_eq!(older.iter().map(|kept| kept.declaration.server_group.max).collect::<Vec<_>>(), [10]);
}

async fn a_declaration_over_another_revision_than_the_one_named_is_not_stored(store: &impl Store, _: &impl LaneStore) {
    declare(store, "web").await;
    let mut changed = declaration("web");
    changed.server_group.max = 20;
    for wrong in [0, 2] {
        assert!(store.declare(&of("web"), &changed, "bob", Some(wrong)).await.unwrap().is_none());
    }
    assert!(store.declare(&of("api"), &declaration("api"), "bob", Some(1)).await.unwrap().is_none());
    assert_eq!(store.environment(&of("web")).await.unwrap().unwrap().declaration, declaration("web"));
    assert!(store.environment(&of("api")).await.unwrap().is_none());
    assert_eq!(store.environments(None, 10).await.unwrap().len(), 1);
}

async fn nothing_is_created_for_what_was_never_declared(store: &impl Store, _: &impl LaneStore) {
    assert!(matches!(store.insert(new("web"), HALF_QUIET).await.unwrap(), Inserted::NotDeclared));
    assert!(store.list(&house_filter()).await.unwrap().is_empty());
}

async fn a_new_deployment_starts_from_what_the_records_know(store: &impl Store, _: &impl LaneStore) {
    declare(store, "web").await;
    let wanted = new("web");
    let Inserted::Created(created) = store.insert(wanted.clone(), HALF_QUIET).await.unwrap() else { panic!("not created") };
    let d = &created.deployment;
    assert_eq!((d.id, d.number, d.phase.clone(), created.version), (wanted.id, 1, Phase::Pending, 1));
    assert_eq!((&d.version, &d.reason, d.created_at), (&wanted.version, &wanted.reason, wanted.created_at));
    assert_eq!((&d.declaration, &d.strategy), (&declaration("web"), &declaration("web").strategy));
    assert_eq!((&d.live, d.not_before, d.let_go.len()), (&None, None, 0));
    assert_eq!(read(store, d.id).await, *d, "it is read as it was written");
    assert_eq!(store.environment(&of("web")).await.unwrap().unwrap().running, Some(d.id));
    let events = store.events(d.id, 0, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.event.kind.as_str()).collect::<Vec<_>>(), ["deployment.created"]);
    assert_eq!(events[0].event, event::created(d));
}

async fn a_second_deployment_meets_the_running_one_and_takes_no_number(store: &impl Store, _: &impl LaneStore) {
    let first = release(store, "web").await;
    let met = store.insert(new("web"), HALF_QUIET).await.unwrap();
    assert!(matches!(&met, Inserted::InProgress(running) if running.id == first), "{met:?}");
    assert_eq!(store.list(&house_filter()).await.unwrap().len(), 1);
    bring(store, first, Phase::Cancelled).await;
    assert_eq!(create(store, "web").await.deployment.number, 2);
}

async fn two_that_are_created_at_once_are_one(store: &impl Store, _: &impl LaneStore) {
    declare(store, "web").await;
    let insert = || store.insert(new("web"), HALF_QUIET);
    let (a, b, c) = tokio::join!(insert(), insert(), insert());
    let created = [&a, &b, &c].into_iter().filter(|made| matches!(made, Ok(Inserted::Created(_)))).count();
    let met = [&a, &b, &c].into_iter().filter(|made| matches!(made, Ok(Inserted::InProgress(_)))).count();
    assert_eq!((created, met), (1, 2), "{a:?} {b:?} {c:?}");
}

async fn a_route_carries_one_deployment_whichever_service_declares_it(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let mut shared = declaration("api");
    shared.routes.push(RouteRef::new("web-public"));
    store.declare(&of("api"), &shared, "ada", None).await.unwrap();
    let met = store.insert(new("api"), HALF_QUIET).await.unwrap();
    assert!(matches!(&met, Inserted::InProgress(running) if running.id == web), "{met:?}");
    bring(store, web, Phase::Cancelled).await;
    create(store, "api").await;
}

async fn a_slot_or_rule_number_in_use_is_held_and_nothing_of_the_settle_is_stored(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, Phase::Provisioning).await;
    let mut shared = declaration("api");
    let pair = |one: &str, other: &str| SlotRef::of([one, other].map(TargetGroupRef::new).to_vec()).unwrap();
    // One target group in common is enough.
    shared.slots = vec![pair("api-a", "api-a2"), pair("api-b2", "web-b")];
    store.declare(&of("api"), &shared, "ada", None).await.unwrap();
    let api = create(store, "api").await.deployment.id;
    let before = store.get(api).await.unwrap().unwrap();

    let same_slot = plan(&before.deployment, 200);
    let mut same_number = plan(&before.deployment, 101);
    same_number.green.slot = SlotRef::new("api-b");
    for held in [same_slot, same_number] {
        let claim = claim(store, &replica(1), api).await;
        let mut next = claim.deployment.entering(Phase::Provisioning, now());
        next.plan = Some(held);
        assert_eq!(settle(store, &replica(1), &claim, &next).await, Settled::Held);
        store.release_all(&replica(1)).await.unwrap();
    }
    let after = store.get(api).await.unwrap().unwrap();
    assert_eq!((after.version, after.deployment), (before.version, before.deployment));
    assert_eq!(store.events(api, 0, 10).await.unwrap().len(), 1);
}

async fn reserved_numbers_are_those_of_the_others_that_run(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, Phase::Provisioning).await;
    let api = release(store, "api").await;
    let listener = ListenerRef::new("listener");
    let mut reserved = store.reserved(&listener, api).await.unwrap();
    reserved.sort_unstable();
    assert_eq!(reserved, [100, 101, 102, 103]);
    assert!(store.reserved(&listener, web).await.unwrap().is_empty(), "its own are none of its obstacles");
    assert!(store.reserved(&ListenerRef::new("another"), api).await.unwrap().is_empty());
    bring(store, web, Phase::Cancelled).await;
    assert!(store.reserved(&listener, api).await.unwrap().is_empty(), "the end gives them back");
}

async fn success_makes_green_the_live_group(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, Phase::Retiring).await;
    assert!(store.environment(&of("web")).await.unwrap().unwrap().live.is_none());
    let d = bring(store, web, Phase::Succeeded).await;
    let green = d.plan.unwrap().green;
    let live = Some(Live { group: green.group, slot: green.slot, image: green.image, number: 1 });
    let environment = store.environment(&of("web")).await.unwrap().unwrap();
    assert_eq!((&environment.live, environment.running, environment.last), (&live, None, Some(web)));
    assert_eq!(environment.next_number, 2);
    let next = create(store, "web").await.deployment;
    assert_eq!(next.live, live);
    bring(store, next.id, Phase::RolledBack).await;
    assert_eq!(store.environment(&of("web")).await.unwrap().unwrap().live, live, "one that went back changes nothing");
}

async fn the_next_one_waits_half_a_quiet_period_from_retiring(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let retiring = bring(store, web, Phase::Retiring).await.phase_since;
    let ended = bring(store, web, Phase::Succeeded).await.ended_at.unwrap();
    assert!(ended > retiring);
    assert_eq!(create(store, "web").await.deployment.not_before, Some(time::after(retiring, HALF_QUIET)));
}

async fn the_next_one_waits_half_a_quiet_period_from_the_end_of_one_that_went_back(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, Phase::RollingBack { shield: false, ends: BackAs::RolledBack }).await;
    let ended = bring(store, web, Phase::RolledBack).await.ended_at.unwrap();
    assert_eq!(create(store, "web").await.deployment.not_before, Some(time::after(ended, HALF_QUIET)));
}

async fn the_wait_goes_with_the_route_and_not_with_the_service(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let ended = bring(store, web, Phase::RolledBack).await.ended_at.unwrap();
    declare(store, "api").await;
    assert_eq!(create(store, "api").await.deployment.not_before, None, "other routes");
    let mut moved = declaration("shop");
    moved.routes = vec![RouteRef::new("shop-public"), RouteRef::new("web-internal")];
    store.declare(&of("shop"), &moved, "ada", None).await.unwrap();
    assert_eq!(create(store, "shop").await.deployment.not_before, Some(time::after(ended, HALF_QUIET)));
}

async fn abandoned_deployments_are_let_go_by_the_next_one(store: &impl Store, _: &impl LaneStore) {
    let abandoned = release(store, "web").await;
    bring(store, abandoned, Phase::Failed).await;
    let next = create(store, "web").await.deployment;
    assert_eq!(next.let_go, [abandoned]);
    bring(store, next.id, Phase::RolledBack).await;
    assert_eq!(
        create(store, "web").await.deployment.let_go,
        [abandoned],
        "and by every one after it; a rolled-back one is not"
    );
}

fn house_filter() -> cutover::engine::ports::Filter {
    cutover::engine::ports::Filter { limit: 100, ..Default::default() }
}
