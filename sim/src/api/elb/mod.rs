//! Elastic Load Balancing v2: which operations there are, and what handles each.

mod actions;
mod conditions;
mod listeners;
mod load_balancers;
mod rules;
mod tags;
mod target_groups;
mod targets;

use super::{
    Handler,
    Handler::{Read, Write},
    refusal::Refusal,
};

/// Things that one call may name.
const NAMED_MAX: usize = 20;

/// The handler of `operation`, if this region knows it.
pub fn handler(operation: &str) -> Option<Handler> {
    Some(match operation {
        "CreateLoadBalancer" => Write(load_balancers::create),
        "DescribeLoadBalancers" => Read(load_balancers::describe),
        "DeleteLoadBalancer" => Write(load_balancers::delete),
        "CreateListener" => Write(listeners::create),
        "DescribeListeners" => Read(listeners::describe),
        "ModifyListener" => Write(listeners::modify),
        "DeleteListener" => Write(listeners::delete),
        "CreateRule" => Write(rules::create),
        "DescribeRules" => Read(rules::describe),
        "ModifyRule" => Write(rules::modify),
        "DeleteRule" => Write(rules::delete),
        "SetRulePriorities" => Write(rules::set_priorities),
        "CreateTargetGroup" => Write(target_groups::create),
        "DescribeTargetGroups" => Read(target_groups::describe),
        "DeleteTargetGroup" => Write(target_groups::delete),
        "ModifyTargetGroupAttributes" => Write(target_groups::modify_attributes),
        "DescribeTargetGroupAttributes" => Read(target_groups::describe_attributes),
        "RegisterTargets" => Write(targets::register),
        "DeregisterTargets" => Write(targets::deregister),
        "DescribeTargetHealth" => Read(targets::describe_health),
        "AddTags" => Write(tags::add),
        "RemoveTags" => Write(tags::remove),
        "DescribeTags" => Read(tags::describe),
        "DescribeAccountLimits" => Read(load_balancers::account_limits),
        _ => return None,
    })
}

/// # Errors
/// `ValidationError` when one call names more than AWS describes at a time.
fn few(count: usize, what: &str) -> Result<(), Refusal> {
    if count <= NAMED_MAX {
        return Ok(());
    }
    Err(Refusal::validation(format!("You cannot describe more than '{NAMED_MAX}' {what} at a time")))
}
