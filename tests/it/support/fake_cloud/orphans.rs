//! What the sweeper sees of the cloud in memory, and what stories leave lying about in it.

use std::time::Instant;

use cutover::{
    domain::{
        declaration::{Declaration, Provider},
        ids::{DeploymentId, GroupName, RouteRef, RuleRef, SlotRef},
        orphan::{Found, GroupLook, Look, RuleLook, Step, Tags, Thing},
        survey::Role,
        weight::Weight,
    },
    engine::{
        ports::{Fault, FaultKind},
        sweeper::ports::{Place, SweptCloud},
    },
};
use serde_json::Value;

use super::{FakeCloud, Group, Rule, World, fault};

/// What sweepers may do, and did.
#[derive(Debug, Default)]
pub struct Sweeps {
    /// How many routes each inventory was asked to look along.
    pub inventories: Vec<usize>,
    /// By whom things may not be listed.
    pub may_not_list: Vec<Provider>,
    /// By whom each change was made.
    pub by: Vec<Provider>,
}

/// What somebody else does right after the next close look.
#[derive(Default)]
pub struct Meanwhile(pub Option<Box<dyn FnOnce() + Send>>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Meanwhile").field(&self.0.is_some()).finish()
    }
}

impl World {
    /// A group of two servers that nobody made: in `slot`, with the tags of `deployment`.
    pub fn leave_group(&mut self, name: &GroupName, slot: &SlotRef, deployment: Option<DeploymentId>) {
        let (size, healthy, slot) = (2, 2, slot.clone());
        let group = Group { slot, attached: true, size, healthy, min: 1, protected: true, deployment };
        self.groups.insert(name.clone(), group);
    }

    /// A rule over a route's base that forwards to `to`, with the tags of `deployment`.
    pub fn leave_rule(&mut self, route: &RouteRef, role: Role, deployment: DeploymentId, to: &SlotRef) -> RuleRef {
        self.next_rule += 1;
        let number = if role == Role::Overlay { 50 } else { 49 };
        let (green, weight, form) = (to.clone(), Weight::ALL, Value::Null);
        let rule = Rule { route: route.clone(), role, deployment, number, green, weight, form };
        let name = RuleRef::new(format!("rule-{}", self.next_rule));
        self.rules.insert(name.clone(), rule);
        name
    }

    /// Somebody points a route's base at another slot by hand.
    pub fn point_base(&mut self, route: &RouteRef, to: &SlotRef) {
        self.bases.insert(route.clone(), to.clone());
    }

    pub fn rule_names(&self) -> Vec<RuleRef> {
        self.rules.keys().cloned().collect()
    }

    fn found(&self, place: &Place) -> Vec<Found> {
        let group = |(name, group): (&GroupName, &Group)| {
            let thing = Thing::ServerGroup(name.clone());
            match group.deployment {
                Some(id) => Some(Found { thing, tags: Some(Tags { deployment: Some(id), ..Tags::default() }) }),
                None => place.adopted.contains(name).then_some(Found { thing, tags: None }),
            }
        };
        let rule = |(name, rule): (&RuleRef, &Rule)| {
            let (deployment, role, route) = (Some(rule.deployment), Some(rule.role), Some(rule.route.clone()));
            Found { thing: Thing::Rule(name.clone()), tags: Some(Tags { deployment, target: None, role, route }) }
        };
        self.groups.iter().filter_map(group).chain(self.rules.iter().map(rule)).collect()
    }

    fn inspect(&self, found: &Found, serving: &SlotRef) -> Look {
        let tagged = found.tags.as_ref().and_then(|tags| tags.deployment);
        match &found.thing {
            Thing::ServerGroup(name) => {
                let Some(group) = self.groups.get(name) else { return Look::Gone };
                let names = |rule: &&Rule| rule.green == group.slot || self.bases.get(&rule.route) == Some(&group.slot);
                let bases = self.bases.values().filter(|base| group.attached && **base == group.slot).count();
                let rules = self.rules.values().filter(|_| group.attached).filter(names).count();
                Look::Group(GroupLook {
                    ours: group.deployment.is_some() && group.deployment == tagged,
                    deleting: false,
                    attached: if group.attached { group.slot.target_groups().to_vec() } else { Vec::new() },
                    named_by: u32::try_from(bases + rules).unwrap(),
                    registered: if group.attached { group.size } else { 0 },
                })
            }
            Thing::Rule(name) => {
                let Some(rule) = self.rules.get(name) else { return Look::Gone };
                let between = self.rules.values().filter(|other| other.route == rule.route && other.number > rule.number);
                Look::Rule(RuleLook {
                    ours: Some(rule.deployment) == tagged,
                    between: u32::try_from(between.count()).unwrap(),
                    base_serves: self.bases.get(&rule.route).map(|base| base == serving),
                })
            }
        }
    }
}

impl SweptCloud for FakeCloud {
    /// One account of everybody's.
    fn whereabouts(&self, declaration: &Declaration) -> String {
        let Provider::Aws { region, .. } = &declaration.provider;
        region.clone()
    }

    async fn inventory(&self, place: &Place, way: &Provider, _deadline: Instant) -> Result<Vec<Found>, Fault> {
        let mut world = self.world();
        world.sweeps.inventories.push(place.routes.len());
        if world.sweeps.may_not_list.contains(way) {
            return Err(fault(FaultKind::Denied));
        }
        if world.blind { Err(fault(FaultKind::Throttled)) } else { Ok(world.found(place)) }
    }

    async fn inspect(&self, _place: &Place, _way: &Provider, found: &Found, slot: &SlotRef, _deadline: Instant) -> Look {
        let look = self.world().inspect(found, slot);
        let meanwhile = self.world().meanwhile.0.take();
        if let Some(act) = meanwhile {
            act();
        }
        look
    }

    async fn remove(
        &self,
        _place: &Place,
        way: &Provider,
        thing: &Thing,
        step: &Step,
        _deadline: Instant,
    ) -> Result<(), Fault> {
        let mut world = self.world();
        world.sweeps.by.push(way.clone());
        if let Some(kind) = world.refuse {
            return Err(fault(kind));
        }
        world.changes.push(format!("sweep {} {}", step.name(), thing.name()));
        match (thing, step) {
            (Thing::ServerGroup(name), Step::Detach { .. }) => {
                world.groups.get_mut(name).expect("it was just seen").attached = false;
            }
            (Thing::ServerGroup(name), _) => drop(world.groups.remove(name)),
            (Thing::Rule(name), _) => drop(world.rules.remove(name)),
        }
        Ok(())
    }
}
