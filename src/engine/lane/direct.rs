//! The lane in the hands of a person, with nothing else running: look, send, look until it is seen.
//!
//! It is this lane and no second one: the same calls, route by route, tried again and hedged as ever. There is no record to raise
//! an intent in; the shields are the order, and whichever service comes back takes them for one.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{sync::Semaphore, time::sleep};

use super::{
    Lane,
    work::{Under, Work},
};
use crate::{
    domain::{
        action::Action,
        deployment::Deployment,
        lane::{self, ByPerson, Orders},
    },
    engine::{
        api::RouteOutcome,
        bundles::Bundles,
        journal::Journal,
        local::{KeptBundle, KeptTokens, Line, LocalFiles},
        ports::{Cloud, Recency},
        settings::EngineSettings,
    },
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Nothing is written down.
#[derive(Debug)]
struct Nowhere;

impl LocalFiles for Nowhere {
    fn keep_bundles(&self, _: Vec<KeptBundle>) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn keep_tokens(&self, _: KeptTokens) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn append(&self, _: Line) -> BoxFuture<'_, io::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

/// One thing that was asked of every route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub action: Action,
    /// On every route.
    pub accepted: bool,
    pub routes: Vec<RouteOutcome>,
}

impl<C: Cloud> Lane<(), C> {
    /// Without records, and with no memory of its own.
    #[must_use]
    pub fn by_itself(cloud: Arc<C>, settings: EngineSettings) -> Self {
        let journal = Arc::new(Journal::new(Arc::new(Nowhere), Vec::new()));
        let (bundles, commits) = (Arc::<Bundles>::default(), Arc::new(Semaphore::new(1)));
        Self { store: Arc::default(), cloud, bundles, journal, settings, under: Under::default(), commits }
    }

    /// What may be done now; looked at again until it could be seen, or `until`.
    pub async fn judge(&self, d: &Deployment, until: Instant) -> ByPerson {
        loop {
            let deadline = until.min(Instant::now() + self.settings.look_timeout);
            let look = self.cloud.observe(d, Recency::Now, deadline).await;
            match lane::by_person(d, &look, &self.timing()) {
                ByPerson::Unseen(_) if Instant::now() + LOOK_EVERY < until => sleep(LOOK_EVERY).await,
                judged => return judged,
            }
        }
    }

    /// Sends it: the shields, and once those are accepted on every route what follows. Nothing later than `until`.
    pub async fn send_directly(&self, d: &Deployment, orders: Orders, until: Instant) -> Vec<Sent> {
        let until = until.min(Instant::now() + orders.within);
        let mut sent = Vec::new();
        for action in [orders.shields].into_iter().chain(orders.overlays) {
            let mut work = Work::new(d.clone(), [action.clone()], None, until);
            let accepted = self.send(&mut work, until).await;
            sent.push(Sent { action, accepted, routes: work.outcomes() });
            if !accepted {
                break;
            }
        }
        sent
    }

    /// Whether every route was seen to send all its traffic to blue, by `until`.
    pub async fn is_seen_back(&self, d: &Deployment, until: Instant) -> bool {
        while Instant::now() < until {
            if self.judge(d, until).await == ByPerson::Back {
                return true;
            }
            sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
        }
        false
    }
}
