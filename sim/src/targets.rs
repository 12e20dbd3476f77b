//! Registering servers in target groups, and which rules lead to them: shared by the API, which is told to, and by Auto
//! Scaling's life, which does so by itself.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::model::{Action, Lifecycle, Name, Region, Target, TargetState};

/// The target groups that `actions` forward to.
pub fn named_by(actions: &[Action]) -> impl Iterator<Item = &Name> {
    actions
        .iter()
        .flat_map(|action| match action {
            Action::Forward { groups, .. } => groups.as_slice(),
            Action::FixedResponse { .. } | Action::Redirect(_) | Action::Other { .. } => &[],
        })
        .map(|(group, _)| group)
}

/// The load balancers whose rules or default actions name `target_group`; AWS allows one at most.
#[must_use]
pub fn load_balancers_of(region: &Region, target_group: &str) -> BTreeSet<Name> {
    let names = |actions: &[Action]| named_by(actions).any(|group| group == target_group);
    let by_default = region.listeners.values().filter(|listener| names(&listener.default_actions));
    let by_rule = region.rules.values().filter(|rule| names(&rule.actions));
    let by_rule = by_rule.filter_map(|rule| region.listeners.get(&rule.listener));
    by_default.chain(by_rule).map(|listener| listener.load_balancer.clone()).collect()
}

/// Adds `instance`; a target that was leaving comes back. An unknown target group is no error: it was deleted meanwhile.
pub fn register(region: &mut Region, target_group: &str, instance: &str) {
    let state = if load_balancers_of(region, target_group).is_empty() { TargetState::Unused } else { TargetState::Initial };
    let Some(group) = region.target_groups.get_mut(target_group) else { return };
    let stays = group.targets.get(instance).is_some_and(|target| target.state != TargetState::Draining);
    if !stays {
        let target = Target { instance: instance.to_owned(), state, gone_at: None };
        group.targets.insert(instance.to_owned(), target);
    }
}

/// Lets `instance` drain for the group's delay, times `scale`; in a group that no rule names there is nothing to drain.
pub fn deregister(region: &mut Region, target_group: &str, instance: &str, now: Instant, scale: f64) {
    let unused = load_balancers_of(region, target_group).is_empty();
    let Some(group) = region.target_groups.get_mut(target_group) else { return };
    let delay = if unused { Duration::ZERO } else { group.deregistration_delay.mul_f64(scale) };
    if let Some(target) = group.targets.get_mut(instance)
        && target.state != TargetState::Draining
    {
        target.state = TargetState::Draining;
        target.gone_at = Some(now + delay);
    }
}

/// Every server of `group` that takes traffic, in every target group of `target_groups`.
pub fn attach(region: &mut Region, group: &str, target_groups: &[Name]) {
    let in_service = |lifecycle| lifecycle == Lifecycle::InService;
    for instance in instances(region, group, in_service) {
        for target_group in target_groups {
            register(region, target_group, &instance);
        }
    }
}

/// The opposite, for all servers whatever they do.
pub fn detach(region: &mut Region, group: &str, target_groups: &[Name], now: Instant, scale: f64) {
    for instance in instances(region, group, |_| true) {
        for target_group in target_groups {
            deregister(region, target_group, &instance, now, scale);
        }
    }
}

fn instances(region: &Region, group: &str, wanted: impl Fn(Lifecycle) -> bool) -> Vec<Name> {
    let servers = region.instances.values();
    servers.filter(|server| server.group == group && wanted(server.lifecycle)).map(|server| server.id.clone()).collect()
}
