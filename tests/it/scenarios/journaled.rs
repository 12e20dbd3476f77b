//! What waits in a replica's journal is brought about and read back by that replica while the database stays away; also what an
//! earlier run of its process has left there.

use std::{sync::Arc, time::Duration};

use cutover::{
    domain::{deployment::Deployment, ids::DeploymentId, weight::Weight},
    engine::{
        bundles::Bundles,
        journal::Journal,
        lane::{Lane, keep_brought_about},
        local::{Entry, Line},
        ports::FaultKind,
        settings::EngineSettings,
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::offline::{away, back, changes, committed, half_way, returns, settings, shares, until};
use crate::support::{
    fake_cloud::FakeCloud,
    house::{House, by},
    memory::{MemoryStore, Weather},
};

/// A replica's lane that goes on with what waits, until it is dropped.
struct GoingOn {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl GoingOn {
    fn with(lane: Arc<Lane<MemoryStore, FakeCloud>>) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(keep_brought_about(lane, stop.clone())), stop }
    }

    async fn ends(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A process that was started again: its memory and journal are what is on the disk.
fn started_again(house: &House, left: Entry) -> (Arc<Lane<MemoryStore, FakeCloud>>, Arc<Journal>) {
    let journal = Arc::new(Journal::new(house.disk.clone(), vec![left]));
    let bundles = Arc::new(Bundles::kept(house.bundles.to_keep()));
    let lane = Lane::new(house.store.clone(), house.cloud.clone(), bundles, journal.clone(), house.worker.settings);
    (Arc::new(lane), journal)
}

async fn left_by_an_earlier_run(house: &House, id: DeploymentId) -> Entry {
    let target = house.store.peek(id).target;
    Entry { deployment: id, target, given: by("ada"), accepted_at: None, observed_at: None }
}

/// As it is shown.
fn shown(journal: &Journal, house: &House, id: DeploymentId) -> Deployment {
    let mut d = Deployment::clone(&house.bundles.of(id).unwrap().deployment);
    journal.tell(&mut d);
    d
}

#[tokio::test]
async fn an_order_that_an_earlier_run_wrote_down_is_sent_and_seen_while_the_database_stays_away() {
    let (house, id) = away(settings(), half_way, Weather::Refuses).await;
    assert!(shares(&house).iter().all(|share| *share > Weight::NONE), "there is something to take back");
    let left = left_by_an_earlier_run(&house, id).await;
    let (lane, journal) = started_again(&house, left.clone());
    let going_on = GoingOn::with(lane);
    until("the look that shows it", || journal.of(id).unwrap().observed_at.is_some()).await;
    assert_eq!(shares(&house), [Weight::NONE; 2]);
    assert_eq!(changes(&house), ["raise_shields", "delete_rules"]);
    let entry = journal.of(id).unwrap();
    assert!(entry.accepted_at.is_some() && entry.accepted_at <= entry.observed_at, "{entry:?}");
    assert_eq!(entry.given, left.given, "who asked, when and why");
    let back = shown(&journal, &house, id).going_back.unwrap();
    assert_eq!((back.by.as_str(), back.accepted_at, back.observed_at), ("ada", entry.accepted_at, entry.observed_at));
    let lines = house.disk.lines.lock().unwrap().clone();
    assert!(matches!(lines.as_slice(), [Line::Accepted { .. }, Line::Observed { .. }]), "{lines:?}");
    going_on.ends().await;
}

#[tokio::test]
async fn with_a_load_balancer_that_is_away_too_what_was_written_down_waits_for_it() {
    let settings = EngineSettings { rollback_tries_for: Duration::from_millis(50), ..settings() };
    let (house, id) = away(settings, half_way, Weather::Refuses).await;
    house.cloud.world().refuse = Some(FaultKind::Transient);
    let left = left_by_an_earlier_run(&house, id).await;
    let (lane, journal) = started_again(&house, left);
    let attempts = house.cloud.world().attempts;
    let going_on = GoingOn::with(lane);
    until("some tries", || house.cloud.world().attempts > attempts + 4).await;
    assert!(journal.of(id).unwrap().accepted_at.is_none());
    house.cloud.world().refuse = None;
    until("the look that shows it", || journal.of(id).unwrap().observed_at.is_some()).await;
    assert_eq!(shares(&house), [Weight::NONE; 2]);
    going_on.ends().await;
}

#[tokio::test]
async fn what_was_accepted_is_observed_only_when_it_was_seen() {
    let (house, id) = away(settings(), half_way, Weather::Refuses).await;
    house.bundles.confirm(house.store.as_ref(), 10).await.unwrap_err();
    let going_on = GoingOn::with(house.lane.clone());
    house.cloud.world().blind = true;
    assert!(back(&house).await.unwrap().accepted);
    let looks = house.cloud.world().looks;
    until("some looks", || house.cloud.world().looks > looks + 2).await;
    assert_eq!(house.journal.of(id).unwrap().observed_at, None, "accepted is not seen");
    assert!(shown(&house.journal, &house, id).going_back.is_none());
    house.cloud.world().blind = false;
    until("the look that shows it", || house.journal.of(id).unwrap().observed_at.is_some()).await;
    going_on.ends().await;
    returns(&house).await;
    assert!(house.read(id).await.going_back.is_none(), "on record it is the engine that has seen it");
}

#[tokio::test]
async fn nothing_is_sent_by_an_old_memory_whose_bases_are_on_green() {
    let mut settings = settings();
    settings.timing.quiet_period = Duration::from_millis(400);
    let (house, id) = away(settings, committed, Weather::Refuses).await;
    until("an old memory", || house.bundles.of(id).unwrap().confirmed.age() > settings.timing.serves()).await;
    let left = left_by_an_earlier_run(&house, id).await;
    let (lane, journal) = started_again(&house, left);
    let looks = house.cloud.world().looks;
    let going_on = GoingOn::with(lane);
    until("some looks", || house.cloud.world().looks > looks + 1).await;
    assert_eq!((changes(&house), journal.of(id).unwrap().accepted_at), (Vec::new(), None), "blue may be on its way out");
    going_on.ends().await;
    assert!(shares(&house).iter().all(|share| *share > Weight::NONE));
}
