//! When something will change by itself, as far as the record tells.

use jiff::Timestamp;

use super::{
    deployment::Deployment,
    phase::Phase,
    preview,
    time::{self, BakeTime},
    timing::Timing,
};

/// The end of the bake or of the protocol's wait that runs now; `None` where nothing but the world, or a person, is waited for.
///
/// It depends on the record alone, not on the hour: a reader who asks twice sees the same.
#[must_use]
pub fn next_change_at(d: &Deployment, timing: &Timing) -> Option<Timestamp> {
    if d.intent.is_paused() || d.held.is_some() || d.intent.is_back() {
        return None;
    }
    match &d.phase {
        Phase::Pending | Phase::Provisioning => {
            let looked_at = d.seen.at.unwrap_or(d.created_at);
            d.not_before.filter(|not_before| *not_before > looked_at)
        }
        Phase::Shifting { stage, seen_at: Some(seen_at), by_hand: false, hurry: false, .. } => {
            let strategy = d.plan.as_ref().map_or(&d.strategy, |plan| &plan.strategy);
            strategy.stages.get(*stage).and_then(|stage| stage.bake_time.ends(*seen_at))
        }
        Phase::Baking { seen_at: Some(seen_at), commit_now: false } => {
            let bake: BakeTime = d.plan.as_ref().map_or(d.strategy.bake_time, |plan| plan.strategy.bake_time);
            let landed = d.holds.restored_at.map(|at| timing.landed(at));
            bake.ends(*seen_at).map(|ends| landed.map_or(ends, |landed| ends.max(landed)))
        }
        Phase::Committing { quiet_since: Some(since) } => Some(time::after(*since, timing.quiet())),
        Phase::Committing { quiet_since: None } => Some(time::after(d.phase_since, timing.commit_delay)),
        Phase::Verifying if d.open_order().is_none() => preview::ends(d).filter(|ends| *ends > d.phase_since),
        Phase::Shifting { .. }
        | Phase::Baking { .. }
        | Phase::Verifying
        | Phase::Retiring
        | Phase::RollingBack { .. }
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Cancelled
        | Phase::Failed => None,
    }
}
