//! The plan: everything fixed before the first change, so that execution has no choice left.

use serde::{Deserialize, Serialize};

use super::{
    declaration::{Capacity, Declaration, Strategy},
    deployment::{Deployment, Live},
    ids::{GroupName, Image, ListenerRef, RouteRef, SlotRef, Target},
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
    /// The stages and bakes in force: a first release has one stage and no bake.
    pub strategy: Strategy,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePlan {
    pub route: RouteRef,
    pub listener: ListenerRef,
    /// `None` for a default action.
    pub base_number: Option<u32>,
    pub overlay_number: u32,
    /// Below the overlay's.
    pub shield_number: u32,
    /// The base's conditions and actions, in the adapter's own form.
    pub form: serde_json::Value,
}

/// The group that serves when the deployment starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BluePlan {
    pub group: GroupName,
    pub image: Option<String>,
    pub size: u32,
    /// To be put back by an unpin.
    pub min: u32,
    pub protected: bool,
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
        }
    }
}

/// Makes the plan, or says everything that stands in its way.
///
/// # Errors
/// Every fault at once, with pointers into the declaration.
pub fn make(inputs: &Inputs<'_>, survey: &Survey) -> Result<Plan, Vec<FieldFault>> {
    let mut faults = survey.faults.clone();
    let routes = plan_routes(inputs.declaration, survey, &mut faults);
    let sides = pick_slots(inputs.declaration, survey, &mut faults);
    let size = sides.as_ref().and_then(|(blue_slot, _)| size_of_green(inputs, survey, blue_slot, &mut faults));
    let group = inputs.target.group(inputs.number);
    // A declaration has no number yet, and so no name that could be taken: 0 stands for none.
    if survey.green_name_taken && inputs.number > 0 {
        faults.push(FieldFault::new(
            "",
            format!("a server group named {group} exists already and is not this deployment's: rename or remove it"),
        ));
    }
    match (sides, size) {
        (Some((blue_slot, Some(green_slot))), Some((blue, size))) if faults.is_empty() => Ok(Plan {
            routes,
            strategy: if blue.is_some() { inputs.strategy.clone() } else { inputs.strategy.first_release() },
            blue_slot,
            blue,
            green: GreenPlan { group, slot: green_slot, image: inputs.image.clone(), size },
        }),
        _ => {
            faults.sort();
            faults.dedup();
            Err(faults)
        }
    }
}

/// Reserves two numbers a route.
fn plan_routes(declaration: &Declaration, survey: &Survey, faults: &mut Vec<FieldFault>) -> Vec<RoutePlan> {
    let mut taken: Vec<(ListenerRef, u32)> = Vec::new();
    let mut routes = Vec::new();
    for (i, (route, seen)) in declaration.routes.iter().zip(&survey.routes).enumerate() {
        let Some(seen) = seen else { continue };
        let mine: Vec<u32> = taken.iter().filter(|(listener, _)| listener == &seen.listener).map(|(_, n)| *n).collect();
        match numbers::reserve(seen, &mine) {
            Ok(Numbers { overlay, shield }) => {
                taken.extend([(seen.listener.clone(), overlay), (seen.listener.clone(), shield)]);
                routes.push(RoutePlan {
                    route: route.clone(),
                    listener: seen.listener.clone(),
                    base_number: seen.number,
                    overlay_number: overlay,
                    shield_number: shield,
                    form: seen.form.clone(),
                });
            }
            Err(detail) => faults.push(FieldFault::new(format!("/routes/{i}"), detail)),
        }
    }
    routes
}

/// Which slot serves, and which takes green if one is free.
fn pick_slots(declaration: &Declaration, survey: &Survey, faults: &mut Vec<FieldFault>) -> Option<(SlotRef, Option<SlotRef>)> {
    let mut serving: Vec<SlotRef> = Vec::new();
    for (i, route) in survey.routes.iter().enumerate() {
        let Some(route) = route else { continue };
        match serving_slot(declaration, route) {
            Ok(slot) => serving.push(slot),
            Err(detail) => faults.push(FieldFault::new(format!("/routes/{i}"), detail)),
        }
    }
    let blue_slot = serving.first()?.clone();
    if serving.iter().any(|slot| slot != &blue_slot) {
        faults
            .push(FieldFault::new("/routes", "the routes forward to different slots: make them forward to the same one first"));
        return None;
    }
    let empty = declaration
        .slots
        .iter()
        .zip(&survey.slots)
        .find(|(slot, seen)| **slot != blue_slot && seen.as_ref().is_some_and(|seen| seen.targets == 0));
    if empty.is_none() && survey.slots.iter().all(Option::is_some) {
        faults.push(FieldFault::new(
            "/slots",
            "no slot is free for the new group: every slot but the serving one has targets; deregister what is left in one of them",
        ));
    }
    let green_slot = empty.map(|(slot, _)| slot.clone());
    Some((blue_slot, green_slot))
}

fn serving_slot(declaration: &Declaration, route: &RouteSurvey) -> Result<SlotRef, String> {
    match route.forwards.as_slice() {
        [] => Err("the base does not forward to a target group: a route must forward to one of the declared slots".to_owned()),
        [(slot, _)] if declaration.slots.contains(slot) => Ok(slot.clone()),
        [(slot, _)] => Err(format!("the base forwards to {slot}, which is none of the declared slots")),
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
    faults: &mut Vec<FieldFault>,
) -> Option<(Option<BluePlan>, u32)> {
    let spec = &inputs.declaration.server_group;
    let blue = match &survey.blue {
        Some(blue) => Some(pin(inputs, blue, blue_slot, faults)?),
        None if named_blue(inputs).is_some() => return None,
        None => {
            let i = inputs.declaration.slots.iter().position(|slot| slot == blue_slot);
            let seen = i.and_then(|i| survey.slots.get(i)).and_then(Option::as_ref)?;
            if seen.targets > 0 {
                faults.push(FieldFault::new(
                    "/blue",
                    format!(
                        "the serving slot has {} targets but no group is named: give the Auto Scaling group that serves now",
                        seen.targets
                    ),
                ));
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
        faults.push(FieldFault::new(
            "/server_group/capacity",
            format!(
                "the new group would have {size} servers, outside {} to {}: change min, max or the capacity",
                spec.min.max(1),
                spec.max
            ),
        ));
        return None;
    }
    if let Some(blue) = blue.as_ref().filter(|blue| blue.size > size) {
        faults.push(FieldFault::new(
            "/server_group/capacity",
            format!(
                "the new group would have {size} servers and {} has {}: it could never have as many healthy ones as all traffic needs; use \"match_blue\" or a larger number",
                blue.group, blue.size
            ),
        ));
        return None;
    }
    Some((blue, size))
}

/// The group that serves, by the records or by the declaration.
fn named_blue<'a>(inputs: &Inputs<'a>) -> Option<&'a GroupName> {
    inputs.live.map(|live| &live.group).or(inputs.declaration.blue.as_ref())
}

fn pin(inputs: &Inputs<'_>, blue: &BlueSurvey, blue_slot: &SlotRef, faults: &mut Vec<FieldFault>) -> Option<BluePlan> {
    if !blue.slots.contains(blue_slot) {
        faults.push(FieldFault::new(
            "/blue",
            format!(
                "{} is not attached to {blue_slot}, which the routes forward to: name the group that serves now",
                blue.group
            ),
        ));
        return None;
    }
    if blue.size > 0 && blue.healthy == 0 {
        faults.push(FieldFault::new(
            "/blue",
            format!("{} has no healthy server: there would be nothing to go back to", blue.group),
        ));
        return None;
    }
    Some(BluePlan {
        group: blue.group.clone(),
        image: inputs.live.map(|live| live.image.to_string()).or_else(|| blue.image.clone()),
        size: blue.size,
        min: blue.min,
        protected: blue.protected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sample;

    #[test]
    fn a_taken_name_stands_in_a_deployments_way_and_not_in_a_declarations() {
        let survey = Survey { green_name_taken: true, ..sample::survey(1, "web-prod-v000") };
        let mut deployment = sample::pending(3, 1, sample::strategy(&[100], 0));
        let faults = make(&Inputs::of(&deployment), &survey).unwrap_err();
        assert!(faults[0].detail.contains("web-prod-v003"), "{faults:?}");
        deployment.number = 0;
        assert!(make(&Inputs::of(&deployment), &survey).is_ok(), "the running group may well be called web-prod-v000");
    }

    fn faults(change: impl Fn(&mut Survey)) -> Vec<String> {
        let deployment = sample::pending(3, 2, sample::strategy(&[50, 100], 60));
        let mut survey = sample::survey(2, "old");
        change(&mut survey);
        make(&Inputs::of(&deployment), &survey).err().unwrap_or_default().into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn everything_that_stands_in_the_way_is_said_at_once() {
        assert_eq!(faults(|_| {}), [""; 0]);
        let all = faults(|survey| {
            survey.routes[1].as_mut().unwrap().forwards.clear();
            survey.slots[1].as_mut().unwrap().targets = 3;
            survey.blue.as_mut().unwrap().healthy = 0;
        });
        assert_eq!(all, ["/blue", "/routes/1", "/slots"]);
    }

    #[test]
    fn green_gets_blues_present_size_and_the_slot_that_is_empty() {
        let deployment = sample::pending(3, 2, sample::strategy(&[50, 100], 60));
        let mut survey = sample::survey(2, "old");
        survey.blue.as_mut().unwrap().size = 3;
        let plan = make(&Inputs::of(&deployment), &survey).unwrap();
        assert_eq!((plan.green.size, plan.green.slot.as_str()), (3, "slot-b"));
        assert_eq!(plan.blue.map(|blue| (blue.size, blue.min, blue.protected)), Some((3, 1, false)));
        assert_eq!(faults(|survey| survey.blue.as_mut().unwrap().size = 5), ["/server_group/capacity"], "more than max");
        let mut fixed = deployment.clone();
        fixed.declaration.server_group.capacity = Capacity::Fixed(2);
        let refused = make(&Inputs::of(&fixed), &survey).unwrap_err();
        assert!(refused[0].detail.contains("2 servers and old has 3"), "{refused:?}");
    }

    #[test]
    fn a_first_release_has_one_stage_and_nothing_to_pin() {
        let mut deployment = sample::pending(1, 1, sample::strategy(&[5, 25, 100], 60));
        deployment.declaration.blue = None;
        let mut survey = sample::survey(1, "old");
        survey.blue = None;
        let plan = make(&Inputs::of(&deployment), &survey);
        assert_eq!(plan.unwrap_err()[0].pointer, "/blue", "somebody serves there");
        survey.slots[0].as_mut().unwrap().targets = 0;
        let plan = make(&Inputs::of(&deployment), &survey).unwrap();
        assert_eq!((plan.blue, plan.strategy.stages.len()), (None, 1));
    }
}
