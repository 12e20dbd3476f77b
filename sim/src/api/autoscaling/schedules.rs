//! Scheduled actions: sizes that a group takes on at a time. `life` carries them out.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    super::{Answer, Call, query, query::Node, refusal::Refusal},
    groups::{SIZE_MAX, bounds},
    living, living_mut,
};
use crate::{
    model::{Region, Scheduled},
    names,
};

/// AWS's quota of scheduled actions of one group, and how many one call may name.
const ACTIONS_MAX: usize = 125;
const BATCH_MAX: usize = 50;
const PAGE_MAX: u32 = 100;
const PAGE_DEFAULT: u32 = 50;
/// Minute, hour, day of month, month, day of week.
const CRON_FIELDS: usize = 5;

pub fn put(region: &mut Region, call: &Call<'_>) -> Answer {
    one(region, call.params.required("AutoScalingGroupName")?, call.params, call.at)?;
    Ok(json!({}))
}

/// Those that are refused are told one by one; the others stand.
pub fn put_batch(region: &mut Region, call: &Call<'_>) -> Answer {
    let group = call.params.required("AutoScalingGroupName")?;
    living(region, group)?;
    let actions = call.params.list("ScheduledUpdateGroupActions");
    within(actions.len())?;
    // What fails the whole call comes before the first is written.
    let named = actions.into_iter().map(|action| Ok((action.required("ScheduledActionName")?, action)));
    let named = named.collect::<Result<Vec<_>, Refusal>>()?;
    let mut failed = Vec::new();
    for (name, action) in named {
        if let Err(refusal) = one(region, group, action, call.at) {
            failed.push(show_failed(name, &refusal));
        }
    }
    Ok(json!({ "FailedScheduledUpdateGroupActions": failed }))
}

fn within(count: usize) -> Result<(), Refusal> {
    if (1..=BATCH_MAX).contains(&count) {
        return Ok(());
    }
    Err(Refusal::validation(format!("Between 1 and {BATCH_MAX} scheduled actions must be specified")))
}

fn show_failed(name: &str, refusal: &Refusal) -> Value {
    json!({ "ScheduledActionName": name, "ErrorCode": refusal.code, "ErrorMessage": refusal.message })
}

/// New, or in place of the one with this name, which keeps its ARN.
fn one(region: &mut Region, group: &str, node: Node<'_>, at: Timestamp) -> Result<(), Refusal> {
    let name = node.required("ScheduledActionName")?;
    let held = living(region, group)?;
    let action = parse(node, at)?;
    let mut others = held.scheduled.iter().filter(|(other, _)| *other != name);
    if action.start.is_some() && others.any(|(_, other)| other.start == action.start) {
        return Err(Refusal::new("AlreadyExists", "Another scheduled action of this group has the same start time"));
    }
    let known = held.scheduled.get(name).map(|action| action.arn.clone());
    if known.is_none() && held.scheduled.len() >= ACTIONS_MAX {
        let told = format!("The maximum number of scheduled actions, {ACTIONS_MAX}, has been reached for group {group}");
        return Err(Refusal::new("LimitExceeded", told));
    }
    let arn = known.unwrap_or_else(|| names::scheduled(region, group, name));
    living_mut(region, group)?.scheduled.insert(name.to_owned(), Scheduled { arn, ..action });
    Ok(())
}

fn parse(node: Node<'_>, at: Timestamp) -> Result<Scheduled, Refusal> {
    let size = |key| node.whole(key, 0..=SIZE_MAX);
    let (min, max, desired) = (size("MinSize")?, size("MaxSize")?, size("DesiredCapacity")?);
    if min.or(max).or(desired).is_none() {
        return Err(Refusal::validation("At least one of MinSize, MaxSize or DesiredCapacity must be specified"));
    }
    let (least, most) = (min.unwrap_or(0), max.unwrap_or(SIZE_MAX));
    bounds(least, most, desired.unwrap_or(least))?;
    let (start, end) = (node.time("StartTime")?, node.time("EndTime")?);
    let recurrence = node.text("Recurrence").filter(|text| !text.is_empty());
    if start.is_some_and(|start| start <= at) {
        return Err(Refusal::validation("Given start time is in the past"));
    }
    if end.is_some_and(|end| end <= start.unwrap_or(at)) {
        return Err(Refusal::validation("Given end time is not after the start time"));
    }
    if let Some(bad) = recurrence.filter(|text| !cron(text)) {
        return Err(Refusal::validation(format!("Given recurrence string:{bad} is invalid")));
    }
    if start.is_none() && recurrence.is_none() {
        return Err(Refusal::validation("Either a start time or a recurrence must be specified"));
    }
    Ok(Scheduled {
        arn: String::new(),
        start,
        end,
        recurrence: recurrence.map(str::to_owned),
        time_zone: node.text("TimeZone").map(str::to_owned),
        min,
        max,
        desired,
        done: false,
    })
}

/// Its form alone: nothing here comes back to it.
fn cron(text: &str) -> bool {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || "*,-/".contains(letter);
    text.split_whitespace().count() == CRON_FIELDS && text.split_whitespace().all(|field| field.chars().all(fine))
}

/// By group, by name, by start; an unknown name is left out, an unknown group refused.
pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let (wanted, group) = (params.texts("ScheduledActionNames"), params.text("AutoScalingGroupName"));
    if let Some(name) = group.filter(|name| !region.groups.contains_key(name)) {
        return Err(Refusal::group_not_found(name));
    }
    let (from, until) = (params.time("StartTime")?, params.time("EndTime")?);
    let picked = |name: &String, action: &Scheduled| {
        if !wanted.is_empty() {
            return wanted.contains(name);
        }
        from.is_none_or(|from| action.start.is_some_and(|start| start >= from))
            && until.is_none_or(|until| action.start.is_some_and(|start| start <= until))
    };
    let mut shown = Vec::new();
    for held in region.groups.values().filter(|held| group.is_none_or(|name| name == held.name)) {
        let actions = held.scheduled.iter().filter(|(name, action)| picked(name, action));
        shown.extend(actions.map(|(name, action)| (format!("{}/{name}", held.name), show(&held.name, name, action))));
    }
    let size = params.whole("MaxRecords", 1..=PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let (shown, next) = query::page(shown, params.text("NextToken"), size as usize);
    Ok(json!({ "ScheduledUpdateGroupActions": shown, "NextToken": next }))
}

fn show(group: &str, name: &str, action: &Scheduled) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}"));
    json!({
        "AutoScalingGroupName": group,
        "ScheduledActionName": name,
        "ScheduledActionARN": action.arn,
        "StartTime": time(action.start),
        "Time": time(action.start),
        "EndTime": time(action.end),
        "Recurrence": action.recurrence,
        "TimeZone": action.time_zone,
        "MinSize": action.min,
        "MaxSize": action.max,
        "DesiredCapacity": action.desired,
    })
}

pub fn delete(region: &mut Region, call: &Call<'_>) -> Answer {
    let (group, name) = (call.params.required("AutoScalingGroupName")?, call.params.required("ScheduledActionName")?);
    remove(region, group, name)?;
    Ok(json!({}))
}

pub fn delete_batch(region: &mut Region, call: &Call<'_>) -> Answer {
    let group = call.params.required("AutoScalingGroupName")?;
    living(region, group)?;
    let names = call.params.texts("ScheduledActionNames");
    within(names.len())?;
    let mut failed = Vec::new();
    for name in names {
        if let Err(refusal) = remove(region, group, &name) {
            failed.push(show_failed(&name, &refusal));
        }
    }
    Ok(json!({ "FailedScheduledActions": failed }))
}

fn remove(region: &mut Region, group: &str, name: &str) -> Result<(), Refusal> {
    let gone = living_mut(region, group)?.scheduled.remove(name);
    gone.map(drop).ok_or_else(|| Refusal::validation(format!("Scheduled action name not found: {name}")))
}
