//! Watching: how often to look, and when a look may be shared with other deployments.
//!
//! While a phase only waits, most looks find all as it was left. Such a look may be made of answers that others asked for
//! a moment ago. It may only ever say *all is well*: whatever else it shows is looked at again, now, before it is believed or
//! acted on. So no decision and no doubt hangs on a shared look.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    deployment::Deployment,
    drift, forecast, health,
    observation::{Attached, GroupView, Known, Observation},
    phase::Phase,
    time,
    timing::Timing,
};

/// While it only waits, a deployment is looked at ever less often, down to once in so many `watch_every`.
const WATCH_SLOWEST: u32 = 3;

/// How soon to look again when nothing is to be done: a tenth of the time that the phase has tried already; while all is
/// `well` and it only waits, a twentieth of the time that it has waited.
#[must_use]
pub fn pace(d: &Deployment, well: bool, timing: &Timing, now: Timestamp) -> Duration {
    // A doubt is settled by looking, and so is an answer that is being carried out.
    if drift::suspected(d) && (d.held.is_none() || d.answer().is_some()) {
        return timing.look_every;
    }
    let lasted = time::between(d.phase_since, now);
    if well && only_waits(&d.phase) {
        (lasted / 20).min(timing.watch_every * WATCH_SLOWEST).max(timing.watch_every)
    } else {
        (lasted / 10).min(timing.watch_every).max(timing.look_every)
    }
}

/// How old an answer may be, if a look that others made will do.
#[must_use]
pub fn may_share(d: &Deployment, timing: &Timing, now: Timestamp) -> Option<Duration> {
    if drift::suspected(d) {
        return None;
    }
    let wanted = d.intent.is_back() || d.intent.abandon.is_some() || d.open_order().is_some();
    let due = forecast::next_change_at(d, timing).is_some_and(|at| at <= now);
    (only_waits(&d.phase) && !wanted && !due).then(|| pace(d, true, timing, now))
}

/// Whether the world was brought to where the phase wants it, so that only time has to pass.
fn only_waits(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Shifting { seen_at: Some(_), .. }
            | Phase::Baking { seen_at: Some(_), .. }
            | Phase::Committing { quiet_since: Some(_) }
    )
}

/// Whether everything is as the record says, with nothing unknown. `d` must hold what `o` showed.
#[must_use]
pub fn all_is_well(d: &Deployment, o: &Observation) -> bool {
    let Some(plan) = &d.plan else { return false };
    let committed = d.phase.base_may_be_green();
    let routes = o.routes.len() == d.overlays.len()
        && o.routes.iter().zip(&d.overlays).enumerate().all(|(i, (route, rule))| {
            route.seen().is_some_and(|view| {
                let base_is_right = if committed { view.base.is_all_green() } else { view.base.is_all_blue() };
                let alone = view.overlays.len() == 1 && view.overlays.iter().all(|overlay| &overlay.rule == rule);
                let added = !committed && drift::strays(d, i, view).next().is_some();
                base_is_right
                    && alone
                    && !added
                    && view.edited.is_none()
                    && view.shields.is_empty()
                    && view.previews.is_empty()
                    && view.green_share() == Some(d.phase.wants())
            })
        });
    let stands = |group: &Known<GroupView>| {
        group.seen().is_some_and(|group| group.ours && group.attached == Attached::Everywhere && !group.deleting)
    };
    let pinned = |blue: &super::plan::BluePlan| o.blue.seen().is_some_and(|seen| seen.min >= blue.size && seen.protected);
    let groups = stands(&o.green) && plan.blue.as_ref().is_none_or(|blue| stands(&o.blue) && pinned(blue));
    routes && groups && health::verdict(d, o, d.phase.wants()).passed() && d.attention.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        decide::{Decision, decide},
        observation::Layer,
        sample::{self, at, deployment, given, observation, percent, route_mut, seen_mut, shield},
        weight::Weight,
    };

    fn baking() -> Deployment {
        deployment(2, Phase::Baking { seen_at: Some(at(0)), commit_now: false })
    }

    #[test]
    fn only_a_phase_that_waits_shares_and_only_until_something_is_due_or_wanted() {
        let (timing, soon) = (Timing::default(), at(1));
        let mut d = baking();
        assert_eq!(may_share(&d, &timing, soon), Some(timing.watch_every));
        assert_eq!(may_share(&d, &timing, at(60)), None, "the bake is over");
        d.intent.rollback = Some(given());
        assert_eq!(may_share(&d, &timing, soon), None);
        for phase in [
            Phase::Provisioning,
            Phase::Shifting { stage: 0, weight: percent(50), by_hand: false, hurry: false, seen_at: None },
            Phase::Committing { quiet_since: None },
            Phase::Retiring,
        ] {
            assert_eq!(may_share(&deployment(2, phase), &timing, soon), None);
        }
    }

    #[test]
    fn looks_come_less_often_the_longer_nothing_happens_and_never_stop() {
        let timing = Timing::default();
        let paces = |d: &Deployment, well| [0, 20, 200, 86_400].map(|second| pace(d, well, &timing, at(second)).as_secs());
        assert_eq!(paces(&baking(), true), [5, 5, 10, 15]);
        assert_eq!(paces(&baking(), false), [1, 2, 5, 5], "something is amiss");
        assert_eq!(paces(&deployment(1, Phase::Provisioning), true), [1, 2, 5, 5]);
    }

    #[test]
    fn anything_out_of_place_or_unseen_is_not_well() {
        let d = baking();
        let well = observation(&d, Weight::ALL);
        assert!(all_is_well(&d, &well));
        let changes: [fn(&mut Observation); 13] = [
            |o| route_mut(o, 0).strays.push(sample::stray("added")),
            |o| o.routes[1] = Known::Unknown("throttled".to_owned()),
            |o| route_mut(o, 1).overlays.clear(),
            |o| route_mut(o, 0).overlays[0].forward = crate::domain::observation::Forward::Split(percent(50)),
            |o| route_mut(o, 0).base = crate::domain::observation::Forward::Elsewhere,
            |o| {
                let overlay = route_mut(o, 0).overlays[0].clone();
                route_mut(o, 0).overlays.push(overlay);
            },
            |o| route_mut(o, 1).edited = Some(Box::new(sample::edited(&baking(), 1, Layer::Base))),
            |o| o.green = Known::Absent,
            |o| seen_mut(&mut o.green).servers.healthy = 1,
            |o| seen_mut(&mut o.green).attached = Attached::Partly,
            |o| seen_mut(&mut o.blue).protected = false,
            |o| seen_mut(&mut o.blue).min = 1,
            |o| o.blue = Known::Unknown("throttled".to_owned()),
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut o = well.clone();
            change(&mut o);
            assert!(!all_is_well(&d, &o), "change {i}");
        }
        let mut shielded = well.clone();
        route_mut(&mut shielded, 1).shields.push(shield(&d));
        assert!(!all_is_well(&d, &shielded));
        assert!(matches!(decide(&d, &well, &Timing::default(), at(1)), Decision::Wait { .. }), "all that is left is to wait");
    }
}
