//! The same record for every decision. It is always [`now`], and a timestamp is an age in units, cut off where no decision
//! looks any further; what no decision reads (sentences, what was last seen) is dropped. So records that lead to the same
//! choices for ever are one.

use std::time::Duration;

use jiff::Timestamp;

use super::{mind::timing, size::Size};
use crate::domain::{
    deployment::{Answered, Deployment, Given, Seen},
    drift::{Holds, RouteDrift},
    health::ShortFor,
    looks::{Absences, Looks},
    phase::Phase,
    sample,
    time::BakeTime,
    weight::Weight,
};

/// Half a quiet period is two units: what was signed lives for less than that.
pub const UNIT: Duration = Duration::from_secs(100);
pub const HALF_QUIET: u8 = 2;

pub fn now() -> Timestamp {
    sample::at(1_000_000)
}

/// `age` units ago.
fn ago(age: u32) -> Timestamp {
    now() - UNIT * age
}

/// How many units ago, cut off at `most`.
pub fn age(at: Timestamp, most: u32) -> u32 {
    let age = crate::domain::time::between(at, now()).as_secs() / UNIT.as_secs();
    u32::try_from(age).unwrap_or(u32::MAX).min(most)
}

/// Applies `change` to each time that a decision may read.
pub fn each_time(d: &mut Deployment, change: impl Fn(Timestamp) -> Timestamp) {
    let maybe = |at: &mut Option<Timestamp>| *at = at.map(&change);
    d.phase_since = change(d.phase_since);
    maybe(&mut d.ended_at);
    maybe(&mut d.not_before);
    maybe(&mut d.provisioned_at);
    maybe(&mut d.holds.restored_at);
    match &mut d.phase {
        Phase::Shifting { seen_at, .. } | Phase::Baking { seen_at, .. } => maybe(seen_at),
        Phase::Committing { quiet_since } => maybe(quiet_since),
        _ => {}
    }
    maybe(&mut d.seen.short.last);
    let absences = &mut d.seen.absences;
    let routes = absences
        .overlays
        .iter_mut()
        .chain(&mut absences.previews)
        .chain(&mut absences.shields)
        .chain(&mut absences.bases_off_green);
    let routes = routes.chain(&mut absences.emptied).chain(d.seen.drift.iter_mut().map(|route| &mut route.looks));
    let groups = [&mut absences.green, &mut absences.green_targets, &mut absences.blue, &mut absences.blue_targets];
    for looks in routes.chain(groups) {
        maybe(&mut looks.first);
        maybe(&mut looks.last);
    }
}

/// The same record for every decision, with all that none reads taken out.
///
/// When a weight was wanted matters only where a look may show more than it: where nobody edits rules, that is the work of a late
/// call, and that it is lowered rather than held gives green nothing. The least that may have been left matters only where less
/// may be seen.
pub fn canonical(mut d: Deployment, size: &Size) -> Deployment {
    let (spread, edits) = (size.spread, size.edits > 0);
    let landed_max = u32::from(HALF_QUIET + spread);
    let cut = |at: Timestamp, most: u32| ago(age(at, most));
    let since_max = match (&d.phase, d.strategy.deadlines.verifying < UNIT * 10) {
        (Phase::Committing { quiet_since: None }, _) => 1,
        (Phase::RollingBack { .. }, _) => landed_max,
        (
            Phase::Pending
            | Phase::Provisioning
            | Phase::Verifying
            | Phase::Shifting { seen_at: None, .. }
            | Phase::Baking { seen_at: None, .. },
            true,
        ) => 1,
        (Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Committing { .. }, _) if edits => landed_max,
        _ => 0,
    };
    let shows = d.phase == Phase::Verifying && d.plan.as_ref().is_some_and(|plan| plan.preview.is_some());
    d.phase_since = cut(d.phase_since, if shows { since_max.max(1) } else { since_max });
    d.ended_at = d.ended_at.map(|_| now());
    d.provisioned_at = d.provisioned_at.map(|at| cut(at, landed_max));
    d.not_before = d.not_before.filter(|at| *at > now());
    match &mut d.phase {
        Phase::Shifting { seen_at, stage, .. } => {
            let bakes = d.strategy.stages[*stage].bake_time != BakeTime::For(Duration::ZERO);
            *seen_at = seen_at.map(|at| cut(at, u32::from(bakes)));
        }
        Phase::Baking { seen_at, .. } => {
            let bakes = d.strategy.bake_time != BakeTime::For(Duration::ZERO);
            *seen_at = seen_at.map(|at| cut(at, u32::from(bakes)));
        }
        Phase::Committing { quiet_since } => *quiet_since = quiet_since.map(|at| cut(at, 2 * u32::from(HALF_QUIET))),
        _ => {}
    }
    let intent = &mut d.intent;
    for given in [&mut intent.rollback, &mut intent.cancel, &mut intent.abandon].into_iter().flatten() {
        given.at = now();
    }
    intent.rollback_accepted_at = intent.rollback_accepted_at.map(|_| now());
    (intent.paused_since, intent.paused_ms, d.paused_before_ms) = (intent.paused_since.map(|_| now()), 0, 0);
    // Only whether an order is open matters, not how many there were.
    intent.order = intent.order.take().filter(|order| order.number > d.order_seen).map(|mut order| {
        (order.number, order.given.at) = (1, now());
        order
    });
    d.order_seen = 0;
    drift(&mut d, landed_max, size.late > 0 || edits);
    if let Some(back) = &mut d.going_back {
        back.requested_at = now();
        back.reason = None;
        back.accepted_at = back.accepted_at.map(|_| now());
        back.observed_at = back.observed_at.map(|_| now());
    }
    d.attention = None;
    let short = match d.phase {
        Phase::Verifying | Phase::Shifting { .. } | Phase::Baking { .. } => short(d.seen.short),
        _ => ShortFor::default(),
    };
    let seen = d.seen.clone();
    d.seen = Seen {
        short,
        absences: absences(&d.phase, shows, &seen.absences, spread),
        drift: drifting(seen.drift, spread),
        ..Seen::default()
    };
    d
}

/// Which drift of how many it is makes no difference, only whether it was answered; nor how long the last ones took.
fn drift(d: &mut Deployment, landed_max: u32, reads_least: bool) {
    d.intent.answer = d.answer().cloned().map(|answered| Answered {
        drift: 1,
        given: Given { at: now(), ..answered.given.clone() },
        ..answered
    });
    if let Some(held) = &mut d.held {
        (held.number, held.since) = (1, now());
    }
    let before_commit = d.phase.may_go_back() && !d.phase.base_may_be_green();
    let reads_restored = before_commit || matches!(d.phase, Phase::RollingBack { .. });
    let restored_at = d.holds.restored_at.filter(|_| reads_restored).map(|at| ago(age(at, landed_max)));
    d.holds = Holds { count: u64::from(d.held.is_some()), ms: 0, restored_at };
    let on_its_way = matches!(d.phase, Phase::Shifting { seen_at: None, .. } | Phase::Baking { seen_at: None, .. });
    if !on_its_way || !reads_least {
        d.least = Weight::NONE;
    }
}

/// Routes of which nothing is suspected are all the same.
fn drifting(mut all: Vec<RouteDrift>, spread: u8) -> Vec<RouteDrift> {
    for route in &mut all {
        route.looks = canonical_looks(route.looks, spread);
    }
    if all.iter().all(|route| *route == RouteDrift::default()) { Vec::new() } else { all }
}

fn short(short: ShortFor) -> ShortFor {
    let most = u64::try_from(UNIT.as_millis()).unwrap();
    ShortFor { ms: short.ms.min(most), last: short.last.map(|at| ago(age(at, 1))) }
}

/// Those that the phase reads; entering the next one forgets them all.
fn absences(phase: &Phase, shows: bool, all: &Absences, spread: u8) -> Absences {
    let each = |looks: &[Looks]| looks.iter().map(|one| canonical_looks(*one, spread)).collect();
    let (shields, bases, going, leaving) = match phase {
        Phase::Committing { quiet_since: Some(_) } => (false, true, false, false),
        Phase::RollingBack { .. } => (true, false, true, false),
        Phase::Retiring => (false, false, false, true),
        _ => (false, false, false, false),
    };
    let if_read = |read: bool, looks: &[Looks]| if read { each(looks) } else { Vec::new() };
    let one = |read: bool, looks: Looks| if read { canonical_looks(looks, spread) } else { Looks::default() };
    let forward = phase.may_go_back() && !matches!(phase, Phase::Pending | Phase::Provisioning);
    let overlays_read = !phase.is_terminal() && !matches!(phase, Phase::Pending | Phase::Provisioning);
    Absences {
        overlays: if_read(overlays_read, &all.overlays),
        previews: if_read(shows, &all.previews),
        shields: if_read(shields, &all.shields),
        bases_off_green: if_read(bases, &all.bases_off_green),
        emptied: if_read(forward, &all.emptied),
        green: one(going, all.green),
        green_targets: one(going, all.green_targets),
        blue: one(leaving || going, all.blue),
        blue_targets: one(leaving, all.blue_targets),
    }
}

/// None, young, old or believed: nothing else about looks makes a difference.
fn canonical_looks(looks: Looks, spread: u8) -> Looks {
    let spread_units = u32::from(spread);
    match (looks.first, looks.last) {
        _ if looks.believed(&timing(spread)) => Looks { count: 2, first: Some(ago(spread_units)), last: Some(ago(0)) },
        (Some(first), Some(_)) => {
            let first = ago(age(first, spread_units));
            Looks { count: 1, first: Some(first), last: Some(first) }
        }
        _ => Looks::default(),
    }
}
