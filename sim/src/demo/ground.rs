//! The ground the story is played on: a pocket region with one service, two routes and three servers, and users.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    screen::Screen,
    timeline::{Place, Timeline},
};
use crate::{
    Sim,
    load::{Load, Plan, Route},
    model::{Region, TargetState},
    options::{Clocks, Options},
    scenario::{ImageOf, Server, Stage, Staged, StagedService},
};

/// The region's pace: a server boots in 4 s instead of 40, a rule change reaches the last node within half a second instead
/// of 5, a group drains in 3 s instead of 30.
const SCALE: f64 = 0.1;
/// So that a signed request lives 3 s, half of the quiet period that the demo's Cutover is given.
const SIGNATURE_LIFE: Duration = Duration::from_secs(30);
const SEED: u64 = 20;
/// Blue has to be healthy before anybody is sent to it.
const BLUE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a traffic line is written where no bar can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(4);
const BAR_EVERY: Duration = Duration::from_millis(200);

/// The running region and what is on it.
#[derive(Debug)]
pub struct Ground {
    pub sim: Sim,
    staged: Staged,
    places: Vec<Place>,
    propagation: Duration,
}

impl Ground {
    /// Starts the region; its servers are processes: `server --port … --version …` of `program`.
    ///
    /// # Errors
    /// A port that cannot be opened, or servers that do not become healthy.
    pub async fn start(program: &Path) -> Result<Self, String> {
        let clocks = Clocks { signature_life: SIGNATURE_LIFE, ..Clocks::default() };
        let options = Options { scale: SCALE, seed: SEED, clocks, ..Options::default() };
        let propagation = options.scaled(options.clocks.propagation_max);
        let sim = Sim::start(options).await.map_err(|error| format!("starting the pocket region: {error}"))?;
        let stage = Stage {
            routes: 2,
            servers: 3,
            images: ["v1", "v2", "v3"].map(|version| image(program, version)).into(),
            ..Stage::default()
        };
        let staged = sim.stage(&stage)?;
        let places = {
            let [service] = staged.services.as_slice() else { return Err("the stage has one service".to_owned()) };
            let [listener] = service.listeners.as_slice() else { return Err("its routes are on one listener".to_owned()) };
            let place = |path: &str| Place { listener: listener.clone(), host: service.host.clone(), path: path.to_owned() };
            vec![place("/part-1/index.html"), place("/index.html")]
        };
        let ground = Self { sim, staged, places, propagation };
        ground.blue_is_healthy().await?;
        Ok(ground)
    }

    async fn blue_is_healthy(&self) -> Result<(), String> {
        let slot = &self.service().slots[0][0];
        let mut regions = self.sim.shared().subscribe();
        let healthy = |region: &Region| {
            let group = region.target_groups.get(slot)?;
            let healthy = group.targets.values().filter(|target| target.state == TargetState::Healthy).count();
            (healthy == 3 && self.places.iter().all(|place| region.listeners[&place.listener].address.is_some())).then_some(())
        };
        let waiting = async {
            while healthy(&regions.borrow_and_update()).is_none() {
                if regions.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(BLUE_TIMEOUT, waiting)
            .await
            .map_err(|_| format!("the servers of the first version were not healthy after {BLUE_TIMEOUT:?}"))
    }

    fn service(&self) -> &StagedService {
        // `start` has looked: there is exactly one.
        &self.staged.services[0]
    }

    /// The longest that a rule change takes to reach every node.
    #[must_use]
    pub fn propagation(&self) -> Duration {
        self.propagation
    }

    /// The image of a version.
    #[must_use]
    pub fn image(&self, version: &str) -> &str {
        self.staged.images.get(version).map_or("", String::as_str)
    }

    /// The host that the routes are for.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.service().host
    }

    /// Where the load balancer takes connections; empty if its listener is gone.
    #[must_use]
    pub fn address(&self) -> String {
        let region = self.sim.shared().now();
        let address = self.places.first().and_then(|place| region.listeners.get(&place.listener)?.address);
        address.map(|address| address.to_string()).unwrap_or_default()
    }

    /// The names of the server groups there are.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        self.sim.shared().now().groups.keys().cloned().collect()
    }

    /// How many rules there are beside the bases.
    #[must_use]
    pub fn extra_rules(&self) -> usize {
        self.sim.shared().now().rules.len().saturating_sub(self.service().routes.len())
    }

    /// The service as Cutover is told of it, with how a release is to go: JSON, laid out to be read.
    #[must_use]
    pub fn declaration(&self, strategy: &str) -> String {
        let service = self.service();
        let list = |names: Vec<&String>| json!(names).to_string().replace("\",\"", "\",\n            \"");
        format!(
            r#"{{
  "provider": {{"kind": "aws", "region": "{region}"}},
  "routes": {routes},
  "slots":  {slots},
  "blue": {blue},
  "server_group": {{"launch_template": {{"id": "{template}", "version": "1"}}, "subnets": ["subnet-0pocket"], "min": 2, "max": 6}},
  "strategy": {strategy}
}}"#,
            region = crate::model::Place::default().region,
            routes = list(service.routes.iter().collect()),
            slots = list(service.slots.iter().flatten().collect()),
            blue = json!(service.blue),
            template = service.launch_template,
        )
    }

    /// Follows what the load balancer is asked to do.
    #[must_use]
    pub fn timeline(&self, stop: CancellationToken) -> Timeline {
        let versions: BTreeMap<String, String> =
            self.staged.images.iter().map(|(version, image)| (image.clone(), version.clone())).collect();
        Timeline::start(self.sim.shared(), self.places.clone(), versions, stop)
    }

    /// Users on both routes, on kept connections and fresh ones.
    #[must_use]
    pub fn users(&self, requests_per_second: u32) -> Load {
        let region = self.sim.shared().now();
        let route = |place: &Place| {
            let address = region.listeners.get(&place.listener)?.address?;
            Some(Route { address, host: place.host.clone(), path: place.path.clone() })
        };
        Load::start(Plan {
            requests_per_second,
            routes: self.places.iter().filter_map(route).collect(),
            fresh_share: 0.25,
            sessions: 0,
            timeout: Duration::from_secs(10),
            seed: SEED,
        })
    }
}

fn image(program: &Path, version: &str) -> ImageOf {
    let words = ["server", "--port", "{port}", "--instance", "{instance}", "--version", version];
    let command = std::iter::once(program.display().to_string()).chain(words.map(str::to_owned)).collect();
    ImageOf { version: version.to_owned(), server: Server::Command(command) }
}

/// The two versions that the bar shows.
#[derive(Debug, Clone)]
pub struct Pair(Arc<Mutex<(String, String)>>);

impl Pair {
    #[must_use]
    pub fn new(old: &str, new: &str) -> Self {
        Self(Arc::new(Mutex::new((old.to_owned(), new.to_owned()))))
    }

    pub fn set(&self, old: &str, new: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (old.to_owned(), new.to_owned());
    }

    #[must_use]
    pub fn get(&self) -> (String, String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Shows the users' traffic of the last second until `stop`: a bar on a terminal, a line now and then elsewhere.
pub async fn show(
    screen: Screen,
    load: Arc<crate::load::record::Record>,
    timeline: Timeline,
    pair: Pair,
    stop: CancellationToken,
) {
    let every = if screen.is_terminal() { BAR_EVERY } else { LINE_EVERY };
    let mut ticks = tokio::time::interval(every);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        let (old, new) = pair.get();
        let now = Instant::now();
        let share = load.share(&new, now.checked_sub(Duration::from_secs(1)).unwrap_or(now), now);
        let asked = match timeline.now() {
            Some(shares) => format!("{:5.1} %", f64::from(shares.get(&new).copied().unwrap_or_default()) / 10.0),
            // For a moment the routes are asked for different shares.
            None => "  ...  ".to_owned(),
        };
        let totals = load.totals();
        let text = format!("{}  asked {asked}  {} sent, {} lost", screen.drawn(&old, &new, share), totals.sent, totals.lost);
        if screen.is_terminal() { screen.bar(&text) } else { screen.say(&text) }
    }
    screen.bar("");
}
