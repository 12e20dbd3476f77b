//! Leases: who may work on what, and what a settle that comes too late is told.

use std::collections::BTreeSet;

use cutover::{
    domain::phase::Phase,
    engine::{
        bundles::Bundles,
        ports::{Current, LaneStore, Settled, Settlement, Store},
    },
};

use super::*;

on_both_stores! {
    what_one_replica_has_claimed_another_does_not_get,
    a_lease_that_ran_out_is_taken_over_and_its_old_holder_is_told,
    a_renewed_lease_lasts_longer_and_a_lost_one_cannot_be_renewed,
    what_is_being_worked_on_is_not_offered_again_until_a_command_asks_for_it,
    a_restarted_replica_takes_its_own_leases_back_at_once,
    replicas_that_claim_at_once_share_the_work,
    a_claim_takes_no_more_than_asked_for,
    a_settle_stores_the_record_and_its_events_and_gives_the_lease_back,
    what_was_only_seen_again_keeps_its_version_and_says_when,
    what_is_known_of_a_record_is_claimed_as_reading_it_would_give_it,
    a_settle_by_another_holder_is_lost,
    a_settle_of_a_record_that_moved_on_is_lost,
    the_engine_never_writes_intent,
    what_is_settled_for_later_is_due_then,
    nothing_is_due_after_the_end,
    the_next_due_time_counts_the_leases_of_others,
}

const SHORT: Duration = Duration::from_millis(200);

async fn what_one_replica_has_claimed_another_does_not_get(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let before = std::time::Instant::now();
    let claim = claim(store, &replica(1), web).await;
    assert!(claim.lease_ends >= before + LEASE && claim.lease_ends <= std::time::Instant::now() + LEASE);
    assert!(store.claim_due(&replica(2), LEASE, 10, &Bundles::default()).await.unwrap().is_empty());
    give(store, web, Command::Pause).await;
    assert!(
        store.claim_due(&replica(2), LEASE, 10, &Bundles::default()).await.unwrap().is_empty(),
        "a command is no reason either"
    );
}

async fn a_lease_that_ran_out_is_taken_over_and_its_old_holder_is_told(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let old = store.claim_due(&replica(1), SHORT, 10, &Bundles::default()).await.unwrap().remove(0);
    let new = eventually(store, "the end of the lease", async || {
        store.claim_due(&replica(2), LEASE, 10, &Bundles::default()).await.unwrap().pop()
    })
    .await;
    assert!(std::time::Instant::now() >= old.lease_ends, "it was taken before it ran out");
    assert_eq!((new.deployment.id, new.version), (web, old.version));
    let next = old.deployment.entering(Phase::Cancelled, now());
    assert_eq!(settle(store, &replica(1), &old, &next).await, Settled::Lost);
    assert_eq!(store.renew(&old, &replica(1), LEASE).await.unwrap(), None);
    assert_eq!(read(store, web).await.phase, Phase::Pending);
    let next = new.deployment.entering(Phase::Cancelled, now());
    assert_eq!(settle(store, &replica(2), &new, &next).await, Settled::Stored);
}

async fn a_renewed_lease_lasts_longer_and_a_lost_one_cannot_be_renewed(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let claim = store.claim_due(&replica(1), SHORT, 10, &Bundles::default()).await.unwrap().remove(0);
    let renewed = store.renew(&claim, &replica(1), LEASE).await.unwrap().expect("it is ours");
    assert!(renewed > claim.lease_ends + LEASE / 2);
    eventually(store, "the old end", async || (std::time::Instant::now() > claim.lease_ends + SHORT).then_some(())).await;
    assert!(
        store.claim_due(&replica(2), LEASE, 10, &Bundles::default()).await.unwrap().is_empty(),
        "the old end does not count any more"
    );
    give(store, web, Command::Pause).await;
    assert_eq!(store.renew(&claim, &replica(1), LEASE).await.unwrap(), None, "the record has moved on");
    assert_eq!(store.renew(&claim, &replica(2), LEASE).await.unwrap(), None);
}

async fn what_is_being_worked_on_is_not_offered_again_until_a_command_asks_for_it(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let at_work = claim(store, &replica(1), web).await;
    assert!(store.claim_due(&replica(1), LEASE, 10, &Bundles::default()).await.unwrap().is_empty());
    give(store, web, Command::Pause).await;
    let again = claim(store, &replica(1), web).await;
    assert_eq!(again.version, at_work.version + 1);
}

async fn a_restarted_replica_takes_its_own_leases_back_at_once(store: &impl Store, _: &impl LaneStore) {
    let (web, api) = (release(store, "web").await, release(store, "api").await);
    assert_eq!(store.claim_due(&replica(1), LEASE, 1, &Bundles::default()).await.unwrap().len(), 1);
    assert_eq!(store.claim_due(&replica(2), LEASE, 1, &Bundles::default()).await.unwrap().len(), 1);
    store.release_all(&replica(1)).await.unwrap();
    let own = store.claim_due(&replica(1), LEASE, 10, &Bundles::default()).await.unwrap();
    assert_eq!(own.len(), 1, "the other one's lease is not touched");
    assert!([web, api].contains(&own[0].deployment.id));
}

async fn replicas_that_claim_at_once_share_the_work(store: &impl Store, _: &impl LaneStore) {
    const SERVICES: usize = 12;
    for n in 0..SERVICES {
        release(store, &format!("s{n}")).await;
    }
    let (one, two) = (replica(1), replica(2));
    let none = Bundles::default();
    let (a, b) = tokio::join!(store.claim_due(&one, LEASE, SERVICES, &none), store.claim_due(&two, LEASE, SERVICES, &none));
    let claimed: Vec<_> = a.unwrap().into_iter().chain(b.unwrap()).map(|claim| claim.deployment.id).collect();
    assert_eq!(claimed.len(), SERVICES);
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>().len(), SERVICES, "one was claimed twice");
}

async fn a_claim_takes_no_more_than_asked_for(store: &impl Store, _: &impl LaneStore) {
    for n in 0..3 {
        release(store, &format!("s{n}")).await;
    }
    assert_eq!(store.claim_due(&replica(1), LEASE, 2, &Bundles::default()).await.unwrap().len(), 2);
    assert_eq!(store.claim_due(&replica(1), LEASE, 2, &Bundles::default()).await.unwrap().len(), 1);
}

async fn a_settle_stores_the_record_and_its_events_and_gives_the_lease_back(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let claim = claim(store, &replica(1), web).await;
    let mut next = claim.deployment.entering(Phase::Provisioning, now());
    next.plan = Some(plan(&next, 100));
    next.attention = Some("launches fail".to_owned());
    let events = event::between(&claim.deployment, &next);
    assert_eq!(events.len(), 2);
    assert_eq!(settle(store, &replica(1), &claim, &next).await, Settled::Stored);
    let stored = store.get(web).await.unwrap().unwrap();
    assert_eq!((stored.version, &stored.deployment), (claim.version + 1, &next));
    let told: Vec<_> = store.events(web, 0, 10).await.unwrap().into_iter().map(|event| event.event).collect();
    assert_eq!(told[1..], events);
    assert_eq!(store.claim_due(&replica(2), LEASE, 10, &Bundles::default()).await.unwrap().len(), 1);
}

async fn what_was_only_seen_again_keeps_its_version_and_says_when(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let baking = bring(store, web, Phase::Baking { seen_at: Some(now()), commit_now: false }).await;
    let looked_at = claim(store, &replica(1), web).await;
    let mut next = looked_at.deployment.clone();
    next.seen.at = Some(now());
    let seen_again = |claim| Settlement::new(claim, &next, &[], LEASE, true);
    assert_eq!(store.settle(&replica(2), seen_again(&looked_at)).await.unwrap(), Settled::Lost, "it has no lease");
    assert_eq!(store.settle(&replica(1), seen_again(&looked_at)).await.unwrap(), Settled::Stored);
    let stored = store.get(web).await.unwrap().unwrap();
    assert_eq!((stored.version, &stored.deployment), (looked_at.version, &next));
    assert_ne!(stored.deployment.seen.at, baking.seen.at);
    let current = Current { id: web, version: looked_at.version, seen_at: next.seen.at };
    assert_eq!(store.running_versions(10).await.unwrap(), [current]);
    assert!(store.claim_due(&replica(2), LEASE, 10, &Bundles::default()).await.unwrap().is_empty(), "not due yet");
    let soon = store.next_due(&replica(2)).await.unwrap().expect("its lease was given back");
    assert!(soon > LEASE / 2, "{soon:?}");

    // A command in between, and all that was seen is forgotten.
    give(store, web, SOME_COMMAND).await;
    let looked_at = claim(store, &replica(1), web).await;
    give(store, web, Command::Pause).await;
    assert_eq!(store.settle(&replica(1), seen_again(&looked_at)).await.unwrap(), Settled::Lost);
}

async fn what_is_known_of_a_record_is_claimed_as_reading_it_would_give_it(store: &impl Store, lane: &impl LaneStore) {
    let known = Bundles::default();
    let web = release(store, "web").await;
    bring(store, web, Phase::Baking { seen_at: Some(now()), commit_now: false }).await;
    known.confirm(store, 10).await.unwrap();
    let read = store.get(web).await.unwrap().unwrap();
    assert!(known.at(web, read.version).is_some());

    // What changes without the version: when it was seen last, and when the load balancer had accepted a rollback.
    let looked_at = store.claim_due(&replica(1), LEASE, 10, &known).await.unwrap().remove(0);
    assert_eq!((looked_at.version, &looked_at.deployment), (read.version, &read.deployment));
    let mut next = looked_at.deployment.clone();
    next.seen.at = Some(now());
    let seen_again = Settlement::new(&looked_at, &next, &[], Duration::from_nanos(1), true);
    assert_eq!(store.settle(&replica(1), seen_again).await.unwrap(), Settled::Stored);
    let again =
        eventually(store, "it is due", async || store.claim_due(&replica(1), LEASE, 10, &known).await.unwrap().pop()).await;
    assert_eq!((again.version, &again.deployment), (read.version, &next));

    // What changes with it is read again.
    lane.raise_rollback(web, &by("ada")).await.unwrap();
    let raised = store.claim_due(&replica(1), LEASE, 10, &known).await.unwrap().remove(0);
    assert!(raised.version > read.version && raised.deployment.intent.rollback.is_some(), "{raised:?}");
    known.confirm(store, 10).await.unwrap();
    lane.accepted(web, now()).await.unwrap();
    store.release_all(&replica(1)).await.unwrap();
    let accepted = store.claim_due(&replica(1), LEASE, 10, &known).await.unwrap().remove(0);
    assert_eq!(accepted.version, raised.version);
    assert!(known.at(web, accepted.version).is_some() && accepted.deployment.intent.rollback_accepted_at.is_some());
}

async fn a_settle_by_another_holder_is_lost(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let claim = claim(store, &replica(1), web).await;
    let next = claim.deployment.entering(Phase::Cancelled, now());
    assert_eq!(settle(store, &replica(2), &claim, &next).await, Settled::Lost);
    store.release_all(&replica(1)).await.unwrap();
    assert_eq!(settle(store, &replica(1), &claim, &next).await, Settled::Lost, "what was given back is nobody's");
    assert_eq!(read(store, web).await.phase, Phase::Pending);
}

async fn a_settle_of_a_record_that_moved_on_is_lost(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, Phase::Baking { seen_at: None, commit_now: false }).await;
    for by_lane in [false, true] {
        let claim = claim(store, &replica(1), web).await;
        if by_lane {
            lane.raise_rollback(web, &by("ada")).await.unwrap();
        } else {
            give(store, web, SOME_COMMAND).await;
        }
        let before = store.events(web, 0, 100).await.unwrap().len();
        let next = claim.deployment.entering(Phase::Committing { quiet_since: None }, now());
        assert_eq!(settle(store, &replica(1), &claim, &next).await, Settled::Lost);
        assert_eq!(read(store, web).await.phase.name(), "baking");
        assert_eq!(store.events(web, 0, 100).await.unwrap().len(), before, "a lost settle tells nothing");
    }
}

async fn the_engine_never_writes_intent(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    lane.raise_rollback(web, &by("ada")).await.unwrap();
    let claim = claim(store, &replica(1), web).await;
    let mut next = claim.deployment.entering(Phase::Provisioning, now());
    next.plan = Some(plan(&next, 100));
    next.intent = cutover::domain::deployment::Intent::default();
    assert_eq!(settle(store, &replica(1), &claim, &next).await, Settled::Stored);
    assert!(read(store, web).await.intent.rollback.is_some());
}

async fn what_is_settled_for_later_is_due_then(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let claim = claim(store, &replica(1), web).await;
    let settled = std::time::Instant::now();
    assert_eq!(settle_with(store, &replica(1), &claim, &claim.deployment, &[], SHORT).await, Settled::Stored);
    let due = store.next_due(&replica(1)).await.unwrap().expect("it has not ended");
    assert!(due <= SHORT);
    eventually(store, "the time it is due", async || {
        store.claim_due(&replica(2), LEASE, 1, &Bundles::default()).await.unwrap().pop()
    })
    .await;
    assert!(settled.elapsed() >= SHORT);
}

async fn nothing_is_due_after_the_end(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, Phase::Cancelled).await;
    assert!(store.claim_due(&replica(1), LEASE, 10, &Bundles::default()).await.unwrap().is_empty());
    assert_eq!(store.next_due(&replica(1)).await.unwrap(), None);
}

async fn the_next_due_time_counts_the_leases_of_others(store: &impl Store, _: &impl LaneStore) {
    assert_eq!(store.next_due(&replica(1)).await.unwrap(), None);
    let web = release(store, "web").await;
    assert_eq!(store.next_due(&replica(1)).await.unwrap(), Some(Duration::ZERO));
    claim(store, &replica(1), web).await;
    give(store, web, Command::Pause).await;
    assert_eq!(store.next_due(&replica(1)).await.unwrap(), Some(Duration::ZERO), "the command asks its holder");
    let due = store.next_due(&replica(2)).await.unwrap().unwrap();
    assert!(due > LEASE / 2 && due <= LEASE, "another one waits out the lease, not {due:?}");
}
