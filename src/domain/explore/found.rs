//! The design with one rule of the protocol taken out, a test a rule: the walk has to find it, and tells how it goes wrong.
//!
//! The worlds are those of `worlds`, where the whole design holds: what is found is the missing rule's doing.

use super::{
    mutants::Mutant,
    report,
    size::Size,
    worlds::{AT_ONCE, BARE, BY_HAND, CALM, EDITED, LANE, NEXT, NEXT_LANE, OFFLINE, REPLICAS, STALE, STALLED},
};

/// Walks a world with one rule taken out, to the violation that must be there.
fn must_find(mutant: Mutant, size: &Size, violation: &str) {
    let found = report(size, Some(mutant));
    let story = found.violation.expect("the walk did not notice that a rule was taken out");
    println!("{story}");
    assert!(story.contains(violation), "something else went wrong than {violation:?}");
}

/// Green has traffic, or has it again, after a rollback was answered.
const UNDONE: &str = "1: a rollback was acknowledged";
/// Traffic moved to green by something else than a weight.
const JUMPED: &str = "2: green's share rose";
/// Toward green over somebody's edit.
const OVER: &str = "2: it moves toward green over what a person edited";
/// Traffic where nobody serves.
const LOST: &str = "(503)";

#[test]
fn without_the_version_check_a_rolled_back_deployment_advances() {
    must_find(Mutant::NoVersionCheck, &CALM, JUMPED);
}

#[test]
fn without_the_deadline_check_an_old_call_is_sent_long_after_its_lease() {
    must_find(Mutant::NoDeadlineCheck, &REPLICAS, "blue is still pinned");
}

#[test]
fn weight_to_whatever_overlay_is_seen_undoes_a_rollback() {
    must_find(Mutant::WeightToWhatIsSeen, &STALLED, UNDONE);
}

#[test]
fn an_overlay_opened_again_undoes_a_rollback_by_hand() {
    must_find(Mutant::OverlayOpenedAgain, &BY_HAND, UNDONE);
}

#[test]
fn absence_believed_at_one_look_does_harm() {
    must_find(Mutant::AbsenceAtOneLook, &STALE, LOST);
}

#[test]
fn a_lane_that_trusts_its_copy_leaves_a_green_base_bare() {
    must_find(Mutant::LaneTrustsItsCopy, &CALM, UNDONE);
}

#[test]
fn a_lane_that_never_shields_leaves_a_green_base_bare() {
    must_find(Mutant::LaneNeverShields, &CALM, UNDONE);
}

#[test]
fn overlays_that_go_before_the_shields_leave_a_green_base_bare() {
    must_find(Mutant::OverlaysBeforeShields, &OFFLINE, JUMPED);
}

#[test]
fn a_bundle_that_serves_for_ever_is_undone() {
    must_find(Mutant::BundleNeverOld, &OFFLINE, JUMPED);
}

#[test]
fn a_pin_that_nobody_wrote_down_lands_after_the_end() {
    must_find(Mutant::PinsUnrecorded, &AT_ONCE, "blue is still pinned");
}

#[test]
fn a_shield_that_is_no_order_is_undone() {
    must_find(Mutant::ShieldIsNoOrder, &BY_HAND, JUMPED);
}

#[test]
fn a_shield_that_goes_early_lets_a_late_commit_through() {
    must_find(Mutant::ShieldGoesEarly, &LANE, JUMPED);
}

#[test]
fn a_shield_that_goes_unseen_uncovers_a_green_base() {
    must_find(Mutant::ShieldGoesUnseen, &CALM, JUMPED);
}

#[test]
fn without_a_quiet_period_a_rollback_taken_without_a_database_is_undone() {
    must_find(Mutant::NoQuietPeriod, &BY_HAND, JUMPED);
}

#[test]
fn an_overlay_that_goes_before_the_base_is_written_makes_traffic_jump() {
    must_find(Mutant::OverlayGoesFirst, &BARE, JUMPED);
}

#[test]
fn an_edited_base_takes_a_late_write_after_a_rollback() {
    must_find(Mutant::EditTheBase, &LANE, UNDONE);
}

#[test]
fn a_teardown_on_the_word_of_the_api_meets_traffic() {
    must_find(Mutant::TearDownOnTheWord, &BY_HAND, LOST);
}

#[test]
fn a_drift_that_holds_nothing_is_moved_over() {
    must_find(Mutant::DriftIsIgnored, &EDITED, OVER);
}

#[test]
fn a_drift_put_right_unasked_moves_toward_green() {
    must_find(Mutant::DriftIsRepaired, &EDITED, OVER);
}

#[test]
fn a_next_deployment_that_does_not_wait_meets_an_old_write() {
    must_find(Mutant::NextDoesNotWait, &NEXT, "is not pinned");
}

#[test]
fn a_lane_that_never_gives_up_hits_the_next_deployment() {
    must_find(Mutant::LaneNeverGivesUp, &NEXT_LANE, JUMPED);
}
