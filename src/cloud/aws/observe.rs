//! What a deployment's world looks like: every question asked at once, each failing alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use futures::future::{join, join_all, join5};

use super::{
    AwsCloud, arn,
    client::Clients,
    groups::{self, SeenGroup, Targets},
    operation::Operation,
    rules::{self, PAGES_MAX, SeenRule},
    shape, weights,
};
use crate::{
    domain::{
        deployment::Deployment,
        ids::{ListenerRef, SlotRef},
        observation::{GroupView, Known, LaunchFailure, Observation, RouteView, RuleView, SlotView},
        phase::Phase,
        plan::{Inputs, Plan, RoutePlan},
        survey::Role,
    },
    engine::ports::{Fault, FaultKind},
};

/// Rules by listener, as far as they could be read.
type Listeners = BTreeMap<ListenerRef, Result<Vec<SeenRule>, Fault>>;

/// Looks at what `d` needs in its phase.
pub(super) async fn observe(cloud: &AwsCloud, d: &Deployment, deadline: Instant) -> Observation {
    let mut seen = Observation {
        routes: Vec::new(),
        green: not_looked_at(),
        blue: not_looked_at(),
        green_slot: not_looked_at(),
        blue_slot: not_looked_at(),
        launch_failures: Vec::new(),
        survey: None,
    };
    match (&d.phase, &d.plan) {
        (Phase::Pending, _) => {
            let survey = cloud.look_around(Inputs::of(d), Some(d.id), deadline).await;
            seen.survey = Some(survey.map_or_else(unknown, Known::Seen));
        }
        (phase, Some(plan)) if !phase.is_terminal() => look(cloud, d, plan, deadline, &mut seen).await,
        // Ended, or on its way back before anything was planned: there is nothing to see.
        (_, Some(_) | None) => {}
    }
    seen
}

async fn look(cloud: &AwsCloud, d: &Deployment, plan: &Plan, deadline: Instant, seen: &mut Observation) {
    let clients = cloud.clients(shape::region(&d.declaration));
    let names: Vec<_> = plan.blue.iter().map(|blue| &blue.group).chain([&plan.green.group]).collect();
    let ((listeners, named_by), groups, green_targets, blue_targets, launch_failures) = join5(
        look_at_rules(cloud, &clients, d, plan, deadline),
        groups::named(&clients, &names, deadline),
        groups::targets(&clients, &plan.green.slot, deadline),
        groups::targets(&clients, &plan.blue_slot, deadline),
        look_at_launches(&clients, d, plan, deadline),
    )
    .await;
    seen.launch_failures = launch_failures;
    seen.routes = plan.routes.iter().enumerate().map(|(i, route)| route_view(cloud, d, plan, i, route, &listeners)).collect();

    let find = |name| match &groups {
        Ok(groups) => groups.iter().find(|group| &group.name == name).map_or(Known::Absent, Known::Seen),
        Err(fault) => unknown(fault.clone()),
    };
    let green = find(&plan.green.group);
    let green_is_ours = |group: &SeenGroup| group.is_of(&cloud.installation, d.id);
    seen.green = group_view(&green, &plan.green.slot, &green_targets, green_is_ours);
    seen.green_slot = slot_view(&green, &plan.green.slot, &green_targets, &named_by);

    let blue = plan.blue.as_ref().map_or(Known::Absent, |blue| find(&blue.group));
    seen.blue = group_view(&blue, &plan.blue_slot, &blue_targets, |_| true);
    seen.blue_slot = slot_view(&blue, &plan.blue_slot, &blue_targets, &named_by);
}

fn not_looked_at<T>() -> Known<T> {
    Known::Unknown("not looked at".to_owned())
}

fn unknown<T>(fault: Fault) -> Known<T> {
    Known::Unknown(fault.to_string())
}

async fn look_at_launches(clients: &Clients, d: &Deployment, plan: &Plan, deadline: Instant) -> Vec<LaunchFailure> {
    if d.phase != Phase::Provisioning {
        return Vec::new();
    }
    // It only makes an end come sooner, so a look that fails costs nothing but time.
    groups::launch_failures(clients, &plan.green.group, deadline).await.unwrap_or_default()
}

/// How often each slot is named by a rule or default action; a fault when some could not be read.
type NamedBy = Result<Vec<SeenRule>, Fault>;

/// The rules of the routes' listeners; and, before a group is removed, those of every listener that could name its slot. A
/// target group belongs to one load balancer, the one that the routes are on, so its listeners are all there are.
async fn look_at_rules(
    cloud: &AwsCloud,
    clients: &Clients,
    d: &Deployment,
    plan: &Plan,
    deadline: Instant,
) -> (Listeners, NamedBy) {
    let routes: BTreeSet<_> = plan.routes.iter().map(|route| route.listener.clone()).collect();
    let of_routes = async {
        let rules = routes.iter().map(|listener| rules::of_listener(clients, &cloud.marks, listener, deadline));
        let rules = join_all(rules).await;
        routes.iter().cloned().zip(rules).collect::<Listeners>()
    };
    let others = async {
        match d.phase {
            Phase::Retiring | Phase::RollingBack { .. } => other_listeners(clients, d, plan, &routes, deadline).await,
            _ => Ok(Vec::new()),
        }
    };
    let (listeners, others) = join(of_routes, others).await;
    let named_by = others.and_then(|mut all| {
        for rules in listeners.values() {
            all.extend(rules.clone()?);
        }
        Ok(all)
    });
    (listeners, named_by)
}

/// The rules of the load balancer's listeners that no route is on.
async fn other_listeners(
    clients: &Clients,
    d: &Deployment,
    plan: &Plan,
    routes: &BTreeSet<ListenerRef>,
    deadline: Instant,
) -> Result<Vec<SeenRule>, Fault> {
    let region = shape::region(&d.declaration);
    let balancers: BTreeSet<_> =
        plan.routes.iter().filter_map(|route| arn::route(&route.route, region).ok()).map(|route| route.load_balancer).collect();
    let mut listeners = BTreeSet::new();
    for found in join_all(balancers.iter().map(|balancer| listeners_of(clients, balancer, deadline))).await {
        listeners.extend(found?);
    }
    let others = listeners.difference(routes).map(|listener| rules::without_marks(clients, listener, deadline));
    let mut rules = Vec::new();
    for found in join_all(others).await {
        match found {
            // Deleted between the two looks.
            Err(Fault { kind: FaultKind::Missing, .. }) => {}
            found => rules.extend(found?),
        }
    }
    Ok(rules)
}

async fn listeners_of(clients: &Clients, balancer: &str, deadline: Instant) -> Result<Vec<ListenerRef>, Fault> {
    const OPERATION: Operation = Operation::DescribeListeners;
    let mut listeners = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = clients.elb.describe_listeners().load_balancer_arn(balancer).set_marker(marker);
        let page = clients.look(OPERATION, deadline, call.send()).await?;
        listeners.extend(page.listeners().iter().filter_map(|listener| listener.listener_arn()).map(ListenerRef::new));
        marker = page.next_marker;
        if marker.is_none() {
            return Ok(listeners);
        }
    }
    Err(super::fault::incomplete(OPERATION, "an end: there are more pages than a load balancer can have"))
}

fn route_view(
    cloud: &AwsCloud,
    d: &Deployment,
    plan: &Plan,
    i: usize,
    route: &RoutePlan,
    listeners: &Listeners,
) -> Known<RouteView> {
    let rules = match listeners.get(&route.listener) {
        Some(Ok(rules)) => rules,
        Some(Err(Fault { kind: FaultKind::Missing, .. })) => return Known::Absent,
        Some(Err(fault)) => return unknown(fault.clone()),
        None => return not_looked_at(),
    };
    let forward = |rule: &SeenRule| weights::from_wire(&rule.forwards, &plan.blue_slot, &plan.green.slot);
    let view = |rule: &SeenRule, deployment| RuleView { rule: rule.rule.clone(), forward: forward(rule), deployment };
    let base = rules.iter().find(|rule| match route.base_number {
        None => rule.number.is_none(),
        Some(_) => rule.rule.as_str() == route.route.as_str(),
    });
    let mut seen = RouteView {
        // A base that was deleted sends nothing anywhere, and the rules above it still have to go.
        base: base.map_or(crate::domain::observation::Forward::Elsewhere, forward),
        overlays: Vec::new(),
        shields: Vec::new(),
        in_the_way: None,
        leftovers: Vec::new(),
    };
    for rule in rules {
        let Some(number) = rule.number else { continue };
        let mark = rule.mark.as_ref().filter(|mark| mark.installation == cloud.installation && mark.is_for(&route.route));
        let deployment = mark.and_then(|mark| mark.deployment);
        let recorded = d.overlays.get(i) == Some(&rule.rule);
        match mark.and_then(|mark| mark.role) {
            _ if recorded => seen.overlays.push(view(rule, Some(d.id))),
            Some(Role::Overlay) if deployment == Some(d.id) => seen.overlays.push(view(rule, deployment)),
            Some(Role::Shield) => seen.shields.push(view(rule, deployment)),
            Some(Role::Overlay) if deployment.is_some_and(|id| !d.let_go.contains(&id)) => {
                seen.leftovers.push(rule.rule.clone());
            }
            Some(Role::Overlay) | None if number == route.overlay_number => {
                seen.in_the_way = Some(rule.rule.to_string());
            }
            Some(Role::Overlay) | None => {}
        }
    }
    Known::Seen(seen)
}

/// A group with its slot's word on its servers: without that word nothing can be said of their health.
fn group_view(
    group: &Known<&SeenGroup>,
    slot: &SlotRef,
    targets: &Result<Targets, Fault>,
    ours: impl Fn(&SeenGroup) -> bool,
) -> Known<GroupView> {
    let group = match group {
        Known::Seen(group) => group,
        Known::Absent => return Known::Absent,
        Known::Unknown(why) => return Known::Unknown(why.clone()),
    };
    let nobody = Targets::default();
    let targets = match targets {
        Ok(targets) => targets,
        // The slot was removed: nobody in it is healthy.
        Err(Fault { kind: FaultKind::Missing, .. }) => &nobody,
        Err(fault) => return unknown(fault.clone()),
    };
    Known::Seen(GroupView {
        servers: group.servers(targets),
        min: group.min,
        protected: group.protected,
        deleting: group.deleting,
        attached: group.slots.contains(slot),
        ours: ours(group),
    })
}

fn slot_view(group: &Known<&SeenGroup>, slot: &SlotRef, targets: &Result<Targets, Fault>, rules: &NamedBy) -> Known<SlotView> {
    let targets = match targets {
        Ok(targets) => targets,
        Err(Fault { kind: FaultKind::Missing, .. }) => return Known::Absent,
        Err(fault) => return unknown(fault.clone()),
    };
    let group = match group {
        Known::Seen(group) => Some(*group),
        Known::Absent => None,
        Known::Unknown(why) => return Known::Unknown(why.clone()),
    };
    match rules {
        Ok(rules) => Known::Seen(SlotView {
            targets: targets.count(),
            strangers: targets.strangers(group),
            named_by: u32::try_from(rules.iter().filter(|rule| rule.names(slot)).count()).unwrap_or(u32::MAX),
        }),
        Err(fault) => unknown(fault.clone()),
    }
}
