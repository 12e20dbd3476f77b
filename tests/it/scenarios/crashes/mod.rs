//! The crash matrix: the real process killed at every step, before its call, after it, after its answer and after its record; started
//! again, or followed by another replica, which sees the world as it is or as it was. Under live traffic.
//!
//! Kills are timed from outside: the pocket region holds a call, or its answer; a relay stops a statement on its way to Postgres, or
//! its answer on the way back. Which steps there are is learnt from journeys without a crash. A sample runs with the tests, drawn by a
//! printed seed (`CUTOVER_SEED`); all of it with `make soak`, or what has all of some words in its name: `CUTOVER_CRASHES=lane,Another`.

mod cases;
mod planted;
mod story;

use std::time::Instant;

use futures::StreamExt;
use rand::{SeedableRng, rngs::StdRng, seq::IteratorRandom};

use cases::{Case, JOURNEYS};
use planted::{PLANTED, Planted};
use story::{Arrived, travel};

use crate::support::figures::Figures;

/// Crashes that run with the tests.
const SAMPLE: usize = 4;
/// Regions, and processes, at a time.
const SIDE_BY_SIDE: usize = 4;

/// Every crash of every journey.
async fn matrix() -> Vec<Case> {
    let learnt = JOURNEYS.map(|journey| async move {
        let Arrived { verdict, calls } = travel(journey, None, None).await.unwrap_or_else(|why| panic!("{journey:?}: {why}"));
        assert!(verdict.faults.is_empty(), "{journey:?} without any crash: {}", verdict.faults.join("\n"));
        cases::of(journey, &calls)
    });
    futures::future::join_all(learnt).await.concat()
}

/// On a thread of its own: a story that fails in the middle fails alone.
async fn crash(case: Case, planted: Option<Planted>) -> (String, Result<Arrived, String>) {
    let (name, here) = (case.to_string(), tokio::runtime::Handle::current());
    let run = tokio::task::spawn_blocking(move || here.block_on(travel(case.journey, Some(case), planted))).await;
    // What it saw last is printed where it panicked.
    (name, run.unwrap_or_else(|_| Err("it did not come to its end".to_owned())))
}

/// Runs them, some side by side, and tells of each that was not survived when it happens: all of them take minutes.
async fn survive(cases: Vec<Case>) -> Figures {
    let (count, started) = (cases.len(), Instant::now());
    let mut runs = futures::stream::iter(cases.into_iter().map(|case| crash(case, None))).buffer_unordered(SIDE_BY_SIDE);
    let mut figures = Figures { suite: "crash_matrix", what: "killed, and recovered", cases: count, ..Figures::default() };
    while let Some((name, run)) = runs.next().await {
        let why = match run {
            Ok(Arrived { verdict, .. }) => {
                figures.requests += verdict.requests;
                figures.lost += verdict.lost;
                figures.green_after_rollback += verdict.green_after_rollback;
                figures.left_over += verdict.left_over;
                verdict.faults.join("\n")
            }
            Err(why) => why,
        };
        if why.is_empty() {
            figures.survived += 1;
        } else {
            println!("not survived: {name}: {why}\n");
        }
    }
    figures.seconds = started.elapsed().as_secs();
    figures
}

/// How each planted bug was found, or what was said instead.
async fn planted() -> Vec<Result<Planted, String>> {
    let runs = PLANTED.map(|planted| async move {
        let (name, run) = crash(planted.case(), Some(planted)).await;
        let faults = run.map(|arrived| arrived.verdict.faults).unwrap_or_else(|why| vec![why]);
        let found = faults.iter().any(|fault| fault.contains(planted.found_as()));
        let missed = || format!("{planted:?} in {name} was not found as `{}`: {}", planted.found_as(), faults.join("\n"));
        if found { Ok(planted) } else { Err(missed()) }
    });
    futures::future::join_all(runs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_the_end_is_right() {
    let seed = std::env::var("CUTOVER_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("CUTOVER_SEED={seed}");
    let all = matrix().await;
    println!("{} crashes in all", all.len());
    let figures = survive(all.into_iter().choose_multiple(&mut StdRng::seed_from_u64(seed), SAMPLE)).await;
    figures.print();
    assert_eq!(figures.survived, figures.cases, "those that were not survived are told above");
}

/// A suite that finds nothing proves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_that_meets_a_planted_bug_is_not_survived() {
    let missed: Vec<_> = planted().await.into_iter().filter_map(Result::err).collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: make soak"]
async fn soak_killed_anywhere_the_end_is_right() {
    let wanted = std::env::var("CUTOVER_CRASHES").unwrap_or_default();
    let is_wanted = |case: &Case| wanted.split(',').all(|word| case.to_string().contains(word));
    let cases: Vec<_> = matrix().await.into_iter().filter(is_wanted).collect();
    assert!(!cases.is_empty(), "no crash has all of these words in its name: {wanted}");
    let mut figures = survive(cases).await;
    let found = planted().await;
    (figures.planted, figures.caught) = (found.len(), found.iter().filter(|found| found.is_ok()).count());
    figures.publish();
    assert_eq!(figures.survived, figures.cases, "those that were not survived are told above");
    assert_eq!(figures.caught, figures.planted, "{found:?}");
}
