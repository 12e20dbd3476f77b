//! Checks of what no plan hangs on: quotas, what only other APIs know, rights, and whether the service would cut off itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{Look, Outcome, OwnHosts, Preflight};
use crate::domain::{
    inspection::BalancerSurvey,
    overlap::{Condition, disjoint},
    survey::{FieldFault, RouteSurvey},
};

/// Rules that one route may have at a time beside its base: overlay and shield.
const RULES_A_ROUTE: u32 = 2;
/// And a preview rule, when without a database a rollback shields before the preview is gone.
const PREVIEWS_A_ROUTE: u32 = 1;
/// Target groups that an overlay forwards to.
const TARGET_GROUPS_AN_OVERLAY: u32 = 2;

impl Look<'_> {
    /// Every group is made alike and the slots take turns: servers that are healthy in one may not be in another.
    pub(super) fn at_likeness(&self, found: &mut Preflight) {
        let name = "slots_alike";
        let seen: Option<Vec<_>> = self.survey().slots.iter().map(Option::as_ref).collect();
        // That one could not be seen is said of `slots`.
        let Some(seen) = seen else { return };
        let before = found.checks.len();
        let first = seen.first().map(|slot| &slot.traits);
        for (i, slot) in seen.iter().enumerate().skip(1) {
            for (position, (there, here)) in first.into_iter().flatten().zip(&slot.traits).enumerate() {
                let differing = differences(here, there);
                if !differing.is_empty() {
                    let detail = format!(
                        "it differs from {}: {}; servers that are healthy in one slot may not be in the other",
                        self.inputs.declaration.pointer_to(0, position),
                        differing.join(", ")
                    );
                    let pointer = self.inputs.declaration.pointer_to(i, position);
                    found.note(name, Outcome::Warning, Some(pointer), detail);
                }
            }
        }
        if found.checks.len() == before {
            found.ok(name, None, "the slots have the same protocol, port and health check");
        }
    }

    pub(super) fn at_quotas(&self, found: &mut Preflight) {
        let quotas = match &self.seen.quotas {
            Ok(quotas) => *quotas,
            Err(unseen) => return found.unseen("quota_of_rules", None, unseen),
        };
        for balancer in &self.seen.load_balancers {
            let name = "quota_of_rules";
            let pointer = self.route_on(balancer);
            let here = self.survey().routes.iter().flatten().filter(|route| route.load_balancer == balancer.load_balancer);
            let (routes, kept) = rules_to_come(here);
            let previews = self.inputs.declaration.preview.as_ref().map_or(0, |_| PREVIEWS_A_ROUTE);
            let more = routes * (RULES_A_ROUTE + previews);
            match &balancer.rules {
                Err(unseen) => found.unseen(name, pointer, unseen),
                Ok(rules) => {
                    let said =
                        format!("{} rules are there, {kept} more are reserved, and {more} may come with this", rules.count);
                    limit(found, name, pointer, rules.count + kept + more, quotas.rules_per_load_balancer, &said);
                }
            }
            self.at_target_groups(found, balancer, quotas.target_groups_per_load_balancer);
        }
        let (wanted, name) = (TARGET_GROUPS_AN_OVERLAY, "quota_of_target_groups_in_an_action");
        limit(found, name, None, wanted, quotas.target_groups_per_action, "an overlay forwards to two");
        match &self.seen.groups {
            Err(unseen) => found.unseen("quota_of_server_groups", None, unseen),
            Ok(groups) => {
                let said = format!("{} are there, and one comes with this", groups.there);
                limit(found, "quota_of_server_groups", None, groups.there + 1, Some(groups.at_most), &said);
            }
        }
    }

    /// Those that a load balancer's rules name, and green's, which the overlays add.
    fn at_target_groups(&self, found: &mut Preflight, balancer: &BalancerSurvey, quota: Option<u32>) {
        let name = "quota_of_target_groups_on_a_load_balancer";
        let pointer = self.route_on(balancer);
        let there = match &balancer.rules {
            Err(unseen) => return found.unseen(name, pointer, unseen),
            Ok(rules) => &rules.target_groups,
        };
        let Some(plan) = self.plan else {
            let detail = "it hangs on which slot is free, which could not be seen, or is not as it should be";
            return found.note(name, Outcome::Unknown, pointer, detail);
        };
        let here = |seen: &Option<RouteSurvey>| seen.as_ref().is_some_and(|seen| seen.load_balancer == balancer.load_balancer);
        let routes = self.survey().routes.iter().zip(&plan.routes).filter(|(seen, _)| here(seen));
        let green: BTreeSet<_> = routes.filter_map(|(_, route)| plan.green.slot.at(route.position)).collect();
        let more = green.into_iter().filter(|green| !there.contains(*green)).count();
        let said = format!("the rules and default actions name {}, and {more} more may come with this", there.len());
        limit(found, name, pointer, u32::try_from(there.len() + more).unwrap_or(u32::MAX), quota, &said);
    }

    /// As far as the running group tells: what was launched there can be launched again.
    pub(super) fn at_template(&self, found: &mut Preflight) {
        const ELSEWHERE: &str = "it needs EC2's API; AWS refuses a wrong one when the group is created, which ends the deployment \
                                 before any traffic moved";
        let spec = &self.inputs.declaration.server_group;
        let blue = self.survey().blue.as_ref();
        let template = format!("{} version {}", spec.launch_template.id, spec.launch_template.version);
        let pointer = Some("/server_group/launch_template".to_owned());
        match blue.filter(|blue| blue.template.as_deref() == Some(spec.launch_template.id.as_str())) {
            Some(blue) => {
                let detail = format!(
                    "{} is made from {}; whether there is {template}: {ELSEWHERE}",
                    blue.group, spec.launch_template.id
                );
                found.note("launch_template", Outcome::Unknown, pointer, detail);
            }
            None => found.note("launch_template", Outcome::Unknown, pointer, format!("{template}: {ELSEWHERE}")),
        }
        let pointer = Some("/server_group/subnets".to_owned());
        match blue.filter(|blue| spec.subnets.iter().all(|subnet| blue.subnets.contains(subnet))) {
            Some(blue) => found.ok("subnets", pointer, format!("{} has servers in each of them", blue.group)),
            None => found.note("subnets", Outcome::Unknown, pointer, format!("{}: {ELSEWHERE}", spec.subnets.join(", "))),
        }
    }

    pub(super) fn at_rights(&self, found: &mut Preflight) {
        let looks = self.seen.unseen.iter().map(|(_, unseen)| unseen);
        let balancers =
            self.seen.load_balancers.iter().flat_map(|of| of.seen.as_ref().err().into_iter().chain(of.rules.as_ref().err()));
        let quotas = self.seen.quotas.as_ref().err().into_iter().chain(self.seen.groups.as_ref().err());
        let denied: BTreeSet<_> =
            looks.chain(balancers).chain(quotas).filter(|unseen| unseen.denied).map(|unseen| unseen.why.as_str()).collect();
        if denied.is_empty() {
            found.ok("rights_to_look", None, "no look was denied");
        } else {
            let detail = denied.into_iter().collect::<Vec<_>>().join("; ");
            found.note("rights_to_look", Outcome::Failed, None, format!("denied: {detail}"));
        }
        let detail = "a look cannot tell what may be changed: compare the role with deploy/iam/driver.json";
        found.note("rights_to_change", Outcome::Unknown, None, detail);
    }

    /// By name only: what an alias leads to is for DNS to tell, which is not asked.
    pub(super) fn at_own_hosts(&self, found: &mut Preflight, own: &OwnHosts) {
        let mut check = |name, what: &str, host: &str| {
            let unseen = self.seen.load_balancers.iter().find_map(|balancer| balancer.seen.as_ref().err());
            match (self.serves(host), unseen) {
                (Serves::Yes(by), _) => {
                    let detail = format!("{what} is {host}, {by}: a bad release could take away the way back with it");
                    found.note(name, Outcome::Warning, None, detail);
                }
                (Serves::Maybe { .. } | Serves::No, Some(unseen)) => found.unseen(name, None, unseen),
                (Serves::Maybe { route, why }, None) => {
                    let detail = format!(
                        "{what} is {host}: only DNS could tell whether that leads to a load balancer of the routes, and this \
                         route {why}"
                    );
                    found.note(name, Outcome::Unknown, Some(format!("/routes/{route}")), detail);
                }
                (Serves::No, None) => {
                    let detail =
                        format!("{what} is {host}, which is no load balancer of the routes, and no route takes its requests");
                    found.ok(name, None, detail);
                }
            }
        };
        if let Some(host) = &own.api {
            check("own_api", "this service's address", host);
        }
        if let Some(host) = &own.database {
            check("own_database", "its database", host);
        }
        if own.api.is_none() {
            let detail = "nobody said where this service is reached: set public_url, and it is compared with the routes";
            found.note("own_api", Outcome::Unknown, None, detail);
        }
        if own.database.is_none() {
            found.ok("own_database", None, "its database is on this machine, behind no load balancer");
        }
    }

    /// Whether a route would serve this host. An alias may lead to any load balancer, so "no" needs a proof for every route.
    fn serves(&self, host: &str) -> Serves {
        let mut balancers = self.seen.load_balancers.iter().filter_map(|balancer| balancer.seen.as_ref().ok());
        if balancers.any(|balancer| balancer.host.eq_ignore_ascii_case(host)) {
            return Serves::Yes("a load balancer that a route is on".to_owned());
        }
        let asked = [Condition::Host(vec![host.to_owned()])];
        let mut maybe = None;
        for (i, route) in self.survey().routes.iter().enumerate() {
            let why = match route {
                None => "could not be seen",
                Some(route) if disjoint(&route.conditions, &asked) => continue,
                Some(route) => match route.conditions.iter().find_map(|condition| taking(condition, &asked)) {
                    Some(pattern) => return Serves::Yes(format!("and a route takes the requests for {pattern}")),
                    None if route.number.is_none() => "is a default action, which takes every host that no rule takes",
                    None => "names no hosts that could be compared with it: it has no host condition, or a regular expression",
                },
            };
            maybe.get_or_insert(Serves::Maybe { route: i, why });
        }
        maybe.unwrap_or(Serves::No)
    }
}

/// Whether a route would serve a host.
enum Serves {
    Yes(String),
    Maybe { route: usize, why: &'static str },
    No,
}

/// The pattern of a condition on hosts that takes what is asked for.
fn taking<'a>(condition: &'a Condition, asked: &[Condition]) -> Option<&'a String> {
    match condition {
        Condition::Host(hosts) => hosts.iter().find(|host| !disjoint(&[Condition::Host(vec![(*host).clone()])], asked)),
        Condition::Path(_) | Condition::Method(_) | Condition::Source(_) | Condition::Opaque(_) => None,
    }
}

/// What differs, with the value of either.
fn differences(here: &BTreeMap<String, String>, there: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<_> = here.keys().chain(there.keys()).collect();
    let value = |of: &BTreeMap<String, String>, name| of.get(name).map_or_else(|| "none".to_owned(), Clone::clone);
    let differing = names.into_iter().filter(|name| here.get(*name) != there.get(*name));
    differing.map(|name| format!("{name} {} and not {}", value(here, name), value(there, name))).collect()
}

/// How many routes these are, and the rules that others have reserved on their listeners and not made yet.
fn rules_to_come<'a>(routes: impl Iterator<Item = &'a RouteSurvey>) -> (u32, u32) {
    let (mut count, mut kept) = (0, BTreeSet::new());
    for route in routes {
        count += 1;
        let there = |number: &&u32| !route.others.iter().any(|rule| rule.number == **number);
        kept.extend(route.reserved.iter().filter(there).map(|number| (&route.listener, *number)));
    }
    (count, u32::try_from(kept.len()).unwrap_or(u32::MAX))
}

fn limit(found: &mut Preflight, name: &'static str, pointer: Option<String>, wanted: u32, quota: Option<u32>, said: &str) {
    match quota {
        None => found.note(name, Outcome::Unknown, pointer, format!("{said}; the provider did not say how many may be")),
        Some(quota) if wanted <= quota => found.ok(name, pointer, format!("{said}; {quota} may be")),
        Some(quota) => {
            let detail = format!("{said}, but only {quota} may be: remove some, or have the quota raised");
            found.fault(name, &FieldFault::new(pointer.unwrap_or_default(), detail));
        }
    }
}
