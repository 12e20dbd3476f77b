//! What Auto Scaling would do next: a plain function of the region and the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::model::{Instance, Lifecycle, Region, ServerGroup, TargetState};

/// Launches of one group that may be under way at a time; AWS goes in batches too.
const PENDING_MAX: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The start of this scheduled action has come.
    CarryOut {
        group: String,
        action: String,
    },
    /// One more instance of this group.
    Launch {
        group: String,
    },
    /// Its boot time is over: its server starts.
    Boot {
        instance: String,
    },
    /// Found unhealthy.
    Condemn {
        instance: String,
    },
    Terminate {
        instance: String,
        cause: &'static str,
    },
    /// Drained everywhere: its server stops and it is gone.
    Finish {
        instance: String,
    },
    /// Deleted, and its last instance is gone.
    Forget {
        group: String,
    },
}

/// Everything that is due. `boot` is scaled already; `scale` is for the rest. Users' own times (`at`) are not scaled.
#[must_use]
pub fn steps(region: &Region, now: Instant, at: Timestamp, boot: Duration, scale: f64) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut by_group: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
    for server in region.instances.values() {
        by_group.entry(&server.group).or_default().push(server);
        match server.lifecycle {
            Lifecycle::Pending if now >= server.launched + boot => steps.push(Step::Boot { instance: server.id.clone() }),
            Lifecycle::Terminating if drained(region, server, now) => {
                steps.push(Step::Finish { instance: server.id.clone() });
            }
            Lifecycle::Pending | Lifecycle::InService | Lifecycle::Terminating => {}
        }
    }
    for group in region.groups.values() {
        let servers = by_group.remove(group.name.as_str()).unwrap_or_default();
        match group.delete_at {
            None => {
                let due = group.scheduled.iter().filter(|(_, it)| !it.done && it.start.is_some_and(|start| start <= at));
                steps.extend(due.map(|(name, _)| Step::CarryOut { group: group.name.clone(), action: name.clone() }));
                health(region, group, &servers, now, scale, &mut steps);
                size(group, servers, now, &mut steps);
            }
            Some(at) if at <= now => remove(group, &servers, &mut steps),
            Some(_) => {}
        }
    }
    steps
}

fn drained(region: &Region, server: &Instance, now: Instant) -> bool {
    let mut targets = region.target_groups.values().filter_map(|group| group.targets.get(&server.id));
    targets.all(|target| target.gone_at.is_some_and(|gone_at| gone_at <= now))
}

/// Whether `group` still does `process`.
#[must_use]
pub fn does(group: &ServerGroup, process: &str) -> bool {
    !group.suspended.iter().any(|suspended| suspended == process)
}

/// Its own look (a dead server, at once) and, with health checks of type `ELB` and after the grace, the load balancer's.
/// Unhealthy is for ever: AWS replaces such an instance even when it heals meanwhile.
fn health(region: &Region, group: &ServerGroup, servers: &[&Instance], now: Instant, scale: f64, steps: &mut Vec<Step>) {
    let grace = group.health_check_grace.mul_f64(scale);
    let refused = |server: &Instance| {
        let targets = group.target_groups.iter().filter_map(|arn| region.target_groups.get(arn));
        let mut states = targets.filter_map(|held| held.targets.get(&server.id)).map(|target| target.state);
        states.any(|state| state == TargetState::Unhealthy)
    };
    for server in servers.iter().filter(|server| server.lifecycle == Lifecycle::InService) {
        let graced = server.in_service_at.is_some_and(|at| now >= at + grace);
        let sick = server.killed || (graced && group.health_check_type == "ELB" && refused(server));
        if server.healthy && sick && does(group, "HealthCheck") {
            steps.push(Step::Condemn { instance: server.id.clone() });
        }
        if !server.healthy && does(group, "ReplaceUnhealthy") && does(group, "Terminate") {
            let cause = "a failed health check, taking the instance out of service";
            steps.push(Step::Terminate { instance: server.id.clone(), cause });
        }
    }
}

fn size(group: &ServerGroup, servers: Vec<&Instance>, now: Instant, steps: &mut Vec<Step>) {
    let stays = |server: &&Instance| server.lifecycle != Lifecycle::Terminating;
    let mut staying: Vec<&Instance> = servers.into_iter().filter(stays).collect();
    let desired = group.desired as usize;
    if staying.len() < desired && does(group, "Launch") && group.retry_at.is_none_or(|at| at <= now) {
        let pending = staying.iter().filter(|server| server.lifecycle == Lifecycle::Pending).count();
        let missing = (desired - staying.len()).min(PENDING_MAX.saturating_sub(pending));
        // After a failure one is tried alone, so that a bad image writes one line and not fifty.
        let missing = if group.failures > 0 { missing.min(1) } else { missing };
        steps.extend((0..missing).map(|_| Step::Launch { group: group.name.clone() }));
    }
    if staying.len() > desired && does(group, "Terminate") {
        let surplus = staying.len() - desired;
        staying.sort_by_key(|server| (server.healthy, server.launched));
        let going = staying.into_iter().filter(|server| !server.protected).take(surplus);
        let cause = "a difference between desired and actual capacity, shrinking the capacity";
        steps.extend(going.map(|server| Step::Terminate { instance: server.id.clone(), cause }));
    }
}

/// Neither protection nor a suspended `Terminate` stops a deletion.
fn remove(group: &ServerGroup, servers: &[&Instance], steps: &mut Vec<Step>) {
    if servers.is_empty() {
        steps.push(Step::Forget { group: group.name.clone() });
    }
    let staying = servers.iter().filter(|server| server.lifecycle != Lifecycle::Terminating);
    let cause = "the deletion of its group";
    steps.extend(staying.map(|server| Step::Terminate { instance: server.id.clone(), cause }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Scheduled, Target},
        scenario::{self, Stage},
        scene,
    };

    const NO_BOOT: Duration = Duration::ZERO;

    /// A group of two, `servers` of which run; its slot is in a rule.
    fn region(servers: usize) -> (Region, String) {
        let mut region = Region::default();
        let staged = scenario::build(&mut region, &Stage::default(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        for number in 0..servers {
            let id = format!("i-{number}");
            let mut server = scene::instance(&id, ([127, 0, 0, 1], 1).into());
            server.group = "web-prod-v000".to_owned();
            scene::register(&mut region, &staged.services[0].slots[0][0], server, TargetState::Healthy);
        }
        (region, staged.services[0].slots[0][0].clone())
    }

    fn group(region: &mut Region) -> &mut ServerGroup {
        region.groups.get_mut("web-prod-v000").unwrap()
    }

    fn steps_after(region: &Region, later: Duration) -> Vec<Step> {
        let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(later).unwrap();
        steps(region, Instant::now() + later, at, NO_BOOT, 1.0)
    }

    fn terminated(steps: &[Step]) -> Vec<&str> {
        let ids = steps.iter().filter_map(|step| match step {
            Step::Terminate { instance, .. } => Some(instance.as_str()),
            _ => None,
        });
        ids.collect()
    }

    #[test]
    fn a_full_group_is_left_alone() {
        assert_eq!(steps_after(&region(2).0, Duration::from_secs(3_600)), []);
    }

    #[test]
    fn a_group_is_filled_unless_launching_is_suspended_or_held_back() {
        let launch = Step::Launch { group: "web-prod-v000".to_owned() };
        let (mut region, _) = region(0);
        assert_eq!(steps_after(&region, NO_BOOT), [launch.clone(), launch.clone()]);
        group(&mut region).failures = 1;
        assert_eq!(steps_after(&region, NO_BOOT).len(), 1, "one alone after a failure");
        group(&mut region).retry_at = Some(Instant::now() + Duration::from_secs(60));
        assert_eq!(steps_after(&region, NO_BOOT), []);
        assert_eq!(steps_after(&region, Duration::from_secs(61)), [launch]);
        group(&mut region).suspended = vec!["Launch".to_owned()];
        assert_eq!(steps_after(&region, Duration::from_secs(61)), []);
    }

    #[test]
    fn the_load_balancers_verdict_counts_after_the_grace_and_only_for_health_checks_of_its_type() {
        let (mut region, slot) = region(2);
        region.target_groups.get_mut(&slot).unwrap().targets.get_mut("i-1").unwrap().state = TargetState::Unhealthy;
        let condemn = Step::Condemn { instance: "i-1".to_owned() };
        assert_eq!(steps_after(&region, Duration::from_secs(59)), []);
        assert_eq!(steps_after(&region, Duration::from_secs(61)), [condemn]);
        group(&mut region).health_check_type = "EC2".to_owned();
        assert_eq!(steps_after(&region, Duration::from_secs(61)), []);
    }

    #[test]
    fn a_scheduled_action_is_carried_out_once_when_its_start_has_come() {
        let (mut region, _) = region(2);
        let start = Some(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(60));
        let action = Scheduled {
            arn: "arn".to_owned(),
            start,
            end: None,
            recurrence: Some("0 6 * * *".to_owned()),
            time_zone: None,
            min: None,
            max: None,
            desired: Some(3),
            done: false,
        };
        group(&mut region).scheduled.insert("morning".to_owned(), action);
        let due = Step::CarryOut { group: "web-prod-v000".to_owned(), action: "morning".to_owned() };
        assert_eq!(steps_after(&region, Duration::from_secs(59)), []);
        assert_eq!(steps_after(&region, Duration::from_secs(60)), [due]);
        group(&mut region).scheduled.get_mut("morning").unwrap().done = true;
        assert_eq!(steps_after(&region, Duration::from_secs(60)), []);
    }

    #[test]
    fn a_dead_server_needs_no_grace_and_is_replaced_unless_that_is_suspended() {
        let (mut region, _) = region(2);
        region.instances.get_mut("i-0").unwrap().killed = true;
        assert_eq!(steps_after(&region, NO_BOOT), [Step::Condemn { instance: "i-0".to_owned() }]);
        region.instances.get_mut("i-0").unwrap().healthy = false;
        assert_eq!(terminated(&steps_after(&region, NO_BOOT)), ["i-0"]);
        group(&mut region).suspended = vec!["ReplaceUnhealthy".to_owned()];
        assert_eq!(steps_after(&region, NO_BOOT), []);
    }

    #[test]
    fn a_deletion_spares_nobody_and_comes_after_its_lag() {
        let (mut region, _) = region(2);
        region.instances.get_mut("i-0").unwrap().protected = true;
        group(&mut region).suspended = vec!["Terminate".to_owned()];
        group(&mut region).delete_at = Some(Instant::now() + Duration::from_secs(20));
        assert_eq!(steps_after(&region, Duration::from_secs(19)), []);
        assert_eq!(terminated(&steps_after(&region, Duration::from_secs(21))), ["i-0", "i-1"]);
    }

    #[test]
    fn a_server_goes_when_it_has_drained_everywhere() {
        let (mut region, slot) = region(3);
        region.instances.get_mut("i-2").unwrap().lifecycle = Lifecycle::Terminating;
        let gone_at = Some(Instant::now() + Duration::from_secs(30));
        let draining = Target { instance: "i-2".to_owned(), state: TargetState::Draining, gone_at };
        region.target_groups.get_mut(&slot).unwrap().targets.insert("i-2".to_owned(), draining);
        assert_eq!(steps_after(&region, Duration::from_secs(29)), []);
        assert_eq!(steps_after(&region, Duration::from_secs(31)), [Step::Finish { instance: "i-2".to_owned() }]);
    }
}
