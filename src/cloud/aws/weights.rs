//! Weights on the wire: AWS takes 0 to 999 for each target group and what it does with `{0, 0}` is not documented.

use crate::domain::{ids::TargetGroupRef, observation::Forward, weight::Weight};

/// All of it, as AWS takes it.
const ALL: i32 = 999;

/// Blue's and green's weights.
pub(super) fn to_wire(weight: Weight) -> (i32, i32) {
    match i32::from(weight.permille()) {
        0 => (ALL, 0),
        1000 => (0, ALL),
        green => (1000 - green, green),
    }
}

/// Green's share of a forward; `blue` and `green` are the target groups of the route's load balancer.
pub(super) fn from_wire(forwards: &[(TargetGroupRef, u32)], blue: &TargetGroupRef, green: &TargetGroupRef) -> Forward {
    let weight =
        |of: &TargetGroupRef| forwards.iter().filter(|(to, _)| to == of).map(|(_, weight)| u64::from(*weight)).sum::<u64>();
    let elsewhere = forwards.iter().any(|(to, _)| to != blue && to != green);
    let (blue, green) = (weight(blue), weight(green));
    let total = blue.saturating_add(green);
    if elsewhere || total == 0 {
        return Forward::Elsewhere;
    }
    // Rounded to the nearest; a trickle to either side is never shown as none.
    let mut permille = (green.saturating_mul(2000) + total) / (total * 2);
    if green > 0 && blue > 0 {
        permille = permille.clamp(1, 999);
    }
    u16::try_from(permille).ok().and_then(Weight::from_permille).map_or(Forward::Elsewhere, Forward::Split)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides() -> (TargetGroupRef, TargetGroupRef) {
        (TargetGroupRef::new("blue"), TargetGroupRef::new("green"))
    }

    #[test]
    fn every_weight_is_sent_within_bounds_and_read_back_as_it_was() {
        let (blue, green) = sides();
        for permille in 0..=1000 {
            let weight = Weight::from_permille(permille).unwrap();
            let (b, g) = to_wire(weight);
            assert!((0..=999).contains(&b) && (0..=999).contains(&g) && b + g > 0, "{permille} is sent as {b} and {g}");
            let wire = [(blue.clone(), u32::try_from(b).unwrap()), (green.clone(), u32::try_from(g).unwrap())];
            assert_eq!(from_wire(&wire, &blue, &green), Forward::Split(weight));
        }
    }

    #[test]
    fn a_forward_to_one_target_group_is_all_of_it() {
        let (blue, green) = sides();
        assert!(from_wire(&[(blue.clone(), 1)], &blue, &green).is_all_blue());
        assert!(from_wire(&[(green.clone(), 1)], &blue, &green).is_all_green());
        assert!(from_wire(&[(green.clone(), 999), (blue.clone(), 0)], &blue, &green).is_all_green());
    }

    #[test]
    fn what_goes_elsewhere_or_nowhere_is_no_split() {
        let (blue, green) = sides();
        let other = (TargetGroupRef::new("other"), 1);
        for wire in [vec![], vec![other.clone()], vec![(blue.clone(), 1), other], vec![(blue.clone(), 0), (green.clone(), 0)]] {
            assert_eq!(from_wire(&wire, &blue, &green), Forward::Elsewhere, "{wire:?}");
        }
    }

    #[test]
    fn a_trickle_set_by_hand_is_never_shown_as_none() {
        let (blue, green) = sides();
        let forward = from_wire(&[(blue.clone(), 999), (green.clone(), 1)], &blue, &green);
        assert_eq!(forward, Forward::Split(Weight::from_permille(1).unwrap()));
        assert!(!from_wire(&[(blue.clone(), 1), (green.clone(), 999)], &blue, &green).is_all_green());
    }
}
