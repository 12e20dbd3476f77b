//! Following a deployment: long polls, its history line by line, and what its end means for the exit code.

use std::{cell::RefCell, time::Duration};

use tokio::time::Instant;

use super::{
    api::{Again, Answer, Api, Call, Trouble},
    args::{Limits, Pair, Until},
    exit::{Exit, Failure},
    readiness, render,
    resource::{Deployment, Event, Page, Resource},
};

/// How long the service holds a long poll back, in seconds; below every proxy's usual minute.
const POLL_SECONDS: u64 = 50;
/// How long the service may be away before following gives up: long enough for a restart or a failover.
const OUTAGE_MAX: Duration = Duration::from_secs(120);
/// An outage shorter than this is not worth a word.
const OUTAGE_QUIET: Duration = Duration::from_secs(3);
/// Between two polls that answer at once: a proxy may not hold requests back.
const PAUSE: Duration = Duration::from_millis(200);
const EVENTS_PAGE: usize = 100;

/// The deployment that is followed, for whoever has to say how to come back to it.
#[derive(Debug, Default)]
pub(super) struct Followed(RefCell<Option<String>>);

impl Followed {
    pub(super) fn set(&self, id: &str) {
        self.0.replace(Some(id.to_owned()));
    }

    /// What to print when the waiting ends before the deployment does.
    pub(super) fn way_back(&self) -> String {
        match self.0.borrow().as_deref() {
            Some(id) => format!("the deployment goes on; come back with: cutover wait {id}"),
            None => "nothing was being waited for".to_owned(),
        }
    }
}

/// The lines for when everything else is down, said as soon as there are any and whenever they change: when they are needed the
/// service may not be there to ask.
#[derive(Debug)]
pub(super) struct ByHand {
    target: Pair,
    /// The phase in which they were last asked for.
    asked_in: String,
    said: Vec<String>,
}

impl ByHand {
    pub(super) fn of(target: Pair) -> Self {
        Self { target, asked_in: String::new(), said: Vec::new() }
    }

    async fn say(&mut self, api: &Api, d: &Deployment) {
        let open = d.routes.iter().any(|route| route.overlay.is_some());
        if !open || self.asked_in == d.phase {
            return;
        }
        // What fails is asked for again at the next change.
        let Ok((_, standing)) = readiness::ask(api, &self.target, Again::For(Duration::ZERO)).await else { return };
        self.asked_in.clone_from(&d.phase);
        if !standing.by_hand.is_empty() && standing.by_hand != self.said {
            render::say("with everything else down, go back with your own rights:");
            standing.by_hand.iter().for_each(|line| render::say(&format!("  {line}")));
            self.said = standing.by_hand;
        }
    }
}

/// Reads until `limits.until()` holds, the deployment ends, or a person has been needed for too long.
pub(super) async fn follow(api: &Api, id: &str, limits: &Limits, mut by_hand: Option<ByHand>) -> Result<Resource, Failure> {
    let path = format!("v1/deployments/{id}");
    let polled = format!("{path}?wait={POLL_SECONDS}s");
    let mut last_event = 0;
    let mut needed_since: Option<Instant> = None;
    let mut answer = patiently(api, || Call::get(&path)).await?;
    let mut resource = Resource::read(answer.body)?;
    loop {
        last_event = print_events(api, &path, last_event).await?;
        if reached(&resource.view, limits.until()) {
            return Ok(resource);
        }
        if let Some(by_hand) = &mut by_hand {
            by_hand.say(api, &resource.view).await;
        }
        needed_since = resource.view.attention.is_some().then(|| needed_since.unwrap_or_else(Instant::now));
        let left = match needed_since {
            Some(since) if since.elapsed() >= limits.attention_patience => return Ok(resource),
            Some(since) => limits.attention_patience - since.elapsed(),
            None => Duration::MAX,
        };
        let etag = answer.etag.take();
        let wait = Duration::from_secs(POLL_SECONDS);
        let poll = patiently(api, || Call { etag: etag.as_deref(), wait, ..Call::get(&polled) });
        let began = Instant::now();
        // The next look is due when patience ends, also if nothing changes before.
        let Ok(polled) = tokio::time::timeout(left, poll).await else { continue };
        answer = polled?;
        if answer.unchanged {
            answer.etag = answer.etag.or(etag);
        } else {
            resource = Resource::read(std::mem::take(&mut answer.body))?;
        }
        tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
    }
}

/// One call that outlasts a restart of the service, and says so when that takes long.
async fn patiently<'a>(api: &Api, call: impl Fn() -> Call<'a>) -> Result<Answer, Failure> {
    match api.call(call(), Again::For(OUTAGE_QUIET)).await {
        Err(Trouble::Passing { said, .. }) => {
            render::say(&format!("{said}; trying again for {} s", OUTAGE_MAX.as_secs()));
            Ok(api.call(call(), Again::For(OUTAGE_MAX)).await?)
        }
        answer => Ok(answer?),
    }
}

/// Prints what happened after `last`; returns the last line's id.
async fn print_events(api: &Api, path: &str, mut last: i64) -> Result<i64, Failure> {
    loop {
        let page = format!("{path}/events?after={last}&limit={EVENTS_PAGE}");
        let answer = patiently(api, || Call::get(&page)).await?;
        let page: Page<Event> = serde_json::from_value(answer.body)
            .map_err(|error| Failure::new(Exit::Error, format!("the answer is no list of events: {error}")))?;
        page.items.iter().for_each(render::event);
        match page.items.last() {
            // Ids rise; a page that does not is no reason to ask for ever.
            Some(event) if event.id > last => last = event.id,
            _ => return Ok(last),
        }
        if page.items.len() < EVENTS_PAGE {
            return Ok(last);
        }
    }
}

fn reached(d: &Deployment, until: Until) -> bool {
    let past_baking = matches!(d.phase.as_str(), "committing" | "retiring");
    let baking = d.phase == "baking";
    let seen = |weight: f64| d.weight.observed.is_some_and(|observed| observed >= weight);
    d.ended()
        || match until {
            Until::Terminal => false,
            Until::Baking => past_baking || (baking && seen(100.0)),
            Until::Stage(n) => {
                let there = |stage: usize| stage > n || (stage == n && d.stages.get(n - 1).is_some_and(|at| seen(at.weight)));
                past_baking || baking || d.stage.is_some_and(there)
            }
            Until::Approval => d.allowed_actions.iter().any(|action| action == "approve"),
        }
}

/// What the deployment's state means for whoever waited for it.
pub(super) fn verdict(d: &Deployment, until: Until) -> Exit {
    match d.status.as_str() {
        "succeeded" => Exit::Done,
        "rolled_back" => Exit::RolledBack,
        "cancelled" if d.refusals().is_empty() => Exit::RolledBack,
        "cancelled" => Exit::Rejected,
        "failed" => Exit::NeedsPerson,
        _ if reached(d, until) => Exit::Done,
        // Nothing else ends the waiting.
        _ => Exit::NeedsPerson,
    }
}
