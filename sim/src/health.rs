//! Health checks as AWS makes them: only where some rule leads, each target on its own clock, and by thresholds.
//!
//! A target group in no rule is not checked at all (its targets are *unused*), which is why a deployment's overlay exists at
//! weight 0 before anybody is sent to green. This room also lets draining targets go once their delay is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    model::{HealthCheck, Name, Region, Shared, TargetState},
    options::Options,
    servers::responder::HEALTH_CHECKER,
    traffic::named_groups,
};

/// The shortest pause between two checks of one target, however fast the region's clocks run.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
/// The shortest time a server gets to answer: the machine is not faster because the clocks are.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Checks under way at a time, over all targets.
const CHECKS_MAX: usize = 256;
/// Verdicts waiting to be written, and the most that are written in one change.
const VERDICTS_MAX: usize = 1024;

/// A target of a target group.
type Place = (Name, Name);

/// Keeps the state of every target until `stop`.
pub fn start(shared: Shared, options: &Options, stop: CancellationToken) {
    let (verdicts, arriving) = mpsc::channel(VERDICTS_MAX);
    let watch = Watch {
        shared,
        scale: options.scale,
        verdicts,
        room: Arc::new(Semaphore::new(CHECKS_MAX)),
        client: client(),
        checks: BTreeMap::new(),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = watch.run(arriving) => {}
            () = stop.cancelled() => {}
        }
    });
}

/// Every check is made on a connection of its own, as AWS's are: a server that takes no new ones is not healthy.
fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(HttpConnector::new())
}

struct Watch {
    shared: Shared,
    scale: f64,
    verdicts: mpsc::Sender<(Place, TargetState)>,
    room: Arc<Semaphore>,
    client: Client<HttpConnector, Body>,
    /// One task a checked target; it ends when its guard is dropped.
    checks: BTreeMap<Place, DropGuard>,
}

impl Watch {
    async fn run(mut self, mut arriving: mpsc::Receiver<(Place, TargetState)>) {
        let mut regions = self.shared.subscribe();
        let mut found = Vec::new();
        let mut checked: Option<Arc<Region>> = None;
        loop {
            let region = regions.borrow_and_update().clone();
            let named = named_groups(&region);
            self.write(&region, &named, &mut found);
            let same = |before: &Arc<Region>| {
                before.rules.same(&region.rules)
                    && before.listeners.same(&region.listeners)
                    && before.target_groups.same(&region.target_groups)
            };
            if !checked.as_ref().is_some_and(same) {
                self.check_where_a_rule_leads(&region, &named);
            }
            checked = Some(region.clone());
            let next_gone = draining(&region).filter_map(|(_, gone_at)| gone_at).min();
            tokio::select! {
                changed = regions.changed() => if changed.is_err() { return },
                _ = arriving.recv_many(&mut found, VERDICTS_MAX) => {}
                () = sleep_until(next_gone.unwrap_or_else(Instant::now).into()), if next_gone.is_some() => {}
            }
        }
    }

    /// Writes verdicts and what follows from the rules, in one change; none when there is nothing to say.
    fn write(&self, region: &Region, named: &BTreeSet<&Name>, found: &mut Vec<(Place, TargetState)>) {
        let now = Instant::now();
        let gone = draining(region).any(|(_, gone_at)| gone_at.is_none_or(|gone_at| gone_at <= now));
        let moved = region.target_groups.values().any(|group| {
            group.targets.values().any(|target| by_rules(target.state, named.contains(&group.arn)) != target.state)
        });
        if found.is_empty() && !gone && !moved {
            return;
        }
        let scale = self.scale;
        // The newest region may differ from the snapshot: everything is looked at again under the lock.
        self.shared.change(|region| {
            let named: BTreeSet<Name> = named_groups(region).into_iter().cloned().collect();
            for ((group, instance), state) in found.drain(..) {
                let target = region.target_groups.get_mut(&group).and_then(|group| group.targets.get_mut(&instance));
                if let Some(target) = target.filter(|target| target.state != TargetState::Draining) {
                    target.state = state;
                }
            }
            for group in region.target_groups.values_mut() {
                let (is_named, delay) = (named.contains(&group.arn), group.deregistration_delay.mul_f64(scale));
                group.targets.retain(|_, target| {
                    target.state = by_rules(target.state, is_named);
                    if target.state != TargetState::Draining {
                        return true;
                    }
                    *target.gone_at.get_or_insert(now + delay) > now
                });
            }
        });
    }

    fn check_where_a_rule_leads(&mut self, region: &Region, named: &BTreeSet<&Name>) {
        let wanted: BTreeSet<Place> = region
            .target_groups
            .values()
            .filter(|group| named.contains(&group.arn))
            .flat_map(|group| {
                let checked = group.targets.values().filter(|target| target.state != TargetState::Draining);
                checked.map(|target| (group.arn.clone(), target.instance.clone()))
            })
            .collect();
        self.checks.retain(|place, _| wanted.contains(place));
        for place in wanted {
            if !self.checks.contains_key(&place) {
                let guard = self.check(place.clone());
                self.checks.insert(place, guard);
            }
        }
    }

    /// Checks one target until the returned guard is dropped.
    fn check(&self, place: Place) -> DropGuard {
        let stop = CancellationToken::new();
        let check = Check {
            place,
            shared: self.shared.clone(),
            scale: self.scale,
            verdicts: self.verdicts.clone(),
            room: self.room.clone(),
            client: self.client.clone(),
        };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = check.run() => {}
                () = stopped.cancelled() => {}
            }
        });
        stop.drop_guard()
    }
}

fn draining(region: &Region) -> impl Iterator<Item = (&Name, Option<Instant>)> {
    let targets = region.target_groups.values().flat_map(|group| group.targets.values());
    targets.filter(|target| target.state == TargetState::Draining).map(|target| (&target.instance, target.gone_at))
}

/// What a target's state becomes because its group is, or is not, in a rule.
fn by_rules(state: TargetState, named: bool) -> TargetState {
    match (state, named) {
        (TargetState::Draining, _) => TargetState::Draining,
        (TargetState::Unused, true) => TargetState::Initial,
        (TargetState::Initial | TargetState::Healthy | TargetState::Unhealthy, true) => state,
        (TargetState::Unused | TargetState::Initial | TargetState::Healthy | TargetState::Unhealthy, false) => {
            TargetState::Unused
        }
    }
}

struct Check {
    place: Place,
    shared: Shared,
    scale: f64,
    verdicts: mpsc::Sender<(Place, TargetState)>,
    room: Arc<Semaphore>,
    client: Client<HttpConnector, Body>,
}

impl Check {
    /// Reads its settings anew for each check: a changed target group needs no restart.
    async fn run(self) {
        let mut streak = Streak::default();
        loop {
            let region = self.shared.now();
            let Some(settings) = region.target_groups.get(&self.place.0).map(|group| group.health.clone()) else { return };
            let passed = self.once(&region, &settings).await;
            if let Some(state) = streak.record(passed, &settings)
                && self.verdicts.send((self.place.clone(), state)).await.is_err()
            {
                return;
            }
            // A snapshot kept while sleeping would keep what was replaced meanwhile.
            drop(region);
            sleep(settings.interval.mul_f64(self.scale).max(INTERVAL_MIN)).await;
        }
    }

    async fn once(&self, region: &Region, settings: &HealthCheck) -> bool {
        let instance = region.instances.get(&self.place.1);
        // `sick` is a switch for servers that cannot be told to be: see `Servers::set_sick`.
        let Some(address) = instance.filter(|instance| !instance.sick).and_then(|instance| instance.address) else {
            return false;
        };
        let _room = self.room.acquire().await;
        let patience = settings.timeout.mul_f64(self.scale).max(TIMEOUT_MIN);
        timeout(patience, self.ask(address, &settings.path)).await.is_ok_and(|status| status == Some(StatusCode::OK))
    }

    async fn ask(&self, address: SocketAddr, path: &str) -> Option<StatusCode> {
        let request = Request::get(format!("http://{address}{path}"))
            .header(header::USER_AGENT, HEALTH_CHECKER)
            .header(header::CONNECTION, "close")
            .body(Body::empty())
            .ok()?;
        self.client.request(request).await.ok().map(|response| response.status())
    }
}

/// Checks in a row, and what they have made of the target.
#[derive(Debug, Default)]
struct Streak {
    /// None while the target is initial.
    healthy: Option<bool>,
    /// Results in a row that speak against `healthy`.
    against: u32,
}

impl Streak {
    /// The target's new state, if this result changes it. A new target is healthy after its first success; every other change
    /// takes as many results in a row as the threshold says.
    fn record(&mut self, passed: bool, settings: &HealthCheck) -> Option<TargetState> {
        if self.healthy == Some(passed) {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.healthy, passed) {
            (None, true) => 1,
            (_, true) => settings.healthy_threshold,
            (_, false) => settings.unhealthy_threshold,
        };
        if self.against < needed {
            return None;
        }
        self.healthy = Some(passed);
        self.against = 0;
        Some(if passed { TargetState::Healthy } else { TargetState::Unhealthy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> HealthCheck {
        HealthCheck {
            path: "/healthz".to_owned(),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            healthy_threshold: 3,
            unhealthy_threshold: 2,
        }
    }

    fn states(results: &[bool]) -> Vec<Option<TargetState>> {
        let mut streak = Streak::default();
        results.iter().map(|&passed| streak.record(passed, &settings())).collect()
    }

    #[test]
    fn a_new_target_is_healthy_after_its_first_success() {
        use TargetState::Healthy;
        assert_eq!(states(&[false, true]), [None, Some(Healthy)]);
    }

    #[test]
    fn later_changes_take_results_in_a_row() {
        use TargetState::{Healthy, Unhealthy};
        let results = [true, false, true, false, false, true, true, false, true, true, true];
        let expected = [Some(Healthy), None, None, None, Some(Unhealthy), None, None, None, None, None, Some(Healthy)];
        assert_eq!(states(&results), expected);
    }

    #[test]
    fn a_target_that_never_answers_becomes_unhealthy() {
        assert_eq!(states(&[false, false]), [None, Some(TargetState::Unhealthy)]);
    }

    #[test]
    fn a_rule_turns_checking_on_and_its_end_turns_it_off() {
        use TargetState::{Draining, Healthy, Initial, Unhealthy, Unused};
        assert_eq!(by_rules(Unused, true), Initial);
        for state in [Unused, Initial, Healthy, Unhealthy] {
            assert_eq!(by_rules(state, false), Unused);
        }
        assert_eq!(by_rules(Healthy, true), Healthy);
        assert_eq!(by_rules(Draining, false), Draining, "it leaves by its own clock");
    }
}
