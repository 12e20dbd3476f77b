//! What a deployment holds while it runs. One unique index over (kind, key, number) lets no two running ones hold the same.

use crate::domain::{
    declaration::Declaration,
    ids::{SlotRef, Target},
    plan::Plan,
};

/// The unique index: who hits it meets another running deployment.
pub(super) const ONE_RUNNING: &str = "deployment_holds_one_running";

/// Several holds as columns, to be unnested by one statement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    pub kinds: Vec<String>,
    pub keys: Vec<String>,
    pub numbers: Vec<i32>,
}

/// From its creation to its end: its environment and its routes.
pub(super) fn from_the_start(target: &Target, declaration: &Declaration) -> Holds {
    let routes = declaration.routes.iter().map(|route| ("route", route.to_string(), 0));
    Holds::collect(routes.chain([("environment", target.to_string(), 0)]))
}

/// From the plan to the end: every target group of both slots, both groups, and on each listener the overlay's number and the shield's.
pub(super) fn from_the_plan(plan: &Plan) -> Holds {
    let slots = [&plan.blue_slot, &plan.green.slot];
    let slots = slots.into_iter().flat_map(SlotRef::target_groups).map(|target_group| ("slot", target_group.to_string(), 0));
    let groups =
        plan.blue.iter().map(|blue| &blue.group).chain([&plan.green.group]).map(|group| ("group", group.to_string(), 0));
    let numbers = plan.routes.iter().flat_map(|route| {
        [route.overlay_number, route.shield_number]
            .map(|number| ("number", route.listener.to_string(), i32::try_from(number).unwrap_or(i32::MAX)))
    });
    Holds::collect(slots.chain(groups).chain(numbers))
}

impl Holds {
    /// In one order for all, so that two deployments which want the same things cannot wait for each other.
    fn collect(holds: impl Iterator<Item = (&'static str, String, i32)>) -> Self {
        let mut holds: Vec<_> = holds.collect();
        holds.sort();
        holds.dedup();
        let mut columns = Self::default();
        for (kind, key, number) in holds {
            columns.kinds.push(kind.to_owned());
            columns.keys.push(key);
            columns.numbers.push(number);
        }
        columns
    }
}
