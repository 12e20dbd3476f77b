//! The load balancers: real ports, real requests, and rules that reach the nodes when they do.
//!
//! The control plane says what is wanted; this follows its snapshots. Targets and their health count at once. Rules do not:
//! every node obeys a change after a delay of its own, which is what makes *accepted* and *observed* two different times.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    model::{Name, Region, Shared},
    options::Options,
};

mod answer;
pub mod figures;
mod listener;
mod node;
mod rules;
mod slots;
mod wildcard;

use figures::Figures;
use listener::Frontend;
pub use node::STICKY_COOKIE;
use rules::Table;
pub use rules::{forwarded, named_groups};
use slots::Slots;

/// The running data plane of a region.
#[derive(Debug, Clone)]
pub struct Traffic {
    slots: Arc<Slots>,
    frontends: Arc<Mutex<BTreeMap<Name, Frontend>>>,
    /// The region's version that was last looked at.
    seen: Arc<AtomicU64>,
}

impl Traffic {
    /// Opens a port for each listener there is and will be, writes its address into the region, and serves it until `stop`.
    #[must_use]
    pub fn start(shared: Shared, options: &Options, stop: CancellationToken) -> Self {
        let traffic = Self { slots: Arc::default(), frontends: Arc::default(), seen: Arc::default() };
        let delay_max = options.scaled(options.clocks.propagation_max);
        let (following, seed) = (traffic.clone(), options.seed);
        tokio::spawn(async move {
            tokio::select! {
                () = following.follow(&shared, delay_max, seed) => {}
                () = stop.cancelled() => {}
            }
            following.frontends.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        traffic
    }

    /// Requests, errors and latencies of each slot, and how far each listener's nodes are.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let frontends = self.frontends.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            version: self.seen.load(Ordering::Acquire),
            slots: self.slots.figures(),
            listeners: frontends.iter().map(|(name, frontend)| frontend.figures(name)).collect(),
        }
    }

    async fn follow(&self, shared: &Shared, delay_max: Duration, seed: u64) {
        let mut regions = shared.subscribe();
        let mut followed: Option<Arc<Region>> = None;
        loop {
            let region = regions.borrow_and_update().clone();
            let same = |table: fn(&Region, &Region) -> bool| followed.as_ref().is_some_and(|before| table(before, &region));
            // Targets first: a rule must not lead to a slot whose targets are not known yet.
            if !same(|one, other| one.target_groups.same(&other.target_groups) && one.instances.same(&other.instances)) {
                self.slots.follow(&region);
            }
            let mut missing = Vec::new();
            if !same(|one, other| one.rules.same(&other.rules) && one.listeners.same(&other.listeners)) {
                missing = self.follow_rules(&region, delay_max);
            }
            for name in &missing {
                self.open(shared, &region, name, seed);
            }
            self.seen.store(region.version, Ordering::Release);
            // A port that could not be opened is tried again with the next change, whatever it is.
            let open = missing.iter().all(|name| self.is_open(name));
            followed = Some(region).filter(|_| open);
            if regions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Hands new rules to the open listeners, closes those that are gone, and says which are to be opened.
    fn follow_rules(&self, region: &Region, delay_max: Duration) -> Vec<Name> {
        let now = Instant::now();
        let mut frontends = self.frontends.lock().unwrap_or_else(PoisonError::into_inner);
        frontends.retain(|name, _| region.listeners.contains_key(name));
        let mut tables = Table::all(region);
        for (name, frontend) in frontends.iter_mut() {
            if let Some(table) = tables.remove(name) {
                frontend.follow(table, now, delay_max);
            }
        }
        region.listeners.keys().filter(|name| !frontends.contains_key(*name)).cloned().collect()
    }

    fn is_open(&self, name: &Name) -> bool {
        self.frontends.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    fn open(&self, shared: &Shared, region: &Region, name: &Name, seed: u64) {
        let Some(listener) = region.listeners.get(name) else { return };
        match Frontend::open(name, Table::of(region, listener), self.slots.clone(), seed) {
            Ok(frontend) => {
                let address = frontend.address();
                self.frontends.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), frontend);
                shared.change(|region| {
                    if let Some(listener) = region.listeners.get_mut(name) {
                        listener.address = Some(address);
                    }
                });
            }
            Err(error) => {
                tracing::warn!(listener = %name, %error, "a listener's port could not be opened; the next change tries again")
            }
        }
    }
}
