//! The rollback lane's decisions: what a replica may ask of the load balancer before and after it has raised the intent to
//! go back. Pure; `engine` sends it.
//!
//! The lane needs no lease, no look and no tick, so it may only do what is right whatever it has not seen: delete recorded
//! overlays where the base is still on blue, and where that is not sure raise shields first. `unrecorded` says what is left of it
//! while the intent cannot be raised.

mod by_person;
mod unrecorded;

use std::time::Duration;

pub use by_person::{ByPerson, by_person};
pub use unrecorded::{Orders, Unrecorded, after_look, without_record};

use jiff::Timestamp;

use super::{action::Action, deployment::Deployment, drift, phase::Phase, timing::Timing};

/// What may be sent side by side with the intent's commit, judged by a copy of the record that was last held against the
/// database `confirmed` ago. `None`: commit first.
///
/// A copy that says "before `committing`" may be out of date. It is trusted for half the time that an engine waits between
/// entering `committing` and writing the base: the other half is for the call itself.
#[must_use]
pub fn at_once(copy: &Deployment, confirmed: Duration, timing: &Timing) -> Option<Action> {
    let legal = copy.phase.may_go_back() && copy.intent.abandon.is_none();
    let base_on_blue = needs_shield(copy) == Some(false);
    (legal && base_on_blue && confirmed <= timing.commit_delay / 2).then(|| delete_overlays(copy)).flatten()
}

/// Whether a base may be on green, by what `d` says of itself: then a shield goes above it first. `None`: no way leads back.
#[must_use]
pub fn needs_shield(d: &Deployment) -> Option<bool> {
    match d.phase {
        Phase::Committing { .. } => Some(true),
        Phase::RollingBack { shield, .. } => Some(shield),
        Phase::Pending | Phase::Provisioning | Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. } => {
            Some(drift::base_is_off_blue(d))
        }
        Phase::Retiring | Phase::Succeeded | Phase::RolledBack | Phase::Cancelled | Phase::Failed => None,
    }
}

/// Whether the load balancer has accepted all that a rollback asked of it.
#[must_use]
pub fn is_accepted(d: &Deployment) -> bool {
    d.intent.rollback_accepted_at.is_some() || d.going_back.as_ref().is_some_and(|back| back.accepted_at.is_some())
}

/// What must be accepted before the lane answers, in this order: each once the one before is accepted on every route.
/// `committed` is the record *as the commit of the intent left it*: only its phase says whether the base may be on green.
///
/// Nothing when no overlay was recorded (green never had traffic), nor when an earlier request was answered already.
#[must_use]
pub fn after_commit(committed: &Deployment) -> Vec<Action> {
    let Some(shield) = needs_shield(committed).filter(|_| !is_accepted(committed)) else { return Vec::new() };
    let shields = shield.then(|| Action::RaiseShields { routes: (0..committed.overlays.len()).collect() });
    shields.into_iter().chain(delete_overlays(committed)).collect()
}

/// All that a rollback would send if it were asked for now, in order. `away`: without the database, and how long ago it was heard.
#[must_use]
pub fn would_send(d: &Deployment, away: Option<Duration>, timing: &Timing, now: Timestamp) -> Vec<Action> {
    let legal = d.phase.may_go_back() || matches!(d.phase, Phase::RollingBack { .. });
    if !legal || d.intent.abandon.is_some() || is_accepted(d) {
        return Vec::new();
    }
    let Some(age) = away else { return after_commit(d) };
    match without_record(d, age, timing, now) {
        Unrecorded::Send(orders) | Unrecorded::Look(Some(orders)) => {
            [orders.shields].into_iter().chain(orders.overlays).collect()
        }
        // What follows the shields hangs on a look.
        Unrecorded::Look(None) => shields(d).into_iter().collect(),
        Unrecorded::Nothing | Unrecorded::TooLate(_) => Vec::new(),
    }
}

/// What the lane sends, one part for each route: each route is tried by itself, and says by itself what became of it.
#[must_use]
pub fn by_route(action: &Action, d: &Deployment) -> Vec<(usize, Action)> {
    match action {
        Action::RaiseShields { routes } => routes.iter().map(|i| (*i, Action::RaiseShields { routes: vec![*i] })).collect(),
        Action::DeleteRules { rules } => {
            let place = |rule| d.overlays.iter().position(|overlay| overlay == rule).unwrap_or(0);
            rules.iter().map(|rule| (place(rule), Action::DeleteRules { rules: vec![rule.clone()] })).collect()
        }
        other => vec![(0, other.clone())],
    }
}

/// On every route of the plan, before there are overlays too.
fn shields(d: &Deployment) -> Option<Action> {
    d.plan.as_ref().map(|plan| Action::RaiseShields { routes: (0..plan.routes.len()).collect() })
}

fn delete_overlays(d: &Deployment) -> Option<Action> {
    (!d.overlays.is_empty()).then(|| Action::DeleteRules { rules: d.overlays.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        observation::Forward,
        phase::BackAs,
        sample::{self, at, deployment, given},
        weight::Weight,
    };

    const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: false };
    const COMMITTING: Phase = Phase::Committing { quiet_since: None };

    fn names(actions: &[Action]) -> Vec<&'static str> {
        actions.iter().map(Action::name).collect()
    }

    #[test]
    fn a_fresh_copy_from_before_the_commit_lets_the_overlays_go_at_once() {
        let timing = Timing::default();
        let second = Duration::from_secs(1);
        let baking = deployment(2, BAKING);
        assert_eq!(at_once(&baking, second, &timing), Some(Action::DeleteRules { rules: baking.overlays.clone() }));
        assert_eq!(at_once(&baking, second + Duration::from_millis(1), &timing), None, "an older copy commits first");
        for phase in [COMMITTING, Phase::Retiring, Phase::RollingBack { shield: true, ends: BackAs::RolledBack }] {
            assert_eq!(at_once(&deployment(2, phase), Duration::ZERO, &timing), None);
        }
        assert_eq!(at_once(&deployment(2, Phase::Provisioning), Duration::ZERO, &timing), None, "no overlay is recorded");
    }

    #[test]
    fn a_base_that_somebody_took_off_blue_is_gone_back_from_under_a_shield() {
        let mut baking = deployment(1, BAKING);
        let mut o = sample::observation(&baking, Weight::ALL);
        sample::route_mut(&mut o, 0).base = Forward::Split(Weight::ALL);
        baking = baking.having_seen(&o, &Timing::default(), at(0));
        assert_eq!(at_once(&baking, Duration::ZERO, &Timing::default()), None);
        assert_eq!(names(&after_commit(&baking)), ["raise_shields", "delete_rules"]);
        let back = baking.turning_back(crate::domain::deployment::Trigger::Manual, None, at(1));
        assert_eq!(back.phase, Phase::RollingBack { shield: true, ends: BackAs::RolledBack });
        assert_eq!(names(&after_commit(&back)), ["raise_shields", "delete_rules"]);
    }

    #[test]
    fn every_route_gets_its_own_part() {
        let d = deployment(2, COMMITTING);
        let wanted = after_commit(&d);
        let shield = |i| (i, Action::RaiseShields { routes: vec![i] });
        assert_eq!(by_route(&wanted[0], &d), [shield(0), shield(1)]);
        let delete = |i: usize| (i, Action::DeleteRules { rules: vec![d.overlays[i].clone()] });
        assert_eq!(by_route(&wanted[1], &d), [delete(0), delete(1)]);
    }

    #[test]
    fn what_was_let_go_is_not_touched() {
        let mut abandoned = deployment(2, BAKING);
        abandoned.intent.abandon = Some(given());
        assert_eq!(at_once(&abandoned, Duration::ZERO, &Timing::default()), None);
    }

    #[test]
    fn the_phase_that_the_commit_returned_says_whether_a_shield_comes_first() {
        assert_eq!(names(&after_commit(&deployment(1, Phase::Provisioning))), [""; 0]);
        assert_eq!(names(&after_commit(&deployment(1, BAKING))), ["delete_rules"]);
        let committing = deployment(2, COMMITTING);
        assert_eq!(names(&after_commit(&committing)), ["raise_shields", "delete_rules"]);
        assert_eq!(after_commit(&committing)[0], Action::RaiseShields { routes: vec![0, 1] }, "on every route");
        assert_eq!(names(&after_commit(&deployment(1, Phase::Retiring))), [""; 0], "no way back from here");
    }

    #[test]
    fn what_would_be_sent_follows_the_phase_and_the_weather() {
        let timing = Timing::default();
        let sent =
            |phase, away: Option<u64>| names(&would_send(&deployment(2, phase), away.map(Duration::from_secs), &timing, at(0)));
        let both = ["raise_shields", "delete_rules"];
        assert_eq!(sent(BAKING, None), ["delete_rules"]);
        assert_eq!(sent(COMMITTING, None), both);
        assert_eq!(sent(BAKING, Some(1)), both, "without the database a shield goes first");
        assert_eq!(sent(COMMITTING, Some(1)), ["raise_shields"]);
        assert_eq!(sent(BAKING, Some(1000)), ["raise_shields"], "the rest hangs on a look");
        for phase in [Phase::Pending, Phase::Retiring, Phase::Succeeded] {
            assert_eq!(sent(phase, None), [""; 0]);
        }
        assert_eq!(sent(Phase::Retiring, Some(1)), [""; 0]);
        let mut accepted = deployment(2, BAKING);
        accepted.intent.rollback_accepted_at = Some(at(0));
        assert_eq!(would_send(&accepted, Some(Duration::ZERO), &timing, at(0)), []);
    }

    #[test]
    fn a_repeated_rollback_asks_again_only_for_what_was_never_accepted() {
        let mut back = deployment(1, COMMITTING).turning_back(crate::domain::deployment::Trigger::Manual, None, at(1));
        back.intent.rollback = Some(given());
        assert_eq!(names(&after_commit(&back)), ["raise_shields", "delete_rules"]);
        back.intent.rollback_accepted_at = Some(at(2));
        assert_eq!(names(&after_commit(&back)), [""; 0]);
    }
}
