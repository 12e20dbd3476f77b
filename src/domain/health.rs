//! The `health` gate: always on, from `verifying` to the commit.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    declaration::Capacity,
    deployment::Deployment,
    observation::{Known, Observation},
    time,
    weight::Weight,
};

/// What the gate says of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    Passed,
    /// Fewer healthy servers than the weight needs: no rise.
    Short {
        healthy: u32,
        needed: u32,
    },
    /// Fewer than it needs only because blue has grown since green was made: no rise, and no failing of green's.
    Outgrown {
        healthy: u32,
        needed: u32,
    },
    /// Not one healthy server, with traffic wanted on them.
    NoneHealthy {
        needed: u32,
    },
    /// Could not be seen: neither passed nor failed.
    Unknown,
}

impl Verdict {
    #[must_use]
    pub fn passed(self) -> bool {
        self == Self::Passed
    }
}

/// How many healthy green servers `weight` needs; `None` when blue's size is unknown.
#[must_use]
pub fn needed(d: &Deployment, o: &Observation, weight: Weight) -> Option<u32> {
    if weight == Weight::NONE {
        return Some(0);
    }
    let plan = d.plan.as_ref()?;
    let of = match &plan.blue {
        Some(_) => o.blue.seen()?.servers.in_service,
        None => plan.green.size,
    };
    Some(weight.share_of(of).max(1))
}

/// The gate's verdict on one look, for a weight that is wanted.
#[must_use]
pub fn verdict(d: &Deployment, o: &Observation, weight: Weight) -> Verdict {
    if weight == Weight::NONE {
        return Verdict::Passed;
    }
    let (Some(needed), Some(green)) = (needed(d, o, weight), o.green.seen()) else {
        return Verdict::Unknown;
    };
    let planned = d.plan.as_ref().map_or(needed, |plan| weight.share_of(plan.green.size).max(1));
    match green.servers.healthy {
        healthy if healthy >= needed => Verdict::Passed,
        0 => Verdict::NoneHealthy { needed },
        healthy if healthy >= planned => Verdict::Outgrown { healthy, needed },
        healthy => Verdict::Short { healthy, needed },
    }
}

/// Whether green may be left alone with all traffic: as many healthy servers as blue has, or as was planned where blue has grown
/// since. Unknown is not enough.
#[must_use]
pub fn may_serve_alone(d: &Deployment, o: &Observation) -> bool {
    matches!(verdict(d, o, Weight::ALL), Verdict::Passed | Verdict::Outgrown { .. })
}

/// The fewest healthy servers with which green counts as serving once it is alone: its own scaling rules then, within the declared
/// bounds, and blue's size means nothing any more.
#[must_use]
pub fn needed_alone(d: &Deployment) -> u32 {
    let planned = d.plan.as_ref().map_or(1, |plan| plan.green.size);
    d.declaration.server_group.min.min(planned).max(1)
}

/// Whether it has them. Unknown is not enough.
#[must_use]
pub fn serves_alone(d: &Deployment, o: &Observation) -> bool {
    o.green.seen().is_some_and(|green| green.servers.healthy >= needed_alone(d))
}

/// Healthy servers of blue and of green, where going back would be to fewer. Before a first release there are none to go back to,
/// and none are left of a blue that is gone; `None` also where either could not be seen.
#[must_use]
pub fn fewer_on_blue(d: &Deployment, o: &Observation) -> Option<(u32, u32)> {
    let blue = match (&d.plan.as_ref()?.blue, &o.blue) {
        (None, _) | (Some(_), Known::Absent) => 0,
        (Some(_), Known::Seen(blue)) => blue.servers.healthy,
        (Some(_), Known::Unknown(_)) => return None,
    };
    let green = o.green.seen()?.servers.healthy;
    (blue < green).then_some((blue, green))
}

/// The minimum that green is to have because blue has grown beyond it: blue's present size, as far as the declared maximum
/// lets it. `None` while green is large enough, its size is fixed, or either could not be seen.
#[must_use]
pub fn outgrown_to(d: &Deployment, o: &Observation) -> Option<u32> {
    let (plan, green, blue) = (d.plan.as_ref()?, o.green.seen()?, o.blue.seen()?);
    let matches_blue = plan.blue.is_some() && d.declaration.server_group.capacity == Capacity::MatchBlue;
    let wanted = blue.servers.desired.min(d.declaration.server_group.max.max(plan.green.size));
    (matches_blue && green.ours && !green.deleting && green.min < wanted).then_some(wanted)
}

/// For how long green has been short of servers, as far as it could be seen: unknown looks do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShortFor {
    pub ms: u64,
    /// The last look, if it was short.
    pub last: Option<Timestamp>,
}

impl ShortFor {
    #[must_use]
    pub fn after(self, verdict: Verdict, now: Timestamp) -> Self {
        match verdict {
            Verdict::Passed | Verdict::Outgrown { .. } => Self::default(),
            Verdict::Unknown => Self { ms: self.ms, last: None },
            Verdict::Short { .. } | Verdict::NoneHealthy { .. } => {
                let since = self.last.map_or(Duration::ZERO, |last| time::between(last, now));
                let more = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                Self { ms: self.ms.saturating_add(more), last: Some(now) }
            }
        }
    }

    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{
        phase::Phase,
        sample::{deployment, observation, seen_mut},
    };

    proptest! {
        #[test]
        fn passed_means_enough_healthy_servers_for_the_weight(permille in 0_u16..=1000, blue in 0_u32..50, healthy in 0_u32..50) {
            let d = deployment(1, Phase::Verifying);
            let mut o = observation(&d, Weight::NONE);
            seen_mut(&mut o.blue).servers.in_service = blue;
            seen_mut(&mut o.green).servers.healthy = healthy;
            let weight = Weight::from_permille(permille).unwrap();
            let exact = f64::from(permille) / 1000.0 * f64::from(blue);
            let enough = permille == 0 || healthy >= 1 && f64::from(healthy) >= exact;
            prop_assert_eq!(verdict(&d, &o, weight).passed(), enough);
            o.blue = Known::Unknown("throttled".to_owned());
            prop_assert_eq!(verdict(&d, &o, weight), if permille == 0 { Verdict::Passed } else { Verdict::Unknown });
        }
    }

    #[test]
    fn green_is_not_blamed_for_blues_growth_and_grows_after_it_as_far_as_it_may() {
        let d = deployment(1, Phase::Verifying);
        let mut o = observation(&d, Weight::NONE);
        assert_eq!((verdict(&d, &o, Weight::ALL), outgrown_to(&d, &o)), (Verdict::Passed, None));
        seen_mut(&mut o.blue).servers = crate::domain::observation::Servers { desired: 9, in_service: 3, healthy: 3 };
        assert_eq!(verdict(&d, &o, Weight::ALL), Verdict::Outgrown { healthy: 2, needed: 3 });
        assert_eq!(outgrown_to(&d, &o), Some(d.declaration.server_group.max), "blue has nine");
        seen_mut(&mut o.green).min = d.declaration.server_group.max;
        assert_eq!(outgrown_to(&d, &o), None);
        seen_mut(&mut o.green).servers.healthy = 1;
        assert_eq!(verdict(&d, &o, Weight::ALL), Verdict::Short { healthy: 1, needed: 3 }, "one of its own is sick");
    }

    #[test]
    fn time_in_the_dark_does_not_count_as_short() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let short = Verdict::Short { healthy: 1, needed: 2 };
        let counted =
            ShortFor::default().after(short, at(0)).after(short, at(10)).after(Verdict::Unknown, at(100)).after(short, at(200));
        assert_eq!(counted.duration(), Duration::from_secs(10));
        assert_eq!(counted.after(short, at(205)).duration(), Duration::from_secs(15));
        assert_eq!(counted.after(Verdict::Passed, at(206)), ShortFor::default());
    }
}
