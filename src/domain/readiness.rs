//! Whether one could go back now: from the record, the last look in it, and how long it took before.
//!
//! What was not seen is not taken for lost: it makes the answer *degraded*, with since when. *No* is said only of what is known.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    deployment::{Deployment, Kept},
    drift,
    observation::Launches,
    phase::Phase,
    plan::BluePlan,
    redeploy::{Before, Way},
    time,
    timing::Timing,
    weight::Weight,
};

/// Looks may be missed before what the last one showed counts as not seen: so many of the slowest.
const LOOKS_MISSED: u32 = 9;
/// And never sooner than this.
const UNSEEN_AFTER_MIN: Duration = Duration::from_secs(30);

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Ready,
    /// It would be sent; something speaks against its going well, or could not be seen.
    Degraded,
    No,
}

impl State {
    /// As the API writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::No => "no",
        }
    }
}

/// Something that speaks against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub state: State,
    /// What is so, in plain words.
    pub detail: String,
    pub to_do: String,
}

/// The answer with all that speaks against it, the worst first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub state: State,
    pub reasons: Vec<Reason>,
}

/// What is known of the servers that would serve again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blue {
    /// As last seen; `None` when never.
    pub healthy: Option<u32>,
    /// As many as there were when the deployment began, or have become since.
    pub of: u32,
    /// When the look was that showed it.
    pub seen_at: Option<Timestamp>,
    /// Its minimum is its size, so that nothing shrinks it.
    pub min_pinned: Option<bool>,
    /// The provider refuses to delete it.
    pub protected: Option<bool>,
    /// Servers launched from now on are made from what the others are.
    pub image_pinned: Option<bool>,
}

impl Readiness {
    fn of(mut reasons: Vec<Reason>) -> Self {
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.state));
        Self { state: reasons.first().map_or(State::Ready, |worst| worst.state), reasons }
    }
}

fn no(detail: impl Into<String>, to_do: impl Into<String>) -> Reason {
    Reason { state: State::No, detail: detail.into(), to_do: to_do.into() }
}

fn degraded(detail: impl Into<String>, to_do: impl Into<String>) -> Reason {
    Reason { state: State::Degraded, detail: detail.into(), to_do: to_do.into() }
}

/// Of a service/environment: `newest` is the deployment that runs, else the last that ended, with how a rollback is answered by it;
/// `before` is what would be deployed anew where nothing runs. `as_of`: the database is away, and was last heard of it then.
#[must_use]
pub fn of_service(
    newest: Option<(&Deployment, Way)>,
    before: Option<&Before>,
    as_of: Option<Timestamp>,
    timing: &Timing,
    now: Timestamp,
) -> Readiness {
    match (newest, before) {
        (None, _) => Readiness::of(vec![no(
            "no deployment has run yet, so there is nothing to go back to",
            "nothing; the first deployment makes the second one reversible",
        )]),
        (Some((d, Way::Again)), _) => Readiness::of(again(d, as_of)),
        (Some((d, Way::Anew)), Some(before)) => {
            let version = before.version.as_ref().map(|version| format!(" ({version})")).unwrap_or_default();
            Readiness::of(vec![degraded(
                format!(
                    "nothing runs, and the servers from before #{} are gone: a rollback deploys {}{version} anew, which takes as long as any \
                     deployment",
                    d.number, before.image
                ),
                "a dry run of the rollback makes every check and says every step",
            )])
        }
        (Some((d, _)), _) => of(d, as_of, timing, now),
    }
}

/// Of one deployment.
#[must_use]
pub fn of(d: &Deployment, as_of: Option<Timestamp>, timing: &Timing, now: Timestamp) -> Readiness {
    if let Some(over) = over(d) {
        return Readiness::of(vec![over]);
    }
    let mut reasons = Vec::new();
    reasons.extend(as_of.map(|at| away(at, "bring the database back; a rollback is taken all the same, shields first")));
    // Until there are overlays all traffic is on blue, and going back changes nothing for anybody.
    if let (Some(plan), false) = (&d.plan, d.overlays.is_empty()) {
        match &plan.blue {
            Some(blue) => servers(d, blue, timing, now, &mut reasons),
            None => reasons.push(degraded(
                "this is the first release: before it nobody served, and after going back nobody does",
                "nothing, if that is what you want; else deploy a better image instead",
            )),
        }
        routes(d, timing, now, &mut reasons);
    }
    Readiness::of(reasons)
}

fn away(since: Timestamp, to_do: &str) -> Reason {
    degraded(format!("the database is away; this is what was last read from it at {since:.0}"), to_do)
}

/// Of the rollback that was asked for before.
fn again(d: &Deployment, as_of: Option<Timestamp>) -> Vec<Reason> {
    let Some(taken) = d.takes_back else { return over(d).into_iter().collect() };
    let number = d.number;
    if d.phase.is_terminal() {
        let detail = format!("nothing runs: #{number} has taken #{taken} back; there is nothing to go back to now");
        return vec![no(detail, "to return to an older image, deploy that image")];
    }
    let under_way = degraded(
        format!("#{number} is on its way to take #{taken} back: a rollback is answered with it, and sends nothing more"),
        "follow it; to stop it, roll it back by its own id",
    );
    let away = as_of.map(|at| away(at, "bring the database back: until then it stays as it is"));
    [under_way].into_iter().chain(away).collect()
}

/// Why there is no way back any more.
fn over(d: &Deployment) -> Option<Reason> {
    let number = d.number;
    let ended = |how: &str| {
        no(
            format!("nothing runs: #{number} {how}; there is nothing to go back to now"),
            "to return to an older image, deploy that image",
        )
    };
    Some(match &d.phase {
        Phase::Retiring => no(
            format!("#{number} is past its commit, and the old servers are on their way out"),
            "wait for its end; a rollback then deploys the image from before",
        ),
        Phase::Succeeded => ended("has succeeded, and the servers from before are gone"),
        Phase::RolledBack => ended("has gone back"),
        Phase::Cancelled => ended("was cancelled before it changed anything for users"),
        Phase::Failed => ended("was abandoned, and Cutover has let it go"),
        _ if d.intent.abandon.is_some() => {
            no(format!("#{number} is being abandoned: Cutover changes nothing more of it"), "go back by hand, if you have to")
        }
        _ => return None,
    })
}

/// When the last look was that said anything of blue, and whether that still counts.
fn blue_seen(d: &Deployment, timing: &Timing, now: Timestamp) -> (Option<Timestamp>, bool) {
    match (d.seen.at, d.seen.blue_unseen_since) {
        (None, _) => (None, false),
        (Some(_), Some(since)) => (d.seen.blue.map(|_| since), false),
        (Some(at), None) => (Some(at), time::between(at, now) <= unseen_after(timing)),
    }
}

fn unseen_after(timing: &Timing) -> Duration {
    timing.watch_every.saturating_mul(LOOKS_MISSED).max(UNSEEN_AFTER_MIN)
}

/// What is known of blue; `None` for a first release, and before there is a plan.
#[must_use]
pub fn blue(d: &Deployment, timing: &Timing, now: Timestamp) -> Option<Blue> {
    let planned = d.plan.as_ref()?.blue.as_ref()?;
    let (seen_at, fresh) = blue_seen(d, timing, now);
    let gone = fresh && d.seen.blue.is_none();
    let kept = d.seen.blue_kept.as_ref();
    Some(Blue {
        healthy: if gone { Some(0) } else { d.seen.blue.map(|servers| servers.healthy) },
        of: wanted(d, planned),
        seen_at,
        min_pinned: kept.map(|kept| kept.min >= planned.size),
        protected: kept.map(|kept| kept.protected),
        image_pinned: kept.and_then(|kept| match kept.launches {
            Launches::Same => Some(true),
            Launches::Whatever(_) => Some(false),
            Launches::Untold => None,
        }),
    })
}

fn wanted(d: &Deployment, blue: &BluePlan) -> u32 {
    d.seen.blue.map_or(blue.size, |servers| servers.desired.max(blue.size))
}

fn servers(d: &Deployment, blue: &BluePlan, timing: &Timing, now: Timestamp, reasons: &mut Vec<Reason>) {
    let group = &blue.group;
    let (seen_at, fresh) = blue_seen(d, timing, now);
    if !fresh {
        let since = seen_at.map_or_else(|| "never seen".to_owned(), |at| format!("not seen since {at:.0}"));
        reasons.push(degraded(
            format!("{group}, which would serve again, was {since}: whether its servers are well is not known"),
            "look at it at the provider; see whether Cutover is at work (`attention`, the log) and may look",
        ));
    }
    match (d.seen.blue, fresh) {
        (None, true) if d.seen.absences.blue.believed(timing) => {
            reasons.push(no(
                format!("{group}, which would serve again, is gone: going back would send users to nobody"),
                "go on, or deploy the image from before",
            ));
        }
        (None, true) => reasons.push(degraded(
            format!("{group}, which would serve again, was not there at the last look"),
            "wait for the next look, which may say otherwise; look at the group at the provider",
        )),
        (Some(servers), true) if servers.healthy == 0 => reasons.push(no(
            format!("no server of {group}, which would serve again, is healthy ({} wanted)", wanted(d, blue)),
            "mend the group, or go on with green",
        )),
        (Some(servers), true) if servers.healthy < wanted(d, blue) => reasons.push(degraded(
            format!("{} of {} servers of {group}, which would serve again, are healthy", servers.healthy, wanted(d, blue)),
            "see why at the group's activities; going back works, with less room than before",
        )),
        (Some(_), true) | (_, false) => {}
    }
    if let Some(kept) = &d.seen.blue_kept {
        unkept(blue, kept, reasons);
    }
}

/// Blue as it is to be for as long as anybody may go back to it.
fn unkept(blue: &BluePlan, kept: &Kept, reasons: &mut Vec<Reason>) {
    let (group, size) = (&blue.group, blue.size);
    if kept.deleting {
        reasons
            .push(no(format!("{group}, which would serve again, is being deleted"), "go on, or deploy the image from before"));
    }
    if kept.min < size {
        reasons.push(degraded(
            format!("the minimum of {group} is {}, not {size}: it may be shrunk before you go back", kept.min),
            format!("set the group's minimum to {size}, and see who lowered it"),
        ));
    }
    if !kept.protected {
        reasons.push(degraded(
            format!("{group} may be deleted: its deletion protection is off"),
            "turn the group's deletion protection on, and see who turned it off",
        ));
    }
    if let Launches::Whatever(version) = &kept.launches {
        reasons.push(degraded(
            format!(
                "{group} launches servers from version {version} of its launch template: those that come up from now on may be of \
                 another image than the ones that serve"
            ),
            "set the group's launch template to the number of the version that its servers were made from",
        ));
    }
}

fn routes(d: &Deployment, timing: &Timing, now: Timestamp, reasons: &mut Vec<Reason>) {
    let stale = d.seen.at.is_none_or(|at| time::between(at, now) > unseen_after(timing));
    if d.seen.weight.is_none() || stale {
        reasons.push(degraded(
            "not every route was seen at the last look: where traffic goes now is not known",
            "nothing; a rollback waits for no look. See why in the log",
        ));
    }
    if drift::base_is_off_blue(d) {
        reasons.push(degraded(
            "the base of a route was taken off blue outside Cutover: a shield is raised first",
            "restore it, or go back: `drift` in the deployment says what was changed",
        ));
    } else if drift::suspected(d) {
        reasons.push(degraded(
            "rules of this deployment were changed outside Cutover",
            "adopt or restore it, or go back: `drift` in the deployment says what was changed",
        ));
    }
    if let Some(trouble) = &d.seen.trouble {
        reasons.push(degraded(
            format!("the load balancer did not accept the last change: {}", trouble.words),
            "mend that first, if it is about rights or a quota: a rollback is sent by the same account",
        ));
    }
}

/// How much traffic sessions may hold on green once a rollback is accepted: none, because no rule names green then. `None` where a
/// route was not seen.
#[must_use]
pub fn sticky_share(d: &Deployment) -> Option<Weight> {
    d.seen.weight.map(|_| Weight::NONE)
}

/// One rollback of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// From the request until the load balancer had accepted it on every route.
    pub accepted: Duration,
    /// Until every route was seen to send nothing to green.
    pub observed: Option<Duration>,
}

/// How long rollbacks took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// How many.
    pub rollbacks: usize,
    pub accepted: Spread,
    pub observed: Option<Spread>,
}

/// The middle of several times, and what all but one in twenty stayed within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    pub median: Duration,
    pub p95: Duration,
}

/// `None` without any: there is no number where nothing was measured.
#[must_use]
pub fn measured(history: &[Took]) -> Option<Measured> {
    let accepted = spread(history.iter().map(|took| took.accepted).collect())?;
    let observed = spread(history.iter().filter_map(|took| took.observed).collect());
    Some(Measured { rollbacks: history.len(), accepted, observed })
}

/// By the nearest rank.
fn spread(mut times: Vec<Duration>) -> Option<Spread> {
    times.sort();
    let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Spread { median: rank(50)?, p95: rank(95)? })
}

#[cfg(test)]
#[path = "readiness_tests.rs"]
mod tests;
