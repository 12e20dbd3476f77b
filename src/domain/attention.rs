//! When a person is needed, and the sentence that says why.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    deployment::Deployment,
    health::{self, Verdict},
    ids::SlotRef,
    observation::{Forward, Known, Observation, RouteView, SlotView},
    phase::Phase,
    time,
    timing::Timing,
    weight::Weight,
};

/// What a person should know or do; `None` when all goes its way.
#[must_use]
pub(super) fn sentence(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<String> {
    let plan = d.plan.as_ref();
    too_long(d, o, timing, now).or_else(|| refused(d)).or_else(|| match &d.phase {
        // It is to go back: what the way forward lacks is of no interest any more.
        phase if d.intent.is_back() && phase.may_go_back() => None,
        Phase::Provisioning => o.launch_failures.first().map(|failure| format!("launches fail: {}", failure.message)),
        Phase::Shifting { seen_at, .. } | Phase::Baking { seen_at, .. } => {
            edited(d, o, seen_at.is_some()).or_else(|| short(d, o))
        }
        Phase::Committing { .. } => edited(d, o, true),
        Phase::Retiring => plan.and_then(|plan| still_named(o, &o.blue_slot, &plan.blue_slot, Weight::ALL)),
        Phase::RollingBack { .. } => plan.and_then(|plan| still_named(o, &o.green_slot, &plan.green.slot, Weight::NONE)),
        Phase::Pending | Phase::Verifying | Phase::Succeeded | Phase::RolledBack | Phase::Cancelled | Phase::Failed => None,
    })
}

/// A rule that is none of this deployment's keeps a slot in use: its group is removed only once no rule names it.
fn still_named(o: &Observation, slot: &Known<SlotView>, name: &SlotRef, base: Weight) -> Option<String> {
    let ours_are_gone = o.routes.iter().all(|route| {
        route
            .seen()
            .is_some_and(|view| view.overlays.is_empty() && view.shields.is_empty() && view.base == Forward::Split(base))
    });
    let rules = slot.seen().map(|slot| slot.named_by).filter(|rules| ours_are_gone && *rules > 0)?;
    Some(format!("{rules} rule(s) that are no declared route still name {name}: take it out of them, and its group is removed"))
}

/// What the provider will not do, or has not done for a while.
fn refused(d: &Deployment) -> Option<String> {
    const PATIENCE: u32 = 5;
    let trouble = d.seen.trouble.as_ref()?;
    (trouble.hopeless || trouble.count >= PATIENCE).then(|| format!("{} (tried {} times)", trouble.words, trouble.count))
}

/// Phases that never give up by deadline call a person instead.
fn too_long(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<String> {
    let waits = match &d.phase {
        Phase::Committing { .. } => timing.quiet(),
        Phase::RollingBack { .. } => timing.half_quiet(),
        Phase::Retiring => Duration::ZERO,
        Phase::Pending
        | Phase::Provisioning
        | Phase::Verifying
        | Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Cancelled
        | Phase::Failed => return None,
    };
    let lasted = time::between(d.phase_since, now);
    (lasted > timing.attention_after.saturating_add(waits)).then(|| {
        let why = unknown(o).map_or_else(String::new, |why| format!(": {why}"));
        format!("{} has taken {}{why}", d.phase.name(), time::show_duration(Duration::from_secs(lasted.as_secs())))
    })
}

/// The first thing that could not be seen, in the provider's words.
fn unknown(o: &Observation) -> Option<&str> {
    fn why<T>(thing: &Known<T>) -> Option<&str> {
        match thing {
            Known::Unknown(why) => Some(why),
            Known::Seen(_) | Known::Absent => None,
        }
    }
    o.routes.iter().find_map(why).or_else(|| why(&o.blue)).or_else(|| why(&o.green)).or_else(|| why(&o.green_slot))
}

/// A route that does not show what the record says, where it has been seen right before.
fn edited(d: &Deployment, o: &Observation, reached: bool) -> Option<String> {
    let plan = d.plan.as_ref()?;
    let recorded = d.phase.wants();
    o.routes.iter().zip(&plan.routes).zip(&d.overlays).find_map(|((route, planned), rule)| {
        let view: &RouteView = route.seen()?;
        let overlay = view.overlays.iter().find(|overlay| &overlay.rule == rule)?;
        match overlay.forward {
            Forward::Elsewhere => Some(format!(
                "the overlay on {} forwards elsewhere than to blue and green: it was changed outside Cutover; roll back, or delete the change",
                planned.route
            )),
            Forward::Split(seen) if reached && seen < recorded => Some(format!(
                "the overlay on {} sends {seen} to green, {recorded} is recorded: it was changed outside Cutover, or by a call that came late; {}, or roll back",
                planned.route,
                if d.phase.base_may_be_green() { "set it back by hand" } else { "set the weight again" }
            )),
            Forward::Split(_) if !d.phase.base_may_be_green() && !view.base.is_all_blue() => Some(format!(
                "the base of {} no longer forwards to blue alone: it was changed outside Cutover; put it back before the commit",
                planned.route
            )),
            Forward::Split(_) => None,
        }
    })
}

/// Whether green cannot grow any further after blue.
fn outgrown(d: &Deployment, o: &Observation) -> bool {
    health::outgrown_to(d, o).is_none() && o.green.seen().is_some_and(|green| green.servers.in_service >= green.servers.desired)
}

fn short(d: &Deployment, o: &Observation) -> Option<String> {
    match health::verdict(d, o, d.phase.wants()) {
        Verdict::Short { healthy, needed } => {
            Some(format!("{} waits: {healthy} of green's servers healthy, {needed} needed", d.phase.wants()))
        }
        Verdict::Outgrown { healthy, needed } => outgrown(d, o).then(|| {
            format!(
                "{} waits: blue has grown, {needed} healthy servers of green are needed and {healthy} are there; green may have {} (server_group.max): promote is of no use, lower the weight or let blue shrink",
                d.phase.wants(),
                d.declaration.server_group.max
            )
        }),
        Verdict::NoneHealthy { needed } => Some(format!("none of green's servers is healthy, {needed} needed")),
        Verdict::Passed | Verdict::Unknown => None,
    }
}
