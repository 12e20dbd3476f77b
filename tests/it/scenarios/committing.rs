//! Rollback in `committing`, at every point of it: while any call is on its way, was applied and is not answered yet, and at every
//! part of the quiet period. What was held lands after the rollback was accepted, as late as its signature lets it.
//!
//! Which calls are made there is learnt from a run without a rollback. The shield has to hold against every one of them: users get not one
//! answer of green's to a request that they sent after the acceptance and the propagation bound, and lose none.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cutover::{
    domain::{
        deployment::{Deployment, Status},
        phase::Phase,
        time::BakeTime,
        timing::Timing,
    },
    engine::{
        api::{RollbackOf, Trouble},
        ports::Store,
        settings::EngineSettings,
    },
};
use cutover_sim::{
    faults::{Effect, Fault},
    load::Load,
    options::Clocks,
    scenario::Stage,
};
use futures::StreamExt;
use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng, seq::IteratorRandom};

use super::{
    faults::{judge, of_the_other},
    outage::PROPAGATION,
};
use crate::support::{
    figures::Figures,
    house::{by, target},
    region::{PATIENCE, Scene},
    replica::{Replica, quick},
};

/// Points that are tried with the tests.
const SAMPLE: usize = 8;
/// Regions at a time, each under its own traffic: with the other tests, and alone.
const BESIDE_OTHERS: usize = 2;
const ALONE: usize = 4;
/// Looks come again and again: so many of each kind are held, one a run.
const LOOKS: u64 = 4;
/// A look that others share is not made in every run: so many, until one makes it.
const RUNS_MAX: usize = 3;
/// Into so many parts the quiet period is cut, with a point in each.
const PARTS: u32 = 8;
const QUIET: Duration = Duration::from_secs(2);

/// Where the rollback is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Point {
    /// The n-th such call is on its way to AWS, and lands after the acceptance.
    Before(String, u64),
    /// It was applied; its answer comes after the acceptance.
    After(String, u64),
    /// So many parts of the quiet period are over, and nothing is on its way.
    Quiet(u32),
}

/// A run that is over.
#[derive(Debug, Default, Clone, Copy)]
struct Survived {
    requests: u64,
    /// Too late in the quiet period the answer may be that it is over.
    refused: bool,
}

/// A late call lives for half a quiet period, as AWS's signatures do against the 10 minutes of the default.
fn settings() -> EngineSettings {
    let quick = quick();
    EngineSettings { timing: Timing { quiet_period: QUIET, ..quick.timing }, act_timeout: Duration::from_secs(1), ..quick }
}

fn is_in(d: &Deployment) -> bool {
    matches!(d.phase, Phase::Committing { .. })
}

/// Waits until so many parts of the quiet period are over, by the clock that the record was written by.
async fn quiet_for(replica: &Replica, id: cutover::domain::ids::DeploymentId, parts: u32) {
    let begun = |d: &Deployment| matches!(d.phase, Phase::Committing { quiet_since: Some(_) }) || d.phase.is_terminal();
    let d = replica.until(id, "the quiet period", begun).await;
    let Phase::Committing { quiet_since: Some(since) } = d.phase else { return };
    let until = since + QUIET * parts / PARTS;
    replica.until(id, "its part", |d| Timestamp::now() >= until || !is_in(d)).await;
}

struct Ground {
    scene: Scene,
    replica: Replica,
    load: Load,
    id: cutover::domain::ids::DeploymentId,
    /// The second service, as it was.
    before: Vec<String>,
}

impl Ground {
    /// A deployment over two routes that has just begun to commit.
    async fn committing() -> Self {
        let stage = Stage { services: 2, routes: 2, ..Stage::default() };
        let clocks = Clocks { signature_life: QUIET * 100 / 2, ..Clocks::default() };
        let scene = Scene::with(&stage, clocks).await;
        scene.tie_users();
        let (before, load) = (of_the_other(&scene), scene.users(25));
        let replica = Replica::with(&scene, settings());
        let now = BakeTime::For(Duration::ZERO);
        replica.store.declare(&target(), &scene.declaration(&[(1000, now)], now), "ada", None).await.unwrap();
        let id = replica.deploy(scene.image("v2")).await;
        replica.until(id, "committing", is_in).await;
        Self { scene, replica, load, id, before }
    }

    /// Waits until the call is held; `false` when the phase was over before one came.
    async fn held(&self) -> bool {
        let began = Instant::now();
        loop {
            if self.scene.sim.faults().list().iter().any(|fault| fault.holding > 0) {
                return true;
            }
            assert!(began.elapsed() < PATIENCE, "neither was it held nor did it end");
            if !is_in(&self.replica.store.get(self.id).await.unwrap().unwrap().deployment) {
                return false;
            }
            self.replica.store.changed(Duration::from_millis(10)).await;
        }
    }

    /// Nothing came of it.
    async fn ends(self) {
        self.replica.stop().await;
        self.load.finish().await;
        self.scene.sim.shutdown().await;
    }

    /// Goes back, lets go what is held once that was accepted, and judges the end.
    async fn goes_back(self) -> Result<Survived, String> {
        let Self { scene, replica, load, id, before } = self;
        let answer = replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await;
        let settled = Instant::now() + PROPAGATION;
        scene.sim.faults().clear();
        let refused = match &answer {
            Ok(answer) if answer.accepted => false,
            Ok(answer) => return Err(format!("it was not accepted: {:?}", answer.routes)),
            Err(Trouble::Refused { .. }) => true,
            Err(trouble) => return Err(format!("it was answered {trouble:?}")),
        };
        let d = replica.until(id, "the end", |d| d.phase.is_terminal()).await;
        replica.stop().await;
        let record = load.finish().await;
        let (wanted, remains) = if refused { (Status::Succeeded, "web-prod-v001") } else { (Status::RolledBack, scene.blue()) };
        let ended = judge(&scene, &d, wanted, remains, &before);
        scene.sim.shutdown().await;
        ended?;
        let green = if refused { 0 } else { record.answers_to_requests_sent_after("v2", settled) };
        match (record.totals().lost, green) {
            (0, 0) => Ok(Survived { requests: record.totals().answered, refused }),
            (lost, green) => Err(format!("{lost} requests lost, {green} answers of green's after it: {:?}", record.losses())),
        }
    }
}

async fn try_at(point: &Point) -> Result<Survived, String> {
    for _ in 0..RUNS_MAX {
        let ground = Ground::committing().await;
        match point {
            Point::Before(operation, n) | Point::After(operation, n) => {
                let effect = if matches!(point, Point::Before(..)) { Effect::HoldBefore } else { Effect::HoldAfter };
                let fault = Fault { skip: *n, ..Fault::on(operation, effect).times(1) };
                ground.scene.sim.faults().set(fault).expect("there is room for one");
                if !ground.held().await {
                    ground.ends().await;
                    continue;
                }
            }
            Point::Quiet(parts) => quiet_for(&ground.replica, ground.id, *parts).await,
        }
        return ground.goes_back().await;
    }
    Err(format!("in each of {RUNS_MAX} runs the phase was over before the call came"))
}

/// Every point there is, by the calls of a run that nobody stops.
async fn points() -> Vec<Point> {
    let ground = Ground::committing().await;
    let mark = ground.scene.sim.journal().calls(0, None).last().map_or(0, |call| call.number);
    ground.replica.until(ground.id, "retiring", |d| !is_in(d)).await;
    let mut made: BTreeMap<String, u64> = BTreeMap::new();
    for call in ground.scene.sim.journal().calls(mark, None) {
        *made.entry(call.operation).or_default() += 1;
    }
    ground.replica.stop().await;
    ground.scene.sim.shutdown().await;
    // The bases of two routes; what retires belongs to the next phase, and is begun only by its decision.
    assert_eq!(made.get("ModifyRule"), Some(&2), "{made:?}");
    let calls = made.iter().filter(|(operation, _)| operation.as_str() == "ModifyRule" || operation.starts_with("Describe"));
    let calls = calls.flat_map(|(operation, count)| {
        (0..(*count).min(LOOKS)).flat_map(|n| [Point::Before(operation.clone(), n), Point::After(operation.clone(), n)])
    });
    calls.chain((0..PARTS).map(Point::Quiet)).collect()
}

async fn survive(points: Vec<Point>, side_by_side: usize) -> Figures {
    let (began, cases) = (Instant::now(), points.len());
    let runs = points.into_iter().map(|point| async move {
        let name = format!("{point:?}");
        // A task of its own: a story that fails in the middle fails alone.
        match tokio::spawn(async move { try_at(&point).await }).await {
            Ok(Ok(survived)) => Ok(survived),
            Ok(Err(why)) => Err(format!("{name}: {why}")),
            Err(_) => Err(format!("{name}: it did not come to its end")),
        }
    });
    let outcomes: Vec<_> = futures::stream::iter(runs).buffer_unordered(side_by_side).collect().await;
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().cloned()).collect();
    assert!(failed.is_empty(), "{} of {cases} points were not survived:\n{}", failed.len(), failed.join("\n"));
    let survived: Vec<_> = outcomes.into_iter().flatten().collect();
    assert!(survived.iter().all(|run| !run.refused), "a rollback was refused in `committing`");
    Figures {
        suite: "committing",
        what: "a rollback at one point of committing, over two routes",
        cases,
        survived: survived.len(),
        requests: survived.iter().map(|run| run.requests).sum(),
        seconds: began.elapsed().as_secs(),
        ..Figures::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_in_committing_holds_at_whatever_point() {
    let seed = std::env::var("CUTOVER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("CUTOVER_SEED={seed}");
    let sample = points().await.into_iter().choose_multiple(&mut StdRng::seed_from_u64(seed), SAMPLE);
    let figures = survive(sample, BESIDE_OTHERS).await;
    Figures { seed: Some(seed), ..figures }.print();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn soak_a_rollback_in_committing_holds_at_every_point() {
    let figures = survive(points().await, ALONE).await;
    // Shields that the region only says it has made are found out.
    let ground = Ground::committing().await;
    quiet_for(&ground.replica, ground.id, 1).await;
    let caught = planted(ground).await;
    Figures { planted: 1, caught: usize::from(caught), ..figures }.publish();
    assert!(caught, "a rollback that never was went unnoticed");
}

/// Whether it is noticed that the load balancer says that the shields are raised, and they are not.
async fn planted(ground: Ground) -> bool {
    // The lane's, and each of the engine's, which sees at its next look that there are none.
    let fault = Fault::on("CreateRule", Effect::Feigned);
    ground.scene.sim.faults().set(fault).expect("there is room for one");
    let answer = ground.replica.lane.clone().rollback(RollbackOf::Target(target()), by("ada")).await;
    let (settled, began) = (Instant::now() + PROPAGATION, Instant::now());
    let seen = || ground.load.record().answers_to_requests_sent_after("v2", settled);
    while answer.is_ok() && seen() == 0 && began.elapsed() < PATIENCE {
        tokio::task::yield_now().await;
    }
    let caught = seen() > 0;
    ground.replica.stop().await;
    ground.scene.sim.shutdown().await;
    caught
}
