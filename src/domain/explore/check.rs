//! The invariants of a whole state and of a step, held against the world as it *is*, not as anybody sees it.

use super::{
    mind::{Facts, Mind},
    size::{Size, Step},
    state::State,
    world::{Call, ELSEWHERE, Scene},
};
use crate::domain::phase::Phase;

/// What is wrong with a state.
pub fn state(mind: &Mind, size: &Size, s: &State) -> Result<(), String> {
    let facts = mind.facts(s.rec);
    if !facts.planned {
        return Ok(());
    }
    if s.acked && facts.phase != Phase::Failed {
        for (i, route) in s.scene.routes[..size.routes].iter().enumerate() {
            let share = to_green(facts, route.share());
            if share > 0 {
                return Err(format!("1: a rollback was acknowledged, and route {i} sends {share} permille to green"));
            }
        }
    }
    serves(size, &s.scene)?;
    groups_in_phase(facts, &s.scene)?;
    ended(facts, size, s)
}

pub fn to_green(facts: &Facts, share: u16) -> u16 {
    if share == ELSEWHERE {
        return 0;
    }
    if facts.green_slot == 1 { share } else { 1000 - share }
}

/// Wherever a route sends traffic (or some node of it still does), servers are in service.
fn serves(size: &Size, scene: &Scene) -> Result<(), String> {
    for (i, route) in scene.routes[..size.routes].iter().enumerate() {
        for share in [Some(route.share()), route.lag].into_iter().flatten().filter(|share| *share != ELSEWHERE) {
            for (slot, weight) in [(0, 1000 - share), (1, share)] {
                let served = scene.groups.iter().any(|group| group.alive && !group.deleting && group.slot == Some(slot));
                if weight > 0 && !served {
                    return Err(format!("3: route {i} sends {weight} permille to slot {slot}, where nobody serves (503)"));
                }
            }
        }
    }
    Ok(())
}

/// Blue is whole for as long as anybody may go back to it.
fn groups_in_phase(facts: &Facts, scene: &Scene) -> Result<(), String> {
    let blue = &scene.groups[usize::from(facts.blue)];
    let there = blue.alive && !blue.deleting && blue.slot == Some(facts.blue_slot);
    match facts.phase {
        Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Committing { .. } => {
            if !there {
                return Err("3: blue is not there to go back to".to_owned());
            }
            // A late call of the last deployment may lower its minimum: that is seen and put right (`Steps::looks`).
            if !blue.protected {
                return Err("3: blue, which a rollback would return to, is not pinned".to_owned());
            }
        }
        Phase::RollingBack { .. } | Phase::RolledBack | Phase::Cancelled if !there => {
            return Err("3: blue is gone after a rollback".to_owned());
        }
        _ => {}
    }
    Ok(())
}

/// What an ended deployment leaves behind. Rules that send everything to blue may still land late: the next one removes them.
fn ended(facts: &Facts, size: &Size, s: &State) -> Result<(), String> {
    let routes = &s.scene.routes[..size.routes];
    let groups = &s.scene.groups;
    match facts.phase {
        Phase::Succeeded => {
            if routes.iter().any(|route| to_green(facts, route.base) != 1000) {
                return Err("succeeded, and a base is not on green".to_owned());
            }
            if routes.iter().any(|route| to_green(facts, route.share()) != 1000) {
                return Err("succeeded, and not all traffic is on green".to_owned());
            }
            if groups[usize::from(facts.blue)].alive {
                return Err("succeeded, and blue is left over".to_owned());
            }
            if groups[usize::from(facts.green)].full {
                return Err("succeeded, and green's minimum was never released".to_owned());
            }
        }
        Phase::RolledBack | Phase::Cancelled => {
            if routes.iter().any(|route| to_green(facts, route.base) != 0) {
                return Err("rolled back, and a base is not on blue".to_owned());
            }
            if routes.iter().any(|route| to_green(facts, route.share()) != 0) {
                return Err("rolled back, and green has traffic".to_owned());
            }
            if groups[usize::from(facts.green)].alive {
                return Err("rolled back, and green's group is left over".to_owned());
            }
            if routes.iter().any(|route| route.preview.is_some()) {
                return Err("rolled back, and a preview names a slot without servers".to_owned());
            }
            let blue = groups[usize::from(facts.blue)];
            if blue.full || blue.protected {
                return Err("rolled back, and blue is still pinned".to_owned());
            }
        }
        _ => {}
    }
    Ok(())
}

/// What is wrong with a step.
pub fn step(mind: &Mind, size: &Size, from: &State, step: Step, to: &State) -> Result<(), String> {
    let (before, after) = (mind.facts(from.rec), mind.facts(to.rec));
    if before.phase.is_terminal() && step != Step::NextDeployment && before.phase != after.phase {
        return Err("7: an ended deployment changed".to_owned());
    }
    if !after.planned || step == Step::NextDeployment {
        return Ok(());
    }
    let nothing_lags = size.late == 0 && size.stale == 0;
    let shifts = before.phase == Phase::Verifying && matches!(after.phase, Phase::Shifting { .. });
    if nothing_lags && shifts && to.scene.routes.iter().any(|route| route.preview.is_some()) {
        return Err("6: weight is wanted, and a preview still holds the shield's number".to_owned());
    }
    let rises =
        (0..size.routes).any(|i| to_green(after, to.scene.routes[i].share()) > to_green(after, from.scene.routes[i].share()));
    // A lane's deletion (or a person's) that is not answered yet may meet the base's write: the blip goes back to what was
    // there a moment before, and once it is answered `state` allows none.
    let others_delete = size.lane || size.hand > 0;
    // An overlay that a person has lowered over a green base goes with a rise: after the quiet period, when nobody can go back;
    // or by a lane that is not answered yet.
    let may_uncover = size.edits > 0 && (before.phase == Phase::Retiring || size.lane && !from.acked);
    let uncovered = may_uncover && by(mind, from, step, |call| matches!(call, Call::Delete { .. }));
    let by_a_person = matches!(step, Step::EditedByHand(_));
    let allowed = by_a_person || uncovered || by_weight(mind, from, step) || others_delete && by_base(mind, from, step);
    if rises && !allowed {
        return Err("2: green's share rose, and not by a weight given to an overlay".to_owned());
    }
    Ok(())
}

fn by_weight(mind: &Mind, from: &State, step: Step) -> bool {
    by(mind, from, step, |call| matches!(call, Call::Weigh { .. } | Call::Shape { .. }))
}

fn by_base(mind: &Mind, from: &State, step: Step) -> bool {
    by(mind, from, step, |call| matches!(call, Call::Base { .. }))
}

/// Whether a step lets only such calls land.
fn by(mind: &Mind, from: &State, step: Step, such: impl Fn(&Call) -> bool) -> bool {
    match step {
        Step::Lands(call) => such(&call),
        Step::Send(i, _) => match from.replicas[i] {
            super::state::Replica::Acting { act, .. } => mind.act(act).1.iter().all(such),
            _ => false,
        },
        _ => false,
    }
}
