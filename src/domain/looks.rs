//! When absence is believed: after several looks spread over time. One stale read must not remove a serving group.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    deployment::Deployment,
    drift,
    observation::{Known, Observation, RouteView},
    time,
    timing::Timing,
    weight::Weight,
};

/// Looks in a row that agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Looks {
    pub count: u32,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

impl Looks {
    /// After one more look: `Some(true)` agrees, `Some(false)` contradicts, `None` could not tell.
    #[must_use]
    pub fn after(self, agrees: Option<bool>, now: Timestamp) -> Self {
        match agrees {
            Some(true) => Self { count: self.count.saturating_add(1), first: self.first.or(Some(now)), last: Some(now) },
            Some(false) => Self::default(),
            // An unknown look neither proves nor disproves; the ones before it still count.
            None => self,
        }
    }

    /// Whether it is believed, and was so for as long as a change takes to be everywhere.
    #[must_use]
    pub fn is_everywhere(self, timing: &Timing) -> bool {
        let lasted = self.first.zip(self.last).map(|(first, last)| time::between(first, last));
        self.believed(timing) && lasted.is_some_and(|lasted| lasted >= timing.propagation)
    }

    /// Whether there were enough of them, far enough apart.
    #[must_use]
    pub fn believed(self, timing: &Timing) -> bool {
        match (self.first, self.last) {
            (Some(first), Some(last)) => {
                self.count >= timing.absence_looks && time::between(first, last) >= timing.absence_spread
            }
            _ => false,
        }
    }
}

/// Absences being watched, since the phase began.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Absences {
    /// A route: no overlay of this deployment; once overlays are recorded, not the recorded one.
    pub overlays: Vec<Looks>,
    /// A route: no preview of this deployment.
    pub previews: Vec<Looks>,
    /// A route: no shield.
    pub shields: Vec<Looks>,
    /// A route: the base is not all-green.
    pub bases_off_green: Vec<Looks>,
    /// A route: the recorded overlay sends nothing to green, and it was seen to.
    pub emptied: Vec<Looks>,
    pub green: Looks,
    pub green_targets: Looks,
    pub blue: Looks,
    pub blue_targets: Looks,
}

impl Absences {
    #[must_use]
    pub(super) fn after(&self, d: &Deployment, o: &Observation, now: Timestamp) -> Self {
        let per_route = |old: &[Looks], gone: &dyn Fn(usize, &RouteView) -> bool| -> Vec<Looks> {
            o.routes
                .iter()
                .enumerate()
                .map(|(i, route)| old.get(i).copied().unwrap_or_default().after(route.seen().map(|view| gone(i, view)), now))
                .collect()
        };
        Self {
            overlays: per_route(&self.overlays, &|i, view| overlay_gone(d, i, view)),
            previews: per_route(&self.previews, &|_, view| view.previews.is_empty()),
            shields: per_route(&self.shields, &|_, view| view.shields.is_empty()),
            bases_off_green: per_route(&self.bases_off_green, &|_, view| !view.base.is_all_green()),
            emptied: per_route(&self.emptied, &|i, view| emptied(d, i, view)),
            green: self.green.after(gone(&o.green), now),
            green_targets: self.green_targets.after(o.green_slot.seen().map(|slot| slot.targets == 0), now),
            blue: self.blue.after(gone(&o.blue), now),
            blue_targets: self.blue_targets.after(o.blue_slot.seen().map(|slot| slot.targets == 0), now),
        }
    }
}

fn gone<T>(thing: &Known<T>) -> Option<bool> {
    match thing {
        Known::Seen(_) => Some(false),
        Known::Absent => Some(true),
        Known::Unknown(_) => None,
    }
}

/// On the way to green the *recorded* overlay counts; on the way back no rule of ours may be left that names green.
fn overlay_gone(d: &Deployment, route: usize, view: &RouteView) -> bool {
    match d.overlays.get(route) {
        Some(recorded) if d.phase.may_go_back() => !view.overlays.iter().any(|overlay| &overlay.rule == recorded),
        _ => view.overlays.is_empty() && view.previews.is_empty(),
    }
}

/// Only an overlay that has been seen to send something to green can be emptied.
fn emptied(d: &Deployment, route: usize, view: &RouteView) -> bool {
    let Some(recorded) = d.overlays.get(route) else { return false };
    let on_green = drift::is_watched(d) && drift::floor(d) > Weight::NONE;
    on_green && view.overlays.iter().any(|overlay| &overlay.rule == recorded && overlay.forward.is_all_blue())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn absence_needs_several_looks_spread_over_time() {
        let timing = Timing { absence_looks: 3, absence_spread: Duration::from_secs(2), ..Timing::default() };
        let mut looks = Looks::default();
        for _ in 0..10 {
            looks = looks.after(Some(true), at(0));
        }
        assert!(!looks.believed(&timing), "ten looks in one instant are one look");
        assert!(looks.after(Some(true), at(2)).believed(&timing));
        assert!(!looks.after(Some(true), at(2)).after(Some(false), at(3)).believed(&timing), "one positive look settles it");
        assert!(!looks.after(None, at(9)).believed(&timing), "unknown is not absent");
    }
}
