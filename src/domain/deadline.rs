//! When a phase has tried for too long. The clock runs only while the engine is trying to get somewhere: not while baking,
//! paused, held, or waiting out a quiet period.

use std::time::Duration;

use jiff::Timestamp;

use super::{deployment::Deployment, phase::Phase, preview, time};

/// When the present phase has to have got somewhere; `None` where no deadline runs.
#[must_use]
pub fn of(d: &Deployment, now: Timestamp) -> Option<Timestamp> {
    if d.intent.is_paused() || d.held.is_some() {
        return None;
    }
    let limit = limit(d)?;
    let paused = Duration::from_millis(d.intent.paused_total_ms(now).saturating_sub(d.paused_before_ms));
    let waits_until = match d.phase {
        Phase::Provisioning => d.not_before,
        // Nobody gets anywhere while others look at the preview.
        Phase::Verifying if preview::is_wanted(d, now) && preview::ends(d).is_none() => return None,
        Phase::Verifying => preview::ends(d),
        _ => None,
    };
    let began = waits_until.map_or(d.phase_since, |until| d.phase_since.max(until));
    let held = Duration::from_millis(d.holds.ms);
    Some(time::after(time::after(began, paused.saturating_add(held)), limit))
}

fn limit(d: &Deployment) -> Option<Duration> {
    let limits = &d.strategy.deadlines;
    match d.phase {
        Phase::Pending => Some(limits.pending),
        Phase::Provisioning => Some(limits.provisioning),
        Phase::Verifying => Some(limits.verifying),
        Phase::Shifting { seen_at: None, .. } | Phase::Baking { seen_at: None, .. } => Some(limits.shifting),
        Phase::Shifting { seen_at: Some(_), .. }
        | Phase::Baking { seen_at: Some(_), .. }
        | Phase::Committing { .. }
        | Phase::Retiring
        | Phase::RollingBack { .. }
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Cancelled
        | Phase::Failed => None,
    }
}

#[must_use]
pub fn passed(d: &Deployment, now: Timestamp) -> bool {
    of(d, now).is_some_and(|deadline| now >= deadline)
}

/// The reason given for a rollback by deadline.
#[must_use]
pub fn said(d: &Deployment) -> String {
    let limit = limit(d).map_or_else(String::new, |limit| format!(" within {}", time::show_duration(limit)));
    format!("{} got nowhere{limit}", d.phase.name())
}
