//! One replica at work on a pocket region: the driver, the lane and the AWS adapter, over a store in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cutover::{
    cloud::aws::{AwsCloud, Budget},
    domain::{
        deployment::Deployment,
        ids::{DeploymentId, HolderId},
        timing::Timing,
    },
    engine::{
        bundles::{Bundles, keep_fresh},
        driver::{Pulse, drive},
        journal::Journal,
        lane::Lane,
        ports::{Inserted, Store},
        rollback_times::RollbackTimes,
        settings::EngineSettings,
        tick::Worker,
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    disk::Disk,
    house::new_deployment,
    memory::MemoryStore,
    region::{PATIENCE, Scene, no_limits},
};

/// A replica at work on a scene.
pub struct Replica {
    pub store: Arc<MemoryStore>,
    pub lane: Arc<Lane<MemoryStore, AwsCloud>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The protocol's waits, about as much faster as the scene is.
pub fn quick() -> EngineSettings {
    let ms = Duration::from_millis;
    EngineSettings {
        timing: Timing {
            quiet_period: ms(600),
            commit_delay: ms(200),
            absence_looks: 2,
            absence_spread: ms(50),
            propagation: ms(100),
            look_every: ms(50),
            watch_every: ms(50),
            ..Timing::default()
        },
        confirm_every: ms(50),
        ..EngineSettings::default()
    }
}

impl Replica {
    pub fn start(scene: &Scene) -> Self {
        Self::with(scene, quick())
    }

    pub fn with(scene: &Scene, settings: EngineSettings) -> Self {
        Self::on(scene, settings, &no_limits())
    }

    /// On what an account is granted.
    pub fn on(scene: &Scene, settings: EngineSettings, budget: &Arc<Budget>) -> Self {
        let (store, bundles, pulse) =
            (Arc::new(MemoryStore::default()), Arc::new(Bundles::default()), Arc::new(Pulse::default()));
        let back = Arc::new(scene.cloud_on(budget).for_rollbacks());
        let journal = Arc::new(Journal::new(Arc::new(Disk::default()), Vec::new()));
        let (cloud, holder) = (Arc::new(scene.cloud_on(budget)), HolderId::new("replica-1"));
        let times = Arc::new(RollbackTimes::default());
        let known = bundles.clone();
        let worker = Worker { store: store.clone(), cloud, holder, journal: journal.clone(), times, bundles: known, settings };
        let lane = Arc::new(Lane::new(store.clone(), back, bundles.clone(), journal, settings));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(drive(Arc::new(worker), pulse, stop.clone()));
        tasks.spawn(keep_fresh(bundles, store.clone(), settings, stop.clone()));
        Self { store, lane, stop, tasks }
    }

    pub async fn deploy(&self, image: &str) -> DeploymentId {
        match self.store.insert(new_deployment(image), quick().timing.half_quiet()).await.unwrap() {
            Inserted::Created(created) => created.deployment.id,
            other => panic!("not created: {other:?}"),
        }
    }

    pub async fn until(&self, id: DeploymentId, what: &str, there: impl Fn(&Deployment) -> bool) -> Deployment {
        let started = Instant::now();
        loop {
            let d = self.store.get(id).await.unwrap().expect("it was inserted").deployment;
            if there(&d) {
                return d;
            }
            assert!(started.elapsed() < PATIENCE, "{what} never came: {d:#?}");
            self.store.changed(Duration::from_millis(50)).await;
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
