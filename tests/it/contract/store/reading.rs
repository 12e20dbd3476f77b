//! Reading: lists in order, histories in order, and being woken by a change.

use cutover::{
    domain::{
        deployment::{Status, Trigger},
        ids::{Image, RuleRef},
        phase::Phase,
        readiness::Took,
    },
    engine::ports::{Current, Filter, LaneStore, Store},
};

use super::*;

on_both_stores! {
    deployments_are_listed_newest_first_and_paged,
    a_list_shows_what_is_asked_for,
    the_running_ones_and_the_outcomes_are_apart,
    the_newest_is_the_one_that_runs_or_else_the_last_that_ended,
    of_an_image_the_first_release_is_found_with_the_one_before_it,
    rollbacks_say_how_long_they_took_if_there_was_something_to_take_back,
    environments_are_listed_by_name_and_paged,
    events_are_read_in_order_and_go_on_from_where_a_reader_stopped,
    whoever_waits_is_woken_by_every_kind_of_change,
    a_change_between_looking_and_waiting_is_not_missed,
    the_store_answers_a_ping,
}

fn numbers(list: &[Versioned]) -> Vec<u32> {
    list.iter().map(|read| read.deployment.number).collect()
}

async fn five_of_web(store: &impl Store) -> Vec<DeploymentId> {
    declare(store, "web").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(create(store, "web").await.deployment.id);
        if made.len() < 5 {
            bring(store, made[made.len() - 1], Phase::Cancelled).await;
        }
    }
    made
}

async fn deployments_are_listed_newest_first_and_paged(store: &impl Store, _: &impl LaneStore) {
    let made = five_of_web(store).await;
    let page = |before| Filter { limit: 2, before, ..Filter::default() };
    assert_eq!(numbers(&store.list(&page(None)).await.unwrap()), [5, 4]);
    assert_eq!(numbers(&store.list(&page(Some(made[3]))).await.unwrap()), [3, 2]);
    assert_eq!(numbers(&store.list(&page(Some(made[1]))).await.unwrap()), [1]);
    assert!(store.list(&page(Some(made[0]))).await.unwrap().is_empty());
}

async fn a_list_shows_what_is_asked_for(store: &impl Store, _: &impl LaneStore) {
    let made = five_of_web(store).await;
    release(store, "api").await;
    give(store, made[4], Command::Pause).await;
    let all = || Filter { limit: 100, ..Filter::default() };
    let count = async |filter: Filter| store.list(&filter).await.unwrap().len();
    assert_eq!(count(all()).await, 6);
    assert_eq!(count(Filter { service: Some(ServiceName::new("web")), ..all() }).await, 5);
    assert_eq!(count(Filter { environment: Some(EnvironmentName::new("prod")), ..all() }).await, 6);
    assert_eq!(count(Filter { environment: Some(EnvironmentName::new("test")), ..all() }).await, 0);
    assert_eq!(count(Filter { status: Some(Status::Cancelled), ..all() }).await, 4);
    assert_eq!(count(Filter { status: Some(Status::Pending), ..all() }).await, 1);
    let paused = store.list(&Filter { status: Some(Status::Paused), ..all() }).await.unwrap();
    assert_eq!(paused.iter().map(|read| read.deployment.id).collect::<Vec<_>>(), [made[4]]);
}

async fn the_running_ones_and_the_outcomes_are_apart(store: &impl Store, _: &impl LaneStore) {
    let made = five_of_web(store).await;
    let running = store.running(10).await.unwrap();
    assert_eq!(running.iter().map(|read| read.deployment.id).collect::<Vec<_>>(), [made[4]]);
    assert_eq!(store.running_versions(10).await.unwrap(), [Current { id: made[4], version: 1, seen_at: None }]);
    let nobody = DeploymentId::new(Uuid::now_v7());
    let mut some: Vec<_> =
        store.some(&[made[0], nobody, made[4]]).await.unwrap().iter().map(|read| read.deployment.id).collect();
    some.sort_by_key(|id| id.uuid());
    assert_eq!(some, [made[0], made[4]], "ended ones too, and nobody is no error");
    assert_eq!(store.outcomes().await.unwrap(), [(of("web"), Status::Cancelled, 4)]);
}

async fn the_newest_is_the_one_that_runs_or_else_the_last_that_ended(store: &impl Store, lane: &impl LaneStore) {
    let made = five_of_web(store).await;
    release(store, "api").await;
    let newest = async || {
        let by_lane = lane.newest(&of("web")).await.unwrap().unwrap().deployment;
        assert_eq!(Store::newest(store, &of("web")).await.unwrap().unwrap().deployment, by_lane);
        by_lane
    };
    assert_eq!(newest().await.id, made[4]);
    bring(store, made[4], Phase::RolledBack).await;
    assert_eq!((newest().await.id, newest().await.phase), (made[4], Phase::RolledBack));
}

async fn of_an_image_the_first_release_is_found_with_the_one_before_it(store: &impl Store, _: &impl LaneStore) {
    let ended = async |service, image: &str, phase| {
        let image = Image::parse(image).unwrap();
        let Inserted::Created(made) = store.insert(NewDeployment { image, ..new(service) }, HALF_QUIET).await.unwrap() else {
            panic!("not created");
        };
        bring(store, made.deployment.id, phase).await;
    };
    let found = async |image: &str| {
        let releases = store.first_release(&of("web"), &Image::parse(image).unwrap()).await.unwrap();
        numbers(&releases)
    };
    declare(store, "web").await;
    declare(store, "api").await;
    assert!(found("ami-0bb2").await.is_empty());
    for (image, phase) in [
        ("ami-0aa1", Phase::Succeeded),
        ("ami-0bb2", Phase::RolledBack),
        ("ami-0cc3", Phase::Succeeded),
        ("ami-0bb2", Phase::Succeeded),
        ("ami-0cc3", Phase::Succeeded),
    ] {
        ended("web", image, phase).await;
    }
    ended("api", "ami-0bb2", Phase::Succeeded).await;
    assert_eq!(found("ami-0aa1").await, [1], "nothing was released before it");
    assert_eq!(found("ami-0bb2").await, [4, 3], "it was tried before, but not released");
    assert_eq!(found("ami-0cc3").await, [3, 1], "its first release counts");
    assert!(found("lt:7").await.is_empty());
}

/// Takes the running deployment of `web` back: asked for now, accepted by the engine and seen so many milliseconds later.
async fn took(store: &impl Store, trigger: Trigger, overlays: usize, accepted: i64, observed: i64) -> DeploymentId {
    let id = create(store, "web").await.deployment.id;
    let mover = replica(9);
    let claim = claim(store, &mover, id).await;
    let asked = now();
    let after = |ms| asked + Duration::from_millis(u64::try_from(ms).unwrap());
    let mut next = claim.deployment.turning_back(trigger, None, asked).entering(Phase::RolledBack, now());
    next.plan = Some(plan(&claim.deployment, 100));
    next.overlays = (0..overlays).map(|i| RuleRef::new(format!("overlay-{i}"))).collect();
    let back = next.going_back.as_mut().unwrap();
    (back.accepted_at, back.observed_at) = (Some(after(accepted)), (observed > 0).then(|| after(observed)));
    assert_eq!(settle(store, &mover, &claim, &next).await, Settled::Stored);
    id
}

async fn rollbacks_say_how_long_they_took_if_there_was_something_to_take_back(store: &impl Store, lane: &impl LaneStore) {
    declare(store, "web").await;
    assert_eq!(store.rollbacks(10).await.unwrap(), []);
    let ms = Duration::from_millis;
    let first = Took { accepted: ms(40), observed: Some(ms(900)) };
    let second = Took { accepted: ms(70), observed: None };
    took(store, Trigger::Manual, 2, 40, 900).await;
    took(store, Trigger::Gate, 2, 70, 0).await;
    // Nobody had been sent anywhere, and somebody else's doing.
    took(store, Trigger::Manual, 0, 5, 5).await;
    took(store, Trigger::Outside, 2, 5, 5).await;
    let cancelled = create(store, "web").await.deployment.id;
    bring(store, cancelled, Phase::Cancelled).await;
    assert_eq!(store.rollbacks(10).await.unwrap(), [second, first], "newest first");
    assert_eq!(store.rollbacks(1).await.unwrap(), [second]);
    // What the lane was told came before what the engine saw.
    let id = create(store, "web").await.deployment.id;
    lane.raise_rollback(id, &by("ada")).await.unwrap();
    let asked = read(store, id).await.intent.rollback.unwrap().at;
    lane.accepted(id, asked + ms(10)).await.unwrap();
    let mover = replica(9);
    let claim = claim(store, &mover, id).await;
    let mut next = claim.deployment.turning_back(Trigger::Manual, None, now()).entering(Phase::RolledBack, now());
    (next.plan, next.overlays) = (Some(plan(&claim.deployment, 100)), vec![RuleRef::new("overlay")]);
    next.going_back.as_mut().unwrap().accepted_at = Some(asked + ms(500));
    settle(store, &mover, &claim, &next).await;
    assert_eq!(store.rollbacks(1).await.unwrap(), [Took { accepted: ms(10), observed: None }]);
}

async fn environments_are_listed_by_name_and_paged(store: &impl Store, _: &impl LaneStore) {
    for service in ["shop", "api", "web"] {
        declare(store, service).await;
    }
    let names = async |after: Option<Target>, limit| -> Vec<String> {
        let page = store.environments(after.as_ref(), limit).await.unwrap();
        page.iter().map(|environment| environment.target.service.to_string()).collect()
    };
    assert_eq!(names(None, 2).await, ["api", "shop"]);
    assert_eq!(names(Some(of("shop")), 2).await, ["web"]);
    assert!(names(Some(of("web")), 2).await.is_empty());
}

async fn events_are_read_in_order_and_go_on_from_where_a_reader_stopped(store: &impl Store, _: &impl LaneStore) {
    let (web, api) = (release(store, "web").await, release(store, "api").await);
    give(store, web, Command::Pause).await;
    give(store, api, Command::Pause).await;
    bring(store, web, Phase::Cancelled).await;
    let all = store.events(web, 0, 10).await.unwrap();
    let kinds: Vec<_> = all.iter().map(|event| event.event.kind.as_str()).collect();
    assert_eq!(kinds, ["deployment.created", "command.pause", "phase.entered"]);
    assert!(all.is_sorted_by(|a, b| a.id < b.id && a.at <= b.at));
    let rest = store.events(web, all[0].id, 1).await.unwrap();
    assert_eq!(rest.iter().map(|event| event.id).collect::<Vec<_>>(), [all[1].id]);
    assert!(store.events(web, all[2].id, 10).await.unwrap().is_empty());
}

async fn whoever_waits_is_woken_by_every_kind_of_change(store: &impl Store, lane: &impl LaneStore) {
    declare(store, "web").await;
    // Until the listener is there, waits end by polling only; from the first prompt wake on it is.
    eventually(store, "the listener", async || {
        let woken = store.changed(PATIENCE / 2);
        let woken = tokio::time::timeout(Duration::from_millis(500), woken);
        let id = create(store, "web").await.deployment.id;
        let there = woken.await.is_ok();
        bring(store, id, Phase::Cancelled).await;
        there.then_some(())
    })
    .await;
    let prompt = |woken| tokio::time::timeout(PATIENCE / 2, woken);

    let woken = store.changed(PATIENCE);
    let web = create(store, "web").await.deployment.id;
    prompt(woken).await.expect("woken by a new deployment");
    let woken = store.changed(PATIENCE);
    give(store, web, Command::Pause).await;
    prompt(woken).await.expect("woken by a command");
    let claim = claim(store, &replica(1), web).await;
    let woken = store.changed(PATIENCE);
    let next = claim.deployment.entering(Phase::Verifying, now());
    settle_with(store, &replica(1), &claim, &next, &[], LEASE).await;
    prompt(woken).await.expect("woken by a settle");
    let woken = store.changed(PATIENCE);
    lane.raise_rollback(web, &by("ada")).await.unwrap();
    prompt(woken).await.expect("woken by a rollback");
    let woken = store.changed(PATIENCE);
    lane.accepted(web, now()).await.unwrap();
    prompt(woken).await.expect("woken by its acceptance");
    super::claim(store, &replica(1), web).await;
    let woken = store.changed(PATIENCE);
    store.release_all(&replica(1)).await.unwrap();
    prompt(woken).await.expect("woken by a lease that was given back");
}

async fn a_change_between_looking_and_waiting_is_not_missed(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    eventually(store, "a wake that came before the wait", async || {
        let woken = store.changed(PATIENCE);
        let command = if read(store, web).await.intent.is_paused() { Command::Resume } else { Command::Pause };
        give(store, web, command).await;
        // The news arrives now, while nobody is polling `woken`.
        store.changed(Duration::from_millis(200)).await;
        tokio::time::timeout(Duration::from_millis(1), woken).await.ok()
    })
    .await;
}

async fn the_store_answers_a_ping(store: &impl Store, _: &impl LaneStore) {
    store.ping().await.unwrap();
}
