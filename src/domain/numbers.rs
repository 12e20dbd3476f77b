//! Which rule numbers a deployment takes: shield below overlay below base, with nothing between that could match the same
//! request. Lower numbers are looked at first. Existing rules are never renumbered: that is their owner's act.

use super::{
    ids::RuleRef,
    overlap::{Condition, disjoint},
    survey::{OtherRule, RouteSurvey},
};

/// The highest number a rule may have (AWS: priorities run from 1 to 50000).
pub const NUMBER_MAX: u32 = 50_000;

/// Two reserved numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    pub overlay: u32,
    pub shield: u32,
}

/// Finds the two highest free numbers above the base, with only disjoint rules on the way.
///
/// # Errors
/// A sentence that names the rule in the way and a number that would do.
pub fn reserve(route: &RouteSurvey, mine: &[u32]) -> Result<Numbers, String> {
    let Some(base) = route.number else { return behind_all(route, mine) };
    search(route, base, mine).map_err(|obstacle| {
        let advice = advise(route, base, mine)
            .map_or_else(String::new, |number| format!("; with the base at {number} there would be room"));
        match obstacle {
            Some(rule) => format!(
                "no two free rule numbers above the base ({base}): rule {} (number {}) lies between and could match the same requests{advice}",
                rule.rule, rule.number
            ),
            None => format!("no two free rule numbers above the base ({base}): every lower number is in use{advice}"),
        }
    })
}

/// Whether the rules with the reserved numbers (shield, overlay) may match what a base at `base` matches *now*.
///
/// # Errors
/// A sentence that names what is in the way.
pub fn still_fits<'a>(
    (shield, overlay): (u32, u32),
    base: u32,
    conditions: &[Condition],
    mut others: impl Iterator<Item = (&'a RuleRef, u32, Vec<Condition>)>,
) -> Result<(), String> {
    if base <= overlay {
        return Err(format!("with number {base} the base comes before the overlay's {overlay}: put it behind"));
    }
    let between = |number: u32| (shield..base).contains(&number);
    match others.find(|(_, number, theirs)| between(*number) && !disjoint(conditions, theirs)) {
        Some((rule, number, _)) => Err(format!(
            "rule {rule} (number {number}) lies between overlay and base and could match the same requests: an overlay like this \
             base would take them from it"
        )),
        None => Ok(()),
    }
}

/// The free number nearest under `number`: where a shield goes when its own was taken by somebody else. A rule of others
/// between it and the overlay keeps its traffic, which is why a reserved number is tried first.
#[must_use]
pub fn nearest_free_under(number: u32, taken: &[u32]) -> Option<u32> {
    (1..number).rev().find(|number| !taken.contains(number))
}

/// Walks down from `base`; `Err` names the first rule that could match the same requests, if one stopped the walk.
fn search<'a>(route: &'a RouteSurvey, base: u32, mine: &[u32]) -> Result<Numbers, Option<&'a OtherRule>> {
    let mut free = Vec::with_capacity(2);
    for number in (1..base).rev() {
        if let Some(rule) = route.others.iter().find(|rule| rule.number == number) {
            if !disjoint(&route.conditions, &rule.conditions) {
                return Err(Some(rule));
            }
        } else if !mine.contains(&number) && !route.reserved.contains(&number) {
            free.push(number);
            if let [overlay, shield] = free[..] {
                return Ok(Numbers { overlay, shield });
            }
        }
    }
    Err(None)
}

/// The nearest free number below which the base would have room, without passing a rule that could match the same requests.
fn advise(route: &RouteSurvey, base: u32, mine: &[u32]) -> Option<u32> {
    // Two free numbers lie within as many steps as there are rules; looking further finds nothing new.
    let reach = base.saturating_add(u32::try_from(route.others.len()).unwrap_or(NUMBER_MAX)).saturating_add(3).min(NUMBER_MAX);
    for number in base + 1..=reach {
        match route.others.iter().find(|rule| rule.number == number) {
            Some(rule) if !disjoint(&route.conditions, &rule.conditions) => return None,
            Some(_) => {}
            None if search(route, number, mine).is_ok() => return Some(number),
            None => {}
        }
    }
    None
}

/// A default action is looked at last, so its overlay must come behind every rule, and just before it.
fn behind_all(route: &RouteSurvey, mine: &[u32]) -> Result<Numbers, String> {
    let (shield, overlay) = (NUMBER_MAX - 1, NUMBER_MAX);
    let in_use = |number: &u32| *number >= shield;
    if let Some(rule) = route.others.iter().find(|rule| in_use(&rule.number)) {
        return Err(format!(
            "a default action needs the numbers {shield} and {overlay}, behind every other rule: rule {} has number {}; move it to a lower one",
            rule.rule, rule.number
        ));
    }
    if mine.iter().chain(&route.reserved).any(in_use) {
        return Err(format!("the numbers {shield} and {overlay} are held by another running deployment on this listener"));
    }
    Ok(Numbers { overlay, shield })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ListenerRef, LoadBalancerRef};

    fn host(name: &str) -> Vec<Condition> {
        vec![Condition::Host(vec![name.to_owned()])]
    }

    fn route(number: Option<u32>, others: &[(u32, &str)]) -> RouteSurvey {
        RouteSurvey {
            listener: ListenerRef::new("l"),
            load_balancer: LoadBalancerRef::new("balancer"),
            number,
            conditions: if number.is_some() { host("web.example.com") } else { Vec::new() },
            forwards: Vec::new(),
            form: serde_json::Value::Null,
            others: others
                .iter()
                .map(|(number, name)| OtherRule {
                    rule: RuleRef::new(format!("r{number}")),
                    number: *number,
                    conditions: host(name),
                    owner: None,
                })
                .collect(),
            reserved: Vec::new(),
        }
    }

    #[test]
    fn neighbours_for_other_hosts_are_stepped_over() {
        let route = route(Some(102), &[(101, "api.example.com"), (100, "shop.example.com")]);
        assert_eq!(reserve(&route, &[]), Ok(Numbers { overlay: 99, shield: 98 }));
    }

    #[test]
    fn a_rule_that_could_match_the_same_requests_is_named_with_a_number_that_would_do() {
        let route = route(Some(3), &[(2, "*.example.com"), (4, "api.example.com")]);
        let said = reserve(&route, &[]).unwrap_err();
        assert!(said.contains("rule r2 (number 2)"), "{said}");
        assert!(said.contains("with the base at 6 there would be room"), "{said}");
    }

    #[test]
    fn numbers_held_by_others_are_left_alone() {
        let mut route = route(Some(10), &[]);
        route.reserved = vec![9];
        assert_eq!(reserve(&route, &[8]), Ok(Numbers { overlay: 7, shield: 6 }));
    }

    #[test]
    fn a_base_at_the_very_front_has_no_room() {
        let said = reserve(&route(Some(1), &[]), &[]).unwrap_err();
        assert!(said.contains("with the base at 3 there would be room"), "{said}");
    }

    #[test]
    fn a_shield_whose_number_was_taken_goes_right_under_the_overlay() {
        assert_eq!(nearest_free_under(99, &[98, 97]), Some(96));
        assert_eq!(nearest_free_under(3, &[1, 2]), None);
    }

    #[test]
    fn an_edited_base_is_followed_only_where_its_overlay_takes_no_requests_of_others() {
        let (near, far) = (RuleRef::new("near"), RuleRef::new("far"));
        let fits = |base, now: &str| {
            let others = [(&near, 90, host("shop.example.com")), (&far, 150, host("api.example.com"))];
            still_fits((49, 50), base, &host(now), others.into_iter())
        };
        assert_eq!(fits(100, "web.example.com"), Ok(()));
        assert!(fits(100, "*.example.com").unwrap_err().contains("rule near (number 90)"));
        assert_eq!(fits(100, "api.example.com"), Ok(()), "far lies behind the base, as before");
        assert!(fits(200, "api.example.com").unwrap_err().contains("rule far"), "and now between");
        assert!(fits(40, "web.example.com").unwrap_err().contains("comes before the overlay"));
    }

    #[test]
    fn a_default_action_goes_behind_every_rule_or_nowhere() {
        assert_eq!(reserve(&route(None, &[(7, "a"), (49_998, "b")]), &[]), Ok(Numbers { overlay: 50_000, shield: 49_999 }));
        assert!(reserve(&route(None, &[(50_000, "a")]), &[]).unwrap_err().contains("rule r50000"));
    }
}
