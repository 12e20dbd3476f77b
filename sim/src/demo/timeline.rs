//! Which share each version was *asked* to have, and when: read from the load balancer's own rules as they change.
//!
//! The share that users saw is compared with this, and not with what Cutover says of itself. The demo judges Cutover, so it
//! must not ask it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    model::{Name, Region, Shared},
    traffic::forwarded,
};

/// Moments kept; a demo has some twenty.
const MOMENTS_MAX: usize = 1000;
/// Taken off both ends of a window: what lies between a change and this process's noticing it.
const SLACK: Duration = Duration::from_millis(100);

/// Permille by version.
pub type Shares = BTreeMap<String, u32>;

/// A place where users enter.
#[derive(Debug, Clone)]
pub struct Place {
    /// The listener's ARN.
    pub listener: Name,
    pub host: String,
    pub path: String,
}

/// From this moment on, every route asked for these shares; none while the routes differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub at: Instant,
    pub shares: Option<Shares>,
}

/// A time in which the users should have seen what was asked for: every node had the rules, and nobody changed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
    pub shares: Shares,
}

/// One deployment.
#[derive(Debug, Clone)]
pub struct Act {
    /// The new version.
    pub version: &'static str,
    pub from: Instant,
    pub to: Instant,
    /// The shares, in permille, that users must have seen it at for long enough to tell.
    pub promised: &'static [u32],
}

/// The moments so far.
#[derive(Debug, Clone, Default)]
pub struct Timeline(Arc<Mutex<Vec<Moment>>>);

impl Timeline {
    /// Follows the rules for `routes` until `stop`; `versions` says which version an image is.
    #[must_use]
    pub fn start(shared: &Shared, routes: Vec<Place>, versions: BTreeMap<Name, String>, stop: CancellationToken) -> Self {
        let timeline = Self::default();
        let (following, mut regions) = (timeline.clone(), shared.subscribe());
        tokio::spawn(async move {
            let follow = async {
                loop {
                    let region = regions.borrow_and_update().clone();
                    following.note(Instant::now(), asked(&region, &routes, &versions));
                    if regions.changed().await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = follow => {}
                () = stop.cancelled() => {}
            }
        });
        timeline
    }

    fn note(&self, at: Instant, shares: Option<Shares>) {
        let mut moments = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.last().is_none_or(|last| last.shares != shares) && moments.len() < MOMENTS_MAX {
            moments.push(Moment { at, shares });
        }
    }

    /// All moments, oldest first.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The shares asked for now.
    #[must_use]
    pub fn now(&self) -> Option<Shares> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().and_then(|moment| moment.shares.clone())
    }

    /// The windows until `end`, given how long a change may take to reach every node.
    #[must_use]
    pub fn windows(&self, end: Instant, propagation: Duration) -> Vec<Window> {
        windows(&self.moments(), end, propagation)
    }
}

fn windows(moments: &[Moment], end: Instant, propagation: Duration) -> Vec<Window> {
    let ends = moments.iter().skip(1).map(|next| next.at).chain([end]);
    moments
        .iter()
        .zip(ends)
        .filter_map(|(moment, end)| {
            let (from, to) = (moment.at + propagation + SLACK, end.checked_sub(SLACK)?);
            (from < to).then_some(Window { from, to, shares: moment.shares.clone()? })
        })
        .collect()
}

/// What the rules ask for; none unless every route is asked the same.
fn asked(region: &Region, routes: &[Place], versions: &BTreeMap<Name, String>) -> Option<Shares> {
    let mut all = routes.iter().map(|route| asked_of(region, route, versions));
    let first = all.next()??;
    all.all(|shares| shares.as_ref() == Some(&first)).then_some(first)
}

/// What the rule that a user's request meets asks for: the overlay's while there is one, else the base's.
fn asked_of(region: &Region, route: &Place, versions: &BTreeMap<Name, String>) -> Option<Shares> {
    let groups = forwarded(region, &route.listener, &route.host, &route.path)?;
    let total: u32 = groups.iter().map(|(_, weight)| weight).sum();
    let mut shares = Shares::new();
    for (group, weight) in groups.iter().filter(|(_, weight)| *weight > 0) {
        let permille = weight * 1000 / total;
        *shares.entry(version_in(region, group, versions)?).or_default() += permille;
    }
    Some(shares)
}

/// The version that the servers of a target group run.
fn version_in(region: &Region, group: &str, versions: &BTreeMap<Name, String>) -> Option<String> {
    let targets = region.target_groups.get(group)?.targets.values();
    let mut images = targets.filter_map(|target| Some(&region.instances.get(&target.instance)?.image));
    images.find_map(|image| versions.get(image).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::TargetState, scene};

    fn region() -> Region {
        let mut region = Region::default();
        region.listeners.insert("listener".to_owned(), scene::listener("listener"));
        for (group, image) in [("blue", "ami-1"), ("green", "ami-2")] {
            region.target_groups.insert(group.to_owned(), scene::target_group(group));
            let mut instance = scene::instance(&format!("i-{group}"), ([127, 0, 0, 1], 1).into());
            image.clone_into(&mut instance.image);
            scene::register(&mut region, group, instance, TargetState::Healthy);
        }
        for (priority, host) in [(100, "www"), (200, "api")] {
            let rule = scene::rule(host, "listener", priority, host, scene::forward(&[("blue", 1)]));
            region.rules.insert(host.to_owned(), rule);
        }
        region
    }

    fn overlay(region: &mut Region, priority: u32, host: &str, blue: u32, green: u32) {
        let action = scene::forward(&[("blue", blue), ("green", green)]);
        region.rules.insert(format!("overlay-{host}"), scene::rule("overlay", "listener", priority, host, action));
    }

    fn shares(shares: &[(&str, u32)]) -> Shares {
        shares.iter().map(|(version, permille)| ((*version).to_owned(), *permille)).collect()
    }

    #[test]
    fn the_topmost_rule_of_each_route_says_what_is_asked_and_all_must_agree() {
        let place = |host: &str| Place { listener: "listener".to_owned(), host: host.to_owned(), path: "/".to_owned() };
        let routes = [place("www"), place("api")];
        let versions = [("ami-1".to_owned(), "v1".to_owned()), ("ami-2".to_owned(), "v2".to_owned())].into();
        let mut region = region();
        assert_eq!(asked(&region, &routes, &versions), Some(shares(&[("v1", 1000)])));
        overlay(&mut region, 99, "www", 875, 125);
        assert_eq!(asked(&region, &routes, &versions), None, "one route has moved, the other has not");
        overlay(&mut region, 199, "api", 875, 125);
        assert_eq!(asked(&region, &routes, &versions), Some(shares(&[("v1", 875), ("v2", 125)])));
        overlay(&mut region, 99, "www", 0, 999);
        overlay(&mut region, 199, "api", 0, 999);
        assert_eq!(asked(&region, &routes, &versions), Some(shares(&[("v2", 1000)])));
    }

    #[test]
    fn a_window_begins_when_every_node_has_the_rules_and_ends_before_the_next_change() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let moment = |ms, share| Moment { at: at(ms), shares: Some(shares(&[("v2", share)])) };
        let moments = [moment(0, 50), Moment { at: at(2000), shares: None }, moment(2010, 250), moment(2500, 500)];
        let found = windows(&moments, at(5000), Duration::from_millis(500));
        let expected = [(600, 1900, 50), (3100, 4900, 500)].map(|(from, to, share)| Window {
            from: at(from),
            to: at(to),
            shares: shares(&[("v2", share)]),
        });
        assert_eq!(found, expected, "25 % was over before every node had it");
    }
}
