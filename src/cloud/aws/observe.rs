//! What a deployment's world looks like: every question asked at once, each failing alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use futures::future::{join, join_all, join3};

use super::{
    AwsCloud, arn,
    budget::Lane,
    client::Clients,
    edits,
    groups::{self, SeenGroup, Targets},
    looks::When,
    operation::Operation,
    rules::{PAGES_MAX, SeenRule},
    scaling, shape, strays, weights,
};
use crate::{
    domain::{
        deployment::Deployment,
        drift,
        ids::{GroupName, ListenerRef, LoadBalancerRef, SlotRef},
        observation::{
            Attached, Forward, GroupView, Known, LaunchFailure, Observation, RouteView, RuleView, ScalingView, SlotView,
        },
        phase::Phase,
        plan::{Inputs, Plan, RoutePlan},
        survey::Role,
    },
    engine::ports::{Fault, FaultKind, Recency},
};

/// Rules by listener, as far as they could be read.
type Listeners = BTreeMap<ListenerRef, Result<Arc<Vec<SeenRule>>, Fault>>;
/// What matters of a group that is being made.
struct Booting {
    failures: Vec<LaunchFailure>,
    scaling: Known<ScalingView>,
}

/// A slot's targets, where they were looked at.
type SeenTargets = Option<Result<Targets, Fault>>;

/// Looks at what `d` needs in its phase.
pub(super) async fn observe(cloud: &AwsCloud, d: &Deployment, recency: Recency, deadline: Instant) -> Observation {
    let mut seen = Observation {
        routes: Vec::new(),
        green: not_looked_at(),
        blue: not_looked_at(),
        green_slot: not_looked_at(),
        blue_slot: not_looked_at(),
        scaling: not_looked_at(),
        launch_failures: Vec::new(),
        survey: None,
    };
    match (&d.phase, &d.plan) {
        (Phase::Pending, _) => {
            let survey = cloud.look_around(Inputs::of(d), Some(d.id), deadline).await.whole();
            seen.survey = Some(survey.map_or_else(unknown, Known::Seen));
        }
        (phase, Some(plan)) if !phase.is_terminal() => {
            let clients = cloud.clients(&d.declaration);
            // Until green's traffic was seen to end, each step back hangs on a look.
            let going_back = d.going_back.as_ref().map_or_else(|| d.intent.is_back(), |back| back.observed_at.is_none());
            let clients = if going_back { clients.on(Lane::Rollback) } else { clients };
            Look { cloud, clients: &clients, d, plan, recency, when: When::new(recency, deadline) }.at_all(&mut seen).await;
        }
        // Ended, or on its way back before anything was planned: there is nothing to see.
        (_, Some(_) | None) => {}
    }
    seen
}

/// One look at one deployment's world.
#[derive(Clone, Copy)]
struct Look<'a> {
    cloud: &'a AwsCloud,
    clients: &'a Clients,
    d: &'a Deployment,
    plan: &'a Plan,
    recency: Recency,
    when: When,
}

impl Look<'_> {
    async fn at_all(self, seen: &mut Observation) {
        let Self { cloud, d, plan, .. } = self;
        let ((listeners, named_by), (groups, green_targets, booting), blue_targets) =
            join3(self.at_rules(), self.at_groups(), self.at_blue_targets()).await;
        (seen.scaling, seen.launch_failures) = (booting.scaling, booting.failures);
        seen.routes =
            plan.routes.iter().enumerate().map(|(i, route)| route_view(cloud, d, plan, i, route, &listeners)).collect();

        let find = |name| match &groups {
            Ok(groups) => groups.get(name).map_or(Known::Absent, |group| Known::Seen(&**group)),
            Err(fault) => unknown(fault.clone()),
        };
        let green = find(&plan.green.group);
        let green_is_ours = |group: &SeenGroup| group.is_of(&cloud.installation, d.id);
        seen.green = group_view(&green, &plan.green.slot, &green_targets, green_is_ours);
        seen.green_slot = slot_view(&green, &plan.green.slot, &green_targets, &named_by);

        let blue = plan.blue.as_ref().map_or(Known::Absent, |blue| find(&blue.group));
        // Until it drains its group's own word will do: what else hangs on blue must not wait for a better one.
        let blue_targets = blue_targets.filter(|targets| targets.is_ok() || d.phase == Phase::Retiring);
        seen.blue = group_view(&blue, &plan.blue_slot, &blue_targets, |_| true);
        seen.blue_slot = slot_view(&blue, &plan.blue_slot, &blue_targets, &named_by);
    }

    /// The groups; then, where it matters what they show, green's targets and its failed launches.
    async fn at_groups(self) -> (Result<BTreeMap<GroupName, Arc<SeenGroup>>, Fault>, SeenTargets, Booting) {
        let green = &self.plan.green;
        let names: Vec<_> = self.plan.blue.iter().map(|blue| &blue.group).chain([&green.group]).collect();
        let groups = self.clients.groups(&names, self.when).await;
        let servers = groups.as_ref().ok().and_then(|groups| groups.get(&green.group)).map(|group| group.servers(None));
        let booting = self.d.phase == Phase::Provisioning;
        let targets = async {
            // Nobody can be healthy yet, and nobody a stranger that matters.
            let nobody = booting && servers.is_none_or(|servers| servers.in_service == 0);
            let wanted = self.recency == Recency::Now && self.watches_green() && !nobody;
            if wanted { Some(groups::targets(self.clients, &green.slot, self.when.deadline).await) } else { None }
        };
        let failures = async {
            if booting && servers.is_some_and(|servers| servers.in_service < servers.desired) {
                // It only makes an end come sooner, so a look that fails costs nothing but time.
                groups::launch_failures(self.clients, &green.group, self.when.deadline).await.unwrap_or_default()
            } else {
                Vec::new()
            }
        };
        let scaling = async {
            // Copied once all servers are up, and once nobody can go back any more: looked at only then.
            let all_up = booting && servers.is_some_and(|servers| servers.in_service >= green.size);
            match &self.plan.blue {
                Some(blue) if !blue.scaling.is_null() && (all_up || self.d.phase == Phase::Retiring) => {
                    let lacking = scaling::lacking(self.clients, blue, &green.group, self.when.deadline).await;
                    lacking.map_or_else(unknown, Known::Seen)
                }
                _ => not_looked_at(),
            }
        };
        let (targets, failures, scaling) = join3(targets, failures, scaling).await;
        (groups, targets, Booting { failures, scaling })
    }

    /// Whether a decision may hang on green's targets, one by one: its health as long as blue is there, on the way back its draining.
    fn watches_green(self) -> bool {
        match self.d.phase {
            Phase::Provisioning
            | Phase::Verifying
            | Phase::Shifting { .. }
            | Phase::Baking { .. }
            | Phase::Committing { .. }
            | Phase::Retiring => true,
            Phase::RollingBack { .. } => self.removes_green(),
            Phase::Pending | Phase::Succeeded | Phase::RolledBack | Phase::Cancelled | Phase::Failed => false,
        }
    }

    /// Whether the traffic was seen to be off green, so that its group goes next. Until then a way back asks for nothing that it shares
    /// with nobody: two hundred at once would stand in line for tokens until each gives its look up, and none would ever be seen.
    fn removes_green(self) -> bool {
        self.d.going_back.as_ref().is_none_or(|back| back.observed_at.is_some())
    }

    /// Blue's targets matter once it drains, and while it may be gone back to by itself: where green is short, or a stage is on its
    /// way. A group whose health is the machine's alone says nothing of what the load balancer finds.
    async fn at_blue_targets(self) -> SeenTargets {
        let short = self.d.seen.short.last.is_some();
        let wanted = match self.d.phase {
            Phase::Retiring => true,
            Phase::Shifting { seen_at: None, .. } | Phase::Baking { seen_at: None, .. } => self.recency == Recency::Now,
            Phase::Shifting { .. } | Phase::Baking { .. } | Phase::Committing { .. } => short && self.recency == Recency::Now,
            _ => false,
        };
        if wanted { Some(groups::targets(self.clients, &self.plan.blue_slot, self.when.deadline).await) } else { None }
    }

    /// The rules of the routes' listeners; and, before a group is removed, those of every listener that could name its slot. A
    /// target group belongs to one load balancer, one that a route is on, so their listeners are all there are.
    async fn at_rules(self) -> (Listeners, NamedBy) {
        let routes: BTreeSet<_> = self.plan.routes.iter().map(|route| route.listener.clone()).collect();
        let of_routes = async {
            let rules = routes.iter().map(|listener| self.clients.rules(&self.cloud.marks, listener, self.when));
            let rules = join_all(rules).await;
            routes.iter().cloned().zip(rules).collect::<Listeners>()
        };
        let others = async {
            match self.d.phase {
                Phase::Retiring => self.at_other_listeners(&routes).await,
                Phase::RollingBack { .. } if self.removes_green() => self.at_other_listeners(&routes).await,
                _ => Ok(Vec::new()),
            }
        };
        let (listeners, others) = join(of_routes, others).await;
        let named_by = others.and_then(|mut all| {
            for rules in listeners.values() {
                all.push(rules.clone()?);
            }
            Ok(all)
        });
        (listeners, named_by)
    }

    /// The rules of the load balancers' listeners that no route is on.
    async fn at_other_listeners(self, routes: &BTreeSet<ListenerRef>) -> NamedBy {
        let region = shape::region(&self.d.declaration);
        let balancers: BTreeSet<_> = self
            .plan
            .routes
            .iter()
            .filter_map(|route| arn::route(&route.route, region).ok())
            .map(|route| route.load_balancer)
            .collect();
        let mut listeners = BTreeSet::new();
        for found in join_all(balancers.iter().map(|balancer| self.clients.listeners(balancer, self.when))).await {
            listeners.extend(found?.iter().cloned());
        }
        let others = listeners.difference(routes).map(|listener| self.clients.rules(&self.cloud.marks, listener, self.when));
        let mut rules = Vec::new();
        for found in join_all(others).await {
            match found {
                // Deleted between the two looks.
                Err(Fault { kind: FaultKind::Missing, .. }) => {}
                found => rules.push(found?),
            }
        }
        Ok(rules)
    }
}

fn not_looked_at<T>() -> Known<T> {
    Known::Unknown("not looked at".to_owned())
}

fn unknown<T>(fault: Fault) -> Known<T> {
    Known::Unknown(fault.to_string())
}

/// Every rule and default action that could name a slot; a fault when some could not be read.
type NamedBy = Result<Vec<Arc<Vec<SeenRule>>>, Fault>;

pub(super) async fn listeners_of(
    clients: &Clients,
    balancer: &LoadBalancerRef,
    deadline: Instant,
) -> Result<Vec<ListenerRef>, Fault> {
    const OPERATION: Operation = Operation::DescribeListeners;
    let mut listeners = Vec::new();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = clients.elb.describe_listeners().load_balancer_arn(balancer.as_str()).set_marker(marker);
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
    let forward = |rule: &SeenRule| match (plan.blue_slot.at(route.position), plan.green.slot.at(route.position)) {
        (Some(blue), Some(green)) => weights::from_wire(&rule.forwards, blue, green),
        (_, _) => Forward::Elsewhere,
    };
    let view = |rule: &SeenRule, deployment| RuleView { rule: rule.rule.clone(), forward: forward(rule), deployment };
    let base = rules.iter().find(|rule| match route.base_number {
        None => rule.number.is_none(),
        Some(_) => rule.rule.as_str() == route.route.as_str(),
    });
    let mut seen = RouteView {
        // A base that was deleted sends nothing anywhere, and the rules above it still have to go.
        base: base.map_or(Forward::Elsewhere, forward),
        overlays: Vec::new(),
        previews: Vec::new(),
        shields: Vec::new(),
        in_the_way: None,
        leftovers: Vec::new(),
        edited: None,
        strays: strays::beside(&cloud.installation, d, plan, route, rules),
    };
    for rule in rules.iter() {
        let Some(number) = rule.number else { continue };
        let mark = rule.mark.as_ref().filter(|mark| mark.installation == cloud.installation && mark.is_for(&route.route));
        let deployment = mark.and_then(|mark| mark.deployment);
        let recorded = d.overlays.get(i) == Some(&rule.rule);
        match mark.and_then(|mark| mark.role) {
            _ if recorded => seen.overlays.push(view(rule, Some(d.id))),
            Some(Role::Overlay) if deployment == Some(d.id) => seen.overlays.push(view(rule, deployment)),
            Some(Role::Preview) if deployment == Some(d.id) => seen.previews.push(view(rule, deployment)),
            Some(Role::Shield) => seen.shields.push(view(rule, deployment)),
            Some(Role::Overlay | Role::Preview | Role::Drill) if deployment.is_some_and(|id| !d.let_go.contains(&id)) => {
                seen.leftovers.push(rule.rule.clone());
            }
            // A drill's, of another route: it is gone in a moment.
            _ if rule.mark.as_ref().is_some_and(|mark| mark.is_passing(&cloud.installation)) => {}
            Some(Role::Overlay | Role::Preview | Role::Drill) | None if number == route.overlay_number => {
                seen.in_the_way = Some(rule.rule.to_string());
            }
            Some(Role::Overlay | Role::Preview | Role::Drill) | None => {}
        }
    }
    let overlay = d.overlays.get(i).and_then(|recorded| rules.iter().find(|rule| &rule.rule == recorded));
    if drift::is_watched(d) {
        seen.edited =
            edits::of_route(route, base.map(|rule| (rule, forward(rule))), overlay.map(|rule| (rule, forward(rule))), rules);
    }
    Known::Seen(seen)
}

/// A group with its slot's word on its servers, where it was asked for: what cannot be had then is not known of the group
/// either.
fn group_view(
    group: &Known<&SeenGroup>,
    slot: &SlotRef,
    targets: &SeenTargets,
    ours: impl Fn(&SeenGroup) -> bool,
) -> Known<GroupView> {
    let group = match group {
        Known::Seen(group) => group,
        Known::Absent => return Known::Absent,
        Known::Unknown(why) => return Known::Unknown(why.clone()),
    };
    let nobody = Targets::default();
    let targets = match targets {
        None => None,
        Some(Ok(targets)) => Some(targets),
        // The slot was removed: nobody in it is healthy.
        Some(Err(Fault { kind: FaultKind::Missing, .. })) => Some(&nobody),
        Some(Err(fault)) => return unknown(fault.clone()),
    };
    Known::Seen(GroupView {
        servers: group.servers(targets),
        min: group.min,
        protected: group.protected,
        deleting: group.deleting,
        attached: Attached::to(slot, &group.target_groups),
        launches: group.launches.clone(),
        ours: ours(group),
    })
}

fn slot_view(group: &Known<&SeenGroup>, slot: &SlotRef, targets: &SeenTargets, rules: &NamedBy) -> Known<SlotView> {
    let targets = match targets {
        None => return not_looked_at(),
        Some(Ok(targets)) => targets,
        Some(Err(Fault { kind: FaultKind::Missing, .. })) => return Known::Absent,
        Some(Err(fault)) => return unknown(fault.clone()),
    };
    let group = match group {
        Known::Seen(group) => Some(*group),
        Known::Absent => None,
        Known::Unknown(why) => return Known::Unknown(why.clone()),
    };
    match rules {
        Ok(listeners) => Known::Seen(SlotView {
            targets: targets.count(),
            strangers: targets.strangers(group),
            named_by: u32::try_from(listeners.iter().flat_map(|rules| rules.iter()).filter(|rule| rule.names(slot)).count())
                .unwrap_or(u32::MAX),
        }),
        Err(fault) => unknown(fault.clone()),
    }
}
