//! The plan: everything fixed before the first change, so that execution has no choice left.

use serde::{Deserialize, Serialize};

use super::{
    declaration::{Capacity, Declaration, Preview, Strategy},
    deployment::{Deployment, Live},
    ids::{GroupName, Image, ListenerRef, LoadBalancerRef, RouteRef, SlotRef, Target},
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
    let serving = serving(inputs.declaration, survey, &mut faults);
    let routes = plan_routes(inputs.declaration, survey, &serving, &mut faults);
    let sides = pick_slots(inputs.declaration, survey, &serving, &mut faults);
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
            preview: inputs.declaration.preview.clone(),
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

/// Where a route's base forwards to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Serving {
    /// Its index in the declaration.
    slot: usize,
    position: usize,
}

/// One a route; `None` where a fault says why.
fn serving(declaration: &Declaration, survey: &Survey, faults: &mut Vec<FieldFault>) -> Vec<Option<Serving>> {
    let mut of = |(i, route): (usize, &Option<RouteSurvey>)| match serving_slot(declaration, route.as_ref()?) {
        Ok(serving) => Some(serving),
        Err(detail) => {
            faults.push(FieldFault::new(format!("/routes/{i}"), detail));
            None
        }
    };
    survey.routes.iter().enumerate().map(&mut of).collect()
}

/// Reserves two numbers a route.
fn plan_routes(
    declaration: &Declaration,
    survey: &Survey,
    serving: &[Option<Serving>],
    faults: &mut Vec<FieldFault>,
) -> Vec<RoutePlan> {
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
                });
            }
            Err(detail) => faults.push(FieldFault::new(format!("/routes/{i}"), detail)),
        }
    }
    routes
}

/// Which slot serves, and which takes green if one is free.
fn pick_slots(
    declaration: &Declaration,
    survey: &Survey,
    serving: &[Option<Serving>],
    faults: &mut Vec<FieldFault>,
) -> Option<(SlotRef, Option<SlotRef>)> {
    let blue = serving.iter().flatten().next()?.slot;
    if serving.iter().flatten().any(|serving| serving.slot != blue) {
        faults
            .push(FieldFault::new("/routes", "the routes forward to different slots: make them forward to the same one first"));
        return None;
    }
    if serving.iter().all(Option::is_some) {
        match_load_balancers(declaration, survey, serving, faults);
    }
    let blue_slot = declaration.slots.get(blue)?.clone();
    let empty = declaration
        .slots
        .iter()
        .zip(&survey.slots)
        .enumerate()
        .find(|(i, (_, seen))| *i != blue && seen.as_ref().is_some_and(|seen| seen.targets == 0));
    if empty.is_none() && survey.slots.iter().all(Option::is_some) {
        faults.push(FieldFault::new(
            "/slots",
            "no slot is free for the new group: every slot but the serving one has targets; deregister what is left in one of them",
        ));
    }
    let green_slot = empty.map(|(_, (slot, _))| slot.clone());
    Some((blue_slot, green_slot))
}

/// Position `k` of every slot is on the load balancer of the routes that forward to the serving slot's `k`-th target group, or
/// on none yet: only there can an overlay split between the two.
fn match_load_balancers(declaration: &Declaration, survey: &Survey, serving: &[Option<Serving>], faults: &mut Vec<FieldFault>) {
    let positions = declaration.slots.first().map_or(0, |slot| slot.target_groups().len());
    for position in 0..positions {
        let mut routes =
            serving.iter().zip(&survey.routes).filter(|(serving, _)| serving.is_some_and(|s| s.position == position));
        let Some(wanted) = routes.find_map(|(_, route)| Some(&route.as_ref()?.load_balancer)) else {
            // Never checked by a load balancer, its targets would never be healthy.
            let blue = serving.iter().flatten().next().map_or(0, |serving| serving.slot);
            faults.push(FieldFault::new(
                declaration.pointer_to(blue, position),
                "no route forwards to this target group of the serving slot: declare one that does, or take this position out of \
                 every slot",
            ));
            continue;
        };
        for (i, slot) in survey.slots.iter().enumerate() {
            if let Some(Some(is)) = slot.as_ref().and_then(|slot| slot.load_balancers.get(position))
                && is != wanted
            {
                faults.push(FieldFault::new(declaration.pointer_to(i, position), belongs_elsewhere(is, wanted)));
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
    if let Some(missing) = blue_slot.target_groups().iter().find(|target_group| !blue.attached.contains(target_group)) {
        faults.push(FieldFault::new(
            "/blue",
            format!("{} is not attached to {missing}, which a route forwards to: name the group that serves now", blue.group),
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
        scaling: blue.scaling.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ids::TargetGroupRef, sample};

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
        assert_eq!((plan.green.size, plan.green.slot), (3, SlotRef::new("slot-b")));
        assert_eq!(plan.blue.map(|blue| (blue.size, blue.min, blue.protected)), Some((3, 1, false)));
        assert_eq!(faults(|survey| survey.blue.as_mut().unwrap().size = 5), ["/server_group/capacity"], "more than max");
        let mut fixed = deployment.clone();
        fixed.declaration.server_group.capacity = Capacity::Fixed(2);
        let refused = make(&Inputs::of(&fixed), &survey).unwrap_err();
        assert!(refused[0].detail.contains("2 servers and old has 3"), "{refused:?}");
    }

    /// Two routes, the first on a public load balancer and the second on an internal one, and slots of a target group for each.
    fn on_two_load_balancers() -> (Deployment, Survey) {
        let mut d = sample::pending(3, 2, sample::strategy(&[50, 100], 60));
        let pair = |letter: &str| ["public", "internal"].map(|side| TargetGroupRef::new(format!("{letter}-{side}"))).to_vec();
        d.declaration.slots = ["a", "b"].into_iter().filter_map(|letter| SlotRef::of(pair(letter))).collect();
        let mut survey = sample::survey(2, "old");
        let balancers = ["public", "internal"].map(LoadBalancerRef::new);
        for ((route, balancer), target_group) in survey.routes.iter_mut().flatten().zip(&balancers).zip(pair("a")) {
            (route.load_balancer, route.forwards) = (balancer.clone(), vec![(target_group, 1)]);
        }
        survey.slots[0].as_mut().unwrap().load_balancers = balancers.map(Some).to_vec();
        survey.slots[1].as_mut().unwrap().load_balancers = vec![None, None];
        survey.blue.as_mut().unwrap().attached = pair("a");
        (d, survey)
    }

    #[test]
    fn each_route_gets_the_target_group_of_its_load_balancer() {
        let (d, survey) = on_two_load_balancers();
        let plan = make(&Inputs::of(&d), &survey).unwrap();
        assert_eq!(plan.routes.iter().map(|route| route.position).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((&plan.blue_slot, &plan.green.slot), (&d.declaration.slots[0], &d.declaration.slots[1]));
    }

    #[test]
    fn slots_on_two_load_balancers_are_refused_where_they_do_not_match() {
        let faults = |change: &dyn Fn(&mut Deployment, &mut Survey)| {
            let (mut d, mut survey) = on_two_load_balancers();
            change(&mut d, &mut survey);
            make(&Inputs::of(&d), &survey).err().unwrap_or_default()
        };
        let pointers = |faults: &[FieldFault]| faults.iter().map(|fault| fault.pointer.clone()).collect::<Vec<_>>();
        let elsewhere = |i: usize, name: &str| {
            let name = LoadBalancerRef::new(name);
            move |_: &mut Deployment, survey: &mut Survey| {
                survey.slots[1].as_mut().unwrap().load_balancers[i] = Some(name.clone());
            }
        };
        let swapped = faults(&elsewhere(1, "public"));
        assert_eq!(pointers(&swapped), ["/slots/1/1"]);
        assert!(swapped[0].detail.contains("belongs to public, but the routes of its position are on internal"), "{swapped:?}");
        assert_eq!(faults(&elsewhere(1, "internal")), [], "named by a rule of its own load balancer already");

        let crossed = faults(&|_, survey| survey.routes[1].as_mut().unwrap().forwards[0].0 = TargetGroupRef::new("b-internal"));
        assert_eq!(pointers(&crossed), ["/routes"], "one route on each slot");
        let half = faults(&|_, survey| survey.blue.as_mut().unwrap().attached.truncate(1));
        assert!(half[0].detail.contains("not attached to a-internal"), "{half:?}");
        let unused = faults(&|d, survey| {
            d.declaration.routes.truncate(1);
            survey.routes.truncate(1);
        });
        assert_eq!(pointers(&unused), ["/slots/0/1"], "its targets would never be checked, and so never healthy");
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
