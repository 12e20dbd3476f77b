//! A person at the provider's console who edits rules: what they may do, and what must not be done over it.

use super::{
    check::to_green,
    mind::{RecId, Tick, rule_index},
    sight::Sight,
    size::Step,
    state::State,
    steps::Steps,
    world::{Call, ELSEWHERE, Rule, Scene},
};
use crate::domain::{drift, phase::Phase};

/// Changes one route; `true`: green's slot is b.
type Edit = fn(&mut Scene, usize, bool);

/// What a person may do to one route, and what it is called.
const EDITS: [(&str, Edit); 7] = [
    ("the overlay sends everything to green", |scene, i, green_is_b| weigh(scene, i, if green_is_b { 1000 } else { 0 })),
    ("the overlay sends 30 % to green", |scene, i, green_is_b| weigh(scene, i, if green_is_b { 300 } else { 700 })),
    ("the overlay sends everything to blue", |scene, i, green_is_b| weigh(scene, i, if green_is_b { 0 } else { 1000 })),
    ("the overlay forwards elsewhere", |scene, i, _| weigh(scene, i, ELSEWHERE)),
    ("the overlay gets other conditions", |scene, i, _| {
        if let Some(overlay) = &mut scene.routes[i].overlay {
            overlay.form = 1 - overlay.form;
        }
    }),
    ("the base forwards elsewhere", |scene, i, _| scene.routes[i].base = ELSEWHERE),
    ("the base gets other conditions", |scene, i, _| scene.routes[i].base_form = 1 - scene.routes[i].base_form),
];

fn weigh(scene: &mut Scene, i: usize, share: u16) {
    if let Some(overlay) = &mut scene.routes[i].overlay {
        overlay.share = share;
    }
}

/// An answer was carried out, or somebody put it back.
pub fn forget_edits(scene: &mut Scene) {
    for route in &mut scene.routes {
        route.base_touched = false;
        if let Some(overlay) = &mut route.overlay {
            overlay.touched = false;
        }
    }
}

impl Steps<'_> {
    pub fn edits(&mut self, s: &State) {
        let facts = self.mind.facts(s.rec);
        // What a person gives to green after a rollback was asked for is theirs.
        if s.edits_left == 0 || !drift::is_watched(self.mind.rec(s.rec)) {
            return;
        }
        let green_is_b = facts.green_slot == 1;
        let recorded: Vec<_> = self.mind.rec(s.rec).overlays.iter().map(|rule| rule_index(rule).1).collect();
        for (what, edit) in EDITS {
            for i in 0..self.size.routes {
                let mut next = *s;
                next.edits_left -= 1;
                edit(&mut next.scene, i, green_is_b);
                // An overlay that was never recorded (a late call opened it) is not one that they know of.
                let known = |rule: Rule| recorded.get(i) == Some(&rule.id);
                let (before, after) = (s.scene.routes[i].overlay, next.scene.routes[i].overlay);
                if next.scene == s.scene || before != after && !before.is_some_and(known) {
                    continue;
                }
                // Only what the record cannot explain is an edit that must not be moved over.
                let drift = self.mind.is_drift(s.rec, Sight::of(next.scene, 0));
                let (before, route) = (s.scene.routes[i], &mut next.scene.routes[i]);
                route.base_touched = drift && (route.base, route.base_form) != (before.base, before.base_form);
                if let Some(overlay) = route.overlay.as_mut().filter(|overlay| Some(**overlay) != before.overlay) {
                    overlay.touched = drift;
                }
                self.push(Step::EditedByHand(what), next);
            }
        }
    }

    /// Whether a tick that saw the world as it is moves toward green although a person's edit is unanswered.
    pub fn moves_over_an_edit(&self, s: &State, rec: RecId, tick: Tick) -> bool {
        let routes = &s.scene.routes[..self.size.routes];
        let edited = routes.iter().any(|route| route.base_touched || route.overlay.is_some_and(|overlay| overlay.touched));
        let facts = self.mind.facts(rec);
        // The base that was committed is its owner's again.
        let watched = facts.phase.may_go_back() && facts.quiet_age.is_none();
        // The record may have moved on to where it explains what they did.
        if !edited || facts.answered || !watched || !self.mind.is_drift(rec, Sight::of(s.scene, 0)) {
            return false;
        }
        let rises = |call: &Call| match *call {
            Call::Weigh { route, share, .. } | Call::Shape { route, share, .. } => {
                let now = s.scene.routes[usize::from(route)].overlay.map_or(0, |overlay| overlay.share);
                to_green(facts, share) > to_green(facts, now)
            }
            Call::Base { share, .. } => to_green(facts, share) > 0,
            _ => false,
        };
        let next = &self.mind.facts(tick.settle).phase;
        let advances = next.wants() > facts.phase.wants()
            || matches!((&facts.phase, next), (Phase::Baking { .. }, Phase::Committing { .. }));
        advances || tick.act.is_some_and(|act| self.mind.act(act).1.iter().any(rises))
    }
}
