//! What stands in a plan's way, and what does not.

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
