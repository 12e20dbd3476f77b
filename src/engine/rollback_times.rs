//! How long rollbacks took, counted when this replica puts on record that one was accepted or seen.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use super::spread::Spread;
use crate::domain::{
    deployment::{Deployment, GoingBack, Trigger},
    time,
};

/// Upper bounds in seconds: from one call on the same network to the longest that anybody should wait.
const BOUNDS: [f64; 13] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, f64::INFINITY];

/// What a rollback is timed until.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// The load balancer had accepted it on every route.
    Accepted,
    /// No route was seen to send anything to green any more.
    Observed,
}

impl Until {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Observed => "observed",
        }
    }

    fn at(self, back: &GoingBack) -> Option<Timestamp> {
        match self {
            Self::Accepted => back.accepted_at,
            Self::Observed => back.observed_at,
        }
    }
}

/// The rollbacks since the process started. A replica counts what it put on record itself, so their sums add up.
#[derive(Debug, Default)]
pub struct RollbackTimes(Mutex<BTreeMap<(&'static str, Until), Spread>>);

/// Rollbacks of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct RollbackFigures {
    pub trigger: &'static str,
    pub until: &'static str,
    pub took: Duration,
    pub took_at_most: Vec<(f64, u64)>,
}

impl RollbackTimes {
    /// Counts what a record that was stored says for the first time.
    pub(super) fn note(&self, before: &Deployment, stored: &Deployment) {
        let Some(back) = &stored.going_back else { return };
        // It was done outside: when it was asked for nobody knows, only when it was found. Or before there was a plan: nobody was asked.
        if back.trigger == Trigger::Outside || stored.plan.is_none() {
            return;
        }
        for until in [Until::Accepted, Until::Observed] {
            let known = before.going_back.as_ref().and_then(|before| until.at(before)).is_some();
            let Some(at) = until.at(back).filter(|_| !known) else { continue };
            let mut spreads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let spread = spreads.entry((back.trigger.name(), until)).or_insert_with(|| Spread::over(&BOUNDS));
            spread.add(time::between(back.requested_at, at));
        }
    }

    pub(super) fn figures(&self) -> Vec<RollbackFigures> {
        let spreads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |((trigger, until), spread): (&(&'static str, Until), &Spread)| RollbackFigures {
            trigger,
            until: until.name(),
            took: spread.took(),
            took_at_most: spread.at_most(),
        };
        spreads.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        phase::Phase,
        sample::{at, deployment},
    };

    #[test]
    fn each_moment_is_counted_once_and_by_what_set_it_off() {
        let times = RollbackTimes::default();
        let running = deployment(1, Phase::Verifying);
        let asked = running.turning_back(Trigger::Manual, None, at(10));
        let told = |change: &dyn Fn(&mut GoingBack)| {
            let mut d = asked.clone();
            change(d.going_back.as_mut().unwrap());
            d
        };
        let accepted = told(&|back| back.accepted_at = Some(at(11)));
        let seen = told(&|back| (back.accepted_at, back.observed_at) = (Some(at(11)), Some(at(14))));
        times.note(&running, &asked);
        assert_eq!(times.figures(), []);
        times.note(&asked, &accepted);
        times.note(&accepted, &seen);
        times.note(&seen, &seen);
        let figures = times.figures();
        let told = |figures: &RollbackFigures| {
            let buckets: Vec<_> = figures.took_at_most.iter().filter(|(_, count)| *count > 0).copied().collect();
            (figures.trigger, figures.until, figures.took.as_secs(), buckets)
        };
        let expected = [("manual", "accepted", 1, vec![(1.0, 1)]), ("manual", "observed", 4, vec![(5.0, 1)])];
        assert_eq!(figures.iter().map(told).collect::<Vec<_>>(), expected);

        let mut outside = seen.clone();
        outside.going_back.as_mut().unwrap().trigger = Trigger::Outside;
        times.note(&running, &outside);
        assert_eq!(times.figures().len(), 2);
    }
}
