//! What a person wants to know before a deployment, beside what a plan hangs on: load balancers with all their rules, and the
//! account's quotas. Each look fails alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use aws_sdk_elasticloadbalancingv2::types::LoadBalancerTypeEnum;
use futures::future::{join, join_all, join4};

use super::{
    AwsCloud, arn,
    client::Clients,
    fault,
    looks::When,
    observe::listeners_of,
    operation::Operation,
    rules::{PAGES_MAX, SeenRule},
    shape, survey,
};
use crate::{
    domain::{
        declaration::Declaration,
        ids::{ListenerRef, LoadBalancerRef},
        inspection::{Balancer, BalancerSurvey, Groups, Inspection, Quotas, Rules, Unseen},
        plan::Inputs,
    },
    engine::ports::{Fault, FaultKind, Recency},
};

impl AwsCloud {
    pub(super) async fn look_at_all(&self, inputs: Inputs<'_>, deadline: Instant) -> Inspection {
        let declaration = inputs.declaration;
        let region = shape::region(declaration);
        let clients = self.clients(declaration);
        let routes = declaration.routes.iter().filter_map(|route| arn::route(route, region).ok());
        // Of a declaration with faults of form nothing is looked at.
        let routes: Vec<_> = if shape::faults(declaration).is_empty() { routes.collect() } else { Vec::new() };
        let mut on_routes: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for route in routes {
            on_routes.entry(route.load_balancer).or_default().insert(route.listener);
        }
        let balancers =
            on_routes.iter().map(|(balancer, listeners)| self.balancer(&clients, declaration, balancer, listeners, deadline));
        let (sight, load_balancers, quotas, groups) = join4(
            self.look_around(inputs, None, deadline),
            join_all(balancers),
            quotas(&clients, deadline),
            groups(&clients, deadline),
        )
        .await;
        let mut survey = sight.survey;
        for rules in load_balancers.iter().filter_map(|balancer| balancer.rules.as_ref().ok()) {
            survey.namings.extend(rules.namings.iter().cloned());
        }
        Inspection {
            survey,
            unseen: sight.unseen.into_iter().map(|(part, fault)| (part, unseen(fault))).collect(),
            load_balancers,
            quotas: quotas.map_err(unseen),
            groups: groups.map_err(unseen),
        }
    }

    async fn balancer(
        &self,
        clients: &Clients,
        declaration: &Declaration,
        balancer: &LoadBalancerRef,
        on_routes: &BTreeSet<ListenerRef>,
        deadline: Instant,
    ) -> BalancerSurvey {
        let (seen, rules) = join(kind(clients, balancer, deadline), self.rules_of(clients, balancer, deadline)).await;
        let rules = rules.map(|listeners| {
            let all = listeners.iter().flat_map(|(_, rules)| rules.iter());
            let count = all.clone().filter(|rule| rule.number.is_some()).count();
            let others = listeners.iter().filter(|(listener, _)| !on_routes.contains(listener));
            Rules {
                count: u32::try_from(count).unwrap_or(u32::MAX),
                target_groups: all.flat_map(|rule| &rule.forwards).map(|(to, _)| to.clone()).collect(),
                namings: others.flat_map(|(listener, rules)| survey::namings(declaration, listener, rules)).collect(),
            }
        });
        BalancerSurvey { load_balancer: balancer.clone(), seen: seen.map_err(unseen), rules: rules.map_err(unseen) }
    }

    /// The rules of all of a load balancer's listeners.
    async fn rules_of(
        &self,
        clients: &Clients,
        balancer: &LoadBalancerRef,
        deadline: Instant,
    ) -> Result<Vec<(ListenerRef, Arc<Vec<SeenRule>>)>, Fault> {
        let when = When::new(Recency::Now, deadline);
        let listeners = listeners_of(clients, balancer, deadline).await?;
        let looks = join_all(listeners.iter().map(|listener| clients.rules(&self.marks, listener, when))).await;
        let mut all = Vec::with_capacity(listeners.len());
        for (listener, rules) in listeners.into_iter().zip(looks) {
            match rules {
                // Deleted between the two looks.
                Err(Fault { kind: FaultKind::Missing, .. }) => {}
                rules => all.push((listener, rules?)),
            }
        }
        Ok(all)
    }
}

fn unseen(fault: Fault) -> Unseen {
    Unseen { denied: fault.kind == FaultKind::Denied, why: fault.to_string() }
}

async fn kind(clients: &Clients, balancer: &LoadBalancerRef, deadline: Instant) -> Result<Balancer, Fault> {
    const OPERATION: Operation = Operation::DescribeLoadBalancers;
    let call = clients.elb.describe_load_balancers().load_balancer_arns(balancer.as_str());
    let answer = clients.look(OPERATION, deadline, call.send()).await?;
    let seen = answer.load_balancers().first().ok_or_else(|| fault::incomplete(OPERATION, "the load balancer"))?;
    let kind = seen.r#type().ok_or_else(|| fault::incomplete(OPERATION, "its type"))?;
    Ok(Balancer {
        takes_rules: kind == &LoadBalancerTypeEnum::Application,
        kind: kind.as_str().to_owned(),
        host: seen.dns_name().unwrap_or_default().to_owned(),
    })
}

async fn quotas(clients: &Clients, deadline: Instant) -> Result<Quotas, Fault> {
    const OPERATION: Operation = Operation::DescribeAccountLimits;
    let mut quotas = Quotas::default();
    let mut marker = None;
    for _ in 0..PAGES_MAX {
        let call = clients.elb.describe_account_limits().set_marker(marker);
        let page = clients.look(OPERATION, deadline, call.send()).await?;
        for limit in page.limits() {
            let max = limit.max().and_then(|max| max.parse().ok());
            match limit.name() {
                Some("rules-per-application-load-balancer") => quotas.rules_per_load_balancer = max,
                Some("target-groups-per-action-on-application-load-balancer") => quotas.target_groups_per_action = max,
                Some("target-groups-per-application-load-balancer") => quotas.target_groups_per_load_balancer = max,
                Some(_) | None => {}
            }
        }
        marker = page.next_marker;
        if marker.is_none() {
            return Ok(quotas);
        }
    }
    Err(fault::incomplete(OPERATION, "an end: there are more pages than quotas"))
}

async fn groups(clients: &Clients, deadline: Instant) -> Result<Groups, Fault> {
    const OPERATION: Operation = Operation::DescribeAutoScalingAccountLimits;
    let answer = clients.look(OPERATION, deadline, clients.autoscaling.describe_account_limits().send()).await?;
    let count = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok());
    let (there, at_most) = (count(answer.number_of_auto_scaling_groups()), count(answer.max_number_of_auto_scaling_groups()));
    let both = there.zip(at_most).ok_or_else(|| fault::incomplete(OPERATION, "the number of groups, or their limit"))?;
    Ok(Groups { there: both.0, at_most: both.1 })
}
