//! Rollback anywhere: from every phase that a deployment can be in, in every weather, under users with kept and fresh connections,
//! sticky sessions and long requests. The real process, a Postgres of its own, the pocket region.
//!
//! For each pair the deployment is brought to the phase and held there, the world is broken, somebody asks to go back as `curl` would,
//! and the world is mended. Judged are the answer (`expected`, by the documents), the traffic, what is left over, and the record
//! against the world (`support::oracle`). A sample runs with the tests, drawn by a printed seed (`CUTOVER_SEED`); all of it with
//! `make soak`, or some alone: `CUTOVER_ANYWHERE=Baking,Blackhole` runs what is named by all the words that are given.

mod breaking;
mod expected;
mod ground;
mod phase;
mod planted;
mod press;
mod weather;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::StreamExt;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;

use self::{
    breaking::Broken,
    expected::promise,
    ground::{Ground, HOME},
    phase::At,
    planted::Plant,
    press::{Accepted, press},
    weather::Weather,
};
use crate::support::{
    figures::Figures,
    oracle::{Ended, Verdict},
};

/// Pairs that run with the tests.
const SAMPLE: usize = 6;
/// Regions at a time.
const SIDE_BY_SIDE: usize = 4;

/// A rollback, from where and in what weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    at: At,
    weather: Weather,
}

/// What became of it.
struct Outcome {
    verdict: Verdict,
    accepted: Option<Accepted>,
}

fn all() -> Vec<Case> {
    At::ALL.iter().flat_map(|at| Weather::ALL.map(|weather| Case { at: *at, weather })).collect()
}

/// One case from its beginning to its verdict.
async fn run(Case { at, weather }: Case, plant: Plant) -> Result<Outcome, String> {
    let mut ground = Ground::at(at, weather).await?;
    let mut broken = Broken::make(&mut ground, at, weather).await?;
    plant.before(&mut ground).await?;
    let pressed = press(&mut ground, at, weather, &mut broken).await?;
    plant.lasts(&ground, pressed.accepted.map(|accepted| accepted.at)).await;
    broken.end(&mut ground).await;
    let ended = ground.until(broken.asked, "the end", |d| !d["ended_at"].is_null()).await?;
    plant.after(&ground);
    let home = ground.services[broken.asked].done("GET", HOME, None).await;
    let (promised, said) = (promise(at, weather), ground.said());
    // Of one that was under way already the first answer counts.
    let acknowledged = ground.acknowledged.or(pressed.accepted.map(|accepted| accepted.at));
    let record = ground.load.finish().await;
    let judged = Ended {
        scene: &ground.scene,
        before: &ground.before,
        load: &record,
        deployment: &ended,
        home: &home,
        wanted: promised.end,
        acknowledged,
    };
    let mut verdict = judged.judge().await;
    verdict.faults.extend(promised.faults(at, &pressed));
    verdict.faults.extend(promised.record(at, &ended, pressed.answer["rollback"].get("requested_at")));
    if !at.is_before_traffic() && record.last_answer("v2").is_none() {
        verdict.faults.push("green never had a user: nothing was taken back".to_owned());
    }
    if !verdict.faults.is_empty() {
        verdict.faults.push(format!("{ended:#}\n{said}"));
    }
    for service in ground.services {
        service.stop().await;
    }
    ground.scene.sim.shutdown().await;
    drop(ground.postgres);
    Ok(Outcome { verdict, accepted: pressed.accepted })
}

/// What became of many.
#[derive(Default)]
struct Tally {
    figures: Figures,
    survived: BTreeMap<Weather, u64>,
    /// The slowest from request to acceptance, and from mending to acceptance.
    slowest: BTreeMap<Weather, (Duration, Duration)>,
    failed: Vec<String>,
}

impl Tally {
    fn add(&mut self, case: Case, outcome: Result<Outcome, String>) {
        let Outcome { verdict, accepted } = match outcome {
            Ok(outcome) => outcome,
            Err(why) => return self.fail(case, &why),
        };
        self.figures.requests += verdict.requests;
        self.figures.lost += verdict.lost;
        self.figures.green_after_rollback += verdict.green_after_rollback;
        self.figures.left_over += verdict.left_over;
        if let Some(accepted) = accepted {
            let (took, after_mending) = self.slowest.entry(case.weather).or_default();
            *took = accepted.took.max(*took);
            *after_mending = accepted.after_mending.unwrap_or_default().max(*after_mending);
        }
        if verdict.faults.is_empty() {
            self.figures.survived += 1;
            *self.survived.entry(case.weather).or_default() += 1;
        } else {
            self.fail(case, &verdict.faults.join("\n  "));
        }
    }

    fn fail(&mut self, case: Case, why: &str) {
        println!("not survived: {case:?}: {why}\n");
        self.failed.push(format!("{case:?}: {}", why.lines().next().unwrap_or_default()));
    }

    /// How long it took in each weather; the figures are printed with the others.
    fn print(&self) {
        for (weather, survived) in &self.survived {
            let (took, after_mending) = self.slowest.get(weather).copied().unwrap_or_default();
            let mended =
                if after_mending.is_zero() { String::new() } else { format!(", {after_mending:.1?} after it was mended") };
            println!("  {weather:?}: {survived} survived, accepted within {took:.1?}{mended}");
        }
        for skipped in &self.figures.skipped {
            println!("  skipped: {skipped}");
        }
    }

    fn no_failure(&self) {
        assert!(self.failed.is_empty(), "{} were not survived:\n{}", self.failed.len(), self.failed.join("\n"));
    }
}

/// Runs them, some side by side, and tells of each that was not survived when it is over.
async fn survive(cases: Vec<Case>) -> Tally {
    let began = Instant::now();
    let figures = Figures { suite: "anywhere", what: "asked for, accepted, and brought about", ..Figures::default() };
    let mut tally = Tally { figures, ..Tally::default() };
    let weathers: BTreeSet<_> = cases.iter().map(|case| case.weather).collect();
    let cannot: BTreeMap<_, _> = weathers.into_iter().filter_map(|weather| Some((weather, weather.cannot()?))).collect();
    let (skipped, cases): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| cannot.contains_key(&case.weather));
    tally.figures.skipped = skipped.iter().map(|case| format!("{case:?}: {}", cannot[&case.weather])).collect();
    tally.figures.cases = cases.len();
    let runs = cases.into_iter().map(|case| async move { (case, by_itself(case, Plant::Nothing).await) });
    let mut runs = futures::stream::iter(runs).buffer_unordered(SIDE_BY_SIDE);
    while let Some((case, outcome)) = runs.next().await {
        tally.add(case, outcome);
    }
    tally.figures.seconds = began.elapsed().as_secs();
    tally.print();
    tally
}

/// On threads of its own: one case that blocks or breaks off takes nothing from the others.
async fn by_itself(case: Case, plant: Plant) -> Result<Outcome, String> {
    let alone = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(run(case, plant))
    };
    match tokio::task::spawn_blocking(alone).await {
        Ok(outcome) => outcome,
        Err(broke) => {
            let said = broke.try_into_panic().map(|panic| match panic.downcast::<String>() {
                Ok(said) => *said,
                Err(panic) => panic.downcast_ref::<&str>().copied().unwrap_or("it did not say why").to_owned(),
            });
            Err(format!("it broke off: {}", said.unwrap_or_else(|_| "it was given up".to_owned())))
        }
    }
}

/// The API's own list of phases: a new one has to be rolled back from, too.
#[test]
fn every_phase_that_a_deployment_can_be_in_has_its_place() {
    let document: Value = serde_json::from_str(include_str!("../../../../openapi/v1.json")).unwrap();
    let phases = document["components"]["schemas"]["Phase"]["enum"].as_array().unwrap();
    let ends = ["succeeded", "rolled_back", "cancelled", "failed"];
    let under_way: BTreeSet<_> = phases.iter().filter_map(Value::as_str).filter(|phase| !ends.contains(phase)).collect();
    let covered: BTreeSet<_> = At::ALL.iter().map(|at| at.phase()).collect();
    assert_eq!(covered, under_way);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_works_from_anywhere_in_any_weather() {
    let seed = std::env::var("CUTOVER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("CUTOVER_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    // Of different phases and weathers, so that a few tell of many.
    let (mut places, mut weathers) = (At::ALL, Weather::ALL);
    places.shuffle(&mut chance);
    weathers.shuffle(&mut chance);
    let sample = places.into_iter().zip(weathers).map(|(at, weather)| Case { at, weather }).take(SAMPLE).collect();
    let mut tally = survive(sample).await;
    tally.figures.seed = Some(seed);
    tally.figures.print();
    tally.no_failure();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn soak_a_rollback_works_from_anywhere_in_any_weather() {
    let wanted = std::env::var("CUTOVER_ANYWHERE").unwrap_or_default();
    let is_wanted = |case: &Case| {
        let name = format!("{:?} {:?}", case.at, case.weather);
        wanted.split(',').all(|word| word.is_empty() || name.split(' ').any(|part| part == word))
    };
    let cases: Vec<_> = all().into_iter().filter(is_wanted).collect();
    assert!(!cases.is_empty(), "nothing is named by {wanted}: {:?}", all());
    let mut tally = survive(cases).await;
    let found = planted::all_found().await;
    (tally.figures.planted, tally.figures.caught) = (found.len(), found.iter().filter(|found| found.is_ok()).count());
    tally.figures.publish();
    tally.no_failure();
    planted::no_miss(found);
}
