//! One journey of the real process, killed once, and judged at its end.

use std::time::{Duration, Instant};

use cutover_sim::{
    faults::{Effect, Fault},
    journal::Entry,
    load::{Load, Plan, Route},
    model::Action,
    scenario::Stage,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    cases::{By, Call, Case, Journey, Kill, LaneAt, Point, Reach, Statement},
    planted::Planted,
};
use crate::{
    scenarios::crash::declaration,
    support::{
        oracle::{Before, Ended, Verdict},
        postgres::{TestDatabase, database},
        process::Service,
        region::Scene,
        relay::{Relay, Way},
    },
};

const HOME: &str = "/v1/services/web/environments/prod";
/// How long the moment to kill at, an answer, or an acceptance may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many looks of whoever goes on are stale, fewer than absence is believed after.
const STALE_LOOKS: u64 = 2;
const REASON: &str = "INC-1";

/// Beside those of every story with the process. A look that is stale by itself proves no absence; the rest is for speed: leases that
/// another replica need not wait long for, copies that are fresh enough for the lane's early call.
const SETTINGS: [(&str, &str); 8] = [
    ("ENGINE__LEASE", "2s"),
    ("ENGINE__LEASE_MARGIN", "500ms"),
    ("ENGINE__ABSENCE_LOOKS", "3"),
    ("ENGINE__CONFIRM_EVERY", "250ms"),
    ("ENGINE__POLL_EVERY", "500ms"),
    ("DATABASE__CONNECTIONS_MAX", "4"),
    ("DATABASE__ROLLBACK_CONNECTIONS_MAX", "2"),
    // Its looks are not those that are to be stale.
    ("SWEEPER__ENABLED", "false"),
];

/// What an operator's request came to: when it was told that the rollback is accepted, if it was.
type Asked = JoinHandle<Option<Instant>>;

/// A journey that is over.
pub struct Arrived {
    pub verdict: Verdict,
    /// The calls of the part that is killed in.
    pub calls: Vec<Entry>,
}

/// One journey, with one crash or none.
pub async fn travel(journey: Journey, case: Option<Case>, planted: Option<Planted>) -> Result<Arrived, String> {
    let mut story = Story::begin(journey, case, planted).await;
    let acknowledged = story.goes(planted).await?;
    Ok(story.ends(acknowledged).await)
}

struct Story {
    journey: Journey,
    case: Option<Case>,
    load: Load,
    service: Service,
    relay: Relay,
    database: TestDatabase,
    before: Before,
    scene: Scene,
    /// The deployment.
    url: String,
    /// The last call before the part that is killed in.
    mark: u64,
}

impl Story {
    async fn begin(journey: Journey, case: Option<Case>, planted: Option<Planted>) -> Self {
        let scene = Scene::new(&Stage { health_check_interval_seconds: 20, ..Stage::default() }).await;
        scene.scale_blue().await;
        make_sticky(&scene);
        let database = database().await;
        let relay = Relay::to(&database.url()).await;
        let service = start(&scene, &relay, journey).await;
        let mut declared = declaration(&scene);
        declared["strategy"] = planted.and_then(Planted::strategy).unwrap_or_else(|| journey.strategy());
        service.done("PUT", HOME, Some(declared)).await;
        let (before, load) = (Before::of(&scene), load(&scene));
        Self { journey, case, load, service, relay, database, before, scene, url: String::new(), mark: 0 }
    }

    /// Until nothing but the end is to be waited for. Returns when the operator was told that the rollback is accepted.
    async fn goes(&mut self, planted: Option<Planted>) -> Result<Option<Instant>, String> {
        self.mark = self.last_call();
        let case = self.case.clone();
        if !self.journey.comes_back() {
            let fault = case.as_ref().and_then(|case| self.holds(&case.kill));
            self.plant(planted).await;
            self.deploys().await;
            if let Some(case) = case {
                self.dies_at(&case.kill, fault.as_deref()).await?;
                self.recovers(&case).await?;
            }
            return Ok(None);
        }
        self.deploys().await;
        self.service.until(&self.url, "the turning point", |d| self.journey.turns_at(d)).await;
        // It takes a moment to show on the nodes, and a user to come.
        if !comes(|| self.load.record().last_answer("v2").is_some()).await {
            return Err(format!("green answered nobody within {PATIENCE:?}"));
        }
        self.mark = self.last_call();
        let fault = case.as_ref().and_then(|case| self.holds(&case.kill));
        self.plant(planted).await;
        let asked = self.asks();
        let Some(case) = case else { return self.is_accepted(asked.await.unwrap_or(None)).await };
        let told = if case.kill.is_after_the_answer() { asked.await.unwrap_or(None) } else { None };
        self.dies_at(&case.kill, fault.as_deref()).await?;
        self.recovers(&case).await?;
        // Who was cut off asks again, as `cutover rollback` does; an order on record needs nobody.
        if case.kill.leaves_the_order() { Ok(told) } else { self.is_accepted(told).await }
    }

    async fn deploys(&mut self) {
        let body = json!({"image": self.scene.image("v2")});
        let created = self.service.done("POST", &format!("{HOME}/deployments"), Some(body)).await;
        created["url"].as_str().expect("a deployment has a URL").clone_into(&mut self.url);
    }

    async fn plant(&self, planted: Option<Planted>) {
        if let Some(planted) = planted {
            planted.plant(&self.scene, &self.database).await;
        }
    }

    fn last_call(&self) -> u64 {
        self.scene.sim.journal().calls(0, None).last().map_or(0, |call| call.number)
    }

    /// Asks to roll back, in a task of its own: the process may die before it answers.
    fn asks(&self) -> Asked {
        let request = self.service.request("POST", &format!("{HOME}/rollback"), Some(json!({"reason": REASON})));
        tokio::spawn(async move {
            let answer = request.send().await.ok()?;
            let accepted = answer.status().as_u16() == 200;
            answer.bytes().await.ok()?;
            accepted.then(Instant::now)
        })
    }

    /// Asks until it is told so, unless it was.
    async fn is_accepted(&self, told: Option<Instant>) -> Result<Option<Instant>, String> {
        let (started, mut pauses) = (Instant::now(), tokio::time::interval(Duration::from_millis(50)));
        let mut told = told;
        while told.is_none() {
            if started.elapsed() > PATIENCE {
                return Err(format!("the rollback was not accepted within {PATIENCE:?}\n{}", self.service.said()));
            }
            pauses.tick().await;
            told = self.asks().await.unwrap_or(None);
        }
        Ok(told)
    }

    /// What keeps the call that is killed at, or its answer.
    fn holds(&self, kill: &Kill) -> Option<String> {
        let hold = |call: &Call, effect| {
            let fault = Fault { skip: call.nth, ..Fault::on(&call.operation, effect).times(1) };
            self.scene.sim.faults().set(fault)
        };
        match kill {
            Kill::Step(call, Point::Before) => hold(call, Effect::HoldBefore),
            Kill::Step(call, Point::Applied | Point::Answered | Point::Recorded) => hold(call, Effect::HoldAfter),
            Kill::Lane(LaneAt { call, statement }) => {
                if let Some((statement, way)) = statement {
                    self.relay.stop_next(statement.words(), *way);
                }
                let (operation, reach) = call.as_ref()?;
                let call = Call { operation: (*operation).to_owned(), nth: 0 };
                match reach {
                    Reach::Held => hold(&call, Effect::HoldBefore),
                    Reach::Applied => hold(&call, Effect::HoldAfter),
                    Reach::Answered => None,
                }
            }
        }
    }

    /// Waits for the moment, and kills.
    async fn dies_at(&mut self, kill: &Kill, fault: Option<&str>) -> Result<(), String> {
        let there = match kill {
            Kill::Step(_, point) => self.reaches(*point, fault).await,
            Kill::Lane(at) => self.lane_reaches(*at).await,
        };
        self.service.kill().await;
        self.relay.opens();
        if there { Ok(()) } else { Err(format!("the fault met no call\n{}", self.service.said())) }
    }

    async fn reaches(&self, point: Point, fault: Option<&str>) -> bool {
        let held = comes(|| self.is_held()).await;
        let way = match point {
            Point::Before | Point::Applied => return held,
            Point::Answered => Way::There,
            Point::Recorded => Way::Back,
        };
        self.relay.stop_next(Statement::Settle.words(), way);
        held && fault.is_some_and(|id| self.scene.sim.faults().release(id)) && self.relay.has_stopped(PATIENCE).await
    }

    async fn lane_reaches(&self, at: LaneAt) -> bool {
        let called = match at.call {
            None => true,
            Some((_, Reach::Held | Reach::Applied)) => comes(|| self.is_held()).await,
            Some((operation, Reach::Answered)) => {
                let answered = || self.scene.sim.journal().calls(self.mark, Some(operation));
                comes(|| answered().iter().any(|call| call.outcome.as_deref() == Some("ok"))).await
            }
        };
        called && (at.statement.is_none() || self.relay.has_stopped(PATIENCE).await)
    }

    fn is_held(&self) -> bool {
        self.scene.sim.faults().list().iter().any(|status| status.holding > 0)
    }

    /// The same replica is started again, or another one that has nothing but the database.
    async fn recovers(&mut self, case: &Case) -> Result<(), String> {
        let stale = case.stale.map_or_else(Vec::new, |depth| self.shows_the_past(depth));
        match case.by {
            By::Same => self.service.restart().await,
            By::Another => self.service = start(&self.scene, &self.relay, self.journey).await,
        }
        let met = || {
            let status = self.scene.sim.faults().list();
            status.iter().any(|status| stale.contains(&status.id) && status.met > 0)
        };
        if stale.is_empty() || comes(met).await { Ok(()) } else { Err("no look was stale".to_owned()) }
    }

    /// The next looks at each thing show the world as it was so many changing calls ago.
    fn shows_the_past(&self, depth: usize) -> Vec<String> {
        let calls = self.scene.sim.journal().calls(0, None);
        let mut looks: Vec<_> = calls.iter().map(|call| &call.operation).filter(|name| name.starts_with("Describe")).collect();
        looks.sort();
        looks.dedup();
        let stale = |look: &&String| Fault::on(look, Effect::Stale { depth }).times(STALE_LOOKS);
        looks.iter().filter_map(|look| self.scene.sim.faults().set(stale(look))).collect()
    }

    async fn ends(self, told: Option<Instant>) -> Arrived {
        let Self { journey, case, load, service, relay, database, before, scene, url, mark } = self;
        let deployment = service.until(&url, "the end", |d| !d["ended_at"].is_null()).await;
        let home = service.done("GET", HOME, None).await;
        let load = load.finish().await;
        // What the resource shows is a word, too.
        let acknowledged = [told, accepted_at(&deployment)].into_iter().flatten().min();
        let ended = Ended {
            scene: &scene,
            before: &before,
            load: &load,
            deployment: &deployment,
            home: &home,
            wanted: journey.end(),
            acknowledged,
        };
        let mut verdict = ended.judge().await;
        if load.last_answer("v2").is_none() {
            verdict.faults.push("green never had a request: that proves nothing".to_owned());
        }
        if case.is_some_and(|case| case.kill.leaves_the_order()) {
            let rollback = &deployment["rollback"];
            for (field, given) in [("trigger", "manual"), ("by", "bootstrap"), ("reason", REASON)] {
                if rollback[field] != given {
                    verdict
                        .faults
                        .push(format!("the order on record was not kept: {field} is {}, not {given}", rollback[field]));
                }
            }
        }
        if !verdict.faults.is_empty() {
            verdict.faults.push(format!("{deployment:#}\n{}", service.said()));
        }
        let calls = scene.sim.journal().calls(mark, None);
        service.stop().await;
        drop((relay, database));
        scene.sim.shutdown().await;
        Arrived { verdict, calls }
    }
}

/// A replica with a state of its own.
async fn start(scene: &Scene, relay: &Relay, journey: Journey) -> Service {
    let url = [("DATABASE__URL", relay.url.as_str())];
    let settings: Vec<_> = SETTINGS.into_iter().chain(journey.pace()).chain(url).collect();
    Service::with(scene.sim.endpoint(), &settings).await
}

/// When the record says that the load balancer accepted it.
fn accepted_at(d: &Value) -> Option<Instant> {
    let at: jiff::Timestamp = d["rollback"]["accepted_at"].as_str()?.parse().ok()?;
    let ago = Duration::try_from(jiff::Timestamp::now().duration_since(at)).ok()?;
    Instant::now().checked_sub(ago)
}

/// Waits for what cannot say that it is there.
async fn comes(there: impl Fn() -> bool) -> bool {
    let (started, mut looks) = (Instant::now(), tokio::time::interval(Duration::from_millis(2)));
    while !there() {
        if started.elapsed() > PATIENCE {
            return false;
        }
        looks.tick().await;
    }
    true
}

/// Sessions stick to the side that they met first.
fn make_sticky(scene: &Scene) {
    scene.change(|region| {
        for route in &scene.staged.services[0].routes {
            let rule = region.rules.get_mut(route).expect("a stage has its routes");
            for action in &mut rule.actions {
                if let Action::Forward { stickiness, .. } = action {
                    *stickiness = Some(Duration::from_secs(3600));
                }
            }
        }
    });
}

/// Kept-alive, fresh and sticky connections; and every eighth request takes its time.
fn load(scene: &Scene) -> Load {
    let service = &scene.staged.services[0];
    let region = scene.region();
    let address = region.listeners.get(&service.listeners[0]).and_then(|listener| listener.address);
    let address = address.expect("a listener that is open");
    let path = |n: usize| if n == 7 { "/?delay_ms=150".to_owned() } else { "/".to_owned() };
    let routes = (0..8).map(|n| Route { address, host: service.host.clone(), path: path(n) }).collect();
    Load::start(Plan {
        requests_per_second: 30,
        routes,
        fresh_share: 0.2,
        sessions: 16,
        timeout: Duration::from_secs(5),
        seed: 1,
    })
}
