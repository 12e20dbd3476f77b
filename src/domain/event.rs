//! The history of a deployment: one sentence a change, made from the record before and after.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    command::{Command, PromoteTo},
    deployment::{Deployment, Given, GoingBack, Trigger},
    drift::{Answer, Held},
    orphan::Thing,
    phase::Phase,
    time,
    weight::Weight,
};

/// Something that happened, before it has an id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// `deployment.created`, `phase.entered`, `weight.observed`, `command.given`, …
    pub kind: String,
    /// One sentence, with values.
    pub message: String,
    /// Who did it; `cutover` for the engine.
    pub actor: String,
    pub data: serde_json::Value,
}

impl Event {
    fn new(kind: &str, message: impl Into<String>, actor: &str, data: serde_json::Value) -> Self {
        Self { kind: kind.to_owned(), message: message.into(), actor: actor.to_owned(), data }
    }
}

const ENGINE: &str = "cutover";

/// The first event of every deployment.
#[must_use]
pub fn created(d: &Deployment) -> Event {
    let message = format!("{} #{} created for image {}", d.target, d.number, d.image);
    Event::new(
        "deployment.created",
        message,
        &d.created_by,
        json!({"image": d.image, "version": d.version, "reason": d.reason}),
    )
}

/// The event of a command that changed the intent.
#[must_use]
pub fn commanded(command: Command, given: &Given) -> Event {
    let what = match command {
        Command::Weight(weight) => format!("weight {weight} asked for"),
        Command::Promote(PromoteTo::Next) => "promoted past the rest of this stage".to_owned(),
        Command::Promote(PromoteTo::Full) => "promoted to full".to_owned(),
        other => format!("{} asked for", other.name()),
    };
    let message = given.reason.as_ref().map_or_else(|| what.clone(), |reason| format!("{what}: {reason}"));
    let weight = match command {
        Command::Weight(weight) => Some(weight.percent()),
        _ => None,
    };
    let data = json!({"command": command.name(), "reason": given.reason, "weight": weight});
    Event::new(&format!("command.{}", command.name()), message, &given.by, data)
}

/// What the sweeper removed of an ended deployment's.
#[must_use]
pub fn swept(thing: &Thing) -> Event {
    let data = json!({"kind": thing.kind().name(), "name": thing.name()});
    Event::new("orphan.removed", format!("the sweeper removed {thing}, which had been left behind"), ENGINE, data)
}

/// What changed between two records, as people would tell it.
#[must_use]
pub fn between(old: &Deployment, new: &Deployment) -> Vec<Event> {
    let mut events = Vec::new();
    if old.phase != new.phase {
        events.extend(phase_changed(old, new));
    }
    events.extend(drifted(old, new));
    events.extend(went_back(old, new));
    if old.attention != new.attention {
        let (kind, message) = match &new.attention {
            Some(sentence) => ("attention.raised", sentence.clone()),
            None => ("attention.cleared", "nobody is needed any more".to_owned()),
        };
        events.push(Event::new(kind, message, ENGINE, json!({"attention": new.attention})));
    }
    events
}

/// The two moments of a rollback: accepted on every route, and seen there. One from outside was accepted before anybody here knew.
fn went_back(old: &Deployment, new: &Deployment) -> Vec<Event> {
    let Some(back) = &new.going_back else { return Vec::new() };
    let before = |at: fn(&GoingBack) -> Option<Timestamp>| old.going_back.as_ref().and_then(at);
    let nobody_else = "green had no traffic: it is accepted as it stands on record";
    let moments = [
        (
            "rollback.accepted",
            if new.overlays.is_empty() { nobody_else } else { "the load balancer has accepted it on every route" },
            back.accepted_at.filter(|_| back.trigger != Trigger::Outside && before(|back| back.accepted_at).is_none()),
        ),
        (
            "rollback.observed",
            "no route sends traffic to green any more",
            back.observed_at.filter(|_| before(|back| back.observed_at).is_none()),
        ),
    ];
    let event = |(kind, what, at): (&str, &str, Option<Timestamp>)| {
        let took = shown(Some(time::between(back.requested_at, at?)));
        Some(Event::new(kind, format!("{what}, {took} after the request"), ENGINE, json!({"rollback": back})))
    };
    moments.into_iter().filter_map(event).collect()
}

/// A drift that began, changed or is over; on the way back nobody asks any more.
fn drifted(old: &Deployment, new: &Deployment) -> Option<Event> {
    let told = |held: &Held| held.differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (kind, message) = match (&old.held, &new.held) {
        (None, Some(now)) => ("drift.began", format!("held: {}", told(now))),
        (Some(before), Some(now)) if before.differences != now.differences => ("drift.changed", format!("held: {}", told(now))),
        (Some(before), None) if new.phase.may_go_back() => {
            let adopted = old.answer().is_some_and(|answered| answered.answer == Answer::Adopt)
                && (old.plan != new.plan || old.phase != new.phase);
            match adopted {
                true => ("drift.over", format!("the record takes it as it is: {}", told(before))),
                false => ("drift.over", "the world is as recorded again".to_owned()),
            }
        }
        (Some(_) | None, _) => return None,
    };
    let differences = new.held.as_ref().map_or(&[][..], |held| &held.differences);
    Some(Event::new(kind, message, ENGINE, json!({"drift": differences})))
}

fn shown(duration: Option<std::time::Duration>) -> String {
    // Milliseconds are what a reader of a rollback wants; more digits are noise.
    duration.map_or_else(String::new, |d| {
        time::show_duration(std::time::Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    })
}

fn phase_changed(old: &Deployment, new: &Deployment) -> Option<Event> {
    let data = json!({"phase": new.phase.name(), "weight": new.phase.wants().percent()});
    let entered = |message: String| Some(Event::new("phase.entered", message, ENGINE, data.clone()));
    match (&old.phase, &new.phase) {
        (Phase::Shifting { weight, .. }, Phase::Shifting { weight: now, seen_at: Some(_), .. }) if weight == now => {
            let took = time::between(old.phase_since, new.seen.at.unwrap_or(old.phase_since));
            let message = format!("weight {now} seen on every route after {}", shown(Some(took)));
            Some(Event::new("weight.observed", message, ENGINE, json!({"weight": now.percent()})))
        }
        (from, Phase::Shifting { weight: to, by_hand, .. }) => {
            let by = if *by_hand { ", by hand" } else { "" };
            entered(format!("weight {} -> {to}{by}", from_weight(from)))
        }
        (Phase::Baking { seen_at: None, .. }, Phase::Baking { seen_at: Some(_), .. }) => {
            Some(Event::new("bake.started", "all traffic on green; the final bake begins", ENGINE, data))
        }
        (Phase::Baking { .. }, Phase::Baking { .. }) => None,
        (Phase::Committing { .. }, Phase::Committing { quiet_since: Some(_) }) => Some(Event::new(
            "commit.observed",
            "the base forwards to green on every route; the quiet period begins",
            ENGINE,
            data,
        )),
        (Phase::RollingBack { .. }, Phase::RollingBack { .. }) => None,
        (_, Phase::RollingBack { .. }) => {
            let back = new.going_back.as_ref()?;
            let why = back.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            let trigger = serde_json::to_value(back.trigger).ok()?;
            let message = format!("going back from {} ({}){why}", old.phase.name(), trigger.as_str().unwrap_or("manual"));
            Some(Event::new("rollback.started", message, &back.by, json!({"trigger": back.trigger, "from": old.phase.name()})))
        }
        (_, Phase::Cancelled) if !new.refusal.is_empty() => {
            let said: Vec<_> = new.refusal.iter().map(|fault| fault.detail.as_str()).collect();
            Some(Event::new("preflight.refused", said.join("; "), ENGINE, json!({"refusal": new.refusal})))
        }
        (from, to) => entered(format!("{} -> {}", from.name(), to.name())),
    }
}

fn from_weight(phase: &Phase) -> Weight {
    phase.wants()
}

/// The provider did not accept a change.
#[must_use]
pub fn refused(action: &str, words: &str) -> Event {
    Event::new("provider.refused", format!("{action} was not accepted: {words}"), ENGINE, json!({"action": action}))
}
