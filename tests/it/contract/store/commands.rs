//! Commands and the rollback lane: intent is raised, absorbs, and is never overtaken by what was read before it.

use cutover::{
    domain::{
        command::Refusal,
        deployment::{Status, Trigger},
        phase::{BackAs, Phase},
    },
    engine::ports::{Commanded, LaneStore, Store},
};

use super::*;

on_both_stores! {
    a_command_raises_the_version_and_is_told,
    a_command_that_changes_nothing_leaves_the_version,
    a_command_on_another_version_than_the_one_named_is_not_given,
    an_illegal_command_is_refused_with_the_record,
    commands_that_come_at_once_are_all_kept,
    a_command_for_nobody_finds_nothing,
    a_rollback_needs_no_version_and_returns_the_record_as_it_left_it,
    a_rollback_is_raised_once_and_stays,
    a_rollback_is_raised_wherever_green_may_still_be_left,
    no_rollback_is_raised_once_blue_is_going,
    no_rollback_is_raised_on_what_was_abandoned,
    rolling_back_what_rolls_back_or_has_rolled_back_is_done_already,
    rollbacks_and_commands_that_come_at_once_lose_nothing,
    the_first_acceptance_stays_and_may_come_after_the_end,
    an_acceptance_of_what_goes_back_by_itself_is_recorded,
    an_acceptance_takes_no_settle_away,
    an_acceptance_of_what_was_not_asked_for_is_not_recorded,
}

const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: false };

fn done(commanded: Commanded) -> (Versioned, bool) {
    match commanded {
        Commanded::Done { deployment, changed } => (*deployment, changed),
        other => panic!("not done: {other:?}"),
    }
}

fn refused(commanded: Commanded) -> (Refusal, Deployment) {
    match commanded {
        Commanded::Refused { refusal, deployment } => (refusal, deployment.deployment),
        other => panic!("not refused: {other:?}"),
    }
}

async fn a_command_raises_the_version_and_is_told(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let given = by("ada");
    let (read, changed) = done(store.command(web, Command::Pause, given.clone(), None).await.unwrap());
    assert!(changed);
    assert_eq!((read.version, read.deployment.intent.paused_since), (2, Some(given.at)));
    let stored = store.get(web).await.unwrap().unwrap();
    assert_eq!((stored.version, &stored.deployment), (2, &read.deployment));
    let events = store.events(web, 0, 10).await.unwrap();
    assert_eq!(events[1].event, event::commanded(Command::Pause, &given));
}

async fn a_command_that_changes_nothing_leaves_the_version(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    give(store, web, Command::Pause).await;
    let (read, changed) = done(give(store, web, Command::Pause).await);
    assert_eq!((read.version, changed), (2, false));
    assert_eq!(store.events(web, 0, 10).await.unwrap().len(), 2);
}

async fn a_command_on_another_version_than_the_one_named_is_not_given(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    for wrong in [0, 2] {
        let moved = store.command(web, Command::Pause, by("ada"), Some(wrong)).await.unwrap();
        assert!(matches!(moved, Commanded::Moved), "{moved:?}");
    }
    assert!(!read(store, web).await.intent.is_paused());
    assert!(done(store.command(web, Command::Pause, by("ada"), Some(1)).await.unwrap()).1);
}

async fn an_illegal_command_is_refused_with_the_record(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    let (refusal, d) = refused(give(store, web, SOME_COMMAND).await);
    assert!(matches!(refusal, Refusal::IllegalInPhase { phase: "pending", .. }), "{refusal:?}");
    assert_eq!(d, read(store, web).await);
    assert_eq!(store.get(web).await.unwrap().unwrap().version, 1);
}

async fn commands_that_come_at_once_are_all_kept(store: &impl Store, _: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    let before = store.get(web).await.unwrap().unwrap().version;
    let promote = || store.command(web, SOME_COMMAND, by("ada"), None);
    let outcomes = tokio::join!(promote(), promote(), promote(), promote());
    for outcome in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
        assert!(done(outcome.unwrap()).1);
    }
    let after = store.get(web).await.unwrap().unwrap();
    assert_eq!(after.version, before + 4);
    assert_eq!(after.deployment.intent.order.unwrap().number, 4, "one order was written over another");
}

async fn a_command_for_nobody_finds_nothing(store: &impl Store, lane: &impl LaneStore) {
    let nobody = DeploymentId::new(Uuid::now_v7());
    assert!(matches!(give(store, nobody, Command::Pause).await, Commanded::NotFound));
    assert!(matches!(lane.raise_rollback(nobody, &by("ada")).await.unwrap(), Commanded::NotFound));
    assert!(lane.accepted(nobody, now()).await.unwrap().is_none());
    assert!(lane.newest(&of("web")).await.unwrap().is_none());
}

async fn a_rollback_needs_no_version_and_returns_the_record_as_it_left_it(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    bring(store, web, Phase::Committing { quiet_since: None }).await;
    let given = by("ada");
    let before = store.get(web).await.unwrap().unwrap();
    let (read, changed) = done(lane.raise_rollback(web, &given).await.unwrap());
    assert!(changed);
    assert_eq!((read.version, read.deployment.phase.name()), (before.version + 1, "committing"));
    assert_eq!(read.deployment.intent.rollback, Some(given.clone()));
    let stored = store.get(web).await.unwrap().unwrap();
    assert_eq!((stored.version, &stored.deployment), (read.version, &read.deployment));
    let last = store.events(web, 0, 100).await.unwrap().pop().unwrap();
    assert_eq!(last.event, event::commanded(Command::Rollback, &given));
    claim(store, &replica(1), web).await;
}

async fn a_rollback_is_raised_once_and_stays(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    give(store, web, Command::Pause).await;
    let first = by("ada");
    let (raised, _) = done(lane.raise_rollback(web, &first).await.unwrap());
    for again in [lane.raise_rollback(web, &by("bob")).await.unwrap(), give(store, web, Command::Rollback).await] {
        let (read, changed) = done(again);
        assert_eq!((read.version, changed), (raised.version, false));
        assert_eq!(read.deployment.intent.rollback, Some(first.clone()), "who came second is not who asked");
    }
    for command in [Command::Pause, Command::Resume, SOME_COMMAND] {
        refused(give(store, web, command).await);
    }
    assert_eq!(read(store, web).await.intent.rollback, Some(first));
    assert_eq!(read(store, web).await.status(), Status::InProgress);
}

async fn a_rollback_is_raised_wherever_green_may_still_be_left(store: &impl Store, lane: &impl LaneStore) {
    let shifting = Phase::Shifting {
        stage: 0,
        weight: cutover::domain::weight::Weight::from_permille(125).unwrap(),
        by_hand: false,
        hurry: false,
        seen_at: None,
    };
    let phases = [Phase::Provisioning, Phase::Verifying, shifting, BAKING, Phase::Committing { quiet_since: Some(now()) }];
    for (n, phase) in phases.into_iter().enumerate() {
        let id = release(store, &format!("s{n}")).await;
        bring(store, id, phase.clone()).await;
        let (read, changed) = done(lane.raise_rollback(id, &by("ada")).await.unwrap());
        assert!(changed && read.deployment.intent.rollback.is_some(), "{phase:?}");
        // Out of the way of the next one's rule numbers.
        bring(store, id, Phase::RolledBack).await;
    }
    let pending = release(store, "pending").await;
    assert!(done(lane.raise_rollback(pending, &by("ada")).await.unwrap()).1);
}

async fn no_rollback_is_raised_once_blue_is_going(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    for (phase, name) in [(Phase::Retiring, "retiring"), (Phase::Succeeded, "succeeded")] {
        let before = bring(store, web, phase).await;
        let (refusal, d) = refused(lane.raise_rollback(web, &by("ada")).await.unwrap());
        assert!(matches!(refusal, Refusal::IllegalInPhase { phase, .. } if phase == name), "{refusal:?}");
        assert_eq!((&d, &read(store, web).await), (&before, &before));
    }
}

async fn no_rollback_is_raised_on_what_was_abandoned(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    give(store, web, Command::Abandon).await;
    refused(lane.raise_rollback(web, &by("ada")).await.unwrap());
    assert!(read(store, web).await.intent.rollback.is_none());
    bring(store, web, Phase::Failed).await;
    refused(lane.raise_rollback(web, &by("ada")).await.unwrap());
}

async fn rolling_back_what_rolls_back_or_has_rolled_back_is_done_already(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    // By a gate, say: no person asked.
    for phase in [Phase::RollingBack { shield: false, ends: BackAs::RolledBack }, Phase::RolledBack] {
        let before = bring(store, web, phase).await;
        let (read, changed) = done(lane.raise_rollback(web, &by("ada")).await.unwrap());
        assert_eq!((&read.deployment, changed), (&before, false));
    }
}

async fn rollbacks_and_commands_that_come_at_once_lose_nothing(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    let (ada, bob) = (by("ada"), by("bob"));
    let (first, promoted, second) = tokio::join!(
        lane.raise_rollback(web, &ada),
        store.command(web, SOME_COMMAND, by("eve"), None),
        lane.raise_rollback(web, &bob),
    );
    let raised: Vec<_> = [first, second].into_iter().map(|raised| done(raised.unwrap()).1).collect();
    assert_eq!(raised.iter().filter(|changed| **changed).count(), 1, "exactly one of them raised it");
    let ordered = matches!(promoted.unwrap(), Commanded::Done { changed: true, .. });
    let d = read(store, web).await;
    assert!(d.intent.rollback.is_some());
    assert_eq!(d.intent.order.is_some(), ordered, "what was said to be done is in the record");
}

async fn the_first_acceptance_stays_and_may_come_after_the_end(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    lane.raise_rollback(web, &by("ada")).await.unwrap();
    bring(store, web, Phase::RolledBack).await;
    let (first, second) = (now(), now());
    for at in [first, second] {
        let read = lane.accepted(web, at).await.unwrap().expect("a rollback was raised");
        assert_eq!(read.deployment.intent.rollback_accepted_at, Some(first));
    }
    let d = read(store, web).await;
    assert_eq!((d.intent.rollback_accepted_at, d.phase), (Some(first), Phase::RolledBack));
}

async fn an_acceptance_of_what_goes_back_by_itself_is_recorded(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    let claim = claim(store, &replica(1), web).await;
    let by_itself = claim.deployment.turning_back(Trigger::Gate, Some("sick".to_owned()), now());
    assert_eq!(settle(store, &replica(1), &claim, &by_itself).await, Settled::Stored);
    let at = now();
    lane.accepted(web, at).await.unwrap().expect("it goes back");
    assert_eq!(
        read(store, web).await.intent.rollback_accepted_at,
        Some(at),
        "whoever reads the record is told what was answered"
    );
}

async fn an_acceptance_takes_no_settle_away(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    bring(store, web, BAKING).await;
    lane.raise_rollback(web, &by("ada")).await.unwrap();
    let claim = claim(store, &replica(1), web).await;
    let at = now();
    lane.accepted(web, at).await.unwrap();
    let next = claim.deployment.entering(Phase::RollingBack { shield: false, ends: BackAs::RolledBack }, now());
    assert_eq!(settle(store, &replica(1), &claim, &next).await, Settled::Stored);
    assert_eq!(read(store, web).await.intent.rollback_accepted_at, Some(at), "nor does the settle take it away");
}

async fn an_acceptance_of_what_was_not_asked_for_is_not_recorded(store: &impl Store, lane: &impl LaneStore) {
    let web = release(store, "web").await;
    assert!(lane.accepted(web, now()).await.unwrap().is_none());
    assert!(read(store, web).await.intent.rollback_accepted_at.is_none());
}
