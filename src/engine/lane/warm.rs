//! Keeps the lane's connections open when nobody rolls back.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Lane;
use crate::engine::ports::{Cloud, LaneStore};

/// Often enough that none is closed for being idle.
const WARM_EVERY: Duration = Duration::from_secs(30);
/// Providers kept warm at a time.
const WARM_MAX: usize = 100;

/// Wherever something runs that may have to go back, until `stop` is cancelled.
pub async fn keep_warm<L: LaneStore, C: Cloud>(lane: Arc<Lane<L, C>>, stop: CancellationToken) {
    let mut turns = tokio::time::interval(WARM_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = turns.tick() => {}
        }
        let running = lane.bundles.one_of_each_provider(WARM_MAX);
        futures::future::join_all(running.iter().map(|d| lane.cloud.warm(d))).await;
    }
}
