//! Reads what is declared of a service's drills.

use std::time::Duration;

use super::reader::{Faults, Node, child};
use crate::domain::{
    drill::DrillSpec,
    schedule::{Fault, Schedule},
};

/// The longest cron expression, and the longest name of a time zone.
const SCHEDULE_CHARS_MAX: usize = 100;
/// Within less nothing is ever seen.
const BUDGET_MIN: Duration = Duration::from_millis(1);
const ZONE_DEFAULT: &str = "UTC";

pub(super) fn drill(node: &Node<'_>, faults: &mut Faults) -> Option<DrillSpec> {
    let fields = node.fields(&["schedule", "time_zone", "budget"], faults)?;
    let text = |node: Node<'_>, faults: &mut Faults| node.text(SCHEDULE_CHARS_MAX, faults).map(str::to_owned);
    let cron = fields.maybe("schedule", faults, text);
    let zone = fields.or("time_zone", ZONE_DEFAULT.to_owned(), faults, text);
    let budget = fields.or("budget", DrillSpec::default().budget, faults, |node, faults| {
        let budget = node.duration(faults)?;
        if budget < BUDGET_MIN {
            faults.add(node.at, "must be longer than nothing");
        }
        (budget >= BUDGET_MIN).then_some(budget)
    });
    let schedule = match (cron?, zone?) {
        (None, _) => None,
        (Some(cron), zone) => match Schedule::parse(&cron, &zone) {
            Ok(schedule) => Some(schedule),
            Err(fault) => {
                let (name, said) = match fault {
                    Fault::Cron(said) => ("schedule", said),
                    Fault::Zone(said) => ("time_zone", said),
                };
                faults.add(child(&node.at, name), said);
                return None;
            }
        },
    };
    Some(DrillSpec { schedule, budget: budget? })
}
