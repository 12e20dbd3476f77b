//! What Auto Scaling does to the region, step by step. Each looks again at what it is about to change: the plan was made from
//! a snapshot.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::plan::{Step, does};
use crate::{
    model::{Activity, Instance, Lifecycle, Name, Region, Scheduled, ServerGroup, ServerKind},
    names, targets,
};

/// Activities kept, over all groups; AWS keeps six weeks of them.
const ACTIVITIES_MAX: usize = 2_000;
/// After a failed launch the next is tried after this, doubled each time up to the maximum. AWS publishes no figures.
const RETRY: Duration = Duration::from_secs(10);
const RETRY_DOUBLINGS_MAX: u32 = 5;
const CAPACITY: &str = "a difference between desired and actual capacity, increasing the capacity";

/// Does a step that takes no time.
pub fn apply(region: &mut Region, step: &Step, at: Timestamp, now: Instant, scale: f64) {
    match step {
        Step::CarryOut { group, action } => carry_out(region, group, action),
        Step::Launch { group } => launch(region, group, at, now, scale),
        Step::Condemn { instance } => {
            if let Some(server) = region.instances.get_mut(instance) {
                server.healthy = false;
            }
        }
        Step::Terminate { instance, cause } => terminate(region, instance, cause, at, now, scale),
        Step::Forget { group } => {
            if !region.instances.values().any(|server| server.group == *group) {
                region.groups.remove(group);
            }
        }
        Step::Boot { .. } | Step::Finish { .. } => {}
    }
}

/// Sets the sizes of a scheduled action; ones that contradict the group's are no use, and a suspended group lets its time pass.
fn carry_out(region: &mut Region, name: &str, action: &str) {
    let Some(group) = region.groups.get_mut(name).filter(|group| group.delete_at.is_none()) else { return };
    let Some(due) = group.scheduled.remove(action) else { return };
    let (min, max) = (due.min.unwrap_or(group.min), due.max.unwrap_or(group.max));
    if min <= max && does(group, "ScheduledActions") {
        let desired = due.desired.unwrap_or(group.desired).clamp(min, max);
        (group.min, group.max, group.desired) = (min, max, desired);
    }
    if due.recurrence.is_some() {
        group.scheduled.insert(action.to_owned(), Scheduled { done: true, ..due });
    }
}

/// The image that `group` launches now, and the template version it is launched with; or why it cannot.
fn image(region: &Region, group: &ServerGroup) -> Result<(String, String), String> {
    let template = region.launch_templates.get(&group.launch_template);
    let made = template.and_then(|template| {
        let version = template.number(&group.launch_template_version)?;
        let image = group.image_override.clone().or_else(|| template.versions.get(&version).cloned())?;
        Some((image, version.to_string()))
    });
    let (image, version) = made.ok_or("The launch template does not exist. Launching EC2 instance failed.")?;
    match region.images.get(&image).map(|image| &image.server) {
        None => Err(format!("The image id '[{image}]' does not exist. Launching EC2 instance failed.")),
        Some(ServerKind::FailsToLaunch(message)) => Err(message.clone()),
        Some(ServerKind::Command(_) | ServerKind::BuiltIn { .. }) => Ok((image, version)),
    }
}

fn launch(region: &mut Region, name: &str, at: Timestamp, now: Instant, scale: f64) {
    let Some(group) = region.groups.get(name).filter(|group| group.delete_at.is_none()) else { return };
    let protected = group.new_instances_protected;
    let (image, launch_template_version) = match image(region, group) {
        Ok(made) => made,
        Err(message) => {
            let told = format!("Launching a new EC2 instance.  Status Reason: {message}");
            let activity = record(region, name, None, told, CAPACITY, at);
            settle(activity, "Failed", Some(message), at);
            return hold_back(region, name, now, scale);
        }
    };
    let id = names::instance(region);
    record(region, name, Some(&id), format!("Launching a new EC2 instance: {id}"), CAPACITY, at);
    let server = Instance {
        id: id.clone(),
        group: name.to_owned(),
        image,
        launch_template_version,
        lifecycle: Lifecycle::Pending,
        healthy: true,
        protected,
        address: None,
        launched: now,
        in_service_at: None,
        killed: false,
        sick: false,
    };
    region.instances.insert(id, server);
}

/// A pause before the next launch, longer with each failure.
fn hold_back(region: &mut Region, name: &str, now: Instant, scale: f64) {
    if let Some(group) = region.groups.get_mut(name) {
        let pause = RETRY * 2_u32.pow(group.failures.min(RETRY_DOUBLINGS_MAX));
        group.retry_at = Some(now + pause.mul_f64(scale));
        group.failures += 1;
    }
}

/// The server of `id` has started, or has not. False when nobody waits for it any more.
pub fn booted(region: &mut Region, id: &str, started: Result<SocketAddr, String>, at: Timestamp, scale: f64) -> bool {
    let now = Instant::now();
    let Some(server) = region.instances.get_mut(id).filter(|server| server.lifecycle == Lifecycle::Pending) else {
        return false;
    };
    let name = server.group.clone();
    match started {
        Ok(address) => {
            server.address = Some(address);
            server.lifecycle = Lifecycle::InService;
            server.in_service_at = Some(now);
        }
        Err(message) => {
            region.instances.remove(id);
            newest(region, id, "Failed", Some(message), at);
            hold_back(region, &name, now, scale);
            return false;
        }
    }
    newest(region, id, "Successful", None, at);
    let Some(group) = region.groups.get_mut(&name) else { return true };
    (group.failures, group.retry_at) = (0, None);
    if does(group, "AddToLoadBalancer") {
        for target_group in group.target_groups.clone() {
            targets::register(region, &target_group, id);
        }
    }
    true
}

/// Takes an instance out: it drains wherever it is registered, and goes when it has.
pub fn terminate(region: &mut Region, id: &str, cause: &str, at: Timestamp, now: Instant, scale: f64) {
    let Some(server) = region.instances.get_mut(id).filter(|server| server.lifecycle != Lifecycle::Terminating) else {
        return;
    };
    let was = std::mem::replace(&mut server.lifecycle, Lifecycle::Terminating);
    let name = server.group.clone();
    if was == Lifecycle::Pending {
        newest(region, id, "Cancelled", None, at);
    }
    record(region, &name, Some(id), format!("Terminating EC2 instance: {id}"), cause, at);
    for target_group in registered(region, id) {
        targets::deregister(region, &target_group, id, now, scale);
    }
}

/// The target groups that `id` is in.
fn registered(region: &Region, id: &str) -> Vec<Name> {
    let groups = region.target_groups.values();
    groups.filter(|group| group.targets.contains_key(id)).map(|group| group.arn.clone()).collect()
}

/// Its server has stopped.
pub fn finished(region: &mut Region, id: &str, at: Timestamp) {
    for target_group in registered(region, id) {
        if let Some(group) = region.target_groups.get_mut(&target_group) {
            group.targets.remove(id);
        }
    }
    region.instances.remove(id);
    newest(region, id, "Successful", None, at);
}

fn record<'a>(
    region: &'a mut Region,
    group: &str,
    instance: Option<&str>,
    description: String,
    cause: &str,
    at: Timestamp,
) -> &'a mut Activity {
    let activity = Activity {
        id: names::uuid(region),
        group: group.to_owned(),
        instance: instance.map(str::to_owned),
        status: "InProgress".to_owned(),
        message: None,
        description,
        cause: format!("At {at:.0} an instance was changed in response to {cause}."),
        started: at,
        ended: None,
    };
    if region.activities.len() >= ACTIVITIES_MAX {
        region.activities.remove(0);
    }
    region.activities.push(Arc::new(activity));
    region.activities.last_mut().map(Arc::make_mut).expect("one was pushed just now")
}

/// Ends the newest activity of `instance`.
fn newest(region: &mut Region, instance: &str, status: &str, message: Option<String>, at: Timestamp) {
    let mut newest = region.activities.iter_mut().rev();
    if let Some(activity) = newest.find(|activity| activity.instance.as_deref() == Some(instance)) {
        settle(Arc::make_mut(activity), status, message, at);
    }
}

fn settle(activity: &mut Activity, status: &str, message: Option<String>, at: Timestamp) {
    (activity.status, activity.message, activity.ended) = (status.to_owned(), message, Some(at));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, Stage};

    /// The sizes of a group of 2 to 4 after a scheduled action for (min, max, desired).
    fn sizes_after(action: (Option<u32>, Option<u32>, Option<u32>), suspended: &[&str]) -> (u32, u32, u32) {
        let mut region = Region::default();
        let staged = scenario::build(&mut region, &Stage::default(), Timestamp::UNIX_EPOCH).unwrap();
        let name = staged.services[0].blue.clone().unwrap();
        let group = region.groups.get_mut(&name).unwrap();
        group.suspended = suspended.iter().map(|process| (*process).to_owned()).collect();
        let (min, max, desired) = action;
        let (start, end, recurrence, time_zone) = (None, None, None, None);
        let action = Scheduled { arn: String::new(), start, end, recurrence, time_zone, min, max, desired, done: false };
        group.scheduled.insert("it".to_owned(), action);
        carry_out(&mut region, &name, "it");
        let group = &region.groups[name.as_str()];
        assert!(group.scheduled.is_empty());
        (group.min, group.max, group.desired)
    }

    #[test]
    fn a_scheduled_action_moves_the_size_into_its_bounds() {
        assert_eq!(sizes_after((Some(3), None, None), &[]), (3, 4, 3));
        assert_eq!(sizes_after((Some(1), Some(1), None), &[]), (1, 1, 1));
        assert_eq!(sizes_after((None, None, Some(4)), &[]), (2, 4, 4));
    }

    #[test]
    fn a_scheduled_action_does_nothing_where_it_contradicts_the_group_or_is_suspended() {
        assert_eq!(sizes_after((Some(5), None, None), &[]), (2, 4, 2));
        assert_eq!(sizes_after((Some(3), None, None), &["ScheduledActions"]), (2, 4, 2));
    }
}
