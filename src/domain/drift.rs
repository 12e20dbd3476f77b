//! Drift: the world is not as recorded, and no call of ours can have made it so. Somebody edited a rule by hand, or Terraform did.
//!
//! More blue than recorded is obeyed: a rollback taken outside (`decide::outside`). Everything else *holds* the deployment: it is
//! neither repaired, which might be toward green, nor fought over, and a person says what is to become of it. One look that
//! disagrees stops every rise; the record says `held` only once several looks spread over time agree, because one may be stale.
//!
//! What our own late calls may still do is told from a person's hand by time: whatever was signed before a weight was wanted is
//! dead half a quiet period later.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    deployment::Deployment,
    ids::RouteRef,
    looks::Looks,
    observation::{Edit, Field, Forward, Known, Layer, Observation, RouteView},
    phase::Phase,
    time,
    timing::Timing,
    weight::Weight,
};

/// One field of one rule that is not as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Difference {
    pub route: RouteRef,
    #[serde(flatten)]
    pub edit: Edit,
}

/// A drift that is believed. While it lasts nothing moves by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Counts the drifts of a deployment from 1: an answer given to one is none to the next.
    pub number: u64,
    pub since: Timestamp,
    pub differences: Vec<Difference>,
    /// Why it cannot be adopted; empty when it can.
    pub not_adoptable: Vec<String>,
}

/// What becomes of a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The record takes the world as it is.
    Adopt,
    /// The world becomes as recorded again.
    Restore,
}

/// What earlier drifts left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Holds {
    pub count: u64,
    /// How long the present phase was held, the drift that lasts aside.
    pub ms: u64,
    /// When a base was last put back: after it no such call is signed any more.
    pub restored_at: Option<Timestamp>,
}

/// What the last looks at one route showed, as long as they agree.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteDrift {
    pub edits: Vec<Edit>,
    /// Why the route cannot be adopted as it is.
    pub not_adoptable: Option<String>,
    pub looks: Looks,
}

/// An overlay's weight, held against the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weighed {
    AsRecorded,
    /// More green than is wanted, and it may be our own late call: ours to lower.
    TooMuch,
    /// On its way up: ours to raise.
    TooLittle,
    /// Somebody else's doing.
    Edited,
}

/// Whether base and overlays are held against the record. Before `verifying` no overlay is recorded and no user is on green;
/// from `retiring` on the base is its owner's again. An edit made after the order to go back is its maker's.
#[must_use]
pub fn is_watched(d: &Deployment) -> bool {
    is_seen(d) && !d.intent.is_back()
}

/// Whether what differs is noted. Also after the order to go back: what that takes hangs on where the base is then.
fn is_seen(d: &Deployment) -> bool {
    d.phase.may_go_back() && !d.overlays.is_empty()
}

/// Whether anything speaks against taking the world to be as recorded: then nothing moves toward green.
#[must_use]
pub fn suspected(d: &Deployment) -> bool {
    d.held.is_some() || d.seen.drift.iter().any(|route| !route.edits.is_empty())
}

/// Whether a base was last seen not to be on blue alone although nothing was committed: going back then needs a shield.
#[must_use]
pub fn base_is_off_blue(d: &Deployment) -> bool {
    let off = |edit: &Edit| edit.rule == Layer::Base && edit.field == Field::Forward;
    d.seen.drift.iter().any(|route| route.edits.iter().any(off))
}

/// The least that our own calls may have left on an overlay: lower was somebody else's doing.
#[must_use]
pub fn floor(d: &Deployment) -> Weight {
    if is_reached(&d.phase) { d.phase.wants() } else { d.least.min(d.phase.wants()) }
}

/// Whether the phase's weight has been seen on every route.
fn is_reached(phase: &Phase) -> bool {
    match phase {
        Phase::Shifting { seen_at, .. } | Phase::Baking { seen_at, .. } => seen_at.is_some(),
        Phase::Verifying | Phase::Committing { .. } => true,
        Phase::Pending
        | Phase::Provisioning
        | Phase::Retiring
        | Phase::RollingBack { .. }
        | Phase::Succeeded
        | Phase::RolledBack
        | Phase::Cancelled
        | Phase::Failed => false,
    }
}

pub(super) fn weighed(d: &Deployment, seen: Weight, timing: &Timing, now: Timestamp) -> Weighed {
    let wants = d.phase.wants();
    let reached = is_reached(&d.phase);
    if seen == wants {
        Weighed::AsRecorded
    } else if seen > wants && (!reached || now < timing.landed(d.phase_since)) {
        Weighed::TooMuch
    } else if seen < wants && seen >= floor(d) {
        Weighed::TooLittle
    } else {
        Weighed::Edited
    }
}

/// What of a route is not as recorded, in this phase.
pub(super) fn of_route(d: &Deployment, i: usize, view: &RouteView, timing: &Timing, now: Timestamp) -> Vec<Edit> {
    // Once the base was seen on green it is its owner's again; that it stays there is `outside`'s to watch.
    let committed = matches!(d.phase, Phase::Committing { quiet_since: Some(_) });
    let mut edits: Vec<_> = view.edited.iter().flat_map(|edited| edited.edits.clone()).collect();
    if committed {
        edits.retain(|edit| edit.rule == Layer::Overlay && edit.field == Field::Forward);
    }
    let told =
        |edits: &[Edit], rule| edits.iter().any(|edit| edit.rule == rule && matches!(edit.field, Field::Forward | Field::Rule));
    let base_is_right = view.base.is_all_blue() || d.phase.base_may_be_green() && view.base.is_all_green();
    if !(committed || base_is_right || told(&edits, Layer::Base)) {
        edits.push(forward(Layer::Base, Weight::NONE, view.base));
    }
    let overlay = d.overlays.get(i).and_then(|rule| view.recorded(rule));
    match overlay.map(|overlay| overlay.forward) {
        Some(Forward::Split(seen)) if weighed(d, seen, timing, now) == Weighed::Edited => edits.push(Edit {
            rule: Layer::Overlay,
            field: Field::Weight,
            recorded: if seen < floor(d) { floor(d) } else { d.phase.wants() }.to_string(),
            seen: seen.to_string(),
        }),
        Some(elsewhere @ Forward::Elsewhere) if !told(&edits, Layer::Overlay) => {
            edits.push(forward(Layer::Overlay, d.phase.wants(), elsewhere));
        }
        // One that is gone is no edit: `looks` counts its absence.
        Some(Forward::Split(_) | Forward::Elsewhere) | None => {}
    }
    if !committed {
        edits.extend(strays(d, i, view));
    }
    edits
}

/// Rules that were added and send green traffic, past every weight of ours. Once the base is on green they are as good as it.
pub(super) fn strays<'a>(d: &'a Deployment, i: usize, view: &'a RouteView) -> impl Iterator<Item = Edit> + 'a {
    let adopted = d.plan.as_ref().and_then(|plan| plan.routes.get(i)).map(|route| route.strays.as_slice()).unwrap_or_default();
    let added = view.strays.iter().filter(|stray| !adopted.contains(&stray.rule));
    added.map(|stray| Edit { rule: Layer::Other, field: Field::Rule, recorded: "absent".to_owned(), seen: stray.told.clone() })
}

fn forward(rule: Layer, recorded: Weight, seen: Forward) -> Edit {
    let shown = |forward| match forward {
        Forward::Split(Weight::NONE) => "all to blue".to_owned(),
        Forward::Split(weight) => format!("{weight} to green"),
        Forward::Elsewhere => "elsewhere".to_owned(),
    };
    Edit { rule, field: Field::Forward, recorded: shown(Forward::Split(recorded)), seen: shown(seen) }
}

/// What is known of each route after one more look.
pub(super) fn after(d: &Deployment, o: &Observation, timing: &Timing, now: Timestamp) -> Vec<RouteDrift> {
    if !is_seen(d) {
        return Vec::new();
    }
    let one = |(i, route): (usize, &Known<RouteView>)| {
        let before = d.seen.drift.get(i).cloned().unwrap_or_default();
        let Some(view) = route.seen() else { return before };
        let edits = of_route(d, i, view, timing, now);
        if edits.is_empty() && d.held.is_none() {
            return RouteDrift::default();
        }
        let looks = if edits == before.edits { before.looks } else { Looks::default() }.after(Some(true), now);
        let not_adoptable = view.edited.as_ref().and_then(|edited| edited.as_seen.clone().err());
        RouteDrift { edits, not_adoptable, looks }
    };
    o.routes.iter().enumerate().map(one).collect()
}

/// The record with what is believed of the drift by now. `d.seen.drift` holds the last look already.
pub(super) fn believe(d: &mut Deployment, timing: &Timing, now: Timestamp) {
    if !is_watched(d) {
        return;
    }
    let believed = believed(d, timing);
    let not_adoptable = if believed.is_empty() { Vec::new() } else { not_adoptable(d, &believed) };
    match &mut d.held {
        None if believed.is_empty() => {}
        None => hold(d, believed, not_adoptable, now),
        Some(held) if held.differences == believed => {
            // What a look that is not believed yet says of it is no news.
            if d.seen.drift.iter().all(|route| route.looks.believed(timing)) {
                held.not_adoptable = not_adoptable;
            }
        }
        Some(_) if believed.is_empty() => {
            let_go(d, now);
            d.seen.trouble = None;
        }
        // A part of it is over: what was said of the whole still stands.
        Some(held) if believed.iter().all(|difference| held.differences.contains(difference)) => {
            held.differences = believed;
            held.not_adoptable = not_adoptable;
        }
        Some(_) => {
            let_go(d, now);
            hold(d, believed, not_adoptable, now);
        }
    }
}

/// Whether nothing is seen that `held` does not hold.
pub(super) fn is_all_in(d: &Deployment, held: &Held) -> bool {
    let routes = d.plan.iter().flat_map(|plan| &plan.routes).zip(&d.seen.drift);
    let known =
        |route: &RouteRef, edit: &Edit| held.differences.iter().any(|known| &known.route == route && &known.edit == edit);
    routes.into_iter().all(|(route, drift)| drift.edits.iter().all(|edit| known(&route.route, edit)))
}

fn hold(d: &mut Deployment, differences: Vec<Difference>, not_adoptable: Vec<String>, now: Timestamp) {
    d.holds.count += 1;
    d.held = Some(Held { number: d.holds.count, since: now, differences, not_adoptable });
}

/// Ends a drift, however it ended.
pub(super) fn let_go(d: &mut Deployment, now: Timestamp) {
    let restored = d.answer().is_some_and(|answered| answered.restored);
    let Some(held) = d.held.take() else { return };
    let lasted = u64::try_from(time::between(held.since, now).as_millis()).unwrap_or(u64::MAX);
    d.holds.ms = d.holds.ms.saturating_add(lasted);
    if restored {
        d.holds.restored_at = Some(now);
    }
}

/// Each route as several looks agree that it is; as it was held where they do not agree yet.
fn believed(d: &Deployment, timing: &Timing) -> Vec<Difference> {
    let routes = d.plan.iter().flat_map(|plan| &plan.routes);
    let mut all = Vec::new();
    for (route, drift) in routes.zip(&d.seen.drift) {
        let name = &route.route;
        if drift.looks.believed(timing) {
            all.extend(drift.edits.iter().map(|edit| Difference { route: name.clone(), edit: edit.clone() }));
        } else {
            let held = d.held.iter().flat_map(|held| &held.differences);
            all.extend(held.filter(|difference| &difference.route == name).cloned());
        }
    }
    all
}

/// Everything that speaks against adopting.
fn not_adoptable(d: &Deployment, differences: &[Difference]) -> Vec<String> {
    let routes = d.plan.iter().flat_map(|plan| &plan.routes).zip(&d.seen.drift);
    let mut why: Vec<_> = routes
        .filter(|(route, _)| differences.iter().any(|difference| difference.route == route.route))
        .filter_map(|(route, drift)| Some(format!("{}: {}", route.route, drift.not_adoptable.as_ref()?)))
        .collect();
    for Difference { route, edit } in differences {
        if edit.field == Field::Forward {
            why.push(format!("{route}: the {} forwards {}; only blue and green can be recorded", edit.rule.name(), edit.seen));
        }
    }
    let weights: Vec<_> =
        differences.iter().map(|difference| &difference.edit).filter(|edit| edit.field == Field::Weight).collect();
    let Some(first) = weights.first() else { return why };
    if d.phase == Phase::Verifying {
        why.push("green gets no traffic in verifying".to_owned());
    }
    if weights.len() < d.overlays.len() || weights.iter().any(|edit| edit.seen != first.seen) {
        why.push(
            "the routes have different weights, and a deployment has one: give all the same, or restore and set the weight"
                .to_owned(),
        );
    }
    why
}

/// Everything that speaks against putting the world back as recorded.
#[must_use]
pub fn not_restorable(held: &Held) -> Vec<String> {
    let why = |Difference { route, edit }: &Difference| match edit.field {
        Field::Rule if edit.rule == Layer::Other => {
            Some(format!("{route}: {}; Cutover deletes no rule that it did not make, delete it by hand", edit.seen))
        }
        Field::Number => Some(format!(
            "{route}: the {} has number {}, recorded is {}; Cutover never renumbers rules, set it back with set-rule-priorities",
            edit.rule.name(),
            edit.seen,
            edit.recorded
        )),
        Field::Rule => Some(format!("{route}: the {} is {}; Cutover makes no bases", edit.rule.name(), edit.seen)),
        Field::Conditions | Field::Actions | Field::Transforms | Field::Forward | Field::Weight => None,
    };
    held.differences.iter().filter_map(why).collect()
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Edit { rule, field, recorded, seen } = &self.edit;
        if *rule == Layer::Other {
            return write!(f, "{seen}, beside {}", self.route);
        }
        write!(f, "{} of {}: {} {recorded} -> {seen}", rule.name(), self.route, field.name())
    }
}
