//! Everything that is looked at before a deployment, one check a thing: also what is well, so that a person sees what was looked
//! at. Judged from what was seen, from the plan's own judgement of it, and from a few facts of ours.
//!
//! A failed check that would end the deployment, or leave something in the cloud that nobody can remove, is a fault too: a
//! request is refused for it. A look that was denied fails its check and refuses nothing: another may still be allowed all that
//! the deployment itself does.

mod surroundings;

use super::{
    ids::DeploymentId,
    inspection::{BalancerSurvey, Inspection, Part, Unseen},
    plan::{self, Inputs, Plan, Topic},
    survey::{FieldFault, OtherRule, Owner, RouteSurvey, Survey},
};

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// It may go well; somebody should know.
    Warning,
    Failed,
    /// It could not be seen, or never can be; the detail says which.
    Unknown,
}

impl Outcome {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: &'static str,
    pub result: Outcome,
    pub detail: String,
    /// Into the declaration, where it is about something that stands there.
    pub pointer: Option<String>,
}

/// What only we know.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Deployments that were abandoned: what they left is not ours to remove.
    pub let_go: &'a [DeploymentId],
    /// What ended deployments of this service left behind, by name.
    pub orphans: &'a [String],
    pub own: &'a OwnHosts,
}

/// Where the service itself is reached, and its database, by host name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnHosts {
    /// `None`: nobody said.
    pub api: Option<String>,
    /// `None`: on this machine.
    pub database: Option<String>,
}

/// All checks, and what follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preflight {
    pub checks: Vec<Check>,
    /// Why a deployment would be refused: every one, by pointer.
    pub faults: Vec<FieldFault>,
    /// `None` with a fault, or where a part that it hangs on could not be seen.
    pub plan: Option<Plan>,
}

impl Preflight {
    /// Of a declaration with which a look is not worth while.
    #[must_use]
    pub fn refused(faults: Vec<FieldFault>) -> Self {
        let mut found = Self::default();
        faults.iter().for_each(|fault| found.fault("declaration", fault));
        found
    }

    /// Nothing could be looked at.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        let mut found = Self::default();
        found.note("provider", Outcome::Unknown, None, why);
        found
    }

    /// The details of the checks that ended so.
    pub fn told(&self, result: Outcome) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.result == result)
    }

    fn note(&mut self, name: &'static str, result: Outcome, pointer: Option<String>, detail: impl Into<String>) {
        self.checks.push(Check { name, result, detail: detail.into(), pointer });
    }

    fn ok(&mut self, name: &'static str, pointer: Option<String>, detail: impl Into<String>) {
        self.note(name, Outcome::Ok, pointer, detail);
    }

    fn fault(&mut self, name: &'static str, fault: &FieldFault) {
        let pointer = (!fault.pointer.is_empty()).then(|| fault.pointer.clone());
        self.note(name, Outcome::Failed, pointer, fault.detail.clone());
        self.faults.push(fault.clone());
    }

    fn unseen(&mut self, name: &'static str, pointer: Option<String>, unseen: &Unseen) {
        let result = if unseen.denied { Outcome::Failed } else { Outcome::Unknown };
        self.note(name, result, pointer, format!("it could not be looked at: {}", unseen.why));
    }
}

/// Makes every check.
#[must_use]
pub fn examine(inputs: &Inputs<'_>, seen: &Inspection, facts: Facts<'_>) -> Preflight {
    let judged = plan::judge(inputs, &without_leftovers(&seen.survey));
    let (made, faults) = match judged {
        Ok(plan) => (Some(plan), Vec::new()),
        Err(faults) => (None, faults),
    };
    let look = Look { inputs, seen, plan: made.as_ref(), faults: &faults };
    let mut found = Preflight::default();
    look.at_routes(&mut found);
    look.at_load_balancers(&mut found);
    look.at_slots(&mut found);
    look.at_likeness(&mut found);
    look.at_groups(&mut found);
    look.at_leftovers(&mut found, facts);
    look.at_quotas(&mut found);
    look.at_template(&mut found);
    look.at_rights(&mut found);
    look.at_own_hosts(&mut found, facts.own);
    found.faults = plan::sorted(found.faults);
    found.plan = made.filter(|_| found.faults.is_empty() && seen.unseen.is_empty());
    found
}

/// Rules that a deployment finds on its routes, and that are another deployment's: none runs there, so they were left over.
fn leftovers(survey: &Survey) -> impl Iterator<Item = (usize, &OtherRule, &Owner)> {
    let routes = survey.routes.iter().enumerate().filter_map(|(i, route)| Some((i, route.as_ref()?)));
    let rules = routes.flat_map(|(i, route)| route.others.iter().map(move |rule| (i, rule)));
    rules.filter_map(|(i, rule)| Some((i, rule, rule.owner.as_ref().filter(|owner| owner.on_our_route)?)))
}

/// Leftovers that are not ours to remove: another installation's, and those that an `abandon` let go.
#[must_use]
pub fn to_be_removed_by_hand(survey: &Survey, let_go: &[DeploymentId]) -> Vec<FieldFault> {
    let stays = leftovers(survey).filter_map(|(i, rule, owner)| {
        let whose = match owner.deployment {
            _ if !owner.this_installation => "another installation of Cutover",
            Some(id) if let_go.contains(&id) => "a deployment that was abandoned",
            Some(_) | None => return None,
        };
        let detail = format!("rule {} (number {}) belongs to {whose}: remove it by hand first", rule.rule, rule.number);
        Some(FieldFault::new(format!("/routes/{i}"), detail))
    });
    stays.collect()
}

/// As it is once `pending` has removed what ended deployments of ours left.
fn without_leftovers(survey: &Survey) -> Survey {
    let mut survey = survey.clone();
    for route in survey.routes.iter_mut().flatten() {
        route.others.retain(|rule| rule.owner.as_ref().is_none_or(|owner| !owner.on_our_route || !owner.this_installation));
    }
    survey
}

/// What the checks are made from.
#[derive(Clone, Copy)]
struct Look<'a> {
    inputs: &'a Inputs<'a>,
    seen: &'a Inspection,
    plan: Option<&'a Plan>,
    faults: &'a [(Topic, FieldFault)],
}

impl<'a> Look<'a> {
    fn survey(&self) -> &'a Survey {
        &self.seen.survey
    }

    fn unseen(&self, part: impl Fn(Part) -> bool) -> impl Iterator<Item = &'a Unseen> {
        self.seen.unseen.iter().filter(move |(of, _)| part(*of)).map(|(_, unseen)| unseen)
    }

    fn about(&self, topic: Topic) -> impl Iterator<Item = &'a FieldFault> {
        self.faults.iter().filter(move |(of, _)| *of == topic).map(|(_, fault)| fault)
    }

    /// One thing that the plan judges: its faults, else what of it could not be seen, else that it is well.
    fn judged(
        &self,
        found: &mut Preflight,
        name: &'static str,
        topic: Topic,
        part: impl Fn(Part) -> bool,
        well: Option<String>,
    ) {
        let before = found.checks.len();
        self.about(topic).for_each(|fault| found.fault(name, fault));
        self.unseen(part).for_each(|unseen| found.unseen(name, None, unseen));
        if found.checks.len() == before {
            match well {
                Some(detail) => found.ok(name, None, detail),
                None => {
                    found.note(name, Outcome::Unknown, None, "it hangs on what could not be seen, or is not as it should be")
                }
            }
        }
    }

    fn at_routes(&self, found: &mut Preflight) {
        self.about(Topic::Declaration).for_each(|fault| found.fault("declaration", fault));
        for (i, route) in self.survey().routes.iter().enumerate() {
            let pointer = format!("/routes/{i}");
            let here = |fault: &&FieldFault| fault.pointer == pointer;
            let before = found.checks.len();
            self.about(Topic::Routes).filter(here).for_each(|fault| found.fault("route", fault));
            self.unseen(|part| part == Part::Route(i)).for_each(|unseen| found.unseen("route", Some(pointer.clone()), unseen));
            let Some(route) = route else { continue };
            if found.checks.len() == before {
                found.ok("route", Some(pointer.clone()), told_of(route));
            }
            let numbers = self.about(Topic::Numbers).filter(here);
            let before = found.checks.len();
            numbers.for_each(|fault| found.fault("rule_numbers", fault));
            if found.checks.len() == before {
                let plan = self.plan.and_then(|plan| plan.routes.get(i));
                let taken = plan.map_or_else(String::new, |plan| {
                    format!(": {} for the overlay, {} for the shield", plan.overlay_number, plan.shield_number)
                });
                let detail = format!("two are free above the base, and no rule between could match its requests{taken}");
                found.ok("rule_numbers", Some(pointer), detail);
            }
        }
    }

    /// The declared route that is the first on a load balancer.
    fn route_on(&self, balancer: &BalancerSurvey) -> Option<String> {
        let on =
            |route: &Option<RouteSurvey>| route.as_ref().is_some_and(|route| route.load_balancer == balancer.load_balancer);
        self.survey().routes.iter().position(on).map(|i| format!("/routes/{i}"))
    }

    fn at_load_balancers(&self, found: &mut Preflight) {
        for balancer in &self.seen.load_balancers {
            let pointer = self.route_on(balancer);
            match &balancer.seen {
                Ok(seen) if seen.takes_rules => {
                    found.ok("load_balancer", pointer, format!("{} is of kind {}", seen.host, seen.kind));
                }
                Ok(seen) => {
                    let detail = format!(
                        "{} is of kind {}: its listeners have no rules, so there is no overlay to go back with at once; routes must \
                         be on an Application Load Balancer",
                        seen.host, seen.kind
                    );
                    found.fault("load_balancer", &FieldFault::new(pointer.unwrap_or_default(), detail));
                }
                Err(unseen) => found.unseen("load_balancer", pointer, unseen),
            }
        }
    }

    fn at_slots(&self, found: &mut Preflight) {
        let (slots, routes) = (|part| matches!(part, Part::Slot(_)), |part| matches!(part, Part::Slot(_) | Part::Route(_)));
        let free = self.plan.map(|plan| format!("{} serves, {} is free and empty", plan.blue_slot, plan.green.slot));
        self.judged(found, "slots", Topic::Slots, slots, free);
        let matching = self.plan.map(|_| "every slot has a target group for each load balancer of the routes".to_owned());
        self.judged(found, "slot_positions", Topic::LoadBalancers, routes, matching);

        let before = found.checks.len();
        let elsewhere = self.seen.load_balancers.iter().filter_map(|balancer| balancer.rules.as_ref().err());
        elsewhere.for_each(|unseen| found.unseen("slot_users", None, unseen));
        if found.checks.len() == before || self.about(Topic::Namings).next().is_some() {
            let alone = self
                .plan
                .map(|_| "no rule or default action of these load balancers but the routes' forwards to them".to_owned());
            self.judged(found, "slot_users", Topic::Namings, |part| matches!(part, Part::Route(_)), alone);
        }

        let sticky = self.survey().slots.iter().enumerate().filter(|(_, slot)| slot.as_ref().is_some_and(|slot| slot.sticky));
        let before = found.checks.len();
        for (i, _) in sticky {
            let detail = "it has sticky sessions: a weight steers new sessions only, and the share seen lags behind it";
            found.note("stickiness", Outcome::Warning, Some(format!("/slots/{i}")), detail);
        }
        if found.checks.len() == before && self.survey().slots.iter().all(Option::is_some) {
            found.ok("stickiness", None, "no slot has sticky sessions: a weight steers every request");
        }
    }

    fn at_groups(&self, found: &mut Preflight) {
        let groups = |part| part == Part::Groups;
        let blue = self.survey().blue.as_ref();
        let may_be_dead = self.inputs.takes_back;
        let short = blue.filter(|blue| (blue.healthy > 0 || may_be_dead) && blue.healthy < blue.size);
        if let Some(blue) = short.filter(|_| self.about(Topic::Blue).next().is_none()) {
            let detail = format!("{} has {} servers, and {} of them healthy", blue.group, blue.size, blue.healthy);
            found.note("blue", Outcome::Warning, Some("/blue".to_owned()), detail);
        } else {
            let first = self.plan.map(|_| "nothing serves yet: a first release".to_owned());
            let well =
                blue.map(|blue| format!("{} is in its slot, {} of {} servers healthy", blue.group, blue.healthy, blue.size));
            self.judged(found, "blue", Topic::Blue, groups, well.or(first));
        }
        let spec = &self.inputs.declaration.server_group;
        let size = self.plan.map(|plan| {
            let (min, max, group) = (spec.min, spec.max, &plan.green.group);
            format!("{group} gets {} servers, within {min} to {max} and no fewer than blue has", plan.green.size)
        });
        self.judged(found, "size", Topic::Size, groups, size);
        let green = self.inputs.target.group(self.inputs.number);
        self.judged(found, "green_name", Topic::GreenName, groups, Some(format!("no group is called {green} yet")));
        let before = found.checks.len();
        for warning in &self.survey().warnings {
            found.note("scaling", Outcome::Warning, Some("/blue".to_owned()), warning.clone());
        }
        self.unseen(|part| part == Part::Scaling).for_each(|unseen| found.unseen("scaling", None, unseen));
        if let Some(blue) = blue.filter(|_| found.checks.len() == before) {
            let group = &blue.group;
            let (nothing, all) = (format!("nothing scales {group}"), format!("all that scales {group} is copied to green"));
            found.ok("scaling", None, if blue.scaling.is_null() { nothing } else { all });
        }
    }

    fn at_leftovers(&self, found: &mut Preflight, facts: Facts<'_>) {
        let stay = to_be_removed_by_hand(self.survey(), facts.let_go);
        let go = leftovers(self.survey()).count() - stay.len();
        stay.iter().for_each(|fault| found.fault("leftovers", fault));
        if go > 0 {
            found.ok("leftovers", None, format!("{go} rule(s) of ended deployments: they are removed first"));
        } else if stay.is_empty() && self.survey().routes.iter().all(Option::is_some) {
            found.ok("leftovers", None, "no rule of another deployment is on the routes");
        }
        if facts.orphans.is_empty() {
            found.ok("orphans", None, "nothing that earlier deployments left behind is known");
        } else {
            let detail = format!("left behind by earlier deployments: {}; see the list of orphans", facts.orphans.join(", "));
            found.note("orphans", Outcome::Warning, None, detail);
        }
    }
}

fn told_of(route: &RouteSurvey) -> String {
    let what = route.number.map_or_else(|| "a default action".to_owned(), |number| format!("a rule of number {number}"));
    let to: Vec<_> = route.forwards.iter().map(|(to, _)| to.to_string()).collect();
    format!("{what} that forwards to {}; all of it can be copied into an overlay", to.join(", "))
}

#[cfg(test)]
mod tests;
