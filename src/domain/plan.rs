//! The plan: everything fixed before the first change, so that execution has no choice left.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    declaration::{Capacity, Declaration, Preview, Strategy},
    deployment::{Deployment, Live},
    ids::{GroupName, Image, ListenerRef, LoadBalancerRef, RouteRef, RuleRef, SlotRef, Target},
    numbers::{self, Numbers},
    survey::{BlueSurvey, FieldFault, RouteSurvey, Survey},
};

/// What a deployment will do, in names and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub routes: Vec<RoutePlan>,
    /// Where the base forwards to now; without blue a declared slot that is empty.
    pub blue_slot: SlotRef,
    /// `None` for a first release.
    pub blue: Option<BluePlan>,
    pub green: GreenPlan,
    #[serde(default)]
    pub preview: Option<Preview>,
    /// The stages and bakes in force: a first release has one stage and no bake.
    pub strategy: Strategy,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoutePlan {
    pub route: RouteRef,
    pub listener: ListenerRef,
    /// Which of a slot's target groups is this route's: the one of its load balancer.
    #[serde(default)]
    pub position: usize,
    /// `None` for a default action.
    pub base_number: Option<u32>,
    pub overlay_number: u32,
    /// Below the overlay's.
    pub shield_number: u32,
    /// The base's conditions and actions, in the adapter's own form.
    pub form: serde_json::Value,
    /// Somebody else's rules that send green traffic, as far as that was adopted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strays: Vec<RuleRef>,
}

/// The group that serves when the deployment starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BluePlan {
    pub group: GroupName,
    pub image: Option<String>,
    /// The launch template that an image `lt:N` is a version of; `None` where it is not known.
    #[serde(default)]
    pub template: Option<String>,
    pub size: u32,
    /// To be put back by an unpin.
    pub min: u32,
    pub protected: bool,
    /// What scales it, in the adapter's own form; null when nothing does.
    #[serde(default)]
    pub scaling: serde_json::Value,
}

/// The group to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GreenPlan {
    pub group: GroupName,
    pub slot: SlotRef,
    pub image: Image,
    /// Servers from the start; also the minimum until `retiring`.
    pub size: u32,
}

/// What a plan is made from, a survey aside.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub target: &'a Target,
    pub number: u32,
    pub image: &'a Image,
    pub declaration: &'a Declaration,
    pub strategy: &'a Strategy,
    pub live: Option<&'a Live>,
    /// It takes back what is live, which may be quite dead.
    pub takes_back: bool,
}

impl<'a> Inputs<'a> {
    #[must_use]
    pub fn of(d: &'a Deployment) -> Self {
        Self {
            target: &d.target,
            number: d.number,
            image: &d.image,
            declaration: &d.declaration,
            strategy: &d.strategy,
            live: d.live.as_ref(),
            takes_back: d.takes_back.is_some(),
        }
    }
}

/// What a fault is about: one thing that a person would look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The declaration's own words.
    Declaration,
    Routes,
    /// The two numbers of a route.
    Numbers,
    Slots,
    /// Who else forwards to the slots.
    Namings,
    LoadBalancers,
    Blue,
    Size,
    GreenName,
}

/// Faults as they are found.
#[derive(Debug, Default)]
struct Faults(Vec<(Topic, FieldFault)>);

impl Faults {
    fn note(&mut self, topic: Topic, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push((topic, FieldFault::new(pointer, detail)));
    }

    /// Those that the adapter found, by where they point.
    fn of(survey: &Survey) -> Self {
        let topic = |fault: &FieldFault| match fault.pointer.split('/').nth(1) {
            Some("routes") => Topic::Routes,
            Some("slots") => Topic::Slots,
            Some("blue") => Topic::Blue,
            Some(_) | None => Topic::Declaration,
        };
        Self(survey.faults.iter().map(|fault| (topic(fault), fault.clone())).collect())
    }
}

/// Makes the plan, or says everything that stands in its way.
///
/// # Errors
/// Every fault at once, with pointers into the declaration.
pub fn make(inputs: &Inputs<'_>, survey: &Survey) -> Result<Plan, Vec<FieldFault>> {
    judge(inputs, survey).map_err(|faults| sorted(faults.into_iter().map(|(_, fault)| fault).collect()))
}

/// In the order of their pointers, each once.
#[must_use]
pub fn sorted(mut faults: Vec<FieldFault>) -> Vec<FieldFault> {
    faults.sort();
    faults.dedup();
    faults
}

/// The same, with what each fault is about.
///
/// # Errors
/// Every fault at once; none where a part of the survey is missing and what is there has none.
pub fn judge(inputs: &Inputs<'_>, survey: &Survey) -> Result<Plan, Vec<(Topic, FieldFault)>> {
    let mut faults = Faults::of(survey);
    let serving = serving(inputs.declaration, survey, &mut faults);
    let routes = plan_routes(inputs.declaration, survey, &serving, &mut faults);
    let sides = pick_slots(inputs.declaration, survey, &serving, &mut faults);
    let size = sides.as_ref().and_then(|(blue_slot, _)| size_of_green(inputs, survey, blue_slot, &mut faults));
    let group = inputs.target.group(inputs.number);
    // A declaration has no number yet, and so no name that could be taken: 0 stands for none.
    if survey.green_name_taken && inputs.number > 0 {
        faults.note(
            Topic::GreenName,
            "",
            format!("a server group named {group} exists already and is not this deployment's: rename or remove it"),
        );
    }
    match (sides, size) {
        (Some((blue_slot, Some(green_slot))), Some((blue, size))) if faults.0.is_empty() => Ok(Plan {
            routes,
            preview: inputs.declaration.preview.clone(),
            strategy: if blue.is_some() { inputs.strategy.clone() } else { inputs.strategy.first_release() },
            blue_slot,
            blue,
            green: GreenPlan { group, slot: green_slot, image: inputs.image.clone(), size },
        }),
        _ => Err(faults.0),
    }
}

/// What a drill needs of a plan: where the routes forward to, and a number on each for its rule. What else would stand in a
/// deployment's way (no free slot, say) is none of its business.
///
/// # Errors
/// Every fault of the routes at once.
pub fn of_drill(
    declaration: &Declaration,
    live: Option<&Live>,
    survey: &Survey,
) -> Result<(SlotRef, Vec<RoutePlan>), Vec<FieldFault>> {
    let mut faults = Faults::of(survey);
    let serving = serving(declaration, survey, &mut faults);
    let routes = plan_routes(declaration, survey, &serving, &mut faults);
    let slots: BTreeSet<_> = serving.iter().flatten().map(|serving| serving.slot).collect();
    let slot = slots.first().and_then(|slot| declaration.slots.get(*slot)).cloned();
    if slots.len() > 1 {
        faults.note(Topic::Slots, "/routes", "the routes forward to different slots: make them forward to the same one first");
    }
    if let Some((live, slot)) = live.zip(slot.as_ref()).filter(|(live, slot)| &live.slot != *slot) {
        let detail = format!("the routes forward to {slot}, and {} serves in {}", live.group, live.slot);
        faults.note(Topic::Routes, "/routes", detail);
    }
    let of_routes = |fault: &FieldFault| fault.pointer.is_empty() || fault.pointer.starts_with("/routes");
    let faults: Vec<_> = faults.0.into_iter().map(|(_, fault)| fault).filter(of_routes).collect();
    match slot {
        Some(slot) if faults.is_empty() && routes.len() == declaration.routes.len() => Ok((slot, routes)),
        Some(_) | None if faults.is_empty() => Err(vec![FieldFault::new("/routes", "a route could not be seen")]),
        Some(_) | None => Err(sorted(faults)),
    }
}

/// Where a route's base forwards to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Serving {
    /// Its index in the declaration.
    slot: usize,
    position: usize,
}

/// One a route; `None` where a fault says why.
fn serving(declaration: &Declaration, survey: &Survey, faults: &mut Faults) -> Vec<Option<Serving>> {
    let mut of = |(i, route): (usize, &Option<RouteSurvey>)| match serving_slot(declaration, route.as_ref()?) {
        Ok(serving) => Some(serving),
        Err(detail) => {
            faults.note(Topic::Routes, format!("/routes/{i}"), detail);
            None
        }
    };
    survey.routes.iter().enumerate().map(&mut of).collect()
}

/// Reserves two numbers a route.
fn plan_routes(declaration: &Declaration, survey: &Survey, serving: &[Option<Serving>], faults: &mut Faults) -> Vec<RoutePlan> {
    let mut taken: Vec<(ListenerRef, u32)> = Vec::new();
    let mut routes = Vec::new();
    for (i, ((route, seen), serving)) in declaration.routes.iter().zip(&survey.routes).zip(serving).enumerate() {
        let Some(seen) = seen else { continue };
        let mine: Vec<u32> = taken.iter().filter(|(listener, _)| listener == &seen.listener).map(|(_, n)| *n).collect();
        match numbers::reserve(seen, &mine) {
            Ok(Numbers { overlay, shield }) => {
                taken.extend([(seen.listener.clone(), overlay), (seen.listener.clone(), shield)]);
                routes.push(RoutePlan {
                    route: route.clone(),
                    listener: seen.listener.clone(),
                    // Without one there is a fault, and no plan.
                    position: serving.map_or(0, |serving| serving.position),
                    base_number: seen.number,
                    overlay_number: overlay,
                    shield_number: shield,
                    form: seen.form.clone(),
                    strays: Vec::new(),
                });
            }
            Err(detail) => faults.note(Topic::Numbers, format!("/routes/{i}"), detail),
        }
    }
    routes
}

/// Which slot serves, and which takes green if one is free.
fn pick_slots(
    declaration: &Declaration,
    survey: &Survey,
    serving: &[Option<Serving>],
    faults: &mut Faults,
) -> Option<(SlotRef, Option<SlotRef>)> {
    let blue = serving.iter().flatten().next()?.slot;
    if serving.iter().flatten().any(|serving| serving.slot != blue) {
        faults.note(Topic::Slots, "/routes", "the routes forward to different slots: make them forward to the same one first");
        return None;
    }
    if serving.iter().all(Option::is_some) {
        match_load_balancers(declaration, survey, serving, faults);
    }
    let blue_slot = declaration.slots.get(blue)?.clone();
    let named = |slot: &SlotRef| survey.namings.iter().any(|naming| slot.position(&naming.target_group).is_some());
    let free = declaration
        .slots
        .iter()
        .zip(&survey.slots)
        .enumerate()
        .filter(|(i, (_, seen))| *i != blue && seen.as_ref().is_some_and(|seen| seen.targets == 0));
    let empty = free.min_by_key(|(_, (slot, _))| named(slot));
    match_namings(declaration, survey, blue, empty.map(|(i, _)| i), faults);
    if empty.is_none() && survey.slots.iter().all(Option::is_some) {
        faults.note(
            Topic::Slots,
            "/slots",
            "no slot is free for the new group: every slot but the serving one has targets; deregister what is left in one of them",
        );
    }
    let green_slot = empty.map(|(_, (slot, _))| slot.clone());
    Some((blue_slot, green_slot))
}

/// Whoever else forwards to the serving slot sends users to nobody once it is emptied, and whoever forwards to the free one
/// sends them to green before its time; either keeps the slot in use, so that its group could never be removed.
fn match_namings(declaration: &Declaration, survey: &Survey, blue: usize, green: Option<usize>, faults: &mut Faults) {
    for naming in &survey.namings {
        for slot in [Some(blue), green].into_iter().flatten() {
            let Some(position) = declaration.slots.get(slot).and_then(|of| of.position(&naming.target_group)) else { continue };
            let role = if slot == blue { "the serving slot" } else { "the free slot" };
            faults.note(
                Topic::Namings,
                declaration.pointer_to(slot, position),
                format!(
                    "{} forwards to this target group of {role} and is no declared route, so that the slot could never be given \
                     up: declare it as a route, or make it forward elsewhere",
                    naming.by
                ),
            );
        }
    }
}

/// Position `k` of every slot is on the load balancer of the routes that forward to the serving slot's `k`-th target group, or
/// on none yet: only there can an overlay split between the two.
fn match_load_balancers(declaration: &Declaration, survey: &Survey, serving: &[Option<Serving>], faults: &mut Faults) {
    let positions = declaration.slots.first().map_or(0, |slot| slot.target_groups().len());
    for position in 0..positions {
        let mut routes =
            serving.iter().zip(&survey.routes).filter(|(serving, _)| serving.is_some_and(|s| s.position == position));
        let Some(wanted) = routes.find_map(|(_, route)| Some(&route.as_ref()?.load_balancer)) else {
            // Never checked by a load balancer, its targets would never be healthy.
            let blue = serving.iter().flatten().next().map_or(0, |serving| serving.slot);
            faults.note(
                Topic::LoadBalancers,
                declaration.pointer_to(blue, position),
                "no route forwards to this target group of the serving slot: declare one that does, or take this position out of \
                 every slot",
            );
            continue;
        };
        for (i, slot) in survey.slots.iter().enumerate() {
            if let Some(Some(is)) = slot.as_ref().and_then(|slot| slot.load_balancers.get(position))
                && is != wanted
            {
                faults.note(Topic::LoadBalancers, declaration.pointer_to(i, position), belongs_elsewhere(is, wanted));
            }
        }
    }
}

fn belongs_elsewhere(is: &LoadBalancerRef, wanted: &LoadBalancerRef) -> String {
    format!(
        "this target group belongs to {is}, but the routes of its position are on {wanted}: name one target group for each load \
         balancer, in the same order in every slot"
    )
}

fn serving_slot(declaration: &Declaration, route: &RouteSurvey) -> Result<Serving, String> {
    match route.forwards.as_slice() {
        [] => Err("the base does not forward to a target group: a route must forward to one of the declared slots".to_owned()),
        [(target_group, _)] => {
            let slots = declaration.slots.iter().enumerate();
            let mut found = slots.filter_map(|(slot, of)| Some(Serving { slot, position: of.position(target_group)? }));
            found.next().ok_or_else(|| format!("the base forwards to {target_group}, which is in none of the declared slots"))
        }
        several => {
            Err(format!("the base forwards to {} target groups: a route must forward to exactly one slot", several.len()))
        }
    }
}

/// Blue as it is to be pinned, and how many servers green gets.
fn size_of_green(
    inputs: &Inputs<'_>,
    survey: &Survey,
    blue_slot: &SlotRef,
    faults: &mut Faults,
) -> Option<(Option<BluePlan>, u32)> {
    let spec = &inputs.declaration.server_group;
    let blue = match &survey.blue {
        Some(blue) => Some(pin(inputs, blue, blue_slot, faults)?),
        None if named_blue(inputs).is_some() => return None,
        None => {
            let i = inputs.declaration.slots.iter().position(|slot| slot == blue_slot);
            let seen = i.and_then(|i| survey.slots.get(i)).and_then(Option::as_ref)?;
            if seen.targets > 0 {
                faults.note(
                    Topic::Blue,
                    "/blue",
                    format!(
                        "the serving slot has {} targets but no group is named: give the Auto Scaling group that serves now",
                        seen.targets
                    ),
                );
                return None;
            }
            None
        }
    };
    let size = match (spec.capacity, &blue) {
        (Capacity::Fixed(size), _) => size,
        (Capacity::MatchBlue, Some(blue)) => blue.size,
        (Capacity::MatchBlue, None) => spec.min,
    };
    if size < spec.min || size > spec.max || size == 0 {
        faults.note(
            Topic::Size,
            "/server_group/capacity",
            format!(
                "the new group would have {size} servers, outside {} to {}: change min, max or the capacity",
                spec.min.max(1),
                spec.max
            ),
        );
        return None;
    }
    if let Some(blue) = blue.as_ref().filter(|blue| blue.size > size) {
        faults.note(
            Topic::Size,
            "/server_group/capacity",
            format!(
                "the new group would have {size} servers and {} has {}: it could never have as many healthy ones as all traffic needs; use \"match_blue\" or a larger number",
                blue.group, blue.size
            ),
        );
        return None;
    }
    Some((blue, size))
}

/// The group that serves, by the records or by the declaration.
fn named_blue<'a>(inputs: &Inputs<'a>) -> Option<&'a GroupName> {
    inputs.live.map(|live| &live.group).or(inputs.declaration.blue.as_ref())
}

fn pin(inputs: &Inputs<'_>, blue: &BlueSurvey, blue_slot: &SlotRef, faults: &mut Faults) -> Option<BluePlan> {
    if let Some(missing) = blue_slot.target_groups().iter().find(|target_group| !blue.attached.contains(target_group)) {
        faults.note(
            Topic::Blue,
            "/blue",
            format!("{} is not attached to {missing}, which a route forwards to: name the group that serves now", blue.group),
        );
        return None;
    }
    if blue.size > 0 && blue.healthy == 0 && !inputs.takes_back {
        faults.note(
            Topic::Blue,
            "/blue",
            format!("{} has no healthy server: there would be nothing to go back to", blue.group),
        );
        return None;
    }
    Some(BluePlan {
        group: blue.group.clone(),
        image: inputs.live.map(|live| live.image.to_string()).or_else(|| blue.image.clone()),
        template: blue.template.clone(),
        size: blue.size,
        min: blue.min,
        protected: blue.protected,
        scaling: blue.scaling.clone(),
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
