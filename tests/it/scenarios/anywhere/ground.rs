//! What one case stands on: a region with users, a Postgres, one or two replicas, and a deployment that was brought to a point.

use std::{
    fs,
    time::{Duration, Instant},
};

use cutover_sim::{faults::Fault, load::Load, options::Clocks};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{phase::At, weather::Weather};
use crate::support::{
    false_clock::FalseClock,
    oracle::Before,
    own_postgres::OwnPostgres,
    process::{Service, Surroundings},
    region::Scene,
};

pub const HOME: &str = "/v1/services/web/environments/prod";
/// Twice as long as a signed request lives here, and each half longer than the 5 s that a rollback is tried for.
const QUIET_PERIOD: &str = "12s";
/// What a signed request lives here; before it is scaled a hundred times as much.
const SIGNATURE_LIFE: Duration = Duration::from_secs(6);
/// A late call is let go so long before its signature is dead.
const LAST_MOMENT: Duration = Duration::from_millis(200);
/// How long a case waits for one thing.
pub const PATIENCE: Duration = Duration::from_secs(60);
const USERS_PER_SECOND: u32 = 25;
/// Of a replica's log, where something is wrong.
const LINES_MAX: usize = 80;

/// One case's world. Whoever is asked for something is named by a place in `services`.
pub struct Ground {
    pub services: Vec<Service>,
    pub postgres: OwnPostgres,
    pub clock: Option<FalseClock>,
    pub load: Load,
    pub before: Before,
    pub scene: Scene,
    /// The deployment.
    pub url: String,
    /// When a rollback was accepted that was asked for on the way to the point.
    pub acknowledged: Option<Instant>,
    /// What keeps it where it is.
    holds: Vec<String>,
}

impl Ground {
    /// A deployment under way, held at `at`.
    pub async fn at(at: At, weather: Weather) -> Result<Self, String> {
        let scene = Scene::with(&at.stage(), Clocks { signature_life: SIGNATURE_LIFE * 100, ..Clocks::default() }).await;
        scene.tie_users();
        scene.check_patiently();
        let before = Before::of(&scene);
        let postgres = OwnPostgres::start().await;
        let clock = weather.clock_seconds().map(|_| FalseClock::new());
        let mut services = Vec::new();
        for _ in 0..weather.replicas() {
            services.push(replica(&scene, &postgres, weather, clock.as_ref()).await);
        }
        services[0].done("PUT", HOME, Some(declaration(&scene, at))).await;
        let load = scene.users(USERS_PER_SECOND);
        let (url, holds, acknowledged) = (String::new(), Vec::new(), None);
        let mut ground = Self { services, postgres, clock, load, before, scene, url, acknowledged, holds };
        for fault in at.holds(&ground.scene, weather) {
            ground.hold(fault);
        }
        let created = json!({"image": ground.scene.image("v2")});
        let created = ground.services[0].done("POST", &format!("{HOME}/deployments"), Some(created)).await;
        created["url"].as_str().unwrap().clone_into(&mut ground.url);
        ground.bring_to(at, weather).await?;
        Ok(ground)
    }

    async fn bring_to(&mut self, at: At, weather: Weather) -> Result<(), String> {
        if at == At::RollingBack {
            self.until(0, "half of the traffic", |d| d["weight"]["observed"] == 50).await?;
            self.has_met_users().await?;
            self.services[0].done("POST", &format!("{HOME}/rollback"), Some(json!({"reason": "INC-0"}))).await;
            self.acknowledged = Some(Instant::now());
        }
        self.until(0, at.phase(), |d| at.is_reached(d, &self.scene, weather, self.holds_something())).await?;
        if matches!(at, At::Shifting | At::Baking) {
            self.has_met_users().await?;
        }
        if weather.is_without_database() {
            // What it would go by is on its disk, and so in its memory.
            self.remembers(at).await?;
        }
        Ok(())
    }

    /// Else it may be back before anybody has met green, and have taken nothing back.
    async fn has_met_users(&self) -> Result<(), String> {
        let met = self.scene.comes(PATIENCE, || self.load.record().last_answer("v2").is_some()).await;
        met.then_some(()).ok_or_else(|| "green never had a user".to_owned())
    }

    /// Sets a fault that is let go with the others.
    pub fn hold(&mut self, fault: Fault) -> String {
        let id = self.scene.sim.faults().set(fault).expect("there is room for a few");
        self.holds.push(id.clone());
        id
    }

    /// Lets it go on, and whatever was held land.
    pub fn let_go(&mut self) {
        for id in self.holds.drain(..) {
            let _known = self.scene.sim.faults().remove(&id);
        }
    }

    /// Whether each of the holds has met a call.
    fn holds_something(&self) -> bool {
        !self.holds.is_empty() && self.holds.iter().all(|id| self.met(id) > 0)
    }

    /// Waits until what is held would soon be refused for its age.
    pub async fn until_signatures_die(&self) {
        let calls = self.scene.sim.journal().calls(0, None);
        let held = calls.iter().filter(|call| call.outcome.is_none());
        let mine = held.filter(|call| call.fault.as_ref().is_some_and(|fault| self.holds.contains(fault)));
        let Some(newest) = mine.map(|call| call.at).max() else { return };
        let dies = || jiff::Timestamp::now() > newest + (SIGNATURE_LIFE - LAST_MOMENT);
        // It only waits for the time to pass.
        let _ = self.scene.comes(SIGNATURE_LIFE, dies).await;
    }

    pub fn met(&self, id: &str) -> u64 {
        self.scene.sim.faults().list().iter().find(|status| status.id == id).map_or(0, |status| status.met)
    }

    /// Calls that are held just now, by whichever of the holds.
    pub fn calls_held(&self) -> usize {
        self.scene.sim.faults().list().iter().map(|status| status.holding).sum()
    }

    /// Asks until it is there. What cannot be answered just now is asked again.
    pub async fn until(&self, whom: usize, what: &str, there: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let started = Instant::now();
        loop {
            let (status, shown) = self.services[whom].call("GET", &format!("{}?wait=1s", self.url), None).await;
            if status == 200 && there(&shown) {
                return Ok(shown);
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("{what} never came: {status} {shown:#}\n{}", self.said()));
            }
        }
    }

    /// Waits until this replica has kept the deployment as it is now.
    async fn remembers(&self, at: At) -> Result<(), String> {
        let bundles = self.services[0].state().join("lane/bundles");
        let id = self.url.rsplit('/').next().unwrap_or_default();
        let phase = format!("\"phase\":{{\"name\":\"{}\"", at.phase());
        let kept = || fs::read_to_string(&bundles).is_ok_and(|text| text.contains(id) && text.contains(&phase));
        let comes = self.scene.comes(PATIENCE, kept).await;
        let why = || format!("it never kept what it knows: {:?}\n{}", fs::read_to_string(&bundles), self.said());
        comes.then_some(()).ok_or_else(why)
    }

    /// Who holds the lease just now.
    pub async fn holder(&self) -> Result<Option<usize>, String> {
        let held = "select lease_holder from deployments where lease_until > now()";
        let mut connection = self.connection().await?;
        let holder = sqlx::query_scalar(held).fetch_optional(&mut connection).await.map_err(|error| error.to_string())?;
        let holder: Option<String> = holder;
        Ok(self.services.iter().position(|service| Some(service.holder()) == holder))
    }

    /// Into the database, for what no service would do.
    pub async fn connection(&self) -> Result<PgConnection, String> {
        PgConnection::connect(&self.postgres.url()).await.map_err(|error| error.to_string())
    }

    /// The end of what each replica said.
    pub fn said(&self) -> String {
        self.services.iter().map(|service| last_lines(&service.said())).collect::<Vec<_>>().join("\n--- the other replica:\n")
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
}

async fn replica(scene: &Scene, postgres: &OwnPostgres, weather: Weather, clock: Option<&FalseClock>) -> Service {
    let url = postgres.url();
    let settings = [
        ("DATABASE__URL", url.as_str()),
        ("ENGINE__QUIET_PERIOD", QUIET_PERIOD),
        // Four cases are side by side: a busy machine is no outage, unless there is one.
        ("ENGINE__WATCH_EVERY", "300ms"),
        ("OFFLINE__RECORD_PATIENCE", if weather.is_without_database() { "250ms" } else { "2s" }),
    ];
    let environment = clock.map(FalseClock::environment).unwrap_or_default();
    Service::among(scene.sim.endpoint(), &settings, Surroundings { environment, small_disk: weather.has_small_disk() }).await
}

fn declaration(scene: &Scene, at: At) -> Value {
    let mut declared = crate::scenarios::crash::declaration(scene);
    declared["strategy"] = at.strategy();
    if !at.preview().is_null() {
        declared["preview"] = at.preview();
    }
    declared
}
