//! A rollback's call that is not answered in its usual time is sent once more, on the pocket region: while there are tokens to spare, and
//! only then. In a burst of rollbacks a second call of one would be the first of another.

use std::{sync::Arc, time::Duration};

use cutover::{
    cloud::aws::{Budget, BudgetSettings, Grant},
    domain::{phase::Phase, time::BakeTime, timing::Timing},
    engine::{api::RollbackOf, ports::Store, settings::EngineSettings},
};
use cutover_sim::{
    faults::{Effect, Fault},
    journal::Entry as Call,
    scenario::Stage,
};
use jiff::SignedDuration;

use crate::support::{
    house::{by, target},
    region::Scene,
    replica::{Replica, quick},
};

/// What one call is waited for; the early one as long as that.
const ACT_TIMEOUT: Duration = Duration::from_secs(2);
/// The service changes a rule as often as this before, so that it knows what is usual.
const STAGES: u16 = 12;

/// Deletions of one rollback's overlay, in order, of which the last was accepted: after `faults`, on this many tokens.
async fn deletions(faults: &[Effect]) -> Vec<Call> {
    let grant = Grant { size: 200, per_second: 1, reserve: 20 };
    let plenty = Grant { size: 100_000, per_second: 100_000, reserve: 1 };
    let budget = Arc::new(Budget::new(BudgetSettings { elb_changes: grant, elb_looks: plenty, auto_scaling: plenty }));
    let scene = Scene::new(&Stage::default()).await;
    let quick = quick();
    let timing = Timing { commit_delay: ACT_TIMEOUT * 4, quiet_period: ACT_TIMEOUT * 10, ..quick.timing };
    let replica = Replica::on(&scene, EngineSettings { timing, act_timeout: ACT_TIMEOUT, ..quick }, &budget);
    let stages: Vec<_> = (1..=STAGES).map(|n| (n * 10, BakeTime::For(Duration::ZERO))).collect();
    let last = [(1000, BakeTime::Manual)];
    let declaration = scene.declaration(&[&stages[..], &last].concat(), BakeTime::Manual);
    replica.store.declare(&target(), &declaration, "ada", None).await.unwrap();
    let id = replica.deploy(scene.image("v2")).await;
    replica
        .until(
            id,
            "all of the traffic",
            |d| matches!(d.phase, Phase::Shifting { stage, seen_at: Some(_), .. } if stage == usize::from(STAGES)),
        )
        .await;
    let mark = scene.sim.journal().calls(0, None).last().map_or(0, |call| call.number);
    for (n, effect) in faults.iter().enumerate() {
        let fault = Fault { skip: n as u64, ..Fault::on("DeleteRule", effect.clone()).times(1) };
        scene.sim.faults().set(fault).expect("there is room for a few");
    }
    // What the engine would send as well is not what is counted.
    let lane = replica.lane.clone();
    replica.stop().await;
    let answer = lane.rollback(RollbackOf::Deployment(id), by("ada")).await.unwrap();
    assert!(answer.accepted, "{:?}", answer.routes);
    let mut calls = scene.sim.journal().calls(mark, None);
    calls.retain(|call| call.operation == "DeleteRule");
    scene.sim.shutdown().await;
    calls
}

fn between(one: &Call, other: &Call) -> SignedDuration {
    other.at.duration_since(one.at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_answered_is_sent_once_more_while_tokens_are_plenty() {
    let calls = deletions(&[Effect::Hang]).await;
    assert_eq!(calls.len(), 2, "{calls:#?}");
    let waited = between(&calls[0], &calls[1]);
    assert!(waited.unsigned_abs() < ACT_TIMEOUT, "it was not the retry after the time of the first: {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_tokens_left_nothing_is_sent_twice_at_once() {
    // What was throttled says that there are few.
    let calls = deletions(&[Effect::throttled(), Effect::Hang]).await;
    assert_eq!(calls.len(), 3, "{calls:#?}");
    let waited = between(&calls[1], &calls[2]);
    assert!(waited.unsigned_abs() >= ACT_TIMEOUT, "the second was waited for: {waited:?}");
}
