//! What carries this installation's tags in a region, and a close look at one thing before it is removed.
//!
//! Looking around is the least urgent work there is: one call at a time, with a pause between listeners, so that a sweep of
//! many never takes the calls that a deployment needs.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aws_sdk_autoscaling::types::Filter;

use super::{
    AwsCloud, arn,
    budget::Scope,
    client::Clients,
    fault,
    group_changes::BareChanges,
    groups::{self, SeenGroup},
    names::{self, Mark},
    observe,
    operation::Operation,
    rule_changes,
    rules::{self, SeenRule},
};
use crate::{
    domain::{
        declaration::{Declaration, Provider},
        ids::{GroupName, LoadBalancerRef, RouteRef, RuleRef, SlotRef, TargetGroupRef},
        orphan::{Found, GroupLook, Look, RuleLook, Step, Tags, Thing},
    },
    engine::{
        ports::{Fault, FaultKind},
        sweeper::ports::{Place, SweptCloud},
    },
};

/// Groups in one page (AWS's limit), and pages in all.
const PAGE: i32 = 100;
const PAGES_MAX: usize = 100;
/// Between two listeners.
const PAUSE: Duration = Duration::from_millis(100);

impl SweptCloud for AwsCloud {
    fn whereabouts(&self, declaration: &Declaration) -> String {
        let Scope { account, region } = Scope::of(&declaration.provider, &declaration.routes);
        format!("{account} {region}")
    }

    async fn inventory(&self, place: &Place, way: &Provider, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.take_inventory(place, way, deadline).await
    }

    async fn inspect(&self, place: &Place, way: &Provider, found: &Found, slot: &SlotRef, deadline: Instant) -> Look {
        let Provider::Aws { region, .. } = way;
        self.look_closely(&self.at(place, way), region, found, slot, deadline).await
    }

    async fn remove(&self, place: &Place, way: &Provider, thing: &Thing, step: &Step, deadline: Instant) -> Result<(), Fault> {
        self.sweep(&self.at(place, way), thing, step, deadline).await
    }
}

impl AwsCloud {
    fn at(&self, place: &Place, way: &Provider) -> Clients {
        self.regions.of(way, &place.routes).on(self.lane)
    }

    /// All that carries this installation's tags, and what is there of the groups that are looked for by name.
    async fn take_inventory(&self, place: &Place, way: &Provider, deadline: Instant) -> Result<Vec<Found>, Fault> {
        let Provider::Aws { region, .. } = way;
        let clients = self.at(place, way);
        let mut found = self.tagged_groups(&clients, deadline).await?;
        let adopted: BTreeSet<_> = place.adopted.iter().collect();
        for names in adopted.into_iter().collect::<Vec<_>>().chunks(groups::NAMES_MAX) {
            let there = groups::named(&clients, names, deadline).await?;
            let untagged = there.into_iter().filter(|group| self.tags(group.mark.as_ref()).is_none());
            found.extend(untagged.map(|group| Found { thing: Thing::ServerGroup(group.name), tags: None }));
        }
        found.extend(self.tagged_rules(&clients, region, &place.routes, deadline).await?);
        Ok(found)
    }

    async fn tagged_groups(&self, clients: &Clients, deadline: Instant) -> Result<Vec<Found>, Fault> {
        const OPERATION: Operation = Operation::DescribeAutoScalingGroups;
        let ours = Filter::builder().name(format!("tag:{}", names::INSTALLATION)).values(&self.installation).build();
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let call = clients.autoscaling.describe_auto_scaling_groups().filters(ours.clone()).max_records(PAGE);
            let page = clients.look(OPERATION, deadline, call.set_next_token(token).send()).await?;
            for group in page.auto_scaling_groups() {
                let group = SeenGroup::read(group).ok_or_else(|| fault::incomplete(OPERATION, "a group's name or size"))?;
                // A belt: whoever answers without having heard of filters answers with everything.
                if let Some(tags) = self.tags(group.mark.as_ref()) {
                    found.push(Found { thing: Thing::ServerGroup(group.name), tags: Some(tags) });
                }
            }
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(fault::incomplete(OPERATION, "an end: there are more pages than one installation can have"))
    }

    async fn tagged_rules(
        &self,
        clients: &Clients,
        region: &str,
        routes: &[RouteRef],
        deadline: Instant,
    ) -> Result<Vec<Found>, Fault> {
        let balancers: BTreeSet<_> =
            routes.iter().filter_map(|route| arn::route(route, region).ok()).map(|route| route.load_balancer).collect();
        let mut found = Vec::new();
        for balancer in &balancers {
            for listener in there(observe::listeners_of(clients, balancer, deadline).await)?.unwrap_or_default() {
                tokio::time::sleep(PAUSE).await;
                let rules = there(rules::of_listener(clients, &self.marks, &listener, deadline).await)?.unwrap_or_default();
                let tagged = rules.into_iter().filter_map(|rule| Some((self.tags(rule.mark.as_ref())?, rule.rule)));
                found.extend(tagged.map(|(tags, rule)| Found { thing: Thing::Rule(rule), tags: Some(tags) }));
            }
        }
        Ok(found)
    }

    /// One change on an orphan's way out.
    async fn sweep(&self, clients: &Clients, thing: &Thing, step: &Step, deadline: Instant) -> Result<(), Fault> {
        let groups = BareChanges { clients, deadline };
        match (thing, step) {
            (Thing::ServerGroup(group), Step::Detach { from }) => groups.detach(group, from).await,
            (Thing::ServerGroup(group), Step::DeleteGroup) => groups.delete(group).await,
            (Thing::Rule(rule), Step::DeleteRule) => rule_changes::delete(clients, std::slice::from_ref(rule), deadline).await,
            (Thing::ServerGroup(_), Step::DeleteRule) | (Thing::Rule(_), Step::Detach { .. } | Step::DeleteGroup) => {
                Err(fault::rejected(step.name(), format!("this is no step for {thing}")))
            }
        }
    }

    /// Tags as the sweeper knows them; `None` when they are not this installation's.
    fn tags(&self, mark: Option<&Mark>) -> Option<Tags> {
        let mark = mark.filter(|mark| mark.installation == self.installation)?;
        Some(Tags {
            deployment: mark.deployment,
            target: mark.target.clone(),
            role: mark.role,
            route: mark.route.as_ref().map(RouteRef::new),
        })
    }

    /// A fresh look at one thing.
    async fn look_closely(&self, clients: &Clients, region: &str, found: &Found, slot: &SlotRef, deadline: Instant) -> Look {
        let look = match &found.thing {
            Thing::ServerGroup(name) => self.look_at_group(clients, name, found, slot, deadline).await,
            Thing::Rule(rule) => self.look_at_rule(clients, region, rule, found, slot, deadline).await,
        };
        look.unwrap_or_else(|fault| Look::Unknown(fault.to_string()))
    }

    async fn look_at_group(
        &self,
        clients: &Clients,
        name: &GroupName,
        found: &Found,
        slot: &SlotRef,
        deadline: Instant,
    ) -> Result<Look, Fault> {
        let Some(group) = groups::named(clients, &[name], deadline).await?.into_iter().next() else { return Ok(Look::Gone) };
        let mut named_by = 0;
        for attached in &group.target_groups {
            named_by += self.named_by_rules(clients, attached, deadline).await?;
        }
        let mut registered = 0;
        for target_group in group.target_groups.iter().chain(slot.target_groups()).collect::<BTreeSet<_>>() {
            let targets = there(groups::targets_in(clients, target_group, deadline).await)?.unwrap_or_default();
            registered += targets.of(&group);
        }
        let ours = found.tags.is_some() && self.tags(group.mark.as_ref()) == found.tags;
        Ok(Look::Group(GroupLook { ours, deleting: group.deleting, attached: group.target_groups, named_by, registered }))
    }

    async fn look_at_rule(
        &self,
        clients: &Clients,
        region: &str,
        rule: &RuleRef,
        found: &Found,
        serving: &SlotRef,
        deadline: Instant,
    ) -> Result<Look, Fault> {
        let Ok(at) = arn::route(&RouteRef::new(rule.as_str()), region) else {
            return Ok(Look::Unknown("its name is no rule's of this region".to_owned()));
        };
        let Some(rules) = there(rules::of_listener(clients, &self.marks, &at.listener, deadline).await)? else {
            return Ok(Look::Gone);
        };
        let Some(seen) = rules.iter().find(|seen| &seen.rule == rule) else { return Ok(Look::Gone) };
        // Tags that are remembered may have been taken off since: these are asked for now.
        let fresh = rules::ask(clients, std::slice::from_ref(rule), deadline).await?;
        let mark = fresh.get(rule.as_str()).and_then(Option::as_ref);
        let ours = found.tags.is_some() && self.tags(mark) == found.tags;
        let route = found.tags.as_ref().and_then(|tags| tags.route.as_ref());
        let between = rules.iter().filter(|other| {
            let of_ours = other.mark.as_ref().filter(|mark| mark.installation == self.installation);
            other.number > seen.number && of_ours.is_some_and(|mark| route.is_some_and(|route| mark.is_for(route)))
        });
        let base = route.and_then(|route| arn::route(route, region).ok()).filter(|base| base.listener == at.listener);
        let base = base.and_then(|base| match &base.rule {
            None => rules.iter().find(|rule| rule.number.is_none()),
            Some(base) => rules.iter().find(|rule| &rule.rule == base),
        });
        let between = u32::try_from(between.count()).unwrap_or(u32::MAX);
        Ok(Look::Rule(RuleLook { ours, between, base_serves: base.map(|base| forwards_to(base, serving)) }))
    }

    /// Rules and default actions that name a target group, on the load balancer that it belongs to: all there can be.
    async fn named_by_rules(&self, clients: &Clients, target_group: &TargetGroupRef, deadline: Instant) -> Result<u32, Fault> {
        const OPERATION: Operation = Operation::DescribeTargetGroups;
        let call = clients.elb.describe_target_groups().target_group_arns(target_group.as_str());
        let Some(answer) = there(clients.look(OPERATION, deadline, call.send()).await)? else { return Ok(0) };
        let described = answer.target_groups().first().ok_or_else(|| fault::incomplete(OPERATION, "the target group"))?;
        let mut named_by = 0;
        // moto names one as often as rules do.
        for balancer in described.load_balancer_arns().iter().map(LoadBalancerRef::new).collect::<BTreeSet<_>>() {
            for listener in there(observe::listeners_of(clients, &balancer, deadline).await)?.unwrap_or_default() {
                let rules = there(rules::of_listener(clients, &self.marks, &listener, deadline).await)?.unwrap_or_default();
                named_by += rules.iter().filter(|rule| rule.forwards.iter().any(|(to, _)| to == target_group)).count();
            }
        }
        Ok(u32::try_from(named_by).unwrap_or(u32::MAX))
    }
}

/// To `slot`, and to nothing else.
fn forwards_to(rule: &SeenRule, slot: &SlotRef) -> bool {
    let mut weighty = rule.forwards.iter().filter(|(_, weight)| *weight > 0).peekable();
    weighty.peek().is_some() && weighty.all(|(to, _)| slot.position(to).is_some())
}

/// What is not there is `None`: a load balancer or a listener that was deleted since has no rules.
fn there<T>(answer: Result<T, Fault>) -> Result<Option<T>, Fault> {
    match answer {
        Err(Fault { kind: FaultKind::Missing, .. }) => Ok(None),
        answer => answer.map(Some),
    }
}
