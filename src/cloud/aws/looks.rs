//! Looks that deployments share: server groups by name, up to a hundred in one call, rules by listener, listeners by load balancer.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;

use super::{
    client::Clients,
    gather::Gather,
    groups::{self, NAMES_MAX, SeenGroup},
    observe,
    operation::Operation,
    rules::{self, Marks, SeenRule},
};
use crate::{
    domain::ids::{GroupName, ListenerRef, LoadBalancerRef},
    engine::ports::{Fault, Recency},
};

/// The answers of one account and region.
#[derive(Debug)]
pub(super) struct Looks {
    groups: Gather<GroupName, Arc<SeenGroup>>,
    rules: Gather<ListenerRef, Arc<Vec<SeenRule>>>,
    listeners: Gather<LoadBalancerRef, Arc<Vec<ListenerRef>>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            groups: Gather::new(Operation::DescribeAutoScalingGroups, NAMES_MAX),
            // One listener's rules are one call (and their tags, once).
            rules: Gather::new(Operation::DescribeRules, 1),
            listeners: Gather::new(Operation::DescribeListeners, 1),
        }
    }
}

/// By when a look has to be done, and how old its answers may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    since: Instant,
    pub(super) deadline: Instant,
}

impl When {
    pub(super) fn new(recency: Recency, deadline: Instant) -> Self {
        let now = Instant::now();
        let age = match recency {
            Recency::Now => Duration::ZERO,
            Recency::Within(age) => age,
        };
        Self { since: now.checked_sub(age).unwrap_or(now), deadline }
    }
}

impl Clients {
    /// Those of the named groups that are there.
    pub(super) async fn groups(&self, names: &[&GroupName], when: When) -> Result<BTreeMap<GroupName, Arc<SeenGroup>>, Fault> {
        let names: Vec<_> = names.iter().map(|name| (*name).clone()).collect();
        let clients = self.clone();
        let fetch = move |names: Vec<GroupName>| {
            let clients = clients.clone();
            async move {
                let deadline = clients.latest_answer();
                let groups = groups::named(&clients, &names.iter().collect::<Vec<_>>(), deadline).await?;
                Ok(groups.into_iter().map(|group| (group.name.clone(), Arc::new(group))).collect())
            }
            .boxed()
        };
        self.looks().groups.get(&names, when.since, when.deadline, fetch).await
    }

    /// A listener's rules with whose they are, by number, the default rule last.
    pub(super) async fn rules(
        &self,
        marks: &Arc<Marks>,
        listener: &ListenerRef,
        when: When,
    ) -> Result<Arc<Vec<SeenRule>>, Fault> {
        let (clients, marks) = (self.clone(), Arc::clone(marks));
        let fetch = move |listeners: Vec<ListenerRef>| {
            let (clients, marks) = (clients.clone(), Arc::clone(&marks));
            async move {
                let mut seen = BTreeMap::new();
                for listener in listeners {
                    let rules = rules::of_listener(&clients, &marks, &listener, clients.latest_answer()).await?;
                    seen.insert(listener, Arc::new(rules));
                }
                Ok(seen)
            }
            .boxed()
        };
        let mut seen = self.looks().rules.get(std::slice::from_ref(listener), when.since, when.deadline, fetch).await?;
        Ok(seen.remove(listener).unwrap_or_default())
    }

    /// A load balancer's listeners.
    pub(super) async fn listeners(&self, balancer: &LoadBalancerRef, when: When) -> Result<Arc<Vec<ListenerRef>>, Fault> {
        let clients = self.clone();
        let fetch = move |balancers: Vec<LoadBalancerRef>| {
            let clients = clients.clone();
            async move {
                let mut seen = BTreeMap::new();
                for balancer in balancers {
                    let listeners = observe::listeners_of(&clients, &balancer, clients.latest_answer()).await?;
                    seen.insert(balancer, Arc::new(listeners));
                }
                Ok(seen)
            }
            .boxed()
        };
        let mut seen = self.looks().listeners.get(std::slice::from_ref(balancer), when.since, when.deadline, fetch).await?;
        Ok(seen.remove(balancer).unwrap_or_default())
    }
}
