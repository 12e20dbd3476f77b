//! Counts the replicas that are alive, because what one may ask of the provider hangs on how many ask.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ports::Store;
use crate::domain::ids::HolderId;

/// How often a replica says that it is alive.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// One that was not seen for so long does not count: three beats.
const ALIVE_FOR: Duration = Duration::from_secs(15);

/// Says that `holder` is alive and gives `tell` the number of those that are, this one included, whenever it changes; until
/// `stop` is cancelled. While the database is away the last number stays.
pub async fn keep_count<S: Store>(store: Arc<S>, holder: HolderId, tell: impl Fn(u32) + Send, stop: CancellationToken) {
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut known, mut complained) = (None, false);
    loop {
        let beat = async {
            beats.tick().await;
            store.heartbeat(&holder, ALIVE_FOR).await
        };
        match stop.run_until_cancelled(beat).await {
            None => return,
            Some(Ok(alive)) => {
                complained = false;
                if known.replace(alive) != Some(alive) {
                    info!(alive, "replicas that share the provider's request budget");
                    tell(alive);
                }
            }
            Some(Err(error)) if !complained => {
                complained = true;
                warn!(%error, "the replicas could not be counted; their last number stays");
            }
            Some(Err(_)) => {}
        }
    }
}
