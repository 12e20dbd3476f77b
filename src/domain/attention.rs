//! When a person is needed, and the sentence that says why.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    deadline,
    deployment::Deployment,
    drift::{self, Answer},
    health::{self, Verdict},
    ids::SlotRef,
    observation::{Forward, Known, Observation, SlotView},
    phase::Phase,
    plan::Plan,
    time,
    timing::Timing,
    weight::Weight,
};

/// Differences that one sentence names.
const TOLD_MAX: usize = 3;

/// What a person should know or do; `None` when all goes its way.
#[must_use]
pub(super) fn sentence(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<String> {
    let in_the_way = in_the_way(d, o, timing, now);
    too_long(d, o, in_the_way.as_deref(), timing, now).or_else(|| refused(d)).or(in_the_way)
}

/// What the phase waits for, and a person could mend.
fn in_the_way(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<String> {
    let plan = d.plan.as_ref();
    match &d.phase {
        // It is to go back: what the way forward lacks is of no interest any more.
        phase if d.intent.is_back() && phase.may_go_back() => None,
        _ if d.held.is_some() => drifted(d, o),
        Phase::Provisioning => o.launch_failures.first().map(|failure| format!("launches fail: {}", failure.message)),
        Phase::Shifting { .. } | Phase::Baking { .. } => no_way_back(d, o, timing, now).or_else(|| short(d, o)),
        Phase::Committing { .. } => no_way_back(d, o, timing, now).or_else(|| match health::verdict(d, o, Weight::ALL) {
            Verdict::Short { healthy, needed } => Some(blue_is_kept(healthy, needed)),
            Verdict::NoneHealthy { needed } => Some(blue_is_kept(0, needed)),
            Verdict::Passed | Verdict::Outgrown { .. } | Verdict::Unknown => None,
        }),
        Phase::Retiring => plan.and_then(|plan| {
            base_elsewhere(o, plan, |base| !base.is_all_green(), &plan.green.slot)
                .or_else(|| still_named(o, &o.blue_slot, &plan.blue_slot, Weight::ALL))
                .or_else(|| short_alone(d, o))
        }),
        Phase::RollingBack { .. } => plan.and_then(|plan| {
            still_served(o)
                .or_else(|| base_elsewhere(o, plan, |base| base == Forward::Elsewhere, &plan.blue_slot))
                .or_else(|| still_named(o, &o.green_slot, &plan.green.slot, Weight::NONE))
        }),
        Phase::Pending | Phase::Verifying | Phase::Succeeded | Phase::RolledBack | Phase::Cancelled | Phase::Failed => None,
    }
}

/// What a green that serves alone lacks.
fn short_alone(d: &Deployment, o: &Observation) -> Option<String> {
    let blue_is_there = d.plan.as_ref().is_some_and(|plan| plan.blue.is_some()) && !o.blue.is_absent();
    let green = o.green.seen().filter(|_| blue_is_there && !health::serves_alone(d, o))?;
    Some(blue_is_kept(green.servers.healthy, health::needed_alone(d)))
}

fn blue_is_kept(healthy: u32, needed: u32) -> String {
    format!("blue is kept: {healthy} of green's servers healthy, {needed} needed")
}

/// Somebody else's rule, which no rollback takes away.
fn still_served(o: &Observation) -> Option<String> {
    let stray = o.routes.iter().filter_map(Known::seen).find_map(|view| view.strays.first())?;
    Some(format!("green still gets traffic: {}: delete it, or make it forward elsewhere", stray.told))
}

/// A base that somebody pointed elsewhere is theirs; but it has to be on `slot` before this is over.
fn base_elsewhere(o: &Observation, plan: &Plan, elsewhere: impl Fn(Forward) -> bool, slot: &SlotRef) -> Option<String> {
    let mut routes = o.routes.iter().zip(&plan.routes);
    let (_, route) = routes.find(|(route, _)| route.seen().is_some_and(|view| elsewhere(view.base)))?;
    Some(format!("the base of {} was changed outside Cutover: forward it to {slot}, and this comes to its end", route.route))
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
fn too_long(d: &Deployment, o: &Observation, in_the_way: Option<&str>, timing: &Timing, now: Timestamp) -> Option<String> {
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
        let why = in_the_way.or_else(|| unknown(o)).map_or_else(String::new, |why| format!(": {why}"));
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

/// What a person is told of a drift: every difference, and what may become of it.
fn drifted(d: &Deployment, o: &Observation) -> Option<String> {
    let held = d.held.as_ref()?;
    let (adoptable, restorable) = (held.not_adoptable.is_empty(), drift::not_restorable(held).is_empty());
    match d.answer().map(|answered| answered.answer) {
        Some(answer @ Answer::Adopt) if adoptable => return short_for(d, o, answer),
        Some(answer @ Answer::Restore) if restorable => return short_for(d, o, answer),
        Some(Answer::Adopt | Answer::Restore) | None => {}
    }
    let told: Vec<_> = held.differences.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    let more = held.differences.len().saturating_sub(TOLD_MAX);
    let more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let ways = [(d.phase.can_pause() && adoptable, "adopt it, "), (d.phase.can_pause() && restorable, "restore it, ")];
    let ways: String = ways.into_iter().filter(|(open, _)| *open).map(|(_, way)| way).collect();
    Some(format!("changed outside Cutover: {}{more}: {ways}put it back by hand, or roll back", told.join(", ")))
}

/// An answer that waits for green's servers.
fn short_for(d: &Deployment, o: &Observation, answer: Answer) -> Option<String> {
    let (doing, weight) = match answer {
        Answer::Adopt => ("adopting", observed_share(d, o)?),
        Answer::Restore => ("restoring", d.phase.wants()),
    };
    match health::verdict(d, o, weight) {
        Verdict::Short { healthy, needed } | Verdict::Outgrown { healthy, needed } => {
            Some(format!("{doing} {weight} waits: {healthy} of green's servers healthy, {needed} needed"))
        }
        Verdict::NoneHealthy { needed } => {
            Some(format!("{doing} {weight} waits: none of green's servers is healthy, {needed} needed"))
        }
        Verdict::Passed | Verdict::Unknown => None,
    }
}

/// What the recorded overlays send to green at most.
fn observed_share(d: &Deployment, o: &Observation) -> Option<Weight> {
    let seen = d.overlays.iter().zip(&o.routes).filter_map(|(rule, route)| route.seen()?.recorded(rule));
    let shares = seen.filter_map(|overlay| match overlay.forward {
        Forward::Split(weight) => Some(weight),
        Forward::Elsewhere => None,
    });
    shares.max()
}

/// What would have gone back by itself, had blue not fewer healthy servers than green.
fn no_way_back(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Option<String> {
    let (blue, green) = health::fewer_on_blue(d, o)?;
    let short = matches!(health::verdict(d, o, d.phase.wants()), Verdict::Short { .. });
    let why = if short && d.seen.short.duration() >= timing.health_patience {
        "green is short of healthy servers"
    } else if deadline::passed(d, now) {
        "the deadline has passed"
    } else {
        return None;
    };
    let back_to = if d.plan.as_ref().is_some_and(|plan| plan.blue.is_some()) {
        format!("blue is worse: {blue} healthy servers, and {green} of green's")
    } else {
        format!("there is no release before it: green's {green} healthy servers are all there are")
    };
    Some(format!("{why}, and {back_to}: it does not go back by itself; mend them, or roll back"))
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
