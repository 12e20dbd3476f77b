//! The pocket region: the parts of AWS that Cutover talks to, on one machine, with real servers and real traffic.
//!
//! ```text
//! api      the AWS Query protocol: what a call is, which are refused and how      (changes the region)
//! life     Auto Scaling by itself: launching, replacing, draining, going          (changes the region)
//! traffic  listeners on real ports, rules, weights, stickiness                    (follows snapshots)
//! health   health checks                                                          (writes target states)
//! control  /_sim/: faults, the log of calls, sick servers, a ready-made stage
//! load     users: a load generator that remembers every answer
//! demo     the stories that `make demo` and `make drift` tell
//! bench    what `make bench` measures
//! ```
//!
//! The region itself is plain values behind one lock ([`model::Shared`]); everybody works from its snapshots. Each account's
//! share of each region is such a [`land::Land`] of its own, and one door leads to all of them.

pub mod api;
pub mod bench;
pub mod control;
pub mod demo;
pub mod faults;
pub mod health;
pub mod journal;
pub mod land;
pub mod life;
pub mod limits;
pub mod load;
pub mod model;
pub mod names;
pub mod options;
pub mod quotas;
pub mod scenario;
pub mod scene;
pub mod servers;
pub mod sessions;
pub mod table;
pub mod targets;
pub mod traffic;

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use api::Door;
use control::Panel;
use land::{Land, Lands};
use model::{Place, Shared};
use options::Options;
use scenario::{Stage, Staged};
use servers::Servers;
use sessions::Sessions;
use traffic::Traffic;

/// How long [`Sim::shutdown`] waits for the region's tasks.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// A running region. It ends when dropped; [`Sim::shutdown`] also waits until it has.
#[derive(Debug)]
pub struct Sim {
    endpoint: String,
    door: Arc<Door>,
    servers: Servers,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Sim {
    /// Opens the API's port and starts everything behind it.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (tasks, stop, servers) = (TaskTracker::new(), CancellationToken::new(), Servers::default());
        let lands = Lands::start(&options, &servers, &tasks, &stop);
        let door = Arc::new(Door::new(lands, options, tasks.clone(), stop.clone()));
        let panel = Panel { door: door.clone(), servers: servers.clone() };
        let router = Router::new().nest("/_sim", control::router(panel)).merge(api::router(door.clone()));
        api::serve(listener, router, &tasks, stop.clone());
        Ok(Self { endpoint, door, servers, tasks, stop: stop.drop_guard() })
    }

    /// Where the API answers: what `AWS_ENDPOINT_URL` is set to.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The values of the home account and region.
    #[must_use]
    pub fn shared(&self) -> &Shared {
        &self.door.lands.home().shared
    }

    /// What is at another account's or region's; None when too many are in use.
    #[must_use]
    pub fn land(&self, place: &Place) -> Option<Arc<Land>> {
        self.door.lands.at(place)
    }

    #[must_use]
    pub fn faults(&self) -> &faults::Faults {
        &self.door.faults
    }

    #[must_use]
    pub fn journal(&self) -> &journal::Journal {
        &self.door.journal
    }

    /// Sessions of assumed roles, and which roles want an external id.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.door.sessions
    }

    #[must_use]
    pub fn limits(&self) -> &limits::Limits {
        &self.door.limits
    }

    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }

    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.door.lands.home().traffic
    }

    /// Builds a ready-made stage at home.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn stage(&self, stage: &Stage) -> Result<Staged, String> {
        self.shared().try_change(|region| scenario::build(region, stage, Timestamp::now()))
    }

    /// The same in another account or region.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn stage_at(&self, place: &Place, stage: &Stage) -> Result<Staged, String> {
        let land = self.land(place).ok_or("too many accounts and regions are in use")?;
        land.shared.try_change(|region| scenario::build(region, stage, Timestamp::now()))
    }

    /// Ends it and waits until its ports are closed and its servers are gone.
    pub async fn shutdown(self) {
        let regions = self.door.lands.all().into_iter().map(|land| land.shared.now());
        let instances: Vec<String> = regions.flat_map(|region| region.instances.keys().cloned().collect::<Vec<_>>()).collect();
        drop(self.stop);
        self.tasks.close();
        if tokio::time::timeout(SHUTDOWN_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!("the region's tasks did not end in time");
        }
        // Nobody sends to them any more: no reason to be polite.
        for instance in instances {
            let _known = self.servers.kill(&instance);
        }
    }
}
