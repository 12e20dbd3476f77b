//! Test-only: walks **every** reachable state of a few small worlds with the production `decide`, `having_seen`,
//! `command::give` and `lane`; only the world is modelled. Nothing is sampled and no walk is cut short.
//!
//! `world` is what a call does, `sight` what a look shows, `mind` the production functions behind small numbers, `steps` and
//! `lane_steps` all that can happen next, `check` what must hold, `walk` the search, `story` a trace in words, `mutants` the design with one rule
//! taken out. docs/proof.md says what is modelled and what was counted.

mod check;
mod lane_steps;
mod mind;
mod mutants;
mod sight;
mod size;
mod state;
mod steps;
mod story;
mod walk;
mod world;

use std::time::Duration;

use mutants::Mutant;
use size::{ALL_COMMANDS, Size};
use walk::{Found, walk};

use super::{
    command::Command,
    deployment::Deployment,
    sample,
    time::{BakeTime, DURATION_MAX},
};

/// The dimensions that a world has beyond these are named where it is used.
const SMALL: Size = Size {
    name: "small",
    routes: 1,
    stages: &[50, 100],
    bakes: false,
    deadlines: false,
    replicas: 1,
    split_looks: false,
    crashes: true,
    flights: 1,
    late: u8::MAX,
    stale: false,
    unknown: false,
    sickness: false,
    lags: false,
    lane: true,
    commands: &[],
    hand: 0,
    next: false,
};

fn begin(size: &Size) -> Deployment {
    let mut strategy = sample::strategy(size.stages, if size.bakes { mind::UNIT.as_secs() } else { 0 });
    let limit = if size.deadlines { mind::UNIT } else { DURATION_MAX };
    let deadlines = &mut strategy.deadlines;
    (deadlines.pending, deadlines.provisioning, deadlines.verifying, deadlines.shifting) = (limit, limit, limit, limit);
    if !size.bakes {
        strategy.bake_time = BakeTime::For(Duration::ZERO);
    }
    let mut d = sample::pending(1, size.routes, strategy);
    d.phase_since = mind::now();
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

/// Walks a world of the design as it is, to its end.
fn must_hold(size: &Size) {
    let found = report(size, None);
    assert!(found.violation.is_none(), "\n{}", found.violation.unwrap_or_default());
}

#[test]
fn one_route_one_late_call_and_the_lane() {
    must_hold(&LATE);
}

#[test]
fn whatever_an_operator_asks_for() {
    must_hold(&Size { name: "operator", commands: ALL_COMMANDS, lane: false, ..CALM });
}

/// Walks a world with one rule taken out, to the violation that must be there.
fn must_find(mutant: Mutant, size: &Size) {
    let found = report(size, Some(mutant));
    let story = found.violation.expect("the walk did not notice that a rule was taken out");
    println!("{story}");
}

const CALM: Size = Size { name: "calm", late: 0, ..SMALL };
const LATE: Size = Size { name: "late", late: 1, ..SMALL };

#[test]
fn without_the_version_check_a_rolled_back_deployment_advances() {
    must_find(Mutant::NoVersionCheck, &CALM);
}

#[test]
fn without_the_deadline_check_an_old_call_is_sent_long_after_its_lease() {
    must_find(Mutant::NoDeadlineCheck, &Size { replicas: 2, ..CALM });
}

#[test]
fn weight_to_whatever_overlay_is_seen_undoes_a_rollback() {
    must_find(Mutant::WeightToWhatIsSeen, &Size { split_looks: true, ..LATE });
}

#[test]
fn an_overlay_opened_again_undoes_a_rollback_by_hand() {
    must_find(Mutant::OverlayOpenedAgain, &Size { lane: false, hand: 1, ..CALM });
}

#[test]
fn absence_believed_at_one_look_does_harm() {
    must_find(
        Mutant::AbsenceAtOneLook,
        &Size { stale: true, lane: false, commands: &[Command::Cancel, Command::Rollback], ..CALM },
    );
}

#[test]
fn a_lane_that_trusts_its_copy_leaves_a_green_base_bare() {
    must_find(Mutant::LaneTrustsItsCopy, &CALM);
}

#[test]
fn a_lane_that_never_shields_leaves_a_green_base_bare() {
    must_find(Mutant::LaneNeverShields, &CALM);
}

#[test]
fn a_shield_that_is_no_order_is_undone() {
    must_find(Mutant::ShieldIsNoOrder, &Size { lane: false, hand: 1, ..CALM });
}

#[test]
fn a_shield_that_goes_early_lets_a_late_commit_through() {
    must_find(Mutant::ShieldGoesEarly, &LATE);
}

#[test]
fn a_shield_that_goes_unseen_uncovers_a_green_base() {
    must_find(Mutant::ShieldGoesUnseen, &CALM);
}

#[test]
fn without_a_quiet_period_a_rollback_taken_without_a_database_is_undone() {
    must_find(Mutant::NoQuietPeriod, &Size { lane: false, hand: 1, ..CALM });
}

#[test]
fn an_overlay_that_goes_before_the_base_is_written_makes_traffic_jump() {
    must_find(Mutant::OverlayGoesFirst, &Size { lane: false, ..CALM });
}

#[test]
fn an_edited_base_takes_a_late_write_after_a_rollback() {
    must_find(Mutant::EditTheBase, &LATE);
}

#[test]
fn a_teardown_on_the_word_of_the_api_meets_traffic() {
    must_find(Mutant::TearDownOnTheWord, &Size { lags: true, ..CALM });
}

#[test]
fn a_next_deployment_that_does_not_wait_meets_an_old_write() {
    must_find(Mutant::NextDoesNotWait, &Size { lane: false, commands: &[Command::Rollback], next: true, ..LATE });
}
