//! The sweeper over records and a cloud in memory: what it lists, what it removes, and above all what it leaves alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        command::Command,
        declaration::{AssumedRole, Declaration, Provider},
        deployment::{Deployment, Status},
        ids::{DeploymentId, GroupName, HolderId, RouteRef, ServiceName, SlotRef, Target},
        orphan::Terms,
        phase::Phase,
        survey::Role,
    },
    engine::{
        api::RollbackOf,
        ports::{FaultKind, Store},
        settings::{EngineSettings, SweeperSettings},
        sweeper::{
            Sweeper,
            ports::{Listed, OrphanFilter, SweepStore},
        },
    },
};
use futures::FutureExt;
use uuid::Uuid;

use crate::support::{
    fake_cloud::FakeCloud,
    house::{House, at_once, by, declaration, target},
    memory::MemoryStore,
};

/// How long a story waits for one thing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Turns after which nothing more will come.
const MANY: usize = 10;

const AT_ONCE: Terms = Terms { remove: true, report_after: Duration::ZERO, remove_after: Duration::ZERO };
/// Longer than any story.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// Short, and long enough to be told from nothing.
const TERM: Duration = Duration::from_millis(100);

struct Broom {
    house: House,
    sweeper: Sweeper<MemoryStore, FakeCloud>,
}

impl Broom {
    async fn new(terms: Terms) -> Self {
        Self::of(declaration(&[500, 1000]), terms).await
    }

    async fn of(declaration: Declaration, terms: Terms) -> Self {
        let sweeper = SweeperSettings { enabled: true, every: Duration::ZERO, terms };
        let settings = EngineSettings { sweeper, ..at_once() };
        let house = House::new(declaration, settings).await;
        let (store, cloud) = (house.store.clone(), house.cloud.clone());
        let sweeper = Sweeper { store, cloud, holder: HolderId::new("replica-1"), settings };
        Self { house, sweeper }
    }

    async fn sweep(&self) {
        self.sweeper.turn().await.unwrap();
    }

    async fn listed(&self) -> Vec<Listed> {
        let seen_for = self.sweeper.settings.sweeper.terms.report_after;
        let filter = OrphanFilter { seen_for, limit: 100, ..OrphanFilter::default() };
        self.house.store.orphans(&filter).await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        self.listed().await.into_iter().map(|seen| seen.name).collect()
    }

    /// Sweeps until it is so.
    async fn until(&self, what: &str, there: impl AsyncFn() -> bool) {
        let began = Instant::now();
        while !there().await {
            assert!(began.elapsed() < PATIENCE, "{what} never came: {:#?}\n{:#?}", self.listed().await, self.swept());
            self.sweep().await;
            self.house.store.changed(Duration::from_millis(2)).await;
        }
    }

    /// What the sweeper changed.
    fn swept(&self) -> Vec<String> {
        let world = self.house.cloud.world();
        world.changes.iter().filter(|change| change.starts_with("sweep ")).cloned().collect()
    }

    /// A deployment that went back before anybody saw its green, all of it gone.
    async fn gone_back(&self) -> Deployment {
        let id = self.house.deploy("ami-0bb2").await;
        self.house.until(id, "a stage", |d| matches!(d.phase, Phase::Shifting { .. })).await;
        self.house.lane.clone().rollback(RollbackOf::Deployment(id), by("ada")).await.unwrap();
        let ended = self.house.until(id, "the end", |d| d.phase.is_terminal()).await;
        assert_eq!(ended.status(), Status::RolledBack);
        ended
    }

    async fn succeeded(&self, image: &str) -> Deployment {
        let id = self.house.deploy(image).await;
        let ended = self.house.until(id, "the end", |d| d.phase.is_terminal()).await;
        assert_eq!(ended.status(), Status::Succeeded);
        ended
    }

    async fn told(&self, id: DeploymentId) -> Vec<String> {
        let events = self.house.store.events(id, 0, 1000).await.unwrap().into_iter().map(|event| event.event);
        events.filter(|event| event.kind == "orphan.removed").map(|event| event.message).collect()
    }
}

fn public() -> RouteRef {
    RouteRef::new("public")
}

fn slot(name: &str) -> SlotRef {
    SlotRef::new(name)
}

fn green(d: &Deployment) -> GroupName {
    d.plan.as_ref().unwrap().green.group.clone()
}

#[tokio::test]
async fn what_a_cut_end_left_is_listed_after_one_term_and_removed_after_the_next() {
    let mut broom = Broom::new(Terms { report_after: TERM, remove_after: NEVER, ..AT_ONCE }).await;
    let d = broom.gone_back().await;
    let rule = {
        let mut world = broom.house.cloud.world();
        world.leave_group(&green(&d), &slot("b"), Some(d.id));
        world.leave_rule(&public(), Role::Overlay, d.id, &slot("a"))
    };
    let began = Instant::now();
    broom.sweep().await;
    broom.until("the list", async || broom.names().await.len() == 2).await;
    assert!(began.elapsed() >= TERM, "what is seen once may be an end that is under way");
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!(broom.swept(), [""; 0], "listed, and still there");
    let group = broom.listed().await.into_iter().find(|seen| seen.name == "web-prod-v001").unwrap();
    assert_eq!((group.deployment, group.target.clone(), &group.kept_because), (Some(d.id), Some(target()), &None));
    assert_eq!(group.why, "web/prod #1 ended rolled_back, and its server group is still there");

    broom.sweeper.settings.sweeper.terms.remove_after = TERM;
    broom.until("the end", async || broom.names().await.is_empty()).await;
    let mut order = broom.swept();
    order.retain(|change| !change.contains("rule"));
    assert_eq!(order, ["sweep detach web-prod-v001", "sweep delete_group web-prod-v001"], "one step a turn");
    let left = {
        let world = broom.house.cloud.world();
        (world.group_names(), world.rules_left())
    };
    assert_eq!(left, (vec!["web-old".to_owned()], 0));
    let mut told = broom.told(d.id).await;
    told.sort();
    let rule = format!("the sweeper removed rule {rule}, which had been left behind");
    assert_eq!(told, [rule, "the sweeper removed server group web-prod-v001, which had been left behind".to_owned()]);
}

#[tokio::test]
async fn what_serves_runs_or_is_nobodys_is_not_touched_nor_listed() {
    let broom = Broom::new(AT_ONCE).await;
    broom.succeeded("ami-0bb2").await;
    let second = broom.house.deploy("ami-0cc3").await;
    let half = |d: &Deployment| matches!(d.phase, Phase::Shifting { seen_at: Some(_), .. });
    broom.house.until(second, "half way", half).await;
    broom.house.cloud.world().leave_group(&GroupName::new("somebodys"), &slot("elsewhere"), None);
    let before = broom.house.cloud.world().group_names();
    assert_eq!(before, ["somebodys", "web-prod-v001", "web-prod-v002"]);
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!((broom.names().await, broom.swept()), (vec![], vec![]));
    broom.house.until(second, "the end", |d| d.phase.is_terminal()).await;
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!((broom.names().await, broom.swept()), (vec![], vec![]));
    assert_eq!(broom.house.cloud.world().group_names(), ["somebodys", "web-prod-v002"], "the engine's own end");
}

#[tokio::test]
async fn the_blue_of_a_success_that_is_still_there_goes_and_one_that_was_made_anew_stays() {
    let broom = Broom::new(AT_ONCE).await;
    let first = broom.succeeded("ami-0bb2").await;
    broom.succeeded("ami-0cc3").await;
    {
        let mut world = broom.house.cloud.world();
        world.leave_group(&green(&first), &slot("b"), Some(first.id));
        world.leave_group(&GroupName::new("web-old"), &slot("b"), None);
    }
    broom.until("the end", async || broom.names().await == ["web-old"] && broom.swept().len() == 2).await;
    let kept = broom.listed().await.remove(0);
    assert!(kept.kept_because.unwrap().contains("no tags of this installation"));
    assert_eq!(kept.deployment, Some(first.id));
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!(broom.house.cloud.world().group_names(), ["web-old", "web-prod-v002"]);
}

#[tokio::test]
async fn what_was_let_go_or_has_no_record_is_listed_and_left() {
    let broom = Broom::new(AT_ONCE).await;
    let id = broom.house.deploy("ami-0bb2").await;
    broom.house.until(id, "verifying", |d| matches!(d.phase, Phase::Shifting { .. })).await;
    broom.house.give(id, Command::Abandon).await;
    broom.house.until(id, "the end", |d| d.phase.is_terminal()).await;
    let nobody = DeploymentId::new(Uuid::now_v7());
    broom.house.cloud.world().leave_group(&GroupName::new("web-prod-v009"), &slot("b"), Some(nobody));
    for _ in 0..MANY {
        broom.sweep().await;
    }
    let listed = broom.listed().await;
    // Its group, its overlay on either route, and the stranger.
    assert_eq!((listed.len(), broom.swept()), (4, vec![]));
    assert!(listed.iter().all(|seen| seen.kept_because.is_some() && seen.clear_since.is_none()), "{listed:#?}");
    let why = |name: &str| listed.iter().find(|seen| seen.name == name).unwrap().why.clone();
    assert_eq!(why("web-prod-v001"), "web/prod #1 was abandoned, and Cutover let go of all it had");
    assert_eq!(why("web-prod-v009"), "no record tells of the deployment that its tags name");
}

#[tokio::test]
async fn a_group_that_a_rule_names_is_kept_and_its_term_begins_anew_after() {
    let mut broom = Broom::new(Terms { remove_after: NEVER, ..AT_ONCE }).await;
    let d = broom.gone_back().await;
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    broom.sweep().await;
    let first = broom.listed().await.remove(0);
    assert!(first.clear_since.is_some());
    // Somebody sends users there by hand.
    broom.house.cloud.world().point_base(&public(), &slot("b"));
    broom.sweeper.settings.sweeper.terms.remove_after = TERM;
    broom.until("the term", async || first.clear_since.unwrap() + 2 * TERM < jiff::Timestamp::now()).await;
    let kept = broom.listed().await.remove(0);
    assert_eq!((broom.swept(), kept.clear_since, kept.id), (vec![], None, first.id));
    assert!(kept.kept_because.unwrap().contains("name its slot"));
    broom.house.cloud.world().point_base(&public(), &slot("a"));
    let began = Instant::now();
    broom.until("the first step", async || !broom.swept().is_empty()).await;
    assert!(began.elapsed() >= TERM, "a whole term after nothing named it any more");
}

#[tokio::test]
async fn a_term_counts_while_somebody_looks_and_begins_anew_after_nobody_did() {
    let broom = Broom::new(Terms { remove_after: NEVER, ..AT_ONCE }).await;
    let d = broom.gone_back().await;
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    broom.sweep().await;
    // The service is down for longer than the term.
    broom.house.store.nobody_sweeps_for(NEVER * 2);
    let again = jiff::Timestamp::now();
    for _ in 0..MANY {
        broom.sweep().await;
    }
    let kept = broom.listed().await.remove(0);
    assert_eq!(broom.swept(), [""; 0], "seen twice, and nobody knows what was between");
    assert!(kept.clear_since >= Some(again) && kept.first_seen < again, "{kept:#?}");
    // Looked at every ten minutes for as long, it goes.
    let ten_minutes = Duration::from_secs(600);
    for _ in 0..NEVER.as_secs() / 600 {
        assert_eq!(broom.swept(), [""; 0]);
        broom.house.store.nobody_sweeps_for(ten_minutes);
        broom.sweep().await;
    }
    assert_eq!(broom.swept(), ["sweep detach web-prod-v001"]);
}

#[tokio::test]
async fn a_rule_over_a_base_that_does_not_serve_is_kept() {
    let broom = Broom::new(AT_ONCE).await;
    let d = broom.succeeded("ami-0bb2").await;
    {
        let mut world = broom.house.cloud.world();
        world.leave_rule(&public(), Role::Shield, d.id, &slot("b"));
        world.point_base(&public(), &slot("a"));
    }
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!((broom.names().await.len(), broom.swept()), (1, vec![]), "without it users would meet an empty slot");
    broom.house.cloud.world().point_base(&public(), &slot("b"));
    broom.until("the end", async || broom.names().await.is_empty()).await;
    assert_eq!(broom.house.cloud.world().rule_names(), []);
}

#[tokio::test]
async fn nothing_is_concluded_from_a_look_that_failed() {
    let broom = Broom::new(AT_ONCE).await;
    let d = broom.gone_back().await;
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    broom.house.cloud.world().refuse = Some(FaultKind::Throttled);
    broom.until("the list", async || broom.names().await.len() == 1).await;
    broom.house.cloud.world().blind = true;
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!((broom.names().await.len(), broom.told(d.id).await), (1, vec![]), "it is not gone because nobody could look");
    (broom.house.cloud.world().blind, broom.house.cloud.world().refuse) = (false, None);
    broom.until("the end", async || broom.names().await.is_empty()).await;
    assert_eq!(broom.told(d.id).await.len(), 1);
}

#[tokio::test]
async fn a_sweeper_that_may_not_remove_only_lists() {
    let broom = Broom::new(Terms { remove: false, ..AT_ONCE }).await;
    let d = broom.gone_back().await;
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!((broom.names().await, broom.swept()), (vec!["web-prod-v001".to_owned()], vec![]));
}

#[tokio::test]
async fn of_two_replicas_one_sweeps() {
    let broom = Broom::new(AT_ONCE).await;
    let d = broom.gone_back().await;
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    let slow = SweeperSettings { every: Duration::from_secs(600), ..broom.sweeper.settings.sweeper };
    let replica = |name: &str| Sweeper {
        store: broom.house.store.clone(),
        cloud: Arc::clone(&broom.house.cloud),
        holder: HolderId::new(name),
        settings: EngineSettings { sweeper: slow, ..broom.sweeper.settings },
    };
    let (one, two) = (replica("replica-1"), replica("replica-2"));
    broom.sweep().await;
    let before = broom.swept().len();
    let (a, b) = tokio::join!(one.turn(), two.turn());
    assert!(a.unwrap().min(b.unwrap()) > Duration::from_secs(500), "the next turn is due in a while, for both");
    assert_eq!(broom.swept().len(), before + 1, "one turn, one step");
    two.turn().await.unwrap();
    assert_eq!(broom.swept().len(), before + 1);
}

#[tokio::test]
async fn a_group_that_somebody_adopts_between_the_look_and_the_step_stays() {
    let broom = Broom::new(AT_ONCE).await;
    let d = broom.gone_back().await;
    let group = green(&d);
    broom.house.cloud.world().leave_group(&group, &slot("c"), Some(d.id));
    broom.sweep().await;
    let detached = [format!("sweep detach {group}")];
    assert_eq!(broom.swept(), detached);
    let (store, mut adopting) = (broom.house.store.clone(), declaration(&[1000]));
    (adopting.blue, adopting.routes) = (Some(group.clone()), vec![RouteRef::new("theirs")]);
    let api = Target { service: ServiceName::new("api"), ..target() };
    let adopt = move || drop(store.declare(&api, &adopting, "bob", None).now_or_never().unwrap().unwrap());
    broom.house.cloud.world().meanwhile.0 = Some(Box::new(adopt));
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!(broom.names().await, [""; 0], "it serves another service from now on");
    assert_eq!(
        (broom.swept(), broom.told(d.id).await),
        (detached.to_vec(), vec![]),
        "nothing more is done to it, nor told of it"
    );
    assert!(broom.house.cloud.world().group_names().contains(&group.to_string()));
}

#[tokio::test]
async fn a_rule_whose_service_goes_live_elsewhere_between_the_look_and_the_step_waits_for_another_look() {
    let broom = Broom::new(AT_ONCE).await;
    let d = broom.gone_back().await;
    broom.house.cloud.world().leave_rule(&public(), Role::Overlay, d.id, &slot("a"));
    let (store, id) = (broom.house.store.clone(), d.id);
    // The record goes on as if a deployment had succeeded meanwhile: another slot serves.
    let went_live = move || {
        let mut next = store.get(id).now_or_never().unwrap().unwrap().unwrap().deployment;
        (next.id, next.number, next.phase) = (DeploymentId::new(Uuid::now_v7()), 2, Phase::Succeeded);
        store.put(next);
    };
    broom.house.cloud.world().meanwhile.0 = Some(Box::new(went_live));
    broom.sweep().await;
    assert_eq!(broom.swept(), [""; 0], "the base was looked at for the slot that served before");
    for _ in 0..MANY {
        broom.sweep().await;
    }
    assert_eq!(broom.swept(), [""; 0], "and it does not forward to the one that serves now");
}

#[tokio::test]
async fn one_turn_changes_a_few_things_and_looks_through_each_place_once() {
    let broom = Broom::new(AT_ONCE).await;
    let d = broom.gone_back().await;
    let (api, mut other) = (Target { service: ServiceName::new("api"), ..target() }, declaration(&[1000]));
    other.routes = vec![RouteRef::new("theirs")];
    broom.house.store.declare(&api, &other, "bob", None).await.unwrap();
    for _ in 0..25 {
        broom.house.cloud.world().leave_rule(&public(), Role::Overlay, d.id, &slot("a"));
    }
    broom.sweep().await;
    assert_eq!((broom.swept().len(), broom.listed().await.len()), (20, 25), "whatever goes wrong goes wrong slowly");
    broom.until("the end", async || broom.names().await.is_empty()).await;
    let looked = broom.house.cloud.world().sweeps.inventories.clone();
    assert!(looked.iter().all(|routes| *routes == 3), "one place, with the routes of both: {looked:?}");
}

/// A way into the account that is everybody's, with a role of it.
fn way(role: Option<&str>) -> Provider {
    let role = role.map(|name| AssumedRole { arn: format!("arn:aws:iam::111122223333:role/{name}"), external_id: None });
    Provider::Aws { region: "eu-west-1".to_owned(), role }
}

#[tokio::test]
async fn two_ways_into_one_account_are_one_place_and_a_thing_goes_by_its_own_services_way() {
    let web = Declaration { provider: way(Some("web")), ..declaration(&[500, 1000]) };
    let mut broom = Broom::of(web, Terms { remove: false, ..AT_ONCE }).await;
    let d = broom.gone_back().await;
    for (name, provider) in [("api", way(None)), ("shop", way(Some("shop")))] {
        let target = Target { service: ServiceName::new(name), ..target() };
        let other = Declaration { provider, routes: vec![RouteRef::new(name)], ..declaration(&[1000]) };
        broom.house.store.declare(&target, &other, "bob", None).await.unwrap();
    }
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    broom.sweep().await;
    broom.sweep().await;
    assert_eq!(broom.house.cloud.world().sweeps.inventories, [4, 4], "looked through once a turn, along the routes of all");
    let listed = broom.listed().await;
    assert_eq!((broom.names().await, &listed[0].kept_because), (vec!["web-prod-v001".to_owned()], &None), "and listed once");
    broom.sweeper.settings.sweeper.terms.remove = true;
    broom.until("the end", async || broom.names().await.is_empty()).await;
    let by = broom.house.cloud.world().sweeps.by.clone();
    assert!(!by.is_empty() && by.iter().all(|by| *by == way(Some("web"))), "{by:?}");
}

#[tokio::test]
async fn where_one_way_may_not_look_the_next_one_does_and_only_there() {
    let web = Declaration { provider: way(Some("web")), ..declaration(&[500, 1000]) };
    let broom = Broom::of(web, Terms { remove: false, ..AT_ONCE }).await;
    let d = broom.gone_back().await;
    let api = Declaration { provider: way(None), routes: vec![RouteRef::new("api")], ..declaration(&[1000]) };
    broom.house.store.declare(&Target { service: ServiceName::new("api"), ..target() }, &api, "bob", None).await.unwrap();
    broom.house.cloud.world().leave_group(&green(&d), &slot("b"), Some(d.id));
    let looks = || std::mem::take(&mut broom.house.cloud.world().sweeps.inventories).len();

    broom.house.cloud.world().sweeps.may_not_list = vec![way(None)];
    broom.sweep().await;
    assert_eq!((looks(), broom.names().await), (2, vec!["web-prod-v001".to_owned()]), "by the second way");
    broom.house.cloud.world().sweeps.may_not_list.push(way(Some("web")));
    broom.sweep().await;
    assert_eq!((looks(), broom.names().await.len()), (2, 1), "nobody may: nothing is concluded from that");
    broom.house.cloud.world().sweeps.may_not_list.clear();
    broom.house.cloud.world().blind = true;
    broom.sweep().await;
    assert_eq!(looks(), 1, "what is throttled is throttled for every way");
}
