//! The preview: while `verifying` lasts, requests with a declared header reach green before any user does.
//!
//! Its rule borrows the shield's number, so it has to be gone, and seen gone, before the first weight. It decides nothing about
//! traffic: whatever lands late sends to green only who asks for it by name, and is removed on sight.

use jiff::Timestamp;

use super::{
    deployment::Deployment,
    time::{self, BakeTime},
};

/// Whether the preview is to be open now: until its time is over or somebody promotes, and as long as it is paused.
#[must_use]
pub fn is_wanted(d: &Deployment, now: Timestamp) -> bool {
    let Some(preview) = d.plan.as_ref().and_then(|plan| plan.preview.as_ref()) else { return false };
    if d.open_order().is_some() {
        return false;
    }
    match preview.bake_time {
        BakeTime::Manual => true,
        BakeTime::For(_) => d.intent.is_paused() || ends(d).is_some_and(|ends| now < ends),
    }
}

/// When it ends by itself; pauses that are over are added. `None` without a preview, or with one that ends by hand.
#[must_use]
pub fn ends(d: &Deployment) -> Option<Timestamp> {
    let preview = d.plan.as_ref()?.preview.as_ref()?;
    let paused = std::time::Duration::from_millis(d.intent.paused_ms.saturating_sub(d.paused_before_ms));
    preview.bake_time.ends(time::after(d.phase_since, paused))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{
        command::{self, Command, Outcome, PromoteTo},
        declaration::Preview,
        phase::Phase,
        sample::{at, deployment, given},
    };

    fn verifying(bake_time: BakeTime) -> Deployment {
        let mut d = deployment(1, Phase::Verifying);
        let preview = Preview { header: "X-Preview".to_owned(), value: "green".to_owned(), bake_time };
        d.plan.as_mut().unwrap().preview = Some(preview);
        d
    }

    #[test]
    fn it_ends_by_itself_by_hand_or_never_begins() {
        let minute = verifying(BakeTime::For(Duration::from_secs(60)));
        assert!(is_wanted(&minute, at(59)) && !is_wanted(&minute, at(60)));
        assert!(is_wanted(&verifying(BakeTime::Manual), at(1_000_000)));
        assert!(!is_wanted(&verifying(BakeTime::For(Duration::ZERO)), at(0)));
        assert!(!is_wanted(&deployment(1, Phase::Verifying), at(0)), "none was declared");
    }

    #[test]
    fn a_pause_keeps_it_open_and_a_promotion_ends_it() {
        let mut d = verifying(BakeTime::For(Duration::from_secs(60)));
        d.intent.paused_since = Some(at(10));
        assert!(is_wanted(&d, at(1_000)));
        (d.intent.paused_since, d.intent.paused_ms) = (None, 990_000);
        assert!(is_wanted(&d, at(1_049)) && !is_wanted(&d, at(1_050)), "the time paused does not count");
        let Ok(Outcome::Changed(intent)) = command::give(&d, Command::Promote(PromoteTo::Next), given()) else {
            panic!("promoting is legal in verifying")
        };
        d.intent = *intent;
        assert!(!is_wanted(&d, at(1_001)));
    }
}
