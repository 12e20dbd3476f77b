//! One replica on a store and a cloud in memory, ticked by hand: no driver, no waiting.

use std::{sync::Arc, time::Duration};

use cutover::{
    domain::{
        command::Command,
        declaration::{Capacity, Deadlines, Declaration, LaunchTemplate, Provider, ServerGroupSpec, Stage, Strategy},
        deployment::{Deployment, Given},
        ids::{DeploymentId, EnvironmentName, GroupName, HolderId, Image, RouteRef, ServiceName, SlotRef, Target},
        time::BakeTime,
        timing::Timing,
        weight::Weight,
    },
    engine::{
        bundles::Bundles,
        journal::Journal,
        lane::Lane,
        ports::{Commanded, Inserted, NewDeployment, Settled, Store},
        rollback_times::RollbackTimes,
        settings::EngineSettings,
        tick::Worker,
    },
};
use jiff::Timestamp;
use uuid::Uuid;

use super::{disk::Disk, fake_cloud::FakeCloud, memory::MemoryStore};

/// No tick of a story may be the thousandth.
const TICKS_MAX: usize = 1000;

pub struct House {
    pub store: Arc<MemoryStore>,
    pub cloud: Arc<FakeCloud>,
    pub worker: Worker<MemoryStore, FakeCloud>,
    pub lane: Arc<Lane<MemoryStore, FakeCloud>>,
    pub bundles: Arc<Bundles>,
    pub journal: Arc<Journal>,
    pub disk: Arc<Disk>,
}

/// Every wait of the protocol at nothing: what is left is the order of things.
pub fn at_once() -> EngineSettings {
    let none = Duration::ZERO;
    EngineSettings {
        timing: Timing {
            quiet_period: none,
            commit_delay: none,
            absence_looks: 2,
            absence_spread: none,
            propagation: none,
            look_every: none,
            watch_every: none,
            ..Timing::default()
        },
        ..EngineSettings::default()
    }
}

pub fn target() -> Target {
    Target { service: ServiceName::new("web"), environment: EnvironmentName::new("prod") }
}

pub fn declaration(weights: &[u16]) -> Declaration {
    let now = BakeTime::For(Duration::ZERO);
    let stages = weights.iter().map(|w| Stage { weight: Weight::from_permille(*w).unwrap(), bake_time: now }).collect();
    Declaration {
        provider: Provider::Aws { region: "eu-west-1".to_owned(), role: None },
        routes: vec![RouteRef::new("public"), RouteRef::new("internal")],
        slots: vec![SlotRef::new("a"), SlotRef::new("b")],
        blue: Some(GroupName::new("web-old")),
        server_group: ServerGroupSpec {
            launch_template: LaunchTemplate { id: "lt-1".to_owned(), version: 1 },
            subnets: vec!["subnet-1".to_owned()],
            capacity: Capacity::MatchBlue,
            min: 1,
            max: 10,
            instance_types: Vec::new(),
            health_check_grace: Duration::from_secs(60),
            instance_warmup: Duration::ZERO,
            tags: std::collections::BTreeMap::new(),
        },
        preview: None,
        drill: None,
        strategy: Strategy { stages, bake_time: now, deadlines: Deadlines::default() },
    }
}

impl House {
    /// A declared service with four blue servers.
    pub async fn new(declaration: Declaration, settings: EngineSettings) -> Self {
        let house = Self::undeclared(&declaration, settings);
        house.store.declare(&target(), &declaration, "ada", None).await.unwrap();
        house
    }

    /// The same, before anybody has declared it.
    pub fn undeclared(declaration: &Declaration, settings: EngineSettings) -> Self {
        let store = Arc::new(MemoryStore::default());
        let cloud = Arc::new(FakeCloud::with_blue(declaration, "web-old", 4));
        let bundles = Arc::new(Bundles::default());
        let disk = Arc::new(Disk::default());
        let journal = Arc::new(Journal::new(disk.clone(), Vec::new()));
        let holder = HolderId::new("replica-1");
        let times = Arc::new(RollbackTimes::default());
        // The engine is another replica's: what the lane knows of its steps is what it has read.
        let (cloud_of, known) = (cloud.clone(), Arc::default());
        let worker =
            Worker { store: store.clone(), cloud: cloud_of, holder, journal: journal.clone(), times, bundles: known, settings };
        let lane = Arc::new(Lane::new(store.clone(), cloud.clone(), bundles.clone(), journal.clone(), settings));
        Self { store, cloud, worker, lane, bundles, journal, disk }
    }

    pub async fn deploy(&self, image: &str) -> DeploymentId {
        match self.store.insert(new_deployment(image), Duration::ZERO).await.unwrap() {
            Inserted::Created(created) => created.deployment.id,
            other => panic!("not created: {other:?}"),
        }
    }

    pub async fn read(&self, id: DeploymentId) -> Deployment {
        self.store.get(id).await.unwrap().expect("it was inserted").deployment
    }

    /// One tick of whatever is due.
    pub async fn tick(&self) -> Vec<Settled> {
        let mut settled = Vec::new();
        for claim in
            self.store.claim_due(&self.worker.holder, self.worker.settings.lease, 10, &self.worker.bundles).await.unwrap()
        {
            settled.push(self.worker.tick(claim).await.unwrap());
        }
        settled
    }

    /// Ticks until `there`, or fails with what it saw last.
    pub async fn until(&self, id: DeploymentId, what: &str, there: impl Fn(&Deployment) -> bool) -> Deployment {
        for _ in 0..TICKS_MAX {
            let d = self.read(id).await;
            if there(&d) {
                return d;
            }
            self.tick().await;
        }
        panic!("{what} never came: {:#?}\n{:#?}", self.read(id).await, self.cloud.world().changes);
    }

    pub async fn give(&self, id: DeploymentId, command: Command) -> Commanded {
        self.store.command(id, command, by("ada"), None).await.unwrap()
    }
}

pub fn by(who: &str) -> Given {
    Given { by: who.to_owned(), reason: Some("INC-1".to_owned()), at: Timestamp::now() }
}

/// A deployment as CI asks for it.
pub fn new_deployment(image: &str) -> NewDeployment {
    NewDeployment {
        id: DeploymentId::new(Uuid::now_v7()),
        target: target(),
        image: Image::parse(image).unwrap(),
        version: None,
        takes_back: None,
        reason: None,
        strategy: None,
        created_by: "ci".to_owned(),
        created_at: Timestamp::now(),
    }
}
