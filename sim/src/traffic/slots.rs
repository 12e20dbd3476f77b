//! The targets behind each target group, kept up to date from snapshots: registration and health show at once, only rules
//! take time to reach the nodes.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use axum_reverse_proxy::{HostBehaviour, ProxyPolicy, ReverseProxy};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::figures::{Counters, SlotFigures};
use crate::model::{Name, Region, TargetGroup, TargetState};

/// How long a connection to a target is kept for the next request: well below what servers keep theirs for, or a request
/// would meet a connection that is just being closed.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// Idle connections kept for each target.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// AWS's limit for connecting to a target.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// AWS's idle timeout: how long a target may take until its first byte, before the user gets a 504.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// All slots of the region.
#[derive(Debug)]
pub struct Slots {
    connector: Upstream,
    slots: RwLock<BTreeMap<Name, Arc<Slot>>>,
}

/// One target group as the nodes see it.
#[derive(Debug)]
pub struct Slot {
    pub counters: Arc<Counters>,
    turn: AtomicUsize,
    eligible: Mutex<Arc<[Arc<Target>]>>,
}

/// A server that requests can be sent to.
pub struct Target {
    address: SocketAddr,
    pub proxy: ReverseProxy<HttpConnector>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Target({})", self.address)
    }
}

/// What every target shares: one client, with a pool of kept connections for each address.
#[derive(Debug)]
struct Upstream {
    client: Client<HttpConnector, Body>,
}

impl Default for Slots {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { connector: Upstream { client }, slots: RwLock::default() }
    }
}

impl Upstream {
    fn target(&self, address: SocketAddr) -> Target {
        let policy = ProxyPolicy::new().with_host_behaviour(HostBehaviour::Preserve).with_upstream_timeout(ANSWER_TIMEOUT);
        let proxy = ReverseProxy::new_with_client("", format!("http://{address}"), self.client.clone()).with_policy(policy);
        Target { address, proxy }
    }
}

impl Slots {
    /// Takes over the targets of a snapshot.
    pub fn follow(&self, region: &Region) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|name, _| region.target_groups.contains_key(name));
        for (name, group) in &region.target_groups {
            let slot = slots.entry(name.clone()).or_insert_with(|| Arc::new(Slot::default()));
            slot.follow(&addresses(region, group), &self.connector);
        }
    }

    /// The slot of this target group, unless it is gone.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All slots' figures.
    #[must_use]
    pub fn figures(&self) -> Vec<SlotFigures> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|(name, slot)| slot.counters.read(name)).collect()
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self { counters: Arc::default(), turn: AtomicUsize::new(0), eligible: Mutex::new(Arc::new([])) }
    }
}

impl Slot {
    /// The next target in turn; none when the slot is empty.
    #[must_use]
    pub fn next(&self) -> Option<Arc<Target>> {
        let eligible = self.eligible.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        eligible.get(turn.checked_rem(eligible.len())?).cloned()
    }

    fn follow(&self, addresses: &[SocketAddr], upstream: &Upstream) {
        let mut eligible = self.eligible.lock().unwrap_or_else(PoisonError::into_inner);
        if eligible.iter().map(|target| target.address).eq(addresses.iter().copied()) {
            return;
        }
        let known = |address| eligible.iter().find(|target| target.address == address).cloned();
        let targets = addresses.iter().map(|&address| known(address).unwrap_or_else(|| Arc::new(upstream.target(address))));
        *eligible = targets.collect();
    }
}

/// Where requests to this group may go: its healthy targets. With none healthy the group *fails open* and all targets get
/// requests, whatever their state; draining ones never do.
fn addresses(region: &Region, group: &TargetGroup) -> Vec<SocketAddr> {
    let in_state = |wanted: &dyn Fn(TargetState) -> bool| -> Vec<SocketAddr> {
        let targets = group.targets.values().filter(|target| wanted(target.state));
        targets.filter_map(|target| region.instances.get(&target.instance)?.address).collect()
    };
    let healthy = in_state(&|state| state == TargetState::Healthy);
    if healthy.is_empty() { in_state(&|state| state != TargetState::Draining) } else { healthy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene;

    fn region(states: &[TargetState]) -> Region {
        let mut region = Region::default();
        region.target_groups.insert("tg".to_owned(), scene::target_group("tg"));
        for (port, &state) in (1_u16..).zip(states) {
            let instance = scene::instance(&format!("i-{port}"), ([127, 0, 0, 1], port).into());
            scene::register(&mut region, "tg", instance, state);
        }
        region
    }

    fn ports(states: &[TargetState]) -> Vec<u16> {
        let region = region(states);
        addresses(&region, &region.target_groups["tg"]).iter().map(SocketAddr::port).collect()
    }

    #[test]
    fn healthy_targets_serve_alone_and_without_one_the_group_fails_open() {
        use TargetState::{Draining, Healthy, Initial, Unhealthy, Unused};
        assert_eq!(ports(&[Healthy, Unhealthy, Initial, Healthy, Draining]), [1, 4]);
        assert_eq!(ports(&[Unhealthy, Initial, Unused, Draining]), [1, 2, 3], "fails open");
        assert_eq!(ports(&[Draining, Draining]), [] as [u16; 0]);
    }

    #[tokio::test]
    async fn targets_are_taken_in_turn_and_an_empty_slot_has_none() {
        let slots = Slots::default();
        slots.follow(&region(&[TargetState::Healthy, TargetState::Healthy]));
        let slot = slots.get("tg").unwrap();
        let taken: Vec<u16> = (0..4).map(|_| slot.next().unwrap().address.port()).collect();
        assert_eq!(taken, [1, 2, 1, 2]);
        slots.follow(&region(&[TargetState::Draining]));
        assert!(slot.next().is_none());
    }
}
