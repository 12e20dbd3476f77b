//! The worlds: the design as it is, every state of each. A test a world, so that they run side by side; larger ones with
//! `make soak`.

use super::{
    PLAIN, report,
    size::{ALL_COMMANDS, ANSWERS, STEERING, Size},
};
use crate::domain::command::{Command, PromoteTo};

/// A pause would open a preview again and again, and the model gives each rule an id of its own: unit tests hold that.
const PREVIEWING: &[Command] = &[Command::Rollback, Command::Promote(PromoteTo::Next)];
const ROLLBACK: &[Command] = &[Command::Rollback];

/// Walks a world of the design as it is, to its end.
fn must_hold(size: &Size) {
    let found = report(size, None);
    assert!(found.violation.is_none(), "\n{}", found.violation.unwrap_or_default());
}

pub const BARE: Size = Size { name: "nothing but crashes", ..PLAIN };
pub const CALM: Size = Size { name: "the lane", lane: true, ..PLAIN };
pub const STALLED: Size =
    Size { name: "the lane, one late call, a stall before each look", split_looks: true, crashes: false, ..LANE };
pub const LANE: Size = Size { name: "the lane, one late call", lane: true, late: 1, ..PLAIN };
pub const REPLICAS: Size =
    Size { name: "two replicas that stall", replicas: 2, split_looks: true, commands: ROLLBACK, ..PLAIN };
pub const STALE: Size = Size { name: "stale reads, one late call", stale: 2, spread: 2, late: 1, commands: ROLLBACK, ..PLAIN };
pub const OPERATOR: Size = Size { name: "an operator, three weights", stages: &[25, 50, 100], commands: ALL_COMMANDS, ..PLAIN };
pub const SICKNESS: Size =
    Size { name: "servers that fall sick", sickness: true, bakes: true, deadlines: true, commands: STEERING, ..PLAIN };
pub const TWO_ROUTES: Size =
    Size { name: "two routes, the lane, unknown reads", routes: 2, unknown: true, lane: true, ..PLAIN };
pub const TWO_LATE: Size =
    Size { name: "two routes, two late calls", routes: 2, flights: 2, late: 2, commands: ROLLBACK, ..PLAIN };
pub const BY_HAND: Size = Size {
    name: "hands outside, slow nodes, one late call",
    hand: 1,
    lags: true,
    spread: 1,
    late: 1,
    commands: ROLLBACK,
    ..PLAIN
};
/// Where two looks at once prove absence, a way back may be over while a call from before it still lives.
pub const AT_ONCE: Size = Size { name: "hands outside, one late call", hand: 1, late: 1, commands: ROLLBACK, ..PLAIN };
pub const EDITED: Size = Size { name: "edits by hand, an operator who answers", edits: 1, commands: ANSWERS, ..PLAIN };
pub const EDITED_LATE: Size =
    Size { name: "edits by hand, one late call, an operator who answers", stages: &[100], crashes: false, late: 1, ..EDITED };
pub const PREVIEW: Size =
    Size { name: "a preview, an operator, one late call", preview: true, late: 1, commands: PREVIEWING, ..PLAIN };
pub const NEXT: Size = Size {
    name: "two deployments, one late call, unknown reads",
    next: true,
    late: 1,
    unknown: true,
    commands: ROLLBACK,
    ..PLAIN
};
pub const NEXT_LANE: Size = Size { name: "two deployments, the lane", next: true, lane: true, crashes: false, ..PLAIN };

pub const OFFLINE: Size = Size { name: "a lane without a database, one late call", offline: 1, late: 1, ..PLAIN };
pub const OFFLINE_STALE: Size =
    Size { name: "a lane without a database, two routes, stale reads", routes: 2, stale: 1, spread: 1, late: 0, ..OFFLINE };
pub const OFFLINE_NEXT: Size = Size { name: "two deployments, a lane without a database", next: true, late: 0, ..OFFLINE };

#[test]
fn a_lane_without_a_database_and_one_late_call() {
    must_hold(&OFFLINE);
}

#[test]
fn a_lane_without_a_database_two_routes_and_stale_reads() {
    must_hold(&OFFLINE_STALE);
}

#[test]
fn two_deployments_and_a_lane_without_a_database() {
    must_hold(&OFFLINE_NEXT);
}

#[test]
fn two_deployments_and_the_lane() {
    must_hold(&NEXT_LANE);
}

#[test]
fn nothing_but_crashes() {
    must_hold(&BARE);
}

#[test]
fn the_lane() {
    must_hold(&CALM);
}

#[test]
fn the_lane_one_late_call_and_a_stall_before_each_look() {
    must_hold(&STALLED);
}

#[test]
fn the_lane_and_one_late_call() {
    must_hold(&LANE);
}

#[test]
fn two_replicas_that_stall() {
    must_hold(&REPLICAS);
}

#[test]
fn stale_reads_and_one_late_call() {
    must_hold(&STALE);
}

#[test]
fn an_operator_who_asks_for_anything() {
    must_hold(&OPERATOR);
}

#[test]
fn servers_that_fall_sick_and_heal() {
    must_hold(&SICKNESS);
}

#[test]
fn two_routes_the_lane_and_unknown_reads() {
    must_hold(&TWO_ROUTES);
}

#[test]
fn two_routes_and_two_late_calls() {
    must_hold(&TWO_LATE);
}

#[test]
fn hands_outside_slow_nodes_and_one_late_call() {
    must_hold(&BY_HAND);
}

#[test]
fn hands_outside_and_one_late_call() {
    must_hold(&AT_ONCE);
}

#[test]
fn edits_by_hand_and_an_operator_who_answers() {
    must_hold(&EDITED);
}

#[test]
fn edits_by_hand_and_one_late_call() {
    must_hold(&EDITED_LATE);
}

#[test]
fn a_preview_and_one_late_call() {
    must_hold(&PREVIEW);
    must_hold(&Size { name: "a preview", late: 0, ..PREVIEW });
}

#[test]
fn two_deployments_in_a_row() {
    must_hold(&NEXT);
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_the_lane_and_stale_reads() {
    must_hold(&Size { name: "the lane, stale reads, one late call", stale: 1, spread: 1, ..LANE });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_a_lane_without_a_database_and_two_replicas() {
    let size =
        Size { name: "a lane without a database, two replicas, rolled back at any time", replicas: 2, late: 0, ..OFFLINE };
    must_hold(&Size { commands: ROLLBACK, ..size });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_two_deployments_a_lane_without_a_database_and_a_late_call() {
    must_hold(&Size { name: "two deployments, a lane without a database, one late call", late: 1, ..OFFLINE_NEXT });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_two_replicas_and_a_late_call() {
    must_hold(&Size { name: "two replicas that stall, one late call", split_looks: false, late: 1, ..REPLICAS });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_two_routes_and_a_late_call() {
    must_hold(&Size { name: "two routes, the lane, unknown reads, one late call", late: 1, ..TWO_ROUTES });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_an_operator_and_sickness() {
    must_hold(&Size { name: "an operator, servers that fall sick", commands: ALL_COMMANDS, sickness: true, ..PLAIN });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_three_weights_two_routes_and_a_late_call() {
    let size = Size {
        name: "three weights, two routes, one late call",
        stages: &[25, 50, 100],
        late: 1,
        commands: STEERING,
        ..TWO_ROUTES
    };
    must_hold(&Size { lane: false, unknown: false, ..size });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_two_deployments_and_stale_reads() {
    must_hold(&Size { name: "two deployments, stale and unknown reads", stale: 2, spread: 2, late: 0, ..NEXT });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_edits_by_hand_and_a_late_call() {
    must_hold(&Size { name: "edits by hand, one late call, two weights", stages: &[50, 100], ..EDITED_LATE });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_edits_by_hand_on_two_routes() {
    must_hold(&Size { name: "edits by hand on two routes, one late call", routes: 2, ..EDITED_LATE });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_edits_by_hand_and_the_lane() {
    must_hold(&Size { name: "edits by hand, the lane, one late call", lane: true, ..EDITED_LATE });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_the_lane_and_two_replicas() {
    must_hold(&Size { name: "the lane, two replicas that stall", split_looks: true, replicas: 2, ..CALM });
    must_hold(&Size { name: "the lane, two replicas, one late call", replicas: 2, crashes: false, ..LANE });
}

#[test]
#[ignore = "minutes: make soak"]
fn soak_two_deployments_and_two_replicas() {
    must_hold(&Size { name: "two deployments, two replicas", replicas: 2, late: 0, unknown: false, ..NEXT });
    must_hold(&Size { name: "two deployments, the lane, two replicas", replicas: 2, ..NEXT_LANE });
}
