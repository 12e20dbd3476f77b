//! A rollback by a person with rights of their own, and nothing else running: what may be sent by what is remembered of a
//! deployment, judged by one look.
//!
//! It is the lane without a database, with one difference. Nobody may be left who could say whether the quiet period is over, so age
//! counts for nothing and the look for all: blue seen in service under overlays that still stand (removing them is the first thing that
//! is done once there is no way back) may be gone back to, also where every base is on green.

use super::{
    shields,
    unrecorded::{Orders, after_look},
};
use crate::domain::{
    deployment::Deployment,
    lane::Unrecorded,
    observation::{Attached, Known, Observation, RouteView},
    phase::Phase,
    timing::Timing,
};

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByPerson {
    /// All traffic is on blue already.
    Back,
    Send(Orders),
    /// What it hangs on could not be seen: look again.
    Unseen(String),
    /// Nothing may be sent; why, in words.
    Refused(String),
}

/// Judged by a look that began just now.
#[must_use]
pub fn by_person(d: &Deployment, o: &Observation, timing: &Timing) -> ByPerson {
    // A file from before the plan says nothing of what another replica has opened since.
    let Some(plan) = &d.plan else {
        return ByPerson::Refused("nothing was planned yet when it was last read: a newer file is needed".to_owned());
    };
    if d.phase == Phase::Retiring {
        return ByPerson::Refused("it was past its commit when it was last read, and blue is on its way out".to_owned());
    }
    let mut views = Vec::new();
    for (route, seen) in plan.routes.iter().zip(&o.routes) {
        match seen {
            Known::Seen(view) => views.push(view),
            Known::Absent => return ByPerson::Refused(format!("{} is gone", route.route)),
            Known::Unknown(why) => return ByPerson::Unseen(format!("{} could not be looked at: {why}", route.route)),
        }
    }
    match after_look(d, None, o, timing) {
        Unrecorded::Send(_) if views.iter().all(|view| is_back(d, view)) => ByPerson::Back,
        Unrecorded::Send(orders) => ByPerson::Send(orders),
        Unrecorded::TooLate(why) if of_others(d, &views) => ByPerson::Refused(why),
        Unrecorded::TooLate(_) if views.iter().all(|view| is_back(d, view)) => ByPerson::Back,
        Unrecorded::TooLate(why) => to_a_blue_that_serves(d, o, &views, timing).unwrap_or_else(|but| match but {
            Some(unseen) => ByPerson::Unseen(unseen),
            None => ByPerson::Refused(why),
        }),
        Unrecorded::Look(_) | Unrecorded::Nothing => ByPerson::Back,
    }
}

/// Whatever lies below a shield; or with nothing left above a base on blue. Before overlays are recorded a shield is the only order
/// that the engine would take.
fn is_back(d: &Deployment, view: &RouteView) -> bool {
    // What somebody else's rule sends to green, no rule of ours takes back.
    let strays = !view.strays.is_empty();
    match view.shields.first() {
        _ if strays => false,
        Some(shield) => shield.forward.is_all_blue(),
        None => !d.overlays.is_empty() && view.overlays.is_empty() && view.base.is_all_blue(),
    }
}

fn of_others(d: &Deployment, views: &[&RouteView]) -> bool {
    let other =
        |view: &&RouteView| !view.leftovers.is_empty() || view.shields.iter().any(|shield| shield.deployment != Some(d.id));
    views.iter().any(other)
}

/// No base is on blue: then it must be seen that blue is there, and that nobody has begun to remove it.
///
/// # Errors
/// With what could not be seen, if that is why.
fn to_a_blue_that_serves(
    d: &Deployment,
    o: &Observation,
    views: &[&RouteView],
    timing: &Timing,
) -> Result<ByPerson, Option<String>> {
    let stand = views.iter().zip(&d.overlays).all(|(view, overlay)| view.recorded(overlay).is_some());
    if !stand || views.len() != d.overlays.len() {
        return Err(None);
    }
    let serves = match &o.blue {
        Known::Seen(blue) => blue.servers.healthy > 0 && !blue.deleting && blue.attached == Attached::Everywhere,
        // A first release goes back to nobody, as it began.
        Known::Absent => d.plan.as_ref().is_some_and(|plan| plan.blue.is_none()),
        Known::Unknown(why) => return Err(Some(format!("blue could not be looked at: {why}"))),
    };
    match shields(d).filter(|_| serves) {
        Some(shields) => Ok(ByPerson::Send(Orders { shields, overlays: None, within: timing.serves() })),
        None => Err(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        action::Action,
        ids::RuleRef,
        observation::Forward,
        sample::{self, deployment, seen_mut},
        weight::Weight,
    };

    const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: false };
    const COMMITTING: Phase = Phase::Committing { quiet_since: None };

    fn looked(phase: Phase, change: impl Fn(&Deployment, &mut Observation)) -> ByPerson {
        let d = deployment(2, phase);
        let mut o = sample::observation(&d, Weight::ALL);
        change(&d, &mut o);
        by_person(&d, &o, &Timing::default())
    }

    fn all_green(_: &Deployment, o: &mut Observation) {
        (0..2).for_each(|i| sample::route_mut(o, i).base = Forward::Split(Weight::ALL));
    }

    /// Whether the overlays follow the shields on both routes.
    fn sent(judged: ByPerson) -> bool {
        let ByPerson::Send(orders) = judged else { panic!("{judged:?}") };
        assert_eq!(orders.shields, Action::RaiseShields { routes: vec![0, 1] });
        orders.overlays.is_some()
    }

    #[test]
    fn over_bases_on_blue_shields_go_up_and_the_overlays_follow() {
        assert!(sent(looked(BAKING, |_, _| {})));
        assert!(sent(looked(COMMITTING, |_, _| {})), "all are seen on blue");
        let half_way = |_: &Deployment, o: &mut Observation| sample::route_mut(o, 0).base = Forward::Split(Weight::ALL);
        assert!(!sent(looked(COMMITTING, half_way)));
    }

    #[test]
    fn over_green_bases_a_blue_that_is_seen_in_service_may_be_gone_back_to() {
        assert!(!sent(looked(COMMITTING, all_green)), "the overlays are left to the engine");
        let refused = |change: &dyn Fn(&mut Observation)| {
            let judged = looked(COMMITTING, |d, o| {
                all_green(d, o);
                change(o);
            });
            assert!(matches!(judged, ByPerson::Refused(_)), "{judged:?}");
        };
        refused(&|o| seen_mut(&mut o.blue).servers.healthy = 0);
        refused(&|o| seen_mut(&mut o.blue).deleting = true);
        refused(&|o| seen_mut(&mut o.blue).attached = Attached::Partly);
        refused(&|o| o.blue = Known::Absent);
        // The overlays go first once there is no way back.
        refused(&|o| sample::route_mut(o, 1).overlays.clear());
        let unseen = looked(COMMITTING, |d, o| {
            all_green(d, o);
            o.blue = Known::Unknown("throttled".to_owned());
        });
        assert!(matches!(unseen, ByPerson::Unseen(_)), "{unseen:?}");
        assert!(!sent(looked(BAKING, all_green)), "the file may be from before the commit");
        assert!(matches!(looked(Phase::Retiring, |_, _| {}), ByPerson::Refused(_)));
    }

    #[test]
    fn what_is_back_already_is_left_as_it_is() {
        let shielded = |d: &Deployment, o: &mut Observation| {
            (0..2).for_each(|i| sample::route_mut(o, i).shields.push(sample::shield(d)));
        };
        assert_eq!(looked(BAKING, shielded), ByPerson::Back);
        let committed = looked(COMMITTING, |d, o| {
            all_green(d, o);
            shielded(d, o);
        });
        assert_eq!(committed, ByPerson::Back);
        let one_of_two = |d: &Deployment, o: &mut Observation| sample::route_mut(o, 0).shields.push(sample::shield(d));
        assert!(sent(looked(BAKING, one_of_two)));
        let deleted = |_: &Deployment, o: &mut Observation| (0..2).for_each(|i| sample::route_mut(o, i).overlays.clear());
        assert_eq!(looked(BAKING, deleted), ByPerson::Back);
        let mut provisioning = deployment(2, BAKING);
        let mut o = sample::observation(&provisioning, Weight::NONE);
        (0..2).for_each(|i| sample::route_mut(&mut o, i).overlays.clear());
        (provisioning.phase, provisioning.overlays) = (Phase::Provisioning, Vec::new());
        assert!(!sent(by_person(&provisioning, &o, &Timing::default())), "a shield is the order to stop");
        let pending = sample::pending(1, 2, sample::strategy(&[100], 0));
        let old = by_person(&pending, &o, &Timing::default());
        assert!(matches!(&old, ByPerson::Refused(why) if why.contains("newer")), "another replica may have gone on: {old:?}");
    }

    #[test]
    fn it_is_not_back_while_a_rule_of_somebody_elses_sends_green_traffic() {
        let strayed = looked(BAKING, |_, o| {
            (0..2).for_each(|i| sample::route_mut(o, i).overlays.clear());
            let stray = crate::domain::observation::Stray { rule: RuleRef::new("stray"), told: "rule 7".to_owned() };
            sample::route_mut(o, 0).strays.push(stray);
        });
        assert!(sent(strayed));
    }

    #[test]
    fn what_is_unseen_or_anothers_is_not_touched() {
        let unseen = looked(BAKING, |_, o| o.routes[1] = Known::Unknown("throttled".to_owned()));
        assert!(matches!(&unseen, ByPerson::Unseen(why) if why.contains("route-1") && why.contains("throttled")), "{unseen:?}");
        for phase in [BAKING, COMMITTING] {
            let others = looked(phase, |d, o| {
                all_green(d, o);
                sample::route_mut(o, 1).leftovers.push(RuleRef::new("overlay-of-43"));
            });
            assert!(matches!(&others, ByPerson::Refused(why) if why.contains("another deployment")), "{others:?}");
        }
        assert!(matches!(looked(BAKING, |_, o| o.routes[0] = Known::Absent), ByPerson::Refused(_)));
    }
}
