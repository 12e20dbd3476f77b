//! Auto Scaling: which operations there are, and what handles each. What the groups then do by themselves is `life`.

mod activities;
mod attach;
mod groups;
mod instances;
mod policies;
mod processes;
mod schedules;
mod show;
mod source;
mod tags;

use super::{
    Handler,
    Handler::{Read, Write},
    refusal::Refusal,
};
use crate::model::{Region, ServerGroup};

/// The handler of `operation`, if this region knows it.
pub fn handler(operation: &str) -> Option<Handler> {
    Some(match operation {
        "CreateAutoScalingGroup" => Write(groups::create),
        "UpdateAutoScalingGroup" => Write(groups::update),
        "DeleteAutoScalingGroup" => Write(groups::delete),
        "SetDesiredCapacity" => Write(groups::set_desired),
        "DescribeAutoScalingGroups" => Read(show::describe),
        "DescribeAccountLimits" => Read(show::account_limits),
        "AttachLoadBalancerTargetGroups" => Write(attach::attach),
        "DetachLoadBalancerTargetGroups" => Write(attach::detach),
        "DescribeLoadBalancerTargetGroups" => Read(attach::describe),
        "DescribeScalingActivities" => Read(activities::describe),
        "PutScalingPolicy" => Write(policies::put),
        "DescribePolicies" => Read(policies::describe),
        "DeletePolicy" => Write(policies::delete),
        "PutScheduledUpdateGroupAction" => Write(schedules::put),
        "BatchPutScheduledUpdateGroupAction" => Write(schedules::put_batch),
        "DescribeScheduledActions" => Read(schedules::describe),
        "DeleteScheduledAction" => Write(schedules::delete),
        "BatchDeleteScheduledAction" => Write(schedules::delete_batch),
        "SetInstanceProtection" => Write(instances::protect),
        "TerminateInstanceInAutoScalingGroup" => Write(instances::terminate),
        "SuspendProcesses" => Write(processes::suspend),
        "ResumeProcesses" => Write(processes::resume),
        "CreateOrUpdateTags" => Write(tags::create_or_update),
        "DeleteTags" => Write(tags::delete),
        "DescribeTags" => Read(tags::describe),
        _ => return None,
    })
}

/// A group that exists and is not on its way out.
fn living<'a>(region: &'a Region, name: &str) -> Result<&'a ServerGroup, Refusal> {
    let group = region.groups.get(name).ok_or_else(|| Refusal::group_not_found(name))?;
    match group.delete_at {
        None => Ok(group),
        Some(_) => Err(Refusal::validation(format!("AutoScalingGroup {name} is pending delete"))),
    }
}

fn living_mut<'a>(region: &'a mut Region, name: &str) -> Result<&'a mut ServerGroup, Refusal> {
    living(region, name)?;
    region.groups.get_mut(name).ok_or_else(|| Refusal::group_not_found(name))
}
