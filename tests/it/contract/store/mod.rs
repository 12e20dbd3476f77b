//! What every store promises: each story runs on the store in memory and on Postgres.

mod commands;
mod creating;
mod drills;
mod leases;
mod orphans;
mod reading;
mod replicas;

use std::time::{Duration, Instant};

use cutover::{
    domain::{
        command::{Command, PromoteTo},
        declaration::Declaration,
        deployment::{Deployment, Given},
        event::{self, Event},
        ids::{DeploymentId, EnvironmentName, GroupName, HolderId, Image, ListenerRef, RouteRef, ServiceName, SlotRef, Target},
        phase::Phase,
        plan::{BluePlan, GreenPlan, Plan, RoutePlan},
    },
    engine::{
        bundles::Bundles,
        ports::{Claim, Commanded, Inserted, NewDeployment, Settled, Settlement, Store, Versioned},
    },
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::support::house;

/// Runs each story on both stores: a plain function of a store and its lane.
macro_rules! on_both_stores {
    ($($story:ident,)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $story() {
                let store = crate::support::memory::MemoryStore::default();
                super::$story(&store, &store).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $story() {
                let database = crate::support::postgres::database().await;
                let store = database.store().await;
                super::$story(&store, &store.lane()).await;
                store.close().await;
            })*
        }
    };
}
use on_both_stores;

pub const LEASE: Duration = Duration::from_secs(10);
pub const HALF_QUIET: Duration = Duration::from_secs(300);
/// What a story waits for comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn replica(n: u8) -> HolderId {
    HolderId::new(format!("replica-{n}"))
}

pub fn of(service: &str) -> Target {
    Target { service: ServiceName::new(service), environment: EnvironmentName::new("prod") }
}

/// A service with routes and slots of its own.
pub fn declaration(service: &str) -> Declaration {
    let own = |name: &str| format!("{service}-{name}");
    Declaration {
        routes: vec![RouteRef::new(own("public")), RouteRef::new(own("internal"))],
        slots: vec![SlotRef::new(own("a")), SlotRef::new(own("b"))],
        ..house::declaration(&[500, 1000])
    }
}

/// A plan for `d` on a listener that all services share, with overlay and shield at `number` and above for its routes.
pub fn plan(d: &Deployment, number: u32) -> Plan {
    let routes = d.declaration.routes.iter().zip((number..).step_by(2)).map(|(route, number)| RoutePlan {
        route: route.clone(),
        listener: ListenerRef::new("listener"),
        position: 0,
        base_number: None,
        overlay_number: number + 1,
        shield_number: number,
        form: serde_json::Value::Null,
        strays: Vec::new(),
    });
    Plan {
        routes: routes.collect(),
        blue_slot: d.declaration.slots[0].clone(),
        blue: Some(BluePlan {
            group: GroupName::new(format!("{}-old", d.target.service)),
            image: None,
            template: None,
            size: 1,
            min: 1,
            protected: false,
            scaling: serde_json::Value::Null,
        }),
        green: GreenPlan {
            group: d.target.group(d.number),
            slot: d.declaration.slots[1].clone(),
            image: d.image.clone(),
            size: 1,
        },
        preview: None,
        strategy: d.strategy.clone(),
    }
}

pub fn by(name: &str) -> Given {
    // Whole microseconds: what a database keeps of a time.
    Given { by: name.to_owned(), reason: Some("INC-1".to_owned()), at: now() }
}

pub fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

pub fn new(service: &str) -> NewDeployment {
    NewDeployment {
        id: DeploymentId::new(Uuid::now_v7()),
        target: of(service),
        image: Image::parse("ami-0bb2").unwrap(),
        version: Some("8.3.0".to_owned()),
        takes_back: None,
        reason: Some("release".to_owned()),
        strategy: None,
        created_by: "ci".to_owned(),
        created_at: now(),
    }
}

pub async fn declare(store: &impl Store, service: &str) {
    store.declare(&of(service), &declaration(service), "ada", None).await.unwrap().unwrap();
}

/// A new deployment of a declared service.
pub async fn create(store: &impl Store, service: &str) -> Versioned {
    match store.insert(new(service), HALF_QUIET).await.unwrap() {
        Inserted::Created(created) => *created,
        other => panic!("not created: {other:?}"),
    }
}

/// Declares a service and starts its first deployment.
pub async fn release(store: &impl Store, service: &str) -> DeploymentId {
    declare(store, service).await;
    create(store, service).await.deployment.id
}

pub async fn read(store: &impl Store, id: DeploymentId) -> Deployment {
    store.get(id).await.unwrap().expect("it was created").deployment
}

/// The claim of one deployment, which must be due.
pub async fn claim(store: &impl Store, holder: &HolderId, id: DeploymentId) -> Claim {
    let claims = store.claim_due(holder, LEASE, 100, &Bundles::default()).await.unwrap();
    claims.into_iter().find(|claim| claim.deployment.id == id).expect("it is due and free")
}

/// Settles and leaves it due at once.
pub async fn settle(store: &impl Store, holder: &HolderId, claim: &Claim, next: &Deployment) -> Settled {
    let events = event::between(&claim.deployment, next);
    settle_with(store, holder, claim, next, &events, Duration::ZERO).await
}

pub async fn settle_with(
    store: &impl Store,
    holder: &HolderId,
    claim: &Claim,
    next: &Deployment,
    events: &[Event],
    due: Duration,
) -> Settled {
    store.settle(holder, Settlement::new(claim, next, events, due, false)).await.unwrap()
}

/// Takes it to `phase` as the engine would: claimed, planned if it was not, settled.
pub async fn bring(store: &impl Store, id: DeploymentId, phase: Phase) -> Deployment {
    let mover = replica(9);
    let claim = claim(store, &mover, id).await;
    let mut next = claim.deployment.entering(phase, now());
    next.plan = Some(next.plan.unwrap_or_else(|| plan(&claim.deployment, 100)));
    assert_eq!(settle(store, &mover, &claim, &next).await, Settled::Stored);
    read(store, id).await
}

pub async fn give(store: &impl Store, id: DeploymentId, command: Command) -> Commanded {
    store.command(id, command, by("ada"), None).await.unwrap()
}

/// A command that is legal in `baking` and changes something each time.
pub const SOME_COMMAND: Command = Command::Promote(PromoteTo::Full);

/// Waits, by the store's own news, until `there` finds what it looks for.
pub async fn eventually<T>(store: &impl Store, what: &str, there: impl AsyncFn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = there().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} never came");
        store.changed(Duration::from_millis(20)).await;
    }
}
