//! Test-only: walks **every** reachable state of a few small worlds with the production `decide`, `having_seen`,
//! `command::give` and `lane`; only the world is modelled. Nothing is sampled and no walk is cut short.
//!
//! `world` is what a call does, `sight` what a look shows, `mind` the production functions behind small numbers (`canon`:
//! records that decide alike are one), `steps`, `lane_steps` and `offline_steps` all that can happen next, `check` what must hold, `walk` the
//! search, `story` a trace in words, `worlds` what is walked, and `found` what is found when a rule is taken out (`mutants`).
//! docs/proof.md says what is modelled and what was counted.

mod canon;
mod check;
mod edits;
mod found;
mod lane_steps;
mod map;
mod mind;
mod mutants;
mod offline_steps;
mod sight;
mod size;
mod state;
mod steps;
mod story;
mod walk;
mod world;
mod worlds;

use std::time::Duration;

use mutants::Mutant;
use size::Size;
use walk::{Found, walk};

use super::{
    declaration::Preview,
    deployment::Deployment,
    sample,
    time::{BakeTime, DURATION_MAX},
};

/// One route, one replica that may crash anywhere, two stages; nothing else happens. A world names what it has beyond this.
const PLAIN: Size = Size {
    name: "plain",
    routes: 1,
    stages: &[50, 100],
    bakes: false,
    deadlines: false,
    replicas: 1,
    split_looks: false,
    crashes: true,
    flights: 1,
    late: 0,
    stale: 0,
    spread: 0,
    unknown: false,
    sickness: false,
    lags: false,
    lane: false,
    offline: 0,
    commands: &[],
    hand: 0,
    edits: 0,
    preview: false,
    next: false,
};

fn begin(size: &Size) -> Deployment {
    let mut strategy = sample::strategy(size.stages, if size.bakes { canon::UNIT.as_secs() } else { 0 });
    let limit = if size.deadlines { canon::UNIT } else { DURATION_MAX };
    let deadlines = &mut strategy.deadlines;
    (deadlines.pending, deadlines.provisioning, deadlines.verifying, deadlines.shifting) = (limit, limit, limit, limit);
    if !size.bakes {
        strategy.bake_time = BakeTime::For(Duration::ZERO);
    }
    let mut d = sample::pending(1, size.routes, strategy);
    d.phase_since = canon::now();
    d.declaration.preview = size.preview.then(|| Preview {
        header: "X-Preview".to_owned(),
        value: "green".to_owned(),
        bake_time: BakeTime::For(canon::UNIT),
    });
    d
}

fn report(size: &Size, mutant: Option<Mutant>) -> Found {
    let found = walk(size, mutant, begin(size));
    let of = mutant.map_or_else(String::new, |mutant| format!(" without a rule ({mutant:?})"));
    println!(
        "world `{}`{of}: {} states, {} steps, {} records, {} steps deep, {:.1} s",
        size.name,
        found.states,
        found.steps,
        found.records,
        found.depth,
        found.took.as_secs_f64()
    );
    found
}
