//! Keeps the bundles on the disk too: a replica that is started again while the database is away can still roll back.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    bundles::Bundles,
    local::{KeptBundle, LocalFiles},
};
use crate::domain::{deployment::Deployment, drift, time};

/// At most this often.
const KEEP_EVERY_MIN: Duration = Duration::from_millis(250);
/// What has not changed is written again this often: a restart takes it for as old as the file says.
const CONFIRM_EVERY: Duration = Duration::from_secs(10);
/// A write takes at most this part of the time.
const SHARE: u32 = 20;

/// Keeps them until `stop` is cancelled.
pub async fn keep_bundles(bundles: Arc<Bundles>, files: Arc<dyn LocalFiles>, stop: CancellationToken) {
    let mut kept: Option<Vec<KeptBundle>> = None;
    let mut complained = false;
    let mut pause = KEEP_EVERY_MIN;
    while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        pause = KEEP_EVERY_MIN;
        let now = bundles.to_keep();
        if !is_due(kept.as_deref(), &now) {
            continue;
        }
        let began = Instant::now();
        match files.keep_bundles(now.clone()).await {
            Ok(()) => (kept, complained) = (Some(now), false),
            Err(error) if !complained => {
                complained = true;
                warn!(%error, "running deployments could not be kept on disk: after a restart without the database they cannot be rolled back");
            }
            Err(_) => {}
        }
        pause = pause.max(began.elapsed() * SHARE);
    }
}

/// Whether what is kept would tell a restarted lane anything else than what is remembered now.
fn is_due(kept: Option<&[KeptBundle]>, now: &[KeptBundle]) -> bool {
    let Some(kept) = kept else { return true };
    let newest = |all: &[KeptBundle]| all.iter().map(|bundle| bundle.confirmed_at).max().unwrap_or(Timestamp::MIN);
    let before: HashMap<_, _> = kept.iter().map(|bundle| (bundle.deployment.id, &bundle.deployment)).collect();
    let same =
        |one: &KeptBundle| before.get(&one.deployment.id).is_some_and(|before| same_to_the_lane(before, &one.deployment));
    kept.len() != now.len() || !now.iter().all(same) || time::between(newest(kept), newest(now)) >= CONFIRM_EVERY
}

/// Records of which the lane makes the same. What a look has shown changes all the time.
fn same_to_the_lane(one: &Arc<Deployment>, other: &Arc<Deployment>) -> bool {
    let what = |d: &Deployment| (drift::base_is_off_blue(d), d.seen.weight);
    Arc::ptr_eq(one, other)
        || one.phase == other.phase
            && one.overlays == other.overlays
            && one.intent == other.intent
            && one.going_back == other.going_back
            && one.plan == other.plan
            && what(one) == what(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        phase::Phase,
        sample::{self, at, deployment},
    };

    const BAKING: Phase = Phase::Baking { seen_at: None, commit_now: false };

    fn kept(d: &Deployment, confirmed: i64) -> Vec<KeptBundle> {
        vec![KeptBundle { confirmed_at: at(confirmed), version: 1, deployment: Arc::new(d.clone()) }]
    }

    #[test]
    fn it_is_written_when_the_lane_would_go_by_something_else_and_now_and_then_to_say_that_it_is_fresh() {
        let baking = deployment(1, BAKING);
        let before = kept(&baking, 0);
        assert!(is_due(None, &[]), "a file of an earlier run may still be there");
        assert!(!is_due(Some(&before), &kept(&baking, 9)));
        assert!(is_due(Some(&before), &kept(&baking, 10)));
        assert!(is_due(Some(&before), &[]), "it has ended");
        assert!(is_due(Some(&[]), &before));
        let mut looked_at = baking.clone();
        looked_at.seen.at = Some(at(5));
        assert!(!is_due(Some(&before), &kept(&looked_at, 5)), "another look");
        let mut asked = baking.clone();
        asked.intent.rollback = Some(sample::given());
        for changed in [asked, deployment(1, Phase::Committing { quiet_since: None })] {
            assert!(is_due(Some(&before), &kept(&changed, 1)));
        }
    }
}
