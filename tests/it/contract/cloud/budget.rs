//! The request budget against a region that enforces AWS's own: forward work is held, rollbacks are not, and nothing is
//! throttled that need not be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cutover::{
    cloud::aws::{AwsCloud, Budget, BudgetSettings, Grant},
    domain::{
        action::Action as Change,
        deployment::Deployment,
        ids::RuleRef,
        phase::{BackAs, Phase},
        weight::Weight,
    },
    engine::ports::{Cloud, Fault as Refusal, FaultKind, Recency},
};
use cutover_sim::{
    faults::{Effect, Fault},
    limits::Rates,
};
use futures::future::join_all;
use tokio::task::JoinSet;

use super::{
    house::{House, later},
    world::World,
};

/// A service with its overlay open, in a region that enforces AWS's published limits from now on.
async fn limited(world: &World) -> Deployment {
    let house = House::build(world, "limited").await;
    let mut d = house.opened(house.declaration(&house.base)).await;
    d.phase = Phase::Baking { seen_at: None, commit_now: false };
    world.sim().limits().set(Some(Rates::default()));
    world.sim().journal().clear();
    d
}

fn rise(d: &Deployment) -> Change {
    Change::SetWeight { routes: vec![(0, d.overlays[0].clone())], weight: Weight::ALL }
}

/// What a rollback of five routes sends. The rules are gone already: that is success, and costs as much.
fn back() -> Change {
    let rule = |i: usize| format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:listener-rule/app/a/b/c/{i}");
    Change::DeleteRules { rules: (0..5).map(rule).map(RuleRef::new).collect() }
}

fn throttled(world: &World) -> usize {
    world.sim().journal().calls(0, None).iter().filter(|call| call.outcome.as_deref() == Some("Throttling")).count()
}

/// How the calls of an operation ended, by the adapter's own count.
fn counted(cloud: &AwsCloud, lane: &str, operation: &str) -> Vec<(&'static str, u64)> {
    let figures = cloud.figures().calls;
    figures
        .into_iter()
        .find(|calls| calls.lane == lane && calls.operation == operation)
        .map(|calls| calls.outcomes)
        .unwrap_or_default()
}

fn calls(world: &World, operation: &str) -> usize {
    world.sim().journal().calls(0, Some(operation)).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_goes_at_once_when_forward_work_has_drained_the_bucket() {
    let world = World::pocket_region().await;
    let d = limited(&world).await;
    let budget = Arc::new(Budget::new(BudgetSettings::default()));
    let forward = Arc::new(world.cloud_on(&budget));
    let lane = world.cloud_on(&budget).for_rollbacks();

    // At three a second it takes half a minute to be through with these.
    let mut rising = JoinSet::new();
    for _ in 0..100 {
        let (cloud, d) = (forward.clone(), d.clone());
        rising.spawn(async move { cloud.apply(&d, &rise(&d), later()).await });
    }
    for _ in 0..10 {
        rising.join_next().await.unwrap().unwrap().unwrap();
    }
    lane.apply(&d, &back(), later()).await.unwrap();
    // The same for one that goes back by itself, through the engine's own way in.
    let going_back = Deployment { phase: Phase::RollingBack { shield: false, ends: BackAs::RolledBack }, ..d.clone() };
    forward.apply(&going_back, &back(), later()).await.unwrap();

    assert!(!rising.is_empty(), "forward work was still waiting");
    assert!(rising.len() > 20, "and most of it: {}", rising.len());
    assert_eq!(calls(&world, "DeleteRule"), 10);
    assert_eq!(throttled(&world), 0);
    let back = |operation: &str| counted(&forward, "rollback", operation);
    assert_eq!((back("DeleteRule"), back("ModifyRule")), (vec![("missing", 10)], vec![]), "one budget, one count");
    rising.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_throttles_slows_its_own_class_and_is_counted() {
    let world = World::pocket_region().await;
    let d = limited(&world).await;
    let cloud = world.cloud_on(&Arc::new(Budget::new(BudgetSettings::default())));
    let refused = Effect::Error { code: "Throttling".to_owned(), message: "Rate exceeded".to_owned(), status: 400 };
    world.sim().faults().set(Fault::on("DescribeRules", refused).times(1)).unwrap();
    cloud.observe(&d, Recency::Now, later()).await;
    assert_eq!(counted(&cloud, "forward", "DescribeRules"), [("throttled", 1)]);
    for budget in cloud.figures().budgets {
        let [(_, forward), (_, rollback)] = budget.ready;
        if budget.class == "elb_looks" {
            assert!((0.5..0.9).contains(&budget.pace), "{budget:?}");
            // As many as forward work leaves: AWS has none that we know of.
            assert!(forward < 10.0 && rollback >= 10.0, "{budget:?}");
        } else {
            assert_eq!(budget.pace, 1.0, "{budget:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_divide_forward_work_and_what_gets_no_token_is_not_sent() {
    let world = World::pocket_region().await;
    let d = limited(&world).await;
    // Slow to come back, so that waiting for the next token would be too long for these calls.
    let changes = Grant { size: 20, per_second: 1, reserve: 10 };
    let settings = BudgetSettings { elb_changes: changes, ..BudgetSettings::default() };
    let replicas: Vec<AwsCloud> = (0..2)
        .map(|_| {
            let budget = Arc::new(Budget::new(settings));
            budget.share(2);
            world.cloud_on(&budget)
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(2);
    let rising = replicas.iter().flat_map(|cloud| std::iter::repeat_n(cloud, 20));
    let answers = join_all(rising.map(|cloud| async { cloud.apply(&d, &rise(&d), deadline).await })).await;
    let refused: Vec<Refusal> = answers.into_iter().filter_map(Result::err).collect();
    assert_eq!((refused.len(), calls(&world, "ModifyRule")), (30, 10), "ten are forward work's, and five each");
    for fault in refused {
        assert_eq!((fault.kind, fault.operation), (FaultKind::Throttled, "ModifyRule"));
        assert!(fault.message.starts_with("not sent"), "{fault}");
    }
    assert_eq!(throttled(&world), 0);
}
