//! The record of launches and terminations: the only place where AWS tells why a launch failed.

use serde_json::{Value, json};

use super::super::{Answer, Call, query};
use crate::model::{Activity, Region};

const PAGE_MAX: u32 = 100;

/// Newest first. Those of an earlier group of the same name only when deleted groups are asked for.
pub fn describe(region: &Region, call: &Call<'_>) -> Answer {
    let params = call.params;
    let (name, ids) = (params.text("AutoScalingGroupName"), params.texts("ActivityIds"));
    let deleted = params.flag("IncludeDeletedGroups")? == Some(true);
    let size = params.whole("MaxRecords", 1..=PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let living =
        |activity: &Activity| region.groups.get(&activity.group).is_some_and(|group| group.created_at <= activity.started);
    let picked = region.activities.iter().rev().filter(|activity| {
        name.is_none_or(|name| name == activity.group)
            && (ids.is_empty() || ids.contains(&activity.id))
            && (deleted || living(activity))
    });
    let shown = picked.map(|activity| (activity.id.clone(), show(region, activity))).collect();
    let (shown, next) = query::page(shown, params.text("NextToken"), size as usize);
    Ok(json!({ "Activities": shown, "NextToken": next }))
}

pub fn show(region: &Region, activity: &Activity) -> Value {
    json!({
        "ActivityId": activity.id,
        "AutoScalingGroupName": activity.group,
        "AutoScalingGroupARN": region.groups.get(&activity.group).map(|group| &group.arn),
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": format!("{:.3}", activity.started),
        "EndTime": activity.ended.map(|ended| format!("{ended:.3}")),
        "StatusCode": activity.status,
        "StatusMessage": activity.message,
        "Progress": if activity.ended.is_some() { 100 } else { 50 },
    })
}
