//! Long polls: a GET that answers when something is there, at the latest after a minute.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Edge, error::Problem, etag::ETag, extract::Parameters, wire::DeploymentView};
use crate::{
    domain::{ids::DeploymentId, time},
    engine::{
        api::{Trouble, Until},
        ports::Versioned,
    },
};

/// Nobody waits longer in one request: proxies cut what is silent for more.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// A change of *any* deployment wakes; on a busy service this much passes between two looks of one poll.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(100);
/// A look at least this often, should a notification be lost.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    pub at_most: Duration,
    pub until: Until,
}

impl Wait {
    /// Reads `wait` and `until`; neither given: an answer at once.
    pub fn read(parameters: &mut Parameters) -> Option<Self> {
        let at_most = parameters.take("wait", |text| {
            let read = time::parse_duration(text).ok().filter(|wait| *wait <= WAIT_MAX);
            read.ok_or_else(|| "must be a duration of at most 60s, such as \"55s\"".to_owned())
        });
        let until = parameters.take("until", |text| match at_most {
            Some(_) => read_until(text),
            None => Err("says what to wait for, but not how long: add wait=55s".to_owned()),
        });
        at_most.map(|at_most| Self { at_most, until: until.unwrap_or(Until::Changed) })
    }
}

fn read_until(text: &str) -> Result<Until, String> {
    match text {
        "terminal" => Ok(Until::Terminal),
        "baking" => Ok(Until::Baking),
        "approval" => Ok(Until::Approval),
        _ => {
            let stage = text.strip_prefix("stage:").and_then(|n| n.parse::<usize>().ok()).filter(|n| *n >= 1);
            stage.map(Until::Stage).ok_or_else(|| "must be terminal, baking, approval or stage:N".to_owned())
        }
    }
}

/// The record, now or when what is waited for is there; by then the time is up or the service stops, as it is.
///
/// `known` says whether a caller has a state already: [`Until::Changed`] waits for one that it has not.
pub async fn read(
    edge: &Edge,
    id: DeploymentId,
    wait: Option<Wait>,
    known: impl Fn(&ETag) -> Option<bool>,
) -> Result<(Versioned, DeploymentView, ETag), Problem> {
    let deadline = Instant::now() + wait.map_or(Duration::ZERO, |wait| wait.at_most);
    let mut first: Option<ETag> = None;
    // Bounded by the deadline: every turn but the last waits.
    loop {
        let looked_at = Instant::now();
        // Subscribed before the look, so that no change falls between the two.
        let changed = edge.api.changed(LOOK_EVERY_MAX);
        let read = look(edge, id).await?;
        let there = match wait.map(|wait| wait.until) {
            None => true,
            Some(Until::Changed) => {
                let has = known(&read.2).unwrap_or_else(|| first.get_or_insert_with(|| read.2.clone()) == &read.2);
                !has || read.0.deployment.phase.is_terminal()
            }
            Some(until) => until.reached(&read.0.deployment),
        };
        if there || edge.stop.is_cancelled() || Instant::now() >= deadline {
            return Ok(read);
        }
        tokio::select! {
            () = edge.stop.cancelled() => {}
            _ = timeout_at(deadline, async { changed.await; sleep_until(looked_at + LOOK_EVERY_MIN).await }) => {}
        }
    }
}

async fn look(edge: &Edge, id: DeploymentId) -> Result<(Versioned, DeploymentView, ETag), Trouble> {
    let shown = edge.api.deployment(id).await?;
    let view = DeploymentView::of(&shown, &edge.timing);
    let read = shown.read;
    let tag = ETag::of(&view);
    Ok((read, view, tag))
}
