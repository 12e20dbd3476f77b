//! A rollback without the record: what a replica may send while the database is away, judged by the bundle that it remembers.
//!
//! Nobody says whether the deployment has moved on since, so a shield goes first on every route: with it all traffic is on blue
//! whatever lies below. What that hangs on is blue, which is removed once a quiet period is over; and a signed request lives for
//! half of one. So a bundle serves for half a quiet period after it was last read, or after the quiet period that it knows of
//! began. One look makes an older one good again: a base that is still on blue says that no quiet period has begun, which it does
//! when all are seen on green.

use std::time::Duration;

use jiff::Timestamp;

use super::{delete_overlays, needs_shield};
use crate::domain::{
    action::Action,
    deployment::Deployment,
    observation::{Known, Observation, RouteView},
    phase::Phase,
    time,
    timing::Timing,
};

/// The last part of the time that a bundle serves, in which the load balancer is looked at first.
const LAST: u32 = 4;

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unrecorded {
    Send(Orders),
    /// The bundle is too old to be acted on by itself, or nearly: look, and ask [`after_look`] with this.
    Look(Option<Orders>),
    /// It had not been planned, so no rule of it is anywhere, nor is it known where one would go.
    Nothing,
    /// Nothing may be sent; why, in words.
    TooLate(String),
}

/// What is sent, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// Once they are accepted on every route, the rollback is.
    pub shields: Action,
    /// What follows, where every base is known to be on blue; else it is left to the engine.
    pub overlays: Option<Action>,
    /// Nothing is signed later than this from now on.
    pub within: Duration,
}

/// What may be sent by a bundle that was last read from the database `age` ago. Whether a rollback is legal by it is asked first.
#[must_use]
pub fn without_record(bundle: &Deployment, age: Duration, timing: &Timing, now: Timestamp) -> Unrecorded {
    if bundle.plan.is_none() {
        return Unrecorded::Nothing;
    }
    let quiet = match bundle.phase {
        Phase::Committing { quiet_since: Some(since) } => time::between(since, now),
        _ => Duration::ZERO,
    };
    let within = timing.serves().saturating_sub(age.max(quiet));
    // Were the bundle wrong, the shield is above.
    let orders = orders(bundle, needs_shield(bundle) == Some(false), within);
    // What little is left may not be enough for a slow load balancer, and a look gives it back.
    if within >= timing.serves() / LAST && !within.is_zero() {
        return Unrecorded::Send(orders);
    }
    Unrecorded::Look((!within.is_zero()).then_some(orders))
}

/// The same after a look that began just now. What could not be seen takes nothing from the orders that there were.
#[must_use]
pub fn after_look(bundle: &Deployment, left: Option<Orders>, o: &Observation, timing: &Timing) -> Unrecorded {
    let Some(plan) = &bundle.plan else { return Unrecorded::Nothing };
    let mut views = Vec::new();
    for (route, seen) in plan.routes.iter().zip(&o.routes) {
        match seen {
            Known::Seen(view) => views.push(view),
            Known::Absent => return Unrecorded::TooLate(format!("{} is gone", route.route)),
            Known::Unknown(why) => {
                let unseen = || Unrecorded::TooLate(format!("{} could not be looked at: {why}", route.route));
                return left.map_or_else(unseen, Unrecorded::Send);
            }
        }
    }
    let others = |view: &&RouteView| {
        !view.leftovers.is_empty() || view.shields.iter().any(|shield| shield.deployment != Some(bundle.id))
    };
    if let Some(i) = views.iter().position(others) {
        return Unrecorded::TooLate(format!("rules of another deployment stand on {}", plan.routes[i].route));
    }
    let on_blue = views.iter().filter(|view| view.base.is_all_blue()).count();
    if on_blue == 0 {
        return Unrecorded::TooLate("no base is on blue any more, and its servers may be on their way out".to_owned());
    }
    Unrecorded::Send(orders(bundle, on_blue == plan.routes.len(), timing.serves()))
}

fn orders(bundle: &Deployment, on_blue: bool, within: Duration) -> Orders {
    let routes = 0..bundle.plan.as_ref().map_or(0, |plan| plan.routes.len());
    Orders {
        shields: Action::RaiseShields { routes: routes.collect() },
        overlays: delete_overlays(bundle).filter(|_| on_blue),
        within,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ids::{DeploymentId, RuleRef},
        observation::Forward,
        phase::BackAs,
        sample::{self, at, deployment},
        weight::Weight,
    };

    const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: false };
    const COMMITTING: Phase = Phase::Committing { quiet_since: None };
    /// Nine tenths of half a quiet period.
    const SERVES: Duration = Duration::from_secs(270);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn by_age(phase: Phase, age: Duration) -> Unrecorded {
        without_record(&deployment(2, phase), age, &Timing::default(), at(1000))
    }

    /// Shields on both routes, whether the overlays go after, and for how long.
    fn sent(unrecorded: Unrecorded) -> (bool, Duration) {
        let Unrecorded::Send(orders) = unrecorded else { panic!("{unrecorded:?}") };
        assert_eq!(orders.shields, Action::RaiseShields { routes: vec![0, 1] });
        (orders.overlays.is_some(), orders.within)
    }

    #[test]
    fn a_bundle_serves_for_half_a_quiet_period_less_a_margin_after_it_was_read() {
        assert_eq!(sent(by_age(BAKING, Duration::ZERO)), (true, SERVES));
        assert_eq!(sent(by_age(BAKING, secs(200))), (true, secs(70)), "what is signed last is dead in time");
        assert!(matches!(by_age(BAKING, secs(203)), Unrecorded::Look(Some(Orders { within, .. })) if within == secs(67)));
        assert_eq!(by_age(BAKING, SERVES), Unrecorded::Look(None));
        assert_eq!(by_age(BAKING, Duration::MAX), Unrecorded::Look(None));
        let leading = Timing { clock_lead: secs(100), ..Timing::default() };
        let Unrecorded::Send(orders) = without_record(&deployment(1, BAKING), secs(10), &leading, at(0)) else { panic!() };
        assert_eq!(orders.within, secs(170), "what a clock that is ahead signs lives longer");
    }

    #[test]
    fn once_the_quiet_period_began_it_serves_from_there() {
        let since = |seconds| Phase::Committing { quiet_since: Some(at(seconds)) };
        assert_eq!(sent(by_age(since(900), secs(1))), (false, secs(170)));
        assert_eq!(by_age(since(1000 - 270), secs(1)), Unrecorded::Look(None));
        assert_eq!(sent(by_age(since(990), secs(100))), (false, secs(170)), "the older of the two counts");
    }

    #[test]
    fn overlays_go_after_the_shields_only_where_the_base_is_known_to_be_on_blue() {
        let back = |shield| Phase::RollingBack { shield, ends: BackAs::RolledBack };
        for (phase, overlays) in
            [(Phase::Verifying, true), (BAKING, true), (COMMITTING, false), (back(false), true), (back(true), false)]
        {
            assert_eq!(sent(by_age(phase.clone(), secs(1))).0, overlays, "{phase:?}");
        }
        let mut edited = deployment(2, BAKING);
        let mut o = sample::observation(&edited, Weight::ALL);
        sample::route_mut(&mut o, 1).base = Forward::Split(Weight::ALL);
        edited = edited.having_seen(&o, &Timing::default(), at(0));
        assert!(!sent(without_record(&edited, secs(1), &Timing::default(), at(0))).0);
    }

    #[test]
    fn before_there_are_overlays_the_plan_says_where_shields_go_and_without_one_nothing_is_sent() {
        assert_eq!(sent(by_age(Phase::Provisioning, secs(1))), (false, secs(269)));
        let pending = sample::pending(1, 2, sample::strategy(&[100], 0));
        assert_eq!(without_record(&pending, secs(1), &Timing::default(), at(0)), Unrecorded::Nothing);
        let o = sample::observation(&pending, Weight::NONE);
        assert_eq!(after_look(&pending, None, &o, &Timing::default()), Unrecorded::Nothing);
    }

    /// What is decided on a look at two routes that somebody changed.
    fn looked(phase: Phase, change: impl Fn(&Deployment, &mut Observation)) -> Unrecorded {
        let d = deployment(2, phase);
        let mut o = sample::observation(&d, Weight::ALL);
        change(&d, &mut o);
        after_look(&d, None, &o, &Timing::default())
    }

    fn green(o: &mut Observation, route: usize) {
        sample::route_mut(o, route).base = Forward::Split(Weight::ALL);
    }

    #[test]
    fn a_look_that_shows_a_base_on_blue_makes_an_old_bundle_good() {
        assert_eq!(sent(looked(BAKING, |_, _| {})), (true, SERVES));
        assert_eq!(sent(looked(COMMITTING, |_, _| {})), (true, SERVES), "all are seen on blue");
        assert_eq!(sent(looked(BAKING, |_, o| green(o, 0))), (false, SERVES), "half way through a commit");
        let shielded = |d: &Deployment, o: &mut Observation| sample::route_mut(o, 1).shields.push(sample::shield(d));
        assert_eq!(sent(looked(BAKING, shielded)), (true, SERVES), "our own, of an answer that was lost");
    }

    #[test]
    fn a_look_that_does_not_show_it_sends_nothing_and_says_why() {
        let why = |unrecorded| match unrecorded {
            Unrecorded::TooLate(why) => why,
            other => panic!("{other:?}"),
        };
        let all_green = |_: &Deployment, o: &mut Observation| (0..2).for_each(|i| green(o, i));
        assert!(why(looked(BAKING, all_green)).contains("no base is on blue"));
        let elsewhere = |_: &Deployment, o: &mut Observation| {
            (0..2).for_each(|i| sample::route_mut(o, i).base = Forward::Elsewhere);
        };
        assert!(why(looked(BAKING, elsewhere)).contains("no base is on blue"));
        let unseen = why(looked(BAKING, |_, o| o.routes[1] = Known::Unknown("throttled".to_owned())));
        assert!(unseen.contains("route-1") && unseen.contains("throttled"), "{unseen}");
        let d = deployment(2, BAKING);
        let Unrecorded::Look(left) = by_age(BAKING, secs(250)) else { panic!() };
        let mut o = sample::observation(&d, Weight::ALL);
        o.routes[1] = Known::Unknown("throttled".to_owned());
        assert_eq!(sent(after_look(&d, left, &o, &Timing::default())), (true, secs(20)), "what was left by age still is");
        assert!(why(looked(BAKING, |_, o| o.routes[0] = Known::Absent)).contains("route-0 is gone"));
        let leftover = |_: &Deployment, o: &mut Observation| {
            sample::route_mut(o, 1).leftovers.push(RuleRef::new("overlay-of-43"));
        };
        assert!(why(looked(BAKING, leftover)).contains("another deployment stand on route-1"));
        let foreign = |d: &Deployment, o: &mut Observation| {
            let mut shield = sample::shield(d);
            shield.deployment = Some(DeploymentId::new(uuid::Uuid::from_u128(43)));
            sample::route_mut(o, 0).shields.push(shield);
        };
        assert!(why(looked(BAKING, foreign)).contains("another deployment stand on route-0"));
    }
}
